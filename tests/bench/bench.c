/*
 * tests/bench/bench.c: the worker of the benchmark, which measures one allocator on one piece of
 * work and prints what it found, in lines. tests/bench/bench.sh runs it, each time in a process of
 * its own; it calls the parts (traces.c, micro.c, memory.c, start.c, translation.c, threads.c,
 * images.c), whose first lines describe what they can do.
 *
 *     build/default/tests/bench/bench [OPTION...] WORK SUBJECT ALLOCATOR
 *
 * ALLOCATOR is first, quick, first-16 or quick-16 (MEMS_ALIGNMENT 16), first-history or quick-history
 * (MEMS_HISTORY with room for 10,000 events) with mems- or old- before it
 * (which of them this is, linking has decided), none (the same calls of functions that do nothing:
 * what the loop itself costs) or any other name, which stands for malloc and free as the process
 * finds them: LD_PRELOAD says whose they are.
 * OPTION is --passes N, --cpu N (stay on that processor) or --restart (MeMS begins each pass with
 * mems_finish and mems_init; else it keeps its pages from pass to pass, as the others do).
 *
 * A line: figure, name, allocator, count, first, best. Figure is the work, or one of those that the
 * work tells of. Count is the calls of a pass; first and best are nanoseconds a call in the first
 * pass, with what the allocator needs to start, and in the fastest one, where the part says nothing
 * else. Of memory, count is the peak of the live bytes, best the anonymous memory that became
 * resident until then and first the most of it at any time.
 *
 * What makes it fair: each loop is compiled once for each allocator with direct calls; all tables
 * come from mmap and are touched beforehand; time is processor time, the kernel's included, unless
 * the part says otherwise.
 */
#define _GNU_SOURCE
#include "bench.h"

#include <fcntl.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

/* ---- The empty loop's functions -------------------------------------------------------------- */

static char nothing[1 << 16];

__attribute__((noinline)) void *none_take(size_t size)
{
	__asm__ volatile("" : "+r"(size) : : "memory");
	return nothing;
}

__attribute__((noinline)) void *none_take_aligned(size_t alignment, size_t size)
{
	__asm__ volatile("" : "+r"(size), "+r"(alignment) : : "memory");
	return nothing;
}

__attribute__((noinline)) void *none_resize(void *block, size_t size)
{
	__asm__ volatile("" : "+r"(size), "+r"(block) : : "memory");
	return nothing;
}

__attribute__((noinline)) void none_give(void *block)
{
	__asm__ volatile("" : "+r"(block) : : "memory");
}

/* ---- Helpers --------------------------------------------------------------------------------- */

void fail(const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	fprintf(stderr, "bench: ");
	vfprintf(stderr, format, arguments);
	fprintf(stderr, "\n");
	va_end(arguments);
	exit(EXIT_FAILURE);
}

void *pages_map(size_t bytes)
{
	char *pages = mmap(NULL, bytes + 1, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (pages == MAP_FAILED)
		fail("no memory for the tables");
	memset(pages, 0, bytes + 1);
	return pages;
}

void number_prepare(struct job *job)
{
	job->number = strtoul(job->subject, NULL, 10);
	if (job->number == 0)
		fail("%s is not a number above 0", job->subject);
	job->table_count = job->number;
	job->table = pages_map(job->table_count * sizeof *job->table);
}

void heap_begin(const struct job *job)
{
	if (!job->is_mems)
		return;
	mems_finish();
	mems_init();
}

static double clock_read(clockid_t clock)
{
	struct timespec time;

	clock_gettime(clock, &time);
	return (double)time.tv_sec * 1e9 + (double)time.tv_nsec;
}

double now(void)
{
	return clock_read(CLOCK_THREAD_CPUTIME_ID);
}

double wall_now(void)
{
	return clock_read(CLOCK_MONOTONIC);
}

size_t proc_bytes(const char *path, const char *label)
{
	static char text[8192];
	int file = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t length = file < 0 ? -1 : read(file, text, sizeof text - 1);
	const char *found;

	if (file >= 0)
		close(file);
	if (length <= 0)
		return 0;
	text[length] = '\0';
	found = strstr(text, label);
	return found == NULL ? 0 : strtoul(found + strlen(label), NULL, 10) * 1024;
}

size_t resident_bytes(void)
{
	return proc_bytes("/proc/self/smaps_rollup", "\nAnonymous:");
}

size_t high_water_bytes(void)
{
	return proc_bytes("/proc/self/status", "\nVmHWM:");
}

size_t high_water_reset(void)
{
	int file = open("/proc/self/clear_refs", O_WRONLY | O_CLOEXEC);

	if (file < 0 || write(file, "5", 1) != 1)
		fprintf(stderr, "bench: VmHWM cannot be reset\n");
	if (file >= 0)
		close(file);
	return high_water_bytes();
}

size_t faults_now(void)
{
	struct rusage usage;

	getrusage(RUSAGE_SELF, &usage);
	return (size_t)usage.ru_minflt;
}

/* The file's name without folder and ending, or the number. */
void row_print(const struct job *job, const char *figure, size_t count, double first, double best)
{
	const char *slash = strrchr(job->subject, '/');
	const char *name = slash == NULL ? job->subject : slash + 1;
	const char *dot = strrchr(name, '.');
	int length = dot == NULL ? (int)strlen(name) : (int)(dot - name);

	printf("%s,%.*s,%s,%zu,%.3f,%.3f\n", figure, length, name, job->allocator, count, first, best);
}

/* ---- One allocator, one job ------------------------------------------------------------------ */

/* The first pass has the start of the allocator in its time. */
static double pass_run(struct job *job, work_function *run, bool is_beginning)
{
	double start = now();

	if (is_beginning)
		heap_begin(job);
	start = now() - start;
	return (start + run(job)) / (double)job->count;
}

static void passes_run(struct job *job, work_function *run)
{
	unsigned passes = job->work->is_cold ? 1 : job->passes;
	double first = 0;
	double best = 0;

	for (unsigned pass = 0; pass < passes; pass++) {
		double time = pass_run(job, run, pass == 0 || job->is_restarting);

		if (pass == 0)
			first = time;
		if (pass == 0 || time < best)
			best = time;
	}
	row_print(job, job->work->name, job->count, first, best);
}

static void job_run(struct job *job)
{
	enum allocator_kind kind =
		job->is_mems ? OF_MEMS : strcmp(job->allocator, "none") == 0 ? OF_NONE : OF_MALLOC;
	work_function *run = job->work->run[kind];

	if (run == NULL)
		exit(EXIT_UNAVAILABLE);
	job->work->prepare(job);
	if (job->work->is_whole)
		run(job);
	else
		passes_run(job, run);
}

/* ---- The command line ------------------------------------------------------------------------ */

static const struct work *work_find(const char *name)
{
	static const struct work *const tables[] = {trace_works, micro_works, memory_works,
		start_works, translation_works, thread_works, image_works, NULL};

	for (size_t i = 0; tables[i] != NULL; i++)
		for (const struct work *work = tables[i]; work->name != NULL; work++)
			if (strcmp(work->name, name) == 0)
				return work;
	fail("%s is not a kind of work", name);
}

/* Sets the options that the allocator's name stands for. */
static void allocator_choose(struct job *job)
{
	bool is_quick = strstr(job->allocator, "quick") != NULL;
	bool is_16 = strstr(job->allocator, "-16") != NULL;
	bool has_history = strstr(job->allocator, "-history") != NULL;

	job->is_mems =
		strncmp(job->allocator, "mems-", 5) == 0 || strncmp(job->allocator, "old-", 4) == 0;
	if (!job->is_mems)
		return;
	if (mems_option(MEMS_POLICY, is_quick ? MEMS_QUICK_FIT : MEMS_FIRST_FIT) != 0
		|| mems_option(MEMS_ALIGNMENT, is_16 ? 16 : 8) != 0
		|| (has_history && mems_option(MEMS_HISTORY, 10000) != 0))
		exit(EXIT_UNAVAILABLE);
}

static void processor_stay(const char *number)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(strtoul(number, NULL, 10), &set);
	if (sched_setaffinity(0, sizeof set, &set) != 0)
		fprintf(stderr, "bench: cannot stay on processor %s\n", number);
}

/* Takes the options off the front; returns the index of the first argument that is none. */
static int options_take(int count, char **words, struct job *job)
{
	int at = 1;

	while (at < count && strncmp(words[at], "--", 2) == 0) {
		if (strcmp(words[at], "--restart") == 0) {
			job->is_restarting = true;
			at++;
		} else if (strcmp(words[at], "--passes") == 0 && at + 1 < count) {
			job->passes = (unsigned)strtoul(words[at + 1], NULL, 10);
			at += 2;
		} else if (strcmp(words[at], "--cpu") == 0 && at + 1 < count) {
			processor_stay(words[at + 1]);
			at += 2;
		} else {
			fail("%s is not an option", words[at]);
		}
	}
	return at;
}

int main(int count, char **words)
{
	struct job job = {.passes = 5};
	int at = options_take(count, words, &job);

	if (count - at != 3 || job.passes == 0)
		fail("usage: bench [--passes N] [--cpu N] [--restart] WORK FILE|NUMBER ALLOCATOR");
	job.work = work_find(words[at]);
	job.subject = words[at + 1];
	job.allocator = words[at + 2];
	allocator_choose(&job);
	job_run(&job);
	return EXIT_SUCCESS;
}
