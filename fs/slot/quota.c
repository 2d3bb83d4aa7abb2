// SPDX-License-Identifier: Apache-2.0
#include "slot/quota.h"

#include <errno.h>
#include <stdlib.h>

enum { BUCKETS = 64 };

/* We never free an account, so there are as many as there ever were users. */
struct account {
    uid_t uid;
    uint32_t slots;
    uint32_t opens;
    uint64_t bytes;
    uint64_t held;
    struct account *next;
};

struct quota {
    struct account *buckets[BUCKETS];
};

struct quota *quota_new(void)
{
    return calloc(1, sizeof(struct quota));
}

void quota_free(struct quota *quota)
{
    if (!quota)
        return;
    for (int i = 0; i < BUCKETS; i++) {
        while (quota->buckets[i]) {
            struct account *account = quota->buckets[i];
            quota->buckets[i] = account->next;
            free(account);
        }
    }
    free(quota);
}

static struct account *account_of(struct quota *quota, uid_t uid)
{
    struct account **bucket = &quota->buckets[uid % BUCKETS];
    struct account *account;

    for (account = *bucket; account; account = account->next) {
        if (account->uid == uid)
            return account;
    }
    account = calloc(1, sizeof(*account));
    if (!account)
        return NULL;
    account->uid = uid;
    account->next = *bucket;
    *bucket = account;
    return account;
}

int quota_add_slot(struct quota *quota, uid_t uid, uint32_t limit)
{
    struct account *account = account_of(quota, uid);

    if (!account)
        return -ENOMEM;
    if (account->slots >= limit)
        return -EDQUOT;
    account->slots++;
    return 0;
}

void quota_drop_slot(struct quota *quota, uid_t uid)
{
    struct account *account = account_of(quota, uid);

    if (account && account->slots > 0)
        account->slots--;
}

int quota_charge(struct quota *quota, struct segment *segment, uid_t uid, uint64_t bytes, uint64_t limit)
{
    struct account *account = account_of(quota, uid);
    uint64_t before = segment->charged_uid == uid ? segment->charged : 0;
    uint64_t sum;

    if (!account)
        return -ENOMEM;
    /* Check for overflow: a client chose the size, and nothing is reserved yet. */
    if (__builtin_add_overflow(account->bytes - before, bytes, &sum) ||
        (limit && bytes > before && sum > limit))
        return -EDQUOT;
    quota_uncharge(quota, segment);
    account->bytes += bytes;
    segment->charged = bytes;
    segment->charged_uid = uid;
    return 0;
}

int quota_add_bytes(struct quota *quota, uid_t uid, uint64_t bytes, uint64_t limit)
{
    struct account *account = account_of(quota, uid);
    uint64_t sum;

    if (!account)
        return -ENOMEM;
    if (__builtin_add_overflow(account->bytes, bytes, &sum) || (limit && bytes > 0 && sum > limit))
        return -EDQUOT;
    account->bytes = sum;
    return 0;
}

void quota_drop_bytes(struct quota *quota, uid_t uid, uint64_t bytes)
{
    struct account *account = account_of(quota, uid);

    if (account)
        account->bytes -= bytes;
}

uint64_t quota_bytes(struct quota *quota, uid_t uid)
{
    const struct account *account = account_of(quota, uid);

    return account ? account->bytes : 0;
}

void quota_visit(const struct quota *quota, void (*visit)(void *context, const struct quota_share *share),
                 void *context)
{
    for (int i = 0; i < BUCKETS; i++) {
        for (const struct account *account = quota->buckets[i]; account; account = account->next) {
            const struct quota_share share = {account->uid, account->slots, account->bytes};

            if (share.slots || share.bytes)
                visit(context, &share);
        }
    }
}

void quota_uncharge(struct quota *quota, struct segment *segment)
{
    struct account *account;

    if (!segment->charged)
        return;
    account = account_of(quota, segment->charged_uid);
    if (account)
        account->bytes -= segment->charged;
    segment->charged = 0;
}

int quota_add_open(struct quota *quota, uid_t uid, uint32_t limit)
{
    struct account *account = account_of(quota, uid);

    if (!account)
        return -ENOMEM;
    if (limit && account->opens >= limit)
        return -EMFILE;
    account->opens++;
    return 0;
}

void quota_drop_open(struct quota *quota, uid_t uid)
{
    struct account *account = account_of(quota, uid);

    if (account && account->opens > 0)
        account->opens--;
}

int quota_hold(struct quota *quota, uid_t uid, uint64_t bytes, uint64_t limit)
{
    struct account *account = account_of(quota, uid);
    uint64_t sum;

    if (!account)
        return -ENOMEM;
    if (__builtin_add_overflow(account->held, bytes, &sum) || (limit && account->held > 0 && sum > limit))
        return -EDQUOT;
    account->held = sum;
    return 0;
}

void quota_let_go(struct quota *quota, uid_t uid, uint64_t bytes)
{
    struct account *account = account_of(quota, uid);

    if (account)
        account->held -= bytes;
}
