// SPDX-License-Identifier: Apache-2.0
/*
 * server.h - the process that serves the mount: puts the parts together and runs the loop.
 */
#ifndef PYRMAPFS_SERVER_H
#define PYRMAPFS_SERVER_H

#include "fuse/ops.h"

/*
 * Serves ops->session until it is unmounted or SIGTERM comes. ops has session, conf and mountpoint; the rest
 * is filled in here. Sends one word to ready_fd: "ready", or what is wrong, and with it the
 * descriptor of arena_files, if there is one; closes it. Returns the process's exit status. When the process
 * `supervisor`, our parent, is gone, it ends; SIGTERM is blocked.
 */
int server_run(struct request_ops *ops, int ready_fd, pid_t supervisor);

#endif
