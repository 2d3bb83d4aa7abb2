// SPDX-License-Identifier: Apache-2.0
/*
 * bundle_header.h - a bundle that somebody else wrote, checked before anything in it is believed.
 */
#ifndef PYRMAP_BUNDLE_HEADER_H
#define PYRMAP_BUNDLE_HEADER_H

#include "bundle.h"
#include "json.h"

struct bundle_entry {
    const struct json *name;
    const struct json *shape; /* integers of 0 or more */
    enum bundle_dtype dtype;
    const char *at;
    size_t bytes; /* as the shape says; they lie in the segment */
    bool taken;   /* a tensor belongs to one vector */
};

struct bundle_view {
    struct json_document header;
    struct json_document tree;
    const struct json *root;      /* NULL: a plain safetensors file */
    struct bundle_entry *entries; /* by name */
    size_t count;
};

/*
 * Checks header and tensors: lengths within the segment and its bounds, JSON, the tensors without overlap or hole from the
 * first to the last byte. What the tree says of them is not looked at. NULL, or why it is refused; memory is R_alloc's.
 */
const char *bundle_view(const void *segment, size_t size, struct bundle_view *view);

/* NULL if there is none of that name. */
struct bundle_entry *bundle_entry(const struct bundle_view *view, const struct json *name);

#endif
