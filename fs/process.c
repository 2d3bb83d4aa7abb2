// SPDX-License-Identifier: Apache-2.0
#include "process.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { BUCKETS = 256 };

TAILQ_HEAD(bonds, process_bond);

struct process {
    struct loop_source source; /* first: ready() gets it back */
    struct processes *processes;
    pid_t pid;
    bool is_dead;    /* in `dead`: no bucket finds it, so that its pid can be another's */
    bool is_telling; /* pidfd_ready has it in hand: it stays, even without a bond */
    struct bonds bonds;
    LIST_ENTRY(process) link;
};

LIST_HEAD(process_list, process);

struct processes {
    struct loop *loop;
    void *context;
    struct process_list buckets[BUCKETS];
    struct process_list dead; /* whose bonds are still to be told */
};

int process_init(struct processes **out, struct loop *loop, void *context)
{
    struct processes *processes = calloc(1, sizeof(*processes));

    *out = processes;
    if (!processes)
        return -ENOMEM;
    processes->loop = loop;
    processes->context = context;
    return 0;
}

static void forget(struct process *process)
{
    LIST_REMOVE(process, link);
    loop_remove(process->processes->loop, &process->source);
    close(process->source.fd);
    free(process);
}

static void forget_list(struct process_list *list)
{
    struct process *process;
    struct process_bond *bond;

    while ((process = LIST_FIRST(list))) {
        while ((bond = TAILQ_FIRST(&process->bonds))) {
            TAILQ_REMOVE(&process->bonds, bond, link);
            bond->process = NULL;
        }
        forget(process);
    }
}

void process_deinit(struct processes *processes)
{
    if (!processes)
        return;
    for (int i = 0; i < BUCKETS; i++)
        forget_list(&processes->buckets[i]);
    forget_list(&processes->dead);
    free(processes);
}

/* Its bonds are told in the loop, to which its pidfd stays readable until the last is undone. */
static void set_dead(struct process *process)
{
    if (process->is_dead)
        return;
    process->is_dead = true;
    LIST_REMOVE(process, link);
    LIST_INSERT_HEAD(&process->processes->dead, process, link);
}

static void pidfd_ready(struct loop_source *source)
{
    struct process *process = (struct process *)source;
    void *context = process->processes->context;

    set_dead(process);
    process->is_telling = true; /* exited() may undo other bonds as well */
    for (int told = 0; told < PROCESS_BONDS_A_TURN && !TAILQ_EMPTY(&process->bonds); told++) {
        struct process_bond *bond = TAILQ_FIRST(&process->bonds);

        process_unbind(bond);
        bond->exited(context, bond);
    }
    process->is_telling = false;
    if (TAILQ_EMPTY(&process->bonds))
        forget(process);
}

static bool has_exited(int pidfd)
{
    struct pollfd poll_fd = {.fd = pidfd, .events = POLLIN};

    return poll(&poll_fd, 1, 0) > 0;
}

enum { STATUS_MAX = 16384 };

/* Reads /proc/PID/status. Returns 0 or -1. */
static int read_status(pid_t pid, char text[STATUS_MAX])
{
    char path[64];
    ssize_t got;
    int fd;

    snprintf(path, sizeof(path), "/proc/%ld/status", (long)pid);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return -1;
    got = read(fd, text, STATUS_MAX - 1);
    close(fd);
    text[got > 0 ? got : 0] = '\0';
    return got > 0 ? 0 : -1;
}

/* The number on one "Key:" line. Returns -1 if the process or the line is not there. */
static long status_field(pid_t pid, const char *key)
{
    char text[STATUS_MAX];
    const char *line = read_status(pid, text) == 0 ? strstr(text, key) : NULL;

    return line ? strtol(line + strlen(key), NULL, 10) : -1;
}

bool process_has_group(pid_t pid, gid_t gid)
{
    static const char key[] = "\nGroups:";
    char text[STATUS_MAX];
    char *at = read_status(pid, text) == 0 ? strstr(text, key) : NULL;
    char *end;

    if (!at)
        return false;
    at += sizeof(key) - 1;
    text[at - text + (ptrdiff_t)strcspn(at, "\n")] = '\0';
    for (unsigned long group = strtoul(at, &end, 10); end != at; group = strtoul(at, &end, 10)) {
        if (group == gid)
            return true;
        at = end;
    }
    return false;
}

/* Returns a pidfd, -ESRCH, -EPERM or -errno. */
static int open_process(pid_t pid, uid_t uid)
{
    long owner;
    /* The descriptor first: what /proc says afterwards is about the process that it names, or that one has
     * exited. */
    int pidfd = (int)syscall(SYS_pidfd_open, pid, 0);

    if (pidfd < 0)
        return errno == EINVAL || errno == ENOENT ? -ESRCH : -errno;
    owner = status_field(pid, "\nUid:\t");
    if (owner >= 0 && !has_exited(pidfd) && (uid == 0 || (uid_t)owner == uid))
        return pidfd;
    close(pidfd);
    return owner < 0 || uid == 0 || (uid_t)owner == uid ? -ESRCH : -EPERM;
}

static struct process *find(struct processes *processes, pid_t pid)
{
    struct process *process;

    LIST_FOREACH(process, &processes->buckets[(unsigned)pid % BUCKETS], link)
    {
        if (process->pid == pid)
            break;
    }
    if (process && has_exited(process->source.fd)) {
        set_dead(process); /* the pid is another's now, and the loop has not come to its former bearer yet */
        return NULL;
    }
    return process;
}

/* Takes over the pidfd, also on failure. */
static int add(struct processes *processes, pid_t pid, int pidfd, struct process **out)
{
    struct process *process = calloc(1, sizeof(*process));
    int error = -ENOMEM;

    if (process) {
        process->processes = processes;
        process->pid = pid;
        TAILQ_INIT(&process->bonds);
        process->source.fd = pidfd;
        process->source.ready = pidfd_ready;
        error = loop_add(processes->loop, &process->source);
    }
    if (error < 0) {
        close(pidfd);
        free(process);
        return error;
    }
    LIST_INSERT_HEAD(&processes->buckets[(unsigned)pid % BUCKETS], process, link);
    *out = process;
    return 0;
}

int process_bind(struct processes *processes, struct process_bond *bond, pid_t pid, uid_t uid,
                 void (*exited)(void *context, struct process_bond *bond))
{
    struct process *process;
    int pidfd;

    if (pid <= 0)
        return -EINVAL;
    pidfd = open_process(pid, uid);
    if (pidfd < 0)
        return pidfd;
    process = find(processes, pid);
    if (process) {
        close(pidfd);
    } else {
        int error = add(processes, pid, pidfd, &process);
        if (error < 0)
            return error;
    }
    /* The new bond first: to bind to the same process again must not forget it in between. */
    if (bond->process != process) {
        process_unbind(bond);
        bond->process = process;
        TAILQ_INSERT_TAIL(&process->bonds, bond, link);
    }
    bond->exited = exited;
    return 0;
}

void process_unbind(struct process_bond *bond)
{
    struct process *process = bond->process;

    if (!process)
        return;
    TAILQ_REMOVE(&process->bonds, bond, link);
    bond->process = NULL;
    if (TAILQ_EMPTY(&process->bonds) && !process->is_telling)
        forget(process);
}

pid_t process_of_thread(pid_t thread)
{
    int pidfd = (int)syscall(SYS_pidfd_open, thread, 0);

    /* Most callers are their process's first thread, and then this is all. */
    if (pidfd >= 0) {
        close(pidfd);
        return thread;
    }
    long process = status_field(thread, "\nTgid:\t");
    return process > 0 ? (pid_t)process : 0;
}
