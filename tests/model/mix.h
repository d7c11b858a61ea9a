/*
 * Random calls of both heaps (twins.h): which kind, for which block or address, of which size. All
 * of it comes from twins.random.
 */
#ifndef MIX_H
#define MIX_H

#include "twins.h"

/* How often each kind of call is made, relative to the others. */
struct mix {
	unsigned malloc, calloc, realloc, aligned, free, translate, copy, misuse;
};

/* One of the numbers from 0 on below the bound. */
size_t below(size_t bound);

/* The start of a block, its inside, its neighbourhood, a stale one, a made-up one. */
uintptr_t any_address(void);

/* An alignment that aligned_alloc takes, most often; and more than any machine has, so that the
 * model needs to know none. */
size_t any_alignment(void);
size_t absurd_size(void);

/* A call as the mix has it, with sizes that size_next gives: one that frees a block, or one that
 * takes one, where it is of neither kind. */
void mix_call(const struct mix *mix, size_t (*size_next)(void), bool frees);

/* One of each kind where there is no heap, which all of them say. */
void mix_calls_without_heap(void);

#endif
