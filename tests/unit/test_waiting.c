// SPDX-License-Identifier: Apache-2.0
/*
 * test_waiting.c - parked requests: when they are let in, and the errors that end others.
 */
#include "exchange_fixture.h"
#include "parked.h"
#include "suite.h"
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

enum { COUNT = 3 };

/* Another process opens a file and has to wait. */
static struct parked *stranger_waits(struct world *world, struct slot *slot, enum slot_file file)
{
    struct caller caller = world->caller;
    struct parked *parked;

    world->caller.thread = world->caller.process = getppid();
    parked = world_park_open(world, slot, file);
    world->caller = caller;
    return parked;
}

/* Frees a request that was interrupted. */
static void forget(struct parked *parked)
{
    ck_assert_int_eq(parked->ends, 0);
    free(parked->handle);
    free(parked);
}

/* --- let in --- */

START_TEST(test_served_in_time)
{
    struct parked *input, *result, *late, *unrelated;
    struct world world;
    struct slot *slot;
    int tries;

    world_begin(&world, (enum exchange_data_path)_i);
    slot = world_slot(&world, "job");
    unrelated = stranger_waits(&world, world_slot(&world, "other"), SLOT_DATA_BIN);
    tries = unrelated->tries;
    input = stranger_waits(&world, slot, SLOT_DATA_BIN);
    result = stranger_waits(&world, slot, SLOT_RESULT_BIN);
    ck_assert_uint_eq(world.exchange->counts.waiters, 3);
    world_put(&world, slot, SLOT_DATA_BIN, COUNT, 1);
    late = stranger_waits(&world, slot, SLOT_DATA_BIN);
    ck_assert_int_eq(world_flag(&world, slot, RECORD_FLAG_RESULT), -EPROTO);
    expect_parked(input);
    ck_assert_int_eq(world_flag(&world, slot, RECORD_FLAG_INPUT), 0);
    /* The publisher publishes, and they are let in. */
    ck_assert_ptr_eq(input->handle->segment, slot->segments[RECORD_SIDE_INPUT]);
    expect_ended(input, 0);
    expect_ended(late, 0);
    expect_parked(result);
    world_put(&world, slot, SLOT_RESULT_BIN, COUNT, 2);
    expect_parked(result);
    ck_assert_int_eq(world_flag(&world, slot, RECORD_FLAG_RESULT), 0);
    ck_assert_ptr_eq(result->handle->segment, slot->segments[RECORD_SIDE_RESULT]);
    expect_ended(result, 0);

    ck_assert_int_eq(unrelated->tries, tries);
    slot = unrelated->wait.slot;
    ck_assert_int_eq(exchange_unlink(world.exchange, slot, &world.caller), 0);
    ck_assert_int_eq(world_flag(&world, slot, RECORD_FLAG_NONE), 0);
    expect_parked(unrelated); /* its slot has no round to cancel */
    exchange_remove(world.exchange, slot);
    expect_ended(unrelated, -ECANCELED);
    world_end(&world);
}
END_TEST

START_TEST(test_filler_is_let_in)
{
    struct parked *own, *strange;
    struct handle *writer;
    struct world world;
    struct slot *slot;

    world_begin(&world, (enum exchange_data_path)_i);
    slot = world_slot(&world, "job");
    own = world_park_open(&world, slot, SLOT_DATA_BIN);
    strange = stranger_waits(&world, slot, SLOT_DATA_BIN);
    writer = world_open(&world, slot, SLOT_DATA_BIN, HANDLE_WRITES);
    ck_assert_ptr_eq(own->handle->segment, writer->segment);
    expect_ended(own, 0);
    expect_parked(strange);
    world_close(&world, writer);
    ck_assert_int_eq(world_flag(&world, slot, RECORD_FLAG_INPUT), 0);
    expect_ended(strange, 0);
    world_end(&world);
}
END_TEST

/* The inode that the client wanted to open is gone; the kernel looks the name up again. */
START_TEST(test_another_inode)
{
    struct parked *parked;
    struct world world;
    struct slot *a, *b;

    world_begin(&world, (enum exchange_data_path)_i);
    a = world_slot(&world, "a");
    b = world_slot(&world, "b");
    parked = stranger_waits(&world, b, SLOT_DATA_BIN);
    world_publish(&world, a, COUNT, 1);
    world_finish(&world, a, COUNT, 2);
    ck_assert_int_eq(array_move_result(world.exchange, a, b, &world.caller), 0);
    expect_parked(parked);
    ck_assert_int_eq(world_flag(&world, b, RECORD_FLAG_INPUT), 0);
    expect_ended(parked, -ESTALE);
    world_end(&world);
}
END_TEST

START_TEST(test_many_waiters)
{
    enum { WAITERS = 1000 };
    struct parked *parked[WAITERS];
    struct world world;
    struct slot *slot;

    world_begin(&world, (enum exchange_data_path)_i);
    slot = world_slot(&world, "job");
    for (int i = 0; i < WAITERS; i++)
        parked[i] = stranger_waits(&world, slot, i % 2 ? SLOT_DATA_BIN : SLOT_RESULT_BIN);
    ck_assert_uint_eq(world.exchange->counts.waiters, WAITERS);
    world_publish(&world, slot, COUNT, 1);
    ck_assert_uint_eq(world.exchange->counts.waiters, WAITERS / 2);
    ck_assert_int_eq(world_flag(&world, slot, RECORD_FLAG_NONE), 0);
    for (int i = 0; i < WAITERS; i++)
        expect_ended(parked[i], i % 2 ? 0 : -ECANCELED);
    world_end(&world);
}
END_TEST

/* --- told why not --- */

static int drop(struct world *world, struct slot *slot)
{
    return world_flag(world, slot, RECORD_FLAG_NONE);
}

static int fail_round(struct world *world, struct slot *slot)
{
    return world_flag(world, slot, RECORD_FLAG_FAILED);
}

static int unlink_file(struct world *world, struct slot *slot)
{
    return exchange_unlink(world->exchange, slot, &world->caller);
}

static int remove_slot(struct world *world, struct slot *slot)
{
    exchange_remove(world->exchange, slot);
    return 0;
}

START_TEST(test_ends)
{
    static const struct {
        enum handshake_state state;
        int (*end)(struct world *world, struct slot *slot);
        enum slot_file file;
        int result;
    } rows[] = {
        {STATE_IDLE, remove_slot, SLOT_DATA_BIN, -ECANCELED},
        {STATE_IDLE, remove_slot, SLOT_RESULT_BIN, -ECANCELED},
        {STATE_FILLING, drop, SLOT_DATA_BIN, -ECANCELED},
        {STATE_FILLING, drop, SLOT_RESULT_BIN, -ECANCELED},
        {STATE_FILLING, unlink_file, SLOT_DATA_BIN, -ECANCELED},
        {STATE_FILLING, remove_slot, SLOT_DATA_BIN, -ECANCELED},
        {STATE_READY, drop, SLOT_RESULT_BIN, -ECANCELED},
        {STATE_READY, fail_round, SLOT_RESULT_BIN, -EIO},
        {STATE_READY, remove_slot, SLOT_RESULT_BIN, -ECANCELED},
        {STATE_COMPUTING, unlink_file, SLOT_RESULT_BIN, -ECANCELED},
        {STATE_COMPUTING, fail_round, SLOT_RESULT_BIN, -EIO},
        {STATE_COMPUTING, remove_slot, SLOT_RESULT_BIN, -ECANCELED},
    };
    struct world world;

    world_begin(&world, (enum exchange_data_path)_i);
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct slot *slot = world_slot_in(&world, "job", rows[i].state);
        struct parked *first = stranger_waits(&world, slot, rows[i].file);
        struct parked *second = stranger_waits(&world, slot, rows[i].file);

        ck_assert_int_eq(rows[i].end(&world, slot), 0);
        expect_ended(first, rows[i].result);
        expect_ended(second, rows[i].result);
        world_check(&world);
        if (slot_find(world.slots, "job"))
            exchange_remove(world.exchange, slot);
    }
    world_end(&world);
}
END_TEST

static bool has_ended(void *context)
{
    return ((const struct parked *)context)->ends > 0;
}

START_TEST(test_timeout)
{
    struct world_options options = world_defaults();
    struct parked *input, *result, *served;
    struct world world;
    struct slot *slot;
    uint64_t begun;

    options.data_path = (enum exchange_data_path)_i;
    options.limits.wait_timeout_ms = 30;
    ck_assert(world_try_begin(&world, &options));
    slot = world_slot(&world, "job");
    served = stranger_waits(&world, slot, SLOT_DATA_BIN);
    world_publish(&world, slot, COUNT, 1);
    expect_ended(served, 0); /* and its deadline with it */
    begun = deadline_now_ms();
    result = stranger_waits(&world, slot, SLOT_RESULT_BIN);
    input = stranger_waits(&world, world_slot(&world, "other"), SLOT_DATA_BIN);
    loop_until(world.loop, has_ended, input);
    ck_assert_uint_ge(deadline_now_ms() - begun, 30);
    expect_refusal(slot, ETIMEDOUT, "waits for a worker");
    ck_assert_str_eq(slot->refusal.operation, "open result.bin for reading");
    ck_assert_int_eq(slot->refusal.pid, getppid());
    expect_ended(result, -ETIMEDOUT);
    expect_ended(input, -ETIMEDOUT);
    expect_state(slot, STATE_READY, 1);
    world_end(&world);
}
END_TEST

/* With wait = no every open that would wait is refused; a publish still waits for its followers. */
START_TEST(test_no_waiting)
{
    static const struct {
        enum handshake_state state;
        enum slot_file file;
        const char *reason;
    } rows[] = {{STATE_IDLE, SLOT_DATA_BIN, "no input yet"},
                {STATE_IDLE, SLOT_RESULT_BIN, "no input yet"},
                {STATE_READY, SLOT_RESULT_BIN, "waits for a worker"},
                {STATE_COMPUTING, SLOT_RESULT_BIN, "is being written"}};
    struct world_options options = world_defaults();
    struct handle *handle;
    struct parked *parked;
    struct slot *slot, *follower;
    struct world world;

    options.data_path = (enum exchange_data_path)_i;
    options.limits.no_waiting = true;
    ck_assert(world_try_begin(&world, &options));
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        slot = world_slot_in(&world, "job", rows[i].state);
        ck_assert_int_eq(world_try_open(&world, slot, rows[i].file, HANDLE_READS, &handle), -EAGAIN);
        expect_refusal(slot, EAGAIN, rows[i].reason);
        exchange_remove(world.exchange, slot);
    }
    slot = world_slot_in(&world, "job", STATE_DONE);
    follower = world_follow(&world, "follower", slot, RECORD_SIDE_RESULT);
    world_publish(&world, slot, 1, 1);
    world_put(&world, slot, SLOT_RESULT_BIN, 1, 1);
    parked = world_park_flag(&world, slot, RECORD_FLAG_RESULT);
    exchange_remove(world.exchange, follower);
    expect_ended(parked, 0);
    world_end(&world);
}
END_TEST

/* wait_timeout is for peers: it ends a publish that waits for a follower, not one that waits for the disk. */
START_TEST(test_timeout_of_a_publish)
{
    struct world_options options = world_defaults();
    struct parked *parked;
    struct slot *slot;
    struct world world;

    options.data_path = (enum exchange_data_path)_i;
    options.limits.wait_timeout_ms = 30;
    ck_assert(world_try_begin(&world, &options));
    slot = world_slot_in(&world, "job", STATE_DONE);
    world_follow(&world, "follower", slot, RECORD_SIDE_RESULT);
    world_publish(&world, slot, 1, 1);
    world_put(&world, slot, SLOT_RESULT_BIN, 1, 1);
    parked = world_park_flag(&world, slot, RECORD_FLAG_RESULT);
    ck_assert_ptr_nonnull(parked->wait.deadline.set);
    wait_stay(&parked->wait, WAIT_FOR_WORK);
    ck_assert_ptr_null(parked->wait.deadline.set);
    wait_stay(&parked->wait, WAIT_FOR_PEER);
    loop_until(world.loop, has_ended, parked);
    expect_state(slot, STATE_COMPUTING, 2);
    expect_refusal(slot, ETIMEDOUT, "follower follower can take no more yet");
    ck_assert_str_eq(slot->refusal.operation, "write flag 1");
    expect_ended(parked, -ETIMEDOUT);
    world_end(&world);
}
END_TEST

START_TEST(test_interrupted)
{
    struct parked *parked[3];
    struct world world;
    struct slot *slot;

    world_begin(&world, (enum exchange_data_path)_i);
    slot = world_slot(&world, "job");
    for (int gone = 0; gone < 3; gone++) {
        for (int i = 0; i < 3; i++)
            parked[i] = stranger_waits(&world, slot, SLOT_DATA_BIN);
        wait_unpark(&parked[gone]->wait);
        ck_assert_uint_eq(world.exchange->counts.waiters, 2);
        world_publish(&world, slot, COUNT, 1);
        for (int i = 0; i < 3; i++) {
            if (i == gone)
                forget(parked[i]);
            else
                expect_ended(parked[i], 0);
        }
        ck_assert_int_eq(world_flag(&world, slot, RECORD_FLAG_NONE), 0);
    }
    world_end(&world);
}
END_TEST

/* A request that ends unparks another one, before or behind it in the list. */
static struct parked *victim;

static void end_with_victim(struct wait *wait, int result)
{
    struct parked *parked = container_of(wait, struct parked, wait);

    parked->ends++;
    parked->result = result;
    if (victim->ends == 0 && victim != parked)
        wait_unpark(&victim->wait);
}

START_TEST(test_interrupted_by_another)
{
    struct parked *parked[3];
    struct world world;

    for (int end = 0; end < 2; end++) {
        struct slot *slot;
        int ended = 0;

        world_begin(&world, DATA_PATH_PASSTHROUGH);
        slot = world_slot(&world, "job");
        for (int i = 0; i < 3; i++)
            parked[i] = stranger_waits(&world, slot, SLOT_DATA_BIN);
        parked[1]->wait.end = end_with_victim;
        victim = parked[_i];
        if (end == 0)
            world_publish(&world, slot, COUNT, 1);
        else
            exchange_remove(world.exchange, slot);
        ck_assert_uint_eq(world.exchange->counts.waiters, 0);
        for (int i = 0; i < 3; i++) {
            ended += parked[i]->ends;
            if (parked[i]->ends)
                expect_ended(parked[i], end == 0 ? 0 : -ECANCELED);
            else
                forget(parked[i]);
        }
        ck_assert_int_ge(ended, 2);
        world_end(&world);
    }
}
END_TEST

START_TEST(test_server_ends)
{
    struct world_options options = world_defaults();
    struct parked *parked;
    struct world world;

    options.kind = ARENA_DIR;
    options.data_path = (enum exchange_data_path)_i;
    ck_assert(world_try_begin(&world, &options));
    parked = stranger_waits(&world, world_slot(&world, "job"), SLOT_DATA_BIN);
    world_restart(&world);
    expect_ended(parked, -ECANCELED);
    world_end(&world);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("waiting");
    TCase *waiters = tcase_create("waiters");

    tcase_set_timeout(waiters, 60);
    tcase_add_loop_test(waiters, test_served_in_time, 0, DATA_PATHS);
    tcase_add_loop_test(waiters, test_filler_is_let_in, 0, DATA_PATHS);
    tcase_add_loop_test(waiters, test_another_inode, 0, DATA_PATHS);
    tcase_add_loop_test(waiters, test_many_waiters, 0, DATA_PATHS);
    tcase_add_loop_test(waiters, test_ends, 0, DATA_PATHS);
    tcase_add_loop_test(waiters, test_timeout, 0, DATA_PATHS);
    tcase_add_loop_test(waiters, test_timeout_of_a_publish, 0, DATA_PATHS);
    tcase_add_loop_test(waiters, test_no_waiting, 0, DATA_PATHS);
    tcase_add_loop_test(waiters, test_interrupted, 0, DATA_PATHS);
    tcase_add_loop_test(waiters, test_interrupted_by_another, 0, 3);
    tcase_add_loop_test(waiters, test_server_ends, 0, DATA_PATHS);
    suite_add_tcase(suite, waiters);
    return suite_run(suite);
}
