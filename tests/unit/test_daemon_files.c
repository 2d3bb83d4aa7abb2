// SPDX-License-Identifier: Apache-2.0
/*
 * test_daemon_files.c - the files of .pyrmap: their names, and what they say.
 */
#include "files/daemon_files.h"

#include "exchange_fixture.h"
#include "suite.h"
#include <errno.h>
#include <string.h>

enum { CONTENT_MAX = 70000 };

static const char *const request_names[] = {"one", "other"};
static const uint64_t request_counts[] = {3, 4};
static const uint32_t takeovers = 7;

static struct histogram publishing;

static struct daemon_files files_of(struct world *world, const struct conf *conf)
{
    return (struct daemon_files){.exchange = world->exchange,
                                 .conf = conf,
                                 .request_names = request_names,
                                 .request_counts = request_counts,
                                 .takeovers = &takeovers,
                                 .takeover_times = &publishing,
                                 .request_kinds = 2,
                                 .publishing = &publishing};
}

/* Keeps the snapshot that it gets. */
struct reader {
    struct drawing_wait wait;
    int result;
    char text[CONTENT_MAX];
};

static void keep(struct drawing_wait *wait, int result, struct snapshot *text)
{
    struct reader *reader = (struct reader *)wait;
    size_t size = text ? snapshot_read(text, reader->text, sizeof(reader->text) - 1, 0) : 0;

    reader->result = result;
    reader->text[size] = '\0';
}

static char *text_of(struct daemon_files *files, const char *name)
{
    static struct reader reader = {.wait.ready = keep};

    reader.result = 1;
    ck_assert_int_eq(daemon_files_get(files, daemon_files_find(name), &reader.wait), DRAWING_READY);
    ck_assert_int_eq(reader.result, 0);
    return reader.text;
}

START_TEST(test_names)
{
    static struct reader reader = {.wait.ready = keep};
    struct daemon_files files = {0};
    unsigned number = 1;

    for (; daemon_files_name(number); number++)
        ck_assert_uint_eq(daemon_files_find(daemon_files_name(number)), number);
    ck_assert_uint_gt(number, 1);
    ck_assert_ptr_null(daemon_files_name(0));
    ck_assert_uint_eq(daemon_files_find("nothing"), 0);
    for (int i = 0; i < 3; i++) {
        unsigned none = i == 0 ? 0 : i == 1 ? number : UINT32_MAX;

        daemon_files_get(&files, none, &reader.wait);
        ck_assert_int_eq(reader.result, -ESTALE);
        ck_assert_uint_eq(daemon_files_size(&files, none), 0);
    }
}
END_TEST

/* No two samples have the same name and labels: Prometheus would refuse the whole text. */
static void expect_distinct_samples(char *text)
{
    enum { MOST = 200 };
    char *samples[MOST];
    size_t count = 0;

    for (char *line = strtok(text, "\n"); line; line = strtok(NULL, "\n")) {
        if (*line == '#')
            continue;
        ck_assert_ptr_nonnull(strrchr(line, ' '));
        *strrchr(line, ' ') = '\0';
        for (size_t i = 0; i < count; i++)
            ck_assert_str_ne(samples[i], line);
        ck_assert_uint_lt(count, MOST);
        samples[count++] = line;
    }
    ck_assert_uint_gt(count, 0);
}

START_TEST(test_errnos_without_a_name)
{
    static const int nameless[] = {41, 58}; /* numbers that Linux does not use */
    struct conf conf;
    struct daemon_files files;
    struct world world;
    char *text;

    conf_init(&conf);
    world_begin(&world, DATA_PATH_PASSTHROUGH);
    files = files_of(&world, &conf);
    for (size_t i = 0; i < 2; i++) {
        ck_assert_ptr_null(strerrorname_np(nameless[i]));
        refuse_operation(world.exchange, world_slot(&world, i ? "a" : "b"), &world.caller, "try it",
                         -nameless[i], "a reason");
    }
    refuse_operation(world.exchange, slot_find(world.slots, "a"), &world.caller, "try it", -EBUSY,
                     "a reason");
    text = text_of(&files, "metrics");
    ck_assert_ptr_nonnull(strstr(text, "pyrmapfs_refusals_total{errno=\"41\"} 1\n"));
    ck_assert_ptr_nonnull(strstr(text, "pyrmapfs_refusals_total{errno=\"58\"} 1\n"));
    ck_assert_ptr_nonnull(strstr(text, "pyrmapfs_refusals_total{errno=\"EBUSY\"} 1\n"));
    expect_distinct_samples(text);
    world_end(&world);
}
END_TEST

START_TEST(test_patience)
{
    struct daemon_files files;
    struct conf conf;
    struct world world;

    conf_init(&conf);
    world_begin(&world, DATA_PATH_PASSTHROUGH);
    files = files_of(&world, &conf);
    ck_assert_ptr_null(strstr(text_of(&files, "status"), "request timeout"));
    files.patience_ms = 7500;
    ck_assert_ptr_nonnull(strstr(text_of(&files, "status"), "\nrequest timeout: waits end after 7.500 s ("));
    world_end(&world);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("daemon files");
    TCase *tests = tcase_create("daemon files");

    tcase_add_test(tests, test_names);
    tcase_add_test(tests, test_errnos_without_a_name);
    tcase_add_test(tests, test_patience);
    suite_add_tcase(suite, tests);
    return suite_run(suite);
}
