// SPDX-License-Identifier: Apache-2.0
/*
 * value.h - one value of the configuration: from its text to a number, and back.
 *
 * A number's text that value_format writes is one that value_parse takes, and means the same.
 */
#ifndef PYRMAPFS_VALUE_H
#define PYRMAPFS_VALUE_H

#include <stdbool.h>
#include <stdint.h>

enum { VALUE_TEXT_MAX = 32, VALUE_ERROR_MAX = 512, VALUE_MS_PER_SECOND = 1000 };

#define VALUE_AUTO UINT64_MAX

enum value_type {
    VALUE_WORD, /* one of words, stored as its index there, which is the enum's number */
    VALUE_MODE,
    VALUE_SIZE,
    VALUE_AUTO_SIZE, /* a size, or `auto` stored as VALUE_AUTO */
    VALUE_SECONDS,   /* stored in milliseconds */
    VALUE_NUMBER,
    VALUE_PATH, /* not stored as a number */
};

struct value_kind {
    enum value_type type;
    const char *words; /* "auto|yes|no" */
    uint64_t min;      /* as stored; of a path its length */
    uint64_t max;
};

/*
 * Both return 0, or -1 with one line that says what is wrong. value_check_path refuses a path that the file could not
 * hold, or would read back as something else: conf_print has to print each value that -o can set. "# ..." behind a
 * path is more likely meant as a comment than as a part of it.
 */
int value_parse(const struct value_kind *kind, const char *text, uint64_t *value,
                char error[VALUE_ERROR_MAX]);
int value_check_path(const struct value_kind *kind, const char *text, char error[VALUE_ERROR_MAX]);

/* The text of a number; that of a path is empty. */
void value_format(const struct value_kind *kind, uint64_t value, char text[VALUE_TEXT_MAX]);

/* Percentages are of so many bytes, if the machine has more. */
void value_set_memory(uint64_t bytes);

/*
 * Writes the one line that says what is wrong, and returns -1. Replaces control characters in quoted text, so
 * that the message stays one line.
 */
__attribute__((format(printf, 2, 3))) int value_refuse(char error[VALUE_ERROR_MAX], const char *format, ...);
bool value_is_control(char c);

#endif
