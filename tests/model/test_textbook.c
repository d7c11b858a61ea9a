/*
 * The heap of the textbooks (sample/textbook.h): against the library and against the model, call by
 * call, under first fit; and under the other policies against their definitions, which a plain scan over a copy of the
 * chain puts into practice before each call.
 *
 * Usage: test_textbook [CALLS [SEED]]: so many calls of each of the three kinds. A failure names the
 * seed, the heap and the call: the same arguments repeat it.
 */
#define _GNU_SOURCE
#include <inttypes.h>

#include "model.h"
#include "support.h"
#include "textbook.h"

enum {
	DEFAULT_CALLS = 60000,
	DEFAULT_SEED = 1,
	CALLS_PER_HEAP = 1000,
	MOST_LIVE = 120,
	MOST_SEGMENTS = 4096,
	TEXT_INTERVAL = 50, /* calls from one comparison of the printed text to the next */
};

static size_t calls_wanted = DEFAULT_CALLS;
static uint64_t seed_wanted = DEFAULT_SEED;

/* One heap, with what is known of it. */
static struct {
	struct textbook *heap;
	struct textbook_options options;
	uint64_t random;
	size_t number, call; /* for messages */
	uintptr_t live[MOST_LIVE];
	size_t live_count;
	size_t largest_request;
} run;

struct chain {
	struct mems_segment segments[MOST_SEGMENTS];
	size_t count;
};

static struct chain before, after, of_peer;

/* ---- Failing and choosing -------------------------------------------------------------------- */

static void expect(bool condition, const char *what)
{
	if (condition)
		return;
	print_error("%s: seed %" PRIu64 ", heap %zu, %s, alignment %zu, call %zu\n", what, seed_wanted,
	            run.number, textbook_policy_names[run.options.policy], run.options.alignment,
	            run.call);
	fail();
}

static size_t below(size_t bound)
{
	return random_below(&run.random, bound);
}

static size_t size_next(void)
{
	static const size_t few[] = {16, 24, 40, 64, 200};

	switch (below(10)) {
	case 0: return run.options.page_size * (1 + below(3)) + below(3) - 1;
	case 1: case 2: case 3: return few[below(5)];
	case 4: return SIZE_MAX >> below(8); /* far too large */
	case 5: return below(40) == 0 ? 0 : 1 + below(100000);
	default: return 1 + below(run.largest_request);
	}
}

/* A heap that fits in the address space beside all else; the one of the textbooks has no memory. */
enum { NO_TIGHT_LIMIT = SIZE_MAX > UINT32_MAX ? 1 << 30 : 1 << 26 };

/* Options that differ from heap to heap. */
static void options_choose(enum textbook_policy policy)
{
	run.options = (struct textbook_options){
		.policy = policy,
		.alignment = (size_t)1 << below(7),
		.start = below(2) == 0 ? 1000 : 1 + below(100000),
		.page_size = PAGE << below(3),
		.limit = below(3) == 0 ? (1 + below(60)) * PAGE + below(PAGE) : NO_TIGHT_LIMIT,
	};
	run.largest_request = (size_t)16 << below(9);
}

/* An address that is most often that of a live block. */
static uintptr_t address_choose(void)
{
	if (run.live_count == 0 || below(30) == 0)
		return run.options.start + below(run.heap->mapped_bytes + 20) - 10;
	return run.live[below(run.live_count)];
}

static void live_drop(uintptr_t address)
{
	for (size_t i = 0; i < run.live_count; i++)
		if (run.live[i] == address)
			run.live[i] = run.live[--run.live_count];
}

static bool is_live(uintptr_t address)
{
	for (size_t i = 0; i < run.live_count; i++)
		if (run.live[i] == address)
			return true;
	return false;
}

/* ---- Calls ----------------------------------------------------------------------------------- */

struct call {
	char kind; /* 'a', 'm', 'r' or 'f' */
	uintptr_t address;
	size_t size, alignment;
};

static struct call call_choose(void)
{
	struct call call = {.kind = "aaaamrrrffff"[below(12)], .alignment = 1};

	if (run.live_count == MOST_LIVE || (run.live_count > 0 && below(200) < run.live_count))
		call.kind = 'f';
	if (call.kind == 'r' || call.kind == 'f')
		call.address = address_choose();
	if (call.kind != 'f')
		call.size = size_next();
	if (call.kind == 'm')
		call.alignment = below(20) == 0 ? below(100) : (size_t)1 << below(14);
	return call;
}

static uintptr_t textbook_call(const struct call *call)
{
	switch (call->kind) {
	case 'a': return textbook_malloc(run.heap, call->size);
	case 'm': return textbook_aligned_alloc(run.heap, call->alignment, call->size);
	case 'r': return textbook_realloc(run.heap, call->address, call->size);
	default: textbook_free(run.heap, call->address); return 0;
	}
}

static void live_update(const struct call *call, uintptr_t result)
{
	if (call->kind == 'f' || (call->kind == 'r' && result != 0))
		live_drop(call->address);
	if (result != 0)
		run.live[run.live_count++] = result;
}

/* ---- Comparing with the library and the model ------------------------------------------------ */

static int chain_append(const struct mems_segment *segment, void *context)
{
	struct chain *chain = context;

	assert_true(chain->count < MOST_SEGMENTS);
	chain->segments[chain->count++] = *segment;
	return 0;
}

static void chain_copy(struct chain *chain)
{
	chain->count = 0;
	textbook_walk(run.heap, chain_append, chain);
}

static bool is_same_segment(const struct mems_segment *a, const struct mems_segment *b)
{
	return a->type == b->type && a->start == b->start && a->end == b->end && a->size == b->size &&
	       a->node == b->node && a->node_start == b->node_start && a->node_end == b->node_end;
}

static char *textbook_text(void)
{
	char *text = NULL;
	size_t length = 0;
	FILE *out = open_memstream(&text, &length);

	assert_non_null(out);
	textbook_print_stats(run.heap, out);
	fclose(out);
	return text;
}

/* Another heap with the same rules. */
struct peer {
	void (*begin)(void); /* with the options of this run */
	uintptr_t (*call)(const struct call *call);
	int (*error)(void);           /* of the last call; 0 for none */
	const char *(*message)(void); /* of a misuse in the last call, or "" */
	void (*chain_copy)(struct chain *chain);
	char *(*text)(void);
	void (*get_stats)(struct mems_stats *stats);
	void (*finish)(void);
};

static int library_error;
static struct model model;

static void library_begin(void)
{
	options_reset();
	assert_int_equal(mems_option(MEMS_POLICY, MEMS_FIRST_FIT), 0);
	assert_int_equal(mems_option(MEMS_ALIGNMENT, run.options.alignment), 0);
	assert_int_equal(mems_option(MEMS_START_ADDRESS, run.options.start), 0);
	assert_int_equal(mems_option(MEMS_PAGE_SIZE, run.options.page_size), 0);
	assert_int_equal(mems_option(MEMS_LIMIT, run.options.limit), 0);
	mems_init();
}

static uintptr_t library_result(const struct call *call)
{
	switch (call->kind) {
	case 'a': return address_of(mems_malloc(call->size));
	case 'm': return address_of(mems_aligned_alloc(call->alignment, call->size));
	case 'r': return address_of(mems_realloc(at(call->address), call->size));
	default: mems_free(at(call->address)); return 0;
	}
}

static uintptr_t library_call(const struct call *call)
{
	uintptr_t result;

	reports_clear();
	errno = 0;
	result = library_result(call);
	library_error = errno;
	return result;
}

static int library_last_error(void)
{
	return library_error;
}

static const char *library_message(void)
{
	return report.count == 0 ? "" : report.message;
}

static void library_chain_copy(struct chain *chain)
{
	chain->count = 0;
	mems_walk(chain_append, chain);
}

static void model_begin(void)
{
	model_start(&model, &(struct model_options){
		.policy = MEMS_FIRST_FIT,
		.alignment = run.options.alignment,
		.start_address = run.options.start,
		.page_bytes = run.options.page_size,
		.limit_bytes = run.options.limit,
		.has_no_contents = true,
	});
}

static uintptr_t model_call(const struct call *call)
{
	switch (call->kind) {
	case 'a': return model_malloc(&model, call->size);
	case 'm': return model_aligned_alloc(&model, call->alignment, call->size);
	case 'r': return model_realloc(&model, call->address, call->size);
	default: model_free(&model, call->address); return 0;
	}
}

static int model_last_error(void)
{
	return model.error;
}

static const char *model_message(void)
{
	return model.message;
}

static void model_chain_copy(struct chain *chain)
{
	chain->count = 0;
	for (const struct model_segment *s = model_first(&model); s != NULL; s = model_next(s)) {
		struct mems_segment segment = model_shown(s);

		chain_append(&segment, chain);
	}
}

static char *model_text(void)
{
	char *text = NULL;
	size_t length = 0;
	FILE *out = open_memstream(&text, &length);

	assert_non_null(out);
	model_print(&model, out);
	fclose(out);
	return text;
}

static void model_stats(struct mems_stats *stats)
{
	model_get_stats(&model, stats);
}

static void model_end_all(void)
{
	model_finish(&model);
}

static const struct peer library_peer = {
	.begin = library_begin,
	.call = library_call,
	.error = library_last_error,
	.message = library_message,
	.chain_copy = library_chain_copy,
	.text = printed_text,
	.get_stats = mems_get_stats,
	.finish = mems_finish,
};

static const struct peer model_peer = {
	.begin = model_begin,
	.call = model_call,
	.error = model_last_error,
	.message = model_message,
	.chain_copy = model_chain_copy,
	.text = model_text,
	.get_stats = model_stats,
	.finish = model_end_all,
};

static void compare_chains(const struct peer *peer)
{
	chain_copy(&after);
	peer->chain_copy(&of_peer);
	expect(after.count == of_peer.count, "another number of segments");
	for (size_t i = 0; i < after.count; i++)
		expect(is_same_segment(&after.segments[i], &of_peer.segments[i]), "another chain");
}

static void compare_text_and_stats(const struct peer *peer)
{
	char *expected = peer->text(), *text = textbook_text();
	struct mems_stats other, stats;

	peer->get_stats(&other);
	textbook_get_stats(run.heap, &stats);
	expect(strcmp(text, expected) == 0, "another text");
	expect(stats.pages == other.pages && stats.mapped_bytes == other.mapped_bytes &&
	       stats.process_bytes == other.process_bytes && stats.hole_bytes == other.hole_bytes &&
	       stats.largest_hole == other.largest_hole && stats.main_nodes == other.main_nodes &&
	       stats.process_segments == other.process_segments &&
	       stats.hole_segments == other.hole_segments &&
	       stats.peak_process_bytes == other.peak_process_bytes &&
	       stats.peak_mapped_bytes == other.peak_mapped_bytes, "other counters");
	free(expected);
	free(text);
}

static void compare_call(const struct peer *peer)
{
	struct call call = call_choose();
	uintptr_t expected = peer->call(&call), result;

	run.heap->message[0] = '\0';
	result = textbook_call(&call);
	expect(result == expected, "another address");
	expect(run.heap->error == peer->error(), "another error");
	expect(strcmp(run.heap->message, peer->message()) == 0, "another message");
	live_update(&call, result);
	compare_chains(peer);
	if (run.call % TEXT_INTERVAL == 0)
		compare_text_and_stats(peer);
}

static void heap_begin(enum textbook_policy policy)
{
	options_choose(policy);
	run.heap = textbook_start(&run.options);
	run.live_count = 0;
}

static void compare_with(const struct peer *peer)
{
	for (run.number = 0; run.number < calls_wanted / CALLS_PER_HEAP; run.number++) {
		heap_begin(FIRST_FIT);
		peer->begin();
		for (run.call = 1; run.call <= CALLS_PER_HEAP; run.call++)
			compare_call(peer);
		peer->finish();
		textbook_finish(run.heap);
	}
}

static void agrees_with_the_library(void **state)
{
	(void)state;
	run.random = seed_wanted;
	compare_with(&library_peer);
}

static void agrees_with_the_model(void **state)
{
	(void)state;
	run.random = seed_wanted + 3;
	compare_with(&model_peer);
}

/* ---- The definitions of the policies --------------------------------------------------------- */

static size_t gap_of(const struct mems_segment *hole, size_t alignment)
{
	size_t distance = hole->start - run.options.start;

	return (distance + alignment - 1) / alignment * alignment - distance;
}

static bool has_room(const struct mems_segment *segment, const struct call *call, size_t size)
{
	return segment->type == MEMS_HOLE && segment->size >= size &&
	       gap_of(segment, call->alignment) <= segment->size - size;
}

/* Is the first HOLE one that the policy prefers to the second, both with room? */
static bool is_preferred(const struct mems_segment *a, const struct mems_segment *b, uintptr_t rover)
{
	switch (run.options.policy) {
	case NEXT_FIT:
		if ((a->start >= rover) != (b->start >= rover))
			return a->start >= rover;
		break;
	case BEST_FIT:
		if (a->size != b->size)
			return a->size < b->size;
		break;
	case WORST_FIT:
		if (a->size != b->size)
			return a->size > b->size;
		break;
	default:
		break;
	}
	return a->start < b->start;
}

/* The HOLE that the definition names, of those before the call; NULL where none has room. */
static const struct mems_segment *hole_defined(const struct call *call, size_t size,
                                               uintptr_t rover)
{
	const struct mems_segment *best = NULL;

	for (size_t i = 0; i < before.count; i++) {
		const struct mems_segment *hole = &before.segments[i];

		if (has_room(hole, call, size) && (best == NULL || is_preferred(hole, best, rover)))
			best = hole;
	}
	return best;
}

/* How many HOLEs have to be looked at to know. */
static size_t looks_defined(const struct mems_segment *taken, uintptr_t rover)
{
	enum textbook_policy policy = run.options.policy;
	bool is_all = policy == BEST_FIT || policy == WORST_FIT || taken == NULL;
	size_t looks = 0;

	for (size_t i = 0; i < before.count; i++) {
		const struct mems_segment *hole = &before.segments[i];

		if (hole->type == MEMS_HOLE && (is_all || hole == taken ||
		    (policy == NEXT_FIT ? is_preferred(hole, taken, rover) : hole < taken)))
			looks++;
	}
	return looks;
}

/* Two HOLEs are never neighbours in a node, and segments tile their nodes; the free list has all
 * HOLEs by address. */
static void check_lists(void)
{
	const struct segment *hole = run.heap->holes.next_free;
	uintptr_t next = run.options.start;

	for (size_t i = 0; i < after.count; i++) {
		const struct mems_segment *segment = &after.segments[i];

		expect(segment->start == next && segment->size > 0, "a gap in the chain");
		expect(segment->start % run.options.alignment == run.options.start % run.options.alignment,
		       "not aligned");
		next = segment->end + 1;
		if (segment->type == MEMS_PROCESS) {
			expect(is_live(segment->start), "a block from nowhere");
			continue;
		}
		expect(hole->start == segment->start && hole->size == segment->size, "another free list");
		expect(hole->next_free->previous_free == hole, "a broken link");
		expect(i + 1 == after.count || segment[1].type == MEMS_PROCESS ||
		       segment[1].node != segment->node, "HOLEs side by side");
		hole = hole->next_free;
	}
	expect(hole == &run.heap->holes, "too many HOLEs in the free list");
	expect(next == run.options.start + run.heap->mapped_bytes, "another end");
}

/* The call searched, or it did not. Was the result what the definition says? */
static void check_placement(const struct call *call, uintptr_t result, size_t looks,
                            uintptr_t rover)
{
	size_t alignment = run.options.alignment;
	size_t size = (call->size + alignment - 1) / alignment * alignment;
	const struct mems_segment *hole = hole_defined(call, size, rover);
	uintptr_t end = before.count == 0 ? run.options.start : before.segments[before.count - 1].end + 1;

	if (hole != NULL)
		expect(result == hole->start + gap_of(hole, call->alignment), "not what the policy says");
	else
		expect(result == end || (result == 0 && run.heap->error == ENOMEM), "no new node");
	expect(looks == looks_defined(hole, rover), "another number of looks");
	if (result != 0)
		expect(run.heap->rover == result + size, "another rover");
}

static void policy_call(void)
{
	struct call call = call_choose();
	uintptr_t rover = run.heap->rover, result;
	size_t looks = run.heap->looked;
	bool is_search;

	chain_copy(&before);
	result = textbook_call(&call);
	looks = run.heap->looked - looks;
	chain_copy(&after);
	is_search = (call.kind == 'a' || call.kind == 'm' || (call.kind == 'r' && looks > 0)) &&
	            run.heap->error != EINVAL && call.size < SIZE_MAX / 1024;
	if (is_search)
		check_placement(&call, result, looks, rover);
	live_update(&call, result);
	check_lists();
}

static void policies_are_as_defined(void **state)
{
	static const enum textbook_policy policies[] = {FIRST_FIT, NEXT_FIT, BEST_FIT, WORST_FIT};

	(void)state;
	run.random = seed_wanted + 1;
	for (run.number = 0; run.number < calls_wanted / CALLS_PER_HEAP; run.number++) {
		heap_begin(policies[run.number % 4]);
		for (run.call = 1; run.call <= CALLS_PER_HEAP; run.call++)
			policy_call();
		textbook_finish(run.heap);
	}
}

/* What quick lists remember is missing in the free list until it is merged. */
static void quick_fit_stays_sound(void **state)
{
	(void)state;
	run.random = seed_wanted + 2;
	for (run.number = 0; run.number < calls_wanted / CALLS_PER_HEAP / 4; run.number++) {
		heap_begin(QUICK_FIT);
		for (run.call = 1; run.call <= CALLS_PER_HEAP; run.call++) {
			struct call call = call_choose();

			live_update(&call, textbook_call(&call));
			if (run.call % TEXT_INTERVAL != 0)
				continue;
			textbook_trim(run.heap);
			chain_copy(&after);
			check_lists();
		}
		textbook_finish(run.heap);
	}
}

/* ---- By hand --------------------------------------------------------------------------------- */

static uintptr_t block_of(size_t size)
{
	uintptr_t address = textbook_malloc(run.heap, size);

	assert_int_not_equal(address, 0);
	return address;
}

/* HOLEs of 300, 100 and 200 bytes at 1000, 1400 and 1600, and the rest of the page. */
static void start_with_three_holes(enum textbook_policy policy)
{
	run.options = (struct textbook_options){
		.policy = policy, .alignment = 1, .start = 1000, .page_size = PAGE,
	};
	run.heap = textbook_start(&run.options);
	block_of(300);
	block_of(100);
	block_of(100);
	block_of(100);
	block_of(200);
	block_of(100);
	textbook_free(run.heap, 1000);
	textbook_free(run.heap, 1400);
	textbook_free(run.heap, 1600);
}

static void policies_differ(void **state)
{
	/* Of blocks of 90, 90 and 200 bytes in turn. */
	static const struct {
		enum textbook_policy policy;
		uintptr_t first, second, third;
	} expected[] = {
		{FIRST_FIT, 1000, 1090, 1600},
		{NEXT_FIT, 1900, 1990, 2080},
		{BEST_FIT, 1400, 1600, 1000},
		{WORST_FIT, 1900, 1990, 2080},
		{QUICK_FIT, 1900, 1990, 1600},
	};

	(void)state;
	for (size_t i = 0; i < sizeof expected / sizeof *expected; i++) {
		start_with_three_holes(expected[i].policy);
		assert_int_equal(block_of(90), expected[i].first);
		assert_int_equal(block_of(90), expected[i].second);
		assert_int_equal(block_of(200), expected[i].third);
		textbook_finish(run.heap);
	}
}

static void next_fit_goes_round(void **state)
{
	(void)state;
	start_with_three_holes(NEXT_FIT);
	assert_int_equal(block_of(PAGE - 900), 1900); /* the end of the page */
	assert_int_equal(block_of(100), 1000);
	assert_int_equal(block_of(100), 1100);
	assert_int_equal(block_of(100), 1200);
	assert_int_equal(block_of(100), 1400);
	assert_int_equal(block_of(100), 1600);
	textbook_free(run.heap, 1600); /* joins what is behind it, and so begins before the rover */
	assert_int_equal(block_of(50), 1600);
	textbook_finish(run.heap);
}

static void assert_text(const char *expected)
{
	char *text = textbook_text();

	assert_string_equal(text, expected);
	free(text);
}

static void quick_fit_puts_off_merging(void **state)
{
	struct mems_segment segment;
	size_t looked;

	(void)state;
	run.options = (struct textbook_options){
		.policy = QUICK_FIT, .alignment = 8, .start = 1000, .page_size = PAGE, .limit = 16 * PAGE,
	};
	run.heap = textbook_start(&run.options);
	assert_int_equal(block_of(40), 1000);
	assert_int_equal(block_of(40), 1040);
	assert_int_equal(block_of(16 * PAGE - 120), 1080);
	textbook_free(run.heap, 1000);
	textbook_free(run.heap, 1040);
	assert_text("MAIN[1000:66535] -> HOLE[1000:1079] <-> PROCESS[1080:66495] <-> "
	            "HOLE[66496:66535] <-> NULL\n"
	            "Page used: 16\nSpace unused: 120\nMain Chain Length: 1\n"
	            "Sub-chain Length array: [3]\n");
	assert_int_equal(textbook_segment_at(run.heap, 1079, &segment), 0);
	assert_int_equal(segment.start, 1000);
	assert_int_equal(segment.remembered_bytes, 80);
	looked = run.heap->looked;
	assert_int_equal(block_of(40), 1040); /* the last one first, and nothing else is looked at */
	assert_int_equal(run.heap->looked, looked + 1);
	textbook_free(run.heap, 1040);
	assert_int_equal(textbook_aligned_alloc(run.heap, 8, 40), 1040);
	textbook_free(run.heap, 1040);
	assert_int_equal(textbook_aligned_alloc(run.heap, 64, 40), 1000); /* 1040 is not aligned */
	textbook_free(run.heap, 1000);
	assert_int_equal(block_of(80), 1000); /* there is no other way: both are merged */
	assert_int_equal(textbook_malloc(run.heap, 48), 0);
	assert_int_equal(run.heap->error, ENOMEM);
	textbook_finish(run.heap);
}

int main(int argc, char **argv)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(policies_differ, without_heap),
		cmocka_unit_test_setup(next_fit_goes_round, without_heap),
		cmocka_unit_test_setup(quick_fit_puts_off_merging, without_heap),
		cmocka_unit_test_setup_teardown(policies_are_as_defined, without_heap, clean_up),
		cmocka_unit_test_setup_teardown(quick_fit_stays_sound, without_heap, clean_up),
		cmocka_unit_test_setup_teardown(agrees_with_the_model, without_heap, clean_up),
		cmocka_unit_test_setup_teardown(agrees_with_the_library, without_heap, clean_up),
	};

	if (argc > 1)
		calls_wanted = (size_t)strtoull(argv[1], NULL, 10);
	if (argc > 2)
		seed_wanted = strtoull(argv[2], NULL, 10);
	printf("test_textbook: %zu calls, seed %" PRIu64 "\n", calls_wanted, seed_wanted);
	fflush(stdout);
	return cmocka_run_group_tests_name("textbook", tests, NULL, NULL);
}
