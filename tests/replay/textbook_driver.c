/*
 * Makes calls on the textbook heap, and prints what came of each. Calls textbook; called by
 * browser/engine.js, which compares the heap of the page with it.
 *
 * Standard input: "h POLICY ALIGNMENT START PAGE LIMIT" starts a heap; then a call a line as in a
 * trace, with ids below BLOCKS. Standard output: for each call the address that it gave (0: none),
 * the HOLEs that it looked at, and the chains.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "textbook.h"

enum { BLOCKS = 100000 };

static uintptr_t addresses[BLOCKS];

static int segment_print(const struct mems_segment *segment, void *context)
{
	(void)context;
	printf(" %s%c%" PRIuPTR "-%" PRIuPTR, segment->start == segment->node_start ? "N " : "",
	       segment->type == MEMS_PROCESS ? 'P' : 'H', segment->start, segment->end);
	return 0;
}

static enum textbook_policy policy_find(const char *name)
{
	for (int i = 0; i < TEXTBOOK_POLICIES; i++)
		if (strcmp(name, textbook_policy_names[i]) == 0)
			return (enum textbook_policy)i;
	fprintf(stderr, "textbook_driver: unknown policy: %s\n", name);
	exit(EXIT_FAILURE);
}

static struct textbook *heap_start(struct textbook *heap, const char *line)
{
	struct textbook_options options = {.alignment = 8};
	char policy[20];

	/* NOLINTNEXTLINE(cert-err34-c): what is too large is refused below */
	if (sscanf(line, "h %19s %zu %zu %zu %zu", policy, &options.alignment, &options.start,
	           &options.page_size, &options.limit) != 5) {
		fprintf(stderr, "textbook_driver: %s", line);
		exit(EXIT_FAILURE);
	}
	options.policy = policy_find(policy);
	if (heap != NULL)
		textbook_finish(heap);
	memset(addresses, 0, sizeof addresses);
	return textbook_start(&options);
}

/* Makes a call: what it gave, or freed. Nothing is done to a block that could not be had. */
static uintptr_t call_make(struct textbook *heap, const char *line)
{
	char kind;
	size_t id = 0, size = 0, alignment = 0;
	uintptr_t *address, result;

	/* NOLINTNEXTLINE(cert-err34-c): what is too large is refused below */
	if (sscanf(line, "%c %zu %zu %zu", &kind, &id, &size, &alignment) < 2 || id >= BLOCKS)
		return 0;
	address = &addresses[id];
	result = *address;
	if ((kind == 'r' || kind == 'f') && result == 0)
		return 0;
	switch (kind) {
	case 'm': return *address = textbook_aligned_alloc(heap, alignment, size);
	case 'f': textbook_free(heap, result); *address = 0; return result;
	case 'r': result = textbook_realloc(heap, result, size); break;
	default: result = textbook_malloc(heap, size); break;
	}
	if (result != 0)
		*address = result;
	return result;
}

int main(void)
{
	struct textbook *heap = NULL;
	char line[200];

	while (fgets(line, sizeof line, stdin) != NULL) {
		uintptr_t result;

		if (line[0] == 'h') {
			heap = heap_start(heap, line);
			continue;
		}
		if (heap == NULL)
			return EXIT_FAILURE;
		heap->looked = 0;
		result = call_make(heap, line);
		printf("%" PRIuPTR " %zu", result, heap->looked);
		textbook_walk(heap, segment_print, NULL);
		putchar('\n');
	}
	if (heap != NULL)
		textbook_finish(heap);
	return EXIT_SUCCESS;
}
