// SPDX-License-Identifier: Apache-2.0
/*
 * notify.h - what we tell the kernel without being asked: that attributes, pages or a poll's answer changed.
 */
#ifndef PYRMAPFS_NOTIFY_H
#define PYRMAPFS_NOTIFY_H

#include "fuse/request.h"

/* What the exchange has us do; their context is the struct request_ops. */
extern const struct exchange_hooks notify_hooks;

/* The same for the arena. */
void notify_forget_backing(void *context, int32_t backing_id);
void notify_segment_freed(void *context, struct segment *segment);

/* Attributes of a slot's files changed by another way than the one that the kernel knows. Pages stay. */
void notify_attributes(struct request_ops *ops, struct slot *slot);

/* Mappings of metadata.bin show what the record does not say: pages of the page-cache path are read again. */
void notify_record(struct request_ops *ops, struct slot *slot);

/* The handle's slot is there; the poll is answered when its record changes, once. */
void notify_keep_poll(struct handle *handle, struct fuse_pollhandle *poll);
/* Does nothing if there is none. */
void notify_forget_poll(struct handle *handle);

#endif
