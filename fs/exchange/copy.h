// SPDX-License-Identifier: Apache-2.0
/*
 * copy.h - the segment of an inline array, whose bytes stand in the slot's entry.
 *
 * It is a copy, made when a client opens the file or the array moves. All slots that share the array along a
 * chain, from the first of them to the one that is opened, get the same copy, on the account of the first.
 */
#ifndef PYRMAPFS_COPY_H
#define PYRMAPFS_COPY_H

#include "base/caller.h"
#include "exchange/terms.h"

/* Whether the array is inline and has no copy yet. */
bool copy_is_due(const struct slot *slot, enum record_side side);

/*
 * The copy, made now or found along the chain, with a name that is the caller's. If there was no room for its
 * bytes at once it is not published. Returns 0 or -errno.
 */
int copy_make(struct exchange *exchange, struct slot *slot, enum record_side side, struct segment **segment);
/* The slot gets it, with the name of copy_make, and so do those between it and the first. */
void copy_put(struct exchange *exchange, struct slot *slot, enum record_side side, struct segment *segment);

/* After a takeover: an open file has this copy. It is the slot's again, if the slot has that array still. */
void copy_keep(struct exchange *exchange, struct slot *slot, enum record_side side, uint64_t number,
               struct segment *segment);

/* Whether the slot has a copy that lacks its bytes. Nobody has seen that. */
bool copy_is_owed(const struct slot *slot, enum record_side side);
/*
 * Makes room for them in the background, and writes them. done(context, 0 or -errno) exactly once; -ESTALE:
 * the slot has another array by now.
 */
void copy_fill(struct exchange *exchange, const struct slot *slot, enum record_side side,
               const struct caller *caller, void (*done)(void *context, int result), void *context);

#endif
