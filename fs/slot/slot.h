// SPDX-License-Identifier: Apache-2.0
/*
 * slot.h - the table of slots, their names, and how they get into the index.
 *
 * The table is in memory, and slots_commit writes what the next server has to know of it into the index (see
 * entry.h, index.h). So a step is made in memory, then committed as a whole, and only then may a client learn
 * of it.
 */
#ifndef PYRMAPFS_SLOT_H
#define PYRMAPFS_SLOT_H

#include "arena/arena.h"
#include "slot/entry.h"

struct slots;

/* Commits, and ends the table. */
void slots_close(struct slots *slots);
/*
 * Writes all marked slots into the index as one change: the next server finds all of it or nothing. It cannot
 * fail.
 */
void slots_commit(struct slots *slots);
/* How many changes were committed, and the descriptor of the file that has them. */
uint64_t slots_commits(const struct slots *slots);
int slots_fd(const struct slots *slots);
/* As slot_mark, of what the index keeps of the table itself. */
void slots_mark(struct slots *slots);
/* For tests: a slot that differs and is not marked, or NULL. */
const struct slot *slots_forgotten(struct slots *slots);

/* Bytes that the index and the record pages of so many slots take. */
uint64_t slots_bytes(uint32_t limit);
uint32_t slots_count(const struct slots *slots);
uint32_t slots_limit(const struct slots *slots);
/* A number above the index of every slot; 0 before slots_begin if there was no index. */
uint32_t slots_end(const struct slots *slots);
uint32_t slots_in_state(const struct slots *slots, enum handshake_state state);

/*
 * A count that grows whenever a slot comes or goes or changes its name, state or source: while it is the
 * same, a picture of the table is true.
 */
uint64_t slots_changes(const struct slots *slots);
/* Call it after a change that no function below makes. */
void slots_changed(struct slots *slots);

/* A fresh number, never given twice in this arena. */
uint64_t slots_serial(struct slots *slots);

/* The slot at an index, NULL if that is free or out of bounds. */
struct slot *slot_at(struct slots *slots, uint32_t index);
uint32_t slot_index(const struct slots *slots, const struct slot *slot);
/* The first slot with an index above this one, or NULL; start with 0. */
struct slot *slot_after(struct slots *slots, uint32_t index);

/* By name, NULL if there is none. */
struct slot *slot_find(struct slots *slots, const char *name);

/*
 * A fresh slot in state IDLE. Returns 0, -EEXIST, -ENOSPC (full table or arena) or slot_name_check's error.
 */
int slot_create(struct slots *slots, const char *name, uid_t uid, gid_t gid, mode_t mode, struct slot **out);
/* The caller has released segments, handles, waiters and chain links. */
void slot_destroy(struct slots *slots, struct slot *slot);
/*
 * The first half of slot_destroy, for a caller that has more to do before the second: the slot loses its name
 * and its place in the counts, and only slot_at finds it. If the server is killed in between, the next one
 * goes on with that: see slots_leaving.
 */
void slot_leave(struct slots *slots, struct slot *slot);
/* As slot_after, of those that are leaving. */
struct slot *slots_leaving(struct slots *slots, uint32_t index);
/* The new name must be free and checked. */
void slot_rename(struct slots *slots, struct slot *slot, const char *name);

/* Sets the state, and keeps the counts of the table right. */
void slot_enter_state(struct slots *slots, struct slot *slot, enum handshake_state state);

/* The root's, which slot_create, slot_destroy and slot_rename keep. Call slots_mark after a change. */
struct slot_times *slots_times(struct slots *slots);

/* A new inode for one array; it has no segment. */
void slot_fresh_array(struct slots *slots, struct slot *slot, enum record_side side);

#endif
