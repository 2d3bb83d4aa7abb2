// SPDX-License-Identifier: Apache-2.0
/*
 * segment.h - the pages behind one data.bin or result.bin in one round: one backing file each.
 *
 * The arena owns segments; names and handles share them. Its life:
 *
 *   segment_create                        segment_restore
 *   (a warm file or a new one)            (the file that an earlier daemon or server left)
 *              \                             /
 *               v                           v
 *   in use: slot files (names), open handles or jobs refer to it
 *              |
 *              | segment_release: the last of them is gone
 *              v
 *   does a process still have it open or mapped? -- yes --> retired: on its account until
 *              |                                            segment_recheck finds no process
 *              | no                                                      |
 *              v                                                         |
 *   freed: warm_give recycles or removes the file <----------------------+
 *
 * The kernel does not tell when a mapping ends. So whenever a segment goes, and before a client hears that
 * there is no room, we ask about some of the retired.
 *
 * Limits: segments are found by number in LEDGER_BUCKETS lists, so that is linear in the number of segments
 * beyond some thousands; and a retired segment may wait for several others to go before we ask about it.
 */
#ifndef PYRMAPFS_SEGMENT_H
#define PYRMAPFS_SEGMENT_H

#include "arena/ledger.h"
#include <sys/types.h>

struct segment {
    uint64_t id;        /* never reused */
    uint32_t names;     /* slot files that are this segment (more than one in a chain) */
    uint32_t handles;   /* open handles */
    int fd;             /* O_RDONLY, -1 while no handle is open (a memfd keeps it) */
    int32_t backing_id; /* FUSE passthrough; 0: not registered. The caller registers, forget_backing closes */
    bool published;     /* its bytes are final: see segment_publish */
    bool synced;        /* on disk since it was published, where there is a disk */
    uint64_t shown;     /* the caller's: by which inode a client opened it last, since it was published */
    uint64_t charged;   /* bytes that the caller's quota accounts for; the arena does not look at it */
    struct quota_account *charged_job; /* NULL: no job's */
    uid_t charged_uid;
    bool counted; /* the same for an open file of that user */

    /* The rest belongs to segment.c and reserve.c. */
    LIST_ENTRY(segment) link;
    struct backing *backing;
    uint32_t record;       /* what the next server is to know: struct kept_segment */
    bool left_over;        /* by an earlier server, and no slot has named it yet */
    uint64_t accounted;    /* its share of arena->segment_bytes */
    uint64_t ready;        /* pages [0, ready) were reserved: only a client that punches holes removes them */
    uint64_t settled_size; /* as reserve_settle left them, UINT64_MAX: it did not */
    uint64_t settled_allocated;
    bool surveyed; /* pages beyond the end are below ready; unknown after segment_restore */
    TAILQ_ENTRY(segment) retired;
    STAILQ_ENTRY(segment) leaving_link;
    uint64_t leaving_epoch;
    uint32_t leaving; /* names that it loses at the segment_let_go of that epoch */
    STAILQ_HEAD(segment_jobs, reservation) waiting; /* the first one is under way */
    uint32_t jobs;                                  /* in that list; each is a pin */
};

/* For arena.c: before the first segment, and after the last job. */
void segment_init(struct arena *arena);
void segment_deinit(struct arena *arena);

/*
 * A new, empty segment with names = 1: from the warm pool if one fits size_hint (0: no idea), else a new
 * file. Its size is 0, and no process has it open.
 */
int segment_create(struct arena *arena, uint64_t size_hint, struct segment **segment);

/*
 * After a takeover, before all else: makes the segments that the last server had, without names. Those that no
 * segment_restore names are swept, or retired as long as a client has them mapped. Returns 0 or -ENOMEM.
 */
int segment_take_over(struct arena *arena);
/* Notes for the next server what has changed: backing_id, published. */
void segment_note(struct arena *arena, const struct segment *segment);

/*
 * Finds the file of a segment that an earlier daemon left in a directory. names is 1; a second call for the
 * same id gives the same segment, with another name. -ENOENT: there is none; of memfds we find those of
 * segment_take_over.
 */
int segment_restore(struct arena *arena, uint64_t id, struct segment **segment);
/* Whether that file is there: 0, -ENOENT if not, or another -errno if we cannot tell. */
int segment_look(struct arena *arena, uint64_t id);
/* After the last segment_restore: removes files that no slot and no open handle knows. */
void segment_sweep(struct arena *arena);

/* Adds a name, or drops one and calls segment_release. */
void segment_name(struct segment *segment);
void segment_unname(struct arena *arena, struct segment *segment);
/* Drops a name at the segment_let_go of this epoch: see arena_let_go. Until then the segment has it. */
void segment_unname_later(struct arena *arena, struct segment *segment);
void segment_let_go(struct arena *arena, uint64_t epoch);

/* Opens a handle, and with the first one fd; or closes one. */
int segment_open(struct arena *arena, struct segment *segment);
void segment_close(struct arena *arena, struct segment *segment);

/* Sets the bytes that the segment has allocated. */
void segment_account(struct arena *arena, struct segment *segment, uint64_t allocated);

/* Looks at some of the retired segments. Call it before you tell a client that there is no room. */
void segment_recheck(struct arena *arena);

/* Retires the segment, or frees it, if it has no name, handle or job any more. */
void segment_release(struct arena *arena, struct segment *segment);

/*
 * Its bytes are final. Where clients reach it by a link nobody opens it for writing from here on; -EBUSY: one
 * has done so already, and it is not published. Else 0 or -errno.
 */
int segment_publish(struct arena *arena, struct segment *segment);
/* It will be written again. If this fails, so does each open for writing. */
void segment_unpublish(struct arena *arena, struct segment *segment);
/*
 * The path by which clients that arena_links lets in reach it, after letting the user open it for reading (bit
 * 4) and, until it is published, for writing (bit 2). 0 or -errno. segment_revoke ends that for all users:
 * whoever has it open keeps it.
 */
int segment_link(const struct arena *arena, const struct segment *segment, uid_t uid, unsigned bits,
                 char *path, size_t size);
void segment_revoke(struct arena *arena, struct segment *segment);

/* Measures it: clients change size and pages through passthrough without telling us. */
int segment_stat(struct arena *arena, struct segment *segment, uint64_t *size, uint64_t *allocated);

/*
 * Read and write on behalf of clients, if need be through a descriptor opened for that. Return bytes or
 * -errno; fewer bytes than asked for if the rest does not fit. segment_write leaves no hole. It returns
 * -EAGAIN if it cannot get the pages at once: call reserve_pages (RESERVE_GROW), then try again.
 */
ssize_t segment_read(struct arena *arena, struct segment *segment, void *buffer, size_t size, off_t offset);
ssize_t segment_write(struct arena *arena, struct segment *segment, const void *buffer, size_t size,
                      off_t offset);

/*
 * Whether any process still has it open or mapped for writing, or uses it at all. The segment need not be
 * open. Never blocks. A reservation under way may count as a writer. An open handle is use; without one,
 * segment_in_use calls forget_backing and sets backing_id to 0, since a registered file counts as well. The
 * caller counts the handles of the page-cache path.
 */
bool segment_has_writers(struct arena *arena, struct segment *segment);
/* Whether a page below size is missing, or we cannot tell. Linear in the number of pages, but quick. */
bool segment_has_hole(struct arena *arena, struct segment *segment, uint64_t size);
bool segment_in_use(struct arena *arena, struct segment *segment);

#endif
