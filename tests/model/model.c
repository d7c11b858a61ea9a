/* The obvious twin of MeMS; see model.h. Numbers in brackets are rules of placement. */
#define _GNU_SOURCE
#include "model.h"
#include "tree.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
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

/* A HOLE that lies directly behind another segment, NULL for the first of all. */
static struct model_segment *segment_new(struct model *model, struct model_node *node,
                                         uintptr_t start, size_t size,
                                         struct model_segment *before)
{
	struct model_segment *const segment = resized(NULL, sizeof *segment);
	segment->node = node;
	segment->type = MEMS_HOLE;
	segment->start = start;
	segment->size = size;
	tree_add(&model->segments, segment, before);
	return segment;
}

static void segment_resize(struct model_segment *segment, size_t size)
{
	segment->size = size;
	tree_update(segment);
}

/* Puts a HOLE behind the segment: all of it from size on. */
static void segment_split(struct model *model, struct model_segment *segment, size_t size)
{
	if (segment->size == size)
		return;
	struct model_segment *const rest = segment_new(model, segment->node, segment->start + size,
	                                               segment->size - size, segment);
	rest->previous = segment;
	rest->next = segment->next;
	if (rest->next != NULL)
		rest->next->previous = rest;
	segment->next = rest;
	segment_resize(segment, size);
}

/* The segment swallows the one behind it. */
static void segment_join_next(struct model *model, struct model_segment *segment)
{
	struct model_segment *const swallowed = segment->next;
	tree_remove(&model->segments, swallowed);
	segment->next = swallowed->next;
	if (segment->next != NULL)
		segment->next->previous = segment;
	segment_resize(segment, segment->size + swallowed->size);
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
static void hole_merge(struct model *model, struct model_segment *hole)
{
	if (is_merged_hole(hole->next))
		segment_join_next(model, hole);
	if (is_merged_hole(hole->previous))
		segment_join_next(model, hole->previous);
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

/* What a walk finds is what the tree has found. */
static void must_agree(bool is_same)
{
	if (!is_same) {
		fputs("the model's tree is wrong\n", stderr);
		abort();
	}
}

static struct model_segment *segment_holding_slowly(const struct model *model, uintptr_t address)
{
	struct model_segment *segment = segment_first(model);
	while (segment != NULL && !segment_contains(segment, address))
		segment = segment_after(segment);
	return segment;
}

static struct model_segment *segment_holding(const struct model *model, uintptr_t address)
{
	struct model_segment *segment = tree_find(&model->segments, address);
	if (segment != NULL && !segment_contains(segment, address))
		segment = NULL;
	if (model->options.is_doubtful)
		must_agree(segment == segment_holding_slowly(model, address));
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

static void peaks_update(struct model *model)
{
	model->peak_process_bytes = larger(model->peak_process_bytes, model->process_bytes);
	model->peak_mapped_bytes = larger(model->peak_mapped_bytes, mapped_bytes(model));
}

static void must_count(const struct model *model)
{
	size_t count = 0, process = 0, remembered = 0;
	for (const struct model_segment *segment = segment_first(model); segment != NULL;
	     segment = segment_after(segment), count++) {
		process += is_hole(segment) ? 0 : segment->size;
		remembered += segment->is_remembered ? segment->size : 0;
	}
	must_agree(count == model->segments.count);
	must_agree(process == model->process_bytes && remembered == model->remembered_bytes);
}

/* ---- Growth ------------------------------------------------------------------------------ */

/* The most that can be mapped: the limit, and no more than positions of 32 bits can tell apart.
 * The tests ask for far less than half of the address space, or for far more. */
static size_t most_mapped(const struct model *model)
{
	const size_t page = model->options.page_bytes;
	const uint64_t most = (uint64_t)(UINT32_MAX - 4095) * model->options.alignment;
	size_t bytes = SIZE_MAX / 4;
	if (model->options.limit_bytes != 0)
		bytes = model->options.limit_bytes;
	return (bytes < most ? bytes : (size_t)most) / page * page;
}

static bool is_within_limit(const struct model *model, size_t pages)
{
	const size_t left = most_mapped(model) - mapped_bytes(model);
	return pages <= left / model->options.page_bytes;
}

static struct model_segment *node_append(struct model *model, size_t pages)
{
	struct model_node *const node = resized(NULL, sizeof *node);
	node->start = model->options.start_address + mapped_bytes(model);
	node->size = pages * model->options.page_bytes;
	node->first = segment_new(model, node, node->start, node->size, tree_last(&model->segments));
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

static bool is_quick(const struct model *model)
{
	return model->options.policy == MEMS_QUICK_FIT;
}

/* What placement is asked for. */
struct request {
	size_t alignment;       /* of the physical address */
	size_t size;            /* bytes, rounded up */
	bool is_growing;        /* for a block that moves because it grows */
};

/* [3] A node of the pages needed, of half as many again for a block that moves because it grows,
 * or of an eighth of the pages mapped, and not of few pages under quick fit; where so many are
 * refused, of the pages needed. One HOLE. */
static struct model_segment *heap_grow(struct model *model, struct request request)
{
	const size_t page = model->options.page_bytes;
	const size_t needed = request.size / page + (request.size % page != 0);
	size_t wanted = request.is_growing ? needed + needed / 2 : needed;
	if (is_quick(model))
		wanted = larger(wanted, MODEL_QUICK_PAGES);
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

static bool has_room(const struct model *model, const struct model_segment *segment,
                     struct request request)
{
	const size_t gap = gap_before(model, segment, request.alignment);
	const size_t room = model_room(segment);
	return gap <= room && request.size <= room - gap;
}

static struct model_segment *hole_first_fit_slowly(const struct model *model,
                                                   struct request request)
{
	struct model_segment *segment = segment_first(model);
	while (segment != NULL && !has_room(model, segment, request))
		segment = segment_after(segment);
	return segment;
}

/* [2] The first HOLE with room for an aligned block of this size. */
static struct model_segment *hole_first_fit(const struct model *model, struct request request)
{
	struct model_segment *hole = tree_first_fit(&model->segments, request.size);
	while (hole != NULL && !has_room(model, hole, request))
		hole = tree_next_fit(hole, request.size);
	if (model->options.is_doubtful)
		must_agree(hole == hole_first_fit_slowly(model, request));
	return hole;
}

/* Hands the segment to the program. */
static void block_begin(struct model *model, struct model_segment *block)
{
	block->type = MEMS_PROCESS;
	if (!model->options.has_no_contents)
		block->bytes = resized(NULL, block->size);
	tree_update(block);
	model->process_bytes += block->size;
	peaks_update(model);
}

/* Takes it back: a HOLE, not yet merged with its neighbours. */
static void block_end(struct model *model, struct model_segment *block)
{
	free(block->bytes);
	block->bytes = NULL;
	block->type = MEMS_HOLE;
	tree_update(block);
	model->process_bytes -= block->size;
}

/* Makes a block in the HOLE, at its low end; a gap before it stays a HOLE. */
static struct model_segment *hole_take(struct model *model, struct model_segment *hole,
                                       struct request request)
{
	struct model_segment *block = hole;
	const size_t gap = gap_before(model, hole, request.alignment);
	if (gap != 0) {
		segment_split(model, hole, gap);
		block = hole->next;
	}
	segment_split(model, block, request.size);
	block_begin(model, block);
	return block;
}

/* [4] The block becomes a HOLE and merges at once. */
static void first_fit_release(struct model *model, struct model_segment *block)
{
	block_end(model, block);
	hole_merge(model, block);
}

/* ---- Quick fit --------------------------------------------------------------------------- */

/* The bin in which blocks of this size are remembered, or NULL where they are not. */
static struct model_bin *bin_of(struct model *model, size_t size)
{
	const size_t units = size / model->options.alignment;
	if (size > MODEL_LARGEST_REMEMBERED)
		return NULL;
	if (units <= MODEL_OWN_BINS) {
		model->bins[units - 1].size = size;
		return &model->bins[units - 1];
	}
	/* The fraction of units times the golden ratio, less 1, says which one. */
	const uint64_t fraction = (uint32_t)(units * UINT64_C(0x9E3779B1));
	return &model->bins[MODEL_OWN_BINS + (fraction * MODEL_SHARED_BINS >> 32)];
}

static void bin_push(struct model *model, struct model_bin *bin, struct model_segment *segment)
{
	segment->is_remembered = true;
	segment->below = bin->top;
	bin->top = segment;
	tree_update(segment);
	model->remembered_bytes += segment->size;
}

/* The one remembered last, or NULL. */
static struct model_segment *bin_pop(struct model *model, struct model_bin *bin)
{
	struct model_segment *const segment = bin->top;
	if (segment != NULL) {
		bin->top = segment->below;
		segment->is_remembered = false;
		tree_update(segment);
		model->remembered_bytes -= segment->size;
	}
	return segment;
}

/* Merges for good what one bin remembers. */
static void bin_merge(struct model *model, struct model_bin *bin)
{
	struct model_segment *segment;
	while ((segment = bin_pop(model, bin)) != NULL)
		hole_merge(model, segment);
}

static void bins_merge(struct model *model)
{
	for (size_t i = 0; i < MODEL_OWN_BINS + MODEL_SHARED_BINS; i++)
		bin_merge(model, &model->bins[i]);
}

static size_t smaller(size_t a, size_t b)
{
	return a < b ? a : b;
}

/* Whether so much is remembered that merging is worth a try before the OS is asked. */
static bool is_much_remembered(const struct model *model)
{
	const size_t part = mapped_bytes(model) / MODEL_MERGED_DIVISOR;
	return model->remembered_bytes >= larger(model->least_merged, part);
}

/* Such a merge. One that comes while the heap has not grown since the one before shows that merging
 * is of no use for long: then more has to be remembered before the next. */
static void bins_merge_before_growth(struct model *model)
{
	const size_t mapped = mapped_bytes(model);
	if (model->merged_at == mapped && model->least_merged < MODEL_MOST_MERGED)
		model->least_merged *= 2;
	model->merged_at = mapped;
	bins_merge(model);
}

/* Whether an empty heap could hold so many bytes. */
static bool is_possible(const struct model *model, size_t size)
{
	return size <= most_mapped(model);
}

/* A merge that a recording notes, for no line of a later call tells of it. */
static void bins_merge_and_note(struct model *model)
{
	bins_merge(model);
	model->has_noted_merge = true;
}

/* By first fit; before the OS is asked all that is remembered is merged, if it is much, and after
 * the OS has refused in any case. Where nothing else came of the first, it counts as the second. */
static struct model_segment *hole_obtain(struct model *model, struct request request)
{
	const size_t least_merged = model->least_merged, merged_at = model->merged_at;
	const bool has_much = is_much_remembered(model);
	struct model_segment *hole = hole_first_fit(model, request);
	if (hole != NULL || !is_possible(model, request.size))
		return hole;
	if (has_much) {
		bins_merge_before_growth(model);
		hole = hole_first_fit(model, request);
	}
	if (hole == NULL)
		hole = heap_grow(model, request);
	if (hole == NULL && (has_much || model->remembered_bytes != 0)) {
		model->least_merged = least_merged;
		model->merged_at = merged_at;
		bins_merge_and_note(model);
		hole = request.is_growing ? NULL : hole_first_fit(model, request); /* see block_enlarge */
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
	bin->misses = smaller(bin->misses + 1, MODEL_LONGEST_RUN);
	const size_t most = smaller(hole_size, MODEL_LARGEST_RUN) / size;
	return most == 0 ? 1 : smaller(bin->misses, most);
}

/* The blocks of the run after the first are remembered, the lowest one last.
 * NOLINTNEXTLINE(misc-no-recursion): a run is short. */
static void run_remember(struct model *model, struct model_bin *bin,
                         struct model_segment *segment, size_t size, size_t length)
{
	if (length == 0)
		return;
	segment_split(model, segment, size);
	run_remember(model, bin, segment->next, size, length - 1);
	bin_push(model, bin, segment);
}

/* The block of this size that was remembered last, else the first of a run. */
static struct model_segment *quick_fit_take(struct model *model, struct request request)
{
	struct model_bin *const bin = bin_of(model, request.size);
	struct model_segment *block = has_bin(bin, request.size) ? bin_pop(model, bin) : NULL;
	if (block != NULL) {
		block_begin(model, block);
		return block;
	}
	struct model_segment *const hole = hole_obtain(model, request);
	if (hole == NULL)
		return NULL;
	const size_t length = run_length(bin, request.size, hole->size);
	block = hole_take(model, hole, request);
	run_remember(model, bin, block->next, request.size, length - 1);
	return block;
}

static void quick_fit_release(struct model *model, struct model_segment *block)
{
	struct model_bin *const bin = bin_of(model, block->size);
	if (bin == NULL) {
		first_fit_release(model, block);
		return;
	}
	if (bin->size != block->size)
		bin_merge(model, bin);
	bin->size = block->size;
	block_end(model, block);
	bin_push(model, bin, block);
}

/* ---- Where policies differ: how a block is taken, and what becomes of it ------------------- */

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
		first_fit_release(model, block);
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
	model->has_noted_merge = false;
}

__attribute__((format(printf, 2, 3)))
static void message_write(struct model *model, const char *format, ...)
{
	va_list arguments;
	va_start(arguments, format);
	vsnprintf(model->message, sizeof model->message, format, arguments);
	va_end(arguments);
}

static bool is_physical(const struct model *model, uintptr_t address)
{
	return model->physical != 0 && address >= model->physical &&
	       address - model->physical < mapped_bytes(model);
}

/* What is at an address that should be the start of a live block. */
static void misuse_describe(struct model *model, const char *function, uintptr_t address)
{
	struct mems_segment segment;
	const uintptr_t virtual = model->options.start_address + (address - model->physical);
	if (!model->is_started)
		message_write(model, "%s(%" PRIuPTR "): there is no heap, mems_init is missing",
		              function, address);
	else if (model_segment_at(model, address, &segment))
		message_write(model, "%s(%" PRIuPTR "): %s[%" PRIuPTR ":%" PRIuPTR "]%s", function,
		              address, segment.type == MEMS_HOLE ? "in HOLE" : "inside PROCESS",
		              segment.start, segment.end,
		              segment.type == MEMS_HOLE ? ", freed before or never given out" : "");
	else if (is_physical(model, address) && model_segment_at(model, virtual, &segment))
		message_write(model, "%s(0x%" PRIxPTR "): the physical address of %" PRIuPTR
		              ", in %s[%" PRIuPTR ":%" PRIuPTR "]", function, address, virtual,
		              segment.type == MEMS_HOLE ? "HOLE" : "PROCESS", segment.start, segment.end);
	else
		message_write(model, "%s(%" PRIuPTR "): outside the heap", function, address);
}

/* The last is the error number where there is no heap. */
static uintptr_t misused(struct model *model, const char *function, uintptr_t address, int error)
{
	misuse_describe(model, function, address);
	return failed(model, model->is_started ? EINVAL : error);
}

static uintptr_t allocate(struct model *model, size_t alignment, size_t size)
{
	if (size == 0)
		return failed(model, EINVAL);
	const struct request request = {.alignment = alignment, .size = rounded_size(model, size)};
	struct model_segment *const block = block_take(model, request);
	return block == NULL ? failed(model, ENOMEM) : block->start;
}

/* Begins a call: its text is needed where there is no heap. */
__attribute__((format(printf, 2, 3)))
static bool can_allocate(struct model *model, const char *format, ...)
{
	char call[100];
	va_list arguments;
	succeeded(model);
	if (model->is_started)
		return true;
	va_start(arguments, format);
	vsnprintf(call, sizeof call, format, arguments);
	va_end(arguments);
	message_write(model, "%s: there is no heap, mems_init is missing", call);
	failed(model, EPERM);
	return false;
}

uintptr_t model_malloc(struct model *model, size_t size)
{
	return can_allocate(model, "mems_malloc(%zu)", size) ? allocate(model, 1, size) : 0;
}

uintptr_t model_calloc(struct model *model, size_t count, size_t size)
{
	if (!can_allocate(model, "mems_calloc(%zu, %zu)", count, size))
		return 0;
	if (size != 0 && count > SIZE_MAX / size)
		return failed(model, ENOMEM);
	return allocate(model, 1, count * size);
}

uintptr_t model_aligned_alloc(struct model *model, size_t alignment, size_t size)
{
	const bool is_power_of_two = alignment != 0 && (alignment & (alignment - 1)) == 0;
	if (!can_allocate(model, "mems_aligned_alloc(%zu, %zu)", alignment, size))
		return 0;
	if (!is_power_of_two || alignment > model->options.page_bytes)
		return failed(model, EINVAL);
	return allocate(model, alignment, size);
}

/* The tail becomes a HOLE. */
static void block_shrink(struct model *model, struct model_segment *block, size_t size)
{
	if (block->size == size)
		return;
	model->process_bytes -= block->size - size;
	segment_split(model, block, size);
	hole_merge(model, block->next);
}

static bool can_grow_in_place(const struct model_segment *block, size_t size)
{
	return is_merged_hole(block->next) && size <= block->size + block->next->size;
}

static void block_grow_in_place(struct model *model, struct model_segment *block, size_t size)
{
	const size_t kept = block->size;
	segment_join_next(model, block);
	segment_split(model, block, size);
	if (!model->options.has_no_contents) {
		block->bytes = resized(block->bytes, size);
		memset(block->bytes + kept, 0, size - kept);
	}
	model->process_bytes += size - kept;
	peaks_update(model);
}

/* Both blocks count until the contents are copied. */
static struct model_segment *block_move(struct model *model, struct model_segment *block,
                                        size_t size)
{
	const struct request request = {.alignment = 1, .size = size, .is_growing = true};
	struct model_segment *const moved = block_take(model, request);
	if (moved == NULL)
		return NULL;
	if (!model->options.has_no_contents)
		memcpy(moved->bytes, block->bytes, block->size);
	block_release(model, block);
	return moved;
}

/* In place, or elsewhere; after a merge for want of memory all that is tried again. */
static struct model_segment *block_enlarge(struct model *model, struct model_segment *block,
                                           size_t size)
{
	struct model_segment *moved = NULL;
	for (size_t tries = 0; moved == NULL && tries < (model->has_noted_merge ? 2u : 1u); tries++) {
		if (can_grow_in_place(block, size)) {
			block_grow_in_place(model, block, size);
			return block;
		}
		moved = block_move(model, block, size);
	}
	return moved;
}

uintptr_t model_realloc(struct model *model, uintptr_t address, size_t size)
{
	if (address == 0)
		return can_allocate(model, "mems_realloc(0, %zu)", size) ? allocate(model, 1, size) : 0;
	succeeded(model);
	struct model_segment *block = block_at(model, address);
	if (block == NULL)
		return misused(model, "mems_realloc", address, EPERM);
	if (size == 0)
		return failed(model, EINVAL);
	const size_t rounded = rounded_size(model, size);
	if (rounded <= block->size)
		block_shrink(model, block, rounded);
	else
		block = block_enlarge(model, block, rounded);
	return block == NULL ? failed(model, ENOMEM) : block->start;
}

void model_free(struct model *model, uintptr_t address)
{
	succeeded(model);
	if (address == 0)
		return;
	struct model_segment *const block = block_at(model, address);
	if (block == NULL)
		misused(model, "mems_free", address, EINVAL);
	else
		block_release(model, block);
}

size_t model_usable_size(struct model *model, uintptr_t address)
{
	succeeded(model);
	if (address == 0)
		return failed(model, model->is_started ? EINVAL : EPERM);
	const struct model_segment *const block = block_at(model, address);
	return block == NULL ? misused(model, "mems_usable_size", address, EPERM) : block->size;
}

bool model_is_live(const struct model *model, uintptr_t address)
{
	return block_at(model, address) != NULL;
}

bool model_would_move(const struct model *model, uintptr_t address, size_t size)
{
	const struct model_segment *const block = block_at(model, address);
	const size_t rounded = rounded_size(model, size);
	return block != NULL && rounded > block->size && !can_grow_in_place(block, rounded);
}

void model_trim(struct model *model)
{
	succeeded(model);
	if (model->is_started)
		bins_merge_and_note(model);
	else
		failed(model, EPERM);
}

/* ---- Looking ----------------------------------------------------------------------------- */

/* What is shown: remembered blocks are HOLEs like others, joined with their neighbours. */

struct mems_segment model_shown(const struct model_segment *first)
{
	const struct model_node *const node = first->node;
	const struct model_segment *last = first;
	size_t remembered = first->is_remembered ? first->size : 0;
	while (is_hole(last) && is_hole(last->next)) {
		last = last->next;
		remembered += last->is_remembered ? last->size : 0;
	}
	return (struct mems_segment){
		.type = first->type,
		.start = first->start,
		.end = last->start + last->size - 1,
		.size = last->start + last->size - first->start,
		.node = node->index,
		.node_start = node->start,
		.node_end = node->start + node->size - 1,
		.remembered_bytes = remembered,
	};
}

/* Whether it is shown as a part of the one before. */
static bool is_continued(const struct model_segment *segment)
{
	return is_hole(segment) && is_hole(segment->previous);
}

const struct model_segment *model_first(const struct model *model)
{
	return segment_first(model);
}

const struct model_segment *model_next(const struct model_segment *segment)
{
	const struct model_segment *next = segment_after(segment);
	while (next != NULL && is_continued(next))
		next = segment_after(next);
	return next;
}

size_t model_largest_room(const struct model *model)
{
	return model->segments.root == NULL ? 0 : model->segments.root->largest;
}

uintptr_t model_end(const struct model *model)
{
	return model->options.start_address + mapped_bytes(model);
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
	*segment = model_shown(holder);
	return true;
}

bool model_has_range(struct model *model, uintptr_t address, size_t size)
{
	const struct model_segment *const holder = segment_holding(model, address);
	succeeded(model);
	if (holder != NULL && !is_hole(holder) && size <= holder->size - (address - holder->start))
		return true;
	model->error = EFAULT;
	return false;
}

unsigned char *model_get_range(struct model *model, uintptr_t address, size_t size)
{
	if (!model_has_range(model, address, size))
		return NULL;
	const struct model_segment *const holder = segment_holding(model, address);
	return holder->bytes + (address - holder->start);
}

void model_get_stats(const struct model *model, struct mems_stats *stats)
{
	if (model->options.is_doubtful)
		must_count(model);
	*stats = (struct mems_stats){
		.pages = mapped_bytes(model) / model->options.page_bytes,
		.mapped_bytes = mapped_bytes(model),
		.process_bytes = model->process_bytes,
		.main_nodes = model->last == NULL ? 0 : model->last->index + 1,
		.peak_process_bytes = model->peak_process_bytes,
		.peak_mapped_bytes = model->peak_mapped_bytes,
	};
	stats->hole_bytes = stats->mapped_bytes - stats->process_bytes;
	for (const struct model_segment *segment = segment_first(model); segment != NULL;
	     segment = model_next(segment)) {
		const size_t size = model_shown(segment).size;
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
	     segment != NULL && segment->node == node; segment = model_next(segment), length++)
		fprintf(out, "%s[%" PRIuPTR ":%" PRIuPTR "] <-> ",
		        is_hole(segment) ? "HOLE" : "PROCESS", segment->start, model_shown(segment).end);
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
	*model = (struct model){
		.options = *options,
		.least_merged = MODEL_LEAST_MERGED,
		.is_started = true,
	};
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
	*model = (struct model){.options = model->options};
}
