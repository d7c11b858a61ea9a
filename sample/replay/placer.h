/*
 * Where each policy places blocks, fast: the rules of textbook.h, for traces of any length. Calls
 * ranges; called by compare.
 *
 * The heap of the textbooks goes from link to link, which takes a minute where there are many. Here
 * only what is free is known, in arrays; a block is kept by its caller. The addresses are those of
 * the textbook heap, and so is the number of HOLEs looked at, as the tests verify.
 */
#ifndef PLACER_H
#define PLACER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "textbook.h"

struct placer;

/* A block: its caller keeps it. */
struct placed {
	uintptr_t start;
	size_t size; /* bytes, rounded up; 0 while it is not live */
};

/* An empty heap, and the end of one. */
struct placer *placer_start(const struct textbook_options *options);
void placer_finish(struct placer *placer);

/* Takes a block of a size, at least 1, whose start is a multiple of an alignment, a power of two:
 * false where it cannot be had, and *block is as it was. */
bool placer_take(struct placer *placer, struct placed *block, size_t size, size_t alignment);

/* Gives a live block another size, at least 1: false where that cannot be had, likewise. */
bool placer_resize(struct placer *placer, struct placed *block, size_t size);

/* Frees a live block. */
void placer_free(struct placer *placer, struct placed *block);

/* Merges all that quick fit remembers. */
void placer_trim(struct placer *placer);

/* At so many HOLEs did all searches look. */
size_t placer_looked(const struct placer *placer);

/* Sets what mems_get_stats says of the chains now; all else is 0. */
void placer_get_stats(const struct placer *placer, struct mems_stats *stats);

#endif
