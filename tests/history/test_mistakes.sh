#!/bin/sh
# docs/mistakes.md shows what sample/examples/mistakes.c says, and the handler that is in it.
set -u

work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
. tests/check.sh

# Addresses of code differ from run to run.
masked() { sed 's/0x[0-9a-f]*/0x/g' "$@"; }

masked docs/mistakes.md >"$work/page"

# is_shown MISTAKE LINES: what the program says stands on the page, line by line.
is_shown()
{
	${RUN:-} "$EXAMPLES/mistakes" "$1" >"$work/said" 2>&1
	masked "$work/said" >"$work/lines"
	[ "$(wc -l <"$work/lines")" -eq "$2" ] || { cat "$work/said"; return 1; }
	while read -r line; do
		grep -Fqx -- "$line" "$work/page" || { echo "not in docs/mistakes.md: $line"; return 1; }
	done <"$work/lines"
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
check 'the handler of the page is that of the example' shows_the_handler
exit "$status"
