// SPDX-License-Identifier: Apache-2.0
/*
 * ops_name.h - requests that take names: lookup, mkdir, rmdir, unlink, symlink, rename, and listings.
 */
#ifndef PYRMAPFS_OPS_NAME_H
#define PYRMAPFS_OPS_NAME_H

#include "fuse/request.h"

void ops_name_lookup(fuse_req_t request, fuse_ino_t parent, const char *name);
void ops_name_readlink(fuse_req_t request, fuse_ino_t nodeid);
void ops_name_mkdir(fuse_req_t request, fuse_ino_t parent, const char *name, mode_t mode);
void ops_name_mknod(fuse_req_t request, fuse_ino_t parent, const char *name, mode_t mode, dev_t device);
void ops_name_create(fuse_req_t request, fuse_ino_t parent, const char *name, mode_t mode,
                     struct fuse_file_info *fi);
void ops_name_link(fuse_req_t request, fuse_ino_t nodeid, fuse_ino_t parent, const char *name);
void ops_name_symlink(fuse_req_t request, const char *target, fuse_ino_t parent, const char *name);
void ops_name_unlink(fuse_req_t request, fuse_ino_t parent, const char *name);
void ops_name_rmdir(fuse_req_t request, fuse_ino_t parent, const char *name);
void ops_name_rename(fuse_req_t request, fuse_ino_t parent, const char *name, fuse_ino_t new_parent,
                     const char *new_name, unsigned flags);
void ops_name_readdir(fuse_req_t request, fuse_ino_t nodeid, size_t size, off_t offset,
                      struct fuse_file_info *fi);
void ops_name_readdirplus(fuse_req_t request, fuse_ino_t nodeid, size_t size, off_t offset,
                          struct fuse_file_info *fi);

#endif
