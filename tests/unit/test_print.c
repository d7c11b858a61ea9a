/* Printing as text and as JSON: where there is no heap, where writing fails, and what becomes of errno. */
#define _GNU_SOURCE
#include "support.h"

/* A stream that takes nothing, with a buffer or without. */
static FILE *full_device(bool is_buffered)
{
	FILE *const out = fopen("/dev/full", "w");
	if (out == NULL)
		skip();
	if (!is_buffered)
		assert_int_equal(setvbuf(out, NULL, _IONBF, 0), 0);
	return out;
}

static char *printed_json(void)
{
	char *text = NULL;
	size_t length = 0;
	FILE *const out = open_memstream(&text, &length);
	assert_non_null(out);
	assert_succeeds(mems_fprint_json(out) == 0);
	assert_int_equal(fclose(out), 0);
	return text;
}

static void json_starts_with(const char *lines)
{
	char *const text = printed_json();
	assert_int_equal(strncmp(text, lines, strlen(lines)), 0);
	free(text);
}

static void json_without_a_heap_shows_an_empty_one(void **state)
{
	(void)state;
	options_reset();
	assert_int_equal(mems_option(MEMS_START_ADDRESS, 5000), 0);
	const bool is_quick = policy_under_test() == MEMS_QUICK_FIT;
	const char *const empty = is_quick
		? "{\"schema\":1,\"page_size\":4096,\"alignment\":8,\"start\":5000,"
		  "\"policy\":\"quick_fit\",\n\"main_chain\":[],\n\"stats\":{\"pages\":0,"
		: "{\"schema\":1,\"page_size\":4096,\"alignment\":8,\"start\":5000,"
		  "\"policy\":\"first_fit\",\n\"main_chain\":[],\n\"stats\":{\"pages\":0,";
	json_starts_with(empty);
	mems_init();
	json_starts_with(empty);
	take(100);
	mems_finish();
	json_starts_with(empty);
}

/* With a buffer it is the flush that fails, without one every write. */
static void json_says_that_writing_failed(void **state)
{
	(void)state;
	take(100);
	for (int is_buffered = 0; is_buffered <= 1; is_buffered++) {
		FILE *const out = full_device(is_buffered != 0);
		assert_fails(ENOSPC, mems_fprint_json(out) == -1);
		assert_true(ferror(out));
		fclose(out);
	}
	assert_true(take(100) == 1104);
}

/* Text has no result: the error is in the stream, and errno says which. */
static void text_leaves_its_errors_in_the_stream(void **state)
{
	(void)state;
	take(100);
	FILE *const out = full_device(false);
	assert_fails(ENOSPC, (mems_fprint_stats(out), true));
	assert_true(ferror(out));
	fclose(out);
	assert_true(take(100) == 1104);
}

static ssize_t write_with_errno(void *context, const char *text, size_t size)
{
	(void)context;
	(void)text;
	errno = EAGAIN;
	return (ssize_t)size;
}

/* A stream may change errno where nothing has failed. */
static void success_leaves_errno_alone(void **state)
{
	(void)state;
	const cookie_io_functions_t functions = { .write = write_with_errno };
	FILE *const out = fopencookie(NULL, "w", functions);
	assert_non_null(out);
	assert_int_equal(setvbuf(out, NULL, _IONBF, 0), 0);
	options_reset();
	assert_succeeds(mems_option(MEMS_HISTORY, 8) == 0);
	mems_init();
	assert_succeeds(mems_record(out) == 0);
	take(100);
	assert_succeeds(mems_malloc(100) != NULL);
	assert_succeeds((mems_free(at(1000)), true));
	assert_succeeds(mems_record(NULL) == 0);
	assert_succeeds((mems_fprint_stats(out), true));
	assert_succeeds(mems_fprint_json(out) == 0);
	assert_succeeds(mems_explain(at(1000), out) == 0);
	assert_succeeds(mems_fprint_live(out) == 0);
	fclose(out);
	mems_finish();
	assert_int_equal(mems_option(MEMS_HISTORY, 0), 0);
}

static void the_version_is_that_of_the_header(void **state)
{
	(void)state;
	char expected[100];
	snprintf(expected, sizeof expected, "%d.%d.%d", MEMS_VERSION_MAJOR, MEMS_VERSION_MINOR,
	         MEMS_VERSION_PATCH);
	assert_string_equal(mems_version(), MEMS_VERSION);
	assert_string_equal(mems_version(), expected);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		bare_test(json_without_a_heap_shows_an_empty_one),
		heap_test(json_says_that_writing_failed),
		heap_test(text_leaves_its_errors_in_the_stream),
		bare_test(success_leaves_errno_alone),
		bare_test(the_version_is_that_of_the_header),
	};
	return run_heap_tests("print", tests);
}
