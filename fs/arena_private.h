// SPDX-License-Identifier: Apache-2.0
/*
 * arena_private.h - what arena.c, segment.c and reserve.c share.
 */
#ifndef PYRMAPFS_ARENA_PRIVATE_H
#define PYRMAPFS_ARENA_PRIVATE_H

#include "arena.h"
#include "warm.h"

enum { SEGMENT_BUCKETS = 4096 };

struct reservation;

struct segment_entry {
    struct segment segment; /* first member: what callers see */
    struct segment_entry *next;
    struct backing *backing;
    uint64_t accounted;    /* its share of arena->segment_bytes */
    uint64_t ready;        /* pages [0, ready) were reserved: only a client that punches holes removes them */
    uint64_t settled_size; /* as segment_settle left them, UINT64_MAX: it did not */
    uint64_t settled_allocated;
    bool surveyed;               /* pages beyond the end are below ready; unknown after segment_restore */
    struct reservation *waiting; /* the first one is under way */
    uint32_t jobs;               /* in that list; each is a pin */
};

struct arena {
    struct store store;
    struct warm warm;
    struct background *background;
    uint64_t capacity;
    uint64_t next_id;
    uint64_t segment_bytes;      /* allocated by segments, where no tmpfs counts */
    uint64_t reserved_bytes;     /* that reservations under way may add to it */
    struct reservation *starved; /* wait for what the warm pool has in hand */
    struct segment_entry *segments[SEGMENT_BUCKETS];
    void (*forget_backing)(void *context, int32_t backing_id);
    void (*freed)(void *context, struct segment *segment);
    void *context;
};

static inline struct segment_entry *entry_of(struct segment *segment)
{
    return (struct segment_entry *)segment;
}

/* Bytes that can still be allocated; the warm pool is not among them. */
uint64_t arena_room(struct arena *arena);

/* The segment's allocated bytes are these now. */
void arena_account(struct arena *arena, struct segment_entry *entry, uint64_t allocated);

/* Recycles and frees it if nothing refers to it. */
void segment_release(struct arena *arena, struct segment_entry *entry);

/* Tries again what waited until the warm pool's job had ended. */
void reserve_resume(struct arena *arena);

#endif
