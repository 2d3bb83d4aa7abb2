// SPDX-License-Identifier: Apache-2.0
/*
 * seek.h - reads far into data.txt or result.txt: to find the place, all text before it has to be rendered.
 *
 * That is done in steps between which the loop serves others.
 */
#ifndef PYRMAPFS_SEEK_H
#define PYRMAPFS_SEEK_H

#include "loop.h"
#include "ops.h"

int seeks_init(struct seeks **out, struct loop *loop);
void seeks_deinit(struct seeks *seeks, struct loop *loop);

/*
 * Answers a read of a text view, now if its place is near, else when it has been found.
 */
void seek_and_read(struct ops *ops, fuse_req_t request, struct handle *handle, size_t size, off_t offset);

#endif
