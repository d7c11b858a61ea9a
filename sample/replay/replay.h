/*
 * Turns operations of a trace into calls of a heap. Calls engine, mems; called by mems-replay and
 * timeline.
 *
 * The heap is started by the caller, and the operations come one by one.
 *
 * In checking mode every block is filled with a pattern of its own, which is verified at each
 * realloc and free and at the end, translation is tried on every block, and mems_check looks at the
 * whole heap again and again.
 */
#ifndef REPLAY_H
#define REPLAY_H

#include <stdbool.h>

#include "engine.h"
#include "trace.h"

struct replay_block {
	void *v_ptr; /* NULL while the block is not live */
	size_t size; /* as the trace asked for it, in bytes */
	size_t key;  /* of its pattern: the line that allocated it */
};

/* All zero but for what comes before has_failed: nothing was replayed yet. */
struct replay {
	const char *name; /* of the trace, for messages */
	const struct engine *engine; /* that was started */
	bool is_checking; /* for an engine that has memory */
	size_t limit, page_size; /* bytes; a call that needs more than the limit is left out: see
	                            replay_op. 0: it fails */
	bool has_failed;
	size_t calls;           /* made so far */
	size_t process_bytes;   /* in live blocks */
	size_t most_bytes;      /* the most that process_bytes has been after a call */
	size_t most_bytes_call; /* the first call after which it was that, from 1 */
	size_t refused;         /* calls that the limit left no room for */
	void *result;           /* of the last call: the address that it gave, or freed; or NULL */
	struct replay_block *blocks;
	size_t block_slots;
	size_t next_look; /* of mems_check: the call after which it comes */
	size_t pages;     /* that are mapped, when these were last counted */
};

/* Makes the call of an operation, and notes its result. Where it needs more than the limit, it is
 * refused: it gives NULL, changes nothing, and later calls about a block that could not be had give
 * NULL as well. False where it failed, which is said on stderr and noted in has_failed. */
bool replay_op(struct replay *replay, const struct trace_op *op);

/* In checking mode, looks at all that is left. */
void replay_end(struct replay *replay);

/* Releases what the replay holds, not the heap. */
void replay_free(struct replay *replay);

#endif
