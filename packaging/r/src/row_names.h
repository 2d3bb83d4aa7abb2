// SPDX-License-Identifier: Apache-2.0
/*
 * row_names.h - the row names of a data frame as R stores them.
 */
#ifndef PYRMAP_ROW_NAMES_H
#define PYRMAP_ROW_NAMES_H

#define R_NO_REMAP
#include <R.h>
#include <Rinternals.h>
#include <stdbool.h>

/* The attribute itself. It may be c(NA, n), by which R means 1..n, and of which Rf_getAttrib would make as many integers. */
SEXP row_names_stored(SEXP frame);
/* How many rows there are. names: of row_names_stored(). */
R_xlen_t row_names_count(SEXP names);
/* Whether they are 1..n: such names need not travel. */
bool row_names_are_counted(SEXP names);

#endif
