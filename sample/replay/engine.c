/* Gives the heaps that a trace can be replayed on one face. See engine.h. */
#include "engine.h"

#include <errno.h>
#include <inttypes.h>

/* ---- The library ----------------------------------------------------------------------------- */

static void *library_call(const struct trace_op *op, void *v_ptr)
{
	switch (op->kind) {
	case 'a': return mems_malloc(op->size);
	case 'c': return mems_calloc(1, op->size);
	case 'm': return mems_aligned_alloc(op->alignment, op->size);
	case 'r': return mems_realloc(v_ptr, op->size);
	default: mems_free(v_ptr); return v_ptr;
	}
}

static void library_trim(void)
{
	mems_trim();
}

static const struct engine engine_library = {
	.has_memory = true,
	.call = library_call,
	.trim = library_trim,
	.usable_size = mems_usable_size,
	.fprint_stats = mems_fprint_stats,
	.fprint_json = mems_fprint_json,
	.get_stats = mems_get_stats,
	.walk = mems_walk,
	.segment_at = mems_segment_at,
	.finish = mems_finish,
};

/* ---- The heap of the textbooks --------------------------------------------------------------- */

uintptr_t textbook_call(struct textbook *heap, const struct trace_op *op, uintptr_t address)
{
	switch (op->kind) {
	case 'a':
	case 'c': return textbook_malloc(heap, op->size);
	case 'm': return textbook_aligned_alloc(heap, op->alignment, op->size);
	case 'r': return textbook_realloc(heap, address, op->size);
	default: textbook_free(heap, address); return address;
	}
}

static struct textbook *book; /* the one heap that is started */

static void *book_call(const struct trace_op *op, void *v_ptr)
{
	uintptr_t result = textbook_call(book, op, (uintptr_t)v_ptr);

	if (book->error != 0)
		errno = book->error;
	return (void *)result;
}

static void book_trim(void)
{
	textbook_trim(book);
}

static int book_segment_at(const void *v_ptr, struct mems_segment *segment)
{
	return textbook_segment_at(book, (uintptr_t)v_ptr, segment);
}

static size_t book_usable_size(const void *v_ptr)
{
	struct mems_segment segment;

	return book_segment_at(v_ptr, &segment) == 0 ? segment.size : 0;
}

static void book_fprint_stats(FILE *out)
{
	textbook_print_stats(book, out);
}

static void book_get_stats(struct mems_stats *stats)
{
	textbook_get_stats(book, stats);
}

static int book_walk(mems_visitor *visit, void *context)
{
	return textbook_walk(book, visit, context);
}

static void book_finish(void)
{
	textbook_finish(book);
	book = NULL;
}

static int segment_write(const struct mems_segment *segment, void *context)
{
	FILE *out = context;
	size_t pages = (segment->node_end - segment->node_start + 1) / book->options.page_size;

	if (segment->start == segment->node_start)
		fprintf(out, "%s\n{\"start\":%" PRIuPTR ",\"end\":%" PRIuPTR
		        ",\"pages\":%zu,\"physical\":null,\"sub_chain\":[", segment->node == 0 ? "" : ",",
		        segment->node_start, segment->node_end, pages);
	fprintf(out, "\n{\"type\":\"%s\",\"start\":%" PRIuPTR ",\"end\":%" PRIuPTR ",\"size\":%zu}%s",
	        segment->type == MEMS_PROCESS ? "PROCESS" : "HOLE", segment->start, segment->end,
	        segment->size, segment->end == segment->node_end ? "]}" : ",");
	return 0;
}

/* As mems_fprint_json, in which a physical address is a text. */
static int book_fprint_json(FILE *out)
{
	const struct textbook_options *options = &book->options;
	struct mems_stats stats;

	textbook_get_stats(book, &stats);
	fprintf(out, "{\"schema\":1,\"page_size\":%zu,\"alignment\":%zu,\"start\":%zu,"
	        "\"policy\":\"%s\",\n\"main_chain\":[", options->page_size, options->alignment,
	        options->start, textbook_policy_names[options->policy]);
	textbook_walk(book, segment_write, out);
	fprintf(out, "],\n\"stats\":{\"pages\":%zu,\"mapped_bytes\":%zu,\"process_bytes\":%zu,"
	        "\"hole_bytes\":%zu,\"largest_hole\":%zu,\"main_nodes\":%zu,"
	        "\"process_segments\":%zu,\"hole_segments\":%zu,\"peak_process_bytes\":%zu,"
	        "\"peak_mapped_bytes\":%zu,\"metadata_bytes\":0,\"resident_hole_bytes\":0}}\n",
	        stats.pages, stats.mapped_bytes, stats.process_bytes, stats.hole_bytes,
	        stats.largest_hole, stats.main_nodes, stats.process_segments, stats.hole_segments,
	        stats.peak_process_bytes, stats.peak_mapped_bytes);
	return fflush(out) == 0 && !ferror(out) ? 0 : -1;
}

static const struct engine engine_book = {
	.call = book_call,
	.trim = book_trim,
	.usable_size = book_usable_size,
	.fprint_stats = book_fprint_stats,
	.fprint_json = book_fprint_json,
	.get_stats = book_get_stats,
	.walk = book_walk,
	.segment_at = book_segment_at,
	.finish = book_finish,
};

const struct engine *engine_start(const struct textbook_options *options)
{
	if (options->policy == FIRST_FIT || options->policy == QUICK_FIT) {
		mems_init();
		return &engine_library;
	}
	book = textbook_start(options);
	return &engine_book;
}
