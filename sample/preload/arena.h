/*
 * Turns static memory into blocks. Calls nothing; called by preload.
 *
 * This is a little memory for calls that come while the heap cannot be asked: from inside the heap
 * itself, from the handler of a signal that interrupted it, or while it is being described.
 *
 * It is static, takes no lock, and may be used by any thread and in any signal handler.
 */
#ifndef ARENA_H
#define ARENA_H

#include <stdbool.h>
#include <stddef.h>

/* A block aligned to alignment, a power of two up to 4096. NULL where there is no room, and for
 * more than 64 KiB. */
void *arena_take(size_t alignment, size_t size);

/* Gives a block back. False, with nothing done, where there is no live block of the arena. */
bool arena_free(void *block);

/* The size of a live block; 0 for all other memory. */
size_t arena_size(const void *block);

#endif
