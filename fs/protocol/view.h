// SPDX-License-Identifier: Apache-2.0
/*
 * view.h - data.txt, result.txt, data.npy, result.npy: read-only views of a published segment, made on the
 * fly.
 *
 * A view reads the bytes that it shows through a function, so it builds and is tested without an arena. A
 * read renders only what it returns; no view is ever built as a whole.
 */
#ifndef PYRMAPFS_VIEW_H
#define PYRMAPFS_VIEW_H

#include "protocol/record.h"
#include <stdbool.h>
#include <sys/types.h>

/*
 * The array that a view shows, fixed when the view is opened. The description fits the bytes: see record_fit.
 */
struct view_source {
    int32_t dtype; /* enum record_dtype */
    int32_t ndim;  /* 0: a plain vector of `length` */
    int64_t shape[RECORD_NDIM_MAX];
    int64_t length; /* elements */
    bool fortran;
    /* pread(2) on the segment: bytes read, 0 at the end, or -errno. */
    ssize_t (*read)(void *context, void *buffer, size_t size, off_t offset);
    void *context;
};

/*
 * Text has one value a line, in memory order, with the fewest digits that read back to the same bits ("nan",
 * "inf", "-inf"). cursor remembers where the last read ended (zero it at open), so a sequential read costs as
 * much as it returns; a read further on walks there from the cursor, a read before it from the beginning.
 */
struct view_cursor {
    off_t offset;    /* in the text, where the line of `element` begins */
    int64_t element; /* first element whose line ends after offset */
};

/*
 * Renders [offset, offset + size) of the text into buffer. Returns bytes (less than size at the end only, or
 * before a failed read; 0 at the end) or -errno; -EIO if the segment ends before its last element.
 */
ssize_t view_text_read(const struct view_source *source, struct view_cursor *cursor, char *buffer,
                       size_t size, off_t offset);

/*
 * Walks the cursor up to VIEW_SEEK_STEP elements towards the line that holds offset. A caller that must not
 * be busy for long calls it until the cursor is there, and then reads. Returns 1 when the cursor is there (or
 * at the end), 0 when it has further to walk, or -errno.
 */
enum { VIEW_SEEK_STEP = 8192 };
int view_text_seek(const struct view_source *source, struct view_cursor *cursor, off_t offset);

/*
 * The text's size in bytes if it is cheap to know (length <= VIEW_TEXT_EXACT), else 0: clients then read on
 * to the end, as they do with files in /proc. -errno on a failed read.
 */
enum { VIEW_TEXT_EXACT = 16384 };
off_t view_text_size(const struct view_source *source);

/*
 * NumPy format 1.0: header padded to 64 bytes, then the segment's bytes. Exact size; reads return as above.
 */
off_t view_npy_size(const struct view_source *source);
ssize_t view_npy_read(const struct view_source *source, char *buffer, size_t size, off_t offset);

#endif
