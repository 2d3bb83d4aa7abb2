// SPDX-License-Identifier: Apache-2.0
#include "fuse/parked.h"

#include "base/container.h"
#include "exchange/refuse.h"
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>

struct parked *parked_new(struct request_ops *ops, fuse_req_t request, fuse_ino_t nodeid,
                          const struct fuse_file_info *fi, size_t size)
{
    struct parked *parked = calloc(1, sizeof(*parked) + size);

    if (!parked)
        return NULL;
    parked->ops = ops;
    parked->request = request;
    parked->caller = request_caller(request);
    parked->nodeid = nodeid;
    parked->size = size;
    if (fi) {
        parked->fi = *fi;
        parked->handle = request_handle(fi);
    }
    return parked;
}

static void interrupted(fuse_req_t request, void *data)
{
    struct parked *parked = data;

    (void)request;
    wait_unpark(&parked->wait);
    parked->wait.end(&parked->wait, -EINTR);
}

/*
 * Parks a request in a slot, or refuses to: O_NONBLOCK, or its process was told to stop already. Calls end in
 * that case.
 */
void parked_wait(struct parked *parked, struct slot *slot, int why, int flags)
{
    struct wait *wait = &parked->wait;

    if (fuse_req_interrupted(parked->request)) {
        wait->end(wait, -EINTR);
        return;
    }
    if (why == WAIT_FOR_PEER && flags & O_NONBLOCK) {
        refuse_operation(parked->ops->exchange, slot, &parked->caller, handshake_event_name(wait->event),
                         -EAGAIN, handshake_reason(slot_state(slot), wait->event));
        wait->end(wait, -EAGAIN);
        return;
    }
    wait->process = parked->caller.process;
    wait_park(parked->ops->exchange, wait, slot);
    fuse_req_interrupt_func(parked->request, interrupted, parked);
}
