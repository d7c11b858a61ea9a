/*
 * Turns the text of a trace into operations. Calls textbook; called by mems-replay.
 *
 * A trace is what a program asked of its allocator, call by call.
 *
 * Four numbers, a line each: unused, the number of ids, the number of operations, unused. They may
 * be left out all together, as recordings do. Then one operation a line:
 *
 *   a ID SIZE             ID = malloc(SIZE)
 *   c ID SIZE             ID = calloc(1, SIZE)
 *   m ID SIZE ALIGNMENT   ID = aligned_alloc(ALIGNMENT, SIZE)
 *   r ID SIZE             ID = realloc(ID, SIZE)
 *   f ID                  free(ID)
 *   g                     all that quick fit remembers is merged: mems_trim()
 *
 * The first three may have a LABEL as their last word, of mems_set_label, in which spaces, "%" and what
 * is not ASCII are "%" and two hexadecimal digits. A line "e FUNCTION ADDRESS" is a mistake: a call of
 * mems_free, mems_realloc, mems_usable_size or mems_set_root (free, realloc, usable_size, set_root)
 * with an address that was not that of a block. A replay does nothing there.
 *
 * An ID is any number below 2^64, or below the number of ids where the header is there. It may be
 * used again after it was freed.
 * Before the first operation there may be lines "o NAME VALUE": the options of MeMS to run with,
 * where NAME is alignment, page-size, start, policy or limit. A SIZE of 0 is replayed as 1.
 * Empty lines are skipped, and so are those that begin with "#": sample/exercises/ has words there
 * for the page that shows them. Where a program reads the trace line by line, "p" asks it to print
 * the heap, and where somebody types the lines, "help" asks what there is.
 */
#ifndef TRACE_H
#define TRACE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "mems.h"
#include "textbook.h"

struct trace_op {
	char kind;        /* 'a', 'c', 'm', 'r', 'f' or 'g'; for visitors alone 'p', and 'o' and 'h'
	                     of what is typed: an option that has come, and "help" */
	uint32_t block;   /* which block, 0 to trace.blocks - 1: the ids of the file, renumbered; 0
	                     for 'g', which has none */
	size_t line;      /* in the file, from 1 */
	size_t size;      /* bytes, at least 1, or 0 where that was typed; 0 for 'f', 'g' */
	size_t alignment; /* bytes, a power of two, for 'm'; else 0 */
	const char *label; /* of 'a', 'c', 'm', as mems_set_label has it; NULL for none. It lives as
	                      long as the trace */
};

/* A call with an address that was not that of a block. */
struct trace_mistake {
	size_t op;            /* how many operations come before it */
	const char *function; /* without its "mems_" */
	uint64_t address;
};

enum { TRACE_OPTIONS = 5 }; /* the options there are */

struct trace_option {
	enum mems_option option;
	size_t value; /* for MEMS_POLICY, an enum textbook_policy */
	size_t line; /* in the file, from 1 */
};

struct trace {
	struct trace_op *ops;
	size_t count;  /* of ops */
	size_t blocks; /* how many ids the trace uses */
	uint64_t *ids; /* of each block, as in the file */
	char **labels; /* of operations */
	size_t label_count;
	struct trace_mistake *mistakes;
	size_t mistake_count;
	struct trace_option options[TRACE_OPTIONS];
	size_t option_count;
};

/* The longest message of trace_read, its end included. */
enum { TRACE_ERROR_MAX = 1024 };

/* Called for each operation as soon as its line was read; the first result that is not 0 ends the
 * reading. The options of a file are complete at the first call. */
typedef int trace_visitor(const struct trace_op *op, void *context);

/* Reads a whole trace. Each operation is checked: the id in range, not live before a, c and m,
 * live before r and f. Memory grows with the lines of the file, whatever its header claims.
 * Returns 0, or -1 with "NAME:LINE: what is wrong" in error and *trace empty. The trace is the
 * caller's until trace_free. */
int trace_read(FILE *in, const char *name, struct trace *trace, char error[TRACE_ERROR_MAX]);

/* The same, line by line. Returns also what the visitor returned, which must be above 0; *trace then
 * holds what was read so far. */
int trace_visit(FILE *in, const char *name, struct trace *trace, trace_visitor *visit,
                void *context, char error[TRACE_ERROR_MAX]);

enum { TRACE_REFUSED = -2 };

/* The same for lines that somebody types. What is wrong with one is said on stderr, and it is left
 * out; so is an operation or an option for which the visitor returns TRACE_REFUSED. There is no
 * header, and a SIZE of 0 stays one. Returns 0, or what ended the reading. */
int trace_type(FILE *in, const char *name, struct trace *trace, trace_visitor *visit, void *context);

/* The number of a policy (an enum textbook_policy) from its name, with - or _: false where there is
 * no such policy. */
bool trace_policy(const char *name, size_t *policy);

/* Releases what trace_read gave. A trace that is all zero is fine. */
void trace_free(struct trace *trace);

#endif
