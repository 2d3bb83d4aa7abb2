// SPDX-License-Identifier: Apache-2.0
/*
 * test_view.c - the views of a segment: numbers that read back, text at any offset, NumPy headers.
 */
#include "protocol/view.h"
#include "suite.h"

#include "protocol/number.h"
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

/* A segment in memory whose reads can be short or fail. */
struct segment {
    const char *bytes;
    size_t size;
    size_t read_max; /* one read returns at most so many; 0: no limit */
    off_t fail_at;   /* a read that begins here or beyond fails with -ENOMEM; 0: none does */
    size_t reads;
};

static ssize_t segment_read(void *context, void *buffer, size_t size, off_t offset)
{
    struct segment *segment = context;
    size_t start = (size_t)offset;

    segment->reads++;
    if (segment->fail_at && offset >= segment->fail_at)
        return -ENOMEM;
    if (start >= segment->size)
        return 0;
    if (size > segment->size - start)
        size = segment->size - start;
    if (segment->read_max && size > segment->read_max)
        size = segment->read_max;
    memcpy(buffer, segment->bytes + start, size);
    return (ssize_t)size;
}

static struct segment segment_of(const void *bytes, size_t size)
{
    return (struct segment){.bytes = bytes, .size = size};
}

static struct view_source source_of(struct segment *segment, int32_t dtype)
{
    return (struct view_source){
        .dtype = dtype,
        .length = (int64_t)(segment->size / record_dtype_size(dtype)),
        .read = segment_read,
        .context = segment,
    };
}

/* xorshift64: the same sequence in every run. */
static uint64_t random_next(void)
{
    static uint64_t state = 88172645463325252u;

    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return state;
}

static const char *number(int32_t dtype, const void *value)
{
    static char text[NUMBER_TEXT_MAX];
    int length = number_text(text, dtype, value);

    ck_assert_int_gt(length, 0);
    ck_assert_int_lt(length, NUMBER_TEXT_MAX);
    text[length] = '\0';
    return text;
}

START_TEST(test_number_float64)
{
    static const struct {
        double value;
        const char *text;
    } rows[] = {
        {0.0, "0"},
        {-0.0, "-0"},
        {1, "1"},
        {-1, "-1"},
        {0.5, "0.5"},
        {0.1, "0.1"},
        {-0.25, "-0.25"},
        {0.1 + 0.2, "0.30000000000000004"},
        {1.0 / 3, "0.3333333333333333"},
        {2.0 / 3, "0.6666666666666666"},
        {3.14, "3.14"},
        {100, "100"},
        {1e15, "1000000000000000"},
        {123456.789, "123456.789"},
        {999999999999.5, "999999999999.5"},
        {99999999999999.9, "99999999999999.9"},
        {0x1p53 - 1, "9007199254740991"},
        {0x1p53, "9007199254740992"},
        {4503599627370495.5, "4503599627370495.5"},
        {1e16, "1e+16"},
        {1e22, "1e+22"},
        {1e23, "1e+23"},
        {0.0001, "0.0001"},
        {0.00012, "0.00012"},
        {0.00001, "1e-05"},
        {0x1p-1017, "7.120236347223045e-307"},
        {5e-324, "5e-324"},
        {1e-323, "1e-323"},
        {2.2250738585072011e-308, "2.225073858507201e-308"},
        {2.2250738585072014e-308, "2.2250738585072014e-308"},
        {1.7976931348623157e308, "1.7976931348623157e+308"},
        {-1.7976931348623157e308, "-1.7976931348623157e+308"},
    };

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        ck_assert_str_eq(number(RECORD_FLOAT64, &rows[i].value), rows[i].text);
}
END_TEST

START_TEST(test_number_float32)
{
    static const struct {
        float value;
        const char *text;
    } rows[] = {
        {0.0f, "0"},
        {-0.0f, "-0"},
        {0.1f, "0.1"},
        {-3.14f, "-3.14"},
        {1.0f / 3, "0.33333334"},
        {16777215.0f, "16777215"},
        {16777216.0f, "16777216"},
        {8388607.5f, "8388607.5"},
        {1e10f, "1e+10"},
        {0.0001f, "0.0001"},
        {0.00001f, "1e-05"},
        {123456.789f, "123456.79"},
        {1e-45f, "1e-45"},
        {1.1754944e-38f, "1.1754944e-38"},
        {3.4028235e38f, "3.4028235e+38"},
    };

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        ck_assert_str_eq(number(RECORD_FLOAT32, &rows[i].value), rows[i].text);
}
END_TEST

START_TEST(test_number_special)
{
    static const struct {
        uint64_t bits64;
        uint32_t bits32;
        const char *text;
    } rows[] = {
        {0x7FF0000000000000u, 0x7F800000u, "inf"}, {0xFFF0000000000000u, 0xFF800000u, "-inf"},
        {0x7FF8000000000000u, 0x7FC00000u, "nan"}, {0xFFF8000000000000u, 0xFFC00000u, "nan"},
        {0x7FF00000000007A2u, 0x7F8007A2u, "nan"}, {0xFFFFFFFFFFFFFFFFu, 0xFFFFFFFFu, "nan"},
    };

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        ck_assert_str_eq(number(RECORD_FLOAT64, &rows[i].bits64), rows[i].text);
        ck_assert_str_eq(number(RECORD_FLOAT32, &rows[i].bits32), rows[i].text);
    }
}
END_TEST

START_TEST(test_number_integers)
{
    static const int32_t i32[] = {0, 7, -7, INT32_MAX, INT32_MIN};
    static const int64_t i64[] = {0, 10, -10, INT64_MAX, INT64_MIN};
    static const uint8_t u8[] = {0, 9, 255};
    char expected[NUMBER_TEXT_MAX], text[NUMBER_TEXT_MAX];

    for (size_t i = 0; i < 5; i++) {
        snprintf(expected, sizeof expected, "%" PRId32, i32[i]);
        ck_assert_str_eq(number(RECORD_INT32, &i32[i]), expected);
        snprintf(expected, sizeof expected, "%" PRId64, i64[i]);
        ck_assert_str_eq(number(RECORD_INT64, &i64[i]), expected);
    }
    for (size_t i = 0; i < 3; i++) {
        snprintf(expected, sizeof expected, "%d", u8[i]);
        ck_assert_str_eq(number(RECORD_UINT8, &u8[i]), expected);
    }
    ck_assert_int_eq(number_text(text, RECORD_DTYPE_SAME, u8), -EINVAL);
    ck_assert_int_eq(number_text(text, 6, u8), -EINVAL);
    ck_assert_int_eq(number_text(text, -1, u8), -EINVAL);
}
END_TEST

static int significant_digits(const char *text)
{
    int digits = 0, zeros = 0;

    for (; *text && *text != 'e'; text++) {
        if (*text < '0' || *text > '9' || (*text == '0' && !digits))
            continue;
        digits++;
        zeros = *text == '0' ? zeros + 1 : 0;
    }
    return digits - zeros;
}

static double parse(int32_t dtype, const char *text)
{
    return dtype == RECORD_FLOAT32 ? (double)strtof(text, NULL) : strtod(text, NULL);
}

/* The text of these bits reads back, and one digit less, rounded to nearest, does not. */
static void expect_shortest(int32_t dtype, uint64_t bits)
{
    char shorter[NUMBER_TEXT_MAX];
    const char *text;
    double value;
    int digits;

    if (dtype == RECORD_FLOAT32) {
        float narrow;

        memcpy(&narrow, &bits, sizeof narrow);
        value = (double)narrow;
    } else {
        memcpy(&value, &bits, sizeof value);
    }
    if (!isfinite(value))
        return;
    text = number(dtype, &bits);
    ck_assert_msg(parse(dtype, text) == value && (*text == '-') == !!signbit(value), "%s is not %a", text,
                  value);
    digits = significant_digits(text);
    if (digits < 2)
        return;
    snprintf(shorter, sizeof shorter, "%.*e", digits - 2, value);
    ck_assert_msg(parse(dtype, shorter) != value, "%s could be %s", text, shorter);
}

static uint64_t bits_of(double value)
{
    uint64_t bits;

    memcpy(&bits, &value, sizeof bits);
    return bits;
}

static uint32_t bits_of_float(float value)
{
    uint32_t bits;

    memcpy(&bits, &value, sizeof bits);
    return bits;
}

START_TEST(test_number_shortest)
{
    for (uint64_t exponent = 0; exponent < 0x7FF; exponent++) {
        for (uint64_t near = 0; near < 3; near++)
            expect_shortest(RECORD_FLOAT64, (exponent << 52) + near - 1);
    }
    for (uint32_t exponent = 0; exponent < 0xFF; exponent++) {
        for (uint32_t near = 0; near < 3; near++)
            expect_shortest(RECORD_FLOAT32, (exponent << 23) + near - 1);
    }
    for (int i = 0; i < 10000; i++) {
        uint64_t draw = random_next();
        double decimal = (double)(draw % 1000000007) / pow(10, (double)(draw >> 32 & 15));

        expect_shortest(RECORD_FLOAT64, draw);
        expect_shortest(RECORD_FLOAT64, draw >> (draw >> 58));
        expect_shortest(RECORD_FLOAT64, bits_of(decimal));
        expect_shortest(RECORD_FLOAT64, bits_of((double)(draw >> 11) * 0x1p-43));
        expect_shortest(RECORD_FLOAT32, (uint32_t)draw);
        expect_shortest(RECORD_FLOAT32, (uint32_t)(draw >> 32) >> (draw & 31));
        expect_shortest(RECORD_FLOAT32, bits_of_float((float)decimal));
    }
}
END_TEST

/* Expects that a read gave this part of the whole, and wrote nothing beyond it. */
static void expect_part(ssize_t count, const char *part, const char *whole, size_t size, size_t offset,
                        size_t wanted)
{
    size_t left = offset < size ? size - offset : 0;
    size_t expected = wanted < left ? wanted : left;

    ck_assert_int_eq(count, (ssize_t)expected);
    ck_assert_mem_eq(part, whole + offset, expected);
    ck_assert_int_eq(part[expected], '?');
}

/* The whole text in one read. */
static size_t read_text(const struct view_source *source, char *buffer, size_t size)
{
    struct view_cursor cursor = {0};
    ssize_t count = view_text_read(source, &cursor, buffer, size, 0);

    ck_assert_int_ge(count, 0);
    ck_assert_uint_lt((size_t)count, size);
    ck_assert_int_eq(cursor.element, source->length);
    ck_assert_int_eq(cursor.offset, count);
    return (size_t)count;
}

/* Long and short lines in alternation, over several chunks. */
enum { MIXED = 5000, MIXED_TEXT = MIXED * NUMBER_TEXT_MAX };

static const double *mixed(void)
{
    static double values[MIXED];

    for (size_t i = 0; i < MIXED; i++)
        values[i] = i % 3 ? (double)i / 7 : (double)(i % 11);
    return values;
}

START_TEST(test_text_dtypes)
{
    static const struct {
        int32_t dtype;
        const char *bytes;
        size_t size;
        const char *text;
    } rows[] = {
        {RECORD_FLOAT32, "\0\0\x80\x3f\0\0\x20\xc0", 8, "1\n-2.5\n"},
        {RECORD_FLOAT64, "\0\0\0\0\0\0\xf0\x3f\0\0\0\0\0\0\xf0\xff", 16, "1\n-inf\n"},
        {RECORD_INT32, "\1\0\0\0\xff\xff\xff\xff", 8, "1\n-1\n"},
        {RECORD_INT64, "\1\1\0\0\0\0\0\0", 8, "257\n"},
        {RECORD_UINT8, "\1\xff\0", 3, "1\n255\n0\n"},
        {RECORD_UINT8, "", 0, ""},
    };

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct segment segment = segment_of(rows[i].bytes, rows[i].size);
        struct view_source source = source_of(&segment, rows[i].dtype);
        char text[64];
        size_t size = read_text(&source, text, sizeof text);

        ck_assert_uint_eq(size, strlen(rows[i].text));
        ck_assert_mem_eq(text, rows[i].text, size);
        ck_assert_int_eq(view_text_size(&source), (off_t)size);
    }
}
END_TEST

START_TEST(test_text_every_window)
{
    static const double values[] = {1, -2.5, 1.0 / 3, 0, 1e300, -0.0, 12345};
    struct segment segment = segment_of(values, sizeof values);
    struct view_source source = source_of(&segment, RECORD_FLOAT64);
    struct view_cursor carried = {0};
    char text[256], part[256];
    size_t size = read_text(&source, text, sizeof text);

    for (size_t offset = 0; offset <= size + 2; offset++) {
        for (size_t wanted = 0; wanted <= size + 2; wanted++) {
            struct view_cursor cursor = {0};
            ssize_t count;

            memset(part, '?', sizeof part);
            count = view_text_read(&source, &cursor, part, wanted, (off_t)offset);
            expect_part(count, part, text, size, offset, wanted);
            memset(part, '?', sizeof part);
            count = view_text_read(&source, &carried, part, wanted, (off_t)offset);
            expect_part(count, part, text, size, offset, wanted);
        }
    }
    ck_assert_int_eq(view_text_read(&source, &carried, part, 1, -1), -EINVAL);
    ck_assert_int_eq(view_text_read(&source, &carried, part, 1, INT64_MAX), 0);
    ck_assert_int_eq(view_text_read(&source, &carried, part, 1, 0), 1);
}
END_TEST

START_TEST(test_text_sequential)
{
    static const size_t steps[] = {1, 3, 17, 4096, 65536, MIXED_TEXT};
    static char text[MIXED_TEXT], part[MIXED_TEXT];
    struct segment segment = segment_of(mixed(), MIXED * sizeof(double));
    struct view_source source = source_of(&segment, RECORD_FLOAT64);
    size_t size = read_text(&source, text, sizeof text);

    ck_assert_int_eq(view_text_size(&source), (off_t)size);
    for (size_t i = 0; i < sizeof steps / sizeof steps[0]; i++) {
        struct view_cursor cursor = {0};
        size_t done = 0;
        ssize_t count;

        while ((count = view_text_read(&source, &cursor, part + done, steps[i], (off_t)done)) > 0)
            done += (size_t)count;
        ck_assert_int_eq(count, 0);
        ck_assert_uint_eq(done, size);
        ck_assert_mem_eq(part, text, size);
    }
}
END_TEST

/* A sequential reader costs a read of the segment per chunk, not per line and not from the beginning. */
START_TEST(test_text_sequential_cost)
{
    static char text[MIXED_TEXT];
    struct segment segment = segment_of(mixed(), MIXED * sizeof(double));
    struct view_source source = source_of(&segment, RECORD_FLOAT64);
    struct view_cursor cursor = {0};
    off_t offset = 0;
    size_t calls = 0;
    ssize_t count;

    for (; (count = view_text_read(&source, &cursor, text, 4096, offset)) > 0; calls++)
        offset += count;
    ck_assert_uint_le(segment.reads, calls + MIXED * sizeof(double) / 4096);
}
END_TEST

START_TEST(test_text_random)
{
    static char text[MIXED_TEXT], part[MIXED_TEXT];
    struct segment segment = segment_of(mixed(), MIXED * sizeof(double));
    struct view_source source = source_of(&segment, RECORD_FLOAT64);
    struct view_cursor cursor = {0};
    size_t size = read_text(&source, text, sizeof text);

    segment.read_max = 1001;
    for (int i = 0; i < 500; i++) {
        size_t offset = random_next() % size;
        size_t wanted = random_next() % 10000;
        ssize_t count;

        memset(part, '?', wanted + 1);
        count = view_text_read(&source, &cursor, part, wanted, (off_t)offset);
        expect_part(count, part, text, size, offset, wanted);
    }
}
END_TEST

START_TEST(test_text_seek)
{
    enum { ELEMENTS = 3 * VIEW_SEEK_STEP };
    static uint8_t values[ELEMENTS];
    struct segment segment = segment_of(values, sizeof values);
    struct view_source source = source_of(&segment, RECORD_UINT8);
    struct view_cursor cursor = {0};

    ck_assert_int_eq(view_text_seek(&source, &cursor, 3), 1);
    ck_assert_int_eq(cursor.element, 1);
    ck_assert_int_eq(cursor.offset, 2);
    ck_assert_int_eq(view_text_seek(&source, &cursor, 0), 1);
    ck_assert_int_eq(cursor.element, 0);
    ck_assert_int_eq(view_text_seek(&source, &cursor, 2 * (2 * VIEW_SEEK_STEP + 5)), 0);
    ck_assert_int_eq(cursor.element, VIEW_SEEK_STEP);
    ck_assert_int_eq(view_text_seek(&source, &cursor, 2 * (2 * VIEW_SEEK_STEP + 5)), 0);
    ck_assert_int_eq(view_text_seek(&source, &cursor, 2 * (2 * VIEW_SEEK_STEP + 5)), 1);
    ck_assert_int_eq(cursor.element, 2 * VIEW_SEEK_STEP + 5);
    ck_assert_int_eq(view_text_seek(&source, &cursor, INT64_MAX), 1);
    ck_assert_int_eq(cursor.element, ELEMENTS);
    ck_assert_int_eq(cursor.offset, 2 * ELEMENTS);
    ck_assert_int_eq(view_text_size(&source), 0);
    source.length = VIEW_TEXT_EXACT;
    ck_assert_int_eq(view_text_size(&source), 2 * VIEW_TEXT_EXACT);
    source.dtype = 0;
    ck_assert_int_eq(view_text_seek(&source, &cursor, 0), -EINVAL);
    ck_assert_int_eq(view_text_size(&source), -EINVAL);
}
END_TEST

START_TEST(test_text_failures)
{
    static char text[MIXED_TEXT];
    struct segment segment = segment_of(mixed(), MIXED * sizeof(double));
    struct view_source source = source_of(&segment, RECORD_FLOAT64);
    struct view_cursor cursor = {0};
    ssize_t count;

    segment.fail_at = 8192;
    count = view_text_read(&source, &cursor, text, sizeof text, 0);
    ck_assert_int_gt(count, 1024);
    ck_assert_int_eq(cursor.element, 1024);
    ck_assert_int_eq(view_text_read(&source, &cursor, text, sizeof text, count), -ENOMEM);
    ck_assert_int_eq(view_text_size(&source), -ENOMEM);
    segment.fail_at = 0;
    ck_assert_int_gt(view_text_read(&source, &cursor, text, sizeof text, count), 0);

    segment.size = 100;
    cursor = (struct view_cursor){0};
    count = view_text_read(&source, &cursor, text, sizeof text, 0);
    ck_assert_int_gt(count, 0);
    ck_assert_int_eq(cursor.element, 12);
    ck_assert_int_eq(view_text_read(&source, &cursor, text, sizeof text, count), -EIO);
    ck_assert_int_eq(view_text_size(&source), -EIO);
}
END_TEST

START_TEST(test_npy_header)
{
    static const struct {
        int32_t dtype;
        bool fortran;
        int32_t ndim;
        int64_t shape[RECORD_NDIM_MAX];
        int64_t length;
        const char *text;
    } rows[] = {
        {1, false, 0, {0}, 5, "{'descr': '<f4', 'fortran_order': False, 'shape': (5,), }"},
        {2, true, 0, {0}, 0, "{'descr': '<f8', 'fortran_order': False, 'shape': (0,), }"},
        {3, true, 1, {3}, 3, "{'descr': '<i4', 'fortran_order': False, 'shape': (3,), }"},
        {4, true, 2, {3, 4}, 12, "{'descr': '<i8', 'fortran_order': True, 'shape': (3, 4), }"},
        {5, false, 2, {0, 4}, 0, "{'descr': '|u1', 'fortran_order': False, 'shape': (0, 4), }"},
        {2, false, 4, {1, 2, 3, 4}, 24, "{'descr': '<f8', 'fortran_order': False, 'shape': (1, 2, 3, 4), }"},
        {5,
         true,
         3,
         {INT64_C(3037000499), INT64_C(3037000499), 1},
         INT64_C(3037000499) * 3037000499,
         "{'descr': '|u1', 'fortran_order': True, 'shape': (3037000499, 3037000499, 1), }"},
    };

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct segment empty = segment_of("", 0);
        struct view_source source = {.dtype = rows[i].dtype,
                                     .ndim = rows[i].ndim,
                                     .length = rows[i].length,
                                     .fortran = rows[i].fortran,
                                     .read = segment_read,
                                     .context = &empty};
        size_t text = strlen(rows[i].text);
        unsigned char header[256];
        ssize_t size;

        memcpy(source.shape, rows[i].shape, sizeof source.shape);
        size = view_npy_read(&source, (char *)header, sizeof header, 0);
        ck_assert_int_gt(size, 0);
        ck_assert_int_eq(size % 64, 0);
        ck_assert_mem_eq(header, "\x93NUMPY\x01\x00", 8);
        ck_assert_int_eq(header[8] + 256 * header[9], size - 10);
        ck_assert_mem_eq(header + 10, rows[i].text, text);
        for (size_t j = 10 + text; j + 1 < (size_t)size; j++)
            ck_assert_int_eq(header[j], ' ');
        ck_assert_int_eq(header[size - 1], '\n');
        ck_assert_int_eq(view_npy_size(&source),
                         size + rows[i].length * (int64_t)record_dtype_size(rows[i].dtype));
    }
}
END_TEST

START_TEST(test_npy_every_window)
{
    static const int32_t values[] = {1, -2, 3, -4, 5, -6, 7};
    struct segment segment = segment_of(values, sizeof values);
    struct view_source source = source_of(&segment, RECORD_INT32);
    char all[256], part[256];
    size_t size = (size_t)view_npy_size(&source);

    ck_assert_int_eq(view_npy_read(&source, all, sizeof all, 0), (ssize_t)size);
    ck_assert_uint_eq(size, 128 + sizeof values);
    ck_assert_mem_eq(all + 128, values, sizeof values);
    segment.read_max = 5;
    for (size_t offset = 0; offset <= size + 2; offset++) {
        for (size_t wanted = 0; wanted <= size + 2 - offset; wanted++) {
            ssize_t count;

            memset(part, '?', sizeof part);
            count = view_npy_read(&source, part, wanted, (off_t)offset);
            expect_part(count, part, all, size, offset, wanted);
        }
    }
    ck_assert_int_eq(view_npy_read(&source, part, 1, -1), -EINVAL);
    ck_assert_int_eq(view_npy_read(&source, part, 1, INT64_MAX), 0);
}
END_TEST

/* The segment may hold more than the record says, but not less. */
START_TEST(test_npy_failures)
{
    static const int32_t values[] = {1, 2, 3, 4};
    struct segment segment = segment_of(values, sizeof values);
    struct view_source source = source_of(&segment, RECORD_INT32);
    char all[256];

    source.length = 2;
    ck_assert_int_eq(view_npy_read(&source, all, sizeof all, 0), 128 + 8);
    ck_assert_int_eq(view_npy_read(&source, all, sizeof all, 132), 4);
    source.length = 5;
    ck_assert_int_eq(view_npy_size(&source), 128 + 20);
    ck_assert_int_eq(view_npy_read(&source, all, sizeof all, 0), 128 + 16);
    ck_assert_int_eq(view_npy_read(&source, all, sizeof all, 128 + 16), -EIO);
    segment.fail_at = 4;
    ck_assert_int_eq(view_npy_read(&source, all, sizeof all, 132), -ENOMEM);
    source.ndim = 5;
    ck_assert_int_eq(view_npy_size(&source), -EINVAL);
    source.ndim = 0;
    source.dtype = 0;
    ck_assert_int_eq(view_npy_size(&source), -EINVAL);
    ck_assert_int_eq(view_npy_read(&source, all, sizeof all, 0), -EINVAL);
}
END_TEST

static TCase *number_cases(void)
{
    TCase *tcase = tcase_create("number");

    tcase_set_timeout(tcase, 60);
    tcase_add_test(tcase, test_number_float64);
    tcase_add_test(tcase, test_number_float32);
    tcase_add_test(tcase, test_number_special);
    tcase_add_test(tcase, test_number_integers);
    tcase_add_test(tcase, test_number_shortest);
    return tcase;
}

static TCase *file_cases(void)
{
    TCase *tcase = tcase_create("file");

    tcase_set_timeout(tcase, 60);
    tcase_add_test(tcase, test_text_dtypes);
    tcase_add_test(tcase, test_text_every_window);
    tcase_add_test(tcase, test_text_sequential);
    tcase_add_test(tcase, test_text_sequential_cost);
    tcase_add_test(tcase, test_text_random);
    tcase_add_test(tcase, test_text_seek);
    tcase_add_test(tcase, test_text_failures);
    tcase_add_test(tcase, test_npy_header);
    tcase_add_test(tcase, test_npy_every_window);
    tcase_add_test(tcase, test_npy_failures);
    return tcase;
}

int main(void)
{
    Suite *suite = suite_create("view");

    suite_add_tcase(suite, number_cases());
    suite_add_tcase(suite, file_cases());
    return suite_run(suite);
}
