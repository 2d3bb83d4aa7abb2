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
    FAILURE_TEXT_MAX = 4096, /* of an inherited failure: we cut the middle out of a longer one */
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
    uint64_t number; /* of the array or the failure; no two have the same */
};

static struct offer offer_of(struct exchange *exchange, const struct slot *source, enum record_side side)
{
    enum handshake_event event = side == RECORD_SIDE_INPUT ? EVENT_FOLLOW_INPUT : EVENT_FOLLOW_RESULT;
    struct handshake_step step = step_judge(exchange, source, event, 0);

    switch (step.verdict) {
    case VERDICT_PROCEED:
        return (struct offer){OFFER_ARRAY, source->arrays[side].number};
    case VERDICT_REFUSE:
        return (struct offer){OFFER_FAILURE, source->failure};
    case VERDICT_WAIT:
        break;
    }
    return (struct offer){OFFER_NOTHING, 0};
}

/* How a slot takes an offer. The verdict of DELIVER also says whether it could take any. */
static struct handshake_step judge_offer(struct exchange *exchange, const struct slot *slot,
                                         enum offer_kind kind)
{
    return step_judge(exchange, slot, kind == OFFER_FAILURE ? EVENT_SOURCE_FAILED : EVENT_DELIVER, 0);
}

static bool is_free(struct exchange *exchange, const struct slot *slot)
{
    return judge_offer(exchange, slot, OFFER_ARRAY).verdict == VERDICT_PROCEED;
}

/* `follower`, or the first of its siblings after it, on this side. */
static struct slot *follower_on_side(struct exchange *exchange, struct slot *follower, enum record_side side)
{
    while (follower && follower->source_side != (uint32_t)side)
        follower = next_follower(exchange, follower);
    return follower;
}

/*
 * Whether all slots that follow this array are free; those that have `taken` already do not count. A slot that
 * takes an input passes it on to the slots that share it, so these must be free as well. Walks that tree
 * without recursion: down to the first sharer, then along, then up again by the links. Stamps each slot on its
 * way.
 */
static bool walk(struct exchange *exchange, const struct slot *slot, enum record_side side, uint64_t taken)
{
    struct slot *at = follower_on_side(exchange, first_follower(exchange, slot), side);

    while (at) {
        struct slot *next = NULL;

        if (at->source_taken != taken) {
            if (!is_free(exchange, at)) {
                exchange->blocker = at;
                return false;
            }
            at->ready_stamp = exchange->run->ready_stamp;
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

    exchange->run->ready_stamp = ++exchange->ready_stamp;
    ready = walk(exchange, slot, side, taken);
    if (!ready)
        exchange->run->ready_stamp =
            ++exchange->ready_stamp; /* half a walk proves nothing: make its stamps old */
    return ready;
}

bool chain_followers_ready(struct exchange *exchange, const struct slot *slot, enum record_side side,
                           uint64_t number)
{
    return all_ready(exchange, slot, side, number);
}

bool chain_failure_taken(struct exchange *exchange, const struct slot *slot)
{
    const struct slot *follower = first_follower(exchange, slot);

    while (follower && (!slot->failure || follower->source_side != RECORD_SIDE_RESULT ||
                        follower->source_taken == slot->failure))
        follower = next_follower(exchange, follower);
    exchange->blocker = follower;
    return !follower;
}

void chain_explain_wait(struct exchange *exchange, char reason[SLOT_REASON_MAX])
{
    char name[32];

    /* A name is any bytes, and this becomes a line of metadata.txt. */
    snprintf(name, sizeof(name), "%.*s", (int)sizeof(name) - 1, exchange->blocker->name);
    for (char *at = name; *at; at++) {
        if ((unsigned char)*at < 0x20 || *at == 0x7f)
            *at = '?';
    }
    /*
     * Say nothing that changes with the follower's state: we do not ask again before it is free.
     */
    snprintf(reason, SLOT_REASON_MAX, "follower %s can take no more yet: its metadata.txt tells its state",
             name);
}

/*
 * Whether a slot that may take an offer can. The slots with which it will share the input must be free as well,
 * unless they work on the input that it has now: they take the next one later, and until then this slot takes
 * no other. If the publisher has looked at them in this same step we do not look again, or a long chain of
 * shared inputs would be walked once for each slot in it.
 */
static bool can_take(struct exchange *exchange, const struct slot *slot, const struct handshake_step *step)
{
    if (step->verdict != VERDICT_PROCEED)
        return false;
    return !(step->checks & CHECK_INPUT_FOLLOWERS) || slot->ready_stamp == exchange->run->ready_stamp ||
           chain_followers_ready(exchange, slot, RECORD_SIDE_INPUT, slot->arrays[RECORD_SIDE_INPUT].number);
}

/* The source tries again what this slot has failed with. */
static bool is_recalled(struct exchange *exchange, const struct slot *slot, const struct slot *source,
                        struct handshake_step *step)
{
    if (!source->recalled || slot->source_taken != source->recalled)
        return false;
    *step = step_judge(exchange, slot, EVENT_SOURCE_RETRIES, 0);
    return step_is_change(slot, step);
}

/* What chain_pull would do. */
static bool find_pull(struct exchange *exchange, const struct slot *slot, struct offer *offer,
                      struct handshake_step *step)
{
    const struct slot *source = source_of(exchange, slot);

    *offer = (struct offer){OFFER_NOTHING, 0};
    if (is_recalled(exchange, slot, source, step))
        return true;
    *offer = offer_of(exchange, source, (enum record_side)slot->source_side);
    if (offer->kind == OFFER_NOTHING || offer->number == slot->source_taken)
        return false;
    *step = judge_offer(exchange, slot, offer->kind);
    return can_take(exchange, slot, step);
}

static bool has_something_to_pull(struct exchange *exchange, const struct slot *slot)
{
    struct handshake_step step;
    struct offer offer;

    return find_pull(exchange, slot, &offer, &step);
}

/* --- deliveries --- */

static struct slot_failure blame(const struct slot *source)
{
    struct slot_failure failed = {.cause = CAUSE_SOURCE};

    strcpy(failed.source, source->name);
    return failed;
}

static void take_failure(struct exchange *exchange, struct slot *slot, const struct slot *source,
                         const struct handshake_step *step)
{
    static const char gap[] = "\n[...]\n";
    struct slot_failure failed = blame(source);
    char *text = malloc(TEXT_ERROR_MAX + 2 * SLOT_NAME_MAX);
    size_t size = 0;
    ssize_t got;

    if (text && slot_state(source) != STATE_FAILED) {
        size = (size_t)sprintf(text, "source %s failed, and has begun its next round since\n", source->name);
    } else if (text) {
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
    step_fail(exchange, slot, step, NULL, &failed, text ? text : "", size);
    free(text);
}

/* The slot's owner may not read the source any more. */
static void refuse_array(struct exchange *exchange, struct slot *slot, const struct slot *source,
                         const struct handshake_step *step)
{
    struct slot_failure failed = blame(source);
    char text[SLOT_NAME_MAX + 96];
    int size = snprintf(text, sizeof(text),
                        "source %s may not be read any more by the owner of this slot: see its mode\n",
                        source->name);

    step_fail(exchange, slot, step, NULL, &failed, text, (size_t)size);
}

static void take_array(struct exchange *exchange, struct slot *slot, struct slot *source,
                       const struct handshake_step *step)
{
    enum record_side side = (enum record_side)slot->source_side;

    step_take(exchange, slot, step, NULL);
    step_adopt(exchange, slot, RECORD_SIDE_INPUT, source, side);
    if (side == RECORD_SIDE_INPUT)
        record_copy_side(&slot->record, &source->record, RECORD_SIDE_INPUT);
    else
        record_result_to_input(&slot->record, &source->record);
    slot->last_size[RECORD_SIDE_INPUT] = source->last_size[side];
    step_announce(exchange, slot, step);
}

void chain_pull(struct exchange *exchange, struct slot *slot)
{
    struct slot *source = source_of(exchange, slot);
    struct handshake_step step;
    struct offer offer;

    if (!find_pull(exchange, slot, &offer, &step))
        return;
    if (offer.kind == OFFER_NOTHING) {
        step_apply(exchange, slot, &step, NULL);
        return;
    }
    slot->source_taken = offer.number;
    slot_mark(slot);
    if (offer.kind == OFFER_ARRAY && step.effects & EFFECT_FAILURE)
        refuse_array(exchange, slot, source, &step);
    else if (offer.kind == OFFER_FAILURE)
        take_failure(exchange, slot, source, &step);
    else
        take_array(exchange, slot, source, &step);
    wait_queue(exchange, source); /* its outcome was taken, so it may take its next input */
}

bool chain_queue_follower(struct exchange *exchange, struct slot *slot)
{
    struct slot *follower = slot_at(exchange->slots, slot->follower_cursor);

    slot->follower_cursor = follower->next_follower;
    if (!has_something_to_pull(exchange, follower))
        return false;
    wait_queue(exchange, follower);
    return true;
}

void chain_queue_sources(struct exchange *exchange, struct slot *slot)
{
    struct slot *at = slot;
    struct slot *source;

    if (!is_free(exchange, slot))
        return;
    /* Publishers that wait for this slot: of its source, and of further sources if inputs are shared. */
    while ((source = source_of(exchange, at))) {
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
    const struct slot *up = slot == source ? slot : source_of(exchange, source);
    bool in_group = caller->gid == source->gid || process_has_group(caller->thread, source->gid);
    uint32_t facts = 0;
    struct handshake_step step;
    struct slot *sibling;

    while (up && up != slot)
        up = source_of(exchange, up);
    if (!slot_may_read(source, slot_file_of_side(side), caller->uid, in_group))
        facts |= FACT_UNREADABLE;
    step = step_judge(exchange, slot, EVENT_LINK, facts | (up ? FACT_LOOP : 0));
    if (step.verdict == VERDICT_REFUSE)
        return refuse_event(exchange, slot, caller, EVENT_LINK, -step.error, step.reason);
    slot->source = slot_index(exchange->slots, source);
    slot->source_side = side;
    slot->source_slot = source->serial;
    slot->source_group = in_group && caller->uid == slot->uid ? source->gid : slot->gid;
    slot->source_serial = slots_serial(exchange->slots);
    /* A failure of an earlier round of the source does not concern this slot. */
    slot->source_taken = slot_state(source) == STATE_FAILED ? 0 : source->failure;
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
    if (slot->source_side == RECORD_SIDE_RESULT && slot->source_taken == step_outcome(source))
        step_outcome_read(exchange, source); /* it was taken, and losing this follower does not change that */
    if (source->follower_cursor == slot_index(exchange->slots, slot))
        source->follower_cursor = slot->next_follower;
    slot->source = slot->next_follower = slot->previous_follower = 0;
    slot_touch(slot, SLOT_DIRECTORY);
    slots_changed(exchange->slots);
    slot->source_taken = slot->source_slot = 0;
    step_unshare(exchange, slot);
    wait_queue(exchange, source); /* its publisher may have waited for this slot */
}

void chain_orphan(struct exchange *exchange, struct slot *slot)
{
    struct slot_failure failed = blame(slot);
    char text[SLOT_NAME_MAX + 32];
    int size = snprintf(text, sizeof(text), "source %s was removed\n", slot->name);
    struct slot *follower = first_follower(exchange, slot);
    struct handshake_step step = step_judge(exchange, follower, EVENT_SOURCE_REMOVED, 0);

    chain_unlink(exchange, follower);
    exchange->hooks.source_removed(exchange->hooks.context, follower);
    /*
     * A failure that the follower still owes gives way to this one, which tells its own followers the same and
     * that nothing more comes: so an input has one outcome with each of them.
     */
    if (step_is_change(follower, &step))
        step_fail(exchange, follower, &step, NULL, &failed, text, (size_t)size);
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
