/*
 * Each request that mems_save and mems_load make to the OS fails in turn, or does less than it was
 * asked for: an error number comes back, the file at the path is the old image or the new one, and
 * nothing is left behind: no file, no open file, no mapping, no heap. Or the process is killed there.
 *
 * The linker puts the functions below between the library and the OS: see image_wrapped in images.mk.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

#include "support.h"
#include "wrapped.h"

static struct {
	bool is_on;
	bool is_short;       /* reads and writes do a part of what they are asked for */
	bool is_stuck;       /* writes do nothing, and say so */
	bool is_fatal;       /* the process is killed in place of the request that fails */
	bool calls_heap;     /* a request calls MeMS, as where the program interposes it */
	bool leaves_folder;  /* the process goes to another folder, while the file is synced */
	size_t at, requests; /* the request that fails, NONE for none; requests so far */
	int error;
	size_t answers;      /* of MeMS to those calls */
	bool has_other;      /* there is another thread, see other_use */
	char *cleared;       /* a page that is cleared as the image is written, as by another thread */
	size_t hints_refused, syncs_refused;
} os;

#define NONE SIZE_MAX

static int first_byte_read(const struct mems_segment *segment, void *context)
{
	if (segment->type == MEMS_PROCESS)
		*(volatile char *)context = *(const volatile char *)segment->physical;
	return 0;
}

static void assert_no_heap_is_printed(void)
{
	char text[200] = "";
	FILE *const out = fmemopen(text, sizeof text, "w");
	assert_non_null(out);
	mems_fprint_stats(out);
	fclose(out);
	assert_string_equal(text, "Page used: 0\nSpace unused: 0\nMain Chain Length: 0\n"
	                          "Sub-chain Length array: []\n");
}

/* Whatever is seen is there. */
static void heap_look(void)
{
	struct mems_segment segment;
	char byte;
	mems_walk(first_byte_read, &byte);
	if (mems_segment_at(at(1000), &segment) == 0)
		first_byte_read(&segment, &byte);
	const char *const first = mems_get(at(1000));
	if (first != NULL)
		byte = *(const volatile char *)first;
	else
		assert_no_heap_is_printed();
	assert_ptr_equal(mems_root(), first != NULL ? at(1000) : NULL);
}

static void heap_call(void)
{
	os.is_on = false;
	heap_look();
	os.answers += mems_malloc(8) == NULL && (errno == ENOMEM || errno == EPERM);
	os.is_on = true;
}

/* Whether this request fails. */
static bool is_refused(void)
{
	if (!os.is_on)
		return false;
	if (os.calls_heap)
		heap_call();
	if (os.requests++ != os.at)
		return false;
	if (os.is_fatal)
		raise(SIGKILL);
	errno = os.error;
	return true;
}

/* Another thread, which uses the heap once it is told to. */
static struct {
	atomic_bool is_told, is_done;
	bool is_early; /* it was done before the image was written */
	bool is_late;  /* it was not done when the file was to be synced */
} other;

static void *other_use(void *block)
{
	for (size_t i = 0; i < 100; i++)
		mems_free(mems_malloc(16)); /* it has blocks of its own from now on */
	while (!atomic_load(&other.is_told))
		usleep(100);
	mems_free(block);
	mems_malloc(16);
	atomic_store(&other.is_done, true);
	return NULL;
}

/* Another thread, which forks once it is told to. */
static void *other_fork(void *context)
{
	while (!atomic_load(&other.is_told))
		usleep(100);
	const pid_t child = fork();
	if (child == 0)
		_exit(0);
	waitpid(child, NULL, 0);
	atomic_store(&other.is_done, true);
	return context;
}

/* It is told, and has time. */
static void other_tell(void)
{
	atomic_store(&other.is_told, true);
	usleep(5000);
	other.is_early = other.is_early || atomic_load(&other.is_done);
}

static void other_await(void)
{
	for (size_t i = 0; i < 10000 && !atomic_load(&other.is_done); i++)
		usleep(1000);
	other.is_late = other.is_late || !atomic_load(&other.is_done);
}

static size_t shortened(size_t bytes)
{
	return os.is_on && os.is_short && bytes > 1 ? (bytes + 2) / 3 : bytes;
}

int __real_openat(int in, const char *name, int flags, ...);
int __wrap_openat(int in, const char *name, int flags, ...);
int __real_close(int file);
int __wrap_close(int file);
off_t __real_lseek(int file, off_t offset, int whence);
off_t __wrap_lseek(int file, off_t offset, int whence);
ssize_t __real_pread(int file, void *memory, size_t bytes, off_t offset);
ssize_t __wrap_pread(int file, void *memory, size_t bytes, off_t offset);
ssize_t __real_pwritev(int file, const struct iovec *parts, int count, off_t offset);
ssize_t __wrap_pwritev(int file, const struct iovec *parts, int count, off_t offset);
int __real_sync_file_range(int file, off64_t offset, off64_t bytes, unsigned flags);
int __wrap_sync_file_range(int file, off64_t offset, off64_t bytes, unsigned flags);
int __real_fsync(int file);
int __wrap_fsync(int file);
int __real_renameat(int from_in, const char *from, int to_in, const char *to);
int __wrap_renameat(int from_in, const char *from, int to_in, const char *to);

int __wrap_openat(int in, const char *name, int flags, ...)
{
	return is_refused() ? -1 : __real_openat(in, name, flags, 0666);
}

int __wrap_close(int file)
{
	const bool refused = is_refused();
	const int result = __real_close(file); /* it is closed in any case */
	return refused ? -1 : result;
}

off_t __wrap_lseek(int file, off_t offset, int whence)
{
	return is_refused() ? -1 : __real_lseek(file, offset, whence);
}

ssize_t __wrap_pread(int file, void *memory, size_t bytes, off_t offset)
{
	if (os.is_on && os.has_other)
		other_tell();
	return is_refused() ? -1 : __real_pread(file, memory, shortened(bytes), offset);
}

/* Where it is short, half of the parts, and of the last of these a piece. */
ssize_t __wrap_pwritev(int file, const struct iovec *parts, int count, off_t offset)
{
	struct iovec some[64];
	assert_in_range(count, 1, 64);
	memcpy(some, parts, (size_t)count * sizeof some[0]);
	if (os.is_on && os.has_other)
		other_tell();
	if (os.is_on && os.cleared != NULL)
		memset(os.cleared, 0, PAGE);
	if (is_refused())
		return -1;
	if (os.is_on && os.is_stuck)
		return 0;
	if (os.is_on && os.is_short) {
		count = (count + 1) / 2;
		some[count - 1].iov_len = shortened(some[count - 1].iov_len);
	}
	return __real_pwritev(file, some, count, offset);
}

/* Only a hint, so the save goes on. */
int __wrap_sync_file_range(int file, off64_t offset, off64_t bytes, unsigned flags)
{
	if (!is_refused())
		return __real_sync_file_range(file, offset, bytes, flags);
	os.hints_refused++;
	return -1;
}

int __wrap_fsync(int file)
{
	if (os.is_on && os.has_other)
		other_await();
	if (os.is_on && os.leaves_folder)
		os.leaves_folder = chdir("elsewhere") != 0;
	if (!is_refused())
		return __real_fsync(file);
	os.syncs_refused++;
	return -1;
}

int __wrap_renameat(int from_in, const char *from, int to_in, const char *to)
{
	return is_refused() ? -1 : __real_renameat(from_in, from, to_in, to);
}

void *__wrap_mmap(void *address, size_t bytes, int access, int flags, int file, off_t offset)
{
	return is_refused() ? MAP_FAILED : __real_mmap(address, bytes, access, flags, file, offset);
}

int __wrap_mprotect(void *address, size_t bytes, int access)
{
	return is_refused() ? -1 : __real_mprotect(address, bytes, access);
}

/* ---- What is left ------------------------------------------------------------------------ */

static char folder[64], path[96];

static size_t files_in_folder(void)
{
	DIR *in = opendir(folder);
	size_t count = 0;
	assert_non_null(in);
	errno = 0;
	for (struct dirent *entry; (entry = readdir(in)) != NULL;)
		count += entry->d_name[0] != '.' || strlen(entry->d_name) > 2;
	closedir(in);
	if (errno == EOVERFLOW) {
		print_message("note: files in a folder: skipped, for an emulator hands on offsets of 64 bits\n");
		skip();
	}
	return count;
}

static size_t open_files(void)
{
	size_t count = 0;
	for (int file = 0; file < 64; file++)
		count += fcntl(file, F_GETFD) >= 0;
	return count;
}

static size_t mapped_lines(void)
{
	FILE *in = fopen("/proc/self/maps", "r");
	size_t count = 0;
	for (int letter; in != NULL && (letter = getc(in)) != EOF;)
		count += letter == '\n';
	if (in != NULL)
		fclose(in);
	return count;
}

static int with_folder(void **state)
{
	snprintf(folder, sizeof folder, "/tmp/test_images_os-%ld", (long)getpid());
	snprintf(path, sizeof path, "%s/image", folder);
	mkdir(folder, 0777);
	return with_heap(state);
}

static int without_folder(void **state)
{
	os.is_on = false;
	unlink(path);
	rmdir(folder);
	return clean_up(state);
}

/* Runs a request with one failure at this number, and says whether there were so many. */
static int fail_at(size_t at, int error, int (*run)(void))
{
	os.at = at;
	os.error = error;
	os.requests = 0;
	os.is_on = true;
	errno = 0;
	const int result = run();
	os.is_on = false;
	return result;
}

static int save(void)
{
	return mems_save(path);
}

static unsigned load_flags;

static int load(void)
{
	return mems_load(path, load_flags);
}

/* What the image at the path holds: the first byte of the block at 1000. */
static int first_byte_of_image(void *context)
{
	(void)context;
	mems_finish();
	if (mems_load(path, 0) != 0 || mems_check(stderr) != 0)
		return 255;
	const int byte = *(unsigned char *)mems_get(at(1000));
	mems_finish();
	return byte;
}

static void heap_make(unsigned char byte)
{
	const uintptr_t block = take(400000);
	assert_int_equal(block, 1000);
	memset(mems_get(at(block)), byte, 400000);
	const uintptr_t hole = take(60000);
	take(30000);
	give_back(hole);
}

static void a_save_that_fails_leaves_the_old_image(void **state)
{
	size_t failures = 0;
	(void)state;
	heap_make(1);
	assert_int_equal(mems_save(path), 0);
	memset(mems_get(at(1000)), 2, 400000);
	for (size_t i = 0; i < 100; i++) {
		const size_t files = open_files();
		const size_t hints = os.hints_refused, syncs = os.syncs_refused;
		const int result = fail_at(i, EIO, save);
		const bool is_done = os.requests <= i;
		assert_true(result == 0 || errno == EIO || errno == ENOMEM);
		assert_true(result == 0 || os.hints_refused == hints);
		assert_true(result == -1 || os.syncs_refused == syncs);
		assert_int_equal(open_files(), files);
		assert_int_equal(files_in_folder(), 1);
		assert_sound();
		const int byte = status_of_child(first_byte_of_image, NULL);
		assert_true(byte == 2 || (byte == 1 && result == -1));
		failures += result == -1;
		if (is_done) {
			assert_int_equal(result, 0);
			assert_int_equal(byte, 2);
			break;
		}
		memset(mems_get(at(1000)), 1, 400000);
		assert_int_equal(mems_save(path), 0);
		memset(mems_get(at(1000)), 2, 400000);
	}
	assert_in_range(failures, 7, 99);
	assert_int_not_equal(os.hints_refused, 0);
	assert_int_equal(os.syncs_refused, 2); /* of the file, and of its folder */
}

static void a_load_that_fails_leaves_nothing(void **state)
{
	(void)state;
	heap_make(7);
	assert_int_equal(mems_save(path), 0);
	mems_finish();
	for (unsigned kind = 0; kind < 4; kind++) {
		size_t failures = 0;
		load_flags = kind % 2 == 0 ? 0 : MEMS_MAP;
		assert_int_equal(mems_option(MEMS_HISTORY, kind / 2 * 100), 0);
		for (size_t i = 0; i < 200; i++) {
			const size_t files = open_files();
			const size_t lines = mapped_lines();
			const int result = fail_at(i, EIO, load);
			const int error = errno;
			assert_int_equal(open_files(), files);
			if (result == 0) {
				assert_sound();
				assert_int_equal(*(unsigned char *)mems_get(at(1000)), 7);
				mems_finish();
			} else {
				assert_true(error == EIO || error == ENOMEM || error == EBADMSG);
				assert_int_equal((uintptr_t)mems_malloc(1), 0);
				assert_in_range(mapped_lines(), 0, lines + (ADDRESS_SANITIZER ? 8 : 0));
				failures++;
			}
			if (os.requests <= i)
				break;
		}
		assert_in_range(failures, 5, 199);
	}
	assert_int_equal(mems_option(MEMS_HISTORY, 0), 0);
}

/* Such a folder is opened in another way. */
static void a_folder_that_must_not_be_read_is_not_synced(void **state)
{
	(void)state;
	heap_make(8);
	const size_t files = open_files();
	assert_int_equal(fail_at(0, EACCES, save), 0);
	const size_t requests = os.requests;
	assert_int_equal(fail_at(NONE, EIO, save), 0);
	assert_int_equal(os.requests + 1, requests); /* both try */
	assert_int_equal(open_files(), files);
	assert_int_equal(files_in_folder(), 1);
	assert_int_equal(status_of_child(first_byte_of_image, NULL), 8);
}

/* There are file systems that cannot do it. */
static void a_folder_that_cannot_be_synced_will_do(void **state)
{
	(void)state;
	heap_make(8);
	os.syncs_refused = 0;
	assert_int_equal(fail_at(NONE, 0, save), 0);
	assert_int_equal(fail_at(os.requests - 2, EINVAL, save), 0); /* but for its end the last one */
	assert_int_equal(os.syncs_refused, 1);
	assert_int_equal(files_in_folder(), 1);
	assert_int_equal(status_of_child(first_byte_of_image, NULL), 8);
}

static int save_here(void)
{
	return mems_save("image");
}

/* The program may leave the folder that a path begins in. */
static void an_image_stays_in_the_folder_where_its_save_began(void **state)
{
	char before[PATH_MAX];
	(void)state;
	heap_make(9);
	assert_non_null(getcwd(before, sizeof before));
	assert_int_equal(chdir(folder), 0);
	assert_int_equal(mkdir("elsewhere", 0777), 0);
	os.leaves_folder = true;
	const int result = fail_at(NONE, EIO, save_here);
	assert_false(os.leaves_folder);
	unlink("../elsewhere/image");
	assert_int_equal(rmdir("../elsewhere"), 0);
	assert_int_equal(chdir(before), 0);
	assert_int_equal(result, 0);
	assert_int_equal(files_in_folder(), 1);
	assert_int_equal(status_of_child(first_byte_of_image, NULL), 9);
}

/* Runs a request in a child that is killed at this number, and says whether there were so many. */
static bool is_killed_at(size_t at, int (*run)(void))
{
	int status = 0;
	const pid_t child = fork();
	assert_true(child >= 0);
	if (child == 0) {
		os.is_fatal = true;
		_exit(fail_at(at, 0, run) == 0 ? 0 : 1);
	}
	assert_true(waitpid(child, &status, 0) == child);
	assert_true(status == 0 || (WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL));
	return status != 0;
}

/* What saves that were killed have left in the folder: returns how many there are. */
static size_t leftovers_remove(void)
{
	char name[sizeof folder + 256];
	DIR *in = opendir(folder);
	size_t count = 0;
	assert_non_null(in);
	for (struct dirent *entry; (entry = readdir(in)) != NULL;) {
		if (strncmp(entry->d_name, ".mems-", 6) != 0)
			continue;
		snprintf(name, sizeof name, "%s/%s", folder, entry->d_name);
		assert_int_equal(unlink(name), 0);
		count++;
	}
	closedir(in);
	return count;
}

/* Where there was an image before, and where there was none. */
static void a_save_that_is_killed_leaves_an_image_or_none(void **state)
{
	(void)state;
	heap_make(1);
	for (unsigned has_old = 0; has_old <= 1; has_old++) {
		size_t kills = 0;
		size_t leftovers = 0;
		for (bool is_killed = true; is_killed; kills++) {
			unlink(path);
			memset(mems_get(at(1000)), 1, 400000);
			assert_true(has_old == 0 || mems_save(path) == 0);
			memset(mems_get(at(1000)), 2, 400000);
			is_killed = is_killed_at(kills, save);
			const bool is_there = access(path, F_OK) == 0;
			const int byte = is_there ? status_of_child(first_byte_of_image, NULL) : 0;
			assert_true(byte == 2 || (is_killed && byte == (has_old != 0 ? 1 : 0)));
			leftovers += leftovers_remove();
			assert_int_equal(files_in_folder(), is_there);
		}
		assert_in_range(kills, 9, 99);
		assert_in_range(leftovers, 4, kills);
	}
}

static void a_load_that_is_killed_leaves_the_image(void **state)
{
	(void)state;
	heap_make(3);
	assert_int_equal(mems_save(path), 0);
	mems_finish();
	for (load_flags = 0; load_flags <= MEMS_MAP; load_flags++) {
		size_t kills = 0;
		while (is_killed_at(kills, load)) {
			assert_int_equal(status_of_child(first_byte_of_image, NULL), 3);
			assert_int_equal(files_in_folder(), 1);
			kills++;
		}
		assert_in_range(kills, 5, 199);
	}
}

/* An interrupted request is made again, and one that does less than it should is continued. */
static void short_and_interrupted_requests_go_on(void **state)
{
	(void)state;
	heap_make(9);
	os.is_short = true;
	assert_int_equal(fail_at(3, EINTR, save), 0);
	mems_finish();
	load_flags = 0;
	for (size_t i = 1; i < 3; i++) {
		assert_int_equal(fail_at(i, EINTR, load), 0);
		assert_int_equal(*(unsigned char *)mems_get(at(1000 + 399999)), 9);
		assert_sound();
		mems_finish();
	}
	os.is_short = false;
}

static void writes_without_end_are_given_up(void **state)
{
	(void)state;
	heap_make(9);
	os.is_stuck = true;
	alarm(60);
	errno = 0;
	const int result = fail_at(NONE, 0, save);
	const int error = errno;
	alarm(0);
	os.is_stuck = false;
	assert_true(result == -1 && error == EIO);
	assert_int_equal(files_in_folder(), 0);
}

/* What a save has left that was killed in a process of the same number, or the file of another thread,
 * which is saving. */
static void a_name_that_is_taken_is_left_alone(void **state)
{
	char other_path[128];
	(void)state;
	heap_make(9);
	for (int i = 0; i < 3; i++) {
		snprintf(other_path, sizeof other_path, "%s/.mems-%ld-%d", folder, (long)getpid(), i);
		FILE *const file = fopen(other_path, "w");
		assert_non_null(file);
		assert_int_equal(fclose(file), 0);
	}
	assert_succeeds(mems_save(path) == 0);
	assert_int_equal(files_in_folder(), 4);
	for (int i = 0; i < 3; i++) {
		struct stat status;
		snprintf(other_path, sizeof other_path, "%s/.mems-%ld-%d", folder, (long)getpid(), i);
		assert_true(stat(other_path, &status) == 0 && status.st_size == 0);
		assert_int_equal(unlink(other_path), 0);
	}
	assert_int_equal(status_of_child(first_byte_of_image, NULL), 9);
}

/* In a program that has closed its input the image is file 0, and its folder, which was opened whatever
 * errno says of an earlier call. */
static void an_image_may_be_file_0(void **state)
{
	(void)state;
	const int input = dup(0);
	heap_make(9);
	close(0);
	const size_t files = open_files();
	errno = EACCES;
	const int saved = mems_save(path);
	mems_finish();
	const int loaded = mems_load(path, 0);
	const size_t files_left = open_files();
	if (input >= 0)
		dup2(input, 0);
	close(input);
	assert_int_equal(saved, 0);
	assert_int_equal(loaded, 0);
	assert_int_equal(files_left, files);
	assert_int_equal(files_in_folder(), 1);
	assert_sound();
}

/* What the program interposes may call MeMS: that changes nothing before the image is written, and
 * nothing is waited for. */
static void requests_that_call_the_heap_are_answered(void **state)
{
	(void)state;
	heap_make(4);
	assert_int_equal(mems_set_root(at(1000)), 0);
	os.calls_heap = true;
	os.answers = 0;
	assert_int_equal(fail_at(NONE, EIO, save), 0);
	assert_true(os.answers >= 3);
	assert_sound();
	mems_finish();
	os.answers = 0;
	load_flags = MEMS_MAP;
	assert_int_equal(fail_at(NONE, EIO, load), 0);
	assert_true(os.answers >= 5);
	os.calls_heap = false;
	assert_sound();
	assert_int_equal(*(unsigned char *)mems_get(at(1000)), 4);
}

/* A thread that is to end before it saves. */
static void *save_cancelled(void *result)
{
	pthread_cancel(pthread_self());
	*(int *)result = mems_save(path);
	pthread_testcancel();
	return NULL;
}

static void a_save_is_not_cancelled(void **state)
{
	pthread_t thread;
	int result = -2;
	void *end = NULL;
	(void)state;
	heap_make(3);
	const size_t files = open_files();
	assert_int_equal(pthread_create(&thread, NULL, save_cancelled, &result), 0);
	assert_int_equal(pthread_join(thread, &end), 0);
	assert_true(end == PTHREAD_CANCELED);
	assert_int_equal(result, 0);
	assert_int_equal(open_files(), files);
	assert_int_equal(files_in_folder(), 1);
	assert_int_equal(status_of_child(first_byte_of_image, NULL), 3);
	assert_sound();
}

/* What other threads would change stays as it is until the image is written, not until it is synced. */
static void other_threads_wait_for_what_is_written(void **state)
{
	pthread_t thread;
	(void)state;
	heap_make(5);
	void *const block = mems_malloc(16);
	const size_t size = mems_usable_size(block);
	os.has_other = true;
	assert_int_equal(pthread_create(&thread, NULL, other_use, block), 0);
	assert_int_equal(fail_at(NONE, EIO, save), 0);
	os.has_other = false;
	assert_int_equal(pthread_join(thread, NULL), 0);
	assert_false(other.is_early);
	assert_false(other.is_late);
	assert_sound();
	mems_finish();
	assert_int_equal(mems_load(path, 0), 0);
	assert_int_equal(mems_usable_size(block), size);
}

static void *do_nothing(void *context)
{
	return context;
}

/* mems_calloc clears small blocks after it has given the lock back: an image that is written at that
 * moment is sound, whichever contents it has. */
static void what_is_cleared_meanwhile_does_no_harm(void **state)
{
	pthread_t thread;
	(void)state;
	assert_int_equal(pthread_create(&thread, NULL, do_nothing, NULL), 0);
	assert_int_equal(pthread_join(thread, NULL), 0);
	heap_make(7);
	os.cleared = (char *)mems_get(at(1000)) + PAGE;
	assert_int_equal(fail_at(NONE, EIO, save), 0);
	assert_int_equal(*os.cleared, 0);
	os.cleared = NULL;
	mems_finish();
	assert_int_equal(mems_load(path, 0), 0);
	assert_sound();
	assert_int_equal(*(char *)mems_get(at(1000)), 7);
}

/* What forks meanwhile waits until the heap is there, and does not call out beside the load. */
static void a_fork_waits_for_a_load(void **state)
{
	pthread_t thread;
	(void)state;
	heap_make(6);
	assert_int_equal(mems_save(path), 0);
	mems_finish();
	atomic_store(&other.is_told, false);
	atomic_store(&other.is_done, false);
	other.is_early = false;
	os.has_other = true;
	load_flags = 0;
	assert_int_equal(pthread_create(&thread, NULL, other_fork, NULL), 0);
	assert_int_equal(fail_at(NONE, EIO, load), 0);
	os.has_other = false;
	assert_int_equal(pthread_join(thread, NULL), 0);
	assert_false(other.is_early);
	assert_sound();
}

#define os_test(function) \
	cmocka_unit_test_setup_teardown(function, with_folder, without_folder)

int main(void)
{
	const struct CMUnitTest tests[] = {
		os_test(a_save_that_fails_leaves_the_old_image),
		os_test(a_folder_that_must_not_be_read_is_not_synced),
		os_test(a_folder_that_cannot_be_synced_will_do),
		os_test(an_image_stays_in_the_folder_where_its_save_began),
		os_test(a_load_that_fails_leaves_nothing),
		os_test(a_save_that_is_killed_leaves_an_image_or_none),
		os_test(a_load_that_is_killed_leaves_the_image),
		os_test(short_and_interrupted_requests_go_on),
		os_test(writes_without_end_are_given_up),
		os_test(a_name_that_is_taken_is_left_alone),
		os_test(an_image_may_be_file_0),
		os_test(requests_that_call_the_heap_are_answered),
		os_test(a_save_is_not_cancelled),
		os_test(other_threads_wait_for_what_is_written),
		os_test(what_is_cleared_meanwhile_does_no_harm),
		os_test(a_fork_waits_for_a_load),
	};
	return run_heap_tests("images and the OS", tests);
}
