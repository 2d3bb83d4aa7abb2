// SPDX-License-Identifier: Apache-2.0
/*
 * server.h - the process that serves the mount: puts the parts together and runs the loop.
 *
 * Who waits for whom. The arrows must form no circle, or all of them would wait for ever:
 *
 *   client's request ----> helper thread ----> client's read of metadata.bin ----> loop ----> nobody
 *   (parked while a job    (gets memory;       (the kernel locks the page that     (epoll)
 *    gets its pages)        drops old pages)    it fills; we never park it)
 *
 * So while the loop serves, it waits for no job, and for no lock that the kernel may hold for a request
 * without an answer; and the helper thread drops pages of metadata.bin only (fuse/notify.c). A request parked
 * for another client waits for that client's requests, which the loop goes on to answer. At its end the loop
 * does wait for jobs, and answers requests until they have ended.
 */
#ifndef PYRMAPFS_SERVER_H
#define PYRMAPFS_SERVER_H

#include "fuse/ops.h"

/*
 * Serves ops->session until it is unmounted or SIGTERM comes; SIGTERM is blocked. ops has session, conf,
 * mountpoint and key; server_run fills in the rest. It sends a word to ready_fd, "ready" or what is wrong, with the
 * descriptor of arena_files if there is one, and closes it; if it has a pin, SERVER_PIN and its pid come
 * before that. It may ask for a directory to be attached by SERVER_ATTACH with its descriptor, and is sent the path, or
 * a negative error number. It ends when `supervisor`, our parent, is gone. Returns the process's exit status.
 */
#define SERVER_PIN    "pin "
#define SERVER_ATTACH "attach"
int server_run(struct request_ops *ops, int ready_fd, pid_t supervisor);

#endif
