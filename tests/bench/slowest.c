/*
 * tests/bench/slowest.c: the slowest single call on a heap of many blocks, in patterns that are made
 * to be hard for a search or for what it keeps up to date. Called by scale.sh:
 *
 *   slowest                           lists the patterns: name, description
 *   slowest PATTERN BLOCKS POLICY     prints microseconds of the slowest malloc, free and realloc;
 *                                     POLICY is first or quick
 *
 * A pattern runs five times, with the same calls. Of each call the least time of the five counts,
 * and of these the most is printed: what happens to a call once is the machine's doing. Time is
 * processor time without requests to the OS: link with -Wl,--wrap=NAME for mmap, munmap, mprotect,
 * madvise and mincore. Page faults are in it, looks at the clock are not: a call that asks the OS
 * often has two for each request. Calls of realloc that move the block, and so copy, do not count.
 */
#define _GNU_SOURCE
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include "mems.h"
#include "wrapped.h"

#define GRANULE ((size_t)8) /* bytes, the default alignment */
#define RUNS 5

enum kind { MALLOC, FREE, REALLOC, IGNORED, KINDS };

static struct {
	float *least; /* nanoseconds of each call, in the fastest run so far */
	unsigned char *kinds;
	size_t count; /* of calls in this run */
	size_t room;
	bool is_first_run;
	double in_os; /* nanoseconds, since the call began */
	double clock; /* nanoseconds from one look at the clock to the next */
} calls;

static void **blocks; /* virtual addresses */
static void **others;
static size_t count; /* of blocks */
static uint64_t random_state;

/* ---- Time ------------------------------------------------------------------------------------ */

static double now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
	return (double)time.tv_sec * 1e9 + (double)time.tv_nsec;
}

static void clock_measure(void)
{
	for (int i = 0; i < 1000; i++) {
		double start = now();
		double time = now() - start;

		calls.clock = i == 0 || time < calls.clock ? time : calls.clock;
	}
}

/* A request ends. Of the looks at the clock before and after it, each is in what was measured in
 * part. */
static void os_end(double start)
{
	calls.in_os += now() - start + calls.clock;
}

void *__wrap_mmap(void *address, size_t bytes, int access, int flags, int file, off_t offset)
{
	double start = now();
	void *result = __real_mmap(address, bytes, access, flags, file, offset);

	os_end(start);
	return result;
}

int __wrap_munmap(void *address, size_t bytes)
{
	double start = now();
	int result = __real_munmap(address, bytes);

	os_end(start);
	return result;
}

int __wrap_mprotect(void *address, size_t bytes, int access)
{
	double start = now();
	int result = __real_mprotect(address, bytes, access);

	os_end(start);
	return result;
}

int __wrap_madvise(void *address, size_t bytes, int advice)
{
	double start = now();
	int result = __real_madvise(address, bytes, advice);

	os_end(start);
	return result;
}

int __wrap_mincore(void *address, size_t bytes, unsigned char *pages)
{
	double start = now();
	int result = __real_mincore(address, bytes, pages);

	os_end(start);
	return result;
}

/* ---- Calls that are watched ------------------------------------------------------------------ */

static void fail(const char *what)
{
	perror(what);
	exit(EXIT_FAILURE);
}

static double call_begin(void)
{
	calls.in_os = 0;
	return now();
}

static void call_end(enum kind kind, double start)
{
	float time = (float)(now() - start - calls.in_os - calls.clock);
	size_t call = calls.count++;

	if (call == calls.room)
		fail("slowest: more calls than there is room for");
	if (calls.is_first_run || time < calls.least[call])
		calls.least[call] = time;
	calls.kinds[call] = (unsigned char)kind;
}

static void *take(size_t granules)
{
	double start = call_begin();
	void *block = mems_malloc(granules * GRANULE);

	call_end(MALLOC, start);
	if (block == NULL)
		fail("slowest: mems_malloc");
	return block;
}

static void give(void *block)
{
	double start = call_begin();

	mems_free(block);
	call_end(FREE, start);
}

/* Changes the size of *block. */
static void resize(void **block, size_t granules)
{
	double start = call_begin();
	void *resized = mems_realloc(*block, granules * GRANULE);

	call_end(resized == *block ? REALLOC : IGNORED, start);
	if (resized == NULL)
		fail("slowest: mems_realloc");
	*block = resized;
}

static void *take_aligned(size_t alignment, size_t bytes)
{
	double start = call_begin();
	void *block = mems_aligned_alloc(alignment, bytes);

	call_end(IGNORED, start); /* its cost is linear, as the header says */
	if (block == NULL)
		fail("slowest: mems_aligned_alloc");
	return block;
}

/* ---- Helpers --------------------------------------------------------------------------------- */

/* From 0 to limit - 1. */
static size_t random_below(size_t limit)
{
	random_state = random_state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
	return (size_t)(((random_state >> 32) * limit) >> 32);
}

static void shuffle(void **array, size_t length)
{
	for (size_t i = length; i > 1; i--) {
		size_t other = random_below(i);
		void *block = array[i - 1];

		array[i - 1] = array[other];
		array[other] = block;
	}
}

/* Blocks of one granule, a HOLE of that many granules behind each. */
static void holes_make(size_t granules)
{
	for (size_t i = 0; i < count; i++) {
		blocks[i] = take(1);
		others[i] = take(granules);
	}
	for (size_t i = 0; i < count; i++)
		give(others[i]);
}

/* Requests of several sizes, the first of which finds least of what it may have been promised. */
static void requests_make(size_t granules)
{
	for (size_t size = granules; size > 0; size /= 2)
		for (int i = 0; i < 3; i++)
			give(take(size));
	give(take(granules + 1));
}

/* ---- The patterns ---------------------------------------------------------------------------- */

/* Each block grows into the whole HOLE beside it, in address order. */
static void grow(size_t granules)
{
	holes_make(granules);
	for (size_t i = 0; i < count; i++)
		resize(&blocks[i], granules + 1);
	requests_make(granules);
}

static void grow_at_random(size_t granules)
{
	holes_make(granules);
	shuffle(blocks, count);
	for (size_t i = 0; i < count; i++)
		resize(&blocks[i], granules + 1);
	requests_make(granules);
}

/* A granule of each HOLE is left. */
static void grow_in_part(size_t granules)
{
	holes_make(granules);
	for (size_t i = 0; i < count; i++)
		resize(&blocks[i], granules);
	requests_make(granules);
}

/* Each block grows by a granule, again and again, in turn. */
static void grow_by_steps(size_t granules)
{
	holes_make(granules);
	for (size_t size = 2; size <= granules + 1; size++)
		for (size_t i = 0; i < count; i++)
			resize(&blocks[i], size);
	requests_make(granules);
}

/* Each block gives its end back, and all of these are taken. */
static void shrink(size_t granules)
{
	for (size_t i = 0; i < count; i++)
		blocks[i] = take(granules + 1);
	for (size_t i = 0; i < count; i++)
		resize(&blocks[i], 1);
	for (size_t i = 0; i < count; i++)
		others[i] = take(granules);
	requests_make(granules);
}

/* Aligned blocks leave two gaps of each HOLE. */
static void aligned(size_t granules)
{
	holes_make(granules);
	for (size_t i = 0; i < count; i++)
		others[i] = take_aligned(8 * GRANULE, (granules - 7) * GRANULE);
	requests_make(granules);
}

/* HOLEs, most of which reach over the border of a leaf, are split at every place. */
static void split(size_t granules)
{
	holes_make(granules);
	for (size_t i = 0; i < count; i++)
		others[i] = take(granules / 2 + random_below(granules / 2));
	requests_make(granules);
	for (size_t i = 0; i < count; i++)
		give(others[i]);
	requests_make(granules);
}

/* Each HOLE is a granule too small. */
static void too_small(size_t granules)
{
	holes_make(granules);
	for (int i = 0; i < 1000; i++) {
		void *far = take(granules + 1);
		void *near = take(granules);

		give(near);
		give(far);
	}
}

/* Downwards, each block is freed and its place taken again: the HOLE that was there is promised in
 * every leaf. */
static void replace_downwards(size_t granules)
{
	for (size_t i = 0; i < count; i++)
		blocks[i] = take(granules);
	for (size_t i = count; i > 0; i--) {
		give(blocks[i - 1]);
		blocks[i - 1] = take(granules);
	}
	requests_make(granules);
}

static void blocks_take(size_t most)
{
	for (size_t i = 0; i < count; i++)
		blocks[i] = take(1 + random_below(most));
}

static void free_at_random(size_t granules)
{
	blocks_take(granules);
	shuffle(blocks, count);
	for (size_t i = 0; i < count; i++)
		give(blocks[i]);
	requests_make(granules * count / 4);
}

static void free_in_order(size_t granules)
{
	blocks_take(granules);
	for (size_t i = 0; i < count; i++)
		give(blocks[i]);
	requests_make(granules * count / 4);
}

/* First every second one, then the others. */
static void free_in_turn(size_t granules)
{
	blocks_take(granules);
	for (size_t i = 0; i < count; i += 2)
		give(blocks[i]);
	requests_make(granules);
	for (size_t i = 1; i < count; i += 2)
		give(blocks[i]);
	requests_make(granules);
}

static void churn(size_t granules)
{
	blocks_take(granules);
	for (size_t i = 0; i < count; i++) {
		void **block = &blocks[random_below(count)];

		give(*block);
		*block = take(1 + random_below(granules));
	}
}

/* Blocks grow and shrink at random, in place where they can. */
static void resize_at_random(size_t granules)
{
	blocks_take(granules);
	for (size_t i = 0; i < 2 * count; i++)
		resize(&blocks[random_below(count)], 1 + random_below(granules));
	requests_make(granules);
}

/* ---- The command line ------------------------------------------------------------------------ */

struct pattern {
	const char *name;
	void (*run)(size_t granules);
	size_t granules;
	size_t share; /* of the blocks: this one takes a fraction of them, as its HOLEs are large */
	const char *what;
};

static const struct pattern patterns[] = {
	{"grow-2", grow, 2, 1, "blocks grow into HOLEs of 2 granules beside them, then such requests"},
	{"grow-32", grow, 32, 1, "the same, 32 granules"},
	{"grow-100", grow, 100, 1, "the same, 100 granules"},
	{"grow-random", grow_at_random, 32, 1, "the same, 32 granules, the blocks in random order"},
	{"grow-part", grow_in_part, 50, 1, "the same, 50 granules, one of which is left"},
	{"grow-steps", grow_by_steps, 6, 2, "the same, 6 granules, one at a time"},
	{"shrink", shrink, 40, 1, "blocks shrink, and their ends are taken"},
	{"aligned", aligned, 40, 10, "aligned blocks are taken from HOLEs of 40 granules"},
	{"split-50", split, 50, 1, "HOLEs of 50 granules are split, and joined again"},
	{"split-300", split, 300, 2, "the same, 300 granules"},
	{"small-1", too_small, 1, 1, "every HOLE is one granule too small: 1"},
	{"small-63", too_small, 63, 1, "the same: 63 granules"},
	{"small-255", too_small, 255, 2, "the same: 255 granules"},
	{"small-32767", too_small, 32767, 100, "the same: 32767 granules"},
	{"small-40000", too_small, 40000, 100, "the same: 40000 granules"},
	{"down-8", replace_downwards, 8, 1, "from the end, a block of 8 granules is freed and taken"},
	{"down-64", replace_downwards, 64, 1, "the same, 64 granules"},
	{"down-300", replace_downwards, 300, 2, "the same, 300 granules"},
	{"free-random", free_at_random, 16, 1, "all blocks are freed in random order"},
	{"free-order", free_in_order, 16, 1, "the same, in address order"},
	{"free-turn", free_in_turn, 16, 1, "the same, every second one first"},
	{"churn", churn, 64, 1, "a random block is freed and another taken"},
	{"resize", resize_at_random, 64, 1, "blocks grow and shrink at random"},
};

static void pattern_run(const struct pattern *pattern, size_t all)
{
	count = all / pattern->share;
	clock_measure();
	for (int run = 0; run < RUNS; run++) {
		calls.is_first_run = run == 0;
		calls.count = 0;
		random_state = 1;
		mems_init();
		mems_free(mems_malloc(1)); /* the start of the heap is measured elsewhere */
		pattern->run(pattern->granules);
		mems_finish();
	}
}

static void slowest_print(void)
{
	float most[KINDS] = {0, 0, 0, 0};

	for (size_t i = 0; i < calls.count; i++)
		if (calls.least[i] > most[calls.kinds[i]])
			most[calls.kinds[i]] = calls.least[i];
	printf("%.1f %.1f %.1f\n", (double)most[MALLOC] / 1000, (double)most[FREE] / 1000,
		(double)most[REALLOC] / 1000);
}

static void *array_new(size_t length, size_t size)
{
	void *array = calloc(length, size);

	if (array == NULL)
		fail("slowest: calloc");
	return array;
}

/* Room for the calls of every pattern. */
static void arrays_prepare(size_t all)
{
	calls.room = 6 * all + 10000;
	calls.least = array_new(calls.room, sizeof *calls.least);
	calls.kinds = array_new(calls.room, sizeof *calls.kinds);
	blocks = array_new(all, sizeof *blocks);
	others = array_new(all, sizeof *others);
}

int main(int argc, char **argv)
{
	size_t length = sizeof patterns / sizeof *patterns;

	if (argc == 1) {
		for (size_t i = 0; i < length; i++)
			printf("%s %s\n", patterns[i].name, patterns[i].what);
		return EXIT_SUCCESS;
	}
	for (size_t i = 0; i < length && argc == 4; i++) {
		if (strcmp(argv[1], patterns[i].name) != 0)
			continue;
		arrays_prepare(strtoul(argv[2], NULL, 10));
		mems_option(MEMS_POLICY,
			strcmp(argv[3], "quick") == 0 ? MEMS_QUICK_FIT : MEMS_FIRST_FIT);
		pattern_run(&patterns[i], strtoul(argv[2], NULL, 10));
		slowest_print();
		return EXIT_SUCCESS;
	}
	fprintf(stderr, "usage: slowest [PATTERN BLOCKS first|quick]\n");
	return EXIT_FAILURE;
}
