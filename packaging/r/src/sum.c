// SPDX-License-Identifier: Apache-2.0
#include "sum.h"

#include <float.h>
#include <R_ext/Arith.h>
#include <R_ext/Utils.h>

enum { LANES = 4, PIECE = 1 << 22 };

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

double sum_large(const double *values, R_xlen_t count)
{
    long double sums[LANES] = {0};
    for (R_xlen_t done = 0; done < count; done += PIECE) {
        R_xlen_t left = count - done;
        add(values + done, left < PIECE ? left : PIECE, sums);
        R_CheckUserInterrupt();
    }
    long double total = 0;
    for (int lane = 0; lane < LANES; lane++)
        total += sums[lane];
    return total > DBL_MAX ? R_PosInf : total < -DBL_MAX ? R_NegInf : (double)total;
}
