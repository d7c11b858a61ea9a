#!/bin/sh
# Turns what three programs draw into sample/1.png to 6.png. Calls them; called by pictures.mk:
# sample/pictures/pictures.sh BUILD EXAMPLE REPLAY
#
# 1 to 4 are heaps that pictures and the example make; 5.png and 6.png show the page that mems-replay
# makes of sample/heap.trace, in a browser.
set -eu

build=$1
example=$2
replay=$3

# png NUMBER: makes sample/NUMBER.png, twice as wide as it is shown, from build/.../NUMBER.svg.
png()
{
	rsvg-convert --zoom 2 "$build/sample/pictures/$1.svg" -o "sample/$1.png"
	echo "sample/$1.png"
}

"$build/sample/pictures/pictures" chains >"$build/sample/pictures/1.svg"
"$build/sample/pictures/pictures" split >"$build/sample/pictures/2.svg"
"$build/sample/pictures/pictures" mapping >"$build/sample/pictures/3.svg"
"$example" | sed '/^Array 3 is freed/,$d' |
	"$build/sample/pictures/pictures" text >"$build/sample/pictures/4.svg"
for number in 1 2 3 4; do
	png $number
done

"$replay" --html "$build/sample/pictures/5.html" sample/heap.trace >/dev/null
page="$build/sample/pictures/5.html"
compare='call=19&mode=compare&policies=first_fit,worst_fit'
node tests/replay/browser/screenshot.js "$page#call=11" sample/5.png 1200 834
node tests/replay/browser/screenshot.js "$page#$compare" sample/6.png 1200 1506
echo sample/5.png sample/6.png
