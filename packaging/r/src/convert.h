// SPDX-License-Identifier: Apache-2.0
/*
 * convert.h - R's numbers to the five dtypes, refusing every value that would not come back as it was.
 */
#ifndef PYRMAP_CONVERT_H
#define PYRMAP_CONVERT_H

#include <stddef.h>
#include <stdint.h>

/* How R stores the numbers. R code passes these, see input_type(). */
enum source_type {
    SOURCE_DOUBLE = 1,
    SOURCE_INTEGER = 2, /* and logical */
    SOURCE_INT64 = 3,   /* bit64's integer64 */
    SOURCE_RAW = 4,
};

/*
 * Converts count values and returns count; or the index of the first value that does not fit, what lies in
 * `to` is then unspecified. NA passes where the target has one (float64, int32, int64: bit64's NA) and fits
 * nowhere else. float32 rounds doubles, as asked for; whole numbers that it would change do not fit.
 */
size_t convert(enum source_type type, int32_t dtype, const void *from, void *to, size_t count);

size_t source_size(enum source_type type);

/* int64 without bit64: to double, exactly, or the index of the first that has too many digits. */
size_t convert_int64_to_double(const int64_t *from, double *to, size_t count);

#endif
