// SPDX-License-Identifier: Apache-2.0
/*
 * served.h - a server whose requests come from kernel.h: the parts that fs/daemon/server.c puts together, without
 * its processes and its sandbox, and with a loop that stops when nothing is left to do.
 */
#ifndef PYRMAPFS_SERVED_H
#define PYRMAPFS_SERVED_H

#include "fuse/ops.h"

struct served_options {
    enum exchange_data_path data_path;
    bool no_waiting;
    uint64_t capacity;
    uint64_t bytes_per_user;
    uint32_t slots_per_user, open_per_user;
    uint64_t memory_per_user;
};
struct served_options served_defaults(void);

/* The users that make requests: at the end nobody looks at others. */
enum { SERVED_USERS = 3 };
extern const uid_t served_users[SERVED_USERS];

/* Begins; the server waits for INIT. */
void served_begin(const struct served_options *options);
/* An INIT as the kernel sends it, with these flags as well. Returns whether the server serves now. */
bool served_init(uint32_t flags, uint32_t flags2);
/* Serves until nothing is left to do; SERVED_WITH_JOBS: also for the helper thread. */
enum served_depth { SERVED_REQUESTS, SERVED_WITH_JOBS };
void served_settle(enum served_depth depth);
/* Whether the server has ended the session. */
bool served_is_over(void);

/* Sends one request and settles: 0, -errno, or SERVED_WAITS if it has no answer yet. */
enum { SERVED_WAITS = 1 };
int served_call(uint32_t opcode, uint64_t nodeid, const void *body, size_t size);

struct request_ops *served_ops(void);

/*
 * Ends the server as a kernel whose last client is gone would: interrupts what waits, releases all files and
 * removes all slots. Everything that was ever counted has to be gone then.
 */
void served_end(void);

#endif
