// SPDX-License-Identifier: Apache-2.0
#include "fuse/request.h"

#include "base/deadline.h"

#include "files/snapshot.h"
#include <errno.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

char request_buffer[REQUEST_BUFFER_SIZE];

struct request_ops *request_begin(fuse_req_t request, enum request_kind kind)
{
    struct request_ops *ops = fuse_req_userdata(request);

    ops->counts[kind]++;
    return ops;
}

struct caller request_caller(fuse_req_t request)
{
    const struct fuse_ctx *context = fuse_req_ctx(request);

    return caller_of(context->uid, context->gid, context->pid);
}

struct handle *request_handle(const struct fuse_file_info *fi)
{
    return (struct handle *)(uintptr_t)fi->fh;
}

enum slot_files_kind request_file_kind(const struct handle *handle)
{
    return slot_files_row(handle->file)->kind;
}

static unsigned bucket_of(uint64_t nodeid)
{
    return (unsigned)((nodeid ^ nodeid >> 23) * UINT64_C(0x9e3779b97f4a7c15) >> 52); /* 12 bits */
}

static_assert(REQUEST_BUCKETS == 1 << 12, "bucket_of gives 12 bits");

/* Where each segment costs a descriptor, a user's old segments count: look first which are still mapped. */
static int count_open(struct request_ops *ops, uid_t uid)
{
    uint32_t limit = uid ? ops->conf->open_per_user : 0; /* root may have any number */
    int result = quota_add_open(ops->quota, uid, limit);

    if (result != -EMFILE)
        return result;
    segment_recheck(ops->arena);
    return quota_add_open(ops->quota, uid, limit);
}

int request_handle_new(struct request_ops *ops, const struct caller *caller, uint64_t nodeid,
                       struct handle **out)
{
    struct handle *handle = calloc(1, sizeof(*handle));
    int result = handle ? count_open(ops, caller->uid) : -ENOMEM;

    if (result < 0) {
        free(handle);
        return result;
    }
    handle->nodeid = nodeid;
    handle->uid = caller->uid;
    handle->gid = caller->gid;
    *out = handle;
    return 0;
}

static uint64_t memory_limit(const struct request_ops *ops, uid_t uid)
{
    return uid ? ops->conf->memory_per_user : 0;
}

int request_handle_charge(struct request_ops *ops, struct handle *handle, struct snapshot *text)
{
    int result = snapshot_take(text, ops->quota, handle->uid, memory_limit(ops, handle->uid));

    handle->snapshot = result == 0 ? text : NULL;
    return result;
}

void request_handle_forget_text(struct request_ops *ops, struct handle *handle)
{
    if (!handle->snapshot)
        return;
    snapshot_drop(handle->snapshot, ops->quota, handle->uid);
    handle->snapshot = NULL;
    daemon_files_closed(&ops->files);
}

void request_handle_list(struct request_ops *ops, struct handle *handle)
{
    LIST_INSERT_HEAD(&ops->open[bucket_of(handle->nodeid)], handle, open_link);
}

void request_handle_free(struct request_ops *ops, struct handle *handle)
{
    if (handle->open_link.le_prev)
        LIST_REMOVE(handle, open_link);
    request_handle_forget_text(ops, handle);
    quota_drop_open(ops->quota, handle->uid);
    free(handle);
}

int request_hold(struct request_ops *ops, const struct caller *caller, size_t size)
{
    return quota_hold(ops->quota, caller->uid, size, memory_limit(ops, caller->uid));
}

void request_let_go(struct request_ops *ops, const struct caller *caller, size_t size)
{
    quota_let_go(ops->quota, caller->uid, size);
}

struct handle *request_stale_handle(const struct request_ops *ops, uint64_t nodeid)
{
    struct handle *handle;

    LIST_FOREACH (handle, &ops->open[bucket_of(nodeid)], open_link) {
        if (handle->nodeid == nodeid)
            break;
    }
    return handle;
}

void request_reply(fuse_req_t request, int result)
{
    fuse_reply_err(request, -result);
}

void request_init(struct request_ops *ops)
{
    static const char *const names[REQUEST_KINDS] = {
        [REQUEST_LOOKUP] = "lookup",     [REQUEST_GETATTR] = "getattr",     [REQUEST_SETATTR] = "setattr",
        [REQUEST_READLINK] = "readlink", [REQUEST_MKDIR] = "mkdir",         [REQUEST_UNLINK] = "unlink",
        [REQUEST_RMDIR] = "rmdir",       [REQUEST_SYMLINK] = "symlink",     [REQUEST_RENAME] = "rename",
        [REQUEST_OPEN] = "open",         [REQUEST_READ] = "read",           [REQUEST_WRITE] = "write",
        [REQUEST_RELEASE] = "release",   [REQUEST_READDIR] = "readdir",     [REQUEST_STATFS] = "statfs",
        [REQUEST_POLL] = "poll",         [REQUEST_FALLOCATE] = "fallocate", [REQUEST_OTHER] = "other",
    };

    ops->uid = geteuid();
    ops->gid = getegid();
    clock_gettime(CLOCK_REALTIME, &ops->started);
    ops->files.exchange = ops->exchange;
    ops->files.conf = ops->conf;
    ops->files.started_ms = deadline_now_ms();
    ops->files.request_names = names;
    ops->files.request_counts = ops->counts;
    ops->files.request_kinds = REQUEST_KINDS;
    ops->files.publishing = &ops->publishing;
    ops->files.patience_ms = ops->patience_ms;
    daemon_files_init(&ops->files, ops->turns);
}
