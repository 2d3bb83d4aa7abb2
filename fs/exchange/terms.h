// SPDX-License-Identifier: Apache-2.0
/*
 * terms.h - an exchange and the layers above it: the hooks and limits that they set, the numbers that it counts.
 */
#ifndef PYRMAPFS_TERMS_H
#define PYRMAPFS_TERMS_H

#include "base/histogram.h"
#include "slot/slot.h"
#include <stdint.h>

struct exchange;

/*
 * How the bytes of arrays come to clients. With links that is the page cache of FUSE as well, and a client
 * that asks for it maps the segment itself.
 */
enum exchange_data_path { DATA_PATH_PAGE_CACHE, DATA_PATH_PASSTHROUGH, DATA_PATH_LINKS };

/* What the layers above do for the exchange. */
struct exchange_hooks {
    /* The record changed: polls are answered, and on the page-cache path mappings are refreshed. */
    void (*record_changed)(void *context, struct slot *slot);
    /* The file keeps its inode and has another array. */
    void (*array_replaced)(void *context, struct slot *slot, enum slot_file file);
    /* The daemon itself is about to remove the slot, so the kernel must forget what it knows of it. */
    void (*slot_vanished)(void *context, const char *name);
    /* The slot is about to go, its handles are still in it. */
    void (*slot_removing)(void *context, struct slot *slot);
    /*
     * A client is about to open an array: tells the kernel first what it has to know of the segment. 0, or
     * -errno to refuse the open.
     */
    int (*array_opening)(void *context, struct segment *segment);
    /* The slot has lost its `source` because that is being removed: its directory has another time. */
    void (*source_removed)(void *context, struct slot *slot);
    void *context;
};

/* Of which jobs the slots go when the job is over. */
enum exchange_jobs { JOBS_NONE, JOBS_OF_SLURM, JOBS_ALL };

struct exchange_limits {
    bool no_waiting;          /* an open that would wait gets EAGAIN */
    uint64_t wait_timeout_ms; /* 0: for ever */
    uint32_t slots_per_user;
    uint64_t bytes_per_user; /* 0: no limit but the capacity */
    uint64_t bytes_per_job;  /* the same */
    enum exchange_jobs remove_with_job;
};

enum { EXCHANGE_ERRNOS = 256 };

/* Since the server started. */
struct exchange_counts {
    uint64_t rounds;   /* published results */
    uint64_t refusals; /* of all slots */
    uint64_t refusals_by_errno[EXCHANGE_ERRNOS];
    uint32_t waiters;         /* parked now */
    struct histogram waiting; /* of requests that were parked, however that ended */
    struct histogram
        computing; /* of rounds that came to an outcome: since result.bin was begun, or since READY */
};

#endif
