#!/bin/sh
# Debian's programs on a MeMS heap: each does the same work with sample/preload and without it, and
# must print and write the same.
#
#     tests/programs/programs.sh [OPTION...] PRELOAD ALLOCATOR
#
# PRELOAD                   the object to preload: build/default/preload.so
# ALLOCATOR                 the program that asks the functions themselves: .../programs/allocator
# --only "NAME..."          of allocator sqlite3 python3 perl git gcc xz zstd redis; all of them
# --policies "NAME..."      of first_fit quick_fit; both
# --rounds N                how often time is taken, the least counts; 3
# --quick                   one round, smaller inputs, and heaps checked at exit only
#
# It fails where an output differs, a program fails or did not run on the heap at all, where a
# misuse was reported or an alignment refused, and where mems_check finds something. Besides the
# rounds for the time there is one in which the heaps are checked every 100,000 calls, and counted.
# The table goes to build/programs.md, too, and the numbers of what passed and what failed to
# build/programs/results.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
only='allocator sqlite3 python3 perl git gcc xz zstd redis'
policies='first_fit quick_fit'
rounds=3
is_quick=
check_every=100000

usage() {
	sed -n '/^# *tests/,/^$/ { /^set/d; s/^# \{0,1\}//p; }' "$0" >&2
	exit 2
}

while [ $# -gt 2 ]; do
	case $1 in
	--only) only=$2; shift ;;
	--policies) policies=$2; shift ;;
	--rounds) rounds=$2; shift ;;
	--quick) is_quick=1; rounds=1; check_every=0 ;;
	*) usage ;;
	esac
	shift
done
if [ $# -ne 2 ] || [ ! -r "$1" ] || [ ! -x "$2" ]; then
	usage
fi
preload=$(realpath "$1")
allocator=$(realpath "$2")
mkdir -p build
work=$(mktemp -d)
input=$work/input
preloading=

say() {
	echo "programs: $*" >&2
}

# Begins with the name of the program. Kept in a file, as much of this runs in subshells.
fail() {
	say "FAILED: $*"
	echo "$*" >>"$work/failures"
}

# Nothing goes on behind an interrupted run.
clean_up() {
	[ ! -S "$work/run/socket" ] || /usr/bin/redis-cli -s "$work/run/socket" shutdown nosave || :
	rm -rf "$work"
}
trap clean_up EXIT
trap 'exit 1' HUP INT TERM

# quick_or QUICK FULL: the one that is wanted.
quick_or() {
	if [ -n "$is_quick" ]; then echo "$1"; else echo "$2"; fi
}

# ---- How the programs are run --------------------------------------------------------------------

# What hangs is ended with all its children; on a terminal it can be interrupted instead.
foreground=
[ ! -t 0 ] || foreground=--foreground

# In a bare environment, the same each time: bare COMMAND...
bare() {
	timeout $foreground 600 env -i PATH=/usr/bin:/bin HOME="$work" LC_ALL=C.UTF-8 TZ=UTC TERM=dumb \
		PERL_HASH_SEED=0 PYTHONHASHSEED=0 PYTHONMALLOC=malloc PYTHONDONTWRITEBYTECODE=1 \
		GIT_CONFIG_NOSYSTEM=1 "$@"
}

# The same on the heap that is wanted, if any.
preloaded() {
	# shellcheck disable=SC2086 # a list of words
	bare $preloading "$@"
}

# must_be_0 STATUS COMMAND...: says which command of this run has failed, if it did.
must_be_0() {
	[ "$1" -eq 0 ] || echo "exit status $*" >>"$work/exits"
}

# Adds what the command took to the time of this run.
wall_of() {
	began=$(date +%s%N)
	result=0
	"$@" || result=$?
	echo $(($(date +%s%N) - began)) >>"$work/wall"
	return $result
}

# The same for the time of the processors, of children that ended meanwhile.
cpu_of() {
	times >>"$work/cpu"
	result=0
	"$@" || result=$?
	times >>"$work/cpu"
	return $result
}

program() {
	result=0
	wall_of cpu_of preloaded "$@" || result=$?
	must_be_0 "$result" "$@"
}

# "WALL CPU" of this run in seconds. times prints two lines, the second of children, as in
# "0m1.5s 0m0.2s".
time_read() {
	awk 'FILENAME ~ /wall$/ { wall += $1 / 1e9; next }
		FNR % 2 == 0 {
			gsub(/s/, "")
			split($1, user, "m")
			split($2, kernel, "m")
			sum = 60 * (user[1] + kernel[1]) + user[2] + kernel[2]
			cpu += FNR % 4 == 0 ? sum : -sum
		}
		END { printf "%.3f %.3f\n", wall, cpu }' "$work/wall" "$work/cpu"
}

# ---- The programs --------------------------------------------------------------------------------

# For each NAME: NAME_needs names the packages, NAME_is the processes that must have been on the
# heap, NAME_makes the input in $input, and NAME_runs in a folder of its own: what it prints and
# what it leaves in result/ is compared.

allocator_needs() { :; }
allocator_is() { echo allocator; }
allocator_makes() { :; }

allocator_runs() {
	program "$allocator" "$(quick_or 20000 50000)"
}

sqlite3_needs() { echo sqlite3; }
sqlite3_is() { echo sqlite3; }

sqlite3_makes() {
	awk -v rows=100000 -f "$here/sqlite.awk" </dev/null >"$input/script.sql"
}

sqlite3_runs() {
	program /usr/bin/sqlite3 -bail result/file.db <"$input/script.sql"
}

python3_needs() {
	echo python3 "lib$(readlink -f /usr/bin/python3 | sed 's/.*\///')-testsuite"
}

python3_is() { echo python3; }
python3_makes() { :; }

python3_runs() {
	# shellcheck disable=SC2046 # a list of words
	program /usr/bin/python3 "$here/unittests.py" test_json test_dict test_thread \
		test_threading_local $(quick_or test_pickle.CPicklerTests 'test_pickle test_threading')
}

perl_needs() { echo perl; }
perl_is() { echo perl; }

perl_makes() {
	cp "$here/../../mems.c" "$here/../../mems.h" "$here/../../README.md" "$input"
}

perl_runs() {
	program /usr/bin/perl "$here/words.pl" "$(quick_or 20 80)" "$input"/*
}

git_needs() { echo git; }
git_is() { echo git; }

# Without a history (in a tarball), one is made of the files: a line more in each commit.
history_make() {
	bare /usr/bin/git init -q "$input/made"
	cp "$here/../../mems.c" "$input/made/source"
	for number in $(seq 300); do
		head -n $((number * 10)) "$input/made/source" >"$input/made/file.$((number % 7))"
		bare /usr/bin/git -C "$input/made" add .
		bare /usr/bin/git -C "$input/made" commit -q -m "number $number"
	done
	bare /usr/bin/git clone -q --mirror "$input/made" "$input/origin.git"
}

# The project's own repository. No question of whose it is, nor of who commits.
git_makes() {
	printf '[safe]\n\tdirectory = *\n[user]\n\tname = nobody\n\temail = nobody@localhost\n' \
		>"$work/.gitconfig"
	printf '[pack]\n\tthreads = 2\n[gc]\n\tautoDetach = false\n' >>"$work/.gitconfig"
	if ! bare /usr/bin/git -C "$here/../.." rev-parse -q --verify HEAD >/dev/null 2>&1 ||
			! bare /usr/bin/git clone -q --mirror "$here/../.." "$input/origin.git"; then
		history_make
	fi
}

# How well two threads pack depends on the weather; what is in the packs does not.
git_runs() {
	program /usr/bin/git clone -q "file://$input/origin.git" clone
	program /usr/bin/git -C clone -c "gc.aggressiveWindow=$(quick_or 20 250)" gc -q --aggressive \
		--prune=now
	program /usr/bin/git -C clone fsck --full --strict --no-progress
	program /usr/bin/git -C clone log --all --stat --format=fuller --patch >result/log
	bare /usr/bin/git -C clone cat-file --batch-check --batch-all-objects >result/objects
	bare /usr/bin/git -C clone status --porcelain
}

gcc_needs() { echo gcc; }
gcc_is() { echo cc1 as ld; }

gcc_makes() {
	cp "$here/../../mems.c" "$here/../../mems.h" "$here/../../example.c" "$input"
}

gcc_runs() {
	program /usr/bin/gcc -std=c11 "$(quick_or -O1 -O2)" -g -Wall -Wextra -I"$input" \
		-c "$input/mems.c" -o mems.o
	program /usr/bin/gcc -std=c11 -O2 -g -I"$input" "$input/example.c" mems.o -o result/example
	cp mems.o result
	result/example
}

# Some of each: text, and numbers that do not repeat.
packed_make() {
	for number in $(seq "$1"); do
		cat "$here"/../../*.c "$here"/../../*.md "$here"/../*/*.c
		awk -v seed="$number" 'BEGIN {
			for (i = 0; i < 20000; i++) {
				seed = (seed * 1103 + 12345) % 1000003
				printf "%d %x,", seed, seed * 7
			}
		}'
	done >"$input/file"
}

xz_needs() { echo xz-utils; }
xz_is() { echo xz; }
xz_makes() { packed_make "$(quick_or 5 20)"; }

xz_runs() {
	program /usr/bin/xz -T2 -4 --block-size=1MiB -c "$input/file" >result/file.xz
	program /usr/bin/xz -T2 -dc result/file.xz >unpacked
	cmp unpacked "$input/file"
}

zstd_needs() { echo zstd; }
zstd_is() { echo zstd; }
zstd_makes() { packed_make "$(quick_or 20 80)"; }

zstd_runs() {
	program /usr/bin/zstd -q -T2 -12 -B1MiB "$input/file" -o result/file.zst
	program /usr/bin/zstd -q -d result/file.zst -o unpacked
	cmp unpacked "$input/file"
}

# Debian's server is in redis-tools, under another name; the package redis-server would start one.
redis_needs() { echo redis-tools; }
redis_is() { echo redis-server; }

redis_makes() {
	ln -s /usr/bin/redis-check-rdb "$input/redis-server"
	awk -v keys="$(quick_or 5000 20000)" -f "$here/redis.awk" </dev/null \
		>"$input/commands"
}

client() {
	bare /usr/bin/redis-cli -s socket "$@"
}

# wait_until COMMAND...: for up to half a minute.
wait_until() {
	for attempt in $(seq 300); do
		! "$@" || return 0
		sleep 0.1
	done
	must_be_0 1 "after $attempt attempts: $*"
	return 1
}

is_answering() { client ping >/dev/null 2>&1; }
is_saved() { client info persistence | grep -q '^rdb_bgsave_in_progress:0'; }

# Its clients are not on the heap, and their time at the processors does not count.
asked() {
	result=0
	wall_of "$@" || result=$?
	must_be_0 "$result" "$@"
}

# As if it had run between two calls of times.
server_cpu() {
	client info cpu | tr -d '\r' | awk -F : '{ value[$1] = $2 }
		END {
			print "0m0s 0m0s\n0m0s 0m0s\n0m0s 0m0s"
			printf "0m%ss 0m%ss\n", value["used_cpu_user"], value["used_cpu_sys"]
		}'
}

# Saved by a child of fork, reloaded from the file, thrown away by another thread.
redis_asks() {
	wait_until is_answering || return 1
	asked client --pipe <"$input/commands"
	asked bare /usr/bin/redis-benchmark -s socket -n "$(quick_or 5000 50000)" -c 20 -q \
		-t set,get,incr,lpush,rpush,lpop,rpop,sadd,hset,spop,zadd,zpopmin,lrange_100,mset >speed
	asked bare /usr/bin/redis-benchmark -s socket -n "$(quick_or 20000 200000)" -c 20 -q \
		-P 16 -d 500 -t set,get,lpush,lpop >>speed
	client debug digest
	asked client bgsave
	wait_until is_saved
	client info persistence | grep '^rdb_last_bgsave_status'
	asked client debug reload
	client debug digest
	client dbsize
	asked client flushall async
	client dbsize
	server_cpu >>"$work/cpu"
}

redis_runs() {
	preloaded "$input/redis-server" --save '' --appendonly no --port 0 --unixsocket socket \
		--enable-debug-command local --logfile log </dev/null &
	server=$!
	redis_asks || cat log
	client shutdown nosave
	result=0
	wait "$server" || result=$?
	must_be_0 "$result" redis-server
}

# ---- Comparing ----------------------------------------------------------------------------------

# Runs one of the programs and keeps all that it left in a folder: attempt NAME FOLDER
# It runs in a folder that is called the same each time, as its name may be printed.
attempt() {
	rm -rf "$work/run" "$2" "$work/exits"
	mkdir -p "$work/run/result"
	: >"$work/wall"
	: >"$work/cpu"
	(
		cd "$work/run"
		set +e
		"$1_runs" >result/output 2>result/errors
		must_be_0 $? "at the end"
	)
	mv "$work/run/result" "$2"
	if [ -e "$work/exits" ]; then
		fail "$1 ${preloading:-without the heap}: $(cat "$work/exits")"
		cat "$2/errors" >&2
	fi
}

# Compares it with the first run that had no heap: compare NAME FOLDER HOW
compare() {
	diff -r "$work/without" "$2" >"$work/differences" 2>&1 || {
		fail "$1 $3: something else was printed or written"
		head -n 40 "$work/differences" >&2
	}
}

# attempt_preloaded NAME POLICY VARIABLE...
attempt_preloaded() {
	name=$1
	policy=$2
	shift 2
	preloading="LD_PRELOAD=$preload MEMS_PRELOAD_POLICY=$policy $*"
	attempt "$name" "$work/with"
	compare "$name" "$work/with" "under $policy"
	preloading=
}

# Keeps the least of each time: best NAME POLICY
best() {
	time_read >>"$work/seconds.$1.$2"
	awk '{
			wall = NR == 1 || $1 < wall ? $1 : wall
			cpu = NR == 1 || $2 < cpu ? $2 : cpu
		}
		END { print wall "," cpu }' "$work/seconds.$1.$2" >"$work/best.$1.$2"
}

counting() {
	rm -rf "$work/counters"
	mkdir "$work/counters"
	echo "MEMS_PRELOAD_COUNTERS=$work/counters MEMS_PRELOAD_CHECK=$check_every"
}

# The counters of all processes of a run become a line for the table: counters_read NAME POLICY
counters_read() {
	cat "$work/counters"/* 2>/dev/null >"$work/lines" || :
	awk -v name="$1" -v policy="$2" -v wanted="$("$1_is")" -f "$here/counters.awk" \
		"$work/lines" >"$work/read"
	sed -n 's/^! //p' "$work/read" >"$work/complaints"
	while read -r complaint; do
		fail "$1 under $2: $complaint"
	done <"$work/complaints"
	grep -v '^! ' "$work/read" >"$work/row.$1.$2"
}

# Says what it takes, as the programs take their time: round NAME NUMBER
round() {
	attempt "$1" "$work/this"
	best "$1" without
	if [ "$2" -eq 1 ]; then
		rm -rf "$work/without"
		mv "$work/this" "$work/without"
	else
		compare "$1" "$work/this" 'without the heap, twice'
	fi
	for policy in $policies; do
		if [ -n "$is_quick" ]; then
			attempt_preloaded "$1" "$policy" "$(counting)"
			counters_read "$1" "$policy"
		else
			attempt_preloaded "$1" "$policy"
		fi
		best "$1" "$policy"
	done
}

# Every heap checked again and again; the time does not count.
round_checked() {
	for policy in $policies; do
		attempt_preloaded "$1" "$policy" "$(counting)"
		counters_read "$1" "$policy"
	done
}

# Chains and JSON of one process, which must agree: reports_check POLICY
reports_check() {
	mkdir -p "$work/reports"
	preloading="LD_PRELOAD=$preload MEMS_PRELOAD_POLICY=$1"
	preloading="$preloading MEMS_PRELOAD_STATS=$work/reports MEMS_PRELOAD_JSON=$work/reports"
	preloaded /usr/bin/perl -e "@kept = map { 'x' x \$_ } 1 .. 3000" ||
		fail "perl: failed with reports"
	preloading=
	# shellcheck disable=SC2016 # these are variables of perl
	bare /usr/bin/perl -MJSON::PP -0777 -e '
		my ($json, $stats) = map { open my $in, "<", $_ or die; <$in> } @ARGV;
		my $heap = decode_json($json);
		my $bytes = 0;
		for my $node (@{$heap->{main_chain}}) {
			$bytes += $_->{size} for @{$node->{sub_chain}};
		}
		my ($pages) = $stats =~ /^Page used: (\d+)$/m;
		exit !($bytes > 1_000_000 && $bytes == $heap->{stats}{mapped_bytes} &&
			$pages == $heap->{stats}{pages} && $stats =~ /^MAIN\[1000:/);
		' "$work"/reports/*.json "$work"/reports/*.stats || fail "perl: the reports do not agree ($1)"
	rm -r "$work/reports"
}

# All rounds of one program: measure NAME
measure() {
	# shellcheck disable=SC2046 # a list of words
	if ! (cd "$here/../.." && tests/need.sh $("$1_needs")) >&2; then
		fail "$1: there is no $("$1_needs") here"
		return 0
	fi
	rm -rf "$input"
	mkdir "$input"
	"$1_makes"
	for number in $(seq "$rounds"); do
		say "$1, round $number of $rounds"
		round "$1" "$number"
	done
	if [ -z "$is_quick" ]; then
		say "$1, checked"
		round_checked "$1"
	fi
}

# ---- The table -----------------------------------------------------------------------------------

rows_print() {
	for name in $only; do
		for policy in $policies; do
			[ ! -e "$work/row.$name.$policy" ] || echo "$(cat "$work/row.$name.$policy"),$(
				cat "$work/best.$name.without"),$(cat "$work/best.$name.$policy")"
		done
	done
}

table_print() {
	printf '| program | policy | calls | processes | peak, MiB | pages | fragmentation '
	echo '| time without, s | with | ratio | CPU without, s | with | ratio |'
	echo '|---|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|'
	rows_print | awk -F , 'function ratio(with, without) {
			return without > 0 ? sprintf("%.2f", with / without) : "-"
		}
		{
			printf "| %s | %s | %s | %s | %s | %s | %s |", $1, $2, $3, $4, $5, $6, $7
			printf " %.2f | %.2f | %s |", $8, $10, ratio($10, $8)
			printf " %.2f | %.2f | %s |\n", $9, $11, ratio($11, $9)
		}'
	echo
	cat <<-END
		Calls of all processes together; peak, pages (4096 bytes) and fragmentation of the process
		with the highest peak. Fragmentation is the part of its pages that blocks never filled at the
		same time: 1 - peak / mapped. Times are the least of $rounds; without MeMS it is glibc's
		allocator, and jemalloc for redis: its time is what the clients took, its CPU the server.
	END
	[ -z "$is_quick" ] || echo 'Quick: times with MeMS include counting and checking at exit.'
}

# As tests/run.sh does: how many passed and how many failed, a program under a policy being one.
results_write() {
	passed=0
	failed=0
	for name in $only; do
		for policy in $policies; do
			if [ ! -s "$work/row.$name.$policy" ]; then
				fail "$name under $policy: not in the table"
			fi
			if grep -q "^${name}[ :]" "$work/failures" 2>/dev/null; then
				failed=$((failed + 1))
			else
				passed=$((passed + 1))
			fi
		done
	done
	mkdir -p build/programs
	echo "$passed $failed" >build/programs/results
}

began=$(date +%s)
for name in $only; do
	measure "$name"
done
case " $only " in *' perl '*) for policy in $policies; do reports_check "$policy"; done ;; esac
table_print | tee build/programs.md
results_write
say "$(($(date +%s) - began)) seconds; build/programs.md"
if [ -s "$work/failures" ]; then
	say 'FAILED:'
	cat "$work/failures" >&2
	exit 1
fi
say 'all the same, with nothing found by mems_check'
