// SPDX-License-Identifier: Apache-2.0
#include "files/shown.h"

#include <string.h>

bool shown_is(const struct slot *slot, enum record_side side)
{
    enum handshake_state state = slot_state(slot);

    if (side == RECORD_SIDE_RESULT)
        return state == STATE_DONE;
    return state != STATE_IDLE && state != STATE_FILLING && slot->has_input;
}

void shown_find(struct exchange *exchange, const struct slot *slot, enum record_side side,
                struct shown *shown)
{
    shown->arena = exchange_arena(exchange);
    shown->inline_size = slot_inline_size(slot, side);
    shown->segment = shown->inline_size ? NULL : slot->segments[side];
    memcpy(shown->inline_bytes, slot->inline_bytes[side], shown->inline_size);
}

ssize_t shown_read(void *context, void *buffer, size_t size, off_t offset)
{
    struct shown *shown = context;

    if ((size_t)offset < shown->inline_size) {
        if (size > shown->inline_size - (size_t)offset)
            size = shown->inline_size - (size_t)offset;
        memcpy(buffer, shown->inline_bytes + offset, size);
        return (ssize_t)size;
    }
    return shown->segment ? segment_read(shown->arena, shown->segment, buffer, size, offset) : 0;
}

int shown_bundle(struct exchange *exchange, const struct slot *slot, enum record_side side,
                 struct shown *shown, struct bundle *bundle)
{
    struct bundle_source source = {.read = shown_read, .context = shown};

    source.size = (uint64_t)record_half(&slot->record, side).length;
    shown_find(exchange, slot, side, shown);
    return bundle_open(bundle, &source);
}
