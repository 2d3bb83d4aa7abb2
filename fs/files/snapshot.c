// SPDX-License-Identifier: Apache-2.0
#include "files/snapshot.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

/* One user that has the text open. */
struct holder {
    SLIST_ENTRY(holder) link;
    uid_t uid;
    uint32_t count;
};

struct snapshot {
    char *text;
    size_t size;
    uint32_t references;
    SLIST_HEAD(, holder) holders;
};

struct snapshot *snapshot_new(char *text, size_t size)
{
    struct snapshot *snapshot = calloc(1, sizeof(*snapshot));

    if (!snapshot) {
        free(text);
        return NULL;
    }
    snapshot->text = text;
    snapshot->size = size;
    snapshot->references = 1;
    return snapshot;
}

size_t snapshot_size(const struct snapshot *snapshot)
{
    return snapshot->size;
}

size_t snapshot_read(const struct snapshot *snapshot, char *buffer, size_t size, off_t offset)
{
    if ((uint64_t)offset >= snapshot->size)
        return 0;
    if (size > snapshot->size - (size_t)offset)
        size = snapshot->size - (size_t)offset;
    memcpy(buffer, snapshot->text + offset, size);
    return size;
}

void snapshot_forget(struct snapshot *snapshot)
{
    if (!snapshot || --snapshot->references > 0)
        return;
    free(snapshot->text);
    free(snapshot);
}

bool snapshot_is_open(const struct snapshot *snapshot)
{
    return !SLIST_EMPTY(&snapshot->holders);
}

static struct holder *holder_of(const struct snapshot *snapshot, uid_t uid)
{
    struct holder *holder;

    SLIST_FOREACH (holder, &snapshot->holders, link) {
        if (holder->uid == uid)
            return holder;
    }
    return NULL;
}

int snapshot_take(struct snapshot *snapshot, struct quota *quota, uid_t uid, uint64_t limit)
{
    struct holder *holder = holder_of(snapshot, uid);

    if (!holder) {
        int result = quota_hold(quota, uid, snapshot->size, limit);

        if (result < 0)
            return result;
        holder = calloc(1, sizeof(*holder));
        if (!holder) {
            quota_let_go(quota, uid, snapshot->size);
            return -ENOMEM;
        }
        holder->uid = uid;
        SLIST_INSERT_HEAD(&snapshot->holders, holder, link);
    }
    holder->count++;
    snapshot->references++;
    return 0;
}

void snapshot_drop(struct snapshot *snapshot, struct quota *quota, uid_t uid)
{
    struct holder *holder = holder_of(snapshot, uid);

    if (holder && --holder->count == 0) {
        SLIST_REMOVE(&snapshot->holders, holder, holder, link);
        free(holder);
        quota_let_go(quota, uid, snapshot->size);
    }
    snapshot_forget(snapshot);
}
