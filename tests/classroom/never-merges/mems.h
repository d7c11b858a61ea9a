/* A student whose MeMS is wrong: see ../right/mems.h. */
#define NEVER_MERGES
#include "../right/mems.h"
