/* Turns names of files into texts that can be shown anywhere. See name.h. */
#define _POSIX_C_SOURCE 200809L

#include "name.h"

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static const char replacement[] = "\xEF\xBF\xBD"; /* U+FFFD */

enum { REPLACEMENT_BYTES = sizeof replacement - 1 };

/* The bytes of the sequence that begins with this one, 0 for none, and the first of its bits. */
static size_t sequence_bytes(unsigned char first, uint32_t *bits)
{
	static const struct {
		unsigned char least, most, mask;
	} kinds[] = {{0x01, 0x7F, 0x7F}, {0xC2, 0xDF, 0x1F}, {0xE0, 0xEF, 0x0F}, {0xF0, 0xF4, 0x07}};

	for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
		if (first >= kinds[i].least && first <= kinds[i].most) {
			*bits = first & kinds[i].mask;
			return i + 1;
		}
	}
	return 0;
}

/* Reads a character: its bytes, or 0 where it is not UTF-8. */
static size_t character_read(const char *text, uint32_t *character)
{
	static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
	size_t bytes;

	*character = 0;
	bytes = sequence_bytes((unsigned char)*text, character);

	for (size_t i = 1; i < bytes; i++) {
		if (((unsigned char)text[i] & 0xC0) != 0x80)
			return 0;
		*character = *character << 6 | ((unsigned char)text[i] & 0x3F);
	}
	if (*character < least[bytes] || *character > 0x10FFFF ||
	    (*character >= 0xD800 && *character <= 0xDFFF))
		return 0;
	return bytes;
}

static bool is_shown(uint32_t character)
{
	static const struct {
		uint32_t first, last;
	} hidden[] = {
		{0, 0x1F}, {0x7F, 0x9F},                            /* controls */
		{0x61C, 0x61C}, {0x200E, 0x200F}, {0x202A, 0x202E}, /* these turn text around */
		{0x2028, 0x2029},                                   /* ends of lines and paragraphs */
		{0x2060, 0x206F}, {0xFEFF, 0xFEFF},                 /* cannot be seen, and turn it around */
		{0xFDD0, 0xFDEF}, {0xFFFE, 0xFFFF},                 /* no characters */
	};

	for (size_t i = 0; i < sizeof hidden / sizeof hidden[0]; i++)
		if (character >= hidden[i].first && character <= hidden[i].last)
			return false;
	return true;
}

char *name_shown(const char *name)
{
	char *shown = malloc(strlen(name) * REPLACEMENT_BYTES + 1);
	char *end = shown;
	uint32_t character;

	if (shown == NULL)
		return NULL;
	while (*name != '\0') {
		size_t bytes = character_read(name, &character);
		bool is_kept = bytes != 0 && is_shown(character);

		memcpy(end, is_kept ? name : replacement, is_kept ? bytes : REPLACEMENT_BYTES);
		end += is_kept ? bytes : REPLACEMENT_BYTES;
		name += bytes == 0 ? 1 : bytes;
	}
	*end = '\0';
	return shown;
}

static bool is_same_file(const char *one, const char *other)
{
	struct stat first, second;

	return stat(one, &first) == 0 && stat(other, &second) == 0 && S_ISREG(first.st_mode) &&
	       first.st_dev == second.st_dev && first.st_ino == second.st_ino;
}

bool name_is_same(const char *one, const char *other)
{
	return one != NULL && other != NULL && (strcmp(one, other) == 0 || is_same_file(one, other));
}
