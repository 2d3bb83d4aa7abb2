// SPDX-License-Identifier: Apache-2.0
/*
 * cgroup.h - the memory cgroups that this process is in: what they allow, and what of it is left.
 *
 * The kernel charges the pages of a tmpfs or memfd to the cgroup of the process that makes it allocate them. Where
 * such a cgroup is full, it does not refuse: its OOM killer ends a process.
 */
#ifndef PYRMAPFS_CGROUP_H
#define PYRMAPFS_CGROUP_H

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>

enum { CGROUP_LEVELS = 16 };

struct cgroup_place {
    char path[PATH_MAX]; /* of the cgroup's directory */
    unsigned levels;     /* the directory and those above it, up to the mount */
    bool is_v2;
};

/*
 * Finds the memory cgroup from the texts of /proc/self/cgroup and /proc/self/mountinfo. False: there is none, or it
 * cannot be seen from here.
 */
bool cgroup_find(const char *membership, const char *mountinfo, struct cgroup_place *place);

/* Opens the files of a place, or of this process's. Until then, and if there is none, nothing is limited. */
void cgroup_open_place(const struct cgroup_place *place);
void cgroup_open(void);
void cgroup_close(void);

/* The smallest limit in bytes; UINT64_MAX: none. */
uint64_t cgroup_limit(void);
/* Whether that many bytes are free in each of them, and something stays free for the rest of the processes. */
bool cgroup_spares(uint64_t bytes);

#endif
