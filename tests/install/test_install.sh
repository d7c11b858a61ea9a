#!/bin/sh
# make install puts all that a program needs where it was told to, pkg-config finds it, and make
# uninstall leaves no file behind. mems.c and mems.h alone will do as well.
# shellcheck disable=SC2317 # the functions are called by check
set -u

work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
. tests/check.sh
cc=${CC:-cc}
cxx=${CXX-g++}
run=${RUN:-}
version=$(sed -n 's/.*define MEMS_VERSION "\(.*\)"/\1/p' mems.h)

# What is built with flags of its own is not what is installed.
[ -z "${VARIANT_FLAGS:-}" ] || skip=1

# The flags of this make are in the environment, for the same build; where it installs is not.
unset MAKEFLAGS MFLAGS MAKELEVEL MAKEOVERRIDES PREFIX DESTDIR prefix exec_prefix bindir libdir \
	includedir datarootdir mandir pkgconfigdir PKG_CONFIG_PATH PKG_CONFIG_LIBDIR

functions()
{
	sed -n '/^typedef/d; s/^[a-z].*[ *]\(mems_[a-z_]*\)(.*);$/\1/p' mems.h
}

# expected BIN LIB INCLUDE MAN PKGCONFIG: every file that should be there, with its permissions.
expected()
{
	{
		for program in mems-look mems-preload mems-record mems-replay; do
			echo "755 $1/$program"
			echo "644 $4/man1/$program.1"
		done
		echo "644 $4/man5/mems-image.5"
		echo "644 $2/libmems.a"
		echo "644 $2/cmake/mems/mems-config.cmake"
		echo "644 $2/cmake/mems/mems-config-version.cmake"
		echo "644 $2/mems/mems-gdb.py"
		echo "755 $2/mems/preload.so"
		echo "755 $2/mems/recorder.so"
		echo "644 $3/mems.h"
		echo "644 $5/mems.pc"
		for page in mems $(functions); do
			echo "644 $4/man3/$page.3"
		done
	} | sort
}

# Every file and link below a directory.
found()
{
	find "$1" ! -type d -printf '%m /%P\n' | sort
}

# holds DIRECTORY BIN LIB INCLUDE MAN PKGCONFIG: just those files are in it.
holds()
{
	found "$1" >"$work/found"
	shift
	expected "$@" | diff - "$work/found"
}

# holds_only DIRECTORY FILE
holds_only()
{
	[ "$(find "$1" ! -type d)" = "$2" ] && return
	find "$1" ! -type d
	return 1
}

# ---- The version ---------------------------------------------------------------------------------

number()
{
	sed -n "s/^#define MEMS_VERSION_$1 //p" mems.h
}

# It is spelt from the three numbers, and CHANGELOG.md begins with it.
version_is_one()
{
	[ "$version" = "$(number MAJOR).$(number MINOR).$(number PATCH)" ] &&
		[ "$version" = "$(sed -n 's/^## \([0-9]\)/\1/p' CHANGELOG.md | head -n 1)" ]
}

# Where it stands besides, it would be forgotten.
version_stands_in_the_header()
{
	! grep -nF "$version" Makefile CMakeLists.txt ./*.mk ./*.in ./*.c README.md man/* sample/*/*.[ch] sample/*/*.in
}

check "the version is the same throughout" version_is_one
check "the version stands in mems.h alone" version_stands_in_the_header

# ---- Where the files go --------------------------------------------------------------------------

goes_to_usr_local()
{
	root="$work/a root"
	(umask 077 && make -s variant="${VARIANT:-}" install DESTDIR="$root") &&
		holds "$root" /usr/local/bin /usr/local/lib /usr/local/include \
			/usr/local/share/man /usr/local/lib/pkgconfig &&
		make -s variant="${VARIANT:-}" install DESTDIR="$root" &&
		: >"$root/usr/local/lib/another" &&
		make -s variant="${VARIANT:-}" uninstall DESTDIR="$root" &&
		holds_only "$root" "$root/usr/local/lib/another" &&
		make -s variant="${VARIANT:-}" uninstall DESTDIR="$root"
}

# goes_to VARIABLE: either name of the prefix.
goes_to()
{
	root=$work/$1
	make -s variant="${VARIANT:-}" install "$1=/opt/x" DESTDIR="$root" &&
		holds "$root" /opt/x/bin /opt/x/lib /opt/x/include /opt/x/share/man \
			/opt/x/lib/pkgconfig &&
		make -s variant="${VARIANT:-}" uninstall "$1=/opt/x" DESTDIR="$root" && holds_only "$root" ''
}

goes_to_directories()
{
	root=$work/directories
	set -- DESTDIR="$root" prefix=/p exec_prefix=/e bindir=/b libdir=/e/lib64 includedir=/p/i \
		mandir=/m pkgconfigdir=/k
	# shellcheck disable=SC2016 # pkg-config expands them
	make -s variant="${VARIANT:-}" install "$@" && holds "$root" /b /e/lib64 /p/i /m /k &&
		sed -n '/=/p' "$root/k/mems.pc" >"$work/found" &&
		printf '%s\n' prefix=/p exec_prefix=/e 'libdir=${exec_prefix}/lib64' \
			'includedir=${prefix}/i' | diff - "$work/found" &&
		make -s variant="${VARIANT:-}" uninstall "$@" && holds_only "$root" ''
}

# The shared library comes and goes beside all else.
shared_is_asked_for()
{
	root=$work/shared
	soname=libmems.so.${version%%.*}
	make -s variant="${VARIANT:-}" install-shared PREFIX=/p DESTDIR="$root" >"$work/log" &&
		found "$root/p/lib" | grep libmems >"$work/found" &&
		printf '%s\n' "644 /libmems.a" "755 /$soname" "777 /libmems.so" | sort |
			diff - "$work/found" && [ "$(readlink "$root/p/lib/libmems.so")" = "$soname" ] &&
		make -s variant="${VARIANT:-}" uninstall PREFIX=/p DESTDIR="$root" && holds_only "$root" ''
}

# What is no script and no text.
have_debug_sections()
{
	readelf -SW "$root/p/lib/libmems.a" "$root/p/lib/mems/recorder.so" "$root/p/lib/mems/preload.so" \
		"$root/p/bin/mems-replay" "$root/p/bin/mems-look" | grep ' \.debug'
}

debug_sections_are_asked_for()
{
	root=$work/debug
	make -s variant="${VARIANT:-}" install PREFIX=/p DESTDIR="$root" &&
		! have_debug_sections &&
		make -s variant="${VARIANT:-}" install PREFIX=/p DESTDIR="$root" STRIP=: &&
		cmp "$root/p/lib/libmems.a" "${VARIANT:+build/$VARIANT/}libmems.a" &&
		cmp "$root/p/bin/mems-look" "${VARIANT:+build/$VARIANT/}sample/mems-look"
}

check "it goes to /usr/local below DESTDIR, and from there again" goes_to_usr_local
check "it goes to PREFIX" goes_to PREFIX
check "it goes to prefix" goes_to prefix
check "each directory can be chosen" goes_to_directories
check "the shared library is installed where it is asked for" shared_is_asked_for
check "debug sections are installed where they are asked for" debug_sections_are_asked_for

# ---- A program that uses what is installed -------------------------------------------------------

home=$work/home
example=$work/example

# Alone in a directory: the program of the README.
make_example()
{
	rm -rf "$example"
	mkdir "$example" &&
		awk '$0 == "```" { if (inside) exit } inside { print } $0 == "```c" { inside = 1 }' \
			README.md >"$example/example.c" && [ -s "$example/example.c" ]
}

prints_what_it_should()
{
	$run "$1" >"$work/output" && diff tests/unit/golden/example.txt "$work/output"
}

# mems PREFERENCE...: what pkg-config says of it.
mems()
{
	PKG_CONFIG_PATH=$home/lib/pkgconfig pkg-config "$@" mems
}

is_the_version()
{
	[ -n "$version" ] && [ "$1" = "$2$version" ] && return
	echo "$1 instead of $2$version"
	return 1
}

is_installed()
{
	make_example && make -s variant="${VARIANT:-}" install PREFIX="$home" &&
		holds "$home" /bin /lib /include /share/man /lib/pkgconfig
}

pkg_config_builds_c()
{
	mems --validate && is_the_version "$(mems --modversion)" '' || return
	# shellcheck disable=SC2046,SC2086 # lists of words
	(cd "$example" && $cc ${CFLAGS:-} ${LDFLAGS:-} example.c $(mems --cflags --libs) -o c) &&
		prints_what_it_should "$example/c"
}

# Where the names of directories have what ends a word, a line or an expression of sed. As any flags
# with backslashes, those of pkg-config are for the shell to read.
pkg_config_finds_strange_directories()
{
	strange="$work/a  b&c|\"d#e\\f"
	make -s variant="${VARIANT:-}" install PREFIX="$strange" || return
	flags=$(PKG_CONFIG_PATH=$strange/lib/pkgconfig pkg-config --cflags --libs mems) &&
		PKG_CONFIG_PATH=$strange/lib/pkgconfig pkg-config --validate mems || return
	(cd "$example" && eval "$cc ${CFLAGS:-} ${LDFLAGS:-} example.c $flags -o strange") &&
		prints_what_it_should "$example/strange"
}

pkg_config_builds_static_c()
{
	# shellcheck disable=SC2046,SC2086
	(cd "$example" && $cc ${CFLAGS:-} ${LDFLAGS:-} -static example.c \
		$(mems --static --cflags --libs) -o static) &&
		prints_what_it_should "$example/static"
}

# C++ wants a cast where C does not.
pkg_config_builds_cxx()
{
	sed 's/= \(mems_malloc\|mems_get\)(/= (int *)\1(/' "$example/example.c" >"$example/e.cpp"
	# shellcheck disable=SC2046,SC2086
	(cd "$example" && $cxx ${CFLAGS:-} ${LDFLAGS:-} -Wall -Wextra -Wpedantic -Werror e.cpp \
		$(mems --cflags --libs) -o cxx) && prints_what_it_should "$example/cxx"
}

replay_is_installed()
{
	is_the_version "$($run "$home/bin/mems-replay" --version)" 'mems-replay '
}

man_finds_each_page()
{
	for page in "$home"/bin/*; do
		man -M "$home/share/man" 1 "$(basename "$page")" >"$work/page" && [ -s "$work/page" ] || return
	done
	for page in $(functions); do
		[ "$(cat "$home/share/man/man3/$page.3")" = '.so man3/mems.3' ] || return
	done
	man -M "$home/share/man" 3 mems >"$work/page" && [ -s "$work/page" ] &&
		man -M "$home/share/man" mems_malloc | diff "$work/page" -
}

nothing_is_left()
{
	make -s variant="${VARIANT:-}" uninstall PREFIX="$home" && holds_only "$home" ''
}

check "it is installed for a program" is_installed
check_with pkg-config "pkg-config is all that a C program needs" pkg_config_builds_c
check_with pkg-config "directories may have any names" pkg_config_finds_strange_directories
# The compiler of another machine may come without g++ and without a static C library.
if [ -z "$run" ]; then
	check_with pkg-config "it is all that a static C program needs" pkg_config_builds_static_c
	# Nor is there a C++ compiler for every C library.
	[ -z "$cxx" ] ||
		check_with "pkg-config $cxx" "it is all that a C++ program needs" pkg_config_builds_cxx
fi
check "mems-replay is installed" replay_is_installed
check_with man-db "man finds each program and each function" man_finds_each_page
check "nothing is left" nothing_is_left

# ---- Without installing --------------------------------------------------------------------------

# drops_in STANDARD: mems.c and mems.h beside the program, and the line of the README.
drops_in()
{
	make_example && cp mems.c mems.h "$example" || return
	line=$(sed -n 's/.*`cc \(.* mems\.c [^`]*\)`.*/\1/p' README.md)
	[ "$(echo "$line" | wc -w)" -ge 4 ] || return
	# shellcheck disable=SC2086 # a list of words
	(cd "$example" && $cc $line "-std=$1" -Wall -Wextra -Werror) &&
		prints_what_it_should "$example/my-program"
}

check "mems.c drops in with -std=c11" drops_in c11
check "mems.c drops in with -std=gnu17" drops_in gnu17
exit $status
