// SPDX-License-Identifier: Apache-2.0
/*
 * death.h - how servers ended: what is said of the last one, and whether they end so often that another one is of no
 * use.
 */
#ifndef PYRMAPFS_DEATH_H
#define PYRMAPFS_DEATH_H

#include "fuse/journal.h"
#include <stdbool.h>
#include <stdint.h>

struct death {
    char cause[64]; /* of the last one: "ended with status 1" */
    enum journal_death how;
    uint64_t at_ms;
    unsigned failed;    /* in a row, which ended before they served */
    uint64_t minute;    /* begun at this time, */
    unsigned takeovers; /* and these since */
};

/* Puts the cause into words, which it returns. status: of waitpid. */
const char *death_describe(struct death *death, int status);
/* A server has ended so, and another one may take over. */
void death_note(struct death *death, int status);
/* A server has come to serve. */
void death_forget_failures(struct death *death);
/* Counts a takeover. Returns whether there are too many, or too many servers failed in a row. */
bool death_is_too_often(struct death *death);

#endif
