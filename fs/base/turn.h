// SPDX-License-Identifier: Apache-2.0
/*
 * turn.h - long work, done in turns between which the loop serves others.
 *
 * A job has one turn in one pass of the loop; the jobs take turns in the order in which they were added.
 */
#ifndef PYRMAPFS_TURN_H
#define PYRMAPFS_TURN_H

#include "base/loop.h"
#include <sys/queue.h>

struct turn_queue;

enum turn_progress { TURN_DONE, TURN_AGAIN };

/* Embedded in the caller's structure. */
struct turn {
    TAILQ_ENTRY(turn) link;
    /* Does a short part. TURN_DONE: the queue forgets the job, which may be freed already. */
    enum turn_progress (*take)(struct turn *turn);
    /* Called when the queue is closed before the job is done. */
    void (*give_up)(struct turn *turn);
};

/* Returns 0 or -errno. */
int turn_queue_init(struct turn_queue **out, struct loop *loop);
/* NULL is fine. */
void turn_queue_deinit(struct turn_queue *queue, struct loop *loop);

void turn_add(struct turn_queue *queue, struct turn *turn);
/* The job must be in the queue, and not in the middle of its turn. */
void turn_remove(struct turn_queue *queue, struct turn *turn);

#endif
