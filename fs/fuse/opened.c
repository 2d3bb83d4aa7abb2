// SPDX-License-Identifier: Apache-2.0
#include "fuse/opened.h"

#include "exchange/account.h"
#include "exchange/array.h"
#include "fuse/follow.h"
#include "fuse/notify.h"
#include "fuse/stored.h"
#include "slot/page.h"
#include <errno.h>
#include <stdlib.h>

void opened_close(struct request_ops *ops, struct handle *handle)
{
    struct snapshot *text = handle->snapshot;

    /* request_handle_free takes the text off the account. */
    handle->snapshot = NULL;
    switch (request_file_kind(handle)) {
    case SLOT_FILES_ARRAY:
        array_close(ops->exchange, handle);
        break;
    case SLOT_FILES_RECORD:
    case SLOT_FILES_PAGE:
    case SLOT_FILES_VIEW:
    case SLOT_FILES_TEXT:
    case SLOT_FILES_DIRECTORY:
    case SLOT_FILES_LINK:
        slot_files_close(ops->exchange, handle);
        handle_delist(handle);
        break;
    }
    handle->snapshot = text;
    notify_forget_poll(handle);
    follow_close(ops, handle);
    request_handle_free(ops, handle);
}

/* --- the page of the record --- */

/*
 * A record page's registration. Keep it until the last handle goes, which may be after the slot: the kernel
 * may still act on our answer to another open.
 */
struct record_backing {
    int32_t id;
    uint32_t handles;
};

static enum slot_page_kind page_of(const struct handle *handle)
{
    return handle->file == SLOT_METADATA_MEM ? SLOT_PAGE_MEM : SLOT_PAGE_BIN;
}

static int register_page(struct request_ops *ops, struct slot *slot, struct handle *handle)
{
    struct slot_page *page = &slot->pages[page_of(handle)];
    struct record_backing *backing = page->backing;

    if (!backing) {
        int id;

        backing = calloc(1, sizeof(*backing));
        if (!backing)
            return -ENOMEM;
        id = transport_backing_open(ops->transport, page->fd);
        if (id < 0) {
            free(backing);
            return id;
        }
        backing->id = id;
        page->backing = backing;
    }
    backing->handles++;
    handle->backing = backing;
    return 0;
}

static void unregister_page(struct request_ops *ops, struct handle *handle)
{
    struct record_backing *backing = handle->backing;

    handle->backing = NULL;
    if (--backing->handles > 0)
        return;
    if (handle->slot)
        handle->slot->pages[page_of(handle)].backing = NULL;
    transport_backing_leave(ops->transport, backing->id);
    request_handle_forget_backing(ops, handle);
    transport_backing_close(ops->transport, backing->id);
    free(backing);
}

int opened_page(struct request_ops *ops, struct slot *slot, struct handle *handle)
{
    int result = account_open_page(ops->exchange, slot, page_of(handle));

    if (result < 0)
        return result;
    result = register_page(ops, slot, handle);
    if (result < 0)
        page_close(slot, page_of(handle));
    return result;
}

int32_t opened_page_backing(const struct handle *handle)
{
    return handle->backing ? handle->backing->id : 0;
}

/* Of a slot that is gone: another handle has it perhaps. Linear in the number of open files. */
static struct record_backing *find_backing(const struct request_ops *ops, int32_t id)
{
    for (uint32_t i = 0; i < ops->handles_room; i++) {
        const struct handle *handle = ops->handles[i];

        if (handle && handle->backing && handle->backing->id == id)
            return handle->backing;
    }
    return NULL;
}

int opened_page_again(struct request_ops *ops, struct handle *handle, int32_t backing_id)
{
    struct slot *slot = handle->slot;
    struct record_backing *backing =
        slot ? slot->pages[page_of(handle)].backing : find_backing(ops, backing_id);
    int result = slot ? account_open_page(ops->exchange, slot, page_of(handle)) : 0;

    if (result < 0)
        return result;
    if (!backing) {
        backing = calloc(1, sizeof(*backing));
        if (!backing)
            return -ENOMEM;
        backing->id = backing_id;
    }
    backing->handles++;
    handle->backing = backing;
    if (slot)
        slot->pages[page_of(handle)].backing = backing;
    return 0;
}

void opened_release_page(struct request_ops *ops, struct handle *handle, const struct caller *caller)
{
    struct slot *slot = handle->slot;
    struct record page;

    if (slot && handle->access == HANDLE_WRITES && page_read(slot, &page) == 0)
        stored_take(ops, slot, caller, &page, &slot->record);
    if (slot)
        page_close(slot, page_of(handle));
    unregister_page(ops, handle);
}

/* --- the answer to OPEN --- */

static void give_up(struct request_ops *ops, struct handle *handle)
{
    if (handle->backing)
        opened_release_page(ops, handle,
                            &(struct caller){.thread = handle->process, .process = handle->process});
    opened_close(ops, handle);
}

void opened_answer(struct request_ops *ops, fuse_req_t request, const struct fuse_file_info *fi,
                   struct handle *handle, int32_t backing_id)
{
    if (transport_reply_open(ops->transport, request, fi, backing_id) != -ENOENT)
        request_handle_answered(ops, handle);
    else
        give_up(ops, handle); /* the client was killed before our answer: no RELEASE will come */
}

void opened_reply(struct request_ops *ops, fuse_req_t request, struct fuse_file_info *fi,
                  struct handle *handle, int32_t backing_id)
{
    if (handle->slot)
        handle->times = *slot_times(handle->slot, handle->file);
    /* A handle that the next server finds is of a round that it finds. */
    exchange_commit(ops->exchange);
    fi->fh = request_handle_keep(ops, handle, fi, backing_id);
    if (!fi->fh) {
        request_reply(request, -ENOMEM);
        give_up(ops, handle);
        return;
    }
    request_handle_list(ops, handle);
    opened_answer(ops, request, fi, handle, backing_id);
}
