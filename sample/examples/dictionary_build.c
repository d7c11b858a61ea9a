/* Builds a dictionary of lines "WORD MEANING" from stdin, and saves it: dictionary_build FILE */
#include <stdio.h>

#include "mems.h"

struct entry { struct entry *next; char word[32], meaning[200]; }; /* next: a virtual address */

int main(int count, char **arguments)
{
	struct entry new = {0};
	mems_init();
	while (scanf("%31s %199[^\n]", new.word, new.meaning) == 2) {
		struct entry *entry = mems_malloc(sizeof new);
		if (mems_write(entry, &new, sizeof new) != 0)
			return 1;
		new.next = entry;
	}
	return count != 2 || mems_set_root(new.next) != 0 || mems_save(arguments[1]) != 0;
}
