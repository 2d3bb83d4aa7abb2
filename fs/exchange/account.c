// SPDX-License-Identifier: Apache-2.0
#include "exchange/account.h"

#include "exchange/shared.h"
#include "slot/page.h"
#include "slot/text.h"
#include <errno.h>
#include <stdio.h>

struct quota_payer account_payer(const struct slot *slot)
{
    return (struct quota_payer){slot->uid, slot->job};
}

bool account_has_limit(const struct exchange *exchange)
{
    return exchange->limits.bytes_per_user || exchange->limits.bytes_per_job;
}

static struct quota_limits limits_of(const struct exchange *exchange)
{
    return (struct quota_limits){{exchange->limits.bytes_per_user, exchange->limits.bytes_per_job}};
}

/* Notes which limit is in the way: see refuse_what_is_lacking. */
static int judged(struct exchange *exchange, const struct slot *slot, int result)
{
    if (result == -EDQUOT && quota_refused(exchange->quota) == QUOTA_JOB)
        snprintf(exchange->share_reason, sizeof(exchange->share_reason),
                 "it is more than limits.bytes_per_job allows %s", slot->job);
    else if (result == -EDQUOT)
        snprintf(exchange->share_reason, sizeof(exchange->share_reason),
                 "it is more than limits.bytes_per_user allows");
    return result;
}

int account_charge(struct exchange *exchange, struct segment *segment, const struct slot *slot,
                   uint64_t bytes)
{
    const struct quota_limits limits = limits_of(exchange);
    int result = quota_charge(exchange->quota, segment, account_payer(slot), bytes, &limits);

    if (result != -EDQUOT)
        return result;
    /* A mapping of an earlier round may be gone by now. */
    segment_recheck(exchange->arena);
    return judged(exchange, slot,
                  quota_charge(exchange->quota, segment, account_payer(slot), bytes, &limits));
}

/* Pages of the slot's own files; the entry in the index is counted by limits.slots_per_user. */
static uint64_t bytes_of(const struct slot *slot)
{
    return text_bytes(slot->task_size) + text_bytes(slot->error_size) +
           (slot->pages[SLOT_PAGE_BIN].exists ? text_bytes(RECORD_SIZE) : 0) +
           (slot->pages[SLOT_PAGE_MEM].exists ? text_bytes(RECORD_PAGE_SIZE) : 0);
}

/* limits: NULL, if it may not be refused. */
static int add(struct exchange *exchange, const struct slot *slot, uint64_t bytes,
               const struct quota_limits *limits)
{
    int result = quota_add_bytes(exchange->quota, account_payer(slot), bytes, limits);

    if (result != -EDQUOT)
        return result;
    segment_recheck(exchange->arena);
    return judged(exchange, slot, quota_add_bytes(exchange->quota, account_payer(slot), bytes, limits));
}

int account_charge_inline(struct exchange *exchange, const struct slot *slot, size_t size)
{
    const struct quota_limits limits = limits_of(exchange);

    return add(exchange, slot, size, &limits);
}

/* Replaces the last charge by the bytes that the slot has now. */
static void settle(struct exchange *exchange, const struct slot *slot, uint64_t charged)
{
    quota_drop_bytes(exchange->quota, account_payer(slot), charged);
    quota_add_bytes(exchange->quota, account_payer(slot), bytes_of(slot), NULL);
}

ssize_t account_write_text(struct exchange *exchange, struct slot *slot, enum slot_file file,
                           enum account_author author, const void *buffer, size_t size, off_t offset)
{
    const struct quota_limits limits = limits_of(exchange);
    uint64_t before = bytes_of(slot);
    uint64_t more = text_growth(slot, file, size, offset);
    ssize_t put = add(exchange, slot, more, author == ACCOUNT_DAEMON ? NULL : &limits);

    if (put < 0)
        return put;
    put = text_write(exchange->arena, slot, file, buffer, size, offset);
    settle(exchange, slot, before + more);
    return put;
}

int account_resize_text(struct exchange *exchange, struct slot *slot, enum slot_file file, uint64_t size)
{
    const struct quota_limits limits = limits_of(exchange);
    uint64_t before = bytes_of(slot);
    uint64_t more = text_growth(slot, file, 0, size > INT64_MAX ? INT64_MAX : (off_t)size);
    int result = add(exchange, slot, more, &limits);

    if (result < 0)
        return result;
    result = text_resize(exchange->arena, slot, file, size);
    settle(exchange, slot, before + more);
    return result;
}

int account_open_page(struct exchange *exchange, struct slot *slot, enum slot_page_kind kind)
{
    uint64_t before = bytes_of(slot);
    int result = page_open(exchange->arena, slot, kind);

    settle(exchange, slot, before);
    return result;
}

void account_add_slot(struct exchange *exchange, const struct slot *slot, struct quota_payer payer)
{
    quota_add_bytes(exchange->quota, payer, bytes_of(slot), NULL);
}

void account_drop_slot(struct exchange *exchange, const struct slot *slot)
{
    quota_drop_bytes(exchange->quota, account_payer(slot), bytes_of(slot));
}
