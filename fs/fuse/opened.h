// SPDX-License-Identifier: Apache-2.0
/*
 * opened.h - open files between the answer to OPEN and the end of RELEASE.
 */
#ifndef PYRMAPFS_OPENED_H
#define PYRMAPFS_OPENED_H

#include "fuse/request.h"

/* Answers OPEN: the kernel has the handle from now on, or it is gone because its client is. */
void opened_reply(struct request_ops *ops, fuse_req_t request, struct fuse_file_info *fi,
                  struct handle *handle, int32_t backing_id);

/* The same for a handle that is kept already. */
void opened_answer(struct request_ops *ops, fuse_req_t request, const struct fuse_file_info *fi,
                   struct handle *handle, int32_t backing_id);

/* Closes what the handle has open and frees it, at RELEASE or because the open was refused. */
void opened_close(struct request_ops *ops, struct handle *handle);

/*
 * Passthrough: opens the page of metadata.bin or metadata.mem for the handle and registers it. 0 or -errno.
 * At RELEASE opened_release_page takes what the client has stored in it, and must come before opened_close.
 */
int opened_page(struct request_ops *ops, struct slot *slot, struct handle *handle);
void opened_release_page(struct request_ops *ops, struct handle *handle, const struct caller *caller);
/* The registration of the page; 0: the handle has none. */
int32_t opened_page_backing(const struct handle *handle);
/* After a takeover: the handle had this registration. 0 or -ENOMEM. */
int opened_page_again(struct request_ops *ops, struct handle *handle, int32_t backing_id);

#endif
