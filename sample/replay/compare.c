/* Turns a trace into a comparison of all policies. See compare.h; compare_draw.c draws it. */
#include "compare.h"

#include <stdlib.h>
#include <string.h>

#include "name.h"
#include "placer.h"
#include "progress.h"

const enum textbook_policy compare_order[] = {
	FIRST_FIT, NEXT_FIT, BEST_FIT, WORST_FIT, QUICK_FIT,
};

const char *compare_words(enum textbook_policy policy, char words[COMPARE_WORDS])
{
	snprintf(words, COMPARE_WORDS, "%s", textbook_policy_names[policy]);
	*strchr(words, '_') = ' ';
	return words;
}

const char *compare_peak_words(const struct comparison *comparison)
{
	return comparison->has_refused ? "asked for at once" : "in blocks";
}

/* ---- The peak -------------------------------------------------------------------------------- */

/* Is this more than all of a heap may have, or aligned in a way that none is? */
static bool is_never_had(const struct comparison *comparison, const struct trace_op *op)
{
	const struct textbook_options *options = &comparison->options;
	size_t most = options->limit == 0 ? SIZE_MAX / 4 : options->limit;

	return op->size > most / options->page_size * options->page_size ||
	       (op->kind == 'm' && op->alignment > options->page_size);
}

/* Does this operation leave all sizes as they are, under whichever policy? */
static bool is_without_effect(const struct comparison *comparison, const struct trace_op *op,
                              const size_t *sizes)
{
	if (op->kind == 'g' || (op->kind == 'r' && sizes[op->block] == 0))
		return true;
	return op->kind != 'f' && is_never_had(comparison, op);
}

/* Finds the call after which most bytes are asked for: the same for all policies. They are in use
 * where none is refused. sizes: of the blocks, all 0. */
static void peak_find(struct comparison *comparison, size_t *sizes)
{
	size_t alignment = comparison->options.alignment, bytes = 0;

	for (size_t i = 0; i < comparison->trace->count; i++) {
		const struct trace_op *op = &comparison->trace->ops[i];

		if (is_without_effect(comparison, op, sizes))
			continue;
		bytes -= sizes[op->block];
		sizes[op->block] = (op->size + alignment - 1) & ~(alignment - 1);
		bytes += sizes[op->block];
		if (bytes > comparison->peak_bytes) {
			comparison->peak_bytes = bytes;
			comparison->peak_call = i + 1;
		}
	}
}

/* ---- One policy ------------------------------------------------------------------------------ */

struct run {
	const struct comparison *comparison;
	struct outcome *outcome;
	struct placer *heap;
	struct placed *blocks;                /* of the trace */
	size_t sampled;                       /* samples taken so far */
	size_t looks_before, requests_before; /* at the last of them */
};

static struct sample sample_take(struct run *run)
{
	struct outcome *outcome = run->outcome;
	size_t requests = outcome->requests - run->requests_before;
	size_t looks = outcome->looks - run->looks_before;
	struct mems_stats stats;

	placer_get_stats(run->heap, &stats);
	return (struct sample){
		.mapped = stats.mapped_bytes,
		.process = stats.process_bytes,
		.hole = stats.hole_bytes,
		.holes = stats.hole_segments,
		.largest_hole = stats.largest_hole,
		.looks = requests == 0 ? 0 : (double)looks / (double)requests,
	};
}

/* Notes how many HOLEs a call looked at that needed one. */
static void request_note(struct outcome *outcome, size_t looks, bool is_refused)
{
	outcome->requests++;
	outcome->looks += looks;
	outcome->refused += is_refused;
	if (looks > outcome->worst)
		outcome->worst = looks;
}

/* Makes a call that needs room: false where there is none. */
static bool block_obtain(struct run *run, const struct trace_op *op)
{
	struct placed *block = &run->blocks[op->block];
	size_t alignment = op->kind == 'm' ? op->alignment : 1;

	return op->kind == 'r' ? placer_resize(run->heap, block, op->size) :
	       placer_take(run->heap, block, op->size, alignment);
}

static void op_make(struct run *run, const struct trace_op *op)
{
	struct placed *block = &run->blocks[op->block];
	bool is_live = block->size > 0, is_done;
	uintptr_t start = block->start;
	size_t looks = placer_looked(run->heap);

	if (op->kind == 'g')
		placer_trim(run->heap);
	else if (op->kind == 'f' && is_live)
		placer_free(run->heap, block);
	if (op->kind == 'g' || op->kind == 'f' || (op->kind == 'r' && !is_live))
		return;
	is_done = block_obtain(run, op);
	if (!is_done || block->start != start) /* not in place */
		request_note(run->outcome, placer_looked(run->heap) - looks, !is_done);
}

/* Takes the samples that are due after so many calls. */
static void samples_take(struct run *run, size_t calls)
{
	size_t all = run->comparison->trace->count;
	struct sample sample;

	if (calls * COMPARE_SAMPLES < run->sampled * all && calls != run->comparison->peak_call)
		return;
	sample = sample_take(run);
	if (calls == run->comparison->peak_call)
		run->outcome->peak = sample;
	run->outcome->end = sample;
	for (; calls * COMPARE_SAMPLES >= run->sampled * all && run->sampled <= COMPARE_SAMPLES;
	     run->sampled++) {
		run->outcome->samples[run->sampled] = sample;
		run->looks_before = run->outcome->looks;
		run->requests_before = run->outcome->requests;
	}
}

/* done: calls under the policies before this one. */
static void policy_run(struct run *run, size_t done)
{
	const struct trace *trace = run->comparison->trace;

	samples_take(run, 0);
	for (size_t i = 0; i < trace->count; i++) {
		op_make(run, &trace->ops[i]);
		samples_take(run, i + 1);
		progress_show(done + i, TEXTBOOK_POLICIES * trace->count);
	}
}

int compare_run(struct comparison *comparison)
{
	size_t blocks = comparison->trace->blocks;
	size_t *sizes = calloc(blocks + 1, sizeof *sizes);
	struct placed *placed = calloc(blocks + 1, sizeof *placed);
	bool has_memory = sizes != NULL && placed != NULL;

	if (has_memory)
		peak_find(comparison, sizes);
	for (size_t i = 0; i < TEXTBOOK_POLICIES && has_memory; i++) {
		struct textbook_options options = comparison->options;
		struct run run = {.comparison = comparison, .blocks = placed};

		options.policy = compare_order[i];
		run.outcome = &comparison->outcomes[options.policy];
		run.heap = placer_start(&options);
		memset(placed, 0, blocks * sizeof *placed);
		policy_run(&run, i * comparison->trace->count);
		comparison->has_refused = comparison->has_refused || run.outcome->refused != 0;
		placer_finish(run.heap);
	}
	progress_end();
	free(sizes);
	free(placed);
	return has_memory ? 0 : -1;
}

/* ---- The measures ---------------------------------------------------------------------------- */

static double share(size_t part, size_t whole)
{
	return whole == 0 ? 0 : 100 * (double)part / (double)whole;
}

static double mapped_at_peak(const struct outcome *outcome)
{
	return (double)outcome->peak.mapped;
}

static double mapped_at_end(const struct outcome *outcome)
{
	return (double)outcome->end.mapped;
}

static double holes_at_peak(const struct outcome *outcome)
{
	return (double)outcome->peak.holes;
}

static double unused_at_peak(const struct outcome *outcome)
{
	return share(outcome->peak.hole, outcome->peak.mapped);
}

static double fragmentation_at_peak(const struct outcome *outcome)
{
	return share(outcome->peak.hole - outcome->peak.largest_hole, outcome->peak.hole);
}

static double looks_mean(const struct outcome *outcome)
{
	return outcome->requests == 0 ? 0 : (double)outcome->looks / (double)outcome->requests;
}

static double looks_worst(const struct outcome *outcome)
{
	return (double)outcome->worst;
}

static double refused(const struct outcome *outcome)
{
	return (double)outcome->refused;
}

/* Of all of these, less is better. */
static const struct measure {
	const char *name;
	double (*value)(const struct outcome *outcome);
	int decimals;
} measures[] = {
	{"bytes mapped at the peak", mapped_at_peak, 0},
	{"bytes mapped at the end", mapped_at_end, 0},
	{"HOLEs at the peak", holes_at_peak, 0},
	{"% of the mapped unused at the peak", unused_at_peak, 1},
	{"% external fragmentation at the peak", fragmentation_at_peak, 1},
	{"HOLEs looked at per request, mean", looks_mean, 1},
	{"HOLEs looked at per request, worst", looks_worst, 0},
	{"blocks that could not be had", refused, 0},
};
enum { MEASURES = sizeof measures / sizeof *measures };

/* ---- The table ------------------------------------------------------------------------------- */

enum { NAME_WIDTH = 38, VALUE_WIDTH = 12, TEXT_MAX = 32 };

/* The values of a row as they are shown, in the order of policies. Those that look the same are. */
typedef char row_texts[TEXTBOOK_POLICIES][TEXT_MAX];

static void row_format(const struct comparison *comparison, const struct measure *measure,
                       row_texts texts)
{
	for (size_t i = 0; i < TEXTBOOK_POLICIES; i++)
		snprintf(texts[i], TEXT_MAX, "%.*f", measure->decimals,
		         measure->value(&comparison->outcomes[compare_order[i]]));
}

/* Names those whose value is the least; a dash where all are the same. */
static void best_print(row_texts texts, FILE *out)
{
	double least = strtod(texts[0], NULL), most = least;
	const char *separator = "";

	for (size_t i = 1; i < TEXTBOOK_POLICIES; i++) {
		double value = strtod(texts[i], NULL);

		least = value < least ? value : least;
		most = value > most ? value : most;
	}
	for (size_t i = 0; i < TEXTBOOK_POLICIES && least < most; i++) {
		char words[COMPARE_WORDS];

		if (strtod(texts[i], NULL) > least)
			continue;
		fprintf(out, "%s%s", separator, compare_words(compare_order[i], words));
		separator = ", ";
	}
	fprintf(out, least < most ? "\n" : "all the same\n");
}

static void head_print(const struct comparison *comparison, FILE *out)
{
	char words[COMPARE_WORDS];

	fprintf(out, "%s: %zu call%s, at most %zu byte%s %s (after call %zu)", comparison->name,
	        comparison->trace->count, plural(comparison->trace->count), comparison->peak_bytes,
	        plural(comparison->peak_bytes), compare_peak_words(comparison), comparison->peak_call);
	if (comparison->options.limit != 0)
		fprintf(out, ", at most %zu bytes mapped", comparison->options.limit);
	fprintf(out, "\n\n%-*s", NAME_WIDTH, "");
	for (size_t i = 0; i < TEXTBOOK_POLICIES; i++)
		fprintf(out, "%*s", VALUE_WIDTH, compare_words(compare_order[i], words));
	fprintf(out, "   best\n");
}

void compare_print(const struct comparison *comparison, FILE *out)
{
	/* Without a limit, what cannot be had is an alignment above the page size, or more than there is. */
	bool has_refused = comparison->options.limit != 0 || comparison->has_refused;

	head_print(comparison, out);
	for (size_t i = 0; i < MEASURES; i++) {
		row_texts texts;

		if (measures[i].value == refused && !has_refused)
			continue;
		row_format(comparison, &measures[i], texts);
		fprintf(out, "%-*s", NAME_WIDTH, measures[i].name);
		for (size_t policy = 0; policy < TEXTBOOK_POLICIES; policy++)
			fprintf(out, " %*s", VALUE_WIDTH - 1, texts[policy]); /* apart, however long */
		fprintf(out, "   ");
		best_print(texts, out);
	}
}
