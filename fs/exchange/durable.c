// SPDX-License-Identifier: Apache-2.0
#include "exchange/durable.h"

#include "base/log.h"
#include "exchange/shared.h"
#include "slot/slot.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

STAILQ_HEAD(durable_waits, durable_wait);

struct durable {
    struct background_job job; /* first: run() gets it back */
    struct exchange *exchange;
    struct durable_waits now;  /* requests that wait for this sync, */
    struct durable_waits next; /* and those for the one after it */
    uint64_t epoch;            /* in which that left which it lets go */
    uint64_t target;           /* the commits that it brings to the disk */
    uint64_t kept;             /* and those that are there */
    int texts[ARENA_UNSYNCED_MAX];
    unsigned text_count;
    int index;
    int directory;
    int result;
    bool running;
    bool is_first; /* the sync under way is the one that durable_take_over asked for */
    void (*kept_all)(struct exchange *exchange);
};

/* --- in the helper thread --- */

static int sync_texts(struct durable *durable)
{
    int result = 0;

    for (unsigned i = 0; i < durable->text_count; i++) {
        if (fdatasync(durable->texts[i]) < 0)
            result = -errno;
        close(durable->texts[i]);
    }
    if (durable->text_count > 0 && fsync(durable->directory) < 0)
        result = -errno;
    return result;
}

/* The texts first: an entry that names one must not be there before it. */
static enum background_progress run(struct background_job *job)
{
    struct durable *durable = (struct durable *)job;

    durable->result = sync_texts(durable);
    if (durable->result == 0 && durable->is_first && syncfs(durable->index) < 0)
        durable->result = -errno;
    if (durable->result == 0 && fdatasync(durable->index) < 0)
        durable->result = -errno;
    return BACKGROUND_DONE;
}

/* --- in the loop --- */

static void start(struct exchange *exchange);

static bool is_wanted(const struct exchange *exchange)
{
    return !STAILQ_EMPTY(&exchange->durable->next) || arena_has_leaving(exchange->arena);
}

static void done(struct background_job *job)
{
    struct durable *durable = (struct durable *)job;
    struct exchange *exchange = durable->exchange;
    struct durable_waits waits = STAILQ_HEAD_INITIALIZER(waits);
    struct durable_wait *wait;

    durable->running = false;
    STAILQ_CONCAT(&waits, &durable->now);
    if (durable->result == 0)
        durable->kept = durable->target;
    else
        log_error("the index of the arena could not be brought to the disk: %s", strerror(-durable->result));
    /* If that failed the disk may still have what names them; they go all the same, or a full disk stays full. */
    arena_let_go(exchange->arena, durable->epoch);
    if (durable->result == 0 && durable->is_first) {
        durable->kept_all(exchange);
        durable->kept_all = NULL;
    }
    while ((wait = STAILQ_FIRST(&waits))) {
        STAILQ_REMOVE_HEAD(&waits, link);
        wait->done(wait, durable->result);
    }
    if (!durable->running && is_wanted(exchange))
        start(exchange);
}

static void start(struct exchange *exchange)
{
    struct durable *durable = exchange->durable;

    slots_commit(exchange->slots);
    durable->running = true;
    durable->is_first = durable->kept_all != NULL;
    durable->target = slots_commits(exchange->slots);
    STAILQ_CONCAT(&durable->now, &durable->next);
    durable->epoch = arena_end_epoch(exchange->arena);
    durable->text_count = arena_take_unsynced(exchange->arena, durable->texts);
    durable->index = slots_fd(exchange->slots);
    durable->job = (struct background_job){.run = run, .done = done, .priority = BACKGROUND_URGENT};
    background_submit(exchange->arena->background, &durable->job);
}

void durable_commit(struct exchange *exchange)
{
    struct durable *durable = exchange->durable;

    slots_commit(exchange->slots);
    if (!arena_is_lasting(exchange->arena)) {
        if (arena_has_leaving(exchange->arena))
            arena_let_go(exchange->arena, UINT64_MAX);
    } else if (!durable->running && is_wanted(exchange)) {
        start(exchange);
    }
}

bool durable_is_kept(struct exchange *exchange)
{
    slots_commit(exchange->slots);
    return !arena_is_lasting(exchange->arena) || exchange->durable->kept == slots_commits(exchange->slots);
}

void durable_await(struct exchange *exchange, struct durable_wait *wait)
{
    STAILQ_INSERT_TAIL(&exchange->durable->next, wait, link);
    if (!exchange->durable->running)
        start(exchange);
}

void durable_take_over(struct exchange *exchange, void (*kept_all)(struct exchange *exchange))
{
    if (!arena_is_lasting(exchange->arena)) {
        kept_all(exchange);
        return;
    }
    exchange->durable->kept_all = kept_all;
    exchange->durable->kept = UINT64_MAX;
    if (!exchange->durable->running)
        start(exchange);
}

int durable_init(struct exchange *exchange)
{
    struct durable *durable = calloc(1, sizeof(*durable));
    int directories[2];

    if (!durable)
        return -ENOMEM;
    arena_directories(exchange->arena, directories);
    durable->exchange = exchange;
    durable->directory = directories[1];
    STAILQ_INIT(&durable->now);
    STAILQ_INIT(&durable->next);
    exchange->durable = durable;
    return 0;
}

void durable_deinit(struct exchange *exchange)
{
    struct durable *durable = exchange->durable;

    if (!durable)
        return;
    while (durable->running)
        background_drain(exchange->arena->background);
    free(durable);
    exchange->durable = NULL;
}
