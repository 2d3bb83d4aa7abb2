// SPDX-License-Identifier: Apache-2.0
/*
 * lock.h - flock(2) that does not wait for ever.
 *
 * For locks that a process holds for a moment only, or until it ends, and that others may hold who mean no good. The
 * caller sleeps meanwhile: call it before the loop begins.
 */
#ifndef PYRMAPFS_LOCK_H
#define PYRMAPFS_LOCK_H

/* Takes the lock alone. Returns 0 or -errno; -EWOULDBLOCK: somebody held it for all of patience_ms. */
int lock_take(int fd, unsigned patience_ms);

#endif
