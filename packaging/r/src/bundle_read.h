// SPDX-License-Identifier: Apache-2.0
/*
 * bundle_read.h - from a checked bundle to R's objects.
 */
#ifndef PYRMAP_BUNDLE_READ_H
#define PYRMAP_BUNDLE_READ_H

#include "bundle_header.h"
#include "place.h"
#include "vector.h"

/* One bundle that is read. */
struct bundle_reading {
    struct bundle_view view;
    const struct vector *whole; /* the mapping, or NULL: everything is copied */
    SEXP holder;                /* the external pointer that owns it */
    const char *origin;         /* for messages: the slot */
    int special;                /* of enum vector_special: what the caller used himself */
    bool mapped;                /* a vector lies in the mapping */
};

/* Raises the condition that the bundle is damaged; place may be NULL. */
_Noreturn void bundle_refuse(const struct bundle_reading *reading, const struct place *place,
                             const char *why);

/* The R object of a bundle; raises R conditions. */
SEXP bundle_read(struct bundle_reading *reading, const void *segment, size_t size);

/* Values of an array: what the node says of dim and order, and the tensor that it names. */
struct bundle_values_of {
    struct bundle_entry *entry;
    size_t count;
    int ndim; /* 0: a plain vector */
    const int64_t *dim;
    bool row_major; /* and it matters */
};

/* Numbers in R's type for them: mapped where that is possible. special: of enum vector_special. */
SEXP bundle_numbers(struct bundle_reading *reading, const struct bundle_values_of *values, int special,
                    const struct place *place);

/* Turns values, as they lie in a row-major array, into R's order. element: bytes of each. */
void bundle_turn(const struct bundle_values_of *values, size_t element, const void *from, void *to);

#endif
