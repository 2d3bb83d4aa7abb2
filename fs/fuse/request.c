// SPDX-License-Identifier: Apache-2.0
#include "fuse/request.h"

#include "base/deadline.h"

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

struct handle *request_stale_handle(const struct request_ops *ops, uint64_t nodeid)
{
    struct handle *handle = ops->open;

    while (handle && handle->nodeid != nodeid)
        handle = handle->next_open;
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
}
