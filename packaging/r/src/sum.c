// SPDX-License-Identifier: Apache-2.0
#include "sum.h"

#include "parallel.h"
#include <float.h>
#include <R_ext/Arith.h>

enum { LANES = 4 };

struct summing {
    const double *values;
    R_xlen_t count;
    long double sums[PARTS_MAX][LANES];
};

static void add(const double *values, R_xlen_t count, long double sums[LANES])
{
    long double a = sums[0], b = sums[1], c = sums[2], d = sums[3];
    R_xlen_t whole = count - count % LANES;
    for (R_xlen_t i = 0; i < whole; i += LANES) {
        a += values[i];
        b += values[i + 1];
        c += values[i + 2];
        d += values[i + 3];
    }
    for (R_xlen_t i = whole; i < count; i++)
        a += values[i];
    sums[0] = a;
    sums[1] = b;
    sums[2] = c;
    sums[3] = d;
}

static void sum_part(void *context, int part)
{
    struct summing *summing = context;
    R_xlen_t size = summing->count / PARTS_MAX, begin = size * part;
    add(summing->values + begin, part < PARTS_MAX - 1 ? size : summing->count - begin, summing->sums[part]);
}

double sum_large(const double *values, R_xlen_t count)
{
    /* Always so many parts: the result does not depend on the number of processors. */
    struct summing summing = {.values = values, .count = count};
    in_parallel(PARTS_MAX, sum_part, &summing);
    long double total = 0;
    for (int part = 0; part < PARTS_MAX; part++)
        for (int lane = 0; lane < LANES; lane++)
            total += summing.sums[part][lane];
    return total > DBL_MAX ? R_PosInf : total < -DBL_MAX ? R_NegInf : (double)total;
}
