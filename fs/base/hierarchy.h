// SPDX-License-Identifier: Apache-2.0
/*
 * hierarchy.h - where the hierarchies of cgroups are mounted, from the text of /proc/self/mountinfo.
 */
#ifndef PYRMAPFS_HIERARCHY_H
#define PYRMAPFS_HIERARCHY_H

#include <limits.h>
#include <stdbool.h>

/* One mount: the group `root` of the hierarchy is at `place`. */
struct hierarchy {
    char root[PATH_MAX];
    char place[PATH_MAX];
    char type[32];
    char options[256];
};

/* The next mount of cgroups in the text. Returns where to go on from, or NULL behind the last one. */
const char *hierarchy_next(const char *mountinfo, struct hierarchy *hierarchy);
/* Whether it is the one with these controllers, as /proc/PID/cgroup lists them; "": version 2. */
bool hierarchy_has(const struct hierarchy *hierarchy, const char *controllers);
/* The part of the group's path that lies below the mount; NULL: it does not. */
const char *hierarchy_below(const struct hierarchy *hierarchy, const char *group);

/* Whether the word is in a list with commas. */
bool hierarchy_lists(const char *list, const char *word);
/* NULL: there is no further line. */
const char *hierarchy_next_line(const char *line);

#endif
