/*
 * Turns a core dump or an image into text, JSON, SVG, or a list of differences. Calls all files
 * here, svg and name; the user calls it.
 *
 * The main program: what it can do is in the text of --help below.
 *
 * Exit 0: all well. 1: the heap is not sound (--check), it has no history, or something could not be
 * written. 2: a file or the command line is wrong.
 */
#define _GNU_SOURCE

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "diff.h"
#include "look.h"
#include "mems.h"
#include "name.h"
#include "svg.h"

enum { EXIT_BAD_USE = 2 };

static const char help[] =
	"usage: mems-look [OPTIONS] FILE\n"
	"\n"
	"Shows the heap of a program that has ended. FILE is the core dump of a program with MeMS in\n"
	"it, for which no symbols are needed, or an image that mems_save wrote.\n"
	"\n"
	"  --stats               print the counters of the heap; this is done where no option asks\n"
	"                        for anything else\n"
	"  --print               print the chains, as mems_print_stats does\n"
	"  --json FILE           write the heap as JSON\n"
	"  --svg FILE            draw the heap as a picture\n"
	"                        FILE may be \"-\" for standard output\n"
	"  --check               verify the heap: exit 1 if it was not sound, as in the middle of a\n"
	"                        call\n"
	"  --explain ADDRESS     say what a virtual or physical address was\n"
	"  --live                list what was live, by label and caller; of a heap with MEMS_HISTORY\n"
	"  --history ADDRESS     list the calls that had to do with it; likewise\n"
	"  --diff OTHER          print what was taken, freed, resized and changed from the heap in\n"
	"                        FILE to the one in OTHER\n"
	"\n"
	"  -h, --help            print this\n"
	"  --version             print the version\n"
	"\n"
	"Example: mems-look --print core\n";

/* What the command line asks for. */
static struct {
	bool is_printing, is_checking, has_stats, has_address, is_listing, has_history;
	const char *json, *svg, *other;
	uintptr_t address, history; /* to explain, and to tell the history of */
} chosen;

/* ---- What is written ------------------------------------------------------------------------- */

/* Prints one line on a file: what is wrong with it, or what should be known. */
static void say(const char *path, const char *text)
{
	char *name = name_shown(path);
	fprintf(stderr, "mems-look: %s: %s\n", name == NULL ? "a file" : name, text);
	free(name);
}

static bool is_standard(const char *path)
{
	return strcmp(path, "-") == 0;
}

/* Says why a file could not be written: an exit status. */
static int write_failed(const char *path)
{
	say(is_standard(path) ? "standard output" : path, strerror(errno != 0 ? errno : EIO));
	return EXIT_FAILURE;
}

static void json_write(FILE *out)
{
	mems_fprint_json(out); /* an error stays in out */
}

static void picture_write(FILE *out)
{
	static const struct engine engine = {
		.has_memory = true, .get_stats = mems_get_stats, .walk = mems_walk };
	svg_write(out, &engine);
}

/* Writes a file, or standard output: an exit status. */
static int file_write(const char *path, void write_it(FILE *out))
{
	FILE *const out = is_standard(path) ? stdout : fopen(path, "w");
	if (out == NULL)
		return write_failed(path);
	errno = 0;
	write_it(out);
	bool is_good = fflush(out) == 0 && ferror(out) == 0;
	if (out != stdout)
		is_good = fclose(out) == 0 && is_good;
	return is_good ? EXIT_SUCCESS : write_failed(path);
}

static void stats_print(void)
{
	struct mems_stats stats;
	mems_get_stats(&stats);
	printf("%zu of %zu mapped bytes in use, %zu free; the most in use were %zu\n"
	       "%zu page%s in %zu main node%s\n"
	       "%zu PROCESS and %zu HOLE segments; the largest HOLE has %zu byte%s\n"
	       "%zu bytes in free pages that may be in memory, %zu in the tables\n",
	       stats.process_bytes, stats.mapped_bytes, stats.hole_bytes, stats.peak_process_bytes,
	       stats.pages, plural(stats.pages), stats.main_nodes, plural(stats.main_nodes),
	       stats.process_segments, stats.hole_segments, stats.largest_hole,
	       plural(stats.largest_hole), stats.resident_hole_bytes, stats.metadata_bytes);
}

static void event_print(const struct mems_event *event)
{
	static const char *const kinds[] = {
		[MEMS_TAKEN] = "taken", [MEMS_RESIZED] = "resized", [MEMS_FREED] = "freed" };
	char *const label = event->label != NULL ? name_shown(event->label) : NULL;
	printf("call %" PRIu64 ": %s, %zu byte%s at %" PRIuPTR ", by 0x%" PRIxPTR "%s%s%s\n",
	       event->call, kinds[event->kind], event->size, plural(event->size), event->start,
	       (uintptr_t)event->caller,
	       label != NULL ? " (" : "", label != NULL ? label : "", label != NULL ? ")" : "");
	free(label);
}

/* Prints what is known of an address, the newest first. */
static void history_print(void)
{
	const void *const address = (const void *)chosen.history;
	const size_t count = mems_history(address, NULL, 0);
	struct mems_event *const events = calloc(count + 1, sizeof(*events));
	const size_t written = events == NULL ? 0 : mems_history(address, events, count);
	for (size_t i = 0; i < written; i++)
		event_print(&events[i]);
	if (written == 0)
		puts("No call is remembered.");
	free(events);
}

/* Prints what the heap remembers of its calls: an exit status. */
static int journal_print(const struct look *look, const char *path)
{
	if (look->no_history != NULL) {
		say(path, look->no_history);
		return EXIT_FAILURE;
	}
	if (chosen.has_history)
		history_print();
	if (chosen.is_listing)
		mems_fprint_live(stdout); /* an error stays there */
	return EXIT_SUCCESS;
}

static int check_print(const struct look *look)
{
	if (look->broken == 0)
		puts("The heap is sound.");
	else
		fputs(look->report, stdout);
	return look->broken == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

/* What was asked for of one heap: an exit status. */
static int heap_show(const struct look *look, const char *path)
{
	int status = EXIT_SUCCESS, answered = EXIT_SUCCESS;
	errno = 0;
	if (chosen.has_stats)
		stats_print();
	if (chosen.is_printing)
		mems_print_stats();
	if (chosen.has_address)
		mems_explain((const void *)chosen.address, stdout);
	if (chosen.has_history || chosen.is_listing)
		answered = journal_print(look, path);
	if (ferror(stdout)) /* later on errno would be another one's */
		return write_failed("-");
	if (chosen.json != NULL)
		status = file_write(chosen.json, json_write);
	if (status == EXIT_SUCCESS && chosen.svg != NULL)
		status = file_write(chosen.svg, picture_write);
	if (chosen.is_checking && status == EXIT_SUCCESS)
		status = check_print(look);
	return status == EXIT_SUCCESS ? answered : status;
}

/* ---- Files that are looked at ---------------------------------------------------------------- */

/* Opens a file; says what is wrong with it, or what to bear in mind. */
static bool path_open(struct look *look, const char *path)
{
	if (!look_open(look, path)) {
		say(path, look->fault);
		return false;
	}
	if (look->broken != 0 && !chosen.is_checking)
		say(path, "the heap is not sound, as in the middle of a call; --check tells more");
	if (look->missing != 0)
		say(path, "parts of the tables are not in the core dump");
	return true;
}

/* Shows a heap and notes its blocks, unless that is NULL: an exit status. */
static int path_show(const char *path, struct diff_blocks *blocks, bool is_shown)
{
	struct look look;
	if (!path_open(&look, path))
		return EXIT_BAD_USE;
	int status = is_shown ? heap_show(&look, path) : EXIT_SUCCESS;
	if (blocks != NULL && !diff_note(&look, blocks)) {
		errno = ENOMEM;
		status = write_failed(path);
	}
	look_close(&look);
	return status;
}

static int both_show(const char *path)
{
	struct diff_blocks first = { 0 }, second = { 0 };
	const int status = path_show(path, &first, true);
	const int other = status == EXIT_BAD_USE ? status : path_show(chosen.other, &second, false);
	if (status != EXIT_BAD_USE && other == EXIT_SUCCESS)
		diff_write(&first, &second, stdout);
	free(first.blocks);
	free(second.blocks);
	return status > other ? status : other;
}

/* ---- The command line ------------------------------------------------------------------------ */

static int text_print(const char *text)
{
	fputs(text, stdout);
	return fflush(stdout) == 0 ? EXIT_SUCCESS : write_failed("-");
}

static void bad_use(const char *text)
{
	fprintf(stderr, "mems-look: %s\n", text);
	exit(EXIT_BAD_USE);
}

/* An address in decimal, or in hexadecimal with 0x. */
static uintptr_t address_read(const char *text)
{
	char *end;
	errno = 0;
	const bool is_hexadecimal = strncmp(text, "0x", 2) == 0;
	const uintmax_t address = strtoumax(text, &end, is_hexadecimal ? 16 : 10);
	if (strchr("0123456789", text[0]) == NULL || text[0] == '\0' || *end != '\0' || errno != 0 ||
	    address > UINTPTR_MAX)
		bad_use("--explain and --history take an address, decimal or with 0x");
	return (uintptr_t)address;
}

enum choice {
	STATS = 1, PRINT, JSON, SVG, CHECK, EXPLAIN, LIVE, HISTORY, DIFF, VERSION, HELP = 'h'
};

static void choose(int choice, const char *argument)
{
	switch (choice) {
	case STATS: chosen.has_stats = true; break;
	case PRINT: chosen.is_printing = true; break;
	case JSON: chosen.json = argument; break;
	case SVG: chosen.svg = argument; break;
	case CHECK: chosen.is_checking = true; break;
	case DIFF: chosen.other = argument; break;
	case LIVE: chosen.is_listing = true; break;
	case HISTORY:
		chosen.history = address_read(argument);
		chosen.has_history = true;
		break;
	case HELP: exit(text_print(help));
	case VERSION: exit(text_print("mems-look " MEMS_VERSION "\n"));
	case EXPLAIN:
		chosen.address = address_read(argument);
		chosen.has_address = true;
		break;
	default: /* getopt_long has said why */
		fputs("Try 'mems-look --help' for more information.\n", stderr);
		exit(EXIT_BAD_USE);
	}
}

/* Is there anything to be printed? */
static bool has_text(void)
{
	return chosen.has_stats || chosen.is_printing || chosen.is_checking || chosen.has_address ||
	       chosen.is_listing || chosen.has_history || chosen.other != NULL;
}

static void command_line_read(int argc, char **argv)
{
	static const struct option options[] = {
		{"stats", no_argument, NULL, STATS},
		{"print", no_argument, NULL, PRINT},
		{"json", required_argument, NULL, JSON},
		{"svg", required_argument, NULL, SVG},
		{"check", no_argument, NULL, CHECK},
		{"explain", required_argument, NULL, EXPLAIN},
		{"live", no_argument, NULL, LIVE},
		{"history", required_argument, NULL, HISTORY},
		{"diff", required_argument, NULL, DIFF},
		{"help", no_argument, NULL, HELP},
		{"version", no_argument, NULL, VERSION},
		{NULL, 0, NULL, 0},
	};
	static char name[] = "mems-look";
	int choice;

	argv[0] = name; /* for the messages of getopt_long */
	while ((choice = getopt_long(argc, argv, "h", options, NULL)) != -1)
		choose(choice, optarg);
	if (!has_text() && chosen.json == NULL && chosen.svg == NULL)
		chosen.has_stats = true;
}

/* Where outputs would get into the way of one another, or of what is read: what is wrong, or NULL. */
static const char *outputs_fault(const char *path)
{
	const char *const outputs[] = { chosen.json, chosen.svg };
	const bool are_same = name_is_same(chosen.json, chosen.svg);
	for (int i = 0; i < 2; i++) {
		if (outputs[i] == NULL)
			continue;
		if (is_standard(outputs[i]) && (are_same || has_text()))
			return "standard output can take one of --json, --svg and what is printed";
		if (name_is_same(outputs[i], path) || name_is_same(outputs[i], chosen.other))
			return "the file would be overwritten";
	}
	return are_same ? "--json and --svg want a file each" : NULL;
}

int main(int argc, char **argv)
{
	command_line_read(argc, argv);
	if (argc - optind != 1)
		bad_use(optind == argc ? "no file is named (try mems-look --help)"
		                       : "one file at a time (try mems-look --help)");
	const char *const fault = outputs_fault(argv[optind]);
	if (fault != NULL)
		bad_use(fault);
	int status = chosen.other == NULL ? path_show(argv[optind], NULL, true)
	                                  : both_show(argv[optind]);
	errno = 0;
	if (fflush(stdout) != 0 || ferror(stdout) != 0)
		status = status == EXIT_SUCCESS ? write_failed("-") : status;
	return status;
}
