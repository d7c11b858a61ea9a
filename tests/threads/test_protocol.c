/*
 * The protocol of the caches of threads ("Caches of threads" in mems.c), in a model that is small
 * enough to be run through every interleaving of two and of three threads.
 *
 * A heap of four granules. Each step of a thread is one access to what threads share: a load, a
 * store, or an atomic read-modify-write of a word, named as in mems.c. The processor may keep the
 * store of `busy` back until the next read-modify-write or barrier, which is what the barrier in
 * caches_close is for; all else is in order (on weaker processors acquire and release see to that).
 *
 * Threads run all combinations of a few scripts. In every state that can be reached, nobody is given
 * a granule that somebody has, no block is freed twice, and some thread can go on; whoever looks at
 * the heap finds it whole, and so it is at the end. Then each safeguard is left out in turn, and the
 * model has to find what goes wrong without it: else it would prove nothing.
 */
#include "support.h"

#include <stdint.h>

enum {
	GRANULES = 4,      /* top is the start after them */
	MOST_THREADS = 3,
	CACHED_SIZE = 2,   /* granules of the largest block that is cached */
	STACK_BLOCKS = 2,
	MOST_OPS = 5,
	TABLE_SLOTS = 1 << 20
};

enum safeguard {
	ALL_SAFEGUARDS,
	NO_BARRIER,        /* caches_close does without membarrier */
	NO_SECOND_LOOK,    /* own_enter does not look at the epoch after it has set busy */
	NO_WAIT,           /* caches_close does not wait for busy threads */
	NO_CLAIM,          /* freeing looks whether the block is live, and then clears its bits */
	NO_CLAIM_IN_LOCK,  /* who holds the lock frees and resizes without a claim */
	PLAIN_IN_LOCK,     /* who holds the lock loads and stores live bits, when caches are open too */
	NO_START_CHECK,    /* a claim is not checked for having hit a start */
	NO_WAIT_FOR_BITS,  /* who clears bits does not wait for one that is to be set again */
	LIVE_FIRST,        /* a block becomes live before the start behind it is there */
	NO_EMPTYING,       /* what is merged for good is not taken from the caches before */
	SAFEGUARDS
};

enum kind { END, FREE, TAKE, RESIZE, LOOK, MERGE };

struct op {
	enum kind kind;
	uint8_t granule, size;
};

/* Blocks at the beginning: [0, 2) and [2, 3) are taken, [3, 4) is a HOLE. */
static const struct op scripts[][MOST_OPS] = {
	{ { END, 0, 0 } },
	{ { FREE, 0, 0 } },
	{ { FREE, 0, 0 }, { TAKE, 0, 2 } },
	{ { FREE, 2, 0 }, { TAKE, 0, 1 } },
	{ { TAKE, 0, 1 }, { FREE, 2, 0 } },
	{ { RESIZE, 2, 2 } },
	{ { RESIZE, 0, 1 }, { FREE, 1, 0 } },
	{ { RESIZE, 0, 1 }, { RESIZE, 0, 2 }, { FREE, 0, 0 } },
	{ { FREE, 1, 0 } },
	{ { FREE, 0, 0 }, { FREE, 2, 0 }, { TAKE, 0, 4 }, { FREE, 0, 0 } },
	{ { FREE, 2, 0 } },
	{ { FREE, 2, 0 }, { MERGE, 0, 0 }, { TAKE, 0, 1 } },
	{ { TAKE, 0, 4 }, { FREE, 0, 0 }, { TAKE, 0, 1 } },
	{ { MERGE, 0, 0 }, { TAKE, 0, 3 } },
	{ { LOOK, 0, 0 } },
};

enum { SCRIPTS = sizeof(scripts) / sizeof(scripts[0]) };

struct thread {
	uint8_t script, op, step;
	uint8_t granule, size, seen, left; /* registers */
	bool is_busy, has_stored;          /* in memory; has_stored: and the store is still on its way */
	bool is_claimed;
	uint8_t count, stack[STACK_BLOCKS], sizes[STACK_BLOCKS];
};

struct state {
	uint8_t live, starts, coalesced, binned; /* bit i: granule i */
	uint8_t owned;                           /* what callers have: the truth, which no thread sees */
	uint8_t lock;                            /* the thread that has it, plus 1 */
	bool is_open, is_plain;
	struct thread threads[MOST_THREADS];
};

static enum safeguard left_out;
static const char *violation; /* the first one */

static void demand(bool holds, const char *what)
{
	if (!holds && violation == NULL)
		violation = what;
}

/* ---- Bits --------------------------------------------------------------------------------- */

static uint8_t bit(size_t granule)
{
	return (uint8_t)(1u << granule);
}

static uint8_t mask_of(size_t granule, size_t size)
{
	return (uint8_t)(((1u << size) - 1) << granule);
}

/* What a thread reads as the size of the block at granule. */
static uint8_t size_at(const struct state *state, size_t granule)
{
	size_t end = granule + 1;
	while (end < GRANULES && (state->starts & bit(end)) == 0)
		end++;
	return (uint8_t)(end - granule);
}

static void owned_add(struct state *state, size_t granule, size_t size)
{
	demand((state->owned & mask_of(granule, size)) == 0, "a granule was given to two");
	state->owned |= mask_of(granule, size);
}

static void owned_remove(struct state *state, size_t granule, size_t size)
{
	const uint8_t mask = mask_of(granule, size);
	demand((state->owned & mask) == mask, "what was freed was free already");
	state->owned &= (uint8_t)~mask;
}

/* ---- Steps that several operations share -------------------------------------------------- */

enum outcome { GO_ON, BLOCKED };

/* Steps of each operation, where it has them. */
enum step {
	BEGIN, ENTER, ENTERED, SEE, SEE_LIVE, CLAIM, CHECK, CLEAR, SET,
	LOCK, LOCKED, CLOSE, FENCE, AWAIT, EMPTY, CHANGE, L_CLAIM, L_STARTS, L_CLEAR, L_STORE, L_SET,
	L_SET_STORE, UNLOCK
};

static void op_end(struct thread *thread)
{
	thread->op++;
	thread->step = BEGIN;
	thread->granule = thread->size = thread->seen = thread->left = 0;
	thread->is_claimed = false;
}

static void leave(struct thread *thread)
{
	thread->is_busy = thread->has_stored = false;
}

static void leave_for_lock(struct thread *thread)
{
	leave(thread);
	thread->step = LOCK;
}

/* A read-modify-write lets no store of its thread wait. */
static uint8_t live_fetch_and(struct state *state, struct thread *thread, uint8_t mask)
{
	const uint8_t before = state->live;
	thread->is_busy = thread->is_busy || thread->has_stored;
	thread->has_stored = false;
	state->live &= mask;
	return before;
}

static void live_fetch_or(struct state *state, struct thread *thread, uint8_t mask)
{
	const uint8_t before = live_fetch_and(state, thread, 0xff);
	state->live = before | mask;
}

/* live_clear: true when all bits are clear. */
static bool live_clear(struct state *state, struct thread *thread)
{
	thread->left &= (uint8_t)~live_fetch_and(state, thread, (uint8_t)~thread->left);
	return thread->left == 0 || left_out == NO_WAIT_FOR_BITS;
}

/* own_enter. */
static void enter_step(const struct state *state, struct thread *thread)
{
	if (thread->step == BEGIN) {
		thread->step = state->is_open ? ENTER : LOCK;
	} else if (thread->step == ENTER) {
		thread->has_stored = true;
		thread->step = left_out == NO_SECOND_LOOK ? SEE : ENTERED;
	} else if (state->is_open) {
		thread->step = SEE;
	} else {
		leave_for_lock(thread);
	}
}

/* ---- The heap, for who has the lock ------------------------------------------------------- */

static void check_whole(const struct state *state)
{
	uint8_t live = 0;
	for (size_t granule = 0; granule < GRANULES; granule += size_at(state, granule)) {
		const uint8_t mask = mask_of(granule, size_at(state, granule));
		const bool is_live = (state->live & bit(granule)) != 0;
		const bool is_binned = (state->binned & bit(granule)) != 0;
		const bool is_coalesced = (state->coalesced & bit(granule)) != 0;
		live |= is_live ? mask : 0;
		demand(is_live + is_binned + is_coalesced == 1, "a segment is of one kind");
	}
	demand(state->live == live, "a segment is live as a whole, or not at all");
	demand(state->owned == live, "what is live is what callers have");
	demand((state->starts & 1) != 0, "the first segment starts at 0");
}

/* coalesce: what is no PROCESS joins the merged HOLEs beside it. */
static void coalesce(struct state *state, size_t granule)
{
	const size_t next = granule + size_at(state, granule);
	size_t previous = granule;
	while (previous > 0 && (state->starts & bit(--previous)) == 0)
		;
	if (next < GRANULES && (state->coalesced & bit(next)) != 0) {
		state->coalesced &= (uint8_t)~bit(next);
		state->starts &= (uint8_t)~bit(next);
	}
	if (previous != granule && (state->coalesced & bit(previous)) != 0)
		state->starts &= (uint8_t)~bit(granule);
	else
		state->coalesced |= bit(granule);
}

static void bins_flush(struct state *state)
{
	for (size_t granule = 0; granule < GRANULES; granule++) {
		if ((state->binned & bit(granule)) == 0)
			continue;
		state->binned &= (uint8_t)~bit(granule);
		coalesce(state, granule);
	}
}

/* caches_close, from CLOSE on; AWAIT ends when no thread is busy. */
static enum outcome close_step(struct state *state, struct thread *thread)
{
	switch (thread->step) {
	case CLOSE:
		state->is_open = false;
		thread->step = FENCE;
		return GO_ON;
	case FENCE:
		for (unsigned i = 0; i < MOST_THREADS && left_out != NO_BARRIER; i++) {
			struct thread *other = &state->threads[i];
			other->is_busy = other->is_busy || other->has_stored;
			other->has_stored = false;
		}
		thread->step = AWAIT;
		return GO_ON;
	case AWAIT:
		for (unsigned i = 0; i < MOST_THREADS && left_out != NO_WAIT; i++)
			if (state->threads[i].is_busy)
				return BLOCKED;
		thread->step = EMPTY;
		return GO_ON;
	default:
		for (unsigned i = 0; i < MOST_THREADS && left_out != NO_EMPTYING; i++) {
			struct thread *other = &state->threads[i];
			while (other->count != 0)
				state->binned |= bit(other->stack[--other->count]);
		}
		state->is_plain = true;
		thread->step = CHANGE;
		return GO_ON;
	}
}

/* lock_take, and for an operation that needs it, closing. */
static enum outcome lock_step(struct state *state, struct thread *thread, bool closes)
{
	if (thread->step == LOCK) {
		if (state->lock != 0)
			return BLOCKED;
		state->lock = (uint8_t)(thread - state->threads + 1);
		thread->step = closes && state->is_open ? CLOSE : closes ? EMPTY : LOCKED;
		return GO_ON;
	}
	return close_step(state, thread);
}

static void unlock(struct state *state, struct thread *thread)
{
	state->lock = 0;
	op_end(thread);
}

/* The live bits of a block are cleared or set by who has the lock. When caches are closed nobody else
 * changes the word, so it may be loaded and stored. */
static bool is_shared(const struct state *state)
{
	return !state->is_plain && left_out != PLAIN_IN_LOCK;
}

/* ---- mems_free ---------------------------------------------------------------------------- */

/* own_put. */
static void own_put_step(struct state *state, struct thread *thread)
{
	const uint8_t this = bit(thread->granule);
	switch (thread->step) {
	case SEE:
		thread->seen = state->starts;
		thread->step = SEE_LIVE;
		break;
	case SEE_LIVE:
		if ((thread->seen & state->live & this) == 0) { /* refused: a misuse */
			leave(thread);
			op_end(thread);
			break;
		}
		thread->step = CLAIM;
		break;
	case CLAIM:
		if (left_out != NO_CLAIM && (live_fetch_and(state, thread, (uint8_t)~this) & this) == 0) {
			leave(thread);
			op_end(thread);
			break;
		}
		thread->step = CHECK;
		break;
	case CHECK:
		thread->size = size_at(state, thread->granule);
		if ((left_out != NO_START_CHECK && (state->starts & this) == 0) ||
		    thread->size > CACHED_SIZE || thread->count == STACK_BLOCKS) {
			thread->step = SET;
			break;
		}
		owned_remove(state, thread->granule, thread->size);
		thread->left = mask_of(thread->granule, thread->size);
		thread->left &= left_out == NO_CLAIM ? 0xff : (uint8_t)~this;
		thread->step = CLEAR;
		break;
	case SET:
		live_fetch_or(state, thread, this);
		leave_for_lock(thread);
		break;
	default:
		break;
	}
}

static void own_push(struct thread *thread)
{
	thread->sizes[thread->count] = thread->size;
	thread->stack[thread->count++] = thread->granule;
	leave(thread);
	op_end(thread);
}

/* block_claim. False where another thread was first. */
static bool lock_claim(struct state *state, struct thread *thread)
{
	const uint8_t this = bit(thread->granule);
	if ((state->starts & state->live & this) == 0)
		return false;
	if (state->is_plain || left_out == NO_CLAIM_IN_LOCK)
		return true;
	thread->is_claimed = true;
	return (live_fetch_and(state, thread, (uint8_t)~this) & this) != 0;
}

/* live_change(..., false) by who has the lock: thread->left says which. next: the step after it. */
static enum outcome lock_clear(struct state *state, struct thread *thread, enum step next)
{
	const uint8_t before = state->live;
	if (is_shared(state)) {
		const uint8_t left = thread->left;
		if (live_clear(state, thread))
			thread->step = (uint8_t)next;
		else if (before == state->live && left == thread->left)
			return BLOCKED;
		return GO_ON;
	}
	if (thread->step == L_CLEAR) {
		thread->seen = state->live;
		thread->step = L_STORE;
	} else {
		state->live = (uint8_t)(thread->seen & ~thread->left);
		thread->step = (uint8_t)next;
	}
	return GO_ON;
}

/* live_change(..., true), likewise. */
static void lock_set(struct state *state, struct thread *thread, enum step next)
{
	if (is_shared(state)) {
		live_fetch_or(state, thread, thread->left);
		thread->step = (uint8_t)next;
	} else if (thread->step == L_SET) {
		thread->seen = state->live;
		thread->step = L_SET_STORE;
	} else {
		state->live = thread->seen | thread->left;
		thread->step = (uint8_t)next;
	}
}

static enum outcome free_locked_step(struct state *state, struct thread *thread)
{
	switch (thread->step) {
	case LOCKED:
		if (!lock_claim(state, thread)) {
			unlock(state, thread); /* a misuse */
			return GO_ON;
		}
		thread->step = L_STARTS;
		return GO_ON;
	case L_STARTS:
		thread->size = size_at(state, thread->granule);
		owned_remove(state, thread->granule, thread->size);
		thread->left = mask_of(thread->granule, thread->size);
		thread->left &= thread->is_claimed ? (uint8_t)~bit(thread->granule) : 0xff;
		thread->step = L_CLEAR;
		return GO_ON;
	case UNLOCK:
		if (thread->size <= CACHED_SIZE)
			state->binned |= bit(thread->granule);
		else
			coalesce(state, thread->granule);
		unlock(state, thread);
		return GO_ON;
	default:
		return lock_clear(state, thread, UNLOCK);
	}
}

static enum outcome free_step(struct state *state, struct thread *thread, const struct op *op)
{
	thread->granule = op->granule;
	if (thread->step <= ENTERED)
		enter_step(state, thread);
	else if (thread->step == CLEAR) {
		const uint8_t before = state->live, left = thread->left;
		if (live_clear(state, thread))
			own_push(thread);
		else if (before == state->live && left == thread->left)
			return BLOCKED;
	} else if (thread->step < LOCK)
		own_put_step(state, thread);
	else if (thread->step == LOCK)
		return lock_step(state, thread, false);
	else
		return free_locked_step(state, thread);
	return GO_ON;
}

/* ---- mems_malloc -------------------------------------------------------------------------- */

/* own_take. */
static void own_take_step(struct state *state, struct thread *thread, uint8_t size)
{
	if (thread->step == SEE) {
		const unsigned top = thread->count - 1u;
		if (thread->count == 0 || thread->sizes[top] != size) {
			leave_for_lock(thread);
			return;
		}
		thread->granule = thread->stack[top];
		thread->count--;
		thread->step = SET;
		return;
	}
	owned_add(state, thread->granule, size);
	live_fetch_or(state, thread, mask_of(thread->granule, size));
	leave(thread);
	op_end(thread);
}

/* A block of the size from the bins, or the first HOLE of at least this size; GRANULES for none. */
static size_t find(const struct state *state, uint8_t size)
{
	for (size_t granule = 0; granule < GRANULES; granule++)
		if ((state->binned & bit(granule)) != 0 && size_at(state, granule) == size)
			return granule;
	for (size_t granule = 0; granule < GRANULES; granule++)
		if ((state->coalesced & bit(granule)) != 0 && size_at(state, granule) >= size)
			return granule;
	return GRANULES;
}

/* hole_split: all but the live bits. */
static void split(struct state *state, size_t granule, uint8_t size)
{
	const size_t rest = granule + size;
	const bool has_rest = size_at(state, granule) > size;
	state->binned &= (uint8_t)~bit(granule);
	state->coalesced &= (uint8_t)~bit(granule);
	if (!has_rest)
		return;
	state->starts |= bit(rest);
	state->coalesced |= bit(rest);
}

/* own_refill opens the caches, and takes another block of the size. */
static void refill(struct state *state, struct thread *thread, uint8_t size)
{
	state->is_open = true;
	state->is_plain = false;
	for (size_t granule = 0; granule < GRANULES && thread->count == 0; granule++) {
		if ((state->binned & bit(granule)) == 0 || size_at(state, granule) != size)
			continue;
		state->binned &= (uint8_t)~bit(granule);
		thread->sizes[0] = size;
		thread->stack[thread->count++] = (uint8_t)granule;
	}
}

static enum outcome take_locked_step(struct state *state, struct thread *thread, uint8_t size)
{
	switch (thread->step) {
	case LOCKED:
	case CHANGE: {
		const size_t granule = find(state, size);
		if (granule == GRANULES && thread->step == CHANGE) {
			unlock(state, thread); /* ENOMEM */
			return GO_ON;
		}
		thread->step = granule != GRANULES ? L_STARTS : state->is_open ? CLOSE : EMPTY;
		thread->granule = (uint8_t)granule;
		return GO_ON;
	}
	case L_STARTS:
		thread->left = mask_of(thread->granule, size);
		if (left_out != LIVE_FIRST)
			split(state, thread->granule, size);
		owned_add(state, thread->granule, size);
		thread->step = L_SET;
		return GO_ON;
	case UNLOCK:
		if (left_out == LIVE_FIRST)
			split(state, thread->granule, size);
		if (size <= CACHED_SIZE)
			refill(state, thread, size);
		unlock(state, thread);
		return GO_ON;
	default:
		lock_set(state, thread, UNLOCK);
		return GO_ON;
	}
}

static enum outcome take_step(struct state *state, struct thread *thread, uint8_t size)
{
	if (thread->step == BEGIN && size > CACHED_SIZE)
		thread->step = LOCK;
	if (thread->step <= ENTERED)
		enter_step(state, thread);
	else if (thread->step < LOCK)
		own_take_step(state, thread, size);
	else if (thread->step == LOCK)
		return lock_step(state, thread, false);
	else if (thread->step == EMPTY) {
		close_step(state, thread);
		bins_flush(state);
	} else if (thread->step >= CLOSE && thread->step < EMPTY)
		return close_step(state, thread);
	else
		return take_locked_step(state, thread, size);
	return GO_ON;
}

/* ---- mems_realloc in place, looking, merging ---------------------------------------------- */

/* block_shrink: the tail is cleared before it has a start; block_grow: the start of the HOLE is gone
 * before it is live. */
static enum outcome resize_change(struct state *state, struct thread *thread, uint8_t size)
{
	const uint8_t next = (uint8_t)(thread->granule + thread->size);
	const uint8_t end = (uint8_t)(thread->granule + size);
	if (size < thread->size) {
		owned_remove(state, end, thread->size - size);
		thread->left = mask_of(end, thread->size - size);
		thread->step = L_CLEAR;
	} else if (next < GRANULES && (state->coalesced & bit(next)) != 0 &&
	           size_at(state, next) >= end - next && end > next) {
		owned_add(state, next, end - next);
		split(state, next, (uint8_t)(end - next));
		state->starts &= (uint8_t)~bit(next);
		thread->left = mask_of(next, end - next);
		thread->step = L_SET;
	} else {
		thread->step = UNLOCK;
	}
	return GO_ON;
}

static enum outcome resize_step(struct state *state, struct thread *thread, const struct op *op)
{
	switch (thread->step) {
	case BEGIN:
		thread->granule = op->granule;
		thread->step = LOCK;
		return GO_ON;
	case LOCK:
		return lock_step(state, thread, false);
	case LOCKED:
		if (!lock_claim(state, thread))
			unlock(state, thread);
		else
			thread->step = CHANGE;
		return GO_ON;
	case CHANGE:
		thread->size = size_at(state, thread->granule);
		return resize_change(state, thread, op->size);
	case L_CLEAR:
	case L_STORE:
		return lock_clear(state, thread, EMPTY);
	case L_SET:
	case L_SET_STORE:
		lock_set(state, thread, UNLOCK);
		return GO_ON;
	case EMPTY: /* the tail becomes a HOLE */
		state->starts |= bit(thread->granule + op->size);
		coalesce(state, thread->granule + op->size);
		thread->step = UNLOCK;
		return GO_ON;
	default:
		if (thread->is_claimed)
			live_fetch_or(state, thread, bit(thread->granule));
		unlock(state, thread);
		return GO_ON;
	}
}

static enum outcome look_step(struct state *state, struct thread *thread, bool merges)
{
	if (thread->step == BEGIN) {
		thread->step = LOCK;
		return GO_ON;
	}
	if (thread->step != CHANGE)
		return lock_step(state, thread, true);
	if (merges)
		bins_flush(state);
	check_whole(state);
	unlock(state, thread);
	return GO_ON;
}

/* ---- Every interleaving ------------------------------------------------------------------- */

static enum outcome thread_step(struct state *state, struct thread *thread)
{
	const struct op *op = &scripts[thread->script][thread->op];
	switch (op->kind) {
	case FREE:
		return free_step(state, thread, op);
	case TAKE:
		return take_step(state, thread, op->size);
	case RESIZE:
		return resize_step(state, thread, op);
	case LOOK:
		return look_step(state, thread, false);
	default:
		return look_step(state, thread, true);
	}
}

static bool is_over(const struct thread *thread)
{
	return thread->op == MOST_OPS || scripts[thread->script][thread->op].kind == END;
}

static struct state table[TABLE_SLOTS]; /* of those that were visited; one without starts is none */
static uint32_t slots[TABLE_SLOTS / 2];  /* where these are, in the order in which they were found */
static size_t visited;

static void visit(const struct state *state)
{
	uint64_t hash = UINT64_C(14695981039346656037);
	for (size_t i = 0; i < sizeof(*state); i++)
		hash = (hash ^ ((const uint8_t *)state)[i]) * UINT64_C(1099511628211);
	size_t slot = (size_t)(hash >> 20) % TABLE_SLOTS;
	while (table[slot].starts != 0) {
		if (memcmp(&table[slot], state, sizeof(*state)) == 0)
			return;
		slot = (slot + 1) % TABLE_SLOTS;
	}
	assert_true(visited < TABLE_SLOTS / 2);
	table[slot] = *state;
	slots[visited++] = (uint32_t)slot;
}

/* The end: what is in caches goes to the bins, and the heap is whole. */
static void finish(struct state state)
{
	for (unsigned i = 0; i < MOST_THREADS; i++)
		while (state.threads[i].count != 0)
			state.binned |= bit(state.threads[i].stack[--state.threads[i].count]);
	check_whole(&state);
}

/* All steps that are possible in a state. */
static void advance(const struct state *state)
{
	bool can_go_on = false, is_end = true;
	for (unsigned i = 0; i < MOST_THREADS; i++) {
		struct state next = *state;
		struct thread *const thread = &next.threads[i];
		if (is_over(thread))
			continue;
		is_end = false;
		if (thread->has_stored) { /* the store arrives */
			thread->has_stored = false;
			thread->is_busy = true;
			visit(&next);
			next = *state;
		}
		if (thread_step(&next, thread) == BLOCKED)
			continue;
		can_go_on = true;
		visit(&next);
	}
	if (is_end)
		finish(*state);
	demand(is_end || can_go_on, "all wait for one another");
}

/* Runs these scripts in all interleavings. Returns in how many states that is. */
static size_t explore(const unsigned script_of[MOST_THREADS])
{
	struct state start;
	memset(&start, 0, sizeof(start));
	start.live = start.owned = 7;
	start.starts = 1 | 4 | 8;
	start.coalesced = 8;
	start.is_open = true;
	for (unsigned i = 0; i < MOST_THREADS; i++)
		start.threads[i].script = (uint8_t)script_of[i];
	visited = 0;
	visit(&start);
	for (size_t i = 0; i < visited && violation == NULL; i++) {
		const struct state state = table[slots[i]];
		advance(&state);
	}
	for (size_t i = 0; i < visited; i++)
		table[slots[i]].starts = 0;
	return visited;
}

/* All combinations of the scripts, up to order, until something is wrong. */
static size_t explore_all(unsigned threads)
{
	size_t states = 0;
	violation = NULL;
	for (unsigned a = 1; a < SCRIPTS; a++)
		for (unsigned b = a; b < SCRIPTS; b++)
			for (unsigned c = threads == 3 ? b : 0; c < (threads == 3 ? SCRIPTS : 1); c++) {
				states += explore((const unsigned[]){ a, b, c });
				if (violation != NULL) {
					print_message("  scripts %u, %u and %u: %s\n", a, b, c, violation);
					return states;
				}
			}
	return states;
}

static void test_two_threads(void **state)
{
	(void)state;
	left_out = ALL_SAFEGUARDS;
	print_message("  %zu states\n", explore_all(2));
	assert_null(violation);
}

static void test_three_threads(void **state)
{
	(void)state;
	if (is_run_by_another()) /* it computes the same, for minutes */
		skip();
	left_out = ALL_SAFEGUARDS;
	print_message("  %zu states\n", explore_all(3));
	assert_null(violation);
}

static void test_every_safeguard_is_needed(void **state)
{
	(void)state;
	for (unsigned i = ALL_SAFEGUARDS + 1; i < SAFEGUARDS; i++) {
		left_out = (enum safeguard)i;
		explore_all(2);
		if (violation == NULL)
			explore_all(3);
		if (violation == NULL)
			print_error("nothing goes wrong without safeguard %u\n", i);
		assert_non_null(violation);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_two_threads),
		cmocka_unit_test(test_three_threads),
		cmocka_unit_test(test_every_safeguard_is_needed),
	};
	return cmocka_run_group_tests_name("protocol", tests, NULL, NULL);
}
