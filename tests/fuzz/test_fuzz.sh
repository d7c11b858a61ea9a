#!/bin/sh
# The inputs that the fuzz targets have found worth keeping, those in corpus, run as they are by any
# compiler: fuzz_heap against the model, fuzz_trace on the reader of traces, fuzz_image on mems_load,
# fuzz_core on what mems-look does first.
set -u

work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
. tests/check.sh

# holds PROGRAM FOLDER: the program runs every input in the folder, of which there are some.
holds()
{
	${RUN:-} "$1" "$2"/* >"$work/out" 2>"$work/err" &&
		grep -q '^[1-9][0-9]* inputs ran$' "$work/out" && return
	cat "$work/err"
	echo "the last input: $(tail -n 1 "$work/out")"
	return 1
}

built=build/default/tests/fuzz
check "calls of the heap" holds "${FUZZ_HEAP:-$built/fuzz_heap}" tests/fuzz/corpus/heap
check "traces" holds "${FUZZ_TRACE:-$built/fuzz_trace}" tests/fuzz/corpus/trace
check "images" holds "${FUZZ_IMAGE:-$built/fuzz_image}" tests/fuzz/corpus/image
check "core dumps" holds "${FUZZ_CORE:-$built/fuzz_core}" tests/fuzz/corpus/core
exit $status
