# Puts the tables of bench.md into a page: awk -f bench_pages.awk build/bench.md PAGE. In the page, a
# table stands between "<!-- bench: HEADING -->" and "<!-- end -->"; it stays where the report has
# none of that heading.
FNR == NR {
	if (/^### /)
		heading = substr($0, 5)
	else if (/^\|/)
		table[heading] = table[heading] $0 "\n"
	next
}

/^<!-- bench: .* -->$/ {
	print
	heading = substr($0, 13, length($0) - 16)
	printf "%s", table[heading]
	is_replaced = heading in table && table[heading] != ""
	next
}

/^<!-- end -->$/ { is_replaced = 0 }

!is_replaced
