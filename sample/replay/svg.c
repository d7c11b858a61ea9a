/* Turns a heap into an SVG picture. See svg.h. */
#include "svg.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "name.h"

/* Lengths in the units of the picture, which are pixels where it is shown at its own size. */
enum {
	WIDTH = 1000,
	MARGIN = 16,
	BARS_LEFT = 176, /* where the bars begin, right of the labels */
	BARS_WIDTH = WIDTH - MARGIN - BARS_LEFT,
	ROWS_TOP = 76,
	ROW_HEIGHT = 66,
	BAR_HEIGHT = 36,
	FOOT_HEIGHT = 132,
	MARK_MIN = 8,    /* a segment narrower than this is summed up with narrow neighbours */
	LETTER = 7,      /* the width of a letter of the small type, rounded up */
};

enum {
	ROWS_MAX = 32,           /* more main nodes than this share rows */
	SCALE_SHARED_UP_TO = 8, /* the longest row is at most so many times the shortest */
	LENGTHS_TEXT_MAX = 84,   /* bytes of the text of the sub-chain lengths */
};

struct row {
	uintptr_t start, end; /* virtual addresses */
	const void *physical; /* of the first byte */
	size_t first_node, nodes, segments;
};

/* Neighbours that are drawn as one mark. */
struct group {
	uintptr_t start, end;
	const void *physical;
	size_t segments, process_segments;
	size_t process_bytes;
};

struct picture {
	FILE *out;
	const struct engine *engine;
	struct mems_stats stats;
	size_t nodes_per_row;
	size_t row_count;
	struct row rows[ROWS_MAX];
	bool is_one_scale;        /* the rows share one scale */
	double scale;             /* of the present row, in units for each byte */
	size_t row;               /* the present row */
	struct group narrow;      /* neighbours seen that were not drawn yet */
	double labels_end;        /* where the last address below the bar of this row ends */
	size_t summed_up;         /* segments that were */
	char lengths[LENGTHS_TEXT_MAX]; /* the sub-chain lengths, as far as they fit */
	size_t node_segments;     /* in the present node, while the lengths are written */
	size_t lengths_left_out;  /* nodes whose length did not fit */
};

/* ---- Looking at the heap first --------------------------------------------------------------- */

/* Adds the length of the sub-chain that has just ended to the text. */
static void length_add(struct picture *picture)
{
	size_t used = strlen(picture->lengths);
	int more = snprintf(picture->lengths + used, sizeof picture->lengths - used, "%s%zu",
	                    used == 0 ? "" : ", ", picture->node_segments);

	if (picture->lengths_left_out > 0 || more < 0 ||
	    (size_t)more >= sizeof picture->lengths - used) {
		picture->lengths[used] = '\0';
		picture->lengths_left_out++;
	}
	picture->node_segments = 0;
}

static int row_measure(const struct mems_segment *segment, void *context)
{
	struct picture *picture = context;
	struct row *row = &picture->rows[segment->node / picture->nodes_per_row];

	if (row->segments == 0) {
		row->start = segment->start;
		row->physical = segment->physical;
		row->first_node = segment->node;
	}
	row->segments++;
	row->end = segment->end;
	row->nodes = segment->node - row->first_node + 1;
	picture->node_segments++;
	if (segment->end == segment->node_end)
		length_add(picture);
	return 0;
}

static double row_bytes(const struct row *row)
{
	return (double)(row->end - row->start) + 1;
}

static double row_longest(const struct picture *picture)
{
	double longest = 1;

	for (size_t i = 0; i < picture->row_count; i++)
		if (row_bytes(&picture->rows[i]) > longest)
			longest = row_bytes(&picture->rows[i]);
	return longest;
}

static void picture_measure(struct picture *picture)
{
	picture->engine->get_stats(&picture->stats);
	picture->nodes_per_row = (picture->stats.main_nodes + ROWS_MAX - 1) / ROWS_MAX;
	if (picture->nodes_per_row == 0)
		return;
	picture->row_count = (picture->stats.main_nodes + picture->nodes_per_row - 1) /
	                     picture->nodes_per_row;
	picture->engine->walk(row_measure, picture);
	picture->is_one_scale = true;
	for (size_t i = 0; i < picture->row_count; i++)
		if (row_bytes(&picture->rows[i]) * (double)SCALE_SHARED_UP_TO < row_longest(picture))
			picture->is_one_scale = false;
}

/* ---- Looks ----------------------------------------------------------------------------------- */

/* Colours that stay apart for the colour-blind, and textures that stay apart in print. */
const char svg_looks[] =
	"<style>\n"
	"text { font-family: 'DejaVu Sans Mono', Menlo, Consolas, monospace; font-size: 11px;"
	" fill: #1b1f24 }\n"
	".title { font-family: 'DejaVu Sans', Verdana, sans-serif; font-size: 17px;"
	" font-weight: bold }\n"
	".note, .node { font-family: 'DejaVu Sans', Verdana, sans-serif; font-size: 12px }\n"
	".node { font-weight: bold }\n"
	".in-process { fill: #fff; font-weight: bold }\n"
	".in-hole { stroke: #fff; stroke-width: 4px; stroke-linejoin: round; paint-order: stroke }\n"
	".end { text-anchor: end }\n"
	".middle { text-anchor: middle }\n"
	".process, .hole, .mixed { stroke: #1b1f24; stroke-width: 1px }\n"
	".process { fill: url(#process) }\n"
	".hole { fill: url(#hole) }\n"
	".mixed { fill: #fff6e0; stroke-width: 0.4px }\n"
	".full { fill: url(#full) }\n"
	".border { stroke: #1b1f24; stroke-width: 2px }\n"
	"</style>\n"
	"<defs>\n"
	"<pattern id=\"process\" width=\"8\" height=\"8\" patternUnits=\"userSpaceOnUse\">"
	"<rect width=\"8\" height=\"8\" fill=\"#0d5a96\"/>"
	"<circle cx=\"2\" cy=\"2\" r=\"0.9\" fill=\"#4a93cd\"/>"
	"<circle cx=\"6\" cy=\"6\" r=\"0.9\" fill=\"#4a93cd\"/></pattern>\n"
	"<pattern id=\"hole\" width=\"9\" height=\"9\" patternUnits=\"userSpaceOnUse\""
	" patternTransform=\"rotate(45)\"><rect width=\"9\" height=\"9\" fill=\"#fff6e0\"/>"
	"<rect width=\"2.5\" height=\"9\" fill=\"#f0b23e\"/></pattern>\n"
	"<pattern id=\"full\" width=\"4\" height=\"4\" patternUnits=\"userSpaceOnUse\">"
	"<rect width=\"4\" height=\"4\" fill=\"#4a6d8a\"/>"
	"<rect width=\"4\" height=\"1\" fill=\"#a8b6c2\"/></pattern>\n"
	"</defs>\n";

/* ---- Head and foot --------------------------------------------------------------------------- */

static unsigned percent(size_t part, size_t whole)
{
	return whole == 0 ? 0 : (unsigned)((double)part / (double)whole * 100 + 0.5);
}

static void head_write(struct picture *picture)
{
	const struct mems_stats *stats = &picture->stats;
	size_t rows = picture->row_count == 0 ? 1 : picture->row_count;
	size_t height = ROWS_TOP + rows * ROW_HEIGHT + FOOT_HEIGHT;

	fprintf(picture->out,
	        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"
	        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%d\" height=\"%zu\""
	        " viewBox=\"0 0 %d %zu\" role=\"img\" aria-labelledby=\"t\">\n"
	        "<title id=\"t\">MeMS heap: %zu bytes in use, %zu free, in %zu main node%s</title>\n",
	        WIDTH, height, WIDTH, height, stats->process_bytes, stats->hole_bytes,
	        stats->main_nodes, plural(stats->main_nodes));
	fprintf(picture->out, "%s<rect width=\"100%%\" height=\"100%%\" fill=\"#fff\"/>\n", svg_looks);
	fprintf(picture->out,
	        "<text class=\"title\" x=\"%d\" y=\"34\">Heap: %zu of %zu mapped bytes in use"
	        " (%u %%)</text>\n"
	        "<text class=\"note\" x=\"%d\" y=\"56\">%zu PROCESS and %zu HOLE segments; the largest"
	        " HOLE has %zu bytes</text>\n",
	        MARGIN, stats->process_bytes, stats->mapped_bytes,
	        percent(stats->process_bytes, stats->mapped_bytes), MARGIN, stats->process_segments,
	        stats->hole_segments, stats->largest_hole);
}

/* One entry of the legend. Returns where the next one begins. */
static int legend_entry(FILE *out, int x, int y, const char *look, const char *text)
{
	fprintf(out,
	        "<rect class=\"%s\" x=\"%d\" y=\"%d\" width=\"26\" height=\"14\"/>"
	        "<text class=\"note\" x=\"%d\" y=\"%d\">%s</text>\n",
	        look, x, y, x + 32, y + 12, text);
	return x + 52 + (int)strlen(text) * LETTER;
}

static void legend_write(const struct picture *picture, int y)
{
	int x = legend_entry(picture->out, MARGIN, y, "process", "PROCESS: in use");

	x = legend_entry(picture->out, x, y, "hole", "HOLE: free");
	if (picture->summed_up == 0)
		return;
	legend_entry(picture->out, x, y, "mixed",
	             "several, too narrow to be seen: filled as far as they are in use");
	fprintf(picture->out, "<path class=\"full\" d=\"M%d %dv-8h26v8\"/>\n", x, y + 14);
}

/* What the picture does not show as it is. */
static void notes_write(const struct picture *picture, int y)
{
	fprintf(picture->out, "<text class=\"note\" x=\"%d\" y=\"%d\">", MARGIN, y);
	if (picture->summed_up > 0)
		fprintf(picture->out, "%zu narrow segments are summed up. ", picture->summed_up);
	if (picture->nodes_per_row > 1)
		fprintf(picture->out, "A row holds up to %zu main nodes, thick lines between them. ",
		        picture->nodes_per_row);
	if (!picture->is_one_scale && picture->row_count > 0)
		fprintf(picture->out, "Each row has a scale of its own.");
	fprintf(picture->out, "</text>\n");
}

static void foot_write(struct picture *picture)
{
	size_t rows = picture->row_count == 0 ? 1 : picture->row_count;
	int y = ROWS_TOP + (int)rows * ROW_HEIGHT;
	const struct mems_stats *stats = &picture->stats;

	legend_write(picture, y);
	notes_write(picture, y + 36);
	fprintf(picture->out,
	        "<text x=\"%d\" y=\"%d\">Page used: %zu</text>\n"
	        "<text x=\"%d\" y=\"%d\">Space unused: %zu</text>\n"
	        "<text x=\"%d\" y=\"%d\">Main Chain Length: %zu</text>\n"
	        "<text x=\"%d\" y=\"%d\">Sub-chain Length array: [%s",
	        MARGIN, y + 60, stats->pages, MARGIN, y + 76, stats->hole_bytes, MARGIN, y + 92,
	        stats->main_nodes, MARGIN, y + 108, picture->lengths);
	if (picture->lengths_left_out > 0)
		fprintf(picture->out, ", and %zu more", picture->lengths_left_out);
	fprintf(picture->out, "]</text>\n</svg>\n");
}

/* ---- Marks ----------------------------------------------------------------------------------- */

static double mark_x(const struct picture *picture, uintptr_t address)
{
	return (double)BARS_LEFT + (double)(address - picture->rows[picture->row].start) * picture->scale;
}

static int bar_y(const struct picture *picture)
{
	return ROWS_TOP + (int)picture->row * ROW_HEIGHT;
}

/* The first address of a mark, below the bar, where there is room for it. */
static void address_write(struct picture *picture, uintptr_t start)
{
	double x = mark_x(picture, start);
	char text[24];
	int length = snprintf(text, sizeof text, "%" PRIuPTR, start);

	if (x < picture->labels_end || x + length * LETTER > WIDTH - MARGIN)
		return;
	fprintf(picture->out, "<text x=\"%.1f\" y=\"%d\">%s</text>\n", x,
	        bar_y(picture) + BAR_HEIGHT + 13, text);
	picture->labels_end = x + (length + 1) * LETTER;
}

/* The rectangle of a mark, open for its tooltip. */
static double rectangle_open(struct picture *picture, const char *look, uintptr_t start,
                             size_t bytes)
{
	double width = (double)bytes * picture->scale;

	fprintf(picture->out,
	        "<rect class=\"%s\" x=\"%.2f\" y=\"%d\" width=\"%.2f\" height=\"%d\"><title>", look,
	        mark_x(picture, start), bar_y(picture), width, BAR_HEIGHT);
	return width;
}

/* Writes a text, which XML can hold, as the contents of an element. */
static void text_write(FILE *out, const char *text)
{
	for (; *text != '\0'; text++) {
		if (strchr("<>&", *text) != NULL)
			fprintf(out, "&#%d;", *text);
		else
			putc(*text, out);
	}
}

/* How many characters a text in UTF-8 has. */
static int text_length(const char *text)
{
	int length = 0;

	for (; *text != '\0'; text++)
		length += (*text & 0xC0) != 0x80;
	return length;
}

/* The label of the call that took a block, where the heap knows it, as it can be shown; else NULL.
 * The caller's, to be freed. */
static char *label_at(uintptr_t start)
{
	struct mems_event events[2]; /* one call is remembered, and the taking of the block */
	size_t count = mems_history((const void *)start, events, 2);

	for (size_t i = 0; i < count && i < 2; i++)
		if (events[i].kind == MEMS_TAKEN && events[i].label != NULL)
			return name_shown(events[i].label);
	return NULL;
}

static void segment_draw(struct picture *picture, bool is_process, const struct group *group)
{
	const char *name = is_process ? "PROCESS" : "HOLE";
	size_t size = group->end - group->start + 1;
	double width = rectangle_open(picture, is_process ? "process" : "hole", group->start, size);
	char text[40];
	int length = snprintf(text, sizeof text, "%s %zu", name, size);
	const char *shown = text;
	char *label = is_process ? label_at(group->start) : NULL;

	fprintf(picture->out, "%s[%" PRIuPTR ":%" PRIuPTR "], %zu bytes", name, group->start,
	        group->end, size);
	if (picture->engine->has_memory)
		fprintf(picture->out, ", physical 0x%" PRIxPTR, (uintptr_t)group->physical);
	if (label != NULL) {
		fprintf(picture->out, ", ");
		text_write(picture->out, label);
	}
	fprintf(picture->out, "</title></rect>\n");
	if (label != NULL && text_length(label) * LETTER + 6 <= width) {
		shown = label;
		length = text_length(label);
	} else if (length * LETTER + 6 > width) {
		shown = strchr(text, ' ') + 1;
		length = (int)strlen(shown);
	}
	if (length * LETTER + 6 <= width) {
		fprintf(picture->out, "<text class=\"%s middle\" x=\"%.1f\" y=\"%d\">",
		        is_process ? "in-process" : "in-hole", mark_x(picture, group->start) + width / 2,
		        bar_y(picture) + BAR_HEIGHT / 2 + 4);
		text_write(picture->out, shown);
		fprintf(picture->out, "</text>\n");
	}
	free(label);
}

static void sum_draw(struct picture *picture, const struct group *group)
{
	size_t bytes = group->end - group->start + 1;
	double full = (double)group->process_bytes / (double)bytes * (double)BAR_HEIGHT;
	double width = rectangle_open(picture, "mixed", group->start, bytes);

	fprintf(picture->out,
	        "[%" PRIuPTR ":%" PRIuPTR "]: %zu PROCESS, %zu HOLE, %u %% in use</title></rect>"
	        "<path class=\"full\" d=\"M%.2f %dv%.1fh%.2fv%.1f\"/>\n",
	        group->start, group->end, group->process_segments,
	        group->segments - group->process_segments, percent(group->process_bytes, bytes),
	        mark_x(picture, group->start), bar_y(picture) + BAR_HEIGHT, -full, width, full);
	picture->summed_up += group->segments;
}

/* Draws what was gathered, if anything. */
static void narrow_draw(struct picture *picture)
{
	struct group *group = &picture->narrow;

	if (group->segments == 1)
		segment_draw(picture, group->process_segments == 1, group);
	else if (group->segments > 1)
		sum_draw(picture, group);
	if (group->segments > 0)
		address_write(picture, group->start);
	*group = (struct group){0};
}

static void narrow_add(struct picture *picture, const struct mems_segment *segment)
{
	struct group *group = &picture->narrow;

	if (group->segments == 0) {
		group->start = segment->start;
		group->physical = segment->physical;
	}
	group->end = segment->end;
	group->segments++;
	if (segment->type == MEMS_PROCESS) {
		group->process_segments++;
		group->process_bytes += segment->size;
	}
}

/* ---- Rows ------------------------------------------------------------------------------------ */

static void row_begin(struct picture *picture, size_t index)
{
	struct row *row = &picture->rows[index];
	int y;

	picture->row = index;
	picture->labels_end = 0;
	picture->scale = (double)BARS_WIDTH / (picture->is_one_scale ? row_longest(picture) : row_bytes(row));
	y = bar_y(picture) + 10;
	fprintf(picture->out, "<text class=\"node\" x=\"%d\" y=\"%d\">", MARGIN, y);
	if (row->nodes == 1)
		fprintf(picture->out, "Main node %zu</text>\n", row->first_node);
	else
		fprintf(picture->out, "Main nodes %zu-%zu</text>\n", row->first_node,
		        row->first_node + row->nodes - 1);
	fprintf(picture->out,
	        "<text x=\"%d\" y=\"%d\">%" PRIuPTR "-%" PRIuPTR "</text>\n",
	        MARGIN, y + 15, row->start, row->end);
	if (picture->engine->has_memory)
		fprintf(picture->out, "<text x=\"%d\" y=\"%d\">at 0x%" PRIxPTR "</text>\n", MARGIN,
		        y + 30, (uintptr_t)row->physical);
}

/* A thick line where a main node ends that is not the last of its row. */
static void border_draw(struct picture *picture, uintptr_t end)
{
	fprintf(picture->out, "<path class=\"border\" d=\"M%.2f %dv%d\"/>\n", mark_x(picture, end + 1),
	        bar_y(picture) - 4, BAR_HEIGHT + 8);
}

static int segment_visit(const struct mems_segment *segment, void *context)
{
	struct picture *picture = context;
	bool is_row_end;

	if (segment->start == picture->rows[segment->node / picture->nodes_per_row].start)
		row_begin(picture, segment->node / picture->nodes_per_row);
	if ((double)segment->size * picture->scale < (double)MARK_MIN) {
		narrow_add(picture, segment);
	} else {
		narrow_draw(picture);
		narrow_add(picture, segment);
		narrow_draw(picture);
	}
	is_row_end = segment->end == picture->rows[picture->row].end;
	if (is_row_end || (double)(picture->narrow.end - picture->narrow.start) * picture->scale >=
	                          (double)MARK_MIN)
		narrow_draw(picture);
	if (segment->end == segment->node_end && !is_row_end)
		border_draw(picture, segment->end);
	return 0;
}

void svg_write(FILE *out, const struct engine *engine)
{
	struct picture picture = {.out = out, .engine = engine};

	picture_measure(&picture);
	head_write(&picture);
	if (picture.row_count == 0)
		fprintf(out, "<text class=\"note\" x=\"%d\" y=\"%d\">The heap is empty: it has no main node."
		        "</text>\n", MARGIN, ROWS_TOP + BAR_HEIGHT);
	engine->walk(segment_visit, &picture);
	foot_write(&picture);
}
