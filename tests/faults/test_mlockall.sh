#!/bin/sh
# A program without privileges, which may lock 8 MiB, locks its memory as docs/limits.md says: before it
# starts a heap, or beside one with a limit.
# shellcheck disable=SC2317 # the functions are called by check
set -u

work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
. tests/check.sh

# The program where everybody may run it, and a user who may not lock what he likes. Sanitizers and
# emulators have far more memory of their own.
chmod 755 "$work" && cp "$LOCKED" "$work/locked" || exit 1
as_nobody=
[ "$(id -u)" -ne 0 ] || as_nobody='setpriv --reuid=65534 --regid=65534 --clear-groups'
if [ -n "${RUN:-}" ] || [ "${VARIANT:-}" = asan ] ||
		! $as_nobody prlimit --memlock=8388608 true 2>"$work/why"; then
	skip=1
fi

# locks WHEN
locks()
{
	$as_nobody prlimit --memlock=8388608 "$work/locked" "$1"
}

# What the limit is compared with, the reserved address space included.
a_whole_heap_is_refused()
{
	! locks 0 2>"$work/err" && grep -q '^mlockall: ' "$work/err"
}

check "memory is locked before a heap is started" locks before
check "memory is locked beside a heap of 4 MiB" locks 4194304
check "beside a heap without a limit it cannot be" a_whole_heap_is_refused
exit $status
