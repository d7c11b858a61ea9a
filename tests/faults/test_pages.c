/*
 * An OS whose pages are of 64 KiB: what it is asked begins at one of them, and what is random stays
 * whole: blocks, images that are copied or mapped, what goes back; images of smaller pages are
 * refused. It is made of the one at hand, which has smaller pages.
 *
 * The linker puts the functions below between the library and the OS: see paged in faults.mk.
 */
#define _GNU_SOURCE
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/types.h>
#include <unistd.h>

#include "image.h"
#include "support.h"
#include "wrapped.h"

#define OS_PAGE (64 * KIB)

int __wrap_getpagesize(void);
void *__wrap_mremap(void *address, size_t bytes, size_t more_bytes, int flags, ...);

static size_t whole(size_t bytes)
{
	return (bytes + OS_PAGE - 1) & ~(OS_PAGE - 1);
}

static size_t wrong_requests;

static void *begins_at_page(void *address)
{
	wrong_requests += (uintptr_t)address % OS_PAGE != 0;
	return address;
}

int __wrap_getpagesize(void)
{
	return (int)OS_PAGE;
}

unsigned long __wrap_getauxval(unsigned long type)
{
	return type == AT_PAGESZ ? OS_PAGE : __real_getauxval(type);
}

/* Where no address is asked for, more is mapped, and what is too much given back. */
void *__wrap_mmap(void *address, size_t bytes, int access, int flags, int file, off_t offset)
{
	wrong_requests += (size_t)offset % OS_PAGE != 0;
	if (address != NULL)
		return __real_mmap(begins_at_page(address), whole(bytes), access, flags, file, offset);
	if (bytes > SIZE_MAX - 2 * OS_PAGE)
		return MAP_FAILED;
	char *const memory = __real_mmap(NULL, whole(bytes) + OS_PAGE, access, flags, file, offset);
	if (memory == MAP_FAILED)
		return MAP_FAILED;
	const size_t before = whole((uintptr_t)memory) - (uintptr_t)memory;
	if (before != 0)
		__real_munmap(memory, before);
	__real_munmap(memory + before + whole(bytes), OS_PAGE - before);
	return memory + before;
}

/* It always moves. */
void *__wrap_mremap(void *address, size_t bytes, size_t more_bytes, int flags, ...)
{
	void *const memory = __wrap_mmap(NULL, more_bytes, PROT_READ | PROT_WRITE,
	                                 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	assert_int_equal(flags, MREMAP_MAYMOVE);
	if (memory == MAP_FAILED)
		return memory;
	memcpy(memory, address, bytes < more_bytes ? bytes : more_bytes);
	__wrap_munmap(address, bytes);
	return memory;
}

int __wrap_munmap(void *address, size_t bytes)
{
	return __real_munmap(begins_at_page(address), whole(bytes));
}

int __wrap_mprotect(void *address, size_t bytes, int access)
{
	return __real_mprotect(begins_at_page(address), whole(bytes), access);
}

int __wrap_madvise(void *address, size_t bytes, int advice)
{
	return __real_madvise(begins_at_page(address), whole(bytes), advice);
}

/* A page is in memory where one of its parts is. */
int __wrap_mincore(void *address, size_t bytes, unsigned char *pages)
{
	unsigned char parts[OS_PAGE / 4096];
	for (size_t page = 0; page < whole(bytes) / OS_PAGE; page++) {
		char *const from = (char *)begins_at_page(address) + page * OS_PAGE;
		if (__real_mincore(from, OS_PAGE, parts) != 0)
			return -1;
		pages[page] = 0;
		for (size_t part = 0; part < OS_PAGE / (size_t)sysconf(_SC_PAGESIZE); part++)
			pages[page] |= parts[part] & 1;
	}
	return 0;
}

/* ---- Blocks ------------------------------------------------------------------------------ */

enum { BLOCKS = 100, CALLS = 1500 };

static struct {
	uintptr_t start;
	size_t size;
} blocks[BLOCKS];

static void blocks_look(void)
{
	for (unsigned i = 0; i < BLOCKS; i++)
		assert_true(blocks[i].start == 0 || has_filling(blocks[i].start, blocks[i].size, i));
	assert_sound();
	assert_int_equal(wrong_requests, 0);
}

static void take_zeros(unsigned i, size_t size)
{
	blocks[i].start = address_of(mems_calloc(1, size));
	const char *const bytes = mems_get_range(at(blocks[i].start), size);
	assert_non_null(bytes);
	assert_true(bytes[0] == 0 && memcmp(bytes, bytes + 1, size - 1) == 0);
}

static void call_at_random(uint64_t *random)
{
	const unsigned i = (unsigned)random_below(random, BLOCKS);
	const size_t kind = random_below(random, 40);
	const size_t most = kind == 0 ? 4 * MIB : kind < 6 ? 200000 : 3000;
	const size_t size = 1 + random_below(random, most);
	const size_t way = random_below(random, 8);
	if (blocks[i].start != 0) {
		const size_t kept = size < blocks[i].size ? size : blocks[i].size;
		assert_true(has_filling(blocks[i].start, kept, i));
		if (way < 5)
			give_back(blocks[i].start);
		blocks[i].start = way < 5 ? 0 : address_of(mems_realloc(at(blocks[i].start), size));
		assert_true(way < 5 || has_filling(blocks[i].start, kept, i));
	} else if (way == 0) {
		take_zeros(i, size);
	} else if (way == 1) {
		blocks[i].start = address_of(mems_aligned_alloc(OS_PAGE, size));
		assert_int_equal((uintptr_t)mems_get(at(blocks[i].start)) % OS_PAGE, 0);
	} else {
		blocks[i].start = take(size);
	}
	blocks[i].size = size;
	if (blocks[i].start != 0)
		fill_block(blocks[i].start, size, i);
}

static void heap_goes_through(size_t alignment, size_t page_bytes, size_t history)
{
	char path[64];
	uint64_t random = alignment + page_bytes + history;
	snprintf(path, sizeof path, "/tmp/test_pages-%ld", (long)getpid());
	memset(blocks, 0, sizeof blocks);
	assert_int_equal(mems_option(MEMS_ALIGNMENT, alignment), 0);
	assert_int_equal(mems_option(MEMS_PAGE_SIZE, page_bytes), 0);
	assert_int_equal(mems_option(MEMS_HISTORY, history), 0);
	mems_init();
	for (unsigned flags = 0; flags <= MEMS_MAP; flags++) {
		for (size_t i = 0; i < CALLS; i++)
			call_at_random(&random);
		blocks_look();
		mems_trim();
		assert_int_equal(stats_now().resident_hole_bytes, 0);
		blocks_look();
		assert_int_equal(mems_save(path), 0);
		mems_finish();
		assert_int_equal(mems_load(path, flags), 0);
		assert_int_equal(unlink(path), 0);
		blocks_look();
	}
	for (size_t i = 0; i < CALLS; i++)
		call_at_random(&random);
	blocks_look();
	mems_finish();
}

static void pages_are_never_smaller(void **state)
{
	(void)state;
	for (size_t bytes = 4096; bytes < OS_PAGE; bytes *= 2)
		assert_fails(EINVAL, mems_option(MEMS_PAGE_SIZE, bytes) == -1);
	mems_init();
	take(1);
	assert_int_equal(stats_now().mapped_bytes % OS_PAGE, 0);
	assert_sound();
}

static void all_is_well_in_large_pages(void **state)
{
	(void)state;
	heap_goes_through(8, OS_PAGE, 0);
	heap_goes_through(1, OS_PAGE, 100);
	heap_goes_through(64, 4 * OS_PAGE, 0);
	heap_goes_through(16, 2 * MIB, 0);
}

/* A machine with smaller pages may have made it, or none has. */
static void images_of_smaller_pages_are_not_for_this_one(void **state)
{
	static const struct {
		size_t page_bytes;
		int error;
	} cases[] = {
		{4096, ENOTSUP}, {OS_PAGE / 2, ENOTSUP}, {2048, EBADMSG}, {4097, EBADMSG},
		{3 * 4096, EBADMSG}, {OS_PAGE - 1, EBADMSG}, {OS_PAGE + 4096, EBADMSG},
	};
	uint8_t header[IMAGE_HEADER_BYTES];
	char path[64];
	(void)state;
	snprintf(path, sizeof path, "/tmp/test_pages-%ld", (long)getpid());
	mems_init();
	assert_int_equal(mems_save(path), 0);
	mems_finish();
	FILE *const file = fopen(path, "r+b");
	assert_non_null(file);
	assert_int_equal(fread(header, 1, sizeof header, file), sizeof header);
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		image_word_put(header, IMAGE_PAGE_SIZE, cases[i].page_bytes);
		image_seal(header, sizeof header);
		rewind(file);
		assert_int_equal(fwrite(header, 1, sizeof header, file), sizeof header);
		assert_int_equal(fflush(file), 0);
		assert_fails(cases[i].error, mems_load(path, 0) == -1);
	}
	fclose(file);
	assert_int_equal(unlink(path), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		bare_test(pages_are_never_smaller),
		bare_test(all_is_well_in_large_pages),
		bare_test(images_of_smaller_pages_are_not_for_this_one),
	};
	return run_heap_tests("pages", tests);
}
