# The tables of the benchmark in Markdown, from bench-machine.csv and bench.csv.
BEGIN {
	FS = ","
	title["none"] = "empty loop"
	title["mems-first"] = "MeMS first fit"
	title["mems-quick"] = "MeMS quick fit"
	title["mems-first-16"] = "first fit, 16"
	title["mems-quick-16"] = "quick fit, 16"
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

# The figure of a table: value("replay", "clang", "glibc", "best")
function value(work, subject, a, field) {
	return field == "first" ? first[work, subject, a] : best[work, subject, a]
}

function is_measured(work, subject, a) {
	return (work, subject, a) in best
}

# Whether a trace counts: which is "real", "all" or "large" (real, and 4 MiB live or more).
function is_counted(subject, which) {
	if (which == "all")
		return 1
	if (which == "large")
		return group[subject] == "real" && count["memory", subject] >= large
	return group[subject] == which
}

# Geometric mean over the traces; 0 where one has no figure. For memory, of resident over live.
function mean(work, a, field, which,    i, n, sum, subject) {
	for (i = 1; i <= names[work]; i++) {
		subject = name[work, i]
		if (!is_counted(subject, which))
			continue
		if (!is_measured(work, subject, a) || value(work, subject, a, field) <= 0)
			return 0
		n++
		sum += log(value(work, subject, a, field) / (work == "memory" ? count[work, subject] : 1))
	}
	return n ? exp(sum / n) : 0
}

function number(x) {
	return x >= 1000 ? sprintf("%.0f", x) : x >= 100 ? sprintf("%.0f", x) : sprintf("%.1f", x)
}

function header(corner, work,    i, line, rule) {
	rule = corner ~ /\|/ ? "|---|--:|" : "|---|"
	line = "| " corner " |"
	for (i = 1; i <= allocators; i++)
		if (shows(allocator[i], work)) {
			line = line " " label(allocator[i]) " |"
			rule = rule "--:|"
		}
	print line
	print rule
}

function shows(a, work,    i) {
	for (i = 1; i <= names[work]; i++)
		if (is_measured(work, name[work, i], a))
			return 1
	return 0
}

# One row; cells with the ratio to glibc in brackets.
function row(text, work, subject, field,    i, a, line, x, base) {
	line = "| " text " |"
	base = is_measured(work, subject, "glibc") ? value(work, subject, "glibc", field) : 0
	for (i = 1; i <= allocators; i++) {
		a = allocator[i]
		if (!shows(a, work))
			continue
		x = value(work, subject, a, field)
		line = line cell(is_measured(work, subject, a), x, a, base)
	}
	print line
}

function cell(has, x, a, base) {
	if (!has)
		return " |"
	if (base <= 0 || a == "glibc" || a == "none")
		return " " number(x) " |"
	return sprintf(" %s (%.2f) |", number(x), x / base)
}

function row_mean(text, work, field, which,    i, a, line) {
	line = "| **" text "** |"
	for (i = 1; i <= allocators; i++) {
		a = allocator[i]
		if (shows(a, work))
			line = line cell(mean(work, a, field, which) > 0, mean(work, a, field, which), a,
				mean(work, "glibc", field, which))
	}
	print line
}

function rows_of(work, field, which,    i) {
	for (i = 1; i <= names[work]; i++)
		if (group[name[work, i]] == which)
			row(name[work, i], work, name[work, i], field)
}

function traces_table(heading, work, field) {
	if (!names[work])
		return
	print "\n### " heading "\n"
	header("trace", work)
	rows_of(work, field, "real")
	row_mean("real traces", work, field, "real")
	rows_of(work, field, "generated")
	row_mean("all traces", work, field, "all")
}

function memory_row(subject,    i, a, line) {
	line = sprintf("| %s | %.1f |", subject, count["memory", subject] / 1048576)
	for (i = 1; i <= allocators; i++) {
		a = allocator[i]
		if (!shows(a, "memory"))
			continue
		line = line (is_measured("memory", subject, a) ? sprintf(" %.3f |",
			best["memory", subject, a] / count["memory", subject]) : " |")
	}
	print line
}

function memory_mean(text, which,    i, line) {
	line = "| **" text "** | |"
	for (i = 1; i <= allocators; i++)
		if (shows(allocator[i], "memory"))
			line = line sprintf(" %.3f |", mean("memory", allocator[i], "best", which))
	print line
}

function memory_table(    i, line, subject) {
	if (!names["memory"])
		return
	print "\n### Peak resident memory over peak live bytes, every page of every block touched\n"
	header("trace | live, MiB", "memory")
	for (i = 1; i <= names["memory"]; i++)
		if (is_counted(name["memory", i], "large"))
			memory_row(name["memory", i])
	memory_mean("real traces of 4 MiB or more", "large")
	for (i = 1; i <= names["memory"]; i++) {
		subject = name["memory", i]
		if (count["memory", subject] >= large && group[subject] != "real")
			memory_row(subject)
	}
}

function micro_rows(work, text, unit,    i) {
	for (i = 1; i <= names[work]; i++)
		row(text " " name[work, i] unit, work, name[work, i], "best")
}

function micro_table() {
	if (!names["pair"])
		return
	print "\n### Micro-benchmarks, ns per call\n"
	header("", "pair")
	micro_rows("pair", "allocate and free", " bytes")
	micro_rows("lifo", "last in, first out:", " blocks")
	micro_rows("fifo", "first in, first out:", " blocks")
	micro_rows("churn", "random churn,", " live blocks")
	micro_rows("threads", "random churn, 1000 live blocks each,", " threads")
	micro_rows("growth", "growth, first touch:", " blocks of 64 bytes")
}

function get_rows(work, text, a,    i, subject) {
	for (i = 1; i <= names[work]; i++) {
		subject = name[work, i]
		if (is_measured(work, subject, a))
			printf "| %s: %s, %s blocks | %.2f | %.2f | %.2f |\n", label(a), text, subject,
				first[work, subject, a], best[work, subject, a],
				best[work, subject, a] - first[work, subject, a]
	}
}

function get_table(    i) {
	if (!names["get"])
		return
	print "\n### mems_get, ns per load of a random byte\n"
	print "| | plain load | through mems_get | difference |"
	print "|---|--:|--:|--:|"
	for (i = 1; i <= allocators; i++)
		if (allocator[i] == "mems-first" || allocator[i] == "mems-quick") {
			get_rows("get", "starts", allocator[i])
			get_rows("inside", "interiors", allocator[i])
		}
}

function machine_list(    i, key) {
	for (i = 1; i <= machines; i++) {
		key = machine[i]
		sub(/,.*/, "", key)
		print "- " key ": " substr(machine[i], length(key) + 2)
	}
}

function worst_row(a, work,    i, subject, ratio, worst, at) {
	for (i = 1; i <= names[work]; i++) {
		subject = name[work, i]
		if (!is_measured(work, subject, a) || !is_measured(work, subject, "glibc"))
			continue
		if (work == "memory" && !is_counted(subject, "large"))
			continue
		ratio = best[work, subject, a] / best[work, subject, "glibc"]
		if (ratio > worst) {
			worst = ratio
			at = subject
		}
	}
	if (at != "")
		printf "- %s, %s: at worst %.2f of glibc (%s)\n", label(a),
			work == "memory" ? "memory" : "time", worst, at
}

END {
	machine_list()
	print "\nNumbers in brackets are ratios to glibc; means are geometric."
	for (i = 1; i <= allocators; i++)
		if (allocator[i] ~ /^mems-(first|quick)$/) {
			worst_row(allocator[i], "replay")
			worst_row(allocator[i], "memory")
		}
	traces_table("Replay, fastest pass: ns per call", "replay", "best")
	traces_table("Replay, first pass in a new process (cold): ns per call", "replay", "first")
	traces_table("Cold, and every page of every block written: ns per call", "touch", "best")
	memory_table()
	micro_table()
	get_table()
}
