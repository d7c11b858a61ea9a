/* Turns two heaps into a list of what is different. See diff.h. */
#include "diff.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { PIECE_BYTES = 64 << 10 };

/* ---- The blocks of one heap ------------------------------------------------------------------ */

struct noting {
	const struct look *look;
	struct diff_blocks *blocks;
	size_t room;
};

/* Mixes bytes into a hash: eight at a time, each step as in splitmix64. */
static uint64_t hash_add(uint64_t hash, const unsigned char *bytes, size_t size)
{
	for (size_t done = 0; done < size; done += sizeof(uint64_t)) {
		uint64_t word = 0;
		memcpy(&word, bytes + done, size - done < sizeof(word) ? size - done : sizeof(word));
		hash = (hash ^ word) + UINT64_C(0x9E3779B97F4A7C15);
		hash = (hash ^ hash >> 30) * UINT64_C(0xBF58476D1CE4E5B9);
		hash = (hash ^ hash >> 27) * UINT64_C(0x94D049BB133111EB);
		hash ^= hash >> 31;
	}
	return hash;
}

static struct diff_block block_note(const struct look *look, const struct mems_segment *segment)
{
	static unsigned char piece[PIECE_BYTES];
	struct diff_block block = { .start = segment->start, .size = segment->size, .is_known = true };
	for (size_t done = 0; done < segment->size; done += PIECE_BYTES) {
		const size_t left = segment->size - done;
		const size_t size = left < PIECE_BYTES ? left : PIECE_BYTES;
		block.is_known &= look_contents(look, segment, done, piece, size) == size;
		block.hash = hash_add(block.hash, piece, size);
	}
	return block;
}

static int segment_note(const struct mems_segment *segment, void *context)
{
	struct noting *noting = context;
	struct diff_blocks *blocks = noting->blocks;
	if (segment->type != MEMS_PROCESS)
		return 0;
	if (blocks->count == noting->room) {
		const size_t room = noting->room * 2 + 1024;
		struct diff_block *more = realloc(blocks->blocks, room * sizeof(*more));
		if (more == NULL)
			return -1;
		blocks->blocks = more;
		noting->room = room;
	}
	blocks->blocks[blocks->count++] = block_note(noting->look, segment);
	return 0;
}

bool diff_note(const struct look *look, struct diff_blocks *blocks)
{
	struct noting noting = { .look = look, .blocks = blocks };
	*blocks = (struct diff_blocks){ 0 };
	return mems_walk(segment_note, &noting) == 0;
}

/* ---- Two heaps ------------------------------------------------------------------------------- */

struct tally {
	size_t taken, freed, resized, changed, same, unknown;
};

static void line_write(FILE *out, const char *what, const struct diff_block *block)
{
	fprintf(out, "%-8s PROCESS[%" PRIuPTR ":%" PRIuPTR "], %zu bytes\n", what, block->start,
	        block->start + block->size - 1, block->size);
}

/* Two blocks that start at the same address. */
static void pair_write(const struct diff_block *before, const struct diff_block *after,
                       struct tally *tally, FILE *out)
{
	if (before->size != after->size) {
		fprintf(out, "%-8s PROCESS[%" PRIuPTR ":%" PRIuPTR "], %zu bytes, from %zu\n", "resized",
		        after->start, after->start + after->size - 1, after->size, before->size);
		tally->resized++;
	} else if (!before->is_known || !after->is_known) {
		tally->unknown++;
	} else if (before->hash != after->hash) {
		line_write(out, "changed", after);
		tally->changed++;
	} else {
		tally->same++;
	}
}

void diff_write(const struct diff_blocks *first, const struct diff_blocks *second, FILE *out)
{
	const struct diff_block *before = first->blocks, *after = second->blocks;
	size_t befores = first->count, afters = second->count;
	struct tally tally = { 0 };
	while (befores != 0 || afters != 0) {
		const bool is_freed = afters == 0 || (befores != 0 && before->start < after->start);
		const bool is_taken = befores == 0 || (afters != 0 && after->start < before->start);
		if (is_freed) {
			line_write(out, "freed", before);
			tally.freed++;
		} else if (is_taken) {
			line_write(out, "taken", after);
			tally.taken++;
		} else {
			pair_write(before, after, &tally, out);
		}
		befores -= !is_taken;
		before += !is_taken;
		afters -= !is_freed;
		after += !is_freed;
	}
	fprintf(out, "%zu taken, %zu freed, %zu resized, %zu changed, %zu the same\n", tally.taken,
	        tally.freed, tally.resized, tally.changed, tally.same);
	if (tally.unknown != 0)
		fprintf(out, "%zu of the same size, whose contents are not in both files\n", tally.unknown);
}
