#!/bin/sh
# The page that mems-replay writes, tried in a headless Chromium: see timeline.js.
set -u

work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT

clang=../shared/traces/clang.rep
[ -e $clang ] || { echo "note: no $clang here, so its page is skipped"; clang=; }

# shellcheck disable=SC2086 # none or one
timeout 400 node tests/replay/browser/timeline.js "${REPLAY:-sample/mems-replay}" "$work" \
	tests/traces/bash.rep tests/traces/jq.rep $clang
