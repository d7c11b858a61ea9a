#!/bin/sh
# coverage.txt names lines that mems.c has, which make coverage would find out after a quarter of an
# hour. And what coverage.awk makes of counts: each way in which they and a list can differ.
# shellcheck disable=SC2317 # the functions are called by check
set -u

work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
. tests/check.sh
[ -z "${VARIANT:-}${RUN:-}" ] || skip=1

# lists_lines_of SOURCE LIST: each entry is a line of that function, so many times as it is listed.
lists_lines_of()
{
	awk '
		FNR == 1 { file++ }
		file == 1 && /^[a-zA-Z_].*\(/ { split($0, words, "("); name = words[1]; sub(/.*[ *]/, "", name) }
		file == 1 && /^[ \t]/ { sub(/^[ \t]+/, ""); count[name ": " $0]++ }
		file == 2 && !/^(#|[ \t]|$)/ && count[$0]-- <= 0 { print "no such line: " $0; bad = 1 }
		END { exit bad || file != 2 }' "$1" "$2"
}

list_is_of_mems_c()
{
	lists_lines_of mems.c tests/coverage/coverage.txt
}

source_of_two()
{
	cat <<'END'
static int *one(int a)
{
	if (a)
		return x;
	return x;
}

static void two(int a,
                int b)
{
	a();
}
END
}

# list ENTRY...: each with a reason.
list()
{
	printf '# comment\n\n' >"$work/list"
	[ $# -eq 0 ] || printf '%s\n\twhy\n' "$@" >>"$work/list"
}

lines_are_sought_in_their_functions()
{
	source_of_two >"$work/source"
	list 'one: return x;' 'one: return x;' 'two: a();' &&
		lists_lines_of "$work/source" "$work/list" || return
	for entry in 'three: a();' 'one: a();' 'two: b();' 'two: a()'; do
		list 'two: a();' "$entry"
		! lists_lines_of "$work/source" "$work/list" >"$work/said" || return
		echo "no such line: $entry" | diff - "$work/said" || return
	done
	list 'two: a();' 'two: a();'
	! lists_lines_of "$work/source" "$work/list" >"$work/said"
}

# What gcov says of the two, compiled twice in one build: in the second, one() is reached as well.
counts_of_two()
{
	for first in '#####' 1; do
		printf '%s\n' folder:build '        -:    0:Source:mems.c' 'function one called 1' \
			'        1:    3:	if (a)' 'branch  0 taken 1' 'branch  1 taken 0' \
			"    $first:    4:		return x;" '    #####:    5:	return x;' \
			'        -:    6:}' 'function two called 1' '        1:   11:	a();' \
			'        -:    0:Source:other.h' '    #####:    7:	other();'
	done
}

# judges LINES BRANCHES [COMPILATIONS]: what coverage.awk says of these counts, with the list and these
# goals.
judges()
{
	counts_of_two | awk -v list="$work/list" -v compilations="${3:-2}" \
		-v least_lines="$1" -v least_branches="$2" -f tests/coverage/coverage.awk >"$work/said"
}

# complains LINE: the whole of one.
complains()
{
	! judges 75 50 && grep -qxF "$1" "$work/said" && return
	cat "$work/said"
	return 1
}

all_is_well()
{
	list 'one: return x;'
	judges 75 50 && grep -qx 'mems.c:3: one: 1 of 2: if (a)' "$work/said" && return
	cat "$work/said"
	return 1
}

what_is_not_reached_needs_a_reason()
{
	list
	complains "mems.c:5: not reached, and no reason in $work/list: one: return x;" || return
	echo 'one: return x;' >"$work/list"
	complains "$work/list:1: no reason is given: one: return x;"
}

what_is_reached_needs_none()
{
	list 'one: return x;' 'two: a();'
	complains "$work/list:5: reached: two: a();" || return
	list 'one: return x;' 'one: return x;'
	complains "$work/list:5: reached: one: return x;"
}

what_is_gone_is_noticed()
{
	list 'one: return x;' 'three: return x;'
	complains "$work/list:5: no such line: three: return x;" || return
	list 'one: return x;' 'one: return y;'
	complains "$work/list:5: no such line: one: return y;"
}

goals_are_kept()
{
	list 'one: return x;'
	! judges 76 50 && grep -qx 'build: fewer lines than 76 %' "$work/said" &&
		! judges 75 51 && grep -qx 'build: fewer branches than 51 %' "$work/said" && return
	cat "$work/said"
	return 1
}

each_compilation_is_there()
{
	list 'one: return x;'
	! judges 75 50 3 && grep -qx 'gcov tells of mems.c 2 times, not 3' "$work/said" && return
	cat "$work/said"
	return 1
}

check "the list of lines that no test reaches names lines of mems.c" list_is_of_mems_c
check "lines are sought in their functions" lines_are_sought_in_their_functions
check "counts that are in order" all_is_well
check "a line that is not reached needs a reason" what_is_not_reached_needs_a_reason
check "a line that is reached needs none" what_is_reached_needs_none
check "a line that is gone is noticed" what_is_gone_is_noticed
check "the goals are kept" goals_are_kept
check "a compilation that was not counted is noticed" each_compilation_is_there
exit $status
