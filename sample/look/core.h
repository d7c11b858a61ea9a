/*
 * Reads the memory of a process from its core dump. Depends on nothing here; called by look.
 *
 * Cores of the word size and byte order of this program are read, whatever the processor. Nothing
 * in the file is believed: what it claims to hold beyond its end is not there.
 */
#ifndef CORE_H
#define CORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* A range of addresses that the process had. */
struct core_segment {
	uint64_t address, bytes;
	uint64_t offset, stored; /* where it is in the file, and how many of its bytes are */
};

struct core {
	int file;
	struct core_segment *segments; /* in ascending order of their addresses */
	size_t count;
	uint64_t missing; /* bytes that should be in the file, which ends before */
};

/* Whether a file that begins with these bytes is in the format of core dumps. */
bool core_is_elf(const void *bytes, size_t size);

/* Reads what a core dump says of itself. Returns NULL, or what is wrong with it; the file stays the
 * caller's, who calls core_close where it is not wrong. */
const char *core_open(struct core *core, int file, uint64_t file_bytes);
void core_close(struct core *core);

/* Copies bytes of the process; zeros take the place of what is not in the file. Returns how many
 * bytes are. */
size_t core_read(const struct core *core, uint64_t address, void *to, size_t size);

/* Whether the process had all of these bytes, in the file or not. */
bool core_has(const struct core *core, uint64_t address, uint64_t size);

/* Calls visit for each word of this value that is aligned; ends when it returns true, and returns
 * whether it did. Small segments come first, as variables lie in these. */
typedef bool core_visitor(uint64_t address, void *context);
bool core_find(const struct core *core, uint64_t word, core_visitor *visit, void *context);

#endif
