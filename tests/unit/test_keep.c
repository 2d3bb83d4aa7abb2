// SPDX-License-Identifier: Apache-2.0
/*
 * test_keep.c - records outlive the process that wrote them, and only whole ones.
 */
#include "base/keep.h"

#include "suite.h"
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum { MOST = 5000 };

struct note {
    uint64_t number; /* 0: the record is free */
    uint64_t twice;
    char rest[184];
};

static uint32_t write_note(struct keep *keep, uint64_t number)
{
    uint32_t at = keep_take(keep);
    struct note *note = at == KEEP_NONE ? NULL : keep_fresh(keep, at);

    if (!note)
        return KEEP_NONE;
    note->twice = 2 * number;
    note->number = number;
    return at;
}

static uint32_t count(const struct keep *keep)
{
    const struct note *note;
    uint32_t found = 0;

    for (uint32_t i = 0; (note = keep_next(keep, &i)); i++) {
        ck_assert_ptr_eq(note, keep_at(keep, i));
        found++;
    }
    return found;
}

START_TEST(test_take_and_drop)
{
    struct keep keep;

    ck_assert_int_eq(keep_open(&keep, "test", sizeof(struct note), MOST), 0);
    ck_assert_uint_eq(count(&keep), 0);
    ck_assert_ptr_null(keep_at(&keep, 0));
    for (uint32_t i = 0; i < 1000; i++)
        ck_assert_uint_eq(write_note(&keep, i + 1), i);
    ck_assert_uint_eq(count(&keep), 1000);
    for (uint32_t i = 0; i < 1000; i += 3)
        keep_drop(&keep, i);
    ck_assert_uint_eq(count(&keep), 666);
    for (uint32_t i = 0; i < 1000; i++) {
        const struct note *note = keep_at(&keep, i);

        ck_assert_int_eq(note == NULL, i % 3 == 0);
        ck_assert(!note || (note->number == i + 1 && note->twice == 2 * (i + 1)));
    }
    /* Free records come first, and are clean. */
    for (uint32_t i = 0; i < 1000; i += 3) {
        ck_assert_uint_eq(keep_take(&keep), i);
        ck_assert_uint_eq(((struct note *)keep_fresh(&keep, i))->twice, 0);
        ck_assert_uint_eq(write_note(&keep, 7), i);
    }
    ck_assert_uint_eq(write_note(&keep, 7), 1000);
    keep_close(&keep);
    keep_close(&keep);
}
END_TEST

START_TEST(test_bounds)
{
    struct keep keep;

    ck_assert_int_eq(keep_open(&keep, "test", sizeof(struct note), MOST), 0);
    keep_drop(&keep, KEEP_NONE);
    keep_drop(&keep, 0);
    for (uint32_t i = 0; i < MOST; i++)
        ck_assert_uint_eq(write_note(&keep, 1), i);
    ck_assert_uint_eq(write_note(&keep, 1), KEEP_NONE);
    ck_assert_ptr_null(keep_at(&keep, MOST));
    ck_assert_ptr_null(keep_at(&keep, KEEP_NONE));
    keep_drop(&keep, 4321);
    ck_assert_uint_eq(write_note(&keep, 1), 4321);
    keep_close(&keep);
}
END_TEST

/* A child adds records, is killed in the middle of one, and leaves the others. */
START_TEST(test_a_child_that_is_killed)
{
    struct keep keep;
    pid_t child;
    int status;

    ck_assert_int_eq(keep_open(&keep, "test", sizeof(struct note), MOST), 0);
    write_note(&keep, 1);
    child = fork();
    ck_assert_int_ge(child, 0);
    if (child == 0) {
        for (uint64_t i = 2; i <= 2000; i++)
            write_note(&keep, i);
        keep_drop(&keep, 500);
        ((struct note *)keep_fresh(&keep, keep_take(&keep)))->twice = 13;
        kill(getpid(), SIGKILL);
    }
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    ck_assert(WIFSIGNALED(status));
    ck_assert_uint_eq(count(&keep), 1999);
    ck_assert_uint_eq(((struct note *)keep_at(&keep, 1999))->twice, 4000);
    ck_assert_ptr_null(keep_at(&keep, 500));
    ck_assert_uint_eq(write_note(&keep, 3), 500);
    ck_assert_uint_eq(write_note(&keep, 3), 2000);
    keep_close(&keep);
}
END_TEST

START_TEST(test_another_program)
{
    struct keep keep, again;
    int fd;

    ck_assert_int_eq(keep_open(&keep, "test", sizeof(struct note), MOST), 0);
    write_note(&keep, 11);
    fd = dup(keep.fd);
    ck_assert_int_eq(keep_attach(&again, fd, sizeof(struct note) + 8, MOST), -EINVAL);
    ck_assert_int_eq(keep_attach(&again, fd, sizeof(struct note), 10), -EINVAL);
    ck_assert_int_eq(keep_attach(&again, fd, sizeof(struct note), MOST), 0);
    ck_assert_uint_eq(((struct note *)keep_at(&again, 0))->twice, 22);
    ck_assert_uint_eq(write_note(&again, 12), 1);
    ck_assert_uint_eq(((struct note *)keep_at(&keep, 1))->twice, 24);
    keep_close(&again);
    keep_close(&keep);
    fd = open("/dev/null", O_RDWR);
    ck_assert_int_eq(keep_attach(&again, fd, sizeof(struct note), MOST), -EINVAL);
    close(fd);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("keep");
    TCase *keep = tcase_create("keep");

    tcase_set_timeout(keep, 60);
    tcase_add_test(keep, test_take_and_drop);
    tcase_add_test(keep, test_bounds);
    tcase_add_test(keep, test_a_child_that_is_killed);
    tcase_add_test(keep, test_another_program);
    suite_add_tcase(suite, keep);
    return suite_run(suite);
}
