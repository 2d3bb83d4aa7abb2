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

/* Makes path absolute without touching what may be mounted there. Returns 0 or -1. */
int mount_resolve(const char *path, char absolute[PATH_MAX], char error[CONF_ERROR_MAX]);

/*
 * Refuses what is no directory and what is mounted already; unmounts a pyrmapfs whose server is gone. Returns
 * 0 or -1.
 */
int mount_prepare(const char *mountpoint, char error[CONF_ERROR_MAX]);

/* A session with ops as its userdata, mounted. NULL on failure. */
struct fuse_session *mount_session(struct request_ops *ops, const char *mountpoint,
                                   char error[CONF_ERROR_MAX]);

/* Lazily: who has files open keeps them until the server ends. Harmless if it is unmounted already. */
void mount_end(struct fuse_session *session);

#endif
