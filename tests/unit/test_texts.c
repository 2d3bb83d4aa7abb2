// SPDX-License-Identifier: Apache-2.0
/*
 * test_texts.c - views, task, error, owner, worker and source: what they show, and what writing, truncating
 * and unlinking them does.
 */
#include "parked.h"
#include "slot/text.h"
#include "slot_files_fixture.h"
#include "suite.h"
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static int resize_file(struct world *world, struct slot *slot, enum slot_file file, uint64_t size)
{
    return slot_files_row(file)->resize(world->exchange, slot, file, size);
}

/* --- views --- */

/* The header, then the array's bytes. */
static void expect_npy(struct world *world, struct slot *slot, enum slot_file file, uint64_t count,
                       double value)
{
    static char content[CONTENT_MAX];
    size_t size = read_file(world, slot, file, content);
    size_t header = size - count * sizeof(value);

    ck_assert_int_eq(slot_files_row(file)->size(world->exchange, slot, file), (off_t)size);
    ck_assert_uint_gt(size, count * sizeof(value));
    ck_assert_uint_eq(header % 64, 0);
    ck_assert_mem_eq(content, "\x93NUMPY\x01", 7);
    for (uint64_t i = 0; i < count; i++)
        ck_assert_mem_eq(content + header + i * sizeof(value), &value, sizeof(value));
}

START_TEST(test_views_show_what_is_published)
{
    struct world world;

    world_begin(&world, (enum exchange_data_path)_i);
    for (int state = 0; state < HANDSHAKE_STATES; state++) {
        struct slot *slot = world_slot_in(&world, "job", (enum handshake_state)state);
        bool input = state != STATE_IDLE && state != STATE_FILLING;
        bool result = state == STATE_DONE;

        expect_content(&world, slot, SLOT_DATA_TXT, input ? "1\n1\n1\n1\n" : "");
        expect_content(&world, slot, SLOT_RESULT_TXT, result ? "2\n2\n2\n2\n" : "");
        if (input)
            expect_npy(&world, slot, SLOT_DATA_NPY, WORLD_COUNT, 1);
        else
            expect_content(&world, slot, SLOT_DATA_NPY, "");
        if (result)
            expect_npy(&world, slot, SLOT_RESULT_NPY, WORLD_COUNT, 2);
        else
            expect_content(&world, slot, SLOT_RESULT_NPY, "");
        exchange_remove(world.exchange, slot);
    }
    world_end(&world);
}
END_TEST

START_TEST(test_views_of_nothing)
{
    struct world world;
    struct slot *slot, *source;

    world_begin(&world, (enum exchange_data_path)_i);
    slot = world_slot(&world, "empty");
    ck_assert_int_eq(world_flag(&world, slot, RECORD_FLAG_INPUT), 0);
    expect_content(&world, slot, SLOT_DATA_TXT, "");
    expect_npy(&world, slot, SLOT_DATA_NPY, 0, 0);

    /* The round failed before it had an input. */
    slot = world_slot(&world, "follower");
    source = world_slot(&world, "source");
    ck_assert_int_eq(world_link(&world, slot, source, RECORD_SIDE_RESULT), 0);
    exchange_remove(world.exchange, source);
    expect_state(slot, STATE_FAILED, 1);
    expect_content(&world, slot, SLOT_DATA_TXT, "");
    expect_content(&world, slot, SLOT_DATA_NPY, "");
    world_end(&world);
}
END_TEST

/* An open view keeps its array, as an open array does. */
START_TEST(test_views_are_pinned)
{
    static char content[CONTENT_MAX];
    struct handle *text, *empty;
    struct world world;
    struct slot *slot;

    world_begin(&world, (enum exchange_data_path)_i);
    slot = world_slot_in(&world, "job", STATE_READY);
    text = open_file(&world, slot, SLOT_DATA_TXT, HANDLE_READS);
    empty = open_file(&world, slot, SLOT_RESULT_TXT, HANDLE_READS);
    world_finish(&world, slot, 2, 8);
    ck_assert_uint_eq(read_open(&world, empty, 100, content), 0);
    world_publish(&world, slot, 2, 9);
    read_open(&world, text, 3, content);
    ck_assert_str_eq(content, "1\n1\n1\n1\n");
    expect_content(&world, slot, SLOT_DATA_TXT, "9\n9\n");
    exchange_remove(world.exchange, slot);
    read_open(&world, text, 100, content);
    ck_assert_str_eq(content, "1\n1\n1\n1\n");
    close_file(&world, text);
    close_file(&world, empty);
    world_end(&world);
}
END_TEST

START_TEST(test_views_take_nothing)
{
    struct handle *view;
    struct world world;
    struct slot *a, *b;

    world_begin(&world, (enum exchange_data_path)_i);
    a = world_slot(&world, "a");
    b = world_slot(&world, "b");
    ck_assert_int_eq(world_link(&world, b, a, RECORD_SIDE_INPUT), 0);
    world_publish(&world, a, 1, 1);
    view = open_file(&world, b, SLOT_DATA_NPY, HANDLE_READS);
    ck_assert_ptr_eq(view->segment, a->segments[RECORD_SIDE_INPUT]);
    close_file(&world, view);
    expect_state(b, STATE_READY, 1);
    world_finish(&world, b, 1, 2);
    view = open_file(&world, b, SLOT_RESULT_TXT, HANDLE_READS);
    close_file(&world, view);
    ck_assert_uint_eq(b->outcome_taken, 0); /* reading the view does not take the outcome */
    world_end(&world);
}
END_TEST

/* --- task --- */

START_TEST(test_task)
{
    static char big[TEXT_TASK_MAX + 2];
    struct world world;
    struct slot *slot;

    world_begin(&world, (enum exchange_data_path)_i);
    memset(big, 'x', TEXT_TASK_MAX + 1);
    for (int state = 0; state < HANDSHAKE_STATES; state++) {
        slot = world_slot_in(&world, "job", (enum handshake_state)state);
        ck_assert_int_eq(write_text(&world, slot, SLOT_TASK, "do it"), 0);
        expect_content(&world, slot, SLOT_TASK, "do it");
        ck_assert_int_eq(write_at(&world, slot, SLOT_TASK, "now", 3, 6), 0); /* with a gap */
        ck_assert_uint_eq(text_size(slot, SLOT_TASK), 9);
        ck_assert_int_eq(write_at(&world, slot, SLOT_TASK, " ", 1, 5), 0);
        expect_content(&world, slot, SLOT_TASK, "do it now");
        ck_assert_int_eq(resize_file(&world, slot, SLOT_TASK, 2), 0);
        expect_content(&world, slot, SLOT_TASK, "do");
        ck_assert_int_eq(resize_file(&world, slot, SLOT_TASK, 0), 0);
        expect_content(&world, slot, SLOT_TASK, "");
        ck_assert_int_eq(write_text(&world, slot, SLOT_TASK, "again"), 0);
        ck_assert_int_eq(remove_file(&world, slot, SLOT_TASK), 0);
        expect_content(&world, slot, SLOT_TASK, "");
        ck_assert_int_eq(remove_file(&world, slot, SLOT_TASK), 0);
        expect_state(slot, (enum handshake_state)state, 1);
        exchange_remove(world.exchange, slot);
    }
    slot = world_slot(&world, "job");
    ck_assert_int_eq(write_at(&world, slot, SLOT_TASK, big, TEXT_TASK_MAX + 1, 0), -EFBIG);
    expect_refusal(slot, EFBIG, "too long");
    ck_assert_int_eq(write_at(&world, slot, SLOT_TASK, big, 1, TEXT_TASK_MAX), -EFBIG);
    ck_assert_int_eq(write_at(&world, slot, SLOT_TASK, big, 2, INT64_MAX - 1), -EFBIG);
    ck_assert_int_eq(resize_file(&world, slot, SLOT_TASK, TEXT_TASK_MAX + 1), -EFBIG);
    expect_content(&world, slot, SLOT_TASK, "");
    big[TEXT_TASK_MAX] = '\0';
    ck_assert_int_eq(write_text(&world, slot, SLOT_TASK, big), 0);
    expect_content(&world, slot, SLOT_TASK, big);
    ck_assert_int_eq(resize_file(&world, slot, SLOT_TASK, 0), 0);
    ck_assert_int_eq(resize_file(&world, slot, SLOT_TASK, 3), 0);
    ck_assert_uint_eq(text_size(slot, SLOT_TASK), 3);
    world_end(&world);
}
END_TEST

/* --- error --- */

START_TEST(test_error)
{
    static const int results[HANDSHAKE_STATES] = {
        [STATE_IDLE] = -EPROTO, [STATE_FILLING] = -EPROTO, [STATE_DONE] = -EPROTO};
    struct parked *parked;
    struct world world;
    struct slot *slot;

    world_begin(&world, (enum exchange_data_path)_i);
    for (int state = 0; state < HANDSHAKE_STATES; state++) {
        slot = world_slot_in(&world, "job", (enum handshake_state)state);
        ck_assert_int_eq(write_text(&world, slot, SLOT_ERROR, "oh no"), results[state]);
        expect_state(slot, results[state] ? (enum handshake_state)state : STATE_FAILED, 1);
        expect_content(&world, slot, SLOT_ERROR, results[state] ? "" : "oh no");
        exchange_remove(world.exchange, slot);
    }
    slot = world_slot_in(&world, "job", STATE_COMPUTING);
    parked = world_park_open(&world, slot, SLOT_RESULT_BIN);
    ck_assert_int_eq(write_text(&world, slot, SLOT_ERROR, "ValueError: no\n"), 0);
    expect_ended(parked, -EIO);
    ck_assert_int_eq(write_at(&world, slot, SLOT_ERROR, "  at line 3\n", 12, 15), 0);
    expect_content(&world, slot, SLOT_ERROR, "ValueError: no\n  at line 3\n");
    ck_assert_int_eq(remove_file(&world, slot, SLOT_ERROR), 0);
    expect_content(&world, slot, SLOT_ERROR, "");
    expect_state(slot, STATE_FAILED, 1);
    world_end(&world);
}
END_TEST

START_TEST(test_long_errors)
{
    static char big[TEXT_ERROR_MAX + 2];
    struct world world;
    struct slot *slot;

    world_begin(&world, (enum exchange_data_path)_i);
    memset(big, 'y', TEXT_ERROR_MAX + 1);
    slot = world_slot_in(&world, "job", STATE_READY);
    ck_assert_int_eq(write_at(&world, slot, SLOT_ERROR, big, TEXT_ERROR_MAX + 1, 0), -EFBIG);
    expect_state(slot, STATE_READY, 1);
    big[TEXT_ERROR_MAX] = '\0';
    ck_assert_int_eq(write_text(&world, slot, SLOT_ERROR, big), 0);
    expect_state(slot, STATE_FAILED, 1);
    expect_content(&world, slot, SLOT_ERROR, big);
    ck_assert_int_eq(write_at(&world, slot, SLOT_ERROR, big, 1, TEXT_ERROR_MAX), -EFBIG);
    ck_assert_int_eq(world_flag(&world, slot, RECORD_FLAG_INPUT), 0);
    expect_content(&world, slot, SLOT_ERROR, "");
    world_end(&world);
}
END_TEST

/* A full arena costs the text of the failure, but the round fails. */
START_TEST(test_error_in_a_full_arena)
{
    struct world_options options = world_defaults();
    struct world world;
    struct slot *slot;
    uint64_t size = MIB;

    options.kind = ARENA_TMPFS;
    options.capacity = MIB;
    options.data_path = (enum exchange_data_path)_i;
    if (!world_try_begin(&world, &options))
        return;
    slot = world_slot_in(&world, "job", STATE_READY);
    while (size >= 4 * KIB && world_resize(&world, slot, SLOT_RESULT_BIN, NULL, RESERVE_RESIZE, size) != 0)
        size -= 4 * KIB;
    ck_assert_int_eq(write_text(&world, slot, SLOT_ERROR, "oh no"), 0);
    expect_state(slot, STATE_FAILED, 1);
    world_end(&world);
}
END_TEST

/* --- owner and worker --- */

START_TEST(test_pids)
{
    static const struct {
        const char *text;
        size_t size; /* 0: the text's length */
        int result;
    } rows[] = {
        {"self", 0, 0},
        {"self\n", 0, 0},
        {"1\n", 0, 0},
        {"1", 0, 0},
        {"1 ", 0, 0},
        {"0", 0, -EINVAL},
        {"-1", 0, -EINVAL},
        {"+1", 0, -EINVAL},
        {" 1", 0, -EINVAL},
        {"", 0, -EINVAL},
        {"\n", 0, -EINVAL},
        {"1x", 0, -EINVAL},
        {"0x1", 0, -EINVAL},
        {"1\n1\n", 0, -EINVAL},
        {"selfish", 0, -EINVAL},
        {"Self", 0, -EINVAL},
        {"1\0", 2, -EINVAL},
        {"2147483647", 0, -ESRCH},
        {"2147483648", 0, -EINVAL},
        {"99999999999999999999", 0, -EINVAL},
        {"4294967297", 0, -EINVAL},
    };
    static const enum slot_file files[] = {SLOT_OWNER, SLOT_WORKER};
    struct world world;
    struct slot *slot;
    char text[16];

    world_begin(&world, DATA_PATH_PASSTHROUGH);
    slot = world_slot(&world, "job");
    for (int i = 0; i < 2; i++) {
        for (size_t row = 0; row < sizeof(rows) / sizeof(rows[0]); row++) {
            size_t size = rows[row].size ? rows[row].size : strlen(rows[row].text);
            pid_t expected = rows[row].text[0] == '1' ? 1 : getpid();

            if (getuid() != 0 && expected == 1 && rows[row].result == 0) {
                fprintf(stderr, "SKIPPED [1] only root can bind a slot to process 1\n");
                continue;
            }
            ck_assert_msg(write_at(&world, slot, files[i], rows[row].text, size, 0) == rows[row].result,
                          "\"%s\"", rows[row].text);
            snprintf(text, sizeof(text), "%d\n", expected);
            expect_content(&world, slot, files[i], rows[row].result ? "" : text);
            if (rows[row].result)
                ck_assert_int_eq(slot->refusal.error, -rows[row].result);
            ck_assert_int_eq(
                row % 2 ? remove_file(&world, slot, files[i]) : resize_file(&world, slot, files[i], 0), 0);
            expect_content(&world, slot, files[i], "");
        }
        ck_assert_int_eq(resize_file(&world, slot, files[i], 1), -EINVAL);
    }
    /* A write replaces the old text. */
    ck_assert_int_eq(write_text(&world, slot, SLOT_WORKER, "self"), 0);
    ck_assert_int_eq(write_at(&world, slot, SLOT_WORKER, "self", 4, 100), 0);
    ck_assert_int_eq(write_text(&world, slot, SLOT_WORKER, "junk"), -EINVAL);
    ck_assert_int_eq(slot->worker, getpid());
    ck_assert_int_eq(slot->owner, 0);
    world_end(&world);
}
END_TEST

/* --- source --- */

START_TEST(test_source)
{
    struct world world;
    struct slot *a, *b;

    world_begin(&world, DATA_PATH_PASSTHROUGH);
    a = world_slot(&world, "a");
    b = world_slot(&world, "b");
    ck_assert(!slot_file_exists(b, SLOT_SOURCE));
    ck_assert_int_eq(world_link(&world, b, a, RECORD_SIDE_RESULT), 0);
    ck_assert(slot_file_exists(b, SLOT_SOURCE));
    ck_assert_int_eq(slot_files_row(SLOT_SOURCE)->size(world.exchange, b, SLOT_SOURCE),
                     strlen("../a/result.bin"));
    slot_rename(world.slots, a, "another");
    ck_assert_int_eq(slot_files_row(SLOT_SOURCE)->size(world.exchange, b, SLOT_SOURCE),
                     strlen("../another/result.bin"));
    ck_assert_int_eq(remove_file(&world, b, SLOT_SOURCE), 0);
    ck_assert(!slot_file_exists(b, SLOT_SOURCE));
    world_publish(&world, b, 1, 1);
    world_end(&world);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("texts");
    TCase *tests = tcase_create("files");

    tcase_set_timeout(tests, 60);
    tcase_add_loop_test(tests, test_views_show_what_is_published, 0, DATA_PATHS);
    tcase_add_loop_test(tests, test_views_of_nothing, 0, DATA_PATHS);
    tcase_add_loop_test(tests, test_views_are_pinned, 0, DATA_PATHS);
    tcase_add_loop_test(tests, test_views_take_nothing, 0, DATA_PATHS);
    tcase_add_loop_test(tests, test_task, 0, DATA_PATHS);
    tcase_add_loop_test(tests, test_error, 0, DATA_PATHS);
    tcase_add_loop_test(tests, test_long_errors, 0, DATA_PATHS);
    tcase_add_loop_test(tests, test_error_in_a_full_arena, 0, DATA_PATHS);
    tcase_add_test(tests, test_pids);
    tcase_add_test(tests, test_source);
    suite_add_tcase(suite, tests);
    return suite_run(suite);
}
