// SPDX-License-Identifier: Apache-2.0
#include "fuse/attributes.h"

#include "exchange/array.h"
#include "exchange/step.h"
#include "fuse/links.h"

/* The kernel must ask each time for names of arrays and views: the next round gives them another inode. */
static const struct attributes_timeouts lasting = {.entry = 3600, .attributes = 3600};
static const struct attributes_timeouts changing = {.attributes = 3600};
static const struct attributes_timeouts unsettled = {0};
static const struct attributes_timeouts rendered = {.entry = 3600};

void attributes_times(const struct slot_times *times, struct stat *st)
{
    st->st_atim = times->accessed;
    st->st_mtim = times->modified;
    st->st_ctim = times->changed;
}

static void daemon_attributes(struct request_ops *ops, unsigned number, struct stat *st)
{
    st->st_mode = number ? S_IFREG | 0444 : S_IFDIR | 0555;
    st->st_nlink = number ? 1 : 2;
    st->st_uid = ops->uid;
    st->st_gid = ops->gid;
    st->st_mtim = st->st_ctim = st->st_atim = ops->started;
    if (!number)
        return;
    clock_gettime(CLOCK_REALTIME, &st->st_mtim);
    st->st_ctim = st->st_atim = st->st_mtim;
    st->st_size = (off_t)daemon_files_size(&ops->files, number);
}

/* Returns 0 or -errno. */
static int array_attributes(struct request_ops *ops, const struct slot *slot, enum record_side side,
                            struct stat *st)
{
    uint64_t size, allocated;
    int result = step_array_stat(ops->exchange, slot, side, &size, &allocated);

    if (result < 0)
        return result;
    st->st_size = (off_t)size;
    st->st_blocks = (blkcnt_t)((allocated + 511) / 512);
    return 0;
}

/*
 * Whether the kernel has to ask before it believes a size: one that has holes (GETATTR fills them), one that a link
 * changes, and the one of an array that has nothing yet. A client may look up that one, and apply our answer only after
 * another client published an array in one write and we told the kernel so.
 */
static bool is_unsettled(struct request_ops *ops, const struct slot *slot, enum slot_file file)
{
    enum record_side side = slot_file_side(file);

    return (!slot->segments[side] && slot_inline_size(slot, side) == 0) || links_changes(ops, slot, file) ||
           array_has_holes(ops->exchange, slot, side);
}

static struct attributes_timeouts slot_attributes(struct request_ops *ops, const struct nodeid_target *inode,
                                                  struct stat *st)
{
    const struct slot_files_row *row = slot_files_row(inode->file);
    struct slot *slot = inode->slot;
    int result;

    st->st_mode = S_IFREG | slot->modes[inode->file];
    st->st_nlink = 1;
    st->st_uid = slot->uid;
    st->st_gid = slot->gid;
    attributes_times(slot_times(slot, inode->file), st);
    switch (row->kind) {
    case SLOT_FILES_DIRECTORY:
        st->st_mode = S_IFDIR | slot->modes[SLOT_DIRECTORY];
        st->st_nlink = 2;
        return lasting;
    case SLOT_FILES_ARRAY:
        slot->known[slot_file_side(inode->file)] = 1;
        result = array_attributes(ops, slot, slot_file_side(inode->file), st);
        if (result < 0)
            return (struct attributes_timeouts){.error = result};
        return is_unsettled(ops, slot, inode->file) ? unsettled : changing;
    case SLOT_FILES_VIEW:
        st->st_size = row->size(ops->exchange, slot, inode->file);
        return unsettled;
    case SLOT_FILES_LINK:
        st->st_mode = S_IFLNK | 0777;
        st->st_size = links_is_link(inode->file) ? links_size(inode->file)
                                                 : row->size(ops->exchange, slot, inode->file);
        return links_is_link(inode->file) ? lasting : unsettled;
    case SLOT_FILES_RECORD:
        st->st_size = RECORD_SIZE;
        return (struct attributes_timeouts){.attributes = 1}; /* see nodeid_aside */
    case SLOT_FILES_PAGE:
        st->st_size = RECORD_PAGE_SIZE;
        return rendered;
    case SLOT_FILES_TEXT:
        break;
    }
    st->st_size = row->size(ops->exchange, slot, inode->file);
    st->st_blksize = 65536; /* stdio writes a text in one piece */
    return inode->file == SLOT_METADATA_TXT ? unsettled : rendered;
}

struct attributes_timeouts attributes_fill(struct request_ops *ops, const struct nodeid_target *inode,
                                           struct stat *st)
{
    struct attributes_timeouts timeouts = lasting;

    *st = (struct stat){.st_blksize = 4096, .st_ino = nodeid_number(ops->exchange, inode)};
    switch (inode->kind) {
    case NODEID_ROOT:
        st->st_mode = S_IFDIR | ops->conf->root_mode;
        st->st_nlink = 3 + slots_count(exchange_slots(ops->exchange));
        st->st_uid = ops->uid;
        st->st_gid = ops->gid;
        attributes_times(slots_times(exchange_slots(ops->exchange)), st);
        return lasting;
    case NODEID_DAEMON:
        daemon_attributes(ops, inode->number, st);
        timeouts = inode->number ? rendered : lasting;
        break;
    case NODEID_SLOT:
        timeouts = slot_attributes(ops, inode, st);
        break;
    }
    if (st->st_blocks == 0 && inode->kind != NODEID_SLOT)
        st->st_blocks = (st->st_size + 511) / 512;
    return timeouts;
}
