/* tests/images/image.c: images, by the letter of mems-image(5). */
#define _GNU_SOURCE
#include "image.h"

#include <string.h>

static uint64_t number_read(const uint8_t *bytes, size_t size)
{
	uint64_t number = 0;
	for (size_t i = size; i-- > 0;)
		number = number << 8 | bytes[i];
	return number;
}

void image_sum(const uint8_t *bytes, size_t size, uint64_t sum[2])
{
	for (size_t done = 0; done < size; done += 4) {
		sum[0] += number_read(bytes + done, 4);
		sum[1] += sum[0];
	}
}

uint64_t image_word(const uint8_t *image, size_t index)
{
	uint64_t word;
	memcpy(&word, image + 8 * index, 8);
	return index < IMAGE_HEADER_WORDS ? number_read(image + 8 * index, 8) : word;
}

void image_word_put(uint8_t *image, size_t index, uint64_t word)
{
	for (unsigned i = 0; i < 8; i++)
		image[8 * index + i] = (uint8_t)(word >> (8 * i));
}

void image_name(uint8_t *image)
{
	static const uint8_t magic[8] = {0x89, 0x4D, 0x65, 0x4D, 0x53, 0x0D, 0x0A, 0x1A};
	const uint16_t one = 1;
	const uint64_t order = *(const uint8_t *)&one == 1 ? 1 : 2;
	image_word_put(image, IMAGE_MAGIC, number_read(magic, 8));
	image_word_put(image, IMAGE_KIND, 1 | order << 32 | (uint64_t)sizeof(void *) << 40);
}

size_t image_contents(const uint8_t *image, size_t most)
{
	const uint64_t page = image_word(image, IMAGE_PAGE_SIZE);
	const uint64_t used = image_word(image, IMAGE_USED_PAGES);
	const uint64_t words = image_word(image, IMAGE_CHAIN_WORDS);
	if (page == 0 || (page & (page - 1)) != 0 || page >= most || used >= most || words >= most)
		return 0;
	const uint64_t bytes = IMAGE_HEADER_BYTES + 8 * ((used + 63) / 64) + 8 * words;
	const uint64_t contents = (bytes + page - 1) / page * page;
	return contents < most ? (size_t)contents : 0;
}

size_t image_size(const uint8_t *image, size_t most)
{
	const size_t contents = image_contents(image, most);
	const uint64_t stored = image_word(image, IMAGE_STORED_PAGES);
	const uint64_t page = image_word(image, IMAGE_PAGE_SIZE);
	return contents == 0 || stored >= (most - contents) / page ? 0
	                                                          : contents + (size_t)(stored * page);
}

static void sum_put(uint8_t *image, size_t word, const uint8_t *bytes, size_t size)
{
	uint64_t sum[2] = {0, 0};
	image_sum(bytes, size, sum);
	image_word_put(image, word, sum[0]);
	image_word_put(image, word + 1, sum[1]);
}

void image_seal(uint8_t *image, size_t size)
{
	const size_t contents = image_contents(image, SIZE_MAX / 16);
	if (contents != 0 && contents <= size) {
		sum_put(image, IMAGE_TABLES_SUM, image + IMAGE_HEADER_BYTES, contents - IMAGE_HEADER_BYTES);
		sum_put(image, IMAGE_CONTENTS_SUM, image + contents, size - contents);
	}
	sum_put(image, IMAGE_HEADER_SUM, image, 8 * (size_t)IMAGE_HEADER_SUM);
}
