/*
 * A fuzz target: the input is a sequence of calls, made to the library and to its slow, obvious
 * twin (twins.h). After every call both are compared and mems_check looks.
 *
 * The input is bytes, most often text. Four choose the options; then each byte chooses an
 * operation (the letter of the table at the end, in either case; other bytes mean something too),
 * and the bytes after it its operands: numbers ('0' is 0, '1' is 1, 'A' is 17...) of which
 * addresses, sizes and alignments are made. At the end of the input all numbers are 0. No input
 * takes long: there is a bound on the calls, and a smaller one on large heaps.
 *
 * FUZZ_VERBOSE=1 in the environment prints every call.
 */
#define _GNU_SOURCE
#include "fuzz.h"
#include "twins.h"

#include <inttypes.h>
#include <unistd.h>

#if ADDRESS_SANITIZER
#include <sanitizer/asan_interface.h>
#endif

enum {
	MOST_CALLS = 200,       /* in one input, */
	MOST_WORK = 30000,      /* and what may be looked at after them: segments, 64 granules */
	MOST_HOLES = 256,       /* that may be chosen from */
	COUNTERS_INTERVAL = 7   /* calls from one comparison of the counters to the next */
};

/* A file to write to, and what was written. */
struct memory_file {
	FILE *out;
	char *text;
	size_t length;
};

static struct {
	const uint8_t *bytes;   /* the input, as far as it has not been read */
	size_t left;            /* how many */
	size_t calls;           /* made so far, in all heaps of the input */
	size_t work;            /* done so far to look at the heap */
	size_t size;            /* the last one that was chosen */
	struct memory_file *recording; /* what the library writes to, or NULL, */
	struct memory_file *expected;  /* and what it should write: that of twins.record */
} fuzz;

/* ---- Operands ---------------------------------------------------------------------------- */

static size_t number(void)
{
	if (fuzz.left == 0)
		return 0;
	fuzz.left--;
	return (uint8_t)(*fuzz.bytes++ - '0');
}

static size_t unit(void)
{
	return twins.model.options.alignment;
}

static size_t page(void)
{
	return twins.model.options.page_bytes;
}

/* The size of one of the HOLEs there are, 0 where there is none. The start goes to *start. */
static size_t any_hole(size_t choice, uintptr_t *start)
{
	struct mems_segment segments[MOST_HOLES];
	size_t holes = 0;
	for (const struct model_segment *segment = model_first(&twins.model);
	     segment != NULL && holes < MOST_HOLES; segment = model_next(segment))
		if (segment->type == MEMS_HOLE)
			segments[holes++] = model_shown(segment);
	if (holes == 0)
		return 0;
	*start = segments[choice % holes].start;
	return segments[choice % holes].size;
}

/* More than any machine has, so that the model needs to know none. */
static size_t absurd_size(size_t choice)
{
	return SIZE_MAX / (1 + choice % 2) - choice / 2;
}

/* Sizes at which something changes: of leaves, groups, classes, pages, bins, HOLEs. */
static size_t size_of_kind(size_t kind, size_t choice)
{
	const size_t about = choice % 5;
	uintptr_t start;
	switch (kind % 16) {
	case 0: case 1: case 2: return choice + 1;
	case 3: return unit() * (choice + 1);
	case 4: return unit() * (choice % 16 + 1);
	case 5: return unit() * (64 * (1 + choice / 5 % 6) + about - 2);
	case 6: return unit() * (253 + about);
	case 7: return page() * (1 + choice / 5 % 4) + unit() * about - 2 * unit();
	case 8: return unit() * (1024 + choice * 37);
	case 9: return unit() * (smaller(4096 * (1 + choice / 5 % 3), 65536) + about - 2);
	case 10: return 65536 + unit() * (choice % 3) - unit();
	case 11: return 131072 + 8192 * (choice % 48);
	case 12: return any_hole(choice, &start);
	case 13: return any_hole(choice / 3, &start) + unit() * (choice % 3) - unit();
	case 14: return fuzz.size;
	default: return choice % 4 == 0 ? 0 : absurd_size(choice);
	}
}

static size_t any_size(void)
{
	const size_t kind = number();
	fuzz.size = size_of_kind(kind, number());
	return fuzz.size;
}

static size_t any_alignment(void)
{
	const size_t choice = number();
	if (choice % 20 == 19)
		return absurd_size(choice) / 3;
	return ((size_t)1 << choice % 20) + (choice / 20 == 3);
}

/* The index of a live block, of which there are some: the newest ones first, or the oldest. */
static size_t newest(size_t choice)
{
	return twins.live_count - 1 - choice % twins.live_count;
}

static uintptr_t made_up(size_t choice, size_t shift)
{
	return (uintptr_t)(((uint64_t)choice * UINT64_C(0x9E3779B97F4A7C15)) >> shift % 64);
}

static uintptr_t address_near(uintptr_t start, size_t kind, size_t choice)
{
	const size_t size = model_usable_size(&twins.model, start);
	switch (kind % 4) {
	case 0: return start + choice % size;
	case 1: return start + unit() * choice % size;
	case 2: return start + size - 1 + choice % 3;
	default: return start + ((uintptr_t)1 << choice % (8 * sizeof(uintptr_t)));
	}
}

static uintptr_t any_address(void)
{
	const size_t kind = number();
	const size_t choice = number();
	const uintptr_t first = twins.model.options.start_address;
	uintptr_t hole = first;
	switch (kind % 8) {
	case 0: return twins.stale[choice % STALE];
	case 1: return twins.live_count == 0 ? first : twins.live[choice % twins.live_count];
	case 2: case 3: return twins.live_count == 0 ? first : twins.live[newest(choice)];
	case 4: return twins.live_count == 0 ? 0
	               : address_near(twins.live[newest(choice)], kind / 8, number());
	case 5: return any_hole(choice, &hole) == 0 ? model_end(&twins.model)
	                                            : hole + choice % 9 - choice % 3;
	case 6: return made_up(choice, number());
	default: return choice % 4 == 0 ? 0 : choice % 4 == 1 ? first - choice
	                : model_end(&twins.model) - 4 + choice % 8;
	}
}

/* ---- Looking after every call ------------------------------------------------------------ */

#if ADDRESS_SANITIZER
/* AddressSanitizer refuses HOLEs and nothing else; it tells no less than 8 bytes apart. */
static int compare_poison(const struct mems_segment *segment, void *context)
{
	const char *const bytes = segment->physical;
	const int is_poisoned = segment->type == MEMS_HOLE;
	(void)context;
	if (unit() < 8 && is_poisoned)
		return 0;
	return __asan_address_is_poisoned(bytes) != is_poisoned ||
	       __asan_address_is_poisoned(bytes + segment->size / 2) != is_poisoned ||
	       __asan_address_is_poisoned(bytes + segment->size - 1) != is_poisoned;
}
#else
static int compare_poison(const struct mems_segment *segment, void *context)
{
	(void)segment;
	(void)context;
	return 0;
}
#endif

static void after_call(void)
{
	const size_t granules = (model_end(&twins.model) - twins.model.options.start_address) / unit();
	fuzz.calls++;
	fuzz.work += granules / 64 + twins.live_count;
	compare_chain();
	if (fuzz.calls % COUNTERS_INTERVAL == 0)
		compare_counters();
	expect(mems_check(stderr) == 0, "the checker complains");
	expect(mems_walk(compare_poison, NULL) == 0, "a HOLE may be used, or a block may not");
}

static bool is_time_left(void)
{
	return fuzz.calls < MOST_CALLS && fuzz.work < MOST_WORK;
}

static void give_up(void)
{
	abort();
}

/* A call without a twin has this result and this error number, UNTOUCHED for none. */
static void expect_error(bool condition, int error, const char *what)
{
	expect(condition, what);
	expect(errno == error, "another error number");
	errno = UNTOUCHED;
}

/* ---- Files in memory --------------------------------------------------------------------- */

static struct memory_file *memory_file_open(void)
{
	struct memory_file *const file = calloc(1, sizeof *file);
	assert_non_null(file);
	file->out = open_memstream(&file->text, &file->length);
	assert_non_null(file->out);
	return file;
}

static void memory_file_close(struct memory_file *file)
{
	fclose(file->out);
	free(file->text);
	free(file);
}

/* Closes both. */
static bool is_same_file(struct memory_file *a, struct memory_file *b)
{
	const bool is_same = a->length == b->length && memcmp(a->text, b->text, a->length) == 0;
	if (!is_same)
		fprintf(stderr, "expected:\n%s\nfound:\n%s\n", a->text, b->text);
	memory_file_close(a);
	memory_file_close(b);
	return is_same;
}

/* ---- Recordings -------------------------------------------------------------------------- */

static void option_record(const char *name, size_t value, size_t value_default)
{
	if (value != value_default)
		fprintf(twins.record, "o %s %zu\n", name, value);
}

static size_t os_page(void)
{
	return (size_t)sysconf(_SC_PAGESIZE);
}

static void recording_begin(struct memory_file *file)
{
	const struct model_options *const options = &twins.model.options;
	fuzz.recording = file;
	fuzz.expected = memory_file_open();
	twins.record = fuzz.expected->out;
	twins.next_id = 0;
	if (options->policy == MEMS_QUICK_FIT)
		fputs("o policy quick_fit\n", twins.record);
	option_record("alignment", unit(), 8);
	option_record("start", options->start_address, 1000);
	option_record("page-size", page(), os_page() > PAGE ? os_page() : PAGE);
	option_record("limit", options->limit_bytes, 0);
}

/* The mistakes of a recording, which the model does not write, are taken out. */
static void mistakes_drop(struct memory_file *file)
{
	char *kept = file->text;
	const char *const end = file->text + file->length;
	for (const char *line = file->text, *next; line < end; line = next) {
		next = memchr(line, '\n', (size_t)(end - line));
		next = next == NULL ? end : next + 1;
		if (line[0] == 'e')
			continue;
		memmove(kept, line, (size_t)(next - line));
		kept += next - line;
	}
	file->length = (size_t)(kept - file->text);
}

/* The library has ended its recording, if there was one: it holds what it should. */
static void recording_end(void)
{
	if (fuzz.recording != NULL) {
		fflush(fuzz.recording->out);
		fflush(fuzz.expected->out);
		mistakes_drop(fuzz.recording);
		expect(is_same_file(fuzz.expected, fuzz.recording), "another recording");
	}
	fuzz.recording = NULL;
	fuzz.expected = NULL;
	twins.record = NULL;
}

/* Where nothing limits the heap the memory for the ids takes long to count, or cannot be had. */
static void try_record(void)
{
	if (twins.model.options.limit_bytes == 0)
		return;
	struct memory_file *const file = memory_file_open();
	call_begins("mems_record(a file)");
	const int result = mems_record(file->out);
	const int error = errno;
	if (result == 0) {
		expect(error == UNTOUCHED && twins.model.first == NULL, "a recording of half a heap");
		recording_end();
		recording_begin(file);
	} else {
		expect(result == -1 && error == EBUSY && twins.model.first != NULL, "no recording");
		memory_file_close(file);
	}
	looking_ends();
}

static void try_record_end(void)
{
	call_begins("mems_record(NULL)");
	expect_error(mems_record(NULL) == 0, UNTOUCHED, "the recording does not end");
	recording_end();
	looking_ends();
}

/* ---- Inside a visitor, inside a handler -------------------------------------------------- */

struct visit {
	uintptr_t address;
	size_t size;
	size_t visits_left; /* that call */
};

/* A call that is refused where a visitor is at work, and what is wrong before that. */
static void expect_refused(bool condition, bool is_bad)
{
	expect_error(condition, is_bad ? EINVAL : EBUSY, "done in a visitor");
}

static void visit_allocation(size_t size)
{
	errno = UNTOUCHED;
	expect_refused(mems_malloc(size) == NULL, size == 0);
	expect_refused(mems_calloc(3, size) == NULL, size * 3 == 0 && size <= SIZE_MAX / 3);
	expect_refused(mems_aligned_alloc(unit(), size) == NULL, size == 0);
	expect_refused(mems_aligned_alloc(3, size) == NULL, true);
	expect_refused(mems_realloc(NULL, size) == NULL, size == 0);
}

static void visit_address(uintptr_t address, size_t size)
{
	const bool is_stray = live_index(address) == twins.live_count;
	reports_clear();
	if (address != 0) {
		expect_refused(mems_realloc(at(address), size) == NULL, is_stray || size == 0);
		mems_free(at(address));
		expect_refused(true, is_stray);
	}
	expect(report.count == (address != 0 && is_stray ? 2 : 0), "no report, or too many");
	const size_t usable = model_usable_size(&twins.model, address);
	expect_error(mems_usable_size(at(address)) == usable, usable == 0 ? EINVAL : UNTOUCHED,
	             "another usable size in a visitor");
	reports_clear();
}

static void visit_life(size_t size)
{
	mems_init();
	expect_error(true, UNTOUCHED, "started in a visitor");
	mems_finish();
	expect_refused(true, false);
	expect_refused(mems_option(MEMS_LIMIT, size) == -1, false);
	expect_refused(mems_option(MEMS_ALIGNMENT, 3) == -1, true);
	expect_refused(mems_record(NULL) == -1, false);
	expect_refused(mems_record(stderr) == -1, false);
}

static void visit(struct visit *visit)
{
	if (visit->visits_left == 0)
		return;
	visit->visits_left--;
	visit_allocation(visit->size);
	visit_address(visit->address, visit->size);
	visit_life(visit->size);
	compare_chain();
	expect(mems_check(stderr) == 0, "the checker complains in a visitor");
}

static int visit_segment(const struct mems_segment *segment, void *context)
{
	(void)segment;
	visit(context);
	return 0;
}

static ssize_t visit_writing(void *context, const char *bytes, size_t size)
{
	(void)bytes;
	visit(context);
	return (ssize_t)size;
}

/* A file that calls while it is written to. */
static void try_print_calling(struct visit *context, bool is_json)
{
	const cookie_io_functions_t functions = {.write = visit_writing};
	FILE *const out = fopencookie(context, "w", functions);
	assert_non_null(out);
	setvbuf(out, NULL, _IONBF, 0);
	call_begins("printing to a file that calls");
	if (is_json)
		expect(mems_fprint_json(out) == 0, "JSON cannot be written");
	else
		mems_fprint_stats(out);
	expect(errno == UNTOUCHED, "printing touched errno");
	looking_ends();
	fclose(out);
}

static void try_walk_calling(struct visit *context)
{
	call_begins("mems_walk, and in it calls with %" PRIuPTR " and %zu", context->address,
	            context->size);
	expect_error(mems_walk(visit_segment, context) == 0, UNTOUCHED, "the walk ended early");
	looking_ends();
}

static size_t nested_size;
static uintptr_t nested;

static void allocating_handler(int error, const void *v_ptr, const char *message)
{
	remember_report(error, v_ptr, message);
	nested = address_of(mems_malloc(nested_size));
}

/* A misuse, in the report of which the handler takes a block. */
static void try_handler(uintptr_t address, size_t size)
{
	if (address == 0 || live_index(address) != twins.live_count)
		return;
	nested_size = size;
	call_begins("mems_free(%" PRIuPTR "), and mems_malloc(%zu) in the handler", address, size);
	mems_set_error_handler(allocating_handler);
	mems_free(at(address));
	expect(errno == EINVAL, "another error number");
	expect(mems_set_error_handler(remember_report) == allocating_handler, "another handler");
	model_free(&twins.model, address);
	expect(report.count == 1, "no report, or too many");
	expect(strcmp(report.message, twins.model.message) == 0, "another report");
	expect(nested == model_malloc(&twins.model, size), "another block in the handler");
	record_merge();
	if (nested != 0)
		live_add(nested, 'a', size, 0);
	twins.after_call();
}

/* ---- Looking ----------------------------------------------------------------------------- */

static const char *type_name(const struct mems_segment *segment)
{
	return segment->type == MEMS_PROCESS ? "PROCESS" : "HOLE";
}

static int print_json_segment(const struct mems_segment *segment, void *context)
{
	FILE *const out = context;
	if (segment->start == segment->node_start)
		fprintf(out, "%s{\"start\":%" PRIuPTR ",\"end\":%" PRIuPTR ",\"pages\":%zu,"
		        "\"physical\":\"0x%" PRIxPTR "\",\"sub_chain\":[",
		        segment->node == 0 ? "\n" : ",\n", segment->node_start, segment->node_end,
		        (segment->node_end - segment->node_start + 1) / page(),
		        address_of(segment->physical));
	fprintf(out, "%s{\"type\":\"%s\",\"start\":%" PRIuPTR ",\"end\":%" PRIuPTR ",\"size\":%zu",
	        segment->start == segment->node_start ? "\n" : ",\n", type_name(segment),
	        segment->start, segment->end, segment->size);
	if (segment->remembered_bytes != 0)
		fprintf(out, ",\"remembered_bytes\":%zu", segment->remembered_bytes);
	fputs(segment->end == segment->node_end ? "}]}" : "}", out);
	return 0;
}

/* What mems_fprint_json should print, made of what mems_walk shows. */
static void print_json(FILE *out)
{
	const struct model_options *const options = &twins.model.options;
	const struct mems_stats stats = stats_now();
	fprintf(out, "{\"schema\":1,\"page_size\":%zu,\"alignment\":%zu,\"start\":%zu,"
	        "\"policy\":\"%s\",\n\"main_chain\":[", page(), unit(), options->start_address,
	        options->policy == MEMS_QUICK_FIT ? "quick_fit" : "first_fit");
	mems_walk(print_json_segment, out);
	fprintf(out, "],\n\"stats\":{\"pages\":%zu,\"mapped_bytes\":%zu,\"process_bytes\":%zu,"
	        "\"hole_bytes\":%zu,\"largest_hole\":%zu,\"main_nodes\":%zu,"
	        "\"process_segments\":%zu,\"hole_segments\":%zu,\"peak_process_bytes\":%zu,"
	        "\"peak_mapped_bytes\":%zu,\"metadata_bytes\":%zu,"
	        "\"resident_hole_bytes\":%zu}}\n", stats.pages,
	        stats.mapped_bytes, stats.process_bytes, stats.hole_bytes, stats.largest_hole,
	        stats.main_nodes, stats.process_segments, stats.hole_segments,
	        stats.peak_process_bytes, stats.peak_mapped_bytes, stats.metadata_bytes,
	        stats.resident_hole_bytes);
}

static void try_json(void)
{
	struct memory_file *const expected = memory_file_open();
	struct memory_file *const found = memory_file_open();
	call_begins("mems_fprint_json");
	print_json(expected->out);
	errno = UNTOUCHED;
	expect_error(mems_fprint_json(found->out) == 0, UNTOUCHED, "JSON cannot be written");
	fflush(expected->out);
	fflush(found->out);
	expect(is_same_file(expected, found), "another JSON text");
	looking_ends();
}

/* The heap's first physical address, or NULL. */
static char *heap_base(void)
{
	struct mems_segment segment;
	if (mems_segment_at(at(twins.model.options.start_address), &segment) != 0)
		return NULL;
	return segment.physical;
}

/* The way back, of a byte of the heap or beyond its ends, or of any address. */
static void try_virtual(uintptr_t address, bool is_any)
{
	const uintptr_t start = twins.model.options.start_address;
	const uintptr_t base = address_of(heap_base());
	const uintptr_t physical = is_any || base == 0 ? address : base + (address - start);
	const uintptr_t expected = base == 0 ? 0 : physical - base + start;
	const bool is_known = model_has_range(&twins.model, expected, 1);
	call_begins("mems_virtual of the place of %" PRIuPTR, expected);
	const uintptr_t found = address_of(mems_virtual(at(physical)));
	expect_error(found == (is_known ? expected : 0), is_known ? UNTOUCHED : EFAULT,
	             "another answer of mems_virtual");
	looking_ends();
}

/* The segments on both sides of the one that holds the address, and their ends. */
static void try_neighbours(uintptr_t address)
{
	struct mems_segment segment;
	call_begins("mems_segment_at(%" PRIuPTR ") and its neighbours", address);
	try_segment_at(address);
	if (model_segment_at(&twins.model, address, &segment)) {
		try_segment_at(segment.start - 1);
		try_segment_at(segment.end + 1);
		try_translate(segment.start - 1, segment.size);
		try_translate(segment.start, segment.size);
		try_translate(segment.end, 2);
		try_translate(segment.end + 1, 1);
	}
	looking_ends();
}

/* ---- Without a heap ---------------------------------------------------------------------- */

static void no_heap_allocates(uintptr_t address, size_t size)
{
	try_malloc(size);
	try_calloc(size, size);
	try_aligned_alloc(size, size);
	try_realloc_null(size);
	try_misuse(address, size);
	try_misuse(0, size);
	try_trim();
	errno = UNTOUCHED;
	expect_error((mems_free(NULL), true), UNTOUCHED, "NULL is something without a heap");
}

static void no_heap_translates(uintptr_t address, size_t size, const char *base)
{
	unsigned char byte = 7;
	struct mems_segment segment;
	expect_error(mems_get(at(address)) == NULL, EFAULT, "translated without a heap");
	expect_error(mems_get_range(at(address), size) == NULL, EFAULT, "translated without a heap");
	expect_error(mems_virtual(base) == NULL, EFAULT, "translated without a heap");
	expect_error(mems_read(&byte, at(address), 1) == -1, EFAULT, "read without a heap");
	expect_error(mems_write(at(address), &byte, 1) == -1, EFAULT, "written without a heap");
	expect_error(mems_segment_at(at(address), &segment) == -1, EFAULT, "found without a heap");
}

static void no_heap_looks(void)
{
	const struct mems_stats none = {0};
	const struct mems_stats stats = stats_now();
	struct mems_segment segment;
	expect(memcmp(&stats, &none, sizeof stats) == 0, "counters without a heap");
	expect(walk_segments(&segment, 1) == 0, "segments without a heap");
	char *const text = printed_text();
	expect(strncmp(text, "Page used: 0\n", 13) == 0, "text without a heap");
	free(text);
	expect_error(mems_check(stderr) == 0, UNTOUCHED, "the checker complains without a heap");
	expect_error(mems_record(stderr) == -1, EINVAL, "recorded without a heap");
}

/* Ends the heap and asks what there is without one. */
static void heap_finish(uintptr_t address, size_t size)
{
	const char *const base = heap_base();
	compare_everything();
	call_begins("mems_finish, and calls with %" PRIuPTR " and %zu", address, size);
	twins_finish();
	expect(errno == UNTOUCHED, "mems_finish touched errno");
	recording_end();
	no_heap_allocates(address, size);
	no_heap_translates(address, size, base);
	no_heap_looks();
	mems_finish();
	expect(errno == UNTOUCHED, "mems_finish touched errno");
}

/* ---- Heaps ------------------------------------------------------------------------------- */

static size_t page_of_choice(size_t choice)
{
	static const size_t pages[] = {4096, 4096, 4096, 4096, 8192, 16384, 65536, 1 << 21};
	const size_t bytes = pages[choice % 8];
	return bytes > os_page() ? bytes : os_page();
}

static struct model_options any_options(void)
{
	static const size_t starts[] = {1000, 1, (size_t)1 << 31, 5, 4096, 77, 999, 64};
	static const size_t limits[] = {0, 1, 2, 3, 5, 8, 16, 17, 33, 64, 65, 66, 100, 200, 300, 0};
	const size_t first = number();
	const size_t start = starts[number() % 8];
	const size_t page_bytes = page_of_choice(number());
	const size_t last = number();
	const size_t pages = limits[last % 16];
	return (struct model_options){
		.policy = first % 2 == 0 ? MEMS_FIRST_FIT : MEMS_QUICK_FIT,
		.alignment = (size_t)1 << (first / 2 + 3) % 7,
		.start_address = start,
		.page_bytes = page_bytes,
		.limit_bytes = pages * page_bytes + (pages != 0 && last / 16 % 2 == 1 ? 77 : 0),
		.is_doubtful = true,
	};
}

static void heap_start(void)
{
	const struct model_options options = any_options();
	if (twins.calls_log != NULL)
		fprintf(twins.calls_log, "policy %d, alignment %zu, start %zu, page size %zu, limit %zu\n",
		        (int)options.policy, options.alignment, options.start_address,
		        options.page_bytes, options.limit_bytes);
	errno = UNTOUCHED;
	twins_start(&options);
	expect(errno == UNTOUCHED, "starting touched errno");
	snprintf(twins.call, sizeof twins.call, "mems_init");
	after_call();
}

/* ---- Operations: each reads its operands ------------------------------------------------- */

static void do_malloc(void)
{
	try_malloc(any_size());
}

static void do_malloc_again(void)
{
	try_malloc(fuzz.size);
}

static void do_calloc(void)
{
	const size_t choice = number();
	const size_t count = choice % 16 == 15 ? absurd_size(choice) : choice % 4;
	try_calloc(count, any_size());
}

static void do_aligned_alloc(void)
{
	const size_t alignment = any_alignment();
	try_aligned_alloc(alignment, any_size());
}

static void do_realloc(void)
{
	const uintptr_t address = any_address();
	const size_t size = any_size();
	if (address == 0)
		try_realloc_null(size);
	else if (live_index(address) == twins.live_count)
		try_misuse(address, size);
	else
		try_realloc_live(live_index(address), size);
}

/* By a little, up or down. */
static void do_resize(void)
{
	const size_t choice = number();
	const size_t change = number();
	if (twins.live_count == 0)
		return;
	const size_t size = model_usable_size(&twins.model, twins.live[newest(choice)]);
	try_realloc_live(newest(choice), change % 2 == 0 ? size + change : size - change % size);
}

static void free_any(uintptr_t address)
{
	if (address == 0) {
		call_begins("mems_free(NULL)");
		mems_free(NULL);
		expect(errno == UNTOUCHED, "mems_free(NULL) touched errno");
		looking_ends();
	} else if (live_index(address) == twins.live_count) {
		try_misuse(address, 0);
	} else {
		try_free_live(live_index(address));
	}
}

static void do_free(void)
{
	free_any(any_address());
}

static void do_free_newest(void)
{
	if (twins.live_count != 0)
		try_free_live(twins.live_count - 1);
}

static void do_free_chosen(void)
{
	const size_t choice = number();
	if (twins.live_count != 0)
		try_free_live(choice % 2 == 0 ? newest(choice / 2) : choice / 2 % twins.live_count);
}

static void do_many_mallocs(void)
{
	const size_t count = 1 + number();
	const size_t size = any_size();
	for (size_t i = 0; i < count && is_time_left(); i++)
		try_malloc(size);
}

static void do_many_frees(void)
{
	const size_t choice = number();
	const size_t step = 1 + choice % 3;
	size_t index = twins.live_count;
	for (size_t count = choice / 3 * 4; count > 0 && index >= step && is_time_left(); count--) {
		index -= step;
		try_free_live(index);
	}
}

static void do_everything(void)
{
	compare_everything();
}

static void do_translate(void)
{
	const uintptr_t address = any_address();
	try_translate(address, any_size());
}

static void do_virtual(void)
{
	const size_t choice = number();
	try_virtual(any_address(), choice % 8 == 7);
}

static void do_write_and_read(void)
{
	const uintptr_t address = any_address();
	try_write_and_read(address, number() * (1 + address % 8));
}

static void do_usable_size(void)
{
	const uintptr_t address = any_address();
	try_misuse(address, any_size());
}

static void do_neighbours(void)
{
	try_neighbours(any_address());
}

static void do_handler(void)
{
	const uintptr_t address = any_address();
	try_handler(address, any_size());
}

static void do_visitor(void)
{
	const size_t choice = number();
	struct visit visit = {.visits_left = 1 + choice / 3 % 2};
	visit.address = any_address();
	visit.size = any_size();
	if (choice % 3 == 0)
		try_walk_calling(&visit);
	else
		try_print_calling(&visit, choice % 3 == 1);
}

static void do_record(void)
{
	if (number() % 4 == 3)
		try_record_end();
	else
		try_record();
}

/* With a heap no option can be set, and starting it again changes nothing. */
static void do_options(void)
{
	const size_t value = any_size();
	const enum mems_option option = (enum mems_option)(number() % 8);
	call_begins("mems_option(%d, %zu) and mems_init", (int)option, value);
	expect(mems_option(option, value) == -1, "an option is set");
	expect(errno == EBUSY || (errno == EINVAL && option != MEMS_LIMIT), "another error number");
	errno = UNTOUCHED;
	mems_init();
	expect(errno == UNTOUCHED, "mems_init touched errno");
	looking_ends();
}

static void do_finish(void)
{
	const uintptr_t address = any_address();
	heap_finish(address, any_size());
	heap_start();
}

typedef void operation(void);

static operation *const operations[32] = {
	['a' % 32] = do_aligned_alloc,
	['b' % 32] = do_many_mallocs,
	['c' % 32] = do_calloc,
	['d' % 32] = do_many_frees,
	['e' % 32] = do_everything,
	['f' % 32] = do_free,
	['g' % 32] = do_translate,
	['h' % 32] = do_handler,
	['i' % 32] = do_options,
	['j' % 32] = try_json,
	['k' % 32] = do_free_chosen,
	['l' % 32] = do_resize,
	['m' % 32] = do_malloc,
	['n' % 32] = do_free_newest,
	['o' % 32] = do_finish,
	['r' % 32] = do_realloc,
	['s' % 32] = do_neighbours,
	['t' % 32] = do_record,
	['u' % 32] = do_usable_size,
	['v' % 32] = do_virtual,
	['w' % 32] = do_write_and_read,
	['x' % 32] = do_visitor,
	['z' % 32] = do_malloc_again,
	/* The rest: what is most worth doing often. */
	['p' % 32] = do_realloc,
	['q' % 32] = do_malloc,
	['y' % 32] = do_free_chosen,
	[27] = do_free_chosen,
	[28] = do_malloc_again,
	[29] = try_trim,
	[30] = do_resize,
	[31] = do_malloc,
};

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
	fuzz.bytes = bytes;
	fuzz.left = size;
	fuzz.calls = 0;
	fuzz.work = 0;
	fuzz.size = 1;
	twins.random = 1;
	twins.name = "fuzz_heap";
	twins.calls_log = getenv("FUZZ_VERBOSE") == NULL ? NULL : stderr;
	twins.after_call = after_call;
	twins.failed = give_up;
	mems_set_error_handler(remember_report);
	heap_start();
	while (fuzz.left > 0 && is_time_left()) {
		operation *const next = operations[*fuzz.bytes % 32];
		number();
		if (next != NULL)
			next();
	}
	heap_finish(twins.stale[0], 1);
	return 0;
}
