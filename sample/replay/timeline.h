/*
 * Turns a trace into one HTML page that plays it. Calls replay, progress; called by mems-replay.
 */
#ifndef TIMELINE_H
#define TIMELINE_H

#include <stdbool.h>
#include <stdio.h>

#include "engine.h"
#include "trace.h"

struct timeline {
	const char *name; /* of the trace, as the page shows it; "" for none: the page is to play on */
	const struct trace *trace;
	const struct engine *engine;     /* that was started, */
	struct textbook_options options; /* with these */
	size_t peak_call; /* the call with the most bytes in use after it; 0 where there is none */
	FILE *walks;      /* for tests: what its walk said after calls, a line each; or NULL */
};

/* Replays the trace on the heap that was just started, and writes the page. Where the trace is very
 * long, the page has its first calls, as many as fit in 10 MB, which is said on stderr. Write
 * errors are left in ferror(out). Returns 0, or -1 where the replay failed, which was said on
 * stderr. */
int timeline_write(FILE *out, const struct timeline *timeline);

#endif
