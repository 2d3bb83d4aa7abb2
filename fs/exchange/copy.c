// SPDX-License-Identifier: Apache-2.0
#include "exchange/copy.h"

#include "arena/reserve.h"
#include "exchange/account.h"
#include "exchange/refuse.h"
#include "exchange/shared.h"
#include <errno.h>
#include <stdlib.h>

bool copy_is_due(const struct slot *slot, enum record_side side)
{
    return slot_inline_size(slot, side) && !slot->segments[side];
}

bool copy_is_owed(const struct slot *slot, enum record_side side)
{
    return slot_inline_size(slot, side) && slot->segments[side] && !slot->segments[side]->published;
}

/* The slot from which this one got the array, if it still has it; or NULL. */
static struct slot *shares_with(const struct exchange *exchange, const struct slot *slot,
                                enum record_side side)
{
    struct slot *source = side == RECORD_SIDE_INPUT ? slot_at(exchange->slots, slot->source) : NULL;

    return source && !source->leaving && source->arrays[slot->source_side].number == slot->arrays[side].number
               ? source
               : NULL;
}

/* 0, -EAGAIN if there is no room at once, or another -errno. */
static int write_bytes(struct exchange *exchange, const struct slot *slot, enum record_side side,
                       struct segment *segment)
{
    size_t size = slot_inline_size(slot, side);
    ssize_t written = segment_write(exchange->arena, segment, slot->inline_bytes[side], size, 0);

    if (written < 0)
        return (int)written;
    if ((size_t)written < size)
        return -EAGAIN;
    return segment_publish(exchange->arena, segment);
}

int copy_make(struct exchange *exchange, struct slot *slot, enum record_side side, struct segment **segment)
{
    const struct slot *first = slot, *source;
    enum record_side first_side = side;
    int result;

    while (!first->segments[first_side] && (source = shares_with(exchange, first, first_side))) {
        first_side = (enum record_side)first->source_side;
        first = source;
    }
    *segment = first->segments[first_side];
    if (*segment) {
        segment_name(*segment);
        return 0;
    }
    result = segment_create(exchange->arena, slot_inline_size(slot, side), segment);
    if (result < 0)
        return result;
    result = write_bytes(exchange, slot, side, *segment);
    if (result == 0 || result == -EAGAIN)
        return 0;
    segment_unname(exchange->arena, *segment);
    return result;
}

void copy_put(struct exchange *exchange, struct slot *slot, enum record_side side, struct segment *segment)
{
    struct slot *source = shares_with(exchange, slot, side);

    slot_count_copied(slot, side, slot_inline_size(slot, side));
    for (;;) {
        quota_drop_bytes(exchange->quota, account_payer(slot), slot_inline_size(slot, side));
        slot->segments[side] = segment;
        slot->arrays[side].borrowed = source != NULL;
        slot_mark(slot);
        if (!source || source->segments[slot->source_side])
            break;
        segment_name(segment);
        side = (enum record_side)slot->source_side;
        slot = source;
        source = shares_with(exchange, slot, side);
    }
    /* No limit: the publisher was charged for the array, and no open of it may be refused. */
    if (!source)
        quota_charge(exchange->quota, segment, account_payer(slot), slot_inline_size(slot, side), NULL);
}

void copy_keep(struct exchange *exchange, struct slot *slot, enum record_side side, uint64_t number,
               struct segment *segment)
{
    if (!segment->published || slot->arrays[side].number != number || !copy_is_due(slot, side))
        return;
    segment_name(segment);
    copy_put(exchange, slot, side, segment);
}

/* --- later --- */

/* A reservation under way. When it ends the slot may be in another round. */
struct filling {
    struct exchange *exchange;
    uint32_t index;
    uint64_t serial; /* the array's */
    struct segment *segment;
    struct caller caller;
    enum record_side side;
    void (*done)(void *context, int result);
    void *context;
};

static void room_made(void *context, int result)
{
    struct filling *filling = context;
    struct exchange *exchange = filling->exchange;
    struct slot *slot = slot_at(exchange->slots, filling->index);

    if (slot && slot->arrays[filling->side].serial != filling->serial)
        slot = NULL;
    if (filling->segment->published) /* by another open that waited for it */
        result = 0;
    else if (result == 0)
        result = slot ? write_bytes(exchange, slot, filling->side, filling->segment) : -ESTALE;
    if (result == -EAGAIN)
        result = -ENOSPC; /* somebody else has taken the room by now */
    if (result < 0 && slot)
        refuse_operation(exchange, slot, &filling->caller, "reserve space", result,
                         refuse_what_is_lacking(exchange, result));
    filling->done(filling->context, result);
    free(filling);
}

void copy_fill(struct exchange *exchange, const struct slot *slot, enum record_side side,
               const struct caller *caller, void (*done)(void *context, int result), void *context)
{
    struct filling *filling = malloc(sizeof(*filling));

    if (!filling) {
        done(context, -ENOMEM);
        return;
    }
    *filling = (struct filling){.exchange = exchange,
                                .index = slot_index(exchange->slots, slot),
                                .serial = slot->arrays[side].serial,
                                .segment = slot->segments[side],
                                .caller = *caller,
                                .side = side,
                                .done = done,
                                .context = context};
    reserve_pages(exchange->arena, filling->segment, RESERVE_GROW, slot_inline_size(slot, side), room_made,
                  filling);
}
