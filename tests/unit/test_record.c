/* Recording: what is written, when it may begin, and how it ends. */
#define _GNU_SOURCE
#include "support.h"

/* What was recorded. */
static char *text;
static size_t length;

static FILE *record_begin(void)
{
	FILE *const out = open_memstream(&text, &length);
	assert_non_null(out);
	assert_succeeds(mems_record(out) == 0);
	return out;
}

/* The stream, its recording over, holds these lines, and before them the policy if it is not first
 * fit. */
static void assert_recorded(FILE *out, const char *lines)
{
	assert_int_equal(fclose(out), 0);
	if (policy_under_test() == MEMS_QUICK_FIT) {
		static const char policy[] = "o policy quick_fit\n";
		assert_memory_equal(text, policy, sizeof policy - 1);
		assert_string_equal(text + sizeof policy - 1, lines);
	} else {
		assert_string_equal(text, lines);
	}
	free(text);
}

static void record_end(FILE *out, const char *lines)
{
	assert_succeeds(mems_record(NULL) == 0);
	assert_recorded(out, lines);
}

/* ---- What is written --------------------------------------------------------------------- */

static void every_call_is_one_line(void **state)
{
	(void)state;
	FILE *const out = record_begin();
	const uintptr_t first = take(100);
	const uintptr_t second = address_of(mems_calloc(3, 50));
	const uintptr_t third = address_of(mems_aligned_alloc(256, 1000));
	const uintptr_t fourth = address_of(mems_realloc(NULL, 7));
	assert_succeeds(mems_realloc(at(first), 10) == at(first));
	const uintptr_t moved = address_of(mems_realloc(at(second), 3000));
	assert_true(moved != second);
	give_back(third);
	give_back(moved);
	assert_succeeds((mems_free(NULL), true));
	give_back(fourth);
	record_end(out, "a 0 100\nc 1 150\nm 2 1000 256\na 3 7\nr 0 10\nr 1 3000\n"
	                "f 2\nf 1\nf 3\n");
	give_back(first);
	assert_sound();
}

static void of_failing_calls_only_mistakes_are_written(void **state)
{
	(void)state;
	FILE *const out = record_begin();
	const uintptr_t block = take(1000);
	assert_fails(EINVAL, mems_malloc(0) == NULL);
	assert_fails(ENOMEM, mems_malloc(SIZE_MAX) == NULL);
	assert_fails(EINVAL, mems_calloc(0, 5) == NULL);
	assert_fails(ENOMEM, mems_calloc(1, SIZE_MAX) == NULL);
	assert_fails(ENOMEM, mems_calloc(SIZE_MAX, 2) == NULL);
	assert_fails(EINVAL, mems_aligned_alloc(3, 8) == NULL);
	assert_fails(ENOMEM, mems_aligned_alloc(64, SIZE_MAX) == NULL);
	assert_fails(EINVAL, mems_realloc(at(block), 0) == NULL);
	assert_fails(ENOMEM, mems_realloc(at(block), SIZE_MAX) == NULL);
	assert_fails(EINVAL, mems_realloc(at(block + 1), 8) == NULL);
	assert_fails(EINVAL, (mems_free(at(block + 8)), true));
	assert_fails(EINVAL, mems_usable_size(at(block + 16)) == 0);
	record_end(out, "a 0 1000\ne realloc 1001\ne free 1008\ne usable_size 1016\n");
}

static void options_other_than_the_defaults_come_first(void **state)
{
	(void)state;
	options_reset();
	assert_int_equal(mems_option(MEMS_START_ADDRESS, 77), 0);
	assert_int_equal(mems_option(MEMS_LIMIT, 10 * MIB), 0);
	mems_init();
	record_end(record_begin(), "o start 77\no limit 10485760\n");
	mems_finish();
	options_reset();
	mems_init();
	record_end(record_begin(), "");
	mems_finish();
	assert_int_equal(mems_option(MEMS_ALIGNMENT, 16), 0);
	assert_int_equal(mems_option(MEMS_PAGE_SIZE, MIB), 0);
	mems_init();
	record_end(record_begin(), "o alignment 16\no page-size 1048576\n");
}

/* Writing is the business of the stream alone. */
static void a_full_device_does_not_disturb(void **state)
{
	(void)state;
	FILE *const out = fopen("/dev/full", "w");
	if (out == NULL)
		skip();
	assert_int_equal(setvbuf(out, NULL, _IONBF, 0), 0);
	assert_succeeds(mems_record(out) == 0);
	assert_succeeds(mems_malloc(100) == at(1000));
	assert_succeeds((mems_free(at(1000)), true));
	assert_true(ferror(out));
	assert_succeeds(mems_record(NULL) == 0);
	fclose(out);
	assert_sound();
}

/* ---- Beginning and ending ---------------------------------------------------------------- */

static void the_ids_count_as_metadata(void **state)
{
	(void)state;
	take(1000);
	assert_sound(); /* which brings in what it reads */
	const size_t without = stats_now().metadata_bytes;
	mems_finish();
	mems_init();
	FILE *const out = record_begin();
	take(1000);
	assert_sound();
	assert_true(stats_now().metadata_bytes > without);
	record_end(out, "a 0 1000\n");
	assert_true(stats_now().metadata_bytes == without);
}

static void without_a_heap_nothing_can_be_recorded(void **state)
{
	(void)state;
	assert_fails(EINVAL, mems_record(stderr) == -1);
	assert_succeeds(mems_record(NULL) == 0);
}

static int recording_visitor(const struct mems_segment *segment, void *context)
{
	(void)segment;
	(void)context;
	assert_fails(EBUSY, mems_record(stderr) == -1);
	assert_fails(EBUSY, mems_record(NULL) == -1);
	return 7;
}

/* A refused change leaves the recording that is there going on. */
static void a_heap_in_use_is_busy(void **state)
{
	(void)state;
	FILE *const out = record_begin();
	take(1000);
	assert_fails(EBUSY, mems_record(stderr) == -1);
	assert_int_equal(mems_walk(recording_visitor, NULL), 7);
	give_back(1000);
	assert_fails(EBUSY, mems_record(stderr) == -1);
	record_end(out, "a 0 1000\nf 0\n");
	assert_fails(EBUSY, mems_record(stderr) == -1);
}

static void a_heap_without_room_has_no_ids(void **state)
{
	(void)state;
	options_reset();
	assert_int_equal(mems_option(MEMS_LIMIT, 1), 0);
	mems_init();
	assert_fails(ENOMEM, mems_record(stderr) == -1);
	assert_succeeds(mems_record(NULL) == 0);
	assert_fails(ENOMEM, mems_malloc(1) == NULL);
}

/* With 32 bits the ids of as many blocks as there are bytes would be larger than all memory. */
static void a_heap_of_single_bytes_has_no_ids_in_32_bits(void **state)
{
	(void)state;
	if (SIZE_MAX > UINT32_MAX)
		skip();
	options_reset();
	assert_int_equal(mems_option(MEMS_ALIGNMENT, 1), 0);
	mems_init();
	assert_fails(ENOMEM, mems_record(stderr) == -1);
	assert_true(take(1) == 1000);
	assert_sound();
}

static void a_second_recording_takes_the_place_of_the_first(void **state)
{
	(void)state;
	FILE *const first = record_begin();
	char *other_text = NULL;
	size_t other_length = 0;
	FILE *const other = open_memstream(&other_text, &other_length);
	assert_non_null(other);
	assert_succeeds(mems_record(other) == 0);
	take(10);
	assert_succeeds(mems_record(NULL) == 0);
	assert_int_equal(fclose(other), 0);
	assert_non_null(strstr(other_text, "a 0 10\n"));
	free(other_text);
	assert_recorded(first, "");
}

static void finish_ends_a_recording(void **state)
{
	(void)state;
	FILE *const out = record_begin();
	take(10);
	mems_finish();
	mems_init();
	take(20);
	assert_recorded(out, "a 0 10\n");
}

/* ---- Fork -------------------------------------------------------------------------------- */

/* The child has the heap, and no recording. */
static int live_as_child(void *out)
{
	bool is_good = mems_malloc(300) != NULL && mems_get(at(1000)) != NULL;
	mems_free(at(1000));
	is_good = is_good && mems_get(at(1000)) == NULL && mems_check(stderr) == 0;
	is_good = is_good && stats_now().process_segments == 1;
	return fflush(out) == 0 && is_good ? 0 : 1;
}

/* Nothing is written by the child, neither lines of its own nor what the stream held when it was
 * made: the parent's line is written before that. */
static void fork_ends_the_recording_in_the_child(void **state)
{
	(void)state;
	FILE *const out = tmpfile();
	char read_back[100] = "";
	assert_non_null(out);
	assert_succeeds(mems_record(out) == 0);
	take(100);
	assert_int_equal(status_of_child(live_as_child, out), 0);
	take(200);
	assert_succeeds(mems_record(NULL) == 0);
	rewind(out);
	assert_true(fread(read_back, 1, sizeof read_back - 1, out) > 0);
	fclose(out);
	assert_string_equal(read_back, policy_under_test() == MEMS_QUICK_FIT
	                               ? "o policy quick_fit\na 0 100\na 1 200\n" : "a 0 100\na 1 200\n");
	assert_true(stats_now().process_segments == 2);
	assert_sound();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		heap_test(every_call_is_one_line),
		heap_test(of_failing_calls_only_mistakes_are_written),
		bare_test(options_other_than_the_defaults_come_first),
		heap_test(a_full_device_does_not_disturb),
		heap_test(the_ids_count_as_metadata),
		bare_test(without_a_heap_nothing_can_be_recorded),
		heap_test(a_heap_in_use_is_busy),
		bare_test(a_heap_without_room_has_no_ids),
		bare_test(a_heap_of_single_bytes_has_no_ids_in_32_bits),
		heap_test(a_second_recording_takes_the_place_of_the_first),
		heap_test(finish_ends_a_recording),
		heap_test(fork_ends_the_recording_in_the_child),
	};
	return run_heap_tests("record", tests);
}
