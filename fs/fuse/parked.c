// SPDX-License-Identifier: Apache-2.0
#include "fuse/parked.h"

#include "base/container.h"
#include "exchange/refuse.h"
#include "fuse/nodeid.h"
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>

static const char impatient[] =
    "the kernel lets no request take longer: sysctl fs.fuse.default_request_timeout";

static struct slot *slot_of(const struct parked *parked)
{
    struct nodeid_target inode;

    if (parked->handle)
        return parked->handle->slot;
    return nodeid_decode(parked->ops->exchange, parked->nodeid, &inode) == 0 ? inode.slot : NULL;
}

/* End the request before the kernel aborts the whole connection because of it. */
static void out_of_patience(struct deadline *deadline)
{
    struct parked *parked = container_of(deadline, struct parked, patience);
    struct slot *slot;

    if (parked->waits) {
        if (!parked->wait.ended)
            refuse_operation(parked->ops->exchange, parked->wait.slot, &parked->caller,
                             handshake_event_name(parked->wait.event), -ETIMEDOUT, impatient);
        wait_end(&parked->wait, -ETIMEDOUT);
        return;
    }
    slot = slot_of(parked);
    if (slot)
        refuse_operation(parked->ops->exchange, slot, &parked->caller, "reserve space", -ETIMEDOUT,
                         impatient);
    request_reply(parked_take_request(parked), -ETIMEDOUT);
}

struct parked *parked_new(struct request_ops *ops, fuse_req_t request, fuse_ino_t nodeid,
                          const struct fuse_file_info *fi, size_t size)
{
    struct parked *parked = calloc(1, sizeof(*parked) + size);

    if (!parked)
        return NULL;
    parked->ops = ops;
    parked->request = request;
    parked->unique = transport_unique(ops->transport);
    parked->caller = request_caller(request);
    parked->nodeid = nodeid;
    parked->size = size;
    if (fi) {
        parked->fi = *fi;
        parked->handle = request_handle(ops, fi);
    }
    parked->patience.expired = out_of_patience;
    if (ops->patience)
        deadline_set(ops->patience, &parked->patience, ops->patience_ms);
    return parked;
}

fuse_req_t parked_take_request(struct parked *parked)
{
    fuse_req_t request = parked->request;

    deadline_clear(&parked->patience);
    parked->request = NULL;
    return request;
}

static void ended(struct wait *wait, int result)
{
    struct parked *parked = container_of(wait, struct parked, wait);

    parked->waits = false;
    parked->end(wait, result);
}

static void interrupted(fuse_req_t request, void *data)
{
    struct parked *parked = data;

    (void)request;
    if (!parked->waits)
        return; /* its peer has come, and the background will call back with this pointer */
    wait_unpark(&parked->wait);
    parked->wait.end(&parked->wait, -EINTR);
}

/* Parks a request in a slot, or ends it: with O_NONBLOCK, and if its process was interrupted already. */
void parked_wait(struct parked *parked, struct slot *slot, int why, int flags)
{
    struct wait *wait = &parked->wait;

    if (fuse_req_interrupted(parked->request)) {
        wait->end(wait, -EINTR);
        return;
    }
    if (why == WAIT_FOR_PEER && flags & O_NONBLOCK) {
        refuse_event(parked->ops->exchange, slot, &parked->caller, wait->event, -EAGAIN,
                     wait_reason(parked->ops->exchange));
        wait->end(wait, -EAGAIN);
        return;
    }
    wait->process = parked->caller.process;
    parked->end = wait->end;
    wait->end = ended;
    parked->waits = true;
    wait_park(parked->ops->exchange, wait, slot, why);
    fuse_req_interrupt_func(parked->request, interrupted, parked);
}
