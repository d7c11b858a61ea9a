#!/bin/sh
# The benchmark: MeMS beside the C library's allocator and those that Debian packages.
#
#     tests/bench/bench.sh [OPTION...] WORKER
#
# --rows "ROWS..."          of replay byte touch memory start micro resident threads translation
#                           images; all of them
# --traces "FILE..."        the traces to replay; tests/traces and ../shared/traces where present
# --allocators "NAME..."    of none old-first old-quick mems-first mems-quick mems-first-16
#                           mems-quick-16 glibc jemalloc tcmalloc mimalloc; all of them. Besides,
#                           mems-first-history and mems-quick-history: with MEMS_HISTORY
# --old WORKER              the worker linked with another mems.c, which old-first and old-quick are
# --rounds N                how often every measurement is repeated; 5
# --passes N                passes over a trace in one process; 5
# --cpu N                   the processor to stay on; the last one. Threads use all
# --quick                   one round, and what takes long left out
# --no-install              leave out what is missing instead of installing it
#
# Each measurement is a process of its own; a round takes every trace in turn and, for each, every
# allocator. What is reported is the median over the rounds, of threads the least. Writes
# build/bench-rounds.csv (every measurement), build/bench.csv (one line for each), build/bench.md
# and build/bench.svg.
set -eu

here=$(dirname "$0")
traces=
allocators='none old-first old-quick mems-first mems-quick mems-first-16 mems-quick-16
	glibc jemalloc tcmalloc mimalloc'
rows='replay byte touch memory start micro resident threads translation images'
old=
rounds=5
passes=5
cpu=$(($(getconf _NPROCESSORS_ONLN) - 1))
is_quick=
is_installing=1

usage() {
	sed -n '/^# *tests/,/^$/ { /^set/d; s/^# \{0,1\}//p; }' "$0" >&2
	exit 2
}

while [ $# -gt 1 ]; do
	case $1 in
	--rows) rows=$2; shift ;;
	--traces) traces=$2; shift ;;
	--allocators) allocators=$2; shift ;;
	--old) old=$2; shift ;;
	--rounds) rounds=$2; shift ;;
	--passes) passes=$2; shift ;;
	--cpu) cpu=$2; shift ;;
	--quick) is_quick=1; rounds=1 ;;
	--no-install) is_installing= ;;
	*) usage ;;
	esac
	shift
done
if [ $# -ne 1 ] || [ ! -x "$1" ]; then
	usage
fi
worker=$1
if [ -z "$traces" ]; then
	traces=$(ls "$here"/../traces/*.rep "$here"/../../../shared/traces/*.rep 2>/dev/null || :)
fi
mkdir -p build

say() {
	echo "bench: $*" >&2
}

for name in $rows; do
	case $name in
	replay | byte | touch | memory | start | micro | resident | threads | translation | images) ;;
	*) say "there are no rows $name"; usage ;;
	esac
done

# ---- The allocators ------------------------------------------------------------------------------

# The shared object of an allocator, or nothing: library NAME
library() {
	case $1 in
	jemalloc) name=libjemalloc.so.2 ;;
	tcmalloc) name=libtcmalloc_minimal.so.4 ;;
	mimalloc) name=libmimalloc.so.2 ;;
	*) return ;;
	esac
	for file in /usr/lib/*/"$name" /usr/lib64/"$name" /usr/lib/"$name" /usr/local/lib/"$name"; do
		[ ! -e "$file" ] || { echo "$file"; return; }
	done
}

package() {
	case $1 in
	jemalloc) echo libjemalloc2 ;;
	tcmalloc) echo libtcmalloc-minimal4 ;;
	mimalloc) echo libmimalloc2.0 ;;
	esac
}

as_root() {
	if [ "$(id -u)" -eq 0 ]; then
		"$@"
	else
		sudo -n "$@"
	fi
}

install_package() {
	say "installing $1"
	as_root env DEBIAN_FRONTEND=noninteractive apt-get -q -y -o DPkg::Lock::Timeout=300 \
		install --no-install-recommends "$1" > build/bench-install.log 2>&1
}

# Whether it can be measured, after what is missing has been installed; says why not.
allocator_is_here() {
	case $1 in
	none | mems-first | mems-quick | mems-first-16 | mems-quick-16 | glibc) ;;
	mems-first-history | mems-quick-history) ;;
	jemalloc | tcmalloc | mimalloc) ;;
	old-first | old-quick) [ -n "$old" ] || return ;;
	*) usage ;;
	esac
	package=$(package "$1")
	if [ -n "$package" ] && [ -z "$(library "$1")" ] && [ -n "$is_installing" ]; then
		install_package "$package" || :
	fi
	if [ -n "$package" ] && [ -z "$(library "$1")" ]; then
		say "$1 is left out: there is no $package"
		return 1
	fi
	if ! run "$1" pair 64 > /dev/null 2>&1; then
		say "$1 is left out: this build does not have it"
		return 1
	fi
}

allocators_check() {
	present=
	for allocator in $allocators; do
		if allocator_is_here "$allocator"; then
			present="$present $allocator"
		fi
	done
	allocators=$present
}

# ---- One measurement -----------------------------------------------------------------------------

# Prints the worker's lines: run ALLOCATOR WORK SUBJECT
run() {
	object=$(library "$1")
	program=$worker
	stay="--cpu $cpu"
	case $1 in old-*) program=$old ;; esac
	case $2 in own | pairs | mixed | beside) stay= ;; esac
	# shellcheck disable=SC2086 # two words or none
	if [ -n "$object" ]; then
		LD_PRELOAD=$object "$program" $stay --passes "$passes" "$2" "$3" "$1"
	else
		"$program" $stay --passes "$passes" "$2" "$3" "$1"
	fi
}

# On a terminal, in place of what was there.
progress() {
	[ ! -t 2 ] || printf '\r\033[K%s' "$1" >&2
}

# The same by every allocator that can do it: measure ROUND WORK SUBJECT
measure() {
	progress "round $1 of $rounds: $2 $(basename "$3")"
	for allocator in $allocators; do
		# The other alignment is shown for traces alone.
		case $allocator,$3 in
		*-16,*.rep) ;;
		*-16,*) continue ;;
		esac
		status=0
		lines=$(run "$allocator" "$2" "$3") || status=$?
		case $status in
		0) echo "$lines" | sed "s/^/$1,/" ;;
		3) ;;
		*) say "$allocator failed: $2 $3" ;;
		esac
	done
}

# measure_each ROUND WORK SUBJECT...
measure_each() {
	round_number=$1
	work=$2
	shift 2
	for subject; do
		measure "$round_number" "$work" "$subject"
	done
}

# ---- The rows ------------------------------------------------------------------------------------

# A process for each of ten measurements: they are short, and of new processes alone.
rows_start() {
	for repeat in 1 2 3 4 5 6 7 8 9 10; do
		measure "$1-$repeat" start 100
	done
	measure "$1" idle 100
	measure "$1" pages 100
}

rows_micro() {
	measure_each "$1" pair 64 1024 4096 65536
	measure "$1" lifo 1000
	measure "$1" fifo 1000
	measure_each "$1" churn 100 10000
	[ -z "$is_quick" ] && [ "$1" -le 3 ] || return 0
	measure "$1" churn 1000000
	measure "$1" growth 2000000
}

rows_resident() {
	measure "$1" fill 64
	measure_each "$1" grow 4 1024
	measure_each "$1" buffer 16 4096 1048576
	measure "$1" rising 4096
	[ -z "$is_quick" ] || return 0
	measure "$1" fill 512
	measure "$1" frees 2000000
}

rows_threads() {
	for work in own mixed; do
		measure_each "$1" "$work" 1 2 4 8
	done
	measure_each "$1" pairs 2 4 8
	measure_each "$1" beside 1 3
}

rows_translation() {
	for work in get inside; do
		measure_each "$1" "$work" 1000 100000 1000000
	done
	measure "$1" read 1000
	measure "$1" array 100000
	measure "$1" list 1000000
}

rows_images() {
	for work in save load map; do
		measure_each "$1" "$work" 1 64
		[ -n "$is_quick" ] || [ "$1" -gt 1 ] || measure "$1" "$work" 1024
	done
}

# What hardly differs from round to round, or takes the least of several runs in each, is measured
# in three rounds: is_wanted ROUND ROWS
is_wanted() {
	case $2 in memory | resident | threads) [ "$1" -le 3 ] || return ;; esac
	case " $rows " in *" $2 "*) ;; *) return 1 ;; esac
}

round_run() {
	for trace in $traces; do
		for work in replay byte touch memory; do
			! is_wanted "$1" "$work" || measure "$1" "$work" "$trace"
		done
	done
	for group in start micro resident threads translation images; do
		! is_wanted "$1" "$group" || rows_$group "$1"
	done
}

# ---- The machine ---------------------------------------------------------------------------------

# As "2 x NAME (family 25, model 17)": virtual machines often give no more than a maker's name.
processor() {
	awk -F '[\t ]*: ' '
		$1 == "cpu family" { family = $2 }
		$1 == "model" { model = $2 }
		$1 == "model name" { count[name = $2]++ }
		END {
			for (name in count)
				print count[name] " x " name (family != "" ? " (family " family ", model " model ")" : "")
		}' /proc/cpuinfo
}

huge_pages() {
	sed 's/.*\[\(.*\)\].*/\1/' /sys/kernel/mm/transparent_hugepage/enabled 2>/dev/null
}

version() {
	case $1 in
	glibc) getconf GNU_LIBC_VERSION 2>/dev/null | sed 's/^glibc //' ;;
	*) dpkg-query -W -f '${Version}' "$(package "$1")" 2>/dev/null || basename "$(library "$1")" ;;
	esac
}

# Lines "KEY,VALUE" for the reports.
machine() {
	echo "processor,$(processor | tr '\n' ' ' | sed 's/ *$//')"
	echo "kernel,$(uname -srm)"
	echo "huge pages,$(huge_pages)"
	echo "compiler,$(${COMPILER:-cc} --version 2>/dev/null | head -n 1), ${COMPILER_FLAGS:-}"
	for allocator in $allocators; do
		case $allocator in
		mems* | old* | none) ;;
		*) echo "$allocator,$(version "$allocator")" ;;
		esac
	done
	echo "rounds,$rounds, each of $passes passes in one process"
	echo "load,$(cut -d' ' -f1-3 /proc/loadavg) before the first round"
}

# ---- All of it -----------------------------------------------------------------------------------

began=$(date +%s)
allocators_check
machine > build/bench-machine.csv
echo 'round,figure,name,allocator,count,first,best' > build/bench-rounds.csv
round=1
while [ "$round" -le "$rounds" ]; do
	round_run "$round" >> build/bench-rounds.csv
	round=$((round + 1))
done
progress ''
awk -f "$here/bench_median.awk" build/bench-rounds.csv > build/bench.csv
awk -f "$here/bench_table.awk" build/bench-machine.csv build/bench.csv | tee build/bench.md
awk -f "$here/bench_picture.awk" build/bench-machine.csv build/bench.csv > build/bench.svg
say "$(($(date +%s) - began)) seconds; build/bench.md, build/bench.csv, build/bench.svg"
