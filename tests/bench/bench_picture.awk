# The picture of the benchmark as SVG, from bench-machine.csv and bench.csv: for each allocator a
# bar for the geometric mean of the real traces and a dot for every one of them. On the left the
# net time of a call, on the right the memory beyond the live bytes.
BEGIN {
	FS = ","
	rows = split("mems-first mems-quick mems-first-16 mems-quick-16 " \
		"glibc jemalloc tcmalloc mimalloc", all, " ")
	title["mems-first"] = "MeMS first fit"
	title["mems-quick"] = "MeMS quick fit"
	title["mems-first-16"] = "first fit, alignment 16"
	title["mems-quick-16"] = "quick fit, alignment 16"
	row_height = 38
	panel_top = 92
	label_width = 168
	panel_width = 330
	gap = 60
	large = 4 * 1024 * 1024
}

FNR == NR {
	machine[$1] = substr($0, length($1) + 2)
	next
}

# The empty loop is the first of a trace's lines, if it was measured.
FNR > 1 && $3 == "real" && $1 == "replay" && $4 == "none" {
	loop[$2] = $7
	next
}

FNR > 1 && $3 == "real" && $1 == "replay" && $7 > loop[$2] {
	add("time", $4, $7 - loop[$2])
}

FNR > 1 && $3 == "real" && $1 == "memory" && $5 >= large {
	add("memory", $4, ($7 / $5 - 1) * 100)
	ratios["memory", $4] += log($7 / $5)
}

function add(panel, a, x) {
	figure[panel, a, ++figures[panel, a]] = x
	if (panel == "time")
		ratios[panel, a] += log(x)
	is_there[a] = 1
}

function mean(panel, a,    x) {
	if (!figures[panel, a])
		return 0
	x = exp(ratios[panel, a] / figures[panel, a])
	return panel == "time" ? x : (x - 1) * 100
}

# The length of the axis: room for every bar, and a round number of steps.
function axis_step(panel,    i, a, most, step) {
	for (i = 1; i <= shown; i++)
		if (mean(panel, row[i]) > most)
			most = mean(panel, row[i])
	step = 1
	while (step * 5 < most * 1.5)
		step *= (step ~ /^[15]0*$/ ? 2 : 2.5)
	return step
}

function text(x, y, class, anchor, words) {
	gsub(/&/, "\\&amp;", words)
	gsub(/</, "\\&lt;", words)
	printf "<text x=\"%.1f\" y=\"%.1f\" class=\"%s\" text-anchor=\"%s\">%s</text>\n", x, y, class,
		anchor, words
}

function axis(panel, left, step, unit,    i, x) {
	for (i = 0; i <= 5; i++) {
		x = left + i * panel_width / 5
		printf "<line x1=\"%.1f\" y1=\"%d\" x2=\"%.1f\" y2=\"%d\" class=\"grid\"/>\n", x,
			panel_top - 6, x, panel_top + shown * row_height
		text(x, panel_top + shown * row_height + 18, "tick", "middle", i * step unit)
	}
}

# A dot, or at the end of the axis an arrow for a figure beyond it.
function dot(x, y, right) {
	if (x <= right)
		printf "<circle cx=\"%.1f\" cy=\"%.1f\" r=\"3\" class=\"dot\"/>\n", x, y
	else
		printf "<path d=\"M%.1f %.1fl7 3.5l-7 3.5z\" class=\"dot\"/>\n", right + 2, y - 3.5
}

function bars(panel, left, step, unit,    i, j, a, y, x, scale) {
	scale = panel_width / (5 * step)
	for (i = 1; i <= shown; i++) {
		a = row[i]
		y = panel_top + (i - 1) * row_height
		printf "<rect x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"15\" class=\"%s\"/>\n", left, y + 2,
			mean(panel, a) * scale, a ~ /^mems/ ? "mems" : "other"
		text(left + mean(panel, a) * scale + 5, y + 14, "value", "start",
			sprintf("%.1f", mean(panel, a)) unit)
		for (j = 1; j <= figures[panel, a]; j++) {
			x = figure[panel, a, j]
			dot(left + (x > 0 ? x : 0) * scale, y + 25, left + panel_width)
		}
	}
}

function panel_draw(panel, left, heading, unit,    step, i) {
	if (!figures[panel, row[1]])
		return
	step = axis_step(panel)
	text(left, panel_top - 20, "heading", "start", heading)
	axis(panel, left, step, unit)
	bars(panel, left, step, unit)
}

END {
	for (i = 1; i <= rows; i++)
		if (all[i] in is_there)
			row[++shown] = all[i]
	width = label_width + 2 * panel_width + gap + 50
	height = panel_top + shown * row_height + 78
	printf "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %d %d\"", width, height
	printf " width=\"%d\" height=\"%d\">\n", width, height
	print "<style>text{font-family:Helvetica,Arial,sans-serif;fill:#24292f;font-size:13px}"
	print ".title{font-size:18px;font-weight:bold}.heading{font-size:14px;font-weight:bold}"
	print ".value{font-size:12px}.tick,.note{font-size:11px;fill:#57606a}"
	print ".grid{stroke:#d8dee4}.mems{fill:#1f6feb}.other{fill:#8c959f}"
	print ".dot{fill:#24292f;fill-opacity:.38}</style>"
	printf "<rect width=\"%d\" height=\"%d\" fill=\"#fff\"/>\n", width, height
	text(20, 32, "title", "start", "MeMS beside other allocators")
	for (i = 1; i <= shown; i++)
		text(label_width - 12, panel_top + (i - 1) * row_height + 15, "name", "end",
			(row[i] in title) ? title[row[i]] : row[i])
	panel_draw("time", label_width, "Time of a call, the empty loop taken off, ns", "")
	panel_draw("memory", label_width + panel_width + gap,
		"Memory beyond the live bytes at the peak, %", "%")
	text(20, height - 30, "note", "start",
		"Bar: geometric mean; dot: one trace; arrow: beyond the axis. " figures["time", row[1]] \
		" traces of real programs; memory: " figures["memory", row[1]] \
		" of them, with 4 MiB live or more.")
	text(20, height - 14, "note", "start", machine["processor"])
	print "</svg>"
}
