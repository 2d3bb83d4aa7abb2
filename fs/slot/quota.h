// SPDX-License-Identifier: Apache-2.0
/*
 * quota.h - counts what each user has: slots and bytes of the arena, open files and memory of the daemon.
 *
 * A limit of 0 is no limit.
 */
#ifndef PYRMAPFS_QUOTA_H
#define PYRMAPFS_QUOTA_H

#include "arena/arena.h"
#include <stdint.h>
#include <sys/types.h>

struct quota;

struct quota *quota_new(void);
void quota_free(struct quota *quota);

/* Count one slot more or less. quota_add_slot returns 0, -EDQUOT beyond the limit, or -ENOMEM. */
int quota_add_slot(struct quota *quota, uid_t uid, uint32_t limit);
void quota_drop_slot(struct quota *quota, uid_t uid);

/*
 * Charges so many bytes of the segment to uid and takes back its last charge. Returns 0, -ENOMEM, or -EDQUOT
 * and changes nothing if that is more than before and beyond the limit, or more than can be counted.
 */
int quota_charge(struct quota *quota, struct segment *segment, uid_t uid, uint64_t bytes, uint64_t limit);
/* Count bytes of other files. quota_add_bytes returns as quota_charge does. */
int quota_add_bytes(struct quota *quota, uid_t uid, uint64_t bytes, uint64_t limit);
void quota_drop_bytes(struct quota *quota, uid_t uid, uint64_t bytes);
/* The bytes on the user's account now. */
uint64_t quota_bytes(struct quota *quota, uid_t uid);
void quota_uncharge(struct quota *quota, struct segment *segment);

/* What a user has in the arena now. */
struct quota_share {
    uid_t uid;
    uint32_t slots;
    uint64_t bytes;
};

/* Of each user who has any. Linear in the number of users that there ever were. */
void quota_visit(const struct quota *quota, void (*visit)(void *context, const struct quota_share *share),
                 void *context);

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
