// SPDX-License-Identifier: Apache-2.0
#include "fuse/links.h"

#include "base/process.h"
#include "exchange/account.h"
#include "slot/handle.h"
#include "slot/page.h"
#include <stdio.h>
#include <string.h>

static const char hidden_page[] = ".metadata.mem";

bool links_is_link(enum slot_file file)
{
    return file == SLOT_DATA_LINK || file == SLOT_RESULT_LINK || file == SLOT_METADATA_LINK;
}

static bool are_there(const struct request_ops *ops)
{
    return exchange_data_path(ops->exchange) == DATA_PATH_LINKS;
}

enum slot_file links_find(const struct request_ops *ops, const struct slot *slot, const char *name)
{
    enum slot_file file = slot_file_find(name);

    if (are_there(ops) && strcmp(name, hidden_page) == 0)
        return SLOT_METADATA_MEM;
    if (are_there(ops) && file == SLOT_METADATA_MEM)
        return SLOT_METADATA_LINK;
    return links_shows(ops, slot, file) ? file : SLOT_FILES;
}

bool links_shows(const struct request_ops *ops, const struct slot *slot, enum slot_file file)
{
    if (!slot_file_exists(slot, file) || (are_there(ops) && file == SLOT_METADATA_MEM))
        return false;
    return are_there(ops) || !links_is_link(file);
}

bool links_changes(const struct request_ops *ops, const struct slot *slot, enum slot_file file)
{
    enum record_side side = slot_file_side(file);
    const struct segment *segment = slot->segments[side];

    return are_there(ops) && !slot_inline_size(slot, side) && (!segment || !segment->published);
}

bool links_keeps_pages(const struct request_ops *ops, const struct handle *handle)
{
    struct segment *segment = handle->segment;
    bool keeps = !are_there(ops) || segment->shown == handle->nodeid;

    segment->shown = segment->published ? handle->nodeid : 0;
    return keeps;
}

/* The caller names /proc/PID and the machine's directories as we do. */
static bool reaches(const struct request_ops *ops, const struct caller *caller)
{
    return arena_links(ops->arena, caller->uid) && process_shares_pids(caller->thread);
}

/* A handle of `slot` by which the process has the segment open now, one for writing first. */
static const struct handle *find_handle(const struct slot *slot, enum slot_file file,
                                        const struct segment *segment, pid_t process)
{
    const struct handle *found = NULL;

    for (const struct handle *handle = slot->handles; handle; handle = handle->next) {
        if (handle->file == file && handle->process == process && handle->segment == segment &&
            (!found || handle->access == HANDLE_WRITES))
            found = handle;
    }
    return found;
}

/* Names that share their pages share the nodeid, which decodes to the array's home: see nodeid.h. */
static const struct handle *find_open(const struct request_ops *ops, const struct slot *slot,
                                      enum record_side side, pid_t process)
{
    const struct slot_array *array = &slot->arrays[side];
    const struct slot *home = slot_at(exchange_slots(ops->exchange), array->home);
    const struct handle *found = find_handle(slot, slot_file_of_side(side), slot->segments[side], process);

    if (found || !home || home == slot)
        return found;
    return find_handle(home, slot_file_of_side((enum record_side)array->home_side), slot->segments[side],
                       process);
}

/* What the slot gives the caller now of the file: bits as of slot_permits. */
static unsigned rights(const struct request_ops *ops, const struct slot *slot, enum slot_file file,
                       const struct caller *caller)
{
    bool in_group;

    if (caller->uid == ops->uid)
        return 6;
    in_group = caller->uid != slot->uid &&
               (caller->gid == slot->gid || process_has_group(caller->thread, slot->gid));
    return slot_permits(slot, file, caller->uid, in_group);
}

/*
 * Where the bytes of users or jobs are limited an array is written through the daemon: nobody can hold back what goes past
 * the end of a file by its link.
 */
static bool may_go_past(const struct request_ops *ops, const struct handle *handle,
                        const struct caller *caller)
{
    return handle->access == HANDLE_READS ||
           (!account_has_limit(ops->exchange) && arena_links_writers(ops->arena, caller->uid));
}

static bool find_segment(const struct request_ops *ops, struct slot *slot, enum record_side side,
                         const struct caller *caller, char target[LINKS_TARGET_MAX])
{
    const struct handle *handle = caller->process ? find_open(ops, slot, side, caller->process) : NULL;
    unsigned bits;

    if (!handle || !reaches(ops, caller) || !may_go_past(ops, handle, caller))
        return false;
    bits = rights(ops, slot, slot_file_of_side(side), caller) & (handle->access == HANDLE_WRITES ? 6 : 4);
    if (!bits || segment_link(ops->arena, handle->segment, caller->uid, bits, target, LINKS_TARGET_MAX) < 0)
        return false;
    slot_count_in_place(slot, side);
    return true;
}

/* The page stays open until the slot goes: nothing tells us when a mapping of it ends. */
static bool find_page(struct request_ops *ops, struct slot *slot, const struct caller *caller,
                      char target[LINKS_TARGET_MAX])
{
    struct slot_page *page = &slot->pages[SLOT_PAGE_MEM];

    if (!reaches(ops, caller) || !(rights(ops, slot, SLOT_METADATA_MEM, caller) & 4))
        return false;
    if (!page->linked && account_open_page(ops->exchange, slot, SLOT_PAGE_MEM) < 0)
        return false;
    page->linked = 1;
    return page_link(ops->arena, slot, caller->uid, target, LINKS_TARGET_MAX) == 0;
}

void links_revoke(struct request_ops *ops, struct slot *slot)
{
    if (!are_there(ops))
        return;
    for (int side = 0; side < 2; side++) {
        if (slot->segments[side])
            segment_revoke(ops->arena, slot->segments[side]);
    }
    page_revoke(slot);
}

static const char *fallback(enum slot_file file)
{
    if (file == SLOT_METADATA_LINK)
        return hidden_page;
    return slot_file_name(file == SLOT_DATA_LINK ? SLOT_DATA_BIN : SLOT_RESULT_BIN);
}

void links_target(struct request_ops *ops, struct slot *slot, enum slot_file file,
                  const struct caller *caller, char target[LINKS_TARGET_MAX])
{
    enum record_side side = file == SLOT_DATA_LINK ? RECORD_SIDE_INPUT : RECORD_SIDE_RESULT;
    bool found = file == SLOT_METADATA_LINK ? find_page(ops, slot, caller, target)
                                            : find_segment(ops, slot, side, caller, target);

    if (!found)
        snprintf(target, LINKS_TARGET_MAX, "%s", fallback(file));
}

off_t links_size(enum slot_file file)
{
    return (off_t)strlen(fallback(file));
}
