// SPDX-License-Identifier: Apache-2.0
/*
 * refuse.h - a refusal is counted by its errno, logged at a bounded rate, and the last one of a slot is
 * remembered: metadata.txt shows it.
 */
#ifndef PYRMAPFS_REFUSE_H
#define PYRMAPFS_REFUSE_H

#include "base/caller.h"
#include "exchange/terms.h"
#include "protocol/handshake.h"

/* Returns result, which is -errno. `operation` completes "refused to"; both texts are copied. */
int refuse_operation(struct exchange *exchange, struct slot *slot, const struct caller *caller,
                     const char *operation, int result, const char *reason);
/* The same where there is no slot of that name that could remember it. */
int refuse_by_name(struct exchange *exchange, const char *name, const struct caller *caller,
                   const char *operation, int result, const char *reason);
/* The same for an event of the handshake. */
int refuse_event(struct exchange *exchange, struct slot *slot, const struct caller *caller,
                 enum handshake_event event, int result, const char *reason);

/* The reason where an array does not get its pages with this result. */
const char *refuse_what_is_lacking(int result);

#endif
