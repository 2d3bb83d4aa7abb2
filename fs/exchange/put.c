// SPDX-License-Identifier: Apache-2.0
#include "exchange/put.h"

#include "exchange/account.h"
#include "exchange/publish.h"
#include "exchange/refuse.h"
#include "exchange/run.h"
#include "exchange/shared.h"
#include "exchange/step.h"
#include "exchange/wait.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

/* Of an array that no follower can have taken. */
static const uint64_t nobodys_number = UINT64_MAX;

enum stage {
    STAGE_WRITE,  /* its bytes are to be written */
    STAGE_SETTLE, /* they are written, and have to be made safe */
    STAGE_READY,
};

struct put {
    struct exchange *exchange;
    struct segment *segment;
    uint32_t index;  /* of the slot, */
    uint64_t serial; /* which may be gone when the background has done its work */
    enum stage stage;
    bool reserved; /* room was made for it, if there was any */
    bool busy;     /* the background is at it, */
    bool starting; /* or does it at once */
    bool dropped;  /* nobody wants it any more */
    int result;    /* of the background */
};

static void put_free(struct put *put)
{
    segment_unname(put->exchange->arena, put->segment);
    free(put);
}

void put_drop(struct put **put)
{
    if (!*put)
        return;
    if ((*put)->busy)
        (*put)->dropped = true;
    else
        put_free(*put);
    *put = NULL;
}

static void work_done(void *context, int result)
{
    struct put *put = context;
    struct exchange *exchange = put->exchange;
    struct slot *slot = slot_at(exchange->slots, put->index);

    put->busy = false;
    put->result = result;
    if (put->dropped) {
        put_free(put);
    } else if (!put->starting && slot && slot->serial == put->serial) {
        wait_queue(exchange, slot);
        run_all(exchange);
    }
}

static int begin(struct exchange *exchange, const struct slot *slot, size_t size, struct put **out)
{
    struct put *put = calloc(1, sizeof(*put));
    int result = put ? segment_create(exchange->arena, size, &put->segment) : -ENOMEM;

    if (result < 0) {
        free(put);
        return result;
    }
    put->exchange = exchange;
    put->index = slot_index(exchange->slots, slot);
    put->serial = slot->serial;
    result = account_charge(exchange, put->segment, slot, size);
    if (result < 0) {
        put_free(put);
        return result;
    }
    *out = put;
    return 0;
}

static int write_bytes(struct put *put, const void *bytes, size_t size)
{
    struct arena *arena = put->exchange->arena;
    ssize_t written = segment_write(arena, put->segment, bytes, size, 0);

    if (written == (ssize_t)size) {
        put->stage = STAGE_SETTLE;
        return 0;
    }
    if (written < 0 && written != -EAGAIN)
        return (int)written;
    if (put->reserved)
        return -ENOSPC; /* another client has taken the room by now */
    put->reserved = true;
    put->busy = true;
    reserve_pages(arena, put->segment, RESERVE_GROW, size, work_done, put);
    return 0;
}

static void settle(struct put *put)
{
    put->stage = STAGE_READY;
    if (reserve_settled(put->exchange->arena, put->segment))
        return;
    put->busy = true;
    reserve_settle(put->exchange->arena, put->segment, work_done, put);
}

/* Goes on with the put. Returns 0 once all bytes are there, WAIT_FOR_WORK, or -errno. */
static int advance(struct put *put, const void *bytes, size_t size)
{
    int result = 0;

    put->starting = true;
    while (result == 0 && !put->busy && put->result == 0 && put->stage != STAGE_READY) {
        if (put->stage == STAGE_WRITE)
            result = write_bytes(put, bytes, size);
        else
            settle(put);
    }
    put->starting = false;
    if (put->busy)
        return wait_because(put->exchange, WAIT_FOR_WORK, "the data is being made safe in the arena");
    if (result == 0)
        result = put->result;
    return result == 0 ? segment_publish(put->exchange->arena, put->segment) : result;
}

/* Keeps an array for which the page has no room. Returns as advance. */
static int keep(struct exchange *exchange, const struct slot *slot, const void *bytes, size_t size,
                struct put **put)
{
    int result = *put ? 0 : begin(exchange, slot, size, put);

    return result == 0 ? advance(*put, bytes, size) : result;
}

/* The slot has another array now. */
static void replaced(struct exchange *exchange, struct slot *slot, enum record_side side, size_t size)
{
    slot->text_serial[side] = 0;
    slot->last_size[side] = exchange->last_size[side] = size;
    slot_touch(slot, slot_file_of_side(side));
    /* The kernel may know the inode: the empty array had it. */
    exchange->hooks.array_replaced(exchange->hooks.context, slot, slot_file_of_side(side));
}

/* The segment becomes the array of the slot. */
static void install(struct slot *slot, enum record_side side, struct put **put)
{
    step_drop_segment((*put)->exchange, slot, side);
    step_put_segment(slot, side, (*put)->segment);
    free(*put);
    *put = NULL;
}

/* The checks of the step; candidate's side is made final. Returns 0, WAIT_FOR_PEER, WAIT_FOR_WORK or a
 * refusal. */
static int check(struct exchange *exchange, struct slot *slot, const struct caller *caller,
                 enum handshake_event event, uint32_t checks, struct record *candidate, const void *bytes,
                 size_t size)
{
    enum record_side side = checks & CHECK_INPUT_FITS ? RECORD_SIDE_INPUT : RECORD_SIDE_RESULT;
    enum handshake_check released = checks & (CHECK_INPUT_RELEASED | CHECK_RESULT_RELEASED);
    char reason[SLOT_REASON_MAX];
    const char *fault;

    if (slot->sizing[side] > 0)
        return wait_because(exchange, WAIT_FOR_WORK, "its pages are being reserved");
    if (released && publish_is_written(exchange, slot, side))
        return refuse_event(exchange, slot, caller, event, -EBUSY, handshake_check_reason(released));
    if (record_fit(candidate, side, size) < 0) {
        publish_explain_misfit(candidate, side, size, reason);
        return refuse_event(exchange, slot, caller, event, -EINVAL, reason);
    }
    fault = publish_bundle_fault(candidate, side, bytes, size);
    if (fault)
        return refuse_event(exchange, slot, caller, event, -EINVAL, fault);
    return publish_followers_ready(exchange, slot, side, nobodys_number, checks);
}

static int try(struct exchange *exchange, struct slot *slot, const struct caller *caller,
               const struct record *proposed, const void *bytes, size_t size, struct put **put)
{
    enum handshake_event event = put_event(proposed->flag);
    enum record_side side = event == EVENT_PUT_INPUT ? RECORD_SIDE_INPUT : RECORD_SIDE_RESULT;
    struct record candidate = slot->record;
    struct handshake_step step;
    int result;

    if (event == HANDSHAKE_EVENTS)
        return refuse_operation(exchange, slot, caller, "write an array", -EINVAL,
                                "behind the record an array goes with flag 0 or 1");
    step = step_judge(exchange, slot, event, 0);
    if (step.verdict == VERDICT_REFUSE)
        return refuse_event(exchange, slot, caller, event, -step.error, step.reason);
    record_copy_side(&candidate, proposed, side);
    result = check(exchange, slot, caller, event, step.checks, &candidate, bytes, size);
    if (result != 0)
        return result;
    if (size <= RECORD_INLINE_MAX)
        result = account_charge_inline(exchange, slot, size);
    else
        result = keep(exchange, slot, bytes, size, put);
    if (result < 0)
        return refuse_event(exchange, slot, caller, event, result, refuse_what_is_lacking(exchange, result));
    if (result != 0)
        return result;
    step_take(exchange, slot, &step, caller);
    if (*put) {
        install(slot, side, put);
    } else {
        step_drop_segment(exchange, slot, side);
        slot_set_inline(slot, side, bytes, size);
    }
    replaced(exchange, slot, side, size);
    slot_count_copied(slot, side, size);
    record_copy_side(&slot->record, &candidate, side);
    if (side == RECORD_SIDE_INPUT)
        record_reset_side(&slot->record, RECORD_SIDE_RESULT);
    else
        exchange->counts.rounds++;
    step_announce(exchange, slot, &step);
    return 0;
}

enum handshake_event put_event(int32_t flag)
{
    if (flag == RECORD_FLAG_INPUT)
        return EVENT_PUT_INPUT;
    return flag == RECORD_FLAG_RESULT ? EVENT_PUT_RESULT : HANDSHAKE_EVENTS;
}

int put_array(struct exchange *exchange, struct slot *slot, const struct caller *caller,
              const struct record *proposed, const void *bytes, size_t size, struct put **put)
{
    int result = try(exchange, slot, caller, proposed, bytes, size, put);

    if (result <= 0)
        put_drop(put);
    run_all(exchange);
    return result;
}
