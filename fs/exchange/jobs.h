// SPDX-License-Identifier: Apache-2.0
/*
 * jobs.h - how many slots each job has. A job that has none is forgotten.
 */
#ifndef PYRMAPFS_JOBS_H
#define PYRMAPFS_JOBS_H

#include "slot/entry.h"

enum { JOBS_BUCKETS = 256 };

/* All zeros is an empty one. */
struct jobs {
    struct jobs_entry *buckets[JOBS_BUCKETS];
};

/* The job of the process becomes that of the slot, which is new; a slot may have none. */
void jobs_note(struct jobs *jobs, struct slot *slot, pid_t process);
/* Counts a slot that an earlier server had. */
void jobs_add(struct jobs *jobs, const struct slot *slot);
void jobs_drop(struct jobs *jobs, const struct slot *slot);
void jobs_deinit(struct jobs *jobs);

void jobs_visit(const struct jobs *jobs, void (*visit)(void *context, const char *job, uint32_t slots),
                void *context);

#endif
