/*
 * What the test programs share: the test framework, heaps to start from, short names for the
 * things that are asked again and again, and a handler that remembers the last report.
 */
#ifndef SUPPORT_H
#define SUPPORT_H

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "mems.h"

#if defined(__SANITIZE_ADDRESS__)
#define ADDRESS_SANITIZER 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define ADDRESS_SANITIZER 1
#endif
#endif
#ifndef ADDRESS_SANITIZER
#define ADDRESS_SANITIZER 0
#endif

#if defined(__SANITIZE_THREAD__)
#define THREAD_SANITIZER 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define THREAD_SANITIZER 1
#endif
#endif
#ifndef THREAD_SANITIZER
#define THREAD_SANITIZER 0
#endif

#define KIB ((size_t)1024)
#define MIB (1024 * KIB)
#define PAGE ((size_t)4096)

/* An error number that no function sets: whoever leaves errno alone leaves this. */
#define UNTOUCHED 12321

/* The condition, a call and what it should return, holds and errno is code afterwards. */
#define assert_fails(code, condition) \
	do { \
		errno = UNTOUCHED; \
		const bool held_ = (condition); \
		const int left_ = errno; \
		_assert_true(held_, #condition, __FILE__, __LINE__); \
		_assert_int_equal((LargestIntegralType)left_, (LargestIntegralType)(code), \
		                  __FILE__, __LINE__); \
	} while (0)

/* The condition holds and errno was left alone. */
#define assert_succeeds(condition) assert_fails(UNTOUCHED, condition)

/* The MAIN lines that MeMS prints are exactly these. */
#define assert_chain(lines) assert_chain_at(lines, __FILE__, __LINE__)

/* mems_check finds nothing. */
#define assert_sound() \
	_assert_true(mems_check(stderr) == 0, "the heap is sound", __FILE__, __LINE__)

/* The last call since reports_clear reported this message once, about this address, as an error
 * EINVAL or as another one. */
#define assert_report(address, text) assert_report_of(EINVAL, address, text)
#define assert_report_of(error, address, text) \
	assert_report_at(error, address, text, __FILE__, __LINE__)
#define assert_no_report() _assert_true(report.count == 0, "no report", __FILE__, __LINE__)

/* What the remembering handler remembers. */
struct report {
	size_t count;      /* calls since reports_clear */
	int error;         /* of the last call, like the two that follow */
	uintptr_t address;
	char message[200];
};

extern struct report report;

/* The handler that was installed when the program started. */
extern mems_error_handler *default_handler;

void remember_report(int error, const void *v_ptr, const char *message);
void reports_clear(void);
void assert_report_at(int error, uintptr_t address, const char *text, const char *file, int line);

/* Numbers and pointers: virtual addresses are compared as numbers. */
void *at(uintptr_t address);
uintptr_t address_of(const void *v_ptr);

/* mems_malloc and mems_free for calls that have to succeed. */
uintptr_t take(size_t size);
void give_back(uintptr_t address);

/* All that mems_fprint_stats prints; the caller frees it. */
char *printed_text(void);
void assert_chain_at(const char *lines, const char *file, int line);

struct mems_stats stats_now(void);

/* The segments as mems_walk shows them, at most capacity of them; returns how many there are. */
size_t walk_segments(struct mems_segment *segments, size_t capacity);

/* Fills a block with bytes that depend on tag, and says whether they are still there. */
void fill_block(uintptr_t address, size_t size, unsigned tag);
bool has_filling(uintptr_t address, size_t size, unsigned tag);

/* What run returns in a child of its own, made by fork: 0 to 255. */
int status_of_child(int (*run)(void *context), void *context);

/* Whether gcov counts in this program, which then runs code of gcov everywhere. */
bool is_counted(void);

/* A random number generator with the seed as its whole state. */
uint64_t random_next(uint64_t *state);
size_t random_below(uint64_t *state, size_t bound);

/* The policy that the program runs under: the word after POLICY= in the environment, first_fit or
 * quick_fit; first fit without one. */
enum mems_policy policy_under_test(void);

/* Is this program run by an emulator or Valgrind ($RUN), whose memory the OS counts as ours? */
bool is_run_by_another(void);

/* By Valgrind? It reports what a program should not do, which some tests do on purpose. */
bool is_run_by_valgrind(void);

/* The sum of what the lines of a file under /proc that begin with this name say, in KiB; and the
 * memory of this process that is resident and its own. 0 where the OS does not tell. */
size_t status_kib(const char *file, const char *name);
size_t resident_kib(void);

/* Is there a limit on address space (RLIMIT_AS)? */
bool is_address_space_limited(void);

/* Does even untouched memory have to be there, as without overcommit? */
bool is_overcommit_refused(void);

/* An emulator may keep books of its own on every page that is reserved. The library reserves less
 * there, unless it is asked for more. */
bool is_reserving_dear(void);

/* Options as they are before the first mems_option, but for the policy. There must be no heap. */
void options_reset(void);

/* Under quick fit a node has 16 pages where the limit grants them. In a heap that may have no more
 * than 15, nodes are of what is needed, as they are under first fit in small heaps. */
void keep_nodes_small(void);

/* Fixtures: no heap, or an empty one, the small ones with keep_nodes_small; default options; reports
 * remembered and cleared. */
int without_heap(void **state);
int with_heap(void **state);
int without_small_heap(void **state);
int with_small_heap(void **state);
int with_first_fit_heap(void **state);
int with_quick_fit_heap(void **state);
int with_small_quick_fit_heap(void **state);
int clean_up(void **state);

/* Tests that hold under every policy, */
#define heap_test(function) cmocka_unit_test_setup_teardown(function, with_heap, clean_up)
#define small_heap_test(function) \
	cmocka_unit_test_setup_teardown(function, with_small_heap, clean_up)
#define bare_test(function) cmocka_unit_test_setup_teardown(function, without_heap, clean_up)
#define small_bare_test(function) \
	cmocka_unit_test_setup_teardown(function, without_small_heap, clean_up)

/* and tests that say where one of them puts a block. */
#define first_fit_test(function) \
	cmocka_unit_test_setup_teardown(function, with_first_fit_heap, clean_up)
#define quick_fit_test(function) \
	cmocka_unit_test_setup_teardown(function, with_quick_fit_heap, clean_up)
#define small_quick_fit_test(function) \
	cmocka_unit_test_setup_teardown(function, with_small_quick_fit_heap, clean_up)

/* Runs an array of tests, without those of another policy; the exit status of the program. */
#define run_heap_tests(name, tests) \
	run_heap_tests_of(name, tests, sizeof(tests) / sizeof((tests)[0]))
int run_heap_tests_of(const char *name, const struct CMUnitTest *tests, size_t count);

#endif
