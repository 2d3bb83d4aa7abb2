// SPDX-License-Identifier: Apache-2.0
/*
 * event_lines.h - what a reader of .pyrmap/events gets: a JSON object for each event that it may see.
 *
 * Root sees all, others what happens to slots of their own. A line may come in several pieces.
 */
#ifndef PYRMAPFS_EVENT_LINES_H
#define PYRMAPFS_EVENT_LINES_H

#include "exchange/events.h"
#include <stddef.h>

/* A reader's place. */
struct event_lines {
    uint64_t next;   /* number of the event that is next */
    uint64_t missed; /* and of how many before it the reader has to be told that it missed them */
    size_t given;    /* bytes of the line that is next which the reader has already */
    bool broken;     /* the rest of that line is lost, and has to be ended */
    uid_t uid;
};

/* From now on. */
void event_lines_begin(struct event_lines *lines, const struct events *events, uid_t uid);

/* Whether there is something to read. */
bool event_lines_ready(struct event_lines *lines, const struct events *events);

/* Moves what there is into the buffer. Returns the bytes, 0 if there is nothing. */
size_t event_lines_read(struct event_lines *lines, const struct events *events, char *buffer, size_t size);

#endif
