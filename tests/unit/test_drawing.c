// SPDX-License-Identifier: Apache-2.0
/*
 * test_drawing.c - all readers of one state share a text, drawn in turns, on the account of each user.
 */
#include "files/drawing.h"

#include "base/container.h"
#include "exchange_fixture.h"
#include "suite.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { USER = 1000, OTHER = 1001 };

struct reader {
    struct drawing_wait wait;
    struct table *table;
    uid_t uid;
    int calls;
    int result;
    struct snapshot *text; /* on the account of uid */
};

/* A table of many slots, and its drawing. */
struct table {
    struct world world;
    struct turn_queue *turns;
    struct drawing drawing;
    struct quota *quota;
    uint64_t limit;
    struct turn stopper; /* ends loop_run after each turn of the drawing */
};

static enum turn_progress stop(struct turn *turn)
{
    struct table *table = container_of(turn, struct table, stopper);

    loop_stop(table->world.loop, 0);
    return TURN_AGAIN;
}

static void do_nothing(struct turn *turn)
{
    (void)turn;
}

static void table_begin(struct table *table, uint32_t slots)
{
    struct world_options options = world_defaults();

    options.slots_max = slots + 10;
    memset(table, 0, sizeof(*table));
    ck_assert(world_try_begin(&table->world, &options));
    for (uint32_t i = 0; i < slots; i++) {
        char name[16];

        snprintf(name, sizeof(name), "s%u", i);
        world_slot(&table->world, name);
    }
    table->quota = quota_new();
    ck_assert_int_eq(turn_queue_init(&table->turns, table->world.loop), 0);
    drawing_init(&table->drawing, GRAPH_DOT, table->world.slots, table->turns);
    table->stopper = (struct turn){.take = stop, .give_up = do_nothing};
}

static void table_end(struct table *table)
{
    turn_queue_deinit(table->turns, table->world.loop);
    drawing_deinit(&table->drawing);
    quota_free(table->quota);
    world_end(&table->world);
}

static void take(struct drawing_wait *wait, int result, struct snapshot *text)
{
    struct reader *reader = container_of(wait, struct reader, wait);

    reader->calls++;
    if (result == 0)
        result = snapshot_take(text, reader->table->quota, reader->uid, reader->table->limit);
    reader->result = result;
    reader->text = result == 0 ? text : NULL;
}

static void reader_open(struct reader *reader, struct table *table, uid_t uid)
{
    *reader = (struct reader){.wait.ready = take, .table = table, .uid = uid};
    drawing_get(&table->drawing, &reader->wait);
}

static void reader_close(struct reader *reader)
{
    ck_assert_ptr_nonnull(reader->text);
    snapshot_drop(reader->text, reader->table->quota, reader->uid);
    reader->text = NULL;
    drawing_closed(&reader->table->drawing);
}

/* The drawing has n turns, each followed by one of the stopper. */
static void turns(struct table *table, int n)
{
    turn_add(table->turns, &table->stopper);
    for (int i = 0; i < n; i++)
        ck_assert_int_eq(loop_run(table->world.loop), 0);
    turn_remove(table->turns, &table->stopper);
}

static void finish(struct table *table, const struct reader *reader)
{
    for (int i = 0; i < 10000 && !reader->calls; i++)
        turns(table, 1);
    ck_assert_int_eq(reader->calls, 1);
}

static bool says(const struct reader *reader, const char *part)
{
    size_t size = snapshot_size(reader->text);
    char *text = calloc(1, size + 1);
    bool found;

    ck_assert_uint_eq(snapshot_read(reader->text, text, size, 0), size);
    found = strstr(text, part) != NULL;
    free(text);
    return found;
}

START_TEST(test_shared)
{
    struct reader first, second, third;
    struct table table;

    table_begin(&table, 3 * GRAPH_PIECE);
    ck_assert_uint_eq(drawing_size(&table.drawing), 0);
    reader_open(&first, &table, USER);
    ck_assert_int_eq(first.calls, 0);
    turns(&table, 2);
    ck_assert_int_eq(first.calls, 0); /* more than one turn: others are served in between */
    reader_open(&second, &table, OTHER);
    finish(&table, &first);
    ck_assert_int_eq(second.calls, 1);
    ck_assert_ptr_eq(first.text, second.text);
    ck_assert(says(&first, "label=\"s0\\n") && says(&first, "label=\"s383\\n"));

    /* The state is the same, so the text is there, and so is its size. */
    ck_assert_uint_eq(drawing_size(&table.drawing), snapshot_size(first.text));
    reader_open(&third, &table, USER);
    ck_assert_ptr_eq(third.text, first.text);
    reader_close(&first);
    reader_close(&second);
    ck_assert_ptr_eq(table.drawing.last, third.text);
    reader_close(&third);
    ck_assert_ptr_null(table.drawing.last); /* no reader has it: it is freed, and its size is still true */
    ck_assert_uint_gt(drawing_size(&table.drawing), 0);
    world_slot(&table.world, "fresh");
    ck_assert_uint_eq(drawing_size(&table.drawing), 0);
    table_end(&table);
}
END_TEST

/* An open gets a text that shows every change made before it. */
START_TEST(test_changed_meanwhile)
{
    struct reader before, after, again;
    struct table table;
    struct slot *first;

    table_begin(&table, 2 * GRAPH_PIECE);
    first = slot_at(table.world.slots, 1);
    reader_open(&before, &table, USER);
    turns(&table, 1); /* the first piece, in which that slot is, has been drawn */
    if (_i == 0)
        slot_rename(table.world.slots, first, "fresh");
    else if (_i == 1)
        world_publish(&table.world, first, 1, 1);
    else
        ck_assert_int_eq(world_link(&table.world, first, slot_at(table.world.slots, 2), RECORD_SIDE_RESULT),
                         0);
    reader_open(&after, &table, USER);
    finish(&table, &before);
    ck_assert_int_eq(after.calls, 0);
    finish(&table, &after);
    ck_assert_ptr_ne(before.text, after.text);
    ck_assert(says(&after, _i == 0 ? "label=\"fresh\\n" : _i == 1 ? "label=\"s0\\nREADY" : "n2 -> n1;"));
    reader_open(&again, &table, USER);
    ck_assert_ptr_eq(again.text, after.text);
    reader_close(&before);
    reader_close(&after);
    reader_close(&again);
    table_end(&table);
}
END_TEST

START_TEST(test_cancelled)
{
    struct reader first, second, third;
    struct table table;

    table_begin(&table, 3 * GRAPH_PIECE);
    reader_open(&first, &table, USER);
    turns(&table, 1);
    world_slot(&table.world, "fresh");
    reader_open(&second, &table, USER);
    drawing_cancel(&first.wait);
    drawing_cancel(&second.wait);
    reader_open(&third, &table, USER);
    finish(&table, &third);
    ck_assert_int_eq(first.calls + second.calls, 0);
    ck_assert(says(&third, "fresh"));
    reader_close(&third);

    /* The daemon ends. */
    slot_rename(table.world.slots, slot_find(table.world.slots, "fresh"), "other");
    reader_open(&first, &table, USER);
    turns(&table, 1);
    slot_rename(table.world.slots, slot_find(table.world.slots, "other"), "fresh");
    reader_open(&second, &table, USER);
    table_end(&table);
    ck_assert_int_eq(first.result, -ECANCELED);
    ck_assert_int_eq(second.result, -ECANCELED);
}
END_TEST

/* Each user who has a text pays for it once, and no user pays for what another keeps. */
START_TEST(test_accounts)
{
    struct reader first, second, third, other, stranger;
    struct table table;
    size_t size;

    table_begin(&table, GRAPH_PIECE);
    reader_open(&first, &table, USER);
    finish(&table, &first);
    size = snapshot_size(first.text);
    table.limit = size + size / 2;
    reader_open(&second, &table, USER);
    ck_assert_int_eq(second.result, 0); /* the same text once more costs nothing */
    reader_open(&stranger, &table, OTHER);
    ck_assert_int_eq(stranger.result, 0);
    world_slot(&table.world, "fresh");
    reader_open(&third, &table, USER);
    finish(&table, &third);
    ck_assert_int_eq(third.result, -EDQUOT);
    ck_assert_ptr_null(table.drawing.last); /* the reader was refused, so no reader has it */
    reader_close(&first);
    reader_open(&third, &table, USER);
    finish(&table, &third);
    ck_assert_int_eq(third.result, -EDQUOT); /* the old text is open still */
    reader_close(&second);
    reader_open(&third, &table, USER);
    finish(&table, &third);
    ck_assert_int_eq(third.result, 0);
    reader_open(&other, &table, OTHER);
    ck_assert_int_eq(other.result, -EDQUOT);
    reader_close(&stranger);
    reader_close(&third);

    /* A user can always have one text, however large. */
    table.limit = 1;
    reader_open(&first, &table, USER);
    finish(&table, &first);
    ck_assert_int_eq(first.result, 0);
    reader_close(&first);
    table_end(&table);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("drawing");
    TCase *tests = tcase_create("drawing");

    tcase_set_timeout(tests, 60);
    tcase_add_test(tests, test_shared);
    tcase_add_loop_test(tests, test_changed_meanwhile, 0, 3);
    tcase_add_test(tests, test_cancelled);
    tcase_add_test(tests, test_accounts);
    suite_add_tcase(suite, tests);
    return suite_run(suite);
}
