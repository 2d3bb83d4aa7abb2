// SPDX-License-Identifier: Apache-2.0
/*
 * table.h - what holds of every table of slots, whatever was done to it.
 */
#ifndef PYRMAPFS_FUZZ_TABLE_H
#define PYRMAPFS_FUZZ_TABLE_H

#include "invariant.h"

#include "slot/index.h"
#include "slot/slot.h"

/* Each slot has its name, its record and its place in a chain that does not close. */
static inline void check_table(struct slots *slots)
{
    uint32_t count = 0, followers = 0, followed = 0, index = 0;
    struct slot *slot;

    for (; (slot = slot_after(slots, index)); index = slot_index(slots, slot)) {
        struct record record = slot->record;
        uint32_t steps = 0;

        count++;
        INVARIANT(slot_find(slots, slot->name) == slot);
        INVARIANT(record_check(&record) == 0 && record.flag == handshake_flag(slot_state(slot)));
        for (uint32_t at = slot->source; at; at = slot_at(slots, at)->source)
            INVARIANT(steps++ < INDEX_STEP);
        followers += slot->source != 0;
        for (uint32_t at = slot->first_follower; at; at = slot_at(slots, at)->next_follower) {
            INVARIANT(slot_at(slots, at)->source == slot_index(slots, slot));
            followed++;
        }
    }
    index = 0;
    for (; (slot = slots_leaving(slots, index)); index = slot_index(slots, slot)) {
        followers += slot->source != 0;
        for (uint32_t at = slot->first_follower; at; at = slot_at(slots, at)->next_follower)
            followed++;
    }
    INVARIANT(count == slots_count(slots) && followers == followed);
    INVARIANT(slots_forgotten(slots) == NULL);
}

#endif
