/* The slow, obvious twin of MeMS; see model.h. Numbers in brackets are rules of placement. */
#define _GNU_SOURCE
#include "model.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* ---- Segments and nodes ------------------------------------------------------------------ */

static void *must(void *memory)
{
	if (memory == NULL) {
		fputs("the model is out of memory\n", stderr);
		abort();
	}
	return memory;
}

/* Memory that was resized, zeroed where it is new (from NULL). Leaves errno alone, which a
 * successful malloc need not do. */
static void *resized(void *memory, size_t size)
{
	const int error = errno;
	void *const result = must(memory == NULL ? calloc(1, size) : realloc(memory, size));
	errno = error;
	return result;
}

static struct model_segment *segment_new(struct model_node *node, uintptr_t start, size_t size)
{
	struct model_segment *const segment = resized(NULL, sizeof *segment);
	segment->node = node;
	segment->type = MEMS_HOLE;
	segment->start = start;
	segment->size = size;
	return segment;
}

/* Puts a HOLE behind the segment: all of it from size on. */
static void segment_split(struct model_segment *segment, size_t size)
{
	if (segment->size == size)
		return;
	struct model_segment *const rest =
		segment_new(segment->node, segment->start + size, segment->size - size);
	rest->previous = segment;
	rest->next = segment->next;
	if (rest->next != NULL)
		rest->next->previous = rest;
	segment->next = rest;
	segment->size = size;
}

/* The segment swallows the one behind it. */
static void segment_join_next(struct model_segment *segment)
{
	struct model_segment *const swallowed = segment->next;
	segment->size += swallowed->size;
	segment->next = swallowed->next;
	if (segment->next != NULL)
		segment->next->previous = segment;
	free(swallowed);
}

static bool is_hole(const struct model_segment *segment)
{
	return segment != NULL && segment->type == MEMS_HOLE;
}

/* A HOLE that placement may use. */
static bool is_merged_hole(const struct model_segment *segment)
{
	return is_hole(segment) && !segment->is_remembered;
}

/* [4] Two such HOLEs are never neighbours in one node; the lists of two nodes are not linked. */
static void hole_merge(struct model_segment *hole)
{
	if (is_merged_hole(hole->next))
		segment_join_next(hole);
	if (is_merged_hole(hole->previous))
		segment_join_next(hole->previous);
}

/* The segment after this one, in the next node if need be. */
static struct model_segment *segment_after(const struct model_segment *segment)
{
	if (segment->next != NULL)
		return segment->next;
	const struct model_node *const node = segment->node->next;
	return node == NULL ? NULL : node->first;
}

static struct model_segment *segment_first(const struct model *model)
{
	return model->first == NULL ? NULL : model->first->first;
}

static bool segment_contains(const struct model_segment *segment, uintptr_t address)
{
	return address >= segment->start && address - segment->start < segment->size;
}

static struct model_segment *segment_holding(const struct model *model, uintptr_t address)
{
	struct model_segment *segment = segment_first(model);
	while (segment != NULL && !segment_contains(segment, address))
		segment = segment_after(segment);
	return segment;
}

/* The live block that starts at the address, or NULL. */
static struct model_segment *block_at(const struct model *model, uintptr_t address)
{
	struct model_segment *const segment = segment_holding(model, address);
	if (segment == NULL || is_hole(segment) || segment->start != address)
		return NULL;
	return segment;
}

static size_t larger(size_t a, size_t b)
{
	return a > b ? a : b;
}

/* ---- Counting ---------------------------------------------------------------------------- */

static size_t mapped_bytes(const struct model *model)
{
	if (model->last == NULL)
		return 0;
	return model->last->start + model->last->size - model->first->start;
}

static size_t process_bytes(const struct model *model)
{
	size_t bytes = 0;
	for (const struct model_segment *segment = segment_first(model); segment != NULL;
	     segment = segment_after(segment))
		bytes += is_hole(segment) ? 0 : segment->size;
	return bytes;
}

static void peaks_update(struct model *model)
{
	const size_t process = process_bytes(model);
	const size_t mapped = mapped_bytes(model);
	if (model->peak_process_bytes < process)
		model->peak_process_bytes = process;
	if (model->peak_mapped_bytes < mapped)
		model->peak_mapped_bytes = mapped;
}

/* ---- Growth ------------------------------------------------------------------------------ */

static bool is_within_limit(const struct model *model, size_t pages)
{
	const size_t page = model->options.page_bytes;
	const size_t limit = model->options.limit_bytes;
	if (limit == 0)
		return pages <= SIZE_MAX / 4 / page; /* the test asks for far less or for far more */
	return pages <= limit / page - mapped_bytes(model) / page;
}

static struct model_segment *node_append(struct model *model, size_t pages)
{
	struct model_node *const node = resized(NULL, sizeof *node);
	node->start = model->options.start_address + mapped_bytes(model);
	node->size = pages * model->options.page_bytes;
	node->first = segment_new(node, node->start, node->size);
	node->previous = model->last;
	if (node->previous == NULL) {
		model->first = node;
	} else {
		node->previous->next = node;
		node->index = node->previous->index + 1;
	}
	model->last = node;
	return node->first;
}

/* What placement is asked for. */
struct request {
	size_t alignment;       /* of the physical address */
	size_t size;            /* bytes, rounded up */
	bool is_growing;        /* for a block that moves because it grows */
};

/* [3] A node of the pages needed, half as many again for a block that moves because it grows, or
 * an eighth of the pages mapped; where that is refused, of the pages needed. One HOLE. */
static struct model_segment *heap_grow(struct model *model, struct request request)
{
	const size_t page = model->options.page_bytes;
	const size_t needed = request.size / page + (request.size % page != 0);
	size_t wanted = request.is_growing ? needed + needed / 2 : needed;
	wanted = larger(wanted, mapped_bytes(model) / page / MODEL_GROWTH_DIVISOR);
	if (wanted > needed && is_within_limit(model, wanted))
		return node_append(model, wanted);
	return is_within_limit(model, needed) ? node_append(model, needed) : NULL;
}

/* ---- Placement --------------------------------------------------------------------------- */

/* [1] Rounded up to the alignment; where that overflows, down: no heap has room for either. */
static size_t rounded_size(const struct model *model, size_t size)
{
	const size_t alignment = model->options.alignment;
	const size_t rest = size % alignment;
	return rest == 0 || size > SIZE_MAX - alignment ? size - rest : size - rest + alignment;
}

/* Bytes from the start of the segment to the first aligned one. The first node is physically
 * aligned to the page, so distances from its start are as good as physical addresses. */
static size_t gap_before(const struct model *model, const struct model_segment *segment,
                         size_t alignment)
{
	const size_t offset = segment->start - model->first->start;
	return (alignment - offset % alignment) % alignment;
}

/* [2] The first HOLE with room for an aligned block of this size. */
static struct model_segment *hole_first_fit(const struct model *model, struct request request)
{
	struct model_segment *segment = segment_first(model);
	for (; segment != NULL; segment = segment_after(segment)) {
		if (!is_merged_hole(segment))
			continue;
		const size_t gap = gap_before(model, segment, request.alignment);
		if (gap <= segment->size && request.size <= segment->size - gap)
			return segment;
	}
	return NULL;
}

/* Hands the segment to the program. */
static void block_begin(struct model *model, struct model_segment *block)
{
	block->type = MEMS_PROCESS;
	block->bytes = resized(NULL, block->size);
	peaks_update(model);
}

/* Takes it back: a HOLE, not yet merged with its neighbours. */
static void block_end(struct model_segment *block)
{
	free(block->bytes);
	block->bytes = NULL;
	block->type = MEMS_HOLE;
}

/* Makes a block in the HOLE, at its low end; a gap before it stays a HOLE. */
static struct model_segment *hole_take(struct model *model, struct model_segment *hole,
                                       struct request request)
{
	struct model_segment *block = hole;
	const size_t gap = gap_before(model, hole, request.alignment);
	if (gap != 0) {
		segment_split(hole, gap);
		block = hole->next;
	}
	segment_split(block, request.size);
	block_begin(model, block);
	return block;
}

/* [4] The block becomes a HOLE and merges at once. */
static void first_fit_release(struct model_segment *block)
{
	block_end(block);
	hole_merge(block);
}

/* ---- Quick fit --------------------------------------------------------------------------- */

enum {
	LARGEST_REMEMBERED = 65536, /* bytes of a block */
	LONGEST_RUN = 32,           /* blocks, */
	LARGEST_RUN = 4096,         /* and bytes of them all */
	LEAST_MERGED = 262144,      /* bytes that must be remembered before merging is worth a try, */
	MERGED_PART = 16            /* and the part of the mapped bytes */
};

/* The bin in which blocks of this size are remembered, or NULL where they are not. */
static struct model_bin *bin_of(struct model *model, size_t size)
{
	const size_t units = size / model->options.alignment;
	if (size > LARGEST_REMEMBERED)
		return NULL;
	if (units <= MODEL_OWN_BINS) {
		model->bins[units - 1].size = size;
		return &model->bins[units - 1];
	}
	/* The fraction of units times the golden ratio, less 1, says which one. */
	const uint64_t fraction = (uint32_t)(units * UINT64_C(0x9E3779B1));
	return &model->bins[MODEL_OWN_BINS + (fraction * MODEL_SHARED_BINS >> 32)];
}

static void bin_push(struct model_bin *bin, struct model_segment *segment)
{
	segment->is_remembered = true;
	segment->below = bin->top;
	bin->top = segment;
}

/* The one remembered last, or NULL. */
static struct model_segment *bin_pop(struct model_bin *bin)
{
	struct model_segment *const segment = bin->top;
	if (segment != NULL) {
		bin->top = segment->below;
		segment->is_remembered = false;
	}
	return segment;
}

/* Merges for good what one bin remembers. */
static void bin_merge(struct model_bin *bin)
{
	struct model_segment *segment;
	while ((segment = bin_pop(bin)) != NULL)
		hole_merge(segment);
}

static void bins_merge(struct model *model)
{
	for (size_t i = 0; i < MODEL_OWN_BINS + MODEL_SHARED_BINS; i++)
		bin_merge(&model->bins[i]);
}

static size_t remembered_bytes(const struct model *model)
{
	size_t bytes = 0;
	for (const struct model_segment *segment = segment_first(model); segment != NULL;
	     segment = segment_after(segment))
		bytes += segment->is_remembered ? segment->size : 0;
	return bytes;
}

static size_t smaller(size_t a, size_t b)
{
	return a < b ? a : b;
}

static bool is_much_remembered(const struct model *model)
{
	const size_t remembered = remembered_bytes(model);
	return remembered >= LEAST_MERGED && remembered >= mapped_bytes(model) / MERGED_PART;
}

/* Whether an empty heap could hold so many bytes. */
static bool is_possible(const struct model *model, size_t size)
{
	const size_t limit = model->options.limit_bytes;
	const size_t page = model->options.page_bytes;
	if (limit != 0)
		return size <= limit / page * page;
	return size <= SIZE_MAX / 4 && size / model->options.alignment <= UINT32_MAX - 4095;
}

/* By first fit; before the OS is asked all that is remembered is merged, if it is much, and after
 * the OS has refused in any case. */
static struct model_segment *hole_obtain(struct model *model, struct request request)
{
	struct model_segment *hole = hole_first_fit(model, request);
	if (hole == NULL && !is_possible(model, request.size))
		return NULL;
	if (hole == NULL && is_much_remembered(model)) {
		bins_merge(model);
		hole = hole_first_fit(model, request);
	}
	if (hole == NULL)
		hole = heap_grow(model, request);
	if (hole == NULL && remembered_bytes(model) != 0) {
		bins_merge(model);
		hole = hole_first_fit(model, request);
	}
	return hole;
}

/* A bin that is shared counts for its size only while it belongs to it. */
static bool has_bin(const struct model_bin *bin, size_t size)
{
	return bin != NULL && bin->size == size;
}

/* How many blocks are cut from a HOLE at once: one for the first miss, two for the second... */
static size_t run_length(struct model_bin *bin, size_t size, size_t hole_size)
{
	if (!has_bin(bin, size))
		return 1;
	bin->misses = smaller(bin->misses + 1, LONGEST_RUN);
	const size_t most = smaller(hole_size, LARGEST_RUN) / size;
	return most == 0 ? 1 : smaller(bin->misses, most);
}

/* The blocks of the run after the first are remembered, the lowest one last.
 * NOLINTNEXTLINE(misc-no-recursion): a run is short. */
static void run_remember(struct model_bin *bin, struct model_segment *segment, size_t size,
                         size_t length)
{
	if (length == 0)
		return;
	segment_split(segment, size);
	run_remember(bin, segment->next, size, length - 1);
	bin_push(bin, segment);
}

/* The block of this size that was remembered last, else the first of a run. */
static struct model_segment *quick_fit_take(struct model *model, struct request request)
{
	struct model_bin *const bin = bin_of(model, request.size);
	struct model_segment *block = has_bin(bin, request.size) ? bin_pop(bin) : NULL;
	if (block != NULL) {
		block_begin(model, block);
		return block;
	}
	struct model_segment *const hole = hole_obtain(model, request);
	if (hole == NULL)
		return NULL;
	const size_t length = run_length(bin, request.size, hole->size);
	block = hole_take(model, hole, request);
	run_remember(bin, block->next, request.size, length - 1);
	return block;
}

static void quick_fit_release(struct model *model, struct model_segment *block)
{
	struct model_bin *const bin = bin_of(model, block->size);
	if (bin == NULL) {
		first_fit_release(block);
		return;
	}
	if (bin->size != block->size)
		bin_merge(bin);
	bin->size = block->size;
	block_end(block);
	bin_push(bin, block);
}

/* ---- Where policies differ: how a block is taken, and what becomes of it ------------------- */

static bool is_quick(const struct model *model)
{
	return model->options.policy == MEMS_QUICK_FIT;
}

/* Under quick fit, alignments that every block has need no search of their own. */
static struct model_segment *block_take(struct model *model, struct request request)
{
	if (is_quick(model) && request.alignment <= model->options.alignment)
		return quick_fit_take(model, request);
	struct model_segment *const hole = hole_obtain(model, request);
	return hole == NULL ? NULL : hole_take(model, hole, request);
}

static void block_release(struct model *model, struct model_segment *block)
{
	if (is_quick(model))
		quick_fit_release(model, block);
	else
		first_fit_release(block);
}

/* ---- Allocation -------------------------------------------------------------------------- */

static uintptr_t failed(struct model *model, int error)
{
	model->error = error;
	return 0;
}

static void succeeded(struct model *model)
{
	model->error = 0;
	model->message[0] = '\0';
}

static uintptr_t misused(struct model *model, const char *function, uintptr_t address)
{
	struct mems_segment segment;
	char where[120] = "outside the heap";
	if (model_segment_at(model, address, &segment)) {
		const bool in_hole = segment.type == MEMS_HOLE;
		snprintf(where, sizeof where, "%s[%" PRIuPTR ":%" PRIuPTR "]%s",
		         in_hole ? "in HOLE" : "inside PROCESS", segment.start, segment.end,
		         in_hole ? ", freed before or never given out" : "");
	}
	snprintf(model->message, sizeof model->message, "%s(%" PRIuPTR "): %s", function, address,
	         where);
	return failed(model, EINVAL);
}

static uintptr_t allocate(struct model *model, size_t alignment, size_t size)
{
	succeeded(model);
	if (size == 0)
		return failed(model, EINVAL);
	const struct request request = {.alignment = alignment, .size = rounded_size(model, size)};
	struct model_segment *const block = block_take(model, request);
	return block == NULL ? failed(model, ENOMEM) : block->start;
}

uintptr_t model_malloc(struct model *model, size_t size)
{
	return allocate(model, 1, size);
}

uintptr_t model_calloc(struct model *model, size_t count, size_t size)
{
	succeeded(model);
	if (size != 0 && count > SIZE_MAX / size)
		return failed(model, ENOMEM);
	return allocate(model, 1, count * size);
}

uintptr_t model_aligned_alloc(struct model *model, size_t alignment, size_t size)
{
	const bool is_power_of_two = alignment != 0 && (alignment & (alignment - 1)) == 0;
	succeeded(model);
	if (!is_power_of_two || alignment > model->options.page_bytes)
		return failed(model, EINVAL);
	return allocate(model, alignment, size);
}

/* The tail becomes a HOLE. */
static void block_shrink(struct model_segment *block, size_t size)
{
	if (block->size == size)
		return;
	segment_split(block, size);
	hole_merge(block->next);
}

static bool block_grow_in_place(struct model *model, struct model_segment *block, size_t size)
{
	if (!is_merged_hole(block->next) || block->size + block->next->size < size)
		return false;
	const size_t kept = block->size;
	segment_join_next(block);
	segment_split(block, size);
	block->bytes = resized(block->bytes, size);
	memset(block->bytes + kept, 0, size - kept);
	peaks_update(model);
	return true;
}

/* Both blocks count until the contents are copied. */
static struct model_segment *block_move(struct model *model, struct model_segment *block,
                                        size_t size)
{
	const struct request request = {.alignment = 1, .size = size, .is_growing = true};
	struct model_segment *const moved = block_take(model, request);
	if (moved == NULL)
		return NULL;
	memcpy(moved->bytes, block->bytes, block->size);
	block_release(model, block);
	return moved;
}

uintptr_t model_realloc(struct model *model, uintptr_t address, size_t size)
{
	if (address == 0)
		return model_malloc(model, size);
	succeeded(model);
	struct model_segment *block = block_at(model, address);
	if (block == NULL)
		return misused(model, "mems_realloc", address);
	if (size == 0)
		return failed(model, EINVAL);
	const size_t rounded = rounded_size(model, size);
	if (rounded <= block->size)
		block_shrink(block, rounded);
	else if (!block_grow_in_place(model, block, rounded))
		block = block_move(model, block, rounded);
	return block == NULL ? failed(model, ENOMEM) : block->start;
}

void model_free(struct model *model, uintptr_t address)
{
	succeeded(model);
	if (address == 0)
		return;
	struct model_segment *const block = block_at(model, address);
	if (block == NULL)
		misused(model, "mems_free", address);
	else
		block_release(model, block);
}

size_t model_usable_size(struct model *model, uintptr_t address)
{
	succeeded(model);
	if (address == 0)
		return failed(model, EINVAL);
	const struct model_segment *const block = block_at(model, address);
	return block == NULL ? misused(model, "mems_usable_size", address) : block->size;
}

/* ---- Looking ----------------------------------------------------------------------------- */

/* What is shown: remembered blocks are HOLEs like others, joined with their neighbours. */

static struct mems_segment shown(const struct model_segment *first)
{
	const struct model_node *const node = first->node;
	const struct model_segment *last = first;
	while (is_hole(last) && is_hole(last->next))
		last = last->next;
	return (struct mems_segment){
		.type = first->type,
		.start = first->start,
		.end = last->start + last->size - 1,
		.size = last->start + last->size - first->start,
		.node = node->index,
		.node_start = node->start,
		.node_end = node->start + node->size - 1,
	};
}

/* Whether it is shown as a part of the one before. */
static bool is_continued(const struct model_segment *segment)
{
	return is_hole(segment) && is_hole(segment->previous);
}

/* The first segment of what is shown next, in the next node if need be. */
static struct model_segment *shown_after(const struct model_segment *segment)
{
	struct model_segment *next = segment_after(segment);
	while (next != NULL && is_continued(next))
		next = segment_after(next);
	return next;
}

size_t model_walk(const struct model *model, struct mems_segment *segments, size_t capacity)
{
	size_t count = 0;
	for (const struct model_segment *segment = segment_first(model); segment != NULL;
	     segment = shown_after(segment), count++) {
		if (count < capacity)
			segments[count] = shown(segment);
	}
	return count;
}

bool model_segment_at(struct model *model, uintptr_t address, struct mems_segment *segment)
{
	const struct model_segment *holder = segment_holding(model, address);
	if (holder == NULL) {
		model->error = EFAULT;
		return false;
	}
	while (is_continued(holder))
		holder = holder->previous;
	*segment = shown(holder);
	return true;
}

unsigned char *model_get_range(struct model *model, uintptr_t address, size_t size)
{
	const struct model_segment *const holder = segment_holding(model, address);
	succeeded(model);
	if (holder != NULL && !is_hole(holder)) {
		const size_t offset = address - holder->start;
		if (size <= holder->size - offset)
			return holder->bytes + offset;
	}
	model->error = EFAULT;
	return NULL;
}

void model_get_stats(const struct model *model, struct mems_stats *stats)
{
	*stats = (struct mems_stats){
		.pages = mapped_bytes(model) / model->options.page_bytes,
		.mapped_bytes = mapped_bytes(model),
		.process_bytes = process_bytes(model),
		.main_nodes = model->last == NULL ? 0 : model->last->index + 1,
		.peak_process_bytes = model->peak_process_bytes,
		.peak_mapped_bytes = model->peak_mapped_bytes,
	};
	stats->hole_bytes = stats->mapped_bytes - stats->process_bytes;
	for (const struct model_segment *segment = segment_first(model); segment != NULL;
	     segment = shown_after(segment)) {
		const size_t size = shown(segment).size;
		if (!is_hole(segment))
			stats->process_segments++;
		else
			stats->hole_segments++;
		if (is_hole(segment) && size > stats->largest_hole)
			stats->largest_hole = size;
	}
}

static size_t print_node(const struct model_node *node, FILE *out)
{
	size_t length = 0;
	fprintf(out, "MAIN[%" PRIuPTR ":%" PRIuPTR "] -> ", node->start,
	        node->start + node->size - 1);
	for (const struct model_segment *segment = node->first;
	     segment != NULL && segment->node == node; segment = shown_after(segment), length++)
		fprintf(out, "%s[%" PRIuPTR ":%" PRIuPTR "] <-> ",
		        is_hole(segment) ? "HOLE" : "PROCESS", segment->start, shown(segment).end);
	fputs("NULL\n", out);
	return length;
}

void model_print(const struct model *model, FILE *out)
{
	struct mems_stats stats;
	char *lengths = NULL;
	size_t capacity = 0;
	FILE *const array = must(open_memstream(&lengths, &capacity));
	model_get_stats(model, &stats);
	for (const struct model_node *node = model->first; node != NULL; node = node->next)
		fprintf(array, "%s%zu", node == model->first ? "" : ", ", print_node(node, out));
	fclose(array);
	fprintf(out, "Page used: %zu\nSpace unused: %zu\nMain Chain Length: %zu\n", stats.pages,
	        stats.hole_bytes, stats.main_nodes);
	fprintf(out, "Sub-chain Length array: [%s]\n", lengths);
	free(lengths);
}

/* ---- Life -------------------------------------------------------------------------------- */

void model_start(struct model *model, const struct model_options *options)
{
	*model = (struct model){.options = *options};
}

static void node_free(struct model_node *node)
{
	while (node->first != NULL) {
		struct model_segment *const segment = node->first;
		node->first = segment->next;
		free(segment->bytes);
		free(segment);
	}
	free(node);
}

void model_finish(struct model *model)
{
	while (model->first != NULL) {
		struct model_node *const node = model->first;
		model->first = node->next;
		node_free(node);
	}
	model->last = NULL;
}
