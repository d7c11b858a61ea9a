# The tables of the benchmark in Markdown, from bench-machine.csv and bench.csv.
BEGIN {
	FS = ","
	title["none"] = "empty loop"
	title["old-first"] = "old first fit"
	title["old-quick"] = "old quick fit"
	title["mems-first"] = "MeMS first fit"
	title["mems-quick"] = "MeMS quick fit"
	title["mems-first-16"] = "first fit, 16"
	title["mems-quick-16"] = "quick fit, 16"
	title["mems-first-history"] = "first fit, history"
	title["mems-quick-history"] = "quick fit, history"
	large = 4 * 1024 * 1024
}

FNR == NR {
	machine[++machines] = $0
	next
}

FNR > 1 {
	if (!($4 in is_known)) {
		is_known[$4] = 1
		allocator[++allocators] = $4
	}
	if (!(($1, $2) in is_named)) {
		is_named[$1, $2] = 1
		name[$1, ++names[$1]] = $2
		group[$2] = $3
	}
	count[$1, $2] = $5
	first[$1, $2, $4] = $6
	best[$1, $2, $4] = $7
}

function label(a) {
	return a in title ? title[a] : a
}

function is_measured(figure, subject, a) {
	return (figure, subject, a) in best
}

# A figure: field is first, best, or net (best, the empty loop taken off) of it; "over" is memory
# over what is live.
function value(figure, subject, a, field,    x) {
	x = field == "first" ? first[figure, subject, a] : best[figure, subject, a]
	if (field == "net")
		x -= best[figure, subject, "none"]
	if (field == "over")
		x /= count[figure, subject]
	return x
}

function has_value(figure, subject, a, field) {
	if (field == "net" && (a == "none" || !is_measured(figure, subject, "none")))
		return 0
	return is_measured(figure, subject, a) && value(figure, subject, a, field) > 0
}

# Whether a trace counts: which is "real", "all" or "large" (real, and 4 MiB live or more).
function is_counted(subject, which) {
	if (which == "all")
		return 1
	if (which == "large")
		return group[subject] == "real" && count["memory", subject] >= large
	return group[subject] == which
}

# Geometric mean over the traces; 0 where one has no figure.
function mean(figure, a, field, which,    i, n, sum, subject) {
	for (i = 1; i <= names[figure]; i++) {
		subject = name[figure, i]
		if (!is_counted(subject, which))
			continue
		if (!has_value(figure, subject, a, field))
			return 0
		n++
		sum += log(value(figure, subject, a, field))
	}
	return n ? exp(sum / n) : 0
}

function number(x, digits) {
	if (digits == "")
		digits = x >= 100 ? 0 : 1
	return sprintf("%." digits "f", x)
}

# Whether the column of an allocator is there: it has one of the figures of the table.
function shows(a, figures, field,    i, j, part, n) {
	n = split(figures, part, " ")
	for (i = 1; i <= n; i++)
		for (j = 1; j <= names[part[i]]; j++)
			if (has_value(part[i], name[part[i], j], a, field))
				return 1
	return 0
}

# Begins a table of so many leading columns; false where there is nothing for it. The names of the
# figures that it will have decide which allocators it shows.
function table_begin(heading, corner, figures, field,    i, n, part, line, rule) {
	shown = 0
	for (i = 1; i <= allocators; i++)
		if (shows(allocator[i], figures, field))
			column[++shown] = allocator[i]
	if (!shown)
		return 0
	print "\n### " heading "\n"
	line = "| " corner " |"
	rule = corner ~ /\|/ ? "|---|--:|" : "|---|"
	for (i = 1; i <= shown; i++) {
		line = line " " label(column[i]) " |"
		rule = rule "--:|"
	}
	print line
	print rule
	return 1
}

# A cell with the ratio to glibc in brackets, where there is a base.
function cell(has, x, a, base, digits) {
	if (!has)
		return " |"
	if (base <= 0 || a == "glibc" || a == "none")
		return " " number(x, digits) " |"
	return sprintf(" %s (%.2f) |", number(x, digits), x / base)
}

# One row; with digits, plain figures of so many.
function row(text, figure, subject, field, digits,    i, a, line, base) {
	line = "| " text " |"
	base = digits == "" && has_value(figure, subject, "glibc", field) ? \
		value(figure, subject, "glibc", field) : 0
	for (i = 1; i <= shown; i++) {
		a = column[i]
		line = line cell(is_measured(figure, subject, a), value(figure, subject, a, field), a, \
			base, digits)
	}
	print line
}

# A number and its unit; "threads" is the one of which there may be one.
function counted(n, unit) {
	if (n == 1)
		sub(/threads$/, "thread", unit)
	return n unit
}

function rows(text, figure, unit, field, digits,    i) {
	for (i = 1; i <= names[figure]; i++)
		row(text counted(name[figure, i], unit), figure, name[figure, i], field, digits)
}

function row_mean(text, figure, field, which, digits,    i, a, line, x) {
	line = "| " text " |"
	for (i = 1; i <= shown; i++) {
		a = column[i]
		x = mean(figure, a, field, which)
		line = line cell(x > 0, x, a, digits == "" ? mean(figure, "glibc", field, which) : 0, digits)
	}
	print line
}

function rows_of(figure, field, which,    i) {
	for (i = 1; i <= names[figure]; i++)
		if (group[name[figure, i]] == which)
			row(name[figure, i], figure, name[figure, i], field)
}

# ---- The tables ----------------------------------------------------------------------------------

function traces_table(heading, figure, field) {
	if (!table_begin(heading, "trace", figure, field))
		return
	rows_of(figure, field, "real")
	row_mean("**real traces**", figure, field, "real")
	rows_of(figure, field, "generated")
	row_mean("**all traces**", figure, field, "all")
}

# What the README shows of all these.
function means_table() {
	if (!table_begin("Means", "geometric mean", "replay", "best"))
		return
	row_mean("ns per call, real traces", "replay", "best", "real")
	row_mean("ns per call, all traces", "replay", "best", "all")
	row_mean("ns per call from a cold start, real traces", "touch", "best", "real")
	row_mean("memory over live bytes, real traces of 4 MiB or more", "memory", "over", "large", 3)
}

function memory_rows(is_real,    i, subject) {
	for (i = 1; i <= names["memory"]; i++) {
		subject = name["memory", i]
		if (count["memory", subject] >= large && (group[subject] == "real") == is_real)
			row(sprintf("%s | %.1f", subject, count["memory", subject] / 1048576), "memory",
				subject, "over", 3)
	}
}

function memory_table() {
	if (!table_begin("Resident memory over live bytes when the most is live, every page of every " \
			"block written", "trace | live, MiB", "memory", "over"))
		return
	memory_rows(1)
	row_mean("**real traces of 4 MiB or more** |", "memory", "over", "large", 3)
	memory_rows(0)
}

function start_table() {
	if (table_begin("What a small program pays", "", "start-time start-faults idle pages", "best")) {
		rows("first block, ", "start-time", " bytes: us", "best")
		rows("first block, ", "start-faults", " bytes: page faults", "best", 0)
		rows("idle heap after one block, ", "idle", " bytes: KiB resident", "best", 0)
		rows("growth by ", "pages", " blocks of a page: us", "best")
	}
}

function micro_table() {
	if (table_begin("Micro-benchmarks, ns per call", "", "pair lifo fifo churn growth", "best")) {
		rows("allocate and free ", "pair", " bytes", "best")
		rows("last in, first out: ", "lifo", " blocks", "best")
		rows("first in, first out: ", "fifo", " blocks", "best")
		rows("random churn, 16 to 1,024 bytes, ", "churn", " live blocks", "best")
		rows("growth, first touch: ", "growth", " blocks of 64 bytes", "best")
	}
}

function resident_table() {
	if (table_begin("Memory that comes and goes", "", "fill-time frees-time grow-time buffer rising",
			"best")) {
		rows("rounds that fill and free ", "fill-time", " MiB: ns per call", "best")
		rows("the same, ", "fill-faults", " MiB: page faults a round from the third on", "best", 0)
		rows("frees of ", "frees-time", " blocks of 128 bytes in random order: ns", "best")
		rows("the same, ", "frees-left", " blocks: % still resident", "best", 1)
		rows("a block grows to 128 MiB by ", "grow-time", " KiB: ms", "best")
		rows("the same by ", "grow-peak", " KiB: most resident over its size", "best", 2)
		rows("a buffer grows to 64 MiB by ", "buffer", " bytes: mapped over its size", "best", 2)
		rows("blocks of 1 to ", "rising", " pages in turn: mapped over the largest", "best", 2)
	}
}

function threads_rows(field) {
	rows("own blocks, ", "own", " threads", field)
	rows("hand-over in pairs, ", "pairs", " threads", field)
	rows("blocks in turn in the same lines, ", "mixed", " threads", field)
}

function threads_table() {
	if (table_begin("Threads: processor time, ns per call", "", "own pairs mixed", "best"))
		threads_rows("best")
	if (table_begin("Threads: time on the wall over all calls, ns per call", "", "own pairs mixed",
			"first"))
		threads_rows("first")
}

# First and best of a figure side by side, for MeMS alone.
function pair_rows(text, figure, unit, digits,   i, j, a, subject, x, y) {
	for (i = 1; i <= names[figure]; i++)
		for (j = 1; j <= allocators; j++) {
			a = allocator[j]
			subject = name[figure, i]
			if (!is_measured(figure, subject, a))
				continue
			x = first[figure, subject, a]
			y = best[figure, subject, a]
			printf "| %s%s | %s | %s | %s | %.2f | %.2f |\n", text, counted(subject, unit), label(a),
				number(x, digits), number(y, digits), y - x, (x > 0 ? y / x : 0)
		}
}

function pair_table(heading, left, right) {
	print "\n### " heading "\n"
	print "| | | " left " | " right " | difference | ratio |"
	print "|---|---|--:|--:|--:|--:|"
}

function translation_table() {
	if (!names["get"] && !names["list"])
		return
	pair_table("Translation, ns", "pointer", "virtual address")
	pair_rows("random byte, start of one of ", "get", " blocks", 2)
	pair_rows("random byte, inside one of ", "inside", " blocks", 2)
	pair_rows("8 bytes copied from one of ", "read", " blocks", 2)
	pair_rows("walk over an array of ", "array", " elements", 2)
	pair_rows("list of ", "list", " nodes in random order", 2)
}

function beside_table() {
	if (!names["beside"])
		return
	pair_table("mems_get while other threads allocate, ns of processor time", "alone", "beside them")
	pair_rows("", "beside", " other threads", 2)
}

function images_table() {
	if (!names["save"])
		return
	pair_table("Images, ms", "the same bytes", "image")
	pair_rows("save, ", "save", " MiB, beside write, fsync, rename and fsync", 2)
	pair_rows("load, ", "load", " MiB, beside read", 2)
	pair_rows("map, ", "map", " MiB, beside touching the pages of the tables", 2)
}

# ---- The summary ---------------------------------------------------------------------------------

function machine_list(    i, key) {
	for (i = 1; i <= machines; i++) {
		key = machine[i]
		sub(/,.*/, "", key)
		print "- " key ": " substr(machine[i], length(key) + 2)
	}
}

# "NAME 0.52", and for the bases that matter the worst trace.
function ratio_cell(a, base, figure, field, which, has_worst,    i, subject, x, worst, at) {
	x = mean(figure, a, field, which) / mean(figure, base, field, which)
	for (i = 1; i <= names[figure]; i++) {
		subject = name[figure, i]
		if (!is_counted(subject, which) || !has_value(figure, subject, a, field))
			continue
		x_one = value(figure, subject, a, field) / value(figure, subject, base, field)
		if (x_one > worst) {
			worst = x_one
			at = subject
		}
	}
	return sprintf("%s %.3f", label(base), x) (has_worst ? sprintf(" (at worst %.2f, %s)", worst, at) : "")
}

function ratios_row(a, text, figure, field, which,    j, base, line) {
	if (!mean(figure, a, field, which))
		return
	line = ""
	for (j = 1; j <= allocators; j++) {
		base = allocator[j]
		if (base ~ /^(none|mems-.*)$/ || !mean(figure, base, field, which) || is_other_policy(a, base))
			continue
		line = line (line == "" ? "" : ", ") ratio_cell(a, base, figure, field, which,
			base ~ /^(glibc|old-.*)$/)
	}
	if (line != "")
		print "- " label(a) ", " text ": " line
}

function is_other_policy(a, base) {
	return base ~ /^old-/ && substr(base, 5) != substr(a, 6)
}

function ratios(    i, a) {
	print "\nRatios of MeMS to the others over the real traces, geometric means:\n"
	for (i = 1; i <= allocators; i++) {
		a = allocator[i]
		if (a !~ /^mems-(first|quick)$/)
			continue
		ratios_row(a, "net time", "replay", "net", "real")
		ratios_row(a, "cold, untouched", "replay", "first", "real")
		ratios_row(a, "cold, first byte written", "byte", "best", "real")
		ratios_row(a, "cold, every page written", "touch", "best", "real")
		ratios_row(a, "memory", "memory", "over", "large")
	}
}

END {
	machine_list()
	ratios()
	print "\nNumbers in brackets are ratios to glibc; means are geometric. Time is processor time."
	means_table()
	traces_table("Replay, fastest pass: ns per call", "replay", "best")
	traces_table("The same, net (the empty loop taken off): ns per call", "replay", "net")
	traces_table("Replay, first pass in a new process, the allocator's start included: ns per call",
		"replay", "first")
	traces_table("Cold, and the first byte of every block written: ns per call", "byte", "best")
	traces_table("Cold, and every page of every block written: ns per call", "touch", "best")
	memory_table()
	start_table()
	micro_table()
	resident_table()
	threads_table()
	beside_table()
	translation_table()
	images_table()
}
