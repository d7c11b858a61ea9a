/*
 * The obvious twin of MeMS: a plain doubly linked list of main nodes, in each of which a plain
 * doubly linked list of segments tiles the node. It allocates every segment with malloc, and keeps
 * the contents of the blocks in buffers of its own. Nothing here is clever: it is the contract,
 * written down once more. Under quick fit a freed block stays a segment of its own, in a plain list
 * of the remembered blocks of its size, until all that is remembered is merged; only what is shown
 * joins it with its neighbours.
 *
 * For heaps of many segments they are in a tree as well (tree.h), which finds a segment by its
 * address, and the first HOLE that is large enough. With options.is_doubtful every answer of the
 * tree is compared with that of a walk from the first segment on.
 *
 * Addresses are numbers. A call that fails returns 0 and leaves its error number in model->error,
 * which is 0 after a success; a misuse leaves its message in model->message, which is empty
 * otherwise.
 */
#ifndef MODEL_H
#define MODEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "mems.h"

struct model_segment {
	struct model_segment *previous; /* in the same node; NULL for its first */
	struct model_segment *next;     /* in the same node; NULL for its last */
	struct model_node *node;
	enum mems_segment_type type;
	bool is_remembered;             /* a HOLE that is in a bin, and not yet merged for good */
	struct model_segment *below;    /* in that bin: the one remembered before; NULL for none */
	uintptr_t start;                /* first virtual address */
	size_t size;                    /* bytes */
	unsigned char *bytes;           /* the contents of a PROCESS segment, NULL for a HOLE */

	struct model_segment *parent;   /* in the tree; NULL for its root */
	struct model_segment *left;     /* segments of lower addresses, and */
	struct model_segment *right;    /* of higher ones; NULL for none */
	uint32_t priority;              /* none below has a higher one */
	size_t largest;                 /* the most room of a segment here or below */
};

struct tree {
	struct model_segment *root;     /* NULL where there is no segment */
	size_t count;                   /* segments */
	uint64_t random;                /* for priorities */
};

struct model_node {
	struct model_node *previous;    /* NULL for the first */
	struct model_node *next;        /* NULL for the last */
	struct model_segment *first;
	uintptr_t start;                /* first virtual address */
	size_t size;                    /* bytes, whole pages */
	size_t index;                   /* from 0 */
};

/* Remembered blocks of one size, the last one on top. */
struct model_bin {
	struct model_segment *top;      /* NULL for an empty bin */
	size_t size;                    /* bytes; 0 before the first block of a bin that is shared */
	size_t misses;                  /* requests of this size that found the bin empty */
};

/* The numbers of the rules. Sizes are in bytes. */
enum {
	MODEL_GROWTH_DIVISOR = 8,       /* a node has at least this part of the pages mapped, */
	MODEL_QUICK_PAGES = 16,         /* and under quick fit this many */
	MODEL_LARGEST_REMEMBERED = 64 << 10, /* of one block */
	MODEL_LONGEST_RUN = 32,         /* blocks, */
	MODEL_LARGEST_RUN = 4 << 10,    /* and bytes of them all */
	MODEL_LEAST_MERGED = 256 << 10, /* so much must be remembered before merging is worth a try, */
	MODEL_MOST_MERGED = 1 << 20,    /* after merges that did not help up to so much, */
	MODEL_MERGED_DIVISOR = 16,      /* and this part of what is mapped */
	MODEL_OWN_BINS = 1024,          /* for the sizes of 1 to 1024 alignments, one each */
	MODEL_SHARED_BINS = 128         /* for larger sizes, one size at a time in each */
};

struct model_options {
	enum mems_policy policy;
	size_t alignment;
	size_t start_address;
	size_t page_bytes;
	size_t limit_bytes;             /* 0: no limit */
	bool has_no_contents;           /* blocks have no buffers: for heaps larger than the memory */
	bool is_doubtful;               /* compares the tree with a walk, for small heaps */
};

struct model {
	struct model_options options;
	struct model_node *first;       /* NULL while the heap is empty */
	struct model_node *last;
	struct tree segments;
	struct model_bin bins[MODEL_OWN_BINS + MODEL_SHARED_BINS]; /* empty but under quick fit */
	size_t least_merged;            /* bytes: MODEL_LEAST_MERGED, or more after vain merges */
	size_t merged_at;               /* bytes mapped at the last of these; 0 before the first */
	size_t process_bytes;
	size_t remembered_bytes;        /* in HOLEs that placement may not use yet */
	size_t peak_process_bytes;
	size_t peak_mapped_bytes;
	uintptr_t physical;             /* address of the first byte, as the library has it; 0 at first */
	bool is_started;                /* from model_start to model_finish */
	bool has_noted_merge;           /* the last call merged what a recording notes: a line g */
	int error;
	char message[200];
};

/* Starts an empty heap, and frees all that it holds. */
void model_start(struct model *model, const struct model_options *options);
void model_finish(struct model *model);

/* The functions of mems.h of the same names. */
uintptr_t model_malloc(struct model *model, size_t size);
uintptr_t model_calloc(struct model *model, size_t count, size_t size);
uintptr_t model_realloc(struct model *model, uintptr_t address, size_t size);
uintptr_t model_aligned_alloc(struct model *model, size_t alignment, size_t size);
void model_free(struct model *model, uintptr_t address);
size_t model_usable_size(struct model *model, uintptr_t address);
void model_trim(struct model *model);
void model_get_stats(const struct model *model, struct mems_stats *stats);
void model_print(const struct model *model, FILE *out);

/* Bytes that placement may use: none in a PROCESS segment or a remembered block. */
static inline size_t model_room(const struct model_segment *segment)
{
	return segment->type == MEMS_HOLE && !segment->is_remembered ? segment->size : 0;
}

/* The most of it in one HOLE, and where the heap ends. */
size_t model_largest_room(const struct model *model);
uintptr_t model_end(const struct model *model);

/* Whether a live block starts at the address, and whether model_realloc would have to move it. */
bool model_is_live(const struct model *model, uintptr_t address);
bool model_would_move(const struct model *model, uintptr_t address, size_t size);

/* Whether a range lies in one PROCESS segment, else EFAULT; and its bytes, NULL where it does
 * not. */
bool model_has_range(struct model *model, uintptr_t address, size_t size);
unsigned char *model_get_range(struct model *model, uintptr_t address, size_t size);

/* The chain as it is shown: the first segment of each that is shown, NULL behind the last, and what
 * is shown then, without the physical address. */
const struct model_segment *model_first(const struct model *model);
const struct model_segment *model_next(const struct model_segment *segment);
struct mems_segment model_shown(const struct model_segment *first);

/* The segment, as it is shown, that holds the address. */
bool model_segment_at(struct model *model, uintptr_t address, struct mems_segment *segment);

#endif
