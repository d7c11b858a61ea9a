/*
 * Images: what is saved is what is loaded, in this process and in another, under all options; what
 * is no whole, sound image is refused, with no heap and nothing mapped; the root; mapped contents.
 */
#define _GNU_SOURCE
#include "image.h"
#include "support.h"

#include <fcntl.h>
#include <limits.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { BLOCKS = 300, LATER_CALLS = 400 };

static char path[64], other_path[64];

/* The blocks of a heap, filled with their index. */
static struct {
	uintptr_t start[BLOCKS];
	size_t size[BLOCKS];
	uint64_t random;
} blocks;

static void paths_make(void)
{
	snprintf(path, sizeof path, "/tmp/test_images-%ld.mems", (long)getpid());
	snprintf(other_path, sizeof other_path, "/tmp/test_images-%ld.other", (long)getpid());
}

static int without_files(void **state)
{
	unlink(path);
	unlink(other_path);
	return clean_up(state);
}

#define image_test(function) \
	cmocka_unit_test_setup_teardown(function, with_heap, without_files)

/* ---- Heaps ------------------------------------------------------------------------------- */

/* One call that changes the heap; gives an address, 0 for none. */
static uintptr_t random_call(size_t most)
{
	const size_t i = random_below(&blocks.random, BLOCKS);
	const size_t size = 1 + random_below(&blocks.random, most);
	if (blocks.start[i] != 0 && random_below(&blocks.random, 3) != 0) {
		give_back(blocks.start[i]);
		blocks.start[i] = 0;
		return 0;
	}
	if (blocks.start[i] != 0)
		blocks.start[i] = address_of(mems_realloc(at(blocks.start[i]), size));
	else if (random_below(&blocks.random, 8) == 0)
		blocks.start[i] = address_of(mems_aligned_alloc(256, size));
	else
		blocks.start[i] = take(size);
	assert_true(blocks.start[i] != 0);
	blocks.size[i] = size;
	fill_block(blocks.start[i], size, (unsigned)i);
	return blocks.start[i];
}

static void heap_fill(size_t calls, size_t most)
{
	memset(blocks.start, 0, sizeof blocks.start);
	for (size_t i = 0; i < calls; i++)
		random_call(most);
	blocks.start[0] = blocks.start[0] != 0 ? blocks.start[0] : take(100);
	blocks.size[0] = 100 < blocks.size[0] ? blocks.size[0] : 100;
	blocks.size[0] = mems_usable_size(at(blocks.start[0]));
	fill_block(blocks.start[0], blocks.size[0], 0);
	assert_int_equal(mems_set_root(at(blocks.start[0])), 0);
}

static bool blocks_are_whole(void)
{
	for (size_t i = 0; i < BLOCKS; i++)
		if (blocks.start[i] != 0 && !has_filling(blocks.start[i], blocks.size[i], (unsigned)i))
			return false;
	return true;
}

/* ---- Files ------------------------------------------------------------------------------- */

static uint8_t *file_read(const char *name, size_t *size)
{
	FILE *in = fopen(name, "rb");
	assert_non_null(in);
	fseek(in, 0, SEEK_END);
	*size = (size_t)ftell(in);
	rewind(in);
	uint8_t *bytes = malloc(*size + 1);
	assert_non_null(bytes);
	assert_int_equal(fread(bytes, 1, *size, in), *size);
	fclose(in);
	return bytes;
}

static void file_write(const char *name, const uint8_t *bytes, size_t size)
{
	FILE *out = fopen(name, "wb");
	assert_non_null(out);
	assert_int_equal(fwrite(bytes, 1, size, out), size);
	assert_int_equal(fclose(out), 0);
}

/* Lines of /proc/self/maps, or those with a word. */
static size_t mappings(const char *word)
{
	FILE *in = fopen("/proc/self/maps", "r");
	char line[600];
	size_t count = 0;
	while (in != NULL && fgets(line, sizeof line, in) != NULL)
		count += strstr(line, word) != NULL;
	if (in != NULL)
		fclose(in);
	return count;
}

static size_t open_files(void)
{
	size_t count = 0;
	for (int file = 0; file < 64; file++)
		count += fcntl(file, F_GETFD) >= 0;
	return count;
}

/* All that was refused since there were so many mappings has left none, and no heap. */
static void assert_refused_nowhere(size_t maps)
{
	assert_in_range(mappings(""), 0, maps + (ADDRESS_SANITIZER ? 8 : 0));
	assert_int_equal(mappings("test_images-"), 0);
	assert_fails(EPERM, mems_malloc(1) == NULL);
}

/* The image is refused, however it is loaded, and nothing is left of it. */
static void assert_refused_as(int error, unsigned flags)
{
	const size_t maps = mappings("");
	const size_t files = open_files();
	assert_fails(error, mems_load(path, flags) == -1);
	assert_int_equal(open_files(), files);
	assert_refused_nowhere(maps);
}

static void refuse(int error, const uint8_t *bytes, size_t size)
{
	file_write(path, bytes, size);
	assert_refused_as(error, 0);
	assert_refused_as(error, MEMS_MAP);
}

/* ---- Round trips ------------------------------------------------------------------------- */

struct expected {
	char *text;
	unsigned flags;
};

/* In another process: the heap that the image holds is the one that was saved. */
static int loads_in_child(void *context)
{
	const struct expected *expected = context;
	mems_finish();
	options_reset();
	if (mems_load(path, expected->flags) != 0 || mems_check(stderr) != 0)
		return 1;
	char *text = printed_text();
	const bool is_same = strcmp(text, expected->text) == 0 && blocks_are_whole() &&
	                     mems_root() == at(blocks.start[0]);
	free(text);
	mems_finish();
	return is_same ? 0 : 2;
}

/* The same calls as after the save give the same addresses. */
static void calls_repeat(unsigned flags, const uintptr_t *addresses, uint64_t random, size_t most)
{
	blocks.random = random;
	assert_int_equal(mems_load(path, flags), 0);
	for (size_t i = 0; i < LATER_CALLS; i++) {
		const uintptr_t address = random_call(most);
		if (policy_under_test() == MEMS_FIRST_FIT)
			assert_int_equal(address, addresses[i]);
	}
	assert_sound();
	assert_true(blocks_are_whole());
}

static void round_trip(size_t calls, size_t most)
{
	static uintptr_t addresses[LATER_CALLS];
	static uintptr_t kept[BLOCKS];
	static size_t kept_sizes[BLOCKS];
	heap_fill(calls, most);
	struct expected expected = {printed_text(), 0};
	assert_int_equal(mems_save(path), 0);
	char *text = printed_text();
	assert_string_equal(text, expected.text);
	free(text);
	assert_sound();
	for (expected.flags = 0; expected.flags <= MEMS_MAP; expected.flags++)
		assert_int_equal(status_of_child(loads_in_child, &expected), 0);
	memcpy(kept, blocks.start, sizeof kept);
	memcpy(kept_sizes, blocks.size, sizeof kept_sizes);
	const uint64_t random = blocks.random;
	for (size_t i = 0; i < LATER_CALLS; i++)
		addresses[i] = random_call(most);
	for (unsigned flags = 0; flags <= MEMS_MAP; flags++) {
		mems_finish();
		memcpy(blocks.start, kept, sizeof kept);
		memcpy(blocks.size, kept_sizes, sizeof kept_sizes);
		calls_repeat(flags, addresses, random, most);
	}
	free(expected.text);
}

static void what_is_loaded_is_what_was_saved(void **state)
{
	static const size_t alignments[] = {8, 1, 16, 64};
	static const size_t pages[] = {1, 16, 512};
	static const size_t starts[] = {1000, 1, (size_t)1 << 31};
	(void)state;
	blocks.random = (uint64_t)time(NULL);
	printf("seed %llu\n", (unsigned long long)blocks.random);
	for (size_t i = 0; i < 12; i++) {
		mems_finish();
		options_reset();
		assert_int_equal(mems_option(MEMS_POLICY, policy_under_test()), 0);
		assert_int_equal(mems_option(MEMS_ALIGNMENT, alignments[i % 4]), 0);
		assert_int_equal(mems_option(MEMS_PAGE_SIZE, PAGE * pages[i % 3]), 0);
		assert_int_equal(mems_option(MEMS_START_ADDRESS, starts[i / 4]), 0);
		if (i % 5 == 4)
			assert_int_equal(mems_option(MEMS_LIMIT, 64 * MIB), 0);
		mems_init();
		round_trip(100 + 300 * (i % 3), i % 4 == 3 ? 30000 : 600);
	}
}

/* Blocks of megabytes, whose live bits are told for groups of leaves, and of regions. */
static void large_blocks_come_back(void **state)
{
	(void)state;
	heap_fill(50, 100000);
	const uintptr_t large = take(9 * MIB);
	const uintptr_t largest = take(100 * MIB);
	char *text = printed_text();
	assert_int_equal(mems_save(path), 0);
	struct stat about;
	assert_int_equal(stat(path, &about), 0);
	assert_in_range(about.st_size, 0, 10 * MIB); /* what was never written to is left out */
	mems_finish();
	assert_int_equal(mems_load(path, 0), 0);
	assert_sound();
	char *again = printed_text();
	assert_string_equal(again, text);
	assert_non_null(mems_get_range(at(largest), 100 * MIB));
	assert_null(mems_get_range(at(largest), 100 * MIB + 1));
	const unsigned char *bytes = mems_get(at(large));
	for (size_t i = 0; i < 9 * MIB; i += 999)
		assert_int_equal(bytes[i], 0);
	free(text);
	free(again);
}

/* Chains of several pieces, so that some piece ends with the first of two words. */
static void long_chains_come_back(void **state)
{
	(void)state;
	for (size_t gaps = 0; gaps < 2; gaps++) {
		mems_finish();
		assert_int_equal(mems_option(MEMS_ALIGNMENT, gaps == 0 ? 1 : 8), 0);
		mems_init();
		for (size_t i = 0; i < gaps; i++)
			take(2 * PAGE);
		for (size_t i = 0; i < (gaps == 0 ? 400000 : 200000); i++) {
			const uintptr_t block = take(24 + i % 50);
			*(unsigned char *)mems_get(at(block)) = 1;
			if (i % 50 == 49)
				give_back(block);
		}
		char *text = printed_text();
		assert_int_equal(mems_save(path), 0);
		mems_finish();
		assert_int_equal(mems_load(path, MEMS_MAP), 0);
		assert_sound();
		char *again = printed_text();
		assert_string_equal(again, text);
		free(text);
		free(again);
	}
}

/* A heap that is loaded and saved gives the same file, and what was freed is not in it. */
static void the_same_heap_gives_the_same_file(void **state)
{
	size_t size, other_size;
	(void)state;
	blocks.random = 7;
	heap_fill(800, 900);
	const uintptr_t secret = take(300);
	memset(mems_get(at(secret)), 0xA7, 300);
	give_back(secret);
	assert_int_equal(mems_save(path), 0);
	mems_finish();
	assert_int_equal(mems_load(path, MEMS_MAP), 0);
	assert_int_equal(mems_save(other_path), 0);
	uint8_t *one = file_read(path, &size);
	uint8_t *other = file_read(other_path, &other_size);
	assert_int_equal(size, other_size);
	assert_memory_equal(one, other, size);
	for (size_t i = 0; i + 8 <= size; i++)
		assert_false(memcmp(one + i, "\xA7\xA7\xA7\xA7\xA7\xA7\xA7\xA7", 8) == 0);
	free(one);
	free(other);
}

static void an_empty_heap_is_kept_too(void **state)
{
	(void)state;
	assert_int_equal(mems_save(path), 0);
	mems_finish();
	assert_succeeds(mems_load(path, 0) == 0);
	assert_chain("");
	assert_null(mems_root());
	assert_int_equal(mems_record(stderr), 0);
	assert_int_equal(mems_record(NULL), 0);
	assert_int_equal(take(10), 1000);
	assert_sound();
}

/* A limit of less than a page: such a heap is empty for ever. */
static void a_heap_without_room_for_a_page_is_kept_too(void **state)
{
	(void)state;
	mems_finish();
	for (size_t limit = 0; limit <= 100; limit += 100) {
		assert_int_equal(mems_option(MEMS_LIMIT, limit), 0);
		mems_init();
		assert_int_equal(mems_save(path), 0);
		mems_finish();
		assert_int_equal(mems_option(MEMS_LIMIT, 100), 0);
		assert_succeeds(mems_load(path, 0) == 0);
		assert_chain("");
		assert_fails(ENOMEM, mems_malloc(1) == NULL);
		assert_sound();
		mems_finish();
		assert_int_equal(mems_option(MEMS_LIMIT, 0), 0);
		assert_succeeds(mems_load(path, MEMS_MAP) == 0); /* the limit of the image applies */
		assert_true((mems_malloc(1) == NULL) == (limit != 0));
		assert_sound();
		mems_finish();
	}
}

/* A block of so many granules behind a HOLE of others, at the begin of a node, and perhaps a block
 * behind it: it is what was saved. */
static void comes_back(size_t hole, size_t size, bool is_followed)
{
	mems_init();
	const uintptr_t gone = hole != 0 ? take(8 * hole) : 0;
	const uintptr_t block = take(8 * size);
	if (is_followed)
		take(8);
	mems_free(at(gone));
	assert_int_equal(mems_set_root(at(block)), 0);
	char *before = printed_text();
	assert_int_equal(mems_save(path), 0);
	mems_finish();
	for (unsigned flags = 0; flags <= MEMS_MAP; flags++) {
		assert_succeeds(mems_load(path, flags) == 0);
		assert_sound();
		char *after = printed_text();
		assert_string_equal(after, before);
		assert_ptr_equal(mems_root(), at(block));
		free(after);
		mems_finish();
	}
	free(before);
}

/* Wherever the first blocks of a node begin and end, in the words of its first leaf and the next one. */
static void the_first_leaf_of_a_node_comes_back(void **state)
{
	(void)state;
	mems_finish();
	for (size_t hole = 0; hole <= 65; hole++)
		for (size_t size = 1; size <= 3; size++)
			for (unsigned is_followed = 0; is_followed < 2; is_followed++)
				comes_back(hole, size, is_followed != 0);
}

/* ---- The format, by the letter of mems-image(5) ------------------------------------------ */

/* Where in the chains the next segment is looked for. */
struct decoded {
	const uint8_t *image;
	size_t first_word; /* of the chains */
	size_t leaf, word; /* the next ones */
	uint64_t holes, processes; /* of the leaf before: starts that were not met yet */
	bool begins_node;          /* the first of them does */
	size_t segments;
};

/* Takes the next word, or two, apart. */
static void chains_decode(struct decoded *decoded)
{
	const uint64_t word = image_word(decoded->image, decoded->first_word + decoded->word++);
	if (word >> 62 == 3 && word << 2 >> 9 != 0) {
		decoded->leaf += (size_t)(word << 2 >> 10);
		if ((word >> 7 & 1) == 0)
			return;
		decoded->leaf++;
		decoded->holes = UINT64_C(1) << (word & 63);
		decoded->begins_node = (word >> 6 & 1) != 0;
		return;
	}
	decoded->processes = image_word(decoded->image, decoded->first_word + decoded->word++);
	assert_true(decoded->processes != 0);
	decoded->holes = word & ~decoded->processes;
	decoded->begins_node = (word & decoded->processes) != 0;
	if (decoded->begins_node)
		assert_true((word & decoded->processes) == (decoded->processes & -decoded->processes));
	decoded->leaf++;
}

/* The next start in the chains is that of this segment. */
static int segment_is_decoded(const struct mems_segment *segment, void *context)
{
	struct decoded *decoded = context;
	const uint8_t *image = decoded->image;
	const size_t alignment = (size_t)image_word(image, IMAGE_ALIGNMENT);
	const size_t start = (size_t)image_word(image, IMAGE_START);
	size_t leaf = decoded->leaf - 1;
	if ((decoded->holes | decoded->processes) == 0)
		do {
			leaf = decoded->leaf;
			chains_decode(decoded);
		} while ((decoded->holes | decoded->processes) == 0);
	const uint64_t starts = decoded->holes | decoded->processes;
	const uint64_t bit = starts & -starts;
	const size_t granule = leaf * 64 + (size_t)__builtin_ctzll(bit);
	assert_int_equal(segment->start, start + granule * alignment);
	assert_int_equal((decoded->processes & bit) != 0, segment->type == MEMS_PROCESS);
	assert_int_equal(decoded->begins_node, segment->start == segment->node_start);
	decoded->begins_node = false;
	decoded->holes &= ~bit;
	decoded->processes &= ~bit;
	decoded->segments++;
	return 0;
}

enum { MOST_PAGES = 1024 };

static bool used_pages[MOST_PAGES];

/* Where the segment lies is used, if it is a PROCESS. */
static int note_used_pages(const struct mems_segment *segment, void *context)
{
	(void)context;
	if (segment->start == 1000)
		memset(used_pages, 0, sizeof used_pages);
	assert_in_range((segment->end - 1000) / PAGE, 0, MOST_PAGES - 1);
	for (size_t page = (segment->start - 1000) / PAGE; page <= (segment->end - 1000) / PAGE; page++)
		used_pages[page] = used_pages[page] || segment->type == MEMS_PROCESS;
	return 0;
}

static size_t pages_count(const bool *pages)
{
	size_t count = 0;
	for (size_t page = 0; page < MOST_PAGES; page++)
		count += pages[page];
	return count;
}

/* Of the pages that are used, those with a bit follow one another after the tables, and others are zero.
 * What lies in HOLEs is. */
static void contents_are_decoded(const uint8_t *image, size_t used)
{
	const uint8_t *contents = image + image_contents(image, SIZE_MAX / 2);
	size_t index = 0, stored = 0;
	for (size_t page = 0; page < MOST_PAGES && index < used; page++) {
		if (!used_pages[page])
			continue;
		const uint64_t word = image_word(image, IMAGE_HEADER_WORDS + index / 64);
		const bool is_stored = (word >> (index % 64) & 1) != 0;
		for (size_t i = 0; i < PAGE; i++) {
			const uint8_t *byte = mems_get(at(1000 + page * PAGE + i));
			assert_int_equal(is_stored ? contents[i] : 0, byte == NULL ? 0 : *byte);
		}
		contents += is_stored ? PAGE : 0;
		stored += is_stored;
		index++;
	}
	assert_in_range(stored, 1, used - 1);
	assert_int_equal(stored, image_word(image, IMAGE_STORED_PAGES));
}

static void an_image_is_what_the_manual_says(void **state)
{
	size_t size;
	uint8_t name[16];
	(void)state;
	blocks.random = 3;
	heap_fill(900, 2000);
	take(900000);
	assert_int_equal(mems_save(path), 0);
	uint8_t *image = file_read(path, &size);
	image_name(name);
	assert_memory_equal(image, name, 16);
	assert_int_equal(image_word(image, IMAGE_POLICY), policy_under_test());
	assert_int_equal(image_word(image, IMAGE_START), 1000);
	assert_int_equal(image_word(image, IMAGE_ROOT), blocks.start[0]);
	assert_int_equal(image_word(image, IMAGE_PAGES), stats_now().pages);
	assert_int_equal(image_size(image, SIZE_MAX / 2), size);
	uint8_t *sealed = malloc(size);
	assert_non_null(sealed);
	memcpy(sealed, image, size);
	image_seal(sealed, size);
	assert_memory_equal(sealed, image, size);
	mems_walk(note_used_pages, NULL);
	const size_t used = pages_count(used_pages);
	assert_int_equal(image_word(image, IMAGE_USED_PAGES), used);
	struct decoded decoded = {.image = image, .first_word = IMAGE_HEADER_WORDS + (used + 63) / 64};
	mems_walk(segment_is_decoded, &decoded);
	assert_int_equal(decoded.word, image_word(image, IMAGE_CHAIN_WORDS));
	contents_are_decoded(image, used);
	free(sealed);
	free(image);
}

static void the_checksum_is_fletchers(void **state)
{
	uint64_t sum[2] = {0, 0};
	(void)state;
	image_sum((const uint8_t *)"abcdefgh", 8, sum);
	assert_true(sum[0] == 0x64636261 + UINT64_C(0x68676665));
	assert_true(sum[1] == 0x64636261 + sum[0]);
}

/* ---- What is refused --------------------------------------------------------------------- */

/* An image of few pages, and no heap. */
static uint8_t *small_image(size_t *size)
{
	blocks.random = 5;
	heap_fill(60, 200);
	assert_int_equal(mems_save(path), 0);
	mems_finish();
	return file_read(path, size);
}

static void any_bit_that_is_changed_is_noticed(void **state)
{
	size_t size;
	(void)state;
	uint8_t *image = small_image(&size);
	const size_t contents = image_contents(image, SIZE_MAX / 2);
	const size_t tables = IMAGE_HEADER_BYTES + 8 + 8 * (size_t)image_word(image, IMAGE_CHAIN_WORDS);
	const int file = open(path, O_WRONLY);
	const size_t maps = mappings("");
	for (size_t bit = 0; bit < 8 * size; bit += bit < 8 * tables ? 1 : 8 * 61 + 1) {
		image[bit / 8] ^= (uint8_t)(1 << bit % 8);
		assert_int_equal(pwrite(file, image + bit / 8, 1, (off_t)(bit / 8)), 1);
		assert_fails(EBADMSG, mems_load(path, 0) == -1);
		if (bit / 8 < contents)
			assert_fails(EBADMSG, mems_load(path, MEMS_MAP) == -1);
		image[bit / 8] ^= (uint8_t)(1 << bit % 8);
		assert_int_equal(pwrite(file, image + bit / 8, 1, (off_t)(bit / 8)), 1);
	}
	close(file);
	assert_refused_nowhere(maps);
	assert_int_equal(mems_load(path, 0), 0);
	free(image);
}

static void a_file_of_another_length_is_refused(void **state)
{
	size_t size;
	(void)state;
	uint8_t *image = small_image(&size);
	image[size] = 0;
	refuse(EBADMSG, image, size + 1);
	file_write(path, image, size);
	const size_t maps = mappings("");
	for (size_t length = size; length-- > 0;) {
		assert_int_equal(truncate(path, (off_t)length), 0);
		assert_fails(EBADMSG, mems_load(path, 0) == -1);
		assert_fails(EBADMSG, mems_load(path, MEMS_MAP) == -1);
	}
	assert_refused_nowhere(maps);
	refuse(EBADMSG, image, 0);
	free(image);
}

static void noise_is_refused(void **state)
{
	static uint8_t noise[3 * PAGE];
	uint64_t random = (uint64_t)time(NULL);
	(void)state;
	printf("seed %llu\n", (unsigned long long)random);
	mems_finish();
	for (size_t round = 0; round < 200; round++) {
		for (size_t i = 0; i < sizeof noise; i++)
			noise[i] = (uint8_t)random_next(&random);
		if (round % 2 != 0) {
			image_name(noise);
			image_seal(noise, IMAGE_HEADER_BYTES);
		}
		refuse(EBADMSG, noise, 1 + random_below(&random, sizeof noise));
	}
}

/* Loads what is sound, uses it, and ends it. */
static void use_or_refuse(void)
{
	if (mems_load(path, 0) != 0) {
		assert_true(errno == EBADMSG || errno == ENOTSUP || errno == ENOMEM);
		return;
	}
	assert_sound();
	mems_free(mems_root());
	assert_true(mems_malloc(40) != NULL || errno == ENOMEM);
	assert_true(mems_calloc(1, 5000) != NULL || errno == ENOMEM);
	assert_sound();
	mems_finish();
}

/* Few bits changed, and checksums that are right all the same. */
static void made_up_images_are_refused_or_sound(void **state)
{
	size_t size;
	uint64_t random = (uint64_t)time(NULL);
	(void)state;
	printf("seed %llu\n", (unsigned long long)random);
	uint8_t *image = small_image(&size);
	uint8_t *made_up = malloc(size);
	assert_non_null(made_up);
	assert_int_equal(mems_option(MEMS_LIMIT, 64 * MIB), 0); /* checking a huge heap takes long */
	const size_t tables = IMAGE_HEADER_BYTES + 8 + 8 * (size_t)image_word(image, IMAGE_CHAIN_WORDS);
	for (size_t round = 0; round < 1500; round++) {
		memcpy(made_up, image, size);
		for (size_t i = 0; i <= round % 3; i++)
			made_up[random_below(&random, tables)] ^= (uint8_t)(1 << random_below(&random, 8));
		image_seal(made_up, size);
		file_write(path, made_up, size);
		use_or_refuse();
	}
	free(made_up);
	free(image);
}

struct change {
	size_t word;
	uint64_t value;
	int error;
};

static void images_of_other_machines_are_not_for_this_one(void **state)
{
	size_t size;
	(void)state;
	uint8_t *image = small_image(&size);
	const uint64_t kind = image_word(image, IMAGE_KIND);
	const uint64_t start = image_word(image, IMAGE_START);
	const struct change changes[] = {
		{IMAGE_MAGIC, image_word(image, IMAGE_MAGIC) + 1, EBADMSG},
		{IMAGE_KIND, kind + 1, ENOTSUP},
		{IMAGE_KIND, kind ^ UINT64_C(3) << 32, ENOTSUP},
		{IMAGE_KIND, kind ^ UINT64_C(12) << 40, ENOTSUP},
		{IMAGE_KIND, kind | UINT64_C(1) << 63, ENOTSUP},
		{IMAGE_POLICY, 2, EBADMSG},
		{IMAGE_ALIGNMENT, 3, EBADMSG},
		{IMAGE_ALIGNMENT, 0, EBADMSG},
		{IMAGE_ALIGNMENT, 128, EBADMSG},
		{IMAGE_START, 0, EBADMSG},
		{IMAGE_START, UINT64_C(1) << 32, EBADMSG},
		{IMAGE_START, start + 1, EBADMSG}, /* the root is no block then */
		{IMAGE_PAGE_SIZE, 2048, EBADMSG},
		{IMAGE_PAGE_SIZE, 4097, EBADMSG},
		{IMAGE_PAGE_SIZE, UINT64_C(1) << 32, EBADMSG},
		{IMAGE_PAGE_SIZE, UINT64_C(4) << 20, EBADMSG},
		{IMAGE_LIMIT, 4096, EBADMSG},
		{IMAGE_ROOT, start + 1, EBADMSG},
		{IMAGE_ROOT, UINT64_MAX - 7, EBADMSG},
		{IMAGE_ROOT, 1, EBADMSG},
		{IMAGE_PAGES, 0, EBADMSG},
		{IMAGE_PAGES, UINT64_MAX, EBADMSG},
		{IMAGE_PAGES, UINT64_C(1) << 32, EBADMSG},
		{IMAGE_USED_PAGES, UINT64_MAX, EBADMSG},
		{IMAGE_USED_PAGES, image_word(image, IMAGE_USED_PAGES) + 1, EBADMSG},
		{IMAGE_USED_PAGES, image_word(image, IMAGE_USED_PAGES) - 1, EBADMSG},
		{IMAGE_CHAIN_WORDS, UINT64_MAX, EBADMSG},
		{IMAGE_CHAIN_WORDS, 0, EBADMSG},
		{IMAGE_STORED_PAGES, UINT64_MAX, EBADMSG},
		{IMAGE_STORED_PAGES, UINT64_C(1) << 52, EBADMSG},
	};
	for (size_t i = 0; i < sizeof changes / sizeof changes[0]; i++) {
		const uint64_t before = image_word(image, changes[i].word);
		image_word_put(image, changes[i].word, changes[i].value);
		image_seal(image, size);
		refuse(changes[i].error, image, size);
		image_word_put(image, changes[i].word, before);
	}
	image_seal(image, size);
	file_write(path, image, size);
	assert_int_equal(mems_load(path, 0), 0);
	free(image);
}

/* Of more pages than the heap has some cannot be used, and there is no room to read that. */
static void tables_of_more_pages_than_there_are_are_refused(void **state)
{
	const size_t words = MIB;
	size_t size;
	(void)state;
	uint8_t *image = small_image(&size);
	const size_t tables = image_contents(image, SIZE_MAX / 2), larger = size + 8 * words;
	uint8_t *longer = calloc(1, larger);
	assert_non_null(longer);
	memcpy(longer, image, tables);
	memcpy(longer + tables + 8 * words, image + tables, size - tables);
	image_word_put(longer, IMAGE_USED_PAGES, 64 * (words + 1));
	image_seal(longer, larger);
	assert_int_equal(image_size(longer, SIZE_MAX / 2), larger);
	refuse(EBADMSG, longer, larger);
	free(longer);
	free(image);
}

/* In a child: how much the most is, in KiB, that it has had in memory, more than before. */
static int refuses_in_child(void *context)
{
	struct rusage before, after;
	(void)context;
	getrusage(RUSAGE_SELF, &before);
	const bool is_refused = mems_load(path, 0) == -1 && errno == EBADMSG;
	getrusage(RUSAGE_SELF, &after);
	return !is_refused ? 1 : after.ru_maxrss - before.ru_maxrss > 8 * 1024 ? 2 : 0;
}

/* Times 8 it is what it was: so the size of the file is right. Tables that are as full as this would
 * be made would take 32 MiB. */
static void a_count_of_words_that_overflows_costs_no_memory(void **state)
{
	size_t size;
	(void)state;
	uint8_t *image = small_image(&size);
	const uint64_t words = image_word(image, IMAGE_CHAIN_WORDS);
	image_word_put(image, IMAGE_PAGES, 1 << 18);
	image_word_put(image, IMAGE_CHAIN_WORDS, words + (UINT64_C(1) << 61));
	image_seal(image, size);
	file_write(path, image, size);
	assert_int_equal(status_of_child(refuses_in_child, NULL), 0);
	free(image);
}

enum { TABLE_WORDS = 8 };

/* A word that stands for leaves without a start, after one that has just that of a HOLE, or not. */
#define RUN(leaves) (UINT64_C(3) << 62 | (uint64_t)(leaves) << 8)
#define LONE_HOLE(granule, leaves) (RUN(leaves) | 1 << 7 | (granule))
#define NODE (1 << 6)

/* The image with these tables: a word of stored pages, and so many of chains. */
static void tables_put(uint8_t *image, size_t size, size_t chain_words,
                       const uint64_t tables[TABLE_WORDS])
{
	image_word_put(image, IMAGE_CHAIN_WORDS, chain_words);
	memset(image + IMAGE_HEADER_BYTES, 0, 64 * sizeof(uint64_t));
	memcpy(image + IMAGE_HEADER_BYTES, tables, TABLE_WORDS * sizeof(uint64_t));
	image_seal(image, size);
}

static bool tables_load(const uint8_t *image, size_t size)
{
	file_write(path, image, size);
	if (mems_load(path, 0) != 0)
		return false;
	assert_sound();
	mems_finish();
	return true;
}

/* The checksums are right, and the header; but no heap has such tables. A heap of some pages that is
 * one node with a block, and a second one in the last leaf. */
static void tables_that_no_heap_has_are_refused(void **state)
{
	size_t size;
	uint64_t all;
	(void)state;
	uint8_t *image = small_image(&size);
	const size_t stored = (size_t)image_word(image, IMAGE_STORED_PAGES);
	const uint64_t end = stored * (PAGE / 8 / 64); /* of the second block, in leaves */
	const uint64_t rest = 2 * (PAGE / 8 / 64);     /* leaves after it */
	memcpy(&all, image + IMAGE_HEADER_BYTES, 8);
	assert_int_equal(stored, image_word(image, IMAGE_USED_PAGES));
	image_word_put(image, IMAGE_PAGES, stored + 2);
	image_word_put(image, IMAGE_ROOT, image_word(image, IMAGE_START));
	const struct {
		size_t chain_words;
		uint64_t tables[TABLE_WORDS];
		bool is_sound;
	} cases[] = {
		{6, {all, 1, 1, RUN(end - 2), 0, 1, LONE_HOLE(0, rest - 1)}, true},
		{6, {all, 1, 1, RUN(end - 2), 0, 1, LONE_HOLE(0, 0)}, true},
		{7, {all, 1, 1, RUN(end - 2), 0, 1, LONE_HOLE(0, 7), LONE_HOLE(0, 0) | NODE}, true},
		{7, {all, 1, 1, RUN(7), 0, 2, RUN(end - 9), LONE_HOLE(0, 0)}, true},
		{7, {all, 1, 1, RUN(7), 2, 2, RUN(end - 9), LONE_HOLE(0, 0)}, false}, /* a node in a block */
		{5, {all, 1, 1, RUN(end - 2), 0, 1}, false},                          /* more pages are used */
		{6, {all ^ 1, 1, 1, RUN(end - 2), 0, 1, LONE_HOLE(0, 0)}, false},     /* one is not stored */
		{6, {all, 0, 1, RUN(end - 2), 0, 1, LONE_HOLE(0, 0)}, false},         /* no first node */
		{7, {all, RUN(1), 1, 1, RUN(end - 3), 0, 1, LONE_HOLE(0, 0)}, false}, /* nor segment */
		{6, {all, 1, 1, RUN(end - 2), 1, 1, LONE_HOLE(0, 0)}, false},         /* a node in a page */
		{7, {all, 1, 1, RUN(end - 2), 0, 1, LONE_HOLE(0, 7), LONE_HOLE(1, 0) | NODE}, false},
		{7, {all, 1, 1, RUN(end - 2), 0, 1, LONE_HOLE(0, 6), LONE_HOLE(0, 0) | NODE}, false},
		{6, {all, 1, 1, RUN(end - 2), 0, 1, LONE_HOLE(0, rest)}, false}, /* beyond top */
		{6, {all, 1, 1, RUN(end - 2), 0, 1, RUN(UINT64_MAX >> 10)}, false},
		{7, {all, 1, 1, RUN(end - 2), 0, 1, LONE_HOLE(0, rest - 1), LONE_HOLE(0, 0)}, false},
		{6, {all, 1, 1, RUN(end - 2), 0, 1, 1}, false},                        /* half of two words */
		{7, {all, 1, 1, RUN(end - 2), 0, 1, LONE_HOLE(0, 1), 1}, false},
		{7, {all, 1, 1, RUN(end - 2), 0, 1, 0, 0}, false},                     /* a leaf without a start */
		{7, {all, 1, 1, RUN(end - 2), 0, 1, LONE_HOLE(5, 0), LONE_HOLE(5, 0)}, false}, /* two HOLEs */
		{7, {all, 1, 1, RUN(end - 2), 0, 1, LONE_HOLE(0, 0), LONE_HOLE(0, 0)}, false},
		{6, {all, 1, 1, RUN(end - 2), 6, 1, LONE_HOLE(0, 0)}, false},
	};
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		tables_put(image, size, cases[i].chain_words, cases[i].tables);
		if (cases[i].is_sound)
			assert_true(tables_load(image, size));
		else
			refuse(EBADMSG, image, size);
	}
	free(image);
}

static void an_image_never_lifts_the_limit_of_this_run(void **state)
{
	(void)state;
	take(20 * PAGE);
	assert_int_equal(mems_save(path), 0);
	const size_t too_few[] = {8, stats_now().pages - 1};
	mems_finish();
	for (size_t i = 0; i < 2; i++) {
		assert_int_equal(mems_option(MEMS_LIMIT, too_few[i] * PAGE), 0);
		assert_refused_as(ENOMEM, 0);
		assert_refused_as(ENOMEM, MEMS_MAP);
	}
	assert_int_equal(mems_option(MEMS_LIMIT, 50 * PAGE), 0);
	assert_int_equal(mems_load(path, 0), 0);
	assert_fails(ENOMEM, mems_malloc(40 * PAGE) == NULL);
	assert_sound();
	mems_finish();
	assert_int_equal(mems_option(MEMS_LIMIT, 0), 0);
	assert_int_equal(mems_load(path, 0), 0);
	assert_non_null(mems_malloc(40 * PAGE));
}

/* Those of the image, until mems_finish; then those of mems_option. */
static void options_of_the_image_are_in_force(void **state)
{
	(void)state;
	mems_finish();
	assert_int_equal(mems_option(MEMS_ALIGNMENT, 64), 0);
	assert_int_equal(mems_option(MEMS_START_ADDRESS, 4096), 0);
	mems_init();
	take(1);
	assert_int_equal(mems_save(path), 0);
	mems_finish();
	options_reset();
	assert_int_equal(mems_option(MEMS_POLICY, policy_under_test()), 0);
	assert_int_equal(mems_load(path, 0), 0);
	assert_int_equal(take(1), 4096 + 64);
	assert_sound();
	assert_fails(EBUSY, mems_option(MEMS_ALIGNMENT, 8) == -1);
	mems_finish();
	mems_init();
	assert_int_equal(take(1), 1000);
	assert_int_equal(mems_usable_size(at(1000)), 8);
}

static int visit_save(const struct mems_segment *segment, void *context)
{
	(void)segment;
	(void)context;
	assert_fails(EBUSY, mems_save(path) == -1);
	assert_fails(EBUSY, mems_save(NULL) == -1);
	assert_fails(EBUSY, mems_load(path, 0) == -1);
	assert_fails(EINVAL, mems_load(path, 2) == -1);
	assert_fails(EBUSY, mems_set_root(NULL) == -1);
	assert_fails(EINVAL, mems_set_root(at(1001)) == -1);
	assert_int_equal((uintptr_t)mems_root(), 1000);
	return 1;
}

static void errors_come_in_their_order(void **state)
{
	static char long_path[5000];
	(void)state;
	take(10);
	assert_int_equal(mems_set_root(at(1000)), 0);
	assert_int_equal(mems_walk(visit_save, NULL), 1);
	assert_int_equal(access(path, F_OK), -1);
	assert_succeeds(mems_save(path) == 0);
	assert_fails(EBUSY, mems_load(path, 0) == -1);
	assert_fails(ENOENT, mems_save("/tmp/there is no such folder/image") == -1);
	memset(long_path, 'x', sizeof long_path - 1);
	assert_fails(ENAMETOOLONG, mems_save(long_path) == -1);
	assert_fails(EFAULT, mems_save(NULL) == -1);
	assert_fails(EBUSY, mems_load(NULL, 0) == -1);
	assert_fails(EINVAL, mems_load(path, 2) == -1);
	mems_finish();
	assert_fails(EPERM, mems_save(path) == -1);
	assert_fails(EPERM, mems_save(NULL) == -1);
	assert_fails(EFAULT, mems_load(NULL, 0) == -1);
	assert_fails(EINVAL, mems_load(NULL, 2) == -1);
	assert_fails(EINVAL, mems_load(path, 2) == -1);
	assert_fails(EINVAL, mems_load(path, MEMS_MAP | 0x80000000u) == -1);
	assert_fails(ENOENT, mems_load("/tmp/there is no such image", 0) == -1);
	assert_fails(EISDIR, mems_load("/tmp", 0) == -1);
	assert_succeeds(mems_load(path, 0) == 0);
	assert_fails(EBUSY, mems_record(stderr) == -1);
}

/* Whoever could not read the image that is replaced cannot read the new one. */
static void a_new_file_has_the_rights_of_the_old_one(void **state)
{
	const mode_t rights[] = { 0640 /* those that umask leaves */, 0600, 0664, 04777 };
	const mode_t mask = umask(027);
	struct stat file;
	(void)state;
	take(100);
	unlink(path);
	for (unsigned i = 0; i < 4; i++) {
		assert_true(i == 0 || chmod(path, rights[i]) == 0);
		assert_int_equal(mems_save(path), 0);
		assert_int_equal(stat(path, &file), 0);
		assert_int_equal(file.st_mode & 07777, rights[i] & 0777);
	}
	umask(mask);
}

/* A pipe, into which nobody writes, is no image; nothing waits for one. */
static void a_pipe_is_refused_at_once(void **state)
{
	(void)state;
	mems_finish();
	assert_int_equal(mkfifo(path, 0600), 0);
	alarm(60);
	assert_fails(ESPIPE, mems_load(path, 0) == -1);
	alarm(0);
}

/* As long as a path can be, which leaves no room for a longer one beside it. */
static void the_longest_path_will_do(void **state)
{
	char longest[PATH_MAX];
	size_t length = (size_t)snprintf(longest, sizeof longest, "/tmp/test_images-%ld", (long)getpid());
	(void)state;
	take(10);
	while (length < PATH_MAX - 3) {
		assert_int_equal(mkdir(longest, 0777), 0);
		const size_t left = PATH_MAX - 3 - length;
		const size_t more = left > 200 + 2 ? 200 : left;
		longest[length] = '/';
		memset(longest + length + 1, 'x', more - 1);
		longest[length += more] = '\0';
	}
	assert_int_equal(mkdir(longest, 0777), 0);
	memcpy(longest + length, "/i", sizeof "/i");
	assert_int_equal(strlen(longest), PATH_MAX - 1);
	assert_succeeds(mems_save(longest) == 0);
	mems_finish();
	assert_succeeds(mems_load(longest, 0) == 0);
	assert_int_equal(mems_usable_size(at(1000)), 16);
	assert_int_equal(unlink(longest), 0);
	for (char *slash; (slash = strrchr(longest, '/')) > longest + strlen("/tmp");) {
		*slash = '\0';
		assert_int_equal(rmdir(longest), 0);
	}
}

/* ---- The root ---------------------------------------------------------------------------- */

static void the_root_is_a_live_block_or_none(void **state)
{
	(void)state;
	assert_null(mems_root());
	const uintptr_t one = take(100);
	const uintptr_t two = take(100);
	assert_succeeds(mems_set_root(at(two)) == 0);
	assert_int_equal((uintptr_t)mems_root(), two);
	assert_fails(EINVAL, mems_set_root(at(two + 8)) == -1);
	assert_report(two + 8, "mems_set_root(1112): inside PROCESS[1104:1207]");
	assert_fails(EINVAL, mems_set_root(at(424242)) == -1);
	assert_report(424242, "mems_set_root(424242): outside the heap");
	assert_int_equal((uintptr_t)mems_root(), two);
	give_back(one);
	assert_int_equal((uintptr_t)mems_root(), two);
	assert_succeeds(mems_set_root(NULL) == 0);
	assert_null(mems_root());
	mems_finish();
	assert_null(mems_root());
	reports_clear();
	assert_succeeds(mems_set_root(NULL) == 0);
	assert_fails(EINVAL, mems_set_root(at(5)) == -1);
	assert_report(5, "mems_set_root(5): there is no heap, mems_init is missing");
	mems_init();
	assert_null(mems_root());
}

/* Of any size, whichever way it is freed; the same address for another block is no root. */
static void a_freed_root_stays_freed(void **state)
{
	static const size_t sizes[] = {8, 24, 200, 600, 5000, 100000};
	(void)state;
	for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
		take(sizes[i]);
		const uintptr_t block = take(sizes[i]);
		take(sizes[i]);
		assert_int_equal(mems_set_root(at(block)), 0);
		give_back(block);
		assert_int_equal(take(sizes[i]), block);
		assert_null(mems_root());
	}
}

static void a_root_that_moves_stays_the_root(void **state)
{
	(void)state;
	uintptr_t block = take(100);
	take(100);
	assert_int_equal(mems_set_root(at(block)), 0);
	for (size_t size = 50; size < 3 * MIB; size = size * 3 + 8) {
		block = address_of(mems_realloc(at(block), size));
		assert_int_equal((uintptr_t)mems_root(), block);
		take(16);
	}
	assert_fails(ENOMEM, mems_realloc(at(block), SIZE_MAX / 2) == NULL);
	assert_int_equal((uintptr_t)mems_root(), block);
	assert_non_null(mems_realloc(at(block), 20));
	assert_int_equal((uintptr_t)mems_root(), block);
	assert_int_equal(mems_save(path), 0);
	mems_finish();
	assert_int_equal(mems_load(path, 0), 0);
	assert_int_equal((uintptr_t)mems_root(), block);
}

/* ---- Mapped contents --------------------------------------------------------------------- */

/* The system forgets what it has in memory of the file, so that a page that is mapped from it once
 * more looks as one that is not in memory. */
static void file_forget(void)
{
	const int file = open(path, O_RDONLY | O_CLOEXEC);
	assert_true(file >= 0);
	assert_int_equal(posix_fadvise(file, 0, 0, POSIX_FADV_DONTNEED), 0);
	close(file);
}

/* Everything that a program can do with pages leaves the file as it is; and what it gives back does
 * not come back with the bytes of the file. */
static void mapped_pages_that_go_back_are_zero(void **state)
{
	enum { LARGE = 12 << 20 };
	size_t size, size_after;
	(void)state;
	const uintptr_t large = take(LARGE);
	const uintptr_t small = take(300);
	const uintptr_t other = take(LARGE);
	memset(mems_get(at(large)), 0x33, LARGE);
	memset(mems_get(at(other)), 0x44, LARGE);
	assert_int_equal(mems_save(path), 0);
	mems_finish();
	uint8_t *before = file_read(path, &size);
	assert_int_equal(mems_load(path, MEMS_MAP), 0);
	if (!ADDRESS_SANITIZER && !is_run_by_another())
		assert_true(mappings("test_images-") >= 1);
	memset(mems_get(at(large)), 0x66, LARGE / 2);
	const uintptr_t moved = address_of(mems_realloc(at(other), 3 * (size_t)LARGE));
	assert_int_equal(*(unsigned char *)mems_get(at(moved + LARGE - 1)), 0x44);
	give_back(large);
	assert_sound();
	file_forget();
	for (size_t round = 0; round < 3; round++) {
		const size_t bytes = LARGE >> round;
		void *block = mems_calloc(1, bytes);
		const unsigned char *at_block = mems_get(block);
		for (size_t i = 0; i < bytes; i += 8)
			assert_int_equal(at_block[i], 0);
		assert_sound();
		memset(mems_get(block), 0x77, bytes);
		mems_free(block);
		if (round == 1)
			mems_trim();
	}
	assert_sound();
	give_back(small);
	uint8_t *after = file_read(path, &size_after);
	assert_int_equal(size_after, size);
	assert_memory_equal(after, before, size);
	free(before);
	free(after);
}

/* Of a block that begins and ends within pages that are not in memory, these parts alone are zeroed. */
static void parts_of_mapped_pages_are_zeroed(void **state)
{
	enum { SIZE = 30 * 4096, SMALL = 104 };
	(void)state;
	give_back(take(2 * SIZE)); /* in one node */
	const uintptr_t before = take(SMALL), block = take(SIZE), after = take(SMALL);
	assert_int_equal(block, before + SMALL);
	memset(mems_get(at(before)), 0x11, SMALL);
	memset(mems_get(at(block)), 0x22, SIZE);
	memset(mems_get(at(after)), 0x33, SMALL);
	assert_int_equal(mems_save(path), 0);
	mems_finish();
	assert_int_equal(mems_load(path, MEMS_MAP), 0);
	file_forget();
	give_back(block);
	assert_int_equal(address_of(mems_calloc(1, SIZE)), block);
	for (size_t i = 0; i < SIZE; i++)
		assert_int_equal(*(char *)mems_get(at(block + i)), 0);
	for (size_t i = 0; i < SMALL; i++) {
		assert_int_equal(*(char *)mems_get(at(before + i)), 0x11);
		assert_int_equal(*(char *)mems_get(at(after + i)), 0x33);
	}
	assert_sound();
}

/* A page as nodes have them comes as a whole: the OS pages in it that hold nothing may go. */
static void free_parts_of_loaded_pages_go_back(void **state)
{
	(void)state;
	for (unsigned flags = 0; flags <= MEMS_MAP; flags++) {
		mems_finish();
		assert_int_equal(mems_option(MEMS_PAGE_SIZE, 16 * PAGE), 0);
		mems_init();
		memset(mems_get(at(take(100))), 1, 100);
		assert_int_equal(mems_save(path), 0);
		mems_finish();
		assert_int_equal(mems_load(path, flags), 0);
		assert_int_equal(stats_now().resident_hole_bytes, 15 * PAGE);
		assert_sound();
		assert_int_equal(mems_trim(), 15 * PAGE);
		assert_int_equal(stats_now().resident_hole_bytes, 0);
		assert_sound();
	}
}

static int writes_in_child(void *context)
{
	unsigned char *byte = mems_get(context);
	const bool is_there = *byte == 0x21;
	memset(byte, 0x43, 5000);
	mems_free(context);
	return is_there && mems_check(stderr) == 0 ? 0 : 1;
}

static void a_mapped_heap_forks(void **state)
{
	(void)state;
	const uintptr_t block = take(5000);
	memset(mems_get(at(block)), 0x21, 5000);
	assert_int_equal(mems_save(path), 0);
	mems_finish();
	assert_int_equal(mems_load(path, MEMS_MAP), 0);
	assert_int_equal(status_of_child(writes_in_child, at(block)), 0);
	assert_int_equal(*(unsigned char *)mems_get(at(block + 4999)), 0x21);
	assert_sound();
}

/* A process may have some 65,000 mappings, and the program needs some of them: so in a large image not
 * each page that is given back is one. What takes such a page again does not find the file's bytes. */
static void pages_that_go_back_need_few_mappings(void **state)
{
	enum { PAGES = 2000 };
	static uintptr_t pages[PAGES];
	(void)state;
	if (is_run_by_another())
		skip();
	for (size_t i = 0; i < PAGES; i++) {
		pages[i] = take(PAGE);
		memset(mems_get(at(pages[i])), 0x55, PAGE);
	}
	const uintptr_t large = take(64 * MIB); /* most of which is not in the file */
	memset(mems_get(at(large + 64 * MIB - PAGE)), 0x55, PAGE);
	assert_int_equal(mems_save(path), 0);
	mems_finish();
	assert_int_equal(mems_load(path, MEMS_MAP), 0);
	assert_true(mappings("test_images-") >= 2);
	for (size_t i = 0; i < PAGES; i += 2)
		give_back(pages[i]);
	mems_trim();
	assert_int_equal(stats_now().resident_hole_bytes, 0);
	assert_in_range(mappings(""), 0, PAGES / 4);
	assert_sound();
	file_forget();
	for (size_t i = 0; i < PAGES; i += 2) {
		const uint64_t *words = mems_get(mems_calloc(1, PAGE));
		for (size_t word = 0; word < PAGE / 8; word++)
			assert_true(words[word] == 0);
	}
	give_back(pages[1]);
	assert_int_equal(*(unsigned char *)mems_get(at(pages[PAGES - 1])), 0x55);
	assert_sound();
}

/* More runs of pages than that are copied. */
static void there_are_a_thousand_mappings_at_most(void **state)
{
	(void)state;
	for (size_t count = 900; count <= 1100; count += 200) {
		mems_finish();
		mems_init();
		uintptr_t holes[1100];
		for (size_t i = 0; i < count; i++) {
			memset(mems_get(at(take(PAGE))), 1, PAGE);
			holes[i] = take(2 * PAGE);
		}
		for (size_t i = 0; i < count; i++)
			give_back(holes[i]);
		mems_trim();
		assert_int_equal(mems_save(path), 0);
		mems_finish();
		assert_int_equal(mems_load(path, MEMS_MAP), 0);
		assert_sound();
		if (!is_run_by_another())
			assert_in_range(mappings("test_images-"), count < 1000 ? 800 : 0,
			                count < 1000 ? 1000 : 0);
	}
}

/* Only what is touched has to be in memory. */
static void an_image_larger_than_memory_is_mapped(void **state)
{
	const size_t kib = status_kib("/proc/meminfo", "MemTotal:") +
	                   status_kib("/proc/meminfo", "SwapTotal:");
	const size_t page = 2 * MIB, pages = kib / (page / KIB) + 1, words = (pages + 63) / 64;
	const uint64_t chains[] = {1, 1, RUN(pages * (page / 64 / 64) - 1)};
	size_t size;
	(void)state;
	if (sizeof(void *) < 8 || pages > 100000 || is_overcommit_refused() ||
	    is_address_space_limited() || ADDRESS_SANITIZER || is_run_by_another())
		skip();
	uint8_t *small = small_image(&size);
	uint8_t *image = calloc(1, 2 * page);
	assert_non_null(image);
	memcpy(image, small, IMAGE_HEADER_BYTES);
	image_word_put(image, IMAGE_ALIGNMENT, 64);
	image_word_put(image, IMAGE_PAGE_SIZE, page);
	image_word_put(image, IMAGE_ROOT, 1000);
	image_word_put(image, IMAGE_PAGES, pages);
	image_word_put(image, IMAGE_USED_PAGES, pages);
	image_word_put(image, IMAGE_STORED_PAGES, pages);
	image_word_put(image, IMAGE_CHAIN_WORDS, 3);
	memset(image + IMAGE_HEADER_BYTES, 0xFF, words * 8);
	memcpy(image + IMAGE_HEADER_BYTES + words * 8, chains, sizeof chains);
	image_seal(image, page);
	file_write(path, image, page);
	assert_int_equal(truncate(path, (off_t)((pages + 1) * page)), 0); /* most of it takes no room */
	assert_int_equal(mems_load(path, MEMS_MAP), 0);
	char *const block = mems_get_range(mems_root(), pages * page);
	assert_non_null(block);
	assert_int_equal(block[0], 0);
	block[pages * page - 1] = 1;
	assert_sound();
	free(image);
	free(small);
}

struct used {
	size_t count, next; /* pages */
};

static int count_used_pages(const struct mems_segment *segment, void *context)
{
	struct used *used = context;
	const size_t first = (segment->start - 1000) / PAGE, end = (segment->end - 1000) / PAGE + 1;
	if (segment->type == MEMS_PROCESS && end > used->next) {
		used->count += end - (first > used->next ? first : used->next);
		used->next = end;
	}
	return 0;
}

/* The pages in which a PROCESS lies, at most 3.5 % of these at alignment 8, and a few pages: with 8
 * bytes for each main node in which none lies. */
static void assert_small_image(void)
{
	struct used used = {0, 0};
	struct stat about;
	mems_walk(count_used_pages, &used);
	assert_int_equal(mems_save(path), 0);
	assert_int_equal(stat(path, &about), 0);
	assert_in_range(about.st_size, PAGE, used.count * PAGE / 1000 * 1035 + 2 * PAGE + 8 * stats_now().main_nodes);
}

/* Takes so many pages of blocks of this size, after each page a block of so many; frees these. */
static void take_pages(size_t pages, size_t gap, size_t size)
{
	uintptr_t *gaps = malloc(pages * sizeof *gaps);
	assert_non_null(gaps);
	for (size_t page = 0; page < pages; page++) {
		for (size_t i = 0; i < PAGE / size; i++)
			*(unsigned char *)mems_get(at(take(size))) = 1;
		gaps[page] = gap == 0 ? 0 : take(gap * PAGE);
	}
	for (size_t page = 0; page < pages; page++)
		mems_free(at(gaps[page]));
	free(gaps);
}

static void an_image_is_small(void **state)
{
	static const size_t gaps[] = {0, 1, 15, 127};
	(void)state;
	for (size_t size = 8; size <= 4096; size *= 8) {
		for (size_t i = 0; i < sizeof gaps / sizeof gaps[0]; i++) {
			mems_finish();
			mems_init();
			take_pages(gaps[i] < 100 ? 700 : 300, gaps[i], size);
			assert_small_image();
		}
	}
	for (size_t size = 8; size < 3000; size = 3 * size + 1) {
		mems_finish();
		mems_init();
		for (size_t i = 0; i < MIB / size; i++)
			memset(mems_get(at(take(size))), 1, size);
		assert_small_image();
	}
}

/* Main nodes of one page each, as far as the policy has such. */
static void an_image_of_small_nodes_is_small(void **state)
{
	enum { LIMIT = 16, FIRST = 15 }; /* an eighth of what is mapped is more than the rest */
	(void)state;
	for (size_t keep = 2; keep <= 16; keep *= 2) {
		mems_finish();
		assert_int_equal(mems_option(MEMS_LIMIT, LIMIT * MIB), 0);
		mems_init();
		const uintptr_t first = take(FIRST * MIB);
		for (size_t i = 0; i < (LIMIT - FIRST) * MIB / 8; i++)
			*(unsigned char *)mems_get(at(take(8))) = 1;
		assert_in_range(stats_now().main_nodes, 10, 1 + (LIMIT - FIRST) * MIB / PAGE);
		for (size_t page = FIRST * MIB / PAGE; page < LIMIT * MIB / PAGE; page++)
			for (size_t i = 0; i < PAGE / 8 && page % keep != 0; i++)
				give_back(1000 + page * PAGE + 8 * i);
		give_back(first);
		assert_small_image();
	}
}

/* Of a huge heap only what is used counts. */
static void an_image_of_an_empty_heap_is_small(void **state)
{
	(void)state;
	for (size_t bytes = MIB; bytes <= 8 * MIB + (SIZE_MAX >> 28); bytes *= 8) {
		mems_finish();
		mems_init();
		void *huge = mems_malloc(bytes);
		if (huge == NULL)
			break; /* of this machine */
		*(unsigned char *)mems_get(at(take(8))) = 1;
		assert_int_equal(mems_set_root(mems_malloc(8)), 0);
		mems_free(huge);
		assert_small_image();
		char *text = printed_text();
		mems_finish();
		assert_int_equal(mems_load(path, 0), 0);
		assert_sound();
		char *again = printed_text();
		assert_string_equal(again, text);
		free(text);
		free(again);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		image_test(what_is_loaded_is_what_was_saved),
		image_test(large_blocks_come_back),
		image_test(long_chains_come_back),
		image_test(the_first_leaf_of_a_node_comes_back),
		image_test(the_same_heap_gives_the_same_file),
		image_test(an_empty_heap_is_kept_too),
		image_test(a_heap_without_room_for_a_page_is_kept_too),
		image_test(an_image_is_what_the_manual_says),
		image_test(the_checksum_is_fletchers),
		image_test(any_bit_that_is_changed_is_noticed),
		image_test(a_file_of_another_length_is_refused),
		image_test(noise_is_refused),
		image_test(made_up_images_are_refused_or_sound),
		image_test(images_of_other_machines_are_not_for_this_one),
		image_test(tables_of_more_pages_than_there_are_are_refused),
		image_test(a_count_of_words_that_overflows_costs_no_memory),
		image_test(tables_that_no_heap_has_are_refused),
		image_test(an_image_never_lifts_the_limit_of_this_run),
		image_test(options_of_the_image_are_in_force),
		image_test(errors_come_in_their_order),
		image_test(a_new_file_has_the_rights_of_the_old_one),
		image_test(a_pipe_is_refused_at_once),
		image_test(the_longest_path_will_do),
		image_test(the_root_is_a_live_block_or_none),
		image_test(a_freed_root_stays_freed),
		image_test(a_root_that_moves_stays_the_root),
		image_test(mapped_pages_that_go_back_are_zero),
		image_test(parts_of_mapped_pages_are_zeroed),
		image_test(pages_that_go_back_need_few_mappings),
		image_test(free_parts_of_loaded_pages_go_back),
		image_test(a_mapped_heap_forks),
		image_test(there_are_a_thousand_mappings_at_most),
		image_test(an_image_larger_than_memory_is_mapped),
		image_test(an_image_is_small),
		image_test(an_image_of_small_nodes_is_small),
		image_test(an_image_of_an_empty_heap_is_small),
	};
	paths_make();
	return run_heap_tests("images", tests);
}
