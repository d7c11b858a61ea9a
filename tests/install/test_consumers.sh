#!/bin/sh
# Programs that use MeMS as others do: the example, built by one compiler after another with what
# make install-shared installs, or with mems.c beside it; and mems.h alone, by each standard of C and
# C++. Each program has to print what the example prints.
# shellcheck disable=SC2317 # the functions are called by check
set -u

work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
. tests/check.sh

# What is built with flags of its own, or for another machine, is not what is installed.
[ -z "${VARIANT:-}${RUN:-}" ] || skip=1
unset MAKEFLAGS MFLAGS MAKELEVEL MAKEOVERRIDES PREFIX prefix DESTDIR PKG_CONFIG_LIBDIR

home=$work/home
export PKG_CONFIG_PATH="$home/lib/pkgconfig"
warnings='-Wall -Wextra -Wpedantic -Werror'

# ---- Building ------------------------------------------------------------------------------------

prints_what_it_should()
{
	LD_LIBRARY_PATH=$home/lib "$1" >"$work/output" &&
		diff tests/unit/golden/example.txt "$work/output"
}

# C++ wants a cast where C does not.
make_sources()
{
	cp example.c mems.c mems.h "$work" &&
		sed 's/= \(mems_malloc\|mems_get\)(/= (int *)\1(/' example.c >"$work/example.cpp"
}

installs()
{
	make_sources && make -s install-shared PREFIX="$home" >"$work/log"
}

# runs COMPILER ARGUMENT...: the program made of these; nothing but the sources is in its folder.
runs()
{
	compiler=$1
	shift
	# shellcheck disable=SC2086 # lists of words
	(cd "$work" && rm -f program && $compiler $warnings "$@" -o program) &&
		prints_what_it_should "$work/program"
}

# archive COMPILER ARGUMENT...: with the archive, by its name.
archive()
{
	runs "$@" -I"$home/include" "$home/lib/libmems.a"
}

# static COMPILER SOURCE: a program that needs no shared object at all.
static()
{
	# shellcheck disable=SC2046 # a list of words
	runs "$@" -static $(pkg-config --static --cflags --libs mems) &&
		! readelf -d "$work/program" | grep -q NEEDED
}

# shared COMPILER SOURCE: a program that needs the shared library, by its soname.
shared()
{
	# shellcheck disable=SC2046
	runs "$@" $(pkg-config --cflags --libs mems) &&
		readelf -d "$work/program" | grep -q "NEEDED.*\[libmems\.so\.$major\]"
}

# An archive for optimising at link time; make install leaves its index alone.
archive_is_optimised_when_linked()
{
	make -s variant=lto CFLAGS='-O1 -flto' build/lto/libmems.a >"$work/log" || return
	runs gcc -O1 -flto example.c "$PWD/build/lto/libmems.a" &&
		! make -n variant=lto CFLAGS='-O1 -flto' install PREFIX="$work/lto" | grep -e '--strip-debug' &&
		make -n variant=lto CFLAGS=-O1 install PREFIX="$work/lto" | grep -q -e '--strip-debug'
}

# ---- The shared library --------------------------------------------------------------------------

major=$(sed -n 's/^#define MEMS_VERSION_MAJOR //p' mems.h)

functions()
{
	sed -n '/^typedef/d; s/^[a-z].*[ *]\(mems_[a-z_]*\)(.*);$/\1/p' mems.h | sort
}

has_its_soname()
{
	readelf -d "$home/lib/libmems.so" | grep -q "SONAME.*\[libmems\.so\.$major\]"
}

exports_the_functions_alone()
{
	functions >"$work/functions"
	[ -s "$work/functions" ] && nm -D --defined-only "$home/lib/libmems.so" | sed 's/.* //' |
		LC_ALL=C sort | diff "$work/functions" -
}

# Position-independent code calls a function for each thread-local variable that does not say
# otherwise: __attribute__((tls_model("initial-exec"))).
calls_nothing_for_thread_local_variables()
{
	nm -u "$home/lib/libmems.a" >"$work/undefined" && grep -q ' mmap' "$work/undefined" &&
		! grep -e __tls_get_addr -e __tls_desc "$work/undefined"
}

# A plugin that has the archive inside.
goes_into_a_shared_object()
{
	sed 's/^int main(void)/int run(void);\nint run(void)/' "$work/example.c" >"$work/plugin.c" &&
		echo 'int run(void); int main(void) { return run(); }' >"$work/host.c" || return
	# shellcheck disable=SC2086
	(cd "$work" && $1 $warnings -shared -fPIC plugin.c -I"$home/include" "$home/lib/libmems.a" \
			-Wl,-z,defs -o libplugin.so &&
		$1 host.c -L. -lplugin -Wl,-rpath,"$work" -o program) &&
		prints_what_it_should "$work/program"
}

# ---- mems.h --------------------------------------------------------------------------------------

# header COMPILER LANGUAGE STANDARD...: where the compiler has the standard, by this name or by the one
# that it had before (c2x).
header()
{
	compiler=$1
	language=$2
	shift 2
	printf '#include "mems.h"\nint main(%s) { mems_init(); mems_finish(); return 0; }\n' \
		"$([ "$language" != c ] || echo void)" >"$work/header"
	tried=0
	for standard in "$@"; do
		$compiler "-std=$standard" -x "$language" -fsyntax-only /dev/null 2>/dev/null || continue
		tried=$((tried + 1))
		# shellcheck disable=SC2086
		$compiler "-std=$standard" $warnings -x "$language" -I. -fsyntax-only "$work/header" || return
	done
	[ "$tried" -gt 0 ]
}

# ---- The checks ----------------------------------------------------------------------------------

c_standards='c99 c11 c17 c23 c2x gnu17'
cxx_standards='c++11 c++14 c++17 c++20 c++23 c++2b'

# check_compiler COMPILER PACKAGE LANGUAGE SOURCE STANDARDS
check_compiler()
{
	for kind in archive static shared; do
		check_with "$2 pkg-config" "$1 builds a program: $kind" "$kind" "$1" "$4"
	done
	# shellcheck disable=SC2086
	check_with "$2" "$1 takes mems.h by each standard" header "$1" "$3" $5
	check_with "$2" "$1 builds a program with the address sanitizer" \
		archive "$1" -fsanitize=address "$4"
}

check "it is installed" installs
check "the shared library has its soname" has_its_soname
check "the shared library exports the functions of mems.h and nothing else" \
	exports_the_functions_alone
check "the archive calls nothing for thread-local variables" calls_nothing_for_thread_local_variables
check_compiler gcc gcc c example.c "$c_standards"
check_compiler clang clang c example.c "$c_standards"
check_compiler g++ g++ c++ example.cpp "$cxx_standards"
check_compiler clang++ clang c++ example.cpp "$cxx_standards"
for compiler in gcc clang; do
	check_with $compiler "$compiler puts the archive into a shared object" \
		goes_into_a_shared_object $compiler
	check_with $compiler "$compiler puts the address sanitizer into program and library" \
		runs $compiler -fsanitize=address example.c mems.c
	check_with $compiler "$compiler optimises program and library as one" \
		runs $compiler -O1 -flto example.c mems.c
done
check_with gcc "gcc optimises the archive with the program" archive_is_optimised_when_linked
check_with musl-tools "musl-gcc builds a program" runs musl-gcc example.c mems.c
check_with musl-tools "musl-gcc builds a static program" runs musl-gcc -static example.c mems.c
exit $status
