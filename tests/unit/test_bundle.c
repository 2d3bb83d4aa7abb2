// SPDX-License-Identifier: Apache-2.0
/*
 * test_bundle.c - bundles: where the header has to lie.
 */
#include "protocol/bundle.h"

#include "suite.h"
#include <string.h>

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

int main(void)
{
    Suite *suite = suite_create("bundle");
    TCase *tests = tcase_create("bundle");

    tcase_add_test(tests, test_header_lies_in_the_file);
    suite_add_tcase(suite, tests);
    return suite_run(suite);
}
