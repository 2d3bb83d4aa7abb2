// SPDX-License-Identifier: Apache-2.0
/*
 * stored.h - stores through a mapping of metadata.bin, which are requests without an answer.
 *
 * We compare the page with what it showed before, and apply the difference as one step or undo it.
 */
#ifndef PYRMAPFS_STORED_H
#define PYRMAPFS_STORED_H

#include "fuse/request.h"

/* Passthrough: judges `page`, as a handle that could write left it. It showed `base` before. */
void stored_take(struct request_ops *ops, struct slot *slot, const struct caller *caller,
                 const struct record *page, const struct record *base);

/* Page-cache path: judges (a part of) a page that the kernel writes back. */
void stored_write_back(struct request_ops *ops, struct slot *slot, const struct caller *caller,
                       const char *bytes, size_t size, off_t offset);

#endif
