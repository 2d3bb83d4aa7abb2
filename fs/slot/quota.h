// SPDX-License-Identifier: Apache-2.0
/*
 * quota.h - what each user has: slots and bytes of the arena, open files and memory of the daemon.
 */
#ifndef PYRMAPFS_QUOTA_H
#define PYRMAPFS_QUOTA_H

#include "arena/arena.h"
#include <stdint.h>
#include <sys/types.h>

struct quota;

struct quota *quota_new(void);
void quota_free(struct quota *quota);

/* One slot more, -EDQUOT beyond limit, -ENOMEM; one less. */
int quota_add_slot(struct quota *quota, uid_t uid, uint32_t limit);
void quota_drop_slot(struct quota *quota, uid_t uid);

/*
 * Charges the segment's bytes to uid instead of what it was charged before; limit 0 is none. -EDQUOT if that
 * is more than before and beyond the limit, or more than can be counted; then nothing changes.
 */
int quota_charge(struct quota *quota, struct segment *segment, uid_t uid, uint64_t bytes, uint64_t limit);
/* The same for bytes of other files. */
int quota_add_bytes(struct quota *quota, uid_t uid, uint64_t bytes, uint64_t limit);
void quota_drop_bytes(struct quota *quota, uid_t uid, uint64_t bytes);
/* What is on the user's account now. */
uint64_t quota_bytes(struct quota *quota, uid_t uid);
void quota_uncharge(struct quota *quota, struct segment *segment);

/* One open file more, -EMFILE beyond limit (0 is none), -ENOMEM; one less. */
int quota_add_open(struct quota *quota, uid_t uid, uint32_t limit);
void quota_drop_open(struct quota *quota, uid_t uid);

/*
 * Memory that the daemon keeps for a user; limit 0 is none. -EDQUOT if it would be more than the limit,
 * -ENOMEM. A user that has nothing gets what it asks for, however much: else a large text could not be read
 * at all.
 */
int quota_hold(struct quota *quota, uid_t uid, uint64_t bytes, uint64_t limit);
void quota_let_go(struct quota *quota, uid_t uid, uint64_t bytes);

#endif
