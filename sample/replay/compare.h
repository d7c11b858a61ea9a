/*
 * Turns a trace into a comparison of all policies. Calls textbook, placer, progress; called by
 * mems-replay.
 *
 * Each policy makes all calls on a heap that has the rules of the textbooks. What a limit refuses is
 * left out, and so are later calls about that block.
 */
#ifndef COMPARE_H
#define COMPARE_H

#include <stdbool.h>
#include <stdio.h>

#include "textbook.h"
#include "trace.h"

enum { COMPARE_SAMPLES = 240 };

/* A heap at some time. */
struct sample {
	size_t mapped, process, hole; /* bytes */
	size_t holes, largest_hole;   /* how many, and bytes */
	double looks;                 /* at HOLEs for each request since the sample before */
};

/* A policy on its way through the trace. */
struct outcome {
	struct sample samples[COMPARE_SAMPLES + 1]; /* at even distances; the first before all calls */
	struct sample peak, end;
	size_t requests;     /* calls that searched for a HOLE, */
	size_t looks, worst; /* and at how many all of these looked, and the worst */
	size_t refused;      /* of them */
};

struct comparison {
	const char *name; /* of the trace, as name_shown gives it */
	const struct trace *trace;
	struct textbook_options options; /* of all heaps, but for the policy */
	size_t peak_call;                /* after which most bytes are asked for; 0 for none */
	size_t peak_bytes;               /* without blocks that no policy can have */
	bool has_refused;                /* is there a block that a policy could not have? */
	struct outcome outcomes[TEXTBOOK_POLICIES];
};

/* The order in which the policies are shown. */
extern const enum textbook_policy compare_order[TEXTBOOK_POLICIES];

/* The longest text of compare_words, its end included. */
enum { COMPARE_WORDS = 16 };

/* "first fit". Returns words. */
const char *compare_words(enum textbook_policy policy, char words[COMPARE_WORDS]);

/* Where the bytes of the peak are: "in blocks", but for those that could not be had. */
const char *compare_peak_words(const struct comparison *comparison);

/* Makes all calls under all policies: 0, or -1 without memory. 100,000 calls with 10,000
 * live blocks take less than a second. */
int compare_run(struct comparison *comparison);

/* Writes the measures as a table that names the best policy in each row. */
void compare_print(const struct comparison *comparison, FILE *out);

/* Draws the measures over time as small multiples: an SVG picture. Errors stay in ferror(out). */
void compare_draw(const struct comparison *comparison, FILE *out);

#endif
