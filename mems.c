/*
 * MeMS: exact first fit over one reservation, with all metadata apart from the blocks.
 *
 *  reservation (address space only)                          metadata (made writable as needed)
 *  +--------+--------+----------------+- - - - - - -+        leaves       2 bits a granule   3.1 %
 *  | node 0 | node 1 |     node 2     |  not mapped |        leaf_max     1 byte a leaf      0.2 %
 *  +--------+--------+----------------+- - - - - - -+        all the rest                  < 0.1 %
 *  ^ base                             ^ top
 *  virtual address = MEMS_START_ADDRESS + (physical address - base)
 *
 * Words
 *   granule  MEMS_ALIGNMENT bytes, the unit of every position and size in this file. Positions
 *            count from base, so both translations are one addition.
 *   leaf     64 granules, described by two words of bits: `starts` says that a segment starts at
 *            a granule, `holes` that this segment is a HOLE. A bit is all that a segment costs: the
 *            links of the sub-chain are the distances to the next and the previous start.
 *   group    64 leaves.
 *   border   the first granule of a main node; the first granule beyond the last node, top, is
 *            one as well, and carries a start bit, so that every segment ends at a start.
 *   class    of sizes: the smallest have one each, larger ones share; class_least[c] is the
 *            smallest size of class c.
 *   bound    for each class a leaf before which no HOLE of class_least[c] or more granules starts
 *
 * How a HOLE is found: the bound of its class says where to begin. If no HOLE in that leaf does, a
 * tree of maxima leads to the first leaf with one that does, as in R. P. Brent, "Efficient
 * implementation of the first-fit strategy for dynamic storage allocation", ACM TOPLAS 11(3), 1989.
 * There are two trees. leaf_max[0] has a byte for each leaf, the largest HOLE that starts in it,
 * and each further level the maxima of 64 bytes below; sizes above 254 are written as 255. For
 * those *large* HOLEs group_max[0] has the exact size of the largest in each group (no more than 16
 * fit in), and each further level the maxima of 16 entries. An entry is raised at once when a HOLE
 * grows. When one shrinks, or goes and is not part of a larger one in its leaf, the entries of the
 * leaf and of the group may stay too large, and both are noted in a slot that the group shares with
 * others; they are corrected when another group takes the slot, or when a search finds nothing
 * there. So a HOLE that is carved again and again costs no counting and no climb, and a search looks
 * into at most LAGS groups in vain.
 *
 * Invariants; mems_check verifies each of them and names it
 *   I1   top is a whole number of pages within the reservation and the limit, base is aligned,
 *        and the units are those of the options
 *   I2   the main chain is linked both ways, from the first node to the last
 *   I3   the main nodes tile [0, top) in ascending order, in whole pages, at base + position
 *   I4   border bits stand exactly at the first granules of main nodes
 *   I5   every main node begins with a segment, and so does top, which is no HOLE
 *   I6   a hole bit stands only where a start bit stands, a merged bit only where a hole bit stands
 *   I7   no two neighbours in a sub-chain are merged HOLEs
 *   I8   no bit is set beyond top
 *   I9   has_start[0] tells which leaves have a start, has_start[i + 1] which words of has_start[i]
 *        are not 0
 *   I10  leaf_max[0][i] is the largest HOLE that starts in leaf i, or 255 if it is larger, and
 *        leaf_max[k + 1][i] the largest of its 64 entries in leaf_max[k] (a leaf or a group that
 *        lags: at least that)
 *   I11  group_max[0][i] is the largest large HOLE that starts in group i, 0 if there is none (a
 *        group in a slot: at least that), group_max[k + 1][i] the largest of its 16 entries in
 *        group_max[k]
 *   I12  no HOLE of class_least[c] or more granules starts before leaf bounds[c]; no bound is less
 *        than that of the class before
 *   I13  the counters equal what the chains say; no peak is below its counter
 *   I14  no block was ever beyond clean_from, where memory is as the OS gave it
 *   I15  the bins hold exactly the HOLEs that are not merged, each in the bin of its size
 *   I16  the tables lie one after another in the reservation, writable as far as the heap needs
 *
 * Costs: mems_malloc and mems_free touch at most a few words on each of the 5 levels of either
 * tree, and look into at most LAGS groups in vain. Most often the words of one leaf are all they
 * need: the near way. A HOLE of 255 granules or more is sought among at most 16 in a group (no more
 * fit in).
 * mems_get reads one or two words of bits, and for blocks of more than 64 granules at most two
 * words on each level of has_start.
 *
 * Threads: one lock is around all that changes the heap or walks it. Translation reads starts,
 * holes and has_start without it. Their words are atomic and have one writer at a time, which stores
 * a whole word in which the bits of all blocks that it does not change are as they were. So whoever
 * owns a block finds its start, the start that follows it, and none in between, whatever happens
 * beside it. What is read of segments that change meanwhile may not fit together: no step of a
 * search leads out of what is mapped all the same. The thread that holds the lock while it calls
 * out (a visitor, a stream, other fork handlers) is noted, and does not take it again.
 *
 * Where the OS refuses something, nothing has changed yet: room in the metadata is made first,
 * then the pages are mapped, then the books are written.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include "mems.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio_ext.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifdef __has_include
#if __has_include(<sys/single_threaded.h>)
#include <sys/single_threaded.h>
#define HAS_SINGLE_THREADED
#endif
#if __has_include(<valgrind/memcheck.h>)
#include <valgrind/memcheck.h>
#define HAS_VALGRIND
#endif
#endif

#ifdef __has_feature
#if __has_feature(address_sanitizer)
#define HAS_ASAN
#endif
#endif
#ifdef __SANITIZE_ADDRESS__
#define HAS_ASAN
#endif
#ifdef HAS_ASAN
#include <sanitizer/asan_interface.h>
#endif

#ifdef __SSE2__
#include <emmintrin.h>
#endif

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif
#ifndef MAP_FIXED_NOREPLACE
#define MAP_FIXED_NOREPLACE 0x100000
#endif
/* The kernel's headers are not everywhere beside those of the C library. */
#ifndef FUTEX_WAIT_PRIVATE
#define FUTEX_WAIT_PRIVATE 128
#define FUTEX_WAKE_PRIVATE 129
#endif
#ifndef SYS_futex
#define SYS_futex SYS_futex_time64 /* the same where no timeout is given */
#endif

#ifdef __clang__
#define UNROLL _Pragma("clang loop unroll(full)")
#else
#define UNROLL _Pragma("GCC unroll 16")
#endif
#define NOINLINE __attribute__((noinline))
#define ALWAYS_INLINE inline __attribute__((always_inline))
#define UNLIKELY(condition) __builtin_expect(!!(condition), 0)

enum {
	DEFAULT_ALIGNMENT = 8,
	MAX_ALIGNMENT = 64,
	DEFAULT_START = 1000,
	SMALLEST_PAGE = 4096,
	LARGEST_PAGE = 2 << 20,
	GROWTH_DIVISOR = 8,     /* a new node has at least this fraction of the pages mapped so far */
	COMMIT_STEP = 64 << 10, /* bytes of a table that are made writable at once */

	LEAF_LOG2 = 6,          /* granules in a leaf */
	GROUP_LOG2 = 12,        /* granules in a group */
	GROUP_LEAVES = 64,
	FANOUT_LOG2 = 4,        /* entries of group_max under one entry of the next level */
	FANOUT = 1 << FANOUT_LOG2,
	MAX_LEVELS = 5,         /* of group_max: the last one has at most 16 entries */
	START_LEVELS = 5,       /* of has_start: the last one has one word */
	LEAF_MAX_LEVELS = 5,    /* of leaf_max: the last one has at most 4 entries */
	LARGE = 255,            /* a HOLE of this size or more is large, and leaf_max says so */
	CLASSES = 16,           /* of sizes, see class_least */
	NEAR_SIZES = 32,        /* blocks of up to so many granules are taken the near way */
	LAGS = 32,              /* groups that may lag */
	CLASSED_SIZES = 257,    /* the last class begins before this size */

	CACHE_LINE = 64,        /* bytes; what threads that write keep apart from those that read */
	LOCK_SPINS = 256,       /* looks at the lock before a thread goes to sleep */

	TRIM_BYTES = 128 << 10, /* pages go back of HOLEs of this size, when so much was freed there */
	TRIM_AT_GROWTH_BYTES = 8 << 10, /* or of this size, as much as the heap grows by, */
	TRIM_VISITS = 64,       /* of so many HOLEs each time */
	POPULATED_DIVISOR = 64, /* so large a fraction of the OS pages comes into memory at once, */
	LEAST_POPULATED_PAGES = 32, /* but no fewer: they cost more than they save; */
	MOST_POPULATED_PAGES = 64, /* and no more */
	MOVE_BYTES = 256 << 10, /* a block of this size is copied in such pieces */

	DIRECT_BINS = 1024,     /* sizes, in granules, that have a bin of their own */
	BINS = DIRECT_BINS + 128,
	REMEMBERED_BYTES = 64 << 10, /* larger blocks are merged at once */
	CHUNK_ITEMS = 63,
	MAX_CHUNKS = 4096,      /* so at most 257,985 blocks are remembered, in 1 MiB */
	RUN_BLOCKS = 32,        /* blocks that are taken at once, */
	RUN_BYTES = 4 << 10,    /* of this size together, at most */
	MERGE_BYTES = 256 << 10, /* at least so much must be remembered, */
	MERGE_DIVISOR = 16      /* and this fraction of the heap, before it is merged for good */
};

#define MAX_START ((size_t)1 << 31)
/* Sizes and positions are stored in 32 bits. */
#define MAX_GRANULES ((size_t)(UINT32_MAX - 4095))
/* The most that is reserved without a limit where reserving is dear. */
#define DEAR_HEAP_BYTES ((size_t)1 << 30)
#define NONE SIZE_MAX

typedef _Atomic uint64_t atomic_word;

/* Four numbers at once; the compiler makes vector instructions of them where there are any. */
typedef int32_t lanes __attribute__((vector_size(16)));
typedef int32_t unaligned_lanes __attribute__((vector_size(16), aligned(4), may_alias));

struct leaf {
	atomic_word starts; /* bit i: a segment starts at granule i of this leaf */
	atomic_word holes;  /* bit i: and it is a HOLE */
};
static_assert(sizeof(struct leaf) == 16, "a leaf is two words");

/* What the two words of a leaf hold, or are to hold. */
struct leaf_bits {
	uint64_t starts, holes;
};

/* One mmap request. Lives in the table NODES from its creation to mems_finish. */
struct main_node {
	struct main_node *previous; /* NULL for the first */
	struct main_node *next;     /* NULL for the last */
	size_t first;               /* granule: where its first segment starts */
	size_t granules;            /* its length, whole pages */
	char *physical;             /* what mmap returned */
};

/* The arrays of the metadata. Each has one entry for every 2^granules_log2 granules of heap. */
enum table_name {
	LEAVES,
	LEAF_MAXIMA,
	GROUP_MAXIMA = LEAF_MAXIMA + LEAF_MAX_LEVELS,
	HAS_START = GROUP_MAXIMA + MAX_LEVELS,
	BORDERS = HAS_START + START_LEVELS,
	TOUCHED,
	GIVEN,
	NODES,
	MERGED,
	TABLES_OF_HEAP, /* these grow with the heap */
	CHUNKS = TABLES_OF_HEAP,
	TABLES
};

struct table {
	char *memory;           /* NULL before mems_init */
	size_t reserved_bytes;  /* its share of the reservation, whole OS pages */
	size_t committed_bytes; /* of these, writable */
	size_t entry_bytes;
	unsigned granules_log2;
};

/* Granules of blocks that a bin remembers, in a stack of chunks. */
struct chunk {
	uint32_t items[CHUNK_ITEMS];
	uint32_t previous; /* index of the full chunk below; 0 for none */
};
static_assert(sizeof(struct chunk) == 256, "a chunk fills whole cache lines");

/* A HOLE that was found: granules. start is NONE where there is none. */
struct hole {
	size_t start, size;
};

/* Granules from one to before another. */
struct range {
	size_t from, to;
};

/* A group whose entries may be too large, and which of its leaves that may be. */
struct lag {
	size_t group;
	uint64_t leaves; /* bit i: the i-th leaf of the group */
};

/* The remembered blocks of one size. */
struct bin {
	struct chunk *chunk; /* the top one, the others are full; NULL in a bin that was never used */
	uint32_t size;       /* granules */
	uint16_t used;       /* items in the top chunk */
	uint16_t misses;     /* requests that found the bin empty, up to RUN_BLOCKS; of whatever size */
};

struct options {
	size_t policy, alignment, start, page_bytes, limit_bytes;
};

enum lock_state {
	LOCK_FREE,
	LOCK_HELD,
	LOCK_AWAITED /* held, and other threads may be asleep until it is given back */
};

static mems_error_handler handler_default;

/* All state there is. Fields without a note are valid from mems_init to mems_finish, and those
 * after the lock are used by its holder only. */
static struct {
	struct options options;      /* always: what the next mems_init uses */
	mems_error_handler *_Atomic handler; /* always */
	bool is_started;             /* always */

	/* What translation reads changes with mems_init, and top when the heap grows. */
	uintptr_t start;             /* virtual address of granule 0 */
	unsigned shift;              /* log2 of the bytes in a granule */
	unsigned page_log2;          /* log2 of the granules in a page */
	size_t page_granules;
	size_t limit;                /* granules that may be mapped */
	_Atomic size_t top;          /* granules mapped; always, 0 without a heap */
	char *reservation;           /* NULL where there was no address space */
	size_t reservation_bytes;
	char *base;                  /* physical address of granule 0 */
	struct leaf *leaves;         /* leaf i is leaves[i + 1]; leaves[0] is empty */
	atomic_word *has_start[START_LEVELS];

	_Alignas(CACHE_LINE)
	atomic_uint lock;            /* always: an enum lock_state */
	_Atomic uintptr_t holder;    /* always: the thread that holds it and may call MeMS again */
	unsigned holds;              /* always: how often it does, one within the other */
	int cancel_state;            /* of its thread, before the first of them */
	unsigned visitors;           /* always: its visitors at work, printing and checking included */
	bool has_fork_handlers;      /* always: they stay */

	struct table tables[TABLES];
	char *indexed;               /* the words with the HOLEs that the index knows: of the leaves, */
	unsigned indexed_log2;       /* or of merged; log2 of the bytes from one to the next */
	uint8_t *leaf_max[LEAF_MAX_LEVELS];
	uint32_t *group_max[MAX_LEVELS];
	uint64_t *borders;           /* bit i: page i is the first of a main node */
	uint64_t *touched;           /* bit i: OS page i may be in memory */
	uint64_t *given;             /* bit i: OS page i was given back after frees */
	unsigned os_page_log2;       /* log2 of the granules in an OS page */
	size_t trim_least;           /* granules that must be freed before pages are given back */
	size_t trim_freed;           /* granules freed in large HOLEs and not taken again, since then */
	size_t trim_given;           /* granules given back since trim_least last changed */
	size_t trim_taken;           /* of these, taken again */
	size_t trim_most;            /* the most that were given back and not taken again meanwhile */
	size_t trim_last;            /* granules given back the last time */
	size_t trim_top;             /* top when trim_least last changed */
	size_t trim_low_top;         /* top when the heap was found to be mostly free the last time */
	size_t trim_filled;          /* the most granules in PROCESS segments found since then */
	size_t trim_visited;         /* the HOLE that holes_trim visited last; a granule */
	struct lag lags[LAGS];       /* group g lags in lags[g % LAGS] or not at all */
	struct range fresh;          /* the longest run of pages not in memory that was taken since it
	                              * was emptied: they hold zeros */
	uint8_t classes_up_to[CLASSED_SIZES]; /* how many classes have a least size up to this one */
	lanes bounds[CLASSES / 4];   /* leaves; none is less than the one before */

	struct main_node *nodes;     /* an array: the main chain in order */
	size_t node_count;

	bool is_watched;             /* a memory checker is told which granules the program may use */
	size_t near_top;             /* first fit, and nothing but the books to be done: top; else 0 */
	size_t near_sizes;           /* likewise, NEAR_SIZES; always, as near_top is */
	bool is_quick;               /* the policy is MEMS_QUICK_FIT; the rest is used only then */
	size_t direct_sizes;         /* DIRECT_BINS, if nothing but the books to be done; else 0; always */
	atomic_word *merged;         /* a word a leaf: the HOLEs that are merged for good */
	struct bin bins[BINS];
	uint32_t spare_chunk;        /* the first of a list of chunks given back; 0 for none */
	uint32_t chunk_count;        /* chunks that were ever taken, the unused first one included */
	size_t merged_size;          /* granules in merged HOLEs; the near way of first fit skips it */

	FILE *record;                /* where calls are recorded, the caller's; else NULL */
	struct table ids;            /* for the granule at which a live block starts: its id */
	uint32_t record_next;        /* the id that the next block gets */

	size_t process;              /* granules in PROCESS segments */
	size_t peak_process;         /* the most of them since mems_init */
	size_t clean_from;           /* granule: from here to top no block has ever been */
} heap = { .handler = handler_default };

/* ---- Arithmetic and bits --------------------------------------------------------------------- */

static size_t min_size(size_t a, size_t b)
{
	return a < b ? a : b;
}

static size_t max_size(size_t a, size_t b)
{
	return a > b ? a : b;
}

static size_t clamp(size_t value, size_t least, size_t most)
{
	return max_size(least, min_size(value, most));
}

static bool is_power_of_two(size_t value)
{
	return value != 0 && (value & (value - 1)) == 0;
}

/* multiple: a power of two. */
static size_t round_up(size_t value, size_t multiple)
{
	return (value + multiple - 1) & ~(multiple - 1);
}

static size_t round_down(size_t value, size_t multiple)
{
	return value & ~(multiple - 1);
}

/* word: not 0. */
static unsigned lowest_bit(uint64_t word)
{
	return (unsigned)__builtin_ctzll(word);
}

/* word: not 0. */
static unsigned highest_bit(uint64_t word)
{
	return 63u - (unsigned)__builtin_clzll(word);
}

static uint64_t bit_of(size_t index)
{
	return (uint64_t)1 << (index % 64);
}

/* The words of bits are written by one thread at a time and read by any. */
static uint64_t word_load(const atomic_word *word)
{
	return atomic_load_explicit(word, memory_order_relaxed);
}

static void word_store(atomic_word *word, uint64_t value)
{
	atomic_store_explicit(word, value, memory_order_relaxed);
}

static size_t top_load(void)
{
	return atomic_load_explicit(&heap.top, memory_order_acquire);
}

/* The first of the 64 bytes at line, from index on, that is at least value; 64 if there is none. */
static inline unsigned bytes_find(const uint8_t line[64], unsigned from, unsigned value)
{
#ifdef __SSE2__
	const __m128i least = _mm_set1_epi8((char)value);
	uint64_t found = 0;
	UNROLL for (unsigned i = 0; i < 4; i++) {
		__m128i bytes = _mm_load_si128((const __m128i *)(const void *)(line + 16 * i));
		__m128i is_enough = _mm_cmpeq_epi8(_mm_max_epu8(bytes, least), bytes);
		found |= (uint64_t)(unsigned)_mm_movemask_epi8(is_enough) << (16 * i);
	}
	if (from < 64)
		found &= UINT64_MAX << from;
	return from < 64 && found != 0 ? lowest_bit(found) : 64;
#else
	while (from < 64 && line[from] < value)
		from++;
	return from;
#endif
}

static inline unsigned bytes_max(const uint8_t line[64])
{
#ifdef __SSE2__
	const __m128i *bytes = (const __m128i *)(const void *)line;
	__m128i max = _mm_max_epu8(_mm_max_epu8(bytes[0], bytes[1]), _mm_max_epu8(bytes[2], bytes[3]));
	max = _mm_max_epu8(max, _mm_srli_si128(max, 8));
	max = _mm_max_epu8(max, _mm_srli_si128(max, 4));
	max = _mm_max_epu8(max, _mm_srli_si128(max, 2));
	max = _mm_max_epu8(max, _mm_srli_si128(max, 1));
	return (unsigned)_mm_cvtsi128_si32(max) & 0xff;
#else
	unsigned largest = 0;
	for (unsigned i = 0; i < 64; i++)
		largest = line[i] > largest ? line[i] : largest;
	return largest;
#endif
}

/* The first of the 16 sizes at line, from index on, that is at least value; 16 if there is none. */
static inline unsigned sizes_find(const uint32_t line[FANOUT], unsigned from, size_t value)
{
#ifdef __SSE2__
	const __m128i sign = _mm_set1_epi32(INT32_MIN);
	const __m128i least = _mm_xor_si128(_mm_set1_epi32((int)(uint32_t)value), sign);
	__m128i is_less[4];
	UNROLL for (unsigned i = 0; i < 4; i++) {
		__m128i sizes = _mm_load_si128((const __m128i *)(const void *)(line + 4 * i));
		is_less[i] = _mm_cmplt_epi32(_mm_xor_si128(sizes, sign), least);
	}
	const __m128i low = _mm_packs_epi32(is_less[0], is_less[1]);
	const __m128i high = _mm_packs_epi32(is_less[2], is_less[3]);
	const unsigned less = (unsigned)_mm_movemask_epi8(_mm_packs_epi16(low, high));
	return lowest_bit((~(uint64_t)less >> from << from) | 1u << FANOUT);
#else
	while (from < FANOUT && line[from] < value)
		from++;
	return from;
#endif
}

#ifdef __SSE2__
/* The larger of each of four numbers: SSE2 has this for bytes and for 16 bits only. */
static inline __m128i max_of_four(__m128i a, __m128i b)
{
	const __m128i is_more = _mm_cmpgt_epi32(a, b);
	return _mm_or_si128(_mm_and_si128(is_more, a), _mm_andnot_si128(is_more, b));
}
#endif

static inline uint32_t sizes_max(const uint32_t line[FANOUT])
{
#ifdef __SSE2__
	const __m128i *sizes = (const __m128i *)(const void *)line;
	const __m128i sign = _mm_set1_epi32(INT32_MIN);
	const __m128i low = max_of_four(_mm_xor_si128(sizes[0], sign), _mm_xor_si128(sizes[1], sign));
	const __m128i high = max_of_four(_mm_xor_si128(sizes[2], sign), _mm_xor_si128(sizes[3], sign));
	__m128i max = max_of_four(low, high);
	max = max_of_four(max, _mm_srli_si128(max, 8));
	max = max_of_four(max, _mm_srli_si128(max, 4));
	return (uint32_t)_mm_cvtsi128_si32(max) ^ 0x80000000u;
#else
	uint32_t largest = 0;
	for (unsigned i = 0; i < FANOUT; i++)
		largest = line[i] > largest ? line[i] : largest;
	return largest;
#endif
}

/* ---- The OS: the only place that asks it for anything; errno stays as it was ----------------- */

static size_t os_page_bytes(void)
{
	return (size_t)sysconf(_SC_PAGESIZE);
}

/* The options, defaults filled in. */
static struct options options_in_force(void)
{
	struct options options = heap.options;
	options.alignment = options.alignment != 0 ? options.alignment : DEFAULT_ALIGNMENT;
	options.start = options.start != 0 ? options.start : DEFAULT_START;
	if (options.page_bytes == 0)
		options.page_bytes = max_size(SMALLEST_PAGE, os_page_bytes());
	return options;
}

/* mmap, NULL where it is refused. */
static void *os_mmap(void *address, size_t bytes, int protection, int flags)
{
	const int error = errno;
	flags |= MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
	void *memory = mmap(address, bytes, protection, flags, -1, 0);
	errno = error;
	return memory == MAP_FAILED ? NULL : memory;
}

static bool os_unmap(void *address, size_t bytes)
{
	const int error = errno;
	const bool is_done = munmap(address, bytes) == 0;
	errno = error;
	return is_done;
}

/* Address space without memory; NULL where there is none. */
static char *os_reserve(size_t bytes)
{
	return os_mmap(NULL, bytes, PROT_NONE, 0);
}

/* Page faults of this thread so far; 0 where the OS does not tell. */
static long os_faults(void)
{
	const int error = errno;
	struct rusage usage = { 0 };
	getrusage(RUSAGE_THREAD, &usage);
	errno = error;
	return usage.ru_minflt;
}

/* Does each page of a reservation cost memory? It costs the kernel none, but an emulator may keep
 * books on each page, which it must bring into memory meanwhile. */
static bool os_reservations_are_dear(void)
{
	enum { TRIAL_BYTES = 256 << 20, TRIAL_FAULTS = 256 };
	const long before = os_faults();
	char *trial = os_reserve(TRIAL_BYTES);
	if (trial != NULL)
		os_unmap(trial, TRIAL_BYTES);
	return os_faults() - before >= TRIAL_FAULTS;
}

/* Maps fresh zeroed pages at address, inside the reservation. A kernel with strict overcommit may
 * have torn the old mapping out when it refuses; it is put back at once. What another thread of
 * the program maps into the gap in between, or after the kernel has refused that as well, is
 * lost. */
static bool os_map(char *address, size_t bytes)
{
	if (os_mmap(address, bytes, PROT_READ | PROT_WRITE, MAP_FIXED) != NULL)
		return true;
	void *back = os_mmap(address, bytes, PROT_NONE, MAP_FIXED_NOREPLACE);
	if (back != NULL && back != address)
		os_unmap(back, bytes); /* a kernel before 4.17: ours is still there, so it went elsewhere */
	return false;
}

static bool os_commit(char *address, size_t bytes)
{
	const int error = errno;
	const bool is_done = mprotect(address, bytes, PROT_READ | PROT_WRITE) == 0;
	errno = error;
	return is_done;
}

/* Lets the OS take back whole pages, which read as zero from then on. */
static bool os_release(char *address, size_t bytes)
{
	const int error = errno;
	const bool is_done = madvise(address, bytes, MADV_DONTNEED) == 0;
	errno = error;
	return is_done;
}

/* Brings pages into memory at once, which is cheaper than one by one as they are written to.
 * Where the kernel cannot, they come in then. */
static void os_populate(char *address, size_t bytes)
{
	const int error = errno;
	madvise(address, bytes, MADV_POPULATE_WRITE);
	errno = error;
}

/* Sleeps until woken, unless the word has another value. May wake for no reason. */
static void os_wait(atomic_uint *word, unsigned value)
{
	const int error = errno;
	syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, value, NULL, NULL, 0);
	errno = error;
}

static void os_wake_one(atomic_uint *word)
{
	const int error = errno;
	syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
	errno = error;
}

/* How many bytes of a page-aligned range are in memory; all of them where the OS does not tell. */
static size_t os_resident_bytes(char *address, size_t bytes)
{
	enum { AT_ONCE = 1024 };
	unsigned char pages[AT_ONCE];
	const size_t page = os_page_bytes();
	const int error = errno;
	size_t resident = 0;
	while (bytes != 0) {
		size_t count = min_size(bytes / page, AT_ONCE);
		if (mincore(address, count * page, pages) != 0) {
			resident += bytes;
			break;
		}
		for (size_t i = 0; i < count; i++)
			resident += (pages[i] & 1) != 0 ? page : 0;
		address += count * page;
		bytes -= count * page;
	}
	errno = error;
	return resident;
}

/* ---- The lock: around all that changes the heap or walks it ---------------------------------- */

/* Whether the process has one thread only, as far as the C library tells. Nothing in here makes
 * another one, but what is called out to may: so the lock says that it is held in any case. */
static inline bool is_alone(void)
{
#ifdef HAS_SINGLE_THREADED
	return __libc_single_threaded;
#else
	return false;
#endif
}

static uintptr_t thread_self(void)
{
	return (uintptr_t)pthread_self();
}

/* Whether this thread holds the lock since it called out, and so may not take it again. */
static inline bool is_holder(void)
{
	const uintptr_t holder = atomic_load_explicit(&heap.holder, memory_order_relaxed);
	return UNLIKELY(holder != 0) && holder == thread_self();
}

static bool lock_try(void)
{
	unsigned state = LOCK_FREE;
	return atomic_compare_exchange_strong_explicit(&heap.lock, &state, LOCK_HELD,
	                                               memory_order_acquire, memory_order_relaxed);
}

/* Most often the lock is given back before a thread could fall asleep. */
static NOINLINE void lock_wait(void)
{
	for (unsigned i = 0; i < LOCK_SPINS; i++)
		if (atomic_load_explicit(&heap.lock, memory_order_relaxed) == LOCK_FREE && lock_try())
			return;
	while (atomic_exchange_explicit(&heap.lock, LOCK_AWAITED, memory_order_acquire) != LOCK_FREE)
		os_wait(&heap.lock, LOCK_AWAITED);
}

static inline void lock_take(void)
{
	if (is_holder())
		return;
	if (is_alone())
		atomic_store_explicit(&heap.lock, LOCK_HELD, memory_order_relaxed);
	else if (!lock_try())
		lock_wait();
}

static inline void lock_give(void)
{
	if (is_holder())
		return;
	if (is_alone())
		atomic_store_explicit(&heap.lock, LOCK_FREE, memory_order_relaxed);
	else if (atomic_exchange_explicit(&heap.lock, LOCK_FREE, memory_order_release) == LOCK_AWAITED)
		os_wake_one(&heap.lock);
}

/* From here to hold_end this thread, which has taken the lock, keeps it while other code runs that
 * may call MeMS. It cannot be cancelled there, for then nobody would give the lock back. */
static void hold_begin(void)
{
	if (heap.holds++ != 0)
		return;
	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &heap.cancel_state);
	atomic_store_explicit(&heap.holder, thread_self(), memory_order_relaxed);
}

static void hold_end(void)
{
	if (--heap.holds != 0)
		return;
	const int cancel_state = heap.cancel_state;
	atomic_store_explicit(&heap.holder, 0, memory_order_relaxed);
	pthread_setcancelstate(cancel_state, NULL);
}

/* ---- Tables: the metadata, reserved whole and made writable as the heap grows ---------------- */

static void table_describe(enum table_name name, size_t entry_bytes, unsigned granules_log2)
{
	heap.tables[name] = (struct table){
		.entry_bytes = entry_bytes,
		.granules_log2 = granules_log2,
	};
}

static void tables_describe(void)
{
	table_describe(LEAVES, sizeof(struct leaf), LEAF_LOG2);
	for (unsigned level = 0; level < LEAF_MAX_LEVELS; level++)
		table_describe(LEAF_MAXIMA + level, sizeof(uint8_t), LEAF_LOG2 + 6 * level);
	for (unsigned level = 0; level < MAX_LEVELS; level++)
		table_describe(GROUP_MAXIMA + level, sizeof(uint32_t), GROUP_LOG2 + FANOUT_LOG2 * level);
	for (unsigned level = 0; level < START_LEVELS; level++)
		table_describe(HAS_START + level, sizeof(uint64_t), GROUP_LOG2 + 6 * level);
	table_describe(BORDERS, sizeof(uint64_t), heap.page_log2 + 6);
	table_describe(TOUCHED, sizeof(uint64_t), heap.os_page_log2 + 6);
	table_describe(GIVEN, sizeof(uint64_t), heap.os_page_log2 + 6);
	table_describe(NODES, sizeof(struct main_node), heap.page_log2);
	table_describe(MERGED, heap.is_quick ? sizeof(uint64_t) : 0, LEAF_LOG2);
	table_describe(CHUNKS, 0, 0);
	if (heap.is_quick)
		heap.tables[CHUNKS].reserved_bytes = MAX_CHUNKS * sizeof(struct chunk);
}

/* Bytes that a table needs for a heap of so many granules: with room for the entry of top, for a
 * leaf on either side, and for whole lines, which are read at once. */
static size_t table_bytes(const struct table *table, size_t granules)
{
	enum { SPARE_ENTRIES = 4, LINE_BYTES = 64 };
	const uint64_t entries = ((uint64_t)granules >> table->granules_log2) + SPARE_ENTRIES;
	return round_up((size_t)entries * table->entry_bytes, LINE_BYTES);
}

/* Its share of a reservation for a heap of so many granules. */
static size_t table_reserve_bytes(const struct table *table, size_t granules, size_t os_page)
{
	const bool is_fixed = table == &heap.tables[CHUNKS];
	return is_fixed ? table->reserved_bytes : round_up(table_bytes(table, granules), os_page);
}

static size_t tables_bytes(size_t granules, size_t os_page)
{
	size_t bytes = 0;
	for (unsigned i = 0; i < TABLES; i++)
		bytes += table_reserve_bytes(&heap.tables[i], granules, os_page);
	return bytes;
}

/* Lays the tables out from memory on, for a heap of so many granules. */
static void tables_place(char *memory, size_t granules, size_t os_page)
{
	for (unsigned i = 0; i < TABLES; i++) {
		heap.tables[i].memory = memory;
		heap.tables[i].reserved_bytes = table_reserve_bytes(&heap.tables[i], granules, os_page);
		memory += heap.tables[i].reserved_bytes;
	}
	heap.leaves = (struct leaf *)(void *)heap.tables[LEAVES].memory;
	for (unsigned level = 0; level < LEAF_MAX_LEVELS; level++)
		heap.leaf_max[level] = (uint8_t *)heap.tables[LEAF_MAXIMA + level].memory;
	for (unsigned level = 0; level < MAX_LEVELS; level++)
		heap.group_max[level] = (uint32_t *)(void *)heap.tables[GROUP_MAXIMA + level].memory;
	for (unsigned level = 0; level < START_LEVELS; level++)
		heap.has_start[level] = (atomic_word *)(void *)heap.tables[HAS_START + level].memory;
	heap.borders = (uint64_t *)(void *)heap.tables[BORDERS].memory;
	heap.touched = (uint64_t *)(void *)heap.tables[TOUCHED].memory;
	heap.given = (uint64_t *)(void *)heap.tables[GIVEN].memory;
	heap.nodes = (struct main_node *)(void *)heap.tables[NODES].memory;
	heap.merged = (atomic_word *)(void *)heap.tables[MERGED].memory;
	heap.indexed = heap.is_quick ? (char *)heap.merged : (char *)&heap.leaves[1].holes;
	heap.indexed_log2 = lowest_bit(heap.is_quick ? sizeof(*heap.merged) : sizeof(struct leaf));
}

/* Makes the first so many bytes of a table writable. */
static bool table_commit(struct table *table, size_t bytes)
{
	if (bytes <= table->committed_bytes)
		return true;
	if (bytes > table->reserved_bytes)
		return false;
	bytes = min_size(round_up(bytes, COMMIT_STEP), table->reserved_bytes);
	if (!os_commit(table->memory + table->committed_bytes, bytes - table->committed_bytes))
		return false;
	table->committed_bytes = bytes;
	return true;
}

/* Makes room in every table for a heap of so many granules. */
static bool tables_commit(size_t granules)
{
	for (unsigned i = 0; i < TABLES_OF_HEAP; i++) {
		if (!table_commit(&heap.tables[i], table_bytes(&heap.tables[i], granules)))
			return false;
	}
	return heap.ids.memory == NULL || table_commit(&heap.ids, table_bytes(&heap.ids, granules));
}

/* ---- Leaves: the bits ------------------------------------------------------------------------ */

static size_t leaf_of(size_t granule)
{
	return granule >> LEAF_LOG2;
}

/* There is an empty one before the first. */
static struct leaf *leaf_at(size_t leaf)
{
	return &heap.leaves[leaf + 1];
}

static uint64_t leaf_starts(size_t leaf)
{
	return word_load(&leaf_at(leaf)->starts);
}

static uint64_t leaf_holes(size_t leaf)
{
	return word_load(&leaf_at(leaf)->holes);
}

static inline struct leaf_bits leaf_read(size_t leaf)
{
	return (struct leaf_bits){ leaf_starts(leaf), leaf_holes(leaf) };
}

static inline void leaf_write(size_t leaf, struct leaf_bits bits)
{
	struct leaf *words = leaf_at(leaf);
	word_store(&words->starts, bits.starts);
	word_store(&words->holes, bits.holes);
}

/* The HOLEs that are merged for good, and so in the hole index. */
static inline uint64_t leaf_merged(size_t leaf)
{
	const void *word = heap.indexed + (leaf << heap.indexed_log2);
	return word_load((const atomic_word *)word);
}

/* The next leaf after this one that has a start. There is one: that of top. A thread that asks
 * for what others change meanwhile may find the way down cut off: then top is the answer too. */
static inline size_t leaf_next(size_t leaf)
{
	size_t index = leaf + 1;
	unsigned level = 0;
	uint64_t word;
	while ((word = word_load(&heap.has_start[level][index / 64]) >> (index % 64)) == 0) {
		if (++level == START_LEVELS)
			return leaf_of(top_load());
		index = index / 64 + 1;
	}
	for (index += lowest_bit(word); level > 0; index = index * 64 + lowest_bit(word)) {
		word = word_load(&heap.has_start[--level][index]);
		if (word == 0)
			return leaf_of(top_load());
	}
	return index;
}

/* The last leaf before this one that has a start. There is one: the first, which is the answer too
 * where the way down is cut off. */
static size_t leaf_previous(size_t leaf)
{
	size_t index = leaf;
	uint64_t earlier;
	unsigned level = 0;
	for (;; level++) {
		earlier = word_load(&heap.has_start[level][index / 64]) & (bit_of(index) - 1);
		if (earlier != 0 || level == START_LEVELS - 1)
			break;
		index /= 64;
	}
	for (;; level--) {
		if (earlier == 0)
			return 0;
		index = round_down(index, 64) + highest_bit(earlier);
		if (level == 0)
			return index;
		index *= 64;
		earlier = word_load(&heap.has_start[level - 1][index / 64]);
	}
}

/* The leaf has its first start. */
static NOINLINE void has_start_set(size_t leaf)
{
	for (unsigned level = 0; level < START_LEVELS; level++) {
		atomic_word *word = &heap.has_start[level][leaf / 64];
		const uint64_t before = word_load(word);
		word_store(word, before | bit_of(leaf));
		if (before != 0)
			return;
		leaf /= 64;
	}
}

/* The leaf has lost its last start. */
static NOINLINE void has_start_clear(size_t leaf)
{
	for (unsigned level = 0; level < START_LEVELS; level++) {
		atomic_word *word = &heap.has_start[level][leaf / 64];
		const uint64_t after = word_load(word) & ~bit_of(leaf);
		word_store(word, after);
		if (after != 0)
			return;
		leaf /= 64;
	}
}

static inline void start_add(size_t granule)
{
	const size_t leaf = leaf_of(granule);
	const uint64_t starts = leaf_starts(leaf);
	word_store(&leaf_at(leaf)->starts, starts | bit_of(granule));
	if (UNLIKELY(starts == 0))
		has_start_set(leaf);
}

static inline void start_remove(size_t granule)
{
	const size_t leaf = leaf_of(granule);
	const uint64_t starts = leaf_starts(leaf) & ~bit_of(granule);
	word_store(&leaf_at(leaf)->starts, starts);
	if (UNLIKELY(starts == 0))
		has_start_clear(leaf);
}

static inline void holes_set(size_t granule, bool is_hole)
{
	atomic_word *holes = &leaf_at(leaf_of(granule))->holes;
	const uint64_t others = word_load(holes) & ~bit_of(granule);
	word_store(holes, others | (uint64_t)is_hole << (granule % 64));
}

/* The segment at granule is a HOLE, merged with its neighbours; or is no more. */
static inline void hole_mark(size_t granule, bool is_hole)
{
	holes_set(granule, is_hole);
	if (heap.is_quick) {
		atomic_word *merged = &heap.merged[leaf_of(granule)];
		const uint64_t others = word_load(merged) & ~bit_of(granule);
		word_store(merged, others | (uint64_t)is_hole << (granule % 64));
	}
}

/* ---- Segments: the sub-chain as a list ------------------------------------------------------- */

static bool is_start(size_t granule)
{
	return (leaf_starts(leaf_of(granule)) & bit_of(granule)) != 0;
}

/* Whether the segment at granule is no PROCESS. */
static bool is_hole(size_t granule)
{
	return (leaf_holes(leaf_of(granule)) & bit_of(granule)) != 0;
}

/* Whether it is a HOLE that is merged for good: under first fit every HOLE is. */
static inline bool is_merged(size_t granule)
{
	return (leaf_merged(leaf_of(granule)) & bit_of(granule)) != 0;
}

/* The 64 granules after this one: bit i is set where a segment starts at granule + 1 + i. */
static inline uint64_t starts_after(size_t granule)
{
	const size_t leaf = leaf_of(granule);
	const unsigned bit = granule % 64;
	return (leaf_starts(leaf) >> bit >> 1) | (leaf_starts(leaf + 1) << (63 - bit));
}

/* This granule and the 63 before: bit i is set where a segment starts at granule - 63 + i. */
static inline uint64_t starts_up_to(size_t granule)
{
	const size_t leaf = leaf_of(granule);
	const unsigned bit = granule % 64;
	return (leaf_starts(leaf) << (63 - bit)) | (leaf_starts(leaf - 1) >> bit >> 1);
}

/* Where the first segment of a later leaf starts; never beyond top. */
static NOINLINE size_t start_beyond(size_t leaf)
{
	const size_t far = leaf_next(leaf);
	return min_size(far * 64 + lowest_bit(leaf_starts(far) | bit_of(63)), top_load());
}

/* Where the last segment of an earlier leaf starts. */
static NOINLINE size_t start_before(size_t leaf)
{
	const size_t far = leaf_previous(leaf);
	return far * 64 + highest_bit(leaf_starts(far) | 1);
}

/* Where the segment after the one at granule starts; top for the last. */
static inline size_t segment_next(size_t granule)
{
	const uint64_t near = starts_after(granule);
	return near != 0 ? granule + 1 + lowest_bit(near) : start_beyond(leaf_of(granule));
}

/* Where the segment that holds granule starts. */
static inline size_t segment_of(size_t granule)
{
	const uint64_t near = starts_up_to(granule);
	return near != 0 ? granule - 63 + highest_bit(near) : start_before(leaf_of(granule));
}

/* Where the segment before the one at granule starts; granule is not 0. */
static inline size_t segment_previous(size_t granule)
{
	return segment_of(granule - 1);
}

static inline size_t segment_size(size_t granule)
{
	return segment_next(granule) - granule;
}

/* ---- The hole index: which is the first HOLE of at least n granules? ------------------------- */

static size_t group_of(size_t granule)
{
	return granule >> GROUP_LOG2;
}

static uint8_t leaf_max_of(size_t size)
{
	return (uint8_t)min_size(size, LARGE);
}

/* The granules of all these HOLEs of one leaf, as far as they lie in it. The addition carries
 * through each HOLE to the start that follows it, or out of the word. */
static inline uint64_t holes_fill(uint64_t starts, uint64_t holes)
{
	const uint64_t ends = (~starts + (holes << 1)) & starts;
	return ends - holes;
}

/* The granules of all HOLEs that start in the leaf, as far as they lie in it. */
static inline uint64_t leaf_free(size_t leaf)
{
	return holes_fill(leaf_starts(leaf), leaf_merged(leaf));
}

/* The first bit of each run of at least size bits, 1 to 64. */
static inline uint64_t runs_of(uint64_t bits, unsigned size)
{
	UNROLL for (unsigned i = 0; i < 6; i++) {
		bits &= bits >> (size / 2);
		size -= size / 2;
	}
	return bits;
}

/* The length of the longest run of bits: there are few in a leaf. */
static inline unsigned longest_run(uint64_t bits)
{
	unsigned longest = 0;
	while (bits != 0) {
		const uint64_t beyond = bits + (bits & -bits); /* its lowest bit follows the first run */
		const unsigned end = beyond != 0 ? lowest_bit(beyond) : 64;
		const unsigned length = end - lowest_bit(bits);
		longest = length > longest ? length : longest;
		bits &= beyond;
	}
	return longest;
}

/* The last HOLE that starts in the leaf, the only one that can reach beyond it; or NONE. */
static inline size_t leaf_last_hole(size_t leaf)
{
	const uint64_t holes = leaf_merged(leaf);
	return holes == 0 ? NONE : leaf * 64 + highest_bit(holes);
}

/* The HOLE that starts at granule; NONE may be asked for as well. */
static inline struct hole hole_at(size_t granule)
{
	return (struct hole){ granule, granule == NONE ? 0 : segment_size(granule) };
}

/* The largest HOLE that starts in the leaf, counted from the bits. */
static size_t leaf_largest(size_t leaf)
{
	if (leaf_merged(leaf) == 0)
		return 0;
	const uint64_t bits = leaf_free(leaf);
	const size_t longest = longest_run(bits);
	if ((bits & bit_of(63)) == 0)
		return longest;
	return max_size(longest, segment_size(leaf_last_hole(leaf)));
}

/* The largest large HOLE that starts in the group, 0 if there is none. */
static size_t group_largest(size_t group)
{
	const uint8_t *line = heap.leaf_max[0] + group * GROUP_LEAVES;
	size_t largest = LARGE - 1;
	for (unsigned i = 0; (i = bytes_find(line, i, LARGE)) < GROUP_LEAVES; i++)
		largest = max_size(largest, hole_at(leaf_last_hole(group * GROUP_LEAVES + i)).size);
	return largest < LARGE ? 0 : largest;
}

/* Raises the entries above that of the leaf, as far as they are smaller. */
static NOINLINE void leaf_max_raise(size_t leaf, uint8_t size)
{
	for (unsigned level = 1; level < LEAF_MAX_LEVELS; level++) {
		leaf /= 64;
		if (heap.leaf_max[level][leaf] >= size)
			return;
		heap.leaf_max[level][leaf] = size;
	}
}

static NOINLINE void group_raise(size_t group, size_t size)
{
	for (unsigned level = 0; level < MAX_LEVELS && heap.group_max[level][group] < size; level++) {
		heap.group_max[level][group] = (uint32_t)size;
		group >>= FANOUT_LOG2;
	}
}

/* Counts the entries of the group anew, and those above as far as it was the largest there. */
static void group_settle_small(size_t group)
{
	uint8_t before = heap.leaf_max[1][group];
	uint8_t after = (uint8_t)bytes_max(heap.leaf_max[0] + group * GROUP_LEAVES);
	heap.leaf_max[1][group] = after;
	for (unsigned level = 2; level < LEAF_MAX_LEVELS && after != before; level++) {
		const uint8_t *line = heap.leaf_max[level - 1] + round_down(group, 64);
		group /= 64;
		if (heap.leaf_max[level][group] != before)
			return;
		after = (uint8_t)bytes_max(line);
		heap.leaf_max[level][group] = after;
	}
}

static void group_settle_large(size_t group)
{
	uint32_t before = heap.group_max[0][group];
	uint32_t after = (uint32_t)group_largest(group);
	heap.group_max[0][group] = after;
	for (unsigned level = 1; level < MAX_LEVELS && after != before; level++) {
		const uint32_t *line = heap.group_max[level - 1] + round_down(group, FANOUT);
		group >>= FANOUT_LOG2;
		if (heap.group_max[level][group] != before)
			return;
		after = sizes_max(line);
		heap.group_max[level][group] = after;
	}
}

static void group_settle(size_t group)
{
	group_settle_small(group);
	if (heap.group_max[0][group] != 0)
		group_settle_large(group);
}

/* Corrects the entry of a leaf, which may be too large. */
static void leaf_settle(size_t leaf)
{
	heap.leaf_max[0][leaf] = leaf_max_of(leaf_largest(leaf));
}

/* Gives the slot to another group. */
static NOINLINE void lag_change(struct lag *lag, size_t group)
{
	for (uint64_t leaves = lag->leaves; leaves != 0; leaves &= leaves - 1)
		leaf_settle(lag->group * GROUP_LEAVES + lowest_bit(leaves));
	group_settle(lag->group);
	*lag = (struct lag){ .group = group };
}

/* A HOLE of at least so many granules starts in the leaf. */
static inline void leaf_raise(size_t leaf, uint8_t least)
{
	uint8_t *entry = &heap.leaf_max[0][leaf];
	*entry = *entry < least ? least : *entry;
	if (UNLIKELY(heap.leaf_max[1][leaf / 64] < least))
		leaf_max_raise(leaf, least);
}

/* No HOLE that starts in the leaf is larger. */
static inline void leaf_lower(size_t leaf, size_t most)
{
	heap.leaf_max[0][leaf] = (uint8_t)min_size(heap.leaf_max[0][leaf], most);
}

/* A HOLE of so many granules has come to be at granule, or has grown to that. */
static inline void index_add(size_t granule, size_t size)
{
	leaf_raise(leaf_of(granule), leaf_max_of(size));
	if (size >= LARGE && heap.group_max[0][group_of(granule)] < size)
		group_raise(group_of(granule), size);
}

/* A HOLE that started in the leaf is gone, or smaller. */
static inline void leaf_lag(size_t leaf)
{
	const size_t group = leaf / GROUP_LEAVES;
	struct lag *lag = &heap.lags[group % LAGS];
	if (UNLIKELY(lag->group != group))
		lag_change(lag, group);
	lag->leaves |= bit_of(leaf);
}

/* The last HOLE of the leaf begins in another one from now on, or is gone. The bits say so already.
 * All others end in the leaf. */
static inline void leaf_lose_last(size_t leaf)
{
	leaf_lower(leaf, leaf_merged(leaf) == 0 ? 0 : 63);
}

/* The HOLE of so many granules at granule has lost its low end. The bits say so already. Where
 * what is left begins in the same leaf, no entry can grow. */
static inline void index_cut(size_t granule, size_t size, size_t lost)
{
	const size_t rest = granule + lost;
	const size_t leaf = leaf_of(granule);
	if (leaf_of(rest) != leaf) {
		leaf_lose_last(leaf);
		index_add(rest, size - lost);
	}
	leaf_lag(leaf);
}

/* The smallest size of each class. */
static const uint16_t class_least[CLASSES] = {
	1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 16, 20, 32, 64, 128, 256
};

static void classes_describe(void)
{
	unsigned class = 0;
	for (unsigned size = 0; size < CLASSED_SIZES; size++) {
		class += class_least[class] == size;
		heap.classes_up_to[size] = (uint8_t)class;
	}
}

/* The number of classes with a least size up to this one. */
static unsigned classes_up_to(size_t size)
{
	return heap.classes_up_to[min_size(size, CLASSED_SIZES - 1)];
}

/* Nothing is known. */
static void bounds_reset(void)
{
	memset(heap.bounds, 0, sizeof(heap.bounds));
}

/* All ones for the classes from first on. */
static inline const unaligned_lanes *class_mask(unsigned first)
{
	static const int32_t masks[2 * CLASSES] = {
		[CLASSES] = -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1
	};
	return (const unaligned_lanes *)(const void *)(masks + CLASSES - first);
}

static inline size_t class_bound(unsigned class)
{
	return (uint32_t)heap.bounds[class / 4][class % 4];
}

/* The leaf where to begin to look for a HOLE of so many granules. */
static inline size_t bound_of(size_t size)
{
	return class_bound(classes_up_to(size) - 1);
}

/* No HOLE of size or more granules starts before the leaf. */
static inline void bounds_raise(size_t size, size_t leaf)
{
	const int32_t bound = (int32_t)leaf;
	const unaligned_lanes *mask = class_mask(classes_up_to(size - 1));
	UNROLL for (unsigned i = 0; i < CLASSES / 4; i++) {
		const lanes old = heap.bounds[i];
		const lanes raised = (old < bound) & mask[i];
		heap.bounds[i] = (old & ~raised) | (bound & raised);
	}
}

/* There is a HOLE of so many granules in the leaf. Most often that is not new: no bound is less
 * than that of the class before. */
static inline void bounds_lower(size_t size, size_t leaf)
{
	if (bound_of(size) <= leaf)
		return;
	const int32_t bound = (int32_t)leaf;
	const unaligned_lanes *mask = class_mask(classes_up_to(size));
	UNROLL for (unsigned i = 0; i < CLASSES / 4; i++) {
		const lanes old = heap.bounds[i];
		const lanes lowered = (old > bound) & ~mask[i];
		heap.bounds[i] = (old & ~lowered) | (bound & lowered);
	}
}

static const struct hole no_hole = { NONE, 0 };

/* The first HOLE of at least size granules that starts in the leaf. */
static inline struct hole leaf_find(size_t leaf, size_t size)
{
	const uint64_t runs = size <= 64 ? runs_of(leaf_free(leaf), (unsigned)size) : 0;
	if (runs != 0)
		return hole_at(leaf * 64 + lowest_bit(runs));
	const struct hole last = hole_at(leaf_last_hole(leaf));
	return last.size >= size ? last : no_hole;
}

/* The first group from this one on whose entry in leaf_max is at least least: up the levels, and
 * down again. NONE if there is none. */
static size_t group_from(size_t group, unsigned least)
{
	unsigned level = 1;
	unsigned entry;
	size_t index = group;
	for (;; index = index / 64 + 1) {
		entry = bytes_find(heap.leaf_max[level] + round_down(index, 64), index % 64, least);
		if (entry < 64)
			break;
		if (++level == LEAF_MAX_LEVELS)
			return NONE;
	}
	for (index = round_down(index, 64) + entry; level > 1; level--) {
		index *= 64;
		index += bytes_find(heap.leaf_max[level - 1] + index, 0, least);
	}
	return index;
}

/* The first leaf in a group from this one on whose entry is at least size, which is not large. NONE
 * if there is none. */
static NOINLINE size_t leaf_from_group(size_t group, unsigned size)
{
	while ((group = group_from(group, size)) != NONE) {
		const unsigned entry = bytes_find(heap.leaf_max[0] + group * GROUP_LEAVES, 0, size);
		if (entry < GROUP_LEAVES)
			return group * GROUP_LEAVES + entry;
		group_settle(group);
	}
	return NONE;
}

/* The first leaf from this one on whose entry is at least size, which is not large; NONE if there
 * is none. */
static inline size_t leaf_from(size_t leaf, unsigned size)
{
	const size_t first = round_down(leaf, GROUP_LEAVES);
	const unsigned entry = bytes_find(heap.leaf_max[0] + first, leaf % GROUP_LEAVES, size);
	return entry < GROUP_LEAVES ? first + entry : leaf_from_group(leaf / GROUP_LEAVES + 1, size);
}

/* The first group after this one whose entry is at least size: up the levels, and down again. */
static size_t group_after(size_t group, size_t size)
{
	unsigned level = 0;
	unsigned entry;
	size_t index = group;
	for (;; level++) {
		if (level == MAX_LEVELS)
			return NONE;
		const uint32_t *line = heap.group_max[level] + round_down(index, FANOUT);
		entry = sizes_find(line, index % FANOUT + 1, size);
		if (entry < FANOUT)
			break;
		index >>= FANOUT_LOG2;
	}
	for (index = round_down(index, FANOUT) + entry; level > 0; level--) {
		index <<= FANOUT_LOG2;
		index += sizes_find(heap.group_max[level - 1] + index, 0, size);
	}
	return index;
}

/* The first HOLE of at least size granules, a large size, in the leaves from this one to the end
 * of its group. */
static struct hole group_find(size_t leaf, size_t size)
{
	const size_t first = round_down(leaf, GROUP_LEAVES);
	for (unsigned entry = leaf % GROUP_LEAVES;; entry++) {
		entry = bytes_find(heap.leaf_max[0] + first, entry, LARGE);
		if (entry >= GROUP_LEAVES)
			return no_hole;
		const struct hole last = hole_at(leaf_last_hole(first + entry));
		if (last.size >= size)
			return last;
		if (last.size < LARGE)
			leaf_settle(first + entry);
	}
}

/* The first HOLE of at least size granules, a large size, in the leaves from this one on. */
static NOINLINE struct hole large_find(size_t size, size_t leaf)
{
	struct hole hole = hole_at(leaf_last_hole(leaf)); /* most often, where there are few sizes */
	if (hole.size >= size)
		return hole;
	hole = no_hole;
	size_t group = leaf / GROUP_LEAVES;
	if (heap.group_max[0][group] < size) {
		group = group_after(group, size);
		leaf = group * GROUP_LEAVES;
	}
	while (group != NONE) {
		hole = group_find(leaf, size);
		if (hole.start != NONE)
			return hole;
		group_settle(group);
		group = group_after(group, size);
		leaf = group * GROUP_LEAVES;
	}
	return hole;
}

/* The first HOLE of at least size granules in the leaves from this one on. */
static inline struct hole hole_find(size_t size, size_t leaf)
{
	if (size >= LARGE)
		return large_find(size, leaf);
	while ((leaf = leaf_from(leaf, (unsigned)size)) != NONE) {
		const struct hole hole = leaf_find(leaf, size);
		if (hole.start != NONE)
			return hole;
		leaf_settle(leaf);
	}
	return no_hole;
}

/* The first HOLE of at least size granules that starts after granule; NONE if there is none. */
static size_t hole_after(size_t size, size_t granule)
{
	const size_t leaf = leaf_of(granule);
	uint64_t holes = leaf_merged(leaf) & (UINT64_MAX << 1 << (granule % 64));
	for (; holes != 0; holes &= holes - 1)
		if (segment_size(leaf * 64 + lowest_bit(holes)) >= size)
			return leaf * 64 + lowest_bit(holes);
	return hole_find(size, leaf + 1).start;
}

/* The first HOLE of at least size granules. */
static inline struct hole hole_first(size_t size)
{
	return UNLIKELY(size > heap.top) ? no_hole : hole_find(size, bound_of(size));
}

/* Whether mems_malloc and mems_free may take the direct way to the bins, or the near way. */
static void direct_update(void)
{
	const bool is_plain = heap.is_started && heap.visitors == 0 && heap.record == NULL &&
	                      !heap.is_watched;
	heap.near_top = is_plain && !heap.is_quick ? heap.top : 0;
	heap.near_sizes = heap.near_top != 0 ? NEAR_SIZES : 0;
	heap.direct_sizes = is_plain && heap.is_quick ? DIRECT_BINS : 0;
}

/* ---- Contents: AddressSanitizer and Valgrind are told what the program may use --------------- */

/* Whether there is such a checker, at run time. */
static bool contents_are_watched(void)
{
	bool are_watched = false;
#ifdef HAS_VALGRIND
	are_watched = RUNNING_ON_VALGRIND != 0;
#endif
#ifdef HAS_ASAN
	are_watched = true;
#endif
	return are_watched;
}

static NOINLINE void contents_tell(size_t granule, size_t size, bool is_allowed)
{
	char *address = heap.base + (granule << heap.shift);
	const size_t bytes = size << heap.shift;
#ifdef HAS_VALGRIND
	if (is_allowed)
		VALGRIND_MAKE_MEM_UNDEFINED(address, bytes);
	else
		VALGRIND_MAKE_MEM_NOACCESS(address, bytes);
#endif
#ifdef HAS_ASAN
	if (is_allowed)
		ASAN_UNPOISON_MEMORY_REGION(address, bytes);
	else
		ASAN_POISON_MEMORY_REGION(address, bytes);
#endif
	(void)address;
	(void)bytes;
	(void)is_allowed;
}

/* The program may use these granules from now on, and what is in them is not defined. */
static inline void contents_allow(size_t granule, size_t size)
{
	if (UNLIKELY(heap.is_watched))
		contents_tell(granule, size, true);
}

static inline void contents_forbid(size_t granule, size_t size)
{
	if (UNLIKELY(heap.is_watched))
		contents_tell(granule, size, false);
}

/* What was cleared, or came from the OS, is zero, as the program was told. */
static void contents_define(size_t granule, size_t size)
{
#ifdef HAS_VALGRIND
	VALGRIND_MAKE_MEM_DEFINED(heap.base + (granule << heap.shift), size << heap.shift);
#endif
	(void)granule;
	(void)size;
}

/* ---- Main nodes: the main chain -------------------------------------------------------------- */

static size_t page_of(size_t granule)
{
	return granule >> heap.page_log2;
}

/* Whether a main node starts at granule. */
static inline bool is_border(size_t granule)
{
	if ((granule & (heap.page_granules - 1)) != 0)
		return false;
	const size_t page = page_of(granule);
	return (heap.borders[page / 64] & bit_of(page)) != 0;
}

/* The index of the node that holds granule, which is below top. */
static size_t node_of(size_t granule)
{
	size_t low = 0;
	for (size_t high = heap.node_count; high - low > 1;) {
		const size_t middle = low + (high - low) / 2;
		if (heap.nodes[middle].first <= granule)
			low = middle;
		else
			high = middle;
	}
	return low;
}

/* Appends a node of so many pages to the main chain: one HOLE. */
static bool node_append(size_t pages)
{
	const size_t first = heap.top;
	if (pages > page_of(heap.limit - first))
		return false;
	const size_t granules = pages * heap.page_granules;
	char *physical = heap.base + (first << heap.shift);
	if (!tables_commit(first + granules) || !os_map(physical, granules << heap.shift))
		return false;

	struct main_node *node = &heap.nodes[heap.node_count++];
	*node = (struct main_node){ .first = first, .granules = granules, .physical = physical };
	if (node != heap.nodes) {
		node->previous = node - 1;
		node->previous->next = node;
	}
	const size_t page = page_of(first);
	heap.borders[page / 64] |= bit_of(page);

	contents_forbid(first, granules);
	start_add(first + granules);
	start_add(first);
	hole_mark(first, true);
	atomic_store_explicit(&heap.top, first + granules, memory_order_release);
	heap.merged_size += granules;
	index_add(first, granules);
	bounds_lower(granules, leaf_of(first));
	direct_update();
	return true;
}

/* Asks the OS for a node with room for so many granules, and for more the larger the heap is; for
 * half as much again where the block grows, so that it finds room behind it the next time. */
static bool node_grow(size_t granules, bool is_growing)
{
	const size_t needed = page_of(granules) + ((granules & (heap.page_granules - 1)) != 0);
	const size_t wanted = max_size(needed + (is_growing ? needed / 2 : 0),
	                               page_of(heap.top) / GROWTH_DIVISOR);
	return (wanted > needed && node_append(wanted)) || node_append(needed);
}

/* ---- Pages: which of them are in memory, and giving them back -------------------------------- */

/* The first index from `from` to below end whose bit is value; end if there is none. */
static size_t bits_find(const uint64_t *words, size_t from, size_t end, bool value)
{
	const uint64_t flip = value ? 0 : UINT64_MAX;
	while (from < end) {
		const uint64_t word = (words[from / 64] ^ flip) >> (from % 64);
		if (word != 0)
			return min_size(from + lowest_bit(word), end);
		from = round_down(from, 64) + 64;
	}
	return end;
}

static void bits_set(uint64_t *words, size_t from, size_t end, bool value)
{
	while (from < end) {
		const size_t count = min_size(64 - from % 64, end - from);
		const uint64_t mask = UINT64_MAX >> (64 - count) << (from % 64);
		words[from / 64] = value ? words[from / 64] | mask : words[from / 64] & ~mask;
		from += count;
	}
}

/* How many of the bits are set. */
static size_t bits_count(const uint64_t *words, size_t from, size_t end)
{
	size_t count = 0;
	while ((from = bits_find(words, from, end, true)) < end) {
		const size_t until = bits_find(words, from, end, false);
		count += until - from;
		from = until;
	}
	return count;
}

/* A small block goes on into a page that no block has ever been in: more of them will follow. So in
 * a large heap this page and some more are brought into memory at once. */
static void pages_populate(size_t page)
{
	const size_t top = heap.top >> heap.os_page_log2;
	const size_t pages = min_size(top / POPULATED_DIVISOR, MOST_POPULATED_PAGES);
	const size_t end = min_size(page + pages, top);
	if (pages < LEAST_POPULATED_PAGES)
		return;
	char *address = heap.base + (page << heap.os_page_log2 << heap.shift);
	os_populate(address, (end - page) << heap.os_page_log2 << heap.shift);
	bits_set(heap.touched, page, end, true);
	bits_set(heap.given, page, end, false);
}

/* Whether the OS page that holds granule may be in memory. */
static inline bool is_touched(size_t granule)
{
	const size_t page = granule >> heap.os_page_log2;
	return (heap.touched[page / 64] >> (page % 64) & 1) != 0;
}

/* Whether the granules from start to stop are fewer than a page has, and their pages noted. */
static inline bool is_short_and_touched(size_t start, size_t stop)
{
	return (stop - start) >> heap.os_page_log2 == 0 && is_touched(start) && is_touched(stop - 1);
}

/* So many granules of a large HOLE were taken. */
static inline void trim_take(size_t granules)
{
	heap.trim_freed -= min_size(heap.trim_freed, granules);
}

/* The program may write to the granules from start to stop from now on. A page that is not in
 * memory lies in one HOLE, so only a HOLE that is as large as a page can have one. */
static NOINLINE void pages_touch(size_t start, size_t stop)
{
	const size_t page = start >> heap.os_page_log2;
	const size_t end = ((stop - 1) >> heap.os_page_log2) + 1;
	size_t fresh = 0;
	for (size_t at = page; (at = bits_find(heap.touched, at, end, false)) < end;) {
		const size_t until = bits_find(heap.touched, at, end, true);
		const size_t granules = (until - at) << heap.os_page_log2;
		fresh += granules;
		if (granules > heap.fresh.to - heap.fresh.from)
			heap.fresh = (struct range){ at << heap.os_page_log2, until << heap.os_page_log2 };
		at = until;
	}
	trim_take(stop - start - min_size(stop - start, fresh));
	if (fresh == 0)
		return;
	heap.trim_taken += bits_count(heap.given, page, end) << heap.os_page_log2;
	bits_set(heap.touched, page, end, true);
	bits_set(heap.given, page, end, false);
	if (stop > heap.clean_from && end - page <= 2)
		pages_populate(end - 1);
}

/* These pages are not in memory any more, and that was because so much was freed. */
static void pages_give(size_t page, size_t end)
{
	bits_set(heap.touched, page, end, false);
	bits_set(heap.given, page, end, true);
	heap.trim_given += (end - page) << heap.os_page_log2;
	if (heap.trim_given > heap.trim_taken)
		heap.trim_most = max_size(heap.trim_most, heap.trim_given - heap.trim_taken);
}

/* Gives back the whole pages from granule start to end, as far as they may be in memory. Returns
 * how many granules that were. */
static size_t pages_release(size_t start, size_t end, bool is_after_free)
{
	size_t given = 0;
	const size_t page_granules = (size_t)1 << heap.os_page_log2;
	size_t page = round_up(start, page_granules) >> heap.os_page_log2;
	const size_t last = end >> heap.os_page_log2;
	while ((page = bits_find(heap.touched, page, last, true)) < last) {
		const size_t until = bits_find(heap.touched, page, last, false);
		char *address = heap.base + (page << heap.os_page_log2 << heap.shift);
		if (os_release(address, (until - page) << heap.os_page_log2 << heap.shift)) {
			if (is_after_free)
				pages_give(page, until);
			else
				bits_set(heap.touched, page, until, false);
			given += (until - page) << heap.os_page_log2;
		}
		page = until;
	}
	return given;
}

/* Whether the program has filled the heap and freed most of it again, and so took again what had
 * been given back, for the heap has not grown. Some of that may have been gone at any moment. */
static bool steady_round_ends(size_t freed)
{
	heap.trim_filled = max_size(heap.trim_filled, heap.process + freed);
	if (heap.process >= heap.peak_process / 2)
		return false;
	const bool is_filled = heap.trim_filled > heap.peak_process / 8 * 7;
	const bool is_steady = heap.top == heap.trim_low_top;
	heap.trim_low_top = heap.top;
	heap.trim_filled = 0;
	return is_filled && is_steady;
}

/* Where nearly all that was given back had to be taken again, it was not worth it: more must be
 * freed the next time. Where the heap has not grown meanwhile, it is what the program goes on using:
 * then more than was ever gone at one time. */
static void trim_learn(size_t freed)
{
	const bool is_round = steady_round_ends(freed);
	if (!is_round && heap.trim_taken <= heap.trim_given / 8 * 7)
		return;
	const size_t more = is_round || heap.top == heap.trim_top ? heap.trim_most + 1 : 0;
	const size_t least = max_size(2 * max_size(heap.trim_least, heap.trim_last), more);
	heap.trim_least = min_size(least, heap.top);
	heap.trim_taken = 0;
	heap.trim_given = 0;
	heap.trim_most = 0;
	heap.trim_top = heap.top;
}

/* Gives back the whole pages of HOLEs of at least so many granules, until enough is, and returns
 * how many granules that were. It visits a few HOLEs, from where the last visit ended, round and
 * round. */
static size_t holes_trim(size_t least, size_t enough, bool is_after_free)
{
	const size_t begin = heap.trim_visited;
	size_t hole = hole_after(least, begin);
	size_t given = 0;
	bool is_round = false;
	for (unsigned i = 0; i < TRIM_VISITS && given < enough; i++) {
		if (hole == NONE && !is_round) {
			is_round = true;
			hole = hole_find(least, 0).start;
		}
		if (hole == NONE || (is_round && hole > begin))
			break;
		given += pages_release(hole, segment_next(hole), is_after_free);
		heap.trim_visited = hole;
		hole = hole_after(least, hole);
	}
	return given;
}

/* So many granules were freed, and lie in the HOLE from start to end now: gives its whole pages
 * back and those of others, if enough was freed in large HOLEs since that was done last. */
static NOINLINE void trim_after(size_t freed, size_t start, size_t end)
{
	heap.trim_freed += freed;
	if (heap.trim_freed < heap.trim_least)
		return;
	trim_learn(freed);
	if (heap.trim_freed < heap.trim_least)
		return;
	heap.trim_freed = 0;
	heap.trim_last = pages_release(start, end, true);
	heap.trim_last += holes_trim((size_t)TRIM_BYTES >> heap.shift, NONE, true);
}

/* The heap has grown by so many granules: gives as much back, so that its memory does not grow. */
static void trim_for_growth(size_t growth)
{
	holes_trim((size_t)TRIM_AT_GROWTH_BYTES >> heap.shift, growth, false);
}

/* ---- Placement: first fit, split, merge ------------------------------------------------------ */

static void process_count(size_t granules)
{
	heap.process += granules;
	if (UNLIKELY(heap.process > heap.peak_process))
		heap.peak_process = heap.process;
}

/* The bits of a HOLE at granule that from now on begins at rest, if anything is left. */
static inline void bits_cut(size_t granule, size_t rest, bool is_left)
{
	hole_mark(granule, false);
	start_add(rest);
	if (is_left)
		hole_mark(rest, true);
}

/* The bits of a HOLE at granule that goes on to where the one at next ends, and begins where the
 * one before begins. */
static inline void bits_join(size_t granule, size_t next, bool joins_left, bool joins_right)
{
	if (joins_right) {
		hole_mark(next, false);
		start_remove(next);
	}
	hole_mark(granule, !joins_left);
	if (joins_left)
		start_remove(granule);
}

/* [ ------- hole ------- ]  =>  [ PROCESS ][ hole ]      or, if it fits exactly, [ PROCESS ] */
static inline void hole_take(struct hole hole, size_t size)
{
	const size_t granule = hole.start;
	const size_t rest = granule + size;
	bits_cut(granule, rest, hole.size > size);
	index_cut(granule, hole.size, size);
	const bool is_large = hole.size >> heap.os_page_log2 != 0;
	if (is_large && is_short_and_touched(granule, rest))
		trim_take(size);
	else if (is_large)
		pages_touch(granule, rest);
	heap.clean_from = max_size(heap.clean_from, rest);
	heap.merged_size -= size;
	contents_allow(granule, size);
}

/* Takes a block from the first HOLE that is large enough. */
static NOINLINE size_t block_take_from(struct hole hole, size_t size)
{
	hole_take(hole, size);
	bounds_raise(size, leaf_of(hole.start + size));
	process_count(size);
	return hole.start;
}

/* So many granules were freed, and now there is a HOLE from start to end. */
static inline void hole_enter(size_t start, size_t end, size_t freed)
{
	const size_t size = end - start;
	index_add(start, size);
	bounds_lower(size, leaf_of(start));
	if (size >= LARGE && size >= (size_t)TRIM_BYTES >> heap.shift) /* LARGE is at hand already */
		trim_after(freed, start, end);
}

/* [ hole? ][ this ][ hole? ]  =>  [ ------- hole ------- ]      next: where this segment ends */
static NOINLINE void hole_make(size_t granule, size_t next)
{
	const size_t previous = is_border(granule) ? granule : segment_previous(granule);
	const bool joins_left = previous != granule && is_merged(previous);
	const bool joins_right = is_merged(next) && !is_border(next);
	const size_t start = joins_left ? previous : granule;
	const size_t end = joins_right ? segment_next(next) : next;
	bits_join(granule, next, joins_left, joins_right);
	heap.merged_size += next - granule;
	contents_forbid(granule, next - granule);
	/* First: to give a slot to another group counts the levels above, which must know the HOLE. */
	hole_enter(start, end, next - granule);
	if (joins_right && leaf_of(next) != leaf_of(start))
		leaf_lag(leaf_of(next)); /* in one leaf, what it has lost is in the larger HOLE */
}

/* ---- The near way: what first fit does most often, within a leaf or two ---------------------- */

/* Where none of the next size granules is the start of a PROCESS, at most NEAR_SIZES. What has to
 * be known before the next step can begin takes more time than all else here: so there are as few
 * steps as the size needs. */
static inline uint64_t free_for(uint64_t processes, size_t size)
{
	const uint64_t two = processes | processes >> 1;
	if (size <= 4)
		return ~(size == 1 ? processes : two | two >> (size - 2));
	const uint64_t four = two | two >> 2;
	if (size <= 8)
		return ~(four | four >> (size - 4));
	const uint64_t eight = four | four >> 4;
	if (size <= 16)
		return ~(eight | eight >> (size - 8));
	const uint64_t sixteen = eight | eight >> 8;
	return ~(sixteen | sixteen >> (size - 16));
}

/* Takes a block of at most NEAR_SIZES granules that begins with the last segment of the leaf, a
 * HOLE, and ends in the next one. NONE where the HOLE is too small. How far it goes on need not be
 * known: what is left of it is at most as large as the entry of its leaf says. */
static NOINLINE size_t block_take_across(size_t leaf, size_t size)
{
	const size_t granule = leaf * 64 + highest_bit(leaf_holes(leaf));
	const size_t end = granule + size;
	const uint64_t starts = leaf_starts(leaf + 1);
	const uint8_t most = heap.leaf_max[0][leaf];
	if ((starts & (bit_of(end) - 1)) != 0)
		return NONE;
	/* Where it starts, within a page, it is in memory. */
	if (UNLIKELY(!is_touched(end - 1) || group_of(end) != leaf / GROUP_LEAVES))
		return block_take_from(hole_at(granule), size);
	const bool is_left = (starts & bit_of(end)) == 0;
	bits_cut(granule, end, is_left);
	leaf_lose_last(leaf);
	leaf_lag(leaf);
	if (is_left)
		leaf_raise(leaf + 1, most);
	leaf_lag(leaf + 1);
	if (heap.trim_freed != 0 && most == LARGE)
		trim_take(size);
	heap.clean_from = max_size(heap.clean_from, end);
	process_count(size);
	bounds_raise(size, leaf + 1);
	contents_allow(granule, size);
	return granule;
}

/* Where in a leaf a block of at most NEAR_SIZES granules has room, if a HOLE starts there, and ends
 * before the leaf does. */
static inline uint64_t leaf_room(struct leaf_bits bits, size_t size)
{
	return free_for(bits.starts ^ bits.holes, size) & UINT64_MAX >> size;
}

/* Whether the last of these segments is a HOLE. */
static inline bool ends_with_hole(struct leaf_bits bits)
{
	return bits.holes > (bits.starts ^ bits.holes);
}

/* The leaf where to begin to look for at most NEAR_SIZES granules. */
static inline size_t near_bound(size_t size)
{
	return class_bound(heap.classes_up_to[size] - 1u);
}

/* Whether the first of these HOLEs of a leaf begins with a page that is not in memory. Such a page
 * lies in one HOLE, and a leaf in one page. */
static inline bool is_first_touch(size_t leaf, uint64_t holes)
{
	return (holes & 1) != 0 && !is_touched(leaf * 64);
}

/* Takes a block from the first of these HOLEs of a leaf, in which it fits. */
static ALWAYS_INLINE size_t leaf_take(size_t leaf, struct leaf_bits bits, uint64_t fits,
                                      size_t size)
{
	const unsigned at = lowest_bit(fits);
	const size_t granule = leaf * 64 + at;
	const uint64_t this = fits & -fits;
	const uint64_t rest = this << size & ~bits.starts;
	leaf_write(leaf, (struct leaf_bits){ bits.starts | rest, bits.holes ^ (rest | this) });
	if (heap.trim_freed != 0 && bits.starts >> at == 1 && heap.leaf_max[0][leaf] == LARGE)
		trim_take(size);
	if (UNLIKELY(heap.clean_from < granule + size))
		heap.clean_from = granule + size;
	process_count(size);
	return granule;
}

/* Takes a block of at most NEAR_SIZES granules where none fits in the leaf of its bound. NONE where
 * no HOLE is large enough, or its page may not be in memory. */
static NOINLINE size_t block_take_beyond(size_t size, size_t leaf)
{
	struct leaf_bits bits = leaf_read(leaf);
	uint64_t room, fits;
	do {
		if (ends_with_hole(bits)) {
			const size_t granule = block_take_across(leaf, size);
			if (granule != NONE)
				return granule;
		}
		const size_t vain = leaf;
		leaf = leaf_from(vain + 1, (unsigned)size);
		leaf_lower(vain, size - 1);
		if (leaf == NONE)
			return NONE;
		bits = leaf_read(leaf);
		room = leaf_room(bits, size);
		fits = bits.holes & room;
	} while (fits == 0);
	if (UNLIKELY(is_first_touch(leaf, fits)))
		return NONE;
	/* Where no second block would fit, the entry says so: else searches look there in vain. */
	const uint64_t left = (fits & (fits - 1)) | (room & (fits & -fits) << size);
	const size_t is_full = (left == 0) & !ends_with_hole(bits);
	leaf_lower(leaf, (size - 1) | (is_full - 1)); /* as a branch it would be guesswork */
	const size_t granule = leaf_take(leaf, bits, fits, size);
	bounds_raise(size, leaf);
	leaf_lag(leaf);
	contents_allow(granule, size);
	return granule;
}

/* Takes a block of at most NEAR_SIZES granules; NONE where no HOLE is large enough, or its page may
 * not be in memory. */
static size_t block_take_near(size_t size)
{
	const size_t leaf = near_bound(size);
	const struct leaf_bits bits = leaf_read(leaf);
	const uint64_t fits = bits.holes & leaf_room(bits, size);
	if (fits == 0)
		return block_take_beyond(size, leaf);
	if (UNLIKELY(is_first_touch(leaf, fits)))
		return NONE;
	const size_t granule = leaf_take(leaf, bits, fits, size);
	leaf_lag(leaf);
	contents_allow(granule, size);
	return granule;
}

/* Whether the segments before and after the one at granule start in its leaf too. Then they are in
 * its main node. */
static ALWAYS_INLINE bool is_inner(size_t granule, struct leaf_bits bits)
{
	const uint64_t this = bit_of(granule);
	return (bits.starts & (this - 1)) != 0 && (bits.starts & -(this << 1)) != 0;
}

/* A leaf in which an inner block is freed. */
struct joined {
	struct leaf_bits bits; /* of the leaf from then on */
	uint64_t ends;         /* the starts after the HOLE that comes to be: the first is its end */
	unsigned start, right; /* bits: where the HOLE starts, and where the block ends */
};

/* [ hole? ][ this ][ hole? ]  =>  [ ------- hole ------- ]
 * Without a branch: which of the neighbours are HOLEs would be guesswork. */
static ALWAYS_INLINE struct joined leaf_join(size_t granule, struct leaf_bits bits)
{
	const uint64_t this = bit_of(granule);
	const struct leaf_bits before = { bits.starts & (this - 1), bits.holes & (this - 1) };
	const uint64_t after = bits.starts & -(this << 1);
	const uint64_t next = after & -after;
	const uint64_t joins_right = next & bits.holes;
	const uint64_t joins_left = ends_with_hole(before);
	const uint64_t gone = joins_right | joins_left << (granule % 64);
	return (struct joined){
		.bits = { bits.starts ^ gone, bits.holes ^ gone ^ this },
		.ends = after ^ joins_right,
		.start = highest_bit((before.starts & -joins_left) | (this & (joins_left - 1))),
		.right = lowest_bit(next)
	};
}

/* Makes a PROCESS segment a HOLE, if it is inner; else returns false. */
static NOINLINE bool block_release_near(size_t granule)
{
	const size_t leaf = leaf_of(granule);
	const struct leaf_bits bits = leaf_read(leaf);
	if (!is_inner(granule, bits))
		return false;
	const struct joined hole = leaf_join(granule, bits);
	const size_t end = hole.ends != 0 ? leaf * 64 + lowest_bit(hole.ends) : start_beyond(leaf);
	const size_t freed = hole.right - granule % 64;
	leaf_write(leaf, hole.bits);
	heap.process -= freed;
	contents_forbid(granule, freed);
	hole_enter(leaf * 64 + hole.start, end, freed);
	return true;
}

/* Granules in blocks that are free and not merged. */
static size_t remembered_size(void)
{
	return heap.is_quick ? heap.top - heap.process - heap.merged_size : 0;
}

/* ---- Quick fit: bins of remembered blocks ---------------------------------------------------- */

static struct chunk *chunk_at(uint32_t index)
{
	return (struct chunk *)(void *)heap.tables[CHUNKS].memory + index;
}

/* A chunk that no bin uses; NULL where there is none, or no memory for it. */
static NOINLINE struct chunk *chunk_take(void)
{
	struct table *table = &heap.tables[CHUNKS];
	if (heap.spare_chunk != 0) {
		struct chunk *chunk = chunk_at(heap.spare_chunk);
		heap.spare_chunk = chunk->previous;
		return chunk;
	}
	const size_t needed = (heap.chunk_count + 1) * sizeof(struct chunk);
	if (!table_commit(table, needed))
		return NULL;
	return chunk_at(heap.chunk_count++);
}

static NOINLINE bool bin_extend(struct bin *bin)
{
	struct chunk *chunk = chunk_take();
	if (chunk == NULL)
		return false;
	chunk->previous = bin->chunk == NULL ? 0 : (uint32_t)(bin->chunk - chunk_at(0));
	bin->chunk = chunk;
	bin->used = 0;
	return true;
}

/* Gives the empty top chunk back, if there is one below. */
static NOINLINE bool bin_shorten(struct bin *bin)
{
	struct chunk *chunk = bin->chunk;
	if (chunk == NULL || chunk->previous == 0)
		return false;
	bin->chunk = chunk_at(chunk->previous);
	bin->used = CHUNK_ITEMS;
	chunk->previous = heap.spare_chunk;
	heap.spare_chunk = (uint32_t)(chunk - chunk_at(0));
	return true;
}

static inline bool bin_has_room(const struct bin *bin)
{
	return bin->chunk != NULL && bin->used < CHUNK_ITEMS;
}

/* Remembers granule, last. False where there is no memory for it. */
static inline bool bin_push(struct bin *bin, size_t granule)
{
	if (UNLIKELY(!bin_has_room(bin)) && !bin_extend(bin))
		return false;
	bin->chunk->items[bin->used++] = (uint32_t)granule;
	return true;
}

/* The granule remembered last; NONE for an empty bin. */
static inline size_t bin_pop(struct bin *bin)
{
	if (UNLIKELY(bin->used == 0) && !bin_shorten(bin))
		return NONE;
	return bin->chunk->items[--bin->used];
}

static void bin_forget(struct bin *bin)
{
	bin->chunk = NULL;
	bin->used = 0;
}

/* Merges for good all that the bin remembers, block by block. */
static void bin_merge(struct bin *bin)
{
	for (size_t granule; (granule = bin_pop(bin)) != NONE;)
		hole_make(granule, granule + bin->size);
}

/* [ remembered ][ HOLE ][ remembered ]  =>  [ ------------ HOLE ------------ ]
 * in one leaf. follows_hole: whether what ends at its first start is a HOLE; then, at its end. */
static void leaf_merge(size_t leaf, bool *follows_hole)
{
	const uint64_t starts = leaf_starts(leaf);
	const uint64_t holes = leaf_holes(leaf);
	if (starts == 0)
		return;
	const uint64_t after_holes = (~starts + (holes << 1) + *follows_hole) & starts;
	const uint64_t gone = after_holes & holes & ~(uint64_t)is_border(leaf * 64);
	*follows_hole = holes >> highest_bit(starts) != 0;
	word_store(&leaf_at(leaf)->starts, starts & ~gone);
	word_store(&leaf_at(leaf)->holes, holes & ~gone);
	word_store(&heap.merged[leaf], holes & ~gone);
	if (starts == gone)
		has_start_clear(leaf);
}

/* Merges for good all that is remembered, in address order, and counts the hole index anew:
 * cheaper than block by block where there are many. */
static void leaves_merge(void)
{
	const size_t leaves = leaf_of(heap.top) + 1;
	size_t entries = group_of(heap.top) + 1;
	bool follows_hole = false;
	for (size_t leaf = 0; leaf < leaves; leaf++)
		leaf_merge(leaf, &follows_hole);
	for (size_t leaf = 0; leaf < leaves; leaf++)
		heap.leaf_max[0][leaf] = leaf_max_of(leaf_largest(leaf));
	for (size_t group = 0; group < entries; group++)
		heap.group_max[0][group] = (uint32_t)group_largest(group);
	for (unsigned level = 1; level < MAX_LEVELS; level++) {
		entries = (entries + FANOUT - 1) / FANOUT;
		for (size_t i = 0; i < entries; i++)
			heap.group_max[level][i] = sizes_max(heap.group_max[level - 1] + i * FANOUT);
	}
	for (unsigned level = 1; level < LEAF_MAX_LEVELS; level++)
		for (size_t i = 0; i <= (leaves - 1) >> (6 * level); i++)
			heap.leaf_max[level][i] = (uint8_t)bytes_max(heap.leaf_max[level - 1] + i * 64);
	bounds_reset();
}

static void bins_merge(void)
{
	if (heap.chunk_count * CHUNK_ITEMS < leaf_of(heap.top) / 4) {
		for (unsigned i = 0; i < BINS; i++)
			bin_merge(&heap.bins[i]);
		return;
	}
	for (unsigned i = 0; i < BINS; i++)
		bin_forget(&heap.bins[i]);
	heap.spare_chunk = 0;
	heap.chunk_count = 1;
	heap.merged_size = heap.top - heap.process;
	leaves_merge();
}

/* Whether so much is remembered that merging it is worth a try before the OS is asked. */
static bool is_much_remembered(void)
{
	const size_t least = max_size((size_t)MERGE_BYTES >> heap.shift, heap.top / MERGE_DIVISOR);
	return remembered_size() >= least;
}

/* The bin for blocks of so many granules, under quick fit. Up to DIRECT_BINS each size has its
 * own, beyond that they share, one size at a time; the size may be another. NULL for sizes that
 * are not remembered. */
static struct bin *bin_of(size_t size)
{
	enum { SHARED_BINS = BINS - DIRECT_BINS };
	if (size <= DIRECT_BINS)
		return &heap.bins[size - 1];
	if (size > (size_t)REMEMBERED_BYTES >> heap.shift)
		return NULL;
	const uint32_t scattered = (uint32_t)size * UINT32_C(0x9E3779B1);
	return &heap.bins[DIRECT_BINS + scattered / (UINT32_MAX / SHARED_BINS + 1)];
}

/* Makes a PROCESS segment a HOLE that is remembered; false where it cannot be. */
static inline bool block_remember(size_t granule, size_t size)
{
	struct bin *bin = bin_of(size);
	if (size > DIRECT_BINS) {
		if (bin == NULL)
			return false;
		if (bin->size != size)
			bin_merge(bin);
		bin->size = (uint32_t)size;
	}
	if (!bin_push(bin, granule))
		return false;
	holes_set(granule, true);
	contents_forbid(granule, size);
	return true;
}

/* The block of so many granules that was remembered last, taken again; NONE if there is none. */
static inline size_t block_recall(struct bin *bin, size_t size)
{
	if (size > DIRECT_BINS && (bin == NULL || bin->size != size))
		return NONE;
	const size_t granule = bin_pop(bin);
	if (granule == NONE)
		return NONE;
	holes_set(granule, false);
	contents_allow(granule, size);
	return granule;
}

/* ---- Blocks: what placement gives to the program --------------------------------------------- */

/* Makes room where no HOLE is large enough: merges what is remembered, or asks the OS. */
static NOINLINE struct hole hole_obtain(size_t size, bool is_growing)
{
	struct hole hole = no_hole;
	const size_t top = heap.top;
	if (size > heap.limit)
		return hole;
	if (is_much_remembered()) {
		bins_merge();
		hole = hole_first(size);
	}
	if (hole.start != NONE)
		return hole;
	if (node_grow(size, is_growing)) {
		trim_for_growth(heap.top - top);
		return (struct hole){ top, heap.top - top };
	}
	if (remembered_size() == 0)
		return hole;
	bins_merge();
	return hole_first(size);
}

/* How many blocks to take at once: the more, the more often the size was asked for in vain. */
static size_t run_length(struct bin *bin, size_t size, size_t hole_size)
{
	if (bin == NULL || bin->size != size)
		return 1;
	if (bin->misses < RUN_BLOCKS)
		bin->misses++;
	const size_t most = min_size(hole_size / size, ((size_t)RUN_BYTES >> heap.shift) / size);
	return max_size(1, min_size(bin->misses, most));
}

/* The first HOLE of at least size granules, made where there is none. */
static inline struct hole hole_for(size_t size, bool is_growing)
{
	const struct hole hole = hole_first(size);
	return hole.start != NONE ? hole : hole_obtain(size, is_growing);
}

/* [ ------------ hole ------------ ]  =>  [ PROCESS ][ remembered ][ remembered ][ hole? ]
 * Under quick fit: the block that was remembered last, else a run from the first HOLE. */
static NOINLINE size_t block_take_quick(size_t size, bool is_growing)
{
	struct bin *bin = bin_of(size);
	const size_t granule = block_recall(bin, size);
	if (granule != NONE) {
		process_count(size);
		return granule;
	}
	const struct hole hole = hole_for(size, is_growing);
	if (hole.start == NONE)
		return NONE;
	const size_t end = hole.start + size * run_length(bin, size, hole.size);
	hole_take(hole, end - hole.start);
	bounds_raise(size, leaf_of(end));
	for (size_t rest = end - size; rest != hole.start; rest -= size) {
		start_add(rest);
		if (!block_remember(rest, size))
			hole_make(rest, rest + size);
	}
	process_count(size);
	return hole.start;
}

/* Under first fit. */
static NOINLINE size_t block_take_first(size_t size, bool is_growing)
{
	const struct hole hole = hole_for(size, is_growing);
	return hole.start != NONE ? block_take_from(hole, size) : NONE;
}

/* Takes a block of so many granules by the policy, for one that grows or for the program; NONE where
 * no memory can be had. */
static size_t block_take(size_t size, bool is_growing)
{
	if (heap.is_quick)
		return block_take_quick(size, is_growing);
	const size_t granule = size <= NEAR_SIZES && heap.top != 0 ? block_take_near(size) : NONE;
	return granule != NONE ? granule : block_take_first(size, is_growing);
}

/* Makes a PROCESS segment a HOLE, for good. */
static NOINLINE void block_merge(size_t granule)
{
	const size_t next = segment_next(granule);
	heap.process -= next - granule;
	hole_make(granule, next);
}

/* Makes a PROCESS segment a HOLE by the policy. */
static inline void block_release(size_t granule)
{
	if (!heap.is_quick && block_release_near(granule))
		return;
	const size_t next = segment_next(granule);
	heap.process -= next - granule;
	if (!heap.is_quick || !block_remember(granule, next - granule))
		hole_make(granule, next);
}

/* [ this ---------- ][ hole? ]  =>  [ this ][ ---- hole ---- ] */
static void block_shrink(size_t granule, size_t size)
{
	if (segment_size(granule) == size)
		return;
	start_add(granule + size);
	block_merge(granule + size);
}

/* [ this ][ ---- hole ---- ]  =>  [ this ---------- ][ hole? ]      false where there is no room */
static bool block_grow(size_t granule, size_t size)
{
	const size_t next = segment_next(granule);
	if (!is_merged(next) || is_border(next))
		return false;
	const size_t hole_size = segment_size(next);
	const size_t more = size - (next - granule);
	if (hole_size < more)
		return false;
	hole_take((struct hole){ next, hole_size }, more);
	process_count(more);
	start_remove(next);
	return true;
}

/* [ ------- hole ------- ]  =>  [ gap, a hole ][ PROCESS ][ hole? ]
 * As block_take, at a multiple of alignment granules: a power of two that divides a page. */
static size_t block_take_aligned(size_t size, size_t alignment)
{
	struct hole hole = hole_for(size, false);
	size_t block;
	for (;;) {
		if (hole.start == NONE)
			return NONE;
		block = round_up(hole.start, alignment);
		if (block + size <= hole.start + hole.size)
			break;
		hole = hole_at(hole_after(size, hole.start));
		if (hole.start == NONE)
			hole = hole_obtain(size, false);
	}
	hole_take(hole, block + size - hole.start);
	if (block != hole.start) {
		start_add(block);
		heap.process += block - hole.start;
		block_merge(hole.start);
	}
	process_count(size);
	return block;
}

/* ---- Addresses ------------------------------------------------------------------------------- */

static void *block_virtual(size_t granule)
{
	return (void *)(heap.start + (granule << heap.shift));
}

static char *block_physical(size_t granule)
{
	return heap.base + (granule << heap.shift);
}

/* Granules for so many bytes, rounded up. */
static size_t granules_of(size_t bytes)
{
	return (bytes >> heap.shift) + ((bytes & (((size_t)1 << heap.shift) - 1)) != 0);
}

/* Bytes from granule 0 to v_ptr; NONE for an address outside of the heap. */
static size_t offset_of(const void *v_ptr)
{
	const size_t offset = (uintptr_t)v_ptr - heap.start;
	return offset < top_load() << heap.shift ? offset : NONE;
}

/* The granule that begins at v_ptr. Rotated right, an offset that is below 0, beyond top or not a
 * whole number of granules is as large as can be. */
static inline size_t granule_of(const void *v_ptr)
{
	const unsigned width = sizeof(size_t) * CHAR_BIT;
	const size_t offset = (uintptr_t)v_ptr - heap.start;
	return offset >> heap.shift | offset << (-heap.shift % width);
}

/* Whether a PROCESS segment starts at granule, by the bits of its leaf. */
static inline bool is_live(size_t granule, struct leaf_bits bits)
{
	return (bits.starts & ~bits.holes & bit_of(granule)) != 0;
}

/* The granule at which the live block v_ptr starts, NONE if none does. */
static inline size_t block_of(const void *v_ptr)
{
	const size_t granule = granule_of(v_ptr);
	if (UNLIKELY(granule >= top_load()))
		return NONE;
	return is_live(granule, leaf_read(leaf_of(granule))) ? granule : NONE;
}

/* Bytes from granule 0 to v_ptr if size bytes from there lie in one PROCESS segment, else NONE. */
static size_t range_of(const void *v_ptr, size_t size)
{
	const size_t offset = offset_of(v_ptr);
	if (offset == NONE)
		return NONE;
	const size_t segment = segment_of(offset >> heap.shift);
	if (is_hole(segment))
		return NONE;
	if (size <= 1)
		return offset;
	const size_t end = segment_next(segment) << heap.shift;
	const bool is_inside = end > offset && size <= end - offset; /* it may have moved meanwhile */
	return is_inside ? offset : NONE;
}

/* ---- Descriptions: a segment as the caller sees it ------------------------------------------- */

/* The segment at granule as it is shown: remembered blocks as part of the HOLE they will be. */
static struct mems_segment segment_describe(size_t granule, size_t node)
{
	const struct main_node *main_node = &heap.nodes[node];
	const size_t node_next = main_node->first + main_node->granules;
	size_t next = segment_next(granule);
	while (is_hole(granule) && next < node_next && is_hole(next))
		next = segment_next(next);
	return (struct mems_segment){
		.type = is_hole(granule) ? MEMS_HOLE : MEMS_PROCESS,
		.start = heap.start + (granule << heap.shift),
		.end = heap.start + (next << heap.shift) - 1,
		.size = (next - granule) << heap.shift,
		.physical = block_physical(granule),
		.node = node,
		.node_start = heap.start + (main_node->first << heap.shift),
		.node_end = heap.start + (node_next << heap.shift) - 1,
	};
}

/* Between the two nothing changes the heap. The lock is held. */
static void visit_begin(void)
{
	hold_begin();
	heap.visitors++;
	direct_update();
}

static void visit_end(void)
{
	heap.visitors--;
	direct_update();
	hold_end();
}

static void visitor_enter(void)
{
	lock_take();
	visit_begin();
}

static void visitor_leave(void)
{
	visit_end();
	lock_give();
}

/* As visitor_enter, and out, unless it is NULL, is locked too: what is printed stays together. Who
 * has the stream may wait for the heap, as when the stream needs memory, and a visitor of the heap
 * for the stream: so neither is waited for while the other is held. */
static void printer_enter(FILE *out)
{
	const bool is_needed = out != NULL && !is_holder();
	for (lock_take(); is_needed && ftrylockfile(out) != 0; lock_take()) {
		lock_give();
		flockfile(out);
		funlockfile(out);
	}
	visit_begin();
}

static void printer_leave(FILE *out)
{
	visitor_leave();
	if (out != NULL && !is_holder())
		funlockfile(out);
}

/* Calls visit for every segment of one node. */
static int node_walk(size_t node, mems_visitor *visit, void *context)
{
	const size_t end = heap.nodes[node].first + heap.nodes[node].granules;
	for (size_t granule = heap.nodes[node].first; granule < end;) {
		const struct mems_segment segment = segment_describe(granule, node);
		const int result = visit(&segment, context);
		if (result != 0)
			return result;
		granule += segment.size >> heap.shift;
	}
	return 0;
}

/* Describes the segment that holds the byte at v_ptr; false if none does. */
static bool segment_find(const void *v_ptr, struct mems_segment *segment)
{
	const size_t offset = offset_of(v_ptr);
	if (offset == NONE)
		return false;
	size_t granule = segment_of(offset >> heap.shift);
	while (is_hole(granule) && !is_border(granule) && is_hole(segment_previous(granule)))
		granule = segment_previous(granule);
	*segment = segment_describe(granule, node_of(granule));
	return true;
}

static const char *type_name(enum mems_segment_type type)
{
	return type == MEMS_HOLE ? "HOLE" : "PROCESS";
}

/* ---- Errors ---------------------------------------------------------------------------------- */

static void handler_default(int error, const void *v_ptr, const char *message)
{
	(void)error;
	(void)v_ptr;
	fprintf(stderr, "mems: %s\n", message);
}

/* Says what is at v_ptr instead of a block. The lock is held, and given back before the handler is
 * called. */
static void misuse_report(const char *function, const void *v_ptr)
{
	enum { MESSAGE_BYTES = 160 };
	char message[MESSAGE_BYTES];
	const uintptr_t address = (uintptr_t)v_ptr;
	struct mems_segment segment;
	if (!segment_find(v_ptr, &segment))
		snprintf(message, sizeof(message), "%s(%" PRIuPTR "): outside the heap", function, address);
	else
		snprintf(message, sizeof(message), "%s(%" PRIuPTR "): %s %s[%" PRIuPTR ":%" PRIuPTR "]%s",
		         function, address, segment.type == MEMS_HOLE ? "in" : "inside",
		         type_name(segment.type), segment.start, segment.end,
		         segment.type == MEMS_HOLE ? ", freed before or never given out" : "");
	lock_give();
	mems_error_handler *handler = atomic_load(&heap.handler);
	if (handler != NULL)
		handler(EINVAL, v_ptr, message);
	errno = EINVAL;
}

/* Whether a request of so many bytes may go on; sets errno. */
static bool request_is_valid(size_t size)
{
	if (!heap.is_started)
		errno = EPERM;
	else if (size == 0)
		errno = EINVAL;
	else if (heap.visitors != 0)
		errno = EBUSY;
	else
		return true;
	return false;
}

/* What block_take and its kin found, as the caller gets it; sets errno. */
static void *block_result(size_t granule)
{
	if (granule != NONE)
		return block_virtual(granule);
	errno = ENOMEM;
	return NULL;
}

/* ---- Recording ------------------------------------------------------------------------------- */

static uint32_t *record_ids(void)
{
	return (uint32_t *)(void *)heap.ids.memory;
}

static void record_stop(void)
{
	if (heap.record == NULL)
		return;
	heap.record = NULL;
	os_unmap(heap.ids.memory, heap.ids.reserved_bytes);
	heap.ids.memory = NULL;
	direct_update();
}

/* Writes one line. What the stream does meanwhile must not change the heap; in a child that it
 * forks there is no recording any more. */
static void record_print(const char *format, ...)
{
	const int error = errno;
	if (heap.record == NULL)
		return;
	va_list arguments;
	va_start(arguments, format);
	visit_begin();
	vfprintf(heap.record, format, arguments);
	visit_end();
	va_end(arguments);
	errno = error;
}

static void record_options(void)
{
	const struct options *options = &heap.options;
	const struct {
		const char *name;
		size_t value, value_default;
	} lines[] = {
		{ "policy", options->policy, MEMS_FIRST_FIT },
		{ "alignment", options->alignment, DEFAULT_ALIGNMENT },
		{ "start", options->start, DEFAULT_START },
		{ "page-size", options->page_bytes, max_size(SMALLEST_PAGE, os_page_bytes()) },
		{ "limit", options->limit_bytes, 0 },
	};
	for (unsigned i = 0; i < sizeof(lines) / sizeof(lines[0]); i++)
		if (lines[i].value != 0 && lines[i].value != lines[i].value_default)
			record_print("o %s %zu\n", lines[i].name, lines[i].value);
}

/* A call that gave a new block: kind is a, c or m, with its alignment. */
static NOINLINE void record_new(char kind, size_t granule, size_t size, size_t alignment)
{
	const uint32_t id = heap.record_next++;
	record_ids()[granule] = id;
	if (alignment == 0)
		record_print("%c %" PRIu32 " %zu\n", kind, id, size);
	else
		record_print("%c %" PRIu32 " %zu %zu\n", kind, id, size, alignment);
}

static NOINLINE void record_resize(size_t from, size_t to, size_t size)
{
	const uint32_t id = record_ids()[from];
	record_ids()[to] = id;
	record_print("r %" PRIu32 " %zu\n", id, size);
}

static NOINLINE void record_free(size_t granule)
{
	record_print("f %" PRIu32 "\n", record_ids()[granule]);
}

/* ---- Fork ------------------------------------------------------------------------------------ */

/* No other thread is in the middle of a change when the process is doubled. Handlers of the program
 * that run in between may call MeMS. */
static void fork_prepare(void)
{
	lock_take();
	hold_begin();
}

static void fork_parent(void)
{
	hold_end();
	lock_give();
}

static void fork_child(void)
{
	if (heap.record != NULL)
		__fpurge(heap.record); /* what is in its buffer the parent will write */
	record_stop();
	fork_parent();
}

static void fork_handlers_install(void)
{
	if (!heap.has_fork_handlers)
		heap.has_fork_handlers = pthread_atfork(fork_prepare, fork_parent, fork_child) == 0;
}

/* ---- The checker ----------------------------------------------------------------------------- */

enum { INVARIANTS = 16 };

/* What the checker found: for each invariant how often it is broken, and where first. */
struct findings {
	size_t count[INVARIANTS + 1];
	size_t where[INVARIANTS + 1]; /* granule, or an index of the table that it is about */
};

static void finding_add(struct findings *findings, unsigned invariant, bool is_kept, size_t where)
{
	if (is_kept)
		return;
	if (findings->count[invariant]++ == 0)
		findings->where[invariant] = where;
}

static bool bit_is_set(const uint64_t *words, size_t index)
{
	return (words[index / 64] & bit_of(index)) != 0;
}

/* I1, without which nothing else can be looked at. */
static bool check_extent(struct findings *findings)
{
	const struct options options = options_in_force();
	const size_t page_bytes = options.page_bytes;
	const size_t offset = (uintptr_t)heap.base - (uintptr_t)heap.reservation;
	finding_add(findings, 1, heap.start == options.start, 0);
	finding_add(findings, 1, heap.shift == lowest_bit(options.alignment), 0);
	finding_add(findings, 1, heap.page_granules == page_bytes / options.alignment, 0);
	const size_t os_page_granules = os_page_bytes() / options.alignment;
	finding_add(findings, 1, heap.os_page_log2 == lowest_bit(os_page_granules), 0);
	finding_add(findings, 1, heap.page_log2 == lowest_bit(page_bytes / options.alignment), 0);
	finding_add(findings, 1, heap.is_quick == (options.policy == MEMS_QUICK_FIT), 0);
	finding_add(findings, 1, (uintptr_t)heap.base % page_bytes == 0, 0);
	finding_add(findings, 1, offset < page_bytes && offset < heap.reservation_bytes, 0);
	if (findings->count[1] == 0) {
		const size_t room = (heap.reservation_bytes - offset) >> heap.shift;
		finding_add(findings, 1, heap.top <= heap.limit && heap.limit <= room, heap.top);
		finding_add(findings, 1, heap.top % heap.page_granules == 0, heap.top);
	}
	return findings->count[1] == 0;
}

static bool is_at(const void *array, unsigned table)
{
	return array == heap.tables[table].memory;
}

/* Whether the pointers to the arrays lead to the tables. */
static bool are_arrays_placed(void)
{
	bool are_placed = is_at(heap.leaves, LEAVES) && is_at(heap.borders, BORDERS) &&
	                  is_at(heap.touched, TOUCHED) &&
	                  is_at(heap.given, GIVEN) && is_at(heap.nodes, NODES) &&
	                  is_at(heap.merged, MERGED) &&
	                  (heap.is_quick ? is_at(heap.indexed, MERGED)
	                                 : heap.indexed == (char *)&leaf_at(0)->holes);
	for (unsigned level = 0; level < LEAF_MAX_LEVELS; level++)
		are_placed = are_placed && is_at(heap.leaf_max[level], LEAF_MAXIMA + level);
	for (unsigned level = 0; level < MAX_LEVELS; level++)
		are_placed = are_placed && is_at(heap.group_max[level], GROUP_MAXIMA + level);
	for (unsigned level = 0; level < START_LEVELS; level++)
		are_placed = are_placed && is_at(heap.has_start[level], HAS_START + level);
	return are_placed;
}

/* I16, likewise. */
static bool check_tables(struct findings *findings)
{
	const char *end = heap.reservation + heap.reservation_bytes;
	const char *next = heap.tables[0].memory;
	finding_add(findings, 16, next >= heap.base + (heap.limit << heap.shift) && next < end, 0);
	for (unsigned i = 0; i < TABLES && findings->count[16] == 0; i++) {
		const struct table *table = &heap.tables[i];
		const size_t needed = heap.top == 0 || i == CHUNKS ? 0 : table_bytes(table, heap.top);
		finding_add(findings, 16, table->memory == next, i);
		finding_add(findings, 16, table->reserved_bytes <= (size_t)(end - next), i);
		finding_add(findings, 16, table->committed_bytes <= table->reserved_bytes, i);
		finding_add(findings, 16, table->committed_bytes >= needed, i);
		next += table->reserved_bytes;
	}
	finding_add(findings, 16, are_arrays_placed(), 0);
	finding_add(findings, 16, heap.chunk_count <= MAX_CHUNKS && heap.chunk_count != 0, 0);
	return findings->count[16] == 0;
}

/* I2 to I5: the chain is followed by index, so that no damaged link is. */
static void check_nodes(struct findings *findings)
{
	const struct main_node *node = heap.nodes;
	const size_t pages = page_of(heap.top);
	size_t first = 0;
	size_t borders = 0;
	finding_add(findings, 2, heap.node_count <= pages, heap.node_count);
	for (size_t i = 0; i < min_size(heap.node_count, pages); i++, node++) {
		const bool is_last = i + 1 == heap.node_count;
		finding_add(findings, 2, node->previous == (i == 0 ? NULL : node - 1), i);
		finding_add(findings, 2, node->next == (is_last ? NULL : node + 1), i);
		finding_add(findings, 3, node->first == first, i);
		finding_add(findings, 3, node->granules != 0, i);
		finding_add(findings, 3, node->granules % heap.page_granules == 0, i);
		finding_add(findings, 3, node->physical == block_physical(first), i);
		finding_add(findings, 4, bit_is_set(heap.borders, page_of(first)), first);
		finding_add(findings, 5, is_start(first), first);
		if (node->granules > heap.top - first)
			break;
		first += node->granules;
	}
	finding_add(findings, 3, first == heap.top, first);
	for (size_t page = 0; page < round_up(pages + 1, 64); page++)
		borders += bit_is_set(heap.borders, page);
	finding_add(findings, 4, borders == heap.node_count, borders);
	finding_add(findings, 5, is_start(heap.top) && !is_hole(heap.top), heap.top);
}

/* What a pass over all granules gathers. */
struct tally {
	size_t process, largest;             /* granules */
	size_t largest_in_leaf, largest_in_group;
	size_t previous;                     /* where the segment before starts, NONE for the first */
	struct remembered_tally {
		size_t blocks, granules, sum, mix;
	} remembered;
};

static void remembered_count(struct remembered_tally *tally, size_t granule, size_t size)
{
	tally->blocks++;
	tally->granules += size;
	tally->sum += granule;
	tally->mix ^= granule * granule;
}

/* I7, I12, I13, I14: one segment, from granule to next. */
static void check_segment(struct findings *findings, struct tally *tally, size_t granule,
                          size_t next)
{
	const size_t size = next - granule;
	finding_add(findings, 14, next <= heap.clean_from || is_merged(granule), granule);
	if (!is_hole(granule)) {
		tally->process += size;
	} else if (!is_merged(granule)) {
		remembered_count(&tally->remembered, granule, size);
	} else {
		const bool follows_hole = tally->previous != NONE && is_merged(tally->previous);
		finding_add(findings, 7, !follows_hole || is_border(granule), granule);
		for (unsigned class = 0; class < CLASSES && class_least[class] <= size; class++)
			finding_add(findings, 12, class_bound(class) <= leaf_of(granule), granule);
		tally->largest_in_leaf = max_size(tally->largest_in_leaf, size);
	}
	tally->previous = granule;
}

/* I8, I9: the bits beyond top, and the levels above the starts. */
static void check_starts(struct findings *findings)
{
	const size_t last = leaf_of(heap.top);
	const uint64_t beyond = UINT64_MAX << (heap.top % 64);
	finding_add(findings, 8, (leaf_starts(last) & beyond & ~bit_of(heap.top)) == 0, last);
	finding_add(findings, 8, (leaf_holes(last) & beyond & ~bit_of(heap.top)) == 0, last);
	finding_add(findings, 8, (leaf_starts(last + 1) | leaf_merged(last + 1)) == 0, last + 1);
	finding_add(findings, 8, (leaf_starts(NONE) | leaf_holes(NONE)) == 0, NONE);
	size_t entries = last + 1;
	for (unsigned level = 0; level < START_LEVELS; level++) {
		for (size_t i = 0; i < round_up(entries, 64); i++) {
			const bool is_set = (word_load(&heap.has_start[level][i / 64]) & bit_of(i)) != 0;
			const uint64_t below = i >= entries ? 0
			                       : level == 0 ? leaf_starts(i)
			                                    : word_load(&heap.has_start[level - 1][i]);
			finding_add(findings, 9, is_set == (below != 0), i);
		}
		entries = (entries + 63) / 64;
	}
}

/* I10 and I11 above the leaves and the groups. */
static void check_levels(struct findings *findings)
{
	for (unsigned level = 1; level < LEAF_MAX_LEVELS; level++) {
		for (size_t i = 0; i <= leaf_of(heap.top) >> (6 * level); i++) {
			const unsigned largest = bytes_max(heap.leaf_max[level - 1] + i * 64);
			const bool may_lag = level == 1 && heap.lags[i % LAGS].group == i;
			finding_add(findings, 10, heap.leaf_max[level][i] == largest ||
			                          (may_lag && heap.leaf_max[level][i] > largest), i);
		}
	}
	size_t entries = group_of(heap.top) + 1;
	for (unsigned level = 1; level < MAX_LEVELS; level++) {
		entries = (entries + FANOUT - 1) / FANOUT;
		for (size_t i = 0; i < entries; i++) {
			const uint32_t largest = sizes_max(heap.group_max[level - 1] + i * FANOUT);
			finding_add(findings, 11, heap.group_max[level][i] == largest, i);
		}
	}
}

/* The first start after granule, found bit by bit, word by word: not by what is being checked. */
static size_t check_next(size_t granule)
{
	size_t leaf = leaf_of(granule + 1);
	uint64_t starts = leaf_starts(leaf) & (UINT64_MAX << ((granule + 1) % 64));
	while (starts == 0 && leaf < leaf_of(heap.top))
		starts = leaf_starts(++leaf);
	return starts == 0 ? heap.top : min_size(leaf * 64 + lowest_bit(starts), heap.top);
}

/* One bin: its chunks, each item of them. Returns how many chunks it has. */
static size_t check_bin(struct findings *findings, const struct bin *bin,
                        struct remembered_tally *tally)
{
	size_t chunks = 0;
	size_t used = bin->used;
	const size_t offset = bin->chunk == NULL ? 0 : (uintptr_t)bin->chunk - (uintptr_t)chunk_at(0);
	size_t index = offset / sizeof(struct chunk);
	finding_add(findings, 15, offset % sizeof(struct chunk) == 0, bin->size);
	finding_add(findings, 15, bin->misses <= RUN_BLOCKS, bin->size);
	finding_add(findings, 15, used <= (index == 0 ? 0 : CHUNK_ITEMS), bin->size);
	for (; index != 0; index = chunk_at((uint32_t)index)->previous, used = CHUNK_ITEMS) {
		const bool is_chunk = index < heap.chunk_count && chunks < heap.chunk_count;
		finding_add(findings, 15, is_chunk, index);
		if (!is_chunk)
			break;
		chunks++;
		for (size_t i = 0; i < min_size(used, CHUNK_ITEMS); i++) {
			const size_t granule = chunk_at((uint32_t)index)->items[i];
			const bool is_block = granule < heap.top && is_start(granule) && is_hole(granule) &&
			                      !is_merged(granule) && check_next(granule) - granule == bin->size;
			finding_add(findings, 15, is_block, granule);
			remembered_count(tally, granule, bin->size);
		}
	}
	return chunks;
}

/* I15 */
static void check_bins(struct findings *findings, const struct remembered_tally *found)
{
	struct remembered_tally tally = { 0 };
	size_t chunks = 1;
	for (unsigned i = 0; i < BINS; i++) {
		chunks += check_bin(findings, &heap.bins[i], &tally);
		finding_add(findings, 15, i >= DIRECT_BINS || heap.bins[i].size == i + 1, i);
	}
	for (uint32_t index = heap.spare_chunk; index != 0 && chunks <= heap.chunk_count; chunks++) {
		finding_add(findings, 15, index < heap.chunk_count, index);
		index = index < heap.chunk_count ? chunk_at(index)->previous : 0;
	}
	finding_add(findings, 15, chunks == heap.chunk_count, chunks);
	finding_add(findings, 15, tally.blocks == found->blocks, found->blocks);
	finding_add(findings, 15, tally.sum == found->sum && tally.mix == found->mix, found->blocks);
	finding_add(findings, 15, tally.granules == found->granules, found->granules);
	finding_add(findings, 15, remembered_size() == found->granules, remembered_size());
}

/* I6, I7, I10 to I15: every leaf, every segment that starts there, every group. */
static void check_leaves(struct findings *findings)
{
	struct tally tally = { .previous = NONE };
	const size_t leaves = round_up(leaf_of(heap.top) + 1, GROUP_LEAVES);
	for (size_t leaf = 0; leaf < leaves; leaf++) {
		const bool is_inside = leaf <= leaf_of(heap.top);
		const uint64_t starts = is_inside ? leaf_starts(leaf) : 0;
		if (is_inside) {
			finding_add(findings, 6, (leaf_holes(leaf) & ~starts) == 0, leaf);
			finding_add(findings, 6, (leaf_merged(leaf) & ~leaf_holes(leaf)) == 0, leaf);
		}
		tally.largest_in_leaf = 0;
		for (uint64_t rest = starts; rest != 0; rest &= rest - 1) {
			const size_t granule = leaf * 64 + lowest_bit(rest);
			if (granule < heap.top)
				check_segment(findings, &tally, granule, check_next(granule));
		}
		const uint8_t largest = leaf_max_of(tally.largest_in_leaf);
		const struct lag *lag = &heap.lags[leaf / GROUP_LEAVES % LAGS];
		const bool is_lagging = lag->group == leaf / GROUP_LEAVES && (lag->leaves & bit_of(leaf)) != 0;
		finding_add(findings, 10, heap.leaf_max[0][leaf] == largest ||
		                          (is_lagging && heap.leaf_max[0][leaf] > largest), leaf);
		tally.largest_in_group = max_size(tally.largest_in_group, tally.largest_in_leaf);
		if ((leaf + 1) % GROUP_LEAVES == 0) {
			const size_t group = leaf / GROUP_LEAVES;
			const size_t entry = heap.group_max[0][group];
			const size_t expected = tally.largest_in_group < LARGE ? 0 : tally.largest_in_group;
			const bool may_lag = lag->group == group;
			finding_add(findings, 11, entry == expected || (may_lag && entry > expected), group);
			tally.largest_in_group = 0;
		}
	}
	for (size_t i = 0; i < LAGS; i++) {
		const struct lag *lag = &heap.lags[i];
		finding_add(findings, 11, lag->group % LAGS == i, i);
		finding_add(findings, 11, lag->group <= group_of(heap.top) ||
		                          (lag->group == i && lag->leaves == 0), i);
	}
	for (size_t size = 0, class = 0; size < CLASSED_SIZES; size++) {
		class += class_least[class] == size;
		finding_add(findings, 12, heap.classes_up_to[size] == class, size);
	}
	for (unsigned i = 1; i < CLASSES; i++)
		finding_add(findings, 12, class_bound(i - 1) <= class_bound(i), i);
	finding_add(findings, 13, heap.process == tally.process, heap.process);
	finding_add(findings, 13, heap.peak_process >= heap.process, heap.peak_process);
	finding_add(findings, 14, heap.clean_from <= heap.top, heap.clean_from);
	check_bins(findings, &tally.remembered);
}

static int findings_print(const struct findings *findings, FILE *report)
{
	static const char *const meaning[INVARIANTS + 1] = {
		[1] = "top is a whole number of pages within the reservation and the limit",
		[2] = "the main chain is linked both ways",
		[3] = "the main nodes tile the heap in whole pages",
		[4] = "border bits stand exactly at the first granules of main nodes",
		[5] = "every main node begins with a segment, and so does top, which is no HOLE",
		[6] = "a hole bit stands only where a start bit stands",
		[7] = "no two neighbours in a sub-chain are merged HOLEs",
		[8] = "no bit is set beyond top",
		[9] = "has_start tells which leaves have a start",
		[10] = "leaf_max is the largest HOLE that starts in each leaf, and above",
		[11] = "group_max is the largest large HOLE that starts in each group, and above",
		[12] = "no HOLE starts before its bound",
		[13] = "the counters equal what the chains say",
		[14] = "no block was ever beyond clean_from",
		[15] = "the bins hold exactly the HOLEs that are not merged",
		[16] = "the tables lie one after another in the reservation",
	};
	int broken = 0;
	for (unsigned i = 1; i <= INVARIANTS; i++) {
		if (findings->count[i] == 0)
			continue;
		broken++;
		if (report != NULL)
			fprintf(report, "mems_check: I%u is broken: %s (%zu times, first at %zu)\n", i,
			        meaning[i], findings->count[i], findings->where[i]);
	}
	return broken;
}

/* ---- Life ------------------------------------------------------------------------------------ */

/* Reserves address space for so many bytes of heap and their metadata, if that is at most half of
 * what can be had: asks for twice as much and gives one half back. */
static bool reservation_try(size_t heap_bytes, size_t page_bytes)
{
	const size_t os_page = os_page_bytes();
	const size_t granules = heap_bytes >> heap.shift;
	const size_t tables = tables_bytes(granules, os_page);
	const size_t slack = page_bytes - os_page; /* for the alignment of base */
	const size_t bytes = heap_bytes + slack + tables;
	if (bytes < heap_bytes || bytes > SIZE_MAX / 2)
		return false;
	heap.reservation = os_reserve(2 * bytes);
	if (heap.reservation == NULL)
		return false;
	heap.reservation_bytes = os_unmap(heap.reservation + bytes, bytes) ? bytes : 2 * bytes;
	heap.base = (char *)round_up((uintptr_t)heap.reservation, page_bytes);
	heap.limit = granules;
	tables_place(heap.base + heap_bytes, granules, os_page);
	return true;
}

/* Reserves as much as the options, the width of a position and the machine allow; else nothing. */
static void reservation_take(const struct options *options)
{
	const size_t most = UINTPTR_MAX - options->start;
	size_t bytes = MAX_GRANULES <= most >> heap.shift ? MAX_GRANULES << heap.shift : most;
	if (options->limit_bytes != 0)
		bytes = min_size(bytes, options->limit_bytes);
	else if (bytes > DEAR_HEAP_BYTES && os_reservations_are_dear())
		bytes = DEAR_HEAP_BYTES;
	bytes = round_down(bytes, options->page_bytes);
	while (bytes != 0 && !reservation_try(bytes, options->page_bytes))
		bytes = round_down(bytes - bytes / 4 - 1, options->page_bytes);
}

void mems_init(void)
{
	if (heap.is_started)
		return;
	if (heap.visitors != 0) {
		errno = EBUSY;
		return;
	}
	const struct options options = options_in_force();
	heap.start = options.start;
	heap.shift = lowest_bit(options.alignment);
	heap.page_granules = options.page_bytes >> heap.shift;
	heap.page_log2 = lowest_bit(heap.page_granules);
	heap.os_page_log2 = lowest_bit(os_page_bytes() >> heap.shift);
	heap.limit = 0;
	for (unsigned i = 0; i < LAGS; i++)
		heap.lags[i] = (struct lag){ .group = i };
	classes_describe();
	bounds_reset();
	heap.is_watched = contents_are_watched();
	heap.is_quick = options.policy == MEMS_QUICK_FIT;
	for (unsigned i = 0; i < BINS; i++)
		heap.bins[i] = (struct bin){ .size = i < DIRECT_BINS ? i + 1 : 0 };
	heap.spare_chunk = 0;
	heap.chunk_count = 1;
	heap.merged_size = 0;
	heap.node_count = 0;
	heap.process = 0;
	heap.peak_process = 0;
	heap.clean_from = 0;
	heap.trim_least = (size_t)TRIM_BYTES >> heap.shift;
	heap.trim_freed = 0;
	heap.trim_given = 0;
	heap.trim_taken = 0;
	heap.trim_most = 0;
	heap.trim_last = 0;
	heap.trim_top = 0;
	heap.trim_low_top = 0;
	heap.trim_filled = 0;
	heap.trim_visited = 0;
	tables_describe();
	reservation_take(&options);
	fork_handlers_install();
	heap.is_started = true;
	direct_update();
}

void mems_finish(void)
{
	if (!heap.is_started)
		return;
	if (heap.visitors != 0) {
		errno = EBUSY;
		return;
	}
	record_stop();
	contents_allow(0, heap.top);
	if (heap.reservation != NULL)
		os_unmap(heap.reservation, heap.reservation_bytes);
	heap.reservation = NULL;
	heap.is_started = false;
	heap.top = 0;
	direct_update();
}

static bool option_is_valid(enum mems_option option, size_t value)
{
	switch (option) {
	case MEMS_POLICY:
		return value == MEMS_FIRST_FIT || value == MEMS_QUICK_FIT;
	case MEMS_ALIGNMENT:
		return is_power_of_two(value) && value <= MAX_ALIGNMENT;
	case MEMS_START_ADDRESS:
		return value >= 1 && value <= MAX_START;
	case MEMS_PAGE_SIZE:
		return is_power_of_two(value) && value >= max_size(SMALLEST_PAGE, os_page_bytes()) &&
		       value <= LARGEST_PAGE;
	case MEMS_LIMIT:
		return true;
	}
	return false;
}

static size_t *option_field(enum mems_option option)
{
	switch (option) {
	case MEMS_POLICY:
		return &heap.options.policy;
	case MEMS_ALIGNMENT:
		return &heap.options.alignment;
	case MEMS_START_ADDRESS:
		return &heap.options.start;
	case MEMS_PAGE_SIZE:
		return &heap.options.page_bytes;
	case MEMS_LIMIT:
		break;
	}
	return &heap.options.limit_bytes;
}

int mems_option(enum mems_option option, size_t value)
{
	if (!option_is_valid(option, value)) {
		errno = EINVAL;
		return -1;
	}
	if (heap.is_started || heap.visitors != 0) {
		errno = EBUSY;
		return -1;
	}
	*option_field(option) = value;
	return 0;
}

/* ---- Allocation ------------------------------------------------------------------------------ */

static NOINLINE void *malloc_any(size_t size)
{
	size_t granule = NONE;
	lock_take();
	const bool is_valid = request_is_valid(size);
	if (is_valid)
		granule = block_take(granules_of(size), false);
	if (UNLIKELY(heap.record != NULL) && granule != NONE)
		record_new('a', granule, size, 0);
	lock_give();
	return is_valid ? block_result(granule) : NULL;
}

/* Where the near way ends: the block is large, a HOLE for it is sought further on, or there is more
 * to do than the books. */
static NOINLINE void *malloc_far(size_t size)
{
	if (heap.near_top == 0 || size == 0)
		return malloc_any(size);
	return block_result(block_take_first(granules_of(size), false));
}

static NOINLINE void *malloc_beyond(size_t granules, size_t leaf)
{
	const size_t granule = block_take_beyond(granules, leaf);
	return block_result(granule != NONE ? granule : block_take_first(granules, false));
}

/* Under first fit, for a thread that is alone: block_take_near, and nothing beside it that would
 * have to be called, for speed. */
static NOINLINE void *malloc_near(size_t size)
{
	const size_t index = (size - 1) >> heap.shift; /* of a size of 0 it is as large as can be */
	if (UNLIKELY(index >= heap.near_sizes))
		return malloc_far(size);
	const size_t granules = index + 1;
	const size_t leaf = near_bound(granules);
	const struct leaf_bits bits = leaf_read(leaf);
	const uint64_t fits = bits.holes & leaf_room(bits, granules);
	const size_t group = leaf / GROUP_LEAVES;
	struct lag *lag = &heap.lags[group % LAGS];
	if (fits == 0)
		return malloc_beyond(granules, leaf);
	if (UNLIKELY(lag->group != group || is_first_touch(leaf, fits)))
		return malloc_any(size);
	lag->leaves |= bit_of(leaf);
	return block_virtual(leaf_take(leaf, bits, fits, granules));
}

/* Most often a block of the size is remembered: that is all there is here, for speed. */
void *mems_malloc(size_t size)
{
	if (!is_alone())
		return malloc_any(size);
	const size_t index = (size - 1) >> heap.shift;
	if (index >= heap.direct_sizes)
		return malloc_near(size);
	struct bin *bin = &heap.bins[index];
	if (UNLIKELY(bin->used == 0))
		return malloc_any(size);
	const size_t granule = bin->chunk->items[--bin->used];
	holes_set(granule, false);
	process_count(index + 1);
	return block_virtual(granule);
}

/* Whether none of these pages has come in again, and so all hold zeros. That need not be so where
 * pages that went back were not cleared: an emulator may only say that it took them. */
static bool are_out_of_memory(size_t from, size_t to)
{
	const size_t page = (size_t)1 << heap.os_page_log2;
	const size_t first = round_down(from, page);
	const size_t bytes = (round_up(to, page) - first) << heap.shift;
	return os_resident_bytes(block_physical(first), bytes) == 0;
}

/* Zeroes a block, as far as blocks have been there, that is, before used_to, and but for the pages
 * that were not in memory. */
static void contents_clear(size_t granule, size_t size, size_t used_to, struct range fresh)
{
	const size_t end = clamp(used_to, granule, granule + size);
	const size_t from = clamp(fresh.from, granule, end);
	size_t to = clamp(fresh.to, from, end);
	if (from != to && !are_out_of_memory(from, to))
		to = from;
	memset(block_physical(granule), 0, (from - granule) << heap.shift);
	memset(block_physical(to), 0, (end - to) << heap.shift);
	contents_define(granule, size);
}

void *mems_calloc(size_t count, size_t size)
{
	const bool overflows = size != 0 && count > SIZE_MAX / size;
	const size_t granules = granules_of(count * size);
	size_t granule = NONE;
	lock_take();
	const size_t used_to = heap.clean_from;
	heap.fresh = (struct range){ 0 };
	const bool is_valid = request_is_valid(overflows ? SIZE_MAX : count * size);
	if (is_valid && !overflows)
		granule = block_take(granules, false);
	if (UNLIKELY(heap.record != NULL) && granule != NONE)
		record_new('c', granule, count * size, 0);
	const struct range fresh = heap.fresh;
	lock_give();
	if (granule != NONE)
		contents_clear(granule, granules, used_to, fresh);
	return is_valid ? block_result(granule) : NULL;
}

/* Copies a large block to one that is not in memory, piece by piece, and gives the pages of the old
 * one back behind, so that not both are in memory at once. */
static void contents_move(size_t to, size_t from, size_t size)
{
	const size_t step = (size_t)MOVE_BYTES >> heap.shift;
	for (size_t done = 0; done < size; done += step) {
		const size_t piece = min_size(step, size - done);
		memcpy(block_physical(to + done), block_physical(from + done), piece << heap.shift);
		pages_release(from + done, from + done + piece, true);
	}
}

/* Takes a new block, copies the old one, and frees it. */
static size_t block_move(size_t granule, size_t size)
{
	heap.fresh = (struct range){ 0 };
	const size_t to = block_take(size, true);
	if (to == NONE)
		return NONE;
	const size_t kept = min_size(segment_size(granule), size);
	const size_t least = max_size((size_t)MOVE_BYTES >> heap.shift, heap.trim_least);
	if (kept < least || heap.fresh.to - heap.fresh.from < kept / 2)
		memcpy(block_physical(to), block_physical(granule), kept << heap.shift);
	else
		contents_move(to, granule, kept);
	block_release(granule);
	return to;
}

/* Gives a block another size, in place where that is possible. Returns where it is then; NONE where
 * no memory can be had. */
static size_t block_resize(size_t granule, size_t size)
{
	if (size > segment_size(granule))
		return block_grow(granule, size) ? granule : block_move(granule, size);
	block_shrink(granule, size);
	return granule;
}

void *mems_realloc(void *v_ptr, size_t size)
{
	if (v_ptr == NULL)
		return mems_malloc(size);
	if (!heap.is_started) {
		errno = EPERM;
		return NULL;
	}
	lock_take();
	const size_t granule = block_of(v_ptr);
	if (granule == NONE) {
		misuse_report("mems_realloc", v_ptr);
		return NULL;
	}
	const bool is_valid = request_is_valid(size);
	const size_t to = is_valid ? block_resize(granule, granules_of(size)) : NONE;
	if (UNLIKELY(heap.record != NULL) && to != NONE)
		record_resize(granule, to, size);
	lock_give();
	return is_valid ? block_result(to) : NULL;
}

void *mems_aligned_alloc(size_t alignment, size_t size)
{
	const bool is_valid = is_power_of_two(alignment) &&
	                      alignment <= heap.page_granules << heap.shift;
	const size_t granules = granules_of(size);
	const size_t multiple = alignment >> heap.shift;
	size_t granule = NONE;
	lock_take();
	const bool can_go_on = request_is_valid(is_valid ? size : 0);
	if (can_go_on)
		granule = multiple <= 1 ? block_take(granules, false) : block_take_aligned(granules, multiple);
	if (UNLIKELY(heap.record != NULL) && granule != NONE)
		record_new('m', granule, size, alignment);
	lock_give();
	return can_go_on ? block_result(granule) : NULL;
}

static NOINLINE void free_any(void *v_ptr)
{
	if (v_ptr == NULL)
		return;
	lock_take();
	const size_t granule = block_of(v_ptr);
	if (granule == NONE) {
		misuse_report("mems_free", v_ptr);
		return;
	}
	const bool is_busy = heap.visitors != 0;
	if (!is_busy) {
		if (UNLIKELY(heap.record != NULL))
			record_free(granule);
		block_release(granule);
	}
	lock_give();
	if (is_busy)
		errno = EBUSY;
}

/* As free_any, for a thread that is alone, where nothing but the books has to be done. */
static NOINLINE void free_alone(void *v_ptr)
{
	const size_t granule = block_of(v_ptr);
	if (granule == NONE)
		free_any(v_ptr);
	else
		block_release(granule);
}

/* Under first fit, for a thread that is alone: block_release_near where the HOLE ends in its leaf,
 * and nothing beside it that would have to be called, for speed. */
static NOINLINE void free_near(void *v_ptr)
{
	const size_t granule = granule_of(v_ptr);
	if (UNLIKELY(granule >= heap.near_top)) {
		free_any(v_ptr);
		return;
	}
	const size_t leaf = leaf_of(granule);
	const struct leaf_bits bits = leaf_read(leaf);
	if (UNLIKELY(!is_live(granule, bits))) {
		free_any(v_ptr);
		return;
	}
	if (!is_inner(granule, bits)) {
		block_merge(granule);
		return;
	}
	const struct joined hole = leaf_join(granule, bits);
	if (hole.ends == 0) {
		block_release_near(granule);
		return;
	}
	const unsigned size = lowest_bit(hole.ends) - hole.start;
	leaf_write(leaf, hole.bits);
	heap.process -= hole.right - granule % 64;
	bounds_lower(size, leaf);
	leaf_raise(leaf, (uint8_t)size);
}

/* Most often a small block is freed, and remembered: that is all there is here, for speed. */
void mems_free(void *v_ptr)
{
	if (!is_alone()) {
		free_any(v_ptr);
		return;
	}
	if (heap.direct_sizes == 0) {
		free_near(v_ptr);
		return;
	}
	const size_t granule = block_of(v_ptr);
	const uint64_t near = granule == NONE ? 0 : starts_after(granule);
	const size_t granules = near == 0 ? 0 : lowest_bit(near) + 1;
	struct bin *bin = &heap.bins[granules - (granules != 0)];
	if (UNLIKELY(granules == 0 || !bin_has_room(bin))) {
		free_alone(v_ptr);
		return;
	}
	bin->chunk->items[bin->used++] = (uint32_t)granule;
	holes_set(granule, true);
	heap.process -= granules;
}

size_t mems_usable_size(const void *v_ptr)
{
	const size_t granule = block_of(v_ptr);
	if (granule != NONE)
		return segment_size(granule) << heap.shift;
	if (!heap.is_started)
		errno = EPERM;
	else if (v_ptr == NULL)
		errno = EINVAL;
	else {
		lock_take();
		misuse_report("mems_usable_size", v_ptr);
	}
	return 0;
}

/* ---- Translation ----------------------------------------------------------------------------- */

void *mems_get_range(const void *v_ptr, size_t size)
{
	const size_t offset = range_of(v_ptr, size);
	if (offset != NONE)
		return heap.base + offset;
	errno = EFAULT;
	return NULL;
}

void *mems_get(const void *v_ptr)
{
	return mems_get_range(v_ptr, 1);
}

void *mems_virtual(const void *p_ptr)
{
	const size_t offset = (uintptr_t)p_ptr - (uintptr_t)heap.base;
	if (offset < top_load() << heap.shift && !is_hole(segment_of(offset >> heap.shift)))
		return (void *)(heap.start + offset);
	errno = EFAULT;
	return NULL;
}

int mems_read(void *destination, const void *v_ptr, size_t size)
{
	const void *physical = mems_get_range(v_ptr, size);
	if (physical == NULL)
		return -1;
	if (size != 0)
		memcpy(destination, physical, size);
	return 0;
}

int mems_write(void *v_ptr, const void *source, size_t size)
{
	void *physical = mems_get_range(v_ptr, size);
	if (physical == NULL)
		return -1;
	if (size != 0)
		memcpy(physical, source, size);
	return 0;
}

/* ---- Looking --------------------------------------------------------------------------------- */

static int segment_print(const struct mems_segment *segment, void *out)
{
	fprintf(out, "%s[%" PRIuPTR ":%" PRIuPTR "] <-> ", type_name(segment->type), segment->start,
	        segment->end);
	return 0;
}

static int segment_count(const struct mems_segment *segment, void *count)
{
	(void)segment;
	++*(size_t *)count;
	return 0;
}

static void chains_print(FILE *out)
{
	for (size_t node = 0; node < heap.node_count; node++) {
		const size_t first = heap.nodes[node].first << heap.shift;
		const size_t bytes = heap.nodes[node].granules << heap.shift;
		fprintf(out, "MAIN[%" PRIuPTR ":%" PRIuPTR "] -> ", heap.start + first,
		        heap.start + first + bytes - 1);
		node_walk(node, segment_print, out);
		fputs("NULL\n", out);
	}
}

void mems_fprint_stats(FILE *out)
{
	const int error = errno;
	printer_enter(out);
	const size_t nodes = heap.is_started ? heap.node_count : 0;
	const size_t unused = nodes == 0 ? 0 : (heap.top - heap.process) << heap.shift;
	if (nodes != 0)
		chains_print(out);
	fprintf(out, "Page used: %zu\nSpace unused: %zu\nMain Chain Length: %zu\n",
	        nodes == 0 ? 0 : page_of(heap.top), unused, nodes);
	fputs("Sub-chain Length array: [", out);
	for (size_t node = 0; node < nodes; node++) {
		size_t length = 0;
		node_walk(node, segment_count, &length);
		fprintf(out, node == 0 ? "%zu" : ", %zu", length);
	}
	fputs("]\n", out);
	printer_leave(out);
	if (!ferror(out))
		errno = error;
}

void mems_print_stats(void)
{
	mems_fprint_stats(stdout);
}

static int segment_tally(const struct mems_segment *segment, void *context)
{
	struct mems_stats *stats = context;
	if (segment->type == MEMS_PROCESS) {
		stats->process_segments++;
	} else {
		stats->hole_segments++;
		stats->largest_hole = max_size(stats->largest_hole, segment->size);
	}
	return 0;
}

static size_t metadata_bytes(void)
{
	size_t bytes = sizeof(heap);
	for (unsigned i = 0; i < TABLES; i++)
		bytes += os_resident_bytes(heap.tables[i].memory, heap.tables[i].committed_bytes);
	if (heap.record != NULL)
		bytes += os_resident_bytes(heap.ids.memory, heap.ids.committed_bytes);
	return bytes;
}

void mems_get_stats(struct mems_stats *stats)
{
	*stats = (struct mems_stats){ 0 };
	if (!heap.is_started)
		return;
	lock_take();
	stats->pages = page_of(heap.top);
	stats->mapped_bytes = heap.top << heap.shift;
	stats->process_bytes = heap.process << heap.shift;
	stats->hole_bytes = stats->mapped_bytes - stats->process_bytes;
	stats->main_nodes = heap.node_count;
	stats->peak_process_bytes = heap.peak_process << heap.shift;
	stats->peak_mapped_bytes = stats->mapped_bytes;
	stats->metadata_bytes = metadata_bytes();
	for (size_t node = 0; node < heap.node_count; node++)
		node_walk(node, segment_tally, stats);
	lock_give();
}

/* A JSON text in the making. */
struct json {
	FILE *out;
	const char *separator; /* what goes before the next segment */
};

static int segment_print_json(const struct mems_segment *segment, void *context)
{
	struct json *json = context;
	fprintf(json->out, "%s{\"type\":\"%s\",\"start\":%" PRIuPTR ",\"end\":%" PRIuPTR
	        ",\"size\":%zu}", json->separator, type_name(segment->type), segment->start,
	        segment->end, segment->size);
	json->separator = ",\n";
	return 0;
}

static void node_print_json(size_t node, FILE *out)
{
	const struct main_node *main_node = &heap.nodes[node];
	const uintptr_t start = heap.start + (main_node->first << heap.shift);
	const size_t bytes = main_node->granules << heap.shift;
	struct json json = { .out = out, .separator = "\n" };
	fprintf(out, "%s{\"start\":%" PRIuPTR ",\"end\":%" PRIuPTR ",\"pages\":%zu,"
	        "\"physical\":\"0x%" PRIxPTR "\",\"sub_chain\":[", node == 0 ? "\n" : ",\n", start,
	        start + bytes - 1, page_of(main_node->granules), (uintptr_t)main_node->physical);
	node_walk(node, segment_print_json, &json);
	fputs("]}", out);
}

static void stats_print_json(const struct mems_stats *stats, FILE *out)
{
	fprintf(out, "\"stats\":{\"pages\":%zu,\"mapped_bytes\":%zu,\"process_bytes\":%zu,"
	        "\"hole_bytes\":%zu,\"largest_hole\":%zu,\"main_nodes\":%zu,"
	        "\"process_segments\":%zu,\"hole_segments\":%zu,\"peak_process_bytes\":%zu,"
	        "\"peak_mapped_bytes\":%zu,\"metadata_bytes\":%zu}", stats->pages,
	        stats->mapped_bytes, stats->process_bytes, stats->hole_bytes, stats->largest_hole,
	        stats->main_nodes, stats->process_segments, stats->hole_segments,
	        stats->peak_process_bytes, stats->peak_mapped_bytes, stats->metadata_bytes);
}

int mems_fprint_json(FILE *out)
{
	enum { SCHEMA = 1 };
	const int error = errno;
	const struct options options = options_in_force();
	struct mems_stats stats;
	printer_enter(out);
	const size_t nodes = heap.is_started ? heap.node_count : 0;
	mems_get_stats(&stats);
	fprintf(out, "{\"schema\":%d,\"page_size\":%zu,\"alignment\":%zu,\"start\":%zu,"
	        "\"policy\":\"%s\",\n\"main_chain\":[", SCHEMA, options.page_bytes,
	        options.alignment, options.start,
	        options.policy == MEMS_QUICK_FIT ? "quick_fit" : "first_fit");
	for (size_t node = 0; node < nodes; node++)
		node_print_json(node, out);
	fputs("],\n", out);
	stats_print_json(&stats, out);
	fputs("}\n", out);
	const bool is_written = fflush(out) == 0 && !ferror(out);
	printer_leave(out);
	if (!is_written)
		return -1;
	errno = error;
	return 0;
}

/* Ends the recording, and begins one on out unless that is NULL. Returns 0 or an error number. */
static int record_change(FILE *out)
{
	if (heap.visitors != 0 || (out != NULL && heap.top != 0))
		return EBUSY;
	record_stop();
	if (out == NULL)
		return 0;
	const bool is_small = heap.limit != 0 && heap.limit <= SIZE_MAX / 2 / sizeof(uint32_t);
	struct table ids = { .entry_bytes = sizeof(uint32_t) };
	ids.reserved_bytes = round_up(table_bytes(&ids, heap.limit), os_page_bytes());
	ids.memory = is_small ? os_reserve(ids.reserved_bytes) : NULL;
	if (ids.memory == NULL)
		return ENOMEM;
	heap.ids = ids;
	heap.record = out;
	heap.record_next = 0;
	direct_update();
	record_options();
	return 0;
}

int mems_record(FILE *out)
{
	if (out != NULL && !heap.is_started) {
		errno = EINVAL;
		return -1;
	}
	lock_take();
	const int error = record_change(out);
	lock_give();
	if (error == 0)
		return 0;
	errno = error;
	return -1;
}

int mems_walk(mems_visitor *visit, void *context)
{
	int result = 0;
	if (!heap.is_started)
		return 0;
	visitor_enter();
	for (size_t node = 0; node < heap.node_count && result == 0; node++)
		result = node_walk(node, visit, context);
	visitor_leave();
	return result;
}

int mems_segment_at(const void *v_ptr, struct mems_segment *segment)
{
	lock_take();
	const bool is_found = segment_find(v_ptr, segment);
	lock_give();
	if (is_found)
		return 0;
	errno = EFAULT;
	return -1;
}

int mems_check(FILE *report)
{
	struct findings findings = { 0 };
	const int error = errno;
	if (!heap.is_started || heap.reservation == NULL)
		return 0;
	printer_enter(report);
	if (check_extent(&findings) && check_tables(&findings) && heap.top != 0) {
		check_nodes(&findings);
		check_starts(&findings);
		check_leaves(&findings);
		check_levels(&findings);
	}
	const int broken = findings_print(&findings, report);
	printer_leave(report);
	errno = error;
	return broken;
}

const char *mems_version(void)
{
	return MEMS_VERSION;
}

mems_error_handler *mems_set_error_handler(mems_error_handler *handler)
{
	return atomic_exchange(&heap.handler, handler);
}
