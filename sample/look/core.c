/* Reads the memory of a process from its core dump. See core.h. */
#define _GNU_SOURCE
#include "core.h"

#include <elf.h>
#include <errno.h>
#include <link.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { PIECE_BYTES = 1 << 20 };

static const char cannot_read[] = "cannot be read";
static const char no_memory[] = "there is no memory for it";

static uint64_t least(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

/* ---- The file -------------------------------------------------------------------------------- */

/* Reads as many of these bytes as there are. Returns how many. */
static size_t file_read(int file, void *to, size_t size, uint64_t offset)
{
	size_t done = 0;
	while (done < size) {
		const ssize_t more = pread(file, (char *)to + done, size - done, (off_t)(offset + done));
		if (more == 0 || (more < 0 && errno != EINTR))
			break;
		done += more > 0 ? (size_t)more : 0;
	}
	return done;
}

bool core_is_elf(const void *bytes, size_t size)
{
	return size >= SELFMAG && memcmp(bytes, ELFMAG, SELFMAG) == 0;
}

/* What is wrong with the first bytes of the file, or NULL. */
static const char *ident_fault(const unsigned char ident[EI_NIDENT])
{
	const union { uint16_t number; unsigned char bytes[2]; } order = { .number = 1 };
	const int data = order.bytes[0] == 1 ? ELFDATA2LSB : ELFDATA2MSB;
	if (ident[EI_CLASS] != (sizeof(void *) == 8 ? ELFCLASS64 : ELFCLASS32))
		return ident[EI_CLASS] == ELFCLASS32
		               ? "it is of a 32-bit program, which a 32-bit mems-look reads"
		               : "it is of a program with another word size than this one";
	if (ident[EI_DATA] != data)
		return "it is of a machine of the other byte order";
	return NULL;
}

/* How many segments there are, which may be too many for the header. */
static uint64_t segment_count(int file, const ElfW(Ehdr) *header)
{
	ElfW(Shdr) section;
	if (header->e_phnum != PN_XNUM)
		return header->e_phnum;
	if (file_read(file, &section, sizeof(section), header->e_shoff) != sizeof(section))
		return 0;
	return section.sh_info;
}

/* One entry of the program header. Returns false where it says what cannot be. */
static bool segment_add(struct core *core, const ElfW(Phdr) *header, uint64_t file_bytes)
{
	if (header->p_type != PT_LOAD || header->p_memsz == 0)
		return true;
	if (header->p_filesz > header->p_memsz || header->p_vaddr > UINTPTR_MAX - header->p_memsz)
		return false;
	const uint64_t room = header->p_offset < file_bytes ? file_bytes - header->p_offset : 0;
	const uint64_t stored = least(header->p_filesz, room);
	core->missing += header->p_filesz - stored;
	core->segments[core->count++] = (struct core_segment){
		.address = header->p_vaddr, .bytes = header->p_memsz,
		.offset = header->p_offset, .stored = stored };
	return true;
}

static int compare_addresses(const void *a, const void *b)
{
	const uint64_t one = ((const struct core_segment *)a)->address;
	const uint64_t other = ((const struct core_segment *)b)->address;
	return (one > other) - (one < other);
}

static const char *segments_read(struct core *core, const ElfW(Ehdr) *header, uint64_t file_bytes)
{
	const uint64_t count = segment_count(core->file, header);
	if (header->e_phentsize != sizeof(ElfW(Phdr)) || count == 0)
		return "it is no whole core dump: it has no segments";
	if (header->e_phoff > file_bytes || count > (file_bytes - header->e_phoff) / sizeof(ElfW(Phdr)))
		return "it is no whole core dump: it ends within its header";
	core->segments = calloc((size_t)count, sizeof(*core->segments));
	if (core->segments == NULL)
		return no_memory;
	for (uint64_t i = 0; i < count; i++) {
		ElfW(Phdr) entry;
		if (file_read(core->file, &entry, sizeof(entry), header->e_phoff + i * sizeof(entry)) !=
		    sizeof(entry))
			return cannot_read;
		if (!segment_add(core, &entry, file_bytes))
			return "it is a damaged core dump: a segment is larger than memory";
	}
	qsort(core->segments, core->count, sizeof(*core->segments), compare_addresses);
	for (size_t i = 1; i < core->count; i++)
		if (core->segments[i - 1].bytes > core->segments[i].address - core->segments[i - 1].address)
			return "it is a damaged core dump: its segments overlap";
	return NULL;
}

const char *core_open(struct core *core, int file, uint64_t file_bytes)
{
	ElfW(Ehdr) header;
	*core = (struct core){ .file = file };
	if (file_read(file, &header, sizeof(header), 0) != sizeof(header))
		return "it is no whole core dump: it ends within its header";
	const char *fault = ident_fault(header.e_ident);
	if (fault == NULL && header.e_type != ET_CORE)
		fault = "it is a program or a library, not a core dump";
	if (fault == NULL)
		fault = segments_read(core, &header, file_bytes);
	if (fault != NULL)
		core_close(core);
	return fault;
}

void core_close(struct core *core)
{
	free(core->segments);
	core->segments = NULL;
	core->count = 0;
}

/* ---- The memory ------------------------------------------------------------------------------ */

/* The segment that has this address, or the first one after it; the last one's successor if there
 * is none. */
static const struct core_segment *segment_from(const struct core *core, uint64_t address)
{
	size_t low = 0;
	for (size_t high = core->count; low < high;) {
		const size_t middle = low + (high - low) / 2;
		const struct core_segment *segment = &core->segments[middle];
		if (address >= segment->address && address - segment->address >= segment->bytes)
			low = middle + 1;
		else if (address >= segment->address)
			return segment;
		else
			high = middle;
	}
	return core->segments + low;
}

bool core_has(const struct core *core, uint64_t address, uint64_t size)
{
	const struct core_segment *segment = segment_from(core, address);
	for (; size != 0; segment++) {
		if (segment == core->segments + core->count || segment->address > address)
			return false;
		const uint64_t more = least(segment->bytes - (address - segment->address), size);
		address += more;
		size -= more;
	}
	return true;
}

size_t core_read(const struct core *core, uint64_t address, void *to, size_t size)
{
	const struct core_segment *segment = segment_from(core, address);
	size_t done = 0, found = 0;
	memset(to, 0, size);
	for (; done < size && segment < core->segments + core->count; segment++) {
		if (segment->address > address + done) {
			const uint64_t gap = segment->address - (address + done);
			if (gap >= size - done)
				break;
			done += (size_t)gap;
		}
		const uint64_t offset = address + done - segment->address;
		const size_t in_memory = (size_t)least(segment->bytes - offset, size - done);
		if (offset < segment->stored)
			found += file_read(core->file, (char *)to + done,
			                   (size_t)least(segment->stored - offset, in_memory),
			                   segment->offset + offset);
		done += in_memory;
	}
	return found;
}

static int compare_stored(const void *a, const void *b)
{
	const struct core_segment *one = a, *other = b;
	if (one->stored != other->stored)
		return one->stored < other->stored ? -1 : 1;
	return compare_addresses(a, b);
}

/* One segment, piece by piece. */
static bool segment_find(const struct core *core, const struct core_segment *segment,
                         uint64_t *piece, uint64_t word, core_visitor *visit, void *context)
{
	for (uint64_t done = 0, got; done < segment->stored; done += got) {
		const size_t size = (size_t)least(segment->stored - done, PIECE_BYTES);
		got = file_read(core->file, piece, size, segment->offset + done);
		for (size_t i = 0; i < got / sizeof(word); i++)
			if (piece[i] == word && visit(segment->address + done + i * sizeof(word), context))
				return true;
		if (got < size)
			return false;
	}
	return false;
}

bool core_find(const struct core *core, uint64_t word, core_visitor *visit, void *context)
{
	const size_t bytes = core->count * sizeof(*core->segments);
	struct core_segment *order = malloc(bytes);
	uint64_t *piece = malloc(PIECE_BYTES);
	bool is_found = false;
	if (order != NULL && piece != NULL) {
		memcpy(order, core->segments, bytes);
		qsort(order, core->count, sizeof(*order), compare_stored);
		for (size_t i = 0; i < core->count && !is_found; i++)
			is_found = segment_find(core, &order[i], piece, word, visit, context);
	}
	free(order);
	free(piece);
	return is_found;
}
