// SPDX-License-Identifier: Apache-2.0
#include "process_fixture.h"

#include <check.h>
#include <errno.h>
#include <linux/sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { PATIENCE_S = 20 };

/* Ticks once a millisecond to look at the condition. */
struct lookout {
    struct loop_source source; /* first: ready() gets it back */
    struct loop *loop;
    bool (*condition)(void *context);
    void *context;
    time_t last;
};

static time_t seconds_now(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec;
}

static void look(struct loop_source *source)
{
    struct lookout *lookout = (struct lookout *)source;
    uint64_t ticks;

    ck_assert_int_eq(read(source->fd, &ticks, sizeof(ticks)), sizeof(ticks));
    if (lookout->condition(lookout->context))
        loop_stop(lookout->loop, 0);
    ck_assert_msg(seconds_now() <= lookout->last, "the condition has not become true in time");
}

void loop_until(struct loop *loop, bool (*condition)(void *context), void *context)
{
    const struct itimerspec often = {.it_interval.tv_nsec = 1000000, .it_value.tv_nsec = 1};
    struct lookout lookout = {
        .loop = loop, .condition = condition, .context = context, .last = seconds_now() + PATIENCE_S};

    lookout.source.ready = look;
    lookout.source.fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC);
    ck_assert_int_ge(lookout.source.fd, 0);
    ck_assert_int_eq(timerfd_settime(lookout.source.fd, 0, &often, NULL), 0);
    ck_assert_int_eq(loop_add(loop, &lookout.source), 0);
    ck_assert_int_eq(loop_run(loop), 0);
    loop_remove(loop, &lookout.source);
    close(lookout.source.fd);
}

/* The test may have a helper thread, so the child makes only system calls. */
static void idle(void)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL); /* after setuid, which forgets it */
    for (;;)
        pause();
}

pid_t idler_start(uid_t uid)
{
    int ready[2];
    char byte;
    pid_t pid;

    ck_assert_int_eq(pipe(ready), 0);
    pid = fork();
    ck_assert_int_ge(pid, 0);
    if (pid == 0) {
        if ((uid && setuid(uid) < 0) || write(ready[1], "x", 1) != 1)
            _exit(1);
        idle();
    }
    ck_assert_int_eq(read(ready[0], &byte, 1), 1);
    close(ready[0]);
    close(ready[1]);
    return pid;
}

pid_t idler_start_as(pid_t pid)
{
    struct clone_args arguments = {.exit_signal = SIGCHLD, .set_tid = (uintptr_t)&pid, .set_tid_size = 1};
    long child = syscall(SYS_clone3, &arguments, sizeof(arguments));

    if (child == 0)
        idle();
    if (child < 0) {
        fprintf(stderr, "SKIPPED [1] no process can be given a pid here: %s\n", strerror(errno));
        return 0;
    }
    ck_assert_int_eq(child, pid);
    return pid;
}

void idler_kill(pid_t pid)
{
    siginfo_t info;

    ck_assert_int_gt(pid, 1); /* 0 and -1 would signal the test's group, and all processes */
    ck_assert_int_eq(kill(pid, SIGKILL), 0);
    ck_assert_int_eq(waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT), 0);
}

void idler_bury(pid_t pid)
{
    ck_assert_int_eq(waitpid(pid, NULL, 0), pid);
}

void idler_end(pid_t pid)
{
    idler_kill(pid);
    idler_bury(pid);
}

static void *idle_in_thread(void *argument)
{
    struct idle_thread *thread = argument;

    thread->id = (pid_t)syscall(SYS_gettid);
    sem_post(&thread->begun);
    sem_wait(&thread->end);
    return NULL;
}

void idle_thread_start(struct idle_thread *thread)
{
    sem_init(&thread->begun, 0, 0);
    sem_init(&thread->end, 0, 0);
    ck_assert_int_eq(pthread_create(&thread->handle, NULL, idle_in_thread, thread), 0);
    sem_wait(&thread->begun);
}

void idle_thread_end(struct idle_thread *thread)
{
    sem_post(&thread->end);
    pthread_join(thread->handle, NULL);
}
