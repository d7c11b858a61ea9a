/*
 * Follows, call by call, how many bytes of which HOLEs quick fit remembers (see mems_segment).
 * Calls engine, number, ranges; called by timeline.
 *
 * A call changes that where it took and freed a block; those HOLEs are looked at after it. Where
 * what is remembered was merged for good, no HOLE has any; that shows in one HOLE elsewhere. And a
 * large block that is freed may end that another large one is remembered: then all are looked at.
 */
#ifndef REMEMBERED_H
#define REMEMBERED_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "engine.h"
#include "ranges.h"

/* All zero but for the first three: no HOLE has remembered bytes. */
struct remembered {
	const struct engine *engine;
	size_t alignment; /* bytes */
	uintptr_t last;   /* the HOLE that was last written, at first the start of the heap */
	struct ranges holes; /* that have remembered bytes: start, and in place of a size these */
};

/* A call that was just made. */
struct change {
	uintptr_t taken, freed; /* a block's start, 0 for none */
	size_t freed_bytes;     /* of the block freed */
	bool is_trim;           /* nothing is remembered any more */
};

/* Writes what a call has changed, as timeline.c describes it. Returns how many bytes. */
size_t remembered_write(struct remembered *remembered, const struct change *change, FILE *out);

void remembered_release(struct remembered *remembered);

#endif
