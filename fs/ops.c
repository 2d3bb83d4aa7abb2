// SPDX-License-Identifier: Apache-2.0
#include "ops.h"

#include "log.h"
#include "page.h"
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

char ops_buffer[OPS_BUFFER_SIZE];

struct ops *ops_of(fuse_req_t request, enum ops_kind kind)
{
    struct ops *ops = fuse_req_userdata(request);

    ops->counts[kind]++;
    return ops;
}

struct caller ops_caller(fuse_req_t request)
{
    const struct fuse_ctx *context = fuse_req_ctx(request);

    return (struct caller){.uid = context->uid, .gid = context->gid, .thread = context->pid};
}

struct handle *ops_handle(const struct fuse_file_info *fi)
{
    return (struct handle *)(uintptr_t)fi->fh;
}

enum control_kind ops_kind_of(const struct handle *handle)
{
    return control_of(handle->file)->kind;
}

struct handle *ops_stale_handle(const struct ops *ops, uint64_t nodeid)
{
    struct handle *handle = ops->open;

    while (handle && handle->nodeid != nodeid)
        handle = handle->next_open;
    return handle;
}

void ops_reply(fuse_req_t request, int result)
{
    fuse_reply_err(request, -result);
}

void ops_init(struct ops *ops)
{
    static const char *const names[OPS_KINDS] = {
        [OPS_LOOKUP] = "lookup",     [OPS_GETATTR] = "getattr",     [OPS_SETATTR] = "setattr",
        [OPS_READLINK] = "readlink", [OPS_MKDIR] = "mkdir",         [OPS_UNLINK] = "unlink",
        [OPS_RMDIR] = "rmdir",       [OPS_SYMLINK] = "symlink",     [OPS_RENAME] = "rename",
        [OPS_OPEN] = "open",         [OPS_READ] = "read",           [OPS_WRITE] = "write",
        [OPS_RELEASE] = "release",   [OPS_READDIR] = "readdir",     [OPS_STATFS] = "statfs",
        [OPS_POLL] = "poll",         [OPS_FALLOCATE] = "fallocate", [OPS_OTHER] = "other",
    };

    ops->uid = geteuid();
    ops->gid = getegid();
    clock_gettime(CLOCK_REALTIME, &ops->started);
    ops->status.exchange = ops->exchange;
    ops->status.conf = ops->conf;
    ops->status.started_ms = deadline_now_ms();
    ops->status.request_names = names;
    ops->status.request_counts = ops->counts;
    ops->status.request_kinds = OPS_KINDS;
}

/* --- attributes --- */

/* Names of arrays and views stand for another inode in the next round: the kernel asks each time. */
static const struct ops_timeouts lasting = {3600, 3600};
static const struct ops_timeouts changing = {0, 3600};
static const struct ops_timeouts unsettled = {0, 0};
static const struct ops_timeouts rendered = {3600, 0};

static void daemon_attributes(struct ops *ops, unsigned number, struct stat *st)
{
    size_t size = 0;

    st->st_mode = number ? S_IFREG | 0444 : S_IFDIR | 0555;
    st->st_nlink = number ? 1 : 2;
    st->st_uid = ops->uid;
    st->st_gid = ops->gid;
    st->st_mtim = st->st_ctim = st->st_atim = ops->started;
    if (number) {
        free(status_file_text(&ops->status, number, &size));
        clock_gettime(CLOCK_REALTIME, &st->st_mtim);
    }
    st->st_size = (off_t)size;
}

static void array_attributes(struct ops *ops, const struct slot *slot, enum record_side side, struct stat *st)
{
    uint64_t size, allocated;

    exchange_array_stat(ops->exchange, slot, side, &size, &allocated);
    st->st_size = (off_t)size;
    st->st_blocks = (blkcnt_t)((allocated + 511) / 512);
    st->st_mtim = st->st_ctim = slot->arrays[side].changed;
}

static struct ops_timeouts slot_attributes(struct ops *ops, const struct inode *inode, struct stat *st)
{
    const struct control *control = control_of(inode->file);
    struct slot *slot = inode->slot;

    st->st_mode = S_IFREG | slot->modes[inode->file];
    st->st_nlink = 1;
    st->st_uid = slot->uid;
    st->st_gid = slot->gid;
    st->st_mtim = st->st_ctim = slot->changed[inode->file];
    switch (control->kind) {
    case CONTROL_DIRECTORY:
        st->st_mode = S_IFDIR | slot->modes[SLOT_DIRECTORY];
        st->st_nlink = 2;
        return lasting;
    case CONTROL_ARRAY:
        array_attributes(ops, slot, slot_file_side(inode->file), st);
        /* The kernel is to ask before it believes a size that has no pages yet: GETATTR fills the holes. */
        return exchange_has_holes(ops->exchange, slot, slot_file_side(inode->file)) ? unsettled : changing;
    case CONTROL_VIEW:
        st->st_mtim = st->st_ctim = slot->arrays[slot_file_side(inode->file)].changed;
        st->st_size = control->size(ops->exchange, slot, inode->file);
        return unsettled;
    case CONTROL_LINK:
        st->st_mode = S_IFLNK | 0777;
        st->st_size = control->size(ops->exchange, slot, inode->file);
        return unsettled;
    case CONTROL_RECORD:
        st->st_size = RECORD_SIZE;
        return (struct ops_timeouts){0, 1}; /* see inode_aside */
    case CONTROL_TEXT:
        break;
    }
    st->st_size = control->size(ops->exchange, slot, inode->file);
    st->st_blksize = 65536; /* stdio writes a text in one piece */
    return inode->file == SLOT_METADATA_TXT ? unsettled : rendered;
}

struct ops_timeouts ops_attributes(struct ops *ops, const struct inode *inode, struct stat *st)
{
    struct ops_timeouts timeouts = lasting;

    *st = (struct stat){.st_blksize = 4096, .st_ino = inode_number(ops->exchange, inode)};
    switch (inode->kind) {
    case INODE_ROOT:
        st->st_mode = S_IFDIR | ops->conf->root_mode;
        st->st_nlink = 3 + slots_count(ops->exchange->slots);
        st->st_uid = ops->uid;
        st->st_gid = ops->gid;
        st->st_mtim = st->st_ctim = st->st_atim = ops->started;
        return lasting;
    case INODE_DAEMON:
        daemon_attributes(ops, inode->number, st);
        timeouts = inode->number ? rendered : lasting;
        break;
    case INODE_SLOT:
        timeouts = slot_attributes(ops, inode, st);
        st->st_atim = st->st_mtim;
        break;
    }
    if (st->st_blocks == 0 && inode->kind != INODE_SLOT)
        st->st_blocks = (st->st_size + 511) / 512;
    return timeouts;
}

void ops_forget_attributes(struct ops *ops, struct slot *slot)
{
    /* A negative offset leaves pages alone and takes no lock that a pending request could hold. */
    for (int file = 0; file < SLOT_FILES; file++) {
        if (control_exists(slot, (enum slot_file)file))
            fuse_lowlevel_notify_inval_inode(ops->session,
                                             inode_of(ops->exchange, slot, (enum slot_file)file), -1, 0);
    }
    fuse_lowlevel_notify_inval_inode(ops->session, inode_aside(ops->exchange, slot, SLOT_METADATA_BIN), -1,
                                     0);
    fuse_lowlevel_notify_inval_inode(ops->session, inode_aside(ops->exchange, slot, SLOT_METADATA_TXT), -1,
                                     0);
}

/* --- what the exchange wants --- */

/*
 * Pages are dropped in the helper thread, because that can wait for a request. Nothing else is: a directory's
 * entry, say, is locked by clients that wait for the helper thread's other jobs.
 */
struct invalidation {
    struct background_job job;
    struct ops *ops;
    uint64_t nodeid;
    uint64_t aside; /* the same file's other inode */
};

static enum background_progress invalidate(struct background_job *job)
{
    const struct invalidation *invalidation = (const struct invalidation *)job;

    fuse_lowlevel_notify_inval_inode(invalidation->ops->session, invalidation->nodeid, 0, 0);
    fuse_lowlevel_notify_inval_inode(invalidation->ops->session, invalidation->aside, 0, 0);
    return BACKGROUND_DONE;
}

static void invalidated(struct background_job *job)
{
    struct invalidation *invalidation = (struct invalidation *)job;
    struct ops *ops = invalidation->ops;
    uint64_t nodeid = invalidation->nodeid;
    struct inode inode;

    free(invalidation);
    if (ops->closing || inode_decode(ops->exchange, nodeid, &inode) < 0)
        return;
    if (inode.slot->refreshing == REFRESH_UNDER_WAY_AND_AGAIN) {
        inode.slot->refreshing = REFRESH_NOT;
        ops_refresh_record(ops, inode.slot);
    } else {
        inode.slot->refreshing = REFRESH_NOT;
    }
}

static void send_invalidation(struct ops *ops, uint64_t nodeid, uint64_t aside)
{
    struct invalidation *invalidation = calloc(1, sizeof(*invalidation));

    if (!invalidation || ops->closing) {
        free(invalidation);
        return;
    }
    invalidation->job = (struct background_job){invalidate, invalidated, BACKGROUND_URGENT, NULL};
    invalidation->ops = ops;
    invalidation->nodeid = nodeid;
    invalidation->aside = aside;
    background_submit(ops->background, &invalidation->job);
}

void ops_refresh_record(struct ops *ops, struct slot *slot)
{
    if (ops->exchange->data_path != DATA_PATH_PAGE_CACHE)
        return;
    /* One at a time for each slot: a record may change faster than pages are dropped. */
    if (slot->refreshing != REFRESH_NOT) {
        slot->refreshing = REFRESH_UNDER_WAY_AND_AGAIN;
        return;
    }
    slot->refreshing = REFRESH_UNDER_WAY;
    send_invalidation(ops, inode_of(ops->exchange, slot, SLOT_METADATA_BIN),
                      inode_aside(ops->exchange, slot, SLOT_METADATA_BIN));
}

static void record_changed(void *context, struct slot *slot)
{
    struct ops *ops = context;
    bool is_open = false;

    for (struct handle *handle = slot->handles; handle; handle = handle->next) {
        if (handle->file != SLOT_METADATA_BIN)
            continue;
        is_open = true;
        if (handle->poll) {
            fuse_lowlevel_notify_poll(handle->poll);
            fuse_pollhandle_destroy(handle->poll);
            handle->poll = NULL;
        }
    }
    if (is_open)
        ops_refresh_record(ops, slot);
}

static void array_replaced(void *context, struct slot *slot, enum slot_file file)
{
    struct ops *ops = context;

    fuse_lowlevel_notify_inval_inode(ops->session, inode_of(ops->exchange, slot, file), -1, 0);
}

/* With its attributes gone the kernel asks at the next walk, hears ESTALE, and looks the name up again. */
static void slot_vanished(void *context, const char *name)
{
    struct ops *ops = context;
    struct slot *slot = slot_find(ops->exchange->slots, name);

    fuse_lowlevel_notify_inval_inode(ops->session, inode_of(ops->exchange, slot, SLOT_DIRECTORY), -1, 0);
}

static void slot_removing(void *context, struct slot *slot)
{
    (void)context;
    for (struct handle *handle = slot->handles; handle; handle = handle->next) {
        if (handle->poll) {
            fuse_lowlevel_notify_poll(handle->poll);
            fuse_pollhandle_destroy(handle->poll);
            handle->poll = NULL;
        }
    }
}

const struct exchange_hooks ops_hooks = {
    .record_changed = record_changed,
    .array_replaced = array_replaced,
    .slot_vanished = slot_vanished,
    .slot_removing = slot_removing,
};

void ops_forget_backing(void *context, int32_t backing_id)
{
    transport_backing_close(((struct ops *)context)->transport, backing_id);
}

void ops_segment_freed(void *context, struct segment *segment)
{
    struct ops *ops = context;

    if (ops->exchange)
        exchange_segment_freed(ops->exchange, segment);
}

/* --- the data path --- */

static int try_passthrough(struct ops *ops)
{
    int fd = arena_file_open(ops->arena, "probe", O_RDWR | O_CREAT);
    int id;

    if (fd < 0)
        return fd;
    id = transport_backing_open(ops->transport, fd);
    if (id > 0)
        transport_backing_close(ops->transport, id);
    close(fd);
    arena_file_unlink(ops->arena, "probe");
    return id < 0 ? id : 0;
}

int ops_settle_data_path(struct ops *ops, char error[CONF_ERROR_MAX])
{
    char reason[160] = "path.passthrough = off";

    ops->exchange->data_path = DATA_PATH_PAGE_CACHE;
    if (ops->conf->passthrough != CONF_OFF) {
        int result = transport_negotiated(ops->transport) ? try_passthrough(ops) : -EOPNOTSUPP;

        if (result == 0)
            ops->exchange->data_path = DATA_PATH_PASSTHROUGH;
        else if (result == -EOPNOTSUPP)
            snprintf(reason, sizeof(reason),
                     "this kernel has no FUSE passthrough: Linux 6.9 or later is needed");
        else if (result == -EPERM)
            snprintf(reason, sizeof(reason), "passthrough needs root (CAP_SYS_ADMIN)");
        else
            snprintf(reason, sizeof(reason), "the kernel refused a backing file: %s", strerror(-result));
    }
    if (ops->exchange->data_path == DATA_PATH_PASSTHROUGH) {
        snprintf(ops->status.data_path, sizeof(ops->status.data_path),
                 "passthrough (the kernel maps segments directly)");
        return 0;
    }
    snprintf(ops->status.data_path, sizeof(ops->status.data_path), "page cache (%s)", reason);
    if (ops->conf->passthrough == CONF_ON) {
        snprintf(error, CONF_ERROR_MAX, "%s; path.passthrough = auto goes without", reason);
        return -ENOTSUP;
    }
    return 0;
}

/* --- requests about the whole filesystem, and the table --- */

static void ops_connect(void *userdata, struct fuse_conn_info *connection)
{
    struct ops *ops = userdata;

    /* Sizes change by SETATTR and passthrough writes, which the kernel sees: no other reason to drop
     * pages.
     */
    connection->want &= ~(unsigned)(FUSE_CAP_AUTO_INVAL_DATA | FUSE_CAP_WRITEBACK_CACHE |
                                    FUSE_CAP_SPLICE_READ | FUSE_CAP_SPLICE_WRITE | FUSE_CAP_SPLICE_MOVE);
    /*
     * At an open with O_TRUNC the kernel would take every file for empty, and metadata.bin is not: who has it
     * mapped through the page cache would get SIGBUS. Asked by SETATTR it learns the true size.
     */
    if (!transport_is_offered(ops->transport) || geteuid() != 0)
        connection->want &= ~(unsigned)FUSE_CAP_ATOMIC_O_TRUNC;
    connection->max_write = OPS_BUFFER_SIZE;
    /* RELEASE is a background request: it must overtake no publish of the same client. */
    connection->max_background = UINT16_MAX;
    connection->congestion_threshold = UINT16_MAX;
}

static void ops_forget(fuse_req_t request, fuse_ino_t nodeid, uint64_t count)
{
    (void)nodeid;
    (void)count;
    fuse_reply_none(request);
}

static void ops_forget_multi(fuse_req_t request, size_t count, struct fuse_forget_data *forgets)
{
    (void)count;
    (void)forgets;
    fuse_reply_none(request);
}

static void ops_statfs(fuse_req_t request, fuse_ino_t nodeid)
{
    struct ops *ops = ops_of(request, OPS_STATFS);
    struct statvfs st = {.f_bsize = 4096, .f_frsize = 4096, .f_namemax = SLOT_NAME_MAX};
    uint32_t limit = slots_limit(ops->exchange->slots);
    struct arena_usage usage;

    (void)nodeid;
    arena_usage(ops->arena, &usage);
    st.f_blocks = usage.capacity / 4096;
    st.f_bfree = usage.capacity > usage.used ? (usage.capacity - usage.used) / 4096 : 0;
    st.f_bavail = st.f_bfree;
    st.f_files = limit;
    st.f_ffree = st.f_favail = limit - slots_count(ops->exchange->slots);
    fuse_reply_statfs(request, &st);
}

static void ops_poll(fuse_req_t request, fuse_ino_t nodeid, struct fuse_file_info *fi,
                     struct fuse_pollhandle *poll)
{
    struct handle *handle = ops_handle(fi);
    unsigned events = POLLIN | POLLRDNORM | POLLOUT | POLLWRNORM;

    (void)nodeid;
    ops_of(request, OPS_POLL);
    if (handle->file == SLOT_METADATA_BIN && handle->slot) {
        if (handle->has_read && handle->seen_change == handle->slot->record.change)
            events = POLLOUT | POLLWRNORM;
        if (poll) {
            if (handle->poll)
                fuse_pollhandle_destroy(handle->poll);
            handle->poll = poll;
            poll = NULL;
        }
    } else if (handle->file == SLOT_METADATA_BIN) {
        events |= POLLHUP | POLLERR;
    }
    if (poll)
        fuse_pollhandle_destroy(poll);
    fuse_reply_poll(request, events);
}

static void ops_fsync(fuse_req_t request, fuse_ino_t nodeid, int datasync, struct fuse_file_info *fi)
{
    (void)nodeid;
    (void)datasync;
    (void)fi;
    ops_of(request, OPS_OTHER);
    ops_reply(request, 0);
}

/* flush and the xattr requests are left out: libfuse answers ENOSYS, and the kernel does not ask again.
 */
const struct fuse_lowlevel_ops ops_table = {
    .init = ops_connect,
    .lookup = ops_lookup,
    .forget = ops_forget,
    .forget_multi = ops_forget_multi,
    .getattr = ops_getattr,
    .setattr = ops_setattr,
    .readlink = ops_readlink,
    .mknod = ops_mknod,
    .mkdir = ops_mkdir,
    .unlink = ops_unlink,
    .rmdir = ops_rmdir,
    .symlink = ops_symlink,
    .rename = ops_rename,
    .link = ops_link,
    .open = ops_open,
    .read = ops_read,
    .write = ops_write,
    .release = ops_release,
    .fsync = ops_fsync,
    .readdir = ops_readdir,
    .readdirplus = ops_readdirplus,
    .statfs = ops_statfs,
    .create = ops_create,
    .poll = ops_poll,
    .fallocate = ops_fallocate,
};
