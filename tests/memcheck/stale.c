/*
 * Uses physical addresses that are not the program's any more, for test_stale.sh: a memory
 * checker catches each use of them, and none of the uses before.
 *
 *   stale POLICY USE
 *
 * POLICY is first_fit or quick_fit. Each USE prints one line before it goes wrong, so that a program
 * that was never run is told apart from one that was not caught; "none" goes right. "stale valgrind"
 * succeeds where the library, built here as well, has what Valgrind needs.
 */
#define _GNU_SOURCE
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "mems.h"

#ifdef __has_include
#if __has_include(<valgrind/memcheck.h>)
#define CAN_TELL_VALGRIND 1
#endif
#endif
#ifndef CAN_TELL_VALGRIND
#define CAN_TELL_VALGRIND 0
#endif

#ifndef MAP_FIXED_NOREPLACE
#define MAP_FIXED_NOREPLACE 0x100000
#endif

enum { SIZE = 64, MANY = 100, LARGE = 1 << 20 };

/* As the caller of a library would: the compiler must not know what is at the address. */
static volatile char *physical(void *v_ptr)
{
	volatile char *const address = mems_get(v_ptr);
	if (address == NULL) {
		fprintf(stderr, "stale: there is no block\n");
		exit(2);
	}
	return address;
}

static void *block_with(size_t size)
{
	void *const block = mems_malloc(size);
	if (block == NULL)
		exit(2);
	memset(mems_get(block), 'x', size);
	return block;
}

/* Blocks of all kinds, taken, written, read and freed. */
static void use_well(void)
{
	void *blocks[MANY];
	for (size_t i = 0; i < MANY; i++) {
		blocks[i] = block_with(SIZE + 8 * i);
		blocks[i] = mems_realloc(blocks[i], i % 2 == 0 ? SIZE * i + 1 : SIZE);
		memset(mems_get(blocks[i]), 'y', mems_usable_size(blocks[i]));
	}
	for (size_t i = 0; i < MANY; i += 2)
		mems_free(blocks[i]);
	for (size_t i = 0; i < MANY; i += 2) {
		blocks[i] = mems_calloc(SIZE, i + 1);
		if (*physical(blocks[i]) != 0 || physical(blocks[i])[SIZE * (i + 1) - 1] != 0)
			exit(2);
		memset(mems_get(blocks[i]), 'z', SIZE * (i + 1));
	}
	void *large = block_with(LARGE);
	large = mems_realloc(large, 3 * (size_t)LARGE);
	if (physical(large)[LARGE - 1] != 'x')
		exit(2);
	mems_free(large);
	for (size_t i = 0; i < MANY; i++)
		mems_free(blocks[i]);
}

/* A heap with blocks that are not defined, or in part, is saved, loaded and saved again. */
static void save_well(void)
{
	char path[] = "/tmp/stale-XXXXXX";
	const int file = mkstemp(path);
	void *const part = mems_malloc(SIZE);
	mems_malloc(3 * (size_t)LARGE);
	*(volatile char *)physical(part) = 'p';
	mems_free(block_with(SIZE));
	if (file < 0 || mems_set_root(part) != 0 || mems_save(path) != 0)
		exit(2);
	mems_finish();
	for (unsigned flags = 0; flags <= MEMS_MAP; flags++) {
		if (mems_load(path, flags) != 0 || *physical(mems_root()) != 'p' || mems_save(path) != 0)
			exit(2);
		use_well();
		mems_finish();
	}
	close(file);
	unlink(path);
}

static char read_after_free(void)
{
	void *const block = block_with(SIZE);
	volatile char *const address = physical(block);
	mems_free(block);
	puts("reading a block that was freed");
	return address[SIZE / 2];
}

static char write_after_free(void)
{
	void *const block = block_with(SIZE);
	void *const other = block_with(SIZE);
	volatile char *const address = physical(block);
	mems_free(block);
	puts("writing to a block that was freed");
	address[0] = 'x';
	mems_free(other);
	return 0;
}

static char read_after_shrinking(void)
{
	void *const block = block_with(10 * SIZE);
	volatile char *const address = physical(block);
	mems_realloc(block, SIZE);
	puts("reading what was cut off");
	return address[SIZE];
}

static char read_after_moving(void)
{
	void *const block = block_with(SIZE);
	void *const other = block_with(SIZE);
	volatile char *const address = physical(block);
	mems_realloc(block, 10 * SIZE);
	mems_free(other);
	puts("reading where a block was before it moved");
	return address[0];
}

static char read_beyond(void)
{
	volatile char *const address = physical(block_with(SIZE));
	puts("reading beyond a block");
	return address[SIZE];
}

/* No block has ever been in the end of the last page. */
static char read_never_given(void)
{
	const size_t size = 16 * (size_t)LARGE + SIZE;
	volatile char *const address = physical(block_with(size));
	puts("reading what was never given out");
	return address[size];
}

static char none(void)
{
	return 0;
}

/* Other memory may come to be where the heap was. */
static void map_at(void *address)
{
	const int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE;
	char *const memory = mmap(address, 4096, PROT_READ | PROT_WRITE, flags, -1, 0);
	if (memory == MAP_FAILED)
		exit(2);
	for (size_t i = 0; i < 4096; i++)
		((volatile char *)memory)[i] = 'x';
	munmap(memory, 4096);
}

int main(int argc, char **argv)
{
	static const struct {
		const char *name;
		char (*use)(void);
	} uses[] = {
		{ "none", none },
		{ "read-after-free", read_after_free },
		{ "write-after-free", write_after_free },
		{ "read-after-shrinking", read_after_shrinking },
		{ "read-after-moving", read_after_moving },
		{ "read-beyond", read_beyond },
		{ "read-never-given", read_never_given },
	};
	if (argc == 2 && strcmp(argv[1], "valgrind") == 0)
		return CAN_TELL_VALGRIND ? 0 : 1;
	if (argc != 3)
		return 2;
	mems_option(MEMS_POLICY, strcmp(argv[1], "quick_fit") == 0 ? MEMS_QUICK_FIT : MEMS_FIRST_FIT);
	setvbuf(stdout, NULL, _IOLBF, 0);
	for (size_t i = 0; i < sizeof(uses) / sizeof(uses[0]); i++) {
		if (strcmp(uses[i].name, argv[2]) != 0)
			continue;
		mems_init();
		void *const first = block_with(SIZE);
		use_well();
		const char found = uses[i].use();
		void *const page = mems_get(first);
		mems_finish();
		map_at(page);
		mems_init();
		use_well();
		save_well();
		printf("not caught %d\n", found != 0);
		return 0;
	}
	return 2;
}
