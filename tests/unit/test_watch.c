// SPDX-License-Identifier: Apache-2.0
/*
 * test_watch.c - who is told when a process exits, whose process a thread is, and deadlines.
 */
#include "watch.h"

#include "descriptors.h"
#include "suite.h"
#include "watch_fixture.h"
#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <string.h>
#include <sys/syscall.h>

enum { OTHER_UID = 4242, LOG_MAX = 400 };

struct bench {
    struct loop *loop;
    struct watch *watch;
    struct watched *gone[LOG_MAX]; /* in the order in which they were reported */
    pid_t pids[LOG_MAX];
    int count;
    int awaited;             /* of count */
    struct watched *release; /* what exited() gives back by itself */
};

static void exited(void *context, struct watched *watched)
{
    struct bench *bench = context;

    ck_assert_int_lt(bench->count, LOG_MAX);
    bench->pids[bench->count] = watched_pid(watched);
    bench->gone[bench->count++] = watched;
    if (watched == bench->release) {
        watch_release(bench->watch, watched);
        bench->release = NULL;
    }
}

static void open_bench(struct bench *bench)
{
    *bench = (struct bench){0};
    ck_assert_int_eq(loop_init(&bench->loop), 0);
    ck_assert_int_eq(watch_init(&bench->watch, bench->loop, exited, bench), 0);
}

static void close_bench(struct bench *bench)
{
    watch_deinit(bench->watch);
    loop_deinit(bench->loop);
}

static bool reported(void *context)
{
    struct bench *bench = context;

    return bench->count >= bench->awaited;
}

static void await_exits(struct bench *bench, int count)
{
    bench->awaited = count;
    loop_until(bench->loop, reported, bench);
    ck_assert_int_eq(bench->count, count);
}

static struct watched *watch_idler(struct bench *bench, pid_t pid)
{
    struct watched *watched;

    ck_assert_int_eq(watch_process(bench->watch, pid, getuid(), &watched), 0);
    ck_assert_int_eq(watched_pid(watched), pid);
    return watched;
}

/* --- processes --- */

START_TEST(test_exit)
{
    struct bench bench;
    struct watched *first, *second;
    pid_t one = idler_start(0), two = idler_start(0);
    int descriptors;

    open_bench(&bench);
    descriptors = descriptors_open();
    first = watch_idler(&bench, one);
    second = watch_idler(&bench, two);
    idler_end(two);
    await_exits(&bench, 1);
    ck_assert_ptr_eq(bench.gone[0], second);
    ck_assert_int_eq(bench.pids[0], two);
    watch_release(bench.watch, second);
    idler_end(one);
    await_exits(&bench, 2);
    ck_assert_ptr_eq(bench.gone[1], first);
    /* A reference outlives the process. */
    ck_assert_int_eq(watched_pid(first), one);
    watch_release(bench.watch, first);
    ck_assert_int_eq(descriptors_open(), descriptors);
    close_bench(&bench);
}
END_TEST

/* A zombie's pid is taken still, but who waits for it would wait for its parent. */
START_TEST(test_zombie)
{
    struct bench bench;
    struct watched *watched, *again;
    pid_t pid = idler_start(0);

    open_bench(&bench);
    watched = watch_idler(&bench, pid);
    idler_kill(pid);
    ck_assert_int_eq(watch_process(bench.watch, pid, getuid(), &again), -ESRCH);
    ck_assert_ptr_null(again);
    await_exits(&bench, 1);
    watch_release(bench.watch, watched);
    idler_bury(pid);
    close_bench(&bench);
}
END_TEST

START_TEST(test_same_process_twice)
{
    struct bench bench;
    struct watched *watched;
    pid_t pid = idler_start(0);
    int descriptors;

    open_bench(&bench);
    watched = watch_idler(&bench, pid);
    descriptors = descriptors_open();
    ck_assert_ptr_eq(watch_idler(&bench, pid), watched);
    ck_assert_ptr_eq(watch_again(watched), watched);
    ck_assert_int_eq(descriptors_open(), descriptors);
    watch_release(bench.watch, watched);
    watch_release(bench.watch, watched);
    idler_end(pid);
    await_exits(&bench, 1);
    watch_release(bench.watch, watched);
    close_bench(&bench);
}
END_TEST

START_TEST(test_released_before_exit)
{
    struct bench bench;
    struct watched *other;
    pid_t pid = idler_start(0), later = idler_start(0);

    open_bench(&bench);
    watch_release(bench.watch, watch_idler(&bench, pid));
    watch_release(bench.watch, NULL);
    other = watch_idler(&bench, later);
    idler_end(pid);
    idler_end(later);
    await_exits(&bench, 1);
    ck_assert_ptr_eq(bench.gone[0], other);
    watch_release(bench.watch, other);
    close_bench(&bench);
}
END_TEST

START_TEST(test_released_in_exited)
{
    struct bench bench;
    pid_t pid = idler_start(0);

    open_bench(&bench);
    bench.release = watch_idler(&bench, pid);
    idler_end(pid);
    await_exits(&bench, 1);
    ck_assert_ptr_null(bench.release);
    close_bench(&bench);
}
END_TEST

START_TEST(test_unknown_processes)
{
    static const pid_t junk[] = {0, -1, -4242, INT32_MIN};
    struct bench bench;
    struct watched *watched;
    pid_t pid = idler_start(0);

    open_bench(&bench);
    for (size_t i = 0; i < sizeof(junk) / sizeof(junk[0]); i++)
        ck_assert_int_eq(watch_process(bench.watch, junk[i], 0, &watched), -EINVAL);
    ck_assert_int_eq(watch_process(bench.watch, INT32_MAX, 0, &watched), -ESRCH);
    ck_assert_ptr_null(watched);
    idler_end(pid);
    ck_assert_int_eq(watch_process(bench.watch, pid, 0, &watched), -ESRCH);
    close_bench(&bench);
}
END_TEST

START_TEST(test_whose_process)
{
    bool root = getuid() == 0;
    struct bench bench;
    struct watched *watched;
    pid_t own = idler_start(0);
    pid_t other = root ? idler_start(OTHER_UID) : 1;
    uid_t stranger = OTHER_UID + 1;

    open_bench(&bench);
    ck_assert_int_eq(watch_process(bench.watch, own, stranger, &watched), -EPERM);
    ck_assert_ptr_null(watched);
    ck_assert_int_eq(watch_process(bench.watch, other, stranger, &watched), -EPERM);
    ck_assert_int_eq(watch_process(bench.watch, own, 0, &watched), 0);
    /* Whom somebody else watches already is no exception. */
    ck_assert_int_eq(watch_process(bench.watch, own, stranger, &(struct watched *){0}), -EPERM);
    watch_release(bench.watch, watched);
    if (root) {
        ck_assert_int_eq(watch_process(bench.watch, other, OTHER_UID, &watched), 0);
        watch_release(bench.watch, watched);
        ck_assert_int_eq(watch_process(bench.watch, other, 0, &watched), 0);
        watch_release(bench.watch, watched);
        idler_end(other);
    }
    idler_end(own);
    close_bench(&bench);
}
END_TEST

/* The former bearer of the pid is reported before the new one can be taken for it. */
START_TEST(test_reused_pid)
{
    struct bench bench;
    struct watched *former, *new;
    pid_t pid = idler_start(0);

    open_bench(&bench);
    former = watch_idler(&bench, pid);
    idler_end(pid);
    if (idler_start_as(pid) == pid) {
        ck_assert_int_eq(bench.count, 0);
        new = watch_idler(&bench, pid);
        ck_assert_ptr_ne(new, former);
        ck_assert_int_eq(bench.count, 1);
        ck_assert_ptr_eq(bench.gone[0], former);
        watch_release(bench.watch, former);
        idler_end(pid);
        await_exits(&bench, 2);
        ck_assert_ptr_eq(bench.gone[1], new);
        watch_release(bench.watch, new);
    } else {
        await_exits(&bench, 1);
        watch_release(bench.watch, former);
    }
    close_bench(&bench);
}
END_TEST

START_TEST(test_many_processes)
{
    enum { PROCESSES = 300 }; /* more than there are buckets */
    struct bench bench;
    struct watched *watched[PROCESSES];
    pid_t pids[PROCESSES];

    open_bench(&bench);
    for (int i = 0; i < PROCESSES; i++) {
        pids[i] = idler_start(0);
        watched[i] = watch_idler(&bench, pids[i]);
    }
    for (int i = 0; i < PROCESSES; i++) {
        if (i % 3 == 0)
            watch_release(bench.watch, watched[i]);
        idler_end(pids[i]);
    }
    await_exits(&bench, PROCESSES - PROCESSES / 3);
    for (int i = 0; i < PROCESSES; i++) {
        int times = 0;

        for (int at = 0; at < bench.count; at++)
            times += bench.pids[at] == pids[i];
        ck_assert_int_eq(times, i % 3 != 0);
        if (i % 3)
            watch_release(bench.watch, watched[i]);
    }
    close_bench(&bench);
}
END_TEST

START_TEST(test_no_descriptors)
{
    struct bench bench;
    struct watched *watched;
    pid_t pid = idler_start(0);

    open_bench(&bench);
    descriptors_limit(0);
    ck_assert_int_eq(watch_process(bench.watch, pid, 0, &watched), -EMFILE);
    ck_assert_ptr_null(watched);
    descriptors_unlimit();
    watched = watch_idler(&bench, pid);
    idler_end(pid);
    await_exits(&bench, 1);
    watch_release(bench.watch, watched);
    close_bench(&bench);
}
END_TEST

START_TEST(test_ends_with_processes_alive)
{
    struct bench bench;
    pid_t pid = idler_start(0);
    int descriptors = descriptors_open();

    open_bench(&bench);
    watch_idler(&bench, pid);
    close_bench(&bench);
    ck_assert_int_eq(descriptors_open(), descriptors);
    watch_deinit(NULL);
    idler_end(pid);
}
END_TEST

/* --- threads --- */

struct thread {
    pid_t id;
    sem_t begun, end;
};

static void *run_thread(void *argument)
{
    struct thread *thread = argument;

    thread->id = (pid_t)syscall(SYS_gettid);
    sem_post(&thread->begun);
    sem_wait(&thread->end);
    return NULL;
}

START_TEST(test_process_of)
{
    struct thread thread = {0};
    struct bench bench;
    struct watched *watched;
    pthread_t handle;
    pid_t pid = idler_start(0);

    open_bench(&bench);
    sem_init(&thread.begun, 0, 0);
    sem_init(&thread.end, 0, 0);
    ck_assert_int_eq(pthread_create(&handle, NULL, run_thread, &thread), 0);
    sem_wait(&thread.begun);
    ck_assert_int_ne(thread.id, getpid());
    ck_assert_int_eq(watch_process_of(thread.id), getpid());
    ck_assert_int_eq(watch_process_of(getpid()), getpid());
    ck_assert_int_eq(watch_process_of(pid), pid);
    /* A thread is nobody to watch. */
    ck_assert_int_eq(watch_process(bench.watch, thread.id, 0, &watched), -ESRCH);
    sem_post(&thread.end);
    pthread_join(handle, NULL);
    idler_end(pid);
    ck_assert_int_eq(watch_process_of(pid), 0);
    ck_assert_int_eq(watch_process_of(0), 0);
    ck_assert_int_eq(watch_process_of(-1), 0);
    close_bench(&bench);
}
END_TEST

/* --- deadlines --- */

enum { DEADLINES = 50 };

struct deadline {
    struct watch_deadline base; /* first: expired() gets it back */
    struct watch *watch;
    int *clock; /* of all of them: who came when */
    int when;   /* 0: not yet */
    struct deadline *clears;
    struct deadline *sets;
    bool late_enough;
};

static void expired(struct watch_deadline *base)
{
    struct deadline *deadline = (struct deadline *)base;

    ck_assert_int_eq(deadline->when, 0);
    ck_assert_ptr_null(base->next);
    deadline->when = ++*deadline->clock;
    deadline->late_enough = watch_now_ms() >= base->at_ms;
    if (deadline->clears)
        watch_deadline_clear(deadline->watch, &deadline->clears->base);
    if (deadline->sets)
        watch_deadline_set(deadline->watch, &deadline->sets->base, 1);
}

static struct deadline *set_deadlines(struct bench *bench, struct deadline deadlines[DEADLINES], int *clock,
                                      uint64_t delay)
{
    for (int i = 0; i < DEADLINES; i++) {
        deadlines[i] = (struct deadline){.watch = bench->watch, .clock = clock};
        deadlines[i].base.expired = expired;
        if (delay)
            watch_deadline_set(bench->watch, &deadlines[i].base, delay);
    }
    return &deadlines[DEADLINES - 1];
}

static bool has_expired(void *context)
{
    return ((const struct deadline *)context)->when != 0;
}

START_TEST(test_deadlines_in_order)
{
    struct deadline deadlines[DEADLINES];
    struct bench bench;
    int clock = 0;

    open_bench(&bench);
    loop_until(bench.loop, has_expired, set_deadlines(&bench, deadlines, &clock, 5));
    for (int i = 0; i < DEADLINES; i++) {
        ck_assert_int_eq(deadlines[i].when, i + 1);
        ck_assert(deadlines[i].late_enough);
        watch_deadline_clear(bench.watch, &deadlines[i].base); /* is none any more: nothing happens */
    }
    close_bench(&bench);
}
END_TEST

START_TEST(test_cleared_deadlines)
{
    struct deadline deadlines[DEADLINES];
    struct bench bench;
    struct deadline *last;
    int clock = 0;

    open_bench(&bench);
    last = set_deadlines(&bench, deadlines, &clock, 5);
    for (int i = 0; i < DEADLINES - 1; i++) {
        if (i % 5)
            watch_deadline_clear(bench.watch, &deadlines[i].base);
    }
    watch_deadline_clear(bench.watch, &deadlines[0].base); /* the one that the timer is set for */
    watch_deadline_clear(bench.watch, &deadlines[0].base);
    loop_until(bench.loop, has_expired, last);
    ck_assert_int_eq(clock, DEADLINES / 5);
    for (int i = 0; i < DEADLINES - 1; i++)
        ck_assert_int_eq(deadlines[i].when != 0, i % 5 == 0 && i != 0);

    /* All cleared, then set again: the timer is not forgotten. */
    last = set_deadlines(&bench, deadlines, &clock, 5);
    for (int i = 0; i < DEADLINES; i++)
        watch_deadline_clear(bench.watch, &deadlines[i].base);
    watch_deadline_set(bench.watch, &last->base, 1);
    loop_until(bench.loop, has_expired, last);
    ck_assert_int_eq(clock, DEADLINES / 5 + 1);
    close_bench(&bench);
}
END_TEST

START_TEST(test_deadlines_that_change_others)
{
    struct deadline deadlines[DEADLINES];
    struct bench bench;
    int clock = 0;

    open_bench(&bench);
    set_deadlines(&bench, deadlines, &clock, 0);
    watch_deadline_set(bench.watch, &deadlines[0].base, 2);
    watch_deadline_set(bench.watch, &deadlines[1].base, 2);
    watch_deadline_set(bench.watch, &deadlines[2].base, 2);
    deadlines[0].clears = &deadlines[1];
    deadlines[0].sets = &deadlines[3];
    deadlines[3].sets = &deadlines[1];
    loop_until(bench.loop, has_expired, &deadlines[1]);
    ck_assert_int_eq(deadlines[0].when, 1);
    ck_assert_int_eq(deadlines[2].when, 2);
    ck_assert_int_eq(deadlines[3].when, 3);
    ck_assert_int_eq(deadlines[1].when, 4);
    close_bench(&bench);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("watch");
    TCase *processes = tcase_create("processes");
    TCase *deadlines = tcase_create("deadlines");

    tcase_set_timeout(processes, 60);
    tcase_add_test(processes, test_exit);
    tcase_add_test(processes, test_zombie);
    tcase_add_test(processes, test_same_process_twice);
    tcase_add_test(processes, test_released_before_exit);
    tcase_add_test(processes, test_released_in_exited);
    tcase_add_test(processes, test_unknown_processes);
    tcase_add_test(processes, test_whose_process);
    tcase_add_test(processes, test_reused_pid);
    tcase_add_test(processes, test_many_processes);
    tcase_add_test(processes, test_no_descriptors);
    tcase_add_test(processes, test_ends_with_processes_alive);
    tcase_add_test(processes, test_process_of);
    suite_add_tcase(suite, processes);
    tcase_set_timeout(deadlines, 60);
    tcase_add_test(deadlines, test_deadlines_in_order);
    tcase_add_test(deadlines, test_cleared_deadlines);
    tcase_add_test(deadlines, test_deadlines_that_change_others);
    suite_add_tcase(suite, deadlines);
    return suite_run(suite);
}
