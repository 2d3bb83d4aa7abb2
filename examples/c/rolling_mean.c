// SPDX-License-Identifier: Apache-2.0
/*
 * rolling_mean SLOT WINDOW ROUNDS - a worker in C: the centred rolling mean of a float64 vector.
 *
 * Input and result are mapped; nothing is copied. It needs no library, only the record, which pyrmap.h has:
 *
 *     cc -D_GNU_SOURCE $(pkg-config --cflags pyrmap) -o rolling_mean rolling_mean.c
 */
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <poll.h>
#include <pyrmap.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

struct slot {
    int directory;
    int metadata; /* metadata.bin, open for reading and writing */
};

struct window {
    void *address; /* NULL: an empty file */
    size_t size;
};

static bool read_record(const struct slot *slot, struct pyrmap_record *record)
{
    return pread(slot->metadata, record, sizeof *record, 0) == sizeof *record;
}

/* poll(2) says that the record has changed since it was last read. */
static bool wait_for_input(const struct slot *slot, struct pyrmap_record *record)
{
    struct pollfd change = {.fd = slot->metadata, .events = POLLIN};
    while (read_record(slot, record)) {
        if (record->flag == PYRMAP_FLAG_INPUT)
            return true;
        if (poll(&change, 1, -1) < 0 && errno != EINTR)
            return false;
    }
    return false;
}

/*
 * Opens the pages of the array that is open as fd, and closes fd. Only where the data path is links is there a
 * name for them. Elsewhere, and where this process cannot follow the link, we map the file of the mount: fd.
 */
static int open_pages(const struct slot *slot, const char *name, int flags, int fd)
{
    char link[32];
    snprintf(link, sizeof link, "%.*s.mem", (int)strcspn(name, "."), name);
    int pages = openat(slot->directory, link, flags | O_CLOEXEC);
    if (pages < 0)
        return fd;
    close(fd);
    return pages;
}

/* Maps a file of the slot, and closes it at once: a mapping needs no descriptor. */
static bool map(const struct slot *slot, const char *name, int flags, size_t size, struct window *window)
{
    *window = (struct window){.size = size};
    int fd = openat(slot->directory, name, flags | O_CLOEXEC);
    if (fd < 0)
        return false;
    bool writes = (flags & O_ACCMODE) == O_RDWR;
    bool mapped = !writes || ftruncate(fd, (off_t)size) == 0;
    if (mapped && size > 0) {
        fd = open_pages(slot, name, flags, fd);
        void *address = mmap(NULL, size, writes ? PROT_READ | PROT_WRITE : PROT_READ, MAP_SHARED, fd, 0);
        mapped = address != MAP_FAILED;
        window->address = mapped ? address : NULL;
    }
    close(fd);
    return mapped;
}

/* The result cannot be published while it is mapped for writing. */
static void unmap(struct window *window)
{
    if (window->address)
        munmap(window->address, window->size);
    window->address = NULL;
}

static void rolling_mean(const double *x, double *mean, int64_t length, int64_t width)
{
    int64_t before = (width - 1) / 2;
    int64_t after = width / 2;
    for (int64_t at = 0; at < length; at++) {
        if (at < before || at + after >= length) {
            mean[at] = NAN;
            continue;
        }
        double sum = 0;
        for (int64_t near = at - before; near <= at + after; near++)
            sum += x[near];
        mean[at] = sum / (double)width;
    }
}

static void fail_round(const struct slot *slot, const char *text)
{
    int fd = openat(slot->directory, "error", O_WRONLY | O_CLOEXEC);
    if (fd < 0 || write(fd, text, strlen(text)) < 0)
        perror("error");
    if (fd >= 0)
        close(fd);
}

static bool compute(const struct slot *slot, struct pyrmap_record *record, int64_t width)
{
    if (record->dtype != PYRMAP_FLOAT64) {
        fail_round(slot, "rolling_mean takes float64");
        return true;
    }
    size_t size = (size_t)record->input_length * sizeof(double);
    struct window input = {0};
    struct window result = {0};
    bool mapped =
        map(slot, "data.bin", O_RDONLY, size, &input) && map(slot, "result.bin", O_RDWR, size, &result);
    if (mapped)
        rolling_mean(input.address, result.address, record->input_length, width);
    unmap(&input);
    unmap(&result);
    if (!mapped)
        return false;
    record->flag = PYRMAP_FLAG_RESULT;
    record->result_dtype = PYRMAP_FLOAT64;
    record->result_length = record->input_length;
    record->result_ndim = 0;
    /* Should the round have ended meanwhile, this is no answer to the next one. */
    return pwrite(slot->metadata, record, sizeof *record, PYRMAP_STEP_OF_ROUND) == sizeof *record ||
           errno == ECANCELED;
}

int main(int argc, char **argv)
{
    int64_t width = argc == 4 ? strtoll(argv[2], NULL, 10) : 0;
    int64_t rounds = argc == 4 ? strtoll(argv[3], NULL, 10) : 0;
    if (width < 1 || rounds < 1) {
        fprintf(stderr, "usage: %s SLOT WINDOW ROUNDS\n", argv[0]);
        return 2;
    }
    struct slot slot = {.directory = open(argv[1], O_PATH | O_DIRECTORY | O_CLOEXEC), .metadata = -1};
    if (slot.directory >= 0)
        slot.metadata = openat(slot.directory, "metadata.bin", O_RDWR | O_CLOEXEC);
    struct pyrmap_record record;
    while (slot.metadata >= 0 && rounds > 0 && wait_for_input(&slot, &record) &&
           compute(&slot, &record, width))
        rounds--;
    if (rounds > 0)
        perror(argv[1]);
    if (slot.metadata >= 0)
        close(slot.metadata);
    if (slot.directory >= 0)
        close(slot.directory);
    return rounds > 0;
}
