// SPDX-License-Identifier: Apache-2.0
/*
 * test_events.c - the ring of events, and the lines that its readers get.
 */
#include "exchange/events.h"

#include "exchange/publish.h"
#include "exchange_fixture.h"
#include "files/event_lines.h"
#include "suite.h"
#include <errno.h>
#include <string.h>

enum { TEXT_MAX = 1 << 16 };

static const struct caller client = {.uid = 1000, .gid = 1000, .thread = 7, .process = 7};

static void refuse(struct events *events, const char *slot, uid_t uid, const char *reason)
{
    events_of_refusal(events, slot, uid, 3, &client, "do it", EBUSY, reason);
}

/* All that there is to read, as a string. */
static const char *read_all(struct event_lines *lines, const struct events *events)
{
    static char text[TEXT_MAX];
    size_t got = event_lines_read(lines, events, text, sizeof(text) - 1);

    ck_assert(got == 0 || text[got - 1] == '\n');
    text[got] = '\0';
    return text;
}

static unsigned count(const char *text, const char *what)
{
    unsigned found = 0;

    for (; (text = strstr(text, what)); text++)
        found++;
    return found;
}

START_TEST(test_nobody_reads)
{
    struct events events = {0};

    ck_assert(!events_wanted(&events));
    ck_assert_int_eq(events_join(&events), 0);
    ck_assert_int_eq(events_join(&events), 0);
    events_leave(&events);
    ck_assert(events_wanted(&events));
    events_leave(&events);
    ck_assert(!events_wanted(&events));
}
END_TEST

/* From when it opened the file, and each line once, however many read. */
START_TEST(test_readers_have_their_own_place)
{
    struct events events = {0};
    struct event_lines first, second;

    ck_assert_int_eq(events_join(&events), 0);
    event_lines_begin(&first, &events, 0);
    ck_assert(!event_lines_ready(&first, &events));
    refuse(&events, "a", 1000, "one");
    event_lines_begin(&second, &events, 0);
    refuse(&events, "a", 1000, "two");
    ck_assert_uint_eq(count(read_all(&first, &events), "\n"), 2);
    ck_assert_str_eq(read_all(&first, &events), "");
    ck_assert_ptr_nonnull(strstr(read_all(&second, &events), "\"reason\":\"two\""));
    events_leave(&events);
}
END_TEST

START_TEST(test_a_line)
{
    struct events events = {0};
    struct event_lines lines;
    const char *text;

    ck_assert_int_eq(events_join(&events), 0);
    event_lines_begin(&lines, &events, 0);
    refuse(&events, "a \"\\\n\xc3\xa4\xff", 1000, "because");
    text = read_all(&lines, &events);
    ck_assert_ptr_nonnull(
        strstr(text, "\"event\":\"refusal\",\"slot\":\"a \\\"\\\\\\u000a\xc3\xa4\\udcff\",\"round\":3,"
                     "\"uid\":1000,\"operation\":\"do it\",\"errno\":\"EBUSY\","
                     "\"reason\":\"because\",\"pid\":7}\n"));
    events_of_takeover(&events);
    ck_assert_ptr_nonnull(strstr(read_all(&lines, &events), "Z\",\"event\":\"takeover\"}\n"));
    events_leave(&events);
}
END_TEST

/* Root sees all, others their slots; and that the server is another one concerns all. */
START_TEST(test_who_sees_what)
{
    struct events events = {0};
    struct event_lines root, owner, other;

    ck_assert_int_eq(events_join(&events), 0);
    event_lines_begin(&root, &events, 0);
    event_lines_begin(&owner, &events, 1000);
    event_lines_begin(&other, &events, 1001);
    refuse(&events, "a", 1000, "one");
    ck_assert(event_lines_ready(&owner, &events));
    ck_assert(!event_lines_ready(&other, &events));
    events_of_takeover(&events);
    ck_assert_uint_eq(count(read_all(&root, &events), "\n"), 2);
    ck_assert_uint_eq(count(read_all(&owner, &events), "\n"), 2);
    ck_assert_uint_eq(count(read_all(&other, &events), "\n"), 1);
    events_leave(&events);
}
END_TEST

/* A reader that is as far behind as can be gets all; of one event more, it is told. */
START_TEST(test_a_slow_reader)
{
    struct events events = {0};
    struct event_lines lines;
    unsigned got = 0;

    ck_assert_int_eq(events_join(&events), 0);
    event_lines_begin(&lines, &events, 0);
    for (unsigned i = 0; i < EVENTS_KEPT; i++)
        refuse(&events, "a", 0, "");
    while (event_lines_ready(&lines, &events)) {
        const char *text = read_all(&lines, &events);

        ck_assert_uint_eq(count(text, "missed"), 0);
        got += count(text, "\n");
    }
    ck_assert_uint_eq(got, EVENTS_KEPT);
    for (unsigned i = 0; i < EVENTS_KEPT + 5; i++)
        refuse(&events, "a", 0, "");
    ck_assert_int_eq(strncmp(read_all(&lines, &events), "{\"missed\":5}\n{\"time\"", 20), 0);
    events_leave(&events);
}
END_TEST

/* Byte by byte it is the same text. */
START_TEST(test_small_buffers)
{
    struct events events = {0};
    struct event_lines whole, parts;
    char text[TEXT_MAX];
    size_t size = 0;

    ck_assert_int_eq(events_join(&events), 0);
    event_lines_begin(&whole, &events, 0);
    event_lines_begin(&parts, &events, 0);
    for (unsigned i = 0; i < EVENTS_KEPT + 2; i++)
        refuse(&events, "a", i < EVENTS_KEPT ? 1 : 0, "a reason");
    whole.uid = parts.uid = 4; /* who may see none of them, but learns of the two */
    for (int i = 0; i < 3; i++)
        events_of_takeover(&events);
    while (event_lines_read(&parts, &events, text + size, 1) == 1)
        size++;
    text[size] = '\0';
    ck_assert_str_eq(text, read_all(&whole, &events));
    ck_assert_uint_eq(count(text, "{\"missed\":5}\n"), 1);
    ck_assert_uint_eq(count(text, "takeover"), 3);
    events_leave(&events);
}
END_TEST

/* The line that was being read is lost: it is ended, and then the reader is told. */
START_TEST(test_overtaken_within_a_line)
{
    struct events events = {0};
    struct event_lines lines;
    char text[8];

    ck_assert_int_eq(events_join(&events), 0);
    event_lines_begin(&lines, &events, 0);
    refuse(&events, "a", 0, "");
    ck_assert_uint_eq(event_lines_read(&lines, &events, text, sizeof(text)), sizeof(text));
    for (unsigned i = 0; i < EVENTS_KEPT; i++)
        refuse(&events, "b", 0, "");
    ck_assert(event_lines_ready(&lines, &events));
    ck_assert_int_eq(strncmp(read_all(&lines, &events), "\n{\"missed\":1}\n{\"time\"", 20), 0);
    events_leave(&events);
}
END_TEST

/* And while it read how many it had missed: that number stands, what came to it is told next. */
START_TEST(test_overtaken_while_told)
{
    struct events events = {0};
    struct event_lines lines;
    char text[5];

    ck_assert_int_eq(events_join(&events), 0);
    event_lines_begin(&lines, &events, 0);
    for (unsigned i = 0; i < EVENTS_KEPT + 12; i++)
        refuse(&events, "a", 0, "");
    ck_assert_uint_eq(event_lines_read(&lines, &events, text, sizeof(text)), sizeof(text));
    for (unsigned i = 0; i < 3; i++)
        refuse(&events, "a", 0, "");
    ck_assert_int_eq(strncmp(read_all(&lines, &events), "sed\":12}\n{\"missed\":3}\n{\"time\"", 28), 0);
    events_leave(&events);
}
END_TEST

static unsigned told;

static void tell(void *context)
{
    (void)context;
    told++;
}

/* What an exchange tells: a slot's whole life, with who did what. */
START_TEST(test_the_life_of_a_slot)
{
    static const char *const expected[] = {
        "\"event\":\"made\",\"slot\":\"a\"",
        "\"from\":\"IDLE\",\"to\":\"FILLING\"",
        "\"event\":\"transition\",\"slot\":\"a\",\"round\":1,",
        "\"event\":\"refusal\",\"slot\":\"a\",\"round\":1,",
        "\"event\":\"failure\",\"slot\":\"a\",\"round\":1,",
        "\"event\":\"removed\",\"slot\":\"a\"",
    };
    struct event_lines lines;
    struct events *events;
    struct world world;
    struct slot *slot;
    char *line;
    char text[TEXT_MAX];

    world_begin(&world, DATA_PATH_PASSTHROUGH);
    events = exchange_events(world.exchange);
    events->told = tell;
    world_slot(&world, "unseen");
    ck_assert_uint_eq(told, 0);
    ck_assert_int_eq(events_join(events), 0);
    event_lines_begin(&lines, events, 0);
    slot = world_slot(&world, "a");
    world_publish(&world, slot, WORLD_COUNT, 1);
    ck_assert_int_eq(world_flag(&world, slot, RECORD_FLAG_INPUT), -EPROTO);
    ck_assert_int_eq(publish_failure(world.exchange, slot, &world.caller, "why\nmore", 8), 0);
    exchange_remove(world.exchange, slot);
    strcpy(text, read_all(&lines, events));
    ck_assert_uint_eq(told, count(text, "\n"));
    ck_assert_ptr_nonnull(strstr(text, "\"to\":\"FAILED\",\"reason\":\"why\",\"pid\":"));
    line = text;
    for (size_t i = 0; i < sizeof(expected) / sizeof(expected[0]); i++) {
        line = strstr(line, expected[i]);
        ck_assert_msg(line != NULL, "after the lines before it there is no %s in %s", expected[i], text);
    }
    events_leave(events);
    world_end(&world);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("events");
    TCase *tests = tcase_create("events");

    tcase_add_test(tests, test_nobody_reads);
    tcase_add_test(tests, test_readers_have_their_own_place);
    tcase_add_test(tests, test_a_line);
    tcase_add_test(tests, test_who_sees_what);
    tcase_add_test(tests, test_a_slow_reader);
    tcase_add_test(tests, test_small_buffers);
    tcase_add_test(tests, test_overtaken_within_a_line);
    tcase_add_test(tests, test_overtaken_while_told);
    tcase_add_test(tests, test_the_life_of_a_slot);
    suite_add_tcase(suite, tests);
    return suite_run(suite);
}
