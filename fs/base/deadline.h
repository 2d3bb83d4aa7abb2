// SPDX-License-Identifier: Apache-2.0
/*
 * deadline.h - one-shot deadlines in the loop.
 *
 * All deadlines of one struct deadlines are set with the same delay, so they expire in the order in which
 * they were set: a list and one timer do. DEADLINES_A_TURN of them expire in one turn of the loop.
 */
#ifndef PYRMAPFS_DEADLINE_H
#define PYRMAPFS_DEADLINE_H

#include "base/loop.h"
#include <stdint.h>
#include <sys/queue.h>

struct deadlines;

enum { DEADLINES_A_TURN = 32 };

/* Embedded in the caller's structure. `expired` is set by its owner. */
struct deadline {
    uint64_t at_ms;        /* CLOCK_MONOTONIC */
    struct deadlines *set; /* NULL: not set */
    TAILQ_ENTRY(deadline) link;
    /* Called in the loop, after the deadline was cleared. */
    void (*expired)(struct deadline *deadline);
};

/* Returns 0 or -errno. */
int deadline_init(struct deadlines **out, struct loop *loop);
/* Clear every deadline first. NULL is fine. */
void deadline_deinit(struct deadlines *deadlines);

/* The deadline must not be set already. */
void deadline_set(struct deadlines *deadlines, struct deadline *deadline, uint64_t delay_ms);
/* Does nothing if it is not set. */
void deadline_clear(struct deadline *deadline);

/* CLOCK_MONOTONIC. */
uint64_t deadline_now_us(void);
uint64_t deadline_now_ms(void);

#endif
