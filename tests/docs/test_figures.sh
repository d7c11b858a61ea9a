#!/bin/sh
# What the pages and the manuals say is reserved is what a heap reserves.
# shellcheck disable=SC2016,SC2317,SC3045 # awk has dollars; the functions are called by check; dash,
# too, has ulimit -v
set -u

work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
. tests/check.sh

# They speak of 64 bits, pages of 4096 bytes, and a process that may have all address space.
[ -z "${VARIANT:-}${RUN:-}" ] && [ "$(getconf LONG_BIT) $(getconf PAGE_SIZE)" = '64 4096' ] &&
	[ "$(ulimit -v)" = unlimited ] || skip=1

cat >"$work/reserves.c" <<'END'
/* reserves POLICY LIMIT: prints how many KiB of address space mems_init takes. */
#include <stdlib.h>

#include "mems.h"

static unsigned long address_space(void)
{
	unsigned long pages = 0;
	FILE *file = fopen("/proc/self/statm", "r");
	if (file == NULL || fscanf(file, "%lu", &pages) != 1)
		exit(1);
	fclose(file);
	return pages * 4;
}

int main(int count, char **arguments)
{
	if (count != 3 || mems_option(MEMS_POLICY, strtoul(arguments[1], NULL, 10)) != 0 ||
	    mems_option(MEMS_LIMIT, strtoul(arguments[2], NULL, 10)) != 0)
		return 1;
	address_space(); /* for stdio takes some, too */
	const unsigned long before = address_space();
	mems_init();
	printf("%lu\n", address_space() - before);
	return 0;
}
END

# in_unit UNIT FORMAT KIB: so many KiB as a number of a unit, which is given in KiB, too.
in_unit() { awk "BEGIN { printf \"$2\", $3 / $1 }"; }

# says TEXT FILE: line ends count as spaces.
says() { tr -s ' \n' ' ' <"$2" | grep -qF "$1" || { echo "$2 does not say: $1"; return 1; }; }

small_heaps()
{
	${CC:-cc} -I. "$work/reserves.c" libmems.a -o "$work/reserves" &&
		first=$("$work/reserves" 0 4194304) && quick=$("$work/reserves" 1 4194304) &&
		says "4 MiB reserves $(in_unit 1024 %.1f "$first") MiB, and $(in_unit 1024 %.1f "$quick") MiB under quick" \
			docs/limits.md
}

any_heap()
{
	kib=$("$work/reserves" 1 0) &&
		says "that a heap reserves, $(in_unit 1048576 %.0f "$kib") GiB as a rule" man/mems-look.1
}

heaps_of_other_programs()
{
	before=$(awk '/^VmSize:/ { print $2 }' /proc/self/status) &&
		after=$(sample/mems-preload awk '/^VmSize:/ { print $2 }' /proc/self/status) &&
		says "has reserved already, $(in_unit 1048576 %.0f $((after - before))) GiB as a rule" \
			man/mems-preload.1
}

check "what docs/limits.md says of small heaps" small_heaps
check "what mems-look(1) says of any heap" any_heap
check "what mems-preload(1) says of the heap under a program" heaps_of_other_programs

exit $status
