// SPDX-License-Identifier: Apache-2.0
#include "arena/reserve.h"

#include "arena/huge.h"
#include "base/memory.h"
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

enum {
    AT_ONCE = 256 << 10, /* getting that many bytes takes less time than asking the thread */
    CHUNK = 64 << 20,    /* allocated between two looks at other jobs */
    ZEROS = 64 << 10,
};

enum purpose { TO_RESIZE, TO_RESERVE, TO_GROW, TO_SETTLE };

/* The helper thread owns everything below `backing` while the job is under way. */
struct reservation {
    struct background_job job;          /* first member */
    STAILQ_ENTRY(reservation) link;     /* in segment->waiting */
    STAILQ_ENTRY(reservation) starving; /* in arena->starved */
    struct arena *arena;                /* for the loop only, as are segment, done, context and need */
    struct segment *segment;
    void (*done)(void *context, int result);
    void *context;
    uint64_t need; /* bytes held back in arena->reserved_bytes */
    unsigned tries;

    const struct store *store;
    struct backing backing; /* a copy: enough to open it */
    enum purpose purpose;
    uint64_t target;
    uint64_t most;     /* bytes that it may take */
    uint64_t ready;    /* as in struct segment */
    int fd;            /* open from the first chunk to the last */
    uint64_t position; /* pages [max(ready, old size), position) are there */
    uint64_t old_size;
    uint64_t size, allocated; /* afterwards */
    bool measured;
    int result;
};

/* ---- In the helper thread ---- */

static int allocate(int fd, uint64_t from, uint64_t to)
{
    int failed;

    if (from >= to)
        return 0;
    do
        failed = fallocate(fd, FALLOC_FL_KEEP_SIZE, (off_t)from, (off_t)(to - from));
    while (failed < 0 && errno == EINTR);
    return failed < 0 ? -errno : 0;
}

static int resize(int fd, uint64_t size)
{
    int failed;

    do
        failed = ftruncate(fd, (off_t)size);
    while (failed < 0 && errno == EINTR);
    return failed < 0 ? -errno : 0;
}

/* For filesystems without fallocate. */
static int write_zeros(int fd, uint64_t from, uint64_t to)
{
    static const char zeros[ZEROS];

    while (from < to) {
        uint64_t rest = to - from;
        ssize_t put = pwrite(fd, zeros, rest < ZEROS ? (size_t)rest : ZEROS, (off_t)from);
        if (put < 0 && errno == EINTR)
            continue;
        if (put <= 0)
            return put < 0 ? -errno : -EIO;
        from += (uint64_t)put;
    }
    return 0;
}

/* The first hole at or after `from`; `to` if there is none before it. */
static uint64_t next_hole(int fd, uint64_t from, uint64_t to)
{
    off_t hole = lseek(fd, (off_t)from, SEEK_HOLE);

    return hole < 0 || (uint64_t)hole > to ? to : (uint64_t)hole;
}

static int fill_by_writing(int fd, uint64_t from, uint64_t to)
{
    while ((from = next_hole(fd, from, to)) < to) {
        off_t data = lseek(fd, (off_t)from, SEEK_DATA);
        uint64_t end = data < 0 || (uint64_t)data > to ? to : (uint64_t)data;
        int error = write_zeros(fd, from, end);
        if (error)
            return error;
        from = end;
    }
    return 0;
}

/*
 * Fills the holes in [from, to), which is below the end of the file, in one call: the kernel takes back what
 * it gave if it cannot give everything.
 */
static int fill_holes(const struct reservation *r, uint64_t from, uint64_t to)
{
    int error;

    if (from >= to || next_hole(r->fd, from, to) == to)
        return 0;
    error = allocate(r->fd, from, to);
    /* Zeros written over a hole would destroy what a client stores there meanwhile: only settle may. */
    if (error == -EOPNOTSUPP)
        error = r->purpose == TO_SETTLE ? fill_by_writing(r->fd, from, to) : 0;
    return error;
}

/* Restores the size; bytes that a client appended meanwhile stay. */
static void undo(struct reservation *r)
{
    uint64_t size, allocated;

    if (backing_measure(r->fd, &size, &allocated) == 0) {
        resize(r->fd, size);
        size = store_round_up(r->store, size);
        r->ready = r->ready < size ? r->ready : size;
    }
}

static uint64_t tail_start(const struct reservation *r)
{
    uint64_t start = r->ready > r->old_size ? r->ready : r->old_size;

    return start - start % r->store->page;
}

/* The kernel can reclaim pages of a disk, but not those of a tmpfs or memfd. */
static bool is_affordable(const struct reservation *r, uint64_t bytes)
{
    return !r->store->kind->takes_memory ||
           (bytes <= AT_ONCE ? memory_spares_some(bytes) : memory_spares(bytes));
}

/* Takes the next chunk of pages beyond the old end. Without fallocate the size brings them. */
static int extend(struct reservation *r)
{
    uint64_t rest = r->target - r->position;
    uint64_t end = r->position + (rest < CHUNK ? rest : CHUNK);
    int error = is_affordable(r, end - r->position) ? 0 : -ENOSPC;

    if (!error && r->store->wants_huge)
        huge_fill(r->fd, r->position, end);
    if (!error)
        error = allocate(r->fd, r->position, end);
    if (error == -EOPNOTSUPP && r->purpose != TO_RESERVE) {
        uint64_t start = r->position > r->old_size ? r->position : r->old_size;
        error = write_zeros(r->fd, start, end);
        if (error)
            resize(r->fd, r->old_size);
    }
    if (!error)
        r->position = end;
    return error;
}

static int begin(struct reservation *r)
{
    int error;

    r->fd = backing_open(r->store, &r->backing, O_RDWR);
    if (r->fd < 0)
        return r->fd;
    error = backing_measure(r->fd, &r->old_size, &r->allocated);
    if (!error && !is_affordable(r, r->most))
        error = -ENOSPC;
    if (!error)
        r->position = tail_start(r);
    return error;
}

/*
 * Bytes that a client stored beyond the end, in the last page, must not become data when the file grows. The size
 * comes first: a server that is killed here leaves the old one or the new one.
 */
static int finish_size(struct reservation *r)
{
    uint64_t size, allocated, end;
    int error = backing_measure(r->fd, &size, &allocated);

    if (error || r->purpose == TO_RESERVE || size >= r->target)
        return error;
    end = store_round_up(r->store, size);
    error = resize(r->fd, r->target);
    if (!error)
        error = write_zeros(r->fd, size, end < r->target ? end : r->target);
    if (error)
        resize(r->fd, size);
    return error;
}

static int settle(struct reservation *r)
{
    uint64_t size, allocated;
    int error = fill_holes(r, 0, r->old_size);

    if (!error)
        error = backing_measure(r->fd, &size, &allocated);
    /* Setting the size that the file has frees the pages beyond it. */
    if (!error && allocated > store_round_up(r->store, size))
        error = resize(r->fd, size);
    if (!error && r->store->kind->is_lasting && (fsync(r->fd) < 0 || fsync(r->store->dirfd) < 0))
        error = -errno;
    if (!error)
        r->ready = store_round_up(r->store, r->old_size);
    return error;
}

/* One step; 0: all done, 1: more to do, or -errno. */
static int step(struct reservation *r)
{
    int error = r->fd < 0 ? begin(r) : 0;

    if (error)
        return error;
    if (r->purpose == TO_SETTLE)
        return settle(r);
    if (r->purpose == TO_RESIZE && r->target < r->old_size) {
        uint64_t end = store_round_up(r->store, r->target);
        r->ready = r->ready < end ? r->ready : end;
        return resize(r->fd, r->target);
    }
    if (r->position < r->target) {
        error = extend(r);
        if (error || r->position < r->target)
            return error ? error : 1;
    }
    error = fill_holes(r, r->ready, r->old_size < r->target ? r->old_size : r->target);
    if (!error)
        error = finish_size(r);
    if (!error && r->ready < r->target)
        r->ready = store_round_up(r->store, r->target);
    return error;
}

static enum background_progress run(struct background_job *job)
{
    struct reservation *r = (struct reservation *)job;
    int result = step(r);

    if (result > 0)
        return BACKGROUND_AGAIN;
    r->result = result;
    if (r->fd >= 0) {
        if (result < 0 && r->purpose != TO_SETTLE)
            undo(r);
        r->measured = backing_measure(r->fd, &r->size, &r->allocated) == 0;
        /* Close before we report: a writable descriptor of ours would look like a client's. */
        close(r->fd);
        r->fd = -1;
    }
    return BACKGROUND_DONE;
}

/* ---- In the loop ---- */

static void start(struct reservation *r);

/*
 * Clients grow files through passthrough without asking us, so the warm pool must not exceed the room that is
 * left for them.
 */
static void leave_room(struct arena *arena)
{
    uint64_t warm = warm_bytes(&arena->warm);
    uint64_t room;

    if (warm == 0)
        return;
    room = ledger_room(arena);
    if (warm > room)
        warm_shrink(&arena->warm, (warm + room) / 2);
}

/* The segment is pinned until the very end, because done() may take its last name. */
static void finish(struct reservation *r, int result)
{
    struct arena *arena = r->arena;
    struct segment *segment = r->segment;
    bool settled = r->purpose == TO_SETTLE && result == 0;

    arena->reserved_bytes -= r->need;
    if (r->measured) {
        segment_account(arena, segment, r->allocated);
        segment->ready = r->ready;
        segment->surveyed |= settled;
        segment->settled_size = settled ? r->size : UINT64_MAX;
        segment->settled_allocated = r->allocated;
        segment->synced = settled && arena->store.kind->is_lasting;
    }
    STAILQ_REMOVE_HEAD(&segment->waiting, link);
    r->done(r->context, result);
    free(r);
    if (!STAILQ_EMPTY(&segment->waiting))
        start(STAILQ_FIRST(&segment->waiting));
    segment->jobs--;
    segment_release(arena, segment);
    leave_room(arena);
}

/* The most that this may add to what is allocated now. */
static uint64_t most_needed(const struct reservation *r, uint64_t size, uint64_t allocated)
{
    uint64_t target = r->purpose == TO_SETTLE ? size : r->target;
    uint64_t most = store_round_up(r->store, target);

    if (r->purpose == TO_RESIZE && target < size)
        return 0;
    if (most < r->ready)
        most = r->ready;
    return most > allocated ? most - allocated : 0;
}

/* Whether the loop can do it at once: few pages to get, to zero or to free, and no disk to wait for. */
static bool is_quick(const struct reservation *r, uint64_t size, uint64_t allocated)
{
    if (r->store->kind->is_lasting)
        return false;
    if (r->purpose == TO_SETTLE)
        return size <= AT_ONCE && allocated <= AT_ONCE;
    if (r->purpose == TO_RESIZE && r->target < size)
        return allocated <= r->target || allocated - r->target <= AT_ONCE;
    return r->target <= r->ready || r->target - r->ready <= AT_ONCE;
}

static void job_done(struct background_job *job);

/* Waits until a file is gone. False if none is going. */
static bool starve(struct reservation *r, uint64_t missing)
{
    struct arena *arena = r->arena;

    if (!warm_surrender(&arena->warm, missing))
        return false;
    STAILQ_INSERT_TAIL(&arena->starved, r, starving);
    return true;
}

void reserve_resume(struct arena *arena)
{
    struct reservation_list again = STAILQ_HEAD_INITIALIZER(again);
    struct reservation *r;

    STAILQ_CONCAT(&again, &arena->starved);
    while ((r = STAILQ_FIRST(&again))) {
        STAILQ_REMOVE_HEAD(&again, starving);
        start(r);
    }
}

static void start(struct reservation *r)
{
    struct arena *arena = r->arena;
    uint64_t size, allocated, need, room;
    int error = segment_stat(arena, r->segment, &size, &allocated);

    if (error) {
        finish(r, error);
        return;
    }
    r->ready = r->segment->ready;
    need = r->most = most_needed(r, size, allocated);
    room = ledger_room(arena);
    if (need > room) {
        segment_recheck(arena);
        room = ledger_room(arena);
    }
    if (need > room && !STAILQ_EMPTY(&arena->leaving)) {
        STAILQ_INSERT_TAIL(&arena->starved, r, starving); /* its turn comes when these have gone */
        return;
    }
    if (need > room) {
        bool hopeful = need - room <= warm_bytes(&arena->warm) + warm_pending_bytes(&arena->warm);
        if (!hopeful || !starve(r, need - room))
            finish(r, -ENOSPC);
        return;
    }
    r->need = arena->store.kind->kernel_counts ? 0 : need;
    arena->reserved_bytes += r->need;
    if (is_quick(r, size, allocated)) {
        while (run(&r->job) == BACKGROUND_AGAIN)
            continue;
        job_done(&r->job);
        return;
    }
    background_submit(arena->background, &r->job);
}

/*
 * The kernel or the machine may refuse what the books allowed: then we give up the whole warm pool. We try a
 * few times, since other programs may take what that frees.
 */
static void job_done(struct background_job *job)
{
    enum { TRIES = 8 };
    struct reservation *r = (struct reservation *)job;
    struct arena *arena = r->arena;

    if (r->tries++ < TRIES && (r->result == -ENOSPC || r->result == -EMFILE)) {
        arena->reserved_bytes -= r->need;
        r->need = 0;
        r->segment->ready = r->ready;
        if (r->result == -EMFILE && warm_spare_descriptors(&arena->warm)) {
            start(r);
            return;
        }
        if (r->result == -ENOSPC && starve(r, UINT64_MAX))
            return;
    }
    finish(r, r->result);
}

/* A segment has one job at a time, in order: two at once would undo each other's work. */
static void submit(struct arena *arena, struct segment *segment, enum purpose purpose, uint64_t target,
                   void (*done)(void *context, int result), void *context)
{
    struct reservation *r = calloc(1, sizeof(*r));

    if (!r) {
        done(context, -ENOMEM);
        return;
    }
    r->job = (struct background_job){.run = run, .done = job_done, .priority = BACKGROUND_URGENT};
    r->arena = arena;
    r->segment = segment;
    r->done = done;
    r->context = context;
    r->store = &arena->store;
    r->backing = *segment->backing;
    r->purpose = purpose;
    r->target = target;
    r->fd = -1;
    STAILQ_INSERT_TAIL(&segment->waiting, r, link);
    if (++segment->jobs == 1)
        start(r);
}

void reserve_pages(struct arena *arena, struct segment *segment, enum reserve_mode mode, uint64_t size,
                   void (*done)(void *context, int result), void *context)
{
    enum purpose purpose = TO_RESIZE;

    if (size > INT64_MAX - arena->store.page) {
        done(context, -EFBIG);
        return;
    }
    if (size > arena->capacity) {
        done(context, -ENOSPC);
        return;
    }
    switch (mode) {
    case RESERVE_RESIZE:
        purpose = TO_RESIZE;
        break;
    case RESERVE_PAGES:
        purpose = TO_RESERVE;
        break;
    case RESERVE_GROW:
        purpose = TO_GROW;
        break;
    }
    submit(arena, segment, purpose, size, done, context);
}

void reserve_settle(struct arena *arena, struct segment *segment, void (*done)(void *context, int result),
                    void *context)
{
    submit(arena, segment, TO_SETTLE, 0, done, context);
}

bool reserve_settled(struct arena *arena, struct segment *segment)
{
    uint64_t size, allocated;

    if (segment_stat(arena, segment, &size, &allocated) < 0)
        return false;
    /* A client that reaches the file past the mount can make a hole and take pages beyond the end in its place. */
    if (arena->links && !arena->store.kind->is_lasting && segment_has_hole(arena, segment, size))
        return false;
    if (size == segment->settled_size && allocated == segment->settled_allocated)
        return !arena->store.kind->is_lasting || segment->synced;
    /* With pages beyond the end the sum would not show a hole. */
    return !arena->store.kind->is_lasting && segment->surveyed && segment->ready <= allocated &&
           allocated == store_round_up(&arena->store, size);
}
