// SPDX-License-Identifier: Apache-2.0
/*
 * record_text.h - the record as the `key=value` lines of metadata.txt, shown and read.
 */
#ifndef PYRMAPFS_RECORD_TEXT_H
#define PYRMAPFS_RECORD_TEXT_H

#include "protocol/record.h"

enum {
    RECORD_TEXT_MAX = 768,       /* enough for every text of record_text_format */
    RECORD_TEXT_LINE_MAX = 1024, /* the longest line that record_text_merge takes, without its newline */
    RECORD_TEXT_WHY_MAX = 112,
};

/*
 * Writes the lines flag to result_order of a record; the caller adds the lines before and after them. Writes
 * at most capacity bytes with the NUL, and returns the length of the whole text, as snprintf does.
 */
size_t record_text_format(const struct record *record, char *buffer, size_t capacity);

/*
 * Overlays current with the lines of one write, in any order. Blanks around a key or a value do not count;
 * empty lines, lines beginning with # and the keys that only the filesystem sets are skipped. -EINVAL for a
 * key that is unknown or given twice, a bad value, a NUL byte or an overlong line; otherwise as record_merge.
 * On an error, `why` quotes the refused line and says what is wrong with it, in one line of printable
 * characters.
 */
int record_text_merge(const struct record *current, const char *text, size_t size, struct record *proposed,
                      uint32_t *touched, char why[RECORD_TEXT_WHY_MAX]);

/* The n-th key that metadata.txt shows or takes, from 0; NULL beyond the last. */
const char *record_text_key(size_t n);

#endif
