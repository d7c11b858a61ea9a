/* The HOLE with the lowest address of all that are large enough. */
#include "grade.h"

int main(void)
{
	void *a[7];
	size_t size[7] = {400, 104, 800, 104, 200, 104, 600};

	begin();
	for (int i = 0; i < 7; i++)
		a[i] = block(size[i]);
	for (int i = 0; i < 7; i += 2)
		mems_free(a[i]);
	show("four HOLEs");
	block(200);
	block(600);
	block(200);
	show("three blocks");
	block(104);
	block(2000);
	show("and two more");
	mems_finish();
	return 0;
}
