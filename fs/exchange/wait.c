// SPDX-License-Identifier: Apache-2.0
#include "exchange/wait.h"

#include "base/container.h"
#include "exchange/refuse.h"
#include "exchange/shared.h"
#include <errno.h>
#include <stdio.h>
#include <string.h>

void wait_queue(struct exchange *exchange, struct slot *slot)
{
    uint32_t index = slot_index(exchange->slots, slot);

    if (slot->queued)
        return;
    slot->queued = 1;
    slot->next_queued = 0;
    if (exchange->run->last_queued)
        slot_at(exchange->slots, exchange->run->last_queued)->next_queued = index;
    else
        exchange->run->first_queued = index;
    exchange->run->last_queued = index;
}

struct slot *wait_dequeue(struct exchange *exchange)
{
    struct slot *slot = slot_at(exchange->slots, exchange->run->first_queued);

    if (!slot)
        return NULL;
    exchange->run->first_queued = slot->next_queued;
    if (!exchange->run->first_queued)
        exchange->run->last_queued = 0;
    slot->queued = 0;
    return slot;
}

static void deadline_expired(struct deadline *deadline)
{
    struct wait *wait = container_of(deadline, struct wait, deadline);
    struct caller caller = {.thread = wait->process, .process = wait->process};

    refuse_event(wait->exchange, wait->slot, &caller, wait->event, -ETIMEDOUT, wait->reason);
    wait_end(wait, -ETIMEDOUT);
}

int wait_because(struct exchange *exchange, int why, const char *reason)
{
    snprintf(exchange->wait_reason, sizeof(exchange->wait_reason), "%s", reason);
    return why;
}

const char *wait_reason(const struct exchange *exchange)
{
    return exchange->wait_reason;
}

void wait_stay(struct wait *wait, int why)
{
    struct exchange *exchange = wait->exchange;

    memcpy(wait->reason, exchange->wait_reason, sizeof(wait->reason));
    if (why == WAIT_FOR_WORK)
        deadline_clear(&wait->deadline);
    else if (exchange->limits.wait_timeout_ms && !wait->deadline.set)
        deadline_set(exchange->deadlines, &wait->deadline, exchange->limits.wait_timeout_ms);
}

void wait_park(struct exchange *exchange, struct wait *wait, struct slot *slot, int why)
{
    wait->exchange = exchange;
    wait->slot = slot;
    wait->ended = 0;
    wait->since_us = deadline_now_us();
    LIST_INSERT_HEAD(&slot->waiters, wait, link);
    slot->wait_count++;
    exchange->counts.waiters++;
    wait->deadline.set = NULL;
    wait->deadline.expired = deadline_expired;
    wait_stay(wait, why);
}

void wait_unpark(struct wait *wait)
{
    struct exchange *exchange = wait->exchange;

    if (wait->slot->cursor == wait)
        wait->slot->cursor = LIST_NEXT(wait, link);
    LIST_REMOVE(wait, link);
    wait->slot->wait_count--;
    deadline_clear(&wait->deadline);
    exchange->counts.waiters--;
    histogram_add(&exchange->counts.waiting, deadline_now_us() - wait->since_us);
}

void wait_end(struct wait *wait, int result)
{
    wait_unpark(wait);
    wait->end(wait, wait->ended ? wait->ended : result);
}

void wait_end_all(struct exchange *exchange, struct slot *slot, int result)
{
    struct wait *wait;

    LIST_FOREACH (wait, &slot->waiters, link) {
        wait->ended = wait->ended ? wait->ended : result;
        deadline_clear(&wait->deadline); /* its peer has come */
    }
    if (!LIST_EMPTY(&slot->waiters))
        wait_queue(exchange, slot);
}

bool wait_has_step(const struct slot *slot)
{
    const struct wait *wait;

    LIST_FOREACH (wait, &slot->waiters, link) {
        if (!wait->ended && (wait->event == EVENT_FLAG_INPUT || wait->event == EVENT_FLAG_RESULT ||
                             wait->event == EVENT_PUT_INPUT || wait->event == EVENT_PUT_RESULT))
            return true;
    }
    return false;
}
