// SPDX-License-Identifier: Apache-2.0
/*
 * test_process.c - bonds are told when a process exits, and threads belong to processes.
 */
#include "base/process.h"

#include "descriptors.h"
#include "process_fixture.h"
#include "suite.h"
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/utsname.h>

enum { OTHER_UID = 4242, BONDS = 400 };

/* Something bound to a process. */
struct dependent {
    struct process_bond bond; /* first: exited() gets it back */
    int when;                 /* 0: not told yet */
    int turn;                 /* of the loop, in which it was told */
    struct dependent *undoes;
};

struct bench {
    struct loop *loop;
    struct processes *processes;
    struct dependent dependents[BONDS];
    int count; /* of those that were told */
    int awaited;
    int turns; /* of a struct turner, which has one in each pass of the loop */
};

static void exited(void *context, struct process_bond *bond)
{
    struct bench *bench = context;
    struct dependent *dependent = (struct dependent *)bond;

    ck_assert_int_eq(dependent->when, 0);
    ck_assert_ptr_null(bond->process);
    dependent->when = ++bench->count;
    dependent->turn = bench->turns;
    if (dependent->undoes)
        process_unbind(&dependent->undoes->bond);
}

static struct bench *open_bench(void)
{
    struct bench *bench = calloc(1, sizeof(*bench));

    ck_assert_ptr_nonnull(bench);
    ck_assert_int_eq(loop_init(&bench->loop), 0);
    ck_assert_int_eq(process_init(&bench->processes, bench->loop, bench), 0);
    return bench;
}

static void close_bench(struct bench *bench)
{
    process_deinit(bench->processes);
    loop_deinit(bench->loop);
    free(bench);
}

static bool told(void *context)
{
    struct bench *bench = context;

    return bench->count >= bench->awaited;
}

static void await_exits(struct bench *bench, int count)
{
    bench->awaited = count;
    loop_until(bench->loop, told, bench);
    ck_assert_int_eq(bench->count, count);
}

static int bind_as(struct bench *bench, int i, pid_t pid, uid_t uid)
{
    return process_bind(bench->processes, &bench->dependents[i].bond, pid, uid, exited);
}

static void bind_to(struct bench *bench, int i, pid_t pid)
{
    ck_assert_int_eq(bind_as(bench, i, pid, getuid()), 0);
    ck_assert_ptr_nonnull(bench->dependents[i].bond.process);
}

/* --- exits --- */

START_TEST(test_exit)
{
    struct bench *bench = open_bench();
    pid_t one = idler_start(0), two = idler_start(0);
    int descriptors = descriptors_open();

    bind_to(bench, 1, one);
    bind_to(bench, 2, two);
    idler_end(two);
    await_exits(bench, 1);
    ck_assert_int_eq(bench->dependents[2].when, 1);
    idler_end(one);
    await_exits(bench, 2);
    ck_assert_int_eq(bench->dependents[1].when, 2);
    ck_assert_int_eq(descriptors_open(), descriptors);
    close_bench(bench);
}
END_TEST

/* A zombie still has its pid, but waiting for it would mean waiting for its parent. */
START_TEST(test_zombie)
{
    struct bench *bench = open_bench();
    pid_t pid = idler_start(0);

    bind_to(bench, 0, pid);
    idler_kill(pid);
    ck_assert_int_eq(bind_as(bench, 1, pid, getuid()), -ESRCH);
    ck_assert_int_eq(bind_as(bench, 1, pid, 0), -ESRCH);
    ck_assert_ptr_null(bench->dependents[1].bond.process);
    await_exits(bench, 1);
    idler_bury(pid);
    close_bench(bench);
}
END_TEST

/* /proc tells how it ended until its parent has waited for it; then the pidfd does, from Linux 6.15 on. */
START_TEST(test_status)
{
    struct bench *bench = open_bench();
    pid_t zombie = idler_start(0), buried = idler_start(0);
    int major = 0, minor = 0;
    struct utsname kernel;

    ck_assert_int_eq(uname(&kernel), 0);
    ck_assert_int_eq(sscanf(kernel.release, "%d.%d", &major, &minor), 2);
    bind_to(bench, 0, zombie);
    idler_kill(zombie);
    await_exits(bench, 1);
    ck_assert_int_eq(bench->dependents[0].bond.status, SIGKILL);
    idler_bury(zombie);
    bind_to(bench, 1, buried);
    idler_end(buried);
    await_exits(bench, 2);
    ck_assert_int_eq(bench->dependents[1].bond.status,
                     major > 6 || (major == 6 && minor >= 15) ? SIGKILL : PROCESS_STATUS_UNKNOWN);
    close_bench(bench);
}
END_TEST

START_TEST(test_many_bonds_of_one_process)
{
    struct bench *bench = open_bench();
    pid_t pid = idler_start(0);
    int descriptors;

    bind_to(bench, 0, pid);
    descriptors = descriptors_open();
    bind_to(bench, 1, pid);
    bind_to(bench, 1, pid); /* again: one bond all the same */
    bind_to(bench, 2, pid);
    ck_assert_ptr_eq(bench->dependents[1].bond.process, bench->dependents[0].bond.process);
    ck_assert_int_eq(descriptors_open(), descriptors);
    process_unbind(&bench->dependents[0].bond);
    process_unbind(&bench->dependents[0].bond);
    idler_end(pid);
    await_exits(bench, 2);
    ck_assert_int_eq(bench->dependents[1].when, 1);
    ck_assert_int_eq(bench->dependents[2].when, 2);
    close_bench(bench);
}
END_TEST

START_TEST(test_unbound_before_exit)
{
    struct bench *bench = open_bench();
    pid_t pid = idler_start(0), later = idler_start(0);
    int descriptors = descriptors_open();

    bind_to(bench, 0, pid);
    process_unbind(&bench->dependents[0].bond);
    ck_assert_int_eq(descriptors_open(), descriptors);
    bind_to(bench, 0, pid);
    bind_to(bench, 0, later); /* and no longer to pid */
    idler_end(pid);
    idler_end(later);
    await_exits(bench, 1);
    ck_assert_int_eq(descriptors_open(), descriptors);
    close_bench(bench);
}
END_TEST

/* A bond that cannot be made leaves the old one in place. */
START_TEST(test_refused_bond)
{
    struct bench *bench = open_bench();
    pid_t pid = idler_start(0);

    bind_to(bench, 0, pid);
    ck_assert_int_eq(bind_as(bench, 0, INT32_MAX, 0), -ESRCH);
    ck_assert_ptr_nonnull(bench->dependents[0].bond.process);
    idler_end(pid);
    await_exits(bench, 1);
    close_bench(bench);
}
END_TEST

/* exited() may undo the next bond of the same process, the last one included. */
START_TEST(test_undone_by_another)
{
    struct bench *bench = open_bench();
    pid_t pid = idler_start(0);
    int descriptors = descriptors_open();

    for (int i = 0; i < 4; i++)
        bind_to(bench, i, pid);
    bench->dependents[0].undoes = &bench->dependents[1];
    bench->dependents[2].undoes = &bench->dependents[3];
    idler_end(pid);
    await_exits(bench, 2);
    ck_assert_int_eq(bench->dependents[0].when, 1);
    ck_assert_int_eq(bench->dependents[1].when, 0);
    ck_assert_int_eq(bench->dependents[2].when, 2);
    ck_assert_int_eq(bench->dependents[3].when, 0);
    ck_assert_int_eq(descriptors_open(), descriptors);
    close_bench(bench);
}
END_TEST

struct turner {
    struct loop_source source; /* first: ready() gets it back */
    struct bench *bench;
};

static void take_turn(struct loop_source *source)
{
    ((struct turner *)source)->bench->turns++;
}

/* We tell the bonds of one process in turns, and the loop serves others in between. */
START_TEST(test_turns)
{
    struct turner turner = {.bench = open_bench()};
    struct bench *bench = turner.bench;
    pid_t pid = idler_start(0);
    int always[2];

    ck_assert_int_eq(pipe(always), 0);
    ck_assert_int_eq(write(always[1], "x", 1), 1);
    turner.source.fd = always[0];
    turner.source.ready = take_turn;
    ck_assert_int_eq(loop_add(bench->loop, &turner.source), 0);
    for (int i = 0; i < BONDS; i++)
        bind_to(bench, i, pid);
    idler_end(pid);
    await_exits(bench, BONDS);
    for (int i = PROCESS_BONDS_A_TURN; i < BONDS; i++)
        ck_assert_int_gt(bench->dependents[i].turn, bench->dependents[i - PROCESS_BONDS_A_TURN].turn);
    loop_remove(bench->loop, &turner.source);
    close(always[0]);
    close(always[1]);
    close_bench(bench);
}
END_TEST

/* A process does not inherit the bonds of an earlier one with its pid. */
START_TEST(test_reused_pid)
{
    struct bench *bench = open_bench();
    pid_t pid = idler_start(0);

    bind_to(bench, 0, pid);
    idler_end(pid);
    if (idler_start_as(pid) == pid) {
        bind_to(bench, 1, pid);
        ck_assert_ptr_ne(bench->dependents[0].bond.process, bench->dependents[1].bond.process);
        ck_assert_int_eq(bench->count, 0);
        await_exits(bench, 1);
        ck_assert_int_eq(bench->dependents[0].when, 1);
        idler_end(pid);
        await_exits(bench, 2);
    } else {
        await_exits(bench, 1);
    }
    close_bench(bench);
}
END_TEST

START_TEST(test_many_processes)
{
    enum { PROCESSES = 300 }; /* more than there are buckets */
    struct bench *bench = open_bench();
    pid_t pids[PROCESSES];

    for (int i = 0; i < PROCESSES; i++) {
        pids[i] = idler_start(0);
        bind_to(bench, i, pids[i]);
    }
    for (int i = 0; i < PROCESSES; i++) {
        if (i % 3 == 0)
            process_unbind(&bench->dependents[i].bond);
        idler_end(pids[i]);
    }
    await_exits(bench, PROCESSES - PROCESSES / 3);
    for (int i = 0; i < PROCESSES; i++)
        ck_assert_int_eq(bench->dependents[i].when != 0, i % 3 != 0);
    close_bench(bench);
}
END_TEST

START_TEST(test_no_descriptors)
{
    struct bench *bench = open_bench();
    pid_t pid = idler_start(0);

    descriptors_limit(0);
    ck_assert_int_eq(bind_as(bench, 0, pid, 0), -EMFILE);
    ck_assert_ptr_null(bench->dependents[0].bond.process);
    descriptors_unlimit();
    bind_to(bench, 0, pid);
    idler_end(pid);
    await_exits(bench, 1);
    close_bench(bench);
}
END_TEST

START_TEST(test_ends_with_processes_alive)
{
    struct bench *bench;
    pid_t pid = idler_start(0), dead = idler_start(0);
    int descriptors = descriptors_open();

    bench = open_bench();
    bind_to(bench, 0, pid);
    bind_to(bench, 1, dead);
    idler_end(dead);
    close_bench(bench);
    ck_assert_int_eq(descriptors_open(), descriptors);
    process_deinit(NULL);
    idler_end(pid);
}
END_TEST

/* --- whose process --- */

START_TEST(test_unknown_processes)
{
    static const pid_t junk[] = {0, -1, -4242, INT32_MIN};
    struct bench *bench = open_bench();
    pid_t pid = idler_start(0);

    for (size_t i = 0; i < sizeof(junk) / sizeof(junk[0]); i++)
        ck_assert_int_eq(bind_as(bench, 0, junk[i], 0), -EINVAL);
    ck_assert_int_eq(bind_as(bench, 0, INT32_MAX, 0), -ESRCH);
    idler_end(pid);
    ck_assert_int_eq(bind_as(bench, 0, pid, 0), -ESRCH);
    close_bench(bench);
}
END_TEST

START_TEST(test_whose_process)
{
    bool root = getuid() == 0;
    struct bench *bench = open_bench();
    pid_t own = idler_start(0);
    pid_t other = root ? idler_start(OTHER_UID) : 1;
    uid_t stranger = OTHER_UID + 1;

    ck_assert_int_eq(bind_as(bench, 0, own, stranger), -EPERM);
    ck_assert_ptr_null(bench->dependents[0].bond.process);
    ck_assert_int_eq(bind_as(bench, 0, other, stranger), -EPERM);
    ck_assert_int_eq(bind_as(bench, 0, own, 0), 0);
    /* This holds for a process with bonds as well. */
    ck_assert_int_eq(bind_as(bench, 1, own, stranger), -EPERM);
    if (root) {
        ck_assert_int_eq(bind_as(bench, 2, other, OTHER_UID), 0);
        ck_assert_int_eq(bind_as(bench, 3, other, 0), 0);
        idler_end(other);
    } else {
        fprintf(stderr, "SKIPPED [1] only root can start processes of other users\n");
    }
    idler_end(own);
    close_bench(bench);
}
END_TEST

/* --- threads --- */

START_TEST(test_process_of_thread)
{
    struct idle_thread thread;
    struct bench *bench = open_bench();
    pid_t pid = idler_start(0);

    idle_thread_start(&thread);
    ck_assert_int_ne(thread.id, getpid());
    ck_assert_int_eq(process_of_thread(thread.id), getpid());
    ck_assert_int_eq(process_of_thread(getpid()), getpid());
    ck_assert_int_eq(process_of_thread(pid), pid);
    /* Nothing can be bound to a thread. */
    ck_assert_int_eq(bind_as(bench, 0, thread.id, 0), -ESRCH);
    idle_thread_end(&thread);
    idler_end(pid);
    ck_assert_int_eq(process_of_thread(pid), 0);
    ck_assert_int_eq(process_of_thread(0), 0);
    ck_assert_int_eq(process_of_thread(-1), 0);
    close_bench(bench);
}
END_TEST

/* Forks a child into a pid namespace below this one. Returns its pid here, or 0 if that cannot be had. */
static pid_t start_below(void)
{
    int ready[2];
    pid_t outer, pid = 0;

    ck_assert_int_eq(pipe(ready), 0);
    outer = fork();
    ck_assert_int_ge(outer, 0);
    if (outer == 0) {
        /* Only children live in there. */
        if (unshare(CLONE_NEWPID) < 0 && unshare(CLONE_NEWUSER | CLONE_NEWPID) < 0)
            _exit(1);
        pid = fork();
        if (pid == 0)
            for (;;)
                pause();
        _exit(write(ready[1], &pid, sizeof(pid)) != sizeof(pid));
    }
    close(ready[1]);
    if (read(ready[0], &pid, sizeof(pid)) != sizeof(pid))
        pid = 0;
    close(ready[0]);
    idler_bury(outer);
    return pid;
}

/* A chain of processes below this one, in a group that is named as the first of them. The last one tells its pid. */
static pid_t start_chain(int depth, pid_t *last)
{
    int told[2];
    pid_t first;

    ck_assert_int_eq(pipe(told), 0);
    first = fork();
    ck_assert_int_ge(first, 0);
    if (first == 0) {
        setpgid(0, 0);
        while (--depth > 0 && fork() == 0)
            continue;
        first = getpid();
        if (depth == 0 && write(told[1], &first, sizeof(first)) != sizeof(first))
            _exit(1);
        for (;;)
            pause();
    }
    ck_assert_int_eq(read(told[0], last, sizeof(*last)), sizeof(*last));
    close(told[0]);
    close(told[1]);
    return first;
}

static void end_chain(pid_t first)
{
    ck_assert_int_eq(kill(-first, SIGKILL), 0);
}

START_TEST(test_descent)
{
    pid_t stranger = idler_start(0), last, first = start_chain(5, &last);

    ck_assert(process_descends_from(last, last));
    ck_assert(process_descends_from(last, first));
    ck_assert(process_descends_from(last, getpid()));
    ck_assert(process_descends_from(stranger, getpid()));
    ck_assert(!process_descends_from(first, last));
    ck_assert(!process_descends_from(last, stranger));
    ck_assert(!process_descends_from(getpid(), first));
    ck_assert(!process_descends_from(0, getpid()));
    ck_assert(!process_descends_from(last, 0));
    ck_assert(!process_descends_from(0, 0));
    /* A process whose parent has ended has another one. */
    idler_end(first);
    ck_assert(!process_descends_from(last, first));
    ck_assert(!process_descends_from(last, getpid()));
    end_chain(first);
    idler_end(stranger);
    ck_assert(!process_descends_from(stranger, getpid()));
    /* So many generations are looked at, and no more. */
    first = start_chain(PROCESS_ANCESTORS_MAX, &last);
    ck_assert(process_descends_from(last, first));
    ck_assert(!process_descends_from(last, getpid()));
    end_chain(first);
    idler_bury(first);
}
END_TEST

/* Whether a process counts pids as we do. */
START_TEST(test_pid_namespaces)
{
    pid_t pid = idler_start(0);
    pid_t below = start_below();

    ck_assert(process_shares_pids(getpid()));
    ck_assert(process_shares_pids(pid));
    ck_assert(!process_shares_pids(0));
    if (below) {
        ck_assert(!process_shares_pids(below));
        ck_assert_int_eq(process_of_thread(below), below);
        ck_assert_int_eq(kill(below, SIGKILL), 0);
    } else {
        fprintf(stderr, "SKIPPED [1] no pid namespace can be made here\n");
    }
    idler_end(pid);
    ck_assert(!process_shares_pids(pid));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("process");
    TCase *exits = tcase_create("exits");
    TCase *whose = tcase_create("whose process");

    tcase_set_timeout(exits, 60);
    tcase_add_test(exits, test_exit);
    tcase_add_test(exits, test_zombie);
    tcase_add_test(exits, test_status);
    tcase_add_test(exits, test_many_bonds_of_one_process);
    tcase_add_test(exits, test_unbound_before_exit);
    tcase_add_test(exits, test_refused_bond);
    tcase_add_test(exits, test_undone_by_another);
    tcase_add_test(exits, test_turns);
    tcase_add_test(exits, test_reused_pid);
    tcase_add_test(exits, test_many_processes);
    tcase_add_test(exits, test_no_descriptors);
    tcase_add_test(exits, test_ends_with_processes_alive);
    suite_add_tcase(suite, exits);
    tcase_set_timeout(whose, 60);
    tcase_add_test(whose, test_unknown_processes);
    tcase_add_test(whose, test_whose_process);
    tcase_add_test(whose, test_process_of_thread);
    tcase_add_test(whose, test_descent);
    tcase_add_test(whose, test_pid_namespaces);
    suite_add_tcase(suite, whose);
    process_open_proc(); /* for the whole program: no test counts its descriptor */
    return suite_run(suite);
}
