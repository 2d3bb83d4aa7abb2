// SPDX-License-Identifier: Apache-2.0
/*
 * keeper.h - the process that cleans up when supervisor and server were both killed.
 *
 * It has their descriptors. So it can wake the clients that sleep on the server's pages, and the mount is dead,
 * and can be cleared, when it lets go of it. The server itself cannot unmount.
 */
#ifndef PYRMAPFS_KEEPER_H
#define PYRMAPFS_KEEPER_H

#include "daemon/place.h"
#include "fuse/ops.h"
#include <sys/types.h>

/* Starts it. Returns its pid, or -1: then nobody cleans up, which the log says. */
pid_t keeper_start(struct request_ops *ops, struct place *place);
/* Ends it, because the supervisor has done its work. -1 is fine. */
void keeper_stop(pid_t keeper);

#endif
