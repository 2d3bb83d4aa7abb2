// SPDX-License-Identifier: Apache-2.0
#include "exchange/run.h"

#include "exchange/chain.h"
#include "exchange/shared.h"
#include "exchange/wait.h"

static void retry_waiters(struct exchange *exchange, struct slot *slot)
{
    exchange->cursor = LIST_FIRST(&slot->waiters);
    while (exchange->cursor) {
        struct wait *wait = exchange->cursor;
        struct handshake_step step;
        int result;

        exchange->cursor = LIST_NEXT(wait, link);
        /* Thousands may wait for one thing: a look at the table spares most of them the rest of a try. */
        step = handshake_judge(slot_state(slot), wait->event, FACT_CALLER_FILLS);
        result = step.verdict == VERDICT_WAIT ? wait_because(exchange, WAIT_FOR_PEER, step.reason)
                                              : wait->retry(wait);
        if (result == WAIT_FOR_PEER || result == WAIT_FOR_WORK)
            wait_stay(wait, result);
        else
            wait_end(wait, result);
    }
}

void run_all(struct exchange *exchange)
{
    struct slot *slot;

    if (exchange->running)
        return;
    exchange->running = true;
    while ((slot = wait_dequeue(exchange))) {
        if (slot->source)
            chain_pull(exchange, slot);
        if (!LIST_EMPTY(&slot->waiters))
            retry_waiters(exchange, slot);
        if (slot->source || slot->first_follower)
            chain_queue_neighbours(exchange, slot);
    }
    exchange->running = false;
    exchange->ready_stamp++; /* the step is over */
}
