/* The heap of the textbooks: five policies, three kinds of lists. textbook.h explains all of it. */
#include "textbook.h"

#include <errno.h>
#include <stdlib.h>

/* What is searched for. */
struct request {
	size_t size, alignment; /* bytes */
	bool is_move;           /* of a block that grows */
};

static void *memory_or_abort(size_t size)
{
	void *memory = calloc(1, size);

	if (memory == NULL)
		abort();
	return memory;
}

/* ---- The lists ------------------------------------------------------------------------------- */

static void hole_link(struct segment *hole, struct segment *next)
{
	hole->next_free = next;
	hole->previous_free = next->previous_free;
	hole->previous_free->next_free = hole;
	next->previous_free = hole;
}

static void hole_unlink(struct segment *hole)
{
	hole->previous_free->next_free = hole->next_free;
	hole->next_free->previous_free = hole->previous_free;
}

/* The first HOLE to the right of a segment, in whichever node; else the head of the list. */
static struct segment *hole_after(struct textbook *heap, const struct segment *from)
{
	const struct node *node = from->node;
	struct segment *next = from->next;

	while (next == NULL || next->kind != HOLE) {
		if (next == NULL && node->next == NULL)
			return &heap->holes;
		next = next != NULL ? next->next : (node = node->next)->first;
	}
	return next;
}

static struct segment *segment_new(struct node *node, enum kind kind, uintptr_t start, size_t size)
{
	struct segment *new = memory_or_abort(sizeof *new);

	*new = (struct segment){.node = node, .kind = kind, .start = start, .size = size};
	return new;
}

/* Cuts a segment in two of its kind: this size, and the rest, which is returned. */
static struct segment *segment_split(struct segment *first, size_t size)
{
	struct segment *rest = segment_new(first->node, first->kind, first->start + size,
	                                   first->size - size);

	rest->previous = first;
	rest->next = first->next;
	if (rest->next != NULL)
		rest->next->previous = rest;
	first->next = rest;
	first->size = size;
	if (first->kind == HOLE)
		hole_link(rest, first->next_free);
	return rest;
}

/* The other way round: a segment swallows the one on its right. */
static void segment_merge(struct segment *first)
{
	struct segment *rest = first->next;

	if (rest->kind == HOLE)
		hole_unlink(rest);
	first->size += rest->size;
	first->next = rest->next;
	if (first->next != NULL)
		first->next->previous = first;
	free(rest);
}

static bool is_hole(const struct segment *segment)
{
	return segment != NULL && segment->kind == HOLE;
}

/* Makes a HOLE of a segment, and merges it with those beside it. */
static void hole_make(struct textbook *heap, struct segment *segment)
{
	segment->kind = HOLE;
	hole_link(segment, hole_after(heap, segment));
	if (is_hole(segment->next))
		segment_merge(segment);
	if (is_hole(segment->previous))
		segment_merge(segment->previous);
}

/* Makes a PROCESS of part of a HOLE. The gap before it and what is left behind it stay HOLEs. */
static struct segment *hole_take(struct segment *hole, size_t gap, size_t size)
{
	struct segment *block = gap == 0 ? hole : segment_split(hole, gap);

	if (block->size > size)
		segment_split(block, size);
	hole_unlink(block);
	block->kind = PROCESS;
	return block;
}

/* A new main node, the last of the main chain: its HOLE. */
static struct segment *node_append(struct textbook *heap, size_t size)
{
	struct node *new = memory_or_abort(sizeof *new);

	new->start = heap->options.start + heap->mapped_bytes;
	new->size = size;
	new->first = segment_new(new, HOLE, new->start, size);
	new->previous = heap->last;
	new->index = heap->main_nodes++;
	*(heap->last == NULL ? &heap->first : &heap->last->next) = new;
	heap->last = new;
	heap->mapped_bytes += size;
	hole_link(new->first, &heap->holes);
	return new->first;
}

/* ---- The search ------------------------------------------------------------------------------ */

/* Bytes from the start of a HOLE to an aligned place. The heap itself starts at one. */
static size_t gap_before(const struct textbook *heap, const struct segment *hole, size_t alignment)
{
	return (heap->options.start - hole->start) & (alignment - 1);
}

static bool is_fit(const struct textbook *heap, const struct segment *hole,
                   const struct request *request)
{
	return request->size <= hole->size &&
	       gap_before(heap, hole, request->alignment) <= hole->size - request->size;
}

/* Where in the ring the search begins: at the head, or at the first HOLE behind the rover. */
static struct segment *search_start(struct textbook *heap)
{
	struct segment *start = &heap->holes;

	if (heap->options.policy == NEXT_FIT)
		do
			start = start->next_free;
		while (start != &heap->holes && start->start < heap->rover);
	return start;
}

/* Does best or worst fit prefer this HOLE to the one found so far? */
static bool is_better(const struct textbook *heap, const struct segment *hole,
                      const struct segment *found)
{
	if (found == NULL)
		return true;
	return heap->options.policy == BEST_FIT ? hole->size < found->size : hole->size > found->size;
}

/* Goes once round the ring, or to the first fit: the HOLE that the policy takes, or NULL. */
static struct segment *search(struct textbook *heap, const struct request *request)
{
	bool is_first = heap->options.policy != BEST_FIT && heap->options.policy != WORST_FIT;
	struct segment *start = search_start(heap), *hole = start, *found = NULL;

	do {
		heap->looked += hole != &heap->holes;
		if (hole != &heap->holes && is_fit(heap, hole, request) && is_better(heap, hole, found))
			found = hole;
		hole = hole->next_free;
	} while (hole != start && (found == NULL || !is_first));
	return found;
}

/* The HOLE of a new main node, or NULL where the limit forbids it. */
static struct segment *heap_grow(struct textbook *heap, const struct request *request)
{
	size_t page = heap->options.page_size;
	size_t mapped = heap->mapped_bytes / page, most = heap->options.limit / page - mapped;
	size_t needed = request->size / page + (request->size % page != 0);
	size_t wanted = request->is_move ? needed + needed / 2 : needed;

	if (wanted < mapped / 8)
		wanted = mapped / 8;
	if (wanted < 16 && heap->options.policy == QUICK_FIT)
		wanted = 16;
	if (needed > most)
		return NULL;
	return node_append(heap, (wanted > most ? needed : wanted) * page);
}

/* ---- Blocks ---------------------------------------------------------------------------------- */

/* The quick list for blocks of a size; NULL where these are not remembered. */
static struct segment **quick_list(struct textbook *heap, size_t size)
{
	bool has_list = heap->options.policy == QUICK_FIT && size <= QUICK_LARGEST;

	return has_list ? &heap->quick[size / heap->options.alignment] : NULL;
}

static struct segment *quick_pop(struct textbook *heap, struct segment **list)
{
	struct segment *block = *list;

	*list = block->next_free;
	heap->quick_blocks--;
	block->kind = PROCESS;
	return block;
}

void textbook_trim(struct textbook *heap)
{
	for (size_t i = 0; heap->quick_blocks > 0; i++)
		while (heap->quick[i] != NULL)
			hole_make(heap, quick_pop(heap, &heap->quick[i]));
}

static void process_add(struct textbook *heap, size_t size)
{
	heap->process_bytes += size;
	if (heap->process_bytes > heap->peak_process_bytes)
		heap->peak_process_bytes = heap->process_bytes;
}

/* A block in a HOLE, or NULL where there can be none. */
static struct segment *hole_obtain(struct textbook *heap, const struct request *request)
{
	struct segment *hole = search(heap, request);

	if (hole == NULL && heap->quick_blocks > 0) {
		textbook_trim(heap);
		hole = search(heap, request);
	}
	if (hole == NULL && (hole = heap_grow(heap, request)) == NULL)
		return NULL;
	return hole_take(hole, gap_before(heap, hole, request->alignment), request->size);
}

/* A block that was remembered, or else in a HOLE. */
static struct segment *block_take(struct textbook *heap, const struct request *request)
{
	struct segment **list = quick_list(heap, request->size), *block;
	bool is_quick = list != NULL && *list != NULL && request->alignment <= heap->options.alignment;

	heap->looked += is_quick;
	block = is_quick ? quick_pop(heap, list) : hole_obtain(heap, request);
	if (block == NULL)
		return NULL;
	heap->rover = block->start + block->size;
	process_add(heap, block->size);
	return block;
}

static void block_release(struct textbook *heap, struct segment *block)
{
	struct segment **list = quick_list(heap, block->size);

	heap->process_bytes -= block->size;
	if (list == NULL) {
		hole_make(heap, block);
	} else {
		block->kind = QUICK;
		block->next_free = *list;
		*list = block;
		heap->quick_blocks++;
	}
}

/* Takes the low end of the HOLE on the right, and merges with it: false where there is no room. */
static bool block_grow(struct textbook *heap, struct segment *block, size_t size)
{
	size_t more = size - block->size;

	if (!is_hole(block->next) || block->next->size < more)
		return false;
	hole_take(block->next, 0, more);
	segment_merge(block);
	process_add(heap, more);
	return true;
}

static struct segment *block_resize(struct textbook *heap, struct segment *block, size_t size)
{
	struct segment *moved = block;

	if (size < block->size) {
		heap->process_bytes -= block->size - size;
		hole_make(heap, segment_split(block, size));
	} else if (size > block->size && !block_grow(heap, block, size)) {
		moved = block_take(heap, &(struct request){size, 1, .is_move = true});
		if (moved != NULL)
			block_release(heap, block);
	}
	return moved;
}

/* The block in use that starts at an address, or NULL. */
static struct segment *block_at(const struct textbook *heap, uintptr_t address)
{
	struct node *node = heap->first;
	struct segment *found;

	while (node != NULL && address - node->start >= node->size)
		node = node->next;
	found = node == NULL ? NULL : node->first;
	while (found != NULL && (found->start != address || found->kind != PROCESS))
		found = found->next;
	return found;
}

/* ---- The functions of mems.h ----------------------------------------------------------------- */

struct textbook *textbook_start(const struct textbook_options *options)
{
	struct textbook *new = memory_or_abort(sizeof *new);

	new->options = *options;
	if (options->limit == 0)
		new->options.limit = SIZE_MAX / 4; /* that is never reached */
	new->holes.next_free = new->holes.previous_free = &new->holes;
	return new;
}

void textbook_finish(struct textbook *heap)
{
	for (struct node *node; (node = heap->first) != NULL; free(node)) {
		heap->first = node->next;
		for (struct segment *segment; (segment = node->first) != NULL; free(segment))
			node->first = segment->next;
	}
	free(heap);
}

/* Up to a multiple of the alignment. A size for which that overflows stays: it never fits. */
static size_t rounded(const struct textbook *heap, size_t size)
{
	size_t more = heap->options.alignment - 1;

	return size > SIZE_MAX - more ? size : (size + more) & ~more;
}

static uintptr_t answer(struct textbook *heap, const struct segment *block, int error)
{
	heap->error = block == NULL ? error : 0;
	return block == NULL ? 0 : block->start;
}

uintptr_t textbook_aligned_alloc(struct textbook *heap, size_t alignment, size_t size)
{
	bool is_power_of_two = alignment != 0 && (alignment & (alignment - 1)) == 0;
	struct request request = {rounded(heap, size), alignment, .is_move = false};

	if (size == 0 || !is_power_of_two || alignment > heap->options.page_size)
		return answer(heap, NULL, EINVAL);
	return answer(heap, block_take(heap, &request), ENOMEM);
}

uintptr_t textbook_malloc(struct textbook *heap, size_t size)
{
	return textbook_aligned_alloc(heap, 1, size);
}

uintptr_t textbook_realloc(struct textbook *heap, uintptr_t address, size_t size)
{
	struct segment *block = block_at(heap, address);

	if (address == 0)
		return textbook_malloc(heap, size);
	if (block == NULL)
		return textbook_misuse(heap, "mems_realloc", address);
	if (size == 0)
		return answer(heap, NULL, EINVAL);
	return answer(heap, block_resize(heap, block, rounded(heap, size)), ENOMEM);
}

void textbook_free(struct textbook *heap, uintptr_t address)
{
	struct segment *block = block_at(heap, address);

	heap->error = 0;
	if (block != NULL)
		block_release(heap, block);
	else if (address != 0)
		textbook_misuse(heap, "mems_free", address);
}
