/*
 * Writes numbers in the digits that the page reads: see timeline.c. Calls nothing; called by
 * timeline and remembered.
 */
#ifndef NUMBER_H
#define NUMBER_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/* Returns how many digits it wrote. */
size_t number_write(FILE *out, uint64_t number);

/* The same for to - from, in 64 bits with a sign. */
size_t distance_write(FILE *out, uint64_t from, uint64_t to);

#endif
