// SPDX-License-Identifier: Apache-2.0
#include "watch.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

enum { BUCKETS = 256 };

struct watched {
    struct loop_source source; /* first: ready() gets it back */
    struct watch *watch;
    pid_t pid;
    uint32_t references;
    bool gone; /* exited was called; waits only for its references */
    struct watched *next;
};

struct watch {
    struct loop_source timer; /* first: ready() gets it back */
    struct loop *loop;
    void (*exited)(void *context, struct watched *watched);
    void *context;
    struct watched *buckets[BUCKETS];
    struct watch_deadline deadlines; /* list head */
};

uint64_t watch_now_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static void arm_timer(struct watch *watch)
{
    struct itimerspec when = {0};
    const struct watch_deadline *first = watch->deadlines.next;

    if (first != &watch->deadlines) {
        when.it_value.tv_sec = (time_t)(first->at_ms / 1000);
        when.it_value.tv_nsec = (long)(first->at_ms % 1000) * 1000000;
    }
    timerfd_settime(watch->timer.fd, TFD_TIMER_ABSTIME, &when, NULL);
}

static void timer_ready(struct loop_source *source)
{
    struct watch *watch = (struct watch *)source;
    uint64_t ticks;
    uint64_t now = watch_now_ms();

    if (read(source->fd, &ticks, sizeof(ticks)) < 0 && errno != EAGAIN)
        return;
    while (watch->deadlines.next != &watch->deadlines && watch->deadlines.next->at_ms <= now) {
        struct watch_deadline *deadline = watch->deadlines.next;
        watch_deadline_clear(watch, deadline);
        deadline->expired(deadline);
    }
    arm_timer(watch);
}

int watch_init(struct watch **out, struct loop *loop, void (*exited)(void *, struct watched *), void *context)
{
    struct watch *watch = calloc(1, sizeof(*watch));
    int error;

    *out = NULL;
    if (!watch)
        return -ENOMEM;
    watch->loop = loop;
    watch->exited = exited;
    watch->context = context;
    watch->deadlines.next = watch->deadlines.previous = &watch->deadlines;
    watch->timer.ready = timer_ready;
    watch->timer.fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    error = watch->timer.fd < 0 ? -errno : loop_add(loop, &watch->timer);
    if (error < 0) {
        if (watch->timer.fd >= 0)
            close(watch->timer.fd);
        free(watch);
        return error;
    }
    *out = watch;
    return 0;
}

static void forget(struct watch *watch, struct watched *watched)
{
    struct watched **link = &watch->buckets[(unsigned)watched->pid % BUCKETS];

    while (*link && *link != watched)
        link = &(*link)->next;
    if (*link)
        *link = watched->next;
    if (watched->source.fd >= 0) {
        loop_remove(watch->loop, &watched->source);
        close(watched->source.fd);
        watched->source.fd = -1;
    }
}

void watch_deinit(struct watch *watch)
{
    if (!watch)
        return;
    for (int i = 0; i < BUCKETS; i++) {
        while (watch->buckets[i]) {
            struct watched *watched = watch->buckets[i];
            forget(watch, watched);
            free(watched);
        }
    }
    loop_remove(watch->loop, &watch->timer);
    close(watch->timer.fd);
    free(watch);
}

static void report_exit(struct watched *watched)
{
    struct watch *watch = watched->watch;

    watched->gone = true;
    watched->references++; /* its last user may release it inside exited() */
    forget(watch, watched);
    watch->exited(watch->context, watched);
    watch_release(watch, watched);
}

static void pidfd_ready(struct loop_source *source)
{
    report_exit((struct watched *)source);
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

bool watch_has_group(pid_t pid, gid_t gid)
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

int watch_process(struct watch *watch, pid_t pid, uid_t uid, struct watched **out)
{
    struct watched *watched;
    int pidfd;
    int error;
    long owner;

    *out = NULL;
    if (pid <= 0)
        return -EINVAL;
    /* The descriptor first: what is asked of /proc afterwards is about the process that it names, or it has
     * exited. */
    pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
    if (pidfd < 0)
        return errno == EINVAL || errno == ENOENT ? -ESRCH : -errno;
    owner = status_field(pid, "\nUid:\t");
    if (owner < 0 || has_exited(pidfd)) {
        close(pidfd);
        return -ESRCH;
    }
    if (uid != 0 && (uid_t)owner != uid) {
        close(pidfd);
        return -EPERM;
    }
    for (watched = watch->buckets[(unsigned)pid % BUCKETS]; watched; watched = watched->next) {
        if (watched->pid != pid)
            continue;
        if (has_exited(watched->source.fd)) {
            report_exit(watched); /* the pid was reused before the loop came to its former bearer */
            break;
        }
        close(pidfd);
        *out = watch_again(watched);
        return 0;
    }
    watched = calloc(1, sizeof(*watched));
    if (!watched) {
        close(pidfd);
        return -ENOMEM;
    }
    watched->watch = watch;
    watched->pid = pid;
    watched->references = 1;
    watched->source.fd = pidfd;
    watched->source.ready = pidfd_ready;
    error = loop_add(watch->loop, &watched->source);
    if (error < 0) {
        close(pidfd);
        free(watched);
        return error;
    }
    watched->next = watch->buckets[(unsigned)pid % BUCKETS];
    watch->buckets[(unsigned)pid % BUCKETS] = watched;
    *out = watched;
    return 0;
}

struct watched *watch_again(struct watched *watched)
{
    watched->references++;
    return watched;
}

void watch_release(struct watch *watch, struct watched *watched)
{
    if (!watched || --watched->references > 0)
        return;
    if (!watched->gone)
        forget(watch, watched);
    free(watched);
}

pid_t watched_pid(const struct watched *watched)
{
    return watched->pid;
}

pid_t watch_process_of(pid_t thread)
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

void watch_deadline_set(struct watch *watch, struct watch_deadline *deadline, uint64_t delay_ms)
{
    struct watch_deadline *last = watch->deadlines.previous;

    deadline->at_ms = watch_now_ms() + delay_ms;
    deadline->previous = last;
    deadline->next = &watch->deadlines;
    last->next = deadline;
    watch->deadlines.previous = deadline;
    if (last == &watch->deadlines)
        arm_timer(watch);
}

void watch_deadline_clear(struct watch *watch, struct watch_deadline *deadline)
{
    (void)watch;
    if (!deadline->next)
        return;
    deadline->next->previous = deadline->previous;
    deadline->previous->next = deadline->next;
    deadline->next = deadline->previous = NULL;
}
