// SPDX-License-Identifier: Apache-2.0
#include "slot/quota.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

enum { BUCKETS = 64 };

/*
 * We never free the account of a user, so there are as many as there ever were users. That of a job goes with its
 * last slot and byte: jobs without end come and go.
 */
struct quota_account {
    struct quota_account *next;
    uint64_t bytes;
    uint64_t held;
    uint32_t slots;
    uint32_t opens;
    uid_t uid;  /* nobody: it is a job's */
    char job[]; /* "": it is a user's */
};

struct quota {
    struct quota_account *buckets[BUCKETS];
    enum quota_kind refused;
};

static const uid_t nobody = (uid_t)-1; /* the number that no user can have */

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
            struct quota_account *account = quota->buckets[i];
            quota->buckets[i] = account->next;
            free(account);
        }
    }
    free(quota);
}

/* Where the account is in its list, or would be. */
static struct quota_account **find(struct quota *quota, uid_t uid, const char *job)
{
    uint32_t hash = uid;
    struct quota_account **at;

    for (const char *byte = job; *byte; byte++)
        hash = (hash ^ (unsigned char)*byte) * 16777619;
    at = &quota->buckets[hash % BUCKETS];
    while (*at && ((*at)->uid != uid || strcmp((*at)->job, job) != 0))
        at = &(*at)->next;
    return at;
}

static struct quota_account *make(struct quota *quota, uid_t uid, const char *job)
{
    struct quota_account **at = find(quota, uid, job);
    size_t size = strlen(job) + 1;

    if (*at)
        return *at;
    *at = calloc(1, sizeof(**at) + size);
    if (!*at)
        return NULL;
    (*at)->uid = uid;
    memcpy((*at)->job, job, size);
    return *at;
}

static struct quota_account *user_of(struct quota *quota, uid_t uid)
{
    return make(quota, uid, "");
}

/* The accounts of a payer, by enum quota_kind: without a job the second one is NULL. False: no memory. */
struct accounts {
    struct quota_account *of[QUOTA_JOB + 1];
};

static bool make_both(struct quota *quota, struct quota_payer payer, struct accounts *accounts)
{
    accounts->of[QUOTA_USER] = user_of(quota, payer.uid);
    accounts->of[QUOTA_JOB] = payer.job[0] ? make(quota, nobody, payer.job) : NULL;
    return accounts->of[QUOTA_USER] && (accounts->of[QUOTA_JOB] || !payer.job[0]);
}

/* Makes none: what leaves an account is on it. */
static struct accounts find_both(struct quota *quota, struct quota_payer payer)
{
    return (struct accounts){
        {*find(quota, payer.uid, ""), payer.job[0] ? *find(quota, nobody, payer.job) : NULL}};
}

static void forget_if_empty(struct quota *quota, struct quota_account *account)
{
    struct quota_account **at;

    if (!account || !account->job[0] || account->slots || account->bytes)
        return;
    at = find(quota, nobody, account->job);
    *at = account->next;
    free(account);
}

int quota_add_slot(struct quota *quota, struct quota_payer payer, uint32_t limit)
{
    struct accounts accounts;

    if (user_of(quota, payer.uid) && user_of(quota, payer.uid)->slots >= limit)
        return -EDQUOT;
    if (!make_both(quota, payer, &accounts))
        return -ENOMEM;
    accounts.of[QUOTA_USER]->slots++;
    if (accounts.of[QUOTA_JOB])
        accounts.of[QUOTA_JOB]->slots++;
    return 0;
}

void quota_drop_slot(struct quota *quota, struct quota_payer payer)
{
    struct accounts accounts = find_both(quota, payer);

    for (int kind = QUOTA_USER; kind <= QUOTA_JOB; kind++) {
        if (accounts.of[kind] && accounts.of[kind]->slots > 0)
            accounts.of[kind]->slots--;
    }
    forget_if_empty(quota, accounts.of[QUOTA_JOB]);
}

/*
 * Whether each account may have that many bytes more. before: what it has of them already. We check for overflow: a
 * client chose the size, and nothing is reserved yet.
 */
static bool has_room(struct quota *quota, const struct accounts *accounts,
                     const uint64_t before[QUOTA_JOB + 1], uint64_t bytes, const struct quota_limits *limits)
{
    for (int kind = QUOTA_USER; kind <= QUOTA_JOB; kind++) {
        const struct quota_account *account = accounts->of[kind];
        uint64_t limit = limits ? limits->bytes[kind] : 0, sum;

        if (account && (__builtin_add_overflow(account->bytes - before[kind], bytes, &sum) ||
                        (limit && bytes > before[kind] && sum > limit))) {
            quota->refused = (enum quota_kind)kind;
            return false;
        }
    }
    return true;
}

static void add(const struct accounts *accounts, uint64_t bytes)
{
    accounts->of[QUOTA_USER]->bytes += bytes;
    if (accounts->of[QUOTA_JOB])
        accounts->of[QUOTA_JOB]->bytes += bytes;
}

int quota_charge(struct quota *quota, struct segment *segment, struct quota_payer payer, uint64_t bytes,
                 const struct quota_limits *limits)
{
    struct accounts accounts;
    uint64_t before[QUOTA_JOB + 1] = {0};

    if (!make_both(quota, payer, &accounts))
        return -ENOMEM;
    if (segment->charged_uid == payer.uid)
        before[QUOTA_USER] = segment->charged;
    if (accounts.of[QUOTA_JOB] && segment->charged_job == accounts.of[QUOTA_JOB])
        before[QUOTA_JOB] = segment->charged;
    if (!has_room(quota, &accounts, before, bytes, limits)) {
        forget_if_empty(quota, accounts.of[QUOTA_JOB]);
        return -EDQUOT;
    }
    add(&accounts, bytes); /* first: an account that gets empty in between would go */
    quota_uncharge(quota, segment);
    segment->charged = bytes;
    segment->charged_uid = payer.uid;
    segment->charged_job = bytes ? accounts.of[QUOTA_JOB] : NULL;
    return 0;
}

int quota_add_bytes(struct quota *quota, struct quota_payer payer, uint64_t bytes,
                    const struct quota_limits *limits)
{
    static const uint64_t nothing[QUOTA_JOB + 1];
    struct accounts accounts;

    if (!make_both(quota, payer, &accounts))
        return -ENOMEM;
    if (has_room(quota, &accounts, nothing, bytes, limits)) {
        add(&accounts, bytes);
        return 0;
    }
    forget_if_empty(quota, accounts.of[QUOTA_JOB]);
    return -EDQUOT;
}

void quota_drop_bytes(struct quota *quota, struct quota_payer payer, uint64_t bytes)
{
    struct accounts accounts = find_both(quota, payer);

    for (int kind = QUOTA_USER; kind <= QUOTA_JOB; kind++) {
        if (accounts.of[kind])
            accounts.of[kind]->bytes -= bytes;
    }
    forget_if_empty(quota, accounts.of[QUOTA_JOB]);
}

void quota_uncharge(struct quota *quota, struct segment *segment)
{
    struct quota_account *user, *job = segment->charged_job;

    if (!segment->charged)
        return;
    user = user_of(quota, segment->charged_uid);
    if (user)
        user->bytes -= segment->charged;
    if (job)
        job->bytes -= segment->charged;
    forget_if_empty(quota, job);
    segment->charged = 0;
    segment->charged_job = NULL;
}

uint64_t quota_bytes(struct quota *quota, struct quota_payer payer, enum quota_kind kind)
{
    const struct quota_account *account = find_both(quota, payer).of[kind];

    return account ? account->bytes : 0;
}

enum quota_kind quota_refused(const struct quota *quota)
{
    return quota->refused;
}

void quota_visit(const struct quota *quota, enum quota_kind kind,
                 void (*visit)(void *context, const struct quota_share *share), void *context)
{
    for (int i = 0; i < BUCKETS; i++) {
        for (const struct quota_account *account = quota->buckets[i]; account; account = account->next) {
            const struct quota_share share = {account->uid, account->job, account->slots, account->bytes};

            if ((account->job[0] != '\0') == (kind == QUOTA_JOB) && (share.slots || share.bytes))
                visit(context, &share);
        }
    }
}

int quota_add_open(struct quota *quota, uid_t uid, uint32_t limit)
{
    struct quota_account *account = user_of(quota, uid);

    if (!account)
        return -ENOMEM;
    if (limit && account->opens >= limit)
        return -EMFILE;
    account->opens++;
    return 0;
}

void quota_drop_open(struct quota *quota, uid_t uid)
{
    struct quota_account *account = user_of(quota, uid);

    if (account && account->opens > 0)
        account->opens--;
}

int quota_hold(struct quota *quota, uid_t uid, uint64_t bytes, uint64_t limit)
{
    struct quota_account *account = user_of(quota, uid);
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
    struct quota_account *account = user_of(quota, uid);

    if (account)
        account->held -= bytes;
}
