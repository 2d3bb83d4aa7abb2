// SPDX-License-Identifier: Apache-2.0
#include "arena/huge.h"

#include <fcntl.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/mman.h>
#include <unistd.h>

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25
#endif

static const uint64_t huge = UINT64_C(2) << 20;

static bool is_hole(int fd, uint64_t from)
{
    off_t data = lseek(fd, (off_t)from, SEEK_DATA);

    return data < 0 || (uint64_t)data >= from + huge;
}

/*
 * Without a page there is nothing to collapse. The first fallocate gets one and the second one zeroes it; beyond
 * the end of the file the kernel collapses only what has been zeroed.
 */
static bool fill(int fd, uint64_t offset, char *address)
{
    for (int pass = 0; pass < 2; pass++) {
        if (fallocate(fd, FALLOC_FL_KEEP_SIZE, (off_t)offset, 1) < 0)
            return false;
    }
    return madvise(address, huge, MADV_COLLAPSE) == 0;
}

void huge_fill(int fd, uint64_t from, uint64_t to)
{
    char *reserved, *address;

    from = (from + huge - 1) & ~(huge - 1);
    to &= ~(huge - 1);
    if (from >= to)
        return;
    reserved = mmap(NULL, 2 * huge, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (reserved == MAP_FAILED)
        return;
    address = reserved + (huge - (uintptr_t)reserved % huge) % huge;
    for (; from < to; from += huge) {
        if (!is_hole(fd, from))
            continue;
        if (mmap(address, huge, PROT_READ, MAP_SHARED | MAP_FIXED, fd, (off_t)from) == MAP_FAILED ||
            !fill(fd, from, address))
            break;
    }
    munmap(reserved, 2 * huge);
}
