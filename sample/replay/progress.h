/*
 * Turns counts of calls into a bar on stderr. Calls nothing here; called by mems-replay, compare and
 * timeline.
 */
#ifndef PROGRESS_H
#define PROGRESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

/* Seconds of a clock that never goes back. */
double seconds_now(void);

/* Work begins. The bar is drawn where it is wanted and stderr is a terminal, once the work has
 * taken half a second. */
void progress_begin(bool is_wanted);

/* So many calls of all are done. Cheap: it looks at the clock only now and then. */
void progress_show(size_t done, size_t all);

/* The same for a file, of which so many calls were read; a pipe has no bar. */
void progress_read(FILE *in, size_t calls);

/* Wipes the bar away. The next call that shows something draws it again. */
void progress_end(void);

#endif
