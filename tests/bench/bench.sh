#!/bin/sh
# The benchmark: MeMS beside the C library's allocator and those that Debian packages.
#
#     tests/bench/bench.sh [OPTION...] WORKER
#
# --traces "FILE..."        the traces to replay; tests/traces and ../shared/traces where present
# --allocators "NAME..."    of none mems-first mems-quick mems-first-16 mems-quick-16 glibc jemalloc
#                           tcmalloc mimalloc; all of them
# --only "WORK..."          of replay touch memory micro; all of them
# --rounds N                how often every measurement is repeated; 5
# --passes N                passes over a trace in one process; 5
# --cpu N                   the processor to stay on; the last one. Threads use all
# --quick                   one round, no cold pass with touching, no long micro-benchmarks
# --no-install              leave out what is missing instead of installing it
#
# Each measurement is a process of its own; a round takes every trace in turn and, for each, every
# allocator. What is reported is the fastest pass of the fastest round (of memory, the least of
# three). Writes build/bench-rounds.csv (every measurement), build/bench.csv (one line for each),
# build/bench.md and build/bench.svg.
set -eu

here=$(dirname "$0")
traces=
allocators='none mems-first mems-quick mems-first-16 mems-quick-16 glibc jemalloc tcmalloc mimalloc'
only='replay touch memory micro'
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
	--traces) traces=$2; shift ;;
	--allocators) allocators=$2; shift ;;
	--only) only=$2; shift ;;
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

# Installs what is missing, or says that it is left out.
allocators_check() {
	present=
	for allocator in $allocators; do
		case $allocator in
		none | mems-first | mems-quick | mems-first-16 | mems-quick-16 | glibc) ;;
		jemalloc | tcmalloc | mimalloc) ;;
		*) usage ;;
		esac
		package=$(package "$allocator")
		if [ -n "$package" ] && [ -z "$(library "$allocator")" ] && [ -n "$is_installing" ]; then
			install_package "$package" || :
		fi
		if [ -n "$package" ] && [ -z "$(library "$allocator")" ]; then
			say "$allocator is left out: there is no $package"
		elif ! run "$allocator" pair 64 > /dev/null 2>&1; then
			say "$allocator is left out: this build does not have it"
		else
			present="$present $allocator"
		fi
	done
	allocators=$present
}

# ---- One measurement -----------------------------------------------------------------------------

# Prints the worker's line: run ALLOCATOR WORK SUBJECT
run() {
	object=$(library "$1")
	stay="--cpu $cpu"
	[ "$2" != threads ] || stay=
	# shellcheck disable=SC2086 # two words or none
	if [ -n "$object" ]; then
		LD_PRELOAD=$object "$worker" $stay --passes "$passes" "$2" "$3" "$1"
	else
		"$worker" $stay --passes "$passes" "$2" "$3" "$1"
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
		status=0
		line=$(run "$allocator" "$2" "$3") || status=$?
		case $status in
		0) echo "$1,$line" ;;
		3) ;;
		*) say "$allocator failed: $2 $3" ;;
		esac
	done
}

is_wanted() {
	case " $only " in
	*" $1 "*) ;;
	*) return 1 ;;
	esac
}

round_micro() {
	for size in 64 1024 4096 65536; do
		measure "$1" pair $size
	done
	measure "$1" lifo 1000
	measure "$1" fifo 1000
	for blocks in 100 10000; do
		measure "$1" churn $blocks
	done
	for threads in 1 2 4 8; do
		measure "$1" threads $threads
	done
	for blocks in 1000 100000; do
		measure "$1" get $blocks
		measure "$1" inside $blocks
	done
	[ -z "$is_quick" ] && [ "$1" -le 2 ] || return 0
	measure "$1" churn 1000000
	measure "$1" growth 2000000
	measure "$1" get 1000000
	measure "$1" inside 1000000
}

round_run() {
	for trace in $traces; do
		if is_wanted replay; then
			measure "$1" replay "$trace"
		fi
		if is_wanted touch && [ -z "$is_quick" ]; then
			measure "$1" touch "$trace"
		fi
		if is_wanted memory && [ "$1" -le 3 ]; then
			measure "$1" memory "$trace"
		fi
	done
	if is_wanted micro && { [ "$1" -le 3 ] || [ "$rounds" -gt 5 ]; }; then
		round_micro "$1"
	fi
}

# ---- The machine ---------------------------------------------------------------------------------

processor() {
	sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | sort | uniq -c | sed 's/^ *\([0-9]*\) /\1 x /'
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
		mems* | none) ;;
		*) echo "$allocator,$(version "$allocator")" ;;
		esac
	done
	echo "rounds,$rounds, each of $passes passes in one process"
}

# ---- All of it -----------------------------------------------------------------------------------

began=$(date +%s)
allocators_check
echo 'round,work,name,allocator,count,first,best' > build/bench-rounds.csv
round=1
while [ "$round" -le "$rounds" ]; do
	round_run "$round" >> build/bench-rounds.csv
	round=$((round + 1))
done
progress ''
machine > build/bench-machine.csv
awk -f "$here/bench_best.awk" build/bench-rounds.csv > build/bench.csv
awk -f "$here/bench_table.awk" build/bench-machine.csv build/bench.csv | tee build/bench.md
awk -f "$here/bench_picture.awk" build/bench-machine.csv build/bench.csv > build/bench.svg
say "$(($(date +%s) - began)) seconds; build/bench.md, build/bench.csv, build/bench.svg"
