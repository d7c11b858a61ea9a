/* Writes numbers for the page. See number.h. */
#include "number.h"

size_t number_write(FILE *out, uint64_t number)
{
	static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+-";
	size_t count = 1;

	for (; number >= 32; number /= 32, count++)
		putc(digits[32 + number % 32], out);
	putc(digits[number], out);
	return count;
}

size_t distance_write(FILE *out, uint64_t from, uint64_t to)
{
	uint64_t distance = to - from;

	return number_write(out, distance <= INT64_MAX ? distance * 2 : (from - to) * 2 - 1);
}
