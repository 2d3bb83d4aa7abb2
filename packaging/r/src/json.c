// SPDX-License-Identifier: Apache-2.0
/*
 * json.c - recursive descent, no deeper than JSON_DEPTH_MAX.
 */
#include "json.h"

#include "text.h"
#define R_NO_REMAP
#include <R.h>
#include <Rinternals.h>
#include <stdlib.h>
#include <string.h>

struct reading {
    const char *at;
    const char *end;
    struct json_document *document;
    char *strings; /* as long as the text: no string grows when its escapes go */
    size_t used;
    const char *error;
};

static bool refuse(struct reading *reading, const char *error)
{
    if (!reading->error)
        reading->error = error;
    return false;
}

static void skip_space(struct reading *reading)
{
    while (reading->at < reading->end && strchr(" \t\n\r", *reading->at) && *reading->at)
        reading->at++;
}

static bool take(struct reading *reading, char wanted)
{
    if (reading->at == reading->end || *reading->at != wanted)
        return false;
    reading->at++;
    return true;
}

/* Its index. Pointers to values change when the document grows. */
static uint32_t add(struct reading *reading, enum json_type type)
{
    struct json_document *document = reading->document;
    if (document->count == document->room) {
        uint32_t room = 2 * document->room + 64;
        struct json *larger = (struct json *)R_alloc(room, sizeof(*larger));
        if (document->count > 0)
            memcpy(larger, document->values, document->count * sizeof(*larger));
        document->values = larger;
        document->room = room;
    }
    document->values[document->count] = (struct json){.type = type, .after = document->count + 1};
    return document->count++;
}

static int hex_digit(char digit)
{
    if (digit >= '0' && digit <= '9')
        return digit - '0';
    if (digit >= 'a' && digit <= 'f')
        return digit - 'a' + 10;
    return digit >= 'A' && digit <= 'F' ? digit - 'A' + 10 : -1;
}

/* The four digits of \uXXXX; -1. */
static long read_unit(struct reading *reading)
{
    long unit = 0;
    if (reading->end - reading->at < 4)
        return -1;
    for (int i = 0; i < 4; i++) {
        int digit = hex_digit(*reading->at++);
        if (digit < 0)
            return -1;
        unit = unit * 16 + digit;
    }
    return unit;
}

/* Not more bytes than the escape has. */
static void put_character(struct reading *reading, long code)
{
    char *to = reading->strings + reading->used;
    if (code < 0x80) {
        *to++ = (char)code;
    } else if (code < 0x800) {
        *to++ = (char)(0xC0 | code >> 6);
        *to++ = (char)(0x80 | (code & 0x3F));
    } else if (code < 0x10000) {
        *to++ = (char)(0xE0 | code >> 12);
        *to++ = (char)(0x80 | (code >> 6 & 0x3F));
        *to++ = (char)(0x80 | (code & 0x3F));
    } else {
        *to++ = (char)(0xF0 | code >> 18);
        *to++ = (char)(0x80 | (code >> 12 & 0x3F));
        *to++ = (char)(0x80 | (code >> 6 & 0x3F));
        *to++ = (char)(0x80 | (code & 0x3F));
    }
    reading->used = (size_t)(to - reading->strings);
}

static bool read_escape(struct reading *reading)
{
    static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
    if (reading->at == reading->end)
        return refuse(reading, "a string does not end");
    char letter = *reading->at++;
    const char *known = letter ? strchr(from, letter) : NULL;
    if (known) {
        reading->strings[reading->used++] = to[known - from];
        return true;
    }
    long code = letter == 'u' ? read_unit(reading) : -1;
    if (code >= 0xD800 && code <= 0xDBFF && take(reading, '\\') && take(reading, 'u')) {
        long low = read_unit(reading);
        if (low < 0xDC00 || low > 0xDFFF)
            return refuse(reading, "half of a surrogate pair");
        code = 0x10000 + (code - 0xD800) * 0x400 + (low - 0xDC00);
    }
    if (code <= 0 || (code >= 0xD800 && code <= 0xDFFF))
        return refuse(reading, "an escape that stands for no character");
    put_character(reading, code);
    return true;
}

static bool read_string(struct reading *reading)
{
    uint32_t index = add(reading, JSON_STRING);
    size_t start = reading->used;
    for (;;) {
        if (reading->at == reading->end)
            return refuse(reading, "a string does not end");
        char byte = *reading->at++;
        if (byte == '"')
            break;
        if ((unsigned char)byte < 0x20)
            return refuse(reading, "a control character in a string");
        if (byte != '\\')
            reading->strings[reading->used++] = byte;
        else if (!read_escape(reading))
            return false;
    }
    struct json *value = &reading->document->values[index];
    value->string = reading->strings + start;
    value->size = reading->used - start;
    return text_is_valid(value->string, value->size) || refuse(reading, "a string that is not UTF-8");
}

static bool read_digits(struct reading *reading)
{
    const char *start = reading->at;
    while (reading->at < reading->end && *reading->at >= '0' && *reading->at <= '9')
        reading->at++;
    return reading->at > start || refuse(reading, "a number without digits");
}

static bool read_number(struct reading *reading)
{
    uint32_t index = add(reading, JSON_INTEGER);
    struct json *value = &reading->document->values[index];
    bool negative = take(reading, '-');
    const char *first = reading->at;
    if (!read_digits(reading))
        return false;
    if (*first == '0' && reading->at - first > 1)
        return refuse(reading, "a number that begins with 0");
    bool exact = true;
    for (const char *digit = first; digit < reading->at && exact; digit++)
        exact = !__builtin_mul_overflow(value->number, 10, &value->number) &&
                !__builtin_sub_overflow(value->number, *digit - '0', &value->number);
    /* It was built up below zero, where there is one number more. */
    if (exact && !negative)
        exact = !__builtin_sub_overflow(0, value->number, &value->number);
    if (take(reading, '.')) {
        exact = false;
        if (!read_digits(reading))
            return false;
    }
    if (take(reading, 'e') || take(reading, 'E')) {
        exact = false;
        if (!take(reading, '+'))
            take(reading, '-');
        if (!read_digits(reading))
            return false;
    }
    if (!exact)
        value->type = JSON_FRACTION;
    return true;
}

static bool read_word(struct reading *reading, const char *word, enum json_type type, int64_t number)
{
    size_t size = strlen(word);
    if ((size_t)(reading->end - reading->at) < size || memcmp(reading->at, word, size) != 0)
        return refuse(reading, "what is no value");
    reading->at += size;
    uint32_t index = add(reading, type);
    reading->document->values[index].number = number;
    return true;
}

static int compare_keys(const void *left, const void *right)
{
    const struct json *a = *(const struct json *const *)left, *b = *(const struct json *const *)right;
    int order = memcmp(a->string, b->string, a->size < b->size ? a->size : b->size);
    return order != 0 ? order : (a->size > b->size) - (a->size < b->size);
}

static bool check_keys(struct reading *reading, uint32_t index)
{
    const struct json_document *document = reading->document;
    const struct json *object = &document->values[index];
    if (object->count < 2)
        return true;
    const void *mark = vmaxget();
    const struct json **keys = (const struct json **)R_alloc(object->count, sizeof(*keys));
    const struct json *key = json_first(object);
    for (uint32_t i = 0; i < object->count; i++) {
        keys[i] = key;
        key = json_next(document, json_next(document, key));
    }
    qsort(keys, object->count, sizeof(*keys), compare_keys);
    bool twice = false;
    for (uint32_t i = 1; i < object->count; i++)
        twice |= compare_keys(&keys[i - 1], &keys[i]) == 0;
    vmaxset(mark);
    return !twice || refuse(reading, "a key twice in one object");
}

static bool read_value(struct reading *reading, int depth);

/* From behind the bracket on. */
static bool read_members(struct reading *reading, int depth, enum json_type type)
{
    const char close = type == JSON_ARRAY ? ']' : '}';
    uint32_t index = add(reading, type), count = 0;
    if (depth == JSON_DEPTH_MAX)
        return refuse(reading, "values that lie too deep in others");
    skip_space(reading);
    if (take(reading, close))
        return true;
    do {
        skip_space(reading);
        if (type == JSON_OBJECT) {
            if (!take(reading, '"'))
                return refuse(reading, "an object's key that is no string");
            if (!read_string(reading))
                return false;
            skip_space(reading);
            if (!take(reading, ':'))
                return refuse(reading, "a key without a value");
        }
        if (!read_value(reading, depth + 1))
            return false;
        count++;
        skip_space(reading);
    } while (take(reading, ','));
    if (!take(reading, close))
        return refuse(reading, "an array or object that does not end");
    reading->document->values[index].count = count;
    reading->document->values[index].after = reading->document->count;
    return type == JSON_ARRAY || check_keys(reading, index);
}

static bool read_value(struct reading *reading, int depth)
{
    skip_space(reading);
    if (take(reading, '{'))
        return read_members(reading, depth, JSON_OBJECT);
    if (take(reading, '['))
        return read_members(reading, depth, JSON_ARRAY);
    if (take(reading, '"'))
        return read_string(reading);
    if (reading->at == reading->end)
        return refuse(reading, "a text that ends where a value is due");
    switch (*reading->at) {
    case 't':
        return read_word(reading, "true", JSON_BOOLEAN, 1);
    case 'f':
        return read_word(reading, "false", JSON_BOOLEAN, 0);
    case 'n':
        return read_word(reading, "null", JSON_NULL, 0);
    default:
        return read_number(reading);
    }
}

const char *json_read(const char *text, size_t size, struct json_document *document)
{
    *document = (struct json_document){.count = 0};
    struct reading reading = {.at = text, .end = text + size, .document = document};
    reading.strings = R_alloc(size + 1, 1);
    if (!read_value(&reading, 0))
        return reading.error;
    skip_space(&reading);
    return reading.at == reading.end ? NULL : "something after its end";
}

const struct json *json_first(const struct json *container)
{
    return container + 1;
}

const struct json *json_next(const struct json_document *document, const struct json *value)
{
    return document->values + value->after;
}

bool json_is(const struct json *value, const char *string)
{
    return value && value->type == JSON_STRING && value->size == strlen(string) &&
           memcmp(value->string, string, value->size) == 0;
}

const struct json *json_get(const struct json_document *document, const struct json *object, const char *key)
{
    if (!object || object->type != JSON_OBJECT)
        return NULL;
    const struct json *at = json_first(object);
    for (uint32_t i = 0; i < object->count; i++) {
        const struct json *value = json_next(document, at);
        if (json_is(at, key))
            return value;
        at = json_next(document, value);
    }
    return NULL;
}
