// SPDX-License-Identifier: Apache-2.0
/*
 * account.h - charges the bytes of slots to their users and jobs: arrays, texts and record pages of a user together
 * are held to limits.bytes_per_user, those of a job to limits.bytes_per_job.
 */
#ifndef PYRMAPFS_ACCOUNT_H
#define PYRMAPFS_ACCOUNT_H

#include "exchange/terms.h"
#include "slot/quota.h"
#include "slot/slot.h"
#include <stdbool.h>

/* Who pays for what the slot has. Valid while the slot is. */
struct quota_payer account_payer(const struct slot *slot);
/* Whether anybody's bytes are limited by more than the capacity. */
bool account_has_limit(const struct exchange *exchange);

/* Puts the segment on the slot's accounts with that many bytes: -EDQUOT. */
int account_charge(struct exchange *exchange, struct segment *segment, const struct slot *slot,
                   uint64_t bytes);

/* Puts an array that is to be inline on the slot's accounts: -EDQUOT. */
int account_charge_inline(struct exchange *exchange, const struct slot *slot, size_t size);

/*
 * As text_write and text_resize, on the slot's accounts: -EDQUOT. A text of the daemon itself is
 * never refused.
 */
enum account_author { ACCOUNT_CLIENT, ACCOUNT_DAEMON };
ssize_t account_write_text(struct exchange *exchange, struct slot *slot, enum slot_file file,
                           enum account_author author, const void *buffer, size_t size, off_t offset);
int account_resize_text(struct exchange *exchange, struct slot *slot, enum slot_file file, uint64_t size);

/* As page_open. A page is charged and never refused: without it a slot could not even be emptied. */
int account_open_page(struct exchange *exchange, struct slot *slot, enum slot_page_kind kind);

/* The texts and the pages of a slot come to this payer's accounts, and leave those of its own. */
void account_add_slot(struct exchange *exchange, const struct slot *slot, struct quota_payer payer);
void account_drop_slot(struct exchange *exchange, const struct slot *slot);

#endif
