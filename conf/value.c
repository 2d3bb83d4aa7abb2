// SPDX-License-Identifier: Apache-2.0
#include "value.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/sysinfo.h>

static const char suffixes[] = "KMGT";

bool value_is_control(char c)
{
    return (unsigned char)c < ' ' || c == '\x7f';
}

void value_format(const struct value_kind *kind, uint64_t value, char text[VALUE_TEXT_MAX])
{
    const char *suffix = suffixes;
    const char *word = kind->words;

    switch (kind->type) {
    case VALUE_WORD:
        for (; value > 0; value--)
            word += strcspn(word, "|") + 1;
        snprintf(text, VALUE_TEXT_MAX, "%.*s", (int)strcspn(word, "|"), word);
        return;
    case VALUE_MODE:
        snprintf(text, VALUE_TEXT_MAX, "%04" PRIo64, value);
        return;
    case VALUE_SIZE:
    case VALUE_AUTO_SIZE:
        if (value == 0 || value % 1024 != 0) {
            snprintf(text, VALUE_TEXT_MAX, "%" PRIu64, value);
            return;
        }
        for (value /= 1024; suffix[1] != '\0' && value % 1024 == 0; value /= 1024)
            suffix++;
        snprintf(text, VALUE_TEXT_MAX, "%" PRIu64 "%c", value, *suffix);
        return;
    case VALUE_SECONDS:
        if (value % VALUE_MS_PER_SECOND == 0)
            snprintf(text, VALUE_TEXT_MAX, "%" PRIu64, value / VALUE_MS_PER_SECOND);
        else
            snprintf(text, VALUE_TEXT_MAX, "%" PRIu64 ".%03" PRIu64, value / VALUE_MS_PER_SECOND,
                     value % VALUE_MS_PER_SECOND);
        return;
    case VALUE_NUMBER:
        snprintf(text, VALUE_TEXT_MAX, "%" PRIu64, value);
        return;
    case VALUE_PATH:
        text[0] = '\0';
        return;
    }
}

int value_refuse(char error[VALUE_ERROR_MAX], const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(error, VALUE_ERROR_MAX, format, arguments);
    va_end(arguments);
    for (char *c = error; *c != '\0'; c++)
        if (value_is_control(*c))
            *c = '?';
    return -1;
}

/* Takes the digits that *text begins with. Returns their count, or -1 if their value does not fit. */
static int take_digits(const char **text, unsigned base, uint64_t *value)
{
    int count = 0;

    *value = 0;
    for (; **text >= '0' && (unsigned)(**text - '0') < base; (*text)++, count++)
        if (__builtin_mul_overflow(*value, base, value) ||
            __builtin_add_overflow(*value, (unsigned)(**text - '0'), value))
            return -1;
    return count;
}

static uint64_t memory_most = UINT64_MAX;

void value_set_memory(uint64_t bytes)
{
    memory_most = bytes;
}

/*
 * Takes K, M, G, T or % behind a size. Returns -1 if the value does not fit; leaves an unknown unit in *text.
 */
static int take_unit(const char **text, uint64_t *value)
{
    const char *suffix = strchr(suffixes, **text & ~0x20);

    if (**text == '%' && *value <= 100) {
        struct sysinfo info = {0};
        uint64_t ram = 0;

        sysinfo(&info);
        ram = (uint64_t)info.totalram * info.mem_unit;
        ram = ram < memory_most ? ram : memory_most;
        *value = ram / 100 * *value + ram % 100 * *value / 100;
        ++*text;
    } else if (suffix != NULL && *suffix != '\0') {
        if (__builtin_mul_overflow(*value, UINT64_C(1024) << (10 * (suffix - suffixes)), value))
            return -1;
        ++*text;
    }
    return 0;
}

/*
 * Makes milliseconds of seconds and their decimals. Leaves a fourth decimal in *text, where it is an error:
 * without it 0.0001 would become 0, which waits for ever.
 */
static int take_decimals(const char **text, uint64_t *value)
{
    const char *point = *text;

    if (__builtin_mul_overflow(*value, VALUE_MS_PER_SECOND, value))
        return -1;
    if (*point != '.' || point[1] < '0' || point[1] > '9')
        return 0;
    ++*text;
    for (uint64_t unit = VALUE_MS_PER_SECOND / 10; unit > 0 && **text >= '0' && **text <= '9';
         unit /= 10, ++*text)
        if (__builtin_add_overflow(*value, unit * (uint64_t)(**text - '0'), value))
            return -1;
    return 0;
}

static int parse_number(const struct value_kind *kind, const char *text, uint64_t *value,
                        char error[VALUE_ERROR_MAX])
{
    const char *expected = "a whole number";
    const char *rest = text;
    int digits = take_digits(&rest, kind->type == VALUE_MODE ? 8 : 10, value);
    int rc = digits;

    if (kind->type == VALUE_MODE) {
        expected = "an octal mode such as 1777";
    } else if (kind->type == VALUE_SIZE || kind->type == VALUE_AUTO_SIZE) {
        expected = "a size: whole bytes, K, M, G or T, or up to 100% of the RAM";
        if (digits > 0)
            rc = take_unit(&rest, value);
    } else if (kind->type == VALUE_SECONDS) {
        expected = "a number of seconds with up to three decimals";
        if (digits > 0)
            rc = take_decimals(&rest, value);
    }
    if (rc >= 0 && (digits == 0 || *rest != '\0'))
        return value_refuse(error, "'%.60s' is not %s", text, expected);
    if (rc < 0 || *value < kind->min || *value > kind->max) {
        char least[VALUE_TEXT_MAX];
        char most[VALUE_TEXT_MAX];

        value_format(kind, kind->min, least);
        value_format(kind, kind->max, most);
        return value_refuse(error, "'%.60s' is out of range: from %s to %s", text, least, most);
    }
    return 0;
}

static int parse_word(const struct value_kind *kind, const char *text, uint64_t *value,
                      char error[VALUE_ERROR_MAX])
{
    size_t length = strlen(text);
    const char *word = kind->words;

    for (*value = 0;; (*value)++) {
        size_t span = strcspn(word, "|");

        if (span == length && memcmp(word, text, span) == 0)
            return 0;
        if (word[span] == '\0')
            return value_refuse(error, "'%.60s' is not one of %s", text, kind->words);
        word += span + 1;
    }
}

int value_check_path(const struct value_kind *kind, const char *text, char error[VALUE_ERROR_MAX])
{
    size_t length = strlen(text);

    if (text[0] != '/')
        return value_refuse(error, "'%.60s' is not an absolute path", text);
    if (length > kind->max)
        return value_refuse(error, "a path of %zu bytes is longer than %" PRIu64, length, kind->max);
    for (const char *c = text; *c != '\0'; c++) {
        if (value_is_control(*c))
            return value_refuse(error, "a path must not have control characters");
        if (*c == ' ' && (c[1] == ';' || c[1] == '#' || c[1] == '\0'))
            return value_refuse(error, "a path must not %s",
                                c[1] == '\0' ? "end in a space"
                                             : "have ' ;' or ' #' in it; comments go on a separate line");
    }
    return 0;
}

int value_parse(const struct value_kind *kind, const char *text, uint64_t *value, char error[VALUE_ERROR_MAX])
{
    if (kind->type == VALUE_WORD)
        return parse_word(kind, text, value, error);
    if (kind->type != VALUE_AUTO_SIZE || strcmp(text, "auto") != 0)
        return parse_number(kind, text, value, error);
    *value = VALUE_AUTO;
    return 0;
}
