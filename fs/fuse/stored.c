// SPDX-License-Identifier: Apache-2.0
#include "fuse/stored.h"

#include "base/container.h"
#include "exchange/publish.h"
#include "exchange/refuse.h"
#include "exchange/wait.h"
#include "fuse/notify.h"
#include "slot/page.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { WORDS = RECORD_SIZE / sizeof(uint32_t) };

union words {
    struct record record;
    uint32_t word[WORDS];
};

struct stored {
    struct wait wait;
    struct request_ops *ops;
    struct caller caller;
    union words page;
    uint32_t changed; /* bit n: a client stored into word n */
};

/* Count and tell a store that we undo as a refusal. */
static int refuse(struct request_ops *ops, struct slot *slot, const struct caller *caller, int result,
                  const char *reason)
{
    return refuse_operation(ops->exchange, slot, caller, "store into metadata.bin", result, reason);
}

/* Ignore stores into the fields that the filesystem sets: round (two words), change and all after it. */
static uint32_t words_of_filesystem(void)
{
    const size_t round = offsetof(struct record, round) / sizeof(uint32_t);
    const size_t change = offsetof(struct record, change) / sizeof(uint32_t);

    return 3u << round | UINT32_MAX << change;
}

static int retry(struct wait *wait)
{
    const struct stored *stored = container_of(wait, struct stored, wait);
    struct slot *slot = wait->slot;
    union words overlaid = {.record = slot->record};
    /* Leave out a flag that no client stored into: to write the same flag again may be a step. */
    size_t from = stored->changed & 1 ? 0 : offsetof(struct record, version);
    struct record proposed;
    uint32_t touched;
    int result;

    for (size_t i = 0; i < WORDS; i++) {
        if (stored->changed >> i & 1)
            overlaid.word[i] = stored->page.word[i];
    }
    if (record_merge(&slot->record, (const char *)&overlaid + from, RECORD_SIZE - from, from, &proposed,
                     &touched) < 0)
        return refuse(stored->ops, slot, &stored->caller, -EINVAL, "it is no valid record");
    wait->event = proposed.flag == RECORD_FLAG_INPUT ? EVENT_FLAG_INPUT : EVENT_FLAG_RESULT;
    result = publish_record(stored->ops->exchange, slot, &stored->caller, &proposed, touched);
    if (result == 0 && stored->changed & words_of_filesystem())
        refuse(stored->ops, slot, &stored->caller, -EINVAL,
               "round, change and what follows it are set by the filesystem");
    return result;
}

/* Done or refused: make all mappings show the record again. */
static void end(struct wait *wait, int result)
{
    struct stored *stored = container_of(wait, struct stored, wait);

    (void)result;
    page_update(stored->ops->arena, wait->slot);
    notify_record(stored->ops, wait->slot);
    free(stored);
}

void stored_take(struct request_ops *ops, struct slot *slot, const struct caller *caller,
                 const struct record *page, const struct record *base)
{
    struct stored *stored;
    union words before = {.record = *base};
    int result;

    if (memcmp(page, base, RECORD_SIZE) == 0)
        return;
    stored = calloc(1, sizeof(*stored));
    if (!stored) {
        refuse(ops, slot, caller, -ENOMEM, "the daemon has no memory left");
        page_update(ops->arena, slot);
        return;
    }
    stored->ops = ops;
    stored->caller = *caller;
    stored->page.record = *page;
    for (size_t i = 0; i < WORDS; i++)
        stored->changed |= (uint32_t)(stored->page.word[i] != before.word[i]) << i;
    stored->wait.slot = slot;
    stored->wait.process = caller->process;
    stored->wait.retry = retry;
    stored->wait.end = end;
    result = retry(&stored->wait);
    if (result != WAIT_FOR_PEER && result != WAIT_FOR_WORK) {
        end(&stored->wait, result);
        return;
    }
    wait_park(ops->exchange, &stored->wait, slot, result);
    /* Show the record while the store waits, or the next writer's release would count the store again. */
    page_update(ops->arena, slot);
    notify_record(ops, slot);
}

void stored_write_back(struct request_ops *ops, struct slot *slot, const struct caller *caller,
                       const char *bytes, size_t size, off_t offset)
{
    struct record page;

    /* Take a page of the current `change` only: in an older one a store looks like an old value. */
    if (offset != 0 || size < sizeof(page) ||
        memcmp(bytes + offsetof(struct record, change), &slot->record.change, sizeof(page.change)) != 0) {
        refuse(ops, slot, caller, -ESTALE, "the record had changed since the page was read");
        notify_record(ops, slot);
        return;
    }
    memcpy(&page, bytes, sizeof(page));
    stored_take(ops, slot, caller, &page, &slot->record);
}
