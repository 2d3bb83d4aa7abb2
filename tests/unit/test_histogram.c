// SPDX-License-Identifier: Apache-2.0
/*
 * test_histogram.c - buckets: their bounds, and what goes into which.
 */
#include "base/histogram.h"

#include "suite.h"
#include <stdint.h>

START_TEST(test_bounds_grow)
{
    for (unsigned n = 1; n < HISTOGRAM_BOUNDS; n++)
        ck_assert_uint_gt(histogram_bound_us(n), histogram_bound_us(n - 1));
    ck_assert_uint_eq(histogram_bound_us(0), 10);
    ck_assert_uint_eq(histogram_bound_us(HISTOGRAM_BOUNDS - 1), 100000000);
}
END_TEST

/* As Prometheus has it: a bucket counts what is at most its bound. */
START_TEST(test_each_bucket)
{
    struct histogram histogram = {0};
    uint64_t sum = 0;

    for (unsigned n = 0; n < HISTOGRAM_BOUNDS; n++) {
        histogram_add(&histogram, histogram_bound_us(n));
        histogram_add(&histogram, histogram_bound_us(n) + 1);
        sum += 2 * histogram_bound_us(n) + 1;
    }
    ck_assert_uint_eq(histogram.counts[0], 1);
    for (unsigned n = 1; n < HISTOGRAM_BOUNDS; n++)
        ck_assert_uint_eq(histogram.counts[n], 2);
    ck_assert_uint_eq(histogram.counts[HISTOGRAM_BOUNDS], 1);
    ck_assert_uint_eq(histogram.sum_us, sum);
}
END_TEST

START_TEST(test_between)
{
    const struct timespec early = {.tv_sec = 10, .tv_nsec = 999999000};
    const struct timespec late = {.tv_sec = 12, .tv_nsec = 1000};

    ck_assert_uint_eq(histogram_us_between(&early, &late), 1000002);
    ck_assert_uint_eq(histogram_us_between(&early, &early), 0);
    ck_assert_uint_eq(histogram_us_between(&late, &early), 0);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("histogram");
    TCase *tests = tcase_create("histogram");

    tcase_add_test(tests, test_bounds_grow);
    tcase_add_test(tests, test_each_bucket);
    tcase_add_test(tests, test_between);
    suite_add_tcase(suite, tests);
    return suite_run(suite);
}
