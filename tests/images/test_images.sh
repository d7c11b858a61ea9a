#!/bin/sh
# Images and what happens around them: a full disk, limits, folders without rights, kill -9 at any
# moment, a program of the other width. And README.md shows the programs that lie in sample/examples.
# shellcheck disable=SC2317 # the functions are called by check
set -u

work=$(mktemp -d) || exit 1
trap 'umount "$work/full" 2>/dev/null; chmod -R u+rwx "$work"; rm -rf "$work"' EXIT
. tests/check.sh
: "${SAVER:=build/default/tests/images/saver}" "${EXAMPLES:=build/default/sample/examples}"

saver()
{
	# shellcheck disable=SC2086 # a command and its arguments
	${RUN:-} "$SAVER" "$@"
}

# fails_with WORDS COMMAND...: the command fails and says so.
fails_with()
{
	words=$1
	shift
	! "$@" >"$work/said" 2>&1 && grep -q "$words" "$work/said" && return
	cat "$work/said"
	return 1
}

# holds_alone NUMBER FOLDER: the image there is that of the number, and nothing else is there.
holds_alone()
{
	[ "$(saver check "$2/image")" = "$1" ] && [ "$(ls -A "$2")" = image ] && return
	ls -lA "$2"
	return 1
}

# ---- What the system refuses ---------------------------------------------------------------------

limits_of_files_are_told()
{
	mkdir -p "$work/limit" && saver save "$work/limit/image" 5 &&
		(
			trap '' XFSZ
			ulimit -f 1000 # KiB, or half of that
			fails_with 'File too large' saver save "$work/limit/image" 6
		) && holds_alone 5 "$work/limit"
}

# A file system with room for one image.
full_disks_are_told()
{
	saver save "$work/full/image" 5 && fails_with 'No space left' saver save "$work/full/image" 6 &&
		holds_alone 5 "$work/full"
}

# A folder that must not be written to, and one that must not be read. Root may all the same, so it
# becomes somebody else.
folders_without_rights_are_told()
{
	somebody=
	[ "$(id -u)" -ne 0 ] || somebody='setpriv --reuid=nobody --clear-groups'
	mkdir "$work/closed" && cp "$SAVER" "$work/saver" && chmod a+rx "$work" || return
	[ -z "$somebody" ] || chown nobody "$work/closed"
	# shellcheck disable=SC2016,SC2086 # the inner shell's variables; a list of words
	$somebody sh -exc 'cd "$1/closed"
		"$1/saver" save image 5
		chmod a-w .
		! "$1/saver" save image 6
		! "$1/saver" save ./image 6
		test "$("$1/saver" check image)" = 5
		chmod 300 .
		"$1/saver" save image 7
		test "$("$1/saver" check image)" = 7
		chmod 700 .' - "$work" >"$work/said" 2>&1 && [ "$(ls -A "$work/closed")" = image ] && return
	cat "$work/said"
	return 1
}

# ---- Killed --------------------------------------------------------------------------------------

killed_at_any_moment()
{
	mkdir -p "$work/killed"
	began=$(date +%s%N)
	saver save "$work/killed/image" 1 || return
	took=$(($(date +%s%N) - began)) # ns; a sanitizer or an emulator is slow
	round=0
	last=0
	while [ $round -lt "${ROUNDS:-25}" ]; do
		round=$((round + 1))
		# shellcheck disable=SC2086 # a command and its arguments; no shell that is killed in its place
		${RUN:-} "$SAVER" loop "$work/killed/image" &
		child=$!
		sleep "$(awk -v seed="$(date +%N)$round" -v took="$took" \
			'BEGIN { srand(seed); print rand() * 6 * took / 1e9 }')"
		kill -9 $child
		wait $child 2>/dev/null
		number=$(saver check "$work/killed/image") || {
			echo "after round $round: $number"
			return 1
		}
		last=$((last > number ? last : number))
	done
	[ $last -gt 1 ]
}

leftovers_are_in_nobodys_way()
{
	saver save "$work/killed/image" 77 && [ "$(saver check "$work/killed/image")" = 77 ]
}

# ---- Other widths, and the pages -----------------------------------------------------------------

# Also where it is larger than a file may be for a 32-bit program.
other_width_is_refused()
{
	saver save "$work/image" 3 && fails_with 'not supported' "$other" check "$work/image" &&
		truncate -s 3G "$work/image" && fails_with 'not supported' "$other" check "$work/image"
}

# The block of README.md that begins as the file does.
page_shows()
{
	awk -v first="$(head -n 1 "$1")" '/^```/ { inside = 0 } $0 == first { inside = 1 } inside' \
		README.md | diff - "$1"
}

dictionary_is_built_and_loaded()
{
	printf 'heap a place for blocks\nhole a segment that is free\nzero nothing\n' |
		${RUN:-} "$EXAMPLES/dictionary_build" "$work/words" &&
		for word in hole heap chain; do
			${RUN:-} "$EXAMPLES/dictionary" "$work/words" $word || return
		done >"$work/said" &&
		printf 'a segment that is free\na place for blocks\n?\n' | diff - "$work/said"
}

check "without a heap nothing is saved" \
	fails_with 'Operation not permitted' saver bare "$work/none"
check "an image that is larger than files may be" limits_of_files_are_told
mkdir "$work/full"
if mount -t tmpfs -o size=5m tmpfs "$work/full" 2>/dev/null; then
	check "a full disk" full_disks_are_told
	umount "$work/full"
fi
[ -n "${RUN:-}" ] || check "folders without rights" folders_without_rights_are_told
check "kill -9 at any moment leaves the old image or the new one" killed_at_any_moment
check "the next save works" leftovers_are_in_nobodys_way
case ${VARIANT:-} in
*m32) other=build/default/tests/images/saver ;;
*) other=build/m32/tests/images/saver ;;
esac
"$other" >"$work/said" 2>&1 # some kernels run no programs of 32 bits
[ $? -ge 126 ] || check "an image of another width is refused" other_width_is_refused
check "a dictionary is built by one program and loaded by another" dictionary_is_built_and_loaded
for file in dictionary_build dictionary; do
	check "README.md shows $file.c" page_shows sample/examples/$file.c
done
exit $status
