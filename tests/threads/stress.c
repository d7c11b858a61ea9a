/*
 * The stress of the threads: build/.../stress CALLS [SEED]
 *
 * 2, 4, 8 and 16 threads in turn, which make a quarter of the calls each: they allocate, write,
 * check, hand blocks to each other and free them, while the process forks again and again and each
 * child checks the heap and goes on with it. Then the heap is checked, and its counters against
 * what the threads hold. The policy is the one in POLICY. Exits with 1 where anything is wrong.
 */
#define _GNU_SOURCE
#include "churn.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "mems.h"

enum {
	RUNS = 4,
	PAUSE_MICROSECONDS = 5000, /* between two forks */
	CHILD_SECONDS = 60,        /* after which a child has come to a standstill, */
	RUN_SECONDS = 1800,        /* or the whole */
	KNOWN_SIZE = 50000,
	CHILD_BLOCKS = 200
};

static void *at(uintptr_t address)
{
	return (void *)address;
}

static double seconds_now(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

/* The heap as the fork found it is sound, holds what it held, and works. */
static void live_as_child(uintptr_t known)
{
	uintptr_t blocks[CHILD_BLOCKS];
	alarm(CHILD_SECONDS);
	expect(mems_check(stderr) == 0);
	expect(churn_block_is_intact(known));
	for (uint32_t i = 0; i < CHILD_BLOCKS; i++)
		blocks[i] = churn_block_take(1 + i * i, i);
	for (unsigned i = 0; i < CHILD_BLOCKS; i++) {
		expect(churn_block_is_intact(blocks[i]));
		mems_free(at(blocks[i]));
	}
	mems_free(at(known));
	expect(mems_check(stderr) == 0);
	_exit(expect_failures != 0);
}

static void fork_once(uintptr_t known)
{
	int status = 0;
	const pid_t pid = fork();
	if (pid == 0)
		live_as_child(known);
	if (expect(pid > 0) && expect(waitpid(pid, &status, 0) == pid))
		expect(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

/* Forks until the threads are done. Returns how often. */
static unsigned fork_meanwhile(struct churn *churn)
{
	const size_t all = churn->calls_each / CHURN_ROUND * churn->count;
	const uintptr_t known = churn_block_take(KNOWN_SIZE, 1);
	unsigned forks = 0;
	while (atomic_load_explicit(&churn->rounds, memory_order_relaxed) < all) {
		fork_once(known);
		forks++;
		usleep(PAUSE_MICROSECONDS);
	}
	expect(churn_block_is_intact(known));
	mems_free(at(known));
	return forks;
}

/* What the heap counts is what the threads hold; and when they have freed it, nothing. */
static struct churn_totals check_afterwards(struct churn *churn)
{
	struct mems_stats stats;
	const struct churn_totals totals = churn_totals(churn);
	expect(mems_check(stderr) == 0);
	mems_get_stats(&stats);
	expect(stats.process_segments == totals.blocks);
	expect(stats.process_bytes == totals.bytes);
	expect(totals.blocks != 0);
	churn_free(churn);
	expect(mems_check(stderr) == 0);
	mems_get_stats(&stats);
	expect(stats.process_segments == 0 && stats.process_bytes == 0);
	expect(stats.hole_segments == stats.main_nodes && stats.hole_bytes == stats.mapped_bytes);
	return totals;
}

static void run(const char *policy, unsigned threads, size_t calls, uint64_t seed)
{
	static struct churn churn;
	mems_init();
	churn = (struct churn){ .calls_each = calls / threads };
	const double began = seconds_now();
	churn_start(&churn, threads, seed);
	const unsigned forks = fork_meanwhile(&churn);
	churn_join(&churn);
	const double seconds = seconds_now() - began;
	const struct churn_totals totals = check_afterwards(&churn);
	mems_finish();
	printf("stress: %-9s %2u threads  %9zu calls  %4u forks  %6.2f million calls/s  %s\n", policy,
	       threads, totals.calls, forks, (double)totals.calls / seconds / 1e6,
	       expect_failures == 0 ? "sound" : "NOT SOUND");
	fflush(stdout);
}

int main(int argc, char **argv)
{
	const char *const policy = getenv("POLICY") != NULL ? getenv("POLICY") : "first_fit";
	const bool is_quick = strcmp(policy, "quick_fit") == 0;
	if (argc < 2 || argc > 3) {
		fprintf(stderr, "usage: stress CALLS [SEED]\n");
		return 2;
	}
	const size_t calls = strtoul(argv[1], NULL, 10) / RUNS;
	const uint64_t seed = argc == 3 ? strtoul(argv[2], NULL, 10) : (unsigned)getpid();
	alarm(RUN_SECONDS);
	mems_set_error_handler(NULL);
	expect(mems_option(MEMS_POLICY, is_quick ? MEMS_QUICK_FIT : MEMS_FIRST_FIT) == 0);
	printf("stress: seed %llu\n", (unsigned long long)seed);
	for (unsigned threads = 2; threads <= CHURN_THREADS; threads *= 2)
		run(policy, threads, calls, seed);
	return expect_failures != 0;
}
