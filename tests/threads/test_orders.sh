#!/bin/sh
# The memory orders of the caches of threads suffice, and all are needed: orders.cpp, with Relacy.
set -u

work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
. tests/check.sh

# The other variants have the same.
[ -z "${VARIANT:-}${RUN:-}" ] || skip=1

orders_suffice_and_are_needed()
{
	"${CXX:-g++}" -std=c++11 -O1 -Wall -Wextra -Werror tests/threads/orders.cpp -o "$work/orders" &&
		"$work/orders"
}

check_with "${CXX:-g++} relacy-dev" "memory orders suffice, and are needed" \
	orders_suffice_and_are_needed

exit $status
