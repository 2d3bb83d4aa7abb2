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
#include <float.h>
#include <math.h>
#include <R.h>
#include <Rinternals.h>
#include <string.h>

enum { BLOCK = 512 };

#define INT64_NA INT64_MIN

/* A double is R's NA if the low word of a NaN says 1954; conversions to other types know no such thing. */
static inline int double_is_na(double value)
{
    uint64_t bits;
    memcpy(&bits, &value, sizeof(bits));
    return isnan(value) && (uint32_t)bits == 1954;
}

static inline int double_is_whole_in(double value, double low, double below)
{
    return value >= low && value < below && value == (double)(int64_t)value;
}

static inline int double_fits_float32(double value)
{
    if (isnan(value))
        return !double_is_na(value);
    if (isinf(value) || value == 0)
        return 1;
    double size = fabs(value);
    return size <= (double)FLT_MAX && size >= (double)FLT_MIN * (double)FLT_EPSILON;
}

static inline int double_fits_int32(double value)
{
    return double_is_na(value) || double_is_whole_in(value, -2147483648.0, 2147483648.0);
}

static inline int double_fits_int64(double value)
{
    return double_is_na(value) || double_is_whole_in(value, -9223372036854775808.0, 9223372036854775808.0);
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

static inline int int64_fits_float32(int64_t value)
{
    float rounded = (float)value;
    return value != INT64_NA && rounded < 9223372036854775808.0f && (int64_t)rounded == value;
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
CONVERSION(double_to_int32, double, int32_t, double_fits_int32(x), double_is_na(x) ? NA_INTEGER : x)
CONVERSION(double_to_int64, double, int64_t, double_fits_int64(x), double_is_na(x) ? INT64_NA : (int64_t)x)
CONVERSION(double_to_uint8, double, uint8_t, double_fits_uint8(x), x)

CONVERSION(integer_to_float32, int32_t, float, x != NA_INTEGER && (double)(float)x == (double)x, x)
CONVERSION(integer_to_float64, int32_t, double, ANY(x), x == NA_INTEGER ? NA_REAL : x)
SAME(integer_to_int32, int32_t)
CONVERSION(integer_to_int64, int32_t, int64_t, ANY(x), x == NA_INTEGER ? INT64_NA : x)
CONVERSION(integer_to_uint8, int32_t, uint8_t, x >= 0 && x <= 255, x)

CONVERSION(int64_to_float32, int64_t, float, int64_fits_float32(x), x)
CONVERSION(int64_to_float64, int64_t, double, int64_fits_double(x), x == INT64_NA ? NA_REAL : (double)x)
CONVERSION(int64_to_int32, int64_t, int32_t, x == INT64_NA || (x >= INT32_MIN && x <= INT32_MAX),
           x == INT64_NA ? NA_INTEGER : x)
SAME(int64_to_int64, int64_t)
CONVERSION(int64_to_uint8, int64_t, uint8_t, x >= 0 && x <= 255, x)

CONVERSION(raw_to_float32, uint8_t, float, ANY(x), x)
CONVERSION(raw_to_float64, uint8_t, double, ANY(x), x)
CONVERSION(raw_to_int32, uint8_t, int32_t, ANY(x), x)
CONVERSION(raw_to_int64, uint8_t, int64_t, ANY(x), x)
SAME(raw_to_uint8, uint8_t)

typedef size_t conversion(const void *source, void *target, size_t count);

/* Rows as in enum source_type, columns as in enum record_dtype, both from 1. */
static conversion *const conversions[4][5] = {
    {double_to_float32, double_to_float64, double_to_int32, double_to_int64, double_to_uint8},
    {integer_to_float32, integer_to_float64, integer_to_int32, integer_to_int64, integer_to_uint8},
    {int64_to_float32, int64_to_float64, int64_to_int32, int64_to_int64, int64_to_uint8},
    {raw_to_float32, raw_to_float64, raw_to_int32, raw_to_int64, raw_to_uint8},
};

struct converting {
    conversion *convert;
    const char *from;
    char *to;
    size_t from_size; /* of an element */
    size_t to_size;
    size_t begins[PARTS_MAX + 1];
    size_t done[PARTS_MAX];
};

static void convert_part(void *context, int part)
{
    struct converting *converting = context;
    size_t begin = converting->begins[part];
    converting->done[part] = converting->convert(converting->from + begin * converting->from_size,
                                                 converting->to + begin * converting->to_size,
                                                 converting->begins[part + 1] - begin);
}

size_t convert(enum source_type type, int32_t dtype, const void *from, void *to, size_t count)
{
    struct converting converting = {
        .convert = conversions[type - 1][dtype - 1],
        .from = from,
        .to = to,
        .from_size = source_size(type),
        .to_size = record_dtype_size(dtype),
    };
    int parts = parts_for(count * converting.from_size);
    for (int part = 0; part <= parts; part++)
        converting.begins[part] = part < parts ? count / (size_t)parts * (size_t)part : count;
    in_parallel(parts, convert_part, &converting);
    int part = 0;
    while (part < parts - 1 && converting.begins[part] + converting.done[part] == converting.begins[part + 1])
        part++;
    return converting.begins[part] + converting.done[part];
}

size_t source_size(enum source_type type)
{
    switch (type) {
    case SOURCE_DOUBLE:
    case SOURCE_INT64:
        return 8;
    case SOURCE_INTEGER:
        return 4;
    case SOURCE_RAW:
        break;
    }
    return 1;
}

size_t convert_int64_to_double(const int64_t *from, double *to, size_t count)
{
    return int64_to_float64(from, to, count);
}
