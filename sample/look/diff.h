/*
 * Turns two heaps into a list of what is different. Calls look; called by mems-look.
 *
 * As there is one heap at a time, the blocks of the first one are noted, with a hash of what is in
 * them, and compared with those of the second one.
 */
#ifndef DIFF_H
#define DIFF_H

#include <stdio.h>

#include "look.h"

struct diff_block {
	uintptr_t start;
	size_t size;
	uint64_t hash;
	bool is_known; /* whether all of its contents are */
};

/* The blocks of a heap, in ascending order; blocks is the caller's, to be freed. */
struct diff_blocks {
	struct diff_block *blocks;
	size_t count;
};

/* Notes the blocks of the heap that is open. False without memory. */
bool diff_note(const struct look *look, struct diff_blocks *blocks);

/* Writes what was taken, freed, resized and changed from the first heap to the second one. */
void diff_write(const struct diff_blocks *first, const struct diff_blocks *second, FILE *out);

#endif
