// SPDX-License-Identifier: Apache-2.0
/*
 * ops_attr.h - requests about attributes. A new size may wait until the background has reserved its pages.
 */
#ifndef PYRMAPFS_OPS_ATTR_H
#define PYRMAPFS_OPS_ATTR_H

#include "fuse/request.h"

void ops_attr_getattr(fuse_req_t request, fuse_ino_t nodeid, struct fuse_file_info *fi);
void ops_attr_setattr(fuse_req_t request, fuse_ino_t nodeid, struct stat *st, int mask,
                      struct fuse_file_info *fi);
void ops_attr_fallocate(fuse_req_t request, fuse_ino_t nodeid, int mode, off_t offset, off_t length,
                        struct fuse_file_info *fi);

#endif
