// SPDX-License-Identifier: Apache-2.0
#include "base/turn.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

TAILQ_HEAD(turns, turn);

struct turn_queue {
    struct loop_source
        source; /* first: ready() gets it back; an eventfd that is readable while there is work */
    struct turns turns;
};

static void rouse(const struct turn_queue *queue)
{
    eventfd_write(queue->source.fd, 1);
}

static void ready(struct loop_source *source)
{
    struct turn_queue *queue = (struct turn_queue *)source;
    struct turn *turn = TAILQ_FIRST(&queue->turns);
    eventfd_t count;

    eventfd_read(source->fd, &count);
    if (!turn)
        return;
    TAILQ_REMOVE(&queue->turns, turn, link);
    if (turn->take(turn) == TURN_AGAIN)
        TAILQ_INSERT_TAIL(&queue->turns, turn, link);
    if (!TAILQ_EMPTY(&queue->turns))
        rouse(queue);
}

void turn_add(struct turn_queue *queue, struct turn *turn)
{
    TAILQ_INSERT_TAIL(&queue->turns, turn, link);
    rouse(queue);
}

void turn_remove(struct turn_queue *queue, struct turn *turn)
{
    TAILQ_REMOVE(&queue->turns, turn, link);
}

int turn_queue_init(struct turn_queue **out, struct loop *loop)
{
    struct turn_queue *queue = calloc(1, sizeof(*queue));
    int result;

    *out = NULL;
    if (!queue)
        return -ENOMEM;
    TAILQ_INIT(&queue->turns);
    queue->source.ready = ready;
    queue->source.fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    result = queue->source.fd < 0 ? -errno : loop_add(loop, &queue->source);
    if (result < 0) {
        turn_queue_deinit(queue, loop);
        return result;
    }
    *out = queue;
    return 0;
}

void turn_queue_deinit(struct turn_queue *queue, struct loop *loop)
{
    struct turn *turn;

    if (!queue)
        return;
    while ((turn = TAILQ_FIRST(&queue->turns))) {
        TAILQ_REMOVE(&queue->turns, turn, link);
        turn->give_up(turn);
    }
    if (queue->source.fd >= 0) {
        loop_remove(loop, &queue->source);
        close(queue->source.fd);
    }
    free(queue);
}
