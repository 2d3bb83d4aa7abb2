// SPDX-License-Identifier: Apache-2.0
#include "base/background.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

struct queue {
    struct background_job *first;
    struct background_job *last;
};

/* What goes through the pipes. Both are smaller than PIPE_BUF, so they arrive whole or not at all. */
struct order {
    struct background_job *job;
};

struct report {
    struct background_job *job;
    enum background_progress progress;
};

struct background {
    pthread_t thread;
    int orders[2];  /* loop to thread; end of file ends the thread */
    int reports[2]; /* thread to loop */
    struct queue queues[BACKGROUND_PRIORITIES];
    unsigned count[BACKGROUND_PRIORITIES]; /* queued and running */
    struct background_job *running;
};

static void close_pipe(int ends[2])
{
    for (int i = 0; i < 2; i++) {
        if (ends[i] >= 0)
            close(ends[i]);
        ends[i] = -1;
    }
}

static ssize_t read_whole(int fd, void *buffer, size_t size)
{
    ssize_t got;

    do
        got = read(fd, buffer, size);
    while (got < 0 && errno == EINTR);
    return got;
}

/*
 * A write cannot fail while this process keeps both ends of the pipe, which holds far more than the one order
 * or report under way. If it does, some code closed descriptors that are not its own.
 */
static void write_whole(int fd, const void *buffer, size_t size)
{
    ssize_t put;

    do
        put = write(fd, buffer, size);
    while (put < 0 && errno == EINTR);
    if (put != (ssize_t)size)
        abort();
}

static void *thread_main(void *argument)
{
    const struct background *background = argument;
    int orders = background->orders[0];
    int reports = background->reports[1];
    struct order order;

    while (read_whole(orders, &order, sizeof(order)) == (ssize_t)sizeof(order)) {
        struct report report = {.job = order.job};
        report.progress = order.job->run(order.job);
        write_whole(reports, &report, sizeof(report));
    }
    return NULL;
}

/* Block all signals: the loop takes them, and one taken here would interrupt fallocate. */
static int start_thread(struct background *background)
{
    sigset_t all, before;
    int error;

    sigfillset(&all);
    error = pthread_sigmask(SIG_SETMASK, &all, &before);
    if (error)
        return -error;
    error = pthread_create(&background->thread, NULL, thread_main, background);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return -error;
}

int background_init(struct background **background)
{
    struct background *started = calloc(1, sizeof(*started));
    int error;

    *background = NULL;
    if (!started)
        return -ENOMEM;
    started->orders[0] = started->orders[1] = -1;
    started->reports[0] = started->reports[1] = -1;
    if (pipe2(started->orders, O_CLOEXEC) < 0 || pipe2(started->reports, O_CLOEXEC) < 0 ||
        fcntl(started->reports[0], F_SETFL, O_NONBLOCK) < 0)
        error = -errno;
    else
        error = start_thread(started);
    if (error) {
        close_pipe(started->reports);
        close_pipe(started->orders);
        free(started);
        return error;
    }
    *background = started;
    return 0;
}

static void push(struct background *background, struct background_job *job)
{
    struct queue *queue = &background->queues[job->priority];

    job->next = NULL;
    if (queue->last)
        queue->last->next = job;
    else
        queue->first = job;
    queue->last = job;
}

static struct background_job *pop(struct background *background)
{
    for (int priority = 0; priority < BACKGROUND_PRIORITIES; priority++) {
        struct queue *queue = &background->queues[priority];
        struct background_job *job = queue->first;
        if (!job)
            continue;
        queue->first = job->next;
        if (!queue->first)
            queue->last = NULL;
        job->next = NULL;
        return job;
    }
    return NULL;
}

static void hand_out(struct background *background)
{
    struct order order;

    if (background->running)
        return;
    background->running = order.job = pop(background);
    if (order.job)
        write_whole(background->orders[1], &order, sizeof(order));
}

int background_fd(const struct background *background)
{
    return background->reports[0];
}

void background_submit(struct background *background, struct background_job *job)
{
    background->count[job->priority]++;
    push(background, job);
    hand_out(background);
}

void background_dispatch(struct background *background)
{
    struct report report;

    while (read_whole(background->reports[0], &report, sizeof(report)) == (ssize_t)sizeof(report)) {
        struct background_job *job = report.job;
        background->running = NULL;
        switch (report.progress) {
        case BACKGROUND_AGAIN:
            push(background, job);
            break;
        case BACKGROUND_DONE:
            background->count[job->priority]--;
            /* Call done() before handing out the next job: it may submit a more urgent one. */
            job->done(job);
            break;
        }
        hand_out(background);
    }
}

void background_drain(struct background *background)
{
    while (background->running) {
        struct pollfd ready = {.fd = background->reports[0], .events = POLLIN};
        if (poll(&ready, 1, -1) < 0 && errno != EINTR)
            abort();
        background_dispatch(background);
    }
}

bool background_busy(const struct background *background, enum background_priority priority)
{
    return background->count[priority] > 0;
}

void background_deinit(struct background *background)
{
    if (!background)
        return;
    background_drain(background);
    close(background->orders[1]);
    background->orders[1] = -1;
    pthread_join(background->thread, NULL);
    close_pipe(background->reports);
    close_pipe(background->orders);
    free(background);
}
