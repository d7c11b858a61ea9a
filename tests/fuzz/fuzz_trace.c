/*
 * A fuzz target: the input is a trace, given to the one reader there is (sample/replay/trace.h).
 * What was read keeps the rules of the format, and written out again, with a header and without, it
 * reads the same, but not with a header that claims other numbers or with a bad line at its end; line by
 * line and with a visitor that ends the reading it is the same as well. A trace that is refused
 * leaves nothing behind but a message that names the line.
 *
 * libFuzzer is told how much one allocation may take at most (fuzz.sh), so that a small file that
 * claims much is found, and finds what is not released.
 */
#define _GNU_SOURCE
#include "fuzz.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>

#include "trace.h"

static void expect(bool condition, const char *what)
{
	if (condition)
		return;
	fprintf(stderr, "fuzz_trace: %s\n", what);
	abort();
}

/* ---- Files in memory --------------------------------------------------------------------- */

/* Bytes to read; with is_broken the end is not an end but an error. */
struct source {
	const uint8_t *bytes;
	size_t left;
	bool is_broken;
};

static ssize_t source_read(void *context, char *buffer, size_t size)
{
	struct source *const source = context;
	const size_t count = size < source->left ? size : source->left;
	if (count == 0 && source->is_broken) {
		errno = EIO;
		return -1;
	}
	if (count != 0)
		memcpy(buffer, source->bytes, count);
	source->bytes += count;
	source->left -= count;
	return (ssize_t)count;
}

static FILE *source_open(struct source *source)
{
	const cookie_io_functions_t functions = {.read = source_read};
	FILE *const in = fopencookie(source, "r", functions);
	expect(in != NULL, "no memory for a file");
	return in;
}

static int bytes_visit(const void *bytes, size_t size, struct trace *trace, trace_visitor *visit,
                       void *context, char error[TRACE_ERROR_MAX])
{
	struct source source = {.bytes = bytes, .left = size};
	FILE *const in = source_open(&source);
	const int result = trace_visit(in, "input", trace, visit, context, error);
	fclose(in);
	return result;
}

/* ---- What was read ----------------------------------------------------------------------- */

static bool is_same_op(const struct trace_op *a, const struct trace_op *b)
{
	return a->kind == b->kind && a->block == b->block && a->size == b->size &&
	       a->alignment == b->alignment;
}

/* The same but for the lines, and for the ids where they were renumbered. */
static bool is_same(const struct trace *a, const struct trace *b, bool is_renumbered)
{
	bool is_same = a->count == b->count && a->blocks == b->blocks &&
	               a->option_count == b->option_count;
	for (size_t i = 0; is_same && i < a->count; i++)
		is_same = is_same_op(&a->ops[i], &b->ops[i]);
	for (size_t i = 0; is_same && i < a->blocks; i++)
		is_same = b->ids[i] == (is_renumbered ? i : a->ids[i]);
	for (size_t i = 0; is_same && i < a->option_count; i++)
		is_same = a->options[i].option == b->options[i].option &&
		          a->options[i].value == b->options[i].value;
	return is_same;
}

static bool is_power_of_two(size_t value)
{
	return value != 0 && (value & (value - 1)) == 0;
}

static void check_op(const struct trace *trace, const struct trace_op *op, bool *is_live)
{
	expect(op->kind != '\0' && strchr("acmrfg", op->kind) != NULL, "an operation of no kind");
	if (op->kind == 'g') {
		expect(op->block == 0 && op->size == 0 && op->alignment == 0, "a block that there is not");
		return;
	}
	expect(op->block < trace->blocks, "a block out of range");
	expect((op->kind == 'f') == (op->size == 0), "a size of 0");
	expect(op->kind == 'm' ? is_power_of_two(op->alignment) : op->alignment == 0, "an alignment");
	const bool needs_live = op->kind == 'r' || op->kind == 'f';
	expect(*is_live == needs_live, "an operation on a block that is live, or is not");
	*is_live = op->kind != 'f';
}

static size_t lines_of(const uint8_t *bytes, size_t size)
{
	size_t lines = 1;
	for (size_t i = 0; i < size; i++)
		lines += bytes[i] == '\n';
	return lines;
}

static void check_trace(const struct trace *trace, size_t lines)
{
	bool *const is_live = calloc(trace->blocks + 1, sizeof *is_live);
	size_t line = 0;
	expect(is_live != NULL, "no memory for the blocks");
	expect(trace->option_count <= TRACE_OPTIONS, "too many options");
	for (size_t i = 0; i < trace->option_count; line = trace->options[i].line, i++)
		expect(trace->options[i].line > line, "the lines of the options do not ascend");
	for (size_t i = 0; i < trace->count; line = trace->ops[i].line, i++) {
		expect(trace->ops[i].line > line, "the lines of the operations do not ascend");
		check_op(trace, &trace->ops[i], &is_live[trace->ops[i].block]);
	}
	expect(line <= lines, "a line beyond the end");
	for (size_t i = 0; i < trace->blocks; i++)
		for (size_t j = 0; j < i; j++)
			expect(trace->ids[i] != trace->ids[j], "two blocks of one id");
	free(is_live);
}

/* "input:LINE: what is wrong", in one line of plain text. */
static void check_error(const struct trace *trace, const char *error, size_t lines)
{
	char *end;
	expect(strncmp(error, "input:", 6) == 0, "the file is not named");
	expect(isdigit((unsigned char)error[6]), "no line is named");
	const unsigned long long line = strtoull(error + 6, &end, 10);
	expect(line >= 1 && line <= lines, "a line that is not there is named");
	expect(strncmp(end, ": ", 2) == 0 && end[2] != '\0', "nothing is said");
	for (const char *byte = error; *byte != '\0'; byte++)
		expect(isprint((unsigned char)*byte) || *byte == '\t', "a byte that is no text");
	expect(trace->ops == NULL && trace->ids == NULL && trace->count == 0 && trace->blocks == 0 &&
	       trace->option_count == 0, "a refused trace is not empty");
}

/* ---- Written and read again -------------------------------------------------------------- */

static void option_write(const struct trace_option *option, FILE *out)
{
	static const char *const names[TRACE_OPTIONS] = {
		[MEMS_POLICY] = "policy",   [MEMS_ALIGNMENT] = "alignment", [MEMS_START_ADDRESS] = "start",
		[MEMS_PAGE_SIZE] = "page-size", [MEMS_LIMIT] = "limit",
	};
	expect((size_t)option->option < TRACE_OPTIONS, "an option that there is not");
	fprintf(out, "o %s %zu\n", names[option->option], option->value);
}

/* What stands around the operations when they are written. */
struct frame {
	bool has_header;
	size_t ids, ops;   /* that the header claims */
	const char *after; /* a line behind the last operation, or "" */
};

static void trace_write(const struct trace *trace, const struct frame *frame, FILE *out)
{
	if (frame->has_header)
		fprintf(out, "0\n%zu\n%zu\n1\n", frame->ids, frame->ops);
	for (size_t i = 0; i < trace->option_count; i++)
		option_write(&trace->options[i], out);
	for (size_t i = 0; i < trace->count; i++) {
		const struct trace_op *const op = &trace->ops[i];
		if (op->kind == 'g') {
			fputs("g\n", out);
			continue;
		}
		const uint64_t id = frame->has_header ? op->block : trace->ids[op->block];
		fprintf(out, "%c %" PRIu64, op->kind, id);
		if (op->kind != 'f')
			fprintf(out, " %zu", op->size);
		if (op->kind == 'm')
			fprintf(out, " %zu", op->alignment);
		putc('\n', out);
	}
	fputs(frame->after, out);
}

/* Writes the trace and reads it again. */
static int written_read(const struct trace *trace, const struct frame *frame, struct trace *again,
                        char error[TRACE_ERROR_MAX])
{
	char *text = NULL;
	size_t length = 0;
	FILE *const out = open_memstream(&text, &length);
	expect(out != NULL, "no memory for a file");
	trace_write(trace, frame, out);
	expect(fclose(out) == 0, "no memory for a file");
	const int result = bytes_visit(text, length, again, NULL, NULL, error);
	free(text);
	return result;
}

static void check_taken(const struct trace *trace, const struct frame *frame)
{
	char error[TRACE_ERROR_MAX];
	struct trace again;
	const int result = written_read(trace, frame, &again, error);
	expect(result == 0, "what was written is refused");
	expect(is_same(trace, &again, frame->has_header), "what was written reads as another trace");
	trace_free(&again);
}

/* The last line is to blame: so many lines behind the operations. */
static void check_refused(const struct trace *trace, const struct frame *frame, size_t behind)
{
	char error[TRACE_ERROR_MAX];
	char blamed[40];
	struct trace again;
	const size_t before = (frame->has_header ? 4 : 0) + trace->option_count;
	const size_t line = before + trace->count + behind;
	const int result = written_read(trace, frame, &again, error);
	expect(result == -1, "a trace is taken that is wrong in its last line");
	check_error(&again, error, line == 0 ? 1 : line);
	snprintf(blamed, sizeof blamed, "input:%zu: ", line == 0 ? 1 : line);
	expect(strncmp(error, blamed, strlen(blamed)) == 0, "another line is blamed");
}

/* A header that claims too little or too much. */
static void check_headers(const struct trace *trace)
{
	const size_t ids = trace->blocks;
	const size_t ops = trace->count;
	check_taken(trace, &(struct frame){true, ids, ops, ""});
	check_taken(trace, &(struct frame){true, SIZE_MAX, ops, "\n \t\r\n"});
	check_refused(trace, &(struct frame){true, ids, ops + 1, ""}, 0);
	check_refused(trace, &(struct frame){true, ids, SIZE_MAX, ""}, 0);
	check_refused(trace, &(struct frame){true, ids, ops, "a 18446744073709551615 1\n"}, 1);
	check_refused(trace, &(struct frame){true, SIZE_MAX, ops, "a 77777777 1\n"}, 1);
	if (ids != 0) {
		char line[40];
		snprintf(line, sizeof line, "a %zu 1\n", ids);
		check_refused(trace, &(struct frame){true, ids, ops + 1, line}, 1);
	}
}

/* Lines that no trace has. */
static void check_lines(const struct trace *trace)
{
	static const char *const lines[] = {
		"a 1 18446744073709551616\n", "a 18446744073709551616 1\n", "c 7 1 1 1\n", "m 7 1\n",
		"m 7 1 0\n", "m 7 1 12\n", "a 7 -1\n", "a 7 1 1 1\n", "f\n", "f 7 1\n", "f seven\n",
		"q 7\n", "g 7\n", "o start\n", "o size 5\n", "p\n", "\\ 1\n", "a 7 1\v\n", "ab 7 1\n",
	};
	for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++)
		check_refused(trace, &(struct frame){false, 0, 0, lines[i]}, 1);
	if (trace->count != 0)
		check_refused(trace, &(struct frame){false, 0, 0, "o start 5\n"}, 1);
	check_taken(trace, &(struct frame){false, 0, 0, ""});
}

/* ---- Line by line ------------------------------------------------------------------------ */

struct visit {
	const struct trace *trace; /* read as a whole */
	size_t count;              /* operations visited */
	size_t prints;
	size_t most;               /* operations, before the visitor has enough */
};

static int visit_op(const struct trace_op *op, void *context)
{
	struct visit *const visit = context;
	if (op->kind == 'p') {
		visit->prints++;
		return 0;
	}
	if (visit->trace != NULL) {
		expect(visit->count < visit->trace->count, "an operation too many is visited");
		const struct trace_op *const read = &visit->trace->ops[visit->count];
		expect(op->line == read->line && is_same_op(op, read), "another operation is visited");
	}
	visit->count++;
	return visit->count == visit->most ? 7 : 0;
}

/* Only "p" lines make a difference, which trace_read knows not. */
static void check_visits(const uint8_t *bytes, size_t size, const struct trace *whole, size_t most)
{
	char error[TRACE_ERROR_MAX];
	struct trace trace;
	struct visit visit = {.trace = whole, .most = most};
	const int result = bytes_visit(bytes, size, &trace, visit_op, &visit, error);
	if (result == -1)
		check_error(&trace, error, lines_of(bytes, size));
	else
		expect(trace.count == visit.count, "operations that were not visited");
	expect(result != 7 || visit.count == most, "the visitor had not enough");
	expect(result == -1 || result == 7 || visit.count < most || most == 0, "it had enough");
	if (whole != NULL)
		expect(result == (most != 0 && most <= whole->count ? 7 : 0) && visit.prints == 0,
		       "another end, line by line");
	trace_free(&trace);
}

/* A file that breaks off with an error is refused, in its last line at the latest. */
static void check_broken(const uint8_t *bytes, size_t size)
{
	char error[TRACE_ERROR_MAX];
	struct trace trace;
	struct source source = {.bytes = bytes, .left = size, .is_broken = true};
	FILE *const in = source_open(&source);
	expect(trace_read(in, "input", &trace, error) == -1, "a file that cannot be read is taken");
	fclose(in);
	check_error(&trace, error, lines_of(bytes, size));
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
	char error[TRACE_ERROR_MAX];
	struct trace trace;
	const size_t lines = lines_of(bytes, size);
	if (bytes_visit(bytes, size, &trace, NULL, NULL, error) == 0) {
		check_trace(&trace, lines);
		check_headers(&trace);
		check_lines(&trace);
		check_visits(bytes, size, &trace, 0);
		check_visits(bytes, size, &trace, 1 + size % 7);
	} else {
		check_error(&trace, error, lines);
		check_visits(bytes, size, NULL, 0);
	}
	check_broken(bytes, size / 2);
	trace_free(&trace);
	return 0;
}
