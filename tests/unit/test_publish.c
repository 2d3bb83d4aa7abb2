// SPDX-License-Identifier: Apache-2.0
/*
 * test_publish.c - arrays whose pages the background has to reserve before they are published.
 */
#include "exchange_fixture.h"
#include "parked.h"
#include "suite.h"
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

enum { FAR = 1 << 20 }; /* bytes; too much to be reserved at once */

static void begin(struct world *world, enum arena_kind kind, enum exchange_data_path data_path,
                  uint64_t capacity)
{
    struct world_options options = world_defaults();

    options.kind = kind;
    options.data_path = data_path;
    options.capacity = capacity;
    ck_assert(world_try_begin(world, &options));
}

/* One double at the end, behind a hole without pages. */
static struct slot *sparse_slot(struct world *world, const char *name, double value)
{
    struct slot *slot = world_slot(world, name);
    struct handle *handle = world_open(world, slot, SLOT_DATA_BIN, HANDLE_WRITES);
    int fd;

    fd = client_open(handle->segment, O_WRONLY);
    ck_assert_int_eq(pwrite(fd, &value, sizeof(value), FAR - (off_t)sizeof(value)), sizeof(value));
    close(fd);
    world_close(world, handle);
    return slot;
}

START_TEST(test_holes_are_filled)
{
    struct world world;
    struct parked *parked, *reader;
    struct slot *slot;
    uint64_t size, allocated;

    begin(&world, (enum arena_kind)(_i / 2), (enum exchange_data_path)(_i % 2), 64 * MIB);
    slot = sparse_slot(&world, "job", 0);
    parked = world_park_working(&world, slot, RECORD_FLAG_INPUT);
    ck_assert_str_eq(parked->wait.reason, "the data is being made safe in the arena");
    reader = world_park_open(&world, slot, SLOT_RESULT_BIN);
    expect_state(slot, STATE_FILLING, 1);
    background_drain(world.bench.background);
    expect_ended(parked, 0);
    expect_parked(reader);
    expect_state(slot, STATE_READY, 1);
    ck_assert_int_eq(slot->record.input_length, FAR / 8);
    ck_assert_int_eq(step_array_stat(world.exchange, slot, RECORD_SIDE_INPUT, &size, &allocated), 0);
    ck_assert_uint_ge(allocated, size);
    world_expect(&world, slot, SLOT_DATA_BIN, FAR / 8, 0);
    exchange_remove(world.exchange, slot);
    expect_ended(reader, -ECANCELED);
    world_end(&world);
}
END_TEST

static void drop(struct world *world, struct slot *slot)
{
    ck_assert_int_eq(world_flag(world, slot, RECORD_FLAG_NONE), 0);
}

static void drop_and_fill(struct world *world, struct slot *slot)
{
    drop(world, slot);
    world_put(world, slot, SLOT_DATA_BIN, 5, 1);
}

static void remove_slot(struct world *world, struct slot *slot)
{
    exchange_remove(world->exchange, slot);
    world_slot(world, "in its place");
}

/* The job ends after the round, and its result does nothing. */
START_TEST(test_round_ends_meanwhile)
{
    static void (*const ends[])(struct world * world, struct slot * slot) = {drop, drop_and_fill,
                                                                             remove_slot};
    struct world world;

    begin(&world, ARENA_MEMFD, (enum exchange_data_path)_i, 64 * MIB);
    for (size_t i = 0; i < sizeof(ends) / sizeof(ends[0]); i++) {
        struct slot *slot = sparse_slot(&world, "job", 1);
        struct parked *parked = world_park_working(&world, slot, RECORD_FLAG_INPUT);

        ends[i](&world, slot);
        ck_assert_int_eq(parked->ends, 1);
        background_drain(world.bench.background);
        world_check(&world);
        expect_ended(parked, -ECANCELED);
        if (ends[i] == drop_and_fill) {
            expect_state(slot, STATE_FILLING, 1);
            ck_assert_int_eq(world_flag(&world, slot, RECORD_FLAG_INPUT), 0);
            ck_assert_int_eq(slot->record.input_length, 5);
        }
        while ((slot = slot_after(world.slots, 0)))
            exchange_remove(world.exchange, slot);
    }
    world_end(&world);
}
END_TEST

/* A client opens the array for writing during the job: then it is not published. */
START_TEST(test_written_meanwhile)
{
    struct parked *parked;
    struct handle *handle;
    struct world world;
    struct slot *slot;

    begin(&world, ARENA_MEMFD, (enum exchange_data_path)_i, 64 * MIB);
    slot = sparse_slot(&world, "job", 1);
    parked = world_park_working(&world, slot, RECORD_FLAG_INPUT);
    handle = world_open(&world, slot, SLOT_DATA_BIN, HANDLE_WRITES);
    background_drain(world.bench.background);
    expect_ended(parked, -EBUSY);
    expect_state(slot, STATE_FILLING, 1);
    world_close(&world, handle);
    ck_assert_int_eq(world_flag(&world, slot, RECORD_FLAG_INPUT), 0);
    world_end(&world);
}
END_TEST

static void no_answer(void *context, int result)
{
    *(int *)context = result + 1;
}

/* A flag that follows an ftruncate waits for it. */
START_TEST(test_reservation_under_way)
{
    struct parked *parked;
    struct world world;
    struct slot *slot;
    int answer = 0;

    begin(&world, ARENA_MEMFD, (enum exchange_data_path)_i, 64 * MIB);
    slot = world_slot(&world, "job");
    ck_assert_int_eq(world_resize(&world, slot, SLOT_DATA_BIN, NULL, RESERVE_RESIZE, 8), 0);
    array_resize(world.exchange, slot, RECORD_SIDE_INPUT, NULL, &world.caller, RESERVE_RESIZE, FAR, no_answer,
                 &answer);
    parked = world_park_working(&world, slot, RECORD_FLAG_INPUT);
    ck_assert_str_eq(parked->wait.reason, "its pages are being reserved");
    background_drain(world.bench.background);
    ck_assert_int_eq(answer, 1);
    expect_ended(parked, 0);
    ck_assert_int_eq(slot->record.input_length, FAR / 8);
    world_end(&world);
}
END_TEST

/* Without room for its holes an array is not published; the data stays, and can be published later. */
START_TEST(test_no_room)
{
    struct world world;
    struct slot *slot, *other;

    begin(&world, (enum arena_kind)(_i / 2), (enum exchange_data_path)(_i % 2), 3 * FAR + MIB);
    other = world_slot(&world, "other");
    ck_assert_int_eq(world_resize(&world, other, SLOT_DATA_BIN, NULL, RESERVE_RESIZE, FAR + FAR / 2), 0);
    slot = sparse_slot(&world, "job", 0);
    ck_assert_int_eq(world_flag(&world, slot, RECORD_FLAG_INPUT), -ENOSPC);
    ck_assert_int_eq(slot->refusal.error, ENOSPC);
    expect_state(slot, STATE_FILLING, 1);
    ck_assert_uint_eq(world_size(&world, slot, SLOT_DATA_BIN), FAR);
    exchange_remove(world.exchange, other);
    background_drain(world.bench.background);
    ck_assert_int_eq(world_flag(&world, slot, RECORD_FLAG_INPUT), 0);
    world_expect(&world, slot, SLOT_DATA_BIN, FAR / 8, 0);
    world_end(&world);
}
END_TEST

START_TEST(test_retry_without_an_input)
{
    struct slot *slot, *source;
    struct world world;

    begin(&world, ARENA_MEMFD, DATA_PATH_PASSTHROUGH, 2 * MIB);
    slot = world_slot(&world, "job");
    source = world_slot(&world, "source");
    ck_assert_int_eq(world_link(&world, slot, source, RECORD_SIDE_RESULT), 0);
    exchange_remove(world.exchange, source);
    expect_state(slot, STATE_FAILED, 1);
    ck_assert_int_eq(world_flag(&world, slot, RECORD_FLAG_INPUT), -EPROTO);
    expect_refusal(slot, EPROTO, "before it had an input");
    world_publish(&world, slot, 3, 1);
    expect_state(slot, STATE_READY, 2);
    world_end(&world);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("publish");
    TCase *tests = tcase_create("both data paths");

    tcase_set_timeout(tests, 60);
    tcase_add_loop_test(tests, test_holes_are_filled, 2, 2 * ARENA_KINDS); /* all but the tmpfs */
    tcase_add_loop_test(tests, test_round_ends_meanwhile, 0, DATA_PATHS);
    tcase_add_loop_test(tests, test_written_meanwhile, 0, DATA_PATHS);
    tcase_add_loop_test(tests, test_reservation_under_way, 0, DATA_PATHS);
    tcase_add_loop_test(tests, test_no_room, 2, 2 * ARENA_KINDS);
    tcase_add_test(tests, test_retry_without_an_input);
    suite_add_tcase(suite, tests);
    return suite_run(suite);
}
