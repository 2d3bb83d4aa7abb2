// SPDX-License-Identifier: Apache-2.0
/*
 * reference.c - making references, and the vectors that they stand for.
 */
#include "reference.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* A smaller vector costs less to send than its reference does. */
enum { REFERENCE_LEAST = 1 << 20 };

/* What a reference says, by place; R/reference.R has the same. Numbers are doubles: R's integers end at 2^31. */
enum field {
    FIELD_VERSION,
    FIELD_PATH, /* of the slot */
    FIELD_ROUND,
    FIELD_INODE, /* of the segment, and when it was last changed: no other mount has both */
    FIELD_SECONDS,
    FIELD_NANOSECONDS,
    FIELD_SIZE, /* of the segment, in bytes */
    FIELD_PART, /* whether the vector is a part of it, a bundle's */
    FIELD_OFFSET,
    FIELD_LENGTH,
    FIELD_DTYPE,
    FIELD_SPECIAL,
    FIELD_BOOT, /* R fills it in */
    FIELDS
};

enum { REFERENCE_VERSION = 1 };

static SEXP in_namespace(const char *function, SEXP arguments)
{
    PROTECT(arguments);
    SEXP space = PROTECT(R_FindNamespace(PROTECT(Rf_mkString("pyrmap"))));
    SEXP value = Rf_eval(PROTECT(Rf_lcons(Rf_install(function), arguments)), space);
    UNPROTECT(4);
    return value;
}

static bool may_travel(const struct vector *vector)
{
    return vector->address && !vector->widened && vector->size >= REFERENCE_LEAST;
}

/* Whether it goes to a process that can take a reference. */
static bool is_wanted(const struct vector *whole)
{
    if (!whole->array && !whole->lender)
        return false;
    SEXP root = PROTECT(Rf_mkString(slot_root(whole->path)));
    bool wanted = Rf_asLogical(in_namespace("reference_wanted", Rf_list1(root))) == TRUE;
    UNPROTECT(1);
    return wanted;
}

/* The segment of SLOT/data.bin. */
static bool identify(const char *path, struct stat *found)
{
    char name[4096];
    int size = snprintf(name, sizeof(name), "%s/data.bin", path);
    return size < (int)sizeof(name) && stat(name, found) == 0;
}

static int special_of(const struct vector *vector)
{
    return (vector->type == RAWSXP ? SPECIAL_RAW : 0) | (vector->type == LGLSXP ? SPECIAL_LOGICAL : 0) |
           (vector->integer64 ? SPECIAL_INT64 : 0);
}

SEXP reference_make(SEXP x)
{
    const struct vector *vector = vector_of(x);
    if (!may_travel(vector))
        return NULL;
    const struct vector *whole = vector->whole ? vector->whole : vector;
    struct stat segment;
    const struct slot *slot = is_wanted(whole) ? array_published(x) : NULL;
    if (!slot)
        return NULL;
    const char *path = slot_share_input(slot);
    if (!path)
        return NULL;
    if (!identify(path, &segment)) {
        rmdir(path);
        return NULL;
    }
    const double numbers[FIELDS] = {
        [FIELD_VERSION] = REFERENCE_VERSION,
        [FIELD_ROUND] = 1,
        [FIELD_INODE] = (double)segment.st_ino,
        [FIELD_SECONDS] = (double)segment.st_mtim.tv_sec,
        [FIELD_NANOSECONDS] = (double)segment.st_mtim.tv_nsec,
        [FIELD_SIZE] = (double)whole->size,
        [FIELD_PART] = vector->whole != NULL,
        [FIELD_OFFSET] = (double)((const char *)vector->address - (const char *)whole->address),
        [FIELD_LENGTH] = (double)vector->length,
        [FIELD_DTYPE] = vector->dtype,
        [FIELD_SPECIAL] = special_of(vector),
    };
    SEXP state = PROTECT(Rf_allocVector(VECSXP, FIELDS));
    for (int i = 0; i < FIELDS; i++)
        SET_VECTOR_ELT(state, i, Rf_ScalarReal(numbers[i]));
    SET_VECTOR_ELT(state, FIELD_PATH, Rf_mkString(path));
    SET_VECTOR_ELT(state, FIELD_BOOT, in_namespace("boot_id", R_NilValue));
    UNPROTECT(1);
    return state;
}

SEXP reference_take(SEXP class, SEXP state)
{
    (void)class;
    return in_namespace("reference_open", Rf_list1(Rf_lang2(Rf_install("quote"), state)));
}

static double number_of(SEXP state, enum field field)
{
    return Rf_asReal(VECTOR_ELT(state, field));
}

/* Whether the slot still is what the reference was made of. */
static bool is_same(const struct slot *slot, SEXP state, struct record *record)
{
    struct stat segment;
    if (slot_read_record(slot, record) < 0 || !identify(slot->path, &segment))
        return false;
    return record->flag == RECORD_FLAG_INPUT && (double)record->round == number_of(state, FIELD_ROUND) &&
           (double)segment.st_ino == number_of(state, FIELD_INODE) &&
           (double)segment.st_mtim.tv_sec == number_of(state, FIELD_SECONDS) &&
           (double)segment.st_mtim.tv_nsec == number_of(state, FIELD_NANOSECONDS) &&
           (double)segment.st_size == number_of(state, FIELD_SIZE);
}

/* Whether the numbers stay inside the segment: the bytes of a reference may come from anywhere. */
static bool fits(SEXP state)
{
    size_t element = record_dtype_size((int32_t)number_of(state, FIELD_DTYPE));
    double offset = number_of(state, FIELD_OFFSET), length = number_of(state, FIELD_LENGTH);
    double size = number_of(state, FIELD_SIZE);
    return element > 0 && length >= 1 && offset >= 0 && (size_t)offset % element == 0 &&
           offset + length * (double)element <= size &&
           (number_of(state, FIELD_PART) != 0 || (offset == 0 && length * (double)element == size));
}

/* Publishing it said how it is laid out: it is passed on as that, or copied. */
static void remember_layout(struct vector *vector, const struct record *record)
{
    vector->array = vector->published = true;
    vector->round = record->round;
    vector->logical = record->order & RECORD_ORDER_INPUT_LOGICAL;
    vector->ndim = record->input_ndim;
    for (int i = 0; i < vector->ndim && i < RECORD_NDIM_MAX; i++)
        vector->dim[i] = (int)record->input_shape[i];
}

SEXP pyrmap_reference_map(SEXP state, SEXP live)
{
    SEXP pointer = PROTECT(pyrmap_slot_open(VECTOR_ELT(state, FIELD_PATH), live));
    struct slot *slot = slot_get(pointer);
    struct record record;
    if (!is_same(slot, state, &record) || !fits(state)) {
        UNPROTECT(1);
        return Rf_mkString("what is at its path is something else");
    }
    bool part = number_of(state, FIELD_PART) != 0;
    int32_t dtype = (int32_t)number_of(state, FIELD_DTYPE);
    int special = (int)number_of(state, FIELD_SPECIAL);
    size_t size = (size_t)number_of(state, FIELD_SIZE);
    mapped_account(slot, size);
    struct vector *whole = part ? vector_new(slot, RECORD_BUNDLE, 0, (R_xlen_t)size)
                                : vector_new(slot, dtype, special, (R_xlen_t)number_of(state, FIELD_LENGTH));
    SEXP holder = PROTECT(vector_pointer(whole, pointer));
    int error = vector_map(whole, slot, "data.bin", MAP_VIEW);
    if (error)
        raise_system(-error, "map", slot->path);
    if (slot_adopt(slot))
        remember_layout(whole, &record);
    slot_park(slot);
    SEXP x = part
                 ? vector_part(whole, holder, (char *)whole->address + (size_t)number_of(state, FIELD_OFFSET),
                               dtype, special, (R_xlen_t)number_of(state, FIELD_LENGTH))
                 : vector_wrap(holder, R_NilValue);
    UNPROTECT(2);
    return x;
}
