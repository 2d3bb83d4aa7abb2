// SPDX-License-Identifier: Apache-2.0
#include "page.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/futex.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

struct page_name {
    char text[24];
};

static struct page_name name_of(const struct slot *slot)
{
    struct page_name name;

    snprintf(name.text, sizeof(name.text), "m%llx", (unsigned long long)slot->serial);
    return name;
}

/* NULL with -errno in *result. */
static struct record *map_page(struct arena *arena, const struct slot *slot, int flags, int *result)
{
    int fd = arena_file_open(arena, name_of(slot).text, O_RDWR | flags);
    void *map = MAP_FAILED;

    *result = 0;
    if (fd < 0) {
        *result = fd;
        return NULL;
    }
    if (flags & O_CREAT && fallocate(fd, 0, 0, RECORD_SIZE) < 0 &&
        (errno != EOPNOTSUPP || ftruncate(fd, RECORD_SIZE) < 0))
        *result = -errno;
    if (*result == 0) {
        map = mmap(NULL, RECORD_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        if (map == MAP_FAILED)
            *result = -errno;
    }
    close(fd);
    return map == MAP_FAILED ? NULL : map;
}

static void store(struct record *page, const struct record *record)
{
    struct record rest = *record;

    /* Who polls the flag must find the lengths that belong to it; who waits on change finds all. */
    rest.flag = page->flag;
    rest.change = page->change;
    memcpy(page, &rest, sizeof(rest));
    __atomic_store_n(&page->flag, record->flag, __ATOMIC_RELEASE);
    __atomic_store_n(&page->change, record->change, __ATOMIC_RELEASE);
}

int page_open(struct arena *arena, struct slot *slot)
{
    if (!slot->page) {
        int result;
        struct record *page = map_page(arena, slot, slot->page_exists ? 0 : O_CREAT, &result);

        if (!page)
            return result;
        if (!slot->page_exists)
            store(page, &slot->record);
        slot->page = page;
        slot->page_exists = 1;
    }
    slot->page_handles++;
    return 0;
}

void page_close(struct slot *slot)
{
    if (slot->page_handles == 0 || --slot->page_handles > 0)
        return;
    munmap(slot->page, RECORD_SIZE);
    slot->page = NULL;
}

int page_descriptor(struct arena *arena, const struct slot *slot)
{
    return arena_file_open(arena, name_of(slot).text, O_RDONLY);
}

void page_update(struct arena *arena, struct slot *slot)
{
    int result;
    struct record *page = slot->page;

    if (!slot->page_exists)
        return;
    if (!page)
        page = map_page(arena, slot, 0, &result);
    if (!page)
        return;
    store(page, &slot->record);
    syscall(SYS_futex, &page->change, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
    if (!slot->page)
        munmap(page, RECORD_SIZE);
}

void page_remove(struct arena *arena, struct slot *slot)
{
    if (slot->page)
        munmap(slot->page, RECORD_SIZE);
    slot->page = NULL;
    slot->page_handles = 0;
    if (slot->page_exists)
        arena_file_unlink(arena, name_of(slot).text);
    slot->page_exists = 0;
}
