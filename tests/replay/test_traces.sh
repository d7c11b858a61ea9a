#!/bin/sh
# Replays allocation traces of real programs, with every check: those in $TRACES, a list of files.
set -u

replay=${REPLAY:-sample/mems-replay}
status=0

for trace in ${TRACES:-tests/traces/*.rep}; do
	echo "[ RUN      ] $trace"
	if ${RUN:-} "$replay" --check "$trace"; then
		echo "[       OK ] $trace"
	else
		echo "[  FAILED  ] $trace"
		status=1
	fi
done
[ -d ../shared/traces ] || echo "note: no ../shared/traces here, so its traces are skipped"
exit $status
