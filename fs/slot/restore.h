// SPDX-License-Identifier: Apache-2.0
/*
 * restore.h - makes the table of slots from the index that an earlier server left.
 *
 * It happens in two steps: a look that changes nothing and may refuse the start, then the start. A damaged
 * index does not refuse it: what can be served is (see slot_damage).
 */
#ifndef PYRMAPFS_RESTORE_H
#define PYRMAPFS_RESTORE_H

#include "slot/slot.h"

/*
 * Looks at the index in the arena. Refuses one that it cannot read, and an arena that has files but no index.
 * Changes nothing; the table is empty until slots_begin. error gets one line that names the file and the
 * remedy. Returns 0 or -errno.
 */
int slots_open(struct slots **out, struct arena *arena, uint32_t limit, char error[ARENA_ERROR_MAX]);

/*
 * Calls visit for each segment that a slot of the index names, before or after slots_begin, until it returns
 * something other than 0. Returns that, or 0.
 */
int slots_visit_segments(const struct slots *slots,
                         int (*visit)(void *context, const char *name, uint64_t segment_id), void *context);

/*
 * Takes the index over, or makes one. Call it when nothing can refuse the start any more. The table then has
 * the slots that an earlier server left, with what follows from the index derived, and the other runtime
 * fields 0; the caller restores the rest. Returns 0 or -errno.
 */
int slots_begin(struct slots *slots);
/* How many slots the index has had that cannot be told any more, not even as damaged ones. */
#define SLOTS_LOST_UNKNOWN UINT32_MAX
uint32_t slots_lost(const struct slots *slots);

#endif
