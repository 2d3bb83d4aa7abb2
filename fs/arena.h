// SPDX-License-Identifier: Apache-2.0
/*
 * arena.h - where segments live: one backing file each, on a private tmpfs, in a directory, or as memfds.
 *
 * Sizes are bytes. Functions return 0 or -errno unless they say otherwise. Everything here runs in the loop,
 * except the bodies of background jobs.
 */
#ifndef PYRMAPFS_ARENA_H
#define PYRMAPFS_ARENA_H

#include "background.h"
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

enum arena_kind { ARENA_TMPFS, ARENA_DIR, ARENA_MEMFD };

enum { ARENA_ERROR_MAX = 512 };

struct segment;

/* Descriptors of the tmpfs of segments and of that of named files; -1: none. */
struct arena_mounts {
    int segments;
    int files;
};

struct arena_options {
    enum arena_kind kind;
    const char *path;  /* ARENA_DIR only: must exist or be creatable */
    uint64_t capacity; /* bytes that segments (and the index) may take */
    uint64_t warm;     /* bytes kept allocated for new segments */
    bool huge_pages;
    const struct arena_mounts *mounts; /* ARENA_TMPFS: from arena_mount, stay the caller's; NULL: new ones */
    struct background *background;
    /* Called in the loop before a backing file is recycled or removed, so that its backing id is closed. */
    void (*forget_backing)(void *context, int32_t backing_id);
    /* Called in the loop when a segment's last name and handle are gone, for who keeps accounts. May be NULL.
     */
    void (*freed)(void *context, struct segment *segment);
    void *context;
};

struct arena;

/* The pages behind one data.bin or result.bin in one round. Owned by the arena; shared by names and handles.
 */
struct segment {
    uint64_t id;        /* never reused; st_ino of its names */
    uint32_t names;     /* slot files that are this segment (more than one in a chain) */
    uint32_t handles;   /* open handles */
    int fd;             /* O_RDONLY, -1 while no handle is open (a memfd keeps it) */
    int32_t backing_id; /* FUSE passthrough; 0: not registered. The caller registers, forget_backing closes */
    bool published;     /* its bytes are final; set by the caller */
    bool synced;        /* dir kind: on disk since it was published */
    uint64_t charged;   /* bytes that the caller's quota accounts for; the arena does not look at it */
    uid_t charged_uid;
};

struct arena_usage {
    uint64_t capacity;
    uint64_t used;  /* by segments in use, as the kernel counts blocks */
    uint64_t warm;  /* allocated, empty, ready for the next segment */
    uint64_t files; /* index, texts, record pages, which only a tmpfs arena does not count in its capacity */
};

/*
 * Makes the two tmpfs of an ARENA_TMPFS (no other option is looked at but capacity and huge_pages). They are
 * attached nowhere: whoever keeps the descriptors keeps the pages, so a supervisor calls this and passes them
 * to one server after the other.
 */
int arena_mount(const struct arena_options *options, struct arena_mounts *mounts);

/*
 * Opens the arena; an existing ARENA_DIR keeps its segments (see segment_restore). error gets one line
 * with the remedy. EEXIST-like trouble (a second daemon on the same directory) is refused through flock.
 */
int arena_open(struct arena **arena, const struct arena_options *options, char error[ARENA_ERROR_MAX]);

/* Ends it, before background_deinit; waits for reservations under way. A tmpfs vanishes with its last
 * descriptor; a directory is removed if `remove` is ARENA_REMOVE. NULL is fine. */
enum arena_end { ARENA_KEEP, ARENA_REMOVE };
void arena_close(struct arena *arena, enum arena_end end);

enum arena_kind arena_kind(const struct arena *arena);
/* "tmpfs", "dir", "memfd" */
const char *arena_kind_name(enum arena_kind kind);

void arena_usage(struct arena *arena, struct arena_usage *usage);

/* Gives the warm pool up, for whoever met ENOSPC in a file of arena_file_open. */
void arena_trim(struct arena *arena);

/*
 * Whether this filesystem has leases. Without them (NFS) segment_has_writers and segment_in_use cannot tell
 * and say yes, so the arena does for the page-cache path only.
 */
bool arena_has_leases(const struct arena *arena);

/*
 * The small named files of the daemon itself (index, texts, metadata pages). flags as for open(2).
 * Returns a descriptor or -errno.
 */
int arena_file_open(struct arena *arena, const char *name, int flags);
int arena_file_unlink(struct arena *arena, const char *name);

/*
 * A new, empty segment with names = 1: from the warm pool if one fits size_hint (0: no idea), else a new
 * file. Its size is 0 and nobody else has it open.
 */
int segment_create(struct arena *arena, uint64_t size_hint, struct segment **segment);

/*
 * Finds the file of a segment that an earlier daemon left (ARENA_DIR) or the same daemon before a crash (also
 * ARENA_TMPFS with a mount that was kept). names is 1; a second call for the same id gives the same segment,
 * with another name. -ENOENT: there is none, and never for a memfd.
 */
int segment_restore(struct arena *arena, uint64_t id, struct segment **segment);
/* After the last segment_restore: removes files that no slot knows. */
void arena_sweep(struct arena *arena);

/* Another name, or one name less. The last name and handle gone: the segment is recycled or removed, and
 * freed. */
void segment_name(struct segment *segment);
void segment_unname(struct arena *arena, struct segment *segment);

/* An open handle more (opens fd, O_RDONLY) or less. */
int segment_open(struct arena *arena, struct segment *segment);
void segment_close(struct arena *arena, struct segment *segment);

/* Size and allocated bytes now: what clients did to it through passthrough counts. */
int segment_stat(struct arena *arena, struct segment *segment, uint64_t *size, uint64_t *allocated);

/*
 * Page-cache path only: read and write for the daemon itself. Opens a descriptor for the moment. Return bytes
 * or -errno.
 */
ssize_t segment_read(struct arena *arena, struct segment *segment, void *buffer, size_t size, off_t offset);
ssize_t segment_write(struct arena *arena, struct segment *segment, const void *buffer, size_t size,
                      off_t offset);

/*
 * Sets the size (SEGMENT_RESIZE) or makes sure that [0, size) has pages (SEGMENT_RESERVE: keep the size;
 * SEGMENT_GROW: size = max(size, this)) in the background, then calls done(context, 0 or -errno) in the loop,
 * exactly once. ENOSPC leaves the size as it was. The warm pool is given up before ENOSPC is answered. EFBIG:
 * no file is that large. The segment is pinned for the time of the job. What takes but a few microseconds is
 * done at once: done() may be called BEFORE segment_reserve returns.
 */
enum segment_reserve_mode { SEGMENT_RESIZE, SEGMENT_RESERVE, SEGMENT_GROW };
void segment_reserve(struct arena *arena, struct segment *segment, enum segment_reserve_mode mode,
                     uint64_t size, void (*done)(void *context, int result), void *context);

/*
 * Publishes the bytes in the background: fills holes, trims pages beyond the end, ARENA_DIR: fsync. done as
 * above (perhaps before it returns). Nobody may be able to write to the segment meanwhile.
 */
void segment_settle(struct arena *arena, struct segment *segment, void (*done)(void *context, int result),
                    void *context);
/* Whether segment_settle would have anything to do. */
bool segment_settled(struct arena *arena, struct segment *segment);

/*
 * Whether nothing but zeros lies behind `from`, as after the seek and one byte with which some programs make
 * a file long.
 */
bool segment_is_blank(struct arena *arena, struct segment *segment, uint64_t from);

/*
 * Whether any process still has it open or mapped for writing, or uses it at all. The segment need not be
 * open. Never blocks. While a reservation of it is under way the answer may be yes because of that. An open
 * handle is use; without one, segment_in_use calls forget_backing and sets backing_id to 0, since a
 * registered file counts as well. Page-cache handles are the caller's to count.
 */
bool segment_has_writers(struct arena *arena, struct segment *segment);
bool segment_in_use(struct arena *arena, struct segment *segment);

#endif
