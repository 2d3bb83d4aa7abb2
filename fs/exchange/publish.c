// SPDX-License-Identifier: Apache-2.0
#include "exchange/publish.h"

#include "exchange/account.h"
#include "exchange/chain.h"
#include "exchange/refuse.h"
#include "exchange/run.h"
#include "exchange/shared.h"
#include "exchange/step.h"
#include "exchange/wait.h"
#include "protocol/bundle.h"
#include "slot/handle.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

bool publish_is_written(struct exchange *exchange, const struct slot *slot, enum record_side side)
{
    struct segment *segment = slot->segments[side];

    if (!segment || segment->published)
        return false;
    if (handle_writes_segment(slot, segment))
        return true;
    return exchange->data_path != DATA_PATH_PAGE_CACHE && segment_has_writers(exchange->arena, segment);
}

void publish_explain_misfit(const struct record *record, enum record_side side, uint64_t size,
                            char reason[SLOT_REASON_MAX])
{
    struct record_half half = record_half(record, side);

    snprintf(reason, SLOT_REASON_MAX, "%s has %llu bytes, the record says %lld x %s",
             slot_file_name(slot_file_of_side(side)), (unsigned long long)size, (long long)half.length,
             record_dtype_name(half.dtype));
}

const char *publish_bundle_fault(const struct record *record, enum record_side side, const void *first,
                                 size_t got)
{
    struct record_half half = record_half(record, side);

    return half.dtype == RECORD_BUNDLE ? bundle_fault(first, got, (uint64_t)half.length) : NULL;
}

/* slot->settling. Quick work calls back before reserve_settle returns, in the middle of a step. */
enum { SETTLING_NOT, SETTLING_STARTS, SETTLING };

/* One segment's work in the background before it is published. */
struct settling {
    struct exchange *exchange;
    uint32_t index;
    uint64_t serial;
    enum record_side side;
};

static void settling_done(void *context, int result)
{
    struct settling *settling = context;
    struct exchange *exchange = settling->exchange;
    struct slot *slot = slot_at(exchange->slots, settling->index);

    if (slot && slot->arrays[settling->side].serial == settling->serial) {
        bool at_once = slot->settling[settling->side] == SETTLING_STARTS;

        slot->settling[settling->side] = SETTLING_NOT;
        slot->settled[settling->side] = result;
        if (!at_once) {
            wait_queue(exchange, slot);
            run_all(exchange);
        }
    }
    free(settling);
}

/*
 * 0 if the segment can be published as it is, WAIT_FOR_WORK if the background is at it, or how that failed.
 */
static int settle(struct exchange *exchange, struct slot *slot, enum record_side side)
{
    struct segment *segment = slot->segments[side];
    struct settling *settling;
    int result = slot->settled[side];

    if (slot->settling[side])
        return WAIT_FOR_WORK;
    slot->settled[side] = 0;
    /* One that was published is safe, and nobody may open it for writing, us neither: a failed round is tried again. */
    if (result < 0 || !segment || segment->published || slot_inline_size(slot, side) ||
        reserve_settled(exchange->arena, segment))
        return result;
    settling = malloc(sizeof(*settling));
    if (!settling)
        return -ENOMEM;
    *settling =
        (struct settling){exchange, slot_index(exchange->slots, slot), slot->arrays[side].serial, side};
    slot->settling[side] = SETTLING_STARTS;
    reserve_settle(exchange->arena, segment, settling_done, settling);
    if (slot->settling[side] == SETTLING_NOT) {
        result = slot->settled[side];
        slot->settled[side] = 0;
        return result;
    }
    slot->settling[side] = SETTLING;
    return WAIT_FOR_WORK;
}

int publish_followers_ready(struct exchange *exchange, const struct slot *slot, enum record_side side,
                            uint64_t number, uint32_t checks)
{
    char reason[SLOT_REASON_MAX];

    if ((!(checks & CHECK_FAILURE_TAKEN) || chain_failure_taken(exchange, slot)) &&
        (!(checks & (CHECK_INPUT_FOLLOWERS | CHECK_RESULT_FOLLOWERS)) ||
         chain_followers_ready(exchange, slot, side, number)))
        return 0;
    chain_explain_wait(exchange, reason);
    return wait_because(exchange, WAIT_FOR_PEER, reason);
}

/* Nobody writes it any more. */
static const char *bundle_fault_of_array(struct exchange *exchange, struct slot *slot, enum record_side side,
                                         const struct record *candidate)
{
    struct segment *segment = slot->segments[side];
    size_t size = slot_inline_size(slot, side);
    char first[BUNDLE_PREFIX];
    ssize_t got = 0;

    if (record_half(candidate, side).dtype != RECORD_BUNDLE)
        return NULL;
    if (size)
        return publish_bundle_fault(candidate, side, slot->inline_bytes[side], size);
    if (segment)
        got = segment_read(exchange->arena, segment, first, sizeof(first), 0);
    return publish_bundle_fault(candidate, side, first, got > 0 ? (size_t)got : 0);
}

/*
 * The checks of a step that publishes one side, in their order; candidate's side is made final. Returns 0,
 * WAIT_FOR_PEER, WAIT_FOR_WORK or a refusal.
 */
static int check(struct exchange *exchange, struct slot *slot, const struct caller *caller,
                 enum handshake_event event, uint32_t checks, struct record *candidate)
{
    bool input = checks & CHECK_INPUT_FITS;
    enum record_side side = input ? RECORD_SIDE_INPUT : RECORD_SIDE_RESULT;
    enum handshake_check released = checks & (CHECK_INPUT_RELEASED | CHECK_RESULT_RELEASED);
    uint64_t size, allocated;
    char reason[SLOT_REASON_MAX];
    const char *fault;
    int result;

    /*
     * A reservation under way has a writable descriptor, and the client that asked for it has a right to its
     * end.
     */
    if (slot->sizing[side] > 0)
        return wait_because(exchange, WAIT_FOR_WORK, "its pages are being reserved");
    if (released && publish_is_written(exchange, slot, side))
        return refuse_event(exchange, slot, caller, event, -EBUSY, handshake_check_reason(released));
    result = step_array_stat(exchange, slot, side, &size, &allocated);
    if (result < 0)
        return result;
    if (record_fit(candidate, side, size) < 0) {
        publish_explain_misfit(candidate, side, size, reason);
        return refuse_event(exchange, slot, caller, event, -EINVAL, reason);
    }
    fault = bundle_fault_of_array(exchange, slot, side, candidate);
    if (fault)
        return refuse_event(exchange, slot, caller, event, -EINVAL, fault);
    if (slot->segments[side]) {
        result = account_charge(exchange, slot->segments[side], slot, size);
        if (result < 0)
            return refuse_event(exchange, slot, caller, event, result,
                                refuse_what_is_lacking(exchange, result));
    }
    result = settle(exchange, slot, side);
    if (result < 0)
        return refuse_event(exchange, slot, caller, event, result,
                            "the data could not be made safe in the arena");
    if (result == WAIT_FOR_WORK)
        return wait_because(exchange, result, "the data is being made safe in the arena");
    result = publish_followers_ready(exchange, slot, side, slot->arrays[side].number, checks);
    if (result == 0)
        slot->last_size[side] = exchange->last_size[side] = size;
    return result;
}

static int publish_segment(struct exchange *exchange, struct slot *slot, const struct caller *caller,
                           enum handshake_event event, struct segment *segment)
{
    int result = segment_publish(exchange->arena, segment);

    if (result == 0)
        return 0;
    return refuse_event(
        exchange, slot, caller, event, result,
        result == -EBUSY
            ? handshake_check_reason(event == EVENT_FLAG_INPUT ? CHECK_INPUT_RELEASED : CHECK_RESULT_RELEASED)
            : "the array cannot be protected from writers");
}

static int publish(struct exchange *exchange, struct slot *slot, const struct caller *caller,
                   enum handshake_event event, const struct record *proposed)
{
    uint32_t facts = proposed->result_length == 0 ? FACT_EMPTY_RESULT : 0;
    struct handshake_step step = step_judge(exchange, slot, event, facts);
    struct record candidate = slot->record;
    enum record_side side = event == EVENT_FLAG_INPUT ? RECORD_SIDE_INPUT : RECORD_SIDE_RESULT;
    int result;

    if (step.verdict == VERDICT_REFUSE)
        return refuse_event(exchange, slot, caller, event, -step.error, step.reason);
    if (!step.checks)
        return 0;
    record_copy_side(&candidate, proposed, side);
    result = check(exchange, slot, caller, event, step.checks, &candidate);
    if (result == 0 && slot->segments[side] && !slot_inline_size(slot, side))
        result = publish_segment(exchange, slot, caller, event, slot->segments[side]);
    if (result != 0)
        return result;
    record_copy_side(&slot->record, &candidate, side);
    if (side == RECORD_SIDE_INPUT) {
        record_reset_side(&slot->record, RECORD_SIDE_RESULT);
        slot->text_serial[RECORD_SIDE_INPUT] = 0; /* a retry may describe the same bytes differently */
    } else {
        exchange->counts.rounds++;
    }
    step_apply(exchange, slot, &step, caller);
    return 0;
}

static int drop(struct exchange *exchange, struct slot *slot, const struct caller *caller,
                const struct record *proposed, uint32_t touched)
{
    struct handshake_step step = step_judge(exchange, slot, EVENT_FLAG_NONE, 0);
    bool is_change;

    if (step.verdict == VERDICT_REFUSE)
        return refuse_event(exchange, slot, caller, EVENT_FLAG_NONE, -step.error, step.reason);
    is_change = step_is_change(slot, &step);
    if (is_change)
        step_take(exchange, slot, &step, caller);
    /* Announces the next input, as PyRMap's metadata does before its data. */
    if (touched & RECORD_TOUCHED_INPUT)
        record_copy_side(&slot->record, proposed, RECORD_SIDE_INPUT);
    if (is_change)
        step_announce(exchange, slot, &step);
    else if (touched & RECORD_TOUCHED_INPUT)
        step_changed(exchange, slot);
    return 0;
}

static int edit(struct exchange *exchange, struct slot *slot, const struct caller *caller,
                const struct record *proposed, uint32_t touched)
{
    static const struct {
        uint32_t touched;
        enum handshake_event event;
    } sides[] = {{RECORD_TOUCHED_INPUT, EVENT_EDIT_INPUT}, {RECORD_TOUCHED_RESULT, EVENT_EDIT_RESULT}};

    for (int side = 0; side < 2; side++) {
        struct handshake_step step;

        if (!(touched & sides[side].touched))
            continue;
        step = step_judge(exchange, slot, sides[side].event, 0);
        if (step.verdict == VERDICT_REFUSE)
            return refuse_event(exchange, slot, caller, sides[side].event, -step.error, step.reason);
    }
    if (touched & RECORD_TOUCHED_INPUT)
        record_copy_side(&slot->record, proposed, RECORD_SIDE_INPUT);
    if (touched & RECORD_TOUCHED_RESULT)
        record_copy_side(&slot->record, proposed, RECORD_SIDE_RESULT);
    if (touched)
        step_changed(exchange, slot);
    return 0;
}

int publish_failure(struct exchange *exchange, struct slot *slot, const struct caller *caller,
                    const char *text, size_t size)
{
    struct handshake_step step = step_judge(exchange, slot, EVENT_FLAG_FAILED, 0);
    struct slot_failure failed = {.cause = CAUSE_CLIENT, .pid = caller->process};

    if (step.verdict == VERDICT_REFUSE)
        return refuse_event(exchange, slot, caller, EVENT_FLAG_FAILED, -step.error, step.reason);
    if (step_is_change(slot, &step))
        step_fail(exchange, slot, &step, caller, &failed, text, size);
    run_all(exchange);
    return 0;
}

void publish_task(struct exchange *exchange, struct slot *slot)
{
    slot->record.task_change++;
    step_changed(exchange, slot);
    run_all(exchange);
}

static int fail_by_flag(struct exchange *exchange, struct slot *slot, const struct caller *caller)
{
    char text[64];
    int size = snprintf(text, sizeof(text), "process %d wrote flag 2\n", (int)caller->process);

    return publish_failure(exchange, slot, caller, text, (size_t)size);
}

int publish_record(struct exchange *exchange, struct slot *slot, const struct caller *caller,
                   const struct record *proposed, uint32_t touched)
{
    int result = -EINVAL;

    if (!(touched & RECORD_TOUCHED_FLAG)) {
        result = edit(exchange, slot, caller, proposed, touched);
    } else {
        switch ((enum record_flag)proposed->flag) {
        case RECORD_FLAG_NONE:
            result = drop(exchange, slot, caller, proposed, touched);
            break;
        case RECORD_FLAG_INPUT:
            result = publish(exchange, slot, caller, EVENT_FLAG_INPUT, proposed);
            break;
        case RECORD_FLAG_RESULT:
            result = publish(exchange, slot, caller, EVENT_FLAG_RESULT, proposed);
            break;
        case RECORD_FLAG_FAILED:
            result = fail_by_flag(exchange, slot, caller);
            break;
        }
    }
    run_all(exchange);
    return result;
}
