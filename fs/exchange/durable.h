// SPDX-License-Identifier: Apache-2.0
/*
 * durable.h - commits, and where the arena is on a disk, brings there what was committed.
 *
 *     step -> commit (memory, index) -> sync (disk, in the background) -> the publisher's answer
 *                                                                      -> pages and texts that no slot has any more go
 *
 * Clients that wait on the record see a step once it is committed: a power cut ends them as well. Only the answer
 * to the one who made the step has to wait for the disk. One sync serves all who wait when it begins.
 */
#ifndef PYRMAPFS_DURABLE_H
#define PYRMAPFS_DURABLE_H

#include "exchange/terms.h"
#include <sys/queue.h>

/* A request that waits for the disk. */
struct durable_wait {
    STAILQ_ENTRY(durable_wait) link;
    /* result: 0, or the -errno of the sync. */
    void (*done)(struct durable_wait *wait, int result);
};

int durable_init(struct exchange *exchange);
/* Waits for the sync under way. */
void durable_deinit(struct exchange *exchange);

/* Commits all slots that were changed. What they have dropped goes, at once or after the next sync. */
void durable_commit(struct exchange *exchange);

/* Whether all that was changed up to now is where it outlasts what the arena outlasts. */
bool durable_is_kept(struct exchange *exchange);
/* Calls done once it is, later. */
void durable_await(struct exchange *exchange, struct durable_wait *wait);

/*
 * After a takeover: nobody knows what of the last server's work is on the disk. Calls kept_all once all is; before
 * that nothing may go that the index on the disk may still name.
 */
void durable_take_over(struct exchange *exchange, void (*kept_all)(struct exchange *exchange));

#endif
