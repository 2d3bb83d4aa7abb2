// SPDX-License-Identifier: Apache-2.0
/*
 * record_text.h - the record as `key=value` lines: what metadata.txt shows of it, and takes.
 */
#ifndef PYRMAPFS_RECORD_TEXT_H
#define PYRMAPFS_RECORD_TEXT_H

#include "protocol/record.h"

enum {
    RECORD_TEXT_MAX = 768,       /* room for every text that record_text_format makes */
    RECORD_TEXT_LINE_MAX = 1024, /* the longest line that record_text_merge takes, without its newline */
    RECORD_TEXT_WHY_MAX = 112,
};

/*
 * The lines flag to result_order of a record; the state line before them and what follows is the caller's.
 * Writes at most capacity bytes, the NUL included, and returns the length of the whole text like snprintf.
 */
size_t record_text_format(const struct record *record, char *buffer, size_t capacity);

/*
 * Overlays current with the lines of one write, in any order. Blanks around a key or a value do not count;
 * empty lines, lines beginning with # and the keys that only the filesystem sets are skipped. A key that is
 * unknown or given twice, a value that is none, a NUL byte or an overlong line is -EINVAL. Otherwise as
 * record_merge. On an error, why says in one line of printable characters what was refused, and quotes it.
 */
int record_text_merge(const struct record *current, const char *text, size_t size, struct record *proposed,
                      uint32_t *touched, char why[RECORD_TEXT_WHY_MAX]);

/* The n-th key that metadata.txt shows or takes, from 0; NULL beyond the last. */
const char *record_text_key(size_t n);

#endif
