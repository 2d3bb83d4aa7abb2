// SPDX-License-Identifier: Apache-2.0
/*
 * test_chain.c - links that are legal, deliveries and their moment, and failures of a source.
 */
#include "exchange/chain.h"

#include "exchange_fixture.h"
#include "parked.h"
#include "slot/text.h"
#include "suite.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { COUNT = 3 };

static void expect_text(struct world *world, const struct slot *slot, const char *expected)
{
    static char text[WORLD_TEXT_MAX];

    world_text(world, slot, SLOT_ERROR, text);
    ck_assert_str_eq(text, expected);
}

/* --- links --- */

START_TEST(test_links)
{
    static const int results[HANDSHAKE_STATES] = {
        [STATE_FILLING] = -EBUSY, [STATE_READY] = -EBUSY, [STATE_COMPUTING] = -EBUSY};
    struct slot *a, *b, *c;
    struct world world;

    world_begin(&world, (enum exchange_data_path)_i);
    a = world_slot(&world, "a");
    for (int state = 0; state < HANDSHAKE_STATES; state++) {
        struct slot *slot = world_slot_in(&world, "slot", (enum handshake_state)state);

        ck_assert_int_eq(world_link(&world, slot, a, RECORD_SIDE_RESULT), results[state]);
        if (results[state])
            expect_refusal(slot, EBUSY, "on its way");
        expect_state(slot, (enum handshake_state)state, 1);
        world_check(&world);
        exchange_remove(world.exchange, slot);
    }
    b = world_follow(&world, "b", a, RECORD_SIDE_RESULT);
    c = world_follow(&world, "c", b, RECORD_SIDE_INPUT);
    ck_assert_int_eq(world_link(&world, b, c, RECORD_SIDE_RESULT), -EEXIST);
    ck_assert_int_eq(world_link(&world, a, a, RECORD_SIDE_RESULT), -ELOOP);
    ck_assert_int_eq(world_link(&world, a, b, RECORD_SIDE_INPUT), -ELOOP);
    ck_assert_int_eq(world_link(&world, a, c, RECORD_SIDE_RESULT), -ELOOP);
    expect_refusal(a, ELOOP, "close on itself");
    ck_assert_uint_eq(a->source, 0);
    exchange_unchain(world.exchange, c);
    exchange_unchain(world.exchange, c); /* it has no source: changes nothing */
    ck_assert_int_eq(world_link(&world, a, c, RECORD_SIDE_RESULT), 0);
    ck_assert_int_eq(world_link(&world, c, b, RECORD_SIDE_RESULT), -ELOOP);
    world_end(&world);
}
END_TEST

START_TEST(test_targets)
{
    static const struct {
        const char *target;
        int result;
        enum record_side side;
    } rows[] = {
        {"../a/result.bin", 0, RECORD_SIDE_RESULT},
        {"../a/data.bin", 0, RECORD_SIDE_INPUT},
        {"/mnt/x/a/data.bin", 0, RECORD_SIDE_INPUT},
        {"../none/data.bin", -ENOENT, 0},
        {"../a/data.txt", -EINVAL, 0},
        {"../a/data.bin/", -EINVAL, 0},
        {"../a/data.bin2", -EINVAL, 0},
        {"../a//data.bin", -EINVAL, 0},
        {"..//data.bin", -EINVAL, 0},
        {"../a", -EINVAL, 0},
        {"../", -EINVAL, 0},
        {"", -EINVAL, 0},
        {"a/data.bin", -EINVAL, 0},
        {"/mnt/xx/a/data.bin", -EINVAL, 0},
        {"/mnt/x", -EINVAL, 0},
        {"/mnt/x/", -EINVAL, 0},
        {"/etc/passwd", -EINVAL, 0},
        {"../../a/data.bin", -EINVAL, 0},
        {"../.pyrmap/data.bin", -ENOENT, 0},
    };
    char name[SLOT_NAME_MAX + 2], target[CHAIN_TARGET_MAX], expected[CHAIN_TARGET_MAX];
    struct world world;
    struct slot *a, *b, *found;
    enum record_side side;

    world_begin(&world, DATA_PATH_PASSTHROUGH);
    a = world_slot(&world, "a");
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        ck_assert_msg(chain_parse_target(world.exchange, "/mnt/x", rows[i].target, &found, &side) ==
                          rows[i].result,
                      "%s", rows[i].target);
        if (rows[i].result == 0) {
            ck_assert_ptr_eq(found, a);
            ck_assert_int_eq(side, rows[i].side);
        }
    }
    /* The longest name that a slot has, and one byte more. */
    memset(name, 'n', sizeof(name));
    name[SLOT_NAME_MAX] = '\0';
    a = world_slot(&world, name);
    b = world_follow(&world, "b", a, RECORD_SIDE_INPUT);
    chain_target(world.exchange, b, target);
    snprintf(expected, sizeof(expected), "../%s/data.bin", name);
    ck_assert_str_eq(target, expected);
    ck_assert_int_eq(chain_parse_target(world.exchange, "/mnt/x", target, &found, &side), 0);
    ck_assert_ptr_eq(found, a);
    snprintf(target, sizeof(target), "../%sn/data.bin", name);
    ck_assert_int_eq(chain_parse_target(world.exchange, "/mnt/x", target, &found, &side), -EINVAL);
    slot_rename(world.slots, a, "short");
    chain_target(world.exchange, b, target);
    ck_assert_str_eq(target, "../short/data.bin");
    world_end(&world);
}
END_TEST

/* --- deliveries --- */

START_TEST(test_result_becomes_input)
{
    struct parked *parked;
    struct world world;
    struct record record;
    struct slot *a, *b;
    int replaced;

    world_begin(&world, (enum exchange_data_path)_i);
    a = world_slot(&world, "a");
    b = world_follow(&world, "b", a, RECORD_SIDE_RESULT);
    parked = world_park_open(&world, b, SLOT_DATA_BIN);
    world_publish(&world, a, 6, 1);
    expect_state(b, STATE_IDLE, 1);
    world_put(&world, a, SLOT_RESULT_BIN, 6, 2);
    record = a->record;
    record.flag = RECORD_FLAG_RESULT;
    record.result_dtype = RECORD_INT64;
    record.result_ndim = 2;
    record.result_shape[0] = 3;
    record.result_shape[1] = 2;
    record.order = RECORD_ORDER_RESULT_F;
    replaced = world.replaced[RECORD_SIDE_INPUT];
    ck_assert_int_eq(world_write(&world, a, &record, sizeof(record), 0), 0);
    /* Everything has happened when the publisher gets its answer. */
    expect_state(b, STATE_READY, 1);
    ck_assert_int_eq(b->record.input_length, 6);
    ck_assert_int_eq(b->record.dtype, RECORD_INT64);
    ck_assert_int_eq(b->record.input_ndim, 2);
    ck_assert_int_eq(b->record.input_shape[0], 3);
    ck_assert_uint_eq(b->record.order, RECORD_ORDER_INPUT_F);
    ck_assert_int_eq(b->record.result_length, -1);
    ck_assert_ptr_eq(b->segments[RECORD_SIDE_INPUT], a->segments[RECORD_SIDE_RESULT]);
    /* On the page-cache path the inode is the source's, and the name is looked up again. */
    ck_assert_int_eq(world.replaced[RECORD_SIDE_INPUT] - replaced,
                     world.exchange->data_path == DATA_PATH_PASSTHROUGH);
    expect_ended(parked, world.exchange->data_path == DATA_PATH_PASSTHROUGH ? 0 : -ESTALE);
    world_expect(&world, b, SLOT_DATA_BIN, 6, 2);

    /* A result in the middle stays until the next round. */
    world_finish(&world, b, 1, 3);
    world_expect(&world, a, SLOT_RESULT_BIN, 6, 2);
    world_expect(&world, b, SLOT_DATA_BIN, 6, 2);
    world_publish(&world, a, 1, 4);
    world_expect(&world, b, SLOT_DATA_BIN, 6, 2);
    world_end(&world);
}
END_TEST

START_TEST(test_shared_input)
{
    struct world world;
    struct slot *a, *b, *c;

    world_begin(&world, (enum exchange_data_path)_i);
    a = world_slot(&world, "a");
    b = world_follow(&world, "b", a, RECORD_SIDE_INPUT);
    c = world_follow(&world, "c", a, RECORD_SIDE_INPUT);
    world_publish(&world, a, COUNT, 1);
    expect_state(b, STATE_READY, 1);
    expect_state(c, STATE_READY, 1);
    world_finish(&world, c, 1, 4);
    world_finish(&world, a, 1, 2);
    world_finish(&world, b, 1, 3);
    world_expect(&world, b, SLOT_DATA_BIN, COUNT, 1);
    world_expect(&world, a, SLOT_RESULT_BIN, 1, 2);
    world_expect(&world, b, SLOT_RESULT_BIN, 1, 3);
    world_expect(&world, c, SLOT_RESULT_BIN, 1, 4);
    world_publish(&world, a, 1, 5);
    expect_state(b, STATE_READY, 2);
    expect_state(c, STATE_READY, 2);
    world_end(&world);
}
END_TEST

START_TEST(test_late_link)
{
    static const struct {
        enum handshake_state source;
        enum record_side side;
        enum handshake_state follower;
    } rows[] = {
        {STATE_IDLE, RECORD_SIDE_INPUT, STATE_IDLE},       {STATE_FILLING, RECORD_SIDE_INPUT, STATE_IDLE},
        {STATE_READY, RECORD_SIDE_INPUT, STATE_READY},     {STATE_COMPUTING, RECORD_SIDE_INPUT, STATE_READY},
        {STATE_DONE, RECORD_SIDE_INPUT, STATE_READY},      {STATE_FAILED, RECORD_SIDE_INPUT, STATE_READY},
        {STATE_IDLE, RECORD_SIDE_RESULT, STATE_IDLE},      {STATE_READY, RECORD_SIDE_RESULT, STATE_IDLE},
        {STATE_COMPUTING, RECORD_SIDE_RESULT, STATE_IDLE}, {STATE_DONE, RECORD_SIDE_RESULT, STATE_READY},
        {STATE_FAILED, RECORD_SIDE_RESULT, STATE_FAILED},
    };
    struct world world;

    world_begin(&world, (enum exchange_data_path)_i);
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct slot *a = world_slot_in(&world, "a", rows[i].source);
        struct slot *b = world_follow(&world, "b", a, rows[i].side);

        expect_state(b, rows[i].follower, 1);
        if (rows[i].follower == STATE_READY)
            world_expect(&world, b, SLOT_DATA_BIN, WORLD_COUNT, rows[i].side == RECORD_SIDE_INPUT ? 1 : 2);
        exchange_remove(world.exchange, b);
        exchange_remove(world.exchange, a);
    }
    world_end(&world);
}
END_TEST

START_TEST(test_empty_result)
{
    struct world world;
    struct slot *a, *b;

    world_begin(&world, (enum exchange_data_path)_i);
    a = world_slot(&world, "a");
    b = world_follow(&world, "b", a, RECORD_SIDE_RESULT);
    world_publish(&world, a, 0, 0);
    world_finish(&world, a, 0, 0);
    expect_state(b, STATE_READY, 1);
    ck_assert_int_eq(b->record.input_length, 0);
    world_expect(&world, b, SLOT_DATA_BIN, 0, 0);
    world_end(&world);
}
END_TEST

START_TEST(test_nothing_else_feeds_it)
{
    struct handle *handle;
    struct world world;
    struct slot *a, *b;

    world_begin(&world, (enum exchange_data_path)_i);
    a = world_slot(&world, "a");
    b = world_follow(&world, "b", a, RECORD_SIDE_RESULT);
    ck_assert_int_eq(world_try_open(&world, b, SLOT_DATA_BIN, HANDLE_WRITES, &handle), -EBUSY);
    expect_refusal(b, EBUSY, "chained");
    ck_assert_int_eq(world_resize(&world, b, SLOT_DATA_BIN, NULL, RESERVE_RESIZE, 8), -EBUSY);
    ck_assert_int_eq(world_flag(&world, b, RECORD_FLAG_INPUT), -EBUSY);
    world_publish(&world, a, 1, 1);
    world_finish(&world, a, 1, 2);

    /* The follower can retry after its own failure; a dropped input does not come back. */
    ck_assert_int_eq(world_flag(&world, b, RECORD_FLAG_FAILED), 0);
    ck_assert_int_eq(world_flag(&world, b, RECORD_FLAG_INPUT), 0);
    expect_state(b, STATE_READY, 1);
    ck_assert_int_eq(world_flag(&world, b, RECORD_FLAG_NONE), 0);
    expect_state(b, STATE_IDLE, 2);
    expect_state(a, STATE_DONE, 1);
    world_publish(&world, a, 1, 3);
    world_finish(&world, a, 1, 4);
    expect_state(b, STATE_READY, 2);
    world_expect(&world, b, SLOT_DATA_BIN, 1, 4);
    world_end(&world);
}
END_TEST

/* --- failures --- */

START_TEST(test_failure_is_passed_on)
{
    struct parked *input, *result;
    struct slot *a, *b, *c, *shares;
    struct world world;

    world_begin(&world, (enum exchange_data_path)_i);
    a = world_slot(&world, "a");
    b = world_follow(&world, "b", a, RECORD_SIDE_RESULT);
    c = world_follow(&world, "c", b, RECORD_SIDE_RESULT);
    shares = world_follow(&world, "shares", a, RECORD_SIDE_INPUT);
    input = world_park_open(&world, b, SLOT_DATA_BIN);
    result = world_park_open(&world, c, SLOT_RESULT_BIN);
    world_publish(&world, a, COUNT, 1);
    ck_assert_int_eq(publish_failure(world.exchange, a, &world.caller, "no luck\n", 8), 0);
    expect_state(b, STATE_FAILED, 1);
    expect_state(c, STATE_FAILED, 1);
    expect_text(&world, b, "source a failed: no luck\n");
    expect_text(&world, c, "source b failed: source a failed: no luck\n");
    expect_ended(input, -EIO);
    expect_ended(result, -EIO);
    ck_assert_int_eq(world_flag(&world, b, RECORD_FLAG_INPUT), -EBUSY); /* it has no input to try again */

    /* Slots that share the input are not affected. */
    expect_state(shares, STATE_READY, 1);
    world_finish(&world, shares, 1, 1);
    world_check(&world);
    world_end(&world);
}
END_TEST

START_TEST(test_retry_brings_it_back)
{
    struct slot *a, *b, *c;
    struct world world;

    world_begin(&world, (enum exchange_data_path)_i);
    a = world_slot_in(&world, "a", STATE_FAILED);
    b = world_follow(&world, "b", a, RECORD_SIDE_RESULT);
    c = world_follow(&world, "c", b, RECORD_SIDE_INPUT);
    expect_state(b, STATE_FAILED, 1);
    expect_state(c, STATE_FAILED, 1);
    ck_assert_int_eq(world_flag(&world, a, RECORD_FLAG_INPUT), 0);
    expect_state(b, STATE_IDLE, 1);
    expect_state(c, STATE_IDLE, 1);
    expect_text(&world, b, "");
    world_finish(&world, a, COUNT, 2);
    expect_state(b, STATE_READY, 1);
    world_expect(&world, c, SLOT_DATA_BIN, COUNT, 2);

    /* The follower's round has begun; it ends with the source's failure one round later. */
    world_finish(&world, b, 1, 3);
    world_finish(&world, c, 1, 3);
    world_expect(&world, b, SLOT_RESULT_BIN, 1, 3);
    world_expect(&world, c, SLOT_RESULT_BIN, 1, 3);
    world_publish(&world, a, 1, 1);
    ck_assert_int_eq(world_flag(&world, a, RECORD_FLAG_FAILED), 0);
    expect_state(b, STATE_FAILED, 2);
    ck_assert_int_eq(world_flag(&world, a, RECORD_FLAG_INPUT), 0);
    expect_state(b, STATE_IDLE, 2);
    ck_assert_int_eq(world_flag(&world, a, RECORD_FLAG_FAILED), 0);
    expect_state(b, STATE_FAILED, 2);
    world_take_failure(&world, b);
    world_take_failure(&world, c); /* it shares an input that never came */
    world_publish(&world, a, 1, 1);
    expect_state(a, STATE_READY, 2 + 1);
    expect_state(b, STATE_FAILED, 2); /* that was another input */
    world_finish(&world, a, COUNT, 5);
    expect_state(b, STATE_READY, 3);
    world_expect(&world, b, SLOT_DATA_BIN, COUNT, 5);
    world_end(&world);
}
END_TEST

/* A reader of the failed follower's empty data.bin does not see the next input being written. */
START_TEST(test_retry_drops_what_a_failed_follower_had)
{
    struct handle *reader, *writer;
    struct slot *a, *b;
    struct world world;

    world_begin(&world, (enum exchange_data_path)_i);
    a = world_slot_in(&world, "a", STATE_FAILED);
    b = world_follow(&world, "b", a, RECORD_SIDE_RESULT);
    reader = world_open(&world, b, SLOT_DATA_BIN, HANDLE_READS);
    ck_assert_int_eq(world_flag(&world, a, RECORD_FLAG_INPUT), 0);
    expect_state(b, STATE_IDLE, 1);
    exchange_unchain(world.exchange, b);
    writer = world_open(&world, b, SLOT_DATA_BIN, HANDLE_WRITES);
    ck_assert_ptr_ne(writer->segment, reader->segment);
    world_close(&world, reader);
    world_close(&world, writer);
    world_end(&world);
}
END_TEST

START_TEST(test_failure_waits_for_its_turn)
{
    struct slot *a, *b;
    struct world world;

    world_begin(&world, (enum exchange_data_path)_i);
    a = world_slot_in(&world, "a", STATE_DONE);
    b = world_follow(&world, "b", a, RECORD_SIDE_RESULT);
    world_publish(&world, a, 1, 1);
    ck_assert_int_eq(world_flag(&world, a, RECORD_FLAG_FAILED), 0);
    expect_state(b, STATE_READY, 1); /* it still works on the result before */
    world_finish(&world, b, 1, 3);
    expect_state(b, STATE_DONE, 1);
    world_expect(&world, b, SLOT_RESULT_BIN, 1, 3);
    expect_state(b, STATE_FAILED, 2);
    world_end(&world);
}
END_TEST

START_TEST(test_long_texts_are_cut)
{
    static char big[60000], text[WORLD_TEXT_MAX];
    struct slot *a, *b, *c;
    struct world world;

    world_begin(&world, DATA_PATH_PASSTHROUGH);
    memset(big, '.', sizeof(big));
    memcpy(big, "first line\n", 11);
    memcpy(big + sizeof(big) - 10, "last line\n", 10);
    a = world_slot_in(&world, "a", STATE_READY);
    b = world_follow(&world, "b", a, RECORD_SIDE_RESULT);
    c = world_follow(&world, "c", b, RECORD_SIDE_RESULT);
    ck_assert_int_eq(publish_failure(world.exchange, a, &world.caller, big, sizeof(big)), 0);
    ck_assert_uint_eq(text_size(a, SLOT_ERROR), sizeof(big));
    ck_assert_uint_lt(text_size(b, SLOT_ERROR), sizeof(big) / 2);
    ck_assert_uint_eq(text_size(b, SLOT_ERROR), text_size(c, SLOT_ERROR));
    world_text(&world, c, SLOT_ERROR, text);
    ck_assert_int_eq(strncmp(text, "source b failed: source a failed: first line\n.", 46), 0);
    ck_assert_ptr_nonnull(strstr(text, ".\n[...]\n."));
    ck_assert_str_eq(text + strlen(text) - 11, ".last line\n");
    world_end(&world);
}
END_TEST

/* --- the end of a chain --- */

/* Each delivery, not only the link, asks whether the follower's owner may read the source. */
START_TEST(test_source_becomes_unreadable)
{
    enum { ANN = 1000, BOB = 1001, CREW = 2000 };
    static const struct {
        mode_t mode; /* of the source, which is ANN's */
        gid_t group; /* of the follower, which is BOB's */
        enum handshake_state state;
    } rows[] = {{0755, BOB, STATE_READY},   {0750, BOB, STATE_FAILED}, {0750, CREW, STATE_READY},
                {0700, CREW, STATE_FAILED}, {0744, BOB, STATE_FAILED}, {0711, BOB, STATE_FAILED}};
    struct handle *handle;
    struct world world;
    struct slot *a, *b;

    world_begin(&world, (enum exchange_data_path)_i);
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        a = world_slot(&world, "a");
        exchange_chown(world.exchange, a, ANN, CREW);
        world.caller.uid = BOB;
        world.caller.gid = BOB;
        b = world_slot(&world, "b");
        exchange_chown(world.exchange, b, BOB, rows[i].group);
        ck_assert_int_eq(world_link(&world, b, a, RECORD_SIDE_RESULT), 0);
        slot_chmod(a, rows[i].mode);
        world.caller =
            (struct caller){.uid = getuid(), .gid = getgid(), .thread = getpid(), .process = getpid()};
        world_publish(&world, a, 1, 1);
        world_finish(&world, a, 1, 2);
        expect_state(b, rows[i].state, 1);
        if (rows[i].state == STATE_FAILED) {
            expect_text(&world, b,
                        "source a may not be read any more by the owner of this slot: see its mode\n");
            ck_assert_int_eq(world_try_open(&world, b, SLOT_RESULT_BIN, HANDLE_READS, &handle), -EIO);
            slot_chmod(a, 0755);
            world_publish(&world, a, 1, 3);
            world_finish(&world, a, 1, 4);
            expect_state(b, STATE_READY, 2);
            world_expect(&world, b, SLOT_DATA_BIN, 1, 4);
        }
        exchange_remove(world.exchange, b);
        exchange_remove(world.exchange, a);
    }
    /* The link itself is refused where the caller may not read. */
    a = world_slot(&world, "a");
    exchange_chown(world.exchange, a, ANN, CREW);
    slot_chmod(a, 0750);
    world.caller.uid = BOB;
    world.caller.gid = BOB;
    b = world_slot(&world, "b");
    ck_assert_int_eq(world_link(&world, b, a, RECORD_SIDE_RESULT), -EACCES);
    expect_refusal(b, EACCES, "may not be read");
    world.caller.gid = CREW;
    ck_assert_int_eq(world_link(&world, b, a, RECORD_SIDE_RESULT), 0);
    world.caller = (struct caller){.uid = getuid(), .gid = getgid(), .thread = getpid(), .process = getpid()};
    world_publish(&world, a, 1, 1);
    world_finish(&world, a, 1, 2);
    expect_state(b, STATE_READY, 1); /* by the group that its owner had when he made the link */
    world_end(&world);
}
END_TEST

START_TEST(test_unlink)
{
    struct slot *a, *b, *idle;
    struct world world;

    world_begin(&world, (enum exchange_data_path)_i);
    a = world_slot(&world, "a");
    b = world_follow(&world, "b", a, RECORD_SIDE_RESULT);
    idle = world_follow(&world, "idle", b, RECORD_SIDE_RESULT);
    world_publish(&world, a, COUNT, 1);
    world_finish(&world, a, COUNT, 2);
    exchange_unchain(world.exchange, b);
    exchange_unchain(world.exchange, idle);
    expect_state(b, STATE_READY, 1);
    expect_state(idle, STATE_IDLE, 1);
    world_expect(&world, b, SLOT_DATA_BIN, COUNT, 2);
    world_finish(&world, b, 1, 3);
    world_publish(&world, b, 1, 4); /* a slot without a source again */
    world_publish(&world, idle, 1, 4);
    world_publish(&world, a, 1, 5);
    world_finish(&world, a, 1, 6);
    expect_state(b, STATE_READY, 2);
    world_expect(&world, b, SLOT_DATA_BIN, 1, 4);
    world_end(&world);
}
END_TEST

START_TEST(test_source_is_removed)
{
    static const enum handshake_state states[] = {STATE_READY, STATE_COMPUTING, STATE_DONE, STATE_FAILED};
    struct slot *a, *b, *c;
    struct parked *parked;
    struct world world;

    world_begin(&world, (enum exchange_data_path)_i);
    for (int i = 0; i < 4; i++) {
        a = world_slot_in(&world, "a", STATE_DONE);
        b = world_follow(&world, "b", a, RECORD_SIDE_RESULT);
        if (states[i] == STATE_COMPUTING)
            world_put(&world, b, SLOT_RESULT_BIN, 1, 3);
        else if (states[i] == STATE_DONE)
            world_finish(&world, b, 1, 3);
        else if (states[i] == STATE_FAILED)
            ck_assert_int_eq(publish_failure(world.exchange, b, &world.caller, "mine", 4), 0);
        exchange_remove(world.exchange, a);
        expect_state(b, states[i], 1);
        world_expect(&world, b, SLOT_DATA_BIN, WORLD_COUNT, 2);
        expect_text(&world, b, states[i] == STATE_FAILED ? "mine" : "");
        ck_assert_uint_eq(b->source, 0);
        exchange_remove(world.exchange, b);
    }
    a = world_slot(&world, "a");
    b = world_follow(&world, "b", a, RECORD_SIDE_RESULT);
    c = world_follow(&world, "c", b, RECORD_SIDE_INPUT);
    parked = world_park_open(&world, c, SLOT_DATA_BIN);
    exchange_remove(world.exchange, a);
    expect_state(b, STATE_FAILED, 1);
    expect_text(&world, b, "source a was removed\n");
    ck_assert_int_eq(world.sources_removed, 5); /* b five times, and c never */
    expect_text(&world, c, "source b failed: source a was removed\n");
    expect_ended(parked, -EIO);
    world_take_failure(&world, c);
    world_publish(&world, b, 1, 7);
    expect_state(b, STATE_READY, 2);
    world_expect(&world, c, SLOT_DATA_BIN, 1, 7);
    world_end(&world);
}
END_TEST

/*
 * Of two slots after it one has had its failure, the other not yet, and the round was cancelled. Both learn that nothing more
 * comes: for the one that is late this is its only failure.
 */
START_TEST(test_source_of_a_slot_that_owes_a_failure_is_removed)
{
    struct slot *a, *b, *had, *late;
    struct parked *parked;
    struct world world;

    world_begin(&world, (enum exchange_data_path)_i);
    a = world_slot(&world, "a");
    b = world_follow(&world, "b", a, RECORD_SIDE_RESULT);
    had = world_follow(&world, "had", b, RECORD_SIDE_RESULT);
    late = world_follow(&world, "late", b, RECORD_SIDE_RESULT);
    world_publish(&world, a, 1, 1);
    world_finish(&world, a, 1, 2);
    world_finish(&world, b, 1, 3);
    world_finish(&world, had, 1, 4);
    world_expect(&world, had, SLOT_RESULT_BIN, 1, 4);
    world_publish(&world, a, 1, 1);
    world_finish(&world, a, 1, 2);
    ck_assert_int_eq(publish_failure(world.exchange, b, &world.caller, "why", 3), 0);
    ck_assert_int_eq(world_flag(&world, b, RECORD_FLAG_NONE), 0);
    expect_state(b, STATE_IDLE, 3);
    expect_state(had, STATE_FAILED, 2);
    world_take_failure(&world, had);
    expect_state(late, STATE_READY, 1);
    parked = world_park_open(&world, b, SLOT_DATA_BIN);

    exchange_remove(world.exchange, a);
    expect_state(b, STATE_FAILED, 3);
    expect_text(&world, b, "source a was removed\n");
    expect_ended(parked, -EIO);
    expect_state(had, STATE_FAILED, 3);
    expect_text(&world, had, "source b failed: source a was removed\n");
    world_take_failure(&world, had);
    expect_state(late, STATE_READY, 1); /* it still works on the result before */

    world_finish(&world, late, 1, 5);
    world_expect(&world, late, SLOT_RESULT_BIN, 1, 5);
    expect_state(late, STATE_FAILED, 2);
    expect_text(&world, late, "source b failed: source a was removed\n");
    world_take_failure(&world, late);
    expect_state(late, STATE_FAILED, 2);

    world_publish(&world, b, 1, 6);
    world_finish(&world, b, 1, 7);
    expect_state(had, STATE_READY, 4);
    expect_state(late, STATE_READY, 3);
    world_expect(&world, late, SLOT_DATA_BIN, 1, 7);
    world_end(&world);
}
END_TEST

START_TEST(test_followers_are_removed)
{
    struct slot *a, *followers[5];
    struct world world;

    for (int first = 0; first < 5; first++) {
        world_begin(&world, (enum exchange_data_path)_i);
        a = world_slot(&world, "a");
        for (int i = 0; i < 5; i++)
            followers[i] = world_follow(&world, (const char[]){(char)('p' + i), '\0'}, a, RECORD_SIDE_RESULT);
        for (int i = 0; i < 5; i++) {
            exchange_remove(world.exchange, followers[(first + 2 * i) % 5]);
            world_check(&world);
        }
        ck_assert_uint_eq(a->first_follower, 0);
        world_publish(&world, a, 1, 1);
        world_finish(&world, a, 1, 2);
        world_end(&world);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("chain");
    TCase *tests = tcase_create("both data paths");

    tcase_set_timeout(tests, 60);
    tcase_add_loop_test(tests, test_links, 0, DATA_PATHS);
    tcase_add_test(tests, test_targets);
    tcase_add_loop_test(tests, test_result_becomes_input, 0, DATA_PATHS);
    tcase_add_loop_test(tests, test_shared_input, 0, DATA_PATHS);
    tcase_add_loop_test(tests, test_late_link, 0, DATA_PATHS);
    tcase_add_loop_test(tests, test_empty_result, 0, DATA_PATHS);
    tcase_add_loop_test(tests, test_nothing_else_feeds_it, 0, DATA_PATHS);
    tcase_add_loop_test(tests, test_failure_is_passed_on, 0, DATA_PATHS);
    tcase_add_loop_test(tests, test_retry_brings_it_back, 0, DATA_PATHS);
    tcase_add_loop_test(tests, test_retry_drops_what_a_failed_follower_had, 0, DATA_PATHS);
    tcase_add_loop_test(tests, test_failure_waits_for_its_turn, 0, DATA_PATHS);
    tcase_add_test(tests, test_long_texts_are_cut);
    tcase_add_loop_test(tests, test_source_becomes_unreadable, 0, DATA_PATHS);
    tcase_add_loop_test(tests, test_unlink, 0, DATA_PATHS);
    tcase_add_loop_test(tests, test_source_is_removed, 0, DATA_PATHS);
    tcase_add_loop_test(tests, test_source_of_a_slot_that_owes_a_failure_is_removed, 0, DATA_PATHS);
    tcase_add_loop_test(tests, test_followers_are_removed, 0, DATA_PATHS);
    suite_add_tcase(suite, tests);
    return suite_run(suite);
}
