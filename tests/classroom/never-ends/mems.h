/* A student whose MeMS is wrong: see ../right/mems.h. */
#define NEVER_ENDS
#include "../right/mems.h"
