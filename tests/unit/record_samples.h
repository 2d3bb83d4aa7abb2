// SPDX-License-Identifier: Apache-2.0
/*
 * record_samples.h - records to start from, and checks that the tests of both forms of a write share.
 */
#ifndef PYRMAPFS_RECORD_SAMPLES_H
#define PYRMAPFS_RECORD_SAMPLES_H

#include "protocol/record.h"

#include <check.h>
#include <errno.h>
#include <string.h>

enum { TOUCHED_NOTHING = 0 };

static inline struct record fresh(void)
{
    struct record record;

    record_init(&record);
    return record;
}

/* A record with every field away from its fresh value. */
static inline struct record full(void)
{
    return (struct record){
        .flag = RECORD_FLAG_RESULT,
        .version = RECORD_VERSION,
        .input_length = 24,
        .dtype = RECORD_INT32,
        .result_dtype = RECORD_FLOAT32,
        .result_length = 12,
        .round = 7,
        .input_ndim = 4,
        .result_ndim = 2,
        .input_shape = {1, 2, 3, 4},
        .result_shape = {3, 4},
        .order = RECORD_ORDER_RESULT_F,
        .change = 99,
    };
}

static inline void expect_same(const struct record *a, const struct record *b)
{
    ck_assert_mem_eq(a, b, sizeof *a);
}

/* Fills a merge's outputs, so that the test sees a refused merge change them. */
static inline void spoil(struct record *proposed, uint32_t *touched)
{
    memset(proposed, 0xA5, sizeof *proposed);
    *touched = 0xA5A5A5A5u;
}

/* A refused merge says -EINVAL and leaves its outputs alone. */
static inline void expect_refused(int error, const struct record *proposed, const uint32_t *touched)
{
    struct record untouched;
    uint32_t spoilt;

    spoil(&untouched, &spoilt);
    ck_assert_int_eq(error, -EINVAL);
    expect_same(proposed, &untouched);
    ck_assert_uint_eq(*touched, spoilt);
}

/* The sides in which two records differ; the order bits are compared one by one. */
static inline uint32_t differing(const struct record *a, const struct record *b)
{
    uint32_t touched = 0;

    if (a->input_length != b->input_length || a->dtype != b->dtype || a->input_ndim != b->input_ndim ||
        memcmp(a->input_shape, b->input_shape, sizeof a->input_shape) != 0 || (a->order ^ b->order) & 5)
        touched |= RECORD_TOUCHED_INPUT;
    if (a->result_length != b->result_length || a->result_dtype != b->result_dtype ||
        a->result_ndim != b->result_ndim ||
        memcmp(a->result_shape, b->result_shape, sizeof a->result_shape) != 0 || (a->order ^ b->order) & 10)
        touched |= RECORD_TOUCHED_RESULT;
    return touched;
}

/* xorshift64*: the same sequence in every run. */
static inline uint64_t random_next(uint64_t *state)
{
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    return *state * UINT64_C(2685821657736338717);
}

/*
 * Whatever was written, expects a refusal, or a record that passes the check and keeps the protected fields.
 */
static inline unsigned expect_valid(int error, const struct record *current, const struct record *proposed,
                                    const uint32_t *touched)
{
    struct record checked;

    if (error) {
        expect_refused(error, proposed, touched);
        return 0;
    }
    checked = *proposed;
    ck_assert_int_eq(record_check(&checked), 0);
    expect_same(&checked, proposed);
    ck_assert_uint_eq(proposed->round, current->round);
    ck_assert_uint_eq(proposed->change, current->change);
    ck_assert_uint_eq(*touched & ~(uint32_t)RECORD_TOUCHED_FLAG, differing(current, proposed));
    return 1;
}

#endif
