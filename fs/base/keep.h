// SPDX-License-Identifier: Apache-2.0
/*
 * keep.h - tables of records that outlive the process which writes them.
 *
 * A table lies in a memfd that a parent makes and its children inherit, mapped: a child that is killed leaves it
 * to the next one. Records have a fixed size and a number, which stays; a record is in use while its first word
 * is not 0. So whoever takes a record fills it in first and sets its first word last, and a reader never sees
 * half a record that counts.
 *
 *   | header: room, used | record 0 | record 1 | ... room - 1 |
 *
 * Taking a record is linear in the records before the first free one, in steps of a table that is full; free
 * numbers are remembered on the heap.
 */
#ifndef PYRMAPFS_KEEP_H
#define PYRMAPFS_KEEP_H

#include <stddef.h>
#include <stdint.h>

struct keep_header;

struct keep {
    struct keep_header *header;
    char *records;
    size_t record_size; /* a multiple of 8 */
    uint32_t most;
    uint32_t first_free; /* records below it are in use, as far as we know */
    int fd;
};

enum { KEEP_NONE = UINT32_MAX };

/* Makes an empty table of at most `most` records. Returns 0 or -errno. */
int keep_open(struct keep *keep, const char *name, size_t record_size, uint32_t most);
/* Maps a table that another program has made. -EINVAL: it has another size of records. */
int keep_attach(struct keep *keep, int fd, size_t record_size, uint32_t most);
/* Idempotent; all zeros is closed. */
void keep_close(struct keep *keep);

/*
 * The number of a free record, zeroed, or KEEP_NONE if there is no memory for another one. It is the caller's
 * once its first word is set, and before another call.
 */
uint32_t keep_take(struct keep *keep);
/* Frees the record. KEEP_NONE is fine. */
void keep_drop(struct keep *keep, uint32_t number);

/* The record of that number, NULL if it is not in use or out of bounds. */
void *keep_at(const struct keep *keep, uint32_t number);
/* The same for one that keep_take gave just now. */
void *keep_fresh(const struct keep *keep, uint32_t number);
/*
 * The first record in use of that number or above, and its number; NULL if there is none. To visit all of them is
 * linear in the table.
 */
void *keep_next(const struct keep *keep, uint32_t *number);

#endif
