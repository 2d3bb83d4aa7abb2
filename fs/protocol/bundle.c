// SPDX-License-Identifier: Apache-2.0
#include "protocol/bundle.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct {
    const char *name;
    size_t size;
} dtypes[BUNDLE_DTYPES] = {
    [BUNDLE_F64] = {"F64", 8}, [BUNDLE_F32] = {"F32", 4}, [BUNDLE_F16] = {"F16", 2},
    [BUNDLE_I64] = {"I64", 8}, [BUNDLE_I32] = {"I32", 4}, [BUNDLE_I16] = {"I16", 2},
    [BUNDLE_I8] = {"I8", 1},   [BUNDLE_U64] = {"U64", 8}, [BUNDLE_U32] = {"U32", 4},
    [BUNDLE_U16] = {"U16", 2}, [BUNDLE_U8] = {"U8", 1},   [BUNDLE_BOOL] = {"BOOL", 1},
};

const char *bundle_dtype_name(enum bundle_dtype dtype)
{
    return dtypes[dtype].name;
}

size_t bundle_dtype_size(enum bundle_dtype dtype)
{
    return dtypes[dtype].size;
}

const char *bundle_fault(const void *first, size_t got, uint64_t size)
{
    uint64_t header;

    if (got < BUNDLE_PREFIX || size < BUNDLE_PREFIX)
        return "a bundle begins with 8 bytes that say how long its header is, and there are fewer";
    memcpy(&header, first, sizeof(header));
    if (header > BUNDLE_HEADER_MAX)
        return "its first 8 bytes say that the header of the bundle has more than 1 MiB";
    if (header > size - BUNDLE_PREFIX)
        return "its first 8 bytes say that the header of the bundle is longer than the file";
    return NULL;
}

static int damaged(struct bundle *bundle, const char *fault)
{
    snprintf(bundle->fault, sizeof(bundle->fault), "%s", fault);
    return -EINVAL;
}

/* "tensor NAME fault", of a name that only has printable characters of ASCII then. */
static int damaged_tensor(struct bundle *bundle, struct json name, const char *fault)
{
    char text[32];
    size_t length = json_text(name, text, sizeof(text));

    for (size_t i = 0; i < length; i++) {
        if (text[i] < ' ' || text[i] > '~')
            text[i] = '?';
    }
    snprintf(bundle->fault, sizeof(bundle->fault), "tensor %.*s %s", (int)length, text, fault);
    return -EINVAL;
}

static int read_all(const struct bundle_source *source, void *buffer, uint64_t size, uint64_t offset)
{
    char *to = buffer;

    while (size) {
        ssize_t got = source->read(source->context, to, size, (off_t)offset);

        if (got <= 0)
            return got < 0 ? (int)got : -EIO;
        to += got;
        offset += (uint64_t)got;
        size -= (uint64_t)got;
    }
    return 0;
}

/* --- tensors --- */

static int find_dtype(struct json name, enum bundle_dtype *dtype)
{
    for (size_t i = 0; i < BUNDLE_DTYPES; i++) {
        if (json_is(name, dtypes[i].name)) {
            *dtype = (enum bundle_dtype)i;
            return 0;
        }
    }
    return -EINVAL;
}

/* The product of a shape, or -EINVAL. A zero does not excuse the others. */
static int64_t product(struct json shape)
{
    struct json_walk walk = json_walk(shape);
    struct json extent;
    int64_t count = 1, empty = 0;

    while (json_next(&walk, NULL, &extent)) {
        int64_t number = json_natural(extent);

        if (number < 0)
            return -EINVAL;
        if (!number)
            empty = 1;
        else if (__builtin_mul_overflow(count, number, &count))
            return -EINVAL;
    }
    return empty ? 0 : count;
}

/* The two numbers of data_offsets. */
static int offsets_of(struct json said, int64_t *begin, int64_t *end)
{
    struct json_walk walk = json_walk(said);
    struct json value;

    if (!json_is_array(said) || !json_next(&walk, NULL, &value))
        return -EINVAL;
    *begin = json_natural(value);
    if (!json_next(&walk, NULL, &value))
        return -EINVAL;
    *end = json_natural(value);
    return *begin < 0 || *end < *begin || json_next(&walk, NULL, &value) ? -EINVAL : 0;
}

static int add_tensor(struct bundle *bundle, struct json name, struct json said, uint64_t start)
{
    struct bundle_tensor *tensor = &bundle->tensors[bundle->count];
    struct json shape = json_get(said, "shape");
    int64_t begin, end, count, size;

    if (!json_is_object(said))
        return damaged_tensor(bundle, name, "is not described");
    if (find_dtype(json_get(said, "dtype"), &tensor->dtype) < 0)
        return damaged_tensor(bundle, name, "has no known dtype");
    count = json_is_array(shape) ? product(shape) : -EINVAL;
    if (count < 0)
        return damaged_tensor(bundle, name, "has no shape");
    if (offsets_of(json_get(said, "data_offsets"), &begin, &end) < 0)
        return damaged_tensor(bundle, name, "has no data_offsets");
    if ((uint64_t)end > bundle->source.size - start)
        return damaged_tensor(bundle, name, "does not lie in the bundle");
    if (__builtin_mul_overflow(count, (int64_t)dtypes[tensor->dtype].size, &size) || size != end - begin)
        return damaged_tensor(bundle, name, "has other offsets than its shape needs");
    tensor->name = name;
    tensor->hash = json_hash(name);
    tensor->shape = shape;
    tensor->begin = start + (uint64_t)begin;
    tensor->count = (uint64_t)count;
    bundle->count++;
    return 0;
}

static int add_tensors(struct bundle *bundle, struct json header, uint64_t start, struct json *metadata)
{
    struct json_walk walk = json_walk(header);
    struct json name, said;
    size_t most = json_count(header);
    int result = 0;

    /* One of them may be the metadata. */
    if (most > BUNDLE_TENSORS_MAX + 1)
        return damaged(bundle, "it has more than 10000 tensors");
    bundle->tensors = calloc(most + 1, sizeof(*bundle->tensors));
    bundle->names = calloc(most + 1, sizeof(struct bundle_tensor *));
    if (!bundle->tensors || !bundle->names)
        return -ENOMEM;
    while (result == 0 && json_next(&walk, &name, &said)) {
        if (json_is(name, "__metadata__"))
            *metadata = said;
        else
            result = bundle->count < BUNDLE_TENSORS_MAX ? add_tensor(bundle, name, said, start)
                                                        : damaged(bundle, "it has more than 10000 tensors");
    }
    return result;
}

static int by_place(const void *left, const void *right)
{
    const struct bundle_tensor *a = *(struct bundle_tensor *const *)left;
    const struct bundle_tensor *b = *(struct bundle_tensor *const *)right;

    if (a->begin != b->begin)
        return a->begin < b->begin ? -1 : 1;
    return (a->count > b->count) - (a->count < b->count);
}

static int by_name(const void *left, const void *right)
{
    const struct bundle_tensor *a = *(struct bundle_tensor *const *)left;
    const struct bundle_tensor *b = *(struct bundle_tensor *const *)right;

    if (a->hash != b->hash)
        return a->hash < b->hash ? -1 : 1;
    return json_compare(a->name, b->name);
}

/* They have to lie one behind the other, and each has a name that no other has. */
static int check_tensors(struct bundle *bundle, uint64_t start)
{
    struct bundle_tensor **sorted = bundle->names;
    uint64_t end = start;

    for (size_t i = 0; i < bundle->count; i++)
        sorted[i] = &bundle->tensors[i];
    qsort(sorted, bundle->count, sizeof(*sorted), by_place);
    for (size_t i = 0; i < bundle->count; i++) {
        if (sorted[i]->begin != end)
            return damaged_tensor(bundle, sorted[i]->name,
                                  sorted[i]->begin < end ? "overlaps another" : "comes behind a hole");
        end += sorted[i]->count * dtypes[sorted[i]->dtype].size;
    }
    if (end != bundle->source.size)
        return damaged(bundle, "it has more bytes than its tensors");
    qsort(sorted, bundle->count, sizeof(*sorted), by_name);
    for (size_t i = 1; i < bundle->count; i++) {
        if (by_name(&sorted[i - 1], &sorted[i]) == 0)
            return damaged_tensor(bundle, sorted[i]->name, "is there twice");
    }
    return 0;
}

/* --- the description --- */

static int read_description(struct bundle *bundle, struct json text)
{
    struct json whole;
    size_t size = (size_t)(text.end - text.at), at;
    const char *fault;

    if (!text.at)
        return 0;
    bundle->description = malloc(size);
    if (!bundle->description)
        return -ENOMEM;
    fault = json_check(bundle->description, json_text(text, bundle->description, size), &whole, &at);
    if (fault) {
        snprintf(bundle->fault, sizeof(bundle->fault), "its description is not JSON: at byte %zu %s", at,
                 fault);
        return -EINVAL;
    }
    if (json_natural(json_get(whole, "version")) != 1)
        return damaged(bundle, "its description is of another version than 1");
    bundle->root = json_get(whole, "root");
    return json_is_object(bundle->root) ? 0 : damaged(bundle, "its description has no root");
}

/* --- the whole --- */

static int read_header(struct bundle *bundle)
{
    uint64_t length;
    char first[BUNDLE_PREFIX];
    struct json header, metadata = {0};
    const char *fault;
    size_t at;
    int result;

    result = bundle->source.size < sizeof(first) ? -EIO : read_all(&bundle->source, first, sizeof(first), 0);
    if (result < 0 && result != -EIO)
        return result;
    fault = bundle_fault(first, result < 0 ? 0 : sizeof(first), bundle->source.size);
    if (fault)
        return damaged(bundle, fault);
    memcpy(&length, first, sizeof(length));
    bundle->header = malloc(length ? length : 1);
    if (!bundle->header)
        return -ENOMEM;
    result = read_all(&bundle->source, bundle->header, length, sizeof(first));
    if (result < 0)
        return result;
    fault = json_check(bundle->header, length, &header, &at);
    if (fault || !json_is_object(header)) {
        snprintf(bundle->fault, sizeof(bundle->fault), "its header is not JSON: at byte %zu %s",
                 fault ? at + sizeof(first) : sizeof(first), fault ? fault : "there is no object");
        return -EINVAL;
    }
    result = add_tensors(bundle, header, sizeof(first) + length, &metadata);
    if (result == 0)
        result = check_tensors(bundle, sizeof(first) + length);
    return result < 0 ? result : read_description(bundle, json_get(metadata, "pyrmap"));
}

int bundle_open(struct bundle *bundle, const struct bundle_source *source)
{
    *bundle = (struct bundle){.source = *source};
    return read_header(bundle);
}

void bundle_close(struct bundle *bundle)
{
    free(bundle->header);
    free(bundle->description);
    free(bundle->tensors);
    free(bundle->names);
    *bundle = (struct bundle){0};
}

size_t bundle_entries(const struct bundle *bundle)
{
    if (!bundle->root.at)
        return bundle->count;
    return json_get(bundle->root, "items").at ? json_count(json_get(bundle->root, "items")) : 1;
}

const struct bundle_tensor *bundle_find(const struct bundle *bundle, struct json name)
{
    struct bundle_tensor wanted = {.name = name}, *key = &wanted, **found;

    if (!json_is_string(name))
        return NULL;
    wanted.hash = json_hash(name);
    found = bsearch(&key, bundle->names, bundle->count, sizeof(*bundle->names), by_name);
    return found ? *found : NULL;
}

int bundle_read(const struct bundle *bundle, const struct bundle_tensor *tensor, uint64_t first,
                uint64_t count, void *buffer)
{
    size_t size = dtypes[tensor->dtype].size;

    if (first > tensor->count || count > tensor->count - first)
        return -EIO;
    return read_all(&bundle->source, buffer, count * size, tensor->begin + first * size);
}
