// SPDX-License-Identifier: Apache-2.0
/*
 * snapshot.h - a text as it was at one moment, for all clients that have it open.
 *
 * A text stays while a client has it open. Each user who has it open is charged for it once, however often.
 * Linear in the number of users that have the same text.
 */
#ifndef PYRMAPFS_SNAPSHOT_H
#define PYRMAPFS_SNAPSHOT_H

#include "slot/quota.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct snapshot;

/* Takes the text, which comes from malloc, with one reference on nobody's account. NULL: no memory. */
struct snapshot *snapshot_new(char *text, size_t size);
size_t snapshot_size(const struct snapshot *snapshot);

/* Copies a part of the text. Returns the bytes, 0 at the end. */
size_t snapshot_read(const struct snapshot *snapshot, char *buffer, size_t size, off_t offset);

/* One more reference, on the user's account: 0, -ENOMEM, or -EDQUOT as quota_hold. */
int snapshot_take(struct snapshot *snapshot, struct quota *quota, uid_t uid, uint64_t limit);
/* Gives back what snapshot_take took. */
void snapshot_drop(struct snapshot *snapshot, struct quota *quota, uid_t uid);
/* Whether any user has it. */
bool snapshot_is_open(const struct snapshot *snapshot);
/* Gives back snapshot_new's reference. NULL is fine. */
void snapshot_forget(struct snapshot *snapshot);

#endif
