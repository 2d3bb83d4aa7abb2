// SPDX-License-Identifier: Apache-2.0
#include "exchange/array.h"

#include "base/process.h"
#include "exchange/account.h"
#include "exchange/copy.h"
#include "exchange/refuse.h"
#include "exchange/run.h"
#include "exchange/shared.h"
#include "exchange/step.h"
#include "exchange/wait.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum handshake_event array_open_event(enum record_side side, enum handle_access access)
{
    if (side == RECORD_SIDE_INPUT)
        return access == HANDLE_WRITES ? EVENT_OPEN_INPUT_WRITE : EVENT_OPEN_INPUT_READ;
    return access == HANDLE_WRITES ? EVENT_OPEN_RESULT_WRITE : EVENT_OPEN_RESULT_READ;
}

/*
 * Whether a process may write the result while another one does: it is a child of that one, or both are the slot's worker or its
 * children. A parent that is no worker is not asked to write what its child does. Of a writer that has ended, and whose handle the
 * kernel has still to release, /proc does not say whose child it was: the handle does.
 */
static bool writes_with(const struct slot *slot, pid_t process, const struct handle *writer)
{
    if (process == writer->process || process_descends_from(process, writer->process))
        return process != 0;
    return process_descends_from(process, slot->worker) &&
           (writer->worker == slot->worker || process_descends_from(writer->process, slot->worker));
}

static bool others_write_result(const struct slot *slot, const struct caller *caller,
                                const struct handle *own)
{
    const struct segment *segment = slot->segments[RECORD_SIDE_RESULT];

    for (const struct handle *handle = slot->handles; handle; handle = handle->next) {
        if (handle->segment == segment && handle->access == HANDLE_WRITES && handle != own &&
            !writes_with(slot, caller->process, handle))
            return true;
    }
    return false;
}

static uint32_t facts_about(const struct slot *slot, enum handshake_event event, const struct caller *caller,
                            const struct handle *handle)
{
    if (event == EVENT_OPEN_INPUT_READ && slot->filler && slot->filler == caller->process)
        return FACT_CALLER_FILLS;
    if ((event == EVENT_OPEN_RESULT_WRITE || event == EVENT_RESIZE_RESULT) &&
        slot->state == STATE_COMPUTING && others_write_result(slot, caller, handle))
        return FACT_OTHERS_WRITE_RESULT;
    return 0;
}

/* Whether another slot has the input, perhaps inline. Linear in the number of slots. */
static bool is_named_elsewhere(const struct exchange *exchange, const struct slot *slot)
{
    uint64_t number = slot->arrays[RECORD_SIDE_INPUT].number;
    const struct slot *other = slot_after(exchange->slots, 0);

    while (other && (other == slot || (other->arrays[RECORD_SIDE_INPUT].number != number &&
                                       other->arrays[RECORD_SIDE_RESULT].number != number)))
        other = slot_after(exchange->slots, slot_index(exchange->slots, other));
    return other;
}

/*
 * Whether a published input that is to be written again (a result moved here) has another user. Then it gets
 * new pages, because nobody's pages may change.
 */
static bool is_read_elsewhere(struct exchange *exchange, const struct slot *slot)
{
    struct segment *segment = slot->segments[RECORD_SIDE_INPUT];

    /* A client that had a path to it must not open it once we have looked. */
    segment_revoke(exchange->arena, segment);
    return segment->names - segment->leaving > 1 || segment->handles > 0 ||
           segment_in_use(exchange->arena, segment) || is_named_elsewhere(exchange, slot);
}

/*
 * A step that was judged, and the segment that the array has once it is taken. A refused call changes
 * nothing: we do everything that can fail in between, and take the step last.
 */
struct prepared {
    struct handshake_step step;
    struct segment *segment;
    bool is_fresh; /* the slot has it not yet: its name is ours */
};

/* Notes what a step says of an event that does not proceed. Returns 0, WAIT_FOR_PEER or a refusal. */
static int heed(struct exchange *exchange, struct slot *slot, enum handshake_event event,
                const struct caller *caller, const struct handshake_step *step)
{
    if (step->verdict == VERDICT_WAIT && exchange->limits.no_waiting)
        return refuse_event(exchange, slot, caller, event, -EAGAIN, step->reason);
    if (step->verdict == VERDICT_WAIT)
        return wait_because(exchange, WAIT_FOR_PEER, step->reason);
    if (step->verdict != VERDICT_REFUSE)
        return 0;
    refuse_event(exchange, slot, caller, event, -step->error, step->reason);
    if (step->error == EIO)
        step_outcome_read(exchange, slot); /* by the caller, who runs the queue */
    return -step->error;
}

/* Judges an event that opens or resizes an array. Returns 0, WAIT_FOR_PEER or a refusal. */
static int prepare(struct exchange *exchange, struct slot *slot, enum record_side side,
                   enum handshake_event event, const struct caller *caller, const struct handle *handle,
                   struct prepared *prepared)
{
    struct handshake_step step = step_judge(exchange, slot, event, facts_about(slot, event, caller, handle));
    struct segment *segment = step.effects & EFFECT_FRESH_INPUT ? NULL : slot->segments[side];
    int result = heed(exchange, slot, event, caller, &step);

    *prepared = (struct prepared){.step = step, .segment = segment, .is_fresh = !segment};
    if (result != 0)
        return result;
    if (segment && segment->published && step.checks & CHECK_INPUT_UNREAD &&
        is_read_elsewhere(exchange, slot))
        return refuse_event(exchange, slot, caller, event, -EBUSY,
                            handshake_check_reason(CHECK_INPUT_UNREAD));
    if (segment)
        return 0;
    if (copy_is_due(slot, side) && !(step.effects & EFFECT_FRESH_INPUT))
        result = copy_make(exchange, slot, side, &prepared->segment);
    else
        result = step_make_segment(exchange, slot, side, &prepared->segment);
    return result < 0
               ? refuse_event(exchange, slot, caller, event, result, refuse_what_is_lacking(exchange, result))
               : 0;
}

static void abandon(struct exchange *exchange, const struct prepared *prepared)
{
    if (prepared->is_fresh)
        segment_unname(exchange->arena, prepared->segment);
}

/* Takes the step; the caller runs the queue. */
static void take(struct exchange *exchange, struct slot *slot, enum record_side side,
                 const struct prepared *prepared, const struct caller *caller)
{
    const struct handshake_step *step = &prepared->step;
    bool is_change = step_is_change(slot, step);

    if (step->checks & CHECK_INPUT_UNREAD && prepared->segment && prepared->segment->published)
        segment_unpublish(exchange->arena, prepared->segment);
    if (is_change)
        step_take(exchange, slot, step, caller);
    if (prepared->is_fresh && copy_is_due(slot, side))
        copy_put(exchange, slot, side, prepared->segment);
    else if (prepared->is_fresh)
        step_put_segment(slot, side, prepared->segment);
    if (is_change)
        step_announce(exchange, slot, step);
}

int array_open(struct exchange *exchange, struct slot *slot, struct handle *handle,
               const struct caller *caller, uint64_t identity)
{
    enum record_side side = slot_file_side(handle->file);
    enum handshake_event event = array_open_event(side, handle->access);
    struct prepared prepared;
    int result = prepare(exchange, slot, side, event, caller, NULL, &prepared);
    bool is_change;

    if (result != 0)
        return result;
    result = segment_open(exchange->arena, prepared.segment);
    if (result == 0) {
        result = exchange->hooks.array_opening(exchange->hooks.context, prepared.segment);
        if (result < 0)
            segment_close(exchange->arena, prepared.segment);
    }
    if (result < 0) {
        abandon(exchange, &prepared);
        return refuse_event(exchange, slot, caller, event, result, refuse_what_is_lacking(exchange, result));
    }
    is_change = step_is_change(slot, &prepared.step);
    take(exchange, slot, side, &prepared, caller);
    if (step_array_identity(exchange, slot, side) != identity) {
        if (is_change)
            step_keep_open(exchange, slot, prepared.segment);
        else
            segment_close(exchange->arena, prepared.segment);
        run_all(exchange);
        return -ESTALE;
    }
    if (slot->kept_open == prepared.segment)
        step_keep_open(exchange, slot, NULL);
    handle->segment = prepared.segment;
    handle->side = side;
    handle->number = slot->arrays[side].number;
    handle->process = caller->process;
    handle_enlist(handle, slot);
    if (handle->access == HANDLE_WRITES) {
        slot->dated[side] = 0; /* from now on we may see of a write only its end */
        if (side == RECORD_SIDE_INPUT && slot->filler != handle->process) {
            slot->filler = handle->process;
            slot_mark(slot);
        } else if (side == RECORD_SIDE_RESULT && process_descends_from(handle->process, slot->worker)) {
            handle->worker = slot->worker;
        }
        if (!LIST_EMPTY(&slot->waiters)) /* its own reader, or a publisher that has to wait now */
            wait_queue(exchange, slot);
    }
    run_all(exchange);
    return 0;
}

void array_close(struct exchange *exchange, struct handle *handle)
{
    struct slot *slot = handle->slot;
    struct segment *segment = handle->segment;

    handle_delist(handle);
    if (slot && handle->file == SLOT_RESULT_BIN && handle->access == HANDLE_READS &&
        handle->segment == slot->segments[RECORD_SIDE_RESULT] && !copy_is_owed(slot, RECORD_SIDE_RESULT)) {
        step_outcome_read(exchange, slot);
        run_all(exchange);
    }
    if (segment)
        segment_close(exchange->arena, segment);
    handle->segment = NULL;
}

int array_may_take(struct exchange *exchange, struct slot *slot, enum record_side side,
                   const struct caller *caller)
{
    enum handshake_event event = array_open_event(side, HANDLE_READS);
    struct handshake_step step = step_judge(exchange, slot, event, 0);
    int result = heed(exchange, slot, event, caller, &step);

    return result == WAIT_FOR_PEER ? refuse_event(exchange, slot, caller, event, -EAGAIN, step.reason)
                                   : result;
}

/* --- sizes --- */

/*
 * One reservation under way. When it ends the slot may be gone or in another round. If it makes the array, we
 * take the step only when the pages are there.
 */
struct sizing {
    struct exchange *exchange;
    uint32_t index;
    uint64_t serial;       /* the array's */
    struct segment *fresh; /* the array will get it; NULL: the array has a segment */
    struct caller caller;
    enum record_side side;
    enum reserve_mode mode;
    uint64_t size;
    uint64_t charged; /* before */
    void (*done)(void *context, int result);
    void *context;
};

static struct slot *sizing_slot(const struct sizing *sizing)
{
    struct slot *slot = slot_at(sizing->exchange->slots, sizing->index);

    return slot && slot->arrays[sizing->side].serial == sizing->serial ? slot : NULL;
}

static enum handshake_event resize_event(enum record_side side)
{
    return side == RECORD_SIDE_INPUT ? EVENT_RESIZE_INPUT : EVENT_RESIZE_RESULT;
}

static void told_already(void *context, int result)
{
    (void)context;
    (void)result;
}

/* Tells the caller, and retries the requests in the slot that wait for the end of the reservation. */
static void sizing_end(struct sizing *sizing, int result)
{
    struct exchange *exchange = sizing->exchange;
    struct slot *slot = sizing_slot(sizing);

    if (sizing->fresh)
        segment_unname(exchange->arena, sizing->fresh);
    else if (slot && --slot->sizing[sizing->side] == 0 && !LIST_EMPTY(&slot->waiters))
        wait_queue(exchange, slot);
    sizing->done(sizing->context, result);
    free(sizing);
    run_all(exchange);
}

static void sizing_failed(struct sizing *sizing, struct slot *slot, int result, const char *reason)
{
    refuse_operation(sizing->exchange, slot, &sizing->caller, "reserve space", result, reason);
    sizing_end(sizing, result);
}

/*
 * The pages are there. Judge the step again, since the loop has served others meanwhile: if they have made the
 * array, resize theirs instead, where that is still legal.
 */
static void take_sized(struct sizing *sizing, struct slot *slot)
{
    struct exchange *exchange = sizing->exchange;
    enum record_side side = sizing->side;
    enum handshake_event event = resize_event(side);
    struct prepared now = {.segment = sizing->fresh, .is_fresh = true};
    struct segment *has;

    now.step = step_judge(exchange, slot, event, facts_about(slot, event, &sizing->caller, NULL));
    has = now.step.effects & EFFECT_FRESH_INPUT ? NULL : slot->segments[side];
    if (now.step.verdict != VERDICT_PROCEED || has) {
        array_resize(exchange, slot, side, NULL, &sizing->caller, sizing->mode, sizing->size, sizing->done,
                     sizing->context);
        sizing->done = told_already;
    } else {
        take(exchange, slot, side, &now, &sizing->caller);
        slot_touch(slot, slot_file_of_side(side));
        sizing->fresh = NULL;
        slot->sizing[side]++; /* sizing_end takes it back */
        sizing->serial = slot->arrays[side].serial;
    }
    sizing_end(sizing, 0);
}

static void sizing_done(void *context, int result)
{
    struct sizing *sizing = context;
    struct slot *slot = sizing_slot(sizing);
    struct exchange *exchange = sizing->exchange;
    struct ledger_usage usage;
    char reason[120];

    if (!slot) {
        sizing_end(sizing, result);
        return;
    }
    if (result == 0 && sizing->fresh) {
        take_sized(sizing, slot);
        return;
    }
    if (result == 0) {
        if (sizing->mode != RESERVE_PAGES) /* that fills holes, and no reader sees a change */
            slot_touch(slot, sizing->side == RECORD_SIDE_INPUT ? SLOT_DATA_BIN : SLOT_RESULT_BIN);
        sizing_end(sizing, 0);
        return;
    }
    if (!sizing->fresh)
        quota_charge(exchange->quota, slot->segments[sizing->side], account_payer(slot), sizing->charged,
                     NULL);
    arena_usage(exchange->arena, &usage);
    snprintf(reason, sizeof(reason), "%llu bytes do not fit: %llu of %llu are in use",
             (unsigned long long)sizing->size, (unsigned long long)usage.used,
             (unsigned long long)usage.capacity);
    sizing_failed(sizing, slot, result,
                  result == -ENOSPC ? reason : refuse_what_is_lacking(exchange, result));
}

/* fresh: as in struct sizing, or NULL. The caller gives its name away. */
static void start_sizing(struct exchange *exchange, struct slot *slot, enum record_side side,
                         struct segment *fresh, const struct caller *caller, enum reserve_mode mode,
                         uint64_t size, void (*done)(void *context, int result), void *context)
{
    struct segment *segment = fresh ? fresh : slot->segments[side];
    struct sizing *sizing = calloc(1, sizeof(*sizing));
    uint64_t charge = size;
    int result;

    if (!sizing) {
        if (fresh)
            segment_unname(exchange->arena, fresh);
        done(context, -ENOMEM);
        return;
    }
    *sizing = (struct sizing){.exchange = exchange,
                              .index = slot_index(exchange->slots, slot),
                              .serial = slot->arrays[side].serial,
                              .fresh = fresh,
                              .caller = *caller,
                              .side = side,
                              .mode = mode,
                              .size = size,
                              .charged = segment->charged,
                              .done = done,
                              .context = context};
    if (!fresh)
        slot->sizing[side]++;
    /* Only a resize can make it smaller. */
    if (mode != RESERVE_RESIZE && segment->charged > size)
        charge = segment->charged;
    result = account_charge(exchange, segment, slot, charge);
    if (result < 0)
        sizing_failed(sizing, slot, result, refuse_what_is_lacking(exchange, result));
    else
        reserve_pages(exchange->arena, segment, mode, size, sizing_done, sizing);
}

void array_resize(struct exchange *exchange, struct slot *slot, enum record_side side, struct handle *handle,
                  const struct caller *caller, enum reserve_mode mode, uint64_t size,
                  void (*done)(void *context, int result), void *context)
{
    enum handshake_event event = resize_event(side);
    struct prepared prepared;
    int result;

    if (handle && handle->segment != slot->segments[side])
        result = refuse_event(exchange, slot, caller, event, -EBUSY, "the handle is of an earlier round");
    else
        result = prepare(exchange, slot, side, event, caller, handle, &prepared);
    if (result != 0) {
        done(context, result);
        return;
    }
    if (!prepared.is_fresh) {
        take(exchange, slot, side, &prepared, caller);
        run_all(exchange);
    }
    start_sizing(exchange, slot, side, prepared.is_fresh ? prepared.segment : NULL, caller, mode, size, done,
                 context);
}

static bool writable_now(const struct slot *slot, enum record_side side)
{
    return side == RECORD_SIDE_INPUT ? slot->state == STATE_FILLING : slot->state == STATE_COMPUTING;
}

bool array_has_holes(struct exchange *exchange, const struct slot *slot, enum record_side side)
{
    uint64_t size, allocated;

    if (copy_is_owed(slot, side))
        return true;
    return writable_now(slot, side) && slot->segments[side] && !slot->segments[side]->published &&
           step_array_stat(exchange, slot, side, &size, &allocated) == 0 && allocated < size;
}

void array_fill_holes(struct exchange *exchange, struct slot *slot, enum record_side side,
                      const struct caller *caller, void (*done)(void *context, int result), void *context)
{
    uint64_t size, allocated;
    int result = step_array_stat(exchange, slot, side, &size, &allocated);

    if (copy_is_owed(slot, side))
        copy_fill(exchange, slot, side, caller, done, context);
    else if (result < 0)
        done(context, result);
    else
        start_sizing(exchange, slot, side, NULL, &(struct caller){.process = slot->filler}, RESERVE_PAGES,
                     size, done, context);
}

/* Whether the slot still has the handle's array, and it is not published. */
static bool is_current(const struct handle *handle)
{
    return handle->slot && handle->segment == handle->slot->segments[handle->side] &&
           !handle->segment->published;
}

ssize_t array_read(struct exchange *exchange, const struct handle *handle, void *buffer, size_t size,
                   off_t offset)
{
    ssize_t got = segment_read(exchange->arena, handle->segment, buffer, size, offset);

    if (got > 0 && handle_is_current(handle))
        slot_count_copied(handle->slot, handle->side, (uint64_t)got);
    return got;
}

ssize_t array_write(struct exchange *exchange, struct handle *handle, const struct caller *caller,
                    const void *buffer, size_t size, off_t offset)
{
    struct slot *slot = handle->slot;
    struct segment *segment = handle->segment;
    uint64_t end;
    ssize_t put;
    int result;

    if (!is_current(handle))
        return -ESTALE;
    if (offset < 0 || __builtin_add_overflow((uint64_t)offset, size, &end))
        return -EFBIG;
    if (end > segment->charged) {
        result = account_charge(exchange, segment, slot, end);
        if (result < 0)
            return refuse_operation(exchange, slot, caller, "write", result,
                                    refuse_what_is_lacking(exchange, result));
    }
    put = segment_write(exchange->arena, segment, buffer, size, offset);
    if (put > 0) {
        slot_touch(slot, handle->file);
        slot_count_copied(slot, handle->side, (uint64_t)put);
    }
    return put;
}

void array_reserve_write(struct exchange *exchange, struct handle *handle, size_t size, off_t offset,
                         void (*done)(void *context, int result), void *context)
{
    if (!is_current(handle))
        done(context, -ESTALE);
    else
        start_sizing(exchange, handle->slot, handle->side, NULL, &(struct caller){.process = handle->process},
                     RESERVE_GROW, (uint64_t)offset + size, done, context);
}

bool array_may_write_unseen(struct exchange *exchange, struct segment *segment)
{
    return exchange->data_path == DATA_PATH_PASSTHROUGH && !account_has_limit(exchange) &&
           arena_is_bounded_by_kernel(exchange->arena) && !segment_has_writers(exchange->arena, segment);
}

/* --- rename of a result onto an input --- */

static bool has_one_payer(const struct slot *a, const struct slot *b)
{
    return a->uid == b->uid && strcmp(a->job, b->job) == 0;
}

/*
 * The pages of the result of `from`, on the accounts of `to`, with a name that is the caller's.
 * *pages is NULL if the result is empty and nobody has opened it.
 */
static int take_pages(struct exchange *exchange, struct slot *from, const struct slot *to,
                      struct segment **pages)
{
    const enum record_side side = RECORD_SIDE_RESULT;
    struct segment *segment = from->segments[side];
    bool is_copy = copy_is_due(from, side);
    int result = 0;

    *pages = NULL;
    if (is_copy)
        result = copy_make(exchange, from, side, &segment);
    else if (segment)
        segment_name(segment);
    if (result < 0 || !segment)
        return result;
    /* An empty one may have pages from who opened it for reading. */
    result = slot_inline_size(from, side) && !segment->published ? -ENOSPC
                                                                 : segment_publish(exchange->arena, segment);
    if (result == 0 && is_copy && has_one_payer(from, to)) /* that one is charged for it already */
        result =
            quota_charge(exchange->quota, segment, account_payer(to), slot_inline_size(from, side), NULL);
    else if (result == 0)
        result =
            account_charge(exchange, segment, to, is_copy ? slot_inline_size(from, side) : segment->charged);
    if (result < 0)
        segment_unname(exchange->arena, segment);
    else
        *pages = segment;
    return result;
}

int array_move_result(struct exchange *exchange, struct slot *from, struct slot *to,
                      const struct caller *caller)
{
    struct handshake_step take = step_judge(exchange, from, EVENT_TAKE_RESULT, 0);
    struct handshake_step give = from == to
                                     ? handshake_judge(take.next, EVENT_GIVE_INPUT, to->source ? FACT_FED : 0)
                                     : step_judge(exchange, to, EVENT_GIVE_INPUT, 0);
    struct segment *segment;
    struct record moved = from->record;
    uint64_t number = from->arrays[RECORD_SIDE_RESULT].number;
    struct slot_times times = from->arrays[RECORD_SIDE_RESULT].times;
    int result;

    if (take.verdict == VERDICT_REFUSE)
        return refuse_event(exchange, from, caller, EVENT_TAKE_RESULT, -take.error, take.reason);
    if (give.verdict == VERDICT_REFUSE)
        return refuse_event(exchange, to, caller, EVENT_GIVE_INPUT, -give.error, give.reason);
    result = take_pages(exchange, from, to, &segment);
    if (result < 0)
        return refuse_event(exchange, to, caller, EVENT_GIVE_INPUT, result,
                            refuse_what_is_lacking(exchange, result));
    if (segment)
        from->arrays[RECORD_SIDE_RESULT].borrowed = 1; /* from the slot that it moves to */
    step_take(exchange, from, &take, caller);
    /* The kernel moves the inode to the new name. */
    step_renew_inode(from, RECORD_SIDE_RESULT);
    step_take(exchange, to, &give, caller);
    step_renew_inode(to, RECORD_SIDE_INPUT);
    if (segment)
        step_put_segment(to, RECORD_SIDE_INPUT, segment);
    to->arrays[RECORD_SIDE_INPUT].times = times;
    slot_touch_attributes(to, SLOT_DATA_BIN);
    to->arrays[RECORD_SIDE_INPUT].number = number; /* also of an empty array without a segment */
    record_result_to_input(&to->record, &moved);
    to->filler = caller->process;
    slot_mark(to);
    slot_touch(from, SLOT_DIRECTORY);
    slot_touch(to, SLOT_DIRECTORY);
    /* One change for the index: the array is never in both slots, nor in none. */
    if (from != to)
        step_announce(exchange, from, &take);
    step_announce(exchange, to, &give);
    run_all(exchange);
    return 0;
}
