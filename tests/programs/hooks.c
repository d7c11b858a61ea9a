/*
 * A tracer, to be preloaded before sample/preload: it stands in the place of mmap and its kin, and
 * keeps notes there in memory from malloc. So its calls come from inside the heap when that asks
 * the system for pages. Each thread keeps its last few notes, which it resizes and frees later,
 * from wherever it is called then. A note that has changed ends the program.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { NOTES = 8, NOTE_BYTES = 100 };

struct note {
	unsigned char *bytes;
	size_t size;
	unsigned char mark;
};

static _Thread_local struct note notes[NOTES];
static _Thread_local unsigned count;
static _Thread_local bool is_busy; /* what is called from here is not noted */

static void stop(const char *why)
{
	size_t written = (size_t)write(STDERR_FILENO, why, strlen(why));

	(void)written;
	_exit(99);
}

static void note_verify(const struct note *note, size_t size)
{
	for (size_t i = 0; i < size; i++)
		if (note->bytes[i] != note->mark)
			stop("hooks: a note has changed\n");
}

static void note_free(struct note *note)
{
	if (note->bytes != NULL)
		note_verify(note, note->size);
	free(note->bytes);
	note->bytes = NULL;
}

/* There may be no memory for it. */
static void note_resize(struct note *note)
{
	size_t size = note->size * 3 / 2;
	unsigned char *bytes = realloc(note->bytes, size);

	if (bytes == NULL)
		return;
	note->bytes = bytes;
	note_verify(note, note->size);
	note->size = size;
	memset(bytes, note->mark, size);
}

static void note_take(struct note *note)
{
	void *bytes = NULL;

	note->size = NOTE_BYTES + count % 50;
	note->mark = (unsigned char)count;
	switch (count % 3) {
	case 0: bytes = malloc(note->size); break;
	case 1: bytes = calloc(1, note->size); break;
	default: (void)posix_memalign(&bytes, 64, note->size); break;
	}
	note->bytes = bytes;
	if (bytes == NULL)
		return;
	if (count % 3 == 1) {
		struct note zeroed = {.bytes = bytes};

		note_verify(&zeroed, note->size);
	}
	memset(bytes, note->mark, note->size);
}

static void note(void)
{
	if (is_busy)
		return;
	is_busy = true;
	count++;
	if (notes[count / 2 % NOTES].bytes != NULL)
		note_resize(&notes[count / 2 % NOTES]);
	note_free(&notes[count % NOTES]);
	note_take(&notes[count % NOTES]);
	is_busy = false;
}

/* ---- The functions of the system ------------------------------------------------------------- */

void *mmap(void *start, size_t size, int protection, int flags, int file, off_t offset)
{
	note();
	/* NOLINTNEXTLINE(performance-no-int-to-ptr): the system gives it as a number. */
	return (void *)syscall(SYS_mmap, start, size, protection, flags, file, offset);
}

int munmap(void *start, size_t size)
{
	note();
	return (int)syscall(SYS_munmap, start, size);
}

int mprotect(void *start, size_t size, int protection)
{
	note();
	return (int)syscall(SYS_mprotect, start, size, protection);
}

int madvise(void *start, size_t size, int advice)
{
	note();
	return (int)syscall(SYS_madvise, start, size, advice);
}
