// SPDX-License-Identifier: Apache-2.0
/*
 * process.h - processes that something depends on: a pidfd tells when each exits.
 *
 * A pidfd names one process for ever, so a pid that is reused is never mistaken. Bonds hang on their process:
 * its end costs what hangs on it, in turns of PROCESS_BONDS_A_TURN, between which the loop serves others.
 */
#ifndef PYRMAPFS_PROCESS_H
#define PYRMAPFS_PROCESS_H

#include "base/loop.h"
#include <stdbool.h>
#include <sys/queue.h>
#include <sys/types.h>

struct processes;
struct process; /* one process with at least one bond */

enum { PROCESS_BONDS_A_TURN = 32 };

/* Embedded in whatever is bound to a process. All zeros: bound to none. */
struct process_bond {
    struct process *process; /* NULL: bound to none */
    TAILQ_ENTRY(process_bond) link;
    /* Called in the loop when the process has exited; the bond is undone. context is process_init's. */
    void (*exited)(void *context, struct process_bond *bond);
    int status; /* in exited(): how it ended, as waitpid has it, or PROCESS_STATUS_UNKNOWN */
};

enum { PROCESS_STATUS_UNKNOWN = -1 };

/* Returns 0 or -errno. */
int process_init(struct processes **out, struct loop *loop, void *context);
/* Undoes every bond and calls nothing. NULL is fine. */
void process_deinit(struct processes *processes);

/*
 * Binds to the process `pid`, which must be alive and belong to `uid` unless uid is 0, and gives up the
 * bond's process before. Returns 0, or -ESRCH, -EPERM or -errno with the bond as it was.
 */
int process_bind(struct processes *processes, struct process_bond *bond, pid_t pid, uid_t uid,
                 void (*exited)(void *context, struct process_bond *bond));
/* Does nothing if it is bound to none. */
void process_unbind(struct process_bond *bond);

/* --- what /proc says --- */

/*
 * Opens the /proc that the functions below read. As root that is a mount of our own which hides nothing
 * (hidepid) and shows the daemon's pid namespace, whatever lies at /proc: so call it before giving up
 * CAP_SYS_ADMIN. Elsewhere it is /proc itself. Without a call it is /proc.
 */
void process_open_proc(void);
/* What it is open on, -1 if it is not. */
int process_proc(void);

/* The process (thread group) of a thread, as a request names it; 0 if it is gone. */
pid_t process_of_thread(pid_t thread);

/* Whether this is one of the supplementary groups of a process or thread. */
bool process_has_group(pid_t pid, gid_t gid);

/*
 * Whether a process or thread counts pids as the daemon does. One in a pid namespace below the daemon's does
 * not, nor one of which /proc tells nothing: a number from there can mean anybody.
 */
bool process_shares_pids(pid_t pid);

#endif
