// SPDX-License-Identifier: Apache-2.0
/*
 * child.h - the processes that belong to this R session: the Python server, a private pyrmapfs.
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

struct child {
    pid_t creator;
    pid_t pid;
    int command;   /* its standard input, a socket: no SIGPIPE; -1 if closed */
    int output[2]; /* its standard output and error, nonblocking; -1 at their end */
    bool ended;
    int status; /* of waitpid, once ended */
};

/* NULL if the pointer is none, was stopped, or belongs to the process that this one was forked from. */
struct child *child_get(SEXP pointer);

/* Passes on to R's console what arrived. Whether anything can still arrive. */
bool child_relay(struct child *child);

/* Sends text to its standard input. Whether all of it went. */
bool child_send(struct child *child, const char *text);

/* Whether it still runs. */
bool child_alive(struct child *child);

/*
 * log: NULL: standard input and error are pipes to R; else standard error goes to this file and there is no
 * input. environment: all of it, NAME=VALUE. signal: what it gets when R ends.
 */
SEXP pyrmap_child_start(SEXP argv, SEXP environment, SEXP log, SEXP signal);
/* Waits for its line "ready": TRUE; FALSE if it ended or timeout seconds went by. What it wrote before is
 * kept in text. */
SEXP pyrmap_child_ready(SEXP child, SEXP timeout);
SEXP pyrmap_child_send(SEXP child, SEXP line);
/* What it wrote to its standard input's other direction since the last call: a string, "" if nothing. */
SEXP pyrmap_child_news(SEXP child);
SEXP pyrmap_child_relay(SEXP child);
SEXP pyrmap_child_alive(SEXP child);
/* Closes its input or sends the signal, waits up to two seconds, kills it. Its exit status, or NA. */
SEXP pyrmap_child_stop(SEXP child, SEXP signal);

#endif
