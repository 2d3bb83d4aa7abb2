// SPDX-License-Identifier: Apache-2.0
/*
 * sandbox.h - takes from each of the daemon's processes the rights that it does not need.
 */
#ifndef PYRMAPFS_SANDBOX_H
#define PYRMAPFS_SANDBOX_H

#include "conf.h"

enum sandbox_role {
    SANDBOX_SUPERVISOR, /* unmounts: CAP_SYS_ADMIN, and CAP_DAC_READ_SEARCH for the way to the mount point */
    SANDBOX_SERVER,     /* passthrough, a private tmpfs: CAP_SYS_ADMIN */
};

/*
 * Keeps the capabilities of that role, as far as the process has them, and sets no_new_privs. The server
 * calls it before it opens the arena, the supervisor after it forked the server. Returns 0, or -errno with a
 * line in error.
 */
int sandbox_drop_privileges(enum sandbox_role role, char error[CONF_ERROR_MAX]);

/* What the process may do by name at one place, and below it. */
enum sandbox_access {
    SANDBOX_READ,            /* files are read */
    SANDBOX_FILES,           /* files are made, read, written and removed */
    SANDBOX_REMOVE_DIRECTORY /* empty directories are removed */
};

struct sandbox_place {
    const char *path; /* NULL: the place is what fd is open on; nothing if that is -1 */
    int fd;
    enum sandbox_access access;
};

/*
 * Gives up all paths but these, by Landlock: the process then opens, makes and removes no other file of the
 * machine, and mounts and unmounts nothing. Each thread has to enter. sandbox_paths returns a descriptor for
 * sandbox_enter, to be closed by the caller, or -errno with a line in error; -EOPNOTSUPP: this kernel has no
 * Landlock. sandbox_enter returns 0 or -errno.
 */
int sandbox_paths(const struct sandbox_place *places, size_t count, char error[CONF_ERROR_MAX]);
int sandbox_enter(int ruleset);

/* Allows only the system calls of the loop and the helper thread. Call it after everything was set up. */
int sandbox_filter(char error[CONF_ERROR_MAX]);

#endif
