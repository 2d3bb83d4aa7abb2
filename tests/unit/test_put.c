// SPDX-License-Identifier: Apache-2.0
/*
 * test_put.c - publishing in one write: the array comes with the flag, and a refused write leaves no trace.
 */
#include "exchange/put.h"

#include "exchange/exchange.h"
#include "exchange_fixture.h"
#include "parked.h"
#include "suite.h"
#include <errno.h>
#include <string.h>

enum { MANY = MIB / sizeof(double) - 16 };

static int send_input(struct world *world, struct slot *slot, uint64_t count, double value)
{
    return world_send(world, slot, RECORD_FLAG_INPUT, count, value, (int64_t)count);
}

static int send_result(struct world *world, struct slot *slot, uint64_t count, double value)
{
    return world_send(world, slot, RECORD_FLAG_RESULT, count, value, (int64_t)count);
}

/* Small and large, on every kind of arena; data.bin and result.bin show the same bytes. */
START_TEST(test_rounds)
{
    static const enum arena_kind kinds[] = {ARENA_MEMFD, ARENA_TMPFS, ARENA_DIR};
    struct world_options options = world_defaults();
    struct world world;
    struct slot *slot;

    options.kind = kinds[_i / DATA_PATHS];
    options.data_path = (enum exchange_data_path)(_i % DATA_PATHS);
    if (!world_try_begin(&world, &options))
        return;
    slot = world_slot(&world, "job");
    for (uint64_t round = 1; round <= 4; round++) {
        uint64_t count = round % 2 ? round : MANY;
        int changes = world.changes;

        ck_assert_int_eq(send_input(&world, slot, count, (double)round), 0);
        ck_assert_int_eq(world.changes, changes + 1); /* one step, one wake-up */
        expect_state(slot, STATE_READY, round);
        ck_assert_int_eq(slot->record.input_length, (int64_t)count);
        ck_assert_int_eq(slot->record.result_length, RECORD_LENGTH_ALL);
        world_expect(&world, slot, SLOT_DATA_BIN, count, (double)round);
        ck_assert_int_eq(send_result(&world, slot, count + 1, (double)round + 0.5), 0);
        expect_state(slot, STATE_DONE, round);
        world_expect(&world, slot, SLOT_RESULT_BIN, count + 1, (double)round + 0.5);
        world_expect(&world, slot, SLOT_DATA_BIN, count, (double)round);
        world_check(&world);
    }
    ck_assert_uint_eq(world.exchange->counts.rounds, 4);
    world_end(&world);
}
END_TEST

/* Bytes in a file that was closed are replaced; a file that is still open is not. */
START_TEST(test_in_place_of_what_was_written)
{
    struct handle *handle;
    struct world world;
    struct slot *slot;

    world_begin(&world, (enum exchange_data_path)_i);
    slot = world_slot(&world, "job");
    handle = world_open(&world, slot, SLOT_DATA_BIN, HANDLE_WRITES);
    ck_assert_int_eq(send_input(&world, slot, 2, 1), -EBUSY);
    expect_refusal(slot, EBUSY, "still open");
    expect_state(slot, STATE_FILLING, 1);
    world_close(&world, handle);
    world_put(&world, slot, SLOT_DATA_BIN, 7, 9);
    ck_assert_int_eq(send_input(&world, slot, 2, 1), 0);
    world_expect(&world, slot, SLOT_DATA_BIN, 2, 1);
    handle = world_open(&world, slot, SLOT_RESULT_BIN, HANDLE_WRITES);
    ck_assert_int_eq(send_result(&world, slot, 3, 2), -EBUSY);
    expect_state(slot, STATE_COMPUTING, 1);
    world_close(&world, handle);
    world_put(&world, slot, SLOT_RESULT_BIN, 7, 9);
    ck_assert_int_eq(send_result(&world, slot, 3, 2), 0);
    expect_state(slot, STATE_DONE, 1);
    world_expect(&world, slot, SLOT_RESULT_BIN, 3, 2);
    world_end(&world);
}
END_TEST

static void expect_untouched(struct world *world, const struct slot *slot, const struct slot *before)
{
    ck_assert_mem_eq(&slot->record, &before->record, sizeof(slot->record));
    ck_assert_mem_eq(slot->arrays, before->arrays, sizeof(slot->arrays));
    ck_assert_uint_eq(slot->state, before->state);
    world_check(world);
}

START_TEST(test_misfit)
{
    static const int64_t lengths[] = {0, 2, 4, INT64_MAX, INT64_MAX / 8};
    struct world world;
    struct slot *slot, before;

    world_begin(&world, (enum exchange_data_path)_i);
    slot = world_slot_in(&world, "job", STATE_DONE);
    before = *slot;
    for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
        ck_assert_int_eq(world_send(&world, slot, RECORD_FLAG_INPUT, 3, 1, lengths[i]), -EINVAL);
        expect_refusal(slot, EINVAL, "the record says");
        expect_untouched(&world, slot, &before);
    }
    ck_assert_int_eq(world_send(&world, slot, RECORD_FLAG_NONE, 3, 1, 3), -EINVAL);
    ck_assert_int_eq(world_send(&world, slot, RECORD_FLAG_FAILED, 3, 1, 3), -EINVAL);
    expect_refusal(slot, EINVAL, "flag 0 or 1");
    expect_untouched(&world, slot, &before);
    ck_assert_int_eq(world_send(&world, slot, RECORD_FLAG_INPUT, 3, 1, RECORD_LENGTH_ALL), 0);
    ck_assert_int_eq(slot->record.input_length, 3);
    world_end(&world);
}
END_TEST

/* Neither the user's share nor the arena has room for it: the last round stays as it was. */
START_TEST(test_no_room)
{
    struct world_options options = world_defaults();
    uint64_t charged;
    struct world world;
    struct slot *slot, before;
    bool by_quota = _i / DATA_PATHS;

    options.data_path = (enum exchange_data_path)(_i % DATA_PATHS);
    if (by_quota)
        options.limits.bytes_per_user = MIB / 2;
    else
        options.capacity = 2 * MIB + MIB / 4; /* the index takes most of it */
    ck_assert(world_try_begin(&world, &options));
    world.caller.uid = 1000;
    slot = world_slot_in(&world, "job", STATE_DONE);
    before = *slot;
    charged = world_charged(&world, slot->uid);
    ck_assert_int_eq(send_input(&world, slot, MANY, 1), by_quota ? -EDQUOT : -ENOSPC);
    expect_refusal(slot, by_quota ? EDQUOT : ENOSPC, by_quota ? "bytes_per_user" : "arena is full");
    expect_untouched(&world, slot, &before);
    ck_assert_uint_eq(world_charged(&world, slot->uid), charged);
    ck_assert_int_eq(send_input(&world, slot, 100, 1), 0);
    world_end(&world);
}
END_TEST

/* A follower has it in the same step; the next waits until it can take that, and leaves no trace meanwhile. */
START_TEST(test_chains)
{
    struct world world;
    struct slot *source, *of_result, *of_input, before;

    world_begin(&world, (enum exchange_data_path)_i);
    source = world_slot(&world, "source");
    of_result = world_follow(&world, "of_result", source, RECORD_SIDE_RESULT);
    of_input = world_follow(&world, "of_input", source, RECORD_SIDE_INPUT);
    ck_assert_int_eq(send_input(&world, of_input, 3, 1), -EBUSY); /* its input comes from its source */
    ck_assert_int_eq(send_input(&world, source, 3, 1), 0);
    expect_state(of_input, STATE_READY, 1);
    world_expect(&world, of_input, SLOT_DATA_BIN, 3, 1);
    ck_assert_int_eq(send_result(&world, source, 2, 5), 0);
    expect_state(of_result, STATE_READY, 1);
    world_expect(&world, of_result, SLOT_DATA_BIN, 2, 5);
    ck_assert_ptr_eq(of_result->segments[RECORD_SIDE_INPUT], source->segments[RECORD_SIDE_RESULT]);

    /* It works on the input of the round before this one. */
    before = *source;
    ck_assert_int_eq(send_input(&world, source, 3, 2), WAIT_FOR_PEER);
    expect_untouched(&world, source, &before);
    ck_assert_int_eq(send_result(&world, of_input, 1, 1), 0);
    world_expect(&world, of_input, SLOT_RESULT_BIN, 1, 1); /* taken by a reader */
    ck_assert_int_eq(send_input(&world, source, 3, 2), 0);
    expect_state(of_input, STATE_READY, 2);
    world_expect(&world, of_input, SLOT_DATA_BIN, 3, 2);
    ck_assert_int_eq(send_result(&world, source, 2, 6), WAIT_FOR_PEER);
    expect_state(source, STATE_READY, 2);
    world_end(&world);
}
END_TEST

/* A failure that a follower has not got yet is not lost. */
START_TEST(test_after_a_failure)
{
    struct world world;
    struct slot *source, *follower;

    world_begin(&world, (enum exchange_data_path)_i);
    source = world_slot(&world, "source");
    follower = world_follow(&world, "follower", source, RECORD_SIDE_RESULT);
    world_publish(&world, source, 1, 1);
    world_finish(&world, source, 1, 1);
    expect_state(follower, STATE_READY, 1);
    ck_assert_int_eq(send_input(&world, source, 1, 2), 0);
    ck_assert_int_eq(world_flag(&world, source, RECORD_FLAG_FAILED), 0);
    ck_assert_int_eq(send_input(&world, source, 1, 3), WAIT_FOR_PEER);
    expect_state(source, STATE_FAILED, 2);
    world_finish(&world, follower, 1, 1);
    world_expect(&world, follower, SLOT_RESULT_BIN, 1, 1);
    expect_state(follower, STATE_FAILED, 2);
    ck_assert_int_eq(send_input(&world, source, 1, 3), 0);
    expect_state(source, STATE_READY, 3);
    ck_assert_uint_eq(source->error_size, 0);
    world_end(&world);
}
END_TEST

/* A reader that waits gets the array. */
START_TEST(test_readers)
{
    struct parked *parked;
    struct world world;
    struct slot *slot;

    world_begin(&world, (enum exchange_data_path)_i);
    slot = world_slot(&world, "job");
    parked = world_park_open(&world, slot, SLOT_DATA_BIN);
    ck_assert_int_eq(send_input(&world, slot, 2, 1), 0);
    expect_ended(parked, 0);
    parked = world_park_open(&world, slot, SLOT_RESULT_BIN);
    ck_assert_int_eq(send_result(&world, slot, 2, 1), 0);
    expect_ended(parked, 0);
    world_end(&world);
}
END_TEST

/* Given up, or the slot is gone, while the background is still at it: nothing is left. world_end looks. */
START_TEST(test_given_up)
{
    struct world_options options = world_defaults();
    static const double values[MANY];
    struct put *put = NULL;
    struct record record;
    struct world world;
    struct slot *slot;

    options.kind = ARENA_DIR;
    ck_assert(world_try_begin(&world, &options));
    slot = world_slot(&world, "job");
    record = slot->record;
    record.flag = RECORD_FLAG_INPUT;
    ck_assert_int_eq(put_array(world.exchange, slot, &world.caller, &record, values, sizeof(values), &put),
                     WAIT_FOR_WORK);
    if (_i)
        exchange_remove(world.exchange, slot);
    put_drop(&put);
    ck_assert_ptr_null(put);
    if (!_i)
        expect_state(slot, STATE_IDLE, 1);
    background_drain(world.bench.background);
    world_end(&world);
}
END_TEST

/* A server that starts on another one's files has the arrays. */
START_TEST(test_restart)
{
    struct world_options options = world_defaults();
    struct world world;
    struct slot *slot;

    options.kind = ARENA_DIR;
    ck_assert(world_try_begin(&world, &options));
    slot = world_slot(&world, "job");
    ck_assert_int_eq(send_input(&world, slot, 2, 1), 0);
    ck_assert_int_eq(send_result(&world, slot, MANY, 2), 0);
    world_restart(&world);
    slot = slot_find(world.slots, "job");
    expect_state(slot, STATE_DONE, 1);
    world_expect(&world, slot, SLOT_DATA_BIN, 2, 1);
    world_expect(&world, slot, SLOT_RESULT_BIN, MANY, 2);
    world_end(&world);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("put");
    TCase *tests = tcase_create("put");

    tcase_set_timeout(tests, 60);
    tcase_add_loop_test(tests, test_rounds, 0, 3 * DATA_PATHS);
    tcase_add_loop_test(tests, test_in_place_of_what_was_written, 0, DATA_PATHS);
    tcase_add_loop_test(tests, test_misfit, 0, DATA_PATHS);
    tcase_add_loop_test(tests, test_no_room, 0, 2 * DATA_PATHS);
    tcase_add_loop_test(tests, test_chains, 0, DATA_PATHS);
    tcase_add_loop_test(tests, test_after_a_failure, 0, DATA_PATHS);
    tcase_add_loop_test(tests, test_readers, 0, DATA_PATHS);
    tcase_add_loop_test(tests, test_given_up, 0, 2);
    tcase_add_test(tests, test_restart);
    suite_add_tcase(suite, tests);
    return suite_run(suite);
}
