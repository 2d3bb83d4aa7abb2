// SPDX-License-Identifier: Apache-2.0
/*
 * transpose.h - row-major arrays (C order) into R's column-major ones.
 */
#ifndef PYRMAP_TRANSPOSE_H
#define PYRMAP_TRANSPOSE_H

#define R_NO_REMAP
#include "protocol/record.h"
#include <Rinternals.h>

/* R's type for a dtype. */
SEXPTYPE r_type(int32_t dtype);

/* Copies an array, transposing it if it has more than one dimension; float32 becomes double on the way. */
void transpose(int32_t dtype, int ndim, const int64_t *shape, const void *from, void *to);

#endif
