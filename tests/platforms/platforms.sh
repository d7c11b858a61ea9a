#!/bin/sh
# tests/platforms/platforms.sh PLATFORM...: builds MeMS for each platform without a warning and runs
# the whole test suite there; "lint" reads the sources instead. What is missing is installed. One
# line says how each went, a table comes last. The output of a platform is in build/NAME/log, and is
# shown where it failed; NAME is platform-PLATFORM, a folder of its own.
set -u

m32='-m32 -idirafter /usr/include/x86_64-linux-gnu' # see the Makefile
names=
failed=0

# Nothing of the make that runs this, nor of its user.
unset MAKEFLAGS MFLAGS MAKELEVEL MAKEOVERRIDES CC CXX STD CFLAGS CPPFLAGS LDFLAGS LDLIBS RUN CMOCKA

# build PLATFORM ARGUMENT...: every C file, in a folder of its own, with these arguments for make.
build()
{
	variant=platform-$1
	shift
	make -j"$(nproc)" variant="$variant" CPPFLAGS=-Werror "$@" all-objects
}

# suite PLATFORM ARGUMENT...: and the tests.
suite()
{
	build "$@" || return
	shift
	make -j"$(nproc)" variant="$variant" CPPFLAGS=-Werror "$@" test
}

# needs PACKAGE...: the reason why a platform cannot be tried is the last line of the log.
needs()
{
	CC=cc tests/need.sh "$@" || return 77
}

# cmocka NAME COMPILER...: builds it once.
cmocka()
{
	name=$1
	shift
	[ -e "build/cmocka-$name/libcmocka.a" ] || tests/platforms/cmocka.sh "build/cmocka-$name" "$@"
}

# native COMPILER STANDARD LEVEL: builds everything by the other standard as well.
native()
{
	other=c11
	[ "$2" != c11 ] || other=c17
	needs "$1" libcmocka-dev && suite "$1-$2-$3" CC="$1" STD="$2" CFLAGS="-$3 -g" &&
		build "$1-$other-$3" CC="$1" STD="$other" CFLAGS="-$3 -g"
}

# emulated MACHINE: its compiler, its C library and qemu-user. What comes from the C library there
# is looked up in the folder of the cross compiler.
emulated()
{
	package=$1
	[ "$1" != aarch64 ] || package=arm64
	needs "gcc-$1-linux-gnu" "libc6-dev-$package-cross" qemu-user &&
		cmocka "$1" "$1-linux-gnu-gcc" &&
		suite "$1" CC="$1-linux-gnu-gcc" CXX= CMOCKA="build/cmocka-$1" \
			RUN="qemu-$1 -L /usr/$1-linux-gnu"
}

# attempt PLATFORM: 77 where it cannot be tried.
attempt()
{
	case $1 in
	gcc-*-O? | clang-*-O?)
		rest=${1#*-}
		native "${1%%-*}" "${rest%-*}" "${rest#*-}"
		;;
	i386)
		# shellcheck disable=SC2086 # a list of words
		needs gcc-multilib && cmocka m32 gcc $m32 &&
			suite i386 CC="gcc $m32" CXX= CMOCKA=build/cmocka-m32 \
				RUN="$(tests/platforms/run32.sh gcc $m32)"
		;;
	musl)
		needs musl-tools && cmocka musl musl-gcc &&
			suite musl CC=musl-gcc CXX= CMOCKA=build/cmocka-musl
		;;
	aarch64 | riscv64 | s390x) emulated "$1" ;;
	valgrind)
		# What glibc has for the threads of a parent is possibly lost in its child.
		words='valgrind -q --fair-sched=try --error-exitcode=99 --leak-check=full'
		words="$words --show-leak-kinds=definite --errors-for-leak-kinds=definite"
		needs valgrind libcmocka-dev && suite valgrind CC=gcc RUN="$words"
		;;
	lint) needs clang clang-tidy cppcheck && make lint ;;
	*)
		echo "there is no platform of this name"
		return 77
		;;
	esac
}

# The compiler and its version, in a few words.
compiler()
{
	case $1 in
	lint) set -- clang-tidy --version ;;
	gcc-* | i386 | valgrind) set -- gcc --version ;;
	clang-*) set -- clang --version ;;
	musl) set -- musl-gcc --version ;;
	*) set -- "$1-linux-gnu-gcc" --version ;;
	esac
	command -v "$1" >/dev/null || return
	echo "$1 $("$@" | grep -o '[0-9]\{1,\}\.[0-9.]*[0-9]' | head -n 1)"
}

# try PLATFORM: runs it and leaves a line of the table.
try()
{
	folder=build/platform-$1
	mkdir -p "$folder"
	rm -f "$folder/results"
	began=$(date +%s)
	attempt "$1" >"$folder/log" 2>&1 </dev/null
	status=$?
	seconds=$(($(date +%s) - began))
	counts='-'
	if [ -e "$folder/results" ]; then
		read -r good bad <"$folder/results"
		counts="$good passed, $bad failed"
		skipped=$(sed -n 's/.* \([0-9]\{1,\}\) skipped.*/\1/p' "$folder/log" |
			awk '{ n += $1 } END { print n + 0 }')
		[ "$skipped" -eq 0 ] || counts="$counts, $skipped skipped"
	fi
	case $status in
	0) result=ok ;;
	77) result="NOT TRIED: $(tail -n 1 "$folder/log")" ;;
	*) result=FAILED ;;
	esac
	[ "$status" -eq 0 ] || failed=$((failed + 1))
	printf '%-16s %-32s %-36s %4d s  %s\n' "$1" "$(compiler "$1")" "$counts" "$seconds" "$result" |
		tee "$folder/line"
	if [ "$result" = FAILED ]; then
		grep -avE "^(make|$folder|[^ ]*(gcc|clang)) |passed  \(" "$folder/log"
	fi
}

# A word for several: gcc for all gcc-*, qemu for all machines.
each()
{
	case $1 in
	gcc | clang) echo "$1-c11-O0 $1-c17-O1 $1-c11-O2 $1-c17-O3" ;;
	qemu) echo aarch64 riscv64 s390x ;;
	*) echo "$1" ;;
	esac
}

[ $# -ne 0 ] || set -- lint gcc clang i386 musl qemu valgrind
for word in "$@"; do
	for name in $(each "$word"); do
		names="$names $name"
		try "$name"
	done
done

echo
for name in $names; do
	cat "build/platform-$name/line"
done
if [ "$failed" -ne 0 ]; then
	echo "$failed of $(echo "$names" | wc -w) platforms failed"
	exit 1
fi
echo "all $(echo "$names" | wc -w) platforms passed"
