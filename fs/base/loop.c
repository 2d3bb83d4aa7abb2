// SPDX-License-Identifier: Apache-2.0
#include "base/loop.h"

#include <errno.h>
#include <sched.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

enum { BATCH = 32 };

/*
 * Requests often come in rows, and waking a sleeping processor takes longer than most of them. While each
 * request comes within ROW_NS of the last one, we look for the next without sleeping, for LINGER_NS. Between
 * two looks a client gets the processor, if the scheduler has it wait for this one. On a single processor we do
 * not look: there a client always waits.
 */
enum { LINGER_NS = 30000, ROW_NS = 80000 };

struct loop {
    int epoll;
    bool has_company; /* there is more than one processor */
    bool in_row;
    bool stopped;
    int status;
    struct epoll_event events[BATCH]; /* the current batch; loop_remove clears entries */
    int count;
};

static bool has_company(void)
{
    cpu_set_t processors;

    return sched_getaffinity(0, sizeof(processors), &processors) == 0 && CPU_COUNT(&processors) > 1;
}

int loop_init(struct loop **out)
{
    struct loop *loop = calloc(1, sizeof(*loop));

    *out = NULL;
    if (!loop)
        return -ENOMEM;
    loop->epoll = epoll_create1(EPOLL_CLOEXEC);
    if (loop->epoll < 0) {
        int error = -errno;
        free(loop);
        return error;
    }
    loop->has_company = has_company();
    *out = loop;
    return 0;
}

void loop_deinit(struct loop *loop)
{
    if (!loop)
        return;
    close(loop->epoll);
    free(loop);
}

int loop_add(struct loop *loop, struct loop_source *source)
{
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = source};

    return epoll_ctl(loop->epoll, EPOLL_CTL_ADD, source->fd, &event) < 0 ? -errno : 0;
}

void loop_remove(struct loop *loop, struct loop_source *source)
{
    epoll_ctl(loop->epoll, EPOLL_CTL_DEL, source->fd, NULL);
    for (int i = 0; i < loop->count; i++) {
        if (loop->events[i].data.ptr == source)
            loop->events[i].data.ptr = NULL;
    }
}

static int64_t now_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * INT64_C(1000000000) + now.tv_nsec;
}

static int wait_for_events(struct loop *loop)
{
    int64_t begin = now_ns();
    int count = 0;

    while (loop->in_row && count == 0 && now_ns() < begin + LINGER_NS) {
        count = epoll_wait(loop->epoll, loop->events, BATCH, 0);
        if (count == 0)
            sched_yield();
    }
    if (count == 0)
        count = epoll_wait(loop->epoll, loop->events, BATCH, -1);
    loop->in_row = loop->has_company && now_ns() < begin + ROW_NS;
    return count;
}

int loop_run(struct loop *loop)
{
    while (!loop->stopped) {
        loop->count = wait_for_events(loop);
        if (loop->count < 0) {
            if (errno == EINTR)
                continue;
            return -errno;
        }
        for (int i = 0; i < loop->count && !loop->stopped; i++) {
            struct loop_source *source = loop->events[i].data.ptr;
            if (source)
                source->ready(source);
        }
        loop->count = 0;
    }
    loop->stopped = false; /* it can run again */
    return loop->status;
}

void loop_stop(struct loop *loop, int status)
{
    loop->stopped = true;
    loop->status = status;
}
