// SPDX-License-Identifier: Apache-2.0
#include "fuse/ops_file.h"

#include "base/container.h"
#include "base/log.h"
#include "exchange/account.h"
#include "exchange/array.h"
#include "exchange/put.h"
#include "exchange/refuse.h"
#include "exchange/step.h"
#include "exchange/wait.h"
#include "files/snapshot.h"
#include "fuse/follow.h"
#include "fuse/held.h"
#include "fuse/links.h"
#include "fuse/nodeid.h"
#include "fuse/notify.h"
#include "fuse/opened.h"
#include "fuse/parked.h"
#include "fuse/reopen.h"
#include "fuse/seek.h"
#include "fuse/stored.h"
#include "slot/page.h"
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* --- open --- */

/*
 * Make write(2) come to the daemon if the client may also map the array: we leave no hole under its mapping
 * and charge the bytes. With a backing id direct_io affects read(2) and write(2) only.
 */
static bool sees_writes(const struct parked *parked)
{
    switch (parked->fi.flags & O_ACCMODE) {
    case O_RDONLY:
        return false;
    case O_WRONLY:
        return !array_may_write_unseen(parked->ops->exchange, parked->handle->segment);
    default:
        return true;
    }
}

/* The last part of an open, at once or after a wait. */
static void finish_open(struct parked *parked, int result)
{
    fuse_req_t request = parked_take_request(parked);

    if (!request) {
        opened_close(parked->ops, parked->handle);
    } else if (result < 0) {
        request_reply(request, result);
        opened_close(parked->ops, parked->handle);
        exchange_run(parked->ops->exchange);
    } else {
        int32_t backing_id = parked->handle->segment->backing_id; /* 0 on the page-cache path */

        /* The kernel keeps its pages from open to open if all changes go through this inode. */
        parked->fi.keep_cache = backing_id == 0 && links_keeps_pages(parked->ops, parked->handle);
        parked->fi.direct_io = backing_id != 0 && sees_writes(parked);
        if (backing_id != 0 && handle_is_current(parked->handle))
            slot_count_in_place(parked->handle->slot, parked->handle->side);
        opened_reply(parked->ops, request, &parked->fi, parked->handle, backing_id);
    }
    free(parked);
}

static void sized_at_open(void *context, int result)
{
    finish_open(context, result);
}

static void end_open(struct wait *wait, int result)
{
    struct parked *parked = container_of(wait, struct parked, wait);
    struct handle *handle = parked->handle;
    uint64_t size, allocated;

    if (result == 0 && parked->fi.flags & O_TRUNC && handle->slot &&
        step_array_stat(parked->ops->exchange, handle->slot, handle->side, &size, &allocated) == 0 &&
        size > 0) {
        array_resize(parked->ops->exchange, handle->slot, handle->side, handle, &parked->caller,
                     RESERVE_RESIZE, 0, sized_at_open, parked);
        return;
    }
    /* Fill holes before the client can map the array: a client may have written to it past the daemon. */
    if (result == 0 && (parked->fi.flags & O_ACCMODE) != O_WRONLY && handle->slot &&
        array_has_holes(parked->ops->exchange, handle->slot, handle->side)) {
        array_fill_holes(parked->ops->exchange, handle->slot, handle->side, &parked->caller, sized_at_open,
                         parked);
        return;
    }
    finish_open(parked, result);
}

static int retry_open(struct wait *wait)
{
    struct parked *parked = container_of(wait, struct parked, wait);

    return array_open(parked->ops->exchange, wait->slot, parked->handle, &parked->caller,
                      nodeid_serial(parked->nodeid));
}

static void open_array(struct request_ops *ops, fuse_req_t request, fuse_ino_t nodeid,
                       struct fuse_file_info *fi, const struct nodeid_target *inode, struct handle *handle)
{
    struct parked *parked = parked_new(ops, request, nodeid, fi, 0);
    int result;

    if (!parked) {
        opened_close(ops, handle);
        request_reply(request, -ENOMEM);
        return;
    }
    parked->handle = handle;
    parked->wait.retry = retry_open;
    parked->wait.end = end_open;
    parked->wait.event = array_open_event(slot_file_side(inode->file), handle->access);
    result = array_open(ops->exchange, inode->slot, handle, &parked->caller, nodeid_serial(nodeid));
    if (result == WAIT_FOR_PEER)
        parked_wait(parked, inode->slot, result, fi->flags);
    else
        end_open(&parked->wait, result);
}

/* Makes the slot remember why one of its files was not opened. Returns result. */
static int refuse_open(struct request_ops *ops, struct slot *slot, const struct caller *caller, int result)
{
    if (result == -EMFILE)
        refuse_operation(ops->exchange, slot, caller, "open a file", result,
                         "the user has as many files open, or mapped, as limits.open_per_user allows");
    else if (result == -EDQUOT)
        refuse_operation(ops->exchange, slot, caller, "open a file", result,
                         "the user's open texts take as much memory as limits.memory_per_user allows");
    return result;
}

/* Charges the text that row->open made to the user who opens the file. */
static int charge_text(struct request_ops *ops, struct handle *handle)
{
    struct snapshot *text = handle->snapshot;
    int result = request_handle_charge(ops, handle, text);

    snapshot_forget(text);
    return result;
}

static void open_small(struct request_ops *ops, fuse_req_t request, struct fuse_file_info *fi,
                       const struct nodeid_target *inode, struct handle *handle)
{
    const struct slot_files_row *row = slot_files_row(inode->file);
    struct caller caller = request_caller(request);
    struct slot *slot = inode->slot;
    int result = 0;

    handle->process = caller.process;
    if (handle->access == HANDLE_WRITES && !row->write)
        result = -EACCES; /* the file is read-only; the kernel's own check lets root through */
    if (result == 0 && row->open)
        result = row->open(ops->exchange, slot, handle);
    if (result == 0 && handle->snapshot)
        result = refuse_open(ops, slot, &caller, charge_text(ops, handle));
    if (result == 0 && (row->kind == SLOT_FILES_RECORD || row->kind == SLOT_FILES_PAGE) &&
        exchange_data_path(ops->exchange) == DATA_PATH_PASSTHROUGH)
        result = opened_page(ops, slot, handle);
    if (result == 0 && fi->flags & O_TRUNC && row->resize) {
        result = row->resize(ops->exchange, slot, inode->file, 0);
        request_handle_forget_text(ops, handle);
    }
    if (result < 0) {
        opened_close(ops, handle);
        request_reply(request, result);
        return;
    }
    handle_enlist(handle, slot);
    fi->direct_io = inode->file != SLOT_DATA_NPY && inode->file != SLOT_RESULT_NPY;
    opened_reply(ops, request, fi, handle, opened_page_backing(handle));
}

/* An open of a file of .pyrmap that waits for its text. */
struct daemon_open {
    struct drawing_wait wait;
    struct request_ops *ops;
    fuse_req_t request;
    struct fuse_file_info fi;
    struct handle *handle;
};

static void text_ready(struct drawing_wait *wait, int result, struct snapshot *text)
{
    struct daemon_open *open = container_of(wait, struct daemon_open, wait);

    if (result == 0)
        result = request_handle_charge(open->ops, open->handle, text);
    if (result < 0) {
        request_reply(open->request, result);
        opened_close(open->ops, open->handle);
    } else {
        opened_reply(open->ops, open->request, &open->fi, open->handle, 0);
    }
    free(open);
}

static void open_interrupted(fuse_req_t request, void *data)
{
    struct daemon_open *open = data;

    (void)request;
    drawing_cancel(&open->wait);
    text_ready(&open->wait, -EINTR, NULL);
}

static void open_events(struct request_ops *ops, fuse_req_t request, struct fuse_file_info *fi,
                        struct handle *handle)
{
    int result = handle->access == HANDLE_WRITES ? -EACCES : follow_open(ops, handle);

    if (result < 0) {
        request_reply(request, result);
        opened_close(ops, handle);
        return;
    }
    fi->direct_io = 1;
    fi->nonseekable = 1;
    opened_reply(ops, request, fi, handle, 0);
}

static void open_daemon_file(struct request_ops *ops, fuse_req_t request, struct fuse_file_info *fi,
                             const struct nodeid_target *inode, struct handle *handle)
{
    struct daemon_open *open;

    handle->file = SLOT_METADATA_TXT; /* like any text, but of no slot */
    if (daemon_files_is_events(inode->number)) {
        open_events(ops, request, fi, handle);
        return;
    }
    open = calloc(1, sizeof(*open));
    if (!open || handle->access == HANDLE_WRITES || fuse_req_interrupted(request)) {
        request_reply(request, !open ? -ENOMEM : handle->access == HANDLE_WRITES ? -EACCES : -EINTR);
        opened_close(ops, handle);
        free(open);
        return;
    }
    *open = (struct daemon_open){
        .wait.ready = text_ready, .ops = ops, .request = request, .fi = *fi, .handle = handle};
    open->fi.direct_io = 1;
    if (daemon_files_get(&ops->files, inode->number, &open->wait) == DRAWING_LATER)
        fuse_req_interrupt_func(request, open_interrupted, open);
}

/* The kernel opens directories, and follows links, by itself. */
static bool is_file(const struct nodeid_target *inode)
{
    switch (inode->kind) {
    case NODEID_ROOT:
        return false;
    case NODEID_DAEMON:
        return inode->number != 0;
    case NODEID_SLOT:
        break;
    }
    return slot_files_row(inode->file)->kind != SLOT_FILES_DIRECTORY &&
           slot_files_row(inode->file)->kind != SLOT_FILES_LINK;
}

void ops_file_open(fuse_req_t request, fuse_ino_t nodeid, struct fuse_file_info *fi)
{
    struct request_ops *ops = request_begin(request, REQUEST_OPEN);
    struct caller caller = request_caller(request);
    struct handle *handle = NULL;
    struct nodeid_target inode;
    int result;

    if (transport_is_resent(ops->transport) && reopen_answer(ops, request, fi))
        return;
    result = nodeid_decode(ops->exchange, nodeid, &inode);
    if (result == 0 && !is_file(&inode))
        result = -EISDIR;
    if (result == 0) {
        result = request_handle_new(ops, &caller, nodeid, &handle);
        if (inode.kind == NODEID_SLOT)
            refuse_open(ops, inode.slot, &caller, result);
    }
    if (!handle) {
        request_reply(request, result);
        return;
    }
    handle->file = inode.file;
    handle->access =
        (fi->flags & O_ACCMODE) != O_RDONLY || fi->flags & O_TRUNC ? HANDLE_WRITES : HANDLE_READS;
    if (inode.kind == NODEID_DAEMON)
        open_daemon_file(ops, request, fi, &inode, handle);
    else if (request_file_kind(handle) == SLOT_FILES_ARRAY)
        open_array(ops, request, nodeid, fi, &inode, handle);
    else
        open_small(ops, request, fi, &inode, handle);
}

/* --- read and write --- */

/* A mapping of the record reads whole pages into the kernel; read(2) seldom asks for so much. */
static void note_page(struct handle *handle, size_t size, off_t offset)
{
    enum slot_files_kind kind = request_file_kind(handle);

    if (handle->slot && offset < RECORD_PAGE_SIZE && size % 4096 == 0 &&
        (kind == SLOT_FILES_RECORD || kind == SLOT_FILES_PAGE))
        handle->slot->page_shown = 1;
}

void ops_file_read(fuse_req_t request, fuse_ino_t nodeid, size_t size, off_t offset,
                   struct fuse_file_info *fi)
{
    struct request_ops *ops = request_begin(request, REQUEST_READ);
    struct handle *handle = request_handle(ops, fi);
    const struct slot_files_row *row;
    ssize_t got;

    (void)nodeid;
    if (!handle) {
        request_reply(request, -ESTALE);
        return;
    }
    row = slot_files_row(handle->file);
    if (size > REQUEST_BUFFER_SIZE)
        size = REQUEST_BUFFER_SIZE;
    if (handle->follow) {
        follow_read(ops, request, handle, size, fi->flags);
        return;
    }
    if (handle->view.read && (handle->file == SLOT_DATA_TXT || handle->file == SLOT_RESULT_TXT)) {
        seek_and_read(ops, request, handle, size, offset);
        return;
    }
    if (row->kind == SLOT_FILES_ARRAY)
        got = handle->segment ? array_read(ops->exchange, handle, request_buffer, size, offset) : -ESTALE;
    else if (!handle->slot && !handle->snapshot && row->kind != SLOT_FILES_VIEW)
        got = -ESTALE; /* the slot is gone */
    else
        got = row->read(ops->exchange, handle, request_buffer, size, offset);
    note_page(handle, size, offset);
    if (handle->file == SLOT_METADATA_BIN)
        request_handle_note(ops, handle);
    if (got < 0)
        request_reply(request, (int)got);
    else
        fuse_reply_buf(request, request_buffer, (size_t)got);
    if (handle->file == SLOT_METADATA_BIN) /* it may have taken an outcome: see take.h */
        exchange_run(ops->exchange);
}

static void reply_write(struct request_ops *ops, struct slot *slot, int result,
                        const struct held_write *write)
{
    if (result < 0)
        request_reply(write->request, result);
    else
        held_reply_write(ops, slot, write);
}

static bool is_publish(enum handshake_event event)
{
    return event == EVENT_FLAG_INPUT || event == EVENT_FLAG_RESULT || event == EVENT_PUT_INPUT ||
           event == EVENT_PUT_RESULT;
}

/* Move the progress of a write out of the handle: other writes may come through the same handle. */
static void keep_put(struct parked *parked)
{
    parked->put = parked->handle->put;
    parked->handle->put = NULL;
}

static int retry_write(struct wait *wait)
{
    struct parked *parked = container_of(wait, struct parked, wait);
    const struct slot_files_row *row = slot_files_row(parked->handle->file);
    int result;

    parked->handle->put = parked->put;
    journal_try_again(&parked->ops->journal, exchange_slots(parked->ops->exchange), wait->slot,
                      parked->unique);
    result = row->write(parked->ops->exchange, parked->handle, &parked->caller, parked->bytes, parked->size,
                        parked->offset);
    if (result > 0)
        journal_tried_again(&parked->ops->journal);
    keep_put(parked);
    return result;
}

static void end_write(struct wait *wait, int result)
{
    struct parked *parked = container_of(wait, struct parked, wait);
    struct held_write write;

    put_drop(&parked->put);
    write = (struct held_write){.request = parked_take_request(parked),
                                .unique = parked->unique,
                                .size = parked->size,
                                .published_us = is_publish(wait->event) ? parked->began_us : 0};
    reply_write(parked->ops, wait->slot, result, &write);
    journal_tried_again(&parked->ops->journal);
    request_let_go(parked->ops, &parked->caller, parked->size);
    free(parked);
}

/* Copies the write, on the user's account of memory. Answers it and returns NULL if that is refused. */
static struct parked *copy_write(struct request_ops *ops, fuse_req_t request, const struct fuse_file_info *fi,
                                 const char *bytes, size_t size, off_t offset)
{
    struct caller caller = request_caller(request);
    struct handle *handle = request_handle(ops, fi);
    struct parked *parked = NULL;
    int result = request_hold(ops, &caller, size);

    if (result == -EDQUOT)
        refuse_operation(ops->exchange, handle->slot, &caller, "keep a write that has to wait", result,
                         "the user's waiting writes take as much memory as limits.memory_per_user allows");
    if (result == 0) {
        parked = parked_new(ops, request, 0, fi, size);
        if (!parked) {
            request_let_go(ops, &caller, size);
            result = -ENOMEM;
        }
    }
    if (!parked) {
        request_reply(request, result);
        return NULL;
    }
    memcpy(parked->bytes, bytes, size);
    parked->handle = handle;
    parked->offset = offset;
    return parked;
}

static void park_write(struct request_ops *ops, fuse_req_t request, const struct fuse_file_info *fi,
                       const char *bytes, size_t size, off_t offset, uint64_t began_us, int why)
{
    struct handle *handle = request_handle(ops, fi);
    struct parked *parked = copy_write(ops, request, fi, bytes, size, offset);

    if (!parked) {
        put_drop(&handle->put);
        return;
    }
    keep_put(parked);
    parked->began_us = began_us;
    parked->wait.event = slot_files_write_event(handle, bytes, size, offset);
    parked->wait.retry = retry_write;
    parked->wait.end = end_write;
    parked_wait(parked, handle->slot, why, fi->flags);
}

static void reply_written(fuse_req_t request, ssize_t result)
{
    if (result < 0)
        request_reply(request, (int)result);
    else
        fuse_reply_write(request, (size_t)result);
}

/* If another client took the room meanwhile, the arena is full. */
static void array_reserved(void *context, int result)
{
    struct parked *parked = context;
    struct exchange *exchange = parked->ops->exchange;
    fuse_req_t request = parked_take_request(parked);
    ssize_t written = result;

    if (request && result == 0)
        written = array_write(exchange, parked->handle, &parked->caller, parked->bytes, parked->size,
                              parked->offset);
    if (request)
        reply_written(request, written == -EAGAIN ? -ENOSPC : written);
    request_let_go(parked->ops, &parked->caller, parked->size);
    free(parked);
}

static void write_array(struct request_ops *ops, fuse_req_t request, const struct fuse_file_info *fi,
                        const char *bytes, size_t size, off_t offset)
{
    struct caller caller = request_caller(request);
    struct handle *handle = request_handle(ops, fi);
    struct parked *parked;
    ssize_t written = array_write(ops->exchange, handle, &caller, bytes, size, offset);

    if (written != -EAGAIN) {
        reply_written(request, written);
        return;
    }
    parked = copy_write(ops, request, fi, bytes, size, offset);
    if (parked)
        array_reserve_write(ops->exchange, handle, size, offset, array_reserved, parked);
}

void ops_file_write(fuse_req_t request, fuse_ino_t nodeid, const char *bytes, size_t size, off_t offset,
                    struct fuse_file_info *fi)
{
    struct request_ops *ops = request_begin(request, REQUEST_WRITE);
    struct caller caller = request_caller(request);
    struct held_write write = {.request = request, .unique = transport_unique(ops->transport), .size = size};
    struct handle *handle = request_handle(ops, fi);
    const struct slot_files_row *row;
    uint32_t change = 0;
    ssize_t result;

    (void)nodeid;
    if (!handle) {
        request_reply(request, -ESTALE);
        return;
    }
    if (handle->access != HANDLE_WRITES) { /* no row of a file that is only read has a write */
        request_reply(request, -EBADF);
        return;
    }
    row = slot_files_row(handle->file);
    if (row->kind == SLOT_FILES_ARRAY) {
        write_array(ops, request, fi, bytes, size, offset);
        return;
    }
    if (!handle->slot) {
        request_reply(request, -ESTALE);
        return;
    }
    if (fi->writepage && handle->file == SLOT_METADATA_BIN) {
        if (!caller.thread)
            caller.thread = caller.process = handle->process; /* the kernel's flusher thread sent it */
        stored_write_back(ops, handle->slot, &caller, bytes, size, offset);
        fuse_reply_write(request, size);
        return;
    }
    if (transport_is_resent(ops->transport) && journal_was_done(&ops->journal, write.unique)) {
        reply_write(ops, handle->slot, 0, &write);
        return;
    }
    journal_try(&ops->journal, exchange_slots(ops->exchange), handle->slot);
    if (fi->flags & O_APPEND && (handle->file == SLOT_TASK || handle->file == SLOT_ERROR))
        offset = row->size(ops->exchange, handle->slot, handle->file);
    if (handle->file == SLOT_METADATA_BIN || handle->file == SLOT_METADATA_TXT) {
        write.published_us = deadline_now_us();
        change = handle->slot->record.change;
    }
    result = row->write(ops->exchange, handle, &caller, bytes, size, offset);
    if (result > 0) {
        park_write(ops, request, fi, bytes, size, offset, write.published_us, (int)result);
        return;
    }
    if (write.published_us && (result < 0 || handle->slot->record.change == change ||
                               !is_publish(slot_files_write_event(handle, bytes, size, offset))))
        write.published_us = 0;
    reply_write(ops, handle->slot, (int)result, &write);
}

/* --- release --- */

void ops_file_release(fuse_req_t request, fuse_ino_t nodeid, struct fuse_file_info *fi)
{
    struct request_ops *ops = request_begin(request, REQUEST_RELEASE);
    struct caller caller = request_caller(request);
    struct handle *handle = request_handle(ops, fi);
    struct slot *slot = handle ? handle->slot : NULL;

    (void)nodeid;
    if (!handle) { /* a server has done it, and was killed before it answered */
        request_reply(request, 0);
        return;
    }
    /* We see no stores through a mapping, so set the time here, unless the client did, as cp -p does. */
    if (slot && handle->access == HANDLE_WRITES && request_file_kind(handle) == SLOT_FILES_ARRAY &&
        slot->segments[handle->side] == handle->segment && !slot->dated[handle->side])
        slot_touch(slot, handle->file);
    if (handle->backing) {
        if (!caller.thread)
            caller.thread = caller.process = handle->process; /* RELEASE often names no process */
        opened_release_page(ops, handle, &caller);
    }
    opened_close(ops, handle);
    held_reply_release(ops, request);
}
