/* A large block has pages of its own, as many as it needs. */
#include "grade.h"

int main(void)
{
	begin();
	void *a = block(1000);
	void *b = block(3 * 4096);
	void *c = block(2 * 4096 + 8);
	show("1, 3 and 3 pages");
	mems_free(b);
	block(5000);
	show("a HOLE of 3 pages is used first");
	mems_free(a);
	mems_free(c);
	show("nodes stay");
	mems_finish();
	return 0;
}
