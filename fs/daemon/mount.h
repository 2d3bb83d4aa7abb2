// SPDX-License-Identifier: Apache-2.0
/*
 * mount.h - the mount point: checked, cleared of a stale mount, mounted and unmounted.
 *
 * On failure error gets one line that says what is wrong and what to do.
 */
#ifndef PYRMAPFS_MOUNT_H
#define PYRMAPFS_MOUNT_H

#include "fuse/ops.h"
#include <limits.h>
#include <stdbool.h>

/* Makes path absolute without touching what may be mounted there. Returns 0 or -1. */
int mount_resolve(const char *path, char absolute[PATH_MAX], char error[CONF_ERROR_MAX]);

/*
 * Makes a session with ops as its userdata and mounts it. NULL on failure. Refuses a mount point that is no
 * directory or is mounted already, and an arena below it; unmounts a pyrmapfs whose server is gone. Of several
 * starts at once on one mount point one succeeds.
 */
struct fuse_session *mount_session(struct request_ops *ops, const char *mountpoint,
                                   char error[CONF_ERROR_MAX]);
/* The same for a mount that is there, by its descriptor of /dev/fuse. */
struct fuse_session *mount_again(struct request_ops *ops, int fuse, char error[CONF_ERROR_MAX]);

enum mount_ending {
    MOUNT_GONE,
    MOUNT_WAS_DEAD, /* no server answered there, and we have cleared it */
};

/*
 * Unmounts lazily: clients that have files open keep them until the server ends. `fuse` is the session's
 * descriptor, which other processes may use: it stays open. Harmless if it is unmounted already.
 * MOUNT_WAS_DEAD: the kernel's connection was aborted.
 */
enum mount_ending mount_end(int fuse, const char *mountpoint);
/* Whether the kernel has ended the connection: the mount and all that was open there is gone. */
bool mount_is_over(int fuse);

/* Clears a dead mount. A live one stays. */
enum mount_ending mount_clear(const char *mountpoint);

#endif
