// SPDX-License-Identifier: Apache-2.0
#include "fuse/transport.h"

#include "base/log.h"
#include <errno.h>
#include <fcntl.h>
#include <linux/fuse.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/uio.h>
#include <unistd.h>

/* From fuse.h of Linux 6.9, for older headers. The numbers are the kernel's interface and do not change. */
enum { OPENED_PARALLEL_DIRECT_WRITES = 1 << 6, OPENED_PASSTHROUGH = 1 << 7 };
static const uint32_t init_ext = UINT32_C(1) << 30;
static const uint32_t init2_direct_io_mmap = UINT32_C(1) << (36 - 32);
static const uint32_t init2_passthrough = UINT32_C(1) << (37 - 32);

/* The first 64 bytes of INIT and of its reply. */
struct init_request {
    uint32_t major, minor, max_readahead, flags, flags2;
};
struct init_reply {
    uint32_t major, minor, max_readahead, flags;
    uint16_t max_background, congestion_threshold;
    uint32_t max_write, time_granularity;
    uint16_t max_pages, map_alignment;
    uint32_t flags2, max_stack_depth;
};
struct open_reply {
    uint64_t handle;
    uint32_t flags;
    int32_t backing_id; /* "padding" in older headers */
};

struct transport {
    struct fuse_session *session;
    struct fuse_buf buffer;
    int fd;
    enum conf_tristate wanted;
    enum transport_stacking stacking;
    uint64_t init_unique;
    uint32_t offered2; /* flags2 of the kernel's INIT */
    bool offered_ext;
    int served; /* in the pass of transport_serve that we are in */
    bool initialised;
    bool negotiated;
    bool (*hold)(void *context, const void *bytes, size_t size);
    void *hold_context;
    void (*before_reply)(void *context);
    void *before_context;
};

/* The OPEN reply that this thread writes. It is the thread's because the helper thread writes, too. */
static _Thread_local struct {
    bool is_open;
    uint32_t flags;     /* flags that libfuse does not know */
    int32_t backing_id; /* 0: no backing file */
} opening;

/* A process has one transport; libfuse's callbacks could only give us the userdata of the operations. */
static struct transport *the_transport;

static ssize_t read_request(int fd, void *buffer, size_t size, void *userdata)
{
    struct transport *transport = the_transport;
    ssize_t got = read(fd, buffer, size);
    struct fuse_in_header header;
    struct init_request init;

    (void)userdata;
    if (transport->initialised || got < (ssize_t)(sizeof(header) + sizeof(init)))
        return got;
    memcpy(&header, buffer, sizeof(header));
    memcpy(&init, (char *)buffer + sizeof(header), sizeof(init));
    if (header.opcode == FUSE_INIT) {
        transport->init_unique = header.unique;
        transport->offered_ext = init.flags & init_ext;
        transport->offered2 = transport->offered_ext ? init.flags2 : 0;
    }
    return got;
}

static void extend_init(struct transport *transport, void *reply, size_t size)
{
    struct init_reply init;
    uint32_t flags2 = transport->offered2 & init2_direct_io_mmap;

    if (size < sizeof(init) || !transport->offered_ext)
        return;
    if (transport->wanted != CONF_OFF)
        flags2 |= transport->offered2 & init2_passthrough;
    memcpy(&init, reply, sizeof(init));
    init.flags |= init_ext;
    init.flags2 |= flags2;
    if (flags2 & init2_passthrough) {
        init.max_stack_depth = (uint32_t)transport->stacking;
        transport->negotiated = true;
    }
    memcpy(reply, &init, sizeof(init));
}

static ssize_t write_reply(int fd, struct iovec *pieces, int count, void *userdata)
{
    struct transport *transport = the_transport;
    struct fuse_out_header header;

    (void)userdata;
    memcpy(&header, pieces[0].iov_base, sizeof(header));
    if (transport->before_reply && header.unique != 0)
        transport->before_reply(transport->before_context);
    if (count == 2 && (opening.is_open || !transport->initialised)) {
        if (!transport->initialised && header.unique == transport->init_unique) {
            extend_init(transport, pieces[1].iov_base, pieces[1].iov_len);
            transport->initialised = true;
        } else if (opening.is_open && header.error == 0 && pieces[1].iov_len == sizeof(struct open_reply)) {
            struct open_reply reply;
            memcpy(&reply, pieces[1].iov_base, sizeof(reply));
            reply.flags |= opening.flags;
            reply.backing_id = opening.backing_id;
            memcpy(pieces[1].iov_base, &reply, sizeof(reply));
        }
    }
    return writev(fd, pieces, count);
}

int transport_init(struct transport **out, struct fuse_session *session, enum conf_tristate wanted,
                   enum transport_stacking stacking)
{
    static const struct fuse_custom_io io = {.writev = write_reply, .read = read_request};
    struct transport *transport = calloc(1, sizeof(*transport));
    int flags;
    int result;

    *out = NULL;
    if (!transport)
        return -ENOMEM;
    transport->session = session;
    transport->fd = fuse_session_fd(session);
    transport->wanted = wanted;
    transport->stacking = stacking;
    the_transport = transport;
    flags = fcntl(transport->fd, F_GETFL);
    if (flags < 0 || fcntl(transport->fd, F_SETFL, flags | O_NONBLOCK) < 0)
        result = -errno;
    else
        result = fuse_session_custom_io(session, &io, transport->fd);
    if (result < 0) {
        transport_deinit(transport);
        return result;
    }
    *out = transport;
    return 0;
}

void transport_deinit(struct transport *transport)
{
    if (!transport)
        return;
    free(transport->buffer.mem);
    free(transport);
    the_transport = NULL;
}

enum transport_event transport_serve(struct transport *transport)
{
    enum { AT_ONCE = 64 }; /* requests; then pidfds, timers and signals have their turn */

    for (transport->served = 0; transport->served < AT_ONCE; transport->served++) {
        bool first;
        int got = fuse_session_receive_buf(transport->session, &transport->buffer);

        if (got == -EAGAIN)
            return TRANSPORT_IDLE;
        if (got == -EINTR)
            continue;
        if (got <= 0)
            return TRANSPORT_UNMOUNTED;
        first = !transport->initialised;
        if (transport->hold && transport->hold(transport->hold_context, transport->buffer.mem, (size_t)got))
            continue;
        fuse_session_process_buf(transport->session, &transport->buffer);
        if (fuse_session_exited(transport->session))
            return TRANSPORT_UNMOUNTED;
        if (first && transport->initialised)
            return TRANSPORT_INITIALISED;
    }
    return TRANSPORT_IDLE;
}

bool transport_is_behind(const struct transport *transport)
{
    enum { IN_A_ROW = 16 };

    return transport->served >= IN_A_ROW;
}

void transport_before_reply(struct transport *transport, void (*before)(void *context), void *context)
{
    transport->before_reply = before;
    transport->before_context = context;
}

void transport_hold(struct transport *transport, bool (*hold)(void *context, const void *bytes, size_t size),
                    void *context)
{
    transport->hold = hold;
    transport->hold_context = context;
}

void transport_replay(struct transport *transport, void *bytes, size_t size)
{
    struct fuse_buf buffer = {.size = size, .mem = bytes};

    fuse_session_process_buf(transport->session, &buffer);
}

void transport_refuse(struct transport *transport, uint64_t unique, int result)
{
    const struct fuse_out_header header = {.len = sizeof(header), .error = result, .unique = unique};

    if (write(transport->fd, &header, sizeof(header)) < 0)
        log_debug("a request could not be refused: %s", strerror(errno)); /* its client is gone */
}

bool transport_is_offered(const struct transport *transport)
{
    return transport->wanted != CONF_OFF && transport->offered2 & init2_passthrough;
}

bool transport_negotiated(const struct transport *transport)
{
    return transport->negotiated;
}

int transport_backing_open(struct transport *transport, int fd)
{
    struct transport_backing map = {.fd = fd};
    int id = ioctl(transport->fd, TRANSPORT_BACKING_OPEN, &map);

    return id < 0 ? -errno : id;
}

void transport_backing_close(struct transport *transport, int32_t backing_id)
{
    uint32_t id = (uint32_t)backing_id;

    if (backing_id > 0 && ioctl(transport->fd, TRANSPORT_BACKING_CLOSE, &id) < 0)
        log_warning("backing id %d could not be closed: %s", backing_id, strerror(errno));
}

int transport_reply_open(struct transport *transport, fuse_req_t request, const struct fuse_file_info *fi,
                         int32_t backing_id)
{
    int result;

    (void)transport;
    opening.is_open = true;
    opening.backing_id = backing_id;
    opening.flags = backing_id ? OPENED_PASSTHROUGH : 0;
    /* Allow parallel writes, or a write that waits would keep all others waiting, unkillably. */
    if (fi->direct_io)
        opening.flags |= OPENED_PARALLEL_DIRECT_WRITES;
    result = fuse_reply_open(request, fi);
    opening.is_open = false;
    return result;
}
