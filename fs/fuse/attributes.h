// SPDX-License-Identifier: Apache-2.0
/*
 * attributes.h - fills in what stat(2) shows of a file, and for how long the kernel may believe it.
 */
#ifndef PYRMAPFS_ATTRIBUTES_H
#define PYRMAPFS_ATTRIBUTES_H

#include "fuse/nodeid.h"
#include "fuse/request.h"

/* In seconds. With an error, 0 or -errno, the size is not known, and nobody may believe it. */
struct attributes_timeouts {
    double entry;
    double attributes;
    int error;
};

struct attributes_timeouts attributes_fill(struct request_ops *ops, const struct nodeid_target *inode,
                                           struct stat *st);

/* Fills in the three times only. */
void attributes_times(const struct slot_times *times, struct stat *st);

#endif
