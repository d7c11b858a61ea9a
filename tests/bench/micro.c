/*
 * tests/bench/micro.c: small patterns of calls, each pass about a million. Called by bench.c.
 *
 *     pair BYTES            allocate and free, one block
 *     lifo, fifo BLOCKS     allocate so many of 16 to 512 bytes, free them backwards or forwards
 *     churn BLOCKS          with so many live of 16 to 1,024 bytes, free a random one and allocate
 *                           another
 *     growth BLOCKS         64 bytes each in new memory, the first byte written, none freed
 *     pages PAGES           the same, blocks of a page, in a heap that holds one small block
 */
#include "bench.h"


#define CALLS ((size_t)1000000) /* of a pass, about */

static ALWAYS_INLINE double pair(const struct allocator *allocator, struct job *job)
{
	size_t size = job->number;
	bool has_failed = false;
	double start = now();

	for (size_t i = 0; i < CALLS / 2; i++) {
		void *block = allocator->take(size);

		has_failed |= block == NULL;
		allocator->give(block);
	}
	job->count = CALLS / 2 * 2;
	check_blocks(has_failed);
	return now() - start;
}

static ALWAYS_INLINE double batches(const struct allocator *allocator, struct job *job,
	bool is_forwards)
{
	size_t rounds = CALLS / 2 / job->number + 1;
	bool has_failed = false;
	uint64_t random = 1;
	double start = now();

	for (size_t round = 0; round < rounds; round++) {
		for (size_t i = 0; i < job->number; i++) {
			job->table[i] = allocator->take(random_size(&random, 16, 512));
			has_failed |= job->table[i] == NULL;
		}
		for (size_t i = 0; i < job->number; i++)
			allocator->give(job->table[is_forwards ? i : job->number - 1 - i]);
	}
	job->count = 2 * rounds * job->number;
	check_blocks(has_failed);
	return now() - start;
}

static ALWAYS_INLINE double lifo(const struct allocator *allocator, struct job *job)
{
	return batches(allocator, job, false);
}

static ALWAYS_INLINE double fifo(const struct allocator *allocator, struct job *job)
{
	return batches(allocator, job, true);
}

static ALWAYS_INLINE double churn(const struct allocator *allocator, struct job *job)
{
	bool has_failed = false;
	uint64_t random = 1;
	double start;
	double time;

	for (size_t i = 0; i < job->number; i++)
		job->table[i] = allocator->take(random_size(&random, 16, 1024));
	start = now();
	for (size_t i = 0; i < CALLS; i++) {
		void **block = &job->table[random_below(&random, job->number)];

		allocator->give(*block);
		*block = allocator->take(random_size(&random, 16, 1024));
		has_failed |= *block == NULL;
	}
	time = now() - start;
	job->count = 2 * CALLS;
	check_blocks(has_failed);
	for (size_t i = 0; i < job->number; i++)
		allocator->give(job->table[i]);
	return time;
}

/* New blocks of one size, the first byte of each written. */
static ALWAYS_INLINE double blocks_add(const struct allocator *allocator, struct job *job,
	size_t size)
{
	bool has_failed = false;
	double start = now();

	for (size_t i = 0; i < job->number; i++) {
		void *block = allocator->take(size);
		volatile char *bytes = allocator->bytes(block);

		if (bytes != NULL)
			*bytes = 1;
		else
			has_failed = true;
		job->table[i] = block;
	}
	job->count = job->number;
	check_blocks(has_failed);
	return now() - start;
}

static ALWAYS_INLINE double growth(const struct allocator *allocator, struct job *job)
{
	return blocks_add(allocator, job, 64);
}

/* What starts the allocator is not what is asked for. */
static ALWAYS_INLINE double pages(const struct allocator *allocator, struct job *job)
{
	double time;

	heap_begin(job);
	check_blocks(allocator->take(100) == NULL);
	time = blocks_add(allocator, job, PAGE_BYTES);
	row_print(job, job->work->name, job->count, time / 1000, time / 1000);
	return time;
}

DEFINE_BY_ALL(pair)
DEFINE_BY_ALL(lifo)
DEFINE_BY_ALL(fifo)
DEFINE_BY_ALL(churn)
DEFINE_BY_ALL(growth)
DEFINE_BY_ALL(pages)

const struct work micro_works[] = {
	{"pair", number_prepare, BY_ALL(pair), false, false},
	{"lifo", number_prepare, BY_ALL(lifo), false, false},
	{"fifo", number_prepare, BY_ALL(fifo), false, false},
	{"churn", number_prepare, BY_ALL(churn), false, false},
	{"growth", number_prepare, BY_ALL(growth), false, true},
	{"pages", number_prepare, BY_BOTH(pages), true, true},
	{NULL, NULL, {NULL, NULL, NULL}, false, false},
};
