// SPDX-License-Identifier: Apache-2.0
#include "arena/warm.h"

#include "arena/huge.h"
#include "base/memory.h"
#include <errno.h>
#include <fcntl.h>
#include <sys/resource.h>
#include <unistd.h>

enum {
    TINY = 64 << 10,      /* a new file is cheaper than a warm one */
    SMALL = 2 << 20,      /* never too large to take: one huge page */
    CHUNK = 16 << 20,     /* zeroed between two looks at urgent jobs: 40 ms with cold pages */
    POOL_FILES = 1024,    /* so that a search in it stays short */
    DESCRIPTOR_SHARE = 8, /* memfds of the pool may take this part of all descriptors */
    SPARED_AT_ONCE = 16,
};

static void list_init(struct warm_list *list)
{
    *list = (struct warm_list){0};
    TAILQ_INIT(&list->files);
}

static void append(struct warm_list *list, struct backing *file)
{
    TAILQ_INSERT_TAIL(&list->files, file, link);
    list->bytes += file->allocated;
    list->count++;
}

static struct backing *detach(struct warm_list *list, struct backing *file)
{
    TAILQ_REMOVE(&list->files, file, link);
    list->bytes -= file->allocated;
    list->count--;
    return file;
}

static struct backing *detach_oldest(struct warm_list *list)
{
    return TAILQ_EMPTY(&list->files) ? NULL : detach(list, TAILQ_FIRST(&list->files));
}

struct backing *warm_take(struct warm *warm, uint64_t hint)
{
    uint64_t ceiling = hint > UINT64_MAX / 2 ? UINT64_MAX : 2 * hint > SMALL ? 2 * hint : SMALL;
    struct backing *best = NULL, *file;

    if (hint > 0 && hint <= TINY)
        return NULL;
    TAILQ_FOREACH (file, &warm->pool.files, link) {
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
    }
    return best ? detach(&warm->pool, best) : NULL;
}

/* ---- Removing ---- */

static enum background_progress remove_file(struct background_job *job)
{
    struct warm_removing *removing = (struct warm_removing *)job;

    backing_remove(removing->store, removing->file);
    return BACKGROUND_DONE;
}

static void remove_next(struct warm *warm)
{
    struct warm_removing *removing = &warm->removing;

    if (removing->file)
        return;
    removing->file = detach_oldest(&warm->leaving);
    if (!removing->file)
        return;
    removing->id = removing->file->id;
    removing->bytes = removing->file->allocated;
    background_submit(warm->background, &removing->job);
}

static void file_removed(struct background_job *job)
{
    struct warm_removing *removing = (struct warm_removing *)job;
    struct warm *warm = removing->warm;

    removing->file = NULL;
    removing->bytes = 0;
    remove_next(warm);
    warm->removed(warm->context);
}

static void leave(struct warm *warm, struct backing *file)
{
    append(&warm->leaving, file);
    remove_next(warm);
}

static void dismiss(struct warm *warm, struct backing *file)
{
    if (file->allocated <= SMALL)
        backing_remove(warm->store, file); /* cheaper than telling the thread */
    else
        leave(warm, file);
}

/* ---- Making warm ---- */

/*
 * The first fallocate beyond the end gets pages; only the second one over them writes the zeros, for which a
 * client's first store would otherwise wait.
 */
static int zero_chunk(const struct store *store, int fd, uint64_t position, uint64_t size)
{
    if (store->wants_huge)
        huge_fill(fd, position, position + size);
    for (int pass = 0; pass < 2; pass++) {
        if (fallocate(fd, FALLOC_FL_KEEP_SIZE, (off_t)position, (off_t)size) < 0)
            return -errno;
    }
    return 0;
}

/*
 * Takes the file's number, so that no slot finds a segment in the pool and no client a file that it had a path
 * to. A client may have opened the file before: then we do not pass it on. So we ask last.
 */
static int prepare(struct warm_zeroing *zeroing)
{
    struct backing *file = zeroing->file;
    uint64_t size;
    int error;

    error = backing_stat(zeroing->store, file, &size, &zeroing->target);
    if (error)
        return error;
    if (zeroing->target > file->allocated)
        zeroing->target = file->allocated;
    if (zeroing->target <= TINY)
        return -ECANCELED;
    error = backing_rename(zeroing->store, file, zeroing->new_id);
    if (!error)
        error = backing_revoke(zeroing->store, file);
    if (!error && backing_used(zeroing->store, file))
        error = -EBUSY;
    if (!error)
        error = backing_clean(zeroing->store, file);
    return error ? error : backing_unseal(zeroing->store, file);
}

static int zero_next(struct warm_zeroing *zeroing)
{
    uint64_t rest = zeroing->target - zeroing->position;
    uint64_t size = rest < CHUNK ? rest : CHUNK;
    int error = 0;
    int fd;

    if (!memory_spares(size))
        return -ENOMEM;
    fd = backing_open(zeroing->store, zeroing->file, O_RDWR);
    if (fd < 0)
        return fd;
    if (zeroing->position == 0 && ftruncate(fd, 0) < 0)
        error = -errno;
    if (!error && size > 0)
        error = zero_chunk(zeroing->store, fd, zeroing->position, size);
    if (!error)
        zeroing->position += size;
    close(fd);
    return error;
}

static enum background_progress zero_file(struct background_job *job)
{
    struct warm_zeroing *zeroing = (struct warm_zeroing *)job;
    int error = zeroing->prepared ? 0 : prepare(zeroing);

    zeroing->prepared = true;
    if (!error)
        error = zero_next(zeroing);
    zeroing->failed = error != 0;
    return BACKGROUND_DONE;
}

static void start_zeroing(struct warm *warm)
{
    struct warm_zeroing *zeroing = &warm->zeroing;

    if (zeroing->file)
        return;
    zeroing->file = detach_oldest(&warm->queue);
    if (!zeroing->file)
        return;
    zeroing->old_id = zeroing->file->id;
    zeroing->new_id = warm->next_id(warm->context);
    zeroing->target = zeroing->position = 0;
    zeroing->prepared = zeroing->failed = zeroing->unwanted = false;
    background_submit(warm->background, &zeroing->job);
}

static void chunk_zeroed(struct background_job *job)
{
    struct warm_zeroing *zeroing = (struct warm_zeroing *)job;
    struct warm *warm = zeroing->warm;
    struct backing *file = zeroing->file;

    if (!zeroing->failed && !zeroing->unwanted && zeroing->position < zeroing->target) {
        background_submit(warm->background, &zeroing->job);
        return;
    }
    zeroing->file = NULL;
    if (zeroing->unwanted) {
        leave(warm, file); /* a reservation may wait for it to be removed */
    } else if (zeroing->failed) {
        dismiss(warm, file);
    } else {
        file->allocated = zeroing->target;
        append(&warm->pool, file);
    }
    start_zeroing(warm);
}

static uint64_t zeroing_bytes(const struct warm *warm)
{
    return warm->zeroing.file ? warm->zeroing.file->allocated : 0;
}

/* ---- Coming and going ---- */

static unsigned most_files(const struct store *store)
{
    struct rlimit limit;

    if (store->kind->has_names || getrlimit(RLIMIT_NOFILE, &limit) < 0 ||
        limit.rlim_cur / DESCRIPTOR_SHARE >= POOL_FILES)
        return POOL_FILES;
    return (unsigned)(limit.rlim_cur / DESCRIPTOR_SHARE);
}

void warm_init(struct warm *warm, const struct store *store, struct background *background, uint64_t limit)
{
    *warm = (struct warm){.store = store, .background = background, .limit = limit};
    warm->most_files = most_files(store);
    list_init(&warm->pool);
    list_init(&warm->queue);
    list_init(&warm->leaving);
    warm->zeroing =
        (struct warm_zeroing){.job = {.run = zero_file, .done = chunk_zeroed, .priority = BACKGROUND_IDLE},
                              .warm = warm,
                              .store = store};
    warm->removing = (struct warm_removing){
        .job = {.run = remove_file, .done = file_removed, .priority = BACKGROUND_URGENT},
        .warm = warm,
        .store = store};
}

void warm_deinit(struct warm *warm)
{
    struct warm_list *lists[] = {&warm->pool, &warm->queue, &warm->leaving};
    struct backing *file;

    for (size_t i = 0; i < sizeof(lists) / sizeof(lists[0]); i++) {
        while ((file = detach_oldest(lists[i])))
            backing_remove(warm->store, file);
    }
}

/* A pool full of files of one size serves that size, but no other. */
static bool alike(const struct backing *a, const struct backing *b)
{
    return a->allocated / 2 <= b->allocated && b->allocated / 2 <= a->allocated;
}

/* Makes room in the pool by dismissing the oldest files of other sizes. Returns whether there is room. */
static bool make_room(struct warm *warm, const struct backing *file, uint64_t limit)
{
    uint64_t wanted = warm->pool.bytes + warm->queue.bytes + zeroing_bytes(warm) + file->allocated;
    uint64_t others = 0;
    struct backing *other, *next;

    TAILQ_FOREACH (other, &warm->pool.files, link)
        others += alike(other, file) ? 0 : other->allocated;
    if (warm->pool.count + warm->queue.count + (warm->zeroing.file != NULL) >= warm->most_files ||
        (wanted > limit && wanted - limit > others))
        return false;
    for (other = TAILQ_FIRST(&warm->pool.files); other && wanted > limit; other = next) {
        next = TAILQ_NEXT(other, link);
        if (alike(other, file))
            continue;
        wanted -= other->allocated;
        dismiss(warm, detach(&warm->pool, other));
    }
    return true;
}

void warm_give(struct warm *warm, struct backing *file, uint64_t room)
{
    if (warm->store->kind->takes_memory && warm->store->has_leases && file->allocated > TINY &&
        make_room(warm, file, room < warm->limit ? room : warm->limit)) {
        append(&warm->queue, file);
        start_zeroing(warm);
        return;
    }
    dismiss(warm, file);
}

void warm_shrink(struct warm *warm, uint64_t limit)
{
    while (warm->pool.bytes > limit)
        dismiss(warm, detach_oldest(&warm->pool));
}

bool warm_surrender(struct warm *warm, uint64_t bytes)
{
    struct warm_list *lists[] = {&warm->queue, &warm->pool};
    uint64_t leaving = warm_leaving_bytes(warm);
    struct backing *file;

    for (size_t i = 0; i < sizeof(lists) / sizeof(lists[0]); i++) {
        while (leaving < bytes && (file = detach_oldest(lists[i]))) {
            leaving += file->allocated;
            leave(warm, file);
        }
    }
    if (leaving < bytes && warm->zeroing.file)
        warm->zeroing.unwanted = true;
    return warm->removing.file || (warm->zeroing.file && warm->zeroing.unwanted);
}

bool warm_spare_descriptors(struct warm *warm)
{
    struct warm_list *lists[] = {&warm->leaving, &warm->queue, &warm->pool};
    struct backing *file;
    int spared = 0;

    if (warm->store->kind->has_names)
        return false;
    for (size_t i = 0; i < sizeof(lists) / sizeof(lists[0]); i++) {
        while (spared < SPARED_AT_ONCE && (file = detach_oldest(lists[i]))) {
            backing_remove(warm->store, file);
            spared++;
        }
    }
    return spared > 0;
}

static bool list_knows(const struct warm_list *list, uint64_t id)
{
    const struct backing *file;

    TAILQ_FOREACH (file, &list->files, link) {
        if (file->id == id)
            return true;
    }
    return false;
}

bool warm_knows(const struct warm *warm, uint64_t id)
{
    return (warm->zeroing.file && (id == warm->zeroing.old_id || id == warm->zeroing.new_id)) ||
           (warm->removing.file && id == warm->removing.id) || list_knows(&warm->pool, id) ||
           list_knows(&warm->queue, id) || list_knows(&warm->leaving, id);
}

uint64_t warm_bytes(const struct warm *warm)
{
    return warm->pool.bytes;
}

uint64_t warm_pending_bytes(const struct warm *warm)
{
    return warm->queue.bytes + zeroing_bytes(warm) + warm_leaving_bytes(warm);
}

uint64_t warm_leaving_bytes(const struct warm *warm)
{
    return warm->leaving.bytes + warm->removing.bytes;
}
