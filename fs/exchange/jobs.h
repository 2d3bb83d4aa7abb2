// SPDX-License-Identifier: Apache-2.0
/*
 * jobs.h - the job that a slot was made in.
 */
#ifndef PYRMAPFS_JOBS_H
#define PYRMAPFS_JOBS_H

#include "base/cgroup.h"
#include <sys/types.h>

/* The job of a process, "" if it is in none. */
void jobs_find(pid_t process, char job[CGROUP_JOB_MAX + 1]);

#endif
