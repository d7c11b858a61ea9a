/* tests/images/image.c: images, by the letter of mems-image(5). */
#define _GNU_SOURCE
#include "image.h"

#include <endian.h>
#include <string.h>

static const uint64_t prime[5] = {
	UINT64_C(11400714785074694791), UINT64_C(14029467366897019727), UINT64_C(1609587929392839161),
	UINT64_C(9650029242287828579), UINT64_C(2870177450012600261)
};

static uint64_t rotate(uint64_t word, unsigned bits)
{
	return word << bits | word >> (64 - bits);
}

static uint64_t word_read(const uint8_t *bytes)
{
	uint64_t word;
	memcpy(&word, bytes, sizeof word);
	return le64toh(word);
}

static uint64_t round_of(uint64_t lane, uint64_t input)
{
	return rotate(lane + input * prime[1], 31) * prime[0];
}

/* For sizes that are multiples of 8, as all are here. */
uint64_t xxh64(const uint8_t *bytes, size_t size, uint64_t seed)
{
	static const unsigned turns[4] = {1, 7, 12, 18};
	uint64_t lanes[4] = {seed + prime[0] + prime[1], seed + prime[1], seed, seed - prime[0]};
	uint64_t sum = seed + prime[4];
	size_t done = 0;
	for (; size - done >= 32; done += 32)
		for (size_t i = 0; i < 4; i++)
			lanes[i] = round_of(lanes[i], word_read(bytes + done + 8 * i));
	if (size >= 32) {
		sum = 0;
		for (size_t i = 0; i < 4; i++)
			sum += rotate(lanes[i], turns[i]);
		for (size_t i = 0; i < 4; i++)
			sum = (sum ^ round_of(0, lanes[i])) * prime[0] + prime[3];
	}
	sum += size;
	for (; done < size; done += 8)
		sum = rotate(sum ^ round_of(0, word_read(bytes + done)), 27) * prime[0] + prime[3];
	sum = (sum ^ sum >> 33) * prime[1];
	sum = (sum ^ sum >> 29) * prime[2];
	return sum ^ sum >> 32;
}

uint64_t image_sum(const uint8_t *bytes, size_t size, uint64_t sum)
{
	for (size_t done = 0; done < size; done += 4096)
		sum = xxh64(bytes + done, size - done < 4096 ? size - done : 4096, sum);
	return sum;
}

uint64_t image_word(const uint8_t *image, size_t index)
{
	return word_read(image + 8 * index);
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
	image_word_put(image, IMAGE_MAGIC, word_read(magic));
	image_word_put(image, IMAGE_KIND, 1 | order << 32 | (uint64_t)sizeof(void *) << 40);
}

size_t image_contents(const uint8_t *image, size_t most)
{
	const uint64_t page = image_word(image, IMAGE_PAGE_SIZE);
	const uint64_t pages = image_word(image, IMAGE_PAGES);
	const uint64_t words = image_word(image, IMAGE_CHAIN_WORDS);
	if (page == 0 || (page & (page - 1)) != 0 || page >= most || pages >= most || words >= most)
		return 0;
	const uint64_t bytes = IMAGE_HEADER_BYTES + 32 * ((pages + 127) / 128) + 8 * words;
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

void image_seal(uint8_t *image, size_t size)
{
	const size_t contents = image_contents(image, SIZE_MAX / 16);
	const size_t pages = (size_t)image_word(image, IMAGE_PAGES);
	const size_t chains = IMAGE_HEADER_BYTES + 32 * ((pages + 127) / 128);
	if (contents != 0 && contents <= size) {
		const uint64_t maps = image_sum(image + IMAGE_HEADER_BYTES, chains - IMAGE_HEADER_BYTES, 0);
		image_word_put(image, IMAGE_TABLES_SUM, image_sum(image + chains, contents - chains, maps));
		image_word_put(image, IMAGE_CONTENTS_SUM, image_sum(image + contents, size - contents, 0));
	}
	image_word_put(image, IMAGE_HEADER_SUM, 0);
	image_word_put(image, IMAGE_HEADER_SUM, xxh64(image, IMAGE_HEADER_BYTES, 0));
}
