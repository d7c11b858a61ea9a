/* Hundreds of calls, as if at random. */
#include "grade.h"

int main(void)
{
	void *live[40] = {NULL};
	unsigned random = 1;

	begin();
	for (int i = 1; i <= 600; i++) {
		random = random * 1103515245u + 12345u;
		void **place = &live[random / 65536 % 40];

		if (*place != NULL) {
			mems_free(*place);
			*place = NULL;
		} else {
			*place = block(8 + random / 1024 % 128 * 8);
		}
		if (i % 60 == 0)
			show("after sixty calls more");
	}
	mems_finish();
	return 0;
}
