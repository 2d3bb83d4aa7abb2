// SPDX-License-Identifier: Apache-2.0
#include "fuse/reopen.h"

#include "base/container.h"
#include "base/log.h"
#include "exchange/copy.h"
#include "files/snapshot.h"
#include "fuse/follow.h"
#include "fuse/nodeid.h"
#include "fuse/opened.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* The first of this number or above, which it sets. */
static struct session_handle *next_kept(const struct request_ops *ops, uint32_t *record)
{
    return keep_next(&ops->kept->handles, record);
}

/* --- texts --- */

struct text_again {
    struct drawing_wait wait;
    struct request_ops *ops;
    struct handle *handle;
};

static void text_ready(struct drawing_wait *wait, int result, struct snapshot *text)
{
    const struct text_again *again = container_of(wait, struct text_again, wait);

    if (result == 0)
        request_handle_charge(again->ops, again->handle, text);
}

/* A picture of the chains takes turns, so it is not made again: see reopen.h. */
static int open_daemon_file(struct request_ops *ops, struct handle *handle)
{
    struct nodeid_target inode;
    struct text_again again = {.wait.ready = text_ready, .ops = ops, .handle = handle};

    if (nodeid_decode(ops->exchange, handle->nodeid, &inode) < 0 || inode.kind != NODEID_DAEMON)
        return 0;
    if (daemon_files_is_events(inode.number))
        return follow_open(ops, handle);
    if (daemon_files_get(&ops->files, inode.number, &again.wait) == DRAWING_LATER)
        drawing_cancel(&again.wait);
    return 0;
}

static void render_again(struct request_ops *ops, struct handle *handle, const struct session_handle *kept)
{
    const struct slot_files_row *row = slot_files_row(handle->file);
    const uint64_t number =
        handle->number; /* of the failure that its reader takes, and not the present one */
    struct nodeid_target inode;
    int result;

    /* Only the same round has the same bytes. */
    if (!row->open || nodeid_decode(ops->exchange, handle->nodeid, &inode) < 0)
        return;
    result = row->open(ops->exchange, handle->slot, handle);
    handle->number = number;
    if (result == 0 && handle->snapshot) {
        struct snapshot *text = handle->snapshot;

        request_handle_charge(ops, handle, text);
        snapshot_forget(text);
    }
    if (result < 0)
        log_warning("%s: a text that process %d reads could not be made again: %s", handle->slot->name,
                    (int)kept->process, strerror(-result));
}

/* --- handles --- */

static int open_array(struct request_ops *ops, struct handle *handle, uint64_t id)
{
    struct segment *segment;
    int result = segment_restore(ops->arena, id, &segment);

    if (result == -ENOENT)
        return 0; /* its file is gone; reads of it fail */
    if (result < 0)
        return result;
    result = segment_open(ops->arena, segment);
    if (result == 0)
        handle->segment = segment;
    if (result == 0 && handle->slot)
        copy_keep(ops->exchange, handle->slot, handle->side, handle->number, segment);
    segment_unname(ops->arena, segment);
    return result;
}

static int open_again(struct request_ops *ops, struct handle *handle, const struct session_handle *kept)
{
    switch (request_file_kind(handle)) {
    case SLOT_FILES_ARRAY:
        return kept->segment_id ? open_array(ops, handle, kept->segment_id) : 0;
    case SLOT_FILES_RECORD:
    case SLOT_FILES_PAGE:
        return kept->backing_id ? opened_page_again(ops, handle, kept->backing_id) : 0;
    case SLOT_FILES_VIEW:
    case SLOT_FILES_TEXT:
        if (handle->slot)
            render_again(ops, handle, kept);
        else if (!kept->serial)
            return open_daemon_file(ops, handle);
        return 0;
    case SLOT_FILES_DIRECTORY:
    case SLOT_FILES_LINK:
        break;
    }
    return 0;
}

/* The user may have more open files than the limit is now: they are open all the same. */
static struct handle *make(struct request_ops *ops, const struct session_handle *kept)
{
    struct handle *handle = calloc(1, sizeof(*handle));

    if (!handle || quota_add_open(ops->quota, kept->uid, 0) < 0) {
        free(handle);
        return NULL;
    }
    handle->nodeid = kept->nodeid;
    handle->opener = kept->opener;
    handle->file = (enum slot_file)kept->file;
    handle->access = (enum handle_access)kept->access;
    handle->side = (enum record_side)kept->side;
    handle->process = kept->process;
    handle->worker = kept->worker;
    handle->uid = kept->uid;
    handle->gid = kept->gid;
    handle->number = kept->number;
    handle->times = kept->times;
    handle->has_read = kept->has_read;
    handle->seen_change = kept->seen_change;
    return handle;
}

static int reopen(struct request_ops *ops, uint32_t record)
{
    const struct session_handle *kept = keep_at(&ops->kept->handles, record);
    struct slot *slot = kept->serial ? slot_at(exchange_slots(ops->exchange), kept->slot) : NULL;
    struct handle *handle = make(ops, kept);
    int result = handle ? request_handle_know(ops, handle, record) : -ENOMEM;

    if (result < 0)
        return result;
    if (slot && slot->serial == kept->serial && !slot->leaving)
        handle_enlist(handle, slot);
    result = open_again(ops, handle, kept);
    if (result == 0)
        request_handle_list(ops, handle);
    return result;
}

int reopen_all(struct request_ops *ops)
{
    int result = 0;

    for (uint32_t record = 0; result == 0 && next_kept(ops, &record); record++)
        result = reopen(ops, record);
    return result;
}

bool reopen_answer(struct request_ops *ops, fuse_req_t request, struct fuse_file_info *fi)
{
    const struct session_handle *kept;

    for (uint32_t record = 0; (kept = next_kept(ops, &record)); record++) {
        if (kept->is_answered || kept->opener != transport_unique(ops->transport))
            continue;
        fi->fh = (uint64_t)kept->generation << 32 | record;
        fi->keep_cache = kept->keep_cache != 0;
        fi->direct_io = kept->direct_io != 0;
        fi->nonseekable = kept->nonseekable != 0;
        opened_answer(ops, request, fi, ops->handles[record], kept->backing_id);
        return true;
    }
    return false;
}

static bool is_known(void *context, int32_t backing_id)
{
    const struct request_ops *ops = context;
    const struct keep *segments = &ops->kept->arena.segments;
    const struct session_handle *handle;
    const struct kept_segment *segment;

    for (uint32_t record = 0; (handle = next_kept(ops, &record)); record++) {
        if (handle->backing_id == backing_id)
            return true;
    }
    for (uint32_t record = 0; (segment = keep_next(segments, &record)); record++) {
        if (segment->backing_id == backing_id)
            return true;
    }
    return false;
}

void reopen_settle(struct request_ops *ops)
{
    struct session_handle *kept;

    for (uint32_t record = 0; (kept = next_kept(ops, &record)); record++) {
        if (!kept->is_answered && !transport_awaits(ops->transport, kept->opener))
            kept->is_answered = 1;
    }
}

void reopen_backings(struct request_ops *ops)
{
    transport_backing_sweep(ops->transport, is_known, ops);
}

void reopen_wake_polls(struct request_ops *ops)
{
    const struct session_handle *kept;

    for (uint32_t record = 0; (kept = next_kept(ops, &record)); record++) {
        if (kept->poll_key)
            transport_wake_poll(ops->transport, kept->poll_key);
    }
}
