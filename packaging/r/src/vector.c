// SPDX-License-Identifier: Apache-2.0
/*
 * vector.c - the ALTREP classes: one for each of R's types that a segment can be.
 */
#include "vector.h"

#include "collect.h"
#include "convert.h"
#include "lend.h"
#include "map.h"
#include "reference.h"
#include "sum.h"
#include "text_vector.h"
#include <errno.h>
#include <fcntl.h>
#include <R_ext/Altrep.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/*
 * R's collector does not know of mapped bytes. We run it when this share of the arena, or this many mappings,
 * are in use beyond what it left when we ran it last.
 */
enum { ARENA_SHARE = 8, MAPPINGS_BETWEEN = 4096, LIVE_MAX = 16384 };

struct mapped {
    size_t bytes;
    unsigned count;
};

static struct mapped live;
static struct mapped collected; /* what was live after the last collection */

static R_altrep_class_t real_class;
static R_altrep_class_t integer_class;
static R_altrep_class_t logical_class;
static R_altrep_class_t raw_class;

struct vector *vector_of(SEXP x)
{
    return R_ExternalPtrAddr(R_altrep_data1(x));
}

bool is_vector(SEXP x)
{
    return ALTREP(x) &&
           (R_altrep_inherits(x, real_class) || R_altrep_inherits(x, integer_class) ||
            R_altrep_inherits(x, logical_class) || R_altrep_inherits(x, raw_class) || is_text_vector(x));
}

void mapped_account(const struct slot *slot, size_t size)
{
    if (live.bytes + size > collected.bytes + slot->capacity / ARENA_SHARE ||
        live.count > collected.count + MAPPINGS_BETWEEN) {
        R_gc();
        collected = live;
    }
    /* R may have collected by itself meanwhile: we count from what that left. */
    if (live.bytes < collected.bytes)
        collected.bytes = live.bytes;
    if (live.count < collected.count)
        collected.count = live.count;
}

void vector_unmap(struct vector *vector)
{
    if (!vector->address)
        return;
    if (!vector->whole)
        segment_unmap(vector->address, vector->size);
    vector->address = NULL;
    if (vector->whole)
        return;
    live.bytes -= vector->size;
    live.count--;
}

static void finalize_vector(SEXP pointer)
{
    struct vector *vector = R_ExternalPtrAddr(pointer);
    if (!vector)
        return;
    lend_returned(vector);
    vector_unmap(vector);
    R_ClearExternalPtr(pointer);
    free(vector);
}

size_t vector_element(const struct vector *vector)
{
    return vector->type == REALSXP ? sizeof(double) : vector->type == RAWSXP ? 1 : sizeof(int);
}

static void choose_type(struct vector *vector, int32_t dtype, int special)
{
    vector->dtype = dtype;
    vector->type = REALSXP;
    switch ((enum record_dtype)dtype) {
    case RECORD_INT32:
        vector->type = special & SPECIAL_LOGICAL ? LGLSXP : INTSXP;
        break;
    case RECORD_UINT8:
        vector->type = special & SPECIAL_RAW ? RAWSXP : INTSXP;
        vector->widened = !(special & SPECIAL_RAW);
        break;
    case RECORD_INT64:
        vector->integer64 = special & SPECIAL_INT64;
        vector->widened = !(special & SPECIAL_INT64);
        break;
    case RECORD_FLOAT32:
        vector->widened = true;
        break;
    case RECORD_FLOAT64:
    case RECORD_BUNDLE:
    case RECORD_DTYPE_SAME:
        break;
    }
}

static struct vector *allocate(const char *path)
{
    struct vector *vector = calloc(1, sizeof(*vector) + strlen(path) + 1);
    if (!vector)
        raise_system(ENOMEM, "map", path);
    vector->creator = getpid();
    strcpy(vector->path, path);
    return vector;
}

struct vector *vector_new(const struct slot *slot, int32_t dtype, int special, R_xlen_t length)
{
    struct vector *vector = allocate(slot->path);
    choose_type(vector, dtype, special);
    vector->length = length;
    vector->size = (size_t)length * record_dtype_size(dtype);
    return vector;
}

SEXP vector_part(struct vector *whole, SEXP holder, void *address, int32_t dtype, int special,
                 R_xlen_t length)
{
    struct vector *part = allocate(whole->path);
    SEXP pointer = PROTECT(vector_pointer(part, holder));
    choose_type(part, dtype, special);
    part->length = length;
    part->size = (size_t)length * record_dtype_size(dtype);
    part->round = whole->round;
    part->whole = whole;
    part->address = address;
    SEXP x = vector_wrap(pointer, R_NilValue);
    UNPROTECT(1);
    return x;
}

SEXP vector_pointer(struct vector *vector, SEXP slot)
{
    SEXP pointer = PROTECT(R_MakeExternalPtr(vector, R_NilValue, slot));
    R_RegisterCFinalizerEx(pointer, finalize_vector, FALSE);
    UNPROTECT(1);
    return pointer;
}

SEXP vector_wrap(SEXP pointer, SEXP values)
{
    const struct vector *vector = R_ExternalPtrAddr(pointer);
    switch (vector->type) {
    case INTSXP:
        return R_new_altrep(integer_class, pointer, values);
    case LGLSXP:
        return R_new_altrep(logical_class, pointer, values);
    case RAWSXP:
        return R_new_altrep(raw_class, pointer, values);
    default:
        return R_new_altrep(real_class, pointer, values);
    }
}

/* Widens all values, on first need: from then on the vector is an ordinary one, and its mapping is gone. */
static SEXP vector_materialise(SEXP x, struct vector *vector)
{
    SEXP values = PROTECT(Rf_allocVector(vector->type, vector->length));
    widen(vector->dtype, vector->address, (void *)DATAPTR_RO(values), (size_t)vector->length);
    vector->copied += (size_t)vector->length * vector_element(vector);
    R_set_altrep_data2(x, values);
    vector_unmap(vector);
    UNPROTECT(1);
    return values;
}

static R_xlen_t method_length(SEXP x)
{
    return vector_of(x)->length;
}

/* What a forked child stores stays in the child, as with any vector: its parent may still fill the array. */
static void leave_segment(struct vector *vector)
{
    int error = segment_leave(vector->address, vector->size);
    if (error)
        raise_system(-error, "copy in a forked process the array of", vector->path);
    vector->filling = false;
}

static void *method_dataptr(SEXP x, Rboolean writable)
{
    struct vector *vector = vector_of(x);
    SEXP values = R_altrep_data2(x);
    if (values == R_NilValue && vector->widened)
        values = vector_materialise(x, vector);
    if (values != R_NilValue)
        return (void *)DATAPTR_RO(values);
    struct vector *mapping = vector->whole ? vector->whole : vector;
    if (writable && mapping->filling && mapping->creator != getpid())
        leave_segment(mapping);
    if (writable)
        mapping->touched = true;
    return vector->address;
}

static const void *method_dataptr_or_null(SEXP x)
{
    struct vector *vector = vector_of(x);
    SEXP values = R_altrep_data2(x);
    if (values != R_NilValue)
        return DATAPTR_RO(values);
    return vector->widened ? NULL : vector->address;
}

static double real_elt(SEXP x, R_xlen_t i)
{
    const double *values = method_dataptr_or_null(x);
    if (values)
        return values[i];
    const struct vector *vector = vector_of(x);
    double value;
    widen(vector->dtype, (const char *)vector->address + (size_t)i * record_dtype_size(vector->dtype), &value,
          1);
    return value;
}

static int integer_elt(SEXP x, R_xlen_t i)
{
    const int *values = method_dataptr_or_null(x);
    return values ? values[i] : ((const uint8_t *)vector_of(x)->address)[i];
}

static Rbyte raw_elt(SEXP x, R_xlen_t i)
{
    return ((const Rbyte *)method_dataptr_or_null(x))[i];
}

static R_xlen_t region_size(SEXP x, R_xlen_t start, R_xlen_t count)
{
    R_xlen_t left = vector_of(x)->length - start;
    return count < left ? count : left;
}

/* Copies part of the values as R's. buffer: of elements of that size. */
static R_xlen_t copy_region(SEXP x, R_xlen_t start, R_xlen_t count, void *buffer, size_t element)
{
    R_xlen_t size = region_size(x, start, count);
    const char *values = method_dataptr_or_null(x);
    const struct vector *vector = vector_of(x);
    if (size <= 0)
        return 0;
    if (values)
        memcpy(buffer, values + (size_t)start * element, (size_t)size * element);
    else
        widen(vector->dtype, (const char *)vector->address + (size_t)start * record_dtype_size(vector->dtype),
              buffer, (size_t)size);
    return size;
}

static R_xlen_t real_region(SEXP x, R_xlen_t start, R_xlen_t count, double *buffer)
{
    return copy_region(x, start, count, buffer, sizeof(*buffer));
}

/* NULL: R adds up itself. */
static SEXP real_sum(SEXP x, Rboolean skip_na)
{
    const double *values = method_dataptr_or_null(x);
    if (skip_na || !values || vector_of(x)->dtype != RECORD_FLOAT64 || vector_of(x)->length < SUM_LARGE)
        return NULL;
    return Rf_ScalarReal(sum_large(values, vector_of(x)->length));
}

static R_xlen_t integer_region(SEXP x, R_xlen_t start, R_xlen_t count, int *buffer)
{
    return copy_region(x, start, count, buffer, sizeof(*buffer));
}

static R_xlen_t raw_region(SEXP x, R_xlen_t start, R_xlen_t count, Rbyte *buffer)
{
    return copy_region(x, start, count, buffer, sizeof(*buffer));
}

static Rboolean method_inspect(SEXP x, int pre, int deep, int pvec, void (*inspect)(SEXP, int, int, int))
{
    (void)pre, (void)deep, (void)pvec, (void)inspect;
    const struct vector *vector = vector_of(x);
    Rprintf("pyrmap %s, %s\n", vector->path, vector->address ? "mapped" : "copied");
    return TRUE;
}

static void register_methods(R_altrep_class_t class)
{
    R_set_altrep_Length_method(class, method_length);
    R_set_altrep_Inspect_method(class, method_inspect);
    R_set_altvec_Dataptr_method(class, method_dataptr);
    R_set_altvec_Dataptr_or_null_method(class, method_dataptr_or_null);
    R_set_altrep_Serialized_state_method(class, reference_make);
    R_set_altrep_Unserialize_method(class, reference_take);
}

void vector_register(DllInfo *info)
{
    text_vector_register(info);
    real_class = R_make_altreal_class("mapped_double", "pyrmap", info);
    register_methods(real_class);
    R_set_altreal_Elt_method(real_class, real_elt);
    R_set_altreal_Get_region_method(real_class, real_region);
    R_set_altreal_Sum_method(real_class, real_sum);
    integer_class = R_make_altinteger_class("mapped_integer", "pyrmap", info);
    register_methods(integer_class);
    R_set_altinteger_Elt_method(integer_class, integer_elt);
    R_set_altinteger_Get_region_method(integer_class, integer_region);
    logical_class = R_make_altlogical_class("mapped_logical", "pyrmap", info);
    register_methods(logical_class);
    R_set_altlogical_Elt_method(logical_class, integer_elt);
    R_set_altlogical_Get_region_method(logical_class, integer_region);
    raw_class = R_make_altraw_class("mapped_raw", "pyrmap", info);
    register_methods(raw_class);
    R_set_altraw_Elt_method(raw_class, raw_elt);
    R_set_altraw_Get_region_method(raw_class, raw_region);
}

static int map_file(struct vector *vector, const struct slot *slot, const char *name, enum map_mode mode)
{
    int flags = mode == MAP_FILL ? O_RDWR : O_RDONLY;
    int fd = slot_open_file(slot, name, flags), pages = fd;
    if (fd < 0)
        return -errno;
    int error = 0;
    if (mode == MAP_FILL && ftruncate(fd, (off_t)vector->size) < 0)
        error = -errno;
    if (!error && vector->size > 0) {
        pages = slot_open_pages(slot, fd, name, flags);
        vector->address = pages < 0 ? NULL : segment_map(pages, vector->size, mode);
        if (vector->address) {
            live.bytes += vector->size;
            live.count++;
        } else {
            error = -errno;
        }
    }
    slot_close_pages(fd, pages);
    return error;
}

int vector_map(struct vector *vector, const struct slot *slot, const char *name, enum map_mode mode)
{
    int error = map_file(vector, slot, name, mode);
    return collected_for(error) ? map_file(vector, slot, name, mode) : error;
}

SEXP pyrmap_collect(void)
{
    struct mapped before = live;
    R_gc();
    collected = live;
    return Rf_ScalarLogical(live.bytes < before.bytes || live.count < before.count);
}

bool mapped_enough(void)
{
    return live.count > LIVE_MAX;
}
