// SPDX-License-Identifier: Apache-2.0
#include "slot/page.h"

#include "base/log.h"
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/futex.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

/* No other file of the arena has a name that begins so. */
static const char page_prefix = 'm';

struct page_name {
    char text[24];
};

static struct page_name name_of(const struct slot *slot)
{
    struct page_name name;

    snprintf(name.text, sizeof(name.text), "%c%llx", page_prefix, (unsigned long long)slot->serial);
    return name;
}

/*
 * A client's mapping is a mapping of this file, and may have holes punched into it: a load or store here
 * could end in SIGBUS when memory is short. So the bytes are read and written by system calls; the mapping is
 * an address for the futex.
 */
static int open_file(struct arena *arena, const struct slot *slot, int flags)
{
    int fd = arena_file_open(arena, name_of(slot).text, O_RDWR | flags);
    int result = 0;

    if (fd < 0)
        return fd;
    if (flags & O_CREAT && fallocate(fd, 0, 0, RECORD_SIZE) < 0 &&
        (errno != EOPNOTSUPP || ftruncate(fd, RECORD_SIZE) < 0))
        result = -errno;
    if (result < 0)
        close(fd);
    return result < 0 ? result : fd;
}

static void *map_file(int fd)
{
    return mmap(NULL, RECORD_SIZE, PROT_READ, MAP_SHARED, fd, 0);
}

static void put(int fd, const struct record *record, size_t from, size_t to)
{
    if (pwrite(fd, (const char *)record + from, to - from, (off_t)from) < 0)
        log_warning("a page of metadata.bin could not be written: %s", strerror(errno));
}

static void store(int fd, const struct record *record)
{
    /* Who polls the flag must find the lengths that belong to it; who waits on change finds all. */
    put(fd, record, offsetof(struct record, version), offsetof(struct record, change));
    put(fd, record, offsetof(struct record, reserved), sizeof(*record));
    put(fd, record, offsetof(struct record, flag), offsetof(struct record, version));
    put(fd, record, offsetof(struct record, change), offsetof(struct record, reserved));
}

static void wake(char *map)
{
    syscall(SYS_futex, map + offsetof(struct record, change), FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
}

/* A file that was made for an open that is refused after all must go: nobody else knows of it. */
static int give_up(struct arena *arena, const struct slot *slot, int fd, int result)
{
    if (fd >= 0)
        close(fd);
    if (!slot->page_exists)
        arena_file_unlink(arena, name_of(slot).text);
    return result;
}

int page_open(struct arena *arena, struct slot *slot)
{
    if (slot->page_handles == 0) {
        int fd = open_file(arena, slot, slot->page_exists ? 0 : O_CREAT);
        void *map;

        if (fd < 0)
            return give_up(arena, slot, -1, fd);
        map = map_file(fd);
        if (map == MAP_FAILED)
            return give_up(arena, slot, fd, -errno);
        if (!slot->page_exists) {
            store(fd, &slot->record);
            ledger_file_resized(arena, 0, RECORD_SIZE);
        }
        slot->page_exists = 1;
        slot->page = map;
        slot->page_fd = fd;
    }
    slot->page_handles++;
    return 0;
}

static void unmap(struct slot *slot)
{
    munmap(slot->page, RECORD_SIZE);
    close(slot->page_fd);
    slot->page = NULL;
    slot->page_handles = 0;
}

void page_close(struct slot *slot)
{
    if (slot->page_handles > 0 && --slot->page_handles == 0)
        unmap(slot);
}

void page_update(struct arena *arena, struct slot *slot)
{
    int fd;
    void *map;

    if (!slot->page_exists)
        return;
    if (slot->page_handles > 0) {
        store(slot->page_fd, &slot->record);
        wake(slot->page);
        return;
    }
    /* A mapping may outlive the handle that it was made with. */
    fd = open_file(arena, slot, 0);
    if (fd < 0)
        return;
    store(fd, &slot->record);
    map = map_file(fd);
    if (map != MAP_FAILED) {
        wake(map);
        munmap(map, RECORD_SIZE);
    }
    close(fd);
}

int page_read(const struct slot *slot, struct record *copy)
{
    ssize_t got = pread(slot->page_fd, copy, sizeof(*copy), 0);

    return got == sizeof(*copy) ? 0 : got < 0 ? -errno : -EIO;
}

void page_discard(struct arena *arena, const struct slot *slot)
{
    arena_file_unlink(arena, name_of(slot).text);
}

/* What clients have stored there stays, but for version and change. */
static void retire(int fd)
{
    struct record page;
    void *map;

    if (pread(fd, &page, sizeof(page), 0) != sizeof(page) || page.version == RECORD_VERSION_GONE)
        return;
    page.version = RECORD_VERSION_GONE;
    page.change++;
    put(fd, &page, offsetof(struct record, version), offsetof(struct record, input_length));
    put(fd, &page, offsetof(struct record, change), offsetof(struct record, reserved));
    map = map_file(fd);
    if (map == MAP_FAILED)
        return;
    wake(map);
    munmap(map, RECORD_SIZE);
}

void page_retire(struct arena *arena, struct slot *slot)
{
    int fd;

    if (!slot->page_exists)
        return;
    fd = slot->page_handles > 0 ? slot->page_fd : open_file(arena, slot, 0);
    if (fd < 0)
        return;
    retire(fd);
    if (slot->page_handles == 0)
        close(fd);
}

static void visit(void *context, const char *name, int fd)
{
    (void)context;
    if (name[0] == page_prefix)
        retire(fd);
}

void page_retire_all(int directory)
{
    int result = arena_files_visit(directory, visit, NULL);

    if (result < 0)
        log_warning("clients that wait on a mapped metadata.bin could not be woken: %s", strerror(-result));
}

void page_remove(struct arena *arena, struct slot *slot)
{
    page_retire(arena, slot);
    if (slot->page_handles > 0)
        unmap(slot);
    if (slot->page_exists && arena_file_unlink(arena, name_of(slot).text) == 0)
        ledger_file_resized(arena, RECORD_SIZE, 0);
    slot->page_exists = 0;
}
