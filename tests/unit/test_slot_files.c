// SPDX-License-Identifier: Apache-2.0
/*
 * test_slot_files.c - the small files of a slot: what they say, what writing them does, and that the text
 * twins do what the binary ones do.
 */
#include "files/slot_files.h"

#include "exchange/wait.h"
#include "files/report.h"
#include "parked.h"
#include "slot/text.h"
#include "slot_files_fixture.h"
#include "suite.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* --- the table --- */

START_TEST(test_table)
{
    static const struct {
        const char *name;
        enum slot_files_kind kind;
        bool writable;
    } rows[SLOT_FILES] = {
        [SLOT_DIRECTORY] = {"", SLOT_FILES_DIRECTORY, false},
        [SLOT_METADATA_BIN] = {"metadata.bin", SLOT_FILES_RECORD, true},
        [SLOT_METADATA_MEM] = {"metadata.mem", SLOT_FILES_PAGE, false},
        [SLOT_METADATA_TXT] = {"metadata.txt", SLOT_FILES_TEXT, true},
        [SLOT_DATA_BIN] = {"data.bin", SLOT_FILES_ARRAY, false}, /* its writes bypass the table */
        [SLOT_RESULT_BIN] = {"result.bin", SLOT_FILES_ARRAY, false},
        [SLOT_DATA_TXT] = {"data.txt", SLOT_FILES_VIEW, false},
        [SLOT_RESULT_TXT] = {"result.txt", SLOT_FILES_VIEW, false},
        [SLOT_DATA_NPY] = {"data.npy", SLOT_FILES_VIEW, false},
        [SLOT_RESULT_NPY] = {"result.npy", SLOT_FILES_VIEW, false},
        [SLOT_TASK] = {"task", SLOT_FILES_TEXT, true},
        [SLOT_ERROR] = {"error", SLOT_FILES_TEXT, true},
        [SLOT_OWNER] = {"owner", SLOT_FILES_TEXT, true},
        [SLOT_WORKER] = {"worker", SLOT_FILES_TEXT, true},
        [SLOT_SOURCE] = {"source", SLOT_FILES_LINK, false},
        [SLOT_DATA_LINK] = {"data.mem", SLOT_FILES_LINK, false},
        [SLOT_RESULT_LINK] = {"result.mem", SLOT_FILES_LINK, false},
        [SLOT_METADATA_LINK] = {"metadata.mem", SLOT_FILES_LINK, false}, /* for SLOT_METADATA_MEM */
    };
    static const char *const unknown[] = {"", ".", "..", "data", "data.bin2", "DATA.BIN", "metadata.json",
                                          "x"};
    struct slot chained = {.source = 1}, slot = {0};

    for (int file = 0; file < SLOT_FILES; file++) {
        const struct slot_files_row *row = slot_files_row((enum slot_file)file);

        ck_assert_str_eq(slot_file_name((enum slot_file)file), rows[file].name);
        ck_assert_int_eq(row->kind, rows[file].kind);
        ck_assert_int_eq(row->write != NULL, rows[file].writable);
        if (file != SLOT_DIRECTORY && file != SLOT_METADATA_LINK)
            ck_assert_int_eq(slot_file_find(rows[file].name), file);
        ck_assert_int_eq(slot_file_exists(&slot, (enum slot_file)file), file != SLOT_SOURCE);
        ck_assert(slot_file_exists(&chained, (enum slot_file)file));
    }
    for (size_t i = 0; i < sizeof(unknown) / sizeof(unknown[0]); i++)
        ck_assert_int_eq(slot_file_find(unknown[i]), SLOT_FILES);
    ck_assert(!slot_file_exists(&slot, SLOT_FILES));
}
END_TEST

/* Reading every file in every state changes nothing. */
START_TEST(test_reading_changes_nothing)
{
    static char content[CONTENT_MAX];
    struct world world;

    world_begin(&world, (enum exchange_data_path)_i);
    for (int state = 0; state < HANDSHAKE_STATES; state++) {
        struct slot *slot = world_slot_in(&world, "job", (enum handshake_state)state);
        struct slot before = *slot;
        int changes = world.changes;

        for (int file = 0; file < SLOT_FILES; file++) {
            const struct slot_files_row *row = slot_files_row((enum slot_file)file);

            if (!row->read)
                continue;
            row->size(world.exchange, slot, (enum slot_file)file);
            read_file(&world, slot, (enum slot_file)file, content);
        }
        ck_assert_mem_eq(&slot->record, &before.record, sizeof(before.record));
        ck_assert_mem_eq(slot->times, before.times, sizeof(before.times));
        ck_assert_mem_eq(slot->arrays, before.arrays, sizeof(before.arrays));
        ck_assert_uint_eq(slot->state, before.state);
        ck_assert_uint_eq(slot->outcome_taken, before.outcome_taken);
        ck_assert_uint_eq(slot->refusals, before.refusals);
        ck_assert_ptr_null(slot->handles);
        ck_assert_int_eq(world.changes, changes);
        exchange_remove(world.exchange, slot);
    }
    world_end(&world);
}
END_TEST

/* --- metadata.mem --- */

START_TEST(test_page)
{
    static char content[CONTENT_MAX];
    struct handle *handle;
    struct world world;
    struct slot *slot;

    world_begin(&world, (enum exchange_data_path)_i);
    slot = world_slot_in(&world, "job", STATE_READY);
    handle = open_file(&world, slot, SLOT_METADATA_MEM, HANDLE_READS);
    ck_assert_uint_eq(read_open(&world, handle, 1000, content), RECORD_PAGE_SIZE);
    ck_assert_mem_eq(content, &slot->record, RECORD_SIZE);
    ck_assert(!handle->has_read); /* it tells poll on metadata.bin nothing */
    close_file(&world, handle);
    ck_assert_int_eq(slot_files_row(SLOT_METADATA_MEM)->size(world.exchange, slot, SLOT_METADATA_MEM),
                     RECORD_PAGE_SIZE);
    world_end(&world);
}
END_TEST

/* Each change of the text is one of the record; what changes nothing is none. */
START_TEST(test_task_change)
{
    static const struct {
        const char *text; /* NULL: it is removed; "": made empty */
        uint32_t changes;
    } rows[] = {{NULL, 0}, {"f(x)", 1}, {"f(x)", 2}, {"", 3}, {"", 3}, {"g", 4}, {NULL, 5}, {NULL, 5}};
    struct world world;
    struct slot *slot;

    world_begin(&world, (enum exchange_data_path)_i);
    slot = world_slot(&world, "job");
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        const char *text = rows[i].text;

        if (!text)
            ck_assert_int_eq(remove_file(&world, slot, SLOT_TASK), 0);
        else if (!*text)
            ck_assert_int_eq(slot_files_row(SLOT_TASK)->resize(world.exchange, slot, SLOT_TASK, 0), 0);
        else
            ck_assert_int_eq(write_at(&world, slot, SLOT_TASK, text, strlen(text), 0), 0);
        ck_assert_uint_eq(slot->record.task_change, rows[i].changes);
        ck_assert_uint_eq(slot->record.change, 2 * rows[i].changes);
    }
    ck_assert_int_eq(write_at(&world, slot, SLOT_TASK, "x", 1, TEXT_TASK_MAX), -EFBIG);
    ck_assert_uint_eq(slot->record.task_change, 5);
    world_end(&world);
}
END_TEST

/* --- metadata.bin --- */

START_TEST(test_record)
{
    static char content[CONTENT_MAX];
    struct handle *handle;
    struct world world;
    struct slot *slot;
    const int32_t flag = 0, version = 1;
    char bytes[RECORD_SIZE + 1] = {0};

    world_begin(&world, (enum exchange_data_path)_i);
    slot = world_slot_in(&world, "job", STATE_FILLING);
    ck_assert_int_eq(slot_files_row(SLOT_METADATA_BIN)->size(world.exchange, slot, SLOT_METADATA_BIN),
                     RECORD_SIZE);
    handle = open_file(&world, slot, SLOT_METADATA_BIN, HANDLE_WRITES);
    ck_assert(!handle->has_read);
    ck_assert_uint_eq(read_open(&world, handle, 7, content), RECORD_SIZE);
    ck_assert_mem_eq(content, &slot->record, RECORD_SIZE);
    ck_assert(handle->has_read);
    ck_assert_uint_eq(handle->seen_change, slot->record.change);
    ck_assert_int_eq(slot_files_row(SLOT_METADATA_BIN)->read(world.exchange, handle, content, 10, 1000), 0);
    close_file(&world, handle);

    ck_assert_int_eq(write_at(&world, slot, SLOT_METADATA_BIN, &version, sizeof(version), 4), -EINVAL);
    expect_refusal(slot, EINVAL, "no valid record");
    ck_assert_int_eq(write_at(&world, slot, SLOT_METADATA_BIN, bytes, sizeof(bytes), 0), -EINVAL);
    ck_assert_int_eq(write_at(&world, slot, SLOT_METADATA_BIN, bytes, 1, RECORD_SIZE), -EINVAL);
    expect_state(slot, STATE_FILLING, 1);
    ck_assert_int_eq(write_at(&world, slot, SLOT_METADATA_BIN, &flag, sizeof(flag), 0), 0);
    expect_state(slot, STATE_READY, 1);
    ck_assert_int_eq(remove_file(&world, slot, SLOT_METADATA_BIN), 0);
    expect_state(slot, STATE_IDLE, 2);
    world_end(&world);
}
END_TEST

/* --- metadata.txt --- */

/* Whether it has a line that begins with this. */
static bool has_line(const char *content, const char *line)
{
    const char *at = content;

    while ((at = strstr(at, line)) && at != content && at[-1] != '\n')
        at++;
    return at != NULL;
}

static void expect_lines(const char *content, const char *const *lines)
{
    for (; *lines; lines++)
        ck_assert_msg(has_line(content, *lines), "no line \"%s\" in:\n%s", *lines, content);
}

START_TEST(test_report)
{
    static const char *const fresh[] = {"state=IDLE\n",
                                        "flag=-1\n",
                                        "round=1\n",
                                        "dtype=float64\n",
                                        "input_length=-1\n",
                                        "input_shape=\n",
                                        "input_order=C\n",
                                        "data_size=0\n",
                                        "result_size=0\n",
                                        "refusals=0\n",
                                        NULL};
    static const char *const busy[] = {"state=COMPUTING\n", "flag=0\n",
                                       "input_length=4\n",  "data_size=32\n",
                                       "result_size=32\n",  "source=../new\\x0aline/data.bin\n",
                                       "refusals=1\n",      NULL};
    static char content[CONTENT_MAX];
    char open_line[64], worker_line[64], owner_line[64], waiting_line[64];
    const char *const processes[] = {open_line, worker_line, owner_line, waiting_line, NULL};
    struct handle *writer;
    struct parked *parked;
    struct world world;
    struct slot *slot, *source;

    world_begin(&world, (enum exchange_data_path)_i);
    slot = world_slot(&world, "job");
    read_file(&world, slot, SLOT_METADATA_TXT, content);
    ck_assert_int_eq(strncmp(content, "state=", 6), 0);
    expect_lines(content, fresh);
    ck_assert(!has_line(content, "source="));
    ck_assert(!has_line(content, "owner="));
    ck_assert(!has_line(content, "refused="));

    source = world_slot(&world, "new\nline");
    ck_assert_int_eq(world_link(&world, slot, source, RECORD_SIDE_INPUT), 0);
    world_publish(&world, source, WORLD_COUNT, 1);
    world_put(&world, slot, SLOT_RESULT_BIN, WORLD_COUNT, 2);
    ck_assert_int_eq(world_flag(&world, slot, RECORD_FLAG_INPUT), -EPROTO);
    ck_assert_int_eq(write_text(&world, slot, SLOT_OWNER, "self"), 0);
    ck_assert_int_eq(write_text(&world, slot, SLOT_WORKER, "self"), 0);
    writer = world_open(&world, slot, SLOT_RESULT_BIN, HANDLE_WRITES);
    parked = world_park_open(&world, slot, SLOT_RESULT_BIN);
    read_file(&world, slot, SLOT_METADATA_TXT, content);
    snprintf(open_line, sizeof(open_line), "open=%d result.bin w\n", getpid());
    snprintf(worker_line, sizeof(worker_line), "worker=%d\n", getpid());
    snprintf(owner_line, sizeof(owner_line), "owner=%d\n", getpid());
    snprintf(waiting_line, sizeof(waiting_line), "waiting=%d result.bin 0.", getpid());
    expect_lines(content, busy);
    expect_lines(content, processes);
    ck_assert_ptr_nonnull(strstr(content, " write flag 0 EPROTO the result is being written\n"));
    world_close(&world, writer);
    wait_unpark(&parked->wait);
    free(parked->handle);
    free(parked);
    world_end(&world);
}
END_TEST

static void say(struct world *world, struct slot *slot, char content[CONTENT_MAX])
{
    FILE *out = fmemopen(content, CONTENT_MAX, "w");

    ck_assert_ptr_nonnull(out);
    report_slot(world->exchange, slot, out);
    ck_assert_int_eq(fclose(out), 0);
}

static size_t count_lines(const char *content, const char *begin)
{
    size_t count = 0;

    for (const char *at = content; at; at = strchr(at, '\n') ? strchr(at, '\n') + 1 : NULL)
        count += strncmp(at, begin, strlen(begin)) == 0;
    return count;
}

/* The report looks at a hundred handles, however many there are. */
START_TEST(test_report_is_bounded)
{
    enum { MANY = 150, SHOWN = 100 };
    static char content[CONTENT_MAX];
    struct handle *handles[MANY], *handle, *next;
    struct parked *parked[MANY];
    struct wait *wait, *after;
    struct world world;
    struct slot *slot;

    world_begin(&world, DATA_PATH_PASSTHROUGH);
    slot = world_slot(&world, "job");
    for (int i = 0; i < MANY; i++) {
        handles[i] = open_file(&world, slot, SLOT_TASK, HANDLE_READS);
        parked[i] = world_park_open(&world, slot, SLOT_RESULT_BIN);
    }
    handle = slot->handles;
    wait = LIST_FIRST(&slot->waiters);
    for (int i = 0; i < SHOWN; i++) {
        handle = handle->next;
        wait = LIST_NEXT(wait, link);
    }
    next = handle->next;
    after = LIST_NEXT(wait, link);
    handle->next = (struct handle *)8;
    wait->link.le_next = (struct wait *)8;
    /* Read without a handle, which would be one more in the list. */
    say(&world, slot, content);
    handle->next = next;
    wait->link.le_next = after;
    ck_assert_uint_eq(count_lines(content, "open="), SHOWN);
    ck_assert_uint_eq(count_lines(content, "waiting="), SHOWN);
    ck_assert(has_line(content, "open_more=50\n"));
    ck_assert(has_line(content, "waiting_more=50\n"));
    for (int i = 0; i < MANY; i++) {
        wait_unpark(&parked[i]->wait);
        free(parked[i]->handle);
        free(parked[i]);
        close_file(&world, handles[i]);
    }
    say(&world, slot, content);
    ck_assert_uint_eq(count_lines(content, "open"), 0);
    ck_assert_uint_eq(count_lines(content, "waiting"), 0);
    world_end(&world);
}
END_TEST

/* A reader gets the text of the moment of its open, whatever happens meanwhile. */
START_TEST(test_report_is_a_snapshot)
{
    static char content[CONTENT_MAX];
    struct handle *handle;
    struct world world;
    struct slot *slot;

    world_begin(&world, DATA_PATH_PASSTHROUGH);
    slot = world_slot(&world, "job");
    handle = open_file(&world, slot, SLOT_METADATA_TXT, HANDLE_READS);
    world_publish(&world, slot, 1, 1);
    read_open(&world, handle, 3, content);
    ck_assert_int_eq(strncmp(content, "state=IDLE\n", 11), 0);
    exchange_remove(world.exchange, slot);
    read_open(&world, handle, 1000, content);
    ck_assert_int_eq(strncmp(content, "state=IDLE\n", 11), 0);
    close_file(&world, handle);
    world_end(&world);
}
END_TEST

/* The same step through both files has the same result, in every state. */
START_TEST(test_twins)
{
    static const struct {
        const char *text;
        struct record fields;
        size_t offset, size;
    } rows[] = {
        {"flag=0\n", {.flag = 0}, 0, 4},
        {"flag=1", {.flag = 1}, 0, 4},
        {"  flag = 2  \n", {.flag = 2}, 0, 4},
        {"flag=-1\n", {.flag = -1}, 0, 4},
        {"dtype=float32\n", {.dtype = RECORD_FLOAT32}, 16, 4},
        {"dtype=4\n", {.dtype = RECORD_INT64}, 16, 4},
        {"result_dtype=uint8\n", {.result_dtype = RECORD_UINT8}, 20, 4},
        {"input_length=17\n", {.input_length = 17}, 8, 8},
        {"result_length=17\n", {.result_length = 17}, 24, 8},
        {"result_order=F\n", {.order = RECORD_ORDER_RESULT_F}, 112, 4},
        {"# nothing\n\nstate=DONE\n", {.round = 99}, 32, 8},
        {"dtype=9\n", {.dtype = 9}, 16, 4},
        {"input_length=-2\n", {.input_length = -2}, 8, 8},
        {"flag=3\n", {.flag = 3}, 0, 4},
        {"input_length=4\ndtype=float64\nflag=0\n",
         {.flag = 0, .version = RECORD_VERSION, .input_length = 4, .dtype = RECORD_FLOAT64},
         0,
         20},
        {"flag=0\ndtype=float32\ninput_length=9\n",
         {.flag = 0, .version = RECORD_VERSION, .input_length = 9, .dtype = RECORD_FLOAT32},
         0,
         20},
        {"flag=1\ninput_length=4\ndtype=float64\nresult_dtype=int64\nresult_length=4\n",
         {.flag = 1,
          .version = RECORD_VERSION,
          .input_length = 4,
          .dtype = RECORD_FLOAT64,
          .result_dtype = RECORD_INT64,
          .result_length = 4},
         0,
         32},
    };
    struct world world;

    world_begin(&world, (enum exchange_data_path)_i);
    for (int state = 0; state < HANDSHAKE_STATES; state++) {
        for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
            struct slot *one = world_slot_in(&world, "one", (enum handshake_state)state);
            struct slot *two = world_slot_in(&world, "two", (enum handshake_state)state);
            const char *bytes = (const char *)&rows[i].fields + rows[i].offset;
            int result = write_at(&world, one, SLOT_METADATA_BIN, bytes, rows[i].size, (off_t)rows[i].offset);

            ck_assert_int_eq(write_text(&world, two, SLOT_METADATA_TXT, rows[i].text), result);
            ck_assert_mem_eq(&one->record, &two->record, sizeof(one->record));
            ck_assert_uint_eq(one->state, two->state);
            ck_assert_uint_eq(one->refusals, two->refusals);
            ck_assert_int_eq(one->refusal.error, two->refusal.error);
            exchange_remove(world.exchange, one);
            exchange_remove(world.exchange, two);
        }
    }
    world_end(&world);
}
END_TEST

START_TEST(test_write_event)
{
    struct world world;
    struct handle *bin, *txt;
    struct slot *slot;
    const int32_t flags[] = {0, 1};

    world_begin(&world, DATA_PATH_PASSTHROUGH);
    slot = world_slot_in(&world, "job", STATE_FILLING);
    bin = open_file(&world, slot, SLOT_METADATA_BIN, HANDLE_WRITES);
    txt = open_file(&world, slot, SLOT_METADATA_TXT, HANDLE_WRITES);
    ck_assert_int_eq(slot_files_write_event(bin, (const char *)&flags[0], 4, 0), EVENT_FLAG_INPUT);
    ck_assert_int_eq(slot_files_write_event(bin, (const char *)&flags[1], 4, 0), EVENT_FLAG_RESULT);
    ck_assert_int_eq(slot_files_write_event(txt, "flag=0\n", 7, 0), EVENT_FLAG_INPUT);
    ck_assert_int_eq(slot_files_write_event(txt, "flag=1\n", 7, 3), EVENT_FLAG_RESULT);
    close_file(&world, bin);
    close_file(&world, txt);
    world_end(&world);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("slot files");
    TCase *tests = tcase_create("record");

    tcase_set_timeout(tests, 60);
    tcase_add_test(tests, test_table);
    tcase_add_loop_test(tests, test_reading_changes_nothing, 0, DATA_PATHS);
    tcase_add_loop_test(tests, test_record, 0, DATA_PATHS);
    tcase_add_loop_test(tests, test_page, 0, DATA_PATHS);
    tcase_add_loop_test(tests, test_task_change, 0, DATA_PATHS);
    tcase_add_loop_test(tests, test_report, 0, DATA_PATHS);
    tcase_add_test(tests, test_report_is_a_snapshot);
    tcase_add_test(tests, test_report_is_bounded);
    tcase_add_loop_test(tests, test_twins, 0, DATA_PATHS);
    tcase_add_test(tests, test_write_event);
    suite_add_tcase(suite, tests);
    return suite_run(suite);
}
