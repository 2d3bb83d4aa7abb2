// SPDX-License-Identifier: Apache-2.0
/*
 * client.h - what the benchmark programs need of a slot: its record, and system calls that must succeed.
 */
#ifndef PYRMAPFS_BENCH_CLIENT_H
#define PYRMAPFS_BENCH_CLIENT_H

#include "protocol/record.h"
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* Every failure ends the program: a wrong measurement is worth nothing. */
static inline _Noreturn void fail(const char *what)
{
    fprintf(stderr, "%s: %s\n", what, strerror(errno));
    exit(EXIT_FAILURE);
}

static inline double seconds(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

static inline int open_in(const char *slot, const char *name, int flags)
{
    char path[PATH_MAX];

    if (snprintf(path, sizeof(path), "%s/%s", slot, name) >= (int)sizeof(path)) {
        errno = ENAMETOOLONG;
        fail(slot);
    }
    int fd = open(path, flags | O_CLOEXEC, 0666);
    if (fd < 0)
        fail(path);
    return fd;
}

static inline void close_fd(int fd)
{
    if (close(fd) != 0)
        fail("close");
}

/* One write of the first bytes of a record is one step of the handshake. */
static inline void publish(int metadata, const void *record, size_t size)
{
    if (pwrite(metadata, record, size, 0) != (ssize_t)size)
        fail("metadata.bin");
}

static inline void publish_flag(int metadata, enum record_flag flag)
{
    publish(metadata, &(int32_t){flag}, sizeof(int32_t));
}

static inline long positive(const char *text)
{
    char *end;

    errno = 0;
    long value = strtol(text, &end, 10);
    if (errno != 0 || *end != '\0' || value <= 0) {
        fprintf(stderr, "not a positive number: %s\n", text);
        exit(2);
    }
    return value;
}

#endif
