// SPDX-License-Identifier: Apache-2.0
/*
 * store.h - the place that an arena's files are in: a private tmpfs, a directory, or nothing but memfds.
 *
 * A store does not change between store_open and store_close but for its named files, so the helper thread
 * may read it.
 */
#ifndef PYRMAPFS_STORE_H
#define PYRMAPFS_STORE_H

#include "arena.h"

/*
 * Layers: store (a place) <- backing (one file in it) <- warm (files between two segments) <- arena and
 * segment
 * <- reserve (jobs on segments).
 */

struct named_file;

struct store {
    enum arena_kind kind;
    int dirfd;   /* ARENA_TMPFS, ARENA_DIR */
    int filesfd; /* the named files'; ARENA_TMPFS: of a second mount, so that full segments leave them room */
    int lockfd;  /* ARENA_DIR */
    char *path;  /* ARENA_DIR */
    bool made_directory;
    bool has_leases;
    uint64_t page; /* bytes */
    struct named_file **named;
    struct named_file *changed; /* of those: to be measured again */
    uint64_t named_bytes;
};

/* What segment files are called in a directory, and how it looks. */
enum { STORE_NAME_MAX = 24 };
void store_segment_name(char name[STORE_NAME_MAX], uint64_t id);

/* As arena_mount. */
int store_mount_tmpfs(const struct arena_options *options, struct arena_mounts *mounts);

int store_open(struct store *store, const struct arena_options *options, char error[ARENA_ERROR_MAX]);
/* Idempotent. */
void store_close(struct store *store, enum arena_end end);

/* The daemon's own files, under names that no segment can have. */
int store_file_open(struct store *store, const char *name, int flags);
int store_file_unlink(struct store *store, const char *name);
/*
 * Bytes that they take (a tmpfs counts by itself: 0). STORE_CHANGED measures those that were opened for
 * writing since the last time, and so misses what a descriptor that stays open adds; STORE_ALL measures all.
 */
enum store_measure { STORE_CHANGED, STORE_ALL };
uint64_t store_file_bytes(struct store *store, enum store_measure what);

/* Calls visit for each segment file in the directory; visit may remove it. */
int store_scan(const struct store *store, void (*visit)(void *context, uint64_t id), void *context);

uint64_t store_round_up(const struct store *store, uint64_t size);

/* A new memfd; returns it or -errno. */
int store_memfd(const char *name);
/* Another descriptor of an open file, with access and offset of its own. Returns it or -errno. */
int store_reopen(int fd, int flags);

#endif
