// SPDX-License-Identifier: Apache-2.0
/*
 * memory.h - how much memory the machine, and our cgroup, can spare. An arena may be larger than the memory that is
 * free. The kernel cannot reclaim pages of a tmpfs or memfd, so it would call the OOM killer, which may end any process.
 */
#ifndef PYRMAPFS_MEMORY_H
#define PYRMAPFS_MEMORY_H

#include <stdbool.h>
#include <stdint.h>

/*
 * Whether that many bytes are free and enough stays free for other programs. True if the kernel does not say.
 */
bool memory_spares(uint64_t bytes);

/*
 * The same for a few bytes of many: it asks only once for each MEMORY_ASK bytes, because that costs more than to
 * write a few, and the answer changes slowly.
 */
enum { MEMORY_ASK = 4 << 20 };
bool memory_spares_some(uint64_t bytes);

#endif
