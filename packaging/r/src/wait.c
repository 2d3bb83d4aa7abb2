// SPDX-License-Identifier: Apache-2.0
/*
 * wait.c - first the futex on the live page, for jobs of a few milliseconds; then poll.
 */
#include "wait.h"

#include "child.h"
#include "parallel.h"
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <poll.h>
#include <R_ext/Utils.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

/*
 * Before we sleep on the futex we look for LOOK_S: a small job is done by then, and to be woken takes as long as
 * to do it. Between two looks we offer the processor to the daemon and the worker. A futex cannot be waited for
 * together with pipes, so we leave it after FUTEX_S for poll, which can, but which costs requests. INTERRUPT_MS
 * bounds how late we notice a signal that arrived just before poll.
 */
#define LOOK_S        0.0002
#define FUTEX_S       0.005
#define FUTEX_STEP_NS 1000000
enum { INTERRUPT_MS = 250, PER_WORKER = CHILD_OUTPUTS + 1 };

struct waiting {
    struct slot **slots;
    struct child **workers; /* NULL where a slot has none */
    struct slot **served;   /* the slot of each worker */
    struct pollfd *polls;   /* metadata.bin of each slot; then the outputs and the pidfd of each worker */
    int count;
    int worker_count;
    double deadline;
};

enum outcome { PENDING, SETTLED, CANCELLED, ENDED };

static enum outcome judge(const struct slot *slot, int32_t flag, uint64_t round)
{
    if (flag == RECORD_FLAG_RESULT || flag == RECORD_FLAG_FAILED)
        return round > slot->seen ? SETTLED : PENDING;
    return flag == RECORD_FLAG_NONE && slot->running ? CANCELLED : PENDING;
}

static void relay_all(const struct waiting *waiting)
{
    for (int i = 0; i < waiting->worker_count; i++)
        if (waiting->workers[i])
            child_relay(waiting->workers[i]);
}

/*
 * Whether nobody will compute the slot's round, whose worker has ended. The filesystem fails the round of a
 * worker that it knows, and `worker` names that worker until the filesystem has seen its end. We read the page,
 * not metadata.bin: reading that would clear the change that poll is to report.
 */
static bool is_abandoned(struct slot *slot)
{
    char pid;
    int fd = slot_open_file(slot, "worker", O_RDONLY);
    ssize_t got = fd < 0 ? 0 : read(fd, &pid, 1);
    if (fd >= 0)
        close(fd);
    struct record_page page;
    if (got > 0)
        return false;
    return slot_outcome(slot, &page) < 0 || page.record.flag == RECORD_FLAG_INPUT ||
           page.record.flag == RECORD_FLAG_NONE;
}

/* Index from 1 of a worker that ended and left its slot's round to nobody, or 0. */
static int ended_worker(const struct waiting *waiting)
{
    for (int i = 0; i < waiting->worker_count; i++)
        if (waiting->workers[i] && !child_alive(waiting->workers[i]) && is_abandoned(waiting->served[i]))
            return i + 1;
    return 0;
}

/* Whether the page changes soon. seen: what it shows now. */
static bool changes_soon(const struct slot *slot, const struct record *seen)
{
    double end = seconds_now() + LOOK_S;
    while (record_is_current(&slot->page->record, seen)) {
        if (seconds_now() > end)
            return false;
        sched_yield();
    }
    return true;
}

/* On the page of a single slot. */
static enum outcome wait_page(const struct waiting *waiting)
{
    const struct slot *slot = waiting->slots[0];
    const struct timespec step = {.tv_nsec = FUTEX_STEP_NS};
    double end = seconds_now() + FUTEX_S;
    for (bool again = false;; again = true) {
        struct record record;
        slot_look(slot, &record);
        /* Nobody changes this page any more: poll tells what became of the slot. */
        if (record.version == RECORD_VERSION_GONE)
            return PENDING;
        if (judge(slot, record.flag, record.round) == SETTLED)
            return SETTLED;
        if (seconds_now() > end)
            return PENDING;
        if (!again && changes_soon(slot, &record))
            continue;
        /* Once the round is over our caller does that. */
        if (again)
            relay_all(waiting);
        syscall(SYS_futex, &slot->page->record.change, FUTEX_WAIT, record.change, &step, NULL, 0);
    }
}

/* Looks at the slots that poll named. Index from 1 of one whose wait is over, or 0. */
static int look(struct waiting *waiting, enum outcome *outcome)
{
    for (int i = 0; i < waiting->count; i++) {
        struct record record;
        if (!waiting->polls[i].revents)
            continue;
        int error = slot_read_record(waiting->slots[i], &record);
        if (error)
            raise_system(-error, "read the record of", waiting->slots[i]->path);
        *outcome = judge(waiting->slots[i], record.flag, record.round);
        if (*outcome != PENDING)
            return i + 1;
    }
    return 0;
}

static void poll_all(struct waiting *waiting, double left)
{
    struct pollfd *polls = waiting->polls + waiting->count;
    for (int i = 0; i < waiting->worker_count; i++, polls += PER_WORKER) {
        const struct child *worker = waiting->workers[i];
        bool lives = worker && child_alive(worker);
        for (int j = 0; j < CHILD_OUTPUTS; j++)
            polls[j] = (struct pollfd){.fd = worker ? worker->output[j] : -1, .events = POLLIN};
        polls[CHILD_OUTPUTS] = (struct pollfd){.fd = lives ? worker->pidfd : -1, .events = POLLIN};
    }
    int most = left * 1000 < INTERRUPT_MS ? (int)(left * 1000) + 1 : INTERRUPT_MS;
    if (poll(waiting->polls, (nfds_t)(polls - waiting->polls), most) <= 0)
        for (int i = 0; i < waiting->count; i++)
            waiting->polls[i].revents = 0;
}

static int wait_poll(struct waiting *waiting, enum outcome *outcome)
{
    for (;;) {
        int index = look(waiting, outcome);
        if (index)
            return index;
        if ((index = ended_worker(waiting)) != 0) {
            *outcome = ENDED;
            return index;
        }
        double left = waiting->deadline - seconds_now();
        if (left <= 0)
            return 0;
        poll_all(waiting, left);
        relay_all(waiting);
        R_CheckUserInterrupt();
    }
}

static int wait_all(struct waiting *waiting, enum outcome *outcome)
{
    if (waiting->count == 1 && slot_is_live(waiting->slots[0])) {
        *outcome = wait_page(waiting);
        if (*outcome == SETTLED)
            return 1;
    }
    return wait_poll(waiting, outcome);
}

SEXP pyrmap_wait(SEXP slots, SEXP workers, SEXP served, SEXP timeout)
{
    struct waiting waiting = {.count = LENGTH(slots), .worker_count = LENGTH(workers)};
    size_t of_workers = PER_WORKER * (size_t)waiting.worker_count;
    waiting.slots = (struct slot **)R_alloc((size_t)waiting.count, sizeof(struct slot *));
    waiting.workers = (struct child **)R_alloc((size_t)waiting.worker_count + 1, sizeof(struct child *));
    waiting.polls = (struct pollfd *)R_alloc((size_t)waiting.count + of_workers, sizeof(struct pollfd));
    waiting.served = (struct slot **)R_alloc((size_t)waiting.worker_count + 1, sizeof(struct slot *));
    for (int i = 0; i < waiting.worker_count; i++) {
        waiting.workers[i] = child_get(VECTOR_ELT(workers, i));
        waiting.served[i] = slot_get(VECTOR_ELT(served, i));
    }
    for (int i = 0; i < waiting.count; i++) {
        waiting.slots[i] = slot_get(VECTOR_ELT(slots, i));
        /* The first look reads each record, which also arms poll. */
        waiting.polls[i] =
            (struct pollfd){.fd = waiting.slots[i]->record_fd, .events = POLLIN, .revents = POLLIN};
    }
    waiting.deadline = seconds_now() + Rf_asReal(timeout);
    enum outcome outcome = PENDING;
    int index = wait_all(&waiting, &outcome);
    /* A worker flushes its output before it publishes: all of it is here by now. */
    relay_all(&waiting);
    if (outcome == CANCELLED)
        index = -index;
    else if (outcome == ENDED)
        index = -waiting.count - index;
    return Rf_ScalarInteger(index);
}

SEXP pyrmap_cores(void)
{
    return Rf_ScalarInteger(processors());
}
