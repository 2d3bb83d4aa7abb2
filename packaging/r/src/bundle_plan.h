// SPDX-License-Identifier: Apache-2.0
/*
 * bundle_plan.h - what a bundle will consist of, before a byte of it is written.
 *
 * The plan is made first because the segment needs its size, and the header comes before the tensors. It points to R's
 * vectors and holds none of them: they have to stay where they are until the bundle is written.
 */
#ifndef PYRMAP_BUNDLE_PLAN_H
#define PYRMAP_BUNDLE_PLAN_H

#include "convert.h"
#include "protocol/bundle.h"
#include "text.h"
#include <stdbool.h>
#include <stdint.h>
#define R_NO_REMAP
#include <R.h>
#include <Rinternals.h>

enum {
    BUNDLE_ALIGNMENT = 64,  /* of the first tensor */
    BUNDLE_NESTED_MAX = 14, /* lists in lists: each is two levels of JSON */
};

/* How a tensor is made of an R vector. */
enum bundle_values {
    VALUES_NUMBERS,  /* as source, by convert() */
    VALUES_BOOLEANS, /* a logical without NA, a byte each */
    VALUES_COMPLEX,
    VALUES_BYTES,   /* of all strings, one after the other */
    VALUES_OFFSETS, /* where each string begins, and the last one ends */
    VALUES_MISSING, /* 1 for NA, else 0 */
};

struct bundle_part {
    SEXP x;
    enum bundle_values values;
    enum source_type source; /* of numbers */
    enum bundle_dtype dtype;
    size_t name; /* where it begins in the plan's names */
    size_t name_size;
    size_t bytes;
    size_t offset; /* behind the header */
    bool in_place; /* it lies there already */
    SEXP dim;      /* or NULL */
};

/* What an R vector that would travel without a bundle is to be: as in pyrmap_slot_fill. */
struct bundle_plain {
    SEXP x;
    enum source_type type; /* 0: none */
    int32_t dtype;
};

struct bundle_plan {
    struct text tree;  /* the JSON for "pyrmap" */
    struct text names; /* of all tensors, one after the other */
    struct bundle_part *tensors;
    size_t count;
    size_t room;
    size_t *slots; /* a hash table of names: indices of tensors, from 1 */
    size_t slot_count;
    struct bundle_plain plain;
    const struct vector
        *whole;   /* a bundle that R filled in place, whose parts stay where they are; or NULL */
    bool strings; /* the strings and values are looked at; else only the types: sizes are unknown then */
    enum { NA_AS_NAN, NA_IS_ERROR, NA_KEPT } na;
    bool arguments;     /* in what follows data: vectors of length 1 are scalars */
    int nested;         /* lists that we are in */
    int special;        /* of enum vector_special: what was met */
    struct text header; /* once it is complete: with its length in front, and padded */
    size_t size;        /* of the segment */
};

/* Adds to the plan. arguments: list(args =, kwargs =), or NULL. Raises R conditions that name the member. */
void bundle_plan(struct bundle_plan *plan, SEXP data, SEXP arguments);

/*
 * The header, and where each tensor lies; afterwards the tensors are in the order of the segment. False: they cannot lie around
 * what R filled in place.
 */
bool bundle_lay_out(struct bundle_plan *plan);

/* The strings of x as they lie in memory, for bundle_string(); NULL if R has to be asked for each. */
static inline const SEXP *bundle_strings(SEXP x)
{
    return ALTREP(x) ? NULL : STRING_PTR_RO(x);
}

/* One of the strings, in a loop over all: they lie far from each other, so we fetch those to come beforehand. */
static inline SEXP bundle_string(SEXP x, const SEXP *all, R_xlen_t i, R_xlen_t count)
{
    enum { AHEAD = 16, CACHE_LINE = 64 };
    if (!all)
        return STRING_ELT(x, i);
    if (count - i > AHEAD) {
        __builtin_prefetch(all[i + AHEAD]);
        __builtin_prefetch((const char *)all[i + AHEAD] + CACHE_LINE);
    }
    return all[i];
}

/* The string as UTF-8, whatever encoding it has; only R_alloc's memory is used. It may still be invalid. */
const char *bundle_utf8(SEXP string, size_t *size);

#endif
