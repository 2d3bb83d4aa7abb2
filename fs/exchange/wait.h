// SPDX-License-Identifier: Apache-2.0
/*
 * wait.h - requests that are parked in a slot, and the queue of slots in which something may go on now.
 */
#ifndef PYRMAPFS_WAIT_H
#define PYRMAPFS_WAIT_H

#include "base/deadline.h"
#include "exchange/terms.h"
#include "protocol/handshake.h"
#include "slot/slot.h"
#include <stdint.h>

/* What an operation returns instead of 0 or -errno if its request has to be parked. */
enum {
    WAIT_FOR_PEER = 1, /* -EAGAIN to O_NONBLOCK */
    WAIT_FOR_WORK = 2, /* of the background; O_NONBLOCK is no reason to give up */
};

/* Returns `why`, which is one of the above, and keeps the reason until the request is parked or refused. */
int wait_because(struct exchange *exchange, int why, const char *reason);
const char *wait_reason(const struct exchange *exchange);

/*
 * A parked request, embedded in what its owner keeps of it. retry is called whenever the slot changed: it
 * tries again and returns WAIT_FOR_PEER or WAIT_FOR_WORK to stay parked, or any other result, upon which
 * end(wait, result) is called, once. end(wait, -ECANCELED), -EIO, -ETIMEDOUT come without a retry.
 */
struct wait {
    LIST_ENTRY(wait) link; /* in slot->waiters */
    struct deadline deadline;
    struct exchange *exchange;
    struct slot *slot;
    enum handshake_event event;
    pid_t process;
    uint64_t since_us;
    int ended;                    /* the result with which the queue will end it; 0: it waits */
    char reason[SLOT_REASON_MAX]; /* what it waits for now, in words */
    int (*retry)(struct wait *wait);
    void (*end)(struct wait *wait, int result);
};

/* why: what the operation returned just now. wait_timeout ends a request only while it waits for a peer. */
void wait_park(struct exchange *exchange, struct wait *wait, struct slot *slot, int why);
/* A retry returned this: it stays parked, perhaps for another reason. */
void wait_stay(struct wait *wait, int why);
/* A request that was interrupted: takes it out, calls nothing. */
void wait_unpark(struct wait *wait);
/* Takes it out and ends it, with what wait_end_all said if the queue had not come to it yet. */
void wait_end(struct wait *wait, int result);
/* Has the queue end every wait that is in the slot now with this result. */
void wait_end_all(struct exchange *exchange, struct slot *slot, int result);

/* Whether a write of the record is parked in the slot. */
bool wait_has_step(const struct slot *slot);

/* Has run_all look at this slot. */
void wait_queue(struct exchange *exchange, struct slot *slot);
/* The next slot to look at, or NULL. */
struct slot *wait_dequeue(struct exchange *exchange);

#endif
