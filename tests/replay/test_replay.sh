#!/bin/sh
# What sample/mems-replay says of good and bad traces: its exit status and its messages.
set -u

replay=${REPLAY:-sample/mems-replay}
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
trace=$work/t.rep
failures=0

# What another C library (musl) says in its own words, in those of glibc.
usual_words()
{
	sed -e "s|$trace|TRACE|g" -e 's/Out of memory/Cannot allocate memory/' \
		-e "s/unrecognized option: \(..*\)/unrecognized option '--\1'/" \
		-e "s/unrecognized option '--\(.\)'/invalid option -- '\1'/" \
		-e "s/option requires an argument: \(.*\)/option '--\1' requires an argument/" \
		-e "s/option does not take an argument: \(.*\)/option '--\1' doesn't allow an argument/"
}

# run STATUS TEXT ARGUMENT...: the replay exits with STATUS, and TEXT is all that it says on stderr
# (on stdout for status 0), TRACE standing for the name of the file.
run()
{
	wanted=$1
	text=$2
	shift 2
	echo "[ RUN      ] $text"
	${RUN:-} "$replay" "$@" >"$work/out" 2>"$work/err" <"$trace"
	found=$?
	said=$work/err
	[ $found -ne 0 ] || said=$work/out
	said=$(usual_words <"$said")
	if [ $found -eq "$wanted" ] && [ "$said" = "$text" ]; then
		echo "[       OK ] $text"
	else
		echo "exit $found instead of $wanted, said: $said"
		echo "[  FAILED  ] $text"
		failures=$((failures + 1))
	fi
}

# file LINES: makes the trace, with \n between lines.
file()
{
	# shellcheck disable=SC2059 # the escapes are meant
	printf "$1" >"$trace"
}

good() { file "$1"; run 0 "$2" --check "$trace"; }
bad() { file "$1"; run 2 "$2" --check "$trace"; }
broken() { file "$1"; run 1 "$2" --check "$trace"; }

# ---- Good ones -------------------------------------------------------------------------------

good '0\n0\n0\n0\n' \
	'TRACE: 0 calls, 0 blocks left, at most 0 bytes in blocks, 0 mapped, all checked'
good '0\n1\n2\n1\na 0 10\nf 0\n' \
	'TRACE: 2 calls, 0 blocks left, at most 16 bytes in blocks, 4096 mapped, all checked'
good '' 'TRACE: 0 calls, 0 blocks left, at most 0 bytes in blocks, 0 mapped, all checked'
good '\n\na 18446744073709551615 10\n' \
	'TRACE: 1 call, 1 block left, at most 16 bytes in blocks, 4096 mapped, all checked'
good 'o alignment 1\no start 7\na 5 10\nr 5 12\nf 5\na 5 3\n' \
	'TRACE: 4 calls, 1 block left, at most 12 bytes in blocks, 4096 mapped, all checked'
good '# A title\na 0 10\n# and more words than a line of a trace may have\nf 0\n' \
	'TRACE: 2 calls, 0 blocks left, at most 16 bytes in blocks, 4096 mapped, all checked'
good '0\n1\n2\n1\na 0 10\nf 0' \
	'TRACE: 2 calls, 0 blocks left, at most 16 bytes in blocks, 4096 mapped, all checked'
good '0\r\n1\r\n2\r\n1\r\n\r\n a\t0  0 \r\n\nr 0 5000\r\n' \
	'TRACE: 2 calls, 1 block left, at most 5000 bytes in blocks, 16384 mapped, all checked'
good '0\n3\n8\n1\na 0 10\nc 1 5000\nm 2 100 4096\nr 1 9000\nf 0\na 0 1\nr 2 50\nf 1\n' \
	'TRACE: 8 calls, 2 blocks left, at most 9120 bytes in blocks, 32768 mapped, all checked'
good '0\n2\n2\n1\no alignment 1\no start 1\no limit 4096\no policy 0\na 0 5\na 1 4091\n' \
	'TRACE: 2 calls, 2 blocks left, at most 4096 bytes in blocks, 4096 mapped, all checked'
good '0\n1\n1\n1\no page-size 65536\no policy first-fit\na 0 5\n' \
	'TRACE: 1 call, 1 block left, at most 8 bytes in blocks, 65536 mapped, all checked'
good '0\n4294967295\n2\n1\na 4294967294 8\na 0 8\n' \
	'TRACE: 2 calls, 2 blocks left, at most 16 bytes in blocks, 4096 mapped, all checked'
file '0\n1\n1\n1\na 0 5\n'
run 0 'standard input: 1 call, 1 block left, at most 8 bytes in blocks, 4096 mapped' -
run 0 'TRACE: 1 call, 1 block left, at most 8 bytes in blocks, 4096 mapped
TRACE: 1 call, 1 block left, at most 8 bytes in blocks, 4096 mapped' "$trace" "$trace"

file '  # any bytes \303\251\001, and more of them than a line has: '"$(printf '%0300d' 1)"'\na 0 5\n'
run 0 'TRACE: 1 call, 1 block left, at most 8 bytes in blocks, 4096 mapped' "$trace"

# try NAME COMMAND...: a test that passes where the command succeeds.
try()
{
	name=$1
	shift
	echo "[ RUN      ] $name"
	if "$@"; then
		echo "[       OK ] $name"
	else
		echo "[  FAILED  ] $name"
		failures=$((failures + 1))
	fi
}

# said TEXT: just that is on stderr.
said()
{
	usual_words <"$work/err" | diff - "$work/expected"
}

empty_traces_are_named()
{
	echo 'TRACE: the trace is empty: if a program recorded it, did that flush the file?' \
		>"$work/expected"
	for text in '' '\n\n' '0\n0\n0\n0\n' 'o start 5\n' '# no call\n' 'p\n'; do
		for option in --check --compare; do
			file "$text"
			${RUN:-} "$replay" $option "$trace" >/dev/null 2>"$work/err" && said || return
		done
	done
}

try 'an empty trace is said to be so' empty_traces_are_named

mistakes_are_not_nothing()
{
	file 'e free 1000\n'
	for option in --check --compare; do
		${RUN:-} "$replay" $option "$trace" >/dev/null 2>"$work/err" && [ ! -s "$work/err" ] || return
	done
}

try 'a trace of mistakes alone is not empty' mistakes_are_not_nothing

# ---- Names of files --------------------------------------------------------------------------

# What is not UTF-8, and what a terminal, XML or HTML acts on.
strange=$(printf 'x\377<b>&"\033[31m\342\200\256\360\202\202\254\303\251.rep')
shown='x�<b>&"�[31m�����é.rep'

# is_clean FILE: UTF-8 without controls.
is_clean()
{
	iconv -f UTF-8 -t UTF-8 "$1" >/dev/null &&
		[ "$(LC_ALL=C tr -d '\t\n -~\200-\377' <"$1" | wc -c)" -eq 0 ]
}

names_are_shown()
{
	printf 'a 0 5\nx\n' >"$work/$strange"
	printf 'a 0 5\n' >"$work/$strange.2"
	${RUN:-} "$replay" "$work/$strange" 2>"$work/err"
	echo "$work/$shown:2: unknown operation: x" >"$work/expected"
	diff "$work/err" "$work/expected" || return
	${RUN:-} "$replay" "$work/$strange.2" --html "$work/page" --svg "$work/none/$strange" \
		2>"$work/err" && return 1
	echo "mems-replay: $work/none/$shown: No such file or directory" >"$work/expected"
	diff "$work/err" "$work/expected" || return
	${RUN:-} "$replay" "$work/$strange.2" --html "$work/page" >"$work/out" &&
		${RUN:-} "$replay" "$work/$strange.2" --compare --svg "$work/picture" &&
		is_clean "$work/out" && is_clean "$work/page" && is_clean "$work/picture" &&
		grep -qF "/$shown.2: 1 call" "$work/out" &&
		grep -qF '/x�\u003cb\u003e\u0026\u0022�[31m�����é.rep.2"' "$work/page" &&
		grep -qF '/x�&lt;b>&amp;"�[31m�����é.rep.2</text>' "$work/picture"
}

try 'names of files are shown safely' names_are_shown

# ---- The command line ------------------------------------------------------------------------

file '0\n1\n1\n1\na 0 5\n'
run 2 'mems-replay: no trace is named (try mems-replay --help)'
run 2 'mems-replay: no trace is named (try mems-replay --help)' --check
more="
Try 'mems-replay --help' for more information."
run 2 "mems-replay: unrecognized option '--chek'$more" --chek "$trace"
run 2 "mems-replay: invalid option -- 'c'$more" -c "$trace"
run 2 "mems-replay: option '--svg' requires an argument$more" "$trace" --svg
run 2 "mems-replay: option '--check' doesn't allow an argument$more" --check=1 "$trace"
run 0 "$(${RUN:-} "$replay" --help)" -h
run 2 'mems-replay: --policy: none of first_fit, next_fit, best_fit, worst_fit and quick_fit: best' \
	--policy best "$trace"
run 2 'mems-replay: --check needs a policy of the library: first_fit or quick_fit' \
	--check --policy best_fit "$trace"
run 2 'mems-replay: --alignment: not a power of two from 1 to 64: 3' --alignment 3 "$trace"
run 2 'mems-replay: --alignment: not a number: x' --alignment x "$trace"
run 2 'mems-replay: --alignment: not a number: ' --alignment '' "$trace"
run 2 'mems-replay: --start: not an address from 1 to 2147483648: 0' --start 0 "$trace"
run 2 'mems-replay: --start: too large: 99999999999999999999' --start 99999999999999999999 "$trace"
run 2 "mems-replay: --page-size: not a power of two from the system's page size to 2097152: 1000" \
	--page-size 1000 "$trace"
run 2 'mems-replay: --at needs --json or --svg' --at 1 "$trace"
run 2 'mems-replay: --at: not a number: -1' --at -1 --svg - "$trace"
run 2 'mems-replay: --at 2: the trace has only 1 call' --at 2 --svg - "$trace"
run 2 'mems-replay: --at: given twice: peak' --at 1 --svg "$work/1" --at peak "$trace"
for option in svg json html; do
	run 2 "mems-replay: --$option: given twice: -" --$option "$work/1" --$option - "$trace"
done
for others in '--stats' '--print' '--svg -' '--html -' '--html - --svg x'; do
	# shellcheck disable=SC2086 # a list of words
	run 2 'mems-replay: standard output can take one of --json, --svg, --html, --print and --stats' \
		$others --json - "$trace"
done
run 2 'mems-replay: --json, --svg and --html want a file each' --svg "$work/1" --html "$work/1" \
	"$trace"
file 'a 0 5\np\n'
run 2 'TRACE:2: the chains would be printed into a file on standard output' --json - "$trace"
file 'a 0 5\n'
run 2 'mems-replay: --json, --svg and --html take one trace at a time' --svg - "$trace" "$trace"
run 1 'mems-replay: TRACE.none/x: No such file or directory' --svg "$trace.none/x" "$trace"
run 1 'mems-replay: TRACE.none/x: No such file or directory' --html "$trace.none/x" "$trace"
run 1 'mems-replay: TRACE.none/x: No such file or directory' --json "$trace.none/x" "$trace"
if [ -e /dev/full ]; then
	for option in svg json html; do
		run 1 'mems-replay: /dev/full: No space left on device' --$option /dev/full "$trace"
	done
fi
cp "$trace" "$trace.kept"
ln "$trace" "$trace.link"
for option in svg json html; do
	run 2 'mems-replay: the trace would be overwritten' --$option "$trace.link" "$trace"
done
run 2 'mems-replay: the trace would be overwritten' --compare --svg "$trace" "$trace"
run 2 'mems-replay: --html: the file is there and no page: is it the trace?' --html "$trace"
try 'and the trace is as it was' cmp "$trace" "$trace.kept"
run 0 '' --html "$work/page"
run 0 '' --html "$work/page"
rm "$trace.link"
run 2 'TRACE.none: No such file or directory' "$trace.none"
run 2 'TRACE.none: No such file or directory' "$trace.none" "$trace"
run 2 '/:1: cannot be read further: Is a directory' /

# ---- Words for the heap -----------------------------------------------------------------------

chains='MAIN[1000:5095] -> PROCESS[1000:1007] <-> HOLE[1008:5095] <-> NULL
Page used: 1
Space unused: 4088
Main Chain Length: 1
Sub-chain Length array: [2]'
file 'a 9 5\n'
run 0 "a 9 5 -> 1000
$chains
TRACE: 1 call, 1 block left, at most 8 bytes in blocks, 4096 mapped" --print "$trace"
file 'a 9 5\np\n'
run 0 "$chains
TRACE: 1 call, 1 block left, at most 8 bytes in blocks, 4096 mapped" "$trace"
file 'o alignment 64\no start 1\na 0 5\n'
run 0 'TRACE: 1 call, 1 block left, at most 5 bytes in blocks, 65536 mapped' \
	--alignment 16 --alignment=1 --page-size 65536 "$trace"
run 0 'a 0 5 -> 4294
MAIN[4294:8389] -> PROCESS[4294:4357] <-> HOLE[4358:8389] <-> NULL
Page used: 1
Space unused: 4032
Main Chain Length: 1
Sub-chain Length array: [2]
TRACE: 1 call, 1 block left, at most 64 bytes in blocks, 4096 mapped' \
	--print --start 4294 --policy first-fit "$trace"

# What quick fit remembers is merged where the trace says so: then the next block is the lowest that
# fits, and not the one that was freed last. merges POLICY LINE ADDRESS
merges()
{
	file "o limit 20480\na 0 4096\na 1 4096\na 2 4096\nf 0\nf 2\n$2a 0 4096\n"
	${RUN:-} "$replay" --check --print --policy "$1" "$trace" >"$work/out" &&
		grep '^a' "$work/out" | tail -n 1 | grep "^a 0 4096 -> $3\$" >/dev/null
}

try 'quick fit gives the block freed last' merges quick_fit '' 9192
try 'g merges all that it remembers' merges quick_fit 'g\n' 1000
try 'first fit remembers nothing' merges first_fit 'g\n' 1000
file 'g\ng\na 5 5\ng\n'
run 0 'TRACE: 4 calls, 1 block left, at most 8 bytes in blocks, 4096 mapped' "$trace"
file 'g\n'
for policy in best_fit quick_fit; do
	run 0 'g
Page used: 0
Space unused: 0
Main Chain Length: 0
Sub-chain Length array: []
TRACE: 1 call, 0 blocks left, at most 0 bytes in blocks, 0 mapped' --print --policy $policy "$trace"
done

# ---- A limit -----------------------------------------------------------------------------------

# What it leaves no room for is left out, and so is what comes about that block.
good 'o limit 4096\na 0 4097\nr 0 5\nf 0\na 0 4096\na 1 1\n' 'TRACE: 5 calls, 1 block left, at most 4096 bytes in blocks, 4096 mapped, all checked, 2 beyond the limit of 4096 bytes'
good '0\n1\n3\n1\no limit 8192\na 0 4096\nr 0 8192\nr 0 4000\n' 'TRACE: 3 calls, 1 block left, at most 4096 bytes in blocks, 4096 mapped, all checked, 1 beyond the limit of 8192 bytes'
file 'a 0 4096\na 1 9000\nr 1 5\nf 1\nr 0 8192\nf 0\n'
cat >"$work/refused" <<'END'
a 0 4096 -> 1000
a 1 9000 -> NULL: beyond the limit
r 1 5 -> NULL: the block could not be had
f 1 -> NULL: the block could not be had
r 0 8192 -> NULL: beyond the limit
f 0 -> 1000
TRACE: 6 calls, 0 blocks left, at most 4096 bytes in blocks, 4096 mapped, 2 beyond the limit of 8192 bytes
END
refuses()
{
	${RUN:-} "$replay" --limit 8192 --policy "$1" --print "$trace" 2>"$work/err" | usual_words |
		grep -v '^[MPS]' | diff "$work/refused" -
}
for policy in first_fit worst_fit quick_fit; do
	try "what the limit refuses under $policy" refuses $policy
done

# Many calls that it refuses beside many blocks: no call is slower for these.
refuses_many()
{
	awk 'BEGIN { print "o limit 655360"; for (i = 0; i < 140000; i++) print "a", i, 16 }' >"$trace"
	timeout 10 ${RUN:-} "$replay" "$trace" >"$work/out" &&
		grep ': 140000 calls, 40960 blocks left, .*, 99040 beyond the limit of' "$work/out" >/dev/null
}
try 'many calls that the limit refuses' refuses_many

# ---- The header ------------------------------------------------------------------------------

bad '<!DOCTYPE html>\n' 'TRACE:1: unknown operation: <!DOCTYPE'
bad '0\n1\n1\n' 'TRACE:3: the file ends within its four header lines'
bad '0\n1\nx\n1\n' 'TRACE:3: a header line is not a number: x'
bad '0\n-1\n1\n1\n' 'TRACE:2: a header line is not a number: -1'
bad '0\n1 1\n1\n1\n' 'TRACE:2: something is left over: the form is one number a line in the header'
bad '0\n99999999999999999999\n1\n1\n' 'TRACE:2: a header line is too large: 99999999999999999999'
bad '0\n1\n2\n1\na 0 1\n' 'TRACE:5: the file ends after 1 of the 2 operations of its header'
bad '0\n1\n1\n1\na 0 1\nf 0\n' 'TRACE:6: more operations than the 1 of the header'

# ---- The operations --------------------------------------------------------------------------

# op LINE TEXT: a bad line after "a 0 8".
op() { bad "0\n2\n9\n1\na 0 8\n$1\n" "TRACE:6: $2"; }

file 'a 1 5\nb 1 5\n'
run 2 'TRACE:2: unknown operation: b' "$trace"
op 'x 1 1' 'unknown operation: x'
op 'aa 1 1' 'unknown operation: aa'
op '1' 'unknown operation: 1'
op 'A 1 1' 'unknown operation: A'
op 'a' 'something is missing: the form is a ID SIZE [LABEL]'
op 'a 1' 'something is missing: the form is a ID SIZE [LABEL]'
op 'f' 'something is missing: the form is f ID'
op 'c 1' 'something is missing: the form is c ID SIZE [LABEL]'
op 'r 0' 'something is missing: the form is r ID SIZE'
op 'm 1 1' 'something is missing: the form is m ID SIZE ALIGNMENT [LABEL]'
op 'a 1 1 1 1' 'something is left over: the form is a ID SIZE [LABEL]'
op 'g 1' 'something is left over: the form is g'
op 'f 0 1' 'something is left over: the form is f ID'
op 'm 1 1 8 1 1' 'something is left over at the end of the line'
op 'a 1 1 %%2' 'LABEL has a % without two digits'
op 'a 1 1 %%00' 'LABEL has a %00, which no text has'
op 'e free' 'something is missing: the form is e FUNCTION ADDRESS'
op 'e calloc 1' 'unknown function: calloc'
op 'e free x' 'ADDRESS is not a number: x'
op 'a x 1' 'ID is not a number: x'
op 'a 1x 1' 'ID is not a number: 1x'
op 'a -1 1' 'ID is not a number: -1'
op 'a +1 1' 'ID is not a number: +1'
op 'a 1 -1' 'SIZE is not a number: -1'
op 'a 1 0x10' 'SIZE is not a number: 0x10'
op 'a 1 1.5' 'SIZE is not a number: 1.5'
op 'a 1 18446744073709551616' 'SIZE is too large: 18446744073709551616'
op 'a 1 99999999999999999999999' 'SIZE is too large: 99999999999999999999999'
op 'a 99999999999999999999999 1' 'ID is too large: 99999999999999999999999'
op 'a 2 1' 'ID 2 is out of range: the header has no more than 2'
op 'a 4294967295 1' 'ID 4294967295 is out of range: the header has no more than 2'
op 'f 2' 'ID 2 is out of range: the header has no more than 2'
op 'm 1 1 0' 'ALIGNMENT is not a power of two: 0'
op 'm 1 1 24' 'ALIGNMENT is not a power of two: 24'
op 'm 1 1 x' 'ALIGNMENT is not a number: x'
op 'a 0 8' 'ID 0 is live already'
op 'c 0 8' 'ID 0 is live already'
op 'm 0 8 8' 'ID 0 is live already'
op 'f 1' 'ID 1 is not live'
op 'r 1 8' 'ID 1 is not live'
bad '0\n1\n3\n1\na 0 8\nf 0\nf 0\n' 'TRACE:7: ID 0 is not live'
bad '0\n1\n3\n1\na 0 8\nf 0\nr 0 1\n' 'TRACE:7: ID 0 is not live'
op 'a 1 1\0001' 'byte 0 is not plain text'
op 'a 1 \303\251' 'byte 195 is not plain text'
op "a 1 $(printf '%0300d' 1)" 'line longer than 255 bytes'

# ---- Options ---------------------------------------------------------------------------------

# option LINE TEXT: a bad line where options stand.
option() { bad "0\n1\n1\n1\n$1\na 0 8\n" "TRACE:5: $2"; }

option 'o' 'something is missing: the form is o NAME VALUE'
option 'o alignment' 'something is missing: the form is o NAME VALUE'
option 'o alignment 8 8' 'something is left over: the form is o NAME VALUE'
option 'o colour 8' 'unknown option: colour'
option 'o alignment x' 'VALUE is not a number: x'
option 'o policy worse-fit' 'unknown policy: worse-fit'
option 'o policy best-fits' 'unknown policy: best-fits'
option 'o policy best' 'unknown policy: best'
option 'o policy 5' 'VALUE is not a policy: 5'
option 'o alignment 3' 'VALUE is not a power of two from 1 to 64: 3'
option 'o page-size 1' "VALUE is not a power of two from the system's page size to 2097152: 1"
option 'o start' 'something is missing: the form is o NAME VALUE'
option 'p 1' 'something is left over: the form is p'
option 'o start 0' 'VALUE is not an address from 1 to 2147483648: 0'
bad '0\n1\n1\n1\no start 1\no start 2\na 0 8\n' 'TRACE:6: option start is given twice'
op 'o start 1' 'options come before the first operation'

# ---- Typed on a terminal -----------------------------------------------------------------------

# typed LINES OPTION...: leaves what is answered in out and err, without the line about help.
typed()
{
	lines=$1
	shift
	# shellcheck disable=SC2059 # the escapes are meant
	printf "$lines" | timeout 60 script -qec "${RUN:-} $replay $* - >'$work/all' 2>'$work/err'" \
		/dev/null >/dev/null && sed 1d "$work/all" >"$work/out"
}

# answers OUT ERR: just these. The last line of OUT counts.
answers()
{
	printf '%s\n' "$1" | diff "$work/out" - && printf '%s' "$2" >"$work/expected" && said
}

calls_are_answered()
{
	typed 'a 0 100\nc 1 5\nm 2 8 64\n# a remark \303\251\n\nr 0 200\nf 2\ng\np\n' && answers \
'a 0 100 -> 1000
c 1 5 -> 1104
m 2 8 64 -> 1128
r 0 200 -> 1136
f 2 -> 1128
g
MAIN[1000:5095] -> HOLE[1000:1103] <-> PROCESS[1104:1111] <-> HOLE[1112:1135] <-> PROCESS[1136:1335] <-> HOLE[1336:5095] <-> NULL
Page used: 1
Space unused: 3888
Main Chain Length: 1
Sub-chain Length array: [5]
standard input: 6 calls, 2 blocks left, at most 216 bytes in blocks, 4096 mapped' ''
}

# A line that is too long, or has other bytes, is wrong once.
wrong_lines_are_named()
{
	typed "x\na 0\na 0 1 2 3 4\n17\na 0 \303\251 f 0\n$(printf '%0300d' 1)\nf 0\na 0 8\na 0 8\n" &&
		answers 'a 0 8 -> 1000
standard input: 1 call, 1 block left, at most 8 bytes in blocks, 4096 mapped' \
'standard input:1: unknown operation: x
standard input:2: something is missing: the form is a ID SIZE [LABEL]
standard input:3: something is left over at the end of the line
standard input:4: unknown operation: 17
standard input:5: byte 195 is not plain text
standard input:6: line longer than 255 bytes
standard input:7: ID 0 is not live
standard input:9: ID 0 is live already
'
}

# As mems_malloc(0) does it, and its kin. What has failed is no call of the trace.
failing_calls_are_named()
{
	typed 'a 0 0\nc 0 0\nm 0 8 8192\na 0 8\nr 0 0\na 1 9000\nf 1\nf 0\na 0 16\n' --limit 8192 \
		--svg "$work/picture" --at peak --check &&
		answers 'a 0 8 -> 1000
f 0 -> 1000
a 0 16 -> 1000
standard input: 3 calls, 1 block left, at most 16 bytes in blocks, 4096 mapped, all checked' \
'standard input:1: Invalid argument
standard input:2: Invalid argument
standard input:3: ALIGNMENT is above the page size (see --page-size)
standard input:5: Invalid argument
standard input:6: Cannot allocate memory
standard input:7: ID 1 is not live
' && grep -q '16 of 4096 mapped bytes' "$work/picture"
}

options_are_looked_at()
{
	typed 'p\no policy best\no alignment 3\no alignment 1\no start 7\na 0 5\no limit 0\n' &&
		answers 'Page used: 0
Space unused: 0
Main Chain Length: 0
Sub-chain Length array: []
a 0 5 -> 7
standard input: 1 call, 1 block left, at most 5 bytes in blocks, 4096 mapped' \
'standard input:2: unknown policy: best
standard input:3: VALUE is not a power of two from 1 to 64: 3
standard input:7: options come before the first operation
'
}

help_lists_the_lines()
{
	typed 'help\nhelp me\n' && sed '$d' "$work/out" >"$work/help" &&
		${RUN:-} "$replay" --help | sed -n '/^  a ID/,/^  # REMARK/p' | diff - "$work/help" &&
		echo 'standard input:2: something is left over: the form is help' >"$work/expected" && said
}

# They do not get into a file.
answers_leave_standard_output()
{
	typed 'a 0 5\np\n' --json - && head -n 1 "$work/all" | grep -q '^{"schema":1,' &&
		tail -n 1 "$work/all" | grep -q '}}$' && grep -q '^a 0 5 -> 1000$' "$work/err"
}

if script -qec true /dev/null >/dev/null 2>&1 </dev/null; then
	try 'calls that are typed are answered' calls_are_answered
	try 'wrong lines are named, and the next is read' wrong_lines_are_named
	try 'calls that fail are named, and the next is made' failing_calls_are_named
	try 'options are looked at as they come' options_are_looked_at
	try 'help lists the lines' help_lists_the_lines
	try 'answers leave standard output to a file' answers_leave_standard_output
else
	echo "note: script(1) or its terminals are missing here: what is typed is not tested"
fi

# ---- The heap fails ----------------------------------------------------------------------------

huge=9223372036854775807
file "a 0 $huge\n"
if ${RUN:-} "$replay" "$trace" 2>&1 | grep -q 'too large'; then
	huge=2147483647 # of 32 bits
fi
broken "0\n1\n1\n1\na 0 $huge\n" 'TRACE:5: Cannot allocate memory'
broken '0\n1\n1\n1\nm 0 8 8192\n' 'TRACE:5: ALIGNMENT is above the page size (see --page-size)'

[ $failures -eq 0 ]
