// SPDX-License-Identifier: Apache-2.0
#include "daemon/supervisor.h"

#include "base/deadline.h"
#include "base/descriptors.h"
#include "base/log.h"
#include "daemon/keeper.h"
#include "daemon/mount.h"
#include "daemon/place.h"
#include "daemon/sandbox.h"
#include "daemon/server.h"
#include "daemon/service.h"
#include "slot/page.h"
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
    SECONDS_TO_STOP = 20,
    FAILED_IN_A_ROW = 5,  /* servers that ended before they served: then it makes no sense to go on */
    TAKEOVERS_MAX = 1000, /* in MINUTE_MS: one that ends again and again without a request being to blame */
    MINUTE_MS = 60000,
};

struct supervisor {
    struct request_ops ops;
    struct session session;
    int signals; /* a signalfd */
    int word[2]; /* a pipe: what the server says once it serves, or fails to */
    int answer[2];
    struct place place;
    unsigned asked; /* attachments, by this server */
    int *own;       /* descriptors that are not a server's */
    int own_count;
    pid_t server; /* 0: it has ended */
    pid_t keeper;
    bool stopping;
    int launcher; /* -1: none, or it has been told */
    bool told;
    uint64_t died_ms;
    unsigned failed;     /* in a row */
    uint64_t minute;     /* begun at this time, */
    unsigned takeovers;  /* and these since */
    char last_cause[64]; /* why the last server ended */
    enum journal_death last_end;
};

/* There is one supervisor in a process, and its children have a copy of it. */
static struct supervisor supervisor = {.signals = -1, .word = {-1, -1}, .answer = {-1, -1}, .launcher = -1};

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

static int watch_signals(void)
{
    sigset_t signals;

    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    sigaddset(&signals, SIGHUP);
    sigaddset(&signals, SIGCHLD);
    sigprocmask(SIG_BLOCK, &signals, NULL);
    signal(SIGPIPE, SIG_IGN);
    supervisor.signals = signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK);
    return supervisor.signals < 0 ? -errno : 0;
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

/* Redirects standard input, output and error to /dev/null, for all of the family. */
static void leave_terminal(void)
{
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);

    for (int fd = STDIN_FILENO; null >= 0 && fd <= STDERR_FILENO; fd++)
        dup2(null, fd);
    if (null > STDERR_FILENO)
        close(null);
}

static void tell(const char *line)
{
    announce(line, supervisor.ops.mountpoint, supervisor.launcher);
    supervisor.told = true;
    if (supervisor.launcher < 0)
        return;
    close(supervisor.launcher);
    supervisor.launcher = -1;
    leave_terminal();
}

/* --- the server --- */

static void close_word(void)
{
    for (int i = 0; i < 2; i++) {
        if (supervisor.word[i] >= 0)
            close(supervisor.word[i]);
        if (supervisor.answer[i] >= 0)
            close(supervisor.answer[i]);
        supervisor.word[i] = supervisor.answer[i] = -1;
    }
}

struct keep_open {
    int *fds;
    size_t count, room; /* of them; when counting there are none */
};

static void add_descriptor(void *context, int fd)
{
    struct keep_open *open = context;

    if (open->count < open->room)
        open->fds[open->count] = fd;
    open->count++;
}

/*
 * What the last server had open for itself: pidfds, timers, files that it was writing. As long as one of these is
 * open no array that it was writing could be published. Nobody else opens or closes any meanwhile.
 */
static int close_what_it_left(void)
{
    struct keep_open open = {0};

    session_visit(&supervisor.session, add_descriptor, &open);
    open.room = open.count + (size_t)supervisor.own_count + 1;
    open.fds = malloc(open.room * sizeof(int));
    if (!open.fds)
        return -ENOMEM;
    open.count = 0;
    session_visit(&supervisor.session, add_descriptor, &open);
    for (int i = 0; i < supervisor.own_count; i++)
        add_descriptor(&open, supervisor.own[i]);
    add_descriptor(&open, supervisor.place.lock);
    descriptors_close_others(open.fds, open.count);
    free(open.fds);
    return 0;
}

static int start_server(void)
{
    const pid_t parent = getpid();
    pid_t child;

    close_word();
    if (pipe2(supervisor.word, O_CLOEXEC | O_NONBLOCK) < 0 || pipe2(supervisor.answer, O_CLOEXEC) < 0)
        return -errno;
    supervisor.asked = 0;
    child = descriptors_fork();
    if (child == 0) {
        const struct server_start start = {.supervisor = parent,
                                           .word = supervisor.word[1],
                                           .answer = supervisor.answer[0],
                                           .cause = supervisor.last_cause,
                                           .how = supervisor.last_end,
                                           .died_ms = supervisor.died_ms};
        exit(server_run(&supervisor.ops, &start));
    }
    if (child < 0)
        return child;
    supervisor.server = child;
    return 0;
}

static const char *describe_end(int status)
{
    if (WIFEXITED(status))
        snprintf(supervisor.last_cause, sizeof(supervisor.last_cause), "ended with status %d",
                 WEXITSTATUS(status));
    else
        snprintf(supervisor.last_cause, sizeof(supervisor.last_cause), "was ended by signal %d (%s)",
                 WTERMSIG(status), strsignal(WTERMSIG(status)));
    return supervisor.last_cause;
}

/* Whether servers end so often that another one would be of no use. */
static bool has_lost_patience(void)
{
    uint64_t now = deadline_now_ms();

    if (now - supervisor.minute > MINUTE_MS) {
        supervisor.minute = now;
        supervisor.takeovers = 0;
    }
    return supervisor.failed >= FAILED_IN_A_ROW || ++supervisor.takeovers > TAKEOVERS_MAX;
}

/* Why no other server can take the session over; NULL: one can. */
static const char *cannot_take_over(void)
{
    const struct session_head *head = session_head(&supervisor.session);

    if (!head->can_resend)
        return "this kernel cannot send requests again (Linux 6.9 or later can)";
    if (head->init_size == 0)
        return "the kernel's first request was too long to be kept";
    if (has_lost_patience())
        return "it has happened too often";
    return NULL;
}

/* Returns whether the family goes on; else *status is its exit status. */
static bool server_ended(int how, int *status)
{
    const struct session_head *head = session_head(&supervisor.session);
    const int fuse = fuse_session_fd(supervisor.ops.session);
    const char *reason;
    int result;

    supervisor.server = 0;
    supervisor.died_ms = deadline_now_ms();
    *status = WIFEXITED(how) ? WEXITSTATUS(how) : 1;
    if (!head->serves || supervisor.stopping || (WIFEXITED(how) && *status == SERVER_STOPPED) ||
        mount_is_over(fuse)) {
        if (!WIFEXITED(how))
            log_error("the server %s, and the mount ends", describe_end(how));
        return false;
    }
    *status = 1;
    describe_end(how);
    supervisor.last_end = WIFSIGNALED(how) && WTERMSIG(how) == SIGKILL ? JOURNAL_KILLED : JOURNAL_CRASHED;
    supervisor.failed++;
    reason = cannot_take_over();
    if (reason) {
        log_error("the server %s, and no other one takes over: %s", supervisor.last_cause, reason);
        return false;
    }
    close_word();
    result = close_what_it_left();
    if (result == 0)
        result = start_server();
    if (result < 0)
        log_error("the server %s, and no other one can be started: %s", supervisor.last_cause,
                  strerror(-result));
    return result == 0;
}

/* Attaches a filesystem of the server, unless an earlier server had it attached, and tells the path. */
static void attach(int directory)
{
    char path[PATH_MAX];
    int error = 0;

    if (supervisor.asked < supervisor.place.attached)
        place_path(&supervisor.place, supervisor.asked, path);
    else
        error = place_attach(&supervisor.place, directory, path);
    supervisor.asked++;
    if (error)
        snprintf(path, sizeof(path), "%d", error);
    if (write(supervisor.answer[1], path, strlen(path)) < 0)
        log_warning("the server cannot be answered: %s", strerror(errno));
}

/* The server's word: it asks for something, it serves, or says why not. */
static void hear(void)
{
    char line[CONF_ERROR_MAX];

    read_line(supervisor.word[0], line, sizeof(line));
    if (!line[0])
        return;
    if (strncmp(line, SERVER_ATTACH, strlen(SERVER_ATTACH)) == 0) {
        attach((int)strtol(line + strlen(SERVER_ATTACH), NULL, 10));
        return;
    }
    if (strcmp(line, "ready") == 0)
        supervisor.failed = 0;
    if (!supervisor.told)
        tell(line);
    close_word();
}

/* Reaps what has ended. Returns whether the family goes on. */
static bool reap(int *status)
{
    pid_t child;
    int how;

    while ((child = waitpid(-1, &how, WNOHANG)) > 0) {
        if (child == supervisor.keeper)
            supervisor.keeper = keeper_start(&supervisor.ops, &supervisor.place);
        if (child != supervisor.server)
            continue;
        hear(); /* its last word */
        if (!server_ended(how, status))
            return false;
    }
    return true;
}

static void stop(void)
{
    /* Unmount first, while the server still answers; then end the server. */
    if (!supervisor.stopping) {
        service_stopping();
        mount_end(fuse_session_fd(supervisor.ops.session), supervisor.ops.mountpoint);
    }
    supervisor.stopping = true;
    if (supervisor.server > 0)
        kill(supervisor.server, SIGTERM);
}

/* Waits for the end, and returns the exit status. */
static int watch(void)
{
    int status = 1;

    for (;;) {
        struct pollfd fds[] = {{.fd = supervisor.signals, .events = POLLIN},
                               {.fd = supervisor.word[0], .events = POLLIN}};
        int ready = poll(fds, 2, supervisor.stopping ? SECONDS_TO_STOP * 1000 : -1);
        struct signalfd_siginfo info;

        if (ready == 0 && supervisor.server > 0) {
            log_error("the server does not stop, it is killed");
            kill(supervisor.server, SIGKILL);
        }
        if (ready > 0 && fds[1].revents)
            hear();
        while (read(supervisor.signals, &info, sizeof(info)) == sizeof(info)) {
            if (info.ssi_signo != SIGCHLD)
                stop();
        }
        if (!reap(&status))
            return status;
    }
}

/* --- beginning and end --- */

static int set_up(char line[CONF_ERROR_MAX])
{
    struct request_ops *ops = &supervisor.ops;
    int result = watch_signals();

    place_init(&supervisor.place);
    if (result == 0)
        result = hidden_key_make(&ops->key);
    if (result == 0)
        result = session_open(&supervisor.session);
    if (result < 0) {
        snprintf(line, CONF_ERROR_MAX, "cannot start: %s", strerror(-result));
        return -1;
    }
    ops->kept = &supervisor.session;
    ops->session = mount_session(ops, ops->mountpoint, line);
    if (!ops->session)
        return -1;
    if (sandbox_drop_privileges(SANDBOX_SUPERVISOR, line) < 0)
        log_warning("%s", line);
    descriptors_claim(); /* a memfd arena needs one for each segment, and they are in our table as well */
    supervisor.own_count = descriptors_open(&supervisor.own);
    for (int i = 0; i < supervisor.own_count; i++) {
        if (supervisor.own[i] == supervisor.launcher)
            supervisor.own[i] = -1; /* we close it soon, and a server may get its number */
    }
    result = supervisor.own_count < 0 ? supervisor.own_count : start_server();
    if (result == 0)
        return 0;
    snprintf(line, CONF_ERROR_MAX, "cannot start the server: %s", strerror(-result));
    mount_end(fuse_session_fd(ops->session), ops->mountpoint);
    fuse_session_destroy(ops->session);
    return -1;
}

/* Mounts, starts the server, announces the outcome, and stays until the end. */
static int supervise(void)
{
    struct request_ops *ops = &supervisor.ops;
    char line[CONF_ERROR_MAX] = "";
    int status;

    if (set_up(line) < 0) {
        announce(line, ops->mountpoint, supervisor.launcher);
        return 1;
    }
    supervisor.keeper = keeper_start(ops, &supervisor.place);
    status = watch();
    if (!supervisor.told)
        tell("the server ended at once: see the log");
    server_clean_up(ops); /* one that was killed could not */
    place_clear(&supervisor.place);
    if (mount_end(fuse_session_fd(ops->session), ops->mountpoint) == MOUNT_WAS_DEAD) {
        log_error("the mount at %s was aborted (umount -f, or /sys/fs/fuse/connections) and is cleared",
                  ops->mountpoint);
        status = 1;
    }
    keeper_stop(supervisor.keeper);
    if (mount_is_over(fuse_session_fd(ops->session)))
        fuse_session_unmount(
            ops->session); /* it has nothing left to do but free what the session has of it */
    fuse_session_destroy(ops->session);
    return status;
}

/* Forks the supervisor, waits for its word and asks the mount once: when we return, clients can use it. */
static int launch(const char *mountpoint)
{
    char line[CONF_ERROR_MAX];
    struct statvfs filesystem;
    int word[2];
    pid_t child = pipe2(word, O_CLOEXEC) < 0 ? -1 : fork();

    if (child < 0) {
        announce("cannot fork", mountpoint, -1);
        return 1;
    }
    if (child == 0) {
        close(word[0]);
        setsid();
        if (chdir("/") < 0)
            exit(1);
        supervisor.launcher = word[1];
        exit(supervise());
    }
    close(word[1]);
    read_line(word[0], line, sizeof(line));
    close(word[0]);
    if (strcmp(line, "ready") != 0) {
        announce(line[0] ? line : "it ended at once: see the log", mountpoint, -1);
        return 1;
    }
    if (statvfs(mountpoint, &filesystem) < 0) {
        announce("mounted, but the mount does not answer: see the log", mountpoint, -1);
        return 1;
    }
    return 0;
}

int supervisor_run(const struct conf *conf, const char *mountpoint, enum supervisor_mode mode)
{
    supervisor.ops.conf = conf;
    supervisor.ops.mountpoint = mountpoint;
    umask(0);
    return mode == SUPERVISOR_BACKGROUND ? launch(mountpoint) : supervise();
}
