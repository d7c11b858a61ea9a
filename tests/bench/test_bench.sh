#!/bin/sh
# The benchmark itself: every work of the worker runs, on little, and prints lines of the right form;
# the median of made-up rounds is right; and the report of a short run holds its tables. Whether the
# figures are right no test can say.
set -u

cd "$(dirname "$0")/../.." || exit 1
. tests/check.sh
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
worker=$PWD/${BENCH:-build/default/tests/bench/bench}
bench=$PWD/tests/bench

# rows WORK SUBJECT FIGURE...: under each policy, and by malloc where that can do it, these figures
# in this order, each with a count above 0 and two numbers. A library may have no images.
rows()
{
	kind=$1
	subject=$2
	shift 2
	for allocator in mems-first mems-quick glibc; do
		state=0
		(cd "$work" && "$worker" --passes 1 "$kind" "$subject" "$allocator") >"$work/rows" || state=$?
		case $state,$kind,$allocator in
		3,*,glibc | 3,save,* | 3,load,* | 3,map,*) continue ;;
		esac
		[ $state -eq 0 ] && awk -F, -v figures="$*" '
			{ seen = seen (NR > 1 ? " " : "") $1 }
			NF != 6 || $4 < 1 || $5 !~ /^[0-9]+\.[0-9]+$/ || $6 !~ /^[0-9]+\.[0-9]+$/ { bad = 1 }
			END { exit bad || seen != figures }' "$work/rows" && continue
		echo "$kind $subject $allocator: $state"
		cat "$work/rows"
		return 1
	done
}

all_works()
{
	printf 'a 1 100\nc 2 5000\nr 1 200\nm 3 64 64\nf 1\n' >"$work/short.rep"
	for kind in replay byte touch memory; do
		rows $kind "$work/short.rep" $kind || return
	done
	mkdir -p "$work/build"
	for kind in save load map; do
		rows $kind 1 $kind || return
	done
	for kind in pair lifo fifo churn growth pages own mixed get inside read array list idle; do
		rows $kind 16 $kind || return
	done
	rows start 100 start-time start-faults && rows pairs 2 pairs && rows beside 1 beside &&
		rows fill 1 fill-time fill-faults && rows frees 20000 frees-time frees-left &&
		rows grow 4096 grow-time grow-peak && rows buffer 1048576 buffer && rows rising 16 rising
}

refuses()
{
	! "$worker" "$@" 2>/dev/null
}

refuses_what_it_does_not_know()
{
	refuses stroll 16 glibc && refuses pair 0 glibc && refuses pair 16 && refuses pairs 3 glibc &&
		refuses replay "$work/no.rep" glibc && refuses --speed 3 pair 16 glibc
}

# The middle one, of two in the middle their mean, of threads the least; how far they are apart.
medians()
{
	cat >"$work/rounds" <<-END
		round,figure,name,allocator,count,first,best
		1,replay,vim,glibc,10,5.0,30.0
		2,replay,vim,glibc,10,9.0,10.0
		3,replay,vim,glibc,10,7.0,20.0
		1,pair,64,glibc,10,1.0,4.0
		2,pair,64,glibc,10,1.0,2.0
		1,own,2,glibc,10,8.0,6.0
		2,own,2,glibc,10,7.0,5.0
		3,own,2,glibc,10,9.0,9.0
		1,replay,syn-mix,glibc,10,1.0,1.0
	END
	cat >"$work/expected" <<-END
		figure,name,group,allocator,count,first,best,spread
		replay,vim,real,glibc,10,7.000,20.000,2.000
		pair,64,micro,glibc,10,1.000,3.000,1.000
		own,2,micro,glibc,10,7.000,5.000,0.800
		replay,syn-mix,generated,glibc,10,1.000,1.000,0.000
	END
	awk -f "$bench/bench_median.awk" "$work/rounds" | diff "$work/expected" -
}

# Geometric means, the empty loop taken off, ratios, the worst trace.
tables()
{
	echo "processor,one" >"$work/machine"
	cat >"$work/medians" <<-END
		figure,name,group,allocator,count,first,best,spread
		replay,vim,real,none,10,1.000,1.000,0
		replay,vim,real,mems-quick,10,9.000,3.000,0
		replay,vim,real,glibc,10,9.000,5.000,0
		replay,jq,real,none,10,1.000,1.000,0
		replay,jq,real,mems-quick,10,9.000,9.000,0
		replay,jq,real,glibc,10,9.000,5.000,0
		get,1000,micro,mems-quick,10,0.250,1.750,0
		own,1,micro,glibc,10,9.000,5.000,0
		own,2,micro,glibc,10,9.000,5.000,0
	END
	awk -f "$bench/bench_table.awk" "$work/machine" "$work/medians" >"$work/report"
	while read -r line; do
		grep -qF -- "$line" "$work/report" && continue
		echo "missing: $line"
		cat "$work/report"
		return 1
	done <<-END
		- MeMS quick fit, net time: glibc 1.000 (at worst 2.00, jq)
		| vim | 1.0 | 3.0 (0.60) | 5.0 |
		| vim | 2.0 (0.50) | 4.0 |
		| ns per call, real traces | 1.0 | 5.2 (1.04) | 5.0 |
		| **real traces** | 4.0 (1.00) | 4.0 |
		| own blocks, 1 thread | 9.0 |
		| own blocks, 2 threads | 9.0 |
		| random byte, start of one of 1000 blocks | MeMS quick fit | 0.25 | 1.75 | 1.50 | 7.00 |
	END
}

# Between the marks stands what the report has of this heading; all else stays. README.md and
# docs/speed.md have marks of headings that there are.
pages()
{
	printf '### A\n\n| new |\n|---|\n\n### B, ns\n\n| b |\n' >"$work/bench.md"
	for table in '| old |' '| new |\n|---|'; do
		printf 'text\n<!-- bench: A -->\n%b\n<!-- end -->\n\n' "$table"
		printf '<!-- bench: C -->\n| c |\n<!-- end -->\nend\n'
	done >"$work/pages"
	head -n 9 "$work/pages" >"$work/old" && tail -n +10 "$work/pages" >"$work/new" &&
		awk -f "$bench/bench_pages.awk" "$work/bench.md" "$work/old" | diff "$work/new" - || return
	sed -n 's/^<!-- bench: \(.*\) -->$/\1/p' README.md docs/speed.md >"$work/marks"
	[ "$(wc -l <"$work/marks")" -ge 5 ] && tr -d '\n\t' <"$bench/bench_table.awk" |
		sed 's/" *\\"//g' >"$work/source" && while read -r mark; do
			grep -qF "(\"$mark\"," "$work/source" || { echo "no table: $mark"; return 1; }
		done <"$work/marks"
}

# In a folder of its own, as it writes to build/.
short_run()
{
	(cd "$work" && "$bench/bench.sh" --quick --no-install --passes 1 --rows "replay start" \
		--traces "$work/short.rep" --allocators "none mems-first mems-quick glibc" "$worker") \
		>"$work/report" 2>"$work/error" && grep -q '^### Replay' "$work/report" &&
		grep -q '^| first block, 100 bytes: us |' "$work/report" &&
		grep -q '<svg' "$work/build/bench.svg" && return
	cat "$work/report" "$work/error"
	return 1
}

# Under an emulator or in another build the figures mean nothing.
[ -z "${RUN:-}${VARIANT:-}" ] || skip=1
check "every work of the benchmark runs" all_works
check "the benchmark refuses what it does not know" refuses_what_it_does_not_know
check "medians of rounds" medians
check "tables of the benchmark" tables
check "tables go into the pages that show them" pages
check "a short run of the benchmark" short_run
exit "$status"
