#!/bin/sh
# tests/platforms/run32.sh COMPILER...: prints the words that run what this compiler makes, for RUN:
# those that are there already, none, or an emulator where the kernel runs no programs of 32 bits.
set -eu

program=$(mktemp)
trap 'rm -f "$program"' EXIT
echo 'int main(void) { return 0; }' | "$@" -x c -o "$program" -
if [ -n "${RUN:-}" ] || "$program" 2>/dev/null; then
	echo "${RUN:-}"
else
	echo "note: this kernel runs no programs of 32 bits, but qemu-i386 does" >&2
	"$(dirname "$0")/../need.sh" qemu-user >&2
	echo qemu-i386
fi
