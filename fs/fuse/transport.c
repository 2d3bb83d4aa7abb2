// SPDX-License-Identifier: Apache-2.0
#include "fuse/transport.h"

#include "base/log.h"
#include "fuse/form.h"
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
static const uint32_t init2_has_resend = UINT32_C(1) << (39 - 32);
enum { NOTIFY_RESEND = 7 };
static const uint64_t resent_bit = UINT64_C(1) << 63;

/* The beginning of INIT, which ends before flags2 on Linux before 5.17, and of its reply. */
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

/* A request that was sent again. */
/*
 * Which of the requests that the kernel sends again are served first. The one that the last server was at comes
 * before all others, because what it did is done. An outcome was perhaps taken for a reader that has no answer yet:
 * readers come before those who would begin the next round.
 */
enum resent_rank { RESENT_IN_DOUBT, RESENT_READS, RESENT_CHANGES, RESENT_NOT };

struct resent {
    uint64_t unique; /* without resent_bit */
    enum resent_rank rank;
    uint64_t order; /* within its rank: as they first came */
    size_t size;
    char *bytes;
};

struct transport {
    struct fuse_session *session;
    struct journal *journal;
    struct session_head *head;
    const void *serving; /* the bytes of the request that we serve; NULL: none */
    struct resent *resent;
    size_t resents, next_resent, room_for_resents;
    const void *touched; /* the buffer for requests */
    bool taking_over;    /* the kernel has had its reply to INIT */
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

/* An INIT that is too long to be kept leaves no next server: see init_size. */
static void note_init(struct transport *transport, const void *bytes, size_t size)
{
    struct fuse_in_header header;
    struct init_request init = {0};
    const size_t length = size - sizeof(header);

    memcpy(&header, bytes, sizeof(header));
    memcpy(&init, (const char *)bytes + sizeof(header), length < sizeof(init) ? length : sizeof(init));
    transport->init_unique = header.unique;
    transport->offered_ext = init.flags & init_ext;
    transport->offered2 = transport->offered_ext ? init.flags2 : 0;
    transport->head->can_resend = transport->offered2 & init2_has_resend ? 1 : 0;
    if (transport->taking_over || size > sizeof(transport->head->init))
        return;
    memcpy(transport->head->init, bytes, size);
    transport->head->init_size = (uint32_t)size;
}

static ssize_t read_request(int fd, void *buffer, size_t size, void *userdata)
{
    struct transport *transport = the_transport;
    struct fuse_in_header header;
    ssize_t got;

    (void)userdata;
    /*
     * Touch the pages first: where the kernel has to get one while it copies a request, and the server is killed
     * meanwhile, it ends the request with EIO instead of keeping it for the next server.
     */
    if (transport->touched != buffer)
        memset(buffer, 0, size);
    transport->touched = buffer;
    got = read(fd, buffer, size);
    if (transport->initialised || got < (ssize_t)sizeof(header))
        return got;
    memcpy(&header, buffer, sizeof(header));
    if (header.opcode == FUSE_INIT && form_is_sound(buffer, (size_t)got))
        note_init(transport, buffer, (size_t)got);
    return got;
}

static void extend_init(struct transport *transport, void *reply, size_t size)
{
    struct init_reply init;
    uint32_t flags2 = transport->offered2 & (init2_direct_io_mmap | init2_has_resend);

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

static void note_answer(struct transport *transport, const struct iovec *answer)
{
    if (answer->iov_len > sizeof(transport->head->answer))
        return;
    memcpy(transport->head->answer, answer->iov_base, answer->iov_len);
    transport->head->answer_size = (uint32_t)answer->iov_len;
}

/* The kernel has it from the first server. One that would say another thing, a newer program, cannot go on. */
static ssize_t keep_answer(struct transport *transport, const struct iovec pieces[2])
{
    const struct session_head *head = transport->head;

    transport->initialised = pieces[1].iov_len == head->answer_size &&
                             memcmp(pieces[1].iov_base, head->answer, head->answer_size) == 0;
    return (ssize_t)(pieces[0].iov_len + pieces[1].iov_len);
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
            if (transport->taking_over)
                return keep_answer(transport, pieces);
            note_answer(transport, &pieces[1]);
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

int transport_init(struct transport **out, struct fuse_session *session, struct journal *journal,
                   enum conf_tristate wanted, enum transport_stacking stacking)
{
    static const struct fuse_custom_io io = {.writev = write_reply, .read = read_request};
    struct transport *transport = calloc(1, sizeof(*transport));
    int flags;
    int result;

    *out = NULL;
    if (!transport)
        return -ENOMEM;
    transport->session = session;
    transport->journal = journal;
    transport->head = journal->head;
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
    for (size_t i = transport->next_resent; i < transport->resents; i++)
        free(transport->resent[i].bytes);
    free(transport->resent);
    free(transport->buffer.mem);
    free(transport);
    the_transport = NULL;
}

/* --- serving --- */

static void note_arrival(struct transport *transport, uint64_t unique)
{
    struct session_head *head = transport->head;

    head->arrived[head->arrivals % SESSION_ARRIVALS] = unique & ~resent_bit;
    head->arrivals++;
}

static void process(struct transport *transport, void *bytes, size_t size)
{
    struct fuse_buf buffer = {.size = size, .mem = bytes};

    transport->serving = bytes;
    fuse_session_process_buf(transport->session, &buffer);
    transport->serving = NULL;
}

static void process_in_journal(struct transport *transport, void *bytes, size_t size)
{
    struct fuse_in_header header;

    memcpy(&header, bytes, sizeof(header));
    journal_begin(transport->journal, header.unique);
    process(transport, bytes, size);
    journal_end(transport->journal);
}

static void serve(struct transport *transport, void *bytes, size_t size)
{
    struct fuse_in_header header;

    if (size < sizeof(header))
        return;
    memcpy(&header, bytes, sizeof(header));
    if (!form_is_sound(bytes, size)) {
        log_warning("request %u of process %u is malformed and is refused", header.opcode, header.pid);
        if (form_wants_answer(bytes))
            transport_refuse(transport, header.unique, -EIO);
    } else if (journal_is_poison(transport->journal, header.unique)) {
        log_error("request %u of process %u ended two servers and is refused", header.opcode, header.pid);
        transport_refuse(transport, header.unique, -EIO);
    } else if (!transport->hold || !transport->hold(transport->hold_context, bytes, size)) {
        process_in_journal(transport, bytes, size);
    }
}

/* Returns whether there was one. */
static bool serve_resent(struct transport *transport)
{
    struct resent *resent;

    if (!transport_has_resent(transport))
        return false;
    resent = &transport->resent[transport->next_resent++];
    serve(transport, resent->bytes, resent->size);
    free(resent->bytes);
    if (!transport_has_resent(transport)) {
        free(transport->resent);
        transport->resent = NULL;
        transport->resents = transport->next_resent = 0;
    }
    return true;
}

enum transport_event transport_serve(struct transport *transport)
{
    enum { AT_ONCE = 64 }; /* requests; then pidfds, timers and signals have their turn */

    for (transport->served = 0; transport->served < AT_ONCE; transport->served++) {
        struct fuse_in_header header = {0};
        bool first;
        int got;

        if (serve_resent(transport))
            continue;
        got = fuse_session_receive_buf(transport->session, &transport->buffer);
        if (got == -EAGAIN)
            return TRANSPORT_IDLE;
        if (got == -EINTR)
            continue;
        if (got <= 0)
            return TRANSPORT_UNMOUNTED;
        first = !transport->initialised;
        if ((size_t)got >= sizeof(header))
            memcpy(&header, transport->buffer.mem, sizeof(header));
        note_arrival(transport, header.unique);
        serve(transport, transport->buffer.mem, (size_t)got);
        if (fuse_session_exited(transport->session))
            return TRANSPORT_UNMOUNTED;
        if (first && transport->initialised)
            return TRANSPORT_INITIALISED;
    }
    return TRANSPORT_IDLE;
}

/* --- taking over --- */

/* The journal has not been looked at yet, so this request does not go into it. */
int transport_take_over(struct transport *transport)
{
    transport->taking_over = true;
    note_init(transport, transport->head->init, transport->head->init_size);
    process(transport, transport->head->init, transport->head->init_size);
    return transport->initialised ? 0 : -EPROTO;
}

static int compare_numbers(const void *a, const void *b)
{
    const struct resent *first = a, *second = b;

    return (first->unique > second->unique) - (first->unique < second->unique);
}

static int compare_order(const void *a, const void *b)
{
    const struct resent *first = a, *second = b;

    if (first->rank != second->rank)
        return first->rank > second->rank ? 1 : -1;
    if (first->order != second->order)
        return first->order > second->order ? 1 : -1;
    return compare_numbers(a, b);
}

/* The kernel has them in no order. Those that came too long ago for us to know are the first. */
static void put_in_order(struct transport *transport)
{
    const struct session_head *head = transport->head;
    uint64_t from = head->arrivals > SESSION_ARRIVALS ? head->arrivals - SESSION_ARRIVALS : 0;

    if (transport->resents == 0)
        return;
    qsort(transport->resent, transport->resents, sizeof(struct resent), compare_numbers);
    for (uint64_t i = from; i < head->arrivals; i++) {
        const struct resent wanted = {.unique = head->arrived[i % SESSION_ARRIVALS]};
        struct resent *found =
            bsearch(&wanted, transport->resent, transport->resents, sizeof(struct resent), compare_numbers);

        if (found)
            found->order = i + 1;
    }
    qsort(transport->resent, transport->resents, sizeof(struct resent), compare_order);
    for (size_t i = 0; i < transport->resents; i++)
        note_arrival(transport, transport->resent[i].unique);
}

static enum resent_rank rank_of(const struct transport *transport, const char *bytes, size_t size)
{
    struct fuse_in_header header;
    struct fuse_open_in open;

    memcpy(&header, bytes, sizeof(header));
    if (!(header.unique & resent_bit) || header.opcode == FUSE_INTERRUPT)
        return RESENT_NOT;
    if (journal_is_doubtful(transport->journal, header.unique))
        return RESENT_IN_DOUBT;
    if (header.opcode == FUSE_OPEN && size >= sizeof(header) + sizeof(open)) {
        memcpy(&open, bytes + sizeof(header), sizeof(open));
        return (open.flags & O_ACCMODE) == O_RDONLY ? RESENT_READS : RESENT_CHANGES;
    }
    return header.opcode == FUSE_READ ? RESENT_READS : RESENT_CHANGES;
}

static int collect(struct transport *transport, size_t size)
{
    struct fuse_in_header header;
    struct resent *resent;

    if (transport->resents == transport->room_for_resents) {
        size_t room = transport->room_for_resents ? 2 * transport->room_for_resents : 64;
        void *more = reallocarray(transport->resent, room, sizeof(struct resent));

        if (!more)
            return -ENOMEM;
        transport->resent = more;
        transport->room_for_resents = room;
    }
    resent = &transport->resent[transport->resents];
    memcpy(&header, transport->buffer.mem, sizeof(header));
    *resent = (struct resent){.unique = header.unique & ~resent_bit,
                              .rank = rank_of(transport, transport->buffer.mem, size),
                              .size = size};
    resent->bytes = malloc(size);
    if (!resent->bytes)
        return -ENOMEM;
    memcpy(resent->bytes, transport->buffer.mem, size);
    transport->resents++;
    return 0;
}

/*
 * The kernel puts the requests that it sends again in front of all others, but for the FORGETs and INTERRUPTs
 * that it has: the first other one tells that we have them all. We serve these last.
 */
int transport_resend(struct transport *transport)
{
    const struct fuse_out_header notification = {.len = sizeof(notification), .error = NOTIFY_RESEND};
    bool more = true;
    int result = 0;

    if (write(transport->fd, &notification, sizeof(notification)) < 0)
        return -errno;
    while (more && result == 0) {
        int got = fuse_session_receive_buf(transport->session, &transport->buffer);
        struct fuse_in_header header;

        if (got == -EINTR)
            continue;
        if (got < (int)sizeof(header))
            break;
        memcpy(&header, transport->buffer.mem, sizeof(header));
        more = header.unique & resent_bit || header.opcode == FUSE_INTERRUPT ||
               header.opcode == FUSE_FORGET || header.opcode == FUSE_BATCH_FORGET;
        result = collect(transport, (size_t)got);
    }
    put_in_order(transport);
    return result;
}

bool transport_has_resent(const struct transport *transport)
{
    return transport->next_resent < transport->resents;
}

bool transport_awaits(const struct transport *transport, uint64_t unique)
{
    size_t i = transport->next_resent;

    while (i < transport->resents && transport->resent[i].unique != unique)
        i++;
    return i < transport->resents;
}

bool transport_is_resent(const struct transport *transport)
{
    struct fuse_in_header header;

    if (!transport->serving)
        return false;
    memcpy(&header, transport->serving, sizeof(header));
    return header.unique & resent_bit;
}

uint64_t transport_unique(const struct transport *transport)
{
    struct fuse_in_header header;

    if (!transport->serving)
        return 0;
    memcpy(&header, transport->serving, sizeof(header));
    return header.unique & ~resent_bit;
}

uint64_t transport_poll_key(const struct transport *transport)
{
    struct fuse_poll_in poll;

    memcpy(&poll, (const char *)transport->serving + sizeof(struct fuse_in_header), sizeof(poll));
    return poll.kh;
}

void transport_wake_poll(struct transport *transport, uint64_t key)
{
    const struct {
        struct fuse_out_header header;
        struct fuse_notify_poll_wakeup_out poll;
    } notification = {{.len = sizeof(notification), .error = FUSE_NOTIFY_POLL}, {.kh = key}};

    if (write(transport->fd, &notification, sizeof(notification)) < 0)
        log_debug("a poll could not be answered: %s", strerror(errno)); /* its client is gone */
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
    process_in_journal(transport, bytes, size);
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

    if (id < 0)
        return -errno;
    transport->head->last_backing_id = id;
    return id;
}

/* The kernel gives them in a row: one that nobody noted comes after the last that we did. */
void transport_backing_sweep(struct transport *transport, bool (*is_known)(void *context, int32_t backing_id),
                             void *context)
{
    enum { SERVERS = 16 }; /* that may have been killed at this point one after the other */
    const int32_t last = transport->head->last_backing_id;
    const uint32_t closing = (uint32_t)transport->head->closing_backing_id;

    /* It is known still if that server was killed before anything else; perhaps it has closed it. */
    if (closing && !is_known(context, (int32_t)closing))
        ioctl(transport->fd, TRANSPORT_BACKING_CLOSE, &closing);
    transport->head->closing_backing_id = 0;

    for (int32_t id = last; id > 0 && id < INT32_MAX - SERVERS && id <= last + SERVERS; id++) {
        uint32_t closed = (uint32_t)id;

        if (!is_known(context, id) && ioctl(transport->fd, TRANSPORT_BACKING_CLOSE, &closed) == 0)
            log_info("backing id %d, of which nobody knew, is closed", (int)id);
    }
}

void transport_backing_leave(struct transport *transport, int32_t backing_id)
{
    transport->head->closing_backing_id = backing_id;
}

void transport_backing_close(struct transport *transport, int32_t backing_id)
{
    uint32_t id = (uint32_t)backing_id;

    if (backing_id > 0 && ioctl(transport->fd, TRANSPORT_BACKING_CLOSE, &id) < 0)
        log_warning("backing id %d could not be closed: %s", backing_id, strerror(errno));
    transport->head->closing_backing_id = 0;
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
