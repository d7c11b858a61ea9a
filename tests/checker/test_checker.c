/*
 * The checker, checked: every kind of metadata is damaged on purpose, and mems_check has to notice
 * and to name the invariant. This file includes the library, whose insides it has to reach: it is
 * linked without the library.
 */
#include "mems.c" /* NOLINT(bugprone-suspicious-include): see above */

#include "support.h"

#include <sys/sysinfo.h>

/* ---- A heap to damage, and its metadata to put back -------------------------------------- */

enum {
	BIN_24 = 3, BIN_32 = 4, BIN_40 = 5,  /* for blocks of so many bytes */
	SHARED_BYTES = 8 * (DIRECT_BINS + 1) /* a size whose bin is shared */
};

/* How many blocks the bin has cached. */
static size_t bin_count(size_t bin)
{
	size_t blocks = 0;
	for (uint32_t slot = bins()->tops[bin]; slot != 0;) {
		blocks += (slot + CHUNK_SLOTS - 1) % CHUNK_SLOTS;
		slot = (*chunk_link(chunk_of(slot)) - LINK) * CHUNK_SLOTS;
	}
	return blocks;
}

/* Takes blocks and frees them in turn: so many, and perhaps some more, are cached then. */
static void bin_fill(size_t size)
{
	enum { BLOCKS = 4 * CHUNK_SLOTS };
	uintptr_t blocks[BLOCKS];
	for (size_t i = 0; i < BLOCKS; i++)
		blocks[i] = take(size);
	for (size_t i = 0; i < BLOCKS; i++)
		give_back(blocks[i]);
}

/* Under quick fit: a bin of several chunks, a shorter one, an empty one, chunks to spare, and a
 * block in a bin that is shared. */
static void make_bins(void)
{
	enum { LEFT = 20 };
	for (size_t size = 24; size <= 40; size += 8)
		bin_fill(size);
	while (bin_count(BIN_32) > LEFT)
		take(32);
	while (bin_count(BIN_40) != 0)
		take(40);
	give_back(take(SHARED_BYTES));
	assert_int_equal(bin_count(bin_of(DIRECT_BINS + 1)), 1);
	assert_true(heap.spare_chunk != 0 && *chunk_link(heap.spare_chunk) != LINK);
}

/* HOLEs of all sizes, some larger than a leaf. Under quick fit a part of them are cached blocks. */
static void make_blocks(size_t count)
{
	enum { MOST_BLOCKS = 600 };
	uintptr_t blocks[MOST_BLOCKS];
	uint64_t random = 5;
	assert_true(count <= MOST_BLOCKS);
	for (size_t i = 0; i < count; i++)
		blocks[i] = take(8 + random_below(&random, i % 50 == 0 ? 20000 : 1500));
	take(10000);
	for (size_t i = 0; i < count; i += 2) {
		if (heap.is_quick && i == count / 2)
			bins_flush();
		give_back(blocks[i]);
	}
	if (heap.is_quick)
		make_bins();
}

/* Some nodes; pages that were given back; blocks so large that neither their leaves nor their
 * regions are filled; and small ones. */
static void make_heap(void)
{
	take(PAGE);
	take(16 * PAGE);
	give_back(take(6 * MIB));
	mems_trim();
	take(2 * MIB);
	take(8 * MIB);
	make_blocks(600);
	assert_true(heap.node_count > 3 && heap.touched_pages < os_page_of(heap.top));
	assert_sound();
}

/* So small that each bit can be tried. */
static void make_small_heap(void)
{
	take(PAGE);
	take(16 * PAGE);
	take(PAGE - 800);
	make_blocks(40);
	assert_sound();
}

static struct {
	struct heap heap;
	unsigned char *tables[TABLES];
} saved;

/* Damage that went by without being noticed and named; the tests demand 0 at their end, so that
 * they show all of it at once. */
static size_t unnoticed;

static bool is_table_of_bins(unsigned name)
{
	return name == BIN_TABLE || name == THREAD_CACHES;
}

/* With what lies before it. */
static unsigned char *used_memory(unsigned name)
{
	return (unsigned char *)heap.tables[name].memory - bytes_before(&heap.tables[name]);
}

/* What a heap of this size reads of a table. */
static size_t used_bytes(unsigned name)
{
	const struct table *table = &saved.heap.tables[name];
	const size_t chunk_bytes = CHUNK_SLOTS * sizeof(uint32_t);
	if (!is_table_of_bins(name))
		return bytes_before(table) + table_bytes(table, saved.heap.top);
	return name == THREAD_CACHES || !saved.heap.is_quick
	               ? 0 /* there are no caches */
	               : offsetof(struct bins, chunks) + saved.heap.chunk_count * chunk_bytes;
}

static void tables_save(void)
{
	unnoticed = 0;
	memcpy(&saved.heap, &heap, sizeof heap);
	for (unsigned i = 0; i < TABLES; i++) {
		saved.tables[i] = malloc(used_bytes(i) + 1);
		assert_non_null(saved.tables[i]);
		memcpy(saved.tables[i], used_memory(i), used_bytes(i));
	}
}

static void tables_restore(void)
{
	memcpy(&heap, &saved.heap, sizeof heap);
	for (unsigned i = 0; i < TABLES; i++)
		memcpy(used_memory(i), saved.tables[i], used_bytes(i));
}

static void tables_forget(void)
{
	for (unsigned i = 0; i < TABLES; i++)
		free(saved.tables[i]);
	assert_int_equal(unnoticed, 0);
}

/* ---- Places to damage -------------------------------------------------------------------- */

/* The first block of at least this size after a granule. */
static size_t block_after(size_t granule, size_t size)
{
	do
		granule = segment_next(granule);
	while (granule < heap.top && (is_hole(granule) || segment_size(granule) < size));
	assert_true(granule < heap.top);
	return granule;
}

static size_t some_block(void)
{
	return block_after(0, 3);
}

/* Its leaves are not filled, and it is in no more than one region wholly. */
static size_t far_block(void)
{
	return block_after(0, 2 * MIB / 8);
}

/* There are regions that it fills. */
static size_t region_block(void)
{
	return block_after(0, 8 * MIB / 8);
}

/* A coalesced HOLE of less than a leaf, before and after a block. */
static size_t some_hole(void)
{
	size_t granule = some_block();
	do
		granule = segment_next(granule);
	while (!is_coalesced(granule) || segment_size(granule) < 3 || segment_size(granule) > 60 ||
	       is_hole(segment_next(granule)) || is_hole(segment_previous(granule)));
	assert_true(granule < heap.top);
	return granule;
}

static struct main_node *last_node(void)
{
	return &nodes()[heap.node_count - 1];
}

/* From now on the entries of the group have to be exact. */
static void group_settle(size_t group)
{
	for (size_t i = 0; i < MOST_STALE; i++) {
		if (heap.stale[i] == 0 || (heap.stale[i] - 1) / GROUP_LEAVES != group)
			continue;
		stale_settle(heap.stale[i] - 1);
		heap.stale[i] = 0;
	}
}

/* A group with a HOLE, and with an entry that has to be exact. */
static size_t exact_group(void)
{
	for (size_t group = 0; group < group_of(heap.top); group++) {
		if (tree(0)[group] > 1 && (size_t)tree(0)[group] == group_largest(group)) {
			group_settle(group);
			return group;
		}
	}
	fail_msg("%s", "there is no exact group");
	return 0;
}

static void bit_flip(unsigned name, size_t index)
{
	table_bits(name)[index / 64] ^= bit_of(index);
}

static void start_flip(size_t granule)
{
	word_flip(starts_at(leaf_of(granule)), bit_of(granule), false);
}

static void live_flip_one(size_t granule)
{
	word_flip(live_at(leaf_of(granule)), bit_of(granule), false);
}

static void coalesced_flip(size_t granule)
{
	bit_flip(COALESCED, granule);
}

/* A PROCESS becomes a coalesced HOLE, to all but the other tables, or the other way round. */
static void type_flip(size_t granule)
{
	live_change(granule, segment_size(granule), is_hole(granule));
	if (heap.is_quick)
		coalesced_flip(granule);
}

/* ---- Damages ----------------------------------------------------------------------------- */

struct damage {
	const char *name;
	unsigned invariant;
	void (*apply)(void);
};

#define DAMAGE(invariant, function) { #function, invariant, function }
#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static void top_off_the_page(void)
{
	heap.top++;
}

static void top_beyond_the_limit(void)
{
	heap.limit = heap.top - page_granules();
}

static void limit_gone(void)
{
	heap.limit = 0;
}

static void limit_beyond_the_reservation(void)
{
	heap.limit = (heap.reservation_bytes >> heap.shift) + 1;
}

static void limit_of_another_size(void)
{
	heap.limit -= page_granules();
}

static void base_on_another_page(void)
{
	heap.base += PAGE;
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

static void reservation_too_long(void)
{
	heap.reservation_bytes += PAGE;
}

static void reservation_empty(void)
{
	heap.reservation_bytes = 0;
}

static void previous_of_the_first_node(void)
{
	nodes()[0].previous = nodes();
}

static void previous_of_the_second_node(void)
{
	nodes()[1].previous = NULL;
}

static void next_of_the_second_node(void)
{
	nodes()[1].next = nodes();
}

static void next_of_the_last_node(void)
{
	last_node()->next = nodes();
}

static void next_lost(void)
{
	nodes()[0].next = NULL;
}

static void node_elsewhere(void)
{
	nodes()[1].first += page_granules();
}

static void node_too_long(void)
{
	nodes()[1].granules += page_granules();
}

static void node_too_short(void)
{
	last_node()->granules -= page_granules();
}

static void node_beyond_top(void)
{
	last_node()->granules += page_granules();
}

static void node_empty(void)
{
	nodes()[1].granules = 0;
}

static void node_off_the_page(void)
{
	nodes()[1].granules--;
}

static void node_too_few(void)
{
	heap.node_count--;
}

static void node_too_many(void)
{
	heap.node_count++;
}

static void nodes_as_many_as_pages(void)
{
	heap.node_count = page_of(heap.top) + 1;
}

static void no_node(void)
{
	heap.node_count = 0;
}

static void border_missing(void)
{
	bit_flip(BORDERS, page_of(nodes()[2].first));
}

static void border_too_many(void)
{
	bit_flip(BORDERS, page_of(nodes()[2].first) + 1);
}

static void border_moved(void)
{
	border_missing();
	border_too_many();
}

static void border_beyond_top(void)
{
	bit_flip(BORDERS, page_of(heap.top));
}

static void node_without_a_segment(void)
{
	start_flip(nodes()[2].first);
}

static void top_without_a_start(void)
{
	start_flip(heap.top);
}

static void top_as_a_hole(void)
{
	live_flip_one(heap.top);
}

static void hole_in_two(void)
{
	const size_t middle = some_hole() + 1;
	start_flip(middle);
	if (heap.is_quick)
		coalesced_flip(middle);
}

static void hole_beside_a_hole(void)
{
	type_flip(segment_next(some_hole()));
}

static void start_beyond_top(void)
{
	start_flip(heap.top + 1);
}

static void live_beyond_top(void)
{
	live_flip_one(heap.top + 2);
}

static void start_in_the_leaf_after_top(void)
{
	start_flip((leaf_of(heap.top) + 1) * 64 + 3);
}

static void live_in_the_leaf_after_top(void)
{
	live_flip_one((leaf_of(heap.top) + 1) * 64 + 4);
}

static void start_before_the_heap(void)
{
	word_flip(starts_at(0) - 1, bit_of(5), false);
}

static void live_before_the_heap(void)
{
	word_flip(live_at(0) - 1, bit_of(63), false);
}

static void leaf_not_known_to_have_a_start(void)
{
	bit_flip(START_SUMMARY, leaf_of(some_hole()));
}

static void leaf_said_to_have_a_start(void)
{
	bit_flip(START_SUMMARY, leaf_of(far_block()) + 1);
}

static void leaf_beyond_top_said_to_have_a_start(void)
{
	bit_flip(START_SUMMARY, leaf_of(heap.top) + 1);
}

static void leaf_max_too_small(void)
{
	leaf_max()[leaf_of(some_hole())] = 2;
}

static void leaf_max_too_large(void)
{
	const size_t leaf = leaf_of(far_block()) + 2;
	group_settle(leaf / GROUP_LEAVES);
	leaf_max()[leaf]++;
}

static void leaf_max_beyond_top(void)
{
	leaf_max()[leaf_of(heap.top) + 1] = 1;
}

static void leaf_max_too_large_in_a_stale_group(void)
{
	const size_t leaf = leaf_of(far_block()) + 2;
	group_settle(leaf / GROUP_LEAVES);
	hole_leave(leaf + 1, NONE);
	leaf_max()[leaf]++;
}

static void stale_leaf_max_too_small(void)
{
	const size_t leaf = leaf_of(some_hole());
	hole_leave(leaf, NONE);
	leaf_max()[leaf] = 2;
}

static void stale_leaf_missing_in_the_ring(void)
{
	const size_t leaf = leaf_of(far_block()) + 2;
	group_settle(leaf / GROUP_LEAVES);
	bit_flip(STALE, leaf);
}

static void leaf_in_the_ring_that_is_not_stale(void)
{
	const size_t leaf = leaf_of(far_block()) + 2;
	group_settle(leaf / GROUP_LEAVES);
	hole_leave(leaf, NONE);
	bit_flip(STALE, leaf);
}

static void stale_leaf_beyond_top(void)
{
	hole_leave(leaf_of(heap.top) + 1, NONE);
}

static void group_too_small(void)
{
	tree(0)[exact_group()]--;
}

static void group_too_large(void)
{
	tree(0)[exact_group()]++;
}

static void group_beyond_top(void)
{
	tree(0)[group_of(heap.top) + 1] = 1;
}

static void stale_group_too_small(void)
{
	const size_t leaf = leaf_of(some_hole());
	hole_leave(leaf, NONE);
	tree(0)[leaf / GROUP_LEAVES] = 0;
}

static void search_start_beyond_top(void)
{
	heap.search_start[CLASSES / 4 - 1][3] = (int32_t)leaf_of(heap.top) + 1;
}

static void search_start_less_than_that_before(void)
{
	memset(heap.search_start, 0, sizeof(heap.search_start));
	heap.search_start[0][1] = 1;
}

static void process_too_many(void)
{
	heap.room_granules--;
}

static void process_too_few(void)
{
	heap.room_granules++;
}

static void recent_peak_too_large(void)
{
	heap.recent_peak++;
}

static void block_counted_as_a_hole(void)
{
	type_flip(far_block());
}

static void hole_counted_as_a_block(void)
{
	type_flip(some_hole());
}

static void peak_too_small(void)
{
	heap.room_granules -= (ptrdiff_t)heap.recent_peak;
	heap.recent_peak = 0;
}

static void peak_beyond_top(void)
{
	heap.peak_before = heap.top + 1;
}

static void root_beyond_top(void)
{
	heap.root = heap.top;
}

static void root_inside_a_block(void)
{
	heap.root = some_block() + 1;
}

static void root_that_is_free(void)
{
	heap.root = some_hole();
}

static void page_of_a_block_not_touched(void)
{
	bit_flip(TOUCHED, os_page_of(some_block()));
	heap.touched_pages--;
}

static void touched_page_given_back(void)
{
	bit_flip(GIVEN_BACK, os_page_of(some_block()));
}

static void page_beyond_top_touched(void)
{
	bit_flip(TOUCHED, os_page_of(heap.top));
}

static void page_beyond_top_given_back(void)
{
	bit_flip(GIVEN_BACK, os_page_of(heap.top));
}

static void touched_pages_too_many(void)
{
	heap.touched_pages++;
}

static void touched_pages_too_few(void)
{
	heap.touched_pages--;
}

static void sweep_beyond_top(void)
{
	heap.sweep = os_page_of(heap.top) + 1;
}

static void kept_more_than_was_in_use(void)
{
	heap.kept_pages = os_page_from(peak_granules()) + 1;
}

static void idle_pages_too_many(void)
{
	heap.idle_pages++;
}

static void page_that_was_given_back_idle(void)
{
	const size_t page = bits_find(table_bits(TOUCHED), 0, os_page_of(heap.top), false);
	bits_set(table_bits(IDLE), page, page + 1, true);
	heap.idle_pages++;
}

static void idle_page_forgotten(void)
{
	const size_t page = bits_find(table_bits(TOUCHED), 0, os_page_of(heap.top), false);
	bits_set(table_bits(TOUCHED), page, page + 1, true);
	heap.touched_pages++;
}

static void journal_without_blocks(void)
{
	heap.journal.is_on = true;
}

static void live_lost_in_a_block(void)
{
	live_flip_one(some_block() + 1);
}

static void live_in_a_hole(void)
{
	live_flip_one(some_hole() + 1);
}

static void live_filled_in_a_far_block(void)
{
	live_flip_one(far_block() + 200);
}

static void live_lost_at_the_end_of_a_far_block(void)
{
	live_flip_one(segment_next(far_block()) - 1);
}

static void leaf_lost_in_a_far_block(void)
{
	bit_flip(LIVE_LEAVES, leaf_of(far_block()) + 70);
}

static void leaf_live_where_none_is(void)
{
	bit_flip(LIVE_LEAVES, leaf_of(some_block()));
}

static void leaf_live_in_a_region(void)
{
	bit_flip(LIVE_LEAVES, leaf_of(region_block() + MIB / 2));
}

static void leaf_live_beyond_top(void)
{
	bit_flip(LIVE_LEAVES, leaf_of(heap.top));
}

static void region_lost(void)
{
	bit_flip(LIVE_REGIONS, (region_block() + MIB / 2) >> REGION_LOG2);
}

static void region_live_where_none_is(void)
{
	bit_flip(LIVE_REGIONS, 0);
}

static void region_live_beyond_top(void)
{
	bit_flip(LIVE_REGIONS, (heap.top >> REGION_LOG2) + 1);
}

static const struct damage damages[] = {
	DAMAGE(1, top_off_the_page),
	DAMAGE(1, top_beyond_the_limit),
	DAMAGE(1, limit_gone),
	DAMAGE(1, limit_beyond_the_reservation),
	DAMAGE(16, limit_of_another_size),
	DAMAGE(1, base_on_another_page),
	DAMAGE(1, another_policy),
	DAMAGE(1, reservation_elsewhere),
	DAMAGE(16, reservation_too_short),
	DAMAGE(16, reservation_too_long),
	DAMAGE(1, reservation_empty),
	DAMAGE(2, previous_of_the_first_node),
	DAMAGE(2, previous_of_the_second_node),
	DAMAGE(2, next_of_the_second_node),
	DAMAGE(2, next_of_the_last_node),
	DAMAGE(2, next_lost),
	DAMAGE(3, node_elsewhere),
	DAMAGE(3, node_too_long),
	DAMAGE(3, node_too_short),
	DAMAGE(3, node_beyond_top),
	DAMAGE(3, node_empty),
	DAMAGE(3, node_off_the_page),
	DAMAGE(3, node_too_few),
	DAMAGE(3, node_too_many),
	DAMAGE(2, nodes_as_many_as_pages),
	DAMAGE(3, no_node),
	DAMAGE(4, border_missing),
	DAMAGE(4, border_too_many),
	DAMAGE(4, border_moved),
	DAMAGE(4, border_beyond_top),
	DAMAGE(5, node_without_a_segment),
	DAMAGE(5, top_without_a_start),
	DAMAGE(5, top_as_a_hole),
	DAMAGE(7, hole_in_two),
	DAMAGE(7, hole_beside_a_hole),
	DAMAGE(8, start_beyond_top),
	DAMAGE(8, live_beyond_top),
	DAMAGE(8, start_in_the_leaf_after_top),
	DAMAGE(8, live_in_the_leaf_after_top),
	DAMAGE(8, start_before_the_heap),
	DAMAGE(8, live_before_the_heap),
	DAMAGE(9, leaf_not_known_to_have_a_start),
	DAMAGE(9, leaf_said_to_have_a_start),
	DAMAGE(9, leaf_beyond_top_said_to_have_a_start),
	DAMAGE(10, leaf_max_too_small),
	DAMAGE(10, leaf_max_too_large),
	DAMAGE(10, leaf_max_beyond_top),
	DAMAGE(10, leaf_max_too_large_in_a_stale_group),
	DAMAGE(10, stale_leaf_max_too_small),
	DAMAGE(10, stale_leaf_missing_in_the_ring),
	DAMAGE(10, leaf_in_the_ring_that_is_not_stale),
	DAMAGE(10, stale_leaf_beyond_top),
	DAMAGE(11, group_too_small),
	DAMAGE(11, group_too_large),
	DAMAGE(11, group_beyond_top),
	DAMAGE(11, stale_group_too_small),
	DAMAGE(12, search_start_beyond_top),
	DAMAGE(12, search_start_less_than_that_before),
	DAMAGE(13, process_too_many),
	DAMAGE(13, process_too_few),
	DAMAGE(13, recent_peak_too_large),
	DAMAGE(13, block_counted_as_a_hole),
	DAMAGE(13, hole_counted_as_a_block),
	DAMAGE(13, peak_too_small),
	DAMAGE(13, peak_beyond_top),
	DAMAGE(13, root_beyond_top),
	DAMAGE(13, root_inside_a_block),
	DAMAGE(13, root_that_is_free),
	DAMAGE(14, page_of_a_block_not_touched),
	DAMAGE(14, touched_page_given_back),
	DAMAGE(14, page_beyond_top_touched),
	DAMAGE(14, page_beyond_top_given_back),
	DAMAGE(14, touched_pages_too_many),
	DAMAGE(14, touched_pages_too_few),
	DAMAGE(14, sweep_beyond_top),
	DAMAGE(14, kept_more_than_was_in_use),
	DAMAGE(14, idle_pages_too_many),
	DAMAGE(14, page_that_was_given_back_idle),
	DAMAGE(18, journal_without_blocks),
	DAMAGE(17, live_lost_in_a_block),
	DAMAGE(17, live_in_a_hole),
	DAMAGE(17, live_filled_in_a_far_block),
	DAMAGE(17, live_lost_at_the_end_of_a_far_block),
	DAMAGE(17, leaf_lost_in_a_far_block),
	DAMAGE(17, leaf_live_where_none_is),
	DAMAGE(17, leaf_live_in_a_region),
	DAMAGE(17, leaf_live_beyond_top),
	DAMAGE(17, region_lost),
	DAMAGE(17, region_live_where_none_is),
	DAMAGE(17, region_live_beyond_top),
};

/* ---- Damages to what quick fit caches ---------------------------------------------------- */

static uint32_t *top_link(void)
{
	const uint32_t chunk = chunk_of(bins()->tops[BIN_24]);
	assert_true(*chunk_link(chunk) > LINK);
	return chunk_link(chunk);
}

/* Those of a full chunk. */
static uint32_t *items(void)
{
	return chunk_link(*top_link() - LINK) + 1;
}

static size_t cached_block(void)
{
	return items()[1];
}

static void hole_not_coalesced(void)
{
	coalesced_flip(some_hole());
}

static void cached_block_coalesced(void)
{
	coalesced_flip(cached_block());
}

static void process_coalesced(void)
{
	coalesced_flip(some_block());
}

static void coalesced_without_a_start(void)
{
	coalesced_flip(some_block() + 1);
}

static void start_of_a_hole_lost(void)
{
	start_flip(some_hole());
}

static void coalesced_beyond_top(void)
{
	coalesced_flip((leaf_of(heap.top) + 1) * 64 + 3);
}

static void coalesced_at_top(void)
{
	coalesced_flip(heap.top);
}

static void cached_block_live(void)
{
	live_change(cached_block(), 3, true);
}

static void cached_block_without_a_start(void)
{
	start_flip(cached_block());
}

static void cached_block_in_two(void)
{
	start_flip(cached_block() + 1);
}

static void bin_with_a_block_too_few(void)
{
	bins()->tops[BIN_24]--;
}

static void bin_with_a_block_too_many(void)
{
	bins()->tops[BIN_24]++;
}

static void purged_end_beyond_top(void)
{
	heap.purged_end = os_page_of(heap.top) + 1;
}

static void page_under_cached_blocks_given_back(void)
{
	size_t page = 0;
	while (!is_page_free(page) || is_page_coalesced(page))
		page++;
	assert_true(page < os_page_of(heap.top) && bit_is_set(table_bits(TOUCHED), page));
	pages_forget(page, page + 1);
}

static void bin_in_another_chunk(void)
{
	bins()->tops[BIN_24] += CHUNK_SLOTS;
}

static void shared_bin_of_another_size(void)
{
	bins()->shared_sizes[bin_of(DIRECT_BINS + 1) - DIRECT_BINS - 1]++;
}

static void bin_emptied(void)
{
	bins()->tops[BIN_24] = 0;
}

static void bin_with_the_chunks_of_another(void)
{
	bins()->tops[BIN_24] = bins()->tops[BIN_32];
}

static void bins_exchanged(void)
{
	const uint32_t kept = bins()->tops[BIN_24];
	bins()->tops[BIN_24] = bins()->tops[BIN_32];
	bins()->tops[BIN_32] = kept;
}

static void bin_with_a_chunk_never_taken(void)
{
	bins()->tops[BIN_24] = heap.chunk_count * CHUNK_SLOTS;
}

static void bin_with_a_slot_of_no_chunk(void)
{
	bins()->tops[BIN_24] = UINT32_MAX;
}

static void misses_too_many(void)
{
	bins()->misses[BIN_40] = RUN_BLOCKS + 1;
}

static void item_off_its_block(void)
{
	items()[0]++;
}

static void item_beyond_top(void)
{
	items()[1] = (uint32_t)heap.top;
}

static void item_twice(void)
{
	items()[3] = items()[4];
}

static void items_with_the_same_sum(void)
{
	uint32_t *const item = items();
	assert_true(item[0] + item[3] == item[1] + item[2] && item[0] != item[1]);
	item[0] = item[1];
	item[3] = item[2];
}

static void item_at_a_live_block(void)
{
	items()[1] = (uint32_t)some_block();
}

static void items_of_two_bins_exchanged(void)
{
	uint32_t *const other = &slots()[bins()->tops[BIN_32]];
	const uint32_t kept = items()[0];
	items()[0] = *other;
	*other = kept;
}

static void link_lost(void)
{
	*top_link() = LINK;
}

static void link_that_is_none(void)
{
	*top_link() = 5;
}

static void link_skips_a_chunk(void)
{
	*top_link() = *chunk_link(*top_link() - LINK);
}

static void link_to_itself(void)
{
	*top_link() = LINK | chunk_of(bins()->tops[BIN_24]);
}

static void links_in_a_circle(void)
{
	*chunk_link(*top_link() - LINK) = LINK | chunk_of(bins()->tops[BIN_24]);
}

static void link_to_a_chunk_never_taken(void)
{
	*top_link() = LINK | heap.chunk_count;
}

static void first_slot_overwritten(void)
{
	slots()[0] = 7;
}

static void spare_chunks_lost(void)
{
	heap.spare_chunk = 0;
}

static void second_spare_chunk_lost(void)
{
	*chunk_link(heap.spare_chunk) = LINK;
}

static void spare_chunks_in_a_circle(void)
{
	*chunk_link(heap.spare_chunk) = LINK | heap.spare_chunk;
}

static void spare_chunk_never_taken(void)
{
	heap.spare_chunk = heap.chunk_count;
}

static void spare_chunk_in_use(void)
{
	heap.spare_chunk = chunk_of(bins()->tops[BIN_24]);
}

static void chunks_too_few(void)
{
	heap.chunk_count--;
}

static void chunks_too_many(void)
{
	heap.chunk_count++;
}

static void no_chunks(void)
{
	heap.chunk_count = 0;
}

static void more_chunks_than_there_can_be(void)
{
	heap.chunk_count = MAX_CHUNKS + 1;
}

static void coalesced_too_many(void)
{
	heap.coalesced_granules++;
}

static void coalesced_too_few(void)
{
	heap.coalesced_granules--;
}

static void flush_ahead_of_the_heap(void)
{
	heap.flush_top = heap.top + 1;
}

static void flush_doubled_too_often(void)
{
	heap.flush_shift = MOST_FLUSH_SHIFT + 1;
}

static void caches_left_open(void)
{
	heap.is_shared = true;
}

static void claim_left(void)
{
	heap.claimed = some_block();
}

static const struct damage quick_damages[] = {
	DAMAGE(15, hole_not_coalesced),
	DAMAGE(15, cached_block_coalesced),
	DAMAGE(6, process_coalesced),
	DAMAGE(6, coalesced_without_a_start),
	DAMAGE(6, start_of_a_hole_lost),
	DAMAGE(8, coalesced_beyond_top),
	DAMAGE(8, coalesced_at_top),
	DAMAGE(15, cached_block_live),
	DAMAGE(15, cached_block_without_a_start),
	DAMAGE(15, cached_block_in_two),
	DAMAGE(15, bin_with_a_block_too_few),
	DAMAGE(15, bin_with_a_block_too_many),
	DAMAGE(14, purged_end_beyond_top),
	DAMAGE(14, page_under_cached_blocks_given_back),
	DAMAGE(15, bin_in_another_chunk),
	DAMAGE(15, shared_bin_of_another_size),
	DAMAGE(15, bin_emptied),
	DAMAGE(15, bin_with_the_chunks_of_another),
	DAMAGE(15, bins_exchanged),
	DAMAGE(15, bin_with_a_chunk_never_taken),
	DAMAGE(15, bin_with_a_slot_of_no_chunk),
	DAMAGE(15, misses_too_many),
	DAMAGE(15, item_off_its_block),
	DAMAGE(15, item_beyond_top),
	DAMAGE(15, item_twice),
	DAMAGE(15, items_with_the_same_sum),
	DAMAGE(15, item_at_a_live_block),
	DAMAGE(15, items_of_two_bins_exchanged),
	DAMAGE(15, link_lost),
	DAMAGE(15, link_that_is_none),
	DAMAGE(15, link_skips_a_chunk),
	DAMAGE(15, link_to_itself),
	DAMAGE(15, links_in_a_circle),
	DAMAGE(15, link_to_a_chunk_never_taken),
	DAMAGE(15, first_slot_overwritten),
	DAMAGE(15, spare_chunks_lost),
	DAMAGE(15, second_spare_chunk_lost),
	DAMAGE(15, spare_chunks_in_a_circle),
	DAMAGE(15, spare_chunk_never_taken),
	DAMAGE(15, spare_chunk_in_use),
	DAMAGE(15, chunks_too_few),
	DAMAGE(15, chunks_too_many),
	DAMAGE(16, no_chunks),
	DAMAGE(16, more_chunks_than_there_can_be),
	DAMAGE(13, coalesced_too_many),
	DAMAGE(13, coalesced_too_few),
	DAMAGE(15, flush_ahead_of_the_heap),
	DAMAGE(15, flush_doubled_too_often),
	DAMAGE(15, caches_left_open),
	DAMAGE(15, claim_left),
};

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

/* The damage that is there now is noticed, named (unless invariant is 0), and counted alike with
 * and without a report. */
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
	assert_int_equal(mems_check(NULL), broken);
	assert_int_equal(lines_of(text), broken);
	if (broken == 0 || (invariant != 0 && !is_named(invariant, text))) {
		print_error("%s: I%u is not named, but\n%s", name, invariant,
		            broken == 0 ? "nothing\n" : text);
		unnoticed++;
	}
	free(text);
}

/* And when it is repaired the heap is sound. */
static void expect_all_noticed(const struct damage *list, size_t count)
{
	make_heap();
	tables_save();
	for (size_t i = 0; i < count; i++) {
		list[i].apply();
		expect_noticed(list[i].name, list[i].invariant);
		tables_restore();
		assert_int_equal(mems_check(stderr), 0);
	}
	tables_forget();
}

static void every_damage_is_noticed(void **state)
{
	(void)state;
	expect_all_noticed(damages, COUNT(damages));
}

/* Quick fit does not know which pages are free. */
static void a_free_page_that_is_not_idle_is_noticed(void **state)
{
	static const struct damage damage[] = { DAMAGE(14, idle_page_forgotten) };
	(void)state;
	expect_all_noticed(damage, COUNT(damage));
}

static void every_damage_to_the_bins_is_noticed(void **state)
{
	(void)state;
	expect_all_noticed(quick_damages, COUNT(quick_damages));
}

/* No link is followed out of the journal, and none for ever. */
static void expect_links_noticed(struct live_block *entry)
{
	uint32_t *const bucket = bucket_of(entry->granule);
	struct live_block *const unused = entry_at(heap.journal.unused);
	const uint32_t index = *bucket;
	for (unsigned bit = 0; bit < 32; bit++) {
		*bucket ^= UINT32_C(1) << bit;
		expect_noticed("a bucket that leads elsewhere", 18);
		*bucket = index;
		unused->next ^= UINT32_C(1) << bit;
		expect_noticed("a list of unused entries that leads elsewhere", 18);
		unused->next = 0;
		heap.journal.unused ^= UINT32_C(1) << bit;
		expect_noticed("another first unused entry", 18);
		heap.journal.unused = (uint32_t)(unused - entry_at(0));
	}
	entry->granule++;
	entry->next = index;
	expect_noticed("a bucket that has no end", 18);
	entry->granule--;
	entry->next = 0;
	assert_sound();
}

static void expect_sizes_noticed(struct journal *journal)
{
	const struct journal before = *journal;
	for (unsigned bit = 0; bit < 32; bit++) {
		journal->entries ^= UINT32_C(1) << bit;
		expect_noticed("another number of entries", 18);
		*journal = before;
		journal->bucket_shift ^= 1U << bit;
		expect_noticed("another hash", 18);
		*journal = before;
	}
	for (unsigned i = 0; i < JOURNAL_ARRAYS; i++) {
		journal->arrays[i].memory = (char *)before.arrays[i].memory + 1;
		expect_noticed("an array that does not begin with a page", 18);
		journal->arrays[i].memory = NULL;
		expect_noticed("an array that is not there", 18);
		*journal = before;
		journal->arrays[i].bytes = 0;
		expect_noticed("an array without room", 18);
		*journal = before;
	}
	assert_sound();
}

/* What the journal says of a block is checked as well. */
static void every_entry_of_the_journal_is_checked(void **state)
{
	(void)state;
	unnoticed = 0;
	mems_finish();
	assert_int_equal(mems_option(MEMS_HISTORY, 10), 0);
	mems_init();
	take(8);
	struct live_block *const entry = entry_at(*live_link(granule_of(at(take(8)))));
	assert_sound();
	entry->call++;
	expect_noticed("a block that a later call will take", 18);
	entry->call--;
	entry->site = heap.journal.site_count;
	expect_noticed("a block of a site that there is not", 18);
	entry->site--;
	entry->granule++;
	expect_noticed("a block without an entry", 18);
	entry->granule--;
	entry->slack = MAX_ALIGNMENT - 1;
	expect_noticed("a block with more bytes than asked for than a granule has", 18);
	entry->slack = 0;
	assert_sound();
	expect_links_noticed(entry);
	expect_sizes_noticed(&heap.journal);
	mems_finish();
	assert_int_equal(mems_option(MEMS_HISTORY, 0), 0);
	mems_init();
	assert_int_equal(unnoticed, 0);
}

/* Labels and callers may lie as far apart as each other, and come in all pairs: no list of sites gets
 * long by that, for each call goes along one. */
static void no_list_of_sites_gets_long(void **state)
{
	enum { LABELS = 200, CALLERS = 200, BYTES = 16, MOST = 16 };
	static const char labels[LABELS][BYTES];
	(void)state;
	for (uintptr_t apart = 1; apart <= 4096; apart *= 4) {
		mems_finish();
		assert_int_equal(mems_option(MEMS_HISTORY, 1), 0);
		mems_init();
		for (uintptr_t i = 0; i < LABELS * CALLERS; i++) {
			mems_set_label(labels[i % LABELS]);
			mems_set_caller((const void *)(0x400000 + i / LABELS * apart));
			give_back(take(8));
		}
		mems_set_label(NULL);
		mems_set_caller(NULL);
		assert_int_equal(heap.journal.site_count, 1 + LABELS * CALLERS);
		size_t longest = 0;
		for (uint32_t i = 1; i < heap.journal.site_count; i++) {
			size_t length = 0;
			for (uint32_t site = i; site != 0; site = site_at(site)->next)
				length++;
			longest = max_size(longest, length);
		}
		assert_in_range(longest, 1, MOST);
	}
	mems_finish();
	assert_int_equal(mems_option(MEMS_HISTORY, 0), 0);
	mems_init();
}

/* Where each table lies, and how far it can be written. */
static void every_table_is_checked(void **state)
{
	(void)state;
	make_heap();
	tables_save();
	for (unsigned i = 0; i < TABLES; i++) {
		struct table *const table = &heap.tables[i];
		table->memory += 64;
		expect_noticed("a table too far", 16);
		table->memory -= 128;
		expect_noticed("a table too near", 16);
		tables_restore();
		table->reserved_bytes = heap.reservation_bytes;
		expect_noticed("a table that is too long", 16);
		tables_restore();
		table->committed_bytes = table->reserved_bytes + PAGE;
		expect_noticed("a table writable beyond its end", 16);
		table->committed_bytes = 0;
		if (saved.heap.tables[i].committed_bytes != 0)
			expect_noticed("a table that cannot be written", 16);
		tables_restore();
	}
	tables_forget();
}

/* ---- Every bit --------------------------------------------------------------------------- */

/* A field of struct heap that has one right value only. */
struct field {
	const char *name;
	unsigned invariant; /* 0: that depends on the bit */
	size_t offset, bytes;
};

#define FIELD(invariant, field) \
	{ #field, invariant, offsetof(struct heap, field), sizeof(heap.field) }

static void expect_every_bit_noticed(const struct field *field)
{
	unsigned char *const bytes = (unsigned char *)&heap + field->offset;
	for (size_t bit = 0; bit < field->bytes * CHAR_BIT; bit++) {
		bytes[bit / CHAR_BIT] ^= (unsigned char)(1U << bit % CHAR_BIT);
		expect_noticed(field->name, field->invariant);
		memcpy(bytes, (unsigned char *)&saved.heap + field->offset, field->bytes);
	}
}

static void every_bit_of_the_state_counts(void **state)
{
	static const struct field fields[] = {
		FIELD(1, start), FIELD(1, base), FIELD(0, top), FIELD(1, shift), FIELD(1, page_log2),
		FIELD(1, os_page_log2), FIELD(1, reservation), FIELD(0, reservation_bytes),
		FIELD(0, limit), FIELD(16, movable_granules), FIELD(0, node_count), FIELD(14, touched_pages),
		FIELD(14, idle_pages),
		FIELD(13, recent_peak), FIELD(13, room_granules),
	};
	static const struct field quick_fields[] = {
		FIELD(13, coalesced_granules), FIELD(0, spare_chunk), FIELD(0, chunk_count),
	};
	(void)state;
	make_small_heap();
	tables_save();
	for (size_t i = 0; i < COUNT(fields); i++)
		expect_every_bit_noticed(&fields[i]);
	for (size_t i = 0; heap.is_quick && i < COUNT(quick_fields); i++)
		expect_every_bit_noticed(&quick_fields[i]);
	tables_forget();
}

static void every_bit_of_what_describes_a_table_counts(void **state)
{
	(void)state;
	make_small_heap();
	tables_save();
	for (unsigned i = 0; i < TABLES; i++) {
		const size_t at_table = offsetof(struct heap, tables) + i * sizeof(struct table);
		const size_t memory = at_table + offsetof(struct table, memory);
		const size_t reserved = at_table + offsetof(struct table, reserved_bytes);
		const size_t entry = at_table + offsetof(struct table, entry_bytes);
		const size_t granules = at_table + offsetof(struct table, granules_log2);
		const struct field fields[] = {
			{ "memory", 16, memory, sizeof(char *) },
			{ "reserved_bytes", 16, reserved, sizeof(size_t) },
			{ "entry_bytes", 16, entry, sizeof(size_t) },
			{ "granules_log2", 16, granules, sizeof(unsigned) },
		};
		for (size_t k = 0; k < COUNT(fields); k++)
			expect_every_bit_noticed(&fields[k]);
	}
	tables_forget();
}

static uint64_t mixed(uint64_t sum, size_t value)
{
	return (sum ^ value) * UINT64_C(0x9e3779b97f4a7c15) + (sum >> 29);
}

/* What the next request of each size that has a bin gets. */
static uint64_t answers_of_bins(void)
{
	uint64_t sum = 0;
	for (size_t bin = 0; heap.is_quick && bin < BINS; bin++)
		sum = mixed(sum, slots()[bins()->tops[bin]]);
	return sum;
}

/* What searches and translation answer, as far as it may depend on this table. */
static uint64_t answers(unsigned name)
{
	uint64_t sum = 0;
	if (is_table_of_bins(name))
		return answers_of_bins();
	for (size_t size = 1; size < 2 * LARGE; size += size < 70 ? 1 : 37)
		sum = mixed(mixed(sum, hole_first(size).start), hole_after(size, size).start);
	for (size_t granule = 0; granule < heap.top; granule += 11) {
		sum = mixed(mixed(sum, segment_next(granule)), segment_of(granule));
		sum = mixed(sum, is_live(granule) + node_of(granule));
	}
	return sum;
}

/* A start more or less between blocks only makes other blocks; beside or in a HOLE it shows. */
static bool makes_other_blocks(unsigned name, size_t bit)
{
	const size_t first = CHAR_BIT * bytes_before(&heap.tables[name]);
	const size_t granule = bit - first;
	if (name != STARTS || bit <= first || granule >= heap.top || is_border(granule))
		return false;
	return is_live(granule) && is_live(granule - 1);
}

/* Each bit that a heap of this size has in any table is noticed, or nobody who searches reads it.
 * Under a sanitizer, and in 32 bits, whose tables are the same, every seventh: each bit of a word comes
 * in turn, and in seven runs all. */
static void every_bit_of_the_tables_counts(void **state)
{
	enum { STRIDE = ADDRESS_SANITIZER || SIZE_MAX <= UINT32_MAX ? 7 : 1 };
	(void)state;
	make_small_heap();
	tables_save();
	for (unsigned name = 0; name < TABLES; name++) {
		const uint64_t right = answers(name);
		tables_restore();
		unsigned char *const bytes = used_memory(name);
		size_t harmless = 0;
		const size_t first = (size_t)getpid() % STRIDE;
		for (size_t bit = first; bit < used_bytes(name) * CHAR_BIT; bit += STRIDE) {
			const bool may_be = makes_other_blocks(name, bit);
			bytes[bit / CHAR_BIT] ^= (unsigned char)(1U << bit % CHAR_BIT);
			const bool is_noticed = mems_check(NULL) != 0;
			if (!is_noticed && !may_be && answers(name) != right) {
				print_error("bit %zu of table %u is not noticed\n", bit, name);
				unnoticed++;
			}
			harmless += !is_noticed;
			if (is_noticed || is_table_of_bins(name))
				bytes[bit / CHAR_BIT] ^= (unsigned char)(1U << bit % CHAR_BIT);
			else
				tables_restore();
		}
		if (getenv("VERBOSE") != NULL)
			print_message("table %u: %zu of %zu bits are not noticed\n", name, harmless,
			              used_bytes(name) * CHAR_BIT);
	}
	assert_sound();
	tables_forget();
}

/* Every level of both pyramids, where its first, its last entry and the one after are. */
static void every_level_is_checked(void **state)
{
	(void)state;
	make_heap();
	tables_save();
	for (unsigned level = 0; level < SUMMARY_LEVELS; level++) {
		const size_t leaf = leaf_of(heap.top) >> (6 * level);
		bit_flip(START_SUMMARY - level, 0);
		expect_noticed("the first bit of a level of start_summary", 9);
		bit_flip(START_SUMMARY - level, 0);
		bit_flip(START_SUMMARY - level, leaf);
		expect_noticed("the last bit of a level of start_summary", 9);
		bit_flip(START_SUMMARY - level, leaf);
		bit_flip(START_SUMMARY - level, leaf + 1);
		if ((leaf + 1) % 64 != 0)
			expect_noticed("the bit after a level of start_summary", 9);
		tables_restore();
	}
	for (unsigned level = 0; level < TREE_LEVELS; level++) {
		const size_t last = heap.top >> (GROUP_LOG2 + FANOUT_LOG2 * level);
		tree(level)[0] += level == 0 ? -tree(0)[0] - 1 : 1;
		expect_noticed("the first entry of a level of the tree", 11);
		tables_restore();
		tree(level)[last] -= 1;
		expect_noticed("the last entry of a level of the tree", 11);
		tables_restore();
		tree(level)[last + 1] = INT32_MAX;
		expect_noticed("the entry after a level of the tree", 11);
		tables_restore();
	}
	tables_forget();
}

/* The search start of every class that has a HOLE, put beyond it. */
static void every_search_start_is_checked(void **state)
{
	(void)state;
	make_heap();
	tables_save();
	for (unsigned class = 0; class < CLASSES; class++) {
		const struct hole hole = hole_first(class_min[class]);
		assert_true(hole.start != NONE);
		for (unsigned later = class; later < CLASSES; later++) {
			int32_t start = heap.search_start[later / 4][later % 4];
			start = (int32_t)max_size((size_t)start, leaf_of(hole.start) + 1);
			heap.search_start[later / 4][later % 4] = start;
		}
		expect_noticed("a search start", 12);
		tables_restore();
	}
	tables_forget();
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
	assert_fails(EBUSY, mems_trim() == 0);
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
	heap.touched_pages++;
	assert_int_equal(mems_check(out), 1);
	heap.touched_pages--;
	assert_true(calls > 0);
	fclose(out);
	assert_sound();
}

/* ---- Searches on every level ------------------------------------------------------------- */

enum { SEARCHED_HOLES = 6 };

/* One HOLE, of granules that are bytes, in each of these groups: the way from one to the next leads
 * over one level more each time. */
static const size_t searched_groups[SEARCHED_HOLES] = { 1, 3, 20, 300, 5000, 70000 };

/* Takes all of a large HOLE up to a granule. */
static void take_up_to(size_t granule)
{
	if (heap.is_quick)
		memset(bins()->misses, 0, sizeof(bins()->misses)); /* no runs */
	const size_t first = hole_first(1).start;
	if (first < granule)
		take(granule - first);
}

static void expect_hole(size_t size, size_t granule)
{
	memset(heap.search_start, 0, sizeof(heap.search_start));
	assert_true(hole_first(size).start == granule);
	assert_true(granule == 0 || hole_after(size, granule - 1).start == granule);
}

/* A HOLE is found from the start of the heap, and so is the end of what lies before and after it. */
static void search_all_levels(size_t size)
{
	uintptr_t holes[SEARCHED_HOLES];
	const size_t most = (searched_groups[SEARCHED_HOLES - 1] + 1) << GROUP_LOG2;
	mems_finish();
	assert_int_equal(mems_option(MEMS_ALIGNMENT, 1), 0);
	mems_init();
	give_back(take(most));
	for (size_t i = 0; i < SEARCHED_HOLES; i++) {
		take_up_to((searched_groups[i] << GROUP_LOG2) + 17);
		holes[i] = take(size);
	}
	take_up_to(heap.top);
	for (size_t i = SEARCHED_HOLES; i-- > 0;) {
		const size_t granule = holes[i] - heap.start;
		give_back(holes[i]);
		bins_flush();
		expect_hole(size, granule);
		expect_hole(size - 1, granule);
		assert_true(segment_next(segment_previous(granule)) == granule);
		assert_true(segment_of(granule + size - 1) == granule);
		assert_true(segment_size(granule) == size);
	}
	assert_true(hole_first(size + 1).start == NONE);
	assert_sound();
}

static void every_level_is_reached_by_a_search(void **state)
{
	(void)state;
	if (heap.limit << heap.shift < 2048 * MIB) {
		print_message("note: a search on every level: skipped, for there is too little room\n");
		skip();
	}
	search_all_levels(100);
	search_all_levels(LARGE);
	search_all_levels(3000);
}

/* The last level of start_summary: a block of more than 2^30 granules. Of the tree, an entry at the
 * top that is missing, or beyond all. */
static void the_highest_levels_are_checked(void **state)
{
	(void)state;
	if ((uint64_t)heap.limit << heap.shift < UINT64_C(4096) * MIB) {
		print_message("note: the highest levels: skipped, for there is too little room\n");
		skip();
	}
	mems_finish();
	assert_int_equal(mems_option(MEMS_ALIGNMENT, 1), 0);
	mems_init();
	const uintptr_t large = take(1100 * MIB);
	const uintptr_t small = take(100);
	assert_true(segment_next(large - heap.start) == heap.top - (heap.top - 1100 * MIB));
	assert_true(segment_previous(small - heap.start) == large - heap.start);
	tree(TREE_LEVELS - 1)[0]++;
	assert_true(mems_check(NULL) == 1);
	tree(TREE_LEVELS - 1)[0]--;
	tree(TREE_LEVELS - 1)[15]++;
	bit_flip(START_SUMMARIES, 1);
	assert_true(mems_check(NULL) == 2);
	bit_flip(START_SUMMARIES, 1);
	tree(TREE_LEVELS - 1)[15]--;
}

/* ---- A search while another thread changes what it reads --------------------------------- */

/* What is missing leads to a place in the heap all the same: top, or the first segment. */
static void expect_inside(size_t granule)
{
	const size_t next = segment_next(granule);
	const size_t start = segment_of(granule);
	tables_restore();
	assert_true(next > granule && next <= heap.top);
	assert_true(start <= granule);
}

static void a_search_whose_way_is_cut_off_stays_inside(void **state)
{
	(void)state;
	make_heap();
	tables_save();
	const size_t granule = region_block() + 100000;
	const size_t after = leaf_of(segment_next(granule));
	const size_t before = leaf_of(segment_of(granule));
	for (unsigned level = 0; level < SUMMARY_LEVELS; level++) {
		word_store(&summary(level)[after >> (6 * level) >> 6], 0);
		expect_inside(granule);
		word_store(&summary(level)[before >> (6 * level) >> 6], 0);
		expect_inside(granule);
		memset(table_bits(START_SUMMARY - level), 0, used_bytes(START_SUMMARY - level));
		expect_inside(granule);
	}
	for (unsigned level = 0; level < SUMMARY_LEVELS; level++)
		memset(table_bits(START_SUMMARY - level), 0, used_bytes(START_SUMMARY - level));
	expect_inside(granule);
	word_store(starts_at(after), 0);
	expect_inside(granule);
	word_store(starts_at(before), 0);
	expect_inside(granule);
	tables_forget();
}

/* ---- Pages: the metadata beside what the OS says ----------------------------------------- */

enum { PAGED_BLOCKS = 200 };

static struct {
	uintptr_t address;
	size_t size;       /* 0 for none */
} paged[PAGED_BLOCKS];

/* Pages that are swapped out are touched as well; quick fit touches a run of blocks at once. */
static bool is_every_touched_page_in_memory(void)
{
	struct sysinfo system;
	return sysinfo(&system) == 0 && system.totalswap == 0 && !heap.is_quick;
}

/* Every page that is in memory is touched, so that it can be given back; no page beyond the heap
 * is. All blocks are filled. Returns how many pages have been given back. */
static size_t assert_pages_are_noted(bool is_exact)
{
	const size_t pages = os_page_of(heap.top);
	const uint64_t *touched = table_bits(TOUCHED);
	unsigned char *const in_memory = calloc(pages + 1, 1);
	size_t given = 0;
	assert_non_null(in_memory);
	assert_int_equal(mincore(heap.base, heap.top << heap.shift, in_memory), 0);
	for (size_t i = 0; i < round_up(pages, 64); i++) {
		const bool is_in_memory = i < pages && (in_memory[i] & 1) != 0;
		const bool is_noted = bit_is_set(touched, i);
		assert_true(is_noted ? i < pages : !is_in_memory);
		assert_true(!is_exact || is_in_memory == is_noted);
		given += bit_is_set(table_bits(GIVEN_BACK), i);
	}
	free(in_memory);
	return given;
}

/* Mostly small, some of pages, and a few that are copied in pieces. */
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
	enum { CALLS = 6000, CALLS_PER_LOOK = 20, CALLS_PER_TRIM = 1500 };
	const char *const chosen = getenv("SEED");
	const unsigned long seed = chosen != NULL ? strtoul(chosen, NULL, 10) : (unsigned)getpid();
	uint64_t random = seed;
	size_t given = 0;
	need_pages();
	print_message("pages: SEED=%lu\n", seed);
	memset(paged, 0, sizeof(paged));
	const bool is_exact = is_every_touched_page_in_memory();
	for (size_t i = 0; i < CALLS; i++) {
		paged_change(random_below(&random, PAGED_BLOCKS), &random);
		if (i % CALLS_PER_TRIM == CALLS_PER_TRIM - 1)
			mems_trim();
		if (i % CALLS_PER_LOOK == 0)
			given += assert_pages_are_noted(is_exact);
		if (i % CALLS_PER_LOOK == 0)
			assert_sound();
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
		const bool is_exact = is_every_touched_page_in_memory();
		give_back(take(LARGE_BYTES));
		mems_trim();
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
		mems_trim();
		assert_int_equal(assert_pages_are_noted(false), MIB / PAGE - 1);
		assert_true(take(MIB - 2 * PAGE) == large);
		fill_block(take(size), size, 1);
		assert_int_equal(assert_pages_are_noted(false), 0);
		assert_sound();
	}
}

/* A run of blocks that is taken behind cached blocks whose pages were given back leaves these pages
 * alone. */
static void pages_before_a_run_stay_as_they_are(void **state)
{
	(void)state;
	enum { BLOCKS = 200, BLOCK_BYTES = 15 * PAGE, RUN_SIZE = 32 };
	uintptr_t blocks[BLOCKS];
	for (size_t i = 0; i < BLOCKS; i++)
		blocks[i] = take(BLOCK_BYTES);
	for (size_t i = 0; i < BLOCKS; i++)
		give_back(blocks[i]);
	struct hole hole = hole_first(RUN_SIZE);
	for (; is_touched(hole.start - 1); hole = hole_first(RUN_SIZE))
		take(hole.size * 8);
	bins()->misses[RUN_SIZE] = RUN_BLOCKS - 1;
	assert_true(mems_calloc(1, RUN_SIZE * 8) == block_virtual(hole.start));
	assert_true(bin_count(RUN_SIZE) != 0 && !is_touched(hole.start - 1));
	assert_sound();
}

/* Those of a small heap lie side by side, and share pages. */
static void each_page_of_the_tables_is_counted_once(void **state)
{
	(void)state;
	need_pages();
	take(PAGE);
	assert_int_equal(heap.movable_granules, small_granules());
	assert_int_equal(tables_resident_bytes(), resident_bytes(tables_memory(), tables_share()));
	take(32 * MIB);
	assert_int_equal(heap.movable_granules, heap.limit);
	assert_int_equal(tables_resident_bytes(), resident_bytes(tables_memory(), tables_share()));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		heap_test(a_sound_heap_reports_nothing),
		heap_test(every_damage_is_noticed),
		first_fit_test(a_free_page_that_is_not_idle_is_noticed),
		quick_fit_test(every_damage_to_the_bins_is_noticed),
		heap_test(every_entry_of_the_journal_is_checked),
		heap_test(no_list_of_sites_gets_long),
		heap_test(every_table_is_checked),
		heap_test(every_bit_of_the_state_counts),
		heap_test(every_bit_of_what_describes_a_table_counts),
		heap_test(every_bit_of_the_tables_counts),
		heap_test(every_level_is_checked),
		heap_test(every_search_start_is_checked),
		heap_test(while_reporting_nothing_changes),
		heap_test(every_level_is_reached_by_a_search),
		heap_test(the_highest_levels_are_checked),
		heap_test(a_search_whose_way_is_cut_off_stays_inside),
		heap_test(every_page_in_memory_is_noted),
		heap_test(pages_of_small_blocks_are_noted),
		heap_test(pages_of_one_leaf_are_noted),
		quick_fit_test(pages_before_a_run_stay_as_they_are),
		heap_test(each_page_of_the_tables_is_counted_once),
	};
	return run_heap_tests("checker", tests);
}
