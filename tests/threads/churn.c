/* Threads that use the heap all the time; see churn.h. */
#define _GNU_SOURCE
#include "churn.h"

#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>

#include "mems.h"

enum {
	WORD_BYTES = 8,
	STEP_WORDS = 8,            /* of a large block one word in so many is written */
	WHOLE_WORDS = 128,         /* of a small one each */
	UNTOUCHED = 12321,         /* an error number that nothing sets */
	FAILURES_PRINTED = 10
};

_Atomic size_t expect_failures;

bool expect_at(bool is_met, const char *condition, const char *file, int line)
{
	const int error = errno;
	if (!is_met && atomic_fetch_add(&expect_failures, 1) < FAILURES_PRINTED)
		fprintf(stderr, "%s:%d: does not hold: %s (errno %d)\n", file, line, condition, error);
	errno = error;
	return is_met;
}

/* ---- Random numbers ----------------------------------------------------------------------- */

/* G. Marsaglia, "Xorshift RNGs", 2003. The state is never 0. */
static size_t random_below(uint64_t *state, size_t bound)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return (size_t)((*state >> 11) % bound);
}

static size_t random_size(uint64_t *state, size_t small_only)
{
	static const size_t most[] = { 64, 64, 64, 64, 64, 64, 1000, 1000, 8000, 60000 };
	const size_t bound = most[random_below(state, sizeof most / sizeof most[0])];
	return 1 + random_below(state, small_only != 0 ? small_only : bound);
}

/* ---- Blocks with contents ----------------------------------------------------------------- */

static void *at(uintptr_t address)
{
	return (void *)address;
}

static size_t words_of(size_t size)
{
	return (size + WORD_BYTES - 1) / WORD_BYTES;
}

static uint64_t header_of(size_t size, uint32_t tag)
{
	return (uint64_t)size << 32 | tag;
}

static uint64_t word_value(uint64_t header, size_t index)
{
	return header * 0x9e3779b97f4a7c15U + index;
}

/* The word to write or check after this one; the last one is among them. */
static size_t word_after(size_t index, size_t words)
{
	const size_t next = index + (words > WHOLE_WORDS ? STEP_WORDS : 1);
	return next < words || index == words - 1 ? next : words - 1;
}

/* The first word says what the others are. */
void churn_block_fill(uintptr_t address, size_t size, uint32_t tag)
{
	const size_t words = words_of(size);
	const uint64_t header = header_of(size, tag);
	uint64_t *const physical = mems_get_range(at(address), words * WORD_BYTES);
	if (!expect(physical != NULL))
		return;
	physical[0] = header;
	for (size_t i = 1; i < words; i = word_after(i, words))
		physical[i] = word_value(header, i);
}

/* Whether the first so many words of the block are as they were filled under this header. */
static bool has_words(uintptr_t address, size_t words, size_t checked, uint64_t header)
{
	const uint64_t *const physical = mems_get(at(address));
	if (!expect(physical != NULL) || !expect(physical[0] == header))
		return false;
	for (size_t i = 1; i < words; i = word_after(i, words)) {
		if (i < checked && !expect(physical[i] == word_value(header, i)))
			return false;
	}
	return true;
}

size_t churn_block_size(uintptr_t address)
{
	const uint64_t *const physical = mems_get(at(address));
	return expect(physical != NULL) ? (size_t)(physical[0] >> 32) : 0;
}

bool churn_block_is_intact(uintptr_t address)
{
	const uint64_t *const physical = mems_get(at(address));
	if (!expect(physical != NULL))
		return false;
	const size_t words = words_of(churn_block_size(address));
	return expect(mems_usable_size(at(address)) == words * WORD_BYTES) &&
	       has_words(address, words, words, physical[0]);
}

uintptr_t churn_block_take(size_t size, uint32_t tag)
{
	errno = UNTOUCHED;
	void *const block = mems_malloc(size);
	if (!expect(block != NULL) || !expect(errno == UNTOUCHED))
		return 0;
	churn_block_fill((uintptr_t)block, size, tag);
	return (uintptr_t)block;
}

bool churn_block_is_translated(uintptr_t address, size_t size, size_t offset)
{
	const size_t usable = words_of(size) * WORD_BYTES;
	char *const start = mems_get(at(address));
	return expect(start != NULL) &&
	       expect(mems_get(at(address + offset)) == start + offset) &&
	       expect(mems_get(at(address + usable - 1)) == start + usable - 1) &&
	       expect(mems_get_range(at(address), usable) == start) &&
	       expect(mems_get_range(at(address + offset), usable - offset) == start + offset) &&
	       expect(mems_get_range(at(address), usable + 1) == NULL) &&
	       expect(mems_get_range(at(address + offset), usable - offset + 1) == NULL) &&
	       expect(mems_virtual(start + offset) == at(address + offset)) &&
	       expect(mems_virtual(start + usable - 1) == at(address + usable - 1));
}

static void block_free(uintptr_t address)
{
	churn_block_is_intact(address);
	errno = UNTOUCHED;
	mems_free(at(address));
	expect(errno == UNTOUCHED);
}

static uintptr_t block_take_zeroed(size_t size, uint32_t tag)
{
	void *const block = mems_calloc(words_of(size), WORD_BYTES);
	const uint64_t *const physical = mems_get(block);
	const size_t words = words_of(size);
	if (!expect(physical != NULL))
		return 0;
	for (size_t i = 0; i < words; i = word_after(i, words)) {
		if (!expect(physical[i] == 0))
			break;
	}
	churn_block_fill((uintptr_t)block, size, tag);
	return (uintptr_t)block;
}

static uintptr_t block_take_aligned(size_t size, uint32_t tag)
{
	const size_t alignment = (size_t)16 << tag % 9;
	void *const block = mems_aligned_alloc(alignment, size);
	if (!expect(block != NULL) || !expect((uintptr_t)mems_get(block) % alignment == 0))
		return 0;
	churn_block_fill((uintptr_t)block, size, tag);
	return (uintptr_t)block;
}

static uintptr_t block_resize(uintptr_t address, size_t size, uint32_t tag)
{
	const size_t before = churn_block_size(address);
	const uint64_t header = *(uint64_t *)mems_get(at(address));
	churn_block_is_intact(address);
	void *const block = mems_realloc(at(address), size);
	if (!expect(block != NULL))
		return address;
	const size_t kept = words_of(size < before ? size : before);
	has_words((uintptr_t)block, words_of(before), kept, header);
	churn_block_fill((uintptr_t)block, size, tag);
	return (uintptr_t)block;
}

/* ---- Threads ------------------------------------------------------------------------------ */

static uintptr_t new_block(struct churner *churner)
{
	const size_t size = random_size(&churner->random, churner->churn->small_only);
	const uint32_t tag = (uint32_t)churner->random;
	switch (random_below(&churner->random, 8)) {
	case 0:
		return block_take_aligned(size, tag);
	case 1:
	case 2:
		return block_take_zeroed(size, tag);
	default:
		return churn_block_take(size, tag);
	}
}

static void misuse(uintptr_t address)
{
	errno = UNTOUCHED;
	mems_free(at(address + 1));
	expect(errno == EINVAL);
}

/* One call that changes the heap, or hands a block over, or only looks. */
static void churn_once(struct churner *churner)
{
	uint64_t *const random = &churner->random;
	uintptr_t *const slot = &churner->slots[random_below(random, CHURN_SLOTS)];
	const size_t kind = random_below(random, 64);
	churner->calls += kind < 12 || kind >= 24 || *slot == 0;
	if (*slot == 0) {
		*slot = new_block(churner);
	} else if (kind < 12) {
		const size_t size = random_size(random, churner->churn->small_only);
		*slot = block_resize(*slot, size, (uint32_t)*random);
	} else if (kind < 24) {
		_Atomic uintptr_t *const mailbox =
			&churner->churn->mailboxes[random_below(random, CHURN_MAILBOXES)];
		*slot = atomic_exchange_explicit(mailbox, *slot, memory_order_acq_rel);
	} else if (kind < 30) {
		const size_t size = churn_block_size(*slot);
		churn_block_is_translated(*slot, size, random_below(random, size));
	} else if (kind < 31) {
		misuse(*slot);
	} else {
		block_free(*slot);
		*slot = 0;
	}
}

static void *churner_run(void *context)
{
	struct churner *const churner = context;
	struct churn *const churn = churner->churn;
	while (churner->calls < churn->calls_each) {
		for (unsigned i = 0; i < CHURN_ROUND; i++)
			churn_once(churner);
		atomic_fetch_add_explicit(&churn->rounds, 1, memory_order_relaxed);
		if (atomic_load_explicit(&churn->must_stop, memory_order_relaxed))
			break;
	}
	return NULL;
}

void churn_start(struct churn *churn, unsigned count, uint64_t seed)
{
	churn->count = count;
	for (unsigned i = 0; i < count; i++) {
		struct churner *const churner = &churn->churners[i];
		churner->churn = churn;
		churner->random = (seed + i + 1) * 0x9e3779b97f4a7c15U | 1;
		if (!expect(pthread_create(&churner->thread, NULL, churner_run, churner) == 0)) {
			churn->count = i;
			return;
		}
	}
}

void churn_join(struct churn *churn)
{
	for (unsigned i = 0; i < churn->count; i++)
		expect(pthread_join(churn->churners[i].thread, NULL) == 0);
}

void churn_stop(struct churn *churn)
{
	atomic_store(&churn->must_stop, true);
	churn_join(churn);
}

void churn_wait(struct churn *churn, size_t rounds)
{
	const size_t until = atomic_load_explicit(&churn->rounds, memory_order_relaxed) + rounds;
	while (atomic_load_explicit(&churn->rounds, memory_order_relaxed) < until)
		sched_yield();
}

/* ---- Afterwards --------------------------------------------------------------------------- */

static void totals_add(struct churn_totals *totals, uintptr_t address)
{
	if (address == 0)
		return;
	churn_block_is_intact(address);
	totals->blocks++;
	totals->bytes += mems_usable_size(at(address));
}

struct churn_totals churn_totals(struct churn *churn)
{
	struct churn_totals totals = { 0 };
	for (unsigned i = 0; i < churn->count; i++) {
		for (unsigned slot = 0; slot < CHURN_SLOTS; slot++)
			totals_add(&totals, churn->churners[i].slots[slot]);
		totals.calls += churn->churners[i].calls;
	}
	for (unsigned i = 0; i < CHURN_MAILBOXES; i++)
		totals_add(&totals, atomic_load(&churn->mailboxes[i]));
	return totals;
}

static void free_if_any(uintptr_t address)
{
	if (address != 0)
		block_free(address);
}

void churn_free(struct churn *churn)
{
	for (unsigned i = 0; i < churn->count; i++) {
		for (unsigned slot = 0; slot < CHURN_SLOTS; slot++) {
			free_if_any(churn->churners[i].slots[slot]);
			churn->churners[i].slots[slot] = 0;
		}
	}
	for (unsigned i = 0; i < CHURN_MAILBOXES; i++)
		free_if_any(atomic_exchange(&churn->mailboxes[i], 0));
}
