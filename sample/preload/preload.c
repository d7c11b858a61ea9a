/*
 * Turns malloc and its kin into calls of MeMS. Calls arena, mems; called under LD_PRELOAD.
 *
 * These are the C library's allocation functions, for programs that know nothing of MeMS.
 *
 *     LD_PRELOAD=build/default/preload.so MEMS_PRELOAD_STATS=- perl script.pl
 *
 * The program gets physical addresses; free and realloc go back to the virtual ones. The object
 * has a MeMS of its own inside and exports no other names than those of the C library.
 *
 * What the environment says when the program starts:
 *     MEMS_PRELOAD_POLICY     first_fit or quick_fit, which is what there is without it
 *     MEMS_PRELOAD_PAGE_SIZE  MEMS_PAGE_SIZE, up to 2 MiB, for programs that want an alignment
 *                             above 4096; without it, that is refused (ENOMEM) and counted
 *     MEMS_PRELOAD_ABORT      not empty: a misuse ends the program
 *     MEMS_PRELOAD_CHECK      a number: mems_check after each so many calls, not just at exit
 *     MEMS_PRELOAD_HISTORY    a number: MEMS_HISTORY, so that misuses are reported with the call that
 *                             freed or took the block
 * and, each a folder (its absolute name) where every process leaves a file at exit, or - for
 * standard error:
 *     MEMS_PRELOAD_COUNTERS   PROCESS.counters: a line "name=value ...", and what mems_check finds
 *     MEMS_PRELOAD_STATS      PROCESS.stats: the chains, as mems_print_stats shows them
 *     MEMS_PRELOAD_JSON       PROCESS.json: the heap, as mems_fprint_json writes it
 *     MEMS_PRELOAD_LIVE       PROCESS.live: the blocks that were not freed, by who took them, as
 *                             mems_fprint_live writes them, with the names of their callers
 * A setting that cannot be is said in a line on standard error, and left out.
 *
 * Exit is the end of main or a call of exit; a process that ends by _exit, a signal or exec leaves
 * nothing. A child of fork starts its counters at 0, with the blocks and the peak of its parent.
 * Standard error is what it was when the program started: many programs close it before they end,
 * and some file may have its number then.
 *
 * Nothing here asks the heap for memory. A call that comes back in from inside it (a program may
 * put functions of its own in the place of mmap, and call malloc there), from the handler of a
 * signal that interrupted it, or from stdio while the heap is described, is served from a small
 * arena. Whether a thread is inside is kept in its static storage, which takes no memory either.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include "arena.h"
#include "mems.h"
#include "record/quiet.h"

#include <dlfcn.h>
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
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define EXPORTED __attribute__((visibility("default")))
#define NOINLINE __attribute__((noinline))
#define CALLER __builtin_return_address(0)
#define UNLIKELY(condition) __builtin_expect(!!(condition), 0)

enum {
	ALIGNMENT = 16, /* what the C library promises: alignof(max_align_t) */
	PATH_BYTES = 4096,
	LINE_BYTES = PATH_BYTES + 512,
	LIST_BYTES = 64 << 10, /* the least by which the live list grows */
	POSTPONED = 64, /* the most frees that wait */
	OWN_FILE = 512 /* the least number of the descriptor: out of the way of the program's */
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
enum report { COUNTERS, STATS, JSON, LIVE, REPORTS };

static const struct {
	const char *setting, *suffix;
} report_names[REPORTS] = {{"COUNTERS", "counters"}, {"STATS", "stats"}, {"JSON", "json"},
	{"LIVE", "live"}};

static struct {
	_Atomic enum state state;
	bool is_quick, is_aborting;
	size_t page_bytes;
	size_t check_every; /* calls; 0: at exit only */
	size_t history;     /* calls that are remembered */
	char folders[REPORTS][PATH_BYTES]; /* "" for no such report; copies, as programs overwrite
	                                      their environment */
	int own_file;            /* a duplicate of the standard error of the start; -1 for none */
	struct stat stderr_file; /* which file that is; st_nlink is 0 where there was none */
	atomic_size_t calls[CALLS];
	atomic_size_t reentries; /* calls that came while their thread was inside, not in calls */
	atomic_size_t unchecked; /* calls since the last check */
	atomic_size_t checks, broken;
	atomic_size_t failed;  /* allocations that got nothing */
	atomic_size_t refused; /* of these, for an alignment above the page size */
	atomic_size_t misuses;
} preload = {.is_quick = true, .own_file = -1};

/* This thread is in one of the functions below, or in what they call. */
static _Thread_local bool is_inside __attribute__((tls_model("initial-exec")));

/* Blocks of the heap that were freed from inside. */
static struct {
	atomic_size_t count;
	_Atomic(void *) blocks[POSTPONED];
} postponed;

/* ---- Lines ----------------------------------------------------------------------------------- */

/* No stdio: a misuse may be found in the middle of anything. */
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

/* Adds a text from outside, with _ for what a line must not hold. */
static void line_add_text(struct line *line, const char *text, const char *forbidden)
{
	for (; *text != '\0'; text++) {
		bool is_plain = (unsigned char)*text >= ' ' && *text != 127;

		line_add(line, "%c", is_plain && strchr(forbidden, *text) == NULL ? *text : '_');
	}
}

/* How many bytes could be written. */
static size_t bytes_write(int file, const char *bytes, size_t size)
{
	size_t written = 0;

	while (written < size) {
		ssize_t step = write(file, bytes + written, size - written);

		if (step < 0 && errno != EINTR)
			break;
		written += step < 0 ? 0 : (size_t)step;
	}
	return written;
}

/* Ends the line, whatever its length, and writes it. False where that failed. */
static bool line_write(struct line *line, int file)
{
	struct quiet quiet = quiet_begin();
	bool is_written;

	if (line->length == LINE_BYTES - 1)
		line->length--;
	line->bytes[line->length++] = '\n';
	is_written = bytes_write(file, line->bytes, line->length) == line->length;
	quiet_end(&quiet);
	return is_written;
}

/* ---- Standard error -------------------------------------------------------------------------- */

static void stderr_keep(void)
{
	if (fstat(STDERR_FILENO, &preload.stderr_file) != 0)
		return;
	preload.own_file = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, OWN_FILE);
	if (preload.own_file < 0) /* the limit is lower */
		preload.own_file = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
}

/* The standard error of the start. A program may have closed each of its descriptors, and another
 * file may have the number since; -1 where it can be reached no longer. */
static int stderr_find(void)
{
	const int files[] = {preload.own_file, STDERR_FILENO};
	struct stat now;

	for (size_t i = 0; i < 2; i++)
		if (fstat(files[i], &now) == 0 && now.st_dev == preload.stderr_file.st_dev &&
		    now.st_ino == preload.stderr_file.st_ino)
			return files[i];
	return -1;
}

/* Says on standard error that something cannot be. */
static void fault_say(const char *name, const char *what, const char *value)
{
	struct line line = {.length = 0};

	line_add(&line, "mems: MEMS_PRELOAD_");
	line_add_text(&line, name, "");
	line_add(&line, ": %s%s", what, value[0] == '\0' ? "" : ": ");
	line_add_text(&line, value, "");
	line_write(&line, stderr_find());
}

static void misuse(const char *message)
{
	struct line line = {.length = 0};

	line_add(&line, "mems: %s", message);
	line_write(&line, stderr_find());
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
	struct line line = {.length = 0};
	struct mems_segment segment;
	int error = errno;

	/* No virtual address, so that this can but say who freed it. */
	if (preload.history != 0 && mems_segment_at(block, &segment) != 0) {
		mems_free((void *)(uintptr_t)block);
		errno = error;
		return;
	}
	line_add(&line, "%s(%p): in no block of the heap", function, block);
	misuse(line.bytes);
	errno = error;
}

/* ---- Settings -------------------------------------------------------------------------------- */

/* Each reads a value, which is not empty, and returns NULL, or what is wrong with it. */

static const char *number_read(const char *value, void *result)
{
	size_t number = 0;

	for (const char *digit = value; *digit != '\0'; digit++) {
		size_t add = (size_t)(*digit - '0');

		if (*digit < '0' || *digit > '9')
			return "not a number";
		if (number > (SIZE_MAX - add) / 10)
			return "too large";
		number = number * 10 + add;
	}
	*(size_t *)result = number;
	return NULL;
}

static const char *page_size_read(const char *value, void *result)
{
	size_t bytes = 0;
	const char *fault = number_read(value, &bytes);

	if (fault == NULL && mems_option(MEMS_PAGE_SIZE, bytes) != 0)
		fault = "not a page size";
	if (fault == NULL)
		*(size_t *)result = bytes;
	return fault;
}

static const char *history_read(const char *value, void *result)
{
	const char *fault = number_read(value, result);

	if (fault == NULL && mems_option(MEMS_HISTORY, *(size_t *)result) != 0) {
		*(size_t *)result = 0;
		fault = "too large";
	}
	return fault;
}

/* Is it this name? A hyphen does as well as its underscore. */
static bool is_name(const char *value, const char *name)
{
	while (*value != '\0' && (*value == *name || (*value == '-' && *name == '_'))) {
		value++;
		name++;
	}
	return *value == *name;
}

static const char *policy_read(const char *value, void *result)
{
	if (!is_name(value, "first_fit") && !is_name(value, "quick_fit"))
		return "neither first_fit nor quick_fit";
	*(bool *)result = is_name(value, "quick_fit");
	return NULL;
}

static const char *flag_read(const char *value, void *result)
{
	(void)value;
	*(bool *)result = true;
	return NULL;
}

/* Why no file can be made in a folder, or 0. */
static int folder_error(const char *folder)
{
	struct stat found;

	if (stat(folder, &found) != 0)
		return errno;
	if (!S_ISDIR(found.st_mode))
		return ENOTDIR;
	return access(folder, W_OK | X_OK) == 0 ? 0 : errno;
}

static const char *folder_read(const char *value, void *result)
{
	int error = strcmp(value, "-") == 0 ? 0 : folder_error(value);

	if (strlen(value) >= PATH_BYTES)
		return "too long";
	if (error != 0)
		return strerror(error);
	strcpy(result, value); /* NOLINT(clang-analyzer-security.*): it fits */
	return NULL;
}

static const struct setting {
	const char *name;
	const char *(*read)(const char *value, void *result);
	void *result;
} settings[] = {
	{"POLICY", policy_read, &preload.is_quick},
	{"PAGE_SIZE", page_size_read, &preload.page_bytes},
	{"ABORT", flag_read, &preload.is_aborting},
	{"CHECK", number_read, &preload.check_every},
	{"HISTORY", history_read, &preload.history},
	{"COUNTERS", folder_read, preload.folders[COUNTERS]},
	{"STATS", folder_read, preload.folders[STATS]},
	{"JSON", folder_read, preload.folders[JSON]},
	{"LIVE", folder_read, preload.folders[LIVE]},
};

enum { SETTINGS = sizeof settings / sizeof settings[0] };

/* Acts on what follows MEMS_PRELOAD_: NAME=VALUE. */
static void setting_read(const char *text)
{
	size_t length = strcspn(text, "=");
	const char *value = text[length] == '=' ? text + length + 1 : "";
	const char *fault;

	for (size_t i = 0; i < SETTINGS; i++) {
		const struct setting *setting = &settings[i];

		if (strlen(setting->name) != length || strncmp(text, setting->name, length) != 0)
			continue;
		fault = value[0] == '\0' ? NULL : setting->read(value, setting->result);
		if (fault != NULL)
			fault_say(setting->name, fault, value);
		return;
	}
	fault_say(text, "no such setting", "");
}

static void environment_read(void)
{
	static const char prefix[] = "MEMS_PRELOAD_";

	for (char **entry = environ; entry != NULL && *entry != NULL; entry++)
		if (strncmp(*entry, prefix, sizeof prefix - 1) == 0)
			setting_read(*entry + sizeof prefix - 1);
}

/* ---- Start ----------------------------------------------------------------------------------- */

static void counters_reset(void)
{
	for (size_t i = 0; i < CALLS; i++)
		preload.calls[i] = 0;
	preload.reentries = 0;
	preload.unchecked = 0;
	preload.checks = 0;
	preload.broken = 0;
	preload.failed = 0;
	preload.refused = 0;
	preload.misuses = 0;
}

/* Another thread that comes meanwhile waits. */
static NOINLINE void heap_start(void)
{
	enum state expected = UNSTARTED;

	if (!atomic_compare_exchange_strong(&preload.state, &expected, STARTING)) {
		while (preload.state != STARTED)
			sched_yield();
		return;
	}
	stderr_keep();
	environment_read();
	if (preload.folders[LIVE][0] != '\0' && preload.history == 0) {
		preload.history = 1;
		mems_option(MEMS_HISTORY, preload.history);
	}
	mems_set_error_handler(misuse_handle);
	mems_option(MEMS_ALIGNMENT, ALIGNMENT);
	mems_option(MEMS_POLICY, preload.is_quick ? MEMS_QUICK_FIT : MEMS_FIRST_FIT);
	if (preload.page_bytes == 0)
		preload.page_bytes = (size_t)sysconf(_SC_PAGESIZE);
	mems_init();
	pthread_atfork(NULL, NULL, counters_reset);
	preload.state = STARTED;
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

/* ---- Inside and outside ---------------------------------------------------------------------- */

/* Every function of the C library begins with this. False: the thread is inside already, and must
 * leave the heap alone. */
static inline bool enter(enum call call, const void *caller)
{
	if (UNLIKELY(is_inside)) {
		count(&preload.reentries);
		return false;
	}
	is_inside = true;
	if (UNLIKELY(atomic_load_explicit(&preload.state, memory_order_acquire) != STARTED))
		heap_start();
	count(&preload.calls[call]);
	if (UNLIKELY(preload.check_every != 0))
		heap_check_now_and_then();
	if (UNLIKELY(preload.history != 0))
		mems_set_caller(caller);
	return true;
}

static NOINLINE void postponed_free(void)
{
	for (size_t i = 0; i < POSTPONED; i++) {
		void *block = atomic_exchange(&postponed.blocks[i], NULL);

		if (block != NULL) {
			atomic_fetch_sub(&postponed.count, 1);
			mems_free(mems_virtual(block));
		}
	}
}

/* Where enter was true, it ends with this. */
static inline void leave(void)
{
	if (UNLIKELY(atomic_load_explicit(&postponed.count, memory_order_relaxed) != 0))
		postponed_free();
	is_inside = false;
}

/* A program that never allocates leaves its reports as well. This object is the first to be initialised,
 * before the C library, which passes the environment but has not noted it yet. */
__attribute__((constructor)) static void heap_ensure(int count, char **arguments, char **environment)
{
	(void)count;
	(void)arguments;
	if (environ == NULL)
		environ = environment;
	is_inside = true;
	if (preload.state == UNSTARTED)
		heap_start();
	is_inside = false;
}

/* ---- Exit ------------------------------------------------------------------------------------ */

/* Says that a report is lost, or a part of it. */
static void report_fail(enum report report)
{
	fault_say(report_names[report].setting, strerror(errno), preload.folders[report]);
}

/* Appends, as exec starts another program under the same process number. Returns -1 where the
 * report is not asked for or cannot be written. */
static int report_open(enum report report)
{
	const char *folder = preload.folders[report];
	char path[PATH_BYTES + 64];
	int file;

	if (folder[0] == '\0')
		return -1;
	if (strcmp(folder, "-") == 0)
		return stderr_find();
	snprintf(path, sizeof path, "%s/%d.%s", folder, (int)getpid(), report_names[report].suffix);
	file = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
	if (file < 0)
		report_fail(report);
	return file;
}

static void report_close(enum report report, int file)
{
	if (strcmp(preload.folders[report], "-") != 0)
		close(file);
}

/* A report on its way to a file. */
struct report_file {
	int file;
	int error; /* of the first write that failed; 0 for none */
};

static ssize_t stream_write(void *cookie, const char *bytes, size_t size)
{
	struct report_file *report = cookie;
	size_t written = report->error != 0 ? 0 : bytes_write(report->file, bytes, size);

	if (written < size && report->error == 0)
		report->error = errno;
	return (ssize_t)written;
}

/* Something that describes the heap. */
typedef void describer(FILE *out);

/* The stream is in the arena, as this thread is inside; its buffer lies here. */
static void report_write(enum report report, describer *describe)
{
	static char buffer[64 << 10];
	struct report_file file = {.file = report_open(report)};
	FILE *out = file.file < 0 ? NULL :
		fopencookie(&file, "w", (cookie_io_functions_t){.write = stream_write});

	if (out == NULL)
		return;
	setvbuf(out, buffer, _IOFBF, sizeof buffer);
	describe(out);
	fclose(out);
	errno = file.error;
	if (file.error != 0)
		report_fail(report);
	report_close(report, file.file);
}

/* The counters: not by a stream, so that they come in one piece. */

/* The name of the program has no letter that could be taken for another part of the line. */
static void line_add_program(struct line *line)
{
	line_add(line, "program=");
	line_add_text(line, program_invocation_short_name, " =");
	line_add(line, " process=%d policy=%s", (int)getpid(),
		preload.is_quick ? "quick_fit" : "first_fit");
}

static void line_add_calls(struct line *line)
{
	size_t all = 0;

	for (size_t i = 0; i < CALLS; i++) {
		line_add(line, " %s=%zu", call_names[i], preload.calls[i]);
		all += preload.calls[i];
	}
	line_add(line, " calls=%zu reentries=%zu failed=%zu refused=%zu", all, preload.reentries,
		preload.failed, preload.refused);
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
	int file = report_open(COUNTERS);

	if (file < 0)
		return;
	heap_check();
	line_add_program(&line);
	line_add_calls(&line);
	line_add_stats(&line);
	line_add(&line, " misuses=%zu checks=%zu broken=%zu", preload.misuses, preload.checks,
		preload.broken);
	if (!line_write(&line, file))
		report_fail(COUNTERS);
	report_close(COUNTERS, file);
}

static void faults_describe(FILE *out)
{
	mems_check(out);
}

static void json_describe(FILE *out)
{
	mems_fprint_json(out);
}

/* The live list. It is kept until the heap is free again: to name a caller waits for the loader, and
 * a thread in the loader may wait for the heap. */
static struct {
	char *bytes; /* pages of their own, as many as were needed */
	size_t length, room;
} list;

static bool list_grow(size_t room)
{
	void *bytes = list.room == 0 ?
		mmap(NULL, room, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) :
		mremap(list.bytes, list.room, room, MREMAP_MAYMOVE);

	if (bytes == MAP_FAILED)
		return false;
	list.bytes = bytes;
	list.room = room;
	return true;
}

static ssize_t list_write(void *cookie, const char *bytes, size_t size)
{
	(void)cookie;
	while (list.length + size > list.room)
		if (!list_grow(2 * list.room + LIST_BYTES))
			return 0;
	memcpy(list.bytes + list.length, bytes, size);
	list.length += size;
	return (ssize_t)size;
}

/* Adds which function of which file an address lies in, as far as the loader knows that. */
static void address_name(FILE *out, const char *address)
{
	uintptr_t number = (uintptr_t)strtoull(address, NULL, 16);
	Dl_info info;

	if (number == 0 || dladdr((const void *)(number - 1), &info) == 0 || info.dli_fname == NULL)
		return;
	if (info.dli_sname != NULL)
		fprintf(out, " %s+0x%zx", info.dli_sname, (size_t)(number - (uintptr_t)info.dli_saddr));
	fprintf(out, " (%s+0x%zx)", info.dli_fname, (size_t)(number - (uintptr_t)info.dli_fbase));
}

/* Each line, with the name of its caller. */
static void list_print(FILE *out)
{
	char *end;

	for (char *line = list.bytes; line < list.bytes + list.length; line = end + 1) {
		end = memchr(line, '\n', (size_t)(list.bytes + list.length - line));
		*end = '\0';
		fputs(line, out);
		if (strstr(line, ", from 0x") != NULL)
			address_name(out, strrchr(line, ' ') + 1);
		putc('\n', out);
	}
}

static void live_describe(FILE *out)
{
	FILE *stream = fopencookie(NULL, "w", (cookie_io_functions_t){.write = list_write});

	if (stream == NULL)
		return;
	setvbuf(stream, NULL, _IONBF, 0);
	if (mems_fprint_live(stream) == 0)
		list_print(out);
	else
		report_fail(LIVE);
	fclose(stream);
}

__attribute__((destructor)) static void heap_report(void)
{
	int error = errno;
	struct quiet quiet = quiet_begin();

	is_inside = true;
	counters_report();
	if (preload.broken != 0)
		report_write(COUNTERS, faults_describe);
	report_write(STATS, mems_fprint_stats);
	report_write(JSON, json_describe);
	report_write(LIVE, live_describe);
	is_inside = false;
	quiet_end(&quiet);
	errno = error;
}

/* ---- Blocks of the heap ---------------------------------------------------------------------- */

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

/* A block that is not in the heap: of the arena, or a misuse. */
static NOINLINE void stranger_free(void *block, const char *function)
{
	if (!arena_free(block))
		stranger_report(function, block);
}

static inline void block_free(void *block, const char *function)
{
	void *v_ptr = mems_virtual(block);

	if (UNLIKELY(v_ptr == NULL))
		stranger_free(block, function);
	else
		mems_free(v_ptr);
}

static size_t block_size(void *block, const char *function)
{
	void *v_ptr = mems_virtual(block);
	size_t size = v_ptr == NULL ? arena_size(block) : mems_usable_size(v_ptr);

	if (v_ptr == NULL && size == 0)
		stranger_report(function, block);
	return size;
}

/* A block of the arena moves to the heap, as others do that grow. */
static NOINLINE void *stranger_resize(void *block, size_t size)
{
	size_t old = arena_size(block);
	void *moved;

	if (old == 0) {
		stranger_report("realloc", block);
		return nothing();
	}
	moved = block_take(size);
	if (moved != NULL) {
		memcpy(moved, block, old < size ? old : size);
		arena_free(block);
	}
	return moved;
}

static inline void *block_resize(void *block, size_t size)
{
	void *v_ptr;

	if (block == NULL)
		return block_take(size);
	if (size == 0) {
		block_free(block, "realloc");
		return NULL;
	}
	v_ptr = mems_virtual(block);
	return UNLIKELY(v_ptr == NULL) ? stranger_resize(block, size) :
		given(mems_realloc(v_ptr, size));
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

/* ---- From inside: the heap may be in the middle of a change ---------------------------------- */

static NOINLINE void *inner_take(size_t alignment, size_t size)
{
	void *block = arena_take(alignment, size);

	return block == NULL ? nothing() : block;
}

static NOINLINE void *inner_take_zeroed(size_t count_of, size_t size)
{
	bool is_too_large = size != 0 && count_of > SIZE_MAX / size;
	void *block = is_too_large ? nothing() : inner_take(ALIGNMENT, count_of * size);

	return block == NULL ? NULL : memset(block, 0, count_of * size);
}

/* A block of the heap waits until its thread, or another, leaves. Where too many wait already, it
 * stays taken for good. */
static NOINLINE void inner_free(void *block)
{
	if (mems_virtual(block) == NULL) {
		stranger_free(block, "free");
		return;
	}
	for (size_t i = 0; i < POSTPONED; i++) {
		void *none = NULL;

		if (atomic_compare_exchange_strong(&postponed.blocks[i], &none, block)) {
			atomic_fetch_add(&postponed.count, 1);
			return;
		}
	}
}

static NOINLINE void *inner_resize(void *block, size_t size)
{
	size_t old = block == NULL ? 0 : block_size(block, "realloc");
	void *moved;

	if (block != NULL && old == 0)
		return nothing();
	if (block != NULL && size == 0) {
		inner_free(block);
		return NULL;
	}
	if (size <= old && block != NULL)
		return block;
	moved = inner_take(ALIGNMENT, size);
	if (moved != NULL && block != NULL) {
		memcpy(moved, block, old);
		inner_free(block);
	}
	return moved;
}

/* ---- The functions of the C library ---------------------------------------------------------- */

EXPORTED void *malloc(size_t size)
{
	void *block;

	if (!enter(MALLOC, CALLER))
		return inner_take(ALIGNMENT, size);
	block = block_take(size);
	leave();
	return block;
}

EXPORTED void *calloc(size_t count_of, size_t size)
{
	void *block;

	if (!enter(CALLOC, CALLER))
		return inner_take_zeroed(count_of, size);
	if (count_of == 0 || size == 0)
		count_of = size = 1;
	block = given(mems_calloc(count_of, size));
	leave();
	return block;
}

static void give(void *block, const void *caller)
{
	if (block == NULL)
		return;
	if (!enter(FREE, caller)) {
		inner_free(block);
		return;
	}
	block_free(block, "free");
	leave();
}

/* As MeMS does, this leaves errno alone, whatever it was. */
EXPORTED void free(void *block)
{
	give(block, CALLER);
}

EXPORTED void cfree(void *block)
{
	give(block, CALLER);
}

static void *resize(void *block, size_t size, const void *caller)
{
	void *result;

	if (!enter(REALLOC, caller))
		return inner_resize(block, size);
	result = block_resize(block, size);
	leave();
	return result;
}

EXPORTED void *realloc(void *block, size_t size)
{
	return resize(block, size, CALLER);
}

EXPORTED void *reallocarray(void *block, size_t count_of, size_t size)
{
	if (size != 0 && count_of > SIZE_MAX / size)
		return nothing();
	return resize(block, count_of * size, CALLER);
}

/* alignment: a power of two. */
static void *aligned_take(size_t alignment, size_t size, const void *caller)
{
	void *block;

	if (!enter(ALIGNED, caller))
		return inner_take(alignment, size);
	block = block_take_aligned(alignment, size);
	leave();
	return block;
}

/* The C library rounds alignments up to powers of two, and so do programs expect it. */
static void *rounded_take(size_t alignment, size_t size, const void *caller)
{
	size_t power = ALIGNMENT;

	if (alignment > SIZE_MAX / 2 + 1) {
		errno = EINVAL;
		return NULL;
	}
	while (power < alignment)
		power *= 2;
	return aligned_take(power, size, caller);
}

EXPORTED void *memalign(size_t alignment, size_t size)
{
	return rounded_take(alignment, size, CALLER);
}

EXPORTED void *aligned_alloc(size_t alignment, size_t size)
{
	return rounded_take(alignment, size, CALLER);
}

static bool is_power_of_two(size_t value)
{
	return value != 0 && (value & (value - 1)) == 0;
}

/* Says what is wrong by its result, and leaves errno alone. */
EXPORTED int posix_memalign(void **result, size_t alignment, size_t size)
{
	int error = errno;
	void *block;

	if (!is_power_of_two(alignment) || alignment % sizeof(void *) != 0)
		return EINVAL;
	block = aligned_take(alignment, size, CALLER);
	errno = error;
	if (block == NULL)
		return ENOMEM;
	*result = block;
	return 0;
}

EXPORTED void *valloc(size_t size)
{
	return rounded_take((size_t)sysconf(_SC_PAGESIZE), size, CALLER);
}

EXPORTED void *pvalloc(size_t size)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);

	if (size > SIZE_MAX - page)
		return nothing();
	return rounded_take(page, (size + page - 1) / page * page, CALLER);
}

EXPORTED size_t malloc_usable_size(void *block)
{
	bool is_outside = block != NULL && enter(USABLE_SIZE, CALLER);
	size_t size = block == NULL ? 0 : block_size(block, "malloc_usable_size");

	if (is_outside)
		leave();
	return size;
}
