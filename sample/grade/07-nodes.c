/* HOLEs of two main nodes never merge, though their addresses follow one another. */
#include "grade.h"

int main(void)
{
	void *a[3];

	begin();
	for (int i = 0; i < 3; i++)
		a[i] = block(4096);
	show("three full nodes");
	mems_free(a[1]);
	mems_free(a[0]);
	mems_free(a[2]);
	show("three HOLEs");
	block(4104);
	show("none is large enough");
	mems_finish();
	return 0;
}
