/*
 * What test_preload.sh runs on sample/preload:
 *
 *     guest churn THREADS     each takes, resizes and frees blocks, and verifies what is in them
 *     guest full              takes memory until there is none
 *     guest closed FILE       closes standard error, whose number FILE has from then on, and frees
 *                             what it must not
 *     guest signal            interrupts itself, again and again, by a handler that calls malloc
 *     guest fork              forks, again and again, beside a thread that allocates in handlers.c
 *     guest load              leaves blocks of many callers, beside threads in the loader
 *     guest cancel            has threads that are cancelled allocate
 *     guest misuse            has one free what it must not, and go on
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
	THREADS_MAX = 16,
	BLOCKS = 200,
	CALLS = 20000,
	PAGES_EVERY = 20, /* calls */
	ALARMS = 2000,
	CANCELS = 10,
	LOADERS = 4,
	FORKS = 100,
	FORKS_SECONDS = 30 /* after which they have come to a standstill */
};

struct block {
	unsigned char *bytes;
	size_t size;
};

static bool is_filled(const struct block *block, size_t size)
{
	for (size_t i = 0; i < size; i++)
		if (block->bytes[i] != (unsigned char)block->size)
			return false;
	return true;
}

/* One call for a block, which it verifies first. */
static bool block_change(struct block *block, size_t size)
{
	unsigned char *bytes;
	bool is_good = is_filled(block, block->size);

	if (size % 3 == 0) {
		free(block->bytes);
		*block = (struct block){.bytes = NULL};
		return is_good;
	}
	bytes = realloc(block->bytes, size);
	if (bytes == NULL)
		return false;
	block->bytes = bytes;
	is_good = is_good && is_filled(block, block->size < size ? block->size : size);
	block->size = size;
	memset(bytes, (unsigned char)size, size);
	return is_good;
}

/* Small blocks most often, and some that give whole pages back. */
static size_t size_next(uint32_t *state)
{
	*state = *state * UINT32_C(1664525) + UINT32_C(1013904223);
	return 1 + (*state >> 8) % (*state >> 28 == 0 ? 300000 : 600);
}

/* So that what stands in the place of mmap is also called from outside the heap. */
static void pages_take(void)
{
	void *pages = mmap(NULL, 1, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (pages != MAP_FAILED)
		munmap(pages, 1);
}

/* Returns a text where something is wrong. */
static void *churn(void *number)
{
	struct block blocks[BLOCKS] = {{0}};
	uint32_t state = *(uint32_t *)number;
	void *fault = NULL;

	for (int i = 0; i < CALLS; i++) {
		size_t size = size_next(&state);

		if (!block_change(&blocks[(state >> 4) % BLOCKS], size))
			fault = "a block has changed, or there is no memory";
		if (i % PAGES_EVERY == 0)
			pages_take();
	}
	for (int i = 0; i < BLOCKS; i++)
		free(blocks[i].bytes);
	return fault;
}

static int churns(unsigned threads)
{
	pthread_t thread[THREADS_MAX];
	uint32_t number[THREADS_MAX];
	int status = EXIT_SUCCESS;

	for (unsigned i = 0; i < threads; i++) {
		number[i] = i;
		if (pthread_create(&thread[i], NULL, churn, &number[i]) != 0)
			return EXIT_FAILURE;
	}
	for (unsigned i = 0; i < threads; i++) {
		void *fault;

		pthread_join(thread[i], &fault);
		if (fault != NULL)
			printf("thread %u: %s\n", i, (const char *)fault);
		if (fault != NULL)
			status = EXIT_FAILURE;
	}
	return status;
}

static int fill(void)
{
	for (size_t size = 1 << 20; size >= 16; size /= 2)
		while (malloc(size) != NULL)
			;
	return EXIT_SUCCESS;
}

static int misuse_closed(const char *path)
{
	volatile size_t inside = 16; /* the compiler must not see that it is not 0 */
	char *block = malloc(100);

	close(STDERR_FILENO);
	if (block == NULL || open(path, O_WRONLY | O_CREAT | O_TRUNC, 0666) != STDERR_FILENO)
		return EXIT_FAILURE;
	free(block + inside);
	return EXIT_SUCCESS;
}

/* ---- Signals --------------------------------------------------------------------------------- */

static volatile sig_atomic_t alarms;
static void *volatile last; /* of the handler */

static void alarm_handle(int signal_number)
{
	(void)signal_number;
	alarms++;
	free(last);
	last = malloc(100);
}

static int interrupt(void)
{
	struct sigaction action = {.sa_handler = alarm_handle};
	struct itimerval often = {{0, 100}, {0, 100}};
	uint32_t number = 1;
	void *fault = NULL;

	if (sigaction(SIGALRM, &action, NULL) != 0 || setitimer(ITIMER_REAL, &often, NULL) != 0)
		return EXIT_FAILURE;
	while (alarms < ALARMS && fault == NULL)
		fault = churn(&number);
	return fault == NULL ? EXIT_SUCCESS : EXIT_FAILURE;
}

/* ---- Forks ----------------------------------------------------------------------------------- */

static atomic_bool must_end;

static void *allocate(void *library)
{
	void (*handlers_allocate)(void);

	*(void **)&handlers_allocate = library;
	while (!atomic_load(&must_end))
		handlers_allocate();
	return NULL;
}

static int forks(void)
{
	void *library = dlsym(RTLD_DEFAULT, "handlers_allocate");
	bool are_well = library != NULL;
	pthread_t thread;

	alarm(FORKS_SECONDS);
	if (!are_well || pthread_create(&thread, NULL, allocate, library) != 0)
		return EXIT_FAILURE;
	for (int i = 0; i < FORKS && are_well; i++) {
		pid_t child = fork();
		int status = 0;

		if (child == 0)
			_exit(EXIT_SUCCESS);
		are_well = waitpid(child, &status, 0) == child && status == 0;
	}
	atomic_store(&must_end, true);
	return pthread_join(thread, NULL) == 0 && are_well ? EXIT_SUCCESS : EXIT_FAILURE;
}

/* ---- The loader ------------------------------------------------------------------------------ */

/* The loader asks for memory, most often with its lock. */
static void *load(void *unused)
{
	for (;;)
		dlopen("no-such-library.so", RTLD_NOW);
	return unused;
}

#define FOUR(statement) statement; statement; statement; statement
#define SIXTEEN(statement) FOUR(FOUR(statement))

/* NOLINTNEXTLINE(readability-function-size): each call is another caller. */
static int load_beside(void)
{
	void *volatile block;
	pthread_t thread;

	for (int i = 0; i < LOADERS; i++)
		if (pthread_create(&thread, NULL, load, NULL) != 0)
			return EXIT_FAILURE;
	SIXTEEN(SIXTEEN(SIXTEEN(block = malloc(1))));
	return block == NULL;
}

/* ---- Cancellation ---------------------------------------------------------------------------- */

static const char *volatile past; /* what the thread that misuses free has done */

/* Ends at the test alone: what is called before is no place to end at. */
static void *allocate_cancelled(void *unused)
{
	pthread_cancel(pthread_self());
	for (int i = 0; i < CALLS; i++)
		free(malloc(100));
	pthread_testcancel();
	return unused;
}

static void *misuse_cancelled(void *unused)
{
	volatile size_t inside = 16;
	char *block = malloc(100);

	pthread_cancel(pthread_self());
	free(block + inside); /* cppcheck-suppress invalidFree */
	past = "the misuse";
	pthread_testcancel();
	return unused;
}

static bool is_cancelled(void *run(void *unused))
{
	pthread_t thread;
	void *result;

	return pthread_create(&thread, NULL, run, NULL) == 0 && pthread_join(thread, &result) == 0 &&
		result == PTHREAD_CANCELED;
}

static int cancel(void)
{
	bool are_well = true;

	for (int i = 0; i < CANCELS; i++)
		are_well = is_cancelled(allocate_cancelled) && are_well;
	return are_well ? EXIT_SUCCESS : EXIT_FAILURE;
}

int main(int argc, char **argv)
{
	const char *mode = argc > 1 ? argv[1] : "";

	if (strcmp(mode, "churn") == 0 && argc > 2)
		return churns((unsigned)strtoul(argv[2], NULL, 10) % (THREADS_MAX + 1));
	if (strcmp(mode, "full") == 0)
		return fill();
	if (strcmp(mode, "closed") == 0 && argc > 2)
		return misuse_closed(argv[2]);
	if (strcmp(mode, "signal") == 0)
		return interrupt();
	if (strcmp(mode, "fork") == 0)
		return forks();
	if (strcmp(mode, "load") == 0)
		return load_beside();
	if (strcmp(mode, "cancel") == 0)
		return cancel();
	if (strcmp(mode, "misuse") == 0)
		return is_cancelled(misuse_cancelled) && past != NULL ? EXIT_SUCCESS : EXIT_FAILURE;
	return EXIT_FAILURE;
}
