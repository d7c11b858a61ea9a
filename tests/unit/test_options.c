/* Every option: its allowed values, the values just outside, and its effect. */
#define _GNU_SOURCE
#include <unistd.h>

#include "support.h"

#define LARGEST_START ((size_t)1 << 31)
#define LARGEST_PAGE (2 * MIB)

static void assert_refused(enum mems_option option, size_t value)
{
	assert_fails(EINVAL, mems_option(option, value) == -1);
}

static void assert_allowed(enum mems_option option, size_t value)
{
	assert_succeeds(mems_option(option, value) == 0);
}

static bool is_power_of_two(size_t value)
{
	return value != 0 && (value & (value - 1)) == 0;
}

static size_t os_page(void)
{
	return (size_t)sysconf(_SC_PAGESIZE);
}

/* ---- Values ------------------------------------------------------------------------------ */

static void policies(void **state)
{
	(void)state;
	assert_allowed(MEMS_POLICY, MEMS_FIRST_FIT);
	assert_allowed(MEMS_POLICY, MEMS_QUICK_FIT);
	assert_refused(MEMS_POLICY, 2);
	assert_refused(MEMS_POLICY, SIZE_MAX);
}

static void alignments(void **state)
{
	(void)state;
	for (size_t value = 0; value <= 1024; value++) {
		if (is_power_of_two(value) && value <= 64)
			assert_allowed(MEMS_ALIGNMENT, value);
		else
			assert_refused(MEMS_ALIGNMENT, value);
	}
	assert_refused(MEMS_ALIGNMENT, SIZE_MAX);
	assert_refused(MEMS_ALIGNMENT, SIZE_MAX / 2 + 1);
}

static void start_addresses(void **state)
{
	(void)state;
	assert_allowed(MEMS_START_ADDRESS, 1);
	assert_allowed(MEMS_START_ADDRESS, 2);
	assert_allowed(MEMS_START_ADDRESS, 1001);
	assert_allowed(MEMS_START_ADDRESS, LARGEST_START - 1);
	assert_allowed(MEMS_START_ADDRESS, LARGEST_START);
	assert_refused(MEMS_START_ADDRESS, 0);
	assert_refused(MEMS_START_ADDRESS, LARGEST_START + 1);
	assert_refused(MEMS_START_ADDRESS, SIZE_MAX);
}

static void page_sizes(void **state)
{
	(void)state;
	for (size_t value = os_page(); value <= LARGEST_PAGE; value *= 2)
		assert_allowed(MEMS_PAGE_SIZE, value);
	assert_refused(MEMS_PAGE_SIZE, 0);
	assert_refused(MEMS_PAGE_SIZE, 1);
	assert_refused(MEMS_PAGE_SIZE, os_page() / 2);
	assert_refused(MEMS_PAGE_SIZE, os_page() - 1);
	assert_refused(MEMS_PAGE_SIZE, os_page() + 1);
	assert_refused(MEMS_PAGE_SIZE, 3 * os_page());
	assert_refused(MEMS_PAGE_SIZE, LARGEST_PAGE - os_page());
	assert_refused(MEMS_PAGE_SIZE, LARGEST_PAGE + os_page());
	assert_refused(MEMS_PAGE_SIZE, 2 * LARGEST_PAGE);
	assert_refused(MEMS_PAGE_SIZE, SIZE_MAX);
	assert_refused(MEMS_PAGE_SIZE, SIZE_MAX / 2 + 1);
}

static void limits(void **state)
{
	(void)state;
	assert_allowed(MEMS_LIMIT, 0);
	assert_allowed(MEMS_LIMIT, 1);
	assert_allowed(MEMS_LIMIT, 4097);
	assert_allowed(MEMS_LIMIT, SIZE_MAX);
}

/* The policy takes effect with the next heap, and with every later one. */
static void policies_place_otherwise(void **state)
{
	(void)state;
	static const uintptr_t places[] = {[MEMS_FIRST_FIT] = 1000, [MEMS_QUICK_FIT] = 1024};
	for (size_t round = 0; round < 4; round++) {
		const size_t policy = round / 2;
		assert_allowed(MEMS_POLICY, policy);
		mems_init();
		take(16);
		take(8);
		give_back(1000);
		assert_true(take(8) == places[policy]);
		mems_finish();
	}
}

static void unknown_options(void **state)
{
	(void)state;
	assert_refused((enum mems_option)(MEMS_HISTORY + 1), 8);
	assert_refused((enum mems_option)1000, 0);
	assert_refused((enum mems_option)-1, 1);
}

/* A refused value leaves the one before in force. */
static void a_refused_value_changes_nothing(void **state)
{
	(void)state;
	assert_allowed(MEMS_ALIGNMENT, 32);
	assert_refused(MEMS_ALIGNMENT, 33);
	assert_allowed(MEMS_START_ADDRESS, 5000);
	assert_refused(MEMS_START_ADDRESS, 0);
	mems_init();
	assert_true(take(1) == 5000);
	assert_chain("MAIN[5000:9095] -> PROCESS[5000:5031] <-> HOLE[5032:9095] <-> NULL\n");
}

static void a_started_heap_makes_options_busy(void **state)
{
	(void)state;
	static const struct {
		enum mems_option option;
		size_t value;
	} good[] = {
		{MEMS_POLICY, MEMS_FIRST_FIT}, {MEMS_POLICY, MEMS_QUICK_FIT},
		{MEMS_ALIGNMENT, 16},          {MEMS_START_ADDRESS, 4},
		{MEMS_PAGE_SIZE, 1 << 16},     {MEMS_LIMIT, 100000},
		{MEMS_LIMIT, 0},
	};
	mems_init();
	for (size_t i = 0; i < sizeof good / sizeof good[0]; i++)
		assert_fails(EBUSY, mems_option(good[i].option, good[i].value) == -1);
	assert_refused(MEMS_ALIGNMENT, 3);
	assert_refused((enum mems_option)77, 0);
	mems_finish();
	mems_init();
	assert_true(take(1) == 1000);
	assert_chain("MAIN[1000:5095] -> PROCESS[1000:1007] <-> HOLE[1008:5095] <-> NULL\n");
}

static void options_hold_for_every_later_heap(void **state)
{
	(void)state;
	assert_allowed(MEMS_START_ADDRESS, 7);
	for (size_t i = 0; i < 3; i++) {
		mems_init();
		assert_true(take(100) == 7);
		mems_finish();
	}
}

/* ---- Alignment --------------------------------------------------------------------------- */

static size_t rounded_up(size_t size, size_t unit)
{
	return (size + unit - 1) / unit * unit;
}

static void blocks_have_the_alignment(void **state)
{
	(void)state;
	const bool is_quick = policy_under_test() == MEMS_QUICK_FIT;
	static const size_t starts[] = {1, 1000, 1001, 4095, LARGEST_START};
	for (size_t alignment = 1; alignment <= 64; alignment *= 2) {
		for (size_t i = 0; i < sizeof starts / sizeof starts[0]; i++) {
			assert_allowed(MEMS_ALIGNMENT, alignment);
			assert_allowed(MEMS_START_ADDRESS, starts[i]);
			mems_init();
			uintptr_t expected = starts[i];
			for (size_t size = 1; size < 80; size++) {
				const uintptr_t block = take(size);
				assert_true(block == expected || is_quick);
				assert_true(address_of(mems_get(at(block))) % alignment == 0);
				assert_true(mems_usable_size(at(block)) ==
				            rounded_up(size, alignment));
				expected += rounded_up(size, alignment);
				if (expected - starts[i] > PAGE - 100)
					break;
			}
			assert_sound();
			mems_finish();
		}
	}
}

static void at_alignment_1_segments_are_byte_exact(void **state)
{
	(void)state;
	mems_finish();
	assert_allowed(MEMS_ALIGNMENT, 1);
	mems_init();
	assert_true(take(1) == 1000);
	assert_true(take(3) == 1001);
	assert_true(take(7) == 1004);
	assert_true(take(4085) == 1011);
	assert_chain("MAIN[1000:5095] -> PROCESS[1000:1000] <-> PROCESS[1001:1003] <-> "
	             "PROCESS[1004:1010] <-> PROCESS[1011:5095] <-> NULL\n");
	give_back(1001);
	give_back(1000);
	assert_true(take(2) == 1000);
	assert_true(take(3) == 5096);
	assert_true(take(2) == 1002);
	assert_sound();
	assert_chain("MAIN[1000:5095] -> PROCESS[1000:1001] <-> PROCESS[1002:1003] <-> "
	             "PROCESS[1004:1010] <-> PROCESS[1011:5095] <-> NULL\n"
	             "MAIN[5096:9191] -> PROCESS[5096:5098] <-> HOLE[5099:9191] <-> NULL\n");
}

static void at_alignment_1_every_byte_can_be_a_block(void **state)
{
	(void)state;
	assert_allowed(MEMS_ALIGNMENT, 1);
	mems_init();
	for (size_t i = 0; i < 2 * PAGE; i++)
		assert_true(take(1) == 1000 + i);
	for (size_t i = 0; i < 2 * PAGE; i += 2)
		give_back(1000 + i);
	assert_sound();
	assert_true(stats_now().hole_segments == PAGE);
	assert_true(take(2) == 1000 + 2 * PAGE);
	for (size_t i = 1; i < 2 * PAGE; i += 2)
		give_back(1000 + i);
	assert_true(stats_now().hole_segments == 3);
}

/* ---- Start address ----------------------------------------------------------------------- */

static void the_heap_starts_where_it_is_told(void **state)
{
	(void)state;
	assert_allowed(MEMS_START_ADDRESS, 1);
	mems_init();
	assert_true(take(1000) == 1);
	assert_true(take(4096) == 4097);
	assert_fails(EFAULT, mems_get(NULL) == NULL);
	assert_chain("MAIN[1:4096] -> PROCESS[1:1000] <-> HOLE[1001:4096] <-> NULL\n"
	             "MAIN[4097:8192] -> PROCESS[4097:8192] <-> NULL\n");
	mems_finish();

	assert_allowed(MEMS_START_ADDRESS, LARGEST_START);
	mems_init();
	assert_true(take(1000) == LARGEST_START);
	fill_block(LARGEST_START, 1000, 5);
	assert_true(has_filling(LARGEST_START, 1000, 5));
	assert_chain("MAIN[2147483648:2147487743] -> PROCESS[2147483648:2147484647] <-> "
	             "HOLE[2147484648:2147487743] <-> NULL\n");
	assert_sound();
}

/* ---- Page size --------------------------------------------------------------------------- */

static void nodes_are_whole_pages_of_the_size_told(void **state)
{
	(void)state;
	for (size_t page = os_page(); page <= LARGEST_PAGE; page *= 2) {
		assert_allowed(MEMS_PAGE_SIZE, page);
		assert_allowed(MEMS_LIMIT, 15 * page);
		mems_init();
		assert_true(take(1) == 1000);
		assert_true(address_of(mems_get(at(1000))) % page == 0);
		assert_true(stats_now().pages == 1 && stats_now().mapped_bytes == page);
		assert_true(take(page + 1) == 1000 + page);
		assert_true(stats_now().pages == 3 && stats_now().mapped_bytes == 3 * page);
		assert_true(take(page - 8) == 1008);
		assert_true(stats_now().largest_hole == page - 8);
		assert_sound();
		mems_finish();
	}
}

static void pages_used_counts_pages_of_the_size_told(void **state)
{
	(void)state;
	assert_allowed(MEMS_PAGE_SIZE, 65536);
	assert_allowed(MEMS_LIMIT, (size_t)15 * 65536);
	mems_init();
	take(1000);
	char *const text = printed_text();
	assert_string_equal(text,
	                    "MAIN[1000:66535] -> PROCESS[1000:1999] <-> HOLE[2000:66535] <-> NULL\n"
	                    "Page used: 1\n"
	                    "Space unused: 64536\n"
	                    "Main Chain Length: 1\n"
	                    "Sub-chain Length array: [2]\n");
	free(text);
}

/* ---- Limit ------------------------------------------------------------------------------- */

static void a_limit_below_one_page_maps_nothing(void **state)
{
	(void)state;
	static const size_t values[] = {1, 8, 4095};
	for (size_t i = 0; i < sizeof values / sizeof values[0]; i++) {
		assert_allowed(MEMS_LIMIT, values[i]);
		mems_init();
		assert_fails(ENOMEM, mems_malloc(1) == NULL);
		assert_fails(ENOMEM, mems_calloc(1, 1) == NULL);
		assert_fails(ENOMEM, mems_aligned_alloc(8, 8) == NULL);
		assert_fails(ENOMEM, mems_realloc(NULL, 1) == NULL);
		assert_fails(EINVAL, mems_malloc(0) == NULL);
		assert_true(stats_now().pages == 0);
		assert_chain("");
		assert_sound();
		mems_finish();
	}
}

static void a_limit_is_rounded_down_to_pages(void **state)
{
	(void)state;
	static const size_t extra[] = {0, 1, 4095};
	for (size_t i = 0; i < sizeof extra / sizeof extra[0]; i++) {
		assert_allowed(MEMS_LIMIT, 3 * PAGE + extra[i]);
		mems_init();
		assert_fails(ENOMEM, mems_malloc(3 * PAGE + 1) == NULL);
		assert_true(take(3 * PAGE) == 1000);
		assert_fails(ENOMEM, mems_malloc(1) == NULL);
		give_back(1000);
		for (size_t page = 0; page < 3; page++)
			assert_true(take(PAGE) == 1000 + page * PAGE);
		assert_fails(ENOMEM, mems_malloc(1) == NULL);
		assert_true(stats_now().peak_mapped_bytes == 3 * PAGE);
		mems_finish();
	}
}

static void a_limit_counts_pages_of_the_size_told(void **state)
{
	(void)state;
	assert_allowed(MEMS_PAGE_SIZE, 65536);
	assert_allowed(MEMS_LIMIT, 131072 + 65535);
	mems_init();
	take(65536);
	take(65536);
	assert_fails(ENOMEM, mems_malloc(1) == NULL);
	mems_finish();
	assert_allowed(MEMS_LIMIT, 65535);
	mems_init();
	assert_fails(ENOMEM, mems_malloc(1) == NULL);
}

static void a_limit_of_nearly_everything_limits_nothing(void **state)
{
	(void)state;
	assert_allowed(MEMS_LIMIT, SIZE_MAX);
	mems_init();
	assert_true(take(10 * MIB) == 1000);
	assert_sound();
}

static void no_limit_after_a_limit(void **state)
{
	(void)state;
	assert_allowed(MEMS_LIMIT, PAGE);
	assert_allowed(MEMS_LIMIT, 0);
	mems_init();
	assert_true(take(2 * PAGE) == 1000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		bare_test(policies),
		bare_test(alignments),
		bare_test(start_addresses),
		bare_test(page_sizes),
		bare_test(limits),
		bare_test(policies_place_otherwise),
		bare_test(unknown_options),
		small_bare_test(a_refused_value_changes_nothing),
		small_bare_test(a_started_heap_makes_options_busy),
		bare_test(options_hold_for_every_later_heap),
		bare_test(blocks_have_the_alignment),
		first_fit_test(at_alignment_1_segments_are_byte_exact),
		small_bare_test(at_alignment_1_every_byte_can_be_a_block),
		small_bare_test(the_heap_starts_where_it_is_told),
		bare_test(nodes_are_whole_pages_of_the_size_told),
		bare_test(pages_used_counts_pages_of_the_size_told),
		bare_test(a_limit_below_one_page_maps_nothing),
		bare_test(a_limit_is_rounded_down_to_pages),
		bare_test(a_limit_counts_pages_of_the_size_told),
		bare_test(a_limit_of_nearly_everything_limits_nothing),
		bare_test(no_limit_after_a_limit),
	};
	return run_heap_tests("options", tests);
}
