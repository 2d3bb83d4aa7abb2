// SPDX-License-Identifier: Apache-2.0
#include "protocol/number.h"

#include "protocol/record.h"
#include <errno.h>
#include <float.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What is known of a floating-point format. */
struct format {
    int mantissa_bits;  /* stored ones */
    int digits_exact;   /* decimals of so many digits are apart further than the format's numbers */
    int digits_max;     /* with so many everything reads back */
    double integers;    /* below it every integer is exact */
    long double eighth; /* of the gap above a power of two, relative to it */
};

static const struct format float32_format = {23, FLT_DIG, FLT_DECIMAL_DIG, 0x1p24, 0x1p-26L};
static const struct format float64_format = {52, DBL_DIG, DBL_DECIMAL_DIG, 0x1p53, 0x1p-55L};

static int put_text(char *buffer, const char *text)
{
    return (int)(stpcpy(buffer, text) - buffer);
}

static int put_unsigned(char *buffer, uint64_t value)
{
    char digits[20];
    size_t at = sizeof digits;

    do {
        digits[--at] = (char)('0' + value % 10);
        value /= 10;
    } while (value);
    memcpy(buffer, digits + at, sizeof digits - at);
    return (int)(sizeof digits - at);
}

static int put_signed(char *buffer, int64_t value)
{
    if (value >= 0)
        return put_unsigned(buffer, (uint64_t)value);
    *buffer = '-';
    return 1 + put_unsigned(buffer + 1, -(uint64_t)value);
}

/* value / 10^scale, which is no integer and at least 1e-4. */
static int put_decimal(char *buffer, uint64_t value, int scale)
{
    char digits[20];
    int length, whole;

    while (value % 10 == 0) {
        value /= 10;
        scale--;
    }
    length = put_unsigned(digits, value);
    whole = length - scale;
    if (whole <= 0) {
        memcpy(buffer, "0.000", (size_t)(2 - whole));
        memcpy(buffer + 2 - whole, digits, (size_t)length);
        return 2 - whole + length;
    }
    memcpy(buffer, digits, (size_t)whole);
    buffer[whole] = '.';
    memcpy(buffer + whole + 1, digits + whole, (size_t)scale);
    return length + 1;
}

static bool reads_back(const struct format *format, double value, const char *text)
{
    if (format == &float32_format)
        return (double)strtof(text, NULL) == value;
    return strtod(text, NULL) == value;
}

/*
 * Whether the text of mantissa / power reads back, power being at most 1e22. Both operands are exact in
 * double, and IEEE rounds the quotient once, as strtod does. A float32 is rounded twice here, which can err
 * only where the quotient lies midway between two of them: that counts as no.
 */
static bool quotient_reads_back(const struct format *format, double value, double mantissa, double power)
{
    double quotient = mantissa / power;
    uint64_t bits;

    if (format == &float64_format)
        return quotient == value;
    memcpy(&bits, &quotient, sizeof bits);
    return (bits & 0x1FFFFFFF) != 0x10000000 && (double)(float)quotient == value;
}

/*
 * Fixed-point text of `digits` significant digits if that reads back, else 0. For values from 1e-4 to 1e15
 * that are no integers, and at most 15 digits: then the product is off by less than decimals are apart, so
 * that the one nearest to the value is found.
 */
static int put_fixed(char *buffer, const struct format *format, double value, int digits)
{
    enum { ONE = 3 }; /* where 1 stands in the table */
    static const double powers[] = {1e-3, 1e-2, 1e-1, 1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,
                                    1e8,  1e9,  1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18};
    int scale = digits + 3;
    uint64_t mantissa;

    for (int i = 0; scale > 0 && value >= powers[i]; i++)
        scale--;
    if (scale == 0)
        return 0;
    mantissa = (uint64_t)(value * powers[ONE + scale] + 0.5);
    if (!quotient_reads_back(format, value, (double)mantissa, powers[ONE + scale]))
        return 0;
    return put_decimal(buffer, mantissa, scale);
}

enum gaps { GAPS_EQUAL, GAPS_UNEQUAL };

/*
 * Tries more and more digits. Above a power of two the format's numbers are apart twice as far as below: the
 * decimal nearest to it may lie below and read back as its neighbour, when another of as many digits above it
 * would do. The one nearest to the middle of what reads back is that other.
 */
static int put_shortest(char *buffer, const struct format *format, double value, int digits, enum gaps gaps)
{
    int length;

    for (;; digits++) {
        length = snprintf(buffer, NUMBER_TEXT_MAX - 1, "%.*g", digits, value);
        if (digits >= format->digits_max || reads_back(format, value, buffer))
            return length;
        if (gaps == GAPS_EQUAL)
            continue;
        length = snprintf(buffer, NUMBER_TEXT_MAX - 1, "%.*Lg", digits, value + value * format->eighth);
        if (reads_back(format, value, buffer))
            return length;
    }
}

/* value is positive and finite; bits are its own in the format. */
static int put_positive(char *buffer, const struct format *format, double value, uint64_t bits)
{
    uint64_t mantissa = bits & ((UINT64_C(1) << format->mantissa_bits) - 1);
    int digits = format->digits_exact;

    if (value < format->integers && value == (double)(uint64_t)value)
        return put_unsigned(buffer, (uint64_t)value);
    if (bits == mantissa) {
        /* Subnormal: b bits are good for (b - 1) * log10(2) digits. */
        digits = (63 - __builtin_clzll(mantissa)) * 30103 / 100000;
        return put_shortest(buffer, format, value, digits ? digits : 1, GAPS_EQUAL);
    }
    if (FLT_EVAL_METHOD == 0 && value >= 1e-4 && value < 1e15 && value < format->integers) {
        for (int fixed = digits; fixed <= format->digits_max && fixed <= DBL_DIG; fixed++) {
            int length = put_fixed(buffer, format, value, fixed);

            if (length)
                return length;
        }
        if (format == &float64_format)
            digits++;
    }
    return put_shortest(buffer, format, value, digits, mantissa ? GAPS_EQUAL : GAPS_UNEQUAL);
}

/* bits are the value's in the format. */
static int put_float(char *buffer, const struct format *format, double value, uint64_t bits)
{
    uint64_t sign = bits & (format == &float32_format ? UINT64_C(1) << 31 : UINT64_C(1) << 63);
    int length = 0;

    if (value != value)
        return put_text(buffer, "nan");
    if (sign) {
        *buffer = '-';
        length = 1;
        value = -value;
    }
    if (value > DBL_MAX)
        return length + put_text(buffer + length, "inf");
    return length + put_positive(buffer + length, format, value, bits ^ sign);
}

int number_text(char buffer[NUMBER_TEXT_MAX], int32_t dtype, const void *value)
{
    union {
        float f32;
        double f64;
        int32_t i32;
        int64_t i64;
        uint8_t u8;
        uint32_t bits32;
        uint64_t bits64;
    } element;

    memcpy(&element, value, record_dtype_size(dtype));
    switch ((enum record_dtype)dtype) {
    case RECORD_DTYPE_SAME:
    case RECORD_BUNDLE:
        break;
    case RECORD_FLOAT32:
        return put_float(buffer, &float32_format, (double)element.f32, element.bits32);
    case RECORD_FLOAT64:
        return put_float(buffer, &float64_format, element.f64, element.bits64);
    case RECORD_INT32:
        return put_signed(buffer, element.i32);
    case RECORD_INT64:
        return put_signed(buffer, element.i64);
    case RECORD_UINT8:
        return put_unsigned(buffer, element.u8);
    }
    return -EINVAL;
}
