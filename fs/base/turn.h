// SPDX-License-Identifier: Apache-2.0
/*
 * turn.h - long work, done in turns between which the loop serves others.
 *
 * One job has one turn in one pass of the loop; jobs take turns in the order in which they came.
 */
#ifndef PYRMAPFS_TURN_H
#define PYRMAPFS_TURN_H

#include "base/loop.h"
#include <sys/queue.h>

struct turn_queue;

enum turn_progress { TURN_DONE, TURN_AGAIN };

/* Embedded in whatever there is to do. */
struct turn {
    TAILQ_ENTRY(turn) link;
    /* Does a part that is short. TURN_DONE: the queue forgets the job, which may be freed already. */
    enum turn_progress (*take)(struct turn *turn);
    /* The queue goes, and with it all that is not done. */
    void (*give_up)(struct turn *turn);
};

/* Returns 0 or -errno. */
int turn_queue_init(struct turn_queue **out, struct loop *loop);
/* NULL is fine. */
void turn_queue_deinit(struct turn_queue *queue, struct loop *loop);

void turn_add(struct turn_queue *queue, struct turn *turn);
/* A job that is in the queue, and not in the middle of its turn. */
void turn_remove(struct turn_queue *queue, struct turn *turn);

#endif
