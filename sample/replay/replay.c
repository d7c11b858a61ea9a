/* Turns operations of a trace into calls of a heap. See replay.h. */
#include "replay.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "mems.h"

/* Of a block larger than both together only this much is filled at each of its ends, so that a
 * trace with huge blocks does not need as much memory. */
enum { FILL_BYTES = 32 << 20 };

/* mems_check looks after so many calls, and a share of those so far: its cost is linear in the
 * heap. */
enum { LOOK_SHARE = 10, CALLS_BETWEEN_LOOKS = 1000 };

/* ---- Patterns -------------------------------------------------------------------------------- */

/* Eight bytes of the pattern of a key. No two keys have much of it in common. */
static uint64_t pattern_word(size_t key, size_t index)
{
	uint64_t word = (uint64_t)key * UINT64_C(0x9E3779B97F4A7C15) + index;

	word = (word ^ (word >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
	return word ^ (word >> 31);
}

/* Writes the pattern to bytes [from, to) of a block, or compares it with them. */
static bool pattern_range(const struct replay_block *block, size_t from, size_t to, bool is_write)
{
	unsigned char *bytes = mems_get(block->v_ptr);
	size_t step;

	for (size_t i = from; i < to; i += step) {
		uint64_t word = pattern_word(block->key, i / 8);
		const unsigned char *source = (const unsigned char *)&word + i % 8;

		step = 8 - i % 8 < to - i ? 8 - i % 8 : to - i;
		if (is_write)
			memcpy(bytes + i, source, step);
		else if (memcmp(bytes + i, source, step) != 0)
			return false;
	}
	return true;
}

/* The same for a whole block, without the middle of a huge one. Which bytes are left out depends
 * on the size, so a block that changes its size is filled anew. */
static bool pattern_apply(const struct replay_block *block, size_t size, bool is_write)
{
	if (size <= 2 * (size_t)FILL_BYTES)
		return pattern_range(block, 0, size, is_write);
	return pattern_range(block, 0, FILL_BYTES, is_write) &&
	       pattern_range(block, size - FILL_BYTES, size, is_write);
}

/* How many bytes from the start on pattern_apply leaves none out of. */
static size_t pattern_start(size_t size)
{
	return size <= 2 * (size_t)FILL_BYTES ? size : FILL_BYTES;
}

static bool is_zero(const struct replay_block *block)
{
	const unsigned char *bytes = mems_get(block->v_ptr);
	size_t size = block->size < FILL_BYTES ? block->size : FILL_BYTES;

	return bytes[0] == 0 && memcmp(bytes, bytes + 1, size - 1) == 0 &&
	       bytes[block->size - 1] == 0;
}

/* ---- Checks ---------------------------------------------------------------------------------- */

/* Says what went wrong at an operation; NULL stands for the end of the trace. */
static void replay_fail(struct replay *replay, const struct trace_op *op, const char *what)
{
	if (op == NULL)
		fprintf(stderr, "%s: at the end: %s\n", replay->name, what);
	else
		fprintf(stderr, "%s:%zu: %s\n", replay->name, op->line, what);
	replay->has_failed = true;
}

/* Does translation say of this live block what the contract says? NULL, or what is wrong. */
static const char *block_fault(const struct replay_block *block, size_t alignment)
{
	char *v_ptr = block->v_ptr;
	char *p_ptr = mems_get(v_ptr);
	size_t usable = mems_usable_size(v_ptr);

	if (p_ptr == NULL)
		return "mems_get does not know the block";
	if (alignment != 0 && (uintptr_t)p_ptr % alignment != 0)
		return "the block is not aligned";
	if (usable < block->size)
		return "mems_usable_size is less than the size";
	if (mems_get_range(v_ptr, usable) != p_ptr)
		return "mems_get_range refuses the block";
	if (mems_get((char *)((uintptr_t)v_ptr + usable - 1)) != p_ptr + usable - 1)
		return "mems_get is wrong about the last byte";
	if (mems_virtual(p_ptr + usable - 1) != (void *)((uintptr_t)v_ptr + usable - 1))
		return "mems_virtual is wrong about the last byte";
	return NULL;
}

/* A block is new, or has another size or place. kept: how many bytes from its start on must hold
 * its pattern. */
static void check_new(struct replay *replay, const struct trace_op *op,
                      const struct replay_block *block, size_t kept)
{
	const char *fault = block_fault(block, op->alignment);

	if (fault != NULL)
		replay_fail(replay, op, fault);
	else if (op->kind == 'c' && !is_zero(block))
		replay_fail(replay, op, "mems_calloc gave bytes that are not zero");
	else if (!pattern_range(block, 0, kept, false))
		replay_fail(replay, op, "mems_realloc changed the contents");
	else
		pattern_apply(block, block->size, true);
}

/* A block is about to be freed or resized, or the trace has ended. */
static void check_old(struct replay *replay, const struct trace_op *op,
                      const struct replay_block *block)
{
	const char *fault = block_fault(block, 0);

	if (fault != NULL)
		replay_fail(replay, op, fault);
	else if (!pattern_apply(block, block->size, false))
		replay_fail(replay, op, "the contents of the block have changed");
}

static void check_heap(struct replay *replay, const struct trace_op *op)
{
	if (mems_check(stderr) != 0)
		replay_fail(replay, op, "mems_check finds the heap broken");
}

/* ---- Replaying ------------------------------------------------------------------------------- */

/* The entry of a block, new ones included; NULL without memory. */
static struct replay_block *block_entry(struct replay *replay, uint32_t block)
{
	if (block >= replay->block_slots) {
		size_t slots = ((size_t)block + 32) * 2;
		struct replay_block *blocks = realloc(replay->blocks, slots * sizeof *blocks);

		if (blocks == NULL)
			return NULL;
		memset(blocks + replay->block_slots, 0, (slots - replay->block_slots) * sizeof *blocks);
		replay->blocks = blocks;
		replay->block_slots = slots;
	}
	return &replay->blocks[block];
}

/* Notes the result of a call that did not fail. old_bytes: what the block had before. */
static void block_update(struct replay *replay, const struct trace_op *op,
                         struct replay_block *block, void *v_ptr, size_t old_bytes)
{
	replay->process_bytes -= old_bytes;
	if (op->kind == 'f') {
		if (replay->is_checking && mems_get(v_ptr) != NULL)
			replay_fail(replay, op, "mems_get still knows a freed block");
		*block = (struct replay_block){0};
		return;
	}
	block->v_ptr = v_ptr;
	block->size = op->size;
	if (op->kind != 'r')
		block->key = op->line;
	replay->process_bytes += replay->engine->usable_size(v_ptr);
}

static void look(struct replay *replay, const struct trace_op *op)
{
	if (replay->calls < replay->next_look)
		return;
	replay->next_look = replay->calls + replay->calls / LOOK_SHARE + CALLS_BETWEEN_LOOKS;
	check_heap(replay, op);
}

/* Would a call need more than the limit leaves, with so many pages mapped as are known? */
static bool is_beyond(const struct replay *replay, const struct trace_op *op)
{
	size_t needed = op->size / replay->page_size + (op->size % replay->page_size != 0);

	return needed > replay->limit / replay->page_size - replay->pages;
}

/* Was a call refused because there is a limit? Then more pages than that would have been mapped.
 * Pages never become fewer, so they need not be counted again, by a walk through the whole heap, where
 * those that were counted last leave no room already. */
static bool is_beyond_limit(struct replay *replay, const struct trace_op *op)
{
	struct mems_stats stats;

	if (replay->limit == 0 || errno != ENOMEM)
		return false;
	if (is_beyond(replay, op))
		return true;
	replay->engine->get_stats(&stats);
	replay->pages = stats.pages;
	return is_beyond(replay, op);
}

/* Why a call failed. */
static const char *failure(const struct replay *replay, const struct trace_op *op)
{
	if (errno == EINVAL && op->alignment > replay->page_size)
		return "ALIGNMENT is above the page size (see --page-size)";
	return errno != 0 ? strerror(errno) : "NULL without an error";
}

/* Makes the call of an operation that has a block: false where it failed. */
static bool block_op(struct replay *replay, const struct trace_op *op)
{
	struct replay_block *block = block_entry(replay, op->block);
	bool is_old = op->kind == 'f' || op->kind == 'r';
	size_t kept = block != NULL && is_old ? pattern_start(block->size) : 0;
	size_t old_bytes = block != NULL && is_old ? replay->engine->usable_size(block->v_ptr) : 0;
	void *v_ptr;

	if (block == NULL) {
		replay_fail(replay, op, "no memory for the blocks of the trace");
		return false;
	}
	if (is_old && block->v_ptr == NULL)
		return true; /* it could not be had */
	if (replay->is_checking && is_old)
		check_old(replay, op, block);
	errno = 0;
	v_ptr = replay->engine->call(op, block->v_ptr);
	if (v_ptr == NULL && is_beyond_limit(replay, op)) {
		replay->refused++;
		return true;
	}
	if (v_ptr == NULL || errno != 0) {
		replay_fail(replay, op, failure(replay, op));
		return false;
	}
	block_update(replay, op, block, v_ptr, old_bytes);
	if (replay->is_checking && op->kind != 'f')
		check_new(replay, op, block, kept < op->size ? kept : op->size);
	replay->result = v_ptr;
	return true;
}

bool replay_op(struct replay *replay, const struct trace_op *op)
{
	replay->result = NULL;
	mems_set_label(op->label);
	if (op->kind == 'g')
		replay->engine->trim();
	else if (!block_op(replay, op))
		return false;
	mems_set_label(NULL);
	replay->calls++;
	if (replay->process_bytes > replay->most_bytes) {
		replay->most_bytes = replay->process_bytes;
		replay->most_bytes_call = replay->calls;
	}
	if (replay->is_checking && !replay->has_failed)
		look(replay, op);
	return !replay->has_failed;
}

void replay_end(struct replay *replay)
{
	for (size_t i = 0; i < replay->block_slots && replay->is_checking; i++)
		if (replay->blocks[i].v_ptr != NULL && !replay->has_failed)
			check_old(replay, NULL, &replay->blocks[i]);
	if (replay->is_checking && !replay->has_failed)
		check_heap(replay, NULL);
}

void replay_free(struct replay *replay)
{
	free(replay->blocks);
	replay->blocks = NULL;
	replay->block_slots = 0;
}
