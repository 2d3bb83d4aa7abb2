// SPDX-License-Identifier: Apache-2.0
/*
 * convert.h - R's numbers to the five dtypes, refusing every value that would become another one, and back.
 */
#ifndef PYRMAP_CONVERT_H
#define PYRMAP_CONVERT_H

#include <stddef.h>
#include <stdint.h>

/* How R stores the numbers. R code passes these: `sources` in dtype.R. */
enum source_type {
    SOURCE_DOUBLE = 1,
    SOURCE_INTEGER = 2,
    SOURCE_INT64 = 3, /* bit64's integer64 */
    SOURCE_RAW = 4,
    SOURCE_LOGICAL = 5, /* stored as integer is; as int32 the record marks it */
};

/*
 * Converts count values and returns count; or returns the index of the first value that does not fit, and what
 * lies in `to` is then unspecified. NA becomes NaN in float64 (one that is NA when it comes back) and float32.
 * NA fits no integer type but the one that R stores the values in: there the bits pass. float32 rounds: only
 * what overflows does not fit.
 */
size_t convert(enum source_type type, int32_t dtype, const void *from, void *to, size_t count);

size_t source_size(enum source_type type);

/* Where the first NA of an integer, logical or integer64 vector is; count if there is none. */
size_t find_na(enum source_type type, const void *values, size_t count);

/* Where the first int64 is that no double is equal to; count if there is none. NA counts as exact. */
size_t find_inexact(const int64_t *values, size_t count);

/* Where the first value is that is neither 0, 1 nor NA; count if there is none. */
size_t find_not_logical(const int32_t *values, size_t count);

/*
 * Turns what R has no type for into a type that holds it: float32 and int64 (where find_inexact() found
 * nothing) into double, uint8 into integer. from and to may be the same for int64.
 */
void widen(int32_t dtype, const void *from, void *to, size_t count);

#endif
