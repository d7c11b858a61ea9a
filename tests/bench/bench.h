/*
 * tests/bench/bench.h: what the parts of the benchmark's worker share: the allocators, the job, and
 * small helpers. Each part (traces.c, micro.c, ...) has a table of the works that it can do; bench.c
 * runs one of them.
 */
#ifndef BENCH_H
#define BENCH_H

#include "mems.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#define ALWAYS_INLINE inline __attribute__((always_inline))
#define PAGE_BYTES ((size_t)4096)
#define MIB ((size_t)1 << 20)
#define EXIT_UNAVAILABLE 3 /* this allocator cannot do what was asked for */

/* ---- Allocators ------------------------------------------------------------------------------ */

enum allocator_kind { OF_MEMS, OF_MALLOC, OF_NONE, ALLOCATOR_KINDS };

struct allocator {
	enum allocator_kind kind;
	void *(*take)(size_t size);
	void *(*take_zeroed)(size_t size);
	void *(*take_aligned)(size_t alignment, size_t size);
	void *(*resize)(void *block, size_t size);
	void (*give)(void *block);
	void *(*bytes)(const void *block); /* where the block can be written */
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

/* The empty loop's: they do nothing, and the compiler cannot know it. */
void *none_take(size_t size);
void *none_take_aligned(size_t alignment, size_t size);
void *none_resize(void *block, size_t size);
void none_give(void *block);

static const struct allocator with_mems = {
	OF_MEMS, mems_malloc, mems_take_zeroed, mems_aligned_alloc, mems_realloc, mems_free, mems_get};
static const struct allocator with_malloc = {
	OF_MALLOC, malloc, malloc_take_zeroed, aligned_alloc, realloc, free, malloc_bytes};
static const struct allocator with_none = {
	OF_NONE, none_take, none_take, none_take_aligned, none_resize, none_give, malloc_bytes};

/* ---- The job --------------------------------------------------------------------------------- */

struct plan; /* a trace, in traces.c */

struct job {
	const struct work *work;
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

	size_t count; /* calls of the pass that was made last */
};

/* How a work is run by one allocator. A pass returns its nanoseconds and sets job->count; a whole
 * work begins its heap, measures and prints its rows itself, and what it returns is not used. */
typedef double work_function(struct job *job);

struct work {
	const char *name;
	void (*prepare)(struct job *job);
	work_function *run[ALLOCATOR_KINDS]; /* NULL where that allocator cannot do it */
	bool is_whole;
	bool is_cold; /* one pass, whatever --passes says: it is about new memory */
};

/* Each table ends with a work without a name. */
extern const struct work trace_works[];
extern const struct work micro_works[];
extern const struct work memory_works[];
extern const struct work start_works[];
extern const struct work translation_works[];
extern const struct work thread_works[];
extern const struct work image_works[];

/* Compiles name(allocator, job) once for each allocator, with direct calls; BY_ALL is the entry of
 * the table. */
#define DEFINE_BY_ALL(name) \
	__attribute__((noinline)) static double name##_by_mems(struct job *job) \
	{ \
		return name(&with_mems, job); \
	} \
	__attribute__((noinline)) static double name##_by_malloc(struct job *job) \
	{ \
		return name(&with_malloc, job); \
	} \
	__attribute__((noinline, unused)) static double name##_by_none(struct job *job) \
	{ \
		return name(&with_none, job); \
	}
#define BY_ALL(name) {name##_by_mems, name##_by_malloc, name##_by_none}
#define BY_BOTH(name) {name##_by_mems, name##_by_malloc, NULL}
#define BY_MEMS(name) {name, NULL, NULL}

/* ---- Helpers (bench.c) ----------------------------------------------------------------------- */

/* Ends the program with a message. */
void fail(const char *format, ...) __attribute__((noreturn, format(printf, 1, 2)));

/* Pages of zeros, touched, so that neither time nor resident memory of a pass holds their faults. */
void *pages_map(size_t bytes);

/* The subject as a number above 0, and a table of that many blocks. */
void number_prepare(struct job *job);

/* A new heap, where the allocator is MeMS. */
void heap_begin(const struct job *job);

/* Prints a row: what was measured (the work's name, or of several figures that of this one), the
 * calls, and two figures as the top of bench.c describes them. */
void row_print(const struct job *job, const char *figure, size_t count, double first, double best);

/* Nanoseconds of this thread's processor time, which other programs on the machine hardly disturb,
 * and of the clock on the wall. */
double now(void);
double wall_now(void);

/* The number after a label in a file of /proc, in bytes; 0 where it cannot be had. */
size_t proc_bytes(const char *path, const char *label);

/* Anonymous pages alone: those of the allocator's code are shared between processes, and which of
 * them are resident is chance. From the page tables, as the kernel's own counters are rounded. */
size_t resident_bytes(void);

/* Resets VmHWM to what is resident now; returns that. */
size_t high_water_reset(void);
size_t high_water_bytes(void);

/* Page faults of this process that needed no disk. */
size_t faults_now(void);

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

/* From least to most bytes, in steps of 1. */
static ALWAYS_INLINE size_t random_size(uint64_t *state, size_t least, size_t most)
{
	return least + random_below(state, most - least + 1);
}

static ALWAYS_INLINE void check_blocks(bool has_failed)
{
	if (has_failed)
		fail("the allocator ran out of memory");
}

#endif
