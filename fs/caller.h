// SPDX-License-Identifier: Apache-2.0
/*
 * caller.h - who makes a request.
 */
#ifndef PYRMAPFS_CALLER_H
#define PYRMAPFS_CALLER_H

#include <sys/types.h>

/* The kernel names a thread; its process is looked up when somebody wants to know. */
struct caller {
    uid_t uid;
    gid_t gid;
    pid_t thread;
    pid_t process; /* 0: not looked up yet */
};

/* The process, or the thread's own id if that is gone. */
pid_t caller_process(const struct caller *caller);

#endif
