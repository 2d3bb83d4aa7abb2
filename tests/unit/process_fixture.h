// SPDX-License-Identifier: Apache-2.0
/*
 * process_fixture.h - an event loop that runs until something holds, and processes and threads to look at.
 */
#ifndef PYRMAPFS_PROCESS_FIXTURE_H
#define PYRMAPFS_PROCESS_FIXTURE_H

#include "base/loop.h"
#include <pthread.h>
#include <semaphore.h>
#include <stdbool.h>
#include <sys/types.h>

/* Runs the loop until the condition holds; fails the test if it does not within some seconds. */
void loop_until(struct loop *loop, bool (*condition)(void *context), void *context);

/* A process of this user (uid 0: the caller's) that does nothing until the test ends it. */
pid_t idler_start(uid_t uid);
/* One with this very pid, which must be free. Returns 0, and says so, if the machine does not allow it. */
pid_t idler_start_as(pid_t pid);
/* Ends it; it stays a zombie until idler_bury. */
void idler_kill(pid_t pid);
void idler_bury(pid_t pid);
/* Kills and buries it: its pid is free again. */
void idler_end(pid_t pid);

/* A thread that does nothing until the test ends it. */
struct idle_thread {
    pid_t id;
    pthread_t handle;
    sem_t begun, end;
};
void idle_thread_start(struct idle_thread *thread);
void idle_thread_end(struct idle_thread *thread);

#endif
