/*
 * Turns traces into a verdict, JSON, SVG or HTML. Calls all files here; the user calls it.
 *
 * The main program: it replays allocation traces on a MeMS heap, checks it, and draws it. What it
 * can do is in the text of --help below; the format of traces is described in trace.h.
 *
 * Exit 0: all well. 1: the heap failed, or a file could not be written. 2: a trace or the command
 * line is wrong.
 */
#define _GNU_SOURCE

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "compare.h"
#include "engine.h"
#include "mems.h"
#include "name.h"
#include "progress.h"
#include "replay.h"
#include "svg.h"
#include "timeline.h"
#include "trace.h"

enum { EXIT_BAD_USE = 2 };

/* What may stand in a trace, for whoever types one. */
#define LINES_HELP \
	"  a ID SIZE             ID = mems_malloc(SIZE)\n" \
	"  c ID SIZE             ID = mems_calloc(1, SIZE)\n" \
	"  m ID SIZE ALIGNMENT   ID = mems_aligned_alloc(ALIGNMENT, SIZE)\n" \
	"                        each of these three may end with a label\n" \
	"  r ID SIZE             ID = mems_realloc(ID, SIZE)\n" \
	"  f ID                  mems_free(ID)\n" \
	"  g                     merge what quick fit remembers: mems_trim()\n" \
	"  e FUNCTION ADDRESS    a misuse, as a recording notes it: nothing is done\n" \
	"  p                     print the chains\n" \
	"  o NAME VALUE          an option, before the first call: alignment, page-size, policy,\n" \
	"                        start or limit\n" \
	"  # REMARK              nothing is done\n"

static const char help[] =
	"usage: mems-replay [OPTIONS] TRACE...\n"
	"       mems-replay [OPTIONS] --html FILE\n"
	"\n"
	"Replays what a program asked of its allocator, call by call, on a MeMS heap. A TRACE is a\n"
	"file, or \"-\" for standard input, which may be typed by hand:\n"
	"\n"
	LINES_HELP
	"\n"
	"  --check               verify the heap and the contents of all blocks on the way\n"
	"  --print               print the chains after every call\n"
	"  --stats               print counts, fragmentation and time at the end\n"
	"\n"
	"  --json FILE           write the heap as JSON\n"
	"  --svg FILE            draw the heap as a picture\n"
	"  --at N | --at peak    for these two: after call N, or where most bytes are in use, and\n"
	"                        not at the end\n"
	"  --html FILE           write a page for the browser that plays the trace call by call,\n"
	"                        compares policies, and asks what comes next; without a TRACE, a\n"
	"                        heap to play on\n"
	"                        FILE may be \"-\" for standard output, which takes one of all\n"
	"                        that is written\n"
	"  --compare             compare all policies on the trace: a table, or with --svg a picture.\n"
	"                        100,000 calls with 10,000 live blocks take less than a second\n"
	"\n"
	"  --policy first_fit | next_fit | best_fit | worst_fit | quick_fit\n"
	"  --alignment BYTES\n"
	"  --page-size BYTES\n"
	"  --start ADDRESS       the first virtual address\n"
	"  --limit BYTES         the most that may be mapped: a call that needs more gives NULL, and\n"
	"                        what comes about its block is left out\n"
	"                        These five win over the options in the trace.\n"
	"\n"
	"  -h, --help            print this\n"
	"  --version             print the version\n"
	"\n"
	"Example: mems-replay --html heap.html heap.trace\n";

/* What the command line asks for. */
static struct {
	bool is_checking, is_printing, has_stats, is_comparing;
	const char *json, *svg, *html, *walks;
	bool has_at, is_at_peak;
	size_t at;
	struct trace_option options[TRACE_OPTIONS]; /* that win over those of the trace */
	const char *option_words[TRACE_OPTIONS];
	size_t option_count;
} chosen;

/* One trace on its way through the heap. */
struct session {
	const char *name; /* as it is shown */
	FILE *in;
	struct trace trace;
	struct textbook_options options; /* that the heap runs with */
	const struct engine *engine;     /* NULL before it is started for the first time */
	struct replay replay;
	struct comparison comparison;
	bool is_typed;                   /* on a terminal: what is wrong does not end it */
};

/* ---- Files that are written ------------------------------------------------------------------ */

static bool is_standard(const char *path)
{
	return strcmp(path, "-") == 0;
}

/* Is standard output taken by a file that goes there? */
static bool is_output_taken(void)
{
	return (chosen.json != NULL && is_standard(chosen.json)) ||
	       (chosen.svg != NULL && is_standard(chosen.svg)) ||
	       (chosen.html != NULL && is_standard(chosen.html));
}

/* Something that writes the heap. Returns 0, or -1 where it failed and said so. */
typedef int writer(FILE *out, struct session *session);

static int write_failed(const char *path)
{
	int error = errno;
	char *name = name_shown(is_standard(path) ? "standard output" : path);

	progress_end();
	fprintf(stderr, "mems-replay: %s: %s\n", name == NULL ? "a file" : name,
	        strerror(error != 0 ? error : EIO));
	free(name);
	return EXIT_FAILURE;
}

/* Writes a file, or standard output: an exit status. */
static int file_write(const char *path, writer *write_it, struct session *session)
{
	FILE *out = is_standard(path) ? stdout : fopen(path, "w");
	int result;
	bool is_good;

	if (out == NULL)
		return write_failed(path);
	errno = 0;
	result = write_it(out, session);
	is_good = fflush(out) == 0 && ferror(out) == 0;
	if (out != stdout)
		is_good = fclose(out) == 0 && is_good;
	if (result != 0)
		return EXIT_FAILURE;
	return is_good ? EXIT_SUCCESS : write_failed(path);
}

static int json_write(FILE *out, struct session *session)
{
	session->engine->fprint_json(out); /* an error stays in out */
	return 0;
}

static int picture_write(FILE *out, struct session *session)
{
	svg_write(out, session->engine);
	return 0;
}

/* Writes what shows the heap as it is now: an exit status. */
static int heap_write(struct session *session)
{
	int status = EXIT_SUCCESS;

	if (chosen.json != NULL)
		status = file_write(chosen.json, json_write, session);
	if (status == EXIT_SUCCESS && chosen.svg != NULL)
		status = file_write(chosen.svg, picture_write, session);
	return status;
}

/* ---- Starting the heap ----------------------------------------------------------------------- */

/* Sets an option of the heap, for whatever engine: false where the value is not allowed. */
static bool option_set(struct textbook_options *options, enum mems_option option, size_t value)
{
	bool is_library = option != MEMS_POLICY || value == FIRST_FIT || value == QUICK_FIT;

	if (is_library ? mems_option(option, value) != 0 : value >= TEXTBOOK_POLICIES)
		return false;
	switch (option) {
	case MEMS_POLICY: options->policy = (enum textbook_policy)value; break;
	case MEMS_ALIGNMENT: options->alignment = value; break;
	case MEMS_START_ADDRESS: options->start = value; break;
	case MEMS_PAGE_SIZE: options->page_size = value; break;
	case MEMS_LIMIT: options->limit = value; break;
	case MEMS_HISTORY: break; /* of no trace */
	}
	return true;
}

/* What a value that is not allowed is not. */
static const char *option_form(enum mems_option option)
{
	switch (option) {
	case MEMS_ALIGNMENT: return "a power of two from 1 to 64";
	case MEMS_START_ADDRESS: return "an address from 1 to 2147483648";
	case MEMS_PAGE_SIZE: return "a power of two from the system's page size to 2097152";
	case MEMS_POLICY: return "a policy";
	default: return "allowed";
	}
}

/* What a trace that says nothing runs with. */
static void options_reset(struct textbook_options *options)
{
	size_t bytes = 4096;

	option_set(options, MEMS_POLICY, FIRST_FIT);
	option_set(options, MEMS_ALIGNMENT, 8);
	option_set(options, MEMS_START_ADDRESS, 1000);
	option_set(options, MEMS_LIMIT, 0);
	while (!option_set(options, MEMS_PAGE_SIZE, bytes) && bytes < 2 << 20)
		bytes *= 2;
}

/* Does the command line set this option? */
static bool is_chosen(enum mems_option option)
{
	for (size_t i = 0; i < chosen.option_count; i++)
		if (chosen.options[i].option == option)
			return true;
	return false;
}

/* Sets the options of a trace, then those of the command line: an exit status. */
static int options_set(struct session *session)
{
	const struct trace *trace = &session->trace;

	options_reset(&session->options);
	mems_option(MEMS_HISTORY, chosen.svg != NULL || chosen.json != NULL); /* for labels */
	for (size_t i = 0; i < trace->option_count; i++) {
		const struct trace_option *option = &trace->options[i];

		if (!is_chosen(option->option) &&
		    !option_set(&session->options, option->option, option->value)) {
			fprintf(stderr, "%s:%zu: VALUE is not %s: %zu\n", session->name, option->line,
			        option_form(option->option), option->value);
			return EXIT_BAD_USE;
		}
	}
	for (size_t i = 0; i < chosen.option_count; i++) {
		const struct trace_option *option = &chosen.options[i];

		if (!option_set(&session->options, option->option, option->value)) {
			fprintf(stderr, "mems-replay: %s: not %s: %zu\n", chosen.option_words[i],
			        option_form(option->option), option->value);
			return EXIT_BAD_USE;
		}
	}
	return EXIT_SUCCESS;
}

static int heap_start(struct session *session)
{
	int status = options_set(session);

	if (status != EXIT_SUCCESS)
		return status;
	session->engine = engine_start(&session->options);
	session->replay = (struct replay){
		.name = session->name,
		.engine = session->engine,
		.is_checking = chosen.is_checking,
		.limit = session->is_typed ? 0 : session->options.limit,
		.page_size = session->options.page_size,
	};
	if (!chosen.is_checking || session->engine->has_memory)
		return EXIT_SUCCESS;
	fprintf(stderr, "mems-replay: --check needs a policy of the library: first_fit or quick_fit\n");
	return EXIT_BAD_USE;
}

static void heap_stop(struct session *session)
{
	replay_free(&session->replay);
	session->engine->finish();
}

/* ---- The first pass: as the trace is read ---------------------------------------------------- */

/* Where the heap is printed to, and whoever types is answered. */
static FILE *answers(void)
{
	return is_output_taken() ? stderr : stdout;
}

/* Prints what a call gave, or freed. */
static void result_print(const struct session *session, bool is_refused)
{
	uintptr_t result = (uintptr_t)session->replay.result;

	if (result != 0)
		fprintf(answers(), " -> %" PRIuPTR "\n", result);
	else
		fprintf(answers(), " -> NULL: %s\n", is_refused ? "beyond the limit" :
		        "the block could not be had");
}

/* Prints a call and its result. */
static void op_print(const struct session *session, const struct trace_op *op, bool is_refused)
{
	if (op->kind == 'g') {
		fprintf(answers(), "g\n");
		return;
	}
	fprintf(answers(), "%c %" PRIu64, op->kind, session->trace.ids[op->block]);
	if (op->kind != 'f')
		fprintf(answers(), " %zu", op->size);
	if (op->kind == 'm')
		fprintf(answers(), " %zu", op->alignment);
	result_print(session, is_refused);
}

/* Makes a call: 0, or an exit status, or TRACE_REFUSED. */
static int op_make(struct session *session, const struct trace_op *op)
{
	size_t refused = session->replay.refused;
	bool is_made = replay_op(&session->replay, op);

	if (!is_made && session->is_typed) {
		session->replay.has_failed = false;
		return TRACE_REFUSED;
	}
	if (!is_made)
		return EXIT_FAILURE;
	if (chosen.is_printing || session->is_typed)
		op_print(session, op, session->replay.refused > refused);
	if (chosen.is_printing)
		session->engine->fprint_stats(answers());
	progress_read(session->in, session->replay.calls);
	return EXIT_SUCCESS;
}

/* Prints the heap where a trace asks for it: an exit status. */
static int heap_print(struct session *session, size_t line)
{
	if (is_output_taken() && !session->is_typed) {
		fprintf(stderr, "%s:%zu: the chains would be printed into a file on standard output\n",
		        session->name, line);
		return EXIT_BAD_USE;
	}
	session->engine->fprint_stats(answers());
	return EXIT_SUCCESS;
}

/* An option was typed, before any call that was good. */
static int option_visit(struct session *session)
{
	if (session->engine != NULL)
		heap_stop(session);
	session->engine = NULL;
	return options_set(session) == EXIT_SUCCESS ? EXIT_SUCCESS : TRACE_REFUSED;
}

/* Acts on a line as soon as it was read: 0, or an exit status, or TRACE_REFUSED. */
static int op_visit(const struct trace_op *op, void *context)
{
	struct session *session = context;
	int status = EXIT_SUCCESS;

	if (op->kind == 'h') {
		fputs(LINES_HELP, answers());
		return EXIT_SUCCESS;
	}
	if (op->kind == 'o')
		return option_visit(session);
	if (session->engine == NULL)
		status = heap_start(session);
	if (status == EXIT_SUCCESS)
		status = op->kind == 'p' ? heap_print(session, op->line) : op_make(session, op);
	if (op->kind == 'p' || session->is_typed)
		fflush(answers());
	return status;
}

static int trace_failed(const char *error)
{
	fflush(stdout);
	fprintf(stderr, "%s\n", error);
	return EXIT_BAD_USE;
}

/* A recording has no calls, as a rule, where its program did not end well. */
static void trace_look(const struct session *session)
{
	if (session->trace.count == 0 && session->trace.mistake_count == 0 && !session->is_typed)
		fprintf(stderr, "%s: the trace is empty: if a program recorded it, did that flush the file?\n",
		        session->name);
}

/* Reads lines that are typed: an exit status. */
static int trace_answer(struct session *session)
{
	fprintf(answers(), "Type a call, such as \"a 0 100\"; \"help\" lists them, Ctrl-D ends.\n");
	fflush(answers());
	return trace_type(session->in, session->name, &session->trace, op_visit, session);
}

static int trace_replay(struct session *session)
{
	char error[TRACE_ERROR_MAX];
	int status = session->is_typed ? trace_answer(session) :
		trace_visit(session->in, session->name, &session->trace, op_visit, session, error);

	progress_end();
	if (status == -1)
		return trace_failed(error);
	if (status == EXIT_SUCCESS)
		trace_look(session);
	if (status == EXIT_SUCCESS && session->engine == NULL)
		status = heap_start(session);
	if (status != EXIT_SUCCESS)
		return status;
	replay_end(&session->replay);
	return session->replay.has_failed ? EXIT_FAILURE : EXIT_SUCCESS;
}

/* ---- Further passes: the trace is known ------------------------------------------------------ */

/* Starts the heap anew and replays so many calls: an exit status. */
static int replay_again(struct session *session, size_t calls)
{
	int status = heap_start(session);

	for (size_t i = 0; i < calls && status == EXIT_SUCCESS; i++) {
		if (!replay_op(&session->replay, &session->trace.ops[i]))
			status = EXIT_FAILURE;
		progress_show(i, calls);
	}
	progress_end();
	return status;
}

/* Writes the heap as it was after the call that --at names: an exit status. */
static int heap_write_at(struct session *session, size_t peak_call)
{
	size_t calls = chosen.is_at_peak ? peak_call : chosen.at;
	int status;

	if (calls > session->trace.count) {
		fprintf(stderr, "mems-replay: --at %zu: the trace has only %zu call%s\n", calls,
		        session->trace.count, plural(session->trace.count));
		return EXIT_BAD_USE;
	}
	status = replay_again(session, calls);
	if (status == EXIT_SUCCESS)
		status = heap_write(session);
	heap_stop(session);
	return status;
}

static int walks_and_page_write(FILE *out, struct session *session)
{
	struct timeline timeline = {
		.name = session->name,
		.trace = &session->trace,
		.engine = session->engine,
		.options = session->options,
		.peak_call = session->replay.most_bytes_call,
	};
	int result;

	if (chosen.walks != NULL && (timeline.walks = fopen(chosen.walks, "w")) == NULL) {
		write_failed(chosen.walks);
		return -1;
	}
	result = timeline_write(out, &timeline);
	if (timeline.walks != NULL && fclose(timeline.walks) != 0) {
		write_failed(chosen.walks);
		result = -1;
	}
	return result;
}

static int page_write(struct session *session, size_t peak_call)
{
	int status = heap_start(session);

	if (status != EXIT_SUCCESS)
		return status;
	session->replay.most_bytes_call = peak_call;
	status = file_write(chosen.html, walks_and_page_write, session);
	progress_end();
	heap_stop(session);
	return status;
}

/* Writes a page without a trace, to play on: an exit status. */
static int empty_page_write(void)
{
	struct session session = {.name = ""};

	return page_write(&session, 0);
}

/* ---- Statistics ------------------------------------------------------------------------------ */

/* Seconds for each call of the whole trace, measured in a pass that does nothing else. */
static int time_measure(struct session *session, double *seconds)
{
	bool is_checking = chosen.is_checking;
	double began;
	int status;

	chosen.is_checking = false;
	began = seconds_now();
	status = replay_again(session, session->trace.count);
	*seconds = (seconds_now() - began) / (double)(session->trace.count + 1);
	heap_stop(session);
	chosen.is_checking = is_checking;
	return status;
}

static void stats_print(const struct session *session, const struct mems_stats *stats,
                        const struct replay *replay, double seconds)
{
	double torn = stats->hole_bytes == 0 ? 0 :
	              100 - 100 * (double)stats->largest_hole / (double)stats->hole_bytes;

	printf("calls                   %zu\n", session->trace.count);
	printf("most bytes in use       %zu (after call %zu)\n", replay->most_bytes,
	       replay->most_bytes_call);
	printf("bytes in use            %zu\n", stats->process_bytes);
	printf("bytes in holes          %zu\n", stats->hole_bytes);
	printf("pages                   %zu, in %zu main node%s\n", stats->pages, stats->main_nodes,
	       plural(stats->main_nodes));
	printf("segments                %zu PROCESS, %zu HOLE\n", stats->process_segments,
	       stats->hole_segments);
	printf("largest hole            %zu byte%s\n", stats->largest_hole,
	       plural(stats->largest_hole));
	printf("external fragmentation  %.1f %% (of the bytes in holes, those outside the largest)\n",
	       torn);
	printf("time per call           %.0f ns\n", seconds * 1e9);
}

static void summary_print(const struct session *session, const struct mems_stats *stats,
                          const struct replay *replay)
{
	printf("%s: %zu call%s, %zu block%s left, at most %zu byte%s in blocks, %zu mapped%s",
	       session->name, session->trace.count, plural(session->trace.count),
	       stats->process_segments, plural(stats->process_segments), replay->most_bytes,
	       plural(replay->most_bytes), stats->peak_mapped_bytes,
	       chosen.is_checking ? ", all checked" : "");
	if (replay->refused > 0)
		printf(", %zu beyond the limit of %zu bytes", replay->refused, session->options.limit);
	printf("\n");
}

/* ---- Comparing ------------------------------------------------------------------------------- */

static int comparison_write(FILE *out, struct session *session)
{
	compare_draw(&session->comparison, out);
	return 0;
}

static int op_ignore(const struct trace_op *op, void *context)
{
	(void)op;
	(void)context;
	return 0;
}

/* Compares all policies on a trace: an exit status. */
static int session_compare(struct session *session)
{
	struct comparison *comparison = &session->comparison;
	char error[TRACE_ERROR_MAX];
	int status;

	if (trace_visit(session->in, session->name, &session->trace, op_ignore, NULL, error) != 0)
		return trace_failed(error);
	trace_look(session);
	status = options_set(session);
	if (status != EXIT_SUCCESS)
		return status;
	*comparison = (struct comparison){
		.name = session->name, .trace = &session->trace, .options = session->options,
	};
	if (compare_run(comparison) != 0) {
		fprintf(stderr, "%s: no memory for the blocks of the trace\n", session->name);
		return EXIT_FAILURE;
	}
	if (chosen.svg != NULL)
		return file_write(chosen.svg, comparison_write, session);
	compare_print(comparison, stdout);
	return EXIT_SUCCESS;
}

/* ---- One trace ------------------------------------------------------------------------------- */

/* What is left to do when the trace was replayed once: an exit status. */
static int session_finish(struct session *session)
{
	struct replay first = session->replay;
	struct mems_stats stats;
	double seconds = 0;
	int status = EXIT_SUCCESS;

	session->engine->get_stats(&stats);
	if (!chosen.has_at)
		status = heap_write(session);
	heap_stop(session);
	if (status == EXIT_SUCCESS && chosen.has_at)
		status = heap_write_at(session, first.most_bytes_call);
	if (status == EXIT_SUCCESS && chosen.html != NULL)
		status = page_write(session, first.most_bytes_call);
	if (status == EXIT_SUCCESS && chosen.has_stats)
		status = time_measure(session, &seconds);
	if (status == EXIT_SUCCESS && !is_output_taken())
		summary_print(session, &stats, &first);
	if (status == EXIT_SUCCESS && chosen.has_stats)
		stats_print(session, &stats, &first, seconds);
	return status;
}

/* Replays one trace and does all that is asked for: an exit status. */
static int session_play(struct session *session)
{
	int status = trace_replay(session);

	if (status == EXIT_SUCCESS)
		return session_finish(session);
	if (session->engine != NULL)
		heap_stop(session);
	return status;
}

static int session_run(const char *path, const char *name)
{
	struct session session = {.name = name};
	int status;

	session.in = is_standard(path) ? stdin : fopen(path, "r");
	if (session.in == NULL) {
		fprintf(stderr, "%s: %s\n", name, strerror(errno));
		return EXIT_BAD_USE;
	}
	session.is_typed = session.in == stdin && isatty(STDIN_FILENO) && !chosen.is_comparing;
	progress_begin(!chosen.is_printing && !session.is_typed);
	status = chosen.is_comparing ? session_compare(&session) : session_play(&session);
	trace_free(&session.trace);
	if (session.in != stdin)
		fclose(session.in);
	return status;
}

static int path_run(const char *path)
{
	char *name = name_shown(is_standard(path) ? "standard input" : path);
	int status = EXIT_FAILURE;

	if (name != NULL)
		status = session_run(path, name);
	else
		fprintf(stderr, "mems-replay: no memory for a name\n");
	free(name);
	return status;
}

/* ---- The command line ------------------------------------------------------------------------ */

static void bad_use(const char *name, const char *what, const char *text)
{
	fprintf(stderr, "mems-replay: %s: %s: %s\n", name, what, text);
	exit(EXIT_BAD_USE);
}

/* A decimal number, or the end of the program. */
static size_t number_parse(const char *name, const char *text)
{
	size_t value = 0;

	for (const char *digit = text; *digit != '\0'; digit++) {
		size_t add = (size_t)(*digit - '0');

		if (*digit < '0' || *digit > '9')
			bad_use(name, "not a number", text);
		if (value > (SIZE_MAX - add) / 10)
			bad_use(name, "too large", text);
		value = value * 10 + add;
	}
	if (*text == '\0')
		bad_use(name, "not a number", text);
	return value;
}

static size_t policy_parse(const char *text)
{
	size_t policy;

	if (!trace_policy(text, &policy))
		bad_use("--policy", "none of first_fit, next_fit, best_fit, worst_fit and quick_fit", text);
	return policy;
}

/* Notes an option of the heap; the last of the same name wins. */
static void option_choose(const char *name, enum mems_option option, size_t value)
{
	size_t i = 0;

	while (i < chosen.option_count && chosen.options[i].option != option)
		i++;
	chosen.options[i] = (struct trace_option){.option = option, .value = value};
	chosen.option_words[i] = name;
	if (i == chosen.option_count)
		chosen.option_count++;
}

/* Notes a file that is to be written. */
static void path_choose(const char *name, const char **path, const char *value)
{
	if (*path != NULL)
		bad_use(name, "given twice", value);
	*path = value;
}

static void at_parse(const char *text)
{
	if (chosen.has_at)
		bad_use("--at", "given twice", text);
	chosen.has_at = true;
	chosen.is_at_peak = strcmp(text, "peak") == 0;
	if (!chosen.is_at_peak)
		chosen.at = number_parse("--at", text);
}

enum choice {
	CHECK = 1, PRINT, STATS, JSON, SVG, HTML, WALKS, AT, COMPARE,
	POLICY, ALIGNMENT, PAGE_SIZE, START, LIMIT, VERSION, HELP = 'h'
};

/* Acts on one option of the command line. */
static void choose(int choice, const char *value)
{
	switch (choice) {
	case CHECK: chosen.is_checking = true; break;
	case PRINT: chosen.is_printing = true; break;
	case STATS: chosen.has_stats = true; break;
	case JSON: path_choose("--json", &chosen.json, value); break;
	case SVG: path_choose("--svg", &chosen.svg, value); break;
	case HTML: path_choose("--html", &chosen.html, value); break;
	case WALKS: chosen.walks = value; break;
	case AT: at_parse(value); break;
	case COMPARE: chosen.is_comparing = true; break;
	case POLICY: option_choose("--policy", MEMS_POLICY, policy_parse(value)); break;
	case ALIGNMENT:
		option_choose("--alignment", MEMS_ALIGNMENT, number_parse("--alignment", value));
		break;
	case PAGE_SIZE:
		option_choose("--page-size", MEMS_PAGE_SIZE, number_parse("--page-size", value));
		break;
	case START:
		option_choose("--start", MEMS_START_ADDRESS, number_parse("--start", value));
		break;
	case LIMIT: option_choose("--limit", MEMS_LIMIT, number_parse("--limit", value)); break;
	default: /* getopt_long has said why */
		fputs("Try 'mems-replay --help' for more information.\n", stderr);
		exit(EXIT_BAD_USE);
	}
}

static int text_print(const char *text)
{
	return fputs(text, stdout) < 0 || fflush(stdout) != 0 ? write_failed("-") : EXIT_SUCCESS;
}

/* Reads the options. Those that end the program at once do so. */
static void command_line_read(int argc, char **argv)
{
	static const struct option options[] = {
		{"check", no_argument, NULL, CHECK},
		{"print", no_argument, NULL, PRINT},
		{"stats", no_argument, NULL, STATS},
		{"json", required_argument, NULL, JSON},
		{"svg", required_argument, NULL, SVG},
		{"html", required_argument, NULL, HTML},
		{"walks", required_argument, NULL, WALKS}, /* for the tests of the page */
		{"at", required_argument, NULL, AT},
		{"compare", no_argument, NULL, COMPARE},
		{"policy", required_argument, NULL, POLICY},
		{"alignment", required_argument, NULL, ALIGNMENT},
		{"page-size", required_argument, NULL, PAGE_SIZE},
		{"start", required_argument, NULL, START},
		{"limit", required_argument, NULL, LIMIT},
		{"help", no_argument, NULL, HELP},
		{"version", no_argument, NULL, VERSION},
		{NULL, 0, NULL, 0},
	};
	static char name[] = "mems-replay";
	int choice;

	argv[0] = name; /* for the messages of getopt_long */
	while ((choice = getopt_long(argc, argv, "h", options, NULL)) != -1) {
		if (choice == HELP)
			exit(text_print(help));
		if (choice == VERSION)
			exit(text_print("mems-replay " MEMS_VERSION "\n"));
		choose(choice, optarg);
	}
}

/* Is this output one of the traces, which would be lost? */
static bool is_trace(const char *output, char **traces)
{
	while (*traces != NULL && (is_standard(*traces) || !name_is_same(output, *traces)))
		traces++;
	return *traces != NULL;
}

/* Is there a file that is no page? Where no trace is named, it may be that. */
static bool is_no_page(const char *path)
{
	static const char page[] = "<!DOCTYPE html>";
	char begin[sizeof page - 1];
	struct stat found;
	FILE *in = NULL;
	size_t length = 0;

	if (stat(path, &found) == 0 && S_ISREG(found.st_mode))
		in = fopen(path, "r");
	if (in == NULL)
		return false;
	length = fread(begin, 1, sizeof begin, in);
	fclose(in);
	return length != 0 && (length != sizeof begin || memcmp(begin, page, length) != 0);
}

/* Where outputs would get into the way of one another, or of what is read: what is wrong, or NULL. */
static const char *outputs_fault(char **traces)
{
	bool are_same = name_is_same(chosen.json, chosen.svg) ||
	                name_is_same(chosen.svg, chosen.html) || name_is_same(chosen.html, chosen.json);

	if (is_output_taken() && (are_same || chosen.is_printing || chosen.has_stats))
		return "standard output can take one of --json, --svg, --html, --print and --stats";
	if (is_trace(chosen.json, traces) || is_trace(chosen.svg, traces) || is_trace(chosen.html, traces))
		return "the trace would be overwritten";
	if (*traces == NULL && chosen.html != NULL && is_no_page(chosen.html))
		return "--html: the file is there and no page: is it the trace?";
	return are_same ? "--json, --svg and --html want a file each" : NULL;
}

/* What is wrong with the command line as a whole, or NULL. */
static const char *command_line_fault(int traces, char **names)
{
	bool has_state = chosen.json != NULL || chosen.svg != NULL;

	if (traces == 0 && (chosen.html == NULL || has_state))
		return "no trace is named (try mems-replay --help)";
	if (traces > 1 && (has_state || chosen.html != NULL))
		return "--json, --svg and --html take one trace at a time";
	if (chosen.is_comparing && (chosen.is_checking || chosen.is_printing || chosen.has_stats ||
	                            chosen.has_at || chosen.json != NULL || chosen.html != NULL ||
	                            is_chosen(MEMS_POLICY)))
		return "--compare goes with --svg and with options of the heap, but not with --policy";
	if (chosen.has_at && !has_state)
		return "--at needs --json or --svg";
	if (chosen.walks != NULL && chosen.html == NULL)
		return "--walks needs --html";
	return outputs_fault(names);
}

int main(int argc, char **argv)
{
	int worst = EXIT_SUCCESS;
	const char *fault;

	command_line_read(argc, argv);
	fault = command_line_fault(argc - optind, argv + optind);
	if (fault != NULL) {
		fprintf(stderr, "mems-replay: %s\n", fault);
		return EXIT_BAD_USE;
	}
	if (optind == argc)
		worst = empty_page_write();
	for (int i = optind; i < argc; i++) {
		int status = path_run(argv[i]);

		worst = status > worst ? status : worst;
	}
	errno = 0;
	if (fflush(stdout) != 0 || ferror(stdout) != 0)
		worst = worst == EXIT_SUCCESS ? write_failed("-") : worst;
	return worst;
}
