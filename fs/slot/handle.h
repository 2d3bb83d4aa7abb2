// SPDX-License-Identifier: Apache-2.0
/*
 * handle.h - an open file of a slot: what the exchange and the small files know about it.
 */
#ifndef PYRMAPFS_HANDLE_H
#define PYRMAPFS_HANDLE_H

#include "protocol/view.h"
#include "slot/slot.h"
#include <stdbool.h>
#include <sys/queue.h>

struct follow;
struct put;
struct record_backing;
struct snapshot;

enum handle_access { HANDLE_READS, HANDLE_WRITES };

struct handle {
    struct handle *next, *previous; /* in slot->handles */
    LIST_ENTRY(handle) open_link;   /* the layer above's */
    struct slot *slot;              /* NULL once the slot is gone; pages stay */
    uint64_t nodeid;                /* under which it was opened */
    enum slot_file file;
    enum handle_access access;
    pid_t process;
    pid_t worker; /* the slot's at the open, if the process was it or descended from it. 0: neither */
    uid_t uid;    /* who opened it, and on whose account it is */
    gid_t gid;    /* of that user, then */
    struct segment *segment; /* data.bin, result.bin and their views */
    enum record_side side;   /* of segment */
    uint64_t number;         /* st_ino of data.bin and result.bin */
    uint32_t record;         /* the layer above's: where the next server finds this handle */
    uint64_t opener;         /* and the request that opened it */

    /* metadata.bin */
    uint32_t seen_change;           /* what its last read showed */
    bool has_read;                  /* poll reports changes only after the first read */
    struct record_backing *backing; /* passthrough: the page's */
    struct put *put;                /* the progress of the write that we judge now: see put.h */

    struct follow *follow; /* .pyrmap/events: the layer above's */

    struct slot_times times; /* as at open: stat shows them once the slot is in another round */

    uint64_t poll_key; /* by which the kernel knows who polls; 0: nobody does */
    void *poll;        /* for the layer above, which tells this client of a change. NULL: it does not poll */
    LIST_ENTRY(handle) poll_link; /* in slot->polls, or among those that the layer above answers */

    /* texts and views: the text that we rendered at open, or the reader's place in the view */
    struct snapshot *snapshot;
    struct view_source view;
    struct view_cursor cursor;
};

void handle_enlist(struct handle *handle, struct slot *slot);
void handle_delist(struct handle *handle);

/* Whether its array is the one that the slot has now. */
bool handle_is_current(const struct handle *handle);

/* Whether a handle has this segment open for writing. */
bool handle_writes_segment(const struct slot *slot, const struct segment *segment);

#endif
