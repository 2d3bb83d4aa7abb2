// SPDX-License-Identifier: Apache-2.0
/* test_descriptors.c - what another process has left open. */
#include "base/descriptors.h"
#include "suite.h"
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

/* Whether the file can be opened for writing at once, after all descriptors were closed. */
static int close_all_and_open(const char *path)
{
    int none[] = {-1};

    descriptors_close_others(none, 1);
    return open(path, O_WRONLY | O_NONBLOCK) >= 0 ? 0 : errno;
}

static int status_of(pid_t child)
{
    int how;

    ck_assert_int_eq(waitpid(child, &how, 0), child);
    ck_assert(WIFEXITED(how));
    return WEXITSTATUS(how);
}

/* Somebody else has the file open as well, as the kernel does for passthrough: so the lease outlives our descriptor. */
START_TEST(test_leases_end)
{
    char path[] = "/tmp/pyrmapfs-lease-XXXXXX";
    int fd = mkstemp(path);
    int leased;
    pid_t other, child;

    ck_assert_int_ge(fd, 0);
    close(fd);
    signal(SIGIO, SIG_IGN);
    leased = open(path, O_RDONLY);
    ck_assert_int_ge(leased, 0);
    other = fork();
    if (other == 0) {
        pause();
        _exit(0);
    }
    ck_assert_int_eq(fcntl(leased, F_SETLEASE, F_RDLCK), 0);
    ck_assert_int_eq(open(path, O_WRONLY | O_NONBLOCK), -1);
    ck_assert_int_eq(errno, EWOULDBLOCK);
    child = fork();
    if (child == 0)
        _exit(close_all_and_open(path));
    ck_assert_int_eq(status_of(child), 0);
    kill(other, SIGKILL);
    waitpid(other, NULL, 0);
    close(leased);
    unlink(path);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("descriptors");
    TCase *tcase = tcase_create("descriptors");

    tcase_add_test(tcase, test_leases_end);
    suite_add_tcase(suite, tcase);
    return suite_run(suite);
}
