/* Free ranges of addresses in chunks. See ranges.h. */
#include "ranges.h"

#include <stdlib.h>
#include <string.h>

void *room_or_abort(void *old, size_t size)
{
	void *room = realloc(old, size);

	if (room == NULL)
		abort();
	return room;
}

size_t sorted_before(const uintptr_t *sorted, size_t count, uintptr_t address)
{
	size_t low = 0, high = count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (sorted[middle] < address)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

/* As sorted_before: how many chunks begin before an address. */
static size_t chunks_before(const struct ranges *list, uintptr_t address)
{
	size_t low = 0, high = list->chunk_count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (list->chunks[middle].first < address)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

struct place ranges_at(const struct ranges *list, uintptr_t address)
{
	size_t chunks = chunks_before(list, address), index;
	const struct summary *last;

	if (chunks == 0)
		return (struct place){0, 0};
	last = &list->chunks[chunks - 1];
	index = sorted_before(last->chunk->starts, last->count, address);
	return index < last->count ? (struct place){chunks - 1, index} : (struct place){chunks, 0};
}

struct place ranges_before(const struct ranges *list, struct place place)
{
	if (place.index > 0)
		return (struct place){place.chunk, place.index - 1};
	return (struct place){place.chunk - 1, list->chunks[place.chunk - 1].count - 1};
}

size_t ranges_rank(const struct ranges *list, struct place place)
{
	size_t rank = place.index;

	for (size_t i = 0; i < place.chunk; i++)
		rank += list->chunks[i].count;
	return rank;
}

size_t ranges_largest(const struct ranges *list)
{
	size_t largest = 0;

	for (size_t i = 0; i < list->chunk_count; i++)
		if (list->chunks[i].largest > largest)
			largest = list->chunks[i].largest;
	return largest;
}

static void summary_measure(struct summary *summary)
{
	size_t largest = 0;

	for (size_t i = 0; i < summary->count; i++)
		if (summary->chunk->sizes[i] > largest)
			largest = summary->chunk->sizes[i];
	summary->largest = largest;
	summary->first = summary->chunk->starts[0];
}

void ranges_set(struct ranges *list, struct place place, uintptr_t start, size_t size)
{
	struct summary *summary = &list->chunks[place.chunk];
	size_t was = *ranges_size(list, place);

	*ranges_start(list, place) = start;
	*ranges_size(list, place) = size;
	if (size >= summary->largest)
		summary->largest = size;
	else if (was == summary->largest)
		summary_measure(summary);
	summary->first = summary->chunk->starts[0];
}

/* Makes room for a chunk at an index. */
static void chunk_add(struct ranges *list, size_t index)
{
	if (list->chunk_count == list->chunk_room) {
		list->chunk_room = 2 * list->chunk_room + 8;
		list->chunks = room_or_abort(list->chunks, list->chunk_room * sizeof *list->chunks);
	}
	memmove(&list->chunks[index + 1], &list->chunks[index],
	        (list->chunk_count - index) * sizeof *list->chunks);
	list->chunks[index] = (struct summary){.chunk = room_or_abort(NULL, sizeof(struct chunk))};
	list->chunk_count++;
}

/* Moves the upper half of a chunk into a new one behind it. */
static void chunk_split(struct ranges *list, size_t index)
{
	enum { HALF = CHUNK_MOST / 2 };
	struct summary *lower, *upper;

	chunk_add(list, index + 1);
	lower = &list->chunks[index];
	upper = &list->chunks[index + 1];
	memcpy(upper->chunk->starts, &lower->chunk->starts[HALF], HALF * sizeof(uintptr_t));
	memcpy(upper->chunk->sizes, &lower->chunk->sizes[HALF], HALF * sizeof(size_t));
	lower->count = upper->count = HALF;
	summary_measure(lower);
	summary_measure(upper);
}

/* The room for a new range before a place: in the chunk there, or at the end of the one before. */
static struct place room_before(struct ranges *list, struct place place)
{
	if (list->chunk_count == 0)
		chunk_add(list, 0);
	if (place.index == 0 && place.chunk > 0)
		place = (struct place){place.chunk - 1, list->chunks[place.chunk - 1].count};
	if (list->chunks[place.chunk].count < CHUNK_MOST)
		return place;
	chunk_split(list, place.chunk);
	if (place.index > CHUNK_MOST / 2)
		place = (struct place){place.chunk + 1, place.index - CHUNK_MOST / 2};
	return place;
}

void ranges_add(struct ranges *list, struct place place, uintptr_t start, size_t size)
{
	struct place room = room_before(list, place);
	struct summary *summary = &list->chunks[room.chunk];
	size_t behind = summary->count - room.index;

	memmove(ranges_start(list, room) + 1, ranges_start(list, room), behind * sizeof(uintptr_t));
	memmove(ranges_size(list, room) + 1, ranges_size(list, room), behind * sizeof(size_t));
	*ranges_size(list, room) = 0;
	summary->count++;
	list->count++;
	ranges_set(list, room, start, size);
}

void ranges_remove(struct ranges *list, struct place place)
{
	struct summary *summary = &list->chunks[place.chunk];
	size_t behind = --summary->count - place.index, was = *ranges_size(list, place);

	list->count--;
	if (summary->count == 0) {
		free(summary->chunk);
		list->chunk_count--;
		memmove(summary, summary + 1, (list->chunk_count - place.chunk) * sizeof *summary);
		return;
	}
	memmove(ranges_start(list, place), ranges_start(list, place) + 1, behind * sizeof(uintptr_t));
	memmove(ranges_size(list, place), ranges_size(list, place) + 1, behind * sizeof(size_t));
	summary->first = summary->chunk->starts[0];
	if (was == summary->largest)
		summary_measure(summary);
}

void ranges_release(struct ranges *list)
{
	for (size_t i = 0; i < list->chunk_count; i++)
		free(list->chunks[i].chunk);
	free(list->chunks);
}
