#!/bin/sh
# tests/run.sh FOLDER PROGRAM...: runs test programs in turn, each through the words of $RUN, if
# any (an emulator, for a program of another machine), and the scripts among them beside the others.
# Says what passed, shows the output of what failed, and leaves the two totals in FOLDER/results, one
# line "PASSED FAILED".
#
# A program that reports its tests the way cmocka does counts test by test, others as a whole.
# Programs run once under each policy of placement, which they find in $POLICY; test_quick knows its
# own, and some need none. Scripts (*.sh) run once, without $RUN: they get it from the environment.
#
# What still runs after $TIME_LIMIT seconds hangs: it is ended, and has failed. Without one that is ten
# minutes, and an hour with $RUN.
set -u

folder=$1
shift
mkdir -p "$folder"
unset POLICY
limit=${TIME_LIMIT:-${RUN:+3600}}
limit=${limit:-600}

# What hangs is ended with all its children; on a terminal it can be interrupted instead.
foreground=
(: </dev/tty) 2>/dev/null && foreground=--foreground

# Exit 124 or 137 where the program was ended.
run()
{
	case $1 in
	*.sh) timeout $foreground -k 10 "$limit" "$1" ;;
	*) timeout $foreground -k 10 "$limit" ${RUN:-} "$1" ;;
	esac
}

count()
{
	grep -cF "$1" "$folder/$stream.out"
}

# The output of the last program without the tests that passed in silence.
complain()
{
	awk 'index($0, "[ RUN      ]") { if (held != "") print held; held = $0; next }
		index($0, "[       OK ]") { if (held == "") print; held = ""; next }
		{ if (held != "") print held; held = ""; print }
		END { if (held != "") print held }' "$folder/$stream.out"
	cat "$folder/$stream.err"
}

# Runs one program, which is shown by this name, and adds it to the totals.
try()
{
	program=$1
	name=$2
	began=$(date +%s%N)
	run "$program" >"$folder/$stream.out" 2>"$folder/$stream.err" </dev/null
	status=$?
	tenths=$((($(date +%s%N) - began) / 100000000))
	good=$(count '[       OK ]')
	skipped=$(count '[  SKIPPED ]')
	bad=$(($(count '[ RUN      ]') - good - skipped))
	if [ $((good + bad + skipped)) -eq 0 ]; then
		good=$((status == 0))
		bad=$((status != 0))
	elif [ "$status" -ne 0 ] && [ "$bad" -eq 0 ]; then
		bad=1
	fi
	if [ "$status" -eq 0 ] && [ "$bad" -ne 0 ]; then
		status=1
	fi
	note=
	[ "$skipped" -eq 0 ] || note=", $skipped skipped"
	[ "$bad" -eq 0 ] || note="$note, $bad FAILED (exit $status)"
	case $status in
	124 | 137) [ $tenths -lt $((limit * 10)) ] || note="$note, ended after $limit s" ;;
	esac
	printf '%-24s %4d passed%s  (%d.%d s)\n' \
		"$name" "$good" "$note" $((tenths / 10)) $((tenths % 10))
	if [ "$bad" -ne 0 ]; then
		complain
	else
		grep '^note:' "$folder/$stream.out"
	fi
	passed=$((passed + good))
	failed=$((failed + bad))
}

# Runs those of the programs that belong to the stream, "scripts" or "programs".
run_stream()
{
	stream=$1
	shift
	passed=0
	failed=0
	for program in "$@"; do
		name=$(basename "$program" .sh)
		case $stream/$program in
		programs/*/test_quick | programs/*/test_placer | programs/*/test_protocol | \
			programs/*/test_stale.sh) try "$program" "$name" ;;
		scripts/*/test_stale.sh) ;; # among the programs, which have less to do
		scripts/*.sh) try "$program" "$name" ;;
		scripts/* | *.sh) ;;
		*)
			export POLICY=first_fit
			try "$program" "$name"
			export POLICY=quick_fit
			try "$program" "$name (quick)"
			unset POLICY
			;;
		esac
	done
	echo "$passed $failed" >"$folder/$stream.results"
	rm -f "$folder/$stream.out" "$folder/$stream.err"
}

run_stream scripts "$@" >"$folder/scripts.log" &
run_stream programs "$@"
wait
cat "$folder/scripts.log"
read -r passed failed <"$folder/programs.results"
read -r more_passed more_failed <"$folder/scripts.results"
passed=$((passed + more_passed))
failed=$((failed + more_failed))
echo "$passed $failed" >"$folder/results"
rm -f "$folder/scripts.log" "$folder/scripts.results" "$folder/programs.results"
printf '%-24s %4d passed, %d failed\n' "$folder" $passed $failed
[ $failed -eq 0 ]
