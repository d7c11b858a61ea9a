#!/bin/sh
# Builds the tarball of a release where there is nothing but Debian's essential packages, gcc and
# make, and no network: library, example and programs, installed, used and removed again. Says that
# it is skipped, and why, where no such system can be made.
#
# With TESTS=1 in the environment that system has apt as well, and "make test" runs there last, as on
# the machine of a newcomer. That takes as long as the tests do.
set -eu

unset MAKEFLAGS MFLAGS MAKELEVEL MAKEOVERRIDES CFLAGS CPPFLAGS LDFLAGS LDLIBS CC RUN

skip()
{
	echo "The tarball is not built in a system of its own: $1"
	exit 0
}

[ "$(id -u)" -eq 0 ] || skip 'that takes root'
[ -e .git ] || [ -e MANIFEST ] || skip 'this is no git checkout and no unpacked tarball'
tests/need.sh mmdebstrap || skip 'there is no mmdebstrap here'

golden=$PWD/tests/unit/golden/example.txt
tarball=$(realpath "$(make -s dist)")
package=$(basename "$tarball" .tar.gz)
work=$(mktemp -d)
trap 'rm -rf --one-file-system "$work"' EXIT
root=$work/root
enter=chroot
suite=$(sed -n 's/^VERSION_CODENAME=//p' /etc/os-release)

# With a time limit, for a network that never answers.
timeout 1200 mmdebstrap --variant="$([ -n "${TESTS:-}" ] && echo apt || echo essential)" \
	--include=gcc,libc6-dev,make "${suite:-stable}" "$root" \
	>"$work/log" 2>&1 || skip "mmdebstrap: $(grep '^E:' "$work/log" | tail -n 1)"

# As in a container: with processes and devices, terminals among them.
enter_with_devices()
{
	unshare --mount sh -euc 'mount -t proc proc "$1/proc"; mount --rbind /dev "$1/dev"
		exec chroot "$@"' sh "$@"
}

# inside COMMAND: in the folder that was unpacked. How gcc optimises is seen elsewhere.
inside()
{
	$enter "$root" env -i PATH=/usr/local/bin:/usr/bin:/bin HOME=/root LC_ALL=C CFLAGS=-O0 \
		sh -euc "cd /root/$package; $1" >"$work/said" 2>"$work/errors" && return
	cat "$work/said" "$work/errors" >&2
	echo "$tarball: failed in a system of its own: $1" >&2
	exit 1
}

tar -xzf "$tarball" -C "$root/root"
inside make
inside ./example
diff "$golden" "$work/said"
inside 'make install'
inside 'cp example.c /tmp; cd /tmp; cc example.c -lmems -o program; ./program'
diff "$golden" "$work/said"
inside 'mems-record -o ls.trace ls; mems-replay --html ls.html ls.trace; grep -q "</html>" ls.html'
inside 'rm ls.trace ls.html; make uninstall; make clean'
inside 'find /usr/local ! -type d ! -type l'
[ ! -s "$work/said" ] || {
	cat "$work/said"
	echo "$tarball: make uninstall leaves these in a system of its own" >&2
	exit 1
}
inside 'find . ! -type d | sed "s|^./||" | LC_ALL=C sort | diff MANIFEST -'
echo "$tarball builds and runs with gcc and make alone"

[ -z "${TESTS:-}" ] || {
	enter=enter_with_devices
	cp /etc/resolv.conf "$root/etc"
	inside 'PATH=$PATH:/usr/sbin:/sbin; make test 2>&1'
	sed -n '/^The tests need/,/^Installed/p; /^note:/p; / passed.*(/p; $p' "$work/said"
}
