// SPDX-License-Identifier: Apache-2.0
/*
 * sysctl.h - settings of the kernel that concern a FUSE server.
 */
#ifndef PYRMAPFS_SYSCTL_H
#define PYRMAPFS_SYSCTL_H

/*
 * Seconds after which the kernel aborts a connection that has not answered a request; 0: it never does.
 * fs.fuse.default_request_timeout, for a server that asks for no other, cut by fs.fuse.max_request_timeout;
 * the kernel looks every 15 seconds, and takes nothing less. root is "/proc/sys". A kernel without these
 * settings waits for ever.
 */
unsigned sysctl_request_timeout(const char *root);

#endif
