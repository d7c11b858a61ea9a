/*
 * Makes a random heap for the tests of what shows it:
 *
 *   heaps FOLDER SEED CALLS [NAME VALUE]...     an option of the heap: policy, alignment, ...
 *
 * Writes to FOLDER: heap.json, by mems_fprint_json; heap.expected, the same object put together
 * from mems_walk and mems_get_stats, without physical addresses; heap.trace, by mems_record;
 * heap.addresses, what each call gave, or freed.
 */
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mems.h"

enum { BLOCKS = 300 };

static const char *folder;
static uint64_t state;

/* Do some calls fail for want of memory? Not under quick fit: there such a call merges all that is
 * remembered, a recording does not have it, and later blocks would lie elsewhere. */
static bool is_failing = true;

static FILE *file_open(const char *name)
{
	char path[1000];
	FILE *out;

	snprintf(path, sizeof path, "%s/%s", folder, name);
	out = fopen(path, "w");
	if (out == NULL) {
		perror(path);
		exit(1);
	}
	return out;
}

static void file_close(FILE *out)
{
	if (fclose(out) != 0) {
		perror("heaps");
		exit(1);
	}
}

static size_t random_below(size_t limit)
{
	state = state * UINT64_C(6364136223846793005) + 1442695040888963407u;
	return (size_t)(state >> 33) % limit;
}

/* Mostly small, sometimes large. */
static size_t random_size(void)
{
	return 1 + random_below(random_below(20) == 0 ? 9000 : random_below(4) == 0 ? 900 : 90);
}

/* Each misuse that leaves a line. A replay does nothing there. */
static void misuses(void)
{
	void *nowhere = (void *)UINTPTR_MAX;
	mems_free(nowhere);
	mems_usable_size(nowhere);
	mems_set_root(nowhere);
	if (mems_realloc(nowhere, 1) != NULL)
		exit(1);
}

/* Makes one call; some fail, and must leave no line in the recording. */
static void call(void **block, FILE *addresses)
{
	size_t choice = random_below(10);
	void *result;

	if (*block == NULL && choice < 6)
		result = mems_malloc(random_size());
	else if (*block == NULL && choice < 8)
		result = mems_calloc(1 + random_below(3), random_size());
	else if (*block == NULL)
		result = mems_aligned_alloc((size_t)1 << random_below(13), random_size());
	else if (choice < 3)
		result = mems_realloc(*block, random_size());
	else
		result = *block;
	fprintf(addresses, "%zu\n", (size_t)(uintptr_t)result);
	if (*block != NULL && choice >= 3) {
		mems_free(*block);
		result = NULL;
	}
	*block = result;
	if (random_below(5) == 0) {
		mems_malloc(0);
		mems_free(NULL);
		misuses();
		if (is_failing)
			mems_malloc(SIZE_MAX);
	}
}

static int segment_write(const struct mems_segment *segment, void *context)
{
	FILE *out = context;
	const char *separator = ",";

	if (segment->start == segment->node_start) {
		fprintf(out, "%s{\"start\":%zu,\"end\":%zu,\"sub_chain\":[", segment->node == 0 ? "" : ",",
		        (size_t)segment->node_start, (size_t)segment->node_end);
		separator = "";
	}
	fprintf(out, "%s{\"type\":\"%s\",\"start\":%zu,\"end\":%zu,\"size\":%zu", separator,
	        segment->type == MEMS_PROCESS ? "PROCESS" : "HOLE", (size_t)segment->start,
	        (size_t)segment->end, segment->size);
	if (segment->remembered_bytes != 0)
		fprintf(out, ",\"remembered_bytes\":%zu", segment->remembered_bytes);
	fprintf(out, "}");
	if (segment->end == segment->node_end)
		fprintf(out, "]}");
	return 0;
}

static void expected_write(FILE *out)
{
	struct mems_stats stats;

	mems_get_stats(&stats);
	fprintf(out, "{\"main_chain\":[");
	mems_walk(segment_write, out);
	fprintf(out,
	        "],\"stats\":{\"pages\":%zu,\"mapped_bytes\":%zu,\"process_bytes\":%zu,"
	        "\"hole_bytes\":%zu,\"largest_hole\":%zu,\"main_nodes\":%zu,\"process_segments\":%zu,"
	        "\"hole_segments\":%zu,\"peak_process_bytes\":%zu,\"peak_mapped_bytes\":%zu}}\n",
	        stats.pages, stats.mapped_bytes, stats.process_bytes, stats.hole_bytes,
	        stats.largest_hole, stats.main_nodes, stats.process_segments, stats.hole_segments,
	        stats.peak_process_bytes, stats.peak_mapped_bytes);
}

static void option_set(const char *name, const char *value)
{
	static const char *const names[] = {"policy", "alignment", "start", "page-size", "limit"};

	for (int i = 0; i < 5; i++)
		if (strcmp(name, names[i]) == 0 &&
		    mems_option((enum mems_option)i, strtoul(value, NULL, 10)) == 0) {
			is_failing = is_failing && i != MEMS_POLICY;
			return;
		}
	fprintf(stderr, "heaps: bad option: %s %s\n", name, value);
	exit(1);
}

static void heap_write(void)
{
	FILE *json = file_open("heap.json"), *expected = file_open("heap.expected");

	if (mems_fprint_json(json) != 0) {
		perror("mems_fprint_json");
		exit(1);
	}
	expected_write(expected);
	file_close(json);
	file_close(expected);
}

int main(int argc, char **argv)
{
	static void *blocks[BLOCKS];
	FILE *trace, *addresses;

	if (argc < 4)
		return 2;
	folder = argv[1];
	state = strtoul(argv[2], NULL, 10);
	for (int i = 4; i + 1 < argc; i += 2)
		option_set(argv[i], argv[i + 1]);
	trace = file_open("heap.trace");
	addresses = file_open("heap.addresses");
	mems_init();
	mems_set_error_handler(NULL);
	if (mems_record(trace) != 0) {
		perror("mems_record");
		return 1;
	}
	for (unsigned long i = strtoul(argv[3], NULL, 10); i > 0; i--)
		call(&blocks[random_below(BLOCKS)], addresses);
	mems_record(NULL);
	file_close(trace);
	file_close(addresses);
	heap_write();
	mems_finish();
	return 0;
}
