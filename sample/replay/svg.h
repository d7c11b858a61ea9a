/*
 * Turns a heap into an SVG picture. Calls engine; called by mems-replay and pictures.
 *
 * There is a row for each main node, with its segments to scale.
 */
#ifndef SVG_H
#define SVG_H

#include <stdio.h>

#include "engine.h"

/* The style sheet and the patterns of pictures: text of class title, note, node, in-process,
 * in-hole, end, middle; shapes of class process, hole, mixed, full, border. */
extern const char svg_looks[];

/* Writes a picture of the heap that the engine runs. Its size is bounded, whatever the heap is:
 * neighbours too small to be seen are summed up, and many main nodes share rows; the picture says
 * so. Errors are left in ferror(out). Cost: linear in the segments. */
void svg_write(FILE *out, const struct engine *engine);

#endif
