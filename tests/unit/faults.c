// SPDX-License-Identifier: Apache-2.0
#include "faults.h"

#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/timerfd.h>
#include <sys/vfs.h>
#include <unistd.h>

static atomic_int calls_left; /* until one fails; 0: none does */
static atomic_bool has_failed;
static const struct stat *spared;
static int spared_count;

void faults_arm(int call)
{
    atomic_store(&has_failed, false);
    atomic_store(&calls_left, call);
}

bool faults_disarm(void)
{
    atomic_store(&calls_left, 0);
    return atomic_load(&has_failed);
}

void faults_spare(const struct stat *files, int count)
{
    spared = files;
    spared_count = count;
}

/* Whether this call is the one that fails; errno is set then. */
static bool fails(int error)
{
    if (atomic_load(&calls_left) == 0 || atomic_fetch_sub(&calls_left, 1) != 1)
        return false;
    atomic_store(&has_failed, true);
    errno = error;
    return true;
}

/* A call that fails when it is its turn: its prototype, errno and return value then, parameters and arguments. */
#define FAULTY(type, name, error, failure, parameters, arguments)                                            \
    type faulty_##name parameters;                                                                           \
    type faulty_##name parameters                                                                            \
    {                                                                                                        \
        return fails(error) ? (failure) : name arguments;                                                    \
    }

FAULTY(void *, malloc, ENOMEM, NULL, (size_t size), (size))
FAULTY(void *, calloc, ENOMEM, NULL, (size_t count, size_t size), (count, size))
FAULTY(FILE *, open_memstream, ENOMEM, NULL, (char **text, size_t *size), (text, size))
FAULTY(int, memfd_create, EMFILE, -1, (const char *name, unsigned flags), (name, flags))
FAULTY(int, mknodat, ENOSPC, -1, (int fd, const char *path, mode_t mode, dev_t dev), (fd, path, mode, dev))
FAULTY(int, renameat, EIO, -1, (int from, const char *path, int to, const char *name), (from, path, to, name))
FAULTY(int, unlinkat, EIO, -1, (int fd, const char *path, int flags), (fd, path, flags))
FAULTY(ssize_t, readlinkat, EACCES, -1, (int fd, const char *path, char *text, size_t size),
       (fd, path, text, size))
FAULTY(int, fstatat, EIO, -1, (int fd, const char *path, struct stat *status, int flags),
       (fd, path, status, flags))
FAULTY(int, fstatfs, EIO, -1, (int fd, struct statfs *status), (fd, status))
FAULTY(off_t, lseek, EIO, -1, (int fd, off_t at, int whence), (fd, at, whence))
FAULTY(int, eventfd, EMFILE, -1, (unsigned count, int flags), (count, flags))
FAULTY(int, timerfd_create, EMFILE, -1, (int clock, int flags), (clock, flags))
FAULTY(int, timerfd_settime, EINVAL, -1,
       (int fd, int flags, const struct itimerspec *when, struct itimerspec *old), (fd, flags, when, old))
FAULTY(int, fallocate, ENOSPC, -1, (int fd, int mode, off_t from, off_t size), (fd, mode, from, size))
FAULTY(int, ftruncate, EIO, -1, (int fd, off_t size), (fd, size))
FAULTY(int, fsync, EIO, -1, (int fd), (fd))
FAULTY(int, fstat, EIO, -1, (int fd, struct stat *status), (fd, status))
FAULTY(ssize_t, pread, EIO, -1, (int fd, void *bytes, size_t size, off_t at), (fd, bytes, size, at))
FAULTY(void *, mmap, ENOMEM, MAP_FAILED,
       (void *address, size_t size, int protection, int flags, int fd, off_t at),
       (address, size, protection, flags, fd, at))
FAULTY(int, epoll_ctl, ENOMEM, -1, (int epoll, int what, int fd, struct epoll_event *event),
       (epoll, what, fd, event))

static bool is_spared(int fd)
{
    struct stat status;

    ck_assert_int_eq(fstat(fd, &status), 0);
    for (int i = 0; i < spared_count; i++) {
        if (spared[i].st_ino == status.st_ino && spared[i].st_dev == status.st_dev)
            return true;
    }
    return false;
}

ssize_t faulty_pwrite(int fd, const void *bytes, size_t size, off_t at);
ssize_t faulty_pwrite(int fd, const void *bytes, size_t size, off_t at)
{
    return !is_spared(fd) && fails(ENOSPC) ? -1 : pwrite(fd, bytes, size, at);
}

#define FAULTY_OPEN(name, parameters, arguments)                                                             \
    int faulty_##name parameters;                                                                            \
    int faulty_##name parameters                                                                             \
    {                                                                                                        \
        va_list rest;                                                                                        \
        mode_t mode;                                                                                         \
                                                                                                             \
        va_start(rest, flags);                                                                               \
        mode = flags & O_CREAT ? va_arg(rest, mode_t) : 0;                                                   \
        va_end(rest);                                                                                        \
        return fails(EMFILE) ? -1 : arguments;                                                               \
    }

FAULTY_OPEN(open, (const char *path, int flags, ...), open(path, flags, mode))
FAULTY_OPEN(openat, (int fd, const char *path, int flags, ...), openat(fd, path, flags, mode))
/* Fortified calls without O_CREAT. */
FAULTY_OPEN(__open_2, (const char *path, int flags, ...), open(path, flags, mode))
FAULTY_OPEN(__openat_2, (int fd, const char *path, int flags, ...), openat(fd, path, flags, mode))

int faulty_fcntl(int fd, int what, ...);
int faulty_fcntl(int fd, int what, ...)
{
    va_list rest;
    long argument;

    va_start(rest, what);
    argument = va_arg(rest, long);
    va_end(rest);
    return fails(ENOMEM) ? -1 : fcntl(fd, what, argument);
}

/* The daemon calls pidfd_open so. */
long faulty_syscall(long number, ...);
long faulty_syscall(long number, ...)
{
    va_list rest;
    long a[6];

    va_start(rest, number);
    for (int i = 0; i < 6; i++)
        a[i] = va_arg(rest, long);
    va_end(rest);
    return fails(EMFILE) ? -1 : syscall(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}
