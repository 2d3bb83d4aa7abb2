// SPDX-License-Identifier: Apache-2.0
#include "daemon/upgrade.h"

#include "base/log.h"
#include "daemon/launch.h"
#include "daemon/service.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/* What a program says that can go on: any other one that lies at the path would just end. */
static const char yes[] = "could-go-on";

struct upgrade upgrade_none(void)
{
    return (struct upgrade){.program = -1, .previous = -1, .said = -1};
}

static void close_one(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

void upgrade_end(struct upgrade *upgrade)
{
    close_one(&upgrade->program);
    close_one(&upgrade->previous);
    close_one(&upgrade->said);
    *upgrade = upgrade_none();
}

void upgrade_refuse(struct upgrade *upgrade, const struct handover_command *command, const char *reason)
{
    char line[CONF_ERROR_MAX + PATH_MAX];

    snprintf(line, sizeof(line), "the reload is refused, and the mount goes on as it was: %s: %s",
             command->program, reason);
    log_error("%s", line);
    service_failed(line);
    upgrade_end(upgrade);
}

bool upgrade_begin(struct upgrade *upgrade, const struct handover_command *command, struct handover *handover,
                   const struct session *session, const struct conf *conf, pid_t server)
{
    pid_t probe;

    upgrade->program = open(command->program, O_RDONLY | O_CLOEXEC);
    probe = upgrade->program < 0
                ? -errno
                : handover_probe(upgrade->program, command, handover, session, conf, server, &upgrade->said);
    if (probe < 0) {
        upgrade_refuse(upgrade, command, strerror(-probe));
        return false;
    }
    upgrade->probe = probe;
    upgrade->stage = UPGRADE_PROBES;
    return true;
}

bool upgrade_probe_ended(struct upgrade *upgrade, const struct handover_command *command, int how)
{
    static const char front[] = "pyrmapfs: ";
    char line[CONF_ERROR_MAX];
    const char *text = line;

    launch_read_line(upgrade->said, line, sizeof(line));
    close_one(&upgrade->said);
    upgrade->probe = 0;
    if (strncmp(text, front, strlen(front)) == 0)
        text += strlen(front);
    if (WIFEXITED(how) && WEXITSTATUS(how) == 0 && strcmp(text, yes) == 0) {
        upgrade->stage = UPGRADE_STOPS;
        return true;
    }
    if (WIFSIGNALED(how)) {
        snprintf(line, sizeof(line), "it was ended by signal %d (%s) when it was tried", WTERMSIG(how),
                 strsignal(WTERMSIG(how)));
        upgrade_refuse(upgrade, command, line);
    } else {
        upgrade_refuse(upgrade, command,
                       text[0] && WEXITSTATUS(how) != 0
                           ? text
                           : "it does not say that it can go on with a running mount");
    }
    return false;
}

void upgrade_say_yes(void)
{
    dprintf(STDOUT_FILENO, "%s\n", yes);
}
