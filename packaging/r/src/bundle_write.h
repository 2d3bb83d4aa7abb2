// SPDX-License-Identifier: Apache-2.0
/*
 * bundle_write.h - several arrays, tables and text as the input of a round: see protocol/bundle.h for the format.
 */
#ifndef PYRMAP_BUNDLE_WRITE_H
#define PYRMAP_BUNDLE_WRITE_H

#define R_NO_REMAP
#include "vector.h"
#include <R.h>
#include <Rinternals.h>

/*
 * Whether data, or one of arguments (a list or NULL), can go; an R condition that names the member if not. Which of R's
 * special types are in it: enum vector_special. na: as in run_python().
 */
SEXP pyrmap_bundle_check(SEXP data, SEXP arguments, SEXP na);

/*
 * Begins a round with a bundle as its input, and publishes it. arguments: a list of two, args and kwargs, or NULL. type, dtype: as in
 * pyrmap_slot_fill, of data that would have gone without a bundle; else 0. Returns what pyrmap_slot_fill does.
 */
SEXP pyrmap_bundle_fill(SEXP slot, SEXP data, SEXP arguments, SEXP na, SEXP type, SEXP dtype);

/*
 * Writes what is missing around the parts of data that R filled in place: the header, and members that lie elsewhere. -EINVAL: data
 * has not each part of whole once, or there is no room; else -errno or 0.
 */
int bundle_write_around(struct vector *whole, const struct slot *slot, SEXP data);

/* A bundle as a raw vector. */
SEXP pyrmap_bundle_bytes(SEXP data, SEXP na);

#endif
