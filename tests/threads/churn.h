/*
 * Threads that allocate, write, check, hand blocks to each other and free them all the time: for
 * test_threads and the stress. What is not as it should be is printed and counted.
 */
#ifndef CHURN_H
#define CHURN_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CHURN_THREADS 16
#define CHURN_SLOTS 64
#define CHURN_MAILBOXES 32
#define CHURN_ROUND 64 /* steps of a thread: a call of MeMS or more, or a block handed on */
#define CHURN_FOR_EVER SIZE_MAX

/* Whether a condition holds, from whatever thread; if not, that is printed and counted. */
#define expect(condition) expect_at(condition, #condition, __FILE__, __LINE__)

extern _Atomic size_t expect_failures;

bool expect_at(bool is_met, const char *condition, const char *file, int line);

struct churn;

struct churner {
	pthread_t thread;
	struct churn *churn;
	uint64_t random;
	size_t calls;                /* of MeMS, a look at a block counted as one; valid when joined */
	uintptr_t slots[CHURN_SLOTS]; /* its blocks; 0 for none */
};

struct churn {
	size_t calls_each;           /* how many each thread makes, more or less; or CHURN_FOR_EVER */
	unsigned small_only;         /* blocks of at most so many bytes; 0: of all sizes */
	_Atomic bool must_stop;
	_Atomic size_t rounds;       /* that the threads made so far, counted now and then */
	unsigned count;
	struct churner churners[CHURN_THREADS];
	_Atomic uintptr_t mailboxes[CHURN_MAILBOXES]; /* blocks on their way to any thread; or 0 */
};

/* What the threads hold and did. */
struct churn_totals {
	size_t blocks, bytes, calls;
};

/* A block with contents by which it is known, and that tell its size. */
uintptr_t churn_block_take(size_t size, uint32_t tag);
void churn_block_fill(uintptr_t address, size_t size, uint32_t tag);
bool churn_block_is_intact(uintptr_t address);
size_t churn_block_size(uintptr_t address);

/* All that translation says about a live block of so many bytes, with one byte of it at offset. */
bool churn_block_is_translated(uintptr_t address, size_t size, size_t offset);

/* Starts so many threads, on a churn that is all zeros but for the first two fields. */
void churn_start(struct churn *churn, unsigned count, uint64_t seed);

/* Waits until each has made its calls; or ends them now. Their blocks stay. */
void churn_join(struct churn *churn);
void churn_stop(struct churn *churn);

/* Waits until the threads have made so many rounds more, of CHURN_ROUND steps each. */
void churn_wait(struct churn *churn, size_t rounds);

/* After they have ended. Freeing checks the contents. */
struct churn_totals churn_totals(struct churn *churn);
void churn_free(struct churn *churn);

#endif
