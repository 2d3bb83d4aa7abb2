// SPDX-License-Identifier: Apache-2.0
#include "daemon/supervisor.h"

#include "base/log.h"
#include "daemon/mount.h"
#include "daemon/place.h"
#include "daemon/sandbox.h"
#include "daemon/server.h"
#include "daemon/service.h"
#include "daemon/word.h"
#include "slot/page.h"
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { SECONDS_TO_STOP = 20 };

/* The word to the keeper that carries the descriptor of arena_files. */
static const char arena_files_word[] = "files";

/* Reads one line; "" if the writer ended without one. */
static void read_line(int fd, char *line, size_t size)
{
    size_t used = 0;

    while (used < size - 1) {
        ssize_t got = read(fd, line + used, size - 1 - used);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0 || memchr(line + used, '\n', (size_t)got)) {
            used += got > 0 ? (size_t)got : 0;
            break;
        }
        used += (size_t)got;
    }
    line[used] = '\0';
    line[strcspn(line, "\n")] = '\0';
}

static void block_signals(sigset_t *signals)
{
    sigemptyset(signals);
    sigaddset(signals, SIGTERM);
    sigaddset(signals, SIGINT);
    sigaddset(signals, SIGHUP);
    sigaddset(signals, SIGCHLD);
    sigprocmask(SIG_BLOCK, signals, NULL);
    signal(SIGPIPE, SIG_IGN);
}

static int exit_status(pid_t server, int status)
{
    if (WIFEXITED(status))
        return WEXITSTATUS(status);
    log_error("the server (pid %d) was ended by signal %d", (int)server, WTERMSIG(status));
    return 1;
}

/* Waits for the server's end, and on a signal unmounts so that it ends. */
static int watch_server(const struct request_ops *ops, pid_t server, const sigset_t *signals)
{
    const struct timespec patience = {.tv_sec = SECONDS_TO_STOP};
    bool stopping = false;
    int status;

    for (;;) {
        int received = stopping ? sigtimedwait(signals, NULL, &patience) : sigwaitinfo(signals, NULL);

        if (waitpid(server, &status, WNOHANG) == server)
            return exit_status(server, status);
        if (received < 0 && errno == EAGAIN) {
            log_error("the server does not stop, it is killed");
            kill(server, SIGKILL);
        } else if (received == SIGTERM || received == SIGINT || received == SIGHUP) {
            /* Unmount first, while the server still answers; then end the server. */
            if (!stopping) {
                service_stopping();
                mount_end(ops->session, ops->mountpoint);
            }
            stopping = true;
            kill(server, SIGTERM);
        }
    }
}

/* Tells the waiting launcher, or in the foreground (launcher -1) the reader of our output, how it went. */
static void announce(const char *line, const char *mountpoint, int launcher)
{
    if (launcher >= 0) {
        dprintf(launcher, "%s\n", line);
    } else if (strcmp(line, "ready") == 0) {
        dprintf(STDOUT_FILENO, "ready %s\n", mountpoint);
        service_ready(mountpoint);
    } else {
        dprintf(STDERR_FILENO, "pyrmapfs: %s\n", line);
        service_failed(line);
    }
}

/* Redirects standard input, output and, if that is the last, error to /dev/null. */
static void leave_terminal(int last)
{
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);

    for (int fd = STDIN_FILENO; null >= 0 && fd <= last; fd++)
        dup2(null, fd);
    if (null > STDERR_FILENO)
        close(null);
}

/*
 * The keeper waits until supervisor and server are both gone and does what a killed supervisor could not:
 * wakes clients that sleep on the server's pages, and clears a dead mount. Those two (and the server's pin)
 * hold a socket open, so the kernel tells when both have ended; the only word through it is where those pages
 * lie. The server itself cannot unmount.
 */
static void keep(struct request_ops *ops, struct place *place, int end_of_both, int launcher)
{
    char word[sizeof(arena_files_word)];
    int files, nothing;

    prctl(PR_SET_NAME, "pyrmapfs-keeper");
    close(fuse_session_fd(ops->session)); /* the mount is not dead while we hold this open */
    if (launcher >= 0)
        close(launcher);
    leave_terminal(launcher >= 0 ? STDERR_FILENO : STDOUT_FILENO);
    word_receive(end_of_both, word, sizeof(word), &files);
    if (files >= 0) {
        word_receive(end_of_both, word, sizeof(word), &nothing);
        page_retire_all(files);
    }
    place_clear(place);
    if (mount_clear(ops->mountpoint) == MOUNT_WAS_DEAD)
        log_warning("the daemon was killed: the mount at %s is cleared", ops->mountpoint);
}

/* Attaches a filesystem of the server and tells it the path, or a negative number. */
static void attach(struct place *place, int directory, int ready)
{
    char path[PATH_MAX];
    int error = directory < 0 ? -EBADF : place_attach(place, directory, path);

    if (error)
        snprintf(path, sizeof(path), "%d", error);
    word_send(ready, path, -1);
    if (directory >= 0)
        close(directory);
}

/* Does what the server asks for, until it says how its start went. */
static void hear(int ready, struct place *place, pid_t *pin, char line[CONF_ERROR_MAX], int *files)
{
    for (;;) {
        word_receive(ready, line, CONF_ERROR_MAX, files);
        if (strcmp(line, SERVER_ATTACH) == 0)
            attach(place, *files, ready);
        else if (strncmp(line, SERVER_PIN, strlen(SERVER_PIN)) == 0)
            *pin = (pid_t)strtol(line + strlen(SERVER_PIN), NULL, 10);
        else
            return;
    }
}

/* Mounts, forks the server, announces the outcome, and stays until the end. */
static int supervise(struct request_ops *ops, int launcher)
{
    char line[CONF_ERROR_MAX] = "";
    sigset_t signals;
    int ready[2], life[2] = {-1, -1};
    const pid_t supervisor = getpid();
    pid_t server, keeper, pin = -1;
    struct place place;
    int files;
    int status;

    block_signals(&signals);
    place_init(&place);
    if (hidden_key_make(&ops->key) < 0) {
        announce("the kernel has no random numbers", ops->mountpoint, launcher);
        return 1;
    }
    prctl(PR_SET_CHILD_SUBREAPER, 1); /* the server leaves us its pin */
    ops->session = mount_session(ops, ops->mountpoint, line);
    if (!ops->session) {
        announce(line, ops->mountpoint, launcher);
        return 1;
    }
    server = word_pair(ready) < 0 || word_pair(life) < 0 ? -1 : fork();
    if (server < 0) {
        announce("cannot start the server: out of processes or descriptors", ops->mountpoint, launcher);
        mount_end(ops->session, ops->mountpoint);
        fuse_session_destroy(ops->session);
        return 1;
    }
    if (server == 0) {
        close(ready[0]);
        close(life[0]);
        if (launcher >= 0) {
            close(launcher);
            leave_terminal(STDERR_FILENO);
        }
        exit(server_run(ops, ready[1], supervisor));
    }
    close(ready[1]);
    if (sandbox_drop_privileges(SANDBOX_SUPERVISOR, line) < 0)
        log_warning("%s", line);
    keeper = fork();
    if (keeper == 0) {
        close(ready[0]);
        close(life[1]);
        keep(ops, &place, life[0], launcher);
        _exit(0);
    }
    if (keeper < 0)
        log_warning("no process is left to clear the mount if the daemon is killed");
    close(life[0]);
    hear(ready[0], &place, &pin, line, &files);
    if (files >= 0)
        word_send(life[1], arena_files_word, files);
    close(ready[0]);
    announce(line[0] ? line : "the server ended at once: see the log", ops->mountpoint, launcher);
    if (launcher >= 0) {
        close(launcher);
        leave_terminal(STDERR_FILENO);
    }
    status = watch_server(ops, server, &signals);
    if (files >= 0)
        page_retire_all(files); /* a killed server could not */
    place_clear(&place);
    if (mount_end(ops->session, ops->mountpoint) == MOUNT_WAS_DEAD) {
        log_error("the mount at %s was aborted (umount -f, or /sys/fs/fuse/connections) and is cleared",
                  ops->mountpoint);
        status = 1;
    }
    fuse_session_destroy(ops->session);
    close(life[1]);
    if (keeper > 0)
        waitpid(keeper, NULL, 0);
    if (pin > 0)
        waitpid(pin, NULL, 0);
    return status;
}

/* Forks the supervisor, waits for its word and asks the mount once: when we return, clients can use it. */
static int launch(struct request_ops *ops)
{
    char line[CONF_ERROR_MAX];
    struct statvfs filesystem;
    int word[2];
    pid_t supervisor = pipe2(word, O_CLOEXEC) < 0 ? -1 : fork();

    if (supervisor < 0) {
        announce("cannot fork", ops->mountpoint, -1);
        return 1;
    }
    if (supervisor == 0) {
        close(word[0]);
        setsid();
        if (chdir("/") < 0)
            exit(1);
        exit(supervise(ops, word[1]));
    }
    close(word[1]);
    read_line(word[0], line, sizeof(line));
    close(word[0]);
    if (strcmp(line, "ready") != 0) {
        announce(line[0] ? line : "it ended at once: see the log", ops->mountpoint, -1);
        return 1;
    }
    if (statvfs(ops->mountpoint, &filesystem) < 0) {
        announce("mounted, but the mount does not answer: see the log", ops->mountpoint, -1);
        return 1;
    }
    return 0;
}

int supervisor_run(const struct conf *conf, const char *mountpoint, enum supervisor_mode mode)
{
    /* The session is made with the operations' state, so it must exist before the fork. */
    static struct request_ops ops;

    ops.conf = conf;
    ops.mountpoint = mountpoint;
    umask(0);
    return mode == SUPERVISOR_BACKGROUND ? launch(&ops) : supervise(&ops, -1);
}
