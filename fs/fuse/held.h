// SPDX-License-Identifier: Apache-2.0
/*
 * held.h - holds back, until a slot is at rest, the requests that would change it or look at it, and the
 * answer to the write that began its step.
 *
 * A step that reaches thousands of slots or waiters is done in turns (exchange/run.h). Clients see one step
 * all the same, because we serve no request for the slot before the step is done; we go on to serve other
 * slots. We never hold a request about a name in the root: the kernel locks the root for everybody until the
 * answer.
 *
 * We serve the held requests of a slot in the order in which they came, a few in each pass of the loop. A
 * RELEASE goes before all others: a publish must not be refused because of a file that its client has closed.
 */
#ifndef PYRMAPFS_HELD_H
#define PYRMAPFS_HELD_H

#include "fuse/request.h"

/* Begins to hold requests. Returns 0 or -errno. */
int held_init(struct request_ops *ops);
/* Leaves held requests without an answer: the kernel ends them with the session. */
void held_deinit(struct request_ops *ops);

/*
 * Answers a write to a file of the slot, which was done, once the slot is at rest, and what it has changed is on
 * the disk of an arena that has one. A server that takes over meanwhile learns that it was done: see journal.h.
 */
struct held_write {
    fuse_req_t request;
    uint64_t unique;
    size_t size;
    uint64_t published_us; /* when the publish began that the write is; 0: it is none */
};
void held_reply_write(struct request_ops *ops, struct slot *slot, const struct held_write *write);

/*
 * Answers a RELEASE that was done, later if others wait in line behind it. No client waits for that answer, but
 * a process that dies puts one RELEASE for each of its files in the line, and an answer takes as long as all the
 * rest of it.
 */
void held_reply_release(struct request_ops *ops, fuse_req_t request);

#endif
