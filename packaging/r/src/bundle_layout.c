// SPDX-License-Identifier: Apache-2.0
/*
 * bundle_layout.c - the header of a planned bundle, and where its tensors lie.
 */
#include "bundle_plan.h"

#include "bundle_read.h"
#include "place.h"
#include "vector.h"
#include <string.h>

static void add_shape(struct text *header, const struct bundle_part *tensor)
{
    text_add_string(header, "[");
    if (tensor->dim != R_NilValue) {
        for (int i = LENGTH(tensor->dim); i-- > 0;) {
            text_add_number(header, INTEGER(tensor->dim)[i]);
            text_add_string(header, i > 0 ? "," : "");
        }
    } else {
        size_t element =
            tensor->values == VALUES_COMPLEX ? sizeof(Rcomplex) : bundle_dtype_size(tensor->dtype);
        text_add_number(header, (long long)(tensor->bytes / element));
    }
    text_add_string(header, tensor->values == VALUES_COMPLEX ? ",2]" : "]");
}

/* A part of what R filled in place, in the type that it was made with. */
static bool lies_in(const struct bundle_part *tensor, const struct vector *whole)
{
    if (!whole || tensor->values != VALUES_NUMBERS || tensor->bytes == 0 || !is_vector(tensor->x))
        return false;
    const struct vector *part = vector_of(tensor->x);
    return part->whole == whole && part->dtype == bundle_record_dtype(tensor->dtype);
}

/* The tensor that begins at a place of the whole; plan->count without one. */
static size_t find_at(const struct bundle_plan *plan, const char *address)
{
    size_t i = 0;
    while (i < plan->count &&
           !(lies_in(&plan->tensors[i], plan->whole) && vector_of(plan->tensors[i].x)->address == address))
        i++;
    return i;
}

/* Those that lie there already come first: all of them, or there would be holes. The end of the last one, 0 if one is missing. */
static size_t order_in_place(struct bundle_plan *plan, struct bundle_part *ordered, size_t *count)
{
    const char *begin = (const char *)plan->whole->address + plan->whole->header;
    size_t size = plan->whole->size - plan->whole->header, offset = 0;
    while (offset < size) {
        size_t i = find_at(plan, begin + offset);
        if (i == plan->count)
            return 0;
        plan->tensors[i].in_place = true;
        plan->tensors[i].offset = offset;
        offset += plan->tensors[i].bytes;
        ordered[(*count)++] = plan->tensors[i];
    }
    return offset;
}

/* Each is aligned to its element where the larger ones come first. False: not so behind what lies there already. */
static bool order_tensors(struct bundle_plan *plan)
{
    struct bundle_part *ordered = (struct bundle_part *)R_alloc(plan->count + 1, sizeof(*ordered));
    size_t count = 0, offset = 0;
    if (plan->whole && (offset = order_in_place(plan, ordered, &count)) == 0)
        return false;
    for (size_t size = 8; size > 0; size /= 2) {
        for (size_t i = 0; i < plan->count; i++) {
            if (plan->tensors[i].in_place || bundle_dtype_size(plan->tensors[i].dtype) != size)
                continue;
            if (offset % size > 0)
                return false;
            ordered[count] = plan->tensors[i];
            ordered[count++].offset = offset;
            offset += plan->tensors[i].bytes;
        }
    }
    plan->tensors = ordered;
    plan->size = offset;
    return true;
}

bool bundle_lay_out(struct bundle_plan *plan)
{
    struct text *header = &plan->header;
    uint64_t length = 0;
    if (!order_tensors(plan))
        return false;
    text_add(header, &length, sizeof(length));
    text_add_string(header, "{\"__metadata__\":{\"pyrmap\":");
    text_add_json(header, plan->tree.bytes, plan->tree.size);
    text_add_string(header, "}");
    for (size_t i = 0; i < plan->count; i++) {
        const struct bundle_part *tensor = &plan->tensors[i];
        text_add_string(header, ",");
        text_add_json(header, plan->names.bytes + tensor->name, tensor->name_size);
        text_add_string(header, ":{\"dtype\":\"");
        text_add_string(header, bundle_dtype_name(tensor->dtype));
        text_add_string(header, "\",\"shape\":");
        add_shape(header, tensor);
        text_add_string(header, ",\"data_offsets\":[");
        text_add_number(header, (long long)tensor->offset);
        text_add_string(header, ",");
        text_add_number(header, (long long)(tensor->offset + tensor->bytes));
        text_add_string(header, "]}");
    }
    text_add_string(header, "}");
    if (plan->whole && header->size > plan->whole->header)
        return false;
    while (plan->whole ? header->size < plan->whole->header : header->size % BUNDLE_ALIGNMENT > 0)
        text_add(header, " ", 1);
    length = header->size - sizeof(length);
    if (length > BUNDLE_HEADER_MAX) {
        struct place whole = {.name = "data"};
        place_refuse(&whole, "has names and members that together take more than the 1 MiB of a bundle's "
                             "header: use shorter names, or join vectors in a matrix");
    }
    memcpy(header->bytes, &length, sizeof(length));
    plan->size += header->size;
    return true;
}
