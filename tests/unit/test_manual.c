// SPDX-License-Identifier: Apache-2.0
/*
 * test_manual.c - pyrmapfs(7) and (8) have an entry for every row of the filesystem's tables.
 *
 * Tests run in the root of the source tree.
 */
#include "files/daemon_files.h"
#include "protocol/handshake.h"
#include "protocol/record_text.h"
#include "slot/slot.h"
#include "suite.h"
#include <ctype.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static char page[1 << 17];

static void read_whole(const char *path, char *text, size_t room)
{
    FILE *file = fopen(path, "re");
    size_t size;

    if (!file)
        ck_abort_msg("%s is not there: tests run in the root of the source tree", path);
    size = fread(text, 1, room - 1, file);
    ck_assert_uint_lt(size, room - 1);
    text[size] = '\0';
    fclose(file);
}

static const char *section;

static void read_page(const char *number)
{
    char path[64];

    section = number;
    snprintf(path, sizeof(path), "packaging/man/pyrmapfs.%s", number);
    read_whole(path, page, sizeof(page));
}

/* Whether the line, up to its newline, has the text with a blank or the line's end on both sides. */
static bool line_has(const char *line, const char *text)
{
    const char *end = strchr(line, '\n');
    size_t length = strlen(text);

    for (const char *at = strstr(line, text); at && at < end; at = strstr(at + 1, text)) {
        if (at[-1] == ' ' && (at[length] == ' ' || at[length] == '\n'))
            return true;
    }
    return false;
}

static void expect_entry(const char *macro, const char *text)
{
    char begin[16];

    snprintf(begin, sizeof(begin), "\n.It %s ", macro);
    for (const char *at = strstr(page, begin); at; at = strstr(at + 1, begin)) {
        if (line_has(at + 1, text))
            return;
    }
    ck_abort_msg("pyrmapfs(%s) has no line \".It %s %s\"", section, macro, text);
}

static void expect_line_begins(const char *text)
{
    char line[256];

    snprintf(line, sizeof(line), "\n%s", text);
    if (!strstr(page, line))
        ck_abort_msg("pyrmapfs(%s) has no line that begins \"%s\"", section, text);
}

START_TEST(test_files)
{
    read_page("7");
    for (int file = SLOT_DIRECTORY + 1; file < SLOT_FILES; file++)
        expect_entry("Pa", slot_file_name((enum slot_file)file));
    read_page("8");
    for (unsigned number = 1; daemon_files_name(number); number++) {
        char path[64];

        snprintf(path, sizeof(path), ".pyrmap/%s", daemon_files_name(number));
        expect_entry("Pa", path);
    }
}
END_TEST

START_TEST(test_states)
{
    read_page("7");
    for (int state = 0; state < HANDSHAKE_STATES; state++)
        expect_entry("Cm", handshake_state_name((enum handshake_state)state));
}
END_TEST

START_TEST(test_keys)
{
    char entry[64];

    read_page("7");
    for (size_t i = 0; record_text_key(i); i++) {
        snprintf(entry, sizeof(entry), ".It Li %s=", record_text_key(i));
        expect_line_begins(entry);
    }
}
END_TEST

/* The record accepts each form that the manual shows. */
START_TEST(test_example_keys)
{
    char why[RECORD_TEXT_WHY_MAX];
    struct record record, proposed;
    uint32_t touched;
    int examples = 0;

    read_page("7");
    record_init(&record);
    record.dtype = record.result_dtype = RECORD_INT32; /* only int32 can be logical */
    for (const char *at = strstr(page, "\n.It Li "); at; at = strstr(at + 1, "\n.It Li ")) {
        const char *line = at + strlen("\n.It Li ");
        size_t length = strcspn(line, "\n");
        int result = record_text_merge(&record, line, length, &proposed, &touched, why);

        if (!memchr(line, '=', length))
            continue;
        ck_assert_msg(result == 0, "metadata.txt does not take \"%.*s\"", (int)length, line);
        examples++;
    }
    ck_assert_int_gt(examples, 20);
}
END_TEST

static const struct {
    const char *name;
    const char *type;
    size_t offset;
} fields[] = {
    {"flag", "i32", offsetof(struct record, flag)},
    {"version", "i32", offsetof(struct record, version)},
    {"input_length", "i64", offsetof(struct record, input_length)},
    {"dtype", "i32", offsetof(struct record, dtype)},
    {"result_dtype", "i32", offsetof(struct record, result_dtype)},
    {"result_length", "i64", offsetof(struct record, result_length)},
    {"round", "u64", offsetof(struct record, round)},
    {"input_ndim", "i32", offsetof(struct record, input_ndim)},
    {"result_ndim", "i32", offsetof(struct record, result_ndim)},
    {"input_shape", "i64[4]", offsetof(struct record, input_shape)},
    {"result_shape", "i64[4]", offsetof(struct record, result_shape)},
    {"order", "u32", offsetof(struct record, order)},
    {"change", "u32", offsetof(struct record, change)},
    {"input_inline", "u16", offsetof(struct record, input_inline)},
    {"result_inline", "u16", offsetof(struct record, result_inline)},
    {"task_change", "u32", offsetof(struct record, task_change)},
};

START_TEST(test_record)
{
    size_t end = 0;

    read_page("7");
    for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++) {
        unsigned bits = 0, count = 1;
        char line[100];

        ck_assert_uint_eq(fields[i].offset, end); /* no field is left out */
        sscanf(fields[i].type, "%*c%u[%u]", &bits, &count);
        end += bits / 8 * count;
        snprintf(line, sizeof(line), ".It %zu Ta %s Ta Li %s Ta ", fields[i].offset, fields[i].type,
                 fields[i].name);
        expect_line_begins(line);
    }
    ck_assert_uint_eq(end, RECORD_SIZE);
}
END_TEST

/* Files whose errors never reach a client: starting, mounting, ending. */
static bool is_for_clients(const char *path)
{
    static const char *const others[] = {"main.c",    "mount.c",     "supervisor.c", "server.c",
                                         "sandbox.c", "transport.c", "store.c"};
    const char *name = strrchr(path, '/') + 1;
    size_t length = strlen(name);

    for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
        if (strcmp(name, others[i]) == 0)
            return false;
    }
    return length > 2 && strcmp(name + length - 2, ".c") == 0;
}

static int errnos;

static int expect_errnos(const char *path, const struct stat *status, int type, struct FTW *walk)
{
    static char text[1 << 18];

    (void)status;
    (void)walk;
    if (type != FTW_F || !is_for_clients(path))
        return 0;
    read_whole(path, text, sizeof(text));
    for (const char *at = strstr(text, "-E"); at; at = strstr(at + 1, "-E")) {
        char name[32] = "";

        sscanf(at + 1, "%31[A-Z0-9]", name);
        if (isalnum((unsigned char)at[1 + strlen(name)]) || at[1 + strlen(name)] == '_' || strlen(name) < 3)
            continue;
        expect_entry("Bq Er", name);
        errnos++;
    }
    return 0;
}

START_TEST(test_errnos)
{
    read_page("7");
    errnos = 0;
    ck_assert_int_eq(nftw("fs", expect_errnos, 10, FTW_PHYS), 0);
    ck_assert_int_gt(errnos, 100);
}
END_TEST

/* The word that the table of pyrmapfs(7) has for what the handshake answers when nothing else is in the way. */
static void expected_cell(enum handshake_state state, enum handshake_event event, char cell[32])
{
    struct handshake_step step = handshake_judge(state, event, FACT_HAS_INPUT);

    if (step.verdict == VERDICT_WAIT)
        strcpy(cell, "waits");
    else if (step.verdict == VERDICT_REFUSE)
        strcpy(cell, strerrorname_np(step.error));
    else if (step.next != state)
        snprintf(cell, 32, "-> %s", handshake_state_name(step.next));
    else if (event == EVENT_OPEN_RESULT_WRITE && state == STATE_COMPUTING)
        strcpy(cell, "yes, if no stranger does");
    else
        strcpy(cell, event >= EVENT_FLAG_INPUT && event <= EVENT_FLAG_NONE ? "stays" : "yes");
}

START_TEST(test_handshake)
{
    static const enum handshake_event halves[2][4] = {
        {EVENT_OPEN_INPUT_WRITE, EVENT_OPEN_INPUT_READ, EVENT_OPEN_RESULT_WRITE, EVENT_OPEN_RESULT_READ},
        {EVENT_FLAG_INPUT, EVENT_FLAG_RESULT, EVENT_FLAG_FAILED, EVENT_FLAG_NONE}};

    read_page("7");
    for (int half = 0; half < 2; half++) {
        for (int state = 0; state < HANDSHAKE_STATES; state++) {
            char line[200];
            size_t used = (size_t)snprintf(line, sizeof(line), ".It %s",
                                           handshake_state_name((enum handshake_state)state));

            for (int column = 0; column < 4; column++) {
                char cell[32];

                expected_cell((enum handshake_state)state, halves[half][column], cell);
                used += (size_t)snprintf(line + used, sizeof(line) - used, " Ta %s", cell);
            }
            expect_line_begins(line);
        }
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("manual");
    TCase *tests = tcase_create("pyrmapfs(7) and (8)");

    tcase_add_test(tests, test_files);
    tcase_add_test(tests, test_states);
    tcase_add_test(tests, test_handshake);
    tcase_add_test(tests, test_keys);
    tcase_add_test(tests, test_example_keys);
    tcase_add_test(tests, test_record);
    tcase_add_test(tests, test_errnos);
    suite_add_tcase(suite, tests);
    return suite_run(suite);
}
