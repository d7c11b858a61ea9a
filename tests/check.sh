# To be read in by a test script: tests that count for tests/run.sh. The script may set skip, for tests
# that are to be left out, and work, a folder of its own; it ends with "exit $status".
# shellcheck shell=sh
status=0
skip=

# check NAME COMMAND...: a test that passes where the command succeeds.
check()
{
	name=$1
	shift
	echo "[ RUN      ] $name"
	if [ -n "$skip" ]; then
		echo "[  SKIPPED ] $name"
	elif "$@"; then
		echo "[       OK ] $name"
	else
		echo "[  FAILED  ] $name"
		status=1
	fi
}

# check_with PACKAGES NAME COMMAND...: one that is skipped where a package cannot be had.
check_with()
{
	# shellcheck disable=SC2086 # a list of words
	if [ -n "$skip" ] || tests/need.sh --optional $1 >"$work/need" 2>&1; then
		shift
		check "$@"
	else
		echo "note: $2: skipped, for $1 is not here"
		echo "[ RUN      ] $2"
		echo "[  SKIPPED ] $2"
	fi
}
