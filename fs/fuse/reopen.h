// SPDX-License-Identifier: Apache-2.0
/*
 * reopen.h - makes the open files of the last server open again, after a takeover.
 *
 * Clients notice nothing of it: an array has the same segment, a page the same registration, a text is made anew.
 * What is lost: a view (data.txt and so on) or a text of a slot that has gone on or away since it was opened can
 * not be made again, and reads of it fail with ESTALE.
 */
#ifndef PYRMAPFS_REOPEN_H
#define PYRMAPFS_REOPEN_H

#include "fuse/request.h"

/* Call it first of all: closes registrations that the last server was about to close, or that nobody has. */
void reopen_backings(struct request_ops *ops);
/* Call it when the slots are restored, and before any request. Returns 0 or -errno. */
int reopen_all(struct request_ops *ops);

/*
 * Answers an OPEN that the kernel sends again and that the last server had done, but for the answer. Returns
 * whether it was one.
 */
bool reopen_answer(struct request_ops *ops, fuse_req_t request, struct fuse_file_info *fi);

/*
 * Call it after transport_resend: the kernel has the answer to every OPEN that it did not send again.
 */
void reopen_settle(struct request_ops *ops);

/* Has every client that polls look again. */
void reopen_wake_polls(struct request_ops *ops);

#endif
