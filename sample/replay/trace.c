/* Turns the text of a trace into operations. The format is described in trace.h. */
#define _POSIX_C_SOURCE 200809L

#include "trace.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

enum {
	LINE_MAX_BYTES = 256, /* the longest line, its newline included */
	WORD_MAX = 5,         /* the most words in a line */
	LABEL_SLOTS = 64      /* of labels that are found again */
};

/* An id of the file: the number of its block, and whether that is live. Lives in an open hash
 * table keyed by the id, so that memory grows with the ids in use and not with their values. */
struct id {
	uint64_t id;
	uint32_t block;
	bool is_used;
	bool is_live;
};

struct reader {
	FILE *in;
	const char *name;
	size_t line;
	char *error;
	char text[LINE_MAX_BYTES];
	char *word[WORD_MAX];
	int words;
	bool has_header;
	size_t claimed_ids; /* by the header */
	size_t claimed_ops; /* by the header */
	struct id *ids;     /* the hash table */
	size_t id_slots;    /* a power of two, or 0 */
	size_t op_slots;
	size_t mistake_slots;
	size_t labels_room;
	const char *label_slots[LABEL_SLOTS]; /* of trace.labels, by a hash; or NULL */
	struct id *id;  /* of the present operation, or NULL */
	bool was_live;  /* the block of that, before it */
	bool is_typed;
	bool is_in_line; /* a line was begun and not read to its end */
	bool is_at_end;  /* of the file */
	trace_visitor *visit; /* or NULL */
	void *context;
	struct trace *trace;
};

/* ---- Errors ---------------------------------------------------------------------------------- */

/* Says what is wrong with the present line. Returns -1, for the caller to return. */
__attribute__((format(printf, 2, 3)))
static int reader_fail(struct reader *reader, const char *format, ...)
{
	size_t line = reader->line == 0 ? 1 : reader->line; /* an empty file has no line to blame */
	int length = snprintf(reader->error, TRACE_ERROR_MAX, "%s:%zu: ", reader->name, line);

	if (length >= 0 && length < TRACE_ERROR_MAX) {
		va_list arguments;

		va_start(arguments, format);
		vsnprintf(reader->error + length, (size_t)(TRACE_ERROR_MAX - length), format, arguments);
		va_end(arguments);
	}
	return -1;
}

/* ---- Lines and words ------------------------------------------------------------------------- */

/* Is this a byte of a trace? Nothing else may reach a message, and so a terminal. */
static bool is_text(int byte)
{
	return (byte >= ' ' && byte <= '~') || byte == '\t' || byte == '\r';
}

static const char blanks[] = " \t\r"; /* a carriage return is one: files travel */

/* Reads the next byte of the present line; EOF at its end and at that of the file. */
static int byte_read(struct reader *reader)
{
	int byte = getc(reader->in);

	if (!reader->is_in_line && byte != EOF)
		reader->line++;
	reader->is_in_line = byte != EOF && byte != '\n';
	reader->is_at_end = byte == EOF;
	return reader->is_in_line ? byte : EOF;
}

/* Reads what is left of the present line, if it was begun. */
static void line_skip(struct reader *reader)
{
	while (reader->is_in_line)
		byte_read(reader);
}

/* Reads the next line into text, without its newline, and of a comment no more than "#": 1, or 0 at
 * the end of the file, or -1. */
static int line_read(struct reader *reader)
{
	size_t length = 0;
	bool has_word = false, is_comment = false;
	int byte;

	while ((byte = byte_read(reader)) != EOF) {
		if (is_comment)
			continue;
		if (!is_text(byte))
			return reader_fail(reader, "byte %d is not plain text", byte);
		if (length == LINE_MAX_BYTES - 1)
			return reader_fail(reader, "line longer than %d bytes", LINE_MAX_BYTES - 1);
		reader->text[length++] = (char)byte;
		is_comment = byte == '#' && !has_word;
		has_word = has_word || strchr(blanks, byte) == NULL;
	}
	reader->text[length] = '\0';
	if (ferror(reader->in))
		return reader_fail(reader, "cannot be read further: %s", strerror(errno));
	return !reader->is_at_end || length > 0;
}

/* Cuts text into words at blanks, a comment into none: 0, or -1. */
static int line_split(struct reader *reader)
{
	char *rest;

	reader->words = 0;
	for (char *word = strtok_r(reader->text, blanks, &rest); word != NULL;
	     word = strtok_r(NULL, blanks, &rest)) {
		if (reader->words == 0 && *word == '#')
			return 0;
		if (reader->words == WORD_MAX)
			return reader_fail(reader, "something is left over at the end of the line");
		reader->word[reader->words++] = word;
	}
	return 0;
}

/* Reads and splits the next line that is neither empty nor a comment: 1, or 0 at the end of the
 * file, or -1. */
static int line_next(struct reader *reader)
{
	int found;

	do {
		found = line_read(reader);
		if (found == 1 && line_split(reader) != 0)
			return -1;
	} while (found == 1 && reader->words == 0);
	return found;
}

/* The present line must have so many words: 0, or -1. */
static int line_expect(struct reader *reader, int words, const char *form)
{
	if (reader->words < words)
		return reader_fail(reader, "something is missing: the form is %s", form);
	if (reader->words > words)
		return reader_fail(reader, "something is left over: the form is %s", form);
	return 0;
}

/* Reads a word as a decimal number up to a greatest one: 0, or -1. */
static int number_read_to(struct reader *reader, int word, const char *what, uint64_t greatest,
                          uint64_t *number)
{
	const char *text = reader->word[word];
	uint64_t value = 0;

	for (const char *digit = text; *digit != '\0'; digit++) {
		uint64_t add = (uint64_t)(*digit - '0');

		if (*digit < '0' || *digit > '9')
			return reader_fail(reader, "%s is not a number: %s", what, text);
		if (value > (greatest - add) / 10)
			return reader_fail(reader, "%s is too large: %s", what, text);
		value = value * 10 + add;
	}
	*number = value;
	return 0;
}

static int number_read(struct reader *reader, int word, const char *what, size_t *number)
{
	uint64_t value = 0;
	int result = number_read_to(reader, word, what, SIZE_MAX, &value);

	if (result == 0)
		*number = (size_t)value;
	return result;
}

/* ---- Ids ------------------------------------------------------------------------------------- */

/* The slot of an id: the one it is in, or the free one where it belongs. */
static struct id *id_slot(struct id *ids, size_t slots, uint64_t id)
{
	uint64_t mixed = id * UINT64_C(0x9E3779B97F4A7C15);
	size_t slot = (size_t)(mixed >> 32) & (slots - 1);

	while (ids[slot].is_used && ids[slot].id != id)
		slot = (slot + 1) & (slots - 1);
	return &ids[slot];
}

/* Keeps the table at most half full: 0, or -1. */
static int ids_make_room(struct reader *reader)
{
	struct trace *trace = reader->trace;
	size_t slots = reader->id_slots == 0 ? 64 : reader->id_slots * 2;
	struct id *ids;
	uint64_t *of_blocks;

	if (trace->blocks < reader->id_slots / 2)
		return 0;
	of_blocks = realloc(trace->ids, slots / 2 * sizeof *of_blocks);
	if (of_blocks != NULL)
		trace->ids = of_blocks;
	ids = of_blocks == NULL ? NULL : calloc(slots, sizeof *ids);
	if (ids == NULL)
		return reader_fail(reader, "no memory for the ids");
	for (size_t i = 0; i < reader->id_slots; i++)
		if (reader->ids[i].is_used)
			*id_slot(ids, slots, reader->ids[i].id) = reader->ids[i];
	free(reader->ids);
	reader->ids = ids;
	reader->id_slots = slots;
	return 0;
}

/* Reads the second word as an id: its entry, a new one where it was not used before, or NULL. */
static struct id *id_read(struct reader *reader)
{
	struct id *entry;
	uint64_t id = 0;

	if (number_read_to(reader, 1, "ID", UINT64_MAX, &id) != 0)
		return NULL;
	if (reader->has_header && id >= reader->claimed_ids) {
		reader_fail(reader, "ID %" PRIu64 " is out of range: the header has no more than %zu", id,
		            reader->claimed_ids);
		return NULL;
	}
	if (reader->trace->blocks == UINT32_MAX) {
		reader_fail(reader, "too many ids");
		return NULL;
	}
	if (ids_make_room(reader) != 0)
		return NULL;
	entry = id_slot(reader->ids, reader->id_slots, id);
	if (!entry->is_used) {
		*entry = (struct id){
			.id = id, .block = (uint32_t)reader->trace->blocks++, .is_used = true,
		};
		reader->trace->ids[entry->block] = id;
	}
	return entry;
}

/* ---- Labels and mistakes --------------------------------------------------------------------- */

static int hex_digit(char digit)
{
	const char *digits = "0123456789abcdef", *found;

	if (digit >= 'A' && digit <= 'F')
		digit = (char)(digit - 'A' + 'a');
	found = digit == '\0' ? NULL : strchr(digits, digit);
	return found == NULL ? -1 : (int)(found - digits);
}

/* Turns % and two digits into bytes, in place: 0, or -1. */
static int label_decode(struct reader *reader, char *text)
{
	char *end = text;

	for (const char *from = text; *from != '\0'; from++, end++) {
		bool is_coded = *from == '%'; /* end may be here, too */
		int high = is_coded ? hex_digit(from[1]) : 0;
		int low = is_coded && high >= 0 ? hex_digit(from[2]) : 0;

		if (high < 0 || low < 0)
			return reader_fail(reader, "LABEL has a %% without two digits");
		if (is_coded && high + low == 0)
			return reader_fail(reader, "LABEL has a %%00, which no text has");
		const unsigned char byte = (unsigned char)(is_coded ? high * 16 + low : *from);
		memcpy(end, &byte, 1);
		from += is_coded ? 2 : 0;
	}
	*end = '\0';
	return 0;
}

/* Keeps a label: its place, or NULL. */
static char *label_keep(struct reader *reader, const char *text)
{
	struct trace *trace = reader->trace;
	size_t slots = reader->labels_room == 0 ? 16 : reader->labels_room * 2;
	char **labels = trace->labels;

	if (trace->label_count == reader->labels_room) {
		labels = realloc(trace->labels, slots * sizeof *labels);
		if (labels == NULL)
			return NULL;
		trace->labels = labels;
		reader->labels_room = slots;
	}
	labels[trace->label_count] = strdup(text);
	return labels[trace->label_count] == NULL ? NULL : labels[trace->label_count++];
}

/* Reads a word as a label: 0, or -1. One that came a while ago may be kept twice. */
static int label_read(struct reader *reader, char *text, const char **label)
{
	const char **slot;
	size_t hash = 5381;

	if (label_decode(reader, text) != 0)
		return -1;
	for (const char *byte = text; *byte != '\0'; byte++)
		hash = hash * 33 + (unsigned char)*byte;
	slot = &reader->label_slots[hash % LABEL_SLOTS];
	if (*slot == NULL || strcmp(*slot, text) != 0)
		*slot = label_keep(reader, text);
	*label = *slot;
	return *slot != NULL ? 0 : reader_fail(reader, "no memory for the labels");
}

static int mistakes_make_room(struct reader *reader)
{
	struct trace *trace = reader->trace;
	size_t slots = reader->mistake_slots == 0 ? 16 : reader->mistake_slots * 2;
	struct trace_mistake *mistakes;

	if (trace->mistake_count < reader->mistake_slots)
		return 0;
	mistakes = realloc(trace->mistakes, slots * sizeof *mistakes);
	if (mistakes == NULL)
		return reader_fail(reader, "no memory for the mistakes");
	trace->mistakes = mistakes;
	reader->mistake_slots = slots;
	return 0;
}

/* Reads the present line as a mistake: 0, or -1. */
static int mistake_append(struct reader *reader)
{
	static const char *const functions[] = {"free", "realloc", "usable_size",
		"set_root"};
	struct trace *trace = reader->trace;
	struct trace_mistake mistake = {.op = trace->count};

	if (line_expect(reader, 3, "e FUNCTION ADDRESS") != 0 ||
	    number_read_to(reader, 2, "ADDRESS", UINT64_MAX, &mistake.address) != 0)
		return -1;
	for (size_t i = 0; i < sizeof functions / sizeof functions[0]; i++)
		if (strcmp(reader->word[1], functions[i]) == 0)
			mistake.function = functions[i];
	if (mistake.function == NULL)
		return reader_fail(reader, "unknown function: %s", reader->word[1]);
	if (mistakes_make_room(reader) != 0)
		return -1;
	trace->mistakes[trace->mistake_count++] = mistake;
	return 0;
}

/* ---- Operations ------------------------------------------------------------------------------ */

/* Notes what the operation does to its id: 0, or -1 where it cannot be. */
static int op_track(struct reader *reader, struct trace_op *op, struct id *id)
{
	bool needs_live = op->kind == 'r' || op->kind == 'f';

	reader->id = id;
	reader->was_live = id->is_live;
	if (needs_live && !id->is_live)
		return reader_fail(reader, "ID %" PRIu64 " is not live", id->id);
	if (!needs_live && id->is_live)
		return reader_fail(reader, "ID %" PRIu64 " is live already", id->id);
	id->is_live = op->kind != 'f';
	op->block = id->block;
	return 0;
}

static int alignment_read(struct reader *reader, size_t *alignment)
{
	if (number_read(reader, 3, "ALIGNMENT", alignment) != 0)
		return -1;
	if (*alignment == 0 || (*alignment & (*alignment - 1)) != 0)
		return reader_fail(reader, "ALIGNMENT is not a power of two: %zu", *alignment);
	return 0;
}

/* The words that an operation has, and its form; 0 for an unknown one. */
static int op_words(char kind, const char **form)
{
	switch (kind) {
	case 'a': *form = "a ID SIZE [LABEL]"; return 3;
	case 'c': *form = "c ID SIZE [LABEL]"; return 3;
	case 'r': *form = "r ID SIZE"; return 3;
	case 'm': *form = "m ID SIZE ALIGNMENT [LABEL]"; return 4;
	case 'f': *form = "f ID"; return 2;
	case 'g': *form = "g"; return 1;
	default: return 0;
	}
}

/* Reads the present line as an operation: 0, or -1. */
static int op_read(struct reader *reader, struct trace_op *op)
{
	const char *form = NULL;
	int words = reader->word[0][1] == '\0' ? op_words(reader->word[0][0], &form) : 0;
	bool has_label = words != 0 && strchr("acm", reader->word[0][0]) != NULL &&
		reader->words == words + 1;
	struct id *id;

	*op = (struct trace_op){.kind = reader->word[0][0], .line = reader->line};
	reader->id = NULL;
	if (words == 0)
		return reader_fail(reader, "unknown operation: %s", reader->word[0]);
	if (line_expect(reader, words + has_label, form) != 0)
		return -1;
	if (words == 1)
		return 0;
	id = id_read(reader);
	if (id == NULL)
		return -1;
	if (words >= 3 && number_read(reader, 2, "SIZE", &op->size) != 0)
		return -1;
	if (words >= 3 && op->size == 0 && !reader->is_typed)
		op->size = 1;
	if (words == 4 && alignment_read(reader, &op->alignment) != 0)
		return -1;
	if (has_label && label_read(reader, reader->word[words], &op->label) != 0)
		return -1;
	return op_track(reader, op, id);
}

/* Makes room for one more operation: 0, or -1. */
static int ops_make_room(struct reader *reader)
{
	struct trace *trace = reader->trace;
	size_t slots = reader->op_slots == 0 ? 64 : reader->op_slots * 2;
	struct trace_op *ops;

	if (trace->count < reader->op_slots)
		return 0;
	ops = slots > SIZE_MAX / sizeof *ops ? NULL : realloc(trace->ops, slots * sizeof *ops);
	if (ops == NULL)
		return reader_fail(reader, "no memory for the operations");
	trace->ops = ops;
	reader->op_slots = slots;
	return 0;
}

static int op_append(struct reader *reader)
{
	struct trace *trace = reader->trace;
	struct trace_op *op;
	int result;

	if (reader->has_header && trace->count == reader->claimed_ops)
		return reader_fail(reader, "more operations than the %zu of the header",
		                   reader->claimed_ops);
	if (ops_make_room(reader) != 0)
		return -1;
	op = &trace->ops[trace->count];
	if (op_read(reader, op) != 0)
		return -1;
	trace->count++;
	result = reader->visit == NULL ? 0 : reader->visit(op, reader->context);
	if (result != TRACE_REFUSED)
		return result;
	if (reader->id != NULL)
		reader->id->is_live = reader->was_live;
	trace->count--;
	return 0;
}

/* A line that is for the visitor alone. */
static int word_visit(struct reader *reader, char kind)
{
	struct trace_op op = {.kind = kind, .line = reader->line};

	if (line_expect(reader, 1, reader->word[0]) != 0)
		return -1;
	return reader->visit(&op, reader->context);
}

/* ---- Options --------------------------------------------------------------------------------- */

bool trace_policy(const char *name, size_t *policy)
{
	for (*policy = 0; *policy < TEXTBOOK_POLICIES; ++*policy) {
		const char *rest = name, *known = textbook_policy_names[*policy];

		while (*known != '\0' && (*rest == *known || (*rest == '-' && *known == '_'))) {
			rest++;
			known++;
		}
		if (*rest == '\0' && *known == '\0')
			return true;
	}
	return false;
}

/* A policy is named or given by its number. */
static int policy_read(struct reader *reader, size_t *value)
{
	if (trace_policy(reader->word[2], value))
		return 0;
	if (strspn(reader->word[2], "0123456789") == 0)
		return reader_fail(reader, "unknown policy: %s", reader->word[2]);
	return number_read(reader, 2, "VALUE", value);
}

/* Finds an option by its name: 0, or -1. */
static int option_find(struct reader *reader, enum mems_option *option)
{
	static const struct {
		const char *name;
		enum mems_option option;
	} known[TRACE_OPTIONS] = {
		{"alignment", MEMS_ALIGNMENT}, {"page-size", MEMS_PAGE_SIZE}, {"policy", MEMS_POLICY},
		{"start", MEMS_START_ADDRESS}, {"limit", MEMS_LIMIT},
	};

	for (int i = 0; i < TRACE_OPTIONS; i++) {
		if (strcmp(reader->word[1], known[i].name) == 0) {
			*option = known[i].option;
			return 0;
		}
	}
	return reader_fail(reader, "unknown option: %s", reader->word[1]);
}

static int option_append(struct reader *reader)
{
	struct trace *trace = reader->trace;
	struct trace_option option = {.line = reader->line};

	if (trace->count != 0)
		return reader_fail(reader, "options come before the first operation");
	if (line_expect(reader, 3, "o NAME VALUE") != 0 || option_find(reader, &option.option) != 0)
		return -1;
	for (size_t i = 0; i < trace->option_count; i++)
		if (trace->options[i].option == option.option)
			return reader_fail(reader, "option %s is given twice", reader->word[1]);
	if ((option.option == MEMS_POLICY ? policy_read(reader, &option.value)
	                                  : number_read(reader, 2, "VALUE", &option.value)) != 0)
		return -1;
	trace->options[trace->option_count++] = option;
	if (reader->is_typed && reader->visit != NULL) {
		struct trace_op op = {.kind = 'o', .line = reader->line};

		if (reader->visit(&op, reader->context) == TRACE_REFUSED)
			trace->option_count--;
	}
	return 0;
}

/* ---- The file -------------------------------------------------------------------------------- */

/* Reads the four numbers, of which the first stands in the present line: 0, or -1. */
static int header_read(struct reader *reader)
{
	size_t unused = 0;
	size_t *number[] = {&unused, &reader->claimed_ids, &reader->claimed_ops, &unused};
	int found = 1;

	for (int i = 0; i < 4; i++) {
		if (i > 0)
			found = line_next(reader);
		if (found == 0)
			return reader_fail(reader, "the file ends within its four header lines");
		if (found < 0 || line_expect(reader, 1, "one number a line in the header") != 0 ||
		    number_read(reader, 0, "a header line", number[i]) != 0)
			return -1;
	}
	reader->has_header = true;
	return 0;
}

/* Is the present line one of a header, and not an operation or an option? */
static bool is_header(const struct reader *reader)
{
	return reader->word[0][0] >= '0' && reader->word[0][0] <= '9';
}

/* Acts on the present line, which is not one of a header: 0, -1, or what the visitor returned. */
static int line_act(struct reader *reader)
{
	if (strcmp(reader->word[0], "o") == 0)
		return option_append(reader);
	if (strcmp(reader->word[0], "e") == 0)
		return mistake_append(reader);
	if (strcmp(reader->word[0], "p") == 0 && reader->visit != NULL)
		return word_visit(reader, 'p');
	if (strcmp(reader->word[0], "help") == 0 && reader->is_typed && reader->visit != NULL)
		return word_visit(reader, 'h');
	return op_append(reader);
}

static int file_read(struct reader *reader)
{
	int found = line_next(reader);
	int result;

	if (found == 1 && is_header(reader)) {
		if (header_read(reader) != 0)
			return -1;
		found = line_next(reader);
	}
	while (found == 1) {
		result = line_act(reader);
		if (result != 0)
			return result;
		found = line_next(reader);
	}
	if (found < 0)
		return -1;
	if (reader->trace->count < reader->claimed_ops)
		return reader_fail(reader, "the file ends after %zu of the %zu operations of its header",
		                   reader->trace->count, reader->claimed_ops);
	return 0;
}

int trace_visit(FILE *in, const char *name, struct trace *trace, trace_visitor *visit,
                /* NOLINTNEXTLINE(readability-non-const-parameter): the reader writes to it. */
                void *context, char error[TRACE_ERROR_MAX])
{
	struct reader reader = {
		.in = in, .name = name, .error = error, .trace = trace,
		.visit = visit, .context = context,
	};
	int result;

	*trace = (struct trace){0};
	result = file_read(&reader);
	free(reader.ids);
	if (result == -1)
		trace_free(trace);
	return result;
}

/* Says what is wrong with a line that was typed, and leaves it out. */
static void line_refuse(struct reader *reader)
{
	fprintf(stderr, "%s\n", reader->error);
	line_skip(reader);
}

int trace_type(FILE *in, const char *name, struct trace *trace, trace_visitor *visit, void *context)
{
	char error[TRACE_ERROR_MAX];
	struct reader reader = {
		.in = in, .name = name, .error = error, .trace = trace,
		.visit = visit, .context = context, .is_typed = true,
	};
	int result = 0;

	*trace = (struct trace){0};
	while (result <= 0 && !reader.is_at_end) {
		result = line_next(&reader);
		if (result == 1)
			result = line_act(&reader);
		if (result == -1)
			line_refuse(&reader);
	}
	free(reader.ids);
	return result > 0 ? result : 0;
}

int trace_read(FILE *in, const char *name, struct trace *trace, char error[TRACE_ERROR_MAX])
{
	return trace_visit(in, name, trace, NULL, NULL, error);
}

void trace_free(struct trace *trace)
{
	free(trace->ops);
	free(trace->ids);
	for (size_t i = 0; i < trace->label_count; i++)
		free(trace->labels[i]);
	free(trace->labels);
	free(trace->mistakes);
	*trace = (struct trace){0};
}
