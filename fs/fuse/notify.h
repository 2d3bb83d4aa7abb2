// SPDX-License-Identifier: Apache-2.0
/*
 * notify.h - notifications to the kernel: attributes, pages or the answer to a poll have changed.
 */
#ifndef PYRMAPFS_NOTIFY_H
#define PYRMAPFS_NOTIFY_H

#include "fuse/request.h"

/* The hooks of the exchange. Their context is the struct request_ops. */
extern const struct exchange_hooks notify_hooks;

/* The hooks of the arena, with the same context. */
void notify_leave_backing(void *context, int32_t backing_id);
void notify_forget_backing(void *context, int32_t backing_id);
void notify_segment_freed(void *context, struct segment *segment);
void notify_segment_keeps_descriptor(void *context, struct segment *segment);

/* Makes the kernel ask for the attributes of all files of a slot. Pages stay. */
void notify_attributes(struct request_ops *ops, struct slot *slot);

/* Page-cache path: makes the kernel read the pages of metadata.bin again. */
void notify_record(struct request_ops *ops, struct slot *slot);

/*
 * After a takeover: tells the kernel again what the last server may not have come to tell it, of all slots. What
 * the kernel believes of an array may be older than the index.
 */
void notify_all(struct request_ops *ops);

/* Answers the polls of .pyrmap/events. */
void notify_followers(struct request_ops *ops);

/*
 * Keeps the poll that we serve until the record changes, or until notify_followers, and answers it once. The
 * handle must have a slot or be of .pyrmap/events.
 */
void notify_keep_poll(struct request_ops *ops, struct handle *handle, struct fuse_pollhandle *poll);
/* Does nothing if the handle has no poll. */
void notify_forget_poll(struct handle *handle);

#endif
