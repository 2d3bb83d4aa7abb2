// SPDX-License-Identifier: Apache-2.0
#include "exchange.h"

#include "chain.h"
#include "log.h"
#include "page.h"
#include "quota.h"
#include "text.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* --- the queue of slots to look at, and the waiters in them --- */

void exchange_queue(struct exchange *exchange, struct slot *slot)
{
    uint32_t index = slot_index(exchange->slots, slot);

    if (slot->queued)
        return;
    slot->queued = 1;
    slot->next_queued = 0;
    if (exchange->last_queued)
        slot_at(exchange->slots, exchange->last_queued)->next_queued = index;
    else
        exchange->first_queued = index;
    exchange->last_queued = index;
}

static struct slot *dequeue(struct exchange *exchange)
{
    struct slot *slot = slot_at(exchange->slots, exchange->first_queued);

    if (!slot)
        return NULL;
    exchange->first_queued = slot->next_queued;
    if (!exchange->first_queued)
        exchange->last_queued = 0;
    slot->queued = 0;
    return slot;
}

static void end_waiter(struct waiter *waiter, int result)
{
    exchange_unpark(waiter);
    waiter->end(waiter, result);
}

static void retry_waiters(struct exchange *exchange, struct slot *slot)
{
    exchange->cursor = slot->waiters;
    while (exchange->cursor) {
        struct waiter *waiter = exchange->cursor;
        int result;

        exchange->cursor = waiter->next;
        /* Thousands may wait for one thing: a look at the table spares the rest of a try in vain. */
        if (handshake_judge(slot_state(slot), waiter->event, FACT_CALLER_FILLS).verdict == VERDICT_WAIT)
            continue;
        result = waiter->retry(waiter);
        if (result != EXCHANGE_WAITS && result != EXCHANGE_WORKS)
            end_waiter(waiter, result);
    }
}

void exchange_run(struct exchange *exchange)
{
    struct slot *slot;

    if (exchange->running)
        return;
    exchange->running = true;
    while ((slot = dequeue(exchange))) {
        if (slot->source)
            chain_pull(exchange, slot);
        if (slot->waiters)
            retry_waiters(exchange, slot);
        if (slot->source || slot->first_follower)
            chain_queue_neighbours(exchange, slot);
    }
    exchange->running = false;
    exchange->ready_stamp++; /* the step is over */
}

static void deadline_expired(struct deadline *deadline)
{
    struct waiter *waiter = (struct waiter *)deadline;
    struct caller caller = {.thread = waiter->process, .process = waiter->process};

    exchange_refuse(waiter->exchange, waiter->slot, &caller, handshake_event_name(waiter->event), -ETIMEDOUT,
                    handshake_reason(slot_state(waiter->slot), waiter->event));
    end_waiter(waiter, -ETIMEDOUT);
}

bool exchange_has_parked_step(const struct slot *slot)
{
    for (const struct waiter *waiter = slot->waiters; waiter; waiter = waiter->next) {
        if (waiter->event == EVENT_FLAG_INPUT || waiter->event == EVENT_FLAG_RESULT)
            return true;
    }
    return false;
}

void exchange_park(struct exchange *exchange, struct waiter *waiter, struct slot *slot)
{
    waiter->exchange = exchange;
    waiter->slot = slot;
    waiter->since_ms = deadline_now_ms();
    waiter->previous = NULL;
    waiter->next = slot->waiters;
    if (slot->waiters)
        slot->waiters->previous = waiter;
    slot->waiters = waiter;
    exchange->waiters++;
    waiter->deadline.set = NULL;
    waiter->deadline.expired = deadline_expired;
    if (exchange->limits.wait_timeout_ms)
        deadline_set(exchange->deadlines, &waiter->deadline, exchange->limits.wait_timeout_ms);
}

void exchange_unpark(struct waiter *waiter)
{
    struct exchange *exchange = waiter->exchange;

    if (exchange->cursor == waiter)
        exchange->cursor = waiter->next;
    if (waiter->previous)
        waiter->previous->next = waiter->next;
    else
        waiter->slot->waiters = waiter->next;
    if (waiter->next)
        waiter->next->previous = waiter->previous;
    deadline_clear(&waiter->deadline);
    exchange->waiters--;
}

void exchange_end_waiters(struct slot *slot, int result)
{
    while (slot->waiters)
        end_waiter(slot->waiters, result);
}

/* --- refusals --- */

/* A client that tries again and again must not fill the log: so many lines a second, and who polls has none.
 */
static enum log_level refusal_level(struct exchange *exchange, int error)
{
    enum { LINES_A_SECOND = 20 };
    uint64_t second = deadline_now_ms() / 1000;

    if (error == EAGAIN)
        return LOG_LEVEL_DEBUG;
    if (second != exchange->log_second) {
        if (exchange->log_lines > LINES_A_SECOND)
            log_info("%u more refusals were not logged", exchange->log_lines - LINES_A_SECOND);
        exchange->log_second = second;
        exchange->log_lines = 0;
    }
    return ++exchange->log_lines > LINES_A_SECOND ? LOG_LEVEL_DEBUG : LOG_LEVEL_INFO;
}

int exchange_refuse(struct exchange *exchange, struct slot *slot, const struct caller *caller,
                    const char *operation, int result, const char *reason)
{
    struct slot_refusal *refusal = &slot->refusal;
    size_t kind = (size_t)-result;

    exchange->refusals++;
    if (kind < sizeof(exchange->refusals_by_errno) / sizeof(exchange->refusals_by_errno[0]))
        exchange->refusals_by_errno[kind]++;
    slot->refusals++;
    clock_gettime(CLOCK_REALTIME, &refusal->when);
    refusal->pid = caller_process(caller);
    refusal->error = -result;
    snprintf(refusal->operation, sizeof(refusal->operation), "%s", operation);
    snprintf(refusal->reason, sizeof(refusal->reason), "%s", reason);
    log_line(refusal_level(exchange, -result), "%s: refused to %s for process %d: %s (%s)", slot->name,
             operation, (int)refusal->pid, strerror(-result), reason);
    return result;
}

static int refuse_step(struct exchange *exchange, struct slot *slot, const struct caller *caller,
                       enum handshake_event event, int error)
{
    return exchange_refuse(exchange, slot, caller, handshake_event_name(event), -error,
                           handshake_reason(slot_state(slot), event));
}

/* --- steps --- */

uint64_t exchange_array_identity(const struct exchange *exchange, const struct slot *slot,
                                 enum record_side side)
{
    const struct slot_array *array = &slot->arrays[side];

    return exchange->data_path == DATA_PATH_PAGE_CACHE ? array->number : array->inode;
}

bool exchange_array_is_shared(const struct exchange *exchange, const struct slot *slot, enum record_side side)
{
    const struct slot_array *array = &slot->arrays[side];
    const struct slot *follower = slot_at(exchange->slots, slot->first_follower);

    if (exchange->data_path != DATA_PATH_PAGE_CACHE || array->home_side != RECORD_SIDE_RESULT)
        return false;
    if (array->home != slot_index(exchange->slots, slot))
        return true;
    while (follower && (follower->arrays[RECORD_SIDE_INPUT].number != array->number ||
                        follower->arrays[RECORD_SIDE_INPUT].home != array->home))
        follower = slot_at(exchange->slots, follower->next_follower);
    return follower;
}

enum handshake_state slot_state(const struct slot *slot)
{
    return (enum handshake_state)slot->state;
}

void exchange_changed(struct exchange *exchange, struct slot *slot)
{
    slot->record.change++;
    slot_touch(slot, SLOT_METADATA_BIN);
    page_update(exchange->arena, slot);
    exchange->hooks.record_changed(exchange->hooks.context, slot);
    exchange_queue(exchange, slot);
}

void exchange_segment_freed(struct exchange *exchange, struct segment *segment)
{
    quota_uncharge(exchange->quota, segment);
}

/* Who keeps an array after its slot went on without it has it on his own account. */
static void charge_follower(struct exchange *exchange, const struct slot *slot, struct segment *segment)
{
    const struct slot *follower = slot_at(exchange->slots, slot->first_follower);

    while (follower && follower->segments[RECORD_SIDE_INPUT] != segment)
        follower = slot_at(exchange->slots, follower->next_follower);
    if (follower)
        quota_charge(exchange->quota, segment, follower->uid, segment->charged, 0);
}

static void drop_segment(struct exchange *exchange, struct slot *slot, enum record_side side)
{
    struct segment *segment = slot->segments[side];

    slot->segments[side] = NULL;
    slot->reserved[side] = 0;
    slot->sizing[side] = 0;
    slot->settling[side] = 0;
    slot->settled[side] = 0;
    if (segment) {
        if (segment->names > 1 && segment->charged_uid == slot->uid)
            charge_follower(exchange, slot, segment);
        segment_unname(exchange->arena, segment);
    }
}

static const enum slot_file array_files[] = {
    [RECORD_SIDE_INPUT] = SLOT_DATA_BIN, [RECORD_SIDE_RESULT] = SLOT_RESULT_BIN};

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
void exchange_drop_array(struct exchange *exchange, struct slot *slot, enum record_side side)
{
    uint64_t inode = slot->arrays[side].inode;

    drop_segment(exchange, slot, side);
    slot_fresh_array(exchange->slots, slot, side);
    if (exchange->data_path == DATA_PATH_PASSTHROUGH && !is_open(slot, array_files[side])) {
        slot->arrays[side].inode = inode;
        exchange->hooks.array_replaced(exchange->hooks.context, slot, array_files[side]);
    }
}

void exchange_renew_inode(struct slot *slot, enum record_side side)
{
    slot->arrays[side].inode = slot->arrays[side].serial;
}

static void own_inode(struct exchange *exchange, struct slot *slot)
{
    slot->arrays[RECORD_SIDE_INPUT].home = slot_index(exchange->slots, slot);
    slot->arrays[RECORD_SIDE_INPUT].home_side = RECORD_SIDE_INPUT;
}

void exchange_unshare(struct exchange *exchange, struct slot *slot)
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
           a->modes[array_files[a_side]] == b->modes[array_files[b_side]];
}

void exchange_adopt(struct exchange *exchange, struct slot *slot, enum record_side side, struct slot *from,
                    enum record_side from_side)
{
    struct segment *segment;

    /* An empty array, too, is one with its followers; without memory each opener gets one of his own. */
    if (exchange_need_segment(exchange, from, from_side) == 0)
        from->segments[from_side]->published = true;
    segment = from->segments[from_side];
    exchange_drop_array(exchange, slot, side);
    slot->arrays[side].number = from->arrays[from_side].number;
    if (from_side == RECORD_SIDE_RESULT && segment && have_one_face(slot, side, from, from_side)) {
        slot->arrays[side].home = from->arrays[from_side].home;
        slot->arrays[side].home_side = from->arrays[from_side].home_side;
    }
    slot->arrays[side].changed = from->arrays[from_side].changed;
    if (!segment)
        return;
    segment_name(segment);
    slot->segments[side] = segment;
    slot->arrays[side].segment_id = segment->id;
}

void exchange_take_step(struct exchange *exchange, struct slot *slot, const struct handshake_step *step)
{
    enum handshake_state before = slot_state(slot);

    if (step->effects & EFFECT_NEW_ROUND)
        slot->record.round++;
    if (step->effects & EFFECT_FRESH_INPUT) {
        exchange_drop_array(exchange, slot, RECORD_SIDE_INPUT);
        record_reset_side(&slot->record, RECORD_SIDE_INPUT);
        slot->has_input = 0;
    }
    if (step->effects & EFFECT_FRESH_RESULT) {
        exchange_drop_array(exchange, slot, RECORD_SIDE_RESULT);
        record_reset_side(&slot->record, RECORD_SIDE_RESULT);
        slot->result_taken = 0;
    }
    if (step->effects & EFFECT_CLEAR_ERROR) {
        text_resize(exchange->arena, slot, SLOT_ERROR, 0);
        slot->failed_by_source = 0;
    }
    slot->state = step->next;
    slot->record.flag = handshake_flag(step->next);
    if (step->next != STATE_FILLING)
        slot->filler = 0;
    if (before != step->next) {
        clock_gettime(CLOCK_REALTIME, &slot->entered);
        log_debug("%s: %s -> %s, round %llu", slot->name, handshake_state_name(before),
                  handshake_state_name(step->next), (unsigned long long)slot->record.round);
    }
}

void exchange_announce(struct exchange *exchange, struct slot *slot, const struct handshake_step *step)
{
    exchange_changed(exchange, slot);
    if (step->effects & EFFECT_CANCEL_WAITERS)
        exchange_end_waiters(slot, -ECANCELED);
    if (step->effects & EFFECT_FAIL_WAITERS)
        exchange_end_waiters(slot, -EIO);
}

void exchange_apply(struct exchange *exchange, struct slot *slot, const struct handshake_step *step)
{
    exchange_take_step(exchange, slot, step);
    exchange_announce(exchange, slot, step);
}

void exchange_set_failed(struct exchange *exchange, struct slot *slot, const char *text, size_t size)
{
    struct handshake_step step = {VERDICT_PROCEED, 0, STATE_FAILED, 0, EFFECT_FAIL_WAITERS};

    if (slot_state(slot) == STATE_DONE || slot_state(slot) == STATE_FAILED)
        step.effects |= EFFECT_NEW_ROUND | EFFECT_FRESH_INPUT | EFFECT_FRESH_RESULT | EFFECT_CLEAR_ERROR;
    slot->failure = slots_serial(exchange->slots);
    log_debug("%s: failed: %.*s", slot->name, (int)(size < 200 ? size : 200), text);
    exchange_apply(exchange, slot, &step);
    /* Who is woken by the state asks for the text later than this. A full arena costs the text, not the
     * failure. */
    text_resize(exchange->arena, slot, SLOT_ERROR, 0);
    text_write(exchange->arena, slot, SLOT_ERROR, text, size, 0);
}

int exchange_unlink(struct exchange *exchange, struct slot *slot, const struct caller *caller)
{
    struct handshake_step step = handshake_judge(slot_state(slot), EVENT_UNLINK, 0);

    (void)caller;
    if (step.next != slot_state(slot) || step.effects) {
        exchange_take_step(exchange, slot, &step);
        /* For the kernel the old ones have no name any more. */
        exchange_renew_inode(slot, RECORD_SIDE_INPUT);
        exchange_renew_inode(slot, RECORD_SIDE_RESULT);
        exchange_announce(exchange, slot, &step);
    }
    exchange_run(exchange);
    return 0;
}

int exchange_fail(struct exchange *exchange, struct slot *slot, const struct caller *caller, const char *text,
                  size_t size)
{
    struct handshake_step step = handshake_judge(slot_state(slot), EVENT_FLAG_FAILED, 0);

    if (step.verdict == VERDICT_REFUSE)
        return refuse_step(exchange, slot, caller, EVENT_FLAG_FAILED, step.error);
    if (slot_state(slot) != STATE_FAILED)
        exchange_set_failed(exchange, slot, text, size);
    exchange_run(exchange);
    return 0;
}

/* --- slots --- */

int exchange_mkdir(struct exchange *exchange, const char *name, const struct caller *caller, mode_t mode,
                   struct slot **slot)
{
    int result = quota_add_slot(exchange->quota, caller->uid, exchange->limits.slots_per_user);

    if (result < 0)
        return result;
    result = slot_create(exchange->slots, name, caller->uid, caller->gid, mode, slot);
    if (result < 0)
        quota_drop_slot(exchange->quota, caller->uid);
    return result;
}

void exchange_remove(struct exchange *exchange, struct slot *slot)
{
    exchange_end_waiters(slot, -ECANCELED); /* before the chain, or its publisher would be let in */
    chain_slot_removed(exchange, slot);
    exchange->hooks.slot_removing(exchange->hooks.context, slot);
    while (slot->handles)
        handle_delist(slot->handles);
    drop_segment(exchange, slot, RECORD_SIDE_INPUT);
    drop_segment(exchange, slot, RECORD_SIDE_RESULT);
    text_resize(exchange->arena, slot, SLOT_TASK, 0);
    text_resize(exchange->arena, slot, SLOT_ERROR, 0);
    page_remove(exchange->arena, slot);
    process_unbind(&slot->owner_bond);
    process_unbind(&slot->worker_bond);
    quota_drop_slot(exchange->quota, slot->uid);
    /* Whatever the removal has set going is done before the entry can become another slot. */
    exchange_run(exchange);
    slot_destroy(exchange->slots, slot);
}

void exchange_chown(struct exchange *exchange, struct slot *slot, uid_t uid, gid_t gid)
{
    if (uid != slot->uid) {
        quota_drop_slot(exchange->quota, slot->uid);
        quota_add_slot(exchange->quota, uid, UINT32_MAX);
        for (int side = 0; side < 2; side++) {
            struct segment *segment = slot->segments[side];
            if (segment)
                quota_charge(exchange->quota, segment, uid, segment->charged, 0);
        }
    }
    slot->uid = uid;
    slot->gid = gid;
    slot_touch(slot, SLOT_DIRECTORY);
}

/* --- owner and worker --- */

static struct slot *slot_of_bond(struct process_bond *bond, enum exchange_role role)
{
    size_t offset =
        role == ROLE_OWNER ? offsetof(struct slot, owner_bond) : offsetof(struct slot, worker_bond);

    return (struct slot *)((char *)bond - offset);
}

/* The round that is under way, or between two rounds the next one. */
static uint64_t first_open_round(const struct slot *slot)
{
    bool between = slot_state(slot) == STATE_DONE || slot_state(slot) == STATE_FAILED;

    return slot->record.round + between;
}

/* Its rounds are over with it; one that waits for an input, or that it never began, can have another worker.
 */
static void worker_exited(void *context, struct process_bond *bond)
{
    struct exchange *exchange = context;
    struct slot *slot = slot_of_bond(bond, ROLE_WORKER);
    pid_t worker = slot->worker;
    char text[128];
    int size;

    slot->worker = 0;
    slot_touch(slot, SLOT_WORKER);
    if (slot->worker_round < slot->record.round ||
        handshake_judge(slot_state(slot), EVENT_WORKER_DIED, 0).next == slot_state(slot))
        return;
    size = snprintf(text, sizeof(text), "worker %d exited before it published the result of round %llu\n",
                    (int)worker, (unsigned long long)slot->record.round);
    exchange_set_failed(exchange, slot, text, (size_t)size);
    exchange_run(exchange);
}

static void owner_exited(void *context, struct process_bond *bond)
{
    struct exchange *exchange = context;
    struct slot *slot = slot_of_bond(bond, ROLE_OWNER);

    log_debug("%s: owner %d exited, the slot is removed", slot->name, slot->owner);
    exchange->hooks.slot_vanished(exchange->hooks.context, slot->name);
    exchange_remove(exchange, slot);
}

int exchange_bind(struct exchange *exchange, struct slot *slot, enum exchange_role role, pid_t pid,
                  const struct caller *caller)
{
    struct process_bond *bond = role == ROLE_OWNER ? &slot->owner_bond : &slot->worker_bond;
    int result = 0;

    if (pid)
        /* Every process may name itself, also one that hides from us. */
        result = process_bind(exchange->processes, bond, pid, pid == caller->process ? 0 : caller->uid,
                              role == ROLE_OWNER ? owner_exited : worker_exited);
    else
        process_unbind(bond);
    if (result == -EPERM || result == -ESRCH)
        return exchange_refuse(exchange, slot, caller, role == ROLE_OWNER ? "set owner" : "set worker",
                               result,
                               result == -EPERM ? "the process belongs to another user" : "no such process");
    if (result < 0)
        return result;
    if (role == ROLE_OWNER) {
        slot->owner = pid;
        slot_touch(slot, SLOT_OWNER);
        return 0;
    }
    slot->worker = pid;
    slot->worker_round = first_open_round(slot);
    slot_touch(slot, SLOT_WORKER);
    return 0;
}

/* --- beginning and end --- */

struct inspection {
    struct arena *arena;
    char *error;
};

/* Before anything is changed: a segment that cannot be looked at is not one that is gone. */
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

static int restore_array(struct exchange *exchange, struct slot *slot, enum record_side side)
{
    struct slot_array *array = &slot->arrays[side];
    uint64_t size = 0, allocated = 0;
    int result;

    if (!array->segment_id)
        return 0;
    result = segment_restore(exchange->arena, array->segment_id, &slot->segments[side]);
    if (result < 0)
        return result;
    /* A chained segment is on its maker's account, whose array still has its own number. */
    if (segment_stat(exchange->arena, slot->segments[side], &size, &allocated) == 0 &&
        (array->number == array->serial || !slot->segments[side]->charged))
        quota_charge(exchange->quota, slot->segments[side], slot->uid, size, 0);
    slot->segments[side]->published = true;
    slot->reserved[side] = size;
    return 0;
}

/* Slots of a former server. Their processes are not ours to watch: what they held is over. */
int exchange_restore(struct exchange *exchange, char error[ARENA_ERROR_MAX])
{
    static const char restarted[] = "the filesystem was restarted while the result was being computed\n";
    struct inspection inspection = {exchange->arena, error};
    int result = slots_visit_segments(exchange->slots, look_at_segment, &inspection);
    struct slot *slot = NULL;
    uint32_t index = 0;

    if (result < 0)
        return result;
    snprintf(error, ARENA_ERROR_MAX, "cannot take over the arena's slots");
    result = slots_begin(exchange->slots);
    if (result < 0)
        return result;
    while ((slot = slot_after(exchange->slots, index))) {
        index = slot_index(exchange->slots, slot);
        quota_add_slot(exchange->quota, slot->uid, UINT32_MAX);
        result = restore_array(exchange, slot, RECORD_SIDE_INPUT);
        if (result == 0)
            result = restore_array(exchange, slot, RECORD_SIDE_RESULT);
        if (result < 0 && result != -ENOENT)
            return result;
        if (result < 0) {
            log_warning("%s: its data is not in the arena any more, the slot is emptied", slot->name);
            exchange_unlink(exchange, slot, &(struct caller){0});
        }
        page_discard(exchange->arena, slot);
    }
    index = 0;
    while ((slot = slot_after(exchange->slots, index))) {
        index = slot_index(exchange->slots, slot);
        if (slot->owner) {
            exchange_remove(exchange, slot);
            continue;
        }
        if (slot_state(slot) == STATE_COMPUTING || (slot->worker && slot_state(slot) == STATE_READY))
            exchange_set_failed(exchange, slot, restarted, sizeof(restarted) - 1);
        slot->worker = 0;
    }
    segment_sweep(exchange->arena);
    exchange_run(exchange);
    return 0;
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
    exchange->ready_stamp = 1; /* no fresh slot has it */
    exchange->hooks = *hooks;
    exchange->quota = quota_new();
    if (exchange->quota)
        result = deadline_init(&exchange->deadlines, loop);
    if (result == 0)
        result = process_init(&exchange->processes, loop, exchange);
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
    uint32_t index = 0;

    if (!exchange)
        return;
    while (exchange->deadlines && (slot = slot_after(exchange->slots, index))) {
        index = slot_index(exchange->slots, slot);
        exchange_end_waiters(slot, -ECANCELED);
    }
    process_deinit(exchange->processes);
    deadline_deinit(exchange->deadlines);
    quota_free(exchange->quota);
    free(exchange);
}
