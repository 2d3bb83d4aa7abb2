// SPDX-License-Identifier: Apache-2.0
/*
 * reserve.h - gives segments sizes and pages, in the background: a full arena is -ENOSPC here, and never a
 * signal at a client's store.
 */
#ifndef PYRMAPFS_RESERVE_H
#define PYRMAPFS_RESERVE_H

#include "arena/segment.h"

enum reserve_mode {
    RESERVE_RESIZE, /* set the size, and reserve its pages */
    RESERVE_PAGES,  /* [0, size) has pages; the size stays */
    RESERVE_GROW,   /* the same, and the size is at least this */
};

/*
 * Calls done(context, 0 or -errno) in the loop, exactly once; for a few microseconds' work BEFORE
 * reserve_pages returns. The segment is pinned for the time of the job. ENOSPC leaves the size as it was and
 * comes only after the warm pool was given up. EFBIG: no file is that large.
 */
void reserve_pages(struct arena *arena, struct segment *segment, enum reserve_mode mode, uint64_t size,
                   void (*done)(void *context, int result), void *context);

/*
 * Prepares the bytes for publishing: fills holes, trims pages beyond the end, calls fsync where there is a
 * disk. done as above. Nobody may be able to write to the segment meanwhile.
 */
void reserve_settle(struct arena *arena, struct segment *segment, void (*done)(void *context, int result),
                    void *context);
/* Whether reserve_settle would have nothing to do. */
bool reserve_settled(struct arena *arena, struct segment *segment);

/* arena.c calls this when a file is gone: tries the reservations again that wait for it. */
void reserve_resume(struct arena *arena);

#endif
