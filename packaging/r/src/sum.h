// SPDX-License-Identifier: Apache-2.0
/*
 * sum.h - sum() of a large mapped vector.
 *
 * R adds one element after the other, in long double, and each addition waits for the one before it: that
 * takes four times as long as fetching the elements from memory. Several sums side by side, in long double
 * too and in as many threads as help, do not wait. Their order is not R's, and the last digit may differ, so
 * small vectors are left to R.
 */
#ifndef PYRMAP_SUM_H
#define PYRMAP_SUM_H

#include <Rinternals.h>

/* Elements from which on sum_large() is worth it. */
enum { SUM_LARGE = 1 << 25 };

/* NA and NaN make it NA or NaN, as R's own. */
double sum_large(const double *values, R_xlen_t count);

#endif
