/*
 * A program with a heap, to be killed: for core dumps that mems-look opens.
 *
 * dead POLICY ALIGNMENT SEED CALLS FILE: makes random calls, writes the chains to FILE, what is
 *     live and explained to FILE.live and FILE.explained, an image to FILE.image, and aborts.
 * dead POLICY ALIGNMENT SEED CALLS FILE NUMBER: the same, after it has changed the last byte of a
 *     block, and written to FILE.changed of which.
 * dead threads ALIGNMENT SEED CALLS FILE: the same under quick fit, without history, and with blocks in
 *     the caches of two threads; writes the chains only.
 * dead POLICY ALIGNMENT SEED 0 FILE: writes a line to FILE and makes calls until it is killed.
 * dead unused FILE: a heap with history and no call yet: the chains, what is live and explained.
 * dead big: a heap of 1 GiB with 1,000,000 blocks, then aborts.
 *
 * The blocks hold their addresses, so that a core dump tells whether contents lie where they should.
 */
#define _GNU_SOURCE
#include "mems.h"

#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <unistd.h>

enum { SLOTS = 2000, HISTORY = 500 };

/* So that the library's state, which comes behind it, is not in the first piece of memory that
 * mems-look reads. */
static volatile char before[3 << 20];
static void *blocks[SLOTS];
static uint64_t state;

static uint64_t next_random(void)
{
	state += UINT64_C(0x9E3779B97F4A7C15);
	uint64_t word = (state ^ state >> 30) * UINT64_C(0xBF58476D1CE4E5B9);
	word = (word ^ word >> 27) * UINT64_C(0x94D049BB133111EB);
	return word ^ word >> 31;
}

/* Most blocks are small, some have many pages. */
static size_t random_size(void)
{
	const unsigned kind = (unsigned)(next_random() % 100);
	const size_t most = kind < 80 ? 200 : kind < 98 ? 5000 : 300000;
	return 1 + (size_t)(next_random() % most);
}

static void block_fill(void *block)
{
	const size_t size = mems_usable_size(block);
	unsigned char *bytes = mems_get(block);
	for (size_t i = 0; i < size; i++)
		bytes[i] = (unsigned char)(((uintptr_t)block + i) * 31);
}

static void call_make(void)
{
	/* Constants, which themselves are not in a core dump. A terminal would act on the last one. */
	static const char *const labels[] = { "alpha", "beta", "gamma", "delta\033[31m" };
	void **slot = &blocks[next_random() % SLOTS];
	const unsigned kind = (unsigned)(next_random() % 8);
	mems_set_label(labels[next_random() % 4]);
	if (*slot == NULL) {
		*slot = kind == 0 ? mems_aligned_alloc(256, random_size()) : mems_malloc(random_size());
	} else if (kind == 0) {
		void *moved = mems_realloc(*slot, random_size());
		*slot = moved != NULL ? moved : *slot;
	} else {
		mems_free(*slot);
		*slot = NULL;
	}
	if (*slot != NULL)
		block_fill(*slot);
}

/* Two of three blocks stay, of 1 KiB each on the average. */
static void big_make(void)
{
	mems_option(MEMS_HISTORY, HISTORY);
	mems_init();
	for (size_t i = 0; i < 1500000; i++) {
		void *block = mems_malloc(16 + i * 7919 % 2080);
		memset(mems_get(block), 7, mems_usable_size(block));
		if (i % 3 == 2)
			mems_free(block);
	}
}

static void chains_write(const char *path)
{
	FILE *out = fopen(path, "w");
	if (out == NULL)
		exit(2);
	mems_fprint_stats(out);
	if (fclose(out) != 0)
		exit(2);
}

/* What the library itself answers: the live list, and what is at the first addresses. */
static void answers_write(const char *path)
{
	char answers[1000];
	snprintf(answers, sizeof(answers), "%s.live", path);
	FILE *out = fopen(answers, "w");
	if (out == NULL || mems_fprint_live(out) != 0 || fclose(out) != 0)
		exit(2);
	snprintf(answers, sizeof(answers), "%s.explained", path);
	out = fopen(answers, "w");
	for (uintptr_t address = 1000; out != NULL && address < 3000; address += 100)
		mems_explain((const void *)address, out);
	if (out == NULL || fclose(out) != 0)
		exit(2);
}

/* number: of how many live blocks the contents stay, before one that is changed. */
static void block_change(const char *path, unsigned long number)
{
	char name[1000];
	struct mems_segment segment;
	size_t slot = 0;
	snprintf(name, sizeof(name), "%s.changed", path);
	FILE *out = fopen(name, "w");
	while (slot < SLOTS && (blocks[slot] == NULL || number-- != 0))
		slot++;
	if (out == NULL || slot == SLOTS || mems_segment_at(blocks[slot], &segment) != 0)
		exit(2);
	((unsigned char *)segment.physical)[segment.size - 1] ^= 1;
	fprintf(out, "changed  PROCESS[%" PRIuPTR ":%" PRIuPTR "], %zu bytes\n", segment.start,
	        segment.end, segment.size);
	if (fclose(out) != 0)
		exit(2);
}

/* Maps a file beyond its end, where nothing can be read. */
static void beyond_end_map(void)
{
	const int file = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
	if (file < 0 || mmap(NULL, (size_t)64 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE, file, 0) == MAP_FAILED)
		exit(2);
	close(file);
}

static void image_write(const char *path)
{
	char image[1000];
	snprintf(image, sizeof(image), "%s.image", path);
	if (mems_save(image) != 0)
		exit(2);
}

/* Takes blocks and frees them, which leaves them in the cache of this thread. */
static void cache_fill(void)
{
	enum { CACHED = 40 };
	void *cached[CACHED];
	for (size_t i = 0; i < CACHED; i++)
		cached[i] = mems_malloc(8 + 8 * (i % 8));
	for (size_t i = 0; i < CACHED; i++)
		mems_free(cached[i]);
}

static void *cache_fill_and_wait(void *barrier)
{
	cache_fill();
	pthread_barrier_wait(barrier);
	for (;;)
		pause();
	return NULL;
}

static _Noreturn void die_with_caches(const char *path)
{
	pthread_barrier_t barrier;
	pthread_t thread;
	mems_free(mems_malloc(1 << 18)); /* room for the caches: no node comes after the chains */
	chains_write(path);
	pthread_barrier_init(&barrier, NULL, 2);
	if (pthread_create(&thread, NULL, cache_fill_and_wait, &barrier) != 0)
		exit(2);
	pthread_barrier_wait(&barrier);
	cache_fill();
	abort();
}

int main(int count, char **arguments)
{
	prctl(PR_SET_DUMPABLE, 1);
	before[0] = 1;
	if (count == 2 && strcmp(arguments[1], "big") == 0) {
		big_make();
		abort();
	}
	if (count == 3 && strcmp(arguments[1], "unused") == 0) {
		mems_option(MEMS_HISTORY, HISTORY);
		mems_init();
		chains_write(arguments[2]);
		answers_write(arguments[2]);
		abort();
	}
	if (count != 6 && count != 7)
		return 2;
	const bool has_threads = strcmp(arguments[1], "threads") == 0;
	const bool is_quick = has_threads || strcmp(arguments[1], "quick_fit") == 0;
	mems_option(MEMS_POLICY, is_quick ? MEMS_QUICK_FIT : MEMS_FIRST_FIT);
	if (mems_option(MEMS_ALIGNMENT, (size_t)strtol(arguments[2], NULL, 10)) != 0)
		return 2;
	if (mems_option(MEMS_HISTORY, has_threads ? 0 : HISTORY) != 0)
		return 2;
	state = strtoull(arguments[3], NULL, 10);
	const unsigned long calls = strtoul(arguments[4], NULL, 10);
	mems_init();
	beyond_end_map();
	if (calls == 0) {
		call_make(); /* so that there is a heap to be shown, whenever it is killed */
		chains_write(arguments[5]);
	}
	for (unsigned long i = 0; calls == 0 || i < calls; i++)
		call_make();
	if (has_threads)
		die_with_caches(arguments[5]);
	if (count == 7)
		block_change(arguments[5], strtoul(arguments[6], NULL, 10));
	chains_write(arguments[5]);
	answers_write(arguments[5]);
	image_write(arguments[5]);
	abort();
}
