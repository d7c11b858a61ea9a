# From every measurement to one line for each: the median of the rounds, of threads the least; how
# far the highest was from the lowest; and which group a trace belongs to (real or generated).
BEGIN {
	FS = OFS = ","
	print "figure,name,group,allocator,count,first,best,spread"
}

FNR > 1 {
	key = $2 "," $3 "," $4
	if (!(key in rounds))
		order[++keys] = key
	count[key] = $5
	rounds[key]++
	insert(first, key, $6 + 0)
	insert(best, key, $7 + 0)
}

# Keeps the figures of a key in ascending order.
function insert(figures, key, x,    i) {
	for (i = rounds[key]; i > 1 && figures[key, i - 1] > x; i--)
		figures[key, i] = figures[key, i - 1]
	figures[key, i] = x
}

function reported(figures, key,    middle) {
	if (key ~ /^(own|pairs|mixed|beside),/)
		return figures[key, 1]
	middle = int((rounds[key] + 1) / 2)
	if (rounds[key] % 2 == 1)
		return figures[key, middle]
	return (figures[key, middle] + figures[key, middle + 1]) / 2
}

function group(figure, name) {
	if (figure !~ /^(replay|byte|touch|memory)$/)
		return "micro"
	return name ~ /^(lab-(needle|random|coalescing|realloc)|syn-.*)$/ ? "generated" : "real"
}

function spread(key) {
	return best[key, 1] > 0 ? best[key, rounds[key]] / best[key, 1] - 1 : 0
}

END {
	for (i = 1; i <= keys; i++) {
		key = order[i]
		split(key, part, ",")
		print part[1], part[2], group(part[1], part[2]), part[3], count[key], \
			sprintf("%.3f", reported(first, key)), sprintf("%.3f", reported(best, key)), \
			sprintf("%.3f", spread(key))
	}
}
