/*
 * The library against its model (model.h), call by call, on heaps of 4 GiB, whose memory is hardly
 * touched, and of 100,000 segments: so far do the tables of the library reach. Sizes lie about all
 * numbers that mean something to it. The chain is compared, the checker looks, and translations
 * are compared with the walk (sweep.h) again and again, more seldom the longer that takes.
 *
 * Usage: test_large [CALLS [SEED [ADDRESSES]]], under the policy that POLICY in the environment
 * names. ADDRESSES are those that are translated in all.
 *
 * A failure names the heap, the seed and the number of the call: the same arguments repeat it.
 */
#define _GNU_SOURCE
#include <inttypes.h>

#include "mix.h"
#include "sweep.h"

enum {
	DEFAULT_CALLS = 1200000,
	DEFAULT_SEED = 1,
	ADDRESSES_A_CALL = 10,
	LEAF = 64,                      /* granules that the library describes in one word, */
	GROUP = 64 * LEAF,              /* and in a cache line of them */
	LEAVES_A_CALL = 150,            /* that the checker may look at, in the mean, */
	SEGMENTS_A_CALL = 12,           /* segments that are compared, */
	LEAST_SWEPT = 64                /* and bytes of a segment, at least, that are translated */
};

/* ---- Heaps ------------------------------------------------------------------------------- */

enum shape {
	FEW_LARGE,      /* some hundred blocks of all sizes, up to what the heap can hold */
	MANY_SMALL      /* up to 100,000 blocks, most of them small */
};

struct character {
	const char *name;
	struct model_options options;
	enum shape shape;
	struct mix mix;
	size_t live;            /* blocks to hover about */
	unsigned share;         /* of all calls, in thousandths */
	size_t calls_per_heap;
};

#define OPTIONS(alignment_, page, limit) \
	{.alignment = (alignment_), .start_address = 1000, .page_bytes = (page), \
	 .limit_bytes = (limit), .has_no_contents = true}
#define LIMITED(mib) ((size_t)(mib) << 20)
#define TAKING {40, 2, 10, 3, 40, 1, 0, 1}
#define GROWING {20, 1, 50, 2, 25, 1, 0, 1}
#define ALIGNED {15, 1, 5, 30, 40, 1, 0, 1}

static const struct character characters[] = {
	{"large blocks", OPTIONS(8, 4096, 0), FEW_LARGE, TAKING, 300, 90, 10000},
	{"large blocks that grow", OPTIONS(8, 4096, 0), FEW_LARGE, GROWING, 200, 60, 10000},
	{"large aligned blocks", OPTIONS(8, 4096, 0), FEW_LARGE, ALIGNED, 300, 60, 10000},
	{"large blocks in 4 GiB", OPTIONS(8, 4096, LIMITED(4095)), FEW_LARGE, TAKING, 150, 60, 10000},
	{"large blocks in 40 MiB", OPTIONS(8, 4096, LIMITED(40)), FEW_LARGE, TAKING, 100, 40, 4000},
	{"large blocks in single bytes", OPTIONS(1, 4096, 0), FEW_LARGE, TAKING, 150, 100, 5000},
	{"large blocks at alignment 64", OPTIONS(64, 4096, 0), FEW_LARGE, TAKING, 200, 60, 10000},
	{"large blocks in pages of 64 KiB", OPTIONS(8, 65536, 0), FEW_LARGE, ALIGNED, 200, 40, 10000},
	{"large blocks in pages of 2 MiB",
	 OPTIONS(64, 1 << 21, LIMITED(6000)), FEW_LARGE, ALIGNED, 200, 40, 10000},
	{"many blocks", OPTIONS(8, 4096, 0), MANY_SMALL, TAKING, 105000, 250, 400000},
	{"many blocks that grow", OPTIONS(8, 4096, 0), MANY_SMALL, GROWING, 50000, 80, 200000},
	{"many blocks in single bytes", OPTIONS(1, 4096, 0), MANY_SMALL, TAKING, 50000, 80, 200000},
	{"many blocks at alignment 64", OPTIONS(64, 4096, LIMITED(512)),
	 MANY_SMALL, ALIGNED, 50000, 80, 200000},
};
enum { CHARACTERS = sizeof characters / sizeof characters[0] };

/* Granules about which something changes in the library: sizes with bins and classes of their own,
 * entries that saturate, and the powers of 64 and of 32 leaves that its tables have. */
static const size_t landmarks[] = {
	1, 32, 64, 255, 256, 1024, 32 * LEAF, GROUP, 32767, 32768, 32 * 32 * LEAF, 32 * GROUP,
	64 * GROUP, 32 * 32 * 32 * LEAF, (size_t)64 * 64 * GROUP, (size_t)32 * 32 * 32 * 32 * LEAF,
	(size_t)1 << 30
};
enum {
	LANDMARKS = sizeof landmarks / sizeof landmarks[0],
	SMALL_LANDMARKS = 8     /* up to a group */
};

/* How a heap is used, and how much may still be looked at before the next call. */
static struct {
	const struct character *character;
	size_t calls;           /* how many are made in this heap */
	size_t landmarks;       /* how many of them sizes are about */
	size_t leaves, segments, comparisons;
	uint64_t bytes;
	uint64_t sweeps;        /* random numbers of their own */
} plan;

static struct {
	size_t calls;
	uint64_t seed, addresses;
} wanted = {DEFAULT_CALLS, DEFAULT_SEED, 0};

static uint64_t swept;

static void failed(void)
{
	print_error("repeat with: POLICY=%s test_large %zu %" PRIu64 " %" PRIu64 "\n",
	            twins.model.options.policy == MEMS_QUICK_FIT ? "quick_fit" : "first_fit",
	            wanted.calls, wanted.seed, wanted.addresses);
	fail();
}

static size_t unit(void)
{
	return twins.model.options.alignment;
}

static size_t mapped(void)
{
	return model_end(&twins.model) - twins.model.options.start_address;
}

/* ---- Looking ----------------------------------------------------------------------------- */

static void compare_translations(void)
{
	const size_t segments = twins.model.segments.count;
	const uint64_t each = segments == 0 ? 0 : plan.bytes / segments;
	const char *const problem = sweep((size_t)each, &plan.sweeps, &swept);
	expect(problem == NULL, problem);
	plan.bytes = 0;
}

static void compare_segments(void)
{
	enum { COUNTERS_INTERVAL = 8 };
	compare_chain();
	if (plan.comparisons++ % COUNTERS_INTERVAL == 0)
		compare_counters();
	plan.segments = 0;
}

static void check(void)
{
	expect(mems_check(stderr) == 0, "the checker complains");
	plan.leaves = 0;
}

/* Leaves that the checker looks at; besides them it has some work in any case. */
static size_t leaves(void)
{
	return mapped() / unit() / LEAF + 50 * LEAVES_A_CALL;
}

static void after_call(void)
{
	plan.leaves += LEAVES_A_CALL;
	plan.segments += SEGMENTS_A_CALL;
	plan.bytes += wanted.addresses / wanted.calls;
	if (plan.segments >= twins.model.segments.count)
		compare_segments();
	if (plan.leaves >= leaves())
		check();
	if (plan.bytes >= (uint64_t)LEAST_SWEPT * (twins.model.segments.count + 1))
		compare_translations();
}

/* ---- Sizes ------------------------------------------------------------------------------- */

/* So many granules, or some more or less. */
static size_t size_about(size_t granules)
{
	static const size_t margins[] = {0, 0, 1, 2, LEAF, GROUP};
	const size_t margin = margins[below(6)] + below(2);
	if (below(2) == 0)
		granules += margin;
	else if (margin < granules)
		granules -= margin;
	return granules * unit() - below(unit());
}

/* About a landmark, or two or three times that; the small ones more often. */
static size_t size_of_landmark(size_t count)
{
	const size_t granules = landmarks[below(1 + below(count))];
	return size_about(granules * (below(3) == 0 ? 1 + below(3) : 1));
}

static size_t size_next(void)
{
	if (plan.character->shape == FEW_LARGE)
		return size_of_landmark(plan.landmarks);
	if (below(500) == 0)
		return size_of_landmark(plan.landmarks);
	if (below(20) == 0)
		return 64 * KIB + unit() * below(3) - unit();
	return size_of_landmark(SMALL_LANDMARKS);
}

/* Blocks come and go in waves, up to as many as the character wants. */
static bool is_time_to_free(void)
{
	static const unsigned thirds[] = {3, 1, 3};
	const size_t wave = twins.calls / (plan.calls / 3 + 1);
	const size_t least = plan.character->live * thirds[wave % 3] / 3;
	return twins.live_count > 0 && (twins.live_count > least || below(3) == 0);
}

/* ---- Scripts ----------------------------------------------------------------------------- */

/* Takes a block and says whether there was room for it. */
static bool take_one(size_t size)
{
	const size_t before = twins.live_count;
	try_malloc(size);
	return twins.live_count > before;
}

static void free_newest(void)
{
	try_free_live(twins.live_count - 1);
}

/* Asks for exactly what there is room for: the search has to find it. */
static void script_exact_fit(void)
{
	struct mems_segment hole;
	const size_t room = model_largest_room(&twins.model);
	if (room != 0 && take_one(room - below(unit())))
		free_newest();
	if (model_segment_at(&twins.model, twins.stale[below(STALE)], &hole) &&
	    hole.type == MEMS_HOLE && take_one(hole.size - unit() * below(2)) && below(2) == 0)
		free_newest();
}

/* Fills a HOLE up to a place from which on another entry of a table counts. */
static void script_frontier(void)
{
	static const unsigned powers[] = {6, 11, 12, 16, 18, 21, 24, 26, 30};
	struct mems_segment hole;
	const size_t granules = (1 + below(40)) << powers[below(9)];
	const uintptr_t place = twins.model.options.start_address + granules * unit();
	if (granules > mapped() / unit() || !model_segment_at(&twins.model, place, &hole) ||
	    hole.type != MEMS_HOLE || place == hole.start)
		return;
	const size_t gap = unit() * below(below(2) == 0 ? 3 : 2 * LEAF);
	if (place - hole.start > gap)
		take_one(place - hole.start - gap);
	for (size_t i = below(4); i > 0; i--)
		take_one(size_of_landmark(6));
	script_exact_fit();
}

/* Blocks in a row are freed in any order, and some of what was freed is taken again meanwhile. */
static void script_row(void)
{
	const size_t first = twins.live_count;
	for (size_t i = 3 + below(10); i > 0 && first + i < MAX_LIVE; i--)
		take_one(below(2) == 0 ? size_next() : size_of_landmark(SMALL_LANDMARKS));
	while (twins.live_count > first) {
		try_free_live(first + below(twins.live_count - first));
		if (below(3) == 0 && take_one(unit() * (1 + below(40))) && below(2) == 0)
			free_newest();
		if (below(4) == 0)
			script_exact_fit();
	}
	script_exact_fit();
}

/* Not often: under quick fit nothing is remembered after it. */
static void script_trim(void)
{
	if (below(8) == 0)
		try_trim();
}

typedef void script(void);

static script *const scripts[] = {script_exact_fit, script_frontier, script_row, script_trim};

/* ---- Heaps ------------------------------------------------------------------------------- */

/* Where memory or address space is short, or each call takes long. */
static bool is_small_machine(void)
{
	return SIZE_MAX <= UINT32_MAX || ADDRESS_SANITIZER || is_run_by_another() || is_counted() ||
	       is_address_space_limited() || is_overcommit_refused();
}

static struct model_options options_of(const struct character *character)
{
	static const size_t starts[] = {1, 1000, (size_t)1 << 31};
	const size_t most = is_small_machine() ? 150 * MIB : is_reserving_dear() ? 16384 * MIB : 0;
	struct model_options options = character->options;
	options.policy = policy_under_test();
	options.start_address = starts[below(3)];
	if (most != 0 && (options.limit_bytes == 0 || options.limit_bytes > most))
		options.limit_bytes = most;
	return options;
}

/* The largest block is a quarter of the heap, a small part of it where there are many; there are
 * heaps of all sizes. */
static size_t landmarks_of(const struct character *character)
{
	const uint64_t target = (uint64_t)1 << 32;
	const size_t limit = twins.model.options.limit_bytes;
	const uint64_t bytes = limit != 0 && limit < target ? limit : target;
	const uint64_t most = bytes / unit() / (character->shape == FEW_LARGE ? 4 : 32);
	size_t count = SMALL_LANDMARKS;
	while (count < LANDMARKS && landmarks[count] <= most)
		count++;
	return count - below(character->shape == FEW_LARGE ? count - SMALL_LANDMARKS : 1);
}

static void heap_start(const struct character *character, size_t calls)
{
	const struct model_options options = options_of(character);
	plan.character = character;
	plan.calls = calls;
	plan.sweeps = random_next(&twins.random);
	twins.name = character->name;
	twins.after_call = after_call;
	twins.failed = failed;
	twins.largest_touched = 64 * KIB;
	twins_start(&options);
	plan.landmarks = landmarks_of(character);
	if (below(2) == 0 && take_one(size_about(landmarks[plan.landmarks - 1])))
		free_newest();
}

static void heap_finish(void)
{
	enum { LEAST_LEAVES = 20 };     /* in hundredths of what the checker looks at */
	compare_segments();
	compare_translations();
	if (plan.leaves >= leaves() / 100 * LEAST_LEAVES)
		check();
	twins_finish();
	mix_calls_without_heap();
}

/* As many blocks as the character wants, one after another. */
static void fill(void)
{
	while (twins.live_count < plan.character->live && twins.calls < plan.calls / 2)
		take_one(size_next());
}

static void run_heap(const struct character *character, size_t calls)
{
	const size_t interval = 20 + character->live / 10;
	heap_start(character, calls);
	if (character->shape == MANY_SMALL)
		fill();
	while (twins.calls < plan.calls) {
		if (below(interval) == 0)
			scripts[below(sizeof scripts / sizeof scripts[0])]();
		else
			mix_call(&character->mix, size_next, is_time_to_free());
	}
	heap_finish();
}

static int character_clean_up(void **state)
{
	model_finish(&twins.model);
	return clean_up(state);
}

static void run_character(void **state)
{
	const struct character *const character = *state;
	const size_t index = (size_t)(character - characters);
	size_t left = wanted.calls / 1000 * character->share + wanted.calls % 1000;
	twins.random = wanted.seed * 1000003 + index;
	without_heap(state);
	while (left > 0) {
		const size_t calls = smaller(left, character->calls_per_heap);
		run_heap(character, calls);
		left -= calls;
		options_reset();
	}
}

int main(int argc, char **argv)
{
	struct CMUnitTest tests[CHARACTERS];
	if (is_small_machine())
		wanted.calls /= is_run_by_another() ? 100 : 10;
	if (argc > 1)
		wanted.calls = (size_t)strtoull(argv[1], NULL, 10);
	if (argc > 2)
		wanted.seed = strtoull(argv[2], NULL, 10);
	wanted.addresses = argc > 3 ? strtoull(argv[3], NULL, 10) :
	                   (uint64_t)wanted.calls * ADDRESSES_A_CALL;
	printf("test_large: %zu calls, seed %" PRIu64 ", %" PRIu64 " addresses\n", wanted.calls,
	       wanted.seed, wanted.addresses);
	fflush(stdout);
	for (size_t i = 0; i < CHARACTERS; i++) {
		tests[i] = (struct CMUnitTest){
			.name = characters[i].name,
			.test_func = run_character,
			.teardown_func = character_clean_up,
			.initial_state = (void *)(uintptr_t)&characters[i],
		};
	}
	const int result = run_heap_tests("large heaps", tests);
	printf("%" PRIu64 " addresses translated\n", swept);
	return result;
}
