/*
 * Runs a fuzz target on files, without a fuzzer: a kept input is a regression test for any
 * compiler.
 *
 * Usage: fuzz_heap FILE... or fuzz_trace FILE...
 *
 * Prints the name of each file before it is run, so that the last one is to blame for an abort.
 */
#include "fuzz.h"

#include <stdio.h>
#include <stdlib.h>

/* The contents of a file; the caller frees them. NULL where it cannot be read. */
static uint8_t *file_read(const char *name, size_t *size)
{
	enum { STEP = 4096 };
	FILE *const in = fopen(name, "rb");
	uint8_t *bytes = NULL;
	size_t got = 1;
	*size = 0;
	while (in != NULL && got != 0) {
		uint8_t *const more = realloc(bytes, *size + STEP);
		if (more == NULL)
			break;
		bytes = more;
		got = fread(bytes + *size, 1, STEP, in);
		*size += got;
	}
	const int is_bad = in == NULL || got != 0 || ferror(in);
	if (in != NULL)
		fclose(in);
	if (is_bad) {
		free(bytes);
		return NULL;
	}
	return bytes;
}

int main(int argc, char **argv)
{
	for (int i = 1; i < argc; i++) {
		size_t size;
		uint8_t *const bytes = file_read(argv[i], &size);
		if (bytes == NULL) {
			perror(argv[i]);
			return 2;
		}
		printf("%s\n", argv[i]);
		fflush(stdout);
		LLVMFuzzerTestOneInput(bytes, size);
		free(bytes);
	}
	printf("%d inputs ran\n", argc - 1);
	return 0;
}
