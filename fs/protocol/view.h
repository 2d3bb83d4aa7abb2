// SPDX-License-Identifier: Apache-2.0
/*
 * view.h - data.txt, result.txt, data.npy, result.npy: read-only views of a published segment, made on the
 * fly.
 *
 * A view is described by what it shows and reads its bytes through a function, so that it builds and is
 * tested without an arena. Nothing is built whole: a read renders what it returns.
 */
#ifndef PYRMAPFS_VIEW_H
#define PYRMAPFS_VIEW_H

#include "protocol/record.h"
#include <stdbool.h>
#include <sys/types.h>

/* What a view shows: pinned when the view is opened. The description fits the bytes (see record_fit). */
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
 * Text: one value a line, in memory order, the shortest digits that read back to the same bits ("nan", "inf",
 * "-inf"). cursor remembers where the last read ended (zero it at open), so that sequential reads cost what
 * they return; a read further on walks there from the cursor, a read before it from the beginning.
 */
struct view_cursor {
    off_t offset;    /* of the text, where element begins */
    int64_t element; /* first element whose line ends after offset */
};

/*
 * Renders [offset, offset + size) of the text into buffer. Returns bytes (less than size at the end only, or
 * before a failed read; 0 at the end) or -errno; -EIO if the segment ends before its last element.
 */
ssize_t view_text_read(const struct view_source *source, struct view_cursor *cursor, char *buffer,
                       size_t size, off_t offset);

/*
 * Walks the cursor to the line that holds offset, at most VIEW_SEEK_STEP elements at a time: a caller that
 * must not be kept for long walks in steps before it reads. Returns 1 when the cursor is there (or at the
 * end), 0 when there is more to walk, or -errno.
 */
enum { VIEW_SEEK_STEP = 8192 };
int view_text_seek(const struct view_source *source, struct view_cursor *cursor, off_t offset);

/*
 * The text's size in bytes when it is cheap to know (length <= VIEW_TEXT_EXACT), else 0: like files in /proc,
 * readers go on to the end. -errno on a failed read.
 */
enum { VIEW_TEXT_EXACT = 16384 };
off_t view_text_size(const struct view_source *source);

/*
 * NumPy format 1.0: header padded to 64 bytes, then the segment's bytes. Exact size; reads return as above.
 */
off_t view_npy_size(const struct view_source *source);
ssize_t view_npy_read(const struct view_source *source, char *buffer, size_t size, off_t offset);

#endif
