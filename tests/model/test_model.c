/*
 * The library against its slow, obvious twin (model.h), call by call: every returned address,
 * every error number and report, the chain, the counters, the printed text and the contents.
 *
 * Usage: test_model [CALLS [SEED]], under the policy that POLICY in the environment names
 *
 * The calls are shared out among characters, each of which has its own options, sizes and mix of
 * calls, and starts a new heap every few thousand calls; in every second heap of a character
 * adversarial scripts run between the random calls. A failure names the character, the seed and
 * the number of the call: the same arguments repeat it.
 */
#define _GNU_SOURCE
#include <inttypes.h>

#include "mix.h"

enum {
	DEFAULT_CALLS = 240000,
	DEFAULT_SEED = 1,
	COUNTERS_INTERVAL = 5, /* comparisons of the chain from one of the counters to the next: */
	FULL_INTERVAL = 61,    /* that asks the OS a lot; and to one of text and contents */
	LEAST_SHORTENED = 30,  /* a share of the calls that makes several heaps, of which */
	SHORTENING = 3         /* a third is done where another build has done them all */
};

enum sizes {
	SMALL,      /* 1 to 128 bytes */
	FEW,        /* five sizes, again and again */
	SPREAD,     /* as many of 1 to 2 as of 1024 to 2048 */
	EDGES,      /* at, below and above powers of two and 255, in units of the alignment */
	PAGES,      /* about whole pages */
	RISING,     /* larger and larger */
	CROWDED,    /* some share a bin under quick fit, some are just too large to be remembered */
	HUGE_SIZES  /* up to some MiB */
};

struct character {
	const char *name;
	struct model_options options;
	enum sizes sizes;
	struct mix mix;
	size_t live;            /* blocks to hover about */
	unsigned share;         /* of all calls, in thousandths */
	size_t calls_per_heap;
	size_t interval;        /* calls from one comparison of the chain to the next */
};

#define BALANCED {30, 5, 15, 5, 40, 4, 4, 4}
#define REALLOCS {10, 2, 60, 2, 20, 2, 4, 2}
#define ALIGNING {10, 2, 10, 40, 40, 2, 2, 2}
#define MISUSING {15, 5, 10, 5, 20, 20, 10, 30}
/* Under the policy that the program runs under. */
#define OPTIONS(alignment_, start, page, limit) \
	{.alignment = (alignment_), .start_address = (start), .page_bytes = (page), \
	 .limit_bytes = (limit)}
#define DEFAULTS OPTIONS(8, 1000, 4096, 0)
#define LIMITED(pages) OPTIONS(8, 1000, 4096, (pages) * 4096 + 77)

static const struct character characters[] = {
	{"small blocks", DEFAULTS, SMALL, BALANCED, 60, 100, 3000, 1},
	{"few sizes", DEFAULTS, FEW, BALANCED, 150, 80, 5000, 1},
	{"spread sizes", DEFAULTS, SPREAD, BALANCED, 80, 100, 3000, 1},
	{"edges", DEFAULTS, EDGES, BALANCED, 50, 80, 2000, 1},
	{"pages", DEFAULTS, PAGES, BALANCED, 30, 50, 2000, 1},
	{"rising sizes", DEFAULTS, RISING, BALANCED, 40, 40, 1500, 1},
	{"crowded sizes", DEFAULTS, CROWDED, BALANCED, 60, 30, 2000, 1},
	{"reallocs", DEFAULTS, SPREAD, REALLOCS, 40, 80, 2000, 1},
	{"huge reallocs", DEFAULTS, HUGE_SIZES, REALLOCS, 20, 10, 400, 1},
	{"aligning", DEFAULTS, SPREAD, ALIGNING, 60, 60, 2000, 1},
	{"misusing", DEFAULTS, SMALL, MISUSING, 50, 60, 2000, 1},
	{"one page", LIMITED(1), SMALL, BALANCED, 60, 50, 2000, 1},
	{"ten pages", LIMITED(10), SPREAD, BALANCED, 90, 50, 2000, 1},
	{"150 pages", LIMITED(150), PAGES, BALANCED, 90, 30, 2000, 1},
	{"byte-exact", OPTIONS(1, 1, 4096, 0), SMALL, BALANCED, 80, 60, 2000, 1},
	{"byte-exact and crowded", OPTIONS(1, 5, 4096, 0), CROWDED, BALANCED, 90, 40, 2000, 1},
	{"byte-exact aligning", OPTIONS(1, 77, 4096, 0), EDGES, ALIGNING, 60, 30, 2000, 1},
	{"alignment 2", OPTIONS(2, 1001, 4096, 0), SPREAD, BALANCED, 60, 20, 2000, 1},
	{"alignment 16", OPTIONS(16, 5000, 8192, 0), SPREAD, BALANCED, 60, 20, 2000, 1},
	{"alignment 64", OPTIONS(64, (size_t)1 << 31, 4096, 0),
	 EDGES, BALANCED, 60, 20, 2000, 1},
	{"pages of 64 KiB", OPTIONS(8, 1000, 65536, 0), PAGES, ALIGNING, 40, 10, 1000, 1},
	{"pages of 2 MiB", OPTIONS(32, 1, 1 << 21, 0), HUGE_SIZES, BALANCED, 20, 5, 400, 1},
	{"huge heap", DEFAULTS, HUGE_SIZES, BALANCED, 150, 15, 3000, 10},
	{"many blocks", DEFAULTS, FEW, BALANCED, 4000, 15, 9000, 500},
	{"many blocks of all sizes", DEFAULTS, SPREAD, BALANCED, 4000, 15, 9000, 500},
};
enum { CHARACTERS = sizeof characters / sizeof characters[0] };

/* How a heap is used. */
static struct {
	const struct character *character;
	size_t calls;               /* how many are made in this heap */
	size_t comparisons;         /* made so far */
} plan;

static size_t calls_wanted = DEFAULT_CALLS;
static uint64_t seed_wanted = DEFAULT_SEED;

/* ---- The calls and the comparisons ------------------------------------------------------- */

static void after_call(void)
{
	if (twins.calls % plan.character->interval != 0)
		return;
	compare_chain();
	if (plan.comparisons % COUNTERS_INTERVAL == 0)
		compare_counters();
	if (plan.comparisons++ % FULL_INTERVAL == 0)
		compare_everything();
}

static void failed(void)
{
	print_error("repeat with: POLICY=%s test_model %zu %" PRIu64 "\n",
	            twins.model.options.policy == MEMS_QUICK_FIT ? "quick_fit" : "first_fit",
	            calls_wanted, seed_wanted);
	fail();
}

/* ---- Random mixes ------------------------------------------------------------------------ */

static size_t size_about(size_t size)
{
	const size_t unit = twins.model.options.alignment;
	return size + unit * below(3) + below(3) - unit;
}

static size_t size_spread(unsigned most)
{
	const size_t power = (size_t)1 << below(most);
	return power + below(power);
}

/* Sizes 233 alignments apart often share a bin: 233 is a Fibonacci number. */
static size_t size_crowded(void)
{
	static const size_t least[] = {1024, 1025, 1425, 2049};
	const size_t unit = twins.model.options.alignment;
	if (below(8) == 0)
		return 65536 + unit * below(2);
	return unit * (least[below(4)] + 233 * below(4));
}

static size_t size_next(void)
{
	static const size_t few[] = {16, 24, 40, 64, 200};
	const size_t unit = twins.model.options.alignment;
	switch (plan.character->sizes) {
	case SMALL:
		return 1 + below(128);
	case FEW:
		return few[below(5)];
	case SPREAD:
		return size_spread(11);
	case EDGES:
		return size_about(below(3) == 0 ? 255 * unit : unit << below(9));
	case PAGES:
		return size_about((1 + below(4)) * twins.model.options.page_bytes);
	case CROWDED:
		return size_crowded();
	case RISING:
		return 1 + below(1 + twins.calls * 4);
	case HUGE_SIZES:
		break;
	}
	return size_spread(22);
}

/* Blocks come and go so that about as many are live as the character wants, in waves. */
static bool is_time_to_free(void)
{
	const size_t wave = twins.calls / 500 % 4;
	const size_t wanted = plan.character->live * (1 + wave) / 3;
	return twins.live_count > 0 && twins.live_count > below(2 * wanted + 1);
}

/* ---- Adversarial scripts ----------------------------------------------------------------- */

/* Each script makes a number of calls and ends; it is called again while there are calls left. */

static bool may_go_on(void)
{
	return twins.calls < plan.calls;
}

static void free_every(size_t step, size_t first)
{
	for (size_t i = twins.live_count; i-- > 0 && may_go_on();) {
		if (i % step == first)
			try_free_live(i);
	}
}

static size_t room(void)
{
	return smaller(plan.character->live, MAX_LIVE / 2);
}

/* As Robson's bound has it: every other block is freed, then blocks twice as large are wanted. */
static void script_doubling(void)
{
	for (size_t size = 8; size <= 1024 && may_go_on(); size *= 2) {
		while (twins.live_count < room() && may_go_on())
			try_malloc(size);
		free_every(2, below(2));
	}
	free_every(1, 0);
}

/* HOLEs of rising and falling sizes between single granules, asked for from the largest down. */
static void script_staircase(void)
{
	const size_t unit = twins.model.options.alignment;
	const size_t steps = room() / 2;
	const bool rises = below(2) == 0;
	for (size_t i = 0; i < steps && may_go_on(); i++) {
		try_malloc(unit * (rises ? i + 1 : steps - i));
		try_malloc(unit);
	}
	free_every(2, 0);
	for (size_t i = steps; i > 0 && may_go_on(); i--)
		try_malloc(unit * i + below(2));
	free_every(1, 0);
}

/* Several strings grow in turn, each in the way of the others. */
static void script_strings(void)
{
	const size_t strings = 2 + below(4);
	const size_t first = twins.live_count;
	for (size_t i = 0; i < strings; i++)
		try_malloc(1 + below(20));
	for (size_t round = 0; round < 60 && twins.live_count >= first + strings; round++) {
		const size_t index = first + below(strings);
		const size_t size = model_usable_size(&twins.model, twins.live[index]);
		try_realloc_live(index, size + 1 + below(size));
		if (size > 20000)
			try_realloc_live(index, 1);
	}
	free_every(1, 0);
}

/* One HOLE is carved from its low end while blocks before it come and go. */
static void script_carving(void)
{
	const size_t unit = twins.model.options.alignment;
	while (twins.live_count < room() && may_go_on()) {
		try_malloc(unit * (1 + below(3)));
		if (below(3) == 0)
			try_free_live(below(2) == 0 ? 0 : twins.live_count - 1);
	}
	free_every(2, 1);
	free_every(3, 1);
	free_every(1, 0);
}

/* Blocks just too large for any HOLE, then just small enough. */
static void script_near_misses(void)
{
	const size_t unit = twins.model.options.alignment;
	struct mems_stats stats;
	for (size_t i = 0; i < 40 && may_go_on(); i++) {
		model_get_stats(&twins.model, &stats);
		if (stats.largest_hole > 64 * KIB)
			try_malloc(stats.largest_hole - unit * below(20));
		else if (stats.largest_hole != 0)
			try_malloc(below(2) == 0 ? stats.largest_hole + 1 : stats.largest_hole);
		else
			try_malloc(size_spread(12));
		if (twins.live_count > 3 && below(2) == 0)
			try_free_live(below(twins.live_count));
	}
	free_every(1, 0);
}

/* All blocks are freed upwards, downwards or from both ends, and taken once more. */
static void script_sweeps(void)
{
	const size_t size = 1 + below(300);
	while (twins.live_count < room() && may_go_on())
		try_malloc(size);
	const size_t direction = below(3);
	while (twins.live_count > 0 && may_go_on()) {
		size_t choice = 0;
		for (size_t i = 1; i < twins.live_count; i++) {
			const bool is_lower = twins.live[i] < twins.live[choice];
			if (is_lower == (direction == 0 || (direction == 2 && below(2) == 0)))
				choice = i;
		}
		try_free_live(choice);
	}
}

/* Many blocks of one size are freed, then larger ones are wanted: under quick fit far more may be
 * remembered than the heap remembers before it merges. */
static void script_phases(void)
{
	const size_t first = twins.live_count;
	for (size_t phase = 0; phase < 4; phase++) {
		const size_t size = 200 + below((size_t)3000 << phase);
		const size_t blocks = smaller(300 * KIB / size + below(100), MAX_LIVE / 2);
		for (size_t i = 0; i < blocks && may_go_on(); i++)
			try_malloc(size);
		while (twins.live_count > first && may_go_on())
			try_free_live(first + below(twins.live_count - first));
	}
}

/* What is given back is not missing afterwards. */
static void script_trim(void)
{
	try_trim();
}

typedef void script(void);

static script *const scripts[] = {
	script_doubling,    script_staircase, script_strings, script_carving,
	script_near_misses, script_sweeps,    script_phases,    script_trim,
};

/* ---- Heaps ------------------------------------------------------------------------------- */

static void heap_start(const struct character *character, size_t calls)
{
	struct model_options options = character->options;
	options.policy = policy_under_test();
	options.is_doubtful = true;
	plan.character = character;
	plan.calls = calls;
	plan.comparisons = 0;
	twins.name = character->name;
	twins.after_call = after_call;
	twins.failed = failed;
	twins_start(&options);
	compare_everything();
}

static void heap_finish(void)
{
	compare_everything();
	twins_finish();
	mix_calls_without_heap();
	compare_everything();
}

static void run_heap(const struct character *character, size_t calls, bool is_scripted)
{
	heap_start(character, calls);
	while (may_go_on()) {
		if (is_scripted && below(100) == 0)
			scripts[below(sizeof scripts / sizeof scripts[0])]();
		else
			mix_call(&plan.character->mix, size_next, is_time_to_free());
	}
	heap_finish();
}

/* The same calls have the same answers in the plain build. */
static bool is_repeated(void)
{
	return calls_wanted == DEFAULT_CALLS && (ADDRESS_SANITIZER || SIZE_MAX <= UINT32_MAX);
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
	size_t left = calls_wanted / 1000 * character->share + calls_wanted % 1000;
	if (is_repeated() && character->share >= LEAST_SHORTENED)
		left /= SHORTENING;
	twins.random = seed_wanted * 1000003 + index;
	without_heap(state);
	for (size_t heap = 0; left > 0; heap++) {
		const size_t calls = smaller(left, character->calls_per_heap);
		run_heap(character, calls, heap % 2 == 1);
		left -= calls;
		options_reset();
	}
}

int main(int argc, char **argv)
{
	struct CMUnitTest tests[CHARACTERS];
	if (argc > 1)
		calls_wanted = (size_t)strtoull(argv[1], NULL, 10);
	if (argc > 2)
		seed_wanted = strtoull(argv[2], NULL, 10);
	printf("test_model: %zu calls, seed %" PRIu64 "\n", calls_wanted, seed_wanted);
	fflush(stdout);
	for (size_t i = 0; i < CHARACTERS; i++) {
		tests[i] = (struct CMUnitTest){
			.name = characters[i].name,
			.test_func = run_character,
			.teardown_func = character_clean_up,
			.initial_state = (void *)(uintptr_t)&characters[i],
		};
	}
	return run_heap_tests("model", tests);
}
