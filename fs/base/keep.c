// SPDX-License-Identifier: Apache-2.0
#include "base/keep.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 0x0008U
#endif

enum { STEP = 64 << 10, HEADER = 64 }; /* bytes by which the file grows; of the header */

struct keep_header {
    uint64_t record_size;
    uint32_t room; /* records that the file has pages for */
};

static size_t bytes_of(const struct keep *keep, uint32_t records)
{
    return HEADER + (size_t)records * keep->record_size;
}

static uint64_t *first_word(const struct keep *keep, uint32_t number)
{
    return (uint64_t *)(void *)(keep->records + (size_t)number * keep->record_size);
}

/* Gives the file pages before we touch them: otherwise a full machine would give SIGBUS. */
static int allocate(const struct keep *keep, uint32_t records)
{
    int result;

    do
        result = fallocate(keep->fd, 0, 0, (off_t)bytes_of(keep, records));
    while (result < 0 && errno == EINTR);
    return result < 0 ? -errno : 0;
}

static int grow(struct keep *keep)
{
    uint32_t room = keep->header->room;
    uint32_t more = room + (uint32_t)(STEP / keep->record_size) + 1;
    int result;

    if (more > keep->most)
        more = keep->most;
    if (more == room)
        return -ENOSPC;
    result = allocate(keep, more);
    if (result == 0)
        keep->header->room = more;
    return result;
}

static int map(struct keep *keep)
{
    void *start = mmap(NULL, bytes_of(keep, keep->most), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE,
                       keep->fd, 0);

    if (start == MAP_FAILED)
        return -errno;
    keep->header = start;
    keep->records = (char *)start + HEADER;
    return 0;
}

int keep_open(struct keep *keep, const char *name, size_t record_size, uint32_t most)
{
    int result;

    *keep = (struct keep){.record_size = record_size, .most = most};
    keep->fd = memfd_create(name, MFD_CLOEXEC | MFD_NOEXEC_SEAL);
    if (keep->fd < 0 && errno == EINVAL) /* before Linux 6.3 */
        keep->fd = memfd_create(name, MFD_CLOEXEC);
    if (keep->fd < 0)
        return -errno;
    result = allocate(keep, 0);
    if (result == 0)
        result = map(keep);
    if (result < 0) {
        close(keep->fd);
        return result;
    }
    keep->header->record_size = record_size;
    return 0;
}

int keep_attach(struct keep *keep, int fd, size_t record_size, uint32_t most)
{
    struct stat status;
    int result;

    *keep = (struct keep){.record_size = record_size, .most = most, .fd = fd};
    if (fstat(fd, &status) < 0)
        return -errno;
    if (status.st_size < HEADER)
        return -EINVAL;
    result = map(keep);
    if (result < 0)
        return result;
    if (keep->header->record_size != record_size || keep->header->room > most ||
        (uint64_t)status.st_size < bytes_of(keep, keep->header->room)) {
        munmap(keep->header, bytes_of(keep, most));
        keep->header = NULL;
        return -EINVAL;
    }
    return 0;
}

void keep_close(struct keep *keep)
{
    if (!keep->header)
        return;
    munmap(keep->header, bytes_of(keep, keep->most));
    close(keep->fd);
    *keep = (struct keep){0};
}

uint32_t keep_take(struct keep *keep)
{
    while (keep->first_free < keep->header->room && *first_word(keep, keep->first_free))
        keep->first_free++;
    if (keep->first_free == keep->header->room && grow(keep) < 0)
        return KEEP_NONE;
    memset(keep_fresh(keep, keep->first_free), 0, keep->record_size);
    return keep->first_free;
}

void keep_drop(struct keep *keep, uint32_t number)
{
    if (number >= keep->header->room)
        return;
    __atomic_store_n(first_word(keep, number), 0, __ATOMIC_RELEASE);
    if (number < keep->first_free)
        keep->first_free = number;
}

void *keep_fresh(const struct keep *keep, uint32_t number)
{
    return first_word(keep, number);
}

void *keep_at(const struct keep *keep, uint32_t number)
{
    return number < keep->header->room && *first_word(keep, number) ? first_word(keep, number) : NULL;
}

void *keep_next(const struct keep *keep, uint32_t *number)
{
    while (*number < keep->header->room && !*first_word(keep, *number))
        (*number)++;
    return keep_at(keep, *number);
}
