// SPDX-License-Identifier: Apache-2.0
/*
 * publish.h - judges writes of the record and of `error`.
 */
#ifndef PYRMAPFS_PUBLISH_H
#define PYRMAPFS_PUBLISH_H

#include "base/caller.h"
#include "exchange/terms.h"

/*
 * A write of the record, merged and checked by record_merge; touched as that says. Returns 0, -errno, or to
 * wait for a follower (WAIT_FOR_PEER) or for the disk (WAIT_FOR_WORK).
 */
int publish_record(struct exchange *exchange, struct slot *slot, const struct caller *caller,
                   const struct record *proposed, uint32_t touched);
/* The first text written into `error`. */
int publish_failure(struct exchange *exchange, struct slot *slot, const struct caller *caller,
                    const char *text, size_t size);
/* What is checked before anything is published, however it comes. */

/* Whether a process could still change the array under its readers. */
bool publish_is_written(struct exchange *exchange, const struct slot *slot, enum record_side side);
/* NULL, or why an array that begins with got bytes `first` is not the bundle that the record says it is. */
const char *publish_bundle_fault(const struct record *record, enum record_side side, const void *first,
                                 size_t got);
/* Why the record does not fit an array of that size. */
void publish_explain_misfit(const struct record *record, enum record_side side, uint64_t size,
                            char reason[SLOT_REASON_MAX]);
/*
 * 0, or WAIT_FOR_PEER if a follower is not ready for the array of that number; checks as the handshake asks for
 * them.
 */
int publish_followers_ready(struct exchange *exchange, const struct slot *slot, enum record_side side,
                            uint64_t number, uint32_t checks);

/* The text in `task` changed. */
void publish_task(struct exchange *exchange, struct slot *slot);

#endif
