/*
 * The example that MeMS was made for, with the printed text compared to the letter.
 *
 * Usage: test_example [DIRECTORY]   where the golden files are, tests/unit/golden by default.
 */
#define _GNU_SOURCE
#include <unistd.h>

#include "support.h"

#define BLOCKS 10

static const char *golden_directory = "tests/unit/golden";

/* The text of a golden file; the caller frees it. */
static char *golden_text(const char *name)
{
	char path[1000];
	snprintf(path, sizeof path, "%s/%s", golden_directory, name);
	FILE *const in = fopen(path, "r");
	if (in == NULL)
		fail_msg("cannot read %s", path);
	char *text = NULL;
	size_t capacity = 0;
	assert_true(getdelim(&text, &capacity, '\0', in) >= 0);
	fclose(in);
	return text;
}

static void assert_golden(const char *name)
{
	char *const expected = golden_text(name);
	char *const printed = printed_text();
	assert_string_equal(printed, expected);
	free(printed);
	free(expected);
}

static void take_ten_blocks(uintptr_t blocks[BLOCKS])
{
	for (size_t i = 0; i < BLOCKS; i++)
		blocks[i] = take(1000);
}

static void addresses_are_those_of_the_example(void **state)
{
	(void)state;
	static const uintptr_t expected[BLOCKS] = {1000, 2000, 3000, 4000,  5096,
	                                           6096, 7096, 8096, 9192, 10192};
	uintptr_t blocks[BLOCKS];
	take_ten_blocks(blocks);
	for (size_t i = 0; i < BLOCKS; i++)
		assert_true(blocks[i] == expected[i]);
}

static void texts_are_those_of_the_example(void **state)
{
	(void)state;
	uintptr_t blocks[BLOCKS];
	assert_golden("stats_empty.txt");
	take_ten_blocks(blocks);
	assert_golden("stats_ten_blocks.txt");
	give_back(blocks[3]);
	assert_golden("stats_one_freed.txt");
	assert_true(take(1000) == 4000);
	assert_golden("stats_ten_blocks.txt");
}

static void a_number_is_written_and_read_back(void **state)
{
	(void)state;
	uintptr_t blocks[BLOCKS];
	take_ten_blocks(blocks);
	int *const element = mems_get(at(blocks[0] + sizeof(int)));
	assert_non_null(element);
	*element = 200;
	int *const again = mems_get(at(blocks[0]));
	assert_int_equal(again[1], 200);
}

static void a_finished_heap_prints_as_an_empty_one(void **state)
{
	(void)state;
	take(1000);
	mems_finish();
	assert_golden("stats_empty.txt");
}

/* mems_print_stats writes what mems_fprint_stats writes, to stdout. */
static void printing_goes_to_stdout(void **state)
{
	(void)state;
	uintptr_t blocks[BLOCKS];
	char text[4096];
	take_ten_blocks(blocks);

	FILE *const file = tmpfile();
	assert_non_null(file);
	fflush(stdout);
	const int kept = dup(STDOUT_FILENO);
	assert_true(kept >= 0);
	assert_true(dup2(fileno(file), STDOUT_FILENO) >= 0);
	mems_print_stats();
	fflush(stdout);
	assert_true(dup2(kept, STDOUT_FILENO) >= 0);
	close(kept);

	rewind(file);
	const size_t length = fread(text, 1, sizeof text - 1, file);
	text[length] = '\0';
	fclose(file);
	char *const expected = golden_text("stats_ten_blocks.txt");
	assert_string_equal(text, expected);
	free(expected);
}

int main(int argc, char **argv)
{
	if (argc > 1)
		golden_directory = argv[1];
	const struct CMUnitTest tests[] = {
		small_heap_test(addresses_are_those_of_the_example),
		small_heap_test(texts_are_those_of_the_example),
		heap_test(a_number_is_written_and_read_back),
		heap_test(a_finished_heap_prints_as_an_empty_one),
		small_heap_test(printing_goes_to_stdout),
	};
	return run_heap_tests("example", tests);
}
