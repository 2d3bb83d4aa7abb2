// SPDX-License-Identifier: Apache-2.0
/*
 * warm.h - what becomes of a segment's file afterwards: zeroed and kept for the next segment, or removed.
 *
 * Fresh pages cost several times what warm ones do, so a file that nobody uses any more gets new zeroed pages
 * in the background, beyond the end of an empty file, where no client can see them before its segment grows.
 */
#ifndef PYRMAPFS_WARM_H
#define PYRMAPFS_WARM_H

#include "arena/backing.h"
#include "base/background.h"

struct warm_list {
    struct backing *first; /* oldest */
    struct backing *last;
    uint64_t bytes;
    unsigned count;
};

struct warm;

/* The file that is being worked on, one at a time: all the others can be taken back at any moment. */
struct warm_job {
    struct background_job job;
    struct warm *warm; /* for the loop only */
    const struct store *store;
    struct backing *file; /* NULL afterwards: it had to be removed */
    bool in_use;          /* afterwards: not yet */
    uint64_t new_id;
    uint64_t target;   /* bytes to make warm */
    uint64_t position; /* bytes that are; the file is not open in between */
    bool prepared;
};

struct warm {
    const struct store *store;
    struct background *background;
    uint64_t limit;
    struct warm_list pool;  /* zeroed */
    struct warm_list queue; /* to be zeroed, or removed */
    struct warm_list held;  /* to be zeroed, but some process still maps them */
    uint64_t promised;      /* bytes in the queue that are to become warm */
    struct warm_job work;
    bool working;
    uint64_t working_bytes;
    uint64_t working_id; /* before it gets its new number */
    bool surrendered;    /* what is in hand is to be removed instead */
    uint64_t (*next_id)(void *context);
    void (*job_ended)(void *context);
    void *context;
};

void warm_init(struct warm *warm, const struct store *store, struct background *background, uint64_t limit);
/* No job of it may be under way (background_drain). Removes all its files. */
void warm_deinit(struct warm *warm);

/*
 * A zeroed file for a segment of about `hint` bytes (0: no idea), or NULL. Its pages are [0, allocated).
 * The smallest one that holds hint bytes, unless that wastes more than half of it; failing that the largest
 * that holds half of them. Tiny segments are better off with a new file, and without a hint nothing large is
 * risked.
 */
struct backing *warm_take(struct warm *warm, uint64_t hint);

/*
 * Takes a file over that no name, handle or backing id leads to any more. It is kept if the limit allows, and
 * if all that is warm is no more than what the arena has left for others (`room`).
 */
void warm_give(struct warm *warm, struct backing *file, uint64_t room);

/* Looks which files that were still mapped are free by now. */
void warm_recheck(struct warm *warm);

/* Drops the oldest of what is warm beyond that. */
void warm_shrink(struct warm *warm, uint64_t limit);

/*
 * Gives everything up: the caller owns the list and removes it. What a job has in hand is removed
 * soon; job_ended tells.
 */
struct backing *warm_surrender(struct warm *warm);

/* Whether warm_surrender would give anything; whether a job has something in hand. */
bool warm_gives(const struct warm *warm);
bool warm_working(const struct warm *warm);
/* Whether the file of that number is here. */
bool warm_knows(const struct warm *warm, uint64_t id);

/* Bytes in the pool, and bytes in files that are to become warm or to be removed. */
uint64_t warm_bytes(const struct warm *warm);
uint64_t warm_pending_bytes(const struct warm *warm);

#endif
