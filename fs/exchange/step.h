// SPDX-License-Identifier: Apache-2.0
/*
 * step.h - takes the steps that the handshake's verdicts allow: state, round and arrays of a slot.
 */
#ifndef PYRMAPFS_STEP_H
#define PYRMAPFS_STEP_H

#include "base/caller.h"
#include "exchange/terms.h"
#include "protocol/handshake.h"
#include "slot/slot.h"

/*
 * Judges an event with the facts that the slot itself tells, and those of the caller. Take no step that was not
 * judged.
 */
struct handshake_step step_judge(const struct exchange *exchange, const struct slot *slot,
                                 enum handshake_event event, uint32_t facts);
/* Whether taking it would change anything. */
bool step_is_change(const struct slot *slot, const struct handshake_step *step);

/*
 * Takes a step that was judged and checked, then tells everybody. In two halves for a caller that has more to
 * change in between: a client must not see the flag before the fields that belong to it. caller: whose doing it
 * is, NULL if it is no client's.
 */
void step_apply(struct exchange *exchange, struct slot *slot, const struct handshake_step *step,
                const struct caller *caller);
void step_take(struct exchange *exchange, struct slot *slot, const struct handshake_step *step,
               const struct caller *caller);
void step_announce(struct exchange *exchange, struct slot *slot, const struct handshake_step *step);
/* The same for a step to FAILED: what is to blame, and the text for `error`. */
void step_fail(struct exchange *exchange, struct slot *slot, const struct handshake_step *step,
               const struct caller *caller, const struct slot_failure *failed, const char *text, size_t size);
/* The number under which followers take the round's outcome: the failure's, or the result's. */
uint64_t step_outcome(const struct slot *slot);
/* A reader has had the outcome of the round. */
void step_outcome_read(struct exchange *exchange, struct slot *slot);
/* The round that is under way, or between two rounds the next one. */
uint64_t step_open_round(const struct slot *slot);
/* The slot's rounds depend on no process any more. */
void step_clear_worker(struct slot *slot);
/*
 * The record or state changed: bumps change, commits, updates the mapped page, queues the slot. Everything that
 * belongs to the change is made before: clients see it from here on, and it is never undone.
 */
void step_changed(struct exchange *exchange, struct slot *slot);

/* The part of an array's nodeid that names it: on the page-cache path all names of its pages share it. */
uint64_t step_array_identity(const struct exchange *exchange, const struct slot *slot, enum record_side side);

/*
 * Page-cache path: whether this inode stands for several names. They have one owner and mode in the kernel
 * and one state here, so through it nothing but reading is allowed.
 */
bool step_array_is_shared(const struct exchange *exchange, const struct slot *slot, enum record_side side);
/* Gives the inputs of the slot and its followers a new inode: the same pages, but not for the kernel. */
void step_unshare(struct exchange *exchange, struct slot *slot);

/* The array's size and allocated bytes. */
int step_array_stat(struct exchange *exchange, const struct slot *slot, enum record_side side, uint64_t *size,
                    uint64_t *allocated);
/* A segment that may become this array's; until then the caller has its name. -ENOSPC, -EMFILE, -ENOMEM. */
int step_make_segment(struct exchange *exchange, const struct slot *slot, enum record_side side,
                      struct segment **segment);
/* The array, which has none, gets it with its name. */
void step_put_segment(struct slot *slot, enum record_side side, struct segment *segment);
/*
 * Makes sure that the array, which is not inline, has a segment: an empty one if it had none. Errors as
 * step_make_segment's.
 */
int step_need_segment(struct exchange *exchange, struct slot *slot, enum record_side side);
/* The array goes from the account of the slot's owner to that of the new one. */
void step_charge_to(struct exchange *exchange, const struct slot *slot, enum record_side side, uid_t uid);
/*
 * Keeps the handle that the caller has opened on this segment, until the next call (NULL: on none) or until
 * the slot drops the segment.
 */
void step_keep_open(struct exchange *exchange, struct slot *slot, struct segment *segment);
/* Gives the array the segment (one name more) or the inline bytes of another one. */
void step_adopt(struct exchange *exchange, struct slot *slot, enum record_side side, struct slot *from,
                enum record_side from_side);
/* Drops an array's segment; another array takes its place, empty. */
void step_drop_array(struct exchange *exchange, struct slot *slot, enum record_side side);
/* The same for a slot that goes: nothing takes its place. */
void step_drop_segment(struct exchange *exchange, struct slot *slot, enum record_side side);
/* Gives an array that was just made empty an inode that no client knows. */
void step_renew_inode(struct slot *slot, enum record_side side);
/* The arena tells that nobody has the segment any more. */
void step_segment_freed(struct exchange *exchange, struct segment *segment);

#endif
