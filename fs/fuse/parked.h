// SPDX-License-Identifier: Apache-2.0
/*
 * parked.h - requests that we answer later: an open or a write that waits for a peer, and every request that
 * waits for the background.
 */
#ifndef PYRMAPFS_PARKED_H
#define PYRMAPFS_PARKED_H

#include "exchange/wait.h"
#include "fuse/request.h"

struct parked {
    struct wait wait;
    struct request_ops *ops;
    fuse_req_t request;
    uint64_t unique; /* the request's number */
    struct caller caller;
    fuse_ino_t nodeid;
    struct fuse_file_info fi;
    struct handle *handle;
    struct put *put; /* the progress of a write: see put.h */
    size_t size;     /* of `bytes`, in a write */
    off_t offset;
    uint64_t began_us;        /* a write */
    bool waits;               /* in a slot; else for the background, or not yet */
    struct deadline patience; /* how long the kernel waits: see request_ops */
    void (*end)(struct wait *wait, int result);
    char bytes[];
};

/* NULL if there is no memory. fi may be NULL. The caller frees it when it has taken the request. */
struct parked *parked_new(struct request_ops *ops, fuse_req_t request, fuse_ino_t nodeid,
                          const struct fuse_file_info *fi, size_t size);

/*
 * The request, to answer it: call it once, at the end. NULL: we have answered it with ETIMEDOUT, because the
 * kernel has no patience left. Then its handle may be gone, and the work in the background had no reader; what
 * that reserved stays, so that the client finds it done when it tries again.
 */
fuse_req_t parked_take_request(struct parked *parked);

/*
 * Parks the request in a slot; the caller has filled in wait.event, retry and end. Calls wait.end at once,
 * with an error, if flags have O_NONBLOCK and it would wait for a peer (why is WAIT_FOR_PEER), or if its
 * process was interrupted already.
 */
void parked_wait(struct parked *parked, struct slot *slot, int why, int flags);

#endif
