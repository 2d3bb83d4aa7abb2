// SPDX-License-Identifier: Apache-2.0
#include "fuse/seek.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

/* One read on its way to its place. Its handle stays: the kernel sends no RELEASE during a read. */
struct seek {
    struct seek *next;
    struct seek_queue *seeks;
    fuse_req_t request;
    struct handle *handle;
    struct view_cursor cursor;
    size_t size;
    off_t offset;
};

struct seek_queue {
    struct loop_source
        source;         /* first: ready() gets it back; an eventfd that is readable while there is work */
    struct seek *first; /* in the order of their turns */
};

static void rouse(const struct seek_queue *seeks)
{
    eventfd_write(seeks->source.fd, 1);
}

static void append(struct seek_queue *seeks, struct seek *seek)
{
    struct seek **end = &seeks->first;

    while (*end)
        end = &(*end)->next;
    seek->next = NULL;
    *end = seek;
    rouse(seeks);
}

/* Rendering takes time, and the loop has others to serve: a short read makes the reader come again. */
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

static void step(struct seek *seek)
{
    int result = view_text_seek(&seek->handle->view, &seek->cursor, seek->offset);

    if (result == 0) {
        append(seek->seeks, seek);
        return;
    }
    if (result < 0) {
        request_reply(seek->request, result);
    } else {
        seek->handle->cursor = seek->cursor;
        reply(seek->request, seek->handle, seek->size, seek->offset);
    }
    free(seek);
}

static void seeks_ready(struct loop_source *source)
{
    struct seek_queue *seeks = (struct seek_queue *)source;
    struct seek *seek = seeks->first;
    eventfd_t count;

    eventfd_read(source->fd, &count);
    if (!seek)
        return;
    seeks->first = seek->next;
    if (seeks->first)
        rouse(seeks);
    step(seek);
}

static void interrupted(fuse_req_t request, void *data)
{
    struct seek *seek = data;
    struct seek **link = &seek->seeks->first;

    while (*link && *link != seek)
        link = &(*link)->next;
    if (*link)
        *link = seek->next;
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
    *seek = (struct seek){NULL, ops->seeks, request, handle, cursor, size, offset};
    append(ops->seeks, seek);
    fuse_req_interrupt_func(request, interrupted, seek);
}

int seek_queue_init(struct seek_queue **out, struct loop *loop)
{
    struct seek_queue *seeks = calloc(1, sizeof(*seeks));
    int result;

    *out = NULL;
    if (!seeks)
        return -ENOMEM;
    seeks->source.ready = seeks_ready;
    seeks->source.fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    result = seeks->source.fd < 0 ? -errno : loop_add(loop, &seeks->source);
    if (result < 0) {
        seek_queue_deinit(seeks, loop);
        return result;
    }
    *out = seeks;
    return 0;
}

void seek_queue_deinit(struct seek_queue *seeks, struct loop *loop)
{
    if (!seeks)
        return;
    while (seeks->first) {
        struct seek *seek = seeks->first;
        seeks->first = seek->next;
        request_reply(seek->request, -ECANCELED);
        free(seek);
    }
    if (seeks->source.fd >= 0) {
        loop_remove(loop, &seeks->source);
        close(seeks->source.fd);
    }
    free(seeks);
}
