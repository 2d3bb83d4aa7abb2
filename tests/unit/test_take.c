// SPDX-License-Identifier: Apache-2.0
/*
 * test_take.c - an array in one read of metadata.bin: the record and, behind it, the bytes of the same moment.
 */
#include "files/take.h"

#include "slot_files_fixture.h"
#include "suite.h"
#include <errno.h>
#include <string.h>

enum { MANY = 5000 };

static struct image {
    struct record record;
    double values[MANY + 1];
} image;

/* Returns the bytes behind the record, or -errno. */
static ssize_t take(struct world *world, struct slot *slot, enum record_side side, size_t size)
{
    struct handle *handle = open_file(world, slot, SLOT_METADATA_BIN, HANDLE_READS);
    off_t offset = side == RECORD_SIDE_INPUT ? RECORD_TAKE_INPUT : RECORD_TAKE_RESULT;
    ssize_t got =
        slot_files_row(SLOT_METADATA_BIN)->read(world->exchange, handle, (char *)&image, size, offset);

    exchange_run(world->exchange);
    close_file(world, handle);
    world_check(world);
    return got < 0 ? got : got - RECORD_SIZE;
}

static void expect_taken(struct world *world, struct slot *slot, enum record_side side, size_t count,
                         double value)
{
    ck_assert_int_eq(take(world, slot, side, sizeof(image)), (ssize_t)(count * sizeof(double)));
    ck_assert_mem_eq(&image.record, &slot->record, sizeof(image.record));
    for (size_t i = 0; i < count; i++)
        ck_assert_double_eq(image.values[i], value);
}

/* An array in the page, one in a segment, and an empty one; on every kind of arena. */
START_TEST(test_arrays)
{
    static const enum arena_kind kinds[] = {ARENA_MEMFD, ARENA_TMPFS, ARENA_DIR};
    static const uint64_t counts[] = {1, RECORD_INLINE_MAX / sizeof(double), 249, MANY};
    struct world_options options = world_defaults();
    struct world world;
    struct slot *slot;

    options.kind = kinds[_i / DATA_PATHS];
    options.data_path = (enum exchange_data_path)(_i % DATA_PATHS);
    if (!world_try_begin(&world, &options))
        return;
    slot = world_slot(&world, "job");
    for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++) {
        ck_assert_int_eq(world_send(&world, slot, RECORD_FLAG_INPUT, counts[i], 1, RECORD_LENGTH_ALL), 0);
        expect_taken(&world, slot, RECORD_SIDE_INPUT, counts[i], 1);
        ck_assert_int_eq(take(&world, slot, RECORD_SIDE_RESULT, sizeof(image)), -EAGAIN);
        expect_refusal(slot, EAGAIN, "waits for a worker");
        world_finish(&world, slot, counts[i], 2);
        expect_taken(&world, slot, RECORD_SIDE_RESULT, counts[i], 2);
        expect_taken(&world, slot, RECORD_SIDE_INPUT, counts[i], 1);
    }
    ck_assert_int_eq(world_flag(&world, slot, RECORD_FLAG_NONE), 0);
    ck_assert_int_eq(world_flag(&world, slot, RECORD_FLAG_INPUT), 0);
    expect_taken(&world, slot, RECORD_SIDE_INPUT, 0, 0);
    world_end(&world);
}
END_TEST

/* Not even the client that fills it takes an array that is not published. */
START_TEST(test_states)
{
    struct world world;

    world_begin(&world, (enum exchange_data_path)_i);
    for (enum handshake_state state = STATE_IDLE; state < HANDSHAKE_STATES; state++) {
        struct slot *slot = world_slot_in(&world, handshake_state_name(state), state);
        bool has_input = state != STATE_IDLE && state != STATE_FILLING;
        int without = state == STATE_FAILED ? -EIO : -EAGAIN;

        if (has_input)
            expect_taken(&world, slot, RECORD_SIDE_INPUT, WORLD_COUNT, 1);
        else
            ck_assert_int_eq(take(&world, slot, RECORD_SIDE_INPUT, sizeof(image)), -EAGAIN);
        if (state == STATE_DONE)
            expect_taken(&world, slot, RECORD_SIDE_RESULT, WORLD_COUNT, 2);
        else
            ck_assert_int_eq(take(&world, slot, RECORD_SIDE_RESULT, sizeof(image)), without);
        expect_state(slot, state, 1);
    }
    world_end(&world);
}
END_TEST

/* At the end of a chain a result is taken by a read that has all of it, a failure by one that gets its EIO. */
START_TEST(test_outcomes)
{
    const size_t all = RECORD_SIZE + WORLD_COUNT * sizeof(double);
    struct world world;
    struct slot *a, *b;

    world_begin(&world, (enum exchange_data_path)_i);
    a = world_slot(&world, "a");
    b = world_follow(&world, "b", a, RECORD_SIDE_INPUT);
    world_publish(&world, a, 1, 1);
    world_finish(&world, a, 1, 1);
    world_finish(&world, b, WORLD_COUNT, 2);
    ck_assert_int_eq(world_send(&world, a, RECORD_FLAG_INPUT, 1, 3, 1), WAIT_FOR_PEER);
    ck_assert_int_eq(take(&world, b, RECORD_SIDE_RESULT, all - 1), (ssize_t)(all - 1 - RECORD_SIZE));
    ck_assert_int_eq(take(&world, b, RECORD_SIDE_INPUT, all), sizeof(double));
    ck_assert_int_eq(world_send(&world, a, RECORD_FLAG_INPUT, 1, 3, 1), WAIT_FOR_PEER);
    ck_assert_int_eq(take(&world, b, RECORD_SIDE_RESULT, all), (ssize_t)(all - RECORD_SIZE));
    ck_assert_int_eq(world_send(&world, a, RECORD_FLAG_INPUT, 1, 3, 1), 0);
    expect_state(b, STATE_READY, 2);
    ck_assert_int_eq(world_flag(&world, b, RECORD_FLAG_FAILED), 0);
    world_finish(&world, a, 1, 1);
    ck_assert_int_eq(world_send(&world, a, RECORD_FLAG_INPUT, 1, 4, 1), WAIT_FOR_PEER);
    ck_assert_int_eq(take(&world, b, RECORD_SIDE_RESULT, all), -EIO);
    ck_assert_int_eq(world_send(&world, a, RECORD_FLAG_INPUT, 1, 4, 1), 0);
    expect_state(b, STATE_READY, 3);
    world_end(&world);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("take");
    TCase *tests = tcase_create("take");

    tcase_set_timeout(tests, 60);
    tcase_add_loop_test(tests, test_arrays, 0, 3 * DATA_PATHS);
    tcase_add_loop_test(tests, test_states, 0, DATA_PATHS);
    tcase_add_loop_test(tests, test_outcomes, 0, DATA_PATHS);
    suite_add_tcase(suite, tests);
    return suite_run(suite);
}
