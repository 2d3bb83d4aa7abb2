// SPDX-License-Identifier: Apache-2.0
/*
 * bundle_read.h - from a bundle, which any program may have written, to R's objects.
 */
#ifndef PYRMAP_BUNDLE_READ_H
#define PYRMAP_BUNDLE_READ_H

#include "place.h"
#include "protocol/bundle.h"
#include "vector.h"

/* One bundle that is read. */
struct bundle_reading {
    const void *segment;
    size_t size;
    struct vector *whole; /* the mapping, or NULL: everything is copied */
    SEXP holder;          /* the external pointer that owns it */
    const char *origin;   /* for messages: the slot */
    int special;          /* of enum vector_special: what the caller used himself */
    struct bundle bundle; /* its header, once that is checked */
    bool *taken;          /* for each tensor: a member has it */
    bool mapped;          /* a vector lies in the mapping */
    bool foreign;         /* R would write another bundle than this for what it reads */
};

/* The R object of a bundle. Raises R conditions. */
SEXP bundle_object(struct bundle_reading *reading);
/* Of one in a raw vector. special: of enum vector_special. */
SEXP pyrmap_bundle_object(SEXP bytes, SEXP special);

/* Raises the condition that the bundle is damaged; place may be NULL. */
_Noreturn void bundle_refuse(const struct bundle_reading *reading, const struct place *place,
                             const char *why);

/* A tensor, and how its node says that it is to be read. */
struct bundle_array {
    enum bundle_dtype dtype;
    const char *at;
    size_t bytes;
    size_t count;
    int ndim; /* 0: a plain vector */
    const int64_t *dim;
    bool row_major; /* and it matters */
};

/* The record's code of a tensor's dtype; 0 if the record has none. */
int32_t bundle_record_dtype(enum bundle_dtype dtype);

/* Numbers in R's type for them: mapped where that is possible. special: of enum vector_special. */
SEXP bundle_numbers(struct bundle_reading *reading, const struct bundle_array *array, int special,
                    const struct place *place);

/* Turns values, as they lie in a row-major array, into R's order. element: bytes of each. */
void bundle_turn(const struct bundle_array *array, size_t element, const void *from, void *to);

#endif
