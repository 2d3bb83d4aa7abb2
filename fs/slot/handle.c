// SPDX-License-Identifier: Apache-2.0
#include "slot/handle.h"

/* Whether a mapping of the file shows the record. */
static bool shows_record(const struct handle *handle)
{
    return handle->file == SLOT_METADATA_BIN || handle->file == SLOT_METADATA_MEM;
}

void handle_enlist(struct handle *handle, struct slot *slot)
{
    handle->slot = slot;
    handle->previous = NULL;
    handle->next = slot->handles;
    if (slot->handles)
        slot->handles->previous = handle;
    slot->handles = handle;
    slot->handle_count++;
    slot->record_handles += shows_record(handle);
}

void handle_delist(struct handle *handle)
{
    if (!handle->slot)
        return;
    if (handle->previous)
        handle->previous->next = handle->next;
    else
        handle->slot->handles = handle->next;
    if (handle->next)
        handle->next->previous = handle->previous;
    handle->slot->handle_count--;
    handle->slot->record_handles -= shows_record(handle);
    handle->next = handle->previous = NULL;
    handle->slot = NULL;
}

bool handle_writes_segment(const struct slot *slot, const struct segment *segment)
{
    for (const struct handle *handle = slot->handles; handle; handle = handle->next) {
        if (handle->segment == segment && handle->access == HANDLE_WRITES)
            return true;
    }
    return false;
}

bool handle_is_current(const struct handle *handle)
{
    return handle->slot && handle->segment && handle->slot->segments[handle->side] == handle->segment;
}
