// SPDX-License-Identifier: Apache-2.0
#include "arena/ledger.h"

#include <sys/statfs.h>

/* Where the kernel does not count: bytes in use, and those of files that are still to be removed. */
static uint64_t counted_bytes(const struct arena *arena)
{
    return arena->segment_bytes + warm_pending_bytes(&arena->warm);
}

static uint64_t minus(uint64_t a, uint64_t b)
{
    return a > b ? a - b : 0;
}

uint64_t ledger_room(struct arena *arena)
{
    struct statfs status;

    if (arena->store.kind->kernel_counts) {
        if (fstatfs(arena->store.dirfd, &status) < 0)
            return 0;
        return (uint64_t)status.f_bfree * (uint64_t)status.f_bsize;
    }
    return minus(arena->capacity,
                 counted_bytes(arena) + arena->file_bytes + warm_bytes(&arena->warm) + arena->reserved_bytes);
}

static uint64_t blocks_in_use(const struct statfs *status)
{
    return (uint64_t)(status->f_blocks - status->f_bfree) * (uint64_t)status->f_bsize;
}

void ledger_usage(struct arena *arena, struct ledger_usage *usage)
{
    struct statfs status, files;

    usage->capacity = arena->capacity;
    usage->warm = warm_bytes(&arena->warm);
    usage->files = arena->file_bytes;
    usage->used = counted_bytes(arena);
    if (arena->store.kind->kernel_counts && fstatfs(arena->store.dirfd, &status) == 0 &&
        fstatfs(arena->store.filesfd, &files) == 0) {
        usage->used = minus(blocks_in_use(&status), usage->warm);
        usage->files = blocks_in_use(&files);
    }
}

void ledger_account(struct arena *arena, uint64_t *account, uint64_t allocated)
{
    arena->segment_bytes += allocated - *account;
    *account = allocated;
}

void ledger_file_resized(struct arena *arena, uint64_t before, uint64_t after)
{
    arena->file_bytes += store_round_up(&arena->store, after) - store_round_up(&arena->store, before);
}

bool ledger_has_text_room(struct arena *arena, uint64_t before, uint64_t after)
{
    uint64_t bytes = minus(store_round_up(&arena->store, after), store_round_up(&arena->store, before));

    if (bytes == 0)
        return true;
    return arena->text_bytes + bytes <= store_text_bytes(arena->capacity) &&
           (arena->store.kind->kernel_counts || bytes <= ledger_room(arena));
}

void ledger_text_resized(struct arena *arena, uint64_t before, uint64_t after)
{
    arena->text_bytes += store_round_up(&arena->store, after) - store_round_up(&arena->store, before);
    ledger_file_resized(arena, before, after);
}
