#!/bin/sh
# What stands behind the page, without a browser: its heap (engine.js), what it says (stories.js), and
# what it shows that quick fit remembers (remembered.js).
set -u

driver=${TEXTBOOK_DRIVER:-build/default/tests/replay/textbook_driver}

timeout 400 node tests/replay/browser/engine.js "$driver" || exit
timeout 400 node tests/replay/browser/stories.js || exit
timeout 400 node tests/replay/browser/remembered.js "${REPLAY:-sample/mems-replay}"
