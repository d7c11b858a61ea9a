/*
 * The caches of threads: what quick fit promises holds with them as without, and nothing is lost with
 * a thread that ends. This file includes the library, to see when caches are open: it is linked
 * without the library. test_protocol.c shows that the protocol is right; this, that it is kept.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <errno.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/* What is done while the library copies, once, as by another thread; or as it waits for one; or in the
 * middle of own_enter. */
static void (*while_copying)(void), (*while_waiting)(void), (*while_entering)(void);

static void act(void (**action)(void))
{
	void (*const once)(void) = *action;
	if (once != NULL) {
		*action = NULL;
		once();
	}
}

static void *copy(void *destination, const void *source, size_t size)
{
	act(&while_copying);
	return memcpy(destination, source, size);
}

static int yield(void)
{
	act(&while_waiting);
	return sched_yield();
}

static int doze(const struct timespec *pause, struct timespec *left)
{
	act(&while_waiting);
	return nanosleep(pause, left);
}

/* The OS has no barrier any more, as where the process forbids itself to ask for one. */
static bool is_fence_refused;

#define memcpy copy
#define sched_yield yield
#define nanosleep doze
#define syscall(number, ...) \
	((number) == SYS_membarrier && is_fence_refused ? (errno = EPERM, -1L) \
	                                                : syscall(number, __VA_ARGS__))
#undef atomic_signal_fence
#define atomic_signal_fence(order) (act(&while_entering), __atomic_signal_fence(order))
#include "mems.c" /* NOLINT(bugprone-suspicious-include): see above */
#undef memcpy
#undef sched_yield
#undef nanosleep
#undef syscall

#include "churn.h"
#include "support.h"

#include <sys/wait.h>

enum {
	SIZE = 40,
	BLOCKS = 200
};

/* Loops are so many times shorter. */
static unsigned slowness(void)
{
	return THREAD_SANITIZER || ADDRESS_SANITIZER || is_run_by_another() ? 20 : 1;
}

/* Runs a function in a thread, to its end. */
static void run(void *(*function)(void *), void *context)
{
	pthread_t thread;
	assert_int_equal(pthread_create(&thread, NULL, function, context), 0);
	assert_int_equal(pthread_join(thread, NULL), 0);
}

/* Where a memory checker is told of every block there are no caches, nor without membarrier. */
static bool has_caches(void)
{
	return !heap.is_watched && os_fence(true);
}

static bool are_open(void)
{
	return atomic_load(&heap.epoch) != 0;
}

static unsigned owned_caches(void)
{
	unsigned count = 0;
	for (unsigned i = 0; i < heap.cache_count; i++)
		count += thread_caches()[i].is_owned;
	return count;
}

static size_t blocks_in_caches(void)
{
	size_t count = 0;
	for (unsigned i = 0; i < heap.cache_count; i++)
		for (unsigned size = 0; size < OWN_SIZES; size++)
			count += thread_caches()[i].stacks[size].count;
	return count;
}

static void *do_nothing(void *context)
{
	return context;
}

/* From here on the process counts as one with several threads. */
static void become_many(void)
{
	run(do_nothing, NULL);
}

/* The same, for a test of what there is with caches only. */
static void become_many_with_caches(void)
{
	become_many();
	if (!has_caches())
		skip();
}

/* Takes blocks and frees them: most are in the cache of this thread then. */
static void *use_cache(void *context)
{
	uintptr_t blocks[BLOCKS];
	for (unsigned i = 0; i < BLOCKS; i++)
		blocks[i] = churn_block_take(1 + i * 7 % 500, i);
	for (unsigned i = 0; i < BLOCKS; i++) {
		expect(churn_block_is_intact(blocks[i]));
		mems_free(at(blocks[i]));
	}
	return context;
}

/* ---- When there are caches ---------------------------------------------------------------- */

static void test_one_thread_has_no_cache(void **state)
{
	(void)state;
	use_cache(NULL);
	assert_int_equal(heap.cache_count, 0);
	assert_false(are_open());
}

/* Nor is anything done for it, of which others may have need: there are not many keys. */
static void test_first_fit_has_no_cache(void **state)
{
	(void)state;
	become_many();
	use_cache(NULL);
	run(use_cache, NULL);
	assert_false(heap.has_key);
	assert_int_equal(heap.cache_count, 0);
	assert_false(are_open());
}

static void test_small_blocks_stay_in_the_cache(void **state)
{
	(void)state;
	become_many_with_caches();
	use_cache(NULL);
	assert_true(are_open());
	assert_int_equal(owned_caches(), 1);
	const uintptr_t first = take(SIZE);
	give_back(first);
	assert_int_not_equal(own.cache->stacks[SIZE / 8 - 1].count, 0);
	assert_int_equal(take(SIZE), first);
	give_back(first);
}

/* Whoever looks finds no cache, and the next call that takes a small block opens them again. */
static void test_looking_closes_them(void **state)
{
	struct mems_segment segment;
	(void)state;
	become_many_with_caches();
	for (unsigned way = 0; way < 8; way++) {
		use_cache(NULL);
		const uintptr_t block = take(SIZE);
		assert_true(are_open());
		if (way == 0)
			free(printed_text());
		else if (way == 1)
			assert_sound();
		else if (way == 2)
			assert_int_equal(stats_now().process_bytes, SIZE);
		else if (way == 3)
			assert_int_equal(mems_segment_at(at(block), &segment), 0);
		else if (way == 4)
			assert_fails(EINVAL, (mems_free(at(block + 1)), true));
		else if (way == 5)
			assert_int_equal(mems_set_root(at(block)), 0);
		else if (way == 6)
			mems_trim();
		else
			assert_int_equal(mems_usable_size(at(block + 1)), 0);
		assert_false(are_open());
		assert_int_equal(blocks_in_caches(), 0);
		give_back(block);
	}
}

/* With history on each call has to be noted. */
static void test_history_and_recordings_allow_none(void **state)
{
	(void)state;
	become_many();
	mems_finish();
	assert_int_equal(mems_option(MEMS_HISTORY, 100), 0);
	mems_init();
	use_cache(NULL);
	assert_false(are_open());
	mems_finish();
	assert_int_equal(mems_option(MEMS_HISTORY, 0), 0);
	mems_init();
	FILE *const out = tmpfile();
	assert_int_equal(mems_record(out), 0);
	use_cache(NULL);
	assert_false(are_open());
	assert_int_equal(mems_record(NULL), 0);
	use_cache(NULL);
	assert_int_equal(are_open(), has_caches());
	fclose(out);
	assert_sound();
}

/* ---- Threads that come and go ------------------------------------------------------------- */

static void test_nothing_is_lost_with_a_thread(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 2000 / slowness(); i++)
		run(use_cache, NULL);
	assert_int_equal(blocks_in_caches(), 0);
	assert_true(owned_caches() <= 1 && heap.cache_count <= 2);
	assert_int_equal(stats_now().process_bytes, 0);
	assert_sound();
	mems_trim();
	assert_int_equal(stats_now().hole_segments, stats_now().main_nodes);
	assert_int_equal(expect_failures, 0);
}

/* A destructor that runs before that of MeMS, and after it: the C library calls it four times as long
 * as it sets its value again. */
static pthread_key_t late_key;
static _Atomic unsigned late_runs;

static void use_heap_late(void *left)
{
	use_cache(NULL);
	atomic_fetch_add(&late_runs, 1);
	if (left != (void *)1)
		pthread_setspecific(late_key, (char *)left - 1);
}

static void *end_late(void *context)
{
	use_cache(NULL);
	pthread_setspecific(late_key, (void *)(uintptr_t)4);
	return context;
}

static void test_destructors_use_the_heap(void **state)
{
	(void)state;
	run(use_cache, NULL); /* the key of MeMS comes first */
	assert_int_equal(pthread_key_create(&late_key, use_heap_late), 0);
	for (unsigned i = 0; i < 20; i++)
		run(end_late, NULL);
	assert_int_equal(late_runs, 80);
	assert_true(owned_caches() <= 1);
	assert_int_equal(stats_now().process_bytes, 0);
	assert_sound();
	pthread_key_delete(late_key);
	assert_int_equal(expect_failures, 0);
}

static pthread_barrier_t barrier;

static void *meet_and_use_cache(void *context)
{
	use_cache(NULL);
	pthread_barrier_wait(&barrier);
	use_cache(NULL);
	pthread_barrier_wait(&barrier);
	return context;
}

/* Those beyond MOST_CACHES do without. */
static void test_more_threads_than_caches(void **state)
{
	enum { THREADS = MOST_CACHES + 20 };
	pthread_t threads[THREADS];
	(void)state;
	pthread_barrier_init(&barrier, NULL, THREADS + 1);
	for (unsigned i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, meet_and_use_cache, NULL), 0);
	pthread_barrier_wait(&barrier);
	assert_int_equal(owned_caches(), has_caches() ? MOST_CACHES : 0);
	assert_sound();
	pthread_barrier_wait(&barrier);
	for (unsigned i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	assert_int_equal(stats_now().process_bytes, 0);
	assert_sound();
	assert_int_equal(expect_failures, 0);
	pthread_barrier_destroy(&barrier);
}

/* A thread that outlives heaps does not touch what it had cached in one that is gone. */
static void *use_heap_after_heap(void *context)
{
	for (unsigned i = 0; i < 10; i++) {
		use_cache(NULL);
		pthread_barrier_wait(&barrier);
		pthread_barrier_wait(&barrier);
	}
	return context;
}

static void test_heaps_one_after_another(void **state)
{
	pthread_t thread;
	(void)state;
	pthread_barrier_init(&barrier, NULL, 2);
	assert_int_equal(pthread_create(&thread, NULL, use_heap_after_heap, NULL), 0);
	for (unsigned i = 0; i < 10; i++) {
		pthread_barrier_wait(&barrier);
		use_cache(NULL);
		assert_sound();
		use_cache(NULL);
		mems_finish();
		mems_init();
		pthread_barrier_wait(&barrier);
	}
	pthread_join(thread, NULL);
	assert_int_equal(stats_now().process_bytes, 0);
	assert_sound();
	assert_int_equal(expect_failures, 0);
	pthread_barrier_destroy(&barrier);
}

/* A thread may be cancelled wherever it is, but for the middle of MeMS. */
static void *use_cache_for_ever(void *context)
{
	for (;;) {
		use_cache(NULL);
		pthread_testcancel();
	}
	return context;
}

static void test_cancellation(void **state)
{
	pthread_t threads[3];
	(void)state;
	for (unsigned round = 0; round < 60 / slowness() + 1; round++) {
		for (unsigned i = 0; i < 3; i++)
			assert_int_equal(pthread_create(&threads[i], NULL, use_cache_for_ever, NULL), 0);
		usleep(1000 * (round % 5));
		for (unsigned i = 0; i < 3; i++) {
			assert_sound();
			pthread_cancel(threads[i]);
			pthread_join(threads[i], NULL);
		}
		assert_int_equal(stats_now().process_bytes, 0);
	}
	assert_true(owned_caches() <= 1);
	assert_int_equal(expect_failures, 0);
}

/* ---- Frees at one time -------------------------------------------------------------------- */

enum { MOST_RACERS = 16, RACE_BLOCKS = 500 };

static struct race {
	unsigned racers, rounds;
	size_t size;
	void *blocks[RACE_BLOCKS];
	_Atomic unsigned done[RACE_BLOCKS], refused[RACE_BLOCKS];
} race;

/* All free the same blocks: of each one does, and the others are told. */
static void *free_all(void *context)
{
	for (unsigned round = 0; round < race.rounds; round++) {
		pthread_barrier_wait(&barrier);
		for (unsigned i = 0; i < RACE_BLOCKS; i++) {
			errno = UNTOUCHED;
			mems_free(race.blocks[i]);
			expect(errno == UNTOUCHED || errno == EINVAL);
			atomic_fetch_add(errno == EINVAL ? &race.refused[i] : &race.done[i], 1);
		}
		pthread_barrier_wait(&barrier);
	}
	return context;
}

static void race_round(void)
{
	for (unsigned i = 0; i < RACE_BLOCKS; i++) {
		race.done[i] = race.refused[i] = 0;
		race.blocks[i] = at(take(race.size));
	}
	pthread_barrier_wait(&barrier);
	pthread_barrier_wait(&barrier);
	for (unsigned i = 0; i < RACE_BLOCKS; i++)
		expect(race.done[i] == 1 && race.refused[i] == race.racers - 1);
}

static void race_run(unsigned racers, unsigned rounds, size_t size)
{
	pthread_t threads[MOST_RACERS];
	race.racers = racers;
	race.rounds = rounds;
	race.size = size;
	pthread_barrier_init(&barrier, NULL, racers + 1);
	for (unsigned i = 0; i < racers; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, free_all, NULL), 0);
	for (unsigned round = 0; round < rounds; round++)
		race_round();
	for (unsigned i = 0; i < racers; i++)
		pthread_join(threads[i], NULL);
	pthread_barrier_destroy(&barrier);
	assert_int_equal(expect_failures, 0);
	assert_int_equal(stats_now().process_bytes, 0);
	assert_sound();
}

/* MANY=1000000 in the environment asks for so many, as make stress does. */
static void test_of_racing_frees_one_wins(void **state)
{
	const char *const many = getenv("MANY");
	const unsigned refused = many != NULL ? (unsigned)strtoul(many, NULL, 10) : 20000 / slowness();
	(void)state;
	mems_set_error_handler(NULL);
	race_run(2, refused / RACE_BLOCKS + 1, SIZE);
	race_run(2, refused / 10 / RACE_BLOCKS + 1, 8);
	race_run(2, refused / 10 / RACE_BLOCKS + 1, 504);
	race_run(2, refused / 10 / RACE_BLOCKS + 1, 800);
	race_run(4, refused / 10 / RACE_BLOCKS + 1, SIZE);
	race_run(MOST_RACERS, refused / 40 / RACE_BLOCKS + 1, 72);
}

/* Blocks that one takes and another frees or resizes: each is whole when it arrives. */
static void test_hand_over(void **state)
{
	static struct churn churn;
	(void)state;
	mems_set_error_handler(NULL);
	for (unsigned threads = 2; threads <= CHURN_THREADS; threads *= 2) {
		churn = (struct churn){ .calls_each = 200000 / slowness() / threads, .small_only = 400 };
		churn_start(&churn, threads, threads);
		for (unsigned i = 0; i < 20; i++) {
			struct mems_stats stats = stats_now();
			expect(stats.process_bytes + stats.hole_bytes == stats.mapped_bytes);
			expect(mems_check(stderr) == 0);
			usleep(500);
		}
		churn_join(&churn);
		const struct churn_totals totals = churn_totals(&churn);
		expect(stats_now().process_bytes == totals.bytes);
		churn_free(&churn);
		assert_int_equal(stats_now().process_bytes, 0);
		assert_int_equal(expect_failures, 0);
	}
}

/* The same without a look in between, so that the caches stay open. */
static _Atomic uintptr_t mailboxes[64];

static void *exchange(void *context)
{
	uint64_t random = (uintptr_t)context;
	for (unsigned i = 0; i < 200000 / slowness(); i++) {
		const size_t size = 1 + random_below(&random, random_below(&random, 50) == 0 ? 20000 : 520);
		const uintptr_t block = churn_block_take(size, i);
		const uintptr_t got = atomic_exchange(&mailboxes[random_below(&random, 64)], block);
		if (got == 0)
			continue;
		churn_block_is_intact(got);
		mems_free(at(got));
	}
	return NULL;
}

static void test_exchange_without_a_look(void **state)
{
	enum { THREADS = 4 };
	pthread_t threads[THREADS];
	(void)state;
	for (uintptr_t i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, exchange, (void *)(i + 1)), 0);
	for (unsigned i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	for (unsigned i = 0; i < 64; i++)
		mems_free(at(atomic_exchange(&mailboxes[i], 0)));
	assert_int_equal(stats_now().process_bytes, 0);
	assert_sound();
	assert_int_equal(expect_failures, 0);
}

/* A root is freed by another thread; its address is out at once. */
static void *free_root(void *context)
{
	use_cache(NULL);
	mems_free(context);
	return NULL;
}

static void test_root_freed_by_a_thread(void **state)
{
	(void)state;
	become_many();
	use_cache(NULL);
	const uintptr_t block = take(SIZE);
	assert_int_equal(mems_set_root(at(block)), 0);
	use_cache(NULL);
	run(free_root, at(block));
	assert_null(mems_root());
	assert_sound();
}

/* What threads have cached is merged before ENOMEM is given. */
static void *fill_and_wait(void *context)
{
	uintptr_t blocks[OWN_SIZES];
	for (unsigned i = 0; i < OWN_SIZES; i++) /* of each size the first: it comes alone */
		blocks[i] = churn_block_take(8 * (i + 1), i);
	for (unsigned i = 0; i < OWN_SIZES; i++)
		mems_free(at(blocks[i]));
	expect(!has_caches() || (blocks_in_caches() > 0 && cached_granules() == 0));
	pthread_barrier_wait(&barrier);
	pthread_barrier_wait(&barrier);
	return context;
}

static void test_caches_are_emptied_for_want_of_memory(void **state)
{
	enum { LIMIT = 64 * 4096 };
	pthread_t thread;
	(void)state;
	mems_finish();
	assert_int_equal(mems_option(MEMS_LIMIT, LIMIT), 0);
	mems_init();
	pthread_barrier_init(&barrier, NULL, 2);
	give_back(take(LIMIT)); /* one node */
	assert_int_equal(pthread_create(&thread, NULL, fill_and_wait, NULL), 0);
	pthread_barrier_wait(&barrier);
	give_back(take(LIMIT));
	pthread_barrier_wait(&barrier);
	pthread_join(thread, NULL);
	pthread_barrier_destroy(&barrier);
	assert_int_equal(expect_failures, 0);
	assert_sound();
}

/* And before the OS is asked for memory, as what is in bins: here in blocks of more than half as many
 * granules as may be, which come alone. */
enum { GRANULE = 64, MANY_OF_EACH = OWN_BLOCKS - 2, ALL_BYTES = 6 << 20 };

static void *fill_cache_and_wait(void *context)
{
	void *blocks[OWN_SIZES * MANY_OF_EACH];
	const unsigned first = OWN_SIZES / 2 * MANY_OF_EACH, end = OWN_SIZES * MANY_OF_EACH;
	for (unsigned i = first; i < end; i++)
		blocks[i] = mems_malloc((i / MANY_OF_EACH + 1) * GRANULE);
	for (unsigned i = first; i < end; i++)
		mems_free(blocks[i]);
	pthread_barrier_wait(&barrier);
	pthread_barrier_wait(&barrier);
	return context;
}

static void test_caches_are_emptied_before_the_heap_grows(void **state)
{
	pthread_t thread;
	(void)state;
	become_many_with_caches();
	mems_finish();
	assert_int_equal(mems_option(MEMS_ALIGNMENT, GRANULE), 0);
	mems_init();
	pthread_barrier_init(&barrier, NULL, 2);
	give_back(take(ALL_BYTES)); /* one node */
	assert_int_equal(pthread_create(&thread, NULL, fill_cache_and_wait, NULL), 0);
	pthread_barrier_wait(&barrier);
	give_back(take(ALL_BYTES / 2));
	assert_int_equal(heap.top, ALL_BYTES / GRANULE);
	pthread_barrier_wait(&barrier);
	pthread_join(thread, NULL);
	pthread_barrier_destroy(&barrier);
	assert_sound();
}

static void test_calloc_and_realloc_use_the_cache(void **state)
{
	(void)state;
	become_many_with_caches();
	use_cache(NULL);
	const uintptr_t block = take(SIZE);
	memset(mems_get(at(block)), 1, SIZE);
	give_back(block);
	assert_int_equal(address_of(mems_calloc(SIZE / 8, 8)), block);
	for (unsigned i = 0; i < SIZE; i++)
		assert_int_equal(*(char *)mems_get(at(block + i)), 0);
	memset(mems_get(at(block)), 2, SIZE);
	const uintptr_t wall = take(SIZE); /* so that it has to move */
	const uint32_t before = own.cache->stacks[2 * SIZE / 8 - 1].count;
	const uintptr_t moved = address_of(mems_realloc(at(block), 2 * SIZE));
	assert_true(before > 0 && own.cache->stacks[2 * SIZE / 8 - 1].count == before - 1);
	for (unsigned i = 0; i < SIZE; i++)
		assert_int_equal(*(char *)mems_get(at(moved + i)), 2);
	give_back(moved);
	give_back(wall);
	assert_int_equal(stats_now().process_bytes, 0);
}

static uintptr_t moving, wall; /* a block, and the one behind it, so that it has to move */

/* The block grows, and this is called while it is copied. Where it is then; 0 where mems_realloc failed. */
static uintptr_t move_while(void (*call)(void))
{
	become_many_with_caches();
	use_cache(NULL);
	moving = take(SIZE);
	wall = take(SIZE);
	while_copying = call;
	const uintptr_t moved = address_of(mems_realloc(at(moving), 2 * SIZE));
	assert_true(while_copying == NULL);
	return moved;
}

static void free_what_is_moving(void)
{
	give_back(moving);
}

static void test_a_block_that_is_freed_while_it_moves_is_a_misuse(void **state)
{
	(void)state;
	assert_fails(EINVAL, move_while(free_what_is_moving) == 0);
	give_back(wall);
	assert_int_equal(stats_now().process_bytes, 0);
	assert_sound();
}

static void look(void)
{
	assert_sound();
}

static void free_what_is_moving_and_look(void)
{
	give_back(moving);
	look();
}

/* Nor does it count as moved where the caches were closed meanwhile. */
static void test_a_block_that_is_freed_as_the_caches_close_is_a_misuse(void **state)
{
	(void)state;
	reports_clear();
	assert_fails(EINVAL, move_while(free_what_is_moving_and_look) == 0);
	assert_int_equal(report.count, 1);
	assert_memory_equal(report.message, "mems_realloc(", strlen("mems_realloc("));
	give_back(wall);
	assert_int_equal(stats_now().process_bytes, 0);
	assert_sound();
}

static void root_what_is_moving(void)
{
	assert_int_equal(mems_set_root(at(moving)), 0);
}

static void test_a_block_that_is_made_the_root_while_it_moves_stays_the_root(void **state)
{
	(void)state;
	const uintptr_t moved = move_while(root_what_is_moving);
	assert_true(moved != 0 && moved != moving);
	assert_int_equal(address_of(mems_root()), moved);
	give_back(moved);
	assert_null(mems_root());
	give_back(wall);
	assert_sound();
}

/* A cache that has no room for the old block has some afterwards. */
static void test_a_block_moves_where_the_cache_is_full(void **state)
{
	uintptr_t blocks[OWN_BLOCKS + 2];
	(void)state;
	become_many_with_caches();
	use_cache(NULL);
	for (unsigned i = 0; i < OWN_BLOCKS + 2; i++)
		blocks[i] = take(SIZE);
	const struct own_stack *const stack = &own.cache->stacks[SIZE / 8 - 1];
	unsigned next = 0;
	while (stack->count < OWN_BLOCKS)
		give_back(blocks[next++]);
	const uintptr_t moved = address_of(mems_realloc(at(blocks[next]), 2 * SIZE));
	assert_true(moved != blocks[next] && stack->count < OWN_BLOCKS);
	give_back(moved);
	while (++next < OWN_BLOCKS + 2)
		give_back(blocks[next]);
	assert_int_equal(stats_now().process_bytes, 0);
	assert_sound();
}

/* Another thread may close the caches in between: then the old block is freed under the lock. */
static void test_a_block_moves_while_the_caches_are_closed(void **state)
{
	(void)state;
	become_many_with_caches();
	use_cache(NULL);
	const uintptr_t block = take(SIZE);
	wall = take(SIZE); /* so that it has to move */
	memset(mems_get(at(block)), 3, SIZE);
	while_copying = look;
	const uintptr_t moved = address_of(mems_realloc(at(block), 2 * SIZE));
	assert_true(while_copying == NULL && moved != block);
	assert_null(mems_get(at(block)));
	for (unsigned i = 0; i < SIZE; i++)
		assert_int_equal(*(char *)mems_get(at(moved + i)), 3);
	assert_int_equal(stats_now().process_bytes, 3 * SIZE);
	give_back(moved);
	give_back(wall);
	assert_sound();
}

/* A root, which no cache takes, moves under the lock, whatever its cache had for it. */
static void test_a_root_moves_under_the_lock(void **state)
{
	(void)state;
	become_many_with_caches();
	use_cache(NULL);
	const uintptr_t block = take(SIZE);
	wall = take(SIZE); /* so that it has to move */
	memset(mems_get(at(block)), 3, SIZE);
	assert_int_equal(mems_set_root(at(block)), 0);
	use_cache(NULL);
	give_back(take(2 * SIZE)); /* which the cache has from now on */
	assert_true(are_open());
	const uintptr_t moved = address_of(mems_realloc(at(block), 2 * SIZE));
	assert_true(moved != 0 && moved != block);
	assert_int_equal(address_of(mems_root()), moved);
	assert_null(mems_get(at(block)));
	for (unsigned i = 0; i < SIZE; i++)
		assert_int_equal(*(char *)mems_get(at(moved + i)), 3);
	assert_int_equal(stats_now().process_bytes, 3 * SIZE);
	give_back(moved);
	assert_null(mems_root());
	give_back(wall);
	assert_sound();
}

/* Of several threads that free a block under the lock, or in a cache, the first claims it. */
static void test_what_is_claimed_cannot_be_claimed(void **state)
{
	(void)state;
	become_many_with_caches();
	use_cache(NULL);
	const size_t granule = granule_of(at(take(SIZE)));
	assert_true(are_open());
	lock_take();
	assert_int_equal(block_claim(granule), granule);
	assert_true(block_claim(granule) == NONE);
	assert_false(own_give(granule));
	claim_end(true);
	assert_int_equal(block_claim(granule), granule);
	claim_end(true);
	lock_give();
	assert_int_equal(stats_now().process_bytes, SIZE);
	assert_sound();
}

/* ---- Waiting for others -------------------------------------------------------------------- */

static size_t late_granule;

static void end_late_claim(void)
{
	atomic_fetch_or(live_at(leaf_of(late_granule)), bit_of(late_granule));
}

/* Who claims a block that is gone may take a bit out of the middle of another one, and sets it again.
 * Who frees or shrinks that one waits for it. */
static void test_a_claim_that_comes_too_late_is_waited_for(void **state)
{
	(void)state;
	become_many_with_caches();
	for (unsigned way = 0; way < 2; way++) {
		use_cache(NULL);
		const uintptr_t block = take(SIZE);
		const size_t granule = granule_of(at(block));
		assert_true(are_open());
		late_granule = granule + SIZE / 8 - 1;
		atomic_fetch_and(live_at(leaf_of(late_granule)), ~bit_of(late_granule));
		while_waiting = end_late_claim;
		if (way == 0)
			give_back(block);
		else
			assert_true(mems_realloc(at(block), 8) == at(block));
		assert_true(while_waiting == NULL);
		assert_true(is_live(granule) == (way != 0) && !is_live(late_granule));
		assert_sound();
	}
}

static void leave_cache(void)
{
	own_leave();
}

/* A thread that was interrupted in its cache may need the processor that waits for it. */
static void test_a_thread_in_its_cache_is_waited_for(void **state)
{
	(void)state;
	become_many_with_caches();
	use_cache(NULL);
	assert_true(own_enter());
	while_waiting = leave_cache;
	assert_sound();
	assert_true(while_waiting == NULL && !are_open());
}

/* What a thread in its cache has stored may be seen late where there is no barrier. */
static void be_seen_late(void)
{
	atomic_store(&own.cache->busy, 1);
	while_waiting = leave_cache;
}

static int lose_the_barrier(void *context)
{
	(void)context;
	use_cache(NULL);
	expect(are_open());
	is_fence_refused = true;
	while_waiting = be_seen_late;
	expect(mems_check(stderr) == 0);
	expect(while_waiting == NULL && !are_open());
	use_cache(NULL);
	expect(!are_open() && mems_check(stderr) == 0);
	mems_finish();
	mems_init();
	use_cache(NULL);
	expect(!are_open() && mems_check(stderr) == 0);
	return expect_failures != 0;
}

/* A process may take the barrier away from itself, with a filter of its requests to the OS. */
static void test_caches_that_lose_the_barrier_stay_closed(void **state)
{
	(void)state;
	become_many_with_caches();
	assert_int_equal(status_of_child(lose_the_barrier, NULL), 0);
}

/* As caches_close begins, in a thread that holds the lock. */
static void close_caches(void)
{
	atomic_store(&heap.epoch, 0);
}

/* Who comes to its cache as another thread closes it takes the way of the lock, and leaves the cache. */
static void test_a_cache_that_closes_is_not_used(void **state)
{
	(void)state;
	become_many_with_caches();
	use_cache(NULL);
	give_back(take(SIZE));
	const uint32_t *const count = &own.cache->stacks[SIZE / 8 - 1].count;
	const uint32_t before = *count;
	assert_true(are_open() && before > 0);
	while_entering = close_caches;
	const uintptr_t block = take(SIZE);
	assert_true(while_entering == NULL && *count >= before);
	assert_int_equal(atomic_load(&own.cache->busy), 0);
	give_back(block);
	assert_int_equal(stats_now().process_bytes, 0);
	assert_sound();
}

/* What a core dump has in caches is checked like what is in bins. */
static void test_caches_are_checked_where_nobody_closes_them(void **state)
{
	struct findings findings = { 0 };
	struct cached_tally tally = { 0 };
	(void)state;
	become_many_with_caches();
	use_cache(NULL);
	give_back(take(SIZE));
	struct own_stack *const stack = &own.cache->stacks[SIZE / 8 - 1];
	check_thread_caches(&findings, &tally);
	assert_int_equal(findings.count[15], 0);
	assert_int_equal(tally.blocks, blocks_in_caches());
	stack->blocks[0]++;
	check_thread_caches(&findings, &tally);
	stack->blocks[0]--;
	assert_int_equal(findings.count[15], 1);
	assert_sound();
}

/* There are chunks for so many cached blocks: what else a cache spills is coalesced. */
static void test_what_no_bin_has_room_for_is_coalesced(void **state)
{
	enum { MANY_BLOCKS = MAX_CHUNKS * CHUNK_SLOTS + 1000 };
	static uintptr_t blocks[MANY_BLOCKS];
	(void)state;
	become_many();
	for (unsigned i = 0; i < MANY_BLOCKS; i++)
		blocks[i] = take(SIZE);
	for (unsigned i = 0; i < MANY_BLOCKS; i++)
		give_back(blocks[i]);
	assert_int_equal(heap.chunk_count, MAX_CHUNKS);
	assert_int_equal(stats_now().process_bytes, 0);
	assert_true(cached_blocks() < MANY_BLOCKS - OWN_BLOCKS);
	assert_sound();
}

/* ---- Processes ---------------------------------------------------------------------------- */

static int use_heap_in_child(void *context)
{
	/* ThreadSanitizer and qemu-user bear no threads there. */
	const bool may_have_threads = !THREAD_SANITIZER &&
	                              (!is_run_by_another() || is_run_by_valgrind());
	(void)context;
	expect(!are_open() && blocks_in_caches() == 0); /* no thread was in one */
	expect(mems_check(stderr) == 0);
	expect(owned_caches() <= 1);
	for (unsigned i = 0; i < 3 && may_have_threads; i++)
		run(use_cache, NULL);
	use_cache(NULL);
	expect(mems_check(stderr) == 0);
	return expect_failures != 0;
}

static void test_fork_inside(void **state)
{
	static struct churn churn;
	(void)state;
	mems_set_error_handler(NULL);
	churn = (struct churn){ .calls_each = CHURN_FOR_EVER, .small_only = 300 };
	churn_start(&churn, 3, 1);
	for (unsigned i = 0; i < 30; i++) {
		use_cache(NULL);
		assert_int_equal(status_of_child(use_heap_in_child, NULL), 0);
	}
	churn_stop(&churn);
	churn_free(&churn);
	assert_int_equal(expect_failures, 0);
	assert_sound();
}

/* Where a thread asks for a cache, and the C library has no key with which to tell of its end, there are
 * none; those that come later may have one. */
static void test_without_a_key_there_are_no_caches(void **state)
{
	static pthread_key_t keys[PTHREAD_KEYS_MAX];
	size_t count = 0;
	(void)state;
	become_many();
	while (count < PTHREAD_KEYS_MAX && pthread_key_create(&keys[count], NULL) == 0)
		count++;
	use_cache(NULL);
	run(use_cache, NULL);
	assert_true(heap.cache_count == 0 && !heap.has_key && !are_open());
	assert_int_equal(status_of_child(use_heap_in_child, NULL), 0);
	while (count > 0)
		pthread_key_delete(keys[--count]);
	run(use_cache, NULL);
	assert_int_equal(heap.cache_count, has_caches());
	use_cache(NULL);
	assert_int_equal(owned_caches(), 0);
	assert_sound();
}

static int use_heap_in_time(void *context)
{
	alarm(60);
	return use_heap_in_child(context);
}

static void *use_cache_beside_others(void *context)
{
	use_cache(NULL);
	pthread_barrier_wait(&barrier);
	return context;
}

/* A thread that comes to its cache as it is closed sets busy, looks, and clears it again. If the process
 * is doubled in between, the child has a busy cache without a thread. */
static void test_fork_while_a_thread_looks(void **state)
{
	enum { OTHERS = 4 };
	pthread_t threads[OTHERS];
	(void)state;
	pthread_barrier_init(&barrier, NULL, OTHERS);
	for (unsigned i = 0; i < OTHERS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, use_cache_beside_others, NULL), 0);
	for (unsigned i = 0; i < OTHERS; i++)
		assert_int_equal(pthread_join(threads[i], NULL), 0);
	pthread_barrier_destroy(&barrier);
	assert_int_equal(heap.cache_count, has_caches() ? OTHERS : 0);
	assert_sound(); /* they are closed */
	for (unsigned i = 0; i < heap.cache_count; i++)
		atomic_store(&thread_caches()[i].busy, 1);
	const int status = status_of_child(use_heap_in_time, NULL);
	for (unsigned i = 0; i < heap.cache_count; i++)
		atomic_store(&thread_caches()[i].busy, 0);
	assert_int_equal(status, 0);
	assert_sound();
}

static int owned_caches_in_child(void *context)
{
	(void)context;
	return (int)owned_caches();
}

/* The cache that this thread had in the heap before is not its own, though another one lies there now. */
static void test_fork_before_the_first_block_of_a_heap(void **state)
{
	(void)state;
	become_many();
	use_cache(NULL);
	mems_finish();
	mems_init();
	run(use_cache, NULL);
	if (!has_caches() || own.cache != &thread_caches()[0])
		skip();
	assert_int_equal(owned_caches(), 0);
	assert_int_equal(status_of_child(owned_caches_in_child, NULL), 0);
}

/* The child of vfork borrows the memory of the parent until it executes a program. */
static void test_vfork_inside(void **state)
{
	static struct churn churn;
	(void)state;
	mems_set_error_handler(NULL);
	churn = (struct churn){ .calls_each = CHURN_FOR_EVER, .small_only = 300 };
	churn_start(&churn, 3, 2);
	for (unsigned i = 0; i < 30 && !THREAD_SANITIZER; i++) {
		int status = 0;
		use_cache(NULL);
		const pid_t pid = vfork(); /* NOLINT(clang-analyzer-security.insecureAPI.vfork) */
		if (pid == 0) {
			execl("/bin/true", "true", (char *)NULL);
			_exit(1);
		}
		assert_int_equal(waitpid(pid, &status, 0), pid);
		assert_int_equal(status, 0);
		use_cache(NULL);
	}
	churn_stop(&churn);
	churn_free(&churn);
	assert_int_equal(expect_failures, 0);
	assert_sound();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		quick_fit_test(test_one_thread_has_no_cache), /* while there has been one only */
		first_fit_test(test_first_fit_has_no_cache),
		quick_fit_test(test_small_blocks_stay_in_the_cache),
		quick_fit_test(test_looking_closes_them),
		quick_fit_test(test_history_and_recordings_allow_none),
		quick_fit_test(test_nothing_is_lost_with_a_thread),
		quick_fit_test(test_destructors_use_the_heap),
		quick_fit_test(test_more_threads_than_caches),
		quick_fit_test(test_heaps_one_after_another),
		quick_fit_test(test_cancellation),
		quick_fit_test(test_of_racing_frees_one_wins),
		quick_fit_test(test_hand_over),
		quick_fit_test(test_exchange_without_a_look),
		quick_fit_test(test_root_freed_by_a_thread),
		quick_fit_test(test_caches_are_emptied_for_want_of_memory),
		quick_fit_test(test_caches_are_emptied_before_the_heap_grows),
		quick_fit_test(test_calloc_and_realloc_use_the_cache),
		quick_fit_test(test_a_block_that_is_freed_while_it_moves_is_a_misuse),
		quick_fit_test(test_a_block_that_is_freed_as_the_caches_close_is_a_misuse),
		quick_fit_test(test_a_block_that_is_made_the_root_while_it_moves_stays_the_root),
		quick_fit_test(test_a_block_moves_where_the_cache_is_full),
		quick_fit_test(test_a_block_moves_while_the_caches_are_closed),
		quick_fit_test(test_a_root_moves_under_the_lock),
		quick_fit_test(test_what_is_claimed_cannot_be_claimed),
		quick_fit_test(test_a_claim_that_comes_too_late_is_waited_for),
		quick_fit_test(test_a_thread_in_its_cache_is_waited_for),
		quick_fit_test(test_caches_that_lose_the_barrier_stay_closed),
		quick_fit_test(test_a_cache_that_closes_is_not_used),
		quick_fit_test(test_caches_are_checked_where_nobody_closes_them),
		quick_fit_test(test_what_no_bin_has_room_for_is_coalesced),
		quick_fit_test(test_without_a_key_there_are_no_caches),
		quick_fit_test(test_fork_inside),
		quick_fit_test(test_fork_while_a_thread_looks),
		quick_fit_test(test_fork_before_the_first_block_of_a_heap),
		quick_fit_test(test_vfork_inside),
	};
	return run_heap_tests("caches", tests);
}
