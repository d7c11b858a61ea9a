#!/bin/sh
# A physical address that is used after its block was freed: AddressSanitizer, where the library is
# built with it, and Valgrind, where its header was there at build time, catch it at its use. They
# say nothing of a program that uses its blocks as it should.
# They name the line of the use, or without debugging information the program.
set -u

cd "$(dirname "$0")/../.." || exit 1
. tests/check.sh
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
stale=${STALE:-build/default/tests/memcheck/stale}

# report_of POLICY USE: runs it under the checker, which leaves its report.
report_of()
{
	if [ "$checker" = asan ]; then
		"$stale" "$1" "$2" >"$work/out" 2>"$work/report"
	else
		valgrind -q --error-exitcode=99 --log-file="$work/report" "$stale" "$1" "$2" >"$work/out"
	fi
}

is_silent()
{
	report_of "$1" none && grep -q '^not caught' "$work/out" && ! [ -s "$work/report" ]
}

# is_caught POLICY USE ACCESS: at that access, in stale.c.
is_caught()
{
	if [ "$checker" = asan ]; then
		expected="use-after-poison"
		access=$(echo "$3" | tr '[:lower:]' '[:upper:]')
	else
		expected="Invalid $3 of size 1"
		access=$3
	fi
	! report_of "$1" "$2" && grep -q '^reading\|^writing' "$work/out" &&
		grep -q "$expected" "$work/report" && grep -qi "$access of size 1" "$work/report" &&
		grep -q 'stale\.c:\|/stale[)+]' "$work/report" && return
	cat "$work/out" "$work/report"
	return 1
}

# Without a checker a stale physical address is a pointer like any other.
goes_unnoticed()
{
	for policy in first_fit quick_fit; do
		for use in read-after-free write-after-free read-beyond; do
			${RUN:-} "$stale" "$policy" "$use" >"$work/out" 2>&1 || return
			grep -q '^not caught' "$work/out" || return
		done
	done
}

checks()
{
	for policy in first_fit quick_fit; do
		check "$checker says nothing of blocks used well, $policy" is_silent "$policy"
		for use in read-after-free write-after-free read-after-shrinking read-after-moving \
				read-beyond read-never-given; do
			check "$checker catches $use, $policy" is_caught "$policy" "$use" "${use%%-*}"
		done
	done
}

checker=asan
[ "${VARIANT:-}" = asan ] || skip=1
checks

skip=
case ${VARIANT:-}${RUN:-} in
asan | *valgrind*) skip=1 ;;
esac
check "without a checker nothing is noticed" goes_unnoticed

checker=valgrind
skip=
if [ -n "${RUN:-}" ] || ! [ "${VARIANT:-coverage}" = coverage ]; then
	skip=1
elif ! command -v valgrind >"$work/need" || ! "$stale" valgrind; then
	echo "note: valgrind: skipped, for it was not installed when the library was built"
	skip=1
fi
checks
exit "$status"
