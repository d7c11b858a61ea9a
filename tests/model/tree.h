/*
 * The segments of a model in address order: a treap, in which a segment is found by its address,
 * and the first HOLE that is large enough by the largest below each node, in O(log n). R. Seidel
 * and C. R. Aragon, "Randomized search trees", Algorithmica 16, 1996.
 *
 * Segments are linked in by the caller's order; none has to be compared.
 */
#ifndef TREE_H
#define TREE_H

#include "model.h"

/* Adds a segment that lies directly after the other one; NULL where it is the first of all. */
void tree_add(struct tree *tree, struct model_segment *segment, struct model_segment *before);
void tree_remove(struct tree *tree, struct model_segment *segment);

/* The room of the segment has changed. */
void tree_update(struct model_segment *segment);

/* The segment with the highest start that is not above the address, NULL where there is none. */
struct model_segment *tree_find(const struct tree *tree, uintptr_t address);

struct model_segment *tree_last(const struct tree *tree);

/* The first segment with so much room (not 0), of all or of those after another one. */
struct model_segment *tree_first_fit(const struct tree *tree, size_t room);
struct model_segment *tree_next_fit(const struct model_segment *segment, size_t room);

#endif
