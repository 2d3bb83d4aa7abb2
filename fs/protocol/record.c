// SPDX-License-Identifier: Apache-2.0
#include "protocol/record.h"

#include <errno.h>
#include <string.h>

struct dtype {
    const char *name;
    const char *numpy;
    size_t size;
};

static const struct dtype dtypes[] = {[RECORD_DTYPE_SAME] = {"same", NULL, 0},
#define DTYPE(NAME, code, name, type, numpy) [code] = {#name, (numpy), sizeof(type)},
                                      RECORD_DTYPES(DTYPE)
#undef DTYPE
};

enum { DTYPES = sizeof dtypes / sizeof dtypes[0] };

enum {
    /* The bits of the result are RESULT_SHIFT higher. */
    INPUT_BITS = RECORD_ORDER_INPUT_F | RECORD_ORDER_INPUT_LOGICAL,
    RESULT_SHIFT = 1,
};

static_assert((INPUT_BITS << RESULT_SHIFT | INPUT_BITS) == RECORD_ORDER_MASK, "the sides have the same bits");

static int order_shift(enum record_side which)
{
    return which == RECORD_SIDE_INPUT ? 0 : RESULT_SHIFT;
}

static struct record_half side_get(const struct record *record, enum record_side which)
{
    struct record_half side;

    if (which == RECORD_SIDE_INPUT) {
        side.length = record->input_length;
        side.dtype = record->dtype;
        side.ndim = record->input_ndim;
        memcpy(side.shape, record->input_shape, sizeof side.shape);
    } else {
        side.length = record->result_length;
        side.dtype = record->result_dtype;
        side.ndim = record->result_ndim;
        memcpy(side.shape, record->result_shape, sizeof side.shape);
    }
    side.order = record->order >> order_shift(which) & INPUT_BITS;
    return side;
}

static void side_put(struct record *record, enum record_side which, const struct record_half *side)
{
    if (which == RECORD_SIDE_INPUT) {
        record->input_length = side->length;
        record->dtype = side->dtype;
        record->input_ndim = side->ndim;
        memcpy(record->input_shape, side->shape, sizeof side->shape);
    } else {
        record->result_length = side->length;
        record->result_dtype = side->dtype;
        record->result_ndim = side->ndim;
        memcpy(record->result_shape, side->shape, sizeof side->shape);
    }
    record->order &= ~((uint32_t)INPUT_BITS << order_shift(which));
    record->order |= side->order << order_shift(which);
}

/* Expects checked sides, whose unused shape entries are zero. */
static int side_differs(const struct record_half *a, const struct record_half *b)
{
    return a->length != b->length || a->dtype != b->dtype || a->ndim != b->ndim || a->order != b->order ||
           memcmp(a->shape, b->shape, sizeof a->shape) != 0;
}

/*
 * The product of the shape. -EINVAL if an entry is negative or the product exceeds every length; a zero among
 * the entries does not excuse the others, as in NumPy.
 */
static int64_t side_product(const struct record_half *side)
{
    int64_t product = 1;
    int64_t empty = 0;

    if (side->ndim < 0 || side->ndim > RECORD_NDIM_MAX)
        return -EINVAL;
    for (int32_t i = 0; i < side->ndim; i++) {
        if (!side->shape[i])
            empty = 1;
        else if (side->shape[i] < 0 || __builtin_mul_overflow(product, side->shape[i], &product))
            return -EINVAL;
    }
    return empty ? 0 : product;
}

/* dtype is the side's, or the one that RECORD_DTYPE_SAME stands for. */
static int side_check(struct record_half *side, int32_t dtype)
{
    if (side->order & RECORD_ORDER_INPUT_LOGICAL && dtype != RECORD_INT32)
        return -EINVAL;
    if (dtype == RECORD_BUNDLE && (side->ndim || side->order))
        return -EINVAL;
    if (side->length < RECORD_LENGTH_ALL || side_product(side) < 0)
        return -EINVAL;
    for (int32_t i = side->ndim; i < RECORD_NDIM_MAX; i++)
        side->shape[i] = 0;
    return 0;
}

static int side_fit(struct record_half *side, uint64_t file_size)
{
    uint64_t element = record_dtype_size(side->dtype);
    uint64_t elements;
    int64_t product;

    if (!element || file_size > INT64_MAX || file_size % element)
        return -EINVAL;
    elements = file_size / element;
    if (side->length == RECORD_LENGTH_ALL)
        side->length = (int64_t)elements;
    if (side->length < 0 || (uint64_t)side->length != elements)
        return -EINVAL;
    product = side_product(side);
    if (product < 0 || (side->ndim > 0 && product != side->length))
        return -EINVAL;
    return 0;
}

size_t record_dtype_size(int32_t dtype)
{
    return dtype >= 0 && dtype < DTYPES ? dtypes[dtype].size : 0;
}

const char *record_dtype_name(int32_t dtype)
{
    return dtype >= 0 && dtype < DTYPES ? dtypes[dtype].name : "unknown";
}

const char *record_dtype_numpy(int32_t dtype)
{
    return dtype >= 0 && dtype < DTYPES ? dtypes[dtype].numpy : NULL;
}

int32_t record_dtype_parse(const char *name)
{
    for (int32_t i = 0; i < DTYPES; i++) {
        if (!strcmp(name, dtypes[i].name) || (name[0] == '0' + i && !name[1]))
            return i;
    }
    return -EINVAL;
}

void record_init(struct record *record)
{
    *record = (struct record){
        .flag = RECORD_FLAG_NONE,
        .version = RECORD_VERSION,
        .input_length = RECORD_LENGTH_ALL,
        .dtype = RECORD_FLOAT64,
        .result_length = RECORD_LENGTH_ALL,
        .round = 1,
    };
}

int record_check(struct record *record)
{
    struct record_half input = side_get(record, RECORD_SIDE_INPUT);
    struct record_half result = side_get(record, RECORD_SIDE_RESULT);

    if (record->version != RECORD_VERSION || record->flag < RECORD_FLAG_NONE ||
        record->flag > RECORD_FLAG_FAILED)
        return -EINVAL;
    if (!record_dtype_size(input.dtype))
        return -EINVAL;
    if (result.dtype != RECORD_DTYPE_SAME && !record_dtype_size(result.dtype))
        return -EINVAL;
    if (record->order & ~(uint32_t)RECORD_ORDER_MASK)
        return -EINVAL;
    if (side_check(&input, input.dtype) ||
        side_check(&result, result.dtype == RECORD_DTYPE_SAME ? input.dtype : result.dtype))
        return -EINVAL;
    side_put(record, RECORD_SIDE_INPUT, &input);
    side_put(record, RECORD_SIDE_RESULT, &result);
    return 0;
}

struct record_half record_half(const struct record *record, enum record_side which)
{
    struct record_half half = side_get(record, which);

    if (half.dtype == RECORD_DTYPE_SAME)
        half.dtype = record->dtype;
    return half;
}

int record_fit(struct record *record, enum record_side which, uint64_t file_size)
{
    struct record_half side = record_half(record, which);
    int error = side_fit(&side, file_size);

    if (error)
        return error;
    side_put(record, which, &side);
    return 0;
}

void record_reset_side(struct record *record, enum record_side which)
{
    struct record_half empty = {
        .length = RECORD_LENGTH_ALL,
        .dtype = which == RECORD_SIDE_INPUT ? record->dtype : RECORD_DTYPE_SAME,
    };

    side_put(record, which, &empty);
}

void record_copy_side(struct record *to, const struct record *from, enum record_side which)
{
    struct record_half side = side_get(from, which);

    side_put(to, which, &side);
}

void record_result_to_input(struct record *to, const struct record *from)
{
    struct record_half side = side_get(from, RECORD_SIDE_RESULT);

    if (side.dtype == RECORD_DTYPE_SAME)
        side.dtype = from->dtype;
    side_put(to, RECORD_SIDE_INPUT, &side);
}

size_t record_array_size(size_t size, uint64_t offset)
{
    return offset == 0 && size > RECORD_SIZE ? size - RECORD_SIZE : 0;
}

int record_of_round(const struct record *current, const void *bytes, size_t size, uint64_t *offset)
{
    uint64_t round;

    if (*offset != RECORD_STEP_OF_ROUND)
        return 0;
    if (size < offsetof(struct record, round) + sizeof(round))
        return -EINVAL;
    memcpy(&round, (const uint8_t *)bytes + offsetof(struct record, round), sizeof(round));
    *offset = 0;
    return round == current->round ? 0 : -ECANCELED;
}

bool record_taken_side(uint64_t offset, enum record_side *side)
{
    *side = offset == RECORD_TAKE_RESULT ? RECORD_SIDE_RESULT : RECORD_SIDE_INPUT;
    return offset == RECORD_TAKE_INPUT || offset == RECORD_TAKE_RESULT;
}

/*
 * PyRMap writes the first 20 bytes, with version 1. We allow that version in a write that ends before the
 * fields that version 2 added.
 */
static bool is_header_of_old(const struct record *overlaid, size_t size, uint64_t offset)
{
    return offset == 0 && size <= offsetof(struct record, input_inline) &&
           overlaid->version == RECORD_VERSION_PYRMAP;
}

int record_merge(const struct record *current, const void *bytes, size_t size, uint64_t offset,
                 struct record *proposed, uint32_t *touched)
{
    struct record overlaid = *current;
    uint32_t flag_touched = 0;

    if (offset > RECORD_SIZE || size > RECORD_SIZE - offset)
        return -EINVAL;
    if (size) {
        memcpy((uint8_t *)&overlaid + offset, bytes, size);
        if (is_header_of_old(&overlaid, size, offset))
            overlaid.version = RECORD_VERSION;
        if (offset < sizeof overlaid.flag)
            flag_touched = RECORD_TOUCHED_FLAG;
    }
    return record_merge_end(current, &overlaid, flag_touched, proposed, touched);
}

/* Ignore what a client writes into the fields that the filesystem sets. */
static void keep_own_fields(struct record *merged, const struct record *current)
{
    merged->round = current->round;
    merged->change = current->change;
    merged->input_inline = current->input_inline;
    merged->result_inline = current->result_inline;
    merged->task_change = current->task_change;
}

int record_merge_end(const struct record *current, const struct record *overlaid, uint32_t flag_touched,
                     struct record *proposed, uint32_t *touched)
{
    static const struct {
        enum record_side side;
        uint32_t touched;
    } sides[] = {
        {RECORD_SIDE_INPUT, RECORD_TOUCHED_INPUT},
        {RECORD_SIDE_RESULT, RECORD_TOUCHED_RESULT},
    };
    struct record merged = *overlaid;
    uint32_t found = flag_touched;
    int error;

    keep_own_fields(&merged, current);
    error = record_check(&merged);
    if (error)
        return error;
    for (size_t i = 0; i < sizeof sides / sizeof sides[0]; i++) {
        struct record_half before = side_get(current, sides[i].side);
        struct record_half after = side_get(&merged, sides[i].side);

        if (side_differs(&before, &after))
            found |= sides[i].touched;
    }
    *proposed = merged;
    *touched = found;
    return 0;
}
