// SPDX-License-Identifier: Apache-2.0
#include "exchange/exchange.h"

#include "base/container.h"
#include "base/log.h"
#include "exchange/account.h"
#include "exchange/chain.h"
#include "exchange/durable.h"
#include "exchange/jobs.h"
#include "exchange/refuse.h"
#include "exchange/run.h"
#include "exchange/salvage.h"
#include "exchange/shared.h"
#include "exchange/step.h"
#include "exchange/wait.h"
#include "slot/handle.h"
#include "slot/page.h"
#include "slot/restore.h"
#include "slot/text.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* --- slots --- */

/* There is no slot yet that could show the refusal, so it goes to the log. */
static int refuse_slot(struct exchange *exchange, const char *name, const struct caller *caller, int result)
{
    uint32_t limit = slots_limit(exchange->slots);
    char reason[120];

    if (result == -EDQUOT)
        snprintf(reason, sizeof(reason), "user %u has all %u slots of limits.slots_per_user",
                 (unsigned)caller->uid, exchange->limits.slots_per_user);
    else if (result == -ENOSPC && slots_count(exchange->slots) >= limit)
        snprintf(reason, sizeof(reason), "all %u slots of limits.slots are in use", limit);
    else if (result == -ENOSPC)
        snprintf(reason, sizeof(reason), "arena.capacity has no room for the entry of a slot");
    else
        return result;
    return refuse_by_name(exchange, name, caller, "make a slot", result, reason);
}

int exchange_mkdir(struct exchange *exchange, const char *name, const struct caller *caller, mode_t mode,
                   struct slot **slot)
{
    struct job job;
    const struct quota_payer payer = {caller->uid, job.name};
    int result;

    jobs_find(caller->thread, &job);
    result = quota_add_slot(exchange->quota, payer, exchange->limits.slots_per_user);
    if (result < 0)
        return refuse_slot(exchange, name, caller, result);
    result = slot_create(exchange->slots, name, caller->uid, caller->gid, mode, slot);
    if (result < 0) {
        quota_drop_slot(exchange->quota, payer);
        return refuse_slot(exchange, name, caller, result);
    }
    memcpy((*slot)->job, job.name, sizeof(job.name));
    memcpy((*slot)->job_group, job.group, sizeof(job.group));
    slot_mark(*slot);
    jobs_join(exchange->jobs, *slot);
    if (events_wanted(&exchange->events))
        events_of_slot(&exchange->events, EVENTS_MADE, *slot, caller);
    return 0;
}

void exchange_remove(struct exchange *exchange, struct slot *slot)
{
    if (events_wanted(&exchange->events))
        events_of_slot(&exchange->events, EVENTS_REMOVED, slot, NULL);
    wait_end_all(exchange, slot, -ECANCELED); /* before unchaining, which would let its publisher go on */
    chain_unlink(exchange, slot);
    exchange->hooks.slot_removing(exchange->hooks.context, slot);
    while (slot->handles)
        handle_delist(slot->handles);
    account_drop_slot(exchange, slot);
    text_resize(exchange->arena, slot, SLOT_TASK, 0);
    text_resize(exchange->arena, slot, SLOT_ERROR, 0);
    page_remove(exchange->arena, slot);
    process_unbind(&slot->owner_bond);
    process_unbind(&slot->worker_bond);
    jobs_leave(slot);
    quota_drop_slot(exchange->quota, account_payer(slot));
    /* Nobody finds it any more. The queue goes through its followers, then another slot can have the entry. */
    slot_leave(exchange->slots, slot);
    wait_queue(exchange, slot);
    run_all(exchange);
}

int exchange_chown(struct exchange *exchange, struct slot *slot, uid_t uid, gid_t gid)
{
    if (uid != slot->uid) {
        const struct quota_payer payer = {uid, slot->job};
        /* Only this can fail: once the user has an account we can charge bytes to it. */
        int result = quota_add_slot(exchange->quota, payer, UINT32_MAX);

        if (result < 0)
            return result;
        quota_drop_slot(exchange->quota, account_payer(slot));
        account_drop_slot(exchange, slot);
        account_add_slot(exchange, slot, payer);
        for (int side = 0; side < 2; side++) {
            step_charge_to(exchange, slot, (enum record_side)side, uid);
        }
    }
    slot_chown(slot, uid, gid);
    return 0;
}

int exchange_unlink(struct exchange *exchange, struct slot *slot, const struct caller *caller)
{
    struct handshake_step step = step_judge(exchange, slot, EVENT_UNLINK, 0);

    if (step_is_change(slot, &step)) {
        step_take(exchange, slot, &step, caller);
        /* The kernel has taken the names from the old inodes. */
        step_renew_inode(slot, RECORD_SIDE_INPUT);
        step_renew_inode(slot, RECORD_SIDE_RESULT);
        step_announce(exchange, slot, &step);
    }
    run_all(exchange);
    return 0;
}

void exchange_outcome_read(struct exchange *exchange, struct slot *slot)
{
    step_outcome_read(exchange, slot);
}

void exchange_run(struct exchange *exchange)
{
    run_all(exchange);
}

int exchange_chain(struct exchange *exchange, struct slot *slot, struct slot *source, enum record_side side,
                   const struct caller *caller)
{
    int result = chain_link(exchange, slot, source, side, caller);

    run_all(exchange);
    return result;
}

void exchange_unchain(struct exchange *exchange, struct slot *slot)
{
    chain_unlink(exchange, slot);
    run_all(exchange);
}

/* --- owner and worker --- */

/* Fails the round that the worker had to compute. A slot without an input can get another worker. */
static void worker_exited(void *context, struct process_bond *bond)
{
    struct exchange *exchange = context;
    struct slot *slot = container_of(bond, struct slot, worker_bond);
    struct handshake_step step = step_judge(exchange, slot, EVENT_WORKER_DIED, 0);
    struct slot_failure failed = {.cause = CAUSE_WORKER, .pid = slot->worker, .status = bond->status};
    char text[128];
    int size;

    step_clear_worker(slot);
    if (!step_is_change(slot, &step))
        return;
    size = snprintf(text, sizeof(text), "worker %d exited before it published the result of round %llu\n",
                    (int)failed.pid, (unsigned long long)slot->record.round);
    step_fail(exchange, slot, &step, NULL, &failed, text, (size_t)size);
    run_all(exchange);
}

/* No client removes it. */
static void vanish(struct exchange *exchange, struct slot *slot)
{
    exchange->hooks.slot_vanished(exchange->hooks.context, slot->name);
    exchange_remove(exchange, slot);
}

static void owner_exited(void *context, struct process_bond *bond)
{
    struct exchange *exchange = context;
    struct slot *slot = container_of(bond, struct slot, owner_bond);

    log_debug("%s: owner %d exited, the slot is removed", slot->name, slot->owner);
    vanish(exchange, slot);
}

static void job_over(void *context, struct slot *slot)
{
    log_debug("%s: %s is over, the slot is removed", slot->name, slot->job);
    vanish(context, slot);
}

int exchange_bind(struct exchange *exchange, struct slot *slot, enum exchange_role role, pid_t pid,
                  const struct caller *caller)
{
    struct process_bond *bond = role == ROLE_OWNER ? &slot->owner_bond : &slot->worker_bond;
    int result = 0;

    if (pid)
        /* Every process may name itself, also one that /proc hides from us. */
        result = process_bind(exchange->processes, bond, pid, pid == caller->process ? 0 : caller->uid,
                              role == ROLE_OWNER ? owner_exited : worker_exited);
    else
        process_unbind(bond);
    if (result == -EPERM || result == -ESRCH)
        return refuse_operation(exchange, slot, caller, role == ROLE_OWNER ? "set owner" : "set worker",
                                result,
                                result == -EPERM ? "the process belongs to another user" : "no such process");
    if (result < 0)
        return result;
    if (role == ROLE_OWNER) {
        slot->owner = pid;
        slot->owner_start = pid ? process_start(pid) : 0;
        slot_touch(slot, SLOT_OWNER);
        return 0;
    }
    slot->worker = pid;
    slot->worker_start = pid ? process_start(pid) : 0;
    slot->worker_once = role == ROLE_WORKER_ONCE ? step_open_round(slot) : 0;
    slot_touch(slot, SLOT_WORKER);
    return 0;
}

/* --- for the layers above --- */

struct slots *exchange_slots(const struct exchange *exchange)
{
    return exchange->slots;
}

struct arena *exchange_arena(const struct exchange *exchange)
{
    return exchange->arena;
}

const struct exchange_counts *exchange_counts(const struct exchange *exchange)
{
    return &exchange->counts;
}

struct events *exchange_events(struct exchange *exchange)
{
    return &exchange->events;
}

const struct quota *exchange_quota(const struct exchange *exchange)
{
    return exchange->quota;
}

enum exchange_data_path exchange_data_path(const struct exchange *exchange)
{
    return exchange->data_path;
}

void exchange_set_data_path(struct exchange *exchange, enum exchange_data_path data_path)
{
    exchange->data_path = data_path;
}

/* --- beginning and end --- */

struct inspection {
    struct arena *arena;
    char *error;
};

/* Call it before any change: a segment that we cannot look at is not gone. */
static int look_at_segment(void *context, const char *name, uint64_t id)
{
    struct inspection *inspection = context;
    int result = segment_look(inspection->arena, id);

    if (result == 0 || result == -ENOENT)
        return 0;
    snprintf(inspection->error, ARENA_ERROR_MAX,
             "the file s%llu of the arena, an array of slot %.100s, cannot be read: %s: mend or remove it; "
             "nothing was changed",
             (unsigned long long)id, name, strerror(-result));
    return result;
}

/* Whether the array's bytes are final, or a client may still have it mapped for writing. */
static bool is_published(const struct slot *slot, enum record_side side)
{
    return side == RECORD_SIDE_INPUT ? slot->has_input : slot_state(slot) == STATE_DONE;
}

static int restore_array(struct exchange *exchange, struct slot *slot, enum record_side side)
{
    struct slot_array *array = &slot->arrays[side];
    uint64_t size = 0, allocated = 0;
    int result;

    quota_add_bytes(exchange->quota, account_payer(slot), slot_inline_size(slot, side), NULL);
    if (!array->segment_id)
        return 0;
    result = segment_restore(exchange->arena, array->segment_id, &slot->segments[side]);
    if (result < 0)
        return result;
    /* A borrowed segment is charged to the slot that it comes from, if that still has it. */
    if (segment_stat(exchange->arena, slot->segments[side], &size, &allocated) == 0 &&
        (!array->borrowed || !slot->segments[side]->charged))
        quota_charge(exchange->quota, slot->segments[side], account_payer(slot), size, NULL);
    return is_published(slot, side) ? segment_publish(exchange->arena, slot->segments[side]) : 0;
}

static int restore_slot(struct exchange *exchange, struct slot *slot, enum exchange_start start)
{
    int result;

    quota_add_slot(exchange->quota, account_payer(slot), UINT32_MAX);
    jobs_join(exchange->jobs, slot);
    text_restore(exchange->arena, slot, SLOT_TASK);
    text_restore(exchange->arena, slot, SLOT_ERROR);
    if (start == EXCHANGE_TAKES_OVER) {
        page_take_over(exchange->arena, slot);
        slot->known[0] = slot->known[1] = slot->page_shown = 1; /* for all that we know */
    } else {
        page_discard(exchange->arena, slot);
    }
    account_add_slot(exchange, slot, account_payer(slot));
    result = restore_array(exchange, slot, RECORD_SIDE_INPUT);
    if (result == 0)
        result = restore_array(exchange, slot, RECORD_SIDE_RESULT);
    if (result != -ENOENT)
        return result;
    log_about(LOG_LEVEL_WARNING, &(struct log_subject){.slot = slot->name},
              "%s: its data is not in the arena any more, the slot is emptied", slot->name);
    exchange_unlink(exchange, slot, &(struct caller){0});
    return 0;
}

/* A start by which the slot has lost the processes that it knew, and their pids may be others' now. */
static void forget_processes(struct exchange *exchange, struct slot *slot)
{
    static const char restarted[] = "the filesystem was restarted while the result was being computed\n";
    const struct slot_failure failed = {.cause = CAUSE_RESTART};
    struct handshake_step step = step_judge(exchange, slot, EVENT_RESTART, 0);

    if (slot->owner) {
        exchange_remove(exchange, slot);
        return;
    }
    if (step_is_change(slot, &step))
        step_fail(exchange, slot, &step, NULL, &failed, restarted, sizeof(restarted) - 1);
    step_clear_worker(slot);
    slot->filler = 0;
}

/* Watches the slot's processes as the last server did. What has ended meanwhile has ended now. */
static void watch_processes(struct exchange *exchange, struct slot *slot)
{
    struct process_bond *worker = &slot->worker_bond, *owner = &slot->owner_bond;

    if (slot->worker && process_bind_again(exchange->processes, worker, slot->worker, slot->worker_start,
                                           worker_exited) < 0) {
        worker->status = PROCESS_STATUS_UNKNOWN;
        worker_exited(exchange, worker);
    }
    if (slot->owner &&
        process_bind_again(exchange->processes, owner, slot->owner, slot->owner_start, owner_exited) < 0)
        owner_exited(exchange, owner);
}

/* The slot had been removed, but its followers had not all heard of that. */
static void leave_again(struct exchange *exchange, struct slot *slot)
{
    for (int side = 0; side < 2; side++) {
        slot->arrays[side].segment_id = 0;
        slot_set_inline(slot, (enum record_side)side, NULL, 0);
    }
    wait_queue(exchange, slot);
}

int exchange_restore(struct exchange *exchange, enum exchange_start start, char error[ARENA_ERROR_MAX])
{
    struct inspection inspection = {exchange->arena, error};
    int result = slots_visit_segments(exchange->slots, look_at_segment, &inspection);
    struct slot *slot = NULL;
    uint32_t index = 0;

    if (result < 0)
        return result;
    snprintf(error, ARENA_ERROR_MAX, "cannot take over the arena's slots");
    result = slots_begin(exchange->slots);
    if (result == 0)
        result = salvage_arrays(exchange);
    for (; result == 0 && (slot = slot_after(exchange->slots, index));
         index = slot_index(exchange->slots, slot))
        result = restore_slot(exchange, slot, start);
    return result;
}

/* Followers take what is due to them, as if it had just been published. */
static void sweep(struct exchange *exchange)
{
    text_sweep(exchange->arena, exchange->slots);
    if (!salvage_has_damage(exchange))
        segment_sweep(exchange->arena);
}

void exchange_go_on(struct exchange *exchange, enum exchange_start start)
{
    struct slot *slot;
    uint32_t index;

    for (index = 0; (slot = slots_leaving(exchange->slots, index)); index = slot_index(exchange->slots, slot))
        leave_again(exchange, slot);
    for (index = 0; (slot = slot_after(exchange->slots, index));) {
        index = slot_index(exchange->slots, slot);
        if (start == EXCHANGE_TAKES_OVER)
            watch_processes(exchange, slot);
        else
            forget_processes(exchange, slot);
    }
    jobs_begin(exchange->jobs);
    salvage_explain(exchange);
    for (index = 0; (slot = slot_after(exchange->slots, index)); index = slot_index(exchange->slots, slot))
        wait_queue(exchange, slot);
    if (start == EXCHANGE_TAKES_OVER)
        run_to_the_end(exchange);
    else
        run_all(exchange);
    if (start == EXCHANGE_TAKES_OVER)
        durable_take_over(exchange, sweep);
    else
        sweep(exchange);
    durable_commit(exchange);
}

void exchange_commit(struct exchange *exchange)
{
    durable_commit(exchange);
}

int exchange_init(struct exchange **out, struct slots *slots, struct arena *arena, struct loop *loop,
                  const struct exchange_limits *limits, const struct exchange_hooks *hooks)
{
    struct exchange *exchange = calloc(1, sizeof(*exchange));
    int result = -ENOMEM;

    *out = NULL;
    if (!exchange)
        return -ENOMEM;
    exchange->slots = slots;
    exchange->arena = arena;
    exchange->limits = *limits;
    exchange->loop = loop;
    exchange->run = &exchange->fresh;
    exchange->fresh.ready_stamp = exchange->ready_stamp = 1; /* no fresh slot has it */
    exchange->hooks = *hooks;
    exchange->quota = quota_new();
    if (exchange->quota)
        result = deadline_init(&exchange->deadlines, loop);
    if (result == 0)
        result = process_init(&exchange->processes, loop, exchange);
    if (result == 0)
        result = turn_queue_init(&exchange->turns, loop);
    if (result == 0)
        result =
            jobs_init(&exchange->jobs, loop, exchange->turns, limits->remove_with_job, job_over, exchange);
    if (result == 0)
        result = durable_init(exchange);
    if (result < 0) {
        exchange_deinit(exchange);
        return result;
    }
    *out = exchange;
    return 0;
}

void exchange_deinit(struct exchange *exchange)
{
    struct slot *slot = NULL;

    if (!exchange)
        return;
    turn_queue_deinit(exchange->turns, exchange->loop);
    jobs_deinit(exchange->jobs);
    durable_deinit(exchange);
    for (uint32_t index = 1; exchange->deadlines && index < slots_end(exchange->slots); index++) {
        slot = slot_at(exchange->slots, index);
        while (slot && !LIST_EMPTY(&slot->waiters))
            wait_end(LIST_FIRST(&slot->waiters), -ECANCELED);
        if (slot)
            page_retire(exchange->arena, slot);
    }
    process_deinit(exchange->processes);
    deadline_deinit(exchange->deadlines);
    quota_free(exchange->quota);
    events_deinit(&exchange->events);
    free(exchange);
}
