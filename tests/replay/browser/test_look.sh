#!/bin/sh
# How the page that mems-replay writes looks, in a headless Chromium: see look.js. Its pictures are
# left in the folder $PICTURES, if that is named.
set -u

work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT

timeout 600 node tests/replay/browser/look.js "${REPLAY:-sample/mems-replay}" "$work"
status=$?
[ -z "${PICTURES:-}" ] || cp "$work"/*.png "$PICTURES"
exit $status
