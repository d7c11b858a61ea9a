/*
 * Gives the heaps that a trace can be replayed on one face. Calls mems, textbook; called by
 * mems-replay, replay, svg, timeline.
 *
 * The library has two policies; for the others there is the heap of the textbooks, which has no
 * memory behind its addresses.
 */
#ifndef ENGINE_H
#define ENGINE_H

#include <stdbool.h>

#include "mems.h"
#include "textbook.h"
#include "trace.h"

struct engine {
	bool has_memory;
	/* Makes the call of an operation that has a block. Its result, or for a free the address that was freed. Sets
	 * errno where it fails, and leaves it alone else. */
	void *(*call)(const struct trace_op *op, void *v_ptr);
	/* Merges all that quick fit remembers. */
	void (*trim)(void);
	/* As the functions of mems.h. */
	size_t (*usable_size)(const void *v_ptr);
	void (*fprint_stats)(FILE *out);
	int (*fprint_json)(FILE *out);
	void (*get_stats)(struct mems_stats *stats);
	int (*walk)(mems_visitor *visit, void *context);
	int (*segment_at)(const void *v_ptr, struct mems_segment *segment);
	void (*finish)(void);
};

/* Starts a heap with these options, which must be those that mems_option was given. One at a time:
 * finish ends it. */
const struct engine *engine_start(const struct textbook_options *options);

/* Makes the call of an operation that has a block on a heap of the textbooks. Its result, or for a free the address
 * that was freed; 0 where it fails, and heap->error says why. */
uintptr_t textbook_call(struct textbook *heap, const struct trace_op *op, uintptr_t address);

#endif
