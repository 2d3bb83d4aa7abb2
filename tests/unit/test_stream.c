// SPDX-License-Identifier: Apache-2.0
/*
 * test_stream.c - chains at work: publishers that wait for followers, many followers, long chains.
 */
#include "exchange_fixture.h"
#include "parked.h"
#include "slot/text.h"
#include "suite.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

enum { STACK = 256 * 1024 };

/* A reader at the end of a chain takes its result. */
static void take_result(struct world *world, struct slot *slot, double value)
{
    world_expect(world, slot, SLOT_RESULT_BIN, 1, value);
    world_check(world);
}

/* Writes the next round's result, which cannot be published yet. */
static struct parked *publisher_waits(struct world *world, struct slot *slot, double value)
{
    world_publish(world, slot, 1, value);
    world_put(world, slot, SLOT_RESULT_BIN, 1, value);
    ck_assert_int_eq(world_flag(world, slot, RECORD_FLAG_RESULT), WAIT_FOR_PEER);
    return world_park_flag(world, slot, RECORD_FLAG_RESULT);
}

/* --- back-pressure --- */

START_TEST(test_publisher_waits)
{
    struct parked *parked;
    struct slot *a, *b;
    struct world world;

    world_begin(&world, (enum exchange_data_path)_i);
    a = world_slot(&world, "a");
    b = world_follow(&world, "b", a, RECORD_SIDE_RESULT);
    world_publish(&world, a, 1, 1);
    world_finish(&world, a, 1, 1);
    parked = publisher_waits(&world, a, 2);
    expect_state(a, STATE_COMPUTING, 2);
    world_put(&world, b, SLOT_RESULT_BIN, 1, 10);
    expect_parked(parked);
    ck_assert_int_eq(world_flag(&world, b, RECORD_FLAG_RESULT), 0);
    expect_parked(parked); /* b is done, but no reader has its result */
    world_expect(&world, b, SLOT_DATA_BIN, 1, 1);
    take_result(&world, b, 10);
    expect_state(a, STATE_DONE, 2);
    expect_state(b, STATE_READY, 2);
    world_expect(&world, b, SLOT_DATA_BIN, 1, 2);
    expect_ended(parked, 0);
    world_end(&world);
}
END_TEST

/* The next slot takes a result in the middle of a chain. */
START_TEST(test_middle_of_a_chain)
{
    struct parked *first, *second;
    struct slot *a, *b, *c;
    struct world world;

    world_begin(&world, (enum exchange_data_path)_i);
    a = world_slot(&world, "a");
    b = world_follow(&world, "b", a, RECORD_SIDE_RESULT);
    c = world_follow(&world, "c", b, RECORD_SIDE_RESULT);
    world_publish(&world, a, 1, 1);
    world_finish(&world, a, 1, 1);
    first = publisher_waits(&world, a, 2);
    world_finish(&world, b, 1, 11);
    expect_state(c, STATE_READY, 1);
    expect_ended(first, 0);
    expect_state(b, STATE_READY, 2);
    world_expect(&world, c, SLOT_DATA_BIN, 1, 11);

    /* Two publishers wait, one for the other, and go on in one step. */
    world_put(&world, b, SLOT_RESULT_BIN, 1, 12);
    second = world_park_flag(&world, b, RECORD_FLAG_RESULT);
    first = publisher_waits(&world, a, 3);
    world_finish(&world, c, 1, 21);
    expect_parked(second);
    take_result(&world, c, 21);
    expect_ended(second, 0);
    expect_ended(first, 0);
    expect_state(a, STATE_DONE, 3);
    expect_state(b, STATE_READY, 3);
    expect_state(c, STATE_READY, 2);
    world_expect(&world, b, SLOT_DATA_BIN, 1, 3);
    world_expect(&world, c, SLOT_DATA_BIN, 1, 12);
    world_end(&world);
}
END_TEST

START_TEST(test_shared_input_waits_for_all)
{
    struct slot *a, *followers[3];
    struct parked *parked;
    struct world world;

    world_begin(&world, (enum exchange_data_path)_i);
    a = world_slot(&world, "a");
    for (int i = 0; i < 3; i++)
        followers[i] = world_follow(&world, (const char[]){(char)('b' + i), '\0'}, a, RECORD_SIDE_INPUT);
    world_publish(&world, a, 1, 1);
    world_put(&world, a, SLOT_RESULT_BIN, 1, 1);
    ck_assert_int_eq(world_flag(&world, a, RECORD_FLAG_RESULT), 0);
    world_put(&world, a, SLOT_DATA_BIN, 1, 2);
    parked = world_park_flag(&world, a, RECORD_FLAG_INPUT);
    for (int i = 0; i < 3; i++) {
        expect_parked(parked);
        world_finish(&world, followers[i], 1, i);
        expect_parked(parked);
        take_result(&world, followers[i], i);
    }
    expect_ended(parked, 0);
    for (int i = 0; i < 3; i++) {
        expect_state(followers[i], STATE_READY, 2);
        world_expect(&world, followers[i], SLOT_DATA_BIN, 1, 2);
    }
    world_end(&world);
}
END_TEST

static void unchain(struct world *world, struct slot *slot)
{
    exchange_unchain(world->exchange, slot);
}

static void cancel(struct world *world, struct slot *slot)
{
    ck_assert_int_eq(exchange_unlink(world->exchange, slot, &world->caller), 0);
}

static void fail_round(struct world *world, struct slot *slot)
{
    ck_assert_int_eq(publish_failure(world->exchange, slot, &world->caller, "no", 2), 0);
}

static void fail_and_be_read(struct world *world, struct slot *slot)
{
    fail_round(world, slot);
    expect_state(slot, STATE_FAILED, 1);
    world_take_failure(world, slot);
}

static void take_away(struct world *world, struct slot *slot)
{
    world_finish(world, slot, 1, 5);
    ck_assert_int_eq(array_move_result(world->exchange, slot, world_slot(world, "taker"), &world->caller), 0);
}

static void finish_and_drop(struct world *world, struct slot *slot)
{
    world_finish(world, slot, 1, 5);
    ck_assert_int_eq(world_flag(world, slot, RECORD_FLAG_NONE), 0);
}

static void remove_slot(struct world *world, struct slot *slot)
{
    exchange_remove(world->exchange, slot);
}

/* Every event that frees a follower lets its source's publisher go on. */
START_TEST(test_what_frees_a_follower)
{
    static void (*const ends[])(struct world * world, struct slot * slot) = {
        unchain, cancel, fail_and_be_read, take_away, finish_and_drop, remove_slot};
    struct world world;

    for (size_t i = 0; i < sizeof(ends) / sizeof(ends[0]); i++) {
        struct parked *parked;
        struct slot *a, *b;

        world_begin(&world, (enum exchange_data_path)_i);
        a = world_slot(&world, "a");
        b = world_follow(&world, "b", a, RECORD_SIDE_RESULT);
        world_publish(&world, a, 1, 1);
        world_finish(&world, a, 1, 1);
        parked = publisher_waits(&world, a, 2);
        ends[i](&world, b);
        expect_ended(parked, 0);
        expect_state(a, STATE_DONE, 2);
        if (ends[i] == unchain)
            expect_state(b, STATE_READY, 1);
        else if (ends[i] != remove_slot)
            expect_state(b, STATE_READY, 2);
        world_end(&world);
    }
}
END_TEST

START_TEST(test_publisher_is_told)
{
    static const struct {
        void (*end)(struct world *world, struct slot *slot);
        int result;
    } rows[] = {{cancel, -ECANCELED}, {fail_round, -EIO}, {remove_slot, -ECANCELED}};
    struct world world;

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct parked *parked;
        struct slot *a;

        world_begin(&world, (enum exchange_data_path)_i);
        a = world_slot(&world, "a");
        world_follow(&world, "b", a, RECORD_SIDE_RESULT);
        world_publish(&world, a, 1, 1);
        world_finish(&world, a, 1, 1);
        parked = publisher_waits(&world, a, 2);
        rows[i].end(&world, a);
        expect_ended(parked, rows[i].result);
        world_end(&world);
    }
}
END_TEST

static struct parked *failure_is_untaken(struct world *world, struct slot **a, struct slot **b)
{
    *a = world_slot(world, "a");
    *b = world_follow(world, "b", *a, RECORD_SIDE_RESULT);
    world_publish(world, *a, 1, 1);
    world_finish(world, *a, 1, 1);
    fail_round(world, *b);
    return publisher_waits(world, *a, 2);
}

static void read_error(struct world *world, struct slot *slot)
{
    exchange_outcome_read(world->exchange, slot);
    exchange_run(world->exchange);
}

static void try_again(struct world *world, struct slot *slot)
{
    ck_assert_int_eq(world_flag(world, slot, RECORD_FLAG_INPUT), 0);
    world_finish(world, slot, 1, 5);
    take_result(world, slot, 5);
}

static void drop_it(struct world *world, struct slot *slot)
{
    ck_assert_int_eq(world_flag(world, slot, RECORD_FLAG_NONE), 0);
}

/* A failure waits for its reader as a result does: each input has an outcome that a client got. */
START_TEST(test_what_takes_a_failure)
{
    static void (*const ends[])(struct world * world, struct slot * slot) = {world_take_failure, read_error,
                                                                             try_again, drop_it};
    struct world world;

    for (size_t i = 0; i < sizeof(ends) / sizeof(ends[0]); i++) {
        struct parked *parked;
        struct slot *a, *b;

        world_begin(&world, (enum exchange_data_path)_i);
        parked = failure_is_untaken(&world, &a, &b);
        expect_parked(parked);
        ck_assert_ptr_nonnull(strstr(parked->wait.reason, "follower b can take no more yet"));
        ends[i](&world, b);
        expect_ended(parked, 0);
        expect_state(b, STATE_READY, 2);
        world_end(&world);
    }
}
END_TEST

/* A request that waits for the result and gets EIO has taken the failure. */
START_TEST(test_waiting_reader_takes_a_failure)
{
    struct parked *reader;
    struct slot *a, *b;
    struct world world;

    world_begin(&world, (enum exchange_data_path)_i);
    a = world_slot(&world, "a");
    b = world_follow(&world, "b", a, RECORD_SIDE_RESULT);
    reader = world_park_open(&world, b, SLOT_RESULT_BIN);
    world_publish(&world, a, 1, 1);
    world_finish(&world, a, 1, 1);
    fail_round(&world, b);
    expect_ended(reader, -EIO);
    world_publish(&world, a, 1, 2);
    world_finish(&world, a, 1, 2);
    expect_state(b, STATE_READY, 2);
    world_end(&world);
}
END_TEST

/* The source n, a behind it, whose second round has failed, and b behind that, which is busy with the first. */
static void failure_waits_behind_a_result(struct world *world, struct slot **n, struct slot **a,
                                          struct slot **b)
{
    *n = world_slot(world, "n");
    *a = world_follow(world, "a", *n, RECORD_SIDE_RESULT);
    *b = world_follow(world, "b", *a, RECORD_SIDE_RESULT);
    world_publish(world, *n, 1, 1);
    world_finish(world, *n, 1, 1);
    world_finish(world, *a, 1, 1);
    world_publish(world, *n, 1, 2);
    world_finish(world, *n, 1, 2);
    fail_round(world, *a);
    expect_state(*a, STATE_FAILED, 2);
    expect_state(*b, STATE_READY, 1);
}

/* One failure for one reader: those that come right behind it wait for theirs. */
START_TEST(test_waiting_reader_takes_one_failure)
{
    struct parked *reader;
    struct slot *n, *a, *b;
    struct world world;

    world_begin(&world, (enum exchange_data_path)_i);
    failure_waits_behind_a_result(&world, &n, &a, &b);
    world_publish(&world, n, 1, 3);
    fail_round(&world, n);
    expect_state(a, STATE_FAILED, 2);
    expect_state(b, STATE_READY, 1);
    reader = world_park_open(&world, b, SLOT_RESULT_BIN);
    fail_round(&world, b);
    expect_ended(reader, -EIO); /* it has the first, so the second comes, and behind that a's next */
    expect_state(a, STATE_FAILED, 3);
    expect_state(b, STATE_FAILED, 2);
    world_take_failure(&world, b);
    expect_state(b, STATE_FAILED, 3);
    world_end(&world);
}
END_TEST

/*
 * The source fails while the follower is busy: the follower gets the failure later, before any other input.
 */
START_TEST(test_failure_is_owed)
{
    static char text[WORLD_TEXT_MAX];
    struct parked *parked;
    struct slot *a, *b, *late;
    struct world world;

    world_begin(&world, (enum exchange_data_path)_i);
    a = world_slot(&world, "a");
    b = world_follow(&world, "b", a, RECORD_SIDE_RESULT);
    world_publish(&world, a, 1, 1);
    world_finish(&world, a, 1, 1);
    world_publish(&world, a, 1, 2);
    fail_round(&world, a);
    expect_state(b, STATE_READY, 1);
    world_put(&world, a, SLOT_DATA_BIN, 1, 3);
    late = world_follow(&world, "late", a, RECORD_SIDE_RESULT);
    expect_state(late, STATE_IDLE, 1); /* the failure is older than this follower */
    parked = world_park_flag(&world, a, RECORD_FLAG_INPUT);
    world_finish(&world, b, 1, 10);
    expect_parked(parked);
    take_result(&world, b, 10);
    expect_state(b, STATE_FAILED, 2);
    world_text(&world, b, SLOT_ERROR, text);
    ck_assert_str_eq(text, "source a failed, and has begun its next round since\n");
    expect_ended(parked, 0);
    expect_state(a, STATE_READY, 3);
    world_put(&world, a, SLOT_RESULT_BIN, 1, 3);
    parked = world_park_flag(&world, a, RECORD_FLAG_RESULT);
    world_take_failure(&world, b);
    expect_ended(parked, 0);
    expect_state(b, STATE_READY, 3);
    expect_state(late, STATE_READY, 1);
    world_end(&world);
}
END_TEST

/* A client cancels the round that failed before a busy follower has the failure: nothing comes before it, array or failure. */
START_TEST(test_failure_of_a_cancelled_round_is_owed)
{
    struct slot *n, *a, *b;
    struct world world;

    for (int fails = 0; fails < 2; fails++) {
        struct parked *parked = NULL;

        world_begin(&world, (enum exchange_data_path)_i);
        failure_waits_behind_a_result(&world, &n, &a, &b);
        ck_assert_int_eq(world_flag(&world, a, RECORD_FLAG_NONE), 0);
        if (fails) {
            world_publish(&world, n, 1, 3);
            fail_round(&world, n);
        } else {
            parked = publisher_waits(&world, n, 3);
        }
        expect_state(a, STATE_IDLE, 3);
        world_finish(&world, b, 1, 10);
        take_result(&world, b, 10);
        expect_state(b, STATE_FAILED, 2);
        expect_state(a, fails ? STATE_FAILED : STATE_READY, 3);
        if (parked)
            expect_ended(parked, 0);
        world_take_failure(&world, b);
        expect_state(b, STATE_FAILED, fails ? 3 : 2);
        world_end(&world);
    }
}
END_TEST

/* Values pass three slots, each of which works as soon as it can: all come out, once and in order. */
START_TEST(test_nothing_is_lost)
{
    enum { STAGES = 3, VALUES = 200 };
    struct slot *stages[STAGES];
    struct parked *parked[STAGES] = {NULL};
    unsigned in[STAGES] = {0}, out[STAGES] = {0}, read = 0;
    uint64_t random = 88172645463325252u;
    struct world world;

    world_begin(&world, (enum exchange_data_path)_i);
    stages[0] = world_slot(&world, "a");
    for (int i = 1; i < STAGES; i++)
        stages[i] =
            world_follow(&world, (const char[]){(char)('a' + i), '\0'}, stages[i - 1], RECORD_SIDE_RESULT);
    while (read < VALUES) {
        int who = (int)(random >> 33) % (STAGES + 1);
        struct slot *slot = who < STAGES ? stages[who] : NULL;

        random = random * 6364136223846793005u + 1442695040888963407u;
        if (!slot) {
            slot = stages[STAGES - 1];
            if (slot_state(slot) == STATE_DONE && out[STAGES - 1] == read + 1)
                take_result(&world, slot, ++read);
        } else if (parked[who]) {
            if (parked[who]->ends) {
                expect_ended(parked[who], 0);
                parked[who] = NULL;
                out[who]++;
            }
        } else if (slot_state(slot) == STATE_READY) {
            in[who]++;
            world_expect(&world, slot, SLOT_DATA_BIN, 1, in[who]);
            world_put(&world, slot, SLOT_RESULT_BIN, 1, in[who]);
            switch (world_flag(&world, slot, RECORD_FLAG_RESULT)) {
            case 0:
                out[who]++;
                break;
            case WAIT_FOR_PEER:
                parked[who] = world_park_flag(&world, slot, RECORD_FLAG_RESULT);
                break;
            default:
                ck_abort_msg("stage %d cannot publish", who);
            }
        } else if (who == 0 && in[0] < VALUES) {
            world_publish(&world, slot, 1, in[0] + 1);
        }
    }
    world_end(&world);
}
END_TEST

/* --- many --- */

static void begin_large(struct world *world, uint32_t slots)
{
    struct world_options options = world_defaults();

    options.slots_max = slots;
    options.capacity = slots_bytes(slots) + 64 * MIB;
    options.data_path = DATA_PATH_PAGE_CACHE;
    ck_assert(world_try_begin(world, &options));
}

START_TEST(test_fan_out)
{
    enum { FOLLOWERS = 1000 };
    static struct slot *followers[FOLLOWERS];
    struct parked *parked;
    struct world world;
    struct slot *a;
    char name[16];

    begin_large(&world, FOLLOWERS + 1);
    a = world_slot(&world, "a");
    for (int i = 0; i < FOLLOWERS; i++) {
        snprintf(name, sizeof(name), "f%d", i);
        followers[i] = world_follow(&world, name, a, (enum record_side)_i);
    }
    world_publish(&world, a, 1, 1);
    world_finish(&world, a, 1, 1);
    for (int i = 0; i < FOLLOWERS; i++)
        expect_state(followers[i], STATE_READY, 1);
    ck_assert_uint_eq(a->segments[_i]->names, FOLLOWERS + 1);
    if (_i == RECORD_SIDE_RESULT) {
        parked = publisher_waits(&world, a, 2);
    } else {
        world_put(&world, a, SLOT_DATA_BIN, 1, 2);
        parked = world_park_flag(&world, a, RECORD_FLAG_INPUT);
    }
    for (int i = 0; i < FOLLOWERS; i++) {
        expect_parked(parked);
        ck_assert_int_eq(publish_failure(world.exchange, followers[i], &world.caller, "", 0), 0);
        expect_parked(parked);
        world_take_failure(&world, followers[i]);
    }
    expect_ended(parked, 0);
    for (int i = 0; i < FOLLOWERS; i++)
        expect_state(followers[i], STATE_READY, 2);
    world_end(&world);
}
END_TEST

/* A stack so small that recursion along the chain would overflow it. */
static rlim_t limit_stack(rlim_t size)
{
    struct rlimit limit;
    rlim_t before;

    ck_assert_int_eq(getrlimit(RLIMIT_STACK, &limit), 0);
    before = limit.rlim_cur;
    limit.rlim_cur = size;
    ck_assert_int_eq(setrlimit(RLIMIT_STACK, &limit), 0);
    return before;
}

static struct slot *make_chain(struct world *world, struct slot **chain, int length, enum record_side side)
{
    char name[16];

    chain[0] = world_slot(world, "c0");
    for (int i = 1; i < length; i++) {
        snprintf(name, sizeof(name), "c%d", i);
        chain[i] = world_follow(world, name, chain[i - 1], side);
    }
    return chain[0];
}

enum { LONG = 10000 };

START_TEST(test_long_chain)
{
    static struct slot *chain[LONG];
    rlim_t stack = limit_stack(STACK);
    struct world world;
    struct slot *first;

    begin_large(&world, LONG);
    first = make_chain(&world, chain, LONG, RECORD_SIDE_INPUT);
    ck_assert_int_eq(world_link(&world, first, chain[LONG - 1], RECORD_SIDE_RESULT), -ELOOP);
    world_publish(&world, first, 1, 1);
    for (int i = 0; i < LONG; i++)
        expect_state(chain[i], STATE_READY, 1);
    world_expect(&world, chain[LONG - 1], SLOT_DATA_BIN, 1, 1);
    world_end(&world);
    limit_stack(stack);
}
END_TEST

START_TEST(test_long_chain_of_results)
{
    static struct slot *chain[LONG];
    rlim_t stack = limit_stack(STACK);
    struct world world;

    begin_large(&world, LONG);
    world_publish(&world, make_chain(&world, chain, LONG, RECORD_SIDE_RESULT), 1, 1);
    for (int i = 0; i < LONG; i++) {
        expect_state(chain[i], STATE_READY, 1);
        world_put(&world, chain[i], SLOT_RESULT_BIN, 1, i);
        ck_assert_int_eq(world_flag(&world, chain[i], RECORD_FLAG_RESULT), 0);
    }
    world_expect(&world, chain[LONG - 1], SLOT_DATA_BIN, 1, LONG - 2);
    world_end(&world);
    limit_stack(stack);
}
END_TEST

START_TEST(test_long_chain_fails)
{
    static struct slot *chain[LONG];
    rlim_t stack = limit_stack(STACK);
    struct world_options options = world_defaults();
    struct world world;

    options.kind = ARENA_TMPFS; /* ten thousand texts are as many files; memfds would be descriptors */
    options.slots_max = LONG;
    if (!world_try_begin(&world, &options)) {
        options.kind = ARENA_DIR;
        ck_assert(world_try_begin(&world, &options));
    }
    world_publish(&world, make_chain(&world, chain, LONG, RECORD_SIDE_RESULT), 1, 1);
    ck_assert_int_eq(publish_failure(world.exchange, chain[0], &world.caller, "no luck", 7), 0);
    world_rest(&world);
    for (int i = 0; i < LONG; i++)
        expect_state(chain[i], STATE_FAILED, 1);
    ck_assert_uint_gt(text_size(chain[LONG - 1], SLOT_ERROR), 0);
    ck_assert_int_eq(world_flag(&world, chain[0], RECORD_FLAG_INPUT), 0);
    for (int i = 1; i < LONG; i++)
        expect_state(chain[i], STATE_IDLE, 1);
    exchange_remove(world.exchange, chain[0]);
    world_rest(&world);
    for (int i = 1; i < LONG; i++)
        expect_state(chain[i], STATE_FAILED, 1);
    world_end(&world);
    limit_stack(stack);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("stream");
    TCase *tests = tcase_create("both data paths");
    TCase *many = tcase_create("many");

    tcase_set_timeout(tests, 60);
    tcase_add_loop_test(tests, test_publisher_waits, 0, DATA_PATHS);
    tcase_add_loop_test(tests, test_middle_of_a_chain, 0, DATA_PATHS);
    tcase_add_loop_test(tests, test_shared_input_waits_for_all, 0, DATA_PATHS);
    tcase_add_loop_test(tests, test_what_frees_a_follower, 0, DATA_PATHS);
    tcase_add_loop_test(tests, test_publisher_is_told, 0, DATA_PATHS);
    tcase_add_loop_test(tests, test_what_takes_a_failure, 0, DATA_PATHS);
    tcase_add_loop_test(tests, test_waiting_reader_takes_a_failure, 0, DATA_PATHS);
    tcase_add_loop_test(tests, test_waiting_reader_takes_one_failure, 0, DATA_PATHS);
    tcase_add_loop_test(tests, test_failure_is_owed, 0, DATA_PATHS);
    tcase_add_loop_test(tests, test_failure_of_a_cancelled_round_is_owed, 0, DATA_PATHS);
    tcase_add_loop_test(tests, test_nothing_is_lost, 0, DATA_PATHS);
    suite_add_tcase(suite, tests);
    tcase_set_timeout(many, 120);
    tcase_add_loop_test(many, test_fan_out, 0, 2);
    tcase_add_test(many, test_long_chain);
    tcase_add_test(many, test_long_chain_of_results);
    tcase_add_test(many, test_long_chain_fails);
    suite_add_tcase(suite, many);
    return suite_run(suite);
}
