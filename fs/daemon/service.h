// SPDX-License-Identifier: Apache-2.0
/*
 * service.h - tells the service manager how far we are, in the protocol of sd_notify(3).
 *
 * Each function does nothing unless $NOTIFY_SOCKET names a socket, as it does for units of Type=notify.
 */
#ifndef PYRMAPFS_SERVICE_H
#define PYRMAPFS_SERVICE_H

/* The mount answers: units that are ordered after ours may start. */
void service_ready(const char *mountpoint);

/* It is being unmounted. */
void service_stopping(void);

/* The start failed, for the reason in error, one line: `systemctl status` shows it. */
void service_failed(const char *error);

#endif
