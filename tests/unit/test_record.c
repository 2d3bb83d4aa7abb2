// SPDX-License-Identifier: Apache-2.0
/*
 * test_record.c - the record's rules: what a client may propose, what fits a file, and what a write touches.
 */
#include "record_samples.h"
#include "suite.h"

static const int64_t two_to_32 = INT64_C(1) << 32;

static int merge(const struct record *current, const void *bytes, size_t size, uint64_t offset,
                 struct record *proposed, uint32_t *touched)
{
    spoil(proposed, touched);
    return record_merge(current, bytes, size, offset, proposed, touched);
}

START_TEST(test_dtypes)
{
    static const struct {
        int32_t code;
        const char *name;
        size_t size;
    } rows[] = {{1, "float32", 4}, {2, "float64", 8}, {3, "int32", 4},
                {4, "int64", 8},   {5, "uint8", 1},   {6, "bundle", 1}};
    static const char *const junk[] = {"", "7", "-1", "22", "float", "float644", " 2", "Float64", "unknown"};

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char digit[2] = {(char)('0' + rows[i].code), 0};

        ck_assert_str_eq(record_dtype_name(rows[i].code), rows[i].name);
        ck_assert_uint_eq(record_dtype_size(rows[i].code), rows[i].size);
        ck_assert_int_eq(record_dtype_parse(rows[i].name), rows[i].code);
        ck_assert_int_eq(record_dtype_parse(digit), rows[i].code);
    }
    ck_assert_int_eq(record_dtype_parse("same"), RECORD_DTYPE_SAME);
    ck_assert_int_eq(record_dtype_parse("0"), RECORD_DTYPE_SAME);
    ck_assert_str_eq(record_dtype_name(RECORD_DTYPE_SAME), "same");
    for (size_t i = 0; i < sizeof junk / sizeof junk[0]; i++)
        ck_assert_int_eq(record_dtype_parse(junk[i]), -EINVAL);
    ck_assert_uint_eq(record_dtype_size(0), 0);
    ck_assert_uint_eq(record_dtype_size(7), 0);
    ck_assert_uint_eq(record_dtype_size(-1), 0);
    ck_assert_uint_eq(record_dtype_size(INT32_MIN), 0);
    ck_assert_str_eq(record_dtype_name(INT32_MAX), "unknown");
}
END_TEST

START_TEST(test_init)
{
    struct record record = full();
    struct record expected = {
        .flag = -1, .version = 2, .input_length = -1, .dtype = 2, .result_length = -1, .round = 1};

    record_init(&record);
    expect_same(&record, &expected);
    ck_assert_int_eq(record_check(&record), 0);
    expect_same(&record, &expected);
}
END_TEST

/* Each row stores a value of some width at an offset of a full record. */
struct field_case {
    size_t offset;
    size_t width;
    int64_t value;
    int expected;
};

#define FIELD(field, value, expected)                                                                        \
    {                                                                                                        \
        offsetof(struct record, field), sizeof((struct record *)0)->field, (value), (expected)               \
    }

static const struct field_case field_cases[] = {FIELD(flag, -1, 0),
                                                FIELD(flag, 0, 0),
                                                FIELD(flag, 2, 0),
                                                FIELD(flag, -2, -EINVAL),
                                                FIELD(flag, 3, -EINVAL),
                                                FIELD(flag, INT32_MIN, -EINVAL),
                                                FIELD(version, 0, -EINVAL),
                                                FIELD(version, 1, -EINVAL),
                                                FIELD(version, -1, -EINVAL),
                                                FIELD(input_length, -1, 0),
                                                FIELD(input_length, 0, 0),
                                                FIELD(input_length, INT64_MAX, 0),
                                                FIELD(input_length, -2, -EINVAL),
                                                FIELD(input_length, INT64_MIN, -EINVAL),
                                                FIELD(result_length, -1, 0),
                                                FIELD(result_length, INT64_MAX, 0),
                                                FIELD(result_length, -2, -EINVAL),
                                                FIELD(dtype, 1, 0),
                                                FIELD(dtype, 5, 0),
                                                FIELD(dtype, 0, -EINVAL),
                                                FIELD(dtype, 6, -EINVAL),
                                                FIELD(dtype, -1, -EINVAL),
                                                FIELD(result_dtype, 0, 0),
                                                FIELD(result_dtype, 5, 0),
                                                FIELD(result_dtype, 6, -EINVAL),
                                                FIELD(result_dtype, -1, -EINVAL),
                                                FIELD(round, INT64_MAX, 0),
                                                FIELD(change, 5, 0),
                                                FIELD(input_ndim, 0, 0),
                                                FIELD(input_ndim, 1, 0),
                                                FIELD(input_ndim, 5, -EINVAL),
                                                FIELD(input_ndim, -1, -EINVAL),
                                                FIELD(input_ndim, INT32_MAX, -EINVAL),
                                                FIELD(result_ndim, 4, 0),
                                                FIELD(result_ndim, 5, -EINVAL),
                                                FIELD(result_ndim, INT32_MIN, -EINVAL),
                                                FIELD(input_shape[0], 0, 0),
                                                FIELD(input_shape[0], -1, -EINVAL),
                                                FIELD(input_shape[3], -1, -EINVAL),
                                                FIELD(input_shape[3], INT64_MAX, -EINVAL),
                                                FIELD(input_shape[3], INT64_MAX / 6, 0),
                                                FIELD(input_shape[3], INT64_MAX / 6 + 1, -EINVAL),
                                                FIELD(result_shape[1], -1, -EINVAL),
                                                FIELD(result_shape[2], -1, 0),
                                                FIELD(result_shape[3], INT64_MIN, 0),
                                                FIELD(order, 0, 0),
                                                FIELD(order, 3, 0),
                                                FIELD(order, 7, 0), /* full(): int32 to float32 */
                                                FIELD(order, 8, -EINVAL),
                                                FIELD(order, 16, -EINVAL),
                                                FIELD(order, 0x80000000, -EINVAL),
                                                FIELD(input_inline, 5, 0),
                                                FIELD(result_inline, UINT16_MAX, 0),
                                                FIELD(task_change, 5, 0)};

START_TEST(test_check_field)
{
    const struct field_case *row = &field_cases[_i];
    struct record record = full();
    struct record before;

    memcpy((uint8_t *)&record + row->offset, &row->value, row->width);
    before = record;
    ck_assert_int_eq(record_check(&record), row->expected);
    if (row->expected)
        expect_same(&record, &before);
}
END_TEST

START_TEST(test_check_normalises)
{
    struct record record = full();

    record.input_ndim = 1;
    record.result_ndim = 0;
    record.result_shape[3] = -5;
    ck_assert_int_eq(record_check(&record), 0);
    ck_assert_int_eq(record.input_shape[0], 1);
    for (int i = 1; i < RECORD_NDIM_MAX; i++)
        ck_assert_int_eq(record.input_shape[i], 0);
    for (int i = 0; i < RECORD_NDIM_MAX; i++)
        ck_assert_int_eq(record.result_shape[i], 0);
}
END_TEST

START_TEST(test_check_products)
{
    const struct {
        int32_t ndim;
        int64_t shape[RECORD_NDIM_MAX];
        int expected;
    } rows[] = {
        {1, {INT64_MAX}, 0},
        {2, {two_to_32, two_to_32}, -EINVAL},
        {2, {two_to_32, two_to_32 / 2}, -EINVAL},
        {2, {two_to_32, two_to_32 / 4}, 0},
        {4, {1 << 16, 1 << 16, 1 << 16, 1 << 16}, -EINVAL},
        {4, {1 << 16, 1 << 16, 1 << 16, 1 << 14}, 0},
        {3, {two_to_32, two_to_32, 0}, -EINVAL},
        {3, {0, two_to_32, two_to_32}, -EINVAL},
        {3, {0, two_to_32, -1}, -EINVAL},
        {3, {0, two_to_32, 7}, 0},
        {2, {INT64_MAX, 2}, -EINVAL},
        {2, {3, INT64_MAX}, -EINVAL},
    };

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct record input = fresh(), result = fresh();

        input.input_ndim = result.result_ndim = rows[i].ndim;
        memcpy(input.input_shape, rows[i].shape, sizeof rows[i].shape);
        memcpy(result.result_shape, rows[i].shape, sizeof rows[i].shape);
        ck_assert_int_eq(record_check(&input), rows[i].expected);
        ck_assert_int_eq(record_check(&result), rows[i].expected);
    }
}
END_TEST

/* Puts one description on either side, since both sides follow one rule. */
static void describe(struct record *record, enum record_side side, int32_t dtype, int64_t length,
                     int32_t ndim, const int64_t shape[RECORD_NDIM_MAX])
{
    if (side == RECORD_SIDE_INPUT) {
        record->dtype = dtype;
        record->input_length = length;
        record->input_ndim = ndim;
        memcpy(record->input_shape, shape, sizeof record->input_shape);
    } else {
        record->result_dtype = dtype;
        record->result_length = length;
        record->result_ndim = ndim;
        memcpy(record->result_shape, shape, sizeof record->result_shape);
    }
}

START_TEST(test_fit)
{
    static const enum record_side sides[] = {RECORD_SIDE_INPUT, RECORD_SIDE_RESULT};
    const struct {
        int32_t dtype;
        int64_t length;
        int32_t ndim;
        int64_t shape[RECORD_NDIM_MAX];
        uint64_t size;
        int64_t expected; /* the length, or -EINVAL */
    } rows[] = {
        {2, 10, 0, {0}, 80, 10},
        {2, 10, 0, {0}, 79, -EINVAL},
        {2, 10, 0, {0}, 88, -EINVAL},
        {2, 0, 0, {0}, 0, 0},
        {2, -1, 0, {0}, 0, 0},
        {2, -1, 0, {0}, 80, 10},
        {2, -1, 0, {0}, 81, -EINVAL},
        {1, -1, 0, {0}, 80, 20},
        {3, -1, 0, {0}, 80, 20},
        {4, -1, 0, {0}, 80, 10},
        {5, -1, 0, {0}, 81, 81},
        {6, -1, 0, {0}, 81, 81},
        {7, -1, 0, {0}, 80, -EINVAL},
        {-1, -1, 0, {0}, 80, -EINVAL},
        {2, -2, 0, {0}, 80, -EINVAL},
        {2, -1, 2, {2, 5}, 80, 10},
        {2, 10, 2, {2, 5}, 80, 10},
        {2, -1, 2, {2, 6}, 80, -EINVAL},
        {2, 10, 2, {2, 6}, 80, -EINVAL},
        {2, 10, 4, {1, 2, 5, 1}, 80, 10},
        {2, 0, 2, {0, 5}, 0, 0},
        {2, -1, 1, {0}, 8, -EINVAL},
        {2, -1, 5, {1, 1, 1, 1}, 8, -EINVAL},
        {2, -1, -1, {1, 1, 1, 1}, 8, -EINVAL},
        {5, 0, 2, {two_to_32, two_to_32}, 0, -EINVAL},
        {5, INT64_MAX, 0, {0}, INT64_MAX, INT64_MAX},
        {5, -1, 0, {0}, (uint64_t)INT64_MAX + 1, -EINVAL},
        {5, -1, 0, {0}, UINT64_MAX, -EINVAL},
        {2, INT64_C(1) << 61, 0, {0}, 0, -EINVAL},
        {2, (INT64_C(1) << 61) + 1, 0, {0}, 8, -EINVAL},
        {1, INT64_C(1) << 62, 0, {0}, 0, -EINVAL},
    };

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        for (size_t s = 0; s < 2; s++) {
            struct record record = fresh(), expected = fresh(), before;

            describe(&record, sides[s], rows[i].dtype, rows[i].length, rows[i].ndim, rows[i].shape);
            before = record;
            if (rows[i].expected < 0) {
                ck_assert_int_eq(record_fit(&record, sides[s], rows[i].size), -EINVAL);
                expect_same(&record, &before);
                continue;
            }
            ck_assert_int_eq(record_fit(&record, sides[s], rows[i].size), 0);
            describe(&expected, sides[s], rows[i].dtype, rows[i].expected, rows[i].ndim, rows[i].shape);
            expect_same(&record, &expected);
        }
    }
}
END_TEST

START_TEST(test_fit_result_dtype)
{
    struct record record = fresh();

    record.dtype = RECORD_FLOAT32;
    ck_assert_int_eq(record_fit(&record, RECORD_SIDE_RESULT, 6), -EINVAL);
    ck_assert_int_eq(record.result_dtype, RECORD_DTYPE_SAME);
    ck_assert_int_eq(record_fit(&record, RECORD_SIDE_RESULT, 12), 0);
    ck_assert_int_eq(record.result_dtype, RECORD_FLOAT32);
    ck_assert_int_eq(record.result_length, 3);
    ck_assert_int_eq(record.input_length, RECORD_LENGTH_ALL);

    record = fresh();
    record.dtype = RECORD_DTYPE_SAME;
    ck_assert_int_eq(record_fit(&record, RECORD_SIDE_INPUT, 0), -EINVAL);
    ck_assert_int_eq(record_fit(&record, RECORD_SIDE_RESULT, 0), -EINVAL);
}
END_TEST

static const int64_t no_shape[RECORD_NDIM_MAX];

START_TEST(test_reset_side)
{
    struct record record = full(), expected = full();

    record.order = RECORD_ORDER_MASK;
    record_reset_side(&record, RECORD_SIDE_INPUT);
    describe(&expected, RECORD_SIDE_INPUT, RECORD_INT32, RECORD_LENGTH_ALL, 0, no_shape);
    expected.order = RECORD_ORDER_RESULT_F | RECORD_ORDER_RESULT_LOGICAL;
    expect_same(&record, &expected);

    record_reset_side(&record, RECORD_SIDE_RESULT);
    describe(&expected, RECORD_SIDE_RESULT, RECORD_DTYPE_SAME, RECORD_LENGTH_ALL, 0, no_shape);
    expected.order = 0;
    expect_same(&record, &expected);
}
END_TEST

START_TEST(test_copy_side)
{
    struct record from = full(), to = fresh(), expected = fresh();

    to.order = RECORD_ORDER_INPUT_F;
    record_copy_side(&to, &from, RECORD_SIDE_RESULT);
    describe(&expected, RECORD_SIDE_RESULT, RECORD_FLOAT32, 12, 2, from.result_shape);
    expected.order = RECORD_ORDER_INPUT_F | RECORD_ORDER_RESULT_F;
    expect_same(&to, &expected);

    record_copy_side(&to, &from, RECORD_SIDE_INPUT);
    describe(&expected, RECORD_SIDE_INPUT, RECORD_INT32, 24, 4, from.input_shape);
    expected.order = RECORD_ORDER_RESULT_F;
    expect_same(&to, &expected);

    /* Each bit goes with its side, and with no other. */
    from.order = RECORD_ORDER_INPUT_LOGICAL;
    to.order = RECORD_ORDER_RESULT_LOGICAL;
    record_copy_side(&to, &from, RECORD_SIDE_INPUT);
    ck_assert_uint_eq(to.order, RECORD_ORDER_INPUT_LOGICAL | RECORD_ORDER_RESULT_LOGICAL);
    record_copy_side(&to, &from, RECORD_SIDE_RESULT);
    ck_assert_uint_eq(to.order, RECORD_ORDER_INPUT_LOGICAL);
}
END_TEST

/* The bit says how to read int32: with any other type it means nothing and is refused. */
START_TEST(test_check_logical)
{
    for (int32_t dtype = RECORD_FLOAT32; dtype <= RECORD_UINT8; dtype++) {
        for (int32_t result = RECORD_DTYPE_SAME; result <= RECORD_UINT8; result++) {
            struct record record = fresh();
            int32_t effective = result == RECORD_DTYPE_SAME ? dtype : result;

            record.dtype = dtype;
            record.result_dtype = result;
            record.order = RECORD_ORDER_INPUT_LOGICAL;
            ck_assert_int_eq(record_check(&record), dtype == RECORD_INT32 ? 0 : -EINVAL);
            record.order = RECORD_ORDER_RESULT_LOGICAL;
            ck_assert_int_eq(record_check(&record), effective == RECORD_INT32 ? 0 : -EINVAL);
        }
    }
}
END_TEST

/* A bundle has a length and nothing else, by whichever name the result has the type. */
START_TEST(test_check_bundle)
{
    static const struct {
        int32_t dtype, result_dtype, input_ndim, result_ndim;
        uint32_t order;
        int expected;
    } rows[] = {
        {RECORD_BUNDLE, RECORD_DTYPE_SAME, 0, 0, 0, 0},
        {RECORD_BUNDLE, RECORD_FLOAT64, 0, 2, RECORD_ORDER_RESULT_F, 0},
        {RECORD_FLOAT64, RECORD_BUNDLE, 2, 0, RECORD_ORDER_INPUT_F, 0},
        {RECORD_BUNDLE, RECORD_FLOAT64, 1, 0, 0, -EINVAL},
        {RECORD_BUNDLE, RECORD_FLOAT64, 0, 0, RECORD_ORDER_INPUT_F, -EINVAL},
        {RECORD_FLOAT64, RECORD_BUNDLE, 0, 1, 0, -EINVAL},
        {RECORD_FLOAT64, RECORD_BUNDLE, 0, 0, RECORD_ORDER_RESULT_F, -EINVAL},
        {RECORD_BUNDLE, RECORD_DTYPE_SAME, 0, 1, 0, -EINVAL},
        {RECORD_BUNDLE, RECORD_DTYPE_SAME, 0, 0, RECORD_ORDER_RESULT_F, -EINVAL},
        {RECORD_BUNDLE, RECORD_DTYPE_SAME, 0, 0, RECORD_ORDER_INPUT_LOGICAL, -EINVAL},
    };

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct record record = fresh();

        record.dtype = rows[i].dtype;
        record.result_dtype = rows[i].result_dtype;
        record.input_ndim = rows[i].input_ndim;
        record.result_ndim = rows[i].result_ndim;
        record.order = rows[i].order;
        ck_assert_int_eq(record_check(&record), rows[i].expected);
    }
}
END_TEST

START_TEST(test_result_to_input)
{
    struct record from = full(), to = fresh(), expected = fresh();

    record_result_to_input(&to, &from);
    describe(&expected, RECORD_SIDE_INPUT, RECORD_FLOAT32, 12, 2, from.result_shape);
    expected.order = RECORD_ORDER_INPUT_F;
    expect_same(&to, &expected);

    from.result_dtype = RECORD_INT32;
    from.order = RECORD_ORDER_RESULT_LOGICAL;
    record_result_to_input(&to, &from);
    ck_assert_uint_eq(to.order, RECORD_ORDER_INPUT_LOGICAL);

    from.result_dtype = RECORD_DTYPE_SAME;
    from.order = RECORD_ORDER_INPUT_F;
    record_result_to_input(&to, &from);
    ck_assert_int_eq(to.dtype, RECORD_INT32);
    ck_assert_uint_eq(to.order, 0);

    record_result_to_input(&from, &from);
    ck_assert_int_eq(from.input_length, 12);
    ck_assert_int_eq(from.input_ndim, 2);
    ck_assert_int_eq(from.input_shape[2], 0);
    ck_assert_uint_eq(from.order, 0);
}
END_TEST

START_TEST(test_merge_bounds)
{
    struct record current = fresh(), proposed;
    uint8_t bytes[2 * RECORD_SIZE] = {0};
    uint32_t touched;

    ck_assert_int_eq(merge(&current, NULL, 0, 0, &proposed, &touched), 0);
    ck_assert_uint_eq(touched, TOUCHED_NOTHING);
    expect_same(&proposed, &current);
    ck_assert_int_eq(merge(&current, NULL, 0, RECORD_SIZE, &proposed, &touched), 0);
    ck_assert_int_eq(merge(&current, bytes, 8, RECORD_SIZE - 8, &proposed, &touched), 0);
    ck_assert_uint_eq(touched, TOUCHED_NOTHING);
    expect_refused(merge(&current, bytes, 9, RECORD_SIZE - 8, &proposed, &touched), &proposed, &touched);
    expect_refused(merge(&current, bytes, 1, RECORD_SIZE, &proposed, &touched), &proposed, &touched);
    expect_refused(merge(&current, bytes, 0, RECORD_SIZE + 1, &proposed, &touched), &proposed, &touched);
    expect_refused(merge(&current, bytes, 8, UINT64_MAX - 3, &proposed, &touched), &proposed, &touched);
    expect_refused(merge(&current, bytes, SIZE_MAX, 8, &proposed, &touched), &proposed, &touched);
    expect_refused(merge(&current, bytes, sizeof bytes, 0, &proposed, &touched), &proposed, &touched);
}
END_TEST

/* Every window of the record written back as it is: only the flag's bytes count as touched. */
START_TEST(test_merge_same_bytes)
{
    struct record current = full(), proposed;
    uint32_t touched;

    for (size_t offset = 0; offset <= RECORD_SIZE; offset++) {
        for (size_t size = 0; size <= RECORD_SIZE - offset; size++) {
            uint32_t expected = size && offset < 4 ? RECORD_TOUCHED_FLAG : TOUCHED_NOTHING;

            ck_assert_int_eq(
                merge(&current, (const uint8_t *)&current + offset, size, offset, &proposed, &touched), 0);
            ck_assert_uint_eq(touched, expected);
            expect_same(&proposed, &current);
        }
    }
}
END_TEST

/* Writes every window of another valid record: bytes outside, round and change stay; the rest is judged. */
START_TEST(test_merge_windows)
{
    struct record current = full(), other = fresh(), proposed;
    uint32_t touched;
    unsigned accepted = 0;

    other.flag = RECORD_FLAG_INPUT;
    other.input_length = 6;
    other.dtype = RECORD_UINT8;
    other.input_ndim = 2;
    other.input_shape[0] = 2;
    other.input_shape[1] = 3;
    other.order = RECORD_ORDER_INPUT_F;
    other.round = 1234567;
    other.change = 7654321;
    other.input_inline = 80;
    other.result_inline = 1984;
    other.task_change = 3;
    for (size_t offset = 0; offset < RECORD_SIZE; offset++) {
        for (size_t size = 1; size <= RECORD_SIZE - offset; size++) {
            struct record expected = current;
            int error;

            memcpy((uint8_t *)&expected + offset, (const uint8_t *)&other + offset, size);
            expected.round = current.round;
            expected.change = current.change;
            expected.input_inline = current.input_inline;
            expected.result_inline = current.result_inline;
            expected.task_change = current.task_change;
            error = record_check(&expected);
            if (error) {
                expect_refused(
                    merge(&current, (const uint8_t *)&other + offset, size, offset, &proposed, &touched),
                    &proposed, &touched);
                continue;
            }
            accepted++;
            ck_assert_int_eq(
                merge(&current, (const uint8_t *)&other + offset, size, offset, &proposed, &touched), 0);
            expect_same(&proposed, &expected);
            ck_assert_uint_eq(touched, differing(&current, &expected) |
                                           (offset < 4 ? (uint32_t)RECORD_TOUCHED_FLAG : TOUCHED_NOTHING));
        }
    }
    ck_assert_uint_gt(accepted, RECORD_SIZE);
}
END_TEST

START_TEST(test_merge_touched)
{
    const struct {
        size_t offset;
        size_t width;
        int64_t value;
        uint32_t touched;
    } rows[] = {
        {offsetof(struct record, flag), 4, RECORD_FLAG_INPUT, RECORD_TOUCHED_FLAG},
        {offsetof(struct record, flag), 1, 2, RECORD_TOUCHED_FLAG},
        {offsetof(struct record, flag) + 3, 1, 0, RECORD_TOUCHED_FLAG},
        {offsetof(struct record, version), 4, 2, TOUCHED_NOTHING},
        {offsetof(struct record, input_length), 8, 3, RECORD_TOUCHED_INPUT},
        {offsetof(struct record, input_length), 8, 24, TOUCHED_NOTHING},
        {offsetof(struct record, dtype), 4, RECORD_UINT8, RECORD_TOUCHED_INPUT},
        {offsetof(struct record, dtype), 8, RECORD_UINT8, RECORD_TOUCHED_INPUT | RECORD_TOUCHED_RESULT},
        {offsetof(struct record, result_dtype), 4, 0, RECORD_TOUCHED_RESULT},
        {offsetof(struct record, result_length), 8, -1, RECORD_TOUCHED_RESULT},
        {offsetof(struct record, round), 8, 12, TOUCHED_NOTHING},
        {offsetof(struct record, change), 4, 12, TOUCHED_NOTHING},
        {offsetof(struct record, input_inline), 4, 12, TOUCHED_NOTHING},
        {offsetof(struct record, task_change), 4, 12, TOUCHED_NOTHING},
        {offsetof(struct record, input_ndim), 4, 3, RECORD_TOUCHED_INPUT},
        {offsetof(struct record, result_ndim), 4, 0, RECORD_TOUCHED_RESULT},
        {offsetof(struct record, input_shape[3]), 8, 5, RECORD_TOUCHED_INPUT},
        {offsetof(struct record, result_shape[1]), 8, 5, RECORD_TOUCHED_RESULT},
        {offsetof(struct record, result_shape[2]), 8, 5, TOUCHED_NOTHING},
        {offsetof(struct record, order), 4, 2, TOUCHED_NOTHING},
        {offsetof(struct record, order), 4, 3, RECORD_TOUCHED_INPUT},
        {offsetof(struct record, order), 4, 0, RECORD_TOUCHED_RESULT},
        {offsetof(struct record, order), 4, 1, RECORD_TOUCHED_INPUT | RECORD_TOUCHED_RESULT},
    };
    struct record current = full(), proposed;
    uint32_t touched;

    current.flag = 0;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        ck_assert_int_eq(merge(&current, &rows[i].value, rows[i].width, rows[i].offset, &proposed, &touched),
                         0);
        ck_assert_uint_eq(touched, rows[i].touched);
        ck_assert_uint_eq(proposed.round, current.round);
        ck_assert_uint_eq(proposed.change, current.change);
        ck_assert_uint_eq(proposed.input_inline, current.input_inline);
        ck_assert_uint_eq(proposed.task_change, current.task_change);
    }
    ck_assert_int_eq(record_merge(&current, &rows[4].value, 8, rows[4].offset, &current, &touched), 0);
    ck_assert_int_eq(current.input_length, 3);
}
END_TEST

/* A client of PyRMap's writes its 20 bytes, of version 1. A write of what version 2 added has to say 2. */
START_TEST(test_merge_pyrmap_header)
{
    struct record current = full(), proposed, other = full();
    uint32_t touched;

    other.version = RECORD_VERSION_PYRMAP;
    for (size_t size = 8; size <= RECORD_SIZE; size++) {
        int result = merge(&current, &other, size, 0, &proposed, &touched);

        if (size > 120) {
            expect_refused(result, &proposed, &touched);
        } else {
            ck_assert_int_eq(result, 0);
            ck_assert_int_eq(proposed.version, RECORD_VERSION);
        }
    }
    expect_refused(merge(&current, &other.version, 4, 4, &proposed, &touched), &proposed, &touched);
}
END_TEST

/* A random byte that is often plausible, so that some of the records are accepted. */
static uint8_t random_byte(uint64_t *state)
{
    uint64_t draw = random_next(state);

    if (draw % 8 == 0)
        return (uint8_t)(draw >> 40);
    return draw % 3 ? 0 : (uint8_t)(draw >> 32 & 3);
}

START_TEST(test_merge_random)
{
    uint64_t state = 0x9E3779B97F4A7C15u;
    struct record current = full(), proposed;
    uint8_t bytes[RECORD_SIZE];
    unsigned accepted = 0;

    for (int i = 0; i < 50000; i++) {
        uint64_t offset = random_next(&state) % (RECORD_SIZE + 4);
        size_t size = random_next(&state) % (random_next(&state) % 4 ? 9 : RECORD_SIZE + 1);
        uint32_t touched;
        int error;

        for (size_t j = 0; j < size; j++)
            bytes[j] = random_byte(&state);
        error = merge(&current, bytes, size, offset, &proposed, &touched);
        if (expect_valid(error, &current, &proposed, &touched)) {
            accepted++;
            current = proposed;
            record_fit(&proposed, RECORD_SIDE_INPUT, random_next(&state) % 64);
            record_fit(&proposed, RECORD_SIDE_RESULT, random_next(&state) % 64);
            ck_assert_int_eq(record_check(&proposed), 0);
        }
    }
    ck_assert_uint_gt(accepted, 500);
}
END_TEST

/* A write for one round. */
START_TEST(test_of_round)
{
    struct record current = full(), named = full();
    uint64_t offset;

    for (size_t size = 0; size <= sizeof named + 8; size++) {
        uint8_t bytes[sizeof named + 8] = {0};
        bool has_round = size >= offsetof(struct record, input_ndim);

        for (int later = 0; later < 2; later++) {
            named.round = current.round + (uint64_t)later;
            memcpy(bytes, &named, sizeof named);
            offset = RECORD_STEP_OF_ROUND;
            ck_assert_int_eq(record_of_round(&current, bytes, size, &offset), !has_round ? -EINVAL
                                                                              : later    ? -ECANCELED
                                                                                         : 0);
            ck_assert_uint_eq(offset, has_round ? 0 : RECORD_STEP_OF_ROUND);
        }
    }
    static const uint64_t others[] = {0, 1, RECORD_STEP_OF_ROUND - 1, RECORD_STEP_OF_ROUND + 1, UINT64_MAX};
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) {
        offset = others[i];
        ck_assert_int_eq(record_of_round(&current, &named, sizeof named, &offset), 0);
        ck_assert_uint_eq(offset, others[i]);
    }
}
END_TEST

static TCase *record_cases(void)
{
    TCase *tcase = tcase_create("record");

    tcase_add_test(tcase, test_dtypes);
    tcase_add_test(tcase, test_init);
    tcase_add_loop_test(tcase, test_check_field, 0, (int)(sizeof field_cases / sizeof field_cases[0]));
    tcase_add_test(tcase, test_check_normalises);
    tcase_add_test(tcase, test_check_products);
    tcase_add_test(tcase, test_fit);
    tcase_add_test(tcase, test_fit_result_dtype);
    tcase_add_test(tcase, test_reset_side);
    tcase_add_test(tcase, test_copy_side);
    tcase_add_test(tcase, test_check_logical);
    tcase_add_test(tcase, test_check_bundle);
    tcase_add_test(tcase, test_result_to_input);
    tcase_add_test(tcase, test_merge_bounds);
    tcase_add_test(tcase, test_merge_same_bytes);
    tcase_add_test(tcase, test_merge_windows);
    tcase_add_test(tcase, test_merge_touched);
    tcase_add_test(tcase, test_merge_pyrmap_header);
    tcase_add_test(tcase, test_merge_random);
    tcase_add_test(tcase, test_of_round);
    return tcase;
}

int main(void)
{
    Suite *suite = suite_create("record");

    suite_add_tcase(suite, record_cases());
    return suite_run(suite);
}
