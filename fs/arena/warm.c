// SPDX-License-Identifier: Apache-2.0
#include "arena/warm.h"

#include "base/memory.h"
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

enum {
    TINY = 64 << 10,   /* a new file is cheaper than a warm one */
    SMALL = 2 << 20,   /* never too large to take: one huge page */
    CHUNK = 16 << 20,  /* zeroed between two looks at what is urgent: 40 ms with cold pages */
    RECHECKS = 4,      /* files per look, so that it takes but a moment */
    POOL_FILES = 1024, /* so that a search in it stays short, and memfds do not use up the descriptors */
};

static void append(struct warm_list *list, struct backing *file)
{
    file->next = NULL;
    if (list->last)
        list->last->next = file;
    else
        list->first = file;
    list->last = file;
    list->bytes += file->allocated;
    list->count++;
}

/* Takes a file out, whose predecessor is before (NULL: it is the first). */
static struct backing *detach(struct warm_list *list, struct backing *before, struct backing *file)
{
    if (before)
        before->next = file->next;
    else
        list->first = file->next;
    if (list->last == file)
        list->last = before;
    file->next = NULL;
    list->bytes -= file->allocated;
    list->count--;
    return file;
}

static uint64_t most(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

struct backing *warm_take(struct warm *warm, uint64_t hint)
{
    uint64_t ceiling = hint > UINT64_MAX / 2 ? UINT64_MAX : most(2 * hint, SMALL);
    struct backing *before = NULL, *best_before = NULL, *best = NULL;

    if (hint > 0 && hint <= TINY)
        return NULL;
    for (struct backing *file = warm->pool.first; file; before = file, file = file->next) {
        bool fits = file->allocated >= hint;
        if (file->allocated > ceiling || (!fits && file->allocated < hint / 2))
            continue;
        if (best) {
            bool best_fits = best->allocated >= hint;
            if (fits ? best_fits && best->allocated <= file->allocated
                     : best_fits || best->allocated >= file->allocated)
                continue;
        }
        best = file;
        best_before = before;
    }
    return best ? detach(&warm->pool, best_before, best) : NULL;
}

/* ---- Making warm ---- */

/*
 * fallocate beyond the end of the file gets pages; only the second one over them writes the zeros, which
 * otherwise the first store of a client would wait for.
 */
static int zero_chunk(int fd, uint64_t position, uint64_t size)
{
    for (int pass = 0; pass < 2; pass++) {
        if (fallocate(fd, FALLOC_FL_KEEP_SIZE, (off_t)position, (off_t)size) < 0)
            return -errno;
    }
    return 0;
}

/* Nobody has the file: its bytes go, and its number, so that no segment is ever found again in the pool. */
static int prepare(struct warm_job *work)
{
    struct backing *file = work->file;
    uint64_t size;
    int error;

    if (backing_used(work->store, file))
        return -EBUSY;
    error = backing_stat(work->store, file, &size, &work->target);
    if (error)
        return error;
    if (work->target > file->allocated)
        work->target = file->allocated;
    if (work->target <= TINY)
        return -ECANCELED;
    return backing_rename(work->store, file, work->new_id);
}

static int warm_up(struct warm_job *work)
{
    uint64_t rest = work->target - work->position;
    uint64_t size = rest < CHUNK ? rest : CHUNK;
    int error = 0;
    int fd;

    if (!memory_spares(size))
        return -ENOMEM;
    fd = backing_open(work->store, work->file, O_RDWR);
    if (fd < 0)
        return fd;
    if (work->position == 0 && ftruncate(fd, 0) < 0)
        error = -errno;
    if (!error && size > 0)
        error = zero_chunk(fd, work->position, size);
    if (!error)
        work->position += size;
    close(fd);
    return error;
}

/* One chunk. What cannot be made warm is removed: file is NULL then. */
static enum background_progress run(struct background_job *job)
{
    struct warm_job *work = (struct warm_job *)job;
    int error = work->file->keep ? 0 : -ECANCELED;

    if (!error && !work->prepared)
        error = prepare(work);
    if (!error)
        error = warm_up(work);
    work->prepared = true;
    work->in_use = error == -EBUSY;
    if (error && !work->in_use) {
        backing_remove(work->store, work->file);
        work->file = NULL;
    }
    return BACKGROUND_DONE;
}

static void submit(struct warm *warm)
{
    struct warm_job *work = &warm->work;

    /* A removal is memory that somebody may wait for. */
    work->job.priority = work->file->keep ? BACKGROUND_IDLE : BACKGROUND_URGENT;
    background_submit(warm->background, &work->job);
}

static void start_next(struct warm *warm)
{
    struct warm_job *work = &warm->work;

    if (warm->working || !warm->queue.first)
        return;
    work->file = detach(&warm->queue, NULL, warm->queue.first);
    work->new_id = work->file->keep ? warm->next_id(warm->context) : 0;
    work->target = work->position = 0;
    work->prepared = false;
    warm->working = true;
    warm->working_id = work->file->id;
    warm->working_bytes = work->file->allocated;
    if (work->file->keep)
        warm->promised -= work->file->allocated;
    warm->surrendered = false;
    submit(warm);
}

static void done(struct background_job *job)
{
    struct warm_job *work = (struct warm_job *)job;
    struct warm *warm = work->warm;

    if (work->file && warm->surrendered) {
        work->file->keep = false;
        submit(warm);
        return;
    }
    if (work->file && !work->in_use && work->position < work->target) {
        submit(warm);
        return;
    }
    warm->working = false;
    warm->working_bytes = 0;
    if (work->file && work->in_use)
        append(&warm->held, work->file);
    else if (work->file) {
        work->file->allocated = work->target;
        append(&warm->pool, work->file);
    }
    work->file = NULL;
    warm->job_ended(warm->context);
    start_next(warm);
}

void warm_init(struct warm *warm, const struct store *store, struct background *background, uint64_t limit)
{
    *warm = (struct warm){.store = store, .background = background, .limit = limit};
    warm->work = (struct warm_job){.job = {.run = run, .done = done}, .warm = warm, .store = store};
}

void warm_deinit(struct warm *warm)
{
    backing_remove_all(warm->store, warm_surrender(warm));
}

static void enqueue(struct warm *warm, struct backing *file, bool keep)
{
    file->keep = keep;
    if (!keep && file->allocated <= SMALL) {
        /* Cheaper than telling the thread about it. */
        backing_remove(warm->store, file);
        return;
    }
    if (keep)
        warm->promised += file->allocated;
    append(&warm->queue, file);
}

/* A pool full of files of one size serves that size, but no other. */
static bool alike(const struct backing *a, const struct backing *b)
{
    return a->allocated / 2 <= b->allocated && b->allocated / 2 <= a->allocated;
}

/*
 * Makes room for the file at the cost of those that are still mapped, and then of the oldest in the pool that
 * could not do the same as it. Whether there is room.
 */
static bool make_room(struct warm *warm, const struct backing *file, uint64_t limit)
{
    uint64_t wanted = warm->pool.bytes + warm->promised + warm->working_bytes + file->allocated;
    uint64_t others = 0;
    struct backing *before = NULL;

    for (const struct backing *other = warm->pool.first; other; other = other->next)
        others += alike(other, file) ? 0 : other->allocated;
    if (warm->pool.count + warm->queue.count >= POOL_FILES || (wanted > limit && wanted - limit > others))
        return false;
    while (warm->held.first && wanted + warm->held.bytes > limit)
        enqueue(warm, detach(&warm->held, NULL, warm->held.first), false);
    for (struct backing *other = warm->pool.first, *next; other && wanted > limit; other = next) {
        next = other->next;
        if (alike(other, file)) {
            before = other;
            continue;
        }
        wanted -= other->allocated;
        enqueue(warm, detach(&warm->pool, before, other), false);
    }
    return true;
}

void warm_give(struct warm *warm, struct backing *file, uint64_t room)
{
    bool keep = warm->store->kind->takes_memory && warm->store->has_leases && file->allocated > TINY &&
                make_room(warm, file, room < warm->limit ? room : warm->limit);

    enqueue(warm, file, keep);
    warm_recheck(warm);
}

void warm_recheck(struct warm *warm)
{
    unsigned files = warm->held.count < RECHECKS ? warm->held.count : RECHECKS;

    for (struct backing *file; files > 0 && (file = warm->held.first); files--) {
        detach(&warm->held, NULL, file);
        if (backing_used(warm->store, file))
            append(&warm->held, file);
        else
            enqueue(warm, file, true);
    }
    start_next(warm);
}

void warm_shrink(struct warm *warm, uint64_t limit)
{
    while (warm->pool.first && warm->pool.bytes > limit)
        enqueue(warm, detach(&warm->pool, NULL, warm->pool.first), false);
    start_next(warm);
}

struct backing *warm_surrender(struct warm *warm)
{
    struct warm_list all = {0};
    struct warm_list *lists[] = {&warm->pool, &warm->queue, &warm->held};

    for (size_t i = 0; i < sizeof(lists) / sizeof(lists[0]); i++) {
        while (lists[i]->first)
            append(&all, detach(lists[i], NULL, lists[i]->first));
    }
    warm->promised = 0;
    warm->surrendered = warm->working;
    return all.first;
}

bool warm_gives(const struct warm *warm)
{
    return warm->pool.first || warm->queue.first || warm->held.first;
}

static bool list_knows(const struct warm_list *list, uint64_t id)
{
    const struct backing *file = list->first;

    while (file && file->id != id)
        file = file->next;
    return file;
}

bool warm_knows(const struct warm *warm, uint64_t id)
{
    return (warm->working && (id == warm->working_id || id == warm->work.new_id)) ||
           list_knows(&warm->pool, id) || list_knows(&warm->queue, id) || list_knows(&warm->held, id);
}

bool warm_working(const struct warm *warm)
{
    return warm->working;
}

uint64_t warm_bytes(const struct warm *warm)
{
    return warm->pool.bytes;
}

uint64_t warm_pending_bytes(const struct warm *warm)
{
    return warm->queue.bytes + warm->held.bytes + warm->working_bytes;
}
