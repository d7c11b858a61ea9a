/*
 * Threads and forks: any function from any thread at any time, translation beside allocation, and
 * a sound heap in every child. No test waits for ever: a second process ends this one and names
 * the test. Where a test says that a thread waits, it gives it a moment to go wrong.
 */
#define _GNU_SOURCE
#include "churn.h"
#include "support.h"

#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
	/* Loops are so many times shorter. */
	SLOWNESS = THREAD_SANITIZER ? 8 : ADDRESS_SANITIZER ? 4 : 1,
	WATCHDOG_SECONDS = 120,
	MOMENT_MICROSECONDS = 20000            /* for a thread to do what it must not */
};

/* ThreadSanitizer loses count of threads in the child of a process that had several, and qemu-user
 * ends it. */
static bool child_may_have_threads(void)
{
	return !THREAD_SANITIZER && (!is_run_by_another() || is_run_by_valgrind());
}

/* ---- The watchdog, and what each test begins and ends with -------------------------------- */

static struct watchdog {
	pid_t pid;
	int pipe[2];
} watchdog;

/* In a process of its own, so that the tested one has no thread and no signal more. */
static void watch(const char *test, pid_t watched)
{
	struct pollfd end = { .fd = watchdog.pipe[0], .events = POLLIN };
	close(watchdog.pipe[1]);
	const bool is_over = poll(&end, 1, WATCHDOG_SECONDS * 1000) != 0;
	if (!is_over && getppid() == watched) {
		dprintf(STDERR_FILENO, "%s: does not come to an end\n", test);
		kill(watched, SIGKILL);
	}
	_exit(0);
}

static void watchdog_start(const char *test)
{
	const pid_t watched = getpid();
	fflush(NULL);
	assert_int_equal(pipe2(watchdog.pipe, O_CLOEXEC), 0);
	watchdog.pid = fork();
	assert_true(watchdog.pid >= 0);
	if (watchdog.pid == 0)
		watch(test, watched);
	close(watchdog.pipe[0]);
}

static void watchdog_stop(void)
{
	assert_int_equal(write(watchdog.pipe[1], "", 1), 1);
	close(watchdog.pipe[1]);
	assert_int_equal(waitpid(watchdog.pid, NULL, 0), watchdog.pid);
}

static _Atomic size_t reports; /* that the handler got */

static void count_report(int error, const void *v_ptr, const char *message)
{
	const bool is_allocation = strncmp(message, "mems_malloc(", strlen("mems_malloc(")) == 0;
	expect(error == (is_allocation ? EPERM : EINVAL));
	expect((v_ptr == NULL) == is_allocation);
	expect(strlen(message) != 0);
	atomic_fetch_add(&reports, 1);
}

/* *state: the name of the test. */
static int begin(void **state)
{
	watchdog_start(*state);
	expect_failures = 0;
	reports = 0;
	const int result = with_heap(state);
	mems_set_error_handler(count_report);
	return result;
}

static int end(void **state)
{
	const int result = clean_up(state);
	watchdog_stop();
	return result;
}

#define thread_test(function) { #function, function, begin, end, #function }

/* Nothing that a thread or a child expected failed. */
#define assert_as_expected() assert_int_equal(expect_failures, 0)

/* ---- Children ----------------------------------------------------------------------------- */

/* Forks; a child dies with its parent. */
static pid_t child_start(void)
{
	const pid_t pid = fork();
	expect(pid >= 0);
	if (pid == 0)
		prctl(PR_SET_PDEATHSIG, SIGKILL);
	return pid;
}

static void child_exit(void)
{
	_exit(expect_failures != 0);
}

static void child_wait(pid_t pid)
{
	int status = 0;
	expect(waitpid(pid, &status, 0) == pid);
	expect(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

/* A heap on which everything works. */
static void expect_working_heap(void)
{
	enum { BLOCKS = 100 };
	uintptr_t blocks[BLOCKS];
	expect(mems_check(stderr) == 0);
	for (uint32_t i = 0; i < BLOCKS; i++)
		blocks[i] = churn_block_take(1 + i * i * 3, i);
	for (unsigned i = 0; i < BLOCKS; i++)
		expect(churn_block_is_intact(blocks[i]));
	for (unsigned i = 0; i < BLOCKS; i++)
		mems_free(at(blocks[i]));
	expect(mems_check(stderr) == 0);
}

/* ---- One thread that does one thing ------------------------------------------------------- */

/* A thread that takes a block. */
struct taker {
	pthread_t thread;
	_Atomic bool has_begun, is_done;
	uintptr_t block;
};

static void *taker_run(void *context)
{
	struct taker *const taker = context;
	atomic_store(&taker->has_begun, true);
	taker->block = churn_block_take(100, 1);
	atomic_store(&taker->is_done, true);
	return NULL;
}

static void taker_start(struct taker *taker)
{
	*taker = (struct taker){ .block = 0 };
	expect(pthread_create(&taker->thread, NULL, taker_run, taker) == 0);
}

/* It is on its way, and does not get the block. */
static void taker_expect_waiting(struct taker *taker)
{
	while (!atomic_load(&taker->has_begun))
		sched_yield();
	usleep(MOMENT_MICROSECONDS);
	expect(!atomic_load(&taker->is_done));
}

/* It gets the block. */
static void taker_finish(struct taker *taker)
{
	expect(pthread_join(taker->thread, NULL) == 0);
	expect(taker->block != 0 && churn_block_is_intact(taker->block));
	mems_free(at(taker->block));
}

static void *idle_run(void *context)
{
	return context;
}

/* From here on the process has had more than one thread. */
static void become_threaded(void)
{
	pthread_t thread;
	expect(pthread_create(&thread, NULL, idle_run, NULL) == 0);
	expect(pthread_join(thread, NULL) == 0);
}

/* A thread that waits until it is told to end, so that the process is not of one thread. */
static struct bystander {
	pthread_t thread;
	int pipe[2];
} bystander;

static void *bystander_run(void *context)
{
	char byte;
	expect(read(bystander.pipe[0], &byte, 1) == 1);
	return context;
}

static void bystander_start(void)
{
	expect(pipe2(bystander.pipe, O_CLOEXEC) == 0);
	expect(pthread_create(&bystander.thread, NULL, bystander_run, NULL) == 0);
}

static void bystander_stop(void)
{
	expect(write(bystander.pipe[1], "", 1) == 1);
	expect(pthread_join(bystander.thread, NULL) == 0);
	close(bystander.pipe[0]);
	close(bystander.pipe[1]);
}

/* ---- All functions that change the heap, from many threads -------------------------------- */

static uint64_t new_seed(const char *what)
{
	const char *const given = getenv("SEED");
	const unsigned long long seed = given != NULL ? strtoull(given, NULL, 10) : (unsigned)getpid();
	printf("%s: SEED=%llu\n", what, seed);
	return seed;
}

static void assert_empty(void)
{
	const struct mems_stats stats = stats_now();
	assert_int_equal(stats.process_bytes, 0);
	assert_int_equal(stats.process_segments, 0);
	assert_int_equal(stats.hole_segments, stats.main_nodes);
	assert_int_equal(stats.hole_bytes, stats.mapped_bytes);
}

/* The heap holds exactly what the threads of the churn do; then nothing. */
static void assert_holds_only(struct churn *churn)
{
	const struct churn_totals totals = churn_totals(churn);
	const struct mems_stats stats = stats_now();
	assert_as_expected();
	assert_sound();
	assert_int_equal(stats.process_segments, totals.blocks);
	assert_int_equal(stats.process_bytes, totals.bytes);
	assert_true(stats.peak_process_bytes >= totals.bytes);
	churn_free(churn);
	assert_as_expected();
	assert_sound();
	assert_empty();
}

static void check_many_threads(unsigned count, const char *name)
{
	enum { CALLS = 160000 };
	static struct churn churn;
	churn = (struct churn){ .calls_each = CALLS / count / SLOWNESS };
	churn_start(&churn, count, new_seed(name));
	churn_join(&churn);
	assert_as_expected();
	assert_true(reports != 0);
	assert_true(churn_totals(&churn).blocks != 0);
	assert_holds_only(&churn);
}

static void test_two_threads(void **state)
{
	check_many_threads(2, *state);
}

static void test_four_threads(void **state)
{
	check_many_threads(4, *state);
}

static void test_sixteen_threads(void **state)
{
	check_many_threads(16, *state);
}

/* Blocks of a few sizes, whose bits share words all the time. */
static void test_threads_in_the_same_words(void **state)
{
	static struct churn churn;
	churn = (struct churn){ .calls_each = 60000 / SLOWNESS, .small_only = 24 };
	churn_start(&churn, 4, new_seed(*state));
	churn_join(&churn);
	assert_holds_only(&churn);
}

/* ---- Translation while others allocate and free ------------------------------------------- */

enum { OWNED = 9 };

/* Of one granule, of one leaf, of several, of more than 4096 granules, of more than 64 groups. */
static const size_t owned_sizes[OWNED] = { 1, 8, 24, 512, 5000, 32768, 50000, 300000, 3000000 };

struct translator {
	pthread_t thread;
	uint64_t random;
	size_t rounds;
	_Atomic bool is_done;
};

/* Its own blocks are always translated right, wherever they are taken. */
static void translator_round(struct translator *translator)
{
	enum { LOOKS = 40 };
	uintptr_t blocks[OWNED];
	for (uint32_t i = 0; i < OWNED; i++)
		blocks[i] = churn_block_take(owned_sizes[i], i);
	for (unsigned look = 0; look < LOOKS * OWNED; look++) {
		const unsigned i = look % OWNED;
		const size_t offset = random_below(&translator->random, owned_sizes[i]);
		expect(churn_block_is_translated(blocks[i], owned_sizes[i], offset));
	}
	for (unsigned i = 0; i < OWNED; i++) {
		expect(churn_block_is_intact(blocks[i]));
		mems_free(at(blocks[i]));
	}
}

static void *translator_run(void *context)
{
	struct translator *const translator = context;
	for (size_t i = 0; i < translator->rounds; i++)
		translator_round(translator);
	atomic_store(&translator->is_done, true);
	return NULL;
}

/* Any address at all: anything may come, but nothing else happens. */
static void translate_wildly(uint64_t *random)
{
	const uintptr_t anywhere = (uintptr_t)random_next(random);
	const uintptr_t near = 1000 + random_below(random, 8 * MIB);
	const size_t size = (size_t)random_next(random) >> random_below(random, 64);
	struct mems_segment segment;
	mems_get(at(anywhere));
	mems_get(at(near));
	mems_get_range(at(near), size);
	mems_virtual(at(anywhere));
	char *const physical = mems_get(at(near));
	if (physical != NULL)
		mems_virtual(physical + random_below(random, MIB));
	mems_usable_size(at(near));
	if (mems_segment_at(at(near), &segment) == 0) {
		expect(segment.start <= near && near <= segment.end);
		expect(segment.end - segment.start + 1 == segment.size);
		expect(segment.node_start <= segment.start && segment.end <= segment.node_end);
	}
}

static void test_translation_while_others_change(void **state)
{
	static struct churn churn;
	struct translator translators[2] = { { .rounds = 0 } };
	uint64_t random = new_seed(*state);
	churn = (struct churn){ .calls_each = CHURN_FOR_EVER, .small_only = 100 };
	churn_start(&churn, 3, random);
	for (unsigned i = 0; i < 2; i++) {
		translators[i].random = random + i;
		translators[i].rounds = 80 / SLOWNESS;
		expect(pthread_create(&translators[i].thread, NULL, translator_run,
		                      &translators[i]) == 0);
	}
	while (!atomic_load(&translators[0].is_done) || !atomic_load(&translators[1].is_done))
		translate_wildly(&random);
	for (unsigned i = 0; i < 2; i++)
		expect(pthread_join(translators[i].thread, NULL) == 0);
	churn_stop(&churn);
	assert_as_expected();
	assert_holds_only(&churn);
}

/* ---- Looking while others change ---------------------------------------------------------- */

/* Segments that follow one another without a gap. */
struct tiling {
	uintptr_t next;              /* where the next one has to start */
	size_t segments, holes, hole_bytes, nodes;
	uintptr_t own;               /* a block that has to be among them */
	bool has_own;
};

static int tiling_add(const struct mems_segment *segment, void *context)
{
	struct tiling *const tiling = context;
	expect(segment->start == tiling->next);
	expect(segment->end - segment->start + 1 == segment->size);
	expect(segment->node == tiling->nodes - (segment->start != segment->node_start));
	tiling->nodes = segment->node + 1;
	tiling->next = segment->end + 1;
	tiling->segments++;
	tiling->holes += segment->type == MEMS_HOLE;
	tiling->hole_bytes += segment->type == MEMS_HOLE ? segment->size : 0;
	tiling->has_own |= segment->start == tiling->own && segment->type == MEMS_PROCESS;
	return 0;
}

static size_t tiling_bytes(const struct tiling *tiling)
{
	return tiling->next - 1000;
}

static void expect_stats_of(const struct tiling *tiling)
{
	struct mems_stats stats;
	mems_get_stats(&stats);
	expect(stats.mapped_bytes == tiling_bytes(tiling));
	expect(stats.pages == tiling_bytes(tiling) / PAGE);
	expect(stats.hole_bytes == tiling->hole_bytes);
	expect(stats.hole_segments == tiling->holes);
	expect(stats.process_segments == tiling->segments - tiling->holes);
	expect(stats.main_nodes == tiling->nodes);
}

/* A visitor that looks again, at its first segment: all of it is the same heap. */
struct inspection {
	struct tiling outer, inner;
};

static int inspect(const struct mems_segment *segment, void *context)
{
	struct inspection *const inspection = context;
	if (segment->start == 1000) {
		expect(mems_walk(tiling_add, &inspection->inner) == 0);
		expect_stats_of(&inspection->inner);
		expect(mems_check(stderr) == 0);
	}
	return tiling_add(segment, &inspection->outer);
}

static void look_by_walking(uintptr_t own)
{
	struct inspection inspection = {
		.outer = { .next = 1000, .own = own }, .inner = { .next = 1000, .own = own },
	};
	expect(mems_walk(inspect, &inspection) == 0);
	expect(inspection.outer.has_own && inspection.inner.has_own);
	expect(inspection.outer.next == inspection.inner.next);
	expect(inspection.outer.segments == inspection.inner.segments);
	expect(inspection.outer.holes == inspection.inner.holes);
}

static void look_by_counting(void)
{
	struct mems_stats stats;
	mems_get_stats(&stats);
	expect(stats.process_bytes + stats.hole_bytes == stats.mapped_bytes);
	expect(stats.pages * PAGE == stats.mapped_bytes);
	expect(stats.largest_hole <= stats.hole_bytes);
	expect(stats.hole_bytes <= stats.largest_hole * stats.hole_segments);
	expect(stats.process_segments * 8 <= stats.process_bytes);
	expect(stats.peak_process_bytes >= stats.process_bytes);
}

/* What stands in the text behind the words; NONE where it does not. */
static size_t number_behind(const char *text, const char *words)
{
	const char *const found = strstr(text, words);
	return expect(found != NULL) ? strtoul(found + strlen(words), NULL, 10) : 0;
}

/* The lines of segments, "TYPE[start:end] <-> ", against the totals below them. */
static void expect_printed(const char *text)
{
	struct tiling tiling = { .next = 1000 };
	for (const char *rest = text; (rest = strchr(rest, '[')) != NULL; rest++) {
		const bool is_hole = rest - text >= 4 && strncmp(rest - 4, "HOLE", 4) == 0;
		const bool is_process = rest - text >= 7 && strncmp(rest - 7, "PROCESS", 7) == 0;
		char *end;
		if (!is_hole && !is_process)
			continue;
		expect(strtoul(rest + 1, &end, 10) == tiling.next);
		const size_t last = strtoul(end + 1, NULL, 10);
		tiling.hole_bytes += is_hole ? last + 1 - tiling.next : 0;
		tiling.next = last + 1;
	}
	expect(number_behind(text, "Page used: ") == tiling_bytes(&tiling) / PAGE);
	expect(number_behind(text, "Space unused: ") == tiling.hole_bytes);
}

/* The segments, {"type":"HOLE","start":N,"end":N,"size":N}, against the statistics. */
static void expect_printed_json(const char *text)
{
	struct tiling tiling = { .next = 1000 };
	for (const char *rest = text; (rest = strstr(rest, "{\"type\":\"")) != NULL; rest++) {
		const bool is_hole = strncmp(rest + 9, "HOLE", 4) == 0;
		expect(number_behind(rest, "\"start\":") == tiling.next);
		const size_t size = number_behind(rest, "\"size\":");
		tiling.next += size;
		tiling.segments++;
		tiling.holes += is_hole;
		tiling.hole_bytes += is_hole ? size : 0;
	}
	const char *const stats = strstr(text, "\"stats\":");
	if (!expect(stats != NULL))
		return;
	expect(number_behind(stats, "\"mapped_bytes\":") == tiling_bytes(&tiling));
	expect(number_behind(stats, "\"hole_bytes\":") == tiling.hole_bytes);
	expect(number_behind(stats, "\"hole_segments\":") == tiling.holes);
	expect(number_behind(stats, "\"process_segments\":") == tiling.segments - tiling.holes);
}

static void look_by_printing(void)
{
	char *text = NULL;
	size_t length = 0;
	FILE *out = open_memstream(&text, &length);
	mems_fprint_stats(out);
	fclose(out);
	expect_printed(text);
	free(text);
	out = open_memstream(&text, &length);
	expect(mems_fprint_json(out) == 0);
	fclose(out);
	expect_printed_json(text);
	free(text);
}

/* A block between whose neighbours others come and go. */
static void look_at_segment(uintptr_t own, size_t size)
{
	struct mems_segment segment, neighbour;
	expect(mems_segment_at(at(own + size / 2), &segment) == 0);
	expect(segment.type == MEMS_PROCESS && segment.start == own && segment.size == size);
	expect(segment.physical == mems_get(at(own)));
	if (segment.end < segment.node_end) {
		expect(mems_segment_at(at(segment.end + 1), &neighbour) == 0);
		expect(neighbour.start == segment.end + 1 && neighbour.node == segment.node);
	}
	if (segment.start > segment.node_start) {
		expect(mems_segment_at(at(segment.start - 1), &neighbour) == 0);
		expect(neighbour.end == segment.start - 1 && neighbour.node == segment.node);
	}
}

static void test_looking_while_others_change(void **state)
{
	static struct churn churn;
	churn = (struct churn){ .calls_each = CHURN_FOR_EVER };
	churn_start(&churn, 3, new_seed(*state));
	churn_wait(&churn, 10);
	const uintptr_t own = churn_block_take(1000, 1);
	for (unsigned i = 0; i < 160 / SLOWNESS; i++) {
		look_by_walking(own);
		look_by_counting();
		look_by_printing();
		for (unsigned j = 0; j < 50; j++)
			look_at_segment(own, 1000);
		expect(mems_check(stderr) == 0);
	}
	churn_stop(&churn);
	assert_as_expected();
	mems_free(at(own));
	assert_holds_only(&churn);
}

/* ---- Visitors ----------------------------------------------------------------------------- */

static int count_segment(const struct mems_segment *segment, void *count)
{
	(void)segment;
	++*(size_t *)count;
	return 0;
}

/* Inside: all functions that would change the heap refuse; those that look work. */
static void expect_visitors_rules(uintptr_t block)
{
	FILE *const nowhere = fopen("/dev/null", "w");
	size_t count = 0;
	struct mems_stats stats;
#define refuses(call) (errno = 0, expect((call) && errno == EBUSY))
	refuses(mems_malloc(100) == NULL);
	refuses(mems_calloc(1, 100) == NULL);
	refuses(mems_aligned_alloc(64, 100) == NULL);
	refuses(mems_realloc(at(block), 200000) == NULL);
	refuses((mems_free(at(block)), true));
	refuses(mems_record(NULL) == -1);
	refuses(mems_option(MEMS_ALIGNMENT, 8) == -1);
	refuses((mems_finish(), true));
#undef refuses
	expect(churn_block_is_intact(block));
	expect(mems_walk(count_segment, &count) == 0);
	mems_get_stats(&stats);
	expect(stats.process_segments + stats.hole_segments == count);
	expect(mems_check(stderr) == 0);
	mems_fprint_stats(nowhere);
	expect(mems_fprint_json(nowhere) == 0);
	fclose(nowhere);
}

/* What a visitor finds and does at its first segment. */
struct visit {
	uintptr_t block;
	void (*act)(struct visit *visit);
	size_t segments;
	struct taker taker;
	bool has_taker;
	pid_t child;
};

static int visit_once(const struct mems_segment *segment, void *context)
{
	struct visit *const visit = context;
	(void)segment;
	if (visit->segments++ == 0)
		visit->act(visit);
	return 0;
}

/* Walks a heap of some segments, all of them. */
static void visit_heap(struct visit *visit, void (*act)(struct visit *visit))
{
	uintptr_t gaps[3];
	*visit = (struct visit){ .act = act, .block = churn_block_take(100, 1) };
	for (unsigned i = 0; i < 3; i++) {
		gaps[i] = churn_block_take(3000, 2);
		churn_block_take(3000, 3);
	}
	mems_free(at(gaps[0]));
	const size_t segments = walk_segments(NULL, 0);
	expect(mems_walk(visit_once, visit) == 0);
	expect(visit->segments == segments);
}

static void visit_and_try(struct visit *visit)
{
	expect_visitors_rules(visit->block);
}

/* With a block of the size remembered, which is taken and freed in another way by one thread. */
static void test_visitor_in_a_process_of_one_thread(void **state)
{
	struct visit visit;
	(void)state;
	const uintptr_t block = churn_block_take(100, 1);
	mems_free(at(churn_block_take(100, 2)));
	mems_free(at(block));
	visit_heap(&visit, visit_and_try);
	expect_working_heap();
	assert_as_expected();
}

static void visit_while_another_takes(struct visit *visit)
{
	taker_start(&visit->taker);
	taker_expect_waiting(&visit->taker);
	expect_visitors_rules(visit->block);
	taker_expect_waiting(&visit->taker);
}

/* In a process that has been of one thread until then; another thread waits for the visitor. */
static void test_thread_created_by_a_visitor(void **state)
{
	struct visit visit;
	(void)state;
	visit_heap(&visit, visit_while_another_takes);
	taker_finish(&visit.taker);
	assert_as_expected();
	expect_working_heap();
	assert_as_expected();
}

static void test_threads_wait_for_a_visitor(void **state)
{
	struct visit visit;
	(void)state;
	bystander_start();
	visit_heap(&visit, visit_while_another_takes);
	taker_finish(&visit.taker);
	bystander_stop();
	expect_working_heap();
	assert_as_expected();
}

/* What takes the lock but no block waits as well. */
static void look_at_root(void)
{
	expect(mems_root() == NULL);
}

static void set_no_root(void)
{
	expect(mems_set_root(NULL) == 0);
}

static void trim(void)
{
	errno = 0;
	mems_trim();
	expect(errno == 0);
}

static void end_recording(void)
{
	expect(mems_record(NULL) == 0);
}

static void look_at_history(void)
{
	expect(mems_history(at(1000), NULL, 0) == 0);
}

static void save(void)
{
	char path[64];
	snprintf(path, sizeof path, "/tmp/test_threads-%ld", (long)getpid());
	expect(mems_save(path) == 0);
	unlink(path);
}

static struct lock_user {
	void (*use)(void);
	struct taker thread;
} lock_users[] = {
	{ .use = look_at_root }, { .use = set_no_root }, { .use = trim },
	{ .use = end_recording }, { .use = look_at_history }, { .use = save },
};

enum { LOCK_USERS = sizeof lock_users / sizeof lock_users[0] };

static void *lock_user_run(void *context)
{
	struct lock_user *const user = context;
	atomic_store(&user->thread.has_begun, true);
	user->use();
	atomic_store(&user->thread.is_done, true);
	return NULL;
}

static void visit_while_others_use_the_lock(struct visit *visit)
{
	(void)visit;
	for (unsigned i = 0; i < LOCK_USERS; i++) {
		struct taker *const thread = &lock_users[i].thread;
		*thread = (struct taker){ .block = 0 };
		expect(pthread_create(&thread->thread, NULL, lock_user_run, &lock_users[i]) == 0);
		taker_expect_waiting(thread);
	}
}

static void test_what_takes_no_block_waits_for_a_visitor(void **state)
{
	struct visit visit;
	(void)state;
	bystander_start();
	visit_heap(&visit, visit_while_others_use_the_lock);
	for (unsigned i = 0; i < LOCK_USERS; i++)
		expect(pthread_join(lock_users[i].thread.thread, NULL) == 0);
	bystander_stop();
	expect_working_heap();
	assert_as_expected();
}

/* Two visitors at once, and a looker, on different threads: one after the other. */
static void *walker_run(void *context)
{
	for (unsigned i = 0; i < 400 / SLOWNESS; i++) {
		size_t count = 0;
		expect(mems_walk(count_segment, &count) == 0);
		expect(count == 3);
		errno = 0;
		mems_free(mems_malloc(0));
		expect(errno == EINVAL);
	}
	return context;
}

static void test_visitors_on_many_threads(void **state)
{
	enum { WALKERS = 4 };
	pthread_t walkers[WALKERS];
	(void)state;
	churn_block_take(100, 1);
	churn_block_take(100, 2);
	for (unsigned i = 0; i < WALKERS; i++)
		expect(pthread_create(&walkers[i], NULL, walker_run, NULL) == 0);
	for (unsigned i = 0; i < WALKERS; i++)
		expect(pthread_join(walkers[i], NULL) == 0);
	assert_as_expected();
}

/* Threads come and go inside a visitor: whether the process has one thread may change there. */
static void visit_and_join(struct visit *visit)
{
	(void)visit;
	bystander_stop();
	become_threaded();
}

static void visit_and_start(struct visit *visit)
{
	(void)visit;
	bystander_start();
}

static void test_threads_come_and_go_in_a_visitor(void **state)
{
	struct visit visit;
	struct taker taker;
	(void)state;
	for (unsigned i = 0; i < 3; i++) {
		visit_heap(&visit, visit_and_start);
		taker_start(&taker);
		taker_finish(&taker);
		visit_heap(&visit, visit_and_join);
		taker_start(&taker);
		taker_finish(&taker);
		expect_working_heap();
	}
	assert_as_expected();
}

/* A thread that only translates goes on while a visitor is at work. */
static void *translate_once(void *context)
{
	struct visit *const visit = context;
	expect(churn_block_is_translated(visit->block, 100, 50));
	expect(mems_get(at(1)) == NULL);
	return NULL;
}

static void visit_while_another_translates(struct visit *visit)
{
	pthread_t thread;
	expect(pthread_create(&thread, NULL, translate_once, visit) == 0);
	expect(pthread_join(thread, NULL) == 0);
}

static void test_translation_waits_for_nobody(void **state)
{
	struct visit visit;
	(void)state;
	visit_heap(&visit, visit_while_another_translates);
	assert_as_expected();
}

/* ---- Error handlers ----------------------------------------------------------------------- */

static uintptr_t handled_block;

static void use_heap_in_handler(int error, const void *v_ptr, const char *message)
{
	size_t count = 0;
	count_report(error, v_ptr, message);
	expect_working_heap();
	expect(mems_walk(count_segment, &count) == 0 && count != 0);
	expect(mems_usable_size(at(handled_block)) != 0);
	expect(message[0] == 'm');
}

static void wait_for_thread_in_handler(int error, const void *v_ptr, const char *message)
{
	struct taker taker;
	count_report(error, v_ptr, message);
	taker_start(&taker);
	taker_finish(&taker);
}

static void misuse_all(uintptr_t block)
{
	errno = 0;
	mems_free(at(block + 8));
	expect(errno == EINVAL);
	errno = 0;
	expect(mems_realloc(at(block + 8), 100) == NULL && errno == EINVAL);
	errno = 0;
	expect(mems_usable_size(at(block + 8)) == 0 && errno == EINVAL);
}

/* No lock is held while a handler runs. */
static void test_handlers_may_do_anything(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 2; i++) {
		handled_block = churn_block_take(100, 1);
		mems_set_error_handler(use_heap_in_handler);
		misuse_all(handled_block);
		mems_set_error_handler(wait_for_thread_in_handler);
		misuse_all(handled_block);
		mems_free(at(handled_block));
		if (i == 0)
			bystander_start();
	}
	bystander_stop();
	assert_int_equal(reports, 12);
	assert_as_expected();
}

static void visit_and_misuse(struct visit *visit)
{
	misuse_all(visit->block);
}

static void look_in_handler(int error, const void *v_ptr, const char *message)
{
	count_report(error, v_ptr, message);
	expect_visitors_rules(handled_block);
}

/* Inside a visitor the visitor's rules hold for a handler as well. */
static void test_handlers_inside_a_visitor(void **state)
{
	struct visit visit;
	(void)state;
	handled_block = churn_block_take(100, 1);
	bystander_start();
	mems_set_error_handler(look_in_handler);
	visit_heap(&visit, visit_and_misuse);
	bystander_stop();
	assert_int_equal(reports, 3);
	assert_as_expected();
}

static void count_report_too(int error, const void *v_ptr, const char *message)
{
	count_report(error, v_ptr, message);
}

static void *set_handlers(void *context)
{
	mems_error_handler *const handlers[] = { count_report, count_report_too, NULL };
	const uintptr_t block = churn_block_take(100, 1);
	for (unsigned i = 0; i < 6000 / SLOWNESS; i++) {
		mems_error_handler *const before = mems_set_error_handler(handlers[i % 3]);
		expect(before == count_report || before == count_report_too || before == NULL);
		errno = 0;
		mems_free(at(block + 1));
		expect(errno == EINVAL);
	}
	mems_free(at(block));
	return context;
}

static void test_handlers_set_by_many_threads(void **state)
{
	enum { SETTERS = 3 };
	pthread_t setters[SETTERS];
	(void)state;
	for (unsigned i = 0; i < SETTERS; i++)
		expect(pthread_create(&setters[i], NULL, set_handlers, NULL) == 0);
	for (unsigned i = 0; i < SETTERS; i++)
		expect(pthread_join(setters[i], NULL) == 0);
	assert_true(reports != 0);
	assert_as_expected();
	assert_empty();
}

/* ---- Streams that use the heap ------------------------------------------------------------ */

/* A stream whose write function may come back to MeMS. */
struct stream {
	void (*act)(struct stream *stream); /* at each write; NULL for nothing */
	uintptr_t block;
	size_t writes, bytes;
	pid_t child;
};

static ssize_t stream_write(void *cookie, const char *bytes, size_t count)
{
	struct stream *const stream = cookie;
	(void)bytes;
	stream->writes++;
	stream->bytes += count;
	if (stream->act != NULL)
		stream->act(stream);
	return (ssize_t)count;
}

/* Unbuffered: each piece is written at once. */
static FILE *stream_open(struct stream *stream, void (*act)(struct stream *stream), int mode)
{
	const cookie_io_functions_t functions = { .write = stream_write };
	*stream = (struct stream){ .act = act };
	FILE *const out = fopencookie(stream, "w", functions);
	assert_non_null(out);
	setvbuf(out, NULL, mode, mode == _IONBF ? 0 : BUFSIZ);
	return out;
}

static void stream_expect_refused(struct stream *stream)
{
	errno = 0;
	expect(mems_malloc(100) == NULL && errno == EBUSY);
	errno = 0;
	mems_free(at(stream->block));
	expect(errno == EBUSY);
	expect(churn_block_is_translated(stream->block, 100, 99));
	expect(churn_block_is_intact(stream->block));
	if (stream->writes == 1)
		expect_visitors_rules(stream->block);
}

static void print_to_stream(FILE *out, struct stream *stream)
{
	stream->block = churn_block_take(100, 1);
	stream->writes = 0;
	mems_fprint_stats(out);
	assert_true(stream->writes != 0);
	stream->writes = 0;
	assert_int_equal(mems_fprint_json(out), 0);
	assert_true(stream->writes != 0);
	mems_free(at(stream->block));
	assert_int_equal(ferror(out), 0);
}

/* Printing is like a visitor while it writes. */
static void test_printing_to_a_stream_that_uses_the_heap(void **state)
{
	struct stream stream;
	(void)state;
	FILE *const out = stream_open(&stream, stream_expect_refused, _IONBF);
	print_to_stream(out, &stream);
	bystander_start();
	print_to_stream(out, &stream);
	bystander_stop();
	stream.act = NULL;
	fclose(out);
	assert_as_expected();
	assert_empty();
}

static void record_to_stream(FILE *out, struct stream *stream, void (*act)(struct stream *stream))
{
	assert_int_equal(mems_record(out), 0);
	stream->block = churn_block_take(100, 1);
	stream->act = act;
	stream->writes = 1; /* of them, the first would do more */
	mems_free(at(churn_block_take(200, 2)));
	mems_free(mems_realloc(mems_calloc(3, 100), 1000));
	mems_free(mems_aligned_alloc(64, 100));
	fflush(out);
	assert_int_equal(stream->writes > 1, 1);
	stream->act = NULL;
	mems_free(at(stream->block));
	assert_int_equal(mems_record(NULL), 0);
	fflush(out);
}

static void check_recording_to_stream(int mode, bool is_threaded)
{
	static const char lines[] = "a 0 100\na 1 200\nf 1\nc 2 300\nr 2 1000\nf 2\nm 3 100 64\n"
	                            "f 3\nf 0\n";
	struct stream stream;
	FILE *const out = stream_open(&stream, NULL, mode);
	if (is_threaded)
		bystander_start();
	mems_finish();
	options_reset();
	assert_int_equal(mems_option(MEMS_POLICY, MEMS_FIRST_FIT), 0);
	mems_init();
	/* A flush of a buffer by the caller is no printing by MeMS. */
	record_to_stream(out, &stream, mode == _IONBF ? stream_expect_refused : NULL);
	assert_int_equal(stream.bytes, sizeof lines - 1);
	if (is_threaded)
		bystander_stop();
	fclose(out);
}

static void test_recording_to_a_stream_that_uses_the_heap(void **state)
{
	(void)state;
	check_recording_to_stream(_IONBF, false);
	assert_as_expected();
	assert_empty();
	check_recording_to_stream(_IONBF, true);
	check_recording_to_stream(_IOFBF, true);
	assert_as_expected();
	assert_empty();
}

/* ---- Streams that several threads use ------------------------------------------------------- */

/* One thread prints to a stream by itself: the stream is locked first, and then its write function
 * comes to MeMS. Another one is on its way from MeMS to the stream: neither may wait for the
 * other. */
static struct meeting {
	pthread_t thread;
	FILE *out;
	_Atomic unsigned is_reached; /* no bool: one byte is exchanged by libatomic alone on RISC-V */
} meeting;

static void meet_and_take(struct stream *stream)
{
	const bool is_printer = pthread_equal(pthread_self(), meeting.thread);
	if (!is_printer || atomic_exchange(&meeting.is_reached, 1) != 0)
		return;
	usleep(MOMENT_MICROSECONDS);
	stream->block = churn_block_take(100, 1);
}

static void *print_by_itself(void *context)
{
	meeting.thread = pthread_self();
	fputs("what the program prints\n", meeting.out);
	return context;
}

static void check_meeting(FILE *out, struct stream *stream, void (*use_stream)(FILE *out))
{
	pthread_t printer;
	meeting = (struct meeting){ .out = out };
	stream->block = 0;
	stream->act = meet_and_take;
	expect(pthread_create(&printer, NULL, print_by_itself, NULL) == 0);
	while (!atomic_load(&meeting.is_reached))
		sched_yield();
	use_stream(out);
	expect(pthread_join(printer, NULL) == 0);
	stream->act = NULL;
	expect(stream->block != 0);
	mems_free(at(stream->block));
}

static void use_by_json(FILE *out)
{
	expect(mems_fprint_json(out) == 0);
}

static void test_printing_to_a_stream_in_use(void **state)
{
	struct stream stream;
	(void)state;
	FILE *const out = stream_open(&stream, NULL, _IONBF);
	mems_free(at(churn_block_take(100, 1)));
	check_meeting(out, &stream, mems_fprint_stats);
	check_meeting(out, &stream, use_by_json);
	fclose(out);
	assert_as_expected();
	assert_empty();
}

/* The other way round: a visitor prints to the stream to which another thread prints the heap. */
static void *print_heap(void *out)
{
	atomic_store(&meeting.is_reached, 1);
	mems_fprint_stats(out);
	return NULL;
}

static void visit_and_print(struct visit *visit)
{
	(void)visit;
	atomic_store(&meeting.is_reached, 0);
	expect(pthread_create(&meeting.thread, NULL, print_heap, meeting.out) == 0);
	while (!atomic_load(&meeting.is_reached))
		sched_yield();
	usleep(MOMENT_MICROSECONDS);
	fputs("what the visitor prints\n", meeting.out);
	mems_fprint_stats(meeting.out);
}

/* A thread that is cancelled while it prints, here to a pipe that is full, gives the heap back. */
static void *print_without_end(void *out)
{
	for (;;) {
		mems_fprint_stats(out);
		pthread_testcancel();
	}
	return NULL;
}

static void *drain(void *context)
{
	char bytes[4096];
	const int *const end = context;
	while (read(*end, bytes, sizeof bytes) > 0)
		continue;
	return NULL;
}

static void test_cancelled_while_printing(void **state)
{
	int ends[2];
	pthread_t printer;
	pthread_t reader;
	(void)state;
	assert_int_equal(pipe(ends), 0);
	FILE *const out = fdopen(ends[1], "w");
	assert_non_null(out);
	assert_int_equal(pthread_create(&printer, NULL, print_without_end, out), 0);
	usleep(10 * MOMENT_MICROSECONDS);
	assert_int_equal(pthread_cancel(printer), 0);
	assert_int_equal(pthread_create(&reader, NULL, drain, &ends[0]), 0);
	assert_int_equal(pthread_join(printer, NULL), 0);
	expect_working_heap();
	assert_int_equal(ftrylockfile(out), 0);
	funlockfile(out);
	fclose(out);
	assert_int_equal(pthread_join(reader, NULL), 0);
	close(ends[0]);
	assert_as_expected();
	assert_empty();
}

static void test_visitor_that_prints_where_others_print(void **state)
{
	struct visit visit;
	(void)state;
	meeting.out = fopen("/dev/null", "w");
	visit_heap(&visit, visit_and_print);
	expect(pthread_join(meeting.thread, NULL) == 0);
	fclose(meeting.out);
	assert_as_expected();
}

/* ---- Records ------------------------------------------------------------------------------ */

/* What a record says, followed line by line. */
struct follower {
	bool *is_live;               /* by id */
	size_t ids, live, lines;
};

static void follow_line(struct follower *follower, const char *line)
{
	enum { MAX_IDS = 1 << 20 };
	char *end;
	const size_t id = strtoul(line + 2, &end, 10);
	follower->lines++;
	if (line[0] == 'o' || line[0] == 'e' || !expect(id < MAX_IDS))
		return;
	switch (line[0]) {
	case 'a':
	case 'c':
	case 'm':
		expect(id == follower->ids++);
		follower->is_live[id] = true;
		follower->live++;
		break;
	case 'r':
		expect(follower->is_live[id]);
		break;
	default:
		expect(line[0] == 'f' && follower->is_live[id]);
		follower->is_live[id] = false;
		follower->live--;
	}
	expect(line[0] == 'f' ? *end == '\n' : *end == ' ');
}

/* How many blocks are live after the record; each line is checked. */
static size_t follow_record(FILE *record)
{
	enum { MAX_IDS = 1 << 20 };
	char line[100];
	struct follower follower = { .is_live = calloc(MAX_IDS, sizeof(bool)) };
	rewind(record);
	while (fgets(line, sizeof line, record) != NULL) {
		if (line[0] != 'o' && line[0] != 'e')
			follow_line(&follower, line);
	}
	free(follower.is_live);
	return follower.live;
}

static void test_recording_many_threads(void **state)
{
	static struct churn churn;
	FILE *const record = tmpfile();
	churn = (struct churn){ .calls_each = 10000 / SLOWNESS };
	assert_int_equal(mems_record(record), 0);
	churn_start(&churn, 4, new_seed(*state));
	churn_join(&churn);
	fflush(record);
	assert_int_equal(follow_record(record), churn_totals(&churn).blocks);
	churn_free(&churn);
	assert_int_equal(mems_record(NULL), 0);
	fflush(record);
	assert_int_equal(follow_record(record), 0);
	assert_as_expected();
	fclose(record);
}

/* A recording may be ended at any time, even where there is none. */
static _Atomic bool must_end_recordings;

static void *end_recordings(void *context)
{
	while (atomic_load(&must_end_recordings))
		expect(mems_record(NULL) == 0);
	return context;
}

static void test_recordings_end_while_others_work(void **state)
{
	pthread_t other;
	(void)state;
	atomic_store(&must_end_recordings, true);
	expect(pthread_create(&other, NULL, end_recordings, NULL) == 0);
	for (unsigned i = 0; i < 2000; i++) {
		mems_free(mems_realloc(NULL, 8));
		expect(mems_fprint_live(stdout) == -1);
	}
	atomic_store(&must_end_recordings, false);
	expect(pthread_join(other, NULL) == 0);
	assert_as_expected();
	assert_sound();
}

/* ---- Forks -------------------------------------------------------------------------------- */

enum { KNOWN = 20 };

static void take_known(uintptr_t *blocks)
{
	for (uint32_t i = 0; i < KNOWN; i++)
		blocks[i] = churn_block_take(1 + i * i * 50, i);
}

static void expect_known(const uintptr_t *blocks)
{
	for (unsigned i = 0; i < KNOWN; i++)
		expect(churn_block_is_intact(blocks[i]));
}

/* A child of a process in whose heap others were at work. */
static void live_as_child(const uintptr_t *known)
{
	size_t count = 0;
	expect(mems_check(stderr) == 0);
	expect_known(known);
	expect_working_heap();
	expect(mems_walk(count_segment, &count) == 0 && count > KNOWN);
	for (unsigned i = 0; i < KNOWN; i++)
		mems_free(at(known[i]));
	expect(mems_check(stderr) == 0);
	mems_finish();
	mems_init();
	expect_working_heap();
	child_exit();
}

static void fork_often(unsigned times)
{
	uintptr_t known[KNOWN];
	take_known(known);
	for (unsigned i = 0; i < times; i++) {
		const pid_t pid = child_start();
		if (pid == 0)
			live_as_child(known);
		child_wait(pid);
		expect_known(known);
	}
	for (unsigned i = 0; i < KNOWN; i++)
		mems_free(at(known[i]));
}

static void *fork_often_run(void *context)
{
	fork_often(20 / SLOWNESS + 1);
	return context;
}

static void test_fork_while_others_change(void **state)
{
	static struct churn churn;
	pthread_t other;
	churn = (struct churn){ .calls_each = CHURN_FOR_EVER };
	churn_start(&churn, 4, new_seed(*state));
	churn_wait(&churn, 10);
	expect(pthread_create(&other, NULL, fork_often_run, NULL) == 0);
	fork_often(20 / SLOWNESS + 1);
	expect(pthread_join(other, NULL) == 0);
	churn_stop(&churn);
	assert_as_expected();
	assert_holds_only(&churn);
}

/* A child has threads of its own, and children. */
static void live_with_threads(uint64_t seed)
{
	static struct churn churn;
	churn = (struct churn){ .calls_each = 3000 / SLOWNESS };
	churn_start(&churn, 3, seed);
	fork_often(2);
	churn_join(&churn);
	expect(mems_check(stderr) == 0);
	child_exit();
}

static void test_children_with_threads(void **state)
{
	static struct churn churn;
	const uint64_t seed = new_seed(*state);
	if (!child_may_have_threads()) {
		print_message("note: threads in the child of a process that had several: skipped, for "
		              "what runs this program ends it\n");
		skip();
	}
	churn = (struct churn){ .calls_each = CHURN_FOR_EVER };
	churn_start(&churn, 2, seed);
	for (unsigned i = 0; i < 4; i++) {
		const pid_t pid = child_start();
		if (pid == 0)
			live_with_threads(seed + i);
		child_wait(pid);
	}
	churn_stop(&churn);
	assert_as_expected();
	assert_holds_only(&churn);
}

/* Both are still in the visitor, and the walk goes on in both. */
static void visit_and_fork(struct visit *visit)
{
	visit->child = child_start();
	expect_visitors_rules(visit->block);
}

static void visit_fork_and_take(struct visit *visit)
{
	visit_and_fork(visit);
	visit->has_taker = visit->child != 0 || child_may_have_threads();
	if (!visit->has_taker)
		return;
	taker_start(&visit->taker);
	taker_expect_waiting(&visit->taker);
}

static void check_fork_in_visitor(void (*act)(struct visit *visit))
{
	struct visit visit;
	visit_heap(&visit, act);
	if (visit.has_taker)
		taker_finish(&visit.taker);
	expect_working_heap();
	if (visit.child == 0)
		child_exit();
	child_wait(visit.child);
}

static void test_fork_in_a_visitor(void **state)
{
	(void)state;
	check_fork_in_visitor(visit_and_fork);
	check_fork_in_visitor(visit_fork_and_take);
	bystander_start();
	check_fork_in_visitor(visit_and_fork);
	check_fork_in_visitor(visit_fork_and_take);
	bystander_stop();
	assert_as_expected();
}

static void test_fork_in_a_visitor_while_others_change(void **state)
{
	static struct churn churn;
	churn = (struct churn){ .calls_each = CHURN_FOR_EVER };
	churn_start(&churn, 3, new_seed(*state));
	for (unsigned i = 0; i < 12; i++) {
		struct tiling tiling = { .next = 1000 };
		struct visit visit = { .act = visit_and_fork };
		visit.block = churn_block_take(100, 1);
		expect(mems_walk(visit_once, &visit) == 0);
		expect(mems_walk(tiling_add, &tiling) == 0);
		expect_working_heap();
		if (visit.child == 0)
			child_exit();
		child_wait(visit.child);
		mems_free(at(visit.block));
	}
	churn_stop(&churn);
	assert_as_expected();
	assert_holds_only(&churn);
}

static void stream_fork(struct stream *stream)
{
	stream->act = stream_expect_refused;
	stream->writes = 2;
	stream->child = child_start();
	stream_expect_refused(stream);
}

/* A fork by the stream that the heap is printed to. */
static void test_fork_while_printing(void **state)
{
	struct stream stream;
	(void)state;
#ifndef __GLIBC__
	print_message("note: a fork by a stream: skipped, for musl takes the stream in the child to be "
	              "locked by the parent\n");
	skip();
#endif
	bystander_start();
	FILE *const out = stream_open(&stream, stream_fork, _IONBF);
	stream.block = churn_block_take(100, 1);
	mems_fprint_stats(out);
	expect_working_heap();
	if (stream.child == 0)
		child_exit();
	child_wait(stream.child);
	stream.act = NULL;
	fclose(out);
	bystander_stop();
	assert_as_expected();
}

/* A fork by a handler of errors, which holds no lock. */
static pid_t handler_child;

static void fork_in_handler(int error, const void *v_ptr, const char *message)
{
	count_report(error, v_ptr, message);
	handler_child = child_start();
	expect_working_heap();
}

static void test_fork_in_a_handler(void **state)
{
	(void)state;
	const uintptr_t block = churn_block_take(100, 1);
	bystander_start();
	mems_set_error_handler(fork_in_handler);
	mems_free(at(block + 1));
	expect(errno == EINVAL);
	expect_working_heap();
	if (handler_child == 0)
		child_exit();
	child_wait(handler_child);
	bystander_stop();
	assert_as_expected();
}

/* The program's own fork handlers, registered before and after those of MeMS, use the heap. */
static struct fork_handlers {
	bool are_at_work;
	uintptr_t block;
	_Atomic unsigned before, in_parent, in_child; /* calls */
} fork_handlers;

static void handle_fork(_Atomic unsigned *count)
{
	if (!fork_handlers.are_at_work)
		return;
	atomic_fetch_add(count, 1);
	const uintptr_t block = churn_block_take(5000, 1);
	expect(churn_block_is_intact(block) && churn_block_is_intact(fork_handlers.block));
	mems_free(at(block));
	mems_free(at(fork_handlers.block));
	fork_handlers.block = churn_block_take(100, *count);
	expect(mems_check(stderr) == 0);
}

static void handle_before_fork(void)
{
	handle_fork(&fork_handlers.before);
}

static void handle_fork_in_parent(void)
{
	handle_fork(&fork_handlers.in_parent);
}

static void handle_fork_in_child(void)
{
	handle_fork(&fork_handlers.in_child);
}

static void fork_with_handlers(void)
{
	fork_handlers.before = fork_handlers.in_parent = fork_handlers.in_child = 0;
	const pid_t pid = child_start();
	expect(fork_handlers.before == 2);
	expect(fork_handlers.in_parent == (pid == 0 ? 0 : 2));
	expect(fork_handlers.in_child == (pid == 0 ? 2 : 0));
	expect_working_heap();
	if (pid == 0)
		child_exit();
	child_wait(pid);
}

static void fork_handlers_begin(void)
{
	fork_handlers.block = churn_block_take(100, 1);
	fork_handlers.are_at_work = true;
}

static void fork_handlers_end(void)
{
	fork_handlers.are_at_work = false;
	mems_free(at(fork_handlers.block));
}

static void check_fork_handlers(void)
{
	fork_handlers_begin();
	for (unsigned i = 0; i < 4; i++)
		fork_with_handlers();
	fork_handlers_end();
}

static void test_fork_handlers_that_use_the_heap(void **state)
{
	static struct churn churn;
	check_fork_handlers();
	assert_as_expected();
	assert_empty();
	churn = (struct churn){ .calls_each = CHURN_FOR_EVER };
	churn_start(&churn, 3, new_seed(*state));
	churn_wait(&churn, 10);
	check_fork_handlers();
	churn_stop(&churn);
	assert_as_expected();
	assert_holds_only(&churn);
}

/* Handlers that a constructor registers may wait for a thread that waits for the heap. */
static pthread_mutex_t early_mutex = PTHREAD_MUTEX_INITIALIZER;

static void early_lock(void)
{
	pthread_mutex_lock(&early_mutex);
}

static void early_unlock(void)
{
	pthread_mutex_unlock(&early_mutex);
}

__attribute__((constructor)) static void early_handlers_add(void)
{
	pthread_atfork(early_lock, early_unlock, early_unlock);
}

static void *allocate_and_wait(void *must_end)
{
	while (!atomic_load((_Atomic bool *)must_end)) {
		early_lock();
		for (unsigned i = 0; i < 10; i++)
			mems_free(at(churn_block_take(100 + 1000 * i, i)));
		early_unlock();
	}
	return NULL;
}

static void test_fork_handlers_of_a_constructor(void **state)
{
	_Atomic bool must_end = false;
	pthread_t other;
	(void)state;
	expect(pthread_create(&other, NULL, allocate_and_wait, &must_end) == 0);
	for (unsigned i = 0; i < 50; i++) {
		const pid_t pid = child_start();
		if (pid == 0)
			child_exit();
		child_wait(pid);
	}
	atomic_store(&must_end, true);
	expect(pthread_join(other, NULL) == 0);
	assert_as_expected();
	assert_empty();
}

/* The recording ends in the child, and what was in the buffer is written once. */
static void fork_while_recording(FILE *record, const uintptr_t *known)
{
	const pid_t pid = child_start();
	if (pid == 0) {
		for (unsigned i = 0; i < KNOWN; i++)
			mems_free(at(known[i]));
		expect_working_heap();
		fflush(record);
		child_exit();
	}
	child_wait(pid);
}

static void test_fork_while_recording(void **state)
{
	static struct churn churn;
	uintptr_t known[KNOWN];
	FILE *const record = tmpfile();
	assert_int_equal(mems_record(record), 0);
	take_known(known);
	fork_while_recording(record, known);
	fork_handlers_begin();
	fork_while_recording(record, known);
	fork_handlers_end();
	churn = (struct churn){ .calls_each = CHURN_FOR_EVER };
	churn_start(&churn, 3, new_seed(*state));
	for (unsigned i = 0; i < 8; i++) {
		churn_wait(&churn, 4);
		fork_while_recording(record, known);
	}
	churn_stop(&churn);
	expect_known(known);
	fflush(record);
	assert_int_equal(follow_record(record), churn_totals(&churn).blocks + KNOWN);
	churn_free(&churn);
	assert_int_equal(mems_record(NULL), 0);
	assert_as_expected();
	fclose(record);
}

/* ---- Life --------------------------------------------------------------------------------- */

static void test_heaps_and_threads_one_after_another(void **state)
{
	static struct churn churn;
	const uint64_t seed = new_seed(*state);
	for (unsigned i = 0; i < 20; i++) {
		churn = (struct churn){ .calls_each = 1000 / SLOWNESS };
		churn_start(&churn, 1 + i % 4, seed + i);
		churn_join(&churn);
		assert_as_expected();
		assert_sound();
		mems_finish();
		assert_null(mems_get(at(1000)));
		mems_init();
		assert_int_equal(take(10), 1000);
	}
}

enum { HEAPLESS_ROUNDS = 4000 / SLOWNESS };

/* Functions that need no heap, and those that find none, from many threads. */
static void *use_no_heap(void *context)
{
	struct mems_stats stats;
	struct mems_segment segment;
	for (unsigned i = 0; i < HEAPLESS_ROUNDS; i++) {
		errno = 0;
		expect(mems_malloc(1) == NULL && errno == EPERM);
		expect(mems_get(at(1000)) == NULL && errno == EFAULT);
		expect(mems_segment_at(at(1000), &segment) == -1);
		mems_free(at(1000));
		expect(errno == EINVAL);
		mems_get_stats(&stats);
		expect(stats.pages == 0);
		expect(mems_check(stderr) == 0);
	}
	return context;
}

static void test_threads_without_a_heap(void **state)
{
	pthread_t other;
	(void)state;
	mems_finish();
	expect(pthread_create(&other, NULL, use_no_heap, NULL) == 0);
	use_no_heap(NULL);
	expect(pthread_join(other, NULL) == 0);
	expect(reports == 2 * 2 * HEAPLESS_ROUNDS);
	assert_as_expected();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		/* The first two, while there has been one thread only. */
		thread_test(test_visitor_in_a_process_of_one_thread),
		thread_test(test_thread_created_by_a_visitor),
		thread_test(test_threads_come_and_go_in_a_visitor),
		thread_test(test_two_threads),
		thread_test(test_four_threads),
		thread_test(test_sixteen_threads),
		thread_test(test_threads_in_the_same_words),
		thread_test(test_translation_while_others_change),
		thread_test(test_looking_while_others_change),
		thread_test(test_threads_wait_for_a_visitor),
		thread_test(test_what_takes_no_block_waits_for_a_visitor),
		thread_test(test_visitors_on_many_threads),
		thread_test(test_translation_waits_for_nobody),
		thread_test(test_handlers_may_do_anything),
		thread_test(test_handlers_inside_a_visitor),
		thread_test(test_handlers_set_by_many_threads),
		thread_test(test_printing_to_a_stream_that_uses_the_heap),
		thread_test(test_recording_to_a_stream_that_uses_the_heap),
		thread_test(test_printing_to_a_stream_in_use),
		thread_test(test_visitor_that_prints_where_others_print),
		thread_test(test_cancelled_while_printing),
		thread_test(test_recording_many_threads),
		thread_test(test_recordings_end_while_others_work),
		thread_test(test_fork_while_others_change),
		thread_test(test_children_with_threads),
		thread_test(test_fork_in_a_visitor),
		thread_test(test_fork_in_a_visitor_while_others_change),
		thread_test(test_fork_while_printing),
		thread_test(test_fork_in_a_handler),
		thread_test(test_fork_handlers_that_use_the_heap),
		thread_test(test_fork_handlers_of_a_constructor),
		thread_test(test_fork_while_recording),
		thread_test(test_heaps_and_threads_one_after_another),
		thread_test(test_threads_without_a_heap),
	};
	/* Around the first mems_init: MeMS has its own fork handlers between these two. */
	pthread_atfork(handle_before_fork, handle_fork_in_parent, handle_fork_in_child);
	mems_init();
	mems_finish();
	pthread_atfork(handle_before_fork, handle_fork_in_parent, handle_fork_in_child);
	return run_heap_tests("threads", tests);
}
