// SPDX-License-Identifier: Apache-2.0
/*
 * child.h - the processes that belong to this R session: Python workers, a private pyrmapfs.
 *
 * They are in process groups of their own (Ctrl-C is R's), hold no descriptor of R's but their pipes, and get
 * a signal from the kernel when R ends, however it ends.
 */
#ifndef PYRMAP_CHILD_H
#define PYRMAP_CHILD_H

#define R_NO_REMAP
#include <R.h>
#include <Rinternals.h>
#include <stdbool.h>
#include <sys/types.h>

enum { TAIL_MAX = 32768, CHILD_OUTPUTS = 3 };

struct text {
    char *text;
    size_t size, room;
};

struct child {
    pid_t creator;
    pid_t pid;                 /* its group's, too; -1 once it was waited for */
    int pidfd;                 /* readable once it ended; or -1 */
    int signal;                /* what its group gets in the end, and it when R ends */
    int output[CHILD_OUTPUTS]; /* its standard output and error, and warnings; nonblocking, -1 at their end */
    struct text warnings;      /* that R has not raised yet: a line of JSON for each */
    int status;                /* of waitpid, once it was waited for */
    size_t tail_size;
    char tail[TAIL_MAX]; /* of its standard error */
};

/* NULL if the pointer is none, was stopped, or belongs to the process that this one was forked from. */
struct child *child_get(SEXP pointer);

/* Passes on what arrived, as pyrmap_output() was told. */
void child_relay(struct child *child);

/* Whether it still runs. */
bool child_alive(const struct child *child);

/* R's environment as it is now, NAME=VALUE, and a number that changes whenever it has changed. */
SEXP pyrmap_environment(void);
SEXP pyrmap_environment_version(void);

/*
 * log: NULL: standard error is a pipe to R, as descriptor 3 is, for warnings; else it goes to this file. environment: all of it, NAME=VALUE.
 * signal: what it gets when R ends.
 */
SEXP pyrmap_child_start(SEXP argv, SEXP environment, SEXP log, SEXP signal);
/* Waits for its line "ready": TRUE; FALSE if it ended or timeout seconds went by. */
SEXP pyrmap_child_ready(SEXP child, SEXP timeout);
SEXP pyrmap_child_alive(SEXP child);
SEXP pyrmap_child_pid(SEXP child);
/* The warnings that came since this was called last, as lines; NULL if there are none. */
SEXP pyrmap_child_warnings(SEXP child);
/*
 * Ends it and its group; unless its signal is SIGKILL it has two seconds. list(status, signal, meaning,
 * text): how it ended and the end of its standard error. NULL if it is not this process's.
 */
SEXP pyrmap_child_end(SEXP child);

/* From now on output goes to the console (0), nowhere (1), or is kept (2), for pyrmap_captured(): a string.
 */
SEXP pyrmap_output(SEXP output, SEXP forget);
SEXP pyrmap_captured(void);

#endif
