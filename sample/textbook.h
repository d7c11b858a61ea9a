/*
 * The heap of the textbooks, to be read first. Calls nothing; called by engine, compare, trace.
 *
 * A heap is a stretch of addresses, cut into segments: PROCESS, in use, and HOLE, free. It starts
 * empty. When no HOLE is large enough, it gets a run of whole pages from the system: a main node.
 *
 *   main chain   MAIN[1000:5095] <--------------------------------> MAIN[5096:9191]
 *   sub-chains     PROCESS[1000:1999] <-> HOLE[2000:2999] <->         HOLE[5096:9191]
 *                  PROCESS[3000:3999] <-> HOLE[4000:5095]
 *   free list    HOLE[2000:2999] <-> HOLE[4000:5095] <-> HOLE[5096:9191]
 *
 * Three kinds of doubly linked lists, all by address, hold all there is to know: the main chain has
 * the main nodes, a sub-chain the segments of one node, and the free list, a ring through a head,
 * the HOLEs of all nodes.
 *
 * malloc(size)
 *   1. Rounds size up to a multiple of the alignment.
 *   2. Looks at one HOLE of the free list after the other. Which one it takes is the policy:
 *        first fit   the first that is large enough
 *        next fit    the same, but it begins where the last block taken ended, and goes round
 *        best fit    the smallest that is large enough, the first of equals
 *        worst fit   the largest, the first of equals
 *        quick fit   a block of exactly this size that was freed before, or else first fit
 *   3. Where none is large enough, appends a main node, which is one HOLE: the pages needed, or an
 *      eighth of those mapped if that is more, so that a large heap grows in few steps.
 *   4. Splits the HOLE: its low end becomes the block.
 *        [ ------------ HOLE ------------ ]  =>  [ PROCESS ][ ------- HOLE ------- ]
 * free(address)
 *   1. Finds the block through main chain and sub-chain. If none starts there, it is a misuse.
 *   2. Makes it a HOLE, and merges it with the HOLEs on its right and left in the same node.
 *        [ HOLE ][ PROCESS ][ HOLE ]         =>  [ ------------ HOLE ------------ ]
 * realloc(address, size)
 *   Shrinks a block by freeing its end, or grows it into the HOLE on its right. Where that has no
 *   room, takes a new block, as malloc does, and then frees the old one.
 *
 * Quick fit puts off merging. A freed block goes to the quick list of its size, last in, first out:
 * no HOLE to the searches. Before the heap grows, all of these become HOLEs and merge, and the
 * search is made again. (The library merges less often: see mems.h.)
 *
 * A call takes O(n) steps for n segments; the library exists to make that O(log n). Under first fit
 * both give the same addresses, as the tests verify. No memory is behind the addresses here, so
 * there is nothing to copy or to clear, and calloc is malloc. textbook_look.c prints the chains.
 *
 * Here addresses are numbers. A call that fails returns 0, leaves the heap as it was, and its error
 * number in heap->error, which is 0 after a success; a misuse leaves a message, too.
 */
#ifndef TEXTBOOK_H
#define TEXTBOOK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "mems.h"

enum textbook_policy {
	FIRST_FIT = MEMS_FIRST_FIT,
	QUICK_FIT = MEMS_QUICK_FIT,
	NEXT_FIT,
	BEST_FIT,
	WORST_FIT,
	TEXTBOOK_POLICIES
};

/* "first_fit", "quick_fit", ... */
extern const char *const textbook_policy_names[TEXTBOOK_POLICIES];

/* As mems_option has them, and within its bounds. All in bytes. */
struct textbook_options {
	enum textbook_policy policy;
	size_t alignment, start, page_size;
	size_t limit; /* 0 for none */
};

enum kind {
	PROCESS, /* handed to the program */
	HOLE,    /* free, and in the free list */
	QUICK    /* freed, and in a quick list: shown as a HOLE, but not merged with its neighbours */
};

/* A link of a sub-chain. */
struct segment {
	struct segment *previous, *next; /* in its node; NULL at the ends */
	struct segment *previous_free;   /* in the free list, a ring */
	struct segment *next_free;       /* in the free list, or in its quick list */
	struct node *node;
	enum kind kind;
	uintptr_t start;                 /* first virtual address */
	size_t size;                     /* bytes */
};

/* A link of the main chain. */
struct node {
	struct node *previous, *next; /* NULL at the ends */
	struct segment *first;        /* of its sub-chain */
	size_t index;                 /* in the main chain, from 0 */
	uintptr_t start;              /* first virtual address */
	size_t size;                  /* bytes: whole pages */
};

/* The largest block that a quick list takes, in bytes. */
enum { QUICK_LARGEST = 64 << 10 };

struct textbook {
	struct textbook_options options;
	struct node *first, *last;                /* of the main chain; NULL while it is empty */
	struct segment holes;                     /* the head of the free list, no HOLE itself */
	struct segment *quick[QUICK_LARGEST + 1]; /* the quick lists, by size / alignment */
	size_t quick_blocks;                      /* in all quick lists */
	uintptr_t rover;                          /* next fit: where the last block taken ended */
	size_t looked;                            /* at so many HOLEs did all searches look */
	size_t main_nodes, mapped_bytes, process_bytes, peak_process_bytes;
	int error;
	char message[160];
};

/* An empty heap, and the end of one. */
struct textbook *textbook_start(const struct textbook_options *options);
void textbook_finish(struct textbook *heap);

/* The functions of mems.h of the same names. */
uintptr_t textbook_malloc(struct textbook *heap, size_t size);
uintptr_t textbook_aligned_alloc(struct textbook *heap, size_t alignment, size_t size);
uintptr_t textbook_realloc(struct textbook *heap, uintptr_t address, size_t size);
void textbook_free(struct textbook *heap, uintptr_t address);

/* Empties the quick lists: all that they remember is merged. */
void textbook_trim(struct textbook *heap);

/* ---- Looking: textbook_look.c ---- */

/* Notes that no block that is in use starts at an address, with a message that says what is there
 * instead. Returns 0. */
uintptr_t textbook_misuse(struct textbook *heap, const char *function, uintptr_t address);

/* The functions of mems.h of the same names. The physical addresses are NULL. */
void textbook_print_stats(const struct textbook *heap, FILE *out);
void textbook_get_stats(const struct textbook *heap, struct mems_stats *stats);
int textbook_walk(const struct textbook *heap, mems_visitor *visit, void *context);
int textbook_segment_at(const struct textbook *heap, uintptr_t address,
                        struct mems_segment *segment);

#endif
