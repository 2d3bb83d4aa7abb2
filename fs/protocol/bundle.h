// SPDX-License-Identifier: Apache-2.0
/*
 * bundle.h - several arrays in one: the layout of safetensors. 8 bytes N (little-endian), N bytes of JSON
 * that say which tensors there are, then the tensors.
 */
#ifndef PYRMAPFS_BUNDLE_H
#define PYRMAPFS_BUNDLE_H

#include <stddef.h>
#include <stdint.h>

enum {
    BUNDLE_PREFIX = 8,
    BUNDLE_HEADER_MAX = 1 << 20,
};

/*
 * Checks that the header of a bundle of size bytes lies within the bundle. first has its first `got` bytes:
 * BUNDLE_PREFIX of them, or all. Returns NULL, or the fault in a few words.
 */
const char *bundle_fault(const void *first, size_t got, uint64_t size);

#endif
