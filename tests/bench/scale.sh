#!/bin/sh
# tests/bench/scale.sh FOLDER: shows that a call costs the same whatever the size of the heap. FOLDER
# has the programs scale and slowest.
# Prints two tables for the patterns of scale.c: instructions per call, which Valgrind counts and
# which are the same in every run, and nanoseconds per call, which depend on machine and moment; and
# one for those of slowest.c: the slowest single call.
# Fails if instructions grow by more than half from 1,000 to 1,000,000 live blocks.
set -eu

program=$1/scale
slowest=$1/slowest
small=1000
large=1000000
huge=10000000
calls=100000
patterns=$("$program")

# instructions PATTERN LIVE: per call.
instructions()
{
	valgrind --tool=callgrind --callgrind-out-file=/dev/null --toggle-collect='measured_*' \
		"$program" "$1" "$2" $calls 1 2>&1 >/dev/null |
		awk -v calls=$calls '$2 == "Collected" { printf "%.1f", $4 / calls; found = 1 }
			END { exit !found }'
}

# nanoseconds PATTERN LIVE: per call, in the fastest of five rounds.
nanoseconds()
{
	"$program" "$1" "$2" 1000000 5 | cut -d' ' -f2
}

# ratio NEW OLD BAR: printed, and followed by a mark where it is over the bar.
ratio()
{
	awk -v new="$1" -v old="$2" -v bar="$3" 'BEGIN {
		printf "%.2f%s", new / old, (new / old > bar ? " OVER " bar : "") }'
}

echo "Instructions per call (the bar is 1.5 times)"
printf '%-14s %9s %9s  %-14s %s\n' pattern $small $large ratio "what is called"
status=0
while read -r name _ what; do
	few=$(instructions "$name" $small)
	many=$(instructions "$name" $large)
	times=$(ratio "$many" "$few" 1.5)
	case $times in *OVER*) status=1 ;; esac
	printf '%-14s %9s %9s  %-14s %s\n' "$name" "$few" "$many" "$times" "$what"
done <<END
$patterns
END

echo
echo "Nanoseconds per call (the bar is 4 times; told, not enforced: timings depend on the moment)"
printf '%-14s %9s %9s %9s  %s\n' pattern $small $large $huge "ratios"
while read -r name most _; do
	few=$(nanoseconds "$name" $small)
	many=$(nanoseconds "$name" $large)
	most_time=-
	times=$(ratio "$many" "$few" 4)
	if [ "$most" -ge $huge ]; then
		most_time=$(nanoseconds "$name" $huge)
		times="$times  $(ratio "$most_time" "$few" 4)"
	fi
	printf '%-14s %9s %9s %9s  %s\n' "$name" "$few" "$many" "$most_time" "$times"
done <<END
$patterns
END

# over FIGURE BAR: the figure, with a mark where it is over the bar.
over()
{
	awk -v figure="$1" -v bar="$2" 'BEGIN { printf "%s%s", figure, (figure > bar ? "!" : " ") }'
}

echo
echo "Slowest call in microseconds, $large blocks, first fit (! is over the bar of 50; told, not"
echo "enforced). Without requests to the OS; of realloc, calls that stay in place"
printf '%-14s %9s %9s %9s  %s\n' pattern "malloc " "free " "realloc " "what is called"
"$slowest" | while read -r name what; do
	"$slowest" "$name" $large first | {
		read -r malloc free realloc
		printf '%-14s %9s %9s %9s  %s\n' "$name" "$(over "$malloc" 50)" "$(over "$free" 50)" \
			"$(over "$realloc" 50)" "$what"
	}
done

echo
if [ $status -ne 0 ]; then
	echo "The instructions per call grow with the heap."
fi
exit $status
