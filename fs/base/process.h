// SPDX-License-Identifier: Apache-2.0
/*
 * process.h - watches processes: a pidfd reports when one exits.
 *
 * A pidfd names one process for ever, so a reused pid is never mistaken for it. Bonds are listed with their
 * process: its end costs work only for its own bonds, PROCESS_BONDS_A_TURN in one turn of the loop. Finding a
 * process by pid is linear in the number of bound processes, over 256 lists.
 */
#ifndef PYRMAPFS_PROCESS_H
#define PYRMAPFS_PROCESS_H

#include "base/loop.h"
#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>
#include <sys/types.h>

struct processes;
struct process; /* one process with at least one bond */

enum { PROCESS_BONDS_A_TURN = 32, PROCESS_ANCESTORS_MAX = 32 };

/* Embedded in each thing that is bound to a process. All zeros: not bound. */
struct process_bond {
    struct process *process; /* NULL: not bound */
    TAILQ_ENTRY(process_bond) link;
    /* Called in the loop after the process has exited and the bond was undone. context is process_init's. */
    void (*exited)(void *context, struct process_bond *bond);
    int status; /* in exited(): how it ended, as waitpid has it, or PROCESS_STATUS_UNKNOWN */
};

enum { PROCESS_STATUS_UNKNOWN = -1 };

/* Returns 0 or -errno. */
int process_init(struct processes **out, struct loop *loop, void *context);
/* Undoes every bond and calls nothing. NULL is fine. */
void process_deinit(struct processes *processes);

/*
 * Binds to the process `pid` instead of the one that the bond has now. It must be alive, and belong to `uid`
 * unless uid is 0. Returns 0, or -ESRCH, -EPERM or -errno with the bond as it was.
 */
int process_bind(struct processes *processes, struct process_bond *bond, pid_t pid, uid_t uid,
                 void (*exited)(void *context, struct process_bond *bond));
/* The same for the process that had begun at `start`: -ESRCH if that is gone. */
int process_bind_again(struct processes *processes, struct process_bond *bond, pid_t pid, uint64_t start,
                       void (*exited)(void *context, struct process_bond *bond));
/* Does nothing if it is not bound. */
void process_unbind(struct process_bond *bond);

/* --- what /proc says --- */

/*
 * Opens the /proc that the functions below read; without this call they read /proc itself. As root we mount
 * one that hides nothing (hidepid) and shows the daemon's pid namespace: call this before CAP_SYS_ADMIN goes.
 */
void process_open_proc(void);
/* Its descriptor, -1 if it is not open. */
int process_proc(void);

/* When the process began, in clock ticks since the machine did; 0 if we cannot tell. */
uint64_t process_start(pid_t pid);
/* Reads /proc/PID/cgroup. Returns false if there is none. */
bool process_cgroup(pid_t pid, char *text, size_t size);

/* The process (thread group) of a thread, as a request names it; 0 if it is gone. */
pid_t process_of_thread(pid_t thread);

/*
 * Whether a process is `ancestor`, or descends from it by parents that all live: a process whose parent is gone has another one.
 * False for a process that the daemon cannot see, and beyond PROCESS_ANCESTORS_MAX generations.
 */
bool process_descends_from(pid_t pid, pid_t ancestor);

/* Whether this is one of the supplementary groups of a process or thread. */
bool process_has_group(pid_t pid, gid_t gid);

/*
 * Whether a process or thread counts pids as the daemon does. One in a pid namespace below the daemon's does
 * not: there a number can mean another process. False if /proc does not know it.
 */
bool process_shares_pids(pid_t pid);

#endif
