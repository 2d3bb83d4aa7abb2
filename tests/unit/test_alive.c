// SPDX-License-Identifier: Apache-2.0
/*
 * test_alive.c - the end of a worker or an owner, and the slots that name it.
 */
#include "exchange_fixture.h"
#include "parked.h"
#include "suite.h"
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { COUNT = 3 };

static int bind_to(struct world *world, struct slot *slot, enum exchange_role role, pid_t pid)
{
    return exchange_bind(world->exchange, slot, role, pid, &world->caller);
}

/* --- workers --- */

static bool worker_is_gone(void *context)
{
    return ((const struct slot *)context)->worker == 0;
}

static void end_worker(struct world *world, struct slot *slot)
{
    idler_end(slot->worker);
    loop_until(world->loop, worker_is_gone, slot);
    world_check(world);
}

static struct slot *with_worker(struct world *world, pid_t *pid)
{
    struct slot *slot = world_slot(world, "job");

    *pid = idler_start(0);
    ck_assert_int_eq(bind_to(world, slot, ROLE_WORKER, *pid), 0);
    ck_assert_int_eq(slot->worker, *pid);
    return slot;
}

static void expect_blamed(struct world *world, const struct slot *slot, pid_t pid, unsigned round)
{
    char text[WORLD_TEXT_MAX], expected[128];

    expect_state(slot, STATE_FAILED, round);
    snprintf(expected, sizeof(expected), "worker %d exited before it published the result of round %u\n", pid,
             round);
    world_text(world, slot, SLOT_ERROR, text);
    ck_assert_str_eq(text, expected);
}

START_TEST(test_worker_dies_at_work)
{
    struct parked *parked;
    struct world world;
    struct slot *slot;
    pid_t pid;

    world_begin(&world, (enum exchange_data_path)(_i / 2));
    slot = with_worker(&world, &pid);
    world_publish(&world, slot, COUNT, 1);
    if (_i % 2)
        world_put(&world, slot, SLOT_RESULT_BIN, COUNT, 2);
    parked = world_park_open(&world, slot, SLOT_RESULT_BIN);
    end_worker(&world, slot);
    expect_ended(parked, -EIO);
    expect_blamed(&world, slot, pid, 1);
    /* Another worker can try the input again. */
    ck_assert_int_eq(world_flag(&world, slot, RECORD_FLAG_INPUT), 0);
    expect_state(slot, STATE_READY, 1);
    world_finish(&world, slot, COUNT, 3);
    world_end(&world);
}
END_TEST

/* Before there is an input the round can have another worker. */
START_TEST(test_worker_dies_too_early)
{
    struct world world;
    struct slot *slot;
    pid_t pid;

    world_begin(&world, DATA_PATH_PASSTHROUGH);
    slot = with_worker(&world, &pid);
    if (_i)
        world_put(&world, slot, SLOT_DATA_BIN, COUNT, 1);
    end_worker(&world, slot);
    expect_state(slot, _i ? STATE_FILLING : STATE_IDLE, 1);
    ck_assert_int_eq(bind_to(&world, slot, ROLE_WORKER, pid = idler_start(0)), 0);
    world_put(&world, slot, SLOT_DATA_BIN, COUNT, 1);
    ck_assert_int_eq(world_flag(&world, slot, RECORD_FLAG_INPUT), 0);
    expect_state(slot, STATE_READY, 1);
    end_worker(&world, slot);
    expect_blamed(&world, slot, pid, 1);
    world_end(&world);
}
END_TEST

/* The same where a chain brings the input. */
START_TEST(test_worker_of_a_follower)
{
    struct slot *slot, *source;
    struct world world;
    pid_t pid;

    world_begin(&world, DATA_PATH_PASSTHROUGH);
    slot = with_worker(&world, &pid);
    source = world_slot(&world, "source");
    ck_assert_int_eq(world_link(&world, slot, source, RECORD_SIDE_INPUT), 0);
    if (_i)
        end_worker(&world, slot);
    world_publish(&world, source, COUNT, 1);
    expect_state(slot, STATE_READY, 1);
    if (_i)
        ck_assert_int_eq(bind_to(&world, slot, ROLE_WORKER, pid = idler_start(0)), 0);
    end_worker(&world, slot);
    expect_blamed(&world, slot, pid, 1);
    world_end(&world);
}
END_TEST

/* The worker's text of the failure stays, and the input can be tried again. */
START_TEST(test_worker_exits_after_failing)
{
    char text[WORLD_TEXT_MAX];
    struct world world;
    struct slot *slot;
    pid_t pid;

    world_begin(&world, DATA_PATH_PASSTHROUGH);
    slot = with_worker(&world, &pid);
    world_publish(&world, slot, COUNT, 1);
    ck_assert_int_eq(publish_failure(world.exchange, slot, &world.caller, "ValueError: no", 14), 0);
    end_worker(&world, slot);
    expect_state(slot, STATE_FAILED, 1);
    world_text(&world, slot, SLOT_ERROR, text);
    ck_assert_str_eq(text, "ValueError: no");
    ck_assert_int_eq(world_flag(&world, slot, RECORD_FLAG_INPUT), 0);
    world_expect(&world, slot, SLOT_DATA_BIN, COUNT, 1);
    world_end(&world);
}
END_TEST

START_TEST(test_worker_dies_when_done)
{
    struct world world;
    struct slot *slot;
    pid_t pid;

    world_begin(&world, DATA_PATH_PASSTHROUGH);
    slot = with_worker(&world, &pid);
    world_publish(&world, slot, COUNT, 1);
    world_finish(&world, slot, COUNT, 2);
    end_worker(&world, slot);
    expect_state(slot, STATE_DONE, 1);
    world_expect(&world, slot, SLOT_RESULT_BIN, COUNT, 2);
    world_publish(&world, slot, COUNT, 1);
    expect_state(slot, STATE_READY, 2);
    world_end(&world);
}
END_TEST

/* A worker is bound to this round and those to come; one that is named once, to the round in which it is. */
START_TEST(test_worker_of_many_rounds)
{
    struct world world;
    struct slot *slot;
    pid_t pid;

    world_begin(&world, DATA_PATH_PASSTHROUGH);
    slot = with_worker(&world, &pid);
    if (_i)
        ck_assert_int_eq(bind_to(&world, slot, ROLE_WORKER_ONCE, pid), 0);
    world_publish(&world, slot, COUNT, 1);
    world_finish(&world, slot, COUNT, 2);
    ck_assert_int_eq(slot->worker, _i ? 0 : pid);
    world_publish(&world, slot, COUNT, 1);
    if (_i) {
        idler_end(pid);
        world_check(&world);
        expect_state(slot, STATE_READY, 2);
    } else {
        end_worker(&world, slot);
        expect_blamed(&world, slot, pid, 2);
    }
    world_end(&world);
}
END_TEST

/* A worker named between two rounds belongs to the next one, if it still lives then. */
START_TEST(test_worker_of_the_next_round)
{
    static const enum handshake_state between[] = {STATE_DONE, STATE_FAILED};
    struct world world;
    struct slot *slot;
    pid_t pid = idler_start(0);

    world_begin(&world, DATA_PATH_PASSTHROUGH);
    slot = world_slot_in(&world, "job", between[_i]);
    ck_assert_int_eq(bind_to(&world, slot, ROLE_WORKER, idler_start(0)), 0);
    end_worker(&world, slot);
    expect_state(slot, between[_i], 1);
    ck_assert_int_eq(bind_to(&world, slot, ROLE_WORKER, pid), 0);
    world_publish(&world, slot, COUNT, 1);
    end_worker(&world, slot);
    expect_blamed(&world, slot, pid, 2);
    world_end(&world);
}
END_TEST

START_TEST(test_worker_is_replaced)
{
    struct world world;
    struct slot *slot, *other;
    pid_t pid, second = idler_start(0);

    world_begin(&world, DATA_PATH_PASSTHROUGH);
    slot = with_worker(&world, &pid);
    other = world_slot(&world, "other");
    ck_assert_int_eq(bind_to(&world, other, ROLE_WORKER, pid), 0);
    world_publish(&world, slot, COUNT, 1);
    world_publish(&world, other, COUNT, 1);
    ck_assert_int_eq(bind_to(&world, slot, ROLE_WORKER, second), 0);
    end_worker(&world, other);
    expect_state(slot, STATE_READY, 1);
    expect_blamed(&world, other, pid, 1);
    ck_assert_int_eq(bind_to(&world, slot, ROLE_WORKER, 0), 0);
    ck_assert_int_eq(slot->worker, 0);
    idler_end(second);
    ck_assert_int_eq(bind_to(&world, other, ROLE_WORKER, pid = idler_start(0)), 0);
    end_worker(&world, other); /* the loop hears of it after the other's end */
    expect_state(slot, STATE_READY, 1);
    world_end(&world);
}
END_TEST

/* --- owners --- */

static bool one_has_vanished(void *context)
{
    return ((const struct world *)context)->vanished_count > 0;
}

START_TEST(test_owner_dies)
{
    static const char *const names[] = {"first", "second", "third"};
    pid_t pid = idler_start(0), other = idler_start(0);
    struct parked *parked;
    struct handle *handle;
    struct slot *slot = NULL, *stays, *follower;
    struct world world;

    world_begin(&world, (enum exchange_data_path)_i);
    stays = world_slot(&world, "stays");
    ck_assert_int_eq(bind_to(&world, stays, ROLE_OWNER, pid), 0);
    ck_assert_int_eq(bind_to(&world, stays, ROLE_OWNER, other), 0);
    ck_assert_int_eq(bind_to(&world, stays, ROLE_WORKER, pid), 0);
    world_publish(&world, stays, COUNT, 1);
    follower = world_slot(&world, "follower");
    for (int i = 0; i < 3; i++) {
        slot = world_slot(&world, names[i]);
        ck_assert_int_eq(bind_to(&world, slot, ROLE_OWNER, pid), 0);
        ck_assert_int_eq(slot->owner, pid);
    }
    ck_assert_int_eq(bind_to(&world, slot, ROLE_WORKER, pid), 0);
    ck_assert_int_eq(world_link(&world, follower, slot, RECORD_SIDE_RESULT), 0);
    world_publish(&world, slot, COUNT, 1);
    handle = world_open(&world, slot, SLOT_DATA_BIN, HANDLE_READS);
    parked = world_park_open(&world, slot, SLOT_RESULT_BIN);

    idler_end(pid);
    loop_until(world.loop, one_has_vanished, &world);
    ck_assert_int_eq(world.vanished_count, 3);
    ck_assert_int_eq(world.removals, 3);
    for (int i = 0; i < 3; i++) {
        ck_assert_ptr_null(slot_find(world.slots, names[i]));
        ck_assert_str_eq(world.vanished[i], names[i]);
    }
    ck_assert_int_eq(parked->ends, 1);
    ck_assert_ptr_null(handle->slot);
    world_close(&world, handle);
    expect_state(follower, STATE_FAILED, 1);
    expect_blamed(&world, stays, pid, 1);
    ck_assert_int_eq(stays->owner, other);
    idler_end(other);
    expect_ended(parked, parked->result);
    world_end(&world);
}
END_TEST

START_TEST(test_owner_is_cleared)
{
    pid_t pid = idler_start(0), marker = idler_start(0);
    struct world world;
    struct slot *slot;

    world_begin(&world, DATA_PATH_PASSTHROUGH);
    slot = world_slot(&world, "job");
    ck_assert_int_eq(bind_to(&world, slot, ROLE_OWNER, pid), 0);
    ck_assert_int_eq(bind_to(&world, slot, ROLE_OWNER, 0), 0);
    ck_assert_int_eq(slot->owner, 0);
    ck_assert_int_eq(bind_to(&world, world_slot(&world, "marker"), ROLE_OWNER, marker), 0);
    idler_end(pid);
    idler_end(marker);
    loop_until(world.loop, one_has_vanished, &world);
    ck_assert_str_eq(world.vanished[0], "marker");
    ck_assert_ptr_eq(slot_find(world.slots, "job"), slot);
    world_end(&world);
}
END_TEST

START_TEST(test_who_can_be_named)
{
    pid_t pid = idler_start(0);
    struct world world;
    struct slot *slot;

    world_begin(&world, DATA_PATH_PASSTHROUGH);
    slot = world_slot(&world, "job");
    world.caller.uid = 4242;
    ck_assert_int_eq(bind_to(&world, slot, ROLE_OWNER, pid), -EPERM);
    expect_refusal(slot, EPERM, "another user");
    ck_assert_str_eq(slot->refusal.operation, "set owner");
    world.caller.uid = getuid();
    idler_end(pid);
    ck_assert_int_eq(bind_to(&world, slot, ROLE_WORKER, pid), -ESRCH);
    expect_refusal(slot, ESRCH, "no such process");
    ck_assert_str_eq(slot->refusal.operation, "set worker");
    ck_assert_int_eq(slot->owner | slot->worker, 0);
    world_end(&world);
}
END_TEST

/* A process may always name itself, whatever its real user. */
START_TEST(test_naming_oneself)
{
    struct world world;
    struct slot *slot;

    world_begin(&world, DATA_PATH_PASSTHROUGH);
    slot = world_slot(&world, "job");
    world.caller.uid = 4242;
    ck_assert_int_eq(bind_to(&world, slot, ROLE_OWNER, getpid()), 0);
    ck_assert_int_eq(bind_to(&world, slot, ROLE_WORKER, getpid()), 0);
    ck_assert_int_eq(bind_to(&world, slot, ROLE_WORKER, getppid()), -EPERM);
    ck_assert_int_eq(slot->worker, getpid());
    world_end(&world);
}
END_TEST

static bool slot_is_gone(void *context)
{
    return ((const struct world *)context)->vanished_count == 1;
}

/*
 * Another process gets the owner's pid before the loop learns that the owner has ended: the test can bind to
 * it, and still the slot goes with its owner, also as the last of many.
 */
START_TEST(test_owner_with_a_reused_pid)
{
    struct world_options options = world_defaults();
    pid_t pid = idler_start(0);
    struct slot *slot = NULL, *other;
    struct world world;

    options.slots_max = 300;
    ck_assert(world_try_begin(&world, &options));
    for (int i = 0; i < 300; i++) {
        char name[16];

        snprintf(name, sizeof(name), "%d", i);
        slot = world_slot(&world, name);
    }
    while (_i && (other = slot_after(world.slots, 0)) != slot)
        exchange_remove(world.exchange, other);
    ck_assert_int_eq(bind_to(&world, slot, ROLE_OWNER, pid), 0);
    idler_end(pid);
    if (idler_start_as(pid) == pid) {
        ck_assert_int_eq(bind_to(&world, slot, ROLE_WORKER, pid), 0);
        loop_until(world.loop, slot_is_gone, &world);
        ck_assert_ptr_null(slot_find(world.slots, "299"));
        idler_end(pid);
    }
    world_end(&world);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("alive");
    TCase *workers = tcase_create("workers");
    TCase *owners = tcase_create("owners");

    tcase_set_timeout(workers, 60);
    tcase_add_loop_test(workers, test_worker_dies_at_work, 0, 2 * DATA_PATHS);
    tcase_add_loop_test(workers, test_worker_dies_too_early, 0, 2);
    tcase_add_loop_test(workers, test_worker_of_a_follower, 0, 2);
    tcase_add_test(workers, test_worker_exits_after_failing);
    tcase_add_test(workers, test_worker_dies_when_done);
    tcase_add_loop_test(workers, test_worker_of_many_rounds, 0, 2);
    tcase_add_loop_test(workers, test_worker_of_the_next_round, 0, 2);
    tcase_add_test(workers, test_worker_is_replaced);
    suite_add_tcase(suite, workers);
    tcase_set_timeout(owners, 60);
    tcase_add_loop_test(owners, test_owner_dies, 0, DATA_PATHS);
    tcase_add_test(owners, test_owner_is_cleared);
    tcase_add_test(owners, test_who_can_be_named);
    tcase_add_test(owners, test_naming_oneself);
    tcase_add_loop_test(owners, test_owner_with_a_reused_pid, 0, 2);
    suite_add_tcase(suite, owners);
    return suite_run(suite);
}
