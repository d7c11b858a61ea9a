/*
 * Mistakes that are made with a heap, and what MeMS says of each: mistakes NAME, where NAME is
 * double-free, stale, pointer, leak or crash.
 */
#define _GNU_SOURCE
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "mems.h"

/* Frees a block twice. */
static void double_free(void)
{
	mems_set_label("parser");
	void *word = mems_malloc(100);
	mems_set_label("cache");
	mems_free(word);
	mems_free(word);
}

/* Uses a virtual address after its block was freed. */
static void stale(void)
{
	mems_set_label("parser");
	void *word = mems_malloc(100);
	mems_free(word);
	if (mems_write(word, "hello", 6) != 0)
		mems_explain(word, stdout);
}

static void fault_explain(int number, siginfo_t *info, void *context)
{
	(void)number;
	(void)context;
	mems_explain(info->si_addr, stdout);
	_exit(1);
}

/* Takes a virtual address for a pointer. */
static void pointer(void)
{
	struct sigaction action = {.sa_sigaction = fault_explain, .sa_flags = SA_SIGINFO};

	sigaction(SIGSEGV, &action, NULL);
	mems_set_label("parser");
	volatile char *word = mems_malloc(100);
	word[3] = 'x';
}

/* Does not free all that it has taken. */
static void leak(void)
{
	for (int i = 0; i < 10; i++) {
		mems_set_label("parser");
		mems_malloc(100);
		mems_set_label("cache");
		mems_free(mems_malloc(5000));
	}
	mems_fprint_live(stdout);
}

/* Ends in the middle of its work. Its heap is in the core dump, if there is one. */
static void crash(void)
{
	mems_set_label("parser");
	mems_malloc(500);
	void *word = mems_malloc(100);
	mems_set_label("cache");
	mems_malloc(1000);
	mems_free(word);
	abort();
}

int main(int count, char **words)
{
	static const struct {
		const char *name;
		void (*make)(void);
	} mistakes[] = {{"double-free", double_free}, {"stale", stale}, {"pointer", pointer},
		{"leak", leak}, {"crash", crash}};

	mems_option(MEMS_HISTORY, 1000);
	mems_init();
	for (size_t i = 0; i < sizeof mistakes / sizeof mistakes[0] && count == 2; i++)
		if (strcmp(words[1], mistakes[i].name) == 0)
			mistakes[i].make();
	mems_finish();
	return 0;
}
