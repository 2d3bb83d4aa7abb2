// SPDX-License-Identifier: Apache-2.0
/*
 * array.c - vectors that are a slot's data.bin: pyrmap_array from the beginning, a large result once the caller has it.
 *
 * We map it shared while R fills it, so that R's stores are the segment's. To publish it we map the same
 * address again, private: the writable mapping is gone in that instant, as publishing demands, and pointers
 * that R or a C routine took stay good. A store after that copies its page. Such an array is no longer what
 * its slot holds, so the next run copies it as it copies any vector. The next run copies an array as well
 * while a process that was forked meanwhile (parallel::mclapply) still maps it for writing, and when its mount
 * is gone.
 *
 * A result that R still has leaves its worker's slot for another one by a rename, which moves the segment (see lend.h). To pass
 * it on that slot is published, and the next worker's slot follows it. The same holds for a bundle as long as R finds the very
 * object again that it made of it.
 *
 * The slot is parked except while we publish it: an array costs a mapping and no descriptor.
 */
#include "bundle_write.h"
#include "convert.h"
#include "lend.h"
#include "vector.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static R_xlen_t product(SEXP dim)
{
    R_xlen_t length = 1;
    for (int i = 0; i < LENGTH(dim); i++)
        length *= (R_xlen_t)REAL(dim)[i];
    return length;
}

/* The class and dim of a new array, which is protected. */
static void dress(SEXP x, int32_t dtype, SEXP dim)
{
    if (dtype == RECORD_INT64) {
        Rf_setAttrib(x, R_ClassSymbol, PROTECT(Rf_mkString("integer64")));
        UNPROTECT(1);
    }
    if (LENGTH(dim) > 1) {
        Rf_setAttrib(x, R_DimSymbol, PROTECT(Rf_coerceVector(dim, INTSXP)));
        UNPROTECT(1);
    }
}

/* Maps data.bin of a new slot for what R fills. vector: not mapped yet. */
static void begin_filling(struct vector *vector, struct slot *slot)
{
    vector->array = true;
    vector->filling = true;
    vector->round = 1;
    int error = vector_map(vector, slot, "data.bin", MAP_FILL);
    if (error)
        raise_system(-error, "make an array in", slot->path);
    slot_park(slot);
}

SEXP pyrmap_array_new(SEXP pointer, SEXP dtype, SEXP dim)
{
    struct slot *slot = slot_get(pointer);
    int32_t type = Rf_asInteger(dtype);
    R_xlen_t length = product(dim);
    mapped_account(slot, (size_t)length * record_dtype_size(type));
    struct vector *vector = vector_new(slot, type, SPECIAL_RAW | SPECIAL_INT64, length);
    SEXP holder = PROTECT(vector_pointer(vector, pointer));
    begin_filling(vector, slot);
    SEXP x = PROTECT(vector_wrap(holder, R_NilValue));
    dress(x, type, dim);
    UNPROTECT(2);
    return x;
}

/* Bytes for the header of a bundle with such members: generous, because they may become columns, and others may come. */
static size_t header_room(SEXP dims)
{
    enum { AT_LEAST = 4096, EACH = 512, PAGE = 4096 };
    SEXP names = Rf_getAttrib(dims, R_NamesSymbol);
    size_t room = AT_LEAST + EACH * (size_t)LENGTH(dims);
    for (R_xlen_t i = 0; i < XLENGTH(names); i++)
        room += 8 * (size_t)LENGTH(STRING_ELT(names, i));
    return (room + PAGE - 1) / PAGE * PAGE;
}

SEXP pyrmap_array_list(SEXP pointer, SEXP dtypes, SEXP dims)
{
    struct slot *slot = slot_get(pointer);
    const size_t header = header_room(dims);
    size_t size = header;
    for (R_xlen_t i = 0; i < XLENGTH(dims); i++)
        size += (size_t)product(VECTOR_ELT(dims, i)) * record_dtype_size(INTEGER(dtypes)[i]);
    mapped_account(slot, size);
    struct vector *whole = vector_new(slot, RECORD_BUNDLE, 0, (R_xlen_t)size);
    SEXP holder = PROTECT(vector_pointer(whole, pointer));
    whole->header = header;
    begin_filling(whole, slot);
    SEXP x = PROTECT(Rf_allocVector(VECSXP, XLENGTH(dims)));
    char *at = (char *)whole->address + header;
    /* Those of large elements first: then each is aligned. */
    for (size_t element = 8; element > 0; element /= 2) {
        for (R_xlen_t i = 0; i < XLENGTH(dims); i++) {
            int32_t dtype = INTEGER(dtypes)[i];
            SEXP dim = VECTOR_ELT(dims, i);
            R_xlen_t length = product(dim);
            if (record_dtype_size(dtype) != element)
                continue;
            SET_VECTOR_ELT(x, i, vector_part(whole, holder, at, dtype, SPECIAL_RAW | SPECIAL_INT64, length));
            dress(VECTOR_ELT(x, i), dtype, dim);
            at += (size_t)length * element;
        }
    }
    Rf_setAttrib(x, R_NamesSymbol, Rf_getAttrib(dims, R_NamesSymbol));
    UNPROTECT(2);
    return x;
}

static int end_filling(struct vector *vector, const struct slot *slot)
{
    int fd = slot_open_file(slot, "data.bin", O_RDONLY);
    int pages = fd < 0 ? -1 : slot_open_pages(slot, fd, "data.bin", O_RDONLY);
    int error = pages < 0 ? -errno : segment_settle_map(vector->address, vector->size, pages);
    slot_close_pages(fd, pages);
    if (!error) {
        vector->filling = false;
        vector->touched = false;
    }
    return error;
}

/*
 * We try for a moment: children that parallel::mclapply has collected may still be ending. We do not wait for
 * one that lives on a second time.
 */
static int publish_patiently(struct vector *vector, struct slot *slot, const struct record *record)
{
    enum { TRIES = 8 };
    struct timespec pause = {.tv_nsec = 1000000};
    for (int i = vector->waited ? TRIES : 0;; i++) {
        int error = slot_publish(slot, record, sizeof(*record));
        vector->waited = error == -EBUSY;
        if (error != -EBUSY || i == TRIES)
            return error;
        nanosleep(&pause, NULL);
        pause.tv_nsec *= 2;
    }
}

static int publish_array(struct vector *vector, struct slot *slot, SEXP dim, bool logical)
{
    int error = vector->filling ? end_filling(vector, slot) : 0;
    if (error)
        return error;
    vector->ndim = dim == R_NilValue ? 0 : LENGTH(dim);
    if (vector->ndim > 0)
        memcpy(vector->dim, INTEGER(dim), (size_t)vector->ndim * sizeof(int));
    vector->logical = logical;
    struct record record =
        slot_input(vector->dtype, logical ? RECORD_ORDER_INPUT_LOGICAL : 0, vector->length, dim);
    error = publish_patiently(vector, slot, &record);
    if (error)
        return error;
    vector->published = true;
    return 0;
}

/* Why an array cannot be published but copied; NULL for errors that concern the copy as well. */
static const char *why_copied(int error)
{
    if (error == -EBUSY)
        return "a process forked from this session still maps it";
    return slot_is_lost(error) ? "its slot, or the mount that it was made in, is gone" : NULL;
}

static bool same_dim(const struct vector *vector, SEXP dim)
{
    int ndim = dim == R_NilValue ? 0 : LENGTH(dim);
    return ndim == vector->ndim &&
           (ndim == 0 || memcmp(vector->dim, INTEGER(dim), (size_t)ndim * sizeof(int)) == 0);
}

/* Whether the path is one in the mount that is in use now. */
static bool lies_below(const char *path, const char *root)
{
    size_t size = strlen(root);
    return strncmp(path, root, size) == 0 && path[size] == '/';
}

/* Whether stores have changed pages since the segment took its last ones. */
static bool has_changed(const struct vector *vector)
{
    return vector->touched && segment_private_bytes(vector->address, vector->size) > 0;
}

/* 0: the slot holds the array as it is now, published. Else -errno. */
static int hold(struct vector *vector, struct slot *slot, SEXP dim, bool logical, const char *root)
{
    if (!slot_on_mount(slot, root))
        return -ENODEV;
    /* A new mount may have got the device number of the last one. */
    if (vector->published)
        return slot_exists(slot) ? 0 : -ENOENT;
    int error = slot_wake(slot);
    if (!error)
        error = publish_array(vector, slot, dim, logical);
    slot_park(slot);
    return error;
}

/* The slot below root that holds what is mapped, if it is there and nothing has changed; else NULL. */
static SEXP unchanged_slot(struct vector *vector, SEXP holder, const char *root)
{
    vector->why_copied = NULL;
    if (!vector->address || vector->creator != getpid() || !lies_below(vector->path, root))
        return R_NilValue;
    if (vector->lender)
        lend_move(vector->lender);
    if (!vector->array)
        return R_NilValue;
    SEXP pointer = R_ExternalPtrProtected(holder);
    const struct slot *slot = R_ExternalPtrAddr(pointer);
    if (!slot || slot_is_removed(slot))
        return R_NilValue;
    if (!vector->filling && has_changed(vector)) {
        vector->why_copied = "it was changed after it was passed on";
        return R_NilValue;
    }
    return pointer;
}

/* The slot, which holds it as its input from now on, or NULL. */
static SEXP pass_on(struct vector *vector, SEXP pointer, SEXP dim, bool logical, const char *root)
{
    struct slot *slot = R_ExternalPtrAddr(pointer);
    int error = hold(vector, slot, dim, logical, root);
    if (!error) {
        vector->touched = false;
        return pointer;
    }
    vector->why_copied = why_copied(error);
    if (!vector->why_copied)
        raise_system(-error, "publish the array in", slot->path);
    vector->copied += vector->size;
    return R_NilValue;
}

SEXP pyrmap_array_holder(SEXP x, SEXP type, SEXP dtype, SEXP root)
{
    if (!is_vector(x))
        return R_NilValue;
    struct vector *vector = vector_of(x);
    const char *below = CHAR(STRING_ELT(root, 0));
    SEXP pointer =
        vector->dtype == Rf_asInteger(dtype) ? unchanged_slot(vector, R_altrep_data1(x), below) : R_NilValue;
    if (pointer == R_NilValue)
        return R_NilValue;
    SEXP dim = Rf_getAttrib(x, R_DimSymbol);
    bool logical = Rf_asInteger(type) == SOURCE_LOGICAL;
    if (vector->published && (!same_dim(vector, dim) || vector->logical != logical)) {
        vector->why_copied = "its dim was changed after it was passed on";
        return R_NilValue;
    }
    return pass_on(vector, pointer, dim, logical, below);
}

/* Bundles. */

void array_remember(SEXP holder, SEXP x)
{
    struct vector *whole = R_ExternalPtrAddr(holder);
    MARK_NOT_MUTABLE(x);
    R_SetExternalPtrTag(holder, x);
    whole->remembered = true;
}

/* The pointer of the first bundle that has a part in x, or NULL. */
static SEXP bundle_of(SEXP x)
{
    if (TYPEOF(x) == VECSXP) {
        SEXP found = R_NilValue;
        for (R_xlen_t i = 0; i < XLENGTH(x) && found == R_NilValue; i++)
            found = bundle_of(VECTOR_ELT(x, i));
        return found;
    }
    return is_vector(x) && vector_of(x)->whole ? R_ExternalPtrProtected(R_altrep_data1(x)) : R_NilValue;
}

/* Makes a bundle of what R filled in place, for x, which has its parts. False: why_copied says why not. */
static bool complete(struct vector *whole, SEXP holder, struct slot *slot, SEXP x, const char *root)
{
    int error = slot_on_mount(slot, root) ? slot_wake(slot) : -ENODEV;
    if (!error)
        error = bundle_write_around(whole, slot, x);
    if (!error)
        error = end_filling(whole, slot);
    slot_park(slot);
    if (!error) {
        array_remember(holder, x);
        return true;
    }
    whole->why_copied = error == -EINVAL
                            ? "it has not each member of the pyrmap_array just once, or too much beside them"
                            : why_copied(error);
    if (!whole->why_copied)
        raise_system(-error, "publish the array in", slot->path);
    return false;
}

SEXP pyrmap_bundle_holder(SEXP x, SEXP root)
{
    SEXP holder = bundle_of(x);
    if (holder == R_NilValue)
        return R_NilValue;
    struct vector *whole = R_ExternalPtrAddr(holder);
    const char *below = CHAR(STRING_ELT(root, 0));
    SEXP pointer = unchanged_slot(whole, holder, below);
    if (pointer == R_NilValue)
        return R_NilValue;
    if (whole->filling && !complete(whole, holder, R_ExternalPtrAddr(pointer), x, below))
        return R_NilValue;
    if (!whole->remembered || R_ExternalPtrTag(holder) != x)
        return R_NilValue;
    return pass_on(whole, pointer, R_NilValue, false, below);
}

/* What holds the mapping of a vector: its own pointer, or that of the bundle that it is a part of. */
static SEXP mapping_of(SEXP x)
{
    SEXP pointer = R_altrep_data1(x);
    return vector_of(x)->whole ? R_ExternalPtrProtected(pointer) : pointer;
}

struct slot *array_published(SEXP x)
{
    struct vector *vector = vector_of(x);
    SEXP mapping = mapping_of(x);
    struct vector *whole = R_ExternalPtrAddr(mapping);
    if (!whole->address || whole->creator != getpid())
        return NULL;
    if (whole->lender)
        lend_move(whole->lender);
    struct slot *slot = whole->array ? R_ExternalPtrAddr(R_ExternalPtrProtected(mapping)) : NULL;
    if (!slot || slot_is_removed(slot))
        return NULL;
    /* The others that are to fill the bundle's header come with the whole. */
    if (whole->filling ? whole != vector : has_changed(whole))
        return NULL;
    SEXP dim = whole == vector && !whole->published ? Rf_getAttrib(x, R_DimSymbol) : R_NilValue;
    if (hold(whole, slot, dim, whole->type == LGLSXP, slot_root(slot->path)) < 0)
        return NULL;
    whole->touched = false;
    return slot;
}

/* NULL for a vector that is not from a slot. */
SEXP pyrmap_vector_info(SEXP x)
{
    if (!is_vector(x))
        return R_NilValue;
    const struct vector *vector = vector_of(x);
    SEXP mapping = mapping_of(x);
    const struct vector *whole = R_ExternalPtrAddr(mapping);
    /* A user who looks for it in the file system finds it where it stays. */
    if (whole->lender && whole->creator == getpid())
        lend_move(whole->lender);
    const struct slot *slot = whole->array ? R_ExternalPtrAddr(R_ExternalPtrProtected(mapping)) : NULL;
    const char *names[] = {"mapped", "bytes", "copied", "dtype", "slot", "round", "why_copied", ""};
    size_t stored =
        vector->address && !whole->filling ? segment_private_bytes(vector->address, vector->size) : 0;
    SEXP info = PROTECT(Rf_mkNamed(VECSXP, names));
    SET_VECTOR_ELT(info, 0, Rf_ScalarLogical(vector->address != NULL));
    SET_VECTOR_ELT(info, 1, Rf_ScalarReal((double)vector->size));
    SET_VECTOR_ELT(info, 2, Rf_ScalarReal((double)(vector->copied + stored)));
    SET_VECTOR_ELT(info, 3, Rf_ScalarInteger(vector->dtype));
    SET_VECTOR_ELT(info, 4, Rf_mkString(slot ? slot->path : vector->path));
    SET_VECTOR_ELT(info, 5, Rf_ScalarReal((double)vector->round));
    SET_VECTOR_ELT(info, 6, Rf_ScalarString(whole->why_copied ? Rf_mkChar(whole->why_copied) : NA_STRING));
    UNPROTECT(1);
    return info;
}
