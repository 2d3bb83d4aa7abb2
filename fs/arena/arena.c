// SPDX-License-Identifier: Apache-2.0
#include "arena/arena.h"

#include "arena/grant.h"
#include "arena/named.h"
#include "base/log.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static uint64_t take_id(void *context)
{
    struct arena *arena = context;

    return arena->next_id++;
}

static void file_removed(void *context)
{
    reserve_resume(context);
}

static void note_id(void *context, uint64_t id)
{
    struct arena *arena = context;

    if (id >= arena->next_id)
        arena->next_id = id + 1;
}

static void close_unsynced(struct arena *arena);

int arena_look(struct arena **arena, const struct arena_options *options, char error[ARENA_ERROR_MAX])
{
    struct arena *looked = calloc(1, sizeof(*looked));
    int code = looked ? store_open(&looked->store, options, error) : -ENOMEM;

    if (code == 0)
        code = named_take_over(&looked->store);
    if (code == -ENOMEM)
        snprintf(error, ARENA_ERROR_MAX, "out of memory");
    *arena = looked;
    return code;
}

int arena_open(struct arena **arena, const struct arena_options *options, char error[ARENA_ERROR_MAX])
{
    struct arena *opened = calloc(1, sizeof(*opened));
    int code;

    *arena = NULL;
    if (!opened) {
        snprintf(error, ARENA_ERROR_MAX, "out of memory");
        return -ENOMEM;
    }
    code = store_open(&opened->store, options, error);
    if (code) {
        free(opened);
        return code;
    }
    opened->next_id = 1;
    code = backing_probe_leases(&opened->store);
    if (code == 0)
        code = store_scan(&opened->store, note_id, opened);
    if (code) {
        snprintf(error, ARENA_ERROR_MAX, "cannot use the arena: %s", strerror(-code));
        store_close(&opened->store, ARENA_UNDO);
        free(opened);
        return code;
    }
    opened->background = options->background;
    opened->capacity = options->capacity;
    opened->leave_backing = options->leave_backing;
    opened->forget_backing = options->forget_backing;
    opened->freed = options->freed;
    opened->keeps_descriptor = options->keeps_descriptor;
    opened->context = options->context;
    STAILQ_INIT(&opened->starved);
    STAILQ_INIT(&opened->leaving_files);
    segment_init(opened);
    warm_init(&opened->warm, &opened->store, options->background, options->warm);
    opened->warm.next_id = take_id;
    opened->warm.removed = file_removed;
    opened->warm.context = opened;
    code = options->kept ? named_take_over(&opened->store) : 0;
    if (code == 0)
        code = segment_take_over(opened);
    if (code) {
        snprintf(error, ARENA_ERROR_MAX, "out of memory");
        return code; /* the next server tries again */
    }
    *arena = opened;
    return 0;
}

void arena_close(struct arena *arena, enum arena_end end)
{
    if (!arena)
        return;
    arena_let_go(arena, UINT64_MAX);
    close_unsynced(arena);
    /* Stop zeroing first, or shutting down would wait for it. */
    arena->warm.limit = 0;
    warm_surrender(&arena->warm, UINT64_MAX);
    background_drain(arena->background);
    warm_deinit(&arena->warm);
    segment_deinit(arena);
    named_close(&arena->store);
    store_close(&arena->store, end);
    free(arena);
}

enum arena_kind arena_kind(const struct arena *arena)
{
    return arena->store.kind->kind;
}

const char *arena_kind_name(enum arena_kind kind)
{
    return store_kind_name(kind);
}

bool arena_is_bounded_by_kernel(const struct arena *arena)
{
    return arena->store.kind->kernel_counts;
}

void arena_usage(struct arena *arena, struct ledger_usage *usage)
{
    segment_recheck(arena);
    ledger_usage(arena, usage);
}

int arena_file_open(struct arena *arena, const char *name, int flags)
{
    int fd;

    do
        fd = named_open(&arena->store, name, flags);
    while (fd == -EMFILE && warm_spare_descriptors(&arena->warm));
    return fd;
}

int arena_file_unlink(struct arena *arena, const char *name)
{
    return named_unlink(&arena->store, name);
}

struct leaving_file {
    STAILQ_ENTRY(leaving_file) link;
    uint64_t epoch;
    char name[];
};

void arena_unlink_later(struct arena *arena, const char *name)
{
    size_t size = strlen(name) + 1;
    struct leaving_file *file = malloc(sizeof(*file) + size);

    if (!file) {
        arena_file_unlink(arena, name);
        return;
    }
    file->epoch = arena->epoch;
    memcpy(file->name, name, size);
    STAILQ_INSERT_TAIL(&arena->leaving_files, file, link);
}

void arena_let_go(struct arena *arena, uint64_t epoch)
{
    struct leaving_file *file;

    while ((file = STAILQ_FIRST(&arena->leaving_files)) && file->epoch <= epoch) {
        STAILQ_REMOVE_HEAD(&arena->leaving_files, link);
        arena_file_unlink(arena, file->name);
        free(file);
    }
    segment_let_go(arena, epoch);
    reserve_resume(arena); /* some may wait for what has gone */
}

bool arena_has_leaving(const struct arena *arena)
{
    return !STAILQ_EMPTY(&arena->leaving_files) || !STAILQ_EMPTY(&arena->leaving);
}

uint64_t arena_end_epoch(struct arena *arena)
{
    return arena->epoch++;
}

bool arena_is_lasting(const struct arena *arena)
{
    return arena->store.kind->is_lasting;
}

int arena_sync_names(const struct arena *arena)
{
    return arena_is_lasting(arena) && fsync(arena->store.dirfd) < 0 ? -errno : 0;
}

void arena_sync_later(struct arena *arena, int fd)
{
    if (arena_is_lasting(arena) && arena->unsynced_count < ARENA_UNSYNCED_MAX) {
        arena->unsynced[arena->unsynced_count++] = fd;
        return;
    }
    if (arena_is_lasting(arena) && fdatasync(fd) < 0)
        log_warning("a file of the arena could not be brought to the disk: %s", strerror(errno));
    close(fd);
}

unsigned arena_take_unsynced(struct arena *arena, int fds[ARENA_UNSYNCED_MAX])
{
    unsigned count = arena->unsynced_count;

    memcpy(fds, arena->unsynced, count * sizeof(*fds));
    arena->unsynced_count = 0;
    return count;
}

static void close_unsynced(struct arena *arena)
{
    int fds[ARENA_UNSYNCED_MAX];
    unsigned count = arena_take_unsynced(arena, fds);

    while (count > 0)
        close(fds[--count]);
}

void arena_file_path(const struct arena *arena, const char *name, char *path, size_t size)
{
    named_path(&arena->store, name, path, size);
}

int arena_files(const struct arena *arena)
{
    return arena->store.filesfd;
}

int arena_files_visit(int directory, void (*visit)(void *context, const char *name, int fd), void *context)
{
    return named_visit(directory, visit, context);
}

int arena_use_links(struct arena *arena)
{
    int error = arena->store.has_leases ? store_share(&arena->store) : -EOPNOTSUPP;

    arena->links = !error;
    return error;
}

bool arena_links(const struct arena *arena, uid_t uid)
{
    return arena->links && store_links(&arena->store, uid);
}

bool arena_links_writers(const struct arena *arena, uid_t uid)
{
    return arena_links(arena, uid) && (uid == geteuid() || arena->store.kind->kernel_counts);
}

int arena_file_link(struct arena *arena, const char *name, int fd, uid_t uid, char *path, size_t size)
{
    int error = grant_set_mode(fd, GRANT_SEALED);

    if (!error && uid != geteuid())
        error = grant_user(fd, uid, GRANT_READ);
    return error ? error : named_link(&arena->store, name, path, size);
}

int arena_file_revoke(int fd)
{
    return grant_nobody(fd);
}

uint32_t arena_found_files(const struct arena *arena)
{
    return arena->store.found_files;
}

void arena_directories(const struct arena *arena, int fds[2])
{
    fds[0] = arena->store.dirfd;
    fds[1] = arena->store.filesfd;
}

int arena_probe_file(struct arena *arena)
{
    struct backing *backing;
    int error = backing_create(&arena->store, STORE_PROBE, &backing);
    int fd;

    if (error)
        return error;
    fd = backing_open(&arena->store, backing, O_RDONLY);
    backing_remove(&arena->store, backing);
    return fd;
}
