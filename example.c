/* Ten arrays on a heap that can be seen. Build and run: make && ./example */
#include <stdint.h>
#include <stdio.h>

#include "mems.h"

enum { ARRAYS = 10, INTS = 250 };

int main(void)
{
	int *array[ARRAYS];

	mems_init();

	/* mems_malloc returns a virtual address: the name of a block, not yet a place to write to. */
	for (int i = 0; i < ARRAYS; i++) {
		array[i] = mems_malloc(INTS * sizeof(int));
		if (array[i] == NULL) {
			perror("mems_malloc");
			return 1;
		}
		printf("array %d: virtual address %d\n", i, (int)(intptr_t)array[i]);
	}

	/* mems_get turns any address in a block into a physical one, an ordinary pointer. So what is
	 * written through element 1 is there again as [1] of what element 0 leads to. */
	int *element_1 = mems_get(&array[0][1]);
	*element_1 = 200;
	int *element_0 = mems_get(&array[0][0]);
	printf("array 0, element 1: %d\n", element_0[1]);

	/* Three main nodes of one page each, tiled by segments: PROCESS is in use, HOLE is free. */
	printf("\nThe chains:\n");
	mems_print_stats();

	/* The freed block becomes a HOLE, and merges with the HOLE on its right. */
	mems_free(array[3]);
	printf("\nArray 3 is freed:\n");
	mems_print_stats();

	/* The lowest HOLE that is large enough is the one that array 3 left. */
	array[3] = mems_malloc(INTS * sizeof(int));
	printf("\nArray 3 is allocated again:\n");
	mems_print_stats();

	mems_finish(); /* returns all memory to the system */
	return 0;
}
