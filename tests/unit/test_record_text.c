// SPDX-License-Identifier: Apache-2.0
/*
 * test_record_text.c - the record's text twin: what it shows, what it takes, and that it judges as the binary
 * form does.
 */
#include "protocol/record_text.h"
#include "record_samples.h"
#include "suite.h"

#include <errno.h>
#include <stdlib.h>

static int merge_text(const struct record *current, const char *text, size_t size, struct record *proposed,
                      uint32_t *touched)
{
    char why[RECORD_TEXT_WHY_MAX] = "";
    int result;

    spoil(proposed, touched);
    result = record_text_merge(current, text, size, proposed, touched, why);
    ck_assert_int_eq(result != 0, why[0] != '\0');
    return result;
}

START_TEST(test_text_says_why)
{
    const struct {
        const char *text;
        const char *why;
    } rows[] = {
        {"dtype=int32\nflga=0\n", "line 2, 'flga=0': metadata.txt has no such key"},
        {"flag\n", "line 1, 'flag': it is not key=value"},
        {"# a\n\nflag=0\nflag=0", "line 4, 'flag=0': the key is given twice"},
        {"dtype=int16", "line 1, 'dtype=int16': the key has no such value"},
        {"dtype=\x1b[2J", "line 1, 'dtype=?[2J': the key has no such value"},
        {"\xff=\xc3\xa4", "line 1, '?=?\?': metadata.txt has no such key"},
        {"input_shape=2x3\ninput_length=5\ndtype=float64\ninput_logical=yes",
         "the lines together are no record: see dtype, lengths, shapes, order"},
    };
    const struct record current = fresh();

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char why[RECORD_TEXT_WHY_MAX];
        struct record proposed;
        uint32_t touched;

        ck_assert_int_eq(
            record_text_merge(&current, rows[i].text, strlen(rows[i].text), &proposed, &touched, why),
            -EINVAL);
        ck_assert_str_eq(why, rows[i].why);
    }
}
END_TEST

START_TEST(test_text_format)
{
    struct record record = full();
    char text[RECORD_TEXT_MAX];

    record.order |= RECORD_ORDER_INPUT_LOGICAL;
    record.task_change = 5;
    record.input_inline = 96;
    record.result_inline = 48;
    ck_assert_uint_eq(record_text_format(&record, text, sizeof text), strlen(text));
    ck_assert_str_eq(
        text,
        "flag=1\nmeaning=result ready, for the producer\nround=7\nchange=99\ntask_change=5\ndtype=int32\n"
        "input_length=24\ninput_shape=1x2x3x4\ninput_order=C\ninput_logical=yes\ninput_inline=96\nresult_"
        "dtype=float32\n"
        "result_length=12\nresult_shape=3x4\nresult_order=F\nresult_logical=no\nresult_inline=48\n");
    record = fresh();
    record_text_format(&record, text, sizeof text);
    ck_assert_str_eq(
        text,
        "flag=-1\nmeaning=no input yet\nround=1\nchange=0\ntask_change=0\ndtype=float64\ninput_length=-1\n"
        "input_shape=\ninput_order=C\ninput_logical=no\ninput_inline=0\nresult_dtype=same\nresult_length=-"
        "1\nresult_shape=\n"
        "result_order=C\nresult_logical=no\nresult_inline=0\n");
    ck_assert_uint_eq(record_text_format(&record, NULL, 0), strlen(text));
    ck_assert_uint_eq(record_text_format(&record, text, 10), record_text_format(&record, NULL, 0));
    ck_assert_str_eq(text, "flag=-1\nm");
}
END_TEST

/* The buffer has room for the longest values, even for ones that the check refuses. */
START_TEST(test_text_longest)
{
    char text[RECORD_TEXT_MAX];
    struct record record;

    memset(&record, 0x80, sizeof record);
    record.input_ndim = record.result_ndim = INT32_MAX;
    record.input_length = record.result_length = INT64_MIN;
    record.round = UINT64_MAX;
    record.change = record.task_change = UINT32_MAX;
    for (int i = 0; i < RECORD_NDIM_MAX; i++)
        record.input_shape[i] = record.result_shape[i] = INT64_MIN;
    ck_assert_uint_lt(record_text_format(&record, text, sizeof text), sizeof text);
}
END_TEST

START_TEST(test_text_round_trip)
{
    uint64_t state = 42;

    for (int i = 0; i < 5000; i++) {
        struct record record = fresh(), current = fresh(), proposed;
        char text[RECORD_TEXT_MAX];
        uint32_t touched;
        size_t length;

        record.flag = (int32_t)(random_next(&state) % 4) - 1;
        record.dtype = (int32_t)(random_next(&state) % 5) + 1;
        record.result_dtype = (int32_t)(random_next(&state) % 6);
        record.input_length = (int64_t)(random_next(&state) >> random_next(&state) % 63 >> 1) - 1;
        record.result_length = (int64_t)(random_next(&state) % 100) - 1;
        record.input_ndim = (int32_t)(random_next(&state) % 5);
        record.result_ndim = (int32_t)(random_next(&state) % 5);
        for (int32_t j = 0; j < record.input_ndim; j++)
            record.input_shape[j] = (int64_t)(random_next(&state) % 30000);
        for (int32_t j = 0; j < record.result_ndim; j++)
            record.result_shape[j] = (int64_t)(random_next(&state) % 3);
        record.order = random_next(&state) % 16;
        if (record.order & RECORD_ORDER_INPUT_LOGICAL)
            record.dtype = RECORD_INT32;
        if (record.order & RECORD_ORDER_RESULT_LOGICAL)
            record.result_dtype = RECORD_INT32;
        length = record_text_format(&record, text, sizeof text);
        ck_assert_int_eq(merge_text(&current, text, length, &proposed, &touched), 0);
        ck_assert_uint_eq(touched, RECORD_TOUCHED_FLAG | differing(&current, &record));
        expect_same(&proposed, &record);
    }
}
END_TEST

START_TEST(test_text_accepts)
{
    const struct {
        const char *text;
        uint32_t touched;
    } rows[] = {
        {"", TOUCHED_NOTHING},
        {"\n\n", TOUCHED_NOTHING},
        {"# flag=0\n  # another\n", TOUCHED_NOTHING},
        {"flag=-1", RECORD_TOUCHED_FLAG},
        {"flag=0\n", RECORD_TOUCHED_FLAG},
        {" flag = 0 \n", RECORD_TOUCHED_FLAG},
        {"dtype=float64\nflag=0\n", RECORD_TOUCHED_FLAG},
        {"dtype=2", TOUCHED_NOTHING},
        {"dtype=1", RECORD_TOUCHED_INPUT},
        {"dtype=int64", RECORD_TOUCHED_INPUT},
        {"input_length=-1", TOUCHED_NOTHING},
        {"input_length=0", RECORD_TOUCHED_INPUT},
        {"input_length=9223372036854775807", RECORD_TOUCHED_INPUT},
        {"input_shape=", TOUCHED_NOTHING},
        {"input_shape=1000x5", RECORD_TOUCHED_INPUT},
        {"input_shape=6\ninput_length=6", RECORD_TOUCHED_INPUT},
        {"input_order=F", RECORD_TOUCHED_INPUT},
        {"input_order=C", TOUCHED_NOTHING},
        {"dtype=int32\ninput_logical=yes", RECORD_TOUCHED_INPUT},
        {"input_logical=no", TOUCHED_NOTHING},
        {"result_logical=yes\nresult_dtype=int32", RECORD_TOUCHED_RESULT},
        {"result_dtype=same", TOUCHED_NOTHING},
        {"result_dtype=0", TOUCHED_NOTHING},
        {"result_dtype=5", RECORD_TOUCHED_RESULT},
        {"result_length=3\nflag=1", RECORD_TOUCHED_RESULT | RECORD_TOUCHED_FLAG},
        {"result_shape=1x2x3x4", RECORD_TOUCHED_RESULT},
        {"result_order=F\ndtype=1", RECORD_TOUCHED_RESULT | RECORD_TOUCHED_INPUT},
        {"round=5\nchange=9\nstate=DONE\nmeaning=a = b\nopen=1 data.bin r\nopen=2 data.bin r\n",
         TOUCHED_NOTHING},
        {"data_size=8\nresult_size=8\nowner=1\nworker=\nsource=../A/result.bin\nsince=\n", TOUCHED_NOTHING},
        {"data_copied=1\ndata_in_place=2\nresult_copied=3\nresult_in_place=4\n", TOUCHED_NOTHING},
        {"waiting=1 data.bin 0.5 why\nrefused=x\nrefusals=4\n", TOUCHED_NOTHING},
    };
    struct record current = fresh(), proposed;
    uint32_t touched;

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        ck_assert_int_eq(merge_text(&current, rows[i].text, strlen(rows[i].text), &proposed, &touched), 0);
        ck_assert_uint_eq(touched, rows[i].touched);
        ck_assert_uint_eq(proposed.round, 1);
        ck_assert_uint_eq(proposed.change, 0);
    }
    ck_assert_int_eq(merge_text(&current, "input_shape=10x20\nresult_shape=7", 32, &proposed, &touched), 0);
    ck_assert_int_eq(proposed.input_ndim, 2);
    ck_assert_int_eq(proposed.input_shape[0], 10);
    ck_assert_int_eq(proposed.input_shape[1], 20);
    ck_assert_int_eq(proposed.result_ndim, 1);
    ck_assert_int_eq(proposed.result_shape[0], 7);
    current = full();
    ck_assert_int_eq(merge_text(&current, "input_shape=\n", 13, &proposed, &touched), 0);
    ck_assert_int_eq(proposed.input_ndim, 0);
    ck_assert_int_eq(proposed.input_shape[0], 0);
}
END_TEST

static const char *const text_refused[] = {"flag",
                                           "flag=",
                                           "flag=x",
                                           "flag=0x0",
                                           "flag=+0",
                                           "flag=3",
                                           "flag=-2",
                                           "flag=4294967296",
                                           "flag=0 1",
                                           "flag=--1",
                                           "=0",
                                           "=",
                                           "Flag=0",
                                           "flags=0",
                                           "version=1",
                                           "input_ndim=2",
                                           "hello world",
                                           "flag=0\nflag=0",
                                           "flag=0\r\n",
                                           "dtype=",
                                           "dtype=0",
                                           "dtype=same",
                                           "dtype=float16",
                                           "dtype=7",
                                           "dtype=float64\ndtype=int32",
                                           "dtype=2\n\1",
                                           "input_length=",
                                           "input_length=-2",
                                           "input_length=1e3",
                                           "input_length=9223372036854775808",
                                           "input_length=-9223372036854775809",
                                           "input_length=99999999999999999999999999",
                                           "input_shape=x",
                                           "input_shape=2x",
                                           "input_shape=x2",
                                           "input_shape=2xx3",
                                           "input_shape=2,3",
                                           "input_shape=2 x 3",
                                           "input_shape=-1x-1",
                                           "input_shape=1x1x1x1x1",
                                           "input_shape=4294967296x4294967296",
                                           "result_shape=3X4",
                                           "input_order=f",
                                           "input_order=",
                                           "input_order=CF",
                                           "input_logical=yes",
                                           "dtype=int32\ninput_logical=1",
                                           "result_logical=yes\nresult_dtype=uint8",
                                           "result_order=2",
                                           "result_dtype=unknown",
                                           "result_length=-3",
                                           "# fine\nstate=READY\njunk\n"};

START_TEST(test_text_refuses)
{
    struct record current = fresh(), proposed;
    const char *text = text_refused[_i];
    uint32_t touched;

    expect_refused(merge_text(&current, text, strlen(text), &proposed, &touched), &proposed, &touched);
}
END_TEST

START_TEST(test_text_limits)
{
    struct record current = fresh(), proposed;
    char text[RECORD_TEXT_LINE_MAX + 32];
    uint32_t touched;

    memset(text, 'x', sizeof text);
    text[0] = '#';
    ck_assert_int_eq(merge_text(&current, text, RECORD_TEXT_LINE_MAX, &proposed, &touched), 0);
    expect_refused(merge_text(&current, text, RECORD_TEXT_LINE_MAX + 1, &proposed, &touched), &proposed,
                   &touched);
    text[RECORD_TEXT_LINE_MAX] = '\n';
    memcpy(text + RECORD_TEXT_LINE_MAX + 1, "flag=0\n", 7);
    ck_assert_int_eq(merge_text(&current, text, RECORD_TEXT_LINE_MAX + 8, &proposed, &touched), 0);
    ck_assert_uint_eq(touched, RECORD_TOUCHED_FLAG);
    expect_refused(merge_text(&current, "flag=0\n\0", 8, &proposed, &touched), &proposed, &touched);
    expect_refused(merge_text(&current, "# \0\nflag=0\n", 11, &proposed, &touched), &proposed, &touched);
    ck_assert_int_eq(merge_text(&current, NULL, 0, &proposed, &touched), 0);
}
END_TEST

/* Cuts, joins and overwrites lines at random; the text's block has its exact size, so an overread shows. */
START_TEST(test_text_random)
{
    static const char alphabet[] = "flag=-1023x\n\n# dtypeinput_lengthshapeorderCFresult_ \t\0\xff";
    uint64_t state = 4711;
    unsigned accepted = 0;

    for (int i = 0; i < 20000; i++) {
        struct record current = full(), proposed;
        char base[RECORD_TEXT_MAX];
        size_t length = record_text_format(&current, base, sizeof base);
        size_t size = random_next(&state) % (length + 1);
        size_t start = random_next(&state) % (length - size + 1);
        char *text = malloc(size + !size);
        uint32_t touched;

        ck_assert_ptr_nonnull(text);
        memcpy(text, base + start, size);
        for (uint64_t edits = random_next(&state) % 4; size && edits; edits--)
            text[random_next(&state) % size] = alphabet[random_next(&state) % (sizeof alphabet - 1)];
        accepted += expect_valid(merge_text(&current, text, size, &proposed, &touched), &current, &proposed,
                                 &touched);
        free(text);
    }
    ck_assert_uint_gt(accepted, 100);
}
END_TEST

static TCase *text_cases(void)
{
    TCase *tcase = tcase_create("text");

    tcase_add_test(tcase, test_text_says_why);
    tcase_add_test(tcase, test_text_format);
    tcase_add_test(tcase, test_text_longest);
    tcase_add_test(tcase, test_text_round_trip);
    tcase_add_test(tcase, test_text_accepts);
    tcase_add_loop_test(tcase, test_text_refuses, 0, (int)(sizeof text_refused / sizeof text_refused[0]));
    tcase_add_test(tcase, test_text_limits);
    tcase_add_test(tcase, test_text_random);
    return tcase;
}

int main(void)
{
    Suite *suite = suite_create("record_text");

    suite_add_tcase(suite, text_cases());
    return suite_run(suite);
}
