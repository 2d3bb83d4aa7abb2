// SPDX-License-Identifier: Apache-2.0
/*
 * test_json.c - JSON of a client: accepted, refused, and walked.
 */
#include "protocol/json.h"

#include "suite.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A copy without room behind it, so that a sanitizer sees a read beyond the text. */
static const char *check_bytes(const char *text, size_t size, struct json *value, char **copy)
{
    size_t at = SIZE_MAX;
    const char *fault;

    *copy = malloc(size ? size : 1);
    ck_assert_ptr_nonnull(*copy);
    memcpy(*copy, text, size);
    fault = json_check(*copy, size, value, &at);
    ck_assert_uint_le(at, size);
    return fault;
}

static struct json parse(const char *text)
{
    struct json value;
    size_t at;

    ck_assert_ptr_null(json_check(text, strlen(text), &value, &at));
    return value;
}

START_TEST(test_texts_that_are_json)
{
    static const char *const texts[] = {
        "{}",
        "[]",
        "null",
        "true",
        "false",
        "0",
        "-0",
        "12",
        "-1.5e+10",
        "1E2",
        "\"\"",
        "\"\\u00e9\\n\\\"\\/\"",
        " [1 , 2,\t{\"a\" :\n[ ] } ]\r",
        "{\"a\":1,\"a\":2}",
        "\"\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80\"",
        "\"\\ud83d\"",
        "[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]",
        "{\"\":{\"\":{}}}",
        "\"\x7f\"",
    };

    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        struct json value;
        char *copy;

        ck_assert_msg(!check_bytes(texts[i], strlen(texts[i]), &value, &copy), "%s", texts[i]);
        free(copy);
    }
}
END_TEST

START_TEST(test_texts_that_are_none)
{
    static const struct {
        const char *text, *fault;
    } rows[] = {
        {"", "missing"},
        {" ", "missing"},
        {"{", "quotes"},
        {"[", "missing"},
        {"[1", "comma"},
        {"[1,", "missing"},
        {"[1,]", "missing"},
        {"{\"a\"}", "colon"},
        {"{\"a\":}", "missing"},
        {"{\"a\":1,}", "quotes"},
        {"{a:1}", "quotes"},
        {"{1:1}", "quotes"},
        {"[1 2]", "comma"},
        {"[1}", "comma"},
        {"{\"a\":1]", "comma"},
        {"01", "more"},
        {"-", "missing"},
        {"1.", "missing"},
        {"1e", "missing"},
        {"+1", "missing"},
        {".5", "missing"},
        {"NaN", "missing"},
        {"Infinity", "missing"},
        {"tru", "missing"},
        {"trueish", "more"},
        {"\"", "end"},
        {"\"a", "end"},
        {"\"\\", "escape"},
        {"\"\\x\"", "escape"},
        {"\"\\u12\"", "digits"},
        {"\"\\u123", "digits"},
        {"\"\n\"", "control"},
        {"\"\xff\"", "UTF-8"},
        {"\"\xc3", "UTF-8"},
        {"\"\xc0\xaf\"", "UTF-8"},
        {"\"\xed\xa0\x80\"", "UTF-8"},
        {"\"\xf4\x90\x80\x80\"", "UTF-8"},
        {"\"\xe2\x82\"", "UTF-8"},
        {"{} {}", "more"},
        {"[] x", "more"},
        {"[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]", "deep"},
    };

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct json value;
        char *copy;
        const char *fault = check_bytes(rows[i].text, strlen(rows[i].text), &value, &copy);

        ck_assert_msg(fault && strstr(fault, rows[i].fault), "%s: %s", rows[i].text, fault ? fault : "taken");
        free(copy);
    }
}
END_TEST

START_TEST(test_a_nul_is_no_json)
{
    struct json value;
    char *copy;

    ck_assert_ptr_nonnull(check_bytes("\"a\0b\"", 5, &value, &copy));
    free(copy);
    ck_assert_ptr_nonnull(check_bytes("[]\0", 3, &value, &copy));
    free(copy);
    ck_assert_ptr_nonnull(check_bytes("\"\\\0\"", 4, &value, &copy));
    free(copy);
}
END_TEST

START_TEST(test_walks)
{
    struct json whole =
        parse(" {\"a\": [1, \"]}\\\"\", {\"b\": null}] , \"c\" :{}, \"\\u0061\": 7, \"d\":-1.5e3 } ");
    struct json a = json_get(whole, "a"), key, value;
    struct json_walk walk = json_walk(a);

    ck_assert_uint_eq(json_count(whole), 4);
    ck_assert_uint_eq(json_count(a), 3);
    ck_assert(json_is_array(a) && !json_is_object(a) && !json_is_string(a));
    ck_assert(json_next(&walk, NULL, &value));
    ck_assert_int_eq(json_natural(value), 1);
    ck_assert(json_next(&walk, NULL, &value));
    ck_assert(json_is(value, "]}\""));
    ck_assert(json_next(&walk, NULL, &value));
    ck_assert(json_is_object(value));
    ck_assert_ptr_nonnull(json_get(value, "b").at);
    ck_assert(!json_next(&walk, NULL, &value) && !json_next(&walk, NULL, &value));
    ck_assert_uint_eq(json_count(json_get(whole, "c")), 0);
    ck_assert_ptr_null(json_get(whole, "e").at);
    ck_assert_ptr_null(json_get(a, "a").at);
    ck_assert_uint_eq(json_count(json_get(whole, "d")), 0);
    walk = json_walk(whole);
    for (int i = 0; i < 3; i++)
        ck_assert(json_next(&walk, &key, &value));
    ck_assert(json_is(key, "a") && json_compare(key, parse("\"a\"")) == 0 &&
              json_hash(key) == json_hash(parse("\"a\"")));
    ck_assert_int_eq(json_natural(value), 7);
    ck_assert_uint_eq(json_count((struct json){0}), 0);
    ck_assert(json_is_true(parse("true")) && !json_is_true(parse("false")) &&
              !json_is_true(parse("\"true\"")));
}
END_TEST

START_TEST(test_numbers)
{
    ck_assert_int_eq(json_natural(parse("0")), 0);
    ck_assert_int_eq(json_natural(parse("9223372036854775807")), INT64_MAX);
    ck_assert_int_eq(json_natural(parse("9223372036854775808")), -EINVAL);
    ck_assert_int_eq(json_natural(parse("99999999999999999999999")), -EINVAL);
    ck_assert_int_eq(json_natural(parse("-1")), -EINVAL);
    ck_assert_int_eq(json_natural(parse("1.0")), -EINVAL);
    ck_assert_int_eq(json_natural(parse("1e3")), -EINVAL);
    ck_assert_int_eq(json_natural(parse("\"1\"")), -EINVAL);
    ck_assert_int_eq(json_natural((struct json){0}), -EINVAL);
}
END_TEST

START_TEST(test_texts_of_strings)
{
    static const struct {
        const char *json;
        size_t capacity;
        const char *text;
    } rows[] = {
        {"\"abc\"", 16, "abc"},
        {"\"abc\"", 2, "ab"},
        {"\"abc\"", 0, ""},
        {"\"\\u20ac\\n\\t\\/\"", 16, "\xe2\x82\xac\n\t/"},
        {"\"a\\u20ac\"", 3, "a"},
        {"\"\\ud83d\\ude00\"", 16, "\xf0\x9f\x98\x80"},
        {"\"\\ud83dx\"", 16, "\xef\xbf\xbdx"},
        {"\"\\ud83d\\u0041\"", 16,
         "\xef\xbf\xbd"
         "A"},
        {"\"\\ude00\"", 16, "\xef\xbf\xbd"},
        {"\"\\b\\f\\r\\\\\\\"\"", 16, "\b\f\r\\\""},
        {"7", 16, ""},
    };

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        char text[17] = "";

        text[json_text(parse(rows[i].json), text, rows[i].capacity)] = '\0';
        ck_assert_str_eq(text, rows[i].text);
    }
    ck_assert_int_lt(json_compare(parse("\"a\""), parse("\"ab\"")), 0);
    ck_assert_int_gt(json_compare(parse("\"ab\""), parse("\"a\"")), 0);
    ck_assert_int_lt(json_compare(parse("\"z\""), parse("\"\\u00e4\"")), 0);
    ck_assert(!json_is(parse("\"ab\""), "a") && !json_is(parse("\"a\""), "ab") && !json_is(parse("1"), "1"));
    ck_assert(!json_is(parse("\"a\\u0000b\""), "a"));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("json");
    TCase *tests = tcase_create("json");

    tcase_add_test(tests, test_texts_that_are_json);
    tcase_add_test(tests, test_texts_that_are_none);
    tcase_add_test(tests, test_a_nul_is_no_json);
    tcase_add_test(tests, test_walks);
    tcase_add_test(tests, test_numbers);
    tcase_add_test(tests, test_texts_of_strings);
    suite_add_tcase(suite, tests);
    return suite_run(suite);
}
