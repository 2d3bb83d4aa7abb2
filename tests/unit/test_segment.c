// SPDX-License-Identifier: Apache-2.0
/*
 * test_segment.c - names, handles and descriptors of segments, reading and writing, and who else uses them.
 */
#include "arena_fixture.h"
#include "descriptors.h"
#include "suite.h"
#include <errno.h>
#include <malloc.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>

START_TEST(test_names_and_handles)
{
    struct bench bench;
    struct segment *segment, *other;
    uint64_t id;
    bool keeps_fd = _i == ARENA_MEMFD;

    if (!bench_open(&bench, (enum arena_kind)_i, 16 * MIB, MIB))
        return;
    segment = bench_segment(&bench, 0);
    other = bench_segment(&bench, 0);
    ck_assert_uint_ne(segment->id, other->id);
    ck_assert_int_eq(segment->backing_id, 0);
    ck_assert(!segment->published && !segment->synced);
    ck_assert(keeps_fd ? segment->fd >= 0 : segment->fd == -1);
    ck_assert_int_eq(segment_open(bench.arena, segment), 0);
    ck_assert_int_eq(segment_open(bench.arena, segment), 0);
    ck_assert_uint_eq(segment->handles, 2);
    ck_assert_int_eq(fcntl(segment->fd, F_GETFL) & O_ACCMODE, O_RDONLY);
    ck_assert_int_eq(fcntl(segment->fd, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
    segment_name(segment);
    segment_unname(bench.arena, segment);
    segment_close(bench.arena, segment);
    ck_assert_int_ge(segment->fd, 0);
    segment_close(bench.arena, segment);
    ck_assert(keeps_fd ? segment->fd >= 0 : segment->fd == -1);
    ck_assert_uint_eq(bench_size(&bench, segment), 0);

    /* An open handle keeps a segment without a name. */
    ck_assert_int_eq(segment_open(bench.arena, segment), 0);
    segment_unname(bench.arena, segment);
    ck_assert_uint_eq(bench_size(&bench, segment), 0);
    ck_assert_uint_eq(bench.freed, 0);
    id = segment->id;
    segment_close(bench.arena, segment);
    ck_assert_uint_eq(bench.freed, id);
    id = other->id;
    segment_unname(bench.arena, other);
    ck_assert_uint_eq(bench.freed, id);
    bench_close(&bench);
}
END_TEST

START_TEST(test_backing_ids_are_forgotten)
{
    struct bench bench;
    struct segment *segment;

    if (!bench_open(&bench, (enum arena_kind)_i, 16 * MIB, MIB))
        return;
    segment = bench_open_segment(&bench, 80, NULL);
    segment->backing_id = 7;
    segment_unname(bench.arena, segment);
    ck_assert(segment_in_use(bench.arena, segment));
    ck_assert_int_eq(bench.forgotten_count, 0);
    segment_close(bench.arena, segment);
    ck_assert_int_eq(bench.forgotten_count, 1);
    ck_assert_int_eq(bench.forgotten[0], 7);

    segment = bench_open_segment(&bench, 80, NULL);
    segment->backing_id = 8;
    segment_close(bench.arena, segment);
    ck_assert_int_eq(bench.forgotten_count, 1);
    ck_assert(!segment_in_use(bench.arena, segment));
    ck_assert_int_eq(bench.forgotten_count, 2);
    ck_assert_int_eq(segment->backing_id, 0);
    segment_unname(bench.arena, segment);
    ck_assert_int_eq(bench.forgotten_count, 2);
    bench_close(&bench);
}
END_TEST

START_TEST(test_read_and_write)
{
    struct bench bench;
    struct segment *segment;
    char buffer[16];

    if (!bench_open(&bench, (enum arena_kind)_i, 16 * MIB, MIB))
        return;
    segment = bench_segment(&bench, 0);
    ck_assert_int_eq(segment_read(bench.arena, segment, buffer, sizeof(buffer), 0), 0);
    ck_assert_int_eq(segment_write(bench.arena, segment, "hello", 5, 0), 5);
    ck_assert_int_eq(segment_write(bench.arena, segment, "there", 5, 5), 5);
    ck_assert_uint_eq(bench_size(&bench, segment), 10);
    ck_assert_int_eq(segment_read(bench.arena, segment, buffer, sizeof(buffer), 3), 7);
    ck_assert_mem_eq(buffer, "lothere", 7);
    ck_assert_int_eq(segment_read(bench.arena, segment, buffer, sizeof(buffer), 10), 0);
    ck_assert_int_eq(segment_read(bench.arena, segment, buffer, sizeof(buffer), -1), -EINVAL);
    ck_assert_int_eq(segment_write(bench.arena, segment, "x", 1, -1), -EFBIG);
    ck_assert_int_eq(segment_write(bench.arena, segment, "x", 1, INT64_MAX), -EFBIG);
    ck_assert_uint_eq(bench_size(&bench, segment), 10);
    ck_assert(!segment_has_writers(bench.arena, segment));
    ck_assert_uint_eq(bench_usage(&bench).used, 4 * KIB);
    bench_close(&bench);
}
END_TEST

static ssize_t write_at(struct bench *bench, struct segment *segment, uint64_t size, uint64_t offset)
{
    char *bytes = malloc(size);
    ssize_t written;

    ck_assert_ptr_nonnull(bytes);
    memset(bytes, 0xAA, size);
    written = bench_write(bench, segment, bytes, size, offset);
    free(bytes);
    return written;
}

START_TEST(test_writing_stops_at_the_capacity)
{
    struct bench bench;
    struct segment *segment;
    uint64_t written = 0;
    ssize_t put;

    if (!bench_open(&bench, (enum arena_kind)_i, 4 * MIB, 0))
        return;
    segment = bench_segment(&bench, 0);
    while ((put = write_at(&bench, segment, 300 * KIB, written)) > 0)
        written += (uint64_t)put;
    ck_assert_int_eq(put, -ENOSPC);
    ck_assert_uint_le(written, 4 * MIB);
    ck_assert_uint_gt(written, 3 * MIB);
    ck_assert_uint_eq(bench_size(&bench, segment), written);
    ck_assert_uint_le(bench_usage(&bench).used, 4 * MIB);
    /* A client can overwrite bytes that are there, and use room that was made. */
    ck_assert_int_eq(write_at(&bench, segment, 300 * KIB, MIB), (ssize_t)(300 * KIB));
    ck_assert_int_eq(bench_reserve(&bench, segment, RESERVE_RESIZE, MIB), 0);
    ck_assert_int_eq(write_at(&bench, segment, 2 * MIB, MIB), (ssize_t)(2 * MIB));
    bench_close(&bench);
}
END_TEST

/* A write leaves no hole: the bytes before it get pages as well, or we refuse it. */
START_TEST(test_sparse_writing)
{
    struct bench bench;
    struct segment *segment;

    if (!bench_open(&bench, (enum arena_kind)_i, 4 * MIB, 0))
        return;
    segment = bench_segment(&bench, 0);
    ck_assert_int_eq(segment_write(bench.arena, segment, "x", 1, (off_t)MIB), -EAGAIN);
    ck_assert_uint_eq(bench_size(&bench, segment), 0);
    ck_assert_int_eq(write_at(&bench, segment, MIB, 2 * MIB), (ssize_t)MIB);
    ck_assert_uint_ge(bench_allocated(&bench, segment), 3 * MIB);
    ck_assert_int_eq(write_at(&bench, segment, 768 * KIB, 0), (ssize_t)(768 * KIB));
    ck_assert_int_eq(write_at(&bench, segment, 1, 4 * MIB), -ENOSPC);
    ck_assert_uint_eq(bench_size(&bench, segment), 3 * MIB);
    ck_assert_uint_le(bench_usage(&bench).used, 4 * MIB);
    bench_close(&bench);
}
END_TEST

START_TEST(test_writing_takes_from_the_warm_pool)
{
    struct bench bench;
    struct segment *segment;

    if (!bench_open(&bench, (enum arena_kind)_i, 8 * MIB, 4 * MIB))
        return;
    bench_drop(&bench, bench_open_segment(&bench, 3 * MIB, NULL));
    bench_settle_down(&bench);
    segment = bench_segment(&bench, 8 * KIB);
    for (uint64_t at = 0; at < 8 * MIB; at += MIB)
        ck_assert_int_eq(write_at(&bench, segment, MIB, at), (ssize_t)MIB);
    ck_assert_int_eq(write_at(&bench, segment, 1, 8 * MIB), -ENOSPC);
    ck_assert_uint_eq(bench_usage(&bench).warm, 0);
    ck_assert_uint_eq(bench_usage(&bench).used, 8 * MIB);
    bench_close(&bench);
}
END_TEST

/* ---- Who else has it ---- */

START_TEST(test_writers_by_descriptor)
{
    struct bench bench;
    struct segment *segment;
    int client, reader;

    if (!bench_open(&bench, (enum arena_kind)_i, 16 * MIB, MIB))
        return;
    segment = bench_open_segment(&bench, 80, &client);
    ck_assert(segment_has_writers(bench.arena, segment));
    segment_close(bench.arena, segment);
    ck_assert(segment_has_writers(bench.arena, segment));
    ck_assert(segment_in_use(bench.arena, segment));
    ck_assert(segment->fd == -1 || _i == ARENA_MEMFD);
    close(client);
    ck_assert(!segment_has_writers(bench.arena, segment));
    ck_assert(!segment_in_use(bench.arena, segment));

    ck_assert_int_eq(segment_open(bench.arena, segment), 0);
    reader = client_open(segment, O_RDONLY);
    segment_close(bench.arena, segment);
    ck_assert(!segment_has_writers(bench.arena, segment));
    ck_assert(segment_in_use(bench.arena, segment));
    close(reader);
    ck_assert(!segment_in_use(bench.arena, segment));
    bench_close(&bench);
}
END_TEST

START_TEST(test_writers_by_mapping)
{
    struct bench bench;
    struct segment *segment;
    struct client writer, reader;
    int fd;

    if (!bench_open(&bench, (enum arena_kind)_i, 16 * MIB, MIB))
        return;
    segment = bench_open_segment(&bench, 80, &fd);
    writer = client_start(fd, PROT_READ | PROT_WRITE);
    close(fd);
    segment_close(bench.arena, segment);
    ck_assert(segment_has_writers(bench.arena, segment));
    ck_assert(segment_in_use(bench.arena, segment));
    client_end(&writer);
    ck_assert(!segment_has_writers(bench.arena, segment));
    ck_assert(!segment_in_use(bench.arena, segment));

    ck_assert_int_eq(segment_open(bench.arena, segment), 0);
    fd = client_open(segment, O_RDONLY);
    reader = client_start(fd, PROT_READ);
    close(fd);
    segment_close(bench.arena, segment);
    ck_assert(!segment_has_writers(bench.arena, segment));
    ck_assert(segment_in_use(bench.arena, segment));
    client_end(&reader);
    ck_assert(!segment_in_use(bench.arena, segment));

    /* mprotect can make a read-only mapping writable if its descriptor is. */
    ck_assert_int_eq(segment_open(bench.arena, segment), 0);
    fd = client_open(segment, O_RDWR);
    reader = client_start(fd, PROT_READ);
    close(fd);
    ck_assert(segment_has_writers(bench.arena, segment));
    client_end(&reader);
    ck_assert(!segment_has_writers(bench.arena, segment));
    bench_close(&bench);
}
END_TEST

/* Asking takes a lease for a moment: that must neither fail an opener nor kill this process. */
START_TEST(test_asking_disturbs_nobody)
{
    struct bench bench;
    struct segment *segment;
    int status;
    pid_t pid;

    if (!bench_open(&bench, (enum arena_kind)_i, 16 * MIB, MIB))
        return;
    segment = bench_open_segment(&bench, 80, NULL);
    pid = fork();
    ck_assert_int_ge(pid, 0);
    if (pid == 0) {
        for (int i = 0; i < 3000; i++)
            close(client_open(segment, i % 2 ? O_RDWR : O_RDONLY));
        _exit(0);
    }
    while (waitpid(pid, &status, WNOHANG) == 0)
        segment_has_writers(bench.arena, segment);
    ck_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    ck_assert(!segment_has_writers(bench.arena, segment));
    bench_close(&bench);
}
END_TEST

START_TEST(test_out_of_descriptors)
{
    struct bench bench;
    struct segment *segment, *fresh;
    char byte;
    bool keeps_fd = _i == ARENA_MEMFD;

    if (!bench_open(&bench, (enum arena_kind)_i, 16 * MIB, MIB))
        return;
    segment = bench_open_segment(&bench, 2 * MIB, NULL);
    segment_close(bench.arena, segment);
    descriptors_limit(0);
    ck_assert_int_eq(segment_open(bench.arena, segment), keeps_fd ? 0 : -EMFILE);
    ck_assert_int_eq(segment_write(bench.arena, segment, "x", 1, 0), -EMFILE);
    ck_assert_int_eq(segment_read(bench.arena, segment, &byte, 1, 0), keeps_fd ? 1 : -EMFILE);
    ck_assert_int_eq(bench_reserve(&bench, segment, RESERVE_RESIZE, 8 * MIB), -EMFILE);
    ck_assert_int_eq(bench_settle(&bench, segment), -EMFILE);
    ck_assert(!segment_has_writers(bench.arena, segment)); /* the reserve is for such questions */
    ck_assert_int_eq(segment_create(bench.arena, 0, &fresh), keeps_fd ? -EMFILE : 0);
    if (fresh)
        segment_unname(bench.arena, fresh);
    descriptors_unlimit();
    ck_assert_uint_eq(bench_size(&bench, segment), 2 * MIB);
    ck_assert_int_eq(bench_reserve(&bench, segment, RESERVE_RESIZE, 8 * MIB), 0);

    descriptors_limit(0);
    segment_unname(bench.arena, segment);
    background_drain(bench.background);
    descriptors_unlimit();
    bench_settle_down(&bench);
    bench_close(&bench);
}
END_TEST

START_TEST(test_cycles_leave_nothing)
{
    struct bench bench;
    int descriptors, cycles = _i == ARENA_DIR ? 500 : 10000; /* a disk is slow with small rounds */
    size_t heap;

    if (!bench_open(&bench, (enum arena_kind)_i, 16 * MIB, MIB))
        return;
    bench_drop(&bench, bench_open_segment(&bench, 80, NULL));
    background_drain(bench.background);
    descriptors = descriptors_open();
    heap = mallinfo2().uordblks;
    for (int i = 0; i < cycles; i++) {
        struct segment *segment = bench_open_segment(&bench, 80, NULL);
        ck_assert_int_eq(segment_write(bench.arena, segment, &i, sizeof(i), 0), (ssize_t)sizeof(i));
        bench_drop(&bench, segment);
    }
    bench_settle_down(&bench);
    ck_assert_int_eq(descriptors_open(), descriptors);
    ck_assert_uint_le(mallinfo2().uordblks, heap + 4 * KIB);
    ck_assert_uint_eq(bench_usage(&bench).used, 0);
    bench_close(&bench);
}
END_TEST

/* Segments that wait for their next round cost memory, but no descriptors. */
START_TEST(test_segments_at_rest)
{
    struct bench bench;
    struct segment *segments[500];
    int descriptors;

    if (!bench_open(&bench, (enum arena_kind)_i, 16 * MIB, MIB))
        return;
    descriptors = descriptors_open();
    for (int i = 0; i < 500; i++) {
        segments[i] = bench_open_segment(&bench, 80, NULL);
        segment_close(bench.arena, segments[i]);
    }
    background_drain(bench.background);
    ck_assert_int_eq(descriptors_open(), descriptors + (_i == ARENA_MEMFD ? 500 : 0));
    ck_assert_uint_eq(bench_usage(&bench).used, 2000 * KIB);
    for (int i = 0; i < 500; i++)
        segment_unname(bench.arena, segments[i]);
    bench_settle_down(&bench);
    ck_assert_int_eq(descriptors_open(), descriptors);
    bench_close(&bench);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("segment");
    TCase *tcase = tcase_create("segment");

    tcase_add_loop_test(tcase, test_names_and_handles, 0, ARENA_KINDS);
    tcase_add_loop_test(tcase, test_backing_ids_are_forgotten, 0, ARENA_KINDS);
    tcase_add_loop_test(tcase, test_read_and_write, 0, ARENA_KINDS);
    tcase_add_loop_test(tcase, test_writing_stops_at_the_capacity, 0, ARENA_KINDS);
    tcase_add_loop_test(tcase, test_sparse_writing, 0, ARENA_KINDS);
    tcase_add_loop_test(tcase, test_writing_takes_from_the_warm_pool, 0, ARENA_KINDS);
    tcase_add_loop_test(tcase, test_writers_by_descriptor, 0, ARENA_KINDS);
    tcase_add_loop_test(tcase, test_writers_by_mapping, 0, ARENA_KINDS);
    tcase_add_loop_test(tcase, test_asking_disturbs_nobody, 0, ARENA_KINDS);
    tcase_add_loop_test(tcase, test_out_of_descriptors, 0, ARENA_KINDS);
    tcase_add_loop_test(tcase, test_cycles_leave_nothing, 0, ARENA_KINDS);
    tcase_add_loop_test(tcase, test_segments_at_rest, 0, ARENA_KINDS);
    tcase_set_timeout(tcase, 120);
    suite_add_tcase(suite, tcase);
    return suite_run(suite);
}
