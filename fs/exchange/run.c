// SPDX-License-Identifier: Apache-2.0
#include "exchange/run.h"

#include "base/container.h"
#include "exchange/chain.h"
#include "exchange/durable.h"
#include "exchange/shared.h"
#include "exchange/step.h"
#include "exchange/wait.h"
#include <errno.h>
#include <stdlib.h>

/* make check-sanitize has a daemon whose turns are as short as can be: there every step goes on in turns. */
#ifndef RUN_COST_OF_TURN
#define RUN_COST_OF_TURN 256
#endif

/* What a turn may cost, and its parts: a look at a follower is a few cache misses, a step is system calls. */
enum { COST_OF_TURN = RUN_COST_OF_TURN, COST_OF_LOOK = 1, COST_OF_STEP = 16 };

/* --- one slot --- */

/* Retries one waiter, or ends it. */
static void try_waiter(struct exchange *exchange, struct wait *wait)
{
    struct handshake_step step;
    int result = wait->ended;

    if (!result) {
        /* Thousands may wait for one step: a look at the table spares most of them the rest of a try. */
        step = handshake_judge(slot_state(wait->slot), wait->event, FACT_CALLER_FILLS);
        result = step.verdict == VERDICT_WAIT ? wait_because(exchange, WAIT_FOR_PEER, step.reason)
                                              : wait->retry(wait);
    }
    if (result == WAIT_FOR_PEER || result == WAIT_FOR_WORK)
        wait_stay(wait, result);
    else
        wait_end(wait, result);
}

/* The run leaves the slot that it is at. */
static void leave_slot(struct exchange *exchange, struct slot *slot)
{
    bool again = slot->at_work == AT_WORK_AND_AGAIN;

    exchange->run->at = 0;
    slot->at_work = AT_WORK_NOT;
    if (again)
        wait_queue(exchange, slot);
}

/*
 * For clients the slot is gone. Its followers lose their source, and then its entry is free. Returns the cost.
 */
static int take_leave(struct exchange *exchange, struct slot *slot)
{
    if (!LIST_EMPTY(&slot->waiters)) {
        wait_end(LIST_FIRST(&slot->waiters), -ECANCELED);
        return COST_OF_STEP;
    }
    if (slot->first_follower) {
        chain_orphan(exchange, slot);
        return COST_OF_STEP;
    }
    leave_slot(exchange, slot);
    if (slot->queued) /* the queue will come to it once more */
        return COST_OF_STEP;
    step_drop_segment(exchange, slot, RECORD_SIDE_INPUT);
    step_drop_segment(exchange, slot, RECORD_SIDE_RESULT);
    slot_destroy(exchange->slots, slot);
    return COST_OF_STEP;
}

static int work_on(struct exchange *exchange, struct slot *slot)
{
    struct shared_run *run = exchange->run;

    if (slot->leaving)
        return take_leave(exchange, slot);
    switch (run->stage) {
    case RUN_PULLS:
        if (slot->source)
            chain_pull(exchange, slot);
        slot->cursor = LIST_FIRST(&slot->waiters);
        run->stage = RUN_TRIES_WAITERS;
        return COST_OF_STEP;
    case RUN_TRIES_WAITERS:
        if (slot->cursor) {
            struct wait *wait = slot->cursor;

            slot->cursor = LIST_NEXT(wait, link);
            try_waiter(exchange, wait);
            return COST_OF_STEP;
        }
        slot->follower_cursor = slot->first_follower;
        run->has_queued = false;
        run->stage = RUN_LOOKS_AT_FOLLOWERS;
        return 0;
    case RUN_LOOKS_AT_FOLLOWERS:
        if (slot->follower_cursor) {
            run->has_queued |= chain_queue_follower(exchange, slot);
            return COST_OF_LOOK;
        }
        if (slot->source)
            chain_queue_sources(exchange, slot);
        leave_slot(exchange, slot);
        /* Put it behind them: nobody works on it before all of them have what it gives. */
        if (run->has_queued)
            wait_queue(exchange, slot);
        return 0;
    }
    return 0;
}

/* One piece of work. Returns its cost, -1 if there was none. */
static int work(struct exchange *exchange)
{
    struct shared_run *run = exchange->run;
    struct slot *slot;

    if (!run->at) {
        slot = wait_dequeue(exchange);
        if (!slot)
            return -1;
        if (slot->at_work) { /* in another run, which looks again */
            slot->at_work = AT_WORK_AND_AGAIN;
            return COST_OF_STEP;
        }
        run->at = slot_index(exchange->slots, slot);
        run->stage = RUN_PULLS;
        slot->at_work = AT_WORK;
    }
    return work_on(exchange, slot_at(exchange->slots, run->at));
}

/* --- turns --- */

/* Whether there is more to do. */
static bool take_part(struct exchange *exchange, struct shared_run *run)
{
    int left = COST_OF_TURN;
    int cost = 0;

    exchange->running = true;
    exchange->run = run;
    while (left > 0 && (cost = work(exchange)) >= 0)
        left -= cost;
    exchange->run = &exchange->fresh;
    exchange->running = false;
    durable_commit(exchange);
    return cost >= 0;
}

static enum turn_progress take_turn(struct turn *turn)
{
    struct shared_run *run = container_of(turn, struct shared_run, turn);
    struct exchange *exchange = run->exchange;

    if (take_part(exchange, run))
        return TURN_AGAIN;
    exchange->runs--;
    free(run);
    return TURN_DONE;
}

static void give_up(struct turn *turn)
{
    free(container_of(turn, struct shared_run, turn));
}

/* Continues the run in turns. Returns false if there is no memory for that. */
static bool put_off(struct exchange *exchange)
{
    struct shared_run *run = malloc(sizeof(*run));

    if (!run)
        return false;
    *run = exchange->fresh;
    run->exchange = exchange;
    run->turn = (struct turn){.take = take_turn, .give_up = give_up};
    exchange->fresh = (struct shared_run){0};
    exchange->runs++;
    turn_add(exchange->turns, &run->turn);
    return true;
}

void run_all(struct exchange *exchange)
{
    if (exchange->running)
        return;
    while (take_part(exchange, &exchange->fresh) && !put_off(exchange))
        continue;
    exchange->fresh.ready_stamp = ++exchange->ready_stamp; /* the step is over */
}

void run_to_the_end(struct exchange *exchange)
{
    while (take_part(exchange, &exchange->fresh))
        continue;
    exchange->fresh.ready_stamp = ++exchange->ready_stamp;
}

bool run_all_at_rest(const struct exchange *exchange)
{
    return exchange->runs == 0;
}

bool run_is_at_rest(struct exchange *exchange, const struct slot *slot)
{
    for (; exchange->runs > 0 && slot; slot = slot_at(exchange->slots, slot->source)) {
        if (slot->queued || slot->at_work || slot->leaving)
            return false;
    }
    return true;
}
