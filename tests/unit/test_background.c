// SPDX-License-Identifier: Apache-2.0
/*
 * test_background.c - the helper thread: order, priorities, chunks, and that nothing is lost at the end.
 */
#include "base/background.h"

#include "descriptors.h"
#include "suite.h"
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <string.h>

enum { LOG_MAX = 64 };

struct bench {
    struct background *background;
    pthread_t loop;
    char log[LOG_MAX]; /* the names of jobs as done() is called */
    size_t logged;
};

struct probe {
    struct background_job job;
    struct bench *bench;
    char name;
    int chunks; /* left */
    int runs;
    bool in_loop;       /* run() was called in the loop's thread */
    bool takes_signals; /* run() could be interrupted */
    sem_t *started;     /* posted by run() */
    sem_t *gate;        /* waited for by run() */
    struct probe *then; /* submitted by done() */
};

static enum background_progress run(struct background_job *job)
{
    struct probe *probe = (struct probe *)job;
    sigset_t blocked;

    probe->runs++;
    probe->in_loop = pthread_equal(pthread_self(), probe->bench->loop);
    pthread_sigmask(SIG_SETMASK, NULL, &blocked);
    probe->takes_signals = !sigismember(&blocked, SIGTERM) || !sigismember(&blocked, SIGCHLD);
    if (probe->started)
        sem_post(probe->started);
    if (probe->gate)
        sem_wait(probe->gate);
    return --probe->chunks > 0 ? BACKGROUND_AGAIN : BACKGROUND_DONE;
}

static void done(struct background_job *job)
{
    struct probe *probe = (struct probe *)job;
    struct bench *bench = probe->bench;

    ck_assert(pthread_equal(pthread_self(), bench->loop));
    if (bench->logged < LOG_MAX - 1)
        bench->log[bench->logged++] = probe->name;
    if (probe->then)
        background_submit(bench->background, &probe->then->job);
}

static struct probe make(struct bench *bench, char name, enum background_priority priority, int chunks)
{
    return (struct probe){.job = {.run = run, .done = done, .priority = priority},
                          .bench = bench,
                          .name = name,
                          .chunks = chunks};
}

static struct bench open_bench(void)
{
    struct bench bench = {.loop = pthread_self()};

    ck_assert_int_eq(background_init(&bench.background), 0);
    return bench;
}

static void submit(struct probe *probe)
{
    background_submit(probe->bench->background, &probe->job);
}

/* Sleeps until there is a report, then dispatches, as the loop does. */
static void dispatch_once(struct bench *bench)
{
    struct pollfd ready = {.fd = background_fd(bench->background), .events = POLLIN};

    ck_assert_int_eq(poll(&ready, 1, 10000), 1);
    background_dispatch(bench->background);
}

START_TEST(test_runs_elsewhere_and_reports_here)
{
    struct bench bench = open_bench();
    struct probe probe = make(&bench, 'a', BACKGROUND_URGENT, 1);

    ck_assert(!background_busy(bench.background, BACKGROUND_URGENT));
    submit(&probe);
    ck_assert(background_busy(bench.background, BACKGROUND_URGENT));
    ck_assert(!background_busy(bench.background, BACKGROUND_IDLE));
    dispatch_once(&bench);
    ck_assert(!background_busy(bench.background, BACKGROUND_URGENT));
    ck_assert_str_eq(bench.log, "a");
    ck_assert_int_eq(probe.runs, 1);
    ck_assert(!probe.in_loop);
    ck_assert(!probe.takes_signals);
    background_deinit(bench.background);
}
END_TEST

START_TEST(test_nothing_to_dispatch)
{
    struct bench bench = open_bench();
    struct pollfd ready = {.fd = background_fd(bench.background), .events = POLLIN};

    background_dispatch(bench.background);
    background_drain(bench.background);
    ck_assert_int_eq(poll(&ready, 1, 0), 0);
    background_deinit(bench.background);
    background_deinit(NULL);
}
END_TEST

START_TEST(test_urgent_first_then_in_order)
{
    struct bench bench = open_bench();
    sem_t gate;
    struct probe first = make(&bench, '-', BACKGROUND_IDLE, 1);
    struct probe probes[6];
    static const char names[] = "abcDEF";

    sem_init(&gate, 0, 0);
    first.gate = &gate;
    submit(&first);
    for (int i = 0; i < 6; i++) {
        probes[i] = make(&bench, names[i], i < 3 ? BACKGROUND_IDLE : BACKGROUND_URGENT, 1);
        submit(&probes[i]);
    }
    sem_post(&gate);
    background_drain(bench.background);
    ck_assert_str_eq(bench.log, "-DEFabc");
    background_deinit(bench.background);
}
END_TEST

/* Large work is cut into chunks, so that an urgent job waits for at most one of them. */
START_TEST(test_urgent_between_chunks)
{
    struct bench bench = open_bench();
    sem_t gate, started;
    struct probe slow = make(&bench, 's', BACKGROUND_IDLE, 4);
    struct probe quick = make(&bench, 'q', BACKGROUND_URGENT, 1);

    sem_init(&gate, 0, 0);
    sem_init(&started, 0, 0);
    slow.gate = &gate;
    slow.started = &started;
    submit(&slow);
    sem_wait(&started);
    submit(&quick);
    sem_post(&gate);
    while (!bench.logged)
        dispatch_once(&bench);
    ck_assert_str_eq(bench.log, "q");
    ck_assert(background_busy(bench.background, BACKGROUND_IDLE));
    for (int i = 0; i < 3; i++)
        sem_post(&gate);
    background_drain(bench.background);
    ck_assert_str_eq(bench.log, "qs");
    ck_assert_int_eq(slow.runs, 4);
    background_deinit(bench.background);
}
END_TEST

START_TEST(test_chunks_of_equals_take_turns)
{
    struct bench bench = open_bench();
    sem_t gate;
    struct probe large = make(&bench, 'l', BACKGROUND_URGENT, 3);
    struct probe small = make(&bench, 's', BACKGROUND_URGENT, 1);

    sem_init(&gate, 0, 3);
    large.gate = &gate;
    submit(&large);
    submit(&small);
    background_drain(bench.background);
    ck_assert_str_eq(bench.log, "sl");
    background_deinit(bench.background);
}
END_TEST

START_TEST(test_done_submits_more)
{
    struct bench bench = open_bench();
    struct probe a = make(&bench, 'a', BACKGROUND_URGENT, 1);
    struct probe b = make(&bench, 'b', BACKGROUND_URGENT, 2);
    struct probe idle = make(&bench, 'i', BACKGROUND_IDLE, 1);

    a.then = &b;
    submit(&a);
    submit(&idle);
    background_drain(bench.background);
    ck_assert_str_eq(bench.log, "abi");
    background_deinit(bench.background);
}
END_TEST

static void done_and_free(struct background_job *job)
{
    struct probe *probe = (struct probe *)job;

    probe->bench->logged++;
    free(probe);
}

START_TEST(test_done_owns_the_job)
{
    struct bench bench = open_bench();

    for (int i = 0; i < 10000; i++) {
        struct probe *probe = malloc(sizeof(*probe));
        ck_assert_ptr_nonnull(probe);
        *probe = make(&bench, 'x', i % 3 ? BACKGROUND_IDLE : BACKGROUND_URGENT, 1 + i % 2);
        probe->job.done = done_and_free;
        submit(probe);
        if (i % 7 == 0)
            background_dispatch(bench.background);
    }
    background_drain(bench.background);
    ck_assert_uint_eq(bench.logged, 10000);
    background_deinit(bench.background);
}
END_TEST

START_TEST(test_deinit_runs_what_is_queued)
{
    struct bench bench = open_bench();
    struct probe probes[3];

    for (int i = 0; i < 3; i++) {
        probes[i] = make(&bench, (char)('a' + i), BACKGROUND_IDLE, 2);
        submit(&probes[i]);
    }
    background_deinit(bench.background);
    ck_assert_str_eq(bench.log, "abc");
}
END_TEST

START_TEST(test_leaves_no_descriptors)
{
    struct background *background;
    int before = descriptors_open();

    for (int i = 0; i < 50; i++) {
        ck_assert_int_eq(background_init(&background), 0);
        background_deinit(background);
    }
    for (int left = 0; left < 4; left++) {
        descriptors_limit(left);
        ck_assert_int_eq(background_init(&background), -EMFILE);
        ck_assert_ptr_null(background);
        descriptors_unlimit();
    }
    ck_assert_int_eq(descriptors_open(), before);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("background");
    TCase *tcase = tcase_create("background");

    tcase_add_test(tcase, test_runs_elsewhere_and_reports_here);
    tcase_add_test(tcase, test_nothing_to_dispatch);
    tcase_add_test(tcase, test_urgent_first_then_in_order);
    tcase_add_test(tcase, test_urgent_between_chunks);
    tcase_add_test(tcase, test_chunks_of_equals_take_turns);
    tcase_add_test(tcase, test_done_submits_more);
    tcase_add_test(tcase, test_done_owns_the_job);
    tcase_add_test(tcase, test_deinit_runs_what_is_queued);
    tcase_add_test(tcase, test_leaves_no_descriptors);
    tcase_set_timeout(tcase, 60);
    suite_add_tcase(suite, tcase);
    return suite_run(suite);
}
