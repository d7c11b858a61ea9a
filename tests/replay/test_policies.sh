#!/bin/sh
# Every policy of mems-replay, whichever heap it runs on: what is printed, as JSON, as a picture and
# as a page.
set -u

tests/need.sh jq libxml2-utils || exit 1
replay=${REPLAY:-sample/mems-replay}
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
. tests/check.sh

replay() { ${RUN:-} "$replay" "$@"; }

# HOLEs of 304, 104 and 200 bytes, and the rest of the page; then blocks of 90, 90 and 200 bytes.
cat >"$work/holes.rep" <<'END'
a 0 300
a 1 100
a 2 100
a 3 100
a 4 200
a 5 100
f 0
f 2
f 4
a 6 90
a 7 90
a 8 200
END

# places POLICY PATTERN: where the last three blocks are, as --print says.
places()
{
	replay --print --policy "$1" "$work/holes.rep" |
		sed -n 's/^a [678] .* -> //p' | tr '\n' ' ' >"$work/places"
	grep -qx "$2 " "$work/places" || { cat "$work/places"; false; }
}

check 'first fit' places first_fit '1000 1096 1616'
check 'next fit' places next_fit '1920 2016 2112'
check 'best fit' places best-fit '1408 1616 1000'
check 'worst fit' places worst-fit '1920 2016 2112'
check 'quick fit' places quick_fit '.* 1616' # where the last block of that size was freed

# The option in a trace does what --policy does, and --policy wins.
in_a_trace()
{
	{ echo 'o policy best_fit' && cat "$work/holes.rep"; } >"$work/best.rep"
	replay --print "$work/best.rep" >"$work/one" || return 1
	replay --print --policy best_fit "$work/holes.rep" >"$work/other"
	sed -i '/: 12 calls/d' "$work/one" "$work/other"
	cmp "$work/one" "$work/other" &&
		replay --print --policy first_fit "$work/best.rep" | grep -q '^a 6 90 -> 1000$'
}
check 'a policy in a trace' in_a_trace

# The JSON as text, as print has it.
chains_of_json()
{
	jq -r '(.main_chain[] | "MAIN[\(.start):\(.end)] -> " +
			([.sub_chain[] | "\(.type)[\(.start):\(.end)] <-> "] | add) + "NULL"),
		"Page used: \(.stats.pages)", "Space unused: \(.stats.hole_bytes)",
		"Main Chain Length: \(.stats.main_nodes)",
		"Sub-chain Length array: \([.main_chain[].sub_chain | length] | tojson |
			gsub(","; ", "))"' "$1"
}

# The sums of the JSON are those of its chains.
has_sums()
{
	jq -e '[.main_chain[].sub_chain[]] as $all |
		([$all[] | select(.type == "HOLE").size]) as $holes |
		([$all[] | select(.type == "PROCESS").size]) as $blocks |
		.schema == 1 and .policy == $policy and
		([$all[] | .size == .end - .start + 1] | all) and
		([.main_chain[] | .pages * 4096 == .end - .start + 1] | all) and
		.stats.hole_bytes == ($holes | add) and .stats.largest_hole == ($holes | max) and
		.stats.process_bytes == ($blocks | add) and
		.stats.hole_segments == ($holes | length) and
		.stats.process_segments == ($blocks | length) and
		.stats.mapped_bytes == .stats.pages * 4096 and
		.stats.peak_process_bytes >= .stats.process_bytes' \
		--arg policy "$2" "$1" >/dev/null
}

json_says_what_print_says()
{
	replay --policy "$1" --json "$work/heap.json" "$trace" >"$work/out" &&
		replay --policy "$1" --print "$trace" >"$work/print" || return 1
	lines=$(jq '.stats.main_nodes + 5' "$work/heap.json")
	tail -n "$lines" "$work/print" | sed '$d' >"$work/one"
	chains_of_json "$work/heap.json" >"$work/other"
	cmp "$work/one" "$work/other" && has_sums "$work/heap.json" "$1"
}

# The physical addresses of a heap with memory, and none of one without.
has_physical()
{
	case $1 in
	first_fit | quick_fit) grep -q ' at 0x\|>at 0x\|physical 0x' "$2" ;;
	*) ! grep -q '0x' "$2" ;;
	esac
}

picture()
{
	replay --policy "$1" --svg "$work/heap.svg" --at peak "$trace" >"$work/out" &&
		xmllint --noout "$work/heap.svg" && has_physical "$1" "$work/heap.svg"
}

page()
{
	replay --policy "$1" --html "$work/heap.html" "$trace" >"$work/out" &&
		sed -n '/^<script type="application\/json"/,/^<\/script>/{//!p}' "$work/heap.html" |
			jq -e ".policy == \"$1\"" >/dev/null
}

# The first thousand calls of a recording, or the few from above.
trace=$work/some.rep
if [ -e tests/traces/sqlite3.rep ]; then
	sed -n '5,1004p' tests/traces/sqlite3.rep >"$trace"
else
	cp "$work/holes.rep" "$trace"
fi
for policy in first_fit next_fit best_fit worst_fit quick_fit; do
	check "JSON under $policy" json_says_what_print_says $policy
	check "a picture under $policy" picture $policy
	check "a page under $policy" page $policy
done

exit $status
