// SPDX-License-Identifier: Apache-2.0
/*
 * background.h - the one helper thread, for memory work that is too slow for the loop.
 *
 * A job must never wait for a lock that a client can hold while it waits for another job.
 *
 * The loop keeps the queues and hands out one job at a time through a pipe; the thread sends the pointer back
 * through another. A job therefore belongs to exactly one thread at any time, and there are no locks.
 */
#ifndef PYRMAPFS_BACKGROUND_H
#define PYRMAPFS_BACKGROUND_H

#include <stdbool.h>

struct background;

enum background_priority {
    BACKGROUND_URGENT, /* a client waits for it: reservations, notifications */
    BACKGROUND_IDLE,   /* zeroing */
    BACKGROUND_PRIORITIES,
};

enum background_progress {
    BACKGROUND_DONE,
    BACKGROUND_AGAIN, /* one chunk done: queue the job again behind more urgent ones */
};

/* Embedded in the caller's structure (first member). */
struct background_job {
    /* In the helper thread; touches nothing but the job's structure. */
    enum background_progress (*run)(struct background_job *job);
    /* In the loop, once run said BACKGROUND_DONE; owns the job from here on (may free or resubmit it). */
    void (*done)(struct background_job *job);
    enum background_priority priority;
    struct background_job *next; /* the queue's */
};

/* Starts the thread. Returns 0 or -errno. */
int background_init(struct background **background);

/* Runs all queued jobs, in the caller's thread if need be, then ends the thread. NULL is fine. */
void background_deinit(struct background *background);

/* Readable when background_dispatch has something to do. */
int background_fd(const struct background *background);

/* Queues a job. Ownership passes to the queue until done() is called. */
void background_submit(struct background *background, struct background_job *job);

/* Calls done() of finished jobs and hands out the next. Never blocks. */
void background_dispatch(struct background *background);

/* Blocks until no job is queued or running (tests, shutdown). */
void background_drain(struct background *background);

/* Whether any job of this priority is queued or running. */
bool background_busy(const struct background *background, enum background_priority priority);

#endif
