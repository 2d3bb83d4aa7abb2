// SPDX-License-Identifier: Apache-2.0
/*
 * handover.h - an upgrade: the supervisor becomes the program that now lies at its path.
 *
 *     SIGHUP --> the new program looks whether it could go on, in a process that changes nothing
 *                    |
 *                    | it could (else the old one goes on)
 *                    v
 *                the server ends between two requests
 *                    |
 *                    v
 *                the supervisor executes the new program: it has the same pid and the same descriptors
 *                    |
 *                    v
 *                that forks a server, which takes the session over as after a death
 *
 * If the new program's first server does not get to serve, the supervisor becomes the old program again.
 */
#ifndef PYRMAPFS_HANDOVER_H
#define PYRMAPFS_HANDOVER_H

#include "arena/hidden.h"
#include "conf.h"
#include "daemon/place.h"
#include "fuse/session.h"
#include <sys/types.h>

/* What a program has to be told to go on as the supervisor. */
struct handover {
    uint64_t layout; /* see handover.c */
    int32_t tables[SESSION_TABLES];
    int32_t fuse;     /* /dev/fuse */
    int32_t previous; /* the program to become again until the next one serves; -1: none */
    int32_t conf;     /* the configuration in effect, as conf_print writes it */
    pid_t keeper;
    struct place place;
    struct hidden_key key;
    uint64_t died_ms;       /* when the last server ended: deadline_now_ms */
    char program[PATH_MAX]; /* the path at which the next program is looked for */
};

/* The command line of the supervisor, with absolute paths. Its second word is free, for the option of a handover. */
struct handover_command {
    char **words;
    const char *program; /* its path */
};

/* The options: their value is the number of the descriptor that tells. */
#define HANDOVER_PROBE  "probe"
#define HANDOVER_RESUME "resume"

/*
 * Starts the program, which is open, as a child that looks whether it could go on; what it says on standard error
 * can be read from *said. Returns its pid or -errno.
 */
pid_t handover_probe(int program, const struct handover_command *command, struct handover *handover,
                     const struct session *session, const struct conf *conf, pid_t server, int *said);
/* Becomes the program. Returns only if that fails: -errno, and all is as before. */
int handover_become(int program, const struct handover_command *command, struct handover *handover,
                    const struct session *session, const struct conf *conf);

/*
 * In the new program: reads what it was told and the configuration in effect, and attaches the session. Returns 0,
 * or -1 with a line in error.
 */
int handover_read(int fd, struct handover *handover, struct session *session, struct conf *in_effect,
                  char error[CONF_ERROR_MAX]);
/* The descriptors that it was given are for it alone: no program that it starts gets them. */
void handover_keep(const struct handover *handover, const struct session *session);

#endif
