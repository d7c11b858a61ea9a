/*
 * Asks the allocation functions of the C library for what they promise, as a program does that
 * knows of nothing else. Prints one line for each promise, the same ones whatever stands behind
 * the functions, and exits with 1 where one is not kept.
 *
 *     build/default/tests/programs/allocator [ROUNDS]
 *
 * tests/programs/programs.sh runs it with sample/preload/preload.c and without.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <errno.h>
#include <malloc.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
	ALIGNMENT = 16,
	PAGE = 4096,
	BLOCKS = 500,
	THREADS = 4,
	SHARED = 64, /* blocks that any thread may take over */
	SEED = 20240607
};

struct block {
	unsigned char *bytes;
	size_t size;
	unsigned char mark;
};

static bool is_all_kept = true;
static unsigned long rounds = 200000;

static void promise(const char *what, bool is_kept)
{
	printf("%s: %s\n", what, is_kept ? "kept" : "BROKEN");
	is_all_kept = is_all_kept && is_kept;
}

static bool is_aligned(const void *block, size_t alignment)
{
	return (uintptr_t)block % alignment == 0;
}

static bool is_filled(const unsigned char *bytes, size_t size, unsigned char mark)
{
	for (size_t i = 0; i < size; i++)
		if (bytes[i] != mark)
			return false;
	return true;
}

/* The same numbers everywhere, and a state for each thread. */
static size_t random_below(uint64_t *state, size_t limit)
{
	*state = *state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
	return (size_t)(*state >> 33) % limit;
}

/* Small ones most often, now and then one that is large. */
static size_t random_size(uint64_t *state)
{
	return random_below(state, random_below(state, 50) == 0 ? 200000 : 300);
}

/* The compiler must not see that what is asked for cannot be had, or what is never used. */
static size_t hidden(size_t value)
{
	volatile size_t kept = value;
	return kept;
}

/* ---- One thread ------------------------------------------------------------------------------ */

static void sizes_check(void)
{
	void *nothing = malloc(hidden(0));
	void *more = malloc(hidden(0));
	bool is_good = true;

	promise("malloc(0) gives a block", nothing != NULL);
	promise("and each time another", nothing != more);
	free(nothing);
	free(more);
	for (size_t size = 1; size < 5000; size++) {
		void *block = malloc(size);

		is_good = is_good && block != NULL && is_aligned(block, ALIGNMENT) &&
			malloc_usable_size(block) >= size;
		memset(block, 1, malloc_usable_size(block));
		free(block);
	}
	promise("blocks are aligned to 16, and all of malloc_usable_size is there", is_good);
	promise("malloc_usable_size(NULL) is 0", malloc_usable_size(NULL) == 0);
}

static void impossible_check(void)
{
	unsigned char *volatile block = malloc(100);

	memset(block, 7, 100);
	errno = 0;
	promise("no malloc of all there is", malloc(hidden(SIZE_MAX)) == NULL && errno == ENOMEM);
	errno = 0;
	promise("nor of more than half of it",
		malloc(hidden((size_t)PTRDIFF_MAX + 1)) == NULL && errno == ENOMEM);
	errno = 0;
	promise("no calloc that overflows",
		calloc(hidden(SIZE_MAX / 2), 3) == NULL && errno == ENOMEM);
	errno = 0;
	promise("no realloc of all there is",
		realloc(block, hidden(SIZE_MAX - 100)) == NULL && errno == ENOMEM);
	errno = 0;
	promise("no reallocarray that overflows",
		reallocarray(block, hidden(SIZE_MAX / 2), 3) == NULL && errno == ENOMEM);
	promise("and the block stays as it was", is_filled(block, 100, 7));
	free(block);
}

static void errno_check(void)
{
	bool is_kept = true;

	for (size_t size = 16; size < (size_t)64 << 20; size *= 2) {
		void *block = malloc(size);

		memset(block, 1, size);
		errno = 42;
		free(block);
		is_kept = is_kept && errno == 42;
	}
	free(NULL);
	promise("free leaves errno alone", is_kept && errno == 42);
}

static void zero_check(void)
{
	bool is_zero = true;

	for (size_t size = 1; size < (size_t)4 << 20; size += size / 3 + 1) {
		unsigned char *block = malloc(size);

		memset(block, 0xa5, size);
		free(block);
		block = calloc(1, size);
		is_zero = is_zero && is_filled(block, size, 0);
		memset(block, 0xa5, size);
		free(block);
	}
	promise("calloc gives zeroes, in memory that was used as well", is_zero);
}

static void realloc_check(void)
{
	uint64_t random = SEED;
	unsigned char *bytes = realloc(NULL, 1);
	size_t size = 1;
	bool is_kept = bytes != NULL;

	bytes[0] = 9;
	for (int i = 0; i < 3000 && is_kept; i++) {
		size_t wanted = 1 + random_size(&random);
		void *wall = malloc(random_size(&random));

		bytes = realloc(bytes, wanted);
		is_kept = bytes != NULL && is_filled(bytes, wanted < size ? wanted : size, 9);
		memset(bytes, 9, wanted);
		size = wanted;
		free(wall);
	}
	promise("realloc keeps the contents", is_kept);
	promise("realloc to 0 frees", realloc(bytes, hidden(0)) == NULL);
}

static void posix_check(void)
{
	void *block = &block;
	bool is_good = true;

	promise("posix_memalign refuses what is no power of two, or less than a pointer",
		posix_memalign(&block, hidden(0), 8) == EINVAL &&
		posix_memalign(&block, hidden(2), 8) == EINVAL &&
		posix_memalign(&block, hidden(24), 8) == EINVAL && block == &block);
	promise("it says so when there is no memory",
		posix_memalign(&block, 64, hidden(SIZE_MAX - PAGE)) == ENOMEM);
	errno = 42;
	for (size_t alignment = sizeof(void *); alignment <= PAGE; alignment *= 2)
		for (size_t size = 0; size < 10000; size += 1 + size / 2) {
			is_good = is_good && posix_memalign(&block, alignment, size) == 0 &&
				is_aligned(block, alignment) && malloc_usable_size(block) >= size;
			memset(block, 1, size);
			free(block);
		}
	promise("it gives aligned blocks up to a page", is_good);
	promise("and leaves errno alone", errno == 42);
}

static void aligned_check(void)
{
	unsigned char *odd = memalign(hidden(48), 100);
	unsigned char *page = valloc(100);
#ifdef __GLIBC__
	unsigned char *pages = pvalloc(100);
#else /* has no pvalloc */
	unsigned char *pages = memalign(PAGE, PAGE);
#endif
	unsigned char *block = aligned_alloc(256, 1000);

	promise("memalign rounds up to a power of two", odd != NULL && is_aligned(odd, 64));
	promise("valloc and pvalloc give pages", page != NULL && is_aligned(page, PAGE) &&
		pages != NULL && is_aligned(pages, PAGE) && malloc_usable_size(pages) >= PAGE);
	memset(block, 5, 1000);
	block = realloc(block, 100000);
	promise("aligned_alloc's blocks can be resized", block != NULL && is_filled(block, 1000, 5));
	free(odd);
	free(page);
	free(pages);
	free(block);
}

/* ---- Many blocks, many threads --------------------------------------------------------------- */

static bool is_intact(const struct block *block)
{
	return is_filled(block->bytes, block->size, block->mark);
}

static void block_fill(struct block *block, uint64_t *random)
{
	block->mark = (unsigned char)random_below(random, 256);
	memset(block->bytes, block->mark, block->size);
}

/* One random step: frees the block, or resizes it, or takes another. */
static bool block_step(struct block *block, uint64_t *random)
{
	bool is_good = is_intact(block);
	size_t kind = random_below(random, 8);
	size_t size = random_size(random);

	if (kind < 3 && size != 0) {
		size_t kept = size < block->size ? size : block->size;

		block->bytes = realloc(block->bytes, size);
		is_good = is_good && is_filled(block->bytes, kept, block->mark);
	} else {
		free(block->bytes);
		block->bytes = kind == 3 ? calloc(1, size) : kind == 4 ? memalign(64, size) : malloc(size);
		is_good = is_good && (kind != 3 || is_filled(block->bytes, size, 0));
	}
	block->size = size;
	block_fill(block, random);
	return is_good;
}

static struct block shared[SHARED];
static pthread_mutex_t shared_lock = PTHREAD_MUTEX_INITIALIZER;
static atomic_bool is_any_damaged;

/* Exchanges a block with the other threads, which will free it. */
static void block_exchange(struct block *block, uint64_t *random)
{
	struct block *other = &shared[random_below(random, SHARED)];
	struct block kept = *block;

	pthread_mutex_lock(&shared_lock);
	*block = *other;
	*other = kept;
	pthread_mutex_unlock(&shared_lock);
}

static void *thread_run(void *number)
{
	struct block *blocks = calloc(BLOCKS, sizeof *blocks);
	uint64_t random = SEED + *(unsigned *)number;

	for (unsigned long i = 0; i < rounds; i++) {
		struct block *block = &blocks[random_below(&random, BLOCKS)];

		if (!block_step(block, &random))
			is_any_damaged = true;
		block_exchange(block, &random);
	}
	for (size_t i = 0; i < BLOCKS; i++) {
		if (!is_intact(&blocks[i]))
			is_any_damaged = true;
		free(blocks[i].bytes);
	}
	free(blocks);
	return NULL;
}

/* A child has the heap as it was, wherever the other threads were in it. */
static bool child_check(void)
{
	unsigned number = 99;
	int status;
	pid_t child = fork();

	if (child == 0) {
		rounds = 1000;
		memset(shared, 0, sizeof shared);
		pthread_mutex_init(&shared_lock, NULL);
		thread_run(&number);
		exit(is_any_damaged);
	}
	return child > 0 && waitpid(child, &status, 0) == child && status == 0;
}

static void threads_check(void)
{
	pthread_t threads[THREADS];
	unsigned numbers[THREADS];
	bool is_started = true, is_good = true;

	fflush(stdout);
	for (unsigned i = 0; i < THREADS; i++) {
		numbers[i] = i;
		is_started = pthread_create(&threads[i], NULL, thread_run, &numbers[i]) == 0 && is_started;
	}
	if (!is_started) {
		promise("threads can be started", false);
		exit(1);
	}
	for (int i = 0; i < 10; i++)
		is_good = child_check() && is_good;
	for (unsigned i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	promise("threads find their blocks as they left them", !is_any_damaged);
	promise("and so do children of fork", is_good);
	for (size_t i = 0; i < SHARED; i++)
		free(shared[i].bytes);
}

int main(int argc, char **argv)
{
	if (argc > 1)
		rounds = strtoul(argv[1], NULL, 10);
	printf("seed %d, %lu rounds in each of %d threads\n", SEED, rounds, THREADS);
	sizes_check();
	impossible_check();
	errno_check();
	zero_check();
	realloc_check();
	posix_check();
	aligned_check();
	threads_check();
	return is_all_kept ? 0 : 1;
}
