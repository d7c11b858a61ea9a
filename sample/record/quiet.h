/*
 * record/quiet.h: writing from inside malloc, for recorder.c and preload.c. Has all in it, calls nothing
 * of MeMS.
 *
 * No program expects malloc or free to end its thread or to raise a signal. So a thread that writes
 * there cannot be cancelled meanwhile (open and write are cancellation points), and where there is no
 * reader or no room it gets neither SIGPIPE nor SIGXFSZ: errno alone tells.
 */
#ifndef QUIET_H
#define QUIET_H

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <time.h>

/* What there was before. */
struct quiet {
	int cancel_state;
	sigset_t mask;  /* of the thread */
	sigset_t taken; /* signals that are taken away; one that was pending is the program's */
};

static inline struct quiet quiet_begin(void)
{
	struct quiet quiet;
	sigset_t pending;

	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &quiet.cancel_state);
	sigpending(&pending);
	sigemptyset(&quiet.taken);
	if (!sigismember(&pending, SIGPIPE))
		sigaddset(&quiet.taken, SIGPIPE);
	if (!sigismember(&pending, SIGXFSZ))
		sigaddset(&quiet.taken, SIGXFSZ);
	sigprocmask(SIG_BLOCK, &quiet.taken, &quiet.mask); /* of this thread alone, on Linux */
	return quiet;
}

/* Leaves errno as it is. */
static inline void quiet_end(const struct quiet *quiet)
{
	int error = errno;

	while (sigtimedwait(&quiet->taken, NULL, &(struct timespec){0}) > 0)
		;
	sigprocmask(SIG_SETMASK, &quiet->mask, NULL);
	pthread_setcancelstate(quiet->cancel_state, NULL);
	errno = error;
}

#endif
