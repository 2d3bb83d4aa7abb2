// SPDX-License-Identifier: Apache-2.0
/*
 * sandbox.h - the daemon's processes give up what they do not need.
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
 * calls it before anything of the arena is opened, the supervisor after it forked the server. Returns 0, or
 * -errno with a line in error.
 */
int sandbox_drop_privileges(enum sandbox_role role, char error[CONF_ERROR_MAX]);

/* From here on only the system calls of the loop and the helper thread. After everything was set up. */
int sandbox_filter(char error[CONF_ERROR_MAX]);

#endif
