#!/bin/sh
# Runs every command of sample/README.md, from top to bottom, in a folder that has all of the project
# in it; where a block of text follows, that is what they print.
# shellcheck disable=SC2317 # the functions are called by check
set -u

work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
. tests/check.sh

[ -z "${RUN:-}${VARIANT:-}" ] || skip=yes # it has nothing to say of other builds

ln -s "$PWD"/* "$work"
text=$PWD/sample/README.md

# The Nth block that is fenced as sh, and the block of text right behind it.
block()
{
	awk -v wanted="$1" -v kind="$2" '
		/^```/ { fenced = !fenced; if (!fenced) next
			if ($0 == "```sh") n++; now = substr($0, 4); fresh = now == "sh" || fresh; next }
		!fenced && /[^ ]/ { fresh = 0 }
		fenced && n == wanted && now == kind && (kind == "sh" || fresh)' "$text"
}

runs_as_it_says()
{
	block "$1" sh >"$work/commands" && block "$1" text >"$work/expected"
	(cd "$work" && timeout 120 sh -e commands) >"$work/out" 2>"$work/err" && [ ! -s "$work/err" ] || {
		cat "$work/out" "$work/err"
		return 1
	}
	[ ! -s "$work/expected" ] || { sed 's/ *$//' "$work/out" | diff "$work/expected" -; }
}

blocks=$(grep -c '^```sh$' "$text")
number=0
while [ $((number += 1)) -le "$blocks" ]; do
	check "$(block $number sh | head -n 1)" runs_as_it_says $number
done

# What it names is there.
names_what_is_there()
{
	grep -o '`[^`]*`' "$text" | tr -d '`' | grep -E '^(sample|tests|example)[^ ]*$' |
		while read -r path; do
			[ -e "$path" ] || { echo "$path is not there"; exit 1; }
		done
}
check 'the files that it names' names_what_is_there

# Each of them replays as it is; what is refused, in the last one, is said to be.
replays_the_exercises()
{
	for exercise in sample/exercises/*.trace; do
		sample/mems-replay --print "$exercise" >"$work/out" 2>"$work/err" && [ ! -s "$work/err" ] ||
			{ cat "$work/err"; return 1; }
	done
	[ "$(grep -c ' -> NULL: beyond the limit$' "$work/out")" -eq 2 ] &&
		tail -n 1 "$work/out" | grep -q ', 2 beyond the limit of 65536 bytes$'
}
check 'the exercises replay' replays_the_exercises

# What lesson 4 says of a limit: who has room for all, who maps less than without it, and who as much.
knows_the_limit()
{
	limit=$(grep -o 'Set a limit: `--limit [0-9]*' "$text" | grep -o '[0-9]*$') &&
		for options in "--limit $limit" '--limit 0'; do
			# shellcheck disable=SC2086 # a list of words
			sample/mems-replay --compare $options tests/traces/vim.rep || return
		done | awk '/at the peak/ && /^bytes/ { for (i = 6; i <= 10; i++) bytes[++n] = $i }
			/could not be had/ { for (i = 7; i <= 11; i++) printf "%s ", $i ? "lacks" : "has" }
			END { for (i = 1; i <= 5; i++) printf "%s ", bytes[i] < bytes[i + 5] ? "less" : "as-much" }' \
			>"$work/limit" &&
		echo 'has has has lacks has less as-much less less as-much ' | tr -d '\n' | diff - "$work/limit" &&
		grep -qF 'Why do first fit and best' "$text"
}
check 'what it says of a limit' knows_the_limit

# Ten exercises, titles and all, in the order of the table.
has_the_exercises()
{
	sed -n 's/^| [0-9]* | \([^|]*\) | .*/\1/p' "$text" >"$work/titles"
	head -qn 1 sample/exercises/*.trace | sed 's/^# //' | diff "$work/titles" -
}
check 'the exercises by their titles' has_the_exercises

exit $status
