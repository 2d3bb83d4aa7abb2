// SPDX-License-Identifier: Apache-2.0
/*
 * session.h - what a mount is, apart from the server that serves it now.
 *
 * The kernel's side of a mount outlives a server that is killed: open files, registered backing files, requests
 * without an answer. So does our side of these: the supervisor makes this memory, each server writes it, and the
 * next one goes on with it. The state of slots is not here but in the index (slot/slot.h), which also outlives
 * the mount.
 */
#ifndef PYRMAPFS_SESSION_H
#define PYRMAPFS_SESSION_H

#include "arena/kept.h"
#include "base/histogram.h"
#include "base/keep.h"
#include "slot/slot.h"
#include <time.h>

enum {
    SESSION_INIT_MAX = 256,
    SESSION_ARRIVALS = 1 << 13, /* the kernel resends in no order; the order of the last so many is known */
};

/* A change that the server was about to make for a request: see journal.h. */
struct session_cell {
    uint64_t unique; /* of the request; 0: none */
    uint64_t serial; /* of the slot; 0: of none */
    uint32_t slot;
    uint32_t change; /* of the slot's record, before it */
};

/* Another number for another meaning of what follows, or of arena/kept.h: a program that knows another cannot go on. */
static const uint64_t session_layout = UINT64_C(0x7079726d61700001);

struct session_head {
    uint64_t layout; /* session_layout */
    pid_t server;
    uint32_t serves; /* INIT is answered and the slots are restored: another server can take over */
    uint32_t takeovers;
    struct histogram takeover_times; /* from a server's death until the next one serves */
    uint32_t can_resend;             /* the kernel sends requests again that have no answer: Linux 6.9 */
    uint32_t data_path;              /* enum exchange_data_path */
    int32_t last_backing_id;         /* that the kernel gave */
    int32_t closing_backing_id;      /* that the server is about to close; 0: none */
    uint64_t mounted_ms;             /* deadline_now_ms() */
    struct timespec mounted;
    uint32_t init_size;
    char init[SESSION_INIT_MAX]; /* the kernel's INIT request */
    uint32_t answer_size;
    char answer[SESSION_INIT_MAX]; /* and the answer to it, which holds for all servers */
    struct session_cell current, retried;
    uint64_t suspect; /* the request that the last server died of, perhaps */
    uint32_t deaths;  /* and how often in a row, weighted */
    uint32_t generation;
    uint64_t arrivals;
    uint64_t arrived[SESSION_ARRIVALS]; /* requests, as a ring */
};

/* An open file: see reopen.h. */
struct session_handle {
    uint64_t nodeid;
    uint64_t opener;      /* the OPEN request */
    uint32_t is_answered; /* the kernel knows the file */
    uint32_t generation;  /* of its number: see reopen.h */
    uint64_t serial;      /* the slot's; 0: it is of no slot */
    uint32_t slot;
    uint8_t file, access, side, has_read;
    uint8_t keep_cache, direct_io, nonseekable, spare; /* of our answer */
    int32_t backing_id;
    pid_t process, worker;
    uid_t uid;
    gid_t gid;
    uint32_t seen_change;
    uint64_t segment_id; /* 0: none */
    uint64_t number;
    uint64_t poll_key; /* by which the kernel knows who polls it; 0: nobody */
    struct slot_times times;
};

/* What is known of a request that has no answer yet: see journal.h. */
enum session_known { SESSION_DONE, SESSION_DOUBTFUL };

struct session_known_request {
    uint64_t unique;
    uint64_t known; /* enum session_known */
};

struct session {
    struct keep heads; /* struct session_head: one */
    struct keep handles;
    struct keep known; /* struct session_known_request */
    struct kept arena;
};

/* Makes the memory. Returns 0 or -errno. */
int session_open(struct session *session);
/* The same for memory that another program has made, by the descriptors of session_tables. -EINVAL: of another layout. */
enum { SESSION_TABLES = 3 + KEPT_TABLES };
int session_attach(struct session *session, const int fds[SESSION_TABLES]);
void session_tables(const struct session *session, int fds[SESSION_TABLES]);
struct session_head *session_head(const struct session *session);
/* Calls visit for each descriptor that the next server needs, the session's own among them. */
void session_visit(const struct session *session, void (*visit)(void *context, int fd), void *context);

#endif
