// SPDX-License-Identifier: Apache-2.0
/*
 * test_grant.c - which users may open a file of the arena, tried by processes of these users.
 */
#include "arena/grant.h"

#include "suite.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

enum { READER = 1000, WRITER = 1001, STRANGER = 1002, USERS_MAX = 64 };

static char path[64];
static int file;

static void begin(void)
{
    strcpy(path, "/dev/shm/pyrmapfs-grant-XXXXXX");
    file = mkstemp(path);
    ck_assert_int_ge(file, 0);
}

static void end(void)
{
    close(file);
    unlink(path);
}

/* Whether that user can open the file so. */
static bool opens(uid_t uid, int flags)
{
    pid_t child = fork();
    int status;

    ck_assert_int_ge(child, 0);
    if (child == 0)
        _exit(setgid(uid) < 0 || setuid(uid) < 0 ? 2 : open(path, flags) < 0);
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    ck_assert(WIFEXITED(status) && WEXITSTATUS(status) < 2);
    return WEXITSTATUS(status) == 0;
}

/* Says so, and returns false, where nobody can be tried, or no list can be made. */
static bool can_try(void)
{
    const char *why = geteuid() != 0                                 ? "only root can try other users"
                      : grant_user(file, STRANGER, 0) == -EOPNOTSUPP ? "/dev/shm has no access lists"
                                                                     : NULL;

    if (why)
        fprintf(stderr, "SKIPPED [1] %s\n", why);
    return !why;
}

START_TEST(test_users)
{
    if (!can_try())
        return;
    ck_assert(!opens(READER, O_RDONLY));
    ck_assert_int_eq(grant_user(file, WRITER, GRANT_READ | GRANT_WRITE), 0);
    ck_assert_int_eq(grant_user(file, READER, GRANT_READ), 0);
    ck_assert(opens(READER, O_RDONLY) && !opens(READER, O_WRONLY));
    ck_assert(opens(WRITER, O_RDWR));
    ck_assert(!opens(STRANGER, O_RDONLY));
    /* What was granted before stays, and what is there already is no change. */
    ck_assert_int_eq(grant_user(file, WRITER, GRANT_READ), 0);
    ck_assert(opens(WRITER, O_RDWR));
    ck_assert_int_eq(grant_user(file, READER, GRANT_WRITE), 0);
    ck_assert(opens(READER, O_RDWR));
}
END_TEST

/* Sealing stops all writers in one step; readers go on. */
START_TEST(test_seal)
{
    struct stat status;

    if (!can_try())
        return;
    ck_assert_int_eq(grant_user(file, WRITER, GRANT_READ | GRANT_WRITE), 0);
    ck_assert_int_eq(grant_set_mode(file, GRANT_SEALED), 0);
    ck_assert(opens(WRITER, O_RDONLY) && !opens(WRITER, O_WRONLY));
    /* Who is granted something now has no more than the seal allows. */
    ck_assert_int_eq(grant_user(file, READER, GRANT_READ | GRANT_WRITE), 0);
    ck_assert(opens(READER, O_RDONLY) && !opens(READER, O_WRONLY));
    ck_assert_int_eq(grant_set_mode(file, GRANT_WRITABLE), 0);
    ck_assert(opens(WRITER, O_RDWR) && opens(READER, O_RDWR));
    ck_assert_int_eq(grant_nobody(file), 0);
    ck_assert(!opens(WRITER, O_RDONLY) && !opens(READER, O_RDONLY));
    ck_assert_int_eq(fstat(file, &status), 0);
    ck_assert_uint_eq(status.st_mode & 07777, 0600);
    ck_assert_int_eq(fgetxattr(file, "system.posix_acl_access", NULL, 0), -1);
    ck_assert_int_eq(errno, ENODATA);
}
END_TEST

/* A file that nobody was let into keeps the mode that it has. */
START_TEST(test_own)
{
    struct stat status;

    ck_assert_int_eq(grant_set_mode(file, GRANT_SEALED), 0);
    ck_assert_int_eq(fstat(file, &status), 0);
    ck_assert_uint_eq(status.st_mode & 07777, 0400);
    ck_assert_int_eq(grant_nobody(file), 0);
    ck_assert_int_eq(fstat(file, &status), 0);
    ck_assert_uint_eq(status.st_mode & 07777, 0400);
    ck_assert_int_eq(grant_set_mode(file, GRANT_WRITABLE), 0);
    ck_assert_int_eq(fstat(file, &status), 0);
    ck_assert_uint_eq(status.st_mode & 07777, 0600);
    /* Group bits without a list are nobody's grant, and go as well. */
    ck_assert_int_eq(fchmod(file, 0640), 0);
    ck_assert_int_eq(grant_nobody(file), 0);
    ck_assert_int_eq(fstat(file, &status), 0);
    ck_assert_uint_eq(status.st_mode & 07777, 0600);
}
END_TEST

START_TEST(test_full)
{
    if (!can_try())
        return;
    ck_assert_int_eq(grant_nobody(file), 0);
    for (uid_t uid = 2000 + USERS_MAX; uid > 2000; uid--)
        ck_assert_int_eq(grant_user(file, uid, GRANT_READ), 0);
    ck_assert_int_eq(grant_user(file, 1, GRANT_READ), -ENOSPC);
    ck_assert_int_eq(grant_user(file, 2001, GRANT_READ | GRANT_WRITE), 0); /* one of them may get more */
    ck_assert(opens(2001, O_RDWR) && opens(2000 + USERS_MAX, O_RDONLY) && !opens(2000, O_RDONLY));
}
END_TEST

START_TEST(test_attributes)
{
    ck_assert_int_eq(grant_is_clean(file), 0);
    if (fsetxattr(file, "user.left", "x", 1, 0) < 0) {
        fprintf(stderr, "SKIPPED [1] /dev/shm has no attributes of users\n");
        return;
    }
    ck_assert_int_eq(grant_is_clean(file), -EBUSY);
    ck_assert_int_eq(fremovexattr(file, "user.left"), 0);
    ck_assert_int_eq(grant_is_clean(file), 0);
}
END_TEST

/* Each says what the kernel said. */
START_TEST(test_errors)
{
    ck_assert_int_eq(grant_user(-1, READER, GRANT_READ), -EBADF);
    ck_assert_int_eq(grant_nobody(-1), -EBADF);
    ck_assert_int_eq(grant_is_clean(-1), -EBADF);
    ck_assert_int_eq(grant_set_mode(-1, GRANT_SEALED), -EBADF);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("grant");
    TCase *tests = tcase_create("grant");

    tcase_add_checked_fixture(tests, begin, end);
    tcase_set_timeout(tests, 60);
    tcase_add_test(tests, test_users);
    tcase_add_test(tests, test_seal);
    tcase_add_test(tests, test_own);
    tcase_add_test(tests, test_full);
    tcase_add_test(tests, test_attributes);
    tcase_add_test(tests, test_errors);
    suite_add_tcase(suite, tests);
    return suite_run(suite);
}
