// SPDX-License-Identifier: Apache-2.0
/*
 * stored.h - stores through a mapping of metadata.bin: requests that nobody waits for.
 *
 * What was stored differs from what the page showed; the difference is applied as one step or undone.
 */
#ifndef PYRMAPFS_STORED_H
#define PYRMAPFS_STORED_H

#include "fuse/request.h"

/* Passthrough: a handle that could write is released. page is what it left, base what it should show. */
void stored_take(struct request_ops *ops, struct slot *slot, const struct caller *caller,
                 const struct record *page, const struct record *base);

/* Page-cache path: the kernel writes (a part of) a page back. */
void stored_write_back(struct request_ops *ops, struct slot *slot, const struct caller *caller,
                       const char *bytes, size_t size, off_t offset);

#endif
