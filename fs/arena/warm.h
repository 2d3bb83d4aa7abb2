// SPDX-License-Identifier: Apache-2.0
/*
 * warm.h - recycles the files of freed segments: zeroes them for the next segment, or removes them.
 *
 * Fresh pages cost several times what warm ones do, so a file that nobody uses any more gets new zeroed pages
 * in the background, beyond the end of an empty file, where no client can see them before its segment grows.
 *
 *   warm_give -> queue -> (zeroing) -> pool -> warm_take
 *                  |          |          |
 *                  +----------+----------+--> leaving -> (removing) -> gone
 *
 * Zeroing can wait; removing cannot, since a client may wait for the memory. Each has its own job, so neither
 * delays the other. A search in the pool is linear in its files.
 */
#ifndef PYRMAPFS_WARM_H
#define PYRMAPFS_WARM_H

#include "arena/backing.h"
#include "base/background.h"

struct warm_list {
    TAILQ_HEAD(, backing) files; /* oldest first */
    uint64_t bytes;
    unsigned count;
};

struct warm;

/* The one file that is being zeroed. */
struct warm_zeroing {
    struct background_job job;
    struct warm *warm; /* for the loop only */
    const struct store *store;
    struct backing *file; /* NULL: none */
    uint64_t old_id;      /* before it gets its new number */
    uint64_t new_id;
    uint64_t target;   /* bytes to make warm */
    uint64_t position; /* bytes that are; the file is not open in between */
    bool prepared;
    bool failed;
    bool unwanted; /* it is to be removed instead */
};

/* The one file that is being removed. */
struct warm_removing {
    struct background_job job;
    struct warm *warm; /* for the loop only */
    const struct store *store;
    struct backing *file; /* NULL: none */
    uint64_t id;
    uint64_t bytes;
};

struct warm {
    const struct store *store;
    struct background *background;
    uint64_t limit;
    unsigned most_files;
    struct warm_list pool;    /* zeroed */
    struct warm_list queue;   /* to be zeroed */
    struct warm_list leaving; /* to be removed */
    struct warm_zeroing zeroing;
    struct warm_removing removing;
    uint64_t (*next_id)(void *context);
    void (*removed)(void *context); /* a file is gone, and its memory is back */
    void *context;
};

void warm_init(struct warm *warm, const struct store *store, struct background *background, uint64_t limit);
/* No job of it may be under way (background_drain). Removes all its files. */
void warm_deinit(struct warm *warm);

/*
 * A zeroed file for a segment of about `hint` bytes (0: no idea), or NULL. Its pages are [0, allocated). We
 * prefer the smallest file that holds hint bytes and wastes no more than half of itself, then the largest
 * that holds half of them. A tiny segment gets a new file, and without a hint we risk nothing large.
 */
struct backing *warm_take(struct warm *warm, uint64_t hint);

/*
 * Takes over a file that no name, handle, mapping or backing id refers to. We keep it if the limit allows,
 * and if the pool does not exceed what the arena has left for others (`room`).
 */
void warm_give(struct warm *warm, struct backing *file, uint64_t room);

/* Removes the oldest files of the pool until it has no more than that. */
void warm_shrink(struct warm *warm, uint64_t limit);

/*
 * Starts removing files until at least this many bytes are on their way out. Returns whether any are;
 * `removed` reports each file that is gone.
 */
bool warm_surrender(struct warm *warm, uint64_t bytes);

/* Closes some of the descriptors that files keep open. Returns whether there were any. */
bool warm_spare_descriptors(struct warm *warm);

/* Whether the file of that number is here. */
bool warm_knows(const struct warm *warm, uint64_t id);

/* Bytes in the pool; in files that are to be zeroed or removed; in files that are to be removed. */
uint64_t warm_bytes(const struct warm *warm);
uint64_t warm_pending_bytes(const struct warm *warm);
uint64_t warm_leaving_bytes(const struct warm *warm);

#endif
