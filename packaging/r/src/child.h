// SPDX-License-Identifier: Apache-2.0
/*
 * child.h - the processes that belong to this R session: Python workers, a private pyrmapfs.
 *
 * Each leads a process group, so that Ctrl-C reaches R alone, holds no descriptor of R's but its pipes, and
 * gets a signal from the kernel when R ends, however R ends.
 */
#ifndef PYRMAP_CHILD_H
#define PYRMAP_CHILD_H

#define R_NO_REMAP
#include <R.h>
#include <Rinternals.h>
#include <stdbool.h>
#include <sys/types.h>

enum { TAIL_MAX = 32768, CHILD_OUTPUTS = 3 };

/* Text that came from children. It lives longer than a call from R. */
struct heard {
    char *text;
    size_t size, room;
};

struct child {
    pid_t creator;
    pid_t pid;                 /* its group's, too; -1 once it was waited for */
    int pidfd;                 /* readable once it ended; or -1 */
    int signal;                /* we end its group with it, and the kernel the child when R ends */
    int output[CHILD_OUTPUTS]; /* its standard output and error, and warnings; nonblocking, -1 at their end */
    struct heard warnings;     /* that R has not raised yet: a line of JSON for each */
    int status;                /* of waitpid, once it was waited for */
    size_t tail_size;
    char tail[TAIL_MAX]; /* of its standard error */
};

/* NULL for what is no child, and for one of the process that this one was forked from. */
struct child *child_get(SEXP pointer);

/* Passes on what arrived, as pyrmap_output() was told. */
void child_relay(struct child *child);

/* Whether it still runs. */
bool child_alive(const struct child *child);

/* Of a clock that nobody sets. */
double seconds_now(void);

/* R's environment as it is now, NAME=VALUE, and a number that changes whenever it has changed. */
SEXP pyrmap_environment(void);
SEXP pyrmap_environment_version(void);

/*
 * Starts a program. environment: all of it, NAME=VALUE. log: a file that standard error goes to; NULL:
 * standard error is a pipe to R, and so is descriptor 3, for warnings. signal: what the child gets when R ends.
 */
SEXP pyrmap_child_start(SEXP argv, SEXP environment, SEXP log, SEXP signal);
/* Waits for its line "ready": TRUE; FALSE if it ended or timeout seconds went by. */
SEXP pyrmap_child_ready(SEXP child, SEXP timeout);
SEXP pyrmap_child_alive(SEXP child);
SEXP pyrmap_child_pid(SEXP child);
/* The warnings that came since this was called last, as lines; NULL if there are none. */
SEXP pyrmap_child_warnings(SEXP child);
/*
 * Ends the child and its group. A child whose signal is not SIGKILL has two seconds. list(status, signal,
 * meaning, text): how it ended, and the end of its standard error. NULL for another process's child.
 */
SEXP pyrmap_child_end(SEXP child);

/* Output goes to the console from now on (0), nowhere (1), or is kept (2) for pyrmap_captured(), a string. */
SEXP pyrmap_output(SEXP output, SEXP forget);
SEXP pyrmap_captured(void);

#endif
