/* mems_realloc: in every direction, in place and by moving, and when it fails. */
#define _GNU_SOURCE
#include "support.h"

static uintptr_t resize(uintptr_t address, size_t size)
{
	errno = UNTOUCHED;
	void *const v_ptr = mems_realloc(at(address), size);
	assert_int_equal(errno, UNTOUCHED);
	assert_non_null(v_ptr);
	assert_no_report();
	return address_of(v_ptr);
}

/* ---- As mems_malloc ---------------------------------------------------------------------- */

static void null_acts_as_malloc(void **state)
{
	(void)state;
	assert_true(resize(0, 1000) == 1000);
	assert_true(resize(0, 10) == 2000);
	assert_fails(EINVAL, mems_realloc(NULL, 0) == NULL);
	assert_fails(ENOMEM, mems_realloc(NULL, SIZE_MAX) == NULL);
	assert_no_report();
	assert_chain("MAIN[1000:5095] -> PROCESS[1000:1999] <-> PROCESS[2000:2015] <-> "
	             "HOLE[2016:5095] <-> NULL\n");
}

static void size_0_is_an_error_and_the_block_stays(void **state)
{
	(void)state;
	const uintptr_t block = take(100);
	fill_block(block, 104, 1);
	assert_fails(EINVAL, mems_realloc(at(block), 0) == NULL);
	assert_no_report();
	assert_true(has_filling(block, 104, 1));
	assert_true(mems_usable_size(at(block)) == 104);
}

/* ---- In place ---------------------------------------------------------------------------- */

static void the_same_rounded_size_changes_nothing(void **state)
{
	(void)state;
	const uintptr_t block = take(100);
	take(8);
	for (size_t size = 97; size <= 104; size++)
		assert_true(resize(block, size) == block);
	assert_chain("MAIN[1000:5095] -> PROCESS[1000:1103] <-> PROCESS[1104:1111] <-> "
	             "HOLE[1112:5095] <-> NULL\n");
}

static void shrinking_before_a_block_makes_a_hole(void **state)
{
	(void)state;
	const uintptr_t block = take(1000);
	take(1000);
	fill_block(block, 1000, 2);
	assert_true(resize(block, 601) == block);
	assert_true(has_filling(block, 608, 2));
	assert_chain("MAIN[1000:5095] -> PROCESS[1000:1607] <-> HOLE[1608:1999] <-> "
	             "PROCESS[2000:2999] <-> HOLE[3000:5095] <-> NULL\n");
	assert_true(take(392) == 1608);
}

static void shrinking_before_a_hole_widens_it(void **state)
{
	(void)state;
	take(1000);
	const uintptr_t block = take(1000);
	fill_block(block, 1000, 3);
	assert_true(resize(block, 8) == block);
	assert_true(has_filling(block, 8, 3));
	assert_chain("MAIN[1000:5095] -> PROCESS[1000:1999] <-> PROCESS[2000:2007] <-> "
	             "HOLE[2008:5095] <-> NULL\n");
}

static void shrinking_at_the_end_of_a_node(void **state)
{
	(void)state;
	const uintptr_t block = take(PAGE);
	assert_true(take(PAGE) == 5096);
	give_back(5096);
	assert_true(resize(block, PAGE - 8) == block);
	assert_chain("MAIN[1000:5095] -> PROCESS[1000:5087] <-> HOLE[5088:5095] <-> NULL\n"
	             "MAIN[5096:9191] -> HOLE[5096:9191] <-> NULL\n");
}

static void shrinking_of_many_pages(void **state)
{
	(void)state;
	const uintptr_t block = take(8 * MIB);
	fill_block(block, 100, 4);
	assert_true(resize(block, 100) == block);
	assert_true(has_filling(block, 100, 4));
	assert_true(stats_now().largest_hole == 8 * MIB - 104);
	assert_true(take(8 * MIB - 104) == block + 104);
}

static void growing_takes_a_part_of_the_hole_on_the_right(void **state)
{
	(void)state;
	const uintptr_t block = take(1000);
	take(1000);
	take(1000);
	give_back(2000);
	fill_block(block, 1000, 5);
	assert_true(resize(block, 1500) == block);
	assert_true(has_filling(block, 1000, 5));
	assert_chain("MAIN[1000:5095] -> PROCESS[1000:2503] <-> HOLE[2504:2999] <-> "
	             "PROCESS[3000:3999] <-> HOLE[4000:5095] <-> NULL\n");
}

static void growing_takes_the_whole_hole_on_the_right(void **state)
{
	(void)state;
	const uintptr_t block = take(1000);
	take(1000);
	take(1000);
	give_back(2000);
	fill_block(block, 1000, 6);
	assert_true(resize(block, 2000) == block);
	assert_true(has_filling(block, 1000, 6));
	assert_chain("MAIN[1000:5095] -> PROCESS[1000:2999] <-> PROCESS[3000:3999] <-> "
	             "HOLE[4000:5095] <-> NULL\n");
}

/* In place has priority, even where a lower HOLE has the room as well. */
static void growing_in_place_goes_before_a_lower_hole(void **state)
{
	(void)state;
	take(2000);
	const uintptr_t block = take(1000);
	give_back(1000);
	assert_true(resize(block, 1200) == block);
	assert_chain("MAIN[1000:5095] -> HOLE[1000:2999] <-> PROCESS[3000:4199] <-> "
	             "HOLE[4200:5095] <-> NULL\n");
}

static void a_node_is_filled_in_place_to_its_last_byte(void **state)
{
	(void)state;
	const uintptr_t block = take(8);
	fill_block(block, 8, 7);
	for (size_t size = 16; size <= PAGE; size += 8)
		assert_true(resize(block, size) == block);
	assert_true(has_filling(block, 8, 7));
	assert_chain("MAIN[1000:5095] -> PROCESS[1000:5095] <-> NULL\n");
}

/* ---- Moving ------------------------------------------------------------------------------ */

static void a_hole_too_small_by_one_granule_means_moving(void **state)
{
	(void)state;
	const uintptr_t block = take(1000);
	take(1000);
	take(8);
	give_back(2000);
	fill_block(block, 1000, 8);
	assert_true(resize(block, 2001) == 3008);
	assert_true(has_filling(3008, 1000, 8));
	assert_chain("MAIN[1000:5095] -> HOLE[1000:2999] <-> PROCESS[3000:3007] <-> "
	             "PROCESS[3008:5015] <-> HOLE[5016:5095] <-> NULL\n");
}

/* The HOLE on the left counts for nothing: the old block is still held. */
static void a_hole_on_the_left_does_not_help(void **state)
{
	(void)state;
	take(1000);
	const uintptr_t block = take(1000);
	take(2096);
	give_back(1000);
	assert_true(resize(block, 1500) == 5096);
	assert_chain("MAIN[1000:5095] -> HOLE[1000:2999] <-> PROCESS[3000:5095] <-> NULL\n"
	             "MAIN[5096:9191] -> PROCESS[5096:6599] <-> HOLE[6600:9191] <-> NULL\n");
}

static void a_block_may_move_down(void **state)
{
	(void)state;
	take(1600);
	const uintptr_t block = take(1000);
	take(1496);
	give_back(1000);
	fill_block(block, 1000, 9);
	assert_true(resize(block, 1600) == 1000);
	assert_true(has_filling(1000, 1000, 9));
	assert_chain("MAIN[1000:5095] -> PROCESS[1000:2599] <-> HOLE[2600:3599] <-> "
	             "PROCESS[3600:5095] <-> NULL\n");
}

static void growing_never_crosses_a_node_border(void **state)
{
	(void)state;
	const uintptr_t block = take(PAGE);
	assert_true(take(PAGE) == 5096);
	give_back(5096);
	fill_block(block, PAGE, 10);
	assert_true(resize(block, PAGE + 8) == 9192);
	assert_true(has_filling(9192, PAGE, 10));
	/* Under quick fit the limit refuses 16 pages, and the two that are needed must do. */
	assert_chain(policy_under_test() == MEMS_QUICK_FIT
	             ? "MAIN[1000:5095] -> HOLE[1000:5095] <-> NULL\n"
	               "MAIN[5096:9191] -> HOLE[5096:9191] <-> NULL\n"
	               "MAIN[9192:17383] -> PROCESS[9192:13295] <-> HOLE[13296:17383] <-> NULL\n"
	             : "MAIN[1000:5095] -> HOLE[1000:5095] <-> NULL\n"
	               "MAIN[5096:9191] -> HOLE[5096:9191] <-> NULL\n"
	               "MAIN[9192:21479] -> PROCESS[9192:13295] <-> HOLE[13296:21479] <-> NULL\n");
}

/* A HOLE that ends at the border counts only up to the border. */
static void a_hole_on_the_right_counts_up_to_the_border(void **state)
{
	(void)state;
	const uintptr_t block = take(3096);
	take(PAGE);
	give_back(5096);
	assert_true(resize(block, PAGE) == block);
	assert_true(resize(block, 3096) == block);
	assert_true(resize(block, PAGE + 1) == 9192);
}

static void the_old_block_merges_after_a_move(void **state)
{
	(void)state;
	take(500);
	const uintptr_t block = take(500);
	take(500);
	take(8);
	give_back(1000);
	give_back(block + 504);
	fill_block(block, 504, 11);
	const uintptr_t moved = resize(block, 1200);
	assert_true(moved == 1000 + 3 * 504 + 8);
	assert_true(has_filling(moved, 504, 11));
	assert_chain("MAIN[1000:5095] -> HOLE[1000:2511] <-> PROCESS[2512:2519] <-> "
	             "PROCESS[2520:3719] <-> HOLE[3720:5095] <-> NULL\n");
}

/* Leaves no HOLE to grow into on the right of the block. */
static void wall_in(uintptr_t block)
{
	struct mems_segment own, right;
	assert_int_equal(mems_segment_at(at(block), &own), 0);
	while (own.end != own.node_end) {
		assert_int_equal(mems_segment_at(at(own.end + 1), &right), 0);
		if (right.type == MEMS_PROCESS)
			return;
		take(right.size);
	}
}

static void a_large_block_moves_with_its_contents(void **state)
{
	(void)state;
	uintptr_t block = take(8);
	fill_block(block, 8, 12);
	size_t kept = 8;
	for (size_t size = 20; size < 30 * MIB; size = size * 5 / 2) {
		wall_in(block);
		const uintptr_t moved = resize(block, size);
		assert_true(moved != block);
		assert_true(has_filling(moved, kept, 12));
		assert_fails(EFAULT, mems_get(at(block)) == NULL);
		fill_block(moved, size, 12);
		block = moved;
		kept = size;
	}
	assert_true(resize(block, 1000) == block);
	assert_true(has_filling(block, 1000, 12));
}

/* Large, but at no page border: neither the source nor the target of the move. */
static void a_large_block_moves_from_and_to_odd_places(void **state)
{
	(void)state;
	for (size_t shift = 8; shift <= 4096; shift += 1016) {
		const uintptr_t before = take(shift);
		uintptr_t block = take(MIB + shift);
		const uintptr_t between = take(2 * shift);
		fill_block(between, 2 * shift, 14);
		fill_block(block, MIB + shift, 13);
		block = resize(block, 3 * MIB);
		assert_true(has_filling(block, MIB + shift, 13));
		assert_true(has_filling(between, 2 * shift, 14));
		assert_sound();
		give_back(before);
		give_back(block);
		give_back(between);
	}
}

/* Freed in pieces too small to be given back, merged by freeing what lies between them: a HOLE that
 * is in memory, so that nothing is won by moving pages there. */
static void a_large_block_moves_to_memory_that_is_there(void **state)
{
	(void)state;
	enum { PIECES = 16 };
	uintptr_t pieces[PIECES], between[PIECES];
	assert_true(resize(take(2 * MIB), 8) == 1000);
	for (size_t i = 0; i < PIECES; i++) {
		pieces[i] = take(64 * KIB);
		fill_block(pieces[i], 64 * KIB, 16);
		between[i] = take(8);
	}
	const uintptr_t block = take(300 * KIB);
	fill_block(block, 300 * KIB, 17);
	wall_in(block);
	for (size_t i = 0; i < PIECES; i++)
		give_back(pieces[i]);
	for (size_t i = 0; i < PIECES; i++)
		give_back(between[i]);
	const uintptr_t moved = resize(block, 700 * KIB);
	assert_true(moved == 1008 || policy_under_test() == MEMS_QUICK_FIT);
	assert_true(has_filling(moved, 300 * KIB, 17));
	assert_fails(EFAULT, mems_get(at(block)) == NULL);
	assert_sound();
}

/* ---- Failing ----------------------------------------------------------------------------- */

static void a_failing_move_leaves_the_block_untouched(void **state)
{
	(void)state;
	mems_finish();
	assert_int_equal(mems_option(MEMS_LIMIT, 2 * PAGE), 0);
	mems_init();
	const uintptr_t block = take(3000);
	take(1000);
	fill_block(block, 3000, 15);
	char *const before = printed_text();
	static const size_t sizes[] = {4097, 8192, MIB, SIZE_MAX / 2, SIZE_MAX - 7, SIZE_MAX};
	for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
		assert_fails(ENOMEM, mems_realloc(at(block), sizes[i]) == NULL);
		assert_true(has_filling(block, 3000, 15));
		char *const after = printed_text();
		assert_string_equal(after, before);
		free(after);
	}
	free(before);
	assert_no_report();
	assert_true(stats_now().peak_process_bytes == 4000);
}

/* ---- Peaks ------------------------------------------------------------------------------- */

static void a_move_counts_both_blocks_in_the_peak(void **state)
{
	(void)state;
	const uintptr_t block = take(1000);
	take(8);
	assert_true(resize(block, 2000) == 2008);
	assert_true(stats_now().process_bytes == 2008);
	assert_true(stats_now().peak_process_bytes == 3008);
}

static void growing_in_place_counts_once(void **state)
{
	(void)state;
	const uintptr_t block = take(1000);
	assert_true(resize(block, 2000) == block);
	assert_true(stats_now().peak_process_bytes == 2000);
	assert_true(resize(block, 500) == block);
	assert_true(stats_now().process_bytes == 504);
	assert_true(stats_now().peak_process_bytes == 2000);
}

/* ---- Room to grow ------------------------------------------------------------------------ */

/* The node that a block moves to when it grows has half as much again as is needed, rounded down;
 * where the limit refuses that many pages, it has those that are needed. */
static void a_block_that_grows_gets_half_as_much_room_again(void **state)
{
	(void)state;
	assert_true(take(16 * PAGE) == 1000);
	assert_true(resize(1000, 16 * PAGE + 8) == 1000 + 16 * PAGE);
	assert_int_equal(stats_now().pages, 16 + 25);
	const uintptr_t block = 1000 + 41 * PAGE;
	assert_true(resize(1000 + 16 * PAGE, 25 * PAGE + 8) == block);
	assert_int_equal(stats_now().pages, 41 + 39);
	assert_true(resize(block, 39 * PAGE) == block);
	for (size_t refused = 0; refused < 2; refused++) {
		mems_finish();
		assert_int_equal(mems_option(MEMS_LIMIT, (150 - refused) * PAGE), 0);
		mems_init();
		assert_true(take(100 * PAGE) == 1000);
		assert_true(take(16 * PAGE) == 1000 + 100 * PAGE);
		assert_true(resize(1000 + 100 * PAGE, 23 * PAGE) == 1000 + 116 * PAGE);
		assert_int_equal(stats_now().pages, refused ? 139 : 150);
		assert_fails(ENOMEM, mems_realloc(at(1000), 101 * PAGE) == NULL);
	}
}

/* The eighth of a large heap counts where it is more. */
static void a_block_that_grows_gets_its_share_of_a_large_heap(void **state)
{
	(void)state;
	take(797 * PAGE);
	const uintptr_t small = take(3 * PAGE);
	const size_t pages = stats_now().pages;
	take(stats_now().largest_hole);
	assert_int_equal(pages, 797 + 797 / 8);
	assert_true(resize(small, 3 * PAGE + 8) == 1000 + pages * PAGE);
	assert_int_equal(stats_now().pages, pages + pages / 8);
	take(stats_now().largest_hole);
	const size_t before = stats_now().pages;
	resize(small + (pages - 797) * PAGE, 100 * PAGE);
	assert_int_equal(stats_now().pages, before + 150);
}

/* As many binary digits as the size has. */
static size_t log2_of(size_t size)
{
	size_t digits = 0;
	while (size >> digits > 1)
		digits++;
	return digits;
}

/* A heap whose only block grows to so many bytes in such steps. */
static void expect_few_moves(size_t most, size_t step)
{
	const size_t least = (policy_under_test() == MEMS_QUICK_FIT ? 16 : 1) * PAGE;
	size_t moves = 0;
	uintptr_t block = take(step);
	for (size_t size = 2 * step; size <= most; size += step) {
		const uintptr_t moved = resize(block, size);
		moves += moved != block;
		block = moved;
		assert_true(stats_now().mapped_bytes <= 5 * (size > least ? size : least));
		assert_true(moves <= 2 * log2_of(size));
	}
	assert_sound();
	mems_finish();
	mems_init();
}

static void growing_in_steps_maps_and_copies_little(void **state)
{
	(void)state;
	expect_few_moves(64 * KIB, 8);
	expect_few_moves(MIB, 1000);
	expect_few_moves(16 * MIB, PAGE);
	expect_few_moves(32 * MIB, 65 * KIB + 24);
	expect_few_moves(96 * MIB, MIB);
}

/* Blocks one page larger each time. One of k pages needs a new node only where the last, an eighth
 * of the nodes before, has fewer: less than 9 k are mapped then, and a node adds an eighth. */
static void rising_sizes_map_little(void **state)
{
	(void)state;
	for (size_t pages = 1; pages <= 2000; pages++) {
		give_back(take(pages * PAGE));
		assert_true(8 * stats_now().pages <= 81 * (pages > 16 ? pages : 16));
	}
	assert_sound();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		small_heap_test(null_acts_as_malloc),
		heap_test(size_0_is_an_error_and_the_block_stays),
		small_heap_test(the_same_rounded_size_changes_nothing),
		small_heap_test(shrinking_before_a_block_makes_a_hole),
		small_heap_test(shrinking_before_a_hole_widens_it),
		small_heap_test(shrinking_at_the_end_of_a_node),
		heap_test(shrinking_of_many_pages),
		first_fit_test(growing_takes_a_part_of_the_hole_on_the_right),
		first_fit_test(growing_takes_the_whole_hole_on_the_right),
		small_heap_test(growing_in_place_goes_before_a_lower_hole),
		small_heap_test(a_node_is_filled_in_place_to_its_last_byte),
		first_fit_test(a_hole_too_small_by_one_granule_means_moving),
		first_fit_test(a_hole_on_the_left_does_not_help),
		small_heap_test(a_block_may_move_down),
		small_heap_test(growing_never_crosses_a_node_border),
		small_heap_test(a_hole_on_the_right_counts_up_to_the_border),
		small_heap_test(the_old_block_merges_after_a_move),
		heap_test(a_large_block_moves_with_its_contents),
		heap_test(a_large_block_moves_from_and_to_odd_places),
		heap_test(a_large_block_moves_to_memory_that_is_there),
		heap_test(a_failing_move_leaves_the_block_untouched),
		heap_test(a_move_counts_both_blocks_in_the_peak),
		heap_test(growing_in_place_counts_once),
		heap_test(a_block_that_grows_gets_half_as_much_room_again),
		heap_test(a_block_that_grows_gets_its_share_of_a_large_heap),
		heap_test(growing_in_steps_maps_and_copies_little),
		heap_test(rising_sizes_map_little),
	};
	return run_heap_tests("realloc", tests);
}
