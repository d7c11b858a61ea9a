# From every measurement to one line for each: the fastest of the rounds, how far the slowest of the
# rounds was from it, and which group a trace belongs to (real or generated).
BEGIN {
	FS = OFS = ","
	print "work,name,group,allocator,count,first,best,spread"
}

FNR > 1 {
	key = $2 "," $3 "," $4
	if (!(key in best)) {
		order[++keys] = key
		count[key] = $5
		first[key] = $6
		best[key] = worst[key] = $7
	}
	if ($6 < first[key])
		first[key] = $6
	if ($7 < best[key])
		best[key] = $7
	if ($7 > worst[key])
		worst[key] = $7
}

function group(work, name) {
	if (work != "replay" && work != "touch" && work != "memory")
		return "micro"
	return name ~ /^(lab-(needle|random|coalescing|realloc)|syn-.*)$/ ? "generated" : "real"
}

END {
	for (i = 1; i <= keys; i++) {
		key = order[i]
		split(key, part, ",")
		print part[1], part[2], group(part[1], part[2]), part[3], count[key], first[key], best[key], \
			sprintf("%.3f", best[key] > 0 ? worst[key] / best[key] - 1 : 0)
	}
}
