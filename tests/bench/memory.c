// SPDX-License-Identifier: Apache-2.0
/*
 * memory KIND PATH BYTES REPEATS - how fast an array is stored and loaded through a mapping.
 *
 * A repetition makes room for the array (open, size, mmap), stores it, stores it again, maps it a second time
 * as the other side would, loads it and loads it again. It prints one line of seconds, in that order: room,
 * first store, second store, first load, second load.
 *
 * KIND: slot      PATH is a slot: its data.bin, published after storing; the round is cancelled after loading
 *       warm      the same, once the warm pool again holds a segment of that size
 *       file      PATH is a new file each time, sized by ftruncate
 *       reserved  the same, with its space reserved by fallocate as the arena does
 *       kept      PATH is one file whose pages are there already
 *       ram       anonymous memory; PATH is ignored
 */
#include "client.h"
#include <stdbool.h>
#include <sys/mman.h>
#include <sys/stat.h>

enum kind { KIND_SLOT, KIND_WARM, KIND_FILE, KIND_RESERVED, KIND_KEPT, KIND_RAM, KINDS };

static const char *const kind_names[KINDS] = {"slot", "warm", "file", "reserved", "kept", "ram"};

struct target {
    enum kind kind;
    const char *path;
    size_t size;
    int metadata; /* -1 unless it is a slot */
};

static bool is_slot(const struct target *target)
{
    return target->kind == KIND_SLOT || target->kind == KIND_WARM;
}

static int open_target(const struct target *target, int flags)
{
    if (is_slot(target))
        return open_in(target->path, "data.bin", flags);

    int fd = open(target->path, flags | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0)
        fail(target->path);
    return fd;
}

/* As both packages map: the kernel does not place each kind of file where its huge pages fit. */
static void *map(const struct target *target, int fd, int protection)
{
    const size_t huge = (size_t)2 << 20;
    const size_t size = (target->size + 4095) / 4096 * 4096;
    int flags = fd < 0 ? MAP_PRIVATE | MAP_ANONYMOUS : MAP_SHARED;
    char *place = NULL;

    if (fd >= 0 && protection & PROT_WRITE)
        flags |= MAP_POPULATE;

    if (size >= huge) {
        char *reserved =
            mmap(NULL, size + huge, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (reserved == MAP_FAILED)
            fail("mmap");
        size_t before = (huge - (uintptr_t)reserved % huge) % huge;
        place = reserved + before;
        if (before > 0)
            munmap(reserved, before);
        if (before < huge)
            munmap(place + size, huge - before);
        flags |= MAP_FIXED;
    }
    void *pages = mmap(place, target->size, protection, flags, fd, 0);
    if (pages == MAP_FAILED)
        fail("mmap");
    return pages;
}

/* On the data path "links" a client maps data.mem, which it can open while it has data.bin open. */
static int pages_of(const struct target *target, int fd, int flags)
{
    char path[4096];
    int pages = -1;

    if (is_slot(target)) {
        snprintf(path, sizeof(path), "%s/data.mem", target->path);
        pages = open(path, flags | O_CLOEXEC);
    }
    if (pages < 0)
        return fd;
    close_fd(fd);
    return pages;
}

static void *make_room(const struct target *target)
{
    if (target->kind == KIND_RAM)
        return map(target, -1, PROT_READ | PROT_WRITE);

    int fd = open_target(target, O_RDWR);
    if (ftruncate(fd, (off_t)target->size) != 0)
        fail("ftruncate");
    if (target->kind == KIND_RESERVED && fallocate(fd, 0, 0, (off_t)target->size) != 0)
        fail("fallocate");
    fd = pages_of(target, fd, O_RDWR);
    void *pages = map(target, fd, PROT_READ | PROT_WRITE);
    close_fd(fd);
    return pages;
}

/* Maps the array again only after the first mapping is gone: publishing requires that. */
static void *map_again(const struct target *target, void *pages)
{
    if (target->kind == KIND_RAM)
        return pages;
    munmap(pages, target->size);
    if (is_slot(target))
        publish_flag(target->metadata, RECORD_FLAG_INPUT);

    int fd = pages_of(target, open_target(target, O_RDONLY), O_RDONLY);
    pages = map(target, fd, PROT_READ);
    close_fd(fd);
    return pages;
}

static void discard(const struct target *target, void *pages)
{
    munmap(pages, target->size);
    if (is_slot(target))
        publish_flag(target->metadata, RECORD_FLAG_NONE);
    else if (target->kind == KIND_FILE || target->kind == KIND_RESERVED)
        unlink(target->path);
}

static unsigned long long warm_bytes(const struct target *target)
{
    int fd = open_in(target->path, "../.pyrmap/status", O_RDONLY);
    char text[4096];
    ssize_t length = read(fd, text, sizeof(text) - 1);
    close_fd(fd);
    if (length < 0)
        fail(".pyrmap/status");
    text[length] = '\0';

    const char *line = strstr(text, "\nwarm:");
    return line == NULL ? 0 : strtoull(line + strlen("\nwarm:"), NULL, 10);
}

static void await_warm(const struct target *target)
{
    double deadline = seconds() + 30;

    while (warm_bytes(target) < target->size) {
        if (seconds() > deadline) {
            errno = ETIMEDOUT;
            fail("warm pool");
        }
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    }
}

static uint64_t load(const void *pages, size_t size)
{
    const uint64_t *word = pages;
    uint64_t sum[8] = {0};

    for (size_t i = 0; i < size / sizeof(*word); i += 8)
        for (size_t lane = 0; lane < 8; lane++)
            sum[lane] += word[i + lane];
    return sum[0] + sum[1] + sum[2] + sum[3] + sum[4] + sum[5] + sum[6] + sum[7];
}

static void measure(const struct target *target, const void *source, uint64_t expected)
{
    double at[7];

    at[0] = seconds();
    void *pages = make_room(target);
    at[1] = seconds();
    memcpy(pages, source, target->size);
    at[2] = seconds();
    memcpy(pages, source, target->size);
    at[3] = seconds();
    pages = map_again(target, pages);
    at[4] = seconds();
    uint64_t first = load(pages, target->size);
    at[5] = seconds();
    uint64_t second = load(pages, target->size);
    at[6] = seconds();
    discard(target, pages);

    if (first != expected || second != expected) {
        fprintf(stderr, "%s: what was loaded is not what was stored\n", target->path);
        exit(EXIT_FAILURE);
    }
    printf("%.9f %.9f %.9f %.9f %.9f\n", at[1] - at[0], at[2] - at[1], at[3] - at[2], at[5] - at[4],
           at[6] - at[5]);
}

int main(int argc, char **argv)
{
    struct target target = {.kind = KIND_SLOT, .metadata = -1};

    while (argc == 5 && target.kind < KINDS && strcmp(argv[1], kind_names[target.kind]) != 0)
        target.kind++;
    if (argc != 5 || target.kind == KINDS) {
        fprintf(stderr, "usage: memory slot|warm|file|reserved|kept|ram PATH BYTES REPEATS\n");
        return 2;
    }
    target.path = argv[2];
    target.size = (size_t)positive(argv[3]) / 64 * 64;
    if (is_slot(&target))
        target.metadata = open_in(target.path, "metadata.bin", O_RDWR);

    uint64_t *source =
        map(&(struct target){.kind = KIND_RAM, .size = target.size}, -1, PROT_READ | PROT_WRITE);
    for (size_t i = 0; i < target.size / sizeof(*source); i++)
        source[i] = i * UINT64_C(0x9e3779b97f4a7c15);
    uint64_t expected = load(source, target.size);

    if (target.kind == KIND_KEPT)
        munmap(make_room(&target), target.size);
    for (long repeats = positive(argv[4]), done = 0; done < repeats; done++) {
        /* The first one fills the pool. */
        if (target.kind == KIND_WARM && done > 0)
            await_warm(&target);
        measure(&target, source, expected);
    }
    if (target.kind == KIND_KEPT)
        unlink(target.path);
    return 0;
}
