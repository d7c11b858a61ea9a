/* A student whose MeMS is wrong: see ../right/mems.h. */
#define TAKES_IT_ALL
#include "../right/mems.h"
