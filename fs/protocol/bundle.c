// SPDX-License-Identifier: Apache-2.0
#include "protocol/bundle.h"

#include <string.h>

const char *bundle_fault(const void *first, size_t got, uint64_t size)
{
    uint64_t header;

    if (got < BUNDLE_PREFIX || size < BUNDLE_PREFIX)
        return "a bundle begins with 8 bytes that say how long its header is, and there are fewer";
    memcpy(&header, first, sizeof(header));
    if (header > BUNDLE_HEADER_MAX)
        return "its first 8 bytes say that the header of the bundle has more than 1 MiB";
    if (header > size - BUNDLE_PREFIX)
        return "its first 8 bytes say that the header of the bundle is longer than the file";
    return NULL;
}
