// SPDX-License-Identifier: Apache-2.0
#include "daemon/supervisor.h"

#include "base/deadline.h"
#include "base/descriptors.h"
#include "base/log.h"
#include "daemon/death.h"
#include "daemon/handover.h"
#include "daemon/keeper.h"
#include "daemon/launch.h"
#include "daemon/mount.h"
#include "daemon/place.h"
#include "daemon/sandbox.h"
#include "daemon/server.h"
#include "daemon/service.h"
#include "daemon/upgrade.h"
#include "slot/page.h"
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
    STOP_MS = 20000,  /* that a server may take to stop, */
    PROBE_MS = 10000, /* a program to say whether it could go on, */
    SERVE_MS = 20000, /* and the server of a new one to serve */
    RETRY_MS = 100,   /* between two attempts to start a process that the machine has no room for */
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
    uint64_t deadline; /* of what we wait for; 0: none */
    uint64_t retry;    /* when we try again to start the server, or the keeper; 0: both are there */
    bool lacks;        /* what a server needs: since then none has served */
    struct handover_command command;
    struct upgrade upgrade;
    int launcher; /* -1: none, or it has been told */
    bool told;
    struct death death;
};

/* There is one supervisor in a process, and its children have a copy of it. */
static struct supervisor supervisor = {.signals = -1, .word = {-1, -1}, .answer = {-1, -1}, .launcher = -1};

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

static void tell(const char *line)
{
    launch_announce(line, supervisor.ops.mountpoint, supervisor.launcher);
    supervisor.told = true;
    if (supervisor.launcher < 0)
        return;
    close(supervisor.launcher);
    supervisor.launcher = -1;
    launch_leave_terminal();
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
    open.room = open.count + (size_t)supervisor.own_count + 4;
    open.fds = malloc(open.room * sizeof(int));
    if (!open.fds)
        return -ENOMEM;
    open.count = 0;
    session_visit(&supervisor.session, add_descriptor, &open);
    for (int i = 0; i < supervisor.own_count; i++)
        add_descriptor(&open, supervisor.own[i]);
    add_descriptor(&open, supervisor.place.lock);
    add_descriptor(&open, supervisor.upgrade.program);
    add_descriptor(&open, supervisor.upgrade.previous);
    add_descriptor(&open, supervisor.upgrade.said);
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
                                           .cause = supervisor.death.cause,
                                           .how = supervisor.death.how,
                                           .again = supervisor.lacks,
                                           .died_ms = supervisor.death.at_ms};
        exit(server_run(&supervisor.ops, &start));
    }
    if (child < 0)
        return child;
    supervisor.server = child;
    return 0;
}

static const char no_resend[] = "this kernel cannot send requests again (Linux 6.9 or later can)";
static const char long_init[] = "the kernel's first request was too long to be kept";

/* Why no other server can take the session over; NULL: one can. */
static const char *cannot_take_over(void)
{
    const struct session_head *head = session_head(&supervisor.session);

    if (!head->can_resend)
        return no_resend;
    if (head->init_size == 0)
        return long_init;
    if (death_is_too_often(&supervisor.death))
        return "it has happened too often";
    return NULL;
}

/* --- upgrades: see handover.h --- */

static struct handover what_to_tell(int previous)
{
    struct handover handover = {.fuse = fuse_session_fd(supervisor.ops.session),
                                .previous = previous,
                                .keeper = supervisor.keeper,
                                .place = supervisor.place,
                                .key = supervisor.ops.key,
                                .died_ms = supervisor.death.at_ms};

    snprintf(handover.program, sizeof(handover.program), "%s", supervisor.command.program);
    return handover;
}

static void end_upgrade(void)
{
    upgrade_end(&supervisor.upgrade);
    supervisor.deadline = 0;
}

static void begin_upgrade(void)
{
    const struct session_head *head = session_head(&supervisor.session);
    struct handover handover = what_to_tell(-1);

    if (supervisor.stopping || !supervisor.told)
        return;
    if (supervisor.upgrade.stage != UPGRADE_NOT)
        log_info("a reload is under way: send SIGHUP again once it is over");
    else if (!head->can_resend || head->init_size == 0)
        upgrade_refuse(&supervisor.upgrade, &supervisor.command, head->can_resend ? long_init : no_resend);
    else if (upgrade_begin(&supervisor.upgrade, &supervisor.command, &handover, &supervisor.session,
                           supervisor.ops.conf, supervisor.server))
        supervisor.deadline = deadline_now_ms() + PROBE_MS;
}

static void probe_ended(int how)
{
    const bool could = upgrade_probe_ended(&supervisor.upgrade, &supervisor.command, how);

    if (supervisor.stopping)
        return;
    supervisor.deadline = could ? deadline_now_ms() + STOP_MS : 0;
    if (could && supervisor.server > 0)
        kill(supervisor.server, SIGHUP);
}

/* Becomes the program. Returns only if that fails. */
static void become(int program, int previous)
{
    struct handover handover = what_to_tell(previous);
    int result =
        handover_become(program, &supervisor.command, &handover, &supervisor.session, supervisor.ops.conf);

    log_error("the program cannot be executed: %s", strerror(-result));
}

/* The server has stopped, and what it left is closed. Returns only if we go on as we are. */
static void hand_over(void)
{
    struct upgrade *upgrade = &supervisor.upgrade;

    if (upgrade->stage == UPGRADE_STOPS) {
        upgrade->previous = open("/proc/self/exe", O_PATH | O_CLOEXEC);
        become(upgrade->program, upgrade->previous);
    } else if (upgrade->previous >= 0) {
        log_error("the new program does not get to serve: its server %s; the old one goes on",
                  supervisor.death.cause);
        become(upgrade->previous, -1);
    }
    end_upgrade();
}

/* --- the end of a server --- */

static void retry_later(void)
{
    supervisor.retry = deadline_now_ms() + RETRY_MS;
}

static void start_keeper(void)
{
    supervisor.keeper = keeper_start(&supervisor.ops, &supervisor.place);
    if (supervisor.keeper < 0)
        retry_later();
}

/*
 * Another server, in place of the one that ended. While the machine has no process, memory or descriptor left for
 * it, clients wait, and we try again: nothing is lost but time.
 */
static bool replace_server(void)
{
    int result = close_what_it_left();

    supervisor.retry = 0;
    if (result == 0)
        result = start_server();
    if (result == 0)
        return true;
    if (!supervisor.lacks)
        log_error("the server %s, and no other one can be started: %s", supervisor.death.cause,
                  strerror(-result));
    supervisor.lacks = server_lacks(result);
    retry_later();
    return supervisor.lacks;
}

/* What could not be started. Returns whether the family goes on. */
static bool try_again(void)
{
    if (supervisor.retry == 0 || deadline_now_ms() < supervisor.retry)
        return true;
    if (supervisor.server == 0)
        return replace_server();
    supervisor.retry = 0;
    if (supervisor.keeper < 0)
        start_keeper();
    return true;
}

/* Returns whether the family goes on; else *status is its exit status. */
static bool server_ended(int how, int *status)
{
    const struct session_head *head = session_head(&supervisor.session);
    const int fuse = fuse_session_fd(supervisor.ops.session);
    const bool is_handover =
        supervisor.upgrade.stage == UPGRADE_STOPS || supervisor.upgrade.stage == UPGRADE_STARTS;
    const bool lacks = WIFEXITED(how) && WEXITSTATUS(how) == SERVER_LACKS && !is_handover;
    const char *reason;

    supervisor.server = 0;
    if (!lacks)
        supervisor.death.at_ms = deadline_now_ms();
    *status = WIFEXITED(how) ? WEXITSTATUS(how) : 1;
    if (!head->serves || supervisor.stopping || (WIFEXITED(how) && *status == SERVER_STOPPED) ||
        mount_is_over(fuse)) {
        if (!WIFEXITED(how))
            log_error("the server %s, and the mount ends", death_describe(&supervisor.death, how));
        return false;
    }
    *status = 1;
    if (lacks) {
        supervisor.lacks = true;
        retry_later();
        return true;
    }
    death_note(&supervisor.death, how);
    reason = is_handover ? NULL : cannot_take_over();
    if (reason) {
        log_error("the server %s, and no other one takes over: %s", supervisor.death.cause, reason);
        return false;
    }
    close_word();
    if (is_handover && close_what_it_left() == 0)
        hand_over();
    else if (is_handover)
        end_upgrade();
    return replace_server();
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

    launch_read_line(supervisor.word[0], line, sizeof(line));
    if (!line[0])
        return;
    if (strncmp(line, SERVER_ATTACH, strlen(SERVER_ATTACH)) == 0) {
        attach((int)strtol(line + strlen(SERVER_ATTACH), NULL, 10));
        return;
    }
    if (strcmp(line, "ready") == 0) {
        death_forget_failures(&supervisor.death);
        supervisor.lacks = false;
        if (supervisor.upgrade.stage == UPGRADE_STARTS) {
            service_ready(supervisor.ops.mountpoint);
            end_upgrade();
        }
    }
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
            start_keeper();
        if (supervisor.upgrade.probe && child == supervisor.upgrade.probe)
            probe_ended(how);
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
        if (supervisor.upgrade.probe)
            kill(supervisor.upgrade.probe, SIGKILL);
        supervisor.deadline = deadline_now_ms() + STOP_MS;
    }
    supervisor.stopping = true;
    if (supervisor.server > 0)
        kill(supervisor.server, SIGTERM);
}

/* Milliseconds until then; -1: there is no such time. */
static int time_left(uint64_t then)
{
    const uint64_t now = deadline_now_ms();

    if (!then)
        return -1;
    return then > now ? (int)(then - now) : 0;
}

/* Of two of these, the one that comes first. */
static int sooner(int one, int other)
{
    return one < 0 || (other >= 0 && other < one) ? other : one;
}

static void out_of_time(void)
{
    supervisor.deadline = 0;
    if (supervisor.upgrade.stage == UPGRADE_PROBES) {
        kill(supervisor.upgrade.probe, SIGKILL);
    } else if (supervisor.server > 0) {
        log_error("the server does not %s, it is killed",
                  supervisor.upgrade.stage == UPGRADE_STARTS ? "serve" : "stop");
        kill(supervisor.server, SIGKILL);
    }
}

/* A terminal that goes is no wish for another program: that signal is the kernel's. */
static bool wants_upgrade(const struct signalfd_siginfo *info)
{
    return info->ssi_signo == SIGHUP && info->ssi_code <= 0;
}

/* Waits for the end, and returns the exit status. */
static int watch(void)
{
    int status = 1;

    for (;;) {
        struct pollfd fds[] = {{.fd = supervisor.signals, .events = POLLIN},
                               {.fd = supervisor.word[0], .events = POLLIN}};
        int ready = poll(fds, 2, sooner(time_left(supervisor.deadline), time_left(supervisor.retry)));
        struct signalfd_siginfo info;

        if (ready == 0 && time_left(supervisor.deadline) == 0)
            out_of_time();
        if (ready > 0 && fds[1].revents)
            hear();
        while (read(supervisor.signals, &info, sizeof(info)) == sizeof(info)) {
            if (wants_upgrade(&info))
                begin_upgrade();
            else if (info.ssi_signo != SIGCHLD)
                stop();
        }
        if (!reap(&status) || !try_again())
            return status;
        if (supervisor.stopping && supervisor.server == 0)
            return 0; /* it was never replaced */
    }
}

/* --- beginning and end --- */

/* What a server does not open is ours: not what the session and an upgrade have, nor the launcher's, which go. */
static void disown(void *context, int fd)
{
    (void)context;
    for (int i = 0; i < supervisor.own_count; i++) {
        if (fd >= 0 && supervisor.own[i] == fd)
            supervisor.own[i] = -1;
    }
}

/* The last steps of a beginning. Returns 0 or -errno. */
static int begin(void)
{
    char line[CONF_ERROR_MAX];

    if (sandbox_drop_privileges(SANDBOX_SUPERVISOR, line) < 0)
        log_warning("%s", line);
    descriptors_claim(); /* a memfd arena needs one for each segment, and they are in our table as well */
    supervisor.own_count = descriptors_open(&supervisor.own);
    if (supervisor.own_count < 0)
        return supervisor.own_count;
    session_visit(&supervisor.session, disown, NULL);
    disown(NULL, supervisor.launcher);
    disown(NULL, supervisor.place.lock);
    disown(NULL, supervisor.upgrade.previous);
    return start_server();
}

/*
 * libfuse frees a session only after it unmounted it, by path. Where the mount is over, it has nothing left to
 * unmount; where another mount namespace still has it, somebody's mount may lie on the path by now, so we let
 * exit free the session.
 */
static void free_session(void)
{
    struct fuse_session *session = supervisor.ops.session;

    if (!mount_is_over(fuse_session_fd(session)))
        return;
    fuse_session_unmount(session);
    fuse_session_destroy(session);
}

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
    result = begin();
    if (result == 0)
        return 0;
    snprintf(line, CONF_ERROR_MAX, "cannot start the server: %s", strerror(-result));
    mount_end(fuse_session_fd(ops->session), ops->mountpoint);
    free_session();
    return -1;
}

/* Stays until the end. Returns the exit status. */
static int stay(void)
{
    const struct request_ops *ops = &supervisor.ops;
    int status = watch();

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
    free_session();
    return status;
}

/* Mounts, starts the server, announces the outcome, and stays until the end. */
static int supervise(int launcher)
{
    const struct request_ops *ops = &supervisor.ops;
    char line[CONF_ERROR_MAX] = "";

    supervisor.launcher = launcher;
    if (set_up(line) < 0) {
        launch_announce(line, ops->mountpoint, supervisor.launcher);
        return 1;
    }
    start_keeper();
    return stay();
}

int supervisor_run(const struct conf *conf, const char *mountpoint, enum supervisor_mode mode,
                   const struct handover_command *command)
{
    supervisor.ops.conf = conf;
    supervisor.ops.mountpoint = mountpoint;
    supervisor.command = *command;
    umask(0);
    supervisor.upgrade = upgrade_none();
    return mode == SUPERVISOR_BACKGROUND ? launch_in_background(mountpoint, supervise) : supervise(-1);
}

/* --- as another program's successor --- */

static void tell_held(const char *line)
{
    log_warning("%s", line);
}

static void tell_nobody(const char *line)
{
    (void)line;
}

/* Reads what the old program told. Returns 0, or -1 with a line. */
static int learn(int fd, struct handover *handover, struct conf *conf, void (*held)(const char *line),
                 char line[CONF_ERROR_MAX])
{
    static struct conf in_effect;
    struct request_ops *ops = &supervisor.ops;

    if (handover_read(fd, handover, &supervisor.session, &in_effect, line) < 0)
        return -1;
    if (conf)
        conf_hold(conf, &in_effect, held);
    ops->conf = conf ? conf : &in_effect;
    ops->kept = &supervisor.session;
    ops->key = handover->key;
    ops->session = mount_again(ops, handover->fuse, line);
    return ops->session ? 0 : -1;
}

int supervisor_probe(struct conf *conf, int fd)
{
    struct handover handover;
    char line[CONF_ERROR_MAX];

    if (learn(fd, &handover, conf, tell_nobody, line) < 0 || server_probe(&supervisor.ops, line) < 0) {
        fprintf(stderr, "pyrmapfs: %s\n", line);
        _exit(1);
    }
    upgrade_say_yes();
    _exit(0);
}

int supervisor_resume(struct conf *conf, const char *mountpoint, const struct handover_command *command,
                      int fd)
{
    static struct handover handover;
    char line[CONF_ERROR_MAX];
    int result;

    umask(0);
    prctl(PR_SET_NAME, "pyrmapfs");
    supervisor.ops.mountpoint = mountpoint;
    supervisor.command = (struct handover_command){command->words, handover.program};
    supervisor.told = true;
    if (learn(fd, &handover, conf, tell_held, line) < 0) {
        log_error("%s", line);
        return 1;
    }
    handover_keep(&handover, &supervisor.session);
    supervisor.place = handover.place;
    supervisor.upgrade = upgrade_none();
    supervisor.upgrade.previous = handover.previous;
    supervisor.death.at_ms = handover.died_ms;
    supervisor.death.how = JOURNAL_HANDED_OVER;
    supervisor.upgrade.stage = handover.previous >= 0 ? UPGRADE_STARTS : UPGRADE_NOT;
    supervisor.deadline = handover.previous >= 0 ? deadline_now_ms() + SERVE_MS : 0;
    result = watch_signals();
    if (result == 0)
        result = begin();
    if (result < 0) {
        log_error("cannot start the server: %s", strerror(-result));
        hand_over();
        return 1;
    }
    start_keeper();
    keeper_stop(handover.keeper);
    return stay();
}
