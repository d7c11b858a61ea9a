#!/bin/sh
# mems-preload names what a program did not free, and the call that freed a block that it frees twice.
set -u

work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
. tests/check.sh

preload=${PRELOAD:-build/${VARIANT:-default}/preload.so}

# The object is for this machine, and the sanitizers have a malloc of their own.
if [ -n "${VARIANT:-}${RUN:-}" ] || [ ! -f "$preload" ]; then
	echo '[ RUN      ] the live list of the preload'
	echo '[  SKIPPED ] the live list of the preload'
	exit 0
fi

cat >"$work/leak.c" <<'END'
#include <stdlib.h>
void *leaker(size_t size) { return malloc(size); }
int main(void)
{
	void *volatile block = malloc(50);
	for (int i = 0; i < 10; i++)
		leaker(100);
	free(block);
	free(block);
}
END

builds() { "${CC:-cc}" -O0 -rdynamic -fno-builtin "$work/leak.c" -o "$work/leak"; }

names_the_leak()
{
	MEMS_PRELOAD_LIVE=- LD_PRELOAD="$preload" "$work/leak" 2>"$work/said"
	grep -q "^1000 bytes in 10 blocks, first taken by call [0-9]*, from 0x[0-9a-f]* leaker+0x[0-9a-f]* \
($work/leak+0x[0-9a-f]*)$" "$work/said" && return
	cat "$work/said"
	return 1
}

names_the_call()
{
	MEMS_PRELOAD_HISTORY=100 LD_PRELOAD="$preload" "$work/leak" 2>"$work/said"
	grep -q '^mems: mems_free(0x[0-9a-f]*): the physical address of [0-9]*, in HOLE\[[0-9:]*\], freed by call [0-9]*$' \
		"$work/said" && return
	cat "$work/said"
	return 1
}

# Without a history the block that is freed is all there is to say.
names_the_block()
{
	LD_PRELOAD="$preload" "$work/leak" 2>"$work/said"
	grep -qx 'mems: free(0x[0-9a-f]*): in no block of the heap' "$work/said" && return
	cat "$work/said"
	return 1
}

refuses_too_many()
{
	MEMS_PRELOAD_HISTORY=16777217 LD_PRELOAD="$preload" "$work/leak" 2>"$work/said"
	grep -q '^mems: MEMS_PRELOAD_HISTORY: too large: 16777217$' "$work/said"
}

check 'a program that leaks is built' builds
check 'what was not freed is listed with its caller' names_the_leak
check 'a double free is reported with the call that freed' names_the_call
check 'without a history it is reported with its address' names_the_block
check 'a history that is too long is refused' refuses_too_many
exit "$status"
