// SPDX-License-Identifier: Apache-2.0
/*
 * json.h - reads JSON that a client wrote: json_check looks at the whole text once, then it is walked in place.
 *
 * Nothing is copied or allocated. A walk is linear in the text that it passes. What is not in the text (a key,
 * another type) is an answer and no error, so that callers need not trust what a document says.
 */
#ifndef PYRMAPFS_JSON_H
#define PYRMAPFS_JSON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* One value of a checked text, without the blanks around it. .at is NULL: there is none. */
struct json {
    const char *at;
    const char *end;
};

enum { JSON_DEPTH_MAX = 32 };

/*
 * Whether text is one JSON value in UTF-8, nested no deeper than JSON_DEPTH_MAX. Returns NULL and the value, or
 * what is wrong and where, in *at.
 */
const char *json_check(const char *text, size_t size, struct json *value, size_t *at);

bool json_is_object(struct json value);
bool json_is_array(struct json value);
bool json_is_string(struct json value);

/* The values in an array or object, one after the other. *rest begins as the container. */
struct json_walk {
    const char *at, *end;
    bool keyed;
};
struct json_walk json_walk(struct json container);
/* Whether there is one more; key: NULL, or where its name goes. */
bool json_next(struct json_walk *walk, struct json *key, struct json *value);

/* How many values an array or object has; 0 for anything else. */
size_t json_count(struct json container);

/* A value of an object by its name; the first if there are several. */
struct json json_get(struct json object, const char *name);

/* Whether it is a string that is this text. */
bool json_is(struct json string, const char *text);
/* Whether it is the literal true. */
bool json_is_true(struct json value);

/* A number from 0 on without fraction and exponent; -EINVAL for anything else, and what int64_t does not hold. */
int64_t json_natural(struct json number);

/*
 * The text of a string, in UTF-8, cut to whole characters that fit capacity. Returns its length; 0 for anything
 * else. A lone half of a surrogate pair becomes U+FFFD.
 */
size_t json_text(struct json string, char *text, size_t capacity);

/* A hash of a string's text, however it is escaped. */
uint32_t json_hash(struct json string);
/* The order of two strings by their text, as memcmp has it: 0 if they are the same. */
int json_compare(struct json a, struct json b);

/* The bytes of one character of UTF-8 at `at`, 1 to 4; 0 if there is no valid one before end. */
size_t json_character(const char *at, const char *end);

#endif
