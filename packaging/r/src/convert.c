// SPDX-License-Identifier: Apache-2.0
/*
 * convert.c - one small function for each pair of R's storage and dtype.
 *
 * A pair is a test (does this value fit?) and an expression (its value there). Blocks are tested as a whole,
 * so that the usual case, all fit, runs without a branch per value.
 */
#include "convert.h"

#include "parallel.h"
#include "protocol/record.h"
#define R_NO_REMAP
#include <math.h>
#include <R.h>
#include <Rinternals.h>
#include <string.h>

enum { BLOCK = 512 };

#define INT64_NA INT64_MIN

static inline int double_is_whole_in(double value, double low, double below)
{
    return value >= low && value < below && value == (double)(int64_t)value;
}

static inline int double_fits_float32(double value)
{
    return isfinite((float)value) || !isfinite(value);
}

static inline int double_fits_int32(double value)
{
    return double_is_whole_in(value, -2147483648.0, 2147483648.0) && value != (double)NA_INTEGER;
}

static inline int double_fits_int64(double value)
{
    return double_is_whole_in(value, -9223372036854775808.0, 9223372036854775808.0) &&
           value != (double)INT64_NA;
}

static inline int double_fits_uint8(double value)
{
    return double_is_whole_in(value, 0, 256);
}

static inline int int64_fits_double(int64_t value)
{
    double rounded = (double)value;
    return value == INT64_NA || (rounded < 9223372036854775808.0 && (int64_t)rounded == value);
}

/* R's NA as a quiet NaN: NA_REAL is a signalling one, and NumPy would warn of it. */
static inline double quiet_na(void)
{
    const uint64_t bits = UINT64_C(0x7FF80000000007A2);
    double value;
    memcpy(&value, &bits, sizeof(value));
    return value;
}

#define ANY(x) ((void)(x), 1)

#define CONVERSION(name, FROM, TO, FITS, VALUE)                                                              \
    static size_t name(const void *source, void *target, size_t count)                                       \
    {                                                                                                        \
        const FROM *from = source;                                                                           \
        TO *to = target;                                                                                     \
        for (size_t start = 0; start < count; start += BLOCK) {                                              \
            size_t end = count - start < BLOCK ? count : start + BLOCK;                                      \
            int fit = 1;                                                                                     \
            for (size_t i = start; i < end; i++) {                                                           \
                FROM x = from[i];                                                                            \
                fit &= (FITS);                                                                               \
            }                                                                                                \
            for (size_t i = start; i < end; i++) {                                                           \
                FROM x = from[i];                                                                            \
                if (!fit && !(FITS))                                                                         \
                    return i;                                                                                \
                to[i] = (TO)(VALUE);                                                                         \
            }                                                                                                \
        }                                                                                                    \
        return count;                                                                                        \
    }

#define SAME(name, TYPE)                                                                                     \
    static size_t name(const void *source, void *target, size_t count)                                       \
    {                                                                                                        \
        memcpy(target, source, count * sizeof(TYPE));                                                        \
        return count;                                                                                        \
    }

CONVERSION(double_to_float32, double, float, double_fits_float32(x), x)
SAME(double_to_float64, double)
CONVERSION(double_to_int32, double, int32_t, double_fits_int32(x), x)
CONVERSION(double_to_int64, double, int64_t, double_fits_int64(x), x)
CONVERSION(double_to_uint8, double, uint8_t, double_fits_uint8(x), x)

CONVERSION(integer_to_float32, int32_t, float, ANY(x), x == NA_INTEGER ? NAN : (float)x)
CONVERSION(integer_to_float64, int32_t, double, ANY(x), x == NA_INTEGER ? quiet_na() : x)
SAME(integer_to_int32, int32_t)
CONVERSION(integer_to_int64, int32_t, int64_t, x != NA_INTEGER, x)
CONVERSION(integer_to_uint8, int32_t, uint8_t, x >= 0 && x <= 255, x)

CONVERSION(int64_to_float32, int64_t, float, ANY(x), x == INT64_NA ? NAN : (float)x)
CONVERSION(int64_to_float64, int64_t, double, int64_fits_double(x), x == INT64_NA ? quiet_na() : (double)x)
CONVERSION(int64_to_int32, int64_t, int32_t, x > INT32_MIN && x <= INT32_MAX, x)
SAME(int64_to_int64, int64_t)
CONVERSION(int64_to_uint8, int64_t, uint8_t, x >= 0 && x <= 255, x)

CONVERSION(raw_to_float32, uint8_t, float, ANY(x), x)
CONVERSION(raw_to_float64, uint8_t, double, ANY(x), x)
CONVERSION(raw_to_int32, uint8_t, int32_t, ANY(x), x)
CONVERSION(raw_to_int64, uint8_t, int64_t, ANY(x), x)
SAME(raw_to_uint8, uint8_t)

typedef size_t conversion(const void *source, void *target, size_t count);

/* Rows as in enum source_type, columns as in enum record_dtype, both from 1. */
static conversion *const conversions[5][5] = {
    {double_to_float32, double_to_float64, double_to_int32, double_to_int64, double_to_uint8},
    {integer_to_float32, integer_to_float64, integer_to_int32, integer_to_int64, integer_to_uint8},
    {int64_to_float32, int64_to_float64, int64_to_int32, int64_to_int64, int64_to_uint8},
    {raw_to_float32, raw_to_float64, raw_to_int32, raw_to_int64, raw_to_uint8},
    {integer_to_float32, integer_to_float64, integer_to_int32, integer_to_int64, integer_to_uint8},
};

/* Work on values in parts, each of which says how many of its values it got through. */
struct parting {
    conversion *convert;
    const char *from;
    char *to;
    size_t from_size; /* of an element */
    size_t to_size;   /* 0 where nothing is stored */
    size_t begins[PARTS_MAX + 1];
    size_t done[PARTS_MAX];
};

static void convert_part(void *context, int part)
{
    struct parting *parting = context;
    size_t begin = parting->begins[part];
    parting->done[part] = parting->convert(parting->from + begin * parting->from_size,
                                           parting->to ? parting->to + begin * parting->to_size : NULL,
                                           parting->begins[part + 1] - begin);
}

static size_t convert_in_parts(struct parting *parting, size_t count)
{
    int parts = parts_for(count * parting->from_size);
    for (int part = 0; part <= parts; part++)
        parting->begins[part] = part < parts ? count / (size_t)parts * (size_t)part : count;
    in_parallel(parts, convert_part, parting);
    int part = 0;
    while (part < parts - 1 && parting->begins[part] + parting->done[part] == parting->begins[part + 1])
        part++;
    return parting->begins[part] + parting->done[part];
}

size_t convert(enum source_type type, int32_t dtype, const void *from, void *to, size_t count)
{
    struct parting parting = {
        .convert = conversions[type - 1][dtype - 1],
        .from = from,
        .to = to,
        .from_size = source_size(type),
        .to_size = record_dtype_size(dtype),
    };
    return convert_in_parts(&parting, count);
}

/* The index of the first value that fails the test. Blocks as a whole first, as in CONVERSION. */
#define FINDING(name, FROM, USUAL, GOOD)                                                                     \
    static size_t name(const void *source, void *target, size_t count)                                       \
    {                                                                                                        \
        (void)target;                                                                                        \
        const FROM *from = source;                                                                           \
        for (size_t start = 0; start < count; start += BLOCK) {                                              \
            size_t end = count - start < BLOCK ? count : start + BLOCK;                                      \
            int usual = 1;                                                                                   \
            for (size_t i = start; i < end; i++) {                                                           \
                FROM x = from[i];                                                                            \
                usual &= (USUAL);                                                                            \
            }                                                                                                \
            for (size_t i = start; i < end && !usual; i++) {                                                 \
                FROM x = from[i];                                                                            \
                if (!(GOOD))                                                                                 \
                    return i;                                                                                \
            }                                                                                                \
        }                                                                                                    \
        return count;                                                                                        \
    }

FINDING(integer_na, int32_t, x != NA_INTEGER, x != NA_INTEGER)
FINDING(int64_na, int64_t, x != INT64_NA, x != INT64_NA)
FINDING(int64_inexact, int64_t, (uint64_t)x + (UINT64_C(1) << 53) <= UINT64_C(1) << 54, int64_fits_double(x))
FINDING(not_logical, int32_t, (uint32_t)x <= 1, (uint32_t)x <= 1 || x == NA_INTEGER)

static size_t find(conversion *first, const void *values, size_t element, size_t count)
{
    struct parting parting = {.convert = first, .from = values, .from_size = element};
    return convert_in_parts(&parting, count);
}

size_t find_na(enum source_type type, const void *values, size_t count)
{
    return find(type == SOURCE_INT64 ? int64_na : integer_na, values, source_size(type), count);
}

size_t find_inexact(const int64_t *values, size_t count)
{
    return find(int64_inexact, values, sizeof(*values), count);
}

size_t find_not_logical(const int32_t *values, size_t count)
{
    return find(not_logical, values, sizeof(*values), count);
}

CONVERSION(widen_float32, float, double, ANY(x), x)
CONVERSION(widen_int64, int64_t, double, ANY(x), x == INT64_NA ? NA_REAL : (double)x)
CONVERSION(widen_uint8, uint8_t, int32_t, ANY(x), x)

void widen(int32_t dtype, const void *from, void *to, size_t count)
{
    struct parting parting = {
        .convert = dtype == RECORD_FLOAT32 ? widen_float32
                   : dtype == RECORD_INT64 ? widen_int64
                                           : widen_uint8,
        .from = from,
        .to = to,
        .from_size = record_dtype_size(dtype),
        .to_size = dtype == RECORD_UINT8 ? sizeof(int32_t) : sizeof(double),
    };
    /* Vectors are also read one value at a time. */
    if (count < BLOCK)
        parting.convert(from, to, count);
    else
        convert_in_parts(&parting, count);
}

size_t source_size(enum source_type type)
{
    switch (type) {
    case SOURCE_DOUBLE:
    case SOURCE_INT64:
        return 8;
    case SOURCE_INTEGER:
    case SOURCE_LOGICAL:
        return 4;
    case SOURCE_RAW:
        break;
    }
    return 1;
}
