#!/bin/sh
# Projects that CMake builds find MeMS in each of the ways there are: a project with the example as
# its program uses mems::mems from find_package, FetchContent and add_subdirectory, in C and in C++.
# find_package finds what cmake --install has left, and what make install has.
# shellcheck disable=SC2317 # the functions are called by check
set -u

work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
. tests/check.sh

# This is a build of its own: the other variants have the same.
[ -z "${VARIANT:-}${RUN:-}" ] || skip=1
# Not even make knows of its flags there.
unset MAKEFLAGS MFLAGS MAKELEVEL MAKEOVERRIDES CFLAGS CXXFLAGS LDFLAGS DESTDIR CMAKE_PREFIX_PATH PREFIX prefix

here=$PWD
home=$work/home
major=$(sed -n 's/^#define MEMS_VERSION_MAJOR //p' mems.h)

# quietly COMMAND...: shows what it said where it fails.
quietly()
{
	"$@" >"$work/log" 2>&1 && return
	cat "$work/log"
	return 1
}

prints_what_it_should()
{
	"$1" >"$work/output" && diff "$here/tests/unit/golden/example.txt" "$work/output"
}

# consumer NAME LANGUAGE: a project of its own; what gives it mems::mems is on standard input.
consumer()
{
	mkdir -p "$work/$1" &&
		if [ "$2" = CXX ]; then
			sed 's/= \(mems_malloc\|mems_get\)(/= (int *)\1(/' example.c >"$work/$1/program.cpp"
		else
			cp example.c "$work/$1/program.c"
		fi && {
			echo 'cmake_minimum_required(VERSION 3.14)'
			echo "project(consumer LANGUAGES $2)"
			cat
			echo 'add_executable(program'
			ls "$work/$1"
			echo ')'
			echo 'target_link_libraries(program PRIVATE mems::mems)'
		} >"$work/lists" && mv "$work/lists" "$work/$1/CMakeLists.txt"
}

# consumes NAME ARGUMENT...: it is configured with these, built, and its program runs.
consumes()
{
	project=$work/$1
	shift
	quietly cmake -S "$project" -B "$project/build" -DCMAKE_PREFIX_PATH="$home" "$@" &&
		quietly cmake --build "$project/build" && prints_what_it_should "$project/build/program"
}

# ---- The ways ------------------------------------------------------------------------------------

# installs ARGUMENT...: a clean tree for the others.
installs()
{
	rm -rf "$home" "$work/cmake"
	quietly cmake -S . -B "$work/cmake" -DCMAKE_INSTALL_PREFIX="$home" "$@" &&
		quietly cmake --build "$work/cmake" && prints_what_it_should "$work/cmake/example" &&
		quietly cmake --install "$work/cmake"
}

finds_it()
{
	echo "find_package(mems $major REQUIRED)" | consumer find C && consumes find
}

finds_it_for_cxx()
{
	echo "find_package(mems REQUIRED)" | consumer cxx CXX && consumes cxx
}

# Another major version is another library.
finds_no_other_version()
{
	echo "find_package(mems $((major - 1)) REQUIRED)" | consumer other C || return
	! consumes other >"$work/said" &&
		tr -s "\n " " " <"$work/said" | grep -q "compatible with requested version"
}

# The program needs it by its soname.
finds_the_shared_one()
{
	installs -DBUILD_SHARED_LIBS=ON -DCMAKE_BUILD_TYPE=Debug && rm -rf "$work/find/build" && consumes find &&
		readelf -d "$work/find/build/program" | grep -q "NEEDED.*\[libmems\.so\.$major\]"
}

# In a larger project it installs nothing unless it is asked to.
fetches_it()
{
	consumer fetch C <<-END || return
		include(FetchContent)
		FetchContent_Declare(mems SOURCE_DIR $here)
		FetchContent_MakeAvailable(mems)
	END
	consumes fetch -DCMAKE_INSTALL_PREFIX="$work/nothing" &&
		quietly cmake --install "$work/fetch/build" && [ ! -e "$work/nothing" ]
}

# A project that has MeMS inside, and wants it installed with the rest.
adds_its_folder()
{
	echo "add_subdirectory($here mems)" | consumer folder CXX &&
		consumes folder -DMEMS_INSTALL=ON -DCMAKE_INSTALL_PREFIX="$work/all" &&
		quietly cmake --install "$work/folder/build" && [ -s "$work/all/include/mems.h" ]
}

# ---- After make install --------------------------------------------------------------------------

# A clean tree, as make makes it.
made()
{
	rm -rf "$home"
	quietly make -s install PREFIX="$home"
}

finds_what_make_installed()
{
	made && rm -rf "$work/find/build" "$work/cxx/build" && finds_it && finds_it_for_cxx
}

# finds_at FOLDER: the project, configured already, finds the package below this folder.
finds_at()
{
	consumes find -Umems_DIR -DCMAKE_PREFIX_PATH="$1"
}

# The tree lies elsewhere than it was told, and its directories have names of their own.
finds_a_tree_that_was_moved()
{
	for directories in lib/x86:include 'li b:in $clude/x'; do
		rm -rf "$work/root"
		quietly make -s install DESTDIR="$work/root" PREFIX=/opt/x libdir="/opt/x/${directories%:*}" \
			includedir="/opt/x/${directories#*:}" && mv "$work/root/opt/x" "$work/root/moved" &&
			consumes find -Dmems_DIR="$work/root/moved/${directories%:*}/cmake/mems" || return
	done
}

# As /lib is, on many systems.
finds_it_behind_a_link()
{
	made && mkdir "$work/link" && ln -s "$home/lib" "$work/link/lib" &&
		finds_at "$work/link"
}

finds_the_shared_one_of_make()
{
	made && quietly make -s install-shared PREFIX="$home" && finds_at "$home" &&
		readelf -d "$work/find/build/program" | grep -q "NEEDED.*\[libmems\.so\.$major\]"
}

make_refuses_what_cmake_refuses()
{
	made && finds_no_other_version && echo "find_package(mems $major.999 REQUIRED)" |
		consumer later C && ! consumes later >"$work/said" &&
		tr -s "\n " " " <"$work/said" | grep -q "compatible with requested version"
}

takes_its_package_away()
{
	made && quietly make -s uninstall PREFIX="$home" && [ ! -e "$home/lib/cmake/mems" ]
}

is_short()
{
	[ "$(wc -l <CMakeLists.txt)" -le 60 ]
}

check "CMakeLists.txt has 60 lines at most" is_short
check_with cmake "cmake builds, runs and installs it" installs
check_with cmake "find_package finds it" finds_it
check_with cmake "find_package finds it for a C++ program" finds_it_for_cxx
check_with cmake "find_package refuses another major version" finds_no_other_version
check_with cmake "FetchContent takes it from a folder" fetches_it
check_with cmake "add_subdirectory takes it" adds_its_folder
check_with cmake "find_package finds the shared library" finds_the_shared_one
check_with cmake "find_package finds what make installed" finds_what_make_installed
check_with cmake "find_package finds a tree that was moved" finds_a_tree_that_was_moved
check_with cmake "find_package finds it behind a link" finds_it_behind_a_link
check_with cmake "find_package finds the shared library that make installed" \
	finds_the_shared_one_of_make
check_with cmake "find_package refuses other versions of what make installed" \
	make_refuses_what_cmake_refuses
check_with cmake "make uninstall removes the package" takes_its_package_away
exit $status
