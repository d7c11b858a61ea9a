# Adds up what gcov says of mems.c; see coverage.sh. Needs list, compilations (of mems.c, in each build),
# least_lines and least_branches.

function trimmed(text)
{
	sub(/^[ \t]+/, "", text)
	sub(/[ \t]+$/, "", text)
	return text
}

function fail(message)
{
	print message
	failed = 1
}

function percent(part, whole)
{
	return whole == 0 ? 0 : 100 * part / whole
}

# Entries: the key of each, and its reason.
function read_list(    line, number)
{
	while ((getline line <list) > 0) {
		number++
		if (line ~ /^#/ || line ~ /^[ \t]*$/) {
			continue
		} else if (line ~ /^\t/) {
			reasons[entries] = reasons[entries] (reasons[entries] == "" ? "" : " ") trimmed(line)
		} else {
			keys[++entries] = trimmed(line)
			places[entries] = list ":" number
		}
	}
	close(list)
}

BEGIN { read_list() }

/^folder:/ {
	folder = substr($0, 8)
	if (!(folder in folder_numbers)) {
		folder_numbers[folder] = ++folders
		names[folders] = folder
	}
	is_ours = 0
	next
}

/^ +-: +0:/ {
	if ($0 ~ /:Source:/) {
		is_ours = $0 ~ /[:\/]mems\.c$/
		name = ""
		units += is_ours
	}
	next
}

!is_ours { next }

/^function / {
	name = $2
	next
}

/^branch / {
	branch_counts[folder, line, branch] += ($3 == "taken") * $4
	branch++
	if (branch > branch_lines[folder, line])
		branch_lines[folder, line] = branch
	next
}

/^ *[^ :]+: *[0-9]+:/ {
	count = trimmed(substr($0, 1, index($0, ":") - 1))
	rest = substr($0, index($0, ":") + 1)
	line = substr(rest, 1, index(rest, ":") - 1) + 0
	branch = 0
	if (count == "-")
		next
	texts[line] = trimmed(substr(rest, index(rest, ":") + 1))
	functions[line] = name
	last_line = line > last_line ? line : last_line
	folder_reached[folder, line] += count + 0 != 0
	reached[line] += count + 0 != 0
	next
}

# One line for each build.
function judge_build(folder,    line, lines, lines_reached, branches, taken, i, line_part, branch_part)
{
	for (line = 1; line <= last_line; line++) {
		if (!((folder, line) in folder_reached))
			continue
		lines++
		lines_reached += folder_reached[folder, line] != 0
		for (i = 0; i < branch_lines[folder, line]; i++) {
			branches++
			taken += branch_counts[folder, line, i] != 0
		}
	}
	line_part = percent(lines_reached, lines)
	branch_part = percent(taken, branches)
	printf "%-20s %6.2f %% of lines (%d of %d), %6.2f %% of branches (%d of %d)\n", folder,
		line_part, lines_reached, lines, branch_part, taken, branches
	if (line_part < least_lines)
		fail(folder ": fewer lines than " least_lines " %")
	if (branch_part < least_branches)
		fail(folder ": fewer branches than " least_branches " %")
}

# Branches that no build took.
function list_branches(    line, f, i, missed, most, key, is_taken)
{
	for (line = 1; line <= last_line; line++) {
		most = 0
		for (f = 1; f <= folders; f++) {
			if (branch_lines[names[f], line] > most)
				most = branch_lines[names[f], line]
		}
		missed = 0
		for (i = 0; i < most; i++) {
			is_taken = 0
			for (f = 1; f <= folders; f++) {
				key = names[f] SUBSEP line SUBSEP i
				is_taken += (key in branch_counts) && branch_counts[key] != 0
			}
			missed += !is_taken
		}
		if (missed != 0) {
			printf "mems.c:%d: %s: %d of %d: %s\n", line, functions[line], missed, most, texts[line]
			missed_in_all += missed
		}
	}
}

# Each line that was not reached against the entries.
function judge_lines(    line, key, i)
{
	for (line = 1; line <= last_line; line++) {
		if (!(line in texts))
			continue
		key = functions[line] ": " texts[line]
		exists[key] = 1
		if (reached[line] != 0)
			continue
		for (i = 1; i <= entries && (keys[i] != key || is_used[i]); i++)
			;
		if (i > entries) {
			fail("mems.c:" line ": not reached, and no reason in " list ": " key)
		} else {
			is_used[i] = 1
			print "mems.c:" line ": not reached: " key
			print "\t" reasons[i]
		}
	}
	for (i = 1; i <= entries; i++) {
		if (reasons[i] == "")
			fail(places[i] ": no reason is given: " keys[i])
		if (!is_used[i])
			fail(places[i] ": " (keys[i] in exists ? "reached: " : "no such line: ") keys[i])
	}
}

END {
	if (folders == 0 || units != compilations * folders) {
		print "gcov tells of mems.c " units + 0 " times, not " compilations * folders
		exit 1
	}
	print "Branches never taken:"
	list_branches()
	print missed_in_all + 0 " branches"
	print ""
	print "Lines never reached:"
	judge_lines()
	print ""
	for (f = 1; f <= folders; f++)
		judge_build(names[f])
	exit failed
}
