// SPDX-License-Identifier: Apache-2.0
/*
 * jobs.h - the jobs that slots were made in. When one is over, its slots go.
 *
 * A job is over when its cgroup is gone. No kernel tells of that in both versions of cgroups, so while there are such
 * slots we look once in JOBS_LOOK_MS; a look reads one file for each job. Finding a job is linear in their number.
 */
#ifndef PYRMAPFS_JOBS_H
#define PYRMAPFS_JOBS_H

#include "base/job.h"
#include "base/loop.h"
#include "base/turn.h"
#include "exchange/terms.h"
#include <sys/types.h>

enum { JOBS_LOOK_MS = 1000, JOBS_SLOTS_A_TURN = 32 };

struct jobs;

/* over: removes a slot, and so calls jobs_leave. turns lasts longer than the jobs. */
int jobs_init(struct jobs **out, struct loop *loop, struct turn_queue *turns, enum exchange_jobs which,
              void (*over)(void *context, struct slot *slot), void *context);
/* No slot is in them any more, or will be used. NULL is fine. */
void jobs_deinit(struct jobs *jobs);

/* The job of a process; its name is "" if it is in none. */
void jobs_find(pid_t process, struct job *job);
/* The slot goes with its job from now on, if such slots do. It may be one that an earlier server had. */
void jobs_join(struct jobs *jobs, struct slot *slot);
void jobs_leave(struct slot *slot);
/* Removes the slots whose jobs were over when they joined, in turns of the loop. */
void jobs_begin(struct jobs *jobs);

#endif
