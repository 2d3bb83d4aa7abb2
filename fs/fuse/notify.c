// SPDX-License-Identifier: Apache-2.0
#include "fuse/notify.h"

#include "base/container.h"
#include "base/log.h"
#include "exchange/step.h"
#include "fuse/nodeid.h"
#include "slot/quota.h"
#include <stdlib.h>
#include <string.h>

void notify_attributes(struct request_ops *ops, struct slot *slot)
{
    /* A negative offset leaves pages alone and takes no lock that a pending request could hold. */
    for (int file = 0; file < SLOT_FILES; file++) {
        if (slot_file_exists(slot, (enum slot_file)file))
            fuse_lowlevel_notify_inval_inode(ops->session,
                                             nodeid_of(ops->exchange, slot, (enum slot_file)file), -1, 0);
    }
    fuse_lowlevel_notify_inval_inode(ops->session, nodeid_aside(ops->exchange, slot, SLOT_METADATA_BIN), -1,
                                     0);
    fuse_lowlevel_notify_inval_inode(ops->session, nodeid_aside(ops->exchange, slot, SLOT_METADATA_TXT), -1,
                                     0);
}

/*
 * Drop pages in the helper thread, because that can wait for a request. Do nothing else of the kind there:
 * clients that wait for the helper thread's other jobs hold locks, such as that of a directory.
 */
struct invalidation {
    struct background_job job;
    struct request_ops *ops;
    uint64_t nodeid;
    uint64_t aside; /* the same file's other inode */
    uint64_t page;  /* metadata.mem */
};

static enum background_progress invalidate(struct background_job *job)
{
    const struct invalidation *invalidation = (const struct invalidation *)job;

    fuse_lowlevel_notify_inval_inode(invalidation->ops->session, invalidation->nodeid, 0, 0);
    fuse_lowlevel_notify_inval_inode(invalidation->ops->session, invalidation->aside, 0, 0);
    fuse_lowlevel_notify_inval_inode(invalidation->ops->session, invalidation->page, 0, 0);
    return BACKGROUND_DONE;
}

static void invalidated(struct background_job *job)
{
    struct invalidation *invalidation = (struct invalidation *)job;
    struct request_ops *ops = invalidation->ops;
    uint64_t nodeid = invalidation->nodeid;
    struct nodeid_target inode;

    free(invalidation);
    if (ops->closing || nodeid_decode(ops->exchange, nodeid, &inode) < 0)
        return;
    if (inode.slot->refreshing == REFRESH_UNDER_WAY_AND_AGAIN) {
        inode.slot->refreshing = REFRESH_NOT;
        notify_record(ops, inode.slot);
    } else {
        inode.slot->refreshing = REFRESH_NOT;
    }
}

static void send_invalidation(struct request_ops *ops, struct slot *slot)
{
    struct invalidation *invalidation = calloc(1, sizeof(*invalidation));

    if (!invalidation || ops->closing) {
        free(invalidation);
        return;
    }
    invalidation->job = (struct background_job){invalidate, invalidated, BACKGROUND_URGENT, NULL};
    invalidation->ops = ops;
    invalidation->nodeid = nodeid_of(ops->exchange, slot, SLOT_METADATA_BIN);
    invalidation->aside = nodeid_aside(ops->exchange, slot, SLOT_METADATA_BIN);
    invalidation->page = nodeid_of(ops->exchange, slot, SLOT_METADATA_MEM);
    slot->page_shown = 0;
    background_submit(ops->background, &invalidation->job);
}

void notify_record(struct request_ops *ops, struct slot *slot)
{
    if (exchange_data_path(ops->exchange) == DATA_PATH_PASSTHROUGH || !slot->page_shown)
        return;
    /*
     * Run one invalidation at a time for each slot: a record may change faster than the kernel drops pages.
     */
    if (slot->refreshing != REFRESH_NOT) {
        slot->refreshing = REFRESH_UNDER_WAY_AND_AGAIN;
        return;
    }
    slot->refreshing = REFRESH_UNDER_WAY;
    send_invalidation(ops, slot);
}

void notify_all(struct request_ops *ops)
{
    struct slots *slots = exchange_slots(ops->exchange);

    for (struct slot *slot = slot_after(slots, 0); slot; slot = slot_after(slots, slot_index(slots, slot))) {
        /*
         * Attributes only: see notify_attributes. Without passthrough the kernel sees all writes, and asks for the
         * size of an array that has nothing yet: it would not take our answer to a question from before this.
         */
        for (int side = 0; side < 2 && exchange_data_path(ops->exchange) == DATA_PATH_PASSTHROUGH; side++)
            fuse_lowlevel_notify_inval_inode(
                ops->session, nodeid_of(ops->exchange, slot, slot_file_of_side((enum record_side)side)), -1,
                0);
        if (slot->record_handles > 0)
            notify_record(ops, slot);
    }
}

enum { POLLS_A_TURN = 32 };

static enum turn_progress answer_polls(struct turn *turn)
{
    struct request_ops *ops = container_of(turn, struct request_ops, answering);
    struct handle *handle;

    for (int i = 0; i < POLLS_A_TURN && (handle = LIST_FIRST(&ops->answered_polls)); i++) {
        fuse_lowlevel_notify_poll(handle->poll);
        notify_forget_poll(handle);
    }
    ops->is_answering = !LIST_EMPTY(&ops->answered_polls);
    return ops->is_answering ? TURN_AGAIN : TURN_DONE;
}

/* What is left of them goes with the session. */
static void give_up_polls(struct turn *turn)
{
    (void)turn;
}

static void rouse_polls(struct request_ops *ops, struct slot_polls *polls)
{
    struct handle *handle;

    if (LIST_EMPTY(polls))
        return;
    while ((handle = LIST_FIRST(polls))) {
        LIST_REMOVE(handle, poll_link);
        LIST_INSERT_HEAD(&ops->answered_polls, handle, poll_link);
    }
    if (ops->is_answering)
        return;
    ops->answering = (struct turn){.take = answer_polls, .give_up = give_up_polls};
    if (answer_polls(&ops->answering) == TURN_AGAIN && !ops->closing)
        turn_add(ops->turns, &ops->answering);
}

void notify_followers(struct request_ops *ops)
{
    rouse_polls(ops, &ops->followers);
}

void notify_keep_poll(struct request_ops *ops, struct handle *handle, struct fuse_pollhandle *poll)
{
    notify_forget_poll(handle);
    handle->poll = poll;
    handle->poll_key = transport_poll_key(ops->transport);
    request_handle_note(ops, handle);
    LIST_INSERT_HEAD(handle->follow ? &ops->followers : &handle->slot->polls, handle, poll_link);
}

void notify_forget_poll(struct handle *handle)
{
    if (!handle->poll)
        return;
    LIST_REMOVE(handle, poll_link);
    fuse_pollhandle_destroy(handle->poll);
    handle->poll = NULL;
}

static void record_changed(void *context, struct slot *slot)
{
    rouse_polls(context, &slot->polls);
    if (slot->record_handles > 0)
        notify_record(context, slot);
}

static void array_replaced(void *context, struct slot *slot, enum slot_file file)
{
    struct request_ops *ops = context;
    uint32_t *known = &slot->known[slot_file_side(file)];

    if (*known)
        fuse_lowlevel_notify_inval_inode(ops->session, nodeid_of(ops->exchange, slot, file), -1, 0);
    *known = 0;
}

/* Without attributes the kernel asks at the next walk, hears ESTALE, and looks the name up again. */
static void slot_vanished(void *context, const char *name)
{
    struct request_ops *ops = context;
    struct slot *slot = slot_find(exchange_slots(ops->exchange), name);

    fuse_lowlevel_notify_inval_inode(ops->session, nodeid_of(ops->exchange, slot, SLOT_DIRECTORY), -1, 0);
    fuse_lowlevel_notify_inval_inode(ops->session, FUSE_ROOT_ID, -1, 0);
}

static void source_removed(void *context, struct slot *slot)
{
    struct request_ops *ops = context;

    fuse_lowlevel_notify_inval_inode(ops->session, nodeid_of(ops->exchange, slot, SLOT_DIRECTORY), -1, 0);
}

static void slot_removing(void *context, struct slot *slot)
{
    rouse_polls(context, &slot->polls);
}

/* Register a segment once for life: a second backing id would give EIO to clients that use the first. */
static int array_opening(void *context, struct segment *segment)
{
    const struct request_ops *ops = context;
    int id;

    if (exchange_data_path(ops->exchange) != DATA_PATH_PASSTHROUGH || segment->backing_id)
        return 0;
    id = transport_backing_open(ops->transport, segment->fd);
    if (id < 0) {
        log_error("cannot register a segment for passthrough: %s", strerror(-id));
        return id;
    }
    segment->backing_id = id;
    segment_note(ops->arena, segment);
    return 0;
}

const struct exchange_hooks notify_hooks = {
    .record_changed = record_changed,
    .array_replaced = array_replaced,
    .slot_vanished = slot_vanished,
    .slot_removing = slot_removing,
    .array_opening = array_opening,
    .source_removed = source_removed,
};

void notify_leave_backing(void *context, int32_t backing_id)
{
    transport_backing_leave(((struct request_ops *)context)->transport, backing_id);
}

void notify_forget_backing(void *context, int32_t backing_id)
{
    transport_backing_close(((struct request_ops *)context)->transport, backing_id);
}

void notify_segment_freed(void *context, struct segment *segment)
{
    struct request_ops *ops = context;

    if (segment->counted)
        quota_drop_open(ops->quota, segment->charged_uid);
    segment->counted = false;
    if (ops->exchange)
        step_segment_freed(ops->exchange, segment);
}

void notify_segment_keeps_descriptor(void *context, struct segment *segment)
{
    struct request_ops *ops = context;

    segment->counted = quota_add_open(ops->quota, segment->charged_uid, 0) == 0;
}
