// SPDX-License-Identifier: Apache-2.0
/*
 * histogram.h - how often something took how long, in buckets that are always the same.
 */
#ifndef PYRMAPFS_HISTOGRAM_H
#define PYRMAPFS_HISTOGRAM_H

#include <stdint.h>
#include <time.h>

/* Bounds of 10 us to 100 s, two for each power of ten. */
enum { HISTOGRAM_BOUNDS = 15 };

/* All zeros is an empty one. */
struct histogram {
    uint64_t
        counts[HISTOGRAM_BOUNDS + 1]; /* up to each bound and above the one before; the last: above all */
    uint64_t sum_us;
};

void histogram_add(struct histogram *histogram, uint64_t us);

/* What lies between two times of one clock; 0 if it was set back in between. */
uint64_t histogram_us_between(const struct timespec *from, const struct timespec *to);

/* The n-th bound. */
uint64_t histogram_bound_us(unsigned n);

#endif
