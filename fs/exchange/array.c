// SPDX-License-Identifier: Apache-2.0
#include "exchange/array.h"

#include "exchange/account.h"
#include "exchange/refuse.h"
#include "exchange/run.h"
#include "exchange/shared.h"
#include "exchange/step.h"
#include "exchange/wait.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char over_quota[] = "it is more than limits.bytes_per_user allows";

enum handshake_event array_open_event(enum record_side side, enum handle_access access)
{
    if (side == RECORD_SIDE_INPUT)
        return access == HANDLE_WRITES ? EVENT_OPEN_INPUT_WRITE : EVENT_OPEN_INPUT_READ;
    return access == HANDLE_WRITES ? EVENT_OPEN_RESULT_WRITE : EVENT_OPEN_RESULT_READ;
}

static uint32_t facts_about(const struct slot *slot, enum handshake_event event, const struct caller *caller,
                            const struct handle *handle)
{
    if (event == EVENT_OPEN_INPUT_READ && slot->filler && slot->filler == caller->process)
        return FACT_CALLER_FILLS;
    if ((event == EVENT_OPEN_RESULT_WRITE || event == EVENT_RESIZE_RESULT) &&
        slot->state == STATE_COMPUTING && slot->handles &&
        handle_writes_segment(slot, slot->segments[RECORD_SIDE_RESULT], caller->process, handle))
        return FACT_OTHERS_WRITE_RESULT;
    return 0;
}

/*
 * A published segment that is written again (a result moved here) must have no user: nobody's pages change.
 */
static int reclaim_segment(struct exchange *exchange, struct slot *slot, enum record_side side)
{
    struct segment *segment = slot->segments[side];

    if (!segment || !segment->published)
        return 0;
    if (segment->names > 1 || segment->handles > 0 || segment_in_use(exchange->arena, segment))
        return -EBUSY;
    segment->published = false;
    return 0;
}

/* The process that holds the worker's post is at work in this round. */
static void confirm_worker(struct slot *slot, const struct caller *caller)
{
    if (slot->worker && slot->worker_round < slot->record.round && slot->worker == caller->process &&
        (slot->state == STATE_READY || slot->state == STATE_COMPUTING))
        slot->worker_round = slot->record.round;
}

/*
 * Judges an event that wants to write an array, and takes the step. handle: through which the caller writes
 * already, or NULL. Returns 0 with a segment to write to, -ESTALE if the array is no more what the caller
 * knows by `identity`, WAIT_FOR_PEER, or a refusal.
 */
static int begin(struct exchange *exchange, struct slot *slot, enum record_side side,
                 enum handshake_event event, const struct caller *caller, const struct handle *handle,
                 uint64_t identity)
{
    struct handshake_step step = step_judge(exchange, slot, event, facts_about(slot, event, caller, handle));
    int result;

    if (step.verdict == VERDICT_WAIT && exchange->limits.no_waiting)
        return refuse_event(exchange, slot, caller, event, -EAGAIN, step.reason);
    if (step.verdict == VERDICT_WAIT)
        return wait_because(exchange, WAIT_FOR_PEER, step.reason);
    if (step.verdict == VERDICT_REFUSE) {
        refuse_event(exchange, slot, caller, event, -step.error, step.reason);
        if (step.error == EIO) {
            step_outcome_read(exchange, slot); /* by the one that gets this */
            run_all(exchange);
        }
        return -step.error;
    }
    if (step.checks & CHECK_INPUT_UNREAD) {
        result = reclaim_segment(exchange, slot, side);
        if (result < 0)
            return refuse_event(exchange, slot, caller, event, result,
                                handshake_check_reason(CHECK_INPUT_UNREAD));
    }
    if (!(step.effects & EFFECT_FRESH_INPUT)) {
        result = step_need_segment(exchange, slot, side);
        if (result < 0)
            return refuse_event(exchange, slot, caller, event, result,
                                result == -EDQUOT ? over_quota : "the arena is full");
    }
    confirm_worker(slot, caller);
    if (step_is_change(slot, &step)) {
        step_apply(exchange, slot, &step);
        run_all(exchange);
    }
    return step_array_identity(exchange, slot, side) != identity ? -ESTALE
                                                                 : step_need_segment(exchange, slot, side);
}

int array_open(struct exchange *exchange, struct slot *slot, struct handle *handle,
               const struct caller *caller, uint64_t identity)
{
    enum record_side side = slot_file_side(handle->file);
    enum handshake_event event = array_open_event(side, handle->access);
    struct segment *segment;
    int result = begin(exchange, slot, side, event, caller, NULL, identity);

    if (result != 0)
        return result;
    segment = slot->segments[side];
    result = segment_open(exchange->arena, segment);
    if (result < 0)
        return result;
    handle->segment = segment;
    handle->side = side;
    handle->number = slot->arrays[side].number;
    handle->process = caller->process;
    handle_enlist(handle, slot);
    if (handle->access == HANDLE_WRITES) {
        slot->dated[side] = 0; /* what is written now may be unseen, but for its end */
        if (side == RECORD_SIDE_INPUT)
            slot->filler = handle->process;
        if (!LIST_EMPTY(&slot->waiters)) {
            wait_queue(exchange,
                       slot); /* its own reader may be parked, or a publisher that is too early now */
            run_all(exchange);
        }
    }
    return 0;
}

void array_close(struct exchange *exchange, struct handle *handle)
{
    struct slot *slot = handle->slot;
    struct segment *segment = handle->segment;

    handle_delist(handle);
    if (slot && handle->file == SLOT_RESULT_BIN && handle->access == HANDLE_READS &&
        handle->segment == slot->segments[RECORD_SIDE_RESULT]) {
        step_outcome_read(exchange, slot);
        run_all(exchange);
    }
    if (segment)
        segment_close(exchange->arena, segment);
    handle->segment = NULL;
}

/* --- sizes --- */

/* One reservation on its way. The slot may be gone or in another round when it ends. */
struct sizing {
    struct exchange *exchange;
    uint32_t index;
    uint64_t serial; /* the array's */
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

/* Tells the caller, and has the requests looked at that wait in the slot for the reservation to end. */
static void sizing_end(struct sizing *sizing, int result)
{
    struct exchange *exchange = sizing->exchange;
    struct slot *slot = sizing_slot(sizing);

    if (slot && --slot->sizing[sizing->side] == 0 && !LIST_EMPTY(&slot->waiters))
        wait_queue(exchange, slot);
    sizing->done(sizing->context, result);
    free(sizing);
    run_all(exchange);
}

static void sizing_failed(struct sizing *sizing, struct slot *slot, int result, const char *reason)
{
    refuse_operation(sizing->exchange, slot, &(struct caller){.process = slot->filler}, "reserve space",
                     result, reason);
    sizing_end(sizing, result);
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
    if (result == 0) {
        if (sizing->mode != RESERVE_PAGES) /* which fills holes, and changes nothing that a reader sees */
            slot_touch(slot, sizing->side == RECORD_SIDE_INPUT ? SLOT_DATA_BIN : SLOT_RESULT_BIN);
        sizing_end(sizing, 0);
        return;
    }
    quota_charge(exchange->quota, slot->segments[sizing->side], slot->uid, sizing->charged, 0);
    arena_usage(exchange->arena, &usage);
    snprintf(reason, sizeof(reason), "%llu bytes do not fit: %llu of %llu are in use",
             (unsigned long long)sizing->size, (unsigned long long)usage.used,
             (unsigned long long)usage.capacity);
    sizing_failed(sizing, slot, result, reason);
}

static void start_sizing(struct exchange *exchange, struct slot *slot, enum record_side side,
                         enum reserve_mode mode, uint64_t size, void (*done)(void *context, int result),
                         void *context)
{
    struct segment *segment = slot->segments[side];
    struct sizing *sizing = calloc(1, sizeof(*sizing));
    uint64_t charge = size;
    int result;

    if (!sizing) {
        done(context, -ENOMEM);
        return;
    }
    *sizing = (struct sizing){.exchange = exchange,
                              .index = slot_index(exchange->slots, slot),
                              .serial = slot->arrays[side].serial,
                              .side = side,
                              .mode = mode,
                              .size = size,
                              .charged = segment->charged,
                              .done = done,
                              .context = context};
    slot->sizing[side]++;
    /* Only a resize can make it smaller. */
    if (mode != RESERVE_RESIZE && segment->charged > size)
        charge = segment->charged;
    result = account_charge(exchange, segment, slot->uid, charge);
    if (result < 0)
        sizing_failed(sizing, slot, result, over_quota);
    else
        reserve_pages(exchange->arena, segment, mode, size, sizing_done, sizing);
}

void array_resize(struct exchange *exchange, struct slot *slot, enum record_side side, struct handle *handle,
                  const struct caller *caller, enum reserve_mode mode, uint64_t size,
                  void (*done)(void *context, int result), void *context)
{
    enum handshake_event event = side == RECORD_SIDE_INPUT ? EVENT_RESIZE_INPUT : EVENT_RESIZE_RESULT;
    uint64_t identity = step_array_identity(exchange, slot, side);
    int result;

    if (handle && handle->segment != slot->segments[side])
        result = refuse_event(exchange, slot, caller, event, -EBUSY, "the handle is of an earlier round");
    else
        result = begin(exchange, slot, side, event, caller, handle, identity);
    if (result != 0)
        done(context, result);
    else
        start_sizing(exchange, slot, side, mode, size, done, context);
}

static bool writable_now(const struct slot *slot, enum record_side side)
{
    return side == RECORD_SIDE_INPUT ? slot->state == STATE_FILLING : slot->state == STATE_COMPUTING;
}

bool array_has_holes(struct exchange *exchange, const struct slot *slot, enum record_side side)
{
    uint64_t size, allocated;

    return writable_now(slot, side) && slot->segments[side] && !slot->segments[side]->published &&
           step_array_stat(exchange, slot, side, &size, &allocated) == 0 && allocated < size;
}

void array_fill_holes(struct exchange *exchange, struct slot *slot, enum record_side side,
                      void (*done)(void *context, int result), void *context)
{
    uint64_t size, allocated;
    int result = step_array_stat(exchange, slot, side, &size, &allocated);

    if (result < 0)
        done(context, result);
    else
        start_sizing(exchange, slot, side, RESERVE_PAGES, size, done, context);
}

/* Whether the handle's array is still the slot's, and is to be written. */
static bool is_current(const struct handle *handle)
{
    return handle->slot && handle->segment == handle->slot->segments[handle->side] &&
           !handle->segment->published;
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
        result = account_charge(exchange, segment, slot->uid, end);
        if (result < 0)
            return refuse_operation(exchange, slot, caller, "write", result, over_quota);
    }
    put = segment_write(exchange->arena, segment, buffer, size, offset);
    if (put > 0)
        slot_touch(slot, handle->file);
    return put;
}

void array_reserve_write(struct exchange *exchange, struct handle *handle, size_t size, off_t offset,
                         void (*done)(void *context, int result), void *context)
{
    if (!is_current(handle))
        done(context, -ESTALE);
    else
        start_sizing(exchange, handle->slot, handle->side, RESERVE_GROW, (uint64_t)offset + size, done,
                     context);
}

bool array_may_write_unseen(struct exchange *exchange, struct segment *segment)
{
    return exchange->data_path == DATA_PATH_PASSTHROUGH && exchange->limits.bytes_per_user == 0 &&
           arena_is_bounded_by_kernel(exchange->arena) && !segment_has_writers(exchange->arena, segment);
}

/* --- rename of a result onto an input --- */

int array_move_result(struct exchange *exchange, struct slot *from, struct slot *to,
                      const struct caller *caller)
{
    struct handshake_step take = step_judge(exchange, from, EVENT_TAKE_RESULT, 0);
    struct handshake_step give = from == to
                                     ? handshake_judge(take.next, EVENT_GIVE_INPUT, to->source ? FACT_FED : 0)
                                     : step_judge(exchange, to, EVENT_GIVE_INPUT, 0);
    struct segment *segment = from->segments[RECORD_SIDE_RESULT];
    struct record moved = from->record;
    uint64_t number = from->arrays[RECORD_SIDE_RESULT].number;
    struct slot_times times = from->arrays[RECORD_SIDE_RESULT].times;
    int result;

    if (take.verdict == VERDICT_REFUSE)
        return refuse_event(exchange, from, caller, EVENT_TAKE_RESULT, -take.error, take.reason);
    if (give.verdict == VERDICT_REFUSE)
        return refuse_event(exchange, to, caller, EVENT_GIVE_INPUT, -give.error, give.reason);
    if (segment) {
        result = account_charge(exchange, segment, to->uid, segment->charged);
        if (result < 0)
            return refuse_event(exchange, to, caller, EVENT_GIVE_INPUT, result, over_quota);
        from->arrays[RECORD_SIDE_RESULT].borrowed = 1; /* from the one that it moves to */
        segment_name(segment);
        segment->published = true; /* an empty one has its pages from who opened it for reading */
    }
    step_take(exchange, from, &take);
    /* The kernel takes the inode to the new name. */
    step_renew_inode(from, RECORD_SIDE_RESULT);
    if (from != to)
        step_announce(exchange, from, &take);
    step_take(exchange, to, &give);
    step_renew_inode(to, RECORD_SIDE_INPUT);
    if (segment) {
        to->segments[RECORD_SIDE_INPUT] = segment;
        to->arrays[RECORD_SIDE_INPUT].segment_id = segment->id;
    }
    to->arrays[RECORD_SIDE_INPUT].times = times;
    slot_touch_attributes(to, SLOT_DATA_BIN);
    to->arrays[RECORD_SIDE_INPUT].number = number; /* an empty array without a segment keeps it as well */
    record_result_to_input(&to->record, &moved);
    to->filler = caller->process;
    step_announce(exchange, to, &give);
    run_all(exchange);
    return 0;
}
