// SPDX-License-Identifier: Apache-2.0
#include "fuse/follow.h"

#include "base/container.h"
#include "files/event_lines.h"
#include "fuse/notify.h"
#include "slot/handle.h"
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>

enum { READS_A_TURN = 32, BYTES_A_READ = 1 << 16 };

struct follow {
    struct event_lines lines;
};

/* A read that waits. */
struct parked_read {
    TAILQ_ENTRY(parked_read) link;
    struct request_ops *ops;
    struct handle *handle;
    fuse_req_t request;
    size_t size;
    struct deadline patience; /* how long the kernel waits: see request_ops */
};

/*
 * An event is told in the middle of a step, and no client may learn of a step that the index does not have. So
 * reads are answered in turns, which come later.
 */
struct follows {
    struct turn turn;
    bool has_turn;
    bool again; /* something happened since this walk through the reads began */
    TAILQ_HEAD(, parked_read) reads;
    struct parked_read *next; /* of the walk */
};

static struct events *events_of(const struct request_ops *ops)
{
    return exchange_events(ops->exchange);
}

/* Returns false if there is nothing that the reader may see. */
static bool answer(struct request_ops *ops, fuse_req_t request, struct handle *handle, size_t size)
{
    struct event_lines *lines = &handle->follow->lines;

    if (!event_lines_ready(lines, events_of(ops)))
        return false;
    if (size > BYTES_A_READ)
        size = BYTES_A_READ;
    size = event_lines_read(lines, events_of(ops), request_buffer, size);
    fuse_reply_buf(request, request_buffer, size);
    return true;
}

static void forget(struct parked_read *read)
{
    struct follows *follows = read->ops->follows;

    if (follows->next == read)
        follows->next = TAILQ_NEXT(read, link);
    TAILQ_REMOVE(&follows->reads, read, link);
    deadline_clear(&read->patience);
    free(read);
}

static void end(struct parked_read *read, int result)
{
    fuse_req_t request = read->request;

    forget(read);
    request_reply(request, result);
}

static void interrupted(fuse_req_t request, void *data)
{
    (void)request;
    end(data, -EINTR);
}

static void out_of_patience(struct deadline *deadline)
{
    end(container_of(deadline, struct parked_read, patience), -ETIMEDOUT);
}

static enum turn_progress take_turn(struct turn *turn)
{
    struct follows *follows = container_of(turn, struct follows, turn);

    for (int i = 0; i < READS_A_TURN && follows->next; i++) {
        struct parked_read *read = follows->next;

        follows->next = TAILQ_NEXT(read, link);
        if (answer(read->ops, read->request, read->handle, read->size))
            forget(read);
    }
    if (!follows->next && follows->again) {
        follows->again = false;
        follows->next = TAILQ_FIRST(&follows->reads);
    }
    follows->has_turn = follows->next;
    return follows->has_turn ? TURN_AGAIN : TURN_DONE;
}

/* The reads go with the session. */
static void give_up(struct turn *turn)
{
    (void)turn;
}

static void told(void *context)
{
    struct request_ops *ops = context;
    struct follows *follows = ops->follows;

    if (ops->closing)
        return;
    notify_followers(ops);
    if (follows->has_turn) {
        follows->again = true;
    } else if (!TAILQ_EMPTY(&follows->reads)) {
        follows->next = TAILQ_FIRST(&follows->reads);
        follows->has_turn = true;
        turn_add(ops->turns, &follows->turn);
    }
}

int follow_open(struct request_ops *ops, struct handle *handle)
{
    struct follow *follow = calloc(1, sizeof(*follow));
    int result = follow ? events_join(events_of(ops)) : -ENOMEM;

    if (result < 0) {
        free(follow);
        return result;
    }
    event_lines_begin(&follow->lines, events_of(ops), handle->uid);
    handle->follow = follow;
    return 0;
}

void follow_close(struct request_ops *ops, struct handle *handle)
{
    if (!handle->follow)
        return;
    events_leave(events_of(ops));
    free(handle->follow);
    handle->follow = NULL;
}

bool follow_is_ready(struct request_ops *ops, struct handle *handle)
{
    return event_lines_ready(&handle->follow->lines, events_of(ops));
}

void follow_read(struct request_ops *ops, fuse_req_t request, struct handle *handle, size_t size, int flags)
{
    struct parked_read *read;

    if (answer(ops, request, handle, size))
        return;
    if (flags & O_NONBLOCK || !ops->conf->wait || fuse_req_interrupted(request)) {
        request_reply(request, fuse_req_interrupted(request) ? -EINTR : -EAGAIN);
        return;
    }
    read = calloc(1, sizeof(*read));
    if (!read) {
        request_reply(request, -ENOMEM);
        return;
    }
    *read = (struct parked_read){.ops = ops, .handle = handle, .request = request, .size = size};
    read->patience.expired = out_of_patience;
    if (ops->patience)
        deadline_set(ops->patience, &read->patience, ops->patience_ms);
    TAILQ_INSERT_TAIL(&ops->follows->reads, read, link);
    fuse_req_interrupt_func(request, interrupted, read);
}

int follow_init(struct request_ops *ops)
{
    struct follows *follows = calloc(1, sizeof(*follows));

    if (!follows)
        return -ENOMEM;
    follows->turn = (struct turn){.take = take_turn, .give_up = give_up};
    TAILQ_INIT(&follows->reads);
    ops->follows = follows;
    events_of(ops)->told = told;
    events_of(ops)->context = ops;
    return 0;
}

void follow_deinit(struct request_ops *ops)
{
    struct follows *follows = ops->follows;
    struct parked_read *read;

    if (!follows)
        return;
    while ((read = TAILQ_FIRST(&follows->reads))) {
        TAILQ_REMOVE(&follows->reads, read, link);
        deadline_clear(&read->patience);
        free(read);
    }
    free(follows);
    ops->follows = NULL;
}
