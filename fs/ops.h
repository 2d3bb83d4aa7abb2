// SPDX-License-Identifier: Apache-2.0
/*
 * ops.h - the kernel's requests: decode, call, exactly one reply.
 *
 * ops.c holds the table and what concerns the whole filesystem, ops_name.c what takes names, ops_file.c open
 * files, ops_attr.c attributes.
 */
#ifndef PYRMAPFS_OPS_H
#define PYRMAPFS_OPS_H

#include "background.h"
#include "control.h"
#include "exchange.h"
#include "inode.h"
#include "status.h"
#include "transport.h"

/* Requests that .pyrmap/metrics counts. */
enum ops_kind {
    OPS_LOOKUP,
    OPS_GETATTR,
    OPS_SETATTR,
    OPS_READLINK,
    OPS_MKDIR,
    OPS_UNLINK,
    OPS_RMDIR,
    OPS_SYMLINK,
    OPS_RENAME,
    OPS_OPEN,
    OPS_READ,
    OPS_WRITE,
    OPS_RELEASE,
    OPS_READDIR,
    OPS_STATFS,
    OPS_POLL,
    OPS_FALLOCATE,
    OPS_OTHER,
    OPS_KINDS,
};

/* Everything that a request needs; the session's userdata. */
struct ops {
    struct exchange *exchange;
    struct arena *arena;
    struct background *background;
    struct transport *transport;
    struct fuse_session *session;
    const struct conf *conf;
    const char *mountpoint; /* absolute */
    struct status status;
    uid_t uid; /* the daemon's own files belong to it */
    gid_t gid;
    struct timespec started;
    uint64_t counts[OPS_KINDS];
    bool closing;        /* the loop is over: no invalidation is worth sending any more */
    struct seeks *seeks; /* seek.h */
    struct handle *open; /* all open files of slots and of .pyrmap */
};

extern const struct fuse_lowlevel_ops ops_table;

/* status.request_names and so on. */
void ops_init(struct ops *ops);

/*
 * INIT was answered: tries passthrough with a scratch file and settles the data path. Returns 0, or -ENOTSUP
 * with a line in error if path.passthrough = on cannot be had.
 */
int ops_settle_data_path(struct ops *ops, char error[CONF_ERROR_MAX]);

extern const struct exchange_hooks ops_hooks; /* context is the struct ops */
/* What the arena wants; their context is the struct ops. */
void ops_forget_backing(void *context, int32_t backing_id);
void ops_segment_freed(void *context, struct segment *segment);

/* --- shared by ops*.c --- */

struct ops *ops_of(fuse_req_t request, enum ops_kind kind); /* counts the request */
struct caller ops_caller(fuse_req_t request);

/* The open file of a request, and what kind it is. */
struct handle *ops_handle(const struct fuse_file_info *fi);
enum control_kind ops_kind_of(const struct handle *handle);

/*
 * An open file with this nodeid, which decodes to nothing any more: of an earlier round, or of a slot that is
 * gone. NULL if there is none.
 */
struct handle *ops_stale_handle(const struct ops *ops, uint64_t nodeid);

/* Mappings of metadata.bin show what the record does not say: pages of the page-cache path are read again. */
void ops_refresh_record(struct ops *ops, struct slot *slot);

/* result: 0 or -errno. */
void ops_reply(fuse_req_t request, int result);

/* Fills st and the timeouts, in seconds. */
struct ops_timeouts {
    double entry;
    double attributes;
};
struct ops_timeouts ops_attributes(struct ops *ops, const struct inode *inode, struct stat *st);

/* Attributes of a slot's files changed by another way than the one that the kernel knows. Pages stay. */
void ops_forget_attributes(struct ops *ops, struct slot *slot);

/* Bytes that a reply can hold; the loop's own buffer, overwritten by the next request. */
enum { OPS_BUFFER_SIZE = 1 << 20 };
extern char ops_buffer[OPS_BUFFER_SIZE];

/* ops_name.c */
void ops_lookup(fuse_req_t request, fuse_ino_t parent, const char *name);
void ops_readlink(fuse_req_t request, fuse_ino_t nodeid);
void ops_mkdir(fuse_req_t request, fuse_ino_t parent, const char *name, mode_t mode);
void ops_mknod(fuse_req_t request, fuse_ino_t parent, const char *name, mode_t mode, dev_t device);
void ops_create(fuse_req_t request, fuse_ino_t parent, const char *name, mode_t mode,
                struct fuse_file_info *fi);
void ops_link(fuse_req_t request, fuse_ino_t nodeid, fuse_ino_t parent, const char *name);
void ops_symlink(fuse_req_t request, const char *target, fuse_ino_t parent, const char *name);
void ops_unlink(fuse_req_t request, fuse_ino_t parent, const char *name);
void ops_rmdir(fuse_req_t request, fuse_ino_t parent, const char *name);
void ops_rename(fuse_req_t request, fuse_ino_t parent, const char *name, fuse_ino_t new_parent,
                const char *new_name, unsigned flags);
void ops_readdir(fuse_req_t request, fuse_ino_t nodeid, size_t size, off_t offset, struct fuse_file_info *fi);
void ops_readdirplus(fuse_req_t request, fuse_ino_t nodeid, size_t size, off_t offset,
                     struct fuse_file_info *fi);

/* ops_attr.c */
void ops_getattr(fuse_req_t request, fuse_ino_t nodeid, struct fuse_file_info *fi);
void ops_setattr(fuse_req_t request, fuse_ino_t nodeid, struct stat *st, int mask, struct fuse_file_info *fi);
void ops_fallocate(fuse_req_t request, fuse_ino_t nodeid, int mode, off_t offset, off_t length,
                   struct fuse_file_info *fi);

/* ops_file.c */
void ops_open(fuse_req_t request, fuse_ino_t nodeid, struct fuse_file_info *fi);
void ops_read(fuse_req_t request, fuse_ino_t nodeid, size_t size, off_t offset, struct fuse_file_info *fi);
void ops_write(fuse_req_t request, fuse_ino_t nodeid, const char *bytes, size_t size, off_t offset,
               struct fuse_file_info *fi);
void ops_release(fuse_req_t request, fuse_ino_t nodeid, struct fuse_file_info *fi);

#endif
