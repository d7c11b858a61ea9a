/*
 * tests/bench/images.c: a heap that is saved and loaded, beside the same bytes written and read.
 * Called by bench.c; MeMS alone, and only a library that has images.
 *
 *     save MIB    first: write, fsync, rename and fsync of the folder; best: mems_save
 *     load MIB    first: read() of the file into new memory; best: mems_load
 *     map MIB     first: touching as many new pages as the tables have; best: mems_load, MEMS_MAP
 *
 * Heaps of so many MiB in 200,000 blocks, or less where that would make them smaller than 40 bytes.
 * Figures are milliseconds on the wall; the count is the bytes of the file, which is made in build/.
 */
#define _GNU_SOURCE
#include "bench.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define MOST_BLOCKS ((size_t)200000)
#define LEAST_SIZE ((size_t)40)
#define MAP 1u /* MEMS_MAP */

/* NULL in a library that has no images. */
#pragma weak mems_save
#pragma weak mems_load

static const char path[] = "build/bench-image.tmp";
static const char other_path[] = "build/bench-bytes.tmp";

/* ---- Heap and file --------------------------------------------------------------------------- */

static void blocks_take(const struct job *job)
{
	size_t bytes = job->number * MIB;
	size_t count = bytes / LEAST_SIZE < MOST_BLOCKS ? bytes / LEAST_SIZE : MOST_BLOCKS;

	heap_begin(job);
	for (size_t i = 0; i < count; i++) {
		void *block = mems_malloc(bytes / count);

		check_blocks(block == NULL);
		memset(mems_get(block), (int)(i % 255 + 1), bytes / count);
	}
}

static size_t file_bytes(const char *name)
{
	struct stat about;

	if (stat(name, &about) != 0)
		fail("%s: no file", name);
	return (size_t)about.st_size;
}

static void check_done(bool is_done, const char *what)
{
	if (!is_done) {
		perror(what);
		fail("%s failed", what);
	}
}

/* So many bytes of the image, in new memory. */
static char *bytes_read(size_t bytes)
{
	char *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	int file = open(path, O_RDONLY | O_CLOEXEC);
	size_t done = 0;

	check_done(memory != MAP_FAILED && file >= 0, "open");
	while (done < bytes) {
		ssize_t got = read(file, memory + done, bytes - done);

		check_done(got > 0, "read");
		done += (size_t)got;
	}
	close(file);
	return memory;
}

/* What mems_save promises to do, with bytes that lie ready. */
static void bytes_save(const char *memory, size_t bytes)
{
	int file = open("build/bench-part.tmp", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	int folder = open("build", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	size_t done = 0;

	check_done(file >= 0 && folder >= 0, "open");
	while (done < bytes) {
		ssize_t put = write(file, memory + done, bytes - done);

		check_done(put > 0, "write");
		done += (size_t)put;
	}
	check_done(fsync(file) == 0, "fsync");
	check_done(rename("build/bench-part.tmp", other_path) == 0, "rename");
	check_done(fsync(folder) == 0, "fsync");
	close(file);
	close(folder);
}

static void pages_touch(size_t bytes)
{
	volatile char *memory =
		mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	check_done(memory != MAP_FAILED, "mmap");
	for (size_t at = 0; at < bytes; at += PAGE_BYTES)
		memory[at] = 1;
	munmap((void *)(uintptr_t)memory, bytes);
}

/* ---- The works ------------------------------------------------------------------------------- */

static void images_prepare(struct job *job)
{
	number_prepare(job);
	if (mems_save == NULL || mems_load == NULL)
		exit(EXIT_UNAVAILABLE);
}

static double milliseconds_since(double start)
{
	return (wall_now() - start) / 1e6;
}

static void least(double *figure, double time, unsigned pass)
{
	if (pass == 0 || time < *figure)
		*figure = time;
}

static void files_remove(void)
{
	unlink(path);
	unlink(other_path);
}

static double save(struct job *job)
{
	double first = 0;
	double best = 0;
	size_t bytes;
	char *memory;

	blocks_take(job);
	check_done(mems_save(path) == 0, "mems_save");
	bytes = file_bytes(path);
	memory = bytes_read(bytes);
	for (unsigned pass = 0; pass < job->passes; pass++) {
		double start = wall_now();

		bytes_save(memory, bytes);
		least(&first, milliseconds_since(start), pass);
		start = wall_now();
		check_done(mems_save(path) == 0, "mems_save");
		least(&best, milliseconds_since(start), pass);
	}
	files_remove();
	row_print(job, job->work->name, bytes, first, best);
	return 0;
}

static double load_time(unsigned flags)
{
	double start;

	mems_finish();
	start = wall_now();
	check_done(mems_load(path, flags) == 0, "mems_load");
	return milliseconds_since(start);
}

static double load(struct job *job)
{
	double first = 0;
	double best = 0;
	size_t bytes;

	blocks_take(job);
	check_done(mems_save(path) == 0, "mems_save");
	bytes = file_bytes(path);
	for (unsigned pass = 0; pass < job->passes; pass++) {
		double start = wall_now();
		char *memory = bytes_read(bytes);

		least(&first, milliseconds_since(start), pass);
		munmap(memory, bytes);
		least(&best, load_time(0), pass);
	}
	files_remove();
	row_print(job, job->work->name, bytes, first, best);
	return 0;
}

static double map(struct job *job)
{
	struct mems_stats stats;
	double first = 0;
	double best = 0;
	size_t bytes;

	blocks_take(job);
	check_done(mems_save(path) == 0, "mems_save");
	bytes = file_bytes(path);
	mems_get_stats(&stats);
	for (unsigned pass = 0; pass < job->passes; pass++) {
		double start = wall_now();

		pages_touch(stats.metadata_bytes);
		least(&first, milliseconds_since(start), pass);
		least(&best, load_time(MAP), pass);
	}
	files_remove();
	row_print(job, job->work->name, bytes, first, best);
	return 0;
}

const struct work image_works[] = {
	{"save", images_prepare, BY_MEMS(save), true, false},
	{"load", images_prepare, BY_MEMS(load), true, false},
	{"map", images_prepare, BY_MEMS(map), true, false},
	{NULL, NULL, {NULL, NULL, NULL}, false, false},
};
