/* A heap and its slow, obvious twin, called alike; see twins.h. */
#define _GNU_SOURCE
#include "twins.h"

#include <inttypes.h>

struct twins twins;

size_t smaller(size_t a, size_t b)
{
	return a < b ? a : b;
}

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
	fprintf(stderr, "%s: %s after call %zu of a heap: %s\n", twins.name, what, twins.calls,
	        twins.call);
	if (strlen(expected) < READABLE && strlen(printed) < READABLE)
		fprintf(stderr, "the model:\n%s\nthe library:\n%s\n", expected, printed);
	free(expected);
	free(printed);
	twins.failed();
}

void expect(bool condition, const char *what)
{
	if (!condition)
		mismatch(what);
}

/* ---- Comparing --------------------------------------------------------------------------- */

struct comparison {
	const struct model_segment *expected; /* NULL behind the last */
	const char *base;
	const char *problem; /* NULL while there is none */
};

static bool is_same_segment(const struct mems_segment *a, const struct mems_segment *b)
{
	return a->type == b->type && a->start == b->start && a->end == b->end &&
	       a->size == b->size && a->node == b->node && a->node_start == b->node_start &&
	       a->node_end == b->node_end &&
	       a->remembered_bytes == b->remembered_bytes;
}

static const char *difference(const struct mems_segment *segment, const char *base,
                              const struct model_segment *first)
{
	if (first == NULL)
		return "too many segments";
	const struct mems_segment expected = model_shown(first);
	if (!is_same_segment(segment, &expected))
		return "another chain";
	const size_t offset = segment->start - twins.model.options.start_address;
	return (const char *)segment->physical == base + offset ? NULL : "another place";
}

static int compare_segment(const struct mems_segment *segment, void *context)
{
	struct comparison *const comparison = context;
	if (comparison->base == NULL)
		comparison->base = segment->physical;
	comparison->problem = difference(segment, comparison->base, comparison->expected);
	if (comparison->problem == NULL)
		comparison->expected = model_next(comparison->expected);
	return comparison->problem != NULL;
}

void compare_chain(void)
{
	struct comparison comparison = {.expected = model_first(&twins.model)};
	mems_walk(compare_segment, &comparison);
	expect(comparison.problem == NULL, comparison.problem);
	expect(comparison.expected == NULL, "too few segments");
	expect((uintptr_t)comparison.base % twins.model.options.page_bytes == 0,
	       "the first node is not aligned to the page");
}

void compare_counters(void)
{
	struct mems_stats expected;
	struct mems_stats stats = stats_now();
	model_get_stats(&twins.model, &expected);
	expected.metadata_bytes = stats.metadata_bytes;
	expected.resident_hole_bytes = stats.resident_hole_bytes; /* a matter of pages, not of chains */
	expect(stats.resident_hole_bytes <= stats.hole_bytes, "more in memory than there are HOLEs");
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

/* ---- Marks where the model has no contents ----------------------------------------------- */

/* Eight of the bytes that a block at the address holds, again and again. */
static uint64_t mark_of(uintptr_t address)
{
	uint64_t state = address;
	return random_next(&state);
}

static void mark_write(uintptr_t address, size_t size)
{
	const uint64_t mark = mark_of(address);
	char *const bytes = mems_get_range(at(address), size);
	expect(bytes != NULL, "a new block is refused");
	for (size_t i = 0; i < size; i += sizeof mark)
		memcpy(bytes + i, &mark, smaller(sizeof mark, size - i));
}

/* At the address are so many bytes of a block that was marked at another one. */
static void mark_compare(uintptr_t address, uintptr_t marked_at, size_t size)
{
	const uint64_t mark = mark_of(marked_at);
	const char *const bytes = mems_get_range(at(address), size);
	expect(bytes != NULL, "a live block is refused");
	for (size_t i = 0; i < size; i += sizeof mark)
		expect(memcmp(bytes + i, &mark, smaller(sizeof mark, size - i)) == 0, "other contents");
}

/* The marked bytes at both ends of a block. */
static void compare_block(uintptr_t address)
{
	const size_t size = model_usable_size(&twins.model, address);
	const size_t marked = smaller(size, MARKED);
	if (!twins.model.options.has_no_contents) {
		compare_bytes(address, marked);
		compare_bytes(address + size - marked, marked);
	} else if (size <= MARKED) {
		mark_compare(address, address, size);
	}
}

void compare_everything(void)
{
	compare_chain();
	compare_counters();
	compare_text();
	for (size_t i = 0; i < twins.live_count; i++)
		compare_block(twins.live[i]);
	expect(mems_check(stderr) == 0, "the checker complains");
}

/* What the recording says of the last call; none goes on. */
__attribute__((format(printf, 1, 2)))
static void record(const char *format, ...)
{
	va_list arguments;
	if (twins.record == NULL)
		return;
	va_start(arguments, format);
	vfprintf(twins.record, format, arguments);
	va_end(arguments);
}

/* ---- Calling both ------------------------------------------------------------------------ */

void record_merge(void)
{
	if (twins.model.has_noted_merge)
		record("g\n");
	twins.model.has_noted_merge = false;
}

void call_begins(const char *format, ...)
{
	va_list arguments;
	va_start(arguments, format);
	vsnprintf(twins.call, sizeof twins.call, format, arguments);
	va_end(arguments);
	if (twins.calls_log != NULL)
		fprintf(twins.calls_log, "%s\n", twins.call);
	twins.calls++;
	reports_clear();
	errno = UNTOUCHED;
}

/* The model has no memory of its own: it is told where the library's is. */
static void physical_learn(void)
{
	struct mems_segment segment;
	const uintptr_t start = twins.model.options.start_address;
	if (twins.model.physical == 0 && mems_segment_at(at(start), &segment) == 0)
		twins.model.physical = (uintptr_t)segment.physical;
}

void call_ends(uintptr_t result, uintptr_t expected)
{
	const int error = errno;
	physical_learn();
	const int expected_error = twins.model.error == 0 ? UNTOUCHED : twins.model.error;
	expect(result == expected, "another result");
	expect(error == expected_error, "another error number");
	expect(report.count == (twins.model.message[0] == '\0' ? 0 : 1), "no report, or too many");
	expect(strcmp(report.message, twins.model.message) == 0, "another report");
	record_merge();
	twins.after_call();
}

void looking_ends(void)
{
	expect(report.count == 0, "looking reported something");
	twins.after_call();
}

/* Fills the marked bytes of a new block, in both heaps alike. */
static void block_mark(uintptr_t address)
{
	const size_t size = model_usable_size(&twins.model, address);
	const size_t marked = smaller(size, MARKED);
	if (twins.model.options.has_no_contents) {
		if (size <= MARKED)
			mark_write(address, size);
		return;
	}
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

void live_add(uintptr_t address, char kind, size_t size, size_t alignment)
{
	expect(twins.live_count < MAX_LIVE, "more blocks than the test has room for");
	twins.live[twins.live_count] = address;
	twins.ids[twins.live_count++] = twins.next_id;
	record("%c %" PRIu32 " %zu", kind, twins.next_id++, size);
	if (alignment != 0)
		record(" %zu", alignment);
	record("\n");
	block_mark(address);
}

static void live_remove(size_t index)
{
	record("f %" PRIu32 "\n", twins.ids[index]);
	twins.stale[random_below(&twins.random, STALE)] = twins.live[index];
	twins.live_count--;
	twins.live[index] = twins.live[twins.live_count];
	twins.ids[index] = twins.ids[twins.live_count];
}

void try_malloc(size_t size)
{
	call_begins("mems_malloc(%zu)", size);
	const uintptr_t result = address_of(mems_malloc(size));
	call_ends(result, model_malloc(&twins.model, size));
	if (result != 0)
		live_add(result, 'a', size, 0);
}

static bool is_zeroed(const unsigned char *bytes, size_t size)
{
	return bytes[0] == 0 && memcmp(bytes, bytes + 1, size - 1) == 0;
}

/* Whether a call would clear or copy more than is wanted. */
static bool is_too_much(size_t size)
{
	return twins.largest_touched != 0 && size > twins.largest_touched;
}

void try_calloc(size_t count, size_t size)
{
	if (is_too_much(size) && count <= SIZE_MAX / size)
		return;
	call_begins("mems_calloc(%zu, %zu)", count, size);
	const uintptr_t result = address_of(mems_calloc(count, size));
	call_ends(result, model_calloc(&twins.model, count, size));
	if (result == 0)
		return;
	const unsigned char *const bytes = mems_get_range(at(result), count * size);
	expect(bytes != NULL && is_zeroed(bytes, count * size), "calloc did not zero");
	live_add(result, 'c', count * size, 0);
}

void try_aligned_alloc(size_t alignment, size_t size)
{
	call_begins("mems_aligned_alloc(%zu, %zu)", alignment, size);
	const uintptr_t result = address_of(mems_aligned_alloc(alignment, size));
	call_ends(result, model_aligned_alloc(&twins.model, alignment, size));
	if (result == 0)
		return;
	expect((uintptr_t)mems_get(at(result)) % alignment == 0, "not aligned");
	live_add(result, 'm', size, alignment);
}

/* Of the kept bytes only the marked ones are the same in both heaps. */
static void compare_kept(uintptr_t address, uintptr_t old_address, size_t old_size)
{
	const size_t size = model_usable_size(&twins.model, address);
	const size_t marked = smaller(old_size, MARKED);
	if (twins.model.options.has_no_contents) {
		if (old_size <= MARKED)
			mark_compare(address, old_address, smaller(size, old_size));
		return;
	}
	compare_bytes(address, smaller(size, marked));
	if (old_size <= size)
		compare_bytes(address + old_size - marked, marked);
}

void try_realloc_live(size_t index, size_t size)
{
	const uintptr_t address = twins.live[index];
	const size_t old_size = model_usable_size(&twins.model, address);
	if (is_too_much(old_size) && model_would_move(&twins.model, address, size))
		return;
	call_begins("mems_realloc(%" PRIuPTR ", %zu)", address, size);
	const uintptr_t result = address_of(mems_realloc(at(address), size));
	const int error = errno;
	const uintptr_t expected = model_realloc(&twins.model, address, size);
	record_merge();
	if (result == expected && result != 0) {
		twins.live[index] = result;
		compare_kept(result, address, old_size);
		block_mark(result);
	}
	errno = error;
	call_ends(result, expected);
	if (result != 0)
		record("r %" PRIu32 " %zu\n", twins.ids[index], size);
	if (result == 0)
		compare_block(address);
	else if (result != address)
		twins.stale[random_below(&twins.random, STALE)] = address;
}

void try_realloc_null(size_t size)
{
	call_begins("mems_realloc(NULL, %zu)", size);
	const uintptr_t result = address_of(mems_realloc(NULL, size));
	call_ends(result, model_realloc(&twins.model, 0, size));
	if (result != 0)
		live_add(result, 'a', size, 0);
}

void try_free_live(size_t index)
{
	const uintptr_t address = twins.live[index];
	compare_block(address);
	live_remove(index);
	call_begins("mems_free(%" PRIuPTR ")", address);
	mems_free(at(address));
	const int error = errno;
	model_free(&twins.model, address);
	errno = error;
	call_ends(0, 0);
}

/* Returns the bytes that were given back. */
static size_t trim(void)
{
	call_begins("mems_trim()");
	const size_t given = mems_trim();
	const int error = errno;
	model_trim(&twins.model);
	errno = error;
	call_ends(0, 0);
	return given;
}

void try_trim(void)
{
	const size_t given = trim();
	const struct mems_stats stats = stats_now();
	expect(given <= stats.hole_bytes && given % PAGE == 0, "more is given back than there is");
	expect(stats.resident_hole_bytes == 0, "not all is given back");
	expect(trim() == 0, "what was given back is given back again");
}

/* ---- Calls with any address -------------------------------------------------------------- */

size_t live_index(uintptr_t address)
{
	size_t index = 0;
	while (index < twins.live_count && twins.live[index] != address)
		index++;
	return index;
}

void try_misuse(uintptr_t address, size_t size)
{
	if (address != 0 && !model_is_live(&twins.model, address)) {
		call_begins("mems_free(%" PRIuPTR ")", address);
		mems_free(at(address));
		const int error = errno;
		model_free(&twins.model, address);
		errno = error;
		call_ends(0, 0);

		call_begins("mems_realloc(%" PRIuPTR ", %zu)", address, size);
		const uintptr_t result = address_of(mems_realloc(at(address), size));
		call_ends(result, model_realloc(&twins.model, address, size));
	}
	call_begins("mems_usable_size(%" PRIuPTR ")", address);
	const size_t usable = mems_usable_size(at(address));
	call_ends(usable, model_usable_size(&twins.model, address));
}

void try_segment_at(uintptr_t address)
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
		/* The bytes between the fields as well.
		 * NOLINTNEXTLINE(bugprone-suspicious-memory-comparison,cert-exp42-c,cert-flp37-c) */
		expect(memcmp(&segment, &untouched, sizeof segment) == 0, "a segment is touched");
	}
}

void try_translate(uintptr_t address, size_t size)
{
	call_begins("translation of %" PRIuPTR ", range %zu", address, size);
	char *const physical = mems_get(at(address));
	const int error = errno;
	const bool is_known = model_has_range(&twins.model, address, 1);
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
	const bool is_range = model_has_range(&twins.model, address, size);
	expect(range == (is_range ? physical : NULL), "another answer of mems_get_range");
	expect(range_error == (is_range ? UNTOUCHED : EFAULT), "another error number");
	try_segment_at(address);
	looking_ends();
}

/* A range whose bytes are the same in both heaps: within the marked ones. */
void try_write_and_read(uintptr_t address, size_t size)
{
	unsigned char written[MARKED], read[MARKED];
	for (size_t i = 0; i < size; i++)
		written[i] = (unsigned char)random_next(&twins.random);
	memset(read, 0x77, sizeof read);
	call_begins("mems_write and mems_read of %" PRIuPTR ", %zu", address, size);
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

/* ---- Life -------------------------------------------------------------------------------- */

void twins_start(const struct model_options *options)
{
	expect(mems_option(MEMS_POLICY, (size_t)options->policy) == 0, "the policy is refused");
	expect(mems_option(MEMS_ALIGNMENT, options->alignment) == 0, "the alignment is refused");
	expect(mems_option(MEMS_START_ADDRESS, options->start_address) == 0, "the start is refused");
	expect(mems_option(MEMS_PAGE_SIZE, options->page_bytes) == 0, "the page size is refused");
	expect(mems_option(MEMS_LIMIT, options->limit_bytes) == 0, "the limit is refused");
	mems_init();
	model_start(&twins.model, options);
	twins.calls = 0;
	twins.live_count = 0;
	twins.next_id = 0;
	for (size_t i = 0; i < STALE; i++)
		twins.stale[i] = options->start_address + i;
}

void twins_finish(void)
{
	mems_finish();
	model_finish(&twins.model);
	twins.live_count = 0;
}
