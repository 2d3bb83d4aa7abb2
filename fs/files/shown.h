// SPDX-License-Identifier: Apache-2.0
/*
 * shown.h - the arrays that views show: those that are published, so that nobody sees half of one.
 */
#ifndef PYRMAPFS_SHOWN_H
#define PYRMAPFS_SHOWN_H

#include "exchange/exchange.h"
#include "protocol/bundle.h"

/* Where the bytes are. An inline array is small, and this has a copy of it. */
struct shown {
    struct arena *arena;
    struct segment *segment; /* NULL: the array is inline, or empty */
    size_t inline_size;
    uint8_t inline_bytes[RECORD_INLINE_MAX];
};

/* Whether this array of the slot is published. */
bool shown_is(const struct slot *slot, enum record_side side);

void shown_find(struct exchange *exchange, const struct slot *slot, enum record_side side,
                struct shown *shown);

/* pread(2): bytes read, 0 at the end, or -errno. context: a struct shown. */
ssize_t shown_read(void *context, void *buffer, size_t size, off_t offset);

/* Opens the published bundle of a slot, whose bytes shown finds; as bundle_open. */
int shown_bundle(struct exchange *exchange, const struct slot *slot, enum record_side side,
                 struct shown *shown, struct bundle *bundle);

#endif
