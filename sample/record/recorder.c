/*
 * record/recorder.c: the calls of malloc and its kin in any program -> a trace (replay/trace.h), the
 * file that mems-record names.
 *
 *     MEMS_RECORD=perl.trace LD_PRELOAD=build/default/recorder.so perl script.pl
 *
 * MEMS_RECORD      the file to write. Only the process that was started is recorded (an exec in it
 *                  starts the recording again), unless the name holds "%p", which is replaced by the
 *                  process number: then each child writes a file of its own, without what its parent
 *                  had allocated.
 * MEMS_RECORD_PID  set by the recorder itself, so that children know that they are not meant.
 *
 * The calls are passed on to glibc by the names under which it also exports them (__libc_malloc
 * and so on), so nothing has to be looked up there before the first call can be answered.
 *
 * One lock is held around each call and its line, so that lines of several threads come in an
 * order in which no address has two owners. Tables come from mmap: the recorder asks
 * nothing of the allocator that it watches.
 *
 * Lines are written into a part of the file that is mapped, the window, so that they are there however
 * the process ends. What the window has not been given yet are empty lines, which are cut off at exit.
 * The header's numbers have a fixed width and are counted up with every line.
 */
#define _GNU_SOURCE
#include "quiet.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define WINDOW_BYTES (128 << 10)
#define LONGEST_LINE 64u
#define FIRST_SLOTS (1u << 16)
#define HEADER "0\n0000000000\n0000000000\n1\n" /* the number of IDs, and that of lines */
#define HEADER_IDS 11u                            /* their last digits */
#define HEADER_LINES 22u

#ifdef __GLIBC__
#include <gnu/lib-names.h>

void *__libc_malloc(size_t size);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *block, size_t size);
void *__libc_memalign(size_t alignment, size_t size);
void __libc_free(void *block);

/* For what has no second name: another allocator, as that of mems-preload, may stand before the C
 * library. */
static void *library_find(const char *name)
{
	void *library = dlopen(LIBC_SO, RTLD_LAZY | RTLD_NOLOAD);

	return library == NULL ? NULL : dlsym(library, name);
}
#else
/* Other C libraries keep no second name, but look up the first one without asking for memory. */
#define NEXT(pass_on, result, name, parameters, arguments) \
	static result __libc_##name parameters \
	{ \
		static result(*next) parameters; \
		void *found = next == NULL ? dlsym(RTLD_NEXT, #name) : NULL; \
\
		if (found != NULL) \
			memcpy(&next, &found, sizeof next); \
		pass_on next arguments; \
	}
NEXT(return, void *, malloc, (size_t size), (size))
NEXT(return, void *, realloc, (void *block, size_t size), (block, size))
NEXT(return, void *, aligned_alloc, (size_t alignment, size_t size), (alignment, size))
NEXT(, void, free, (void *block), (block))

static void *library_find(const char *name)
{
	return dlsym(RTLD_NEXT, name);
}

/* Their memalign calls aligned_alloc, and their calloc malloc, which are those below. */
#define __libc_memalign __libc_aligned_alloc

static void *__libc_calloc(size_t count, size_t size)
{
	void *block = size == 0 || count <= SIZE_MAX / size ? __libc_malloc(count * size) : NULL;

	return block == NULL ? NULL : memset(block, 0, count * size);
}
#endif

void *memalign(size_t alignment, size_t size);
void *pvalloc(size_t size);
size_t malloc_usable_size(void *block);

/* One live block: its address (0: the slot is empty) and its ID. */
struct slot {
	uintptr_t address;
	uint32_t id;
};

enum state {
	UNSTARTED, /* before the first call that finds an environment */
	STARTING,  /* calls made meanwhile come from the recorder itself */
	RECORDING,
	OFF
};

static struct recorder {
	pthread_mutex_t lock;
	_Atomic enum state state;
	pid_t pid;
	char path[4096];

	struct slot *slots; /* open addressing, linear probing; a power of two of them */
	size_t slot_count;
	size_t live;

	uint32_t *free_ids; /* a stack, as long as slot_count */
	size_t free_id_count;
	uint32_t id_count; /* IDs given out so far */

	char *header;    /* the first window, which stays mapped */
	char *window;    /* where lines are written */
	off_t start;     /* of the window in the file */
	size_t used;     /* bytes of the window */
	off_t file_end;  /* with the empty lines */
	struct stat file;
	char *is_parent; /* a page that fork leaves all 0 */

	struct stat stderr_file; /* what standard error was at the start */
} recorder = {.lock = PTHREAD_MUTEX_INITIALIZER};

/* ---- Memory and file ------------------------------------------------------------------------- */

static void *pages_map(size_t bytes)
{
	void *pages = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	return pages == MAP_FAILED ? NULL : pages;
}

static bool is_same_file(const struct stat *one, const struct stat *other)
{
	return one->st_dev == other->st_dev && one->st_ino == other->st_ino;
}

/* Opens the file each time, as some programs close descriptors that they do not know. Another file
 * that has its name meanwhile is left alone. */
static int file_open(int flags)
{
	int file = open(recorder.path, O_RDWR | O_CLOEXEC | flags, 0666);
	struct stat now;

	if (file < 0 || fstat(file, &now) != 0)
		return file;
	if (recorder.header == NULL)
		recorder.file = now;
	if (is_same_file(&now, &recorder.file))
		return file;
	close(file);
	errno = ESTALE;
	return -1;
}

/* Ends the recording, and cuts off the empty lines. Where that fails, they do no harm. */
static void recording_close(void)
{
	off_t end = recorder.start + (off_t)recorder.used;
	struct quiet quiet = quiet_begin();
	int file = file_open(0);

	recorder.state = OFF;
	if (file >= 0 && ftruncate(file, end) == 0)
		recorder.file_end = end;
	if (file >= 0)
		close(file);
	quiet_end(&quiet);
}

/* Says why on standard error, unless the program has closed that, and another file may have its
 * number. */
static void recording_stop(void)
{
	int error = errno;
	struct quiet quiet = quiet_begin();
	struct stat now;

	recording_close();
	if (fstat(STDERR_FILENO, &now) == 0 && is_same_file(&now, &recorder.stderr_file))
		dprintf(STDERR_FILENO, "mems-record: %s: %s\n", recorder.path, strerror(error));
	quiet_end(&quiet);
}

/* Makes the file longer by empty lines: that there is room for what is mapped shows here. */
static bool file_extend(int file, off_t end)
{
	char lines[4096];

	memset(lines, '\n', sizeof lines);
	while (recorder.file_end < end) {
		size_t missing = (size_t)(end - recorder.file_end);
		ssize_t written = pwrite(file, lines, missing < sizeof lines ? missing : sizeof lines,
			recorder.file_end);

		if (written < 0 && errno != EINTR)
			return false;
		recorder.file_end += written < 0 ? 0 : written;
	}
	return true;
}

static bool window_map(int flags)
{
	off_t end = recorder.start + (off_t)recorder.used;
	off_t start = end - end % sysconf(_SC_PAGESIZE);
	int file = file_open(flags);
	char *window = MAP_FAILED;

	if (file < 0)
		return false;
	if (file_extend(file, start + WINDOW_BYTES))
		window = mmap(NULL, WINDOW_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, file, start);
	close(file);
	if (window == MAP_FAILED)
		return false;
	if (recorder.window != recorder.header)
		munmap(recorder.window, WINDOW_BYTES);
	recorder.window = window;
	recorder.start = start;
	recorder.used = (size_t)(end - start);
	return true;
}

/* Moves the window to the end of the lines. */
static bool window_move(int flags)
{
	struct quiet quiet = quiet_begin();
	bool is_moved = window_map(flags);

	quiet_end(&quiet);
	return is_moved;
}

static bool file_begin(void)
{
	if (!window_move(O_CREAT | O_TRUNC))
		return false;
	recorder.header = recorder.window;
	recorder.used = sizeof HEADER - 1;
	memcpy(recorder.header, HEADER, sizeof HEADER - 1);
	return true;
}

static void header_count(size_t digit)
{
	while (recorder.header[digit] == '9')
		recorder.header[digit--] = '0';
	recorder.header[digit]++;
}

/* ---- Live blocks ----------------------------------------------------------------------------- */

static size_t slot_home(uintptr_t address)
{
	return (size_t)((address >> 4) * UINT64_C(0x9e3779b97f4a7c15) >> 20) & (recorder.slot_count - 1);
}

static struct slot *slot_find(uintptr_t address)
{
	size_t at = slot_home(address);

	while (recorder.slots[at].address != 0 && recorder.slots[at].address != address)
		at = (at + 1) & (recorder.slot_count - 1);
	return &recorder.slots[at];
}

/* Doubles both tables. The old ones stay mapped: they add up to less than the new ones. */
static bool tables_grow(void)
{
	struct slot *old = recorder.slots;
	size_t old_count = recorder.slot_count;
	size_t count = old_count == 0 ? FIRST_SLOTS : 2 * old_count;
	struct slot *slots = pages_map(count * sizeof *slots);
	uint32_t *free_ids = pages_map(count * sizeof *free_ids);

	if (slots == NULL || free_ids == NULL)
		return false;
	recorder.slots = slots;
	recorder.slot_count = count;
	for (size_t i = 0; i < old_count; i++)
		if (old[i].address != 0)
			*slot_find(old[i].address) = old[i];
	for (size_t i = 0; i < recorder.free_id_count; i++)
		free_ids[i] = recorder.free_ids[i];
	recorder.free_ids = free_ids;
	return true;
}

/* Empties a slot and moves up those behind it that would not be found past the gap. */
static void slot_remove(struct slot *slot)
{
	size_t mask = recorder.slot_count - 1;
	size_t gap = (size_t)(slot - recorder.slots);

	for (size_t at = (gap + 1) & mask; recorder.slots[at].address != 0; at = (at + 1) & mask) {
		size_t home = slot_home(recorder.slots[at].address);

		if (((at - home) & mask) >= ((at - gap) & mask)) {
			recorder.slots[gap] = recorder.slots[at];
			gap = at;
		}
	}
	recorder.slots[gap].address = 0;
	recorder.live--;
}

static bool slot_add(const void *block, uint32_t id)
{
	if (2 * (recorder.live + 1) > recorder.slot_count && !tables_grow())
		return false;
	*slot_find((uintptr_t)block) = (struct slot){.address = (uintptr_t)block, .id = id};
	recorder.live++;
	return true;
}

static uint32_t id_take(void)
{
	if (recorder.free_id_count > 0)
		return recorder.free_ids[--recorder.free_id_count];
	header_count(HEADER_IDS);
	return recorder.id_count++;
}

/* ---- Lines ----------------------------------------------------------------------------------- */

static void line_number(size_t number)
{
	char digits[24];
	size_t count = 0;

	do
		digits[count++] = (char)('0' + number % 10);
	while ((number /= 10) > 0);
	recorder.window[recorder.used++] = ' ';
	while (count > 0)
		recorder.window[recorder.used++] = digits[--count];
}

static void line_start(char kind, uint32_t id)
{
	recorder.window[recorder.used++] = kind;
	line_number(id);
}

static void line_end(void)
{
	recorder.window[recorder.used++] = '\n';
	header_count(HEADER_LINES);
	if (recorder.used + LONGEST_LINE > WINDOW_BYTES && !window_move(0))
		recording_stop();
}

/* The C library takes any alignment for the next power of two. */
static size_t power_of_two(size_t alignment)
{
	size_t power = 1;

	while (power < alignment)
		power *= 2;
	return power;
}

/* kind: 'a', 'c', or 'm', which alone has an alignment. */
static void record_new(char kind, const void *block, size_t size, size_t alignment)
{
	uint32_t id;

	if (block == NULL || recorder.state != RECORDING)
		return;
	id = id_take();
	if (!slot_add(block, id)) {
		recording_stop();
		return;
	}
	line_start(kind, id);
	line_number(size);
	if (kind == 'm')
		line_number(power_of_two(alignment));
	line_end();
}

/* A block from before the recording is not known, and not missed. */
static void record_free(const void *block)
{
	struct slot *slot;

	if (block == NULL || recorder.state != RECORDING)
		return;
	slot = slot_find((uintptr_t)block);
	if (slot->address == 0)
		return;
	line_start('f', slot->id);
	recorder.free_ids[recorder.free_id_count++] = slot->id;
	slot_remove(slot);
	line_end();
}

static void record_resize(const void *old, const void *block, size_t size)
{
	struct slot *slot;
	uint32_t id;

	if (recorder.state != RECORDING)
		return;
	slot = slot_find((uintptr_t)old);
	if (slot->address == 0) {
		record_new('a', block, size, 0);
		return;
	}
	id = slot->id;
	slot_remove(slot);
	if (!slot_add(block, id)) {
		recording_stop();
		return;
	}
	line_start('r', id);
	line_number(size);
	line_end();
}

/* ---- Start and end --------------------------------------------------------------------------- */

/* Copies MEMS_RECORD with the directory in front and "%p" replaced. True for a path with "%p". */
static bool path_set(const char *name)
{
	const char *mark = strstr(name, "%p");
	char directory[2048] = "";
	int before = mark == NULL ? (int)strlen(name) : (int)(mark - name);

	if (name[0] != '/' && getcwd(directory, sizeof directory - 1) != NULL)
		strcat(directory, "/"); /* NOLINT(clang-analyzer-security.insecureAPI.strcpy): it fits */
	if (mark == NULL)
		snprintf(recorder.path, sizeof recorder.path, "%s%s", directory, name);
	else
		snprintf(recorder.path, sizeof recorder.path, "%s%.*s%d%s", directory, before, name,
			(int)recorder.pid, mark + 2);
	return mark != NULL;
}

/* Whether this process, by the mark that the first one left in the environment, is meant. */
static bool is_meant(bool is_each_process)
{
	const char *first = getenv("MEMS_RECORD_PID");
	char number[24];

	if (is_each_process)
		return true;
	snprintf(number, sizeof number, "%d", (int)recorder.pid);
	if (first == NULL)
		return setenv("MEMS_RECORD_PID", number, 1) == 0;
	return strcmp(first, number) == 0;
}

/* In a child, however it was made. It begins a recording of its own where that is asked for. What the
 * parent has mapped is left as it is: another thread may have been changing it. */
static void recording_forget(void)
{
	recorder.lock = (pthread_mutex_t)PTHREAD_MUTEX_INITIALIZER;
	if (recorder.state == RECORDING)
		recorder = (struct recorder){.lock = PTHREAD_MUTEX_INITIALIZER, .is_parent = recorder.is_parent};
}

static void recording_start(void)
{
	const char *name = getenv("MEMS_RECORD");

	recorder.state = STARTING;
	recorder.pid = getpid();
	if (name == NULL || name[0] == '\0' || !is_meant(path_set(name))) {
		recorder.state = OFF;
		return;
	}
	fstat(STDERR_FILENO, &recorder.stderr_file);
	if (recorder.is_parent == NULL) {
		pthread_atfork(NULL, NULL, recording_forget);
		recorder.is_parent = pages_map(1);
	}
	if (recorder.is_parent == NULL || !tables_grow() || !file_begin()) {
		recording_stop();
		return;
	}
	madvise(recorder.is_parent, 1, MADV_WIPEONFORK);
	*recorder.is_parent = 1;
	recorder.state = RECORDING;
}

__attribute__((destructor)) static void recording_end(void)
{
	pthread_mutex_lock(&recorder.lock);
	if (recorder.state == RECORDING && getpid() == recorder.pid)
		recording_close();
	pthread_mutex_unlock(&recorder.lock);
}

/* Whether the caller holds the lock now and has a line to write. Before the C library has set up
 * the environment there is nothing to go by yet, and there are no threads. */
static bool recording_enter(void)
{
	if (recorder.state == RECORDING && !*recorder.is_parent)
		recording_forget();
	if (recorder.state == UNSTARTED && environ != NULL)
		recording_start();
	if (recorder.state != RECORDING)
		return false;
	pthread_mutex_lock(&recorder.lock);
	return true;
}

/* A program that never allocates is recorded as well. */
__attribute__((constructor)) static void recording_ensure(void)
{
	if (recording_enter())
		pthread_mutex_unlock(&recorder.lock);
}

static void recording_leave(void)
{
	int error = errno;

	pthread_mutex_unlock(&recorder.lock);
	errno = error;
}

/* ---- The functions of the C library ---------------------------------------------------------- */

void *malloc(size_t size)
{
	bool is_entered = recording_enter();
	void *block = __libc_malloc(size);

	if (is_entered) {
		record_new('a', block, size, 0);
		recording_leave();
	}
	return block;
}

void *calloc(size_t count, size_t size)
{
	bool is_entered = recording_enter();
	void *block = __libc_calloc(count, size);

	if (is_entered) {
		record_new('c', block, count * size, 0);
		recording_leave();
	}
	return block;
}

void free(void *block)
{
	bool is_entered = recording_enter();

	if (is_entered)
		record_free(block);
	__libc_free(block);
	if (is_entered)
		recording_leave();
}

void *realloc(void *old, size_t size)
{
	bool is_entered;
	void *block;

	if (old == NULL)
		return malloc(size);
	is_entered = recording_enter();
	if (is_entered && size == 0)
		record_free(old);
	block = __libc_realloc(old, size);
	if (is_entered) {
		if (block != NULL)
			record_resize(old, block, size);
		recording_leave();
	}
	return block;
}

void *reallocarray(void *old, size_t count, size_t size)
{
	if (size != 0 && count > SIZE_MAX / size) {
		errno = ENOMEM;
		return NULL;
	}
	/* NOLINTNEXTLINE(clang-analyzer-optin.portability.UnixAPI): a size of 0 is the program's. */
	return realloc(old, count * size);
}

void *memalign(size_t alignment, size_t size)
{
	bool is_entered = recording_enter();
	void *block = __libc_memalign(alignment, size);

	if (is_entered) {
		record_new('m', block, size, alignment);
		recording_leave();
	}
	return block;
}

void *aligned_alloc(size_t alignment, size_t size)
{
	return memalign(alignment, size);
}

int posix_memalign(void **result, size_t alignment, size_t size)
{
	void *block;

	if (alignment % sizeof(void *) != 0 || alignment == 0 || (alignment & (alignment - 1)) != 0)
		return EINVAL;
	block = memalign(alignment, size);
	if (block == NULL)
		return ENOMEM;
	*result = block;
	return 0;
}

static size_t page_bytes(void)
{
	return (size_t)sysconf(_SC_PAGESIZE);
}

void *valloc(size_t size)
{
	return memalign(page_bytes(), size);
}

void *pvalloc(size_t size)
{
	if (size > SIZE_MAX - page_bytes()) {
		errno = ENOMEM;
		return NULL;
	}
	return memalign(page_bytes(), (size + page_bytes() - 1) / page_bytes() * page_bytes());
}

/* Not recorded, but of the same library as the block. */
size_t malloc_usable_size(void *block)
{
	static void *_Atomic kept;
	size_t (*function)(void *block);
	void *found = kept;

	if (found == NULL)
		found = library_find("malloc_usable_size");
	if (found == NULL)
		return 0;
	kept = found;
	memcpy(&function, &found, sizeof function);
	return function(block);
}

/* Programs that end without their destructors. In a child after vfork the memory is the parent's,
 * which the process number tells. */
void _exit(int status)
{
	if (recorder.state == RECORDING && getpid() == recorder.pid)
		recording_end();
	for (;;)
		syscall(SYS_exit_group, status);
}

void _Exit(int status)
{
	_exit(status);
}
