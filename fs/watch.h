// SPDX-License-Identifier: Apache-2.0
/*
 * watch.h - processes and time: pidfds that tell when a process exits, and one-shot deadlines.
 *
 * A pidfd names one process for ever, so a pid that is reused is never mistaken.
 */
#ifndef PYRMAPFS_WATCH_H
#define PYRMAPFS_WATCH_H

#include "loop.h"
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct watch;
struct watched; /* one living process that somebody asked about */

/* exited is called once per process, in the loop, before its struct watched is released. */
int watch_init(struct watch **out, struct loop *loop, void (*exited)(void *context, struct watched *watched),
               void *context);
void watch_deinit(struct watch *watch);

/*
 * The process `pid`, which must be alive and belong to `uid` unless uid is 0. Takes one reference.
 * Returns 0, -ESRCH, -EPERM or -errno.
 */
int watch_process(struct watch *watch, pid_t pid, uid_t uid, struct watched **out);
struct watched *watch_again(struct watched *watched); /* one reference more */
void watch_release(struct watch *watch, struct watched *watched);
pid_t watched_pid(const struct watched *watched);

/*
 * The process (thread group) of a thread, as a request names it; 0 if it is gone.
 */
pid_t watch_process_of(pid_t thread);

/* Whether this is one of the supplementary groups of a process or thread. */
bool watch_has_group(pid_t pid, gid_t gid);

/*
 * A deadline, embedded in whoever waits. All deadlines are set with the same delay, so they expire in the
 * order in which they were set.
 */
struct watch_deadline {
    uint64_t at_ms; /* CLOCK_MONOTONIC */
    void (*expired)(struct watch_deadline *deadline);
    struct watch_deadline *next, *previous;
};

void watch_deadline_set(struct watch *watch, struct watch_deadline *deadline, uint64_t delay_ms);
/* Does nothing if it is not set. */
void watch_deadline_clear(struct watch *watch, struct watch_deadline *deadline);

/* Milliseconds of CLOCK_MONOTONIC. */
uint64_t watch_now_ms(void);

#endif
