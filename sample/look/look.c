/* Opens the heap of a process that is gone. See look.h. */
#include "mems.c" /* NOLINT(bugprone-suspicious-include): it knows the layout of the state */

#include <fcntl.h>
#include <sys/stat.h>

#include "look.h"

enum { COPY_BYTES = 64 << 10 };

/* ---- What is wrong --------------------------------------------------------------------------- */

static bool fault(struct look *look, const char *format, ...)
{
	va_list arguments;
	va_start(arguments, format);
	vsnprintf(look->fault, sizeof(look->fault), format, arguments);
	va_end(arguments);
	return false;
}

/* The first thing that the checker found. */
static bool fault_of(struct look *look, const struct findings *findings)
{
	const char *missing = look->missing != 0 ? ", and the core dump lacks parts of its tables" : "";
	char text[LOOK_FAULT_MAX] = "";
	FILE *const out = fmemopen(text, sizeof(text), "w");
	if (out == NULL)
		return fault(look, "there is no memory for it");
	findings_print(findings, out);
	fclose(out);
	text[sizeof(text) - 1] = '\0';
	text[strcspn(text, "\n")] = '\0';
	const char *said = strstr(text, ": ");
	return fault(look, "its heap is damaged, or a call was changing it (%.180s)%s",
	             said != NULL ? said + 2 : text, missing);
}

static bool has_findings(const struct findings *findings)
{
	for (unsigned i = 1; i <= INVARIANTS; i++)
		if (findings->count[i] != 0)
			return true;
	return false;
}

/* ---- The structure in the core dump ---------------------------------------------------------- */

/* A byte that is neither makes no bool. */
static bool is_bool(const unsigned char *structure, size_t offset)
{
	return structure[offset] <= 1;
}

/* Puts the structure at this address in the place of ours. */
static bool heap_read(const struct core *core, uint64_t address)
{
	static unsigned char found[sizeof(heap)];
	if (core_read(core, address, found, sizeof(found)) != sizeof(found))
		return false;
	if (!is_bool(found, offsetof(struct heap, is_started)) ||
	    !is_bool(found, offsetof(struct heap, is_quick)) ||
	    !is_bool(found, offsetof(struct heap, is_watched)) ||
	    !is_bool(found, offsetof(struct heap, journal.is_on)))
		return false;
	memcpy(&heap, found, sizeof(found));
	return true;
}

/* The options of the heap, as its units tell them. */
static bool options_derive(void)
{
	const unsigned page = heap.shift + heap.page_log2;
	if (heap.shift > lowest_bit(MAX_ALIGNMENT) || heap.page_log2 > lowest_bit(LARGEST_PAGE) ||
	    page > lowest_bit(LARGEST_PAGE))
		return false;
	const size_t options[OPTIONS] = {
		[MEMS_POLICY] = heap.is_quick ? MEMS_QUICK_FIT : MEMS_FIRST_FIT,
		[MEMS_ALIGNMENT] = (size_t)1 << heap.shift,
		[MEMS_START_ADDRESS] = heap.start,
		[MEMS_PAGE_SIZE] = (size_t)1 << page,
	};
	for (unsigned option = 0; option < OPTIONS; option++)
		if (!option_is_valid(option, options[option]))
			return false;
	memcpy(heap.options, options, sizeof(options));
	heap.has_options = true;
	return true;
}

/* Whether heap and tables, which are described, find room where they lie. */
static bool has_room(void)
{
	const uintptr_t from = (uintptr_t)heap.reservation;
	const uintptr_t base = (uintptr_t)heap.base;
	if (from == 0 || base < from || heap.reservation_bytes > UINTPTR_MAX - from)
		return false;
	const size_t room = heap.reservation_bytes - min_size(base - from, heap.reservation_bytes);
	return heap.limit <= MAX_GRANULES && heap.limit <= room >> heap.shift &&
	       heap.movable_granules <= heap.limit &&
	       tables_share() <= room - (heap.limit << heap.shift);
}

/* Whether the tables lie where the library would have laid them out. Leaves them described so. */
static bool tables_are_placed(void)
{
	struct table found[TABLES];
	memcpy(found, heap.tables, sizeof(found));
	tables_describe(heap.tables);
	if (!has_room())
		return false;
	tables_place(heap.tables, heap.movable_granules);
	for (unsigned i = 0; i < TABLES; i++) {
		if (found[i].memory != heap.tables[i].memory ||
		    found[i].reserved_bytes != heap.tables[i].reserved_bytes)
			return false;
		heap.tables[i].committed_bytes = found[i].committed_bytes;
	}
	return true;
}

/* Whether the fields that say how large all is can be those of a heap. */
static bool extent_check(struct look *look)
{
	struct findings findings = { 0 };
	if (!options_derive())
		return fault(look, "its heap is damaged: it has units that no heap has");
	if (heap.os_page_log2 != lowest_bit(os_page_bytes()) - heap.shift)
		return fault(look, "it is of a machine with pages of another size");
	if (heap.top == 0)
		return true;
	if (!check_extent(&findings))
		return fault_of(look, &findings);
	if (!tables_are_placed() || !check_tables(&findings))
		return fault(look, "its heap is damaged: its tables do not lie where they should");
	if (!core_has(&look->core, (uintptr_t)heap.base, heap.top << heap.shift))
		return fault(look, "its heap is damaged: it has more pages than the process had");
	if (heap.node_count > page_of(heap.top))
		return fault(look, "its heap is damaged: it has more main nodes than pages");
	return true;
}

/* ---- The tables ------------------------------------------------------------------------------ */

/* Bytes of a table that are in use. */
static size_t table_used(unsigned name)
{
	const struct table *table = &heap.tables[name];
	const size_t chunk_bytes = CHUNK_SLOTS * sizeof(uint32_t);
	const size_t bytes =
		name == BIN_TABLE       ? offsetof(struct bins, chunks) + heap.chunk_count * chunk_bytes
		: name == THREAD_CACHES ? heap.cache_count * sizeof(struct thread_cache)
	                            : table_bytes(table, heap.top);
	return min_size(bytes, table->committed_bytes);
}

/* Copies a part of a table, but no pages of zeros, which are there already. */
static void piece_copy(struct look *look, char *to, uint64_t from, size_t size)
{
	static char piece[COPY_BYTES];
	static const char zeros[SMALLEST_PAGE];
	look->missing += size - core_read(&look->core, from, piece, size);
	for (size_t done = 0; done < size; done += SMALLEST_PAGE) {
		const size_t bytes = min_size(size - done, SMALLEST_PAGE);
		if (memcmp(piece + done, zeros, bytes) != 0)
			memcpy(to + done, piece + done, bytes);
	}
}

/* Links of the main chain point into our copy from now on; wrong ones stay wrong. */
static void links_move(uintptr_t from)
{
	const uintptr_t to = (uintptr_t)nodes();
	for (size_t i = 0; i < heap.node_count; i++) {
		struct main_node *node = &nodes()[i];
		if (node->previous != NULL)
			node->previous = (struct main_node *)((uintptr_t)node->previous - from + to);
		if (node->next != NULL)
			node->next = (struct main_node *)((uintptr_t)node->next - from + to);
	}
}

/* Copies the tables to memory of our own; for the time being the heap lies before them there. */
static bool tables_copy(struct look *look)
{
	const size_t page_bytes = page_granules() << heap.shift;
	const size_t offset = (size_t)(heap.base - heap.reservation);
	look->memory_bytes = tables_share() + page_bytes;
	look->memory = mmap(NULL, look->memory_bytes, PROT_READ | PROT_WRITE,
	                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (look->memory == MAP_FAILED) {
		look->memory = NULL;
		return fault(look, "there is no memory for its tables");
	}
	const uintptr_t there = (uintptr_t)tables_memory();
	const uintptr_t here = round_up((uintptr_t)look->memory, page_bytes);
	for (unsigned i = 0; i < TABLES; i++) {
		struct table *table = &heap.tables[i];
		const uintptr_t from = (uintptr_t)table->memory;
		const size_t used = table_used(i);
		table->memory = (char *)(from - there + here);
		for (size_t done = 0; done < used; done += COPY_BYTES)
			piece_copy(look, table->memory + done, from + done, min_size(used - done, COPY_BYTES));
		if (i == NODES)
			links_move(from);
	}
	heap.base = (char *)(here - (heap.limit << heap.shift));
	heap.reservation = heap.base - offset;
	return true;
}

/* ---- The heap -------------------------------------------------------------------------------- */

/* Whether the bins name no slots but their own: the checker follows them. */
static void check_slots(struct findings *findings)
{
	for (size_t bin = 0; heap.is_quick && bin < BINS; bin++)
		check(findings, 15, bins()->tops[bin] <= (heap.chunk_count - 1) * CHUNK_SLOTS, bin);
}

/* What its threads had cached for themselves counts as taken: in the chains it is free. */
static void thread_caches_count(void)
{
	for (size_t i = 0; i < heap.cache_count * OWN_SIZES; i++)
		heap.room_granules += (ptrdiff_t)(thread_caches()[i / OWN_SIZES].stacks[i % OWN_SIZES].count *
		                                  (i % OWN_SIZES + 1));
}

/* Whether the chains can be walked. Keeps what the checker says of the rest. */
static bool chains_check(struct look *look)
{
	struct findings findings = { 0 };
	size_t length;
	check_nodes(&findings);
	check_starts(&findings);
	check_slots(&findings);
	if (has_findings(&findings))
		return fault_of(look, &findings);
	thread_caches_count();
	FILE *const out = open_memstream(&look->report, &length);
	if (out == NULL)
		return fault(look, "there is no memory for it");
	look->broken = mems_check(out);
	fclose(out);
	return true;
}

/* What this process has not: another one's threads, streams and memory checkers. */
static void heap_adopt(void)
{
	heap.is_watched = false;
	heap.journal = (struct journal){ 0 };
	atomic_store(&heap.epoch, 0);
	heap.is_shared = false;
	heap.claimed = NONE;
	fast_top_update();
	if (heap.top != 0)
		return;
	heap.node_count = 0;
	heap.reservation = NULL;
	memset(heap.tables, 0, sizeof(heap.tables));
}

/* ---- The journal: what the heap remembers of its calls --------------------------------------- */

/* Arrays of the process, copied for the journal. */
static void *copied[JOURNAL_ARRAYS];

static void copied_free(void)
{
	for (unsigned i = 0; i < JOURNAL_ARRAYS; i++)
		free(copied[i]);
	memset(copied, 0, sizeof(copied));
}

/* Copies the arrays of the journal that was found; false where they are not all there. */
static bool arrays_copy(const struct look *look, const struct journal *found)
{
	const uint64_t needed[JOURNAL_ARRAYS] = { /* in 32 bits a made-up number would wrap */
		[JOURNAL_EVENTS] = (uint64_t)found->event_slots * sizeof(struct event),
		[JOURNAL_BLOCKS] = (uint64_t)found->entries * sizeof(struct live_block),
		[JOURNAL_BUCKETS] = (uint64_t)found->entries * sizeof(uint32_t),
		[JOURNAL_SITES] = sites_bytes(found->site_count) };
	for (unsigned i = 0; i < JOURNAL_SITE_BUCKETS; i++) { /* these are for new calls */
		const size_t bytes = (size_t)needed[i];
		const uintptr_t there = (uintptr_t)found->arrays[i].memory;
		if (bytes != needed[i] || !core_has(&look->core, there, bytes))
			return false;
		copied[i] = malloc(bytes);
		if (copied[i] == NULL || core_read(&look->core, there, copied[i], bytes) != bytes)
			return false;
	}
	return true;
}

/* A label is a text of the program, which need not be in the core dump; what is shown of it is. */
static void labels_move(struct site *sites, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		sites[i].text[LABEL_BYTES] = '\0';
		sites[i].label = sites[i].label != NULL ? sites[i].text : NULL;
	}
}

/* Whether the events are some that a heap can have had. */
static bool events_are_sound(const struct journal *journal, const struct event *events)
{
	for (size_t i = 0; i < journal->event_slots; i++)
		if (events[i].site >= journal->site_count || events[i].kind > MEMS_FREED)
			return false;
	return true;
}

/* Notes in their field id which entries are in the buckets of the process. */
static void blocks_mark(uint32_t entries)
{
	const uint32_t *buckets = copied[JOURNAL_BUCKETS];
	struct live_block *blocks = copied[JOURNAL_BLOCKS];
	uint32_t steps = entries; /* there are no more, but where links are wrong */
	for (uint32_t i = 0; i < entries; i++)
		blocks[i].id = 0;
	for (uint32_t bucket = 0; bucket < entries; bucket++)
		for (uint32_t i = buckets[bucket]; i != 0 && i < entries && steps != 0; steps--) {
			blocks[i].id = 1;
			i = blocks[i].next;
		}
}

/* Puts the entries of live blocks into the buckets anew; others, of a call that was not at its end,
 * are left out. */
static void blocks_place(void)
{
	blocks_mark(heap.journal.entries);
	memset(copied[JOURNAL_BUCKETS], 0, heap.journal.entries * sizeof(uint32_t));
	for (uint32_t i = 1; i < heap.journal.entries; i++) {
		const struct live_block *block = entry_at(i);
		const size_t granule = block->granule;
		if (block->id != 0 && granule < heap.top && block->site < heap.journal.site_count &&
		    is_block(granule, leaf_read(leaf_of(granule))) && *live_link(granule) == 0)
			live_place(i, granule);
	}
}

/* Whether the numbers of a journal are some that a heap can have had. */
static bool numbers_are_sound(const struct journal *found, size_t next)
{
	return next < found->event_slots && found->site_count != 0 && found->entries >= FIRST_ENTRIES &&
	       is_power_of_two(found->entries);
}

/* Takes over what the journal that was found has in its arrays; false where they are damaged. */
static bool journal_fill(const struct look *look, const struct journal *found)
{
	const size_t next = ((uintptr_t)found->event_next -
	                     (uintptr_t)found->arrays[JOURNAL_EVENTS].memory) / sizeof(struct event);
	if (!numbers_are_sound(found, next) || !arrays_copy(look, found) ||
	    !events_are_sound(found, copied[JOURNAL_EVENTS])) {
		copied_free();
		return false;
	}
	labels_move(copied[JOURNAL_SITES], found->site_count);
	heap.journal.event_next = (struct event *)copied[JOURNAL_EVENTS] + next;
	heap.journal.entries = found->entries;
	heap.journal.bucket_shift = 32 - lowest_bit(found->entries);
	heap.journal.site_count = found->site_count;
	for (unsigned i = 0; i < JOURNAL_ARRAYS; i++)
		heap.journal.arrays[i].memory = copied[i];
	blocks_place();
	return true;
}

/* Takes over the journal that was found, if history was on and all of it is there. There are no
 * arrays before the first block is taken. */
static void journal_take(struct look *look, const struct journal *found)
{
	const size_t slots = found->event_slots;
	const bool is_empty = found->entries == 0 && process_granules() == 0;
	if (slots == 0) {
		look->no_history = "its heap has no history (MEMS_HISTORY)";
		return;
	}
	heap.journal = (struct journal){ .is_on = true, .calls = found->calls, .event_slots = slots };
	if (slots > MAX_EVENTS || (!is_empty && !journal_fill(look, found))) {
		heap.journal = (struct journal){ 0 };
		look->no_history = "its history is damaged, or parts of it are not in the core dump";
		return;
	}
	heap.options[MEMS_HISTORY] = slots;
	fast_top_update();
}

/* ---- Taking it and leaving it ---------------------------------------------------------------- */

static void heap_forget(struct look *look)
{
	if (look->is_image)
		mems_finish();
	if (look->memory != NULL)
		munmap(look->memory, look->memory_bytes);
	look->memory = NULL;
	copied_free();
	heap = (struct heap){ 0 };
	free(look->report);
	look->report = NULL;
}

/* Puts the heap whose structure is at this address in the place of ours. */
static bool heap_take(struct look *look, uint64_t address)
{
	if (!heap_read(&look->core, address))
		return fault(look, "its heap is damaged: its structure is not whole");
	if (!heap.is_started)
		return fault(look, "its heap was about to be started");
	if (!extent_check(look))
		return false;
	const struct journal journal = heap.journal;
	heap_adopt();
	if (heap.top == 0) {
		journal_take(look, &journal);
		return true;
	}
	char *const base = heap.base;
	char *const reservation = heap.reservation;
	if (!tables_copy(look) || !chains_check(look))
		return false;
	heap.base = base;
	heap.reservation = reservation;
	journal_take(look, &journal);
	return true;
}

/* Called for each word that may be the sign of a heap: true where it is one that can be shown. */
static bool sign_visit(uint64_t address, void *context)
{
	enum { FARTHEST = 1 << 16 };
	struct look *look = context;
	struct sign sign;
	if (core_read(&look->core, address, &sign, sizeof(sign)) != sizeof(sign))
		return false;
	const uint64_t distance = address - (uintptr_t)sign.heap;
	if (sign.layout != sign_layout() && distance < FARTHEST)
		return fault(look, "its heap is one of another version of MeMS than " MEMS_VERSION);
	if (sign.layout != sign_layout() || distance != offsetof(struct heap, sign))
		return false;
	if (heap_take(look, (uintptr_t)sign.heap))
		return true;
	heap_forget(look);
	return false;
}

static bool core_heap_open(struct look *look, uint64_t file_bytes)
{
	const char *const wrong = core_open(&look->core, look->file, file_bytes);
	if (wrong != NULL)
		return fault(look, "%s", wrong);
	if (core_find(&look->core, SIGN_MAGIC, sign_visit, look))
		return true;
	if (look->fault[0] == '\0')
		fault(look, "there is no heap of MeMS in it%s",
		      look->core.missing != 0 ? ", but it is cut off" : "");
	core_close(&look->core);
	return false;
}

/* ---- Files ----------------------------------------------------------------------------------- */

static bool image_open(struct look *look, const char *path)
{
	if (mems_load(path, 0) != 0)
		return fault(look, "%s", errno == EBADMSG   ? "it is an image that is damaged or cut off"
		                         : errno == ENOTSUP ? "it is an image of another machine or version"
		                                            : strerror(errno));
	look->is_image = true;
	look->no_history = "an image has no history";
	return true;
}

static bool file_open(struct look *look, const char *path)
{
	unsigned char bytes[8] = { 0 };
	uint64_t word;
	struct stat status;
	look->file = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	if (look->file < 0 || fstat(look->file, &status) != 0)
		return fault(look, "%s", strerror(errno));
	if (!S_ISREG(status.st_mode))
		return fault(look, "it is not a regular file");
	const ssize_t size = pread(look->file, bytes, sizeof(bytes), 0);
	if (size < 0)
		return fault(look, "%s", strerror(errno));
	if (size == 0)
		return fault(look, "it is empty");
	if (core_is_elf(bytes, (size_t)size))
		return core_heap_open(look, (uint64_t)status.st_size);
	memcpy(&word, bytes, sizeof(word));
	if (size == sizeof(bytes) && le64toh(word) == IMAGE_MAGIC)
		return image_open(look, path);
	return fault(look, "it is neither a core dump nor an image");
}

bool look_open(struct look *look, const char *path)
{
	*look = (struct look){ .file = -1 };
	if (file_open(look, path))
		return true;
	if (look->file >= 0)
		close(look->file);
	return false;
}

void look_close(struct look *look)
{
	heap_forget(look);
	core_close(&look->core);
	close(look->file);
}

size_t look_contents(const struct look *look, const struct mems_segment *segment, size_t offset,
                     void *to, size_t size)
{
	if (!look->is_image)
		return core_read(&look->core, (uintptr_t)segment->physical + offset, to, size);
	memcpy(to, (char *)segment->physical + offset, size);
	return size;
}
