// SPDX-License-Identifier: Apache-2.0
/*
 * test_graph.c - chains as pictures: what they say, for any name and any length of chain.
 */
#include "files/graph.h"

#include "exchange_fixture.h"
#include "record_samples.h"
#include "suite.h"
#include <stdlib.h>
#include <string.h>

enum { LONG = 2000 };

static char *draw(struct world *world, enum graph_kind kind)
{
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);
    struct graph graph;

    ck_assert_ptr_nonnull(out);
    graph_begin(&graph, kind, world->slots, out);
    while (graph_draw(&graph, world->slots, out))
        ;
    fclose(out);
    return text;
}

static void expect_drawn(struct world *world, enum graph_kind kind, const char *expected)
{
    char *text = draw(world, kind);

    ck_assert_str_eq(text, expected);
    free(text);
}

START_TEST(test_nothing)
{
    struct world world;
    char *text;

    world_begin(&world, DATA_PATH_PASSTHROUGH);
    expect_drawn(&world, GRAPH_TREE, "");
    world_slot(&world, "alone");
    expect_drawn(&world, GRAPH_TREE, "");
    text = draw(&world, GRAPH_DOT);
    ck_assert_ptr_nonnull(strstr(text, "[label=\"alone\\nIDLE 1\", fillcolor=white];\n"));
    ck_assert_ptr_null(strstr(text, "->"));
    free(text);
    world_end(&world);
}
END_TEST

START_TEST(test_forest)
{
    struct slot *a, *b, *c, *other;
    struct world world;
    char *text;

    world_begin(&world, DATA_PATH_PASSTHROUGH);
    a = world_slot(&world, "a");
    c = world_follow(&world, "c", a, RECORD_SIDE_INPUT);
    b = world_follow(&world, "b", a, RECORD_SIDE_RESULT);
    world_follow(&world, "d", b, RECORD_SIDE_RESULT);
    world_slot(&world, "alone");
    other = world_slot(&world, "other");
    world_follow(&world, "last", other, RECORD_SIDE_RESULT);
    world_publish(&world, a, 1, 1);
    world_finish(&world, a, 1, 2);
    world_finish(&world, c, 1, 3);
    expect_drawn(&world, GRAPH_TREE,
                 "a  DONE, round 1\n"
                 "`-> b  READY, round 1\n"
                 "    `-> d  IDLE, round 1\n"
                 "`=> c  DONE, round 1\n"
                 "other  IDLE, round 1\n"
                 "`-> last  IDLE, round 1\n");
    text = draw(&world, GRAPH_DOT);
    ck_assert_int_eq(strncmp(text, "digraph pyrmapfs {\n", 19), 0);
    ck_assert_str_eq(text + strlen(text) - 3, "\n}\n");
    ck_assert_ptr_nonnull(strstr(text, "    n1 -> n3;\n"));
    ck_assert_ptr_nonnull(strstr(text, "    n1 -> n2 [style=dashed, label=\"data.bin\"];\n"));
    ck_assert_ptr_nonnull(strstr(text, "[label=\"b\\nREADY 1\", fillcolor=gold];\n"));
    free(text);
    world_end(&world);
}
END_TEST

/* Names may have any bytes; they must not end a string or begin a line. */
START_TEST(test_names)
{
    struct world world;
    struct slot *slot;
    char *text;

    world_begin(&world, DATA_PATH_PASSTHROUGH);
    slot = world_slot(&world, "q\"\\\n\x7f\xff}");
    world_follow(&world, "a b", slot, RECORD_SIDE_RESULT);
    expect_drawn(&world, GRAPH_TREE,
                 "q\\x22\\x5c\\x0a\\x7f\\xff}  IDLE, round 1\n"
                 "`-> a\\x20b  IDLE, round 1\n");
    text = draw(&world, GRAPH_DOT);
    ck_assert_ptr_nonnull(strstr(text, "[label=\"q\\\\x22\\\\x5c\\\\x0a\\\\x7f\\\\xff}\\n"));
    free(text);
    world_end(&world);
}
END_TEST

START_TEST(test_long_chain)
{
    struct world_options options = world_defaults();
    struct world world;
    struct slot *slot;
    size_t lines = 0;
    char *text;

    options.slots_max = LONG;
    ck_assert(world_try_begin(&world, &options));
    slot = world_slot(&world, "c");
    for (int i = 1; i < LONG; i++) {
        char name[16];

        snprintf(name, sizeof(name), "c%d", i);
        slot = world_follow(&world, name, slot, RECORD_SIDE_RESULT);
    }
    text = draw(&world, GRAPH_TREE);
    for (const char *at = text; *at; at++)
        lines += *at == '\n';
    ck_assert_uint_eq(lines, LONG);
    ck_assert_uint_lt(strlen(text), LONG * 200); /* linear in the length of the chain */
    free(text);
    world_end(&world);
}
END_TEST

/* Chains change between two pieces in every way: the picture still ends, and every line is well-formed. */
START_TEST(test_changes_while_it_is_drawn)
{
    enum { CHAINS = 40, LENGTH = 6 };
    struct world_options options = world_defaults();
    struct slot *slots[CHAINS * LENGTH];
    uint64_t random = (uint64_t)_i + 1;
    struct graph graph;
    struct world world;
    char *text = NULL;
    size_t size = 0;
    size_t lines = 0;
    FILE *out = open_memstream(&text, &size);

    options.slots_max = CHAINS * LENGTH;
    ck_assert(world_try_begin(&world, &options));
    for (int i = 0; i < CHAINS * LENGTH; i++) {
        char name[16];

        snprintf(name, sizeof(name), "s%d", i);
        slots[i] = i % LENGTH ? world_follow(&world, name, slots[i - 1], RECORD_SIDE_RESULT)
                              : world_slot(&world, name);
    }
    graph_begin(&graph, _i % 2 ? GRAPH_TREE : GRAPH_DOT, world.slots, out);
    while (graph_draw(&graph, world.slots, out)) {
        for (int i = 0; i < 30; i++) {
            struct slot **one = &slots[(random_next(&random) >> 20) % (CHAINS * LENGTH)];
            struct slot **other = &slots[(random_next(&random) >> 20) % (CHAINS * LENGTH)];

            if (*one && random % 8 == 0) {
                exchange_remove(world.exchange, *one);
                *one = NULL;
            } else if (*one && *other) {
                exchange_unchain(world.exchange, *one);
                world_link(&world, *one, *other, RECORD_SIDE_RESULT);
            }
        }
    }
    fclose(out);
    for (const char *at = text; *at; at = strchr(at, '\n') + 1) {
        ck_assert_ptr_nonnull(strchr(at, '\n'));
        lines++;
    }
    ck_assert_uint_le(lines, 3 * CHAINS * LENGTH + 10);
    if (_i % 2 == 0)
        ck_assert_str_eq(text + size - 3, "\n}\n");
    free(text);
    world_end(&world);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("graph");
    TCase *tests = tcase_create("graph");

    tcase_set_timeout(tests, 60);
    tcase_add_test(tests, test_nothing);
    tcase_add_test(tests, test_forest);
    tcase_add_test(tests, test_names);
    tcase_add_test(tests, test_long_chain);
    tcase_add_loop_test(tests, test_changes_while_it_is_drawn, 0, 20);
    suite_add_tcase(suite, tests);
    return suite_run(suite);
}
