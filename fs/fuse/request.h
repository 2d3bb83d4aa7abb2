// SPDX-License-Identifier: Apache-2.0
/*
 * request.h - one request of the kernel: its caller, its open file, and its one reply.
 */
#ifndef PYRMAPFS_REQUEST_H
#define PYRMAPFS_REQUEST_H

#include "base/background.h"
#include "base/deadline.h"
#include "base/turn.h"
#include "exchange/exchange.h"
#include "files/daemon_files.h"
#include "files/slot_files.h"
#include "fuse/journal.h"
#include "fuse/transport.h"

/* Requests that .pyrmap/metrics counts. */
enum request_kind {
    REQUEST_LOOKUP,
    REQUEST_GETATTR,
    REQUEST_SETATTR,
    REQUEST_READLINK,
    REQUEST_MKDIR,
    REQUEST_UNLINK,
    REQUEST_RMDIR,
    REQUEST_SYMLINK,
    REQUEST_RENAME,
    REQUEST_OPEN,
    REQUEST_READ,
    REQUEST_WRITE,
    REQUEST_RELEASE,
    REQUEST_READDIR,
    REQUEST_STATFS,
    REQUEST_POLL,
    REQUEST_FALLOCATE,
    REQUEST_OTHER,
    REQUEST_KINDS,
};

enum { REQUEST_BUCKETS = 4096 };

/* Everything that a request needs; the session's userdata. */
struct request_ops {
    struct exchange *exchange;
    struct arena *arena;
    struct background *background;
    struct transport *transport;
    struct fuse_session *session;
    const struct conf *conf;
    const char *mountpoint; /* absolute */
    struct hidden_key key;  /* of the names in an arena that ends with the daemon */
    struct daemon_files files;
    uid_t uid; /* the daemon's own files belong to it */
    gid_t gid;
    struct timespec started;
    uint64_t counts[REQUEST_KINDS];
    struct histogram publishing; /* from a publish to its answer */
    bool closing;                /* the loop has ended: send no more invalidations */
    struct turn_queue *turns;
    struct held *held;
    LIST_HEAD(, handle) answered_polls; /* we tell their clients in turns that the record changed */
    struct turn answering;
    bool is_answering;
    struct slot_polls followers; /* polls of .pyrmap/events */
    struct follows *follows;
    struct deadlines *patience; /* for parked requests; NULL if the kernel waits for ever */
    uint64_t patience_ms;       /* after so long, well before the kernel aborts the connection */
    struct session *kept;
    struct journal journal;
    struct handle **handles; /* by the number of their record in kept->handles */
    uint32_t handles_room;
    struct quota *quota; /* open files and memory of each user; the exchange has its own for the arena */
    LIST_HEAD(request_handles, handle) open[REQUEST_BUCKETS]; /* all open files, by nodeid */
};

/* Fills in the rest once all parts are there: users, the time, and the source of the numbers in .pyrmap. */
void request_init(struct request_ops *ops);

/* Counts the request. */
struct request_ops *request_begin(fuse_req_t request, enum request_kind kind);
struct caller request_caller(fuse_req_t request);

/*
 * Makes a handle, charged to the caller's user and not in the list of open files yet. Returns 0, -ENOMEM, or
 * -EMFILE beyond limits.open_per_user, which does not apply to root.
 */
int request_handle_new(struct request_ops *ops, const struct caller *caller, uint64_t nodeid,
                       struct handle **out);
/*
 * Gives the handle this text and charges it to the handle's user. Returns 0, -ENOMEM, or -EDQUOT beyond
 * limits.memory_per_user; if it fails the handle has no text.
 */
int request_handle_charge(struct request_ops *ops, struct handle *handle, struct snapshot *text);
void request_handle_forget_text(struct request_ops *ops, struct handle *handle);
void request_handle_list(struct request_ops *ops, struct handle *handle);
/*
 * Notes the handle for the next server, and returns the number by which the kernel shall know it: that of its
 * record, with a count in the upper half, so that a number of a file that was closed is never taken for another
 * one. 0: there is no memory.
 */
uint64_t request_handle_keep(struct request_ops *ops, struct handle *handle, const struct fuse_file_info *fi,
                             int32_t backing_id);
/* The kernel has the number. */
void request_handle_answered(struct request_ops *ops, const struct handle *handle);
/* Its registration is about to be closed. */
void request_handle_forget_backing(struct request_ops *ops, const struct handle *handle);
/* Notes what has changed since: reads and polls. */
void request_handle_note(struct request_ops *ops, const struct handle *handle);
/* Makes the handle known again under its record. Returns 0 or -ENOMEM. */
int request_handle_know(struct request_ops *ops, struct handle *handle, uint32_t record);
/* Frees the handle and takes it off the account. The caller has given back all else. */
void request_handle_free(struct request_ops *ops, struct handle *handle);

/* Charges memory to the caller's user until request_let_go. Returns as request_handle_charge. */
int request_hold(struct request_ops *ops, const struct caller *caller, size_t size);
void request_let_go(struct request_ops *ops, const struct caller *caller, size_t size);

/* The open file of a request, NULL if we do not know it; and what kind it is. */
struct handle *request_handle(const struct request_ops *ops, const struct fuse_file_info *fi);
enum slot_files_kind request_file_kind(const struct handle *handle);

/*
 * An open file with this nodeid, which decodes to nothing any more because the round is over or the slot
 * gone. NULL if no file is open under it.
 */
struct handle *request_stale_handle(const struct request_ops *ops, uint64_t nodeid);

/* result: 0 or -errno. */
void request_reply(fuse_req_t request, int result);

/* The loop's buffer for the bytes of a reply. The next request overwrites it. */
enum { REQUEST_BUFFER_SIZE = 1 << 20 };
extern char request_buffer[REQUEST_BUFFER_SIZE];

#endif
