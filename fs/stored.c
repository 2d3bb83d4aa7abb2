// SPDX-License-Identifier: Apache-2.0
#include "stored.h"

#include "notify.h"
#include "page.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { WORDS = RECORD_SIZE / sizeof(uint32_t) };

union words {
    struct record record;
    uint32_t word[WORDS];
};

struct stored {
    struct waiter waiter; /* first: callbacks get it back */
    struct request_ops *ops;
    struct caller caller;
    union words page;
    uint32_t changed; /* bit n: word n was stored into */
};

static int retry(struct waiter *waiter)
{
    const struct stored *stored = (const struct stored *)waiter;
    struct slot *slot = waiter->slot;
    union words overlaid = {.record = slot->record};
    /* A flag that was not stored into is no step, even if writing the same again would be one. */
    size_t from = stored->changed & 1 ? 0 : offsetof(struct record, version);
    struct record proposed;
    uint32_t touched;

    for (size_t i = 0; i < WORDS; i++) {
        if (stored->changed >> i & 1)
            overlaid.word[i] = stored->page.word[i];
    }
    if (record_merge(&slot->record, (const char *)&overlaid + from, RECORD_SIZE - from, from, &proposed,
                     &touched) < 0)
        return exchange_refuse(stored->ops->exchange, slot, &stored->caller, "store into metadata.bin",
                               -EINVAL, "it is no valid record");
    return exchange_write_record(stored->ops->exchange, slot, &stored->caller, &proposed, touched);
}

/* Done or refused: all mappings show the record again. */
static void end(struct waiter *waiter, int result)
{
    struct stored *stored = (struct stored *)waiter;

    (void)result;
    page_update(stored->ops->arena, waiter->slot);
    notify_record(stored->ops, waiter->slot);
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
        page_update(ops->arena, slot);
        return;
    }
    stored->ops = ops;
    stored->caller = *caller;
    stored->page.record = *page;
    for (size_t i = 0; i < WORDS; i++)
        stored->changed |= (uint32_t)(stored->page.word[i] != before.word[i]) << i;
    stored->waiter.slot = slot;
    stored->waiter.process = caller_process(caller);
    stored->waiter.event = EVENT_FLAG_RESULT;
    stored->waiter.retry = retry;
    stored->waiter.end = end;
    result = retry(&stored->waiter);
    if (result == EXCHANGE_WAITS || result == EXCHANGE_WORKS)
        exchange_park(ops->exchange, &stored->waiter, slot);
    else
        end(&stored->waiter, result);
}

void stored_write_back(struct request_ops *ops, struct slot *slot, const struct caller *caller,
                       const char *bytes, size_t size, off_t offset)
{
    struct record page;

    /* The page tells its age: of an older one nobody knows what was stored and what is just old. */
    if (offset != 0 || size < sizeof(page) ||
        memcmp(bytes + offsetof(struct record, change), &slot->record.change, sizeof(page.change)) != 0) {
        notify_record(ops, slot);
        return;
    }
    memcpy(&page, bytes, sizeof(page));
    stored_take(ops, slot, caller, &page, &slot->record);
}
