/* A student whose MeMS is wrong: see ../right/mems.h. */
#define ONE_PAGE_EACH
#include "../right/mems.h"
