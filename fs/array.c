// SPDX-License-Identifier: Apache-2.0
/*
 * array.c - the part of the exchange that opens, sizes and moves data.bin and result.bin.
 */
#include "exchange.h"
#include "log.h"
#include "quota.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char fed_by_source[] = "the slot is chained: its input comes from its source";
static const char over_quota[] = "it is more than limits.bytes_per_user allows";
static const char still_read[] = "the input that was moved here is still being read elsewhere";

static enum handshake_event open_event(enum record_side side, enum handle_access access)
{
    if (side == RECORD_SIDE_INPUT)
        return access == HANDLE_WRITES ? EVENT_OPEN_INPUT_WRITE : EVENT_OPEN_INPUT_READ;
    return access == HANDLE_WRITES ? EVENT_OPEN_RESULT_WRITE : EVENT_OPEN_RESULT_READ;
}

static uint32_t facts_about(const struct slot *slot, enum handshake_event event, const struct caller *caller,
                            const struct handle *handle)
{
    if (event == EVENT_OPEN_INPUT_READ && slot->filler && slot->filler == caller_process(caller))
        return FACT_CALLER_FILLS;
    if ((event == EVENT_OPEN_RESULT_WRITE || event == EVENT_RESIZE_RESULT) &&
        slot->state == STATE_COMPUTING && slot->handles &&
        handle_writes_segment(slot, slot->segments[RECORD_SIDE_RESULT], caller_process(caller), handle))
        return FACT_OTHERS_WRITE_RESULT;
    return 0;
}

/* What the array will probably need, so that a warm segment of that size is taken; 0 if there is no telling.
 */
static uint64_t size_hint(const struct exchange *exchange, const struct slot *slot, enum record_side side)
{
    const struct record *record = &slot->record;
    int64_t length = side == RECORD_SIDE_INPUT ? record->input_length : record->result_length;
    int32_t dtype = side == RECORD_SIDE_INPUT || record->result_dtype == RECORD_DTYPE_SAME
                        ? record->dtype
                        : record->result_dtype;

    if (length > 0)
        return (uint64_t)length * record_dtype_size(dtype);
    if (slot->last_size[side])
        return slot->last_size[side];
    if (side == RECORD_SIDE_RESULT && slot->last_size[RECORD_SIDE_INPUT])
        return slot->last_size[RECORD_SIDE_INPUT];
    return exchange->last_size[side]; /* slots come and go, jobs stay alike */
}

int exchange_need_segment(struct exchange *exchange, struct slot *slot, enum record_side side)
{
    struct segment *segment;
    int result;

    if (slot->segments[side])
        return 0;
    if (quota_is_exceeded(exchange->quota, slot->uid, exchange->limits.bytes_per_user))
        return -EDQUOT;
    result = segment_create(exchange->arena, size_hint(exchange, slot, side), &segment);
    if (result < 0)
        return result;
    slot->segments[side] = segment;
    slot->arrays[side].segment_id = segment->id;
    return 0;
}

/* A published segment that is to be written again (a result moved here) must have no other user: nobody's
 * pages change. */
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
    if (slot->worker && slot->worker_round < slot->record.round && slot->worker == caller_process(caller) &&
        (slot->state == STATE_READY || slot->state == STATE_COMPUTING))
        slot->worker_round = slot->record.round;
}

static int refuse(struct exchange *exchange, struct slot *slot, const struct caller *caller,
                  enum handshake_event event, int result, const char *reason)
{
    return exchange_refuse(exchange, slot, caller, handshake_event_name(event), result, reason);
}

/*
 * Judges an event that wants to write an array, and takes the step. handle: through which the caller writes
 * already, or NULL. Returns 0 with a segment to write to,
 * -ESTALE if the array is no more what the caller knows by `identity`, EXCHANGE_WAITS, or a refusal.
 */
static int begin(struct exchange *exchange, struct slot *slot, enum record_side side,
                 enum handshake_event event, const struct caller *caller, const struct handle *handle,
                 uint64_t identity)
{
    struct handshake_step step =
        handshake_judge(slot_state(slot), event, facts_about(slot, event, caller, handle));
    bool writes = event != EVENT_OPEN_INPUT_READ && event != EVENT_OPEN_RESULT_READ;
    int result;

    if (writes && side == RECORD_SIDE_INPUT && slot->source)
        return refuse(exchange, slot, caller, event, -EBUSY, fed_by_source);
    if (writes && exchange_array_is_shared(exchange, slot, side))
        return refuse(exchange, slot, caller, event, -EBUSY, "a chained slot has the same pages");
    if (step.verdict == VERDICT_WAIT)
        return EXCHANGE_WAITS;
    if (step.verdict == VERDICT_REFUSE)
        return refuse(exchange, slot, caller, event, -step.error, handshake_reason(slot_state(slot), event));
    if (!(step.effects & EFFECT_FRESH_INPUT)) {
        result = writes ? reclaim_segment(exchange, slot, side) : 0;
        if (result < 0)
            return refuse(exchange, slot, caller, event, result, still_read);
        result = exchange_need_segment(exchange, slot, side);
        if (result < 0)
            return refuse(exchange, slot, caller, event, result,
                          result == -EDQUOT ? over_quota : "the arena is full");
    }
    confirm_worker(slot, caller);
    if (step.next != slot_state(slot) || step.effects) {
        exchange_apply(exchange, slot, &step);
        exchange_run(exchange);
    }
    return exchange_array_identity(exchange, slot, side) != identity
               ? -ESTALE
               : exchange_need_segment(exchange, slot, side);
}

int exchange_open_array(struct exchange *exchange, struct slot *slot, struct handle *handle,
                        const struct caller *caller, uint64_t identity)
{
    enum record_side side = slot_file_side(handle->file);
    enum handshake_event event = open_event(side, handle->access);
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
    handle->process = caller_process(caller);
    handle_enlist(handle, slot);
    if (handle->access == HANDLE_WRITES) {
        if (side == RECORD_SIDE_INPUT)
            slot->filler = handle->process;
        if (slot->waiters) {
            exchange_queue(exchange,
                           slot); /* its own reader may be parked, or a publisher that is too early now */
            exchange_run(exchange);
        }
    }
    return 0;
}

void exchange_close_array(struct exchange *exchange, struct handle *handle)
{
    struct slot *slot = handle->slot;
    struct segment *segment = handle->segment;
    uint64_t size, allocated;

    handle_delist(handle);
    /* It may have grown by writes past its end, which only the kernel saw. */
    if (slot && segment && handle->access == HANDLE_WRITES &&
        segment_stat(exchange->arena, segment, &size, &allocated) == 0 && size > segment->charged)
        quota_charge(exchange->quota, segment, slot->uid, size, 0);
    if (slot && handle->file == SLOT_RESULT_BIN && handle->access == HANDLE_READS &&
        slot_state(slot) == STATE_DONE && handle->segment == slot->segments[RECORD_SIDE_RESULT] &&
        !slot->result_taken) {
        slot->result_taken = 1;
        if (slot->source) {
            exchange_queue(exchange, slot);
            exchange_run(exchange);
        }
    }
    if (segment)
        segment_close(exchange->arena, segment);
    handle->segment = NULL;
}

int exchange_array_stat(struct exchange *exchange, const struct slot *slot, enum record_side side,
                        uint64_t *size, uint64_t *allocated)
{
    *size = *allocated = 0;
    return slot->segments[side] ? segment_stat(exchange->arena, slot->segments[side], size, allocated) : 0;
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
    bool fills_holes;
    int result; /* of the cut back */
    void (*done)(void *context, int result);
    void *context;
};

static struct slot *sizing_slot(const struct sizing *sizing)
{
    struct slot *slot = slot_at(sizing->exchange->slots, sizing->index);

    return slot && slot->arrays[sizing->side].serial == sizing->serial ? slot : NULL;
}

/* The caller is told, and whoever waits in the slot for the reservation to end. */
static void sizing_end(struct sizing *sizing, int result)
{
    struct exchange *exchange = sizing->exchange;
    struct slot *slot = sizing_slot(sizing);

    if (slot && --slot->sizing[sizing->side] == 0 && slot->waiters)
        exchange_queue(exchange, slot);
    sizing->done(sizing->context, result);
    free(sizing);
    exchange_run(exchange);
}

static void cut_back_done(void *context, int result)
{
    struct sizing *sizing = context;

    (void)result;
    sizing_end(sizing, sizing->result);
}

/* Up to here a cut back loses nothing that a client asked for, and does not make the file longer either. */
static void remember_reserved(struct exchange *exchange, struct slot *slot, const struct sizing *sizing)
{
    uint64_t reserved = sizing->size;
    uint64_t size, allocated;

    if (sizing->mode != RESERVE_RESIZE) {
        if (reserved < slot->reserved[sizing->side])
            reserved = slot->reserved[sizing->side];
        if (exchange_array_stat(exchange, slot, sizing->side, &size, &allocated) == 0 && reserved > size)
            reserved = size;
    }
    slot->reserved[sizing->side] = reserved;
}

/*
 * It does not fit. Growth that only the kernel saw is cut off again, so that mmap fails and not a store;
 * unless there is data in it: then the size stays, and who asks for it gets the error instead.
 */
static void sizing_failed(struct sizing *sizing, struct slot *slot, int result, const char *reason)
{
    struct exchange *exchange = sizing->exchange;
    struct segment *segment = slot->segments[sizing->side];
    uint64_t reserved = slot->reserved[sizing->side];

    exchange_refuse(exchange, slot, &(struct caller){.process = slot->filler}, "reserve space", result,
                    reason);
    if (!sizing->fills_holes || !segment_is_blank(exchange->arena, segment, reserved)) {
        sizing_end(sizing, result);
        return;
    }
    sizing->result = 0;
    reserve_pages(exchange->arena, segment, RESERVE_RESIZE, reserved, cut_back_done, sizing);
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
        remember_reserved(exchange, slot, sizing);
        sizing_end(sizing, 0);
        return;
    }
    quota_charge(exchange->quota, slot->segments[sizing->side], slot->uid, sizing->charged, 0);
    ledger_usage(exchange->arena, &usage);
    snprintf(reason, sizeof(reason), "%llu bytes do not fit: %llu of %llu are in use",
             (unsigned long long)sizing->size, (unsigned long long)usage.used,
             (unsigned long long)usage.capacity);
    sizing_failed(sizing, slot, result, reason);
}

static void start_sizing(struct exchange *exchange, struct slot *slot, enum record_side side,
                         enum reserve_mode mode, uint64_t size, bool fills_holes,
                         void (*done)(void *context, int result), void *context)
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
                              .fills_holes = fills_holes,
                              .done = done,
                              .context = context};
    slot->sizing[side]++;
    /* Only a resize can make it smaller. */
    if (mode != RESERVE_RESIZE && segment->charged > size)
        charge = segment->charged;
    result = quota_charge(exchange->quota, segment, slot->uid, charge, exchange->limits.bytes_per_user);
    if (result < 0)
        sizing_failed(sizing, slot, result, over_quota);
    else
        reserve_pages(exchange->arena, segment, mode, size, sizing_done, sizing);
}

void exchange_resize(struct exchange *exchange, struct slot *slot, enum record_side side,
                     struct handle *handle, const struct caller *caller, enum reserve_mode mode,
                     uint64_t size, void (*done)(void *context, int result), void *context)
{
    enum handshake_event event = side == RECORD_SIDE_INPUT ? EVENT_RESIZE_INPUT : EVENT_RESIZE_RESULT;
    uint64_t identity = exchange_array_identity(exchange, slot, side);
    int result;

    if (handle && handle->segment != slot->segments[side])
        result = refuse(exchange, slot, caller, event, -EBUSY, "the handle is of an earlier round");
    else
        result = begin(exchange, slot, side, event, caller, handle, identity);
    if (result != 0)
        done(context, result);
    else
        start_sizing(exchange, slot, side, mode, size, false, done, context);
}

static bool writable_now(const struct slot *slot, enum record_side side)
{
    return side == RECORD_SIDE_INPUT ? slot->state == STATE_FILLING : slot->state == STATE_COMPUTING;
}

bool exchange_has_holes(struct exchange *exchange, const struct slot *slot, enum record_side side)
{
    uint64_t size, allocated;

    return writable_now(slot, side) && slot->segments[side] && !slot->segments[side]->published &&
           exchange_array_stat(exchange, slot, side, &size, &allocated) == 0 && allocated < size;
}

void exchange_fill_holes(struct exchange *exchange, struct slot *slot, enum record_side side,
                         void (*done)(void *context, int result), void *context)
{
    uint64_t size, allocated;
    int result = exchange_array_stat(exchange, slot, side, &size, &allocated);

    if (result < 0)
        done(context, result);
    else
        start_sizing(exchange, slot, side, RESERVE_PAGES, size, true, done, context);
}

ssize_t exchange_write_array(struct exchange *exchange, struct handle *handle, const struct caller *caller,
                             const void *buffer, size_t size, off_t offset)
{
    struct slot *slot = handle->slot;
    struct segment *segment = handle->segment;
    uint64_t end = (uint64_t)offset + size;
    ssize_t put;
    int result;

    if (!slot || segment != slot->segments[handle->side] || segment->published)
        return -ESTALE;
    if (end > segment->charged) {
        result = quota_charge(exchange->quota, segment, slot->uid, end, exchange->limits.bytes_per_user);
        if (result < 0)
            return exchange_refuse(exchange, slot, caller, "write", result, over_quota);
    }
    put = segment_write(exchange->arena, segment, buffer, size, offset);
    if (put == -ENOSPC)
        exchange_refuse(exchange, slot, caller, "write", -ENOSPC, "the arena is full");
    return put;
}

/* --- rename of a result onto an input --- */

int exchange_move_result(struct exchange *exchange, struct slot *from, struct slot *to,
                         const struct caller *caller)
{
    struct handshake_step take = handshake_judge(slot_state(from), EVENT_TAKE_RESULT, 0);
    struct handshake_step give =
        handshake_judge(from == to ? take.next : slot_state(to), EVENT_GIVE_INPUT, 0);
    struct segment *segment = from->segments[RECORD_SIDE_RESULT];
    struct record moved = from->record;
    uint64_t number = from->arrays[RECORD_SIDE_RESULT].number;
    uint64_t size = from->last_size[RECORD_SIDE_RESULT];
    int result;

    if (take.verdict == VERDICT_REFUSE)
        return refuse(exchange, from, caller, EVENT_TAKE_RESULT, -take.error,
                      handshake_reason(slot_state(from), EVENT_TAKE_RESULT));
    if (to->source)
        return refuse(exchange, to, caller, EVENT_GIVE_INPUT, -EBUSY, fed_by_source);
    if (give.verdict == VERDICT_REFUSE)
        return refuse(exchange, to, caller, EVENT_GIVE_INPUT, -give.error,
                      handshake_reason(slot_state(to), EVENT_GIVE_INPUT));
    if (segment) {
        result = quota_charge(exchange->quota, segment, to->uid, segment->charged,
                              exchange->limits.bytes_per_user);
        if (result < 0)
            return refuse(exchange, to, caller, EVENT_GIVE_INPUT, result, over_quota);
        segment_name(segment);
        segment->published = true; /* an empty one has its pages from who opened it for reading */
    }
    exchange_take_step(exchange, from, &take);
    /* The kernel takes the inode to the new name. */
    exchange_renew_inode(from, RECORD_SIDE_RESULT);
    if (from != to)
        exchange_announce(exchange, from, &take);
    exchange_take_step(exchange, to, &give);
    exchange_renew_inode(to, RECORD_SIDE_INPUT);
    if (segment) {
        to->segments[RECORD_SIDE_INPUT] = segment;
        to->arrays[RECORD_SIDE_INPUT].segment_id = segment->id;
        to->arrays[RECORD_SIDE_INPUT].number = number;
        to->reserved[RECORD_SIDE_INPUT] = size;
    }
    record_result_to_input(&to->record, &moved);
    to->filler = caller_process(caller);
    exchange_announce(exchange, to, &give);
    exchange_run(exchange);
    return 0;
}
