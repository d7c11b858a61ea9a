#!/bin/sh
# Turns a page into a C header, for timeline.c. Called by replay.mk: sample/replay/embed.sh PAGE
#
# The header has two arrays: page_head, what stands before the line @HISTORY@, and page_tail, what
# stands after it.
set -eu

bytes()
{
	od -An -v -tu1 | sed 's/\([0-9][0-9]*\) */\1,/g'
}

echo "/* Made by sample/replay/embed.sh from $1. */"
echo 'static const unsigned char page_head[] = {'
sed '/^@HISTORY@$/,$d' "$1" | bytes
echo '};'
echo 'static const unsigned char page_tail[] = {'
sed '1,/^@HISTORY@$/d' "$1" | bytes
echo '};'
