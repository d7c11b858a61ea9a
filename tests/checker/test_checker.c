/*
 * The checker, checked: every kind of metadata is damaged on purpose, and mems_check has to notice
 * and to name the invariant. This file includes the library, whose insides it has to reach: it is
 * linked without the library.
 */
#include "mems.c" /* NOLINT(bugprone-suspicious-include): see above */

#include "support.h"

#include <sys/sysinfo.h>

/* ---- A heap to damage, and its books to put back ----------------------------------------- */

/* Under quick fit: a bin of several chunks, a shorter one, an empty one, chunks to spare, and a
 * block in a bin that is shared. */
static void make_bins(void)
{
	enum { BLOCKS = 300, LEFT = 20 };
	uintptr_t blocks[BLOCKS];
	for (size_t size = 24; size <= 40; size += 8) {
		for (size_t i = 0; i < BLOCKS; i++)
			blocks[i] = take(size);
		for (size_t i = 0; i < BLOCKS; i++)
			give_back(blocks[i]);
	}
	for (size_t i = 0; i < BLOCKS - LEFT; i++)
		take(32);
	for (size_t i = 0; i < BLOCKS; i++)
		take(40);
	give_back(take(8 * (DIRECT_BINS + 1)));
}

/* Three nodes of a page, and one of a few hundred; HOLEs of all sizes, some larger than a leaf.
 * Under quick fit half of them are remembered blocks. */
static void make_heap(void)
{
	enum { BLOCKS = 600 };
	uintptr_t blocks[BLOCKS];
	uint64_t random = 5;
	take(PAGE);
	take(PAGE);
	take(PAGE - 800);
	for (size_t i = 0; i < BLOCKS; i++)
		blocks[i] = take(8 + random_below(&random, i % 50 == 0 ? 20000 : 1500));
	take(2 * MIB);
	for (size_t i = 0; i < BLOCKS; i += 2) {
		if (heap.is_quick && i == BLOCKS / 2)
			bins_merge();
		give_back(blocks[i]);
	}
	give_back(1000 + PAGE);
	if (heap.is_quick)
		make_bins();
	assert_sound();
}

static struct {
	unsigned char heap[sizeof heap];
	unsigned char *tables[TABLES];
} saved;

/* Damage that went by without being noticed and named; the tests demand 0 at their end, so that
 * they show all of it at once. */
static size_t unnoticed;

static void books_save(void)
{
	unnoticed = 0;
	memcpy(saved.heap, &heap, sizeof heap);
	for (unsigned i = 0; i < TABLES; i++) {
		const size_t bytes = heap.tables[i].committed_bytes;
		saved.tables[i] = malloc(bytes + 1);
		assert_non_null(saved.tables[i]);
		memcpy(saved.tables[i], heap.tables[i].memory, bytes);
	}
}

static void books_restore(void)
{
	memcpy(&heap, saved.heap, sizeof heap);
	for (unsigned i = 0; i < TABLES; i++)
		memcpy(heap.tables[i].memory, saved.tables[i], heap.tables[i].committed_bytes);
}

static void books_forget(void)
{
	for (unsigned i = 0; i < TABLES; i++)
		free(saved.tables[i]);
}

/* ---- Places to damage -------------------------------------------------------------------- */

/* The first block of at least this size after a granule. */
static size_t block_after(size_t granule, size_t size)
{
	do
		granule = segment_next(granule);
	while (is_hole(granule) || segment_size(granule) < size);
	assert_true(granule < heap.top);
	return granule;
}

/* A HOLE that is merged for good, and before a block. */
static size_t some_hole(void)
{
	size_t granule = heap.nodes[2].first;
	do
		granule = segment_next(granule);
	while (!is_merged(granule) || segment_size(granule) < 3 || is_hole(segment_next(granule)));
	assert_true(granule < heap.top);
	return granule;
}

static size_t some_block(void)
{
	return block_after(heap.nodes[2].first, 3);
}

static size_t largest_block(void)
{
	return block_after(heap.nodes[3].first, 2 * MIB / 8);
}

/* From now on the entries of the group have to be exact: another group takes its slot. */
static void lag_end(size_t group)
{
	const size_t other = group + LAGS <= group_of(heap.top) ? group + LAGS : group % LAGS;
	assert_true(other != group);
	heap.lags[group % LAGS] = (struct lag){ .group = other };
}

/* A group with a large HOLE, and with an entry that has to be exact. */
static size_t exact_group(void)
{
	for (size_t group = 0; group < group_of(heap.top); group++) {
		if (heap.group_max[0][group] > 1 && heap.group_max[0][group] == group_largest(group)) {
			lag_end(group);
			return group;
		}
	}
	fail_msg("%s", "there is no exact group");
	return 0;
}

static void bit_flip(atomic_word *words, size_t index)
{
	words[index / 64] = words[index / 64] ^ bit_of(index);
}

static void start_flip(size_t granule)
{
	struct leaf *const leaf = leaf_at(leaf_of(granule));
	leaf->starts = leaf->starts ^ bit_of(granule);
}

static void merged_flip(size_t granule)
{
	heap.merged[leaf_of(granule)] ^= bit_of(granule);
}

/* For the whole library: under quick fit a HOLE that is merged for good. */
static void hole_flip(size_t granule)
{
	if (heap.is_quick)
		merged_flip(granule);
	struct leaf *const leaf = leaf_at(leaf_of(granule));
	leaf->holes = leaf->holes ^ bit_of(granule);
}

/* ---- Damages ----------------------------------------------------------------------------- */

static void top_off_the_page(void)
{
	heap.top++;
}

static void top_beyond_the_limit(void)
{
	heap.limit = heap.top - heap.page_granules;
}

static void limit_gone(void)
{
	heap.limit = 0;
}

static void base_off_the_page(void)
{
	heap.base += 8;
}

static void base_on_another_page(void)
{
	heap.base += PAGE;
}

static void previous_of_first(void)
{
	heap.nodes[0].previous = heap.nodes;
}

static void previous_of_second(void)
{
	heap.nodes[1].previous = NULL;
}

static void next_of_second(void)
{
	heap.nodes[1].next = heap.nodes;
}

static void next_of_last(void)
{
	heap.nodes[heap.node_count - 1].next = heap.nodes;
}

static void next_lost(void)
{
	heap.nodes[0].next = NULL;
}

static void node_first(void)
{
	heap.nodes[1].first += heap.page_granules;
}

static void node_longer(void)
{
	heap.nodes[1].granules += heap.page_granules;
}

static void node_shorter(void)
{
	heap.nodes[3].granules -= heap.page_granules;
}

static void node_empty(void)
{
	heap.nodes[1].granules = 0;
}

static void node_off_the_page(void)
{
	heap.nodes[1].granules--;
}

static void node_elsewhere(void)
{
	heap.nodes[1].physical += PAGE;
}

static void node_too_few(void)
{
	heap.node_count--;
}

static void node_too_many(void)
{
	heap.node_count++;
}

static void node_none(void)
{
	heap.node_count = 0;
}

static void border_missing(void)
{
	const size_t page = page_of(heap.nodes[2].first);
	heap.borders[page / 64] ^= bit_of(page);
}

static void border_extra(void)
{
	const size_t page = page_of(heap.nodes[3].first) + 1;
	heap.borders[page / 64] ^= bit_of(page);
}

static void border_moved(void)
{
	border_missing();
	border_extra();
}

static void border_beyond_top(void)
{
	const size_t page = page_of(heap.top) + 1;
	heap.borders[page / 64] ^= bit_of(page);
}

static void node_without_start(void)
{
	start_flip(heap.nodes[2].first);
}

static void top_without_start(void)
{
	start_flip(heap.top);
}

static void top_as_hole(void)
{
	hole_flip(heap.top);
}

static void hole_without_start(void)
{
	hole_flip(some_block() + 1);
}

static void start_lost(void)
{
	start_flip(some_hole());
}

static void hole_split(void)
{
	const size_t middle = some_hole() + 1;
	start_flip(middle);
	hole_flip(middle);
}

static void hole_beside_hole(void)
{
	hole_flip(segment_next(some_hole()));
}

static void start_beyond_top(void)
{
	start_flip(heap.top + 1);
}

static void hole_beyond_top(void)
{
	hole_flip(heap.top + 2);
}

static void start_in_the_leaf_after_top(void)
{
	start_flip((leaf_of(heap.top) + 1) * 64 + 3);
}

static void start_before_the_heap(void)
{
	leaf_at(NONE)->starts = 1;
}

static void hole_before_the_heap(void)
{
	leaf_at(NONE)->holes = (uint64_t)1 << 63;
}

static void block_as_hole(void)
{
	hole_flip(largest_block());
}

static void hole_as_block(void)
{
	hole_flip(some_hole());
}

static void leaf_not_known_to_have_a_start(void)
{
	bit_flip(heap.has_start[0], leaf_of(some_hole()));
}

static void leaf_said_to_have_a_start(void)
{
	const size_t large = largest_block();
	bit_flip(heap.has_start[0], leaf_of(large) + 1);
}

static void leaf_beyond_top_said_to_have_a_start(void)
{
	bit_flip(heap.has_start[0], leaf_of(heap.top) + 1);
}

static void leaf_max_too_small(void)
{
	const size_t leaf = leaf_of(some_hole());
	heap.leaf_max[0][leaf] = (uint8_t)(leaf_max_of(leaf_largest(leaf)) - 1);
}

static void leaf_max_too_large(void)
{
	const size_t leaf = leaf_of(largest_block()) + 2;
	lag_end(leaf / GROUP_LEAVES);
	heap.leaf_max[0][leaf]++;
}

static void leaf_max_beyond_top(void)
{
	heap.leaf_max[0][leaf_of(heap.top) + 1] = 1;
}

static void group_max_too_small(void)
{
	heap.group_max[0][exact_group()]--;
}

static void group_max_too_large(void)
{
	heap.group_max[0][exact_group()]++;
}

static void process_too_many(void)
{
	heap.process++;
}

static void process_too_few(void)
{
	heap.process--;
}

static void peak_too_small(void)
{
	heap.peak_process = heap.process - 1;
}

static void clean_from_too_low(void)
{
	heap.clean_from = heap.nodes[1].first;
}

static void clean_from_beyond_top(void)
{
	heap.clean_from = heap.top + 1;
}

static void another_start(void)
{
	heap.start++;
}

static void another_shift(void)
{
	heap.shift++;
}

static void another_page_log2(void)
{
	heap.page_log2--;
}

static void another_page_size(void)
{
	heap.page_granules *= 2;
}

static void another_policy(void)
{
	heap.is_quick = !heap.is_quick;
}

static void reservation_elsewhere(void)
{
	heap.reservation += PAGE;
}

static void reservation_too_short(void)
{
	heap.reservation_bytes = (size_t)(heap.base - heap.reservation) + (heap.limit << heap.shift);
}

static void reservation_empty(void)
{
	heap.reservation_bytes = 0;
}

static void limit_beyond_the_reservation(void)
{
	heap.limit = (heap.reservation_bytes >> heap.shift) + 1;
}

static void lag_of_another_slot(void)
{
	heap.lags[3].group = 4;
}

static void lag_beyond_top(void)
{
	heap.lags[3].group = group_of(heap.top) / LAGS * LAGS + LAGS + 3;
}

static void leaf_of_a_lagging_group_too_large(void)
{
	const size_t leaf = leaf_of(largest_block()) + 2;
	struct lag *const lag = &heap.lags[leaf / GROUP_LEAVES % LAGS];
	if (lag->group == leaf / GROUP_LEAVES)
		lag->leaves &= ~bit_of(leaf);
	heap.leaf_max[0][leaf]++;
}

static void lagging_leaf_too_small(void)
{
	const size_t leaf = leaf_of(some_hole());
	heap.lags[leaf / GROUP_LEAVES % LAGS] =
		(struct lag){ .group = leaf / GROUP_LEAVES, .leaves = UINT64_MAX };
	leaf_max_too_small();
}

/* In a slot a group may hand up too much, never too little. */
static void lagging_group_too_small(void)
{
	size_t group = 0;
	for (size_t i = 0; group == 0; i++) {
		assert_true(i < LAGS);
		if (heap.lags[i].group < group_of(heap.top))
			group = heap.lags[i].group;
	}
	assert_true(bytes_max(heap.leaf_max[0] + group * GROUP_LEAVES) > 0);
	heap.leaf_max[1][group] = 0;
}

static void class_of_a_small_size(void)
{
	heap.classes_up_to[9]++;
}

static void class_of_a_large_size(void)
{
	heap.classes_up_to[CLASSED_SIZES - 1]--;
}

struct damage {
	const char *name;
	unsigned invariant;
	void (*apply)(void);
};

static const struct damage damages[] = {
	{"another start address", 1, another_start},
	{"another alignment", 1, another_shift},
	{"another page size", 1, another_page_size},
	{"another logarithm of it", 1, another_page_log2},
	{"another policy", 1, another_policy},
	{"the reservation elsewhere", 1, reservation_elsewhere},
	{"the reservation too short", 16, reservation_too_short},
	{"an empty reservation", 1, reservation_empty},
	{"a limit beyond the reservation", 1, limit_beyond_the_reservation},
	{"a lagging leaf's maximum too small", 10, lagging_leaf_too_small},
	{"a lagging group, but not this leaf", 10, leaf_of_a_lagging_group_too_large},
	{"a group in the slot of another", 11, lag_of_another_slot},
	{"a group beyond top in a slot", 11, lag_beyond_top},
	{"a group in a slot that hands up too little", 10, lagging_group_too_small},
	{"the class of a small size", 12, class_of_a_small_size},
	{"the class of a large size", 12, class_of_a_large_size},
	{"top off the page", 1, top_off_the_page},
	{"top beyond the limit", 1, top_beyond_the_limit},
	{"limit gone", 1, limit_gone},
	{"base off the page", 1, base_off_the_page},
	{"base on another page", 1, base_on_another_page},
	{"previous of the first node", 2, previous_of_first},
	{"previous of the second node", 2, previous_of_second},
	{"next of the second node", 2, next_of_second},
	{"next of the last node", 2, next_of_last},
	{"next lost", 2, next_lost},
	{"first granule of a node", 3, node_first},
	{"a node too long", 3, node_longer},
	{"a node too short", 3, node_shorter},
	{"a node empty", 3, node_empty},
	{"a node off the page", 3, node_off_the_page},
	{"a node elsewhere", 3, node_elsewhere},
	{"a node too few", 3, node_too_few},
	{"a node too many", 3, node_too_many},
	{"no node", 3, node_none},
	{"a border missing", 4, border_missing},
	{"a border too many", 4, border_extra},
	{"a border moved", 4, border_moved},
	{"a border beyond top", 4, border_beyond_top},
	{"a node without a segment", 5, node_without_start},
	{"top without a start", 5, top_without_start},
	{"top as a HOLE", 5, top_as_hole},
	{"a HOLE without a start", 6, hole_without_start},
	{"a start lost", 6, start_lost},
	{"a HOLE in two", 7, hole_split},
	{"a HOLE beside a HOLE", 7, hole_beside_hole},
	{"a start beyond top", 8, start_beyond_top},
	{"a HOLE beyond top", 8, hole_beyond_top},
	{"a start in the leaf after top", 8, start_in_the_leaf_after_top},
	{"a start before the heap", 8, start_before_the_heap},
	{"a HOLE before the heap", 8, hole_before_the_heap},
	{"a leaf not known to have a start", 9, leaf_not_known_to_have_a_start},
	{"a leaf said to have a start", 9, leaf_said_to_have_a_start},
	{"a leaf beyond top said to have a start", 9, leaf_beyond_top_said_to_have_a_start},
	{"a leaf's maximum too small", 10, leaf_max_too_small},
	{"a leaf's maximum too large", 10, leaf_max_too_large},
	{"a leaf's maximum beyond top", 10, leaf_max_beyond_top},
	{"a group's maximum too small", 11, group_max_too_small},
	{"a group's maximum too large", 11, group_max_too_large},
	{"too many PROCESS bytes", 13, process_too_many},
	{"too few PROCESS bytes", 13, process_too_few},
	{"a block counted as a HOLE", 13, block_as_hole},
	{"a HOLE counted as a block", 13, hole_as_block},
	{"the peak too small", 13, peak_too_small},
	{"clean memory where blocks are", 14, clean_from_too_low},
	{"clean memory beyond top", 14, clean_from_beyond_top},
};
enum { DAMAGES = sizeof damages / sizeof damages[0] };

/* ---- Damages to what quick fit remembers -------------------------------------------------- */

static struct bin *bin_for(size_t bytes)
{
	struct bin *const bin = bin_of(granules_of(bytes));
	assert_non_null(bin);
	return bin;
}

/* The bin of several chunks; its top one is not full. */
static struct bin *large_bin(void)
{
	struct bin *const bin = bin_for(24);
	assert_true(bin->chunk->previous != 0 && bin->used > 2 && bin->used < CHUNK_ITEMS);
	return bin;
}

static struct chunk *second_chunk(void)
{
	return chunk_at(large_bin()->chunk->previous);
}

static size_t remembered_block(void)
{
	return large_bin()->chunk->items[1];
}

static void hole_not_merged(void)
{
	merged_flip(some_hole());
}

static void remembered_as_merged(void)
{
	merged_flip(remembered_block());
}

static void block_as_merged(void)
{
	merged_flip(some_block());
}

static void merged_beyond_top(void)
{
	merged_flip((leaf_of(heap.top) + 1) * 64 + 3);
}

static void remembered_as_block(void)
{
	struct leaf *const leaf = leaf_at(leaf_of(remembered_block()));
	leaf->holes = leaf->holes ^ bit_of(remembered_block());
}

static void remembered_without_start(void)
{
	start_flip(remembered_block());
}

static void remembered_in_two(void)
{
	start_flip(remembered_block() + 1);
}

static void bin_one_too_few(void)
{
	large_bin()->used--;
}

static void bin_one_too_many(void)
{
	large_bin()->used++;
}

static void bin_overfull(void)
{
	large_bin()->used = CHUNK_ITEMS + 1;
}

static void bin_of_another_size(void)
{
	large_bin()->size++;
}

static void empty_bin_of_another_size(void)
{
	bin_for(48)->size--;
}

static void shared_bin_of_another_size(void)
{
	for (unsigned i = DIRECT_BINS; i < BINS; i++) {
		if (heap.bins[i].used != 0) {
			heap.bins[i].size++;
			return;
		}
	}
	fail_msg("%s", "there is no shared bin in use");
}

static void bin_without_chunks(void)
{
	large_bin()->chunk = NULL;
}

static void bin_with_no_item_and_no_chunk(void)
{
	struct bin *const bin = large_bin();
	bin->used = 0;
	bin->chunk = NULL;
}

static void bin_with_chunks_of_another(void)
{
	large_bin()->chunk = bin_for(32)->chunk;
}

static void bins_exchanged(void)
{
	struct bin *const other = bin_for(32);
	struct bin *const bin = large_bin();
	const struct bin kept = *bin;
	bin->chunk = other->chunk;
	bin->used = other->used;
	other->chunk = kept.chunk;
	other->used = kept.used;
}

static void bin_between_two_chunks(void)
{
	struct bin *const bin = large_bin();
	bin->chunk = (struct chunk *)(void *)((char *)bin->chunk + sizeof bin->chunk->previous);
}

static void bin_with_a_chunk_never_taken(void)
{
	large_bin()->chunk = chunk_at(heap.chunk_count);
}

static void item_off_its_block(void)
{
	large_bin()->chunk->items[0]++;
}

static void item_beyond_top(void)
{
	large_bin()->chunk->items[1] = (uint32_t)heap.top;
}

static void item_twice(void)
{
	second_chunk()->items[3] = second_chunk()->items[4];
}

/* Of four blocks of one size, the inner two twice instead of the outer two: as many blocks, and the
 * same sum. */
static void items_with_the_same_sum(void)
{
	uint32_t *const items = second_chunk()->items;
	assert_true(items[0] + items[3] == items[1] + items[2] && items[0] != items[1]);
	items[0] = items[1];
	items[3] = items[2];
}

static void item_at_a_live_block(void)
{
	second_chunk()->items[CHUNK_ITEMS - 1] = (uint32_t)block_after(heap.nodes[2].first, 3);
}

static void items_of_two_bins_exchanged(void)
{
	uint32_t *const one = &large_bin()->chunk->items[0];
	uint32_t *const other = &bin_for(32)->chunk->items[0];
	const uint32_t kept = *one;
	*one = *other;
	*other = kept;
}

static void previous_lost(void)
{
	large_bin()->chunk->previous = 0;
}

static void previous_skips_one(void)
{
	large_bin()->chunk->previous = second_chunk()->previous;
}

static void previous_is_itself(void)
{
	struct bin *const bin = large_bin();
	bin->chunk->previous = (uint32_t)(bin->chunk - chunk_at(0));
}

static void previous_in_a_circle(void)
{
	struct bin *const bin = large_bin();
	second_chunk()->previous = (uint32_t)(bin->chunk - chunk_at(0));
}

static void previous_never_taken(void)
{
	second_chunk()->previous = heap.chunk_count;
}

static void spare_lost(void)
{
	assert_true(heap.spare_chunk != 0);
	heap.spare_chunk = 0;
}

static void spare_second_lost(void)
{
	assert_true(chunk_at(heap.spare_chunk)->previous != 0);
	chunk_at(heap.spare_chunk)->previous = 0;
}

static void spare_in_a_circle(void)
{
	chunk_at(heap.spare_chunk)->previous = heap.spare_chunk;
}

static void spare_never_taken(void)
{
	heap.spare_chunk = heap.chunk_count;
}

static void spare_in_use(void)
{
	heap.spare_chunk = (uint32_t)(large_bin()->chunk - chunk_at(0));
}

static void chunk_count_too_small(void)
{
	heap.chunk_count--;
}

static void chunk_count_too_large(void)
{
	heap.chunk_count++;
}

static void chunk_count_none(void)
{
	heap.chunk_count = 0;
}

static void chunk_count_beyond_all(void)
{
	heap.chunk_count = MAX_CHUNKS + 1;
}

static void merged_size_too_large(void)
{
	heap.merged_size++;
}

static void merged_size_too_small(void)
{
	heap.merged_size--;
}

static const struct damage quick_damages[] = {
	{"a merged HOLE that is not", 15, hole_not_merged},
	{"a remembered block that is merged", 15, remembered_as_merged},
	{"a PROCESS that is merged", 6, block_as_merged},
	{"merged beyond top", 8, merged_beyond_top},
	{"a remembered block that is PROCESS", 15, remembered_as_block},
	{"a remembered block without a start", 15, remembered_without_start},
	{"a remembered block in two", 15, remembered_in_two},
	{"a bin with an item too few", 15, bin_one_too_few},
	{"a bin with an item too many", 15, bin_one_too_many},
	{"a bin with more items than a chunk has", 15, bin_overfull},
	{"a bin of another size", 15, bin_of_another_size},
	{"an empty bin of another size", 15, empty_bin_of_another_size},
	{"a shared bin of another size", 15, shared_bin_of_another_size},
	{"a bin without chunks", 15, bin_without_chunks},
	{"a bin emptied", 15, bin_with_no_item_and_no_chunk},
	{"a bin with the chunks of another", 15, bin_with_chunks_of_another},
	{"two bins exchanged", 15, bins_exchanged},
	{"a bin between two chunks", 15, bin_between_two_chunks},
	{"a bin with a chunk that was never taken", 15, bin_with_a_chunk_never_taken},
	{"an item off its block", 15, item_off_its_block},
	{"an item beyond top", 15, item_beyond_top},
	{"an item twice", 15, item_twice},
	{"two items twice, with the sum that was", 15, items_with_the_same_sum},
	{"an item at a live block", 15, item_at_a_live_block},
	{"items of two bins exchanged", 15, items_of_two_bins_exchanged},
	{"a previous chunk lost", 15, previous_lost},
	{"a previous chunk skipped", 15, previous_skips_one},
	{"a chunk before itself", 15, previous_is_itself},
	{"chunks in a circle", 15, previous_in_a_circle},
	{"a previous chunk that was never taken", 15, previous_never_taken},
	{"spare chunks lost", 15, spare_lost},
	{"a second spare chunk lost", 15, spare_second_lost},
	{"spare chunks in a circle", 15, spare_in_a_circle},
	{"a spare chunk that was never taken", 15, spare_never_taken},
	{"a spare chunk in use", 15, spare_in_use},
	{"too few chunks", 15, chunk_count_too_small},
	{"too many chunks", 15, chunk_count_too_large},
	{"no chunks", 16, chunk_count_none},
	{"more chunks than there can be", 16, chunk_count_beyond_all},
	{"too large a count of merged HOLEs", 15, merged_size_too_large},
	{"too small a count of merged HOLEs", 15, merged_size_too_small},
};
enum { QUICK_DAMAGES = sizeof quick_damages / sizeof quick_damages[0] };

/* ---- Noticing ---------------------------------------------------------------------------- */

static size_t lines_of(const char *text)
{
	size_t lines = 0;
	for (; *text != '\0'; text++)
		lines += *text == '\n';
	return lines;
}

static bool is_named(unsigned invariant, const char *text)
{
	char expected[32];
	snprintf(expected, sizeof expected, "I%u is broken", invariant);
	return strstr(text, expected) != NULL;
}

/* The damage that is there now is noticed, named, and counted alike with and without a report;
 * when it is repaired the heap is sound. */
static void expect_noticed(const char *name, unsigned invariant)
{
	char *text = NULL;
	size_t length = 0;
	FILE *const out = open_memstream(&text, &length);
	assert_non_null(out);
	errno = UNTOUCHED;
	const int broken = mems_check(out);
	assert_int_equal(errno, UNTOUCHED);
	fclose(out);
	const int silently = mems_check(NULL);
	books_restore();
	assert_int_equal(mems_check(stderr), 0);

	assert_int_equal(silently, broken);
	assert_int_equal(lines_of(text), broken);
	if (!is_named(invariant, text)) {
		print_error("%s: I%u is not named, but\n%s", name, invariant,
		            broken == 0 ? "nothing\n" : text);
		unnoticed++;
	}
	free(text);
}

static void expect_all_noticed(const struct damage *list, size_t count)
{
	make_heap();
	books_save();
	for (size_t i = 0; i < count; i++) {
		list[i].apply();
		expect_noticed(list[i].name, list[i].invariant);
	}
	books_forget();
	assert_int_equal(unnoticed, 0);
}

static void every_damage_is_noticed(void **state)
{
	(void)state;
	expect_all_noticed(damages, DAMAGES);
}

static void every_damage_to_the_bins_is_noticed(void **state)
{
	(void)state;
	expect_all_noticed(quick_damages, QUICK_DAMAGES);
}

/* Where each table lies, and how far it can be written. */
static void every_table_is_checked(void **state)
{
	(void)state;
	make_heap();
	books_save();
	for (unsigned i = 0; i < TABLES; i++) {
		heap.tables[i].memory += 64;
		expect_noticed("a table too far", 16);
		heap.tables[i].memory -= 64;
		expect_noticed("a table too near", 16);
		heap.tables[i].reserved_bytes = heap.reservation_bytes;
		expect_noticed("a table that is too long", 16);
		heap.tables[i].committed_bytes = heap.tables[i].reserved_bytes + PAGE;
		expect_noticed("a table writable beyond its end", 16);
		if (heap.tables[i].committed_bytes == 0 || i == CHUNKS)
			continue;
		heap.tables[i].committed_bytes = 0;
		expect_noticed("a table that cannot be written", 16);
	}
	books_forget();
	assert_int_equal(unnoticed, 0);
}

static void every_array_is_checked(void **state)
{
	(void)state;
	make_heap();
	books_save();
	heap.leaves++;
	expect_noticed("the leaves", 16);
	heap.indexed++;
	expect_noticed("the words that the index knows", 16);
	heap.borders++;
	expect_noticed("the borders", 16);
	heap.nodes++;
	expect_noticed("the nodes", 16);
	heap.touched++;
	expect_noticed("the pages in memory", 16);
	heap.given++;
	expect_noticed("the pages given back", 16);
	heap.merged++;
	expect_noticed("the merged HOLEs", 16);
	for (unsigned level = 0; level < LEAF_MAX_LEVELS; level++) {
		heap.leaf_max[level]++;
		expect_noticed("the maxima of leaves", 16);
	}
	for (unsigned level = 0; level < MAX_LEVELS; level++) {
		heap.group_max[level]++;
		expect_noticed("the maxima of groups", 16);
	}
	for (unsigned level = 0; level < START_LEVELS; level++) {
		heap.has_start[level]++;
		expect_noticed("the leaves with starts", 16);
	}
	books_forget();
	assert_int_equal(unnoticed, 0);
}

static void every_level_is_checked(void **state)
{
	(void)state;
	make_heap();
	books_save();
	const size_t leaf = leaf_of(some_hole());
	for (unsigned level = 1; level < START_LEVELS; level++) {
		bit_flip(heap.has_start[level], leaf >> (6 * level));
		expect_noticed("a level of has_start", 9);
	}
	for (unsigned level = 1; level < MAX_LEVELS; level++) {
		heap.group_max[level][0]++;
		expect_noticed("a level of group_max, too large", 11);
		heap.group_max[level][0]--;
		heap.group_max[level][0]--;
		expect_noticed("a level of group_max, too small", 11);
	}
	books_forget();
	assert_int_equal(unnoticed, 0);
}

/* Every bound of a class that has a HOLE, put far beyond it. */
static void every_bound_is_checked(void **state)
{
	(void)state;
	make_heap();
	books_save();
	const size_t bytes = sizeof heap.bounds / CLASSES;
	for (unsigned class = 0; class < CLASSES; class++) {
		memset((unsigned char *)&heap.bounds + class * bytes, 0x7f, bytes);
		expect_noticed("a bound", 12);
	}
	books_forget();
	assert_int_equal(unnoticed, 0);
}

/* A start more or less between blocks only makes other blocks; beside or in a HOLE it shows. */
static bool is_start_of_interest(size_t granule)
{
	if (is_hole(segment_of(granule)))
		return true;
	return is_start(granule) && granule != 0 && is_hole(segment_previous(granule));
}

/* Every bit of many leaves, one after the other. */
static void every_bit_counts(void **state)
{
	(void)state;
	make_heap();
	for (size_t granule = 0; granule < heap.nodes[3].first + 1500; granule++) {
		const bool is_of_interest = is_start_of_interest(granule);
		hole_flip(granule);
		assert_true(mems_check(NULL) > 0);
		hole_flip(granule);
		start_flip(granule);
		assert_true(mems_check(NULL) > 0 || !is_of_interest);
		start_flip(granule);
	}
	assert_sound();
}

static void a_sound_heap_reports_nothing(void **state)
{
	(void)state;
	char *text = NULL;
	size_t length = 0;
	FILE *const out = open_memstream(&text, &length);
	assert_non_null(out);
	assert_succeeds(mems_check(out) == 0);
	make_heap();
	assert_succeeds(mems_check(out) == 0);
	mems_finish();
	assert_succeeds(mems_check(out) == 0);
	fclose(out);
	assert_int_equal(length, 0);
	free(text);
}

/* While it reports, the checker behaves as a visitor does. */
static ssize_t meddling_write(void *cookie, const char *text, size_t size)
{
	size_t *const calls = cookie;
	(void)text;
	++*calls;
	assert_fails(EBUSY, mems_malloc(8) == NULL);
	assert_fails(EBUSY, (mems_free(at(1000)), true));
	assert_fails(EBUSY, (mems_finish(), true));
	assert_succeeds(mems_get(at(1000)) != NULL);
	return (ssize_t)size;
}

static void while_reporting_nothing_changes(void **state)
{
	(void)state;
	size_t calls = 0;
	make_heap();
	FILE *const out = fopencookie(&calls, "w", (cookie_io_functions_t){.write = meddling_write});
	assert_non_null(out);
	setvbuf(out, NULL, _IONBF, 0);
	heap.peak_process = 0;
	assert_int_equal(mems_check(out), 1);
	heap.peak_process = heap.process;
	assert_true(calls > 0);
	fclose(out);
	assert_sound();
}

/* ---- A search while another thread changes what it reads -------------------------------- */

/* What is missing leads to a place in the heap all the same: top, or the first segment. */
static void expect_inside(size_t granule)
{
	const size_t next = segment_next(granule);
	const size_t start = segment_of(granule);
	books_restore();
	assert_true(next > granule && next <= heap.top);
	assert_true(start <= granule);
}

static void a_search_whose_way_is_cut_off_stays_inside(void **state)
{
	(void)state;
	make_heap();
	books_save();
	const size_t granule = largest_block() + 100000;
	const size_t after = leaf_of(segment_next(granule));
	const size_t before = leaf_of(segment_of(granule));
	for (unsigned level = 0; level < START_LEVELS; level++) {
		heap.has_start[level][after >> (6 * level) >> 6] = 0;
		expect_inside(granule);
		heap.has_start[level][before >> (6 * level) >> 6] = 0;
		expect_inside(granule);
		memset(heap.has_start[level], 0, heap.tables[HAS_START + level].committed_bytes);
		expect_inside(granule);
	}
	leaf_at(after)->starts = 0;
	expect_inside(granule);
	leaf_at(before)->starts = 0;
	expect_inside(granule);
	books_forget();
}

/* ---- Pages: the books beside what the OS says -------------------------------------------- */

enum { PAGED_BLOCKS = 200 };

static struct {
	uintptr_t address;
	size_t size;       /* 0 for none */
} paged[PAGED_BLOCKS];

/* Where pages come in only when they are written to, some are noted that are not in memory; those
 * that are swapped out are noted as well. */
static bool is_every_noted_page_in_memory(void)
{
	struct sysinfo system;
	char *const page = os_mmap(NULL, PAGE, PROT_READ | PROT_WRITE, 0);
	assert_non_null(page);
	const bool can_populate = madvise(page, PAGE, MADV_POPULATE_WRITE) == 0;
	os_unmap(page, PAGE);
	return can_populate && sysinfo(&system) == 0 && system.totalswap == 0 && !heap.is_quick;
}

/* Every page that is in memory is noted, so that it can be given back; no page is that was given
 * back, nor one beyond the heap. All blocks are filled. Returns how many were given back. */
static size_t assert_pages_are_noted(bool is_exact)
{
	const size_t pages = heap.top >> heap.os_page_log2;
	unsigned char *const in_memory = calloc(pages + 1, 1);
	size_t given = 0;
	assert_non_null(in_memory);
	assert_int_equal(mincore(heap.base, heap.top << heap.shift, in_memory), 0);
	for (size_t i = 0; i < round_up(pages, 64); i++) {
		const bool is_in_memory = i < pages && (in_memory[i] & 1) != 0;
		const bool is_noted = bit_is_set(heap.touched, i);
		const bool is_given = bit_is_set(heap.given, i);
		assert_true(is_noted ? i < pages && !is_given : !is_in_memory);
		assert_true(!is_exact || is_in_memory == is_noted);
		given += is_given;
	}
	free(in_memory);
	return given;
}

/* Mostly small, some of pages, and a few that are moved by their pages. */
static size_t paged_size(uint64_t *random)
{
	const size_t choice = random_below(random, 16);
	return 1 + random_below(random, choice == 0 ? 600 * KIB : choice < 4 ? 5 * PAGE : 400);
}

static bool is_intact(size_t index, size_t size)
{
	return size == 0 || has_filling(paged[index].address, size, (unsigned)index);
}

/* Takes a block, frees it, or gives it another size. */
static void paged_change(size_t index, uint64_t *random)
{
	const size_t before = paged[index].size;
	const size_t size = before != 0 && random_below(random, 3) != 0 ? 0 : paged_size(random);
	assert_true(is_intact(index, before));
	paged[index].size = size;
	if (size == 0) {
		give_back(paged[index].address);
		return;
	}
	paged[index].address = before == 0 ? take(size)
	                                   : address_of(mems_realloc(at(paged[index].address), size));
	assert_true(is_intact(index, min_size(before, size)));
	fill_block(paged[index].address, size, (unsigned)index);
}

static void need_pages(void)
{
	if (is_run_by_another()) {
		print_message("note: pages in memory: skipped, for what runs this program has pages of "
		              "its own\n");
		skip();
	}
}

static void every_page_in_memory_is_noted(void **state)
{
	(void)state;
	enum { CALLS = 6000, CALLS_PER_LOOK = 20 };
	const char *const chosen = getenv("SEED");
	const unsigned long seed = chosen != NULL ? strtoul(chosen, NULL, 10) : (unsigned)getpid();
	uint64_t random = seed;
	size_t given = 0;
	need_pages();
	print_message("pages: SEED=%lu\n", seed);
	memset(paged, 0, sizeof(paged));
	const bool is_exact = is_every_noted_page_in_memory();
	for (size_t i = 0; i < CALLS; i++) {
		paged_change(random_below(&random, PAGED_BLOCKS), &random);
		if (i % CALLS_PER_LOOK == 0)
			given += assert_pages_are_noted(is_exact);
	}
	assert_true(given != 0);
	assert_sound();
}

/* Small blocks go on from page to page in a HOLE whose pages were given back: these come in again
 * one by one. */
static void pages_of_small_blocks_are_noted(void **state)
{
	(void)state;
	enum { SIZE = 64, BLOCKS = 4500, LARGE_BYTES = 8 << 20 };
	need_pages();
	for (size_t page = PAGE; page <= 16 * PAGE; page *= 16) {
		mems_finish();
		assert_int_equal(mems_option(MEMS_PAGE_SIZE, page), 0);
		mems_init();
		const bool is_exact = is_every_noted_page_in_memory();
		give_back(take(LARGE_BYTES));
		assert_int_equal(assert_pages_are_noted(is_exact), LARGE_BYTES / PAGE);
		for (size_t i = 0; i < BLOCKS; i++) {
			fill_block(take(SIZE), SIZE, 1);
			const size_t given = assert_pages_are_noted(is_exact);
			assert_true(given + i * SIZE / PAGE + 2 >= LARGE_BYTES / PAGE);
		}
		assert_sound();
	}
}

/* The page of a block is noted where the one after it is already, even if each is one leaf, and the
 * block all of it. */
static void pages_of_one_leaf_are_noted(void **state)
{
	(void)state;
	need_pages();
	for (size_t size = 64; size <= PAGE; size *= 64) {
		mems_finish();
		assert_int_equal(mems_option(MEMS_ALIGNMENT, 64), 0);
		mems_init();
		const uintptr_t large = take(MIB - PAGE / 2);
		fill_block(take(PAGE / 2), PAGE / 2, 1);
		give_back(large);
		const size_t given = assert_pages_are_noted(false);
		assert_int_equal(given, MIB / PAGE - 1);
		assert_true(take(MIB - 2 * PAGE) == large);
		fill_block(take(size), size, 1);
		assert_int_equal(assert_pages_are_noted(false), 0);
		assert_sound();
	}
}

/* In a new node some pages are brought into memory at once, and again when they went back. */
static void pages_that_come_in_at_once_are_noted(void **state)
{
	(void)state;
	enum { SIZE = 64, BLOCKS = 200 };
	need_pages();
	const uintptr_t large = take(16 * MIB);
	fill_block(large, 16 * MIB, 1);
	fill_block(take(SIZE), SIZE, 1);
	assert_int_equal(assert_pages_are_noted(is_every_noted_page_in_memory()), 0);
	give_back(large);
	assert_true(assert_pages_are_noted(is_every_noted_page_in_memory()) > 16 * MIB / PAGE);
	assert_true(take(16 * MIB) == large);
	for (size_t i = 0; i < BLOCKS; i++) {
		fill_block(take(SIZE), SIZE, 1);
		assert_pages_are_noted(false);
	}
	assert_sound();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		heap_test(a_sound_heap_reports_nothing),
		heap_test(every_damage_is_noticed),
		quick_fit_test(every_damage_to_the_bins_is_noticed),
		heap_test(every_table_is_checked),
		heap_test(every_array_is_checked),
		heap_test(every_level_is_checked),
		heap_test(every_bound_is_checked),
		heap_test(every_bit_counts),
		heap_test(while_reporting_nothing_changes),
		heap_test(a_search_whose_way_is_cut_off_stays_inside),
		heap_test(every_page_in_memory_is_noted),
		heap_test(pages_of_small_blocks_are_noted),
		heap_test(pages_of_one_leaf_are_noted),
		heap_test(pages_that_come_in_at_once_are_noted),
	};
	return run_heap_tests("checker", tests);
}
