/*
 * Translation beside changes, instruction by instruction: the processor traps after each one, and
 * the handler of the trap stands for the other thread. What it finds after any instruction of
 * mems_malloc and its kin is what a thread may find that translates meanwhile; what it changes
 * after any instruction of mems_get is what may change under it. On x86 only, where a flag makes
 * the processor trap.
 */
#define _GNU_SOURCE
#include "churn.h"
#include "support.h"

#include <pthread.h>
#include <signal.h>
#include <ucontext.h>
#include <unistd.h>

#if defined(REG_RIP)
#define REG_INSTRUCTION REG_RIP
#elif defined(REG_EIP)
#define REG_INSTRUCTION REG_EIP
#endif

/* ThreadSanitizer hands signals over at a time of its own choosing. */
#if defined(REG_INSTRUCTION) && !defined(__SANITIZE_THREAD__)
#define CAN_STEP 1
#else
#define CAN_STEP 0
#endif

#if CAN_STEP

enum {
	TRAP_FLAG = 1 << 8,
	FREE_SLOTS = 24,
	OWNED = 13,
	SLOWNESS = ADDRESS_SANITIZER ? 8 : 1,
	STANDSTILL_SECONDS = 120,
	LARGE_SIZE = 50000           /* of a block that is more than a group */
};

/* ---- Steps -------------------------------------------------------------------------------- */

static struct steps {
	volatile sig_atomic_t are_on;
	volatile size_t count;                       /* instructions so far */
	void (*volatile at_each)(const uint8_t *next); /* gets the one that comes next */
} steps;

static void on_trap(int signal, siginfo_t *info, void *context)
{
	ucontext_t *const ucontext = context;
	greg_t *const registers = ucontext->uc_mcontext.gregs;
	const int error = errno;
	(void)signal;
	(void)info;
	if (steps.are_on) {
		steps.count++;
		steps.at_each((const uint8_t *)(uintptr_t)registers[REG_INSTRUCTION]);
	}
	if (steps.are_on)
		registers[REG_EFL] |= TRAP_FLAG;
	else
		registers[REG_EFL] &= ~(greg_t)TRAP_FLAG;
	errno = error;
}

/* From here to steps_end each instruction of this thread is followed by a call of at_each. */
static void steps_begin(void (*at_each)(const uint8_t *next))
{
	steps.count = 0;
	steps.at_each = at_each;
	steps.are_on = 1;
	raise(SIGTRAP);
}

static void steps_end(void)
{
	steps.are_on = 0;
}

static void do_nothing(const uint8_t *next)
{
	(void)next;
}

/* A thread that waits for itself waits for ever: then the program ends here. */
static int begin(void **state)
{
	alarm(STANDSTILL_SECONDS);
	expect_failures = 0;
	return with_heap(state);
}

#define step_test(function) cmocka_unit_test_setup_teardown(function, begin, clean_up)

/* An emulator may not know the flag, or trap in the middle of what it emulates. */
static void need_steps(void)
{
	if (is_run_by_another() && !is_run_by_valgrind())
		skip();
	steps_begin(do_nothing);
	steps_end();
	if (steps.count < 2)
		skip();
}

/* ---- A heap of blocks that stay and blocks that come and go, side by side ------------------- */

static struct scene {
	uint64_t random;
	uintptr_t owned[OWNED];      /* they stay */
	char *physical[OWNED];
	uintptr_t slots[FREE_SLOTS]; /* they come and go; 0 for none */
	uintptr_t hole;              /* so small that it stays one, */
	uintptr_t beside[2];         /* between these, which stay */
} scene;

/* Of one granule, several to a leaf, of a leaf and more, of more than 4096 granules. */
static const size_t owned_sizes[OWNED] = {
	8, 8, 16, 504, 24, 512, 8, 520, 1000, 40000, 8, 70000, 64
};

static size_t some_size(void)
{
	static const size_t sizes[] = { 16, 16, 16, 24, 40, 64, 500, 512, 1500 };
	return sizes[random_below(&scene.random, sizeof sizes / sizeof sizes[0])];
}

static void scene_set(const char *name)
{
	const char *const given = getenv("SEED");
	const unsigned long seed = given != NULL ? strtoul(given, NULL, 10) : (unsigned)getpid();
	printf("%s: SEED=%lu\n", name, seed);
	scene = (struct scene){ .random = seed };
	scene.beside[0] = take(8);
	scene.hole = take(8);
	scene.beside[1] = take(8);
	for (unsigned i = 0; i < FREE_SLOTS; i++) {
		scene.slots[i] = take(some_size());
		if (i % 2 == 0 || i / 2 >= OWNED)
			continue;
		scene.owned[i / 2] = take(owned_sizes[i / 2]);
		scene.physical[i / 2] = mems_get(at(scene.owned[i / 2]));
	}
	scene.owned[OWNED - 1] = take(owned_sizes[OWNED - 1]);
	scene.physical[OWNED - 1] = mems_get(at(scene.owned[OWNED - 1]));
	give_back(scene.hole);
}

/* One change beside them. */
static void scene_change(void)
{
	uintptr_t *const slot = &scene.slots[random_below(&scene.random, FREE_SLOTS)];
	const size_t kind = random_below(&scene.random, 8);
	if (*slot == 0 && kind < 2) {
		*slot = address_of(mems_aligned_alloc((size_t)64 << kind, some_size()));
	} else if (*slot == 0) {
		*slot = address_of(mems_malloc(kind < 4 ? LARGE_SIZE : some_size()));
	} else if (kind < 3 && mems_usable_size(at(*slot)) < LARGE_SIZE) {
		*slot = address_of(mems_realloc(at(*slot), some_size()));
	} else {
		mems_free(at(*slot));
		*slot = 0;
	}
}

static bool is_translated(unsigned i)
{
	const uintptr_t start = scene.owned[i];
	const size_t size = owned_sizes[i];
	const size_t middle = size / 2;
	char *const physical = scene.physical[i];
	return mems_get(at(start)) == physical &&
	       mems_get(at(start + size - 1)) == physical + size - 1 &&
	       mems_get_range(at(start), size) == physical &&
	       mems_get_range(at(start + middle), size - middle) == physical + middle &&
	       mems_get_range(at(start + middle), size - middle + 1) == NULL &&
	       mems_virtual(physical + middle) == at(start + middle);
}

static void look_at_all(const uint8_t *next)
{
	(void)next;
	for (unsigned i = 0; i < OWNED; i++)
		expect(is_translated(i));
	expect(mems_get(at(scene.hole)) == NULL);
	expect(mems_get(at(scene.beside[0])) != NULL && mems_get(at(scene.beside[1])) != NULL);
}

/* ---- The tests ---------------------------------------------------------------------------- */

static void test_translation_after_each_step_of_a_change(void **state)
{
	enum { CHANGES = 32 / SLOWNESS };
	size_t count = 0;
	(void)state;
	need_steps();
	scene_set(__func__);
	for (unsigned i = 0; i < CHANGES; i++) {
		steps_begin(look_at_all);
		scene_change();
		steps_end();
		count += steps.count;
		assert_int_equal(expect_failures, 0);
	}
	printf("%zu instructions\n", count);
	assert_true(count > CHANGES * 20);
}

/* Small blocks, every other of which stays when the rest is freed. */
enum { KEPT = 40 };
static uintptr_t kept[KEPT];

static size_t kept_size(unsigned i)
{
	return 8 + i % 5 * 8;
}

static void look_at_kept(const uint8_t *next)
{
	(void)next;
	for (unsigned i = 0; i < KEPT; i += 2) {
		const void *const physical = mems_get(at(kept[i]));
		expect(physical != NULL);
		expect(mems_get_range(at(kept[i]), kept_size(i)) == physical);
		expect(mems_get_range(at(kept[i]), kept_size(i) + 1) == NULL);
		expect(mems_get(at(kept[i + 1])) == NULL);
	}
}

/* A request that cannot be met: under quick fit all that is remembered is merged before it
 * fails. */
static void test_translation_after_each_step_of_a_merge(void **state)
{
	(void)state;
	need_steps();
	mems_finish();
	assert_int_equal(mems_option(MEMS_LIMIT, 4 * PAGE), 0);
	mems_init();
	for (unsigned i = 0; i < KEPT; i++)
		kept[i] = take(kept_size(i));
	for (unsigned i = 1; i < KEPT; i += 2)
		give_back(kept[i]);
	steps_begin(look_at_kept);
	void *const refused = mems_malloc(4 * PAGE);
	steps_end();
	assert_null(refused);
	assert_int_equal(expect_failures, 0);
}

/* A block that is being taken, and how often it was found live before that was over. */
static struct {
	uintptr_t address;
	size_t size, seen;
} awaited;

static void look_at_awaited(const uint8_t *next)
{
	(void)next;
	if (mems_get(at(awaited.address)) == NULL)
		return;
	awaited.seen++;
	expect(mems_usable_size(at(awaited.address)) == awaited.size);
}

static void *take_one_way(unsigned way)
{
	return way == 0   ? mems_malloc(awaited.size)
	       : way == 1 ? mems_calloc(1, awaited.size)
	                  : mems_aligned_alloc(PAGE, awaited.size);
}

static void *return_at_once(void *context)
{
	return context;
}

/* Where there are several threads: as soon as a block is live another one may free it, by mistake. */
static void test_a_block_has_its_size_before_it_is_live(void **state)
{
	pthread_t thread;
	(void)state;
	need_steps();
	assert_int_equal(pthread_create(&thread, NULL, return_at_once, NULL), 0);
	assert_int_equal(pthread_join(thread, NULL), 0);
	give_back(take(3 * MIB));
	take(8);
	for (unsigned way = 0; way < 3; way++) {
		awaited.size = 20 * PAGE; /* so large that it is merged at once when it is freed */
		awaited.seen = 0;
		awaited.address = address_of(take_one_way(way));
		give_back(awaited.address);
		steps_begin(look_at_awaited);
		const uintptr_t taken = address_of(take_one_way(way));
		steps_end();
		assert_int_equal(taken, awaited.address);
		assert_true(awaited.seen != 0);
		assert_int_equal(expect_failures, 0);
		give_back(taken);
	}
}

/* In the middle of a translation something happens now and then. */
static bool happens(void)
{
	return random_below(&scene.random, 6) == 0;
}

static void change_now_and_then(const uint8_t *next)
{
	(void)next;
	if (happens())
		scene_change();
}

static void translate_in_between(unsigned i, size_t offset)
{
	const uintptr_t address = scene.owned[i] + offset;
	char *const physical = scene.physical[i] + offset;
	const size_t rest = owned_sizes[i] - offset;
	steps_begin(change_now_and_then);
	void *const found = mems_get(at(address));
	void *const range = mems_get_range(at(address), rest);
	void *const wild = mems_get_range(at(address), rest + 1);
	void *const back = mems_virtual(physical);
	steps_end();
	expect(found == physical);
	expect(range == physical);
	expect(wild == NULL);
	expect(back == at(address));
	assert_true(steps.count > 40);
}

static void test_changes_after_each_step_of_a_translation(void **state)
{
	enum { ROUNDS = 4 / SLOWNESS + 1 };
	(void)state;
	need_steps();
	scene_set(__func__);
	for (unsigned i = 0; i < ROUNDS * OWNED; i++) {
		translate_in_between(i % OWNED, random_below(&scene.random, owned_sizes[i % OWNED]));
		assert_int_equal(expect_failures, 0);
		assert_sound();
	}
}

/* A block that another thread frees, whose place is taken by smaller ones, and which is taken
 * again, all the time. */
static struct stale {
	uintptr_t address;
	size_t size;
	bool is_live;
	uintptr_t in_its_place[3];
} stale;

static void change_stale(void)
{
	static const size_t sizes[3] = { 8, 8, 64 };
	if (stale.is_live)
		mems_free(at(stale.address));
	for (unsigned i = 0; i < 3; i++) {
		if (stale.is_live)
			stale.in_its_place[i] = take(sizes[i]);
		else
			mems_free(at(stale.in_its_place[i]));
	}
	if (!stale.is_live)
		stale.address = take(stale.size);
	stale.is_live = !stale.is_live;
}

/* After this many steps the block changes, once. */
static size_t steps_before_change;

static void change_stale_once(const uint8_t *next)
{
	(void)next;
	if (steps.count < steps_before_change)
		return;
	steps_end();
	change_stale();
}

/* Whatever comes, it lies in what is mapped. */
static void translate_stale(size_t offset)
{
	const uintptr_t address = stale.address + offset;
	const size_t beyond = stats_now().mapped_bytes + 1000 - address + 1;
	steps_begin(change_stale_once);
	void *const wild = mems_get_range(at(address), beyond);
	steps_end();
	expect(wild == NULL);
}

/* Returns whether the translation was long enough for so many steps. */
static bool translate_stale_after(size_t size, size_t offset, size_t count)
{
	stale = (struct stale){ .address = take(size), .size = size, .is_live = true };
	steps_before_change = count;
	translate_stale(offset);
	const bool has_changed = !stale.is_live;
	if (has_changed)
		change_stale();
	mems_free(at(stale.address));
	return has_changed;
}

static void test_stale_addresses_in_the_middle_of_a_change(void **state)
{
	static const size_t sizes[] = { 200, 5000 };
	enum { MOST = 2000 };
	(void)state;
	need_steps();
	give_back(take(100));
	for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
		size_t count = 1;
		while (count < MOST && translate_stale_after(sizes[i], sizes[i] * 3 / 4, count))
			count += SLOWNESS + count / 32;
		assert_true(count > 20 && count < MOST);
		assert_int_equal(expect_failures, 0);
		assert_sound();
	}
}

/* ---- Locks -------------------------------------------------------------------------------- */

static size_t locked, calls_of_system;

static bool is_prefix(uint8_t byte)
{
	static const uint8_t prefixes[] = { 0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65, 0x66, 0x67, 0xf2, 0xf3 };
	return memchr(prefixes, byte, sizeof prefixes) != NULL ||
	       (sizeof(void *) == 8 && (byte & 0xf0) == 0x40);
}

/* Counts instructions that keep the other processors off: those with a lock prefix, and exchanges
 * with memory; and those that enter the system. */
static void count_locked(const uint8_t *next)
{
	while (is_prefix(*next))
		next++;
	const bool is_exchange = (next[0] == 0x86 || next[0] == 0x87) && next[1] < 0xc0;
	locked += next[0] == 0xf0 || is_exchange;
	calls_of_system += (next[0] == 0x0f && (next[1] == 0x05 || next[1] == 0x34)) ||
	                   (next[0] == 0xcd && next[1] == 0x80);
}

static void change_all_ways(void)
{
	void *block = mems_malloc(100);
	block = mems_realloc(block, 200);
	void *const other = mems_aligned_alloc(64, 100);
	block = mems_realloc(block, 3000);
	mems_free(block);
	mems_free(mems_calloc(3, 30));
	mems_free(other);
}

static void translate_all_ways(void)
{
	mems_get(at(1000));
	mems_get(at(1));
	mems_get_range(at(1000), 100);
	mems_virtual(mems_get(at(1000)));
}

static void count_locked_in(void (*function)(void))
{
	/* What is bound, mapped or remembered for the first time is not meant. */
	for (unsigned i = 0; i < 100; i++)
		function();
	locked = calls_of_system = 0;
	steps_begin(count_locked);
	function();
	steps_end();
	assert_true(steps.count > 100);
}

static void *wait_for_byte(void *context)
{
	char byte;
	expect(read(*(int *)context, &byte, 1) == 1);
	return NULL;
}

/* No lock is taken by translation, and none at all in a program of one thread; but gcov takes them. */
static void test_who_takes_a_lock(void **state)
{
	int ends[2];
	pthread_t other;
	(void)state;
	if (is_counted())
		skip();
	need_steps();
	take(100);
#ifdef __GLIBC__
	count_locked_in(change_all_ways);
	assert_int_equal(locked, 0);
	assert_int_equal(calls_of_system, 0);
#endif
	assert_int_equal(pipe(ends), 0);
	assert_int_equal(pthread_create(&other, NULL, wait_for_byte, &ends[0]), 0);
	count_locked_in(translate_all_ways);
	assert_int_equal(locked, 0);
	assert_int_equal(calls_of_system, 0);
	count_locked_in(change_all_ways);
	assert_true(locked != 0);
	assert_int_equal(calls_of_system, 0);
	assert_int_equal(write(ends[1], "", 1), 1);
	assert_int_equal(pthread_join(other, NULL), 0);
	close(ends[0]);
	close(ends[1]);
}

int main(void)
{
	const struct sigaction action = { .sa_sigaction = on_trap, .sa_flags = SA_SIGINFO };
	const struct CMUnitTest tests[] = {
		step_test(test_who_takes_a_lock),
		step_test(test_translation_after_each_step_of_a_change),
		step_test(test_translation_after_each_step_of_a_merge),
		step_test(test_a_block_has_its_size_before_it_is_live),
		step_test(test_changes_after_each_step_of_a_translation),
		step_test(test_stale_addresses_in_the_middle_of_a_change),
	};
	setvbuf(stdout, NULL, _IOLBF, 0); /* so that the name of a test that ends it is there */
	sigaction(SIGTRAP, &action, NULL);
	return run_heap_tests("steps", tests);
}

#else

static void test_steps(void **state)
{
	(void)state;
	skip();
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_steps) };
	return run_heap_tests("steps", tests);
}

#endif
