/*
 * tests/bench/memory.c: what comes from the OS, goes back to it, and is copied. Called by bench.c.
 *
 *     fill MIB        rounds that fill so much with blocks of 4 KiB, write them and free them
 *     frees BLOCKS    so many of 128 bytes, written, are freed in random order
 *     grow KIB        one block grows to 128 MiB in steps of so many KiB and is written
 *     buffer BYTES    one block grows to 64 MiB in steps of so many bytes and is not written
 *     rising PAGES    a block of 1 page, of 2, and so on is taken and freed
 *
 * Figures: fill-time (ns a call of the fastest round), fill-faults (page faults of the worst round
 * from the third on); frees-time (ns a free), frees-left (percent of what was resident that still
 * is); grow-time (ms), grow-peak (most resident over 128 MiB); buffer and rising: address space that
 * was mapped over the largest block (of MeMS what its nodes hold: the reservation is not mapped).
 */
#define _GNU_SOURCE
#include "bench.h"

#include <string.h>

#define GROWN (128 * MIB)
#define BUFFER (64 * MIB)
#define FILL_ROUNDS 6
#define FREED_SIZE ((size_t)128)

/* ---- Filling and freeing --------------------------------------------------------------------- */

static void fill_prepare(struct job *job)
{
	number_prepare(job);
	job->table_count = job->number * MIB / PAGE_BYTES;
	job->table = pages_map(job->table_count * sizeof *job->table);
}

static ALWAYS_INLINE void fill_round(const struct allocator *allocator, struct job *job)
{
	for (size_t i = 0; i < job->table_count; i++) {
		job->table[i] = allocator->take(PAGE_BYTES);
		check_blocks(job->table[i] == NULL);
		*(volatile char *)allocator->bytes(job->table[i]) = 1;
	}
	for (size_t i = 0; i < job->table_count; i++)
		allocator->give(job->table[i]);
}

static ALWAYS_INLINE double fill(const struct allocator *allocator, struct job *job)
{
	size_t calls = 2 * job->table_count;
	double fastest = 0;
	size_t most = 0;

	heap_begin(job);
	for (int round = 0; round < FILL_ROUNDS; round++) {
		size_t faults = faults_now();
		double start = now();
		double time;

		fill_round(allocator, job);
		time = now() - start;
		faults = faults_now() - faults;
		fastest = round == 0 || time < fastest ? time : fastest;
		if (round >= 2 && faults > most)
			most = faults;
	}
	row_print(job, "fill-time", calls, fastest / (double)calls, fastest / (double)calls);
	row_print(job, "fill-faults", calls, (double)most, (double)most);
	return 0;
}

static void table_shuffle(struct job *job)
{
	uint64_t random = 1;

	for (size_t i = job->number; i > 1; i--) {
		size_t other = random_below(&random, i);
		void *block = job->table[i - 1];

		job->table[i - 1] = job->table[other];
		job->table[other] = block;
	}
}

static ALWAYS_INLINE double frees(const struct allocator *allocator, struct job *job)
{
	size_t before = resident_bytes();
	size_t full;
	double left;
	double time;

	heap_begin(job);
	for (size_t i = 0; i < job->number; i++) {
		job->table[i] = allocator->take(FREED_SIZE);
		check_blocks(job->table[i] == NULL);
		memset(allocator->bytes(job->table[i]), 1, FREED_SIZE);
	}
	table_shuffle(job);
	full = resident_bytes() - before;
	time = now();
	for (size_t i = 0; i < job->number; i++)
		allocator->give(job->table[i]);
	time = (now() - time) / (double)job->number;
	left = 100 * (double)(resident_bytes() - before) / (double)full;
	row_print(job, "frees-time", job->number, time, time);
	row_print(job, "frees-left", job->number, left, left);
	return 0;
}

/* ---- One block that grows -------------------------------------------------------------------- */

/* Grows a block to the limit in such steps; returns how many. */
static ALWAYS_INLINE size_t block_grow(const struct allocator *allocator, size_t step,
	size_t limit, bool is_written)
{
	void *block = NULL;
	size_t steps = 0;

	for (size_t size = step; size <= limit; size += step) {
		block = allocator->resize(block, size);
		check_blocks(block == NULL);
		if (is_written)
			memset((char *)allocator->bytes(block) + size - step, 1, step);
		steps++;
	}
	allocator->give(block);
	return steps;
}

static ALWAYS_INLINE double grow(const struct allocator *allocator, struct job *job)
{
	size_t high = high_water_reset();
	double peak;
	double time;
	size_t steps;

	heap_begin(job);
	time = now();
	steps = block_grow(allocator, job->number * 1024, GROWN, true);
	time = (now() - time) / 1e6;
	peak = (double)(high_water_bytes() - high) / (double)GROWN;
	row_print(job, "grow-time", steps, time, time);
	row_print(job, "grow-peak", steps, peak, peak);
	return 0;
}

/* Address space that the allocator has had at most. */
static size_t mapped_bytes(const struct job *job)
{
	struct mems_stats stats;

	if (!job->is_mems)
		return proc_bytes("/proc/self/status", "\nVmPeak:");
	mems_get_stats(&stats);
	return stats.peak_mapped_bytes;
}

static ALWAYS_INLINE double buffer(const struct allocator *allocator, struct job *job)
{
	size_t before;
	size_t steps;
	double ratio;

	heap_begin(job);
	before = mapped_bytes(job);
	steps = block_grow(allocator, job->number, BUFFER, false);
	ratio = (double)(mapped_bytes(job) - before) / (double)BUFFER;
	row_print(job, "buffer", steps, ratio, ratio);
	return 0;
}

static ALWAYS_INLINE double rising(const struct allocator *allocator, struct job *job)
{
	size_t before;
	double ratio;

	heap_begin(job);
	before = mapped_bytes(job);
	for (size_t i = 1; i <= job->number; i++) {
		void *block = allocator->take(i * PAGE_BYTES);

		check_blocks(block == NULL);
		allocator->give(block);
	}
	ratio = (double)(mapped_bytes(job) - before) / (double)(job->number * PAGE_BYTES);
	row_print(job, "rising", 2 * job->number, ratio, ratio);
	return 0;
}

DEFINE_BY_ALL(fill)
DEFINE_BY_ALL(frees)
DEFINE_BY_ALL(grow)
DEFINE_BY_ALL(buffer)
DEFINE_BY_ALL(rising)

const struct work memory_works[] = {
	{"fill", fill_prepare, BY_BOTH(fill), true, true},
	{"frees", number_prepare, BY_BOTH(frees), true, true},
	{"grow", number_prepare, BY_BOTH(grow), true, true},
	{"buffer", number_prepare, BY_BOTH(buffer), true, true},
	{"rising", number_prepare, BY_BOTH(rising), true, true},
	{NULL, NULL, {NULL, NULL, NULL}, false, false},
};
