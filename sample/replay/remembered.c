/* Follows what quick fit remembers. See remembered.h. */
#include "remembered.h"

#include "number.h"

enum {
	LARGE_GRANULES = 1024, /* of a block that may displace another one when it is freed */
	TOUCHED_MAX = 4,       /* HOLEs beside the block taken, and that of the block freed */
};

/* HOLEs that a call has changed, and the stretch of addresses where others were before. */
struct touched {
	struct mems_segment holes[TOUCHED_MAX];
	size_t count;
	bool is_known; /* had one of them remembered bytes, or has it now? */
};

static struct mems_segment segment_at(const struct remembered *remembered, uintptr_t address)
{
	struct mems_segment segment = {.type = MEMS_PROCESS};

	remembered->engine->segment_at((const void *)address, &segment);
	return segment;
}

/* Forgets what was noted of HOLEs that started in a stretch: was there any? */
static bool stretch_forget(struct remembered *remembered, uintptr_t from, uintptr_t to)
{
	struct ranges *holes = &remembered->holes;
	struct place place;
	bool is_any = false;

	for (place = ranges_at(holes, from);
	     !ranges_is_end(holes, place) && *ranges_start(holes, place) <= to;
	     place = ranges_at(holes, from)) {
		ranges_remove(holes, place);
		is_any = true;
	}
	return is_any;
}

static void hole_touch(struct remembered *remembered, struct touched *touched,
                       const struct mems_segment *hole)
{
	bool was_known = stretch_forget(remembered, hole->start, hole->end);

	for (size_t i = 0; i < touched->count; i++)
		if (touched->holes[i].start == hole->start)
			return;
	touched->is_known = touched->is_known || was_known || hole->remembered_bytes > 0;
	touched->holes[touched->count++] = *hole;
}

/* Touches the block that starts at an address, and the HOLEs beside it, or the HOLE there. */
static void place_touch(struct remembered *remembered, struct touched *touched, uintptr_t address)
{
	struct mems_segment at = segment_at(remembered, address), beside;

	if (at.type == MEMS_HOLE) {
		hole_touch(remembered, touched, &at);
		return;
	}
	if (stretch_forget(remembered, at.start, at.end))
		touched->is_known = true;
	if (at.start != at.node_start) {
		beside = segment_at(remembered, at.start - 1);
		if (beside.type == MEMS_HOLE)
			hole_touch(remembered, touched, &beside);
	}
	if (at.end != at.node_end) {
		beside = segment_at(remembered, at.end + 1);
		if (beside.type == MEMS_HOLE)
			hole_touch(remembered, touched, &beside);
	}
}

/* Has all that was remembered been merged? Then a HOLE that was not touched shows it. */
static bool is_flushed(const struct remembered *remembered, const struct change *change)
{
	const struct ranges *holes = &remembered->holes;
	struct place first = {0, 0};

	if (change->is_trim || ranges_is_end(holes, first))
		return change->is_trim;
	return segment_at(remembered, *ranges_start(holes, first)).remembered_bytes == 0;
}

static void hole_note(struct remembered *remembered, const struct mems_segment *hole)
{
	struct ranges *holes = &remembered->holes;

	if (hole->remembered_bytes > 0)
		ranges_add(holes, ranges_at(holes, hole->start), hole->start, hole->remembered_bytes);
}

static size_t hole_write(struct remembered *remembered, uintptr_t start, size_t bytes, FILE *out)
{
	size_t alignment = remembered->alignment;
	size_t written = distance_write(out, remembered->last / alignment, start / alignment) +
	                 number_write(out, bytes / alignment);

	remembered->last = start;
	return written;
}

/* Looks at all HOLEs that are not touched. Writes those that have changed to out, or only counts
 * them where that is NULL. */
static size_t displaced_find(struct remembered *remembered, FILE *out, size_t *written)
{
	struct ranges *holes = &remembered->holes;
	size_t count = 0;
	uintptr_t from = 0;

	for (struct place place; place = ranges_at(holes, from), !ranges_is_end(holes, place);) {
		uintptr_t start = *ranges_start(holes, place);
		size_t was = *ranges_size(holes, place);
		size_t now = segment_at(remembered, start).remembered_bytes;

		from = start + 1;
		if (now == was)
			continue;
		count++;
		if (out == NULL)
			continue;
		*written += hole_write(remembered, start, now, out);
		if (now > 0)
			ranges_set(holes, place, start, now);
		else
			ranges_remove(holes, place);
	}
	return count;
}

size_t remembered_write(struct remembered *remembered, const struct change *change, FILE *out)
{
	struct touched touched = {.count = 0};
	bool is_free_alone = change->freed != 0 && change->taken == 0;
	bool is_large = change->freed_bytes > LARGE_GRANULES * remembered->alignment, flushed;
	size_t displaced = 0, written = 0;

	if (change->taken != 0)
		place_touch(remembered, &touched, change->taken);
	if (change->freed != 0)
		place_touch(remembered, &touched, change->freed);
	flushed = !is_free_alone && !is_large && is_flushed(remembered, change);
	if (flushed)
		stretch_forget(remembered, 0, UINTPTR_MAX);
	if (is_large)
		displaced = displaced_find(remembered, NULL, &written);
	if (!touched.is_known)
		touched.count = 0;
	written = number_write(out, (displaced + touched.count) * 2 + flushed);
	if (displaced > 0)
		displaced_find(remembered, out, &written);
	for (size_t i = 0; i < touched.count; i++) {
		hole_note(remembered, &touched.holes[i]);
		written += hole_write(remembered, touched.holes[i].start, touched.holes[i].remembered_bytes,
		                      out);
	}
	return written;
}

void remembered_release(struct remembered *remembered)
{
	ranges_release(&remembered->holes);
}
