// SPDX-License-Identifier: Apache-2.0
#include "files/take.h"

#include "exchange/array.h"
#include "files/shown.h"
#include <string.h>

/* The size that the record gives to an array. */
static uint64_t described_size(const struct record *record, enum record_side side)
{
    struct record_half half = record_half(record, side);

    return half.length < 0 ? 0 : (uint64_t)half.length * record_dtype_size(half.dtype);
}

ssize_t take_read(struct exchange *exchange, struct handle *handle, enum record_side side, char *buffer,
                  size_t size)
{
    struct slot *slot = handle->slot;
    int result = array_may_take(exchange, slot, side, &(struct caller){.process = handle->process});
    struct shown shown;
    ssize_t got;

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
    if (side == RECORD_SIDE_RESULT && (uint64_t)got == described_size(&slot->record, side))
        exchange_outcome_read(exchange, slot);
    return RECORD_SIZE + got;
}
