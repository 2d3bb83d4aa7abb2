// SPDX-License-Identifier: Apache-2.0
/*
 * ops_file.h - requests about open files.
 */
#ifndef PYRMAPFS_OPS_FILE_H
#define PYRMAPFS_OPS_FILE_H

#include "fuse/request.h"

void ops_file_open(fuse_req_t request, fuse_ino_t nodeid, struct fuse_file_info *fi);
void ops_file_read(fuse_req_t request, fuse_ino_t nodeid, size_t size, off_t offset,
                   struct fuse_file_info *fi);
void ops_file_write(fuse_req_t request, fuse_ino_t nodeid, const char *bytes, size_t size, off_t offset,
                    struct fuse_file_info *fi);
void ops_file_release(fuse_req_t request, fuse_ino_t nodeid, struct fuse_file_info *fi);

#endif
