// SPDX-License-Identifier: Apache-2.0
/*
 * refuse.h - counts refusals by errno, logs them at a bounded rate, and keeps the last one of each slot for
 * metadata.txt.
 */
#ifndef PYRMAPFS_REFUSE_H
#define PYRMAPFS_REFUSE_H

#include "base/caller.h"
#include "exchange/terms.h"
#include "protocol/handshake.h"

/* Returns result, which is -errno. `operation` completes "refused to"; both texts are copied. */
int refuse_operation(struct exchange *exchange, struct slot *slot, const struct caller *caller,
                     const char *operation, int result, const char *reason);
/* The same where no slot of that name could keep it. */
int refuse_by_name(struct exchange *exchange, const char *name, const struct caller *caller,
                   const char *operation, int result, const char *reason);
/* The same for an event of the handshake. */
int refuse_event(struct exchange *exchange, struct slot *slot, const struct caller *caller,
                 enum handshake_event event, int result, const char *reason);

/* In words, why an array got no pages, from the -errno. EDQUOT: that of the last charge. */
const char *refuse_what_is_lacking(const struct exchange *exchange, int result);

#endif
