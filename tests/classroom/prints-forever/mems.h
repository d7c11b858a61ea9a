/* A student whose MeMS is wrong: see ../right/mems.h. */
#define PRINTS_FOREVER
#include "../right/mems.h"
