/*
 * The memory orders of the caches of threads ("Caches of threads" in mems.c): their protocol under the
 * memory model of C11, where Relacy (relacy-dev in Debian) has a load return any value that it may on
 * some processor. test_protocol.c runs through all interleavings, but on a processor that keeps most
 * accesses in order; this runs random ones of three threads on one that does not, as arm64 and riscv64
 * do not. An emulator on x86 cannot show that: there loads and stores keep the order of x86.
 *
 * A heap of two blocks: block 0 is of two granules, of which the second has its live bit in the next
 * word, as block 1 has; both can be taken as one. What is atomic in mems.c is atomic here, and has the
 * same order. What caches and bins hold, and what callers keep in blocks, are plain variables: Relacy
 * finds where a thread uses one that was not handed over to it. The barrier that caches_close has for
 * all threads is a fence there and a fence in own_enter.
 *
 * Then each order is relaxed in turn, and something has to go wrong, or this would prove nothing. That
 * of live_clear is not among them: what it is for, that no load sees a store that comes later, Relacy
 * never does. The numbers that it draws are the same in each run: build/orders RUNS, 20000 by default.
 */
#include <relacy/relacy.hpp>

#include <cstdio>
#include <cstdlib>
#include <ostream>

enum { THREADS = 3, BLOCKS = 2, OPEN = 2, OPS = 3, DEPTH = 20000 };

/* Where the orders are. */
enum place {
	NOWHERE,
	ENTER,      /* acquire: the epoch in own_enter */
	LEAVE,      /* release: busy in own_leave */
	AWAIT,      /* acquire: busy in cache_await */
	OPENING,    /* release: the epoch in caches_open */
	SET_OTHERS, /* release: the live bits in other words than that of the start, set */
	SET,        /* release: those in the word of the start, set */
	CLAIM,      /* acquire and release: the same, cleared to claim the block */
	BARRIER,    /* in caches_close, for all threads */
	PLACES
};

static const char *const names[PLACES] = {
	"the orders of mems.c", "epoch read without acquire", "busy left without release",
	"busy awaited without acquire", "epoch set without release", "other bits set without release",
	"start set without release", "claim without order", "no barrier"
};

static place left_out;

static rl::memory_order order(place here, rl::memory_order usual)
{
	return here == left_out ? rl::mo_relaxed : usual;
}

/* The live bits of a block: that of its start is in word 0 for block 0, and in word 1 for block 1; all
 * others are in word 1. size: of blocks that are one. */
static const unsigned start_bits[BLOCKS] = { 1, 2 };

static unsigned other_bits(unsigned block, unsigned size)
{
	return block != 0 ? 0 : size == 1 ? 1 : 3;
}

struct heap : rl::test_suite<heap, THREADS> {
	rl::atomic<unsigned> lock, epoch, busy[THREADS], live[2], starts, mailbox;
	rl::var<unsigned> is_shared, contents[BLOCKS], bin_count, bin[BLOCKS];
	rl::var<unsigned> counts[THREADS], stacks[THREADS][BLOCKS];
	unsigned owned[BLOCKS]; /* sizes, 0 for none: what callers have, which no thread sees */
	static bool has_mistakes;

	void before()
	{
		lock($) = epoch($) = mailbox($) = live[0]($) = live[1]($) = 0;
		starts($) = 3;
		is_shared($) = 0;
		bin_count($) = BLOCKS;
		for (unsigned i = 0; i < BLOCKS; i++) {
			bin[i]($) = i;
			contents[i]($) = 0;
			owned[i] = 0;
		}
		for (unsigned i = 0; i < THREADS; i++) {
			busy[i]($) = 0;
			counts[i]($) = 0;
		}
	}

	/* ---- Blocks ----------------------------------------------------------------------------- */

	bool is_start(unsigned block)
	{
		return (starts.load(rl::mo_relaxed, $) >> block & 1) != 0;
	}

	bool is_block(unsigned block)
	{
		return is_start(block) &&
		       (live[block].load(rl::mo_relaxed, $) & start_bits[block]) != 0;
	}

	unsigned size_at(unsigned block)
	{
		return block == 0 && !is_start(1) ? 2 : 1;
	}

	void give_to_caller(unsigned block, unsigned size)
	{
		RL_ASSERT(owned[0] < (block == 1 ? 2 : 1) && (owned[1] == 0 || block + size == 1));
		owned[block] = size;
	}

	void take_from_caller(unsigned block, unsigned size)
	{
		RL_ASSERT(size != 0 && owned[block] == size);
		owned[block] = 0;
	}

	void start_set(unsigned block)
	{
		live[block].fetch_or(start_bits[block], order(SET, rl::mo_release), $);
	}

	/* live_change_shared, and own_take. */
	void live_set(unsigned block, unsigned size)
	{
		if (other_bits(block, size) != 0)
			live[1].fetch_or(other_bits(block, size), order(SET_OTHERS, rl::mo_release), $);
		start_set(block);
	}

	void live_clear(unsigned bits)
	{
		while (bits != 0) {
			bits &= ~live[1].fetch_and(~bits, rl::mo_acq_rel, $);
			if (bits != 0)
				rl::yield(1, $);
		}
	}

	bool claim(unsigned block)
	{
		const unsigned bit = start_bits[block];
		return (live[block].fetch_and(~bit, order(CLAIM, rl::mo_acq_rel), $) & bit) != 0;
	}

	/* ---- Caches ----------------------------------------------------------------------------- */

	bool own_enter(unsigned self)
	{
		if (epoch.load(rl::mo_relaxed, $) != OPEN)
			return false;
		busy[self].store(1, rl::mo_relaxed, $);
		if (left_out != BARRIER)
			rl::atomic_thread_fence(rl::mo_seq_cst, $);
		if (epoch.load(order(ENTER, rl::mo_acquire), $) == OPEN)
			return true;
		busy[self].store(0, rl::mo_release, $);
		return false;
	}

	void own_leave(unsigned self)
	{
		busy[self].store(0, order(LEAVE, rl::mo_release), $);
	}

	void own_push(unsigned self, unsigned block)
	{
		stacks[self][counts[self]($)]($) = block;
		counts[self]($) = counts[self]($) + 1;
	}

	unsigned own_pop(unsigned self)
	{
		if (counts[self]($) == 0)
			return BLOCKS;
		counts[self]($) = counts[self]($) - 1;
		return stacks[self][counts[self]($)]($);
	}

	unsigned own_take(unsigned self)
	{
		if (!own_enter(self))
			return BLOCKS;
		const unsigned block = own_pop(self);
		if (block != BLOCKS) {
			give_to_caller(block, 1);
			live_set(block, 1);
		}
		own_leave(self);
		return block;
	}

	/* False where it has to be done under the lock. One stack is full now and then. */
	bool own_put(unsigned self, unsigned block)
	{
		if (!is_block(block) || !claim(block))
			return true;
		if (!is_start(block) || size_at(block) != 1 || rl::rand(4) == 0) {
			start_set(block);
			return false;
		}
		take_from_caller(block, 1);
		live_clear(other_bits(block, 1));
		own_push(self, block);
		return true;
	}

	bool own_give(unsigned self, unsigned block)
	{
		if (!own_enter(self))
			return false;
		const bool is_done = own_put(self, block);
		own_leave(self);
		return is_done;
	}

	/* ---- Under the lock --------------------------------------------------------------------- */

	void lock_take()
	{
		unsigned state = 0;
		while (!lock.compare_exchange_strong(state, 1u, rl::mo_acquire, $)) {
			state = 0;
			rl::yield(1, $);
		}
	}

	void lock_give()
	{
		lock.exchange(0u, rl::mo_release, $);
	}

	void bin_push(unsigned block)
	{
		bin[bin_count($)]($) = block;
		bin_count($) = bin_count($) + 1;
	}

	unsigned bin_pop()
	{
		if (bin_count($) == 0)
			return BLOCKS;
		bin_count($) = bin_count($) - 1;
		return bin[bin_count($)]($);
	}

	void caches_close()
	{
		if (epoch.load(rl::mo_relaxed, $) == 0)
			return;
		epoch.store(0, rl::mo_relaxed, $);
		if (left_out != BARRIER)
			rl::atomic_thread_fence(rl::mo_seq_cst, $);
		for (unsigned i = 0; i < THREADS; i++)
			while (busy[i].load(order(AWAIT, rl::mo_acquire), $) != 0)
				rl::yield(1, $);
		is_shared($) = 0;
		for (unsigned i = 0; i < THREADS; i++)
			for (unsigned block = own_pop(i); block != BLOCKS; block = own_pop(i))
				bin_push(block);
	}

	/* own_balance: an empty cache gets a block, now and then. */
	void caches_open(unsigned self)
	{
		if (epoch.load(rl::mo_relaxed, $) == 0) {
			is_shared($) = 1;
			epoch.store(OPEN, order(OPENING, rl::mo_release), $);
		}
		if (counts[self]($) != 0 || rl::rand(2) == 0)
			return;
		const unsigned block = bin_pop();
		if (block != BLOCKS)
			own_push(self, block);
	}

	/* Nobody else changes live bits. */
	void live_flip(unsigned block, unsigned size)
	{
		live[block].store(live[block].load(rl::mo_relaxed, $) ^ start_bits[block], rl::mo_relaxed, $);
		live[1].store(live[1].load(rl::mo_relaxed, $) ^ other_bits(block, size), rl::mo_relaxed, $);
	}

	/* One block, or both as one, where there are both. */
	unsigned take_locked(unsigned self)
	{
		lock_take();
		const unsigned size = bin_count($) == BLOCKS && rl::rand(2) == 0 ? 2 : 1;
		const unsigned block = size == 2 ? 0 : bin_pop();
		if (size == 2) {
			bin_count($) = 0;
			starts.store(1, rl::mo_relaxed, $);
		}
		if (block != BLOCKS) {
			give_to_caller(block, size);
			if (is_shared($))
				live_set(block, size);
			else
				live_flip(block, size);
		}
		caches_open(self);
		lock_give();
		return block;
	}

	void give_locked(unsigned self, unsigned block)
	{
		lock_take();
		if (is_block(block) && (!is_shared($) || claim(block))) {
			const unsigned size = size_at(block);
			take_from_caller(block, size);
			if (is_shared($))
				live_clear(other_bits(block, size));
			else
				live_flip(block, size);
			bin_push(block);
			if (size == 2) {
				starts.store(3, rl::mo_relaxed, $);
				bin_push(1);
			}
		}
		caches_open(self);
		lock_give();
	}

	void look()
	{
		lock_take();
		caches_close();
		const unsigned word = (owned[0] != 0 ? other_bits(0, owned[0]) : 0) | (owned[1] != 0 ? 2 : 0);
		RL_ASSERT(live[0].load(rl::mo_relaxed, $) == (owned[0] != 0));
		RL_ASSERT(live[1].load(rl::mo_relaxed, $) == word);
		RL_ASSERT(is_start(1) == (owned[0] != 2));
		lock_give();
	}

	/* ---- What threads do -------------------------------------------------------------------- */

	unsigned take(unsigned self)
	{
		const unsigned block = own_take(self);
		return block != BLOCKS ? block : take_locked(self);
	}

	void give(unsigned self, unsigned block)
	{
		if (!own_give(self, block))
			give_locked(self, block);
	}

	/* Each block passes from who took it to whoever finds it in the mailbox, who frees it. */
	void hand_over(unsigned self)
	{
		const unsigned block = take(self);
		if (block == BLOCKS)
			return;
		contents[block]($) = self;
		const unsigned got = mailbox.exchange(block + 1, rl::mo_acq_rel, $);
		if (got == 0)
			return;
		contents[got - 1]($) = self;
		give(self, got - 1);
	}

	void thread(unsigned self)
	{
		for (unsigned i = 0; i < OPS; i++) {
			if (rl::rand(4) == 0)
				look();
			else if (!has_mistakes)
				hand_over(self);
			else if (rl::rand(2) == 0)
				take(self);
			else
				give(self, rl::rand(BLOCKS)); /* whosever it is */
		}
	}
};

bool heap::has_mistakes;

/* Says whether so many runs go well, without mistakes of the callers and with them. */
static bool holds(unsigned long runs)
{
	std::ostream nowhere(NULL);
	rl::test_result_e result = rl::test_result_success;
	for (int i = 0; i < 2 && result == rl::test_result_success; i++) {
		rl::test_params params;
		params.iteration_count = runs;
		params.execution_depth_limit = DEPTH;
		params.output_stream = params.progress_stream = &nowhere;
		heap::has_mistakes = i != 0;
		rl::simulate<heap>(params);
		result = params.test_result;
	}
	printf("orders: %-30s %s\n", names[left_out], rl::test_result_str(result));
	return result == rl::test_result_success;
}

int main(int count, char **arguments)
{
	const unsigned long runs = count > 1 ? strtoul(arguments[1], NULL, 10) : 20000;
	bool is_right = true;
	for (int i = NOWHERE; i < PLACES; i++) {
		left_out = (place)i;
		is_right = holds(runs) == (i == NOWHERE) && is_right;
	}
	return is_right ? EXIT_SUCCESS : EXIT_FAILURE;
}
