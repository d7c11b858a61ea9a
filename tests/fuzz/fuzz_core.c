/*
 * A fuzz target: the input is a list of changes, four bytes each, to the core dump of a small heap
 * with history, or where it is cut off. mems-look's way to open it refuses it in one line, or shows
 * a heap that can be walked, printed and asked.
 *
 * The core dump is made here, of the heap that look.c has as mems.c is a part of it: the structure,
 * what is in use of its tables, and no contents of blocks. So an input is small, and all of it is reached.
 */
#define _GNU_SOURCE
#include "../../sample/look/look.c" /* NOLINT(bugprone-suspicious-include): for the structure */

#include <elf.h>
#include <link.h>

#include "fuzz.h"

enum { MOST_SEGMENTS = TABLES + 8, MOST_BYTES = 1 << 20, LIMIT = 64 << 10, REMEMBERED = 20 };

/* The core dump: the headers, and then what the segments hold. */
static struct {
	unsigned char bytes[MOST_BYTES];
	size_t size;
	ElfW(Phdr) segments[MOST_SEGMENTS];
	size_t count;
} dump;

static void demand(bool holds, const char *sentence)
{
	if (holds)
		return;
	fprintf(stderr, "%s\n", sentence);
	abort();
}

/* Memory of the process: of so many bytes that it has, the first are in the file. */
static void segment_put(const void *memory, size_t bytes, size_t stored)
{
	demand(dump.count < MOST_SEGMENTS && stored <= MOST_BYTES - dump.size, "no room for the dump");
	dump.segments[dump.count++] = (ElfW(Phdr)){
		.p_type = PT_LOAD, .p_offset = dump.size, .p_vaddr = (uintptr_t)memory,
		.p_filesz = stored, .p_memsz = bytes };
	if (stored != 0)
		memcpy(dump.bytes + dump.size, memory, stored);
	dump.size += stored;
}

static void mapping_put(const struct mapping *mapping, size_t stored)
{
	segment_put(mapping->memory, mapping->bytes, min_size(stored, mapping->bytes));
}

/* A heap with blocks, cached blocks and HOLEs, and with labels. */
static void heap_make(void)
{
	static char labels[3][8] = { "alpha", "beta", "gamma" };
	void *blocks[40];
	mems_option(MEMS_POLICY, MEMS_QUICK_FIT);
	mems_option(MEMS_LIMIT, LIMIT);
	mems_option(MEMS_HISTORY, REMEMBERED);
	mems_init();
	for (size_t i = 0; i < 40; i++) {
		mems_set_label(labels[i % 3]);
		blocks[i] = mems_malloc(i * i % 700 + 1);
		demand(blocks[i] != NULL, "no heap");
	}
	for (size_t i = 0; i < 40; i += 3)
		mems_free(blocks[i]);
	demand(mems_realloc(blocks[1], 1000) != NULL, "no block");
	segment_put(labels, sizeof(labels), sizeof(labels));
}

static void dump_make(void)
{
	const struct journal *journal = &heap.journal;
	dump.size = sizeof(ElfW(Ehdr)) + sizeof(dump.segments);
	heap_make();
	segment_put(&heap, sizeof(heap), sizeof(heap));
	segment_put(heap.base, heap.top << heap.shift, 0);
	for (unsigned i = 0; i < TABLES; i++)
		if (heap.tables[i].reserved_bytes != 0)
			segment_put(heap.tables[i].memory, heap.tables[i].reserved_bytes,
			            table_used(i));
	mapping_put(&journal->arrays[JOURNAL_BLOCKS], journal->entries * sizeof(struct live_block));
	mapping_put(&journal->arrays[JOURNAL_BUCKETS], journal->entries * sizeof(uint32_t));
	mapping_put(&journal->arrays[JOURNAL_SITES], (size_t)sites_bytes(journal->site_count));
	mapping_put(&journal->arrays[JOURNAL_EVENTS], journal->event_slots * sizeof(struct event));
	ElfW(Ehdr) header = {
		.e_ident = { ELFMAG0, ELFMAG1, ELFMAG2, ELFMAG3, sizeof(void *) == 8 ? ELFCLASS64 : ELFCLASS32,
		             __BYTE_ORDER == __LITTLE_ENDIAN ? ELFDATA2LSB : ELFDATA2MSB, EV_CURRENT },
		.e_type = ET_CORE, .e_phoff = sizeof(header), .e_phentsize = sizeof(ElfW(Phdr)),
		.e_phnum = (ElfW(Half))dump.count };
	memcpy(dump.bytes, &header, sizeof(header));
	memcpy(dump.bytes + sizeof(header), dump.segments, sizeof(dump.segments));
	mems_finish();
}

static int segment_visit(const struct mems_segment *segment, void *context)
{
	char bytes[16];
	struct mems_segment found;
	if (segment->type == MEMS_PROCESS)
		look_contents(context, segment, 0, bytes, min_size(segment->size, sizeof(bytes)));
	demand(mems_segment_at((const void *)segment->start, &found) == 0 && found.end == segment->end,
	       "a segment that is walked is not found");
	return 0;
}

static void heap_ask(struct look *look, FILE *nowhere)
{
	struct mems_event events[4];
	mems_walk(segment_visit, look);
	mems_fprint_stats(nowhere);
	mems_fprint_json(nowhere);
	mems_fprint_live(nowhere);
	for (uintptr_t address = 900; address < 3000; address += 50) {
		mems_explain((const void *)address, nowhere);
		mems_history((const void *)address, events, 4);
	}
	mems_explain(look, nowhere);
}

/* Byte 0 says in which part of the file, of which there are the segments and the headers, bytes 1 and
 * 2 where in it, byte 3 which bits change. Returns where the file ends: there, if byte 0 is 255. */
static size_t dump_change(unsigned char *bytes, const uint8_t *change)
{
	const size_t part = change[0] % (dump.count + 1);
	const ElfW(Phdr) *segment = &dump.segments[part];
	const size_t start = part == dump.count ? 0 : (size_t)segment->p_offset;
	const size_t size = part == dump.count ? dump.segments[0].p_offset : segment->p_filesz;
	const size_t place = size == 0 ? start : start + (change[1] | (size_t)change[2] << 8) % size;
	if (change[0] == UINT8_MAX)
		return place;
	bytes[place] ^= change[3];
	return dump.size;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
	static unsigned char core[MOST_BYTES];
	static char path[40];
	static FILE *nowhere;
	static int file = -1;
	struct look look;
	if (file < 0) {
		dump_make();
		file = memfd_create("core", 0);
		nowhere = fopen("/dev/null", "w");
		snprintf(path, sizeof(path), "/proc/self/fd/%d", file);
	}
	const bool is_changed = size >= 4;
	size_t end = dump.size;
	memcpy(core, dump.bytes, dump.size);
	for (; size >= 4; size -= 4, bytes += 4)
		end = min_size(end, dump_change(core, bytes));
	demand(file >= 0 && nowhere != NULL && ftruncate(file, 0) == 0 &&
	       pwrite(file, core, end, 0) == (ssize_t)end, "no file");
	if (look_open(&look, path)) {
		demand(is_changed || heap.journal.is_on, "the history is not found");
		heap_ask(&look, nowhere);
		look_close(&look);
	} else {
		demand(is_changed, look.fault);
		demand(look.fault[0] != '\0' && strchr(look.fault, '\n') == NULL, "no line that says why");
	}
	return 0;
}
