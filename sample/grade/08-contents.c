/* An address inside a block leads to the byte there, and blocks keep what is in them. */
#include "grade.h"

int main(void)
{
	int *array[8];
	long sum = 0;

	begin();
	for (int i = 0; i < 8; i++) {
		array[i] = block(250 * sizeof(int));
		for (int j = 0; j < 250; j++)
			*(int *)mems_get(&array[i][j]) = 1000 * i + j;
	}
	int *first = mems_get(array[2]);
	printf("= array 2: %d %d %d\n", first[0], first[1], first[249]);
	mems_free(array[1]);
	mems_free(array[6]);
	first = mems_get(block(400));
	for (int j = 0; j < 100; j++)
		first[j] = -1;
	for (int i = 0; i < 8; i++)
		for (int j = 0; j < 250 && i != 1 && i != 6; j++)
			sum += *(int *)mems_get(&array[i][j]);
	printf("= sum: %ld\n", sum);
	show("eight arrays, two of them freed");
	mems_finish();
	return 0;
}
