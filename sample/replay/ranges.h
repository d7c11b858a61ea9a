/*
 * A list of free ranges by address, in arrays that are cut into chunks. Calls nothing; called by
 * placer.
 *
 * A chunk knows its largest range, so that a search can pass over it. The end of a list is a place,
 * too; a place is good until a range is added or removed.
 */
#ifndef RANGES_H
#define RANGES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { CHUNK_MOST = 128 };

/* Neighbours by address, at least one. */
struct chunk {
	uintptr_t starts[CHUNK_MOST];
	size_t sizes[CHUNK_MOST];
};

/* What a search wants to know of a chunk before it looks into it. */
struct summary {
	uintptr_t first; /* start */
	size_t count, largest;
	struct chunk *chunk;
};

/* All zero: an empty list. */
struct ranges {
	struct summary *chunks; /* by address */
	size_t chunk_count, chunk_room;
	size_t count; /* of ranges */
};

/* That of a range; the end of the list is the index 0 of the chunk behind the last. */
struct place {
	size_t chunk, index;
};

static inline bool ranges_is_end(const struct ranges *list, struct place place)
{
	return place.chunk == list->chunk_count;
}

static inline uintptr_t *ranges_start(const struct ranges *list, struct place place)
{
	return &list->chunks[place.chunk].chunk->starts[place.index];
}

static inline size_t *ranges_size(const struct ranges *list, struct place place)
{
	return &list->chunks[place.chunk].chunk->sizes[place.index];
}

/* The first range that starts at an address or behind it. */
struct place ranges_at(const struct ranges *list, uintptr_t address);

/* The range before a place, which is not the first. */
struct place ranges_before(const struct ranges *list, struct place place);

/* How many ranges lie before a place. */
size_t ranges_rank(const struct ranges *list, struct place place);

/* The size of the largest, 0 where there is none. */
size_t ranges_largest(const struct ranges *list);

/* Gives a range another start and size; it stays between its neighbours. */
void ranges_set(struct ranges *list, struct place place, uintptr_t start, size_t size);

/* Adds a range before a place. */
void ranges_add(struct ranges *list, struct place place, uintptr_t start, size_t size);

void ranges_remove(struct ranges *list, struct place place);

void ranges_release(struct ranges *list);

/* How many of these sorted addresses lie before one. */
size_t sorted_before(const uintptr_t *sorted, size_t count, uintptr_t address);

/* realloc, or the end of the program. */
void *room_or_abort(void *old, size_t size);

#endif
