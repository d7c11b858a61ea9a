/*
 * MeMS: a heap that can be seen.
 *
 * mems_malloc hands out *virtual* addresses (the first is 1000). A program must not dereference
 * them: mems_get translates one into the *physical* address, inside memory that mmap returned,
 * where the bytes can be read and written. The heap is described by two kinds of chains, which can
 * be printed, walked and checked at any time: a main chain with one node for each mmap request, and
 * in each node a sub-chain of segments, PROCESS (in use) or HOLE (free).
 *
 * Vital statistics
 *   Placement          exact first fit: the lowest-addressed HOLE that is large enough; or
 *                      quick fit, with deferred merging, for speed
 *   Headers in blocks  none; all metadata lies apart, about 3.4 % of the heap at alignment 8, and
 *                      5 % under quick fit
 *   Alignment          of physical addresses: MEMS_ALIGNMENT, 8 by default, which is less than
 *                      alignof(max_align_t) on most machines. Set it to 16 with mems_option, or
 *                      use mems_aligned_alloc, before storing long double or vector types. The
 *                      first virtual address, 1000, is not a multiple of 16. UBSan complains of
 *                      expressions like &v->n on virtual addresses of such types, unless
 *                      MEMS_START_ADDRESS is a multiple of 16 as well, for example 4096.
 *   Smallest block     MEMS_ALIGNMENT bytes; mems_malloc(0) is an error (EINVAL)
 *   Largest heap       2^32 - 4096 granules of MEMS_ALIGNMENT bytes: 32 GiB at 8, 4 GiB at 1; less
 *                      where the machine gives less address space (see "Limits" in the README)
 *   mems_malloc, mems_free                   O(log heap); under quick fit mostly a few
 *                                            dozen instructions, amortised O(log heap)
 *   mems_get and the other translations      a handful of loads
 *   Same calls, same virtual addresses, same printed text: in every run, on every machine with
 *   4096-byte pages
 *
 * Units: every size is in bytes, every address is in bytes.
 * Errors: a failing call returns NULL, -1 or 0 as stated and sets errno. Success leaves errno
 *   alone. Where several errors apply, the first of these is given: no heap (EPERM; mems_free and
 *   mems_set_root report a misuse), a misused address (EINVAL), a bad argument (EINVAL), a visitor at
 *   work (EBUSY), no memory (ENOMEM).
 * NULL: a path that is NULL gives EFAULT. Streams, visitors, structures and other memory of the
 *   caller must be there; NULL stands for none only where that is said.
 * Misuse: mems_free, mems_realloc, mems_usable_size and mems_set_root of an address that is not the
 *   start of a live block change nothing, set errno to EINVAL and report one line
 *   (mems_set_error_handler). So does every allocation without a heap, with EPERM: mems_init is
 *   missing. docs/mistakes.md says what to do about each.
 * A program that interposes mmap, munmap, mprotect, madvise or mincore may call MeMS there: while a
 *   request of MeMS is under way, its thread gets ENOMEM for an allocation and EBUSY for mems_free;
 *   mems_check may find there what is half done, inside mems_finish no block is left, and inside
 *   mems_load there is no heap yet.
 * Threads: every function may be called from any thread at any time, except mems_init, mems_load,
 *   mems_finish and mems_option: call those only while no other thread is in MeMS. Translations,
 *   and mems_usable_size of a live block, take no lock; all others share one, which is not taken in
 *   a process with one thread (where the C library tells, as glibc does). Under MEMS_QUICK_FIT, if
 *   there are several threads, each has a cache of blocks of up to 64 granules, from which it is
 *   served without the lock: where the kernel has membarrier, without history, a recording or a
 *   memory checker, 64 threads at a time. While a thread walks, prints or checks the heap, all
 *   calls of others that take the lock wait, even those that only look: a visitor must not wait for
 *   them. For an address in a segment that another thread is freeing, taking, splitting or merging
 *   at that moment, either answer may come. After fork, parent and child each have their own heap
 *   and go on, also from a visitor; but a thread must not call MeMS while it holds a stream
 *   (flockfile) where another may fork while a third flushes all streams. Nothing here is
 *   async-signal-safe.
 * Stale addresses: a virtual address is refused from the moment its block is freed until the same
 *   address is given out again. A physical address is an ordinary pointer that MeMS cannot guard.
 */
#ifndef MEMS_H
#define MEMS_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/* The version of this header, the one place where it stands. */
#define MEMS_VERSION_MAJOR 2
#define MEMS_VERSION_MINOR 0
#define MEMS_VERSION_PATCH 0
#define MEMS_VERSION "2.0.0"

#ifdef __cplusplus
extern "C" {
#endif

/* What mems_option sets. */
enum mems_option {
	MEMS_POLICY,        /* an enum mems_policy; MEMS_FIRST_FIT */
	MEMS_ALIGNMENT,     /* bytes, a power of two from 1 to 64; 8. With 1, segments are byte-exact */
	MEMS_START_ADDRESS, /* the first virtual address, 1 to 2^31; 1000 */
	MEMS_PAGE_SIZE,     /* bytes, a power of two and a multiple of the OS page size, up to 2 MiB;
	                       4096, or the OS page size where that is larger */
	MEMS_LIMIT,         /* the most bytes that may be mapped, rounded down to pages; 0, the
	                       default, for no limit but the machine's */
	MEMS_HISTORY        /* how many of the last calls the heap remembers, up to 2^24; 0, the default,
	                       for none: see "Questions" */
};

/* How a request finds its HOLE. */
enum mems_policy {
	MEMS_FIRST_FIT, /* the lowest-addressed HOLE that is large enough */
	MEMS_QUICK_FIT  /* the block of exactly the size that was freed last, else first fit: more than
	                   twice as fast, in a little more memory; see mems_free */
};

enum mems_segment_type {
	MEMS_PROCESS, /* handed to the program */
	MEMS_HOLE     /* free */
};

/* One segment, as mems_walk and mems_segment_at describe it. A copy: it belongs to the caller. */
struct mems_segment {
	enum mems_segment_type type;
	uintptr_t start;      /* first virtual address */
	uintptr_t end;        /* last virtual address */
	size_t size;          /* bytes: end - start + 1 */
	void *physical;       /* physical address of the first byte; valid until mems_finish */
	size_t node;          /* index of the main node in the main chain, from 0 */
	uintptr_t node_start; /* first virtual address of that main node */
	uintptr_t node_end;   /* last virtual address of that main node */
	size_t remembered_bytes; /* of a HOLE under MEMS_QUICK_FIT: bytes that lie in blocks kept for
	                            requests of exactly their size, which placement treats as taken */
};

/* Counters of the heap. Sizes are in bytes. The peaks are those since mems_init. */
struct mems_stats {
	size_t pages;              /* mapped pages, of MEMS_PAGE_SIZE bytes */
	size_t mapped_bytes;       /* pages in bytes: process_bytes + hole_bytes */
	size_t process_bytes;      /* in PROCESS segments, rounding up included */
	size_t hole_bytes;         /* in HOLE segments */
	size_t largest_hole;       /* size of the largest HOLE, 0 where there is none */
	size_t main_nodes;         /* length of the main chain */
	size_t process_segments;   /* number of PROCESS segments */
	size_t hole_segments;      /* number of HOLE segments */
	size_t peak_process_bytes; /* the most that process_bytes has been; under MEMS_QUICK_FIT with
	                              several threads more than that by what their caches held */
	size_t peak_mapped_bytes;  /* the highest value that mapped_bytes had */
	size_t metadata_bytes;     /* bookkeeping that is resident in memory, apart from the blocks */
	size_t resident_hole_bytes; /* whole OS pages inside HOLEs that may be in memory */
};

/* What a call did to its block. */
enum mems_event_kind {
	MEMS_TAKEN,
	MEMS_RESIZED,
	MEMS_FREED
};

/* A call that the heap remembers. A copy: it belongs to the caller, except the label's text. */
struct mems_event {
	uint64_t call;             /* its number since mems_init, from 1: see mems_history */
	enum mems_event_kind kind;
	const char *label;         /* set by mems_set_label when the call was made; NULL: none */
	const void *caller;        /* the address that the call returned to: see mems_set_caller */
	uintptr_t start;           /* first virtual address of the block, after the call */
	size_t size;               /* bytes asked for; if it was freed: before that */
};

/* Called by mems_walk for one segment; a result other than 0 ends the walk. The segment lives only
 * during the call. A visitor may call functions that read the heap; those that would change it do
 * nothing there and fail with EBUSY. The same holds for the functions of a stream (see
 * fopencookie(3)) while MeMS prints to it. A visitor must return: neither longjmp nor pthread_exit
 * may leave it. Its thread is not cancelled meanwhile. */
typedef int mems_visitor(const struct mems_segment *segment, void *context);

/* Called for a misuse. error: EINVAL, or EPERM without a heap; v_ptr: the address passed, or NULL;
 * message: one line without a newline, which is valid only during the call. The handler may call
 * abort and any function of MeMS. */
typedef void mems_error_handler(int error, const void *v_ptr, const char *message);

/* ---- Life ------------------------------------------------------------------------------------ */

/* Starts an empty heap: no pages, next virtual address MEMS_START_ADDRESS. Reserves address space,
 * not memory. If a heap is started already, it changes nothing. If not even address space can be
 * reserved, the heap is started nevertheless, and every allocation gives ENOMEM.
 * Cost: a few requests to the OS. */
void mems_init(void);

/* Unmaps everything; all virtual and physical addresses become invalid. Until the next mems_init
 * there is no heap: allocation gives EPERM, translation EFAULT, mems_free of a non-NULL address is
 * a misuse, and the printing and counting functions show an empty heap. From a visitor it does
 * nothing and sets errno to EBUSY. Cost: one request to the OS. */
void mems_finish(void);

/* Sets an option for every later mems_init. Returns 0, or -1 with EINVAL (unknown option, or a
 * value that is not allowed) or EBUSY (a heap is started, or a visitor is at work). */
int mems_option(enum mems_option option, size_t value);

/* ---- Allocation ------------------------------------------------------------------------------ */

/* Returns the virtual address of a new PROCESS segment of size bytes, rounded up to a multiple of
 * MEMS_ALIGNMENT, at the low end of the lowest-addressed HOLE that is large enough. If there is
 * none, maps a new main node of max(pages needed, pages mapped so far / 8) pages, under
 * MEMS_QUICK_FIT at least 16; if the OS or MEMS_LIMIT refuses that, of the pages needed. The contents
 * are undefined. The block is the caller's until mems_free or mems_finish.
 * NULL with the heap unchanged: EPERM no heap, EINVAL size 0, EBUSY in a visitor, ENOMEM no memory
 * (also where size overflows). Cost: O(log heap), and one request to the OS for a new node. */
void *mems_malloc(size_t size);

/* As mems_malloc(count * size), with the bytes zeroed; an overflowing product gives ENOMEM. Pages that
 * are not in memory stay so; in a block of less than 64 KiB, if no block has been in them since the OS
 * gave them. Cost: as mems_malloc, and the zeroing, with a request to the OS for each run of pages of
 * a large block that may hold something and are not in memory. */
void *mems_calloc(size_t count, size_t size);

/* Changes the size of the block at v_ptr and returns its virtual address, which may be another; the
 * contents are kept up to the smaller size. NULL acts as mems_malloc. Shrinks in place. Grows in
 * place if a HOLE directly to the right in the same node has the room; else takes a new block while
 * the old one is still held, copies, and frees the old one. A node that is mapped for a block that
 * grows has half as many pages again as are needed, so that the next growth finds room: once no HOLE
 * elsewhere is large enough, a buffer that grows in steps of any size is copied O(log size) times,
 * if nothing else takes that room. A block that moves may lose an alignment that mems_aligned_alloc
 * gave it.
 * NULL with the old block untouched: as mems_malloc, and EINVAL with a report for an address that
 * is not the start of a live block. Cost: O(log heap), and the copy where it moves. */
void *mems_realloc(void *v_ptr, size_t size);

/* As mems_malloc, with a *physical* address that is a multiple of alignment: a power of two up to
 * MEMS_PAGE_SIZE, else EINVAL. Takes the lowest-addressed HOLE in which an aligned block fits; the
 * gap before it stays a HOLE. Cost: as mems_malloc, and linear in the HOLEs of size up to
 * size + alignment bytes that lie before the answer. */
void *mems_aligned_alloc(size_t alignment, size_t size);

/* Turns the block at v_ptr into a HOLE and merges it at once with the HOLEs on its left and right
 * in the same main node. NULL does nothing. Never needs memory.
 * Under MEMS_QUICK_FIT a block of up to 64 KiB is remembered by its exact size instead, for the
 * next request of that size. All functions that translate or look treat it as a HOLE. When a size
 * is asked for again and again, a request may take a run of blocks at once, of up to 4 KiB
 * together, and remember the rest: these are shown as HOLEs, too (mems_segment.remembered_bytes).
 * Placement treats all that is remembered as taken until it is merged for good. That happens in
 * mems_trim, before ENOMEM is given for a size that is within the limit, and before the OS is asked
 * for memory if it adds up to a sixteenth of the heap and to 256 KiB. If the heap has not grown since
 * the last such merge, these 256 KiB double, at most twice, until mems_finish. And of sizes of more
 * than 1,024 granules not all can be remembered at a time: one may take the place of another, whose
 * blocks are then merged.
 * Whole pages inside HOLEs go back to the OS. As the program goes on freeing, the part of them that
 * is resident falls to a quarter of what is in use plus 4 MiB. Pages that are taken again are kept
 * beyond that; of those that then lie unused for a second, half go back. That changes no address.
 * An address that is not the start of a live block: nothing changes, EINVAL with a report. EBUSY in
 * a visitor. Cost: O(log heap), and at most 64 requests to the OS. */
void mems_free(void *v_ptr);

/* The size of the PROCESS segment that starts at v_ptr, all of which the caller may use. Else 0:
 * EPERM no heap, EINVAL with a report (for NULL without one). Cost: a handful of loads. */
size_t mems_usable_size(const void *v_ptr);

/* Merges for good all that MEMS_QUICK_FIT remembers, and gives back to the OS every whole page
 * inside a HOLE that may be in memory. What the program has locked there (mlock) stays, and perhaps
 * pages beside it, unless an image was mapped there (MEMS_MAP). Live blocks keep their addresses.
 * Returns the bytes given back; 0 with EPERM (no heap) or EBUSY (in a visitor). Cost: linear in the
 * pages that were ever touched. */
size_t mems_trim(void);

/* ---- Images: a heap that is kept ------------------------------------------------------------- */

/* If the links between blocks are virtual addresses, they stay right wherever the heap lies. So a
 * heap can be saved, and loaded by another run, process or machine of the same kind (byte order,
 * size of a pointer). mems-image(5) describes the file. */

/* How mems_load brings the contents in. With 0 they are copied, and every byte of the file is
 * verified by checksums. */
enum mems_load_flags {
	MEMS_MAP = 1 /* they are mapped: pages come in when they are touched; what is written to them
	                stays in memory and never changes the file. Chains are verified, contents are
	                not, and the file must not be made shorter while the heap is there. If
	                that needed more than 1,000 mappings, they are copied nevertheless. In a
	                large image mems_calloc may bring in pages that had been given back */
};

/* Writes the heap to the file at path: options, chains, root, and the contents of all PROCESS
 * segments; what is in HOLEs is not written. The heap does not change. A new file is written beside
 * path, synced to the disk, and renamed to path; then the folder is synced, unless it cannot be
 * opened for reading. So whatever fails, and after a crash at any moment, path is what it was, or
 * the new image, whole. A save that fails leaves no file behind; one that is killed may leave its
 * own, whose name begins with ".mems-". What is at path is replaced, even a symbolic link, a pipe
 * or a device; the new file has its rights (not its owner), or those that umask leaves.
 * Calls of other threads that change the heap wait while it is written, not while it is synced. The
 * caller has to see to it that nobody writes into blocks meanwhile.
 * Returns 0, or -1: EPERM no heap, EBUSY in a visitor, or the errno of the OS.
 * Cost: linear in the contents. */
int mems_save(const char *path);

/* Starts a heap from an image, instead of mems_init: with the same options, whatever mems_option
 * said, until mems_finish; with the same chains, addresses and root; and under MEMS_FIRST_FIT the
 * same later calls give the same addresses (under MEMS_QUICK_FIT as if all that was remembered had
 * been merged for good, and no size been asked for before). If this run has a MEMS_LIMIT too, the
 * lower one applies. Nothing in the file is trusted: what is not sound is refused before any of it
 * becomes a heap. But checksums find accidents, they do not authenticate: whoever can write the
 * file decides on the contents. The peaks start again. As with mems_init, no other thread may be in
 * MeMS.
 * flags: 0 or MEMS_MAP. Returns 0, or -1 with no heap started: EBUSY a heap is started (or in a
 * visitor), EBADMSG the image is not whole or not sound, ENOTSUP an image of another version, byte
 * order, size of a pointer, or with pages smaller than those of the OS, EINVAL unknown flags,
 * ENOMEM no memory, or MEMS_LIMIT too small, or the errno of the OS.
 * Cost: linear in the tables (3 % of the heap), and in the contents unless they are mapped. */
int mems_load(const char *path, unsigned flags);

/* Keeps one address, that of a live block, from which a program that loads the heap finds its data
 * again; NULL for none. Freeing the block clears it; mems_realloc that moves the block takes it
 * along. Returns 0, or -1: EINVAL with a report for what is not the start of a live block, EBUSY in
 * a visitor. Cost: none. */
int mems_set_root(void *v_ptr);

/* The address that mems_set_root set, or that the image had; NULL if there is none. */
void *mems_root(void);

/* ---- Translation ----------------------------------------------------------------------------- */

/* The physical address of the byte at v_ptr, anywhere in a PROCESS segment; else NULL with EFAULT
 * (a HOLE, a freed block, an address never given out, NULL, no heap). Safe for every value of
 * v_ptr; prints nothing. The result is valid while the block is live. Cost: a handful of loads. */
void *mems_get(const void *v_ptr);

/* As mems_get, and all size bytes from v_ptr lie in that one PROCESS segment. Size 0 asks for the
 * one byte at v_ptr. */
void *mems_get_range(const void *v_ptr, size_t size);

/* The way back: the virtual address of the byte at the physical address p_ptr inside a PROCESS
 * segment; else NULL with EFAULT. Safe for every value of p_ptr. */
void *mems_virtual(const void *p_ptr);

/* Copies size bytes out of the heap, from v_ptr to destination, which is the caller's memory.
 * Returns 0, or -1 with EFAULT and nothing copied unless the whole range lies in one PROCESS
 * segment (size 0: v_ptr does). Cost: as mems_get, and the copy. */
int mems_read(void *destination, const void *v_ptr, size_t size);

/* Copies size bytes into the heap, from source to v_ptr. Otherwise as mems_read. */
int mems_write(void *v_ptr, const void *source, size_t size);

/* ---- Looking (never changes the heap) -------------------------------------------------------- */

/* Prints the chains and four totals to stdout. Cost: linear in the segments. */
void mems_print_stats(void);

/* The same to out, writable, which stays the caller's. Errors are left in ferror(out). */
void mems_fprint_stats(FILE *out);

/* Fills *stats. Cost: may be linear in the segments. */
void mems_get_stats(struct mems_stats *stats);

/* Calls visit for every segment, in ascending order. Stops at the first result that is not 0 and
 * returns it, else returns 0. Cost: linear in the segments. */
int mems_walk(mems_visitor *visit, void *context);

/* Describes the segment, PROCESS or HOLE, that holds the byte at v_ptr: 0, or -1 with EFAULT and
 * *segment unchanged. segment.start - 1 and segment.end + 1 are in the neighbours, so the
 * sub-chain can be walked both ways from anywhere. Cost: O(log main nodes); under quick fit also
 * linear in the remembered blocks of a HOLE. */
int mems_segment_at(const void *v_ptr, struct mems_segment *segment);

/* Prints the whole heap as one JSON object: schema (1; raised when a field changes its meaning),
 * page_size, alignment, start, policy ("first_fit", "quick_fit"), main_chain (an array of nodes
 * with start, end, pages, physical (a string, "0x..."), and sub_chain: an array of segments with
 * type, start, end, size, the remembered_bytes of a HOLE that has some, and with history the call
 * that took a PROCESS, and its label) and stats (the fields of struct mems_stats). Flushes out.
 * Returns 0, or -1 if writing failed (ferror(out), errno). Cost: linear in the segments. */
int mems_fprint_json(FILE *out);

/* Writes every later successful call that changes the heap as one line to out, which stays the
 * caller's, must outlive the recording, and is used by no one else meanwhile:
 *     a ID SIZE   c ID SIZE   m ID SIZE ALIGNMENT   r ID SIZE   f ID
 * for mems_malloc, mems_calloc, mems_aligned_alloc, mems_realloc and mems_free; ID is a number that
 * the block keeps until it is freed. The first three end with the label of mems_set_label, if there
 * is one, in which spaces, control characters, "%" and what is not ASCII are "%" and two
 * hexadecimal digits. A line "g" says that all that MEMS_QUICK_FIT remembers was merged for good by
 * mems_trim, or for want of memory, before a call that then succeeded (its line follows) or failed. A
 * line "e FUNCTION ADDRESS" is a misuse: FUNCTION (free, realloc, usable_size, set_root) was called
 * with an address that is no block's. Options that differ from the defaults come first, as lines
 * "o NAME VALUE" (policy: first_fit or quick_fit; alignment, start, page-size, limit). NULL ends the
 * recording, and so do mems_finish and, in the child alone, fork. Write errors are left in ferror(out).
 * Returns 0, or -1: EINVAL no heap, EBUSY a heap that is not empty any more, or a visitor at work,
 * ENOMEM no memory for the blocks (32 bytes for each that is live).
 * Cost: a line of output a call; while off, one load and branch. */
int mems_record(FILE *out);

/* Verifies every invariant of the heap (I1 to I18, listed at the top of mems.c) and returns how
 * many are broken: 0 for a sound heap. Names each broken one in a line on report, unless that is
 * NULL. Cost: linear in the mapped bytes. */
int mems_check(FILE *report);

/* ---- Questions: what happened to a block? ---------------------------------------------------- */

/* With mems_option(MEMS_HISTORY, n) the heap remembers its last n calls that changed a block, and
 * of each live block which call took it, whatever was forgotten since. Calls have numbers from 1
 * on: call n is the n-th line of a recording, not counting options and misuses. A call that fails
 * has no number, and mems_trim has one. Cost: 32 bytes for each of the n, 32 for each block that is
 * live at a time, and 120 for each pair of label and caller, twice that once mems_fprint_live has
 * listed them; a call takes several times as long as under MEMS_QUICK_FIT. */

/* Sets the label of all later calls of this thread and returns the one before. The text is the
 * caller's and must stay as it is while it is set, and until mems_finish; NULL, the default, is none.
 * Labels are told apart by where their text lies. Only its first 64 bytes are printed, or fewer, so
 * that no character of UTF-8 is cut in two. */
const char *mems_set_label(const char *label);

/* For wrappers of the allocation functions: later calls of this thread count as made from `caller`,
 * as __builtin_return_address(0) gives it in the wrapper; NULL, the default, for the address that a
 * call returns to. Returns the one before. */
const void *mems_set_caller(const void *caller);

/* Writes what is known of the byte at v_ptr to events, the newest first, at most count, and returns
 * how many there are. For a live block, the call that took it is always there, with the block's
 * present start and size; the rest is there as far as it is remembered. A call of mems_realloc that
 * moved a block is also an event of the bytes where it was; its start is where the block went.
 * Returns 0 if history is off.
 * Cost: linear in the remembered calls. */
size_t mems_history(const void *v_ptr, struct mems_event *events, size_t count);

/* Prints one line that says what these 64 bits are: a virtual address, a physical one, or neither;
 * of which segment, and with history by which call it was taken or freed. Flushes out. May be
 * called from the handler of a synchronous fault (SIGSEGV) that happened outside MeMS and stdio.
 * Returns 0, or -1 if writing failed (errno). Cost: as mems_segment_at, and mems_history. */
int mems_explain(const void *address, FILE *out);

/* Lists what is live, grouped by label and caller, the largest first: bytes asked for, blocks, the
 * first call; then two lines of totals. Flushes out. Before mems_finish it is a report of leaks.
 * Returns 0, or -1: EPERM no heap, EINVAL history is off, or writing failed (errno).
 * Cost: linear in the blocks, and in the pairs of label and caller. */
int mems_fprint_live(FILE *out);

/* ---- Version and misuse ---------------------------------------------------------------------- */

/* The version of the library that was linked, as MEMS_VERSION has it. A static string. */
const char *mems_version(void);

/* Installs the handler for misuse reports and returns the one before. The default one prints
 * "mems: MESSAGE" and a newline to stderr. NULL silences reports; errno is still set. */
mems_error_handler *mems_set_error_handler(mems_error_handler *handler);

#ifdef __cplusplus
}
#endif

#endif
