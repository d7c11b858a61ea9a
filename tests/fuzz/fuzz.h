/*
 * What a fuzz target defines: libFuzzer calls it with inputs of its own making, and fuzz_main.c
 * with files that it is given.
 */
#ifndef FUZZ_H
#define FUZZ_H

#include <stddef.h>
#include <stdint.h>

/* Runs one input. Aborts on anything that should not be; returns 0. */
int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

#endif
