// SPDX-License-Identifier: Apache-2.0
/*
 * bundle_numbers.c - tensors of numbers as R vectors.
 *
 * What R can use as it lies stays in the mapping, if it is large: a vector for each small one would cost more than a copy.
 */
#include "bundle_read.h"

#include "convert.h"
#include "protocol/record.h"
#include "transpose.h"
#include <math.h>
#include <stdio.h>
#include <string.h>

int32_t bundle_record_dtype(enum bundle_dtype dtype)
{
    switch (dtype) {
    case BUNDLE_F64:
        return RECORD_FLOAT64;
    case BUNDLE_F32:
        return RECORD_FLOAT32;
    case BUNDLE_I32:
        return RECORD_INT32;
    case BUNDLE_I64:
        return RECORD_INT64;
    case BUNDLE_U8:
        return RECORD_UINT8;
    default:
        return 0;
    }
}

static SEXPTYPE type_of(enum bundle_dtype dtype, int special)
{
    switch (dtype) {
    case BUNDLE_BOOL:
        return LGLSXP;
    case BUNDLE_I32:
        return special & SPECIAL_LOGICAL ? LGLSXP : INTSXP;
    case BUNDLE_U8:
        return special & SPECIAL_RAW ? RAWSXP : INTSXP;
    case BUNDLE_I16:
    case BUNDLE_U16:
    case BUNDLE_I8:
        return INTSXP;
    default:
        return REALSXP;
    }
}

static double half_of(uint16_t bits)
{
    int exponent = bits >> 10 & 31, fraction = bits & 1023;
    double size = exponent == 31 ? (fraction ? R_NaN : R_PosInf)
                  : exponent     ? ldexp(1024 + fraction, exponent - 25)
                                 : ldexp(fraction, -24);
    return bits & 0x8000 ? -size : size;
}

#define EACH(FROM, TO, VALUE)                                                                                \
    {                                                                                                        \
        const FROM *values = from;                                                                           \
        TO *wider = to;                                                                                      \
        for (size_t i = 0; i < count; i++)                                                                   \
            wider[i] = (TO)(VALUE);                                                                          \
        return;                                                                                              \
    }

/* Widens the dtypes that the record does not have. */
static void widen_others(enum bundle_dtype dtype, const void *from, void *to, size_t count)
{
    switch (dtype) {
    case BUNDLE_F16:
        EACH(uint16_t, double, half_of(values[i]))
    case BUNDLE_U64:
        EACH(uint64_t, double, values[i])
    case BUNDLE_U32:
        EACH(uint32_t, double, values[i])
    case BUNDLE_I16:
        EACH(int16_t, int, values[i])
    case BUNDLE_U16:
        EACH(uint16_t, int, values[i])
    case BUNDLE_I8:
        EACH(int8_t, int, values[i])
    case BUNDLE_BOOL:
        EACH(uint8_t, int, values[i] != 0)
    default:
        return;
    }
}

static _Noreturn void refuse_value(const struct place *place, size_t index, const char *value,
                                   const char *why)
{
    char text[256];
    snprintf(text, sizeof(text), "has %s as element %zu, %s", value, index + 1, why);
    SEXP where = PROTECT(Rf_ScalarString(Rf_mkCharCE(place_in_r(place), CE_UTF8)));
    raise_in_r("stop_member_value", Rf_list2(where, PROTECT(Rf_mkString(text))));
}

/* Raises an R error if R's type cannot hold a value: now, and not when the value is first used. */
static void check_numbers(const struct bundle_reading *reading, const struct bundle_array *array,
                          const void *from, int special, const struct place *place)
{
    static const char inexact[] =
        "which is not exact as a double, and R has no larger integers: return float64 from Python, or "
        "set options(pyrmap.int64 = \"integer64\") to get bit64's integer64";
    char digits[24];
    enum bundle_dtype dtype = array->dtype;
    if (dtype == BUNDLE_I64 && !(special & SPECIAL_INT64)) {
        size_t index = find_inexact(from, array->count);
        if (index == array->count)
            return;
        snprintf(digits, sizeof(digits), "%lld", (long long)((const int64_t *)from)[index]);
        refuse_value(place, index, digits, inexact);
    }
    for (size_t i = 0; dtype == BUNDLE_U64 && i < array->count; i++) {
        uint64_t value = ((const uint64_t *)from)[i];
        if (value <= UINT64_C(1) << 53)
            continue;
        snprintf(digits, sizeof(digits), "%llu", (unsigned long long)value);
        refuse_value(place, i, digits, inexact);
    }
    if (dtype == BUNDLE_I32 && special & SPECIAL_LOGICAL &&
        find_not_logical(from, array->count) < array->count)
        bundle_refuse(reading, place, "a logical that is neither 0, 1 nor NA");
}

void bundle_turn(const struct bundle_array *array, size_t element, const void *from, void *to)
{
    if (array->ndim <= RECORD_NDIM_MAX && (element == 8 || element == 4 || element == 1)) {
        transpose(element, array->ndim, array->dim, from, to);
        return;
    }
    /* Each value to its place in column-major order, the last index running fastest. */
    int64_t *index = (int64_t *)R_alloc((size_t)array->ndim, sizeof(*index));
    memset(index, 0, (size_t)array->ndim * sizeof(*index));
    for (size_t i = 0; i < array->count; i++) {
        size_t place = 0;
        for (int axis = array->ndim; axis-- > 0;)
            place = place * (size_t)array->dim[axis] + (size_t)index[axis];
        memcpy((char *)to + place * element, (const char *)from + i * element, element);
        for (int axis = array->ndim - 1; axis >= 0 && ++index[axis] == array->dim[axis]; axis--)
            index[axis] = 0;
    }
}

static void to_type(const struct bundle_array *array, int special, const void *from, void *to)
{
    enum bundle_dtype dtype = array->dtype;
    int32_t code = bundle_record_dtype(dtype);
    bool same = dtype == BUNDLE_F64 || dtype == BUNDLE_I32 ||
                (dtype == BUNDLE_I64 && special & SPECIAL_INT64) ||
                (dtype == BUNDLE_U8 && special & SPECIAL_RAW);
    if (same)
        memcpy(to, from, array->bytes);
    else if (code)
        widen(code, from, to, array->count);
    else
        widen_others(dtype, from, to, array->count);
}

static SEXP copy_numbers(const struct bundle_array *array, int special, const void *from)
{
    SEXP x = PROTECT(Rf_allocVector(type_of(array->dtype, special), (R_xlen_t)array->count));
    void *to = (void *)DATAPTR_RO(x);
    if (array->row_major) {
        size_t element = TYPEOF(x) == REALSXP ? sizeof(double) : TYPEOF(x) == RAWSXP ? 1 : sizeof(int);
        void *typed = R_alloc(array->count, (int)element);
        to_type(array, special, from, typed);
        bundle_turn(array, element, typed, to);
    } else if (array->count > 0) {
        to_type(array, special, from, to);
    }
    UNPROTECT(1);
    return x;
}

SEXP bundle_numbers(struct bundle_reading *reading, const struct bundle_array *array, int special,
                    const struct place *place)
{
    int32_t code = bundle_record_dtype(array->dtype);
    const void *mark = vmaxget();
    const void *from = array->at;
    /* Other writers of safetensors need not align. */
    if ((uintptr_t)from % bundle_dtype_size(array->dtype) > 0)
        from = memcpy(R_alloc(array->bytes, 1), from, array->bytes);
    check_numbers(reading, array, from, special, place);
    SEXP x;
    if (reading->whole && code && from == array->at && !array->row_major &&
        array->bytes >= VECTOR_MAPPED_LEAST) {
        x = vector_part(reading->whole, reading->holder, (void *)array->at, code, special,
                        (R_xlen_t)array->count);
        reading->mapped = true;
    } else {
        x = copy_numbers(array, special, from);
    }
    vmaxset(mark);
    if (array->dtype == BUNDLE_I64 && special & SPECIAL_INT64) {
        PROTECT(x);
        Rf_setAttrib(x, R_ClassSymbol, PROTECT(Rf_mkString("integer64")));
        UNPROTECT(2);
    }
    return x;
}
