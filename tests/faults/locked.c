/*
 * Locks all memory of the process, beside a heap (test_mlockall.sh):
 *
 *     locked BYTES       a heap of up to so many bytes is started before; 0 for any number
 *     locked before      the heap is started after, and what is to come is locked too
 *
 * Takes blocks and uses them then. Exits with 0 if all that could be done, else with 1 and says what
 * could not.
 */
#define _GNU_SOURCE

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "mems.h"

enum { BLOCKS = 100, BLOCK_BYTES = 1000 };

static int fail(const char *what)
{
	perror(what);
	return EXIT_FAILURE;
}

static int blocks_use(void)
{
	for (int i = 0; i < BLOCKS; i++) {
		void *block = mems_malloc(BLOCK_BYTES);

		if (block == NULL)
			return fail("mems_malloc");
		memset(mems_get(block), i, BLOCK_BYTES);
	}
	return mems_check(stderr) == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

int main(int argc, char **argv)
{
	if (argc != 2)
		return EXIT_FAILURE;
	if (strcmp(argv[1], "before") == 0) {
		if (mlockall(MCL_CURRENT | MCL_FUTURE) != 0)
			return fail("mlockall");
		mems_init();
		return blocks_use();
	}
	mems_option(MEMS_LIMIT, (size_t)strtoull(argv[1], NULL, 10));
	mems_init();
	if (mlockall(MCL_CURRENT) != 0)
		return fail("mlockall");
	return blocks_use();
}
