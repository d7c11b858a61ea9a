#!/bin/sh
# The example prints what tests/unit/golden/example.txt holds, and the README shows the example and
# its output as they are.
set -u

example=$(realpath "${EXAMPLE:-example}")
golden=tests/unit/golden/example.txt
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
status=0

# What stands in the first block of the README that is fenced as this language.
readme_block()
{
	awk -v fence="\`\`\`$1" '$0 == "```" { if (inside) exit } inside { print }
		$0 == fence { inside = 1 }' README.md
}

# same NAME EXPECTED FOUND
same()
{
	echo "[ RUN      ] $1"
	if diff -u "$2" "$3"; then
		echo "[       OK ] $1"
	else
		echo "[  FAILED  ] $1"
		status=1
	fi
}

${RUN:-} "$example" >"$work/output" || status=1
readme_block c >"$work/code"
readme_block text >"$work/shown"

same "the example prints what it should" $golden "$work/output"
same "the README shows the example" example.c "$work/code"
same "the README shows what the example prints" "$work/output" "$work/shown"
exit $status
