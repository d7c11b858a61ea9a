#!/bin/sh
# mems-look: core dumps of programs that ended on purpose or were killed at random moments, stripped
# ones too, images, differences; files that are damaged, cut off or of something else; GDB.
# shellcheck disable=SC2317,SC3045 # the functions are called by check; dash, too, has ulimit -c
set -u

work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
. tests/check.sh

top=$PWD
arm64_cc=aarch64-linux-gnu-gcc
look=$PWD/${LOOK:-sample/mems-look}
damage=$PWD/${DAMAGE:-build/default/tests/look/damage}
script=$PWD/sample/look/mems-gdb.py
seed=${SEED:-$(date +%s)}
echo "seed $seed"

# Core dumps are written where the program is, if the system writes them to files at all; programs
# of an emulator or a sanitizer write none, or too large ones.
pattern=$(cat /proc/sys/kernel/core_pattern 2>/dev/null)
case "$pattern${VARIANT:-}${RUN:-}" in
core | core.%p) ;;
*)
	echo "note: no core dumps of these programs can be had here: skipped"
	skip=1
	;;
esac
[ -n "$skip" ] || strip -o "$work/dead" "${DEAD:-build/default/tests/look/dead}" || exit 1
cd "$work" || exit 1

# dies ARGUMENT...: the program leaves the file core.
dies()
{
	rm -f core core.*
	(ulimit -c unlimited && ./dead "$@" 2>/dev/null) 2>/dev/null
	[ -e core ] || mv core.* core
}

# ends_with STATUS COMMAND...: with this exit status, and no more than a line of errors.
ends_with()
{
	wanted=$1
	shift
	"$@" >said 2>errors
	got=$?
	[ "$got" -eq "$wanted" ] && [ "$(wc -l <errors)" -le 1 ] && return
	echo "$* ends with $got"
	cat said errors
	return 1
}

# refused FILE TEXT: in one line that has this text.
refused()
{
	ends_with 2 "$look" "$1" && [ ! -s said ] && grep -q "^mems-look: $1: .*$2" errors && return
	cat said errors
	return 1
}

shows_the_chains()
{
	for policy in first_fit quick_fit; do
		for alignment in 1 8 64; do
			dies "$policy" "$alignment" "$seed" 3000 chains || return 1
			for file in core chains.image; do
				"$look" --print "$file" | cmp - chains &&
					ends_with 0 "$look" --check "$file" || return 1
			done
			[ "$("$look" --diff core chains.image | grep -c .)" -eq 1 ] || return 1
			grep -q '^0 taken, 0 freed, 0 resized, 0 changed, [1-9]' <<-END || return 1
				$("$look" --diff core chains.image)
			END
		done
	done
}

# What threads had in their caches is free.
shows_the_caches_of_threads()
{
	for alignment in 1 8 64; do
		dies threads "$alignment" "$seed" 3000 chains || return 1
		"$look" --print core | cmp - chains && ends_with 0 "$look" --check core || return 1
	done
}

writes_json_and_a_picture()
{
	for file in core chains.image; do
		"$look" --json heap.json --svg heap.svg "$file" &&
			jq -e '.schema == 1' heap.json >/dev/null && xmllint --noout heap.svg &&
			[ "$(jq '[.main_chain[].sub_chain[]] | length' heap.json)" -eq \
			"$(grep -oE '(PROCESS|HOLE)\[' chains | wc -l)" ] || return 1
	done
}

# As the program did itself, its labels and callers included.
answers()
{
	"$look" --live core | cmp - chains.live || return 1
	for address in $(seq 1000 100 2900); do
		"$look" --explain "$address" core
	done | cmp - chains.explained && grep -Eq '\((alpha|beta|gamma|delta%1B\[31m)\)' chains.live &&
		live=$(grep -o 'PROCESS\[[0-9]*' chains | sed -n '1s/.*\[//p') &&
		"$look" --history "$live" core >said &&
		grep -Eq "^call [0-9]+: taken, [0-9]+ bytes at $live, by 0x.* \((alpha|beta|gamma|delta.*)\)$" said
}

# Where there is no history, a script must not take that for "nothing is live". What else is asked
# for is shown.
misses_history()
{
	dies threads 8 "$seed" 300 chains || return 1
	for option in --live '--history 1000' '--live --history 1000'; do
		# shellcheck disable=SC2086 # a list of words
		ends_with 1 "$look" --print $option core && cmp said chains &&
			grep -q '^mems-look: core: its heap has no history (MEMS_HISTORY)$' errors || return 1
	done
	dies first_fit 8 "$seed" 300 chains && ends_with 1 "$look" --live chains.image &&
		[ ! -s said ] && echo 'mems-look: chains.image: an image has no history' | cmp - errors &&
		ends_with 0 "$look" --history 1 core && echo 'No call is remembered.' | cmp - said
}

# A history without a call is one, and not damaged.
shows_an_empty_history()
{
	dies unused chains && "$look" --print core | cmp - chains &&
		ends_with 0 "$look" --live core && cmp said chains.live && [ ! -s errors ] &&
		ends_with 0 "$look" --history 1000 core && echo 'No call is remembered.' | cmp - said
}

# What there is one of is not called many.
counts_one()
{
	dies first_fit 8 "$seed" 1 chains && grep -q '^Main Chain Length: 1$' chains &&
		"$look" core >said && grep -Eqx '1 page in 1 main node|[0-9]+ pages in 1 main node' said
}

# Labels are texts of a program that need not be good ones: nothing that a terminal would act on.
shows_no_controls()
{
	for address in $(grep -o 'PROCESS\[[0-9]*' chains | sed 's/.*\[//' | head -n 60); do
		"$look" --history "$address" core
	done >said
	tr -d '\n' <said >line
	grep -q '(delta.*\[31m)$' said && tr -d '[:cntrl:]' <line | cmp - line
}

# What the second one of two runs did more shows; the blocks that both have are the same.
tells_the_difference()
{
	dies first_fit 8 "$seed" 3000 first && mv core first.core &&
		dies first_fit 8 "$seed" 3100 second && mv core second.core &&
		"$look" --diff first.core second.core >there &&
		"$look" --diff second.core first.core >back &&
		[ "$(grep -c ^taken there)" -gt 0 ] &&
		[ "$(grep -c ^taken there)" -eq "$(grep -c ^freed back)" ] &&
		[ "$(grep -c ^freed there)" -eq "$(grep -c ^taken back)" ] && ! grep -q ^changed there
}

# 1 GiB in 1,000,000 blocks: the counters in at most two seconds of the processor, whatever else it
# does, and every block is listed.
shows_a_large_heap()
{
	dies big && begun=$(date +%s%N) && (ulimit -t 2 && "$look" --stats core >said) || return 1
	took=$((($(date +%s%N) - begun) / 1000000))
	echo "note: the counters of $(du -Lh core | cut -f 1) were shown in $took ms"
	grep -q '^1000000 PROCESS' said &&
		[ "$("$look" --print core | grep -o 'PROCESS\[' | wc -l)" -eq 1000000 ] &&
		[ "$("$look" --live core | tail -n 1)" = 'Live blocks: 1000000' ]
	got=$?
	rm -f core
	return $got
}

# Of two runs that differ in one byte that block is shown, whichever it is, and nothing else.
tells_what_changed()
{
	dies quick_fit 8 "$seed" 3000 chains && mv core first.core && mv chains.image first.image
	for number in 0 1 70 200; do
		dies quick_fit 8 "$seed" 3000 chains "$number" || return 1
		for before in first.core first.image; do
			for after in core chains.image; do
				"$look" --diff "$before" "$after" >said
				grep -v ' taken, ' said | cmp - chains.changed &&
					grep -q '^0 taken, 0 freed, 0 resized, 1 changed, [1-9]' said || return 1
			done
		done
	done
}

# Core dumps of arm64 are shown on x86-64. The tables are the same there; of the rest of the
# file only the name of the processor is read.
shows_another_processor()
{
	[ "$(uname -m)" = x86_64 ] || return 0
	dies first_fit 8 "$seed" 3000 chains &&
		printf '\267\000' | dd of=core bs=1 seek=18 conv=notrunc 2>/dev/null &&
		"$look" --print core | cmp - chains && "$look" --live core | cmp - chains.live
}

# A core dump that an emulator of arm64 wrote, where it and a compiler are.
shows_arm64()
{
	rm -f qemu_*.core
	"$arm64_cc" -O2 -static -I"$top" -o arm64 "$top/tests/look/dead.c" "$top/mems.c" || return 1
	(ulimit -c unlimited && qemu-aarch64 ./arm64 quick_fit 8 "$seed" 3000 chains) >said 2>&1
	mv qemu_*.core arm64.core || return 1
	"$look" --print arm64.core | cmp - chains && ends_with 0 "$look" --check arm64.core &&
		"$look" --live arm64.core | cmp - chains.live
}

# killed POLICY SEED: at some moment; the core dump is shown, sound or not, or refused.
killed()
{
	rm -f core core.* ready
	(ulimit -c unlimited && exec ./dead "$1" 8 "$2" 0 ready) 2>/dev/null &
	process=$!
	for _ in $(seq 500); do
		[ ! -s ready ] || break
		sleep 0.01
	done
	sleep "0.0$(($2 % 10))"
	kill -SEGV "$process"
	wait "$process" 2>/dev/null
	[ -e core ] || mv core.* core
	"$look" --check core >said 2>errors
	got=$?
	case $got in
	0 | 1) "$look" --print core >said 2>errors && grep -q '^Page used: [1-9]' said && return ;;
	2) [ "$(wc -l <errors)" -eq 1 ] && return ;;
	esac
	echo "seed $2: exit $got"
	cat errors
	return 1
}

survives_kills()
{
	for i in $(seq 10); do
		killed first_fit $((seed + i)) && killed quick_fit $((seed + i)) || return 1
	done
}

refuses_what_is_no_core()
{
	echo text >text && : >empty && refused text 'neither a core dump nor an image' &&
		refused empty 'it is empty' && refused dead 'not a core dump' &&
		refused missing 'No such file' && refused . 'it is not a regular file' &&
		(ulimit -c unlimited && sh -c 'kill -SEGV $$') 2>/dev/null
	[ -e core ] || mv core.* core
	refused core 'no heap of MeMS'
}

# Wrong options are named with where to read more, and both ways to ask for that are one.
refuses_wrong_options()
{
	for option in --chek -c --json --check=1; do
		"$look" $option >said 2>errors
		[ $? -eq 2 ] && [ ! -s said ] && [ "$(wc -l <errors)" -eq 2 ] &&
			grep -q "^Try 'mems-look --help' for more information\.$" errors || return 1
	done
	"$look" --help >said && "$look" -h | cmp - said && grep -q '^usage: mems-look ' said
}

# Nor is a file lost that was only to be looked at.
refuses_outputs_in_the_way()
{
	dies first_fit 8 "$seed" 300 chains && cp core core.kept && ln -f core link &&
		for outputs in '--json core' '--svg ./core' '--svg link' '--svg link --diff core chains.image' \
				'--json - --svg -' '--json - --check' '--svg - --print' '--json out --svg out'; do
			# shellcheck disable=SC2086 # a list of words
			case $outputs in
			*chains.image) ends_with 2 "$look" $outputs ;;
			*) ends_with 2 "$look" $outputs core ;;
			esac && [ ! -s said ] && [ -s errors ] || return
		done
	cmp core core.kept && "$look" --json - core | jq -e '.schema == 1' >/dev/null
}

# Whatever was to be printed there.
names_the_reason_for_no_output()
{
	[ -e /dev/full ] || return 0
	dies first_fit 8 "$seed" 300 chains
	for option in --stats --print --check --live '--explain 1004' '--history 1004' '--json -'; do
		# shellcheck disable=SC2086 # a list of words
		"$look" $option core 2>errors >/dev/full
		[ $? -eq 1 ] && echo 'mems-look: standard output: No space left on device' |
			diff - errors || return
	done
}

# Cut off anywhere.
refuses_what_is_cut_off()
{
	dies quick_fit 8 "$seed" 300 chains
	size=$(stat -c %s core)
	for part in 1 2 5 10 20 40 60; do
		head -c $((size * part / 100)) core >cut
		"$look" cut >said 2>errors
		[ $? -eq 2 ] || grep -q lacks errors || [ ! -s errors ] || return 1
	done
	head -c 1000 core >cut && refused cut 'no whole core dump' &&
		head -c 5000 chains.image >cut && refused cut 'an image that is damaged or cut off'
}

survives_damage()
{
	dies quick_fit 8 "$seed" 300 chains && "$damage" core "$seed" 300 damaged &&
		"$damage" chains.image "$seed" 300 damaged &&
		dies first_fit 1 "$seed" 300 chains && "$damage" core "$seed" 300 damaged
}

# On a live program and on a core dump.
gdb_shows()
{
	dies first_fit 8 "$seed" 300 chains
	gdb -q -nx -batch -x "$script" -ex 'mems print' -ex 'mems check' -ex 'mems explain 500*2' \
		./dead core >said 2>errors
	grep '^\(MAIN\|Page\|Space\|Main\|Sub\)' said | cmp - chains &&
		grep -q '^The heap is sound.$' said && grep -Fqx "$(head -n 1 chains.explained)" said || return 1
	rm chains.explained
	gdb -q -nx -batch -x "$script" -ex 'catch signal SIGABRT' \
		-ex "run first_fit 8 $seed 300 chains" -ex 'mems print' -ex 'mems check' \
		-ex 'mems explain 500*2' ./dead >said 2>errors
	grep '^\(MAIN\|Page\|Space\|Main\|Sub\)' said | cmp - chains &&
		grep -q '^The heap is sound.$' said && grep -Fqx "$(head -n 1 chains.explained)" said
}

# Wrong use is told of in one line each, and "mems" alone says what there is.
gdb_refuses()
{
	gdb -q -nx -batch -x "$script" -ex 'mems explain' >said 2>errors
	gdb -q -nx -batch -x "$script" -ex 'mems explain nonsense' >>said 2>>errors
	gdb -q -nx -batch -x "$script" -ex 'mems nonsense' >>said 2>>errors
	gdb -q -nx -batch -x "$script" -ex 'mems print' >>said 2>>errors
	[ ! -s said ] && [ "$(wc -l <errors)" -eq 4 ] && ! grep -q Python errors || {
		cat errors
		return 1
	}
	gdb -q -nx -batch -x "$script" -ex 'mems' >said 2>errors
	[ ! -s errors ] && [ "$(grep -c '^mems [a-z]* -- ' said)" -eq 4 ]
}

check "a core dump and an image show the chains" shows_the_chains
check "JSON and a picture of a core dump and of an image" writes_json_and_a_picture
check "questions are answered as the program does" answers
check "labels do nothing to a terminal" shows_no_controls
check "one main node is counted" counts_one
check "questions to a heap without history fail" misses_history
check "a history in which there is no call yet" shows_an_empty_history
check "blocks in the caches of threads are shown as free" shows_the_caches_of_threads
check "two core dumps are compared" tells_the_difference
if [ -n "$skip" ] || [ "$(df -Pk . | awk 'NR == 2 { print $4 }')" -gt 3000000 ]; then
	check "the core dump of a large heap" shows_a_large_heap
else
	echo "note: the core dump of a large heap: skipped, for there is no room for it"
	skip=1 check "the core dump of a large heap" shows_a_large_heap
fi
check "a byte that has changed is found" tells_what_changed
check "core dumps of another processor" shows_another_processor
if [ -n "$skip" ] || { command -v qemu-aarch64 && command -v "$arm64_cc"; } >/dev/null; then
	check "core dumps of an emulated arm64" shows_arm64
else
	echo "note: core dumps of an emulated arm64: skipped, for qemu-aarch64 or $arm64_cc is not here"
	skip=1 check "core dumps of an emulated arm64" shows_arm64
fi
check "programs killed at random moments" survives_kills
check "wrong options are refused" refuses_wrong_options
check "other files are refused" refuses_what_is_no_core
check "files that are cut off are refused" refuses_what_is_cut_off
check "outputs in the way of one another, or of a file, are refused" refuses_outputs_in_the_way
check "where nothing can be printed the reason is named" names_the_reason_for_no_output
check "damaged files are shown or refused" survives_damage
export MEMS_LOOK="${look%/*}"
if [ -n "$skip" ] || command -v gdb >/dev/null; then
	check "the commands of GDB" gdb_shows
	check "the commands of GDB, used wrongly" gdb_refuses
else
	echo "note: the commands of GDB: skipped, for gdb is not here"
	skip=1 check "the commands of GDB" gdb_shows
	skip=1 check "the commands of GDB, used wrongly" gdb_refuses
fi
exit $status
