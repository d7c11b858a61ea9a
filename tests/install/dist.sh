#!/bin/sh
# Makes the tarball of a release: it holds what it should and nothing else, builds and passes its
# tests in another place, and makes the same tarball there. These are all the tests of "make test", so
# their results are left where that leaves its own, build/default/results. Where no tarball can be made,
# they run here. The compiler may not warn of any file.
set -eu

# What make was told here is no concern of the one there.
unset MAKEFLAGS MFLAGS MAKELEVEL MAKEOVERRIDES CFLAGS CPPFLAGS LDFLAGS LDLIBS RUN

if [ -e .git ]; then
	tests/need.sh git
	others=$(git -c safe.directory="$PWD" ls-files --others --exclude-standard)
	[ -z "$others" ] ||
		echo "note: these files are not in the tarball, as git does not track them:" "$others"
elif [ ! -e MANIFEST ]; then
	echo 'The tarball is not checked: it is made in a git checkout or an unpacked tarball alone.'
	exec make -j"$(nproc)" test
fi
root=$PWD
tarball=$(make -s dist)
tarball=$(realpath "$tarball")
package=$(basename "$tarball" .tar.gz)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

fail()
{
	echo "$1: $2" >&2
	exit 1
}

# Every file below this directory, sorted.
files()
{
	(cd "$1" && find . ! -type d | sed 's|^\./||' | LC_ALL=C sort)
}

tar -xzf "$tarball" -C "$work"
[ "$(ls -A "$work")" = "$package" ] || fail "$tarball" "holds more than $package/"
there=$work/$package
files "$there" >"$work/packed"
diff "$there/MANIFEST" "$work/packed" || fail "$tarball" "holds other files than its MANIFEST says"

# Neither files of the repository alone, nor links, nor what a compiler made, nor traces of this
# machine. All text, but for pictures.
cd "$there"
found=$(grep -E '(^|/)\.|^build/|\.(o|a|d|so|gz|orig|rej|swp)$|~$' MANIFEST) &&
	fail "$tarball" "should not hold $found"
found=$(find . -type l -o -size +2048k) && [ -n "$found" ] &&
	fail "$tarball" "holds a link or a large file: $found"
found=$(grep -rIL . . | grep -v -e '\.png$' -e '^./tests/fuzz/corpus/image/' \
	-e '^./tests/fuzz/corpus/core/') &&
	fail "$tarball" "holds an empty or a binary file: $found"
here=$(dirname "$(dirname "$tarball")" | sed 's,[^[:alnum:]_/-],\\&,g')
found=$(grep -rlE -e "(^|[[:space:]\"'\`=:(])$here(/|\$)" .) &&
	fail "$tarball" "names a directory of this machine in $found"
for file in LICENSE README.md CHANGELOG.md Makefile mems.c mems.h man/mems.3; do
	[ -s $file ] || fail "$tarball" "lacks $file"
done

# More traces, if there are any: they stand beside the project.
[ ! -d "$root/../shared" ] || ln -s "$(realpath "$root/../shared")" "$work/shared"

state=0
make -j"$(nproc)" all-objects test >"$work/log" 2>&1 || state=$?
mkdir -p "$root/build/default"
rm -f "$root/build/default/results"
[ ! -e build/default/results ] || cp build/default/results "$root/build/default"
[ $state -eq 0 ] || {
	cat "$work/log"
	fail "$tarball" "make test failed in $there"
}
! grep -A 5 'warning: ' "$work/log" || fail "$tarball" "the compiler warns in $there"
sed -n '/^note:/p; / passed.*(/p; $p' "$work/log"
make -s dist >"$work/log"
cmp "$tarball" "build/$package.tar.gz" || fail "$tarball" "make dist makes another one in $there"
make -s clean
files . | diff "$work/packed" - || fail "$tarball" "make clean does not leave what was unpacked"
echo "$tarball builds and passes its tests elsewhere"
