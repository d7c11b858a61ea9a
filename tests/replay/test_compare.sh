#!/bin/sh
# mems-replay --compare: the table, to the letter where it can be worked out by hand, and against
# what is printed for each policy alone; and the picture.
set -u

tests/need.sh jq libxml2-utils || exit 1
replay=${REPLAY:-sample/mems-replay}
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
. tests/check.sh

replay() { ${RUN:-} "$replay" "$@"; }

policies='first_fit next_fit best_fit worst_fit quick_fit'

# ---- By hand -----------------------------------------------------------------------------------

# HOLEs of 304, 104 and 200 bytes, and the rest of a page; then blocks of 96, 96, 200 and 304 bytes.
# Each policy looks at the one HOLE five times, and then, if it stops at the first, at 1, 1, 3 and 3
# (first fit), and if it looks at all, at 4, 4, 4 and 4. Quick fit has 16 pages at least.
cat >"$work/few.rep" <<'END'
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
a 9 300
END
cat >"$work/few.expected" <<'END'
few.rep: 13 calls, at most 1008 bytes in blocks (after call 13)

                                         first fit    next fit    best fit   worst fit   quick fit   best
bytes mapped at the peak                      4096        4096        4096        4096       65536   first fit, next fit, best fit, worst fit
bytes mapped at the end                       4096        4096        4096        4096       65536   first fit, next fit, best fit, worst fit
HOLEs at the peak                                3           4           4           4           2   quick fit
% of the mapped unused at the peak            75.4        75.4        75.4        75.4        98.5   first fit, next fit, best fit, worst fit
% external fragmentation at the peak           7.0        19.7         7.0        19.7         0.2   quick fit
HOLEs looked at per request, mean              1.3         0.9         2.1         2.1         0.9   next fit, quick fit
HOLEs looked at per request, worst               3           1           4           4           1   next fit, quick fit
END

a_table()
{
	replay --compare "$work/few.rep" | sed "s|^$work/||" >"$work/out"
	diff "$work/few.expected" "$work/out"
}
check 'a table' a_table

# Within one page the last block finds 2504 bytes behind the others or none; growing block 9 then
# finds room where the last block could not be had, and growing block 10 is left out with it.
{ cat "$work/few.rep"; printf 'a 10 2500\nr 10 2600\nr 9 2700\nf 10\n'; } >"$work/limit.rep"
refused()
{
	replay --compare --limit 4096 "$work/limit.rep" >"$work/out" &&
		grep -q ', at most 4096 bytes mapped$' "$work/out" &&
		[ "$(sed -n 's/^blocks that could not be had  *//p' "$work/out" | tr -s ' ')" = \
			'1 1 1 1 1 all the same' ]
}
check 'blocks that could not be had' refused

# Not for a limit: an alignment above the page size.
refused_without_a_limit()
{
	printf 'm 0 100 65536\nr 0 200\nf 0\na 1 5\n' >"$work/aligned.rep"
	replay --compare "$work/aligned.rep" >"$work/out" &&
		[ "$(sed -n 's/^blocks that could not be had  *//p' "$work/out" | tr -s ' ')" = \
			'1 1 1 1 1 all the same' ] &&
		replay --compare --page-size 65536 "$work/aligned.rep" >"$work/out" &&
		! grep -q '^blocks that could' "$work/out"
}
check 'blocks that could not be had, without a limit' refused_without_a_limit

empty()
{
	: >"$work/empty.rep"
	replay --compare "$work/empty.rep" >"$work/out" &&
		[ "$(grep -c 'all the same$' "$work/out")" -eq 7 ] &&
		replay --compare --svg - "$work/empty.rep" | xmllint --noout -
}
check 'a trace without calls' empty

# What an option in the trace sets holds for all of them.
options()
{
	{ printf 'o alignment 1\no policy worst_fit\no limit 4096\n'; cat "$work/few.rep"; } \
		>"$work/options.rep"
	replay --compare "$work/options.rep" | head -1 >"$work/out" &&
		grep -q 'at most 980 bytes in blocks (after call 13), at most 4096 bytes mapped' "$work/out"
}
check 'options of the trace' options

huge=18446744073709551608
is_32=
case ${VARIANT:-} in *m32) is_32=1 huge=4294967288 ;; esac

# What no policy could have had in blocks is not said to have been there; what none can have at all,
# or what comes about it, makes no peak.
refused()
{
	cat >"$work/refused.rep" <<-END
	o limit 4096
	a 0 3000
	a 1 $huge
	r 1 4000
	r 0 9000
	f 1
	m 2 100 8192
	f 2
	a 3 3000
	f 3
	END
	replay --compare "$work/refused.rep" >"$work/out" && replay --compare --svg - "$work/refused.rep" \
		>"$work/out.svg" && xmllint --noout "$work/out.svg" &&
		grep -q ': 9 calls, at most 6000 bytes asked for at once (after call 8), at most 4096 bytes mapped$' \
			"$work/out" && grep -q 'after call 8, with 6000 bytes asked for at once\.' "$work/out.svg"
}
check 'the peak of calls that are refused' refused

# So large that no column would do.
large()
{
	printf 'a 0 1125899906842624\n' >"$work/large.rep"
	replay --compare "$work/large.rep" >"$work/out" &&
		grep -q '^bytes mapped at the peak *\(1125899906842624 \)\{4\}1125899906842624 ' "$work/out"
}
skip=$is_32
check 'numbers that are as wide as their columns' large
skip=

# ---- Against each policy alone -----------------------------------------------------------------

# A program that was recorded, or blocks of many sizes.
trace=$work/many.rep
if [ -e tests/traces/jq.rep ]; then
	cp tests/traces/jq.rep "$trace"
else
	awk 'BEGIN { for (i = 0; i < 3000; i++) { print "a", i, i * 7919 % 3001 + 1
		if (i % 3 == 2) print "f", i - i * 31 % 3 } }' >"$trace"
fi

# The row of the table, without its name.
row() { grep "^$1" "$work/table" | tr -s ' ' | sed "s/^$1 //"; }

# A row of the table has what the JSON of each heap at the peak has. Quick fit is another one there.
row_agrees()
{
	replay --compare "$trace" >"$work/table" || return 1
	row "$1" >"$work/row"
	column=0
	for policy in first_fit next_fit best_fit worst_fit; do
		column=$((column + 1))
		value=$(replay --json - --at peak --policy $policy "$trace" | jq -r "$2")
		[ "$value" = "$(cut -d' ' -f$column "$work/row")" ] || {
			echo "$policy has $value: $(cat "$work/row")"
			return 1
		}
	done
}
check 'bytes mapped' row_agrees 'bytes mapped at the peak' '.stats.mapped_bytes'
check 'HOLEs' row_agrees 'HOLEs at the peak' '.stats.hole_segments'
rounded='| . * 10 | round / 10 | tostring | if contains(".") then . else . + ".0" end'
check 'unused' row_agrees '% of the mapped unused at the peak' \
	".stats | 100 * .hole_bytes / .mapped_bytes $rounded"
check 'external fragmentation' row_agrees '% external fragmentation at the peak' \
	".stats | 100 - 100 * .largest_hole / .hole_bytes $rounded"

# ---- The picture -------------------------------------------------------------------------------

picture()
{
	replay --compare --svg "$work/heap.svg" "$1" >"$work/out" && [ ! -s "$work/out" ] &&
		xmllint --noout "$work/heap.svg" && [ "$(wc -c <"$work/heap.svg")" -lt 120000 ]
}
says() { [ "$(grep -c "$1" "$work/heap.svg")" -eq "$2" ]; }

# The numbers below the panels of a row are those of the table, in its order.
numbers()
{
	replay --compare "$trace" >"$work/table" &&
		sed -n "s/.*class=\"\(number\|best\)\" x=\"0\" y=\"[0-9]*\">\([0-9.]*\) $2.*/\2/p" \
			"$work/heap.svg" | sed -n "$3p" | tr '\n' ' ' >"$work/numbers" &&
		[ "$(row "$1" | cut -d' ' -f1-5) " = "$(cat "$work/numbers")" ]
}
check 'a picture' picture "$trace"
for policy in $policies; do
	check "the curves of $policy" says "<path id=\"c[0-3]-$policy\"" 4
done
check 'a panel for each policy and measure' says 'class="own"' 20
check 'the others behind it' says 'class="other"' 80
check 'no dots that are no numbers' says 'nan\|inf' 0
# Letters of the type with one width are 7.3 units wide at most, and columns 206.
fits()
{
	size=65536000000
	case ${VARIANT:-} in *m32) size=268435456 ;; esac # there is no room for such a one
	printf 'a 0 100\na 1 %s\n' "$size" >"$work/large.rep"
	replay --compare --svg "$work/large.svg" "$work/large.rep" &&
		sed -n 's/.*class="\(number\|best\)"[^>]*>\(.*\)<.*/\2/p' "$work/large.svg" >"$work/texts" &&
		grep -q "^$((size + 4096))" "$work/texts" && ! grep '.\{28\}' "$work/texts"
}
long_names_fit()
{
	long=$(printf '%0100d' 0 | sed 's/0/\xc3\xa9/g') # two bytes each
	: >"$work/$long.rep"
	replay --compare --svg - "$work/$long.rep" 2>/dev/null >"$work/named.svg" &&
		xmllint --noout "$work/named.svg" &&
		sed -n 's/.*>Five policies on \(.*\)<\/text>/\1/p' "$work/named.svg" >"$work/title" &&
		[ "$(cat "$work/title")" = "…$(printf '%056d' 0 | sed 's/0/\xc3\xa9/g').rep" ]
}
check 'numbers have room between columns' fits
check 'of a long name there is the end' long_names_fit
check 'the bytes mapped' numbers 'bytes mapped at the peak' 'at peak' 1,5
check 'the HOLEs' numbers 'HOLEs at the peak' 'at peak' 6,10
check 'the fragmentation' numbers '% external fragmentation at the peak' 'at peak' 11,15
check 'the HOLEs looked at' numbers 'HOLEs looked at per request, mean' 'on average' 1,5
cp "$work/few.rep" "$work/<&.rep"
check 'a name that is no XML' picture "$work/<&.rep"

# ---- The command line --------------------------------------------------------------------------

refuses()
{
	replay --compare "$@" >"$work/out" 2>&1
	[ $? -eq 2 ] && grep -q '^mems-replay: --compare goes with --svg and' "$work/out"
}
for option in --check --print --stats '--json -' '--html -' '--svg - --at 1' '--policy best_fit'; do
	# shellcheck disable=SC2086 # words
	check "not with $option" refuses $option "$work/few.rep"
done
bad_trace()
{
	printf 'a 0 1\nf 1\n' >"$work/bad.rep"
	replay --compare "$work/bad.rep" >"$work/out" 2>&1
	[ $? -eq 2 ] && grep -q 'bad.rep:2: ID 1 is not live' "$work/out"
}
check 'a bad trace' bad_trace

# ---- Time --------------------------------------------------------------------------------------

# in_seconds N TRACE: of the processor, which leaves much room.
in_seconds() { (ulimit -t "$1" && replay --compare "$2") >"$work/out"; }

# 100,000 calls, 10,000 live blocks: a walk from link to link would take 4 seconds.
awk 'BEGIN {
	for (n = 0; n < 10000; n++)
		print "a", n, 8 + n * 7919 % 2000
	for (; n < 55000; n++)
		printf "f %d\na %d %d\n", n * 7919 % 10000, n * 7919 % 10000, 8 + n * 613 % 1999
}' >"$work/live.rep"
if [ -z "${RUN:-}${VARIANT:-}" ]; then
	check '100,000 calls with 10,000 live blocks' in_seconds 1 "$work/live.rep"
	for lab in ../shared/traces/lab-*.rep; do
		[ ! -e "$lab" ] || check "the time of ${lab##*/}" in_seconds 1 "$lab"
	done
fi

exit $status
