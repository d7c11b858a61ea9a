/*
 * Every request that the library makes to the OS is made to fail in turn, and what follows is
 * looked at: either the call succeeds all the same, or it gives ENOMEM and nothing has changed.
 * When the OS relents the heap works again.
 *
 * The linker puts the functions below between the library and the OS: link with -Wl,--wrap=NAME
 * for mmap, mmap64, mremap, munmap, mprotect, madvise, mincore, getrlimit, getrlimit64, getrusage
 * and getauxval.
 */
#define _GNU_SOURCE
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/types.h>
#include <unistd.h>

#include "support.h"
#include "wrapped.h"

/* ---- Between the library and the OS ------------------------------------------------------ */

enum refusal {
	REFUSE_NONE,
	REFUSE_ONE,    /* the request number `at`, from 0 */
	REFUSE_FROM,   /* all requests from number `at` on */
	REFUSE_LARGE,  /* mappings of more than `at` bytes that can be written to */
	REFUSE_TORN,   /* the same, after what was there is unmapped; under strict overcommit it is */
	REFUSE_OLD     /* the same, and MAP_FIXED_NOREPLACE is not known: Linux before 4.17 */
};

static struct {
	enum refusal refusal;
	size_t at;
	size_t requests;     /* since os_refuse, of any kind */
	size_t refused;      /* of these */
	size_t maps;         /* successful mappings that can be written to */
	size_t mapped_bytes; /* the size of the last of these */
	size_t unmaps;       /* successful munmaps */
	size_t given_back;   /* bytes of pages that the OS may take back, */
	size_t largest_given_back; /* and the most of them in one request */
	size_t reserved;     /* bytes that were asked for without access */
	bool is_dear;        /* each page of them is a page fault, as where they cost memory */
	bool is_unsure;      /* the OS does not tell by itself that they cost none, */
	long faults;         /* and so many page faults were before */
	int flags;           /* and what it was mapped with */
	struct {             /* what the refused munmaps were to unmap */
		void *memory;
		size_t bytes;
	} kept[8];
	size_t kept_count;
} os;

static void os_refuse(enum refusal refusal, size_t index)
{
	memset(&os, 0, sizeof os);
	os.refusal = refusal;
	os.at = index;
}

static bool is_refused(size_t writable_bytes)
{
	const size_t index = os.requests++;
	const bool refused = (os.refusal == REFUSE_ONE && index == os.at) ||
	                     (os.refusal == REFUSE_FROM && index >= os.at) ||
	                     (os.refusal >= REFUSE_LARGE && writable_bytes > os.at);
	if (refused) {
		os.refused++;
		errno = ENOMEM;
	}
	return refused;
}

void *__real_mmap64(void *address, size_t bytes, int access, int flags, int file, off64_t offset);
void *__wrap_mmap64(void *address, size_t bytes, int access, int flags, int file, off64_t offset);
void *__real_mremap(void *address, size_t bytes, size_t more, int flags);
void *__wrap_mremap(void *address, size_t bytes, size_t more, int flags);
int __real_getrlimit(int resource, struct rlimit *limit);
int __wrap_getrlimit(int resource, struct rlimit *limit);
int __real_getrlimit64(int resource, struct rlimit64 *limit);
int __wrap_getrlimit64(int resource, struct rlimit64 *limit);
int __real_getrusage(int who, struct rusage *usage);
int __wrap_getrusage(int who, struct rusage *usage);

/* What the kernel at hand does before it looks at a request: flags as it understands them. */
static int flags_understood(int flags)
{
	return os.refusal == REFUSE_OLD ? flags & ~MAP_FIXED_NOREPLACE : flags;
}

/* A mapping is refused. */
static void *torn(void *address, size_t bytes, int flags)
{
	const int error = errno;
	if (os.refusal == REFUSE_TORN && (flags & MAP_FIXED) != 0)
		__real_munmap(address, bytes);
	errno = error;
	return MAP_FAILED;
}

static void *mapped(void *memory, size_t writable_bytes, int flags)
{
	if (memory != MAP_FAILED && writable_bytes != 0) {
		os.maps++;
		os.flags = flags;
		os.mapped_bytes = writable_bytes;
	}
	return memory;
}

void *__wrap_mmap(void *address, size_t bytes, int access, int flags, int file, off_t offset)
{
	const size_t writable_bytes = (access & PROT_WRITE) != 0 ? bytes : 0;
	os.reserved += access == PROT_NONE ? bytes : 0;
	if (is_refused(writable_bytes))
		return torn(address, bytes, flags);
	flags = flags_understood(flags);
	void *const memory = __real_mmap(address, bytes, access, flags, file, offset);
	return mapped(memory, writable_bytes, flags);
}

void *__wrap_mmap64(void *address, size_t bytes, int access, int flags, int file, off64_t offset)
{
	const size_t writable_bytes = (access & PROT_WRITE) != 0 ? bytes : 0;
	os.reserved += access == PROT_NONE ? bytes : 0;
	if (is_refused(writable_bytes))
		return torn(address, bytes, flags);
	flags = flags_understood(flags);
	void *const memory = __real_mmap64(address, bytes, access, flags, file, offset);
	return mapped(memory, writable_bytes, flags);
}

void *__wrap_mremap(void *address, size_t bytes, size_t more, int flags)
{
	return is_refused(more) ? MAP_FAILED : __real_mremap(address, bytes, more, flags);
}

int __wrap_munmap(void *address, size_t bytes)
{
	if (!is_refused(0)) {
		os.unmaps++;
		return __real_munmap(address, bytes);
	}
	assert_true(os.kept_count < sizeof os.kept / sizeof os.kept[0]);
	os.kept[os.kept_count].memory = address;
	os.kept[os.kept_count++].bytes = bytes;
	return -1;
}

static void kept_unmap(void)
{
	while (os.kept_count != 0) {
		os.kept_count--;
		__real_munmap(os.kept[os.kept_count].memory, os.kept[os.kept_count].bytes);
	}
}

int __wrap_mprotect(void *address, size_t bytes, int access)
{
	return is_refused(0) ? -1 : __real_mprotect(address, bytes, access);
}

int __wrap_madvise(void *address, size_t bytes, int advice)
{
	if (is_refused(0))
		return -1;
	if (advice == MADV_DONTNEED) {
		os.given_back += bytes;
		if (os.largest_given_back < bytes)
			os.largest_given_back = bytes;
	}
	return __real_madvise(address, bytes, advice);
}

int __wrap_mincore(void *address, size_t bytes, unsigned char *pages)
{
	return is_refused(0) ? -1 : __real_mincore(address, bytes, pages);
}

int __wrap_getrlimit(int resource, struct rlimit *limit)
{
	return is_refused(0) ? -1 : __real_getrlimit(resource, limit);
}

int __wrap_getrlimit64(int resource, struct rlimit64 *limit)
{
	return is_refused(0) ? -1 : __real_getrlimit64(resource, limit);
}

int __wrap_getrusage(int who, struct rusage *usage)
{
	const int result = is_refused(0) ? -1 : __real_getrusage(who, usage);
	if (result == 0)
		usage->ru_minflt += os.faults + (os.is_dear ? (long)(os.reserved / PAGE) : 0);
	return result;
}

enum { RSEQ_FEATURE_SIZE = 27 };

/* Where reservations are dear there is an emulator. */
unsigned long __wrap_getauxval(unsigned long type)
{
	if ((!os.is_dear && !os.is_unsure) || type != RSEQ_FEATURE_SIZE)
		return __real_getauxval(type);
	errno = ENOENT;
	return 0;
}

/* ---- Blocks that have to survive --------------------------------------------------------- */

enum { MAX_HELD = 300 };

static struct {
	uintptr_t address;
	size_t size;       /* that was filled */
} held[MAX_HELD];
static size_t held_count;

static void hold(size_t size)
{
	assert_true(held_count < MAX_HELD);
	held[held_count].address = take(size);
	held[held_count].size = size;
	fill_block(held[held_count].address, size, (unsigned)held_count);
	held_count++;
}

static bool held_are_intact(void)
{
	for (size_t i = 0; i < held_count; i++) {
		if (held[i].size != 0 && !has_filling(held[i].address, held[i].size, (unsigned)i))
			return false;
	}
	return true;
}

static void let_go(size_t index)
{
	mems_free(at(held[index].address));
	held[index].size = 0;
}

/* ---- Scenarios: what is there, and the call that is disturbed ---------------------------- */

static void prepare_nothing(void)
{
}

static void prepare_some_pages(void)
{
	for (size_t i = 0; i < 5; i++)
		hold(PAGE);
}

/* 200 full pages, so that growth asks for three. */
static void prepare_200_pages(void)
{
	hold(200 * PAGE);
}

/* As many blocks as a history has room for before it grows. */
static void prepare_full_history(void)
{
	hold(200 * PAGE);
	for (size_t i = 0; i < 1022; i++)
		take(8);
}

/* A block that can only move, and no room for it yet. */
static void prepare_walled_in_block(void)
{
	hold(MIB);
	hold(1000);
	hold(PAGE - 1000);
}

/* A block that can only move, and a HOLE that it can move to. */
static void prepare_block_and_hole(void)
{
	hold(4 * MIB);
	hold(MIB);
	hold(8);
	let_go(0);
}

static void prepare_dirty_hole(void)
{
	hold(4 * MIB);
	hold(8);
	let_go(0);
}

static bool act_malloc_small(void)
{
	return mems_malloc(100) != NULL;
}

static bool act_malloc_pages(void)
{
	return mems_malloc(5000) != NULL;
}

static bool act_malloc_large(void)
{
	return mems_malloc(3 * MIB + 5) != NULL;
}

static bool act_malloc_very_large(void)
{
	return mems_malloc(100 * MIB) != NULL;
}

/* At a virtual address. */
static void assert_zeros(const void *v_ptr, size_t size)
{
	const unsigned char *const bytes = mems_get(v_ptr);
	assert_non_null(bytes);
	for (size_t i = 0; i < size; i++)
		assert_int_equal(bytes[i], 0);
}

static bool act_calloc(void)
{
	enum { SIZE = 2 << 20 };
	const void *const v_ptr = mems_calloc(2, SIZE / 2);
	if (v_ptr == NULL)
		return false;
	assert_zeros(v_ptr, SIZE);
	return true;
}

static bool act_realloc(void)
{
	const size_t index = held[0].size != 0 ? 0 : 1;
	void *const v_ptr = mems_realloc(at(held[index].address), 2 * MIB + 4);
	if (v_ptr == NULL)
		return false;
	held[index].address = address_of(v_ptr);
	return true;
}

static bool act_aligned(void)
{
	const void *const v_ptr = mems_aligned_alloc(4096, 100000);
	assert_true(v_ptr == NULL || (uintptr_t)mems_get(v_ptr) % 4096 == 0);
	return v_ptr != NULL;
}

static bool act_free(void)
{
	let_go(0);
	return true;
}

static bool act_shrink(void)
{
	if (mems_realloc(at(held[0].address), 100) == NULL)
		return false;
	held[0].size = 100;
	return true;
}

static bool act_look(void)
{
	struct mems_stats stats;
	struct mems_segment segment;
	mems_get_stats(&stats);
	return mems_segment_at(at(1000), &segment) == 0 && mems_check(NULL) == 0;
}

/* To nowhere; until mems_finish. */
static bool act_record(void)
{
	static FILE *nowhere;
	if (nowhere == NULL)
		nowhere = fopen("/dev/null", "w");
	assert_non_null(nowhere);
	return mems_record(nowhere) == 0;
}

static const struct scenario {
	const char *name;
	void (*prepare)(void);
	bool (*act)(void);
	bool never_fails;
} scenarios[] = {
	{"the first block", prepare_nothing, act_malloc_small, false},
	{"the first pages", prepare_nothing, act_malloc_pages, false},
	{"a very large first block", prepare_nothing, act_malloc_very_large, false},
	{"growth", prepare_some_pages, act_malloc_small, false},
	{"growth by pages", prepare_some_pages, act_malloc_pages, false},
	{"growth by a share", prepare_200_pages, act_malloc_small, false},
	{"a large block", prepare_some_pages, act_malloc_large, false},
	{"a very large block", prepare_some_pages, act_malloc_very_large, false},
	{"calloc", prepare_some_pages, act_calloc, false},
	{"calloc in a HOLE", prepare_dirty_hole, act_calloc, false},
	{"a move to new pages", prepare_walled_in_block, act_realloc, false},
	{"a move to a HOLE", prepare_block_and_hole, act_realloc, true},
	{"aligned_alloc", prepare_some_pages, act_aligned, false},
	{"aligned_alloc in a HOLE", prepare_dirty_hole, act_aligned, true},
	{"free", prepare_200_pages, act_free, true},
	{"shrinking", prepare_200_pages, act_shrink, true},
	{"looking", prepare_some_pages, act_look, true},
	{"recording", prepare_nothing, act_record, false},
	{"a block beyond the history's room", prepare_full_history, act_malloc_small, false},
	{"shrinking with a full history", prepare_full_history, act_shrink, true},
	{"free with a full history", prepare_full_history, act_free, true},
};
enum { SCENARIOS = sizeof scenarios / sizeof scenarios[0] };

static struct mems_stats stats_without_metadata(void)
{
	struct mems_stats stats = stats_now();
	stats.metadata_bytes = 0;
	return stats;
}

/* Runs a scenario with one kind of refusal; says whether anything was refused. What was mapped for a
 * history may stay. */
static bool run_scenario(const struct scenario *scenario, enum refusal refusal, size_t index,
	size_t remembered)
{
	held_count = 0;
	assert_int_equal(mems_option(MEMS_HISTORY, remembered), 0);
	mems_init();
	scenario->prepare();
	char *const before = printed_text();
	const struct mems_stats stats = stats_without_metadata();

	os_refuse(refusal, index);
	errno = UNTOUCHED;
	const bool is_done = scenario->act();
	const int error = errno;
	const bool was_refused = os.refused != 0;
	const bool has_mapped = os.maps > os.unmaps + os.kept_count && remembered == 0;
	kept_unmap();
	os_refuse(REFUSE_NONE, 0);

	assert_true(is_done || (was_refused && !scenario->never_fails && !has_mapped));
	assert_int_equal(error, is_done ? UNTOUCHED : ENOMEM);
	assert_sound();
	assert_true(held_are_intact());
	if (!is_done) {
		char *const after = printed_text();
		const struct mems_stats stats_after = stats_without_metadata();
		assert_string_equal(after, before);
		assert_memory_equal(&stats_after, &stats, sizeof stats);
		free(after);
		assert_true(scenario->act());
	}
	free(before);
	hold(30000);
	hold(10);
	assert_true(held_are_intact());
	assert_sound();
	mems_finish();
	assert_int_equal(mems_option(MEMS_HISTORY, 0), 0);
	return was_refused;
}

static void every_refusal_is_survived(void **state)
{
	const struct scenario *const scenario = *state;
	without_heap(NULL);
	for (unsigned kind = 0; kind < 4; kind++) {
		size_t index = 0;
		while (run_scenario(scenario, kind % 2 == 0 ? REFUSE_ONE : REFUSE_FROM, index,
			kind / 2 * 100))
			index++;
		assert_true(index < 1000);
	}
	assert_no_report();
}

/* A loaded heap without a block, in which one is taken and a request of the history is refused. Says
 * whether any was. */
static bool is_first_history_refused(const char *image, size_t index)
{
	struct mems_event events[2];
	assert_int_equal(mems_load(image, 0), 0);
	mems_trim(); /* the first call */
	os_refuse(REFUSE_ONE, index);
	const void *const block = mems_malloc(100);
	const bool was_refused = os.refused != 0;
	os_refuse(REFUSE_NONE, 0);
	assert_true(block != NULL || was_refused);
	assert_int_equal(mems_history(at(1000), events, 2), block != NULL);
	assert_sound();
	assert_ptr_equal(block != NULL ? block : mems_malloc(100), at(1000));
	assert_int_equal(mems_history(at(1000), events, 2), 1);
	assert_int_equal(events[0].call, 2);
	mems_finish();
	return was_refused;
}

/* Then there are calls, and perhaps a ring for them, but nothing that is remembered. */
static void a_history_that_cannot_begin_is_empty(void **state)
{
	char image[] = "/tmp/test_os-XXXXXX";
	const int file = mkstemp(image);
	size_t index = 0;
	(void)state;
	assert_true(file >= 0);
	mems_free(at(take(100)));
	assert_int_equal(mems_save(image), 0);
	mems_finish();
	assert_int_equal(mems_option(MEMS_HISTORY, 10), 0);
	while (is_first_history_refused(image, index))
		index++;
	assert_in_range(index, 1, 100);
	close(file);
	unlink(image);
}

/* ---- Starting and ending ----------------------------------------------------------------- */

/* Starts a heap while requests are refused; whatever came of it, the rest of the rules hold. */
static bool start_with_refusal(enum refusal refusal, size_t index)
{
	os_refuse(refusal, index);
	errno = UNTOUCHED;
	mems_init();
	const int error = errno;
	const bool was_refused = os.refused != 0;
	os_refuse(REFUSE_NONE, 0);

	assert_int_equal(error, UNTOUCHED);
	assert_fails(EBUSY, mems_option(MEMS_ALIGNMENT, 8) == -1);
	assert_fails(EINVAL, mems_malloc(0) == NULL);
	assert_chain("");
	assert_sound();
	errno = UNTOUCHED;
	void *const v_ptr = mems_malloc(1000);
	if (v_ptr != NULL)
		assert_true(v_ptr == at(1000) && errno == UNTOUCHED);
	else
		assert_int_equal(errno, ENOMEM);
	assert_true(v_ptr != NULL || was_refused);
	assert_sound();
	mems_finish();
	mems_init();
	assert_true(take(1000) == 1000);
	mems_finish();
	return was_refused;
}

static void starting_survives_every_refusal(void **state)
{
	(void)state;
	static const size_t pages[] = {PAGE, 2 * MIB};
	for (size_t i = 0; i < 2; i++) {
		assert_int_equal(mems_option(MEMS_PAGE_SIZE, pages[i]), 0);
		for (enum refusal refusal = REFUSE_ONE; refusal <= REFUSE_FROM; refusal++) {
			size_t index = 0;
			while (start_with_refusal(refusal, index))
				index++;
			assert_true(index > 0);
		}
	}
}

static bool end_with_refusal(enum refusal refusal, size_t index)
{
	mems_init();
	take(1000);
	take(MIB);
	os_refuse(refusal, index);
	mems_finish();
	const bool was_refused = os.refused != 0;
	kept_unmap();
	os_refuse(REFUSE_NONE, 0);

	assert_fails(EPERM, mems_malloc(1) == NULL);
	assert_fails(EFAULT, mems_get(at(1000)) == NULL);
	mems_init();
	assert_true(take(1000) == 1000);
	assert_sound();
	mems_finish();
	return was_refused;
}

static void ending_survives_every_refusal(void **state)
{
	(void)state;
	for (enum refusal refusal = REFUSE_ONE; refusal <= REFUSE_FROM; refusal++) {
		size_t index = 0;
		while (end_with_refusal(refusal, index))
			index++;
	}
}

/* ---- Growth as the OS sees it ------------------------------------------------------------ */

static void fill_up(void)
{
	while (stats_now().largest_hole != 0)
		take(stats_now().largest_hole);
}

/* One request for exactly the pages of the node. Without MAP_NORESERVE a large untouched block is
 * refused on a machine with less memory. */
static void every_node_is_one_mapping(void **state)
{
	(void)state;
	for (size_t pages = 1; pages < 20000; pages = pages * 3 / 2 + 1) {
		fill_up();
		os_refuse(REFUSE_NONE, 0);
		const size_t before = stats_now().pages;
		take(pages * PAGE);
		assert_int_equal(os.maps, 1);
		assert_true((os.flags & MAP_NORESERVE) != 0);
		assert_int_equal(os.mapped_bytes, (stats_now().pages - before) * PAGE);
	}
	os_refuse(REFUSE_NONE, 0);
	take(stats_now().largest_hole != 0 ? stats_now().largest_hole : 8);
	const size_t nodes = stats_now().main_nodes;
	take(stats_now().largest_hole + 8);
	assert_true(stats_now().main_nodes == nodes + 1);
}

static void growth_falls_back_to_what_is_needed(void **state)
{
	(void)state;
	take(640 * PAGE);
	os_refuse(REFUSE_LARGE, 2 * PAGE);
	assert_succeeds(mems_malloc(PAGE + 1) != NULL);
	assert_true(os.refused == 1);
	assert_true(stats_now().pages == 642);
	assert_fails(ENOMEM, mems_malloc(2 * PAGE + 1) == NULL);
	assert_true(stats_now().pages == 642 && stats_now().main_nodes == 2);
	assert_sound();
	os_refuse(REFUSE_NONE, 0);
	assert_succeeds(mems_malloc(PAGE) != NULL);
	assert_true(stats_now().pages == 642 + 642 / 8);
	assert_sound();
}

/* Refused again and again, the heap stays as usable as it was. */
static void an_os_that_refuses_for_long(void **state)
{
	(void)state;
	held_count = 0;
	hold(3000);
	os_refuse(REFUSE_FROM, 0);
	for (size_t i = 0; i < 1000; i++)
		assert_fails(ENOMEM, mems_malloc(PAGE + i) == NULL);
	hold(1000);
	assert_fails(ENOMEM, mems_malloc(1000) == NULL);
	assert_true(mems_realloc(at(4000), 500) == at(4000));
	held[1].size = 500;
	os_refuse(REFUSE_NONE, 0);
	hold(PAGE);
	assert_true(held_are_intact());
	assert_sound();
}

/* Whether all of the pages from a granule on belong to some mapping. */
static bool are_mapped(const void *address, size_t pages)
{
	unsigned char in_memory[16];
	return __real_mincore((void *)(uintptr_t)address, pages * PAGE, in_memory) == 0;
}

/* A refused page of the reservation stays reserved, even where the kernel unmaps before it looks. */
static void the_reservation_is_mended(void **state)
{
	(void)state;
	take(PAGE);
	const char *const after = (const char *)mems_get(at(1000)) + PAGE;
	if (is_run_by_another() && !are_mapped(after, 10)) {
		print_message("note: mending the reservation: skipped, for what runs this program does "
		              "not tell what is mapped\n");
		skip();
	}
	assert_true(are_mapped(after, 10));
	os_refuse(REFUSE_TORN, 0);
	assert_fails(ENOMEM, mems_malloc(3 * PAGE) == NULL);
	assert_int_equal(os.refused, 1);
	os_refuse(REFUSE_NONE, 0);
	assert_true(are_mapped(after, 10));
	assert_true(take(3 * PAGE) == 1000 + PAGE);
	assert_sound();
}

/* Pages of address space in this process. */
static size_t address_space_pages(void)
{
	size_t pages = 0;
	FILE *const in = fopen("/proc/self/statm", "r");
	if (in == NULL)
		skip();
	/* NOLINTNEXTLINE(cert-err34-c): the kernel writes no number that is too large. */
	assert_int_equal(fscanf(in, "%zu", &pages), 1);
	fclose(in);
	return pages;
}

/* What such a kernel maps instead, elsewhere, is unmapped at once. */
static void a_kernel_that_does_not_know_noreplace(void **state)
{
	(void)state;
	take(PAGE);
	os_refuse(REFUSE_OLD, 0);
	assert_fails(ENOMEM, mems_malloc(3000 * PAGE) == NULL);
	const size_t before = address_space_pages();
	for (size_t i = 0; i < 10; i++)
		assert_fails(ENOMEM, mems_malloc(3000 * PAGE) == NULL);
	assert_true(address_space_pages() < before + 3000);
	assert_int_equal(os.refused, 11);
	os_refuse(REFUSE_NONE, 0);
	const size_t mapped = stats_now().mapped_bytes;
	assert_true(take(3000 * PAGE) == 1000 + mapped);
	assert_sound();
}

/* Recording needs address space for its ids. */
static void refused_ids_leave_nothing_mapped(void **state)
{
	(void)state;
	const size_t before = address_space_pages();
	os_refuse(REFUSE_ONE, 0);
	assert_fails(ENOMEM, mems_record(stderr) == -1);
	assert_int_equal(os.refused, 1);
	assert_true(os.requests == 1);
	os_refuse(REFUSE_NONE, 0);
	assert_true(address_space_pages() < before + 3000);
	assert_true(take(1000) == 1000);
}

/* ---- Pages that go back to the OS ---------------------------------------------------------- */

/* What may stay is a quarter of what is in use and 4 MiB: see test_purge, too. */
static void what_is_freed_goes_back(void **state)
{
	(void)state;
	enum { BLOCKS = 32 };
	uintptr_t blocks[BLOCKS];
	for (size_t i = 0; i < BLOCKS; i++) {
		blocks[i] = take(MIB);
		fill_block(blocks[i], MIB, 1);
	}
	os_refuse(REFUSE_NONE, 0);
	for (size_t i = 0; i < BLOCKS; i++)
		give_back(blocks[i]);
	assert_true(os.given_back >= (BLOCKS - 4) * MIB);
	mems_trim();
	assert_int_equal(os.given_back, BLOCKS * MIB);
	assert_sound();
}

/* A large block that comes and goes would have its pages brought in each time: after some rounds
 * they stay. */
static void pages_that_are_taken_again_stay(void **state)
{
	(void)state;
	take(4 * MIB);
	for (size_t round = 0; round < 200; round++) {
		if (round == 100)
			os_refuse(REFUSE_NONE, 0);
		const uintptr_t block = take(MIB);
		memset(mems_get(at(block)), 1, MIB);
		give_back(block);
	}
	assert_int_equal(os.given_back, 0);
	assert_sound();
}

static uintptr_t take_zeroed(size_t size)
{
	const void *const v_ptr = mems_calloc(1, size);
	assert_zeros(v_ptr, size);
	return address_of(v_ptr);
}

/* Pages that went back hold zeros: they need not be brought in to be cleared. */
static void clearing_brings_no_pages_in(void **state)
{
	(void)state;
	enum { PAGES = MIB / PAGE };
	unsigned char in_memory[PAGES];
	size_t resident = 0;
	take(8);
	const uintptr_t block = take(MIB);
	fill_block(block, MIB, 1);
	give_back(block);
	assert_true(mems_trim() >= MIB - PAGE);
	assert_true(address_of(mems_calloc(MIB / 8, 8)) == block);
	assert_int_equal(__real_mincore(mems_get(at(block)), MIB, in_memory), 0);
	for (size_t i = 0; i < PAGES; i++)
		resident += in_memory[i] & 1;
	if (!is_run_by_another())
		assert_int_equal(resident, 0);
	give_back(block);
	assert_true(take_zeroed(MIB) == block);
	assert_sound();
}

/* What did not go back, before, between and after such pages, is cleared. */
static void what_stayed_in_memory_is_cleared(void **state)
{
	(void)state;
	const uintptr_t block = take(MIB);
	take(8);
	fill_block(block, MIB, 1);
	give_back(block);
	for (size_t clean = MIB / 4; clean <= MIB / 4 * 3; clean += MIB / 4) {
		const uintptr_t dirty = take(40 << 10);
		const uintptr_t given = take(clean);
		const uintptr_t between = take(30 << 10);
		fill_block(dirty, 40 << 10, 2);
		fill_block(between, 30 << 10, 3);
		give_back(given);
		assert_true(mems_trim() >= clean - PAGE);
		give_back(between);
		give_back(dirty);
		const uintptr_t zeroed = take_zeroed(MIB);
		assert_true(zeroed == block);
		fill_block(zeroed, MIB, 4);
		give_back(zeroed);
	}
	assert_sound();
}

/* A small block that is taken where pages went back is written to, and so no zeros any more:
 * whether it is taken by mems_malloc, by mems_calloc, after a look at a HOLE that is too small, or
 * ends in the first page that went back. */
static void pages_with_small_blocks_are_cleared(void **state)
{
	(void)state;
	enum { SIZE = MIB / 2 };
	for (unsigned way = 0; way < 4; way++) {
		give_back(take(2 * SIZE - PAGE)); /* one main node */
		const uintptr_t first = take(64);
		const uintptr_t filling = take(PAGE - (way == 3 ? 128 : 64));
		const uintptr_t large = take(SIZE);
		take(8);
		fill_block(large, SIZE, 1);
		os_refuse(REFUSE_NONE, 0);
		give_back(large);
		mems_trim();
		assert_true(os.given_back >= SIZE - PAGE);
		if (way == 2)
			give_back(first);
		const uintptr_t small = way == 1 ? take_zeroed(72) : take(72);
		assert_true(small == large && filling == first + 64);
		fill_block(small, 72, 2);
		give_back(small);
		assert_true(take_zeroed(SIZE) == large);
		assert_sound();
		mems_finish();
		mems_init();
	}
}

/* Where each reserved page costs memory the heap stays small, unless the program says how large it
 * may become. */
static void a_dear_reservation_is_small(void **state)
{
	(void)state;
	const size_t most = (size_t)1 << 30;
	mems_finish();
	os_refuse(REFUSE_NONE, 0);
	os.is_dear = true;
	assert_succeeds((mems_init(), true));
	assert_fails(ENOMEM, mems_malloc(most + 1) == NULL);
	assert_sound();
	if (sizeof(size_t) == 4 || ADDRESS_SANITIZER || is_run_by_another())
		return; /* there may be no room for more */
	mems_finish();
	assert_int_equal(mems_option(MEMS_LIMIT, 2 * most), 0);
	mems_init();
	take(most + 1);
	assert_sound();
}

/* A label is noted without the OS, as long as it finds room where others are. */
static void a_label_needs_no_memory_where_there_is_room(void **state)
{
	(void)state;
	struct mems_event event;
	mems_finish();
	assert_int_equal(mems_option(MEMS_HISTORY, 8), 0);
	mems_init();
	take(8);
	os_refuse(REFUSE_FROM, 0);
	mems_set_label("another");
	const uintptr_t block = take(8);
	mems_set_label(NULL);
	assert_int_equal(os.requests, 0);
	assert_int_equal(mems_history(at(block), &event, 1), 1);
	assert_string_equal(event.label, "another");
	mems_finish();
	assert_int_equal(mems_option(MEMS_HISTORY, 0), 0);
}

/* Where the lists of labels cannot become more, they become longer; a label that finds no room is none. */
static void many_labels_while_the_os_refuses(void **state)
{
	enum { LABELS = 5000, BYTES = 5, FIRST = 1024, STEPS = 8 };
	static char names[LABELS][BYTES];
	FILE *const null = fopen("/dev/null", "w");
	assert_non_null(null);
	(void)state;
	for (size_t step = 0; step < STEPS; step++) {
		/* From one of these on one call, or many, get nothing, or one request. */
		const size_t from = FIRST - 2 + step % 4, refused = step % 4 == 3 ? FIRST : 1;
		size_t labelled = 0;
		os_refuse(REFUSE_NONE, 0);
		mems_finish();
		assert_int_equal(mems_option(MEMS_HISTORY, 4), 0);
		mems_init();
		take(8);
		for (size_t i = 0; i < LABELS; i++) {
			struct mems_event event;
			snprintf(names[i], BYTES, "%zu", i);
			os_refuse(i - from < refused ? REFUSE_FROM : REFUSE_NONE, step / 4);
			mems_set_label(names[i]);
			const uintptr_t block = take(8);
			assert_true(mems_history(at(block), &event, 1) >= 1);
			assert_true(event.label == NULL || event.label == names[i]);
			labelled += event.label != NULL;
			assert_int_equal(i - from < refused ? mems_fprint_live(null) : 0, 0);
			give_back(block);
		}
		os_refuse(REFUSE_NONE, 0);
		mems_set_label(NULL);
		assert_in_range(labelled, LABELS - refused, LABELS);
		assert_sound();
	}
	assert_int_equal(fclose(null), 0);
	mems_finish();
	assert_int_equal(mems_option(MEMS_HISTORY, 0), 0);
}

/* Older kernels have no restartable sequences either. What counts is the page faults of the trial, of
 * which nothing is left. */
static void a_reservation_is_not_dear_for_earlier_page_faults(void **state)
{
	(void)state;
	if (sizeof(size_t) == 4 || ADDRESS_SANITIZER || is_run_by_another() || is_reserving_dear())
		skip();
	mems_finish();
	const size_t mapped_kib = status_kib("/proc/self/status", "VmSize:");
	os_refuse(REFUSE_NONE, 0);
	os.is_unsure = true;
	os.faults = 100000;
	mems_init();
	take(((size_t)1 << 30) + 1);
	assert_sound();
	mems_finish();
	assert_in_range(status_kib("/proc/self/status", "VmSize:"), 0, mapped_kib + 64 * KIB);
}

/* Address space that a heap asks for when it is started. */
static size_t bytes_reserved(void)
{
	mems_finish();
	os_refuse(REFUSE_NONE, 0);
	mems_init();
	return os.reserved;
}

/* Where address space has a limit, however high, a heap finds out whether as much again can be had. */
static void a_reservation_is_half_of_what_can_be_had(void **state)
{
	(void)state;
	struct rlimit limit;
	const size_t trial = __real_getauxval(RSEQ_FEATURE_SIZE) != 0 ? 0 : (size_t)256 << 20;
	if (sizeof(size_t) == 4 || is_run_by_another() || is_reserving_dear() ||
	    __real_getrlimit(RLIMIT_AS, &limit) != 0 || limit.rlim_cur != RLIM_INFINITY)
		skip();
	const size_t plain = bytes_reserved() - trial;
	const struct rlimit high = {(rlim_t)(UINT64_C(1) << 50), limit.rlim_max};
	assert_int_equal(setrlimit(RLIMIT_AS, &high), 0);
	const size_t limited = bytes_reserved() - trial;
	assert_int_equal(setrlimit(RLIMIT_AS, &limit), 0);
	assert_true(limited == 2 * plain);
	mems_finish();
	assert_int_equal(mems_option(MEMS_ALIGNMENT, 64), 0); /* for more than 2^37 bytes */
	assert_true(bytes_reserved() - trial > (size_t)(UINT64_C(1) << 39));
	assert_sound();
}

/* What is all taken again, round after round, in a heap that does not grow, is soon kept. */
static void memory_in_steady_use_is_kept(void **state)
{
	(void)state;
	enum { BLOCKS = 64, ROUNDS = 5 };
	uintptr_t blocks[BLOCKS];
	take(8);
	for (size_t round = 0; round < ROUNDS; round++) {
		os_refuse(REFUSE_NONE, 0);
		for (size_t i = 0; i < BLOCKS; i++)
			blocks[i] = take(MIB / 4);
		for (size_t i = 0; i < BLOCKS; i++)
			give_back(blocks[i]);
		assert_true(round == 1 || (os.given_back != 0) == (round < 1));
	}
	assert_sound();
}

/* Likewise where the heap grows all the while. */
static void memory_that_is_taken_again_is_kept_while_the_heap_grows(void **state)
{
	(void)state;
	enum { ROUNDS = 6 };
	for (size_t round = 0; round < ROUNDS; round++) {
		const uintptr_t block = take(16 * MIB);
		take(2 * MIB);
		os_refuse(REFUSE_NONE, 0);
		give_back(block);
		give_back(take(8));
		assert_true(round == 1 || (os.given_back != 0) == (round < 1));
	}
	assert_sound();
}

/* An array that grows to so many steps, from one place to the next, and is freed. */
static void grow_an_array(size_t steps)
{
	uintptr_t array = take(MIB / 4);
	for (size_t step = 2; step <= steps; step++) {
		const uintptr_t larger = take(step * MIB / 4);
		give_back(array);
		array = larger;
	}
	give_back(array);
}

/* Where some of it is gone at any moment, as much is kept as was ever in use at once, whatever of it
 * that is; the rest may be a quarter of what is in use and 4 MiB. */
static void no_more_is_kept_than_was_in_use(void **state)
{
	(void)state;
	enum { ROUNDS = 5, LITTLE = 1000 };
	take(8);
	for (size_t round = 0; round < ROUNDS; round++) {
		os_refuse(REFUSE_NONE, 0);
		grow_an_array(32);
		assert_true(os.given_back != 0);
		for (size_t i = 0; i < LITTLE; i++)
			give_back(take(PAGE));
		const struct mems_stats stats = stats_now();
		/* A second may have ended meanwhile, or two: each time half is forgotten. */
		assert_true(round == 0 || stats.resident_hole_bytes >= stats.peak_process_bytes / 4);
		assert_true(stats.resident_hole_bytes <= stats.peak_process_bytes + 4 * MIB + 64 * KIB);
	}
	assert_sound();
}

/* Blocks of this size are freed, each between two that are not. */
static void holes_make(size_t count, size_t size)
{
	enum { MOST = 28 };
	uintptr_t blocks[MOST];
	assert_true(count <= MOST);
	for (size_t i = 0; i < count; i++) {
		blocks[i] = take(size);
		take(8);
	}
	os_refuse(REFUSE_NONE, 0);
	for (size_t i = 0; i < count; i++)
		give_back(blocks[i]);
	assert_int_equal(os.given_back, 0);
}

/* As much as the heap grows by goes back of HOLEs that are too small otherwise, and not all. */
static void growth_gives_as_much_back(void **state)
{
	(void)state;
	enum { SIZE = 128 << 10, GROWTH = 3 << 19 };
	take(4 * MIB);
	holes_make(28, SIZE);
	for (size_t i = 0; i < 2; i++) {
		const size_t mapped = stats_now().mapped_bytes;
		os.given_back = 0;
		take(GROWTH);
		assert_true(stats_now().mapped_bytes == mapped + GROWTH);
		assert_true(os.given_back >= GROWTH && os.given_back < GROWTH + SIZE);
	}
	assert_sound();
}

/* A heap that is not larger than what may be resident anyway keeps its memory when it grows. */
static void growth_of_a_small_heap_gives_nothing_back(void **state)
{
	(void)state;
	holes_make(13, 16 << 10);
	while (stats_now().mapped_bytes < 3 * MIB)
		take(128 << 10);
	assert_int_equal(os.given_back, 0);
	assert_sound();
}

/* In pieces, and the pages of each go back once it is copied, so that the block is not in memory
 * twice. */
static void large_blocks_move_piece_by_piece(void **state)
{
	enum { LARGE = 12 << 20 }; /* more than may be resident anyway */
	(void)state;
	take(8 * MIB); /* what the tables of a small heap give back is over */
	const uintptr_t large = take(LARGE);
	const uintptr_t small = take(128 * KIB);
	take(8);
	fill_block(large, LARGE, 1);
	fill_block(small, 128 * KIB, 2);
	const uintptr_t small_moved = address_of(mems_realloc(at(small), 160 * KIB));
	assert_true(has_filling(small_moved, 128 * KIB, 2));
	os_refuse(REFUSE_NONE, 0);
	const uintptr_t large_moved = address_of(mems_realloc(at(large), LARGE + 5 * MIB));
	assert_true(os.given_back >= LARGE && os.given_back <= LARGE + 160 * KIB);
	assert_true(os.largest_given_back <= LARGE / 32);
	assert_true(has_filling(large_moved, LARGE, 1));
	assert_sound();
}

/* Where the pages of a block that moved went back, what is written later is cleared like anything
 * else, also under an emulator that only says that it gives such pages back. */
static void where_a_block_moved_away_zeros_are_given(void **state)
{
	enum { LARGE = 8 << 20 };
	(void)state;
	take(8);
	const uintptr_t block = take(LARGE);
	take(8);
	fill_block(block, LARGE, 1);
	os_refuse(REFUSE_NONE, 0);
	const uintptr_t moved = address_of(mems_realloc(at(block), LARGE + 2 * MIB));
	assert_true(os.given_back >= LARGE - 8 * PAGE);
	assert_true(take_zeroed(LARGE) == block);
	fill_block(block, LARGE, 2);
	give_back(block);
	assert_true(take_zeroed(LARGE) == block);
	assert_true(has_filling(moved, LARGE, 1));
	assert_sound();
}

/* ---- Quick fit: no room to remember with --------------------------------------------------- */

enum {
	MOST_REMEMBERED = 4095 * 63, /* what fits into 1 MiB, with a link for each 63 */
	CHUNK_BLOCKS = 63
};

/* All that there is room for is remembered, without asking the OS. */
static void remember_all_there_is_room_for(void)
{
	static uintptr_t blocks[MOST_REMEMBERED];
	for (size_t i = 0; i < MOST_REMEMBERED; i++)
		blocks[i] = take(8);
	give_back(take(70000)); /* too large for that: so the last node has room */
	mems_trim();            /* nothing is remembered yet */
	os_refuse(REFUSE_FROM, 0);
	for (size_t i = 0; i < MOST_REMEMBERED; i++)
		assert_succeeds((mems_free(at(blocks[i])), true));
	assert_int_equal(os.refused, 0);
}

/* Less is remembered: there is room for some more blocks, of two sizes. */
static void make_room_to_remember(void)
{
	for (size_t i = 0; i < 3 * CHUNK_BLOCKS; i++)
		take(8);
}

/* Freeing never fails: what cannot be remembered is merged at once. */
static void what_cannot_be_remembered_is_merged(void **state)
{
	(void)state;
	assert_true(take(2000) == 1000);
	assert_true(take(2096) == 3000);
	remember_all_there_is_room_for();
	assert_succeeds((mems_free(at(1000)), true));
	assert_sound();
	assert_true(take(16) == 1000);
	assert_succeeds((mems_free(at(3000)), true));
	assert_true(take(3000) == 1016);
	assert_fails(EINVAL, (mems_free(at(3000)), true));
	assert_report(3000, "mems_free(3000): inside PROCESS[1016:4015]");
	make_room_to_remember();
	give_back(1016);
	assert_true(take(1080) == 4016);
	assert_true(take(1000) >= 5096 + 8 * MOST_REMEMBERED && take(3000) == 1016);
	assert_int_equal(os.refused, 0);
	os_refuse(REFUSE_NONE, 0);
	assert_sound();
}

/* The rest of a run is merged likewise, so that the blocks are cut one by one. */
static void a_run_that_cannot_be_remembered_is_merged(void **state)
{
	(void)state;
	remember_all_there_is_room_for();
	const uintptr_t first = take(24) + 24;
	for (size_t i = 0; i < 20; i++) {
		assert_true(take(80) == first + i * 160);
		assert_true(take(72) == first + i * 160 + 80);
		assert_true(mems_realloc(at(first + i * 160 + 80), 80) != NULL);
		assert_sound();
	}
	make_room_to_remember();
	assert_true(take(80) == first + 20 * 160);
	assert_true(take(72) > first + 21 * 160);
	assert_true(take(80) == first + 20 * 160 + 80);
	os_refuse(REFUSE_NONE, 0);
	assert_sound();
}

/* Where the OS refuses the 16 pages of a node, those that are needed must do. */
static void nodes_of_16_pages_fall_back(void **state)
{
	(void)state;
	os_refuse(REFUSE_LARGE, 15 * PAGE);
	take(PAGE + 8);
	assert_true(os.refused == 1);
	assert_int_equal(stats_now().pages, 2);
	os_refuse(REFUSE_NONE, 0);
	take(PAGE);
	assert_int_equal(stats_now().pages, 18);
	assert_sound();
}

/* Frees some of the pages in a row, and takes more than a page: where they were, if all is merged
 * for it. Then all are taken again. */
static bool is_merged_for(const uintptr_t *pages, size_t freed)
{
	for (size_t i = 0; i < freed; i++)
		give_back(pages[i]);
	const uintptr_t place = take(17 * PAGE);
	give_back(place);
	for (size_t i = 0; i < freed; i++)
		take(PAGE);
	return place == pages[0];
}

/* A merge for want of memory puts no other off: it is none of those that come before the OS is
 * asked. */
static void merging_for_want_of_memory_puts_nothing_off(void **state)
{
	(void)state;
	enum { PAGES = 512, THRESHOLD = 64 };
	uintptr_t pages[PAGES];
	give_back(take(PAGES * PAGE));
	for (size_t i = 0; i < PAGES; i++)
		pages[i] = take(PAGE);
	for (size_t round = 0; round < 2; round++) {
		os_refuse(REFUSE_FROM, 0);
		assert_true(is_merged_for(pages, THRESHOLD / 2));
		assert_true(os.refused != 0);
		os_refuse(REFUSE_NONE, 0);
		assert_true(is_merged_for(pages, THRESHOLD));
	}
	assert_false(is_merged_for(pages, THRESHOLD));
	assert_sound();
}

/* All that is remembered is merged before the heap gives up. */
static void a_refusing_os_makes_remembered_blocks_merge(void **state)
{
	(void)state;
	for (uintptr_t block = 1000; block < 5096; block += 1024)
		assert_true(take(1024) == block);
	for (uintptr_t block = 1000; block < 5096; block += 1024)
		give_back(block);
	os_refuse(REFUSE_FROM, 0);
	assert_succeeds(mems_malloc(4096) == at(1000));
	assert_true(os.refused != 0);
	assert_fails(ENOMEM, mems_malloc(1024) == NULL);
	os_refuse(REFUSE_NONE, 0);
	assert_sound();
}

int main(void)
{
	const struct CMUnitTest others[] = {
		heap_test(a_history_that_cannot_begin_is_empty),
		heap_test(every_node_is_one_mapping),
		heap_test(growth_falls_back_to_what_is_needed),
		small_heap_test(an_os_that_refuses_for_long),
		small_heap_test(the_reservation_is_mended),
		heap_test(a_kernel_that_does_not_know_noreplace),
		small_heap_test(refused_ids_leave_nothing_mapped),
		heap_test(what_is_freed_goes_back),
		heap_test(pages_that_are_taken_again_stay),
		first_fit_test(growth_gives_as_much_back),
		heap_test(growth_of_a_small_heap_gives_nothing_back),
		heap_test(large_blocks_move_piece_by_piece),
		heap_test(where_a_block_moved_away_zeros_are_given),
		heap_test(a_label_needs_no_memory_where_there_is_room),
		heap_test(many_labels_while_the_os_refuses),
		heap_test(a_dear_reservation_is_small),
		heap_test(a_reservation_is_not_dear_for_earlier_page_faults),
		heap_test(a_reservation_is_half_of_what_can_be_had),
		first_fit_test(clearing_brings_no_pages_in),
		first_fit_test(what_stayed_in_memory_is_cleared),
		first_fit_test(pages_with_small_blocks_are_cleared),
		first_fit_test(memory_in_steady_use_is_kept),
		heap_test(no_more_is_kept_than_was_in_use),
		heap_test(memory_that_is_taken_again_is_kept_while_the_heap_grows),
		bare_test(starting_survives_every_refusal),
		bare_test(ending_survives_every_refusal),
		quick_fit_test(what_cannot_be_remembered_is_merged),
		quick_fit_test(a_run_that_cannot_be_remembered_is_merged),
		quick_fit_test(nodes_of_16_pages_fall_back),
		quick_fit_test(merging_for_want_of_memory_puts_nothing_off),
		small_quick_fit_test(a_refusing_os_makes_remembered_blocks_merge),
	};
	enum { OTHERS = sizeof others / sizeof others[0] };
	struct CMUnitTest tests[SCENARIOS + OTHERS];
	memcpy(tests, others, sizeof others);
	for (size_t i = 0; i < SCENARIOS; i++) {
		tests[OTHERS + i] = (struct CMUnitTest){
			.name = scenarios[i].name,
			.test_func = every_refusal_is_survived,
			.initial_state = (void *)(uintptr_t)&scenarios[i],
		};
	}
	return run_heap_tests("os", tests);
}
