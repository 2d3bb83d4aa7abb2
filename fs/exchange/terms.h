// SPDX-License-Identifier: Apache-2.0
/*
 * terms.h - the terms on which an exchange is run: what the layers above settle for it, and what it counts
 * for them.
 */
#ifndef PYRMAPFS_TERMS_H
#define PYRMAPFS_TERMS_H

#include "slot/slot.h"
#include <stdint.h>

struct exchange;

enum exchange_data_path { DATA_PATH_PAGE_CACHE, DATA_PATH_PASSTHROUGH };

/* What the layers above do for the exchange. */
struct exchange_hooks {
    /* The record changed: polls are answered, and on the page-cache path mappings are refreshed. */
    void (*record_changed)(void *context, struct slot *slot);
    /* The file has another array under the inode that it had. */
    void (*array_replaced)(void *context, struct slot *slot, enum slot_file file);
    /* The daemon is about to remove the slot, and no client: the kernel must forget what it knows of it. */
    void (*slot_vanished)(void *context, const char *name);
    /* The slot is about to go, its handles are still in it. */
    void (*slot_removing)(void *context, struct slot *slot);
    /*
     * A client is about to open an array: whatever the kernel has to be told of the segment first. 0 or
     * -errno, which refuses the open.
     */
    int (*array_opening)(void *context, struct segment *segment);
    /* The slot has lost its `source` because that is being removed: its directory has another time. */
    void (*source_removed)(void *context, struct slot *slot);
    void *context;
};

struct exchange_limits {
    bool no_waiting;          /* an open that would wait gets EAGAIN */
    uint64_t wait_timeout_ms; /* 0: for ever */
    uint32_t slots_per_user;
    uint64_t bytes_per_user; /* 0: no limit of its own */
};

enum { EXCHANGE_ERRNOS = 256 };

/* Since the server started. */
struct exchange_counts {
    uint64_t rounds;   /* published results */
    uint64_t refusals; /* of all slots */
    uint64_t refusals_by_errno[EXCHANGE_ERRNOS];
    uint32_t waiters; /* parked now */
};

#endif
