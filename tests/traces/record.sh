#!/bin/sh
# Makes the traces in tests/traces anew: generates the inputs, runs Debian's programs on them under
# the recorder and tidies what it wrote.
#
#     sh tests/traces/record.sh build/default/recorder.so tests/traces [NAME...]
#
# Programs that are missing are left out. Other versions of them give other traces: those in the
# repository are the yardstick, and a new set is a new yardstick.
set -eu

if [ $# -lt 2 ]; then
	echo "usage: $0 RECORDER.so FOLDER [NAME...]" >&2
	exit 2
fi
recorder=$(cd "$(dirname "$1")" && pwd)/$(basename "$1")
mkdir -p "$2"
traces=$(cd "$2" && pwd)
shift 2
wanted=" $* "

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

# Runs a command in a bare environment under the recorder: record NAME COMMAND...
# What is written on standard output is nobody's concern.
record() {
	name=$1
	shift
	env -i PATH=/usr/bin:/bin HOME="$work" LC_ALL=C TERM=dumb PERL_HASH_SEED=0 \
		PYTHONHASHSEED=0 PYTHONMALLOC=malloc GIT_CONFIG_NOSYSTEM=1 \
		MEMS_RECORD="$work/$name.raw" LD_PRELOAD="$recorder" "$@" >/dev/null
}

# Gives the header plain numbers, and cuts after so many operations: tidy NAME [OPERATIONS]
tidy() {
	awk -v limit="${2:-0}" '
		FNR > 4 && limit && FNR > 4 + limit { next }
		NR == FNR && FNR > 4 { count++; if ($2 >= ids) ids = $2 + 1 }
		NR > FNR && FNR == 1 { print 0; print ids; print count; print 1 }
		NR > FNR && FNR > 4' "$1.raw" "$1.raw" > "$traces/$1.rep"
	echo "$1: $(wc -c < "$traces/$1.rep") bytes"
}

# Whether a trace is asked for and its program is there: has NAME PROGRAM
has() {
	case $wanted in
	"  " | *" $1 "*) ;;
	*) return 1 ;;
	esac
	command -v "$2" > /dev/null || { echo "$1: no $2, left out"; return 1; }
}

# random COUNT: that many numbers below 1000003, the same each time
random() {
	awk -v count="$1" 'BEGIN {
		s = 12345
		while (count-- > 0) {
			s = (s * 1103 + 12345) % 1000003
			print s
		}
	}'
}

# ---- perl: a hash of growing strings, sorted and joined at the end ------------------------------

if has perl perl; then
	random 1600 | awk '{
		printf "key%d %d", $1 % 300, $1
		for (i = $1 % 13; i > 0; i--)
			printf " %d", $1 * i
		print ""
	}' > records.txt
	cat > records.pl <<'END'
my (%text, %lines);
while (<>) {
	chomp;
	my ($key, @fields) = split / /;
	$text{$key} .= join(";", @fields) . "-" x ($. % 300) . "\n";
	push @{$lines{$key}}, $_ . " " x ($. * 7 % 9000);
	delete $lines{$key} if @{$lines{$key}} > 9;
}
my $all = "";
my @keys = sort { length $text{$b} <=> length $text{$a} || $a cmp $b } keys %text;
$all .= "$_=" . reverse($text{$_}) . "\n" for @keys;
print length $all, "\n";
END
	record perl perl records.pl records.txt
	tidy perl
fi

# ---- sqlite3: inserts, indexes, joins, deletes, a vacuum, in memory -----------------------------

if has sqlite3 sqlite3; then
	{
		echo 'pragma cache_size = -16000;'
		echo 'create table item (id integer primary key, name, kind int, price real, note);'
		echo 'create table kind (id integer primary key, label text);'
		echo 'begin;'
		random 330 | awk '{
			printf "insert into item values (%d, %cname %d%c, %d, %d.5, printf(%c%%.*c%c, %d, %cx%c));\n",
				NR, 39, $1, 39, $1 % 97, $1, 39, 39, 200 + $1 % 16000, 39, 39 }'
		awk 'BEGIN {
			for (i = 0; i < 97; i++)
				printf "insert into kind values (%d, %ckind %d%c);\n", i, 39, i, 39
		}'
		cat <<'END'
commit;
create index item_kind on item (kind);
create index item_name on item (name, note);
select label, count(*), sum(price) from item join kind on kind.id = item.kind
	group by label order by 3;
select a.name, b.name from item a join item b on a.kind = b.kind and a.id < b.id
	where a.id < 9 limit 50;
delete from item where id % 3 = 0;
update item set note = note || name where kind < 20;
select count(distinct substr(note, 1, 100 + kind)) from item;
vacuum;
select upper(name) from item order by price desc, name limit 100;
END
	} > items.sql
	record sqlite3 sqlite3 -init items.sql :memory: .quit
	tidy sqlite3
fi

# ---- python3: a tree of objects, written and read back; its own block allocator is off ----------

if has python3 /usr/bin/python3; then
	cat > tree.py <<'END'
class Node:
	def __init__(self, key, value):
		self.key, self.value, self.left, self.right = key, value, None, None
def insert(node, key, value):
	while True:
		side = "left" if key < node.key else "right"
		child = getattr(node, side)
		if child is None:
			setattr(node, side, Node(key, value))
			return
		node = child
def plain(node):
	return node and {"key": node.key, "left": plain(node.left), "right": plain(node.right)}
seed, root = 1, Node(500000, "")
for i in range(150):
	seed = (seed * 1103 + 12345) % 1000003
	insert(root, seed, [seed, str(seed) * (seed % 200)])
text = repr(plain(root))
back = eval(text)
print(len(text), len(back))
END
	record python3 /usr/bin/python3 -S -s tree.py
	tidy python3
fi

# ---- jq: groups and sums an array of objects ----------------------------------------------------

if has jq jq; then
	random 1100 | awk '
		BEGIN { printf "[" }
		{ printf "%s{\"id\":%d,\"name\":\"n%d\",\"tags\":[\"a%d\",\"b%d\"],\"value\":%d.25}",
			(NR > 1 ? "," : ""), NR, $1, $1 % 7, $1 % 11, $1 % 1000 }
		END { print "]" }' > items.json
	record jq jq 'group_by(.tags[0])
		| map({tag: .[0].tags[0], count: length, sum: (map(.value) | add)})' items.json
	tidy jq
fi

# ---- cc1: the C compiler proper, on one small function of each kind -----------------------------

if has cc1 gcc; then
	cat > small.c <<'END'
struct list { struct list *next; int key; double weight; };
int total(const struct list *list)
{
	int sum = 0;
	for (; list; list = list->next)
		sum += list->key % 7 ? list->key : -1;
	return sum;
}
void scale(double *to, const double *from, int count, double factor)
{
	for (int i = 0; i < count; i++)
		to[i] = from[i] * factor + (i & 1 ? 0.5 : 0.25);
}
const char *name(int kind)
{
	switch (kind) {
	case 0: return "zero";
	case 1: return "one";
	case 5: return "five";
	case 9: return "nine";
	default: return kind < 0 ? "negative" : "many";
	}
}
END
	record cc1 "$(gcc -print-prog-name=cc1)" -quiet -O1 small.c -o small.s
	tidy cc1
fi

# ---- git: the history with patches and renames; a pack of larger files --------------------------

if has git-log git; then
	random 4000 | awk '{
		for (i = 0; i < 9; i++)
			printf "w%d ", ($1 * (i + 3)) % 5000
		print ""
	}' > words.txt
	git init -q repository
	for commit in 1 2 3 4 5 6 7 8; do
		for file in 1 2 3 4 5 6 7 8 9 10 11 12; do
			head -n $((commit * file * 5)) words.txt | tail -n $((commit * 20)) \
				> repository/file$file.txt
		done
		for file in 1 2 3 4 5 6; do
			tail -n +$((commit * file * 11)) words.txt | head -n $((750 * file)) \
				> repository/large$file.txt
		done
		[ $commit != 5 ] || mv repository/file7.txt repository/renamed.txt
		git -C repository add -A
		GIT_AUTHOR_DATE="200000000$commit +0000" GIT_COMMITTER_DATE="200000000$commit +0000" \
			git -C repository -c user.name=a -c user.email=a@b.c -c gc.auto=0 \
			commit -q -m "change $commit"
	done
	record git-log git -C repository log -p --stat -M -- 'file*.txt' renamed.txt
	tidy git-log
	record git-pack git -C repository -c pack.threads=1 \
		pack-objects --all --stdout --no-reuse-delta < /dev/null
	tidy git-pack
fi

# ---- vim: substitutes, moves and deletes lines --------------------------------------------------

if has vim vim; then
	random 2500 | awk '{
		printf "%d", $1
		for (i = $1 % 17; i > 0; i--)
			printf " word%d", ($1 * i) % 40
		print ""
	}' > text.txt
	record vim vim -es -u NONE -c '%s/word1/other/g' -c 'g/word2 /m0' -c 'g/word3$/d' \
		-c 'qa!' text.txt < /dev/null
	tidy vim 24000
fi

# ---- gdb: reads the symbols of a small program --------------------------------------------------

if has gdb gdb && command -v gcc > /dev/null; then
	echo 'struct point { int x, y; } origin; int main(void) { return origin.x; }' > point.c
	gcc -g -O0 -o point point.c
	record gdb gdb -nx -batch -ex 'info functions' -ex 'ptype origin' -ex 'break main' point
	tidy gdb 34000
fi

# ---- bash: small strings, by the thousand -------------------------------------------------------

if has bash bash; then
	# shellcheck disable=SC2016 # the inner bash expands these
	record bash bash -c '
		declare -A map
		seed=1
		for ((i = 0; i < 150; i++)); do
			seed=$(((seed * 1103 + 12345) % 1000003))
			map[key$((seed % 40))]+=" $seed"
		done
		for key in "${!map[@]}"; do
			set -- ${map[$key]}
			text+="$key=$#;${map[$key]// /,}"
		done
		echo "${#text}"'
	tidy bash
fi
