// SPDX-License-Identifier: Apache-2.0
#include "daemon/handover.h"

#include "daemon/launch.h"
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

/* Another number for another meaning of struct handover; what the tables have says session.h itself. */
static const uint64_t layout = UINT64_C(0x7079726d61700001);

enum { OPTION_MAX = 32 };

static void set_inherited(int fd, int inherited)
{
    int flags = fd < 0 ? -1 : fcntl(fd, F_GETFD);

    if (flags >= 0)
        fcntl(fd, F_SETFD, inherited ? flags & ~FD_CLOEXEC : flags | FD_CLOEXEC);
}

static void give(void *context, int fd)
{
    (void)context;
    set_inherited(fd, 1);
}

static void keep(void *context, int fd)
{
    (void)context;
    set_inherited(fd, 0);
}

static void visit(const struct handover *handover, const struct session *session,
                  void (*each)(void *context, int fd))
{
    session_visit(session, each, NULL);
    each(NULL, handover->fuse);
    each(NULL, handover->previous);
    each(NULL, handover->place.lock);
}

void handover_keep(const struct handover *handover, const struct session *session)
{
    visit(handover, session, keep);
}

/* --- writing --- */

/* Returns a descriptor or -errno. */
static int print_conf(const struct conf *conf)
{
    int fd = memfd_create("handover-conf", MFD_CLOEXEC);
    int again = fd < 0 ? -1 : fcntl(fd, F_DUPFD_CLOEXEC, 0);
    FILE *out = again < 0 ? NULL : fdopen(again, "w");

    if (out) {
        conf_print(conf, out);
        if (fclose(out) == 0 && lseek(fd, 0, SEEK_SET) == 0)
            return fd;
    } else if (again >= 0) {
        close(again);
    }
    if (fd >= 0)
        close(fd);
    return -ENOMEM;
}

/* Returns a descriptor or -errno; the one of the configuration is in *handover. */
static int tell(struct handover *handover, const struct session *session, const struct conf *conf)
{
    int fd = memfd_create("handover", MFD_CLOEXEC);

    if (fd < 0)
        return -errno;
    handover->layout = layout;
    session_tables(session, handover->tables);
    handover->conf = print_conf(conf);
    if (handover->conf >= 0 && pwrite(fd, handover, sizeof(*handover), 0) == sizeof(*handover))
        return fd;
    if (handover->conf >= 0)
        close(handover->conf);
    close(fd);
    return -ENOMEM;
}

static void take_back(const struct handover *handover, int fd)
{
    close(handover->conf);
    close(fd);
}

/* Returns only if it fails: -errno. */
static int execute(int program, const struct handover_command *command, const char *option, int fd)
{
    char text[OPTION_MAX];

    snprintf(text, sizeof(text), "--%s=%d", option, fd);
    command->words[1] = text;
    execveat(program, "", command->words, environ, AT_EMPTY_PATH);
    return -errno;
}

/* In the child, whose table of descriptors is a copy. */
static void probe(int program, const struct handover_command *command, const struct handover *handover,
                  const struct session *session, int fd, int said)
{
    sigset_t none;
    int result;

    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    dup2(said, STDOUT_FILENO);
    dup2(said, STDERR_FILENO);
    visit(handover, session, give);
    set_inherited(handover->conf, 1);
    set_inherited(fd, 1);
    result = execute(program, command, HANDOVER_PROBE, fd);
    dprintf(STDERR_FILENO, "%s\n", strerror(-result));
    _exit(1);
}

/*
 * The child has a copy of all descriptors until it executes. One that the server has open for writing at this
 * moment would make a lease say that a client writes, so the server stands still until the copies are closed.
 */
static void hold(pid_t server)
{
    siginfo_t info;

    if (server > 0 && kill(server, SIGSTOP) == 0)
        waitid(P_PID, (id_t)server, &info, WEXITED | WSTOPPED | WNOWAIT);
}

static void go_on(pid_t server, int executed)
{
    char nothing[8];

    launch_read_line(executed, nothing, sizeof(nothing));
    close(executed);
    if (server > 0)
        kill(server, SIGCONT);
}

pid_t handover_probe(int program, const struct handover_command *command, struct handover *handover,
                     const struct session *session, const struct conf *conf, pid_t server, int *said)
{
    int fd = tell(handover, session, conf);
    int ends[2], executed[2];
    pid_t child;

    if (fd < 0)
        return fd;
    if (pipe2(ends, O_CLOEXEC | O_NONBLOCK) < 0) {
        take_back(handover, fd);
        return -errno;
    }
    if (pipe2(executed, O_CLOEXEC) < 0) {
        child = -errno;
        close(ends[0]);
        close(ends[1]);
        take_back(handover, fd);
        return child;
    }
    hold(server);
    child = fork();
    if (child == 0)
        probe(program, command, handover, session, fd, ends[1]);
    if (child < 0)
        child = -errno;
    close(executed[1]);
    go_on(server, executed[0]);
    close(ends[1]);
    take_back(handover, fd);
    *said = ends[0];
    if (child < 0)
        close(ends[0]);
    return child;
}

int handover_become(int program, const struct handover_command *command, struct handover *handover,
                    const struct session *session, const struct conf *conf)
{
    int fd = tell(handover, session, conf);
    int result;

    if (fd < 0)
        return fd;
    visit(handover, session, give);
    set_inherited(handover->conf, 1);
    set_inherited(fd, 1);
    result = execute(program, command, HANDOVER_RESUME, fd);
    handover_keep(handover, session);
    take_back(handover, fd);
    return result;
}

/* --- reading --- */

static int read_conf(const struct handover *handover, struct conf *in_effect, char error[CONF_ERROR_MAX])
{
    char path[OPTION_MAX];

    conf_init(in_effect);
    snprintf(path, sizeof(path), "/proc/self/fd/%d", handover->conf);
    return conf_read(in_effect, path, error) < 0 || conf_check(in_effect, error) < 0 ? -1 : 0;
}

int handover_read(int fd, struct handover *handover, struct session *session, struct conf *in_effect,
                  char error[CONF_ERROR_MAX])
{
    int result;

    if (pread(fd, handover, sizeof(*handover), 0) != sizeof(*handover) || handover->layout != layout ||
        session_attach(session, handover->tables) < 0) {
        snprintf(error, CONF_ERROR_MAX,
                 "this version cannot go on with what the running one has in memory: end the mount and start "
                 "it again");
        return -1;
    }
    result = read_conf(handover, in_effect, error);
    take_back(handover, fd);
    return result;
}
