/* Where each policy places blocks, fast. See placer.h; textbook.h has the rules. */
#include "placer.h"

#include <stdlib.h>

#include "ranges.h"

/* ---- The heap -------------------------------------------------------------------------------- */

/* A block that quick fit remembers: a link of its list, which has the number of the next plus 1. */
struct quick_link {
	uintptr_t start;
	size_t next; /* 0 at the end */
};

struct placer {
	struct textbook_options options;
	struct ranges holes; /* that searches find */
	struct ranges shown; /* quick fit: what is free, the remembered merged with their neighbours */
	uintptr_t *nodes;       /* where each main node starts, in order */
	size_t node_count, node_room;
	uintptr_t rover;        /* next fit: where the last block taken ended */
	size_t looked, mapped_bytes, process_bytes;
	size_t quick[QUICK_LARGEST + 1]; /* the quick lists, by size / alignment */
	struct quick_link *pool;         /* their links */
	size_t pool_count, pool_room;
	size_t unused_links; /* of the pool: a list of its own */
	size_t quick_blocks;
};

static bool is_quick_fit(const struct placer *placer)
{
	return placer->options.policy == QUICK_FIT;
}

static uintptr_t end_of(const struct ranges *list, struct place place)
{
	return *ranges_start(list, place) + *ranges_size(list, place);
}

/* Does a main node start at an address? */
static bool is_border(const struct placer *placer, uintptr_t address)
{
	size_t before = sorted_before(placer->nodes, placer->node_count, address);

	return before < placer->node_count && placer->nodes[before] == address;
}

/* Makes a range free, and merges it with what is free beside it in its main node.
 *   [ free ][ range ][ free ]  =>  [ --------- free -------- ] */
static void range_release(const struct placer *placer, struct ranges *list, uintptr_t start,
                          size_t size)
{
	struct place right = ranges_at(list, start), left = right;
	bool is_right = !ranges_is_end(list, right) && *ranges_start(list, right) == start + size &&
	                !is_border(placer, start + size);
	bool is_left = right.chunk + right.index > 0;

	if (is_left)
		left = ranges_before(list, right);
	is_left = is_left && end_of(list, left) == start && !is_border(placer, start);
	if (is_left && is_right) {
		size += *ranges_size(list, right);
		ranges_remove(list, right);
		ranges_set(list, left, *ranges_start(list, left), *ranges_size(list, left) + size);
	} else if (is_left) {
		ranges_set(list, left, *ranges_start(list, left), *ranges_size(list, left) + size);
	} else if (is_right) {
		ranges_set(list, right, start, size + *ranges_size(list, right));
	} else {
		ranges_add(list, right, start, size);
	}
}

/* Takes a part of a free range: what lies before and behind it stays. */
static void range_take(struct ranges *list, struct place place, uintptr_t start, size_t size)
{
	size_t gap = start - *ranges_start(list, place), rest = *ranges_size(list, place) - gap - size;

	if (gap > 0 && rest > 0)
		ranges_add(list, (struct place){place.chunk, place.index + 1}, start + size, rest);
	if (gap > 0 && rest > 0)
		place = ranges_before(list, ranges_at(list, start));
	if (gap > 0)
		ranges_set(list, place, start - gap, gap);
	else if (rest > 0)
		ranges_set(list, place, start + size, rest);
	else
		ranges_remove(list, place);
}

/* The same where the range that has it is to be found. */
static void range_take_at(struct ranges *list, uintptr_t start, size_t size)
{
	struct place place = ranges_at(list, start);

	if (ranges_is_end(list, place) || *ranges_start(list, place) > start)
		place = ranges_before(list, place);
	range_take(list, place, start, size);
}

/* ---- The search ------------------------------------------------------------------------------ */

struct request {
	size_t size, alignment; /* bytes */
	bool is_move;           /* of a block that grows */
};

static size_t gap_before(const struct placer *placer, uintptr_t start, size_t alignment)
{
	return (placer->options.start - start) & (alignment - 1);
}

static bool is_fit(const struct placer *placer, uintptr_t start, size_t size,
                   const struct request *request)
{
	return request->size <= size &&
	       gap_before(placer, start, request->alignment) <= size - request->size;
}

/* The first HOLE from a place on that fits, or the end of the list. */
static struct place first_from(const struct placer *placer, struct place from,
                               const struct request *request)
{
	const struct ranges *list = &placer->holes;

	for (size_t index = from.index; !ranges_is_end(list, from); from.chunk++, index = 0) {
		const struct summary *summary = &list->chunks[from.chunk];

		if (summary->largest < request->size)
			continue;
		for (; index < summary->count; index++)
			if (is_fit(placer, summary->chunk->starts[index], summary->chunk->sizes[index], request))
				return (struct place){from.chunk, index};
	}
	return (struct place){list->chunk_count, 0};
}

/* First fit, and quick fit. */
static struct place first_find(struct placer *placer, const struct request *request)
{
	struct place found = first_from(placer, (struct place){0, 0}, request);

	placer->looked += ranges_rank(&placer->holes, found) + !ranges_is_end(&placer->holes, found);
	return found;
}

static struct place next_find(struct placer *placer, const struct request *request)
{
	const struct ranges *list = &placer->holes;
	struct place from = ranges_at(list, placer->rover), found = first_from(placer, from, request);
	size_t passed = ranges_rank(list, from);

	if (!ranges_is_end(list, found)) {
		placer->looked += ranges_rank(list, found) + 1 - passed;
		return found;
	}
	found = first_from(placer, (struct place){0, 0}, request);
	placer->looked += list->count - passed;
	placer->looked += ranges_is_end(list, found) ? passed : ranges_rank(list, found) + 1;
	return found;
}

/* The index of the smallest of these sizes from one up to below another one; else count. */
static size_t smallest_of(const size_t *sizes, size_t count, size_t least, size_t below)
{
	size_t best = below, index = 0;

	for (size_t i = 0; i < count; i++) { /* without branches, for there are many */
		size_t size = sizes[i] >= least ? sizes[i] : SIZE_MAX;

		best = size < best ? size : best;
	}
	while (index < count && (best == below || sizes[index] != best))
		index++;
	return index;
}

/* Best and worst fit by looking at each HOLE: for blocks that are aligned beyond all others. */
static struct place aligned_find(const struct placer *placer, const struct request *request)
{
	const struct ranges *list = &placer->holes;
	bool is_best = placer->options.policy == BEST_FIT;
	struct place found = {list->chunk_count, 0}, place = {0, 0};
	size_t best = 0;

	for (place = first_from(placer, place, request); !ranges_is_end(list, place);
	     place.index++, place = first_from(placer, place, request)) {
		size_t size = *ranges_size(list, place);

		if (ranges_is_end(list, found) || (is_best ? size < best : size > best)) {
			found = place;
			best = size;
		}
	}
	return found;
}

static struct place best_find(const struct placer *placer, const struct request *request)
{
	const struct ranges *list = &placer->holes;
	struct place found = {list->chunk_count, 0};
	size_t best = SIZE_MAX;

	for (size_t i = 0; i < list->chunk_count && best > request->size; i++) {
		const struct summary *summary = &list->chunks[i];
		size_t index = summary->count;

		if (summary->largest >= request->size)
			index = smallest_of(summary->chunk->sizes, summary->count, request->size, best);
		if (index < summary->count) {
			found = (struct place){i, index};
			best = summary->chunk->sizes[index];
		}
	}
	return found;
}

static struct place worst_find(const struct placer *placer, const struct request *request)
{
	const struct ranges *list = &placer->holes;
	size_t largest = ranges_largest(list);
	struct place found = {0, 0};

	if (largest < request->size)
		return (struct place){list->chunk_count, 0};
	while (list->chunks[found.chunk].largest < largest)
		found.chunk++;
	while (*ranges_size(list, found) < largest)
		found.index++;
	return found;
}

/* The HOLE that the policy takes, or the end of the list. */
static struct place search(struct placer *placer, const struct request *request)
{
	bool is_aligned = request->alignment > placer->options.alignment;

	switch (placer->options.policy) {
	case FIRST_FIT:
	case QUICK_FIT: return first_find(placer, request);
	case NEXT_FIT: return next_find(placer, request);
	default: break;
	}
	placer->looked += placer->holes.count;
	if (is_aligned)
		return aligned_find(placer, request);
	return placer->options.policy == BEST_FIT ? best_find(placer, request) :
	       worst_find(placer, request);
}

/* ---- Main nodes and quick lists -------------------------------------------------------------- */

static void node_append(struct placer *placer, size_t size)
{
	uintptr_t start = placer->options.start + placer->mapped_bytes;

	if (placer->node_count == placer->node_room) {
		placer->node_room = 2 * placer->node_room + 16;
		placer->nodes = room_or_abort(placer->nodes, placer->node_room * sizeof *placer->nodes);
	}
	placer->nodes[placer->node_count++] = start;
	placer->mapped_bytes += size;
	range_release(placer, &placer->holes, start, size);
	if (is_quick_fit(placer))
		range_release(placer, &placer->shown, start, size);
}

/* Maps one more main node: false where the limit forbids it. */
static bool heap_grow(struct placer *placer, const struct request *request)
{
	size_t page = placer->options.page_size;
	size_t mapped = placer->mapped_bytes / page, most = placer->options.limit / page - mapped;
	size_t needed = request->size / page + (request->size % page != 0);
	size_t wanted = request->is_move ? needed + needed / 2 : needed;

	if (wanted < mapped / 8)
		wanted = mapped / 8;
	if (wanted < 16 && is_quick_fit(placer))
		wanted = 16;
	if (needed > most)
		return false;
	node_append(placer, (wanted > most ? needed : wanted) * page);
	return true;
}

/* The quick list for blocks of a size; NULL where these are not remembered. */
static size_t *quick_list(struct placer *placer, size_t size)
{
	bool has_list = is_quick_fit(placer) && size <= QUICK_LARGEST;

	return has_list ? &placer->quick[size / placer->options.alignment] : NULL;
}

static uintptr_t quick_pop(struct placer *placer, size_t *list)
{
	size_t number = *list;
	struct quick_link *link = &placer->pool[number - 1];

	*list = link->next;
	link->next = placer->unused_links;
	placer->unused_links = number;
	placer->quick_blocks--;
	return link->start;
}

static void quick_push(struct placer *placer, size_t *list, uintptr_t start)
{
	size_t number = placer->unused_links;

	if (number == 0 && placer->pool_count == placer->pool_room) {
		placer->pool_room = 2 * placer->pool_room + 64;
		placer->pool = room_or_abort(placer->pool, placer->pool_room * sizeof *placer->pool);
	}
	if (number == 0)
		number = ++placer->pool_count;
	else
		placer->unused_links = placer->pool[number - 1].next;
	placer->pool[number - 1] = (struct quick_link){start, *list};
	*list = number;
	placer->quick_blocks++;
}

void placer_trim(struct placer *placer)
{
	for (size_t i = 0; placer->quick_blocks > 0; i++)
		while (placer->quick[i] != 0)
			range_release(placer, &placer->holes, quick_pop(placer, &placer->quick[i]),
			              i * placer->options.alignment);
}

/* ---- Blocks ---------------------------------------------------------------------------------- */

/* Takes part of the HOLE at a place. */
static void hole_take(struct placer *placer, struct place place, uintptr_t start, size_t size)
{
	range_take(&placer->holes, place, start, size);
	if (is_quick_fit(placer))
		range_take_at(&placer->shown, start, size);
}

/* Makes a HOLE that merges at once. */
static void hole_make(struct placer *placer, uintptr_t start, size_t size)
{
	range_release(placer, &placer->holes, start, size);
	if (is_quick_fit(placer))
		range_release(placer, &placer->shown, start, size);
}

/* The start of a block in a HOLE, or 0. */
static uintptr_t hole_obtain(struct placer *placer, const struct request *request)
{
	struct place hole = search(placer, request);
	uintptr_t start;

	if (ranges_is_end(&placer->holes, hole) && placer->quick_blocks > 0) {
		placer_trim(placer);
		hole = search(placer, request);
	}
	if (ranges_is_end(&placer->holes, hole)) {
		if (!heap_grow(placer, request))
			return 0;
		hole = ranges_before(&placer->holes, (struct place){placer->holes.chunk_count, 0});
	}
	start = *ranges_start(&placer->holes, hole);
	start += gap_before(placer, start, request->alignment);
	hole_take(placer, hole, start, request->size);
	return start;
}

static bool block_take(struct placer *placer, struct placed *block, const struct request *request)
{
	size_t *list = quick_list(placer, request->size);
	bool is_quick = list != NULL && *list != 0 && request->alignment <= placer->options.alignment;
	uintptr_t start = is_quick ? quick_pop(placer, list) : hole_obtain(placer, request);

	placer->looked += is_quick;
	if (start == 0)
		return false;
	if (is_quick)
		range_take_at(&placer->shown, start, request->size);
	*block = (struct placed){start, request->size};
	placer->rover = start + request->size;
	placer->process_bytes += request->size;
	return true;
}

/* Takes the low end of the HOLE on the right: false where there is no room. */
static bool block_grow(struct placer *placer, struct placed *block, size_t size)
{
	uintptr_t end = block->start + block->size;
	struct place right = ranges_at(&placer->holes, end);
	size_t more = size - block->size;

	if (ranges_is_end(&placer->holes, right) || *ranges_start(&placer->holes, right) != end ||
	    *ranges_size(&placer->holes, right) < more || is_border(placer, end))
		return false;
	hole_take(placer, right, end, more);
	placer->process_bytes += more;
	block->size = size;
	return true;
}

static bool block_move(struct placer *placer, struct placed *block, size_t size)
{
	struct placed old = *block;

	if (!block_take(placer, block, &(struct request){size, 1, .is_move = true}))
		return false;
	placer_free(placer, &old);
	return true;
}

/* Up to a multiple of the alignment. A size for which that overflows stays: it never fits. */
static size_t rounded(const struct placer *placer, size_t size)
{
	size_t more = placer->options.alignment - 1;

	return size > SIZE_MAX - more ? size : (size + more) & ~more;
}

/* ---- The functions of placer.h --------------------------------------------------------------- */

struct placer *placer_start(const struct textbook_options *options)
{
	struct placer *new = calloc(1, sizeof *new);

	if (new == NULL)
		abort();
	new->options = *options;
	if (options->limit == 0)
		new->options.limit = SIZE_MAX / 4; /* that is never reached */
	return new;
}

void placer_finish(struct placer *placer)
{
	ranges_release(&placer->holes);
	ranges_release(&placer->shown);
	free(placer->nodes);
	free(placer->pool);
	free(placer);
}

bool placer_take(struct placer *placer, struct placed *block, size_t size, size_t alignment)
{
	return alignment <= placer->options.page_size &&
	       block_take(placer, block, &(struct request){rounded(placer, size), alignment,
	                                                   .is_move = false});
}

bool placer_resize(struct placer *placer, struct placed *block, size_t size)
{
	size = rounded(placer, size);
	if (size > block->size)
		return block_grow(placer, block, size) || block_move(placer, block, size);
	if (size < block->size) {
		placer->process_bytes -= block->size - size;
		hole_make(placer, block->start + size, block->size - size);
		block->size = size;
	}
	return true;
}

void placer_free(struct placer *placer, struct placed *block)
{
	size_t *list = quick_list(placer, block->size);

	placer->process_bytes -= block->size;
	if (list == NULL) {
		hole_make(placer, block->start, block->size);
	} else {
		quick_push(placer, list, block->start);
		range_release(placer, &placer->shown, block->start, block->size);
	}
	*block = (struct placed){0, 0};
}

size_t placer_looked(const struct placer *placer)
{
	return placer->looked;
}

void placer_get_stats(const struct placer *placer, struct mems_stats *stats)
{
	const struct ranges *shown = is_quick_fit(placer) ? &placer->shown : &placer->holes;

	*stats = (struct mems_stats){
		.pages = placer->mapped_bytes / placer->options.page_size,
		.mapped_bytes = placer->mapped_bytes,
		.process_bytes = placer->process_bytes,
		.hole_bytes = placer->mapped_bytes - placer->process_bytes,
		.hole_segments = shown->count,
		.largest_hole = ranges_largest(shown),
		.main_nodes = placer->node_count,
	};
}
