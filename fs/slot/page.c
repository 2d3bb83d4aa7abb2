// SPDX-License-Identifier: Apache-2.0
#include "slot/page.h"

#include "base/descriptors.h"
#include "base/log.h"
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/futex.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

static const struct {
    char prefix; /* no other file of the arena has a name that begins with it */
    size_t size;
} kinds[SLOT_PAGES] = {
    [SLOT_PAGE_BIN] = {'m', RECORD_SIZE},
    [SLOT_PAGE_MEM] = {'p', RECORD_PAGE_SIZE},
};

struct page_name {
    char text[24];
};

static struct page_name name_of(const struct slot *slot, enum slot_page_kind kind)
{
    struct page_name name;

    snprintf(name.text, sizeof(name.text), "%c%llx", kinds[kind].prefix, (unsigned long long)slot->serial);
    return name;
}

/*
 * Never load or store through our mapping of a page, which is only an address for the futex: clients map the
 * same file and can punch holes into metadata.bin, so when memory is short we would get SIGBUS. Read and
 * write the bytes by system calls.
 */
static int open_to_use(struct arena *arena, const struct slot *slot, enum slot_page_kind kind, int flags)
{
    int fd = arena_file_open(arena, name_of(slot, kind).text, O_RDWR | flags);
    off_t size = (off_t)kinds[kind].size;
    int result = 0;

    if (fd < 0)
        return fd;
    do
        result = flags & O_CREAT ? fallocate(fd, 0, 0, size) : 0;
    while (result < 0 && errno == EINTR);
    if (result < 0)
        result = errno == EOPNOTSUPP && ftruncate(fd, size) == 0 ? 0 : -errno;
    if (result < 0)
        close(fd);
    return result < 0 ? result : fd;
}

/* Use the reserve of descriptors: a client that has the page mapped must see the update. */
static int open_to_update(struct arena *arena, const struct slot *slot, enum slot_page_kind kind)
{
    int fd = arena_file_open(arena, name_of(slot, kind).text, O_RDWR);

    if (fd != -EMFILE)
        return fd;
    descriptors_open_reserve();
    fd = arena_file_open(arena, name_of(slot, kind).text, O_RDWR);
    descriptors_close_reserve();
    return fd;
}

static void *map_file(int fd)
{
    return mmap(NULL, RECORD_SIZE, PROT_READ, MAP_SHARED, fd, 0);
}

static int put(int fd, const struct record_page *page, size_t from, size_t to)
{
    if (pwrite(fd, (const char *)page + from, to - from, (off_t)from) >= 0)
        return 0;
    log_warning("a page of a record could not be written: %s", strerror(errno));
    return -EIO;
}

static int put_change(int fd, struct record_page *page, uint32_t change)
{
    page->record.change = change;
    return put(fd, page, offsetof(struct record, change), offsetof(struct record, input_inline));
}

void page_show(const struct slot *slot, struct record_page *page)
{
    page->record = slot->record;
    memcpy(page->input, slot->inline_bytes[RECORD_SIDE_INPUT], sizeof(page->input));
    memcpy(page->result, slot->inline_bytes[RECORD_SIDE_RESULT], sizeof(page->result));
}

/*
 * Write order is the protocol: odd change, body, flag, even change. A reader that sees the new flag sees the
 * lengths that belong to it. Each pwrite takes and releases the file's lock, so no processor sees the writes
 * in another order. If one fails, change stays odd: no reader takes the page for whole. Returns 0 or -EIO.
 */
static int store(int fd, const struct slot *slot, enum slot_page_kind kind)
{
    uint32_t change = slot->record.change;
    struct record_page page;
    int result;

    page_show(slot, &page);
    result = put_change(fd, &page, change - 1);
    if (result == 0)
        result = put(fd, &page, offsetof(struct record, version), kinds[kind].size);
    if (result == 0)
        result = put(fd, &page, offsetof(struct record, flag), offsetof(struct record, version));
    return result == 0 ? put_change(fd, &page, change) : result;
}

static void wake(char *map)
{
    syscall(SYS_futex, map + offsetof(struct record, change), FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
}

/*
 * Keep one address range for good and map pages into it to wake their sleepers: replacing a mapping works
 * even when the process has as many mappings as the kernel allows.
 */
static char *window;

static int open_window(void)
{
    void *map;

    if (window)
        return 0;
    map = mmap(NULL, RECORD_PAGE_SIZE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (map == MAP_FAILED)
        return -errno;
    window = map;
    return 0;
}

static void wake_through_window(int fd)
{
    const int ours = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED;

    if (mmap(window, RECORD_PAGE_SIZE, PROT_READ, MAP_SHARED | MAP_FIXED, fd, 0) == MAP_FAILED)
        log_warning("clients that wait on a mapped record could not be woken: %s", strerror(errno));
    else
        wake(window);
    if (mmap(window, RECORD_PAGE_SIZE, PROT_NONE, ours, -1, 0) == MAP_FAILED)
        log_warning("a record's page stays mapped until the next one: %s", strerror(errno));
}

/* If this open made the file, remove it again: nothing refers to it. */
static int give_up(struct arena *arena, const struct slot *slot, enum slot_page_kind kind, int fd, int result)
{
    if (fd >= 0)
        close(fd);
    if (!slot->pages[kind].exists)
        arena_file_unlink(arena, name_of(slot, kind).text);
    return result;
}

int page_open(struct arena *arena, struct slot *slot, enum slot_page_kind kind)
{
    struct slot_page *page = &slot->pages[kind];

    if (page->handles == 0) {
        int fd = open_window();
        void *map;

        if (fd == 0)
            fd = open_to_use(arena, slot, kind, page->exists ? 0 : O_CREAT);
        if (fd < 0)
            return give_up(arena, slot, kind, -1, fd);
        map = map_file(fd);
        if (map == MAP_FAILED)
            return give_up(arena, slot, kind, fd, -errno);
        if (!page->exists && store(fd, slot, kind) < 0) {
            munmap(map, RECORD_SIZE);
            return give_up(arena, slot, kind, fd, -EIO);
        }
        if (!page->exists)
            ledger_file_resized(arena, 0, kinds[kind].size);
        page->exists = 1;
        page->map = map;
        page->fd = fd;
    }
    page->handles++;
    return 0;
}

static void unmap(struct slot_page *page)
{
    munmap(page->map, RECORD_SIZE);
    close(page->fd);
    page->map = NULL;
    page->handles = page->linked = 0;
}

void page_close(struct slot *slot, enum slot_page_kind kind)
{
    struct slot_page *page = &slot->pages[kind];

    if (page->handles > 0 && --page->handles == 0)
        unmap(page);
}

int page_link(struct arena *arena, const struct slot *slot, uid_t uid, char *path, size_t size)
{
    return arena_file_link(arena, name_of(slot, SLOT_PAGE_MEM).text, slot->pages[SLOT_PAGE_MEM].fd, uid, path,
                           size);
}

void page_revoke(const struct slot *slot)
{
    const struct slot_page *page = &slot->pages[SLOT_PAGE_MEM];
    int error = page->linked ? arena_file_revoke(page->fd) : 0;

    if (error)
        log_warning("users who had the page of a record may open it again: %s", strerror(-error));
}

/* A client may have closed the file and kept its mapping. */
static void update_through_window(struct slot *slot, enum slot_page_kind kind, int fd)
{
    slot->pages[kind].behind = store(fd, slot, kind) < 0;
    wake_through_window(fd);
}

static void update(struct arena *arena, struct slot *slot, enum slot_page_kind kind)
{
    struct slot_page *page = &slot->pages[kind];
    int fd;

    if (!page->exists)
        return;
    if (page->handles > 0) {
        page->behind = store(page->fd, slot, kind) < 0;
        wake(page->map);
        return;
    }
    fd = open_to_update(arena, slot, kind);
    if (fd < 0) {
        page->behind = 1;
        log_warning("a page of a record could not be opened: %s", strerror(-fd));
        return;
    }
    update_through_window(slot, kind, fd);
    close(fd);
}

/* Most waiters sleep on metadata.mem: wake them before the other page is written. */
void page_update(struct arena *arena, struct slot *slot)
{
    update(arena, slot, SLOT_PAGE_MEM);
    update(arena, slot, SLOT_PAGE_BIN);
}

int page_read(const struct slot *slot, struct record *copy)
{
    const struct slot_page *page = &slot->pages[SLOT_PAGE_BIN];
    ssize_t got;

    if (page->behind)
        return -ESTALE;
    got = pread(page->fd, copy, sizeof(*copy), 0);
    return got == sizeof(*copy) ? 0 : got < 0 ? -errno : -EIO;
}

void page_discard(struct arena *arena, const struct slot *slot)
{
    for (int kind = 0; kind < SLOT_PAGES; kind++)
        arena_file_unlink(arena, name_of(slot, (enum slot_page_kind)kind).text);
}

void page_take_over(struct arena *arena, struct slot *slot)
{
    const bool has_window = open_window() == 0;

    for (int kind = 0; kind < SLOT_PAGES; kind++) {
        int fd = open_to_update(arena, slot, (enum slot_page_kind)kind);
        struct stat status;

        if (fd < 0)
            continue;
        /* A server that was killed while it made the file has given it to nobody: it is made again. */
        if (fstat(fd, &status) == 0 && status.st_size == (off_t)kinds[kind].size) {
            slot->pages[kind].exists = 1;
            ledger_file_resized(arena, 0, kinds[kind].size);
            /* Clients have a path to it, and we cannot simply open it again: keep it open as before. */
            if (!(status.st_mode & S_IWUSR) && page_open(arena, slot, (enum slot_page_kind)kind) == 0)
                slot->pages[kind].linked = 1;
            if (has_window)
                update_through_window(slot, (enum slot_page_kind)kind, fd);
        } else {
            arena_file_unlink(arena, name_of(slot, (enum slot_page_kind)kind).text);
        }
        close(fd);
    }
}

/* Changes only version and change. A server that was killed may have left change odd. */
static void retire(int fd)
{
    struct record_page page;

    if (pread(fd, &page, RECORD_SIZE, 0) != RECORD_SIZE || page.record.version == RECORD_VERSION_GONE)
        return;
    put_change(fd, &page, page.record.change | 1);
    page.record.version = RECORD_VERSION_GONE;
    put(fd, &page, offsetof(struct record, version), offsetof(struct record, input_length));
    put_change(fd, &page, page.record.change + 1);
    wake_through_window(fd);
}

void page_retire(struct arena *arena, struct slot *slot)
{
    for (int kind = 0; kind < SLOT_PAGES; kind++) {
        const struct slot_page *page = &slot->pages[kind];
        int fd;

        if (!page->exists)
            continue;
        fd = page->handles > 0 ? page->fd : open_to_update(arena, slot, (enum slot_page_kind)kind);
        if (fd < 0)
            continue;
        retire(fd);
        if (page->handles == 0)
            close(fd);
    }
}

static void visit(void *context, const char *name, int fd)
{
    (void)context;
    for (int kind = 0; kind < SLOT_PAGES; kind++) {
        if (name[0] == kinds[kind].prefix)
            retire(fd);
    }
}

void page_retire_all(int directory)
{
    int result = open_window();

    if (result == 0)
        result = arena_files_visit(directory, visit, NULL);

    if (result < 0)
        log_warning("clients that wait on a mapped record could not be woken: %s", strerror(-result));
}

void page_remove(struct arena *arena, struct slot *slot)
{
    page_retire(arena, slot);
    for (int kind = 0; kind < SLOT_PAGES; kind++) {
        struct slot_page *page = &slot->pages[kind];

        if (page->handles > 0)
            unmap(page);
        if (page->exists && arena_file_unlink(arena, name_of(slot, (enum slot_page_kind)kind).text) == 0)
            ledger_file_resized(arena, kinds[kind].size, 0);
        page->exists = 0;
    }
}
