/* A HOLE is split: the low end is taken, the rest stays; what fits exactly leaves no rest. */
#include "grade.h"

int main(void)
{
	begin();
	void *a = block(1000);
	block(1000);
	mems_free(a);
	block(600);
	show("600 of 1000 bytes");
	block(400);
	show("the other 400");
	block(2096);
	show("a full page has no HOLE");
	mems_finish();
	return 0;
}
