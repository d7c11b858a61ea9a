/*
 * The fast heap behind mems-replay --compare (sample/replay/placer.h) against the heap of the
 * textbooks, call by call, under every policy: addresses, refusals, HOLEs looked at, and measures.
 *
 * Usage: test_placer [CALLS [SEED]]: so many calls under each policy.
 */
#include <inttypes.h>

#include "placer.h"
#include "support.h"

enum {
	DEFAULT_CALLS = 300000,
	DEFAULT_SEED = 1,
	CALLS_PER_HEAP = 6000, /* enough for HOLEs in many chunks */
	MOST_LIVE = 2000,
	CALLS_PER_MEASURE = 20,
};

static size_t calls_wanted = DEFAULT_CALLS;
static uint64_t seed_wanted = DEFAULT_SEED;

/* Two heaps with the same calls. */
static struct {
	struct textbook_options options;
	struct textbook *book;
	struct placer *placer;
	struct placed live[MOST_LIVE];
	size_t live_count, most_live;
	size_t call; /* for messages */
	uint64_t random;
} run;

static size_t below(size_t bound)
{
	return random_below(&run.random, bound);
}

static void expect_same(uintmax_t of_placer, uintmax_t of_textbook, const char *what)
{
	if (of_placer == of_textbook)
		return;
	print_error("%s: %" PRIuMAX ", but %" PRIuMAX " in the textbook heap: seed %" PRIu64
	            ", %s, call %zu\n", what, of_placer, of_textbook, seed_wanted,
	            textbook_policy_names[run.options.policy], run.call);
	fail();
}

/* ---- Calls ----------------------------------------------------------------------------------- */

static size_t size_next(void)
{
	static const size_t few[] = {8, 24, 64, 200, 1000};

	switch (below(12)) {
	case 0: return run.options.page_size * (1 + below(3)) + below(3) - 1;
	case 1: return below(30) == 0 ? 1 + below(200000) : 1 + below(5000);
	case 2: return below(200) == 0 ? SIZE_MAX >> below(8) : 1 + below(5000);
	case 3: case 4: return 1 + below(400);
	default: return few[below(5)];
	}
}

/* The result of a call on both heaps; start: in the textbook heap, 0 where it is refused. */
static void result_compare(bool is_done, struct placed block, uintptr_t start)
{
	expect_same(is_done, start != 0, "is it done");
	if (is_done)
		expect_same(block.start, start, "the start");
}

static void take_make(void)
{
	size_t size = size_next();
	size_t alignment = below(4) == 0 ? (size_t)1 << below(14) : 1;
	struct placed *block = &run.live[run.live_count];
	uintptr_t start = textbook_aligned_alloc(run.book, alignment, size);
	bool is_done = placer_take(run.placer, block, size, alignment);

	result_compare(is_done, *block, start);
	run.live_count += is_done;
}

static void resize_make(void)
{
	struct placed *block = &run.live[below(run.live_count)], was = *block;
	size_t size = size_next();
	uintptr_t start = textbook_realloc(run.book, was.start, size);
	bool is_done = placer_resize(run.placer, block, size);

	result_compare(is_done, *block, start);
	if (!is_done)
		assert_memory_equal(block, &was, sizeof was);
}

static void free_make(void)
{
	struct placed *block = &run.live[below(run.live_count)];

	textbook_free(run.book, block->start);
	placer_free(run.placer, block);
	assert_int_equal(block->size, 0);
	*block = run.live[--run.live_count];
}

static void call_make(void)
{
	bool is_full = run.live_count == run.most_live;

	if (below(500) == 0) {
		textbook_trim(run.book);
		placer_trim(run.placer);
	} else if (run.live_count == 0 || (!is_full && below(20) < 11)) {
		take_make();
	} else if (below(4) == 0) {
		resize_make();
	} else {
		free_make();
	}
}

/* ---- Comparing ------------------------------------------------------------------------------- */

static void measures_compare(void)
{
	struct mems_stats found, expected;

	placer_get_stats(run.placer, &found);
	textbook_get_stats(run.book, &expected);
	expect_same(found.pages, expected.pages, "pages");
	expect_same(found.mapped_bytes, expected.mapped_bytes, "bytes mapped");
	expect_same(found.process_bytes, expected.process_bytes, "bytes in use");
	expect_same(found.hole_bytes, expected.hole_bytes, "bytes in HOLEs");
	expect_same(found.hole_segments, expected.hole_segments, "HOLEs");
	expect_same(found.largest_hole, expected.largest_hole, "the largest HOLE");
	expect_same(found.main_nodes, expected.main_nodes, "main nodes");
}

static void options_choose(enum textbook_policy policy)
{
	static const size_t limits[] = {0, 0, 3, 60, 500}; /* pages */

	run.options = (struct textbook_options){
		.policy = policy,
		.alignment = (size_t)1 << below(7),
		.start = below(2) == 0 ? 1000 : 1 + below(100000),
		.page_size = (size_t)4096 << below(3),
	};
	run.options.limit = limits[below(5)] * run.options.page_size + below(2);
	run.most_live = below(3) == 0 ? 40 : MOST_LIVE;
}

static void heaps_compare(void)
{
	run.book = textbook_start(&run.options);
	run.placer = placer_start(&run.options);
	run.live_count = 0;
	for (size_t i = 0; i < CALLS_PER_HEAP; i++, run.call++) {
		call_make();
		expect_same(placer_looked(run.placer), run.book->looked, "HOLEs looked at");
		if (run.most_live < MOST_LIVE || i % CALLS_PER_MEASURE == 0)
			measures_compare();
	}
	textbook_finish(run.book);
	placer_finish(run.placer);
}

static void policy_compare(enum textbook_policy policy)
{
	run.random = seed_wanted;
	for (run.call = 0; run.call < calls_wanted;) {
		options_choose(policy);
		heaps_compare();
	}
}

static void first_fit(void **state)
{
	(void)state;
	policy_compare(FIRST_FIT);
}

static void next_fit(void **state)
{
	(void)state;
	policy_compare(NEXT_FIT);
}

static void best_fit(void **state)
{
	(void)state;
	policy_compare(BEST_FIT);
}

static void worst_fit(void **state)
{
	(void)state;
	policy_compare(WORST_FIT);
}

static void quick_fit(void **state)
{
	(void)state;
	policy_compare(QUICK_FIT);
}

int main(int argc, char **argv)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(first_fit), cmocka_unit_test(next_fit), cmocka_unit_test(best_fit),
		cmocka_unit_test(worst_fit), cmocka_unit_test(quick_fit),
	};

	if (argc > 1)
		calls_wanted = (size_t)strtoull(argv[1], NULL, 10);
	if (argc > 2)
		seed_wanted = strtoull(argv[2], NULL, 10);
	printf("test_placer: %zu calls, seed %" PRIu64 "\n", calls_wanted, seed_wanted);
	fflush(stdout);
	return cmocka_run_group_tests_name("placer", tests, NULL, NULL);
}
