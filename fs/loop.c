// SPDX-License-Identifier: Apache-2.0
#include "loop.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <unistd.h>

enum { BATCH = 32 };

struct loop {
    int epoll;
    bool stopped;
    int status;
    struct epoll_event events[BATCH]; /* the batch in hand: a source removed meanwhile is struck out */
    int count;
};

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

int loop_run(struct loop *loop)
{
    while (!loop->stopped) {
        loop->count = epoll_wait(loop->epoll, loop->events, BATCH, -1);
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
