#!/bin/sh
# mems-record and mems-preload: from any program to a recording that mems-replay plays, and to the
# chains of its heap; from the folder they were built in, and from where they were installed.
# shellcheck disable=SC2012,SC2016,SC2317 # the output of ls is compared; the functions are called
set -u

work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
. tests/check.sh
cc=${CC:-cc}

# They are for programs of this machine and its own C library, built without flags of a variant.
[ -z "${VARIANT:-}${RUN:-}" ] || skip=1
unset MAKEFLAGS MFLAGS MAKELEVEL MAKEOVERRIDES PREFIX prefix DESTDIR LD_PRELOAD

here=$PWD
record=$here/sample/mems-record
preload=$here/sample/mems-preload
replay=$here/sample/mems-replay
calls=$work/calls

# ---- What is recorded ----------------------------------------------------------------------------

# A program whose calls are known.
cat >"$work/calls.c" <<'END'
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

int main(int count, char **arguments)
{
	volatile char *kept = malloc(1001);
	char *block = malloc(1002), *given = malloc(1003);

	(void)arguments;
	kept[0] = 1;
	block = realloc(block, 100003);
	free(block);
	free(calloc(7, 143));
	free(aligned_alloc(128, 1280));
	if (count > 1 && (chdir("/") != 0 || fork() == 0)) {
		free(malloc(1004));
		free(realloc(given, 1005));
		free((char *)kept);
	}
	wait(NULL); /* for the child, if there is one */
	return 7;
}
END

calls_make()
{
	$cc -O0 -fno-builtin "$work/calls.c" -o "$work/calls" && $cc -static -O0 -fno-builtin \
		"$work/calls.c" -o "$work/static"
}

# ends_with STATUS COMMAND...
ends_with()
{
	wanted=$1
	shift
	"$@" >"$work/said" 2>&1
	got=$?
	[ "$got" -eq "$wanted" ] && return
	cat "$work/said"
	echo "$1: $got instead of $wanted"
	return 1
}

# What the program asked for, with the number of each block replaced by that of its first mention.
records_each_call()
{
	ends_with 7 timeout 60 "$record" -o "$work/calls.trace" "$calls" &&
		awk 'NR > 4 {
				if ($3 ~ /^100[12]$|^1280$/ || ($1 == "c" && $3 == 1001)) id[$2] = ++ids
				if ($2 in id) { kind = $1; $2 = id[$2]; print }
				if (kind == "f" && $1 == "f") for (i in id) if (id[i] == $2) delete id[i]
			}' "$work/calls.trace" >"$work/calls.found" &&
		diff - "$work/calls.found" <<-END
			a 1 1001
			a 2 1002
			r 2 100003
			f 2
			c 3 1001
			f 3
			m 4 1280 128
			f 4
		END
}

# The same by another C library, whose functions the recorder looks up.
records_each_call_of_musl()
{
	mkdir "$work/musl" && musl-gcc -std=c11 -fPIC -fno-builtin -shared sample/record/recorder.c \
			-o "$work/musl/recorder.so" &&
		musl-gcc -O0 -fno-builtin "$work/calls.c" -o "$work/musl/calls" &&
		sed "s|^folder=.*|folder=$work/musl|" "$record" >"$work/musl/mems-record" &&
		chmod +x "$work/musl/mems-record" &&
		calls=$work/musl/calls record=$work/musl/mems-record records_each_call
}

# play TRACE: as the README has it.
play()
{
	"$replay" --check "$1" >"$work/said" && grep -q ' [1-9][0-9]* calls' "$work/said" &&
		"$replay" --html "$work/page.html" "$1" >"$work/said" && grep -q '</html>' "$work/page.html"
}

records_what_can_be_played()
{
	"$record" -o "$work/ls.trace" ls / >"$work/said" && ls / | diff - "$work/said" &&
		play "$work/ls.trace"
}

# Not even the child is in it; with %p it has a file of its own, where the program began.
records_children()
{
	(cd "$work" && ends_with 7 "$record" -o one.trace "$work/calls" fork) &&
		! grep -q 1004 "$work/one.trace" &&
		(cd "$work" && ends_with 0 "$record" -o all-%p.trace \
			sh -c '"$0"; "$0"; exit 0' "$work/calls") &&
		[ "$(grep -l 'r .* 100003' "$work"/all-*.trace | wc -l)" -eq 2 ] &&
		play "$(grep -l 'r .* 100003' "$work"/all-*.trace | head -n 1)"
}

# How a process ends does not matter, nor does whether it allocates at all.
records_whatever_the_end()
{
	cat >"$work/ends.c" <<-'END' || return
		#include <signal.h>
		#include <stdlib.h>
		#include <string.h>
		#include <unistd.h>

		int main(int count, char **arguments)
		{
			const char *end = count > 1 ? arguments[1] : "";

			for (int i = 0; i < 20000; i++)
				if (malloc(1000) == NULL)
					return 1;
			if (strcmp(end, "abort") == 0)
				abort();
			if (strcmp(end, "kill") == 0)
				raise(SIGKILL);
			if (strcmp(end, "quick") == 0)
				quick_exit(0);
			if (strcmp(end, "daemon") == 0)
				return daemon(1, 1);
			return 0;
		}
	END
	$cc -D_DEFAULT_SOURCE -O0 -fno-builtin "$work/ends.c" -o "$work/ends" || return
	# shellcheck disable=SC3045 # dash and bash both have ulimit -c
	for end in abort kill quick daemon; do
		(ulimit -c 0; "$record" -o "$work/end.trace" "$work/ends" "$end") >"$work/said" 2>&1
		if ! "$replay" --check "$work/end.trace" >"$work/said" 2>&1 ||
				[ "$(grep -c '^a .* 1000$' "$work/end.trace")" -ne 20000 ]; then
			echo "$end"
			cat "$work/said"
			return 1
		fi
	done
	ends_with 0 "$record" -o "$work/none.trace" true && ends_with 0 "$replay" "$work/none.trace"
}

# Blocks of the parent are not its own: one that it resizes is new, one that it frees is left out.
records_children_of_fork()
{
	ends_with 7 "$record" -o "$work/forked-%p.trace" "$calls" fork &&
		[ "$(cat "$work"/forked-*.trace | grep -c ' 1004$')" -eq 1 ] &&
		sed 1,4d "$(grep -l ' 1004$' "$work"/forked-*.trace)" >"$work/child" &&
		printf 'a 0 1004\nf 0\na 0 1005\nf 0\n' | diff - "$work/child" &&
		for trace in "$work"/forked-*.trace; do
			ends_with 0 "$replay" --check "$trace" || return
		done
}

# Whatever folder the children are in.
records_children_in_one_folder()
{
	mkdir -p "$work/place/below" &&
		(cd "$work/place" && ends_with 0 "$record" -o 'placed-%p' \
			sh -c 'cd below; "$0"; "$0"; exit 0' "$calls") &&
		[ "$(find "$work/place/below" -type f | wc -l)" -eq 0 ] &&
		[ "$(grep -l 'r .* 100003' "$work/place"/placed-* | wc -l)" -eq 2 ]
}

# The C library takes alignments for powers of two, and refuses what overflows.
records_alignments()
{
	cat >"$work/odd.c" <<-'END' || return
		#include <malloc.h>
		#include <stdint.h>
		#include <stdlib.h>

		int main(void)
		{
			volatile size_t all = SIZE_MAX;

			free(memalign(48, 1005));
			free(memalign(0, 1005));
			return pvalloc(all) != NULL || pvalloc(all - 4095) != NULL;
		}
	END
	$cc -O0 -fno-builtin "$work/odd.c" -o "$work/odd" &&
		ends_with 0 "$record" -o "$work/odd.trace" "$work/odd" &&
		ends_with 0 "$replay" --check "$work/odd.trace" &&
		[ "$(grep -c '^m .* 1005 \(64\|1\)$' "$work/odd.trace")" -eq 2 ]
}

# What is there by then can be played.
says_that_there_is_no_room()
{
	(ulimit -f 400; "$record" -o "$work/room.trace" "$work/ends") 2>"$work/said" &&
		grep -q "^mems-record: $work/room.trace: File too large\$" "$work/said" &&
		[ "$(wc -l <"$work/said")" -eq 1 ] && play "$work/room.trace"
}

# Whatever allocator there would be without the recording: the program has that of the C library.
records_on_another_allocator()
{
	cat >"$work/usable.c" <<-'END' || return
		#include <malloc.h>
		#include <stdlib.h>

		int main(void)
		{
			void *block = malloc(1006);
			size_t size = malloc_usable_size(block);

			free(block);
			return size < 1006 || size > 2000 || malloc_usable_size(NULL) != 0;
		}
	END
	$cc -O0 -fno-builtin "$work/usable.c" -o "$work/usable" &&
		ends_with 0 "$preload" "$record" -o "$work/usable.trace" "$work/usable" &&
		[ ! -s "$work/said" ] && play "$work/usable.trace" && grep -q ' 1006$' "$work/usable.trace"
}

# Neither damages what the other writes, nor ends it.
records_where_another_writes()
{
	ends_with 7 "$record" -o "$work/twice" sh -c '"$@"; status=$?; :; exit $status' sh \
		"$record" -o "$work/twice" "$calls" && play "$work/twice"
}

# Arguments, input, output and status go through.
runs_as_ever()
{
	echo 'a  line' >"$work/input" &&
		ends_with 3 "$1" ${2+-o "$2"} sh -c 'cat; echo "$0/$#/$1" >&2; exit 3' 'a name' '*  *' \
			<"$work/input" && printf 'a  line\na name/1/*  *\n' | diff - "$work/said"
}

# says TEXT STATUS COMMAND...: that it ends so, and says just this.
says()
{
	text=$1
	shift
	ends_with "$@" && echo "$text" | diff - "$work/said"
}

refuses()
{
	more='(try mems-record --help)'
	says "mems-record: -o FILE is missing $more" 2 "$record" ls &&
		says "mems-record: -o FILE is missing $more" 2 "$record" &&
		says "mems-record: -o wants a file $more" 2 "$record" -o &&
		says "mems-record: no command is named $more" 2 "$record" -o "$work/x" &&
		says "mems-record: no such option: -x $more" 2 "$record" -x -o "$work/x" ls &&
		says "mems-record: $work/no program: not found" 127 "$record" -o "$work/x" "$work/no program" &&
		ends_with 125 "$record" -o "$work/no/folder" ls && [ ! -e "$work/x" ] || return
	more='(try mems-preload --help)'
	says "mems-preload: no command is named $more" 2 "$preload" &&
		says "mems-preload: no command is named $more" 2 "$preload" -- &&
		says "mems-preload: no such option: -x $more" 2 "$preload" -x ls &&
		says "mems-preload: $work/no program: not found" 127 "$preload" "$work/no program" &&
		refuses_what_is_no_program
}

# One line of error, where there is no room for the help.
helps()
{
	for program in "$record" "$preload"; do
		ends_with 0 "$program" --help && cp "$work/said" "$work/help" &&
			grep -q "^usage: ${program##*/} " "$work/help" &&
			ends_with 0 "$program" -h && diff "$work/help" "$work/said" || return
		[ ! -e /dev/full ] || ! "$program" --help 2>"$work/said" >/dev/full || return
		[ ! -e /dev/full ] || [ "$(wc -l <"$work/said")" -eq 1 ] || return
	done
}

# A folder, and what is in the shell alone.
refuses_what_is_no_program()
{
	ends_with 126 "$preload" "$work" && ends_with 127 "$preload" cd / &&
		ends_with 126 "$record" -o "$work/x" "$work" && ! grep -q static "$work/said" &&
		ends_with 127 "$record" -o "$work/x" cd / && ! grep -q static "$work/said" &&
		[ ! -e "$work/x" ]
}

# env would take it for a variable.
runs_what_looks_like_a_variable()
{
	cp "$calls" "$work/a=b" && ends_with 7 "$preload" "$work/a=b" && [ ! -s "$work/said" ] &&
		ends_with 7 "$record" -o "$work/x" "$work/a=b" && play "$work/x"
}

# A pipe would have no reader when the program begins.
records_to_files_alone()
{
	mkfifo "$work/pipe" && for file in "$work/pipe" "$work" /dev/null; do
		ends_with 125 timeout 20 "$record" -o "$file" ls &&
			grep -q "$file: not a regular file" "$work/said" && [ -e "$file" ] || return
	done
}

says_that_its_object_is_missing()
{
	make -s install PREFIX="$work/fourth" && rm "$work/fourth/lib/mems"/*.so &&
		ends_with 125 "$work/fourth/bin/mems-preload" ls && grep -q 'preload.so' "$work/said" &&
		ends_with 125 "$work/fourth/bin/mems-record" -o "$work/x" ls &&
		grep -q 'recorder.so' "$work/said"
}

says_that_nothing_was_recorded()
{
	ends_with 125 "$record" -o "$work/x" "$work/static" &&
		grep -q 'left no recording' "$work/said" && [ ! -e "$work/x" ]
}

# As root that would be a device.
removes_only_what_it_made()
{
	: >"$work/kept" && ln -s /dev/null "$work/device" && ln -s kept "$work/kept-link" &&
		ends_with 125 "$record" -o "$work/device" "$work/static" && [ -h "$work/device" ] &&
		ends_with 125 "$record" -o "$work/kept-link" "$work/static" && [ -h "$work/kept-link" ]
}

# Each has its own process.
records_inside_a_recording()
{
	ends_with 7 "$record" -o "$work/outer" sh -c \
		'"$1" -o "$2" "$3"; status=$?; :; exit $status' sh "$record" "$work/inner" "$work/calls" &&
		[ -s "$work/outer" ] && grep -q '^a' "$work/inner" &&
		ends_with 7 env MEMS_RECORD_PID=1 "$record" -o "$work/alone" "$work/calls" &&
		diff "$work/alone" "$work/inner"
}

# ---- The heap of a program -----------------------------------------------------------------------

shows_the_chains()
{
	MEMS_PRELOAD_STATS=- ends_with 7 "$preload" "$work/calls" &&
		grep -q '^MAIN\[1000:' "$work/said" && grep -q 'PROCESS.*:' "$work/said" &&
		grep -q '^Page used: [1-9]' "$work/said"
}

# ---- Installed, and moved ------------------------------------------------------------------------

# Through a link, too.
works_where_it_was_moved_to()
{
	make -s install PREFIX="$work/first" && mv "$work/first" "$work/second" &&
		ln -s "$work/second/bin/mems-record" "$work/link" &&
		record=$work/link records_each_call &&
		preload=$work/second/bin/mems-preload shows_the_chains
}

works_where_libdir_is_elsewhere()
{
	make -s install PREFIX="$work/third" libdir="$work/lib64" &&
		record=$work/third/bin/mems-record records_each_call &&
		preload=$work/third/bin/mems-preload shows_the_chains
}

says_that_its_folder_cannot_be()
{
	make -s install PREFIX="$work/a:folder" &&
		for program in "$work/a:folder"/bin/mems-*d; do
			set -- "$program" ls
			[ "${program##*/}" != mems-record ] || set -- "$program" -o "$work/x" ls
			ends_with 125 "$@" && grep -q "no colon: $work/a:folder" "$work/said" || return
		done
}

check "programs to be recorded are built" calls_make
check "mems-record records each call" records_each_call
check_with musl-tools "mems-record records each call of a program of musl" records_each_call_of_musl
check "a recording can be checked and played" records_what_can_be_played
check "children are recorded where they are asked for" records_children
check "a recording has what came before, whatever the end" records_whatever_the_end
check "children of fork are recorded where they are asked for" records_children_of_fork
check "wherever they are" records_children_in_one_folder
check "odd alignments and sizes are recorded as they were answered" records_alignments
check "where there is no room a recording ends" says_that_there_is_no_room
check "so it does on another allocator" records_on_another_allocator
check "two recordings to one file do no harm" records_where_another_writes
check "a recorded program runs as ever" runs_as_ever "$record" "$work/as-ever.trace"
check "a program on a MeMS heap runs as ever" runs_as_ever "$preload"
check "what cannot be run is refused" refuses
check "how they are used" helps
check "a program may have the name of a variable" runs_what_looks_like_a_variable
check "what is no file is refused" records_to_files_alone
check "an object that is missing is told of" says_that_its_object_is_missing
check "a program that cannot be recorded is told of" says_that_nothing_was_recorded
check "a file that was there before is not removed" removes_only_what_it_made
check "a recording may be made inside another one" records_inside_a_recording
check "mems-preload shows the chains of a program" shows_the_chains
check "both work where they were moved to" works_where_it_was_moved_to
check "both work where libdir is elsewhere" works_where_libdir_is_elsewhere
check "a folder that cannot be preloaded from is told of" says_that_its_folder_cannot_be
exit $status
