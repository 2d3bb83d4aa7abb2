// SPDX-License-Identifier: Apache-2.0
#include "base/process.h"

#include "base/log.h"
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { BUCKETS = 256 };

TAILQ_HEAD(bonds, process_bond);

struct process {
    struct loop_source source; /* first: ready() casts back */
    struct processes *processes;
    pid_t pid;
    int status;      /* once it is dead */
    bool is_dead;    /* in `dead`: no bucket has it, so another process can have its pid */
    bool is_telling; /* pidfd_ready is working on it: it stays, even without a bond */
    struct bonds bonds;
    LIST_ENTRY(process) link;
};

LIST_HEAD(process_list, process);

struct processes {
    struct loop *loop;
    void *context;
    struct process_list buckets[BUCKETS];
    struct process_list dead; /* their bonds have not been called yet */
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

/* Its pidfd stays readable, so the loop comes back until the last bond is undone. */
static void set_dead(struct process *process)
{
    if (process->is_dead)
        return;
    process->is_dead = true;
    LIST_REMOVE(process, link);
    LIST_INSERT_HEAD(&process->processes->dead, process, link);
}

static bool has_exited(int pidfd)
{
    struct pollfd poll_fd = {.fd = pidfd, .events = POLLIN};

    return poll(&poll_fd, 1, 0) > 0;
}

/* --- /proc --- */

enum { STATUS_MAX = 16384, STAT_MAX = 1024, PROC_NOT_OPEN = -1, PROC_UNUSABLE = -2 };

static int proc = PROC_NOT_OPEN;

/* Returns a descriptor or -errno. */
static int mount_proc(void)
{
    int context = fsopen("proc", FSOPEN_CLOEXEC);
    int mount = -1;
    int error = 0;

    if (context < 0)
        return -errno;
    /* "off" in letters: Linux before 5.8 refuses these, and would change every mount of proc for a number. */
    if (fsconfig(context, FSCONFIG_SET_STRING, "hidepid", "off", 0) < 0 ||
        fsconfig(context, FSCONFIG_SET_STRING, "subset", "pid", 0) < 0 ||
        fsconfig(context, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0)
        error = -errno;
    if (!error) {
        mount = fsmount(context, FSMOUNT_CLOEXEC,
                        MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC);
        error = mount < 0 ? -errno : 0;
    }
    close(context);
    return error ? error : mount;
}

/* In the /proc of another pid namespace the same number is another process. */
static bool is_ours(int fd)
{
    char text[32];
    ssize_t length = readlinkat(fd, "self", text, sizeof(text) - 1);

    text[length > 0 ? length : 0] = '\0';
    return strtol(text, NULL, 10) == getpid();
}

void process_open_proc(void)
{
    if (proc >= 0)
        return;
    proc = mount_proc();
    if (proc >= 0)
        return;
    proc = open("/proc", O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (proc >= 0 && is_ours(proc))
        return;
    if (proc >= 0)
        close(proc);
    proc = PROC_UNUSABLE;
    log_warning("/proc does not show the daemon's own pid namespace: clients cannot be named by number in "
                "worker and owner, and each of their threads counts as a process: mount /proc in there");
}

int process_proc(void)
{
    return proc >= 0 ? proc : -1;
}

/* Reads the status of a process or thread. Returns 0 or -1. */
static int read_status(pid_t pid, char text[STATUS_MAX])
{
    char path[32];
    ssize_t got;
    int fd;

    if (proc == PROC_NOT_OPEN)
        process_open_proc();
    if (proc < 0)
        return -1;
    snprintf(path, sizeof(path), "%ld/status", (long)pid);
    fd = openat(proc, path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return -1;
    got = read(fd, text, STATUS_MAX - 1);
    close(fd);
    text[got > 0 ? got : 0] = '\0';
    return got > 0 ? 0 : -1;
}

/* The number on one "Key:" line. Returns -1 if there is no such process or line. */
static long status_field(pid_t pid, const char *key)
{
    char text[STATUS_MAX];
    const char *line = read_status(pid, text) == 0 ? strstr(text, key) : NULL;

    return line ? strtol(line + strlen(key), NULL, 10) : -1;
}

bool process_descends_from(pid_t pid, pid_t ancestor)
{
    static const char key[] = "\nPPid:\t";

    if (pid <= 0 || ancestor <= 0)
        return false;
    for (int generation = 0; generation < PROCESS_ANCESTORS_MAX && pid > 0; generation++) {
        long parent;

        if (pid == ancestor)
            return true;
        parent = status_field(pid, key);
        if (parent <= 0)
            return false;
        pid = (pid_t)parent;
    }
    return false;
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

bool process_shares_pids(pid_t pid)
{
    static const char key[] = "\nNSpid:";
    char text[STATUS_MAX];
    const char *at;
    char *end;

    if (pid <= 0 || read_status(pid, text) < 0)
        return false;
    at = strstr(text, key);
    if (!at)
        return true; /* a kernel without pid namespaces */
    at += sizeof(key) - 1;
    strtol(at, &end, 10);
    return *end == '\n'; /* a second number would be its pid in a namespace below */
}

pid_t process_of_thread(pid_t thread)
{
    long process;

    if (thread <= 0)
        return 0;
    /* Most callers are their process's first thread: signal 0 finds that out, and EPERM means yes. */
    if (syscall(SYS_tgkill, thread, thread, 0) == 0 || errno != ESRCH)
        return thread;
    process = status_field(thread, "\nTgid:\t");
    return process > 0 ? (pid_t)process : 0;
}

/* --- bonds --- */

/* Returns a pidfd, -ESRCH, -EPERM or -errno. */
static int open_process(pid_t pid, uid_t uid)
{
    int error = 0;
    /*
     * Open the descriptor first: then /proc describes the process that it names, or that process has exited.
     */
    int pidfd = (int)syscall(SYS_pidfd_open, pid, 0);

    if (pidfd < 0)
        return errno == EINVAL || errno == ENOENT ? -ESRCH : -errno;
    if (uid != 0) {
        long owner = status_field(pid, "\nUid:\t");
        error = owner < 0 ? -ESRCH : (uid_t)owner != uid ? -EPERM : 0;
    }
    if (has_exited(pidfd))
        error = -ESRCH;
    if (error) {
        close(pidfd);
        return error;
    }
    return pidfd;
}

static struct process *find(struct processes *processes, pid_t pid)
{
    struct process *process;

    LIST_FOREACH (process, &processes->buckets[(unsigned)pid % BUCKETS], link) {
        if (process->pid == pid)
            break;
    }
    if (process && has_exited(process->source.fd)) {
        set_dead(process); /* the pid has a new process now, and the loop has not yet seen the old one exit */
        return NULL;
    }
    return process;
}

/* --- the end of a process --- */

/* linux/pidfd.h of Linux 6.15: the exit status of a process, kept after its parent has waited for it. */
struct pidfd_info_exit {
    uint64_t mask;
    uint64_t cgroup;
    uint32_t ids[11];
    int32_t exit_code;
};

enum { INFO_EXIT = 1 << 3 };

static bool tells_exit(int pidfd, int *status)
{
    struct pidfd_info_exit info = {.mask = INFO_EXIT};

    if (ioctl(pidfd, _IOWR(0xFF, 11, struct pidfd_info_exit), &info) < 0 || !(info.mask & INFO_EXIT))
        return false;
    *status = info.exit_code;
    return true;
}

/* Reads a file of a process in /proc, as much as the text has room for. Returns false if there is none. */
static bool read_file(pid_t pid, const char *name, char *text, size_t size)
{
    char path[32];
    ssize_t got;
    int fd;

    if (proc == PROC_NOT_OPEN)
        process_open_proc();
    if (proc < 0)
        return false;
    snprintf(path, sizeof(path), "%ld/%s", (long)pid, name);
    fd = openat(proc, path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    got = read(fd, text, size - 1);
    close(fd);
    text[got > 0 ? got : 0] = '\0';
    return got > 0;
}

static bool read_stat(pid_t pid, char text[STAT_MAX])
{
    return read_file(pid, "stat", text, STAT_MAX);
}

bool process_cgroup(pid_t pid, char *text, size_t size)
{
    return pid > 0 && read_file(pid, "cgroup", text, size);
}

/*
 * /proc shows a process until its parent has waited for it. The last field of stat is its status, but reads
 * as 0 for a reader that may not trace the process.
 */
static int zombie_status(pid_t pid)
{
    char text[STAT_MAX];
    const char *last = read_stat(pid, text) ? strrchr(text, ' ') : NULL;
    int status = last ? (int)strtol(last, NULL, 10) : 0;

    return status ? status : PROCESS_STATUS_UNKNOWN;
}

uint64_t process_start(pid_t pid)
{
    enum { FIELDS_BEFORE = 20 }; /* blanks between the name, which ends with the last ')', and the field */
    char text[STAT_MAX];
    const char *at = read_stat(pid, text) ? strrchr(text, ')') : NULL;

    for (int i = 0; at && i < FIELDS_BEFORE; i++)
        at = strchr(at + 1, ' ');
    return at ? strtoull(at, NULL, 10) : 0;
}

static int exit_status(const struct process *process)
{
    int status, seen;

    if (tells_exit(process->source.fd, &status))
        return status;
    seen = zombie_status(process->pid);
    /* Its parent may have waited for it meanwhile, and another process may have its pid. */
    return tells_exit(process->source.fd, &status) ? status : seen;
}

static void pidfd_ready(struct loop_source *source)
{
    struct process *process = (struct process *)source;
    void *context = process->processes->context;

    if (!process->is_dead)
        process->status = exit_status(process);
    set_dead(process);
    process->is_telling = true; /* exited() may undo other bonds as well */
    for (int told = 0; told < PROCESS_BONDS_A_TURN && !TAILQ_EMPTY(&process->bonds); told++) {
        struct process_bond *bond = TAILQ_FIRST(&process->bonds);

        process_unbind(bond);
        bond->status = process->status;
        bond->exited(context, bond);
    }
    process->is_telling = false;
    if (TAILQ_EMPTY(&process->bonds))
        forget(process);
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
    /* Make the new bond first: binding to the same process again must not forget it. */
    if (bond->process != process) {
        process_unbind(bond);
        bond->process = process;
        TAILQ_INSERT_TAIL(&process->bonds, bond, link);
    }
    bond->exited = exited;
    return 0;
}

int process_bind_again(struct processes *processes, struct process_bond *bond, pid_t pid, uint64_t start,
                       void (*exited)(void *context, struct process_bond *bond))
{
    int error = process_bind(processes, bond, pid, 0, exited);

    if (error == 0 && start && process_start(pid) != start) {
        process_unbind(bond);
        error = -ESRCH;
    }
    return error;
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