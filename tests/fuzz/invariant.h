// SPDX-License-Identifier: Apache-2.0
/*
 * invariant.h - what the fuzz targets share: the input as a stream of decisions, and a record's invariants.
 */
#ifndef PYRMAPFS_FUZZ_INVARIANT_H
#define PYRMAPFS_FUZZ_INVARIANT_H

#include "protocol/record.h"
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The entry point that libFuzzer calls. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define INVARIANT(holds)                                                                                     \
    do {                                                                                                     \
        if (!(holds)) {                                                                                      \
            fprintf(stderr, "%s:%d: does not hold: %s\n", __FILE__, __LINE__, #holds);                       \
            abort();                                                                                         \
        }                                                                                                    \
    } while (0)

/* The rest of the fuzzer's bytes. */
struct stream {
    const uint8_t *data;
    size_t size;
};

/* Takes size bytes, zeros where the input has ended. */
static inline void stream_take(struct stream *stream, void *to, size_t size)
{
    size_t got = size < stream->size ? size : stream->size;

    memset(to, 0, size);
    if (got)
        memcpy(to, stream->data, got);
    stream->data += got;
    stream->size -= got;
}

static inline uint8_t stream_byte(struct stream *stream)
{
    uint8_t byte;

    stream_take(stream, &byte, sizeof(byte));
    return byte;
}

/* A merge proposes only a valid record, and reports what it touches. */
static inline void check_merged(const struct record *before, const struct record *after, uint32_t touched)
{
    struct record again = *after, sides = *before;

    INVARIANT(record_check(&again) == 0);
    INVARIANT(memcmp(&again, after, sizeof(again)) == 0);
    INVARIANT(after->round == before->round && after->change == before->change);
    INVARIANT(after->flag == before->flag || touched & RECORD_TOUCHED_FLAG);
    if (touched & RECORD_TOUCHED_INPUT)
        record_copy_side(&sides, after, RECORD_SIDE_INPUT);
    if (touched & RECORD_TOUCHED_RESULT)
        record_copy_side(&sides, after, RECORD_SIDE_RESULT);
    sides.flag = after->flag;
    INVARIANT(memcmp(&sides, after, sizeof(sides)) == 0);
}

/* A side that fits a file describes each of its bytes, and fits it again. */
static inline void check_fit(const struct record *record, enum record_side side, uint64_t file_size)
{
    struct record fitted = *record;
    int64_t length;
    int32_t dtype;

    if (record_fit(&fitted, side, file_size) != 0) {
        INVARIANT(memcmp(&fitted, record, sizeof(fitted)) == 0);
        return;
    }
    length = side == RECORD_SIDE_INPUT ? fitted.input_length : fitted.result_length;
    dtype = side == RECORD_SIDE_INPUT ? fitted.dtype : fitted.result_dtype;
    INVARIANT(length >= 0 && (uint64_t)length * record_dtype_size(dtype) == file_size);
    INVARIANT(record_check(&fitted) == 0);
    INVARIANT(record_fit(&fitted, side, file_size) == 0);
    INVARIANT(record_fit(&fitted, side, file_size + record_dtype_size(dtype)) != 0);
}

#endif
