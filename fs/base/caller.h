// SPDX-License-Identifier: Apache-2.0
/*
 * caller.h - the user, thread and process that make a request.
 */
#ifndef PYRMAPFS_CALLER_H
#define PYRMAPFS_CALLER_H

#include <sys/types.h>

struct caller {
    uid_t uid;
    gid_t gid;
    pid_t thread;  /* as the kernel names it; 0: in a pid namespace that the daemon cannot see */
    pid_t process; /* its process, or the thread itself if the process is gone; 0 as above */
};

/* Looks the process up. Call it once for a request. */
struct caller caller_of(uid_t uid, gid_t gid, pid_t thread);

#endif
