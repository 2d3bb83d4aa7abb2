// SPDX-License-Identifier: Apache-2.0
/*
 * sum.h - sum() of a large mapped vector.
 *
 * R adds one element after the other, in long double, and each addition waits for the one before it: that
 * takes four times as long as fetching the elements from memory. We compute several sums side by side, in long
 * double too and in as many threads as help: they do not wait for each other. The order of the additions is
 * not R's, and the last digit may differ, so we leave small vectors to R.
 */
#ifndef PYRMAP_SUM_H
#define PYRMAP_SUM_H

#include <Rinternals.h>

/* Elements from which on sum_large() is worth it. */
enum { SUM_LARGE = 1 << 25 };

/* NA and NaN make it NA or NaN, as R's own. */
double sum_large(const double *values, R_xlen_t count);

#endif
