/* Random calls of both heaps; see mix.h. */
#define _GNU_SOURCE
#include "mix.h"

/* ---- Any address, any size --------------------------------------------------------------- */

size_t below(size_t bound)
{
	return random_below(&twins.random, bound);
}

uintptr_t any_address(void)
{
	const uintptr_t start = twins.model.options.start_address;
	const size_t extent = model_end(&twins.model) - start;
	const size_t index = twins.live_count == 0 ? 0 : below(twins.live_count);
	const uintptr_t block = twins.live_count == 0 ? start : twins.live[index];
	switch (below(9)) {
	case 0:
		return block;
	case 1:
		return block + below(64);
	case 2:
		return block - 1 - below(16);
	case 3:
		return twins.stale[below(STALE)];
	case 4:
		return start - 8 + below(extent + 16);
	case 5:
		return model_end(&twins.model) - 2 + below(4);
	case 6:
		return (uintptr_t)random_next(&twins.random) >> below(8 * sizeof(uintptr_t));
	case 7:
		return twins.model.physical + below(extent + 1);
	default:
		return block + ((uintptr_t)1 << below(8 * sizeof(uintptr_t)));
	}
}

static size_t any_size(void)
{
	return (size_t)random_next(&twins.random) >> below(8 * sizeof(size_t));
}

size_t any_alignment(void)
{
	size_t largest = 0;
	while ((size_t)1 << (largest + 1) <= twins.model.options.page_bytes)
		largest++;
	if (below(30) == 0)
		return any_size();
	return (size_t)1 << below(largest + 1);
}

size_t absurd_size(void)
{
	return SIZE_MAX / (1 + below(2)) - below(5000);
}

/* The order in which random numbers are drawn is not left to the compiler. */
static void try_translate_any(void)
{
	const uintptr_t address = any_address();
	try_translate(address, below(2) == 0 ? below(200) : any_size());
}

static void try_write_and_read_any(void)
{
	const uintptr_t address = any_address();
	try_write_and_read(address, below(200));
}

static void try_misuse_any(void)
{
	const uintptr_t address = any_address();
	try_misuse(address, below(3) == 0 ? 0 : any_size());
}

static void try_realloc_any(size_t (*size_next)(void))
{
	if (twins.live_count == 0 || below(20) == 0) {
		try_realloc_null(size_next());
		return;
	}
	const size_t index = below(twins.live_count);
	const size_t size = model_usable_size(&twins.model, twins.live[index]);
	const size_t unit = twins.model.options.alignment;
	switch (below(6)) {
	case 0:
		try_realloc_live(index, size + below(4 * unit));
		break;
	case 1:
		try_realloc_live(index, size - below(size));
		break;
	case 2:
		try_realloc_live(index, below(8) == 0 ? absurd_size() : size);
		break;
	default:
		try_realloc_live(index, size_next());
	}
}

static void try_calloc_any(size_t size)
{
	const size_t count = below(20) == 0 ? absurd_size() : 1 + below(4);
	try_calloc(count, size);
}

void mix_calls_without_heap(void)
{
	try_malloc(any_size());
	try_calloc(any_size(), any_size());
	try_aligned_alloc(any_alignment(), any_size());
	try_realloc_null(any_size());
	try_misuse_any();
	try_misuse(0, 0);
	try_translate_any();
	try_trim();
}

void mix_call(const struct mix *mix, size_t (*size_next)(void), bool frees)
{
	const unsigned total = mix->malloc + mix->calloc + mix->realloc + mix->aligned + mix->free +
	                       mix->translate + mix->copy + mix->misuse;
	size_t choice = below(total);
	if (choice < mix->translate)
		try_translate_any();
	else if ((choice -= mix->translate) < mix->copy)
		try_write_and_read_any();
	else if ((choice -= mix->copy) < mix->misuse)
		try_misuse_any();
	else if ((choice -= mix->misuse) < mix->realloc)
		try_realloc_any(size_next);
	else if (frees)
		try_free_live(below(twins.live_count));
	else if ((choice -= mix->realloc) < mix->calloc)
		try_calloc_any(size_next());
	else if (choice - mix->calloc < mix->aligned)
		try_aligned_alloc(any_alignment(), size_next());
	else
		try_malloc(below(100) == 0 ? absurd_size() : size_next());
}

