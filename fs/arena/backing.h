// SPDX-License-Identifier: Apache-2.0
/*
 * backing.h - the files behind segments, one by one. The loop and the helper thread call it.
 */
#ifndef PYRMAPFS_BACKING_H
#define PYRMAPFS_BACKING_H

#include "arena/store.h"
#include <sys/queue.h>

/* One file. It belongs to a segment, to the warm pool or to a job, never to two of them. */
struct backing {
    TAILQ_ENTRY(backing) link;
    uint64_t id;
    uint64_t allocated; /* bytes, when last measured */
    int fd;             /* without names: O_RDONLY and open for life; else -1 */
    bool sealed;        /* nobody opens it for writing: see backing_seal */
};

/* Creates an empty file of that number. */
int backing_create(const struct store *store, uint64_t id, struct backing **backing);
/* Finds the file of that number that an earlier daemon left, or returns -ENOENT. */
int backing_find(const struct store *store, uint64_t id, struct backing **backing);
/* The memfd of that number, by the descriptor that an earlier server had of it. */
int backing_take_over(const struct store *store, uint64_t id, int fd, struct backing **backing);
/* Returns a descriptor or -errno; flags is O_RDONLY or O_RDWR. */
int backing_open(const struct store *store, const struct backing *backing, int flags);
int backing_stat(const struct store *store, const struct backing *backing, uint64_t *size,
                 uint64_t *allocated);
/* The same for an open descriptor. */
int backing_measure(int fd, uint64_t *size, uint64_t *allocated);
int backing_rename(const struct store *store, struct backing *backing, uint64_t id);
/*
 * From backing_seal to backing_unseal the file's mode lets nobody open it for writing, us neither, but for
 * users whom no mode stops. A process that has it open still writes: ask for the lease afterwards. 0 or -errno.
 */
int backing_seal(const struct store *store, struct backing *backing);
int backing_unseal(const struct store *store, struct backing *backing);
/*
 * Lets a user other than ours open the file, for reading (bit 4) and, until it is sealed, writing (bit 2);
 * backing_revoke ends that for all. Whoever has it open keeps it. 0 or -errno: see grant_user.
 */
int backing_grant(const struct store *store, const struct backing *backing, uid_t uid, unsigned bits);
int backing_revoke(const struct store *store, const struct backing *backing);
/* As grant_is_clean. */
int backing_clean(const struct store *store, const struct backing *backing);
/* The path by which clients that store_links lets in reach the file. -ENAMETOOLONG. */
int backing_link(const struct store *store, const struct backing *backing, char *path, size_t size);
/* Removes the file and frees *backing. A client that maps the pages keeps them. NULL is fine. */
void backing_remove(const struct store *store, struct backing *backing);
/* Frees *backing, not the file. */
void backing_free(struct backing *backing);

/*
 * Whether another descriptor or mapping uses the file of this O_RDONLY descriptor: LEASE_READ asks for one
 * that may write, LEASE_WRITE for any. True if the kernel cannot tell.
 */
enum backing_lease { LEASE_READ, LEASE_WRITE };
bool backing_leased(int fd, enum backing_lease lease);
/* Whether any process uses a file of which the store holds no descriptor, unless it is a memfd. */
bool backing_used(const struct store *store, const struct backing *backing);
/* Tries out on a file whether the store has leases. Returns 0, or -errno if it can make no files. */
int backing_probe_leases(struct store *store);

#endif
