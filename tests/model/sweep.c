/* The translations against mems_walk; see sweep.h. */
#define _GNU_SOURCE
#include "sweep.h"

#include <inttypes.h>

#include "support.h"

enum {
	END_BYTES = 24,         /* that are asked for at either end of a segment, at least */
	RANGES_INTERVAL = 8     /* bytes of which one is asked for in ranges as well */
};

struct sweep {
	size_t bytes_of_each;
	uint64_t *random;
	uint64_t count;
	char problem[200];
};

/* ---- One address ------------------------------------------------------------------------- */

/* The byte of the segment, as the walk shows it, that is asked for. */
struct question {
	const struct mems_segment *segment;
	size_t offset;
	bool is_known;          /* the segment is PROCESS */
	uintptr_t address;
	char *physical;
};

static bool has_error(bool is_known)
{
	return errno == (is_known ? UNTOUCHED : EFAULT);
}

static bool is_translated(const struct question *question)
{
	errno = UNTOUCHED;
	const char *const physical = mems_get(at(question->address));
	return physical == (question->is_known ? question->physical : NULL) &&
	       has_error(question->is_known);
}

static bool is_translated_back(const struct question *question)
{
	errno = UNTOUCHED;
	const uintptr_t address = address_of(mems_virtual(question->physical));
	return address == (question->is_known ? question->address : 0) &&
	       has_error(question->is_known);
}

static bool is_range(const struct question *question, size_t size)
{
	const bool is_known = question->is_known &&
	                      size <= question->segment->size - question->offset;
	errno = UNTOUCHED;
	const char *const physical = mems_get_range(at(question->address), size);
	return physical == (is_known ? question->physical : NULL) && has_error(is_known);
}

static bool is_read(const struct question *question, size_t size)
{
	char bytes[8], untouched[8];
	const bool is_known = question->is_known &&
	                      size <= question->segment->size - question->offset;
	memset(bytes, 0x77, sizeof bytes);
	memset(untouched, 0x77, sizeof untouched);
	errno = UNTOUCHED;
	const int result = mems_read(bytes, at(question->address), size);
	if (result != (is_known ? 0 : -1) || !has_error(is_known))
		return false;
	/* Nobody has written there, and Valgrind would say so. */
	if (is_known && is_run_by_valgrind())
		return true;
	return memcmp(bytes, is_known ? question->physical : untouched, size) == 0;
}

/* Ranges that end with the segment, or just behind it, or anywhere. */
static bool are_ranges(struct sweep *sweep, const struct question *question)
{
	const size_t left = question->segment->size - question->offset;
	const size_t any = (size_t)random_next(sweep->random) >>
	                   random_below(sweep->random, 8 * sizeof(size_t));
	const size_t read = 1 + random_below(sweep->random, 8);
	return is_range(question, 0) && is_range(question, left) && is_range(question, left + 1) &&
	       is_range(question, any) && is_read(question, read);
}

static bool ask(struct sweep *sweep, const struct mems_segment *segment, size_t offset)
{
	const struct question question = {
		.segment = segment,
		.offset = offset,
		.is_known = segment->type == MEMS_PROCESS,
		.address = segment->start + offset,
		.physical = (char *)segment->physical + offset,
	};
	const char *wrong = NULL;
	if (!is_translated(&question))
		wrong = "mems_get";
	else if (!is_translated_back(&question))
		wrong = "mems_virtual";
	else if (sweep->count % RANGES_INTERVAL == 0 && !are_ranges(sweep, &question))
		wrong = "mems_get_range or mems_read";
	sweep->count++;
	if (wrong == NULL)
		return true;
	snprintf(sweep->problem, sizeof sweep->problem,
	         "%s is wrong at %" PRIuPTR ", in %s[%" PRIuPTR ":%" PRIuPTR "]", wrong,
	         question.address, question.is_known ? "PROCESS" : "HOLE", segment->start,
	         segment->end);
	return false;
}

/* ---- A segment, and all of them ---------------------------------------------------------- */

static bool ask_for_all(struct sweep *sweep, const struct mems_segment *segment, size_t from,
                        size_t to)
{
	for (size_t offset = from; offset < to; offset++)
		if (!ask(sweep, segment, offset))
			return false;
	return true;
}

static bool ask_for_samples(struct sweep *sweep, const struct mems_segment *segment, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (!ask(sweep, segment, random_below(sweep->random, segment->size)))
			return false;
	return true;
}

static int visit(const struct mems_segment *segment, void *context)
{
	struct sweep *const sweep = context;
	const size_t size = segment->size;
	if (size <= sweep->bytes_of_each)
		return !ask_for_all(sweep, segment, 0, size);
	return !ask_for_all(sweep, segment, 0, END_BYTES) ||
	       !ask_for_all(sweep, segment, size - END_BYTES, size) ||
	       !ask_for_samples(sweep, segment, sweep->bytes_of_each - 2 * END_BYTES);
}

const char *sweep(size_t bytes_of_each, uint64_t *random, uint64_t *count)
{
	static struct sweep state;
	state = (struct sweep){.bytes_of_each = bytes_of_each};
	state.random = random;
	if (state.bytes_of_each < 2 * END_BYTES)
		state.bytes_of_each = 2 * END_BYTES;
	const bool is_wrong = mems_walk(visit, &state) != 0;
	*count += state.count;
	return is_wrong ? state.problem : NULL;
}
