/*
 * examples/list.c: a sorted list whose links are virtual addresses.
 *
 *     make build/default/sample/examples/list && build/default/sample/examples/list 30 10 20
 *
 * Each number becomes a node, in its place by order. Then the multiples of 20 are taken out, and the
 * list and the chains are shown once more: the nodes that stay keep their addresses, and the links
 * are the same in every run, wherever the heap lies in memory.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "mems.h"

/* The physical pointer behind a typed virtual one; NULL where no whole object lies in one block. */
#define AT(v_ptr) ((__typeof__(v_ptr))mems_get_range((v_ptr), sizeof *(v_ptr)))

struct node {
	struct node *next; /* virtual */
	long number;
};

/* Before the first node whose number is not smaller. False where there is no memory. */
static int list_insert(struct node **first, long number)
{
	struct node *added = mems_malloc(sizeof *added);
	struct node *before = NULL;

	if (added == NULL)
		return 0;
	for (struct node *node = *first; node != NULL && AT(node)->number < number;
			node = AT(node)->next)
		before = node;
	*AT(added) = (struct node){
		.next = before == NULL ? *first : AT(before)->next, .number = number,
	};
	if (before == NULL)
		*first = added;
	else
		AT(before)->next = added;
	return 1;
}

static void list_remove_multiples(struct node **first, long divisor)
{
	struct node **link = first; /* physical: where the address of the next node is kept */

	while (*link != NULL) {
		struct node *node = *link;

		if (AT(node)->number % divisor != 0) {
			link = &AT(node)->next;
		} else {
			*link = AT(node)->next;
			mems_free(node);
		}
	}
}

static void list_print(const struct node *first)
{
	for (const struct node *node = first; node != NULL; node = AT(node)->next)
		printf("%ld at %d -> ", AT(node)->number, (int)(intptr_t)node);
	printf("NULL\n");
	mems_print_stats();
}

int main(int count, char **arguments)
{
	struct node *first = NULL;

	mems_init();
	for (int i = 1; i < count; i++)
		if (!list_insert(&first, strtol(arguments[i], NULL, 10))) {
			perror("list");
			return 1;
		}
	list_print(first);
	list_remove_multiples(&first, 20);
	list_print(first);
	mems_finish();
	return 0;
}
