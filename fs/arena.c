// SPDX-License-Identifier: Apache-2.0
#include "arena_private.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statfs.h>
#include <unistd.h>

static uint64_t take_id(void *context)
{
    struct arena *arena = context;

    return arena->next_id++;
}

static void warm_job_ended(void *context)
{
    reserve_resume(context);
}

static void note_id(void *context, uint64_t id)
{
    struct arena *arena = context;

    if (id >= arena->next_id)
        arena->next_id = id + 1;
}

int arena_mount(const struct arena_options *options, struct arena_mounts *mounts)
{
    return store_mount_tmpfs(options, mounts);
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
        store_close(&opened->store, ARENA_KEEP);
        free(opened);
        return code;
    }
    opened->background = options->background;
    opened->capacity = options->capacity;
    opened->forget_backing = options->forget_backing;
    opened->freed = options->freed;
    opened->context = options->context;
    warm_init(&opened->warm, &opened->store, options->background, options->warm);
    opened->warm.next_id = take_id;
    opened->warm.job_ended = warm_job_ended;
    opened->warm.context = opened;
    *arena = opened;
    return 0;
}

void arena_close(struct arena *arena, enum arena_end end)
{
    if (!arena)
        return;
    /* Nothing is made warm any more, or shutting down would wait for it. */
    arena->warm.limit = 0;
    arena_trim(arena);
    background_drain(arena->background);
    warm_deinit(&arena->warm);
    for (int bucket = 0; bucket < SEGMENT_BUCKETS; bucket++) {
        struct segment_entry *entry;
        while ((entry = arena->segments[bucket])) {
            arena->segments[bucket] = entry->next;
            if (entry->segment.fd >= 0 && entry->segment.fd != entry->backing->fd)
                close(entry->segment.fd);
            backing_free(entry->backing);
            free(entry);
        }
    }
    store_close(&arena->store, end);
    free(arena);
}

enum arena_kind arena_kind(const struct arena *arena)
{
    return arena->store.kind;
}

const char *arena_kind_name(enum arena_kind kind)
{
    switch (kind) {
    case ARENA_TMPFS:
        return "tmpfs";
    case ARENA_DIR:
        return "dir";
    case ARENA_MEMFD:
        return "memfd";
    }
    return "unknown";
}

bool arena_has_leases(const struct arena *arena)
{
    return arena->store.has_leases;
}

/* Where the kernel does not count: bytes in use, those included that are on their way out. */
static uint64_t counted_bytes(struct arena *arena, enum store_measure files)
{
    return arena->segment_bytes + warm_pending_bytes(&arena->warm) + store_file_bytes(&arena->store, files);
}

static uint64_t minus(uint64_t a, uint64_t b)
{
    return a > b ? a - b : 0;
}

uint64_t arena_room(struct arena *arena)
{
    struct statfs status;

    if (arena->store.kind == ARENA_TMPFS) {
        if (fstatfs(arena->store.dirfd, &status) < 0)
            return 0;
        return (uint64_t)status.f_bfree * (uint64_t)status.f_bsize;
    }
    return minus(arena->capacity,
                 counted_bytes(arena, STORE_CHANGED) + warm_bytes(&arena->warm) + arena->reserved_bytes);
}

static uint64_t blocks_in_use(const struct statfs *status)
{
    return (uint64_t)(status->f_blocks - status->f_bfree) * (uint64_t)status->f_bsize;
}

void arena_usage(struct arena *arena, struct arena_usage *usage)
{
    struct statfs status, files;

    warm_recheck(&arena->warm);
    usage->capacity = arena->capacity;
    usage->warm = warm_bytes(&arena->warm);
    usage->files = store_file_bytes(&arena->store, STORE_ALL);
    usage->used = minus(counted_bytes(arena, STORE_CHANGED), usage->files);
    if (arena->store.kind == ARENA_TMPFS && fstatfs(arena->store.dirfd, &status) == 0 &&
        fstatfs(arena->store.filesfd, &files) == 0) {
        usage->used = minus(blocks_in_use(&status), usage->warm);
        usage->files = blocks_in_use(&files);
    }
}

void arena_account(struct arena *arena, struct segment_entry *entry, uint64_t allocated)
{
    arena->segment_bytes += allocated - entry->accounted;
    entry->accounted = allocated;
    entry->backing->allocated = allocated;
}

void arena_trim(struct arena *arena)
{
    backing_remove_all(&arena->store, warm_surrender(&arena->warm));
}

int arena_file_open(struct arena *arena, const char *name, int flags)
{
    return store_file_open(&arena->store, name, flags);
}

int arena_file_unlink(struct arena *arena, const char *name)
{
    return store_file_unlink(&arena->store, name);
}
