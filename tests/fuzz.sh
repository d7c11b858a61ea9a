#!/bin/sh
# tests/fuzz.sh FOLDER SECONDS [OPTION...]: runs both fuzz targets, which were built in the folder,
# from the inputs in tests/corpus on; the heap for so many seconds, and beside it the reader of
# traces for a third of them. The options go to libFuzzer.
# tests/fuzz.sh FOLDER merge: puts what earlier runs found into tests/corpus, as few inputs as do
# (with the libFuzzer of clang 14 or a later one).
#
# New inputs go to FOLDER/corpus, those that break something to FOLDER/crashes. Exit 1 if there are
# any. FOLDER/results has how many of the two targets held and how many did not.
set -eu

folder=$1
seconds=$2
shift 2
crashes=$folder/crashes
mkdir -p "$crashes"

# The model frees much. What a trace makes its reader allocate is bounded.
export ASAN_OPTIONS="quarantine_size_mb=8${ASAN_OPTIONS:+:$ASAN_OPTIONS}"
options='-only_ascii=1 -timeout=20'
options_heap=-max_len=256
options_trace='-max_len=1000 -malloc_limit_mb=1'

# target NAME OPTION...: runs one with its options.
target()
{
	name=$1
	shift
	eval "more=\$options_$name"
	# shellcheck disable=SC2086,SC2154 # lists of words
	"$folder/tests/fuzz_$name" $options $more "$@"
}

# fuzz NAME SECONDS OPTION...: runs it from all that is known on.
fuzz()
{
	name=$1
	seconds=$2
	shift 2
	mkdir -p "$folder/corpus/$name"
	target "$name" -max_total_time="$seconds" -print_final_stats=1 \
		-artifact_prefix="$crashes/$name-" "$@" "$folder/corpus/$name" "tests/corpus/$name" \
		>"$folder/$name.log" 2>&1
}

# number NAME TEXT: the number behind the text in what the target said.
number()
{
	sed -n "s/.*$2 *\([0-9][0-9]*\).*/\1/p" "$folder/$1.log" | tail -n 1
}

# report NAME STATUS: what it did; and what it said of the input that broke it, and how to repeat
# that.
report()
{
	echo "fuzz_$1: $(number "$1" 'number_of_executed_units:') inputs," \
		"$(number "$1" 'new_units_added:') new, seed $(number "$1" 'Seed:')"
	if [ "$2" -eq 0 ]; then
		passed=$((passed + 1))
		return
	fi
	failed=$((failed + 1))
	grep -vE '^#|^INFO: ' "$folder/$1.log" | tail -n 60
	written=$(sed -n 's/.*Test unit written to //p' "$folder/$1.log" | tail -n 1)
	echo "fuzz_$1 FAILED; repeat with: FUZZ_VERBOSE=1 $folder/tests/fuzz_$1 ${written:-?}"
}

merge()
{
	rm -rf "$folder/merged/$1"
	mkdir -p "$folder/merged/$1" "$folder/corpus/$1"
	target "$1" -set_cover_merge=1 "$folder/merged/$1" "tests/corpus/$1" "$folder/corpus/$1" \
		>"$folder/merge.log" 2>&1 || { cat "$folder/merge.log"; exit 1; }
	grep -rL . "$folder/merged/$1" | xargs -r rm -f # empty lines alone: not worth keeping
	rm -rf "tests/corpus/$1"
	mv "$folder/merged/$1" "tests/corpus/$1"
	find "tests/corpus/$1" -type f -exec chmod 644 {} +
	echo "tests/corpus/$1: $(find "tests/corpus/$1" -type f | wc -l) inputs," \
		"$(cat "tests/corpus/$1"/* | wc -c) bytes"
}

if [ "$seconds" = merge ]; then
	merge heap
	merge trace
	exit
fi

passed=0
failed=0
heap_status=0
trace_status=0
fuzz trace $(((seconds + 2) / 3)) "$@" &
fuzz heap "$seconds" "$@" || heap_status=$?
wait $! || trace_status=$?
report heap $heap_status
report trace $trace_status
echo "$passed $failed" >"$folder/results"
[ $failed -eq 0 ]
