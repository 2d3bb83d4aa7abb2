// SPDX-License-Identifier: Apache-2.0
/*
 * memory.h - what the machine can spare. An arena may be promised more than there is at the moment, and pages
 * of a tmpfs or memfd that nobody can reclaim would then call for the OOM killer, which ends any process but
 * the right one.
 */
#ifndef PYRMAPFS_MEMORY_H
#define PYRMAPFS_MEMORY_H

#include <stdbool.h>
#include <stdint.h>

/* Whether that many bytes can be had and enough is left for all others. True where nobody can tell. */
bool memory_spares(uint64_t bytes);

#endif
