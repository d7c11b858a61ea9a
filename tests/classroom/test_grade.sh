#!/bin/sh
# sample/grade.sh on students whose MeMS is right, wrong in one way each, or not there.
set -u

work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
. tests/check.sh

[ -z "${RUN:-}${VARIANT:-}" ] || skip=yes # it builds with $CC for this machine, once

here=tests/classroom

# grade STATUS FOLDER PROGRAM...: leaves the table in $work/table.
grade()
{
	wanted=$1
	folder=$2
	shift 2
	for program in "$@"; do
		shift
		set -- "$@" "sample/grade/$program.c"
	done
	CFLAGS=-O0 timeout 50 sample/grade.sh "$folder" "$@" >"$work/table" 2>"$work/err"
	status_found=$?
	[ $status_found -eq "$wanted" ] && [ ! -s "$work/err" ] && return
	cat "$work/err" "$work/table"
	return 1
}

says()
{
	grep -Eq -- "$1" "$work/table" && return
	cat "$work/table"
	return 1
}

# ---- Right -------------------------------------------------------------------------------------

right() { grade 0 $here/right && says '^total  *100/100$'; }
check 'a student who is right has full points' right

# The library is one, too: mems.h and a source beside it, and a program with a main.
library()
{
	mkdir -p "$work/a library" && cp mems.h example.c "$work/a library" &&
		sed '2i\ * Everything but main() is here.' mems.c >"$work/a library/mems.c" &&
		grade 0 "$work/a library" 06-pages 10-many && says '^total  *20/20$' &&
		says '^example.c has a main, and is left out\.$' && ! grep -q '^mems\.c' "$work/table"
}
check 'so has the library; a source with a main is left out' library

# Chains as the library prints them, to the letter.
long_words()
{
	mkdir -p "$work/long" && sed "s/\"%c\[%zu:%zu\] <-> \", s->is_hole ? 'H' : 'P'/\
\"%s [%zu : %zu]<->\", s->is_hole ? \"HOLE\" : \"PROCESS\"/; s/MAIN\[%zu:%zu\]-> /MAIN [%zu:%zu]  ->/" \
		$here/right/mems.h >"$work/long/mems.h" && ! cmp -s "$work/long/mems.h" $here/right/mems.h &&
		grade 0 "$work/long" 02-ten-arrays 05-first-fit && says '^total  *20/20$'
}
check 'PROCESS and HOLE, and spaces elsewhere' long_words

# ---- Wrong -------------------------------------------------------------------------------------

# wrong FOLDER PROGRAM PATTERN: the program finds the fault, and the table says so.
wrong() { grade 1 "$here/$1" "$2" && says "^$2  *$3\$"; }

check 'best fit' wrong best-fit 05-first-fit \
	'4/10  line 14: = 200 bytes at 2408; expected = 200 bytes at 1000'
check 'no merging' wrong never-merges 04-merge \
	'2/10  line 8: .*H\[4000:4599\]<->H\[4600:5095\]<->NULL; expected .*H\[4000:5095\]<->NULL'
check 'a page, whatever is needed' wrong one-page-each 06-pages \
	'0/10  line 3: = 8200 bytes at 9192; expected = 8200 bytes at 17384'
check 'translation of a start alone' wrong start-alone 08-contents \
	'0/10  crashed: segmentation fault; line 2: ends; expected = 1000 bytes at 2000'
check 'a free that never ends' wrong never-ends 04-merge \
	'2/10  stopped, for it took too long; line 7: ends; expected = right'
check 'a free that prints forever' wrong prints-forever 04-merge \
	'2/10  stopped, for it printed too much; line 7: ends; expected = right'
check 'too much memory' wrong takes-it-all 02-ten-arrays \
	'[01]/10  crashed: aborted; line 4: ends; expected = 1000 bytes at 4000'

# What works still has its points, and what is printed besides counts neither way.
best_fit_in_all()
{
	grade 1 $here/best-fit 01-one-block 05-first-fit && says '^01-one-block  *10/10 *$' &&
		says '^total  *14/20$'
}
check 'the other programs have full points' best_fit_in_all

no_points()
{
	mkdir -p "$work/broken" && echo 'void mems_init(void) { oops }' >"$work/broken/mems.h" &&
		grade 1 "$work/broken" 01-one-block 03-split &&
		says "^01-one-block  *0/10  does not compile: .*oops" && says '^total  *0/20$'
}
check 'a header that does not compile' no_points

# student NAME BODY: one that has nothing but this body of mems_init.
student()
{
	mkdir -p "$work/$1" && cat >"$work/$1/mems.h" <<END
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
void mems_init(void) $2
void *mems_malloc(size_t size) { return NULL; }
void mems_free(void *v_ptr) { }
void *mems_get(void *v_ptr) { return NULL; }
void mems_print_stats(void) { }
void mems_finish(void) { }
END
}

# It is named, and not only that the linker failed.
no_function()
{
	student declares ';' && grade 1 "$work/declares" 01-one-block &&
		says '^01-one-block  *0/10  does not compile: undefined reference to .mems_init.$'
}
check 'a function that is only declared' no_function

sleeps()
{
	student sleeps '{ signal(SIGTERM, SIG_IGN); for (;;) pause(); }' &&
		grade 1 "$work/sleeps" 01-one-block && says '0/10  stopped, for it took too long; line 1: ends'
}
check 'one that sleeps and cannot be asked to end' sleeps

copies()
{
	student copies '{ char path[4096] = { 0 }; int c; readlink("/proc/self/exe", path, 4000);
		strcpy(strrchr(path, 47), "/expected"); FILE *file = fopen(path, "r");
		while (file != NULL && (c = getc(file)) != EOF) putchar(c);
		fflush(stdout); _exit(0); }' &&
		grade 1 "$work/copies" 04-merge && says '^04-merge  *0/10  line 1: ends'
}
check 'one that looks for what is expected' copies

# One line too much costs a point.
too_much()
{
	mkdir -p "$work/more" && sed 's/^\tprintf("Sub-chain/\tprintf("Page used: 0\\n");\n&/' \
		$here/right/mems.h >"$work/more/mems.h" && grade 1 "$work/more" 01-one-block &&
		says 'line 5: Pageused:0; expected Sub-chainLengtharray:\[\]'
}
check 'a line too much' too_much

# ---- Use ---------------------------------------------------------------------------------------

refuses()
{
	sample/grade.sh "$@" >"$work/table" 2>&1
	[ $? -eq 2 ] && says '^usage: sample/grade.sh FOLDER'
}
check 'no folder' refuses
helps()
{
	sample/grade.sh --help >"$work/table" && says '^sample/grade.sh FOLDER \[PROGRAM...\]: ' &&
		says ' Exits with 0 for full points' && sample/grade.sh -h | cmp - "$work/table"
}
check 'what it is for' helps
check 'a folder without mems.h' refuses "$work"
check 'a program that is not there' refuses $here/right "$work/none.c"

short() { [ "$(wc -l <sample/grade.sh)" -le 150 ]; }
check 'grade.sh can be read in one go' short

exit $status
