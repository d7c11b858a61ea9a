# Writes commands for redis-cli --pipe: awk -v keys=20000 -f redis.awk </dev/null
# Values of every type, resized, replaced and deleted; the same ones each time.
function random(limit) {
	state = (state * 1103 + 12345) % 1000003
	return state % limit
}

function text(length_wanted) {
	return substr(letters, 1 + random(100), length_wanted)
}

function command(line) {
	printf "%s\r\n", line
}

BEGIN {
	state = 7
	for (i = 0; i < 40; i++)
		letters = letters "the_quick_brown_fox_jumps_over_the_lazy_dog_"
	for (i = 0; i < keys; i++) {
		command("SET string:" i " " text(1 + random(300)))
		command("APPEND string:" random(keys) " " text(1 + random(60)))
		command("HSET hash:" i % 500 " field:" random(300) " " text(1 + random(80)))
		command("RPUSH list:" i % 300 " " text(1 + random(100)))
		command("SADD set:" i % 200 " member:" random(keys))
		command("ZADD zset:" i % 100 " " random(100000) " member:" random(5000))
		command("XADD stream:" i % 50 " " i + 1 "-1 name " text(1 + random(40)))
		command("PFADD log:" i % 20 " " random(keys))
		command("INCRBY counter:" i % 1000 " " random(1000))
		if (i % 3 == 0)
			command("DEL string:" random(keys))
		if (i % 5 == 0)
			command("LPOP list:" random(300))
		if (i % 1000 == 999)
			command("SUNIONSTORE set:union set:" random(200) " set:" random(200))
	}
}
