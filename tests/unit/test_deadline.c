// SPDX-License-Identifier: Apache-2.0
/*
 * test_deadline.c - deadlines expire in the order in which they were set, unless they were cleared.
 */
#include "base/deadline.h"

#include "process_fixture.h"
#include "suite.h"
#include <unistd.h>

enum { DEADLINES = 50 };

struct bench {
    struct loop *loop;
    struct deadlines *deadlines;
};

static void open_bench(struct bench *bench)
{
    ck_assert_int_eq(loop_init(&bench->loop), 0);
    ck_assert_int_eq(deadline_init(&bench->deadlines, bench->loop), 0);
}

static void close_bench(struct bench *bench)
{
    deadline_deinit(bench->deadlines);
    loop_deinit(bench->loop);
}

struct alarm {
    struct deadline base; /* first: expired() gets it back */
    struct deadlines *deadlines;
    int *clock; /* of all of them: who came when */
    int when;   /* 0: not yet */
    struct alarm *clears;
    struct alarm *sets;
    bool late_enough;
};

static void expired(struct deadline *base)
{
    struct alarm *alarm = (struct alarm *)base;

    ck_assert_int_eq(alarm->when, 0);
    ck_assert_ptr_null(base->set);
    alarm->when = ++*alarm->clock;
    alarm->late_enough = deadline_now_ms() >= base->at_ms;
    if (alarm->clears)
        deadline_clear(&alarm->clears->base);
    if (alarm->sets)
        deadline_set(alarm->deadlines, &alarm->sets->base, 1);
}

static struct alarm *set_alarms(struct bench *bench, struct alarm alarms[DEADLINES], int *clock,
                                uint64_t delay)
{
    for (int i = 0; i < DEADLINES; i++) {
        alarms[i] = (struct alarm){.deadlines = bench->deadlines, .clock = clock};
        alarms[i].base.expired = expired;
        if (delay)
            deadline_set(bench->deadlines, &alarms[i].base, delay);
    }
    return &alarms[DEADLINES - 1];
}

static bool has_expired(void *context)
{
    return ((const struct alarm *)context)->when != 0;
}

START_TEST(test_deadlines_in_order)
{
    struct alarm alarms[DEADLINES];
    struct bench bench;
    int clock = 0;

    open_bench(&bench);
    loop_until(bench.loop, has_expired, set_alarms(&bench, alarms, &clock, 5));
    for (int i = 0; i < DEADLINES; i++) {
        ck_assert_int_eq(alarms[i].when, i + 1);
        ck_assert(alarms[i].late_enough);
        deadline_clear(&alarms[i].base); /* it is not set any more: changes nothing */
    }
    close_bench(&bench);
}
END_TEST

START_TEST(test_cleared_deadlines)
{
    struct alarm alarms[DEADLINES];
    struct bench bench;
    struct alarm *last;
    int clock = 0;

    open_bench(&bench);
    last = set_alarms(&bench, alarms, &clock, 5);
    for (int i = 0; i < DEADLINES - 1; i++) {
        if (i % 5)
            deadline_clear(&alarms[i].base);
    }
    deadline_clear(&alarms[0].base); /* the one that the timer is set for */
    deadline_clear(&alarms[0].base);
    loop_until(bench.loop, has_expired, last);
    ck_assert_int_eq(clock, DEADLINES / 5);
    for (int i = 0; i < DEADLINES - 1; i++)
        ck_assert_int_eq(alarms[i].when != 0, i % 5 == 0 && i != 0);

    /* After all were cleared, setting one arms the timer again. */
    last = set_alarms(&bench, alarms, &clock, 5);
    for (int i = 0; i < DEADLINES; i++)
        deadline_clear(&alarms[i].base);
    deadline_set(bench.deadlines, &last->base, 1);
    loop_until(bench.loop, has_expired, last);
    ck_assert_int_eq(clock, DEADLINES / 5 + 1);
    close_bench(&bench);
}
END_TEST

START_TEST(test_deadlines_that_change_others)
{
    struct alarm alarms[DEADLINES];
    struct bench bench;
    int clock = 0;

    open_bench(&bench);
    set_alarms(&bench, alarms, &clock, 0);
    deadline_set(bench.deadlines, &alarms[0].base, 2);
    deadline_set(bench.deadlines, &alarms[1].base, 2);
    deadline_set(bench.deadlines, &alarms[2].base, 2);
    alarms[0].clears = &alarms[1];
    alarms[0].sets = &alarms[3];
    alarms[3].sets = &alarms[1];
    loop_until(bench.loop, has_expired, &alarms[1]);
    ck_assert_int_eq(alarms[0].when, 1);
    ck_assert_int_eq(alarms[2].when, 2);
    ck_assert_int_eq(alarms[3].when, 3);
    ck_assert_int_eq(alarms[1].when, 4);
    close_bench(&bench);
}
END_TEST

struct onlooker {
    struct loop_source source; /* first: ready() gets it back */
    const int *clock;
    int seen;
    int most; /* that expired between two of its turns */
};

static void look(struct loop_source *source)
{
    struct onlooker *onlooker = (struct onlooker *)source;

    if (*onlooker->clock - onlooker->seen > onlooker->most)
        onlooker->most = *onlooker->clock - onlooker->seen;
    onlooker->seen = *onlooker->clock;
}

/* All are due at once, and the loop serves others in between. */
START_TEST(test_turns)
{
    enum { MANY = 10 * DEADLINES_A_TURN };
    static struct alarm alarms[MANY];
    struct bench bench;
    struct onlooker onlooker = {.source.ready = look};
    int always[2];
    int clock = 0;

    open_bench(&bench);
    ck_assert_int_eq(pipe(always), 0);
    ck_assert_int_eq(write(always[1], "x", 1), 1);
    onlooker.source.fd = always[0];
    onlooker.clock = &clock;
    ck_assert_int_eq(loop_add(bench.loop, &onlooker.source), 0);
    for (int i = 0; i < MANY; i++) {
        alarms[i] = (struct alarm){.deadlines = bench.deadlines, .clock = &clock};
        alarms[i].base.expired = expired;
        deadline_set(bench.deadlines, &alarms[i].base, 1);
    }
    while (deadline_now_ms() <= alarms[MANY - 1].base.at_ms)
        continue;
    loop_until(bench.loop, has_expired, &alarms[MANY - 1]);
    ck_assert_int_eq(clock, MANY);
    ck_assert_int_gt(onlooker.most, 0);
    ck_assert_int_le(onlooker.most, DEADLINES_A_TURN);
    loop_remove(bench.loop, &onlooker.source);
    close(always[0]);
    close(always[1]);
    close_bench(&bench);
}
END_TEST

START_TEST(test_nothing_to_end)
{
    deadline_deinit(NULL);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("deadline");
    TCase *deadlines = tcase_create("deadlines");

    tcase_set_timeout(deadlines, 60);
    tcase_add_test(deadlines, test_deadlines_in_order);
    tcase_add_test(deadlines, test_cleared_deadlines);
    tcase_add_test(deadlines, test_deadlines_that_change_others);
    tcase_add_test(deadlines, test_turns);
    tcase_add_test(deadlines, test_nothing_to_end);
    suite_add_tcase(suite, deadlines);
    return suite_run(suite);
}
