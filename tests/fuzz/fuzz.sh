#!/bin/sh
# tests/fuzz/fuzz.sh FOLDER SECONDS [OPTION...]: runs the fuzz targets, from the inputs in corpus on.
# The heap with AddressSanitizer and what loads images run for so many seconds, as they were built in
# FOLDER. Beside them run first the reader of traces, then the heap without AddressSanitizer, from
# FOLDER-direct; and for a third of the time what opens core dumps. The options go to libFuzzer.
# tests/fuzz/fuzz.sh FOLDER merge: puts what earlier runs found into corpus, as few inputs as do
# (with the libFuzzer of clang 14 or a later one).
#
# New inputs go to FOLDER/corpus, those that break something to FOLDER/crashes. Exit 1 if there are
# any. FOLDER/results has how many of the five runs held and how many did not.
set -eu

folder=$1
seconds=$2
shift 2
heap=$folder/tests/fuzz/fuzz_heap
direct=$folder-direct/tests/fuzz/fuzz_heap
trace=$folder/tests/fuzz/fuzz_trace
image=$folder/tests/fuzz/fuzz_image
core=$folder/tests/fuzz/fuzz_core
mkdir -p "$folder/crashes"
for name in heap trace image core; do
	mkdir -p "$folder/corpus/$name"
done

# The model frees much.
export ASAN_OPTIONS="quarantine_size_mb=8${ASAN_OPTIONS:+:$ASAN_OPTIONS}"

# fuzz NAME PROGRAM CORPUS SECONDS OPTION...: leaves its output in FOLDER/NAME.log and its exit
# status, last, in FOLDER/NAME.status.
fuzz()
{
	name=$1
	program=$2
	corpus=$3
	time=$4
	shift 4
	status=0
	"$program" -only_ascii=1 -timeout=20 -max_total_time="$time" -print_final_stats=1 \
		-artifact_prefix="$folder/crashes/$name-" "$@" \
		"$folder/corpus/$corpus" "tests/fuzz/corpus/$corpus" >"$folder/$name.log" 2>&1 || status=$?
	echo "$status" >"$folder/$name.status"
}

# number NAME TEXT: the last number behind the text in what the run said.
number()
{
	sed -n "s/.*$2 *\([0-9][0-9]*\).*/\1/p" "$folder/$1.log" | tail -n 1
}

# report NAME PROGRAM: what the run did; and what it said of the input that broke it, and how to
# repeat that.
report()
{
	echo "$1: $(number "$1" number_of_executed_units:) inputs," \
		"$(number "$1" new_units_added:) of them new, seed $(number "$1" Seed:)"
	if [ "$(cat "$folder/$1.status")" -eq 0 ]; then
		passed=$((passed + 1))
		return
	fi
	failed=$((failed + 1))
	grep -vE '^#|^INFO: |^stat::' "$folder/$1.log" | tail -n 60
	written=$(sed -n 's/.*Test unit written to //p' "$folder/$1.log" | tail -n 1)
	echo "$1 FAILED; repeat with: FUZZ_VERBOSE=1 $2 ${written:-(no input was written)}"
}

# merge CORPUS PROGRAM...: the fewest inputs that cover all that the first program reaches with
# those there are, and what the others need besides.
merge()
{
	corpus=$1
	shift
	merged=$folder/merged/$corpus
	flag=-set_cover_merge=1
	rm -rf "$merged"
	mkdir -p "$merged"
	for program in "$@"; do
		"$program" -only_ascii=1 -rss_limit_mb=0 -max_len=1000 $flag "$merged" \
			"tests/fuzz/corpus/$corpus" "$folder/corpus/$corpus" >"$folder/merge.log" 2>&1 || {
			cat "$folder/merge.log"
			exit 1
		}
		flag=-merge=1
	done
	grep -rL . "$merged" | xargs -r rm -f # empty lines alone
	rm -rf "tests/fuzz/corpus/$corpus"
	mv "$merged" "tests/fuzz/corpus/$corpus"
	echo "tests/fuzz/corpus/$corpus: $(find "tests/fuzz/corpus/$corpus" -type f | wc -l) inputs," \
		"$(cat "tests/fuzz/corpus/$corpus"/* | wc -c) bytes"
}

if [ "$seconds" = merge ]; then
	merge heap "$direct" "$heap"
	merge trace "$trace"
	merge image "$image"
	merge core "$core"
	exit
fi

# The reader of a small trace may not allocate much at once. Without a limit of memory libFuzzer has
# no second thread, which would keep the library from its direct ways. Of the addresses of heaps that
# were loaded and are gone, AddressSanitizer keeps its notes: some GiB in a million images.
third=$(((seconds + 2) / 3))
{
	fuzz trace "$trace" trace "$third" -max_len=1000 -malloc_limit_mb=1 "$@"
	fuzz direct "$direct" heap "$((seconds - third))" -max_len=256 -rss_limit_mb=0 "$@"
} &
fuzz core "$core" core "$third" -only_ascii=0 -max_len=400 "$@" &
fuzz image "$image" image "$seconds" -only_ascii=0 -max_len=2000 -rss_limit_mb=8192 "$@" &
fuzz heap "$heap" heap "$seconds" -max_len=256 "$@"
wait

passed=0
failed=0
report heap "$heap"
report direct "$direct"
report trace "$trace"
report image "$image"
report core "$core"
echo "$passed $failed" >"$folder/results"
[ $failed -eq 0 ]
