// SPDX-License-Identifier: Apache-2.0
/*
 * record.h - the 128-byte record of a slot, as clients see it in metadata.bin.
 *
 * The one definition of the layout: the R and Python packages take their constants from here
 * (a test compares them). All fields are little-endian; lengths count elements, sizes count bytes.
 */
#ifndef PYRMAPFS_RECORD_H
#define PYRMAPFS_RECORD_H

#include <assert.h>
#include <stddef.h>
#include <stdint.h>

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "the record is little-endian and mapped as it is: this machine needs a conversion layer"
#endif

enum {
    RECORD_SIZE = 128,
    RECORD_VERSION = 1,
    RECORD_NDIM_MAX = 4,
};

/* The flag is the state of the handshake as clients see it. */
enum record_flag {
    RECORD_FLAG_NONE = -1,  /* no input yet */
    RECORD_FLAG_INPUT = 0,  /* input ready, for the consumer */
    RECORD_FLAG_RESULT = 1, /* result ready, for the producer */
    RECORD_FLAG_FAILED = 2, /* the round failed, see the slot's error file */
};

enum record_dtype {
    RECORD_DTYPE_SAME = 0, /* result_dtype on writing: the same as dtype */
    RECORD_FLOAT32 = 1,
    RECORD_FLOAT64 = 2,
    RECORD_INT32 = 3,
    RECORD_INT64 = 4,
    RECORD_UINT8 = 5,
};

/* A length of -1 on writing means "all of the file". */
#define RECORD_LENGTH_ALL INT64_C(-1)

enum record_order {
    RECORD_ORDER_INPUT_F = 1u << 0,  /* input is column-major */
    RECORD_ORDER_RESULT_F = 1u << 1, /* result is column-major */
    RECORD_ORDER_MASK = RECORD_ORDER_INPUT_F | RECORD_ORDER_RESULT_F,
};

struct record {
    int32_t flag;    /* enum record_flag */
    int32_t version; /* RECORD_VERSION */
    int64_t input_length;
    int32_t dtype;        /* enum record_dtype */
    int32_t result_dtype; /* enum record_dtype */
    int64_t result_length;
    uint64_t round;       /* counts from 1; the filesystem sets it */
    int32_t input_ndim;   /* 0: a plain vector */
    int32_t result_ndim;  /* 0: a plain vector */
    int64_t input_shape[RECORD_NDIM_MAX];
    int64_t result_shape[RECORD_NDIM_MAX];
    uint32_t order;  /* enum record_order bits */
    uint32_t change; /* futex word; the filesystem bumps it at every change */
    uint8_t reserved[8];
};

static_assert(sizeof(struct record) == RECORD_SIZE, "the record is 128 bytes");
static_assert(offsetof(struct record, flag) == 0, "flag");
static_assert(offsetof(struct record, version) == 4, "version");
static_assert(offsetof(struct record, input_length) == 8, "input_length");
static_assert(offsetof(struct record, dtype) == 16, "dtype");
static_assert(offsetof(struct record, result_dtype) == 20, "result_dtype");
static_assert(offsetof(struct record, result_length) == 24, "result_length");
static_assert(offsetof(struct record, round) == 32, "round");
static_assert(offsetof(struct record, input_ndim) == 40, "input_ndim");
static_assert(offsetof(struct record, result_ndim) == 44, "result_ndim");
static_assert(offsetof(struct record, input_shape) == 48, "input_shape");
static_assert(offsetof(struct record, result_shape) == 80, "result_shape");
static_assert(offsetof(struct record, order) == 112, "order");
static_assert(offsetof(struct record, change) == 116, "change");
static_assert(offsetof(struct record, reserved) == 120, "reserved");

#endif
