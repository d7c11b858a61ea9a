/*
 * MeMS: exact first fit over one reservation, with all metadata apart from the blocks.
 *
 * mems_malloc(size), first fit
 *   1. Round the size up to granules.
 *   2. Ask search_start for the leaf before which no HOLE of this size class starts.
 *   3. Does a HOLE in that leaf fit? Most often it does: go to 5 (the fast path).
 *   4. Else the hole tree leads to the first leaf with a HOLE that fits. If there is none, map a
 *      new main node: one HOLE.
 *   5. Split the HOLE at its low end, write two words of bits, and return the virtual address.
 *
 * mems_free(v_ptr)
 *   1. Turn the address into a granule. Is it the start of a PROCESS? Else it is a misuse.
 *   2. Find the neighbours: the start before and the start after.
 *   3. Coalesce with those that are HOLEs, but not across the border of a main node.
 *   4. Raise the hole tree and lower search_start where the HOLE needs it.
 *
 * Under quick fit a freed block goes to the bin of its size instead of 2 to 4, and a request takes
 * the block on top of its bin instead of 2 to 5. A cached block stays a segment of its own until
 * the bins are flushed.
 *
 *   before   | PROCESS a   | HOLE  | PROCESS b | HOLE      |      mems_free(b)
 *   starts   1000000000000010000000100000000000100000000000
 *   live     1111111111111100000000111111111111000000000000
 *
 *   after    | PROCESS a   | HOLE                          |
 *   starts   1000000000000010000000000000000000000000000000
 *   live     1111111111111100000000000000000000000000000000
 *
 *  reservation (address space only)                          metadata (made writable as needed)
 *  +--------+--------+----------------+- - - - - - -+        starts     1 bit a granule      1.6 %
 *  | node 0 | node 1 |     node 2     |  not mapped |        live       1 bit a granule      1.6 %
 *  +--------+--------+----------------+- - - - - - -+        hole tree  1 byte a leaf        0.2 %
 *  ^ base                             ^ top                  the rest                      < 0.1 %
 *  virtual address = MEMS_START_ADDRESS + (physical address - base)
 *
 * Words
 *   granule  MEMS_ALIGNMENT bytes, the unit of every position and size in this file unless a name
 *            says otherwise. Positions count from base.
 *   leaf     64 granules, described by two words of bits: `starts` says that a segment starts at a
 *            granule, `live` that a granule lies in a PROCESS. The links of the sub-chain are the
 *            distances to the next and the previous start.
 *   group    64 leaves. A region is 64 groups.
 *   border   the first granule of a main node; the first granule beyond the last node, top, is one
 *            as well, and carries a start bit, so that every segment ends at a start.
 *   class    of sizes: the smallest have one each, larger ones share.
 *   cached   a freed block that quick fit keeps in a bin. A HOLE that is not cached is coalesced.
 *            Under first fit all HOLEs are.
 *
 * The hole tree finds the first HOLE of at least n granules, as in R. P. Brent, "Efficient
 * implementation of the first-fit strategy for dynamic storage allocation", ACM TOPLAS 11(3), 1989.
 * leaf_max has a byte for each leaf: the largest HOLE that starts there, 255 for all larger ones.
 * tree[0] has the largest HOLE of each group, exact up to 2^31, and each further level the maxima
 * of 16 entries. Maxima grow eagerly. Where block after block is taken from one HOLE, the entries of
 * its leaf and its group stay as they are: the leaf is *stale* from then on, and that costs no
 * counting and no climb. Stale leaves are kept in a ring; the one whose place is needed is made
 * exact, and its group with its last one. Once the ring is full, what other HOLEs lose makes their
 * entries exact at once. So a search looks at a bounded number of leaves in vain.
 *
 * Invariants; mems_check verifies each of them and names it
 *   I1   top is a whole number of pages within the reservation and the limit, base is aligned,
 *        and the units are those of the options
 *   I2   the main chain is linked both ways, from the first node to the last
 *   I3   the main nodes tile [0, top) in ascending order, in whole pages
 *   I4   border bits stand exactly at the first granules of main nodes
 *   I5   every main node begins with a segment, and so does top, which is no HOLE
 *   I6   a coalesced bit stands only where a HOLE starts
 *   I7   no two neighbours in a sub-chain are coalesced HOLEs
 *   I8   no bit is set beyond top
 *   I9   start_summary[0] tells which leaves have a start, start_summary[i + 1] which words of
 *        start_summary[i] are not 0
 *   I10  leaf_max[i] is the largest coalesced HOLE that starts in leaf i, or 255 if it is larger (a
 *        stale leaf: at least that); entries beyond top are 0; the ring holds the stale leaves
 *   I11  tree[0][i] is the largest coalesced HOLE that starts in group i (with a stale leaf: at least
 *        that), tree[k + 1][i] the largest of its 16 entries in tree[k]; entries beyond top are 0
 *   I12  no coalesced HOLE of class_min[c] or more granules starts before leaf search_start[c]; no
 *        search start is less than that of the class before
 *   I13  the counters equal what the chains say; no peak is below its counter or beyond top; the
 *        root is a live block, or none
 *   I14  a page with a live granule is touched, one that was given back is not, and none of these is
 *        beyond top; from purged_end on, a page that is not touched lies in one coalesced HOLE; under
 *        first fit a touched page without a live granule is idle, and an idle page is touched; the
 *        counts of pages equal the bits, and no more is kept than was ever in use
 *   I15  the bins hold exactly the cached blocks, each in the bin of its size, and the caches of
 *        threads are closed; the flush before is not ahead of the heap
 *   I16  the tables fill the reservation after the heap, one after another, as large as the limit
 *        asks for, and writable as far as the heap needs; in a small heap the movable ones are
 *        small, and lie before the others
 *   I17  live is set for all granules of PROCESS segments and for top, but for the leaves between
 *        the first and the last of a PROCESS where these are several: for them a bit in live_leaves
 *        is; where they are more than MOST_LIVE_LEAVES, for the whole regions among them a bit in
 *        live_regions instead
 *   I18  while a recording or history is on, the journal knows every block, and of which size it is;
 *        all its other entries are in the list of unused ones
 *
 * Costs, worst case unless said otherwise
 *   mems_malloc, mems_free  O(log heap): at most a few words on each of 5 levels; most often two
 *                           words. A HOLE of 255 granules or more is sought among at most 16 in a
 *                           group (no more fit in). Quick fit: O(1), amortised O(log heap)
 *   mems_get                one word of bits; in the middle of large blocks two more
 *   giving pages back       amortised; at most 64 requests to the OS in one call
 *
 * Threads: one lock is around all that changes the heap or walks it. A process with one thread
 * does not take it on the fast paths. Translation reads live, live_leaves, live_regions, starts and
 * start_summary without it. Their words are atomic and have one writer at a time, which stores a
 * whole word in which the bits of all blocks that it does not change are as they were. So whoever
 * owns a block finds its bits, the start that follows it, and none in between, whatever happens
 * beside it. What is read of segments that change at that moment may not fit together, but no step
 * of a search leads out of what is mapped. A thread that calls out while it holds the lock (a
 * visitor, a stream, other fork handlers, a request to the OS that the program interposes) is
 * noted, and does not take the lock again.
 *
 * Where the OS refuses something, nothing has changed yet: room in the metadata is made first,
 * then the pages are mapped, then the chains are changed.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include "mems.h"

#include <assert.h>
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <pthread.h>
#include <sched.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio_ext.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#ifdef __has_include
#if __has_include(<sys/single_threaded.h>)
#include <sys/single_threaded.h>
#define HAS_SINGLE_THREADED
#endif
#if __has_include(<valgrind/memcheck.h>) && !defined(NVALGRIND)
#include <valgrind/memcheck.h>
#define HAS_VALGRIND
#endif
#endif

#ifdef __has_feature
#if __has_feature(address_sanitizer)
#define HAS_ASAN 1
#endif
#endif
#ifdef __SANITIZE_ADDRESS__
#define HAS_ASAN 1
#endif
#ifdef HAS_ASAN
#include <sanitizer/asan_interface.h>
#endif

/* Without a memory checker, what it would be told is nothing. */
#ifndef HAS_VALGRIND
#define RUNNING_ON_VALGRIND 0
#define VALGRIND_MAKE_MEM_UNDEFINED(address, bytes) ((void)(address), (void)(bytes))
#define VALGRIND_MAKE_MEM_NOACCESS(address, bytes) ((void)(address), (void)(bytes))
#define VALGRIND_MAKE_MEM_DEFINED(address, bytes) ((void)(address), (void)(bytes))
#endif
#ifndef HAS_ASAN
#define HAS_ASAN 0
#define ASAN_UNPOISON_MEMORY_REGION(address, bytes) ((void)(address), (void)(bytes))
#define ASAN_POISON_MEMORY_REGION(address, bytes) ((void)(address), (void)(bytes))
#endif

#ifdef __SSE2__
#include <emmintrin.h>
#endif

#ifndef MAP_FIXED_NOREPLACE
#define MAP_FIXED_NOREPLACE 0x100000
#endif
#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif
#ifndef AT_RSEQ_FEATURE_SIZE
#define AT_RSEQ_FEATURE_SIZE 27
#endif
/* The kernel's headers are not everywhere beside those of the C library. */
#ifndef FUTEX_WAIT_PRIVATE
#define FUTEX_WAIT_PRIVATE 128
#define FUTEX_WAKE_PRIVATE 129
#endif
#ifndef SYS_futex
#define SYS_futex SYS_futex_time64 /* the same where no timeout is given */
#endif

#define UNROLL _Pragma("GCC unroll 16")
#define NOINLINE __attribute__((noinline))
#define COLD __attribute__((noinline, cold)) /* so that callers keep no registers for it */
#define ALWAYS_INLINE inline __attribute__((always_inline))
#define LIKELY(condition) __builtin_expect(!!(condition), 1)
#define UNLIKELY(condition) __builtin_expect(!!(condition), 0)
/* What stands before a function must not decide how fast it is: depending on where in it cache lines
 * begin, a short call took up to 1.4 times as long. */
#define HOT __attribute__((aligned(64)))
/* Where the public function in which it stands was called from. */
#define CALLER __builtin_return_address(0)

/* Off in the library: it refuses what is wrong by itself. The tests are built with assertions. */
#ifdef MEMS_ASSERTIONS
#define ASSERT(condition, sentence) \
	((condition) ? (void)0 : assertion_fail(#condition, sentence, __func__, __LINE__))
static _Noreturn void assertion_fail(const char *condition, const char *sentence,
                                     const char *function, int line)
{
	fprintf(stderr, "mems.c:%d: %s: %s is false: %s\n", line, function, condition, sentence);
	abort();
}
#else
#define ASSERT(condition, sentence) ((void)0)
#endif

/* ---- Constants, types and state -------------------------------------------------------------- */

enum {
	MAX_ALIGNMENT = 64,
	SMALLEST_PAGE = 4096,
	LARGEST_PAGE = 2 << 20,
	GROWTH_DIVISOR = 8,     /* a new node has at least this fraction of the pages mapped so far */
	QUICK_NODE_PAGES = 16,  /* and under quick fit at least so many */

	LEAF_LOG2 = 6,          /* granules in a leaf */
	GROUP_LOG2 = 12,        /* granules in a group */
	REGION_LOG2 = 18,       /* granules in a region */
	GROUP_LEAVES = 64,
	GROUP_GRANULES = 1 << GROUP_LOG2,
	FANOUT_LOG2 = 4,        /* entries of the tree under one entry of the next level */
	FANOUT = 1 << FANOUT_LOG2,
	TREE_LEVELS = 5,        /* the last one has at most 16 entries */
	SUMMARY_LEVELS = 5,     /* of start_summary: the last one has one word */
	LARGE = 255,            /* a HOLE of this size or more is large, and leaf_max says so */
	CLASSES = 16,           /* of sizes, see class_min */
	CLASSED_SIZES = 257,    /* the last class begins before this size */
	MOST_STALE = 2048,      /* leaves whose entries may be too large at one time */
	SMALL_SIZES = 32,       /* blocks of up to so many granules take the fast path of first fit */
	REGION_LEAVES = 1 << (REGION_LOG2 - LEAF_LOG2),
	MOST_LIVE_LEAVES = 2 * REGION_LEAVES, /* of one PROCESS, that have bits in live_leaves */

	CACHE_LINE = 64,        /* bytes; what threads that write keep apart from those that read */
	LOCK_PAUSES = 2048,     /* of the processor, before a thread that wants the lock goes to sleep, */
	LOCK_MOST_PAUSES = 256, /* between two looks at it */
	COMMIT_STEP = 64 << 10, /* bytes of a table that are made writable at once */
	TABLE_SHIFT = 9 * CACHE_LINE, /* bytes that a long table is farther in a page than the one before */
	SMALL_HEAP_BYTES = 8 << 20, /* for so much heap the movable tables share a few pages */

	BUDGET_BYTES = (4 << 20) - (64 << 10), /* so much may be resident and not in use, or */
	BUDGET_DIVISOR = 4,     /* this fraction of what is in use, whichever is more */
	LOOK_BYTES = 64 << 10,  /* after so much was freed, that is looked at, */
	SWEEP_BYTES = 4 << 10,  /* after so much while a sweep is at work, */
	LOOK_DIVISOR = 4,       /* after this fraction of what is in use when one found too little, */
	SWEEP_REQUESTS = 63,    /* requests to the OS in one call, which has others too, */
	SWEEP_MOST_BYTES = 64 << 20, /* bytes that they give back, */
	SWEEP_LOOKS = 96,       /* pages, or segments of several pages, that are looked at */
	SPARSE_BYTES = 64 << 10, /* calloc asks what is in memory of a run of pages of this size */
	MOVE_BYTES = 256 << 10, /* a block of this size is copied in such pieces, or larger ones: */
	MOVE_REQUESTS = 32,     /* one more at most, a request to the OS behind each */
	IMAGE_BYTES = 256 << 10, /* of an image are written or read at once */
	NAME_BYTES = 64,        /* of the file that is to be one */
	MOST_MAPPINGS = 1000,   /* of an image; one that needs more is copied */
	MOST_REPLACED = 8000,   /* runs of its pages in whose place fresh ones are mapped */

	DIRECT_BINS = 1024,     /* sizes, in granules, that have a bin of their own */
	FAST_BINS = 64,         /* of these, for blocks whose live bits lie in two words, */
	MIDDLE_BINS = 128,      /* in three words */
	SHARED_BINS = 128,
	BINS = 1 + DIRECT_BINS + SHARED_BINS, /* the first, of no size, stays empty */
	OWN_SIZES = FAST_BINS,  /* of which threads have caches of their own, */
	OWN_BLOCKS = 62,        /* so many blocks of each size at most, */
	MOST_CACHES = 64,       /* and so many threads at a time, */
	OWN_GRANULES = 8 << 10, /* which free so much to them before that counts as freed */
	CACHED_BYTES = 64 << 10, /* larger blocks are coalesced at once */
	CHUNK_SLOTS = 64,
	MAX_CHUNKS = 4096,      /* so at most 257,985 blocks are cached, in 1 MiB */
	RUN_BLOCKS = 32,        /* blocks that are taken at once, */
	RUN_BYTES = 4 << 10,    /* of this size together, at most */
	FLUSH_BYTES = 256 << 10, /* at least so much must be cached, */
	FIRST_ENTRIES = 1024,   /* of the blocks that the journal knows, and lists of them */
	LABEL_BYTES = 64,       /* of a label that are printed */
	MESSAGE_BYTES = 400,    /* the longest line about an address, its end included */
	FLUSH_DIVISOR = 16,     /* and this fraction of the heap, before the bins are flushed */
	MOST_FLUSH_SHIFT = 2,   /* FLUSH_BYTES doubles so many times */
	SWEEP_LEAVES = 8,       /* a flush goes leaf by leaf where there are no more for each block, */
	SWEEP_GROUPS = 16       /* which it finds out where there are no more groups for each */
};

/* Sizes and positions are stored in 32 bits. */
#define MAX_GRANULES ((size_t)(UINT32_MAX - 4095))
/* A slot that holds at least this is a link between chunks: no granule is as high. */
#define LINK (UINT32_MAX - 4095)
/* The most that is reserved without a limit where reserving is expensive. */
#define EXPENSIVE_HEAP_BYTES ((size_t)1 << 30)
/* The golden ratio: numbers in a row times this are far apart in their high bits. */
#define HASH_FACTOR UINT32_C(0x9E3779B1)
/* The number of a call may be so large. */
#define MAX_CALL (UINT64_MAX >> 6)
/* The most that MEMS_HISTORY may be. */
#define MAX_EVENTS ((size_t)1 << 24)
#define NONE SIZE_MAX

static_assert(1 << LEAF_LOG2 == 64, "a leaf is one word of bits");
static_assert(GROUP_LEAVES == 64 && GROUP_LOG2 == LEAF_LOG2 + 6, "a group is one line of bytes");
static_assert(MOST_LIVE_LEAVES >= 2 * REGION_LEAVES - 1, "among more there is a whole region");
static_assert(GROUP_LOG2 + FANOUT_LOG2 * TREE_LEVELS >= 32, "the tree covers all granules");
static_assert(LEAF_LOG2 + 6 * SUMMARY_LEVELS >= 32, "start_summary covers all granules");
static_assert(LARGE <= UINT8_MAX, "an entry of leaf_max is a byte");
static_assert(SMALL_SIZES <= 32, "room_for looks at most 32 granules ahead");
static_assert(SMALL_SIZES < LARGE, "a small size is found by its byte");
static_assert(MAX_CHUNKS <= 4096, "a link has room for the index of a chunk");
static_assert(FAST_BINS == 64 && MIDDLE_BINS == 128, "no leaf is in the middle of a block, or one");
static_assert(CACHED_BYTES <= 65536 && MAX_ALIGNMENT <= 64, "a cached size fits into 32 bits");

typedef _Atomic uint64_t atomic_word;

/* Several numbers at once; the compiler makes vector instructions of them where there are any. */
typedef int32_t i32x4 __attribute__((vector_size(16)));
typedef uint64_t u64x2 __attribute__((vector_size(16)));
typedef int32_t i32x4_unaligned __attribute__((vector_size(16), aligned(4), may_alias));

/* What the two words of a leaf hold, or are to hold. */
struct leaf_bits {
	uint64_t starts, live;
};

/* One mmap request. Lives in the table NODES from its creation to mems_finish. */
struct main_node {
	struct main_node *previous; /* NULL for the first */
	struct main_node *next;     /* NULL for the last */
	size_t first;               /* granule: where its first segment starts */
	size_t granules;            /* its length, whole pages */
};

/* The bins of quick fit: a table of zeros is as many empty bins. */
struct bins {
	uint32_t tops[BINS];        /* slot of the block on top; see "Quick fit" */
	uint32_t shared_sizes[SHARED_BINS]; /* granules of the blocks in each of the last bins */
	uint8_t misses[BINS];       /* requests that found the bin empty, up to RUN_BLOCKS */
	uint32_t chunks[MAX_CHUNKS * CHUNK_SLOTS];
};

/* What a thread caches for itself: see "Caches of threads". */
struct thread_cache {
	_Alignas(CACHE_LINE)
	atomic_uint busy;           /* its thread changes it without the lock */
	bool is_owned;              /* by a thread */
	struct own_stack {
		_Alignas(CACHE_LINE)
		uint32_t count;
		uint32_t blocks[OWN_BLOCKS]; /* granules, the one that was freed last on top */
	} stacks[OWN_SIZES];        /* for blocks of one granule, of two, ... */
};

/* The arrays of the metadata, as they lie in memory. Each has one entry for every 2^granules_log2
 * granules of heap; those of the bins and of threads have ONE_ENTRY. So that a small heap
 * touches few pages, those that are read under the lock alone are movable: they are small at first,
 * and lie side by side. Of the others the long ones come last, so that their beginnings, which a
 * small heap uses, are near each other, and their pages in few page tables of the OS. */
enum table_name {
	BIN_TABLE,      /* quick fit only */
	START_SUMMARIES, /* the last level comes first */
	START_SUMMARY = START_SUMMARIES + SUMMARY_LEVELS - 1, /* level 0 */
	LIVE_LEAVES,    /* bit i: leaf i lies in the middle of a PROCESS */
	LIVE_REGIONS,   /* bit i: region i does */
	THREAD_CACHES,  /* quick fit only */
	STARTS,         /* a table apart from that of live, which is all that translation reads */
	LIVE,
	MOVABLE_TABLES,
	TREE = MOVABLE_TABLES,
	STALE = TREE + TREE_LEVELS, /* bit i: the entry of leaf i may be too large, and so that of its group */
	NODES,
	COALESCED,      /* quick fit only: bit i of a leaf's word: a coalesced HOLE starts there */
	TOUCHED,        /* bit i: OS page i may be in memory */
	IDLE,           /* first fit only: bit i: OS page i is touched, and may be free */
	GIVEN_BACK,     /* bit i: OS page i was given back, and is not touched since */
	BORDERS,        /* bit i: page i is the first of a main node */
	LEAF_MAX,
	TABLES
};

struct table {
	char *memory;           /* NULL where there is none */
	size_t reserved_bytes;  /* its share of the reservation, whole cache lines */
	size_t committed_bytes; /* of these, writable */
	size_t entry_bytes;     /* 0 where the policy needs none */
	unsigned granules_log2; /* or ONE_ENTRY */
};

enum { ONE_ENTRY = 64 };    /* however large the heap is */

/* Granules or pages from one to before another. */
struct range {
	size_t from, to;
};

/* A HOLE that was found: granules. start is NONE where there is none. */
struct hole {
	size_t start, size;
};

/* Memory that grows, to another place if need be. */
struct mapping {
	void *memory;        /* NULL where there is none */
	size_t bytes;
};

/* A block as the journal knows it. */
struct live_block {
	uint32_t next;       /* in its bucket; of an unused entry how far behind it the next unused one is,
	                        less 1: memory that is zero is a list */
	uint32_t granule;
	uint32_t site;       /* of the call that took it */
	uint32_t id;         /* in a recording */
	uint64_t slack : 6;  /* bytes of its last granule that were not asked for */
	uint64_t call : 58;  /* the number of that call; 0: it is of an image */
};

static_assert(sizeof(struct live_block) == 24, "with its share of the buckets, at most 32 bytes");

/* Who made calls: a label and the address they return to. */
struct site {
	uint32_t next;       /* in its bucket */
	const char *label;
	const void *caller;
	uint64_t first_call; /* of its live blocks, */
	size_t blocks, bytes; /* and how many these are: 0 but where they are counted */
	char text[LABEL_BYTES + 1]; /* of the label, for who opens a core dump: constants are not in it */
};

/* A call of the last ones, in granules. */
struct event {
	uint64_t call;
	uint32_t site;
	uint32_t granule, granules;   /* the block after the call; of a freed one, before it */
	uint32_t before, before_granules; /* of a resized one, before it; else anything */
	uint8_t kind;                 /* an enum mems_event_kind */
	uint8_t slack;
};

/* A call as it is told to the journal. */
struct call {
	char kind;        /* as in a recording */
	size_t from, to;  /* where the block was, and where it is; NONE after a call that failed */
	size_t size;      /* bytes asked for */
	size_t alignment; /* bytes, of an aligned block; else 0 */
	const void *caller;
	size_t granules;  /* its length before the call */
};

/* What the journal keeps in memory of its own. */
enum journal_array {
	JOURNAL_EVENTS,          /* a ring */
	JOURNAL_BLOCKS,
	JOURNAL_BUCKETS,         /* the first entry of those whose granules have one hash */
	JOURNAL_SITES,           /* the first is nobody's; then room for as many, to be counted and sorted */
	JOURNAL_SITE_BUCKETS,    /* as many as it has room for: the first site of those with one hash */
	JOURNAL_ARRAYS
};

struct journal {
	bool is_on;              /* there is a recording or history */
	FILE *record;            /* where calls are recorded, the caller's; else NULL */
	uint32_t next_id;        /* of a recording, which begins before the first block */
	uint64_t calls;          /* so far */
	struct mapping arrays[JOURNAL_ARRAYS];
	size_t event_slots;      /* of the ring; 0: history is off */
	struct event *event_next; /* the one for the next event */
	struct event *event_last;
	uint32_t entries;        /* for blocks, and buckets: a power of two; the first is none */
	uint32_t unused;         /* the first unused entry; entries where there is none */
	unsigned bucket_shift;   /* 32 less log2 of entries */
	uint32_t site_count;
};

/* What a block is taken for. */
enum purpose {
	FOR_MALLOC,
	FOR_GROWTH, /* of a block that moves: a new node has room for the next growth */
	FOR_CALLOC  /* which notes the pages as touched itself, after it has cleared them */
};

enum lock_state {
	LOCK_FREE,
	LOCK_HELD,
	LOCK_AWAITED /* held, and other threads may be asleep until it is given back */
};

enum { OPTIONS = MEMS_HISTORY + 1 };

/* By which mems-look finds the heap in a core dump, where there may be no symbols. */
struct sign {
	_Alignas(8)
	uint64_t magic;          /* SIGN_MAGIC, while there is a heap */
	uint64_t layout;         /* see sign_layout */
	const struct heap *heap; /* where the structure lies that holds this */
};

#define SIGN_MAGIC UINT64_C(0x9D50414548534D65)

static mems_error_handler handler_default;

/* What lives as long as the process. */
static struct {
	size_t options[OPTIONS];     /* what the next mems_init uses; 0 for the default */
	mems_error_handler *_Atomic handler;

	_Alignas(CACHE_LINE)
	atomic_uint lock;            /* an enum lock_state */
	_Atomic uintptr_t caller_out; /* where errno lies of the thread that holds the lock and may call
	                                MeMS again */
	unsigned generation;         /* of the heap, even and not 0; the one before while there is none */
	int cancel_state;            /* of that thread, before it called out */
	unsigned visitors;           /* at work, one within the other, printing and checking included; */
	unsigned os_requests;        /* likewise, */
	unsigned waits;              /* and for other threads, or while the process forks */
	bool has_no_fence;           /* the OS has refused one when caches of threads were closed */
	size_t loaded_top;           /* top of a heap that is not whole, while a request is at work */
} library = { .handler = handler_default };

/* One heap, from mems_init to mems_finish: all zero before and after. Those fields that translation
 * reads without the lock come first; they change with mems_init, and top when the heap grows. What is
 * long comes last, so that what a small program uses lies in one page. */
static struct heap {
	_Alignas(SMALLEST_PAGE)
	uintptr_t start;             /* virtual address of granule 0 */
	char *base;                  /* physical address of granule 0 */
	_Atomic size_t top;          /* granules mapped */
	size_t fast_top;             /* top while the fast paths may be used, else 0 */
	size_t noted_top;            /* top while those of history may, else 0 */
	size_t fast_sizes;           /* SMALL_SIZES while that of first fit may, else 0 */
	size_t quick_top;            /* top while those of quick fit may, else 0, */
	size_t quick_bins;           /* and FAST_BINS, while purged_end is 0 */
	atomic_uint epoch;           /* the generation while caches of threads are open, else 0 */
	unsigned shift;              /* log2 of the bytes in a granule */
	unsigned page_log2;          /* log2 of the granules in a page */
	unsigned os_page_log2;       /* log2 of the granules in an OS page */
	bool is_started;
	bool has_options;            /* those below are in force */
	bool is_quick;               /* the policy is MEMS_QUICK_FIT */
	bool is_shared;              /* threads may change live bits without the lock */
	bool is_watched;             /* a memory checker is told which granules the program may use */
	size_t root;                 /* granule of the block that mems_set_root named, or NONE */
	struct table tables[TABLES];

	_Alignas(CACHE_LINE)
	i32x4 search_start[CLASSES / 4]; /* leaves; none is less than the one before */
	ptrdiff_t look_due;          /* granules that may be freed, or lie in pages that become idle, until
	                                purge_look is called */
	size_t recent_peak;          /* the most granules in PROCESS segments since peak_since */
	ptrdiff_t room_granules;     /* so many fewer are now. Beside look_due, with which it changes, the
	                                compiler would change both as a vector, at twice the time */

	char *reservation;           /* NULL where there was no address space */
	size_t reservation_bytes;
	size_t limit;                /* granules that may be mapped */
	size_t movable_granules;     /* the movable tables are for so many: those of a small heap, or limit */
	size_t node_count;
	size_t options[OPTIONS];     /* of mems_option or of an image; 0 for the default */
	size_t file_pages;           /* the OS pages before this one may be mapped from an image */

	size_t touched_pages;        /* bits set in TOUCHED, */
	size_t idle_pages;           /* and in IDLE */
	size_t kept_pages;           /* may be resident beyond the budget: they were taken again */
	size_t peak_before;          /* the most granules in PROCESS segments before peak_since */
	time_t peak_since;           /* second */
	size_t sweep;                /* the pages below this one are still to be looked at; 0: none */

	size_t coalesced_granules;   /* quick fit only: in coalesced HOLEs */
	size_t purged_end;           /* below this page, one under cached blocks may be not touched */
	size_t flush_top;            /* top at the last flush before a request to the OS */
	unsigned flush_shift;        /* how often FLUSH_BYTES has doubled */
	uint32_t spare_chunk;        /* the first of a list of chunks given back; 0 for none */
	uint32_t chunk_count;        /* chunks that were ever taken, the unused first one included */

	unsigned cache_count;        /* caches of threads that were ever owned */
	bool has_key;                /* with which the C library tells when a thread ends: */
	pthread_key_t key;
	size_t claimed;              /* the start of the block of which who holds the lock has cleared the
	                                live bit, or NONE */

	struct sign sign;

	struct journal journal;

	size_t left_group;           /* that of the leaf whose entry was made exact at once last */
	size_t stale_next;           /* leaves that have ever become stale */
	uint32_t stale[MOST_STALE];  /* those that are, plus 1, in a ring; 0 for none */
} heap;

static_assert(offsetof(struct heap, stale) < SMALLEST_PAGE, "a small program uses one page of it");

/* ---- Bits and arithmetic: pure functions ----------------------------------------------------- */

static size_t min_size(size_t a, size_t b)
{
	return a < b ? a : b;
}

static size_t max_size(size_t a, size_t b)
{
	return a > b ? a : b;
}

static uint64_t min_u64(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
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

static inline unsigned lowest_bit(uint64_t word)
{
	ASSERT(word != 0, "no bit is set in 0");
	return (unsigned)__builtin_ctzll(word);
}

static inline unsigned highest_bit(uint64_t word)
{
	ASSERT(word != 0, "no bit is set in 0");
	return 63u - (unsigned)__builtin_clzll(word);
}

static inline uint64_t bit_of(size_t index)
{
	return (uint64_t)1 << (index % 64);
}

/* From bit first to bit last of one word. */
static inline uint64_t bits_from_to(size_t first, size_t last)
{
	return UINT64_MAX << (first % 64) & UINT64_MAX >> (63 - last % 64);
}

static bool bit_is_set(const uint64_t *words, size_t index)
{
	return (words[index / 64] >> (index % 64) & 1) != 0;
}

/* The first index from `from` to before end whose bit has this value; end if there is none. */
static ALWAYS_INLINE size_t bits_find(const uint64_t *words, size_t from, size_t end, bool value)
{
	while (from < end) {
		const uint64_t word = (value ? words[from / 64] : ~words[from / 64]) >> (from % 64);
		if (word != 0)
			return min_size(from + lowest_bit(word), end);
		from = round_down(from, 64) + 64;
	}
	return end;
}

/* The last index from `from` to before end whose bit has this value, plus 1; from if there is none. */
static ALWAYS_INLINE size_t bits_find_last(const uint64_t *words, size_t from, size_t end,
                                           bool value)
{
	while (end > from) {
		const size_t word_first = round_down(end - 1, 64);
		const uint64_t all = value ? words[word_first / 64] : ~words[word_first / 64];
		const uint64_t word = all & bits_from_to(0, end - 1);
		if (word != 0)
			return max_size(word_first + highest_bit(word) + 1, from);
		end = word_first;
	}
	return from;
}

/* How many bits of the word are set. The compiler's own function is a call. */
static inline size_t bits_in(uint64_t word)
{
	word -= word >> 1 & UINT64_MAX / 3;
	word = (word & UINT64_MAX / 5) + (word >> 2 & UINT64_MAX / 5);
	word = (word + (word >> 4)) & UINT64_MAX / 17;
	return (size_t)(word * (UINT64_MAX / 255) >> 56);
}

/* Returns how many of the bits had the other value. */
static size_t bits_set(uint64_t *words, size_t from, size_t end, bool value)
{
	size_t count = 0;
	for (size_t until; from < end; from = until) {
		uint64_t *word = &words[from / 64];
		until = min_size(end, round_down(from, 64) + 64);
		const uint64_t others = bits_from_to(from, until - 1) & (value ? ~*word : *word);
		*word ^= others;
		if (others != 0)
			count += bits_in(others);
	}
	return count;
}

/* How many words so many bits take. */
static size_t bit_words(uint64_t bits)
{
	return (size_t)((bits + 63) / 64);
}

static size_t bits_count(const uint64_t *words, size_t from, size_t end)
{
	size_t count = 0;
	for (size_t until; from < end; from = until) {
		until = min_size(end, round_down(from, 64) + 64);
		count += bits_in(words[from / 64] & bits_from_to(from, until - 1));
	}
	return count;
}

/* The words of bits that translation reads are written by one thread at a time and read by any. */
static ALWAYS_INLINE uint64_t word_load(const atomic_word *word)
{
	return atomic_load_explicit(word, memory_order_relaxed);
}

static ALWAYS_INLINE void word_store(atomic_word *word, uint64_t value)
{
	atomic_store_explicit(word, value, memory_order_relaxed);
}

static ALWAYS_INLINE void word_change(atomic_word *word, uint64_t mask, bool value)
{
	const uint64_t before = word_load(word);
	word_store(word, value ? before | mask : before & ~mask);
}

/* The granules of these segments as far as they lie in their leaf. The addition carries through each
 * segment to the start that follows it, or out of the word. */
static inline uint64_t segments_fill(uint64_t starts, uint64_t segments)
{
	const uint64_t ends = (~starts + (segments << 1)) & starts;
	return ends - segments;
}

/* Where a run of size bits begins that are not used, for at most SMALL_SIZES. Each step waits for the
 * one before, so there are no more than the size needs. */
static inline uint64_t room_for(uint64_t used, size_t size)
{
	ASSERT(size >= 1 && size <= SMALL_SIZES, "only small sizes are sought without a loop");
	const uint64_t two = used | used >> 1;
	if (size <= 4)
		return ~(size == 1 ? used : two | two >> (size - 2));
	const uint64_t four = two | two >> 2;
	if (size <= 8)
		return ~(four | four >> (size - 4));
	const uint64_t eight = four | four >> 4;
	if (size <= 16)
		return ~(eight | eight >> (size - 8));
	const uint64_t sixteen = eight | eight >> 8;
	return ~(sixteen | sixteen >> (size - 16));
}

/* Bit i is set where the byte i of the 64 at line is at least value. */
static inline uint64_t bytes_at_least(const uint8_t line[64], unsigned value)
{
	uint64_t found = 0;
#ifdef __SSE2__
	const __m128i least = _mm_set1_epi8((char)value);
	UNROLL for (unsigned i = 0; i < 4; i++) {
		__m128i bytes = _mm_load_si128((const __m128i *)(const void *)(line + 16 * i));
		__m128i is_enough = _mm_cmpeq_epi8(_mm_max_epu8(bytes, least), bytes);
		found |= (uint64_t)(unsigned)_mm_movemask_epi8(is_enough) << (16 * i);
	}
#else
	for (unsigned i = 0; i < 64; i++)
		found |= (uint64_t)(line[i] >= value) << i;
#endif
	return found;
}

/* The first of the 64 bytes at line, from an index on, that is at least value; 64 if there is none. */
static inline unsigned bytes_find(const uint8_t line[64], unsigned from, unsigned value)
{
	const uint64_t found = bytes_at_least(line, value) & UINT64_MAX << from;
	return found != 0 ? lowest_bit(found) : 64;
}

/* The compiler makes vector instructions of this. */
static inline unsigned bytes_max(const uint8_t line[64])
{
	const uint8_t *bytes = __builtin_assume_aligned(line, 16);
	uint8_t largest = 0;
	for (unsigned i = 0; i < 16; i++) {
		const uint8_t low = bytes[i] > bytes[i + 16] ? bytes[i] : bytes[i + 16];
		const uint8_t high = bytes[i + 32] > bytes[i + 48] ? bytes[i + 32] : bytes[i + 48];
		const uint8_t most = low > high ? low : high;
		largest = most > largest ? most : largest;
	}
	return largest;
}

/* The first of the 16 sizes at line, from an index on, that is at least value; 16 if there is none. */
static inline unsigned sizes_find(const int32_t line[FANOUT], unsigned from, int32_t value)
{
#ifdef __SSE2__
	const __m128i least = _mm_set1_epi32(value);
	__m128i is_less[4];
	UNROLL for (unsigned i = 0; i < 4; i++) {
		__m128i sizes = _mm_load_si128((const __m128i *)(const void *)(line + 4 * i));
		is_less[i] = _mm_cmplt_epi32(sizes, least);
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

static inline int32_t sizes_max(const int32_t line[FANOUT])
{
	const i32x4_unaligned *sizes = (const i32x4_unaligned *)(const void *)line;
	i32x4 most = sizes[0];
	UNROLL for (unsigned i = 1; i < FANOUT / 4; i++) {
		const i32x4 is_more = sizes[i] > most;
		most = (sizes[i] & is_more) | (most & ~is_more);
	}
	const int32_t low = most[0] > most[1] ? most[0] : most[1];
	const int32_t high = most[2] > most[3] ? most[2] : most[3];
	return low > high ? low : high;
}

/* Adds to a text what there is room for. */
static void text_add(char text[MESSAGE_BYTES], const char *format, ...)
{
	const size_t length = strlen(text);
	va_list arguments;
	va_start(arguments, format);
	vsnprintf(text + length, MESSAGE_BYTES - length, format, arguments);
	va_end(arguments);
}

/* From the byte order of this machine to the lowest byte first, and back. */
static void words_swap(uint64_t *words, size_t count)
{
	for (size_t i = 0; i < count; i++)
		words[i] = htole64(words[i]);
}

struct checksum {
	uint64_t sum, sums;
};

static const struct checksum no_sum = { 0, 0 };

static bool is_same_sum(struct checksum a, struct checksum b)
{
	return a.sum == b.sum && a.sums == b.sums;
}

/* Goes on with a checksum: Fletcher's, of words of 32 bits, the lowest byte first. It is the sum of
 * them all, and the sum of what that was after each of them, both modulo 2^64. A step takes four
 * words and has them all count as much as the first of them: what is too much, once the second,
 * twice the third and three times the fourth, is taken off at the end. bytes: a multiple of 8. */
static struct checksum checksum_add(struct checksum sum, const void *memory, size_t bytes)
{
	const char *next = memory;
	const size_t steps = bytes / 16;
	u64x2 odd = { 0 };    /* the second and the fourth words */
	u64x2 total = { 0 };  /* the first two, the last two */
	u64x2 totals = { 0 }; /* what total was after each step */
	for (const char *end = next + 16 * steps; next < end; next += 16) {
		uint64_t words[2];
		memcpy(words, next, sizeof(words));
		const u64x2 pairs = { le64toh(words[0]), le64toh(words[1]) };
		odd += pairs >> 32;
		total += (pairs & UINT32_MAX) + (pairs >> 32);
		totals += total;
	}
	sum.sums += 4 * (steps * sum.sum + totals[0] + totals[1]) - 2 * total[1] - odd[0] - odd[1];
	sum.sum += total[0] + total[1];
	for (const char *end = (const char *)memory + bytes; next < end; next += sizeof(uint32_t)) {
		uint32_t word;
		memcpy(&word, next, sizeof(word));
		sum.sum += le32toh(word);
		sum.sums += sum.sum;
	}
	return sum;
}

/* ---- The lock, calling out, fork ------------------------------------------------------------- */

/* Whether the process has one thread only, as far as the C library tells. What is called out to may
 * make another one: so the lock says in any case that it is held. */
static inline bool is_alone(void)
{
#ifdef HAS_SINGLE_THREADED
	return __libc_single_threaded;
#else
	return false;
#endif
}

/* Whether this thread holds the lock since it called out, and so may not take it again. */
static inline bool is_calling_out(void)
{
	const uintptr_t caller = atomic_load_explicit(&library.caller_out, memory_order_relaxed);
	return UNLIKELY(caller != 0) && caller == (uintptr_t)&errno;
}

/* Wakes so many threads, or sleeps while the lock has that value; may wake for no reason. */
static NOINLINE void lock_futex(int operation, unsigned value)
{
	const int error = errno;
	syscall(SYS_futex, &library.lock, operation, value, NULL, NULL, 0);
	errno = error;
}

static bool lock_try(void)
{
	unsigned state = LOCK_FREE;
	return atomic_compare_exchange_strong_explicit(&library.lock, &state, LOCK_HELD,
	                                               memory_order_acquire, memory_order_relaxed);
}

/* What the processor does while another one has the lock. */
static inline void pause_briefly(unsigned pauses)
{
	for (; pauses != 0; pauses--) {
#if defined(__x86_64__) || defined(__i386__)
		__builtin_ia32_pause();
#elif defined(__aarch64__)
		__asm__ volatile("yield");
#else
		atomic_signal_fence(memory_order_seq_cst);
#endif
	}
}

/* Most often the lock is given back before a thread could fall asleep. Looks become rarer, as each
 * takes the line of the lock away from its holder. */
static NOINLINE void lock_wait(void)
{
	unsigned pauses = 1;
	for (unsigned i = 0; i < LOCK_PAUSES; i += pauses) {
		if (atomic_load_explicit(&library.lock, memory_order_relaxed) == LOCK_FREE && lock_try())
			return;
		pauses = pauses < LOCK_MOST_PAUSES ? 2 * pauses : pauses;
		pause_briefly(pauses);
	}
	while (atomic_exchange_explicit(&library.lock, LOCK_AWAITED, memory_order_acquire) != LOCK_FREE)
		lock_futex(FUTEX_WAIT_PRIVATE, LOCK_AWAITED);
}

static inline void lock_take(void)
{
	if (is_calling_out())
		return;
	if (is_alone())
		atomic_store_explicit(&library.lock, LOCK_HELD, memory_order_relaxed);
	else if (!lock_try())
		lock_wait();
}

static inline void lock_give(void)
{
	if (is_calling_out())
		return;
	if (is_alone())
		atomic_store_explicit(&library.lock, LOCK_FREE, memory_order_relaxed);
	else if (atomic_exchange_explicit(&library.lock, LOCK_FREE, memory_order_release) == LOCK_AWAITED)
		lock_futex(FUTEX_WAKE_PRIVATE, 1);
}

/* Whether this is called from inside, where nothing may change the heap. The lock is held. */
static bool is_busy(void)
{
	return library.visitors != 0 || library.os_requests != 0;
}

static void caches_close(void);

/* To be called after each change of what it depends on. Fast paths change nothing but bits. */
static void fast_top_update(void)
{
	const bool is_plain = heap.is_started && !is_busy() && !heap.is_watched;
	heap.fast_top = is_plain && !heap.journal.is_on ? heap.top : 0;
	heap.noted_top = is_plain && heap.journal.is_on && heap.journal.record == NULL ? heap.top : 0;
	heap.fast_sizes = heap.fast_top != 0 && !heap.is_quick ? SMALL_SIZES : 0;
	heap.quick_top = heap.is_quick ? heap.fast_top : 0;
	heap.quick_bins = heap.quick_top != 0 && heap.purged_end == 0 ? FAST_BINS : 0;
	if (heap.fast_top == 0)
		caches_close();
}

/* From here to callout_end this thread, which has taken the lock, keeps it while other code runs
 * that may call MeMS. It cannot be cancelled there, for then nobody would give the lock back.
 * count: that of visitors, of os_requests or of waits in the library. With a change of the first two
 * the fast paths open or close: see fast_top_update. */
static void callout_begin(unsigned *count)
{
	if (!is_busy() && library.waits == 0) {
		pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &library.cancel_state);
		atomic_store_explicit(&library.caller_out, (uintptr_t)&errno, memory_order_relaxed);
	}
	++*count;
}

static void callout_end(unsigned *count)
{
	ASSERT(*count != 0, "every callout_end follows a callout_begin");
	const int cancel_state = library.cancel_state;
	--*count;
	if (!is_busy() && library.waits == 0) {
		atomic_store_explicit(&library.caller_out, 0, memory_order_relaxed);
		pthread_setcancelstate(cancel_state, NULL);
	}
}

/* To look at the heap: takes the lock. out, unless it is NULL, is locked too: what is printed stays
 * together. Who has the stream may wait for the heap, as when the stream needs memory, and a
 * visitor of the heap for the stream: so neither is waited for while the other is held. Returns errno
 * as it is. */
static int printer_enter(FILE *out)
{
	const int error = errno;
	const bool is_needed = out != NULL && !is_calling_out();
	for (lock_take(); is_needed && ftrylockfile(out) != 0; lock_take()) {
		lock_give();
		flockfile(out);
		funlockfile(out);
	}
	callout_begin(&library.visitors);
	fast_top_update();
	return error;
}

static void printer_leave(FILE *out)
{
	callout_end(&library.visitors);
	fast_top_update();
	lock_give();
	if (out != NULL && !is_calling_out())
		funlockfile(out);
}

/* The same after printing: 0, with errno as it was before, or -1 where not all was written. */
static int printer_end(FILE *out, int error)
{
	const bool is_written = fflush(out) == 0 && !ferror(out);
	printer_leave(out);
	if (is_written)
		errno = error;
	return is_written ? 0 : -1;
}

/* ---- The OS: the only place that asks it for memory ------------------------------------------ */

/* The program may interpose what is called between these two, and call MeMS there: such a call is
 * recognised and changes nothing (ENOMEM; EBUSY for mems_free). A heap that is being loaded looks
 * empty there. errno stays as it was. */
static int os_begin(void)
{
	const int error = errno;
	callout_begin(&library.os_requests);
	if (!heap.is_started && library.os_requests == 1)
		library.loaded_top = atomic_exchange(&heap.top, 0);
	fast_top_update();
	return error;
}

/* Hands on what the request has returned. */
static int os_end(int error, int result)
{
	callout_end(&library.os_requests);
	if (!heap.is_started && library.os_requests == 0)
		heap.top = library.loaded_top;
	fast_top_update();
	errno = error;
	return result;
}

/* What a function of mems.h returns that has failed with this error number, or, with 0, has not. */
static int result_of(int error)
{
	if (error != 0)
		errno = error;
	return error != 0 ? -1 : 0;
}

static size_t os_page_bytes(void)
{
	return (size_t)getauxval(AT_PAGESZ);
}

/* mmap, NULL where it is refused. */
static void *os_mmap(void *address, size_t bytes, int protection, int flags)
{
	const int error = os_begin();
	flags |= MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
	void *memory = mmap(address, bytes, protection, flags, -1, 0);
	os_end(error, 0);
	return memory == MAP_FAILED ? NULL : memory;
}

/* mremap, perhaps to another place; NULL where it is refused. */
static void *os_remap(void *address, size_t bytes, size_t more_bytes)
{
	const int error = os_begin();
	void *memory = mremap(address, bytes, more_bytes, MREMAP_MAYMOVE);
	os_end(error, 0);
	return memory == MAP_FAILED ? NULL : memory;
}

static bool os_unmap(void *address, size_t bytes)
{
	const int error = os_begin();
	return os_end(error, munmap(address, bytes)) == 0;
}

/* Makes a mapping at least so large; false where the OS refuses it. */
static bool mapping_fit(struct mapping *mapping, size_t bytes)
{
	bytes = round_up(bytes, os_page_bytes());
	if (bytes <= mapping->bytes)
		return true;
	char *memory = mapping->bytes == 0 ? os_mmap(NULL, bytes, PROT_READ | PROT_WRITE, 0)
	                                   : os_remap(mapping->memory, mapping->bytes, bytes);
	if (memory != NULL)
		*mapping = (struct mapping){ memory, bytes };
	return memory != NULL;
}

static void mapping_free(const struct mapping *mapping)
{
	if (mapping->memory != NULL)
		os_unmap(mapping->memory, mapping->bytes);
}

/* Page faults of this thread so far; 0 where the OS does not tell. */
static long os_faults(void)
{
	struct rusage usage = { 0 };
	getrusage(RUSAGE_THREAD, &usage);
	return usage.ru_minflt;
}

/* Whether each page of a reservation costs memory. It costs the kernel none, but an emulator may keep
 * notes on it. Emulators have no restartable sequences, so most machines need no trial. */
static bool os_reservations_are_expensive(void)
{
	enum { TRIAL_BYTES = 256 << 20, TRIAL_FAULTS = 256 };
	if (getauxval(AT_RSEQ_FEATURE_SIZE) != 0)
		return false;
	const long before = os_faults();
	void *trial = os_mmap(NULL, TRIAL_BYTES, PROT_NONE, 0);
	if (trial != NULL)
		os_unmap(trial, TRIAL_BYTES);
	return os_faults() - before >= TRIAL_FAULTS;
}

/* Whether so much may be more than half of the address space. The smallest 64-bit ones have 38 bits. */
static bool os_address_space_is_scarce(size_t bytes)
{
	struct rlimit limit;
	const bool is_limited = getrlimit(RLIMIT_AS, &limit) != 0 || limit.rlim_cur != RLIM_INFINITY;
	return is_limited || SIZE_MAX <= UINT32_MAX || bytes > (size_t)(UINT64_C(1) << 37);
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
	const int error = os_begin();
	return os_end(error, mprotect(address, bytes, PROT_READ | PROT_WRITE)) == 0;
}

/* madvise for whole pages: MADV_DONTNEED lets the OS take them back, so that they read as zero,
 * MADV_POPULATE_WRITE brings them into memory with one request, where it can do that. */
static bool os_advise(char *address, size_t bytes, int advice)
{
	const int error = os_begin();
	return os_end(error, madvise(address, bytes, advice)) == 0;
}

/* mincore: all pages are in memory where the OS does not tell. */
static void os_residency(char *address, size_t bytes, unsigned char *pages)
{
	const int error = os_begin();
	if (os_end(error, mincore(address, bytes, pages)) != 0)
		memset(pages, 1, bytes / os_page_bytes());
}

/* Opens a file; -1 with *error where that fails. It may be larger than an off_t tells: so are images
 * of 64-bit machines, which are refused for what they are. */
static int os_open(int folder, const char *path, int flags, int *error)
{
	const int before = os_begin();
	const int file = openat(folder, path, flags | O_CLOEXEC | O_LARGEFILE, 0666);
	*error = os_end(before, file < 0 ? errno : 0);
	return file;
}

static void os_close(int file)
{
	const int error = os_begin();
	os_end(error, close(file));
}

/* The size of a file; 0 where it has none. */
static uint64_t os_file_bytes(int file)
{
	const int error = os_begin();
	const off_t bytes = lseek(file, 0, SEEK_END);
	os_end(error, 0);
	return bytes < 0 ? 0 : (uint64_t)bytes;
}

/* Reads all these bytes of a file. Returns 0 or an error number: EBADMSG where the file ends before. */
static int os_read(int file, void *memory, size_t bytes, uint64_t offset)
{
	const int before = os_begin();
	char *next = memory;
	int error = 0;
	while (bytes != 0 && error == 0) {
		const ssize_t done = pread(file, next, bytes, (off_t)offset);
		if (done > 0) {
			next += done;
			bytes -= (size_t)done;
			offset += (size_t)done;
		} else if (done == 0 || errno != EINTR) {
			error = done < 0 ? errno : EBADMSG;
		}
	}
	return os_end(before, error);
}

/* Writes these parts of memory one after the other, and has the OS bring them to the disk at once: so
 * there is less to wait for at the end. Changes the parts. Returns 0 or an error number. */
static int os_write(int file, struct iovec *parts, size_t count, uint64_t offset)
{
	const int before = os_begin();
	const uint64_t first = offset;
	int error = 0;
	while (count != 0 && error == 0) {
		const ssize_t done = pwritev(file, parts, (int)count, (off_t)offset);
		size_t written = done > 0 ? (size_t)done : 0;
		if (done == 0 || (done < 0 && errno != EINTR))
			error = done < 0 ? errno : EIO;
		offset += written;
		for (; count != 0 && written >= parts->iov_len; parts++, count--)
			written -= parts->iov_len;
		if (count != 0)
			*parts = (struct iovec){ (char *)parts->iov_base + written, parts->iov_len - written };
	}
	sync_file_range(file, (off_t)first, (off_t)(offset - first), SYNC_FILE_RANGE_WRITE);
	return os_end(before, error);
}

/* Maps a part of a file in place of what is there: what is written stays in this process. The file may
 * be larger than memory. */
static int os_map_file(char *address, size_t bytes, int file, uint64_t offset)
{
	const int before = os_begin();
	const int flags = MAP_PRIVATE | MAP_FIXED | MAP_NORESERVE;
	const void *memory = mmap(address, bytes, PROT_READ | PROT_WRITE, flags, file, (off_t)offset);
	return os_end(before, memory == MAP_FAILED ? errno : 0);
}

/* What comes behind the folder in a path. */
static const char *path_name(const char *path)
{
	const char *slash = strrchr(path, '/');
	return slash == NULL ? path : slash + 1;
}

/* Gives an empty file the rights of the one that it is to replace, if there is one. */
static void os_rights_keep(int file, int folder, const char *name)
{
	struct stat old;
	const int before = os_begin();
	if (fstatat(folder, name, &old, 0) == 0)
		fchmod(file, old.st_mode & 0777);
	os_end(before, 0);
}

/* Opens the folder of path, perhaps not for reading, and makes a file there, whose name goes to
 * temporary. -1 with *error where that fails. */
static int os_create_beside(const char *path, int *folder, char temporary[NAME_BYTES], int *error)
{
	enum { MOST_NAMES = 10000 };
	char name[PATH_MAX + 1] = ".";
	int file = -1;
	memcpy(name, path, min_size((size_t)(path_name(path) - path), PATH_MAX));
	*folder = os_open(AT_FDCWD, name, O_RDONLY | O_DIRECTORY, error);
	if (*error == EACCES)
		*folder = os_open(AT_FDCWD, name, O_PATH | O_DIRECTORY, error);
	for (unsigned i = 0; *folder >= 0 && (i == 0 || *error == EEXIST) && i < MOST_NAMES; i++) {
		snprintf(temporary, NAME_BYTES, ".mems-%ld-%u", (long)getpid(), i);
		file = os_open(*folder, temporary, O_WRONLY | O_CREAT | O_EXCL, error);
	}
	if (file >= 0)
		os_rights_keep(file, *folder, path_name(path));
	else if (*folder >= 0)
		os_close(*folder);
	return file;
}

/* Brings a file that was written to the disk, gives it its name, and brings the folder to the disk, if
 * it can be read; removes it where that fails, or something had failed before. Returns 0 or an error
 * number. Nothing is locked meanwhile: what the program interposes may call MeMS. */
static int os_publish(int folder, int file, int error, const char *temporary, const char *name)
{
	if (error == 0 && (fsync(file) != 0 || renameat(folder, temporary, folder, name) != 0))
		error = errno;
	close(file);
	if (error != 0)
		unlinkat(folder, temporary, 0);
	else if (fsync(folder) != 0 && errno != EINVAL && errno != EBADF)
		error = errno;
	close(folder);
	return error;
}

/* Has all running threads of the process pass a barrier, or prepares for that. False where that cannot
 * be had, or the C library does not tell of other threads. */
static bool os_fence(bool is_preparation)
{
	bool is_done = false;
#if defined(HAS_SINGLE_THREADED) && defined(SYS_membarrier)
	enum { PRIVATE_EXPEDITED = 1 << 3, REGISTER_PRIVATE_EXPEDITED = 1 << 4 };
	const int command = is_preparation ? REGISTER_PRIVATE_EXPEDITED : PRIVATE_EXPEDITED;
	const int error = errno;
	is_done = syscall(SYS_membarrier, command, 0, 0) == 0;
	errno = error;
#endif
	(void)is_preparation;
	return is_done;
}

/* Seconds that pass whatever the time of day; 0 where the OS does not tell. */
static time_t os_seconds(void)
{
	struct timespec now = { 0 };
	clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
	return now.tv_sec;
}

/* ---- Options: one rule for each -------------------------------------------------------------- */

static const struct option_rule {
	const char *name;      /* in a recording */
	size_t least, most;
	size_t value;          /* the default */
	bool is_power_of_two;
} option_rules[OPTIONS] = {
	[MEMS_POLICY] = { "policy", MEMS_FIRST_FIT, MEMS_QUICK_FIT, MEMS_FIRST_FIT, false },
	[MEMS_ALIGNMENT] = { "alignment", 1, MAX_ALIGNMENT, 8, true },
	[MEMS_START_ADDRESS] = { "start", 1, (size_t)1 << 31, 1000, false },
	[MEMS_PAGE_SIZE] = { "page-size", SMALLEST_PAGE, LARGEST_PAGE, SMALLEST_PAGE, true },
	[MEMS_LIMIT] = { "limit", 0, SIZE_MAX, 0, false },
	[MEMS_HISTORY] = { "history", 0, MAX_EVENTS, 0, false },
};

/* On a machine with larger pages, their size is the default of one option, and the least. */
static size_t option_default(enum mems_option option)
{
	const size_t least = option == MEMS_PAGE_SIZE ? os_page_bytes() : 0;
	return max_size(option_rules[option].value, least);
}

static bool option_is_valid(enum mems_option option, size_t value)
{
	if ((unsigned)option >= OPTIONS)
		return false;
	const struct option_rule *rule = &option_rules[option];
	const size_t least = option == MEMS_PAGE_SIZE ? option_default(option) : rule->least;
	return value >= least && value <= rule->most &&
	       (!rule->is_power_of_two || is_power_of_two(value));
}

/* What the heap that is started has, or the next one will have. */
static size_t option_value(enum mems_option option)
{
	const size_t value = heap.has_options ? heap.options[option] : library.options[option];
	return value != 0 ? value : option_default(option);
}

static const char *policy_name(size_t policy)
{
	return policy == MEMS_QUICK_FIT ? "quick_fit" : "first_fit";
}

/* Adds the options that are not the default, as lines of a recording. */
static void options_describe(char text[MESSAGE_BYTES])
{
	for (unsigned option = 0; option < MEMS_HISTORY; option++) {
		const char *name = option_rules[option].name;
		const size_t value = option_value(option);
		if (value == option_default(option))
			continue;
		if (option == MEMS_POLICY)
			text_add(text, "o %s %s\n", name, policy_name(value));
		else
			text_add(text, "o %s %zu\n", name, value);
	}
}

/* ---- Tables: the metadata, reserved whole and made writable as the heap grows ---------------- */

static void table_describe(struct table *table, size_t entry_bytes, unsigned granules_log2)
{
	*table = (struct table){ .entry_bytes = entry_bytes, .granules_log2 = granules_log2 };
}

static void tables_describe(struct table tables[TABLES])
{
	const size_t quick = heap.is_quick; /* so many there are of what only quick fit has */
	table_describe(&tables[BIN_TABLE], quick * sizeof(struct bins), ONE_ENTRY);
	table_describe(&tables[THREAD_CACHES], quick * MOST_CACHES * sizeof(struct thread_cache), ONE_ENTRY);
	for (unsigned level = 0; level < SUMMARY_LEVELS; level++)
		table_describe(&tables[START_SUMMARY - level], sizeof(uint64_t), GROUP_LOG2 + 6 * level);
	table_describe(&tables[LIVE_REGIONS], sizeof(uint64_t), REGION_LOG2 + 6);
	table_describe(&tables[LIVE_LEAVES], sizeof(uint64_t), GROUP_LOG2);
	table_describe(&tables[STARTS], sizeof(uint64_t), LEAF_LOG2);
	table_describe(&tables[LIVE], sizeof(uint64_t), LEAF_LOG2);
	for (unsigned level = 0; level < TREE_LEVELS; level++)
		table_describe(&tables[TREE + level], sizeof(int32_t), GROUP_LOG2 + FANOUT_LOG2 * level);
	table_describe(&tables[STALE], sizeof(uint64_t), GROUP_LOG2);
	table_describe(&tables[NODES], sizeof(struct main_node), heap.page_log2);
	table_describe(&tables[COALESCED], quick * sizeof(uint64_t), LEAF_LOG2);
	table_describe(&tables[TOUCHED], sizeof(uint64_t), heap.os_page_log2 + 6);
	table_describe(&tables[IDLE], sizeof(uint64_t), heap.os_page_log2 + 6);
	table_describe(&tables[GIVEN_BACK], sizeof(uint64_t), heap.os_page_log2 + 6);
	table_describe(&tables[BORDERS], sizeof(uint64_t), heap.page_log2 + 6);
	table_describe(&tables[LEAF_MAX], sizeof(uint8_t), LEAF_LOG2);
}

/* Bytes that a table needs for a heap of so many granules: with room for the entry of top, for a
 * leaf after it, and for whole lines, which are read at once. */
static size_t table_bytes(const struct table *table, size_t granules)
{
	enum { SPARE_ENTRIES = 4 };
	if (table->granules_log2 == ONE_ENTRY)
		return round_up(table->entry_bytes, CACHE_LINE);
	const uint64_t entries = ((uint64_t)granules >> table->granules_log2) + SPARE_ENTRIES;
	return round_up((size_t)entries * table->entry_bytes, CACHE_LINE);
}

/* Where there is an entry for each leaf, a line of zeros lies before the first. */
static size_t bytes_before(const struct table *table)
{
	return table->granules_log2 == LEAF_LOG2 ? CACHE_LINE : 0;
}

/* Its share of a reservation for a heap of so many granules: what lies before it, and of long
 * ones whole pages, so that the first entries of the next one lie in one page, and some lines, so that
 * what two tables have for one leaf is not at the same place in a page: processors take a load from
 * there for one of what was just stored in the other, and wait. */
static size_t table_share(const struct table *table, size_t granules)
{
	const size_t page = os_page_bytes();
	const size_t bytes = table_bytes(table, granules);
	const size_t shift = table->granules_log2 == ONE_ENTRY ? 0 : TABLE_SHIFT;
	return bytes_before(table) + (bytes < page ? bytes : round_up(bytes, page) + shift);
}

/* The movable tables are for so many granules at first. */
static size_t small_granules(void)
{
	return min_size((size_t)SMALL_HEAP_BYTES >> heap.shift, heap.limit);
}

/* What these tables reserve together for a heap of so many granules: whole OS pages. */
static size_t tables_bytes(unsigned first, unsigned end, size_t granules)
{
	size_t bytes = 0;
	for (unsigned i = first; i < end; i++)
		bytes += table_share(&heap.tables[i], granules);
	return round_up(bytes, os_page_bytes());
}

static size_t small_tables_bytes(void)
{
	return tables_bytes(MOVABLE_TABLES, TABLES, small_granules());
}

/* The share of all tables. */
static size_t tables_share(void)
{
	return small_tables_bytes() + tables_bytes(0, TABLES, heap.limit);
}

static char *tables_memory(void)
{
	return heap.base + (heap.limit << heap.shift);
}

/* Lays the tables out: room for small movable ones, then the others, then room for large ones.
 * movable: so many granules those in use are for. */
static void tables_place(struct table tables[TABLES], size_t movable)
{
	char *small = tables_memory();
	char *large = small + small_tables_bytes();
	for (unsigned i = 0; i < TABLES; i++) {
		const bool is_small = i >= MOVABLE_TABLES && movable == small_granules();
		char **const next = is_small ? &small : &large;
		const size_t share = table_share(&tables[i], is_small ? movable : heap.limit);
		tables[i].reserved_bytes = share - bytes_before(&tables[i]);
		tables[i].memory = *next + bytes_before(&tables[i]);
		*next += share;
	}
}

/* Makes what lies between these two addresses writable: whole OS pages. */
static bool tables_commit_range(char *from, char *to)
{
	const uintptr_t page = os_page_bytes();
	char *const first = (char *)round_down((uintptr_t)from, page);
	char *const end = (char *)round_up((uintptr_t)to, page);
	ASSERT(tables_memory() <= first && end <= tables_memory() + tables_share(),
	       "what lies outside is not ours");
	return os_commit(first, (size_t)(end - first));
}

/* Makes the first so many bytes of a table writable, and some more. */
static bool table_commit(struct table *table, size_t bytes)
{
	if (bytes <= table->committed_bytes)
		return true;
	ASSERT(bytes <= table->reserved_bytes, "its share is for the largest heap");
	bytes = min_size(round_up(bytes, COMMIT_STEP), table->reserved_bytes);
	char *const from = table->memory - bytes_before(table) + table->committed_bytes;
	if (!tables_commit_range(from, table->memory + bytes))
		return false;
	table->committed_bytes = bytes;
	return true;
}

static inline struct main_node *nodes(void)
{
	return (struct main_node *)(void *)heap.tables[NODES].memory;
}

static inline struct bins *bins(void)
{
	ASSERT(heap.is_quick, "only quick fit has bins");
	return (struct bins *)(void *)heap.tables[BIN_TABLE].memory;
}

/* From the last one of chunk 0 on. */
static inline uint32_t *slots(void)
{
	return bins()->chunks + CHUNK_SLOTS - 1;
}

/* Links a node of the main chain, not the first, and the one before: they lie side by side. */
static void node_join(size_t index)
{
	nodes()[index].previous = &nodes()[index - 1];
	nodes()[index - 1].next = &nodes()[index];
}

/* Makes with one request, where it is granted, the small movable tables writable, those up to
 * STARTS, which follow, and its beginning. */
static void small_tables_commit(void)
{
	struct table *starts = &heap.tables[STARTS];
	const size_t bytes = min_size(COMMIT_STEP, starts->reserved_bytes);
	if (!tables_commit_range(tables_memory(), starts->memory + bytes))
		return;
	for (unsigned i = 0; i < TABLES; i++)
		if (i < STARTS || i >= MOVABLE_TABLES)
			heap.tables[i].committed_bytes = heap.tables[i].reserved_bytes;
	starts->committed_bytes = bytes;
}

/* Brings the first so many bytes of a table into memory with one request, where the OS can do that. */
static void table_populate(const struct table *table, size_t bytes)
{
	char *const first = (char *)round_down((uintptr_t)table->memory, os_page_bytes());
	os_advise(first, (size_t)(table->memory - first) + bytes, MADV_POPULATE_WRITE);
}

/* Moves the movable tables, which are too small for so many granules, to where there is room for the
 * largest heap. Where the OS refuses that, nothing has changed. Nobody reads them meanwhile: that takes
 * the lock, or a cache of the thread, and the requests to the OS have closed these. */
static bool tables_move(size_t granules)
{
	struct table tables[TABLES];
	memcpy(tables, heap.tables, sizeof(tables));
	tables_place(tables, heap.limit);
	for (unsigned i = MOVABLE_TABLES; i < TABLES; i++) {
		tables[i].committed_bytes = 0;
		if (!table_commit(&tables[i], table_bytes(&tables[i], granules)))
			return false;
	}
	for (unsigned i = MOVABLE_TABLES; i < TABLES; i++) {
		const size_t used = i == NODES ? heap.node_count * sizeof(struct main_node)
		                               : heap.tables[i].committed_bytes;
		table_populate(&tables[i], used);
		memcpy(tables[i].memory, heap.tables[i].memory, used);
		heap.tables[i] = tables[i];
	}
	heap.movable_granules = heap.limit;
	for (size_t i = 1; i < heap.node_count; i++)
		node_join(i);
	os_advise(tables_memory(), small_tables_bytes(), MADV_DONTNEED);
	return true;
}

/* Writes to each table that the first call uses: a page that is read first faults in twice. */
static void tables_touch(void)
{
	for (unsigned i = 0; i < TABLES; i++)
		if (i != LIVE_REGIONS && i != LIVE_LEAVES && i != THREAD_CACHES)
			*(volatile char *)heap.tables[i].memory = 0;
	if (!heap.is_quick)
		return;
	slots()[0] = LINK; /* see "Quick fit" */
	heap.chunk_count = 1;
}

/* Makes room in every table for a heap of so many granules. */
static bool tables_commit(size_t granules)
{
	const bool is_first = heap.top == 0;
	if (is_first) {
		/* They are used a little here and a little there. */
		os_advise(tables_memory(), tables_share(), MADV_NOHUGEPAGE);
		if (heap.movable_granules == small_granules())
			small_tables_commit();
	}
	if (granules > heap.movable_granules && !tables_move(granules))
		return false;
	for (unsigned i = 0; i < TABLES; i++) {
		struct table *table = &heap.tables[i];
		if (!table_commit(table, table_bytes(table, granules)))
			return false;
	}
	if (is_first)
		tables_touch();
	return true;
}

/* Brings the tables into memory that have most to hold for a heap of so many granules. */
static void tables_populate(size_t granules)
{
	table_populate(&heap.tables[STARTS], table_bytes(&heap.tables[STARTS], granules));
	table_populate(&heap.tables[LIVE], table_bytes(&heap.tables[LIVE], granules));
	table_populate(&heap.tables[COALESCED], table_bytes(&heap.tables[COALESCED], granules));
}

/* ---- Leaves: the bits of segments ------------------------------------------------------------ */

static inline size_t leaf_of(size_t granule)
{
	return granule >> LEAF_LOG2;
}

static inline char *block_physical(size_t granule)
{
	return heap.base + (granule << heap.shift);
}

static inline size_t group_of(size_t granule)
{
	return granule >> GROUP_LOG2;
}

static inline size_t top_load(void)
{
	return atomic_load_explicit(&heap.top, memory_order_acquire);
}

static inline atomic_word *table_words(unsigned name)
{
	return (atomic_word *)(void *)heap.tables[name].memory;
}

static inline uint64_t *table_bits(unsigned name)
{
	return (uint64_t *)(void *)heap.tables[name].memory;
}

/* There is an empty leaf before the first: leaf - 1 of that leads to it. */
static inline atomic_word *starts_at(size_t leaf)
{
	return table_words(STARTS) + (ptrdiff_t)leaf;
}

static inline atomic_word *live_at(size_t leaf)
{
	return table_words(LIVE) + (ptrdiff_t)leaf;
}

static inline uint64_t leaf_starts(size_t leaf)
{
	return word_load(starts_at(leaf));
}

static inline uint64_t leaf_live(size_t leaf)
{
	return word_load(live_at(leaf));
}

static inline struct leaf_bits leaf_read(size_t leaf)
{
	return (struct leaf_bits){ leaf_starts(leaf), leaf_live(leaf) };
}

static inline void leaf_write(size_t leaf, struct leaf_bits bits)
{
	ASSERT(!heap.is_shared, "nobody else changes live bits");
	word_store(starts_at(leaf), bits.starts);
	word_store(live_at(leaf), bits.live);
}

/* Where a segment starts, live tells of which type it is. */
static inline uint64_t holes_of(struct leaf_bits bits)
{
	return bits.starts & ~bits.live;
}

/* Where the HOLEs of the leaf start that placement may use. */
static ALWAYS_INLINE uint64_t policy_holes(size_t leaf, bool is_quick)
{
	return is_quick ? word_load(table_words(COALESCED) + leaf) : holes_of(leaf_read(leaf));
}

static inline uint64_t leaf_holes(size_t leaf)
{
	return policy_holes(leaf, heap.is_quick);
}

static inline atomic_word *summary(unsigned level)
{
	return table_words(START_SUMMARY - level);
}

/* The leaf has its first start, or has lost its last one. */
static NOINLINE void summary_update(size_t leaf, bool has_start)
{
	for (unsigned level = 0; level < SUMMARY_LEVELS; level++) {
		atomic_word *word = &summary(level)[leaf / 64];
		const uint64_t others = word_load(word) & ~bit_of(leaf);
		word_change(word, bit_of(leaf), has_start);
		if (others != 0)
			return;
		leaf /= 64;
	}
}

/* A segment starts at granule, or does no more. */
static ALWAYS_INLINE void start_mark(size_t granule, bool is_start)
{
	const size_t leaf = leaf_of(granule);
	const uint64_t before = leaf_starts(leaf);
	const uint64_t after = is_start ? before | bit_of(granule) : before & ~bit_of(granule);
	word_store(starts_at(leaf), after);
	if (UNLIKELY((is_start ? before : after) == 0))
		summary_update(leaf, is_start);
}

/* Under quick fit: a coalesced HOLE starts at granule, or does no more. */
static ALWAYS_INLINE void coalesced_mark(size_t granule, bool is_coalesced, bool is_quick)
{
	if (is_quick)
		word_change(table_words(COALESCED) + leaf_of(granule), bit_of(granule), is_coalesced);
}

/* ---- Live granules: what translation reads (I17) --------------------------------------------- */

/* is_private: the process has one thread, so no other one reads the word. One instruction does then,
 * where the compiler makes three of what is atomic. */
static ALWAYS_INLINE void word_flip(atomic_word *word, uint64_t mask, bool is_private)
{
	if (is_private)
		*(uint64_t *)word ^= mask;
	else
		word_store(word, word_load(word) ^ mask);
}

/* The bits from `from` to before end. */
static ALWAYS_INLINE void bits_flip(atomic_word *words, size_t from, size_t end)
{
	if (from / 64 == end / 64) {
		word_flip(words + end / 64, bit_of(end) - bit_of(from), false);
		return;
	}
	word_flip(words + from / 64, UINT64_MAX << (from % 64), false);
	for (size_t i = from / 64 + 1; i < end / 64; i++)
		word_flip(words + i, UINT64_MAX, false);
	word_flip(words + end / 64, bit_of(end) - 1, false);
}

/* low_masks[n + 1]: n bits, from the lowest on. */
#define EIGHT_MASKS(n) \
	UINT64_MAX >> (64 - (n)), UINT64_MAX >> (63 - (n)), UINT64_MAX >> (62 - (n)), \
	UINT64_MAX >> (61 - (n)), UINT64_MAX >> (60 - (n)), UINT64_MAX >> (59 - (n)), \
	UINT64_MAX >> (58 - (n)), UINT64_MAX >> (57 - (n))
static const uint64_t low_masks[66] = {
	0, 0, EIGHT_MASKS(1), EIGHT_MASKS(9), EIGHT_MASKS(17), EIGHT_MASKS(25), EIGHT_MASKS(33),
	EIGHT_MASKS(41), EIGHT_MASKS(49), EIGHT_MASKS(57)
};

/* At most 64 granules, or leaves, as far as they lie in the first word and in the next. */
struct live_bits {
	uint64_t low, high;
};

static ALWAYS_INLINE struct live_bits live_bits_of(size_t granule, size_t size)
{
	ASSERT(size <= 64, "so many granules lie in two words");
	return (struct live_bits){ low_masks[size + 1] << (granule % 64),
	                           low_masks[size] >> (63 - granule % 64) };
}

static ALWAYS_INLINE void live_bits_flip(atomic_word *words, size_t from, size_t count,
                                         bool is_private)
{
	const struct live_bits bits = live_bits_of(from, count);
	atomic_word *const word = words + from / 64;
	word_flip(word, bits.low, is_private);
	word_flip(word + 1, bits.high, is_private);
}

/* Several leaves, from `from` to before end, lie in the middle of one PROCESS, or do no more. */
static void live_middle_flip(size_t from, size_t end)
{
	atomic_word *leaves = table_words(LIVE_LEAVES);
	const size_t region = round_up(from, REGION_LEAVES) / REGION_LEAVES;
	const size_t region_end = end / REGION_LEAVES;
	if (end - from <= MOST_LIVE_LEAVES) {
		bits_flip(leaves, from, end);
		return;
	}
	bits_flip(leaves, from, region * REGION_LEAVES);
	bits_flip(table_words(LIVE_REGIONS), region, region_end);
	bits_flip(leaves, region_end * REGION_LEAVES, end);
}

/* All granules of a PROCESS become live, or do no more. most: the largest size there may be, best a
 * constant. With FAST_BINS or MIDDLE_BINS two or three words are written, needed or not: that would be a
 * branch that the processor cannot predict. Where is_private says that no other thread reads them, there
 * are at most DIRECT_BINS, with at most 64 leaves in their middle. */
static ALWAYS_INLINE void live_flip(size_t granule, size_t size, size_t most, bool is_private)
{
	ASSERT(!heap.is_shared, "nobody else changes live bits");
	ASSERT(size <= most && (size > FAST_BINS || most <= FAST_BINS), "so many leaves are written");
	ASSERT(!is_private || size <= DIRECT_BINS, "its middle lies in two words");
	if (most <= FAST_BINS) {
		live_bits_flip(table_words(LIVE), granule, size, is_private);
		return;
	}
	const size_t last = granule + size - 1;
	const size_t first = leaf_of(granule) + 1;
	const size_t middle = leaf_of(last) - first; /* leaves */
	word_flip(live_at(leaf_of(granule)), UINT64_MAX << (granule % 64), is_private);
	word_flip(live_at(leaf_of(last)), UINT64_MAX >> (63 - last % 64), is_private);
	if (most <= MIDDLE_BINS || middle <= 1)
		word_flip(live_at(first), -(uint64_t)middle, is_private);
	else if (is_private || middle <= 64)
		live_bits_flip(table_words(LIVE_LEAVES), first, middle, is_private);
	else
		live_middle_flip(first, leaf_of(last));
}

static NOINLINE void live_change_far(size_t granule, size_t size)
{
	live_flip(granule, size, SIZE_MAX, false);
}

/* Clears bits that are set, or will be at once: see 4. */
static ALWAYS_INLINE void live_clear(atomic_word *word, uint64_t bits)
{
	while (bits != 0) {
		bits &= ~atomic_fetch_and_explicit(word, ~bits, memory_order_acq_rel);
		if (UNLIKELY(bits != 0))
			sched_yield();
	}
}

/* live_change while caches are open. The start is set last; where it was claimed, it is clear. */
static COLD void live_change_shared(size_t granule, size_t size, bool value)
{
	const size_t end = granule + size - 1;
	const size_t first = leaf_of(granule);
	const size_t last = leaf_of(end);
	const uint64_t low = bits_from_to(granule, first == last ? end : 63);
	const uint64_t middle = last - first == 2 ? UINT64_MAX : 0;
	const uint64_t high = first == last ? 0 : bits_from_to(0, end);
	if (size == 0)
		return;
	if (last - first > 2)
		live_middle_flip(first + 1, last);
	if (value) {
		atomic_fetch_or_explicit(live_at(last), high, memory_order_release);
		atomic_fetch_or_explicit(live_at(first + 1), middle, memory_order_release);
		atomic_fetch_or_explicit(live_at(first), low, memory_order_release);
	} else {
		live_clear(live_at(first), granule == heap.claimed ? low & ~bit_of(granule) : low);
		live_clear(live_at(first + 1), middle);
		live_clear(live_at(last), high);
	}
	if (value && granule == heap.claimed)
		heap.claimed = NONE;
}

/* The granules become live, or do no more: all of them change. */
static ALWAYS_INLINE void policy_live_change(size_t granule, size_t size, bool value, bool is_quick)
{
	if (is_quick && UNLIKELY(heap.is_shared))
		live_change_shared(granule, size, value);
	else if (size <= FAST_BINS)
		live_flip(granule, size, FAST_BINS, false);
	else
		live_change_far(granule, size);
}

static inline void live_change(size_t granule, size_t size, bool value)
{
	policy_live_change(granule, size, value, heap.is_quick);
}

/* A PROCESS that had so many granules has another size. One with a leaf in its middle, before or
 * after, is not live meanwhile. */
static void live_resize(size_t granule, size_t before, size_t after)
{
	const size_t least = min_size(before, after);
	const size_t most = max_size(before, after);
	if (leaf_of(granule + most - 1) - leaf_of(granule) <= 1) {
		live_change(granule + least, most - least, after > before);
		return;
	}
	live_change(granule, before, false);
	live_change(granule, after, true);
}

/* Whether the granule is live, of a large PROCESS only if it is near its ends. */
static inline bool is_live_near(size_t granule)
{
	return (leaf_live(leaf_of(granule)) >> (granule % 64) & 1) != 0;
}

static inline bool is_live_middle(size_t granule)
{
	const size_t leaf = leaf_of(granule);
	const size_t region = granule >> REGION_LOG2;
	const uint64_t leaves = word_load(table_words(LIVE_LEAVES) + leaf / 64) >> (leaf % 64);
	const uint64_t regions = word_load(table_words(LIVE_REGIONS) + region / 64) >> (region % 64);
	return ((leaves | regions) & 1) != 0;
}

/* Whether the granule lies in a PROCESS. */
static inline bool is_live(size_t granule)
{
	return LIKELY(is_live_near(granule)) || is_live_middle(granule);
}

/* ---- Segments: the sub-chain as a list ------------------------------------------------------- */

static bool is_start(size_t granule)
{
	return (leaf_starts(leaf_of(granule)) & bit_of(granule)) != 0;
}

/* Whether the segment that starts at granule is no PROCESS. */
static inline bool is_hole(size_t granule)
{
	return !is_live_near(granule);
}

/* Whether a PROCESS starts at granule, by the bits of its leaf. */
static inline bool is_block(size_t granule, struct leaf_bits bits)
{
	return (bits.starts & bits.live & bit_of(granule)) != 0;
}

/* Whether a HOLE starts at granule that placement may use. */
static inline bool is_coalesced(size_t granule)
{
	return (leaf_holes(leaf_of(granule)) & bit_of(granule)) != 0;
}

/* The 64 granules after this one: bit i is set where a segment starts at granule + 1 + i. starts:
 * of its leaf. */
static ALWAYS_INLINE uint64_t starts_after(size_t granule, uint64_t starts)
{
	const uint64_t next = leaf_starts(leaf_of(granule) + 1);
	return (starts >> (granule % 64) >> 1) | (next << (63 - granule % 64));
}

/* The 57 granules from this one on, and perhaps some more: bit i is set where a segment starts at
 * granule + i. For a process with one thread: one load, of bytes that others might be changing. */
static ALWAYS_INLINE uint64_t starts_from(size_t granule)
{
#if __BYTE_ORDER == __LITTLE_ENDIAN
	uint64_t word;
	memcpy(&word, (const char *)table_words(STARTS) + granule / 8, sizeof(word));
	return word >> (granule % 8);
#else
	const uint64_t starts = leaf_starts(leaf_of(granule));
	return starts_after(granule, starts) << 1 | (starts >> (granule % 64) & 1);
#endif
}

/* Where the first segment of a later leaf starts: up the levels of start_summary, and down again.
 * There is one: top, which is the answer too where others change the heap meanwhile and cut the way
 * down off. */
static ALWAYS_INLINE size_t start_beyond_inline(size_t leaf)
{
	size_t index = leaf + 1;
	unsigned level = 0;
	uint64_t word;
	while ((word = word_load(&summary(level)[index / 64]) >> (index % 64)) == 0) {
		if (++level == SUMMARY_LEVELS)
			return top_load();
		index = index / 64 + 1;
	}
	for (index += lowest_bit(word); level > 0; index = index * 64 + lowest_bit(word)) {
		word = word_load(&summary(--level)[index]);
		if (word == 0)
			return top_load();
	}
	return min_size(index * 64 + lowest_bit(leaf_starts(index) | bit_of(63)), top_load());
}

static NOINLINE size_t start_beyond(size_t leaf)
{
	return start_beyond_inline(leaf);
}

/* Where the last segment of an earlier leaf starts. There is one, at 0, which is the answer too
 * where the way down is cut off. */
static NOINLINE size_t start_before(size_t leaf)
{
	size_t index = leaf;
	unsigned level = 0;
	uint64_t word;
	while ((word = word_load(&summary(level)[index / 64]) & (bit_of(index) - 1)) == 0) {
		if (++level == SUMMARY_LEVELS)
			return 0;
		index /= 64;
	}
	for (index = round_down(index, 64) + highest_bit(word); level > 0;
	     index = index * 64 + highest_bit(word)) {
		word = word_load(&summary(--level)[index]);
		if (word == 0)
			return 0;
	}
	return index * 64 + highest_bit(leaf_starts(index) | 1);
}

/* Where the segment after the one at granule starts; top for the last. */
static ALWAYS_INLINE size_t segment_next(size_t granule)
{
	const uint64_t near = starts_after(granule, leaf_starts(leaf_of(granule)));
	return near != 0 ? granule + 1 + lowest_bit(near) : start_beyond(leaf_of(granule));
}

/* Where the segment that holds granule starts. */
static inline size_t segment_of(size_t granule)
{
	const size_t leaf = leaf_of(granule);
	const unsigned bit = granule % 64;
	const uint64_t near = leaf_starts(leaf) << (63 - bit) | leaf_starts(leaf - 1) >> bit >> 1;
	return near != 0 ? granule - 63 + highest_bit(near) : start_before(leaf);
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

static inline struct hole hole_at(size_t granule)
{
	return (struct hole){ granule, segment_size(granule) };
}

/* The first leaf from this one on that has a start; end if there is none before. */
static inline size_t leaf_with_start(size_t leaf, size_t end)
{
	return bits_find(table_bits(START_SUMMARY), leaf, end, true);
}

/* The end of the PROCESS segments, or of the HOLEs, among which granule lies; at most stop. */
static size_t stretch_end(size_t granule, size_t stop)
{
	const uint64_t process = is_live(granule) ? UINT64_MAX : 0;
	const size_t end = leaf_of(stop - 1) + 1;
	uint64_t later = UINT64_MAX << (granule % 64) << 1; /* in the first leaf */
	for (size_t leaf = leaf_of(granule); leaf < end;) {
		const uint64_t others = leaf_starts(leaf) & (leaf_live(leaf) ^ process) & later;
		if (others != 0)
			return min_size(leaf * 64 + lowest_bit(others), stop);
		later = UINT64_MAX;
		if (leaf_starts(++leaf) == 0)
			leaf = leaf_with_start(leaf, end);
	}
	return stop;
}

/* ---- The hole tree: which is the first HOLE of at least n granules? -------------------------- */

static inline uint8_t *leaf_max(void)
{
	return (uint8_t *)heap.tables[LEAF_MAX].memory;
}

static inline int32_t *tree(unsigned level)
{
	return (int32_t *)(void *)heap.tables[TREE + level].memory;
}

static inline uint8_t leaf_entry_of(size_t size)
{
	return (uint8_t)min_size(size, LARGE);
}

static inline int32_t tree_entry_of(size_t size)
{
	return (int32_t)min_size(size, INT32_MAX);
}

/* The largest HOLE that starts in the leaf, by its bits. */
static size_t leaf_largest(size_t leaf)
{
	size_t largest = 0;
	for (uint64_t holes = leaf_holes(leaf); holes != 0; holes &= holes - 1)
		largest = max_size(largest, segment_size(leaf * 64 + lowest_bit(holes)));
	return largest;
}

/* Makes the entry of the leaf exact. Returns what leaf_largest does. */
static size_t leaf_refresh(size_t leaf)
{
	const size_t largest = leaf_largest(leaf);
	leaf_max()[leaf] = leaf_entry_of(largest);
	return largest;
}

/* The largest HOLE that starts in the group, by the entries of its leaves. Makes those of large ones
 * exact. */
static NOINLINE size_t group_largest(size_t group)
{
	const size_t first = group * GROUP_LEAVES;
	const uint8_t *line = leaf_max() + first;
	size_t largest = 0;
	for (uint64_t leaves = bytes_at_least(line, LARGE); leaves != 0; leaves &= leaves - 1)
		largest = max_size(largest, leaf_refresh(first + lowest_bit(leaves)));
	return max_size(largest, bytes_max(line));
}

/* Makes the entry of the group exact, and those above as far as it was the largest there. */
static NOINLINE void group_refresh(size_t group)
{
	size_t index = group;
	const unsigned most = bytes_max(leaf_max() + group * GROUP_LEAVES);
	int32_t after = most < LARGE ? (int32_t)most : tree_entry_of(group_largest(group));
	for (unsigned level = 0; level < TREE_LEVELS; level++) {
		const int32_t before = tree(level)[index];
		tree(level)[index] = after;
		if (before == after || level == TREE_LEVELS - 1 ||
		    before != tree(level + 1)[index >> FANOUT_LOG2])
			return;
		after = sizes_max(tree(level) + round_down(index, FANOUT));
		index >>= FANOUT_LOG2;
	}
}

static NOINLINE void tree_raise(size_t group, int32_t size)
{
	for (unsigned level = 0; level < TREE_LEVELS && tree(level)[group] < size; level++) {
		tree(level)[group] = size;
		group >>= FANOUT_LOG2;
	}
}

/* A HOLE of so many granules has come to be at granule, or has grown to that. */
static inline void hole_enter(size_t granule, size_t size)
{
	uint8_t *entry = &leaf_max()[leaf_of(granule)];
	const uint8_t least = leaf_entry_of(size);
	*entry = *entry < least ? least : *entry;
	if (UNLIKELY(tree(0)[group_of(granule)] < tree_entry_of(size)))
		tree_raise(group_of(granule), tree_entry_of(size));
}

/* Makes the entry of a stale leaf exact, and with the last one of a group that of the group. */
static void stale_settle(size_t leaf)
{
	uint64_t *leaves = &table_bits(STALE)[leaf / GROUP_LEAVES];
	leaf_refresh(leaf);
	*leaves &= ~bit_of(leaf);
	if (*leaves == 0)
		group_refresh(leaf / GROUP_LEAVES);
}

/* The leaf becomes stale. If there are too many, the one that has been so for longest does no more. */
static NOINLINE void stale_add(size_t leaf)
{
	uint32_t *place = &heap.stale[heap.stale_next++ % MOST_STALE];
	table_bits(STALE)[leaf / GROUP_LEAVES] |= bit_of(leaf);
	if (*place != 0)
		stale_settle(*place - 1);
	*place = (uint32_t)leaf + 1;
}

static inline bool is_stale(size_t leaf)
{
	return bit_is_set(table_bits(STALE), leaf);
}

/* A HOLE of so many granules that started in the leaf is smaller now, or gone; NONE where that is not
 * known, or more of it will be taken. While the ring has room the leaf becomes stale, and always where
 * one block after another is taken from the HOLE: it is as large as a group, or large and in the group
 * that was left last. Else the entries are made exact at once, that of the group if the HOLE was the
 * largest there: in a large heap a leaf is seldom taken from again before its place in the ring is
 * needed, and searches would look there in vain meanwhile. */
static NOINLINE void hole_leave_far(size_t leaf, size_t size)
{
	const size_t group = leaf / GROUP_LEAVES;
	const bool is_again = size >= LARGE && group == heap.left_group;
	if (heap.stale_next < MOST_STALE || size >= GROUP_GRANULES || is_again) {
		stale_add(leaf);
		return;
	}
	heap.left_group = group;
	leaf_refresh(leaf);
	if (tree(0)[group] <= tree_entry_of(size))
		group_refresh(group);
}

/* Call when all bits and entries of other leaves say so. */
static inline void hole_leave(size_t leaf, size_t size)
{
	if (UNLIKELY(!is_stale(leaf)))
		hole_leave_far(leaf, size);
}

/* No HOLE that starts in the leaf is larger. */
static inline void leaf_lower(size_t leaf, size_t most)
{
	leaf_max()[leaf] = (uint8_t)min_size(leaf_max()[leaf], most);
}

/* The smallest size of each class. */
static const uint16_t class_min[CLASSES] = {
	1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 16, 20, 32, 64, 128, 256
};

/* How many classes have a smallest size up to this one. */
#define TIMES_4(n) n, n, n, n
#define TIMES_32(n) TIMES_4(TIMES_4(n)), TIMES_4(TIMES_4(n))
static const uint8_t classes_up_to_size[] = {
	0, 1, 2, 3, 4, 5, 6, 7, 8, 8, 9, 9, TIMES_4(10), TIMES_4(11), TIMES_4(12), TIMES_4(12),
	TIMES_4(12), TIMES_32(13), TIMES_32(14), TIMES_32(14), TIMES_32(15), TIMES_32(15), TIMES_32(15),
	TIMES_32(15), 16
};
static_assert(sizeof(classes_up_to_size) == CLASSED_SIZES, "a class for each size below the last");

static inline unsigned classes_up_to(size_t size)
{
	return classes_up_to_size[min_size(size, CLASSED_SIZES - 1)];
}

static inline unsigned class_of(size_t size)
{
	ASSERT(size != 0, "no block has no granules");
	return classes_up_to(size) - 1;
}

/* All ones for the classes from first on. */
static inline const i32x4_unaligned *class_mask(unsigned first)
{
	static const int32_t masks[2 * CLASSES] = {
		[CLASSES] = -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1
	};
	return (const i32x4_unaligned *)(const void *)(masks + CLASSES - first);
}

/* The leaf where to begin to look for a HOLE of this class. */
static inline size_t search_start_of(unsigned class)
{
	return (uint32_t)heap.search_start[class / 4][class % 4];
}

/* No HOLE of size or more granules starts before the leaf. */
static inline void search_start_raise(size_t size, size_t leaf)
{
	const int32_t start = (int32_t)leaf;
	const unsigned first = classes_up_to(size - 1);
	const i32x4_unaligned *mask = class_mask(first);
	UNROLL for (unsigned i = 0; i < CLASSES / 4; i++) {
		if (i + 1 < CLASSES / 4 && first >= CLASSES - 4)
			continue; /* all of these classes are of smaller sizes */
		const i32x4 old = heap.search_start[i];
		const i32x4 raised = (old < start) & mask[i];
		heap.search_start[i] = (old & ~raised) | (start & raised);
	}
}

/* There is a HOLE of so many granules in the leaf. Most often that changes nothing: no search start
 * is less than that of the class before. */
static inline void search_start_lower(size_t size, size_t leaf)
{
	if (search_start_of(class_of(size)) <= leaf)
		return;
	const int32_t start = (int32_t)leaf;
	const i32x4_unaligned *mask = class_mask(classes_up_to(size));
	UNROLL for (unsigned i = 0; i < CLASSES / 4; i++) {
		const i32x4 old = heap.search_start[i];
		const i32x4 lowered = (old > start) & ~mask[i];
		heap.search_start[i] = (old & ~lowered) | (start & lowered);
	}
}

static const struct hole no_hole = { NONE, 0 };

/* The first HOLE of at least size granules that starts in the leaf, at one of these bits. */
static inline struct hole leaf_find(size_t leaf, uint64_t bits, size_t size)
{
	for (uint64_t holes = leaf_holes(leaf) & bits; holes != 0; holes &= holes - 1) {
		const struct hole hole = hole_at(leaf * 64 + lowest_bit(holes));
		if (hole.size >= size)
			return hole;
	}
	return no_hole;
}

/* The first group from this one on with such an entry: up the levels, and down again. Or NONE. */
static size_t group_from(size_t group, int32_t least)
{
	unsigned level = 0;
	unsigned entry = FANOUT;
	size_t index = group;
	for (;; index = index / FANOUT + 1) {
		/* In a large heap the entry above tells most often that this line has none. */
		if (level + 1 == TREE_LEVELS || tree(level + 1)[index / FANOUT] >= least)
			entry = sizes_find(tree(level) + round_down(index, FANOUT), index % FANOUT, least);
		if (entry < FANOUT)
			break;
		if (++level == TREE_LEVELS)
			return NONE;
	}
	for (index = round_down(index, FANOUT) + entry; level > 0; level--) {
		index *= FANOUT;
		index += sizes_find(tree(level - 1) + index, 0, least);
	}
	return index;
}

/* The first leaf from this one on whose entry is at least size, which is not large; or NONE. */
static inline size_t leaf_from(size_t leaf, unsigned size)
{
	ASSERT(size < LARGE, "the entries of leaves do not tell large HOLEs apart");
	size_t group = leaf / GROUP_LEAVES;
	unsigned entry = bytes_find(leaf_max() + group * GROUP_LEAVES, leaf % GROUP_LEAVES, size);
	while (entry == GROUP_LEAVES && (group = group_from(group + 1, (int32_t)size)) != NONE) {
		entry = bytes_find(leaf_max() + group * GROUP_LEAVES, 0, size);
		if (entry == GROUP_LEAVES)
			group_refresh(group);
	}
	return group == NONE ? NONE : group * GROUP_LEAVES + entry;
}

/* The first HOLE of at least size granules in the leaves from this one to the end of its group.
 * Makes entries that turn out to be too large exact. */
static inline struct hole group_find(size_t leaf, size_t size)
{
	const size_t first = round_down(leaf, GROUP_LEAVES);
	uint64_t leaves = bytes_at_least(leaf_max() + first, leaf_entry_of(size));
	for (leaves &= UINT64_MAX << (leaf % GROUP_LEAVES); leaves != 0; leaves &= leaves - 1) {
		const size_t this = first + lowest_bit(leaves);
		const struct hole hole = leaf_find(this, UINT64_MAX, size);
		if (hole.start != NONE)
			return hole;
		if (is_stale(this))
			leaf_refresh(this);
	}
	return no_hole;
}

/* The first HOLE of at least size granules in the leaves from this one on. */
static NOINLINE struct hole hole_find(size_t size, size_t leaf)
{
	const int32_t least = tree_entry_of(size);
	for (size_t group = leaf / GROUP_LEAVES;; group++) {
		if (tree(0)[group] < least && (group = group_from(group + 1, least)) == NONE)
			return no_hole;
		const struct hole hole = group_find(max_size(leaf, group * GROUP_LEAVES), size);
		if (hole.start != NONE)
			return hole;
		group_refresh(group);
	}
}

/* The first HOLE of at least size granules that starts after granule; NONE if there is none. */
static struct hole hole_after(size_t size, size_t granule)
{
	const size_t leaf = leaf_of(granule);
	const struct hole hole = leaf_find(leaf, ~bits_from_to(0, granule), size);
	return hole.start != NONE ? hole : hole_find(size, leaf + 1);
}

/* The first HOLE of at least size granules. */
static inline struct hole hole_first(size_t size)
{
	return UNLIKELY(size > heap.top) ? no_hole : hole_find(size, search_start_of(class_of(size)));
}

/* The first HOLE in which a block of so many granules fits at a multiple of alignment. */
static struct hole hole_first_aligned(size_t size, size_t alignment)
{
	struct hole hole = hole_first(size);
	while (hole.start != NONE && round_up(hole.start, alignment) + size > hole.start + hole.size)
		hole = hole_after(size, hole.start);
	return hole;
}

static size_t leaves_with_starts(void)
{
	return heap.top == 0 ? 0 : bits_count(table_bits(START_SUMMARY), 0, leaf_of(heap.top) + 1);
}

/* Makes all entries exact, counted from the bits. */
static void tree_rebuild(void)
{
	const size_t end = leaf_of(heap.top) + 1;
	memset(leaf_max(), 0, end);
	for (unsigned level = 0; level < TREE_LEVELS; level++)
		memset(tree(level), 0, table_bytes(&heap.tables[TREE + level], heap.top));
	for (size_t leaf = 0; (leaf = leaf_with_start(leaf, end)) < end; leaf++)
		hole_enter(leaf * 64, leaf_largest(leaf));
	memset(heap.search_start, 0, sizeof(heap.search_start));
}

/* ---- Memory checkers: AddressSanitizer and Valgrind are told what the program may use -------- */

static NOINLINE void memory_checker_tell(size_t granule, size_t size, bool is_allowed)
{
	char *address = block_physical(granule);
	const size_t bytes = size << heap.shift;
	if (is_allowed) {
		VALGRIND_MAKE_MEM_UNDEFINED(address, bytes);
		ASAN_UNPOISON_MEMORY_REGION(address, bytes);
	} else {
		VALGRIND_MAKE_MEM_NOACCESS(address, bytes);
		ASAN_POISON_MEMORY_REGION(address, bytes);
	}
}

/* The program may use these granules from now on, and what is in them is not defined. */
static inline void mem_mark_undefined(size_t granule, size_t size)
{
	if (UNLIKELY(heap.is_watched))
		memory_checker_tell(granule, size, true);
}

static inline void mem_mark_noaccess(size_t granule, size_t size)
{
	if (UNLIKELY(heap.is_watched))
		memory_checker_tell(granule, size, false);
}

/* ---- Counters -------------------------------------------------------------------------------- */

/* Granules in PROCESS segments. */
static inline size_t process_granules(void)
{
	return heap.recent_peak - (size_t)heap.room_granules;
}

static size_t peak_granules(void)
{
	return max_size(heap.peak_before, heap.recent_peak);
}

static inline void count_taken(size_t granules)
{
	heap.room_granules -= (ptrdiff_t)granules;
	if (UNLIKELY(heap.room_granules < 0)) {
		atomic_signal_fence(memory_order_seq_cst); /* keeps the subtraction one instruction */
		heap.recent_peak -= (size_t)heap.room_granules; /* the peak grows by what is missing */
		heap.room_granules = 0;
	}
}

static inline void count_freed(size_t granules)
{
	heap.room_granules += (ptrdiff_t)granules;
	heap.look_due -= (ptrdiff_t)granules;
}

/* Threads that have no lock read the root. */
static inline size_t root_load(void)
{
	return __atomic_load_n(&heap.root, __ATOMIC_RELAXED);
}

static inline void root_set(size_t granule)
{
	__atomic_store_n(&heap.root, granule, __ATOMIC_RELAXED);
}

/* Granules in blocks that are free and not coalesced. */
static size_t cached_granules(void)
{
	return heap.is_quick ? heap.top - process_granules() - heap.coalesced_granules : 0;
}

/* ---- Main nodes: the main chain -------------------------------------------------------------- */

static inline size_t page_granules(void)
{
	return (size_t)1 << heap.page_log2;
}

static size_t page_of(size_t granule)
{
	return granule >> heap.page_log2;
}

/* Whether a main node starts at granule. Pages are of whole leaves. */
static inline bool is_border(size_t granule)
{
	if (LIKELY(granule % 64 != 0) || (granule & (page_granules() - 1)) != 0)
		return false;
	return bit_is_set(table_bits(BORDERS), page_of(granule));
}

/* The index of the node that holds granule, which is below top. */
static size_t node_of(size_t granule)
{
	size_t low = 0;
	for (size_t high = heap.node_count; high - low > 1;) {
		const size_t middle = low + (high - low) / 2;
		if (nodes()[middle].first <= granule)
			low = middle;
		else
			high = middle;
	}
	return low;
}

/* Adds a node to the main chain, whatever segments it has. */
static void node_add(size_t first, size_t granules)
{
	const size_t index = heap.node_count++;
	nodes()[index] = (struct main_node){ .first = first, .granules = granules };
	if (index != 0)
		node_join(index);
	bits_set(table_bits(BORDERS), page_of(first), page_of(first) + 1, true);
}

#ifdef MEMS_ASSERTIONS
/* What a change has to leave behind in a leaf that it touched. mems_check looks at all the heap. */
static void leaf_assert(size_t leaf)
{
	const bool is_last = leaf == leaf_of(heap.top);
	const struct leaf_bits bits = leaf_read(leaf);
	const uint64_t inside = is_last ? bits_from_to(0, heap.top) : UINT64_MAX;
	const uint64_t head = bits.starts == 0 ? UINT64_MAX : (bits.starts & -bits.starts) - 1;
	const uint64_t live = segments_fill(bits.starts, bits.starts & bits.live) & inside;
	const uint64_t holes = leaf_holes(leaf);
	const uint64_t after_holes = (~bits.starts + (holes << 1)) & bits.starts;
	const size_t largest = leaf_largest(leaf);
	const unsigned entry = leaf_max()[leaf];
	if (heap.is_shared)
		return; /* other threads change the live bits */
	ASSERT((bits.live & ~head) == live, "a segment is live as a whole, or not at all");
	ASSERT((bits.live & head) == 0 || (bits.live & head) == head, "and so is one from before");
	ASSERT((holes & ~holes_of(bits)) == 0, "where a coalesced HOLE starts, a HOLE does");
	ASSERT((after_holes & holes) == 0, "two coalesced HOLEs are never neighbours");
	ASSERT(bit_is_set(table_bits(START_SUMMARY), leaf) == (bits.starts != 0),
	       "start_summary tells which leaves have a start");
	ASSERT(entry == leaf_entry_of(largest) || (entry > largest && is_stale(leaf)),
	       "the entry of a leaf is its largest HOLE, or a stale one that is too large");
	ASSERT(tree(0)[leaf / GROUP_LEAVES] >= tree_entry_of(largest), "no group has too small an entry");
	ASSERT(largest == 0 || search_start_of(class_of(largest)) <= leaf,
	       "a search for the largest HOLE of a leaf starts at that leaf or before");
}
#else
#define leaf_assert(leaf) ((void)0)
#endif

/* Appends a node of so many pages to the main chain: one HOLE, from top on. */
static bool node_append(size_t pages)
{
	const size_t first = heap.top;
	if (pages > page_of(heap.limit - first))
		return false;
	const size_t granules = pages << heap.page_log2;
	if (!tables_commit(first + granules) || !os_map(block_physical(first), granules << heap.shift))
		return false;
	mem_mark_noaccess(first, granules);
	node_add(first, granules);
	start_mark(first + granules, true);
	live_change(first + granules, 1, true); /* the segment at top is no HOLE */
	start_mark(first, true);
	live_change(first, first != 0, false); /* it was top */
	coalesced_mark(first, true, heap.is_quick);
	atomic_store_explicit(&heap.top, first + granules, memory_order_release);
	heap.coalesced_granules += heap.is_quick ? granules : 0;
	hole_enter(first, granules);
	search_start_lower(granules, leaf_of(first));
	fast_top_update();
	leaf_assert(leaf_of(first));
	leaf_assert(leaf_of(heap.top));
	return true;
}

/* Asks the OS for a node with room for so many granules, and for more the larger the heap is; for
 * half as much again for a block that grows, so that it finds room behind it the next time. */
static bool node_grow(size_t granules, enum purpose purpose)
{
	const size_t needed = page_of(granules + page_granules() - 1);
	const size_t least = heap.is_quick ? QUICK_NODE_PAGES : 0;
	const size_t more = purpose == FOR_GROWTH ? needed / 2 : 0;
	const size_t share = page_of(heap.top) / GROWTH_DIVISOR;
	const size_t wanted = max_size(max_size(needed + more, share), least);
	return (wanted > needed && node_append(wanted)) || node_append(needed);
}

/* ---- Pages: which may be in memory ----------------------------------------------------------- */

static inline size_t os_page_granules(void)
{
	return (size_t)1 << heap.os_page_log2;
}

static inline size_t os_page_of(size_t granule)
{
	return granule >> heap.os_page_log2;
}

/* The first OS page that begins at granule or later. */
static inline size_t os_page_from(size_t granule)
{
	return os_page_of(granule + os_page_granules() - 1);
}

static char *os_page_address(size_t page)
{
	return block_physical(page << heap.os_page_log2);
}

static size_t os_pages_bytes(size_t pages)
{
	return pages << heap.os_page_log2 << heap.shift;
}

/* Whether the OS page that holds granule may be in memory. */
static inline bool is_touched(size_t granule)
{
	return bit_is_set(table_bits(TOUCHED), os_page_of(granule));
}

/* The program may write to the granules from start to stop from now on. Pages that it had before,
 * and that were given back, are kept from now on. */
static NOINLINE void pages_touch(size_t start, size_t stop)
{
	uint64_t *touched = table_bits(TOUCHED);
	const size_t page = os_page_of(start);
	const size_t end = os_page_of(stop - 1) + 1;
	if (bits_find(touched, page, end, false) == end)
		return;
	const size_t again = bits_set(table_bits(GIVEN_BACK), page, end, false);
	heap.touched_pages += bits_set(touched, page, end, true);
	heap.kept_pages = min_size(heap.kept_pages + again, os_page_from(peak_granules()));
}

/* The same, where most often they are few, and touched. */
static ALWAYS_INLINE void few_pages_touch(size_t start, size_t stop)
{
	const bool is_short = stop - start <= os_page_granules();
	if (!is_short || !is_touched(start) || !is_touched(stop - 1))
		pages_touch(start, stop);
}

/* A coalesced HOLE was taken up to stop. A page that is not touched lies wholly in one HOLE, unless
 * cached blocks lie in it: so most often there is nothing to note. */
static ALWAYS_INLINE void pages_touch_in_hole(struct hole hole, size_t stop, bool is_quick)
{
	const bool has_purged = is_quick && UNLIKELY(heap.purged_end != 0);
	if (has_purged || (hole.size >= os_page_granules() &&
	                   os_page_of(stop - 1) >= os_page_from(hole.start)))
		few_pages_touch(hole.start, stop);
}

/* Whether no granule of the page is live. */
static bool is_page_free(size_t page)
{
	const size_t first = page << heap.os_page_log2;
	for (size_t leaf = leaf_of(first); leaf < leaf_of(first + os_page_granules()); leaf++)
		if (leaf_live(leaf) != 0)
			return false;
	return !is_live_middle(first); /* of a PROCESS that has neither end here */
}

/* Sets the bits of the pages, of so many granules, in which a PROCESS lies. Returns how many were clear.
 * What else lies in such a page is passed over. */
static size_t live_pages_set(uint64_t *map, unsigned granules_log2)
{
	size_t count = 0;
	for (size_t from = 0, to; from < heap.top; from = to) {
		to = stretch_end(from, heap.top);
		if (!is_live(from))
			continue;
		to = round_up(to, (size_t)1 << granules_log2);
		count += bits_set(map, from >> granules_log2, to >> granules_log2, true);
	}
	return count;
}

/* Notes pages that may be in memory: those in which no PROCESS lies are idle. */
static void pages_hold(size_t first, size_t end)
{
	for (size_t page = first; page < end; page++) {
		const size_t is_new = bits_set(table_bits(TOUCHED), page, page + 1, true);
		heap.touched_pages += is_new;
		if (is_new != 0 && !heap.is_quick)
			heap.idle_pages += bits_set(table_bits(IDLE), page, page + 1, true);
	}
}

/* The first whole page of the segment in which this page begins; this page where none is before. */
static size_t segment_first_page(size_t page)
{
	return min_size(os_page_from(segment_of(page << heap.os_page_log2)), page);
}

/* Whether the page, which is free, lies in one coalesced HOLE. */
static bool is_page_coalesced(size_t page)
{
	const size_t hole = segment_of(page << heap.os_page_log2);
	return is_coalesced(hole) && os_page_of(segment_next(hole)) > page;
}

/* The pages are not in memory any more. */
static void pages_forget(size_t first, size_t end)
{
	heap.touched_pages -= bits_set(table_bits(TOUCHED), first, end, false);
	heap.idle_pages -= bits_set(table_bits(IDLE), first, end, false);
	bits_set(table_bits(GIVEN_BACK), first, end, true);
}

/* Whether these pages read as zero once they are given back. Those of an image would have its contents
 * again: so fresh ones take their place, unless the runs are so short that there could be more
 * mappings than a process may have. */
static bool are_pages_zeroed(size_t first, size_t end)
{
	return first >= heap.file_pages || end - first >= heap.file_pages / MOST_REPLACED;
}

/* Lets the OS take pages back. */
static bool pages_release(size_t first, size_t end)
{
	char *address = os_page_address(first);
	const size_t bytes = os_pages_bytes(end - first);
	const bool is_replaced = first < heap.file_pages && are_pages_zeroed(first, end);
	return is_replaced ? os_map(address, bytes) : os_advise(address, bytes, MADV_DONTNEED);
}

/* Gives back pages that are free. False where the OS refuses. As long as cached blocks may lie in one,
 * quick fit looks at the pages of each block that it takes. */
static bool pages_purge(size_t first, size_t end)
{
	if (!pages_release(first, end))
		return false;
	pages_forget(first, end);
	while (heap.is_quick && end > first && is_page_coalesced(end - 1))
		end = segment_first_page(end - 1);
	if (heap.is_quick && end > first)
		heap.purged_end = max_size(heap.purged_end, end);
	fast_top_update();
	return true;
}

/* First fit: the pages lie wholly in a HOLE now, and did not before. They count as freed: of many pages
 * a small block may have been the last. */
static NOINLINE void pages_coalesce(size_t first, size_t end)
{
	const size_t idle = bits_set(table_bits(IDLE), first, end, true); /* a PROCESS was in it */
	heap.idle_pages += idle;
	heap.look_due -= (ptrdiff_t)(idle << heap.os_page_log2);
}

/* First fit: a PROCESS from start to stop is part of a HOLE from `from` to `to` now. */
static ALWAYS_INLINE void pages_coalesce_in(size_t start, size_t stop, size_t from, size_t to)
{
	if (LIKELY(to - from < os_page_granules()))
		return;
	const size_t first = max_size(os_page_from(from), os_page_of(start));
	const size_t end = min_size(os_page_of(to), os_page_from(stop));
	if (first < end)
		pages_coalesce(first, end);
}

/* ---- Placement: split and coalesce ----------------------------------------------------------- */

/* Whether a HOLE that starts in this leaf begins with a page that may not be in memory: that page lies
 * in one HOLE, and the leaf in one page. */
static inline bool is_first_touch(size_t leaf, uint64_t holes)
{
	return (holes & 1) != 0 && !is_touched(leaf * 64);
}

/* Where in a leaf a small block has room, if a HOLE starts there, and ends before the leaf does. */
static inline uint64_t leaf_room(struct leaf_bits bits, size_t size)
{
	return room_for(bits.live, size) & UINT64_MAX >> size;
}

/* [ ------- hole ------- ]  =>  [ PROCESS ][ hole? ]      in one leaf
 * Takes a small block from the first of these HOLEs, in which it fits. */
static ALWAYS_INLINE size_t leaf_split(size_t leaf, struct leaf_bits bits, uint64_t fits,
                                       size_t size)
{
	const uint64_t this = fits & -fits;
	const uint64_t end = this << size;
	leaf_write(leaf, (struct leaf_bits){ bits.starts | end, bits.live | (end - this) });
	count_taken(size);
	mem_mark_undefined(leaf * 64 + lowest_bit(fits), size);
	return leaf * 64 + lowest_bit(fits);
}

/* [ ------- hole ------- ]  =>  [ taken ][ hole? ]
 * Up to rest, where there is a start already; what is to be live is. */
static ALWAYS_INLINE void hole_cut(struct hole hole, size_t rest, enum purpose purpose, bool is_quick)
{
	const size_t leaf = leaf_of(hole.start);
	const size_t taken = rest - hole.start;
	ASSERT(taken <= hole.size, "no more is taken than there is");
	coalesced_mark(hole.start, false, is_quick);
	if (hole.size > taken)
		coalesced_mark(rest, true, is_quick);
	if (leaf_of(rest) != leaf) {
		leaf_lower(leaf, policy_holes(leaf, is_quick) == 0 ? 0 : 63); /* all others end in it */
		if (hole.size > taken)
			hole_enter(rest, hole.size - taken);
	}
	hole_leave(leaf, hole.size);
	if (purpose != FOR_CALLOC)
		pages_touch_in_hole(hole, rest, is_quick);
	if (is_quick)
		heap.coalesced_granules -= taken;
	mem_mark_undefined(hole.start, taken);
}

/* Takes so many granules, of which the first become live: only when the starts are where they belong,
 * for a thread that finds a live start may free the block. */
static ALWAYS_INLINE void hole_split(struct hole hole, size_t taken, size_t live,
                                     enum purpose purpose, bool is_quick)
{
	ASSERT(live <= taken, "no more is live than is taken");
	start_mark(hole.start + taken, true);
	policy_live_change(hole.start, live, true, is_quick);
	hole_cut(hole, hole.start + taken, purpose, is_quick);
}

/* First fit: takes a block from the first HOLE that is large enough. */
static NOINLINE size_t block_take_from(struct hole hole, size_t size, enum purpose purpose)
{
	hole_split(hole, size, size, purpose, false);
	search_start_raise(size, leaf_of(hole.start + size));
	count_taken(size);
	leaf_assert(leaf_of(hole.start));
	leaf_assert(leaf_of(hole.start + size));
	return hole.start;
}

/* [ hole? ][ this ][ hole? ]  =>  [ ------- hole ------- ]
 * this: a segment up to next that is no PROCESS any more. */
static ALWAYS_INLINE void coalesce_inline(size_t granule, size_t next, bool is_quick)
{
	const bool is_first = is_border(granule) || is_live_near(granule - 1);
	const size_t previous = is_first ? granule : segment_previous(granule);
	const bool joins_left = !is_first && (!is_quick || is_coalesced(previous));
	const bool joins_right = !is_border(next) &&
	                         (policy_holes(leaf_of(next), is_quick) & bit_of(next)) != 0;
	const size_t start = joins_left ? previous : granule;
	const size_t end = joins_right ? segment_next(next) : next;
	if (!is_quick)
		pages_coalesce_in(granule, next, start, end);
	if (joins_right) {
		coalesced_mark(next, false, is_quick);
		start_mark(next, false);
	}
	coalesced_mark(granule, !joins_left, is_quick);
	if (joins_left)
		start_mark(granule, false);
	if (is_quick)
		heap.coalesced_granules += next - granule;
	mem_mark_noaccess(granule, next - granule);
	hole_enter(start, end - start);
	search_start_lower(end - start, leaf_of(start));
	if (joins_right && leaf_of(next) != leaf_of(start))
		hole_leave(leaf_of(next), end - next); /* in one leaf it is in the larger HOLE */
	leaf_assert(leaf_of(start));
	leaf_assert(leaf_of(granule));
	leaf_assert(leaf_of(end));
}

static NOINLINE void coalesce(size_t granule, size_t next)
{
	ASSERT(granule < next && is_start(granule) && is_hole(granule), "only a HOLE is coalesced");
	coalesce_inline(granule, next, heap.is_quick);
}

/* Whether the segments on both sides start in the same leaf, and so lie in the same main node. */
static ALWAYS_INLINE bool is_inner(size_t granule, struct leaf_bits bits)
{
	const uint64_t this = bit_of(granule);
	return (bits.starts & (this - 1)) != 0 && (bits.starts & -(this << 1)) != 0;
}

/* [ hole? ][ this ][ hole? ]  =>  [ ------- hole ------- ]      this: an inner PROCESS of a leaf
 * False, with nothing changed, where the HOLE would end in another leaf and may not. Which neighbours are
 * HOLEs the processor cannot predict, so there is no branch on that. */
static ALWAYS_INLINE bool leaf_coalesce(size_t granule, struct leaf_bits bits, bool may_leave)
{
	const size_t leaf = leaf_of(granule);
	const uint64_t this = bit_of(granule);
	const uint64_t before = bits.starts & (this - 1);
	const uint64_t after = bits.starts & -(this << 1);
	const uint64_t next = after & -after;
	const uint64_t joins_right = next & ~bits.live;
	const uint64_t joins_left = (~bits.live >> (granule % 64 - 1)) & 1; /* of what ends there */
	const uint64_t ends = after ^ joins_right;
	if (UNLIKELY(ends == 0) && !may_leave)
		return false;
	const size_t end = LIKELY(ends != 0) ? leaf * 64 + lowest_bit(ends) : start_beyond(leaf);
	const unsigned start = highest_bit((before & -joins_left) | (this & (joins_left - 1)));
	const size_t whole = end - leaf * 64 - start;
	const size_t size = may_leave ? whole : (uint8_t)whole; /* in a leaf: less is to be compared */
	const size_t freed = lowest_bit(next) - granule % 64;
	leaf_write(leaf, (struct leaf_bits){
		bits.starts ^ joins_right ^ joins_left << (granule % 64), bits.live & ~(next - this) });
	count_freed(freed);
	mem_mark_noaccess(granule, freed);
	hole_enter(leaf * 64 + start, size);
	search_start_lower(size, leaf);
	if (may_leave)
		pages_coalesce_in(granule, granule + freed, leaf * 64 + start, end);
	leaf_assert(leaf);
	return true;
}

/* First fit: makes a PROCESS a HOLE. Returns where it ended. */
static NOINLINE size_t block_coalesce(size_t granule)
{
	const size_t next = segment_next(granule);
	count_freed(next - granule);
	policy_live_change(granule, next - granule, false, false);
	coalesce_inline(granule, next, false);
	return next;
}

/* ---- Quick fit: bins of cached blocks -------------------------------------------------------- */

/*
 * A bin is a stack of granules in chunks of 64 slots. Slot 0 of a chunk is a link: LINK plus the
 * index of the full chunk below, 0 for none. tops has the slot of the block on top, counted so that
 * the last slot of a chunk is a multiple of 64: so a full bin shows by its number, an empty one by
 * the link that it finds there, and 0, the last slot of chunk 0, which no bin uses, is both.
 */

static inline uint32_t *chunk_link(uint32_t chunk)
{
	return slots() + (size_t)chunk * CHUNK_SLOTS - (CHUNK_SLOTS - 1);
}

static uint32_t chunk_of(uint32_t slot)
{
	return (slot + CHUNK_SLOTS - 1) / CHUNK_SLOTS;
}

/* Puts an empty chunk on top of a bin. False where there is none. */
static NOINLINE bool bin_extend(size_t bin)
{
	uint32_t chunk = heap.spare_chunk;
	if (chunk != 0)
		heap.spare_chunk = *chunk_link(chunk) - LINK;
	else if (heap.chunk_count < MAX_CHUNKS)
		chunk = heap.chunk_count++;
	else
		return false;
	*chunk_link(chunk) = LINK | chunk_of(bins()->tops[bin]);
	bins()->tops[bin] = chunk * CHUNK_SLOTS - (CHUNK_SLOTS - 1);
	return true;
}

/* Gives the empty top chunk back, if there is one below. */
static NOINLINE bool bin_shorten(size_t bin)
{
	const uint32_t top = bins()->tops[bin];
	const uint32_t below = slots()[top] - LINK;
	if (below == 0)
		return false;
	slots()[top] = LINK | heap.spare_chunk;
	heap.spare_chunk = chunk_of(top);
	bins()->tops[bin] = below * CHUNK_SLOTS;
	return true;
}

/* Caches granule, on top. False where there is no chunk for it. */
static ALWAYS_INLINE bool bin_push(size_t bin, size_t granule)
{
	if (UNLIKELY(bins()->tops[bin] % CHUNK_SLOTS == 0) && !bin_extend(bin))
		return false;
	slots()[++bins()->tops[bin]] = (uint32_t)granule;
	return true;
}

/* The granule on top; NONE for an empty bin. */
static ALWAYS_INLINE size_t bin_pop(size_t bin)
{
	if (UNLIKELY(slots()[bins()->tops[bin]] >= LINK) && !bin_shorten(bin))
		return NONE;
	return slots()[bins()->tops[bin]--];
}

/* The bin for blocks of so many granules. Up to DIRECT_BINS each size has its own, beyond that they
 * share, one size at a time. NONE for sizes that are not cached. */
static ALWAYS_INLINE size_t bin_of(size_t size)
{
	if (LIKELY(size <= DIRECT_BINS))
		return size;
	if (size > (size_t)CACHED_BYTES >> heap.shift)
		return NONE;
	const uint32_t scattered = (uint32_t)size * HASH_FACTOR;
	return 1 + DIRECT_BINS + scattered / (UINT32_MAX / SHARED_BINS + 1);
}

/* The size of the blocks in a bin; 0 for a shared one that was never used. */
static inline size_t bin_size(size_t bin)
{
	return bin <= DIRECT_BINS ? bin : bins()->shared_sizes[bin - DIRECT_BINS - 1];
}

/* Coalesces all that the bin has cached, block by block. */
static NOINLINE void bin_flush(size_t bin)
{
	const size_t size = bin_size(bin);
	for (size_t granule; (granule = bin_pop(bin)) != NONE;)
		coalesce(granule, granule + size);
}

/* A segment that is no PROCESS any more is cached; false where it cannot be. */
static ALWAYS_INLINE bool cache_put(size_t granule, size_t size)
{
	const size_t bin = bin_of(size);
	if (UNLIKELY(bin == NONE))
		return false;
	if (bin > DIRECT_BINS && bin_size(bin) != size) {
		bin_flush(bin);
		bins()->shared_sizes[bin - DIRECT_BINS - 1] = (uint32_t)size;
	}
	if (!bin_push(bin, granule))
		return false;
	mem_mark_noaccess(granule, size);
	return true;
}

/* The block of so many granules that was cached last, a PROCESS again; NONE if there is none. */
static ALWAYS_INLINE size_t cache_get(size_t size, enum purpose purpose)
{
	const size_t bin = bin_of(size);
	if (UNLIKELY(bin == NONE))
		return NONE;
	if (bin > DIRECT_BINS && bin_size(bin) != size)
		return NONE;
	const size_t granule = bin_pop(bin);
	if (UNLIKELY(granule == NONE))
		return NONE;
	policy_live_change(granule, size, true, true);
	count_taken(size);
	if (UNLIKELY(heap.purged_end != 0) && purpose != FOR_CALLOC)
		few_pages_touch(granule, granule + size);
	mem_mark_undefined(granule, size);
	leaf_assert(leaf_of(granule));
	return granule;
}

/* The same for at most DIRECT_BINS granules, where there is no more to do than to change a few
 * words, and the process has one thread; NONE, or false, where there is. most: as in live_flip. */
static ALWAYS_INLINE size_t fast_bin_pop(size_t size, size_t most)
{
	const uint32_t top = bins()->tops[size];
	const size_t granule = slots()[top];
	if (UNLIKELY(granule >= LINK))
		return NONE;
	bins()->tops[size] = top - 1;
	live_flip(granule, size, most, true);
	count_taken(size);
	leaf_assert(leaf_of(granule));
	return granule;
}

static ALWAYS_INLINE bool fast_bin_push(size_t granule, size_t size, size_t most)
{
	uint32_t *top = &bins()->tops[size];
	if (UNLIKELY(*top % CHUNK_SLOTS == 0))
		return false;
	slots()[++*top] = (uint32_t)granule;
	live_flip(granule, size, most, true);
	count_freed(size);
	leaf_assert(leaf_of(granule));
	return true;
}

/* The HOLEs of a leaf that follow a HOLE of the same node. has_border: whether a node starts with
 * the leaf. follows_hole: whether what ends at its first start is a HOLE; then, at its end. */
static uint64_t holes_after_holes(struct leaf_bits bits, bool has_border, bool *follows_hole)
{
	const uint64_t holes = holes_of(bits);
	const uint64_t after_holes = (~bits.starts + (holes << 1) + *follows_hole) & bits.starts;
	*follows_hole = holes >> highest_bit(bits.starts) != 0;
	return after_holes & holes & ~(uint64_t)has_border;
}

/* [ cached ][ HOLE ][ cached ]  =>  [ --------- HOLE --------- ]
 * in one leaf. follows_hole: as above. */
static void leaf_coalesce_all(size_t leaf, bool *follows_hole)
{
	const struct leaf_bits bits = leaf_read(leaf);
	const uint64_t holes = holes_of(bits);
	const uint64_t gone = holes_after_holes(bits, is_border(leaf * 64), follows_hole);
	word_store(starts_at(leaf), bits.starts & ~gone);
	word_store(table_words(COALESCED) + leaf, holes & ~gone);
	if (bits.starts == gone)
		summary_update(leaf, false);
}

/* Coalesces all that is cached, in address order. */
static void bins_sweep(void)
{
	bool follows_hole = false;
	memset(bins()->tops, 0, sizeof(bins()->tops));
	heap.spare_chunk = 0;
	heap.chunk_count = 1;
	heap.coalesced_granules = heap.top - process_granules();
	const size_t end = leaf_of(heap.top) + 1;
	for (size_t leaf = 0; (leaf = leaf_with_start(leaf, end)) < end; leaf++)
		leaf_coalesce_all(leaf, &follows_hole);
	tree_rebuild();
}

static size_t cached_blocks(void)
{
	size_t blocks = 0;
	for (size_t bin = 0; bin < BINS; bin++) {
		uint32_t slot = bins()->tops[bin];
		for (; slot != 0; slot = (*chunk_link(chunk_of(slot)) - LINK) * CHUNK_SLOTS)
			blocks += (slot + CHUNK_SLOTS - 1) % CHUNK_SLOTS;
	}
	return blocks;
}

/* Coalesces all that is cached, in the way that is cheaper. */
static NOINLINE void bins_flush(void)
{
	caches_close();
	heap.purged_end = 0;
	fast_top_update();
	if (cached_granules() == 0)
		return;
	const size_t blocks = cached_blocks();
	if (blocks >= (group_of(heap.top) + 1) / SWEEP_GROUPS &&
	    blocks >= leaves_with_starts() / SWEEP_LEAVES)
		bins_sweep();
	else
		for (size_t bin = 0; bin < BINS; bin++)
			bin_flush(bin);
}

/* ---- Caches of threads: small blocks of quick fit without the lock --------------------------- */

/*
 * In a process with several threads each has a stack of blocks for each small size. It takes from
 * the top and frees to it without the lock; who holds the lock fills an empty stack from the bin of
 * its size, and spills a full one into that. These blocks are HOLEs for all who look, but in no bin,
 * and the counters have them as taken. Whoever looks at the whole heap, flushes, purges, forks or asks
 * the OS closes the caches: then no thread is in one, all are empty, and the heap is as without them.
 * Who takes or frees a small block under the lock opens them again. A process with one thread opens
 * none, and so stays deterministic. tests/threads/test_protocol.c runs a model of this through all
 * interleavings, tests/threads/orders.cpp another one under the memory model of C11.
 *   1. A thread uses its cache between own_enter and own_leave only, and waits for nobody there.
 *      own_enter sets busy, then sees whether the epoch is that of the thread; caches_close sets the
 *      epoch to 0, then waits until no cache is busy: one of them sees the other. The barrier for
 *      that is in caches_close alone, for all threads (os_fence; without it there are no caches). A
 *      process may forbid it to itself later: then stores of other threads get time to arrive, once,
 *      and the caches stay closed.
 *      Releasing and acquiring busy, and the epoch, hands over what is in a cache.
 *   2. While caches are open (is_shared), live bits change by atomic read-modify-write, under
 *      the lock too: others change other bits of the word. Who holds the lock alone changes the rest.
 *   3. To free or resize a block a thread *claims* it: it clears the live bit of its start and finds
 *      that it was set. Of several threads one does; others report a misuse and free nothing. Claiming
 *      acquires what was released with that bit, the last one to be set: a live block has its starts.
 *      Nobody changes a block that another thread has claimed, so its size can be read.
 *   4. A claim may come so late that the bit belongs to the middle of another block by then. That is
 *      no start, so it is set again: bits in the middle are released as well, lest the claim find a
 *      start that is there no more. Who clears the bits of that block waits for it (live_clear).
 *   5. The caches are a table, so they go with the heap; a thread knows by the generation of the heap
 *      that its own is gone. It asks for one once: at its end its cache is emptied, and destructors
 *      that still run do without. In a child of fork, caches of threads that are not there have no
 *      owner.
 */
static _Thread_local struct {
	struct thread_cache *cache; /* of the heap of the generation epoch */
	unsigned epoch;             /* odd: it has none */
	unsigned tried;             /* the generation of the heap in which it asked for one */
	uint32_t freed;             /* granules, to the cache, that do not count yet */
} own __attribute__((tls_model("initial-exec"))) = { .epoch = 1 };

static struct thread_cache *thread_caches(void)
{
	return (struct thread_cache *)(void *)heap.tables[THREAD_CACHES].memory;
}

/* Claims a block for who holds the lock, until claim_end. NONE where there is none to be had. */
static size_t block_claim(size_t granule)
{
	if (granule == NONE || !heap.is_shared)
		return granule;
	const uint64_t others = ~bit_of(granule);
	if ((atomic_fetch_and_explicit(live_at(leaf_of(granule)), others, memory_order_acq_rel) &
	     ~others) == 0)
		return NONE;
	heap.claimed = granule;
	return granule;
}

static void claim_end(bool is_kept)
{
	if (heap.claimed != NONE && is_kept)
		atomic_fetch_or_explicit(live_at(leaf_of(heap.claimed)), bit_of(heap.claimed),
		                         memory_order_release);
	heap.claimed = NONE;
}

/* Lets threads use their caches, unless something speaks against it. The lock is held. */
static bool caches_open(void)
{
	if (atomic_load_explicit(&heap.epoch, memory_order_relaxed) != 0)
		return true;
	if (heap.quick_top == 0 || heap.sweep != 0 || library.has_no_fence)
		return false;
	heap.is_shared = true;
	atomic_store_explicit(&heap.epoch, library.generation, memory_order_release);
	return true;
}

/* Lets other threads run, which may have a lower priority than this one. */
static void threads_await(long microseconds)
{
	const struct timespec pause = { .tv_nsec = 1000 * microseconds };
	callout_begin(&library.waits); /* no cancellation */
	nanosleep(&pause, NULL);
	callout_end(&library.waits);
}

/* Waits until its thread has left the cache. */
static void cache_await(struct thread_cache *cache)
{
	for (unsigned looks = 0; atomic_load_explicit(&cache->busy, memory_order_acquire); looks++)
		if (looks >= LOCK_PAUSES)
			threads_await(50);
}

/* Moves so many blocks of a stack, the lowest, to their bin. No other thread is in the cache. */
static void stack_spill(struct own_stack *stack, size_t size, unsigned blocks)
{
	for (unsigned i = 0; i < blocks; i++) {
		const size_t granule = stack->blocks[i];
		count_freed(size);
		if (!bin_push(size, granule))
			coalesce(granule, granule + size);
	}
	stack->count -= blocks;
	memmove(stack->blocks, stack->blocks + blocks, stack->count * sizeof(*stack->blocks));
}

static void cache_empty(struct thread_cache *cache)
{
	for (size_t size = 1; size <= OWN_SIZES; size++)
		if (cache->stacks[size - 1].count != 0)
			stack_spill(&cache->stacks[size - 1], size, cache->stacks[size - 1].count);
}

/* From here on no thread is in its cache, and all are empty. The lock is held. */
static NOINLINE void caches_close(void)
{
	const int error = errno;
	if (atomic_load_explicit(&heap.epoch, memory_order_relaxed) == 0)
		return;
	atomic_store_explicit(&heap.epoch, 0, memory_order_relaxed);
	if (!os_fence(false)) {
		library.has_no_fence = true;
		threads_await(10000);
	}
	for (unsigned i = 0; i < heap.cache_count; i++)
		cache_await(&thread_caches()[i]);
	heap.is_shared = false;
	claim_end(true);
	for (unsigned i = 0; i < heap.cache_count; i++)
		cache_empty(&thread_caches()[i]);
	errno = error;
}

/* What this thread has freed to its cache counts from now on. The lock is held. */
static void own_count(void)
{
	heap.look_due -= (ptrdiff_t)own.freed;
	own.freed = 0;
}

static void purge_look(size_t granule, size_t next);

/* The thread ends. What it has freed may be for no other call to look at: all threads may be short. */
static void cache_end(void *cache)
{
	lock_take();
	if (heap.is_started && own.epoch == library.generation) {
		cache_empty(cache);
		((struct thread_cache *)cache)->is_owned = false;
		own_count();
		if (heap.look_due < 0)
			purge_look(0, 0);
	}
	lock_give();
	own.epoch = 1;
}

/* A cache for this thread, NULL where there is none. The lock is held. */
static struct thread_cache *cache_find(void)
{
	if (!heap.is_quick || heap.is_watched)
		return NULL;
	heap.has_key = heap.has_key ||
	               (os_fence(true) && pthread_key_create(&heap.key, cache_end) == 0);
	for (unsigned i = 0; heap.has_key && i < MOST_CACHES; i++) {
		if (thread_caches()[i].is_owned)
			continue;
		thread_caches()[i].is_owned = true;
		heap.cache_count += i == heap.cache_count;
		return &thread_caches()[i];
	}
	return NULL;
}

/* Gives this thread a cache, once. The C library may allocate to note it, which is done without the lock. */
static NOINLINE void cache_begin(void)
{
	if (is_calling_out())
		return;
	lock_take();
	struct thread_cache *cache = heap.top == 0 ? NULL : cache_find();
	own.tried = heap.top == 0 ? 0 : library.generation;
	lock_give();
	if (cache == NULL || pthread_setspecific(heap.key, cache) != 0)
		return;
	own.cache = cache;
	own.epoch = library.generation;
}

/* In a child of fork there are no threads but this one: another one may have set busy to see that the
 * caches are closed, and nobody would clear it. */
static void caches_leave(void)
{
	for (unsigned i = 0; i < heap.cache_count; i++) {
		thread_caches()[i].is_owned = own.epoch == library.generation &&
		                              own.cache == &thread_caches()[i];
		atomic_store_explicit(&thread_caches()[i].busy, 0, memory_order_relaxed);
	}
	library.has_no_fence |= heap.has_key && !os_fence(true);
}

/* Whether this thread may use its cache, until own_leave. */
static ALWAYS_INLINE bool own_enter(void)
{
	if (UNLIKELY(own.epoch != atomic_load_explicit(&heap.epoch, memory_order_relaxed))) {
		if (own.tried != library.generation)
			cache_begin();
		return false;
	}
	atomic_store_explicit(&own.cache->busy, 1, memory_order_relaxed);
	atomic_signal_fence(memory_order_seq_cst);
	if (LIKELY(own.epoch == atomic_load_explicit(&heap.epoch, memory_order_acquire)))
		return true;
	atomic_store_explicit(&own.cache->busy, 0, memory_order_release);
	return false;
}

static ALWAYS_INLINE void own_leave(void)
{
	atomic_store_explicit(&own.cache->busy, 0, memory_order_release);
}

/* A block of index + 1 granules from the cache; NONE where it has none. */
static ALWAYS_INLINE size_t own_take(size_t index)
{
	size_t granule = NONE;
	if (index >= OWN_SIZES || !own_enter())
		return NONE;
	struct own_stack *stack = &own.cache->stacks[index];
	if (LIKELY(stack->count != 0)) {
		granule = stack->blocks[--stack->count];
		const struct live_bits bits = live_bits_of(granule, index + 1);
		const size_t leaf = leaf_of(granule);
		if (bits.high != 0)
			atomic_fetch_or_explicit(live_at(leaf + 1), bits.high, memory_order_release);
		atomic_fetch_or_explicit(live_at(leaf), bits.low, memory_order_release);
	}
	own_leave();
	return granule;
}

/* Whether a block that ends here may grow in place, as far as one can tell without the lock. */
static bool own_may_grow(size_t end)
{
	if (!own_enter())
		return true;
	const bool may_grow = is_coalesced(end);
	own_leave();
	return may_grow;
}

/* Frees the block at granule to the cache, in which this thread is. False where that is to be done under
 * the lock, or there is no block. */
static ALWAYS_INLINE bool own_put(size_t granule)
{
	const uint64_t this = bit_of(granule);
	const size_t leaf = leaf_of(granule);
	atomic_word *live = live_at(leaf);
	if (UNLIKELY(!is_block(granule, leaf_read(leaf))) ||
	    UNLIKELY((atomic_fetch_and_explicit(live, ~this, memory_order_acq_rel) & this) == 0))
		return false;
	const uint64_t near = starts_after(granule, leaf_starts(leaf));
	const size_t index = near != 0 ? lowest_bit(near) : 0;
	struct own_stack *stack = &own.cache->stacks[index];
	if (UNLIKELY(near == 0 || stack->count == OWN_BLOCKS || own.freed >= OWN_GRANULES ||
	             !is_start(granule))) {
		atomic_fetch_or_explicit(live, this, memory_order_release);
		return false;
	}
	const struct live_bits bits = live_bits_of(granule, index + 1);
	live_clear(live, bits.low & ~this);
	live_clear(live_at(leaf + 1), bits.high);
	stack->blocks[stack->count++] = (uint32_t)granule;
	own.freed += (uint32_t)index + 1;
	return true;
}

/* Enters the cache for that, if the thread may. */
static ALWAYS_INLINE bool own_give(size_t granule)
{
	if (granule >= top_load() || !own_enter())
		return false;
	const bool is_given = LIKELY(granule != root_load()) && own_put(granule);
	own_leave();
	return is_given;
}

/* A block of so many granules was taken from a bin, or freed to it, under the lock: where the stack
 * of its size is empty or full, it gets half of what it can hold. */
static NOINLINE void own_balance(size_t size)
{
	size_t granule;
	if (size - 1 >= OWN_SIZES || own.epoch != library.generation || !caches_open())
		return;
	struct own_stack *stack = &own.cache->stacks[size - 1];
	if (stack->count == OWN_BLOCKS)
		stack_spill(stack, size, OWN_BLOCKS / 2);
	while (stack->count < OWN_BLOCKS / 2 && (granule = bin_pop(size)) != NONE) {
		count_taken(size);
		if (UNLIKELY(heap.purged_end != 0))
			few_pages_touch(granule, granule + size);
		stack->blocks[stack->count++] = (uint32_t)granule;
	}
}

/* lock_give after a block of so many granules was taken or freed. */
static ALWAYS_INLINE void lock_give_after(size_t size)
{
	if (!is_alone() && !is_calling_out())
		own_balance(size);
	lock_give();
}

/* ---- Purging: free pages go back to the OS ---------------------------------------------------- */

/*
 * What is touched and not in use may be resident up to a budget, a quarter of what is in use plus a
 * little, and beyond that as much as is kept: pages that were taken again after they had been given
 * back. After every few granules freed that is looked at. Where it is too much, a sweep walks the
 * pages that may be free downwards and gives those back in which nothing is live, until half the
 * budget is left. Which these are is known under first fit, where pages become idle with the HOLE
 * that they lie in; an idle page in which a block was taken is no longer one when a sweep finds that.
 * Quick fit, which does not look at the pages of a block that it caches, seeks among all that are
 * touched, and may find too little there: then it waits for longer. What is kept and then not in use
 * for a second is forgotten by halves. What is resident depends on the clock, and no address does, unless
 * threads have caches, which a sweep closes, and once a second a look.
 */

/* Pages that may be free and touched, and under quick fit parts of others. */
static size_t surplus_pages(void)
{
	const size_t in_use = min_size(heap.touched_pages, os_page_of(process_granules()));
	return heap.is_quick ? heap.touched_pages - in_use : heap.idle_pages;
}

/* So many may stay before any go back, and what is kept. */
static size_t budget_pages(void)
{
	const size_t least = os_page_of((size_t)BUDGET_BYTES >> heap.shift);
	return max_size(least, os_page_of(process_granules()) / BUDGET_DIVISOR);
}

/* Where they are. */
static const uint64_t *surplus_bits(void)
{
	return table_bits(heap.is_quick ? TOUCHED : IDLE);
}

/* Where the free pages before end begin, of which the last is of the surplus; end if there are none.
 * Each page, or segment that has several, is a look. */
static size_t free_pages_first(size_t end, size_t most, size_t *looks)
{
	const size_t least = end - min_size(end, most);
	size_t first = end;
	for (size_t from = end; first == from && from > least && *looks != 0; --*looks) {
		if (!is_page_free(first - 1))
			break;
		from = max_size(segment_first_page(first - 1), least);
		first = bits_find_last(surplus_bits(), from, first, false);
	}
	return first;
}

/* Gives back these free pages, from the last one down. Those that the program has locked the OS refuses:
 * then fewer are asked for at once, and from the first that is refused alone, more and more are passed
 * over. Returns how many went back; the sweep goes on below the last one that was asked for. */
static size_t pages_purge_most(size_t first, size_t end, unsigned *requests)
{
	size_t given = 0;
	bool is_passing = false;
	for (size_t pages = end - first; first < end && *requests != 0; --*requests) {
		pages = min_size(pages, end - first);
		const bool is_done = pages_purge(end - pages, end);
		given += is_done ? pages : 0;
		is_passing = !is_done && (is_passing || pages == 1);
		if (is_done || is_passing)
			end -= pages;
		pages = is_done || is_passing ? 2 * pages : pages / 2;
	}
	heap.sweep = end;
	return given;
}

/* Gives back at most so many of the free pages below heap.sweep, downwards, as far as one call may
 * go, with so many requests to the OS. False where it was asked, and refused them all. */
static bool pages_sweep(size_t most, unsigned most_requests)
{
	const size_t limit = min_size(most, (size_t)SWEEP_MOST_BYTES / os_pages_bytes(1));
	size_t given = 0;
	size_t looks = SWEEP_LOOKS;
	unsigned requests = most_requests;
	caches_close();
	while (given < limit && looks != 0 && requests != 0) {
		const size_t end = bits_find_last(surplus_bits(), 0, heap.sweep, true);
		heap.sweep = end;
		if (end == 0)
			break;
		const size_t first = free_pages_first(end, limit - given, &looks);
		if (first == end) {
			looks--;
			heap.sweep = is_live((end - 1) << heap.os_page_log2) ? segment_first_page(end - 1) : end - 1;
			if (!heap.is_quick)
				heap.idle_pages -= bits_set(table_bits(IDLE), heap.sweep, end, false);
			continue;
		}
		given += pages_purge_most(first, end, &requests);
	}
	return given != 0 || requests == most_requests;
}

/* The heap has grown by so many granules for a block of this size: gives as much back, of what is kept
 * too, so that its memory does not grow. A heap that is within the budget as a whole keeps its memory. A
 * large block that moves makes requests of its own. */
static void purge_for_growth(size_t granules, size_t size, enum purpose purpose)
{
	const bool may_ask = purpose == FOR_GROWTH && size >= (size_t)MOVE_BYTES >> heap.shift;
	const unsigned requests = SWEEP_REQUESTS - (may_ask ? MOVE_REQUESTS : 0);
	const size_t sweep = heap.sweep;
	if (heap.top << heap.shift <= BUDGET_BYTES)
		return;
	heap.sweep = os_page_of(heap.top);
	pages_sweep(min_size(os_page_of(granules), surplus_pages()), requests);
	heap.sweep = sweep;
}

/* Of what is kept and was not in use for a second, half is forgotten. What caches of threads hold, which
 * counts as in use, goes to the bins: threads that have stopped would keep it. */
static void kept_forget(void)
{
	const time_t now = os_seconds();
	const size_t used_pages = os_page_from(heap.recent_peak);
	const size_t idle_pages = heap.touched_pages - min_size(heap.touched_pages, used_pages);
	if (now == heap.peak_since)
		return;
	caches_close();
	heap.kept_pages -= (min_size(heap.kept_pages, idle_pages) + 1) / 2;
	heap.peak_before = peak_granules();
	heap.recent_peak = process_granules();
	heap.room_granules = 0;
	heap.peak_since = now;
}

/* A block was freed that is larger than what one call may sweep: gives back as many of its pages,
 * which lie in a coalesced HOLE. */
static void block_purge(size_t granule, size_t next, size_t most)
{
	const size_t end = os_page_of(next);
	const size_t first = max_size(os_page_from(granule), end - min_size(end, most));
	if (first + (size_t)SWEEP_MOST_BYTES / os_pages_bytes(1) < end)
		pages_purge(first, end);
}

/* Lowers purged_end to behind the last page that is not touched and may be under cached blocks. */
static void purged_end_lower(void)
{
	for (unsigned looks = 0; looks < SWEEP_LOOKS; looks++) {
		heap.purged_end = bits_find_last(table_bits(TOUCHED), 0, heap.purged_end, false);
		if (heap.purged_end == 0 || !is_page_coalesced(heap.purged_end - 1))
			break;
		heap.purged_end = segment_first_page(heap.purged_end - 1);
	}
	fast_top_update();
}

/* A block up to next was freed: gives pages back where too many may be free. The lock is held. */
static NOINLINE void purge_look(size_t granule, size_t next)
{
	ASSERT(library.lock != LOCK_FREE, "who asks the OS holds the lock");
	size_t step = (size_t)LOOK_BYTES >> heap.shift;
	bool is_refused = false; /* by the OS, so that there is no hurry */
	kept_forget();
	const size_t budget = budget_pages();
	const size_t goal = budget / 2 + heap.kept_pages;
	if (heap.sweep == 0 && surplus_pages() > budget + heap.kept_pages) {
		block_purge(granule, next, surplus_pages() - goal);
		heap.sweep = os_page_of(heap.top);
	}
	if (heap.sweep != 0 && surplus_pages() > goal) {
		is_refused = !pages_sweep(surplus_pages() - goal, SWEEP_REQUESTS);
		if (heap.sweep == 0) /* what is left is in use in part, or the OS refuses it */
			step = max_size(step, process_granules() / LOOK_DIVISOR);
	}
	if (surplus_pages() <= goal)
		heap.sweep = 0;
	purged_end_lower();
	const bool is_sweeping = heap.sweep != 0 && !is_refused;
	heap.look_due = (ptrdiff_t)(is_sweeping ? (size_t)SWEEP_BYTES >> heap.shift : step);
}

/* ---- Blocks: what placement gives to the program --------------------------------------------- */

static inline void journal_note(const struct call *call);

/* Makes a HOLE in which a block fits at a multiple of alignment, where there is none: flushes the
 * bins, or asks the OS. Where the heap has not grown since the last flush before a request to the
 * OS, the next one waits for twice as much: else all would be coalesced and taken again for ever. A
 * call that fails is not recorded: so a replay knows its flush by a line of its own, and it counts
 * as none of those. The lock is held. */
static NOINLINE struct hole hole_obtain(size_t size, size_t alignment, enum purpose purpose)
{
	ASSERT(library.lock != LOCK_FREE, "who asks the OS holds the lock");
	const size_t top = heap.top;
	const size_t least = ((size_t)FLUSH_BYTES >> heap.shift) << heap.flush_shift;
	struct hole hole = no_hole;
	if (size > heap.limit)
		return no_hole;
	caches_close(); /* what they hold counts */
	const bool is_due = cached_granules() >= max_size(least, top / FLUSH_DIVISOR);
	if (is_due) {
		bins_flush();
		hole = hole_first_aligned(size, alignment);
	}
	if (hole.start == NONE && node_grow(size, purpose)) {
		purge_for_growth(heap.top - top, size, purpose);
		hole = hole_at(top);
	}
	if (hole.start != NONE && is_due) {
		heap.flush_shift += top == heap.flush_top && heap.flush_shift < MOST_FLUSH_SHIFT;
		heap.flush_top = top;
	}
	if (hole.start != NONE)
		return hole;
	if (!is_due && cached_granules() == 0)
		return no_hole;
	bins_flush();
	journal_note(&(struct call){ .kind = 'g' });
	return purpose == FOR_GROWTH ? no_hole /* see block_enlarge */
	                             : hole_first_aligned(size, alignment);
}

/* Whether the last segment that starts in the leaf is a HOLE: it may go on in the next leaf. */
static inline bool ends_with_hole(struct leaf_bits bits)
{
	return holes_of(bits) > (bits.starts & bits.live);
}

/* Takes a small block that does not fit in the leaf where its class begins to look. Or NONE. */
static NOINLINE size_t block_take_beyond(size_t size, size_t leaf, enum purpose purpose)
{
	for (;;) {
		struct leaf_bits bits = leaf_read(leaf);
		if (ends_with_hole(bits)) {
			const struct hole last = hole_at(leaf * 64 + highest_bit(holes_of(bits)));
			if (last.size >= size)
				return block_take_from(last, size, purpose);
		}
		const size_t vain = leaf;
		leaf = leaf_from(vain + 1, (unsigned)size);
		leaf_lower(vain, size - 1); /* only now: a byte that was just written delays the search */
		if (leaf == NONE)
			return NONE;
		bits = leaf_read(leaf);
		const uint64_t room = leaf_room(bits, size);
		const uint64_t fits = holes_of(bits) & room;
		if (fits == 0)
			continue;
		if (is_first_touch(leaf, fits))
			return block_take_from(hole_at(leaf * 64), size, purpose);
		search_start_raise(size, leaf);
		const size_t granule = leaf_split(leaf, bits, fits, size);
		/* Where no second block would fit, the entry says so: else searches look there in vain.
		 * Without a branch, which the processor could not predict. */
		const uint64_t left = (fits & (fits - 1)) | (room & (fits & -fits) << size);
		const size_t is_full = (left == 0) & !ends_with_hole(bits);
		const size_t most = leaf_max()[leaf];
		leaf_lower(leaf, (size - 1) | (is_full - 1));
		hole_leave(leaf, is_full != 0 ? most : NONE);
		leaf_assert(leaf);
		return granule;
	}
}

/* Where a small block of first fit fits: HOLEs in the leaf where its class begins to look. */
struct fit {
	size_t leaf;
	struct leaf_bits bits;
	uint64_t holes;
};

static ALWAYS_INLINE struct fit small_fit(size_t size)
{
	const size_t leaf = search_start_of(classes_up_to_size[size] - 1u);
	const struct leaf_bits bits = leaf_read(leaf);
	return (struct fit){ leaf, bits, holes_of(bits) & leaf_room(bits, size) };
}

/* Takes it. The leaf is stale, and stays so. */
static ALWAYS_INLINE size_t fit_take(struct fit fit, size_t size)
{
	const size_t granule = leaf_split(fit.leaf, fit.bits, fit.holes, size);
	leaf_assert(fit.leaf);
	return granule;
}

/* First fit: takes a small block, or NONE. */
static NOINLINE size_t block_take_small(size_t size, enum purpose purpose)
{
	const struct fit fit = small_fit(size);
	if (fit.holes == 0)
		return block_take_beyond(size, fit.leaf, purpose);
	if (is_first_touch(fit.leaf, fit.holes))
		return block_take_from(hole_at(fit.leaf * 64), size, purpose);
	hole_leave(fit.leaf, NONE);
	return fit_take(fit, size);
}

/* How many blocks to take at once: the more, the more often the size was asked for in vain. */
static size_t run_length(size_t size, size_t hole_size)
{
	const size_t bin = bin_of(size);
	if (bin == NONE || bin_size(bin) != size)
		return 1;
	uint8_t *misses = &bins()->misses[bin];
	if (*misses < RUN_BLOCKS)
		++*misses;
	const uint32_t most = (uint32_t)min_size(hole_size, (size_t)RUN_BYTES >> heap.shift);
	return max_size(1, min_size(*misses, most / (uint32_t)size));
}

/* [ ------------ hole ------------ ]  =>  [ PROCESS ][ cached ][ cached ][ hole? ]
 * Quick fit: takes a run of blocks of one size from a HOLE. */
static NOINLINE size_t block_take_run(struct hole hole, size_t size, enum purpose purpose)
{
	const size_t end = hole.start + size * run_length(size, hole.size);
	for (size_t rest = hole.start + size; rest != end; rest += size)
		start_mark(rest, true);
	hole_split(hole, end - hole.start, size, purpose, true);
	search_start_raise(size, leaf_of(end));
	if (purpose == FOR_CALLOC && end != hole.start + size)
		pages_touch(hole.start + size, end);
	for (size_t rest = end - size; rest != hole.start; rest -= size) {
		if (!cache_put(rest, size))
			coalesce(rest, rest + size);
	}
	count_taken(size);
	leaf_assert(leaf_of(hole.start));
	leaf_assert(leaf_of(end));
	return hole.start;
}

/* Takes a block of so many granules from this HOLE, by the policy. */
static inline size_t block_take_in(struct hole hole, size_t size, enum purpose purpose)
{
	if (hole.start == NONE)
		return NONE;
	return heap.is_quick ? block_take_run(hole, size, purpose)
	                     : block_take_from(hole, size, purpose);
}

/* Takes a block by the policy without asking the OS. NONE where no HOLE is large enough. */
static NOINLINE size_t block_take_existing(size_t size, enum purpose purpose)
{
	ASSERT(heap.top != 0, "an empty heap has no tables to read");
	const size_t cached = heap.is_quick ? cache_get(size, purpose) : NONE;
	if (LIKELY(cached != NONE))
		return cached;
	if (!heap.is_quick && size <= SMALL_SIZES)
		return block_take_small(size, purpose);
	return block_take_in(hole_first(size), size, purpose);
}

/* Takes a block; NONE where no memory can be had. The lock is held. */
static size_t block_take(size_t size, enum purpose purpose)
{
	const size_t granule = heap.top == 0 ? NONE : block_take_existing(size, purpose);
	return granule != NONE ? granule : block_take_in(hole_obtain(size, 1, purpose), size, purpose);
}

/* Quick fit: makes a PROCESS of so many granules a HOLE, cached where it can be. */
static ALWAYS_INLINE void block_cache(size_t granule, size_t size)
{
	const bool is_cached = cache_put(granule, size);
	policy_live_change(granule, size, false, true);
	count_freed(size);
	if (UNLIKELY(!is_cached))
		coalesce(granule, granule + size);
	leaf_assert(leaf_of(granule));
}

/* Makes a PROCESS a HOLE by the policy. */
static NOINLINE void block_release(size_t granule)
{
	const struct leaf_bits bits = leaf_read(leaf_of(granule));
	if (heap.is_quick)
		block_cache(granule, segment_size(granule));
	else if (!is_inner(granule, bits) || !leaf_coalesce(granule, bits, true))
		block_coalesce(granule);
}

/* [ this ---------- ][ hole? ]  =>  [ this ][ ---- hole ---- ] */
static void block_shrink(size_t granule, size_t next, size_t size)
{
	ASSERT(size != 0 && size < next - granule, "a block that shrinks does not grow");
	live_resize(granule, next - granule, size);
	count_freed(next - granule - size);
	start_mark(granule + size, true);
	coalesce(granule + size, next);
}

/* [ this ][ ---- hole ---- ]  =>  [ this ---------- ][ hole? ]      false where there is no room */
static bool block_grow(size_t granule, size_t next, size_t size)
{
	if (!is_coalesced(next) || is_border(next))
		return false;
	const struct hole hole = hole_at(next);
	const size_t more = size - (next - granule);
	if (hole.size < more)
		return false;
	start_mark(next, false);
	hole_split(hole, more, 0, FOR_MALLOC, heap.is_quick);
	count_taken(more);
	live_resize(granule, next - granule, size);
	leaf_assert(leaf_of(granule));
	leaf_assert(leaf_of(granule + size));
	return true;
}

/* [ ------- hole ------- ]  =>  [ gap, a hole ][ PROCESS ][ hole? ]
 * At a multiple of alignment granules: a power of two that divides a page. The lock is held. */
static size_t block_take_aligned(size_t size, size_t alignment)
{
	ASSERT(is_power_of_two(alignment) && alignment <= page_granules(), "a page has multiples of it");
	struct hole hole = hole_first_aligned(size, alignment);
	if (hole.start == NONE)
		hole = hole_obtain(size, alignment, FOR_MALLOC);
	if (hole.start == NONE)
		return NONE;
	const size_t block = round_up(hole.start, alignment);
	start_mark(block + size, true);
	start_mark(block, true);
	live_change(block, size, true); /* before any entry is made exact */
	hole_cut(hole, block + size, FOR_MALLOC, heap.is_quick);
	if (block != hole.start)
		coalesce(hole.start, block);
	count_taken(size);
	leaf_assert(leaf_of(block));
	leaf_assert(leaf_of(block + size));
	return block;
}

/* ---- Addresses and descriptions -------------------------------------------------------------- */

static inline void *block_virtual(size_t granule)
{
	return (void *)(heap.start + (granule << heap.shift));
}

/* Granules for so many bytes, rounded up. */
static inline size_t granules_of(size_t bytes)
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

/* The granule at which the live block v_ptr starts, NONE if none does. */
static inline size_t block_of(const void *v_ptr)
{
	const size_t granule = granule_of(v_ptr);
	if (UNLIKELY(granule >= top_load()))
		return NONE;
	return is_block(granule, leaf_read(leaf_of(granule))) ? granule : NONE;
}

/* The segment at granule as it is shown: cached blocks as part of the HOLE that they will be. */
static struct mems_segment segment_describe(size_t granule, size_t node)
{
	const struct main_node *main_node = &nodes()[node];
	const size_t node_next = main_node->first + main_node->granules;
	const bool is_free = is_hole(granule);
	size_t next = granule;
	size_t cached = 0;
	do {
		const size_t end = segment_next(next);
		cached += is_free && !is_coalesced(next) ? end - next : 0;
		next = end;
	} while (is_free && next < node_next && is_hole(next));
	return (struct mems_segment){
		.type = is_free ? MEMS_HOLE : MEMS_PROCESS,
		.start = heap.start + (granule << heap.shift),
		.end = heap.start + (next << heap.shift) - 1,
		.size = (next - granule) << heap.shift,
		.physical = block_physical(granule),
		.node = node,
		.node_start = heap.start + (main_node->first << heap.shift),
		.node_end = heap.start + (node_next << heap.shift) - 1,
		.remembered_bytes = cached << heap.shift,
	};
}

/* Calls visit for every segment, until a result is not 0: that is returned. */
static int segments_walk(mems_visitor *visit, void *context)
{
	int result = 0;
	for (size_t granule = 0, node = 0; granule < heap.top && result == 0;) {
		const struct mems_segment segment = segment_describe(granule, node);
		result = visit(&segment, context);
		granule += segment.size >> heap.shift;
		node += segment.end == segment.node_end;
	}
	return result;
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

/* How many bytes of a label are shown. A character of UTF-8 is not cut in two. */
static size_t label_length(const char *label)
{
	size_t length = strnlen(label, LABEL_BYTES);
	while (length > LABEL_BYTES - 4 && (label[length] & 0xC0) == 0x80)
		length--;
	return length;
}

/* Adds a label, if there is one, in brackets or as a word, with % and two digits for odd bytes. */
static void label_add(char text[MESSAGE_BYTES], const char *label, bool is_word)
{
	char escaped[3 * LABEL_BYTES + 1], *end = escaped;
	if (label == NULL || (is_word && label[0] == '\0'))
		return;
	for (size_t i = 0, length = label_length(label); i < length; i++) {
		const unsigned char byte = (unsigned char)label[i];
		const bool is_odd = byte == ' ' || byte == '%' || byte > 127;
		if (byte < ' ' || byte == 127 || (is_word && is_odd))
			end += sprintf(end, "%%%02X", byte);
		else
			*end++ = label[i];
	}
	*end = '\0';
	text_add(text, is_word ? " %s" : " (%s)", escaped);
}

/* ---- Journal: recordings and history --------------------------------------------------------- */

/*
 * While a recording or history is on, every successful call that changes the heap is noted: in the
 * entry of its block, which is found by a hash of its granule, as an event in a ring, and as a line
 * of the recording. A call is made at a site: a label and a caller.
 */

/* What this thread has set for its calls. */
static _Thread_local struct {
	const char *label;
	const void *caller;
} asker __attribute__((tls_model("initial-exec")));

const char *mems_set_label(const char *label)
{
	const char *before = asker.label;
	asker.label = label;
	return before;
}

const void *mems_set_caller(const void *caller)
{
	const void *before = asker.caller;
	asker.caller = caller;
	return before;
}

static inline struct live_block *entry_at(uint32_t index)
{
	return (struct live_block *)heap.journal.arrays[JOURNAL_BLOCKS].memory + index;
}

static inline struct site *site_at(uint32_t index)
{
	return (struct site *)heap.journal.arrays[JOURNAL_SITES].memory + index;
}

/* Each granule of a leaf has another one, in four cache lines. */
static inline uint32_t *bucket_of(size_t granule)
{
	uint32_t hash = (uint32_t)leaf_of(granule) * HASH_FACTOR >> heap.journal.bucket_shift;
	hash ^= granule % 64;
	return (uint32_t *)heap.journal.arrays[JOURNAL_BUCKETS].memory + hash;
}

/* The link to the entry of a live block: 0 where the journal does not know it. */
static inline uint32_t *live_link(size_t granule)
{
	uint32_t *link = bucket_of(granule);
	while (*link != 0 && entry_at(*link)->granule != granule)
		link = &entry_at(*link)->next;
	return link;
}

static const struct live_block *live_at_granule(size_t granule)
{
	const uint32_t index = heap.journal.entries != 0 ? *live_link(granule) : 0;
	return index != 0 ? entry_at(index) : NULL;
}

/* Puts an entry in front of its bucket. */
static inline void live_place(uint32_t index, size_t granule)
{
	uint32_t *bucket = bucket_of(granule);
	entry_at(index)->granule = (uint32_t)granule;
	entry_at(index)->next = *bucket;
	*bucket = index;
}

/* An entry for a block that is taken: there is one. */
static inline uint32_t live_add(size_t granule, uint32_t site, uint64_t call, size_t slack)
{
	const uint32_t index = heap.journal.unused;
	heap.journal.unused = index + 1 + entry_at(index)->next;
	__builtin_prefetch(entry_at(heap.journal.unused)); /* for the next call */
	entry_at(index)->site = site;
	entry_at(index)->slack = slack & (MAX_ALIGNMENT - 1);
	entry_at(index)->call = call & MAX_CALL;
	live_place(index, granule);
	return index;
}

/* The bucket of a site: its hash says which part of them lies before. Labels are often as far apart as
 * callers are, so that many pairs have the same sum: that is why callers are scattered first. */
static ALWAYS_INLINE uint32_t *site_bucket(const char *label, const void *caller)
{
	const struct mapping *buckets = &heap.journal.arrays[JOURNAL_SITE_BUCKETS];
	const uint32_t scattered = (uint32_t)(uintptr_t)caller * HASH_FACTOR;
	const uint32_t hash = (scattered + (uint32_t)(uintptr_t)label) * HASH_FACTOR;
	const uint64_t place = (uint64_t)hash * (buckets->bytes / sizeof(uint32_t)) >> 32;
	return (uint32_t *)buckets->memory + (size_t)place;
}

/* The link to the site of a call that this thread makes: 0 where it is the first one. */
static ALWAYS_INLINE uint32_t *site_link(const void *caller)
{
	caller = asker.caller != NULL ? asker.caller : caller;
	uint32_t *link = site_bucket(asker.label, caller);
	while (*link != 0 && (site_at(*link)->caller != caller || site_at(*link)->label != asker.label))
		link = &site_at(*link)->next;
	return link;
}

/* Of the array of so many sites. In 32 bits a damaged number would wrap. */
static inline uint64_t sites_bytes(uint32_t count)
{
	return 2 * (uint64_t)count * sizeof(struct site);
}

/* Puts a site in front of its bucket. */
static void site_place(uint32_t index)
{
	uint32_t *bucket = site_bucket(site_at(index)->label, site_at(index)->caller);
	site_at(index)->next = *bucket;
	*bucket = index;
}

/* Makes room for one more site, and more buckets where there are fewer than sites. False where there
 * is no room. */
static bool sites_grow(void)
{
	struct mapping *arrays = heap.journal.arrays;
	struct mapping *buckets = &arrays[JOURNAL_SITE_BUCKETS];
	const uint32_t count = heap.journal.site_count;
	const size_t bytes = buckets->bytes;
	if (!mapping_fit(&arrays[JOURNAL_SITES], (size_t)sites_bytes(count + 1)))
		return false;
	if (count < bytes / sizeof(uint32_t) || !mapping_fit(buckets, 2 * bytes))
		return true;
	memset(buckets->memory, 0, bytes);
	for (uint32_t i = 1; i < count; i++)
		site_place(i);
	return true;
}

/* The site of a call, which is noted if it is new: nobody's, where there is no room. */
static uint32_t site_of(const void *caller)
{
	const uint32_t found = *site_link(caller);
	const uint32_t index = heap.journal.site_count;
	ASSERT(library.lock != LOCK_FREE, "who may ask the OS holds the lock");
	if (found != 0 || !sites_grow())
		return found;
	*site_at(index) = (struct site){
		.label = asker.label, .caller = asker.caller != NULL ? asker.caller : caller };
	if (asker.label != NULL)
		memcpy(site_at(index)->text, asker.label, label_length(asker.label));
	site_place(index);
	heap.journal.site_count++;
	return index;
}

/* Makes room for more blocks, and for what the first one needs. False where the OS refuses it. */
static NOINLINE bool journal_grow(void)
{
	struct journal *journal = &heap.journal;
	const uint32_t before = journal->entries;
	const size_t entries = before == 0 ? FIRST_ENTRIES : (size_t)before * 2;
	const size_t slots = max_size(journal->event_slots, 1);
	if (entries > UINT32_MAX / 2 ||
	    !mapping_fit(&journal->arrays[JOURNAL_SITES], (size_t)sites_bytes(1)) ||
	    !mapping_fit(&journal->arrays[JOURNAL_SITE_BUCKETS], sizeof(uint32_t)) ||
	    !mapping_fit(&journal->arrays[JOURNAL_EVENTS], slots * sizeof(struct event)) ||
	    !mapping_fit(&journal->arrays[JOURNAL_BUCKETS], entries * sizeof(uint32_t)) ||
	    !mapping_fit(&journal->arrays[JOURNAL_BLOCKS], entries * sizeof(struct live_block)))
		return false;
	memset(journal->arrays[JOURNAL_BUCKETS].memory, 0, before * sizeof(uint32_t));
	journal->bucket_shift = 32 - lowest_bit(entries);
	journal->entries = (uint32_t)entries;
	if (before == 0) {
		journal->unused = journal->site_count = 1;
		journal->event_next = journal->arrays[JOURNAL_EVENTS].memory;
		journal->event_last = journal->event_next + slots - 1;
	}
	for (uint32_t i = 1; i < before; i++)
		live_place(i, entry_at(i)->granule);
	return true;
}

/* Whether there is memory for what a call adds. */
static inline bool journal_has_room(void)
{
	return heap.journal.unused < heap.journal.entries || journal_grow();
}

/* Forgets all. */
static void journal_end(void)
{
	const struct journal ended = heap.journal;
	heap.journal = (struct journal){ 0 };
	for (unsigned i = 0; i < JOURNAL_ARRAYS; i++)
		mapping_free(&ended.arrays[i]);
}

/* Notes a call in the entry of its block, which it returns, and as an event. The block has so many
 * granules after the call, or before one that frees it; where it was before is left to be noted. If
 * it is taken there is an entry for it. */
static ALWAYS_INLINE struct live_block *call_note(enum mems_event_kind kind, size_t from, size_t to,
                                                  size_t granules, size_t size, uint32_t site)
{
	struct journal *journal = &heap.journal;
	struct event *event = journal->event_next;
	size_t slack = (granules << heap.shift) - size;
	uint32_t index;
	journal->event_next = event != journal->event_last ? event + 1
	                                                   : journal->arrays[JOURNAL_EVENTS].memory;
	journal->calls++;
	if (kind == MEMS_TAKEN) {
		index = live_add(to, site, journal->calls, slack);
	} else {
		uint32_t *link = live_link(from);
		index = *link;
		*link = entry_at(index)->next;
	}
	struct live_block *block = entry_at(index);
	if (kind == MEMS_FREED) {
		slack = block->slack;
		block->next = journal->unused - index - 1;
		journal->unused = index;
	} else if (kind == MEMS_RESIZED) {
		block->slack = slack & (MAX_ALIGNMENT - 1);
		live_place(index, to);
	}
	*event = (struct event){
		.call = journal->calls, .site = site, .granule = (uint32_t)to,
		.granules = (uint32_t)granules, .kind = (uint8_t)kind, .slack = (uint8_t)slack };
	return block;
}

/* What the stream does at that moment must not change the heap. In a child that it forks there is no
 * recording any more. */
static void record_write(const char *text)
{
	const int error = errno;
	ASSERT(heap.fast_top == 0 && heap.noted_top == 0, "a recording keeps the fast paths closed");
	callout_begin(&library.visitors);
	fputs(text, heap.journal.record);
	callout_end(&library.visitors);
	errno = error;
}

static NOINLINE void record_call(const struct call *call, uint32_t id)
{
	char text[MESSAGE_BYTES] = { call->kind };
	if (call->kind != 'g')
		text_add(text, " %" PRIu32, id);
	if (call->size != 0)
		text_add(text, " %zu", call->size);
	if (call->alignment != 0)
		text_add(text, " %zu", call->alignment);
	if (strchr("acm", call->kind) != NULL)
		label_add(text, asker.label, true);
	text_add(text, "\n");
	record_write(text);
}

static NOINLINE void journal_write(const struct call *call)
{
	struct journal *journal = &heap.journal;
	const enum mems_event_kind kind = call->kind == 'f'   ? MEMS_FREED
	                                  : call->kind == 'r' ? MEMS_RESIZED
	                                                      : MEMS_TAKEN;
	const size_t granules = kind == MEMS_FREED ? call->granules : granules_of(call->size);
	uint32_t id = 0;
	if (call->kind == 'g') {
		journal->calls++;
	} else {
		struct event *event = journal->event_next;
		struct live_block *block = call_note(kind, call->from, call->to, granules, call->size,
		                                     site_of(call->caller));
		if (kind == MEMS_TAKEN)
			block->id = journal->next_id++;
		event->before = (uint32_t)call->from;
		event->before_granules = (uint32_t)call->granules;
		id = block->id;
	}
	if (journal->record != NULL)
		record_call(call, id);
}

/* Every call that changes the heap comes here, after it: the stream of a recording may look. */
static inline void journal_note(const struct call *call)
{
	if (UNLIKELY(heap.journal.is_on) && call->to != NONE)
		journal_write(call);
}

/* Ends a recording, and begins another one, unless out is NULL. Returns 0 or an error number. */
static int record_to(FILE *out)
{
	struct journal *journal = &heap.journal;
	const bool has_room = out == NULL || (heap.limit != 0 && journal_has_room());
	journal->record = has_room ? out : NULL;
	journal->is_on = journal->record != NULL || journal->event_slots != 0;
	if (!journal->is_on)
		journal_end();
	fast_top_update();
	if (journal->record != NULL) {
		char text[MESSAGE_BYTES] = "";
		journal->calls = 0; /* of an empty heap only mems_trim may have been counted */
		options_describe(text);
		record_write(text);
	}
	return has_room ? 0 : ENOMEM;
}

int mems_record(FILE *out)
{
	int error;
	lock_take();
	if (out != NULL && !heap.is_started)
		error = EINVAL;
	else if (is_busy() || (out != NULL && heap.top != 0))
		error = EBUSY;
	else
		error = record_to(out);
	lock_give();
	return result_of(error);
}

/* ---- Fork ------------------------------------------------------------------------------------ */

/* No other thread is in the middle of a change when the process is doubled. Handlers of the program
 * that run in between may call MeMS. */
static void fork_prepare(void)
{
	lock_take();
	caches_close();
	callout_begin(&library.waits);
}

static void fork_parent(void)
{
	callout_end(&library.waits);
	lock_give();
}

static void fork_child(void)
{
	if (heap.journal.record != NULL)
		__fpurge(heap.journal.record); /* what is in its buffer the parent will write */
	record_to(NULL);
	caches_leave();
	fork_parent();
}

/* When the program, or the library, is loaded: before there is a thread that forks, or a heap. And before
 * other constructors: the handlers that they add run before these then, and may wait for threads that
 * allocate. */
__attribute__((constructor(101))) static void fork_handlers_add(void)
{
	pthread_atfork(fork_prepare, fork_parent, fork_child);
}

/* ---- Questions: what happened to a block? ---------------------------------------------------- */

static bool event_covers(const struct event *event, size_t granule)
{
	return granule - event->granule < event->granules ||
	       (event->kind == MEMS_RESIZED && granule - event->before < event->before_granules);
}

static struct mems_event event_describe(const struct event *event)
{
	return (struct mems_event){
		.call = event->call, .kind = event->kind, .label = site_at(event->site)->label,
		.caller = site_at(event->site)->caller, .start = (uintptr_t)block_virtual(event->granule),
		.size = ((size_t)event->granules << heap.shift) - event->slack };
}

/* The taking of the live block at a granule, with the size that it has now. Its call is 0 if unknown. */
static struct mems_event taking_of(size_t granule)
{
	const bool has_history = heap.journal.event_slots != 0 && is_live(granule);
	const struct live_block *block = has_history ? live_at_granule(segment_of(granule)) : NULL;
	if (block == NULL)
		return (struct mems_event){ 0 };
	return event_describe(&(struct event){
		.call = block->call, .site = block->site, .kind = MEMS_TAKEN, .granule = block->granule,
		.granules = (uint32_t)segment_size(block->granule), .slack = block->slack });
}

/* What is known of a granule, the newest first, up to so much of it; returns how much that is. The
 * taking of a live block need not be among the events any more. */
static size_t granule_history(size_t granule, struct mems_event *events, size_t room, size_t most)
{
	const struct event *first = heap.journal.arrays[JOURNAL_EVENTS].memory;
	const struct event *event = heap.journal.event_next;
	if (event == NULL) /* there may be a ring, but not all that is needed beside it */
		return 0;
	const size_t slots = heap.journal.event_slots;
	const size_t count = (size_t)min_u64(slots, heap.journal.calls);
	const struct mems_event taking = taking_of(granule);
	bool has_taking = taking.call == 0;
	size_t found = 0;
	for (size_t i = 0; found < most && (i < count || !has_taking); i++) {
		event = event != first ? event - 1 : first + slots - 1;
		const bool is_taking = !has_taking && (i >= count || event->call == taking.call);
		has_taking |= is_taking;
		if (!is_taking && !event_covers(event, granule))
			continue;
		if (found < room)
			events[found] = is_taking ? taking : event_describe(event);
		found++;
	}
	return found;
}

size_t mems_history(const void *v_ptr, struct mems_event *events, size_t count)
{
	lock_take();
	const size_t offset = offset_of(v_ptr);
	const size_t found = offset == NONE ? 0
	                                    : granule_history(offset >> heap.shift, events, count, NONE);
	lock_give();
	return found;
}

/* Adds who took the granule, or who freed it. */
static void origin_add(char text[MESSAGE_BYTES], size_t granule)
{
	struct mems_event origin = taking_of(granule);
	if (!is_live(granule))
		granule_history(granule, &origin, 1, 1);
	if (origin.call == 0)
		return;
	text_add(text, ", %s by call %" PRIu64, is_live(granule) ? "taken" : "freed", origin.call);
	label_add(text, origin.label, false);
}

/* Adds a live block to those of its site. */
static int block_count(const struct mems_segment *segment, void *sites)
{
	const struct live_block *block = live_at_granule((segment->start - heap.start) >> heap.shift);
	if (block == NULL)
		return 0;
	struct site *site = (struct site *)sites + block->site;
	site->first_call = site->blocks++ != 0 ? min_u64(site->first_call, block->call) : block->call;
	site->bytes += segment->size - block->slack;
	return 0;
}

/* The largest first; of equals, the oldest. */
static int site_compare(const void *a, const void *b)
{
	const struct site *one = a, *other = b;
	if (one->bytes != other->bytes)
		return one->bytes > other->bytes ? -1 : 1;
	return (one->first_call > other->first_call) - (one->first_call < other->first_call);
}

static void site_print(const struct site *site, FILE *out)
{
	char text[MESSAGE_BYTES] = "";
	text_add(text, "%zu bytes in %zu block%s", site->bytes, site->blocks,
	         site->blocks == 1 ? "" : "s");
	if (site->first_call == 0)
		text_add(text, " of an image");
	else
		text_add(text, ", first taken by call %" PRIu64, site->first_call);
	label_add(text, site->label, false);
	fprintf(out, "%s, from 0x%" PRIxPTR "\n", text, (uintptr_t)site->caller);
}

static void live_print(FILE *out)
{
	const uint32_t count = heap.journal.site_count;
	struct site *const sites = count != 0 ? site_at(count) : NULL; /* behind those that are copied */
	size_t bytes = 0, blocks = 0;
	for (uint32_t i = 0; i < count; i++)
		sites[i] = *site_at(i);
	segments_walk(block_count, sites);
	if (count != 0)
		qsort(sites, count, sizeof(*sites), site_compare);
	for (uint32_t i = 0; i < count && sites[i].blocks != 0; i++) {
		site_print(&sites[i], out);
		bytes += sites[i].bytes;
		blocks += sites[i].blocks;
	}
	fprintf(out, "Live bytes: %zu\nLive blocks: %zu\n", bytes, blocks);
}

int mems_fprint_live(FILE *out)
{
	if (!heap.is_started || option_value(MEMS_HISTORY) == 0)
		return result_of(heap.is_started ? EINVAL : EPERM);
	const int error = printer_enter(out);
	live_print(out);
	return printer_end(out, error);
}

/* ---- Errors ---------------------------------------------------------------------------------- */

/* What the error handler is told. It is written while the lock is held, and told after. */
struct misuse_report {
	int error;         /* 0: nothing to tell */
	const void *v_ptr;
	char message[MESSAGE_BYTES];
};

static void handler_default(int error, const void *v_ptr, const char *message)
{
	(void)error;
	(void)v_ptr;
	fprintf(stderr, "mems: %s\n", message);
}

static void report_tell(const struct misuse_report *report)
{
	mems_error_handler *handler = atomic_load(&library.handler);
	if (report->error == 0)
		return;
	if (handler != NULL)
		handler(report->error, report->v_ptr, report->message);
	errno = report->error;
}

/* Says in one line what is at the address that a function, or NULL, was called with. The lock is held. */
static void address_describe(char text[MESSAGE_BYTES], const char *function, const void *v_ptr)
{
	const size_t offset = (uintptr_t)v_ptr - (uintptr_t)heap.base;
	const bool is_physical = offset_of(v_ptr) == NONE && offset < heap.top << heap.shift;
	const uintptr_t address = is_physical ? heap.start + offset : (uintptr_t)v_ptr;
	struct mems_segment segment;
	text[0] = '\0';
	text_add(text, function != NULL ? "%s(" : "", function);
	text_add(text, is_physical ? "0x%" PRIxPTR : "%" PRIuPTR, (uintptr_t)v_ptr);
	text_add(text, function != NULL ? "): " : ": ");
	if (!segment_find((const void *)address, &segment)) {
		text_add(text, heap.is_started ? "outside the heap" : "there is no heap");
		text_add(text, heap.is_started || function == NULL ? "" : ", mems_init is missing");
		return;
	}
	const bool is_free = segment.type == MEMS_HOLE;
	if (is_physical)
		text_add(text, "the physical address of %" PRIuPTR ", ", address);
	text_add(text, "%s %s[%" PRIuPTR ":%" PRIuPTR "]", is_free || is_physical ? "in" : "inside",
	         type_name(segment.type), segment.start, segment.end);
	if (is_free && !is_physical)
		text_add(text, ", freed before or never given out");
	origin_add(text, (address - heap.start) >> heap.shift);
}

/* Says what is at v_ptr instead of a block, in a recording too, where that changes nothing in a replay.
 * The lock is held. */
static NOINLINE void misuse_describe(struct misuse_report *report, int error, const char *function,
                                     const void *v_ptr)
{
	char line[MESSAGE_BYTES] = "";
	report->error = error;
	report->v_ptr = v_ptr;
	caches_close();
	address_describe(report->message, function, v_ptr);
	text_add(line, "e %s %" PRIuPTR "\n", function + strlen("mems_"), (uintptr_t)v_ptr);
	if (heap.journal.record != NULL && library.visitors == 0) /* else the stream may be at work */
		record_write(line);
}

static NOINLINE void misuse_tell(int error, const char *function, const void *v_ptr)
{
	struct misuse_report report;
	lock_take();
	misuse_describe(&report, error, function, v_ptr);
	lock_give();
	report_tell(&report);
}

int mems_explain(const void *address, FILE *out)
{
	char text[MESSAGE_BYTES];
	const int error = printer_enter(out);
	address_describe(text, NULL, address);
	fprintf(out, "%s\n", text);
	return printer_end(out, error);
}

/* There is no heap from which to take a block. call: the function and its arguments. */
static NOINLINE void *no_heap_tell(const char *call, ...)
{
	struct misuse_report report = { .error = EPERM };
	va_list arguments;
	va_start(arguments, call);
	vsnprintf(report.message, sizeof(report.message), call, arguments);
	va_end(arguments);
	text_add(report.message, ": there is no heap, mems_init is missing");
	report_tell(&report);
	return NULL;
}

/* What a call with the address of no block fails with, but for mems_free and mems_set_root. */
static int misuse_error(void)
{
	return heap.is_started ? EINVAL : EPERM;
}

/* Why a block cannot have so many bytes now; 0 if it can. */
static int size_error(size_t size)
{
	return !heap.is_started           ? EPERM
	       : size == 0                ? EINVAL
	       : library.visitors != 0    ? EBUSY
	       : library.os_requests != 0 ? ENOMEM
	                                  : 0;
}

/* What an allocation gives to its caller; sets errno where it failed. */
static inline void *block_result(size_t granule, int error)
{
	if (LIKELY(granule != NONE))
		return block_virtual(granule);
	errno = error != 0 ? error : ENOMEM;
	return NULL;
}

/* ---- The checker ----------------------------------------------------------------------------- */

enum { INVARIANTS = 18 };

/* What the checker found: for each invariant how often it is broken, and where first. */
struct findings {
	size_t count[INVARIANTS + 1];
	size_t where[INVARIANTS + 1]; /* granule, or an index of the table that it is about */
};

static void check(struct findings *findings, unsigned invariant, bool holds, size_t where)
{
	if (holds)
		return;
	if (findings->count[invariant]++ == 0)
		findings->where[invariant] = where;
}

/* I1, without which nothing else can be looked at. */
static bool check_extent(struct findings *findings)
{
	const unsigned shift = lowest_bit(option_value(MEMS_ALIGNMENT));
	const size_t page_bytes = option_value(MEMS_PAGE_SIZE);
	const size_t offset = (uintptr_t)heap.base - (uintptr_t)heap.reservation;
	const size_t room = heap.reservation_bytes - min_size(offset, heap.reservation_bytes);
	check(findings, 1, heap.start == option_value(MEMS_START_ADDRESS), 0);
	check(findings, 1, heap.shift == shift, 0);
	check(findings, 1, heap.page_log2 == lowest_bit(page_bytes >> shift), 0);
	check(findings, 1, heap.os_page_log2 == lowest_bit(os_page_bytes() >> shift), 0);
	check(findings, 1, heap.is_quick == (option_value(MEMS_POLICY) == MEMS_QUICK_FIT), 0);
	check(findings, 1, (uintptr_t)heap.base == round_up((uintptr_t)heap.reservation, page_bytes), 0);
	check(findings, 1, heap.top <= heap.limit && heap.limit <= room >> shift, heap.top);
	check(findings, 1, (heap.top & ((page_bytes >> shift) - 1)) == 0, heap.top);
	return findings->count[1] == 0;
}

/* I16, likewise. */
static bool check_tables(struct findings *findings)
{
	const size_t slack = option_value(MEMS_PAGE_SIZE) - os_page_bytes();
	struct table expected[TABLES];
	tables_describe(expected);
	for (unsigned i = 0; i < TABLES; i++)
		check(findings, 16, heap.tables[i].entry_bytes == expected[i].entry_bytes &&
		      heap.tables[i].granules_log2 == expected[i].granules_log2, i);
	if (findings->count[16] != 0)
		return false;
	tables_place(expected, heap.movable_granules);
	for (unsigned i = 0; i < TABLES; i++) {
		const struct table *table = &heap.tables[i];
		check(findings, 16, table->memory == expected[i].memory &&
		      table->reserved_bytes == expected[i].reserved_bytes, i);
		check(findings, 16, table->committed_bytes <= table->reserved_bytes, i);
		check(findings, 16, heap.top == 0 ||
		      table->committed_bytes >= table_bytes(table, heap.top), i);
	}
	check(findings, 16, heap.movable_granules == heap.limit ||
	      heap.movable_granules == small_granules(), 0);
	check(findings, 16, heap.top <= heap.movable_granules, heap.movable_granules);
	const size_t bytes = (heap.limit << heap.shift) + slack + tables_share();
	check(findings, 16, heap.reservation_bytes == bytes || heap.reservation_bytes == 2 * bytes, 0);
	check(findings, 16, heap.chunk_count <= MAX_CHUNKS, heap.chunk_count);
	check(findings, 16, heap.cache_count <= MOST_CACHES, heap.cache_count);
	check(findings, 16, heap.is_quick ? heap.chunk_count != 0 || heap.top == 0
	                                  : heap.chunk_count == 0, heap.chunk_count);
	return findings->count[16] == 0;
}

/* I2 to I5: the chain is followed by index, so that no damaged link is. */
static void check_nodes(struct findings *findings)
{
	const struct main_node *node = nodes();
	const size_t pages = page_of(heap.top);
	size_t first = 0;
	check(findings, 2, heap.node_count <= pages, heap.node_count);
	for (size_t i = 0; i < min_size(heap.node_count, pages); i++, node++) {
		const bool is_last = i + 1 == heap.node_count;
		check(findings, 2, node->previous == (i == 0 ? NULL : node - 1), i);
		check(findings, 2, node->next == (is_last ? NULL : node + 1), i);
		check(findings, 3, node->first == first && node->granules != 0, i);
		check(findings, 3, node->granules % page_granules() == 0, i);
		check(findings, 4, bit_is_set(table_bits(BORDERS), page_of(first)), first);
		check(findings, 5, is_start(first), first);
		if (node->granules > heap.top - first)
			break;
		first += node->granules;
	}
	check(findings, 3, first == heap.top, first);
	const size_t borders = bits_count(table_bits(BORDERS), 0, round_up(pages + 1, 64));
	check(findings, 4, borders == heap.node_count, borders);
	check(findings, 5, is_start(heap.top) && !is_hole(heap.top), heap.top);
}

/* What a pass over all granules gathers. */
struct tally {
	size_t process, coalesced;           /* granules */
	size_t blocks;                       /* PROCESS segments, and */
	bool has_journal;                    /* there is one that knows them */
	size_t largest_in_leaf, largest_in_group;
	bool follows_hole;                   /* the segment before is a coalesced HOLE */
	struct cached_tally {
		size_t blocks, granules, sum, mix;
	} cached;
};

static void cached_count(struct cached_tally *tally, size_t granule, size_t size)
{
	tally->blocks++;
	tally->granules += size;
	tally->sum += granule;
	tally->mix ^= granule * granule;
}

/* I17 for one leaf of a segment from granule to next. */
static void check_live_leaf(struct findings *findings, size_t granule, size_t next, size_t leaf,
                            bool is_process)
{
	const size_t first = leaf_of(granule);
	const size_t last = leaf_of(next - 1);
	const size_t region = leaf / REGION_LEAVES;
	const bool is_between = is_process && last - first > 2 && leaf != first && leaf != last;
	const bool is_in_region = is_between && last - first - 1 > MOST_LIVE_LEAVES &&
	                          region * REGION_LEAVES > first &&
	                          (region + 1) * REGION_LEAVES <= last;
	const uint64_t mask = bits_from_to(leaf == first ? granule : 0, leaf == last ? next - 1 : 63);
	const uint64_t expected = is_process && !is_between ? mask : 0;
	check(findings, 17, (leaf_live(leaf) & mask) == expected, leaf);
	if (leaf * 64 + 63 >= next)
		return;
	check(findings, 17, bit_is_set(table_bits(LIVE_LEAVES), leaf) ==
	      (is_between && !is_in_region), leaf);
	if ((leaf + 1) % REGION_LEAVES == 0)
		check(findings, 17, bit_is_set(table_bits(LIVE_REGIONS), region) == is_in_region, leaf);
}

/* Whether the journal has all that it says it has. */
static bool is_journal_whole(void)
{
	const struct journal *journal = &heap.journal;
	const uint64_t entries = journal->entries;
	const uint64_t needed[JOURNAL_ARRAYS] = { /* in 32 bits a damaged number would wrap */
		[JOURNAL_EVENTS] = (uint64_t)max_size(journal->event_slots, 1) * sizeof(struct event),
		[JOURNAL_BLOCKS] = entries * sizeof(struct live_block),
		[JOURNAL_BUCKETS] = entries * sizeof(uint32_t),
		[JOURNAL_SITES] = sites_bytes(journal->site_count),
		[JOURNAL_SITE_BUCKETS] = sizeof(uint32_t) };
	for (unsigned i = 0; i < JOURNAL_ARRAYS; i++) {
		const struct mapping *array = &journal->arrays[i];
		if (array->memory == NULL || (uintptr_t)array->memory % os_page_bytes() != 0 ||
		    array->bytes < needed[i])
			return false;
	}
	return entries >= FIRST_ENTRIES && is_power_of_two(journal->entries) &&
	       journal->bucket_shift == 32 - lowest_bit(entries);
}

/* Whether the journal, which is whole, knows a block as it is. Follows no damaged link, and none for ever. */
static bool is_journaled(size_t granule)
{
	const uint32_t entries = heap.journal.entries;
	uint32_t index = *bucket_of(granule);
	for (uint32_t looks = 0; index < entries && entry_at(index)->granule != granule; looks++)
		index = index == 0 || looks == entries ? entries : entry_at(index)->next;
	return index != 0 && index < entries && entry_at(index)->site < heap.journal.site_count &&
	       entry_at(index)->call <= heap.journal.calls &&
	       entry_at(index)->slack >> heap.shift == 0;
}

/* How many entries of the journal, which is whole, are unused; NONE where their list is damaged. */
static size_t journal_unused(void)
{
	const uint32_t entries = heap.journal.entries;
	uint32_t index = heap.journal.unused;
	size_t unused = 0;
	for (; index != 0 && index < entries && unused < entries; unused++)
		index += 1 + entry_at(index)->next;
	return index == entries ? unused : NONE;
}

/* I7, I12, I13, I17, I18: one segment, from granule to next. */
static void check_segment(struct findings *findings, struct tally *tally, size_t granule,
                          size_t next)
{
	const size_t size = next - granule;
	for (size_t leaf = leaf_of(granule); leaf <= leaf_of(next - 1); leaf++)
		check_live_leaf(findings, granule, next, leaf, !is_hole(granule));
	if (!is_hole(granule)) {
		tally->process += size;
		tally->blocks++;
		check(findings, 18, !heap.journal.is_on || (tally->has_journal && is_journaled(granule)),
		      granule);
	} else if (!is_coalesced(granule)) {
		cached_count(&tally->cached, granule, size);
	} else {
		check(findings, 7, !tally->follows_hole || is_border(granule), granule);
		for (unsigned class = 0; class < CLASSES && class_min[class] <= size; class++)
			check(findings, 12, search_start_of(class) <= leaf_of(granule), granule);
		tally->largest_in_leaf = max_size(tally->largest_in_leaf, size);
		tally->coalesced += size;
	}
	tally->follows_hole = is_coalesced(granule);
}

/* I8, I9, I17: the bits from top on, and the levels above the starts. */
static void check_starts(struct findings *findings)
{
	const size_t last = leaf_of(heap.top);
	const uint64_t beyond = UINT64_MAX << (heap.top % 64);
	const size_t end = round_up(last + 1, 64);
	const size_t region = heap.top >> REGION_LOG2;
	const size_t regions_end = round_up(region + 1, 64);
	check(findings, 8, (leaf_starts(last) & beyond) == bit_of(heap.top), last);
	check(findings, 8, (leaf_live(last) & beyond) == bit_of(heap.top), last);
	check(findings, 8, (leaf_holes(last) & beyond) == 0, last);
	check(findings, 8, (leaf_starts(last + 1) | leaf_live(last + 1) | leaf_holes(last + 1)) == 0,
	      last + 1);
	check(findings, 8, (leaf_starts(NONE) | leaf_live(NONE)) == 0, NONE);
	check(findings, 17, bits_find(table_bits(LIVE_LEAVES), last, end, true) == end, last);
	check(findings, 17, bits_find(table_bits(LIVE_REGIONS), region, regions_end, true) ==
	      regions_end, region);
	for (unsigned level = 0; level < SUMMARY_LEVELS; level++) {
		const size_t entries = (last >> (6 * level)) + 1;
		for (size_t i = 0; i < round_up(entries, 64); i++) {
			const uint64_t below = i >= entries ? 0
			                       : level == 0 ? leaf_starts(i)
			                                    : word_load(&summary(level - 1)[i]);
			check(findings, 9, bit_is_set(table_bits(START_SUMMARY - level), i) == (below != 0), i);
		}
	}
}

/* I10: the ring holds the stale leaves. */
static void check_stale(struct findings *findings)
{
	const size_t bits = table_bytes(&heap.tables[STALE], heap.top) * 8;
	size_t stale = 0;
	for (size_t i = 0; i < MOST_STALE; i++) {
		const size_t leaf = (size_t)heap.stale[i] - 1;
		if (heap.stale[i] == 0)
			continue;
		check(findings, 10, leaf <= leaf_of(heap.top) && is_stale(leaf), leaf);
		stale++;
	}
	check(findings, 10, stale == bits_count(table_bits(STALE), 0, bits), stale);
}

/* I10 and I11 for entries beyond top, which a search reads with the others; I11 above the groups. */
static void check_tree(struct findings *findings)
{
	const uint8_t *entries = leaf_max();
	for (size_t i = leaf_of(heap.top) + 1; i < table_bytes(&heap.tables[LEAF_MAX], heap.top); i++)
		check(findings, 10, entries[i] == 0, i);
	for (unsigned level = 0; level < TREE_LEVELS; level++) {
		const struct table *table = &heap.tables[TREE + level];
		const size_t count = (heap.top >> table->granules_log2) + 1;
		for (size_t i = 0; i < table_bytes(table, heap.top) / sizeof(int32_t); i++) {
			const int32_t expected = i >= count ? 0
			                         : level != 0 ? sizes_max(tree(level - 1) + i * FANOUT)
			                                      : tree(0)[i]; /* see check_entries */
			check(findings, 11, tree(level)[i] == expected, i);
		}
	}
	check_stale(findings);
	for (unsigned class = 0; class < CLASSES; class++)
		check(findings, 12, search_start_of(class) >= search_start_of(class - (class != 0)) &&
		      search_start_of(class) <= leaf_of(heap.top), class);
}

/* The first start after granule, found word by word: not by what is being checked. */
static size_t check_next(size_t granule)
{
	size_t leaf = leaf_of(granule + 1);
	uint64_t starts = leaf_starts(leaf) & (UINT64_MAX << ((granule + 1) % 64));
	while (starts == 0 && leaf < leaf_of(heap.top))
		starts = leaf_starts(++leaf);
	return starts == 0 ? heap.top : min_size(leaf * 64 + lowest_bit(starts), heap.top);
}

/* I10 and I11 for a leaf, and for a group after its last leaf. */
static void check_entries(struct findings *findings, struct tally *tally, size_t leaf)
{
	const size_t group = leaf / GROUP_LEAVES;
	const unsigned entry = leaf_max()[leaf];
	const unsigned exact = leaf_entry_of(tally->largest_in_leaf);
	check(findings, 10, entry == exact || (entry > exact && is_stale(leaf)), leaf);
	tally->largest_in_group = max_size(tally->largest_in_group, tally->largest_in_leaf);
	tally->largest_in_leaf = 0;
	if (leaf % GROUP_LEAVES != GROUP_LEAVES - 1 && leaf != leaf_of(heap.top))
		return;
	const int32_t largest = tree_entry_of(tally->largest_in_group);
	const int32_t found = tree(0)[group];
	check(findings, 11, found == largest || (found > largest && table_bits(STALE)[group] != 0), group);
	tally->largest_in_group = 0;
}

/* I15: a cached block, wherever that is noted. */
static void check_cached(struct findings *findings, struct cached_tally *tally, size_t granule,
                         size_t size)
{
	const bool is_cached = granule < heap.top && is_start(granule) && is_hole(granule) &&
	                       !is_coalesced(granule) && check_next(granule) - granule == size;
	check(findings, 15, is_cached, granule);
	cached_count(tally, granule, size);
}

/* I15: no thread has any in its cache, but perhaps in the memory of a process that has ended. */
static void check_thread_caches(struct findings *findings, struct cached_tally *tally)
{
	for (size_t i = 0; i < heap.cache_count * OWN_SIZES; i++) {
		const struct own_stack *stack = &thread_caches()[i / OWN_SIZES].stacks[i % OWN_SIZES];
		check(findings, 15, stack->count <= OWN_BLOCKS, i);
		for (size_t n = 0; n < min_size(stack->count, OWN_BLOCKS); n++)
			check_cached(findings, tally, stack->blocks[n], i % OWN_SIZES + 1);
	}
}

/* I15: one bin, its chunks, each item of them. Returns how many chunks it has. */
static size_t check_bin(struct findings *findings, size_t bin, struct cached_tally *tally)
{
	size_t chunks = 0;
	uint32_t slot = bins()->tops[bin];
	for (; slot != 0; slot = (*chunk_link(chunk_of(slot)) - LINK) * CHUNK_SLOTS) {
		const uint32_t chunk = chunk_of(slot);
		const bool is_chunk = chunk != 0 && chunk < heap.chunk_count &&
		                      chunks < heap.chunk_count &&
		                      *chunk_link(chunk) >= LINK;
		check(findings, 15, is_chunk, chunk);
		if (!is_chunk)
			break;
		chunks++;
		for (uint32_t item = chunk * CHUNK_SLOTS - (CHUNK_SLOTS - 2); item <= slot; item++)
			check_cached(findings, tally, slots()[item], bin_size(bin));
	}
	check(findings, 15, bins()->misses[bin] <= RUN_BLOCKS, bin);
	return chunks;
}

/* I15: all bins, and the chunks that none has. */
static void check_bins(struct findings *findings, struct cached_tally *tally)
{
	size_t chunks = 1;
	for (size_t bin = 0; bin < BINS; bin++)
		chunks += check_bin(findings, bin, tally);
	check_thread_caches(findings, tally);
	for (uint32_t chunk = heap.spare_chunk; chunk != 0 && chunks <= heap.chunk_count; chunks++) {
		check(findings, 15, chunk < heap.chunk_count, chunk);
		chunk = chunk < heap.chunk_count ? *chunk_link(chunk) - LINK : 0;
	}
	check(findings, 15, slots()[0] == LINK, 0);
	check(findings, 15, !heap.is_shared && heap.claimed == NONE, 0);
	check(findings, 15, chunks == heap.chunk_count, chunks);
	check(findings, 15, heap.flush_top <= heap.top && heap.flush_shift <= MOST_FLUSH_SHIFT, 0);
}

/* I6, I7, I10 to I13, I15, I17, I18: every leaf, every segment that starts there. */
static void check_leaves(struct findings *findings)
{
	struct tally tally = { .has_journal = heap.journal.is_on && is_journal_whole() };
	for (size_t leaf = 0; leaf <= leaf_of(heap.top); leaf++) {
		const struct leaf_bits bits = leaf_read(leaf);
		check(findings, 6, (leaf_holes(leaf) & ~holes_of(bits)) == 0, leaf);
		for (uint64_t rest = bits.starts; rest != 0; rest &= rest - 1) {
			const size_t granule = leaf * 64 + lowest_bit(rest);
			if (granule < heap.top)
				check_segment(findings, &tally, granule, check_next(granule));
		}
		check_entries(findings, &tally, leaf);
	}
	check(findings, 13, process_granules() == tally.process, process_granules());
	check(findings, 13, (size_t)heap.room_granules <= heap.recent_peak, heap.recent_peak);
	check(findings, 13, peak_granules() <= heap.top, peak_granules());
	check(findings, 13, heap.root == NONE || block_of(block_virtual(heap.root)) == heap.root,
	      heap.root);
	check(findings, 13, !heap.is_quick || heap.coalesced_granules == tally.coalesced,
	      heap.coalesced_granules);
	struct cached_tally cached = { 0 };
	if (heap.is_quick)
		check_bins(findings, &cached);
	check(findings, 15, memcmp(&cached, &tally.cached, sizeof(cached)) == 0, tally.cached.blocks);
	check(findings, 18, !tally.has_journal ||
	      journal_unused() == heap.journal.entries - 1 - tally.blocks, heap.journal.unused);
}

/* I14 */
static void check_pages(struct findings *findings)
{
	const uint64_t *touched = table_bits(TOUCHED);
	const uint64_t *idle = table_bits(IDLE);
	const uint64_t *given_back = table_bits(GIVEN_BACK);
	const size_t pages = os_page_of(heap.top);
	for (size_t page = 0; page < pages; page++) {
		const bool is_set = bit_is_set(touched, page);
		check(findings, 14, is_page_free(page) || is_set, page);
		check(findings, 14, !is_set || !bit_is_set(given_back, page), page);
		check(findings, 14, is_set || !bit_is_set(idle, page), page);
		check(findings, 14, heap.is_quick || !is_set || !is_page_free(page) ||
		      bit_is_set(idle, page), page);
		check(findings, 14, is_set || page < heap.purged_end || is_page_coalesced(page), page);
	}
	check(findings, 14, bits_count(touched, 0, round_up(pages + 1, 64)) == heap.touched_pages, 0);
	check(findings, 14, bits_count(idle, 0, round_up(pages + 1, 64)) == heap.idle_pages, 1);
	check(findings, 14, bits_count(given_back, pages, round_up(pages + 1, 64)) == 0, pages);
	check(findings, 14, heap.purged_end <= pages, heap.purged_end);
	check(findings, 14, heap.sweep <= pages, heap.sweep);
	check(findings, 14, heap.kept_pages <= os_page_from(peak_granules()), heap.kept_pages);
}

static int findings_print(const struct findings *findings, FILE *report)
{
	static const char *const meaning[INVARIANTS + 1] = {
		[1] = "top is a whole number of pages within the reservation and the limit",
		[2] = "the main chain is linked both ways",
		[3] = "the main nodes tile the heap in whole pages",
		[4] = "border bits stand exactly at the first granules of main nodes",
		[5] = "every main node begins with a segment, and so does top, which is no HOLE",
		[6] = "a coalesced bit stands only where a HOLE starts",
		[7] = "no two neighbours in a sub-chain are coalesced HOLEs",
		[8] = "no bit is set beyond top",
		[9] = "start_summary tells which leaves have a start",
		[10] = "leaf_max is the largest HOLE that starts in each leaf",
		[11] = "the tree has the largest HOLE that starts in each group, and above",
		[12] = "no HOLE starts before the search start of its class",
		[13] = "the counters equal what the chains say",
		[14] = "the pages that may be in memory are touched",
		[15] = "the bins hold exactly the cached blocks",
		[16] = "the tables lie one after another in the reservation",
		[17] = "live is set exactly for the granules of PROCESS segments",
		[18] = "the journal knows every block",
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

int mems_check(FILE *report)
{
	struct findings findings = { 0 };
	if (!heap.is_started || heap.reservation == NULL)
		return 0;
	const int error = printer_enter(report);
	if (check_extent(&findings) && check_tables(&findings) && heap.top != 0) {
		check_nodes(&findings);
		check_starts(&findings);
		check_leaves(&findings);
		check_tree(&findings);
		check_pages(&findings);
	}
	const int broken = findings_print(&findings, report);
	printer_leave(report);
	errno = error;
	return broken;
}

/* ---- Life and options ------------------------------------------------------------------------ */

/* Reserves address space for so many bytes of heap and their metadata. Where it may be scarce, only if
 * that is at most half of what can be had: asks for twice as much and gives one half back. */
static bool reservation_try(size_t heap_bytes, size_t page_bytes, bool may_be_scarce)
{
	heap.limit = heap_bytes >> heap.shift;
	const size_t slack = page_bytes - os_page_bytes(); /* for the alignment of base */
	const size_t bytes = heap_bytes + slack + tables_share();
	if (bytes < heap_bytes || bytes > SIZE_MAX / 2)
		return false;
	const bool is_twice = may_be_scarce || os_address_space_is_scarce(bytes);
	heap.reservation = os_mmap(NULL, is_twice ? 2 * bytes : bytes, PROT_NONE, 0);
	if (heap.reservation == NULL)
		return false;
	const bool is_kept = is_twice && !os_unmap(heap.reservation + bytes, bytes);
	heap.reservation_bytes = is_kept ? 2 * bytes : bytes;
	heap.base = (char *)round_up((uintptr_t)heap.reservation, page_bytes);
	heap.movable_granules = small_granules();
	tables_place(heap.tables, heap.movable_granules);
	return true;
}

/* Reserves as much as the options, the width of a position and the machine allow; else nothing. */
static void reservation_take(void)
{
	const int error = errno; /* older kernels do not know all that is asked */
	const size_t page_bytes = option_value(MEMS_PAGE_SIZE);
	const size_t limit = option_value(MEMS_LIMIT);
	const size_t most = UINTPTR_MAX - heap.start;
	size_t bytes = MAX_GRANULES <= most >> heap.shift ? MAX_GRANULES << heap.shift : most;
	if (limit != 0)
		bytes = min_size(bytes, limit);
	else if (bytes > EXPENSIVE_HEAP_BYTES && os_reservations_are_expensive())
		bytes = EXPENSIVE_HEAP_BYTES;
	bytes = round_down(bytes, page_bytes);
	bool was_refused = false;
	while (bytes != 0 && !reservation_try(bytes, page_bytes, was_refused)) {
		was_refused = true;
		bytes = round_down(bytes - bytes / 4 - 1, page_bytes);
	}
	if (heap.reservation == NULL)
		heap.limit = 0;
	errno = error;
}

/* A number for the structures that mems-look reads from the memory of another process. */
static uint64_t sign_layout(void)
{
	static const size_t parts[] = {
		MEMS_VERSION_MAJOR, MEMS_VERSION_MINOR, sizeof(void *), sizeof(heap), TABLES,
		sizeof(struct table), sizeof(struct main_node), sizeof(struct bins), SUMMARY_LEVELS,
		offsetof(struct heap, top), offsetof(struct heap, shift), offsetof(struct heap, tables),
		offsetof(struct heap, reservation), offsetof(struct heap, touched_pages),
		offsetof(struct heap, coalesced_granules), offsetof(struct heap, sign),
		offsetof(struct heap, journal), sizeof(struct live_block), sizeof(struct site),
		sizeof(struct event), offsetof(struct journal, arrays), JOURNAL_ARRAYS,
	};
	uint64_t layout = 0;
	for (unsigned i = 0; i < sizeof(parts) / sizeof(parts[0]); i++)
		layout = layout * UINT64_C(1099511628211) + parts[i];
	return layout;
}

/* Reserves what a heap with these options needs. */
static void heap_start(const size_t options[OPTIONS])
{
	memcpy(heap.options, options, sizeof(heap.options));
	heap.has_options = true;
	heap.start = option_value(MEMS_START_ADDRESS);
	heap.shift = lowest_bit(option_value(MEMS_ALIGNMENT));
	heap.page_log2 = lowest_bit(option_value(MEMS_PAGE_SIZE) >> heap.shift);
	heap.os_page_log2 = lowest_bit(os_page_bytes() >> heap.shift);
	heap.is_quick = option_value(MEMS_POLICY) == MEMS_QUICK_FIT;
	heap.is_watched = HAS_ASAN || RUNNING_ON_VALGRIND != 0;
	heap.root = NONE;
	heap.claimed = NONE;
	heap.look_due = (ptrdiff_t)(LOOK_BYTES >> heap.shift);
	tables_describe(heap.tables);
	reservation_take();
}

/* Tells the journal of the blocks of an image, which no call took, and a memory checker of its
 * HOLEs. False where there is no memory. */
static bool segments_adopt(void)
{
	const bool is_on = heap.journal.is_on;
	const size_t end = is_on || heap.is_watched ? heap.top : 0;
	for (size_t granule = 0, next; granule < end; granule = next) {
		next = segment_next(granule);
		if (is_hole(granule))
			mem_mark_noaccess(granule, next - granule);
		else if (is_on && !journal_has_room())
			return false;
		else if (is_on)
			live_add(granule, 0, 0, 0);
	}
	return true;
}

/* From here on there is a heap. False where there is no memory to tell of its segments. */
static bool heap_open(void)
{
	heap.sign = (struct sign){ SIGN_MAGIC, sign_layout(), &heap };
	heap.is_started = true;
	library.generation += 2;
	heap.journal.event_slots = option_value(MEMS_HISTORY);
	record_to(NULL); /* there is no recording yet */
	return segments_adopt();
}

static void heap_end(void)
{
	journal_end();
	if (heap.is_watched && heap.top != 0)
		memory_checker_tell(0, heap.top, true);
	heap.top = heap.node_count = 0; /* for who is called from inside the request */
	count_freed(process_granules());
	if (heap.reservation != NULL)
		os_unmap(heap.reservation, heap.reservation_bytes);
	if (heap.has_key)
		pthread_key_delete(heap.key);
	heap = (struct heap){ 0 };
}

void mems_init(void)
{
	if (heap.is_started || result_of(is_busy() ? EBUSY : 0) != 0)
		return;
	lock_take(); /* another thread may be about to end, or to fork */
	heap_start(library.options);
	heap_open();
	lock_give();
}

void mems_finish(void)
{
	if (!heap.is_started || result_of(is_busy() ? EBUSY : 0) != 0)
		return;
	lock_take(); /* a thread may be about to end */
	heap_end();
	lock_give();
}

int mems_option(enum mems_option option, size_t value)
{
	if (!option_is_valid(option, value))
		return result_of(EINVAL);
	if (heap.is_started || is_busy())
		return result_of(EBUSY);
	library.options[option] = value;
	return 0;
}

const char *mems_version(void)
{
	return MEMS_VERSION;
}

mems_error_handler *mems_set_error_handler(mems_error_handler *handler)
{
	return atomic_exchange(&library.handler, handler);
}

/* ---- Images: a heap that is kept ------------------------------------------------------------- */

/*
 * An image is words of 64 bits, and then pages of the heap:
 *
 *   word 0     magic: the bytes 89 4D 65 4D 53 0D 0A 1A
 *        1     kind: bits 0-31 the version, 1; 32-39 the byte order of all that follows the header,
 *              1 for the lowest byte first, 2 for the highest; 40-47 the bytes in a pointer; else 0
 *        2-6   options: policy (0 first fit, 1 quick fit), alignment, start, page size, limit
 *        7     root: a virtual address; 0 for none
 *        8-9   pages in the heap, and those in which a PROCESS lies
 *        10-11 words of chains, pages of contents
 *        12-17 checksums: of all between header and contents; of the contents; of the words before
 *   stored     a bit for each page in which a PROCESS lies, in ascending order: is it in the contents?
 *   chains     for each leaf in which a PROCESS starts, in ascending order, two words: bit i of the
 *              first is set where a HOLE starts at granule i, of the second where a PROCESS does; if a
 *              main node begins with the leaf, the lowest bit of the second is set in both. In place
 *              of other leaves, one word with bits 62, 63 and some of 7-61: bits 8-61 say how many have
 *              no start. If bit 7 is set, before these is one in which only a HOLE starts, at the granule
 *              in bits 0-5, and with it a main node if bit 6 is set. None for top
 *   padding    0, up to a multiple of the page size
 *   contents   the stored pages in ascending order, all but stretches of zeros; HOLEs are 0
 *
 * In the words of the header the lowest byte is first. A leaf is 64 granules, of as many bytes as
 * the alignment. Cached blocks are coalesced. Checksums are Fletcher's, as in checksum_add. Magic,
 * kind and the checksum of the header are the same in every version. Each byte of header and tables is
 * read once, and checked before it is believed. An int that is returned is 0 or an error number.
 */
#define IMAGE_MAGIC UINT64_C(0x1A0A0D534D654D89)
#define IMAGE_KIND (1 | ((uint64_t)sizeof(void *) << 8 | (BYTE_ORDER == LITTLE_ENDIAN ? 1 : 2)) << 32)

struct image_header {
	uint64_t magic, kind;
	uint64_t options[MEMS_LIMIT + 1];
	uint64_t root, pages, used_pages, chain_words, stored_pages;
	struct checksum tables_sum, contents_sum, header_sum;
};

enum { SUMMED_BYTES = 16 * 8, HEADER_BYTES = SUMMED_BYTES + sizeof(struct checksum) };
static_assert(sizeof(struct image_header) == HEADER_BYTES, "the header is words, without a gap");
static_assert(IMAGE_BYTES <= LARGEST_PAGE, "what is written at once has room where a page has");

#define RUN (UINT64_C(3) << 62)
enum { RUN_NODE = 1 << 6, RUN_HOLE = 1 << 7, RUN_SHIFT = 8 };
/* The first word of two is below. No two HOLEs of a leaf are neighbours: so bits 62 and 63 are set only
 * where a node begins whose first PROCESS is granule 62, between two HOLEs, and bits 1-61 are clear. */
#define LEAST_RUN (RUN | RUN_HOLE)

/* An image that is written or read. */
struct image {
	struct image_header header;
	int file;
	struct mapping memory; /* of what follows, and of contents that are written */
	uint64_t *pages, *stored, *chains; /* pages: a bit for each of the heap, set if it has contents */
};

/* How far chains have been read: the next leaf, and the PROCESS that reaches it, NONE for a HOLE. */
struct chain_reader {
	size_t leaf, process;
};

/* Where the contents begin in the file. */
static uint64_t contents_offset(const struct image_header *header)
{
	const uint64_t page_bytes = header->options[MEMS_PAGE_SIZE];
	const uint64_t bytes = HEADER_BYTES + 8 * (bit_words(header->used_pages) + header->chain_words);
	return (bytes + page_bytes - 1) & ~(page_bytes - 1);
}

/* Makes room for two maps of pages and then so many bytes, all zero. */
static bool image_fit(struct image *image, size_t bytes)
{
	const size_t words = bit_words(image->header.pages);
	const bool fits = mapping_fit(&image->memory, 2 * words * sizeof(uint64_t) + bytes);
	image->pages = image->memory.memory;
	image->stored = image->pages + words;
	image->chains = image->stored + bit_words(image->header.used_pages);
	return fits;
}

/* Goes on to the next pages with contents, in granules: so many bytes at most, or one. False at the end. */
static bool pages_next(const struct image *image, struct range *run, size_t most_bytes)
{
	const size_t pages = page_of(heap.top);
	const size_t most = max_size(page_of(most_bytes >> heap.shift), 1);
	const size_t from = bits_find(image->pages, page_of(run->to), pages, true);
	const size_t to = bits_find(image->pages, from, min_size(from + most, pages), false);
	*run = (struct range){ from << heap.page_log2, to << heap.page_log2 };
	return from < to;
}

static void chains_write(struct image *image)
{
	const size_t end = leaf_of(heap.top);
	uint64_t *next = image->chains;
	size_t next_leaf = 0;
	bool follows_hole = false, is_run = false;
	for (size_t leaf = 0; (leaf = leaf_with_start(leaf, end)) < end; leaf++) {
		const struct leaf_bits bits = leaf_read(leaf);
		const bool is_node = is_border(leaf * 64);
		const uint64_t processes = bits.starts & bits.live;
		const uint64_t holes = holes_of(bits) & ~holes_after_holes(bits, is_node, &follows_hole);
		if ((holes | processes) == 0)
			continue;
		if (leaf != next_leaf && !is_run)
			*next++ = RUN;
		if (leaf != next_leaf)
			next[-1] += (uint64_t)(leaf - next_leaf) << RUN_SHIFT;
		is_run = processes == 0;
		*next++ = is_run ? RUN | RUN_HOLE | (is_node ? RUN_NODE : 0) | lowest_bit(holes)
		                 : holes | (is_node ? processes & -processes : 0);
		if (!is_run)
			*next++ = processes;
		next_leaf = leaf + 1;
	}
	image->header.chain_words = (uint64_t)(next - image->chains);
}

/* What the first of these pages hold, in each of which a PROCESS lies: those that have no HOLE, as they
 * lie, or the very first one, copied, with zeros in place of HOLEs. For a memory checker all is defined.
 * Other threads may clear blocks that they have taken: then all is copied, so that what is written is
 * what was summed. */
static struct iovec pages_contents(struct range pages, char *buffer)
{
	const size_t whole = round_down(stretch_end(pages.from, pages.to), page_granules());
	const bool is_direct = whole > pages.from && !heap.is_watched && is_alone();
	const size_t to = is_direct ? whole : pages.from + page_granules();
	const size_t bytes = (to - pages.from) << heap.shift;
	memset(buffer, 0, is_direct ? 0 : bytes);
	for (size_t next, granule = pages.from; granule < to && !is_direct; granule = next) {
		next = stretch_end(granule, to);
		if (is_live(granule))
			memcpy(buffer + ((granule - pages.from) << heap.shift), block_physical(granule),
			       (next - granule) << heap.shift);
	}
	VALGRIND_MAKE_MEM_DEFINED(buffer, bytes);
	return (struct iovec){ is_direct ? block_physical(pages.from) : buffer, bytes };
}

/* Writes the pages in which a PROCESS lies, without stretches of zeros, and notes which these are. */
static int contents_write(struct image *image, char *buffer)
{
	struct image_header *header = &image->header;
	uint64_t offset = contents_offset(header);
	size_t used = 0; /* pages */
	int error = 0;
	for (struct range run = { 0, 0 }; error == 0 && pages_next(image, &run, IMAGE_BYTES);) {
		const size_t pages = page_of(run.to - run.from), bytes = (run.to - run.from) << heap.shift;
		struct iovec parts[IMAGE_BYTES / SMALLEST_PAGE];
		struct checksum sum = header->contents_sum;
		size_t count = 0;
		for (size_t done = 0; done < bytes; done += parts[count++].iov_len) {
			const struct range rest = { run.from + (done >> heap.shift), run.to };
			parts[count] = pages_contents(rest, buffer + done);
			sum = checksum_add(sum, parts[count].iov_base, parts[count].iov_len);
		}
		used += pages;
		if (sum.sum == header->contents_sum.sum) /* all was 0 */
			continue;
		header->contents_sum = sum;
		header->stored_pages += bits_set(image->stored, used - pages, used, true);
		error = os_write(image->file, parts, count, offset);
		offset += bytes;
	}
	return error;
}

/* Writes the image: the contents, then what comes before them. */
static int image_write(struct image *image)
{
	struct image_header *header = &image->header;
	for (unsigned option = 0; option <= MEMS_LIMIT; option++)
		header->options[option] = option_value(option);
	header->root = heap.root == NONE ? 0 : (uintptr_t)block_virtual(heap.root);
	header->pages = page_of(heap.top);
	const size_t most_bytes = 3 * leaves_with_starts() * sizeof(uint64_t) + LARGEST_PAGE; /* of chains */
	if (!image_fit(image, most_bytes + LARGEST_PAGE))
		return ENOMEM;
	header->used_pages = live_pages_set(image->pages, heap.page_log2);
	image->chains = image->stored + bit_words(header->used_pages);
	chains_write(image);
	int error = contents_write(image, (char *)image->chains + most_bytes);
	const size_t bytes = (size_t)contents_offset(header) - HEADER_BYTES;
	header->tables_sum = checksum_add(no_sum, image->stored, bytes);
	words_swap(&header->magic, HEADER_BYTES / sizeof(uint64_t));
	const struct checksum sum = checksum_add(no_sum, header, SUMMED_BYTES);
	header->header_sum = (struct checksum){ htole64(sum.sum), htole64(sum.sums) };
	struct iovec parts[] = { { header, HEADER_BYTES }, { image->stored, bytes } };
	return error != 0 ? error : os_write(image->file, parts, 2, 0);
}

int mems_save(const char *path)
{
	char temporary[NAME_BYTES];
	struct image image = { .header = { .magic = IMAGE_MAGIC, .kind = IMAGE_KIND }, .file = -1 };
	int folder, cancel_state, before = errno;
	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancel_state);
	lock_take();
	int error = !heap.is_started ? EPERM : is_busy() ? EBUSY : path == NULL ? EFAULT : 0;
	if (error == 0 && (image.file = os_create_beside(path, &folder, temporary, &error)) >= 0)
		error = image_write(&image);
	mapping_free(&image.memory);
	lock_give();
	if (image.file >= 0)
		error = os_publish(folder, image.file, error, temporary, path_name(path));
	pthread_setcancelstate(cancel_state, NULL);
	errno = before;
	return result_of(error);
}

/* Reads the header. ENOTSUP where another machine may have such a heap, EBADMSG where none has. */
static int header_read(struct image *image)
{
	struct image_header *header = &image->header;
	const uint64_t *options = header->options;
	const int error = os_read(image->file, header, HEADER_BYTES, 0);
	const struct checksum sum = checksum_add(no_sum, header, SUMMED_BYTES);
	words_swap(&header->magic, HEADER_BYTES / sizeof(uint64_t));
	const uint64_t page_bytes = options[MEMS_PAGE_SIZE];
	if (error != 0 || header->magic != IMAGE_MAGIC || !is_same_sum(sum, header->header_sum))
		return error != 0 ? error : EBADMSG;
	const bool is_page_small = page_bytes >= SMALLEST_PAGE && page_bytes < os_page_bytes();
	if (header->kind != IMAGE_KIND || (is_page_small && is_power_of_two((size_t)page_bytes)))
		return ENOTSUP;
	for (unsigned i = 0; i <= MEMS_LIMIT; i++)
		if (options[i] != (size_t)options[i] || !option_is_valid(i, (size_t)options[i]))
			return EBADMSG;
	const uint64_t granules = page_bytes / options[MEMS_ALIGNMENT]; /* in a page */
	const bool is_sound =
		header->pages <= MAX_GRANULES / granules &&
		header->pages * page_bytes <= UINTPTR_MAX - options[MEMS_START_ADDRESS] &&
		(options[MEMS_LIMIT] == 0 || header->pages <= options[MEMS_LIMIT] / page_bytes) &&
		header->used_pages <= header->pages && header->stored_pages <= header->used_pages &&
		header->chain_words <= 2 * (header->pages * granules / 64) &&
		os_file_bytes(image->file) == contents_offset(header) + header->stored_pages * page_bytes;
	return is_sound ? 0 : EBADMSG;
}

/* Makes the next leaf; node is not 0 where a main node begins with it. False where no heap has it. */
static ALWAYS_INLINE bool leaf_build(struct chain_reader *reader, struct leaf_bits bits, uint64_t node)
{
	const size_t leaf = reader->leaf++, page = page_of(leaf * 64);
	if (bits.starts == 0 || (node != 0 && ((bits.starts & 1) == 0 || leaf * 64 % page_granules() != 0)))
		return false;
	const size_t first = leaf * 64 + lowest_bit(bits.starts);
	const size_t last = leaf * 64 + highest_bit(bits.starts);
	const uint64_t live = segments_fill(bits.starts, bits.live & ~bit_of(last));
	bool follows_hole = reader->process == NONE;
	if (node != 0)
		bits_set(table_bits(BORDERS), page, page + 1, true);
	const size_t before = follows_hole ? 0 : first - reader->process;
	heap.recent_peak += before + (holes_of(bits) == 0 ? last - first : bits_in(live));
	if (before != 0)
		live_change(reader->process, before, true);
	leaf_write(leaf, (struct leaf_bits){ bits.starts, leaf_live(leaf) | live });
	if (word_load(&summary(0)[leaf / 64]) == 0)
		summary_update(leaf, true);
	word_change(&summary(0)[leaf / 64], bit_of(leaf), true);
	if (heap.is_quick)
		word_store(table_words(COALESCED) + leaf, holes_of(bits));
	const uint64_t wrong = holes_after_holes(bits, node != 0, &follows_hole);
	reader->process = follows_hole ? NONE : last;
	return wrong == 0;
}

/* Makes what these words say, without the first of two alone. Returns how many it read; NONE for no heap. */
static size_t chains_read(struct chain_reader *reader, const uint64_t *words, size_t count)
{
	size_t i = 0;
	for (bool is_sound = true; i < count && i + (words[i] < LEAST_RUN) < count; i++) {
		const uint64_t word = words[i], second = word < LEAST_RUN ? words[++i] : 0;
		if (word < LEAST_RUN)
			is_sound = leaf_build(reader, (struct leaf_bits){ word | second, second }, word & second);
		else if ((word & RUN_HOLE) != 0)
			is_sound = leaf_build(reader, (struct leaf_bits){ bit_of((size_t)word), 0 }, word & RUN_NODE);
		if (word >= LEAST_RUN)
			reader->leaf += (size_t)min_u64((word & ~RUN) >> RUN_SHIFT, leaf_of(heap.top));
		if (!is_sound || reader->leaf > leaf_of(heap.top))
			return NONE;
	}
	return i;
}

/* Makes the rest of a heap that has its leaves and borders. False where no sound heap has these. */
static bool heap_derive(const struct image *image)
{
	const size_t pages = page_of(heap.top);
	const size_t used = live_pages_set(image->pages, heap.page_log2);
	const bool begins_with_node = pages == 0 || is_border(0);
	heap.touched_pages = live_pages_set(table_bits(TOUCHED), heap.os_page_log2);
	for (size_t page = 0, i = 0; (page = bits_find(image->pages, page, pages, true)) < pages; page++)
		if (bit_is_set(image->stored, i++))
			pages_hold(os_page_of(page << heap.page_log2), os_page_of((page + 1) << heap.page_log2));
		else
			bits_set(image->pages, page, page + 1, false);
	for (size_t page = 0, next; page < pages; page = next) {
		next = bits_find(table_bits(BORDERS), page + 1, pages, true);
		node_add(page << heap.page_log2, (next - page) << heap.page_log2);
	}
	if (pages != 0)
		tree_rebuild();
	heap.coalesced_granules = heap.top - process_granules();
	heap.root = block_of((const void *)(uintptr_t)image->header.root);
	return begins_with_node && used == image->header.used_pages &&
	       (heap.root == NONE) == (image->header.root == 0) &&
	       bits_count(image->pages, 0, pages) == image->header.stored_pages;
}

/* Reads the tables, of the chains a piece at a time, and makes a heap of them. */
static int tables_load(const struct image *image)
{
	const struct image_header *header = &image->header;
	const size_t map_bytes = bit_words(header->used_pages) * sizeof(uint64_t);
	const uint64_t end = contents_offset(header);
	uint64_t left = header->chain_words;
	size_t kept = 0; /* words of a piece that are read with the next one: none or one */
	struct chain_reader reader = { 0, NONE };
	int error = os_read(image->file, image->stored, map_bytes, HEADER_BYTES);
	struct checksum sum = checksum_add(no_sum, image->stored, map_bytes);
	for (uint64_t offset = HEADER_BYTES + map_bytes; error == 0 && offset < end; offset += IMAGE_BYTES) {
		const size_t bytes = (size_t)min_u64(end - offset, IMAGE_BYTES);
		const size_t count = (size_t)min_u64(kept + bytes / sizeof(uint64_t), left);
		error = os_read(image->file, image->chains + kept, bytes, offset);
		sum = checksum_add(sum, image->chains + kept, bytes);
		const size_t done = chains_read(&reader, image->chains, count);
		if (done == NONE)
			return error != 0 ? error : EBADMSG;
		left -= done;
		kept = count - done;
		image->chains[0] = image->chains[done];
	}
	const bool is_whole = left == 0 && is_same_sum(sum, header->tables_sum);
	reader.leaf = leaf_of(heap.top);
	if (is_whole && heap.top != 0 && leaf_build(&reader, (struct leaf_bits){ 1, 1 }, 0))
		live_change(heap.top, 1, true);
	return error != 0 ? error : is_whole && heap_derive(image) ? 0 : EBADMSG;
}

/* Maps the contents where that takes few requests, or copies and verifies them. */
static int contents_load(const struct image *image, bool is_mapped)
{
	uint64_t offset = contents_offset(&image->header);
	struct checksum sum = no_sum;
	size_t runs = 0;
	int error = 0;
	for (struct range run = { 0, 0 }; pages_next(image, &run, SIZE_MAX);)
		runs++;
	is_mapped = is_mapped && runs <= MOST_MAPPINGS;
	for (struct range run = { 0, 0 };
	     error == 0 && pages_next(image, &run, is_mapped ? SIZE_MAX : IMAGE_BYTES);) {
		const size_t bytes = (run.to - run.from) << heap.shift;
		if (is_mapped) {
			heap.file_pages = os_page_of(run.to);
			error = os_map_file(block_physical(run.from), bytes, image->file, offset);
		} else {
			error = os_read(image->file, block_physical(run.from), bytes, offset);
			sum = checksum_add(sum, block_physical(run.from), bytes);
		}
		offset += bytes;
	}
	const bool is_sound = is_mapped || is_same_sum(sum, image->header.contents_sum);
	return error != 0 ? error : is_sound ? 0 : EBADMSG;
}

/* Starts the heap of an image. */
static int image_start(struct image *image, bool is_mapped)
{
	size_t options[OPTIONS];
	memcpy(options, library.options, sizeof(options));
	for (unsigned option = 0; option < MEMS_LIMIT; option++)
		options[option] = (size_t)image->header.options[option];
	const size_t limit = (size_t)image->header.options[MEMS_LIMIT];
	options[MEMS_LIMIT] = min_size(options[MEMS_LIMIT] - 1, limit - 1) + 1; /* 0 is the most */
	heap_start(options);
	const size_t top = (size_t)image->header.pages << heap.page_log2;
	if ((top != 0 && (top > heap.limit || !tables_commit(top))) || !image_fit(image, 2 * IMAGE_BYTES))
		return ENOMEM;
	if (image->header.chain_words >= leaf_of(top))
		tables_populate(top); /* most leaves have a start */
	heap.top = top;
	int error = tables_load(image);
	if (error == 0 && top != 0 && !os_map(heap.base, top << heap.shift))
		error = ENOMEM;
	if (error == 0)
		error = contents_load(image, is_mapped);
	return error != 0 ? error : heap_open() ? 0 : ENOMEM;
}

int mems_load(const char *path, unsigned flags)
{
	struct image image = { .file = -1 };
	lock_take(); /* another thread may be about to end, or to fork */
	int error = (flags & ~(unsigned)MEMS_MAP) != 0 ? EINVAL
	            : heap.is_started || is_busy() ? EBUSY : path == NULL ? EFAULT : 0;
	if (error == 0 && (image.file = os_open(AT_FDCWD, path, O_RDONLY | O_NONBLOCK, &error)) >= 0)
		error = header_read(&image);
	if (error == 0 && (error = image_start(&image, (flags & MEMS_MAP) != 0)) != 0)
		heap_end();
	mapping_free(&image.memory);
	if (image.file >= 0)
		os_close(image.file);
	lock_give();
	return result_of(error);
}

/* ---- Allocation: for each call a fast path, without the lock, and the general one ------------- */

static inline void granules_zero(struct range range)
{
	memset(block_physical(range.from), 0, (range.to - range.from) << heap.shift);
}

/* Zeroes granules of a block whose pages are not in memory, but may be swapped out or in a file: they
 * are given back where they are whole, else written. */
static void absent_pages_zero(struct range range)
{
	const size_t first = os_page_from(range.from);
	const size_t end = os_page_of(range.to);
	if (first < end && are_pages_zeroed(first, end) && pages_release(first, end)) {
		granules_zero((struct range){ range.from, first << heap.os_page_log2 });
		range.from = end << heap.os_page_log2;
	}
	granules_zero(range);
}

/* Zeroes granules of a block, and brings no page into memory for that: in pieces of AT_ONCE pages,
 * each run of pages that are in memory, or are not. */
static void sparse_zero(struct range range)
{
	enum { AT_ONCE = 1024 };
	unsigned char resident[AT_ONCE];
	while (range.from < range.to) {
		const size_t page = os_page_of(range.from);
		const size_t count = min_size(os_page_from(range.to) - page, AT_ONCE);
		os_residency(os_page_address(page), os_pages_bytes(count), resident);
		for (size_t i = 0, end; i < count; i = end) {
			const bool is_in = (resident[i] & 1) != 0;
			for (end = i + 1; end < count && is_in == ((resident[end] & 1) != 0);)
				end++;
			const size_t until = min_size((page + end) << heap.os_page_log2, range.to);
			if (is_in)
				granules_zero((struct range){ range.from, until });
			else
				absent_pages_zero((struct range){ range.from, until });
			range.from = until;
		}
	}
}

/* Makes a block zero that was taken for mems_calloc, and notes its pages as touched. Those that are
 * not are zero, but for some that were given back to an image. Returns what of the block is left to
 * be zeroed, which needs no lock. The lock is held. */
static struct range calloc_prepare(size_t start, size_t stop)
{
	const uint64_t *touched = table_bits(TOUCHED);
	const size_t end = os_page_from(stop);
	const bool is_short = stop - start < (size_t)SPARSE_BYTES >> heap.shift;
	size_t page = os_page_of(start);
	const bool is_dense = is_short && bits_find(touched, page, end, false) == end;
	for (size_t from = start, to; from < stop && !is_dense; from = to) {
		const bool is_set = bit_is_set(touched, page);
		const bool are_zero = !is_set && are_pages_zeroed(page, page + 1);
		page = bits_find(touched, page, end, !is_set);
		to = min_size(page << heap.os_page_log2, stop);
		if (is_set && is_short)
			granules_zero((struct range){ from, to });
		else if (!are_zero)
			sparse_zero((struct range){ from, to });
	}
	pages_touch(start, stop);
	return is_dense ? (struct range){ start, stop } : (struct range){ 0 };
}

/* Takes the block of a call, whose size is SIZE_MAX where it overflows, 0 where it is bad otherwise. */
static NOINLINE void *block_allocate(struct call call)
{
	const bool is_calloc = call.kind == 'c';
	const size_t granules = granules_of(call.size);
	const size_t alignment = call.alignment >> heap.shift;
	struct range rest = { 0 };
	size_t granule = NONE;
	lock_take();
	int error = size_error(call.size);
	if (error == 0 && heap.journal.is_on && !journal_has_room())
		error = ENOMEM;
	if (error == 0)
		granule = alignment > 1 ? block_take_aligned(granules, alignment)
		                        : block_take(granules, is_calloc ? FOR_CALLOC : FOR_MALLOC);
	if (is_calloc && granule != NONE)
		rest = calloc_prepare(granule, granule + granules);
	call.to = granule;
	journal_note(&call);
	lock_give_after(granules);
	if (is_calloc && granule != NONE) {
		granules_zero(rest);
		VALGRIND_MAKE_MEM_DEFINED(block_physical(granule), granules << heap.shift); /* it is zero */
	}
	return block_result(granule, error);
}

static NOINLINE void *malloc_general(size_t size, const void *caller)
{
	if (UNLIKELY(!heap.is_started))
		return no_heap_tell("mems_malloc(%zu)", size);
	return block_allocate((struct call){ 'a', .size = size, .caller = caller });
}

/* Where there is more to do than on the fast paths, but not for the OS. */
static NOINLINE void *malloc_beyond(size_t size)
{
	const size_t granule = size == 0 ? NONE : block_take_existing(granules_of(size), FOR_MALLOC);
	return granule != NONE ? block_virtual(granule) : malloc_general(size, NULL);
}

/* Quick fit, where pages under cached blocks were given back, or for a block whose bin is shared. */
static NOINLINE void *malloc_purged(size_t size, size_t index)
{
	const size_t granule = index < FAST_BINS ? fast_bin_pop(index + 1, FAST_BINS) : NONE;
	if (UNLIKELY(granule == NONE))
		return malloc_beyond(size);
	few_pages_touch(granule, granule + index + 1);
	return block_virtual(granule);
}

/* With history on, and one thread: as mems_malloc, and noted, but not where the OS is to be asked. */
static NOINLINE void *malloc_noted(size_t size, size_t index, const void *caller)
{
	const bool has_room = heap.noted_top != 0 && heap.journal.unused < heap.journal.entries;
	const uint32_t site = LIKELY(has_room) && size != 0 ? *site_link(caller) : 0;
	const size_t granule = LIKELY(site != 0) ? block_take_existing(index + 1, FOR_MALLOC) : NONE;
	if (UNLIKELY(granule == NONE))
		return malloc_general(size, caller);
	call_note(MEMS_TAKEN, NONE, granule, index + 1, size, site);
	return block_virtual(granule);
}

/* Quick fit: a block of more than FAST_BINS granules. */
HOT static NOINLINE void *malloc_large(size_t size, size_t index)
{
	if (UNLIKELY(heap.quick_bins == 0 || index >= DIRECT_BINS))
		return malloc_purged(size, index);
	const size_t granule = index < MIDDLE_BINS ? fast_bin_pop(index + 1, MIDDLE_BINS)
	                                           : fast_bin_pop(index + 1, DIRECT_BINS);
	return LIKELY(granule != NONE) ? block_virtual(granule) : malloc_beyond(size);
}

/* First fit: from the leaf where the class of the size begins to look. */
HOT static NOINLINE void *malloc_first(size_t size, size_t index)
{
	const struct fit fit = small_fit(index + 1);
	if (fit.holes == 0) {
		const size_t granule = block_take_beyond(index + 1, fit.leaf, FOR_MALLOC);
		return granule != NONE ? block_virtual(granule) : malloc_general(size, NULL);
	}
	if (UNLIKELY(!is_stale(fit.leaf) || is_first_touch(fit.leaf, fit.holes)))
		return malloc_beyond(size);
	return block_virtual(fit_take(fit, index + 1));
}

/* Other threads may be at work: from the cache of this one. */
static NOINLINE void *malloc_shared(size_t size, const void *caller)
{
	const size_t granule = own_take((size - 1) >> heap.shift);
	return LIKELY(granule != NONE) ? block_virtual(granule) : malloc_general(size, caller);
}

HOT void *mems_malloc(size_t size)
{
	if (UNLIKELY(!is_alone()))
		return malloc_shared(size, CALLER);
	const size_t index = (size - 1) >> heap.shift; /* of a size of 0 it is as large as can be */
	if (LIKELY(index < heap.quick_bins)) {
		const size_t granule = fast_bin_pop(index + 1, FAST_BINS);
		return LIKELY(granule != NONE) ? block_virtual(granule) : malloc_beyond(size);
	}
	if (index < heap.fast_sizes)
		return malloc_first(size, index);
	if (heap.quick_top != 0)
		return malloc_large(size, index);
	return heap.fast_top != 0 ? malloc_beyond(size) : malloc_noted(size, index, CALLER);
}

static NOINLINE void *calloc_beyond(size_t count, size_t size, size_t bytes, const void *caller)
{
	const size_t granules = granules_of(bytes);
	size_t granule = NONE;
	if (UNLIKELY(!is_alone())) {
		granule = own_take((bytes - 1) >> heap.shift);
		if (granule != NONE)
			granules_zero((struct range){ granule, granule + granules });
	} else if (LIKELY(heap.fast_top != 0 && bytes != 0)) {
		granule = block_take_existing(granules, FOR_CALLOC);
		if (LIKELY(granule != NONE))
			granules_zero(calloc_prepare(granule, granule + granules));
	}
	if (LIKELY(granule != NONE))
		return block_virtual(granule);
	if (UNLIKELY(!heap.is_started))
		return no_heap_tell("mems_calloc(%zu, %zu)", count, size);
	return block_allocate((struct call){ 'c', .size = bytes, .caller = caller });
}

HOT void *mems_calloc(size_t count, size_t size)
{
	size_t bytes;
	if (UNLIKELY(__builtin_mul_overflow(count, size, &bytes)))
		bytes = SIZE_MAX;
	const size_t index = (bytes - 1) >> heap.shift; /* of no bytes it is as large as can be */
	const bool is_fast = LIKELY(is_alone()) && index < heap.quick_bins;
	const size_t granule = is_fast ? fast_bin_pop(index + 1, FAST_BINS) : NONE;
	if (UNLIKELY(granule == NONE))
		return calloc_beyond(count, size, bytes, CALLER);
	granules_zero((struct range){ granule, granule + index + 1 });
	return block_virtual(granule);
}

/* Copies a large block, piece by piece, to one that was not in memory, and gives the whole pages of
 * the old one back behind, so that not both are in memory at once: all but pieces in which the program
 * has locked a page. Returns the first page from which on some may be in memory. */
static size_t contents_move(size_t to, size_t from, size_t size)
{
	const size_t least = max_size((size_t)MOVE_BYTES >> heap.shift, size / MOVE_REQUESTS);
	const size_t step = round_up(least, os_page_granules());
	size_t page = os_page_from(from), given_end = page;
	for (size_t at = from, until; at < from + size; at = until) {
		until = min_size(round_down(at + step, os_page_granules()), from + size);
		memcpy(block_physical(at - from + to), block_physical(at), (until - at) << heap.shift);
		const size_t end = os_page_of(until);
		if (page < end && pages_release(page, end) && page == given_end)
			given_end = end;
		page = end;
	}
	return given_end;
}

/* Takes a new block, copies the old one, of so many granules, and frees it. */
static size_t block_move(size_t granule, size_t kept, size_t size, bool may_ask_os)
{
	const size_t touched_before = heap.touched_pages;
	const bool is_large = kept >= (size_t)MOVE_BYTES >> heap.shift;
	if (is_large && !may_ask_os)
		return NONE;
	const size_t to = may_ask_os ? block_take(size, FOR_GROWTH)
	                             : block_take_existing(size, FOR_GROWTH);
	if (to == NONE)
		return NONE;
	const size_t new_pages = heap.touched_pages - min_size(heap.touched_pages, touched_before);
	const size_t surplus = surplus_pages() + os_page_of(kept); /* if the old one stayed in memory */
	const bool is_by_pieces = is_large && new_pages >= os_page_of(kept) / 2 &&
	                          surplus > budget_pages() + heap.kept_pages;
	size_t given_end = 0;
	if (is_by_pieces)
		given_end = contents_move(to, granule, kept);
	else
		memcpy(block_physical(to), block_physical(granule), kept << heap.shift);
	block_release(granule);
	pages_forget(os_page_from(granule), given_end);
	if (is_by_pieces)
		heap.look_due = 0; /* this call has asked the OS often: the next one looks */
	return to;
}

/* Gives a block more room, in place or elsewhere. Where the bins are flushed for want of memory that
 * is tried anew, as a replay does, which flushes them before the call. */
static size_t block_enlarge(size_t granule, size_t before, size_t size, bool may_ask_os)
{
	const size_t next = granule + before;
	const size_t coalesced = heap.coalesced_granules;
	if (block_grow(granule, next, size))
		return granule;
	const size_t to = block_move(granule, before, size, may_ask_os);
	if (to != NONE || coalesced == heap.coalesced_granules)
		return to;
	return block_grow(granule, next, size) ? granule : block_move(granule, before, size, may_ask_os);
}

/* Gives a block another size, in place where that is possible. Returns where it is then; or NONE. */
static size_t block_resize(size_t granule, size_t size, bool may_ask_os)
{
	const size_t next = segment_next(granule);
	const size_t before = next - granule;
	if (size > before)
		return block_enlarge(granule, before, size, may_ask_os);
	if (size < before)
		block_shrink(granule, next, size);
	return granule;
}

static NOINLINE void *realloc_general(void *v_ptr, size_t size, const void *caller)
{
	struct misuse_report report = { 0 };
	size_t to = NONE, freed = 0;
	int error = 0;
	lock_take();
	size_t granule = block_of(v_ptr);
	if (granule != NONE)
		error = size_error(size); /* the journal has an entry for the block */
	if (error == 0 && (granule = block_claim(granule)) == NONE)
		misuse_describe(&report, misuse_error(), "mems_realloc", v_ptr);
	if (granule != NONE && error == 0) {
		const size_t before = segment_size(granule), top = heap.top;
		to = block_resize(granule, granules_of(size), true);
		freed = to == NONE || to == granule ? 0 : before;
		claim_end(freed == 0);
		if (granule == heap.root && to != NONE)
			root_set(to);
		journal_note(&(struct call){ 'r', granule, to, size, 0, caller, before });
		if (UNLIKELY(heap.look_due < 0) && heap.top == top) /* else pages have gone back already */
			purge_look(granule, granule);
	}
	lock_give_after(freed);
	report_tell(&report);
	return report.error != 0 ? NULL : block_result(to, error);
}

static void free_general(void *v_ptr, const void *caller);

/* With other threads at work a small block that grows, and not in place, moves through the caches. Where the
 * old one cannot be freed to them, nothing has changed, and the lock is taken. */
static NOINLINE void *realloc_shared(void *v_ptr, size_t size, const void *caller)
{
	const size_t granule = !is_alone() && heap.is_quick ? block_of(v_ptr) : NONE;
	const size_t before = granule == NONE ? 0 : segment_size(granule);
	const bool is_moved = granule != NONE && before <= OWN_SIZES && granules_of(size) > before &&
	                      !own_may_grow(granule + before);
	const size_t to = is_moved ? own_take((size - 1) >> heap.shift) : NONE;
	if (to == NONE)
		return realloc_general(v_ptr, size, caller);
	memcpy(block_physical(to), block_physical(granule), before << heap.shift);
	if (own_give(granule))
		return block_virtual(to);
	free_general(block_virtual(to), caller);
	return realloc_general(v_ptr, size, caller);
}

void *mems_realloc(void *v_ptr, size_t size)
{
	if (v_ptr == NULL && heap.is_started && !is_alone())
		return malloc_shared(size, CALLER);
	if (v_ptr == NULL && heap.is_started)
		return heap.journal.is_on ? malloc_general(size, CALLER) : mems_malloc(size);
	if (v_ptr == NULL)
		return no_heap_tell("mems_realloc(0, %zu)", size);
	const bool may_try = size != 0 && is_alone() && heap.fast_top != 0 && heap.look_due >= 0;
	const size_t granule = may_try ? block_of(v_ptr) : NONE;
	const bool is_other = granule == NONE || granule == heap.root;
	const size_t to = is_other ? NONE : block_resize(granule, granules_of(size), false);
	return to != NONE ? block_virtual(to) : realloc_shared(v_ptr, size, CALLER);
}

void *mems_aligned_alloc(size_t alignment, size_t size)
{
	const bool is_valid = is_power_of_two(alignment) &&
	                      alignment <= page_granules() << heap.shift;
	if (UNLIKELY(!heap.is_started))
		return no_heap_tell("mems_aligned_alloc(%zu, %zu)", alignment, size);
	return block_allocate((struct call){
		'm', .size = is_valid ? size : 0, .alignment = alignment, .caller = CALLER });
}

static NOINLINE void free_general(void *v_ptr, const void *caller)
{
	struct misuse_report report = { 0 };
	int error = 0;
	if (v_ptr == NULL)
		return;
	lock_take();
	size_t granule = block_of(v_ptr);
	size_t next = granule;
	if (granule != NONE && is_busy()) {
		error = EBUSY;
	} else if ((granule = block_claim(granule)) == NONE) {
		misuse_describe(&report, EINVAL, "mems_free", v_ptr);
	} else {
		next = segment_next(granule);
		if (granule == heap.root)
			root_set(NONE);
		block_release(granule);
		claim_end(false);
		journal_note(&(struct call){ 'f', granule, granule, 0, 0, caller, next - granule });
		own_count();
		if (UNLIKELY(heap.look_due < 0))
			purge_look(granule, next);
	}
	lock_give_after(next - granule);
	report_tell(&report);
	result_of(error);
}

/* Other threads may be at work: to the cache of this one. */
static NOINLINE void free_shared(void *v_ptr, const void *caller)
{
	if (!own_give(granule_of(v_ptr)))
		free_general(v_ptr, caller);
}

/* Whether a fast path, with this top, may free a block that starts at granule; the bits of its leaf. */
static ALWAYS_INLINE bool may_free(size_t granule, size_t top, struct leaf_bits *bits)
{
	if (UNLIKELY(granule >= top || granule == heap.root))
		return false;
	*bits = leaf_read(leaf_of(granule));
	return LIKELY(is_block(granule, *bits));
}

/* A fast path has freed a block up to next, and with it as much as may be freed until that is looked
 * at. */
static NOINLINE void free_look(size_t granule, size_t next)
{
	lock_take();
	purge_look(granule, next);
	lock_give();
}

/* Where there is more to do than on the fast paths. */
static NOINLINE void free_beyond(size_t granule, size_t next)
{
	block_release(granule);
	if (UNLIKELY(heap.look_due < 0))
		free_look(granule, next);
}

/* Quick fit: to the top of the bin. most: as in live_flip. */
static ALWAYS_INLINE void quick_give(size_t granule, size_t size, size_t most)
{
	if (UNLIKELY(size > DIRECT_BINS || !fast_bin_push(granule, size, most)))
		free_beyond(granule, granule + size);
	else if (UNLIKELY(heap.look_due < 0))
		free_look(granule, granule + size);
}

/* Quick fit: a block of any size. Up to MIDDLE_BINS, the next start is in one of three words. */
HOT static NOINLINE void free_large(size_t granule)
{
	const size_t leaf = leaf_of(granule);
	const uint64_t near = starts_after(granule, leaf_starts(leaf));
	const uint64_t middle = starts_after(granule + 64, leaf_starts(leaf + 1));
	if (near != 0)
		quick_give(granule, lowest_bit(near) + 1, FAST_BINS);
	else if (middle != 0)
		quick_give(granule, lowest_bit(middle) + 65, MIDDLE_BINS);
	else
		quick_give(granule, start_beyond_inline(leaf) - granule, DIRECT_BINS);
}

/* With history on, and one thread: as mems_free, and noted. */
static NOINLINE void free_noted(size_t granule, void *v_ptr, const void *caller)
{
	struct leaf_bits bits;
	const uint32_t site = may_free(granule, heap.noted_top, &bits) ? *site_link(caller) : 0;
	if (UNLIKELY(site == 0)) {
		free_general(v_ptr, caller);
		return;
	}
	const uint64_t near = starts_after(granule, bits.starts);
	const size_t size = LIKELY(near != 0) ? lowest_bit(near) + 1 : segment_size(granule);
	call_note(MEMS_FREED, granule, granule, size, 0, site);
	if (heap.is_quick)
		quick_give(granule, size, near != 0 ? FAST_BINS : DIRECT_BINS);
	else
		free_beyond(granule, granule + size);
}

/* First fit: where the HOLE that comes to be lies within a leaf. */
HOT static NOINLINE void free_first(size_t granule, void *v_ptr, const void *caller)
{
	struct leaf_bits bits;
	if (UNLIKELY(!may_free(granule, heap.fast_top, &bits))) {
		free_noted(granule, v_ptr, caller);
		return;
	}
	size_t next = granule; /* of a small block that is no matter */
	if (!is_inner(granule, bits))
		next = block_coalesce(granule);
	else if (!leaf_coalesce(granule, bits, false))
		block_release(granule);
	if (UNLIKELY(heap.look_due < 0))
		free_look(granule, next);
}

HOT void mems_free(void *v_ptr)
{
	const size_t granule = granule_of(v_ptr);
	if (UNLIKELY(!is_alone())) {
		free_shared(v_ptr, CALLER);
		return;
	}
	if (LIKELY(granule < heap.quick_top && granule != heap.root)) {
		const uint64_t starts = starts_from(granule);
		if (LIKELY(is_live_near(granule)) && LIKELY((starts & 1) != 0)) {
			const uint64_t after = starts & ~(uint64_t)1;
			if (after != 0)
				quick_give(granule, lowest_bit(after), FAST_BINS);
			else
				free_large(granule);
			return;
		}
	}
	free_first(granule, v_ptr, CALLER);
}

size_t mems_usable_size(const void *v_ptr)
{
	const size_t granule = block_of(v_ptr);
	if (LIKELY(granule != NONE))
		return segment_size(granule) << heap.shift;
	if (v_ptr == NULL)
		errno = misuse_error();
	else
		misuse_tell(misuse_error(), "mems_usable_size", v_ptr);
	return 0;
}

size_t mems_trim(void)
{
	size_t pages = 0;
	lock_take();
	const int error = !heap.is_started ? EPERM : is_busy() ? EBUSY : 0;
	if (error == 0) {
		bins_flush();
		heap.kept_pages = 0;
		pages = heap.touched_pages;
		for (heap.sweep = os_page_of(heap.top); heap.sweep != 0;)
			pages_sweep(NONE, SWEEP_REQUESTS);
		pages -= heap.touched_pages;
		journal_note(&(struct call){ .kind = 'g' });
	}
	lock_give();
	result_of(error);
	return os_pages_bytes(pages);
}

int mems_set_root(void *v_ptr)
{
	lock_take();
	caches_close(); /* threads free no root without the lock */
	const size_t granule = block_of(v_ptr);
	const bool is_misuse = v_ptr != NULL && granule == NONE;
	const int error = is_misuse ? EINVAL : is_busy() ? EBUSY : 0;
	if (error == 0 && heap.is_started)
		root_set(granule);
	lock_give();
	if (is_misuse)
		misuse_tell(EINVAL, "mems_set_root", v_ptr);
	return result_of(error);
}

void *mems_root(void)
{
	lock_take();
	void *root = heap.is_started && heap.root != NONE ? block_virtual(heap.root) : NULL;
	lock_give();
	return root;
}

/* ---- Translation ----------------------------------------------------------------------------- */

static NOINLINE void *no_address(void)
{
	errno = EFAULT;
	return NULL;
}

/* A branch, because the processor goes on with the result without waiting for the bit. */
static ALWAYS_INLINE bool is_offset_live(size_t offset)
{
	const size_t top = top_load();
	const size_t granule = offset >> heap.shift;
	return LIKELY(granule < top) && is_live(granule);
}

/* Whether no segment starts after the first and up to the last of these bytes. At top one does. */
static ALWAYS_INLINE bool is_range_whole(size_t offset, size_t size)
{
	const size_t last = offset + size - (size != 0);
	const size_t granule = offset >> heap.shift;
	const size_t more = (last >> heap.shift) - granule;
	if (LIKELY(more == 0))
		return last >= offset; /* it may have wrapped */
	if (LIKELY(more < 64))
		return (starts_after(granule, leaf_starts(leaf_of(granule))) & (bit_of(more) - 1)) == 0;
	return last > offset && segment_next(granule) > granule + more;
}

static ALWAYS_INLINE char *range_physical(const void *v_ptr, size_t size)
{
	const size_t offset = (uintptr_t)v_ptr - heap.start;
	if (LIKELY(is_offset_live(offset) && is_range_whole(offset, size)))
		return heap.base + offset;
	return no_address();
}

void *mems_get(const void *v_ptr)
{
	return range_physical(v_ptr, 1);
}

void *mems_get_range(const void *v_ptr, size_t size)
{
	return range_physical(v_ptr, size);
}

void *mems_virtual(const void *p_ptr)
{
	const size_t offset = (uintptr_t)p_ptr - (uintptr_t)heap.base;
	return LIKELY(is_offset_live(offset)) ? (void *)(heap.start + offset) : no_address();
}

/* memcpy of a size that is often that of a word. */
static ALWAYS_INLINE void bytes_copy(void *destination, const void *source, size_t size)
{
	if (size == sizeof(uint64_t))
		memcpy(destination, source, sizeof(uint64_t));
	else if (size != 0)
		memcpy(destination, source, size);
}

int mems_read(void *destination, const void *v_ptr, size_t size)
{
	const void *physical = range_physical(v_ptr, size);
	if (UNLIKELY(physical == NULL))
		return -1;
	bytes_copy(destination, physical, size);
	return 0;
}

int mems_write(void *v_ptr, const void *source, size_t size)
{
	void *physical = range_physical(v_ptr, size);
	if (UNLIKELY(physical == NULL))
		return -1;
	bytes_copy(physical, source, size);
	return 0;
}

/* ---- Looking and printing -------------------------------------------------------------------- */

static int segment_print(const struct mems_segment *segment, void *out)
{
	if (segment->start == segment->node_start)
		fprintf(out, "MAIN[%" PRIuPTR ":%" PRIuPTR "] -> ", segment->node_start, segment->node_end);
	fprintf(out, "%s[%" PRIuPTR ":%" PRIuPTR "] <-> ", type_name(segment->type), segment->start,
	        segment->end);
	if (segment->end == segment->node_end)
		fputs("NULL\n", out);
	return 0;
}

struct counting {
	FILE *out;
	size_t length; /* segments of the node so far */
};

static int length_print(const struct mems_segment *segment, void *context)
{
	struct counting *counting = context;
	counting->length++;
	if (segment->end == segment->node_end) {
		fprintf(counting->out, segment->node == 0 ? "%zu" : ", %zu", counting->length);
		counting->length = 0;
	}
	return 0;
}

void mems_fprint_stats(FILE *out)
{
	const int error = printer_enter(out);
	const size_t unused = heap.is_started ? heap.top - process_granules() : 0;
	const size_t nodes = heap.is_started ? heap.node_count : 0; /* it may be about to be loaded */
	segments_walk(segment_print, out);
	fprintf(out, "Page used: %zu\nSpace unused: %zu\nMain Chain Length: %zu\n",
	        page_of(heap.top), unused << heap.shift, nodes);
	fputs("Sub-chain Length array: [", out);
	segments_walk(length_print, &(struct counting){ .out = out });
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
	const size_t granule = (segment->start - heap.start) >> heap.shift;
	const size_t first = os_page_from(granule);
	const size_t end = os_page_of(granule + (segment->size >> heap.shift));
	if (segment->type == MEMS_PROCESS) {
		stats->process_segments++;
		return 0;
	}
	stats->hole_segments++;
	stats->largest_hole = max_size(stats->largest_hole, segment->size);
	stats->resident_hole_bytes += os_pages_bytes(bits_count(table_bits(TOUCHED), first, end));
	return 0;
}

/* How many bytes of a page-aligned range are in memory; all of them where the OS does not tell. */
static size_t resident_bytes(char *address, size_t bytes)
{
	enum { AT_ONCE = 1024 };
	unsigned char pages[AT_ONCE];
	const size_t page = os_page_bytes();
	size_t resident = 0;
	while (bytes != 0) {
		const size_t count = min_size(bytes / page, AT_ONCE);
		os_residency(address, count * page, pages);
		for (size_t i = 0; i < count; i++)
			resident += (pages[i] & 1) != 0 ? page : 0;
		address += count * page;
		bytes -= count * page;
	}
	return resident;
}

/* A page that two tables share is counted with the first. */
static size_t tables_resident_bytes(void)
{
	const uintptr_t page = os_page_bytes();
	uintptr_t end = 0; /* of those that are counted */
	size_t bytes = 0;
	for (unsigned i = 0; i < TABLES; i++) {
		const uintptr_t memory = (uintptr_t)heap.tables[i].memory;
		const uintptr_t first = round_down(memory, page);
		const uintptr_t from = first + page == end ? end : first;
		if (heap.tables[i].committed_bytes == 0)
			continue;
		end = round_up(memory + heap.tables[i].committed_bytes, page);
		bytes += resident_bytes((char *)from, end - from);
	}
	return bytes;
}

void mems_get_stats(struct mems_stats *stats)
{
	*stats = (struct mems_stats){ 0 };
	if (!heap.is_started)
		return;
	lock_take();
	caches_close();
	stats->pages = page_of(heap.top);
	stats->mapped_bytes = heap.top << heap.shift;
	stats->process_bytes = process_granules() << heap.shift;
	stats->hole_bytes = stats->mapped_bytes - stats->process_bytes;
	stats->main_nodes = heap.node_count;
	stats->peak_process_bytes = peak_granules() << heap.shift;
	stats->peak_mapped_bytes = stats->mapped_bytes;
	stats->metadata_bytes = sizeof(heap) + sizeof(library) + tables_resident_bytes();
	for (unsigned i = 0; i < JOURNAL_ARRAYS; i++)
		stats->metadata_bytes += resident_bytes(heap.journal.arrays[i].memory,
		                                        heap.journal.arrays[i].bytes);
	segments_walk(segment_tally, stats);
	lock_give();
}

/* How many bytes the character has that begins a text; 0 where that is not UTF-8. */
static size_t character_bytes(const char *text)
{
	const unsigned char *bytes = (const unsigned char *)text;
	const uint32_t first = (uint32_t)bytes[0] << 8 | bytes[1];
	const size_t count = bytes[0] < 0x80                            ? 1
	                     : first >= 0xC280 && first < 0xE000        ? 2
	                     : first >= 0xE0A0 && first < 0xF000 &&
	                               (first < 0xEDA0 || first >= 0xEE00) ? 3
	                     : first >= 0xF090 && first < 0xF490        ? 4
	                                                                : 0;
	for (size_t i = 1; i < count; i++)
		if ((bytes[i] & 0xC0) != 0x80)
			return 0;
	return count;
}

static void label_print_json(const char *label, FILE *out)
{
	const char *const end = label + label_length(label);
	fputs(",\"label\":\"", out);
	while (label < end) {
		const unsigned char byte = (unsigned char)*label;
		const size_t bytes = character_bytes(label);
		if (byte < ' ' || byte == '"' || byte == '\\' || byte == 127)
			fprintf(out, "\\u%04x", byte);
		else if (bytes == 0)
			fputs("\\ufffd", out);
		else
			fwrite(label, 1, bytes, out);
		label += max_size(bytes, 1);
	}
	putc('"', out);
}

/* Which call took a block, where the journal knows it. */
static void origin_print_json(size_t granule, FILE *out)
{
	const struct mems_event taking = taking_of(granule);
	if (taking.call == 0)
		return;
	fprintf(out, ",\"call\":%" PRIu64, taking.call);
	if (taking.label != NULL)
		label_print_json(taking.label, out);
}

static int segment_print_json(const struct mems_segment *segment, void *out)
{
	const bool is_first = segment->start == segment->node_start;
	const size_t node_bytes = segment->node_end - segment->node_start + 1;
	if (is_first)
		fprintf(out, "%s{\"start\":%" PRIuPTR ",\"end\":%" PRIuPTR ",\"pages\":%zu,"
		        "\"physical\":\"0x%" PRIxPTR "\",\"sub_chain\":[",
		        segment->node == 0 ? "\n" : ",\n", segment->node_start, segment->node_end,
		        page_of(node_bytes >> heap.shift), (uintptr_t)segment->physical);
	fprintf(out, "%s{\"type\":\"%s\",\"start\":%" PRIuPTR ",\"end\":%" PRIuPTR ",\"size\":%zu",
	        is_first ? "\n" : ",\n", type_name(segment->type), segment->start, segment->end,
	        segment->size);
	if (segment->remembered_bytes != 0)
		fprintf(out, ",\"remembered_bytes\":%zu", segment->remembered_bytes);
	origin_print_json((segment->start - heap.start) >> heap.shift, out);
	fputs(segment->end == segment->node_end ? "}]}" : "}", out);
	return 0;
}

int mems_fprint_json(FILE *out)
{
	enum { SCHEMA = 1 };
	struct mems_stats stats;
	const int error = printer_enter(out);
	mems_get_stats(&stats);
	fprintf(out, "{\"schema\":%d,\"page_size\":%zu,\"alignment\":%zu,\"start\":%zu,"
	        "\"policy\":\"%s\",\n\"main_chain\":[", SCHEMA, option_value(MEMS_PAGE_SIZE),
	        option_value(MEMS_ALIGNMENT), option_value(MEMS_START_ADDRESS),
	        policy_name(option_value(MEMS_POLICY)));
	segments_walk(segment_print_json, out);
	fprintf(out, "],\n\"stats\":{\"pages\":%zu,\"mapped_bytes\":%zu,\"process_bytes\":%zu,"
	        "\"hole_bytes\":%zu,\"largest_hole\":%zu,\"main_nodes\":%zu,"
	        "\"process_segments\":%zu,\"hole_segments\":%zu,\"peak_process_bytes\":%zu,"
	        "\"peak_mapped_bytes\":%zu,\"metadata_bytes\":%zu,\"resident_hole_bytes\":%zu}}\n",
	        stats.pages, stats.mapped_bytes, stats.process_bytes, stats.hole_bytes,
	        stats.largest_hole, stats.main_nodes, stats.process_segments, stats.hole_segments,
	        stats.peak_process_bytes, stats.peak_mapped_bytes, stats.metadata_bytes,
	        stats.resident_hole_bytes);
	return printer_end(out, error);
}

int mems_walk(mems_visitor *visit, void *context)
{
	printer_enter(NULL);
	const int result = segments_walk(visit, context);
	printer_leave(NULL);
	return result;
}

int mems_segment_at(const void *v_ptr, struct mems_segment *segment)
{
	lock_take();
	caches_close();
	const bool is_found = segment_find(v_ptr, segment);
	lock_give();
	return result_of(is_found ? 0 : EFAULT);
}
