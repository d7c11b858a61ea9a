/*
 * Damages files and has them opened as mems-look does: for test_look.sh.
 *
 * damage FILE SEED COUNT WORK: COUNT times, flips some bits of FILE, or cuts it off, most often
 * where the structure or a table of the heap lies, writes that to WORK, and opens it. What opens is
 * walked, printed and asked; what does not says why in one line. All of that happens in this
 * process, so that a sanitizer sees it. Prints how many opened.
 */
#define _GNU_SOURCE
#include "look.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static uint64_t state;

static uint64_t next_random(uint64_t below)
{
	state += UINT64_C(0x9E3779B97F4A7C15);
	uint64_t word = (state ^ state >> 30) * UINT64_C(0xBF58476D1CE4E5B9);
	word = (word ^ word >> 27) * UINT64_C(0x94D049BB133111EB);
	return (word ^ word >> 31) % below;
}

/* A file in memory, and the ranges of it that are of interest. */
struct file {
	unsigned char *bytes;
	size_t size;
	size_t structure; /* where the sign of the heap is; 0: nowhere */
};

static void expect(bool condition, const char *what)
{
	if (condition)
		return;
	fprintf(stderr, "damage: %s\n", what);
	abort();
}

static struct file file_read(const char *path)
{
	static const unsigned char magic[8] = { 0x65, 0x4D, 0x53, 0x48, 0x45, 0x41, 0x50, 0x9D };
	struct file file = { 0 };
	FILE *const in = fopen(path, "rb");
	expect(in != NULL && fseek(in, 0, SEEK_END) == 0, "no file to read");
	file.size = (size_t)ftell(in);
	file.bytes = malloc(file.size);
	rewind(in);
	expect(file.bytes != NULL && fread(file.bytes, 1, file.size, in) == file.size, "no bytes");
	fclose(in);
	const unsigned char *found = memmem(file.bytes, file.size, magic, sizeof(magic));
	file.structure = found == NULL ? 0 : (size_t)(found - file.bytes);
	return file;
}

/* Where to damage the file: the structure lies before its sign, the header in front, words of
 * chains wherever. */
static size_t place_choose(const struct file *file)
{
	enum { END_BYTES = 128, STRUCTURE_BYTES = 8192, HEADER_BYTES = 4096 };
	const uint64_t kind = next_random(4);
	if (kind < 2 && file->structure > STRUCTURE_BYTES)
		return file->structure + 24 - (size_t)next_random(kind == 0 ? END_BYTES : STRUCTURE_BYTES);
	if (kind == 2)
		return (size_t)next_random(file->size < HEADER_BYTES ? file->size : HEADER_BYTES);
	for (unsigned tries = 0; tries < 100; tries++) {
		const size_t place = (size_t)next_random(file->size);
		if (file->bytes[place] != 0)
			return place;
	}
	return (size_t)next_random(file->size);
}

enum { MOST_FLIPS = 4 };

struct flip {
	size_t place;
	unsigned char before;
};

static size_t file_damage(struct file *file, struct flip flips[MOST_FLIPS])
{
	const size_t count = 1 + (size_t)next_random(MOST_FLIPS);
	for (size_t i = 0; i < count; i++) {
		const size_t place = place_choose(file);
		flips[i] = (struct flip){ place, file->bytes[place] };
		const uint64_t changed = next_random(4) == 0
		                                 ? next_random(256)
		                                 : file->bytes[place] ^ 1u << next_random(8);
		file->bytes[place] = (unsigned char)changed;
	}
	return count;
}

static int segment_visit(const struct mems_segment *segment, void *context)
{
	char bytes[16];
	struct mems_segment found;
	const size_t size = segment->size < sizeof(bytes) ? segment->size : sizeof(bytes);
	if (segment->type == MEMS_PROCESS)
		look_contents(context, segment, 0, bytes, size);
	expect(mems_segment_at((const void *)segment->start, &found) == 0 &&
	       found.end == segment->end, "a segment that is walked is not found");
	return 0;
}

/* Returns whether it opened. */
static bool path_open(const char *path, FILE *nowhere)
{
	struct look look;
	if (!look_open(&look, path)) {
		expect(look.fault[0] != '\0' && strchr(look.fault, '\n') == NULL, "no line that says why");
		errno = 0;
		expect(mems_trim() == 0 && errno == EPERM, "a heap is left that could not be shown");
		return false;
	}
	mems_walk(segment_visit, &look);
	mems_fprint_stats(nowhere);
	mems_fprint_json(nowhere);
	struct mems_event events[4];
	mems_explain((const void *)(uintptr_t)next_random(100000), nowhere);
	mems_explain((const void *)(uintptr_t)next_random(UINT64_MAX), nowhere);
	mems_history((const void *)(uintptr_t)next_random(100000), events, 4);
	mems_fprint_live(nowhere);
	look_close(&look);
	return true;
}

int main(int count, char **arguments)
{
	if (count != 5)
		return 2;
	struct file file = file_read(arguments[1]);
	FILE *const nowhere = fopen("/dev/null", "w");
	const unsigned long rounds = strtoul(arguments[3], NULL, 10);
	const int out = open(arguments[4], O_RDWR | O_CREAT | O_TRUNC, 0600);
	unsigned long opened = 0;
	expect(nowhere != NULL && out >= 0, "no file to write");
	expect(pwrite(out, file.bytes, file.size, 0) == (ssize_t)file.size, "no room for the file");
	expect(path_open(arguments[4], nowhere), "the file does not open as it is");
	state = strtoull(arguments[2], NULL, 10);
	for (unsigned long i = 0; i < rounds; i++) {
		struct flip flips[MOST_FLIPS];
		size_t flip_count = file_damage(&file, flips);
		const bool is_cut = next_random(8) == 0;
		for (size_t j = 0; j < flip_count; j++)
			expect(pwrite(out, &file.bytes[flips[j].place], 1, (off_t)flips[j].place) == 1, "flip");
		if (is_cut)
			expect(ftruncate(out, (off_t)next_random(file.size)) == 0, "cut");
		opened += path_open(arguments[4], nowhere);
		if (is_cut)
			expect(pwrite(out, file.bytes, file.size, 0) == (ssize_t)file.size, "write");
		while (flip_count-- > 0) {
			const struct flip *flip = &flips[flip_count];
			file.bytes[flip->place] = flip->before;
			expect(pwrite(out, &flip->before, 1, (off_t)flip->place) == 1, "undo");
		}
	}
	printf("%lu of %lu damaged files opened, seed %s\n", opened, rounds, arguments[2]);
	free(file.bytes);
	close(out);
	return fclose(nowhere) == 0 ? 0 : 1;
}
