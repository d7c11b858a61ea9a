/* Where blocks go: exact first fit, splitting, merging, and the growth of the main chain. */
#define _GNU_SOURCE
#include "support.h"

/* ---- First fit --------------------------------------------------------------------------- */

static void the_first_request_maps_one_node(void **state)
{
	(void)state;
	assert_chain("");
	assert_true(take(1) == 1000);
	assert_chain("MAIN[1000:5095] -> PROCESS[1000:1007] <-> HOLE[1008:5095] <-> NULL\n");
}

static void sizes_are_rounded_up_to_the_alignment(void **state)
{
	(void)state;
	assert_true(take(1) == 1000);
	assert_true(take(8) == 1008);
	assert_true(take(9) == 1016);
	assert_true(take(16) == 1032);
	assert_true(take(4000) == 1048);
	assert_chain("MAIN[1000:5095] -> PROCESS[1000:1007] <-> PROCESS[1008:1015] <-> "
	             "PROCESS[1016:1031] <-> PROCESS[1032:1047] <-> PROCESS[1048:5047] <-> "
	             "HOLE[5048:5095] <-> NULL\n");
}

/* A node with HOLEs of 96, 64, 200 and 64 bytes in that order, and no other room. */
static void make_four_holes(void)
{
	static const size_t sizes[] = {96, 8, 64, 8, 200, 8, 64, 8};
	uintptr_t blocks[8];
	for (size_t i = 0; i < 8; i++)
		blocks[i] = take(sizes[i]);
	take(PAGE - 456);
	for (size_t i = 0; i < 8; i += 2)
		give_back(blocks[i]);
	assert_chain("MAIN[1000:5095] -> HOLE[1000:1095] <-> PROCESS[1096:1103] <-> "
	             "HOLE[1104:1167] <-> PROCESS[1168:1175] <-> HOLE[1176:1375] <-> "
	             "PROCESS[1376:1383] <-> HOLE[1384:1447] <-> PROCESS[1448:1455] <-> "
	             "PROCESS[1456:5095] <-> NULL\n");
}

static void the_lowest_hole_wins_over_a_better_fit(void **state)
{
	(void)state;
	make_four_holes();
	assert_true(take(64) == 1000);
	assert_true(take(64) == 1104);
	assert_true(take(64) == 1176);
	assert_true(take(32) == 1064);
	assert_true(take(64) == 1240);
	assert_true(take(72) == 1304);
	assert_true(take(64) == 1384);
	assert_true(take(8) == 5096);
}

static void a_hole_too_small_by_one_granule_is_passed_over(void **state)
{
	(void)state;
	make_four_holes();
	assert_true(take(97) == 1176);
	assert_true(take(97) == 5096);
	assert_true(take(96) == 1000);
}

static void an_exact_fit_leaves_no_hole(void **state)
{
	(void)state;
	make_four_holes();
	assert_true(take(96) == 1000);
	assert_true(take(200) == 1176);
	assert_chain("MAIN[1000:5095] -> PROCESS[1000:1095] <-> PROCESS[1096:1103] <-> "
	             "HOLE[1104:1167] <-> PROCESS[1168:1175] <-> PROCESS[1176:1375] <-> "
	             "PROCESS[1376:1383] <-> HOLE[1384:1447] <-> PROCESS[1448:1455] <-> "
	             "PROCESS[1456:5095] <-> NULL\n");
}

static void a_larger_hole_is_split_at_its_low_end(void **state)
{
	(void)state;
	make_four_holes();
	assert_true(take(100) == 1176);
	assert_chain("MAIN[1000:5095] -> HOLE[1000:1095] <-> PROCESS[1096:1103] <-> "
	             "HOLE[1104:1167] <-> PROCESS[1168:1175] <-> PROCESS[1176:1279] <-> "
	             "HOLE[1280:1375] <-> PROCESS[1376:1383] <-> HOLE[1384:1447] <-> "
	             "PROCESS[1448:1455] <-> PROCESS[1456:5095] <-> NULL\n");
}

/* Up to a size that lies within 64 granules, whatever is smaller and followed by a large block. */
static void a_hole_before_a_large_block_is_passed_over(void **state)
{
	(void)state;
	enum { MOST = 40 * 8 };
	for (size_t size = 16; size <= MOST; size += 8) {
		for (size_t smaller = 8; smaller < size; smaller += 8) {
			const uintptr_t hole = take(smaller);
			const uintptr_t block = take(size);
			give_back(hole);
			const uintptr_t next = take(size);
			assert_true(hole == 1000 && block == hole + smaller && next == block + size);
			give_back(block);
			give_back(next);
		}
	}
	assert_sound();
}

/* Where the last of 64 granules begins a HOLE that loses more than that granule, what is before it
 * can still be 62 granules, and is found. */
static void a_hole_before_one_that_moves_on_is_found(void **state)
{
	(void)state;
	enum { BEFORE = 62 * 8 };
	give_back(take(4 * PAGE));
	const uintptr_t before = take(BEFORE);
	take(8);
	const uintptr_t last = take(1000);
	take(8);
	give_back(before);
	give_back(last);
	assert_true(take(BEFORE + 8) == last);
	assert_true(take(BEFORE) == before);
}

/* A block begins in one leaf and ends in the next, with a smaller HOLE before it in the first one:
 * of 30 granules, and of 25 of them. That no HOLE is larger is known, for a search that began in
 * another group found none. */
static void a_block_goes_on_in_the_next_leaf(void **state)
{
	(void)state;
	enum { GRANULE = 8, GROUP = 4096 * GRANULE };
	for (size_t size = 25; size <= 30; size += 5) {
		mems_finish();
		assert_int_equal(mems_option(MEMS_LIMIT, GROUP + PAGE), 0);
		mems_init();
		give_back(take(GROUP + PAGE)); /* one main node */
		const uintptr_t first = take(GROUP - 400);
		const uintptr_t more = take(400);
		const uintptr_t small = take(20 * GRANULE);
		take(30 * GRANULE);
		const uintptr_t across = take(30 * GRANULE);
		take(PAGE - 80 * GRANULE);
		give_back(small);
		give_back(across);
		give_back(more);
		assert_true(mems_realloc(at(first), GROUP) == at(first));
		assert_fails(ENOMEM, mems_malloc(40 * GRANULE) == NULL);
		assert_true(take(size * GRANULE) == across);
		assert_sound();
		assert_true(take(20 * GRANULE) == small);
		assert_fails(ENOMEM, mems_malloc(20 * GRANULE) == NULL);
		assert_sound();
	}
}

/* The lowest HOLE, wherever it is: blocks are freed in a scattered order and taken again. */
static void freed_blocks_are_taken_again_from_the_lowest_up(void **state)
{
	(void)state;
	enum { BLOCKS = 3000, STRIDE = 1009 };
	static uintptr_t blocks[BLOCKS];
	for (size_t i = 0; i < BLOCKS; i++)
		blocks[i] = take(48);
	for (size_t i = 0; i < BLOCKS; i++) {
		const size_t scattered = i * STRIDE % BLOCKS;
		if (scattered % 2 == 0)
			give_back(blocks[scattered]);
	}
	for (size_t i = 0; i < BLOCKS; i += 2)
		assert_true(take(48) == blocks[i]);
}

struct search {
	size_t size;
	uintptr_t lowest;
};

static int stop_at_first_fit(const struct mems_segment *segment, void *context)
{
	struct search *const search = context;
	if (segment->type != MEMS_HOLE || segment->size < search->size)
		return 0;
	search->lowest = segment->start;
	return 1;
}

/* A walk over a heap of all sorts of HOLEs says where each size has to go. */
static void every_size_goes_to_its_first_fit(void **state)
{
	(void)state;
	enum { BLOCKS = 2000 };
	static uintptr_t blocks[BLOCKS];
	uint64_t random = 7;
	for (size_t i = 0; i < BLOCKS; i++)
		blocks[i] = take(1 + random_below(&random, (size_t)8 << i * 11 / BLOCKS));
	for (size_t i = 0; i < BLOCKS; i++) {
		if (random_below(&random, 2) == 0)
			give_back(blocks[i]);
	}
	const size_t largest = stats_now().largest_hole;
	for (size_t size = 8; size <= largest; size += 8) {
		struct search search = {size, 0};
		assert_int_equal(mems_walk(stop_at_first_fit, &search), 1);
		const uintptr_t block = take(size);
		assert_true(block == search.lowest);
		give_back(block);
	}
}

/* ---- Merging ----------------------------------------------------------------------------- */

/* A node of four blocks of 1024 bytes. */
static void make_four_blocks(void)
{
	for (size_t i = 0; i < 4; i++)
		assert_true(take(1024) == 1000 + i * 1024);
}

static void a_block_between_blocks_merges_with_nothing(void **state)
{
	(void)state;
	make_four_blocks();
	give_back(2024);
	assert_chain("MAIN[1000:5095] -> PROCESS[1000:2023] <-> HOLE[2024:3047] <-> "
	             "PROCESS[3048:4071] <-> PROCESS[4072:5095] <-> NULL\n");
}

static void a_block_merges_with_the_hole_on_its_left(void **state)
{
	(void)state;
	make_four_blocks();
	give_back(2024);
	give_back(3048);
	assert_chain("MAIN[1000:5095] -> PROCESS[1000:2023] <-> HOLE[2024:4071] <-> "
	             "PROCESS[4072:5095] <-> NULL\n");
}

static void a_block_merges_with_the_hole_on_its_right(void **state)
{
	(void)state;
	make_four_blocks();
	give_back(3048);
	give_back(2024);
	assert_chain("MAIN[1000:5095] -> PROCESS[1000:2023] <-> HOLE[2024:4071] <-> "
	             "PROCESS[4072:5095] <-> NULL\n");
}

static void a_block_merges_with_the_holes_on_both_sides(void **state)
{
	(void)state;
	make_four_blocks();
	give_back(1000);
	give_back(3048);
	give_back(2024);
	assert_chain("MAIN[1000:5095] -> HOLE[1000:4071] <-> PROCESS[4072:5095] <-> NULL\n");
	give_back(4072);
	assert_chain("MAIN[1000:5095] -> HOLE[1000:5095] <-> NULL\n");
}

/* Three nodes, each one block of a whole page. */
static void make_three_full_nodes(void)
{
	assert_true(take(PAGE) == 1000);
	assert_true(take(PAGE) == 5096);
	assert_true(take(PAGE) == 9192);
}

static void holes_never_merge_across_nodes(void **state)
{
	(void)state;
	make_three_full_nodes();
	give_back(1000);
	give_back(9192);
	give_back(5096);
	assert_chain("MAIN[1000:5095] -> HOLE[1000:5095] <-> NULL\n"
	             "MAIN[5096:9191] -> HOLE[5096:9191] <-> NULL\n"
	             "MAIN[9192:13287] -> HOLE[9192:13287] <-> NULL\n");
	assert_true(take(PAGE + 1) == 13288);
}

static void holes_at_a_border_stay_apart_and_serve_alone(void **state)
{
	(void)state;
	assert_true(take(3096) == 1000);
	assert_true(take(1000) == 4096);
	assert_true(take(1000) == 5096);
	assert_true(take(3096) == 6096);
	give_back(5096);
	give_back(4096);
	assert_chain("MAIN[1000:5095] -> PROCESS[1000:4095] <-> HOLE[4096:5095] <-> NULL\n"
	             "MAIN[5096:9191] -> HOLE[5096:6095] <-> PROCESS[6096:9191] <-> NULL\n");
	assert_true(take(1008) == 9192);
	assert_true(take(1000) == 4096);
	assert_true(take(1000) == 5096);
}

/* Every order of freeing five neighbours ends in one HOLE, and every step is sound. */
static void every_order_of_freeing_ends_in_one_hole(void **state)
{
	(void)state;
	enum { BLOCKS = 5, ORDERS = 120 };
	uintptr_t blocks[BLOCKS];
	for (size_t order = 0; order < ORDERS; order++) {
		size_t left[BLOCKS] = {0, 1, 2, 3, 4};
		for (size_t i = 0; i < BLOCKS; i++)
			blocks[i] = take(816);
		for (size_t i = 0, code = order; i < BLOCKS; i++) {
			const size_t choice = code % (BLOCKS - i);
			code /= BLOCKS - i;
			give_back(blocks[left[choice]]);
			left[choice] = left[BLOCKS - 1 - i];
			assert_sound();
		}
		assert_chain("MAIN[1000:5095] -> HOLE[1000:5095] <-> NULL\n");
	}
}

/* ---- Growth ------------------------------------------------------------------------------ */

/* Takes a block that no HOLE can hold and says how many pages the new node has. */
static size_t pages_of_new_node(size_t size)
{
	const size_t before = stats_now().pages;
	assert_true(size > stats_now().largest_hole);
	take(size);
	return stats_now().pages - before;
}

static size_t larger(size_t a, size_t b)
{
	return a > b ? a : b;
}

/* Fills the HOLE that the last growth left, so that the next request has to grow again. */
static void fill_largest_hole(void)
{
	const size_t hole = stats_now().largest_hole;
	if (hole != 0)
		take(hole);
}

static void nodes_grow_with_the_heap(void **state)
{
	(void)state;
	const size_t least = policy_under_test() == MEMS_QUICK_FIT ? 16 : 1;
	size_t pages = 0;
	for (size_t request = 0; pages < 16384; request++) {
		const size_t needed = request % 7 == 3 ? 5 : 1;
		const size_t expected = larger(needed, larger(least, pages / 8));
		assert_true(pages_of_new_node(needed * PAGE - request % 2) == expected);
		pages += expected;
		fill_largest_hole();
	}
}

static void the_eighth_is_rounded_down(void **state)
{
	(void)state;
	assert_true(pages_of_new_node(143 * PAGE) == 143);
	assert_true(pages_of_new_node(PAGE) == 17);
	fill_largest_hole();
	assert_true(pages_of_new_node(PAGE) == 20);
	fill_largest_hole();
	assert_true(pages_of_new_node(23 * PAGE) == 23);
	assert_true(pages_of_new_node(1) == 25);
}

static void whole_pages_are_not_rounded_further(void **state)
{
	(void)state;
	assert_true(pages_of_new_node(PAGE) == 1);
	assert_true(pages_of_new_node(PAGE + 1) == 2);
	fill_largest_hole();
	assert_true(pages_of_new_node(2 * PAGE - 7) == 2);
	assert_true(pages_of_new_node(2 * PAGE + 8) == 3);
}

/* The block takes the low end of the new node, even where the node before ends in a HOLE. */
static void a_new_node_does_not_use_the_hole_before_it(void **state)
{
	(void)state;
	take(96);
	assert_true(take(4096) == 5096);
	assert_chain("MAIN[1000:5095] -> PROCESS[1000:1095] <-> HOLE[1096:5095] <-> NULL\n"
	             "MAIN[5096:9191] -> PROCESS[5096:9191] <-> NULL\n");
}

/* Of 128 pages a 64th is 2: with room for one page more only the page that is needed is had. */
static void growth_falls_back_to_what_is_needed_at_the_limit(void **state)
{
	(void)state;
	mems_finish();
	assert_int_equal(mems_option(MEMS_LIMIT, 129 * PAGE), 0);
	mems_init();
	assert_true(pages_of_new_node(128 * PAGE) == 128);
	assert_true(pages_of_new_node(100) == 1);
	assert_true(stats_now().largest_hole == PAGE - 104);
	assert_fails(ENOMEM, mems_malloc(PAGE) == NULL);
	assert_true(take(PAGE - 104) != 0);
	assert_fails(ENOMEM, mems_malloc(1) == NULL);
}

/* Between what is needed and the 64th there is no third size. */
static void the_fall_back_is_exactly_what_is_needed(void **state)
{
	(void)state;
	mems_finish();
	assert_int_equal(mems_option(MEMS_LIMIT, (640 + 9) * PAGE), 0);
	mems_init();
	assert_true(pages_of_new_node(640 * PAGE) == 640);
	assert_true(pages_of_new_node(3 * PAGE) == 3);
	assert_true(pages_of_new_node(PAGE) == 1);
	assert_true(pages_of_new_node(5 * PAGE) == 5);
	assert_fails(ENOMEM, mems_malloc(1) == NULL);
}

static void nodes_stay_mapped_when_their_blocks_are_freed(void **state)
{
	(void)state;
	const uintptr_t block = take(100 * PAGE);
	const uintptr_t other = take(100 * PAGE);
	give_back(block);
	give_back(other);
	assert_true(stats_now().pages == 200);
	assert_true(stats_now().main_nodes == 2);
	assert_true(take(60 * PAGE) == block);
	assert_true(take(60 * PAGE) == other);
	assert_true(take(40 * PAGE) == block + 60 * PAGE);
	assert_true(stats_now().main_nodes == 2);
}

/* A failing request leaves nothing behind, however it fails. */
static void a_failing_request_changes_nothing(void **state)
{
	(void)state;
	mems_finish();
	assert_int_equal(mems_option(MEMS_LIMIT, 2 * PAGE), 0);
	mems_init();
	take(1000);
	take(4000);
	char *const before = printed_text();
	const struct mems_stats stats = stats_now();
	assert_fails(ENOMEM, mems_malloc(4000) == NULL);
	assert_fails(ENOMEM, mems_calloc(40, 100) == NULL);
	assert_fails(ENOMEM, mems_aligned_alloc(4096, 16) == NULL);
	assert_fails(ENOMEM, mems_realloc(at(1000), 5000) == NULL);
	struct mems_stats after = stats_now();
	assert_true(after.metadata_bytes <= stats.metadata_bytes + PAGE); /* a page that was looked at */
	after.metadata_bytes = stats.metadata_bytes;
	assert_memory_equal(&stats, &after, sizeof stats);
	char *const text = printed_text();
	assert_string_equal(text, before);
	free(text);
	free(before);
}

/* ---- Counting ---------------------------------------------------------------------------- */

static void the_counters_count(void **state)
{
	(void)state;
	take(1000);
	take(2000);
	const uintptr_t third = take(3001);
	give_back(1000);
	const struct mems_stats stats = stats_now();
	assert_int_equal(stats.pages, 2);
	assert_int_equal(stats.mapped_bytes, 8192);
	assert_int_equal(stats.process_bytes, 2000 + 3008);
	assert_int_equal(stats.hole_bytes, 8192 - 2000 - 3008);
	assert_int_equal(stats.largest_hole, 1096);
	assert_int_equal(stats.main_nodes, 2);
	assert_int_equal(stats.process_segments, 2);
	assert_int_equal(stats.hole_segments, 3);
	assert_int_equal(stats.peak_process_bytes, 6008);
	assert_int_equal(stats.peak_mapped_bytes, 8192);
	assert_true(stats.metadata_bytes > 0);
	give_back(2000);
	give_back(third);
	assert_int_equal(stats_now().process_bytes, 0);
	assert_int_equal(stats_now().peak_process_bytes, 6008);
	assert_int_equal(stats_now().largest_hole, 4096);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		small_heap_test(the_first_request_maps_one_node),
		first_fit_test(sizes_are_rounded_up_to_the_alignment),
		first_fit_test(the_lowest_hole_wins_over_a_better_fit),
		first_fit_test(a_hole_too_small_by_one_granule_is_passed_over),
		first_fit_test(an_exact_fit_leaves_no_hole),
		first_fit_test(a_larger_hole_is_split_at_its_low_end),
		first_fit_test(a_hole_before_a_large_block_is_passed_over),
		first_fit_test(a_hole_before_one_that_moves_on_is_found),
		first_fit_test(a_block_goes_on_in_the_next_leaf),
		first_fit_test(freed_blocks_are_taken_again_from_the_lowest_up),
		first_fit_test(every_size_goes_to_its_first_fit),
		small_heap_test(a_block_between_blocks_merges_with_nothing),
		small_heap_test(a_block_merges_with_the_hole_on_its_left),
		small_heap_test(a_block_merges_with_the_hole_on_its_right),
		small_heap_test(a_block_merges_with_the_holes_on_both_sides),
		small_heap_test(holes_never_merge_across_nodes),
		first_fit_test(holes_at_a_border_stay_apart_and_serve_alone),
		small_heap_test(every_order_of_freeing_ends_in_one_hole),
		heap_test(nodes_grow_with_the_heap),
		heap_test(the_eighth_is_rounded_down),
		small_heap_test(whole_pages_are_not_rounded_further),
		small_heap_test(a_new_node_does_not_use_the_hole_before_it),
		heap_test(growth_falls_back_to_what_is_needed_at_the_limit),
		heap_test(the_fall_back_is_exactly_what_is_needed),
		heap_test(nodes_stay_mapped_when_their_blocks_are_freed),
		heap_test(a_failing_request_changes_nothing),
		small_heap_test(the_counters_count),
	};
	return run_heap_tests("placement", tests);
}
