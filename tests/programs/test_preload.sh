#!/bin/sh
# What sample/preload says, and where: its reports reach the standard error that the program was
# started with, are whole when the heap is full, and wrong settings are named. Calls that come back
# in from inside the heap do it no harm. programs.sh shows that real programs run as without it.
# shellcheck disable=SC2317 # the functions are called by check
set -u

build=build/default
preload=$PWD/$build/preload.so
recorder=$PWD/$build/recorder.so
hooks=$PWD/$build/tests/programs/hooks.so
handlers=$PWD/$build/tests/programs/handlers.so
guest=$PWD/$build/tests/programs/guest
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
. tests/check.sh

# Other builds have no preload, and where the C library is another one, programs of the system
# cannot run on it.
if [ -n "${VARIANT:-}${RUN:-}" ] || ! "$guest" churn 1 ||
		LD_PRELOAD=$preload date 2>&1 >"$work/date" | grep . >&2; then
	skip=1
fi

# on_heap VARIABLE=VALUE... COMMAND...: with what it prints in out and err.
on_heap()
{
	timeout 60 env LD_PRELOAD="$preload" "$@" >"$work/out" 2>"$work/err"
}

# said TEXT: just that went to standard error.
said()
{
	printf '%s' "$1" | diff - "$work/err"
}

# has REPORT: it is there, whole, and the last thing on standard error.
has()
{
	case $1 in
	COUNTERS) grep '^program=[^ ][^ ]* process=[0-9]* policy=.* misuses=0 checks=1 broken=0$' "$work/err" |
		awk '{ gsub(/[a-z_]*=/, "") } $4 + $5 + $6 + $7 + $8 + $9 == $10 { good = 1 } END { exit !good }' ;;
	STATS) tail -n 1 "$work/err" | grep -q '^Sub-chain Length array: \[.*\]$' ;;
	JSON) tail -n 1 "$work/err" | tail -c 3 | grep -q '}}$' ;;
	esac
}

# ---- Reports -------------------------------------------------------------------------------------

# Most of these close their standard error before they end.
all_programs_report()
{
	for report in COUNTERS STATS JSON; do
		for program in 'ls /' 'cat README.md' 'sort README.md' 'grep MeMS README.md' date; do
			# shellcheck disable=SC2086 # a list of words
			if ! on_heap MEMS_PRELOAD_$report=- $program || ! has "$report"; then
				echo "$program: no $report"
				return 1
			fi
		done
	done
}

# Whoever has descriptor 2 when the program ends.
another_file_is_left_alone()
{
	rm -f "$work/file"
	on_heap MEMS_PRELOAD_STATS=- "$guest" closed "$work/file" && has STATS || return
	head -n 1 "$work/err" | grep -q '^mems: mems_free(.*): inside PROCESS\[' &&
		! [ -s "$work/file" ] && [ -e "$work/file" ]
}

# The descriptor of its own may be closed, and have become another's: 2 will do as well.
closed_descriptors_report()
{
	# shellcheck disable=SC2016 # of perl
	on_heap MEMS_PRELOAD_STATS=- perl -e 'use POSIX;
		POSIX::close($_) for 3 .. 1023; open(my $file, ">", $ARGV[0]);
		POSIX::dup2(fileno($file), $_) for 3 .. 1023;' "$work/file" && has STATS &&
		! [ -s "$work/file" ]
}

nothing_is_said_without_stderr()
{
	rm -f "$work/file"
	(exec 2>&-; LD_PRELOAD=$preload MEMS_PRELOAD_STATS=- "$guest" closed "$work/file") &&
		! [ -s "$work/file" ] && [ -e "$work/file" ]
}

no_descriptor_is_handed_on()
{
	env LD_PRELOAD="$preload" env -u LD_PRELOAD sh -c 'echo /proc/self/fd/*' >"$work/on" &&
		sh -c 'echo /proc/self/fd/*' >"$work/off" && diff "$work/off" "$work/on"
}

# shellcheck disable=SC3045 # dash and bash both have ulimit -v
full_heaps_report()
{
	for policy in first_fit quick_fit; do
		for report in COUNTERS STATS JSON; do
			if ! (ulimit -v 200000 && on_heap "MEMS_PRELOAD_POLICY=$policy" \
					"MEMS_PRELOAD_$report=-" "$guest" full) || ! has "$report"; then
				echo "$policy: no $report"
				return 1
			fi
		done
	done
}

# A folder gets a file of each process. The shell may leave none, where it ends by _exit.
folders_get_files()
{
	mkdir -p "$work/folder" && on_heap MEMS_PRELOAD_COUNTERS="$work/folder" \
		MEMS_PRELOAD_JSON="$work/folder" sh -c 'ls /; date; :' && said '' &&
		[ "$(find "$work/folder" -name '*.counters' -size +0 | wc -l)" -ge 2 ] &&
		[ "$(find "$work/folder" -name '*.json' -size +0 | wc -l)" -ge 2 ]
}

lost_reports_are_named()
{
	mkdir -p "$work/gone" && on_heap MEMS_PRELOAD_STATS="$work/gone" rmdir "$work/gone" &&
		said "mems: MEMS_PRELOAD_STATS: No such file or directory: $work/gone
"
}

# What there is no room for.
reports_cut_short_are_named()
{
	mkdir -p "$work/small" || return
	(ulimit -f 1; on_heap MEMS_PRELOAD_STATS="$work/small" \
		MEMS_PRELOAD_JSON="$work/small" MEMS_PRELOAD_LIVE="$work/small" ls /) && said "mems: MEMS_PRELOAD_STATS: File too large: $work/small
mems: MEMS_PRELOAD_JSON: File too large: $work/small
mems: MEMS_PRELOAD_LIVE: File too large: $work/small
"
}

# The exit status is the program's.
reports_without_a_reader_are_lost()
{
	{
		LD_PRELOAD=$preload MEMS_PRELOAD_STATS=- sh -c 'sleep 0.5; exec date' 2>&1 >"$work/out"
		echo $? >"$work/status"
	} | :
	[ "$(cat "$work/status")" -eq 0 ]
}

# The reader is slow, so that the heap is held while threads are in the loader.
callers_are_named_beside_the_loader()
{
	{
		MEMS_PRELOAD_LIVE=- LD_PRELOAD=$preload timeout 30 "$guest" load 2>&1 >"$work/out"
		echo $? >"$work/status"
	} | { sleep 0.5; cat; } >"$work/err"
	[ "$(cat "$work/status")" -eq 0 ] && grep -q '^Live blocks: ' "$work/err" &&
		[ "$(grep -c "^1 bytes .* ($guest+0x" "$work/err")" -ge 4096 ]
}

check "programs that close standard error report there" all_programs_report
check "a file that has its number is left alone" another_file_is_left_alone
check_with perl "programs that close all descriptors report" closed_descriptors_report
check "without standard error nothing is said" nothing_is_said_without_stderr
check "programs that are started get no descriptor" no_descriptor_is_handed_on
check "a full heap is reported" full_heaps_report
check "a folder gets a file of each process" folders_get_files
check "a report that cannot be written is named" lost_reports_are_named
check "so is one that is cut short" reports_cut_short_are_named
check "a report without a reader is lost" reports_without_a_reader_are_lost
check "callers are named beside threads in the loader" callers_are_named_beside_the_loader

# ---- Settings ------------------------------------------------------------------------------------

# complains SETTING TEXT: the program runs on.
complains()
{
	on_heap "$1" echo here && [ "$(cat "$work/out")" = here ] && said "mems: $2
"
}

# runs_under POLICY SPELLING
runs_under()
{
	on_heap MEMS_PRELOAD_POLICY="$2" MEMS_PRELOAD_COUNTERS=- date &&
		grep -q "^program=date .* policy=$1 " "$work/err" && [ "$(wc -l <"$work/err")" -eq 1 ]
}

wrong_settings_are_named()
{
	complains MEMS_PRELOAD_POLICY=best \
		'MEMS_PRELOAD_POLICY: neither first_fit nor quick_fit: best' &&
	complains MEMS_PRELOAD_POLICY=first_fitt \
		'MEMS_PRELOAD_POLICY: neither first_fit nor quick_fit: first_fitt' &&
	complains MEMS_PRELOAD_PAGE_SIZE=64k 'MEMS_PRELOAD_PAGE_SIZE: not a number: 64k' &&
	complains MEMS_PRELOAD_PAGE_SIZE=5000 'MEMS_PRELOAD_PAGE_SIZE: not a page size: 5000' &&
	complains MEMS_PRELOAD_CHECK=99999999999999999999 \
		'MEMS_PRELOAD_CHECK: too large: 99999999999999999999' &&
	complains MEMS_PRELOAD_STATS=/nowhere/at/all \
		'MEMS_PRELOAD_STATS: No such file or directory: /nowhere/at/all' &&
	complains MEMS_PRELOAD_JSON="$PWD/README.md" \
		"MEMS_PRELOAD_JSON: Not a directory: $PWD/README.md" &&
	complains "MEMS_PRELOAD_COUNTERS=$(printf '/a\033[31mb\n')" \
		'MEMS_PRELOAD_COUNTERS: No such file or directory: /a_[31mb' &&
	complains MEMS_PRELOAD_STAT=- 'MEMS_PRELOAD_STAT=-: no such setting'
}

good_settings_are_not()
{
	on_heap MEMS_PRELOAD_POLICY=first_fit MEMS_PRELOAD_PAGE_SIZE=65536 MEMS_PRELOAD_ABORT=1 \
		MEMS_PRELOAD_CHECK=1000 MEMS_PRELOAD_STATS="$work" MEMS_PRELOAD_JSON='' date && said ''
}

policies_are_spelled_either_way()
{
	runs_under first_fit first_fit && runs_under first_fit first-fit &&
		runs_under quick_fit quick_fit && runs_under quick_fit quick-fit
}

check "settings that cannot be are named, and the program runs on" wrong_settings_are_named
check "of good settings nothing is said" good_settings_are_not
check "policies have underscores or hyphens" policies_are_spelled_either_way

# ---- From inside ---------------------------------------------------------------------------------

# survives POLICY GUEST...: the heap is sound, and calls have come from inside.
survives()
{
	policy=$1
	shift
	on_heap MEMS_PRELOAD_POLICY="$policy" MEMS_PRELOAD_COUNTERS=- "$@" && has COUNTERS &&
		grep -q ' reentries=[1-9]' "$work/err" && return
	cat "$work/out" "$work/err"
	return 1
}

# hooked POLICY THREADS
hooked()
{
	survives "$1" LD_PRELOAD="$hooks $preload" "$guest" churn "$2"
}

for policy in first_fit quick_fit; do
	check "malloc within mmap, $policy, one thread" hooked $policy 1
	check "malloc within mmap, $policy, four threads" hooked $policy 4
	check "malloc within a signal's handler, $policy" survives $policy "$guest" signal
done

# ---- Cancellation --------------------------------------------------------------------------------

# Like malloc and free, no report is a place where a thread may end.
misuses_cancel_nothing()
{
	on_heap "$guest" misuse && grep -q '^mems: mems_free([0-9]*): inside PROCESS' "$work/err"
}

recording_cancels_nothing()
{
	timeout 20 env LD_PRELOAD="$recorder" MEMS_RECORD="$work/cancel.trace" "$guest" cancel
}

check 'a thread is not cancelled in a report' misuses_cancel_nothing
check 'nor where it is recorded' recording_cancels_nothing

# ---- Forks ---------------------------------------------------------------------------------------

# Another thread holds a lock, for which handlers of fork wait, and allocates.
forks()
{
	timeout 60 env LD_PRELOAD="$1 $handlers" MEMS_RECORD="$work/forks.trace" "$guest" fork
}

check 'a fork waits for no thread that waits for the heap' forks "$preload"
check 'a fork waits for no thread that waits for the recorder' forks "$recorder"
exit $status
