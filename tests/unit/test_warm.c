// SPDX-License-Identifier: Apache-2.0
/*
 * test_warm.c - recycled files: always zero, never in use, and no more of them than agreed.
 */
#include "arena_fixture.h"
#include "descriptors.h"
#include "suite.h"
#include <errno.h>
#include <sys/mman.h>

/* Only these have a pool. */
static const enum arena_kind kinds[] = {ARENA_TMPFS, ARENA_MEMFD};
enum { KINDS = sizeof(kinds) / sizeof(kinds[0]) };

/* Leaves a segment of this size full of junk. */
static uint64_t soil(struct bench *bench, uint64_t hint, uint64_t size)
{
    struct segment *segment = bench_segment(bench, hint);
    uint64_t id = segment->id;
    int client;

    ck_assert_int_eq(segment_open(bench->arena, segment), 0);
    ck_assert_int_eq(bench_reserve(bench, segment, RESERVE_RESIZE, size), 0);
    client = client_open(segment, O_RDWR);
    client_fill(client, 0, size, 0xAA);
    close(client);
    bench_drop(bench, segment);
    return id;
}

/* Bytes that the next segment of that hint starts with; gives them back. */
static uint64_t taken(struct bench *bench, uint64_t hint)
{
    struct segment *segment = bench_segment(bench, hint);
    uint64_t allocated = bench_allocated(bench, segment);

    segment_unname(bench->arena, segment);
    bench_settle_down(bench);
    return allocated;
}

START_TEST(test_nobody_sees_old_bytes)
{
    static const uint64_t sizes[] = {1,        80,      64 * KIB + 1,    300 * KIB,
                                     MIB + 17, 2 * MIB, 17 * MIB + 4095, 64 * MIB};
    struct bench bench;

    if (!bench_open(&bench, kinds[_i], 256 * MIB, 128 * MIB))
        return;
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        struct segment *segment;
        int client;
        soil(&bench, 0, sizes[i]);
        bench_settle_down(&bench);
        segment = bench_open_segment(&bench, sizes[i], &client);
        ck_assert_uint_eq(client_differs(client, sizes[i], 0), sizes[i]);
        client_fill(client, 0, sizes[i], 0xAA);
        close(client);
        bench_drop(&bench, segment);
        warm_surrender(&bench.arena->warm, UINT64_MAX);
    }
    bench_close(&bench);
}
END_TEST

/* The same when the file comes back smaller, grows again, or was written past its end. */
START_TEST(test_nobody_sees_old_bytes_beyond_the_end)
{
    struct bench bench;
    struct segment *segment;
    int client;

    if (!bench_open(&bench, kinds[_i], 256 * MIB, 64 * MIB))
        return;
    soil(&bench, 0, 20 * MIB);
    bench_settle_down(&bench);
    segment = bench_open_segment(&bench, 15 * MIB, &client);
    client_fill(client, 0, 15 * MIB, 0xBB);
    ck_assert_int_eq(bench_reserve(&bench, segment, RESERVE_RESIZE, 100), 0);
    ck_assert_int_eq(bench_reserve(&bench, segment, RESERVE_RESIZE, 20 * MIB), 0);
    ck_assert_uint_eq(client_differs(client, 100, 0xBB), 100);
    ck_assert_int_eq(pwrite(client, "x", 1, (off_t)(30 * MIB)), 1);
    ck_assert_int_eq(bench_settle(&bench, segment), 0);
    ck_assert_int_eq(bench_reserve(&bench, segment, RESERVE_RESIZE, 31 * MIB), 0);
    client_fill(client, 0, 4096, 0);
    ck_assert_uint_eq(client_differs(client, 31 * MIB, 0), 30 * MIB);
    close(client);
    bench_close(&bench);
}
END_TEST

START_TEST(test_pages_are_there_before_the_size)
{
    struct bench bench;
    struct segment *segment;
    uint64_t old;

    if (!bench_open(&bench, kinds[_i], 64 * MIB, 32 * MIB))
        return;
    old = soil(&bench, 0, 10 * MIB);
    bench_settle_down(&bench);
    ck_assert_uint_eq(bench_usage(&bench).warm, 10 * MIB);
    ck_assert_uint_eq(bench_usage(&bench).used, 0);
    segment = bench_segment(&bench, 10 * MIB);
    ck_assert_uint_ne(segment->id, old);
    ck_assert_uint_eq(bench_usage(&bench).warm, 0);
    ck_assert_uint_eq(bench_usage(&bench).used, 10 * MIB);
    ck_assert(!reserve_settled(bench.arena, segment));
    /* open(O_TRUNC) of a new round keeps the pages. */
    ck_assert_int_eq(bench_reserve(&bench, segment, RESERVE_RESIZE, 0), 0);
    ck_assert_uint_eq(bench_allocated(&bench, segment), 10 * MIB);
    ck_assert_int_eq(bench_reserve(&bench, segment, RESERVE_RESIZE, 9 * MIB), 0);
    ck_assert_uint_eq(bench_allocated(&bench, segment), 10 * MIB);
    ck_assert_int_eq(bench_settle(&bench, segment), 0);
    ck_assert_uint_eq(bench_allocated(&bench, segment), 9 * MIB);
    segment_unname(bench.arena, segment);
    bench_settle_down(&bench);
    ck_assert_uint_eq(bench_usage(&bench).warm, 9 * MIB);
    bench_close(&bench);
}
END_TEST

START_TEST(test_which_file_is_taken)
{
    static const struct {
        uint64_t hint, taken;
    } rows[] = {
        {0, MIB}, /* no idea: the smallest, nothing large */
        {80, 0},  /* tiny: a new file is as cheap */
        {64 * KIB, 0},
        {300 * KIB, MIB},   /* up to 2 MiB, however little is asked for */
        {MIB + 1, MIB},     /* all but a page of it; 6 MiB is more than twice that */
        {4 * MIB, 6 * MIB}, /* holds it */
        {6 * MIB, 6 * MIB},
        {10 * MIB, 6 * MIB},  /* more than half of it, and 24 MiB is more than twice that */
        {12 * MIB, 24 * MIB}, /* holds it */
        {40 * MIB, 24 * MIB}, /* more than half of it */
        {50 * MIB, 0},        /* less than half of it */
    };
    struct bench bench;

    if (!bench_open(&bench, kinds[_i], 256 * MIB, 64 * MIB))
        return;
    soil(&bench, 1, MIB);
    soil(&bench, 1, 24 * MIB);
    soil(&bench, 1, 6 * MIB);
    bench_settle_down(&bench);
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        ck_assert_msg(taken(&bench, rows[i].hint) == rows[i].taken, "hint %ju", (uintmax_t)rows[i].hint);
        ck_assert_uint_eq(bench_usage(&bench).warm, 31 * MIB);
    }
    bench_close(&bench);
}
END_TEST

START_TEST(test_never_more_than_agreed)
{
    struct bench bench;
    struct segment *segments[8];

    if (!bench_open(&bench, kinds[_i], 256 * MIB, 20 * MIB))
        return;
    for (int i = 0; i < 8; i++)
        segments[i] = bench_open_segment(&bench, 6 * MIB, NULL);
    for (int i = 0; i < 8; i++)
        bench_drop(&bench, segments[i]);
    bench_settle_down(&bench);
    ck_assert_uint_eq(bench_usage(&bench).warm, 18 * MIB);
    ck_assert_uint_eq(bench_usage(&bench).used, 0);
    soil(&bench, 1, 21 * MIB);
    bench_settle_down(&bench);
    ck_assert_uint_eq(bench_usage(&bench).warm, 18 * MIB);
    /* The oldest makes room for another size. */
    soil(&bench, 1, 15 * MIB);
    bench_settle_down(&bench);
    ck_assert_uint_eq(bench_usage(&bench).warm, 15 * MIB);
    ck_assert_uint_eq(bench_usage(&bench).used, 0);
    bench_close(&bench);
}
END_TEST

START_TEST(test_no_pool)
{
    struct bench bench;

    if (!bench_open(&bench, kinds[_i], 64 * MIB, 0))
        return;
    soil(&bench, 0, 10 * MIB);
    soil(&bench, 0, 80);
    bench_settle_down(&bench);
    ck_assert_uint_eq(bench_usage(&bench).warm, 0);
    ck_assert_uint_eq(bench_usage(&bench).used, 0);
    bench_close(&bench);
}
END_TEST

/* Clients grow files through passthrough without asking, so the pool never exceeds their room. */
START_TEST(test_the_pool_leaves_room)
{
    struct bench bench;
    struct segment *segment;

    if (!bench_open(&bench, kinds[_i], 64 * MIB, 64 * MIB))
        return;
    soil(&bench, 1, 8 * MIB);
    soil(&bench, 1, 20 * MIB);
    bench_settle_down(&bench);
    ck_assert_uint_eq(bench_usage(&bench).warm, 28 * MIB);
    segment = bench_segment(&bench, 1);
    ck_assert_int_eq(bench_reserve(&bench, segment, RESERVE_RESIZE, 20 * MIB), 0);
    bench_settle_down(&bench);
    ck_assert_uint_eq(bench_usage(&bench).used, 20 * MIB);
    ck_assert_uint_eq(bench_usage(&bench).warm, 20 * MIB);
    segment_unname(bench.arena, segment);
    bench_close(&bench);
}
END_TEST

/* ---- Mappings that outlive their round ---- */

START_TEST(test_mapped_files_wait)
{
    struct bench bench;
    struct segment *segment;
    struct client client;
    int fd;

    if (!bench_open(&bench, kinds[_i], 64 * MIB, 32 * MIB))
        return;
    segment = bench_open_segment(&bench, 6 * MIB, &fd);
    client_fill(fd, 0, 6 * MIB, 0xAA);
    client = client_start(fd, PROT_READ);
    bench_drop(&bench, segment);
    bench_settle_down(&bench);
    ck_assert_uint_eq(bench_usage(&bench).warm, 0);
    ck_assert_uint_eq(bench_usage(&bench).used, 6 * MIB);
    ck_assert_uint_eq(client_differs(fd, 6 * MIB, 0xAA), 6 * MIB);
    close(fd);
    bench_settle_down(&bench);
    ck_assert_uint_eq(bench_usage(&bench).warm, 0);
    client_end(&client);
    bench_usage(&bench);
    bench_settle_down(&bench);
    ck_assert_uint_eq(bench_usage(&bench).warm, 6 * MIB);
    ck_assert_uint_eq(bench_usage(&bench).used, 0);
    ck_assert_uint_eq(taken(&bench, 6 * MIB), 6 * MIB);
    bench_close(&bench);
}
END_TEST

/* Files that are still mapped count as used, not as a part of the pool. */
START_TEST(test_mapped_files_are_in_use)
{
    struct bench bench;
    struct segment *segments[4];
    int fds[4];

    if (!bench_open(&bench, kinds[_i], 64 * MIB, 20 * MIB))
        return;
    for (int i = 0; i < 4; i++) {
        segments[i] = bench_open_segment(&bench, 6 * MIB, &fds[i]);
        client_fill(fds[i], 0, 6 * MIB, i + 1);
    }
    for (int i = 0; i < 4; i++) {
        bench_drop(&bench, segments[i]);
        bench_settle_down(&bench);
    }
    soil(&bench, 0, 5 * MIB);
    bench_settle_down(&bench);
    ck_assert_uint_eq(bench_usage(&bench).warm, 5 * MIB);
    ck_assert_uint_eq(bench_usage(&bench).used, 24 * MIB);
    for (int i = 0; i < 4; i++) {
        ck_assert_uint_eq(client_differs(fds[i], 6 * MIB, i + 1), 6 * MIB);
        close(fds[i]);
    }
    bench_usage(&bench); /* which looks at them again */
    bench_settle_down(&bench);
    ck_assert_uint_eq(bench_usage(&bench).used, 0);
    ck_assert_uint_eq(bench_usage(&bench).warm, 17 * MIB);
    bench_close(&bench);
}
END_TEST

/* A pool of memfds has a part of the descriptors, and gives them back when one is needed. */
START_TEST(test_descriptors_are_shared)
{
    enum { FILES = 64 };
    struct segment *segments[FILES];
    struct rlimit limit, before;
    struct bench bench;
    int others[256], count = 0;

    ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &before), 0);
    limit = before;
    limit.rlim_cur = 256;
    ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
    ck_assert(bench_open(&bench, ARENA_MEMFD, 64 * MIB, 32 * MIB));
    for (int i = 0; i < FILES; i++) {
        segments[i] = bench_segment(&bench, 1);
        ck_assert_int_eq(bench_reserve(&bench, segments[i], RESERVE_RESIZE, 100 * KIB), 0);
    }
    for (int i = 0; i < FILES; i++)
        segment_unname(bench.arena, segments[i]);
    bench_settle_down(&bench);
    ck_assert_uint_eq(bench.arena->warm.pool.count, 256 / 8);
    while ((others[count] = open("/dev/null", O_RDONLY | O_CLOEXEC)) >= 0)
        count++;
    ck_assert_int_eq(errno, EMFILE);
    ck_assert_int_eq(segment_create(bench.arena, 8, &segments[0]), 0);
    ck_assert_int_eq(segment_open(bench.arena, segments[0]), 0);
    ck_assert_int_eq(bench_write(&bench, segments[0], "x", 1, 0), 1);
    close(arena_file_open(bench.arena, "index", O_RDWR | O_CREAT));
    ck_assert_uint_lt(bench.arena->warm.pool.count, 256 / 8);
    while (count > 0)
        close(others[--count]);
    ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &before), 0);
    bench_drop(&bench, segments[0]);
    bench_close(&bench);
}
END_TEST

START_TEST(test_many_rounds)
{
    struct bench bench;
    int descriptors;

    if (!bench_open(&bench, kinds[_i], 64 * MIB, 16 * MIB))
        return;
    descriptors = descriptors_open();
    for (int i = 0; i < 500; i++) {
        uint64_t size = (uint64_t)(i % 11) * 97 * KIB + 1;
        struct segment *data, *result;
        int client;
        data = bench_open_segment(&bench, size, &client);
        ck_assert_uint_eq(client_differs(client, size, 0), size);
        client_fill(client, 0, size, 0xCC);
        close(client);
        result = bench_open_segment(&bench, size / 2 + 1, &client);
        ck_assert_uint_eq(client_differs(client, size / 2 + 1, 0), size / 2 + 1);
        client_fill(client, 0, size / 2 + 1, 0xDD);
        close(client);
        ck_assert_int_eq(bench_settle(&bench, data), 0);
        ck_assert(!segment_has_writers(bench.arena, data));
        bench_drop(&bench, data);
        bench_drop(&bench, result);
        if (i % 50 == 0)
            bench_settle_down(&bench);
    }
    bench_settle_down(&bench);
    ck_assert_uint_eq(bench_usage(&bench).used, 0);
    warm_surrender(&bench.arena->warm, UINT64_MAX);
    bench_settle_down(&bench);
    ck_assert_int_eq(descriptors_open(), descriptors);
    bench_close(&bench);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("warm");
    TCase *tcase = tcase_create("warm");

    tcase_add_loop_test(tcase, test_nobody_sees_old_bytes, 0, KINDS);
    tcase_add_loop_test(tcase, test_nobody_sees_old_bytes_beyond_the_end, 0, KINDS);
    tcase_add_loop_test(tcase, test_pages_are_there_before_the_size, 0, KINDS);
    tcase_add_loop_test(tcase, test_which_file_is_taken, 0, KINDS);
    tcase_add_loop_test(tcase, test_never_more_than_agreed, 0, KINDS);
    tcase_add_loop_test(tcase, test_no_pool, 0, KINDS);
    tcase_add_loop_test(tcase, test_the_pool_leaves_room, 0, KINDS);
    tcase_add_loop_test(tcase, test_mapped_files_wait, 0, KINDS);
    tcase_add_loop_test(tcase, test_mapped_files_are_in_use, 0, KINDS);
    tcase_add_test(tcase, test_descriptors_are_shared);
    tcase_add_loop_test(tcase, test_many_rounds, 0, KINDS);
    tcase_set_timeout(tcase, 120);
    suite_add_tcase(suite, tcase);
    return suite_run(suite);
}
