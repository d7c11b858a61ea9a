#!/bin/sh
# With no more than 256 MiB of address space (ulimit -v) all is as it is without a limit.
set -u

work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
status=0

# Sanitizers and emulators need far more address space for themselves.
can_be_limited()
{
	[ "${VARIANT:-}" != asan ] && [ -z "${RUN:-}" ]
}

# same NAME PROGRAM ARGUMENT...: the program prints the same with the limit and without.
# shellcheck disable=SC3045 # dash and bash both have ulimit -v
same()
{
	name=$1
	shift
	echo "[ RUN      ] $name"
	if ! can_be_limited; then
		echo "[  SKIPPED ] $name"
	elif "$@" >"$work/free" && (ulimit -v 262144 && "$@") >"$work/limited" &&
			diff "$work/free" "$work/limited"; then
		echo "[       OK ] $name"
	else
		echo "[  FAILED  ] $name"
		status=1
	fi
}

# Sixty blocks are taken, doubled and all but one freed.
awk 'BEGIN {
	print 0; print 60; print 179; print 1
	for (i = 0; i < 60; i++) { print "a", i, 500000 }
	for (i = 0; i < 60; i++) { print "r", i, 1000000 }
	for (i = 1; i < 60; i++) { print "f", i }
}' >"$work/large.rep"

same "the example in 256 MiB" "$(realpath "${EXAMPLE:-./example}")"
same "a heap of 90 MB in 256 MiB" "${REPLAY:-sample/mems-replay}" --check "$work/large.rep"
exit $status
