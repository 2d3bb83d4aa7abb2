// SPDX-License-Identifier: Apache-2.0
#include "fuse/ops.h"

#include "fuse/follow.h"
#include "fuse/notify.h"
#include "fuse/ops_attr.h"
#include "fuse/ops_file.h"
#include "fuse/ops_name.h"
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* --- the data path --- */

enum { REASON_MAX = 160 };
/* A user that is not the daemon's. */
static const uid_t somebody_else = (uid_t)-2;

static int try_passthrough(struct request_ops *ops)
{
    int fd = arena_probe_file(ops->arena);
    int id;

    if (fd < 0)
        return fd;
    id = transport_backing_open(ops->transport, fd);
    if (id > 0) {
        transport_backing_leave(ops->transport, id);
        transport_backing_close(ops->transport, id);
    }
    close(fd);
    return id < 0 ? id : 0;
}

/* Whether there are links; if not, says why. */
static bool try_links(struct request_ops *ops, char reason[REASON_MAX])
{
    int result;

    if (ops->conf->links == CONF_LINKS_OFF) {
        snprintf(reason, REASON_MAX, "path.links = off");
        return false;
    }
    result = arena_use_links(ops->arena);
    if (result == -EOPNOTSUPP)
        snprintf(reason, REASON_MAX, "links need file leases, which this arena has not");
    else if (result < 0)
        snprintf(reason, REASON_MAX, "links need a place for the arena in /run/pyrmapfs: %s",
                 strerror(-result));
    return result == 0;
}

/* Which clients the links are for. */
static const char *who_has_links(const struct request_ops *ops)
{
    if (arena_links(ops->arena, somebody_else))
        return arena_links_writers(ops->arena, somebody_else)
                   ? "for all users"
                   : "for all users to read, for the daemon's to write";
    if (arena_kind(ops->arena) == ARENA_DIR)
        return "for the daemon's user only: others need mode 0711 of arena.path and x above it";
    return "for the daemon's user only, as memfds are";
}

int ops_settle_data_path(struct request_ops *ops, char error[CONF_ERROR_MAX])
{
    int result = -EOPNOTSUPP;
    char reason[REASON_MAX] = "path.passthrough = off", no_links[REASON_MAX];

    ops->files.can_take_over = ops->journal.head->can_resend;
    if (ops->conf->passthrough != CONF_OFF) {
        if (transport_negotiated(ops->transport))
            result = try_passthrough(ops);
        if (result == -EOPNOTSUPP)
            snprintf(reason, sizeof(reason),
                     "this kernel has no FUSE passthrough: Linux 6.9 or later is needed");
        else if (result == -EPERM)
            snprintf(reason, sizeof(reason), "passthrough needs root (CAP_SYS_ADMIN)");
        else if (result < 0)
            snprintf(reason, sizeof(reason), "the kernel refused a backing file: %s", strerror(-result));
    }
    if (result == 0) {
        exchange_set_data_path(ops->exchange, DATA_PATH_PASSTHROUGH);
        snprintf(ops->files.data_path, sizeof(ops->files.data_path),
                 "passthrough (the kernel maps segments directly)");
        return 0;
    }
    if (ops->conf->passthrough == CONF_ON) {
        snprintf(error, CONF_ERROR_MAX, "%s; path.passthrough = auto goes without", reason);
        return -EOPNOTSUPP;
    }
    if (try_links(ops, no_links)) {
        exchange_set_data_path(ops->exchange, DATA_PATH_LINKS);
        snprintf(ops->files.data_path, sizeof(ops->files.data_path),
                 "links (*.mem are the pages themselves, %s; %s)", who_has_links(ops), reason);
    } else {
        exchange_set_data_path(ops->exchange, DATA_PATH_PAGE_CACHE);
        snprintf(ops->files.data_path, sizeof(ops->files.data_path), "page cache (%s; %s)", reason, no_links);
    }
    return 0;
}

/* --- requests about the whole filesystem, and the table --- */

static void ops_connect(void *userdata, struct fuse_conn_info *connection)
{
    struct request_ops *ops = userdata;

    /* Sizes change by SETATTR and passthrough writes only, so the kernel knows when to drop pages. */
    connection->want &= ~(unsigned)(FUSE_CAP_AUTO_INVAL_DATA | FUSE_CAP_WRITEBACK_CACHE |
                                    FUSE_CAP_SPLICE_READ | FUSE_CAP_SPLICE_WRITE | FUSE_CAP_SPLICE_MOVE);
    /*
     * Do not let the kernel handle O_TRUNC itself: it would take metadata.bin for empty, and a client that
     * has it mapped through the page cache would get SIGBUS. By SETATTR the kernel learns the true size.
     */
    if (!transport_is_offered(ops->transport) || geteuid() != 0)
        connection->want &= ~(unsigned)FUSE_CAP_ATOMIC_O_TRUNC;
    connection->max_write = REQUEST_BUFFER_SIZE;
    /*
     * Let the kernel send every RELEASE at once: it is a background request, and a publish must find it done.
     */
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
    struct request_ops *ops = request_begin(request, REQUEST_STATFS);
    struct statvfs st = {.f_bsize = 4096, .f_frsize = 4096, .f_namemax = SLOT_NAME_MAX};
    uint32_t limit = slots_limit(exchange_slots(ops->exchange));
    struct ledger_usage usage;

    (void)nodeid;
    arena_usage(ops->arena, &usage);
    st.f_blocks = usage.capacity / 4096;
    st.f_bfree = usage.capacity > usage.used ? (usage.capacity - usage.used) / 4096 : 0;
    st.f_bavail = st.f_bfree;
    st.f_files = limit;
    st.f_ffree = st.f_favail = limit - slots_count(exchange_slots(ops->exchange));
    fuse_reply_statfs(request, &st);
}

static void ops_poll(fuse_req_t request, fuse_ino_t nodeid, struct fuse_file_info *fi,
                     struct fuse_pollhandle *poll)
{
    struct request_ops *ops = request_begin(request, REQUEST_POLL);
    struct handle *handle = request_handle(ops, fi);
    unsigned events = POLLIN | POLLRDNORM | POLLOUT | POLLWRNORM;

    (void)nodeid;
    if (handle && handle->follow) {
        events = follow_is_ready(ops, handle) ? POLLIN | POLLRDNORM : 0;
        if (poll)
            notify_keep_poll(ops, handle, poll);
        poll = NULL;
    } else if (handle && handle->file == SLOT_METADATA_BIN && handle->slot) {
        if (handle->has_read && handle->seen_change == handle->slot->record.change)
            events = POLLOUT | POLLWRNORM;
        if (poll) {
            notify_keep_poll(ops, handle, poll);
            poll = NULL;
        }
    } else if (!handle || handle->file == SLOT_METADATA_BIN) {
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
    request_begin(request, REQUEST_OTHER);
    request_reply(request, 0);
}

/* Leave out flush and the xattr requests: libfuse answers ENOSYS, and the kernel does not ask again. */
const struct fuse_lowlevel_ops ops_table = {
    .init = ops_connect,
    .lookup = ops_name_lookup,
    .forget = ops_forget,
    .forget_multi = ops_forget_multi,
    .getattr = ops_attr_getattr,
    .setattr = ops_attr_setattr,
    .readlink = ops_name_readlink,
    .mknod = ops_name_mknod,
    .mkdir = ops_name_mkdir,
    .unlink = ops_name_unlink,
    .rmdir = ops_name_rmdir,
    .symlink = ops_name_symlink,
    .rename = ops_name_rename,
    .link = ops_name_link,
    .open = ops_file_open,
    .read = ops_file_read,
    .write = ops_file_write,
    .release = ops_file_release,
    .fsync = ops_fsync,
    .readdir = ops_name_readdir,
    .readdirplus = ops_name_readdirplus,
    .statfs = ops_statfs,
    .create = ops_name_create,
    .poll = ops_poll,
    .fallocate = ops_attr_fallocate,
};
