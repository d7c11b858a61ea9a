/*
 * A heap and its slow, obvious twin (model.h), called alike: every returned address, every error
 * number and report, the chain, the counters, the printed text and the contents are compared. Who
 * chooses the calls, at random or from the bytes of a fuzzer, uses these.
 *
 * The first bytes and the last of each live block (MARKED at either end) hold random bytes, in
 * both heaps the same. Where the model has no contents, small blocks (up to MARKED bytes) hold
 * bytes that follow from their address.
 */
#ifndef TWINS_H
#define TWINS_H

#include "model.h"
#include "support.h"

enum {
	MAX_LIVE = 1 << 18,
	STALE = 64,
	MARKED = 2048       /* bytes at either end of a block whose contents are compared */
};

struct twins {
	struct model model;
	uint64_t random;            /* for contents, and for which stale address is forgotten */
	size_t calls;               /* made in this heap */
	uintptr_t live[MAX_LIVE];   /* blocks, in no order */
	uint32_t ids[MAX_LIVE];     /* of the blocks, as a recording has them */
	size_t live_count;
	uintptr_t stale[STALE];     /* addresses that were live once */
	char call[120];             /* the last one, for the report of a failure */
	FILE *calls_log;            /* where every call is written before it is made, or NULL */
	const char *name;           /* what a failure is reported of */
	size_t largest_touched;     /* no more is cleared or copied by one call; 0: any */
	void (*after_call)(void);   /* looks at the whole heap, as often as is wanted */
	void (*failed)(void);       /* says how to repeat it; does not return */
	FILE *record;               /* what a recording should hold; NULL while there is none */
	uint32_t next_id;           /* of that recording */
};

extern struct twins twins;

/* Starts both heaps with these options, or ends both. twins.record is the caller's. */
void twins_start(const struct model_options *options);
void twins_finish(void);

/* Reports a failure, with both heaps where they are small, unless the condition holds. */
void expect(bool condition, const char *what);

/* Around a call of the library and the same call of the model; call_ends wants errno as the
 * library left it. looking_ends is for calls that report nothing and that the model has not
 * seen. */
__attribute__((format(printf, 1, 2))) void call_begins(const char *format, ...);
void call_ends(uintptr_t result, uintptr_t expected);
void looking_ends(void);

/* Comparisons of the whole heap. */
void compare_chain(void);
void compare_counters(void);
void compare_everything(void);

/* The index of a live block, or live_count. */
size_t live_index(uintptr_t address);

/* Calls for blocks. A new block joins the live ones. */
void try_malloc(size_t size);
void try_calloc(size_t count, size_t size);
void try_aligned_alloc(size_t alignment, size_t size);
void try_realloc_null(size_t size);
void try_realloc_live(size_t index, size_t size);
void try_free_live(size_t index);

/* Gives back all that can be, and finds nothing left to give back. */
void try_trim(void);

/* A block that both have just given joins the live ones. kind, size and alignment (0 but for 'm')
 * are what a recording says of it. */
void live_add(uintptr_t address, char kind, size_t size, size_t alignment);

/* The recording's line of a merge by the last call, if that merged: soon after the call of the
 * model, and before the call's own line. */
void record_merge(void);

/* Calls with any address. */
void try_misuse(uintptr_t address, size_t size);
void try_translate(uintptr_t address, size_t size);
void try_segment_at(uintptr_t address);
void try_write_and_read(uintptr_t address, size_t size); /* size: up to MARKED */

size_t smaller(size_t a, size_t b);

#endif
