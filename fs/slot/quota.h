// SPDX-License-Identifier: Apache-2.0
/*
 * quota.h - counts what each user and each job has: slots and bytes of the arena; of users also open files and
 * memory of the daemon.
 *
 * What a slot has is on two accounts, its owner's and that of the job that it was made in, and one call charges
 * both. A limit of 0 is no limit.
 */
#ifndef PYRMAPFS_QUOTA_H
#define PYRMAPFS_QUOTA_H

#include "arena/arena.h"
#include <stdint.h>
#include <sys/types.h>

struct quota;

/* The two accounts of a slot. */
struct quota_payer {
    uid_t uid;
    const char *job; /* "": none */
};

enum quota_kind { QUOTA_USER, QUOTA_JOB };

/* Of bytes, by enum quota_kind. */
struct quota_limits {
    uint64_t bytes[QUOTA_JOB + 1];
};

struct quota *quota_new(void);
void quota_free(struct quota *quota);

/* Count one slot more or less. quota_add_slot returns 0, -EDQUOT beyond the user's limit, or -ENOMEM. */
int quota_add_slot(struct quota *quota, struct quota_payer payer, uint32_t limit);
void quota_drop_slot(struct quota *quota, struct quota_payer payer);

/*
 * Charges so many bytes of the segment to the payer and takes back its last charge. limits may be NULL. Returns 0,
 * -ENOMEM, or -EDQUOT and changes nothing if an account would have more than before and more than its limit, or more
 * than can be counted.
 */
int quota_charge(struct quota *quota, struct segment *segment, struct quota_payer payer, uint64_t bytes,
                 const struct quota_limits *limits);
/* Count bytes of other files. quota_add_bytes returns as quota_charge does. */
int quota_add_bytes(struct quota *quota, struct quota_payer payer, uint64_t bytes,
                    const struct quota_limits *limits);
void quota_drop_bytes(struct quota *quota, struct quota_payer payer, uint64_t bytes);
void quota_uncharge(struct quota *quota, struct segment *segment);
/* The bytes on an account of the payer now. */
uint64_t quota_bytes(struct quota *quota, struct quota_payer payer, enum quota_kind kind);
/* Which account the last -EDQUOT for bytes was about. */
enum quota_kind quota_refused(const struct quota *quota);

/* What a user or a job has in the arena now. */
struct quota_share {
    uid_t uid;       /* of a user */
    const char *job; /* of a job */
    uint32_t slots;
    uint64_t bytes;
};

/* Of each user, or job, who has any. Linear in the number of users that there ever were and of jobs that have any. */
void quota_visit(const struct quota *quota, enum quota_kind kind,
                 void (*visit)(void *context, const struct quota_share *share), void *context);

/* Count one open file more or less. quota_add_open returns 0, -EMFILE beyond the limit, or -ENOMEM. */
int quota_add_open(struct quota *quota, uid_t uid, uint32_t limit);
void quota_drop_open(struct quota *quota, uid_t uid);

/*
 * Count memory that the daemon keeps for a user. quota_hold returns 0, -EDQUOT beyond the limit, or -ENOMEM.
 * A user for whom we keep nothing gets any amount: otherwise a text above the limit could never be read.
 */
int quota_hold(struct quota *quota, uid_t uid, uint64_t bytes, uint64_t limit);
void quota_let_go(struct quota *quota, uid_t uid, uint64_t bytes);

#endif
