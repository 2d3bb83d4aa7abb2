// SPDX-License-Identifier: Apache-2.0
/*
 * sandbox.h - the server gives up what it does not need.
 */
#ifndef PYRMAPFS_SANDBOX_H
#define PYRMAPFS_SANDBOX_H

#include "conf.h"

/*
 * Keeps CAP_SYS_ADMIN alone (passthrough, and to take down its own mount), and sets no_new_privs. Does
 * nothing to capabilities that the process has not got. Before anything of the arena is opened. Returns 0, or
 * -errno with a line in error.
 */
int sandbox_drop_privileges(char error[CONF_ERROR_MAX]);

/* From here on only the system calls of the loop and the helper thread. After everything was set up. */
int sandbox_filter(char error[CONF_ERROR_MAX]);

#endif
