// SPDX-License-Identifier: Apache-2.0
#include "files/drawing.h"

#include "base/container.h"
#include <errno.h>
#include <stdlib.h>

static bool is_true(const struct drawing *drawing, uint64_t changes)
{
    return changes == slots_changes(drawing->slots);
}

static void answer(struct drawing_waits *waits, int result, struct snapshot *text)
{
    struct drawing_wait *wait;

    while ((wait = LIST_FIRST(waits))) {
        LIST_REMOVE(wait, link);
        wait->ready(wait, result, text);
    }
}

static void forget_last(struct drawing *drawing)
{
    snapshot_forget(drawing->last);
    drawing->last = NULL;
}

static int begin(struct drawing *drawing)
{
    drawing->out = open_memstream(&drawing->text, &drawing->size);
    if (!drawing->out)
        return -ENOMEM;
    drawing->begun_at = slots_changes(drawing->slots);
    graph_begin(&drawing->graph, drawing->kind, drawing->slots, drawing->out);
    return 0;
}

static void finish(struct drawing *drawing)
{
    int result = fclose(drawing->out) == 0 ? 0 : -ENOMEM;
    struct snapshot *text = NULL;

    drawing->out = NULL;
    if (result == 0)
        text = snapshot_new(drawing->text, drawing->size);
    else
        free(drawing->text);
    drawing->text = NULL;
    if (!text)
        result = -ENOMEM;
    forget_last(drawing);
    if (text) {
        drawing->last = text;
        drawing->last_at = drawing->begun_at;
        drawing->last_size = snapshot_size(text);
    }
    answer(&drawing->waits, result, text);
    if (is_true(drawing, drawing->last_at))
        drawing_closed(drawing); /* the clients that waited may have been refused */
    else
        forget_last(drawing);
}

/* Begins the next picture, for the clients that came too late for the last one. */
static enum turn_progress begin_next(struct drawing *drawing)
{
    struct drawing_wait *wait;
    int result;

    while ((wait = LIST_FIRST(&drawing->later))) {
        LIST_REMOVE(wait, link);
        LIST_INSERT_HEAD(&drawing->waits, wait, link);
    }
    if (LIST_EMPTY(&drawing->waits))
        return TURN_DONE;
    result = begin(drawing);
    if (result < 0)
        answer(&drawing->waits, result, NULL);
    return result < 0 ? TURN_DONE : TURN_AGAIN;
}

static enum turn_progress take(struct turn *turn)
{
    struct drawing *drawing = container_of(turn, struct drawing, turn);

    if (graph_draw(&drawing->graph, drawing->slots, drawing->out))
        return TURN_AGAIN;
    finish(drawing);
    return begin_next(drawing);
}

static void give_up(struct turn *turn)
{
    struct drawing *drawing = container_of(turn, struct drawing, turn);

    fclose(drawing->out);
    free(drawing->text);
    drawing->out = NULL;
    answer(&drawing->waits, -ECANCELED, NULL);
    answer(&drawing->later, -ECANCELED, NULL);
}

void drawing_init(struct drawing *drawing, enum graph_kind kind, struct slots *slots,
                  struct turn_queue *turns)
{
    *drawing = (struct drawing){
        .turn = {.take = take, .give_up = give_up}, .kind = kind, .slots = slots, .turns = turns};
    LIST_INIT(&drawing->waits);
    LIST_INIT(&drawing->later);
}

void drawing_deinit(struct drawing *drawing)
{
    forget_last(drawing);
}

enum drawing_progress drawing_get(struct drawing *drawing, struct drawing_wait *wait)
{
    struct drawing_waits *waits = &drawing->waits;

    if (drawing->last && is_true(drawing, drawing->last_at)) {
        wait->ready(wait, 0, drawing->last);
        return DRAWING_READY;
    }
    if (!drawing->out) {
        int result = begin(drawing);

        if (result < 0) {
            wait->ready(wait, result, NULL);
            return DRAWING_READY;
        }
        turn_add(drawing->turns, &drawing->turn);
    } else if (!is_true(drawing, drawing->begun_at)) {
        waits = &drawing->later;
    }
    LIST_INSERT_HEAD(waits, wait, link);
    return DRAWING_LATER;
}

void drawing_cancel(struct drawing_wait *wait)
{
    LIST_REMOVE(wait, link);
}

size_t drawing_size(const struct drawing *drawing)
{
    return is_true(drawing, drawing->last_at) ? drawing->last_size : 0;
}

void drawing_closed(struct drawing *drawing)
{
    if (drawing->last && !snapshot_is_open(drawing->last))
        forget_last(drawing);
}
