# Reads the lines that sample/preload/preload.c left for each process of a run and prints
#     NAME,POLICY,calls,processes,peak MiB,pages,fragmentation
# and, behind "! ", each thing that is wrong. Peak, pages and fragmentation are those of the process
# with the highest peak. wanted: names of processes that must be there.
/^program=/ {
	split("", value)
	for (i = 1; i <= NF; i++) {
		at = index($i, "=")
		value[substr($i, 1, at - 1)] = substr($i, at + 1)
	}
	processes++
	calls += value["calls"]
	calls_of[value["program"]] += value["calls"]
	checks += value["checks"]
	if (value["peak_bytes"] + 0 >= peak + 0) {
		peak = value["peak_bytes"] + 0
		mapped = value["mapped_bytes"]
		pages = value["pages"]
	}
	if (value["policy"] != policy)
		print "! " value["program"] " ran under " value["policy"]
	if (value["checks"] < 1)
		print "! " value["program"] " was not checked"
	if (value["broken"] != 0)
		print "! mems_check found " value["broken"] " broken in " value["program"]
	if (value["misuses"] != 0)
		print "! " value["misuses"] " misuses in " value["program"]
	if (value["refused"] != 0)
		print "! " value["refused"] " alignments refused in " value["program"]
	next
}

{ print "! " $0 }

END {
	count = split(wanted, names, " ")
	for (i = 1; i <= count; i++)
		if (calls_of[names[i]] == 0)
			print "! " names[i] " did not run on the heap"
	printf "%s,%s,%d,%d,%.2f,%d,%.1f %%\n", name, policy, calls, processes, peak / 1048576,
		pages, mapped ? 100 * (1 - peak / mapped) : 0
}
