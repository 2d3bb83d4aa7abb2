// SPDX-License-Identifier: Apache-2.0
#include "fuse/seek.h"

#include "base/container.h"
#include "base/turn.h"
#include <errno.h>
#include <stdlib.h>

/* One read on the way to its place. Its handle stays open: the kernel sends no RELEASE during a read. */
struct seek {
    struct turn turn;
    struct request_ops *ops;
    fuse_req_t request;
    struct handle *handle;
    struct view_cursor cursor;
    size_t size;
    off_t offset;
};

/* Answer with a short read, so that others are served before this client reads on: rendering takes time. */
enum { MOST_AT_ONCE = 65536 };

static void reply(fuse_req_t request, struct handle *handle, size_t size, off_t offset)
{
    size_t most = size < MOST_AT_ONCE ? size : MOST_AT_ONCE;
    ssize_t got = view_text_read(&handle->view, &handle->cursor, request_buffer, most, offset);

    if (got < 0)
        request_reply(request, (int)got);
    else
        fuse_reply_buf(request, request_buffer, (size_t)got);
}

static enum turn_progress take(struct turn *turn)
{
    struct seek *seek = container_of(turn, struct seek, turn);
    int result = view_text_seek(&seek->handle->view, &seek->cursor, seek->offset);

    if (result == 0)
        return TURN_AGAIN;
    if (result < 0) {
        request_reply(seek->request, result);
    } else {
        seek->handle->cursor = seek->cursor;
        reply(seek->request, seek->handle, seek->size, seek->offset);
    }
    free(seek);
    return TURN_DONE;
}

static void give_up(struct turn *turn)
{
    struct seek *seek = container_of(turn, struct seek, turn);

    request_reply(seek->request, -ECANCELED);
    free(seek);
}

static void interrupted(fuse_req_t request, void *data)
{
    struct seek *seek = data;

    turn_remove(seek->ops->turns, &seek->turn);
    request_reply(request, -EINTR);
    free(seek);
}

void seek_and_read(struct request_ops *ops, fuse_req_t request, struct handle *handle, size_t size,
                   off_t offset)
{
    struct view_cursor cursor = handle->cursor;
    struct seek *seek;
    int result = view_text_seek(&handle->view, &cursor, offset);

    if (result < 0) {
        request_reply(request, result);
        return;
    }
    if (result > 0) {
        handle->cursor = cursor;
        reply(request, handle, size, offset);
        return;
    }
    seek = malloc(sizeof(*seek));
    if (!seek || fuse_req_interrupted(request)) {
        request_reply(request, seek ? -EINTR : -ENOMEM);
        free(seek);
        return;
    }
    *seek = (struct seek){.turn = {.take = take, .give_up = give_up},
                          .ops = ops,
                          .request = request,
                          .handle = handle,
                          .cursor = cursor,
                          .size = size,
                          .offset = offset};
    turn_add(ops->turns, &seek->turn);
    fuse_req_interrupt_func(request, interrupted, seek);
}
