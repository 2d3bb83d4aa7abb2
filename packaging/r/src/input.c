// SPDX-License-Identifier: Apache-2.0
/*
 * input.c - filling data.bin.
 *
 * A small input goes there with one pwrite, which on the passthrough path is no request to the daemon at all.
 * A large one is given its size first (its space is then reserved: storing to it cannot fail) and converted
 * straight into the pages.
 */
#include "input.h"

#include "collect.h"
#include "convert.h"
#include "map.h"
#include "vector.h"
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

enum { SMALL = 32768, REGION = 2048 };

/* An R vector whose values go into the pages. */
struct source {
    SEXP x;
    const void *values; /* NULL: an ALTREP vector that gives its values only piece by piece */
    enum source_type type;
    int32_t dtype;
    size_t count;
    size_t done; /* values that fit */
};

struct filling {
    store_values *store;
    void *context;
    size_t size; /* bytes of data.bin */
    int fd;
    void *address; /* of the mapping, NULL for a small input */
    int error;     /* -errno */
};

static size_t fetch_region(const struct source *source, size_t start, void *buffer)
{
    R_xlen_t from = (R_xlen_t)start;
    switch (TYPEOF(source->x)) {
    case REALSXP:
        return (size_t)REAL_GET_REGION(source->x, from, REGION, buffer);
    case LGLSXP:
        return (size_t)LOGICAL_GET_REGION(source->x, from, REGION, buffer);
    case RAWSXP:
        return (size_t)RAW_GET_REGION(source->x, from, REGION, buffer);
    default:
        return (size_t)INTEGER_GET_REGION(source->x, from, REGION, buffer);
    }
}

SEXP pyrmap_first_na(SEXP x, SEXP type)
{
    struct source values = {.x = x, .type = (enum source_type)Rf_asInteger(type)};
    const void *all = ALTREP(x) ? DATAPTR_OR_NULL(x) : DATAPTR_RO(x);
    size_t count = (size_t)XLENGTH(x), index = 0;
    if (TYPEOF(x) == INTSXP && INTEGER_NO_NA(x))
        return Rf_ScalarReal(0);
    double buffer[REGION];
    while (index < count) {
        size_t got = all ? count : fetch_region(&values, index, buffer);
        size_t found = find_na(values.type, all ? all : buffer, got);
        index += found;
        if (found < got)
            return Rf_ScalarReal((double)index + 1);
    }
    return Rf_ScalarReal(0);
}

static void convert_all(struct source *source, char *to)
{
    if (source->values) {
        source->done = convert(source->type, source->dtype, source->values, to, source->count);
        return;
    }
    double buffer[REGION];
    size_t element = record_dtype_size(source->dtype);
    while (source->done < source->count) {
        size_t got = fetch_region(source, source->done, buffer);
        size_t fit = convert(source->type, source->dtype, buffer, to + source->done * element, got);
        source->done += fit;
        if (fit < got || got == 0)
            return;
    }
}

size_t input_convert(SEXP x, enum source_type type, int32_t dtype, char *to)
{
    struct source source = {.x = x, .type = type, .dtype = dtype, .count = (size_t)XLENGTH(x)};
    source.values = ALTREP(x) ? DATAPTR_OR_NULL(x) : DATAPTR_RO(x);
    convert_all(&source, to);
    return source.done;
}

/* 0 or -errno. */
static int write_small(int fd, const char *bytes, size_t size)
{
    ssize_t written = pwrite(fd, bytes, size, 0);
    if (written < 0)
        return -errno;
    return (size_t)written < size ? -ENOSPC : 0;
}

static SEXP fill_small(void *context)
{
    struct filling *filling = context;
    static char buffer[SMALL];
    if (!filling->store(filling->context, buffer))
        return R_NilValue;
    filling->error = write_small(filling->fd, buffer, filling->size);
    if (collected_for(filling->error))
        filling->error = write_small(filling->fd, buffer, filling->size);
    return R_NilValue;
}

static SEXP fill_large(void *context)
{
    struct filling *filling = context;
    filling->store(filling->context, filling->address);
    return R_NilValue;
}

static void fill_end(void *context, Rboolean jump)
{
    (void)jump;
    struct filling *filling = context;
    segment_unmap(filling->address, filling->size);
    filling->address = NULL;
    if (filling->fd >= 0)
        close(filling->fd);
    filling->fd = -1;
}

/* Reserves and maps. 0 or -errno. */
static int map_large(struct filling *filling)
{
    if (ftruncate(filling->fd, (off_t)filling->size) < 0)
        return -errno;
    filling->address = segment_map(filling->fd, filling->size, MAP_FILL);
    return filling->address ? 0 : -errno;
}

SEXP pyrmap_slot_begin(SEXP pointer)
{
    struct slot *slot = slot_get(pointer);
    if (slot->data_fd < 0)
        slot->data_fd = slot_open_file(slot, "data.bin", O_RDWR);
    if (slot->data_fd < 0)
        return Rf_mkString(strerrorname_np(errno));
    return R_NilValue;
}

void input_store(struct slot *slot, size_t size, store_values *store, void *context)
{
    struct filling filling = {.store = store, .context = context, .size = size, .fd = slot->data_fd};
    if (filling.fd < 0)
        Rf_error("no round was begun in %s", slot->path);
    /* Results that R has dropped since the last round make room for this one's. */
    mapped_account(slot, size);
    slot->data_fd = -1;
    if (size > SMALL) {
        filling.error = map_large(&filling);
        if (collected_for(filling.error))
            filling.error = map_large(&filling);
        if (!filling.error)
            R_UnwindProtect(fill_large, &filling, fill_end, &filling, NULL);
    } else if (size > 0) {
        R_UnwindProtect(fill_small, &filling, fill_end, &filling, NULL);
    }
    fill_end(&filling, FALSE);
    if (filling.error)
        raise_system(-filling.error, "fill data.bin of", slot->path);
}

static bool store_vector(void *context, char *to)
{
    struct source *source = context;
    source->done = input_convert(source->x, source->type, source->dtype, to);
    return source->done == source->count;
}

SEXP pyrmap_slot_fill(SEXP pointer, SEXP x, SEXP type, SEXP dtype)
{
    struct slot *slot = slot_get(pointer);
    struct source source = {
        .x = x,
        .type = (enum source_type)Rf_asInteger(type),
        .dtype = Rf_asInteger(dtype),
        .count = (size_t)XLENGTH(x),
    };
    input_store(slot, source.count * record_dtype_size(source.dtype), store_vector, &source);
    if (source.done < source.count) {
        pyrmap_slot_reset(pointer);
        return Rf_ScalarReal((double)source.done + 1);
    }
    SEXP dim = Rf_getAttrib(x, R_DimSymbol);
    int ndim = dim == R_NilValue ? 0 : LENGTH(dim);
    uint32_t order =
        source.type == SOURCE_LOGICAL && source.dtype == RECORD_INT32 ? RECORD_ORDER_INPUT_LOGICAL : 0;
    int error = slot_publish(slot, source.dtype, order, XLENGTH(x), ndim, ndim > 0 ? INTEGER(dim) : NULL);
    if (error)
        raise_system(-error, "publish the input of", slot->path);
    return R_NilValue;
}
