#!/bin/sh
# Runs every command of README.md and of the pages in docs/ as it stands there, in a copy of the
# project: the blocks that are fenced as sh, from top to bottom, each by a shell that stops at the first
# failure; then whatever begins with make, cc or mems-replay between backquotes. Each page has a copy of
# its own, in which "make" has run and nothing else, as a reader may begin with any of them.
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
long="$long test-programs test-platforms dist-check dist-chroot"

work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
. tests/check.sh

skip()
{
	echo "[ RUN      ] the commands of the pages"
	echo "[  SKIPPED ] the commands of the pages"
	exit 0
}

# The pages have nothing of their own to say for other variants and other machines.
[ -z "${VARIANT:-}${RUN:-}" ] || skip
tests/need.sh --optional pkg-config man-db >"$work/need" 2>&1 || {
	echo "note: the commands of the pages are skipped, for there is no pkg-config or no man here"
	skip
}

pages="README.md $(echo docs/*.md)"

# ---- What the pages say --------------------------------------------------------------------------

# block PAGE N: the Nth block that is fenced as sh.
block()
{
	awk -v wanted="$2" '/^```/ { if (!fenced && $0 == "```sh") n++
			fenced = !fenced; inside = fenced && $0 == "```sh"; next }
		inside && n == wanted' "$1"
}

# between_backquotes PAGE: commands, outside of all blocks. (An option of mems-replay by its name,
# without the file that it wants, is none.)
between_backquotes()
{
	awk '/^```/ { fenced = !fenced } !fenced' "$1" | grep -o '`[^`]*`' | tr -d '`' |
		grep -E '^(make|cc|mems-replay) ' |
		grep -vE '^mems-replay --(html|svg|json)$' | sort -u
}

# No command hides in a block of another kind, where it would not be run.
has_no_other_commands()
{
	# shellcheck disable=SC2086 # a list of words
	! awk '/^```/ { fenced = !fenced; inside = fenced && $0 != "```sh"; next } inside' $pages |
		grep -nE -e '^[[:space:]]*(\$ |#!|\./|sample/)' \
			-e '^[[:space:]]*(make|cc|gcc|g\+\+|mems-replay|sudo|git|cd|man|tar|apt-get)( |$)'
}

# The anchors of a page, as GitHub makes them of its headings.
anchors()
{
	awk '/^```/ { fenced = !fenced } !fenced && /^#/' "$1" |
		sed 's/^#* //; s/[^[:alnum:] _-]//g; s/ /-/g' | tr '[:upper:]' '[:lower:]'
}

# Pictures and links that do not lead to the web: their files and their anchors. No page is left
# without a link from the README.
has_what_it_links_to()
{
	for page in $pages; do
		grep -o ']([^)]*)' "$page" | sed 's/^](//; s/)$//; /^https\{0,1\}:/d' >"$work/links"
		while read -r link; do
			file=$page
			[ -z "${link%%#*}" ] || file=$(dirname "$page")/${link%%#*}
			[ -s "$file" ] || { echo "$page links to $link"; return 1; }
			case $link in
			*'#'*) anchors "$file" | grep -qx "${link#*#}" ||
				{ echo "$page links to $link"; return 1; } ;;
			esac
		done <"$work/links"
		[ "$page" = README.md ] || grep -qF "]($page)" README.md ||
			{ echo "README.md does not link to $page"; return 1; }
	done
}

# A page begins with its name and a line that says what it is for.
says_what_it_is_for()
{
	for page in docs/*.md; do
		sed -n 3p "$page" | grep -q '^This page ' || { echo "$page"; return 1; }
	done
}

# The README leads to the rest, and is no reference.
is_short()
{
	[ "$(wc -l <README.md)" -le 350 ]
}

# The tests that stand in the last cell of a row as proof: `FILE`: `TEST`, `TEST`; `FILE`: ...
has_tests_that_it_names()
{
	sed -n 's/^| .* | \(`\(test\|fuzz\)_[^|]*\) |$/\1/p' docs/security.md | grep -o '`[^`]*`' |
		tr -d '`' >"$work/names"
	[ -s "$work/names" ] || return
	file=
	while read -r word; do
		case $word in
		*.sh) [ -x "$(echo tests/*/"$word")" ] || { echo "docs/security.md names $word"; return 1; } ;;
		test_* | fuzz_*) file=$(echo tests/*/"$word.c") ;;
		*) grep -q "^static void $word(" "$file" && grep -q "test.*[( ]${word}[,)]" "$file" ||
			{ echo "docs/security.md names $word of $file"; return 1; } ;;
		esac
		[ -z "$file" ] || [ -s "$file" ] || { echo "docs/security.md names $file"; return 1; }
	done <"$work/names"
}

# tests/README.md has a line for every program of the tests, and for no other.
lists_every_test()
{
	find tests -name '*.c' -o -name '*.sh' -o -name '*.awk' -o -name '*.js' -o -name '*.p[ly]' |
		sed 's|.*/||' | sort >"$work/programs"
	sed -n 's/^| `\([^`]*\)` |.*/\1/p' tests/README.md | sort | diff "$work/programs" -
}

# ARCHITECTURE.md has the sections of mems.c in their order, and no name that is not there.
has_the_sections()
{
	sed -n 's|^/\* ---- \([^:,-]*[^:, -]\).*|\1|p' mems.c | sed 1d >"$work/sections" # the types come first
	sed -n '/^## The sections/,/^## What/s/^| \([A-Z][^|]*\) |.*/\1/p' ARCHITECTURE.md | sed 's/, /\n/g' |
		diff "$work/sections" - || return
	grep -o '`[A-Za-z_]*`' ARCHITECTURE.md | tr -d '`' | sort -u >"$work/names"
	while read -r word; do
		[ -e "$word" ] || grep -qw "$word" mems.c mems.h ||
			{ echo "ARCHITECTURE.md names $word"; return 1; }
	done <"$work/names"
}

# The example as it is when it follows the block of C that records: what comes there before its
# comment takes the place of mems_init, the rest that of mems_finish.
recorded_example()
{
	awk '/^```/ { fenced = !fenced; inside = fenced && $0 == "```c"; next }
		inside { line[++lines] = $0; is_ours = is_ours || /mems_record/ }
		!inside { if (!is_ours) lines = 0; else if (lines > 0) exit }
		END { for (i = 1; i <= lines; i++) print line[i] }' docs/see.md >"$work/recording"
	awk 'FNR == NR {
			if (/^\/\*/) after = 1
			else if (after) last = last $0 "\n"
			else first = first $0 "\n"
			next
		}
		/^\tmems_init/ { printf "%s", first; next }
		/^\tmems_finish/ { printf "%s", last; next }
		{ print }' "$work/recording" example.c
}

# ---- The copy, and what the commands find --------------------------------------------------------

built=$work/built
copy=$work/copy
root=$work/root
mkdir "$built" "$root" "$work/bin" "$work/home"
tar --exclude=./.git --exclude=./build --exclude=./example --exclude='./libmems.*' \
	--exclude='./sample/mems-*' --exclude=./tests/fuzz/corpus -cf - . | tar -xf - -C "$built" || exit 1
recorded_example >"$built/program.c"
# For make dist, as there is no .git.
(cd "$built" && find . ! -type d ! -path './.*' | sed 's|^./||') >"$work/manifest"
cp "$work/manifest" "$built/MANIFEST"

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

makes_it()
{
	(cd "$built" && make) >"$work/said" 2>&1 && return
	cat "$work/said"
	return 1
}

# Runs what is on this page.
check_page()
{
	page=$1
	rm -rf "$copy" "$root"
	mkdir "$root" && cp -a "$built" "$copy" || exit 1
	blocks=$(grep -c '^```sh$' "$page")
	n=0
	while [ $n -lt "$blocks" ]; do
		n=$((n + 1))
		check "$page, block $n: $(block "$page" $n | head -n 1)" succeeds "$(block "$page" $n)"
	done
	between_backquotes "$page" >"$work/lines"
	while read -r line <&3; do
		check "$page: $line" succeeds "$line"
	done 3<"$work/lines"
	commands=$((commands + blocks + $(wc -l <"$work/lines")))
}

check "no command stands in a block that is not run" has_no_other_commands

check "what the pages link to is there" has_what_it_links_to

check "each page says what it is for" says_what_it_is_for

check "the README is short" is_short

check "the tests that docs/security.md names are there" has_tests_that_it_names

check "tests/README.md has a line for every program of the tests" lists_every_test

check "ARCHITECTURE.md has the sections and the names of mems.c" has_the_sections

check "make" makes_it
commands=0
for page in $pages; do
	check_page "$page"
done
check "the pages have commands" [ "$commands" -gt 30 ]
exit $status
