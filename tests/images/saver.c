/*
 * tests/images/saver.c: saves and loads heaps, for test_images.sh.
 *
 *     saver save FILE NUMBER   a heap of some 3 MiB whose blocks are filled with the number
 *     saver loop FILE          the same for 1, 2, 3 and so on, until it is killed
 *     saver check FILE         loads it, looks at every byte, and prints the number
 *     saver bare FILE          mems_save without a heap
 *
 * Prints the error and exits with 1 where a call fails, with 2 where the heap is not what it was.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mems.h"

enum { BLOCKS = 300, BYTES = 10000 };

static uintptr_t blocks[BLOCKS];

static int heap_save(const char *path, unsigned number)
{
	for (size_t i = 0; i < BLOCKS && blocks[0] != 0; i++)
		memset(mems_get((void *)blocks[i]), (int)number, BYTES);
	mems_write((void *)blocks[0], &number, sizeof number);
	if (mems_save(path) == 0)
		return 0;
	perror("mems_save");
	return 1;
}

static int visit(const struct mems_segment *segment, void *context)
{
	const unsigned number = *(const unsigned *)context;
	const unsigned char *bytes = segment->physical;
	if (segment->type != MEMS_PROCESS)
		return 0;
	for (size_t i = 4; i < segment->size; i++)
		if (bytes[i] != (unsigned char)number)
			return 1;
	return 0;
}

static int heap_check(const char *path)
{
	if (mems_load(path, MEMS_MAP) != 0) {
		perror("mems_load");
		return 1;
	}
	mems_finish();
	if (mems_load(path, 0) != 0) {
		perror("mems_load");
		return 1;
	}
	unsigned number = 0;
	mems_read(&number, mems_root(), sizeof number);
	printf("%u\n", number);
	return mems_check(stderr) == 0 && mems_walk(visit, &number) == 0 ? 0 : 2;
}

static void heap_make(void)
{
	mems_init();
	for (size_t i = 0; i < BLOCKS; i++)
		blocks[i] = (uintptr_t)mems_malloc(BYTES);
	mems_set_root((void *)blocks[0]);
}

int main(int count, char **arguments)
{
	if (count < 3)
		return 2;
	if (strcmp(arguments[1], "check") == 0)
		return heap_check(arguments[2]);
	if (strcmp(arguments[1], "bare") != 0)
		heap_make();
	if (strcmp(arguments[1], "loop") != 0)
		return heap_save(arguments[2], (unsigned)strtoul(count > 3 ? arguments[3] : "0", NULL, 10));
	for (unsigned number = 1;; number++)
		if (heap_save(arguments[2], number) != 0)
			return 1;
}
