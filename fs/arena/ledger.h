// SPDX-License-Identifier: Apache-2.0
/*
 * ledger.h - the arena's books: bytes that are allocated, warm, or left.
 *
 * Where the kernel counts (a tmpfs) we ask it; elsewhere we have only the sums here.
 */
#ifndef PYRMAPFS_LEDGER_H
#define PYRMAPFS_LEDGER_H

#include "arena/warm.h"
#include <sys/queue.h>

enum { LEDGER_BUCKETS = 4096 };

struct segment;
struct reservation;

/* What all files of this folder share. Each list belongs to the file that is named with it. */
struct arena {
    struct store store;
    struct warm warm;
    struct background *background;
    uint64_t capacity;
    uint64_t next_id;
    bool links;                                                /* clients reach the files past the mount */
    uint64_t segment_bytes;                                    /* allocated by segments */
    uint64_t reserved_bytes;                                   /* that reservations under way may add to it */
    uint64_t file_bytes;                                       /* by the daemon's own files */
    uint64_t text_bytes;                                       /* by the texts among these */
    LIST_HEAD(segment_list, segment) segments[LEDGER_BUCKETS]; /* segment.c */
    TAILQ_HEAD(segment_queue, segment) retired;    /* segment.c: without a name, but still mapped */
    STAILQ_HEAD(segment_leaving, segment) leaving; /* segment.c: will lose names */
    STAILQ_HEAD(, leaving_file) leaving_files;     /* arena.c */
    uint64_t epoch;                                /* arena.c: in which files leave now */
    int unsynced[64];                              /* arena.c: descriptors; ARENA_UNSYNCED_MAX */
    unsigned unsynced_count;
    STAILQ_HEAD(reservation_list, reservation)
    starved; /* reserve.c: wait for a file to be removed */
    void (*leave_backing)(void *context, int32_t backing_id);
    void (*forget_backing)(void *context, int32_t backing_id);
    void (*freed)(void *context, struct segment *segment);
    void (*keeps_descriptor)(void *context, struct segment *segment);
    void *context;
};

struct ledger_usage {
    uint64_t capacity;
    uint64_t used;  /* by segments in use, as the kernel counts blocks */
    uint64_t warm;  /* allocated, empty, ready for the next segment */
    uint64_t files; /* index, texts, record pages, which only a tmpfs arena does not count in its capacity */
};

void ledger_usage(struct arena *arena, struct ledger_usage *usage);

/* Bytes that can still be allocated, without those of the warm pool. */
uint64_t ledger_room(struct arena *arena);

/* Sets one account, and corrects segment_bytes by the difference. */
void ledger_account(struct arena *arena, uint64_t *account, uint64_t allocated);

/*
 * One of the daemon's own files (index, text, record page) went from `before` to `after` bytes. We count its
 * pages, an estimate of what the place really takes.
 */
void ledger_file_resized(struct arena *arena, uint64_t before, uint64_t after);

/*
 * The same for a text, which clients write. All texts together may take store_text_bytes, so that the index
 * and the record pages keep room; ask ledger_has_text_room first.
 */
bool ledger_has_text_room(struct arena *arena, uint64_t before, uint64_t after);
void ledger_text_resized(struct arena *arena, uint64_t before, uint64_t after);

#endif
