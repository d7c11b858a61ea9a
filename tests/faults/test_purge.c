/*
 * Memory that goes back to the OS, and memory that stays: how much is resident, by what the OS says
 * of each page; how much one call gives back; what is kept for a program that takes it again, and
 * forgotten when that ends; and that none of it changes an address. The clock is the test's own.
 *
 * The linker puts the functions below between the library and the OS: link with -Wl,--wrap=NAME for
 * madvise and clock_gettime.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "support.h"
#include "wrapped.h"

/* ---- Between the library and the OS ------------------------------------------------------ */

static struct {
	size_t requests;     /* to give pages back, since os_watch */
	size_t given_bytes;  /* by these */
	size_t refused_from; /* the number of the first request that is refused */
	const char *locked;  /* so is each for one of these bytes, as mlock has it */
	size_t locked_bytes;
	size_t locked_areas; /* and further ones, a MiB apart */
} os;

static struct {
	time_t second;
	time_t step;         /* so many seconds pass with each look at the clock */
} fake_clock;

static void os_watch(void)
{
	os.requests = 0;
	os.given_bytes = 0;
	os.refused_from = SIZE_MAX;
}

int __real_clock_gettime(clockid_t id, struct timespec *now);
int __wrap_clock_gettime(clockid_t id, struct timespec *now);

static bool is_locked(const char *address, size_t bytes)
{
	for (size_t i = 0; os.locked_bytes != 0 && i <= os.locked_areas; i++)
		if (address < os.locked + i * MIB + os.locked_bytes && os.locked + i * MIB < address + bytes)
			return true;
	return false;
}

int __wrap_madvise(void *address, size_t bytes, int advice)
{
	if (os.requests >= os.refused_from) {
		errno = ENOMEM;
		return -1;
	}
	if (advice == MADV_DONTNEED) {
		os.requests++;
		if (is_locked(address, bytes)) {
			errno = EINVAL;
			return -1;
		}
		os.given_bytes += bytes;
	}
	return __real_madvise(address, bytes, advice);
}

/* Others than the coarse clock are as they are. */
int __wrap_clock_gettime(clockid_t id, struct timespec *now)
{
	if (id != CLOCK_MONOTONIC_COARSE)
		return __real_clock_gettime(id, now);
	fake_clock.second += fake_clock.step;
	*now = (struct timespec){ .tv_sec = fake_clock.second };
	return 0;
}

/* ---- What is resident -------------------------------------------------------------------- */

static struct tally {
	size_t hole_pages;     /* pages that lie wholly in a HOLE, and are in memory */
	size_t process_pages;  /* likewise, of a PROCESS */
} tally;

/* How many of the whole pages of a range are in memory. */
static size_t pages_in_memory(const char *from, size_t bytes)
{
	enum { AT_ONCE = 4096 };
	static unsigned char pages[AT_ONCE];
	const uintptr_t end = ((uintptr_t)from + bytes) & ~(PAGE - 1);
	uintptr_t page = ((uintptr_t)from + PAGE - 1) & ~(PAGE - 1);
	size_t resident = 0;
	while (page < end) {
		const size_t count = (end - page) / PAGE < AT_ONCE ? (end - page) / PAGE : AT_ONCE;
		assert_int_equal(mincore((void *)page, count * PAGE, pages), 0);
		for (size_t i = 0; i < count; i++)
			resident += pages[i] & 1;
		page += count * PAGE;
	}
	return resident;
}

static int segment_tally(const struct mems_segment *segment, void *context)
{
	struct tally *const sums = context;
	const size_t pages = pages_in_memory(segment->physical, segment->size);
	if (segment->type == MEMS_HOLE)
		sums->hole_pages += pages;
	else
		sums->process_pages += pages;
	return 0;
}

/* Also what the library says of it is no less, or it could never give it back. */
static size_t resident_hole_bytes(void)
{
	tally = (struct tally){ 0 };
	assert_int_equal(mems_walk(segment_tally, &tally), 0);
	assert_true(stats_now().resident_hole_bytes >= tally.hole_pages * PAGE);
	return tally.hole_pages * PAGE;
}

static size_t resident_process_bytes(void)
{
	resident_hole_bytes();
	return tally.process_pages * PAGE;
}

/* What runs this program has pages of its own; the sanitizer's mark some of ours. */
static bool has_pages(void)
{
	if (!is_run_by_another())
		return true;
	print_message("note: pages in memory: not looked at, for what runs this program has pages of "
	              "its own\n");
	return false;
}

/* What may stay, and a few pages that go_on_freeing has taken again. */
static size_t budget(void)
{
	return 4 * MIB + stats_now().process_bytes / 4 + 16 * PAGE;
}

/* ---- Blocks ------------------------------------------------------------------------------ */

enum { MOST_BLOCKS = 400000 };

static uintptr_t blocks[MOST_BLOCKS];
static size_t count;

static void watched_free(uintptr_t address)
{
	const size_t size = mems_usable_size(at(address));
	os_watch();
	give_back(address);
	assert_true(os.requests <= 64);
	assert_true(os.given_bytes <= 64 * MIB + size);
}

/* So many bytes in blocks of one size, all of them written. */
static void fill_heap(size_t size, size_t bytes)
{
	assert_true(bytes / size <= MOST_BLOCKS);
	for (count = 0; count < bytes / size; count++) {
		os_watch();
		blocks[count] = take(size);
		assert_true(os.requests <= 64 && os.given_bytes <= 64 * MIB);
		memset(mems_get(at(blocks[count])), 1, size);
	}
}

enum order { ASCENDING, DESCENDING, SHUFFLED, EVERY_SECOND };

static void order_blocks(enum order order)
{
	uint64_t random = 7;
	for (size_t i = 0; i < count; i++) {
		size_t other = i;
		if (order == DESCENDING && i < count / 2)
			other = count - 1 - i;
		else if (order == SHUFFLED)
			other = i + random_below(&random, count - i);
		else if (order == EVERY_SECOND && i < count / 2)
			other = 2 * i; /* the odd ones come later, in some order */
		const uintptr_t kept = blocks[i];
		blocks[i] = blocks[other];
		blocks[other] = kept;
	}
}

/* As long as a program frees, what is due goes back. */
static void go_on_freeing(size_t bytes)
{
	enum { SIZE = 3000 };
	for (size_t done = 0; done < bytes; done += SIZE)
		watched_free(take(SIZE));
}

/* ---- How much is resident ---------------------------------------------------------------- */

static void falls_to_a_quarter(size_t size, enum order order)
{
	enum { TOTAL = 40 << 20 };
	mems_finish();
	mems_init();
	fill_heap(size, TOTAL);
	order_blocks(order);
	const size_t left = order == EVERY_SECOND ? count / 2 : count / 8;
	while (count > left)
		watched_free(blocks[--count]);
	go_on_freeing(8 * MIB);
	if (has_pages()) {
		if (resident_hole_bytes() > budget())
			print_error("%zu bytes, order %d: %zu KiB in HOLEs, %zu KiB in use\n", size,
			            (int)order, resident_hole_bytes() / KIB,
			            stats_now().process_bytes / KIB);
		assert_true(resident_hole_bytes() <= budget());
	}
	while (count > 0)
		watched_free(blocks[--count]);
	go_on_freeing(8 * MIB);
	assert_true(!has_pages() || resident_hole_bytes() <= budget());
	assert_sound();
}

static void what_is_freed_falls_to_a_quarter(void **state)
{
	static const size_t sizes[] = { 128, 1000, 4096, 30000, 70000, 1 << 20 };
	(void)state;
	for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
		for (enum order order = ASCENDING; order <= EVERY_SECOND; order++)
			falls_to_a_quarter(sizes[i], order);
	}
}

/* So does what blocks lose that only shrink. */
static void what_blocks_lose_goes_back(void **state)
{
	enum { SIZE = 30000, TOTAL = 40 << 20 };
	(void)state;
	fill_heap(SIZE, TOTAL);
	for (size_t i = 0; i < count; i++)
		assert_int_equal(address_of(mems_realloc(at(blocks[i]), 8)), blocks[i]);
	assert_true(!has_pages() || resident_hole_bytes() <= budget());
	assert_sound();
}

/* Each small block is the last one in its page. */
static void pages_that_small_blocks_held_go_back(void **state)
{
	enum { PAGES = 20000 };
	static uintptr_t large[PAGES];
	const bool is_looked_at = has_pages();
	(void)state;
	for (count = 0; count < PAGES; count++) {
		large[count] = take(PAGE - 8);
		memset(mems_get(at(large[count])), 1, PAGE - 8);
		blocks[count] = take(8);
	}
	for (size_t i = 0; i < PAGES; i++)
		watched_free(large[i]);
	order_blocks(SHUFFLED);
	while (count > 0) {
		watched_free(blocks[--count]);
		if (count % 1000 == 0 && is_looked_at)
			assert_true(resident_hole_bytes() <= budget());
	}
	assert_sound();
}

/* Nothing goes back before as much is free as a quarter of what is in use. */
static void a_quarter_of_what_is_in_use_stays(void **state)
{
	size_t given = 0;
	(void)state;
	fill_heap(MIB, 56 * MIB);
	while (count > 47) {
		watched_free(blocks[--count]);
		given += os.given_bytes;
	}
	assert_int_equal(given, 0);
	assert_int_equal(stats_now().resident_hole_bytes, 9 * MIB);
	while (count > 40)
		watched_free(blocks[--count]);
	go_on_freeing(MIB);
	assert_true(stats_now().resident_hole_bytes <= budget());
	assert_sound();
}

/* One call may not take long, however much there is to give back. */
static void a_call_gives_back_a_bounded_amount(void **state)
{
	enum { SIZE = 256 << 10, BLOCKS = 1200 };
	(void)state;
	if (is_address_space_limited() || sizeof(size_t) == 4) {
		print_message("note: 300 MiB that go back: skipped, for there is too little room\n");
		skip();
	}
	for (count = 0; count < BLOCKS; count++)
		blocks[count] = take(SIZE);
	const uintptr_t large = take((size_t)BLOCKS * SIZE);
	size_t most_bytes = 0;
	while (count > 0) {
		watched_free(blocks[--count]);
		most_bytes = os.given_bytes > most_bytes ? os.given_bytes : most_bytes;
	}
	watched_free(large);
	go_on_freeing(8 * MIB);
	assert_true(most_bytes > 0);
	assert_true(stats_now().resident_hole_bytes <= budget());
	assert_sound();
}

/* But a block that is larger than that goes back with the call that frees it: one of the fast paths, or
 * the general one, which frees the root. */
static void a_large_block_goes_back_at_once(void **state)
{
	enum { SIZE = 100 << 20 };
	(void)state;
	if (is_address_space_limited()) {
		print_message("note: 100 MiB that go back: skipped, for there is too little room\n");
		skip();
	}
	for (size_t i = 0; i < 2; i++) {
		mems_finish();
		mems_init();
		const uintptr_t large = take(SIZE);
		assert_int_equal(mems_set_root(at(i == 0 ? 0 : large)), 0);
		watched_free(large);
		assert_true(os.given_bytes > 64 * MIB);
		assert_true(stats_now().resident_hole_bytes <= budget());
		assert_sound();
	}
}

/* A block that grows makes the heap larger, and what it held is free, while single pages go back. */
static void realloc_gives_back_a_bounded_amount(void **state)
{
	enum { BLOCKS = 2000, LARGE = 32 << 20 };
	(void)state;
	const uintptr_t grown = take(100 * KIB);
	take(8);
	const uintptr_t large = take(LARGE);
	for (count = 0; count < BLOCKS; count++)
		blocks[count] = take(2 * PAGE);
	for (size_t i = 0; i < BLOCKS; i += 2)
		give_back(blocks[i]);
	watched_free(large);
	assert_true(policy_under_test() != MEMS_FIRST_FIT || os.requests == 63);
	os_watch();
	assert_non_null(mems_realloc(at(grown), LARGE + MIB));
	assert_in_range(os.requests, 1, 64);
	go_on_freeing(8 * MIB);
	assert_true(stats_now().resident_hole_bytes <= budget());
	assert_sound();
}

/* A small block that moves makes no requests of its own, so the sweep may make them all. */
static void growth_for_a_small_block_gives_back_as_much(void **state)
{
	enum { BLOCKS = 2000, SMALL = 200 << 10 };
	(void)state;
	const uintptr_t grown = take(8);
	for (count = 0; count < BLOCKS; count++)
		blocks[count] = take(2 * PAGE);
	for (size_t i = 0; i < BLOCKS; i += 2)
		give_back(blocks[i]);
	while (stats_now().largest_hole >= SMALL)
		take(SMALL);
	const size_t mapped = stats_now().mapped_bytes;
	os_watch();
	assert_non_null(mems_realloc(at(grown), SMALL));
	assert_true(stats_now().mapped_bytes > mapped);
	assert_true(policy_under_test() == MEMS_FIRST_FIT ? os.requests == 63 : os.requests <= 64);
	assert_sound();
}

/* What goes back of a block that moves, and of the rest of the heap, counts together. The block moves to
 * a new node, or, as HOLES that are too small for it have made the heap large, into the last one. */
enum { MOST_HOLES = 12 };

static void a_move_and_a_sweep(size_t holes)
{
	enum { BLOCKS = 8000, LARGE = 30 << 20 };
	uintptr_t large[MOST_HOLES];
	mems_finish();
	mems_init();
	for (size_t i = 0; i < holes; i++) {
		large[i] = take(LARGE);
		take(8);
	}
	const uintptr_t grown = take(LARGE);
	take(8);
	for (count = 0; count < BLOCKS; count++)
		blocks[count] = take(2 * PAGE);
	for (size_t i = 0; i < holes; i++)
		give_back(large[i]);
	mems_trim();
	os_watch();
	for (size_t i = 0; i < BLOCKS && os.requests == 0; i += 2)
		give_back(blocks[i]);
	const size_t mapped = stats_now().mapped_bytes;
	os_watch();
	const uintptr_t after = address_of(mems_realloc(at(grown), LARGE + MIB));
	assert_true(after != 0 && after != grown);
	assert_true((stats_now().mapped_bytes == mapped) == (holes != 0));
	assert_in_range(os.requests, 30, 64);
	assert_true(os.given_bytes >= LARGE - MIB);
	os_watch();
	give_back(take(8));
	assert_in_range(os.requests, holes != 0, 64);
	go_on_freeing(8 * MIB);
	assert_true(stats_now().resident_hole_bytes <= budget());
	assert_sound();
}

static void a_move_and_a_sweep_are_bounded_together(void **state)
{
	(void)state;
	if (is_address_space_limited() || sizeof(size_t) == 4) {
		print_message("note: moves in 500 MiB: skipped, for there is too little room\n");
		skip();
	}
	a_move_and_a_sweep(0);
	a_move_and_a_sweep(MOST_HOLES);
}

/* A block that grows and moves goes back piece by piece while it is copied: not both lie in memory, and
 * its size does not decide how many requests that takes. A piece in which a page is locked stays, and
 * the library knows of it. */
static void move_a_block(size_t locked_bytes, size_t staying_bytes)
{
	enum { SIZE = 256 << 20 };
	const uintptr_t before = take(SIZE);
	memset(mems_get(at(before)), 1, SIZE);
	take(8);
	os.locked = (const char *)mems_get(at(before)) + SIZE / 2;
	os.locked_bytes = locked_bytes;
	os_watch();
	const uintptr_t after = address_of(mems_realloc(at(before), SIZE + MIB));
	os.locked_bytes = 0;
	assert_true(after != 0 && after != before);
	assert_in_range(os.requests, 8, 64);
	assert_in_range(os.given_bytes, SIZE - staying_bytes - MIB, SIZE);
	if (has_pages())
		assert_true(resident_hole_bytes() >= locked_bytes);
	assert_in_range(stats_now().resident_hole_bytes, 0, (locked_bytes != 0 ? SIZE / 2 : 0) + MIB);
	assert_sound();
}

static void a_block_that_moves_goes_back_in_few_requests(void **state)
{
	(void)state;
	move_a_block(0, 0);
	mems_finish();
	mems_init();
	move_a_block(PAGE, 8 * MIB);
}

/* As long as the heap is within the budget, the block that was moved stays in memory. */
static void a_block_that_moves_within_the_budget_stays(void **state)
{
	enum { BLOCKS = 16, SIZE = 2 << 20 };
	(void)state;
	fill_heap(SIZE, (size_t)BLOCKS * SIZE);
	os_watch();
	assert_non_null(mems_realloc(at(blocks[1]), SIZE + SIZE / 2));
	assert_int_equal(os.requests, 0);
	assert_true(stats_now().resident_hole_bytes >= SIZE);
	while (os.requests == 0 && count-- > 2)
		watched_free(blocks[count]);
	assert_true(os.requests != 0 && count > 2);
	assert_sound();
}

/* ---- What is kept, and forgotten --------------------------------------------------------- */

static void one_round(size_t size, size_t bytes)
{
	fill_heap(size, bytes);
	while (count > 0)
		watched_free(blocks[--count]);
}

static size_t given_in_round(size_t size, size_t bytes)
{
	struct mems_stats before = stats_now();
	size_t given = 0;
	fill_heap(size, bytes);
	while (count > 0) {
		watched_free(blocks[--count]);
		given += os.given_bytes;
	}
	assert_true(stats_now().mapped_bytes >= before.mapped_bytes);
	return given;
}

static void rounds_keep_their_pages(void **state)
{
	static const size_t sizes[] = { 1000, 50000, 4 << 20 };
	enum { TOTAL = 64 << 20 };
	(void)state;
	for (size_t i = 0; i < 3; i++) {
		mems_finish();
		mems_init();
		take(8);
		one_round(sizes[i], TOTAL);
		one_round(sizes[i], TOTAL);
		for (size_t round = 0; round < 3; round++)
			assert_int_equal(given_in_round(sizes[i], TOTAL), 0);
		assert_true(stats_now().resident_hole_bytes >= TOTAL / 2);
		/* The rounds stop, and some seconds of other calls pass. */
		size_t before = stats_now().resident_hole_bytes;
		for (size_t second = 0; second < 10; second++) {
			fake_clock.second++;
			go_on_freeing(4 * MIB);
			const size_t after = stats_now().resident_hole_bytes;
			assert_true(after <= before + 16 * PAGE);
			before = after;
		}
		assert_true(before <= budget());
		assert_true(!has_pages() || resident_hole_bytes() <= budget());
		assert_sound();
	}
}

/* Also where there are so few calls that each has to give back what it can. */
static void rounds_of_large_blocks_keep_their_pages(void **state)
{
	static const struct {
		size_t size, blocks;
	} rounds[] = { { 24 << 20, 2 }, { 16 << 20, 3 }, { 48 << 20, 1 }, { 100 << 20, 1 }, { 70 << 20, 2 } };
	(void)state;
	if (is_address_space_limited() || sizeof(size_t) == 4) {
		print_message("note: 140 MiB in a round: skipped, for there is too little room\n");
		skip();
	}
	for (size_t i = 0; i < sizeof(rounds) / sizeof(rounds[0]); i++) {
		const size_t bytes = rounds[i].size * rounds[i].blocks;
		mems_finish();
		mems_init();
		one_round(rounds[i].size, bytes);
		assert_true(stats_now().resident_hole_bytes <= budget());
		one_round(rounds[i].size, bytes);
		for (size_t round = 0; round < 3; round++)
			assert_int_equal(given_in_round(rounds[i].size, bytes), 0);
		assert_true(stats_now().resident_hole_bytes >= bytes);
		assert_sound();
	}
}

/* Rounds whose pages are kept from now on. */
static void keep_pages(void)
{
	enum { TOTAL = 32 << 20, ROUNDS = 3 };
	take(8);
	for (size_t round = 0; round < ROUNDS; round++)
		one_round(2000, TOTAL);
	assert_true(stats_now().resident_hole_bytes >= TOTAL / 2);
}

/* Each way to free a block looks at what may go back, also where nothing else is called. */
static void a_pair_of_calls_is_enough(void **state)
{
	static const size_t sizes[] = { 64, 2000, 50000 };
	enum { SECONDS = 10 };
	(void)state;
	for (size_t i = 0; i < 6; i++) {
		mems_finish();
		assert_succeeds(mems_option(MEMS_HISTORY, i < 3 ? 8 : 0) == 0);
		mems_init();
		keep_pages();
		for (size_t second = 0; second < SECONDS; second++) {
			fake_clock.second++;
			for (size_t done = 0; done < 8 * MIB; done += sizes[i % 3])
				give_back(take(sizes[i % 3]));
		}
		assert_true(stats_now().resident_hole_bytes <= budget());
		assert_sound();
	}
}

/* Also of a thread that has a cache of its own: all that it frees goes there, and is taken from there. */
static void *call_in_pairs(void *size)
{
	enum { SECONDS = 10 };
	for (size_t second = 0; second < SECONDS; second++) {
		fake_clock.second++;
		for (size_t done = 0; done < 8 * MIB; done += *(size_t *)size)
			mems_free(mems_malloc(*(size_t *)size));
	}
	return NULL;
}

static void a_pair_of_calls_of_a_thread_is_enough(void **state)
{
	static size_t sizes[] = { 16, 64, 500 };
	(void)state;
	for (size_t i = 0; i < 3; i++) {
		pthread_t thread;
		mems_finish();
		mems_init();
		keep_pages();
		assert_int_equal(pthread_create(&thread, NULL, call_in_pairs, &sizes[i]), 0);
		assert_int_equal(pthread_join(thread, NULL), 0);
		assert_true(stats_now().resident_hole_bytes <= budget());
		assert_sound();
	}
}

/* Also of threads of which none lives so long that all it frees is more than its cache may have. */
static void *free_a_little(void *size)
{
	for (size_t done = 0; done < 20000; done += *(size_t *)size)
		mems_free(mems_malloc(*(size_t *)size));
	return NULL;
}

static void short_threads_are_enough(void **state)
{
	static size_t sizes[] = { 16, 64, 500 };
	enum { SECONDS = 10, THREADS = 40 };
	(void)state;
	for (size_t i = 0; i < 3; i++) {
		mems_finish();
		mems_init();
		keep_pages();
		for (size_t n = 0; n < SECONDS * THREADS; n++) {
			pthread_t thread;
			fake_clock.second += n % THREADS == 0;
			assert_int_equal(pthread_create(&thread, NULL, free_a_little, &sizes[i]), 0);
			assert_int_equal(pthread_join(thread, NULL), 0);
		}
		assert_true(stats_now().resident_hole_bytes <= budget());
		assert_sound();
	}
}

/* What threads that have stopped keep in their caches goes back as well, once others go on freeing. */
enum { MOST_GRANULES = 64, GRANULE = 64, OF_EACH_SIZE = 62 };

static pthread_barrier_t stopped, resumed;

static void *fill_cache_and_stop(void *context)
{
	void *taken[MOST_GRANULES * OF_EACH_SIZE];
	for (size_t i = 0; i < MOST_GRANULES * OF_EACH_SIZE; i++) {
		const size_t size = (i / OF_EACH_SIZE + 1) * GRANULE;
		taken[i] = mems_malloc(size);
		memset(mems_get(taken[i]), 1, size);
	}
	for (size_t i = 0; i < MOST_GRANULES * OF_EACH_SIZE; i++)
		mems_free(taken[i]);
	pthread_barrier_wait(&stopped);
	pthread_barrier_wait(&resumed);
	return context;
}

static void what_stopped_threads_keep_goes_back(void **state)
{
	enum { THREADS = 8, SECONDS = 10 };
	pthread_t threads[THREADS];
	(void)state;
	mems_finish();
	assert_int_equal(mems_option(MEMS_ALIGNMENT, GRANULE), 0);
	mems_init();
	pthread_barrier_init(&stopped, NULL, THREADS + 1);
	pthread_barrier_init(&resumed, NULL, THREADS + 1);
	for (size_t i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, fill_cache_and_stop, NULL), 0);
	pthread_barrier_wait(&stopped);
	for (size_t second = 0; second < SECONDS; second++) {
		fake_clock.second++;
		go_on_freeing(4 * MIB);
	}
	assert_true(!has_pages() || resident_hole_bytes() <= budget());
	pthread_barrier_wait(&resumed);
	for (size_t i = 0; i < THREADS; i++)
		assert_int_equal(pthread_join(threads[i], NULL), 0);
	assert_sound();
}

/* Where a heap grows, pages go back that are remembered blocks', here with one request. Who gets
 * these touches them. */
static void remembered_blocks_lose_their_pages_to_growth(void **state)
{
	enum { SIZE = 500, USED = 64 << 20, REMEMBERED = 200, AFTER = 200 };
	(void)state;
	fill_heap(SIZE, USED);
	while (stats_now().resident_hole_bytes != 0)
		take(SIZE);
	for (size_t i = 0; i < REMEMBERED; i++)
		give_back(blocks[count - AFTER - REMEMBERED + i]);
	assert_true(stats_now().resident_hole_bytes > 0);
	os_watch();
	assert_non_null(mems_malloc(USED));
	assert_int_equal(os.requests, 1);
	for (size_t i = 0; i < REMEMBERED / 2; i++)
		assert_non_null(mems_malloc(SIZE)); /* and nothing else that MeMS has */
	assert_sound();
}

/* Memory below the top of what was used is not kept unless it was given back. */
static void what_was_never_used_is_not_kept(void **state)
{
	(void)state;
	const uintptr_t large = take(128 * MIB); /* so the next node has 16 MiB */
	take(8);
	const uintptr_t high = take(17 * MIB);
	fill_heap(4000, 14 * MIB);
	assert_true(blocks[count - 1] < high);
	watched_free(large);
	watched_free(high);
	while (count > 0)
		watched_free(blocks[--count]);
	go_on_freeing(8 * MIB);
	assert_true(stats_now().resident_hole_bytes <= budget());
	assert_sound();
}

/* Half of what lies unused goes in each second, no more, and nothing without a clock. */
static void what_is_kept_is_forgotten_by_halves(void **state)
{
	enum { TOTAL = 64 << 20, SIZE = 1 << 20 };
	(void)state;
	take(8);
	one_round(SIZE, TOTAL);
	one_round(SIZE, TOTAL);
	one_round(SIZE, TOTAL);
	go_on_freeing(16 * MIB);
	const size_t kept = stats_now().resident_hole_bytes;
	assert_true(kept >= TOTAL / 2);
	fake_clock.second++; /* the second in which it was all in use ends */
	go_on_freeing(MIB);
	assert_int_equal(stats_now().resident_hole_bytes, kept);
	size_t before = kept;
	for (size_t second = 0; second < 4; second++) {
		fake_clock.second++;
		go_on_freeing(8 * MIB);
		const size_t after = stats_now().resident_hole_bytes;
		assert_true(after < before);
		assert_true(after + 4 * MIB >= before / 2 && after <= before / 2 + 5 * MIB);
		before = after;
	}
	assert_sound();
}

/* A loop that uses all it has in each second loses nothing. */
static void what_is_used_each_second_is_not_forgotten(void **state)
{
	enum { TOTAL = 64 << 20, SIZE = 1 << 20 };
	(void)state;
	take(8);
	one_round(SIZE, TOTAL);
	one_round(SIZE, TOTAL);
	for (size_t second = 0; second < 8; second++) {
		fake_clock.second++;
		assert_int_equal(given_in_round(SIZE, TOTAL), 0);
	}
}

/* ---- mems_trim --------------------------------------------------------------------------- */

static void trim_gives_all_back_at_once(void **state)
{
	enum { TOTAL = 24 << 20, SIZE = 20000 };
	(void)state;
	os_watch();
	assert_succeeds(mems_trim() == 0);
	fill_heap(SIZE, TOTAL);
	order_blocks(SHUFFLED);
	for (size_t i = 0; i < count / 2; i++)
		give_back(blocks[i]);
	char *const before = printed_text();
	const size_t resident = stats_now().resident_hole_bytes;
	os_watch();
	errno = UNTOUCHED;
	const size_t given = mems_trim();
	assert_int_equal(errno, UNTOUCHED);
	char *const after = printed_text();
	assert_string_equal(after, before);
	assert_int_equal(given, resident);
	assert_int_equal(given, os.given_bytes);
	assert_int_equal(stats_now().resident_hole_bytes, 0);
	assert_true(!has_pages() || resident_hole_bytes() == 0);
	for (size_t i = count / 2; i < count; i++)
		assert_int_equal(*(char *)mems_get(at(blocks[i])), 1);
	assert_succeeds(mems_trim() == 0);
	assert_sound();
	free(before);
	free(after);
}

/* A block of other pages is freed then: no more of them stay than if no pages had been taken again. */
static void trim_forgets_what_was_kept(void **state)
{
	enum { TOTAL = 16 << 20 };
	(void)state;
	take(8);
	for (size_t round = 0; round < 3; round++)
		one_round(MIB, TOTAL);
	assert_true(stats_now().resident_hole_bytes >= TOTAL / 2);
	mems_trim();
	watched_free(take(2 * TOTAL));
	go_on_freeing(MIB);
	assert_true(stats_now().resident_hole_bytes <= budget());
	assert_sound();
}

/* Nothing that quick fit remembers is left. */
static int count_remembered(const struct mems_segment *segment, void *sum)
{
	*(size_t *)sum += segment->remembered_bytes;
	return 0;
}

static void trim_coalesces_what_is_remembered(void **state)
{
	size_t remembered = 0;
	(void)state;
	fill_heap(24, 100000);
	while (count > 0)
		give_back(blocks[--count]);
	assert_int_equal(mems_walk(count_remembered, &remembered), 0);
	assert_true(remembered >= 90000);
	mems_trim();
	remembered = 0;
	assert_int_equal(mems_walk(count_remembered, &remembered), 0);
	assert_int_equal(remembered, 0);
	assert_true(take(50000) == 1000);
	assert_sound();
}

/* A heap of so much, all free, of which nothing went back. */
static void free_while_the_os_refuses(size_t bytes)
{
	fill_heap(MIB, bytes);
	os_watch();
	os.refused_from = 0;
	while (count > 0)
		give_back(blocks[--count]);
}

static void trim_where_the_os_refuses(void **state)
{
	(void)state;
	free_while_the_os_refuses(16 * MIB);
	const size_t resident = stats_now().resident_hole_bytes;
	assert_succeeds(mems_trim() == 0);
	assert_int_equal(stats_now().resident_hole_bytes, resident);
	assert_sound();
	os_watch();
	assert_int_equal(mems_trim(), resident);
	assert_sound();
}

/* Pages that the program has locked stay, and no other ones on their account. */
static void frees_around_locked(size_t size, size_t at_byte, size_t bytes)
{
	enum { TOTAL = 64 << 20 };
	mems_finish();
	mems_init();
	fill_heap(size, TOTAL);
	os.locked = (const char *)mems_get(at(blocks[0])) + at_byte;
	os.locked_bytes = bytes;
	while (count > 0)
		watched_free(blocks[--count]);
	go_on_freeing(16 * MIB);
	const size_t passed_over = bytes + PAGE; /* besides what is locked */
	assert_true(stats_now().resident_hole_bytes <= budget() + bytes + passed_over);
	os_watch();
	assert_true(mems_trim() != 0);
	assert_in_range(stats_now().resident_hole_bytes, bytes / 2, bytes + passed_over);
	os.locked_bytes = 0;
	mems_trim();
	assert_int_equal(stats_now().resident_hole_bytes, 0);
	assert_sound();
}

static void what_is_locked_stays_alone(void **state)
{
	static const size_t sizes[] = { 1000, 30000, 1 << 20 };
	(void)state;
	for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
		for (size_t from = 0; from <= 60 * MIB; from += 20 * MIB) {
			frees_around_locked(sizes[i], from, PAGE);
			frees_around_locked(sizes[i], from + 100 * PAGE, 2 * MIB);
		}
	}
}

/* A trim makes as many requests as that takes, and passes little over for each area that is locked. */
static void trim_around_many_locked(void **state)
{
	enum { AREAS = 60 };
	(void)state;
	free_while_the_os_refuses(64 * MIB);
	os_watch();
	os.locked = (const char *)mems_get(at(take(MIB))) + 2 * MIB;
	os.locked_bytes = PAGE;
	os.locked_areas = AREAS;
	mems_trim();
	const size_t left = stats_now().resident_hole_bytes;
	os.locked_areas = 0;
	os.locked_bytes = 0;
	assert_in_range(left, AREAS / 2 * PAGE, AREAS * 4 * PAGE);
	assert_sound();
}

static int trim_in_visitor(const struct mems_segment *segment, void *context)
{
	(void)segment;
	(void)context;
	assert_fails(EBUSY, mems_trim() == 0);
	return 0;
}

static void trim_where_it_may_not(void **state)
{
	(void)state;
	give_back(take(MIB));
	assert_int_equal(mems_walk(trim_in_visitor, NULL), 0);
	assert_int_equal(stats_now().resident_hole_bytes, MIB);
	mems_finish();
	assert_fails(EPERM, mems_trim() == 0);
	assert_no_report();
}

/* ---- mems_calloc ------------------------------------------------------------------------- */

static void assert_zeros(uintptr_t address, size_t size)
{
	const unsigned char *const bytes = mems_get_range(at(address), size);
	assert_non_null(bytes);
	assert_true(size == 0 || (bytes[0] == 0 && memcmp(bytes, bytes + 1, size - 1) == 0));
}

static uintptr_t take_zeroed(size_t size)
{
	const uintptr_t address = address_of(mems_calloc(1, size));
	assert_true(address != 0);
	return address;
}

/* A large array of which few pages are written to, again and again. */
static void calloc_leaves_pages_out(void **state)
{
	enum { SIZE = 48 << 20, ROUNDS = 6, SPARSE = 64 };
	(void)state;
	if (!has_pages())
		skip();
	for (size_t round = 0; round < ROUNDS; round++) {
		const size_t size = SIZE - round * 100000;
		const uintptr_t array = take_zeroed(size);
		assert_true(resident_process_bytes() <= round * SPARSE * PAGE);
		char *const bytes = mems_get(at(array));
		for (size_t i = 0; i < SPARSE; i++) {
			char *const place = bytes + (i * 7919 + round * 13) % (size / PAGE) * PAGE;
			assert_int_equal(*place, 0);
			memset(place, 1, PAGE);
		}
		watched_free(array);
	}
	const uintptr_t array = take_zeroed(SIZE / 2);
	assert_zeros(array, SIZE / 2);
	assert_sound();
}

/* The last page, of which the block has a part, stays out with the others. */
static void calloc_leaves_the_last_page_out(void **state)
{
	static const size_t sizes[] = { PAGE + 8, 10 * PAGE + 8, 300 * PAGE - 8 };
	(void)state;
	if (!has_pages())
		skip();
	for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
		mems_finish();
		mems_init();
		const char *const bytes = mems_get(at(take_zeroed(sizes[i])));
		assert_int_equal((uintptr_t)bytes % PAGE, 0);
		assert_int_equal(pages_in_memory(bytes, sizes[i] + PAGE), 0);
	}
}

/* Page by page: some are in memory, some are not, some were given back; all are zero. */
static void calloc_page_by_page(void **state)
{
	enum { PAGES = 300 };
	uint64_t random = 11;
	(void)state;
	for (size_t round = 0; round < 30; round++) {
		const uintptr_t array = take_zeroed(PAGES * PAGE - round * 8);
		char *const bytes = mems_get(at(array));
		size_t written = 0;
		const size_t before = has_pages() ? pages_in_memory(bytes, PAGES * PAGE - PAGE) : 0;
		for (size_t i = 0; i < PAGES - 1; i++) {
			if (random_below(&random, 1 + round % 5) == 0) {
				memset(bytes + i * PAGE, (int)round + 1, PAGE);
				written++;
			}
		}
		if (has_pages())
			assert_true(pages_in_memory(bytes, PAGES * PAGE - PAGE) <= before + written + 1);
		give_back(array);
		if (round % 3 == 0)
			mems_trim();
		if (round % 7 == 0)
			give_back(take(20 * PAGE));
		const uintptr_t again = take_zeroed(PAGES * PAGE - round * 8 - 8);
		assert_zeros(again, PAGES * PAGE - round * 8 - 8);
		give_back(again);
	}
	assert_sound();
}

/* Small blocks, too, where pages were given back: only their own come in. */
static void calloc_of_small_blocks(void **state)
{
	static const size_t sizes[] = { 8, 100, 3000, 5000, 20000, 65536 };
	(void)state;
	for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
		fill_heap(sizes[i], MIB);
		while (count > 0)
			give_back(blocks[--count]);
		if (i % 2 == 0)
			mems_trim();
		size_t total = 0;
		for (count = 0; total < MIB; total += sizes[i]) {
			blocks[count] = take_zeroed(sizes[i]);
			assert_zeros(blocks[count++], sizes[i]);
		}
		while (count > 0) {
			memset(mems_get(at(blocks[--count])), 2, sizes[i]);
			give_back(blocks[count]);
		}
		assert_sound();
	}
}

/* Those that are remembered as well, of which what is not in memory stays so. */
static void calloc_leaves_remembered_pages_out(void **state)
{
	static const size_t sizes[] = { 8192, 20000, 65528, 65536 };
	enum { TOTAL = 24 << 20, TAKEN = 8 << 20 };
	(void)state;
	if (!has_pages())
		skip();
	for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
		mems_finish();
		mems_init();
		fill_heap(sizes[i], TOTAL);
		while (count > 0)
			give_back(blocks[--count]);
		const size_t before = resident_hole_bytes();
		assert_true(before <= budget());
		for (count = 0; count < TAKEN / sizes[i]; count++)
			blocks[count] = take_zeroed(sizes[i]);
		assert_true(resident_process_bytes() <= before + 16 * PAGE);
		while (count > 0)
			assert_zeros(blocks[--count], sizes[i]);
		assert_sound();
	}
}

/* ---- Nothing that can be seen depends on it ---------------------------------------------- */

static uint64_t mixed(uint64_t sum, size_t value)
{
	return (sum ^ value) * UINT64_C(0x9e3779b97f4a7c15) + (sum >> 29);
}

static uint64_t mixed_text(uint64_t sum)
{
	char *const text = printed_text();
	for (const char *next = text; *next != '\0'; next++)
		sum = mixed(sum, (unsigned char)*next);
	free(text);
	return sum;
}

/* Random calls of which much is given back; all addresses, and the text printed now and then. */
static uint64_t addresses_of_random_calls(uint64_t seed, time_t step, bool is_refused)
{
	enum { CALLS = 30000, SLOTS = 300 };
	static uintptr_t held[SLOTS];
	uint64_t sum = 0;
	mems_finish();
	mems_init();
	memset(held, 0, sizeof held);
	fake_clock.step = step;
	os_watch();
	os.refused_from = is_refused ? 0 : SIZE_MAX;
	for (size_t i = 0; i < CALLS; i++) {
		const size_t slot = random_below(&seed, SLOTS);
		const size_t most = random_below(&seed, 20) == 0 ? 2 * MIB : 20000;
		const size_t size = 1 + random_below(&seed, most);
		const size_t way = random_below(&seed, 4);
		if (held[slot] != 0 && way != 0) {
			give_back(held[slot]);
			held[slot] = 0;
		} else if (held[slot] != 0 || way == 1) {
			held[slot] = address_of(mems_realloc(at(held[slot]), size));
		} else {
			held[slot] = way == 2 ? take_zeroed(size) : take(size);
		}
		sum = mixed(sum, held[slot]);
		if (i % (CALLS / 10) == 0)
			sum = mixed_text(sum);
	}
	assert_sound();
	fake_clock.step = 0;
	os_watch();
	return mixed_text(sum);
}

static void addresses_do_not_depend_on_it(void **state)
{
	const char *const chosen = getenv("SEED");
	const unsigned long seed = chosen != NULL ? strtoul(chosen, NULL, 10) : (unsigned)getpid();
	(void)state;
	print_message("addresses: SEED=%lu\n", seed);
	const uint64_t first = addresses_of_random_calls(seed, 0, false);
	assert_true(addresses_of_random_calls(seed, 1, false) == first);
	assert_true(addresses_of_random_calls(seed, 1000, false) == first);
	assert_true(addresses_of_random_calls(seed, 1, true) == first);
	assert_true(addresses_of_random_calls(seed + 1, 0, false) != first);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		heap_test(what_is_freed_falls_to_a_quarter),
		heap_test(what_blocks_lose_goes_back),
		first_fit_test(pages_that_small_blocks_held_go_back),
		heap_test(a_quarter_of_what_is_in_use_stays),
		heap_test(a_call_gives_back_a_bounded_amount),
		heap_test(a_large_block_goes_back_at_once),
		heap_test(realloc_gives_back_a_bounded_amount),
		heap_test(growth_for_a_small_block_gives_back_as_much),
		heap_test(a_move_and_a_sweep_are_bounded_together),
		heap_test(a_block_that_moves_goes_back_in_few_requests),
		heap_test(a_block_that_moves_within_the_budget_stays),
		heap_test(rounds_keep_their_pages),
		heap_test(rounds_of_large_blocks_keep_their_pages),
		heap_test(a_pair_of_calls_is_enough),
		quick_fit_test(remembered_blocks_lose_their_pages_to_growth),
		heap_test(what_was_never_used_is_not_kept),
		heap_test(what_is_kept_is_forgotten_by_halves),
		heap_test(what_is_used_each_second_is_not_forgotten),
		heap_test(trim_gives_all_back_at_once),
		heap_test(trim_forgets_what_was_kept),
		quick_fit_test(trim_coalesces_what_is_remembered),
		heap_test(trim_where_the_os_refuses),
		heap_test(what_is_locked_stays_alone),
		heap_test(trim_around_many_locked),
		heap_test(trim_where_it_may_not),
		heap_test(calloc_leaves_pages_out),
		heap_test(calloc_leaves_the_last_page_out),
		heap_test(calloc_page_by_page),
		heap_test(calloc_of_small_blocks),
		quick_fit_test(calloc_leaves_remembered_pages_out),
		heap_test(addresses_do_not_depend_on_it),
		/* The last ones: with threads addresses do. */
		heap_test(a_pair_of_calls_of_a_thread_is_enough),
		heap_test(short_threads_are_enough),
		heap_test(what_stopped_threads_keep_goes_back),
	};
	os_watch();
	return run_heap_tests("purge", tests);
}
