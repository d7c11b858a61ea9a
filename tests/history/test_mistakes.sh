#!/bin/sh
# docs/mistakes.md shows what sample/examples/mistakes.c says, and the handler that is in it.
# shellcheck disable=SC2317,SC3045 # the functions are called by check; dash, too, has ulimit -c
set -u

work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
. tests/check.sh

# Addresses of code differ from run to run.
masked() { sed 's/0x[0-9a-f]*/0x/g' "$@"; }

masked docs/mistakes.md >"$work/page"

are_on_the_page()
{
	while read -r line; do
		grep -Fqx -- "$line" "$work/page" || { echo "not in docs/mistakes.md: $line"; return 1; }
	done <"$work/lines"
}

# is_shown MISTAKE LINES: what the program says stands on the page, line by line.
is_shown()
{
	${RUN:-} "$EXAMPLES/mistakes" "$1" >"$work/said" 2>&1
	masked "$work/said" >"$work/lines"
	[ "$(wc -l <"$work/lines")" -eq "$2" ] || { cat "$work/said"; return 1; }
	are_on_the_page
}

# Built as the page has it, the program shows an address of which addr2line knows the line.
shows_the_line()
{
	options=$(sed -n 's/^cc \(.* sample\/examples\/mistakes\.c libmems\.a\) -o mistakes$/\1/p' docs/mistakes.md)
	# shellcheck disable=SC2086 # a list of words
	${CC:-cc} $options -o "$work/mistakes" && "$work/mistakes" leak >"$work/said" || return
	addr2line -e "$work/mistakes" "$(sed -n 's/.* from //p' "$work/said")" >"$work/line"
	grep -q '/mistakes\.c:[1-9]' "$work/line" && return
	cat "$work/said" "$work/line"
	return 1
}

# The program aborts, and mems-look says the rest.
shows_the_crash()
{
	example=$PWD/$EXAMPLES/mistakes
	look=$PWD/${LOOK:-sample/mems-look}
	(cd "$work" && ulimit -c unlimited && exec "$example" crash) >/dev/null 2>&1
	[ -e "$work/core" ] || mv "$work"/core.* "$work/core" || return
	for question in '--explain 1600' --live; do
		# shellcheck disable=SC2086 # an option and its value
		"$look" $question "$work/core" || return
	done | masked >"$work/lines"
	[ "$(wc -l <"$work/lines")" -eq 5 ] && are_on_the_page
}

shows_the_handler()
{
	sed -n '/^static void fault_explain/,/^}/p' sample/examples/mistakes.c >"$work/handler"
	sed -n '/^static void fault_explain/,/^}/p' docs/mistakes.md | diff "$work/handler" - && [ -s "$work/handler" ]
}

# Each report in the list of functions has a row that says what to do.
has_every_report()
{
	sed -n '/^## Misuse/,$s/^mems: [a-z_]*([0-9a-fx]*): //p' docs/functions.md |
		sed 's/[0-9\[,].*//; s/ $//' >"$work/reports"
	[ "$(wc -l <"$work/reports")" -ge 5 ] || return
	while read -r report; do
		grep -q "^| .*\`$report.* |$" docs/mistakes.md || { echo "no row for: $report"; return 1; }
	done <"$work/reports"
}

check 'each report of misuse has a row' has_every_report
check 'a double free as the page shows it' is_shown double-free 1
check 'a stale address as the page shows it' is_shown stale 1
check 'a virtual address used as a pointer as the page shows it' is_shown pointer 1
check 'a leak as the page shows it' is_shown leak 3
[ -n "${VARIANT:-}${RUN:-}" ] || check 'the line of code behind an address' shows_the_line
case "$(cat /proc/sys/kernel/core_pattern 2>/dev/null)${VARIANT:-}${RUN:-}" in
core | core.%p) check 'a core dump as the page shows it' shows_the_crash ;;
*) echo 'note: a core dump as the page shows it: skipped, for none can be had here' ;;
esac
check 'the handler of the page is that of the example' shows_the_handler
exit "$status"
