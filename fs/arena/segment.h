// SPDX-License-Identifier: Apache-2.0
/*
 * segment.h - the pages behind one data.bin or result.bin in one round: one backing file each.
 *
 * Owned by the arena, shared by names and handles. Found by number in a table of LEDGER_BUCKETS lists.
 */
#ifndef PYRMAPFS_SEGMENT_H
#define PYRMAPFS_SEGMENT_H

#include "arena/ledger.h"
#include <sys/types.h>

struct segment {
    uint64_t id;        /* never reused; st_ino of its names */
    uint32_t names;     /* slot files that are this segment (more than one in a chain) */
    uint32_t handles;   /* open handles */
    int fd;             /* O_RDONLY, -1 while no handle is open (a memfd keeps it) */
    int32_t backing_id; /* FUSE passthrough; 0: not registered. The caller registers, forget_backing closes */
    bool published;     /* its bytes are final; set by the caller */
    bool synced;        /* on disk since it was published, where there is a disk */
    uint64_t charged;   /* bytes that the caller's quota accounts for; the arena does not look at it */
    uid_t charged_uid;

    /* The rest belongs to segment.c and reserve.c. */
    LIST_ENTRY(segment) link;
    struct backing *backing;
    uint64_t accounted;    /* its share of arena->segment_bytes */
    uint64_t ready;        /* pages [0, ready) were reserved: only a client that punches holes removes them */
    uint64_t settled_size; /* as reserve_settle left them, UINT64_MAX: it did not */
    uint64_t settled_allocated;
    bool surveyed; /* pages beyond the end are below ready; unknown after segment_restore */
    TAILQ_ENTRY(segment) retired;
    STAILQ_HEAD(segment_jobs, reservation) waiting; /* the first one is under way */
    uint32_t jobs;                                  /* in that list; each is a pin */
};

/* For arena.c: before the first segment, and after the last job. */
void segment_init(struct arena *arena);
void segment_deinit(struct arena *arena);

/*
 * A new, empty segment with names = 1: from the warm pool if one fits size_hint (0: no idea), else a new
 * file. Its size is 0 and nobody else has it open.
 */
int segment_create(struct arena *arena, uint64_t size_hint, struct segment **segment);

/*
 * Finds the file of a segment that an earlier daemon left in a directory. names is 1; a second call for the
 * same id gives the same segment, with another name. -ENOENT: there is none, and never for a memfd.
 */
int segment_restore(struct arena *arena, uint64_t id, struct segment **segment);
/* Whether that file can be found: 0, -ENOENT if there is none, or another -errno if nobody can tell. */
int segment_look(struct arena *arena, uint64_t id);
/* After the last segment_restore: removes files that no slot knows. */
void segment_sweep(struct arena *arena);

/*
 * Another name, or one name less. When the last name and handle are gone and no process has it mapped any
 * more, the segment is recycled or removed, and freed. Until then it is retired: it counts as used, and on
 * the account that it is on. Nobody tells when a mapping ends, so the retired are asked, some at a time.
 */
void segment_name(struct segment *segment);
void segment_unname(struct arena *arena, struct segment *segment);

/* An open handle more (opens fd, O_RDONLY) or less. */
int segment_open(struct arena *arena, struct segment *segment);
void segment_close(struct arena *arena, struct segment *segment);

/* Its allocated bytes are these now. */
void segment_account(struct arena *arena, struct segment *segment, uint64_t allocated);

/* Looks which of the retired can go, before somebody is told that there is no room. */
void segment_recheck(struct arena *arena);

/* Recycles and frees it if nothing refers to it. */
void segment_release(struct arena *arena, struct segment *segment);

/* Size and allocated bytes now: what clients did to it through passthrough counts. */
int segment_stat(struct arena *arena, struct segment *segment, uint64_t *size, uint64_t *allocated);

/*
 * Read and write on behalf of clients. Open a descriptor for the moment. Return bytes or -errno; fewer bytes
 * than asked for if the rest does not fit. segment_write leaves no hole and takes no more than there is at
 * once, else it returns -EAGAIN: the caller calls reserve_pages (RESERVE_GROW) and then tries again.
 */
ssize_t segment_read(struct arena *arena, struct segment *segment, void *buffer, size_t size, off_t offset);
ssize_t segment_write(struct arena *arena, struct segment *segment, const void *buffer, size_t size,
                      off_t offset);

/*
 * Whether any process still has it open or mapped for writing, or uses it at all. The segment need not be
 * open. Never blocks. While a reservation of it is under way the answer may be yes because of that. An open
 * handle is use; without one, segment_in_use calls forget_backing and sets backing_id to 0, since a
 * registered file counts as well. Page-cache handles are the caller's to count.
 */
bool segment_has_writers(struct arena *arena, struct segment *segment);
bool segment_in_use(struct arena *arena, struct segment *segment);

#endif
