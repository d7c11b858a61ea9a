/*
 * The worker of the benchmark: measures one allocator on one piece of work and prints one line.
 * tests/bench/bench.sh runs it, once for each measurement, each time in a process of its own.
 *
 *     build/default/tests/bench/bench [OPTION...] WORK SUBJECT ALLOCATOR
 *
 *     replay FILE         a trace; nothing touches the blocks
 *     touch FILE          one pass, every page of every block written
 *     memory FILE         as touch, with the resident memory measured
 *     pair BYTES          allocate and free, one block
 *     lifo, fifo BLOCKS   allocate so many, free them backwards or forwards
 *     churn BLOCKS        with so many live, free a random one and allocate another
 *     threads NUMBER      so many threads, each as churn with 1000 live; the time of all of them over
 *                         the calls of all of them
 *     growth BLOCKS       64 bytes each, the first byte written, none freed
 *     get, inside BLOCKS  mems_get of random starts, or of interior bytes
 *
 * ALLOCATOR is mems-first, mems-quick, mems-first-16, mems-quick-16 (MEMS_ALIGNMENT 16), none (the
 * same calls of functions that do nothing: what the loop itself costs) or any other name, which
 * stands for malloc and free as the process finds them: LD_PRELOAD says whose they are.
 * OPTION is --passes N, --cpu N (stay on that processor) or --restart (MeMS begins each pass with
 * mems_finish and mems_init; else it keeps its pages from pass to pass, as the others do).
 *
 * The line: work, name, allocator, count, first, best. Count is the calls of a pass; first and
 * best are nanoseconds a call in the first and in the fastest pass. For memory, count is the peak
 * of the live bytes, first the growth of VmHWM and best the growth of the anonymous resident memory
 * at its highest, as sampled. For get and inside, first is the loop without mems_get.
 *
 * What makes it fair: each loop is compiled once for each allocator with direct calls; the trace is
 * read by a child process, into memory that the two share, so that the allocator under test has not
 * been used when the first pass begins; all tables come from mmap and are touched beforehand;
 * blocks that are live at the end of a pass are freed outside the time.
 */
#define _GNU_SOURCE
#include "mems.h"
#include "trace.h"

#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define ALWAYS_INLINE inline __attribute__((always_inline))
#define PAGE_BYTES 4096u
#define THREAD_BLOCKS ((size_t)1000) /* live ones of each thread */
#define EXIT_UNAVAILABLE 3 /* this build of MeMS does not have what was asked for */

/* ---- Allocators ------------------------------------------------------------------------------ */

struct allocator {
	void *(*take)(size_t size);
	void *(*take_zeroed)(size_t size);
	void *(*take_aligned)(size_t alignment, size_t size);
	void *(*resize)(void *block, size_t size);
	void (*give)(void *block);
	void *(*bytes)(const void *block); /* where the block can be written */
	void *(*churn)(void *share);       /* what each thread runs */
};

static ALWAYS_INLINE void *mems_take_zeroed(size_t size)
{
	return mems_calloc(1, size);
}

static ALWAYS_INLINE void *malloc_take_zeroed(size_t size)
{
	return calloc(1, size);
}

static ALWAYS_INLINE void *malloc_bytes(const void *block)
{
	return (void *)(uintptr_t)block;
}

static char nothing[1 << 16];

__attribute__((noinline)) static void *none_take(size_t size)
{
	__asm__ volatile("" : "+r"(size) : : "memory");
	return nothing;
}

__attribute__((noinline)) static void *none_take_aligned(size_t alignment, size_t size)
{
	__asm__ volatile("" : "+r"(size), "+r"(alignment) : : "memory");
	return nothing;
}

__attribute__((noinline)) static void *none_resize(void *block, size_t size)
{
	__asm__ volatile("" : "+r"(size), "+r"(block) : : "memory");
	return nothing;
}

__attribute__((noinline)) static void none_give(void *block)
{
	__asm__ volatile("" : "+r"(block) : : "memory");
}

static void *mems_churn(void *share);
static void *malloc_churn(void *share);
static void *none_churn(void *share);

static const struct allocator with_mems = {
	mems_malloc, mems_take_zeroed, mems_aligned_alloc, mems_realloc, mems_free, mems_get,
	mems_churn};
static const struct allocator with_malloc = {
	malloc, malloc_take_zeroed, aligned_alloc, realloc, free, malloc_bytes, malloc_churn};
static const struct allocator with_none = {
	none_take, none_take, none_take_aligned, none_resize, none_give, malloc_bytes, none_churn};

/* ---- The job --------------------------------------------------------------------------------- */

/* One call of a trace. */
struct call {
	size_t size;        /* bytes */
	uint32_t block;     /* which entry of the table */
	uint16_t alignment; /* bytes, for 'm'; at most PAGE_BYTES, as MeMS allows no more */
	char kind;          /* 'a', 'c', 'm', 'r', 'f' */
};

/* Shared with the child that reads the trace. */
struct plan {
	size_t count; /* of calls */
	size_t blocks;
	struct call calls[];
};

enum work { REPLAY, TOUCH, MEMORY, PAIR, LIFO, FIFO, CHURN, THREADS, GROWTH, GET, INSIDE, WORKS };

static const char *const work_names[WORKS] = {
	"replay", "touch", "memory", "pair", "lifo", "fifo", "churn", "threads", "growth",
	"get", "inside"};

struct job {
	enum work work;
	const char *subject;   /* file or number */
	const char *allocator; /* its name */
	size_t number;         /* the subject, where it is a number */
	unsigned passes;
	bool is_mems;
	bool is_restarting; /* MeMS: a new heap for each pass */

	struct plan *plan;  /* of a trace */
	void **table;       /* blocks by number; NULL where there is none */
	size_t table_count;
	size_t *sizes;      /* for memory: requested bytes, by block */
	const void **addresses;   /* for get and inside */
	const char **references;  /* the same in physical addresses */

	size_t count; /* results, as described at the top */
	double first;
	double best;
};

__attribute__((noreturn, format(printf, 1, 2)))
static void fail(const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	fprintf(stderr, "bench: ");
	vfprintf(stderr, format, arguments);
	fprintf(stderr, "\n");
	va_end(arguments);
	exit(EXIT_FAILURE);
}

/* Touched, so that neither time nor resident memory of a pass holds its first faults. */
static void *pages_map(size_t bytes)
{
	char *pages = mmap(NULL, bytes + 1, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (pages == MAP_FAILED)
		fail("no memory for the tables");
	memset(pages, 0, bytes + 1);
	return pages;
}

static double now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return (double)time.tv_sec * 1e9 + (double)time.tv_nsec;
}

static ALWAYS_INLINE uint64_t random_next(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state * UINT64_C(0x2545f4914f6cdd1d);
}

static ALWAYS_INLINE size_t random_below(uint64_t *state, size_t limit)
{
	return (size_t)((random_next(state) >> 32) * limit >> 32);
}

/* 16 to 512 bytes, in steps of 1. */
static ALWAYS_INLINE size_t random_size(uint64_t *state)
{
	return 16 + random_below(state, 497);
}

static void check_blocks(bool has_failed)
{
	if (has_failed)
		fail("the allocator ran out of memory");
}

/* ---- Replay ---------------------------------------------------------------------------------- */

static ALWAYS_INLINE void table_release(const struct allocator *allocator, struct job *job)
{
	for (size_t i = 0; i < job->table_count; i++) {
		if (job->table[i] != NULL)
			allocator->give(job->table[i]);
		job->table[i] = NULL;
	}
}

static ALWAYS_INLINE void block_touch(const struct allocator *allocator, void *block, size_t size)
{
	volatile char *bytes = allocator->bytes(block);

	for (size_t at = 0; at < size; at += PAGE_BYTES)
		bytes[at] = 1;
	bytes[size - 1] = 1;
}

/* Does one call of the trace; false where it gave no block. */
static ALWAYS_INLINE bool call_make(const struct allocator *allocator, const struct call *call,
	void **table)
{
	void **block = &table[call->block];

	switch (call->kind) {
	case 'f':
		allocator->give(*block);
		*block = NULL;
		return true;
	case 'a':
		*block = allocator->take(call->size);
		break;
	case 'r':
		*block = allocator->resize(*block, call->size);
		break;
	case 'c':
		*block = allocator->take_zeroed(call->size);
		break;
	default:
		*block = allocator->take_aligned(call->alignment, call->size);
		break;
	}
	return *block != NULL;
}

static ALWAYS_INLINE double replay_pass(const struct allocator *allocator, struct job *job)
{
	const struct call *end = job->plan->calls + job->plan->count;
	void **table = job->table;
	bool has_failed = false;
	double start = now();
	double time;

	for (const struct call *call = job->plan->calls; call < end; call++)
		has_failed |= !call_make(allocator, call, table);
	time = now() - start;
	check_blocks(has_failed);
	table_release(allocator, job);
	job->count = job->plan->count;
	return time;
}

static ALWAYS_INLINE double touch_pass(const struct allocator *allocator, struct job *job)
{
	const struct call *end = job->plan->calls + job->plan->count;
	void **table = job->table;
	double start = now();

	for (const struct call *call = job->plan->calls; call < end; call++) {
		check_blocks(!call_make(allocator, call, table));
		if (call->kind != 'f')
			block_touch(allocator, table[call->block], call->size);
	}
	job->count = job->plan->count;
	return now() - start;
}

/* ---- Resident memory ------------------------------------------------------------------------- */

/* The number after a label in a file of /proc, in bytes; 0 where it cannot be had. */
static size_t proc_bytes(const char *path, const char *label)
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

/* Anonymous pages alone: those of the allocator's code are shared between processes, and which of
 * them are resident is chance. From the page tables, as the kernel's own counters are rounded. */
static size_t resident_bytes(void)
{
	return proc_bytes("/proc/self/smaps_rollup", "\nAnonymous:");
}

/* Resets VmHWM to what is resident now. */
static void high_water_reset(void)
{
	int file = open("/proc/self/clear_refs", O_WRONLY | O_CLOEXEC);

	if (file >= 0) {
		if (write(file, "5", 1) != 1)
			fprintf(stderr, "bench: VmHWM cannot be reset\n");
		close(file);
	}
}

/* Follows the live bytes: what they are after the call. */
static size_t live_after(struct job *job, const struct call *call, size_t live)
{
	size_t size = call->kind == 'f' ? 0 : call->size;

	live = live - job->sizes[call->block] + size;
	job->sizes[call->block] = size;
	return live;
}

static size_t live_peak(struct job *job)
{
	size_t live = 0;
	size_t peak = 0;

	for (size_t i = 0; i < job->plan->count; i++) {
		live = live_after(job, &job->plan->calls[i], live);
		if (live > peak)
			peak = live;
	}
	memset(job->sizes, 0, job->table_count * sizeof *job->sizes);
	return peak;
}

/* Samples at the peak, near it whenever the live bytes have grown by half a percent, and 400 times
 * in between, as what is resident can be highest elsewhere. Returns the highest. */
static ALWAYS_INLINE size_t memory_replay(const struct allocator *allocator, struct job *job,
	size_t peak)
{
	size_t step = job->plan->count / 400 + 1;
	size_t highest = 0;
	size_t live = 0;
	size_t sampled = peak / 2;

	for (size_t i = 0; i < job->plan->count; i++) {
		const struct call *call = &job->plan->calls[i];

		check_blocks(!call_make(allocator, call, job->table));
		if (call->kind != 'f')
			block_touch(allocator, job->table[call->block], call->size);
		live = live_after(job, call, live);
		if (i % step == 0 || live == peak || live > sampled + peak / 200) {
			size_t resident = resident_bytes();

			if (live > sampled)
				sampled = live;
			if (resident > highest)
				highest = resident;
		}
	}
	return highest;
}

static void mems_begin(void);

static ALWAYS_INLINE void memory_measure(const struct allocator *allocator, struct job *job)
{
	size_t peak = live_peak(job);
	size_t before;
	size_t high_before;
	size_t highest;

	high_water_reset();
	high_before = proc_bytes("/proc/self/status", "\nVmHWM:");
	before = resident_bytes();
	if (job->is_mems)
		mems_begin();
	highest = memory_replay(allocator, job, peak);
	job->count = peak;
	job->best = (double)(highest - before);
	job->first = (double)(proc_bytes("/proc/self/status", "\nVmHWM:") - high_before);
}

/* ---- Micro-benchmarks ------------------------------------------------------------------------ */

static ALWAYS_INLINE double pair_pass(const struct allocator *allocator, struct job *job)
{
	size_t rounds = 500000;
	size_t size = job->number;
	bool has_failed = false;
	double start = now();

	for (size_t i = 0; i < rounds; i++) {
		void *block = allocator->take(size);

		has_failed |= block == NULL;
		allocator->give(block);
	}
	job->count = 2 * rounds;
	check_blocks(has_failed);
	return now() - start;
}

/* Batches until there have been about a million calls. */
static ALWAYS_INLINE double batch_pass(const struct allocator *allocator, struct job *job)
{
	size_t batches = 500000 / job->number + 1;
	bool has_failed = false;
	uint64_t random = 1;
	double start = now();

	for (size_t batch = 0; batch < batches; batch++) {
		for (size_t i = 0; i < job->number; i++) {
			job->table[i] = allocator->take(random_size(&random));
			has_failed |= job->table[i] == NULL;
		}
		for (size_t i = 0; i < job->number; i++)
			allocator->give(job->table[job->work == FIFO ? i : job->number - 1 - i]);
	}
	job->count = 2 * batches * job->number;
	start = now() - start;
	memset(job->table, 0, job->number * sizeof *job->table);
	check_blocks(has_failed);
	return start;
}

static ALWAYS_INLINE double churn_pass(const struct allocator *allocator, struct job *job)
{
	size_t rounds = 1000000;
	bool has_failed = false;
	uint64_t random = 1;
	double start;
	double time;

	for (size_t i = 0; i < job->number; i++)
		job->table[i] = allocator->take(random_size(&random));
	start = now();
	for (size_t i = 0; i < rounds; i++) {
		void **block = &job->table[random_below(&random, job->number)];

		allocator->give(*block);
		*block = allocator->take(random_size(&random));
		has_failed |= *block == NULL;
	}
	time = now() - start;
	job->count = 2 * rounds;
	check_blocks(has_failed);
	table_release(allocator, job);
	return time;
}

/* What one of the threads does. */
struct share {
	void **table;
	size_t blocks;
	size_t rounds;
	uint64_t random;
	bool has_failed;
	pthread_t thread;
};

static ALWAYS_INLINE void *share_churn(const struct allocator *allocator, void *of_thread)
{
	struct share *share = of_thread;
	uint64_t random = share->random;

	for (size_t i = 0; i < share->rounds; i++) {
		void **block = &share->table[random_below(&random, share->blocks)];

		allocator->give(*block);
		*block = allocator->take(random_size(&random));
		share->has_failed |= *block == NULL;
	}
	for (size_t i = 0; i < share->blocks; i++)
		allocator->give(share->table[i]);
	return NULL;
}

static void *mems_churn(void *share)
{
	return share_churn(&with_mems, share);
}

static void *malloc_churn(void *share)
{
	return share_churn(&with_malloc, share);
}

static void *none_churn(void *share)
{
	return share_churn(&with_none, share);
}

static double threads_pass(const struct allocator *allocator, struct job *job)
{
	size_t rounds = 1000000 / job->number;
	struct share *shares = pages_map(job->number * sizeof *shares);
	bool has_failed = false;
	double start = now();

	memset(job->table, 0, job->table_count * sizeof *job->table);
	for (size_t i = 0; i < job->number; i++) {
		shares[i] = (struct share){.table = job->table + i * THREAD_BLOCKS,
			.blocks = THREAD_BLOCKS, .rounds = rounds, .random = i + 1};
		if (pthread_create(&shares[i].thread, NULL, allocator->churn, &shares[i]) != 0)
			fail("no thread");
	}
	for (size_t i = 0; i < job->number; i++) {
		pthread_join(shares[i].thread, NULL);
		has_failed |= shares[i].has_failed;
	}
	start = now() - start;
	job->count = 2 * rounds * job->number;
	munmap(shares, job->number * sizeof *shares + 1);
	memset(job->table, 0, job->table_count * sizeof *job->table);
	check_blocks(has_failed);
	return start;
}

static ALWAYS_INLINE double growth_pass(const struct allocator *allocator, struct job *job)
{
	bool has_failed = false;
	double start = now();

	for (size_t i = 0; i < job->number; i++) {
		void *block = allocator->take(64);
		volatile char *bytes = allocator->bytes(block);

		if (bytes != NULL)
			*bytes = 1;
		else
			has_failed = true;
		job->table[i] = block;
	}
	job->count = job->number;
	check_blocks(has_failed);
	return now() - start;
}

/* ---- mems_get -------------------------------------------------------------------------------- */

/* Takes the blocks, writes them, and draws the addresses to look up: at least 65536 of them. */
static void get_prepare(struct job *job)
{
	uint64_t random = 1;

	job->count = job->number < 65536 ? 65536 : job->number;
	job->addresses = pages_map(job->count * sizeof *job->addresses);
	job->references = pages_map(job->count * sizeof *job->references);
	for (size_t i = 0; i < job->number; i++) {
		size_t size = random_size(&random);

		job->table[i] = mems_malloc(size);
		check_blocks(job->table[i] == NULL);
		memset(mems_get(job->table[i]), 1, size);
	}
	for (size_t i = 0; i < job->count; i++) {
		const char *start = job->table[random_below(&random, job->number)];
		size_t size = mems_usable_size(start);

		job->addresses[i] = start + (job->work == INSIDE ? random_below(&random, size) : 0);
		job->references[i] = mems_get(job->addresses[i]);
	}
}

static double load_pass(const struct job *job)
{
	volatile unsigned char keep;
	unsigned sum = 0;
	double start = now();

	for (size_t i = 0; i < job->count; i++)
		sum += *(const unsigned char *)job->references[i];
	keep = (unsigned char)sum;
	(void)keep;
	return now() - start;
}

static double get_pass(const struct job *job)
{
	volatile unsigned char keep;
	unsigned sum = 0;
	double start = now();

	for (size_t i = 0; i < job->count; i++)
		sum += *(const unsigned char *)mems_get(job->addresses[i]);
	keep = (unsigned char)sum;
	(void)keep;
	return now() - start;
}

/* Both loops in turn, the fastest of each. */
static void get_measure(struct job *job)
{
	get_prepare(job);
	for (unsigned pass = 0; pass < 2 * job->passes; pass++) {
		double load = load_pass(job) / (double)job->count;
		double get = get_pass(job) / (double)job->count;

		if (pass == 0 || load < job->first)
			job->first = load;
		if (pass == 0 || get < job->best)
			job->best = get;
	}
}

/* ---- One allocator, one job ------------------------------------------------------------------ */

static void mems_begin(void)
{
	mems_finish();
	mems_init();
}

static ALWAYS_INLINE double pass_run(const struct allocator *allocator, struct job *job)
{
	switch (job->work) {
	case REPLAY:
		return replay_pass(allocator, job);
	case TOUCH:
		return touch_pass(allocator, job);
	case PAIR:
		return pair_pass(allocator, job);
	case LIFO:
	case FIFO:
		return batch_pass(allocator, job);
	case CHURN:
		return churn_pass(allocator, job);
	case THREADS:
		return threads_pass(allocator, job);
	default:
		return growth_pass(allocator, job);
	}
}

static ALWAYS_INLINE void passes_run(const struct allocator *allocator, struct job *job)
{
	for (unsigned pass = 0; pass < job->passes; pass++) {
		double time;

		if (job->is_mems && (pass == 0 || job->is_restarting))
			mems_begin();
		time = pass_run(allocator, job) / (double)job->count;
		if (pass == 0)
			job->first = time;
		if (pass == 0 || time < job->best)
			job->best = time;
	}
}

static ALWAYS_INLINE void job_run_with(const struct allocator *allocator, struct job *job)
{
	if (job->work == MEMORY)
		memory_measure(allocator, job);
	else
		passes_run(allocator, job);
}

__attribute__((noinline)) static void job_run_mems(struct job *job)
{
	job_run_with(&with_mems, job);
}

__attribute__((noinline)) static void job_run_malloc(struct job *job)
{
	job_run_with(&with_malloc, job);
}

__attribute__((noinline)) static void job_run_none(struct job *job)
{
	job_run_with(&with_none, job);
}

static void job_run(struct job *job)
{
	if (job->work == GET || job->work == INSIDE) {
		if (!job->is_mems)
			exit(EXIT_UNAVAILABLE);
		mems_begin();
		get_measure(job);
	} else if (job->is_mems) {
		job_run_mems(job);
	} else if (strcmp(job->allocator, "none") == 0) {
		if (job->work == MEMORY || job->work == TOUCH)
			exit(EXIT_UNAVAILABLE);
		job_run_none(job);
	} else {
		job_run_malloc(job);
	}
}

/* ---- Reading the trace ----------------------------------------------------------------------- */

/* In the child: fills the plan, which has room for so many calls. */
static void plan_fill(const char *path, struct plan *plan, size_t room)
{
	char error[TRACE_ERROR_MAX];
	struct trace trace;
	FILE *in = fopen(path, "r");

	if (in == NULL)
		fail("%s cannot be opened", path);
	if (trace_read(in, path, &trace, error) != 0)
		fail("%s", error);
	if (trace.count > room)
		fail("%s: more operations than its bytes can hold", path);
	plan->count = trace.count;
	plan->blocks = trace.blocks;
	for (size_t i = 0; i < trace.count; i++) {
		const struct trace_op *op = &trace.ops[i];

		plan->calls[i] = (struct call){
			.size = op->size,
			.block = op->block,
			.alignment = op->alignment < PAGE_BYTES ? (uint16_t)op->alignment : PAGE_BYTES,
			.kind = op->kind};
	}
}

static struct plan *plan_read(const char *path)
{
	struct stat about;
	size_t bytes;
	struct plan *plan;
	pid_t child;
	int status;

	if (stat(path, &about) != 0)
		fail("%s cannot be found", path);
	bytes = sizeof *plan + (size_t)about.st_size / strlen("f 0\n") * sizeof(struct call);
	plan = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (plan == MAP_FAILED)
		fail("no memory for the trace");
	child = fork();
	if (child == 0) {
		plan_fill(path, plan, (bytes - sizeof *plan) / sizeof(struct call));
		_exit(EXIT_SUCCESS);
	}
	if (child < 0 || waitpid(child, &status, 0) != child || status != 0)
		exit(EXIT_FAILURE);
	return plan;
}

/* Maps the pages of the plan into this process. */
static void plan_touch(const struct plan *plan)
{
	volatile size_t keep = 0;

	for (size_t i = 0; i < plan->count; i++)
		keep = keep + plan->calls[i].size;
}

/* ---- The command line ------------------------------------------------------------------------ */

static void job_prepare(struct job *job)
{
	if (job->work == REPLAY || job->work == TOUCH || job->work == MEMORY) {
		job->plan = plan_read(job->subject);
		plan_touch(job->plan);
		job->table_count = job->plan->blocks;
		job->sizes = pages_map(job->table_count * sizeof *job->sizes);
	} else {
		job->number = strtoul(job->subject, NULL, 10);
		if (job->number == 0)
			fail("%s is not a number above 0", job->subject);
		job->table_count = job->work == PAIR ? 0 : job->number;
		if (job->work == THREADS)
			job->table_count *= THREAD_BLOCKS;
	}
	if (job->work == TOUCH || job->work == GROWTH)
		job->passes = 1;
	job->table = pages_map(job->table_count * sizeof *job->table);
}

/* Sets the options that the allocator's name stands for. */
static void allocator_choose(struct job *job)
{
	bool is_quick = strstr(job->allocator, "quick") != NULL;
	bool is_16 = strstr(job->allocator, "-16") != NULL;

	job->is_mems = strncmp(job->allocator, "mems", 4) == 0;
	if (!job->is_mems)
		return;
	if (mems_option(MEMS_POLICY, is_quick ? MEMS_QUICK_FIT : MEMS_FIRST_FIT) != 0
		|| mems_option(MEMS_ALIGNMENT, is_16 ? 16 : 8) != 0)
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

/* The file's name without folder and ending, or the number. */
static void job_print(const struct job *job)
{
	const char *slash = strrchr(job->subject, '/');
	const char *name = slash == NULL ? job->subject : slash + 1;
	const char *dot = strrchr(name, '.');
	int length = dot == NULL ? (int)strlen(name) : (int)(dot - name);

	printf("%s,%.*s,%s,%zu,%.3f,%.3f\n", work_names[job->work], length, name, job->allocator,
		job->count, job->first, job->best);
}

int main(int count, char **words)
{
	struct job job = {.passes = 5};
	int at = options_take(count, words, &job);

	if (count - at != 3 || job.passes == 0)
		fail("usage: bench [--passes N] [--cpu N] [--restart] WORK FILE|NUMBER ALLOCATOR");
	while (job.work < WORKS && strcmp(words[at], work_names[job.work]) != 0)
		job.work++;
	if (job.work == WORKS)
		fail("%s is not a kind of work", words[at]);
	job.subject = words[at + 1];
	job.allocator = words[at + 2];
	allocator_choose(&job);
	job_prepare(&job);
	job_run(&job);
	job_print(&job);
	return EXIT_SUCCESS;
}
