// SPDX-License-Identifier: Apache-2.0
/*
 * test_kept.c - what a server leaves of its arena is there for the next one, by the same descriptors.
 */
#include "arena/kept.h"

#include "suite.h"
#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include <unistd.h>

enum { FILES = 3, SEGMENTS = 2, VISITS_MAX = 16 };

struct visits {
    int fds[VISITS_MAX];
    int count;
};

static void visit(void *context, int fd)
{
    struct visits *visits = context;

    ck_assert_int_lt(visits->count, VISITS_MAX);
    visits->fds[visits->count++] = fd;
}

static void close_tables(struct kept *kept)
{
    keep_close(&kept->places);
    keep_close(&kept->files);
    keep_close(&kept->segments);
}

/* A place, and files and segments of which one is gone again. */
static void fill(struct kept *kept)
{
    ck_assert_uint_eq(keep_take(&kept->places), 0);
    *(struct kept_place *)keep_fresh(&kept->places, 0) =
        (struct kept_place){.is_open = 1, .dirfd = 101, .filesfd = 102, .lockfd = 103};
    for (uint32_t i = 0; i < FILES; i++) {
        ck_assert_uint_eq(keep_take(&kept->files), i);
        *(struct kept_file *)keep_fresh(&kept->files, i) =
            (struct kept_file){.is_there = 1, .fd = 201 + (int)i, .name = "index"};
    }
    for (uint32_t i = 0; i < SEGMENTS; i++) {
        ck_assert_uint_eq(keep_take(&kept->segments), i);
        *(struct kept_segment *)keep_fresh(&kept->segments, i) =
            (struct kept_segment){.id = 7 + i, .fd = 301 + (int)i};
    }
    keep_drop(&kept->files, 1);
    keep_drop(&kept->segments, 0);
}

START_TEST(test_next_server)
{
    static const int expected[] = {101, 102, 103, 201, 203, 302};
    struct kept first, next;
    struct visits visits = {.count = 0};
    int fds[KEPT_TABLES];

    ck_assert_int_eq(kept_open(&first), 0);
    kept_visit(&first, visit, &visits);
    ck_assert_int_eq(visits.count, 0);
    ck_assert_ptr_null(kept_place(&first));
    fill(&first);
    kept_tables(&first, fds);
    for (int i = 0; i < KEPT_TABLES; i++)
        fds[i] = dup(fds[i]);
    close_tables(&first);
    ck_assert_int_eq(kept_attach(&next, fds), 0);
    ck_assert_int_eq(kept_place(&next)->lockfd, 103);
    kept_visit(&next, visit, &visits);
    ck_assert_int_eq(visits.count, (int)(sizeof(expected) / sizeof(expected[0])));
    ck_assert_mem_eq(visits.fds, expected, sizeof(expected));
    close_tables(&next);
}
END_TEST

/* Each of the tables has to be the one that we know. */
START_TEST(test_other_layout)
{
    struct kept kept, next;
    struct keep other;
    int fds[KEPT_TABLES];

    ck_assert_int_eq(kept_open(&kept), 0);
    ck_assert_int_eq(keep_open(&other, "other", 8, 16), 0);
    for (int i = 0; i < KEPT_TABLES; i++) {
        memset(&next, 0, sizeof(next));
        kept_tables(&kept, fds);
        fds[i] = other.fd;
        ck_assert_int_eq(kept_attach(&next, fds), -EINVAL);
    }
    keep_close(&other);
    close_tables(&kept);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("kept");
    TCase *tests = tcase_create("kept");

    tcase_add_test(tests, test_next_server);
    tcase_add_test(tests, test_other_layout);
    suite_add_tcase(suite, tests);
    return suite_run(suite);
}
