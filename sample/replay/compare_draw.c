/*
 * Draws a comparison of policies as small multiples: a column for each policy, a row for each
 * measure, the calls from left to right. See compare.h.
 *
 * All panels of a row share one scale. Behind the curve of its policy a panel has those of the
 * others, thin and grey; each curve is written once and used by all.
 */
#include <inttypes.h>
#include <stdbool.h>

#include "compare.h"
#include "name.h"
#include "svg.h"

/* Lengths in the units of the picture. */
enum {
	LEFT = 150,
	TOP = 104,
	PANEL_WIDTH = 180,
	PANEL_HEIGHT = 96,
	COLUMN = PANEL_WIDTH + 26,
	ROW = PANEL_HEIGHT + 44,
	WIDTH = LEFT + TEXTBOOK_POLICIES * COLUMN,
	NAME_LETTERS = 60, /* of a name in the title; as many W fit */
};

static double mapped(const struct sample *sample)
{
	return (double)sample->mapped;
}

static double holes(const struct sample *sample)
{
	return (double)sample->holes;
}

static double fragmentation(const struct sample *sample)
{
	size_t outside = sample->hole - sample->largest_hole;

	return sample->hole == 0 ? 0 : 100 * (double)outside / (double)sample->hole;
}

static double looks(const struct sample *sample)
{
	return sample->looks;
}

static const struct curve {
	const char *name, *more; /* two lines */
	double (*value)(const struct sample *sample);
	int decimals;
	bool is_mean; /* of the whole trace is shown as a number, and not the value at the peak */
} curves[] = {
	{"Mapped", "bytes", mapped, 0, false},
	{"HOLEs", "how many", holes, 0, false},
	{"Fragmentation", "external, %", fragmentation, 1, false},
	{"Looked at", "HOLEs per request", looks, 1, true},
};
enum { CURVES = sizeof curves / sizeof *curves };

static double curve_most(const struct comparison *comparison, const struct curve *curve)
{
	double most = 0;

	for (size_t policy = 0; policy < TEXTBOOK_POLICIES; policy++)
		for (size_t i = 0; i <= COMPARE_SAMPLES; i++) {
			double value = curve->value(&comparison->outcomes[policy].samples[i]);

			most = value > most ? value : most;
		}
	return most == 0 ? 1 : most;
}

/* ---- Curves ---------------------------------------------------------------------------------- */

static double sample_x(size_t index)
{
	return (double)(index * PANEL_WIDTH) / (double)COMPARE_SAMPLES;
}

static void curve_define(FILE *out, const struct comparison *comparison, size_t row,
                         enum textbook_policy policy)
{
	double scale = (double)PANEL_HEIGHT / curve_most(comparison, &curves[row]);

	fprintf(out, "<path id=\"c%zu-%s\" d=\"M", row, textbook_policy_names[policy]);
	for (size_t i = 0; i <= COMPARE_SAMPLES; i++) {
		double value = curves[row].value(&comparison->outcomes[policy].samples[i]);

		fprintf(out, "%s%.1f %.1f", i == 0 ? "" : " ", sample_x(i), (double)PANEL_HEIGHT - value * scale);
	}
	fprintf(out, "\"/>\n");
}

/* The bytes in use, below the curve of those that are mapped. */
static void use_draw(FILE *out, const struct comparison *comparison, const struct outcome *outcome)
{
	double scale = (double)PANEL_HEIGHT / curve_most(comparison, &curves[0]);

	fprintf(out, "<path class=\"use\" d=\"M0 %d", PANEL_HEIGHT);
	for (size_t i = 0; i <= COMPARE_SAMPLES; i++)
		fprintf(out, " %.1f %.1f", sample_x(i),
		        (double)PANEL_HEIGHT - (double)outcome->samples[i].process * scale);
	fprintf(out, " %d %dz\"/>\n", PANEL_WIDTH, PANEL_HEIGHT);
}

/* ---- Panels ---------------------------------------------------------------------------------- */

/* The one number of a panel. */
static double panel_value(const struct curve *curve, const struct outcome *outcome)
{
	if (!curve->is_mean)
		return curve->value(&outcome->peak);
	return outcome->requests == 0 ? 0 : (double)outcome->looks / (double)outcome->requests;
}

/* Is no policy better, and one worse? */
static bool is_best(const struct comparison *comparison, const struct curve *curve, double value)
{
	bool is_worse = false;

	for (size_t policy = 0; policy < TEXTBOOK_POLICIES; policy++) {
		double other = panel_value(curve, &comparison->outcomes[policy]);

		if (other < value)
			return false;
		is_worse = is_worse || other > value;
	}
	return is_worse;
}

static void panel_number(FILE *out, const struct comparison *comparison, const struct curve *curve,
                         const struct outcome *outcome)
{
	double value = panel_value(curve, outcome);
	bool is_marked = is_best(comparison, curve, value);

	fprintf(out, "<text class=\"%s\" x=\"0\" y=\"%d\">%.*f%s%s</text>\n",
	        is_marked ? "best" : "number", PANEL_HEIGHT + 17, curve->decimals, value,
	        curve->is_mean ? " on average" : " at peak", is_marked ? ", best" : "");
}

static void panel_draw(FILE *out, const struct comparison *comparison, size_t row, size_t column)
{
	enum textbook_policy policy = compare_order[column];
	const struct outcome *outcome = &comparison->outcomes[policy];
	double all = (double)comparison->trace->count;
	double peak = all == 0 ? 0 : (double)comparison->peak_call / all * (double)PANEL_WIDTH;

	fprintf(out, "<g transform=\"translate(%zu %zu)\">\n", LEFT + column * COLUMN, TOP + row * ROW);
	fprintf(out, "<rect class=\"panel\" width=\"%d\" height=\"%d\"/>\n", PANEL_WIDTH, PANEL_HEIGHT);
	if (row == 0)
		use_draw(out, comparison, outcome);
	for (size_t i = 0; i < TEXTBOOK_POLICIES; i++)
		if (compare_order[i] != policy)
			fprintf(out, "<use class=\"other\" href=\"#c%zu-%s\"/>\n", row,
			        textbook_policy_names[compare_order[i]]);
	fprintf(out, "<use class=\"own\" href=\"#c%zu-%s\"/>\n", row, textbook_policy_names[policy]);
	fprintf(out, "<path class=\"peak\" d=\"M%.1f 0v%d\"/>\n", peak, PANEL_HEIGHT);
	panel_number(out, comparison, &curves[row], outcome);
	fprintf(out, "</g>\n");
}

/* ---- The picture ----------------------------------------------------------------------------- */

static const char looks_of_curves[] =
	"<style>\n"
	".head { font: bold 14px 'DejaVu Sans', Verdana, sans-serif }\n"
	".number, .best, .scale { font-size: 12px }\n"
	".best { font-weight: bold; fill: #0d5a96 }\n"
	".panel { fill: #f6f8fa; stroke: #6b7280; stroke-width: 0.6px }\n"
	".use { fill: #9cc5e6; stroke: none }\n"
	".own, .other { fill: none; stroke-linejoin: round }\n"
	".own { stroke: #0d5a96; stroke-width: 2px }\n"
	".other { stroke: #8b929a; stroke-width: 0.7px }\n"
	".peak { stroke: #a13d00; stroke-width: 1px; stroke-dasharray: 3 3 }\n"
	"</style>\n";

/* Writes a text as it may stand in XML. */
static void text_write(FILE *out, const char *text)
{
	for (; *text != '\0'; text++)
		if (*text == '&' || *text == '<')
			fprintf(out, *text == '&' ? "&amp;" : "&lt;");
		else
			putc(*text, out);
}

/* Is this, in UTF-8, not a further byte of a letter? */
static bool is_letter_start(char byte)
{
	return ((unsigned char)byte & 0xc0) != 0x80;
}

/* Writes a name, without its beginning where that would not fit: a file says more than its folders. */
static void name_write(FILE *out, const char *name)
{
	size_t letters = 0;

	for (const char *byte = name; *byte != '\0'; byte++)
		letters += is_letter_start(*byte);
	if (letters > NAME_LETTERS)
		fprintf(out, "\u2026");
	for (; letters > NAME_LETTERS || !is_letter_start(*name); name++)
		letters -= is_letter_start(*name);
	text_write(out, name);
}

static void head_draw(FILE *out, const struct comparison *comparison)
{
	int height = TOP + CURVES * ROW + 16;

	fprintf(out, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"
	        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%d\" height=\"%d\""
	        " viewBox=\"0 0 %d %d\" role=\"img\" aria-labelledby=\"t\">\n"
	        "<title id=\"t\">MeMS: five policies on the same calls</title>\n%s%s",
	        WIDTH, height, WIDTH, height, svg_looks, looks_of_curves);
	fprintf(out, "<rect width=\"100%%\" height=\"100%%\" fill=\"#fff\"/>\n"
	        "<text class=\"title\" x=\"16\" y=\"34\">Five policies on ");
	name_write(out, comparison->name);
	fprintf(out, "</text>\n<text class=\"note\" x=\"16\" y=\"58\">%zu call%s from left to right; the"
	        " dashed line is the peak: after call %zu, with %zu bytes %s. Filled: what is in"
	        " blocks. Grey: the other policies.", comparison->trace->count, plural(comparison->trace->count),
	        comparison->peak_call, comparison->peak_bytes, compare_peak_words(comparison));
	if (comparison->options.limit != 0)
		fprintf(out, " Limit: %zu bytes.", comparison->options.limit);
	fprintf(out, "</text>\n");
}

static void row_head_draw(FILE *out, const struct comparison *comparison, size_t row)
{
	const struct curve *curve = &curves[row];
	int y = TOP + (int)row * ROW;

	fprintf(out, "<text class=\"scale end\" x=\"%d\" y=\"%d\">%.*f</text>\n"
	        "<text class=\"scale end\" x=\"%d\" y=\"%d\">0</text>\n", LEFT - 6, y + 10,
	        curve->decimals, curve_most(comparison, curve), LEFT - 6, y + PANEL_HEIGHT);
	fprintf(out, "<text class=\"head\" x=\"16\" y=\"%d\">%s</text>\n"
	        "<text class=\"note\" x=\"16\" y=\"%d\">%s</text>\n", y + PANEL_HEIGHT / 2, curve->name,
	        y + PANEL_HEIGHT / 2 + 17, curve->more);
}

static void column_head_draw(FILE *out, const struct comparison *comparison, size_t column)
{
	const struct outcome *outcome = &comparison->outcomes[compare_order[column]];
	char words[COMPARE_WORDS];

	fprintf(out, "<text class=\"head\" x=\"%zu\" y=\"%d\">%s", LEFT + column * COLUMN, TOP - 10,
	        compare_words(compare_order[column], words));
	if (outcome->refused > 0)
		fprintf(out, "<tspan font-size=\"12\" font-weight=\"normal\">, %zu refused</tspan>",
		        outcome->refused);
	fprintf(out, "</text>\n");
}

void compare_draw(const struct comparison *comparison, FILE *out)
{
	head_draw(out, comparison);
	fprintf(out, "<defs>\n");
	for (size_t row = 0; row < CURVES; row++)
		for (size_t i = 0; i < TEXTBOOK_POLICIES; i++)
			curve_define(out, comparison, row, compare_order[i]);
	fprintf(out, "</defs>\n");
	for (size_t i = 0; i < TEXTBOOK_POLICIES; i++)
		column_head_draw(out, comparison, i);
	for (size_t row = 0; row < CURVES; row++) {
		row_head_draw(out, comparison, row);
		for (size_t i = 0; i < TEXTBOOK_POLICIES; i++)
			panel_draw(out, comparison, row, i);
	}
	fprintf(out, "</svg>\n");
}
