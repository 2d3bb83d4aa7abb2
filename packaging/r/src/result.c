// SPDX-License-Identifier: Apache-2.0
/*
 * result.c - a published result as an R vector: mapped where R can use it as it lies, copied once where it
 * cannot.
 */
#include "convert.h"
#include "transpose.h"
#include "vector.h"
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* Whether int64 arrives as bit64's class or as double, exact or an error. */
enum int64_as { INT64_AS_DOUBLE, INT64_AS_BIT64 };

/* int64 where bit64 is not installed: exact doubles, or an R error that names the index. */
static SEXP int64_as_double(const struct vector *vector, const int64_t *from)
{
    SEXP values = PROTECT(Rf_allocVector(REALSXP, vector->length));
    size_t done = convert_int64_to_double(from, REAL(values), (size_t)vector->length);
    if (done < (size_t)vector->length) {
        char digits[24];
        snprintf(digits, sizeof(digits), "%lld", (long long)from[done]);
        raise_in_r("stop_lossy_result",
                   Rf_list2(PROTECT(Rf_ScalarReal((double)done + 1)), Rf_mkString(digits)));
    }
    UNPROTECT(1);
    return values;
}

static R_xlen_t larger_than_one(const struct record *record)
{
    R_xlen_t count = 0;
    for (int i = 0; i < record->result_ndim; i++)
        count += record->result_shape[i] > 1;
    return count;
}

/* The ordinary vector of a result that cannot stay where it is, or NULL if it can. */
static SEXP copied_values(struct vector *vector, const struct record *record, enum int64_as int64)
{
    bool column_major = (record->order & RECORD_ORDER_RESULT_F) || larger_than_one(record) < 2;
    bool digits = vector->dtype == RECORD_INT64 && int64 == INT64_AS_DOUBLE;
    if (vector->length == 0)
        return Rf_allocVector(r_type(vector->dtype), 0);
    if (column_major && !digits && !mapped_enough())
        return R_NilValue;
    SEXP values;
    if (column_major && digits) {
        values = PROTECT(int64_as_double(vector, vector->address));
    } else {
        values = PROTECT(Rf_allocVector(r_type(vector->dtype), vector->length));
        transpose(vector->dtype, column_major ? 1 : record->result_ndim,
                  column_major ? &vector->length : record->result_shape, vector->address,
                  (void *)DATAPTR_RO(values));
    }
    vector->copied =
        (size_t)vector->length * (r_type(vector->dtype) == REALSXP ? 8 : record_dtype_size(vector->dtype));
    if (!column_major && digits)
        values = int64_as_double(vector, (const int64_t *)DATAPTR_RO(values));
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
 * The next result of a chain's end is let in when a reader closed this one. On the page-cache path a mapping
 * keeps its handle open: another handle says it.
 */
static void close_reader(const struct slot *slot)
{
    int fd = slot_open_file(slot, "result.bin", O_RDONLY | O_NONBLOCK);
    if (fd >= 0)
        close(fd);
}

SEXP pyrmap_slot_result(SEXP pointer, SEXP bit64, SEXP keep, SEXP round)
{
    struct slot *slot = slot_get(pointer);
    enum int64_as int64 = Rf_asLogical(bit64) == TRUE ? INT64_AS_BIT64 : INT64_AS_DOUBLE;
    struct record record;
    int error = slot_outcome(slot, &record);
    if (error)
        raise_system(-error, "read the record of", slot->path);
    bool expected = round == R_NilValue || (double)record.round == Rf_asReal(round);
    if (!expected || (record.flag != RECORD_FLAG_RESULT && record.flag != RECORD_FLAG_FAILED))
        raise_in_r("stop_round_lost", Rf_list1(Rf_mkString(slot->path)));
    if (record.flag == RECORD_FLAG_FAILED) {
        slot->seen = record.round;
        return R_NilValue;
    }
    if (record_dtype_size(record.result_dtype) == 0)
        Rf_error("%s has a result of an unknown dtype", slot->path);
    struct vector *vector = vector_new(slot, record.result_dtype, (R_xlen_t)record.result_length);
    SEXP holder = PROTECT(vector_pointer(vector, R_NilValue));
    vector->round = record.round;
    error = vector_map(vector, slot, "result.bin", MAP_VIEW);
    if (error)
        raise_system(-error, "map the result of", slot->path);
    slot->seen = record.round;
    if (slot->chained && !slot->live && vector->address)
        close_reader(slot);
    SEXP x = PROTECT(vector_wrap(holder, PROTECT(copied_values(vector, &record, int64))));
    if (vector->dtype == RECORD_INT64 && int64 == INT64_AS_BIT64)
        Rf_setAttrib(x, R_ClassSymbol, PROTECT(Rf_mkString("integer64")));
    else
        PROTECT(R_NilValue);
    set_dim(x, &record, Rf_asLogical(keep) == TRUE);
    UNPROTECT(4);
    return x;
}
