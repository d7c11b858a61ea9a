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

static int free_inside(const struct mems_segment *segment, void *context)
{
	(void)context;
	assert_fails(EINVAL, (mems_free(at(segment->start + 24)), true));
	return 1;
}

/* Those of a visitor are not, as the stream may be at work then. */
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
	assert_int_equal(mems_walk(free_inside, NULL), 1);
	record_end(out, "a 0 1000\ne realloc 1001\ne free 1008\ne usable_size 1016\n");
}

/* ---- Replayed by hand ---------------------------------------------------------------------- */

enum { REPLAYED_CALLS = 6000 };

/* By the number of the block, in the recording as in its replay. */
static uintptr_t replayed[REPLAYED_CALLS];

/* One line of a recording; each call that succeeded then succeeds now. */
static void replay_line(const char *line)
{
	size_t id = 0, size = 0, alignment = 0;
	char kind = 0;
	/* NOLINTNEXTLINE(cert-err34-c): the library writes no number that is too large. */
	const int fields = sscanf(line, "%c %zu %zu %zu", &kind, &id, &size, &alignment);
	assert_true(fields >= 1 && id < REPLAYED_CALLS);
	switch (kind) {
	case 'a': replayed[id] = take(size); break;
	case 'c': replayed[id] = address_of(mems_calloc(1, size)); break;
	case 'm': replayed[id] = address_of(mems_aligned_alloc(alignment, size)); break;
	case 'r': replayed[id] = address_of(mems_realloc(at(replayed[id]), size)); break;
	case 'f': give_back(replayed[id]); break;
	case 'g': mems_trim(); break;
	default: assert_int_equal(kind, 'o');
	}
	assert_true(kind == 'o' || kind == 'g' || replayed[id] != 0);
}

static void replay_lines(char *lines)
{
	char *rest = NULL;
	for (char *line = strtok_r(lines, "\n", &rest); line != NULL; line = strtok_r(NULL, "\n", &rest))
		replay_line(line);
}

/* Random calls in a heap that is too small for all of them. Returns how many of them failed. */
static size_t call_until_some_fail(uint64_t seed)
{
	enum { SLOTS = 120 };
	uintptr_t blocks[SLOTS] = { 0 };
	size_t failed = 0;
	for (size_t i = 0; i < REPLAYED_CALLS; i++) {
		uintptr_t *const block = &blocks[random_below(&seed, SLOTS)];
		const size_t size = 1 + random_below(&seed, random_below(&seed, 10) == 0 ? 20000 : 600);
		const size_t way = random_below(&seed, 5);
		if (*block != 0 && way < 3) {
			mems_free(at(*block));
			*block = 0;
			continue;
		}
		void *const v_ptr = *block != 0 ? mems_realloc(at(*block), size)
		                    : way == 0  ? mems_calloc(1, size)
		                    : way == 1  ? mems_aligned_alloc(256, size)
		                                : mems_malloc(size);
		*block = v_ptr != NULL ? address_of(v_ptr) : *block;
		failed += v_ptr == NULL;
		if (i % 1000 == 500)
			mems_trim();
	}
	return failed;
}

/* Under quick fit a call that fails merges what is remembered, and so does mems_trim: a line g says
 * so, and what follows lies where it lay. */
static void failed_calls_are_replayed_exactly(void **state)
{
	(void)state;
	size_t failed = 0;
	size_t merged = 0;
	for (uint64_t seed = 1; seed <= 20; seed++) {
		mems_finish();
		assert_int_equal(mems_option(MEMS_LIMIT, 20 * PAGE), 0);
		mems_init();
		FILE *const out = record_begin();
		failed += call_until_some_fail(seed);
		assert_succeeds(mems_record(NULL) == 0);
		fclose(out);
		char *const before = printed_text();
		for (const char *line = text; (line = strstr(line, "\ng\n")) != NULL; line++)
			merged++;
		mems_finish();
		mems_init();
		replay_lines(text);
		char *const after = printed_text();
		assert_string_equal(after, before);
		assert_sound();
		free(before);
		free(after);
		free(text);
	}
	assert_true(failed > 1000);
	assert_true(policy_under_test() == MEMS_FIRST_FIT || merged > 20 * 6);
}

/* At the limit, which is 15 pages, merging may make the room for a call: its line follows. */
static void a_merge_that_makes_room_is_a_line(void **state)
{
	(void)state;
	FILE *const out = record_begin();
	give_back(take(14 * PAGE));
	const uintptr_t block = take(5000);
	assert_fails(ENOMEM, mems_malloc(14 * PAGE) == NULL); /* nothing is remembered */
	give_back(block);
	give_back(take(14 * PAGE));
	assert_succeeds(mems_realloc(at(take(8)), 5000) != NULL);
	record_end(out, "o limit 61440\na 0 57344\nf 0\ng\na 1 5000\nf 1\ng\na 2 57344\nf 2\n"
	                "a 3 8\ng\nr 3 5000\n");
}

/* What has been written to a stream that looks at the heap. */
static struct {
	size_t lines, live, unsound; /* live: blocks, by the lines */
} looking;

static ssize_t write_and_look(void *cookie, const char *line, size_t size)
{
	(void)cookie;
	looking.lines++;
	looking.live += strchr("acm", line[0]) != NULL;
	looking.live -= line[0] == 'f';
	looking.unsound += mems_check(stderr) != 0 || stats_now().process_segments != looking.live;
	return (ssize_t)size;
}

/* When a line is written, the heap is sound, and as the call leaves it. */
static void a_line_is_written_after_its_call(void **state)
{
	(void)state;
	for (size_t history = 0; history <= 100; history += 100) {
		const cookie_io_functions_t functions = { .write = write_and_look };
		FILE *const out = fopencookie(NULL, "w", functions);
		memset(&looking, 0, sizeof looking);
		assert_non_null(out);
		setvbuf(out, NULL, _IONBF, 0);
		mems_finish();
		assert_int_equal(mems_option(MEMS_LIMIT, 20 * PAGE), 0);
		assert_int_equal(mems_option(MEMS_HISTORY, history), 0);
		mems_init();
		assert_succeeds(mems_record(out) == 0);
		assert_true(call_until_some_fail(7) > 10);
		assert_succeeds(mems_record(NULL) == 0);
		fclose(out);
		assert_true(looking.lines > REPLAYED_CALLS / 2);
		assert_int_equal(looking.unsound, 0);
	}
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
static void a_heap_of_single_bytes_is_recorded_in_32_bits(void **state)
{
	(void)state;
	if (SIZE_MAX > UINT32_MAX)
		skip();
	options_reset();
	assert_int_equal(mems_option(MEMS_ALIGNMENT, 1), 0);
	mems_init();
	FILE *const out = record_begin();
	assert_true(take(1) == 1000);
	record_end(out, "o alignment 1\na 0 1\n");
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
		heap_test(failed_calls_are_replayed_exactly),
		small_quick_fit_test(a_merge_that_makes_room_is_a_line),
		heap_test(a_line_is_written_after_its_call),
		bare_test(options_other_than_the_defaults_come_first),
		heap_test(a_full_device_does_not_disturb),
		heap_test(the_ids_count_as_metadata),
		bare_test(without_a_heap_nothing_can_be_recorded),
		heap_test(a_heap_in_use_is_busy),
		bare_test(a_heap_without_room_has_no_ids),
		bare_test(a_heap_of_single_bytes_is_recorded_in_32_bits),
		heap_test(a_second_recording_takes_the_place_of_the_first),
		heap_test(finish_ends_a_recording),
		heap_test(fork_ends_the_recording_in_the_child),
	};
	return run_heap_tests("record", tests);
}
