/*
 * tests/bench/traces.c: what real programs asked of their allocator, asked again. Called by bench.c;
 * calls sample/replay/trace.c to read the file.
 *
 *     replay FILE    nothing touches the blocks
 *     byte FILE      one pass in a new process, the first byte of every block written
 *     touch FILE     the same, every page of every block written
 *     memory FILE    as touch, with the resident memory measured
 *
 * The trace is read by a child process, into memory that the two share, so that the allocator under
 * test has not been used when the first pass begins. Blocks that are live at the end of a pass are
 * freed outside the time.
 */
#define _GNU_SOURCE
#include "bench.h"
#include "trace.h"

#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

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

/* ---- Reading --------------------------------------------------------------------------------- */

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
	plan->blocks = trace.blocks;
	for (size_t i = 0; i < trace.count; i++) {
		const struct trace_op *op = &trace.ops[i];

		if (op->kind == 'g') /* what is of MeMS alone */
			continue;
		plan->calls[plan->count++] = (struct call){
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

static void trace_prepare(struct job *job)
{
	job->plan = plan_read(job->subject);
	plan_touch(job->plan);
	job->table_count = job->plan->blocks;
	job->table = pages_map(job->table_count * sizeof *job->table);
	job->sizes = pages_map(job->table_count * sizeof *job->sizes);
}

/* ---- Time ------------------------------------------------------------------------------------ */

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

static ALWAYS_INLINE double replay(const struct allocator *allocator, struct job *job)
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

static ALWAYS_INLINE double byte(const struct allocator *allocator, struct job *job)
{
	const struct call *end = job->plan->calls + job->plan->count;
	void **table = job->table;
	double start = now();

	for (const struct call *call = job->plan->calls; call < end; call++) {
		check_blocks(!call_make(allocator, call, table));
		if (call->kind != 'f')
			*(volatile char *)allocator->bytes(table[call->block]) = 1;
	}
	job->count = job->plan->count;
	return now() - start;
}

static ALWAYS_INLINE double touch(const struct allocator *allocator, struct job *job)
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

/* Follows the live bytes: what they are after the call. */
static size_t live_after(struct job *job, const struct call *call, size_t live)
{
	size_t size = call->kind == 'f' ? 0 : call->size;

	live = live - job->sizes[call->block] + size;
	job->sizes[call->block] = size;
	return live;
}

/* The most that is live, in bytes. */
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

struct resident {
	size_t at_peak; /* bytes, when the most is live for the first time */
	size_t highest; /* of 400 looks, and of one whenever the live bytes have grown by half a percent */
};

static ALWAYS_INLINE struct resident memory_replay(const struct allocator *allocator,
	struct job *job, size_t peak)
{
	struct resident resident = {0, 0};
	size_t step = job->plan->count / 400 + 1;
	size_t live = 0;
	size_t sampled = peak / 2;

	for (size_t i = 0; i < job->plan->count; i++) {
		const struct call *call = &job->plan->calls[i];

		check_blocks(!call_make(allocator, call, job->table));
		if (call->kind != 'f')
			block_touch(allocator, job->table[call->block], call->size);
		live = live_after(job, call, live);
		if (i % step == 0 || live == peak || live > sampled + peak / 200) {
			size_t bytes = resident_bytes();

			sampled = live > sampled ? live : sampled;
			resident.highest = bytes > resident.highest ? bytes : resident.highest;
			if (live == peak && resident.at_peak == 0)
				resident.at_peak = bytes;
		}
	}
	return resident;
}

static ALWAYS_INLINE double memory(const struct allocator *allocator, struct job *job)
{
	size_t peak = live_peak(job);
	size_t before = resident_bytes();
	struct resident resident;

	heap_begin(job);
	resident = memory_replay(allocator, job, peak);
	row_print(job, job->work->name, peak, (double)(resident.highest - before),
		(double)(resident.at_peak - before));
	return 0;
}

DEFINE_BY_ALL(replay)
DEFINE_BY_ALL(byte)
DEFINE_BY_ALL(touch)
DEFINE_BY_ALL(memory)

const struct work trace_works[] = {
	{"replay", trace_prepare, BY_ALL(replay), false, false},
	{"byte", trace_prepare, BY_ALL(byte), false, true},
	{"touch", trace_prepare, BY_BOTH(touch), false, true},
	{"memory", trace_prepare, BY_BOTH(memory), true, true},
	{NULL, NULL, {NULL, NULL, NULL}, false, false},
};
