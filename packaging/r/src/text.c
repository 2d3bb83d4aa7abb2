// SPDX-License-Identifier: Apache-2.0
/*
 * text.c - growing by doubling, JSON's escapes, and the table of well-formed UTF-8.
 */
#include "text.h"

#define R_NO_REMAP
#include <R.h>
#include <Rinternals.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

void text_add(struct text *text, const void *bytes, size_t size)
{
    if (text->room - text->size < size) {
        size_t room = 2 * text->room + size + 256;
        char *larger = R_alloc(room, 1);
        if (text->size > 0)
            memcpy(larger, text->bytes, text->size);
        text->bytes = larger;
        text->room = room;
    }
    if (size > 0)
        memcpy(text->bytes + text->size, bytes, size);
    text->size += size;
}

void text_add_string(struct text *text, const char *string)
{
    text_add(text, string, strlen(string));
}

void text_add_number(struct text *text, long long number)
{
    char digits[24];
    text_add(text, digits, (size_t)snprintf(digits, sizeof(digits), "%lld", number));
}

void text_add_json(struct text *text, const char *bytes, size_t size)
{
    size_t plain = 0;
    text_add(text, "\"", 1);
    for (size_t i = 0; i < size; i++) {
        unsigned char byte = (unsigned char)bytes[i];
        if (byte >= 0x20 && byte != '"' && byte != '\\')
            continue;
        char escape[8];
        int length = byte < 0x20 ? snprintf(escape, sizeof(escape), "\\u%04x", byte)
                                 : snprintf(escape, sizeof(escape), "\\%c", byte);
        text_add(text, bytes + plain, i - plain);
        text_add(text, escape, (size_t)length);
        plain = i + 1;
    }
    text_add(text, bytes + plain, size - plain);
    text_add(text, "\"", 1);
}

/* How many bytes the character that begins there has; 0 if it is none. left: at least 1. */
static size_t character_size(const unsigned char *at, size_t left)
{
    if (at[0] < 0x80)
        return at[0] != 0;
    /* What the second byte may be keeps overlong forms, surrogates and what lies above U+10FFFF out. */
    size_t size = at[0] < 0xE0 ? 2 : at[0] < 0xF0 ? 3 : 4;
    unsigned char low = at[0] == 0xE0 ? 0xA0 : at[0] == 0xF0 ? 0x90 : 0x80;
    unsigned char high = at[0] == 0xED ? 0x9F : at[0] == 0xF4 ? 0x8F : 0xBF;
    if (at[0] < 0xC2 || at[0] > 0xF4 || left < size || at[1] < low || at[1] > high)
        return 0;
    for (size_t i = 2; i < size; i++)
        if ((at[i] & 0xC0) != 0x80)
            return 0;
    return size;
}

/* Eight bytes of ASCII, none of them NUL. */
static bool are_ascii(const char *bytes)
{
    const uint64_t tops = UINT64_C(0x8080808080808080), ones = UINT64_C(0x0101010101010101);
    uint64_t eight;
    memcpy(&eight, bytes, sizeof(eight));
    return ((eight | (eight - ones)) & tops) == 0;
}

bool text_is_valid(const char *bytes, size_t size)
{
    for (size_t i = 0; i < size;) {
        if (size - i >= 8 && are_ascii(bytes + i)) {
            i += 8;
            continue;
        }
        size_t character = character_size((const unsigned char *)bytes + i, size - i);
        if (character == 0)
            return false;
        i += character;
    }
    return true;
}
