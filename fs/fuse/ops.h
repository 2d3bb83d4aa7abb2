// SPDX-License-Identifier: Apache-2.0
/*
 * ops.h - the table of the kernel's requests, and the requests about the whole filesystem.
 */
#ifndef PYRMAPFS_OPS_H
#define PYRMAPFS_OPS_H

#include "fuse/request.h"

/* The session's userdata is a struct request_ops. */
extern const struct fuse_lowlevel_ops ops_table;

/*
 * Call it when INIT was answered, which tells what the kernel can: tries passthrough with a scratch file and chooses the data path. Returns 0,
 * or -EOPNOTSUPP with a line in error if path.passthrough is on and passthrough does not work.
 */
int ops_settle_data_path(struct request_ops *ops, char error[CONF_ERROR_MAX]);

#endif
