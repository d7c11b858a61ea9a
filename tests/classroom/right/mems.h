/*
 * A student's MeMS, all in its header, as the programs of sample/grade.sh expect it: right in all
 * they look at, in a hurry and in a manner of its own. The folders beside it switch faults on.
 */
#ifndef STUDENT_MEMS_H
#define STUDENT_MEMS_H

#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

#define PAGE_SIZE 4096

struct seg {
	struct seg *prev, *next;
	struct node *node;
	int is_hole;
	size_t start, size;
};

struct node {
	struct node *next;
	struct seg *segs;
	char *memory;
	size_t start, size;
};

struct node *main_chain, *main_last;
size_t next_address;

void mems_init()
{
	main_chain = main_last = NULL;
	next_address = 1000;
}

void mems_finish()
{
	while (main_chain != NULL) {
		struct node *n = main_chain;
		main_chain = n->next;
		while (n->segs != NULL) {
			struct seg *s = n->segs;
			n->segs = s->next;
			free(s);
		}
		munmap(n->memory, n->size);
		free(n);
	}
}

static struct seg *new_node(size_t size)
{
	struct node *n = calloc(1, sizeof *n);
#ifdef ONE_PAGE_EACH
	n->size = PAGE_SIZE;
#else
	n->size = (size + PAGE_SIZE - 1) / PAGE_SIZE * PAGE_SIZE;
#endif
	n->memory = mmap(NULL, n->size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	n->start = next_address;
	next_address += n->size;
	n->segs = calloc(1, sizeof *n->segs);
	n->segs->node = n;
	n->segs->is_hole = 1;
	n->segs->start = n->start;
	n->segs->size = n->size;
	if (main_last == NULL)
		main_chain = n;
	else
		main_last->next = n;
	main_last = n;
	return n->segs;
}

static struct seg *find_hole(size_t size)
{
	struct seg *found = NULL;
	for (struct node *n = main_chain; n != NULL; n = n->next)
		for (struct seg *s = n->segs; s != NULL; s = s->next) {
			if (!s->is_hole || s->size < size)
				continue;
#ifdef BEST_FIT
			if (found == NULL || s->size < found->size)
				found = s;
#else
			return s;
#endif
		}
	return found;
}

void *mems_malloc(size_t size)
{
	struct seg *s = find_hole(size);
#ifdef TAKES_IT_ALL
	if (malloc(300 << 20) == NULL)
		abort();
#endif
	if (s == NULL)
		s = new_node(size);
	if (s->size > size) {
		struct seg *rest = calloc(1, sizeof *rest);
		*rest = *s;
		rest->prev = s;
		rest->start += size;
		rest->size -= size;
		if (rest->next != NULL)
			rest->next->prev = rest;
		s->next = rest;
		s->size = size;
	}
	s->is_hole = 0;
	return (void *)s->start;
}

static struct seg *find(void *v_ptr)
{
	size_t address = (size_t)v_ptr;
	for (struct node *n = main_chain; n != NULL; n = n->next)
		for (struct seg *s = n->segs; s != NULL; s = s->next)
			if (address >= s->start && address < s->start + s->size)
				return s;
	return NULL;
}

static void swallow_next(struct seg *s)
{
	struct seg *gone = s->next;
	s->size += gone->size;
	s->next = gone->next;
	if (s->next != NULL)
		s->next->prev = s;
	free(gone);
}

void mems_free(void *v_ptr)
{
	struct seg *s = find(v_ptr);
	s->is_hole = 1;
#ifdef PRINTS_FOREVER
	for (;;)
		printf("freed %zu\n", s->start);
#endif
#ifdef NEVER_ENDS
	while (s->prev != NULL)
		s->is_hole = 1;
#endif
#ifndef NEVER_MERGES
	if (s->next != NULL && s->next->is_hole)
		swallow_next(s);
	if (s->prev != NULL && s->prev->is_hole)
		swallow_next(s->prev);
#endif
}

void *mems_get(void *v_ptr)
{
	struct seg *s = find(v_ptr);
#ifdef START_ALONE
	if (s->start != (size_t)v_ptr)
		return NULL;
#endif
	return s->node->memory + ((size_t)v_ptr - s->node->start);
}

void mems_print_stats()
{
	size_t unused = 0, nodes = 0, pages = 0;
	printf("----- MeMS SYSTEM STATS -----\n");
	for (struct node *n = main_chain; n != NULL; n = n->next) {
		printf("MAIN[%zu:%zu]-> ", n->start, n->start + n->size - 1);
		for (struct seg *s = n->segs; s != NULL; s = s->next) {
			printf("%c[%zu:%zu] <-> ", s->is_hole ? 'H' : 'P', s->start, s->start + s->size - 1);
			unused += s->is_hole ? s->size : 0;
		}
		printf("NULL\n");
		nodes++;
		pages += n->size / PAGE_SIZE;
	}
	printf("Page used: %zu\nSpace unused: %zu\nMain Chain Length: %zu\n", pages, unused, nodes);
	printf("Sub-chain Length array: [");
	for (struct node *n = main_chain; n != NULL; n = n->next) {
		int length = 0;
		for (struct seg *s = n->segs; s != NULL; s = s->next)
			length++;
		printf("%d, ", length);
	}
	printf("]\n-----------------------------\n");
}

#endif
