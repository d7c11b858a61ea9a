/* mems_aligned_alloc: physical alignment, the HOLE that is chosen, the gap, the errors. */
#define _GNU_SOURCE
#include "support.h"

static uintptr_t take_aligned(size_t alignment, size_t size)
{
	errno = UNTOUCHED;
	void *const v_ptr = mems_aligned_alloc(alignment, size);
	assert_int_equal(errno, UNTOUCHED);
	assert_non_null(v_ptr);
	assert_true(address_of(mems_get(v_ptr)) % alignment == 0);
	return address_of(v_ptr);
}

static void every_alignment_up_to_the_page(void **state)
{
	(void)state;
	for (size_t page = PAGE; page <= 2 * MIB; page *= 8) {
		mems_finish();
		assert_int_equal(mems_option(MEMS_PAGE_SIZE, page), 0);
		mems_init();
		for (size_t alignment = 1; alignment <= page; alignment *= 2) {
			take(1);
			const uintptr_t block = take_aligned(alignment, alignment + 1);
			fill_block(block, alignment + 1, 1);
			assert_true((block - 1000) % alignment == 0);
		}
		assert_fails(EINVAL, mems_aligned_alloc(2 * page, 8) == NULL);
		assert_sound();
	}
}

static void other_alignments_are_refused(void **state)
{
	(void)state;
	static const size_t alignments[] = {0,    3,    6,    24,           4095,        4097,
	                                    8192, 12288, MIB, SIZE_MAX / 2 + 1, SIZE_MAX};
	for (size_t i = 0; i < sizeof alignments / sizeof alignments[0]; i++) {
		assert_fails(EINVAL, mems_aligned_alloc(alignments[i], 8) == NULL);
		assert_fails(EINVAL, mems_aligned_alloc(alignments[i], SIZE_MAX) == NULL);
	}
	assert_fails(EINVAL, mems_aligned_alloc(16, 0) == NULL);
	assert_fails(EINVAL, mems_aligned_alloc(0, 0) == NULL);
	assert_no_report();
	assert_chain("");
}

static void sizes_that_overflow_give_no_memory(void **state)
{
	(void)state;
	for (size_t alignment = 1; alignment <= PAGE; alignment *= 2) {
		for (size_t below = 0; below <= 2 * PAGE; below += 511)
			assert_fails(ENOMEM,
			             mems_aligned_alloc(alignment, SIZE_MAX - below) == NULL);
	}
	assert_chain("");
}

static void below_the_heap_alignment_it_acts_as_malloc(void **state)
{
	(void)state;
	take(8);
	assert_true(take_aligned(1, 1) == 1008);
	assert_true(take_aligned(2, 9) == 1016);
	assert_true(take_aligned(8, 16) == 1032);
	assert_chain("MAIN[1000:5095] -> PROCESS[1000:1007] <-> PROCESS[1008:1015] <-> "
	             "PROCESS[1016:1031] <-> PROCESS[1032:1047] <-> HOLE[1048:5095] <-> NULL\n");
}

static void the_gap_before_the_block_stays_a_hole(void **state)
{
	(void)state;
	take(8);
	assert_true(take_aligned(64, 100) == 1064);
	assert_chain("MAIN[1000:5095] -> PROCESS[1000:1007] <-> HOLE[1008:1063] <-> "
	             "PROCESS[1064:1167] <-> HOLE[1168:5095] <-> NULL\n");
	assert_true(take(56) == 1008);
	give_back(1064);
	assert_chain("MAIN[1000:5095] -> PROCESS[1000:1007] <-> PROCESS[1008:1063] <-> "
	             "HOLE[1064:5095] <-> NULL\n");
}

static void a_block_may_end_with_its_hole(void **state)
{
	(void)state;
	take(8);
	assert_true(take_aligned(2048, 2048) == 3048);
	assert_chain("MAIN[1000:5095] -> PROCESS[1000:1007] <-> HOLE[1008:3047] <-> "
	             "PROCESS[3048:5095] <-> NULL\n");
}

/* HOLEs of the right size at the wrong places are passed over. */
static void the_lowest_hole_with_an_aligned_place_is_taken(void **state)
{
	(void)state;
	/* At 0, 72, 144 ... from the base; those at odd multiples become HOLEs. */
	uintptr_t blocks[16];
	for (size_t i = 0; i < 16; i++)
		blocks[i] = take(72);
	take(PAGE - 16 * 72);
	for (size_t i = 1; i < 16; i += 2)
		give_back(blocks[i]);
	assert_true(take_aligned(16, 64) == 1080);
	assert_true(take_aligned(32, 64) == 1224);
	assert_true(take_aligned(64, 64) == 1000 + 512);
}

static void aligned_requests_match_a_search_by_hand(void **state)
{
	(void)state;
	enum { BLOCKS = 300, CAPACITY = 2000 };
	static struct mems_segment segments[CAPACITY];
	uintptr_t blocks[BLOCKS];
	uint64_t random = 11;
	for (size_t i = 0; i < BLOCKS; i++)
		blocks[i] = take(1 + random_below(&random, 400));
	for (size_t i = 0; i < BLOCKS; i += 2)
		give_back(blocks[i]);
	for (size_t alignment = 8; alignment <= PAGE; alignment *= 2) {
		for (size_t size = 8; size <= 1024; size += 8) {
			const size_t count = walk_segments(segments, CAPACITY);
			uintptr_t expected = 0;
			for (size_t i = 0; i < count && expected == 0; i++) {
				const size_t offset = segments[i].start - 1000;
				const size_t gap = (alignment - offset % alignment) % alignment;
				if (segments[i].type == MEMS_HOLE && gap + size <= segments[i].size)
					expected = segments[i].start + gap;
			}
			const uintptr_t block = take_aligned(alignment, size);
			if (expected == 0)
				expected = segments[count - 1].end + 1;
			assert_true(block == expected);
			give_back(block);
		}
	}
}

static void a_new_node_is_aligned_from_its_low_end(void **state)
{
	(void)state;
	take(PAGE);
	assert_true(take_aligned(PAGE, 1) == 5096);
	assert_true(take_aligned(PAGE, 1) == 9192);
	assert_true(take_aligned(PAGE, PAGE + 1) == 13288);
	assert_true(take_aligned(PAGE, PAGE) == 21480);
	assert_chain("MAIN[1000:5095] -> PROCESS[1000:5095] <-> NULL\n"
	             "MAIN[5096:9191] -> PROCESS[5096:5103] <-> HOLE[5104:9191] <-> NULL\n"
	             "MAIN[9192:13287] -> PROCESS[9192:9199] <-> HOLE[9200:13287] <-> NULL\n"
	             "MAIN[13288:21479] -> PROCESS[13288:17391] <-> HOLE[17392:21479] <-> NULL\n"
	             "MAIN[21480:25575] -> PROCESS[21480:25575] <-> NULL\n");
}

static void the_start_address_does_not_matter(void **state)
{
	(void)state;
	mems_finish();
	assert_int_equal(mems_option(MEMS_START_ADDRESS, 13), 0);
	mems_init();
	take(8);
	assert_true(take_aligned(256, 8) == 13 + 256);
	assert_true(take_aligned(32, 8) == 13 + 32);
	assert_true(take_aligned(4096, 8) == 13 + 4096);
}

static void at_alignment_1_the_gap_is_byte_exact(void **state)
{
	(void)state;
	mems_finish();
	assert_int_equal(mems_option(MEMS_ALIGNMENT, 1), 0);
	mems_init();
	take(1);
	assert_true(take_aligned(2, 3) == 1002);
	assert_true(take_aligned(16, 5) == 1016);
	assert_true(take_aligned(8, 1) == 1008);
	assert_true(take_aligned(4, 4) == 1012);
	assert_chain("MAIN[1000:5095] -> PROCESS[1000:1000] <-> HOLE[1001:1001] <-> "
	             "PROCESS[1002:1004] <-> HOLE[1005:1007] <-> PROCESS[1008:1008] <-> "
	             "HOLE[1009:1011] <-> PROCESS[1012:1015] <-> PROCESS[1016:1020] <-> "
	             "HOLE[1021:5095] <-> NULL\n");
}

/* The rest of the HOLE lies 64 groups of 32 KiB after the block: so to note that the rest is new, the
 * library looks anew at the leaf where the block begins, in the middle of the change. */
static void what_is_looked_at_in_the_middle_is_right(void **state)
{
	(void)state;
	give_back(take(3 * MIB));
	take(8);
	const uintptr_t first = take(PAGE);
	give_back(take(8));
	give_back(first);
	assert_true(take_aligned(PAGE, 2 * MIB) == 1000 + PAGE);
	assert_sound();
	assert_true(take(PAGE) == 1000 + PAGE + 2 * MIB);
	assert_sound();
}

static void aligned_blocks_are_freed_and_resized_like_others(void **state)
{
	(void)state;
	take(8);
	const uintptr_t block = take_aligned(1024, 100);
	fill_block(block, 104, 3);
	assert_true(mems_usable_size(at(block)) == 104);
	assert_true(mems_realloc(at(block), 200) == at(block));
	take(2 * PAGE);
	assert_true(mems_realloc(at(block), 4000) != at(block));
	assert_true(mems_realloc(at(1000), 8) == at(1000));
	assert_fails(EFAULT, mems_get(at(block)) == NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		heap_test(every_alignment_up_to_the_page),
		heap_test(other_alignments_are_refused),
		heap_test(sizes_that_overflow_give_no_memory),
		first_fit_test(below_the_heap_alignment_it_acts_as_malloc),
		small_heap_test(the_gap_before_the_block_stays_a_hole),
		small_heap_test(a_block_may_end_with_its_hole),
		first_fit_test(the_lowest_hole_with_an_aligned_place_is_taken),
		first_fit_test(aligned_requests_match_a_search_by_hand),
		small_heap_test(a_new_node_is_aligned_from_its_low_end),
		heap_test(the_start_address_does_not_matter),
		small_heap_test(at_alignment_1_the_gap_is_byte_exact),
		small_heap_test(aligned_blocks_are_freed_and_resized_like_others),
		first_fit_test(what_is_looked_at_in_the_middle_is_right),
	};
	return run_heap_tests("aligned_alloc", tests);
}
