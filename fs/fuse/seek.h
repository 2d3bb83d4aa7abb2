// SPDX-License-Identifier: Apache-2.0
/*
 * seek.h - reads far into data.txt or result.txt. To find the place we must render all text before it, which
 * we do in turns between which the loop serves others.
 */
#ifndef PYRMAPFS_SEEK_H
#define PYRMAPFS_SEEK_H

#include "fuse/request.h"

/* Answers a read of a text view: now if its place is near, else when we have found it. */
void seek_and_read(struct request_ops *ops, fuse_req_t request, struct handle *handle, size_t size,
                   off_t offset);

#endif
