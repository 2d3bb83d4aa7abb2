// SPDX-License-Identifier: Apache-2.0
/*
 * job.h - the job that a process is in, from its cgroups, and whether that job is over: its cgroup is gone.
 *
 * A job is Slurm's job_N, a container, or the innermost service or scope of systemd. What is below its cgroup, such
 * as a step, comes and goes while the job lasts.
 */
#ifndef PYRMAPFS_JOB_H
#define PYRMAPFS_JOB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { JOB_NAME_MAX = 63, JOB_GROUP_MAX = 255, JOB_HIERARCHIES = 16 };

struct job {
    char name[JOB_NAME_MAX + 1];   /* "": none. Printable, without blanks; a longer one is cut */
    char group[JOB_GROUP_MAX + 1]; /* "CONTROLLERS:PATH" of its cgroup; "": that does not fit */
};

/* Finds the job of a process in the text of its /proc/PID/cgroup. False: it is in none, as in a login session. */
bool job_find(const char *membership, struct job *job);
/* Whether this is the name of a job of Slurm's. */
bool job_is_slurms(const char *name);

/* Opens the hierarchies that this process sees, once: later it may not open their places any more. */
void job_open_hierarchies(void);
/* As job_open_hierarchies, from the text of a mountinfo. */
void job_open_hierarchies_of(const char *mountinfo);
/* Their directories. Returns how many there are. */
size_t job_hierarchies(int fds[JOB_HIERARCHIES]);

/*
 * Opens a file of the cgroup; *id is a number that no other cgroup has, or had, since the machine started. Returns a
 * descriptor, -ENOENT if there is no such group, -EOPNOTSUPP if its hierarchy cannot be seen from here, or -errno.
 */
int job_open_group(const char *group, uint64_t *id);
/* Whether the cgroup of that descriptor was removed. */
bool job_is_over(int fd);

#endif
