/*
 * Turns malloc and its kin into calls of MeMS. Calls mems; called by programs under LD_PRELOAD.
 *
 * These are the C library's allocation functions, for programs that know nothing of MeMS.
 *
 *     LD_PRELOAD=build/default/preload.so MEMS_PRELOAD_STATS=- perl script.pl
 *
 * The program gets physical addresses; free and realloc go back to the virtual ones. The object
 * has a MeMS of its own inside and exports no other names than those of the C library.
 *
 * What the environment says when the program starts:
 *     MEMS_PRELOAD_POLICY     first-fit or quick-fit, which is what there is without it
 *     MEMS_PRELOAD_PAGE_SIZE  MEMS_PAGE_SIZE, up to 2 MiB, for programs that want an alignment
 *                             above 4096; without it, that is refused (ENOMEM) and counted
 *     MEMS_PRELOAD_ABORT      not empty: a misuse ends the program
 *     MEMS_PRELOAD_CHECK      a number: mems_check after each so many calls, not just at exit
 * and, each a folder (its absolute name) where every process leaves a file at exit, or - for
 * standard error:
 *     MEMS_PRELOAD_COUNTERS   PROCESS.counters: a line "name=value ...", and what mems_check finds
 *     MEMS_PRELOAD_STATS      PROCESS.stats: the chains, as mems_print_stats shows them
 *     MEMS_PRELOAD_JSON       PROCESS.json: the heap, as mems_fprint_json writes it
 *
 * Exit is the end of main or a call of exit; a process that ends by _exit, a signal or exec leaves
 * nothing. A child of fork starts its counters at 0, with the blocks and the peak of its parent.
 *
 * Nothing here asks for memory before the heap is there, and nothing is kept in thread-local
 * storage, which might. At exit the chains and the JSON go through a stream of stdio, which is
 * then a block of the heap itself; its buffer lies here.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include "mems.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#ifdef __GLIBC__
#include <sys/single_threaded.h>
#else /* does not tell */
#define __libc_single_threaded 0
#endif
#include <unistd.h>

#define EXPORTED __attribute__((visibility("default")))
#define NOINLINE __attribute__((noinline))
#define UNLIKELY(condition) __builtin_expect(!!(condition), 0)

enum {
	ALIGNMENT = 16, /* what the C library promises: alignof(max_align_t) */
	PATH_BYTES = 4096,
	LINE_BYTES = 2048
};

/* Not in stdlib.h, or not in every one. */
EXPORTED void *memalign(size_t alignment, size_t size);
EXPORTED void *pvalloc(size_t size);
EXPORTED size_t malloc_usable_size(void *block);
EXPORTED void cfree(void *block);

enum state { UNSTARTED, STARTING, STARTED };

enum call { MALLOC, CALLOC, REALLOC, ALIGNED, FREE, USABLE_SIZE, CALLS };

static const char *const call_names[CALLS] = {"malloc", "calloc", "realloc", "aligned", "free",
	"usable_size"};

/* What a process may leave at exit. */
enum report { COUNTERS, STATS, JSON, REPORTS };

static const struct {
	const char *variable, *suffix;
} report_names[REPORTS] = {
	{"MEMS_PRELOAD_COUNTERS", "counters"},
	{"MEMS_PRELOAD_STATS", "stats"},
	{"MEMS_PRELOAD_JSON", "json"},
};

static struct {
	_Atomic enum state state;
	_Atomic pthread_t starter; /* valid while STARTING */
	bool is_quick, is_aborting;
	size_t page_bytes;
	size_t check_every; /* calls; 0: at exit only */
	char folders[REPORTS][PATH_BYTES]; /* "" for no such report; copies, as programs overwrite
	                                      their environment */
	atomic_size_t calls[CALLS];
	atomic_size_t unchecked; /* calls since the last check */
	atomic_size_t checks, broken;
	atomic_size_t failed;  /* allocations that got nothing */
	atomic_size_t refused; /* of these, for an alignment above the page size */
	atomic_size_t misuses;
} preload;

/* ---- Start ----------------------------------------------------------------------------------- */

/* Where even this fails there is nobody left to tell. */
static void bytes_write(int file, const char *bytes, size_t size)
{
	ssize_t written = write(file, bytes, size);

	(void)written;
}

/* No stdio: a misuse may be found in the middle of anything. */
static void misuse(const char *message)
{
	char line[LINE_BYTES];
	int length = snprintf(line, sizeof line, "mems: %s\n", message);

	bytes_write(STDERR_FILENO, line, (size_t)length);
	atomic_fetch_add(&preload.misuses, 1);
	if (preload.is_aborting)
		abort();
}

static void misuse_handle(int error, const void *v_ptr, const char *message)
{
	(void)error;
	(void)v_ptr;
	misuse(message);
}

/* A pointer that is in no block: freed before, or never given out by this heap. */
static NOINLINE void stranger_report(const char *function, const void *block)
{
	char message[LINE_BYTES];
	int error = errno;

	snprintf(message, sizeof message, "%s(%p): in no block of the heap", function, block);
	misuse(message);
	errno = error;
}

static size_t number_of(const char *variable)
{
	const char *value = getenv(variable);

	return value == NULL ? 0 : (size_t)strtoull(value, NULL, 10);
}

static void environment_read(void)
{
	const char *policy = getenv("MEMS_PRELOAD_POLICY");
	const char *is_aborting = getenv("MEMS_PRELOAD_ABORT");

	preload.is_quick = policy == NULL || strcmp(policy, "first-fit") != 0;
	preload.is_aborting = is_aborting != NULL && is_aborting[0] != '\0';
	preload.check_every = number_of("MEMS_PRELOAD_CHECK");
	preload.page_bytes = number_of("MEMS_PRELOAD_PAGE_SIZE");
	for (size_t i = 0; i < REPORTS; i++) {
		const char *folder = getenv(report_names[i].variable);

		if (folder != NULL && strlen(folder) < PATH_BYTES)
			strcpy(preload.folders[i], folder); /* NOLINT(clang-analyzer-security.*): it fits */
	}
}

static void counters_reset(void)
{
	for (size_t i = 0; i < CALLS; i++)
		preload.calls[i] = 0;
	preload.unchecked = 0;
	preload.checks = 0;
	preload.broken = 0;
	preload.failed = 0;
	preload.refused = 0;
	preload.misuses = 0;
}

/* Another thread that comes meanwhile waits. The starter itself would only come here again if
 * something below asked for memory, and is then told that there is none. */
static NOINLINE void heap_start(void)
{
	enum state expected = UNSTARTED;

	if (!atomic_compare_exchange_strong(&preload.state, &expected, STARTING)) {
		while (preload.state == STARTING && !pthread_equal(preload.starter, pthread_self()))
			sched_yield();
		return;
	}
	preload.starter = pthread_self();
	environment_read();
	mems_set_error_handler(misuse_handle);
	mems_option(MEMS_ALIGNMENT, ALIGNMENT);
	mems_option(MEMS_POLICY, preload.is_quick ? MEMS_QUICK_FIT : MEMS_FIRST_FIT);
	if (preload.page_bytes == 0 || mems_option(MEMS_PAGE_SIZE, preload.page_bytes) != 0)
		preload.page_bytes = (size_t)sysconf(_SC_PAGESIZE);
	mems_init();
	pthread_atfork(NULL, NULL, counters_reset);
	preload.state = STARTED;
}

/* A program that never allocates leaves its reports as well. */
__attribute__((constructor)) static void heap_ensure(void)
{
	if (preload.state == UNSTARTED)
		heap_start();
}

/* ---- Counting -------------------------------------------------------------------------------- */

/* Exact in any number of threads, and without a locked instruction where there is one. */
static inline size_t count(atomic_size_t *counter)
{
	size_t value;

	if (!__libc_single_threaded)
		return atomic_fetch_add_explicit(counter, 1, memory_order_relaxed) + 1;
	value = atomic_load_explicit(counter, memory_order_relaxed) + 1;
	atomic_store_explicit(counter, value, memory_order_relaxed);
	return value;
}

static void heap_check(void)
{
	int broken = mems_check(NULL);

	count(&preload.checks);
	if (broken != 0)
		atomic_fetch_add(&preload.broken, (size_t)broken);
}

static NOINLINE void heap_check_now_and_then(void)
{
	if (count(&preload.unchecked) % preload.check_every == 0)
		heap_check();
}

/* Every function of the C library begins with this. */
static inline void enter(enum call call)
{
	if (UNLIKELY(atomic_load_explicit(&preload.state, memory_order_acquire) != STARTED))
		heap_start();
	count(&preload.calls[call]);
	if (UNLIKELY(preload.check_every != 0))
		heap_check_now_and_then();
}

/* ---- Exit ------------------------------------------------------------------------------------ */

/* Appends, as exec starts another program under the same process number. */
static int file_open(enum report report)
{
	const char *folder = preload.folders[report];
	char path[PATH_BYTES + 64];

	if (strcmp(folder, "-") == 0)
		return dup(STDERR_FILENO);
	snprintf(path, sizeof path, "%s/%d.%s", folder, (int)getpid(), report_names[report].suffix);
	return open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
}

/* NULL where the report is not asked for or cannot be written. One at a time. */
static FILE *report_open(enum report report)
{
	static char buffer[64 << 10];
	int file = preload.folders[report][0] == '\0' ? -1 : file_open(report);
	FILE *out = file < 0 ? NULL : fdopen(file, "w");

	if (out != NULL)
		setvbuf(out, buffer, _IOFBF, sizeof buffer);
	else if (file >= 0)
		close(file);
	return out;
}

/* A line of counters. Not by stdio, which asks for a buffer and would be counted. */
struct line {
	char bytes[LINE_BYTES];
	size_t length;
};

__attribute__((format(printf, 2, 3)))
static void line_add(struct line *line, const char *format, ...)
{
	size_t room = LINE_BYTES - line->length;
	va_list arguments;
	int added;

	va_start(arguments, format);
	added = vsnprintf(line->bytes + line->length, room, format, arguments);
	va_end(arguments);
	if (added > 0)
		line->length += (size_t)added < room ? (size_t)added : room - 1;
}

/* The name of the program in letters that cannot be taken for others in the line. */
static void line_add_program(struct line *line)
{
	line_add(line, "program=");
	for (const char *letter = program_invocation_short_name; *letter != '\0'; letter++)
		line_add(line, "%c", strchr(" =\n", *letter) == NULL ? *letter : '_');
	line_add(line, " process=%d policy=%s", (int)getpid(),
		preload.is_quick ? "quick-fit" : "first-fit");
}

static void line_add_calls(struct line *line)
{
	size_t all = 0;

	for (size_t i = 0; i < CALLS; i++) {
		line_add(line, " %s=%zu", call_names[i], preload.calls[i]);
		all += preload.calls[i];
	}
	line_add(line, " calls=%zu failed=%zu refused=%zu", all, preload.failed, preload.refused);
}

static void line_add_stats(struct line *line)
{
	struct mems_stats stats;

	mems_get_stats(&stats);
	line_add(line, " pages=%zu page_size=%zu mapped_bytes=%zu peak_bytes=%zu process_bytes=%zu"
		" hole_bytes=%zu largest_hole=%zu main_nodes=%zu process_segments=%zu"
		" hole_segments=%zu metadata_bytes=%zu", stats.pages, preload.page_bytes,
		stats.mapped_bytes, stats.peak_process_bytes, stats.process_bytes,
		stats.hole_bytes, stats.largest_hole, stats.main_nodes, stats.process_segments,
		stats.hole_segments, stats.metadata_bytes);
}

static void counters_report(void)
{
	struct line line = {.length = 0};
	int file = preload.folders[COUNTERS][0] == '\0' ? -1 : file_open(COUNTERS);

	if (file < 0)
		return;
	heap_check();
	line_add_program(&line);
	line_add_calls(&line);
	line_add_stats(&line);
	line_add(&line, " misuses=%zu checks=%zu broken=%zu\n", preload.misuses, preload.checks,
		preload.broken);
	bytes_write(file, line.bytes, line.length);
	close(file);
}

__attribute__((destructor)) static void heap_report(void)
{
	int error = errno;
	FILE *out;

	counters_report();
	out = preload.broken != 0 ? report_open(COUNTERS) : NULL;
	if (out != NULL) {
		mems_check(out);
		fclose(out);
	}
	out = report_open(STATS);
	if (out != NULL) {
		mems_fprint_stats(out);
		fclose(out);
	}
	out = report_open(JSON);
	if (out != NULL) {
		mems_fprint_json(out);
		fclose(out);
	}
	errno = error;
}

/* ---- The functions of the C library ---------------------------------------------------------- */

/* Whatever MeMS says (EBUSY, say, while it prints), to a program it is a lack of memory. */
static NOINLINE void *nothing(void)
{
	count(&preload.failed);
	errno = ENOMEM;
	return NULL;
}

static inline void *given(void *v_ptr)
{
	return UNLIKELY(v_ptr == NULL) ? nothing() : mems_get(v_ptr);
}

static inline void *block_take(size_t size)
{
	return given(mems_malloc(size + (size == 0)));
}

static inline void block_free(void *block, const char *function)
{
	void *v_ptr = mems_virtual(block);

	if (UNLIKELY(v_ptr == NULL))
		stranger_report(function, block);
	else
		mems_free(v_ptr);
}

/* alignment: a power of two. */
static void *block_take_aligned(size_t alignment, size_t size)
{
	if (alignment > preload.page_bytes) {
		count(&preload.refused);
		return nothing();
	}
	return given(mems_aligned_alloc(alignment, size + (size == 0)));
}

static bool is_power_of_two(size_t value)
{
	return value != 0 && (value & (value - 1)) == 0;
}

EXPORTED void *malloc(size_t size)
{
	enter(MALLOC);
	return block_take(size);
}

EXPORTED void *calloc(size_t count_of, size_t size)
{
	enter(CALLOC);
	if (count_of == 0 || size == 0)
		count_of = size = 1;
	return given(mems_calloc(count_of, size));
}

/* As MeMS does, this leaves errno alone, whatever it was. */
EXPORTED void free(void *block)
{
	if (block == NULL)
		return;
	enter(FREE);
	block_free(block, "free");
}

EXPORTED void cfree(void *block)
{
	free(block);
}

EXPORTED void *realloc(void *block, size_t size)
{
	void *v_ptr;

	enter(REALLOC);
	if (block == NULL)
		return block_take(size);
	if (size == 0) {
		block_free(block, "realloc");
		return NULL;
	}
	v_ptr = mems_virtual(block);
	if (UNLIKELY(v_ptr == NULL)) {
		stranger_report("realloc", block);
		return nothing();
	}
	return given(mems_realloc(v_ptr, size));
}

EXPORTED void *reallocarray(void *block, size_t count_of, size_t size)
{
	if (size != 0 && count_of > SIZE_MAX / size) {
		enter(REALLOC);
		return nothing();
	}
	/* NOLINTNEXTLINE(clang-analyzer-optin.portability.UnixAPI): a size of 0 is the program's. */
	return realloc(block, count_of * size);
}

/* The C library rounds alignments up to powers of two, and so do programs expect it. */
EXPORTED void *memalign(size_t alignment, size_t size)
{
	size_t power = ALIGNMENT;

	enter(ALIGNED);
	if (alignment > SIZE_MAX / 2 + 1) {
		errno = EINVAL;
		return NULL;
	}
	while (power < alignment)
		power *= 2;
	return block_take_aligned(power, size);
}

EXPORTED void *aligned_alloc(size_t alignment, size_t size)
{
	return memalign(alignment, size);
}

/* Says what is wrong by its result, and leaves errno alone. */
EXPORTED int posix_memalign(void **result, size_t alignment, size_t size)
{
	int error = errno;
	void *block;

	enter(ALIGNED);
	if (!is_power_of_two(alignment) || alignment % sizeof(void *) != 0)
		return EINVAL;
	block = block_take_aligned(alignment, size);
	errno = error;
	if (block == NULL)
		return ENOMEM;
	*result = block;
	return 0;
}

EXPORTED void *valloc(size_t size)
{
	return memalign((size_t)sysconf(_SC_PAGESIZE), size);
}

EXPORTED void *pvalloc(size_t size)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);

	if (size > SIZE_MAX - page) {
		enter(ALIGNED);
		return nothing();
	}
	return memalign(page, (size + page - 1) / page * page);
}

EXPORTED size_t malloc_usable_size(void *block)
{
	void *v_ptr;

	if (block == NULL)
		return 0;
	enter(USABLE_SIZE);
	v_ptr = mems_virtual(block);
	if (UNLIKELY(v_ptr == NULL)) {
		stranger_report("malloc_usable_size", block);
		return 0;
	}
	return mems_usable_size(v_ptr);
}
