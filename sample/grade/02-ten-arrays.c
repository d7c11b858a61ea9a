/* The example: ten arrays fill two pages and begin a third. */
#include "grade.h"

int main(void)
{
	int *array[10];

	begin();
	for (int i = 0; i < 10; i++)
		array[i] = block(250 * sizeof(int));
	show("ten arrays");
	mems_free(array[3]);
	show("array 3 is freed");
	array[3] = block(250 * sizeof(int));
	show("array 3 is there again");
	mems_finish();
	return 0;
}
