/* Makes an image of a dictionary: lines "WORD MEANING" from stdin become a tree. */
#include <stdio.h>
#include <string.h>

#include "mems.h"

struct entry {
	struct entry *before, *after; /* virtual addresses */
	char word[32], meaning[200];
};

int main(int count, char **arguments)
{
	struct entry *root = NULL; /* virtual */
	struct entry new = {0};

	mems_init();
	while (count == 2 && scanf("%31s %199[^\n]", new.word, new.meaning) == 2) {
		struct entry **link = &root; /* physical: where the new entry's address goes */
		while (*link != NULL) {
			struct entry *entry = mems_get(*link);
			link = strcmp(new.word, entry->word) < 0 ? &entry->before : &entry->after;
		}
		*link = mems_malloc(sizeof new);
		if (mems_write(*link, &new, sizeof new) != 0)
			break;
	}
	if (count != 2 || mems_set_root(root) != 0 || mems_save(arguments[1]) != 0) {
		perror("dictionary_build FILE");
		return 1;
	}
	mems_finish();
	return 0;
}
