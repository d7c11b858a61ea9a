/*
 * A program may interpose what the library asks the OS with, as tracers do, and call MeMS there:
 * from inside a request every function that would change the heap refuses, those that translate
 * answer, and the heap is what it would be without such calls, with one thread and with more. A fork
 * of another thread waits for a heap that starts or ends.
 *
 * The linker puts the functions below between the library and the OS: link with -Wl,--wrap=NAME
 * for mmap, munmap, mprotect, madvise and mincore.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "support.h"
#include "wrapped.h"

/* ---- Inside a request -------------------------------------------------------------------- */

enum request { MMAP, MUNMAP, MPROTECT, MADVISE, MINCORE, REQUESTS };

static struct {
	_Atomic bool is_on;              /* requests call back in */
	_Atomic bool has_heap;           /* mems_init has returned, mems_finish was not called */
	atomic_size_t count[REQUESTS];   /* of such requests */
	atomic_size_t wrong;             /* answers that are not as they have to be */
} hook;

/* Another thread that forks while a request is made. */
static struct {
	atomic_bool is_awaited;         /* the next request asks it to */
	atomic_bool is_asked, has_forked;
	bool is_early;                  /* it has, before the request was at its end */
} forker;

/* A block of this thread, of LIVE_BYTES that are all LIVE_BYTE; 0 for none. */
enum { LIVE_BYTES = 100, LIVE_BYTE = 90 };
static _Thread_local uintptr_t live;
static _Thread_local bool is_inside;

static void expect_at(bool holds, const char *what, int line)
{
	if (holds)
		return;
	atomic_fetch_add(&hook.wrong, 1);
	fprintf(stderr, "%s:%d: does not hold inside a request: %s (errno %d)\n", __FILE__, line, what,
	        errno);
}

#define expect(condition) expect_at(condition, #condition, __LINE__)
#define expect_error(code, condition) \
	(errno = UNTOUCHED, expect(condition), expect(errno == (code)))

static void allocate_inside(void)
{
	const int error = hook.has_heap ? ENOMEM : EPERM;
	expect_error(error, mems_malloc(1) == NULL);
	expect_error(error, mems_malloc(100000) == NULL);
	expect_error(error, mems_calloc(3, 100) == NULL);
	expect_error(error, mems_aligned_alloc(64, 100) == NULL);
	expect_error(error, mems_realloc(NULL, 100) == NULL);
}

static void use_live_block_inside(void)
{
	const unsigned char *const bytes = mems_get(at(live));
	unsigned char copy[LIVE_BYTES];
	expect(bytes != NULL && bytes[0] == LIVE_BYTE);
	expect(mems_get_range(at(live), LIVE_BYTES) == bytes);
	expect(mems_virtual(bytes + 1) == at(live + 1));
	expect(mems_read(copy, at(live), LIVE_BYTES) == 0 && copy[LIVE_BYTES - 1] == LIVE_BYTE);
	expect(mems_usable_size(at(live)) >= LIVE_BYTES);
	expect_error(ENOMEM, mems_realloc(at(live), 5000) == NULL);
	expect_error(ENOMEM, mems_realloc(at(live), 8) == NULL);
	expect_error(EBUSY, (mems_free(at(live)), true));
	expect(mems_get(at(live)) == bytes);
}

static int first_byte_read(const struct mems_segment *segment, void *context)
{
	if (segment->type == MEMS_PROCESS)
		*(volatile char *)context = *(const volatile char *)segment->physical;
	return 0;
}

/* Whatever is seen is there. */
static void look_inside(void)
{
	static FILE *nowhere;
	struct mems_stats stats;
	struct mems_segment segment;
	struct mems_event events[2];
	char byte;
	if (nowhere == NULL)
		nowhere = fopen("/dev/null", "w");
	mems_walk(first_byte_read, &byte);
	mems_get_stats(&stats);
	expect(stats.process_bytes <= stats.mapped_bytes);
	expect(stats.main_nodes <= stats.pages);
	mems_segment_at(at(1000), &segment);
	mems_history(at(1000), events, 2);
	mems_explain(at(1000), nowhere);
	mems_fprint_live(nowhere);
	mems_fprint_json(nowhere);
}

static void change_life_inside(void)
{
	expect_error(EBUSY, (mems_finish(), true));
	expect_error(EBUSY, mems_trim() == 0);
	expect_error(EBUSY, mems_record(stderr) == -1);
	expect_error(EBUSY, mems_option(MEMS_ALIGNMENT, 8) == -1);
}

/* What comes in meanwhile is not called back from again. */
static void call_back_in(enum request request)
{
	if (!hook.is_on || is_inside)
		return;
	const int error = errno;
	is_inside = true;
	atomic_fetch_add(&hook.count[request], 1);
	allocate_inside();
	if (hook.has_heap && live != 0)
		use_live_block_inside();
	if (hook.has_heap)
		change_life_inside();
	look_inside();
	is_inside = false;
	errno = error;
}

static void fork_beside(void)
{
	enum { WAIT_US = 50000 };
	if (!atomic_exchange(&forker.is_awaited, false))
		return;
	atomic_store(&forker.is_asked, true);
	usleep(WAIT_US);
	forker.is_early = atomic_load(&forker.has_forked);
}

void *__wrap_mmap(void *address, size_t bytes, int access, int flags, int file, off_t offset)
{
	fork_beside();
	call_back_in(MMAP);
	return __real_mmap(address, bytes, access, flags, file, offset);
}

int __wrap_munmap(void *address, size_t bytes)
{
	fork_beside();
	call_back_in(MUNMAP);
	const int result = __real_munmap(address, bytes);
	call_back_in(MUNMAP);
	return result;
}

int __wrap_mprotect(void *address, size_t bytes, int access)
{
	call_back_in(MPROTECT);
	const int result = __real_mprotect(address, bytes, access);
	call_back_in(MPROTECT);
	return result;
}

int __wrap_madvise(void *address, size_t bytes, int advice)
{
	call_back_in(MADVISE);
	const int result = __real_madvise(address, bytes, advice);
	call_back_in(MADVISE);
	return result;
}

int __wrap_mincore(void *address, size_t bytes, unsigned char *pages)
{
	call_back_in(MINCORE);
	return __real_mincore(address, bytes, pages);
}

/* ---- What goes on meanwhile -------------------------------------------------------------- */

static uintptr_t live_take(void)
{
	void *const v_ptr = mems_malloc(LIVE_BYTES);
	if (v_ptr != NULL)
		memset(mems_get(v_ptr), LIVE_BYTE, LIVE_BYTES);
	return address_of(v_ptr);
}

/* Calls that make all kinds of requests; returns a sum of all addresses. */
static uint64_t use_heap(uint64_t seed)
{
	enum { CALLS = 4000, SLOTS = 60 };
	uintptr_t blocks[SLOTS] = { 0 };
	uint64_t sum = 0;
	for (size_t i = 0; i < CALLS; i++) {
		const size_t slot = random_below(&seed, SLOTS);
		const size_t most = random_below(&seed, 8) == 0 ? 3 * MIB : 5000;
		const size_t size = 1 + random_below(&seed, most);
		const size_t way = random_below(&seed, 6);
		const uintptr_t before = blocks[slot];
		if (before != 0 && way < 3) {
			mems_free(at(before));
			blocks[slot] = 0;
		} else if (before != 0) {
			blocks[slot] = address_of(mems_realloc(at(before), size));
		} else {
			blocks[slot] = address_of(way == 0 ? mems_calloc(1, size) : mems_malloc(size));
		}
		expect(blocks[slot] != 0 || (before != 0 && way < 3));
		if (i % 1000 == 999)
			mems_trim();
		sum = sum * 31 + blocks[slot];
	}
	for (size_t slot = 0; slot < SLOTS; slot++)
		mems_free(at(blocks[slot]));
	return sum;
}

/* The same calls in a new heap, with or without the ones inside. */
static uint64_t use_new_heap(uint64_t seed, bool is_on)
{
	hook.is_on = is_on;
	mems_init();
	hook.has_heap = true;
	live = live_take();
	const uint64_t sum = use_heap(seed);
	assert_sound();
	assert_true(stats_now().process_segments == 1);
	const bool is_whole = *(unsigned char *)mems_get(at(live)) == LIVE_BYTE;
	live = 0;
	mems_finish();
	hook.has_heap = false;
	hook.is_on = false;
	assert_true(is_whole);
	assert_false(hook.wrong);
	return sum;
}

static uint64_t new_seed(void)
{
	const char *const chosen = getenv("SEED");
	const unsigned long seed = chosen != NULL ? strtoul(chosen, NULL, 10) : (unsigned)getpid();
	print_message("interposed: SEED=%lu\n", seed);
	return seed;
}

static void hook_reset(void)
{
	for (size_t i = 0; i < REQUESTS; i++)
		hook.count[i] = 0;
	hook.wrong = 0;
	mems_set_error_handler(NULL); /* mems_init has no heap yet, which is told */
	alarm(120);
}

static void assert_all_kinds(void)
{
	for (size_t i = 0; i < REQUESTS; i++)
		assert_true(hook.count[i] != 0);
}

static void calls_inside_requests_change_nothing(void **state)
{
	(void)state;
	hook_reset();
	const uint64_t seed = new_seed();
	const uint64_t sum = use_new_heap(seed, false);
	assert_true(use_new_heap(seed, true) == sum);
	assert_all_kinds();
}

static void likewise_with_history(void **state)
{
	(void)state;
	hook_reset();
	const uint64_t seed = new_seed();
	assert_int_equal(mems_option(MEMS_HISTORY, 100), 0);
	const uint64_t sum = use_new_heap(seed, false);
	assert_true(use_new_heap(seed, true) == sum);
	assert_all_kinds();
}

static void *sleep_until_closed(void *pipe_end)
{
	char byte;
	expect(read(*(int *)pipe_end, &byte, 1) == 0);
	return NULL;
}

/* The library takes its lock then. With threads, addresses of quick fit may depend on the clock: a sweep
 * closes their caches. */
static void likewise_beside_a_thread_that_sleeps(void **state)
{
	(void)state;
	pthread_t other;
	int ends[2];
	hook_reset();
	assert_int_equal(pipe(ends), 0);
	assert_int_equal(pthread_create(&other, NULL, sleep_until_closed, &ends[0]), 0);
	const uint64_t seed = new_seed();
	const uint64_t sum = use_new_heap(seed, false);
	assert_true(use_new_heap(seed, true) == sum || policy_under_test() == MEMS_QUICK_FIT);
	assert_all_kinds();
	close(ends[1]);
	pthread_join(other, NULL);
	close(ends[0]);
}

static void *use_heap_in_thread(void *seed)
{
	live = live_take();
	expect(live != 0);
	use_heap(*(uint64_t *)seed);
	expect(*(unsigned char *)mems_get(at(live)) == LIVE_BYTE);
	mems_free(at(live));
	live = 0;
	return NULL;
}

static void threads_whose_requests_call_back_in(void **state)
{
	enum { THREADS = 3 };
	(void)state;
	pthread_t threads[THREADS];
	uint64_t seeds[THREADS];
	hook_reset();
	mems_init();
	hook.has_heap = true;
	hook.is_on = true;
	const uint64_t seed = new_seed();
	for (size_t i = 0; i < THREADS; i++) {
		seeds[i] = seed + i;
		assert_int_equal(pthread_create(&threads[i], NULL, use_heap_in_thread, &seeds[i]), 0);
	}
	for (size_t i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	assert_sound();
	assert_int_equal(stats_now().process_bytes, 0);
	mems_finish();
	hook.is_on = false;
	assert_all_kinds();
	assert_false(hook.wrong);
	hook.has_heap = false;
}

static void *fork_when_asked(void *unused)
{
	int status = 1;
	while (!atomic_load(&forker.is_asked))
		usleep(100);
	const pid_t child = fork();
	if (child == 0)
		_exit(mems_check(stderr) != 0);
	atomic_store(&forker.has_forked, true);
	expect(waitpid(child, &status, 0) == child && status == 0);
	return unused;
}

static void assert_no_fork_during(void change(void))
{
	pthread_t thread;
	forker.is_asked = false;
	forker.has_forked = false;
	assert_int_equal(pthread_create(&thread, NULL, fork_when_asked, NULL), 0);
	forker.is_awaited = true;
	change();
	assert_false(forker.is_awaited);
	assert_int_equal(pthread_join(thread, NULL), 0);
	assert_false(forker.is_early);
	assert_false(hook.wrong);
}

static char image[64];

static void image_load(void)
{
	assert_int_equal(mems_load(image, 0), 0);
}

/* No child has a heap that is half started or half ended: the forks wait. */
static void forks_wait_for_the_start_and_the_end(void **state)
{
	(void)state;
	hook_reset();
	snprintf(image, sizeof image, "/tmp/test_interposed-%ld", (long)getpid());
	assert_no_fork_during(mems_init);
	assert_non_null(mems_malloc(1));
	assert_int_equal(mems_save(image), 0);
	assert_no_fork_during(mems_finish);
	assert_no_fork_during(image_load);
	unlink(image);
	mems_finish();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		bare_test(calls_inside_requests_change_nothing),
		bare_test(likewise_with_history),
		bare_test(likewise_beside_a_thread_that_sleeps),
		bare_test(threads_whose_requests_call_back_in),
		bare_test(forks_wait_for_the_start_and_the_end),
	};
	return run_heap_tests("interposed", tests);
}
