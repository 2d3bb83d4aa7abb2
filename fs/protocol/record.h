// SPDX-License-Identifier: Apache-2.0
/*
 * record.h - the 128-byte record of a slot, as clients see it in metadata.bin, and the page of metadata.mem.
 *
 * The one definition of the layout: the R and Python packages take their constants from here (a test compares
 * them). All fields are little-endian; lengths count elements, sizes count bytes.
 *
 * A mapped page changes while clients read it. `change` is a sequence lock: the filesystem makes it odd,
 * stores the rest, the flag last, and makes it even and larger. A client's copy is whole if `change` was even
 * before the client made it and is the same afterwards: record_snapshot.
 */
#ifndef PYRMAPFS_RECORD_H
#define PYRMAPFS_RECORD_H

#include <assert.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "the record is little-endian and mapped as it is: this machine needs a conversion layer"
#endif

enum {
    RECORD_SIZE = 128,
    RECORD_PAGE_SIZE = 4096,
    RECORD_INLINE_MAX = 1984, /* a page has room for an array of so many bytes */
    RECORD_VERSION = 2,
    RECORD_VERSION_PYRMAP = 1, /* allowed in a write that ends before the fields that version 2 added */
    RECORD_VERSION_GONE =
        0, /* only in a mapped page: it will not change any more, the slot or the daemon is gone */
    RECORD_NDIM_MAX = 4,
    /* pread(2) of metadata.bin here answers the record and, behind it, the array of that side */
    RECORD_TAKE_INPUT = 1 << 28,
    RECORD_TAKE_RESULT = 1 << 29,
    /* pwrite(2) of metadata.bin here is one at 0 for the round that the record names, and for no other */
    RECORD_STEP_OF_ROUND = 1 << 20,
};

/* The flag is the state of the handshake as clients see it. */
enum record_flag {
    RECORD_FLAG_NONE = -1,  /* no input yet */
    RECORD_FLAG_INPUT = 0,  /* input ready, for the consumer */
    RECORD_FLAG_RESULT = 1, /* result ready, for the producer */
    RECORD_FLAG_FAILED = 2, /* the round failed, see the slot's error file */
};

/*
 * The one list of dtypes: X(NAME, code, name, type in C, in NumPy). `make generate` writes it for R and
 * Python. A bundle is bytes that hold several arrays (see pyrmapfs-bundle(5)); it has neither shape nor order.
 */
#define RECORD_DTYPES(X)                                                                                     \
    X(FLOAT32, 1, float32, float, "<f4")                                                                     \
    X(FLOAT64, 2, float64, double, "<f8")                                                                    \
    X(INT32, 3, int32, int32_t, "<i4")                                                                       \
    X(INT64, 4, int64, int64_t, "<i8")                                                                       \
    X(UINT8, 5, uint8, uint8_t, "|u1")                                                                       \
    X(BUNDLE, 6, bundle, uint8_t, NULL)

enum record_dtype {
    RECORD_DTYPE_SAME = 0, /* result_dtype on writing: the same as dtype */
#define RECORD_DTYPE(NAME, code, name, type, numpy) RECORD_##NAME = (code),
    RECORD_DTYPES(RECORD_DTYPE)
#undef RECORD_DTYPE
};

/* A length of -1 on writing means "all of the file". */
#define RECORD_LENGTH_ALL INT64_C(-1)

enum record_order {
    RECORD_ORDER_INPUT_F = 1u << 0,        /* input is column-major */
    RECORD_ORDER_RESULT_F = 1u << 1,       /* result is column-major */
    RECORD_ORDER_INPUT_LOGICAL = 1u << 2,  /* input is int32 that holds 0, 1 or R's NA */
    RECORD_ORDER_RESULT_LOGICAL = 1u << 3, /* result is */
    RECORD_ORDER_MASK = RECORD_ORDER_INPUT_F | RECORD_ORDER_RESULT_F | RECORD_ORDER_INPUT_LOGICAL |
                        RECORD_ORDER_RESULT_LOGICAL,
};

struct record {
    int32_t flag;    /* enum record_flag */
    int32_t version; /* RECORD_VERSION */
    int64_t input_length;
    int32_t dtype;        /* enum record_dtype */
    int32_t result_dtype; /* enum record_dtype */
    int64_t result_length;
    uint64_t round;      /* counts from 1; the filesystem sets it */
    int32_t input_ndim;  /* 0: a plain vector */
    int32_t result_ndim; /* 0: a plain vector */
    int64_t input_shape[RECORD_NDIM_MAX];
    int64_t result_shape[RECORD_NDIM_MAX];
    uint32_t order;         /* enum record_order bits */
    uint32_t change;        /* sequence lock and futex word; the filesystem sets it and all fields after it */
    uint16_t input_inline;  /* bytes of an input that stands in the page; 0: it stands in data.bin only */
    uint16_t result_inline; /* the same for the result */
    uint32_t task_change;   /* grows whenever the text in `task` changes */
};

/* metadata.mem. */
struct record_page {
    struct record record;
    uint8_t input[RECORD_INLINE_MAX];
    uint8_t result[RECORD_INLINE_MAX];
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
static_assert(offsetof(struct record, input_inline) == 120, "input_inline");
static_assert(offsetof(struct record, result_inline) == 122, "result_inline");
static_assert(offsetof(struct record, task_change) == 124, "task_change");
static_assert(sizeof(struct record_page) == RECORD_PAGE_SIZE, "a page");
static_assert(offsetof(struct record_page, input) == 128, "input");
static_assert(offsetof(struct record_page, result) == 2112, "result");

/*
 * Whether the page has not changed since the client made copy. Then everything that the client has read of
 * the page in between, such as an inline array, belongs to copy.
 */
static inline bool record_is_current(const struct record *page, const struct record *copy)
{
    /* Load the copy before this. */
    __atomic_thread_fence(__ATOMIC_ACQUIRE);
    return __atomic_load_n(&page->change, __ATOMIC_RELAXED) == copy->change;
}

/* Copies the record from a mapped page. Returns whether the copy is whole; if not, try again. */
static inline bool record_snapshot(const struct record *page, struct record *copy)
{
    uint32_t change = __atomic_load_n(&page->change, __ATOMIC_ACQUIRE);

    if (change & 1)
        return false;
    memcpy(copy, page, sizeof(*copy));
    copy->change = change;
    return record_is_current(page, copy);
}

/* ---- So far for clients: `make generate` makes pyrmap.h of it. The rest is the daemon's. ---- */

/* Bytes of one element; 0 for an unknown dtype. */
size_t record_dtype_size(int32_t dtype);

/* "float64" and so on, "same" for RECORD_DTYPE_SAME, "unknown" for the rest; never NULL. */
const char *record_dtype_name(int32_t dtype);

/* NumPy's name of it as .npy headers have it: "<f8"; NULL for an unknown dtype and a bundle. */
const char *record_dtype_numpy(int32_t dtype);

/* A name as above or its code in decimal. Returns the code or -EINVAL. */
int32_t record_dtype_parse(const char *name);

/* The record of a fresh slot. */
void record_init(struct record *record);

/* One of the two arrays, and the half of the record that describes it: length, dtype, ndim, shape, order. */
enum record_side {
    RECORD_SIDE_INPUT,
    RECORD_SIDE_RESULT,
};

/* Such a half, so that input and result share every rule. */
struct record_half {
    int64_t length;
    int64_t shape[RECORD_NDIM_MAX];
    int32_t dtype;
    int32_t ndim;
    uint32_t order; /* RECORD_ORDER_INPUT_ bits, for the result as well */
};

/* The half of one side. RECORD_DTYPE_SAME is replaced by the dtype that it stands for. */
struct record_half record_half(const struct record *record, enum record_side which);

/*
 * Checks everything that needs no file: known version, flag, dtypes and order bits, logical only with int32,
 * a bundle without shape and order, lengths of -1 or more, shapes whose product can be a length. Sets shape
 * entries beyond ndim to 0. Returns 0, or -EINVAL with the record unchanged.
 */
int record_check(struct record *record);

/*
 * Makes one side final for a file of file_size bytes: a length of -1 becomes all of the file, a result_dtype
 * of 0 becomes dtype; then length, element size, shape and file_size must agree exactly. Returns 0, or
 * -EINVAL with the record unchanged.
 */
int record_fit(struct record *record, enum record_side which, uint64_t file_size);

/*
 * Forgets one side: length -1, a plain vector, C order, not logical. The input keeps its dtype, the result's
 * becomes 0.
 */
void record_reset_side(struct record *record, enum record_side which);

void record_copy_side(struct record *to, const struct record *from, enum record_side which);

/* Describes to's input as from describes its result; for chains and moved segments. */
void record_result_to_input(struct record *to, const struct record *from);

/* What a write proposes. */
enum record_touched {
    RECORD_TOUCHED_FLAG = 1u << 0,   /* the write covers the flag, even if it does not change it */
    RECORD_TOUCHED_INPUT = 1u << 1,  /* the input side differs from the current one */
    RECORD_TOUCHED_RESULT = 1u << 2, /* the result side differs */
};

/* Bytes of the array that a write to metadata.bin carries behind the record. 0: it is the record alone. */
size_t record_array_size(size_t size, uint64_t offset);

/*
 * Makes a write at RECORD_STEP_OF_ROUND one at 0, and leaves others as they are. Returns 0, -ECANCELED if the
 * bytes name another round than the current one, or -EINVAL if they end before the round.
 */
int record_of_round(const struct record *current, const void *bytes, size_t size, uint64_t *offset);

/*
 * Whether a read of metadata.bin at offset takes an array, and which one. What the read answers is the mirror
 * image of a write that publishes: the record, and behind it the array.
 */
bool record_taken_side(uint64_t offset, enum record_side *side);

/*
 * Overlays current with size bytes at offset. Ignores what a client wrote into the filesystem's fields:
 * round, change and all after it. A write from the beginning that ends before the fields of version 2 may
 * have PyRMap's version. Returns 0, or -EINVAL with *proposed and *touched unchanged if the write leaves the
 * record or the merged record fails record_check. proposed may be current.
 */
int record_merge(const struct record *current, const void *bytes, size_t size, uint64_t offset,
                 struct record *proposed, uint32_t *touched);

/*
 * The end of every merge, of bytes or of text: checks the overlaid record. flag_touched is
 * RECORD_TOUCHED_FLAG or 0. Returns as record_merge does.
 */
int record_merge_end(const struct record *current, const struct record *overlaid, uint32_t flag_touched,
                     struct record *proposed, uint32_t *touched);

#endif
