/*
 * History against a slow model: every event is kept, and each question answered by looking at all of
 * them. What a heap of other calls remembers, what is reported of a misuse, and what is live.
 */
#define _GNU_SOURCE
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "support.h"

enum { SLOTS = 300, CALLS = 6000, REMEMBERED = 500, MOST_SIZE = 900 };

/* ---- The model --------------------------------------------------------------------------------- */

struct model_event {
	struct mems_event event;
	uintptr_t end;               /* after the last byte of the block after the call */
	uintptr_t before, before_end; /* of the block before it */
};

static struct {
	struct model_event events[2 * CALLS];
	size_t calls;
	struct block {
		uintptr_t start;         /* 0: not live */
		size_t size, taken;      /* taken: which call */
	} blocks[2 * CALLS];
	size_t block_count;          /* that may be live */
} model;

static _Thread_local uint64_t random_state;

static uint64_t random_number(void)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return random_state;
}

static void random_begin(void)
{
	const char *words = getenv("SEED");
	const uint64_t seed = words != NULL ? strtoull(words, NULL, 10) : (uint64_t)time(NULL);
	printf("SEED=%" PRIu64 "\n", seed);
	random_state = (seed + 1) * UINT64_C(0x9E3779B97F4A7C15);
}

static uintptr_t end_of(uintptr_t start, size_t size)
{
	return start + (size + 7) / 8 * 8;
}

static const char *const labels[] = {NULL, "parser", "cache", "a b%"};

static void model_add(enum mems_event_kind kind, struct block *block, uintptr_t to, size_t size)
{
	struct model_event *event = &model.events[model.calls++];
	const bool is_new = kind == MEMS_TAKEN;
	*event = (struct model_event){
		.event = { .call = model.calls, .kind = kind, .start = to, .size = size,
		           .label = labels[model.calls % 4] },
		.end = end_of(to, size),
		.before = is_new ? 0 : block->start,
		.before_end = is_new ? 0 : end_of(block->start, block->size),
	};
	if (is_new)
		block->taken = model.calls;
	block->start = kind == MEMS_FREED ? 0 : to;
	block->size = size;
}

/* One call of any kind, made by the heap and noted by the model. */
static void any_call(void)
{
	struct block *block = &model.blocks[random_number() % SLOTS];
	const size_t size = (size_t)(random_number() % MOST_SIZE) + 1;
	const unsigned kind = random_number() % 4;
	mems_set_label(labels[(model.calls + 1) % 4]);
	if (block->start == 0) {
		void *given = kind == 0 ? mems_calloc(1, size) : kind == 1 ? mems_aligned_alloc(64, size)
			: kind == 2 ? mems_realloc(NULL, size) : mems_malloc(size);
		assert_non_null(given);
		model_add(MEMS_TAKEN, block, (uintptr_t)given, size);
	} else if (kind == 0) {
		void *given = mems_realloc((void *)block->start, size);
		assert_non_null(given);
		model_add(MEMS_RESIZED, block, (uintptr_t)given, size);
	} else {
		mems_free((void *)block->start);
		model_add(MEMS_FREED, block, block->start, block->size);
	}
	assert_null(mems_malloc(0)); /* has no number */
}

static const struct block *model_block_at(uintptr_t byte)
{
	for (size_t i = 0; i < model.block_count; i++)
		if (model.blocks[i].start != 0 && byte >= model.blocks[i].start &&
		    byte < end_of(model.blocks[i].start, model.blocks[i].size))
			return &model.blocks[i];
	return NULL;
}

static bool covers(const struct model_event *event, uintptr_t byte)
{
	return (byte >= event->event.start && byte < event->end) ||
	       (byte >= event->before && byte < event->before_end);
}

/* The same as mems_history, from all there is. */
static size_t model_history(uintptr_t byte, struct mems_event *events, size_t remembered)
{
	const struct block *block = model_block_at(byte);
	size_t found = 0;
	for (size_t call = model.calls; call > 0; call--) {
		const struct model_event *event = &model.events[call - 1];
		if (block != NULL && call == block->taken) {
			events[found] = event->event;
			events[found].start = block->start;
			events[found++].size = block->size;
		} else if (model.calls - call < remembered && covers(event, byte)) {
			events[found++] = event->event;
		}
	}
	return found;
}

/* The events are those that the model has of this byte. room: how many of them are there at most. */
static void assert_same_events(uintptr_t byte, size_t remembered, const struct mems_event *events,
                               size_t room, size_t count)
{
	static struct mems_event expected[2 * CALLS];
	assert_int_equal(model_history(byte, expected, remembered), count);
	for (size_t i = 0; i < count && i < room; i++) {
		assert_int_equal(events[i].call, expected[i].call);
		assert_int_equal(events[i].kind, expected[i].kind);
		assert_int_equal(events[i].start, expected[i].start);
		assert_int_equal(events[i].size, expected[i].size);
		assert_ptr_equal(events[i].label, expected[i].label);
		assert_non_null(events[i].caller);
	}
}

static void assert_same_history(uintptr_t byte, size_t remembered)
{
	static struct mems_event events[2 * CALLS];
	const size_t count = mems_history((void *)byte, NULL, 0);
	assert_int_equal(mems_history((void *)byte, events, 2 * CALLS), count);
	assert_same_events(byte, remembered, events, 2 * CALLS, count);
}

static void heap_begin_with(size_t remembered, enum mems_policy policy)
{
	memset(&model, 0, sizeof model);
	model.block_count = SLOTS;
	assert_int_equal(mems_option(MEMS_POLICY, (size_t)policy), 0);
	assert_int_equal(mems_option(MEMS_HISTORY, remembered), 0);
	mems_init();
}

static void heap_begin(size_t remembered)
{
	heap_begin_with(remembered, MEMS_FIRST_FIT);
}

static void heap_end(void)
{
	assert_sound();
	mems_finish();
	mems_set_label(NULL);
	assert_int_equal(mems_option(MEMS_HISTORY, 0), 0);
}

/* After a test that failed. */
static int reset(void **state)
{
	(void)state;
	mems_finish();
	mems_set_label(NULL);
	mems_set_caller(NULL);
	mems_set_error_handler(default_handler);
	return mems_option(MEMS_HISTORY, 0);
}

/* ---- Tests ------------------------------------------------------------------------------------- */

static void history_equals_the_model(void **state)
{
	static const size_t sizes[] = {1, 2, 50, REMEMBERED, 2 * CALLS};
	(void)state;
	random_begin();
	for (size_t i = 0; i < 2 * sizeof sizes / sizeof sizes[0]; i++) {
		heap_begin_with(sizes[i / 2], i % 2 == 0 ? MEMS_FIRST_FIT : MEMS_QUICK_FIT);
		for (size_t call = 0; call < CALLS; call++) {
			any_call();
			if (call % 40 == 0)
				assert_same_history((uintptr_t)(1000 + random_number() % 100000), sizes[i / 2]);
		}
		heap_end();
	}
}

/* The list of what is live is exactly this text. */
static void assert_live_text(const char *expected)
{
	char *text = NULL;
	size_t length;
	FILE *out = open_memstream(&text, &length);
	assert_succeeds(mems_fprint_live(out) == 0);
	assert_int_equal(fclose(out), 0);
	assert_string_equal(text, expected);
	free(text);
}

/* What is live of one label. */
struct model_site {
	const char *label;
	size_t bytes, blocks, first_call;
};

static int model_site_compare(const void *a, const void *b)
{
	const struct model_site *one = a, *other = b;
	if (one->bytes != other->bytes)
		return one->bytes > other->bytes ? -1 : 1;
	return one->first_call < other->first_call ? -1 : 1;
}

/* What mems_fprint_live has to say where all calls have this caller. */
static void model_live_write(char *text, size_t size, uintptr_t caller)
{
	struct model_site sites[4] = { { 0 } };
	size_t length = 0, bytes = 0, blocks = 0;
	for (size_t i = 0; i < SLOTS; i++) {
		const struct block *block = &model.blocks[i];
		struct model_site *site = &sites[block->taken % 4];
		if (block->start == 0)
			continue;
		site->label = labels[block->taken % 4];
		site->first_call = site->blocks++ == 0 || block->taken < site->first_call
			? block->taken : site->first_call;
		site->bytes += block->size;
	}
	qsort(sites, 4, sizeof *sites, model_site_compare);
	for (size_t i = 0; i < 4 && sites[i].blocks != 0; i++) {
		const char *label = sites[i].label;
		length += (size_t)snprintf(text + length, size - length,
			"%zu bytes in %zu block%s, first taken by call %zu%s%s%s, from 0x%" PRIxPTR "\n",
			sites[i].bytes, sites[i].blocks, sites[i].blocks == 1 ? "" : "s", sites[i].first_call,
			label != NULL ? " (" : "", label != NULL ? label : "", label != NULL ? ")" : "", caller);
		bytes += sites[i].bytes;
		blocks += sites[i].blocks;
	}
	snprintf(text + length, size - length, "Live bytes: %zu\nLive blocks: %zu\n", bytes, blocks);
}

static void the_live_list_equals_the_model(void **state)
{
	char expected[1000];
	(void)state;
	random_begin();
	heap_begin(3);
	mems_set_caller((void *)0x1000);
	for (size_t call = 0; call < CALLS; call++) {
		any_call();
		if (call % 50 != 0)
			continue;
		model_live_write(expected, sizeof expected, 0x1000);
		assert_live_text(expected);
	}
	mems_set_caller(NULL);
	heap_end();
}

static void the_list_is_grouped(void **state)
{
	static char same[] = "parser"; /* as the first label, but elsewhere */
	(void)state;
	heap_begin(1);
	mems_set_caller((void *)0x1000);
	mems_set_label("parser");
	assert_non_null(mems_malloc(100));
	void *freed = mems_malloc(5000);
	assert_non_null(mems_calloc(10, 20));
	mems_set_label(same);
	assert_non_null(mems_malloc(8));
	mems_set_label("new\nline");
	mems_set_caller((void *)0x2000);
	assert_non_null(mems_malloc(7));
	mems_free(freed);
	mems_set_caller(NULL);
	assert_live_text("300 bytes in 2 blocks, first taken by call 1 (parser), from 0x1000\n"
	                 "8 bytes in 1 block, first taken by call 4 (parser), from 0x1000\n"
	                 "7 bytes in 1 block, first taken by call 5 (new%0Aline), from 0x2000\n"
	                 "Live bytes: 315\nLive blocks: 4\n");
	heap_end();
}

/* Of sites with as many bytes, the one whose oldest live block is older comes first. */
static void equals_are_listed_by_age(void **state)
{
	(void)state;
	heap_begin(1);
	mems_set_caller((void *)0x1000);
	void *freed = mems_malloc(100);
	mems_set_caller((void *)0x2000);
	assert_non_null(mems_malloc(100));
	mems_free(freed);
	mems_set_caller((void *)0x1000);
	assert_non_null(mems_malloc(100));
	mems_set_caller(NULL);
	assert_live_text("100 bytes in 1 block, first taken by call 2, from 0x2000\n"
	                 "100 bytes in 1 block, first taken by call 4, from 0x1000\n"
	                 "Live bytes: 200\nLive blocks: 2\n");
	heap_end();
}

static void a_list_that_cannot_be_written_fails(void **state)
{
	FILE *full = fopen("/dev/full", "w");
	(void)state;
	if (full == NULL)
		skip();
	heap_begin(1);
	assert_non_null(mems_malloc(1));
	assert_fails(ENOSPC, mems_fprint_live(full) == -1);
	assert_fails(ENOSPC, mems_explain(NULL, full) == -1);
	fclose(full);
	heap_end();
}

static void without_history_there_are_no_answers(void **state)
{
	struct mems_event event;
	(void)state;
	mems_finish();
	assert_fails(EPERM, mems_fprint_live(stdout) == -1);
	mems_init();
	void *block = mems_malloc(10);
	assert_fails(EINVAL, mems_fprint_live(stdout) == -1);
	assert_succeeds(mems_history(block, &event, 1) == 0);
	mems_finish();
	assert_fails(EINVAL, mems_option(MEMS_HISTORY, ((size_t)1 << 24) + 1) == -1);
	assert_succeeds(mems_option(MEMS_HISTORY, (size_t)1 << 24) == 0);
	assert_int_equal(mems_option(MEMS_HISTORY, 0), 0);
}

static char told[400];

static void tell(int error, const void *v_ptr, const char *message)
{
	assert_int_equal(error, EINVAL);
	assert_non_null(v_ptr);
	snprintf(told, sizeof told, "%s", message);
}

/* 10^5 double frees name the call that freed the block. */
static void a_misuse_names_the_call(void **state)
{
	mems_error_handler *before = mems_set_error_handler(tell);
	char *number, expected[60];
	(void)state;
	random_begin();
	heap_begin_with(2 * CALLS, MEMS_QUICK_FIT);
	for (size_t round = 0; round < 20; round++) {
		for (size_t call = 0; call < CALLS / 20; call++)
			any_call();
		for (size_t frees = 0; frees < 5000;) {
			const struct model_event *event = &model.events[random_number() % model.calls];
			const uintptr_t start = event->event.start;
			const struct block *block = model_block_at(start);
			size_t call = model.calls;
			if (block != NULL && block->start == start)
				continue;
			while (block == NULL && !covers(&model.events[call - 1], start))
				call--;
			call = block != NULL ? block->taken : call;
			const char *label = model.events[call - 1].event.label;
			mems_free((void *)start);
			frees++;
			snprintf(expected, sizeof expected, ", %s by call %zu%s%s%s",
			         block != NULL ? "taken" : "freed", call, label != NULL ? " (" : "",
			         label != NULL ? label : "", label != NULL ? ")" : "");
			number = strrchr(told, ',');
			assert_non_null(number);
			assert_string_equal(number, expected);
		}
	}
	heap_end();
	mems_set_error_handler(before);
}

static void messages_go_on_after_the_usual_words(void **state)
{
	mems_error_handler *before = mems_set_error_handler(tell);
	(void)state;
	heap_begin(10);
	mems_set_label("parser");
	void *block = mems_malloc(1000), *other = mems_malloc(1000);
	mems_set_label(NULL);
	mems_free(other);
	mems_free(other);
	assert_string_equal(told, "mems_free(2000): in HOLE[2000:5095], freed before or never given out"
	                    ", freed by call 3");
	mems_free((char *)block + 4);
	assert_string_equal(told, "mems_free(1004): inside PROCESS[1000:1999], taken by call 1 (parser)");
	mems_free((void *)4000);
	assert_string_equal(told, "mems_free(4000): in HOLE[2000:5095], freed before or never given out");
	mems_set_error_handler(before);
	heap_end();
}

static void a_label_is_kept_across_realloc(void **state)
{
	struct mems_event events[4];
	(void)state;
	heap_begin(1);
	assert_null(mems_set_label("parser"));
	void *block = mems_malloc(100);
	assert_string_equal(mems_set_label("cache"), "parser");
	assert_non_null(mems_malloc(100));
	for (size_t size = 200; size < 100000; size *= 2) {
		void *moved = mems_realloc(block, size);
		assert_int_equal(mems_history(moved, events, 4), 2);
		assert_int_equal(events[0].kind, MEMS_RESIZED);
		assert_string_equal(events[0].label, "cache");
		assert_int_equal(events[1].call, 1);
		assert_int_equal(events[1].size, size);
		assert_string_equal(events[1].label, "parser");
		if (moved != block) {
			assert_int_equal(mems_history(block, events, 4), 1);
			assert_int_equal(events[0].start, (uintptr_t)moved);
		}
		block = moved;
	}
	mems_finish();
	mems_init();
	assert_int_equal(mems_history(mems_malloc(100), events, 4), 1);
	assert_string_equal(events[0].label, "cache"); /* of all later calls, in the next heap too */
	heap_end();
}

/* Where there is room for fewer, the newest are written, and nothing behind them. */
static void no_more_events_are_written_than_have_room(void **state)
{
	struct mems_event events[3], untouched;
	(void)state;
	heap_begin(10);
	void *block = mems_realloc(mems_malloc(100), 50);
	memset(&untouched, 0x5A, sizeof untouched);
	for (size_t room = 0; room <= 2; room++) {
		memset(events, 0x5A, sizeof events);
		assert_int_equal(mems_history(block, events, room), 2);
		assert_memory_equal(&events[room], &untouched, sizeof untouched);
		for (size_t i = 0; i < room; i++)
			assert_int_equal(events[i].call, 2 - i);
	}
	heap_end();
}

/* ---- Callers ------------------------------------------------------------------------------------ */

/* Written behind each call, which so is not the last thing that a function does. */
static void *volatile called;

#define CALLS_FROM(name, call) \
	static __attribute__((noinline)) void *name(void *block) \
	{ \
		(void)block; \
		called = (call); \
		return called; \
	}

typedef void *block_call(void *block);

CALLS_FROM(from_malloc, mems_malloc(8))
CALLS_FROM(from_calloc, mems_calloc(1, 8))
CALLS_FROM(from_aligned_alloc, mems_aligned_alloc(64, 8))
CALLS_FROM(from_realloc_of_null, mems_realloc(NULL, 8))
CALLS_FROM(from_realloc, mems_realloc(block, 100))
CALLS_FROM(from_free, (mems_free(block), block))

static void the_caller_is_where_the_call_returns_to(void **state)
{
	enum { MOST_BYTES = 512 }; /* of code in one of these functions */
	static block_call *const takers[] = {
		from_malloc, from_calloc, from_aligned_alloc, from_realloc_of_null };
	(void)state;
	for (unsigned i = 0; i < 2 * sizeof takers / sizeof takers[0]; i++) {
		block_call *const functions[] = { takers[i / 2], from_realloc, from_free };
		struct mems_event event;
		void *block = NULL;
		heap_begin_with(10, i % 2 != 0 ? MEMS_QUICK_FIT : MEMS_FIRST_FIT);
		for (unsigned j = 0; j < 6; j++) { /* the second time on the fast paths */
			block = functions[j % 3](block);
			assert_true(mems_history(block, &event, 1) > 0);
			assert_true((uintptr_t)event.caller - (uintptr_t)functions[j % 3] < MOST_BYTES);
		}
		heap_end();
	}
}

/* Any 64 bits get one line. */
static void anything_is_explained(void **state)
{
	char text[1000];
	(void)state;
	random_begin();
	heap_begin(30);
	for (size_t i = 0; i < 300; i++)
		any_call();
	void *physical = NULL;
	for (size_t i = 0; physical == NULL; i++)
		physical = mems_get((void *)model.blocks[i].start);
	for (size_t i = 0; i < 1000000; i++) {
		const uint64_t number = random_number();
		const size_t kind = i % 5;
		const uintptr_t address = (uintptr_t)(kind == 0 ? number : kind == 1 ? number % 500000
			: kind == 2 ? (uintptr_t)physical + number % 100000 - 50000
			: kind == 3 ? number & (number >> 20) & (number << 9) : UINT64_MAX >> (number % 64));
		if (i % 100 == 0) {
			FILE *out = fmemopen(text, sizeof text, "w");
			assert_succeeds(mems_explain((void *)address, out) == 0);
			fclose(out);
			assert_non_null(strchr(text, '\n'));
			assert_int_equal(strchr(text, '\n')[1], '\0');
		} else {
			static FILE *null;
			null = null != NULL ? null : fopen("/dev/null", "w");
			if (mems_explain((void *)address, null) != 0)
				fail();
		}
	}
	heap_end();
}

static void handler(int number, siginfo_t *info, void *context)
{
	(void)number;
	(void)context;
	mems_explain(info->si_addr, stderr);
	_exit(7);
}

/* A virtual address that is used as a pointer. */
static void a_fault_is_explained_in_its_handler(void **state)
{
	int ends[2], status;
	char text[200] = "";
	(void)state;
	heap_begin(30);
	mems_set_label("parser");
	volatile char *block = mems_malloc(100);
	assert_int_equal(pipe(ends), 0);
	if (fork() == 0) {
		struct sigaction action = { .sa_sigaction = handler, .sa_flags = SA_SIGINFO };
		dup2(ends[1], STDERR_FILENO);
		sigaction(SIGSEGV, &action, NULL);
		block[5] = 1;
		_exit(1);
	}
	assert_true(wait(&status) > 0);
	assert_int_equal(WEXITSTATUS(status), 7);
	assert_true(read(ends[0], text, sizeof text - 1) > 0);
	assert_string_equal(text, "1005: inside PROCESS[1000:1103], taken by call 1 (parser)\n");
	close(ends[0]);
	close(ends[1]);
	heap_end();
}

enum { THREADS = 4, THREAD_CALLS = 20000, KEPT = 50 };

static void *take_and_free(void *context)
{
	void **kept = context;
	mems_set_label((const char *)kept[KEPT]);
	for (size_t i = 0; i < THREAD_CALLS; i++) {
		void **slot = &kept[i * 7 % KEPT];
		mems_free(*slot);
		*slot = mems_malloc(i % 200 + 1);
	}
	return NULL;
}

static void labels_belong_to_threads(void **state)
{
	static char names[THREADS][2];
	static void *kept[THREADS][KEPT + 1];
	pthread_t threads[THREADS];
	struct mems_event event = { 0 };
	bool has_number[2 * THREADS * THREAD_CALLS + 1] = { false };
	(void)state;
	heap_begin_with(100, MEMS_QUICK_FIT);
	for (size_t i = 0; i < THREADS; i++) {
		names[i][0] = (char)('a' + i);
		kept[i][KEPT] = names[i];
		assert_int_equal(pthread_create(&threads[i], NULL, take_and_free, kept[i]), 0);
	}
	for (size_t i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	for (size_t i = 0; i < THREADS; i++) {
		for (size_t k = 0; k < KEPT; k++) {
			struct mems_event events[200];
			const size_t count = mems_history(kept[i][k], events, 200);
			assert_true(count != 0);
			for (size_t e = 0; e < count && (event = events[e]).kind != MEMS_TAKEN; e++)
				;
			assert_ptr_equal(event.label, names[i]);
			assert_true(event.call <= 2 * THREADS * THREAD_CALLS);
			assert_false(has_number[event.call]);
			has_number[event.call] = true;
		}
	}
	heap_end();
}

/* Labels in a recording, and mistakes. */
static void a_recording_has_labels_and_mistakes(void **state)
{
	mems_error_handler *before = mems_set_error_handler(tell);
	char *text = NULL;
	size_t length;
	(void)state;
	mems_init();
	FILE *out = open_memstream(&text, &length);
	assert_int_equal(mems_record(out), 0);
	mems_set_label("a b%\303\200\n");
	void *block = mems_malloc(100);
	mems_free(mems_calloc(2, 100));
	mems_set_label(NULL);
	assert_non_null(mems_aligned_alloc(64, 100));
	mems_free((char *)block + 1);
	assert_string_equal(told, "mems_free(1001): inside PROCESS[1000:1103]"); /* without history */
	mems_set_label("");
	assert_non_null(mems_calloc(1, 300));
	mems_set_label("x");
	assert_non_null(mems_aligned_alloc(64, 100));
	assert_non_null(mems_realloc(block, 10));
	assert_int_equal(mems_record(NULL), 0);
	fclose(out);
	const char *lines = strchr(text, 'a');
	lines = text[0] == 'o' ? strchr(text, '\n') + 1 : lines;
	assert_string_equal(lines, "a 0 100 a%20b%25%C3%80%0A\nc 1 200 a%20b%25%C3%80%0A\nf 1\n"
	                    "m 2 100 64\ne free 1001\nc 3 300\nm 4 100 64 x\nr 0 10\n");
	free(text);
	mems_set_label(NULL);
	mems_finish();
	mems_set_error_handler(before);
}

/* What is at an address, as mems_explain says it. */
static void assert_explained(void *address, const char *expected)
{
	char text[400] = "";
	FILE *out = fmemopen(text, sizeof text, "w");
	assert_non_null(out);
	assert_int_equal(mems_explain(address, out), 0);
	fclose(out);
	assert_string_equal(text, expected);
}

/* Unlike a report of misuse it says of no function that it is missing. */
static void an_address_is_explained_without_a_heap(void **state)
{
	(void)state;
	assert_explained((void *)1000, "1000: there is no heap\n");
}

static void assert_json_has(const char *part)
{
	char *text = NULL;
	size_t length;
	FILE *out = open_memstream(&text, &length);
	assert_int_equal(mems_fprint_json(out), 0);
	assert_int_equal(fclose(out), 0);
	if (strstr(text, part) == NULL)
		fail_msg("%s\nis not in\n%s", part, text);
	free(text);
}

/* 64 bytes of a label are shown, but of a character all bytes or none; JSON is UTF-8. */
static void labels_are_shown_whole_characters(void **state)
{
	static const struct {
		const char *end, *shown, *json;
	} ends[] = {
		{"x", "x", "x"}, {"xyz", "x", "x"}, {"\303\244", "", ""}, {"\342\202\254", "", ""},
		{"\360\237\230\200", "", ""}, {"\344 ", "\344", "\\ufffd"}, {"\n", "%0A", "\\u000a"},
		{"\177", "%7F", "\\u007f"},
	};
	static const struct {
		const char *label, *json;
	} texts[] = {
		{"\303\244\342\202\254\360\237\230\200", "\303\244\342\202\254\360\237\230\200"},
		{"\344\"\\\177", "\\ufffd\\u0022\\u005c\\u007f"}, {"\300\200\301\277", "\\ufffd\\ufffd\\ufffd\\ufffd"},
		{"\340\200\200", "\\ufffd\\ufffd\\ufffd"}, {"\355\240\200", "\\ufffd\\ufffd\\ufffd"},
		{"\360\200\200\200", "\\ufffd\\ufffd\\ufffd\\ufffd"}, {"\364\220x", "\\ufffd\\ufffdx"},
		{"\342\202", "\\ufffd\\ufffd"}, {"\355\237\277\356\200\200", "\355\237\277\356\200\200"},
		{"\364\217\277\277\302\200\337\277", "\364\217\277\277\302\200\337\277"},
		{"\340\240\200\357\277\277\360\220\200\200", "\340\240\200\357\277\277\360\220\200\200"},
		{"\303\303\244", "\\ufffd\303\244"},
		{"\364\220\200\200", "\\ufffd\\ufffd\\ufffd\\ufffd"},
		{"\340\237\277", "\\ufffd\\ufffd\\ufffd"},
		{"\360\217\277\277", "\\ufffd\\ufffd\\ufffd\\ufffd"},
	};
	char label[100], expected[200];
	const char *const start = "123456789 123456789 123456789 123456789 123456789 123456789 123";
	(void)state;
	heap_begin(1);
	for (size_t i = 0; i < sizeof ends / sizeof ends[0]; i++) {
		snprintf(label, sizeof label, "%s%s", start, ends[i].end);
		mems_set_label(label);
		void *block = mems_malloc(8);
		snprintf(expected, sizeof expected, "1000: inside PROCESS[1000:1007], taken by call %zu (%s%s)\n",
		         2 * i + 1, start, ends[i].shown);
		assert_explained(block, expected);
		snprintf(expected, sizeof expected, "\"label\":\"%s%s\"}", start, ends[i].json);
		assert_json_has(expected);
		mems_free(block);
	}
	for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
		mems_set_label(texts[i].label);
		void *block = mems_malloc(8);
		snprintf(expected, sizeof expected, "\"label\":\"%s\"}", texts[i].json);
		assert_json_has(expected);
		mems_free(block);
	}
	heap_end();
}

/* The numbers of calls are those of the lines of a recording, also where mems_trim came before it. */
static void a_call_is_a_line_of_a_recording(void **state)
{
	char *text = NULL;
	size_t length, lines = 0;
	struct mems_event event;
	(void)state;
	random_begin();
	heap_begin(1);
	mems_trim();
	FILE *out = open_memstream(&text, &length);
	assert_int_equal(mems_record(out), 0);
	for (size_t i = 0; i < 1000; i++)
		any_call();
	mems_trim();
	void *last = mems_malloc(10);
	assert_int_equal(mems_record(NULL), 0);
	fclose(out);
	for (char *line = strtok(text, "\n"); line != NULL; line = strtok(NULL, "\n"))
		lines += line[0] != 'o' && line[0] != 'e';
	assert_int_equal(mems_history(last, &event, 1) >= 1, 1);
	assert_int_equal(event.call, 1002);
	assert_int_equal(lines, 1002);
	free(text);
	heap_end();
}

/* More sites than fit into what is mapped for them at first. */
static void there_may_be_many_labels(void **state)
{
	enum { LABELS = 5000, BYTES = 12 };
	static char names[LABELS][BYTES];
	static void *kept[LABELS];
	struct mems_event events[2];
	(void)state;
	for (unsigned policy = 0; policy < 2; policy++) {
		heap_begin_with(2 * LABELS, policy == 0 ? MEMS_FIRST_FIT : MEMS_QUICK_FIT);
		for (int i = 0; i < LABELS; i++) {
			snprintf(names[i], BYTES, "%d", i);
			mems_set_label(names[i]);
			kept[i] = mems_malloc((size_t)i % 900 + 1);
		}
		for (int i = 0; i < LABELS; i++) {
			mems_set_label(names[LABELS - 1 - i]);
			mems_free(kept[i]);
		}
		for (int i = 0; i < LABELS; i++) {
			assert_true(mems_history(kept[i], events, 2) >= 2);
			assert_ptr_equal(events[0].label, names[LABELS - 1 - i]);
			assert_ptr_equal(events[1].label, names[i]);
		}
		heap_end();
	}
}

/* And each is found again, so that no two lines of the list have the same. */
static void each_of_many_labels_has_one_line(void **state)
{
	enum { LABELS = 5000, BYTES = 12, LINE = 80 };
	static char names[LABELS][BYTES];
	static char expected[LABELS * LINE];
	size_t length = 0, bytes = 0;
	(void)state;
	heap_begin(1);
	mems_set_caller((void *)0x1000);
	for (unsigned i = 0; i < 2 * LABELS; i++) {
		snprintf(names[i % LABELS], BYTES, "%u", i % LABELS);
		mems_set_label(names[i % LABELS]);
		assert_non_null(mems_malloc(LABELS - i % LABELS));
	}
	for (unsigned i = 0; i < LABELS; i++) {
		const size_t both = 2 * ((size_t)LABELS - i);
		bytes += both;
		length += (size_t)snprintf(expected + length, LINE,
		                           "%zu bytes in 2 blocks, first taken by call %u (%u), from 0x1000\n",
		                           both, i + 1, i);
	}
	snprintf(expected + length, LINE, "Live bytes: %zu\nLive blocks: %d\n", bytes, 2 * LABELS);
	mems_set_label(NULL);
	mems_set_caller(NULL);
	assert_live_text(expected);
	heap_end();
}

/* Of a loaded heap the blocks are known, and that no call took them. */
static void blocks_of_an_image_were_taken_by_no_call(void **state)
{
	char path[] = "/tmp/mems-history-XXXXXX", *text = NULL;
	const int file = mkstemp(path);
	struct mems_event events[4];
	size_t length;
	(void)state;
	assert_true(file >= 0);
	for (unsigned flags = 0; flags <= MEMS_MAP; flags += MEMS_MAP) {
		mems_init();
		for (size_t i = 0; i < 3000; i++)
			assert_non_null(mems_malloc(100));
		mems_free((void *)(1000 + 104));
		assert_int_equal(mems_save(path), 0);
		mems_finish();
		assert_int_equal(mems_option(MEMS_HISTORY, 10), 0);
		assert_int_equal(mems_load(path, flags), 0);
		assert_sound();
		assert_int_equal(mems_history((void *)1000, events, 4), 0);
		assert_explained((void *)1004, "1004: inside PROCESS[1000:1103]\n");
		mems_set_caller((void *)0x1000);
		assert_ptr_equal(mems_malloc(50), (void *)1104);
		mems_free((void *)1000);
		assert_ptr_equal(mems_realloc((void *)1208, 10), (void *)1208);
		mems_set_caller(NULL);
		assert_explained((void *)1104, "1104: inside PROCESS[1104:1159], taken by call 1\n");
		assert_int_equal(mems_history((void *)1000, events, 4), 1);
		assert_true(events[0].kind == MEMS_FREED && events[0].call == 2 && events[0].size == 104);
		assert_int_equal(mems_history((void *)1208, events, 4), 1);
		assert_true(events[0].kind == MEMS_RESIZED && events[0].call == 3 && events[0].size == 10);
		FILE *out = open_memstream(&text, &length);
		assert_int_equal(mems_fprint_live(out), 0);
		fclose(out);
		assert_string_equal(text, "311698 bytes in 2998 blocks of an image, from 0x0\n"
		                    "50 bytes in 1 block, first taken by call 1, from 0x1000\n"
		                    "Live bytes: 311748\nLive blocks: 2999\n");
		free(text);
		heap_end();
	}
	close(file);
	unlink(path);
}

/* Calls that take nothing count, where the journal has no memory yet. */
static void before_the_first_block_there_is_no_history(void **state)
{
	char path[] = "/tmp/mems-history-XXXXXX";
	const int file = mkstemp(path);
	struct mems_event events[2];
	(void)state;
	assert_true(file >= 0);
	assert_int_equal(mems_option(MEMS_POLICY, MEMS_FIRST_FIT), 0);
	mems_init();
	mems_free(mems_malloc(100));
	assert_int_equal(mems_save(path), 0);
	mems_finish();
	assert_int_equal(mems_option(MEMS_HISTORY, 10), 0);
	assert_int_equal(mems_load(path, 0), 0);
	mems_trim();
	assert_int_equal(mems_history((void *)1000, events, 2), 0);
	assert_explained((void *)1000, "1000: in HOLE[1000:5095], freed before or never given out\n");
	assert_live_text("Live bytes: 0\nLive blocks: 0\n");
	assert_ptr_equal(mems_malloc(8), (void *)1000);
	assert_int_equal(mems_history((void *)1000, events, 2), 1);
	assert_int_equal(events[0].call, 2);
	heap_end();
	close(file);
	unlink(path);
}

/* At most 32 bytes a live block, beside the ring, whatever the sizes and the number of blocks. */
static void history_takes_little_memory(void **state)
{
	static const size_t most_bytes[] = {8, 250, 2000, 20000, 300000};
	static const size_t counts[] = {1100, 33000, 66000};
	struct mems_stats stats[2];
	(void)state;
	if (ADDRESS_SANITIZER)
		skip();
	for (size_t i = 0; i < 15; i++) {
		const size_t count = counts[i / 5] / (i % 5 == 4 ? 100 : 1);
		for (size_t is_on = 0; is_on < 2; is_on++) {
			random_state = 7;
			heap_begin(is_on);
			for (size_t k = 0; k < count; k++)
				assert_non_null(mems_malloc((size_t)(random_number() % most_bytes[i % 5]) + 1));
			mems_get_stats(&stats[is_on]);
			heap_end();
		}
		assert_in_range(stats[1].metadata_bytes - stats[0].metadata_bytes, count, count * 32 + 30000);
	}
}

enum { WORKERS = 4, WORKER_CALLS = 2500, WORKER_SLOTS = 60, ASKED = 300, ANSWERS = 60 };

static const char *const worker_labels[WORKERS] = {NULL, "reader", "writer", "index"};

struct worker {
	pthread_t thread;
	pthread_barrier_t *start;
	size_t number;               /* a size says by its remainder which worker asked for it */
	uint64_t seed;
};

/* Calls of any kind, at the same time as those of others, about blocks of its own. */
static void *worker_run(void *context)
{
	const struct worker *worker = context;
	void *slots[WORKER_SLOTS] = { NULL };
	random_state = worker->seed;
	mems_set_label(worker_labels[worker->number]);
	pthread_barrier_wait(worker->start);
	for (size_t i = 0; i < WORKER_CALLS; i++) {
		void **slot = &slots[random_number() % WORKER_SLOTS];
		const size_t size = (size_t)(random_number() % MOST_SIZE) * WORKERS + WORKERS +
		                    worker->number;
		const unsigned kind = random_number() % 4;
		if (*slot == NULL) {
			*slot = kind == 0 ? mems_calloc(1, size) : kind == 1 ? mems_aligned_alloc(64, size)
				: mems_malloc(size);
		} else if (kind == 0) {
			*slot = mems_realloc(*slot, size);
		} else {
			mems_free(*slot);
			*slot = NULL;
		}
	}
	return NULL;
}

/* The calls of a recording, made again and noted by the model; a free has the label of the taking. */
static void model_follow(char *recording)
{
	static const char *names[2 * CALLS];
	for (char *line = strtok(recording, "\n"); line != NULL; line = strtok(NULL, "\n")) {
		size_t numbers[3] = { 0 }, count = 0;
		char *next = line + 1;
		while (count < 3 && next[0] == ' ' && next[1] >= '0' && next[1] <= '9')
			numbers[count++] = (size_t)strtoull(next, &next, 10);
		struct block *block = &model.blocks[numbers[0]];
		void *given = (void *)block->start;
		assert_true(line[0] == 'o' || numbers[0] < 2 * CALLS);
		switch (line[0]) {
		case 'a': given = mems_malloc(numbers[1]); break;
		case 'c': given = mems_calloc(1, numbers[1]); break;
		case 'm': given = mems_aligned_alloc(numbers[2], numbers[1]); break;
		case 'r': given = mems_realloc(given, numbers[1]); break;
		case 'f': mems_free(given); break;
		default: assert_int_equal(line[0], 'o'); continue;
		}
		assert_non_null(given);
		if (line[0] == 'f') {
			model_add(MEMS_FREED, block, block->start, block->size);
		} else if (line[0] == 'r') {
			model_add(MEMS_RESIZED, block, (uintptr_t)given, numbers[1]);
		} else {
			names[numbers[0]] = worker_labels[numbers[1] % WORKERS];
			assert_string_equal(next[0] == ' ' ? next + 1 : "",
			                    names[numbers[0]] != NULL ? names[numbers[0]] : "");
			model_add(MEMS_TAKEN, block, (uintptr_t)given, numbers[1]);
		}
		model.events[model.calls - 1].event.label = names[numbers[0]];
	}
}

/* In which order the calls of threads were made, a recording tells; and with it the model what the
 * heap has to remember of them. */
static void history_of_threads_equals_the_model(void **state)
{
	static struct answer {
		uintptr_t byte;
		size_t count;
		struct mems_event events[ANSWERS];
	} answers[ASKED];
	struct worker workers[WORKERS];
	pthread_barrier_t start;
	FILE *nowhere = fopen("/dev/null", "w");
	(void)state;
	assert_non_null(nowhere);
	random_begin();
	for (unsigned round = 0; round < 10; round++) {
		const enum mems_policy policy = round % 2 == 0 ? MEMS_FIRST_FIT : MEMS_QUICK_FIT;
		char *recording = NULL;
		size_t length;
		heap_begin_with(REMEMBERED, policy);
		FILE *out = open_memstream(&recording, &length);
		assert_int_equal(mems_record(out), 0);
		pthread_barrier_init(&start, NULL, WORKERS);
		for (size_t i = 0; i < WORKERS; i++) {
			workers[i] = (struct worker){ .start = &start, .number = i,
			                              .seed = random_number() };
			assert_int_equal(pthread_create(&workers[i].thread, NULL, worker_run, &workers[i]), 0);
		}
		for (size_t i = 0; i < WORKERS; i++)
			pthread_join(workers[i].thread, NULL);
		pthread_barrier_destroy(&start);
		assert_int_equal(mems_record(NULL), 0);
		assert_int_equal(fclose(out), 0);
		for (size_t i = 0; i < ASKED; i++) {
			answers[i].byte = (uintptr_t)(1000 + random_number() % 400000);
			answers[i].count = mems_history((void *)answers[i].byte, answers[i].events, ANSWERS);
		}
		heap_end();
		heap_begin_with(0, policy);
		assert_int_equal(mems_record(nowhere), 0); /* so that no thread has a cache */
		model.block_count = 2 * CALLS;
		model_follow(recording);
		assert_int_equal(model.calls, WORKERS * WORKER_CALLS);
		for (size_t i = 0; i < ASKED; i++)
			assert_same_events(answers[i].byte, REMEMBERED, answers[i].events, ANSWERS,
			                   answers[i].count);
		free(recording);
		heap_end();
	}
	fclose(nowhere);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_teardown(history_equals_the_model, reset),
		cmocka_unit_test_teardown(the_live_list_equals_the_model, reset),
		cmocka_unit_test_teardown(the_list_is_grouped, reset),
		cmocka_unit_test_teardown(equals_are_listed_by_age, reset),
		cmocka_unit_test_teardown(a_list_that_cannot_be_written_fails, reset),
		cmocka_unit_test_teardown(without_history_there_are_no_answers, reset),
		cmocka_unit_test_teardown(a_misuse_names_the_call, reset),
		cmocka_unit_test_teardown(messages_go_on_after_the_usual_words, reset),
		cmocka_unit_test_teardown(a_label_is_kept_across_realloc, reset),
		cmocka_unit_test_teardown(no_more_events_are_written_than_have_room, reset),
		cmocka_unit_test_teardown(the_caller_is_where_the_call_returns_to, reset),
		cmocka_unit_test_teardown(anything_is_explained, reset),
		cmocka_unit_test_teardown(an_address_is_explained_without_a_heap, reset),
		cmocka_unit_test_teardown(a_fault_is_explained_in_its_handler, reset),
		cmocka_unit_test_teardown(a_recording_has_labels_and_mistakes, reset),
		cmocka_unit_test_teardown(labels_are_shown_whole_characters, reset),
		cmocka_unit_test_teardown(a_call_is_a_line_of_a_recording, reset),
		cmocka_unit_test_teardown(there_may_be_many_labels, reset),
		cmocka_unit_test_teardown(each_of_many_labels_has_one_line, reset),
		cmocka_unit_test_teardown(blocks_of_an_image_were_taken_by_no_call, reset),
		cmocka_unit_test_teardown(before_the_first_block_there_is_no_history, reset),
		cmocka_unit_test_teardown(history_takes_little_memory, reset),
		/* The last ones: from then on the process counts as one with threads. */
		cmocka_unit_test_teardown(labels_belong_to_threads, reset),
		cmocka_unit_test_teardown(the_caller_is_where_the_call_returns_to, reset),
		cmocka_unit_test_teardown(history_of_threads_equals_the_model, reset),
	};
	return cmocka_run_group_tests_name("history", tests, NULL, NULL);
}
