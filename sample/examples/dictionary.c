/* Looks words up in an image that dictionary_build made. Nothing is read, parsed or linked first. */
#include <stdio.h>
#include <string.h>

#include "mems.h"

struct entry {
	struct entry *before, *after; /* virtual addresses */
	char word[32], meaning[200];
};

int main(int count, char **arguments)
{
	if (count < 3 || mems_load(arguments[1], MEMS_MAP) != 0) {
		perror("dictionary FILE WORD...");
		return 1;
	}
	for (int i = 2; i < count; i++) {
		const struct entry *entry = mems_get_range(mems_root(), sizeof *entry);
		while (entry != NULL && strcmp(arguments[i], entry->word) != 0)
			entry = mems_get_range(strcmp(arguments[i], entry->word) < 0 ? entry->before
			                                                            : entry->after,
			                       sizeof *entry);
		printf("%s: %s\n", arguments[i], entry == NULL ? "?" : entry->meaning);
	}
	mems_finish();
	return 0;
}
