// SPDX-License-Identifier: Apache-2.0
/*
 * publish.h - judges writes of the record and of `error`.
 */
#ifndef PYRMAPFS_PUBLISH_H
#define PYRMAPFS_PUBLISH_H

#include "base/caller.h"
#include "exchange/terms.h"

/*
 * A write of the record, merged and checked by record_merge; touched as it says. Returns 0, -errno, or that
 * it waits: for a follower (WAIT_FOR_PEER) or for the disk (WAIT_FOR_WORK).
 */
int publish_record(struct exchange *exchange, struct slot *slot, const struct caller *caller,
                   const struct record *proposed, uint32_t touched);
/* The first text written into `error`. */
int publish_failure(struct exchange *exchange, struct slot *slot, const struct caller *caller,
                    const char *text, size_t size);
/* The text in `task` changed. */
void publish_task(struct exchange *exchange, struct slot *slot);

#endif
