/*
 * The translations against mems_walk: what the walk shows is what each byte of the heap must
 * translate to. Of small segments every byte is asked for, of large ones both ends and samples.
 */
#ifndef SWEEP_H
#define SWEEP_H

#include <stddef.h>
#include <stdint.h>

/* Asks for at least some of the bytes of each segment there is, and for up to so many of them.
 * random: where samples and sizes come from. Returns what is wrong, in a text of its own, or NULL;
 * adds the number of addresses asked for to *count. */
const char *sweep(size_t bytes_of_each, uint64_t *random, uint64_t *count);

#endif
