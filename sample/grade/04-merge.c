/* A freed block merges with the HOLE on its right, on its left, and on both sides. */
#include "grade.h"

int main(void)
{
	void *a[6];

	begin();
	for (int i = 0; i < 6; i++)
		a[i] = block(600);
	mems_free(a[5]);
	show("right");
	mems_free(a[1]);
	mems_free(a[2]);
	show("left");
	mems_free(a[4]);
	mems_free(a[3]);
	show("both");
	mems_free(a[0]);
	show("all");
	mems_finish();
	return 0;
}
