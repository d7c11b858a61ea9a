/*
 * A little memory for calls that come while the heap cannot be asked. See arena.h.
 *
 * A few pools of slots, each pool with slots of one size. A slot holds one block, and an atomic
 * number beside it says how large that is, 0 for a free slot.
 */
#include "arena.h"

#include <stdatomic.h>
#include <stdint.h>

enum {
	POOLS = 3,
	POOL_BYTES = 256 << 10, /* of which only what is used costs memory */
	SLOT_BYTES_MIN = 256,   /* in the first pool; in each further one 16 times as many */
	SLOTS_MAX = POOL_BYTES / SLOT_BYTES_MIN,
	ALIGNMENT_MAX = 4096
};

static _Alignas(ALIGNMENT_MAX) unsigned char memory[POOLS][POOL_BYTES];
static _Atomic uint32_t sizes[POOLS][SLOTS_MAX]; /* of the blocks, in bytes */

static size_t slot_bytes(size_t pool)
{
	return (size_t)SLOT_BYTES_MIN << (4 * pool);
}

static void *pool_take(size_t pool, size_t size)
{
	for (size_t slot = 0; slot < POOL_BYTES / slot_bytes(pool); slot++) {
		uint32_t none = 0;

		if (atomic_compare_exchange_strong(&sizes[pool][slot], &none, (uint32_t)size))
			return &memory[pool][slot * slot_bytes(pool)];
	}
	return NULL;
}

void *arena_take(size_t alignment, size_t size)
{
	void *block = NULL;

	if (alignment > ALIGNMENT_MAX)
		return NULL;
	size += size == 0;
	for (size_t pool = 0; pool < POOLS && block == NULL; pool++)
		if (size <= slot_bytes(pool) && alignment <= slot_bytes(pool))
			block = pool_take(pool, size);
	return block;
}

/* Where the size of the block is that starts here; NULL where no slot does. */
static _Atomic uint32_t *size_of(const void *block)
{
	size_t offset = (size_t)((uintptr_t)block - (uintptr_t)memory);
	size_t pool = offset / POOL_BYTES;

	if (pool >= POOLS || offset % slot_bytes(pool) != 0)
		return NULL;
	return &sizes[pool][offset % POOL_BYTES / slot_bytes(pool)];
}

bool arena_free(void *block)
{
	_Atomic uint32_t *size = size_of(block);

	return size != NULL && atomic_exchange(size, 0) != 0;
}

size_t arena_size(const void *block)
{
	_Atomic uint32_t *size = size_of(block);

	return size == NULL ? 0 : *size;
}
