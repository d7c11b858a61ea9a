#!/bin/sh
# Shows that programs.sh can fail: damages sample/preload/preload.c in one way after another and
# demands that each is noticed.
#
#     tests/programs/sabotage.sh ALLOCATOR "OBJECT..." COMPILER...
#
# OBJECT... are the others that the preload is made of; COMPILER... the command that makes one of C.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
folder=$here/../../sample/preload
preload=$folder/preload.c
allocator=$1
others=$2
shift 2
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM
status=0

# The preload with one line changed by sed: damaged EXPRESSION COMMAND...
damaged() {
	expression=$1
	shift
	sed "$expression" "$preload" >"$work/preload.c"
	! cmp -s "$preload" "$work/preload.c" || { echo "no line for $expression"; return 1; }
	# shellcheck disable=SC2086 # a list of words
	"$@" -I"$folder" -fPIC -fvisibility=hidden -fno-builtin -w "$work/preload.c" \
		-o "$work/preload.o" &&
		${CC:-cc} -shared -Wl,--exclude-libs,ALL "$work/preload.o" $others -o "$work/preload.so"
}

# noticed WHAT PROGRAMS REASON EXPRESSION COMPILER...: programs.sh fails and gives the reason.
noticed() {
	what=$1
	programs=$2
	reason=$3
	shift 3
	if ! damaged "$@"; then
		status=1
	elif "$here/programs.sh" --quick --policies quick_fit --only "$programs" "$work/preload.so" \
			"$allocator" >"$work/out" 2>&1; then
		echo "NOT noticed: $what ($programs)"
		status=1
	elif ! grep -q "FAILED: .*$reason" "$work/out"; then
		echo "noticed for another reason: $what ($programs)"
		cat "$work/out"
		status=1
	else
		echo "noticed: $what ($programs)"
	fi
}

other='something else was printed or written'
for program in allocator perl; do
	noticed 'calloc does not zero' $program "$other" \
		's/given(mems_calloc(count_of, size))/given(mems_malloc(count_of * size))/' "$@"
done
for program in allocator sqlite3 perl; do
	noticed 'realloc loses the contents' $program "$other" \
		's/given(mems_realloc(v_ptr, size))/block_take(size)/' "$@"
done
noticed 'blocks are freed twice' zstd 'misuses in zstd' \
	's/^\t\tmems_free(v_ptr);/&mems_free(v_ptr);/' "$@"
noticed 'nothing is exported' zstd 'did not run on the heap' \
	's/visibility("default")/visibility("hidden")/' "$@"
noticed 'mems_check finds something' zstd 'mems_check found [1-9]' \
	's/int broken = mems_check(NULL);/int broken = mems_check(NULL) + 1;/' "$@"
noticed 'alignments are refused' allocator 'alignments refused' \
	's/^\tcount(&preload.failed);/count(\&preload.refused);/' "$@"
noticed 'blocks are aligned to 8' allocator 'exit status' 's/ALIGNMENT = 16,/ALIGNMENT = 8,/' "$@"
noticed 'malloc(0) gives NULL' allocator 'exit status' \
	's/mems_malloc(size + (size == 0))/mems_malloc(size)/' "$@"
noticed 'free changes errno' allocator 'exit status' \
	's/^\tblock_free(block, "free");/& errno = 1;/' "$@"
noticed 'the reports show another heap' perl 'reports do not agree' \
	's/^\tmems_fprint_json(out);/mems_malloc(1000000); &/' "$@"
exit $status
