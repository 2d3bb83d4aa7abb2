// SPDX-License-Identifier: Apache-2.0
/*
 * run.h - lets everything happen that a step made possible: deliveries along the chains, and answers to
 * parked requests.
 *
 * Work moves through the queue and not by recursion, so no chain is too long.
 */
#ifndef PYRMAPFS_RUN_H
#define PYRMAPFS_RUN_H

#include "exchange/terms.h"

/* Works off the queue; does nothing if it is running already. */
void run_all(struct exchange *exchange);

#endif
