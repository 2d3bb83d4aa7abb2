// SPDX-License-Identifier: Apache-2.0
/*
 * account.h - charges the bytes of slots to their users: arrays, texts and record pages of a user together
 * are held to limits.bytes_per_user.
 */
#ifndef PYRMAPFS_ACCOUNT_H
#define PYRMAPFS_ACCOUNT_H

#include "exchange/terms.h"
#include "slot/slot.h"

/* Puts the segment on the user's account with that many bytes: -EDQUOT. */
int account_charge(struct exchange *exchange, struct segment *segment, uid_t uid, uint64_t bytes);

/* Puts an array that is to be inline on the user's account: -EDQUOT. */
int account_charge_inline(struct exchange *exchange, uid_t uid, size_t size);

/*
 * As text_write and text_resize, on the account of the slot's owner: -EDQUOT. A text of the daemon itself is
 * never refused.
 */
enum account_author { ACCOUNT_CLIENT, ACCOUNT_DAEMON };
ssize_t account_write_text(struct exchange *exchange, struct slot *slot, enum slot_file file,
                           enum account_author author, const void *buffer, size_t size, off_t offset);
int account_resize_text(struct exchange *exchange, struct slot *slot, enum slot_file file, uint64_t size);

/* As page_open. A page is charged and never refused: without it a slot could not even be emptied. */
int account_open_page(struct exchange *exchange, struct slot *slot, enum slot_page_kind kind);

/* The texts and the pages of a slot come to this user, and leave the account of its owner. */
void account_add_slot(struct exchange *exchange, const struct slot *slot, uid_t uid);
void account_drop_slot(struct exchange *exchange, const struct slot *slot);

#endif
