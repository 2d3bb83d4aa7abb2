// SPDX-License-Identifier: Apache-2.0
/*
 * held.h - what waits until a slot is at rest: requests that would work on it or look at it, and the answer to
 * the write that set it going.
 *
 * A step that reaches thousands of slots or waiters is done in turns (exchange/run.h). To clients it is one step
 * all the same, because nobody is let in before it is done. Other slots are served meanwhile. A root's request
 * about a slot's name is not held: the kernel locks the directory for as long as that takes, for everybody.
 *
 * What is held goes on in the order in which it came, a few in each pass of the loop.
 */
#ifndef PYRMAPFS_HELD_H
#define PYRMAPFS_HELD_H

#include "fuse/request.h"

/* From here on requests are held. Returns 0 or -errno. */
int held_init(struct request_ops *ops);
/* Requests that are held are not answered: the kernel gives them up with the session. */
void held_deinit(struct request_ops *ops);

/* Answers a write to a file of the slot that was taken, once the slot is at rest. */
void held_reply_write(struct request_ops *ops, struct slot *slot, fuse_req_t request, size_t size);

#endif
