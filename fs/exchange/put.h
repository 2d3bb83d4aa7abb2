// SPDX-License-Identifier: Apache-2.0
/*
 * put.h - publishing in one write: an array that comes along with the record.
 *
 * Up to RECORD_INLINE_MAX bytes stay in the slot's entry and page. More go into a segment that no slot has
 * yet; only when that has all of them, and the step is allowed, does it take the place of what the slot had:
 * until then a write that is refused has changed nothing.
 */
#ifndef PYRMAPFS_PUT_H
#define PYRMAPFS_PUT_H

#include "base/caller.h"
#include "exchange/terms.h"

/* The progress of a write that has to wait. Its owner keeps it from one try to the next. */
struct put;

/* The event that such a write stands for; HANDSHAKE_EVENTS if no array goes with that flag. */
enum handshake_event put_event(int32_t flag);

/*
 * A write of the record and of size bytes behind it; proposed as publish_record has it. Returns as that does.
 * *put is NULL at the first try, and whenever this does not return WAIT_FOR_PEER or WAIT_FOR_WORK.
 */
int put_array(struct exchange *exchange, struct slot *slot, const struct caller *caller,
              const struct record *proposed, const void *bytes, size_t size, struct put **put);

/* The write is given up. *put may be NULL, and is afterwards. */
void put_drop(struct put **put);

#endif
