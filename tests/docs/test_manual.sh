#!/bin/sh
# The manual says what mems.h says: the same functions, types and names, and its example runs. The
# manuals of the programs say what these say of themselves. Both formatters of manuals find nothing
# wrong with any.
# shellcheck disable=SC2016,SC2317 # backquotes are meant; the functions are called by check
set -u

manual=man/mems.3
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
. tests/check.sh

# The other variants have the same manual.
[ -z "${VARIANT:-}" ] && [ -z "${RUN:-}" ] || skip=1

# Standard input with one space at most between words, and none around asterisks and brackets.
tight()
{
	sed 's/[[:space:]]\{1,\}/ /g; s/ *\([*(),;]\) */\1/g'
}

# ---- What mems.h and the manual say --------------------------------------------------------------

# "TYPE NAME(ARGUMENTS);" for each function, which has a line of its own.
header_prototypes()
{
	sed -n '/^typedef/d; /^[a-z].*[ *]mems_[a-z_]*(.*);$/p' mems.h | tight
}

# The same from the pairs of .Ft and .Fn.
manual_prototypes()
{
	awk '/^\.Sh/ { inside = $2 == "SYNOPSIS" }
		inside && $1 == ".Ft" { type = substr($0, 5) }
		inside && $1 == ".Fn" {
			name = $2
			gsub(/^\.Fn [a-z_]* /, "")
			gsub(/^"|"$/, "")
			gsub(/" "/, ", ")
			print type " " name "(" $0 ");"
		}' "$manual" | tight
}

# The names of functions, in the order of mems.h.
header_functions()
{
	header_prototypes | sed 's/(.*//; s/.*[ *]//'
}

library_functions()
{
	nm -g --defined-only libmems.a | sed -n 's/.* T //p' | sort
}

manual_names()
{
	sed -n 's/^\.Nm \(mems_[a-z_]*\).*/\1/p' "$manual"
}

# The functions that have an entry in the description.
manual_entries()
{
	sed -n 's/^\.It Fn \(mems_[a-z_]*\).*/\1/p' "$manual"
}

# The functions in the table of docs/functions.md.
page_functions()
{
	sed -n 's/^| `\(mems_[a-z_]*\)(.*/\1/p' docs/functions.md | sort
}

# What stands between #define, { } and ; apart from comments: constants and fields.
header_words()
{
	awk '/^#define MEMS_VERSION/ { print $2 }
		/^(enum|struct) .*\{$/ { kind = $1; next }
		/^}/ { kind = "" }
		comment { if (!sub(/.*\*\//, "")) next; comment = 0 }
		kind != "" {
			gsub(/\/\*.*\*\//, "")
			comment = sub(/\/\*.*/, "")
			n = split($0, word, /[ \t,;*]+/)
			for (i = n; i > 0; i--)
				if (word[i] ~ /^[A-Za-z_]+$/) { print word[i]; break }
		}' mems.h
}

# ---- The checks ----------------------------------------------------------------------------------

same()
{
	$1 >"$work/one"
	$2 >"$work/other"
	[ -s "$work/one" ] && diff -u --label "$1" --label "$2" "$work/one" "$work/other"
}

sorted_header_functions()
{
	header_functions | sort
}

names_every_word()
{
	header_words >"$work/words"
	[ -s "$work/words" ] || return 1
	missing=0
	while read -r word; do
		grep -qw "$word" "$manual" || { echo "$manual lacks $word"; missing=1; }
	done <"$work/words"
	return "$missing"
}

# header_comment FUNCTION: what stands right above it.
header_comment()
{
	awk -v line="[ *]$1[(].*;$" '/^\/\*/ { comment = "" } { comment = comment $0 "\n" }
		$0 ~ line && !/^ \*/ { printf "%s", comment; exit }' mems.h
}

# The functions, but for those that take a block, that mems.h says give EPERM or, without history, EINVAL,
# or an error of what is written to.
functions_with_errors()
{
	header_functions | grep -v 'alloc$' | while read -r function; do
		header_comment "$function" | grep -q 'EPERM no heap\|EPERM (no' && echo "EPERM $function"
		header_comment "$function" | grep -q 'EINVAL history' && echo "EINVAL $function"
		header_comment "$function" | grep -q 'if writing failed\|or writing failed' &&
			echo "writing $function"
	done
	sed -n '/^ \* Misuse:/p' mems.h | grep -o 'mems_[a-z_]*' | sed 's/^/misuse /'
}

# manual_says EPERM|EINVAL|writing|misuse NAME
manual_says()
{
	case $1 in
	writing)
		awk '/^\.Pp/ { text = "" } { text = text $0 "\n" } /the error of the$/ { print text }' "$manual"
		;;
	misuse) sed -n '/^Chooses who is told/,/^that is not the start/p' "$manual" ;;
	*) sed -n "/^\.It Bq Er $1/,/^\.It Bq Er/p" "$manual" ;;
	esac | grep -qw "$2"
}

page_says()
{
	case $1 in
	writing) sed -n '/^Where several errors/,/^$/p' docs/functions.md ;;
	misuse) sed -n '/^A misuse is/,/^$/p' docs/functions.md ;;
	*) grep "^| .$1. |" docs/functions.md ;;
	esac | grep -qw "$2"
}

names_who_fails()
{
	functions_with_errors >"$work/failing"
	[ "$(wc -l <"$work/failing")" -ge 12 ] || { cat "$work/failing"; return 1; }
	while read -r error function; do
		for place in manual page; do
			${place}_says "$error" "$function" ||
				{ echo "the $place does not name $function: $error"; return 1; }
		done
	done <"$work/failing"
}

# Every other page is in the list at the end of mems(3).
refers_to_every_page()
{
	for page in man/*; do
		title=${page#man/}
		[ "$page" = "$manual" ] || sed -n '/^\.Sh SEE ALSO/,/^\.Sh NOTES/p' "$manual" |
			grep -q "^\.Xr ${title%.*} ${title##*.}" || { echo "mems(3) does not refer to $page"; return 1; }
	done
}

# The Nth display of the section of examples, as it is read on paper.
example_display()
{
	awk -v wanted="$1" '/^\.Sh/ { inside = $2 == "EXAMPLES" }
		/^\.Ed/ { showing = 0 }
		showing && n == wanted { print }
		inside && /^\.Bd/ { n++; showing = 1 }' "$manual" | sed 's/\\e/\\/g; s/\\-/-/g'
}

example_runs()
{
	example_display 1 >"$work/example.c"
	example_display 2 >"$work/expected"
	# shellcheck disable=SC2086 # lists of words
	${CC:-cc} ${CFLAGS:-} -I. -std=c11 -Wall -Wextra -Wpedantic -Werror ${LDFLAGS:-} \
		"$work/example.c" libmems.a -o "$work/example" &&
		"$work/example" >"$work/output" &&
		diff -u "$work/expected" "$work/output"
}

# Each long option of the program, from its help and from its page.
help_options()
{
	${RUN:-} "$(dirname "$REPLAY")/$program" --help | grep -o -e '--[a-z][a-z-]*' | sort -u
}

manual_options()
{
	sed -n 's/^\.It Fl \(h , \)\{0,1\}-\([a-z-]*\).*/--\2/p' "man/$program.1" | sort -u
}

# Each variable of mems-preload, from the head of its object and from its page.
preload_variables()
{
	sed '/\*\//q' sample/preload/preload.c | grep -o '^ \*     MEMS_PRELOAD_[A-Z_]*' |
		sed 's/.* //' | sort
}

manual_preload_variables()
{
	sed -n 's/^\.It Ev //p' man/mems-preload.1 | sort
}

# The indented command after "usage:" has what the page has.
says_how_it_is_used()
{
	sh "sample/$1/mems-$1.in" --help >"$work/usage" &&
		usage=$(sed -n 's/^usage: //p' "$work/usage" | tr -d '[]') &&
		synopsis=$(awk '/^\.Sh/ { inside = $2 == "SYNOPSIS" } inside && /^\.(Fl|Ar|Op)/' \
			"man/mems-$1.1" | sed '/version/d; s/^\.//; s/Fl /-/; s/Op //; s/Ar //g; s/ \.\.\./.../' |
			tr '\n' ' ' | tr '[:lower:]' '[:upper:]' | sed 's/-O/-o/; s/ $//') &&
		[ "$usage" = "mems-$1 $synopsis" ] && return
	echo "$usage is not mems-$1 $synopsis"
	return 1
}

# Whether the pages it refers to are installed is the machine's affair.
mandoc_is_content()
{
	! mandoc -T lint -W style man/* 2>/dev/null | grep -v 'referenced manual not found'
}

groff_is_content()
{
	for page in man/*; do
		LC_ALL=C MANWIDTH=80 man --warnings -l "$page" >"$work/page" 2>"$work/warnings" &&
			[ -s "$work/page" ] && [ ! -s "$work/warnings" ] && continue
		cat "$work/warnings"
		return 1
	done
}

check "the library has the functions of mems.h" same sorted_header_functions library_functions
check "docs/functions.md has the functions of mems.h" same sorted_header_functions page_functions
check "the manual has the prototypes of mems.h" same header_prototypes manual_prototypes
check "the manual names the functions of mems.h" same header_functions manual_names
check "the manual describes the functions of mems.h" same header_functions manual_entries
check "the manual has the constants and fields of mems.h" names_every_word
check "the manual and docs/functions.md name the functions that fail without a heap or history" names_who_fails
check "mems(3) refers to the other pages" refers_to_every_page
check "the example of the manual prints what the manual says" example_runs
for program in mems-replay mems-look; do
	check "$program(1) has the options of $program" same help_options manual_options
done
check "mems-preload(1) has the variables of the object" \
	same preload_variables manual_preload_variables
for script in record preload; do
	check "mems-$script(1) says how it is used" says_how_it_is_used $script
done
check_with mandoc "mandoc -T lint finds nothing in the manuals" mandoc_is_content
check_with man-db "man --warnings finds nothing in the manuals" groff_is_content
exit $status
