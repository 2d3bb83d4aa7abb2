// SPDX-License-Identifier: Apache-2.0
/*
 * input.c - publishing an R vector.
 *
 * A small one goes with the record that describes it, in one write. For a large one data.bin is given its size
 * first (its space is then reserved: storing to it cannot fail), and the values are stored straight into the
 * pages.
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

enum { REGION = 2048 };

/* A small input behind its record: 1 MiB, which one request carries, less a page, for the buffer may begin within one. */
static _Alignas(64) struct {
    struct record record;
    char array[(1 << 20) - 4096 - RECORD_SIZE];
} message;

/* An R vector whose values go into the pages. */
struct source {
    SEXP x;
    const void *values; /* NULL: an ALTREP vector that gives its values only piece by piece */
    enum source_type type;
    int32_t dtype;
    size_t count;
    size_t done; /* values that fit */
};

/* An input, small or large, on its way into the slot. */
struct filling {
    store_values *store;
    void *context;
    bool whole; /* all of it was stored */
    size_t size;
    int fd;        /* of data.bin if the input is large, */
    int pages;     /* of its pages, */
    void *address; /* and where they are mapped */
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

static SEXP fill_large(void *context)
{
    struct filling *filling = context;
    filling->whole = filling->store(filling->context, filling->address);
    return R_NilValue;
}

static void fill_end(void *context, Rboolean jump)
{
    (void)jump;
    struct filling *filling = context;
    segment_unmap(filling->address, filling->size);
    filling->address = NULL;
    slot_close_pages(filling->fd, filling->pages);
    filling->fd = filling->pages = -1;
}

/* Reserves and maps. 0 or -errno. */
static int map_large(const struct slot *slot, struct filling *filling)
{
    if (ftruncate(filling->fd, (off_t)filling->size) < 0)
        return -errno;
    if (filling->pages < 0)
        filling->pages = slot_open_pages(slot, filling->fd, "data.bin", O_RDWR);
    if (filling->pages < 0)
        return -errno;
    filling->address = segment_map(filling->pages, filling->size, MAP_FILL);
    return filling->address ? 0 : -errno;
}

/* Stores into data.bin. 0 or -errno; filling->whole tells whether all values fitted. */
static int store_file(const struct slot *slot, struct filling *filling)
{
    filling->fd = slot_open_file(slot, "data.bin", O_RDWR);
    if (filling->fd < 0)
        return -errno;
    int error = filling->size > 0 ? map_large(slot, filling) : 0;
    if (collected_for(error))
        error = map_large(slot, filling);
    if (!error && filling->size > 0)
        R_UnwindProtect(fill_large, filling, fill_end, filling, NULL);
    fill_end(filling, FALSE);
    return error;
}

int input_store(const struct slot *slot, size_t size, store_values *store, void *context)
{
    struct filling filling = {
        .store = store, .context = context, .whole = true, .size = size, .fd = -1, .pages = -1};
    int error = store_file(slot, &filling);
    return error || filling.whole ? error : -EINVAL;
}

/* Publishes an input through data.bin. If not all values fit, it cancels the round that it began. 0 or -errno. */
static int publish_file(struct slot *slot, const struct record *record, struct filling *filling)
{
    int error = store_file(slot, filling);
    if (error)
        return error;
    return filling->whole ? slot_publish(slot, record, sizeof(*record)) : slot_reset(slot);
}

/* Publishes a small input in one write. If not all values fit, it publishes nothing. 0 or -errno. */
static int publish_message(struct slot *slot, const struct record *record, struct filling *filling)
{
    if (!filling->store(filling->context, message.array))
        return 0;
    message.record = *record;
    size_t size = sizeof(message.record) + filling->size;
    int error = slot_publish(slot, &message, size);
    return collected_for(error) ? slot_publish(slot, &message, size) : error;
}

SEXP input_publish(struct slot *slot, const struct record *record, size_t size, store_values *store,
                   void *context)
{
    struct filling filling = {
        .store = store, .context = context, .whole = true, .size = size, .fd = -1, .pages = -1};
    bool small = size > 0 && size <= sizeof(message.array);
    slot->idle = false;
    /* Results that R has dropped since the last round make room for this one's. */
    mapped_account(slot, size);
    int error = (small ? publish_message : publish_file)(slot, record, &filling);
    if (slot_is_lost(error) || error == -EBUSY || error == -EPROTO)
        return Rf_mkString(strerrorname_np(-error));
    if (error)
        raise_system(-error, "publish the input of", slot->path);
    return R_NilValue;
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
    uint32_t order =
        source.type == SOURCE_LOGICAL && source.dtype == RECORD_INT32 ? RECORD_ORDER_INPUT_LOGICAL : 0;
    struct record record = slot_input(source.dtype, order, XLENGTH(x), Rf_getAttrib(x, R_DimSymbol));
    SEXP said =
        input_publish(slot, &record, source.count * record_dtype_size(source.dtype), store_vector, &source);
    bool misfit = said == R_NilValue && source.done < source.count;
    return misfit ? Rf_ScalarReal((double)source.done + 1) : said;
}
