/*
 * tests/images/image.h: images as mems-image(5) describes them, taken apart and made up; nothing here
 * is shared with mems.c. Called by test_images.c, test_images_os.c and fuzz_image.c.
 */
#ifndef IMAGE_H
#define IMAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum image_word {
	IMAGE_MAGIC,
	IMAGE_KIND,
	IMAGE_POLICY,
	IMAGE_ALIGNMENT,
	IMAGE_START,
	IMAGE_PAGE_SIZE,
	IMAGE_LIMIT,
	IMAGE_ROOT,
	IMAGE_PAGES,
	IMAGE_USED_PAGES,
	IMAGE_CHAIN_WORDS,
	IMAGE_STORED_PAGES,
	IMAGE_TABLES_SUM,
	IMAGE_CONTENTS_SUM = IMAGE_TABLES_SUM + 2,
	IMAGE_HEADER_SUM = IMAGE_CONTENTS_SUM + 2,
	IMAGE_HEADER_WORDS = IMAGE_HEADER_SUM + 2
};

#define IMAGE_HEADER_BYTES ((size_t)IMAGE_HEADER_WORDS * 8)

/* Goes on with a checksum. The size is a multiple of 4. */
void image_sum(const uint8_t *bytes, size_t size, uint64_t sum[2]);

/* Word number index of an image, which has it; and puts one into the header. */
uint64_t image_word(const uint8_t *image, size_t index);
void image_word_put(uint8_t *image, size_t index, uint64_t word);

/* What a sound header of this machine begins with. */
void image_name(uint8_t *image);

/* Where the contents begin, and the size of the whole, by the header; 0 where these are not below
 * most, or the page size is no power of two. */
size_t image_contents(const uint8_t *image, size_t most);
size_t image_size(const uint8_t *image, size_t most);

/* Makes the checksums right. The header says how large the parts are, and size is that of all; where
 * that is less, only that of the header. */
void image_seal(uint8_t *image, size_t size);

#endif
