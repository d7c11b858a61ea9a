/*
 * A library as there are many, to be preloaded beside sample/preload: it has a lock, allocates under
 * it, and takes it while the process forks, with handlers that it registers when it is initialised.
 * Called by guest.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <pthread.h>
#include <stdlib.h>

void handlers_allocate(void);

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;

static void lock(void)
{
	pthread_mutex_lock(&mutex);
}

static void unlock(void)
{
	pthread_mutex_unlock(&mutex);
}

__attribute__((constructor)) static void handlers_add(void)
{
	pthread_atfork(lock, unlock, unlock);
}

void handlers_allocate(void)
{
	lock();
	for (size_t i = 0; i < 10; i++)
		free(malloc(100 + 10000 * i));
	unlock();
}
