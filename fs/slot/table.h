// SPDX-License-Identifier: Apache-2.0
/*
 * table.h - the inside of the table, for the files that make it, fill it, and keep it in the index.
 */
#ifndef PYRMAPFS_TABLE_H
#define PYRMAPFS_TABLE_H

#include "slot/entry.h"
#include "slot/index.h"

/*
 * What the index keeps of the table itself, as its entry 0, which no slot has. We take serials from a stock, so
 * that this entry seldom changes: a server that ends wastes the rest.
 */
struct table_entry {
    uint64_t serials; /* of those below, none is fresh */
    uint32_t slots;
    uint32_t room;
    struct slot_times root;
};

static_assert(sizeof(struct table_entry) <= ENTRY_SIZE, "entry 0 is like the others");

struct slots {
    struct arena *arena;
    struct index *index;
    struct slot *entries;                          /* address space for all; only those in use have memory */
    uint8_t (*inline_bytes)[2][RECORD_INLINE_MAX]; /* the same */
    struct table_entry table;
    bool table_marked;
    struct slot_marks marks;
    uint64_t commits;
    uint64_t next_serial;
    uint32_t found; /* entries that the index has */
    uint32_t lost;
    uint32_t limit;
    uint32_t room; /* entries that may be used: 0 until slots_begin */
    uint32_t count;
    uint32_t leaving;    /* slots that we do not count any more, though their entries are not free */
    uint32_t first_free; /* entries below it are in use */
    uint32_t in_state[HANDSHAKE_STATES];
    uint64_t changes;
    uint32_t buckets; /* a power of two */
    uint32_t *bucket;
};

/* Of this table's index. */
extern const struct index_sizes table_sizes;

/* The entry is one of this table. */
void table_attach(struct slots *slots, struct slot *slot);

/* By the name that the slot has. */
void table_enlist(struct slots *slots, struct slot *slot);
void table_delist(struct slots *slots, struct slot *slot);
uint32_t table_bucket(const struct slots *slots, const char *name);

#endif
