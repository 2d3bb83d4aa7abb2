// SPDX-License-Identifier: Apache-2.0
/*
 * test_arena.c - opening each kind of arena, its accounts, its named files, and finding segments again.
 */
#include "arena_fixture.h"
#include "descriptors.h"
#include "suite.h"
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>

START_TEST(test_kinds)
{
    struct bench bench;

    if (!bench_open(&bench, (enum arena_kind)_i, 16 * MIB, MIB))
        return;
    ck_assert_int_eq(arena_kind(bench.arena), _i);
    ck_assert(bench.arena->store.has_leases);
    ck_assert_uint_eq(bench_usage(&bench).used, 0);
    ck_assert_uint_eq(bench_usage(&bench).warm, 0);
    bench_close(&bench);
    ck_assert_str_eq(arena_kind_name(ARENA_TMPFS), "tmpfs");
    ck_assert_str_eq(arena_kind_name(ARENA_DIR), "dir");
    ck_assert_str_eq(arena_kind_name(ARENA_MEMFD), "memfd");
}
END_TEST

START_TEST(test_accounts)
{
    struct bench bench;
    struct segment *a, *b;

    if (!bench_open(&bench, (enum arena_kind)_i, 64 * MIB, 16 * MIB))
        return;
    a = bench_open_segment(&bench, 80, NULL);
    b = bench_open_segment(&bench, 3 * MIB + 5, NULL);
    bench_settle_down(&bench);
    ck_assert_uint_eq(bench_usage(&bench).used, 3 * MIB + 8 * KIB);
    ck_assert_uint_eq(bench_allocated(&bench, a), 4 * KIB);
    bench_drop(&bench, a);
    bench_drop(&bench, b);
    bench_settle_down(&bench);
    ck_assert_uint_eq(bench_usage(&bench).used, 0);
    ck_assert_uint_eq(bench_usage(&bench).warm, _i == ARENA_DIR ? 0 : 3 * MIB + 4 * KIB);
    bench_close(&bench);
}
END_TEST

START_TEST(test_named_files)
{
    struct bench bench;
    int fd, again, descriptors;
    char byte;

    if (!bench_open(&bench, (enum arena_kind)_i, 16 * MIB, 0))
        return;
    descriptors = descriptors_open();
    ck_assert_int_eq(arena_file_open(bench.arena, "index", O_RDWR), -ENOENT);
    fd = arena_file_open(bench.arena, "index", O_RDWR | O_CREAT | O_EXCL);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(fcntl(fd, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
    ck_assert_int_eq(arena_file_open(bench.arena, "index", O_RDWR | O_CREAT | O_EXCL), -EEXIST);
    ck_assert_int_eq(write(fd, "index", 5), 5);
    ledger_file_resized(bench.arena, 0, 5);
    ck_assert_uint_eq(bench_usage(&bench).files, 4 * KIB);

    again = arena_file_open(bench.arena, "index", O_RDONLY);
    ck_assert_int_ge(again, 0);
    ck_assert_int_eq(read(again, &byte, 1), 1);
    ck_assert_int_eq(byte, 'i');
    ck_assert_int_eq(write(again, "x", 1), -1);
    close(again);
    again = arena_file_open(bench.arena, "index", O_RDWR | O_CREAT | O_TRUNC);
    ck_assert_int_ge(again, 0);
    ck_assert_int_eq(lseek(again, 0, SEEK_END), 0);
    close(again);

    /* A name leads neither out of the arena nor to a segment. */
    ck_assert_int_eq(arena_file_open(bench.arena, "../index", O_RDWR | O_CREAT), -EINVAL);
    ck_assert_int_eq(arena_file_open(bench.arena, "", O_RDWR | O_CREAT), -EINVAL);
    ck_assert_int_eq(arena_file_unlink(bench.arena, "a/b"), -EINVAL);
    again = arena_file_open(bench.arena, "s1", O_RDWR | O_CREAT);
    ck_assert_int_ge(again, 0);
    close(again);
    segment_unname(bench.arena, bench_segment(&bench, 0));
    ck_assert_int_eq(arena_file_unlink(bench.arena, "s1"), 0);

    ck_assert_int_eq(arena_file_unlink(bench.arena, "index"), 0);
    ck_assert_int_eq(arena_file_unlink(bench.arena, "index"), -ENOENT);
    ck_assert_int_eq(arena_file_open(bench.arena, "index", O_RDWR), -ENOENT);
    close(fd);
    ck_assert_int_eq(descriptors_open(), descriptors);
    bench_close(&bench);
}
END_TEST

/* The daemon's own files take what their owners report, or on a tmpfs what the kernel counts. */
START_TEST(test_named_files_count)
{
    struct bench bench;
    int fd;

    if (!bench_open(&bench, (enum arena_kind)_i, 16 * MIB, 0))
        return;
    fd = arena_file_open(bench.arena, "index", O_RDWR | O_CREAT);
    ck_assert_int_ge(fd, 0);
    ck_assert_uint_eq(bench_usage(&bench).used, 0);
    ck_assert_int_eq(fallocate(fd, 0, 0, (off_t)(2 * MIB - 5)), 0);
    ledger_file_resized(bench.arena, 0, 2 * MIB - 5);
    ck_assert_uint_eq(bench_usage(&bench).files, 2 * MIB);
    /* On a tmpfs they have their own mount, so that full segments leave them room. */
    ck_assert_int_eq(bench_reserve(&bench, bench_segment(&bench, 0), RESERVE_RESIZE, 14 * MIB + 1),
                     _i == ARENA_TMPFS ? 0 : -ENOSPC);
    ck_assert_int_eq(ftruncate(fd, 3), 0);
    ledger_file_resized(bench.arena, 2 * MIB - 5, 3);
    ck_assert_uint_eq(bench_usage(&bench).files, 4 * KIB);
    close(fd);
    bench_close(&bench);
}
END_TEST

START_TEST(test_many_named_files)
{
    struct bench bench;
    char name[32];

    if (!bench_open(&bench, (enum arena_kind)_i, 16 * MIB, 0))
        return;
    for (int i = 0; i < 1000; i++) {
        int fd;
        snprintf(name, sizeof(name), "metadata.%d", i);
        fd = arena_file_open(bench.arena, name, O_RDWR | O_CREAT | O_EXCL);
        ck_assert_int_ge(fd, 0);
        ck_assert_int_eq(write(fd, &i, sizeof(i)), (ssize_t)sizeof(i));
        close(fd);
    }
    for (int i = 0; i < 1000; i += 7) {
        int fd, content = -1;
        snprintf(name, sizeof(name), "metadata.%d", i);
        fd = arena_file_open(bench.arena, name, O_RDONLY);
        ck_assert_int_eq(read(fd, &content, sizeof(content)), (ssize_t)sizeof(content));
        ck_assert_int_eq(content, i);
        close(fd);
        ck_assert_int_eq(arena_file_unlink(bench.arena, name), 0);
    }
    bench_close(&bench);
}
END_TEST

/* ---- Finding segments again ---- */

static void put(struct bench *bench, struct segment *segment, const char *text)
{
    ssize_t size = (ssize_t)strlen(text);

    ck_assert_int_eq(segment_write(bench->arena, segment, text, (size_t)size, 0), size);
}

static void expect(struct bench *bench, struct segment *segment, const char *text)
{
    char buffer[64] = "";

    ck_assert_int_eq(segment_read(bench->arena, segment, buffer, sizeof(buffer) - 1, 0),
                     (ssize_t)strlen(text));
    ck_assert_str_eq(buffer, text);
}

START_TEST(test_restore_and_sweep)
{
    struct bench bench;
    struct segment *kept, *shared, *lost, *fresh, *again;
    uint64_t kept_id, shared_id, lost_id;

    ck_assert(bench_open(&bench, ARENA_DIR, 16 * MIB, MIB));
    kept = bench_segment(&bench, 0);
    shared = bench_segment(&bench, 0);
    lost = bench_segment(&bench, 0);
    kept_id = kept->id;
    shared_id = shared->id;
    lost_id = lost->id;
    put(&bench, kept, "kept");
    put(&bench, shared, "shared");
    put(&bench, lost, "lost");
    ck_assert_int_eq(bench_settle(&bench, kept), 0);

    bench_stop(&bench);
    bench_start(&bench);
    ck_assert_int_eq(segment_restore(bench.arena, kept_id, &kept), 0);
    ck_assert_int_eq(segment_restore(bench.arena, shared_id, &shared), 0);
    ck_assert_int_eq(segment_restore(bench.arena, shared_id, &again), 0);
    ck_assert_ptr_eq(again, shared);
    ck_assert_uint_eq(shared->names, 2);
    ck_assert_uint_eq(kept->names, 1);
    ck_assert_uint_eq(kept->id, kept_id);
    ck_assert_int_eq(kept->fd, -1);
    ck_assert_int_eq(segment_restore(bench.arena, 4711, &again), -ENOENT);
    ck_assert_ptr_null(again);
    fresh = bench_segment(&bench, 0);
    ck_assert_uint_gt(fresh->id, lost_id);
    segment_sweep(bench.arena);
    ck_assert_uint_eq(bench_usage(&bench).used, 8 * KIB);
    ck_assert_int_eq(segment_restore(bench.arena, lost_id, &again), -ENOENT);
    expect(&bench, kept, "kept");
    expect(&bench, shared, "shared");
    segment_unname(bench.arena, shared);
    expect(&bench, shared, "shared");
    segment_unname(bench.arena, shared);
    ck_assert_uint_eq(bench_usage(&bench).used, 4 * KIB);
    bench_close(&bench);
}
END_TEST

START_TEST(test_memfds_do_not_come_back)
{
    struct bench bench;
    struct segment *segment;
    uint64_t id;

    ck_assert(bench_open(&bench, ARENA_MEMFD, 16 * MIB, MIB));
    segment = bench_segment(&bench, 0);
    id = segment->id;
    bench_stop(&bench);
    bench_start(&bench);
    ck_assert_int_eq(segment_restore(bench.arena, id, &segment), -ENOENT);
    ck_assert_ptr_null(segment);
    segment_sweep(bench.arena);
    bench_close(&bench);
}
END_TEST

/* A killed server leaves its files; the next one finds those that it asks for and sweeps the rest. */
START_TEST(test_server_dies)
{
    struct bench bench, child;
    struct segment *segment;
    int status, told[2];
    uint64_t id = 0;
    pid_t pid;

    ck_assert(bench_open(&bench, ARENA_DIR, 64 * MIB, 0));
    ck_assert_int_eq(pipe(told), 0);
    bench_stop(&bench);
    pid = fork();
    ck_assert_int_ge(pid, 0);
    if (pid == 0) {
        child = bench;
        bench_start(&child);
        bench_open_segment(&child, 8 * MIB, NULL);
        segment = bench_segment(&child, 0);
        put(&child, segment, "survives");
        ck_assert_int_eq(write(told[1], &segment->id, sizeof(segment->id)), (ssize_t)sizeof(segment->id));
        kill(getpid(), SIGKILL);
    }
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    ck_assert(WIFSIGNALED(status));
    ck_assert_int_eq(read(told[0], &id, sizeof(id)), (ssize_t)sizeof(id));

    bench_start(&bench);
    ck_assert_int_eq(segment_restore(bench.arena, id, &segment), 0);
    segment_sweep(bench.arena);
    expect(&bench, segment, "survives");
    /* It may have pages beyond its end, and the new server does not know of them. */
    ck_assert(!reserve_settled(bench.arena, segment));
    ck_assert_int_eq(bench_settle(&bench, segment), 0);
    ck_assert(reserve_settled(bench.arena, segment));
    bench_settle_down(&bench);
    ck_assert_uint_eq(bench_usage(&bench).used, 4 * KIB);
    bench_close(&bench);
}
END_TEST

START_TEST(test_sweep_spares_the_warm)
{
    struct bench bench;

    if (!bench_open(&bench, ARENA_TMPFS, 64 * MIB, 32 * MIB))
        return;
    bench_drop(&bench, bench_open_segment(&bench, 2 * MIB, NULL));
    segment_sweep(bench.arena);
    bench_settle_down(&bench);
    ck_assert_uint_eq(bench_usage(&bench).warm, 2 * MIB);
    segment_sweep(bench.arena);
    bench_settle_down(&bench);
    ck_assert_uint_eq(bench_usage(&bench).warm, 2 * MIB);
    bench_close(&bench);
}
END_TEST

/* ---- Directories ---- */

static struct arena *try_directory(struct bench *bench, const char *path, int expected)
{
    struct arena_options options = bench->options;
    char error[ARENA_ERROR_MAX] = "";
    struct arena *arena;

    options.path = path;
    ck_assert_int_eq(arena_open(&arena, &options, error), expected);
    ck_assert(expected == 0 || strlen(error) > 10);
    ck_assert(expected == 0 || !arena);
    return arena;
}

START_TEST(test_one_daemon_per_directory)
{
    struct bench bench;

    ck_assert(bench_open(&bench, ARENA_DIR, 16 * MIB, 0));
    try_directory(&bench, bench.directory, -EBUSY);
    bench_stop(&bench);
    bench_start(&bench);
    bench_close(&bench);
}
END_TEST

START_TEST(test_directories_that_will_not_do)
{
    struct bench bench;
    char path[128], file[128];
    int fd, descriptors;

    ck_assert(bench_open(&bench, ARENA_DIR, 16 * MIB, 0));
    descriptors = descriptors_open();
    snprintf(path, sizeof(path), "%s/a", bench.directory);
    snprintf(file, sizeof(file), "%s/b", bench.directory);
    try_directory(&bench, NULL, -EINVAL);
    try_directory(&bench, "", -EINVAL);
    try_directory(&bench, "/proc/nowhere/at/all", -ENOENT);
    fd = open(file, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    ck_assert_int_ge(fd, 0);
    close(fd);
    try_directory(&bench, file, -ENOTDIR);
    ck_assert_int_eq(mkdir(path, 0700), 0);
    ck_assert_int_eq(chmod(path, 0770), 0);
    try_directory(&bench, path, -EACCES);
    ck_assert_int_eq(chmod(path, 0700), 0);
    ck_assert_int_eq(unlink(file), 0);
    ck_assert_int_eq(symlink(path, file), 0);
    try_directory(&bench, file, -ENOTDIR);
    if (geteuid() == 0) {
        ck_assert_int_eq(chown(path, 12345, 0), 0);
        try_directory(&bench, path, -EACCES);
    } else {
        fprintf(stderr, "SKIPPED [1] only root can give a directory away\n");
    }
    ck_assert_int_eq(descriptors_open(), descriptors);
    ck_assert_int_eq(rmdir(path), 0);
    ck_assert_int_eq(unlink(file), 0);
    bench_close(&bench);
}
END_TEST

START_TEST(test_only_its_own_files_go)
{
    struct bench bench;
    struct arena *arena;
    char path[128], mine[160];
    struct stat status;
    int fd;

    ck_assert(bench_open(&bench, ARENA_DIR, 16 * MIB, 0));
    snprintf(path, sizeof(path), "%s/arena", bench.directory);
    snprintf(mine, sizeof(mine), "%s/spreadsheet", path);
    arena = try_directory(&bench, path, 0);
    ck_assert_int_eq(stat(path, &status), 0);
    ck_assert_uint_eq(status.st_mode & 07777, 0700);
    fd = arena_file_open(arena, "index", O_RDWR | O_CREAT);
    ck_assert_int_ge(fd, 0);
    close(fd);
    fd = open(mine, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    ck_assert_int_ge(fd, 0);
    close(fd);
    arena_close(arena, ARENA_REMOVE);
    ck_assert_int_eq(unlink(mine), 0);
    ck_assert_int_eq(rmdir(path), 0);

    arena = try_directory(&bench, path, 0);
    arena_close(arena, ARENA_REMOVE);
    ck_assert_int_eq(stat(path, &status), -1);
    bench_close(&bench);
}
END_TEST

START_TEST(test_out_of_descriptors)
{
    struct bench bench;
    struct arena *arena;
    char error[ARENA_ERROR_MAX];
    int before;

    if (!bench_open(&bench, (enum arena_kind)_i, 16 * MIB, MIB))
        return;
    before = descriptors_open();
    if (_i != ARENA_DIR) {
        for (int left = 0; left < 2; left++) {
            int code;
            descriptors_limit(left);
            code = arena_open(&arena, &bench.options, error);
            descriptors_unlimit();
            ck_assert(code == -EMFILE || code == 0);
            ck_assert(left > 0 || code == -EMFILE);
            if (code == 0)
                arena_close(arena, ARENA_KEEP);
        }
    }
    descriptors_limit(0);
    ck_assert_int_eq(arena_file_open(bench.arena, "index", O_RDWR | O_CREAT), -EMFILE);
    descriptors_unlimit();
    ck_assert_int_eq(descriptors_open(), before);
    bench_close(&bench);
}
END_TEST

START_TEST(test_close_null)
{
    arena_close(NULL, ARENA_KEEP);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("arena");
    TCase *tcase = tcase_create("arena");

    tcase_add_loop_test(tcase, test_kinds, 0, ARENA_KINDS);
    tcase_add_loop_test(tcase, test_accounts, 0, ARENA_KINDS);
    tcase_add_loop_test(tcase, test_named_files, 0, ARENA_KINDS);
    tcase_add_loop_test(tcase, test_named_files_count, 0, ARENA_KINDS);
    tcase_add_loop_test(tcase, test_many_named_files, 0, ARENA_KINDS);
    tcase_add_test(tcase, test_restore_and_sweep);
    tcase_add_test(tcase, test_memfds_do_not_come_back);
    tcase_add_test(tcase, test_server_dies);
    tcase_add_test(tcase, test_sweep_spares_the_warm);
    tcase_add_test(tcase, test_one_daemon_per_directory);
    tcase_add_test(tcase, test_directories_that_will_not_do);
    tcase_add_test(tcase, test_only_its_own_files_go);
    tcase_add_loop_test(tcase, test_out_of_descriptors, 0, ARENA_KINDS);
    tcase_add_test(tcase, test_close_null);
    tcase_set_timeout(tcase, 60);
    suite_add_tcase(suite, tcase);
    return suite_run(suite);
}
