/* Looks a word up in the dictionary that was saved. Nothing is parsed or linked: dictionary FILE WORD */
#include <stdio.h>
#include <string.h>

#include "mems.h"

struct entry { struct entry *next; char word[32], meaning[200]; };

int main(int count, char **arguments)
{
	if (count != 3 || mems_load(arguments[1], MEMS_MAP) != 0)
		return 1;
	const struct entry *entry = mems_get_range(mems_root(), sizeof *entry);
	while (entry != NULL && strcmp(entry->word, arguments[2]) != 0)
		entry = mems_get_range(entry->next, sizeof *entry);
	puts(entry != NULL ? entry->meaning : "?");
	return 0;
}
