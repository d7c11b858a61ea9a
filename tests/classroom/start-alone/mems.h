/* A student whose MeMS is wrong: see ../right/mems.h. */
#define START_ALONE
#include "../right/mems.h"
