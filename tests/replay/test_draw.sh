#!/bin/sh
# What shows the heap: JSON against mems_walk and mems_get_stats, recordings replayed to the same
# addresses, SVG as XML of bounded size, HTML, and standard input typed by hand.
set -u

tests/need.sh jq libxml2-utils || exit 1
replay=${REPLAY:-sample/mems-replay}
heaps=${HEAPS:-build/default/tests/replay/heaps}
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
. tests/check.sh

replay() { ${RUN:-} "$replay" "$@"; }

# ---- JSON and recordings, on random heaps ------------------------------------------------------

# What JSON has in common with what heaps expects: no physical addresses, nothing that varies.
plain()
{
	jq -S 'del(.schema, .page_size, .alignment, .start, .policy,
		.stats.metadata_bytes, .stats.resident_hole_bytes,
		.main_chain[].pages, .main_chain[].physical)' "$1"
}

# The parts that heaps does not expect.
has_all_parts()
{
	jq -e '.schema == 1 and (.stats.metadata_bytes > 0) and
		(.policy | test("^(first|quick)_fit$")) and
		([.main_chain[] | (.physical | test("^0x[0-9a-f]+$")) and .end >= .start] | all) and
		(.page_size as $page | .stats.pages as $pages |
			[.main_chain[] | .pages * $page == .end - .start + 1] | all) and
		([.main_chain[].pages] | add // 0) == .stats.pages' "$1" >/dev/null
}

same_json()
{
	plain "$1" >"$work/one" && plain "$2" >"$work/other" && cmp "$work/one" "$work/other"
}

# random SEED CALLS [NAME VALUE]...
random()
{
	${RUN:-} "$heaps" "$work" "$@" && same_json "$work/heap.json" "$work/heap.expected" &&
		has_all_parts "$work/heap.json"
}

# What JSON of a heap and of its recording replayed have in common: mems-replay knows, of each block,
# which call took it.
replayed()
{
	jq -S 'del(.stats.metadata_bytes, .main_chain[].physical, .main_chain[].sub_chain[].call)' "$1"
}

# The recording of the heap made last leads to the same addresses and the same heap.
replays()
{
	replay --check --print --json "$work/again.json" "$work/heap.trace" >"$work/print" &&
		sed -n 's/^[acmrf] .* -> //p' "$work/print" | cmp - "$work/heap.addresses" &&
		replayed "$work/heap.json" >"$work/one" && replayed "$work/again.json" >"$work/other" &&
		cmp "$work/one" "$work/other"
}

# both CALLS [NAME VALUE]...
both()
{
	seed=$((${seed:-0} + 1))
	check "JSON of a heap: $*" random "$seed" "$@"
	check "its recording replayed" replays
}

both 0
both 1
both 700
both 4000
# A limit for the two that need most room for the ids of a recording: 32 bits have little.
both 2000 alignment 1 limit 16777216
both 2000 alignment 64
both 2000 start 1 page-size 65536
both 2000 start 2147483648 alignment 2 limit 16777216
both 1500 policy 1
both 4000 policy 1 alignment 16
both 2000 page-size 2097152 limit 2097152

# ---- Pictures ----------------------------------------------------------------------------------

xml() { xmllint --noout "$1" && [ "$(wc -c <"$1")" -lt "$2" ]; }

# picture CALLS BYTES TRACE OPTION...: valid XML of less than so many bytes.
picture()
{
	bytes=$1
	trace=$2
	shift 2
	replay --svg "$work/heap.svg" "$@" "$trace" >"$work/out" && xml "$work/heap.svg" "$bytes"
}

says() { grep -q "$1" "$work/heap.svg"; }

: >"$work/empty.rep"
echo 'a 0 1' >"$work/one.rep"
# A million segments: of two million bytes, every other block of 8 freed.
awk 'BEGIN { for (i = 0; i < 1000000; i++) print "a", i, 8
	for (i = 0; i < 1000000; i += 2) print "f", i }' >"$work/million.rep"
printf 'a 0 1000\na 1 1000\na 2 1000\nf 1\n' >"$work/few.rep"
printf 'a 0 1000 %%E2%%82%%AC%%20&%%20<b>\na 1 8 a%%20long%%20label\na 2 1000 x%%FF%%01\n' >"$work/labels.rep"

check 'a picture of an empty heap' picture 5000 "$work/empty.rep"
check 'it says so' says 'The heap is empty'
check 'a picture of one block' picture 6000 "$work/one.rep"
check 'a picture of a few' picture 8000 "$work/few.rep"
check 'segments have tooltips' says '<title>HOLE\[2000:2999\], 1000 bytes, physical 0x'
check 'the four numbers' says 'Sub-chain Length array: \[4\]'
check 'a picture of the second call' picture 8000 "$work/few.rep" --at 2
check 'it shows that heap' says 'Sub-chain Length array: \[3\]'
check 'a picture of the peak' picture 8000 "$work/few.rep" --at peak
check 'it shows the fullest heap' says 'Heap: 3000 of 4096'
check 'a picture of blocks with labels' picture 8000 "$work/labels.rep"
check 'a label is in the tooltip' says '<title>PROCESS\[1000:1999\], .*, € &#38; &#60;b&#62;<'
check 'and in its place, as it has room' says '>€ &#38; &#60;b&#62;</text>'
check 'one that has none is in the tooltip alone' says '<title>PROCESS\[2000:2007\], .*, a long label</title>'
says_nothing() { ! says "$1"; }
check 'it is not in its place' says_nothing '>a long label</text>'
check 'what XML cannot hold stands for itself no more' says '<title>PROCESS\[2008:3007\], .*, x��</title>'
# rows BYTES BYTES: a picture of two main nodes, one row each.
rows()
{
	printf 'a 0 %d\na 1 %d\n' "$1" "$2" >"$work/rows.rep" && picture 8000 "$work/rows.rep"
}
says_own_scale() { says 'Each row has a scale of its own'; }
says_no_own_scale() { ! says_own_scale; }
check 'a picture of a row that is eight times as long' rows 4096 32768
check 'they share one scale' says_no_own_scale
check 'a picture of a row that is longer' rows 4096 36864
check 'each has a scale of its own' says_own_scale
check 'a picture of a row that is shorter' rows 36864 4096
check 'each has one, too' says_own_scale
check 'a picture of a million segments' picture 700000 "$work/million.rep"
check 'it says that it sums up' says '[0-9]* narrow segments are summed up'
check 'the sums have tooltips' says '[0-9]* PROCESS, [0-9]* HOLE, 50 % in use'

# The same heap gives the same picture, but for physical addresses.
picture_is_the_same()
{
	for name in one other; do
		replay --svg - "$work/few.rep" | sed 's/0x[0-9a-f]*//g' >"$work/$name"
	done
	cmp "$work/one" "$work/other"
}
check 'the same heap, the same picture' picture_is_the_same

# ---- JSON of a trace, pages, statistics --------------------------------------------------------

json_at()
{
	replay --json - --at "$1" "$work/few.rep" | jq -e ".stats.process_segments == $2" >/dev/null
}
check 'JSON before the first call' json_at 0 0
check 'JSON after call 3' json_at 3 3
check 'JSON at the peak' json_at peak 3

# page BYTES CALLS [TRACE]: a page of so many calls.
page()
{
	most=$1
	calls=$2
	shift 2
	replay --html "$work/heap.html" "$@" >"$work/out" &&
		[ "$(wc -c <"$work/heap.html")" -lt "$most" ] &&
		! grep -E '(src|href)="?(https?:|//)|@import|url\(.?http' "$work/heap.html" &&
		sed -n '/^<script type="application\/json"/,/^<\/script>/{//!p}' "$work/heap.html" |
			jq -e ".all == $calls and (.calls | length) >= $calls and
				(.nodes | length > 0) == ($calls > 0)" >/dev/null
}
check 'a page to play on' page 300000 0
check 'a page of an empty heap' page 300000 0 "$work/empty.rep"
check 'a page of one block' page 300000 1 "$work/one.rep"
check 'a page of a few calls' page 300000 4 "$work/few.rep"
awk 'BEGIN { for (i = 0; i < 20000; i++) print "a", i, 100 }' >"$work/more.rep"
check 'a page of more calls' page 400000 20000 "$work/more.rep"

statistics()
{
	replay --stats "$work/few.rep" >"$work/out" &&
		grep -q '^calls  *4$' "$work/out" &&
		grep -q '^most bytes in use  *3000 (after call 3)$' "$work/out" &&
		grep -q '^pages  *1, in 1 main node$' "$work/out" &&
		grep -q '^segments  *2 PROCESS, 2 HOLE$' "$work/out" &&
		grep -q '^largest hole  *1096 bytes$' "$work/out" &&
		grep -q '^external fragmentation  *47.7 %' "$work/out" &&
		grep -Eq '^time per call  *[0-9]+ ns$' "$work/out"
}
check 'statistics' statistics
clang=../shared/traces/clang.rep
if [ -e $clang ] && [ -z "${VARIANT:-}" ]; then
	check 'a picture of the clang trace' picture 500000 $clang --at peak
	check 'a page of the clang trace' page 10000000 440965 $clang
fi

# ---- By hand -----------------------------------------------------------------------------------

# What is typed is answered before more is typed.
answers_at_once()
{
	mkfifo "$work/keys" || return 1
	replay - <"$work/keys" >"$work/screen" &
	exec 8>"$work/keys"
	printf 'a 0 100\np\n' >&8
	tries=0
	until grep -q 'PROCESS\[1000:1103\]' "$work/screen" || [ $tries -eq 50 ]; do
		sleep 0.2
		tries=$((tries + 1))
	done
	printf 'f 0\np\n' >&8
	exec 8>&-
	wait $! && [ $tries -lt 50 ] && grep -q -- '-> HOLE\[1000:5095\]' "$work/screen"
}
check 'standard input is answered line by line' answers_at_once

helps()
{
	replay --help | grep -q '^usage: mems-replay' && replay --version | grep -q '^mems-replay [0-9]'
}
check 'help and version' helps
full()
{
	[ ! -e /dev/full ] ||
		{ ! replay --help >/dev/full 2>"$work/out" && grep -q 'No space' "$work/out"; }
}
check 'a full disk is noticed' full

exit $status
