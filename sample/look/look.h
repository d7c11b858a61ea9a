/*
 * Opens the heap of a process that is gone: from a core dump, or from an image. Calls core, and is
 * made of mems.c itself, so that it knows the tables of the library; called by mems-look.
 *
 * What is found takes the place of this program's own heap, one at a time: the functions of mems.h
 * that look at a heap, look at that one then. They show the addresses that it had. Nothing in a
 * core dump is believed: what is needed to walk the chains is verified first.
 */
#ifndef LOOK_H
#define LOOK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core.h"
#include "mems.h"

enum { LOOK_FAULT_MAX = 300 };

/* A heap that is looked at. */
struct look {
	bool is_image;
	const char *no_history; /* why what it remembers of its calls cannot be shown, or NULL */
	struct core core;
	int file;
	int broken;       /* invariants that are */
	char *report;     /* what mems_check says, to be freed by look_close */
	size_t missing;   /* bytes of the tables that are not in the core dump */
	void *memory;     /* the tables of a heap from a core dump */
	size_t memory_bytes;
	char fault[LOOK_FAULT_MAX]; /* what is wrong, where it cannot be opened */
};

/* Opens a file. False where it cannot be: look->fault says why, and nothing is to be closed. */
bool look_open(struct look *look, const char *path);
void look_close(struct look *look);

/* Copies bytes of a PROCESS segment, whose physical address is as mems_walk shows it. Returns how
 * many of them are known; zeros take the place of the others. */
size_t look_contents(const struct look *look, const struct mems_segment *segment, size_t offset,
                     void *to, size_t size);

#endif
