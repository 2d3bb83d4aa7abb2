// SPDX-License-Identifier: Apache-2.0
#include "exchange/events.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int events_join(struct events *events)
{
    if (!events->ring)
        events->ring = calloc(EVENTS_KEPT, sizeof(*events->ring));
    if (!events->ring)
        return -ENOMEM;
    events->readers++;
    return 0;
}

void events_leave(struct events *events)
{
    if (--events->readers == 0)
        events_deinit(events);
}

void events_deinit(struct events *events)
{
    free(events->ring);
    events->ring = NULL;
}

/* The entry for an event that happens now. Its texts are empty. */
static struct events_entry *add(struct events *events, enum events_kind kind, const struct caller *caller)
{
    struct events_entry *entry = &events->ring[events->next++ % EVENTS_KEPT];

    clock_gettime(CLOCK_REALTIME, &entry->when);
    entry->kind = kind;
    entry->uid = 0;
    entry->pid = caller ? caller->process : 0;
    entry->slot[0] = entry->operation[0] = entry->reason[0] = '\0';
    return entry;
}

static void tell(struct events *events)
{
    if (events->told)
        events->told(events->context);
}

static void note_slot(struct events_entry *entry, const struct slot *slot)
{
    entry->uid = slot->uid;
    entry->round = slot->record.round;
    entry->from = entry->to = slot_state(slot);
    snprintf(entry->slot, sizeof(entry->slot), "%s", slot->name);
}

void events_of_slot(struct events *events, enum events_kind kind, const struct slot *slot,
                    const struct caller *caller)
{
    note_slot(add(events, kind, caller), slot);
    tell(events);
}

void events_of_step(struct events *events, const struct slot *slot, enum handshake_state from,
                    const struct caller *caller, const char *reason, size_t size)
{
    struct events_entry *entry =
        add(events, slot_state(slot) == STATE_FAILED ? EVENTS_FAILURE : EVENTS_TRANSITION, caller);
    const char *end = reason ? memchr(reason, '\n', size) : NULL;

    note_slot(entry, slot);
    entry->from = from;
    if (end)
        size = (size_t)(end - reason);
    if (reason)
        snprintf(entry->reason, sizeof(entry->reason), "%.*s",
                 (int)(size < sizeof(entry->reason) ? size : sizeof(entry->reason)), reason);
    tell(events);
}

void events_of_refusal(struct events *events, const char *name, uid_t uid, uint64_t round,
                       const struct caller *caller, const char *operation, int error, const char *reason)
{
    struct events_entry *entry = add(events, EVENTS_REFUSAL, caller);

    entry->uid = uid;
    entry->round = round;
    entry->error = error;
    snprintf(entry->slot, sizeof(entry->slot), "%s", name);
    snprintf(entry->operation, sizeof(entry->operation), "%s", operation);
    snprintf(entry->reason, sizeof(entry->reason), "%s", reason);
    tell(events);
}

void events_of_takeover(struct events *events)
{
    add(events, EVENTS_TAKEOVER, NULL);
    tell(events);
}

const struct events_entry *events_get(const struct events *events, uint64_t number)
{
    return events->next - number <= EVENTS_KEPT ? &events->ring[number % EVENTS_KEPT] : NULL;
}
