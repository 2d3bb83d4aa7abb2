// SPDX-License-Identifier: Apache-2.0
/*
 * wait.c - first the futex on the live page, for jobs of a few milliseconds; then poll.
 */
#include "wait.h"

#include "child.h"
#include "parallel.h"
#include <errno.h>
#include <linux/futex.h>
#include <poll.h>
#include <R_ext/Utils.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/*
 * A futex cannot be waited for together with pipes, so it is left after FUTEX_S for poll, which can, but
 * which costs requests. INTERRUPT_MS bounds how late a signal that arrived just before poll is noticed. A
 * server that is gone is given GONE_S for the word of its workers' death to come round.
 */
#define FUTEX_S       0.005
#define FUTEX_STEP_NS 1000000
#define GONE_S        1.0
enum { INTERRUPT_MS = 250, SERVER_FDS = 3 };

struct waiting {
    struct slot **slots;
    struct pollfd *polls; /* metadata.bin of each slot, then the server's two outputs and its news */
    int count;
    struct child *server;
    bool news; /* whether they end the wait */
    double deadline;
};

static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

enum outcome { PENDING, SETTLED, CANCELLED, NEWS };

static enum outcome judge(const struct slot *slot, int32_t flag, uint64_t round)
{
    if (flag == RECORD_FLAG_RESULT || flag == RECORD_FLAG_FAILED)
        return round > slot->seen ? SETTLED : PENDING;
    return flag == RECORD_FLAG_NONE && slot->running ? CANCELLED : PENDING;
}

/* A few milliseconds on the page of a single slot. */
static enum outcome wait_futex(struct waiting *waiting)
{
    const struct slot *slot = waiting->slots[0];
    const struct timespec step = {.tv_nsec = FUTEX_STEP_NS};
    double end = now() + FUTEX_S;
    for (;;) {
        struct record record;
        slot_look(slot, &record);
        /* Of a page that nobody changes any more poll tells what became of it. */
        if (record.version == RECORD_VERSION_GONE)
            return PENDING;
        if (judge(slot, record.flag, record.round) == SETTLED)
            return SETTLED;
        if (now() > end)
            return PENDING;
        syscall(SYS_futex, &slot->page->change, FUTEX_WAIT, record.change, &step, NULL, 0);
        if (waiting->server)
            child_relay(waiting->server);
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

static int server_fd(const struct waiting *waiting, int i)
{
    if (!waiting->server || (i == 2 && !waiting->news))
        return -1;
    return i < 2 ? waiting->server->output[i] : waiting->server->command;
}

static bool has_news(const struct child *server)
{
    char byte;
    return recv(server->command, &byte, 1, MSG_PEEK | MSG_DONTWAIT) == 1;
}

static int wait_poll(struct waiting *waiting, enum outcome *outcome)
{
    bool gone = false;
    for (;;) {
        int index = look(waiting, outcome);
        if (index)
            return index;
        double left = waiting->deadline - now();
        if (left <= 0)
            return gone ? -1 : 0;
        struct pollfd *outputs = waiting->polls + waiting->count;
        for (int i = 0; i < SERVER_FDS; i++)
            outputs[i] = (struct pollfd){.fd = server_fd(waiting, i), .events = POLLIN};
        int most = left * 1000 < INTERRUPT_MS ? (int)(left * 1000) + 1 : INTERRUPT_MS;
        if (poll(waiting->polls, (nfds_t)(waiting->count + SERVER_FDS), most) <= 0)
            for (int i = 0; i < waiting->count + SERVER_FDS; i++)
                waiting->polls[i].revents = 0;
        if (waiting->server && !child_relay(waiting->server) && !gone) {
            gone = true;
            double soon = now() + GONE_S;
            waiting->deadline = soon < waiting->deadline ? soon : waiting->deadline;
        }
        R_CheckUserInterrupt();
        if (!gone && (outputs[2].revents & POLLIN) && has_news(waiting->server)) {
            *outcome = NEWS;
            return 0;
        }
    }
}

static int wait_all(struct waiting *waiting, enum outcome *outcome)
{
    if (waiting->count == 1 && waiting->slots[0]->live) {
        *outcome = wait_futex(waiting);
        if (*outcome == SETTLED)
            return 1;
    }
    return wait_poll(waiting, outcome);
}

SEXP pyrmap_wait(SEXP slots, SEXP server, SEXP timeout, SEXP news)
{
    struct waiting waiting = {
        .count = LENGTH(slots), .server = child_get(server), .news = Rf_asLogical(news) == TRUE};
    waiting.slots = (struct slot **)R_alloc((size_t)waiting.count, sizeof(struct slot *));
    waiting.polls = (struct pollfd *)R_alloc((size_t)waiting.count + SERVER_FDS, sizeof(struct pollfd));
    for (int i = 0; i < waiting.count; i++) {
        waiting.slots[i] = slot_get(VECTOR_ELT(slots, i));
        /* The first look reads each record, which also arms poll. */
        waiting.polls[i] =
            (struct pollfd){.fd = waiting.slots[i]->record_fd, .events = POLLIN, .revents = POLLIN};
    }
    waiting.deadline = now() + Rf_asReal(timeout);
    enum outcome outcome = PENDING;
    int index = wait_all(&waiting, &outcome);
    /* A worker flushes its output before it publishes: all of it is here by now. */
    if (waiting.server)
        child_relay(waiting.server);
    if (outcome == NEWS)
        return Rf_ScalarInteger(NA_INTEGER);
    return Rf_ScalarInteger(outcome == CANCELLED ? -1 - index : index);
}

SEXP pyrmap_cores(void)
{
    return Rf_ScalarInteger(processors());
}
