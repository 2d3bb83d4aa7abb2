// SPDX-License-Identifier: Apache-2.0
#include "files/take.h"

#include "base/process.h"
#include "exchange/array.h"
#include "exchange/refuse.h"
#include "files/shown.h"
#include <errno.h>
#include <string.h>

/* The size that the record gives to an array. */
static uint64_t described_size(const struct record *record, enum record_side side)
{
    struct record_half half = record_half(record, side);

    return half.length < 0 ? 0 : (uint64_t)half.length * record_dtype_size(half.dtype);
}

/* The kernel has checked the mode of metadata.bin only; here the array's counts as well. */
static bool may_read(const struct slot *slot, enum record_side side, const struct handle *handle)
{
    enum slot_file file = slot_file_of_side(side);
    bool as_other = slot_may_read(slot, file, handle->uid, false);

    if (slot_may_read(slot, file, handle->uid, true) == as_other)
        return as_other;
    return slot_may_read(slot, file, handle->uid,
                         handle->gid == slot->gid || process_has_group(handle->process, slot->gid));
}

ssize_t take_read(struct exchange *exchange, struct handle *handle, enum record_side side, char *buffer,
                  size_t size)
{
    const struct caller caller = {.process = handle->process};
    struct slot *slot = handle->slot;
    struct shown shown;
    ssize_t got;
    int result;

    if (!may_read(slot, side, handle))
        return refuse_event(exchange, slot, &caller, array_open_event(side, HANDLE_READS), -EACCES,
                            "the mode of the file does not allow it");
    result = array_may_take(exchange, slot, side, &caller);
    if (result < 0)
        return result;
    if (size < RECORD_SIZE) {
        memcpy(buffer, &slot->record, size);
        return (ssize_t)size;
    }
    memcpy(buffer, &slot->record, RECORD_SIZE);
    shown_find(exchange, slot, side, &shown);
    got = shown_read(&shown, buffer + RECORD_SIZE, size - RECORD_SIZE, 0);
    if (got < 0)
        return got;
    slot_count_copied(slot, side, (uint64_t)got);
    if (side == RECORD_SIDE_RESULT && (uint64_t)got == described_size(&slot->record, side))
        exchange_outcome_read(exchange, slot);
    return RECORD_SIZE + got;
}
