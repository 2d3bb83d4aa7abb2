// SPDX-License-Identifier: Apache-2.0
#include "arena/segment.h"

#include "base/descriptors.h"
#include "base/log.h"
#include "base/memory.h"
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
    RECHECKS = 4,            /* retired segments to look at when one goes: a few microseconds each */
    RECHECKS_ON_DEMAND = 64, /* before we tell a client that there is no room */
};

static struct segment_list *bucket_of(struct arena *arena, uint64_t id)
{
    return &arena->segments[id % LEDGER_BUCKETS];
}

static struct segment *find(struct arena *arena, uint64_t id)
{
    struct segment *segment = LIST_FIRST(bucket_of(arena, id));

    while (segment && segment->id != id)
        segment = LIST_NEXT(segment, link);
    return segment;
}

static struct segment *new_segment(void)
{
    struct segment *segment = calloc(1, sizeof(*segment));

    if (segment) {
        segment->names = 1;
        segment->fd = -1;
        segment->record = KEEP_NONE;
        segment->settled_size = UINT64_MAX;
        STAILQ_INIT(&segment->waiting);
    }
    return segment;
}

void segment_account(struct arena *arena, struct segment *segment, uint64_t allocated)
{
    ledger_account(arena, &segment->accounted, allocated);
    segment->backing->allocated = allocated;
}

void segment_note(struct arena *arena, const struct segment *segment)
{
    struct kept_segment *kept;

    if (segment->record == KEEP_NONE)
        return;
    kept = keep_fresh(&arena->store.kept->segments, segment->record);
    kept->fd = segment->backing->fd;
    kept->backing_id = segment->backing_id;
    kept->published = segment->published;
    __atomic_store_n(&kept->id, segment->id, __ATOMIC_RELEASE);
}

/* Gives the backing file to the segment. */
static void adopt(struct arena *arena, struct segment *segment, struct backing *backing)
{
    if (arena->store.kept && segment->record == KEEP_NONE)
        segment->record = keep_take(&arena->store.kept->segments);
    segment->backing = backing;
    segment->id = backing->id;
    segment->fd = backing->fd;
    LIST_INSERT_HEAD(bucket_of(arena, backing->id), segment, link);
    segment_account(arena, segment, backing->allocated);
    segment_note(arena, segment);
}

static void close_fd(struct segment *segment)
{
    if (segment->fd != segment->backing->fd) {
        close(segment->fd);
        segment->fd = segment->backing->fd;
    }
}

static void drop_record(struct arena *arena, const struct segment *segment)
{
    if (arena->store.kept)
        keep_drop(&arena->store.kept->segments, segment->record);
}

void segment_init(struct arena *arena)
{
    TAILQ_INIT(&arena->retired);
    STAILQ_INIT(&arena->leaving);
    for (int bucket = 0; bucket < LEDGER_BUCKETS; bucket++)
        LIST_INIT(&arena->segments[bucket]);
}

void segment_deinit(struct arena *arena)
{
    for (int bucket = 0; bucket < LEDGER_BUCKETS; bucket++) {
        struct segment *segment;
        while ((segment = LIST_FIRST(&arena->segments[bucket]))) {
            LIST_REMOVE(segment, link);
            drop_record(arena, segment);
            close_fd(segment);
            backing_free(segment->backing);
            free(segment);
        }
    }
}

static int create_backing(struct arena *arena, struct backing **backing)
{
    int error;

    do
        error = backing_create(&arena->store, arena->next_id++, backing);
    while (error == -EMFILE && warm_spare_descriptors(&arena->warm));
    return error;
}

int segment_create(struct arena *arena, uint64_t size_hint, struct segment **segment)
{
    struct segment *created = new_segment();
    struct backing *backing;
    int error = 0;

    *segment = NULL;
    if (!created)
        return -ENOMEM;
    backing = warm_take(&arena->warm, size_hint);
    if (!backing)
        error = create_backing(arena, &backing);
    if (error) {
        free(created);
        return error;
    }
    created->ready = backing->allocated;
    created->surveyed = true;
    adopt(arena, created, backing);
    *segment = created;
    return 0;
}

int segment_restore(struct arena *arena, uint64_t id, struct segment **segment)
{
    struct segment *restored = find(arena, id);
    struct backing *backing;
    int error;

    *segment = restored;
    if (restored) {
        restored->left_over = false;
        restored->names++;
        return 0;
    }
    restored = new_segment();
    if (!restored)
        return -ENOMEM;
    error = backing_find(&arena->store, id, &backing);
    if (error) {
        free(restored);
        return error;
    }
    error = backing_revoke(&arena->store, backing); /* what an earlier server granted */
    if (!error)
        error = backing_unseal(&arena->store, backing);
    if (error) {
        backing_free(backing);
        free(restored);
        return error;
    }
    /* `ready` stays 0: we do not know which of its pages were reserved. */
    adopt(arena, restored, backing);
    *segment = restored;
    return 0;
}

/* The file behind a record, or NULL if it is gone. */
static struct backing *kept_backing(struct arena *arena, const struct kept_segment *kept)
{
    struct backing *backing = NULL;

    if (arena->store.kind->has_names)
        backing_find(&arena->store, kept->id, &backing);
    else
        backing_take_over(&arena->store, kept->id, kept->fd, &backing);
    return backing;
}

int segment_take_over(struct arena *arena)
{
    const struct keep *records = arena->store.kept ? &arena->store.kept->segments : NULL;
    const struct kept_segment *kept;

    for (uint32_t i = 0; records && (kept = keep_next(records, &i)); i++) {
        struct backing *backing = kept_backing(arena, kept);
        struct segment *segment = backing ? new_segment() : NULL;

        if (!segment) {
            if (backing)
                return -ENOMEM;
            keep_drop(&arena->store.kept->segments, i);
            continue;
        }
        segment->names = 0;
        segment->left_over = true;
        segment->record = i;
        segment->backing_id = kept->backing_id;
        segment->published = kept->published;
        if (!segment->published)
            backing_unseal(&arena->store, backing);
        adopt(arena, segment, backing);
        if (arena->next_id <= segment->id)
            arena->next_id = segment->id + 1;
    }
    return 0;
}

int segment_look(struct arena *arena, uint64_t id)
{
    struct backing *backing;
    int error = backing_find(&arena->store, id, &backing);

    backing_free(backing);
    return error;
}

static void sweep_one(void *context, uint64_t id)
{
    struct arena *arena = context;
    struct backing *backing;

    if (find(arena, id) || warm_knows(&arena->warm, id))
        return;
    if (backing_find(&arena->store, id, &backing) == 0)
        backing_remove(&arena->store, backing);
}

void segment_sweep(struct arena *arena)
{
    for (int bucket = 0; bucket < LEDGER_BUCKETS; bucket++) {
        struct segment *segment = LIST_FIRST(&arena->segments[bucket]);

        /* A release may free others of the list, so begin it again. */
        while (segment) {
            bool goes = segment->left_over && segment->handles == 0;

            segment->left_over = false;
            if (goes)
                segment_release(arena, segment);
            segment = goes ? LIST_FIRST(&arena->segments[bucket]) : LIST_NEXT(segment, link);
        }
    }
    store_scan(&arena->store, sweep_one, arena);
}

void segment_name(struct segment *segment)
{
    segment->names++;
}

void segment_unname(struct arena *arena, struct segment *segment)
{
    segment->names--;
    segment_release(arena, segment);
}

void segment_unname_later(struct arena *arena, struct segment *segment)
{
    if (segment->leaving++ > 0)
        STAILQ_REMOVE(&arena->leaving, segment, segment, leaving_link);
    STAILQ_INSERT_TAIL(&arena->leaving, segment, leaving_link);
    segment->leaving_epoch = arena->epoch;
}

void segment_let_go(struct arena *arena, uint64_t epoch)
{
    struct segment *segment;

    while ((segment = STAILQ_FIRST(&arena->leaving)) && segment->leaving_epoch <= epoch) {
        STAILQ_REMOVE_HEAD(&arena->leaving, leaving_link);
        segment->names -= segment->leaving;
        segment->leaving = 0;
        segment_release(arena, segment);
    }
}

/* Note it first: the next server must not give clients a registration that is closed. */
static void forget(struct arena *arena, struct segment *segment)
{
    const int32_t backing_id = segment->backing_id;

    if (backing_id == 0)
        return;
    if (arena->leave_backing)
        arena->leave_backing(arena->context, backing_id);
    segment->backing_id = 0;
    segment_note(arena, segment);
    if (arena->forget_backing)
        arena->forget_backing(arena->context, backing_id);
}

/* Whether any process has it open or mapped; the arena has no handle of it. */
static bool is_used(struct arena *arena, const struct segment *segment)
{
    if (!arena->store.has_leases)
        return false; /* the kernel cannot tell, and each mapping holds a handle */
    return segment->fd >= 0 ? backing_leased(segment->fd, LEASE_WRITE)
                            : backing_used(&arena->store, segment->backing);
}

static void discard(struct arena *arena, struct segment *segment)
{
    struct backing *backing = segment->backing;
    uint64_t size, allocated;

    if (arena->freed)
        arena->freed(arena->context, segment);
    close_fd(segment);
    /* Clients may have written since we measured it. */
    if (backing_stat(&arena->store, backing, &size, &allocated) < 0)
        allocated = backing->allocated;
    segment_account(arena, segment, 0);
    backing->allocated = allocated;
    LIST_REMOVE(segment, link);
    drop_record(arena, segment);
    free(segment);
    warm_give(&arena->warm, backing, ledger_room(arena));
}

/* Looks at up to `most` of the retired; those that stay go to the end of the list. */
static void recheck(struct arena *arena, unsigned most)
{
    const struct segment *kept = NULL;
    struct segment *segment;

    for (; most > 0 && (segment = TAILQ_FIRST(&arena->retired)) && segment != kept; most--) {
        TAILQ_REMOVE(&arena->retired, segment, retired);
        if (!is_used(arena, segment)) {
            discard(arena, segment);
            continue;
        }
        TAILQ_INSERT_TAIL(&arena->retired, segment, retired);
        if (!kept)
            kept = segment;
    }
}

void segment_recheck(struct arena *arena)
{
    recheck(arena, RECHECKS_ON_DEMAND);
}

void segment_release(struct arena *arena, struct segment *segment)
{
    uint64_t size, allocated;

    if (segment->names > 0 || segment->handles > 0 || segment->jobs > 0)
        return;
    forget(arena, segment);
    if (is_used(arena, segment)) {
        segment_stat(arena, segment, &size, &allocated);
        close_fd(segment);
        TAILQ_INSERT_TAIL(&arena->retired, segment, retired);
        if (arena->keeps_descriptor && segment->fd >= 0)
            arena->keeps_descriptor(arena->context, segment);
    } else {
        discard(arena, segment);
    }
    recheck(arena, RECHECKS);
}

int segment_open(struct arena *arena, struct segment *segment)
{
    if (segment->fd < 0) {
        int fd = backing_open(&arena->store, segment->backing, O_RDONLY);
        if (fd < 0)
            return fd;
        segment->fd = fd;
    }
    /* A client that opens it before it is published may change it. */
    if (!segment->published)
        segment->synced = false;
    segment->handles++;
    return 0;
}

void segment_close(struct arena *arena, struct segment *segment)
{
    segment->handles--;
    if (segment->handles == 0)
        close_fd(segment);
    segment_release(arena, segment);
}

int segment_publish(struct arena *arena, struct segment *segment)
{
    int error = 0;

    if (segment->published)
        return 0;
    /* The mode first: between the question and the mode somebody could open it. */
    if (arena->links)
        error = backing_seal(&arena->store, segment->backing);
    if (!error && arena->links && segment_has_writers(arena, segment)) {
        backing_unseal(&arena->store, segment->backing);
        error = -EBUSY;
    }
    segment->published = !error;
    segment->shown = 0;
    segment_note(arena, segment);
    return error;
}

void segment_unpublish(struct arena *arena, struct segment *segment)
{
    segment_revoke(arena, segment);
    backing_unseal(&arena->store, segment->backing);
    segment->published = false;
    segment->synced = false;
    segment_note(arena, segment);
}

int segment_link(const struct arena *arena, const struct segment *segment, uid_t uid, unsigned bits,
                 char *path, size_t size)
{
    int error = uid == geteuid() ? 0 : backing_grant(&arena->store, segment->backing, uid, bits);

    return error ? error : backing_link(&arena->store, segment->backing, path, size);
}

void segment_revoke(struct arena *arena, struct segment *segment)
{
    int error = backing_revoke(&arena->store, segment->backing);

    if (error)
        log_warning("users who had the pages of an array may open them again: %s", strerror(-error));
}

int segment_stat(struct arena *arena, struct segment *segment, uint64_t *size, uint64_t *allocated)
{
    int error = segment->fd >= 0 ? backing_measure(segment->fd, size, allocated)
                                 : backing_stat(&arena->store, segment->backing, size, allocated);

    if (error == 0)
        segment_account(arena, segment, *allocated);
    return error;
}

/* ---- Reading and writing for clients without passthrough ---- */

/* The descriptor of an open handle, or a new one. */
static int borrow_fd(struct arena *arena, struct segment *segment)
{
    return segment->fd >= 0 ? segment->fd : backing_open(&arena->store, segment->backing, O_RDONLY);
}

static void return_fd(const struct segment *segment, int fd)
{
    if (fd != segment->fd)
        close(fd);
}

ssize_t segment_read(struct arena *arena, struct segment *segment, void *buffer, size_t size, off_t offset)
{
    size_t done = 0;
    ssize_t got = 0;
    int fd = borrow_fd(arena, segment);

    if (fd < 0)
        return fd;
    while (done < size) {
        got = pread(fd, (char *)buffer + done, size - done, offset + (off_t)done);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            break;
        done += (size_t)got;
    }
    if (got < 0 && done == 0)
        got = -errno;
    return_fd(segment, fd);
    return done > 0 ? (ssize_t)done : got;
}

/* The most that a write there could allocate. */
static uint64_t growth(const struct arena *arena, const struct segment *segment, int fd, uint64_t offset,
                       uint64_t size)
{
    uint64_t end = store_round_up(&arena->store, offset + size);
    off_t hole = lseek(fd, (off_t)offset, SEEK_HOLE);
    uint64_t first = hole < 0 ? offset : (uint64_t)hole; /* an offset beyond the end is an error */

    if (first < segment->ready)
        first = segment->ready;
    first -= first % arena->store.page;
    return first < end ? end - first : 0;
}

/* Whether the pages can be had at once. */
static bool has_room(struct arena *arena, const struct segment *segment, int fd, uint64_t offset,
                     uint64_t size)
{
    const struct store_kind *kind = arena->store.kind;
    uint64_t bytes = growth(arena, segment, fd, offset, size);

    if (bytes == 0)
        return true;
    if (kind->takes_memory && !memory_spares_some(bytes))
        return false;
    return kind->kernel_counts || bytes <= ledger_room(arena);
}

static ssize_t write_all(int fd, const char *buffer, size_t size, off_t offset)
{
    size_t done = 0;

    while (done < size) {
        ssize_t put = pwrite(fd, buffer + done, size - done, offset + (off_t)done);
        if (put > 0) {
            done += (size_t)put;
            continue;
        }
        if (put < 0 && errno == EINTR)
            continue;
        if (done > 0)
            break;
        return put < 0 && errno != ENOSPC ? -errno : -EAGAIN;
    }
    return (ssize_t)done;
}

static int open_to_write(struct arena *arena, const struct segment *segment)
{
    int fd;

    do
        fd = backing_open(&arena->store, segment->backing, O_RDWR);
    while (fd == -EMFILE && warm_spare_descriptors(&arena->warm));
    return fd;
}

ssize_t segment_write(struct arena *arena, struct segment *segment, const void *buffer, size_t size,
                      off_t offset)
{
    uint64_t now, allocated;
    ssize_t result;
    int fd;

    if (offset < 0 || size > INT64_MAX || (uint64_t)offset + size > INT64_MAX - arena->store.page)
        return -EFBIG;
    fd = open_to_write(arena, segment);
    if (fd < 0)
        return fd;
    segment->synced = false;
    result = backing_measure(fd, &now, &allocated);
    if (result == 0 && ((uint64_t)offset > now || !has_room(arena, segment, fd, (uint64_t)offset, size)))
        result = -EAGAIN;
    if (result == 0)
        result = write_all(fd, buffer, size, offset);
    if (backing_measure(fd, &now, &allocated) == 0)
        segment_account(arena, segment, allocated);
    close(fd);
    return result;
}

/* ---- Other users of a segment ---- */

static bool leased(struct arena *arena, struct segment *segment, enum backing_lease lease)
{
    int fd = borrow_fd(arena, segment);
    bool used;

    if (fd == -EMFILE) {
        descriptors_open_reserve();
        fd = borrow_fd(arena, segment);
        descriptors_close_reserve();
    }
    /* Without a descriptor we cannot tell: the caller tries again later. */
    if (fd < 0)
        return true;
    used = backing_leased(fd, lease);
    return_fd(segment, fd);
    return used;
}

bool segment_has_writers(struct arena *arena, struct segment *segment)
{
    return leased(arena, segment, LEASE_READ);
}

bool segment_has_hole(struct arena *arena, struct segment *segment, uint64_t size)
{
    int fd = borrow_fd(arena, segment);
    off_t hole;

    if (fd < 0)
        return true;
    hole = lseek(fd, 0, SEEK_HOLE);
    return_fd(segment, fd);
    return hole >= 0 && (uint64_t)hole < size;
}

bool segment_in_use(struct arena *arena, struct segment *segment)
{
    if (segment->handles > 0)
        return true;
    forget(arena, segment);
    return leased(arena, segment, LEASE_WRITE);
}
