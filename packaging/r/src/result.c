// SPDX-License-Identifier: Apache-2.0
/*
 * result.c - a published result as an R vector: mapped where R can use it as it lies, copied once where it
 * cannot.
 */
#include "bundle_read.h"
#include "convert.h"
#include "lend.h"
#include "transpose.h"
#include "vector.h"
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static _Noreturn void raise_loss(const char *function, size_t index, long long value)
{
    char digits[24];
    snprintf(digits, sizeof(digits), "%lld", value);
    SEXP place = PROTECT(Rf_ScalarReal((double)index + 1));
    raise_in_r(function, Rf_list2(place, PROTECT(Rf_mkString(digits))));
}

/* Raises an R error if R's type cannot hold a value: now, and not at the first use. values: the segment's. */
static void check_values(const struct vector *vector, const void *values)
{
    size_t count = (size_t)vector->length;
    if (vector->dtype == RECORD_INT64 && vector->widened) {
        size_t index = find_inexact(values, count);
        if (index < count)
            raise_loss("stop_inexact_result", index, ((const int64_t *)values)[index]);
    } else if (vector->type == LGLSXP) {
        size_t index = find_not_logical(values, count);
        if (index < count)
            raise_loss("stop_not_logical_result", index, ((const int32_t *)values)[index]);
    }
}

static R_xlen_t larger_than_one(const struct record *record)
{
    R_xlen_t count = 0;
    for (int i = 0; i < record->result_ndim; i++)
        count += record->result_shape[i] > 1;
    return count;
}

/* A copy of the values in R's order and type. */
static SEXP copy_values(const struct vector *vector, const struct record *record, const void *from,
                        bool column_major)
{
    SEXP values = PROTECT(Rf_allocVector(vector->type, vector->length));
    void *to = (void *)DATAPTR_RO(values);
    if (!column_major) {
        /* Elements that have their final size go straight to their place. */
        bool in_place = !vector->widened || vector->dtype == RECORD_INT64;
        void *turned = in_place ? to : (void *)R_alloc(vector->size, 1);
        transpose(record_dtype_size(vector->dtype), record->result_ndim, record->result_shape, from, turned);
        check_values(vector, turned);
        from = turned;
    }
    if (vector->widened)
        widen(vector->dtype, from, to, (size_t)vector->length);
    else if (from != to)
        memcpy(to, from, vector->size);
    UNPROTECT(1);
    return values;
}

/* The ordinary vector of a result that cannot stay where it is, at from, or NULL if it can. */
static SEXP copied_values(struct vector *vector, const struct record *record, const void *from)
{
    bool column_major = (record->order & RECORD_ORDER_RESULT_F) || larger_than_one(record) < 2;
    if (vector->length == 0)
        return Rf_allocVector(vector->type, 0);
    if (column_major)
        check_values(vector, from);
    if (column_major && vector->size >= VECTOR_MAPPED_LEAST && !mapped_enough())
        return R_NilValue;
    SEXP values = PROTECT(copy_values(vector, record, from, column_major));
    vector->copied = (size_t)vector->length * vector_element(vector);
    vector_unmap(vector);
    UNPROTECT(1);
    return values;
}

/* keep: 1-d arrays keep their dim (the input had one); else they are plain vectors. */
static void set_dim(SEXP x, const struct record *record, Rboolean keep)
{
    if (record->result_ndim < (keep ? 1 : 2))
        return;
    SEXP dim = PROTECT(Rf_allocVector(INTSXP, record->result_ndim));
    for (int i = 0; i < record->result_ndim; i++) {
        if (record->result_shape[i] > INT_MAX) {
            UNPROTECT(1);
            return;
        }
        INTEGER(dim)[i] = (int)record->result_shape[i];
    }
    Rf_setAttrib(x, R_DimSymbol, dim);
    UNPROTECT(1);
}

/*
 * At the end of a chain the filesystem takes the next result when a reader has closed this one. On the
 * page-cache path our mapping keeps its handle open: so we open and close another handle.
 */
static void say_taken(const struct slot *slot, const struct vector *vector)
{
    if (slot->chained && !slot->live && vector->address)
        close(slot_open_file(slot, "result.bin", O_RDONLY | O_NONBLOCK));
}

/*
 * *values: the values of a result that page describes. They stand in the page, or come behind the record in one
 * request, or are mapped. At a chain's end we never read the page: the filesystem does not see that. 0 or -errno.
 */
static int get_values(struct vector *vector, struct slot *slot, const struct record_page *page,
                      const void **values)
{
    static _Alignas(64) struct {
        struct record record;
        char array[VECTOR_MAPPED_LEAST];
    } taken;
    int error;
    if (page->record.result_inline == vector->size && !slot->chained) {
        *values = page->result;
        return 0;
    }
    if (vector->size >= VECTOR_MAPPED_LEAST) {
        error = vector_map(vector, slot, "result.bin", MAP_VIEW);
        *values = vector->address;
        return error;
    }
    error = slot_take_result(slot, &taken, sizeof(taken.record) + vector->size);
    *values = taken.array;
    /* Another program may have begun the next round. */
    if (!error && taken.record.round != vector->round)
        error = -EAGAIN;
    return error;
}

/* The members of a large bundle lie in its mapping. We unmap it if none of them does. */
static SEXP bundle_result(struct vector *vector, SEXP holder, int special, const void *from)
{
    struct bundle_reading reading = {
        .segment = from, .size = vector->size, .origin = vector->path, .special = special, .holder = holder};
    if (vector->size >= VECTOR_MAPPED_LEAST && !mapped_enough())
        reading.whole = vector;
    SEXP x = bundle_object(&reading);
    if (!reading.mapped)
        vector_unmap(vector);
    else if (!reading.foreign)
        array_remember(holder, x);
    return x;
}

/* A smaller result costs more to move than to copy, and the pool keeps a slot of that size anyway. */
enum { LENT_LEAST = 1 << 20 };

static void lend_large(struct slot *slot, const struct vector *vector, SEXP holder)
{
    if (vector->address && vector->size > LENT_LEAST && !vector->widened)
        lend_result(slot, holder);
}

SEXP pyrmap_slot_result(SEXP pointer, SEXP special, SEXP keep, SEXP round)
{
    struct slot *slot = slot_get(pointer);
    struct record_page page;
    const struct record *record = &page.record;
    int error = slot_outcome(slot, &page);
    if (error)
        raise_system(-error, "read the record of", slot->path);
    bool expected = round == R_NilValue || (double)record->round == Rf_asReal(round);
    if (!expected || (record->flag != RECORD_FLAG_RESULT && record->flag != RECORD_FLAG_FAILED))
        raise_in_r("stop_round_lost", Rf_list1(Rf_mkString(slot->path)));
    if (record->flag == RECORD_FLAG_FAILED) {
        slot->seen = record->round;
        return Rf_install("failed");
    }
    if (record_dtype_size(record->result_dtype) == 0)
        Rf_error("%s has a result of an unknown dtype", slot->path);
    int logical = record->order & RECORD_ORDER_RESULT_LOGICAL ? SPECIAL_LOGICAL : 0;
    struct vector *vector = vector_new(slot, record->result_dtype, Rf_asInteger(special) | logical,
                                       (R_xlen_t)record->result_length);
    SEXP holder = PROTECT(vector_pointer(vector, R_NilValue));
    vector->round = record->round;
    const void *from;
    error = get_values(vector, slot, &page, &from);
    if (error == -EAGAIN)
        raise_in_r("stop_round_lost", Rf_list1(Rf_mkString(slot->path)));
    if (error)
        raise_system(-error, "read the result of", slot->path);
    slot->seen = record->round;
    say_taken(slot, vector);
    slot->result_bytes = vector->size;
    if (vector->dtype == RECORD_BUNDLE) {
        SEXP bundle = PROTECT(bundle_result(vector, holder, Rf_asInteger(special), from));
        if (round == R_NilValue && vector->remembered)
            lend_large(slot, vector, holder);
        UNPROTECT(2);
        return bundle;
    }
    SEXP values = PROTECT(copied_values(vector, record, from));
    SEXP x = PROTECT(vector_wrap(holder, values));
    if (vector->integer64)
        Rf_setAttrib(x, R_ClassSymbol, PROTECT(Rf_mkString("integer64")));
    else
        PROTECT(R_NilValue);
    set_dim(x, record, Rf_asLogical(keep) == TRUE);
    if (round == R_NilValue)
        lend_large(slot, vector, holder);
    UNPROTECT(4);
    return x;
}
