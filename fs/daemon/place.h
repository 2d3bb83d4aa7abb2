// SPDX-License-Identifier: Apache-2.0
/*
 * place.h - where clients reach the arena's private filesystems: below a directory of /run/pyrmapfs.
 *
 *     /run/pyrmapfs/            0711: nobody but root lists it
 *         RANDOM/               one for each daemon, which holds a lock on it
 *             arrays/ records/  its mounts
 *
 * A daemon that dies with its supervisor and its keeper leaves its directory, without the lock: the next start
 * clears it.
 */
#ifndef PYRMAPFS_PLACE_H
#define PYRMAPFS_PLACE_H

#include <limits.h>

struct place {
    char path[64];
    int lock; /* -1: nothing is attached */
    unsigned attached;
};

/* Chooses a name; makes nothing yet. So a process that was forked before the first attach can clear it. */
void place_init(struct place *place);

/*
 * Attaches a mount that has no place yet, after clearing what dead daemons left; fills in its path. Returns 0
 * or -errno.
 */
int place_attach(struct place *place, int mount, char path[PATH_MAX]);

/* The path of the n-th mount that was attached, from 0. */
void place_path(const struct place *place, unsigned number, char path[PATH_MAX]);

/* Unmounts and removes it all. Clients keep what they have open. Harmless if nothing is there. */
void place_clear(struct place *place);

#endif
