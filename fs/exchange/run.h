// SPDX-License-Identifier: Apache-2.0
/*
 * run.h - lets everything happen that a step made possible: deliveries along the chains, and answers to
 * parked requests.
 *
 * Work moves through the queue and not by recursion, so no chain is too long. After a few milliseconds it goes
 * on in turns, between which the loop serves others. For clients a step stays one step: until a slot is at rest
 * nobody may work on it or look at it, and we answer the client whose step it was afterwards. The layer above
 * sees to that.
 */
#ifndef PYRMAPFS_RUN_H
#define PYRMAPFS_RUN_H

#include "exchange/terms.h"

/* Works off the queue, or begins to; does nothing if it is running already. */
void run_all(struct exchange *exchange);

/* Works off all of it at once: only before the loop serves anybody. */
void run_to_the_end(struct exchange *exchange);

/* Whether nothing goes on in turns. */
bool run_all_at_rest(const struct exchange *exchange);
/* Whether no work is left for the slot, nor for the slots that feed it. */
bool run_is_at_rest(struct exchange *exchange, const struct slot *slot);

#endif
