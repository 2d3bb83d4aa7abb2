// SPDX-License-Identifier: Apache-2.0
/*
 * descriptors.h - the limit of open files, and a reserve below it.
 *
 * Clients can make us open files until there is no descriptor left. Work that must not fail even then (a client
 * sleeps on a page that has to change) opens one file from the reserve, for a moment.
 */
#ifndef PYRMAPFS_BASE_DESCRIPTORS_H
#define PYRMAPFS_BASE_DESCRIPTORS_H

#include <stddef.h>
#include <sys/types.h>

/* Raises the soft limit to the hard one, less the reserve. */
void descriptors_claim(void);

/* Makes the reserve usable, and takes it back. A file that was opened in between stays open. */
void descriptors_open_reserve(void);
void descriptors_close_reserve(void);

/*
 * Processes that share one table of descriptors: what one of them opens the others have, under the same number,
 * and it stays open when that one is killed.
 *
 * descriptors_fork is fork(2) with that; -errno. descriptors_open lists what is open, in an array from malloc;
 * -errno. descriptors_close_others closes all but these, which it sorts, and ends all leases on files that are open.
 */
pid_t descriptors_fork(void);
int descriptors_open(int **fds);
void descriptors_close_others(int *fds, size_t count);

#endif
