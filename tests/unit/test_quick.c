/*
 * Quick fit: what is remembered, who sees it, who takes it again, and when it is merged for good.
 * All of this is compared with the model as well (test_model); here each promise stands alone. The
 * tests of placement that hold under first fit only have their counterparts here.
 */
#define _GNU_SOURCE
#include "support.h"

/* Blocks of more than 2 KiB never come in runs: two of them are more than a run may hold. */
#define ALONE ((size_t)3000)

/* Larger blocks are not remembered. */
#define LARGEST_REMEMBERED (64 * KIB)

/* Where first fit places a block. It is too large to be remembered: nothing else changes. */
static uintptr_t first_fit_place(void)
{
	const uintptr_t place = take(MIB);
	give_back(place);
	return place;
}

/* One node of so many bytes: a block of one page, and a HOLE, which starts here. */
#define REST (1000 + PAGE)

static void make_node(size_t bytes)
{
	assert_true(take(bytes) == 1000);
	assert_succeeds(mems_realloc(at(1000), PAGE) == at(1000));
	assert_int_equal(stats_now().main_nodes, 1);
}

/* Leaves no HOLE. Nothing may be remembered. */
static void fill_up(void)
{
	const size_t nodes = stats_now().main_nodes;
	while (stats_now().largest_hole != 0) {
		take(stats_now().largest_hole);
		assert_true(stats_now().main_nodes == nodes);
	}
}

/* ---- A HOLE at once ---------------------------------------------------------------------- */

/* PROCESS[1000:1999] HOLE[2000:3999] PROCESS[4000:4999] HOLE[5000:5095]: the first HOLE is two
 * blocks that are remembered, freed from the right to the left. */
static void make_two_remembered(void)
{
	for (size_t i = 0; i < 4; i++)
		assert_true(take(1000) == 1000 + i * 1000);
	give_back(3000);
	give_back(2000);
}

static void a_freed_block_is_shown_as_a_hole(void **state)
{
	(void)state;
	struct mems_segment segments[5];
	make_two_remembered();
	assert_chain("MAIN[1000:5095] -> PROCESS[1000:1999] <-> HOLE[2000:3999] <-> "
	             "PROCESS[4000:4999] <-> HOLE[5000:5095] <-> NULL\n");
	assert_int_equal(walk_segments(segments, 5), 4);
	assert_int_equal(segments[1].type, MEMS_HOLE);
	assert_true(segments[1].start == 2000 && segments[1].end == 3999);
	assert_true(segments[1].size == 2000 && segments[1].remembered_bytes == 2000);
	assert_true(segments[0].remembered_bytes == 0 && segments[3].remembered_bytes == 0);
	for (uintptr_t address = 2000; address < 4000; address++) {
		struct mems_segment segment;
		assert_succeeds(mems_segment_at(at(address), &segment) == 0);
		assert_int_equal(segment.type, MEMS_HOLE);
		assert_true(segment.start == 2000 && segment.end == 3999);
		assert_true(segment.size == 2000 && segment.remembered_bytes == 2000);
		assert_true(segment.physical == segments[1].physical);
		assert_true(segment.node_start == 1000 && segment.node_end == 5095);
	}
	const struct mems_stats stats = stats_now();
	assert_int_equal(stats.process_bytes, 2000);
	assert_int_equal(stats.hole_bytes, 2096);
	assert_int_equal(stats.largest_hole, 2000);
	assert_int_equal(stats.process_segments, 2);
	assert_int_equal(stats.hole_segments, 2);
	assert_int_equal(stats.peak_process_bytes, 4000);
}

static void a_freed_block_is_shown_with_the_holes_beside_it(void **state)
{
	(void)state;
	make_two_remembered();
	give_back(4000);
	assert_chain("MAIN[1000:5095] -> PROCESS[1000:1999] <-> HOLE[2000:5095] <-> NULL\n");
	give_back(1000);
	assert_chain("MAIN[1000:5095] -> HOLE[1000:5095] <-> NULL\n");
	assert_int_equal(stats_now().hole_segments, 1);
	assert_int_equal(stats_now().largest_hole, 4096);
	assert_int_equal(stats_now().process_bytes, 0);
}

static void holes_are_never_shown_across_nodes(void **state)
{
	(void)state;
	struct mems_segment segment;
	for (size_t i = 0; i < 3; i++)
		assert_true(take(PAGE) == 1000 + i * PAGE);
	give_back(5096);
	give_back(1000);
	give_back(9192);
	assert_chain("MAIN[1000:5095] -> HOLE[1000:5095] <-> NULL\n"
	             "MAIN[5096:9191] -> HOLE[5096:9191] <-> NULL\n"
	             "MAIN[9192:13287] -> HOLE[9192:13287] <-> NULL\n");
	for (uintptr_t address = 1000; address < 13288; address += 8) {
		assert_succeeds(mems_segment_at(at(address), &segment) == 0);
		assert_true(segment.start == segment.node_start && segment.end == segment.node_end);
		assert_true(segment.node == (address - 1000) / PAGE);
	}
	assert_int_equal(stats_now().hole_segments, 3);
	assert_int_equal(stats_now().largest_hole, PAGE);
}

static void a_freed_block_is_refused_by_translation(void **state)
{
	(void)state;
	char bytes[8] = {0};
	make_two_remembered();
	char *const physical = (char *)mems_get(at(1000)) + 1000;
	for (uintptr_t offset = 0; offset < 2000; offset++) {
		const uintptr_t address = 2000 + offset;
		assert_fails(EFAULT, mems_get(at(address)) == NULL);
		assert_fails(EFAULT, mems_get_range(at(address), 0) == NULL);
		assert_fails(EFAULT, mems_get_range(at(address), 8) == NULL);
		assert_fails(EFAULT, mems_virtual(physical + offset) == NULL);
		assert_fails(EFAULT, mems_read(bytes, at(address), 1) == -1);
		assert_fails(EFAULT, mems_write(at(address), bytes, 1) == -1);
	}
	assert_fails(EFAULT, mems_get_range(at(1999), 2) == NULL);
	assert_true(take(1000) == 2000);
	assert_succeeds(mems_get(at(2000)) == physical);
	assert_succeeds(mems_get_range(at(2000), 1000) == physical);
	assert_fails(EFAULT, mems_get_range(at(2000), 1001) == NULL);
	assert_fails(EFAULT, mems_get(at(3000)) == NULL);
}

/* All three functions refuse the address, in the same words. */
static void assert_misuse(uintptr_t address, const char *where)
{
	char expected[200];
	snprintf(expected, sizeof expected, "mems_free(%ju): %s", (uintmax_t)address, where);
	assert_fails(EINVAL, (mems_free(at(address)), true));
	assert_report(address, expected);
	snprintf(expected, sizeof expected, "mems_realloc(%ju): %s", (uintmax_t)address, where);
	assert_fails(EINVAL, mems_realloc(at(address), 1000) == NULL);
	assert_report(address, expected);
	snprintf(expected, sizeof expected, "mems_usable_size(%ju): %s", (uintmax_t)address, where);
	assert_fails(EINVAL, mems_usable_size(at(address)) == 0);
	assert_report(address, expected);
}

static void a_second_free_is_a_misuse(void **state)
{
	(void)state;
	make_two_remembered();
	assert_misuse(2000, "in HOLE[2000:3999], freed before or never given out");
	assert_misuse(3000, "in HOLE[2000:3999], freed before or never given out");
	assert_misuse(2008, "in HOLE[2000:3999], freed before or never given out");
	assert_sound();
	assert_true(take(1000) == 2000);
	assert_misuse(3000, "in HOLE[3000:3999], freed before or never given out");
	assert_true(take(1000) == 3000);
	assert_true(take(1000) == 5096);
}

/* The second miss takes a run of two: the other block was never given out. */
static void the_rest_of_a_run_is_a_hole(void **state)
{
	(void)state;
	assert_true(take(1000) == 1000);
	assert_true(take(1000) == 2000);
	assert_chain("MAIN[1000:5095] -> PROCESS[1000:1999] <-> PROCESS[2000:2999] <-> "
	             "HOLE[3000:5095] <-> NULL\n");
	assert_int_equal(stats_now().process_bytes, 2000);
	assert_int_equal(stats_now().peak_process_bytes, 2000);
	assert_fails(EFAULT, mems_get(at(3000)) == NULL);
	assert_misuse(3000, "in HOLE[3000:5095], freed before or never given out");
	assert_true(take(96) == 4000);
	assert_true(take(1000) == 3000);
}

/* What was taken as a run is no room for other sizes, and the description of the HOLE says so. */
static void a_hole_tells_how_much_of_it_is_remembered(void **state)
{
	(void)state;
	struct mems_segment hole;
	for (size_t i = 0; i < 5; i++)
		take(1000);
	assert_chain("MAIN[1000:5095] -> PROCESS[1000:1999] <-> PROCESS[2000:2999] <-> "
	             "PROCESS[3000:3999] <-> PROCESS[4000:4999] <-> HOLE[5000:5095] <-> NULL\n"
	             "MAIN[5096:9191] -> PROCESS[5096:6095] <-> HOLE[6096:9191] <-> NULL\n");
	assert_succeeds(mems_segment_at(at(9191), &hole) == 0);
	assert_true(hole.size == 3096 && hole.remembered_bytes == 3000);
	assert_succeeds(mems_segment_at(at(5000), &hole) == 0);
	assert_true(hole.size == 96 && hole.remembered_bytes == 0);
	assert_true(take(400) == 9192);
	assert_true(take(1000) == 6096);
	assert_succeeds(mems_segment_at(at(7096), &hole) == 0);
	assert_true(hole.size == 2096 && hole.remembered_bytes == 2000);
	assert_succeeds((mems_trim(), true));
	assert_succeeds(mems_segment_at(at(7096), &hole) == 0);
	assert_true(hole.size == 2096 && hole.remembered_bytes == 0);
	assert_true(take(2096) == 7096);
}

/* ---- Taken again ------------------------------------------------------------------------- */

static void the_block_remembered_last_is_taken_first(void **state)
{
	(void)state;
	static const size_t order[] = {2, 0, 5, 3, 6};
	enum { BLOCKS = 8, FREED = sizeof order / sizeof order[0] };
	uintptr_t blocks[BLOCKS];
	for (size_t i = 0; i < BLOCKS; i++)
		blocks[i] = take(ALONE);
	for (size_t i = 0; i < FREED; i++)
		give_back(blocks[order[i]]);
	for (size_t i = FREED; i-- > 0;)
		assert_true(take(ALONE) == blocks[order[i]]);
	assert_true(take(ALONE) > blocks[BLOCKS - 1]);
}

/* More than any fixed row of items would hold, and in an order that is neither up nor down. */
static void however_many_are_remembered_the_last_is_first(void **state)
{
	(void)state;
	enum { BLOCKS = 5000, STRIDE = 1009 };
	static uintptr_t blocks[BLOCKS];
	for (size_t i = 0; i < BLOCKS; i++)
		blocks[i] = take(40);
	for (size_t i = 0; i < BLOCKS; i++)
		give_back(blocks[i * STRIDE % BLOCKS]);
	assert_sound();
	for (size_t i = BLOCKS; i-- > 0;)
		assert_true(take(40) == blocks[i * STRIDE % BLOCKS]);
	assert_sound();
}

static void the_size_of_the_segment_counts(void **state)
{
	(void)state;
	const uintptr_t block = take(ALONE);
	take(ALONE);
	for (size_t size = ALONE - 7; size <= ALONE; size++) {
		give_back(block);
		assert_true(take(size) == block);
	}
	give_back(block);
	assert_true(take(ALONE - 8) != block);
	assert_true(take(ALONE + 1) != block);
	assert_true(take(ALONE) == block);
}

static bool is_zeroed(uintptr_t address, size_t size)
{
	const char *const bytes = mems_get_range(at(address), size);
	assert_non_null(bytes);
	return bytes[0] == 0 && memcmp(bytes, bytes + 1, size - 1) == 0;
}

static void calloc_takes_it_and_zeroes_it(void **state)
{
	(void)state;
	const uintptr_t block = take(ALONE);
	take(ALONE);
	fill_block(block, ALONE, 1);
	give_back(block);
	assert_succeeds(mems_calloc(3, 1000) == at(block));
	assert_true(is_zeroed(block, ALONE));
}

/* A run is cut from memory that was never used, or that was. */
static void calloc_zeroes_every_block_of_a_run(void **state)
{
	(void)state;
	enum { BLOCKS = 100, SIZE = 104 };
	uintptr_t blocks[BLOCKS];
	for (size_t round = 0; round < 3; round++) {
		for (size_t i = 0; i < BLOCKS; i++) {
			blocks[i] = address_of(mems_calloc(1, SIZE));
			assert_true(is_zeroed(blocks[i], SIZE));
			fill_block(blocks[i], SIZE, (unsigned)i);
		}
		for (size_t i = 0; i < BLOCKS; i++) {
			assert_true(has_filling(blocks[i], SIZE, (unsigned)i));
			give_back(blocks[i]);
		}
	}
}

static void a_move_takes_it_and_leaves_one(void **state)
{
	(void)state;
	const uintptr_t large = take(ALONE);
	const uintptr_t small = take(200);
	take(8);
	fill_block(small, 200, 2);
	give_back(large);
	assert_succeeds(mems_realloc(at(small), ALONE) == at(large));
	assert_true(has_filling(large, 200, 2));
	assert_fails(EFAULT, mems_get(at(small)) == NULL);
	assert_true(take(200) == small);
	give_back(large);
	assert_succeeds(mems_realloc(NULL, ALONE) == at(large));
}

/* A physical alignment that every block has is no reason to search. */
static void aligned_alloc_takes_it_only_where_any_block_would_do(void **state)
{
	(void)state;
	assert_true(take(PAGE) == 1000);
	assert_true(take(PAGE) == 1000 + PAGE);
	give_back(1000);
	assert_succeeds(mems_aligned_alloc(16, PAGE) == at(1000 + 2 * PAGE));
	assert_succeeds(mems_aligned_alloc(PAGE, PAGE) == at(1000 + 3 * PAGE));
	assert_succeeds(mems_aligned_alloc(8, PAGE) == at(1000));
	give_back(1000);
	assert_succeeds(mems_aligned_alloc(1, PAGE) == at(1000));
}

static void an_aligned_block_is_remembered_like_others(void **state)
{
	(void)state;
	take(8);
	const uintptr_t block = address_of(mems_aligned_alloc(1024, ALONE));
	assert_true(block == 1000 + 1024);
	take(8);
	give_back(block);
	assert_true(take(ALONE) == block);
}

/* ---- Treated as taken -------------------------------------------------------------------- */

/* A full node of two blocks, 2000 and 2096 bytes. */
static void make_full_node(void)
{
	assert_true(take(2000) == 1000);
	assert_true(take(2096) == 3000);
}

static void other_sizes_do_not_go_there(void **state)
{
	(void)state;
	make_full_node();
	give_back(1000);
	assert_true(take(1992) == 5096);
	assert_true(take(8) == 5096 + 1992);
	assert_true(take(2000) == 1000);
}

static void remembered_neighbours_are_no_larger_hole(void **state)
{
	(void)state;
	make_full_node();
	give_back(1000);
	give_back(3000);
	assert_chain("MAIN[1000:5095] -> HOLE[1000:5095] <-> NULL\n");
	assert_true(take(4096) == 5096);
	assert_true(take(2096) == 3000);
	assert_true(take(2000) == 1000);
}

/* The other HOLEs are taken by first fit, as if the remembered ones were not there. */
static void other_sizes_follow_first_fit(void **state)
{
	(void)state;
	static const size_t sizes[] = {96, 104, 64, 112, 200, 120, 64};
	uintptr_t blocks[7];
	for (size_t i = 0; i < 7; i++)
		blocks[i] = take(sizes[i]);
	for (size_t i = 0; i < 7; i += 2)
		assert_true(address_of(mems_realloc(at(blocks[i]), 8)) == blocks[i]);
	give_back(blocks[1]);
	give_back(blocks[3]);
	/* Merged are the tails: 88, 56, 192 and 56 bytes; 104 and 112 bytes are remembered. */
	assert_true(take(80) == blocks[0] + 8);
	assert_true(take(88) == blocks[4] + 8);
	assert_true(take(40) == blocks[2] + 8);
	assert_true(take(16) == blocks[2] + 48);
	assert_true(take(112) == blocks[3]);
	assert_true(take(104) == blocks[1]);
	assert_sound();
}

static void growing_does_not_take_a_remembered_neighbour(void **state)
{
	(void)state;
	make_full_node();
	fill_block(1000, 2000, 3);
	give_back(3000);
	assert_succeeds(mems_realloc(at(1000), 2008) == at(5096));
	assert_true(has_filling(5096, 2000, 3));
	assert_true(take(2096) == 3000);
	assert_true(take(2000) == 1000);
}

static void growing_takes_a_merged_neighbour_up_to_a_remembered_one(void **state)
{
	(void)state;
	make_full_node();
	give_back(3000);
	assert_succeeds(mems_realloc(at(1000), 1000) == at(1000));
	assert_chain("MAIN[1000:5095] -> PROCESS[1000:1999] <-> HOLE[2000:5095] <-> NULL\n");
	assert_succeeds(mems_realloc(at(1000), 2000) == at(1000));
	assert_succeeds(mems_realloc(at(1000), 1000) == at(1000));
	assert_succeeds(mems_realloc(at(1000), 2008) == at(5096));
}

/* The tail that shrinking cuts off was no block: it is merged, and serves any size at once. */
static void the_tail_of_a_block_is_not_remembered(void **state)
{
	(void)state;
	make_full_node();
	assert_succeeds(mems_realloc(at(1000), 1000) == at(1000));
	assert_true(take(400) == 2000);
	assert_succeeds(mems_realloc(at(3000), 1096) == at(3000));
	assert_true(take(500) == 2400);
	assert_true(take(600) == 4096);
}

static void the_gap_before_an_aligned_block_is_not_remembered(void **state)
{
	(void)state;
	take(8);
	assert_succeeds(mems_aligned_alloc(512, 8) == at(1512));
	assert_true(take(400) == 1008);
}

static void large_blocks_are_merged_at_once(void **state)
{
	(void)state;
	const uintptr_t block = take(LARGEST_REMEMBERED);
	take(PAGE);
	const uintptr_t larger = take(LARGEST_REMEMBERED + 8);
	fill_up();
	give_back(block);
	give_back(larger);
	assert_true(take(8) == larger);
	assert_true(take(LARGEST_REMEMBERED) == block);
}

/* ---- Runs -------------------------------------------------------------------------------- */

/* Every miss takes one block more at once, up to so many; their addresses rise. */
static void expect_runs(size_t size, size_t most)
{
	uintptr_t expected = first_fit_place();
	for (size_t miss = 1; miss <= most + 3; miss++) {
		const size_t run = miss < most ? miss : most;
		for (size_t i = 0; i < run; i++) {
			assert_true(take(size) == expected + i * size);
			assert_true(first_fit_place() == expected + run * size);
		}
		expected += run * size;
	}
	assert_sound();
}

static void a_size_asked_for_again_takes_longer_and_longer_runs(void **state)
{
	(void)state;
	static const struct {
		size_t size, most;
	} runs[] = {{8, 32},   {16, 32},  {128, 32}, {136, 30}, {1000, 4},
	            {1024, 4}, {1016, 4}, {512, 8},  {520, 7}};
	make_node(4 * MIB);
	for (size_t i = 0; i < sizeof runs / sizeof runs[0]; i++)
		expect_runs(runs[i].size, runs[i].most);
}

/* Three blocks of 1000 bytes would be due, and then four, but there is room for one, and two. */
static void a_run_ends_with_its_hole(void **state)
{
	(void)state;
	for (size_t i = 0; i < 3; i++)
		assert_true(take(1000) == 1000 + 1000 * i);
	assert_true(take(1600) == 5096);
	assert_true(take(1000) == 4000);
	assert_true(take(96) == 5000);
	assert_true(take(1000) == 6696);
	assert_true(take(496) == 8696);
	assert_true(take(1000) == 7696);
	assert_true(take(1000) == 9192);
	assert_chain("MAIN[1000:5095] -> PROCESS[1000:1999] <-> PROCESS[2000:2999] <-> "
	             "PROCESS[3000:3999] <-> PROCESS[4000:4999] <-> PROCESS[5000:5095] <-> NULL\n"
	             "MAIN[5096:9191] -> PROCESS[5096:6695] <-> PROCESS[6696:7695] <-> "
	             "PROCESS[7696:8695] <-> PROCESS[8696:9191] <-> NULL\n"
	             "MAIN[9192:13287] -> PROCESS[9192:10191] <-> HOLE[10192:13287] <-> NULL\n");
}

/* ---- Merged for good --------------------------------------------------------------------- */

/* A node of `mapped` bytes, full of blocks, of which so many bytes are then freed. They are of a
 * page each, but for the last, and neighbours. */
static void make_remembered(size_t mapped, size_t bytes)
{
	make_node(mapped);
	const size_t blocks = bytes / PAGE;
	for (size_t i = 0; i < blocks; i++)
		assert_true(take(PAGE) == REST + i * PAGE);
	if (bytes % PAGE != 0)
		assert_true(take(bytes % PAGE) == REST + blocks * PAGE);
	fill_up();
	for (size_t i = 0; i < blocks; i++)
		give_back(REST + i * PAGE);
	if (bytes % PAGE != 0)
		give_back(REST + blocks * PAGE);
	assert_int_equal(stats_now().mapped_bytes, mapped);
	assert_int_equal(stats_now().hole_bytes, bytes);
}

/* With this much remembered all of it is merged before the OS is asked, and with less it is not. */
static void expect_threshold(size_t mapped, size_t bytes)
{
	make_remembered(mapped, bytes);
	assert_true(take(2 * PAGE) == REST);
	assert_true(take(8) == REST + 2 * PAGE);
	assert_int_equal(stats_now().mapped_bytes, mapped);
	assert_sound();
	mems_finish();
	mems_init();

	make_remembered(mapped, bytes - 8);
	assert_true(take(2 * PAGE) == 1000 + mapped);
	assert_true(stats_now().mapped_bytes > mapped);
	assert_true(take(PAGE) == REST + (bytes / PAGE - 2) * PAGE);
	assert_sound();
	mems_finish();
	mems_init();
}

static void at_256_kib_all_is_merged_before_the_os_is_asked(void **state)
{
	(void)state;
	expect_threshold(MIB, 256 * KIB);
	expect_threshold(264 * KIB, 256 * KIB);
	expect_threshold(4 * MIB, 256 * KIB);
}

static void in_a_large_heap_it_is_a_sixteenth(void **state)
{
	(void)state;
	expect_threshold(4 * MIB + 64 * KIB, 260 * KIB);
	expect_threshold(8 * MIB, 512 * KIB);
	expect_threshold(16 * MIB, MIB);
}

/* Blocks that were taken again do not count any more. */
static void what_is_taken_again_is_not_remembered(void **state)
{
	(void)state;
	make_remembered(MIB, 256 * KIB + PAGE);
	assert_true(take(PAGE) == REST + 64 * PAGE);
	assert_true(take(PAGE) == REST + 63 * PAGE);
	assert_true(take(2 * PAGE) == 1000 + MIB);
	assert_sound();
}

/* Merging is not enough: what was merged does not have the room, and the OS is asked after all. */
static void where_merging_does_not_help_the_os_is_asked(void **state)
{
	(void)state;
	make_remembered(MIB, 256 * KIB);
	assert_true(take(256 * KIB + 8) == 1000 + MIB);
	assert_true(take(8) == REST);
	assert_sound();
}

/* A full node: so many bytes of it are freed, in blocks of a page, and a larger block is wanted.
 * Says whether all was merged for it. Then all is taken again. */
static bool is_merged_at(size_t bytes)
{
	const size_t blocks = bytes / PAGE;
	for (size_t i = 0; i < blocks; i++)
		give_back(REST + i * PAGE);
	const uintptr_t place = take(17 * PAGE);
	give_back(place);
	for (size_t i = 0; i < blocks; i++)
		assert_true(take(PAGE) < 1000 + 2 * MIB);
	fill_up();
	assert_sound();
	return place == REST;
}

static void make_full_pages(void)
{
	make_node(2 * MIB);
	while (stats_now().largest_hole != 0)
		take(PAGE);
}

/* A merge while the heap has not grown since the one before shows that it will soon come again:
 * then twice as much must be remembered, up to 1 MiB. */
static void merges_that_follow_each_other_are_put_off(void **state)
{
	(void)state;
	for (size_t life = 0; life < 2; life++) {
		make_full_pages();
		assert_false(is_merged_at(256 * KIB - PAGE));
		assert_true(is_merged_at(256 * KIB));
		assert_true(is_merged_at(256 * KIB));
		assert_false(is_merged_at(512 * KIB - PAGE));
		assert_true(is_merged_at(512 * KIB));
		assert_true(is_merged_at(512 * KIB));
		assert_false(is_merged_at(MIB - PAGE));
		assert_true(is_merged_at(MIB));
		assert_true(is_merged_at(MIB));
		assert_true(is_merged_at(MIB));
		mems_finish();
		mems_init();
	}
}

/* Where the heap has grown between two of them, merging was of use. */
static void a_heap_that_grows_merges_as_before(void **state)
{
	(void)state;
	make_full_pages();
	for (size_t i = 0; i < 4; i++) {
		assert_true(is_merged_at(256 * KIB));
		take(17 * PAGE);
		fill_up();
	}
}

/* mems_trim merges all, and does not put off the next merge. */
static void trimming_merges_all(void **state)
{
	(void)state;
	make_full_pages();
	for (size_t i = 0; i < 3; i++) {
		for (size_t j = 0; j < 20; j++)
			give_back(REST + j * PAGE);
		assert_succeeds((mems_trim(), true));
		assert_sound();
		assert_true(take(20 * PAGE) == REST);
		give_back(REST);
		for (size_t j = 0; j < 20; j++)
			assert_true(take(PAGE) == REST + j * PAGE);
	}
	assert_true(is_merged_at(256 * KIB));
	for (size_t j = 0; j < 20; j++)
		give_back(REST + j * PAGE);
	assert_succeeds((mems_trim(), true));
	for (size_t j = 0; j < 20; j++)
		assert_true(take(PAGE) == REST + j * PAGE);
	assert_true(is_merged_at(256 * KIB));
	assert_false(is_merged_at(512 * KIB - PAGE));
}

/* A node has 16 pages, or those that are needed where the limit refuses so many. */
static void nodes_have_16_pages(void **state)
{
	(void)state;
	take(8);
	assert_int_equal(stats_now().pages, 16);
	take(stats_now().largest_hole);
	take(PAGE + 8);
	assert_int_equal(stats_now().pages, 32);
	take(stats_now().largest_hole);
	take(17 * PAGE);
	assert_int_equal(stats_now().pages, 32 + 17);
	assert_succeeds(mems_aligned_alloc(PAGE, 3 * PAGE) != NULL);
	assert_int_equal(stats_now().pages, 32 + 17 + 16);
	take(stats_now().largest_hole);
	take(200 * PAGE);
	take(8);
	assert_int_equal(stats_now().pages, 32 + 17 + 16 + 200 + (32 + 17 + 16 + 200) / 8);
	for (size_t limit = 15; limit <= 33; limit += 3) {
		mems_finish();
		assert_int_equal(mems_option(MEMS_LIMIT, limit * PAGE), 0);
		mems_init();
		take(PAGE + 8);
		assert_int_equal(stats_now().pages, limit < 16 ? 2 : 16);
		take(stats_now().largest_hole);
		take(PAGE + 8);
		assert_int_equal(stats_now().pages, limit < 16 ? 4 : limit < 32 ? 18 : 32);
	}
}

/* Blocks of 40 bytes are freed and taken again, the last first. */
static void expect_last_first(const uintptr_t *blocks, size_t count)
{
	for (size_t i = 0; i < count; i++)
		give_back(blocks[i]);
	for (size_t i = count; i-- > 0;)
		assert_true(take(40) == blocks[i]);
	assert_sound();
}

/* However large the heap is in proportion to what it remembers. */
static void after_merging_all_is_as_before(void **state)
{
	(void)state;
	enum { BLOCKS = 300, PAGES = 64 };
	uintptr_t blocks[BLOCKS], pages[PAGES];
	for (size_t mapped = 400 * KIB; mapped <= 4 * MIB; mapped *= 4) {
		make_node(mapped);
		for (size_t i = 0; i < BLOCKS; i++)
			blocks[i] = take(40);
		for (size_t i = 0; i < PAGES; i++)
			pages[i] = take(PAGE);
		fill_up();
		expect_last_first(blocks, BLOCKS);
		for (size_t i = 0; i < PAGES; i++)
			give_back(pages[i]);
		assert_true(take(2 * PAGE) == pages[0]);
		assert_sound();
		expect_last_first(blocks, BLOCKS);
		for (size_t i = 0; i < PAGES - 2; i++)
			pages[i] = take(PAGE);
		for (size_t i = 0; i < PAGES - 2; i++)
			give_back(pages[i]);
		assert_sound();
		expect_last_first(blocks, BLOCKS);
		mems_finish();
		mems_init();
	}
}

/* Under a limit of four pages, four blocks of a page in one node, freed. */
static void make_limited(void)
{
	mems_finish();
	assert_int_equal(mems_option(MEMS_LIMIT, 4 * PAGE), 0);
	mems_init();
	assert_true(take(4 * PAGE) == 1000);
	assert_succeeds(mems_realloc(at(1000), PAGE) == at(1000));
	for (size_t i = 1; i < 4; i++)
		assert_true(take(PAGE) == 1000 + i * PAGE);
	for (size_t i = 0; i < 4; i++)
		give_back(1000 + i * PAGE);
}

static void when_the_os_refuses_all_is_merged(void **state)
{
	(void)state;
	make_limited();
	assert_true(take(4 * PAGE) == 1000);
	assert_fails(ENOMEM, mems_malloc(8) == NULL);
	make_limited();
	assert_succeeds(mems_aligned_alloc(PAGE, 3 * PAGE) == at(1000));
	make_limited();
	assert_true(take(PAGE) == 1000 + 3 * PAGE);
	fill_block(1000 + 3 * PAGE, PAGE, 4);
	assert_succeeds(mems_realloc(at(1000 + 3 * PAGE), PAGE + 1) == at(1000));
	assert_true(has_filling(1000, PAGE, 4));
	make_limited();
	assert_succeeds(mems_calloc(4, PAGE) == at(1000));
	assert_true(is_zeroed(1000, 4 * PAGE));
}

/* A request that no heap could hold fails at once, and what is remembered stays so. */
static void an_impossible_request_merges_nothing(void **state)
{
	(void)state;
	make_limited();
	char *const before = printed_text();
	assert_fails(ENOMEM, mems_malloc(4 * PAGE + 1) == NULL);
	assert_fails(ENOMEM, mems_malloc(SIZE_MAX) == NULL);
	assert_fails(ENOMEM, mems_aligned_alloc(PAGE, 5 * PAGE) == NULL);
	char *const after = printed_text();
	assert_string_equal(after, before);
	free(after);
	free(before);
	assert_sound();
	assert_true(take(PAGE) == 1000 + 3 * PAGE);
}

/* One that there is no room for now fails when all is merged: the lowest page comes next. */
static void only_then_memory_is_out(void **state)
{
	(void)state;
	make_limited();
	assert_true(take(PAGE) == 1000 + 3 * PAGE);
	char *const before = printed_text();
	assert_fails(ENOMEM, mems_malloc(4 * PAGE) == NULL);
	char *const after = printed_text();
	assert_string_equal(after, before);
	free(after);
	free(before);
	assert_sound();
	assert_true(take(PAGE) == 1000);
	assert_true(take(2 * PAGE) == 1000 + PAGE);
}

/* There is room for a quarter of a million of them; the others are merged at once. */
static void what_cannot_be_remembered_is_merged(void **state)
{
	(void)state;
	enum { BLOCKS = 300000, CERTAIN = 200000 };
	static uintptr_t blocks[BLOCKS];
	for (size_t i = 0; i < BLOCKS; i++)
		blocks[i] = take(8);
	fill_up();
	const struct mems_stats before = stats_now();
	for (size_t i = 0; i < BLOCKS; i++)
		give_back(blocks[i]);
	assert_sound();
	const struct mems_stats stats = stats_now();
	assert_true(stats.process_bytes == before.process_bytes - 8 * BLOCKS);
	assert_true(stats.metadata_bytes >= before.metadata_bytes + CERTAIN * sizeof(uint32_t));
	assert_true(take(16) > blocks[CERTAIN]);
	assert_true(stats_now().mapped_bytes == before.mapped_bytes);
	const uintptr_t last = take(8);
	assert_true(last > blocks[CERTAIN] && take(8) == last - 8);
}

/* ---- Lives ------------------------------------------------------------------------------- */

static void nothing_is_remembered_in_the_next_life(void **state)
{
	(void)state;
	for (size_t round = 0; round < 3; round++) {
		const uintptr_t first = take(ALONE);
		const uintptr_t second = take(ALONE);
		assert_true(first == 1000 && second == 1000 + PAGE);
		give_back(second);
		assert_true(take(ALONE) == second);
		give_back(first);
		give_back(second);
		mems_finish();
		mems_init();
	}
	assert_true(take(48) == 1000);
	assert_true(take(56) == 1048);
}

/* Remembered blocks are as far away as any memory where there is no heap, */
static void without_a_heap_nothing_is_taken(void **state)
{
	(void)state;
	const uintptr_t block = take(40);
	take(40);
	give_back(block);
	mems_finish();
	assert_fails(EPERM, mems_malloc(40) == NULL);
	assert_fails(EPERM, mems_calloc(1, 40) == NULL);
	assert_int_equal(report.count, 2);
	reports_clear();
	assert_fails(EINVAL, (mems_free(at(block + 40)), true));
	assert_report(block + 40, "mems_free(1040): there is no heap, mems_init is missing");
}

/* and in a visitor. */
static int taking_visitor(const struct mems_segment *segment, void *context)
{
	(void)segment;
	(void)context;
	assert_fails(EBUSY, mems_malloc(40) == NULL);
	assert_fails(EBUSY, mems_calloc(1, 40) == NULL);
	assert_fails(EBUSY, mems_realloc(NULL, 40) == NULL);
	assert_fails(EBUSY, (mems_free(at(1040)), true));
	assert_fails(EINVAL, (mems_free(at(1000)), true));
	assert_report(1000, "mems_free(1000): in HOLE[1000:1039], freed before or never given out");
	return 0;
}

static void in_a_visitor_nothing_is_taken_or_remembered(void **state)
{
	(void)state;
	assert_true(take(40) == 1000);
	assert_true(take(40) == 1040);
	give_back(1000);
	assert_int_equal(mems_walk(taking_visitor, NULL), 0);
	assert_int_equal(mems_walk(taking_visitor, NULL), 0);
	assert_chain("MAIN[1000:5095] -> HOLE[1000:1039] <-> PROCESS[1040:1079] <-> "
	             "HOLE[1080:5095] <-> NULL\n");
	assert_true(take(40) == 1000);
	give_back(1040);
	assert_true(take(40) == 1040);
}

static void mix(uint64_t *hash, uint64_t value)
{
	*hash ^= value;
	*hash = random_next(hash);
}

/* What a random sequence of calls returned and left behind, as one number. */
static uint64_t hash_of_sequence(uint64_t seed)
{
	enum { BLOCKS = 500, CALLS = 20000 };
	uintptr_t blocks[BLOCKS] = {0};
	uint64_t hash = 1;
	for (size_t call = 0; call < CALLS; call++) {
		uintptr_t *const block = &blocks[random_below(&seed, BLOCKS)];
		const size_t size = 1 + random_below(&seed, (size_t)16 << random_below(&seed, 11));
		if (*block == 0)
			*block = random_below(&seed, 20) == 0 ? address_of(mems_aligned_alloc(64, size))
			                                      : take(size);
		else if (random_below(&seed, 4) == 0)
			*block = address_of(mems_realloc(at(*block), size));
		else
			*block = (give_back(*block), 0);
		mix(&hash, *block);
	}
	char *const text = printed_text();
	for (size_t i = 0; text[i] != '\0'; i++)
		mix(&hash, (unsigned char)text[i]);
	free(text);
	assert_sound();
	return hash;
}

static void the_same_calls_give_the_same_heap(void **state)
{
	(void)state;
	const uint64_t hash = hash_of_sequence(1);
	mems_finish();
	mems_init();
	assert_true(hash_of_sequence(1) == hash);
	mems_finish();
	mems_init();
	assert_true(hash_of_sequence(2) != hash);
	mems_finish();
	assert_int_equal(mems_option(MEMS_ALIGNMENT, 1), 0);
	mems_init();
	assert_true(hash_of_sequence(1) != hash);
	mems_finish();
	assert_int_equal(mems_option(MEMS_ALIGNMENT, 8), 0);
	mems_init();
	assert_true(hash_of_sequence(1) == hash);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		small_quick_fit_test(a_freed_block_is_shown_as_a_hole),
		small_quick_fit_test(a_freed_block_is_shown_with_the_holes_beside_it),
		small_quick_fit_test(holes_are_never_shown_across_nodes),
		quick_fit_test(a_freed_block_is_refused_by_translation),
		small_quick_fit_test(a_second_free_is_a_misuse),
		small_quick_fit_test(the_rest_of_a_run_is_a_hole),
		small_quick_fit_test(a_hole_tells_how_much_of_it_is_remembered),
		quick_fit_test(the_block_remembered_last_is_taken_first),
		quick_fit_test(however_many_are_remembered_the_last_is_first),
		quick_fit_test(the_size_of_the_segment_counts),
		quick_fit_test(calloc_takes_it_and_zeroes_it),
		quick_fit_test(calloc_zeroes_every_block_of_a_run),
		quick_fit_test(a_move_takes_it_and_leaves_one),
		quick_fit_test(aligned_alloc_takes_it_only_where_any_block_would_do),
		quick_fit_test(an_aligned_block_is_remembered_like_others),
		quick_fit_test(other_sizes_do_not_go_there),
		small_quick_fit_test(remembered_neighbours_are_no_larger_hole),
		quick_fit_test(other_sizes_follow_first_fit),
		quick_fit_test(growing_does_not_take_a_remembered_neighbour),
		small_quick_fit_test(growing_takes_a_merged_neighbour_up_to_a_remembered_one),
		quick_fit_test(the_tail_of_a_block_is_not_remembered),
		quick_fit_test(the_gap_before_an_aligned_block_is_not_remembered),
		quick_fit_test(large_blocks_are_merged_at_once),
		quick_fit_test(a_size_asked_for_again_takes_longer_and_longer_runs),
		small_quick_fit_test(a_run_ends_with_its_hole),
		quick_fit_test(at_256_kib_all_is_merged_before_the_os_is_asked),
		quick_fit_test(in_a_large_heap_it_is_a_sixteenth),
		quick_fit_test(what_is_taken_again_is_not_remembered),
		quick_fit_test(where_merging_does_not_help_the_os_is_asked),
		quick_fit_test(merges_that_follow_each_other_are_put_off),
		quick_fit_test(a_heap_that_grows_merges_as_before),
		quick_fit_test(trimming_merges_all),
		quick_fit_test(nodes_have_16_pages),
		quick_fit_test(after_merging_all_is_as_before),
		quick_fit_test(when_the_os_refuses_all_is_merged),
		quick_fit_test(an_impossible_request_merges_nothing),
		quick_fit_test(only_then_memory_is_out),
		quick_fit_test(what_cannot_be_remembered_is_merged),
		small_quick_fit_test(nothing_is_remembered_in_the_next_life),
		quick_fit_test(without_a_heap_nothing_is_taken),
		small_quick_fit_test(in_a_visitor_nothing_is_taken_or_remembered),
		quick_fit_test(the_same_calls_give_the_same_heap),
	};
	return cmocka_run_group_tests_name("quick", tests, NULL, NULL);
}
