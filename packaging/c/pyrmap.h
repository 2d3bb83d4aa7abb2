// SPDX-License-Identifier: Apache-2.0
/*
 * pyrmap.h - the record of a slot of pyrmapfs and its page, for clients in C11 and C++11. pyrmapfs(7) says what they mean.
 *
 * Generated from fs/protocol/record.h.
 */
#ifndef PYRMAP_H
#define PYRMAP_H

#include <assert.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "the record is little-endian and mapped as it is: this machine needs a conversion layer"
#endif

enum {
    PYRMAP_SIZE = 128,
    PYRMAP_PAGE_SIZE = 4096,
    PYRMAP_INLINE_MAX = 1984, /* a page has room for an array of so many bytes */
    PYRMAP_VERSION = 2,
    PYRMAP_VERSION_PYRMAP = 1, /* allowed in a write that ends before the fields that version 2 added */
    PYRMAP_VERSION_GONE =
        0, /* only in a mapped page: it will not change any more, the slot or the daemon is gone */
    PYRMAP_NDIM_MAX = 4,
    /* pread(2) of metadata.bin here answers the record and, behind it, the array of that side */
    PYRMAP_TAKE_INPUT = 1 << 28,
    PYRMAP_TAKE_RESULT = 1 << 29,
    /* pwrite(2) of metadata.bin here is one at 0 for the round that the record names, and for no other */
    PYRMAP_STEP_OF_ROUND = 1 << 20,
};

/* The flag is the state of the handshake as clients see it. */
enum pyrmap_flag {
    PYRMAP_FLAG_NONE = -1,  /* no input yet */
    PYRMAP_FLAG_INPUT = 0,  /* input ready, for the consumer */
    PYRMAP_FLAG_RESULT = 1, /* result ready, for the producer */
    PYRMAP_FLAG_FAILED = 2, /* the round failed, see the slot's error file */
};

/*
 * The one list of dtypes: X(NAME, code, name, type in C, in NumPy). `make generate` writes it for R and
 * Python. A bundle is bytes that hold several arrays (see pyrmapfs-bundle(5)); it has neither shape nor order.
 */
#define PYRMAP_DTYPES(X)                                                                                     \
    X(FLOAT32, 1, float32, float, "<f4")                                                                     \
    X(FLOAT64, 2, float64, double, "<f8")                                                                    \
    X(INT32, 3, int32, int32_t, "<i4")                                                                       \
    X(INT64, 4, int64, int64_t, "<i8")                                                                       \
    X(UINT8, 5, uint8, uint8_t, "|u1")                                                                       \
    X(BUNDLE, 6, bundle, uint8_t, NULL)

enum pyrmap_dtype {
    PYRMAP_DTYPE_SAME = 0, /* result_dtype on writing: the same as dtype */
#define PYRMAP_DTYPE(NAME, code, name, type, numpy) PYRMAP_##NAME = (code),
    PYRMAP_DTYPES(PYRMAP_DTYPE)
#undef PYRMAP_DTYPE
};

/* A length of -1 on writing means "all of the file". */
#define PYRMAP_LENGTH_ALL INT64_C(-1)

enum pyrmap_order {
    PYRMAP_ORDER_INPUT_F = 1u << 0,        /* input is column-major */
    PYRMAP_ORDER_RESULT_F = 1u << 1,       /* result is column-major */
    PYRMAP_ORDER_INPUT_LOGICAL = 1u << 2,  /* input is int32 that holds 0, 1 or R's NA */
    PYRMAP_ORDER_RESULT_LOGICAL = 1u << 3, /* result is */
    PYRMAP_ORDER_MASK = PYRMAP_ORDER_INPUT_F | PYRMAP_ORDER_RESULT_F | PYRMAP_ORDER_INPUT_LOGICAL |
                        PYRMAP_ORDER_RESULT_LOGICAL,
};

struct pyrmap_record {
    int32_t flag;    /* enum pyrmap_flag */
    int32_t version; /* PYRMAP_VERSION */
    int64_t input_length;
    int32_t dtype;        /* enum pyrmap_dtype */
    int32_t result_dtype; /* enum pyrmap_dtype */
    int64_t result_length;
    uint64_t round;      /* counts from 1; the filesystem sets it */
    int32_t input_ndim;  /* 0: a plain vector */
    int32_t result_ndim; /* 0: a plain vector */
    int64_t input_shape[PYRMAP_NDIM_MAX];
    int64_t result_shape[PYRMAP_NDIM_MAX];
    uint32_t order;         /* enum pyrmap_order bits */
    uint32_t change;        /* sequence lock and futex word; the filesystem sets it and all fields after it */
    uint16_t input_inline;  /* bytes of an input that stands in the page; 0: it stands in data.bin only */
    uint16_t result_inline; /* the same for the result */
    uint32_t task_change;   /* grows whenever the text in `task` changes */
};

/* metadata.mem. */
struct pyrmap_page {
    struct pyrmap_record record;
    uint8_t input[PYRMAP_INLINE_MAX];
    uint8_t result[PYRMAP_INLINE_MAX];
};

static_assert(sizeof(struct pyrmap_record) == PYRMAP_SIZE, "the record is 128 bytes");
static_assert(offsetof(struct pyrmap_record, flag) == 0, "flag");
static_assert(offsetof(struct pyrmap_record, version) == 4, "version");
static_assert(offsetof(struct pyrmap_record, input_length) == 8, "input_length");
static_assert(offsetof(struct pyrmap_record, dtype) == 16, "dtype");
static_assert(offsetof(struct pyrmap_record, result_dtype) == 20, "result_dtype");
static_assert(offsetof(struct pyrmap_record, result_length) == 24, "result_length");
static_assert(offsetof(struct pyrmap_record, round) == 32, "round");
static_assert(offsetof(struct pyrmap_record, input_ndim) == 40, "input_ndim");
static_assert(offsetof(struct pyrmap_record, result_ndim) == 44, "result_ndim");
static_assert(offsetof(struct pyrmap_record, input_shape) == 48, "input_shape");
static_assert(offsetof(struct pyrmap_record, result_shape) == 80, "result_shape");
static_assert(offsetof(struct pyrmap_record, order) == 112, "order");
static_assert(offsetof(struct pyrmap_record, change) == 116, "change");
static_assert(offsetof(struct pyrmap_record, input_inline) == 120, "input_inline");
static_assert(offsetof(struct pyrmap_record, result_inline) == 122, "result_inline");
static_assert(offsetof(struct pyrmap_record, task_change) == 124, "task_change");
static_assert(sizeof(struct pyrmap_page) == PYRMAP_PAGE_SIZE, "a page");
static_assert(offsetof(struct pyrmap_page, input) == 128, "input");
static_assert(offsetof(struct pyrmap_page, result) == 2112, "result");

/*
 * Whether the page has not changed since the client made copy. Then everything that the client has read of
 * the page in between, such as an inline array, belongs to copy.
 */
static inline bool pyrmap_is_current(const struct pyrmap_record *page, const struct pyrmap_record *copy)
{
    /* Load the copy before this. */
    __atomic_thread_fence(__ATOMIC_ACQUIRE);
    return __atomic_load_n(&page->change, __ATOMIC_RELAXED) == copy->change;
}

/* Copies the record from a mapped page. Returns whether the copy is whole; if not, try again. */
static inline bool pyrmap_snapshot(const struct pyrmap_record *page, struct pyrmap_record *copy)
{
    uint32_t change = __atomic_load_n(&page->change, __ATOMIC_ACQUIRE);

    if (change & 1)
        return false;
    memcpy(copy, page, sizeof(*copy));
    copy->change = change;
    return pyrmap_is_current(page, copy);
}

#endif
