// SPDX-License-Identifier: Apache-2.0
/*
 * salvage.h - slots that a damaged index has lost, and what can be kept of them.
 *
 * The table has set such slots aside (see slot_damage). We find out which of the arrays that their remains name
 * are theirs, and tell people in `error`. While one of them is there no file of the arena is removed because no
 * slot names it: it may be what somebody looks for.
 */
#ifndef PYRMAPFS_SALVAGE_H
#define PYRMAPFS_SALVAGE_H

#include "exchange/terms.h"

/* Before arrays are restored: leaves to a slot that was set aside only what no other slot has. 0 or -errno. */
int salvage_arrays(struct exchange *exchange);
/* After: writes `error` of each, and makes one for those of which nothing is left. */
void salvage_explain(struct exchange *exchange);
bool salvage_has_damage(struct exchange *exchange);

#endif
