// SPDX-License-Identifier: Apache-2.0
#include "protocol/json.h"

#include <errno.h>
#include <string.h>

/* --- characters --- */

size_t json_character(const char *at, const char *end)
{
    /* By the first byte: how many follow, and between what the second lies. */
    static const struct {
        unsigned char first, last, more, low, high;
    } rows[] = {
        {0xc2, 0xdf, 1, 0x80, 0xbf}, {0xe0, 0xe0, 2, 0xa0, 0xbf}, {0xe1, 0xec, 2, 0x80, 0xbf},
        {0xed, 0xed, 2, 0x80, 0x9f}, {0xee, 0xef, 2, 0x80, 0xbf}, {0xf0, 0xf0, 3, 0x90, 0xbf},
        {0xf1, 0xf3, 3, 0x80, 0xbf}, {0xf4, 0xf4, 3, 0x80, 0x8f},
    };
    const unsigned char *byte = (const unsigned char *)at;

    if (at == end)
        return 0;
    if (*byte < 0x80)
        return 1;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        if (*byte < rows[i].first || *byte > rows[i].last)
            continue;
        if (end - at <= rows[i].more)
            return 0;
        if (rows[i].more && (byte[1] < rows[i].low || byte[1] > rows[i].high))
            return 0;
        for (size_t k = 2; k <= rows[i].more; k++) {
            if ((byte[k] & 0xc0) != 0x80)
                return 0;
        }
        return rows[i].more + 1u;
    }
    return 0;
}

/* Behind the characters that stand for themselves in a string: most texts are nothing else. */
static const char *behind_plain(const char *at, const char *end)
{
    while (at < end && (unsigned char)*at >= 0x20 && (unsigned char)*at < 0x80 && *at != '"' && *at != '\\')
        at++;
    return at;
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* The four digits at `at`, or -1. */
static int32_t hex(const char *at, const char *end)
{
    int32_t value = 0;

    if (end - at < 4)
        return -1;
    for (int i = 0; i < 4; i++) {
        int digit = hex_digit(at[i]);

        if (digit < 0)
            return -1;
        value = value * 16 + digit;
    }
    return value;
}

/* --- the check --- */

struct scan {
    const char *at, *end;
    const char *fault;
    unsigned depth;
    uint64_t objects; /* bit n: the container at depth n is an object */
};

static bool fail(struct scan *scan, const char *fault)
{
    scan->fault = fault;
    return false;
}

static void skip_blanks(struct scan *scan)
{
    while (scan->at < scan->end &&
           (*scan->at == ' ' || *scan->at == '\t' || *scan->at == '\n' || *scan->at == '\r'))
        scan->at++;
}

static bool take(struct scan *scan, char c)
{
    if (scan->at == scan->end || *scan->at != c)
        return false;
    scan->at++;
    return true;
}

static bool scan_escape(struct scan *scan)
{
    if (scan->at < scan->end && *scan->at == 'u') {
        if (hex(scan->at + 1, scan->end) < 0)
            return fail(scan, "\\u without four digits");
        scan->at += 5;
        return true;
    }
    if (scan->at == scan->end || !*scan->at || !strchr("\"\\/bfnrt", *scan->at))
        return fail(scan, "an unknown escape");
    scan->at++;
    return true;
}

static bool scan_string(struct scan *scan)
{
    if (!take(scan, '"'))
        return fail(scan, "a name in quotes is missing");
    for (;;) {
        size_t size;

        scan->at = behind_plain(scan->at, scan->end);
        if (take(scan, '"'))
            return true;
        if (take(scan, '\\')) {
            if (!scan_escape(scan))
                return false;
            continue;
        }
        if (scan->at < scan->end && (unsigned char)*scan->at < 0x20)
            return fail(scan, "a control character in a string");
        size = json_character(scan->at, scan->end);
        if (!size)
            return fail(scan, scan->at == scan->end ? "a string without an end" : "a byte that is not UTF-8");
        scan->at += size;
    }
}

static bool scan_digits(struct scan *scan)
{
    const char *from = scan->at;

    while (scan->at < scan->end && *scan->at >= '0' && *scan->at <= '9')
        scan->at++;
    return scan->at > from || fail(scan, "a value is missing");
}

static bool scan_number(struct scan *scan)
{
    take(scan, '-');
    if (!take(scan, '0') && !scan_digits(scan))
        return false;
    if (take(scan, '.') && !scan_digits(scan))
        return false;
    if (take(scan, 'e') || take(scan, 'E')) {
        if (!take(scan, '+'))
            take(scan, '-');
        return scan_digits(scan);
    }
    return true;
}

static bool scan_literal(struct scan *scan)
{
    static const char *const words[] = {"true", "false", "null"};

    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
        size_t size = strlen(words[i]);

        if ((size_t)(scan->end - scan->at) >= size && memcmp(scan->at, words[i], size) == 0) {
            scan->at += size;
            return true;
        }
    }
    return scan_number(scan);
}

/* The name and colon of a member, if we are in an object. */
static bool scan_key(struct scan *scan)
{
    if (!(scan->objects >> scan->depth & 1))
        return true;
    skip_blanks(scan);
    if (!scan_string(scan))
        return false;
    skip_blanks(scan);
    return take(scan, ':') || fail(scan, "a colon is missing");
}

/* Into a container. *empty: it has no members, and we are behind it again. */
static bool scan_into(struct scan *scan, bool object, bool *empty)
{
    if (scan->depth == JSON_DEPTH_MAX)
        return fail(scan, "it is nested too deep");
    scan->at++;
    skip_blanks(scan);
    *empty = take(scan, object ? '}' : ']');
    if (*empty)
        return true;
    scan->depth++;
    scan->objects &= ~(UINT64_C(1) << scan->depth);
    scan->objects |= (uint64_t)object << scan->depth;
    return scan_key(scan);
}

/* Behind a value: to where the next one begins. *over: there is none. */
static bool scan_on(struct scan *scan, bool *over)
{
    for (; scan->depth; scan->depth--) {
        skip_blanks(scan);
        if (take(scan, ',')) {
            *over = false;
            return scan_key(scan);
        }
        if (!take(scan, scan->objects >> scan->depth & 1 ? '}' : ']'))
            return fail(scan, "a comma or a closing bracket is missing");
    }
    *over = true;
    return true;
}

static bool scan_all(struct scan *scan)
{
    bool over = false;

    while (!over) {
        bool whole = true;

        skip_blanks(scan);
        if (scan->at < scan->end && (*scan->at == '{' || *scan->at == '[')) {
            if (!scan_into(scan, *scan->at == '{', &whole))
                return false;
        } else if (scan->at < scan->end && *scan->at == '"') {
            if (!scan_string(scan))
                return false;
        } else if (!scan_literal(scan)) {
            return false;
        }
        if (whole && !scan_on(scan, &over))
            return false;
    }
    return true;
}

const char *json_check(const char *text, size_t size, struct json *value, size_t *at)
{
    struct scan scan = {.at = text, .end = text + size};
    const char *begin;

    skip_blanks(&scan);
    begin = scan.at;
    if (scan_all(&scan)) {
        *value = (struct json){begin, scan.at};
        skip_blanks(&scan);
        if (scan.at < scan.end)
            fail(&scan, "there is more behind its end");
    }
    *at = (size_t)(scan.at - text);
    return scan.fault;
}

/* --- the walk: the text is known to be JSON --- */

bool json_is_object(struct json value)
{
    return value.at && *value.at == '{';
}

bool json_is_array(struct json value)
{
    return value.at && *value.at == '[';
}

bool json_is_string(struct json value)
{
    return value.at && *value.at == '"';
}

static const char *behind_blanks(const char *at, const char *end)
{
    struct scan scan = {.at = at, .end = end};

    skip_blanks(&scan);
    return scan.at;
}

static const char *behind_string(const char *at, const char *end)
{
    for (at = behind_plain(at + 1, end); at < end && *at != '"'; at = behind_plain(at + 1, end))
        at += *at == '\\';
    return at < end ? at + 1 : end;
}

static const char *behind_value(const char *at, const char *end)
{
    unsigned depth = 0;

    do {
        if (at == end)
            return end;
        if (*at == '"') {
            at = behind_string(at, end);
            continue;
        }
        if (*at == '{' || *at == '[')
            depth++;
        else if (*at == '}' || *at == ']')
            depth--;
        at++;
    } while (depth || (at < end && !strchr(",]} \t\r\n", *at)));
    return at;
}

struct json_walk json_walk(struct json container)
{
    if (!json_is_object(container) && !json_is_array(container))
        return (struct json_walk){0};
    return (struct json_walk){container.at + 1, container.end - 1, json_is_object(container)};
}

bool json_next(struct json_walk *walk, struct json *key, struct json *value)
{
    const char *at = behind_blanks(walk->at, walk->end);

    if (at < walk->end && *at == ',')
        at = behind_blanks(at + 1, walk->end);
    if (at == walk->end)
        return false;
    if (walk->keyed) {
        const char *end = behind_string(at, walk->end);

        if (key)
            *key = (struct json){at, end};
        at = behind_blanks(end, walk->end);
        at = behind_blanks(at < walk->end ? at + 1 : at, walk->end);
    }
    walk->at = behind_value(at, walk->end);
    *value = (struct json){at, walk->at};
    return true;
}

size_t json_count(struct json container)
{
    struct json_walk walk = json_walk(container);
    struct json value;
    size_t count = 0;

    while (json_next(&walk, NULL, &value))
        count++;
    return count;
}

struct json json_get(struct json object, const char *name)
{
    struct json_walk walk = json_walk(object);
    struct json key, value;

    if (json_is_object(object)) {
        while (json_next(&walk, &key, &value)) {
            if (json_is(key, name))
                return value;
        }
    }
    return (struct json){0};
}

bool json_is_true(struct json value)
{
    return value.at && value.end - value.at == 4 && memcmp(value.at, "true", 4) == 0;
}

int64_t json_natural(struct json number)
{
    int64_t value = 0;

    if (!number.at || number.at == number.end)
        return -EINVAL;
    for (const char *at = number.at; at < number.end; at++) {
        if (*at < '0' || *at > '9' || __builtin_mul_overflow(value, 10, &value) ||
            __builtin_add_overflow(value, *at - '0', &value))
            return -EINVAL;
    }
    return value;
}

/* --- the text of a string --- */

/* The characters of a string's text, one byte of UTF-8 after the other. */
struct decoding {
    const char *at, *end;
    unsigned char pending[4];
    unsigned count; /* of the character that pending holds */
    unsigned next;
};

static struct decoding decode(struct json string)
{
    return json_is_string(string) ? (struct decoding){.at = string.at + 1, .end = string.end - 1}
                                  : (struct decoding){0};
}

static void put_code(struct decoding *decoding, uint32_t code)
{
    unsigned more = code < 0x80 ? 0 : code < 0x800 ? 1 : code < 0x10000 ? 2 : 3;
    static const unsigned char marks[] = {0, 0xc0, 0xe0, 0xf0};

    decoding->count = more + 1;
    for (unsigned i = more; i; i--) {
        decoding->pending[i] = (unsigned char)(0x80 | (code & 0x3f));
        code >>= 6;
    }
    decoding->pending[0] = (unsigned char)(marks[more] | code);
}

/* Behind \u: the character, together with the second half that may follow. */
static uint32_t decode_unicode(struct decoding *decoding)
{
    int32_t code = hex(decoding->at, decoding->end);

    if (code < 0)
        return 0xfffd;
    decoding->at += 4;
    if (code >= 0xd800 && code < 0xdc00 && decoding->end - decoding->at >= 6 && decoding->at[0] == '\\' &&
        decoding->at[1] == 'u') {
        int32_t low = hex(decoding->at + 2, decoding->end);

        if (low >= 0xdc00 && low < 0xe000) {
            decoding->at += 6;
            return 0x10000u + ((uint32_t)(code - 0xd800) << 10) + (uint32_t)(low - 0xdc00);
        }
    }
    return code >= 0xd800 && code < 0xe000 ? 0xfffd : (uint32_t)code;
}

/* The next character into pending. Returns whether there is one. */
static bool decode_character(struct decoding *decoding)
{
    static const char from[] = "bfnrt", to[] = "\b\f\n\r\t";

    decoding->next = 0;
    if (decoding->at >= decoding->end)
        return false;
    if (*decoding->at != '\\' || decoding->end - decoding->at < 2) {
        size_t size = json_character(decoding->at, decoding->end);

        decoding->count = size ? (unsigned)size : 1;
        memcpy(decoding->pending, decoding->at, decoding->count);
        decoding->at += decoding->count;
        return true;
    }
    decoding->at += 2;
    if (decoding->at[-1] == 'u') {
        put_code(decoding, decode_unicode(decoding));
    } else {
        const char *found = strchr(from, decoding->at[-1]);

        decoding->count = 1;
        decoding->pending[0] = (unsigned char)(found && *found ? to[found - from] : decoding->at[-1]);
    }
    return true;
}

/* The next byte, or -1. */
static int decode_byte(struct decoding *decoding)
{
    if (decoding->next == decoding->count && !decode_character(decoding)) {
        decoding->count = 0;
        return -1;
    }
    return decoding->pending[decoding->next++];
}

size_t json_text(struct json string, char *text, size_t capacity)
{
    struct decoding decoding = decode(string);
    size_t length = 0;

    do {
        size_t plain = (size_t)(behind_plain(decoding.at, decoding.end) - decoding.at);

        if (plain > capacity - length)
            plain = capacity - length;
        if (plain)
            memcpy(text + length, decoding.at, plain);
        decoding.at += plain;
        length += plain;
        if (!decode_character(&decoding) || decoding.count > capacity - length)
            return length;
        memcpy(text + length, decoding.pending, decoding.count);
        length += decoding.count;
    } while (true);
}

bool json_is(struct json string, const char *text)
{
    struct decoding decoding = decode(string);
    int byte;

    if (!json_is_string(string))
        return false;
    while ((byte = decode_byte(&decoding)) >= 0) {
        if (!*text || (unsigned char)*text++ != byte)
            return false;
    }
    return !*text;
}

uint32_t json_hash(struct json string)
{
    struct decoding decoding = decode(string);
    uint32_t hash = 2166136261u;
    int byte;

    while ((byte = decode_byte(&decoding)) >= 0)
        hash = (hash ^ (uint32_t)byte) * 16777619u;
    return hash;
}

int json_compare(struct json a, struct json b)
{
    struct decoding first = decode(a), second = decode(b);
    int left, right;

    do {
        left = decode_byte(&first);
        right = decode_byte(&second);
        if (left != right)
            return left < right ? -1 : 1;
    } while (left >= 0);
    return 0;
}
