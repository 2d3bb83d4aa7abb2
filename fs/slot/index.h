// SPDX-License-Identifier: Apache-2.0
/*
 * index.h - the file in which the table of slots outlasts the server.
 *
 * It holds entries of one size, each with a tail that most do not need, and of each entry two copies:
 *
 *     page 0, page 1   the header, twice
 *     block 0          first copies of entries 0 to INDEX_STEP - 1, their second copies, first tails, second tails
 *     block 1 ...      of the next INDEX_STEP entries
 *
 *     copy             checksum | sequence | members | size | tail | the entry's `size` bytes
 *
 * A change writes the older copy, so a server that is killed, or a disk that loses its power, leaves the other
 * one. Of the copies that are whole the one with the larger sequence counts. Changes of several entries that
 * belong together have one sequence, and each copy says how many `members` it has: if some are missing, the
 * server ended in between, and none of them counts. Only the last change can be such a one.
 *
 * The two copies of an entry are in different pages, so a damaged page costs its entries one step at most. The
 * copies tell what they are by themselves: no other part of the file has to be whole.
 *
 * Limits: opening it reads all of it.
 */
#ifndef PYRMAPFS_INDEX_H
#define PYRMAPFS_INDEX_H

#include "arena/arena.h"

enum { INDEX_STEP = 128 }; /* entries by which the file grows */

struct index;

/* Bytes of an entry, and the most that its tail can have. */
struct index_sizes {
    uint32_t entry;
    uint32_t tail;
};

/* What a file says of one entry. */
enum index_health {
    INDEX_FREE,    /* nobody has used it, or it was given back */
    INDEX_WHOLE,   /* its newest copy counts */
    INDEX_EARLIER, /* the newest one is damaged, and the one before counts */
    INDEX_DAMAGED, /* both are damaged: see index_remains */
    INDEX_CUT_OFF, /* the file ends before it: nobody can tell whether it was free */
};

/*
 * Looks at the arena's index, if there is one, and changes nothing. Refuses another layout, and a file that is
 * none or whose both headers are damaged; error gets one line that names the file and the remedy. limit: of
 * entries. Returns 0 or -errno.
 */
int index_open(struct index **out, struct arena *arena, struct index_sizes sizes, uint32_t limit,
               char error[ARENA_ERROR_MAX]);
void index_close(struct index *index);
/* Writes the one line that index_open would: the file's path, and what is wrong with it. Returns -EINVAL. */
int index_refuse(const struct index *index, char error[ARENA_ERROR_MAX], const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Whether there was a file; index_begin makes one. */
bool index_exists(const struct index *index);
/* Whether it has blocks that the limit does not allow. Begin with no such one. */
bool index_exceeds_limit(const struct index *index);
/* Makes the file, or mends the copies that can be mended. Only now may it change. Returns 0 or -errno. */
int index_begin(struct index *index);

/* How many entries the file has; those of limit at most. */
uint32_t index_room(const struct index *index);
/* The bytes that so many entries take. */
uint64_t index_bytes(struct index_sizes sizes, uint32_t entries);
/* Adds a block, or gives back all but the first. Returns 0, -ENOSPC or another -errno. */
int index_grow(struct index *index);
void index_shrink(struct index *index);

enum index_health index_health(const struct index *index, uint32_t number);
/* Fills in the entry and its tail, 0 behind the last byte. Only of one that is INDEX_WHOLE or INDEX_EARLIER. */
void index_read(const struct index *index, uint32_t number, void *entry, void *tail);
/* The same of a damaged one, from its first or second copy: any bytes. */
void index_remains(const struct index *index, uint32_t number, unsigned which, void *entry, void *tail);

/*
 * A change of so many entries that belong together: index_put or index_clear for each, then nothing can undo
 * it. Cleared ones are given back; call index_forget for them afterwards.
 */
void index_change(struct index *index, uint32_t members);
void index_put(struct index *index, uint32_t number, const void *entry, size_t size, const void *tail,
               size_t tail_size);
void index_clear(struct index *index, uint32_t number);
/* Overwrites the older copy of an entry that was cleared. */
void index_forget(struct index *index, uint32_t number);

/* The file, to sync it; -1 before index_begin if there was none. */
int index_fd(const struct index *index);

#endif
