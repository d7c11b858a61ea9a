/*
 * A fuzz target: the input is header and tables of an image whose checksums are made right, with
 * contents that are zero or not, in a file in memory. mems_load refuses it, with nothing started, or
 * gives a heap in which mems_check finds nothing, and in which blocks can be taken and freed.
 *
 * Magic and kind are those of this machine, so that what comes after is reached: made up are options,
 * root, sizes, stored pages and chains. The last byte of the input chooses the flags.
 */
#define _GNU_SOURCE
#include "fuzz.h"
#include "image.h"
#include "mems.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { MOST_BYTES = 1 << 17, MOST_PAGES = 500, BLOCKS = 12 };

static void demand(bool holds, const char *sentence)
{
	if (holds)
		return;
	fprintf(stderr, "%s (errno %d)\n", sentence, errno);
	abort();
}

static void file_write(int file, const uint8_t *bytes, size_t size)
{
	demand(ftruncate(file, 0) == 0 && pwrite(file, bytes, size, 0) == (ssize_t)size, "no file");
}

static int block_visit(const struct mems_segment *segment, void *context)
{
	uintptr_t *blocks = context;
	if (segment->type != MEMS_PROCESS)
		return 0;
	blocks[blocks[0] % BLOCKS + 1] = segment->start;
	blocks[0]++;
	return 0;
}

static void block_is_zero(const unsigned char *block, size_t size)
{
	for (size_t i = 0; i < size; i++)
		demand(block[i] == 0, "mems_calloc gave a block that is not zero");
}

/* Frees some of the blocks, takes others, and looks at all that was done. */
static void heap_use(void)
{
	uintptr_t blocks[BLOCKS + 1] = {0};
	demand(mems_check(stderr) == 0, "a loaded heap is not sound");
	mems_walk(block_visit, blocks);
	demand(mems_root() == NULL || mems_usable_size(mems_root()) != 0, "the root is no block");
	for (size_t i = 1; i <= BLOCKS && i <= blocks[0]; i++) {
		const size_t size = mems_usable_size((void *)blocks[i]);
		demand(mems_get_range((void *)blocks[i], size) != NULL, "a block cannot be reached");
		mems_free((void *)blocks[i]);
		const size_t again = size < 20000 ? size : 20000;
		void *block = mems_calloc(1, again);
		if (block != NULL)
			block_is_zero(mems_get(block), again);
	}
	demand(mems_malloc(100) != NULL || errno == ENOMEM, "mems_malloc failed");
	mems_trim();
	demand(mems_check(stderr) == 0, "a heap that was used is not sound");
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
	static uint8_t image[MOST_BYTES];
	static char path[40];
	static int file = -1;
	if (size < IMAGE_HEADER_BYTES + 1 || size >= MOST_BYTES / 2)
		return 0;
	if (file < 0) {
		file = memfd_create("image", 0);
		snprintf(path, sizeof path, "/proc/self/fd/%d", file);
		mems_set_error_handler(NULL);
	}
	const unsigned last = bytes[--size];
	memcpy(image, bytes, size);
	image_name(image);
	if (image_word(image, IMAGE_PAGES) > MOST_PAGES)
		return 0; /* there mems_check takes long */
	const size_t contents = image_contents(image, MOST_BYTES);
	const size_t whole = image_size(image, MOST_BYTES);
	if (contents > size)
		memset(image + size, 0, contents - size);
	if (whole > contents)
		memset(image + contents, (last & 2) != 0 ? 0x55 : 0, whole - contents);
	image_seal(image, whole != 0 ? whole : size);
	file_write(file, image, whole != 0 ? whole : size);
	if (mems_load(path, last & MEMS_MAP) == 0) {
		heap_use();
		mems_finish();
	} else {
		demand(errno == EBADMSG || errno == ENOTSUP || errno == ENOMEM, "another error");
		demand(mems_malloc(1) == NULL && errno == EPERM, "a heap that was refused is there");
	}
	return 0;
}
