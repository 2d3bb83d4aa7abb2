// SPDX-License-Identifier: Apache-2.0
#include "exchange/account.h"

#include "exchange/shared.h"
#include "slot/page.h"
#include "slot/text.h"
#include <errno.h>

int account_charge(struct exchange *exchange, struct segment *segment, uid_t uid, uint64_t bytes)
{
    uint64_t limit = exchange->limits.bytes_per_user;
    int result = quota_charge(exchange->quota, segment, uid, bytes, limit);

    if (result != -EDQUOT)
        return result;
    /* A mapping of an earlier round may be gone by now. */
    segment_recheck(exchange->arena);
    return quota_charge(exchange->quota, segment, uid, bytes, limit);
}

/* Pages of the slot's own files; the entry in the index is counted by limits.slots_per_user. */
static uint64_t bytes_of(const struct slot *slot)
{
    return text_bytes(slot->task_size) + text_bytes(slot->error_size) +
           (slot->pages[SLOT_PAGE_BIN].exists ? text_bytes(RECORD_SIZE) : 0) +
           (slot->pages[SLOT_PAGE_MEM].exists ? text_bytes(RECORD_PAGE_SIZE) : 0);
}

static int add(struct exchange *exchange, uid_t uid, uint64_t bytes, uint64_t limit)
{
    int result = quota_add_bytes(exchange->quota, uid, bytes, limit);

    if (result != -EDQUOT)
        return result;
    segment_recheck(exchange->arena);
    return quota_add_bytes(exchange->quota, uid, bytes, limit);
}

int account_charge_inline(struct exchange *exchange, uid_t uid, size_t size)
{
    return add(exchange, uid, size, exchange->limits.bytes_per_user);
}

/* Replaces the last charge by the bytes that the slot has now. */
static void settle(struct exchange *exchange, const struct slot *slot, uint64_t charged)
{
    quota_drop_bytes(exchange->quota, slot->uid, charged);
    quota_add_bytes(exchange->quota, slot->uid, bytes_of(slot), 0);
}

ssize_t account_write_text(struct exchange *exchange, struct slot *slot, enum slot_file file,
                           enum account_author author, const void *buffer, size_t size, off_t offset)
{
    uint64_t limit = author == ACCOUNT_DAEMON ? 0 : exchange->limits.bytes_per_user;
    uint64_t before = bytes_of(slot);
    uint64_t more = text_growth(slot, file, size, offset);
    ssize_t put = add(exchange, slot->uid, more, limit);

    if (put < 0)
        return put;
    put = text_write(exchange->arena, slot, file, buffer, size, offset);
    settle(exchange, slot, before + more);
    return put;
}

int account_resize_text(struct exchange *exchange, struct slot *slot, enum slot_file file, uint64_t size)
{
    uint64_t before = bytes_of(slot);
    uint64_t more = text_growth(slot, file, 0, size > INT64_MAX ? INT64_MAX : (off_t)size);
    int result = add(exchange, slot->uid, more, exchange->limits.bytes_per_user);

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

void account_add_slot(struct exchange *exchange, const struct slot *slot, uid_t uid)
{
    quota_add_bytes(exchange->quota, uid, bytes_of(slot), 0);
}

void account_drop_slot(struct exchange *exchange, const struct slot *slot)
{
    quota_drop_bytes(exchange->quota, slot->uid, bytes_of(slot));
}
