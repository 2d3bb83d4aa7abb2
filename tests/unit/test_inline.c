// SPDX-License-Identifier: Apache-2.0
/*
 * test_inline.c - inline arrays: the bytes in a slot's entry and page, their copies, and the accounts.
 * world_check compares page and copy with the record after each test.
 */
#include "exchange/put.h"

#include "exchange/copy.h"
#include "exchange/exchange.h"
#include "exchange_fixture.h"
#include "outcome.h"
#include "slot/page.h"
#include "suite.h"
#include <errno.h>
#include <string.h>

enum { ANN = 1000, BOB = 1001, MOST = RECORD_INLINE_MAX / sizeof(double) };

static const size_t element = sizeof(double);

static int send_input(struct world *world, struct slot *slot, uint64_t count, double value)
{
    return world_send(world, slot, RECORD_FLAG_INPUT, count, value, (int64_t)count);
}

static int send_result(struct world *world, struct slot *slot, uint64_t count, double value)
{
    return world_send(world, slot, RECORD_FLAG_RESULT, count, value, (int64_t)count);
}

static uint64_t used(struct world *world)
{
    bench_settle_down(&world->bench);
    return bench_usage(&world->bench).used;
}

static void expect_in_page(const struct slot *slot, enum record_side side, uint64_t count, double value)
{
    struct record_page page;
    double shown;

    page_show(slot, &page);
    ck_assert_uint_eq(slot_inline_size(slot, side), count * element);
    for (uint64_t i = 0; i < count; i++) {
        memcpy(&shown, (side == RECORD_SIDE_INPUT ? page.input : page.result) + i * element, element);
        ck_assert(shown == value);
    }
}

START_TEST(test_in_the_page)
{
    static const uint64_t counts[] = {1, MOST - 1, MOST, MOST + 1, 1};
    struct world world;
    struct slot *slot;
    uint64_t before;

    world_begin(&world, (enum exchange_data_path)_i);
    slot = world_slot(&world, "job");
    before = used(&world);
    for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++) {
        bool fits = counts[i] <= MOST;

        ck_assert_int_eq(send_input(&world, slot, counts[i], 1), 0);
        expect_in_page(slot, RECORD_SIDE_INPUT, fits ? counts[i] : 0, 1);
        expect_in_page(slot, RECORD_SIDE_RESULT, 0, 0);
        ck_assert_int_eq(send_result(&world, slot, counts[i], 2), 0);
        expect_in_page(slot, RECORD_SIDE_RESULT, fits ? counts[i] : 0, 2);
        ck_assert_int_eq(!slot->segments[RECORD_SIDE_INPUT], fits);
        ck_assert_int_eq(used(&world) == before, fits);
        ck_assert_uint_eq(world_size(&world, slot, SLOT_DATA_BIN), counts[i] * element);
        world_check(&world);
        world_expect(&world, slot, SLOT_DATA_BIN, counts[i], 1);
        world_expect(&world, slot, SLOT_RESULT_BIN, counts[i], 2);
        ck_assert_ptr_nonnull(slot->segments[RECORD_SIDE_RESULT]);
        world_check(&world);
        ck_assert_int_eq(world_flag(&world, slot, RECORD_FLAG_NONE), 0);
        world_check(&world);
        ck_assert_uint_eq(used(&world), before);
    }
    world_end(&world);
}
END_TEST

/* The bytes of a round that failed are published again, as others. */
START_TEST(test_again)
{
    struct world world;
    struct slot *slot;
    struct record record;

    world_begin(&world, (enum exchange_data_path)_i);
    slot = world_slot(&world, "job");
    ck_assert_int_eq(send_input(&world, slot, 3, 1), 0);
    ck_assert_int_eq(world_flag(&world, slot, RECORD_FLAG_FAILED), 0);
    record = slot->record;
    record.flag = RECORD_FLAG_INPUT;
    record.dtype = RECORD_UINT8;
    ck_assert_int_eq(world_write(&world, slot, &record, sizeof(record), 0), -EINVAL);
    record.input_length = RECORD_LENGTH_ALL;
    ck_assert_int_eq(world_write(&world, slot, &record, sizeof(record), 0), 0);
    ck_assert_int_eq(slot->record.input_length, 24);
    expect_in_page(slot, RECORD_SIDE_INPUT, 3, 1);
    world_expect(&world, slot, SLOT_DATA_BIN, 3, 1);
    world_end(&world);
}
END_TEST

/* --- accounts --- */

START_TEST(test_accounts)
{
    struct world_options options = world_defaults();
    struct world world;
    struct slot *slot, *follower, before;
    uid_t self;

    options.data_path = (enum exchange_data_path)_i;
    options.limits.bytes_per_user = 104;
    ck_assert(world_try_begin(&world, &options));
    self = world.caller.uid;
    world.caller.uid = ANN;
    slot = world_slot(&world, "job");
    world.caller.uid = BOB;
    follower = world_follow(&world, "follower", slot, RECORD_SIDE_RESULT);
    world.caller.uid = ANN;
    ck_assert_int_eq(send_input(&world, slot, 6, 1), 0);
    ck_assert_uint_eq(world_charged(&world, ANN), 48);
    before = *slot;
    ck_assert_int_eq(send_result(&world, slot, 8, 1), -EDQUOT);
    expect_refusal(slot, EDQUOT, "bytes_per_user");
    ck_assert_mem_eq(&slot->record, &before.record, sizeof(slot->record));
    ck_assert_int_eq(send_result(&world, slot, 6, 2), 0);
    ck_assert_uint_eq(world_charged(&world, ANN), 96);
    ck_assert_uint_eq(world_charged(&world, BOB), 48);

    /* The copy is charged instead of the inline bytes, and both slots share one. */
    world_expect(&world, slot, SLOT_DATA_BIN, 6, 1);
    ck_assert_uint_eq(world_charged(&world, ANN), 96);
    world_expect(&world, follower, SLOT_DATA_BIN, 6, 2);
    ck_assert_uint_eq(world_charged(&world, ANN), 96);
    ck_assert_uint_eq(world_charged(&world, BOB), 0);

    ck_assert_int_eq(exchange_chown(world.exchange, slot, BOB, slot->gid), 0);
    ck_assert_uint_eq(world_charged(&world, ANN), 0);
    ck_assert_uint_eq(world_charged(&world, BOB), 96);
    ck_assert_int_eq(exchange_chown(world.exchange, slot, ANN, slot->gid), 0);

    /* A source that goes on leaves the copy to the follower. */
    ck_assert_int_eq(send_input(&world, slot, 1, 1), 0);
    ck_assert_uint_eq(world_charged(&world, ANN), 8);
    ck_assert_uint_eq(world_charged(&world, BOB), 48);
    ck_assert_int_eq(exchange_chown(world.exchange, slot, BOB, slot->gid), 0);
    ck_assert_uint_eq(world_charged(&world, BOB), 56);
    world.caller.uid = self;
    world_end(&world);
}
END_TEST

/* --- copies --- */

/* All slots from the one that is opened to the one that is charged get the same copy. */
START_TEST(test_along_a_chain)
{
    struct slot *source, *first, *second, *beside;
    const struct segment *copy;
    struct world world;

    world_begin(&world, (enum exchange_data_path)_i);
    source = world_slot(&world, "source");
    first = world_follow(&world, "first", source, RECORD_SIDE_RESULT);
    second = world_follow(&world, "second", first, RECORD_SIDE_INPUT);
    beside = world_follow(&world, "beside", source, RECORD_SIDE_RESULT);
    ck_assert_int_eq(send_input(&world, source, 2, 1), 0);
    ck_assert_int_eq(send_result(&world, source, 3, 2), 0);
    expect_in_page(second, RECORD_SIDE_INPUT, 3, 2);
    ck_assert_uint_eq(second->arrays[RECORD_SIDE_INPUT].number, source->arrays[RECORD_SIDE_RESULT].number);
    world_expect(&world, second, SLOT_DATA_BIN, 3, 2);
    copy = source->segments[RECORD_SIDE_RESULT];
    ck_assert_ptr_nonnull(copy);
    ck_assert_ptr_eq(first->segments[RECORD_SIDE_INPUT], copy);
    ck_assert_ptr_null(beside->segments[RECORD_SIDE_INPUT]);
    world_check(&world);
    world_expect(&world, beside, SLOT_DATA_BIN, 3, 2);
    ck_assert_ptr_eq(beside->segments[RECORD_SIDE_INPUT], copy);
    world_check(&world);

    /* Without the source the array is the follower's, and its copy. */
    exchange_unchain(world.exchange, first);
    ck_assert_int_eq(world_flag(&world, source, RECORD_FLAG_NONE), 0);
    world_check(&world);
    world_expect(&world, second, SLOT_DATA_BIN, 3, 2);
    expect_in_page(first, RECORD_SIDE_INPUT, 3, 2);
    exchange_remove(world.exchange, source);
    world_expect(&world, beside, SLOT_DATA_BIN, 3, 2);
    world_end(&world);
}
END_TEST

/* A slot whose arena has no room, and two arrays in its page. */
static struct slot *begin_without_room(struct world *world, struct slot **other)
{
    struct world_options options = world_defaults();
    struct slot *slot;
    uint64_t room;

    options.data_path = DATA_PATH_PASSTHROUGH;
    options.capacity = 16 * MIB; /* a file of that size is not removed at once */
    ck_assert(world_try_begin(world, &options));
    slot = world_slot(world, "job");
    *other = world_slot(world, "other");
    room = ledger_room(world->bench.arena);
    ck_assert_int_eq(world_resize(world, *other, SLOT_DATA_BIN, NULL, RESERVE_RESIZE, room), 0);
    ck_assert_uint_lt(ledger_room(world->bench.arena), 4096);
    ck_assert_int_eq(send_input(world, slot, 2, 1), 0);
    ck_assert_int_eq(send_result(world, slot, 2, 2), 0);
    return slot;
}

START_TEST(test_no_room)
{
    struct slot *slot, *other;
    struct handle *handle;
    struct world world;

    slot = begin_without_room(&world, &other);
    ck_assert_int_eq(world_try_open(&world, slot, SLOT_RESULT_BIN, HANDLE_READS, &handle), -ENOSPC);
    expect_refusal(slot, ENOSPC, "arena is full");
    ck_assert_uint_eq(slot->outcome_taken, 0);
    ck_assert_int_eq(array_move_result(world.exchange, slot, slot, &world.caller), -ENOSPC);
    expect_state(slot, STATE_DONE, 1);
    expect_in_page(slot, RECORD_SIDE_RESULT, 2, 2);
    world_check(&world);
    ck_assert_int_eq(world_flag(&world, other, RECORD_FLAG_NONE), 0);
    background_drain(world.bench.background);
    world_expect(&world, slot, SLOT_RESULT_BIN, 2, 2);
    ck_assert_uint_eq(slot->outcome_taken, 1);
    ck_assert_int_eq(array_move_result(world.exchange, slot, slot, &world.caller), 0);
    expect_state(slot, STATE_FILLING, 2);
    expect_in_page(slot, RECORD_SIDE_INPUT, 0, 0);
    world_end(&world);
}
END_TEST

/* The room is on its way: a client that opens the file waits for it, unless the slot goes on meanwhile. */
START_TEST(test_room_that_comes)
{
    struct outcome outcomes[2] = {{0}};
    struct slot *slot, *other;
    struct handle *handle;
    struct world world;

    slot = begin_without_room(&world, &other);
    handle = calloc(1, sizeof(*handle));
    ck_assert_ptr_nonnull(handle);
    *handle = (struct handle){.file = SLOT_RESULT_BIN, .access = HANDLE_READS};
    ck_assert_int_eq(world_flag(&world, other, RECORD_FLAG_NONE), 0); /* its file is still being removed */
    ck_assert_int_eq(array_open(world.exchange, slot, handle, &world.caller,
                                step_array_identity(world.exchange, slot, RECORD_SIDE_RESULT)),
                     0);
    ck_assert(array_has_holes(world.exchange, slot, RECORD_SIDE_RESULT));
    for (int i = 0; i < 2; i++)
        array_fill_holes(world.exchange, slot, RECORD_SIDE_RESULT, &world.caller, outcome_note, &outcomes[i]);
    ck_assert_int_eq(outcomes[0].calls + outcomes[1].calls, 0);
    if (_i)
        ck_assert_int_eq(world_flag(&world, slot, RECORD_FLAG_NONE), 0);
    background_drain(world.bench.background);
    for (int i = 0; i < 2; i++) {
        ck_assert_int_eq(outcomes[i].calls, 1);
        ck_assert_int_eq(outcomes[i].result, _i ? -ESTALE : 0);
    }
    world_close(&world, handle);
    if (!_i)
        world_expect(&world, slot, SLOT_RESULT_BIN, 2, 2);
    world_end(&world);
}
END_TEST

/* --- another server --- */

START_TEST(test_restart)
{
    struct world_options options = world_defaults();
    struct slot *slot, *follower;
    struct world world;
    uint64_t charged;

    options.kind = ARENA_DIR;
    ck_assert(world_try_begin(&world, &options));
    slot = world_slot(&world, "job");
    follower = world_follow(&world, "follower", slot, RECORD_SIDE_RESULT);
    ck_assert_int_eq(send_input(&world, slot, 2, 1), 0);
    ck_assert_int_eq(send_result(&world, slot, MOST, 2), 0);
    if (_i) /* copies, which the index does not name */
        world_expect(&world, follower, SLOT_DATA_BIN, MOST, 2);
    charged = world_charged(&world, slot->uid);
    world_restart(&world);
    slot = slot_find(world.slots, "job");
    follower = slot_find(world.slots, "follower");
    ck_assert_ptr_null(slot->segments[RECORD_SIDE_RESULT]);
    ck_assert_ptr_null(follower->segments[RECORD_SIDE_INPUT]);
    ck_assert_uint_eq(world_charged(&world, slot->uid), _i ? charged + MOST * element : charged);
    expect_in_page(slot, RECORD_SIDE_INPUT, 2, 1);
    expect_in_page(follower, RECORD_SIDE_INPUT, MOST, 2);
    world_check(&world);
    world_expect(&world, follower, SLOT_DATA_BIN, MOST, 2);
    world_expect(&world, slot, SLOT_RESULT_BIN, MOST, 2);
    ck_assert_ptr_eq(slot->segments[RECORD_SIDE_RESULT], follower->segments[RECORD_SIDE_INPUT]);
    world_end(&world);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("inline");
    TCase *tests = tcase_create("inline");

    tcase_set_timeout(tests, 60);
    tcase_add_loop_test(tests, test_in_the_page, 0, DATA_PATHS);
    tcase_add_loop_test(tests, test_again, 0, DATA_PATHS);
    tcase_add_loop_test(tests, test_accounts, 0, DATA_PATHS);
    tcase_add_loop_test(tests, test_along_a_chain, 0, DATA_PATHS);
    tcase_add_test(tests, test_no_room);
    tcase_add_loop_test(tests, test_room_that_comes, 0, 2);
    tcase_add_loop_test(tests, test_restart, 0, 2);
    suite_add_tcase(suite, tests);
    return suite_run(suite);
}
