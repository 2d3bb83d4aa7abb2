// SPDX-License-Identifier: Apache-2.0
#include "faults.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/timerfd.h>
#include <sys/uio.h>
#include <sys/vfs.h>
#include <sys/xattr.h>
#include <unistd.h>

static struct faults own;
struct faults *faults = &own;
static const struct stat *spared;
static int spared_count;

void faults_arm(int call, enum faults_effect effect)
{
    faults->effect = (int32_t)effect;
    atomic_store(&faults->hit, 0);
    atomic_store(&faults->left, call);
}

bool faults_disarm(void)
{
    atomic_store(&faults->left, 0);
    return atomic_load(&faults->hit);
}

void faults_spare(const struct stat *files, int count)
{
    spared = files;
    spared_count = count;
}

enum kind {
    ASKS,    /* it can fail, and changes nothing that outlives the process */
    CHANGES, /* it can fail, and does */
    ENDS,    /* it does, and nobody tests that it fails */
    STORES,
};

static bool counts(enum kind kind)
{
    switch ((enum faults_effect)faults->effect) {
    case FAULTS_FAIL:
        return kind == ASKS || kind == CHANGES;
    case FAULTS_DIE_AFTER:
        return kind == CHANGES || kind == ENDS;
    case FAULTS_DIE_BEFORE:
    case FAULTS_DIE_ALL:
        break;
    }
    return kind != ASKS;
}

/* Whether this call is that one. */
static bool is_armed(enum kind kind, const char *name)
{
    int left = atomic_load(&faults->left);

    if (left == 0 || !counts(kind))
        return false;
    if (faults->parent && (getppid() != faults->parent || getpid() == faults->past))
        return false;
    while (left > 0 && !atomic_compare_exchange_weak(&faults->left, &left, left - 1))
        continue;
    if (left != 1)
        return false;
    snprintf(faults->name, sizeof(faults->name), "%s", name);
    atomic_store(&faults->hit, 1);
    return true;
}

static void die(pid_t whom)
{
    kill(whom, SIGKILL);
}

enum outcome { AS_EVER, FAILS, DIES };

/* What happens to a call. */
static enum outcome meet(enum kind kind, const char *name)
{
    if (!is_armed(kind, name))
        return AS_EVER;
    switch ((enum faults_effect)faults->effect) {
    case FAULTS_FAIL:
        return FAILS;
    case FAULTS_DIE_AFTER:
        return DIES;
    case FAULTS_DIE_BEFORE:
        die(getpid());
        break;
    case FAULTS_DIE_ALL:
        die(0);
        break;
    }
    return AS_EVER;
}

/* A function with the name faulty_NAME: errno and return value if it fails, parameters, and how the call is made. */
#define CALL(kind, type, name, error, failure, parameters, made)                                             \
    type faulty_##name parameters;                                                                           \
    type faulty_##name parameters                                                                            \
    {                                                                                                        \
        enum outcome outcome = meet(kind, #name);                                                            \
        type result;                                                                                         \
                                                                                                             \
        if (outcome == FAILS) {                                                                              \
            errno = error;                                                                                   \
            return failure;                                                                                  \
        }                                                                                                    \
        result = made;                                                                                       \
        if (outcome == DIES)                                                                                 \
            die(getpid());                                                                                   \
        return result;                                                                                       \
    }

/* --- what asks --- */

CALL(ASKS, void *, malloc, ENOMEM, NULL, (size_t size), malloc(size))
CALL(ASKS, void *, calloc, ENOMEM, NULL, (size_t count, size_t size), calloc(count, size))
CALL(ASKS, void *, realloc, ENOMEM, NULL, (void *old, size_t size), realloc(old, size))
CALL(ASKS, void *, reallocarray, ENOMEM, NULL, (void *old, size_t count, size_t size),
     reallocarray(old, count, size))
CALL(ASKS, FILE *, open_memstream, ENOMEM, NULL, (char **text, size_t *size), open_memstream(text, size))
CALL(ASKS, ssize_t, readlinkat, EACCES, -1, (int fd, const char *path, char *text, size_t size),
     readlinkat(fd, path, text, size))
CALL(ASKS, int, fstatat, EIO, -1, (int fd, const char *path, struct stat *status, int flags),
     fstatat(fd, path, status, flags))
CALL(ASKS, int, fstatfs, EIO, -1, (int fd, struct statfs *status), fstatfs(fd, status))
CALL(ASKS, off_t, lseek, EIO, -1, (int fd, off_t at, int whence), lseek(fd, at, whence))
CALL(ASKS, int, eventfd, EMFILE, -1, (unsigned count, int flags), eventfd(count, flags))
CALL(ASKS, int, timerfd_create, EMFILE, -1, (int clock, int flags), timerfd_create(clock, flags))
CALL(ASKS, int, timerfd_settime, EINVAL, -1,
     (int fd, int flags, const struct itimerspec *when, struct itimerspec *old),
     timerfd_settime(fd, flags, when, old))
CALL(ASKS, int, fstat, EIO, -1, (int fd, struct stat *status), fstat(fd, status))
CALL(ASKS, ssize_t, pread, EIO, -1, (int fd, void *bytes, size_t size, off_t at), pread(fd, bytes, size, at))
CALL(ASKS, int, epoll_ctl, ENOMEM, -1, (int epoll, int what, int fd, struct epoll_event *event),
     epoll_ctl(epoll, what, fd, event))

/* --- what changes files, the table of descriptors that the supervisor shares, or what the kernel keeps for us --- */

CALL(CHANGES, int, memfd_create, EMFILE, -1, (const char *name, unsigned flags), memfd_create(name, flags))
CALL(CHANGES, int, mknodat, ENOSPC, -1, (int fd, const char *path, mode_t mode, dev_t dev),
     mknodat(fd, path, mode, dev))
CALL(CHANGES, int, renameat, EIO, -1, (int from, const char *path, int to, const char *name),
     renameat(from, path, to, name))
CALL(CHANGES, int, unlinkat, EIO, -1, (int fd, const char *path, int flags), unlinkat(fd, path, flags))
CALL(CHANGES, int, fallocate, ENOSPC, -1, (int fd, int mode, off_t from, off_t size),
     fallocate(fd, mode, from, size))
CALL(CHANGES, int, ftruncate, EIO, -1, (int fd, off_t size), ftruncate(fd, size))
CALL(CHANGES, int, fsync, EIO, -1, (int fd), fsync(fd))
CALL(ENDS, int, fdatasync, EIO, -1, (int fd), fdatasync(fd))
CALL(ENDS, int, syncfs, EIO, -1, (int fd), syncfs(fd))
CALL(ENDS, int, fchmod, EIO, -1, (int fd, mode_t mode), fchmod(fd, mode))
CALL(ENDS, int, fchmodat, EIO, -1, (int fd, const char *path, mode_t mode, int flags),
     fchmodat(fd, path, mode, flags))
CALL(ENDS, int, fsetxattr, EIO, -1, (int fd, const char *name, const void *value, size_t size, int flags),
     fsetxattr(fd, name, value, size, flags))
CALL(ENDS, int, flock, EIO, -1, (int fd, int what), flock(fd, what))
CALL(ENDS, int, close, EIO, -1, (int fd), close(fd))
CALL(ENDS, ssize_t, read, EIO, -1, (int fd, void *bytes, size_t size), read(fd, bytes, size))
CALL(ENDS, ssize_t, write, EIO, -1, (int fd, const void *bytes, size_t size), write(fd, bytes, size))
CALL(ENDS, ssize_t, writev, EIO, -1, (int fd, const struct iovec *parts, int count), writev(fd, parts, count))

static bool is_spared(int fd)
{
    struct stat status;

    if (spared_count == 0 || fstat(fd, &status) < 0)
        return false;
    for (int i = 0; i < spared_count; i++) {
        if (spared[i].st_ino == status.st_ino && spared[i].st_dev == status.st_dev)
            return true;
    }
    return false;
}

/* Where that must not fail, it is like a store. */
CALL(is_spared(fd) ? STORES : CHANGES, ssize_t, pwrite, ENOSPC, -1,
     (int fd, const void *bytes, size_t size, off_t at), pwrite(fd, bytes, size, at))

#define CALL_OPEN(name, parameters, made)                                                                    \
    int faulty_##name parameters;                                                                            \
    int faulty_##name parameters                                                                             \
    {                                                                                                        \
        enum outcome outcome = meet(CHANGES, #name);                                                         \
        va_list rest;                                                                                        \
        mode_t mode;                                                                                         \
        int result;                                                                                          \
                                                                                                             \
        va_start(rest, flags);                                                                               \
        mode = flags & O_CREAT ? va_arg(rest, mode_t) : 0;                                                   \
        va_end(rest);                                                                                        \
        if (outcome == FAILS) {                                                                              \
            errno = EMFILE;                                                                                  \
            return -1;                                                                                       \
        }                                                                                                    \
        result = made;                                                                                       \
        if (outcome == DIES)                                                                                 \
            die(getpid());                                                                                   \
        return result;                                                                                       \
    }

CALL_OPEN(open, (const char *path, int flags, ...), open(path, flags, mode))
CALL_OPEN(openat, (int fd, const char *path, int flags, ...), openat(fd, path, flags, mode))
/* Fortified calls without O_CREAT. */
CALL_OPEN(__open_2, (const char *path, int flags, ...), open(path, flags, mode))
CALL_OPEN(__openat_2, (int fd, const char *path, int flags, ...), openat(fd, path, flags, mode))

static int made_fcntl(int fd, int what, long argument)
{
    return fcntl(fd, what, argument);
}

static int made_ioctl(int fd, unsigned long what, void *argument)
{
    return ioctl(fd, what, argument);
}

CALL(CHANGES, int, fcntl, ENOMEM, -1, (int fd, int what, long argument), made_fcntl(fd, what, argument))
/* That the kernel lets go of a file registered for passthrough does not fail. */
CALL(what == _IOW(229, 2, uint32_t) ? ENDS : CHANGES, int, ioctl, ENOMEM, -1,
     (int fd, unsigned long what, void *argument), made_ioctl(fd, what, argument))
/* The daemon calls pidfd_open and futex so. */
CALL(CHANGES, long, syscall, EMFILE, -1, (long number, long a, long b, long c, long d, long e, long f),
     syscall(number, a, b, c, d, e, f))

/* --- memory that outlives the process --- */

enum { RANGES = 1 << 12 };
static struct {
    _Atomic uintptr_t from, to; /* to 0: it is free */
} ranges[RANGES];

static void *note_shared(void *start, size_t size, int protection, int flags)
{
    if (start == MAP_FAILED || !(flags & MAP_SHARED) || !(protection & PROT_WRITE))
        return start;
    for (int i = 0; i < RANGES; i++) {
        uintptr_t free_range = 0;

        if (!atomic_compare_exchange_strong(&ranges[i].from, &free_range, (uintptr_t)start))
            continue;
        atomic_store(&ranges[i].to, (uintptr_t)start + size);
        return start;
    }
    abort();
}

CALL(ASKS, void *, mmap, ENOMEM, MAP_FAILED,
     (void *address, size_t size, int protection, int flags, int fd, off_t at),
     note_shared(mmap(address, size, protection, flags, fd, at), size, protection, flags))

int faulty_munmap(void *start, size_t size);
int faulty_munmap(void *start, size_t size)
{
    for (int i = 0; i < RANGES; i++) {
        if (atomic_load(&ranges[i].from) == (uintptr_t)start) {
            atomic_store(&ranges[i].to, 0);
            atomic_store(&ranges[i].from, 0);
        }
    }
    return munmap(start, size);
}

void faults_store(const void *address)
{
    if (atomic_load(&faults->left) == 0)
        return;
    for (int i = 0; i < RANGES; i++) {
        if (atomic_load(&ranges[i].from) <= (uintptr_t)address &&
            (uintptr_t)address < atomic_load(&ranges[i].to))
            meet(STORES, "store");
    }
}

#define COPY(name, parameters, made)                                                                         \
    void *faulty_##name parameters;                                                                          \
    void *faulty_##name parameters                                                                           \
    {                                                                                                        \
        faults_store(to);                                                                                    \
        return made;                                                                                         \
    }

COPY(memcpy, (void *to, const void *from, size_t size), memcpy(to, from, size))
COPY(memmove, (void *to, const void *from, size_t size), memmove(to, from, size))
COPY(memset, (void *to, int byte, size_t size), memset(to, byte, size))
