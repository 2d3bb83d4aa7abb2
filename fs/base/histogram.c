// SPDX-License-Identifier: Apache-2.0
#include "base/histogram.h"

static const uint64_t bounds_us[HISTOGRAM_BOUNDS] = {
    10,     30,     100,     300,     1000,     3000,     10000,     30000,
    100000, 300000, 1000000, 3000000, 10000000, 30000000, 100000000,
};

uint64_t histogram_bound_us(unsigned n)
{
    return bounds_us[n];
}

void histogram_add(struct histogram *histogram, uint64_t us)
{
    unsigned n = 0;

    while (n < HISTOGRAM_BOUNDS && us > bounds_us[n])
        n++;
    histogram->counts[n]++;
    histogram->sum_us += us;
}

uint64_t histogram_us_between(const struct timespec *from, const struct timespec *to)
{
    int64_t us = (int64_t)(to->tv_sec - from->tv_sec) * 1000000 + (to->tv_nsec - from->tv_nsec) / 1000;

    return us > 0 ? (uint64_t)us : 0;
}
