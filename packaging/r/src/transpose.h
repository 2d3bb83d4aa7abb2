// SPDX-License-Identifier: Apache-2.0
/*
 * transpose.h - row-major arrays (C order) into R's column-major ones.
 */
#ifndef PYRMAP_TRANSPOSE_H
#define PYRMAP_TRANSPOSE_H

#include <stddef.h>
#include <stdint.h>

/* Copies an array of elements of 1, 4 or 8 bytes, transposing it. ndim: at least 1. */
void transpose(size_t element, int ndim, const int64_t *shape, const void *from, void *to);

#endif
