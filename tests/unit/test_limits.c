/* Sizes that overflow, small address spaces, large blocks, and what an idle heap costs. */
#define _GNU_SOURCE
#include <sys/mman.h>
#include <sys/resource.h>

#include "support.h"

#define GIB (1024 * MIB)

/* ---- Overflow ---------------------------------------------------------------------------- */

static void sizes_near_the_largest(void **state)
{
	(void)state;
	const uintptr_t block = take(1000);
	for (size_t less = 0; less < 2 * PAGE; less++) {
		assert_fails(ENOMEM, mems_malloc(SIZE_MAX - less) == NULL);
		assert_fails(ENOMEM, mems_realloc(at(block), SIZE_MAX - less) == NULL);
		assert_fails(ENOMEM, mems_calloc(1, SIZE_MAX - less) == NULL);
		assert_fails(ENOMEM, mems_calloc(SIZE_MAX - less, 1) == NULL);
		assert_fails(ENOMEM, mems_malloc(SIZE_MAX / 2 + PAGE - less) == NULL);
	}
	assert_chain("MAIN[1000:5095] -> PROCESS[1000:1999] <-> HOLE[2000:5095] <-> NULL\n");
	assert_sound();
}

/* Sizes beyond what a heap can hold at all, with every alignment and page size. */
static void sizes_beyond_any_heap(void **state)
{
	(void)state;
	/* 2^32 granules of 64 bytes, or half of all addresses. */
	const uint64_t most = (uint64_t)64 << 32;
	const size_t beyond = SIZE_MAX > most ? (size_t)most : SIZE_MAX / 2;
	for (size_t alignment = 1; alignment <= 64; alignment *= 2) {
		for (size_t page = PAGE; page <= 2 * MIB; page *= 512) {
			mems_finish();
			assert_int_equal(mems_option(MEMS_ALIGNMENT, alignment), 0);
			assert_int_equal(mems_option(MEMS_PAGE_SIZE, page), 0);
			mems_init();
			const uintptr_t block = take(1);
			const size_t pages = stats_now().pages;
			for (size_t size = SIZE_MAX / 2; size >= beyond; size = size / 3 * 2) {
				assert_fails(ENOMEM, mems_malloc(size) == NULL);
				assert_fails(ENOMEM, mems_realloc(at(block), size) == NULL);
				assert_fails(ENOMEM, mems_calloc(1, size) == NULL);
				assert_fails(ENOMEM, mems_aligned_alloc(page, size) == NULL);
			}
			assert_true(stats_now().pages == pages);
			assert_true(take(1) == 1000 + alignment);
		}
	}
}

static void products_that_overflow(void **state)
{
	(void)state;
	const size_t half = (size_t)1 << (4 * sizeof(size_t));
	assert_fails(ENOMEM, mems_calloc(half, half) == NULL);
	assert_fails(ENOMEM, mems_calloc(half + 1, half + 1) == NULL);
	assert_fails(ENOMEM, mems_calloc(half + 1, half) == NULL);
	assert_fails(ENOMEM, mems_calloc(SIZE_MAX, SIZE_MAX) == NULL);
	assert_fails(ENOMEM, mems_calloc(SIZE_MAX / 2 + 1, 2) == NULL);
	assert_fails(ENOMEM, mems_calloc(2, SIZE_MAX / 2 + 1) == NULL);
	assert_fails(ENOMEM, mems_calloc(SIZE_MAX / 3 + 1, 3) == NULL);
	assert_fails(ENOMEM, mems_calloc(SIZE_MAX / 8 + 2, 8) == NULL);
	assert_fails(EINVAL, mems_calloc(0, 0) == NULL);
	assert_fails(EINVAL, mems_calloc(0, 5) == NULL);
	assert_fails(EINVAL, mems_calloc(5, 0) == NULL);
	assert_chain("");
	assert_succeeds(mems_calloc(1000, 4) == at(1000));
}

/* ---- Large blocks ------------------------------------------------------------------------ */

static void eight_untouched_gibibytes(void **state)
{
	(void)state;
	if (SIZE_MAX <= UINT32_MAX || is_address_space_limited() || is_overcommit_refused())
		skip();
	const size_t size = 4 * GIB * 2;
	if (is_reserving_dear()) {
		mems_finish();
		assert_int_equal(mems_option(MEMS_LIMIT, size + size / 8), 0);
		mems_init();
	}
	const size_t resident = resident_kib();
	const uintptr_t block = take(size);
	assert_true(block == 1000);
	char *const bytes = mems_get_range(at(block), size);
	assert_non_null(bytes);
	bytes[0] = 'a';
	bytes[size - 1] = 'z';
	assert_succeeds(mems_virtual(bytes + size - 1) == at(block + size - 1));
	assert_succeeds(mems_get(at(block + size / 2)) == bytes + size / 2);
	assert_true(stats_now().mapped_bytes == size);
	assert_true(stats_now().metadata_bytes < size / 16);
	/* The shadow of it that a sanitizer or Valgrind has is memory. */
	if (resident != 0 && !ADDRESS_SANITIZER && !is_run_by_another())
		assert_true(resident_kib() - resident < 4 * KIB);
	const uintptr_t small = take(100);
	assert_true(small == 1000 + size);
	assert_true(stats_now().pages == size / PAGE + size / PAGE / 8);
	give_back(block);
	assert_true(stats_now().largest_hole == size);
	assert_true(take(size) == block);
	/* From the start of the heap the way to the only HOLE leads through all levels of the index. */
	const size_t pages = stats_now().pages;
	assert_true(take(5000) > small && take(24) > small);
	assert_true(stats_now().pages == pages);
}

/* Up to the last page that can be had, and back. */
static void a_heap_is_filled_to_its_limit(void **state)
{
	(void)state;
	enum { PAGES = 3000 };
	mems_finish();
	assert_int_equal(mems_option(MEMS_LIMIT, PAGES * PAGE), 0);
	mems_init();
	size_t blocks = 0;
	while (mems_malloc(1000) != NULL)
		blocks++;
	assert_int_equal(errno, ENOMEM);
	assert_true(stats_now().pages == PAGES);
	assert_true(blocks >= PAGES * 4);
	assert_sound();
	give_back(1000);
	assert_true(take(1000) == 1000);
	assert_fails(ENOMEM, mems_malloc(1000) == NULL);
}

/* ---- An idle heap ------------------------------------------------------------------------ */

/* In these heaps all tables are made writable as a whole, and nothing beyond them. */
static void heaps_of_every_small_limit(void **state)
{
	static const size_t alignments[] = { 8, 64 };
	enum { MOST_PAGES = 1000 };
	(void)state;
	for (size_t pages = 1; pages <= 2 * MOST_PAGES; pages++) {
		mems_finish();
		assert_succeeds(mems_option(MEMS_ALIGNMENT, alignments[pages % 2]) == 0);
		assert_succeeds(mems_option(MEMS_LIMIT, (pages + 1) / 2 * 4096) == 0);
		mems_init();
		take(8);
		assert_true(pages % 100 != 0 || mems_check(stderr) == 0);
	}
	mems_finish();
	assert_succeeds(mems_option(MEMS_LIMIT, 0) == 0);
	assert_succeeds(mems_option(MEMS_ALIGNMENT, 8) == 0);
	mems_init();
}

static void an_idle_heap_costs_little(void **state)
{
	(void)state;
	enum { IDLE_KIB = 100 };
	mems_finish();
	const size_t before = resident_kib();
	mems_init();
	const size_t idle = resident_kib();
	assert_true(stats_now().metadata_bytes < IDLE_KIB * KIB);
	take(100);
	give_back(1000);
	const size_t used_once = resident_kib();
	print_message("an idle heap costs %td KiB, %td KiB after one block\n",
	              (ptrdiff_t)(idle - before), (ptrdiff_t)(used_once - before));
	if (before == 0 || ADDRESS_SANITIZER) /* which has memory of its own for each page of ours */
		skip();
	if (is_run_by_another()) {
		print_message("note: what an idle heap costs: skipped, for what runs this program has "
		              "memory of its own for each page of ours\n");
		skip();
	}
	assert_true(idle < before + IDLE_KIB);
	assert_true(used_once < before + IDLE_KIB);
}

/* ---- Small address spaces ---------------------------------------------------------------- */

/* What is wrong in the child, as its exit status. */
enum finding {
	GOOD,
	NOT_ENFORCED,
	TOO_GREEDY,
	NO_HEAP,
	UNSOUND,
	NO_MEMORY_LEFT,
	NO_NEW_HEAP
};

static size_t address_space_kib(void)
{
	return status_kib("/proc/self/status", "VmSize:");
}

static bool can_map(size_t bytes)
{
	void *const memory =
		mmap(NULL, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (memory == MAP_FAILED)
		return false;
	munmap(memory, bytes);
	return true;
}

/* The largest single mapping that the OS gives, to the MiB. */
static size_t largest_mapping(void)
{
	size_t low = 0;
	size_t high = SIZE_MAX / MIB;
	while (high - low > 1) {
		const size_t middle = low + (high - low) / 2;
		if (can_map(middle * MIB))
			low = middle;
		else
			high = middle;
	}
	return low * MIB;
}

/* Uses the heap up to the end, frees every other block, and uses it up again: first fit begins with
 * the lowest block, quick fit with the one freed last. */
static enum finding use_heap(size_t least)
{
	enum { SIZE = 10000, BLOCKS = 1 << 13 };
	static uintptr_t blocks[BLOCKS];
	const bool is_quick = policy_under_test() == MEMS_QUICK_FIT;
	size_t count = 0;
	while (count < BLOCKS) {
		blocks[count] = address_of(mems_malloc(SIZE));
		if (blocks[count] == 0)
			break;
		memset(mems_get(at(blocks[count])), (int)count, SIZE);
		count++;
	}
	if (count * SIZE < least || (count < BLOCKS && errno != ENOMEM))
		return NO_HEAP;
	for (size_t i = 0; i < count; i += 2)
		mems_free(at(blocks[i]));
	for (size_t i = 0; i < count; i += 2) {
		const size_t last = (count - 1) / 2 * 2;
		if (mems_malloc(SIZE) != at(blocks[is_quick ? last - i : i]))
			return NO_HEAP;
	}
	return mems_check(stderr) == 0 ? GOOD : UNSOUND;
}

static enum finding live_within(size_t limit)
{
	const size_t before = address_space_kib() * KIB;
	const struct rlimit rlimit = {before + limit, before + limit};
	if (setrlimit(RLIMIT_AS, &rlimit) != 0 || can_map(limit + MIB))
		return NOT_ENFORCED;
	const size_t available = largest_mapping();
	mems_init();
	const size_t taken = address_space_kib() * KIB - before;
	if (taken > available / 2 + MIB)
		return TOO_GREEDY;
	const enum finding finding = use_heap(limit / 8 < 32 * MIB ? limit / 8 : 32 * MIB);
	if (finding != GOOD)
		return finding;
	void *const rest = malloc(limit / 4);
	if (rest == NULL)
		return NO_MEMORY_LEFT;
	free(rest);
	mems_finish();
	mems_init();
	return mems_malloc(1000) == at(1000) ? GOOD : NO_NEW_HEAP;
}

static int run_within(void *limit)
{
	return (int)live_within(*(const size_t *)limit);
}

/* As docs/limits.md says. */
static void a_small_limit_reserves_little(void **state)
{
	(void)state;
	if (ADDRESS_SANITIZER || is_reserving_dear())
		skip();
	const size_t most_kib = policy_under_test() == MEMS_FIRST_FIT ? 4300 * KIB / 1000 : 6500 * KIB / 1000;
	const size_t before = address_space_kib();
	assert_succeeds(mems_option(MEMS_LIMIT, 4 * MIB) == 0);
	mems_init();
	assert_true(address_space_kib() - before <= most_kib);
	assert_true(take(4 * MIB) == 1000);
}

static void half_of_a_small_address_space(void **state)
{
	(void)state;
	static const size_t limits[] = {8, 32, 64, 256, 1000};
	if (ADDRESS_SANITIZER)
		skip();
	for (size_t i = 0; i < sizeof limits / sizeof limits[0]; i++) {
		size_t limit = limits[i] * MIB;
		const enum finding finding = (enum finding)status_of_child(run_within, &limit);
		if (finding == NOT_ENFORCED)
			skip();
		if (finding != GOOD)
			print_error("with %zu MiB\n", limits[i]);
		assert_int_equal(finding, GOOD);
	}
}

/* With 32-bit pointers the address space is small without any limit. */
static void half_of_a_32_bit_address_space(void **state)
{
	(void)state;
	if (SIZE_MAX > UINT32_MAX || ADDRESS_SANITIZER)
		skip();
	const size_t available = largest_mapping();
	const size_t before = address_space_kib();
	mems_init();
	assert_true((address_space_kib() - before) * KIB <= available / 2 + MIB);
	assert_true(take(100 * MIB) == 1000);
	assert_sound();
}

/* Not even one page: the heap is started, and every allocation gives ENOMEM. */
static int live_without_address_space(void *context)
{
	(void)context;
	const size_t before = address_space_kib() * KIB;
	const struct rlimit rlimit = {before, RLIM_INFINITY};
	if (setrlimit(RLIMIT_AS, &rlimit) != 0 || can_map(MIB))
		return NOT_ENFORCED;
	errno = UNTOUCHED;
	mems_init();
	const bool is_untouched = errno == UNTOUCHED;
	const bool is_empty = mems_malloc(1) == NULL && errno == ENOMEM &&
	                      mems_calloc(1, 1) == NULL && errno == ENOMEM &&
	                      mems_aligned_alloc(8, 1) == NULL && errno == ENOMEM &&
	                      mems_realloc(NULL, 1) == NULL && errno == ENOMEM &&
	                      mems_option(MEMS_ALIGNMENT, 8) == -1 && errno == EBUSY &&
	                      mems_malloc(0) == NULL && errno == EINVAL;
	if (!is_untouched || !is_empty || mems_get(at(1000)) != NULL || stats_now().pages != 0)
		return NO_HEAP;
	if (mems_check(stderr) != 0)
		return UNSOUND;
	const struct rlimit unlimited = {RLIM_INFINITY, RLIM_INFINITY};
	mems_finish();
	if (setrlimit(RLIMIT_AS, &unlimited) != 0)
		return NOT_ENFORCED;
	mems_init();
	return mems_malloc(1000) == at(1000) ? GOOD : NO_NEW_HEAP;
}

static void no_address_space_at_all(void **state)
{
	(void)state;
	if (ADDRESS_SANITIZER || is_address_space_limited())
		skip();
	const int finding = status_of_child(live_without_address_space, NULL);
	if (finding == NOT_ENFORCED)
		skip();
	assert_int_equal(finding, GOOD);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		small_heap_test(sizes_near_the_largest),
		heap_test(sizes_beyond_any_heap),
		heap_test(products_that_overflow),
		heap_test(eight_untouched_gibibytes),
		heap_test(a_heap_is_filled_to_its_limit),
		heap_test(heaps_of_every_small_limit),
		heap_test(an_idle_heap_costs_little),
		bare_test(a_small_limit_reserves_little),
		bare_test(half_of_a_small_address_space),
		bare_test(half_of_a_32_bit_address_space),
		bare_test(no_address_space_at_all),
	};
	return run_heap_tests("limits", tests);
}
