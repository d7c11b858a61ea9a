/*
 * Turns names of files into texts that can be shown anywhere, and has the endings of nouns. Depends on
 * nothing here; called by mems-replay and mems-look, and by what draws.
 *
 * A name may be any bytes. A terminal would act on some, XML and JSON must not have others, and some
 * turn the text around that follows them.
 */
#ifndef NAME_H
#define NAME_H

#include <stdbool.h>
#include <stddef.h>

/* A copy of a name in UTF-8, in which U+FFFD stands for each byte that is not UTF-8 and for each
 * character that is no letter, sign or space. The caller's, to be freed; NULL without memory. What
 * means something to HTML or XML is still in it. */
char *name_shown(const char *name);

/* Are both there, and alike, or of one regular file that is there? */
bool name_is_same(const char *one, const char *other);

/* The ending of a noun behind this number. */
static inline const char *plural(size_t number)
{
	return number == 1 ? "" : "s";
}

#endif
