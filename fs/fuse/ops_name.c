// SPDX-License-Identifier: Apache-2.0
#include "fuse/ops_name.h"

#include "base/log.h"
#include "exchange/array.h"
#include "exchange/chain.h"
#include "exchange/refuse.h"
#include "exchange/wait.h"
#include "fuse/attributes.h"
#include "fuse/links.h"
#include "fuse/nodeid.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char daemon_directory[] = ".pyrmap";

static void reply_entry(fuse_req_t request, struct request_ops *ops, const struct nodeid_target *inode)
{
    struct fuse_entry_param entry = {0};
    struct attributes_timeouts timeouts = attributes_fill(ops, inode, &entry.attr);

    if (timeouts.error) {
        request_reply(request, timeouts.error);
        return;
    }
    entry.ino = nodeid_encode(ops->exchange, inode);
    if (inode->kind == NODEID_SLOT &&
        (inode->file == SLOT_METADATA_BIN || inode->file == SLOT_METADATA_TXT) && wait_has_step(inode->slot))
        entry.ino = nodeid_aside(ops->exchange, inode->slot, inode->file);
    entry.attr_timeout = timeouts.attributes;
    entry.entry_timeout = timeouts.entry;
    fuse_reply_entry(request, &entry);
}

static bool is_directory(const struct nodeid_target *inode)
{
    switch (inode->kind) {
    case NODEID_ROOT:
        return true;
    case NODEID_DAEMON:
        return inode->number == 0;
    case NODEID_SLOT:
        break;
    }
    return inode->file == SLOT_DIRECTORY;
}

/* Finds what a name in a directory stands for. Returns 0, -ENOENT, -ENAMETOOLONG or -ENOTDIR. */
static int find(struct request_ops *ops, const struct nodeid_target *parent, const char *name,
                struct nodeid_target *child)
{
    *child = (struct nodeid_target){.kind = NODEID_SLOT};
    if (!is_directory(parent))
        return -ENOTDIR;
    if (strlen(name) > SLOT_NAME_MAX)
        return -ENAMETOOLONG;
    switch (parent->kind) {
    case NODEID_ROOT:
        if (strcmp(name, daemon_directory) == 0) {
            child->kind = NODEID_DAEMON;
            return 0;
        }
        child->slot = slot_find(exchange_slots(ops->exchange), name);
        child->file = SLOT_DIRECTORY;
        return child->slot ? 0 : -ENOENT;
    case NODEID_DAEMON:
        child->kind = NODEID_DAEMON;
        child->number = daemon_files_find(name);
        return child->number ? 0 : -ENOENT;
    case NODEID_SLOT:
        break;
    }
    child->slot = parent->slot;
    child->file = links_find(ops, child->slot, name);
    return child->file < SLOT_FILES ? 0 : -ENOENT;
}

/* Decodes the directory of a request. Returns 0 or -errno. */
static int decode_directory(struct request_ops *ops, fuse_ino_t nodeid, struct nodeid_target *directory)
{
    int result = nodeid_decode(ops->exchange, nodeid, directory);

    return result < 0 ? result : is_directory(directory) ? 0 : -ENOTDIR;
}

void ops_name_lookup(fuse_req_t request, fuse_ino_t parent, const char *name)
{
    struct request_ops *ops = request_begin(request, REQUEST_LOOKUP);
    struct nodeid_target directory, child;
    int result = decode_directory(ops, parent, &directory);

    if (result == 0)
        result = find(ops, &directory, name, &child);
    if (result < 0)
        request_reply(request, result);
    else
        reply_entry(request, ops, &child);
}

/* A server was killed while it served this request, so it may have done it, or not. */
static bool is_second_try(const struct request_ops *ops)
{
    return transport_is_resent(ops->transport) &&
           journal_is_doubtful(&ops->journal, transport_unique(ops->transport));
}

void ops_name_mkdir(fuse_req_t request, fuse_ino_t parent, const char *name, mode_t mode)
{
    struct request_ops *ops = request_begin(request, REQUEST_MKDIR);
    struct caller caller = request_caller(request);
    struct nodeid_target directory;
    struct nodeid_target made = {.kind = NODEID_SLOT, .file = SLOT_DIRECTORY};
    int result = decode_directory(ops, parent, &directory);

    if (result == 0 && directory.kind != NODEID_ROOT)
        result = -EPERM;
    if (result == 0)
        result = exchange_mkdir(ops->exchange, name, &caller, mode, &made.slot);
    if (result == -EEXIST && is_second_try(ops)) { /* the last server has made it */
        made.slot = slot_find(exchange_slots(ops->exchange), name);
        result = 0;
    }
    if (result < 0) {
        log_debug("refused to make a slot for process %d: %s", (int)caller.thread, strerror(-result));
        request_reply(request, result);
        return;
    }
    reply_entry(request, ops, &made);
}

/* Refuses a name for which the directory has no place. */
static int refuse_name(struct request_ops *ops, fuse_ino_t parent, const char *name)
{
    struct nodeid_target directory, child;
    int result = decode_directory(ops, parent, &directory);

    if (result == 0)
        result = find(ops, &directory, name, &child);
    if (result == 0)
        return -EEXIST;
    return result == -ENOENT ? -EPERM : result;
}

void ops_name_mknod(fuse_req_t request, fuse_ino_t parent, const char *name, mode_t mode, dev_t device)
{
    (void)mode;
    (void)device;
    request_reply(request, refuse_name(request_begin(request, REQUEST_OTHER), parent, name));
}

void ops_name_create(fuse_req_t request, fuse_ino_t parent, const char *name, mode_t mode,
                     struct fuse_file_info *fi)
{
    (void)mode;
    (void)fi;
    request_reply(request, refuse_name(request_begin(request, REQUEST_OTHER), parent, name));
}

void ops_name_link(fuse_req_t request, fuse_ino_t nodeid, fuse_ino_t parent, const char *name)
{
    (void)nodeid;
    request_reply(request, refuse_name(request_begin(request, REQUEST_OTHER), parent, name));
}

/* --- chains --- */

void ops_name_symlink(fuse_req_t request, const char *target, fuse_ino_t parent, const char *name)
{
    struct request_ops *ops = request_begin(request, REQUEST_SYMLINK);
    struct caller caller = request_caller(request);
    struct nodeid_target directory;
    struct slot *source = NULL;
    enum record_side side = RECORD_SIDE_RESULT;
    int result = decode_directory(ops, parent, &directory);

    if (result == 0 && (directory.kind != NODEID_SLOT || slot_file_find(name) != SLOT_SOURCE))
        result = refuse_name(ops, parent, name);
    if (result == 0) {
        result = chain_parse_target(ops->exchange, ops->mountpoint, target, &source, &side);
        if (result < 0)
            refuse_operation(ops->exchange, directory.slot, &caller, "chain the slot", result,
                             result == -ENOENT ? "there is no such slot"
                                               : "a source is ../SLOT/result.bin or ../SLOT/data.bin");
    }
    if (result == 0 && !(directory.slot->source && is_second_try(ops))) /* it is made already */
        result = exchange_chain(ops->exchange, directory.slot, source, side, &caller);
    if (result < 0) {
        request_reply(request, result);
        return;
    }
    directory.file = SLOT_SOURCE;
    reply_entry(request, ops, &directory);
}

void ops_name_readlink(fuse_req_t request, fuse_ino_t nodeid)
{
    struct request_ops *ops = request_begin(request, REQUEST_READLINK);
    char target[LINKS_TARGET_MAX];
    struct nodeid_target inode;
    struct caller caller = request_caller(request);
    int result = nodeid_decode(ops->exchange, nodeid, &inode);

    if (result == 0 && (inode.kind != NODEID_SLOT || slot_files_row(inode.file)->kind != SLOT_FILES_LINK))
        result = -EINVAL;
    if (result < 0) {
        request_reply(request, result);
        return;
    }
    if (links_is_link(inode.file))
        links_target(ops, inode.slot, inode.file, &caller, target);
    else
        chain_target(ops->exchange, inode.slot, target);
    fuse_reply_readlink(request, target);
}

/* --- removing and renaming --- */

/* A request that the last server was serving finds no name if that server took it away: it was done. */
static int known_as_done(const struct request_ops *ops, int result)
{
    return result == -ENOENT && is_second_try(ops) ? 0 : result;
}

void ops_name_unlink(fuse_req_t request, fuse_ino_t parent, const char *name)
{
    struct request_ops *ops = request_begin(request, REQUEST_UNLINK);
    struct caller caller = request_caller(request);
    struct nodeid_target directory, child;
    int result = decode_directory(ops, parent, &directory);

    if (result == 0)
        result = find(ops, &directory, name, &child);
    if (result == 0 && directory.kind == NODEID_DAEMON)
        result = -EPERM;
    if (result == 0 && is_directory(&child))
        result = -EISDIR;
    if (result == 0) {
        const struct slot_files_row *row = slot_files_row(child.file);
        result = row->unlink ? row->unlink(ops->exchange, child.slot, child.file, &caller) : 0;
        if (result == 0 && row->unlink)
            slot_touch(child.slot, SLOT_DIRECTORY);
    }
    request_reply(request, known_as_done(ops, result));
}

void ops_name_rmdir(fuse_req_t request, fuse_ino_t parent, const char *name)
{
    struct request_ops *ops = request_begin(request, REQUEST_RMDIR);
    struct nodeid_target directory, child;
    int result = decode_directory(ops, parent, &directory);

    if (result == 0)
        result = find(ops, &directory, name, &child);
    if (result == 0 && !is_directory(&child))
        result = -ENOTDIR;
    if (result == 0 && child.kind != NODEID_SLOT)
        result = -EPERM;
    if (result == 0)
        exchange_remove(ops->exchange, child.slot);
    request_reply(request, known_as_done(ops, result));
}

static int rename_slot(struct request_ops *ops, struct slot *slot, const char *new_name, unsigned flags)
{
    struct slot *other = slot_find(exchange_slots(ops->exchange), new_name);
    int result = slot_name_check(new_name);

    if (result < 0)
        return result;
    if (other == slot)
        return 0;
    if (other)
        return flags & RENAME_NOREPLACE ? -EEXIST : -ENOTEMPTY;
    slot_rename(exchange_slots(ops->exchange), slot, new_name);
    return 0;
}

void ops_name_rename(fuse_req_t request, fuse_ino_t parent, const char *name, fuse_ino_t new_parent,
                     const char *new_name, unsigned flags)
{
    struct request_ops *ops = request_begin(request, REQUEST_RENAME);
    struct caller caller = request_caller(request);
    struct nodeid_target from, to, moved;
    int result = decode_directory(ops, parent, &from);

    if (result == 0)
        result = decode_directory(ops, new_parent, &to);
    if (result == 0)
        result = find(ops, &from, name, &moved);
    if (result == 0 && flags & ~(unsigned)RENAME_NOREPLACE)
        result = -EINVAL;
    if (result < 0) {
        request_reply(request, known_as_done(ops, result));
        return;
    }
    if (transport_is_resent(ops->transport) &&
        journal_was_done(&ops->journal, transport_unique(ops->transport))) {
        request_reply(request, 0);
        return;
    }
    /* The slot that a result leaves is the first whose change the index has, and it has both slots' then. */
    if (from.kind == NODEID_SLOT)
        journal_try(&ops->journal, exchange_slots(ops->exchange), from.slot);
    if (from.kind == NODEID_ROOT && to.kind == NODEID_ROOT && moved.kind == NODEID_SLOT)
        result = rename_slot(ops, moved.slot, new_name, flags);
    else if (from.kind == NODEID_SLOT && to.kind == NODEID_SLOT && moved.file == SLOT_RESULT_BIN &&
             slot_file_find(new_name) == SLOT_DATA_BIN) {
        result = flags & RENAME_NOREPLACE ? -EEXIST
                                          : array_move_result(ops->exchange, moved.slot, to.slot, &caller);
    } else {
        result = -EPERM;
    }
    request_reply(request, result);
}

/* --- listings --- */

/* A listing under construction. */
struct listing {
    struct request_ops *ops;
    fuse_req_t request;
    char *buffer;
    size_t size;
    size_t used;
    enum listing_kind { LISTING_NAMES, LISTING_WITH_ATTRIBUTES } kind;
};

static bool is_link(const struct nodeid_target *inode)
{
    return inode->kind == NODEID_SLOT && slot_files_row(inode->file)->kind == SLOT_FILES_LINK;
}

/* Returns whether the entry had room. next is the offset after it. */
static bool add(struct listing *listing, const struct nodeid_target *inode, const char *name, off_t next)
{
    struct fuse_entry_param entry = {0};
    size_t room = listing->size - listing->used;
    char *at = listing->buffer + listing->used;
    size_t needed;

    if (listing->kind == LISTING_WITH_ATTRIBUTES) {
        struct attributes_timeouts timeouts = attributes_fill(listing->ops, inode, &entry.attr);
        entry.attr_timeout = timeouts.attributes;
        entry.entry_timeout = timeouts.entry;
        /* Any number will do: the kernel keeps no inode for the dots. */
        entry.ino =
            name[0] == '.' && (!name[1] || name[1] == '.') ? 0 : nodeid_encode(listing->ops->exchange, inode);
        needed = fuse_add_direntry_plus(listing->request, at, room, name, &entry, next);
    } else {
        entry.attr.st_ino = nodeid_number(listing->ops->exchange, inode);
        entry.attr.st_mode = is_directory(inode) ? S_IFDIR : is_link(inode) ? S_IFLNK : S_IFREG;
        needed = fuse_add_direntry(listing->request, at, room, name, &entry.attr, next);
    }
    if (needed > room)
        return false;
    listing->used += needed;
    return true;
}

/* Offsets are stable: 1 and 2 follow the dots, then each file, or each entry of the table, has a place. */
enum { FIRST_PLACE = 2 };

static void list_root(struct listing *listing, off_t offset)
{
    struct nodeid_target daemon = {.kind = NODEID_DAEMON};
    struct slot *slot;
    uint32_t index;

    if (offset == FIRST_PLACE) {
        if (!add(listing, &daemon, daemon_directory, FIRST_PLACE + 1))
            return;
        offset++;
    }
    for (index = (uint32_t)(offset - FIRST_PLACE - 1);
         (slot = slot_after(exchange_slots(listing->ops->exchange), index));) {
        struct nodeid_target inode = {.kind = NODEID_SLOT, .slot = slot, .file = SLOT_DIRECTORY};
        index = slot_index(exchange_slots(listing->ops->exchange), slot);
        if (!add(listing, &inode, slot->name, FIRST_PLACE + 1 + (off_t)index))
            return;
    }
}

static void list_daemon(struct listing *listing, off_t offset)
{
    for (off_t number = offset - FIRST_PLACE + 1; daemon_files_name((unsigned)number); number++) {
        struct nodeid_target inode = {.kind = NODEID_DAEMON, .number = (unsigned)number};
        if (!add(listing, &inode, daemon_files_name((unsigned)number), FIRST_PLACE + number))
            return;
    }
}

static void list_slot(struct listing *listing, struct slot *slot, off_t offset)
{
    for (off_t file = offset - FIRST_PLACE + 1; file < SLOT_FILES; file++) {
        struct nodeid_target inode = {.kind = NODEID_SLOT, .slot = slot, .file = (enum slot_file)file};
        if (links_shows(listing->ops, slot, inode.file) &&
            !add(listing, &inode, slot_file_name(inode.file), FIRST_PLACE + file))
            return;
    }
}

static void list(fuse_req_t request, fuse_ino_t nodeid, size_t size, off_t offset, enum listing_kind kind)
{
    struct request_ops *ops = request_begin(request, REQUEST_READDIR);
    struct listing listing = {ops, request, request_buffer, size, 0, kind};
    struct nodeid_target directory;
    int result = decode_directory(ops, nodeid, &directory);

    if (size > REQUEST_BUFFER_SIZE)
        listing.size = REQUEST_BUFFER_SIZE;
    if (result == 0 && offset > INT32_MAX)
        result = -EINVAL;
    if (result < 0) {
        request_reply(request, result);
        return;
    }
    if (offset == 0 && add(&listing, &directory, ".", 1))
        offset = 1;
    if (offset == 1 && add(&listing, &(struct nodeid_target){.kind = NODEID_ROOT}, "..", FIRST_PLACE))
        offset = FIRST_PLACE;
    if (offset >= FIRST_PLACE) {
        switch (directory.kind) {
        case NODEID_ROOT:
            list_root(&listing, offset);
            break;
        case NODEID_DAEMON:
            list_daemon(&listing, offset);
            break;
        case NODEID_SLOT:
            list_slot(&listing, directory.slot, offset);
            break;
        }
    }
    fuse_reply_buf(request, listing.buffer, listing.used);
}

void ops_name_readdir(fuse_req_t request, fuse_ino_t nodeid, size_t size, off_t offset,
                      struct fuse_file_info *fi)
{
    (void)fi;
    list(request, nodeid, size, offset, LISTING_NAMES);
}

void ops_name_readdirplus(fuse_req_t request, fuse_ino_t nodeid, size_t size, off_t offset,
                          struct fuse_file_info *fi)
{
    (void)fi;
    list(request, nodeid, size, offset, LISTING_WITH_ATTRIBUTES);
}
