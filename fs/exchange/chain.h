// SPDX-License-Identifier: Apache-2.0
/*
 * chain.h - pipelines: one slot's result, or input, is the input of others.
 *
 * Links are indices in the table. Deliveries are level-triggered: whenever a slot or its source changed,
 * chain_pull asks what the source offers, whether it was taken already, and whether the slot can take it now.
 * Work moves through the exchange's queue, so no chain is too long.
 */
#ifndef PYRMAPFS_CHAIN_H
#define PYRMAPFS_CHAIN_H

#include "base/caller.h"
#include "exchange/terms.h"

/*
 * Links only queue what they make possible: the caller runs the queue.
 *
 * Makes `slot` follow an array of `source`. Returns 0, -EEXIST (it has a source), -EBUSY (an input is on its
 * way), -ELOOP, -EACCES (the caller may not read it).
 */
int chain_link(struct exchange *exchange, struct slot *slot, struct slot *source, enum record_side side,
               const struct caller *caller);
/* What the slot has taken stays. Does nothing if it has no source. */
void chain_unlink(struct exchange *exchange, struct slot *slot);

/* Whether every follower of this array could take a new one now: else its publisher waits. */
bool chain_followers_ready(struct exchange *exchange, const struct slot *slot, enum record_side side,
                           uint64_t number);
/* Whether every follower of the result has taken the last round's failure: else the next input waits. */
bool chain_failure_taken(struct exchange *exchange, const struct slot *slot);
/* Which follower made one of these two false. */
void chain_explain_wait(struct exchange *exchange, char reason[SLOT_REASON_MAX]);

/* Takes what the source offers, if it is new and the slot can take it. */
void chain_pull(struct exchange *exchange, struct slot *slot);
/* Queues the follower at follower_cursor if it can take something: true then. Goes on to the next one. */
bool chain_queue_follower(struct exchange *exchange, struct slot *slot);
/* Queues the slots that feed this one, if a publisher waits in them for it. */
void chain_queue_sources(struct exchange *exchange, struct slot *slot);

/* The slot is going: its first follower is unchained, and fails if it waits for it. */
void chain_orphan(struct exchange *exchange, struct slot *slot);

/* "../A/result.bin", what readlink shows; the slot must have a source. */
enum { CHAIN_TARGET_MAX = SLOT_NAME_MAX + 32 };
void chain_target(struct exchange *exchange, const struct slot *slot, char target[CHAIN_TARGET_MAX]);

/*
 * Reads a link text: "../NAME/data.bin" or "../NAME/result.bin", or the same below `mountpoint`. Returns 0
 * with the slot and its side, -EINVAL for any other text, -ENOENT if there is no such slot.
 */
int chain_parse_target(struct exchange *exchange, const char *mountpoint, const char *target,
                       struct slot **source, enum record_side *side);

#endif
