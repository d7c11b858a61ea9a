#!/bin/sh
# Runs every command of README.md as it stands there, in a copy of the project: the blocks that are
# fenced as sh, from top to bottom, each by a shell that stops at the first failure; then whatever
# begins with make, cc or mems-replay between backquotes.
#
# What the commands find is arranged, and these are all the exceptions:
#   make      those that take long (see below) are only asked whether they could be made: make -n
#   sudo      does without, and DESTDIR leads what is installed into a directory of this test,
#             where pkg-config, man and the shell look for it
#   xdg-open  opens nothing, and fails where the file is not there
# The program of the reader is called program.c there; it is the example, with a recording.
# shellcheck disable=SC2016,SC2317 # backquotes are meant; the functions are called by check
set -u

long='test asan test32 check test-browser scale bench tsan stress fuzz coverage lint'
long="$long test-programs test-platforms"

work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
. tests/check.sh

skip()
{
	echo "[ RUN      ] the commands of the README"
	echo "[  SKIPPED ] the commands of the README"
	exit 0
}

# The README has nothing of its own to say for other variants and other machines.
[ -z "${VARIANT:-}${RUN:-}" ] || skip
tests/need.sh --optional pkg-config man-db >"$work/need" 2>&1 || {
	echo "note: the commands of the README are skipped, for there is no pkg-config or no man here"
	skip
}

# ---- What the README says ------------------------------------------------------------------------

# The Nth block that is fenced as sh.
block()
{
	awk -v wanted="$1" '/^```/ { if (!fenced && $0 == "```sh") n++
			fenced = !fenced; inside = fenced && $0 == "```sh"; next }
		inside && n == wanted' README.md
}

# Commands between backquotes, outside of all blocks. (An option of mems-replay by its name, without
# the file that it wants, is none.)
between_backquotes()
{
	awk '/^```/ { fenced = !fenced } !fenced' README.md | grep -o '`[^`]*`' | tr -d '`' |
		grep -E '^(make|cc|mems-replay) ' |
		grep -vE '^mems-replay --(html|svg|json)$' | sort -u
}

# No command hides in a block of another kind, where it would not be run.
has_no_other_commands()
{
	! awk '/^```/ { fenced = !fenced; inside = fenced && $0 != "```sh"; next } inside' README.md |
		grep -nE -e '^[[:space:]]*(\$ |#!|\./|sample/)' \
			-e '^[[:space:]]*(make|cc|gcc|g\+\+|mems-replay|sudo|git|cd|man|tar|apt-get)( |$)'
}

# Pictures and links that do not lead to the web.
has_what_it_links_to()
{
	grep -o '](\([^)#]*\)' README.md | sed 's/^](//; /^https\{0,1\}:/d; /^$/d' >"$work/links"
	while read -r file; do
		[ -s "$file" ] || { echo "README.md links to $file"; return 1; }
	done <"$work/links"
}

# The tests that stand in the last cell of a row as proof: `FILE`: `TEST`, `TEST`; `FILE`: ...
has_tests_that_it_names()
{
	sed -n 's/^| .* | \(`\(test\|fuzz\)_[^|]*\) |$/\1/p' README.md | grep -o '`[^`]*`' |
		tr -d '`' >"$work/names"
	[ -s "$work/names" ] || return
	file=
	while read -r word; do
		case $word in
		*.sh) [ -x "$(echo tests/*/"$word")" ] || { echo "README.md names $word"; return 1; } ;;
		test_* | fuzz_*) file=$(echo tests/*/"$word.c") ;;
		*) grep -q "^static void $word(" "$file" && grep -q "test.*[( ]$word[,)]" "$file" ||
			{ echo "README.md names $word of $file"; return 1; } ;;
		esac
		[ -z "$file" ] || [ -s "$file" ] || { echo "README.md names $file"; return 1; }
	done <"$work/names"
}

# tests/README.md has a line for every program of the tests, and for no other.
lists_every_test()
{
	find tests -name '*.c' -o -name '*.sh' -o -name '*.awk' -o -name '*.js' -o -name '*.p[ly]' |
		sed 's|.*/||' | sort >"$work/programs"
	sed -n 's/^| `\([^`]*\)` |.*/\1/p' tests/README.md | sort | diff "$work/programs" -
}

# The example as it is when it follows the block of C that records: what comes there before its
# comment takes the place of mems_init, the rest that of mems_finish.
recorded_example()
{
	awk '/^```/ { if (fenced) { fenced = 0; next }
			fenced = 1; inside = $0 == "```c"; if (inside) n++; after = 0; next }
		fenced && inside && n == 1 { line[++lines] = $0 }
		fenced && inside && n == 2 {
			if (/^\/\*/) after = 1
			else if (after) last = last $0 "\n"
			else first = first $0 "\n"
		}
		END { for (i = 1; i <= lines; i++)
			if (line[i] ~ /^\tmems_init/) printf "%s", first
			else if (line[i] ~ /^\tmems_finish/) printf "%s", last
			else print line[i] }' README.md
}

# ---- The copy, and what the commands find --------------------------------------------------------

copy=$work/copy
root=$work/root
mkdir "$copy" "$root" "$work/bin" "$work/home"
tar --exclude=./.git --exclude=./build --exclude=./example --exclude='./libmems.*' \
	--exclude='./sample/mems-*' -cf - . | tar -xf - -C "$copy" || exit 1
recorded_example >"$copy/program.c"
# For make dist, as there is no .git.
(cd "$copy" && find . ! -type d ! -path './.*' | sed 's|^./||') >"$work/manifest"
cp "$work/manifest" "$copy/MANIFEST"

cat >"$work/bin/make" <<END
#!/bin/sh
for word in "\$@"; do
	case " $long " in
	*" \$word "*) exec $(command -v make) -n "\$@" >/dev/null ;;
	esac
done
exec $(command -v make) "\$@"
END
cat >"$work/bin/sudo" <<'END'
#!/bin/sh
exec "$@"
END
cat >"$work/bin/xdg-open" <<'END'
#!/bin/sh
exec test -s "$1"
END
chmod +x "$work/bin/"*

# Nothing of the make that runs this test, and a build that takes little time.
unset MAKEFLAGS MFLAGS MAKELEVEL MAKEOVERRIDES CC CXX CPPFLAGS LDFLAGS LDLIBS CMOCKA EXAMPLE \
	REPLAY TRACES PREFIX prefix PKG_CONFIG_LIBDIR
export CFLAGS=-O0
export HOME="$work/home"
export DESTDIR="$root"
export PATH="$work/bin:$root/usr/local/bin:$copy/sample:$PATH"
export MANPATH="$root/usr/local/share/man:"
export PKG_CONFIG_SYSROOT_DIR="$root"
export PKG_CONFIG_PATH="$root/usr/local/lib/pkgconfig"

# succeeds SCRIPT
succeeds()
{
	(cd "$copy" && timeout 120 sh -exc "$1") >"$work/said" 2>&1 </dev/null && return
	cat "$work/said"
	return 1
}

# ---- The commands --------------------------------------------------------------------------------

check "no command stands in a block that is not run" has_no_other_commands

check "what the README links to is there" has_what_it_links_to

check "the tests that the README names are there" has_tests_that_it_names

check "tests/README.md has a line for every program of the tests" lists_every_test

blocks=$(grep -c '^```sh$' README.md)
n=0
while [ $n -lt "$blocks" ]; do
	n=$((n + 1))
	check "block $n: $(block $n | head -n 1)" succeeds "$(block $n)"
done

between_backquotes >"$work/lines"
while read -r line <&3; do
	check "$line" succeeds "$line"
done 3<"$work/lines"
check "the README has commands" [ "$n" -gt 0 -a -s "$work/lines" ]
exit $status
