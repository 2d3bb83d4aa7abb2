// SPDX-License-Identifier: Apache-2.0
/*
 * transpose.c - the first and the last dimension change places in tiles, for each index of those between.
 *
 * The lines that are read and the lines that are written of one tile fit the first cache together, however far
 * apart they lie.
 */
#include "transpose.h"

#include "protocol/record.h"

enum { TILE = 32 };

/* rows x columns, element (r, c) at from[r * row_step + c], to[r + c * column_step]. */
#define PLANE(name, TYPE)                                                                                    \
    static void name(const void *source, void *target, int64_t from_start, int64_t to_start, int64_t rows,   \
                     int64_t columns, int64_t row_step, int64_t column_step)                                 \
    {                                                                                                        \
        const TYPE *from = (const TYPE *)source + from_start;                                                \
        TYPE *to = (TYPE *)target + to_start;                                                                \
        for (int64_t r0 = 0; r0 < rows; r0 += TILE)                                                          \
            for (int64_t c0 = 0; c0 < columns; c0 += TILE)                                                   \
                for (int64_t c = c0; c < columns && c < c0 + TILE; c++)                                      \
                    for (int64_t r = r0; r < rows && r < r0 + TILE; r++)                                     \
                        to[r + c * column_step] = from[r * row_step + c];                                    \
    }

/* Whatever the type, values are moved as integers: a NaN keeps its bits. */
PLANE(plane_8, uint64_t)
PLANE(plane_4, uint32_t)
PLANE(plane_1, uint8_t)

void transpose(size_t element, int ndim, const int64_t *shape, const void *from, void *to)
{
    int64_t size[RECORD_NDIM_MAX] = {1, 1, 1, 1};
    /* Any number of dimensions as exactly four: first, two between, last. */
    size[0] = ndim > 1 ? shape[0] : 1;
    size[3] = shape[ndim - 1];
    for (int i = 1; i < ndim - 1; i++)
        size[i] = shape[i];
    int64_t row_step = size[1] * size[2] * size[3];
    int64_t column_step = size[0] * size[1] * size[2];
    for (int64_t i = 0; i < size[1]; i++) {
        for (int64_t j = 0; j < size[2]; j++) {
            int64_t from_start = (i * size[2] + j) * size[3], to_start = (i + j * size[1]) * size[0];
            if (element == 8)
                plane_8(from, to, from_start, to_start, size[0], size[3], row_step, column_step);
            else if (element == 4)
                plane_4(from, to, from_start, to_start, size[0], size[3], row_step, column_step);
            else
                plane_1(from, to, from_start, to_start, size[0], size[3], row_step, column_step);
        }
    }
}
