// SPDX-License-Identifier: Apache-2.0
/*
 * bundle_write.c - the bytes of a planned bundle, straight to where they will lie.
 */
#include "bundle_write.h"

#include "bundle_plan.h"
#include "bundle_read.h"
#include "input.h"
#include "place.h"
#include "protocol/record.h"
#include "vector.h"
#include <errno.h>
#include <string.h>

static void store_booleans(SEXP x, char *to)
{
    int buffer[512];
    R_xlen_t count = XLENGTH(x), done = 0;
    while (done < count) {
        R_xlen_t got = LOGICAL_GET_REGION(x, done, 512, buffer);
        for (R_xlen_t i = 0; i < got; i++)
            to[done + i] = buffer[i] != 0;
        done += got;
    }
}

static void store_complex(SEXP x, char *to)
{
    Rcomplex buffer[256];
    R_xlen_t count = XLENGTH(x), done = 0;
    while (done < count) {
        R_xlen_t got = COMPLEX_GET_REGION(x, done, 256, buffer);
        memcpy(to + (size_t)done * sizeof(*buffer), buffer, (size_t)got * sizeof(*buffer));
        done += got;
    }
}

/* The bytes, and where they begin, in one pass: R's strings lie far from each other. */
static void store_strings(SEXP x, char *bytes, char *offsets)
{
    int64_t offset = 0;
    R_xlen_t count = XLENGTH(x);
    const SEXP *all = bundle_strings(x);
    for (R_xlen_t i = 0; i < count; i++) {
        SEXP string = bundle_string(x, all, i, count);
        const void *mark = vmaxget();
        size_t size = 0;
        const char *text = string == NA_STRING ? "" : bundle_utf8(string, &size);
        memcpy(bytes + offset, text, size);
        memcpy(offsets + (size_t)i * sizeof(offset), &offset, sizeof(offset));
        vmaxset(mark);
        offset += (int64_t)size;
    }
    memcpy(offsets + (size_t)count * sizeof(offset), &offset, sizeof(offset));
}

static void store_missing(SEXP x, char *to)
{
    for (R_xlen_t i = 0; i < XLENGTH(x); i++)
        to[i] = STRING_ELT(x, i) == NA_STRING;
}

/* Whether all values fit. */
static bool store_tensor(const struct bundle_part *tensor, char *to, size_t *done)
{
    switch (tensor->values) {
    case VALUES_NUMBERS:
        *done = input_convert(tensor->x, tensor->source, bundle_record_dtype(tensor->dtype), to);
        return *done == (size_t)XLENGTH(tensor->x);
    case VALUES_BOOLEANS:
        store_booleans(tensor->x, to);
        return true;
    case VALUES_COMPLEX:
        store_complex(tensor->x, to);
        return true;
    case VALUES_BYTES:
    case VALUES_OFFSETS:
        /* Both at once: see store_bundle(). */
        return true;
    case VALUES_MISSING:
        store_missing(tensor->x, to);
        return true;
    }
    return false;
}

struct writing {
    const struct bundle_plan *plan;
    size_t misfit; /* the index (from 1) of the first value of data that does not fit, 0 without one */
};

static bool store_bundle(void *context, char *to)
{
    struct writing *writing = context;
    const struct bundle_plan *plan = writing->plan;
    memcpy(to, plan->header.bytes, plan->header.size);
    to += plan->header.size;
    /* Tensors of one size keep the order of the tree: the next bytes belong to the next offsets. */
    const struct bundle_part *bytes = plan->tensors;
    for (size_t i = 0; i < plan->count; i++) {
        const struct bundle_part *tensor = &plan->tensors[i];
        size_t done = 0;
        if (tensor->values == VALUES_OFFSETS) {
            while (bytes->values != VALUES_BYTES)
                bytes++;
            store_strings(tensor->x, to + bytes->offset, to + tensor->offset);
            bytes++;
        }
        if (!tensor->in_place && !store_tensor(tensor, to + tensor->offset, &done)) {
            writing->misfit = done + 1;
            return false;
        }
    }
    return true;
}

static int na_of(SEXP na)
{
    const char *text = CHAR(STRING_ELT(na, 0));
    return strcmp(text, "error") == 0 ? NA_IS_ERROR : strcmp(text, "keep") == 0 ? NA_KEPT : NA_AS_NAN;
}

SEXP pyrmap_bundle_check(SEXP data, SEXP arguments, SEXP na)
{
    struct bundle_plan plan = {.na = na_of(na)};
    bundle_plan(&plan, data, arguments);
    return Rf_ScalarInteger(plan.special);
}

SEXP pyrmap_bundle_fill(SEXP pointer, SEXP data, SEXP arguments, SEXP na, SEXP type, SEXP dtype)
{
    struct slot *slot = slot_get(pointer);
    struct bundle_plan plan = {.na = na_of(na), .strings = true};
    plan.plain = (struct bundle_plain){data, (enum source_type)Rf_asInteger(type), Rf_asInteger(dtype)};
    bundle_plan(&plan, data, arguments);
    bundle_lay_out(&plan);
    struct writing writing = {.plan = &plan};
    struct record record = slot_input(RECORD_BUNDLE, 0, (R_xlen_t)plan.size, R_NilValue);
    SEXP said = input_publish(slot, &record, plan.size, store_bundle, &writing);
    return writing.misfit > 0 ? Rf_ScalarReal((double)writing.misfit) : said;
}

int bundle_write_around(struct vector *whole, const struct slot *slot, SEXP data)
{
    struct bundle_plan plan = {.na = NA_AS_NAN, .strings = true, .whole = whole};
    bundle_plan(&plan, data, R_NilValue);
    if (!bundle_lay_out(&plan))
        return -EINVAL;
    struct writing writing = {.plan = &plan};
    int error = input_store(slot, plan.size, store_bundle, &writing);
    if (!error)
        whole->length = (R_xlen_t)plan.size;
    return error;
}

SEXP pyrmap_bundle_bytes(SEXP data, SEXP na)
{
    struct bundle_plan plan = {.na = na_of(na), .strings = true};
    bundle_plan(&plan, data, R_NilValue);
    bundle_lay_out(&plan);
    SEXP bytes = PROTECT(Rf_allocVector(RAWSXP, (R_xlen_t)plan.size));
    struct writing writing = {.plan = &plan};
    store_bundle(&writing, (char *)RAW(bytes));
    UNPROTECT(1);
    return bytes;
}
