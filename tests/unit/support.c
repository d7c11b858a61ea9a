/* What the test programs share; see support.h. */
#define _GNU_SOURCE
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "support.h"

/* There where gcov counts. */
extern void __gcov_dump(void) __attribute__((weak));

struct report report;
mems_error_handler *default_handler;

/* ---- Reports ---------------------------------------------------------------------------- */

void remember_report(int error, const void *v_ptr, const char *message)
{
	report.count++;
	report.error = error;
	report.address = address_of(v_ptr);
	snprintf(report.message, sizeof report.message, "%s", message);
}

void reports_clear(void)
{
	memset(&report, 0, sizeof report);
}

void assert_report_at(int error, uintptr_t address, const char *text, const char *file, int line)
{
	_assert_int_equal(report.count, 1, file, line);
	_assert_string_equal(report.message, text, file, line);
	_assert_int_equal((LargestIntegralType)report.error, (LargestIntegralType)error, file, line);
	_assert_true(report.address == address, "the address of the report", file, line);
	reports_clear();
}

/* ---- Addresses and blocks --------------------------------------------------------------- */

void *at(uintptr_t address)
{
	return (void *)address;
}

uintptr_t address_of(const void *v_ptr)
{
	return (uintptr_t)v_ptr;
}

uintptr_t take(size_t size)
{
	void *const v_ptr = mems_malloc(size);
	assert_non_null(v_ptr);
	return address_of(v_ptr);
}

void give_back(uintptr_t address)
{
	const size_t reports_before = report.count;
	errno = UNTOUCHED;
	mems_free(at(address));
	assert_int_equal(errno, UNTOUCHED);
	assert_true(report.count == reports_before);
}

static unsigned char filling_byte(size_t offset, unsigned tag)
{
	return (unsigned char)(tag * 31U + offset * 7U + (offset >> 8));
}

void fill_block(uintptr_t address, size_t size, unsigned tag)
{
	unsigned char *const bytes = mems_get_range(at(address), size);
	assert_non_null(bytes);
	for (size_t i = 0; i < size; i++)
		bytes[i] = filling_byte(i, tag);
}

bool has_filling(uintptr_t address, size_t size, unsigned tag)
{
	const unsigned char *const bytes = mems_get_range(at(address), size);
	assert_non_null(bytes);
	for (size_t i = 0; i < size; i++) {
		if (bytes[i] != filling_byte(i, tag))
			return false;
	}
	return true;
}

/* ---- Looking ---------------------------------------------------------------------------- */

/* Not inlined: gcc -O3 would take the text for the variable here that first pointed to it. */
__attribute__((noinline)) char *printed_text(void)
{
	char *text = NULL;
	size_t length = 0;
	FILE *const out = open_memstream(&text, &length);
	assert_non_null(out);
	mems_fprint_stats(out);
	assert_int_equal(fclose(out), 0);
	return text;
}

void assert_chain_at(const char *lines, const char *file, int line)
{
	char *const text = printed_text();
	char *const totals = strstr(text, "Page used: ");
	assert_non_null(totals);
	*totals = '\0';
	_assert_string_equal(text, lines, file, line);
	free(text);
}

struct mems_stats stats_now(void)
{
	struct mems_stats stats;
	memset(&stats, 0xff, sizeof stats);
	mems_get_stats(&stats);
	return stats;
}

struct segment_list {
	struct mems_segment *segments;
	size_t capacity;
	size_t count;
};

static int list_append(const struct mems_segment *segment, void *context)
{
	struct segment_list *const list = context;
	if (list->count < list->capacity)
		list->segments[list->count] = *segment;
	list->count++;
	return 0;
}

size_t walk_segments(struct mems_segment *segments, size_t capacity)
{
	/* cppcheck-suppress ctuuninitvar ; the caller's array is filled here */
	struct segment_list list = {segments, capacity, 0};
	assert_int_equal(mems_walk(list_append, &list), 0);
	return list.count;
}

/* ---- Children --------------------------------------------------------------------------- */

bool is_counted(void)
{
	return __gcov_dump != NULL;
}

/* Neither buffers nor the handlers of exit belong to the child; what gcov counted in it does. */
int status_of_child(int (*run)(void *context), void *context)
{
	int status = 0;
	fflush(stdout);
	fflush(stderr);
	const pid_t child = fork();
	assert_true(child >= 0);
	if (child == 0) {
		status = run(context);
		if (is_counted())
			__gcov_dump();
		_exit(status);
	}
	assert_true(waitpid(child, &status, 0) == child);
	assert_true(WIFEXITED(status));
	return WEXITSTATUS(status);
}

/* ---- Random numbers --------------------------------------------------------------------- */

/* G. L. Steele, D. Lea, C. H. Flood, "Fast splittable pseudorandom number generators", 2014. */
uint64_t random_next(uint64_t *state)
{
	uint64_t z = *state += 0x9e3779b97f4a7c15U;
	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9U;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebU;
	return z ^ (z >> 31);
}

size_t random_below(uint64_t *state, size_t bound)
{
	return (size_t)(random_next(state) % bound);
}

/* ---- What the machine gives --------------------------------------------------------------- */

size_t status_kib(const char *file, const char *name)
{
	char line[500];
	size_t kib = 0;
	FILE *const in = fopen(file, "r");
	if (in == NULL)
		return 0;
	while (fgets(line, sizeof line, in) != NULL) {
		if (strncmp(line, name, strlen(name)) == 0)
			kib += (size_t)strtoull(line + strlen(name), NULL, 10);
	}
	fclose(in);
	return kib;
}

bool is_address_space_limited(void)
{
	struct rlimit limit;
	return getrlimit(RLIMIT_AS, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY;
}

bool is_overcommit_refused(void)
{
	FILE *const in = fopen("/proc/sys/vm/overcommit_memory", "r");
	if (in == NULL)
		return false;
	const int mode = fgetc(in);
	fclose(in);
	return mode == '2';
}

size_t resident_kib(void)
{
	return status_kib("/proc/self/smaps", "Anonymous:");
}

bool is_reserving_dear(void)
{
	enum { TRIAL_KIB = 256 << 10 };
	const int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
	const size_t before = resident_kib();
	void *const memory = mmap(NULL, TRIAL_KIB * KIB, PROT_NONE, flags, -1, 0);
	if (memory == MAP_FAILED)
		return false;
	const size_t after = resident_kib();
	munmap(memory, TRIAL_KIB * KIB);
	return after > before + TRIAL_KIB / KIB;
}

/* ---- Fixtures --------------------------------------------------------------------------- */

enum mems_policy policy_under_test(void)
{
	const char *const policy = getenv("POLICY");
	if (policy == NULL || strcmp(policy, "first_fit") == 0)
		return MEMS_FIRST_FIT;
	if (strcmp(policy, "quick_fit") != 0)
		fail_msg("POLICY is neither first_fit nor quick_fit: %s", policy);
	return MEMS_QUICK_FIT;
}

bool is_run_by_another(void)
{
	const char *const words = getenv("RUN");
	return words != NULL && words[0] != '\0';
}

bool is_run_by_valgrind(void)
{
	const char *const words = getenv("RUN");
	return words != NULL && strstr(words, "valgrind") != NULL;
}

static enum mems_policy policy_in_force;

static void policy_set(enum mems_policy policy)
{
	policy_in_force = policy;
	assert_int_equal(mems_option(MEMS_POLICY, (size_t)policy), 0);
}

void options_reset(void)
{
	policy_set(policy_under_test());
	assert_int_equal(mems_option(MEMS_ALIGNMENT, 8), 0);
	assert_int_equal(mems_option(MEMS_START_ADDRESS, 1000), 0);
	assert_int_equal(mems_option(MEMS_PAGE_SIZE, (size_t)getpagesize()), 0);
	assert_int_equal(mems_option(MEMS_LIMIT, 0), 0);
	assert_int_equal(mems_option(MEMS_HISTORY, 0), 0);
}

void keep_nodes_small(void)
{
	if (policy_in_force == MEMS_QUICK_FIT)
		assert_int_equal(mems_option(MEMS_LIMIT, 15 * PAGE), 0);
}

int without_heap(void **state)
{
	(void)state;
	mems_error_handler *const before = mems_set_error_handler(remember_report);
	if (default_handler == NULL)
		default_handler = before;
	reports_clear();
	policy_set(policy_under_test());
	return 0;
}

int with_heap(void **state)
{
	without_heap(state);
	mems_init();
	return 0;
}

int without_small_heap(void **state)
{
	without_heap(state);
	keep_nodes_small();
	return 0;
}

int with_small_heap(void **state)
{
	without_small_heap(state);
	mems_init();
	return 0;
}

int with_first_fit_heap(void **state)
{
	without_heap(state);
	policy_set(MEMS_FIRST_FIT);
	mems_init();
	return 0;
}

int with_quick_fit_heap(void **state)
{
	without_heap(state);
	policy_set(MEMS_QUICK_FIT);
	mems_init();
	return 0;
}

int with_small_quick_fit_heap(void **state)
{
	without_heap(state);
	policy_set(MEMS_QUICK_FIT);
	keep_nodes_small();
	mems_init();
	return 0;
}

int clean_up(void **state)
{
	(void)state;
	const int broken = mems_check(stderr);
	mems_finish();
	options_reset();
	mems_set_error_handler(remember_report);
	return broken;
}

/* ---- Running ---------------------------------------------------------------------------- */

static bool is_of_another_policy(CMFixtureFunction set_up, bool is_quick)
{
	if (is_quick)
		return set_up == with_first_fit_heap;
	return set_up == with_quick_fit_heap || set_up == with_small_quick_fit_heap;
}

int run_heap_tests_of(const char *name, const struct CMUnitTest *tests, size_t count)
{
	enum { MAX_TESTS = 100 };
	struct CMUnitTest chosen[MAX_TESTS];
	const bool is_quick = policy_under_test() == MEMS_QUICK_FIT;
	size_t chosen_count = 0;
	for (size_t i = 0; i < count && chosen_count < MAX_TESTS; i++) {
		if (!is_of_another_policy(tests[i].setup_func, is_quick))
			chosen[chosen_count++] = tests[i];
	}
	return _cmocka_run_group_tests(name, chosen, chosen_count, NULL, NULL);
}
