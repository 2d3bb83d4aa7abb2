// SPDX-License-Identifier: Apache-2.0
/*
 * huge.h - huge pages for memfds, which the kernel gives by itself only where an administrator allows them.
 *
 * A client that maps the file at an address that is aligned as the offset is then has one fault for 2 MiB; with
 * 4 KiB pages its first stores run at a tenth of the speed.
 */
#ifndef PYRMAPFS_HUGE_H
#define PYRMAPFS_HUGE_H

#include <stdint.h>

/*
 * Gets huge pages, zeroed, for those aligned pieces of [from, to) that have no page, as far as the kernel gives
 * them (Linux 6.1). The caller gets the rest by fallocate. The size of the file stays.
 */
void huge_fill(int fd, uint64_t from, uint64_t to);

#endif
