// SPDX-License-Identifier: Apache-2.0
#include "kernel.h"

#include "fuse/transport.h"
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

enum { BACKINGS = 1024, SOCKET_BUFFER = 8 << 20, OPENED_PASSTHROUGH = 1 << 7 };
static const uint64_t resent_bit = UINT64_C(1) << 63;

struct pending {
    uint64_t unique;
    uint32_t opcode;
    uint32_t flags; /* of OPEN */
    uint64_t nodeid, fh;
    size_t asked; /* bytes of an answer to READ, or of a WRITE */
};

static struct {
    int fd;
    uint64_t last_unique;
    struct pending pending[KERNEL_PENDING];
    unsigned pendings;
    uint64_t nodes[KERNEL_NODES];
    unsigned node_count;
    struct kernel_handle handles[KERNEL_HANDLES];
    unsigned handle_count;
    int mappings[KERNEL_MAPPINGS];
    unsigned mapping_count;
    int backings[BACKINGS]; /* by id; -1: closed, 0: never there */
    unsigned backing_count, last_backing;
    unsigned interrupts;
    struct kernel_answer answer;
} kernel = {.fd = -1};

_Noreturn void kernel_fail(const char *file, int line, const char *what)
{
    fprintf(stderr, "%s:%d: does not hold: %s (request %llu, opcode %u, answer %d of %zu bytes)\n", file,
            line, what, (unsigned long long)kernel.answer.unique,
            kernel.pendings ? kernel.pending[0].opcode : 0, kernel.answer.error, kernel.answer.size);
    abort();
}

int kernel_begin(void)
{
    const int room = SOCKET_BUFFER;
    int ends[2];

    memset(&kernel, 0, sizeof(kernel));
    KERNEL_EXPECT(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) == 0);
    for (int i = 0; i < 2; i++) { /* what a user may have is enough, most of the time */
        if (setsockopt(ends[i], SOL_SOCKET, SO_SNDBUFFORCE, &room, sizeof(room)) < 0)
            setsockopt(ends[i], SOL_SOCKET, SO_SNDBUF, &room, sizeof(room));
    }
    kernel.fd = ends[0];
    return ends[1];
}

void kernel_end(void)
{
    while (kernel_unmap())
        continue;
    for (unsigned i = 0; i < kernel.handle_count; i++) {
        if (kernel.handles[i].fd >= 0)
            close(kernel.handles[i].fd);
    }
    kernel.handle_count = 0;
    for (unsigned i = 1; i <= kernel.last_backing; i++) {
        if (kernel.backings[i] > 0)
            close(kernel.backings[i]);
    }
    close(kernel.fd);
    kernel.fd = -1;
}

/* --- backing files --- */

/* The kernel takes a reference to the open file, no new one: a lease does not see it. */
int kernel_ioctl(unsigned long request, void *argument)
{
    if (request == TRANSPORT_BACKING_OPEN) {
        const struct transport_backing *map = argument;

        KERNEL_EXPECT(map->flags == 0 && map->padding == 0);
        if (kernel.last_backing + 1 >= BACKINGS) {
            errno = ENOMEM;
            return -1;
        }
        kernel.backings[++kernel.last_backing] = fcntl(map->fd, F_DUPFD_CLOEXEC, 3);
        KERNEL_EXPECT(kernel.backings[kernel.last_backing] > 0);
        kernel.backing_count++;
        return (int)kernel.last_backing;
    }
    if (request == TRANSPORT_BACKING_CLOSE) {
        uint32_t id;

        memcpy(&id, argument, sizeof(id));
        KERNEL_EXPECT(id > 0 && id <= kernel.last_backing && kernel.backings[id] > 0);
        close(kernel.backings[id]);
        kernel.backings[id] = -1;
        kernel.backing_count--;
        return 0;
    }
    errno = ENOTTY;
    return -1;
}

unsigned kernel_backings(void)
{
    return kernel.backing_count;
}

static int open_descriptor(int fd, int flags)
{
    char path[32];

    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    return open(path, flags | O_CLOEXEC);
}

/* --- clients --- */

static void keep_mapping(int fd)
{
    if (fd < 0)
        return;
    if (kernel.mapping_count == KERNEL_MAPPINGS)
        kernel_unmap();
    kernel.mappings[kernel.mapping_count++] = fd;
}

void kernel_map(unsigned i)
{
    const struct kernel_handle *handle = kernel_handle(i);

    if (handle && handle->fd >= 0)
        keep_mapping(open_descriptor(handle->fd, (int)handle->flags & O_ACCMODE));
}

void kernel_map_path(const char *path)
{
    struct stat status;

    if (stat(path, &status) == 0)
        keep_mapping(open(path, (status.st_mode & S_IWUSR ? O_RDWR : O_RDONLY) | O_CLOEXEC));
}

bool kernel_unmap(void)
{
    if (kernel.mapping_count == 0)
        return false;
    close(kernel.mappings[0]);
    kernel.mapping_count--;
    memmove(kernel.mappings, kernel.mappings + 1, kernel.mapping_count * sizeof(kernel.mappings[0]));
    return true;
}

void kernel_store(unsigned i, uint64_t offset, const void *bytes, size_t size)
{
    const struct kernel_handle *handle = kernel_handle(i);
    struct stat status;
    uint64_t end;

    if (!handle || handle->fd < 0 || (handle->flags & O_ACCMODE) == O_RDONLY ||
        fstat(handle->fd, &status) < 0)
        return;
    end = handle->answer & FOPEN_DIRECT_IO ? (uint64_t)status.st_size : KERNEL_MESSAGE_MAX;
    if (offset < end &&
        pwrite(handle->fd, bytes, size < end - offset ? size : end - offset, (off_t)offset) < 0)
        KERNEL_EXPECT(errno == ENOSPC || errno == EFBIG);
}

/* --- what it knows --- */

unsigned kernel_pending(void)
{
    return kernel.pendings;
}

uint64_t kernel_pending_at(unsigned i)
{
    return i < kernel.pendings ? kernel.pending[i].unique : 0;
}

unsigned kernel_interrupts(void)
{
    return kernel.interrupts;
}

const struct kernel_answer *kernel_answer(void)
{
    return &kernel.answer;
}

uint64_t kernel_node(unsigned i)
{
    return i < kernel.node_count ? kernel.nodes[kernel.node_count - 1 - i] : 0;
}

unsigned kernel_handles(void)
{
    return kernel.handle_count;
}

const struct kernel_handle *kernel_handle(unsigned i)
{
    return i < kernel.handle_count ? &kernel.handles[i] : NULL;
}

static void learn_node(uint64_t nodeid)
{
    if (nodeid == 0 || nodeid == FUSE_ROOT_ID)
        return;
    for (unsigned i = 0; i < kernel.node_count; i++) {
        if (kernel.nodes[i] != nodeid)
            continue;
        kernel.node_count--;
        memmove(&kernel.nodes[i], &kernel.nodes[i + 1], (kernel.node_count - i) * sizeof(kernel.nodes[0]));
        break;
    }
    if (kernel.node_count == KERNEL_NODES) {
        kernel.node_count--;
        memmove(kernel.nodes, kernel.nodes + 1, kernel.node_count * sizeof(kernel.nodes[0]));
    }
    kernel.nodes[kernel.node_count++] = nodeid;
}

/* All files that are open on one inode go through one backing file, or through the page cache, or neither. */
static void check_modes(const struct kernel_handle *opened)
{
    const uint32_t direct = opened->answer & (FOPEN_DIRECT_IO | OPENED_PASSTHROUGH);

    for (unsigned i = 0; i < kernel.handle_count; i++) {
        const struct kernel_handle *handle = &kernel.handles[i];

        if (handle->nodeid != opened->nodeid)
            continue;
        if (handle->answer & opened->answer & OPENED_PASSTHROUGH)
            KERNEL_EXPECT(handle->backing_id == opened->backing_id);
        if (direct & OPENED_PASSTHROUGH)
            KERNEL_EXPECT(handle->answer & (FOPEN_DIRECT_IO | OPENED_PASSTHROUGH));
        if (!direct)
            KERNEL_EXPECT(!(handle->answer & OPENED_PASSTHROUGH));
    }
}

static void learn_handle(const struct pending *pending, const struct fuse_open_out *out)
{
    struct kernel_handle opened = {.fh = out->fh,
                                   .nodeid = pending->nodeid,
                                   .flags = pending->flags,
                                   .answer = out->open_flags,
                                   .fd = -1};
    uint32_t id;

    memcpy(&id, &out->padding, sizeof(id));
    if (opened.answer & OPENED_PASSTHROUGH) {
        KERNEL_EXPECT(id > 0 && id <= kernel.last_backing && kernel.backings[id] > 0);
        opened.backing_id = (int32_t)id;
        opened.fd = open_descriptor(kernel.backings[id], (int)opened.flags & O_ACCMODE);
    } else {
        KERNEL_EXPECT(id == 0);
    }
    KERNEL_EXPECT(opened.fh != 0);
    for (unsigned i = 0; i < kernel.handle_count; i++)
        KERNEL_EXPECT(kernel.handles[i].fh != opened.fh);
    check_modes(&opened);
    KERNEL_EXPECT(kernel.handle_count < KERNEL_HANDLES);
    kernel.handles[kernel.handle_count++] = opened;
}

static void forget_handle(uint64_t fh)
{
    for (unsigned i = 0; i < kernel.handle_count; i++) {
        if (kernel.handles[i].fh != fh)
            continue;
        if (kernel.handles[i].fd >= 0)
            close(kernel.handles[i].fd);
        kernel.handles[i] = kernel.handles[--kernel.handle_count];
        return;
    }
}

/* --- answers --- */

static void take_attributes(const struct fuse_attr *attributes)
{
    KERNEL_EXPECT(S_ISREG(attributes->mode) || S_ISDIR(attributes->mode) || S_ISLNK(attributes->mode));
    KERNEL_EXPECT(attributes->size <= INT64_MAX);
}

static void take_entry(const struct fuse_entry_out *entry)
{
    KERNEL_EXPECT(entry->nodeid != 0);
    take_attributes(&entry->attr);
    learn_node(entry->nodeid);
}

/* A listing is whole entries, each with a name. plus: bytes of a fuse_entry_out before each. */
static void take_listing(const char *bytes, size_t size, size_t plus)
{
    while (size > 0) {
        struct fuse_dirent entry;
        size_t length;

        KERNEL_EXPECT(size >= plus + FUSE_NAME_OFFSET);
        memcpy(&entry, bytes + plus, FUSE_NAME_OFFSET);
        length = plus + FUSE_DIRENT_ALIGN(FUSE_NAME_OFFSET + entry.namelen);
        KERNEL_EXPECT(entry.namelen > 0 && entry.namelen < 256 && length <= size);
        KERNEL_EXPECT(!memchr(bytes + plus + FUSE_NAME_OFFSET, '/', entry.namelen));
        if (plus) {
            struct fuse_entry_out out;

            memcpy(&out, bytes, sizeof(out));
            learn_node(out.nodeid);
        }
        bytes += length;
        size -= length;
    }
}

static void take_success(const struct pending *pending, const char *bytes, size_t size)
{
    union {
        struct fuse_entry_out entry;
        struct fuse_attr_out attributes;
        struct fuse_open_out open;
        struct fuse_write_out write;
    } out = {0};

    memcpy(&out, bytes, size < sizeof(out) ? size : sizeof(out));
    switch (pending->opcode) {
    case FUSE_LOOKUP:
    case FUSE_MKDIR:
    case FUSE_SYMLINK:
        KERNEL_EXPECT(size == sizeof(struct fuse_entry_out));
        take_entry(&out.entry);
        break;
    case FUSE_GETATTR:
    case FUSE_SETATTR:
        KERNEL_EXPECT(size == sizeof(struct fuse_attr_out));
        take_attributes(&out.attributes.attr);
        break;
    case FUSE_READLINK:
        KERNEL_EXPECT(size > 0 && size < PATH_MAX && !memchr(bytes, '\0', size));
        break;
    case FUSE_OPEN:
        KERNEL_EXPECT(size == sizeof(struct fuse_open_out));
        learn_handle(pending, &out.open);
        break;
    case FUSE_OPENDIR:
        KERNEL_EXPECT(size == sizeof(struct fuse_open_out));
        break;
    case FUSE_READ:
        KERNEL_EXPECT(size <= pending->asked);
        break;
    case FUSE_READDIR:
    case FUSE_READDIRPLUS:
        KERNEL_EXPECT(size <= pending->asked);
        take_listing(bytes, size, pending->opcode == FUSE_READDIR ? 0 : sizeof(struct fuse_entry_out));
        break;
    case FUSE_WRITE:
        KERNEL_EXPECT(size == sizeof(struct fuse_write_out) && out.write.size <= pending->asked);
        break;
    case FUSE_STATFS:
        KERNEL_EXPECT(size == sizeof(struct fuse_statfs_out));
        break;
    case FUSE_POLL:
        KERNEL_EXPECT(size == sizeof(struct fuse_poll_out));
        break;
    case FUSE_INIT:
        KERNEL_EXPECT(size == sizeof(struct fuse_init_out));
        break;
    case FUSE_RELEASE:
        KERNEL_EXPECT(size == 0);
        forget_handle(pending->fh);
        break;
    default:
        KERNEL_EXPECT(size == 0);
    }
}

static void take_notification(int code, size_t size)
{
    switch (code) {
    case FUSE_NOTIFY_POLL:
        KERNEL_EXPECT(size == sizeof(struct fuse_notify_poll_wakeup_out));
        break;
    case FUSE_NOTIFY_INVAL_INODE:
        KERNEL_EXPECT(size == sizeof(struct fuse_notify_inval_inode_out));
        break;
    default:
        KERNEL_EXPECT(false);
    }
}

static void take_answer(const char *bytes, size_t size)
{
    struct fuse_out_header header;
    struct pending found;
    unsigned i = 0;

    KERNEL_EXPECT(size >= sizeof(header));
    memcpy(&header, bytes, sizeof(header));
    KERNEL_EXPECT(header.len == size);
    bytes += sizeof(header);
    size -= sizeof(header);
    if (header.unique == 0) {
        take_notification(header.error, size);
        return;
    }
    kernel.answer.unique = header.unique;
    kernel.answer.error = header.error;
    kernel.answer.size = size;
    memcpy(kernel.answer.bytes, bytes, size);
    while (i < kernel.pendings && kernel.pending[i].unique != kernel.answer.unique)
        i++;
    if (i == kernel.pendings) { /* an INTERRUPT may come too early: then the kernel sends it again */
        KERNEL_EXPECT(header.unique & 1 && header.error == -EAGAIN && size == 0);
        return;
    }
    found = kernel.pending[i];
    kernel.pending[i] = kernel.pending[--kernel.pendings];
    KERNEL_EXPECT(header.error <= 0 && header.error > -512 && (header.error == 0 || size == 0));
    if (header.error == 0)
        take_success(&found, bytes, size);
}

void kernel_receive(void)
{
    static char bytes[sizeof(kernel.answer.bytes)];
    ssize_t got;

    while ((got = recv(kernel.fd, bytes, sizeof(bytes), MSG_DONTWAIT | MSG_TRUNC)) > 0) {
        KERNEL_EXPECT((size_t)got <= sizeof(bytes));
        take_answer(bytes, (size_t)got);
    }
}

/* --- requests --- */

/* Where a request has the number of the open file that it is for; 0: it has none. */
static size_t place_of_handle(uint32_t opcode)
{
    switch (opcode) {
    case FUSE_READ:
    case FUSE_WRITE:
    case FUSE_RELEASE:
    case FUSE_FSYNC:
    case FUSE_FLUSH:
    case FUSE_POLL:
    case FUSE_FALLOCATE:
    case FUSE_LSEEK:
    case FUSE_IOCTL:
        return sizeof(struct fuse_in_header);
    case FUSE_GETATTR:
    case FUSE_SETATTR:
        return sizeof(struct fuse_in_header) + offsetof(struct fuse_setattr_in, fh);
    default:
        return 0;
    }
}

static void describe(struct pending *pending, const char *message, size_t size)
{
    const size_t at = place_of_handle(pending->opcode);
    const char *body = message + sizeof(struct fuse_in_header);
    const size_t length = size - sizeof(struct fuse_in_header);
    struct fuse_read_in read = {0};
    struct fuse_open_in open = {0};

    if (at && size >= at + sizeof(pending->fh))
        memcpy(&pending->fh, message + at, sizeof(pending->fh));
    memcpy(&open, body, length < sizeof(open) ? length : sizeof(open));
    pending->flags = open.flags;
    memcpy(&read, body, length < sizeof(read) ? length : sizeof(read));
    pending->asked = read.size; /* a WRITE has it in the same place */
}

static bool uses_handle(const struct pending *pending, uint64_t fh)
{
    return fh && place_of_handle(pending->opcode) && pending->fh == fh;
}

/* Whether the kernel could send it now. */
static bool may_send(const struct pending *pending)
{
    unsigned opens = pending->opcode == FUSE_OPEN;

    if (pending->opcode == FUSE_NOTIFY_REPLY) /* to a question that the server never asks */
        return false;
    for (unsigned i = 0; i < kernel.pendings; i++) {
        const struct pending *other = &kernel.pending[i];

        opens += other->opcode == FUSE_OPEN;
        if (uses_handle(other, pending->fh) && uses_handle(pending, pending->fh) &&
            (pending->opcode == FUSE_RELEASE || other->opcode == FUSE_RELEASE))
            return false;
    }
    return kernel.handle_count + opens <= KERNEL_HANDLES && kernel.pendings < KERNEL_PENDING;
}

static bool wants_answer(uint32_t opcode)
{
    return opcode != FUSE_FORGET && opcode != FUSE_BATCH_FORGET && opcode != FUSE_INTERRUPT;
}

static uint64_t send_request(uint32_t opcode, uint64_t nodeid, const struct kernel_caller *caller,
                             const void *body, size_t size, size_t cut, uint64_t mark)
{
    static char message[sizeof(struct fuse_in_header) + KERNEL_MESSAGE_MAX];
    struct fuse_in_header header = {.opcode = opcode,
                                    .unique = (kernel.last_unique += 2) | mark |
                                              (opcode == FUSE_INTERRUPT), /* FUSE_INT_REQ_BIT */
                                    .nodeid = nodeid,
                                    .uid = caller->uid,
                                    .gid = caller->gid,
                                    .pid = (uint32_t)caller->pid};
    struct pending pending = {.unique = header.unique, .opcode = opcode, .nodeid = nodeid};

    KERNEL_EXPECT(size <= KERNEL_MESSAGE_MAX);
    if (size > 0)
        memcpy(message + sizeof(header), body, size);
    size = sizeof(header) + (cut < size ? size - cut : 0);
    header.len = (uint32_t)size;
    memcpy(message, &header, sizeof(header));
    describe(&pending, message, size);
    if (!may_send(&pending))
        return 0;
    if (wants_answer(opcode))
        kernel.pending[kernel.pendings++] = pending;
    kernel.interrupts += opcode == FUSE_INTERRUPT;
    KERNEL_EXPECT(send(kernel.fd, message, size, 0) == (ssize_t)size);
    return pending.unique;
}

uint64_t kernel_send(uint32_t opcode, uint64_t nodeid, const struct kernel_caller *caller, const void *body,
                     size_t size, size_t cut)
{
    return send_request(opcode, nodeid, caller, body, size, cut, 0);
}

uint64_t kernel_send_again(uint32_t opcode, uint64_t nodeid, const struct kernel_caller *caller,
                           const void *body, size_t size, size_t cut)
{
    return send_request(opcode, nodeid, caller, body, size, cut, resent_bit);
}
