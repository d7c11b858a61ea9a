/*
 * What the linker puts between the library and the OS (--wrap): each program defines those that its
 * makefile names, and calls the real ones.
 */
#ifndef WRAPPED_H
#define WRAPPED_H

#include <stddef.h>
#include <sys/types.h>

void *__real_mmap(void *address, size_t bytes, int access, int flags, int file, off_t offset);
void *__wrap_mmap(void *address, size_t bytes, int access, int flags, int file, off_t offset);
int __real_munmap(void *address, size_t bytes);
int __wrap_munmap(void *address, size_t bytes);
int __real_mprotect(void *address, size_t bytes, int access);
int __wrap_mprotect(void *address, size_t bytes, int access);
int __real_madvise(void *address, size_t bytes, int advice);
int __wrap_madvise(void *address, size_t bytes, int advice);
int __real_mincore(void *address, size_t bytes, unsigned char *pages);
int __wrap_mincore(void *address, size_t bytes, unsigned char *pages);
unsigned long __real_getauxval(unsigned long type);
unsigned long __wrap_getauxval(unsigned long type);

#endif
