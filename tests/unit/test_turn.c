// SPDX-License-Identifier: Apache-2.0
/*
 * test_turn.c - long work in turns: their order, and that the loop serves others in between.
 */
#include "base/turn.h"

#include "base/container.h"
#include "suite.h"
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

static struct loop *loop;
static struct turn_queue *queue;
static char order[64]; /* the names of the jobs, in the order of their turns */

struct job {
    struct turn turn;
    char name;
    int turns_left;
    struct job *removes; /* in its first turn */
};

static void note(char name)
{
    size_t length = strlen(order);

    ck_assert_uint_lt(length, sizeof(order) - 1);
    order[length] = name;
}

static enum turn_progress take(struct turn *turn)
{
    struct job *job = container_of(turn, struct job, turn);

    note(job->name);
    if (job->removes)
        turn_remove(queue, &job->removes->turn);
    job->removes = NULL;
    return --job->turns_left > 0 ? TURN_AGAIN : TURN_DONE;
}

static void give_up(struct turn *turn)
{
    note('!');
    note(container_of(turn, struct job, turn)->name);
}

static enum turn_progress stop(struct turn *turn)
{
    (void)turn;
    loop_stop(loop, 0);
    return TURN_DONE;
}

static struct job job(char name, int turns)
{
    return (struct job){{.take = take, .give_up = give_up}, name, turns, NULL};
}

static void begin(void)
{
    memset(order, 0, sizeof(order));
    ck_assert_int_eq(loop_init(&loop), 0);
    ck_assert_int_eq(turn_queue_init(&queue, loop), 0);
}

static void end(void)
{
    turn_queue_deinit(queue, loop);
    loop_deinit(loop);
}

/* Runs the loop until every job in the queue had one turn. */
static void run(void)
{
    struct turn last = {.take = stop};

    turn_add(queue, &last);
    ck_assert_int_eq(loop_run(loop), 0);
}

START_TEST(test_order)
{
    struct job a = job('a', 3), b = job('b', 1), c = job('c', 2), d = job('d', 1);

    begin();
    turn_add(queue, &a.turn);
    turn_add(queue, &b.turn);
    turn_add(queue, &c.turn);
    run();
    ck_assert_str_eq(order, "abc");
    turn_add(queue, &d.turn);
    run();
    ck_assert_str_eq(order, "abcacd");
    run();
    ck_assert_str_eq(order, "abcacda");
    run();
    ck_assert_str_eq(order, "abcacda");
    end();
}
END_TEST

START_TEST(test_removed)
{
    struct job a = job('a', 2), b = job('b', 1), c = job('c', 1);

    begin();
    a.removes = &b;
    turn_add(queue, &a.turn);
    turn_add(queue, &b.turn);
    turn_add(queue, &c.turn);
    run();
    ck_assert_str_eq(order, "ac");
    turn_remove(queue, &a.turn);
    run();
    ck_assert_str_eq(order, "ac");
    end();
}
END_TEST

static void other_ready(struct loop_source *source)
{
    eventfd_t count;

    eventfd_read(source->fd, &count);
    note('.');
    eventfd_write(source->fd, 1);
}

/* A source of the loop that is always ready gets its turn after each turn. */
START_TEST(test_others_are_served)
{
    struct loop_source other = {.fd = eventfd(1, EFD_CLOEXEC | EFD_NONBLOCK), .ready = other_ready};
    struct job a = job('a', 5);

    begin();
    ck_assert_int_ge(other.fd, 0);
    ck_assert_int_eq(loop_add(loop, &other), 0);
    turn_add(queue, &a.turn);
    for (int i = 0; i < 5; i++)
        run();
    for (const char *at = order; (at = strchr(at, 'a')) && strchr(at + 1, 'a'); at++)
        ck_assert_int_eq(at[1], '.');
    loop_remove(loop, &other);
    close(other.fd);
    end();
}
END_TEST

START_TEST(test_given_up)
{
    struct job a = job('a', 2), b = job('b', 1);

    begin();
    turn_add(queue, &a.turn);
    run();
    turn_add(queue, &b.turn);
    end();
    ck_assert_str_eq(order, "a!a!b");
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("turn");
    TCase *tests = tcase_create("turn");

    tcase_add_test(tests, test_order);
    tcase_add_test(tests, test_removed);
    tcase_add_test(tests, test_others_are_served);
    tcase_add_test(tests, test_given_up);
    suite_add_tcase(suite, tests);
    return suite_run(suite);
}
