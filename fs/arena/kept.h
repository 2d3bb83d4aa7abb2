// SPDX-License-Identifier: Apache-2.0
/*
 * kept.h - what a server that is killed leaves of its arena to the next one, which has the same descriptors.
 *
 * The bytes of an arena are in files that nobody loses. What only a server knows of them stands in these tables:
 * where the place is, which descriptors are memfds without a name, and what the kernel was told of a segment.
 */
#ifndef PYRMAPFS_KEPT_H
#define PYRMAPFS_KEPT_H

#include "base/keep.h"

struct kept {
    struct keep places;   /* struct kept_place: one, while the arena is open */
    struct keep files;    /* struct kept_file: of a memfd arena */
    struct keep segments; /* struct kept_segment */
};

struct kept_place {
    uint64_t is_open;
    int32_t dirfd, filesfd, lockfd; /* -1: none */
    uint32_t kind;                  /* enum arena_kind */
    uint32_t made_directory, made_lock, made_key;
};

enum { KEPT_NAME_MAX = 64 };

struct kept_file {
    uint64_t is_there;
    int32_t fd;
    char name[KEPT_NAME_MAX];
};

struct kept_segment {
    uint64_t id;
    int32_t fd; /* a memfd's */
    int32_t backing_id;
    uint64_t published;
};

/* Makes the tables. Returns 0 or -errno. */
int kept_open(struct kept *kept);
/* The same for tables that another program has made, by the descriptors of kept_tables. */
enum { KEPT_TABLES = 3 };
int kept_attach(struct kept *kept, const int fds[KEPT_TABLES]);
void kept_tables(const struct kept *kept, int fds[KEPT_TABLES]);

/* The place, NULL while no arena is open. */
struct kept_place *kept_place(const struct kept *kept);
/* Calls visit for each descriptor that the next server needs. */
void kept_visit(const struct kept *kept, void (*visit)(void *context, int fd), void *context);

#endif
