#!/bin/sh
# What a user can do on the page that mems-replay writes, in a headless Chromium: see usage.js.
set -u

work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT

timeout 400 node tests/replay/browser/usage.js "${REPLAY:-sample/mems-replay}" "$work"
