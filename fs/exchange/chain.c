// SPDX-License-Identifier: Apache-2.0
#include "exchange/chain.h"

#include "exchange/refuse.h"
#include "exchange/shared.h"
#include "exchange/step.h"
#include "exchange/wait.h"
#include "slot/text.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    FAILURE_TEXT_MAX = 4096, /* of an inherited failure; a long chain's is elided in the middle */
    FAILURE_TEXT_HEAD = 1024,
};

static struct slot *source_of(struct exchange *exchange, const struct slot *slot)
{
    return slot_at(exchange->slots, slot->source);
}

static struct slot *first_follower(struct exchange *exchange, const struct slot *slot)
{
    return slot_at(exchange->slots, slot->first_follower);
}

static struct slot *next_follower(struct exchange *exchange, const struct slot *slot)
{
    return slot_at(exchange->slots, slot->next_follower);
}

/* --- what a source offers, and whether a slot can take it --- */

enum offer_kind { OFFER_NOTHING, OFFER_ARRAY, OFFER_FAILURE };

struct offer {
    enum offer_kind kind;
    uint64_t number; /* of the array or the failure: never given twice */
};

static struct offer offer_of(const struct slot *source, enum record_side side)
{
    switch (slot_state(source)) {
    case STATE_IDLE:
    case STATE_FILLING:
        break;
    case STATE_READY:
    case STATE_COMPUTING:
        if (side == RECORD_SIDE_INPUT)
            return (struct offer){OFFER_ARRAY, source->arrays[side].number};
        break;
    case STATE_DONE:
        return (struct offer){OFFER_ARRAY, source->arrays[side].number};
    case STATE_FAILED:
        /* Its own failure does not spoil the input that it shares; an input that never came does. */
        if (side == RECORD_SIDE_RESULT || !source->has_input)
            return (struct offer){OFFER_FAILURE, source->failure};
        return (struct offer){OFFER_ARRAY, source->arrays[side].number};
    case HANDSHAKE_STATES:
        break;
    }
    return (struct offer){OFFER_NOTHING, 0};
}

/* The result went where it belongs: to every follower, or at the end of a chain to a reader. */
static bool result_was_taken(struct exchange *exchange, const struct slot *slot)
{
    bool followed = false;

    for (const struct slot *follower = first_follower(exchange, slot); follower;
         follower = next_follower(exchange, follower)) {
        if (follower->source_side != RECORD_SIDE_RESULT)
            continue;
        if (follower->source_taken != slot->arrays[RECORD_SIDE_RESULT].number)
            return false;
        followed = true;
    }
    return followed || slot->result_taken;
}

static bool is_free(struct exchange *exchange, const struct slot *slot)
{
    switch (slot_state(slot)) {
    case STATE_IDLE:
    case STATE_FAILED:
        return true;
    case STATE_DONE:
        return result_was_taken(exchange, slot);
    case STATE_FILLING:
    case STATE_READY:
    case STATE_COMPUTING:
    case HANDSHAKE_STATES:
        break;
    }
    return false;
}

/* `follower`, or the first of its siblings after it, on this side. */
static struct slot *follower_on_side(struct exchange *exchange, struct slot *follower, enum record_side side)
{
    while (follower && follower->source_side != (uint32_t)side)
        follower = next_follower(exchange, follower);
    return follower;
}

/*
 * Whether all who follow this array are free, but for those that have `taken` already. Who takes an input
 * passes it on to those who share it, so these must be free as well. Walks that tree without recursion: down
 * to the first sharer, then along, then up again by the links. Stamps whom it passes.
 */
static bool walk(struct exchange *exchange, const struct slot *slot, enum record_side side, uint64_t taken)
{
    struct slot *at = follower_on_side(exchange, first_follower(exchange, slot), side);

    while (at) {
        struct slot *next = NULL;

        if (at->source_taken != taken) {
            if (!is_free(exchange, at))
                return false;
            at->ready_stamp = exchange->ready_stamp;
            next = follower_on_side(exchange, first_follower(exchange, at), RECORD_SIDE_INPUT);
        }
        while (!next) {
            struct slot *parent = source_of(exchange, at);
            bool at_top = parent == slot;

            next = follower_on_side(exchange, next_follower(exchange, at), at_top ? side : RECORD_SIDE_INPUT);
            if (!next && (at_top || !parent))
                return true;
            if (!next)
                at = parent;
        }
        at = next;
    }
    return true;
}

static bool all_ready(struct exchange *exchange, const struct slot *slot, enum record_side side,
                      uint64_t taken)
{
    bool ready;

    exchange->ready_stamp++;
    ready = walk(exchange, slot, side, taken);
    if (!ready)
        exchange->ready_stamp++; /* the stamps of half a walk are worth nothing */
    return ready;
}

bool chain_followers_ready(struct exchange *exchange, const struct slot *slot, enum record_side side)
{
    return all_ready(exchange, slot, side, slot->arrays[side].number);
}

/*
 * Free, and so are those with whom it will share the input, unless they are at work on the one that it has:
 * they take the next later, and this one takes none after that until they have. The publisher's own look at
 * them, in this very step, is as good: else a long chain of shared inputs would be walked once for each slot
 * in it.
 */
static bool can_take(struct exchange *exchange, const struct slot *slot)
{
    if (!is_free(exchange, slot))
        return false;
    return slot->ready_stamp == exchange->ready_stamp ||
           chain_followers_ready(exchange, slot, RECORD_SIDE_INPUT);
}

/* Whether chain_pull would change anything. */
static bool has_something_to_pull(struct exchange *exchange, const struct slot *slot)
{
    const struct slot *source = source_of(exchange, slot);
    struct offer offer = offer_of(source, (enum record_side)slot->source_side);

    if (slot->failed_by_source && offer.kind != OFFER_FAILURE)
        return true;
    return offer.kind != OFFER_NOTHING && offer.number != slot->source_taken && can_take(exchange, slot);
}

/* --- deliveries --- */

static void take_failure(struct exchange *exchange, struct slot *slot, const struct slot *source)
{
    static const char gap[] = "\n[...]\n";
    char *text = malloc(TEXT_ERROR_MAX + 2 * SLOT_NAME_MAX);
    size_t size = 0;
    ssize_t got;

    if (text) {
        size = (size_t)sprintf(text, "source %s failed: ", source->name);
        got = text_read(exchange->arena, source, SLOT_ERROR, text + size, TEXT_ERROR_MAX, 0);
        if (got > 0)
            size += (size_t)got;
        if (size > FAILURE_TEXT_MAX) {
            size_t tail = FAILURE_TEXT_MAX - FAILURE_TEXT_HEAD - (sizeof(gap) - 1);
            memmove(text + FAILURE_TEXT_HEAD + sizeof(gap) - 1, text + size - tail, tail);
            memcpy(text + FAILURE_TEXT_HEAD, gap, sizeof(gap) - 1);
            size = FAILURE_TEXT_MAX;
        }
    }
    step_fail(exchange, slot, text ? text : "", size);
    slot->failed_by_source = 1;
    free(text);
}

static void take_array(struct exchange *exchange, struct slot *slot, struct slot *source,
                       enum record_side side)
{
    struct handshake_step step = {VERDICT_PROCEED, 0, STATE_READY, 0,
                                  EFFECT_CLEAR_ERROR | EFFECT_FRESH_RESULT};

    if (slot_state(slot) != STATE_IDLE)
        step.effects |= EFFECT_NEW_ROUND;
    step_take(exchange, slot, &step);
    step_adopt(exchange, slot, RECORD_SIDE_INPUT, source, side);
    if (side == RECORD_SIDE_INPUT)
        record_copy_side(&slot->record, &source->record, RECORD_SIDE_INPUT);
    else
        record_result_to_input(&slot->record, &source->record);
    slot->last_size[RECORD_SIDE_INPUT] = source->last_size[side];
    slot->has_input = 1;
    step_announce(exchange, slot, &step);
}

static void wait_again(struct exchange *exchange, struct slot *slot)
{
    struct handshake_step step = {VERDICT_PROCEED, 0, STATE_IDLE, 0,
                                  EFFECT_CLEAR_ERROR | EFFECT_FRESH_INPUT | EFFECT_FRESH_RESULT};

    step_apply(exchange, slot, &step);
}

void chain_pull(struct exchange *exchange, struct slot *slot)
{
    struct slot *source = source_of(exchange, slot);
    enum record_side side = (enum record_side)slot->source_side;
    struct offer offer = offer_of(source, side);

    if (!has_something_to_pull(exchange, slot))
        return;
    if (slot->failed_by_source && offer.kind == OFFER_NOTHING) {
        wait_again(exchange, slot);
        return;
    }
    slot->source_taken = offer.number;
    if (offer.kind == OFFER_FAILURE)
        take_failure(exchange, slot, source);
    else
        take_array(exchange, slot, source, side);
    wait_queue(exchange, source); /* its result was taken: it may take its next input itself */
}

void chain_queue_neighbours(struct exchange *exchange, struct slot *slot)
{
    struct slot *at = slot;
    struct slot *source;
    bool lets_others_go_on = is_free(exchange, slot);

    for (struct slot *follower = first_follower(exchange, slot); follower;
         follower = next_follower(exchange, follower)) {
        if (has_something_to_pull(exchange, follower))
            wait_queue(exchange, follower);
    }
    /* Publishers that wait for this slot: its source's, and through shared inputs those further up. */
    while (lets_others_go_on && (source = source_of(exchange, at))) {
        enum record_side side = (enum record_side)at->source_side;

        at = source;
        if (!LIST_EMPTY(&at->waiters) || (at->source && has_something_to_pull(exchange, at)))
            wait_queue(exchange, at);
        if (side == RECORD_SIDE_RESULT)
            break;
    }
}

/* --- links --- */

int chain_link(struct exchange *exchange, struct slot *slot, struct slot *source, enum record_side side,
               const struct caller *caller)
{
    static const char operation[] = "chain the slot";
    struct slot *sibling;

    if (slot->source)
        return refuse_operation(exchange, slot, caller, operation, -EEXIST, "it has a source already");
    for (const struct slot *up = slot == source ? slot : source_of(exchange, source); up;
         up = source_of(exchange, up)) {
        if (up == slot)
            return refuse_operation(exchange, slot, caller, operation, -ELOOP,
                                    "the chain would close on itself");
    }
    if (slot_state(slot) != STATE_IDLE && slot_state(slot) != STATE_DONE && slot_state(slot) != STATE_FAILED)
        return refuse_operation(exchange, slot, caller, operation, -EBUSY,
                                "it has an input on its way already");
    slot->source = slot_index(exchange->slots, source);
    slot->source_side = side;
    slot->source_serial = slots_serial(exchange->slots);
    slot->source_taken = 0;
    slot->times[SLOT_SOURCE] = slot_times_now();
    slot_touch(slot, SLOT_DIRECTORY);
    sibling = first_follower(exchange, source);
    slot->previous_follower = 0;
    slot->next_follower = source->first_follower;
    if (sibling)
        sibling->previous_follower = slot_index(exchange->slots, slot);
    source->first_follower = slot_index(exchange->slots, slot);
    slots_changed(exchange->slots);
    wait_queue(exchange, slot);
    return 0;
}

void chain_unlink(struct exchange *exchange, struct slot *slot)
{
    struct slot *source = source_of(exchange, slot);
    struct slot *previous = slot_at(exchange->slots, slot->previous_follower);
    struct slot *next = next_follower(exchange, slot);

    if (!source)
        return;
    if (previous)
        previous->next_follower = slot->next_follower;
    else
        source->first_follower = slot->next_follower;
    if (next)
        next->previous_follower = slot->previous_follower;
    slot->source = slot->next_follower = slot->previous_follower = 0;
    slot_touch(slot, SLOT_DIRECTORY);
    slots_changed(exchange->slots);
    slot->source_taken = 0;
    slot->failed_by_source = 0;
    step_unshare(exchange, slot);
    wait_queue(exchange, source); /* its publisher may have waited for this slot */
}

void chain_slot_removed(struct exchange *exchange, struct slot *slot)
{
    char text[SLOT_NAME_MAX + 32];
    struct slot *follower;
    int size = snprintf(text, sizeof(text), "source %s was removed\n", slot->name);

    while ((follower = first_follower(exchange, slot))) {
        chain_unlink(exchange, follower);
        exchange->hooks.source_removed(exchange->hooks.context, follower);
        if (slot_state(follower) == STATE_IDLE)
            step_fail(exchange, follower, text, (size_t)size);
    }
    chain_unlink(exchange, slot);
}

void chain_target(struct exchange *exchange, const struct slot *slot, char target[CHAIN_TARGET_MAX])
{
    snprintf(target, CHAIN_TARGET_MAX, "../%s/%s", source_of(exchange, slot)->name,
             slot_file_name(slot_file_of_side(slot->source_side)));
}

int chain_parse_target(struct exchange *exchange, const char *mountpoint, const char *target,
                       struct slot **source, enum record_side *side)
{
    size_t prefix = strlen(mountpoint);
    char name[SLOT_NAME_MAX + 1];
    enum slot_file file;
    const char *end;

    if (strncmp(target, "../", 3) == 0)
        target += 3;
    else if (strncmp(target, mountpoint, prefix) == 0 && target[prefix] == '/')
        target += prefix + 1;
    else
        return -EINVAL;
    end = strchr(target, '/');
    if (!end || end == target || end - target > SLOT_NAME_MAX)
        return -EINVAL;
    file = slot_file_find(end + 1);
    if (file != SLOT_DATA_BIN && file != SLOT_RESULT_BIN)
        return -EINVAL;
    *side = slot_file_side(file);
    memcpy(name, target, (size_t)(end - target));
    name[end - target] = '\0';
    *source = slot_find(exchange->slots, name);
    return *source ? 0 : -ENOENT;
}
