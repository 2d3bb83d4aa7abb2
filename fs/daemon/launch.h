// SPDX-License-Identifier: Apache-2.0
/*
 * launch.h - how a daemon begins: the program that the user started waits for the word of the supervisor that it
 * forks, or in the foreground is that itself.
 */
#ifndef PYRMAPFS_LAUNCH_H
#define PYRMAPFS_LAUNCH_H

#include <stddef.h>

/* Reads one line; "" if the writer ended without one. */
void launch_read_line(int fd, char *line, size_t size);

/* Tells the waiting launcher, or in the foreground (launcher -1) the reader of our output, how it went. */
void launch_announce(const char *line, const char *mountpoint, int launcher);
/* Redirects standard input, output and error to /dev/null, for all of the family. */
void launch_leave_terminal(void);

/*
 * Forks the supervisor, waits for its word and asks the mount once: when we return, clients can use it. supervise
 * is called in the child, and returns its exit status. Returns ours.
 */
int launch_in_background(const char *mountpoint, int (*supervise)(int launcher));

#endif
