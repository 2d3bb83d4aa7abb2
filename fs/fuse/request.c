// SPDX-License-Identifier: Apache-2.0
#include "fuse/request.h"

#include "base/deadline.h"

#include "files/snapshot.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
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

struct handle *request_handle(const struct request_ops *ops, const struct fuse_file_info *fi)
{
    const uint32_t record = (uint32_t)fi->fh;
    const struct session_handle *kept = keep_at(&ops->kept->handles, record);

    return kept && kept->generation == fi->fh >> 32 && record < ops->handles_room ? ops->handles[record]
                                                                                  : NULL;
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
    handle->record = KEEP_NONE;
    handle->opener = transport_unique(ops->transport);
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

/* --- what the next server finds --- */

int request_handle_know(struct request_ops *ops, struct handle *handle, uint32_t record)
{
    if (record >= ops->handles_room) {
        uint32_t room = record + record / 2 + 64;
        struct handle **more = reallocarray(ops->handles, room, sizeof(struct handle *));

        if (!more)
            return -ENOMEM;
        memset(more + ops->handles_room, 0, (room - ops->handles_room) * sizeof(struct handle *));
        ops->handles = more;
        ops->handles_room = room;
    }
    ops->handles[record] = handle;
    handle->record = record;
    return 0;
}

static void fill_in(const struct request_ops *ops, const struct handle *handle, struct session_handle *kept)
{
    const struct slots *slots = exchange_slots(ops->exchange);

    kept->opener = handle->opener;
    kept->file = (uint8_t)handle->file;
    kept->access = (uint8_t)handle->access;
    kept->side = (uint8_t)handle->side;
    kept->process = handle->process;
    kept->worker = handle->worker;
    kept->uid = handle->uid;
    kept->gid = handle->gid;
    kept->slot = handle->slot ? slot_index(slots, handle->slot) : 0;
    kept->serial = handle->slot ? handle->slot->serial : 0;
    kept->segment_id = handle->segment ? handle->segment->id : 0;
    kept->number = handle->number;
    kept->times = handle->times;
}

uint64_t request_handle_keep(struct request_ops *ops, struct handle *handle, const struct fuse_file_info *fi,
                             int32_t backing_id)
{
    struct session_head *head = ops->journal.head;
    uint32_t record = keep_take(&ops->kept->handles);
    struct session_handle *kept;

    if (record == KEEP_NONE || request_handle_know(ops, handle, record) < 0)
        return 0;
    kept = keep_fresh(&ops->kept->handles, record);
    fill_in(ops, handle, kept);
    head->generation += head->generation == UINT32_MAX ? 2 : 1; /* so the number is never 0 */
    kept->generation = head->generation;
    kept->backing_id = backing_id;
    kept->keep_cache = fi->keep_cache;
    kept->direct_io = fi->direct_io;
    kept->nonseekable = fi->nonseekable;
    __atomic_store_n(&kept->nodeid, handle->nodeid, __ATOMIC_RELEASE);
    return (uint64_t)kept->generation << 32 | record;
}

void request_handle_answered(struct request_ops *ops, const struct handle *handle)
{
    struct session_handle *kept = keep_fresh(&ops->kept->handles, handle->record);

    kept->is_answered = 1;
}

void request_handle_forget_backing(struct request_ops *ops, const struct handle *handle)
{
    struct session_handle *kept = keep_at(&ops->kept->handles, handle->record);

    if (kept)
        kept->backing_id = 0;
}

void request_handle_note(struct request_ops *ops, const struct handle *handle)
{
    struct session_handle *kept = keep_fresh(&ops->kept->handles, handle->record);

    kept->seen_change = handle->seen_change;
    kept->has_read = handle->has_read;
    kept->poll_key = handle->poll_key;
}

static void forget_record(struct request_ops *ops, const struct handle *handle)
{
    if (handle->record == KEEP_NONE)
        return;
    ops->handles[handle->record] = NULL;
    keep_drop(&ops->kept->handles, handle->record);
}

void request_handle_free(struct request_ops *ops, struct handle *handle)
{
    forget_record(ops, handle);
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
    ops->started = ops->journal.head->mounted;
    ops->files.exchange = ops->exchange;
    ops->files.conf = ops->conf;
    ops->files.started_ms = ops->journal.head->mounted_ms;
    ops->files.request_names = names;
    ops->files.request_counts = ops->counts;
    ops->files.request_kinds = REQUEST_KINDS;
    ops->files.publishing = &ops->publishing;
    ops->files.takeovers = &ops->journal.head->takeovers;
    ops->files.takeover_times = &ops->journal.head->takeover_times;
    ops->files.patience_ms = ops->patience_ms;
    daemon_files_init(&ops->files, ops->turns);
}
