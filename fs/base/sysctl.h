// SPDX-License-Identifier: Apache-2.0
/*
 * sysctl.h - the kernel's settings that concern a FUSE server.
 */
#ifndef PYRMAPFS_SYSCTL_H
#define PYRMAPFS_SYSCTL_H

/*
 * Seconds after which the kernel aborts a connection that has not answered a request; 0: never, as in a
 * kernel without the settings. That is fs.fuse.default_request_timeout, limited by
 * fs.fuse.max_request_timeout; the kernel looks every 15 seconds and takes nothing less. root is "/proc/sys".
 */
unsigned sysctl_request_timeout(const char *root);

#endif
