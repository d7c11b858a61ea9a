#!/bin/sh
# tests/need.sh [--optional] PACKAGE...: makes sure that what the tests need is here.
#
# What is optional, as tests can be skipped without it, is installed only with NEED=install in the
# environment, as make check and .ci/run have it.
#
# Each package is judged by what it is needed for (does a program that uses cmocka link?), so a
# system that got it in another way is left alone. What is missing is installed with apt-get where
# there is one, as root or through sudo. Exit 0: all is here; 1: something is missing.
set -u

cc=${CC:-cc}
is_optional=
if [ "${1-}" = --optional ]; then
	is_optional=1
	shift
fi

# Does the C program on standard input compile and link with these arguments?
links()
{
	out=$(mktemp) || return 1
	$cc "$@" -x c -o "$out" - -x none ${libs:-} 2>/dev/null
	status=$?
	rm -f "$out"
	return $status
}

is_here()
{
	libs=
	case $1 in
	libcmocka-dev)
		libs=-lcmocka
		links <<-END
			#include <setjmp.h>
			#include <stdarg.h>
			#include <stddef.h>
			#include <stdint.h>
			#include <cmocka.h>
			int main(void) { assert_true(1); return 0; }
		END
		;;
	gcc-multilib)
		links -m32 -idirafter /usr/include/x86_64-linux-gnu <<-END
			#include <errno.h>
			int main(void) { return errno; }
		END
		;;
	libclang-rt-dev)
		echo '#include <stddef.h>
			#include <stdint.h>
			int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);
			int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
			{ return bytes == NULL && size != 0; }' |
			cc=${CLANG:-clang} links -fsanitize=fuzzer,address,undefined
		;;
	gcc-*-linux-gnu) command -v "${1#gcc-}-gcc" >/dev/null ;;
	libc6-dev-*-cross)
		machine=${1#libc6-dev-}
		machine=${machine%-cross}
		[ "$machine" != arm64 ] || machine=aarch64
		[ -e "/usr/$machine-linux-gnu/include/stdio.h" ]
		;;
	qemu-user) command -v qemu-s390x >/dev/null ;;
	musl-tools) command -v musl-gcc >/dev/null ;;
	man-db) man --version 2>/dev/null | grep -q '^man ' ;;
	xz-utils) command -v xz >/dev/null ;;
	nodejs) command -v node >/dev/null ;;
	libxml2-utils) command -v xmllint >/dev/null ;;
	python3) [ -x /usr/bin/python3 ] ;;
	libpython3.*-testsuite) /usr/bin/python3 -c 'import test.test_json' 2>/dev/null ;;
	redis-tools) command -v redis-benchmark >/dev/null ;;
	relacy-dev) [ -e /usr/include/relacy/relacy.hpp ] ;;
	librsvg2-bin) command -v rsvg-convert >/dev/null ;;
	fonts-dejavu-core) [ -e /usr/share/fonts/truetype/dejavu/DejaVuSans.ttf ] ;;
	*) command -v "$1" >/dev/null ;;
	esac
}

as_root()
{
	if [ "$(id -u)" -eq 0 ]; then
		"$@"
	elif [ -t 0 ]; then
		sudo "$@"
	else
		sudo -n "$@"
	fi
}

# gcc-multilib without the link to the kernel's headers, on account of which it would replace the
# compilers of other machines: that of the version at hand.
install_packages()
{
	multilib=gcc-$($cc -dumpversion | sed 's/\..*//')-multilib
	# shellcheck disable=SC2046 # a list of words
	set -- $(echo "$*" | sed "s/\bgcc-multilib\b/$multilib/")
	as_root env DEBIAN_FRONTEND=noninteractive apt-get -q -y -o DPkg::Lock::Timeout=300 \
		install --no-install-recommends "$@"
}

# One at a time: make may ask for several at once.
mkdir -p build
exec 9>build/need.lock
flock 9

missing=
for package in "$@"; do
	is_here "$package" || missing="$missing $package"
done
[ -n "$missing" ] || exit 0

echo "The tests need Debian packages that this machine lacks:$missing."
if [ -n "$is_optional" ] && [ "${NEED:-}" != install ]; then
	exit 1
fi
if ! command -v apt-get >/dev/null; then
	echo "There is no apt-get here. Please install them in another way." >&2
	exit 1
fi
command="apt-get install --no-install-recommends$missing"
if [ "$(id -u)" -ne 0 ]; then
	command -v sudo >/dev/null || {
		echo "Please run as root: $command" >&2
		exit 1
	}
	command="sudo $command"
fi
echo "Installing them now, with what they depend on: $command"
# Who reads this can still say no.
if [ -t 0 ] && [ -t 1 ]; then
	echo "In five seconds; Ctrl-C to leave the machine as it is."
	sleep 5
fi
# shellcheck disable=SC2086 # a list of words
install_packages $missing >/dev/null 2>&1 || {
	echo "Fetching the lists of packages first: apt-get update"
	# shellcheck disable=SC2086
	{ as_root apt-get -q update; install_packages $missing; } >build/need.log 2>&1 || cat build/need.log
}

for package in $missing; do
	is_here "$package" || {
		echo "The tests need $package, and apt-get could not install it." >&2
		exit 1
	}
done
echo "Installed:$missing."
