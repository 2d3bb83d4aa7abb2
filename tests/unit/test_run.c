// SPDX-License-Identifier: Apache-2.0
/*
 * test_run.c - a step that reaches many slots or waiters is done in turns, others go on meanwhile, and whatever
 * it has not reached is known not to be at rest. We count the work of each turn.
 */
#include "exchange_fixture.h"
#include "outcome.h"
#include "parked.h"
#include "suite.h"
#include <errno.h>
#include <stdio.h>

enum {
    MANY = 150,
    /* Steps that a turn may take; one may change a record and lose a source. */
    A_TURN = 16,
};

static struct slot *followers[MANY];
static struct parked *waiting[MANY];

static void begin(struct world *world, enum arena_kind kind, enum exchange_data_path data_path)
{
    struct world_options options = world_defaults();

    options.kind = kind;
    options.data_path = data_path;
    options.slots_max = MANY + 10;
    ck_assert(world_try_begin(world, &options));
}

static struct slot *fan_out(struct world *world, enum record_side side)
{
    struct slot *head = world_slot(world, "head");
    char name[16];

    for (int i = 0; i < MANY; i++) {
        snprintf(name, sizeof(name), "f%d", i);
        followers[i] = world_follow(world, name, head, side);
    }
    return head;
}

static int count_in(enum handshake_state state)
{
    int count = 0;

    for (int i = 0; i < MANY; i++)
        count += slot_state(followers[i]) == state;
    return count;
}

/* Publishing without serving the loop. */
static int write_flag(struct world *world, struct slot *slot, int32_t flag)
{
    struct record proposed = slot->record;

    proposed.flag = flag;
    if (flag == RECORD_FLAG_RESULT)
        proposed.result_length = 0;
    return publish_record(world->exchange, slot, &world->caller, &proposed,
                          RECORD_TOUCHED_FLAG | (flag == RECORD_FLAG_RESULT ? RECORD_TOUCHED_RESULT : 0));
}

/* A slot that has nothing to do with it has a whole round now, its reader included. */
static void another_goes_on(struct world *world, struct slot *other)
{
    uint32_t runs = world->exchange->runs;
    struct parked *reader;

    ck_assert_uint_gt(runs, 0);
    ck_assert(run_is_at_rest(world->exchange, other));
    ck_assert_int_eq(write_flag(world, other, RECORD_FLAG_INPUT), 0);
    reader = world_park_open(world, other, SLOT_RESULT_BIN);
    ck_assert_int_eq(write_flag(world, other, RECORD_FLAG_RESULT), 0);
    ck_assert_int_eq(reader->ends, 1);
    ck_assert(run_is_at_rest(world->exchange, other));
    ck_assert_uint_eq(world->exchange->runs, runs);
    expect_ended(reader, 0);
}

/* The first part and each turn stay within the limit, and the other slot goes on. */
static void expect_turns(struct world *world, int done_before, struct slot *other)
{
    ck_assert_int_le(world->done - done_before, 2 * A_TURN);
    another_goes_on(world, other);
    world_rest(world);
    ck_assert_int_gt(world->most_a_turn, 0);
    ck_assert_int_le(world->most_a_turn, 2 * A_TURN);
}

START_TEST(test_delivery)
{
    struct slot *head, *other;
    struct world world;
    int before;

    begin(&world, ARENA_MEMFD, (enum exchange_data_path)_i);
    other = world_slot(&world, "other");
    head = fan_out(&world, RECORD_SIDE_INPUT);
    before = world.done;
    ck_assert_int_eq(write_flag(&world, head, RECORD_FLAG_INPUT), 0);
    expect_state(head, STATE_READY, 1);
    ck_assert_int_le(count_in(STATE_READY), A_TURN);
    ck_assert(!run_is_at_rest(world.exchange, head));
    for (int i = 0; i < MANY; i++)
        ck_assert(!run_is_at_rest(world.exchange, followers[i]));
    expect_turns(&world, before, other);
    ck_assert_int_eq(count_in(STATE_READY), MANY);
    ck_assert(run_is_at_rest(world.exchange, head));
    world_end(&world);
}
END_TEST

START_TEST(test_failure)
{
    struct slot *head, *other;
    struct world world;
    int before;

    begin(&world, ARENA_MEMFD, (enum exchange_data_path)_i);
    other = world_slot(&world, "other");
    head = fan_out(&world, RECORD_SIDE_RESULT);
    ck_assert_int_eq(world_flag(&world, head, RECORD_FLAG_INPUT), 0);
    before = world.done;
    ck_assert_int_eq(publish_failure(world.exchange, head, &world.caller, "no luck", 7), 0);
    ck_assert_int_le(count_in(STATE_FAILED), A_TURN);
    expect_turns(&world, before, other);
    ck_assert_int_eq(count_in(STATE_FAILED), MANY);
    world_end(&world);
}
END_TEST

START_TEST(test_removal)
{
    struct slot *head, *other;
    struct world world;
    int before;

    begin(&world, ARENA_MEMFD, (enum exchange_data_path)_i);
    other = world_slot(&world, "other");
    head = fan_out(&world, RECORD_SIDE_RESULT);
    before = world.done;
    exchange_remove(world.exchange, head);
    ck_assert_ptr_null(slot_find(world.slots, "head"));
    ck_assert_uint_eq(slots_count(world.slots), MANY + 1);
    ck_assert_int_le(count_in(STATE_FAILED), A_TURN);
    for (int i = 0; i < MANY; i++)
        ck_assert(slot_state(followers[i]) == STATE_FAILED || !run_is_at_rest(world.exchange, followers[i]));
    world_slot(&world, "head"); /* the name is free */
    expect_turns(&world, before, other);
    ck_assert_int_eq(count_in(STATE_FAILED), MANY);
    for (int i = 0; i < MANY; i++)
        ck_assert_uint_eq(followers[i]->source, 0);
    world_end(&world);
}
END_TEST

/* Followers and then the head are removed while the step still has followers to change. */
START_TEST(test_removed_meanwhile)
{
    struct world world;
    struct slot *head;

    begin(&world, ARENA_MEMFD, (enum exchange_data_path)_i);
    head = fan_out(&world, RECORD_SIDE_INPUT);
    ck_assert_int_eq(write_flag(&world, head, RECORD_FLAG_INPUT), 0);
    for (int i = 0; i < MANY; i += 3) {
        exchange_remove(world.exchange, followers[i]);
        followers[i] = followers[1];
    }
    exchange_remove(world.exchange, head);
    ck_assert_uint_gt(world.exchange->runs, 0);
    world_rest(&world);
    for (int i = 0; i < MANY; i++)
        ck_assert_uint_eq(followers[i]->source, 0);
    ck_assert_uint_eq(slots_count(world.slots), MANY - (MANY + 2) / 3);
    world_end(&world);
}
END_TEST

/* The server is killed in between: the slot is gone all the same, and its followers hear of it. */
START_TEST(test_killed_in_between)
{
    struct world world;
    struct slot *slot;

    begin(&world, ARENA_DIR, DATA_PATH_PASSTHROUGH);
    exchange_remove(world.exchange, fan_out(&world, RECORD_SIDE_RESULT));
    ck_assert_uint_gt(world.exchange->runs, 0);
    world_stop(&world);
    world_start(&world);
    ck_assert_ptr_null(slot_find(world.slots, "head"));
    ck_assert_uint_eq(slots_count(world.slots), MANY);
    for (slot = slot_after(world.slots, 0); slot;
         slot = slot_after(world.slots, slot_index(world.slots, slot)))
        expect_state(slot, STATE_FAILED, 1);
    world_end(&world);
}
END_TEST

static struct slot *many_wait(struct world *world)
{
    struct slot *slot = world_slot(world, "awaited");

    for (int i = 0; i < MANY; i++)
        waiting[i] = world_park_open(world, slot, SLOT_RESULT_BIN);
    ck_assert_int_eq(write_flag(world, slot, RECORD_FLAG_INPUT), 0);
    world_rest(world);
    return slot;
}

static void expect_all_ended(int result)
{
    for (int i = 0; i < MANY; i++)
        expect_ended(waiting[i], result);
}

START_TEST(test_answers)
{
    struct slot *slot, *other;
    struct world world;
    int before;

    begin(&world, ARENA_MEMFD, (enum exchange_data_path)_i);
    other = world_slot(&world, "other");
    slot = many_wait(&world);
    before = world.done;
    ck_assert_int_eq(write_flag(&world, slot, RECORD_FLAG_RESULT), 0);
    ck_assert(!run_is_at_rest(world.exchange, slot));
    expect_turns(&world, before, other);
    expect_all_ended(0);
    world_end(&world);
}
END_TEST

START_TEST(test_ends)
{
    struct slot *slot, *other;
    struct world world;
    int before;

    begin(&world, ARENA_MEMFD, (enum exchange_data_path)(_i % DATA_PATHS));
    other = world_slot(&world, "other");
    slot = many_wait(&world);
    before = world.done;
    if (_i < DATA_PATHS)
        exchange_remove(world.exchange, slot);
    else
        ck_assert_int_eq(publish_failure(world.exchange, slot, &world.caller, "no luck", 7), 0);
    expect_turns(&world, before, other);
    expect_all_ended(_i < DATA_PATHS ? -ECANCELED : -EIO);
    world_end(&world);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("run");
    TCase *tests = tcase_create("turns");

    tcase_set_timeout(tests, 60);
    tcase_add_loop_test(tests, test_delivery, 0, DATA_PATHS);
    tcase_add_loop_test(tests, test_failure, 0, DATA_PATHS);
    tcase_add_loop_test(tests, test_removal, 0, DATA_PATHS);
    tcase_add_loop_test(tests, test_removed_meanwhile, 0, DATA_PATHS);
    tcase_add_test(tests, test_killed_in_between);
    tcase_add_loop_test(tests, test_answers, 0, DATA_PATHS);
    tcase_add_loop_test(tests, test_ends, 0, 2 * DATA_PATHS);
    suite_add_tcase(suite, tests);
    return suite_run(suite);
}
