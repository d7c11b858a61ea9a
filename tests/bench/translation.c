/*
 * tests/bench/translation.c: what virtual addresses cost beside pointers to the same bytes. Called
 * by bench.c; MeMS alone.
 *
 *     get, inside BLOCKS    a byte at random starts, or interiors, of blocks of 16 to 1000 bytes
 *     read BLOCKS           8 bytes at random starts, copied by mems_read, or by memcpy
 *     array ELEMENTS        a walk over an array of 8-byte elements
 *     list NODES            a walk over a list whose nodes are blocks in random order
 *
 * Each figure is nanoseconds a step: first with pointers, best with virtual addresses; of both the
 * fastest pass.
 */
#include "bench.h"

#include <string.h>

#define LEAST_LOOKUPS ((size_t)65536)
#define SIZE_LEAST 16
#define SIZE_MOST 1000

struct lookups {
	size_t count;
	const void **addresses;  /* virtual */
	const char **references; /* the same bytes */
	void **blocks;
	size_t block_count;
};

/* The loops that are timed have it in registers, as a program would: a call might change what is
 * static, so that the translated way alone would read it anew at each step. */
static struct lookups lookups;

/* Both ways in turn, the fastest pass of each. */
static double passes_compare(struct job *job, double (*plain)(void), double (*translated)(void))
{
	double first = 0;
	double best = 0;

	for (unsigned pass = 0; pass < 2 * job->passes; pass++) {
		double of_plain = plain();
		double of_translated = translated();

		first = pass == 0 || of_plain < first ? of_plain : first;
		best = pass == 0 || of_translated < best ? of_translated : best;
	}
	row_print(job, job->work->name, lookups.count, first / (double)lookups.count,
		best / (double)lookups.count);
	return 0;
}

/* ---- Random bytes ---------------------------------------------------------------------------- */

static void blocks_take(struct job *job)
{
	uint64_t random = 1;

	heap_begin(job);
	lookups.blocks = job->table;
	lookups.block_count = job->number;
	for (size_t i = 0; i < job->number; i++) {
		size_t size = random_size(&random, SIZE_LEAST, SIZE_MOST);

		job->table[i] = mems_malloc(size);
		check_blocks(job->table[i] == NULL);
		memset(mems_get(job->table[i]), 1, size);
	}
}

/* Draws the addresses to look up. */
static void lookups_draw(bool is_inside)
{
	uint64_t random = 2;

	lookups.count = lookups.block_count < LEAST_LOOKUPS ? LEAST_LOOKUPS : lookups.block_count;
	lookups.addresses = pages_map(lookups.count * sizeof *lookups.addresses);
	lookups.references = pages_map(lookups.count * sizeof *lookups.references);
	for (size_t i = 0; i < lookups.count; i++) {
		const char *start = lookups.blocks[random_below(&random, lookups.block_count)];
		size_t size = mems_usable_size(start);

		lookups.addresses[i] = start + (is_inside ? random_below(&random, size) : 0);
		lookups.references[i] = mems_get(lookups.addresses[i]);
	}
}

/* What was added up has to be used, or nothing is added up. */
static void sum_use(uint64_t sum)
{
	volatile uint64_t keep = sum;

	(void)keep;
}

static double load_pass(void)
{
	const struct lookups local = lookups;
	uint64_t sum = 0;
	double start = now();

	for (size_t i = 0; i < local.count; i++)
		sum += *(const unsigned char *)local.references[i];
	sum_use(sum);
	return now() - start;
}

static double get_pass(void)
{
	const struct lookups local = lookups;
	uint64_t sum = 0;
	double start = now();

	for (size_t i = 0; i < local.count; i++)
		sum += *(const unsigned char *)mems_get(local.addresses[i]);
	sum_use(sum);
	return now() - start;
}

static double get(struct job *job)
{
	blocks_take(job);
	lookups_draw(false);
	return passes_compare(job, load_pass, get_pass);
}

static double inside(struct job *job)
{
	blocks_take(job);
	lookups_draw(true);
	return passes_compare(job, load_pass, get_pass);
}

static double copy_pass(void)
{
	const struct lookups local = lookups;
	uint64_t sum = 0;
	double start = now();

	for (size_t i = 0; i < local.count; i++) {
		uint64_t word;

		memcpy(&word, local.references[i], sizeof word);
		sum += word;
	}
	sum_use(sum);
	return now() - start;
}

static double read_pass(void)
{
	const struct lookups local = lookups;
	bool has_failed = false;
	uint64_t sum = 0;
	double start = now();

	for (size_t i = 0; i < local.count; i++) {
		uint64_t word = 0;

		has_failed |= mems_read(&word, local.addresses[i], sizeof word) != 0;
		sum += word;
	}
	sum_use(sum);
	check_blocks(has_failed);
	return now() - start;
}

static double read_words(struct job *job)
{
	blocks_take(job);
	lookups_draw(false);
	return passes_compare(job, copy_pass, read_pass);
}

/* ---- An array -------------------------------------------------------------------------------- */

static const uint64_t *array_virtual;

static double array_plain_pass(void)
{
	const uint64_t *array = mems_get(array_virtual);
	const size_t count = lookups.count;
	uint64_t sum = 0;
	double start = now();

	for (size_t i = 0; i < count; i++) {
		sum += array[i];
		__asm__ volatile("" : "+r"(sum)); /* an element at a time, as through mems_get */
	}
	sum_use(sum);
	return now() - start;
}

static double array_get_pass(void)
{
	const uint64_t *array = array_virtual;
	const size_t count = lookups.count;
	uint64_t sum = 0;
	double start = now();

	for (size_t i = 0; i < count; i++)
		sum += *(const uint64_t *)mems_get(array + i);
	sum_use(sum);
	return now() - start;
}

static double array(struct job *job)
{
	heap_begin(job);
	lookups.count = job->number;
	array_virtual = mems_calloc(job->number, sizeof *array_virtual);
	check_blocks(array_virtual == NULL);
	memset(mems_get(array_virtual), 1, job->number * sizeof *array_virtual);
	return passes_compare(job, array_plain_pass, array_get_pass);
}

/* ---- A list ---------------------------------------------------------------------------------- */

/* Both links go to the same node, so that both walks touch the same memory. */
struct node {
	void *next_virtual;
	struct node *next;
	uint64_t value;
};

static void *list_virtual; /* the first node */

/* Puts the blocks in random order, each once. */
static void blocks_shuffle(void **blocks, size_t count)
{
	uint64_t random = 3;

	for (size_t i = count; i > 1; i--) {
		size_t other = random_below(&random, i);
		void *block = blocks[i - 1];

		blocks[i - 1] = blocks[other];
		blocks[other] = block;
	}
}

static double list_plain_pass(void)
{
	uint64_t sum = 0;
	double start = now();

	for (const struct node *node = mems_get(list_virtual); node != NULL; node = node->next)
		sum += node->value;
	sum_use(sum);
	return now() - start;
}

static double list_get_pass(void)
{
	uint64_t sum = 0;
	double start = now();

	for (const void *at = list_virtual; at != NULL;) {
		const struct node *node = mems_get(at);

		sum += node->value;
		at = node->next_virtual;
	}
	sum_use(sum);
	return now() - start;
}

static double list(struct job *job)
{
	heap_begin(job);
	lookups.count = job->number;
	for (size_t i = 0; i < job->number; i++) {
		job->table[i] = mems_malloc(sizeof(struct node));
		check_blocks(job->table[i] == NULL);
	}
	blocks_shuffle(job->table, job->number);
	for (size_t i = 0; i < job->number; i++) {
		void *next = i + 1 < job->number ? job->table[i + 1] : NULL;

		*(struct node *)mems_get(job->table[i]) =
			(struct node){.next_virtual = next, .next = mems_get(next), .value = i};
	}
	list_virtual = job->table[0];
	return passes_compare(job, list_plain_pass, list_get_pass);
}

const struct work translation_works[] = {
	{"get", number_prepare, BY_MEMS(get), true, false},
	{"inside", number_prepare, BY_MEMS(inside), true, false},
	{"read", number_prepare, BY_MEMS(read_words), true, false},
	{"array", number_prepare, BY_MEMS(array), true, false},
	{"list", number_prepare, BY_MEMS(list), true, false},
	{NULL, NULL, {NULL, NULL, NULL}, false, false},
};
