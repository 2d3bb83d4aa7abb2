// SPDX-License-Identifier: Apache-2.0
/*
 * checksum.h - tells bytes that were torn, flipped or mixed from whole ones.
 */
#ifndef PYRMAPFS_CHECKSUM_H
#define PYRMAPFS_CHECKSUM_H

#include <stddef.h>
#include <stdint.h>

/*
 * XXH64 of the bytes, an algorithm with published test vectors. It is no protection against somebody who wants
 * to forge them.
 */
uint64_t checksum_of(const void *bytes, size_t size, uint64_t seed);

#endif
