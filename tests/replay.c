/*
 * Replays allocation traces on a MeMS heap:
 *
 *   tests/replay [--check] TRACE...     "-" is standard input; the format is described in trace.h
 *
 * With --check every block is filled with a pattern of its own, which is verified at each realloc
 * and free and at the end, translation is tried on every block, and mems_check looks at the whole
 * heap again and again.
 * Exit 0: all well. 1: the heap failed. 2: a trace or the command line is wrong.
 */
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "mems.h"
#include "trace.h"

enum { EXIT_BAD_TRACE = 2 };

/* Of a block larger than both together only this much is filled at each of its ends, so that a
 * trace with huge blocks does not need as much memory. */
enum { FILL_BYTES = 32 << 20 };

/* How often mems_check looks during one trace, at most: its cost is linear in the heap. */
enum { LOOKS = 40, CALLS_BETWEEN_LOOKS = 1000 };

struct block {
	void *v_ptr; /* NULL while the block is not live */
	size_t size; /* as the trace asked for it, in bytes */
	size_t key;  /* of its pattern: the operation that allocated it */
};

struct replay {
	const char *name;
	const struct trace *trace;
	struct block *blocks;
	bool is_checking;
	bool has_failed;
};

/* ---- Patterns -------------------------------------------------------------------------------- */

/* Eight bytes of the pattern of a key. No two keys have much of it in common. */
static uint64_t pattern_word(size_t key, size_t index)
{
	uint64_t word = (uint64_t)key * UINT64_C(0x9E3779B97F4A7C15) + index;

	word = (word ^ (word >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
	return word ^ (word >> 31);
}

/* Writes the pattern to bytes [from, to) of a block, or compares it with them. */
static bool pattern_range(const struct block *block, size_t from, size_t to, bool is_write)
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
static bool pattern_apply(const struct block *block, size_t size, bool is_write)
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

static bool is_zero(const struct block *block)
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
static const char *block_fault(const struct block *block, size_t alignment)
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
static void check_new(struct replay *replay, const struct trace_op *op, struct block *block,
                      size_t kept)
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
static void check_old(struct replay *replay, const struct trace_op *op, const struct block *block)
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

/* Makes the call of an operation: its result, or for a free the address that was freed. */
static void *op_call(const struct trace_op *op, void *v_ptr)
{
	switch (op->kind) {
	case 'a': return mems_malloc(op->size);
	case 'c': return mems_calloc(1, op->size);
	case 'm': return mems_aligned_alloc(op->alignment, op->size);
	case 'r': return mems_realloc(v_ptr, op->size);
	default: mems_free(v_ptr); return v_ptr;
	}
}

static void replay_op(struct replay *replay, const struct trace_op *op)
{
	struct block *block = &replay->blocks[op->block];
	bool is_old = op->kind == 'f' || op->kind == 'r';
	size_t kept = is_old ? pattern_start(block->size) : 0;
	void *v_ptr;

	if (replay->is_checking && is_old)
		check_old(replay, op, block);
	errno = 0;
	v_ptr = op_call(op, block->v_ptr);
	if (v_ptr == NULL || errno != 0) {
		replay_fail(replay, op, errno != 0 ? strerror(errno) : "NULL without an error");
		return;
	}
	if (op->kind == 'f') {
		if (mems_get(v_ptr) != NULL)
			replay_fail(replay, op, "mems_get still knows a freed block");
		*block = (struct block){0};
		return;
	}
	block->v_ptr = v_ptr;
	block->size = op->size;
	if (!is_old)
		block->key = op->line;
	if (replay->is_checking)
		check_new(replay, op, block, kept < op->size ? kept : op->size);
}

/* Every operation until one fails. */
static void replay_ops(struct replay *replay)
{
	const struct trace *trace = replay->trace;
	size_t interval = trace->count / LOOKS + CALLS_BETWEEN_LOOKS;

	for (size_t i = 0; i < trace->count && !replay->has_failed; i++) {
		replay_op(replay, &trace->ops[i]);
		if (replay->is_checking && i % interval == 0 && !replay->has_failed)
			check_heap(replay, &trace->ops[i]);
	}
}

/* Says how it went, and in checking mode looks at all that is left. */
static void replay_end(struct replay *replay)
{
	struct mems_stats stats;

	for (size_t i = 0; i < replay->trace->blocks && replay->is_checking; i++)
		if (replay->blocks[i].v_ptr != NULL && !replay->has_failed)
			check_old(replay, NULL, &replay->blocks[i]);
	if (replay->is_checking && !replay->has_failed)
		check_heap(replay, NULL);
	mems_get_stats(&stats);
	if (!replay->has_failed)
		printf("%s: %zu calls, %zu blocks left, at most %zu bytes in blocks, %zu mapped%s\n",
		       replay->name, replay->trace->count, stats.process_segments,
		       stats.peak_process_bytes, stats.peak_mapped_bytes,
		       replay->is_checking ? ", all checked" : "");
}

/* ---- Options and files ----------------------------------------------------------------------- */

/* What a trace that says nothing runs with. */
static void options_reset(void)
{
	mems_option(MEMS_POLICY, MEMS_FIRST_FIT);
	mems_option(MEMS_ALIGNMENT, 8);
	mems_option(MEMS_START_ADDRESS, 1000);
	mems_option(MEMS_LIMIT, 0);
	for (size_t bytes = 4096; mems_option(MEMS_PAGE_SIZE, bytes) != 0 && bytes < 2 << 20;)
		bytes *= 2;
}

/* Sets the options of a trace: an exit status. */
static int options_set(const char *name, const struct trace *trace)
{
	options_reset();
	for (size_t i = 0; i < trace->option_count; i++) {
		const struct trace_option *option = &trace->options[i];

		if (mems_option(option->option, option->value) != 0) {
			fprintf(stderr, "%s:%zu: this value of the option is not allowed: %zu\n", name,
			        option->line, option->value);
			return EXIT_BAD_TRACE;
		}
	}
	return EXIT_SUCCESS;
}

static int replay_trace(const char *name, const struct trace *trace, bool is_checking)
{
	struct replay replay = {.name = name, .trace = trace, .is_checking = is_checking};
	int status = options_set(name, trace);

	if (status != EXIT_SUCCESS)
		return status;
	replay.blocks = calloc(trace->blocks + 1, sizeof *replay.blocks);
	if (replay.blocks == NULL) {
		fprintf(stderr, "%s: no memory for %zu blocks\n", name, trace->blocks);
		return EXIT_FAILURE;
	}
	mems_init();
	replay_ops(&replay);
	replay_end(&replay);
	mems_finish();
	free(replay.blocks);
	return replay.has_failed ? EXIT_FAILURE : EXIT_SUCCESS;
}

static int replay_file(const char *path, bool is_checking)
{
	bool is_standard_input = strcmp(path, "-") == 0;
	const char *name = is_standard_input ? "standard input" : path;
	FILE *in = is_standard_input ? stdin : fopen(path, "r");
	char error[TRACE_ERROR_MAX];
	struct trace trace;
	int status = EXIT_BAD_TRACE;

	if (in == NULL) {
		fprintf(stderr, "%s: %s\n", path, strerror(errno));
		return status;
	}
	if (trace_read(in, name, &trace, error) == 0)
		status = replay_trace(name, &trace, is_checking);
	else
		fprintf(stderr, "%s\n", error);
	trace_free(&trace);
	if (!is_standard_input)
		fclose(in);
	return status;
}

static int usage(void)
{
	fprintf(stderr, "usage: replay [--check] TRACE...     (\"-\" is standard input)\n");
	return EXIT_BAD_TRACE;
}

int main(int argc, char **argv)
{
	bool is_checking = false;
	int worst = EXIT_SUCCESS;
	int i = 1;

	for (; i < argc && strncmp(argv[i], "--", 2) == 0; i++) {
		if (strcmp(argv[i], "--check") != 0)
			return usage();
		is_checking = true;
	}
	if (i == argc)
		return usage();
	for (; i < argc; i++) {
		int status = replay_file(argv[i], is_checking);

		worst = status > worst ? status : worst;
	}
	return worst;
}
