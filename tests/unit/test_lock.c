// SPDX-License-Identifier: Apache-2.0
/*
 * test_lock.c - the lock of a directory arena, and another daemon that removes it at the worst moment.
 */
#include "arena_fixture.h"
#include "slot/restore.h"
#include "suite.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

static char directory[128], lock[160];
static struct arena *other;
static struct arena_options options;

/* Called once, between the arena's open of the lock file and its flock. */
static void (*meanwhile)(void);

/* Replaces the C library's for the arena. */
int flock(int fd, int operation)
{
    void (*now)(void) = meanwhile;

    meanwhile = NULL;
    if (now)
        now();
    return (int)syscall(SYS_flock, fd, operation);
}

static void remove_lock(void)
{
    ck_assert_int_eq(unlink(lock), 0);
}

static void remove_all(void)
{
    ck_assert_int_eq(unlink(lock), 0);
    ck_assert_int_eq(rmdir(directory), 0);
}

static void start_another(void)
{
    char error[ARENA_ERROR_MAX];

    ck_assert_int_eq(unlink(lock), 0);
    ck_assert_int_eq(arena_open(&other, &options, error), 0);
}

/* What has the lock of a daemon that was killed, for a moment yet. */
static int left;

static void let_go(void)
{
    ck_assert_int_eq(close(left), 0);
}

static void hold_for_a_moment(void)
{
    left = open(lock, O_RDWR | O_CLOEXEC);
    ck_assert_int_ge(left, 0);
    ck_assert_int_eq(syscall(SYS_flock, left, LOCK_EX | LOCK_NB), 0);
    meanwhile = let_go;
}

static int try_open(struct arena **arena)
{
    char error[ARENA_ERROR_MAX] = "";
    int result = arena_open(arena, &options, error);

    ck_assert_msg(result == 0 || strstr(error, directory), "%s", error);
    return result;
}

static void begin(struct bench *bench)
{
    ck_assert(bench_open(bench, ARENA_DIR, 16 * MIB, 0));
    snprintf(directory, sizeof(directory), "%s/arena", bench->directory);
    snprintf(lock, sizeof(lock), "%s/lock", directory);
    options = bench->options;
    options.path = directory;
    other = NULL;
}

/* Whatever another daemon removed, we end up with the lock that the next daemon meets. */
START_TEST(test_removed_meanwhile)
{
    void (*const events[])(void) = {NULL, remove_lock, remove_all, hold_for_a_moment};
    struct arena *arena, *second;
    struct bench bench;

    begin(&bench);
    meanwhile = events[_i];
    ck_assert_int_eq(try_open(&arena), 0);
    ck_assert_ptr_null(meanwhile);
    ck_assert_int_eq(access(lock, F_OK), 0);
    ck_assert_int_eq(try_open(&second), -EBUSY);
    arena_close(arena, ARENA_REMOVE);
    /* The daemon that made the lock removes it: after remove_lock it counts as another's. */
    ck_assert_int_eq(rmdir(directory), events[_i] == remove_lock ? 0 : -1);
    bench_close(&bench);
}
END_TEST

START_TEST(test_taken_meanwhile)
{
    struct arena *arena;
    struct bench bench;

    begin(&bench);
    meanwhile = start_another;
    ck_assert_int_eq(try_open(&arena), -EBUSY);
    ck_assert_int_eq(access(lock, F_OK), 0);
    ck_assert_int_eq(try_open(&arena), -EBUSY);
    arena_close(other, ARENA_KEEP);
    ck_assert_int_eq(try_open(&arena), 0);
    arena_close(arena, ARENA_REMOVE);
    ck_assert_int_eq(rmdir(directory), 0); /* the daemon that made it was refused */
    bench_close(&bench);
}
END_TEST

/* A refused start takes back what it made, and nothing else. Without the key nobody finds the files. */
START_TEST(test_undone)
{
    static const struct {
        const char *name;
        int result;
    } rows[] = {{NULL, 0}, {"s7", -ENOENT}, {"f-index", -ENOENT}, {"notes", 0}, {"key", -EINVAL}};
    const char *name = rows[_i].name;
    char path[192] = "", key[192];
    struct arena *arena;
    struct bench bench;
    int fd;

    begin(&bench);
    snprintf(key, sizeof(key), "%s/key", directory);
    if (name) {
        ck_assert_int_eq(mkdir(directory, 0700), 0);
        snprintf(path, sizeof(path), "%s/%s", directory, name);
        fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
        ck_assert_int_ge(fd, 0);
        close(fd);
    }
    ck_assert_int_eq(try_open(&arena), rows[_i].result);
    if (rows[_i].result == 0) {
        ck_assert_uint_eq(arena_found_files(arena), 0);
        ck_assert_int_eq(access(key, F_OK), 0);
        arena_close(arena, ARENA_UNDO);
    }
    ck_assert_int_eq(access(lock, F_OK), -1);
    ck_assert_int_eq(access(directory, F_OK), name ? 0 : -1);
    if (name) {
        ck_assert_int_eq(unlink(path), 0);
        ck_assert_int_eq(rmdir(directory), 0);
    }
    bench_close(&bench);
}
END_TEST

/* The next daemon finds the files by the key of the first; one that is refused leaves it. */
START_TEST(test_key_stays)
{
    struct segment *segment;
    struct arena *arena;
    struct bench bench;
    uint64_t id;

    begin(&bench);
    ck_assert_int_eq(try_open(&arena), 0);
    ck_assert_int_eq(segment_create(arena, 0, &segment), 0);
    id = segment->id;
    arena_close(arena, ARENA_KEEP);
    ck_assert_int_eq(try_open(&arena), 0);
    ck_assert_uint_eq(arena_found_files(arena), 1);
    arena_close(arena, ARENA_UNDO);
    ck_assert_int_eq(try_open(&arena), 0);
    ck_assert_int_eq(segment_restore(arena, id, &segment), 0);
    arena_close(arena, ARENA_REMOVE);
    ck_assert_int_eq(rmdir(directory), 0); /* the daemon that made it is gone */
    bench_close(&bench);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("lock");
    TCase *tests = tcase_create("directory");

    tcase_add_loop_test(tests, test_removed_meanwhile, 0, 4);
    tcase_add_test(tests, test_taken_meanwhile);
    tcase_add_loop_test(tests, test_undone, 0, 5);
    tcase_add_test(tests, test_key_stays);
    suite_add_tcase(suite, tests);
    return suite_run(suite);
}
