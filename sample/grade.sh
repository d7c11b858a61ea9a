#!/bin/sh
# sample/grade.sh FOLDER [PROGRAM...]: compares a student's own MeMS with the library.
#
# FOLDER has mems.h and, unless all is in there, C sources; those with a main are left out. They have
# to offer mems_init, mems_malloc, mems_free, mems_get, mems_print_stats and mems_finish. Each program
# of sample/grade/ (or those that are named) is built with them and with the library, and what the
# two print is compared line by line: the addresses, the chains, the totals. Spaces do not count,
# nor whether it says P or PROCESS, H or HOLE, nor a comma at the end of an array; what else is
# printed is ignored. CC and CFLAGS are yours.
#
# Prints a table: for each program up to 10 points, for the part of the lines before the first that
# differs, and that difference. Exits with 0 for full points, 1 for less, 2 if it could not be done.
#
# A program is stopped after 2 seconds of its own or 10 by the clock, and when it has printed 1 MiB; it
# has 1 GiB of memory. It runs with your rights all the same: grade unknown code in a container.
set -u

usage()
{
	echo "usage: sample/grade.sh FOLDER [PROGRAM...]" >&2
	[ -z "${1:-}" ] || echo "grade.sh: $1" >&2
	exit 2
}

case ${1:-} in -h | --help) sed -n '2,/^set/s/^# \{0,1\}//p' "$0"; exit ;; esac
here=$(cd "$(dirname "$0")" && pwd) || exit 2
top=$(dirname "$here")
[ $# -ge 1 ] || usage
[ -f "$1/mems.h" ] || usage "there is no mems.h in $1"
[ -f "$top/libmems.a" ] || usage "there is no libmems.a: run make first"
folder=$(cd "$1" && pwd) || exit 2
shift
[ $# -gt 0 ] || set -- "$here"/grade/*.c
work=$(mktemp -d) || exit 2
trap 'rm -rf "$work"' EXIT
trap 'exit 2' HUP INT TERM

# ---- Building and running ----------------------------------------------------------------------

has_main()
{
	grep -Eqs '^([[:space:]]*(extern|int|void))*[[:space:]]*main[[:space:]]*\(' "$1"
}

# build PROGRAM: with the student's MeMS.
build()
{
	for source in "$folder"/*.c; do
		[ ! -f "$source" ] || has_main "$source" || set -- "$@" "$source"
	done
	# shellcheck disable=SC2086 # a list of words
	${CC:-cc} ${CFLAGS:--O1 -g} -std=gnu11 -w -I"$folder" -I"$here/grade" "$@" -lm \
		-o "$work/student" 2>"$work/errors"
}

build_library()
{
	# shellcheck disable=SC2086 # a list of words
	${CC:-cc} ${CFLAGS:--O1 -g} -std=gnu11 -I"$top" -I"$here/grade" "$1" "$top/libmems.a" \
		-o "$work/library"
}

# Runs the student's program within limits; leaves in $ended how it ended.
run()
{
	(
		ulimit -c 0 && ulimit -t 2 && ulimit -v 1048576 && ulimit -f 2048 &&
			timeout -s KILL 10 "$work/student" >"$work/printed" </dev/null
		exit $?
	) 2>/dev/null
	status=$?
	case $status in
	0) ended= ;;
	137 | 152) ended='stopped, for it took too long' ;;
	153) ended='stopped, for it printed too much' ;;
	139) ended='crashed: segmentation fault' ;;
	134) ended='crashed: aborted' ;;
	*) ended="ended with status $status" ;;
	esac
}

# ---- Comparing ---------------------------------------------------------------------------------

# The lines that count, in one way of writing them.
plain()
{
	awk '/^= / { print; next }
		{ gsub(/[ \t\r]/, ""); gsub(/PROCESS\[/, "P["); gsub(/HOLE\[/, "H["); sub(/,\]$/, "]") }
		/^(MAIN\[|Pageused:|Spaceunused:|MainChainLength:|Sub-chainLengtharray:)/' "$1"
}

# Says how many lines are expected, how many are as expected before the first that is not, and that
# one: "COUNT GOOD TEXT". Long lines are shown from shortly before where they differ.
first_difference()
{
	awk -v printed="$2" '
		function part(line) { return from > 1 ? "..." substr(line, from, 50) : substr(line, 1, 50) }
		{
			all++
			if (text != "") next
			if ((getline other < printed) <= 0) text = "ends; expected " substr($0, 1, 50)
			else if (other == $0) good++
			else {
				for (at = 1; substr(other, at, 1) == substr($0, at, 1); at++) ;
				from = at > 20 ? at - 15 : 1
				text = part(other) "; expected " part($0)
			}
		}
		END {
			if (text == "" && (getline other < printed) > 0)
				text = "too much: " substr(other, 1, 50)
			print all + 0, good + 0, text == "" ? "" : "line " good + 1 ": " text
		}' "$1"
}

# grade PROGRAM: sets points, and remark, which is empty if nothing is wrong.
grade()
{
	points=0
	[ -f "$1" ] || usage "there is no $1"
	if ! build "$1"; then
		what='error: |undefined reference|multiple definition'
		remark="does not compile: $(grep -oE "($what).*" "$work/errors" | sed 's/^error: //; s/;.*//; q')"
		return
	fi
	run
	plain "$work/printed" >"$work/found"
	# Only now, for the student's program could read it.
	build_library "$1" && "$work/library" >"$work/printed" || usage "$1 does not run"
	plain "$work/printed" >"$work/expected"
	first_difference "$work/expected" "$work/found" >"$work/difference"
	read -r all good remark <"$work/difference"
	points=$((10 * good / all))
	[ -z "$remark$ended" ] || [ "$points" -lt 10 ] || points=9
	remark=$ended${ended:+${remark:+; }}$remark
}

for source in "$folder"/*.c; do
	! has_main "$source" || echo "${source##*/} has a main, and is left out."
done
total=0
printf '%-16s %6s  %s\n' program points 'first difference'
for program in "$@"; do
	grade "$program"
	total=$((total + points))
	printf '%-16s %3d/10  %s\n' "$(basename "$program" .c)" "$points" "$remark"
done
printf '%-16s %3d/%d\n' total "$total" $(($# * 10))
[ "$total" -eq $(($# * 10)) ]
