/*
 * Turns a trace into one HTML page that plays it. See timeline.h.
 *
 * The page (timeline.html, which is built in) holds the history as JSON. A step is the state of the
 * heap after one call; a short trace has them all, a long one a sample: runs of RUN_STEPS
 * consecutive calls, so that single calls can be watched, at even distances, so that the whole is
 * covered, and the first, the last and the fullest state.
 *
 * Each step is stored as its difference from the one before: which segments begin where none did,
 * or are others now, and which begin no more. To know these, a copy of the chains is kept here: a
 * table of segments by their start. After each call only the neighbourhood of what it touched is
 * compared with the heap, through mems_segment_at.
 *
 * A difference is a text of numbers, each in digits of base 64, five bits a digit, the low ones
 * first, the sixth bit set on all digits but the last. For each change, in ascending order:
 *
 *   distance * CODES + code   distance: from the start of the change before (the heap's start, for
 *                             the first) in units of the alignment
 *   nothing more              for GONE: no segment starts here any longer
 *   age, block                for a HOLE: how many calls ago it was made, the block of that call
 *   age, block, slack         for a PROCESS: slack is its size less the size asked for
 *   log2(alignment)           and this too where mems_aligned_alloc gave it
 */
#include "timeline.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "progress.h"
#include "replay.h"
#include "timeline_page.h"

enum {
	STEPS_MAX = 2000,
	RUN_STEPS = 4,
	RUNS = (STEPS_MAX - 3) / RUN_STEPS,
};

/* What a segment is, and which call made it. */
enum code {
	GONE,
	PROCESS_MALLOC, PROCESS_CALLOC, PROCESS_ALIGNED, PROCESS_REALLOC,
	HOLE_MALLOC, HOLE_CALLOC, HOLE_ALIGNED, HOLE_REALLOC, HOLE_FREE,
	CODES
};

/* One segment of the copy. Kept after it is gone until the next step is written. */
struct entry {
	uintptr_t start, end;
	enum code code;
	uint32_t block;      /* of the call that made it */
	size_t call;         /* that made it, from 1 */
	size_t slack;        /* bytes of a PROCESS that were not asked for */
	unsigned alignment;  /* its logarithm, for PROCESS_ALIGNED */
	bool was_there;      /* a segment started here at the last step */
	bool is_changed;     /* since then, and so listed */
	size_t next;         /* in its slot of the table, or among the unused; NONE at the end */
};

#define NONE SIZE_MAX

struct history {
	FILE *out;
	const struct timeline *timeline;
	struct replay replay;
	size_t call;           /* made so far */
	size_t steps;          /* written so far */
	uintptr_t start;       /* of the heap */
	size_t alignment;      /* bytes, of segments */
	uintptr_t end;         /* the last address of the copy; start - 1 while it is empty */
	uintptr_t nodes_end;   /* the last address of the main nodes that were written */
	/* The copy. */
	struct entry *entries;
	size_t entry_slots, entry_count, unused;
	size_t *table;         /* indices of entries; a power of two of them */
	size_t table_slots;
	uintptr_t *changed;    /* starts of entries */
	size_t changed_slots, changed_count;
	bool is_out_of_memory;
};

/* ---- The copy of the chains ------------------------------------------------------------------ */

static size_t *table_slot(const struct history *history, uintptr_t start)
{
	uint64_t mixed = (uint64_t)start * UINT64_C(0x9E3779B97F4A7C15);

	return &history->table[(size_t)(mixed >> 32) & (history->table_slots - 1)];
}

/* The entry of a start, GONE or not; NULL where there is none. */
static struct entry *entry_at(const struct history *history, uintptr_t start)
{
	if (history->table_slots == 0)
		return NULL;
	for (size_t i = *table_slot(history, start); i != NONE; i = history->entries[i].next)
		if (history->entries[i].start == start)
			return &history->entries[i];
	return NULL;
}

/* The same, but only for a segment that is there. */
static struct entry *segment_entry(const struct history *history, uintptr_t start)
{
	struct entry *entry = entry_at(history, start);

	return entry != NULL && entry->code != GONE ? entry : NULL;
}

/* Grows an array to hold one more: false without memory. */
static bool array_grow(struct history *history, void *array_of, size_t *slots, size_t item_bytes)
{
	void **array = array_of;
	size_t more = *slots * 2 + 64;
	void *grown = realloc(*array, more * item_bytes);

	if (grown == NULL) {
		history->is_out_of_memory = true;
		return false;
	}
	*array = grown;
	*slots = more;
	return true;
}

/* Doubles the table: false without memory. */
static bool table_grow(struct history *history)
{
	size_t slots = history->table_slots == 0 ? 1024 : history->table_slots * 2;
	size_t *table = malloc(slots * sizeof *table);

	if (table == NULL) {
		history->is_out_of_memory = true;
		return false;
	}
	free(history->table);
	history->table = table;
	history->table_slots = slots;
	for (size_t i = 0; i < slots; i++)
		table[i] = NONE;
	for (size_t i = 0; i < history->entry_count; i++) {
		struct entry *entry = &history->entries[i];
		size_t *slot = table_slot(history, entry->start);

		entry->next = *slot;
		*slot = i;
	}
	return true;
}

/* Takes an unused entry, or a new one: its index, or NONE without memory. */
static size_t entry_take(struct history *history)
{
	size_t index = history->unused;

	if (index != NONE) {
		history->unused = history->entries[index].next;
		return index;
	}
	if (history->entry_count == history->table_slots && !table_grow(history))
		return NONE;
	if (history->entry_count == history->entry_slots) {
		void *entries = history->entries;

		if (!array_grow(history, &entries, &history->entry_slots, sizeof(struct entry)))
			return NONE;
		history->entries = entries;
	}
	return history->entry_count++;
}

/* The entry of a start, made where there was none; NULL without memory. */
static struct entry *entry_make(struct history *history, uintptr_t start)
{
	struct entry *entry = entry_at(history, start);
	size_t index, *slot;

	if (entry != NULL)
		return entry;
	index = entry_take(history);
	if (index == NONE)
		return NULL;
	slot = table_slot(history, start);
	entry = &history->entries[index];
	*entry = (struct entry){.start = start, .code = GONE, .next = *slot};
	*slot = index;
	return entry;
}

/* Forgets a segment that is gone. */
static void entry_drop(struct history *history, struct entry *entry)
{
	size_t index = (size_t)(entry - history->entries);
	size_t *link = table_slot(history, entry->start);

	while (*link != index)
		link = &history->entries[*link].next;
	*link = entry->next;
	entry->next = history->unused;
	history->unused = index;
}

/* Lists an entry as changed since the last step. */
static void entry_change(struct history *history, struct entry *entry)
{
	if (entry->is_changed)
		return;
	if (history->changed_count == history->changed_slots) {
		void *changed = history->changed;

		if (!array_grow(history, &changed, &history->changed_slots, sizeof(uintptr_t)))
			return;
		history->changed = changed;
	}
	history->changed[history->changed_count++] = entry->start;
	entry->is_changed = true;
}

/* ---- Comparing the copy with the heap -------------------------------------------------------- */

static bool segment_find(const struct history *history, uintptr_t address,
                         struct mems_segment *segment)
{
	return history->replay.engine->segment_at((const void *)address, segment) == 0;
}

/* Did the last step's chains, as the copy has them, have a border before this address? */
static bool is_border(const struct history *history, uintptr_t address)
{
	return address > history->end || segment_entry(history, address) != NULL;
}

/* Finds the neighbourhood of an address: from its segment's left neighbour to its right one, and
 * further to where the copy has a border too. */
static bool region_find(const struct history *history, uintptr_t address, uintptr_t *from,
                        uintptr_t *to)
{
	struct mems_segment segment;

	if (!segment_find(history, address, &segment))
		return false;
	*from = segment.start;
	*to = segment.end;
	do {
		if (*from == history->start || !segment_find(history, *from - 1, &segment))
			break;
		*from = segment.start;
	} while (!is_border(history, *from));
	do {
		if (!segment_find(history, *to + 1, &segment))
			break;
		*to = segment.end;
	} while (!is_border(history, *to + 1));
	return true;
}

static enum code code_of(const struct trace_op *op, enum mems_segment_type type)
{
	static const char kinds[] = "acmrf";
	int kind = (int)(strchr(kinds, op->kind) - kinds);

	return (enum code)((type == MEMS_PROCESS ? PROCESS_MALLOC : HOLE_MALLOC) + kind);
}

static unsigned logarithm(size_t power_of_two)
{
	unsigned result = 0;

	while (power_of_two > 1) {
		power_of_two /= 2;
		result++;
	}
	return result;
}

/* Takes over a segment of the heap as it is now. is_result: the call gave it. */
static void entry_update(struct history *history, const struct trace_op *op,
                         const struct mems_segment *segment, bool is_result)
{
	struct entry *entry = entry_make(history, segment->start);

	if (entry == NULL)
		return;
	entry->end = segment->end;
	entry->code = code_of(op, segment->type);
	entry->block = op->block;
	entry->call = history->call;
	entry->slack = is_result ? segment->size - op->size : 0;
	entry->alignment = is_result ? logarithm(op->alignment) : 0;
	entry_change(history, entry);
}

/* Is the entry still this segment? */
static bool is_same(const struct entry *entry, const struct mems_segment *segment)
{
	enum mems_segment_type type = entry->code >= HOLE_MALLOC ? MEMS_HOLE : MEMS_PROCESS;

	return entry->end == segment->end && type == segment->type;
}

/* Makes the copy of [from, to] what the heap is. The borders are borders of both. */
static void region_update(struct history *history, const struct trace_op *op, uintptr_t result,
                          uintptr_t from, uintptr_t to)
{
	uintptr_t old = from; /* where the copy goes on */
	uintptr_t at = from;
	struct mems_segment segment;

	for (; at <= to && segment_find(history, at, &segment); at = segment.end + 1) {
		bool is_result = segment.start == result && op->kind != 'f';
		struct entry *entry;

		while (old < at && (entry = segment_entry(history, old)) != NULL) {
			old = entry->end + 1;
			entry->code = GONE;
			entry_change(history, entry);
		}
		entry = old == at ? segment_entry(history, at) : NULL;
		if (old == at) /* without an entry, the copy ends here */
			old = entry != NULL ? entry->end + 1 : UINTPTR_MAX;
		if (entry == NULL || is_result || !is_same(entry, &segment))
			entry_update(history, op, &segment, is_result);
	}
	while (old <= to && old <= history->end) {
		struct entry *entry = segment_entry(history, old);

		if (entry == NULL)
			break;
		old = entry->end + 1;
		entry->code = GONE;
		entry_change(history, entry);
	}
}

/* Compares the neighbourhood of an address that a call touched. */
static void address_update(struct history *history, const struct trace_op *op, uintptr_t result,
                           uintptr_t address)
{
	uintptr_t from, to;

	if (region_find(history, address, &from, &to))
		region_update(history, op, result, from, to);
}

/* Makes the copy what the heap is after a call. result: what it gave, or what was freed; before:
 * where the block was, or 0. */
static void chains_update(struct history *history, const struct trace_op *op, uintptr_t result,
                          uintptr_t before)
{
	struct mems_segment segment;
	uintptr_t top;

	address_update(history, op, result, result);
	if (before != 0 && before != result)
		address_update(history, op, result, before);
	for (top = history->end; segment_find(history, top + 1, &segment); top = segment.node_end)
		address_update(history, op, result, top + 1);
	history->end = top;
}

/* ---- Writing steps --------------------------------------------------------------------------- */

static void number_write(FILE *out, uint64_t number)
{
	static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+-";

	for (; number >= 32; number /= 32)
		putc(digits[32 + number % 32], out);
	putc(digits[number], out);
}

static int address_compare(const void *left, const void *right)
{
	uintptr_t a = *(const uintptr_t *)left, b = *(const uintptr_t *)right;

	return (a > b) - (a < b);
}

/* Writes one change. */
static void change_write(const struct history *history, const struct entry *entry,
                         uintptr_t *previous)
{
	uint64_t distance = (entry->start - *previous) / history->alignment;

	number_write(history->out, distance * CODES + (uint64_t)entry->code);
	*previous = entry->start;
	if (entry->code == GONE)
		return;
	number_write(history->out, history->call - entry->call);
	number_write(history->out, entry->block);
	if (entry->code < HOLE_MALLOC)
		number_write(history->out, entry->slack);
	if (entry->code == PROCESS_ALIGNED)
		number_write(history->out, entry->alignment);
}

/* Writes what has changed since the last step, and begins the next one. */
static void changes_write(struct history *history)
{
	uintptr_t previous = history->start;

	if (history->changed_count > 0)
		qsort(history->changed, history->changed_count, sizeof *history->changed,
		      address_compare);
	for (size_t i = 0; i < history->changed_count; i++) {
		struct entry *entry = entry_at(history, history->changed[i]);

		if (entry->code != GONE || entry->was_there)
			change_write(history, entry, &previous);
		entry->was_there = entry->code != GONE;
		entry->is_changed = false;
		if (entry->code == GONE)
			entry_drop(history, entry);
	}
	history->changed_count = 0;
}

/* Writes the main nodes that are new since the last step: last and physical address of each. */
static void nodes_write(struct history *history)
{
	struct mems_segment first;
	const char *separator = "";

	for (; segment_find(history, history->nodes_end + 1, &first);
	     history->nodes_end = first.node_end) {
		fprintf(history->out, "%s[%" PRIuPTR ",\"0x%" PRIxPTR "\"]", separator, first.node_end,
		        (uintptr_t)first.physical);
		separator = ",";
	}
}

/* What the tests of the page compare it with: the text of the chains, or for many segments a sum
 * over it (FNV-1a). */
enum { WALK_TEXT_MAX = 200 };

struct walk {
	FILE *out;
	bool is_text;
	uint32_t sum;
	size_t segments;
};

static int walk_visit(const struct mems_segment *segment, void *context)
{
	struct walk *walk = context;
	char text[100];
	int length = snprintf(text, sizeof text, "%s%c%" PRIuPTR "-%" PRIuPTR " ",
	                      segment->start == segment->node_start ? "N " : "",
	                      segment->type == MEMS_PROCESS ? 'P' : 'H', segment->start, segment->end);

	for (int i = 0; i < length; i++)
		walk->sum = (walk->sum ^ (unsigned char)text[i]) * UINT32_C(16777619);
	walk->segments++;
	if (walk->is_text)
		fputs(text, walk->out);
	return 0;
}

static void walk_write(const struct history *history, const struct mems_stats *stats)
{
	FILE *out = history->timeline->walks;
	size_t call = history->call;
	struct walk walk = {.out = out, .sum = UINT32_C(2166136261)};

	if (out == NULL)
		return;
	history->replay.engine->walk(walk_visit, &walk);
	fprintf(out, "{\"call\":%zu,\"segments\":%zu,\"sum\":%" PRIu32 ",\"process\":%zu,\"hole\":%zu,"
	        "\"largest\":%zu,\"mapped\":%zu,\"nodes\":%zu,\"text\":\"", call, walk.segments, walk.sum,
	        stats->process_bytes, stats->hole_bytes, stats->largest_hole, stats->mapped_bytes,
	        stats->main_nodes);
	walk.is_text = true;
	if (walk.segments <= WALK_TEXT_MAX)
		history->replay.engine->walk(walk_visit, &walk);
	fprintf(out, "\"}\n");
}

/* Writes the state after the last call as a step. op: that call, NULL for none. */
static void step_write(struct history *history, const struct trace_op *op, uintptr_t result)
{
	struct mems_stats stats;

	history->replay.engine->get_stats(&stats);
	fprintf(history->out, "%s\n[%zu,\"%c\",%zu,%zu,%zu,%" PRIuPTR ",%zu,%zu,\"",
	        history->steps == 0 ? "" : ",", history->call, op == NULL ? '-' : op->kind,
	        op == NULL ? 0 : (size_t)op->block, op == NULL ? 0 : op->size,
	        op == NULL ? 0 : op->alignment, result, stats.process_bytes, stats.hole_bytes);
	changes_write(history);
	fprintf(history->out, "\",[");
	nodes_write(history);
	fprintf(history->out, "]]");
	history->steps++;
	walk_write(history, &stats);
}

/* ---- Which states are steps ------------------------------------------------------------------ */

static bool is_sampled(const struct timeline *timeline)
{
	return timeline->trace->count + 1 > STEPS_MAX;
}

/* The first call of one of the runs of a sample. */
static size_t run_start(const struct timeline *timeline, size_t run)
{
	return 1 + (size_t)((uint64_t)(timeline->trace->count - RUN_STEPS) * run / (RUNS - 1));
}

/* Is the state after this call a step? run: the first run that does not end before it; calls are
 * asked for in ascending order. */
static bool is_step(const struct timeline *timeline, size_t call, size_t *run)
{
	if (!is_sampled(timeline) || call == timeline->trace->count || call == timeline->peak_call)
		return true;
	while (*run < RUNS && run_start(timeline, *run) + RUN_STEPS <= call)
		++*run;
	return *run < RUNS && call >= run_start(timeline, *run);
}

/* ---- The page -------------------------------------------------------------------------------- */

/* Writes a text as a JSON string that may stand in a script element. */
static void text_write(FILE *out, const char *text)
{
	putc('"', out);
	for (; *text != '\0'; text++) {
		unsigned char byte = (unsigned char)*text;

		if (byte < ' ' || strchr("\"\\<>&", byte) != NULL)
			fprintf(out, "\\u%04x", (unsigned)byte);
		else
			putc(byte, out);
	}
	putc('"', out);
}

/* The ids that the trace gives to its blocks; [] where they are their numbers. */
static void ids_write(FILE *out, const struct trace *trace)
{
	bool is_plain = true;

	for (size_t i = 0; i < trace->blocks; i++)
		is_plain = is_plain && trace->ids[i] == i;
	fprintf(out, "\"ids\":[");
	for (size_t i = 0; i < trace->blocks && !is_plain; i++)
		fprintf(out, "%s\"%" PRIu64 "\"", i == 0 ? "" : ",", trace->ids[i]);
	fprintf(out, "],\n");
}

static void head_write(struct history *history)
{
	const struct timeline *timeline = history->timeline;

	fprintf(history->out, "{\"name\":");
	text_write(history->out, timeline->name);
	fprintf(history->out, ",\"policy\":\"%s\",\"alignment\":%zu,\"start\":%zu,\"page\":%zu,\n",
	        textbook_policy_names[timeline->options.policy], timeline->options.alignment,
	        timeline->options.start, timeline->options.page_size);
	fprintf(history->out, "\"calls\":%zu,\"peak\":%zu,\"sampled\":%s,\n", timeline->trace->count,
	        timeline->peak_call, is_sampled(timeline) ? "true" : "false");
	ids_write(history->out, timeline->trace);
}

/* Replays the trace and writes its steps: 0, or -1. */
static int steps_write(struct history *history)
{
	const struct timeline *timeline = history->timeline;
	const struct trace *trace = timeline->trace;
	size_t run = 0;

	step_write(history, NULL, 0);
	for (size_t i = 0; i < trace->count; i++) {
		const struct trace_op *op = &trace->ops[i];
		uintptr_t before = (uintptr_t)replay_address(&history->replay, op->block);
		uintptr_t result = (uintptr_t)replay_op(&history->replay, op);

		if (result == 0)
			return -1;
		history->call++;
		chains_update(history, op, result, op->kind == 'r' ? before : 0);
		if (is_step(timeline, history->call, &run))
			step_write(history, op, result);
		if (history->is_out_of_memory) {
			fprintf(stderr, "%s: no memory for the history of the heap\n", timeline->name);
			return -1;
		}
		progress_show(i, trace->count);
	}
	return 0;
}

static void history_free(struct history *history)
{
	replay_free(&history->replay);
	free(history->entries);
	free(history->table);
	free(history->changed);
}

int timeline_write(FILE *out, const struct timeline *timeline)
{
	struct history history = {
		.out = out,
		.timeline = timeline,
		.replay = {.name = timeline->name, .engine = timeline->engine},
		.alignment = timeline->options.alignment,
		.start = timeline->options.start,
		.end = timeline->options.start - 1,
		.nodes_end = timeline->options.start - 1,
		.unused = NONE,
	};
	int result;

	fwrite(page_head, 1, sizeof page_head, out);
	head_write(&history);
	fprintf(out, "\"steps\":[");
	result = steps_write(&history);
	fprintf(out, "\n]}\n");
	fwrite(page_tail, 1, sizeof page_tail, out);
	history_free(&history);
	return result;
}
