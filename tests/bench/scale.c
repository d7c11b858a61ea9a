/*
 * A pattern of calls on a heap with a given number of live blocks, for scale.sh to measure:
 *
 *   scale                               lists the patterns: name, most live blocks, description
 *   scale PATTERN LIVE CALLS ROUNDS     prints the calls of a round, and the nanoseconds per
 *                                       call of the fastest round
 *
 * The calls that count go through the functions measured_..., and no others do: a profiler that
 * collects in these alone sees neither the preparation nor the loops around the calls.
 */
#define _POSIX_C_SOURCE 200809L

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "mems.h"

enum { GRANULE = 8 }; /* bytes, the default alignment */

static void **blocks; /* virtual addresses of the live blocks */
static size_t live;   /* how many there are */
static uint64_t random_state = 1;

/* ---- What is measured ------------------------------------------------------------------------ */

__attribute__((noinline)) static void *measured_malloc(size_t size)
{
	void *v_ptr = mems_malloc(size);

	if (v_ptr == NULL)
		abort();
	return v_ptr;
}

__attribute__((noinline)) static void measured_free(void *v_ptr)
{
	mems_free(v_ptr);
}

__attribute__((noinline)) static void *measured_get(void *v_ptr)
{
	return mems_get(v_ptr);
}

/* ---- Helpers --------------------------------------------------------------------------------- */

static uint32_t random_next(void)
{
	random_state = random_state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
	return (uint32_t)(random_state >> 32);
}

/* A number from first to last, the span being less than 2^32. */
static size_t random_between(size_t first, size_t last)
{
	return first + (size_t)((random_next() * (uint64_t)(last - first + 1)) >> 32);
}

static void *take(size_t size)
{
	void *v_ptr = mems_malloc(size);

	if (v_ptr == NULL) {
		perror("scale: mems_malloc");
		exit(EXIT_FAILURE);
	}
	return v_ptr;
}

/* ---- Churn: a random block is freed and another of a random size is taken -------------------- */

enum sizes { SMALL, LARGE, BORDERS };

/* A random size of that kind. Borders are the sizes at which a narrow field would overflow. */
static size_t pick(size_t kind)
{
	static const size_t granules[] = {126, 127, 128, 129, 254, 255, 256, 257};

	switch (kind) {
	case SMALL: return random_between(1, 512);
	case LARGE: return GRANULE * random_between(257, 768);
	default: return GRANULE * granules[random_between(0, sizeof granules / sizeof *granules - 1)];
	}
}

static void churn_prepare(size_t kind)
{
	for (size_t i = 0; i < live; i++)
		blocks[i] = take(pick(kind));
	for (size_t i = 0; i < live; i++) {
		size_t victim = random_between(0, live - 1);

		mems_free(blocks[victim]);
		blocks[victim] = take(pick(kind));
	}
}

/* The next victim is fetched while the present one is at work, so that the time is that of the
 * heap and not that of reaching into a large array. */
static size_t churn_round(size_t calls, size_t kind)
{
	size_t victim = random_between(0, live - 1);

	for (size_t i = 0; i < calls / 2; i++) {
		size_t next = random_between(0, live - 1);

		__builtin_prefetch(&blocks[next]);
		measured_free(blocks[victim]);
		blocks[victim] = measured_malloc(pick(kind));
		victim = next;
	}
	return calls / 2 * 2;
}

/* ---- Holes that are one granule too small ---------------------------------------------------- */

/* As many holes of that many granules as live blocks, in turn. */
static void holes_prepare(size_t granules)
{
	void **holes = malloc(live * sizeof *holes);

	if (holes == NULL)
		abort();
	for (size_t i = 0; i < live; i++) {
		holes[i] = take(granules * GRANULE);
		blocks[i] = take(1);
	}
	for (size_t i = 0; i < live; i++)
		mems_free(holes[i]); /* NOLINT(clang-analyzer-core.CallAndMessage): live stays as it is */
	free(holes);
}

/* None of the holes is large enough. */
static size_t worst_round(size_t calls, size_t granules)
{
	for (size_t i = 0; i < calls / 2; i++)
		measured_free(measured_malloc((granules + 1) * GRANULE));
	return calls / 2 * 2;
}

/* None of the holes is large enough, then the first one is, so that the far end and the near end
 * are asked for in turn. */
static size_t far_round(size_t calls, size_t granules)
{
	for (size_t i = 0; i < calls / 4; i++) {
		void *far = measured_malloc((granules + 1) * GRANULE);
		void *near = measured_malloc(granules * GRANULE);

		measured_free(near);
		measured_free(far);
	}
	return calls / 4 * 4;
}

/* ---- Translation ----------------------------------------------------------------------------- */

/* Puts the first count blocks in random order, so that a walk through the array, which the machine
 * foresees, is a random walk through the heap. */
static void blocks_shuffle(size_t count)
{
	for (size_t i = count; i > 1; i--) {
		size_t other = random_between(0, i - 1);
		void *v_ptr = blocks[i - 1];

		blocks[i - 1] = blocks[other];
		blocks[other] = v_ptr;
	}
}

static void get_prepare(size_t unused)
{
	(void)unused;
	for (size_t i = 0; i < live; i++)
		blocks[i] = take(random_between(257, 512));
	blocks_shuffle(live);
}

/* Half of the blocks are freed, and those are asked for. */
static void stale_prepare(size_t unused)
{
	get_prepare(unused);
	for (size_t i = 0; i < live / 2; i++)
		mems_free(blocks[i]);
}

static size_t get_round(size_t calls, size_t offset)
{
	for (size_t i = 0; i < calls; i++)
		if (measured_get((void *)((uintptr_t)blocks[i % live] + offset)) == NULL)
			abort();
	return calls;
}

static size_t stale_round(size_t calls, size_t unused)
{
	(void)unused;
	for (size_t i = 0; i < calls; i++)
		if (measured_get(blocks[i % (live / 2)]) != NULL)
			abort();
	return calls;
}

/* ---- The patterns ---------------------------------------------------------------------------- */

struct pattern {
	const char *name;
	size_t most_live; /* more would not fit in every machine */
	void (*prepare)(size_t parameter);
	size_t (*round)(size_t calls, size_t parameter); /* returns the calls it made */
	size_t parameter;
	const char *what;
};

static const struct pattern patterns[] = {
	{"churn", 10000000, churn_prepare, churn_round, SMALL,
	 "free and malloc at random, 1 to 512 bytes"},
	{"churn-large", 1000000, churn_prepare, churn_round, LARGE, "the same, 2056 to 6144 bytes"},
	{"churn-borders", 1000000, churn_prepare, churn_round, BORDERS,
	 "the same, sizes around 127 and 255 granules"},
	{"worst-1", 10000000, holes_prepare, worst_round, 1, "every hole one granule too small: 1"},
	{"worst-2", 10000000, holes_prepare, worst_round, 2, "the same: 2 granules"},
	{"worst-63", 1000000, holes_prepare, worst_round, 63, "the same: 63 granules"},
	{"worst-126", 1000000, holes_prepare, worst_round, 126, "the same: 126 granules"},
	{"worst-127", 1000000, holes_prepare, worst_round, 127, "the same: 127 granules"},
	{"worst-254", 1000000, holes_prepare, worst_round, 254, "the same: 254 granules"},
	{"worst-255", 1000000, holes_prepare, worst_round, 255, "the same: 255 granules"},
	{"worst-1000", 1000000, holes_prepare, worst_round, 1000, "the same: 1000 granules"},
	{"far-near", 10000000, holes_prepare, far_round, 2, "the far end and the first hole in turn"},
	{"get-start", 10000000, get_prepare, get_round, 0, "mems_get of the start of a block"},
	{"get-inside", 10000000, get_prepare, get_round, 200, "mems_get of a byte inside a block"},
	{"get-stale", 10000000, stale_prepare, stale_round, 0, "mems_get of a freed block"},
};

static double seconds_now(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

static int pattern_run(const struct pattern *pattern, size_t calls, size_t rounds)
{
	double fastest = 0;
	size_t made = 0;

	blocks = malloc(live * sizeof *blocks);
	if (blocks == NULL)
		abort();
	mems_init();
	pattern->prepare(pattern->parameter);
	for (size_t i = 0; i < rounds; i++) {
		double start = seconds_now();
		double took;

		made = pattern->round(calls, pattern->parameter);
		took = seconds_now() - start;
		fastest = i == 0 || took < fastest ? took : fastest;
	}
	printf("%zu %.1f\n", made, fastest * 1e9 / (double)made);
	mems_finish();
	free(blocks);
	return EXIT_SUCCESS;
}

int main(int argc, char **argv)
{
	size_t count = sizeof patterns / sizeof *patterns;

	if (argc == 1)
		for (size_t i = 0; i < count; i++)
			printf("%s %zu %s\n", patterns[i].name, patterns[i].most_live, patterns[i].what);
	for (size_t i = 0; i < count && argc == 5; i++) {
		if (strcmp(argv[1], patterns[i].name) != 0)
			continue;
		live = strtoul(argv[2], NULL, 10);
		if (live < 2)
			break;
		return pattern_run(&patterns[i], strtoul(argv[3], NULL, 10), strtoul(argv[4], NULL, 10));
	}
	if (argc != 1)
		fprintf(stderr, "usage: scale [PATTERN LIVE CALLS ROUNDS]\n");
	return argc == 1 ? EXIT_SUCCESS : EXIT_FAILURE;
}
