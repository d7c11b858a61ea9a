#!/bin/sh
# Turns the files of the page into a C header, for timeline.c. Called by replay.mk:
# sample/replay/embed.sh FOLDER EXERCISE..., where FOLDER has the page in parts.
#
# The header has two arrays: page_head, what stands before the line @HISTORY@, and page_tail, what
# stands after it.
set -eu

page=$1
shift
whole=$(mktemp)
trap 'rm -f "$whole"' EXIT

exercises()
{
	for exercise in "$@"; do
		echo "<script type=\"text/plain\" class=\"exercise\">"
		cat "$exercise"
		echo '</script>'
	done
}

scripts()
{
	for script in engine history words story predict map charts compare play app; do
		cat "$page/$script.js"
	done
}

while IFS= read -r line; do
	case $line in
	@STYLE@) cat "$page/page.css" ;;
	@SCRIPTS@) scripts ;;
	@EXERCISES@) exercises "$@" ;;
	*) printf '%s\n' "$line" ;;
	esac
done <"$page/page.html" >"$whole"

bytes()
{
	od -An -v -tu1 | sed 's/\([0-9][0-9]*\) */\1,/g'
}

echo "/* Made by sample/replay/embed.sh from $page. */"
echo 'static const unsigned char page_head[] = {'
sed '/^@HISTORY@$/,$d' "$whole" | bytes
echo '};'
echo 'static const unsigned char page_tail[] = {'
sed '1,/^@HISTORY@$/d' "$whole" | bytes
echo '};'
