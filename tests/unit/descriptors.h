// SPDX-License-Identifier: Apache-2.0
/*
 * descriptors.h - how many descriptors this process has, and a limit on them.
 */
#ifndef PYRMAPFS_DESCRIPTORS_H
#define PYRMAPFS_DESCRIPTORS_H

#include <check.h>
#include <dirent.h>
#include <fcntl.h>
#include <sys/resource.h>
#include <unistd.h>

static inline int descriptors_open(void)
{
    DIR *directory = opendir("/proc/self/fd");
    int count = 0;

    ck_assert_ptr_nonnull(directory);
    while (readdir(directory))
        count++;
    closedir(directory);
    return count;
}

/* Lets the process open only `left` more descriptors. */
static inline void descriptors_limit(int left)
{
    struct rlimit limit;
    int lowest = open("/dev/null", O_RDONLY | O_CLOEXEC);

    ck_assert_int_ge(lowest, 0);
    close(lowest);
    ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &limit), 0);
    limit.rlim_cur = (rlim_t)(lowest + left);
    ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
}

static inline void descriptors_unlimit(void)
{
    struct rlimit limit;

    ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &limit), 0);
    limit.rlim_cur = limit.rlim_max;
    ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
}

#endif
