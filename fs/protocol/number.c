// SPDX-License-Identifier: Apache-2.0
#include "protocol/number.h"

#include "protocol/record.h"
#include <errno.h>
#include <float.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The facts about a floating-point format. */
struct format {
    int mantissa_bits;  /* without the leading one, which is not stored */
    int digits_exact;   /* decimals of so many digits lie further apart than the format's numbers */
    int digits_max;     /* so many digits read back for every number */
    double integers;    /* below it every integer is exact */
    long double eighth; /* of the gap above a power of two, relative to the power */
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

/* Writes value / 10^scale, which must be at least 1e-4 and not an integer. */
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
 * Whether the text of mantissa / power reads back; power is at most 1e22. Both operands are exact in double,
 * and IEEE rounds the quotient once, as strtod does. A float32 is rounded twice here, which errs only if the
 * quotient lies midway between two of them; we answer no then.
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
 * Writes fixed-point text of `digits` significant digits if that reads back, else returns 0. The value must
 * be from 1e-4 to 1e15 and not an integer, and digits at most 15: then the error of the product is smaller
 * than the gap between decimals, so we find the decimal nearest to the value.
 */
static int put_fixed(char *buffer, const struct format *format, double value, int digits)
{
    enum { ONE = 3 }; /* the index of 1 in the table */
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
 * Tries more and more digits. Above a power of two the gaps are twice as wide as below it. So the decimal
 * nearest to the power may lie below and read back as its neighbour, while another with as many digits lies
 * above and would do. We find that one as the decimal nearest to the middle of what reads back.
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

/* value is positive and finite; bits are its representation in the format. */
static int put_positive(char *buffer, const struct format *format, double value, uint64_t bits)
{
    uint64_t mantissa = bits & ((UINT64_C(1) << format->mantissa_bits) - 1);
    int digits = format->digits_exact;

    if (value < format->integers && value == (double)(uint64_t)value)
        return put_unsigned(buffer, (uint64_t)value);
    if (bits == mantissa) {
        /* A subnormal of b bits keeps (b - 1) * log10(2) digits. */
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

/* bits are the value's representation in the format. */
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
