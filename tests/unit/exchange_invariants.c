// SPDX-License-Identifier: Apache-2.0
#include "exchange_fixture.h"

#include "slot/page.h"
#include <check.h>

/* How many names of slots a segment has. */
static uint32_t names_of(struct world *world, const struct segment *segment)
{
    uint32_t names = 0;

    for (struct slot *slot = slot_after(world->slots, 0); slot;
         slot = slot_after(world->slots, slot_index(world->slots, slot)))
        names += (uint32_t)(slot->segments[0] == segment) + (uint32_t)(slot->segments[1] == segment);
    return names;
}

/* The page has all bytes of an inline array and no others, and the slot is in a state in which they do not change. */
static void check_inline(struct world *world, const struct slot *slot, enum record_side side)
{
    static const uint8_t zeros[RECORD_INLINE_MAX];
    enum handshake_state state = slot_state(slot);
    struct record_half half = record_half(&slot->record, side);
    size_t size = slot_inline_size(slot, side);
    struct segment *segment = slot->segments[side];
    uint8_t bytes[RECORD_INLINE_MAX + 1];
    struct record_page page;
    const uint8_t *shown;

    page_show(slot, &page);
    shown = side == RECORD_SIDE_INPUT ? page.input : page.result;
    ck_assert_mem_eq(shown + size, zeros, RECORD_INLINE_MAX - size);
    if (size == 0)
        return;
    ck_assert(side == RECORD_SIDE_INPUT ? state != STATE_IDLE && state != STATE_FILLING
                                        : state == STATE_DONE);
    ck_assert_uint_eq(size, (size_t)half.length * record_dtype_size(half.dtype));
    if (!segment || !segment->published)
        return;
    ck_assert_int_eq(segment_read(world->bench.arena, segment, bytes, sizeof(bytes), 0), (int)size);
    ck_assert_mem_eq(bytes, shown, size);
}

void check_arrays(struct world *world, const struct slot *slot)
{
    enum handshake_state state = slot_state(slot);

    if (state == STATE_IDLE)
        ck_assert_ptr_null(slot->segments[RECORD_SIDE_INPUT]);
    if (state == STATE_IDLE || state == STATE_FILLING)
        ck_assert_ptr_null(slot->segments[RECORD_SIDE_RESULT]);
    for (int side = 0; side < 2; side++) {
        const struct segment *segment = slot->segments[side];

        check_inline(world, slot, (enum record_side)side);
        ck_assert_uint_eq(slot->arrays[side].segment_id,
                          segment && !slot_inline_size(slot, (enum record_side)side) ? segment->id : 0);
        if (slots_count(world->slots) <= FEW_SLOTS && segment)
            ck_assert_uint_eq(segment->names - segment->leaving, names_of(world, segment));
    }
}

void check_chain(struct world *world, const struct slot *slot)
{
    uint32_t index = slot_index(world->slots, slot);
    uint32_t previous = 0;

    for (uint32_t at = slot->first_follower; at; at = slot_at(world->slots, at)->next_follower) {
        const struct slot *follower = slot_at(world->slots, at);

        ck_assert_uint_eq(follower->source, index);
        ck_assert_uint_eq(follower->previous_follower, previous);
        previous = at;
    }
    if (slot->source)
        ck_assert_ptr_nonnull(slot_at(world->slots, slot->source));
    else
        ck_assert_uint_eq(slot->previous_follower | slot->next_follower, 0);
}
