// SPDX-License-Identifier: Apache-2.0
/*
 * names.h - names and dimnames, from an input to a result of the same shape.
 */
#ifndef PYRMAP_NAMES_H
#define PYRMAP_NAMES_H

#define R_NO_REMAP
#include <R.h>
#include <Rinternals.h>

/* What there is to keep of an input, for pyrmap_names_put(); NULL: nothing. It does not hold the input. */
SEXP pyrmap_names_of(SEXP x);
/* Gives a new result what was kept: the result itself. */
SEXP pyrmap_names_put(SEXP x, SEXP kept);

#endif
