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

#include "model.h"
#include "support.h"

enum {
	DEFAULT_CALLS = 240000,
	DEFAULT_SEED = 1,
	MAX_LIVE = 8192,
	MAX_SEGMENTS = 32768,
	STALE = 64,
	MARKED = 2048,      /* bytes at either end of a block whose contents are compared */
	COUNTERS_INTERVAL = 5, /* comparisons of the chain from one of the counters to the next: */
	FULL_INTERVAL = 61     /* that asks the OS a lot; and to one of text and contents */
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

/* How often each kind of call is made, relative to the others. */
struct mix {
	unsigned malloc, calloc, realloc, aligned, free, translate, copy, misuse;
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

/* A heap and its twin, and what the test remembers about both. */
struct twins {
	const struct character *character;
	struct model model;
	uint64_t random;
	size_t calls;               /* made in this heap */
	size_t budget;              /* calls that may still be made */
	uintptr_t live[MAX_LIVE];   /* blocks, in no order */
	size_t live_count;
	uintptr_t stale[STALE];     /* addresses that were live once */
	size_t comparisons;
	char call[120];             /* the last one, for the report of a failure */
};

static struct twins twins;
static size_t calls_wanted = DEFAULT_CALLS;
static uint64_t seed_wanted = DEFAULT_SEED;

/* ---- Failing ----------------------------------------------------------------------------- */

static char *model_text(void)
{
	char *text = NULL;
	size_t length = 0;
	FILE *const out = open_memstream(&text, &length);
	assert_non_null(out);
	model_print(&twins.model, out);
	fclose(out);
	return text;
}

static void mismatch(const char *what)
{
	enum { READABLE = 4000 };
	char *const expected = model_text();
	char *const printed = printed_text();
	print_error("%s: %s after call %zu of a heap: %s\n", twins.character->name, what, twins.calls,
	            twins.call);
	print_error("repeat with: POLICY=%s test_model %zu %" PRIu64 "\n",
	            twins.model.options.policy == MEMS_QUICK_FIT ? "quick-fit" : "first-fit",
	            calls_wanted, seed_wanted);
	if (strlen(expected) < READABLE && strlen(printed) < READABLE)
		print_error("the model:\n%s\nthe library:\n%s\n", expected, printed);
	free(expected);
	free(printed);
	fail();
}

static void expect(bool condition, const char *what)
{
	if (!condition)
		mismatch(what);
}

/* ---- Comparing --------------------------------------------------------------------------- */

struct comparison {
	const struct mems_segment *expected;
	size_t count;
	size_t index;
	const char *base;
	const char *problem; /* NULL while there is none */
};

static bool is_same_segment(const struct mems_segment *a, const struct mems_segment *b)
{
	return a->type == b->type && a->start == b->start && a->end == b->end &&
	       a->size == b->size && a->node == b->node && a->node_start == b->node_start &&
	       a->node_end == b->node_end;
}

static int compare_segment(const struct mems_segment *segment, void *context)
{
	struct comparison *const comparison = context;
	const size_t index = comparison->index++;
	if (index == 0)
		comparison->base = segment->physical;
	const size_t offset = segment->start - twins.model.options.start_address;
	if (index >= comparison->count)
		comparison->problem = "too many segments";
	else if (!is_same_segment(segment, &comparison->expected[index]))
		comparison->problem = "another chain";
	else if ((const char *)segment->physical != comparison->base + offset)
		comparison->problem = "another place";
	return comparison->problem != NULL;
}

static void compare_chain(void)
{
	static struct mems_segment expected[MAX_SEGMENTS];
	struct comparison comparison = {.expected = expected};
	comparison.count = model_walk(&twins.model, expected, MAX_SEGMENTS);
	expect(comparison.count <= MAX_SEGMENTS, "more segments than the test has room for");
	mems_walk(compare_segment, &comparison);
	expect(comparison.problem == NULL, comparison.problem);
	expect(comparison.index == comparison.count, "too few segments");
	expect((uintptr_t)comparison.base % twins.model.options.page_bytes == 0,
	       "the first node is not aligned to the page");
}

static void compare_counters(void)
{
	struct mems_stats expected;
	struct mems_stats stats = stats_now();
	model_get_stats(&twins.model, &expected);
	expected.metadata_bytes = stats.metadata_bytes;
	expect(memcmp(&stats, &expected, sizeof stats) == 0, "other counters");
}

static void compare_text(void)
{
	char *const expected = model_text();
	char *const printed = printed_text();
	expect(strcmp(expected, printed) == 0, "another text");
	free(expected);
	free(printed);
}

static void compare_bytes(uintptr_t address, size_t size)
{
	const unsigned char *const expected = model_get_range(&twins.model, address, size);
	const unsigned char *const bytes = mems_get_range(at(address), size);
	expect(expected != NULL && bytes != NULL, "a live block is refused");
	expect(memcmp(bytes, expected, size) == 0, "other contents");
}

static size_t smaller(size_t a, size_t b)
{
	return a < b ? a : b;
}

/* The marked bytes at both ends of a block. */
static void compare_block(uintptr_t address)
{
	const size_t size = model_usable_size(&twins.model, address);
	const size_t marked = smaller(size, MARKED);
	compare_bytes(address, marked);
	compare_bytes(address + size - marked, marked);
}

static void compare_everything(void)
{
	compare_chain();
	compare_counters();
	compare_text();
	for (size_t i = 0; i < twins.live_count; i++)
		compare_block(twins.live[i]);
	expect(mems_check(stderr) == 0, "the checker complains");
}

static void compare_often(void)
{
	if (twins.calls % twins.character->interval != 0)
		return;
	compare_chain();
	if (twins.comparisons % COUNTERS_INTERVAL == 0)
		compare_counters();
	if (twins.comparisons++ % FULL_INTERVAL == 0)
		compare_everything();
}

/* ---- Calling both ------------------------------------------------------------------------ */

static void call_begins(const char *function, uintptr_t first, size_t second)
{
	snprintf(twins.call, sizeof twins.call, "%s of %" PRIuPTR " and %zu", function, first, second);
	twins.calls++;
	twins.budget -= twins.budget != 0;
	reports_clear();
	errno = UNTOUCHED;
}

/* To be called with errno as the library left it. */
static void call_ends(uintptr_t result, uintptr_t expected)
{
	const int error = errno;
	const int expected_error = twins.model.error == 0 ? UNTOUCHED : twins.model.error;
	expect(result == expected, "another result");
	expect(error == expected_error, "another error number");
	expect(report.count == (twins.model.message[0] == '\0' ? 0 : 1), "no report, or too many");
	expect(strcmp(report.message, twins.model.message) == 0, "another report");
	compare_often();
}

/* After calls that only look: whatever they returned, nothing is reported and nothing changes. */
static void looking_ends(void)
{
	expect(report.count == 0, "looking reported something");
	compare_often();
}

/* Fills the marked bytes of a new block, in both heaps alike. */
static void block_mark(uintptr_t address)
{
	const size_t size = model_usable_size(&twins.model, address);
	const size_t marked = smaller(size, MARKED);
	for (size_t part = 0; part < 2; part++) {
		const uintptr_t start = part == 0 ? address : address + size - marked;
		unsigned char *const copy = model_get_range(&twins.model, start, marked);
		unsigned char *const bytes = mems_get_range(at(start), marked);
		expect(copy != NULL && bytes != NULL, "a new block is refused");
		for (size_t i = 0; i < marked; i += sizeof(uint64_t)) {
			const uint64_t value = random_next(&twins.random);
			memcpy(copy + i, &value, smaller(sizeof value, marked - i));
		}
		memcpy(bytes, copy, marked);
	}
}

static void live_add(uintptr_t address)
{
	expect(twins.live_count < MAX_LIVE, "more blocks than the test has room for");
	twins.live[twins.live_count++] = address;
	block_mark(address);
}

static void live_remove(size_t index)
{
	twins.stale[random_below(&twins.random, STALE)] = twins.live[index];
	twins.live[index] = twins.live[--twins.live_count];
}

static void try_malloc(size_t size)
{
	call_begins("mems_malloc", 0, size);
	const uintptr_t result = address_of(mems_malloc(size));
	call_ends(result, model_malloc(&twins.model, size));
	if (result != 0)
		live_add(result);
}

static bool is_zeroed(const unsigned char *bytes, size_t size)
{
	return bytes[0] == 0 && memcmp(bytes, bytes + 1, size - 1) == 0;
}

static void try_calloc(size_t count, size_t size)
{
	call_begins("mems_calloc", count, size);
	const uintptr_t result = address_of(mems_calloc(count, size));
	call_ends(result, model_calloc(&twins.model, count, size));
	if (result == 0)
		return;
	const unsigned char *const bytes = mems_get_range(at(result), count * size);
	expect(bytes != NULL && is_zeroed(bytes, count * size), "calloc did not zero");
	live_add(result);
}

static void try_aligned_alloc(size_t alignment, size_t size)
{
	call_begins("mems_aligned_alloc", alignment, size);
	const uintptr_t result = address_of(mems_aligned_alloc(alignment, size));
	call_ends(result, model_aligned_alloc(&twins.model, alignment, size));
	if (result == 0)
		return;
	expect((uintptr_t)mems_get(at(result)) % alignment == 0, "not aligned");
	live_add(result);
}

/* Of the kept bytes only the marked ones are the same in both heaps. */
static void compare_kept(uintptr_t address, size_t old_size)
{
	const size_t size = model_usable_size(&twins.model, address);
	compare_bytes(address, smaller(smaller(size, old_size), MARKED));
	if (old_size <= size) {
		const size_t marked = smaller(old_size, MARKED);
		compare_bytes(address + old_size - marked, marked);
	}
}

static void try_realloc_live(size_t index, size_t size)
{
	const uintptr_t address = twins.live[index];
	const size_t old_size = model_usable_size(&twins.model, address);
	call_begins("mems_realloc", address, size);
	const uintptr_t result = address_of(mems_realloc(at(address), size));
	const int error = errno;
	const uintptr_t expected = model_realloc(&twins.model, address, size);
	if (result == expected && result != 0) {
		twins.live[index] = result;
		compare_kept(result, old_size);
		block_mark(result);
	}
	errno = error;
	call_ends(result, expected);
	if (result == 0)
		compare_block(address);
	else if (result != address)
		twins.stale[random_below(&twins.random, STALE)] = address;
}

static void try_realloc_null(size_t size)
{
	call_begins("mems_realloc", 0, size);
	const uintptr_t result = address_of(mems_realloc(NULL, size));
	call_ends(result, model_realloc(&twins.model, 0, size));
	if (result != 0)
		live_add(result);
}

static void try_free_live(size_t index)
{
	const uintptr_t address = twins.live[index];
	compare_block(address);
	live_remove(index);
	call_begins("mems_free", address, 0);
	mems_free(at(address));
	const int error = errno;
	model_free(&twins.model, address);
	errno = error;
	call_ends(0, 0);
}

/* ---- Calls with any address -------------------------------------------------------------- */

static bool is_live(uintptr_t address)
{
	for (size_t i = 0; i < twins.live_count; i++) {
		if (twins.live[i] == address)
			return true;
	}
	return false;
}

static uintptr_t mapped_end(void)
{
	const struct model_node *const last = twins.model.last;
	return last == NULL ? twins.model.options.start_address : last->start + last->size;
}

static size_t below(size_t bound)
{
	return random_below(&twins.random, bound);
}

/* The start of a block, its inside, its neighbourhood, a stale one, a made-up one. */
static uintptr_t any_address(void)
{
	const uintptr_t start = twins.model.options.start_address;
	const size_t extent = mapped_end() - start;
	const size_t index = twins.live_count == 0 ? 0 : below(twins.live_count);
	const uintptr_t block = twins.live_count == 0 ? start : twins.live[index];
	switch (below(8)) {
	case 0:
		return block;
	case 1:
		return block + below(64);
	case 2:
		return block - 1 - below(16);
	case 3:
		return twins.stale[below(STALE)];
	case 4:
		return start - 8 + below(extent + 16);
	case 5:
		return mapped_end() - 2 + below(4);
	case 6:
		return (uintptr_t)random_next(&twins.random) >> below(8 * sizeof(uintptr_t));
	default:
		return block + ((uintptr_t)1 << below(8 * sizeof(uintptr_t)));
	}
}

static size_t any_size(void)
{
	return (size_t)random_next(&twins.random) >> below(8 * sizeof(size_t));
}

static void try_misuse(uintptr_t address)
{
	const size_t size = below(3) == 0 ? 0 : any_size();
	if (address != 0 && !is_live(address)) {
		call_begins("mems_free", address, 0);
		mems_free(at(address));
		const int error = errno;
		model_free(&twins.model, address);
		errno = error;
		call_ends(0, 0);

		call_begins("mems_realloc", address, size);
		const uintptr_t result = address_of(mems_realloc(at(address), size));
		call_ends(result, model_realloc(&twins.model, address, size));
	}
	call_begins("mems_usable_size", address, 0);
	const size_t usable = mems_usable_size(at(address));
	call_ends(usable, model_usable_size(&twins.model, address));
}

static void try_segment_at(uintptr_t address)
{
	struct mems_segment segment, expected, untouched;
	memset(&untouched, 0x5a, sizeof untouched);
	segment = untouched;
	errno = UNTOUCHED;
	const int result = mems_segment_at(at(address), &segment);
	const int error = errno;
	if (model_segment_at(&twins.model, address, &expected)) {
		expect(result == 0 && error == UNTOUCHED, "a segment is not found");
		expect(is_same_segment(&segment, &expected), "another segment");
	} else {
		expect(result == -1 && error == EFAULT, "a segment is found");
		expect(memcmp(&segment, &untouched, sizeof segment) == 0, "a segment is touched");
	}
}

static void try_translate(uintptr_t address)
{
	const size_t size = below(2) == 0 ? below(200) : any_size();
	call_begins("translation", address, size);
	char *const physical = mems_get(at(address));
	const int error = errno;
	const bool is_known = model_get_range(&twins.model, address, 1) != NULL;
	expect((physical != NULL) == is_known, "another answer of mems_get");
	expect(error == (is_known ? UNTOUCHED : EFAULT), "another error number of mems_get");
	if (is_known) {
		errno = UNTOUCHED;
		expect(address_of(mems_virtual(physical)) == address, "there is no way back");
		expect(errno == UNTOUCHED, "the way back touched errno");
	}
	errno = UNTOUCHED;
	char *const range = mems_get_range(at(address), size);
	const int range_error = errno;
	const bool is_range = model_get_range(&twins.model, address, size) != NULL;
	expect(range == (is_range ? physical : NULL), "another answer of mems_get_range");
	expect(range_error == (is_range ? UNTOUCHED : EFAULT), "another error number");
	try_segment_at(address);
	looking_ends();
}

/* A range whose bytes are the same in both heaps: within the marked ones. */
static void try_write_and_read(uintptr_t address, size_t size)
{
	unsigned char written[MARKED], read[MARKED];
	for (size_t i = 0; i < size; i++)
		written[i] = (unsigned char)below(256);
	memset(read, 0x77, sizeof read);
	call_begins("mems_write and mems_read", address, size);
	unsigned char *const copy = model_get_range(&twins.model, address, size);
	const int expected = copy == NULL ? -1 : 0;
	const int expected_error = copy == NULL ? EFAULT : UNTOUCHED;
	expect(mems_write(at(address), written, size) == expected, "another answer of mems_write");
	expect(errno == expected_error, "another error number of mems_write");
	errno = UNTOUCHED;
	expect(mems_read(read, at(address), size) == expected, "another answer of mems_read");
	expect(errno == expected_error, "another error number of mems_read");
	if (copy != NULL)
		memcpy(copy, written, size);
	else
		memset(written, 0x77, sizeof written);
	expect(memcmp(written, read, size) == 0, "what was read is not what was written");
	looking_ends();
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
	switch (twins.character->sizes) {
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

static size_t alignment_next(void)
{
	size_t largest = 0;
	while ((size_t)1 << (largest + 1) <= twins.model.options.page_bytes)
		largest++;
	if (below(30) == 0)
		return any_size();
	return (size_t)1 << below(largest + 1);
}

/* More than any machine has, so that the model needs to know none. */
static size_t absurd_size(void)
{
	return SIZE_MAX / (1 + below(2)) - below(5000);
}

static void try_realloc_any(void)
{
	if (twins.live_count == 0 || below(20) == 0) {
		try_realloc_null(size_next());
		return;
	}
	const size_t index = below(twins.live_count);
	const size_t size = model_usable_size(&twins.model, twins.live[index]);
	const size_t unit = twins.model.options.alignment;
	switch (below(6)) {
	case 0:
		try_realloc_live(index, size + below(4 * unit));
		break;
	case 1:
		try_realloc_live(index, size - below(size));
		break;
	case 2:
		try_realloc_live(index, below(8) == 0 ? absurd_size() : size);
		break;
	default:
		try_realloc_live(index, size_next());
	}
}

/* Blocks come and go so that about as many are live as the character wants, in waves. */
static bool is_time_to_free(void)
{
	const size_t wave = twins.calls / 500 % 4;
	const size_t wanted = twins.character->live * (1 + wave) / 3;
	return twins.live_count > 0 && twins.live_count > below(2 * wanted + 1);
}

static void one_random_call(void)
{
	const struct mix *const mix = &twins.character->mix;
	const unsigned total = mix->malloc + mix->calloc + mix->realloc + mix->aligned + mix->free +
	                       mix->translate + mix->copy + mix->misuse;
	size_t choice = below(total);
	const bool frees = is_time_to_free();
	if (choice < mix->translate)
		try_translate(any_address());
	else if ((choice -= mix->translate) < mix->copy)
		try_write_and_read(any_address(), below(200));
	else if ((choice -= mix->copy) < mix->misuse)
		try_misuse(any_address());
	else if ((choice -= mix->misuse) < mix->realloc)
		try_realloc_any();
	else if (frees)
		try_free_live(below(twins.live_count));
	else if ((choice -= mix->realloc) < mix->calloc)
		try_calloc(below(20) == 0 ? absurd_size() : 1 + below(4), size_next());
	else if ((choice -= mix->calloc) < mix->aligned)
		try_aligned_alloc(alignment_next(), size_next());
	else
		try_malloc(below(100) == 0 ? absurd_size() : size_next());
}

/* ---- Adversarial scripts ----------------------------------------------------------------- */

/* Each script makes a number of calls and ends; it is called again while there are calls left. */

static bool may_go_on(void)
{
	return twins.budget > 0;
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
	return smaller(twins.character->live, MAX_LIVE / 2);
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

typedef void script(void);

static script *const scripts[] = {
	script_doubling,    script_staircase, script_strings, script_carving,
	script_near_misses, script_sweeps,    script_phases,
};

/* ---- Heaps ------------------------------------------------------------------------------- */

static void heap_start(const struct character *character, size_t budget)
{
	struct model_options options = character->options;
	options.policy = policy_under_test();
	assert_int_equal(mems_option(MEMS_POLICY, (size_t)options.policy), 0);
	assert_int_equal(mems_option(MEMS_ALIGNMENT, options.alignment), 0);
	assert_int_equal(mems_option(MEMS_START_ADDRESS, options.start_address), 0);
	assert_int_equal(mems_option(MEMS_PAGE_SIZE, options.page_bytes), 0);
	assert_int_equal(mems_option(MEMS_LIMIT, options.limit_bytes), 0);
	mems_init();
	model_start(&twins.model, &options);
	twins.character = character;
	twins.budget = budget;
	twins.calls = 0;
	twins.live_count = 0;
	twins.comparisons = 0;
	for (size_t i = 0; i < STALE; i++)
		twins.stale[i] = options.start_address + i;
	compare_everything();
}

static void heap_finish(void)
{
	compare_everything();
	mems_finish();
	model_finish(&twins.model);
}

static void run_heap(const struct character *character, size_t calls, bool is_scripted)
{
	heap_start(character, calls);
	while (may_go_on()) {
		if (is_scripted && below(100) == 0)
			scripts[below(sizeof scripts / sizeof scripts[0])]();
		else
			one_random_call();
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
	size_t left = calls_wanted / 1000 * character->share + calls_wanted % 1000;
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
