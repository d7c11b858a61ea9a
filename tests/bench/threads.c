/*
 * tests/bench/threads.c: several threads at once. Called by bench.c.
 *
 *     own THREADS       each as churn, with 1,000 live blocks of 16 to 512 bytes of its own
 *     pairs THREADS     in pairs: one takes blocks of 16 to 512 bytes, the other one frees them
 *     mixed THREADS     as own, blocks of 32 bytes that lie in turn: one of each thread, and again
 *     beside THREADS    mems_get of random bytes in 1,000 blocks that nobody changes, while so many
 *                       other threads do what those of own do
 *
 * The figure best is processor time of the threads over their calls, the least of the passes; first
 * is the time on the wall over the same calls (of pairs, with what they wait for one another). Of
 * beside both are processor time, first without the other threads.
 */
#define _GNU_SOURCE
#include "bench.h"

#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <string.h>

#define CALLS ((size_t)1000000)       /* of all threads in a pass, about */
#define THREAD_BLOCKS ((size_t)1000)  /* live ones of each thread */
#define MIXED_SIZE ((size_t)32)
#define LOOKUPS ((size_t)65536)

/* Two batches of blocks, so that one is freed while the other one is taken. */
struct exchange {
	void *blocks[2][THREAD_BLOCKS];
	sem_t empty;
	sem_t full;
};

/* What one of the threads does. */
struct share {
	void **table; /* of THREAD_BLOCKS */
	struct exchange *exchange;
	pthread_barrier_t *gate; /* all begin at once */
	atomic_bool *is_over;    /* where there is no number of rounds */
	size_t rounds;
	size_t least; /* bytes */
	size_t most;
	uint64_t random;
	bool is_taking;
	bool has_failed;
	size_t calls; /* results: how many calls, and their nanoseconds of processor time */
	double time;
	double began; /* on the wall */
	double ended;
	pthread_t thread;
};

static void threads_prepare(struct job *job)
{
	number_prepare(job);
	job->table_count = job->number * THREAD_BLOCKS;
	job->table = pages_map(job->table_count * sizeof *job->table);
}

/* ---- What a thread does ---------------------------------------------------------------------- */

/* Frees a random block and takes another, so many times. */
static ALWAYS_INLINE void share_churn(const struct allocator *allocator, struct share *share,
	size_t rounds)
{
	for (size_t i = 0; i < rounds; i++) {
		void **block = &share->table[random_below(&share->random, THREAD_BLOCKS)];

		allocator->give(*block);
		*block = allocator->take(random_size(&share->random, share->least, share->most));
		share->has_failed |= *block == NULL;
	}
	share->calls += 2 * rounds;
}

static void gate_pass(struct share *share)
{
	pthread_barrier_wait(share->gate);
	share->began = wall_now();
}

/* The blocks are there already. */
static ALWAYS_INLINE void *churn_body(const struct allocator *allocator, struct share *share)
{
	double start;

	gate_pass(share);
	start = now();
	share_churn(allocator, share, share->rounds);
	share->time = now() - start;
	share->ended = wall_now();
	return NULL;
}

/* Until another thread says that it is over. */
static ALWAYS_INLINE void *restless_body(const struct allocator *allocator, struct share *share)
{
	gate_pass(share);
	while (!atomic_load_explicit(share->is_over, memory_order_relaxed))
		share_churn(allocator, share, 100);
	return NULL;
}

static ALWAYS_INLINE void batch_do(const struct allocator *allocator, struct share *share,
	void **blocks)
{
	double start = now();

	for (size_t i = 0; i < THREAD_BLOCKS; i++)
		if (share->is_taking) {
			blocks[i] = allocator->take(random_size(&share->random, share->least, share->most));
			share->has_failed |= blocks[i] == NULL;
		} else {
			allocator->give(blocks[i]);
		}
	share->time += now() - start;
	share->calls += THREAD_BLOCKS;
}

static ALWAYS_INLINE void *pair_body(const struct allocator *allocator, struct share *share)
{
	struct exchange *exchange = share->exchange;

	gate_pass(share);
	for (size_t i = 0; i < share->rounds; i++) {
		while (sem_wait(share->is_taking ? &exchange->empty : &exchange->full) != 0)
			;
		batch_do(allocator, share, exchange->blocks[i % 2]);
		sem_post(share->is_taking ? &exchange->full : &exchange->empty);
	}
	share->ended = wall_now();
	return NULL;
}

typedef void *thread_body(void *share);

/* Compiles a body once for each allocator; NAME_bodies has one for each kind. */
#define DEFINE_BODIES(name) \
	static void *name##_of_mems(void *share) { return name(&with_mems, share); } \
	static void *name##_of_malloc(void *share) { return name(&with_malloc, share); } \
	static void *name##_of_none(void *share) { return name(&with_none, share); } \
	static thread_body *const name##_bodies[] = {name##_of_mems, name##_of_malloc, name##_of_none};

DEFINE_BODIES(churn_body)
DEFINE_BODIES(restless_body)
DEFINE_BODIES(pair_body)

/* ---- All threads ----------------------------------------------------------------------------- */

static struct share *shares_new(const struct job *job, size_t least, size_t most)
{
	struct share *shares = pages_map(job->number * sizeof *shares);

	for (size_t i = 0; i < job->number; i++)
		shares[i] = (struct share){.table = job->table + i * THREAD_BLOCKS, .least = least,
			.most = most, .rounds = CALLS / 2 / job->number, .random = i + 1};
	return shares;
}

/* Block by block, one for each thread in turn. */
static ALWAYS_INLINE void blocks_take(const struct allocator *allocator, struct share *shares,
	size_t count)
{
	for (size_t block = 0; block < THREAD_BLOCKS; block++)
		for (size_t i = 0; i < count; i++) {
			struct share *share = &shares[i];

			share->table[block] =
				allocator->take(random_size(&share->random, share->least, share->most));
			check_blocks(share->table[block] == NULL);
		}
}

static ALWAYS_INLINE void blocks_give(const struct allocator *allocator, const struct job *job)
{
	for (size_t i = 0; i < job->table_count; i++)
		allocator->give(job->table[i]);
}

/* The calling thread passes the gate last. */
static void threads_start(struct share *shares, size_t count, thread_body *body,
	pthread_barrier_t *gate)
{
	pthread_barrier_init(gate, NULL, (unsigned)count + 1);
	for (size_t i = 0; i < count; i++) {
		shares[i].gate = gate;
		if (pthread_create(&shares[i].thread, NULL, body, &shares[i]) != 0)
			fail("no thread");
	}
	pthread_barrier_wait(gate);
}

static void threads_join(struct share *shares, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		pthread_join(shares[i].thread, NULL);
		check_blocks(shares[i].has_failed);
	}
}

struct times {
	size_t calls;
	double wall; /* nanoseconds a call */
	double processor;
};

static struct times threads_time(struct share *shares, size_t count, thread_body *body)
{
	struct times times = {0, 0, 0};
	pthread_barrier_t gate;
	double began = 0;
	double ended = 0;

	threads_start(shares, count, body, &gate);
	threads_join(shares, count);
	for (size_t i = 0; i < count; i++) {
		times.calls += shares[i].calls;
		times.processor += shares[i].time;
		began = i == 0 || shares[i].began < began ? shares[i].began : began;
		ended = shares[i].ended > ended ? shares[i].ended : ended;
	}
	times.wall = (ended - began) / (double)times.calls;
	times.processor /= (double)times.calls;
	pthread_barrier_destroy(&gate);
	return times;
}

static void times_least(struct times *least, const struct times *times, bool is_first)
{
	least->calls = times->calls;
	if (is_first || times->wall < least->wall)
		least->wall = times->wall;
	if (is_first || times->processor < least->processor)
		least->processor = times->processor;
}

/* ---- The works ------------------------------------------------------------------------------- */

static ALWAYS_INLINE double churn_measure(const struct allocator *allocator, struct job *job,
	size_t least, size_t most)
{
	struct times best = {0, 0, 0};

	heap_begin(job);
	for (unsigned pass = 0; pass < job->passes; pass++) {
		struct share *shares = shares_new(job, least, most);
		struct times times;

		blocks_take(allocator, shares, job->number);
		times = threads_time(shares, job->number, churn_body_bodies[allocator->kind]);
		times_least(&best, &times, pass == 0);
		blocks_give(allocator, job);
	}
	row_print(job, job->work->name, best.calls, best.wall, best.processor);
	return 0;
}

static ALWAYS_INLINE double own(const struct allocator *allocator, struct job *job)
{
	return churn_measure(allocator, job, 16, 512);
}

static ALWAYS_INLINE double mixed(const struct allocator *allocator, struct job *job)
{
	return churn_measure(allocator, job, MIXED_SIZE, MIXED_SIZE);
}

static struct share *pair_shares_new(const struct job *job, struct exchange *exchanges)
{
	struct share *shares = shares_new(job, 16, 512);

	for (size_t i = 0; i < job->number; i++) {
		struct exchange *exchange = &exchanges[i / 2];

		shares[i].rounds = CALLS / job->number / THREAD_BLOCKS;
		shares[i].exchange = exchange;
		shares[i].is_taking = i % 2 == 0;
		sem_init(&exchange->empty, 0, 2);
		sem_init(&exchange->full, 0, 0);
	}
	return shares;
}

static ALWAYS_INLINE double pairs(const struct allocator *allocator, struct job *job)
{
	struct exchange *exchanges = pages_map((job->number + 1) / 2 * sizeof *exchanges);
	struct times best = {0, 0, 0};

	if (job->number % 2 != 0)
		fail("pairs are of two threads");
	heap_begin(job);
	for (unsigned pass = 0; pass < job->passes; pass++) {
		struct share *shares = pair_shares_new(job, exchanges);
		struct times times = threads_time(shares, job->number, pair_body_bodies[allocator->kind]);

		times_least(&best, &times, pass == 0);
	}
	row_print(job, job->work->name, best.calls, best.wall, best.processor);
	return 0;
}

/* ---- Translation while others allocate ------------------------------------------------------- */

/* Random bytes of blocks that stay as they are. */
static const void **addresses_new(void)
{
	const void **addresses = pages_map(LOOKUPS * sizeof *addresses);
	void *blocks[THREAD_BLOCKS];
	uint64_t random = 5;

	for (size_t i = 0; i < THREAD_BLOCKS; i++) {
		blocks[i] = mems_calloc(1, random_size(&random, 16, 1000));
		check_blocks(blocks[i] == NULL);
	}
	for (size_t i = 0; i < LOOKUPS; i++) {
		const char *start = blocks[random_below(&random, THREAD_BLOCKS)];

		addresses[i] = start + random_below(&random, mems_usable_size(start));
	}
	return addresses;
}

/* Nanoseconds of processor time a mems_get, in the fastest of the passes. */
static double gets_time(const void **addresses, unsigned passes)
{
	double fastest = 0;

	for (unsigned pass = 0; pass < passes; pass++) {
		volatile unsigned keep;
		unsigned sum = 0;
		double time = now();

		for (size_t round = 0; round < 10; round++)
			for (size_t i = 0; i < LOOKUPS; i++)
				sum += *(const unsigned char *)mems_get(addresses[i]);
		time = (now() - time) / (10 * (double)LOOKUPS);
		keep = sum;
		(void)keep;
		fastest = pass == 0 || time < fastest ? time : fastest;
	}
	return fastest;
}

static double beside(struct job *job)
{
	struct share *shares = shares_new(job, 16, 512);
	atomic_bool is_over = false;
	pthread_barrier_t gate;
	const void **addresses;
	double alone;
	double with_others;

	heap_begin(job);
	addresses = addresses_new();
	check_blocks(mems_malloc(64 * 1024) == NULL); /* no leaf is shared with what comes behind */
	blocks_take(&with_mems, shares, job->number);
	alone = gets_time(addresses, 2 * job->passes);
	for (size_t i = 0; i < job->number; i++)
		shares[i].is_over = &is_over;
	threads_start(shares, job->number, restless_body_bodies[OF_MEMS], &gate);
	with_others = gets_time(addresses, 2 * job->passes);
	atomic_store(&is_over, true);
	threads_join(shares, job->number);
	row_print(job, job->work->name, LOOKUPS, alone, with_others);
	return 0;
}

DEFINE_BY_ALL(own)
DEFINE_BY_ALL(mixed)
DEFINE_BY_ALL(pairs)

const struct work thread_works[] = {
	{"own", threads_prepare, BY_ALL(own), true, false},
	{"pairs", threads_prepare, BY_ALL(pairs), true, false},
	{"mixed", threads_prepare, BY_ALL(mixed), true, false},
	{"beside", threads_prepare, BY_MEMS(beside), true, false},
	{NULL, NULL, {NULL, NULL, NULL}, false, false},
};
