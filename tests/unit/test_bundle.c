// SPDX-License-Identifier: Apache-2.0
/*
 * test_bundle.c - bundles: the place of the header, damaged ones, and their text for people.
 */
#include "protocol/bundle_text.h"

#include "suite.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* A bundle in memory; reads beyond `whole` fail. */
struct file {
    const char *bytes;
    size_t size;
};

static ssize_t read_file(void *context, void *buffer, size_t size, off_t offset)
{
    const struct file *file = context;

    if ((size_t)offset >= file->size)
        return 0;
    if (size > file->size - (size_t)offset)
        size = file->size - (size_t)offset;
    if (size > 100)
        size = 100; /* reads may be short */
    memcpy(buffer, file->bytes + offset, size);
    return (ssize_t)size;
}

/* A file of that size which says that its header has so many bytes. */
static const char *fault(uint64_t header, uint64_t size)
{
    return bundle_fault(&header, sizeof(header), size);
}

START_TEST(test_header_lies_in_the_file)
{
    char few[BUNDLE_PREFIX - 1] = {0};

    ck_assert_ptr_null(fault(0, 8));
    ck_assert_ptr_null(fault(2, 10));
    ck_assert_ptr_null(fault(2, UINT64_MAX));
    ck_assert_ptr_null(fault(BUNDLE_HEADER_MAX, BUNDLE_HEADER_MAX + 8));
    ck_assert_ptr_nonnull(strstr(fault(3, 10), "longer than the file"));
    ck_assert_ptr_nonnull(strstr(fault(BUNDLE_HEADER_MAX + 1, UINT64_MAX), "1 MiB"));
    ck_assert_ptr_nonnull(strstr(fault(UINT64_MAX, 10), "1 MiB"));
    ck_assert_ptr_nonnull(strstr(fault(UINT64_MAX - 7, UINT64_MAX), "1 MiB"));
    ck_assert_ptr_nonnull(strstr(bundle_fault(few, sizeof(few), sizeof(few)), "fewer"));
    ck_assert_ptr_nonnull(strstr(bundle_fault(NULL, 0, 0), "fewer"));
    ck_assert_ptr_nonnull(strstr(bundle_fault(few, sizeof(few), 100), "fewer"));
}
END_TEST

/* JSON that was written with ' for ", and with ~ for the \" of a description. */
static char *quoted(const char *said)
{
    char *text = malloc(2 * strlen(said) + 1), *to = text;

    ck_assert_ptr_nonnull(text);
    for (; *said; said++) {
        if (*said == '~')
            *to++ = '\\';
        *to++ = *said == '\'' || *said == '~' ? '"' : *said;
    }
    *to = '\0';
    return text;
}

/* The text of a bundle with this header, and this behind it. */
static char *text_of(const char *said, const void *rest, size_t rest_size, int expected)
{
    char *header = quoted(said);
    uint64_t length = strlen(header);
    size_t size = 8 + length + rest_size, text_size = 0;
    char *bytes = malloc(size), *text = NULL;
    FILE *out = open_memstream(&text, &text_size);
    struct file file = {bytes, size};
    struct bundle_source source = {read_file, &file, size};
    struct bundle bundle;
    int result;

    ck_assert(bytes && out);
    memcpy(bytes, &length, 8);
    memcpy(bytes + 8, header, length);
    if (rest_size)
        memcpy(bytes + 8 + length, rest, rest_size);
    result = bundle_open(&bundle, &source);
    ck_assert_msg(result == expected, "%d: %s", result, bundle.fault);
    bundle_text_write(&bundle, result, out);
    bundle_close(&bundle);
    fclose(out);
    free(bytes);
    free(header);
    return text;
}

static void expect_text(const char *said, const void *rest, size_t size, int result, const char *expected)
{
    char *text = text_of(said, rest, size, result);

    ck_assert_str_eq(text, expected);
    free(text);
}

START_TEST(test_damaged_headers)
{
    static const struct {
        const char *header;
        size_t rest;
        const char *says; /* behind "damaged: " */
    } rows[] = {
        {"", 0, "its header is not JSON: at byte 8 a value is missing"},
        {"[]", 0, "its header is not JSON: at byte 8 there is no object"},
        {"{'a':1}", 0, "tensor a is not described"},
        {"{'a':{}}", 0, "tensor a has no known dtype"},
        {"{'a\\n\xc3\xa9':{}}", 0, "tensor a??? has no known dtype"},
        {"{'a':{'dtype':'F65'}}", 0, "tensor a has no known dtype"},
        {"{'a':{'dtype':'F64','shape':[-1],'data_offsets':[0,8]}}", 8, "tensor a has no shape"},
        {"{'a':{'dtype':'F64','shape':1,'data_offsets':[0,8]}}", 8, "tensor a has no shape"},
        {"{'a':{'dtype':'F64','shape':[4294967296,4294967296,0],'data_offsets':[0,0]}}", 0,
         "tensor a has no shape"},
        {"{'a':{'dtype':'F64','shape':[1]}}", 8, "tensor a has no data_offsets"},
        {"{'a':{'dtype':'F64','shape':[1],'data_offsets':[8,0]}}", 8, "tensor a has no data_offsets"},
        {"{'a':{'dtype':'F64','shape':[1],'data_offsets':[0,8,9]}}", 8, "tensor a has no data_offsets"},
        {"{'a':{'dtype':'F64','shape':[1],'data_offsets':[0,8]}}", 7, "tensor a does not lie in the bundle"},
        {"{'a':{'dtype':'F64','shape':[1],'data_offsets':[9223372036854775799,9223372036854775807]}}", 8,
         "tensor a does not lie in the bundle"},
        {"{'a':{'dtype':'F64','shape':[1],'data_offsets':[0,4]}}", 8,
         "tensor a has other offsets than its shape needs"},
        {"{'a':{'dtype':'F64','shape':[2305843009213693952],'data_offsets':[0,0]}}", 8,
         "tensor a has other offsets than its shape needs"},
        {"{'a':{'dtype':'U8','shape':[4],'data_offsets':[0,4]},'b':{'dtype':'U8','shape':[4],'data_offsets':["
         "3,7]}}",
         7, "tensor b overlaps another"},
        {"{'a':{'dtype':'U8','shape':[4],'data_offsets':[0,4]},'b':{'dtype':'U8','shape':[4],'data_offsets':["
         "5,9]}}",
         9, "tensor b comes behind a hole"},
        {"{'a':{'dtype':'U8','shape':[4],'data_offsets':[1,5]}}", 5, "tensor a comes behind a hole"},
        {"{'a':{'dtype':'U8','shape':[4],'data_offsets':[0,4]}}", 5, "it has more bytes than its tensors"},
        {"{'b':{'dtype':'U8','shape':[4],'data_offsets':[4,8]},'\\u0062':{'dtype':'U8','shape':[4],'data_"
         "offsets':[0,4]}}",
         8, "tensor b is there twice"},
        {"{'__metadata__':{'pyrmap':'{'}}", 0,
         "its description is not JSON: at byte 1 a name in quotes is missing"},
        {"{'__metadata__':{'pyrmap':'{~version~:2}'}}", 0, "its description is of another version than 1"},
        {"{'__metadata__':{'pyrmap':'{~version~:1}'}}", 0, "its description has no root"},
    };
    static const char zeros[16];

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        char expected[200];

        snprintf(expected, sizeof(expected), "damaged: %s\n", rows[i].says);
        expect_text(rows[i].header, zeros, rows[i].rest, -EINVAL, expected);
    }
}
END_TEST

START_TEST(test_tensors_of_another_program)
{
    struct {
        double doubles[2];
        uint16_t halves[4];
        int8_t bytes[3];
        uint8_t bools[2];
    } rest = {{0.5, -2}, {0x3c00, 0xc000, 0x7c00, 0x0001}, {-1, 0, 1}, {1, 0}};

    expect_text("{'d':{'dtype':'F64','shape':[2,1],'data_offsets':[0,16]},"
                "'h':{'dtype':'F16','shape':[4],'data_offsets':[16,24]},"
                "'b':{'dtype':'I8','shape':[3],'data_offsets':[24,27]},"
                "'l':{'dtype':'BOOL','shape':[2],'data_offsets':[27,29]},"
                "'__metadata__':{'by':'x'}}",
                &rest, 29, 0,
                "4 tensors\n"
                "  d: F64 2 x 1   0.5 -2\n"
                "  h: F16 4   1 -2 inf 5.960464477539063e-08\n"
                "  b: I8 3   -1 0 1\n"
                "  l: BOOL 2   TRUE FALSE\n");
    expect_text("{}", NULL, 0, 0, "0 tensors\n");
}
END_TEST

#define DESCRIBED "{'__metadata__':{'pyrmap':'{~version~:1,~root~:"

START_TEST(test_a_table)
{
    struct {
        uint64_t doubles[2]; /* one is R's NA */
        int64_t offsets[3];
        int64_t unused;
        int64_t levels[3];
        int32_t codes[2];
        int32_t logical[2];
        char text[12];
    } rest = {{0x3ff8000000000000, 0x7ff00000000007a2},
              {0, 1, 6},
              0,
              {0, 2, 5},
              {2, INT32_MIN},
              {1, INT32_MIN},
              "a\nh\xc3\xa9\xffupqrs"};
    static const char header[] =
        DESCRIBED "{~kind~:~frame~,~rows~:2,~names~:[~x~,~text~,~f~,~l~,~gone~],~items~:["
                  "{~kind~:~array~,~type~:~double~,~tensor~:~x~},"
                  "{~kind~:~array~,~type~:~character~,~tensor~:~t~,~offsets~:~o~},"
                  "{~kind~:~array~,~type~:~factor~,~tensor~:~c~,~levels~:"
                  "{~kind~:~array~,~type~:~character~,~tensor~:~v~,~offsets~:~p~}},"
                  "{~kind~:~array~,~type~:~logical~,~tensor~:~l~,~na~:true},"
                  "{~kind~:~array~,~type~:~double~,~tensor~:~?~}]}}'},"
                  "'x':{'dtype':'F64','shape':[2],'data_offsets':[0,16]},"
                  "'o':{'dtype':'I64','shape':[3],'data_offsets':[16,40]},"
                  "'rest':{'dtype':'I64','shape':[1],'data_offsets':[40,48]},"
                  "'p':{'dtype':'I64','shape':[3],'data_offsets':[48,72]},"
                  "'c':{'dtype':'I32','shape':[2],'data_offsets':[72,80]},"
                  "'l':{'dtype':'I32','shape':[2],'data_offsets':[80,88]},"
                  "'t':{'dtype':'U8','shape':[6],'data_offsets':[88,94]},"
                  "'v':{'dtype':'U8','shape':[5],'data_offsets':[94,99]}}";

    expect_text(header, &rest, 99, 0,
                "table of 2 rows, 5 columns\n"
                "  x       text       f       l        gone\n"
                "  double  character  factor  logical  double\n"
                "  1.5     a          qrs     TRUE     damaged\n"
                "  NA      ?h\xc3\xa9?       NA      NA       damaged\n");
}
END_TEST

START_TEST(test_a_list)
{
    struct {
        double days, seconds;
        int64_t ns;
        double parts[2];
        int32_t code;
    } rest = {18262, 1.5e9, 1500000000, {1, -2}, 3};
    static const char header[] =
        DESCRIBED "{~kind~:~list~,~names~:[~d~,~p~,~s~,~c~,~n~,~f~,~in~,~odd~],~items~:["
                  "{~kind~:~array~,~type~:~date~,~tensor~:~d~},"
                  "{~kind~:~array~,~type~:~posixct~,~tensor~:~p~},"
                  "{~kind~:~array~,~type~:~difftime~,~tensor~:~s~,~unit~:~ns~},"
                  "{~kind~:~array~,~type~:~complex~,~tensor~:~c~},"
                  "{~kind~:~null~},"
                  "{~kind~:~array~,~type~:~factor~,~tensor~:~f~},"
                  "{~kind~:~list~,~items~:[{~kind~:~null~}]},"
                  "{~kind~:~oracle~}]}}'},"
                  "'d':{'dtype':'F64','shape':[1],'data_offsets':[0,8]},"
                  "'p':{'dtype':'F64','shape':[1],'data_offsets':[8,16]},"
                  "'s':{'dtype':'I64','shape':[1],'data_offsets':[16,24]},"
                  "'c':{'dtype':'F64','shape':[2],'data_offsets':[24,40]},"
                  "'f':{'dtype':'I32','shape':[1],'data_offsets':[40,44]}}";

    expect_text(header, &rest, 44, 0,
                "list of 8\n"
                "  d: date 1   2020-01-01\n"
                "  p: posixct 1   2017-07-14 02:40:00Z\n"
                "  s: difftime 1   1.5 secs\n"
                "  c: complex 1   1-2i\n"
                "  n: NULL\n"
                "  f: factor 1   damaged: no levels\n"
                "  in: list of 1\n"
                "    [1]: NULL\n"
                "  odd: damaged: a value of an unknown kind, oracle\n");
}
END_TEST

/* Whatever a bundle says, its text stays short. */
START_TEST(test_bounds_of_the_text)
{
    enum { MEMBERS = 20000, ITEM = 20 };
    char *header = malloc(MEMBERS * ITEM + 200), *end = header, *text;
    size_t lines = 0;

    ck_assert_ptr_nonnull(header);
    end += sprintf(end, DESCRIBED "{~kind~:~list~,~items~:[");
    for (int i = 0; i < MEMBERS; i++)
        end += sprintf(end, "%s{~kind~:0}", i ? "," : "");
    sprintf(end, "]}}'}}");
    text = text_of(header, NULL, 0, 0);
    for (const char *at = text; *at; at++)
        lines += *at == '\n';
    ck_assert_uint_eq(lines, BUNDLE_TEXT_LINES + 2);
    ck_assert_ptr_nonnull(strstr(text, "list of 20000\n"));
    ck_assert_str_eq(text + strlen(text) - 6, "  ...\n");
    free(text);
    free(header);
}
END_TEST

/* A node is searched as often as it is nested: those of a long header are not all shown. */
START_TEST(test_bounds_of_the_work)
{
    enum { LEVELS = 12, FILLER = 500000 };
    char *header = malloc(FILLER + 1000), *end = header, *text;

    ck_assert_ptr_nonnull(header);
    end += sprintf(end, DESCRIBED);
    for (int i = 0; i < LEVELS; i++)
        end += sprintf(end, "{~kind~:~list~,~items~:[");
    end += sprintf(end, "{~kind~:~null~,~x~:~");
    memset(end, 'x', FILLER);
    end += FILLER;
    end += sprintf(end, "~}");
    for (int i = 0; i < LEVELS; i++)
        end += sprintf(end, "]}");
    sprintf(end, "}'}}");
    text = text_of(header, NULL, 0, 0);
    ck_assert_ptr_nonnull(strstr(text, "list of 1\n  [1]: list of 1\n"));
    ck_assert_str_eq(text + strlen(text) - 9, "[1]: ...\n");
    free(text);
    free(header);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("bundle");
    TCase *tests = tcase_create("bundle");

    tcase_add_test(tests, test_header_lies_in_the_file);
    tcase_add_test(tests, test_damaged_headers);
    tcase_add_test(tests, test_tensors_of_another_program);
    tcase_add_test(tests, test_a_table);
    tcase_add_test(tests, test_a_list);
    tcase_add_test(tests, test_bounds_of_the_text);
    tcase_add_test(tests, test_bounds_of_the_work);
    suite_add_tcase(suite, tests);
    return suite_run(suite);
}
