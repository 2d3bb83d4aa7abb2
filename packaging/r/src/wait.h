// SPDX-License-Identifier: Apache-2.0
/*
 * wait.h - waiting for rounds to end, while Python's output goes to the console and Ctrl-C works.
 */
#ifndef PYRMAP_WAIT_H
#define PYRMAP_WAIT_H

#include "slot.h"

/*
 * Waits until one of the slots (a list) is in DONE or FAILED with a round whose outcome was not taken.
 * Its index from 1; 0 after timeout seconds (may be Inf); -1: the server ended and nothing more will come; -2
 * - index: the round was cancelled from outside; NA: there is news of the server, if that ends the wait (TRUE
 * or FALSE). R's interrupt leaves by longjmp.
 */
SEXP pyrmap_wait(SEXP slots, SEXP server, SEXP timeout, SEXP news);

/* Processors that this process may run on. */
SEXP pyrmap_cores(void);

#endif
