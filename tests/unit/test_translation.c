/* Translation: every byte of a small heap, and addresses that were never meant for it. */
#define _GNU_SOURCE
#include "support.h"

enum { CAPACITY = 64 };

static struct mems_segment segments[CAPACITY];
static size_t segment_count;

/* Two nodes with blocks and HOLEs, at the node borders as well, and one block over many leaves. */
static void make_heap(size_t alignment, size_t start)
{
	mems_finish();
	assert_int_equal(mems_option(MEMS_ALIGNMENT, alignment), 0);
	assert_int_equal(mems_option(MEMS_START_ADDRESS, start), 0);
	mems_init();
	const uintptr_t first = take(1);
	take(3 * alignment + 1);
	const uintptr_t hole = take(100);
	take(700);
	const uintptr_t last = take(stats_now().largest_hole);
	const uintptr_t next = take(64);
	take(3000);
	take(2);
	give_back(first);
	give_back(hole);
	give_back(last);
	give_back(next);
	segment_count = walk_segments(segments, CAPACITY);
	assert_true(segment_count >= 9 && segment_count < CAPACITY);
}

static char *physical_of(const struct mems_segment *segment, uintptr_t address)
{
	return (char *)segment->physical + (address - segment->start);
}

/* ---- Every byte -------------------------------------------------------------------------- */

static void check_live_byte(const struct mems_segment *segment, uintptr_t address)
{
	char *const physical = physical_of(segment, address);
	const size_t rest = segment->end - address + 1;
	assert_succeeds(mems_get(at(address)) == physical);
	assert_succeeds(mems_virtual(physical) == at(address));
	assert_succeeds(mems_get_range(at(address), 0) == physical);
	assert_succeeds(mems_get_range(at(address), 1) == physical);
	assert_succeeds(mems_get_range(at(address), rest) == physical);
	assert_fails(EFAULT, mems_get_range(at(address), rest + 1) == NULL);
	assert_fails(EFAULT, mems_get_range(at(address), SIZE_MAX) == NULL);
	assert_fails(EFAULT, mems_get_range(at(address), SIZE_MAX - address + 1) == NULL);

	char byte = (char)address;
	assert_succeeds(mems_write(at(address), &byte, 1) == 0);
	assert_true(*physical == (char)address);
	byte = 'x';
	assert_succeeds(mems_read(&byte, at(address), 1) == 0);
	assert_true(byte == (char)address);
	assert_succeeds(mems_read(&byte, at(address), 0) == 0);
	assert_succeeds(mems_write(at(address), &byte, 0) == 0);
}

static void check_dead_byte(uintptr_t address)
{
	char byte = 'x';
	assert_fails(EFAULT, mems_get(at(address)) == NULL);
	assert_fails(EFAULT, mems_get_range(at(address), 0) == NULL);
	assert_fails(EFAULT, mems_get_range(at(address), 1) == NULL);
	assert_fails(EFAULT, mems_get_range(at(address), 1000) == NULL);
	assert_fails(EFAULT, mems_read(&byte, at(address), 1) == -1);
	assert_fails(EFAULT, mems_read(&byte, at(address), 0) == -1);
	assert_fails(EFAULT, mems_write(at(address), &byte, 1) == -1);
	assert_fails(EFAULT, mems_write(at(address), &byte, 0) == -1);
	assert_true(byte == 'x');
}

static void assert_same_segment(const struct mems_segment *a, const struct mems_segment *b)
{
	assert_int_equal(a->type, b->type);
	assert_true(a->start == b->start && a->end == b->end && a->size == b->size);
	assert_true(a->physical == b->physical && a->node == b->node);
	assert_true(a->node_start == b->node_start && a->node_end == b->node_end);
}

static void check_byte(const struct mems_segment *segment, uintptr_t address)
{
	struct mems_segment found;
	assert_succeeds(mems_segment_at(at(address), &found) == 0);
	assert_same_segment(&found, segment);
	if (segment->type == MEMS_PROCESS) {
		check_live_byte(segment, address);
		return;
	}
	check_dead_byte(address);
	assert_fails(EFAULT, mems_virtual(physical_of(segment, address)) == NULL);
}

static void assert_outside(uintptr_t address)
{
	struct mems_segment found, untouched;
	memset(&untouched, 0x5a, sizeof untouched);
	found = untouched;
	check_dead_byte(address);
	assert_fails(EFAULT, mems_segment_at(at(address), &found) == -1);
	assert_memory_equal(&found, &untouched, sizeof found);
}

static void every_byte(void **state)
{
	(void)state;
	static const size_t starts[] = {1, 1000, 1001, (size_t)1 << 31};
	for (size_t alignment = 1; alignment <= 64; alignment *= 2) {
		for (size_t i = 0; i < sizeof starts / sizeof starts[0]; i++) {
			make_heap(alignment, starts[i]);
			for (size_t k = 0; k < segment_count; k++) {
				const struct mems_segment *const segment = &segments[k];
				for (uintptr_t address = segment->start;
				     address <= segment->end; address++)
					check_byte(segment, address);
			}
			for (size_t distance = 1; distance <= 200; distance++) {
				if (distance <= starts[i])
					assert_outside(starts[i] - distance);
				assert_outside(segments[segment_count - 1].end + distance);
			}
		}
	}
	assert_no_report();
}

/* What is written through one address is read through any other that covers it. */
static void ranges_are_copied_whole(void **state)
{
	(void)state;
	enum { SIZE = 777 };
	unsigned char source[SIZE], copy[SIZE];
	const uintptr_t block = take(SIZE);
	take(8);
	for (size_t i = 0; i < SIZE; i++)
		source[i] = (unsigned char)(i * 13 + i / 256);
	for (size_t offset = 0; offset < SIZE; offset += 37) {
		const size_t size = SIZE - offset;
		memset(copy, 0, SIZE);
		assert_succeeds(mems_write(at(block + offset), source, size) == 0);
		assert_succeeds(mems_read(copy, at(block + offset), size) == 0);
		assert_memory_equal(copy, source, size);
		assert_memory_equal(mems_get(at(block + offset)), source, size);
	}
}

static void a_range_that_does_not_fit_is_not_copied_at_all(void **state)
{
	(void)state;
	unsigned char bytes[64], before[64];
	const uintptr_t block = take(40);
	take(40);
	fill_block(block, 40, 1);
	fill_block(block + 40, 40, 2);
	memset(bytes, 7, sizeof bytes);
	memcpy(before, bytes, sizeof bytes);
	assert_fails(EFAULT, mems_read(bytes, at(block), 41) == -1);
	assert_fails(EFAULT, mems_read(bytes, at(block + 39), 2) == -1);
	assert_memory_equal(bytes, before, sizeof bytes);
	assert_fails(EFAULT, mems_write(at(block), bytes, 41) == -1);
	assert_fails(EFAULT, mems_write(at(block + 39), bytes, 2) == -1);
	assert_fails(EFAULT, mems_write(at(block + 40), bytes, SIZE_MAX) == -1);
	assert_true(has_filling(block, 40, 1));
	assert_true(has_filling(block + 40, 40, 2));
}

/* ---- Anywhere else ----------------------------------------------------------------------- */

static const struct mems_segment *segment_with(uintptr_t address)
{
	for (size_t i = 0; i < segment_count; i++) {
		if (address >= segments[i].start && address <= segments[i].end)
			return &segments[i];
	}
	return NULL;
}

static void check_anywhere(uintptr_t address)
{
	const struct mems_segment *const segment = segment_with(address);
	if (segment == NULL)
		assert_outside(address);
	else
		check_byte(segment, address);
}

/* Addresses that are the same as a live one but for bits that a narrow number would lose. */
static void addresses_a_power_of_two_away(void **state)
{
	(void)state;
	for (size_t alignment = 1; alignment <= 64; alignment *= 8) {
		make_heap(alignment, 1000);
		for (unsigned bit = 0; bit < 8 * sizeof(uintptr_t); bit++) {
			const uintptr_t distance = (uintptr_t)1 << bit;
			for (size_t k = 0; k < segment_count; k++) {
				check_anywhere(segments[k].start + distance);
				check_anywhere(segments[k].start - distance);
				check_anywhere(segments[k].end + distance);
				check_anywhere(segments[k].end - distance);
			}
			for (uintptr_t near = distance - 2; near != distance + 3; near++) {
				check_anywhere(near);
				check_anywhere(~near);
			}
		}
	}
}

static void any_64_bits(void **state)
{
	(void)state;
	uint64_t random = 3;
	make_heap(8, 1000);
	for (size_t i = 0; i < 100000; i++) {
		const unsigned shift = (unsigned)random_below(&random, 8 * sizeof(uintptr_t));
		check_anywhere((uintptr_t)random_next(&random) >> shift);
	}
}

static void any_physical_address(void **state)
{
	(void)state;
	uint64_t random = 4;
	make_heap(8, 1000);
	const uintptr_t base = address_of(segments[0].physical);
	const uintptr_t size = segments[segment_count - 1].end - segments[0].start + 1;
	int variable = 0;
	assert_fails(EFAULT, mems_virtual(NULL) == NULL);
	assert_fails(EFAULT, mems_virtual(&variable) == NULL);
	assert_fails(EFAULT, mems_virtual(at(base - 1)) == NULL);
	assert_fails(EFAULT, mems_virtual(at(base + size)) == NULL);
	assert_fails(EFAULT, mems_virtual(at(UINTPTR_MAX)) == NULL);
	assert_fails(EFAULT, mems_virtual(at(1000)) == NULL);
	for (size_t i = 0; i < 100000; i++) {
		const unsigned shift = (unsigned)random_below(&random, 8 * sizeof(uintptr_t));
		const uintptr_t address = (uintptr_t)random_next(&random) >> shift;
		if (address - base >= size)
			assert_fails(EFAULT, mems_virtual(at(address)) == NULL);
	}
}

static void sizes_that_wrap_around(void **state)
{
	(void)state;
	const uintptr_t block = take(1000);
	const uintptr_t physical = address_of(mems_get(at(block)));
	char byte;
	for (size_t less = 0; less < 3000; less++) {
		const size_t size = SIZE_MAX - less;
		assert_fails(EFAULT, mems_get_range(at(block + 500), size) == NULL);
		assert_fails(EFAULT, mems_read(&byte, at(block + 999), size) == -1);
		assert_fails(EFAULT, mems_write(at(block), &byte, size) == -1);
		assert_fails(EFAULT,
		             mems_get_range(at(block + 500), (size_t)0 - physical + less) == NULL);
	}
	for (unsigned bit = 10; bit < 8 * sizeof(size_t); bit++)
		assert_fails(EFAULT, mems_get_range(at(block), (size_t)1 << bit) == NULL);
}

/* ---- In time ----------------------------------------------------------------------------- */

static void a_stale_address_is_refused_until_it_is_given_out_again(void **state)
{
	(void)state;
	const uintptr_t block = take(100);
	take(8);
	void *const physical = mems_get(at(block));
	give_back(block);
	assert_fails(EFAULT, mems_get(at(block)) == NULL);
	assert_fails(EFAULT, mems_get(at(block + 50)) == NULL);
	assert_fails(EFAULT, mems_virtual(physical) == NULL);
	assert_true(take(40) == block);
	assert_succeeds(mems_get(at(block)) == physical);
	assert_succeeds(mems_get(at(block + 39)) != NULL);
	assert_fails(EFAULT, mems_get(at(block + 40)) == NULL);
}

static void nothing_is_translated_without_a_heap(void **state)
{
	(void)state;
	const uintptr_t block = take(100);
	void *const physical = mems_get(at(block));
	mems_finish();
	assert_outside(block);
	assert_outside(0);
	assert_fails(EFAULT, mems_virtual(physical) == NULL);
	mems_init();
	assert_outside(block);
	assert_fails(EFAULT, mems_virtual(physical) == NULL);
	assert_no_report();
}

/* The sub-chain can be walked both ways by asking for the bytes next to a segment. */
static void neighbours_can_be_asked_for(void **state)
{
	(void)state;
	make_heap(8, 1000);
	struct mems_segment segment;
	for (size_t i = 0; i + 1 < segment_count; i++) {
		assert_int_equal(mems_segment_at(at(segments[i].end + 1), &segment), 0);
		assert_same_segment(&segment, &segments[i + 1]);
		assert_int_equal(mems_segment_at(at(segment.start - 1), &segment), 0);
		assert_same_segment(&segment, &segments[i]);
	}
}

/* Long segments: the start is far from the byte that is asked for. */
static void the_middle_of_large_segments(void **state)
{
	(void)state;
	const size_t size = 40 * MIB;
	const uintptr_t low = take(size);
	const uintptr_t high = take(size);
	char *const low_physical = mems_get(at(low));
	give_back(low);
	for (size_t offset = 0; offset < size; offset += 65521) {
		struct mems_segment segment;
		assert_fails(EFAULT, mems_get(at(low + offset)) == NULL);
		assert_succeeds(mems_get(at(high + offset)) == low_physical + size + offset);
		assert_succeeds(mems_segment_at(at(low + offset), &segment) == 0);
		assert_true(segment.start == low && segment.size == size);
		assert_succeeds(mems_get_range(at(high + offset), size - offset) != NULL);
		assert_fails(EFAULT, mems_get_range(at(high + offset), size - offset + 1) == NULL);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		heap_test(every_byte),
		heap_test(ranges_are_copied_whole),
		heap_test(a_range_that_does_not_fit_is_not_copied_at_all),
		heap_test(addresses_a_power_of_two_away),
		heap_test(any_64_bits),
		heap_test(any_physical_address),
		heap_test(sizes_that_wrap_around),
		first_fit_test(a_stale_address_is_refused_until_it_is_given_out_again),
		heap_test(nothing_is_translated_without_a_heap),
		heap_test(neighbours_can_be_asked_for),
		heap_test(the_middle_of_large_segments),
	};
	return run_heap_tests("translation", tests);
}
