/* The segments of a model in address order; see tree.h. */
#include "tree.h"

static size_t largest_below(const struct model_segment *segment)
{
	return segment == NULL ? 0 : segment->largest;
}

static size_t largest_of(const struct model_segment *segment)
{
	size_t largest = model_room(segment);
	if (largest_below(segment->left) > largest)
		largest = largest_below(segment->left);
	if (largest_below(segment->right) > largest)
		largest = largest_below(segment->right);
	return largest;
}

void tree_update(struct model_segment *segment)
{
	for (; segment != NULL; segment = segment->parent) {
		const size_t largest = largest_of(segment);
		if (largest == segment->largest)
			return;
		segment->largest = largest;
	}
}

/* The link that leads to the segment. */
static struct model_segment **link_to(struct tree *tree, const struct model_segment *segment)
{
	struct model_segment *const parent = segment->parent;
	if (parent == NULL)
		return &tree->root;
	return parent->left == segment ? &parent->left : &parent->right;
}

static void attach(struct model_segment **link, struct model_segment *segment,
                   struct model_segment *parent)
{
	*link = segment;
	if (segment != NULL)
		segment->parent = parent;
}

/* The segment changes places with its parent; the order stays. */
static void rotate_up(struct tree *tree, struct model_segment *segment)
{
	struct model_segment *const parent = segment->parent;
	struct model_segment **const link = link_to(tree, parent);
	struct model_segment *const above = parent->parent;
	if (parent->left == segment) {
		attach(&parent->left, segment->right, parent);
		attach(&segment->right, parent, segment);
	} else {
		attach(&parent->right, segment->left, parent);
		attach(&segment->left, parent, segment);
	}
	attach(link, segment, above);
	segment->largest = parent->largest;
	parent->largest = largest_of(parent);
}

/* The same in every run. */
static uint32_t priority_next(struct tree *tree)
{
	tree->random = tree->random * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
	return (uint32_t)(tree->random >> 32);
}

void tree_add(struct tree *tree, struct model_segment *segment, struct model_segment *before)
{
	struct model_segment **link = before == NULL ? &tree->root : &before->right;
	struct model_segment *parent = before;
	while (*link != NULL) {
		parent = *link;
		link = &parent->left;
	}
	segment->left = NULL;
	segment->right = NULL;
	segment->largest = model_room(segment);
	segment->priority = priority_next(tree);
	attach(link, segment, parent);
	tree_update(parent);
	while (segment->parent != NULL && segment->parent->priority < segment->priority)
		rotate_up(tree, segment);
	tree->count++;
}

static struct model_segment *child_to_rotate_up(const struct model_segment *segment)
{
	if (segment->left == NULL)
		return segment->right;
	if (segment->right == NULL || segment->left->priority > segment->right->priority)
		return segment->left;
	return segment->right;
}

void tree_remove(struct tree *tree, struct model_segment *segment)
{
	struct model_segment *child;
	while ((child = child_to_rotate_up(segment)) != NULL)
		rotate_up(tree, child);
	*link_to(tree, segment) = NULL;
	tree_update(segment->parent);
	tree->count--;
}

struct model_segment *tree_find(const struct tree *tree, uintptr_t address)
{
	struct model_segment *found = NULL;
	struct model_segment *segment = tree->root;
	while (segment != NULL) {
		const bool is_above = segment->start > address;
		found = is_above ? found : segment;
		segment = is_above ? segment->left : segment->right;
	}
	return found;
}

struct model_segment *tree_last(const struct tree *tree)
{
	return tree_find(tree, UINTPTR_MAX);
}

/* The first with so much room below the segment, itself included. */
static struct model_segment *fit_below(struct model_segment *segment, size_t room)
{
	if (largest_below(segment) < room)
		return NULL;
	for (;;) {
		if (largest_below(segment->left) >= room)
			segment = segment->left;
		else if (model_room(segment) >= room)
			return segment;
		else
			segment = segment->right;
	}
}

struct model_segment *tree_first_fit(const struct tree *tree, size_t room)
{
	return fit_below(tree->root, room);
}

struct model_segment *tree_next_fit(const struct model_segment *segment, size_t room)
{
	struct model_segment *found = fit_below(segment->right, room);
	for (struct model_segment *parent = segment->parent; found == NULL && parent != NULL;
	     segment = parent, parent = parent->parent) {
		if (parent->right == segment)
			continue;
		found = model_room(parent) >= room ? parent : fit_below(parent->right, room);
	}
	return found;
}
