// SPDX-License-Identifier: Apache-2.0
/*
 * spare.h - slots that held moved results, and are kept empty for others when those have gone.
 *
 * To make a slot, name its owner and remove it costs a dozen requests, to empty one two. So in a loop whose results go one
 * after the other the slots that hold them take turns.
 */
#ifndef PYRMAP_SPARE_H
#define PYRMAP_SPARE_H

#include "slot.h"

/* Empties a slot that nobody has any more, and keeps it; false: it cannot be used again. */
bool spare_keep(struct slot *slot);

/* Moves the result of a slot into a spare one in the same place, which is the caller's then. NULL: there is none. */
struct slot *spare_fill(const struct slot *from);

/* Removes all. */
SEXP pyrmap_spares_end(void);

#endif
