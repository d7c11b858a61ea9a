/* Looks at the heap of the textbooks: what quick lists remember is shown as HOLE, and joined with
 * its neighbours. See textbook.h. */
#include <errno.h>
#include <inttypes.h>

#include "textbook.h"

const char *const textbook_policy_names[] = {
	"first_fit", "quick_fit", "next_fit", "best_fit", "worst_fit",
};

static bool is_free(const struct segment *segment)
{
	return segment != NULL && segment->kind != PROCESS;
}

/* What is shown as one segment: from this one on, up to where the next begins. */
static struct mems_segment shown(const struct segment *first)
{
	const struct node *node = first->node;
	const struct segment *last = first;
	size_t remembered_bytes = first->kind == QUICK ? first->size : 0;

	while (is_free(first) && is_free(last->next)) {
		last = last->next;
		remembered_bytes += last->kind == QUICK ? last->size : 0;
	}
	return (struct mems_segment){
		.type = is_free(first) ? MEMS_HOLE : MEMS_PROCESS,
		.start = first->start,
		.end = last->start + last->size - 1,
		.size = last->start + last->size - first->start,
		.node = node->index,
		.node_start = node->start,
		.node_end = node->start + node->size - 1,
		.remembered_bytes = remembered_bytes,
	};
}

/* The first of what is shown next in the same node, or NULL. */
static const struct segment *shown_after(const struct segment *first)
{
	const struct segment *next = first->next;

	while (is_free(first) && is_free(next))
		next = next->next;
	return next;
}

int textbook_walk(const struct textbook *heap, mems_visitor *visit, void *context)
{
	for (const struct node *node = heap->first; node != NULL; node = node->next)
		for (const struct segment *s = node->first; s != NULL; s = shown_after(s)) {
			struct mems_segment segment = shown(s);
			int result = visit(&segment, context);

			if (result != 0)
				return result;
		}
	return 0;
}

int textbook_segment_at(const struct textbook *heap, uintptr_t address,
                        struct mems_segment *segment)
{
	const struct node *node = heap->first;
	const struct segment *first;

	while (node != NULL && address - node->start >= node->size)
		node = node->next;
	if (node == NULL)
		return -1;
	for (first = node->first; address - first->start >= first->size; first = first->next)
		continue;
	while (is_free(first) && is_free(first->previous))
		first = first->previous;
	*segment = shown(first);
	return 0;
}

static int stats_count(const struct mems_segment *segment, void *context)
{
	struct mems_stats *stats = context;

	if (segment->type == MEMS_PROCESS) {
		stats->process_segments++;
	} else {
		stats->hole_segments++;
		if (segment->size > stats->largest_hole)
			stats->largest_hole = segment->size;
	}
	return 0;
}

void textbook_get_stats(const struct textbook *heap, struct mems_stats *stats)
{
	*stats = (struct mems_stats){
		.pages = heap->mapped_bytes / heap->options.page_size,
		.mapped_bytes = heap->mapped_bytes,
		.process_bytes = heap->process_bytes,
		.hole_bytes = heap->mapped_bytes - heap->process_bytes,
		.main_nodes = heap->main_nodes,
		.peak_process_bytes = heap->peak_process_bytes,
		.peak_mapped_bytes = heap->mapped_bytes,
	};
	textbook_walk(heap, stats_count, stats);
}

uintptr_t textbook_misuse(struct textbook *heap, const char *function, uintptr_t address)
{
	struct mems_segment at;
	int length = snprintf(heap->message, sizeof heap->message, "%s(%" PRIuPTR "): ", function,
	                      address);
	char *rest = heap->message + length;
	size_t room = sizeof heap->message - (size_t)length;

	if (textbook_segment_at(heap, address, &at) != 0)
		snprintf(rest, room, "outside the heap");
	else if (at.type == MEMS_PROCESS)
		snprintf(rest, room, "inside PROCESS[%" PRIuPTR ":%" PRIuPTR "]", at.start, at.end);
	else
		snprintf(rest, room, "in HOLE[%" PRIuPTR ":%" PRIuPTR "], freed before or never given out",
		         at.start, at.end);
	heap->error = EINVAL;
	return 0;
}

/* ---- Printing -------------------------------------------------------------------------------- */

static size_t sub_chain_length(const struct node *node)
{
	size_t length = 0;

	for (const struct segment *s = node->first; s != NULL; s = shown_after(s))
		length++;
	return length;
}

static void node_print(const struct node *node, FILE *out)
{
	fprintf(out, "MAIN[%" PRIuPTR ":%" PRIuPTR "] -> ", node->start, node->start + node->size - 1);
	for (const struct segment *s = node->first; s != NULL; s = shown_after(s)) {
		struct mems_segment segment = shown(s);

		fprintf(out, "%s[%" PRIuPTR ":%" PRIuPTR "] <-> ",
		        segment.type == MEMS_PROCESS ? "PROCESS" : "HOLE", segment.start, segment.end);
	}
	fprintf(out, "NULL\n");
}

void textbook_print_stats(const struct textbook *heap, FILE *out)
{
	struct mems_stats stats;

	textbook_get_stats(heap, &stats);
	for (const struct node *node = heap->first; node != NULL; node = node->next)
		node_print(node, out);
	fprintf(out, "Page used: %zu\nSpace unused: %zu\nMain Chain Length: %zu\n", stats.pages,
	        stats.hole_bytes, stats.main_nodes);
	fprintf(out, "Sub-chain Length array: [");
	for (const struct node *node = heap->first; node != NULL; node = node->next)
		fprintf(out, "%s%zu", node == heap->first ? "" : ", ", sub_chain_length(node));
	fprintf(out, "]\n");
}
