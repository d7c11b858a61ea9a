/* A page is mapped, a block is taken from its low end, and given back. */
#include "grade.h"

int main(void)
{
	begin();
	show("empty");
	void *a = block(1000);
	show("one block");
	mems_free(a);
	show("freed: the whole page is a HOLE");
	mems_finish();
	return 0;
}
