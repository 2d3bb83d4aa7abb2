// SPDX-License-Identifier: Apache-2.0
/*
 * backing.h - the files behind segments, one by one. Called in the loop and in the helper thread.
 */
#ifndef PYRMAPFS_BACKING_H
#define PYRMAPFS_BACKING_H

#include "arena/store.h"
#include <sys/queue.h>

/* One file. Belongs to a segment, to the warm pool, or to a job; never to two of them. */
struct backing {
    TAILQ_ENTRY(backing) link;
    uint64_t id;
    uint64_t allocated; /* bytes, when last measured */
    int fd;             /* without names: O_RDONLY and open for life; else -1 */
};

/* A new, empty file of that number. */
int backing_create(const struct store *store, uint64_t id, struct backing **backing);
/* The file of that number from an earlier time: -ENOENT. */
int backing_find(const struct store *store, uint64_t id, struct backing **backing);
/* Returns a descriptor or -errno; flags is O_RDONLY or O_RDWR. */
int backing_open(const struct store *store, const struct backing *backing, int flags);
int backing_stat(const struct store *store, const struct backing *backing, uint64_t *size,
                 uint64_t *allocated);
/* The same for an open descriptor. */
int backing_measure(int fd, uint64_t *size, uint64_t *allocated);
int backing_rename(const struct store *store, struct backing *backing, uint64_t id);
/* Removes the file and frees *backing. Whoever still maps the pages keeps them. NULL is fine. */
void backing_remove(const struct store *store, struct backing *backing);
/* Frees *backing, not the file. */
void backing_free(struct backing *backing);

/*
 * Whether the file of this O_RDONLY descriptor is in use elsewhere: LEASE_READ asks for descriptors or
 * mappings that may write, LEASE_WRITE for any at all. True if nobody can tell.
 */
enum backing_lease { LEASE_READ, LEASE_WRITE };
bool backing_leased(int fd, enum backing_lease lease);
/* Whether anybody uses a file of which the store holds no descriptor, unless it is a memfd. */
bool backing_used(const struct store *store, const struct backing *backing);
/* Tries out on a file whether the store has leases. Returns 0, or -errno if it can make no files. */
int backing_probe_leases(struct store *store);

#endif
