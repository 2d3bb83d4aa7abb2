// SPDX-License-Identifier: Apache-2.0
/*
 * parked.h - requests that are answered later: an open or a write that waits for a peer, and any that waits
 * for the background.
 */
#ifndef PYRMAPFS_PARKED_H
#define PYRMAPFS_PARKED_H

#include "exchange/wait.h"
#include "fuse/request.h"

struct parked {
    struct wait wait;
    struct request_ops *ops;
    fuse_req_t request;
    struct caller caller;
    fuse_ino_t nodeid;
    struct fuse_file_info fi;
    struct handle *handle;
    struct put *put; /* what a write has done so far: see put.h */
    size_t size;     /* of bytes, in a write */
    off_t offset;
    struct deadline patience; /* the kernel's: see request_ops */
    void (*end)(struct wait *wait, int result);
    char bytes[];
};

/* From malloc; whoever replies frees it. fi may be NULL. NULL if there is no memory. */
struct parked *parked_new(struct request_ops *ops, fuse_req_t request, fuse_ino_t nodeid,
                          const struct fuse_file_info *fi, size_t size);

/*
 * Parks it in a slot, with waiter.event, retry and end filled in. Refuses O_NONBLOCK (flags) if it would wait
 * for a peer (why is WAIT_FOR_PEER), and a process that was told to stop already; then waiter.end is called
 * at once.
 */
void parked_wait(struct parked *parked, struct slot *slot, int why, int flags);

#endif
