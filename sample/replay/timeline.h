/*
 * Turns a trace into one HTML page that plays it. Calls replay, engine, progress; called by
 * mems-replay.
 */
#ifndef TIMELINE_H
#define TIMELINE_H

#include <stdbool.h>
#include <stdio.h>

#include "engine.h"
#include "trace.h"

struct timeline {
	const char *name; /* of the trace, as the page shows it */
	const struct trace *trace;
	const struct engine *engine; /* that was started, */
	struct textbook_options options; /* with these */
	size_t peak_call; /* the call with the most bytes in use after it; 0 where there is none */
	FILE *walks;      /* for tests: what mems_walk said at each step, a line each; or NULL */
};

/* Replays the trace on the heap that was just started, and writes the page. Where the trace is
 * long, the page has a sample of the states of the heap. Write errors are left in ferror(out).
 * Returns 0, or -1 where the replay failed, which was said on stderr. */
int timeline_write(FILE *out, const struct timeline *timeline);

#endif
