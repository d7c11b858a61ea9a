/* Starting and ending heaps, as often as you like. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <unistd.h>

#include "support.h"

/* ---- What is mapped ---------------------------------------------------------------------- */

enum { MAPS_BYTES = 1 << 20 };

/* The memory map of this process; no memory is taken while it is read. */
static void read_maps(char *text)
{
	size_t length = 0;
	const int file = open("/proc/self/maps", O_RDONLY);
	if (file < 0)
		skip();
	for (;;) {
		const ssize_t count = read(file, text + length, MAPS_BYTES - 1 - length);
		if (count <= 0)
			break;
		length += (size_t)count;
	}
	close(file);
	text[length] = '\0';
}

static void one_life(size_t round)
{
	mems_init();
	assert_true(take(1000) == 1000);
	take(1 + round * 5000);
	fill_block(1000, 1000, (unsigned)round);
	give_back(1000);
	for (size_t i = 0; i < 20; i++)
		take(100 + i * round);
	mems_finish();
}

static void three_hundred_lives_leave_nothing_mapped(void **state)
{
	(void)state;
	static char before[MAPS_BYTES], after[MAPS_BYTES];
	one_life(300);
	read_maps(before);
	for (size_t round = 0; round < 300; round++)
		one_life(round);
	read_maps(after);
	assert_string_equal(after, before);
}

static void lives_with_other_options(void)
{
	options_reset();
	assert_int_equal(mems_option(MEMS_HISTORY, 1000), 0);
	one_life(100);
	for (size_t page = PAGE; page <= 2 * MIB; page *= 2) {
		for (size_t alignment = 1; alignment <= 64; alignment *= 4) {
			options_reset();
			assert_int_equal(mems_option(MEMS_PAGE_SIZE, page), 0);
			assert_int_equal(mems_option(MEMS_ALIGNMENT, alignment), 0);
			one_life(100);
			assert_int_equal(mems_option(MEMS_LIMIT, 3 * page), 0);
			mems_init();
			take(3 * page);
			mems_finish();
			assert_int_equal(mems_option(MEMS_LIMIT, page - 1), 0);
			mems_init();
			mems_finish();
		}
	}
}

/* At the first time Valgrind takes memory of its own. */
static void lives_with_other_options_leave_nothing_mapped(void **state)
{
	(void)state;
	static char before[MAPS_BYTES], after[MAPS_BYTES];
	lives_with_other_options();
	read_maps(before);
	lives_with_other_options();
	read_maps(after);
	assert_string_equal(after, before);
}

/* ---- Order of calls ---------------------------------------------------------------------- */

static void a_second_init_changes_nothing(void **state)
{
	(void)state;
	mems_init();
	const uintptr_t block = take(1000);
	fill_block(block, 1000, 1);
	errno = UNTOUCHED;
	mems_init();
	assert_int_equal(errno, UNTOUCHED);
	assert_true(has_filling(block, 1000, 1));
	assert_true(take(1000) == 2000);
	assert_chain("MAIN[1000:5095] -> PROCESS[1000:1999] <-> PROCESS[2000:2999] <-> "
	             "HOLE[3000:5095] <-> NULL\n");
	mems_finish();
	assert_fails(EPERM, mems_malloc(1) == NULL);
}

#define NO_HEAP ": there is no heap, mems_init is missing"

static void assert_no_heap(void)
{
	struct mems_stats stats = stats_now();
	struct mems_segment segment;
	char byte = 0;
	assert_fails(EPERM, mems_malloc(1) == NULL);
	assert_report_of(EPERM, 0, "mems_malloc(1)" NO_HEAP);
	assert_fails(EPERM, mems_malloc(0) == NULL);
	assert_report_of(EPERM, 0, "mems_malloc(0)" NO_HEAP);
	assert_fails(EPERM, mems_calloc(2, 50) == NULL);
	assert_report_of(EPERM, 0, "mems_calloc(2, 50)" NO_HEAP);
	assert_fails(EPERM, mems_realloc(NULL, 100) == NULL);
	assert_report_of(EPERM, 0, "mems_realloc(0, 100)" NO_HEAP);
	assert_fails(EPERM, mems_realloc(at(1000), 1) == NULL);
	assert_report_of(EPERM, 1000, "mems_realloc(1000)" NO_HEAP);
	assert_fails(EPERM, mems_aligned_alloc(64, 100) == NULL);
	assert_report_of(EPERM, 0, "mems_aligned_alloc(64, 100)" NO_HEAP);
	assert_fails(EPERM, mems_usable_size(at(1000)) == 0);
	assert_report_of(EPERM, 1000, "mems_usable_size(1000)" NO_HEAP);
	assert_fails(EPERM, mems_usable_size(NULL) == 0);
	assert_fails(EPERM, mems_trim() == 0);
	assert_fails(EFAULT, mems_get(at(1000)) == NULL);
	assert_fails(EFAULT, mems_get_range(at(1000), 1) == NULL);
	assert_fails(EFAULT, mems_virtual(&byte) == NULL);
	assert_fails(EFAULT, mems_read(&byte, at(1000), 1) == -1);
	assert_fails(EFAULT, mems_write(at(1000), &byte, 1) == -1);
	assert_fails(EFAULT, mems_segment_at(at(1000), &segment) == -1);
	assert_no_report();
	assert_succeeds((mems_free(NULL), true));
	assert_no_report();
	assert_succeeds(walk_segments(&segment, 1) == 0);
	assert_succeeds(mems_check(stderr) == 0);
	assert_true(stats.pages == 0 && stats.mapped_bytes == 0 && stats.process_bytes == 0);
	assert_true(stats.hole_bytes == 0 && stats.largest_hole == 0 && stats.main_nodes == 0);
	assert_true(stats.process_segments == 0 && stats.hole_segments == 0);
	assert_true(stats.peak_process_bytes == 0 && stats.peak_mapped_bytes == 0);
	char *const text = printed_text();
	assert_string_equal(text, "Page used: 0\nSpace unused: 0\nMain Chain Length: 0\n"
	                          "Sub-chain Length array: []\n");
	free(text);
	assert_fails(EINVAL, (mems_free(at(1000)), true));
	assert_report(1000, "mems_free(1000)" NO_HEAP);
}

static void before_the_first_init_there_is_no_heap(void **state)
{
	(void)state;
	assert_no_heap();
}

static void after_finish_there_is_no_heap(void **state)
{
	(void)state;
	mems_init();
	take(1000);
	take(5000);
	errno = UNTOUCHED;
	mems_finish();
	assert_int_equal(errno, UNTOUCHED);
	assert_no_heap();
}

static void a_second_finish_changes_nothing(void **state)
{
	(void)state;
	mems_init();
	take(1);
	mems_finish();
	errno = UNTOUCHED;
	mems_finish();
	mems_finish();
	assert_int_equal(errno, UNTOUCHED);
	assert_no_heap();
	mems_init();
	assert_true(take(1) == 1000);
}

static void every_life_starts_anew(void **state)
{
	(void)state;
	const bool is_quick = policy_under_test() == MEMS_QUICK_FIT;
	for (size_t round = 0; round < 5; round++) {
		errno = UNTOUCHED;
		mems_init();
		assert_int_equal(errno, UNTOUCHED);
		const struct mems_stats stats = stats_now();
		assert_true(stats.pages == 0 && stats.main_nodes == 0);
		assert_true(stats.peak_process_bytes == 0 && stats.peak_mapped_bytes == 0);
		assert_chain("");
		assert_sound();
		assert_true(take(5000) == 1000);
		assert_true(take(5000) == 9192);
		give_back(1000);
		assert_true(take(100) == (is_quick ? 6000 : 1000));
		assert_chain(is_quick ? "MAIN[1000:9191] -> HOLE[1000:5999] <-> PROCESS[6000:6103] <-> "
		                        "HOLE[6104:9191] <-> NULL\n"
		                        "MAIN[9192:17383] -> PROCESS[9192:14191] <-> "
		                        "HOLE[14192:17383] <-> NULL\n"
		                      : "MAIN[1000:9191] -> PROCESS[1000:1103] <-> "
		                        "HOLE[1104:9191] <-> NULL\n"
		                        "MAIN[9192:17383] -> PROCESS[9192:14191] <-> "
		                        "HOLE[14192:17383] <-> NULL\n");
		assert_true(stats_now().peak_process_bytes == 10000);
		mems_finish();
	}
}

/* An address of the life before is as unknown as any other. */
static void addresses_do_not_outlive_their_heap(void **state)
{
	(void)state;
	mems_init();
	const uintptr_t block = take(1000);
	mems_finish();
	mems_init();
	assert_fails(EINVAL, (mems_free(at(block)), true));
	assert_report(1000, "mems_free(1000): outside the heap");
	assert_fails(EFAULT, mems_get(at(block)) == NULL);
	take(8);
	assert_fails(EINVAL, mems_usable_size(at(1016)) == 0);
	assert_report(1016, "mems_usable_size(1016): in HOLE[1008:5095], "
	                    "freed before or never given out");
}

/* calloc gives zeroes also where a life before has written. */
static void zeroes_in_every_life(void **state)
{
	(void)state;
	enum { SIZE = 100000 };
	static const char zeroes[SIZE];
	for (unsigned round = 0; round < 4; round++) {
		mems_init();
		const uintptr_t first = address_of(mems_calloc(SIZE / 10, 10));
		assert_true(first == 1000);
		assert_memory_equal(mems_get(at(first)), zeroes, SIZE);
		fill_block(first, SIZE, round + 1);
		give_back(first);
		const uintptr_t second = address_of(mems_calloc(1, SIZE / 2));
		assert_true(second == 1000);
		assert_memory_equal(mems_get(at(second)), zeroes, SIZE / 2);
		/* Half of it where the first block was, the rest where none has ever been. */
		const uintptr_t third = address_of(mems_calloc(SIZE / 2 + 2000, 1));
		assert_true(third == 1000 + SIZE / 2);
		assert_memory_equal(mems_get(at(third)), zeroes, SIZE / 2 + 2000);
		const uintptr_t fourth = address_of(mems_calloc(SIZE, 1));
		assert_memory_equal(mems_get(at(fourth)), zeroes, SIZE);
		mems_finish();
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		bare_test(before_the_first_init_there_is_no_heap),
		bare_test(three_hundred_lives_leave_nothing_mapped),
		bare_test(lives_with_other_options_leave_nothing_mapped),
		small_bare_test(a_second_init_changes_nothing),
		bare_test(after_finish_there_is_no_heap),
		bare_test(a_second_finish_changes_nothing),
		small_bare_test(every_life_starts_anew),
		small_bare_test(addresses_do_not_outlive_their_heap),
		bare_test(zeroes_in_every_life),
	};
	return run_heap_tests("life", tests);
}
