/*
 * tests/bench/start.c: what a small program pays for its allocator. Called by bench.c, each time in
 * a new process.
 *
 *     start BYTES    the first block of the program, the allocator's own start included
 *     idle BYTES     a block is taken and freed, and that is all
 *
 * Figures: start-time (us), start-faults (page faults, those of the allocator's code included),
 * idle (KiB of anonymous memory that became resident). Allocators that LD_PRELOAD brings have
 * started before main, so theirs are too low.
 */
#define _GNU_SOURCE
#include "bench.h"

static ALWAYS_INLINE double start(const struct allocator *allocator, struct job *job)
{
	size_t size = job->number;
	size_t faults;
	double began;
	double time;

	faults_now(); /* its own first faults, and the clock's */
	now();
	faults = faults_now();
	began = now();
	heap_begin(job);
	check_blocks(allocator->take(size) == NULL);
	time = (now() - began) / 1000;
	faults = faults_now() - faults;
	row_print(job, "start-time", 1, time, time);
	row_print(job, "start-faults", 1, (double)faults, (double)faults);
	return 0;
}

static ALWAYS_INLINE double idle(const struct allocator *allocator, struct job *job)
{
	size_t before;
	void *block;
	double kib;

	resident_bytes(); /* brings its own pages in */
	before = resident_bytes();
	heap_begin(job);
	block = allocator->take(job->number);
	check_blocks(block == NULL);
	allocator->give(block);
	kib = (double)(resident_bytes() - before) / 1024;
	row_print(job, "idle", 1, kib, kib);
	return 0;
}

DEFINE_BY_ALL(start)
DEFINE_BY_ALL(idle)

const struct work start_works[] = {
	{"start", number_prepare, BY_BOTH(start), true, true},
	{"idle", number_prepare, BY_BOTH(idle), true, true},
	{NULL, NULL, {NULL, NULL, NULL}, false, false},
};
