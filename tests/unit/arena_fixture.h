// SPDX-License-Identifier: Apache-2.0
/*
 * arena_fixture.h - an arena of each kind to test with, and clients of its segments.
 */
#ifndef PYRMAPFS_ARENA_FIXTURE_H
#define PYRMAPFS_ARENA_FIXTURE_H

#include "arena/arena.h"
#include <sys/types.h>

#define MIB ((uint64_t)1 << 20)
#define KIB ((uint64_t)1 << 10)

enum { ARENA_KINDS = 3, FORGOTTEN_MAX = 16 };

struct bench {
    struct background *background;
    struct arena *arena;
    struct arena_options options;
    char directory[64];               /* ARENA_DIR: below ARENA_DISK in the environment, or /var/tmp */
    int32_t forgotten[FORGOTTEN_MAX]; /* the last ones */
    int forgotten_count;
    uint64_t freed; /* the last segment that the arena says is gone */
};

/* A scratch arena. Returns false, and says SKIPPED, if this machine cannot have this kind. */
bool bench_open(struct bench *bench, enum arena_kind kind, uint64_t capacity, uint64_t warm);
/* Closes the arena with everything in it. */
void bench_close(struct bench *bench);
/* Ends the server and starts another one on the files that are left. */
void bench_stop(struct bench *bench);
void bench_start(struct bench *bench);

struct ledger_usage bench_usage(struct bench *bench);
/* The bytes that the kernel counts: ARENA_TMPFS only. */
uint64_t bench_kernel_used(const struct bench *bench);
/* Waits until the helper thread is idle; checks that the accounts agree with the kernel's. */
void bench_settle_down(struct bench *bench);

struct segment *bench_segment(struct bench *bench, uint64_t hint);
/* Creates and opens a segment of this size; *client gets a client's descriptor for reading and writing. */
struct segment *bench_open_segment(struct bench *bench, uint64_t size, int *client);
/* Closes and unnames it. */
void bench_drop(struct bench *bench, struct segment *segment);

/* These wait for done() and return its result. */
int bench_reserve(struct bench *bench, struct segment *segment, enum reserve_mode mode, uint64_t size);
int bench_settle(struct bench *bench, struct segment *segment);
/* Writes as the exchange does for a client: gets pages first if need be. Returns bytes or -errno. */
ssize_t bench_write(struct bench *bench, struct segment *segment, const void *buffer, size_t size,
                    uint64_t offset);

uint64_t bench_size(struct bench *bench, struct segment *segment);
uint64_t bench_allocated(struct bench *bench, struct segment *segment);

/* A descriptor as the kernel opens it for a client. The segment must be open. */
int client_open(const struct segment *segment, int flags);
/* Stores that byte into each page of a mapping, [from, to); touching a page without memory is SIGBUS. */
void client_fill(int fd, uint64_t from, uint64_t to, int byte);
/* The first byte in [0, size) that is not this one, or size. */
uint64_t client_differs(int fd, uint64_t size, int byte);

/* A process that maps fd, closes it, and lives until client_end. */
struct client {
    pid_t pid;
    int end; /* closing it ends the process */
};
struct client client_start(int fd, int protection);
void client_end(struct client *client);

#endif
