// SPDX-License-Identifier: Apache-2.0
#include "exchange/step.h"

#include "base/log.h"
#include "exchange/account.h"
#include "exchange/shared.h"
#include "exchange/wait.h"
#include "slot/handle.h"
#include "slot/page.h"
#include <errno.h>

uint64_t step_array_identity(const struct exchange *exchange, const struct slot *slot, enum record_side side)
{
    const struct slot_array *array = &slot->arrays[side];

    return exchange->data_path == DATA_PATH_PASSTHROUGH ? array->inode : array->number;
}

bool step_array_is_shared(const struct exchange *exchange, const struct slot *slot, enum record_side side)
{
    const struct slot_array *array = &slot->arrays[side];
    const struct slot *follower = slot_at(exchange->slots, slot->first_follower);

    if (exchange->data_path == DATA_PATH_PASSTHROUGH || array->home_side != RECORD_SIDE_RESULT)
        return false;
    if (array->home != slot_index(exchange->slots, slot))
        return true;
    while (follower && (follower->arrays[RECORD_SIDE_INPUT].number != array->number ||
                        follower->arrays[RECORD_SIDE_INPUT].home != array->home))
        follower = slot_at(exchange->slots, follower->next_follower);
    return follower;
}

void step_changed(struct exchange *exchange, struct slot *slot)
{
    slot->record.change += 2; /* a page shows the odd one while it changes */
    slot_touch(slot, SLOT_METADATA_BIN);
    slots_commit(exchange->slots);
    page_update(exchange->arena, slot);
    exchange->hooks.record_changed(exchange->hooks.context, slot);
    wait_queue(exchange, slot);
}

void step_segment_freed(struct exchange *exchange, struct segment *segment)
{
    quota_uncharge(exchange->quota, segment);
}

/* When a slot drops an array that a follower still uses, charge it to that follower. */
static void charge_follower(struct exchange *exchange, const struct slot *slot, struct segment *segment)
{
    struct slot *follower = slot_at(exchange->slots, slot->first_follower);

    while (follower && follower->segments[RECORD_SIDE_INPUT] != segment)
        follower = slot_at(exchange->slots, follower->next_follower);
    if (!follower)
        return;
    follower->arrays[RECORD_SIDE_INPUT].borrowed = 0;
    slot_mark(follower);
    quota_charge(exchange->quota, segment, account_payer(follower), segment->charged, NULL);
}

void step_keep_open(struct exchange *exchange, struct slot *slot, struct segment *segment)
{
    struct segment *before = slot->kept_open;

    slot->kept_open = segment;
    if (before)
        segment_close(exchange->arena, before);
}

void step_drop_segment(struct exchange *exchange, struct slot *slot, enum record_side side)
{
    struct segment *segment = slot->segments[side];

    slot->segments[side] = NULL;
    slot->sizing[side] = 0;
    slot->settling[side] = 0;
    slot->settled[side] = 0;
    if (segment) {
        if (slot->kept_open == segment)
            step_keep_open(exchange, slot, NULL);
        if (segment->names - segment->leaving > 1 && !slot->arrays[side].borrowed)
            charge_follower(exchange, slot, segment);
        segment_unname_later(exchange->arena, segment);
    } else {
        quota_drop_bytes(exchange->quota, account_payer(slot), slot_inline_size(slot, side));
    }
    slot_set_inline(slot, side, NULL, 0);
}

static bool is_open(const struct slot *slot, enum slot_file file)
{
    const struct handle *handle = slot->handles;

    while (handle && handle->file != file)
        handle = handle->next;
    return handle;
}

/*
 * Where nobody has the file open its inode goes on: a new one would cost the next opener three requests more.
 * On the page-cache path mappings hang on it.
 */
void step_drop_array(struct exchange *exchange, struct slot *slot, enum record_side side)
{
    uint64_t inode = slot->arrays[side].inode;

    step_drop_segment(exchange, slot, side);
    slot_fresh_array(exchange->slots, slot, side);
    if (exchange->data_path == DATA_PATH_PASSTHROUGH && !is_open(slot, slot_file_of_side(side))) {
        slot->arrays[side].inode = inode;
        exchange->hooks.array_replaced(exchange->hooks.context, slot, slot_file_of_side(side));
    }
}

void step_renew_inode(struct slot *slot, enum record_side side)
{
    slot->arrays[side].inode = slot->arrays[side].serial;
    slot_mark(slot);
}

static void own_inode(struct exchange *exchange, struct slot *slot)
{
    slot->arrays[RECORD_SIDE_INPUT].home = slot_index(exchange->slots, slot);
    slot->arrays[RECORD_SIDE_INPUT].home_side = RECORD_SIDE_INPUT;
    slot_mark(slot);
}

void step_unshare(struct exchange *exchange, struct slot *slot)
{
    struct slot *follower = slot_at(exchange->slots, slot->first_follower);

    own_inode(exchange, slot);
    for (; follower; follower = slot_at(exchange->slots, follower->next_follower))
        own_inode(exchange, follower);
}

/* One inode has one owner and one mode: only names that agree in these can share it. */
static bool have_one_face(const struct slot *a, enum record_side a_side, const struct slot *b,
                          enum record_side b_side)
{
    return a->uid == b->uid && a->gid == b->gid &&
           a->modes[slot_file_of_side(a_side)] == b->modes[slot_file_of_side(b_side)];
}

/* The size that the array will probably need, to take a warm segment of that size; 0: no idea. */
static uint64_t size_hint(const struct exchange *exchange, const struct slot *slot, enum record_side side)
{
    struct record_half half = record_half(&slot->record, side);

    if (half.length > 0)
        return (uint64_t)half.length * record_dtype_size(half.dtype);
    if (slot->last_size[side])
        return slot->last_size[side];
    if (side == RECORD_SIDE_RESULT && slot->last_size[RECORD_SIDE_INPUT])
        return slot->last_size[RECORD_SIDE_INPUT];
    return exchange->last_size[side]; /* slots come and go, but their arrays are alike */
}

int step_make_segment(struct exchange *exchange, const struct slot *slot, enum record_side side,
                      struct segment **segment)
{
    return segment_create(exchange->arena, size_hint(exchange, slot, side), segment);
}

void step_put_segment(struct slot *slot, enum record_side side, struct segment *segment)
{
    slot->segments[side] = segment;
    slot->arrays[side].segment_id = segment->id;
    slot_mark(slot);
}

void step_charge_to(struct exchange *exchange, const struct slot *slot, enum record_side side, uid_t uid)
{
    const struct quota_payer payer = {uid, slot->job};
    struct segment *segment = slot->segments[side];
    size_t size = slot_inline_size(slot, side);

    if (!segment) {
        quota_drop_bytes(exchange->quota, account_payer(slot), size);
        quota_add_bytes(exchange->quota, payer, size, NULL);
    } else if (!slot->arrays[side].borrowed) {
        quota_charge(exchange->quota, segment, payer, segment->charged, NULL);
    }
}

int step_need_segment(struct exchange *exchange, struct slot *slot, enum record_side side)
{
    struct segment *segment;
    int result;

    if (slot->segments[side])
        return 0;
    result = step_make_segment(exchange, slot, side, &segment);
    if (result == 0)
        step_put_segment(slot, side, segment);
    return result;
}

int step_array_stat(struct exchange *exchange, const struct slot *slot, enum record_side side, uint64_t *size,
                    uint64_t *allocated)
{
    *size = *allocated = slot_inline_size(slot, side);
    if (*size || !slot->segments[side])
        return 0;
    return segment_stat(exchange->arena, slot->segments[side], size, allocated);
}

/* The array is the source's as well, and perhaps its segment. */
static void adopt_pages(struct exchange *exchange, struct slot *slot, enum record_side side,
                        const struct slot *from, enum record_side from_side)
{
    struct segment *segment = from->segments[from_side];
    size_t size = slot_inline_size(from, from_side);

    slot_set_inline(slot, side, from->inline_bytes[from_side], size);
    if (!segment) {
        quota_add_bytes(exchange->quota, account_payer(slot), size, NULL);
        return;
    }
    segment_name(segment);
    slot->arrays[side].borrowed = 1;
    slot->arrays[side].segment_id = from->arrays[from_side].segment_id;
    slot->segments[side] = segment;
}

void step_adopt(struct exchange *exchange, struct slot *slot, enum record_side side, struct slot *from,
                enum record_side from_side)
{
    bool exists = slot_inline_size(from, from_side) > 0;

    /* Followers share an empty array as well; without memory for it each opener gets another one. */
    if (!exists && step_need_segment(exchange, from, from_side) == 0)
        exists = segment_publish(exchange->arena, from->segments[from_side]) == 0;
    step_drop_array(exchange, slot, side);
    slot->arrays[side].number = from->arrays[from_side].number;
    if (from_side == RECORD_SIDE_RESULT && exists && have_one_face(slot, side, from, from_side)) {
        slot->arrays[side].home = from->arrays[from_side].home;
        slot->arrays[side].home_side = from->arrays[from_side].home_side;
    }
    slot->arrays[side].times = from->arrays[from_side].times;
    adopt_pages(exchange, slot, side, from, from_side);
}

uint64_t step_outcome(const struct slot *slot)
{
    return slot_state(slot) == STATE_FAILED ? slot->failure : slot->arrays[RECORD_SIDE_RESULT].number;
}

/*
 * Whether the outcome went where it belongs: to every follower, or at the end of a chain to a reader. A round
 * that failed before it had an input owes its failure to the followers of its input as well. A slot that is
 * between two rounds can still owe the last failure to the followers of its result.
 */
static bool outcome_was_taken(const struct exchange *exchange, const struct slot *slot)
{
    bool has_failed = slot_state(slot) == STATE_FAILED;
    bool is_over = has_failed || slot_state(slot) == STATE_DONE;
    uint64_t outcome = is_over ? step_outcome(slot) : slot->failure;
    bool followed = false;

    for (const struct slot *follower = slot_at(exchange->slots, slot->first_follower); follower;
         follower = slot_at(exchange->slots, follower->next_follower)) {
        bool of_result = follower->source_side == RECORD_SIDE_RESULT;

        if (!of_result && !(has_failed && !slot->has_input))
            continue;
        if (follower->source_taken != outcome)
            return false;
        followed = followed || of_result;
    }
    return followed || slot->outcome_taken || !is_over;
}

/* The kernel does not check this at a delivery. We know only the groups that the owner had once. */
static bool owner_may_read_source(const struct exchange *exchange, const struct slot *slot)
{
    const struct slot *source = slot_at(exchange->slots, slot->source);

    return !source || slot_may_read(source, slot_file_of_side((enum record_side)slot->source_side), slot->uid,
                                    source->gid == slot->gid || source->gid == slot->source_group);
}

struct handshake_step step_judge(const struct exchange *exchange, const struct slot *slot,
                                 enum handshake_event event, uint32_t facts)
{
    facts |= slot->source ? FACT_FED : 0;
    facts |= slot->has_input ? FACT_HAS_INPUT : 0;
    facts |= slot->failure ? FACT_FAILURE : 0;
    facts |= slot->failed.cause == CAUSE_SOURCE ? FACT_BY_SOURCE : 0;
    switch (event) {
    case EVENT_OPEN_INPUT_WRITE:
    case EVENT_RESIZE_INPUT:
        facts |= step_array_is_shared(exchange, slot, RECORD_SIDE_INPUT) ? FACT_SHARED : 0;
        break;
    case EVENT_OPEN_RESULT_WRITE:
    case EVENT_RESIZE_RESULT:
        facts |= step_array_is_shared(exchange, slot, RECORD_SIDE_RESULT) ? FACT_SHARED : 0;
        break;
    case EVENT_DELIVER:
        facts |= owner_may_read_source(exchange, slot) ? 0 : FACT_UNREADABLE;
        facts |= outcome_was_taken(exchange, slot) ? FACT_TAKEN : 0;
        break;
    case EVENT_SOURCE_FAILED:
        facts |= outcome_was_taken(exchange, slot) ? FACT_TAKEN : 0;
        break;
    case EVENT_WORKER_DIED:
    case EVENT_RESTART:
        facts |= slot->worker ? FACT_BOUND : 0;
        break;
    case EVENT_OPEN_INPUT_READ:
    case EVENT_OPEN_RESULT_READ:
    case EVENT_FLAG_INPUT:
    case EVENT_FLAG_RESULT:
    case EVENT_FLAG_FAILED:
    case EVENT_FLAG_NONE:
    case EVENT_PUT_INPUT:
    case EVENT_PUT_RESULT:
    case EVENT_EDIT_INPUT:
    case EVENT_EDIT_RESULT:
    case EVENT_UNLINK:
    case EVENT_TAKE_RESULT:
    case EVENT_GIVE_INPUT:
    case EVENT_LINK:
    case EVENT_FOLLOW_INPUT:
    case EVENT_FOLLOW_RESULT:
    case EVENT_SOURCE_RETRIES:
    case EVENT_SOURCE_REMOVED:
    case EVENT_OUTCOME_READ:
    case EVENT_LOST:
    case HANDSHAKE_EVENTS:
        break;
    }
    return handshake_judge(slot_state(slot), event, facts);
}

bool step_is_change(const struct slot *slot, const struct handshake_step *step)
{
    return step->next != slot_state(slot) || step->effects;
}

uint64_t step_open_round(const struct slot *slot)
{
    bool between = slot_state(slot) == STATE_DONE || slot_state(slot) == STATE_FAILED;

    return slot->record.round + between;
}

void step_clear_worker(struct slot *slot)
{
    process_unbind(&slot->worker_bond);
    slot->worker = 0;
    slot->worker_once = 0;
    slot_touch(slot, SLOT_WORKER);
}

/* Whether a round ends that had an input to compute from. */
static bool is_outcome(enum handshake_state from, enum handshake_state to)
{
    return (from == STATE_READY || from == STATE_COMPUTING) && (to == STATE_DONE || to == STATE_FAILED);
}

static void take(struct exchange *exchange, struct slot *slot, const struct handshake_step *step,
                 const struct caller *caller, const char *reason, size_t size)
{
    enum handshake_state before = slot_state(slot);
    const struct timespec entered = slot->entered;

    slot_mark(slot);
    if (step->effects & EFFECT_NEW_ROUND)
        slot->record.round++;
    if (step->effects & EFFECT_FRESH_INPUT) {
        step_drop_array(exchange, slot, RECORD_SIDE_INPUT);
        record_reset_side(&slot->record, RECORD_SIDE_INPUT);
        slot->has_input = 0;
    }
    if (step->effects & EFFECT_FRESH_RESULT) {
        step_drop_array(exchange, slot, RECORD_SIDE_RESULT);
        record_reset_side(&slot->record, RECORD_SIDE_RESULT);
    }
    if (step->effects & EFFECT_CLEAR_ERROR) {
        account_resize_text(exchange, slot, SLOT_ERROR, 0);
        slot->failed = (struct slot_failure){.cause = CAUSE_NONE};
    }
    if (step->effects & EFFECT_RECALL)
        slot->recalled = slot->failure;
    if (step->effects & (EFFECT_RECALL | EFFECT_INPUT))
        slot->failure = 0;
    if (step->effects & EFFECT_INPUT)
        slot->has_input = 1;
    if (step->effects & EFFECT_OUTCOME)
        slot->outcome_taken = 0;
    if (step->effects & EFFECT_FAILURE)
        slot->failure = slots_serial(exchange->slots);
    if (step->effects & EFFECT_TAKEN)
        slot->outcome_taken = 1;
    slot_enter_state(exchange->slots, slot, step->next);
    slot->record.flag = handshake_flag(step->next);
    if (step->next != STATE_FILLING)
        slot->filler = 0;
    if (slot->worker_once && slot->worker_once < step_open_round(slot))
        step_clear_worker(slot);
    if (before != step->next) {
        clock_gettime(CLOCK_REALTIME, &slot->entered);
        if (is_outcome(before, step->next))
            histogram_add(&exchange->counts.computing, histogram_us_between(&entered, &slot->entered));
        log_debug("%s: %s -> %s, round %llu", slot->name, handshake_state_name(before),
                  handshake_state_name(step->next), (unsigned long long)slot->record.round);
        if (events_wanted(&exchange->events))
            events_of_step(&exchange->events, slot, before, caller, reason, size);
    }
}

void step_take(struct exchange *exchange, struct slot *slot, const struct handshake_step *step,
               const struct caller *caller)
{
    take(exchange, slot, step, caller, NULL, 0);
}

void step_outcome_read(struct exchange *exchange, struct slot *slot)
{
    struct handshake_step step = step_judge(exchange, slot, EVENT_OUTCOME_READ, 0);

    if (!(step.effects & EFFECT_TAKEN) || slot->outcome_taken)
        return;
    step_take(exchange, slot, &step, NULL);
    if (slot->source)
        wait_queue(exchange, slot);
}

void step_announce(struct exchange *exchange, struct slot *slot, const struct handshake_step *step)
{
    const struct wait *wait;
    bool is_read = false;

    step_changed(exchange, slot);
    if (step->effects & EFFECT_CANCEL_WAITERS)
        wait_end_all(exchange, slot, -ECANCELED);
    if (step->effects & EFFECT_FAIL_WAITERS) {
        /* A reader that was ended by an earlier outcome, and is still in the list, does not have this one. */
        LIST_FOREACH (wait, &slot->waiters, link)
            is_read = is_read || (wait->event == EVENT_OPEN_RESULT_READ && !wait->ended);
        wait_end_all(exchange, slot, -EIO);
        if (is_read)
            step_outcome_read(exchange, slot);
    }
}

void step_apply(struct exchange *exchange, struct slot *slot, const struct handshake_step *step,
                const struct caller *caller)
{
    step_take(exchange, slot, step, caller);
    step_announce(exchange, slot, step);
}

void step_fail(struct exchange *exchange, struct slot *slot, const struct handshake_step *step,
               const struct caller *caller, const struct slot_failure *failed, const char *text, size_t size)
{
    /* So much of the reason we store in any case: an owner whose share is used up has to learn it. */
    enum { BRIEF = 4096 };

    log_about(LOG_LEVEL_DEBUG, &(struct log_subject){slot->name, slot->record.round, 0}, "%s: failed: %.*s",
              slot->name, (int)(size < 200 ? size : 200), text);
    take(exchange, slot, step, caller, text, size);
    slot->failed = *failed;
    /* A full arena loses the text, not the failure. */
    account_resize_text(exchange, slot, SLOT_ERROR, 0);
    if (account_write_text(exchange, slot, SLOT_ERROR, ACCOUNT_CLIENT, text, size, 0) == -EDQUOT)
        account_write_text(exchange, slot, SLOT_ERROR, ACCOUNT_DAEMON, text, size < BRIEF ? size : BRIEF, 0);
    step_announce(exchange, slot, step);
}
