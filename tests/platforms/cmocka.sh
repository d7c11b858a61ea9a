#!/bin/sh
# tests/platforms/cmocka.sh FOLDER COMPILER [FLAG...]: builds a static cmocka for a platform that
# has no package of it, from the source package of this system's distribution, as
# FOLDER/include/cmocka.h and FOLDER/libcmocka.a.
#
# The source is fetched by apt-get, which verifies it, with a list of sources and a state folder of
# its own inside FOLDER: the system needs no deb-src line, and its configuration stays as it is.
set -eu

if [ $# -lt 2 ]; then
	echo "usage: tests/platforms/cmocka.sh FOLDER COMPILER [FLAG...]" >&2
	exit 1
fi
mkdir -p "$1"
folder=$(cd "$1" && pwd)
shift
here=$(dirname "$0")

if ! command -v apt-get >/dev/null; then
	echo "cmocka is built from its Debian source, and there is no apt-get here to fetch it." >&2
	exit 1
fi
"$here/../need.sh" xz-utils

work=$folder/source
rm -rf "$work"
mkdir -p "$work/lists/partial"

# The distribution's own archive, and not the others that a system may list.
keyring=
for file in /usr/share/keyrings/debian-archive-keyring.gpg \
		/usr/share/keyrings/ubuntu-archive-keyring.gpg; do
	[ ! -e "$file" ] || keyring="[signed-by=$file]"
done
# shellcheck source=/dev/null
codename=$(. /etc/os-release && echo "$VERSION_CODENAME")
# shellcheck disable=SC2016 # apt-get fills these in
apt-get indextargets --format '$(REPO_URI) $(RELEASE) $(COMPONENT)' 'Identifier: Packages' |
	sort -u |
	while read -r address release component; do
		[ "$release" = "$codename" ] || continue
		case $component in
		main|universe) echo "deb-src $keyring $address $release $component" ;;
		esac
	done >"$work/sources.list"

fetch()
{
	apt-get -q -o Dir::Etc::sourcelist="$work/sources.list" -o Dir::Etc::sourceparts=- \
		-o Dir::State::lists="$work/lists" -o Dir::Cache::pkgcache= \
		-o Dir::Cache::srcpkgcache= -o APT::Sandbox::User= "$@"
}
if ! (cd "$work" && fetch update && fetch --download-only source cmocka) >"$work/log" 2>&1; then
	cat "$work/log" >&2
	echo "apt-get could not fetch the source of cmocka." >&2
	exit 1
fi
tar -C "$work" -xJf "$work"/cmocka_*.orig.tar.xz
cmocka=$(echo "$work"/cmocka-*)

cat >"$work/config.h" <<END
#define HAVE_CLOCK_GETTIME 1
#define HAVE_CLOCK_REALTIME 1
#define HAVE_GCC_THREAD_LOCAL_STORAGE 1
#define HAVE_INTTYPES_H 1
#define HAVE_MALLOC_H 1
#define HAVE_SIGLONGJMP 1
#define HAVE_SIGNAL_H 1
#define HAVE_STRINGS_H 1
#define HAVE_STRSIGNAL 1
#define HAVE_STRUCT_TIMESPEC 1
END
mkdir -p "$folder/include"
cp "$cmocka"/include/cmocka.h "$folder/include"
"$@" -std=gnu99 -O2 -g -w -DHAVE_CONFIG_H -I"$work" -I"$cmocka/include" \
	-c "$cmocka/src/cmocka.c" -o "$work/cmocka.o"

# The archiver that belongs to the compiler, or the system's own.
archiver=$("$@" -print-prog-name=ar 2>/dev/null || echo ar)
rm -f "$folder/libcmocka.a"
"$archiver" rcs "$folder/libcmocka.a" "$work/cmocka.o"
rm -rf "$work"
