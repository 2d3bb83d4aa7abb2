// SPDX-License-Identifier: Apache-2.0
/*
 * drawing.h - the text of .pyrmap/graph or .pyrmap/chains, drawn in turns and shared by all readers.
 *
 * A client that opens the file gets the table as it was at that moment or later: an open during a drawing
 * gets that picture if nothing has changed since it was begun, else the next one. We keep a finished picture
 * while a client has it open and the table is what it shows.
 */
#ifndef PYRMAPFS_DRAWING_H
#define PYRMAPFS_DRAWING_H

#include "base/turn.h"
#include "files/graph.h"
#include "files/snapshot.h"
#include <sys/queue.h>

/* Embedded in the caller's structure. */
struct drawing_wait {
    LIST_ENTRY(drawing_wait) link;
    /*
     * Called once: 0 with the text, which stays valid during the call, and longer if the callee takes a
     * reference; or -errno.
     */
    void (*ready)(struct drawing_wait *wait, int result, struct snapshot *text);
};

LIST_HEAD(drawing_waits, drawing_wait);

struct drawing {
    struct turn turn; /* in the queue while `out` is open */
    enum graph_kind kind;
    struct slots *slots;
    struct turn_queue *turns;
    struct graph graph;
    FILE *out; /* the picture under way, or NULL */
    char *text;
    size_t size;
    uint64_t begun_at;          /* slots_changes() when it was begun */
    struct drawing_waits waits; /* for the picture under way */
    struct drawing_waits later; /* for the one after it */
    struct snapshot *last;      /* the last one, or NULL */
    uint64_t last_at;           /* slots_changes() of what it shows; it may be gone */
    size_t last_size;           /* 0: nothing has been drawn */
};

void drawing_init(struct drawing *drawing, enum graph_kind kind, struct slots *slots,
                  struct turn_queue *turns);
/* Call it after the turns have ended: waiting callers get -ECANCELED. */
void drawing_deinit(struct drawing *drawing);

/* DRAWING_READY: wait->ready was called. */
enum drawing_progress { DRAWING_READY, DRAWING_LATER };
enum drawing_progress drawing_get(struct drawing *drawing, struct drawing_wait *wait);
/* Call it before ready, which then is not called. */
void drawing_cancel(struct drawing_wait *wait);

/* The size of the text, if it is known without drawing: 0 otherwise. */
size_t drawing_size(const struct drawing *drawing);
/* A client has closed the file: frees a picture that no client has open. */
void drawing_closed(struct drawing *drawing);

#endif
