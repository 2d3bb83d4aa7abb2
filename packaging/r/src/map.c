// SPDX-License-Identifier: Apache-2.0
/*
 * map.c - mmap, munmap and /proc/self/pagemap.
 */
#include "map.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define HUGE_PAGE ((size_t)2 << 20)

/* What is filled is stored whole: one call is many times as fast as a fault for each of its pages. */
static const struct {
    int protection;
    int flags;
} modes[] = {
    [MAP_FILL] = {PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE},
    [MAP_VIEW] = {PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_NORESERVE},
};

/* The kernel maps a huge page only where file offset and address are aligned alike: mmap of a FUSE file does
 * not see to that. */
static void *reserve_aligned(size_t size)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    size_t length = (size + page - 1) / page * page;
    char *start =
        mmap(NULL, length + HUGE_PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (start == MAP_FAILED)
        return NULL;
    size_t before = (HUGE_PAGE - (uintptr_t)start % HUGE_PAGE) % HUGE_PAGE;
    if (before > 0)
        munmap(start, before);
    if (before < HUGE_PAGE)
        munmap(start + before + length, HUGE_PAGE - before);
    return start + before;
}

void *segment_map(int fd, size_t size, enum map_mode mode)
{
    void *wanted = size >= HUGE_PAGE ? reserve_aligned(size) : NULL;
    int flags = modes[mode].flags | (wanted ? MAP_FIXED : 0);
    void *address = mmap(wanted, size, modes[mode].protection, flags, fd, 0);
    if (address != MAP_FAILED)
        return address;
    int error = errno;
    if (wanted)
        munmap(wanted, size);
    errno = error;
    return NULL;
}

int segment_settle_map(void *address, size_t size, int fd)
{
    void *same = mmap(address, size, modes[MAP_VIEW].protection, modes[MAP_VIEW].flags | MAP_FIXED, fd, 0);
    return same == MAP_FAILED ? -errno : 0;
}

int segment_leave(void *address, size_t size)
{
    void *copy = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (copy == MAP_FAILED)
        return -errno;
    memcpy(copy, address, size);
    if (mremap(copy, size, size, MREMAP_MAYMOVE | MREMAP_FIXED, address) != MAP_FAILED)
        return 0;
    int error = errno;
    munmap(copy, size);
    return -error;
}

void segment_unmap(void *address, size_t size)
{
    if (address && size > 0)
        munmap(address, size);
}

size_t segment_private_bytes(const void *address, size_t size)
{
    const uint64_t present = UINT64_C(1) << 63, swapped = UINT64_C(1) << 62, of_file = UINT64_C(1) << 61;
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    size_t pages = (size + page - 1) / page, copied = 0;
    int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return size;
    uint64_t entries[512];
    for (size_t done = 0; done < pages;) {
        size_t want = pages - done < 512 ? pages - done : 512;
        off_t offset = (off_t)(((uintptr_t)address / page + done) * sizeof(entries[0]));
        ssize_t got = pread(fd, entries, want * sizeof(entries[0]), offset);
        if (got < (ssize_t)sizeof(entries[0])) {
            copied = pages;
            break;
        }
        size_t count = (size_t)got / sizeof(entries[0]);
        for (size_t i = 0; i < count; i++)
            copied += (entries[i] & (present | swapped)) && !(entries[i] & of_file);
        done += count;
    }
    close(fd);
    return copied * page < size ? copied * page : size;
}
