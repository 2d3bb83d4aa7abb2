// SPDX-License-Identifier: Apache-2.0
#include "base/descriptors.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

/* The helper thread may take some of them while the reserve is open. */
static const rlim_t reserve = 16;

static struct rlimit usual; /* while the reserve is open */

void descriptors_claim(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
        return;
    limit.rlim_cur = limit.rlim_max > 2 * reserve ? limit.rlim_max - reserve : limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
}

void descriptors_open_reserve(void)
{
    struct rlimit all;

    if (getrlimit(RLIMIT_NOFILE, &usual) < 0)
        return;
    all = usual;
    all.rlim_cur = all.rlim_max;
    setrlimit(RLIMIT_NOFILE, &all);
}

void descriptors_close_reserve(void)
{
    if (usual.rlim_max > 0)
        setrlimit(RLIMIT_NOFILE, &usual);
}

/* Not clone3, which a sandbox cannot look into and therefore forbids (systemd's RestrictNamespaces). */
pid_t descriptors_fork(void)
{
    long child = syscall(SYS_clone, CLONE_FILES | SIGCHLD, NULL, NULL, NULL, 0L);

    return child < 0 ? -errno : (pid_t)child;
}

int descriptors_open(int **fds)
{
    DIR *directory = opendir("/proc/self/fd");
    const struct dirent *entry;
    int count = 0, room = 0;

    *fds = NULL;
    if (!directory)
        return -errno;
    while ((entry = readdir(directory))) {
        int fd = (int)strtol(entry->d_name, NULL, 10);

        if (entry->d_name[0] == '.' || fd == dirfd(directory))
            continue;
        if (count == room) {
            int *more = reallocarray(*fds, (size_t)room + 64, sizeof(int));

            if (!more) {
                closedir(directory);
                return -ENOMEM;
            }
            *fds = more;
            room += 64;
        }
        (*fds)[count++] = fd;
    }
    closedir(directory);
    return count;
}

static int compare(const void *a, const void *b)
{
    const int *first = a, *second = b;

    return (*first > *second) - (*first < *second);
}

/*
 * A process that is killed while it asks for a lease leaves it, and closing our descriptor does not end it where
 * the kernel has the file open as well (passthrough): a client's open would wait for 45 s (lease-break-time).
 */
static void drop_leases(void)
{
    int *fds;
    int count = descriptors_open(&fds);

    for (int i = 0; fds && i < count; i++)
        fcntl(fds[i], F_SETLEASE, F_UNLCK);
    free(fds);
}

void descriptors_close_others(int *fds, size_t count)
{
    unsigned next = 0; /* the first one that we have not looked at */

    drop_leases();
    qsort(fds, count, sizeof(int), compare);
    for (size_t i = 0; i < count; i++) {
        if (fds[i] < 0)
            continue;
        if ((unsigned)fds[i] > next)
            close_range(next, (unsigned)fds[i] - 1, 0);
        next = (unsigned)fds[i] + 1;
    }
    close_range(next, ~0U, 0);
}
