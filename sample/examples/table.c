/*
 * examples/table.c: a hash table of words whose links are virtual addresses.
 *
 *     make build/default/sample/examples/table
 *     build/default/sample/examples/table README.md heap chain
 *
 *     build/default/sample/examples/table --save words.heap README.md
 *     build/default/sample/examples/table --load words.heap heap chain
 *
 * Counts the words of a text, and says of each word in the command line how often it stands there.
 * All that the table is hangs on one block, the root of the heap, and no link is a physical address:
 * so the heap can be saved, and is the same table wherever it is loaded.
 */
#include <ctype.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "mems.h"

/* The physical pointer behind a typed virtual one; NULL where no whole object lies in one block. */
#define AT(v_ptr) ((__typeof__(v_ptr))mems_get_range((v_ptr), sizeof *(v_ptr)))

enum { FIRST_BUCKETS = 16, WORD_BYTES = 64 };

struct entry {
	struct entry *next; /* virtual: the next one in the bucket */
	uint32_t hash;
	uint32_t count;
	char word[]; /* ends with a 0 */
};

struct bucket {
	struct entry *first; /* virtual; NULL where it is empty */
};

/* The root of the heap. */
struct table {
	struct bucket *buckets; /* virtual: the first of so many in one block */
	size_t bucket_count;    /* a power of two */
	size_t entry_count;
};

/* FNV-1a. */
static uint32_t hash_of(const char *word)
{
	uint32_t hash = 2166136261u;

	while (*word != '\0')
		hash = (hash ^ (unsigned char)*word++) * 16777619u;
	return hash;
}

/* Virtual, as is all that these functions take and return, but for words. NULL without memory. */
static struct table *table_new(void)
{
	struct table *table = mems_malloc(sizeof *table);
	struct bucket *buckets = mems_calloc(FIRST_BUCKETS, sizeof *buckets);

	if (table == NULL || buckets == NULL)
		return NULL;
	*AT(table) = (struct table){.buckets = buckets, .bucket_count = FIRST_BUCKETS};
	return mems_set_root(table) == 0 ? table : NULL;
}

static struct bucket *bucket_of(const struct table *table, uint32_t hash)
{
	return AT(table)->buckets + (hash & (AT(table)->bucket_count - 1));
}

/* NULL where the word is not in the table. */
static struct entry *table_find(const struct table *table, const char *word)
{
	uint32_t hash = hash_of(word);
	struct entry *entry = AT(bucket_of(table, hash))->first;

	while (entry != NULL && (AT(entry)->hash != hash || strcmp(AT(entry)->word, word) != 0))
		entry = AT(entry)->next;
	return entry;
}

static void entry_link(struct table *table, struct entry *entry)
{
	struct bucket *bucket = bucket_of(table, AT(entry)->hash);

	AT(entry)->next = AT(bucket)->first;
	AT(bucket)->first = entry;
}

/* Doubles the buckets. Entries stay where they are; without memory for more, all does. */
static void table_grow(struct table *table)
{
	struct bucket *old = AT(table)->buckets;
	size_t old_count = AT(table)->bucket_count;
	struct bucket *buckets = mems_calloc(2 * old_count, sizeof *buckets);

	if (buckets == NULL)
		return;
	AT(table)->buckets = buckets;
	AT(table)->bucket_count = 2 * old_count;
	for (size_t i = 0; i < old_count; i++)
		for (struct entry *entry = AT(old + i)->first, *next; entry != NULL; entry = next) {
			next = AT(entry)->next;
			entry_link(table, entry);
		}
	mems_free(old);
}

static bool table_count(struct table *table, const char *word)
{
	struct entry *entry = table_find(table, word);

	if (entry == NULL) {
		entry = mems_malloc(sizeof *entry + strlen(word) + 1);
		if (entry == NULL)
			return false;
		*AT(entry) = (struct entry){.hash = hash_of(word)};
		strcpy(AT(entry)->word, word); /* NOLINT(clang-analyzer-security.*): it fits */
		entry_link(table, entry);
		if (++AT(table)->entry_count > AT(table)->bucket_count)
			table_grow(table);
	}
	AT(entry)->count++;
	return true;
}

/* The next run of letters, in lower case; what is longer than WORD_BYTES - 1 is cut there. */
static bool word_read(FILE *in, char word[WORD_BYTES])
{
	size_t length = 0;
	int letter;

	while ((letter = getc(in)) != EOF && (isalpha(letter) || length == 0))
		if (isalpha(letter) && length < WORD_BYTES - 1)
			word[length++] = (char)tolower(letter);
	word[length] = '\0';
	return length > 0;
}

/* NULL with the reason in errno. */
static struct table *table_read(const char *path)
{
	struct table *table = table_new();
	FILE *in = table == NULL ? NULL : fopen(path, "r");
	char word[WORD_BYTES];
	bool is_good = in != NULL;

	while (is_good && word_read(in, word))
		is_good = table_count(table, word);
	is_good = is_good && !ferror(in);
	if (in != NULL)
		fclose(in);
	return is_good ? table : NULL;
}

/* Nothing is read but the pages that are looked at. NULL with the reason in errno. */
static struct table *table_load(const char *image)
{
	struct table *table = mems_load(image, MEMS_MAP) == 0 ? mems_root() : NULL;

	return table == NULL || AT(table) == NULL ? NULL : table;
}

static void table_print(const struct table *table, int count, char **words)
{
	printf("%zu different words\n", AT(table)->entry_count);
	for (int i = 0; i < count; i++) {
		const struct entry *entry = table_find(table, words[i]);

		printf("%s: %u\n", words[i], entry == NULL ? 0 : AT(entry)->count);
	}
}

int main(int count, char **arguments)
{
	bool is_loaded = count > 1 && strcmp(arguments[1], "--load") == 0;
	bool is_saved = count > 1 && strcmp(arguments[1], "--save") == 0;
	int file = is_loaded ? 2 : is_saved ? 3 : 1; /* in arguments, before the words */
	const struct table *table;

	if (count <= file) {
		fprintf(stderr, "usage: table [--save IMAGE] FILE [WORD]...\n"
		                "       table --load IMAGE [WORD]...\n");
		return 2;
	}
	if (!is_loaded)
		mems_init();
	table = is_loaded ? table_load(arguments[file]) : table_read(arguments[file]);
	if (table == NULL || (is_saved && mems_save(arguments[2]) != 0)) {
		perror(arguments[is_saved && table != NULL ? 2 : file]);
		return 1;
	}
	table_print(table, count - file - 1, arguments + file + 1);
	mems_finish();
	return 0;
}
