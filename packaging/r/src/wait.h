// SPDX-License-Identifier: Apache-2.0
/*
 * wait.h - waiting for rounds to end, while Python's output goes to the console and Ctrl-C works.
 */
#ifndef PYRMAP_WAIT_H
#define PYRMAP_WAIT_H

#include "slot.h"

/*
 * Waits until one of the slots (a list) is in DONE or FAILED with a round whose outcome was not taken.
 * Its index from 1; 0 after timeout seconds (may be Inf); -index: the round was cancelled from outside;
 * -length(slots) - index: that one of the workers ended, and nobody will compute the round of its slot.
 * workers: a list, NULL where there is none; served: the slot of each. The output of all workers is passed on.
 * R's interrupt leaves by longjmp.
 */
SEXP pyrmap_wait(SEXP slots, SEXP workers, SEXP served, SEXP timeout);

/* Processors that this process may run on. */
SEXP pyrmap_cores(void);

#endif
