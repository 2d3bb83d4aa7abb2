// SPDX-License-Identifier: Apache-2.0
/*
 * transpose.c - the first and the last dimension change places in tiles, the ones between are walked.
 *
 * Of each tile both the lines read and the lines written fit the first cache, whichever of the two is far
 * apart.
 */
#include "transpose.h"

enum { TILE = 32 };

SEXPTYPE r_type(int32_t dtype)
{
    switch ((enum record_dtype)dtype) {
    case RECORD_INT32:
        return INTSXP;
    case RECORD_UINT8:
        return RAWSXP;
    case RECORD_FLOAT32:
    case RECORD_FLOAT64:
    case RECORD_INT64:
    case RECORD_DTYPE_SAME:
        break;
    }
    return REALSXP;
}

/* rows x columns, element (r, c) at from[r * row_step + c], to[r + c * column_step]. */
#define PLANE(name, FROM, TO)                                                                                \
    static void name(const void *source, void *target, int64_t from_start, int64_t to_start, int64_t rows,   \
                     int64_t columns, int64_t row_step, int64_t column_step)                                 \
    {                                                                                                        \
        const FROM *from = (const FROM *)source + from_start;                                                \
        TO *to = (TO *)target + to_start;                                                                    \
        for (int64_t r0 = 0; r0 < rows; r0 += TILE)                                                          \
            for (int64_t c0 = 0; c0 < columns; c0 += TILE)                                                   \
                for (int64_t c = c0; c < columns && c < c0 + TILE; c++)                                      \
                    for (int64_t r = r0; r < rows && r < r0 + TILE; r++)                                     \
                        to[r + c * column_step] = (TO)from[r * row_step + c];                                \
    }

/* 8-byte values are moved as integers: a NaN keeps its bits. */
PLANE(plane_8, uint64_t, uint64_t)
PLANE(plane_4, uint32_t, uint32_t)
PLANE(plane_1, uint8_t, uint8_t)
PLANE(plane_float, float, double)

typedef void plane(const void *source, void *target, int64_t from_start, int64_t to_start, int64_t rows,
                   int64_t columns, int64_t row_step, int64_t column_step);

static plane *plane_for(int32_t dtype)
{
    switch ((enum record_dtype)dtype) {
    case RECORD_FLOAT32:
        return plane_float;
    case RECORD_INT32:
        return plane_4;
    case RECORD_UINT8:
        return plane_1;
    case RECORD_FLOAT64:
    case RECORD_INT64:
    case RECORD_DTYPE_SAME:
        break;
    }
    return plane_8;
}

void transpose(int32_t dtype, int ndim, const int64_t *shape, const void *from, void *to)
{
    int64_t size[RECORD_NDIM_MAX] = {1, 1, 1, 1};
    /* Any number of dimensions as exactly four: first, two between, last. */
    size[0] = ndim > 1 ? shape[0] : 1;
    size[3] = shape[ndim - 1];
    for (int i = 1; i < ndim - 1; i++)
        size[i] = shape[i];
    int64_t row_step = size[1] * size[2] * size[3];
    int64_t column_step = size[0] * size[1] * size[2];
    plane *copy = plane_for(dtype);
    for (int64_t i = 0; i < size[1]; i++)
        for (int64_t j = 0; j < size[2]; j++)
            copy(from, to, (i * size[2] + j) * size[3], (i + j * size[1]) * size[0], size[0], size[3],
                 row_step, column_step);
}
