// SPDX-License-Identifier: Apache-2.0
#include "base/deadline.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

struct deadlines {
    struct loop_source timer; /* first: ready() gets it back */
    struct loop *loop;
    TAILQ_HEAD(, deadline) list; /* the next to expire first */
};

uint64_t deadline_now_us(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

uint64_t deadline_now_ms(void)
{
    return deadline_now_us() / 1000;
}

/* The timer may be armed for a deadline that was cleared: it then fires once without effect. */
static void arm_timer(struct deadlines *deadlines)
{
    struct itimerspec when = {0};
    const struct deadline *first = TAILQ_FIRST(&deadlines->list);

    if (first) {
        when.it_value.tv_sec = (time_t)(first->at_ms / 1000);
        when.it_value.tv_nsec = (long)(first->at_ms % 1000) * 1000000;
    }
    timerfd_settime(deadlines->timer.fd, TFD_TIMER_ABSTIME, &when, NULL);
}

static void timer_ready(struct loop_source *source)
{
    struct deadlines *deadlines = (struct deadlines *)source;
    uint64_t now = deadline_now_ms();
    struct deadline *first;
    uint64_t ticks;

    if (read(source->fd, &ticks, sizeof(ticks)) < 0 && errno != EAGAIN)
        return;
    for (int told = 0; told < DEADLINES_A_TURN; told++) {
        first = TAILQ_FIRST(&deadlines->list);
        if (!first || first->at_ms > now)
            break;
        deadline_clear(first);
        first->expired(first);
    }
    arm_timer(deadlines); /* for the rest of those that are due it fires at once */
}

int deadline_init(struct deadlines **out, struct loop *loop)
{
    struct deadlines *deadlines = calloc(1, sizeof(*deadlines));
    int error;

    *out = NULL;
    if (!deadlines)
        return -ENOMEM;
    deadlines->loop = loop;
    TAILQ_INIT(&deadlines->list);
    deadlines->timer.ready = timer_ready;
    deadlines->timer.fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    error = deadlines->timer.fd < 0 ? -errno : loop_add(loop, &deadlines->timer);
    if (error < 0) {
        if (deadlines->timer.fd >= 0)
            close(deadlines->timer.fd);
        free(deadlines);
        return error;
    }
    *out = deadlines;
    return 0;
}

void deadline_deinit(struct deadlines *deadlines)
{
    if (!deadlines)
        return;
    loop_remove(deadlines->loop, &deadlines->timer);
    close(deadlines->timer.fd);
    free(deadlines);
}

void deadline_set(struct deadlines *deadlines, struct deadline *deadline, uint64_t delay_ms)
{
    deadline->at_ms = deadline_now_ms() + delay_ms;
    deadline->set = deadlines;
    TAILQ_INSERT_TAIL(&deadlines->list, deadline, link);
    if (TAILQ_FIRST(&deadlines->list) == deadline)
        arm_timer(deadlines);
}

void deadline_clear(struct deadline *deadline)
{
    if (!deadline->set)
        return;
    TAILQ_REMOVE(&deadline->set->list, deadline, link);
    deadline->set = NULL;
}
