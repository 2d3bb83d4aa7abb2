// SPDX-License-Identifier: Apache-2.0
/*
 * bundle_header.c - the checks of a safetensors header.
 */
#include "bundle_header.h"

#include <stdlib.h>
#include <string.h>

static const char *read_shape(const struct json_document *header, const struct json *shape, size_t element,
                              size_t *bytes)
{
    if (!shape || shape->type != JSON_ARRAY)
        return "a tensor without a shape";
    const struct json *extent = json_first(shape);
    *bytes = element;
    for (uint32_t i = 0; i < shape->count; i++, extent = json_next(header, extent)) {
        if (extent->type != JSON_INTEGER || extent->number < 0)
            return "a tensor with an extent that is no number";
        if (__builtin_mul_overflow(*bytes, (size_t)extent->number, bytes))
            return "a tensor that is too large";
    }
    return NULL;
}

static bool find_dtype(const struct json *name, enum bundle_dtype *dtype)
{
    for (int i = 0; i < BUNDLE_DTYPES_COUNT; i++) {
        *dtype = (enum bundle_dtype)i;
        if (json_is(name, bundle_dtype_name(*dtype)))
            return true;
    }
    return false;
}

/* body: of all tensors. */
static const char *read_entry(const struct json_document *header, const struct json *described,
                              const char *body, size_t size, struct bundle_entry *entry)
{
    const struct json *offsets = json_get(header, described, "data_offsets");
    if (!find_dtype(json_get(header, described, "dtype"), &entry->dtype))
        return "a tensor of a dtype that R cannot read";
    entry->shape = json_get(header, described, "shape");
    const char *error = read_shape(header, entry->shape, bundle_dtype_size(entry->dtype), &entry->bytes);
    if (error)
        return error;
    if (!offsets || offsets->type != JSON_ARRAY || offsets->count != 2)
        return "a tensor without its two data_offsets";
    const struct json *begin = json_first(offsets), *end = json_next(header, begin);
    if (begin->type != JSON_INTEGER || end->type != JSON_INTEGER || begin->number < 0 ||
        end->number < begin->number || (uint64_t)end->number > size)
        return "a tensor that lies outside of it";
    if ((uint64_t)(end->number - begin->number) != entry->bytes)
        return "a tensor whose data_offsets and shape do not agree";
    entry->at = body + begin->number;
    return NULL;
}

static int compare_places(const void *left, const void *right)
{
    const struct bundle_entry *a = left, *b = right;
    if (a->at != b->at)
        return a->at < b->at ? -1 : 1;
    return (a->bytes > b->bytes) - (a->bytes < b->bytes);
}

static int compare_strings(const struct json *a, const struct json *b)
{
    int order = memcmp(a->string, b->string, a->size < b->size ? a->size : b->size);
    return order != 0 ? order : (a->size > b->size) - (a->size < b->size);
}

static int compare_names(const void *left, const void *right)
{
    return compare_strings(((const struct bundle_entry *)left)->name,
                           ((const struct bundle_entry *)right)->name);
}

static const char *check_places(struct bundle_view *view, const char *body, size_t size)
{
    const char *at = body;
    qsort(view->entries, view->count, sizeof(*view->entries), compare_places);
    for (size_t i = 0; i < view->count; i++) {
        if (view->entries[i].at != at)
            return view->entries[i].at > at ? "a hole between its tensors" : "tensors that overlap";
        at += view->entries[i].bytes;
    }
    return at == body + size ? NULL : "something behind its last tensor";
}

static const char *read_entries(struct bundle_view *view, const char *body, size_t size)
{
    const struct json *whole = view->header.values;
    const struct json *key = json_first(whole), *described;
    view->entries = (struct bundle_entry *)R_alloc(whole->count + 1, sizeof(*view->entries));
    for (uint32_t i = 0; i < whole->count; i++, key = json_next(&view->header, described)) {
        described = json_next(&view->header, key);
        if (json_is(key, "__metadata__"))
            continue;
        if (view->count == BUNDLE_TENSORS_MAX)
            return "more than 10000 tensors";
        struct bundle_entry *entry = &view->entries[view->count++];
        *entry = (struct bundle_entry){.name = key};
        const char *error = read_entry(&view->header, described, body, size, entry);
        if (error)
            return error;
    }
    const char *error = check_places(view, body, size);
    qsort(view->entries, view->count, sizeof(*view->entries), compare_names);
    return error;
}

static const char *read_tree(struct bundle_view *view)
{
    const struct json *metadata = json_get(&view->header, view->header.values, "__metadata__");
    const struct json *text = json_get(&view->header, metadata, "pyrmap");
    if (!text)
        return NULL;
    if (text->type != JSON_STRING)
        return "a description (pyrmap) that is no text";
    const char *error = json_read(text->string, text->size, &view->tree);
    if (error)
        return error;
    const struct json *version = json_get(&view->tree, view->tree.values, "version");
    if (!version || version->type != JSON_INTEGER || version->number > BUNDLE_VERSION)
        return "a version that this package does not know: install a newer one";
    view->root = json_get(&view->tree, view->tree.values, "root");
    return view->root ? NULL : "a description (pyrmap) without a root";
}

const char *bundle_view(const void *segment, size_t size, struct bundle_view *view)
{
    uint64_t length;
    *view = (struct bundle_view){.count = 0};
    if (size < sizeof(length))
        return "no header";
    memcpy(&length, segment, sizeof(length));
    if (length > BUNDLE_HEADER_MAX || length > size - sizeof(length))
        return "a header that is longer than it may be";
    const char *text = (const char *)segment + sizeof(length);
    const char *error = json_read(text, (size_t)length, &view->header);
    if (error)
        return error;
    if (view->header.values->type != JSON_OBJECT)
        return "a header that is no object";
    error = read_entries(view, text + length, size - sizeof(length) - (size_t)length);
    return error ? error : read_tree(view);
}

struct bundle_entry *bundle_entry(const struct bundle_view *view, const struct json *name)
{
    size_t low = 0, high = view->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int order = compare_strings(name, view->entries[middle].name);
        if (order == 0)
            return &view->entries[middle];
        if (order < 0)
            high = middle;
        else
            low = middle + 1;
    }
    return NULL;
}
