# Writes a script for sqlite3: awk -v rows=100000 -f sqlite.awk </dev/null
# Two tables of so many rows together, indexes, joins, changes, and a check of the whole file.
function random(limit) {
	state = (state * 1103 + 12345) % 1000003
	return state % limit
}

function name(number) {
	return sprintf("name %d of %s", number, substr("abcdefghijklmnopqrstuvwxyz", 1, number % 26))
}

BEGIN {
	state = 42
	people = int(rows / 5)
	print "PRAGMA journal_mode = MEMORY;"
	print "CREATE TABLE person (id INTEGER PRIMARY KEY, name TEXT, town INTEGER, note BLOB);"
	print "CREATE TABLE sale (id INTEGER PRIMARY KEY, person INTEGER, amount REAL, day TEXT);"
	print "BEGIN;"
	for (i = 1; i <= people; i++)
		printf "INSERT INTO person VALUES (%d, '%s', %d, zeroblob(%d));\n", i, name(random(9999)),
			random(500), random(100)
	for (i = 1; i <= rows - people; i++)
		printf "INSERT INTO sale VALUES (%d, %d, %d.%02d, '2024-%02d-%02d');\n", i,
			1 + random(people), random(1000), random(100), 1 + random(12), 1 + random(28)
	print "COMMIT;"
	print "CREATE INDEX person_name ON person (name, town);"
	print "CREATE INDEX sale_person ON sale (person);"
	print "CREATE INDEX sale_day ON sale (day, amount);"
	print "ANALYZE;"
	print "SELECT count(*), sum(amount) FROM sale;"
	print "SELECT p.name, count(*), round(sum(s.amount), 2) AS total FROM person p"
	print "JOIN sale s ON s.person = p.id GROUP BY p.name ORDER BY total DESC, p.name LIMIT 50;"
	print "SELECT a.town, count(DISTINCT b.day) FROM person a JOIN sale b ON b.person = a.id"
	print "WHERE b.amount > 900 GROUP BY a.town ORDER BY a.town;"
	print "SELECT day, group_concat(id) FROM sale WHERE amount < 5 GROUP BY day ORDER BY day;"
	print "UPDATE sale SET amount = amount * 2 WHERE person % 7 = 0;"
	print "DELETE FROM person WHERE id % 11 = 0;"
	print "SELECT name, rank() OVER (PARTITION BY town ORDER BY name, id) FROM person"
	print "WHERE town < 20 ORDER BY town, name, id;"
	print "VACUUM;"
	print "PRAGMA integrity_check;"
	print "PRAGMA foreign_key_check;"
}
