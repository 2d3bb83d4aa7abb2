// SPDX-License-Identifier: Apache-2.0
/*
 * pin.h - a process that has the server's descriptors, and keeps them for a moment when the server is gone.
 *
 * The record pages of a memfd arena have no name: when a server is killed nobody else could tell the clients
 * that sleep on them. The pin shares the server's table of descriptors, waits for its end, retires the pages
 * that are not retired yet, and ends.
 */
#ifndef PYRMAPFS_PIN_H
#define PYRMAPFS_PIN_H

#include <sys/types.h>

/*
 * Call it in the server before it has another thread. Returns the process, or -1 where the kernel makes none
 * this way (clone3, Linux 5.3). When the server has ended, its parent has to wait for it.
 */
pid_t pin_start(void);
/* Ends it while the server is there. -1 is fine. */
void pin_end(pid_t pin);

#endif
