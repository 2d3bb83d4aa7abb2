// SPDX-License-Identifier: Apache-2.0
/*
 * json.h - a reader of JSON that somebody else wrote: strict, and bounded in everything.
 *
 * A value is followed by what is in it: an array by its values, an object by its keys and values in turn. `after`
 * is the index of what comes after all that. So a document is one array, and nothing in it is a pointer to another value.
 */
#ifndef PYRMAP_JSON_H
#define PYRMAP_JSON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { JSON_DEPTH_MAX = 32 };

enum json_type {
    JSON_NULL,
    JSON_BOOLEAN, /* number: 0 or 1 */
    JSON_INTEGER,
    JSON_FRACTION, /* a number that is no int64; nothing here needs its value */
    JSON_STRING,
    JSON_ARRAY,
    JSON_OBJECT,
};

struct json {
    enum json_type type;
    uint32_t count; /* of an array's values, of an object's pairs */
    uint32_t after;
    size_t size;        /* of a string */
    const char *string; /* without escapes, valid UTF-8 without NUL; not terminated */
    int64_t number;
};

struct json_document {
    struct json *values; /* the first one is the whole */
    uint32_t count;
    uint32_t room;
};

/*
 * Reads a text of less than 2 GB, in memory of R_alloc. NULL, or why it is refused: syntax, UTF-8, depth, a key twice in one
 * object.
 */
const char *json_read(const char *text, size_t size, struct json_document *document);

/* The value of a key; NULL if the value is no object or has no such key. */
const struct json *json_get(const struct json_document *document, const struct json *object, const char *key);

/* The first value of an array, or key of an object; and what comes after a value. Asked only `count` times. */
const struct json *json_first(const struct json *container);
const struct json *json_next(const struct json_document *document, const struct json *value);

bool json_is(const struct json *value, const char *string);

#endif
