/* Every misuse with its exact message, the order of errors, handlers, and visitors. */
#define _GNU_SOURCE
#include <unistd.h>

#include "support.h"

/* PROCESS[1000:1999] PROCESS[2000:2999] HOLE[3000:3999] PROCESS[4000:4999] HOLE[5000:5095] */
static void make_heap(void)
{
	for (size_t i = 0; i < 4; i++)
		take(1000);
	give_back(3000);
}

/* All three functions refuse the address, in the same words. */
static void assert_misuse(uintptr_t address, const char *where)
{
	char expected[200];
	char *const before = printed_text();
	snprintf(expected, sizeof expected, "mems_free(%ju): %s", (uintmax_t)address, where);
	assert_fails(EINVAL, (mems_free(at(address)), true));
	assert_report(address, expected);
	snprintf(expected, sizeof expected, "mems_realloc(%ju): %s", (uintmax_t)address, where);
	assert_fails(EINVAL, mems_realloc(at(address), 100) == NULL);
	assert_report(address, expected);
	snprintf(expected, sizeof expected, "mems_usable_size(%ju): %s", (uintmax_t)address, where);
	assert_fails(EINVAL, mems_usable_size(at(address)) == 0);
	assert_report(address, expected);
	char *const after = printed_text();
	assert_string_equal(after, before);
	free(after);
	free(before);
}

/* ---- Messages ---------------------------------------------------------------------------- */

static void outside_the_heap(void **state)
{
	(void)state;
	assert_misuse(1000, "outside the heap");
	make_heap();
	assert_misuse(1, "outside the heap");
	assert_misuse(999, "outside the heap");
	assert_misuse(5096, "outside the heap");
	assert_misuse(424242, "outside the heap");
	assert_misuse(UINTPTR_MAX, "outside the heap");
	assert_misuse(UINTPTR_MAX / 2 + 1, "outside the heap");
}

/* A physical address where a virtual one is due: in a block, at its start or not, in a HOLE, and
 * one that is in no node. */
static void a_physical_address(void **state)
{
	(void)state;
	char expected[200];
	struct mems_segment last;
	assert_misuse(address_of(&report), "outside the heap");
	make_heap();
	assert_succeeds(mems_segment_at(at(5000), &last) == 0);
	const uintptr_t base = address_of(mems_get(at(1000)));
	for (uintptr_t offset = 0; offset < last.node_end + 1 - 1000; offset++) {
		struct mems_segment segment;
		const uintptr_t address = 1000 + offset;
		assert_succeeds(mems_segment_at(at(address), &segment) == 0);
		snprintf(expected, sizeof expected,
		         "mems_free(0x%jx): the physical address of %ju, in %s[%ju:%ju]",
		         (uintmax_t)(base + offset), (uintmax_t)address,
		         segment.type == MEMS_HOLE ? "HOLE" : "PROCESS", (uintmax_t)segment.start,
		         (uintmax_t)segment.end);
		assert_fails(EINVAL, (mems_free(at(base + offset)), true));
		assert_report(base + offset, expected);
	}
	snprintf(expected, sizeof expected,
	         "mems_realloc(0x%jx): the physical address of 1000, in PROCESS[1000:1999]",
	         (uintmax_t)base);
	assert_fails(EINVAL, mems_realloc(at(base), 0) == NULL);
	assert_report(base, expected);
	snprintf(expected, sizeof expected,
	         "mems_usable_size(0x%jx): the physical address of 3001, in HOLE[3000:3999]",
	         (uintmax_t)(base + 2001));
	assert_fails(EINVAL, mems_usable_size(at(base + 2001)) == 0);
	assert_report(base + 2001, expected);
	assert_misuse(base - 1, "outside the heap");
	assert_misuse(base + (last.node_end + 1 - 1000), "outside the heap");
}

static void inside_a_block(void **state)
{
	(void)state;
	make_heap();
	assert_misuse(1001, "inside PROCESS[1000:1999]");
	assert_misuse(1004, "inside PROCESS[1000:1999]");
	assert_misuse(1008, "inside PROCESS[1000:1999]");
	assert_misuse(1999, "inside PROCESS[1000:1999]");
	assert_misuse(2001, "inside PROCESS[2000:2999]");
	assert_misuse(4992, "inside PROCESS[4000:4999]");
}

static void in_a_hole(void **state)
{
	(void)state;
	make_heap();
	assert_misuse(3000, "in HOLE[3000:3999], freed before or never given out");
	assert_misuse(3001, "in HOLE[3000:3999], freed before or never given out");
	assert_misuse(3008, "in HOLE[3000:3999], freed before or never given out");
	assert_misuse(5000, "in HOLE[5000:5095], freed before or never given out");
	assert_misuse(5095, "in HOLE[5000:5095], freed before or never given out");
	give_back(2000);
	assert_misuse(2000, "in HOLE[2000:3999], freed before or never given out");
	assert_misuse(3000, "in HOLE[2000:3999], freed before or never given out");
	give_back(1000);
	give_back(4000);
	assert_misuse(4000, "in HOLE[1000:5095], freed before or never given out");
}

static void a_block_freed_twice(void **state)
{
	(void)state;
	const uintptr_t block = take(1000);
	take(8);
	give_back(block);
	assert_fails(EINVAL, (mems_free(at(block)), true));
	assert_report(1000, "mems_free(1000): in HOLE[1000:1999], freed before or never given out");
	assert_fails(EINVAL, (mems_free(at(block)), true));
	assert_report(1000, "mems_free(1000): in HOLE[1000:1999], freed before or never given out");
	assert_chain("MAIN[1000:5095] -> HOLE[1000:1999] <-> PROCESS[2000:2007] <-> "
	             "HOLE[2008:5095] <-> NULL\n");
}

static void in_the_second_node(void **state)
{
	(void)state;
	take(4096);
	take(4096);
	take(8);
	give_back(5096);
	assert_misuse(5096, "in HOLE[5096:9191], freed before or never given out");
	assert_misuse(9191, "in HOLE[5096:9191], freed before or never given out");
	assert_misuse(5095, "inside PROCESS[1000:5095]");
	assert_misuse(9193, "inside PROCESS[9192:9199]");
	assert_misuse(9200, "in HOLE[9200:13287], freed before or never given out");
}

static void large_numbers_are_written_in_full(void **state)
{
	(void)state;
	mems_finish();
	assert_int_equal(mems_option(MEMS_START_ADDRESS, (size_t)1 << 31), 0);
	assert_int_equal(mems_option(MEMS_ALIGNMENT, 1), 0);
	mems_init();
	take(3);
	assert_misuse(((uintptr_t)1 << 31) + 2, "inside PROCESS[2147483648:2147483650]");
	assert_misuse(((uintptr_t)1 << 31) + 3,
	              "in HOLE[2147483651:2147487743], freed before or never given out");
	assert_misuse(1000, "outside the heap");
}

static void null_is_reported_by_nobody(void **state)
{
	(void)state;
	make_heap();
	assert_succeeds((mems_free(NULL), true));
	assert_fails(EINVAL, mems_usable_size(NULL) == 0);
	assert_fails(EINVAL, mems_realloc(NULL, 0) == NULL);
	assert_no_report();
}

static void running_out_of_memory_is_no_misuse(void **state)
{
	(void)state;
	make_heap();
	assert_fails(ENOMEM, mems_malloc(SIZE_MAX) == NULL);
	assert_fails(ENOMEM, mems_calloc(SIZE_MAX, 2) == NULL);
	assert_fails(ENOMEM, mems_realloc(at(1000), SIZE_MAX) == NULL);
	assert_fails(ENOMEM, mems_aligned_alloc(8, SIZE_MAX) == NULL);
	assert_fails(EINVAL, mems_malloc(0) == NULL);
	assert_fails(EINVAL, mems_realloc(at(1000), 0) == NULL);
	assert_fails(EFAULT, mems_get(at(3000)) == NULL);
	assert_no_report();
}

/* ---- The order of errors ----------------------------------------------------------------- */

static void no_heap_goes_first(void **state)
{
	(void)state;
	take(1000);
	mems_finish();
	static const uintptr_t addresses[] = {1, 1000, 1008, 5096, UINTPTR_MAX};
	assert_fails(EPERM, mems_malloc(0) == NULL);
	assert_fails(EPERM, mems_malloc(SIZE_MAX) == NULL);
	assert_fails(EPERM, mems_calloc(0, 0) == NULL);
	assert_fails(EPERM, mems_calloc(SIZE_MAX, SIZE_MAX) == NULL);
	assert_fails(EPERM, mems_aligned_alloc(3, 0) == NULL);
	assert_fails(EPERM, mems_aligned_alloc(8, SIZE_MAX) == NULL);
	assert_fails(EPERM, mems_realloc(NULL, 0) == NULL);
	assert_fails(EPERM, mems_realloc(NULL, SIZE_MAX) == NULL);
	assert_int_equal(report.count, 8);
	assert_fails(EPERM, mems_usable_size(NULL) == 0);
	assert_int_equal(report.count, 8);
	reports_clear();
	for (size_t i = 0; i < sizeof addresses / sizeof addresses[0]; i++) {
		assert_fails(EPERM, mems_realloc(at(addresses[i]), 0) == NULL);
		assert_fails(EPERM, mems_realloc(at(addresses[i]), 100) == NULL);
		assert_fails(EPERM, mems_usable_size(at(addresses[i])) == 0);
		assert_fails(EINVAL, (mems_free(at(addresses[i])), true));
		assert_int_equal(report.count, 4);
		reports_clear();
	}
	assert_fails(EINVAL, (mems_free(at(1000)), true));
	assert_report(1000, "mems_free(1000): there is no heap, mems_init is missing");
}

static void a_misused_address_goes_before_a_bad_size(void **state)
{
	(void)state;
	make_heap();
	assert_fails(EINVAL, mems_realloc(at(3000), 0) == NULL);
	assert_report(3000, "mems_realloc(3000): in HOLE[3000:3999], "
	                    "freed before or never given out");
	assert_fails(EINVAL, mems_realloc(at(1008), SIZE_MAX) == NULL);
	assert_report(1008, "mems_realloc(1008): inside PROCESS[1000:1999]");
}

static void a_bad_argument_goes_before_no_memory(void **state)
{
	(void)state;
	assert_fails(EINVAL, mems_calloc(0, SIZE_MAX) == NULL);
	assert_fails(EINVAL, mems_calloc(SIZE_MAX, 0) == NULL);
	assert_fails(EINVAL, mems_aligned_alloc(3, SIZE_MAX) == NULL);
	assert_fails(EINVAL, mems_aligned_alloc(8192, SIZE_MAX) == NULL);
	assert_fails(EINVAL, mems_aligned_alloc(8, 0) == NULL);
}

/* ---- Handlers ---------------------------------------------------------------------------- */

static void another_handler(int error, const void *v_ptr, const char *message)
{
	remember_report(error, v_ptr, message);
	report.count += 100;
}

static void installing_returns_the_one_before(void **state)
{
	(void)state;
	assert_succeeds(mems_set_error_handler(another_handler) == remember_report);
	mems_free(at(5));
	assert_int_equal(report.count, 101);
	reports_clear();
	assert_succeeds(mems_set_error_handler(NULL) == another_handler);
	assert_fails(EINVAL, (mems_free(at(5)), true));
	assert_fails(EINVAL, mems_realloc(at(5), 1) == NULL);
	assert_fails(EINVAL, mems_usable_size(at(5)) == 0);
	assert_no_report();
	assert_succeeds(mems_set_error_handler(remember_report) == NULL);
	mems_free(at(5));
	assert_report(5, "mems_free(5): outside the heap");
}

static void a_handler_outlives_the_heap(void **state)
{
	(void)state;
	mems_finish();
	mems_init();
	mems_free(at(5));
	assert_report(5, "mems_free(5): outside the heap");
	mems_finish();
	mems_free(at(5));
	assert_report(5, "mems_free(5): there is no heap, mems_init is missing");
}

/* What is written to stderr while the address is misused in all three ways. */
static size_t stderr_of_misuse(uintptr_t address, char *text, size_t capacity)
{
	FILE *const file = tmpfile();
	assert_non_null(file);
	fflush(stderr);
	const int kept = dup(STDERR_FILENO);
	assert_true(kept >= 0);
	assert_true(dup2(fileno(file), STDERR_FILENO) >= 0);
	errno = UNTOUCHED;
	mems_free(at(address));
	const int error = errno;
	mems_realloc(at(address), 1);
	mems_usable_size(at(address));
	fflush(stderr);
	dup2(kept, STDERR_FILENO);
	close(kept);
	assert_int_equal(error, EINVAL);
	rewind(file);
	const size_t length = fread(text, 1, capacity - 1, file);
	text[length] = '\0';
	fclose(file);
	return length;
}

static void the_default_handler_prints_to_stderr(void **state)
{
	(void)state;
	char text[1000];
	make_heap();
	assert_non_null(default_handler);
	mems_set_error_handler(default_handler);
	stderr_of_misuse(1004, text, sizeof text);
	assert_string_equal(text, "mems: mems_free(1004): inside PROCESS[1000:1999]\n"
	                          "mems: mems_realloc(1004): inside PROCESS[1000:1999]\n"
	                          "mems: mems_usable_size(1004): inside PROCESS[1000:1999]\n");
	mems_set_error_handler(NULL);
	assert_true(stderr_of_misuse(1004, text, sizeof text) == 0);
}

/* A handler that calls MeMS: it looks, takes, frees, and misuses once more itself. */
static size_t handler_depth;
static uintptr_t handler_block;

static void busy_handler(int error, const void *v_ptr, const char *message)
{
	remember_report(error, v_ptr, message);
	if (handler_depth++ > 0)
		return;
	assert_non_null(mems_get(at(1000)));
	handler_block = take(500);
	mems_free(at(2000));
	assert_int_equal(mems_usable_size(at(1001)), 0);
	assert_string_equal(report.message, "mems_usable_size(1001): inside PROCESS[1000:1999]");
	assert_sound();
	errno = 0;
}

static void a_handler_may_call_any_function(void **state)
{
	(void)state;
	const bool is_quick = policy_under_test() == MEMS_QUICK_FIT;
	make_heap();
	handler_depth = 0;
	mems_set_error_handler(busy_handler);
	assert_fails(EINVAL, (mems_free(at(3000)), true));
	assert_int_equal(handler_depth, 2);
	assert_true(handler_block == (is_quick ? 5096 : 3000));
	assert_chain(is_quick ? "MAIN[1000:5095] -> PROCESS[1000:1999] <-> HOLE[2000:3999] <-> "
	                        "PROCESS[4000:4999] <-> HOLE[5000:5095] <-> NULL\n"
	                        "MAIN[5096:9191] -> PROCESS[5096:5599] <-> "
	                        "HOLE[5600:9191] <-> NULL\n"
	                      : "MAIN[1000:5095] -> PROCESS[1000:1999] <-> HOLE[2000:2999] <-> "
	                        "PROCESS[3000:3503] <-> HOLE[3504:3999] <-> PROCESS[4000:4999] <-> "
	                        "HOLE[5000:5095] <-> NULL\n");
}

/* The address was misused when the call was made: what the handler does then does not count. */
static void freeing_handler(int error, const void *v_ptr, const char *message)
{
	remember_report(error, v_ptr, message);
	mems_finish();
	mems_set_error_handler(remember_report);
}

static void a_handler_may_end_the_heap(void **state)
{
	(void)state;
	make_heap();
	mems_set_error_handler(freeing_handler);
	assert_fails(EINVAL, mems_realloc(at(3000), 100) == NULL);
	assert_report(3000, "mems_realloc(3000): in HOLE[3000:3999], "
	                    "freed before or never given out");
	assert_fails(EPERM, mems_malloc(1) == NULL);
}

/* ---- Visitors ---------------------------------------------------------------------------- */

static int stop_at_the_third(const struct mems_segment *segment, void *context)
{
	size_t *const calls = context;
	(void)segment;
	return ++*calls == 3 ? -7 : 0;
}

static void a_walk_stops_at_the_first_result(void **state)
{
	(void)state;
	make_heap();
	size_t calls = 0;
	assert_succeeds(mems_walk(stop_at_the_third, &calls) == -7);
	assert_int_equal(calls, 3);
	calls = 3;
	assert_succeeds(mems_walk(stop_at_the_third, &calls) == 0);
	assert_int_equal(calls, 3 + 5);
}

/* Every function that would change the heap fails, in the order of errors. */
static void assert_nothing_changes(void)
{
	assert_fails(EBUSY, mems_trim() == 0);
	assert_fails(EBUSY, mems_malloc(8) == NULL);
	assert_fails(EBUSY, mems_malloc(SIZE_MAX) == NULL);
	assert_fails(EINVAL, mems_malloc(0) == NULL);
	assert_fails(EBUSY, mems_calloc(2, 8) == NULL);
	assert_fails(EBUSY, mems_calloc(SIZE_MAX, 8) == NULL);
	assert_fails(EINVAL, mems_calloc(2, 0) == NULL);
	assert_fails(EINVAL, mems_calloc(0, SIZE_MAX) == NULL);
	assert_fails(EBUSY, mems_aligned_alloc(16, 8) == NULL);
	assert_fails(EBUSY, mems_aligned_alloc(16, SIZE_MAX) == NULL);
	assert_fails(EINVAL, mems_aligned_alloc(3, 8) == NULL);
	assert_fails(EINVAL, mems_aligned_alloc(8, 0) == NULL);
	assert_fails(EBUSY, mems_realloc(NULL, 8) == NULL);
	assert_fails(EINVAL, mems_realloc(NULL, 0) == NULL);
	assert_fails(EBUSY, mems_realloc(at(1000), 8) == NULL);
	assert_fails(EBUSY, mems_realloc(at(1000), 1000) == NULL);
	assert_fails(EBUSY, mems_realloc(at(1000), 5000) == NULL);
	assert_fails(EBUSY, mems_realloc(at(1000), SIZE_MAX) == NULL);
	assert_fails(EINVAL, mems_realloc(at(1000), 0) == NULL);
	assert_fails(EBUSY, (mems_free(at(1000)), true));
	assert_succeeds((mems_free(NULL), true));
	assert_fails(EBUSY, (mems_finish(), true));
	assert_fails(EBUSY, mems_option(MEMS_ALIGNMENT, 8) == -1);
	assert_fails(EINVAL, mems_option(MEMS_ALIGNMENT, 3) == -1);
	mems_init();
	assert_no_report();

	assert_fails(EINVAL, (mems_free(at(3000)), true));
	assert_report(3000, "mems_free(3000): in HOLE[3000:3999], "
	                    "freed before or never given out");
	assert_fails(EINVAL, mems_realloc(at(1008), 5) == NULL);
	assert_report(1008, "mems_realloc(1008): inside PROCESS[1000:1999]");
}

static void assert_looking_works(void)
{
	char byte = 'a';
	struct mems_segment segment;
	assert_succeeds(mems_get(at(1000)) != NULL);
	assert_succeeds(mems_get_range(at(1000), 1000) != NULL);
	assert_succeeds(mems_virtual(mems_get(at(1001))) == at(1001));
	assert_succeeds(mems_write(at(1000), &byte, 1) == 0);
	assert_succeeds(mems_read(&byte, at(1000), 1) == 0);
	assert_succeeds(mems_usable_size(at(1000)) == 1000);
	assert_succeeds(mems_segment_at(at(3000), &segment) == 0);
	assert_succeeds(walk_segments(&segment, 1) == 5);
	assert_succeeds(mems_check(stderr) == 0);
	assert_true(stats_now().process_segments == 3);
	assert_true(stats_now().hole_bytes == 1096);
	assert_succeeds(mems_set_error_handler(remember_report) == remember_report);
	assert_chain("MAIN[1000:5095] -> PROCESS[1000:1999] <-> PROCESS[2000:2999] <-> "
	             "HOLE[3000:3999] <-> PROCESS[4000:4999] <-> HOLE[5000:5095] <-> NULL\n");
}

static int meddling_visitor(const struct mems_segment *segment, void *context)
{
	size_t *const calls = context;
	(void)segment;
	++*calls;
	assert_nothing_changes();
	assert_looking_works();
	return 0;
}

/* After the walk inside the walk the outer one is still at work. */
static int walking_visitor(const struct mems_segment *segment, void *context)
{
	size_t calls = 0;
	assert_int_equal(mems_walk(meddling_visitor, &calls), 0);
	assert_int_equal(calls, 5);
	return meddling_visitor(segment, context);
}

static void in_a_visitor_nothing_changes(void **state)
{
	(void)state;
	size_t calls = 0;
	make_heap();
	assert_sound(); /* which brings in what it reads of the metadata */
	const struct mems_stats before = stats_now();
	assert_succeeds(mems_walk(meddling_visitor, &calls) == 0);
	assert_int_equal(calls, 5);
	assert_succeeds(mems_walk(walking_visitor, &calls) == 0);
	assert_int_equal(calls, 10);
	const struct mems_stats after = stats_now();
	assert_memory_equal(&before, &after, sizeof before);
	assert_true(take(1000) == 3000);
}

static void a_walk_that_was_stopped_is_over(void **state)
{
	(void)state;
	size_t calls = 0;
	make_heap();
	assert_int_equal(mems_walk(stop_at_the_third, &calls), -7);
	assert_true(take(1000) == 3000);
	assert_true(mems_realloc(at(3000), 500) == at(3000));
	give_back(3000);
}

/* Inside a visitor the rules of visitors hold for a handler as well. */
static void taking_handler(int error, const void *v_ptr, const char *message)
{
	remember_report(error, v_ptr, message);
	assert_fails(EBUSY, mems_malloc(8) == NULL);
}

static int misusing_visitor(const struct mems_segment *segment, void *context)
{
	(void)segment;
	(void)context;
	assert_fails(EINVAL, (mems_free(at(3000)), true));
	return 1;
}

static void a_handler_in_a_visitor_changes_nothing(void **state)
{
	(void)state;
	make_heap();
	mems_set_error_handler(taking_handler);
	assert_int_equal(mems_walk(misusing_visitor, NULL), 1);
	assert_report(3000, "mems_free(3000): in HOLE[3000:3999], "
	                    "freed before or never given out");
}

/* A stream whose writer calls MeMS: printing behaves as a visitor does while it writes. */
static ssize_t meddling_write(void *cookie, const char *text, size_t size)
{
	size_t *const calls = cookie;
	(void)text;
	++*calls;
	assert_nothing_changes();
	return (ssize_t)size;
}

static FILE *stream_that_meddles(cookie_write_function_t *write, size_t *calls)
{
	FILE *const out = fopencookie(calls, "w", (cookie_io_functions_t){.write = write});
	assert_non_null(out);
	assert_int_equal(setvbuf(out, NULL, _IONBF, 0), 0);
	return out;
}

static void while_printing_nothing_changes(void **state)
{
	(void)state;
	size_t calls = 0;
	make_heap();
	FILE *const out = stream_that_meddles(meddling_write, &calls);
	mems_fprint_stats(out);
	assert_true(calls > 0);
	fclose(out);
	assert_true(take(1000) == 3000);
}

static ssize_t starting_write(void *cookie, const char *text, size_t size)
{
	size_t *const calls = cookie;
	(void)text;
	++*calls;
	assert_fails(EBUSY, (mems_init(), true));
	assert_fails(EBUSY, mems_option(MEMS_ALIGNMENT, 8) == -1);
	assert_fails(EBUSY, mems_load("/tmp/there is no such image", 0) == -1);
	assert_fails(EPERM, mems_malloc(1) == NULL);
	return (ssize_t)size;
}

static void while_printing_no_heap_none_is_started(void **state)
{
	(void)state;
	size_t calls = 0;
	mems_finish();
	FILE *const out = stream_that_meddles(starting_write, &calls);
	mems_fprint_stats(out);
	assert_true(calls > 0);
	fclose(out);
	assert_fails(EPERM, mems_malloc(1) == NULL);
}

/* ---- Success ----------------------------------------------------------------------------- */

static void success_leaves_errno_alone(void **state)
{
	(void)state;
	char byte = 1;
	void *large, *moved;
	struct mems_segment segment;
	struct mems_stats stats;
	assert_succeeds(mems_malloc(1000) == at(1000));
	assert_succeeds(mems_calloc(10, 100) == at(2000));
	assert_succeeds((large = mems_malloc(20 * MIB)) != NULL);
	assert_succeeds((moved = mems_realloc(at(1000), 3000)) != NULL && moved != at(1000));
	assert_succeeds(mems_realloc(moved, 100) == moved);
	assert_succeeds(mems_aligned_alloc(4096, 10000) != NULL);
	assert_succeeds(mems_usable_size(at(2000)) == 1000);
	assert_succeeds(mems_get(at(2001)) != NULL);
	assert_succeeds(mems_write(at(2001), &byte, 1) == 0);
	assert_succeeds(mems_read(&byte, at(2001), 1) == 0);
	assert_succeeds((mems_get_stats(&stats), true));
	assert_succeeds(walk_segments(&segment, 1) > 1);
	assert_succeeds(mems_segment_at(at(2001), &segment) == 0);
	assert_succeeds(mems_check(NULL) == 0);
	assert_succeeds(mems_check(stderr) == 0);
	assert_succeeds((mems_free(at(2000)), true));
	assert_succeeds((mems_free(large), true));
	assert_succeeds((mems_finish(), true));
	assert_succeeds((mems_init(), true));
}

/* ---- What MeMS does not keep the program from ---------------------------------------------- */

/* Outside of AddressSanitizer and Valgrind, which catch it. */
static void an_overrun_damages_contents_but_no_chain(void **state)
{
	(void)state;
	if (ADDRESS_SANITIZER || is_run_by_valgrind())
		skip();
	make_heap();
	char *const before = printed_text();
	memset(mems_get(at(1000)), 0xff, PAGE);
	assert_true(mems_check(stderr) == 0);
	char *const after = printed_text();
	assert_string_equal(after, before);
	assert_int_equal(*(unsigned char *)mems_get(at(2000)), 0xff);
	give_back(1000);
	give_back(2000);
	give_back(4000);
	assert_true(mems_check(stderr) == 0);
	assert_true(stats_now().hole_segments == 1);
	free(after);
	free(before);
}

static void a_block_taken_again_is_not_wiped(void **state)
{
	(void)state;
	if (is_run_by_valgrind())
		skip();
	make_heap();
	fill_block(2000, 1000, 7);
	give_back(2000);
	assert_true(take(1000) == 2000);
	assert_true(has_filling(2000, 1000, 7));
	give_back(2000);
	const char *const zeroed = mems_get(mems_calloc(1, 1000));
	for (size_t i = 0; i < 1000; i++)
		assert_int_equal(zeroed[i], 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		small_heap_test(outside_the_heap),
		heap_test(a_physical_address),
		heap_test(inside_a_block),
		small_heap_test(in_a_hole),
		small_heap_test(a_block_freed_twice),
		small_heap_test(in_the_second_node),
		small_heap_test(large_numbers_are_written_in_full),
		heap_test(null_is_reported_by_nobody),
		heap_test(running_out_of_memory_is_no_misuse),
		heap_test(no_heap_goes_first),
		heap_test(a_misused_address_goes_before_a_bad_size),
		heap_test(a_bad_argument_goes_before_no_memory),
		heap_test(installing_returns_the_one_before),
		heap_test(a_handler_outlives_the_heap),
		heap_test(the_default_handler_prints_to_stderr),
		small_heap_test(a_handler_may_call_any_function),
		heap_test(a_handler_may_end_the_heap),
		heap_test(a_walk_stops_at_the_first_result),
		small_heap_test(in_a_visitor_nothing_changes),
		small_heap_test(a_walk_that_was_stopped_is_over),
		small_heap_test(a_handler_in_a_visitor_changes_nothing),
		small_heap_test(while_printing_nothing_changes),
		heap_test(success_leaves_errno_alone),
		small_heap_test(while_printing_no_heap_none_is_started),
		small_heap_test(an_overrun_damages_contents_but_no_chain),
		small_heap_test(a_block_taken_again_is_not_wiped),
	};
	return run_heap_tests("misuse", tests);
}
