/*
 * Turns heaps that it makes into the pictures of the README. Calls mems, svg; for pictures.sh.
 *
 * Each is written as SVG to standard output:
 *
 *   pictures chains     the main chain and the sub-chains
 *   pictures split      a HOLE split into PROCESS and HOLE
 *   pictures mapping    virtual addresses and the physical ones behind them
 *   pictures text       the text on standard input, as a terminal shows it
 */
#include <inttypes.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "mems.h"
#include "svg.h"

enum { WIDTH = 800, MARGIN = 16, SEGMENTS_MAX = 64 };

/* The segments of the heap at one moment. */
struct chains {
	struct mems_segment segments[SEGMENTS_MAX];
	size_t count;
};

/* A row of segments to scale. */
struct bar {
	double x, y, width, height;
	uintptr_t start, end; /* virtual addresses that its width stands for */
};

/* ---- Shapes ---------------------------------------------------------------------------------- */

static void picture_open(int height, const char *title)
{
	printf("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"
	       "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%d\" height=\"%d\""
	       " viewBox=\"0 0 %d %d\" role=\"img\">\n<title>%s</title>\n%s"
	       "<defs><marker id=\"tip\" viewBox=\"0 0 10 10\" refX=\"9\" refY=\"5\" markerWidth=\"6\""
	       " markerHeight=\"6\" orient=\"auto-start-reverse\"><path d=\"M0 0L10 5L0 10z\"/></marker>"
	       "</defs>\n"
	       "<style>text { font-size: 12px } .arrow { stroke: #1b1f24; stroke-width: 1.5px;"
	       " fill: none } .soft { fill: #565e69 } .box { fill: #fff; stroke: #1b1f24;"
	       " stroke-width: 2px } .veil { fill: #0d5a96; fill-opacity: 0.12 }"
	       " .guide { stroke: #b3005e; stroke-width: 2px; stroke-dasharray: 5 4; fill: none }"
	       " .mark { fill: #b3005e; font-weight: bold }</style>\n"
	       "<rect width=\"100%%\" height=\"100%%\" fill=\"#fff\"/>\n",
	       WIDTH, height, WIDTH, height, title, svg_looks);
}

__attribute__((format(printf, 4, 5)))
static void text_draw(double x, double y, const char *look, const char *format, ...)
{
	va_list arguments;

	printf("<text class=\"%s\" x=\"%.1f\" y=\"%.1f\">", look, x, y);
	va_start(arguments, format);
	vprintf(format, arguments);
	va_end(arguments);
	printf("</text>\n");
}

static void box_draw(const char *look, double x, double y, double width, double height)
{
	printf("<rect class=\"%s\" x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\"/>\n", look, x, y,
	       width, height);
}

/* An arrow, with a tip on both ends for a link that can be followed both ways. */
static void arrow_draw(double x1, double y1, double x2, double y2, bool is_double)
{
	printf("<path class=\"arrow\" d=\"M%.1f %.1fL%.1f %.1f\" marker-end=\"url(#tip)\"%s/>\n", x1, y1,
	       x2, y2, is_double ? " marker-start=\"url(#tip)\"" : "");
}

static const char *name_of(const struct mems_segment *segment)
{
	return segment->type == MEMS_PROCESS ? "PROCESS" : "HOLE";
}

static const char *look_of(const struct mems_segment *segment)
{
	return segment->type == MEMS_PROCESS ? "process" : "hole";
}

static const char *text_look_of(const struct mems_segment *segment)
{
	return segment->type == MEMS_PROCESS ? "in-process middle" : "in-hole middle";
}

/* ---- Heaps ----------------------------------------------------------------------------------- */

static int segment_keep(const struct mems_segment *segment, void *context)
{
	struct chains *chains = context;

	chains->segments[chains->count++] = *segment;
	return chains->count == SEGMENTS_MAX;
}

static struct chains chains_read(void)
{
	struct chains chains = {.count = 0};

	mems_walk(segment_keep, &chains);
	return chains;
}

/* Takes a block, or ends the program. */
static void *block_take(size_t size)
{
	void *v_ptr = mems_malloc(size);

	if (v_ptr == NULL) {
		perror("mems_malloc");
		exit(1);
	}
	return v_ptr;
}

static void blocks_take(void **blocks, int count, size_t size)
{
	for (int i = 0; i < count; i++)
		blocks[i] = block_take(size);
}

/* ---- Bars ------------------------------------------------------------------------------------ */

static double bar_x(const struct bar *bar, uintptr_t address)
{
	return bar->x + (double)(address - bar->start) / (double)(bar->end - bar->start + 1) *
	                bar->width;
}

/* A segment with its name and size as far as there is room. */
static void segment_draw(const struct bar *bar, const struct mems_segment *segment)
{
	double x = bar_x(bar, segment->start);
	double width = bar_x(bar, segment->end + 1) - x;
	double middle = bar->y + bar->height / 2;

	box_draw(look_of(segment), x, bar->y, width, bar->height);
	if (width >= 56) {
		text_draw(x + width / 2, middle - 3, text_look_of(segment), "%s", name_of(segment));
		text_draw(x + width / 2, middle + 13, text_look_of(segment), "%zu", segment->size);
	} else if (width >= 34) {
		text_draw(x + width / 2, middle + 4, text_look_of(segment), "%zu", segment->size);
	}
}

/* All segments of a bar, and below it their first addresses where there is room. */
static void bar_draw(const struct bar *bar, const struct chains *chains)
{
	double free_from = 0;

	for (size_t i = 0; i < chains->count; i++) {
		const struct mems_segment *segment = &chains->segments[i];

		if (segment->start < bar->start || segment->end > bar->end)
			continue;
		segment_draw(bar, segment);
		if (bar_x(bar, segment->start) >= free_from && bar_x(bar, segment->start) < WIDTH - 50) {
			text_draw(bar_x(bar, segment->start), bar->y + bar->height + 15, "soft", "%" PRIuPTR,
			          segment->start);
			free_from = bar_x(bar, segment->start) + 48;
		}
	}
}

/* ---- The pictures ---------------------------------------------------------------------------- */

enum {
	NODE_WIDTH = 108,
	LINK = 28, /* the length of an arrow */
	CHAIN_TOP = 52,
	CHAIN_ROW = 92,
	BOX_HEIGHT = 56,
};

static void main_node_draw(const struct mems_segment *first, double y, bool is_last)
{
	const double left = MARGIN, right = MARGIN + NODE_WIDTH, middle = MARGIN + NODE_WIDTH / 2.0;
	const double link = LINK, height = BOX_HEIGHT, row = CHAIN_ROW;

	box_draw("box", left, y, right - left, height);
	text_draw(middle, y + 25, "node middle", "Main node %zu", first->node);
	text_draw(middle, y + 43, "middle", "%" PRIuPTR "-%" PRIuPTR, first->node_start,
	          first->node_end);
	arrow_draw(right, y + height / 2, right + link, y + height / 2, false);
	if (!is_last)
		arrow_draw(middle, y + height + 2, middle, y + row - 2, true);
}

static void chain_segment_draw(const struct mems_segment *segment, double x, double y, double width)
{
	const double link = LINK, height = BOX_HEIGHT;

	box_draw(look_of(segment), x, y, width, height);
	text_draw(x + width / 2, y + 18, text_look_of(segment), "%s", name_of(segment));
	text_draw(x + width / 2, y + 34, text_look_of(segment), "%" PRIuPTR "-%" PRIuPTR,
	          segment->start, segment->end);
	text_draw(x + width / 2, y + 50, text_look_of(segment), "%zu bytes", segment->size);
	if (segment->end != segment->node_end)
		arrow_draw(x + width + 1, y + height / 2, x + width + link - 1, y + height / 2, true);
}

/* The heap of the example: ten blocks of 1000 bytes. */
static void chains_draw(void)
{
	const double top = CHAIN_TOP, row = CHAIN_ROW, link = LINK, right = WIDTH - MARGIN;
	const double left = MARGIN + NODE_WIDTH + LINK;
	const double width = (right - left + link) / 5 - link;
	void *blocks[10];
	struct chains chains;
	size_t place = 0;

	blocks_take(blocks, 10, 1000);
	chains = chains_read();
	picture_open(CHAIN_TOP + 2 * CHAIN_ROW + BOX_HEIGHT + MARGIN, "Main chain and sub-chains");
	text_draw(MARGIN, 30, "node", "main chain");
	text_draw(left, 30, "node", "sub-chains: the segments of each main node, in the order of their"
	          " addresses");
	for (size_t i = 0; i < chains.count; i++) {
		const struct mems_segment *segment = &chains.segments[i];
		double y = top + (double)segment->node * row;

		if (segment->start == segment->node_start) {
			main_node_draw(segment, y, segment->node_end == chains.segments[chains.count - 1].end);
			place = 0;
		}
		chain_segment_draw(segment, left + (double)place++ * (width + link), y, width);
	}
}

/* Four blocks, the second freed, and then a smaller one in its place. */
static void split_draw(void)
{
	struct bar bar = {.x = MARGIN, .y = 46, .width = WIDTH - 2 * MARGIN, .height = 52};
	double below = 190;
	struct mems_segment hole;
	struct chains chains;
	void *blocks[4], *block;

	blocks_take(blocks, 4, 1000);
	mems_free(blocks[1]);
	mems_segment_at(blocks[1], &hole);
	chains = chains_read();
	bar.start = hole.node_start;
	bar.end = hole.node_end;
	picture_open(276, "A HOLE split into PROCESS and HOLE");
	text_draw(MARGIN, 32, "node", "Before mems_malloc(400)");
	bar_draw(&bar, &chains);
	block = block_take(400);
	chains = chains_read();
	printf("<path class=\"guide\" d=\"M%.1f %.1fV%.1fM%.1f %.1fV%.1f\"/>\n",
	       bar_x(&bar, hole.start), bar.y + bar.height + 20, below - 4, bar_x(&bar, hole.end + 1),
	       bar.y + bar.height + 20, below - 4);
	text_draw((bar_x(&bar, hole.start) + bar_x(&bar, hole.end + 1)) / 2, 150, "mark middle",
	          "the lowest HOLE that");
	text_draw((bar_x(&bar, hole.start) + bar_x(&bar, hole.end + 1)) / 2, 166, "mark middle",
	          "has 400 bytes is split");
	bar.y = below;
	text_draw(bar_x(&bar, hole.end + 1) + 12, below - 14, "node",
	          "After it: the block is at %" PRIuPTR, (uintptr_t)block);
	bar_draw(&bar, &chains);
}

/* One main node, as virtual addresses above and as physical ones below. */
static void node_mapping_draw(const struct bar *above, const struct bar *below,
                              const struct chains *chains, const struct mems_segment *first)
{
	printf("<path class=\"veil\" d=\"M%.1f %.1fH%.1fL%.1f %.1fH%.1fz\"/>\n", above->x,
	       above->y + above->height, above->x + above->width, below->x + below->width, below->y,
	       below->x);
	for (size_t i = 0; i < chains->count; i++) {
		if (chains->segments[i].node != first->node)
			continue;
		segment_draw(above, &chains->segments[i]);
		segment_draw(below, &chains->segments[i]);
	}
	text_draw(above->x, above->y - 8, "", "%" PRIuPTR, first->start);
	text_draw(above->x + above->width, above->y - 8, "end", "%" PRIuPTR, first->node_end);
	text_draw(below->x, below->y + below->height + 18, "", "0x%" PRIxPTR,
	          (uintptr_t)first->physical);
	text_draw(below->x + below->width, below->y + below->height + 18, "node end", "Main node %zu",
	          first->node);
}

/* One byte, in both. */
static void byte_mapping_draw(const struct bar *above, const struct bar *below, uintptr_t address)
{
	const void *physical = mems_get((const void *)address);
	double x = bar_x(above, address);

	printf("<path class=\"guide\" d=\"M%.1f %.1fV%.1f\"/>\n", x, above->y, below->y + below->height);
	text_draw(x + 10, 138, "mark", "mems_get(%" PRIuPTR ") = 0x%" PRIxPTR, address,
	          (uintptr_t)physical);
	text_draw(x + 10, 156, "mark", "mems_virtual(0x%" PRIxPTR ") = %" PRIuPTR, (uintptr_t)physical,
	          (uintptr_t)mems_virtual(physical));
}

static void mapping_draw(void)
{
	struct bar above = {.y = 64, .width = 244, .height = 44};
	struct bar below = {.y = 182, .width = 244, .height = 44};
	void *blocks[10];
	struct chains chains;

	blocks_take(blocks, 10, 1000);
	chains = chains_read();
	picture_open(288, "Virtual addresses and the physical ones behind them");
	text_draw(MARGIN, 30, "node", "Virtual addresses: the names of the bytes, without gaps");
	for (size_t i = 0; i < chains.count; i++) {
		const struct mems_segment *first = &chains.segments[i];

		if (first->start != first->node_start)
			continue;
		above.start = below.start = first->node_start;
		above.end = below.end = first->node_end;
		above.x = (double)(MARGIN + first->node * 262);
		below.x = above.x;
		node_mapping_draw(&above, &below, &chains, first);
		if (first->node == 0)
			byte_mapping_draw(&above, &below, (uintptr_t)blocks[1] + 8);
	}
	text_draw(MARGIN, 272, "node",
	          "Physical addresses: where the bytes are, in memory that mmap gave");
}

/* ---- Text ------------------------------------------------------------------------------------ */

enum { COLUMNS = 104, TEXT_LINE = 17, TEXT_LINES_MAX = 200, TEXT_BYTES = COLUMNS + 8 };

static char text_lines[TEXT_LINES_MAX][TEXT_BYTES];

/* Where a line that is too long is cut: before the last link of a chain that fits. */
static size_t cut_of(const char *line)
{
	size_t cut = 0;

	if (strlen(line) <= COLUMNS)
		return strlen(line);
	for (size_t i = 1; i <= COLUMNS; i++)
		if (strncmp(line + i, " <->", 4) == 0)
			cut = i;
	return cut == 0 ? COLUMNS : cut;
}

/* Reads standard input into lines that are not too long: how many. */
static int text_read(void)
{
	char line[4096];
	int count = 0;

	while (fgets(line, sizeof line, stdin) != NULL) {
		const char *rest = line;
		const char *indent = "";

		line[strcspn(line, "\n")] = '\0';
		do {
			size_t cut = cut_of(rest);

			if (count == TEXT_LINES_MAX)
				return count;
			snprintf(text_lines[count++], TEXT_BYTES, "%s%.*s", indent, (int)cut, rest);
			rest += cut;
			indent = "   ";
		} while (*rest != '\0');
	}
	while (count > 0 && text_lines[count - 1][0] == '\0')
		count--;
	return count;
}

static void text_escape(const char *text)
{
	for (; *text != '\0'; text++) {
		if (*text == '<')
			fputs("&lt;", stdout);
		else if (*text == '&')
			fputs("&amp;", stdout);
		else
			putchar(*text);
	}
}

static void terminal_draw(void)
{
	int count = text_read();
	int height = count * TEXT_LINE + 2 * MARGIN + 34;

	picture_open(height, "What the example prints");
	printf("<rect width=\"%d\" height=\"%d\" rx=\"8\" fill=\"#1b1f24\"/>\n"
	       "<circle cx=\"22\" cy=\"19\" r=\"5\" fill=\"#8a94a3\"/>"
	       "<circle cx=\"40\" cy=\"19\" r=\"5\" fill=\"#8a94a3\"/>"
	       "<circle cx=\"58\" cy=\"19\" r=\"5\" fill=\"#8a94a3\"/>\n"
	       "<g style=\"fill: #e8ebf0\"><style>g text { fill: #e8ebf0; white-space: pre }</style>\n",
	       WIDTH, height);
	for (int i = 0; i < count; i++) {
		printf("<text xml:space=\"preserve\" x=\"%d\" y=\"%d\">", MARGIN, 52 + i * TEXT_LINE);
		text_escape(text_lines[i]);
		printf("</text>\n");
	}
	printf("</g>\n");
}

int main(int argc, char **argv)
{
	static const struct {
		const char *name;
		void (*draw)(void);
	} pictures[] = {
		{"chains", chains_draw}, {"split", split_draw}, {"mapping", mapping_draw},
		{"text", terminal_draw},
	};

	mems_init();
	for (size_t i = 0; i < sizeof pictures / sizeof pictures[0]; i++) {
		if (argc != 2 || strcmp(argv[1], pictures[i].name) != 0)
			continue;
		pictures[i].draw();
		printf("</svg>\n");
		mems_finish();
		return fflush(stdout) != 0;
	}
	fprintf(stderr, "usage: pictures chains | split | mapping | text\n");
	return 2;
}
