// SPDX-License-Identifier: Apache-2.0
/*
 * bundle_node.h - one value in the tree of a bundle that is read, and what all its kinds ask of it.
 */
#ifndef PYRMAP_BUNDLE_NODE_H
#define PYRMAP_BUNDLE_NODE_H

#include "bundle_read.h"

/* A node and the member that it is. */
struct bundle_node {
    struct json json;
    const struct place *place;
};

/* The value of a key; .at is NULL without one. */
struct json bundle_member(struct bundle_node node, const char *key);
/* The same, which has to be text if it is there. */
struct json bundle_text_member(const struct bundle_reading *reading, struct bundle_node node,
                               const char *key);

/* A string, and a list of strings as a character vector. */
SEXP bundle_string(const struct bundle_reading *reading, const struct place *place, struct json string);
SEXP bundle_strings(const struct bundle_reading *reading, struct bundle_node node, struct json list);

/* Extents, which have to be those of array->count values. */
void bundle_read_dim(const struct bundle_reading *reading, const struct place *place, struct json dim,
                     bool row_major, struct bundle_array *array);
void bundle_set_dim(SEXP x, const struct bundle_array *array);

/* The tensor, which no other member may have. */
void bundle_take(struct bundle_reading *reading, const struct place *place, struct json name,
                 struct bundle_array *array);

void bundle_set_classes(SEXP x, int count, const char *const *classes);

/* The R object of any node, of one that is an array. */
SEXP bundle_read_node(struct bundle_reading *reading, struct bundle_node node);
SEXP bundle_read_array(struct bundle_reading *reading, struct bundle_node node);

/* Raises the condition that the bundle is damaged. */
_Noreturn void bundle_refuse_node(const struct bundle_reading *reading, struct bundle_node node,
                                  const char *why);

#endif
