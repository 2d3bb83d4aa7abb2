// SPDX-License-Identifier: Apache-2.0
/*
 * follow.h - open files of .pyrmap/events, and the reads of them that wait for something to happen.
 */
#ifndef PYRMAPFS_FOLLOW_H
#define PYRMAPFS_FOLLOW_H

#include "fuse/request.h"

struct follow;

/* Returns 0 or -ENOMEM. */
int follow_init(struct request_ops *ops);
/* Leaves reads without an answer: the kernel ends them with the session. */
void follow_deinit(struct request_ops *ops);

/* Makes the handle a reader, who sees what happens from now on. Returns 0 or -ENOMEM. */
int follow_open(struct request_ops *ops, struct handle *handle);
/* Does nothing to a handle of another file. */
void follow_close(struct request_ops *ops, struct handle *handle);

/* Answers a read, at once or later. flags: the file's. */
void follow_read(struct request_ops *ops, fuse_req_t request, struct handle *handle, size_t size, int flags);

/* Whether a read would be answered at once. */
bool follow_is_ready(struct request_ops *ops, struct handle *handle);

#endif
