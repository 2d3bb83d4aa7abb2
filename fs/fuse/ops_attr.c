// SPDX-License-Identifier: Apache-2.0
#include "fuse/ops_attr.h"

#include "exchange/array.h"
#include "exchange/step.h"
#include "files/snapshot.h"
#include "fuse/attributes.h"
#include "fuse/links.h"
#include "fuse/nodeid.h"
#include "fuse/notify.h"
#include "fuse/parked.h"
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <stdlib.h>

static void reply_attributes(struct request_ops *ops, fuse_req_t request, const struct nodeid_target *inode)
{
    struct stat st;
    struct attributes_timeouts timeouts = attributes_fill(ops, inode, &st);

    if (timeouts.error)
        request_reply(request, timeouts.error);
    else
        fuse_reply_attr(request, &st, timeouts.attributes);
}

/* Decode again: the slot may have another round since the background began. */
static void reply_attributes_later(void *context, int result)
{
    struct parked *parked = context;
    fuse_req_t request = parked_take_request(parked);
    struct nodeid_target inode;

    if (result == 0)
        result = nodeid_decode(parked->ops->exchange, parked->nodeid, &inode);
    if (request && result < 0)
        request_reply(request, result);
    else if (request)
        reply_attributes(parked->ops, request, &inode);
    free(parked);
}

/*
 * The holes in an array could not be filled. Refuse a process that has it open for writing, since that may
 * map it next; let all others look, open it and make it shorter.
 */
static void holes_filled(void *context, int result)
{
    struct parked *parked = context;
    struct nodeid_target inode;

    if (result < 0 && nodeid_decode(parked->ops->exchange, parked->nodeid, &inode) == 0) {
        const struct handle *handle = inode.slot->handles;
        pid_t process = parked->caller.process;

        while (handle && !(handle->nodeid == parked->nodeid && handle->access == HANDLE_WRITES &&
                           handle->process == process))
            handle = handle->next;
        if (!handle)
            result = 0;
    }
    reply_attributes_later(context, result);
}

/* fstat of a file of an earlier round, or of a slot that is gone: take the size from the open handle. */
static int stale_attributes(struct request_ops *ops, uint64_t nodeid, struct stat *st)
{
    const struct handle *handle = request_stale_handle(ops, nodeid);
    uint64_t size = 0, allocated = 0;

    if (!handle)
        return -ESTALE;
    switch (request_file_kind(handle)) {
    case SLOT_FILES_ARRAY:
        if (segment_stat(ops->arena, handle->segment, &size, &allocated) < 0)
            return -ESTALE;
        break;
    case SLOT_FILES_VIEW:
        size = (uint64_t)slot_files_view_size(handle);
        break;
    case SLOT_FILES_RECORD:
        size = RECORD_SIZE;
        break;
    case SLOT_FILES_PAGE:
        size = RECORD_PAGE_SIZE;
        break;
    case SLOT_FILES_TEXT:
    case SLOT_FILES_DIRECTORY:
    case SLOT_FILES_LINK:
        size = handle->snapshot ? snapshot_size(handle->snapshot) : 0;
        break;
    }
    *st = (struct stat){.st_mode = S_IFREG | 0400, .st_nlink = 0, .st_blksize = 4096, .st_uid = ops->uid};
    if (handle->slot) {
        st->st_mode = S_IFREG | handle->slot->modes[handle->file];
        st->st_uid = handle->slot->uid;
        st->st_gid = handle->slot->gid;
    }
    st->st_ino = request_file_kind(handle) == SLOT_FILES_ARRAY ? handle->number : nodeid;
    st->st_size = (off_t)size;
    st->st_blocks = (blkcnt_t)((allocated + 511) / 512);
    attributes_times(&handle->times, st);
    return 0;
}

void ops_attr_getattr(fuse_req_t request, fuse_ino_t nodeid, struct fuse_file_info *fi)
{
    struct request_ops *ops = request_begin(request, REQUEST_GETATTR);
    struct parked *parked;
    struct nodeid_target inode;
    struct stat st;
    int result = nodeid_decode(ops->exchange, nodeid, &inode);

    (void)fi;
    if (result < 0) {
        result = stale_attributes(ops, nodeid, &st);
        if (result < 0)
            request_reply(request, result);
        else
            fuse_reply_attr(request, &st, 3600);
        return;
    }
    if (inode.kind == NODEID_SLOT && slot_files_row(inode.file)->kind == SLOT_FILES_ARRAY &&
        array_has_holes(ops->exchange, inode.slot, slot_file_side(inode.file))) {
        parked = parked_new(ops, request, nodeid, NULL, 0);
        if (parked) {
            array_fill_holes(ops->exchange, inode.slot, slot_file_side(inode.file), &parked->caller,
                             holes_filled, parked);
            return;
        }
    }
    reply_attributes(ops, request, &inode);
}

enum {
    SET_ACCESSED = FUSE_SET_ATTR_ATIME | FUSE_SET_ATTR_ATIME_NOW,
    SET_MODIFIED = FUSE_SET_ATTR_MTIME | FUSE_SET_ATTR_MTIME_NOW,
};

static void set_times(struct slot_times *times, const struct stat *st, int mask)
{
    struct timespec now;

    clock_gettime(CLOCK_REALTIME, &now);
    if (mask & SET_ACCESSED)
        times->accessed = mask & FUSE_SET_ATTR_ATIME_NOW ? now : st->st_atim;
    if (mask & SET_MODIFIED)
        times->modified = mask & FUSE_SET_ATTR_MTIME_NOW ? now : st->st_mtim;
    times->changed = now;
}

static void set_times_of_file(const struct nodeid_target *inode, const struct stat *st, int mask)
{
    set_times(slot_times(inode->slot, inode->file), st, mask);
    slot_mark(inode->slot);
    if (mask & SET_MODIFIED && slot_file_has_side(inode->file))
        inode->slot->dated[slot_file_side(inode->file)] = 1;
}

/* Refuse to change the root's owner and mode, which the configuration sets. */
static int set_root(struct request_ops *ops, const struct stat *st, int mask)
{
    if (mask & ~(SET_ACCESSED | SET_MODIFIED))
        return -EPERM;
    set_times(slots_times(exchange_slots(ops->exchange)), st, mask);
    slots_mark(exchange_slots(ops->exchange));
    return 0;
}

static int set_owner_and_mode(struct request_ops *ops, const struct nodeid_target *inode,
                              const struct stat *st, int mask)
{
    struct slot *slot = inode->slot;
    int result = 0;

    if (mask & (FUSE_SET_ATTR_UID | FUSE_SET_ATTR_GID))
        result = exchange_chown(ops->exchange, slot, mask & FUSE_SET_ATTR_UID ? st->st_uid : slot->uid,
                                mask & FUSE_SET_ATTR_GID ? st->st_gid : slot->gid);
    if (result < 0)
        return result;
    if (mask & FUSE_SET_ATTR_MODE) {
        if (inode->file == SLOT_DIRECTORY)
            slot_chmod(slot, st->st_mode);
        else if (!slot_files_row(inode->file)->write && slot_files_row(inode->file)->kind != SLOT_FILES_ARRAY)
            slot->modes[inode->file] = st->st_mode & 0444;
        else
            slot->modes[inode->file] = st->st_mode & 0777;
        slot_touch_attributes(slot, inode->file);
    }
    if (mask & (FUSE_SET_ATTR_UID | FUSE_SET_ATTR_GID | FUSE_SET_ATTR_MODE)) {
        step_unshare(ops->exchange, slot);
        links_revoke(ops, slot);
        notify_attributes(ops, slot);
    }
    return 0;
}

static int set_small_size(struct request_ops *ops, const struct nodeid_target *inode, off_t size)
{
    const struct slot_files_row *row = slot_files_row(inode->file);

    if (row->kind == SLOT_FILES_DIRECTORY)
        return -EISDIR;
    if (!row->write)
        return -EACCES;
    if (row->resize)
        return row->resize(ops->exchange, inode->slot, inode->file, (uint64_t)size);
    return size == 0 ? 0 : -EINVAL;
}

void ops_attr_setattr(fuse_req_t request, fuse_ino_t nodeid, struct stat *st, int mask,
                      struct fuse_file_info *fi)
{
    struct request_ops *ops = request_begin(request, REQUEST_SETATTR);
    struct caller caller = request_caller(request);
    struct parked *parked;
    struct nodeid_target inode;
    int result = nodeid_decode(ops->exchange, nodeid, &inode);

    if (result == 0 && inode.kind == NODEID_ROOT) {
        result = set_root(ops, st, mask);
        if (result == 0) {
            reply_attributes(ops, request, &inode);
            return;
        }
    }
    if (result == 0 && inode.kind != NODEID_SLOT)
        result = -EPERM;
    if (result == 0 && mask & (FUSE_SET_ATTR_MODE | FUSE_SET_ATTR_UID | FUSE_SET_ATTR_GID) &&
        slot_files_row(inode.file)->kind == SLOT_FILES_ARRAY &&
        step_array_is_shared(ops->exchange, inode.slot, slot_file_side(inode.file)))
        result = -EPERM;
    if (result == 0 && mask & FUSE_SET_ATTR_SIZE && slot_files_row(inode.file)->kind != SLOT_FILES_ARRAY)
        result = set_small_size(ops, &inode, st->st_size);
    if (result == 0)
        result = set_owner_and_mode(ops, &inode, st, mask);
    if (result < 0) {
        request_reply(request, result);
        return;
    }
    if (mask & (SET_ACCESSED | SET_MODIFIED))
        set_times_of_file(&inode, st, mask);
    if (!(mask & FUSE_SET_ATTR_SIZE) || slot_files_row(inode.file)->kind != SLOT_FILES_ARRAY) {
        reply_attributes(ops, request, &inode);
        return;
    }
    parked = parked_new(ops, request, nodeid, NULL, 0);
    if (!parked) {
        request_reply(request, -ENOMEM);
        return;
    }
    array_resize(ops->exchange, inode.slot, slot_file_side(inode.file), fi ? request_handle(ops, fi) : NULL,
                 &caller, RESERVE_RESIZE, (uint64_t)st->st_size, reply_attributes_later, parked);
}

static void fallocated(void *context, int result)
{
    struct parked *parked = context;
    fuse_req_t request = parked_take_request(parked);

    if (request)
        request_reply(request, result);
    free(parked);
}

void ops_attr_fallocate(fuse_req_t request, fuse_ino_t nodeid, int mode, off_t offset, off_t length,
                        struct fuse_file_info *fi)
{
    struct request_ops *ops = request_begin(request, REQUEST_FALLOCATE);
    struct caller caller = request_caller(request);
    struct handle *handle = request_handle(ops, fi);
    struct parked *parked;

    if (!handle) {
        request_reply(request, -ESTALE);
        return;
    }
    if (handle->access != HANDLE_WRITES) {
        request_reply(request, -EBADF);
        return;
    }
    if (request_file_kind(handle) != SLOT_FILES_ARRAY || (mode & ~FALLOC_FL_KEEP_SIZE) != 0) {
        request_reply(request, -EOPNOTSUPP);
        return;
    }
    if (!handle->slot) {
        request_reply(request, -ESTALE);
        return;
    }
    parked = parked_new(ops, request, nodeid, fi, 0);
    if (!parked) {
        request_reply(request, -ENOMEM);
        return;
    }
    array_resize(ops->exchange, handle->slot, handle->side, handle, &caller,
                 mode ? RESERVE_PAGES : RESERVE_GROW, (uint64_t)offset + (uint64_t)length, fallocated,
                 parked);
}
