#!/bin/sh
# tests/coverage/coverage.sh LIST FOLDER...: what the tests reach of mems.c, from the counts that
# they left in the folders, one for each build. In each, mems.c was compiled for the library, and into
# each test that includes it: $UNITS says for which. A line or a branch is reached where one of these
# reached it.
#
# Fails where a build has less than 98 % of the lines or less than 90 % of the branches, and where
# the LIST does not name exactly the lines that no build reached. In it, an entry is
#
#     FUNCTION: TEXT OF THE LINE
#     <tab>why no test reaches it, on one or more lines
#
# so that entries stay right when lines move. A text that is not reached twice in a function is
# there twice. Lines that begin with # are comments.
#
# Branches that were never taken are listed, no more: a condition has two, so that a line which is
# reached may still have some.
set -eu

list=$1
shift

# The counts of every compilation, after one line that says what it belongs to.
counts()
{
	for folder in "$@"; do
		for unit in $UNITS; do
			if [ -n "$(find mems.c -newer "$folder/$unit.gcno")" ]; then
				echo "mems.c is newer than what was counted: make coverage" >&2
				exit 1
			fi
			echo "folder:$folder"
			${GCOV:-gcov} --branch-probabilities --branch-counts --stdout \
				"$folder/$unit.gcda"
		done
	done
}

counts "$@" >"$1/coverage.gcov"
awk -v list="$list" -v compilations="$(echo "$UNITS" | wc -w)" -v least_lines=98 \
	-v least_branches=90 -f tests/coverage/coverage.awk "$1/coverage.gcov"
