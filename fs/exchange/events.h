// SPDX-License-Identifier: Apache-2.0
/*
 * events.h - what happens to slots, for readers of .pyrmap/events: a ring that all of them share.
 *
 * The ring is there while somebody reads it. A reader keeps a place in it, so readers cost nothing here, and one
 * that is too slow learns how many events it has missed.
 */
#ifndef PYRMAPFS_EVENTS_H
#define PYRMAPFS_EVENTS_H

#include "base/caller.h"
#include "protocol/handshake.h"
#include "slot/entry.h"
#include <stdbool.h>
#include <stdint.h>

enum events_kind {
    EVENTS_MADE,
    EVENTS_REMOVED,
    EVENTS_TRANSITION,
    EVENTS_FAILURE, /* a transition to FAILED */
    EVENTS_REFUSAL,
    EVENTS_TAKEOVER, /* this server has taken over from one that is gone */
};

enum { EVENTS_KEPT = 2048 };

struct events_entry {
    struct timespec when;
    enum events_kind kind;
    uid_t uid; /* of the slot */
    pid_t pid; /* whose doing it is; 0: that of no client, or we cannot see it */
    uint64_t round;
    enum handshake_state from, to;
    int error; /* of a refusal: positive errno */
    char slot[SLOT_NAME_MAX + 1];
    char operation[sizeof(((struct slot_refusal *)0)->operation)];
    char reason[SLOT_REASON_MAX];
};

struct events {
    struct events_entry *ring; /* NULL: nobody reads */
    uint64_t next;             /* the number that the next event gets: they count from 0 */
    uint32_t readers;
    /* Called after each event, in the middle of a step. */
    void (*told)(void *context);
    void *context;
};

/* One reader more or less. events_join returns 0 or -ENOMEM. */
int events_join(struct events *events);
void events_leave(struct events *events);
/* Readers may be there still. */
void events_deinit(struct events *events);

static inline bool events_wanted(const struct events *events)
{
    return events->ring;
}

/*
 * What has happened. Call these only if events_wanted, in which case they note the time and call told. Texts are
 * copied and cut; NULL is none.
 */
void events_of_slot(struct events *events, enum events_kind kind, const struct slot *slot,
                    const struct caller *caller);
/* The slot is in its new state already. reason: its first line counts, and need not end. */
void events_of_step(struct events *events, const struct slot *slot, enum handshake_state from,
                    const struct caller *caller, const char *reason, size_t size);
/* uid: of the slot, or of the caller if there is no slot of that name. */
void events_of_refusal(struct events *events, const char *name, uid_t uid, uint64_t round,
                       const struct caller *caller, const char *operation, int error, const char *reason);
void events_of_takeover(struct events *events);

/* The event of a number below next, NULL if the ring does not have it any more. */
const struct events_entry *events_get(const struct events *events, uint64_t number);

#endif
