// SPDX-License-Identifier: Apache-2.0
#include "daemon/death.h"

#include "base/deadline.h"
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

enum {
    FAILED_IN_A_ROW = 5,  /* servers that ended before they served: then it makes no sense to go on */
    TAKEOVERS_MAX = 1000, /* in MINUTE_MS: one that ends again and again without a request being to blame */
    MINUTE_MS = 60000,
};

const char *death_describe(struct death *death, int status)
{
    if (WIFEXITED(status))
        snprintf(death->cause, sizeof(death->cause), "ended with status %d", WEXITSTATUS(status));
    else
        snprintf(death->cause, sizeof(death->cause), "was ended by signal %d (%s)", WTERMSIG(status),
                 strsignal(WTERMSIG(status)));
    return death->cause;
}

void death_note(struct death *death, int status)
{
    death_describe(death, status);
    death->how = WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL ? JOURNAL_KILLED : JOURNAL_CRASHED;
    death->failed++;
}

void death_forget_failures(struct death *death)
{
    death->failed = 0;
}

bool death_is_too_often(struct death *death)
{
    uint64_t now = deadline_now_ms();

    if (now - death->minute > MINUTE_MS) {
        death->minute = now;
        death->takeovers = 0;
    }
    return death->failed >= FAILED_IN_A_ROW || ++death->takeovers > TAKEOVERS_MAX;
}
