/*
 * Turns a trace into one HTML page that plays it. See timeline.h.
 *
 * The page, in page/, is built in. It makes the calls of the trace anew on a heap of its own, in
 * JavaScript, so it needs no more than the calls and, where the library made them, the addresses
 * that they gave and the main nodes that came.
 *
 * The calls are a text of numbers, each in digits of base 64, five bits a digit, the low ones
 * first, the sixth bit set on all digits but the last. A signed number n is stored as 2n, or as
 * -2n - 1 where it is below 0. For each call:
 *
 *   block * KINDS + kind   kind: its place in "acmrfg". block: how many blocks back from the newest
 *                          one, 0 for that; for a, c and m one more, and 0 for a new block; 0 for g
 *   size                   bytes asked for; not for f and g
 *   log2(alignment)        for m alone
 *   signed distance        of the address from that of the last such call, or from the heap's start
 *                          for the first, in units of the alignment; not for f and g. A call that
 *                          gave NULL has a unit before the heap's start, and does not count as last
 *
 * Of the library's quick fit there is a second text, with what it remembers after each call
 * (remembered.h):
 *
 *   count * 2 + flush   count: of HOLEs that follow; flush: 1 where no other HOLE has any
 *   signed distance     for each of these: from the HOLE before to its start, in units of the
 *                       alignment; for the first ever, from the heap's start
 *   bytes               that are remembered, in the same units
 *
 * Labels are listed where they change: [the call from which on, the label or null]. Mistakes are
 * [the call after which, the function, the address].
 *
 * Where the ids of the trace are not the numbers of its blocks, they follow as such a text, each as
 * its signed distance from the id before plus 1.
 */
#define _POSIX_C_SOURCE 200809L

#include "timeline.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "name.h"
#include "number.h"
#include "progress.h"
#include "remembered.h"
#include "replay.h"
#include "timeline_page.h"

enum {
	CALLS_BYTES_MAX = 9000000, /* in the texts of calls, ids and main nodes */
	MISTAKES_MAX = 1000,       /* that the page has */
	WALKS_MAX = 500,           /* states that are written for the tests */
};

static const char kinds[] = "acmrfg";
enum { KINDS = sizeof kinds - 1 };

/* A text that is written in memory until its place in the page has come. */
struct part {
	FILE *out;
	char *text;
	size_t bytes;
};

struct history {
	FILE *out;
	const struct timeline *timeline;
	struct replay replay;
	struct part ids, nodes, labels, quick;
	struct remembered remembered;
	bool has_ids;        /* other than the numbers of the blocks */
	size_t calls;        /* written so far */
	size_t blocks;       /* that these were about */
	size_t bytes;        /* written so far, in all texts */
	uintptr_t last;      /* the address that the last call gave */
	uintptr_t nodes_end; /* the last address of the main nodes that were noted */
	const char *label;   /* of the last call that could have one; NULL for none */
};

/* ---- Texts ----------------------------------------------------------------------------------- */

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

/* ---- Calls ----------------------------------------------------------------------------------- */

static unsigned logarithm(size_t power_of_two)
{
	unsigned result = 0;

	while (power_of_two > 1) {
		power_of_two /= 2;
		result++;
	}
	return result;
}

/* Notes the id of a block that is new. */
static void id_note(struct history *history)
{
	const uint64_t *ids = history->timeline->trace->ids;
	size_t block = history->blocks++;

	history->has_ids = history->has_ids || ids[block] != block;
	history->bytes += distance_write(history->ids.out, block == 0 ? 0 : ids[block - 1] + 1,
	                                 ids[block]);
}

/* Writes which call this is, and of which block. */
static void head_write(struct history *history, const struct trace_op *op)
{
	uint64_t kind = (uint64_t)(strchr(kinds, op->kind) - kinds);
	uint64_t back = (uint64_t)history->blocks - op->block; /* 0 for a new block */

	if (op->kind == 'g')
		back = 0;
	else if (op->kind == 'r' || op->kind == 'f')
		back--;
	else if (back == 0)
		id_note(history);
	history->bytes += number_write(history->out, back * KINDS + kind);
}

static void call_write(struct history *history, const struct trace_op *op, uintptr_t result)
{
	size_t alignment = history->timeline->options.alignment;

	head_write(history, op);
	history->calls++;
	if (op->kind == 'f' || op->kind == 'g')
		return;
	history->bytes += number_write(history->out, op->size);
	if (op->kind == 'm')
		history->bytes += number_write(history->out, logarithm(op->alignment));
	if (result == 0) {
		history->bytes += distance_write(history->out, history->last / alignment,
		                                 history->timeline->options.start / alignment - 1);
		return;
	}
	history->bytes += distance_write(history->out, history->last / alignment, result / alignment);
	history->last = result;
}

static bool is_same_label(const char *one, const char *other)
{
	return one == NULL || other == NULL ? one == other : strcmp(one, other) == 0;
}

/* Notes the label of the last call where it is another one than before. */
static void label_note(struct history *history, const struct trace_op *op)
{
	FILE *out = history->labels.out;
	char *shown;

	if (strchr("acm", op->kind) == NULL || is_same_label(op->label, history->label))
		return;
	history->label = op->label;
	shown = op->label == NULL ? NULL : name_shown(op->label);
	fprintf(out, "%s[%zu,", ftell(out) == 0 ? "" : ",", history->calls);
	if (shown == NULL)
		fputs("null", out);
	else
		text_write(out, shown);
	putc(']', out);
	history->bytes += 16 + (shown == NULL ? 0 : strlen(shown));
	free(shown);
}

/* Notes the main nodes that the last call brought. */
static void nodes_note(struct history *history)
{
	const struct timeline *timeline = history->timeline;
	struct mems_segment first;

	while (timeline->engine->segment_at((const void *)(history->nodes_end + 1), &first) == 0) {
		size_t pages = (first.node_end - first.node_start + 1) / timeline->options.page_size;

		history->bytes += (size_t)fprintf(history->nodes.out, "%s[%zu,%zu,\"0x%" PRIxPTR "\"]",
		                                  first.node == 0 ? "" : ",", history->calls, pages,
		                                  (uintptr_t)first.physical);
		history->nodes_end = first.node_end;
	}
}

static bool has_remembered(const struct history *history)
{
	const struct timeline *timeline = history->timeline;

	return timeline->engine->has_memory && timeline->options.policy == QUICK_FIT;
}

/* The block that a call is about, as it is before it: nothing for a new one. */
static struct mems_segment block_before(const struct history *history, const struct trace_op *op)
{
	const struct replay *replay = &history->replay;
	struct mems_segment block = {.start = 0};

	if ((op->kind == 'r' || op->kind == 'f') && op->block < replay->block_slots)
		history->timeline->engine->segment_at(replay->blocks[op->block].v_ptr, &block);
	return block;
}

/* Notes what quick fit remembers after the last call. before: its block, as it was then. */
static void remembered_note(struct history *history, const struct trace_op *op,
                            struct mems_segment before)
{
	uintptr_t result = (uintptr_t)history->replay.result;
	bool is_freed = result != 0 && (op->kind == 'f' || (op->kind == 'r' && result != before.start));
	struct change change = {
		.taken = op->kind == 'f' ? 0 : result,
		.freed = is_freed ? before.start : 0,
		.freed_bytes = is_freed ? before.size : 0,
		.is_trim = op->kind == 'g',
	};

	history->bytes += remembered_write(&history->remembered, &change, history->quick.out);
}

/* ---- What the tests of the page compare it with ---------------------------------------------- */

/* The text of the chains, or for many segments a sum over it (FNV-1a). */
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
	int length = snprintf(text, sizeof text, "%s%s%c%" PRIuPTR "-%" PRIuPTR,
	                      walk->segments == 0 ? "" : " ",
	                      segment->start == segment->node_start ? "N " : "",
	                      segment->type == MEMS_PROCESS ? 'P' : 'H', segment->start, segment->end);

	if (segment->remembered_bytes != 0)
		length += snprintf(text + length, sizeof text - (size_t)length, "+%zu",
		                   segment->remembered_bytes);

	for (int i = 0; i < length; i++)
		walk->sum = (walk->sum ^ (unsigned char)text[i]) * UINT32_C(16777619);
	walk->segments++;
	if (walk->is_text)
		fputs(text, walk->out);
	return 0;
}

static void walk_write(const struct history *history)
{
	const struct engine *engine = history->timeline->engine;
	FILE *out = history->timeline->walks;
	size_t stride = history->timeline->trace->count / WALKS_MAX + 1;
	struct walk walk = {.out = out, .sum = UINT32_C(2166136261)};
	struct walk text = {.out = out, .is_text = true};
	struct mems_stats stats;

	if (out == NULL || (history->calls % stride != 0 &&
	                    history->calls != history->timeline->trace->count))
		return;
	engine->get_stats(&stats);
	engine->walk(walk_visit, &walk);
	fprintf(out, "{\"call\":%zu,\"segments\":%zu,\"sum\":%" PRIu32 ",\"process\":%zu,\"hole\":%zu,"
	        "\"largest\":%zu,\"mapped\":%zu,\"nodes\":%zu,\"text\":\"", history->calls,
	        walk.segments, walk.sum, stats.process_bytes, stats.hole_bytes, stats.largest_hole,
	        stats.mapped_bytes, stats.main_nodes);
	if (walk.segments <= WALK_TEXT_MAX)
		engine->walk(walk_visit, &text);
	fprintf(out, "\"}\n");
}

/* ---- The page -------------------------------------------------------------------------------- */

static void options_write(const struct history *history)
{
	const struct timeline *timeline = history->timeline;
	const struct textbook_options *options = &timeline->options;

	fprintf(history->out, "{\"name\":");
	text_write(history->out, timeline->name);
	fprintf(history->out, ",\"policy\":\"%s\",\"alignment\":%zu,\"start\":%zu,\"page\":%zu,"
	        "\"limit\":%zu,\n\"recorded\":true,\"all\":%zu,\"peak\":%zu,\n",
	        textbook_policy_names[options->policy], options->alignment, options->start,
	        options->page_size, options->limit, timeline->trace->count, timeline->peak_call);
}

/* Replays the trace and writes its calls: 0, or -1. */
static int calls_write(struct history *history)
{
	const struct trace *trace = history->timeline->trace;

	walk_write(history);
	for (size_t i = 0; i < trace->count && history->bytes < CALLS_BYTES_MAX; i++) {
		const struct trace_op *op = &trace->ops[i];
		struct mems_segment before = {.start = 0};

		if (has_remembered(history))
			before = block_before(history, op);
		if (!replay_op(&history->replay, op))
			return -1;
		call_write(history, op, (uintptr_t)history->replay.result);
		label_note(history, op);
		nodes_note(history);
		if (has_remembered(history))
			remembered_note(history, op, before);
		walk_write(history);
		progress_show(i, trace->count);
	}
	return 0;
}

/* Writes the mistakes that were made up to the last call, of many the first. */
static void mistakes_write(const struct history *history)
{
	const struct trace *trace = history->timeline->trace;
	const struct trace_mistake *mistake = trace->mistakes;

	fprintf(history->out, "\"mistakes\":[");
	for (size_t i = 0; i < trace->mistake_count && i < MISTAKES_MAX; i++, mistake++)
		if (mistake->op <= history->calls)
			fprintf(history->out, "%s[%zu,\"%s\",\"%" PRIu64 "\"]", i == 0 ? "" : ",",
			        mistake->op, mistake->function, mistake->address);
	fprintf(history->out, "]");
}

static bool part_begin(struct part *part)
{
	part->out = open_memstream(&part->text, &part->bytes);
	return part->out != NULL;
}

/* Ends a part: was there memory for all of it? */
static bool part_end(struct part *part)
{
	return part->out != NULL && fclose(part->out) == 0;
}

/* Writes the page but for what is in memory already: 0, or -1. */
static int page_write(struct history *history)
{
	FILE *out = history->out;
	bool is_complete = part_begin(&history->ids) && part_begin(&history->nodes) &&
	                   part_begin(&history->labels) && part_begin(&history->quick);
	int result = is_complete ? 0 : -1;

	fwrite(page_head, 1, sizeof page_head, out);
	options_write(history);
	fprintf(out, "\"calls\":\"");
	if (is_complete)
		result = calls_write(history);
	is_complete = part_end(&history->ids) && is_complete;
	is_complete = part_end(&history->nodes) && is_complete;
	is_complete = part_end(&history->labels) && is_complete;
	is_complete = part_end(&history->quick) && is_complete;
	if (!is_complete) {
		fprintf(stderr, "%s: no memory for the history of the heap\n", history->timeline->name);
		return -1;
	}
	fprintf(out, "\",\n\"ids\":\"%s\",\n\"nodes\":[%s],\n\"labels\":[%s],\n\"remembered\":\"%s\",\n",
	        history->has_ids ? history->ids.text : "", history->nodes.text, history->labels.text,
	        history->quick.text);
	mistakes_write(history);
	fprintf(out, "}\n");
	fwrite(page_tail, 1, sizeof page_tail, out);
	if (result == 0 && history->calls < history->timeline->trace->count)
		fprintf(stderr, "%s: the page has the first %zu of %zu calls\n", history->timeline->name,
		        history->calls, history->timeline->trace->count);
	return result;
}

int timeline_write(FILE *out, const struct timeline *timeline)
{
	struct history history = {
		.out = out,
		.timeline = timeline,
		.replay = {
			.name = timeline->name,
			.engine = timeline->engine,
			.limit = timeline->options.limit,
			.page_size = timeline->options.page_size,
		},
		.remembered = {
			.engine = timeline->engine,
			.alignment = timeline->options.alignment,
			.last = timeline->options.start,
		},
		.last = timeline->options.start,
		.nodes_end = timeline->options.start - 1,
	};
	int result = page_write(&history);

	replay_free(&history.replay);
	free(history.ids.text);
	free(history.nodes.text);
	free(history.labels.text);
	free(history.quick.text);
	remembered_release(&history.remembered);
	return result;
}
