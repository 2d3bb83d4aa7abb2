// SPDX-License-Identifier: Apache-2.0
#include "daemon/sandbox.h"

#include "fuse/transport.h"
#include <cap-ng.h>
#include <errno.h>
#include <fcntl.h>
#include <seccomp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

/* type: CAPNG_BOUNDING_SET as well for a process that will execute a program which needs them. */
static int keep_capabilities(const unsigned *kept, size_t count, capng_type_t type,
                             char error[CONF_ERROR_MAX])
{
    bool had[CAP_LAST_CAP + 1];

    capng_setpid(getpid()); /* it remembers that of the process whose copy we are */
    if (capng_get_caps_process() < 0)
        return 0; /* a kernel without capabilities */
    for (size_t i = 0; i < count; i++)
        had[i] = capng_have_capability(CAPNG_PERMITTED, kept[i]);
    capng_clear(CAPNG_SELECT_BOTH);
    for (size_t i = 0; i < count; i++) {
        if (had[i])
            capng_update(CAPNG_ADD, CAPNG_EFFECTIVE | CAPNG_PERMITTED | type, kept[i]);
    }
    /* The bounding set needs CAP_SETPCAP; without it no_new_privs has the same effect. */
    if (capng_apply(CAPNG_SELECT_BOTH) < 0 && capng_apply(CAPNG_SELECT_CAPS) < 0) {
        snprintf(error, CONF_ERROR_MAX, "cannot give up capabilities");
        return -EPERM;
    }
    return 0;
}

int sandbox_drop_privileges(enum sandbox_role role, char error[CONF_ERROR_MAX])
{
    static const unsigned supervisor[] = {CAP_SYS_ADMIN, CAP_DAC_READ_SEARCH}, server[] = {CAP_SYS_ADMIN};
    int result = role == SANDBOX_SUPERVISOR
                     ? keep_capabilities(supervisor, sizeof(supervisor) / sizeof(supervisor[0]),
                                         CAPNG_BOUNDING_SET, error)
                     : keep_capabilities(server, sizeof(server) / sizeof(server[0]), CAPNG_EFFECTIVE, error);

    if (result < 0)
        return result;
    /* A user's supervisor unmounts by fusermount3, which is setuid. */
    if (role == SANDBOX_SUPERVISOR && geteuid() != 0)
        return 0;
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0) {
        result = -errno;
        snprintf(error, CONF_ERROR_MAX, "cannot set no_new_privs: %s", strerror(errno));
    }
    return result;
}

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__) || defined(COVERAGE)
#define SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SANITIZED 1
#endif
#endif

#ifdef SANITIZED

/*
 * Sanitizers read /proc and make other system calls at any time, and a build for coverage writes files at its end:
 * they have no sandbox.
 */
int sandbox_paths(const struct sandbox_place *places, size_t count, char error[CONF_ERROR_MAX])
{
    (void)places;
    (void)count;
    snprintf(error, CONF_ERROR_MAX, "a sanitizer is in the way");
    return -EOPNOTSUPP;
}

int sandbox_enter(int ruleset)
{
    (void)ruleset;
    return 0;
}

int sandbox_filter(char error[CONF_ERROR_MAX])
{
    (void)error;
    return 0;
}

#else

/* ---- Paths ---- */

/* From linux/landlock.h, for older headers. The numbers are the kernel's interface and do not change. */
enum { LANDLOCK_VERSION_FLAG = 1, LANDLOCK_PATH_BENEATH = 1 };
static const uint64_t access_write_file = 1U << 1, access_read_file = 1U << 2, access_read_dir = 1U << 3,
                      access_remove_dir = 1U << 4, access_remove_file = 1U << 5, access_make_reg = 1U << 8,
                      access_truncate = 1U << 14;
/* The rights that each version of the interface knows; a later version knows those of the last one here. */
static const uint64_t access_known[] = {0, 0x1fff, 0x3fff, 0x7fff, 0x7fff, 0xffff};

struct path_rule {
    uint64_t allowed;
    int32_t parent;
} __attribute__((packed));

static uint64_t rights_of(enum sandbox_access access)
{
    switch (access) {
    case SANDBOX_READ:
        return access_read_file;
    case SANDBOX_FILES:
        return access_read_file | access_write_file | access_truncate | access_make_reg | access_remove_file |
               access_read_dir;
    case SANDBOX_REMOVE_DIRECTORY:
        break;
    }
    return access_remove_dir;
}

static int add_place(int ruleset, const struct sandbox_place *place, uint64_t known)
{
    struct path_rule rule = {.allowed = rights_of(place->access) & known, .parent = place->fd};
    int opened = -1;
    int result = 0;

    if (place->path)
        rule.parent = opened = open(place->path, O_PATH | O_CLOEXEC);
    if (rule.parent < 0) /* a place that does not exist needs no permission */
        return place->path && errno != ENOENT ? -errno : 0;
    if (syscall(SYS_landlock_add_rule, ruleset, LANDLOCK_PATH_BENEATH, &rule, 0) < 0)
        result = -errno;
    if (opened >= 0)
        close(opened);
    return result;
}

int sandbox_paths(const struct sandbox_place *places, size_t count, char error[CONF_ERROR_MAX])
{
    const size_t last = sizeof(access_known) / sizeof(access_known[0]) - 1;
    long version = syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_VERSION_FLAG);
    uint64_t known;
    int ruleset;
    int result = 0;

    if (version < 1) {
        snprintf(error, CONF_ERROR_MAX, "this kernel has no Landlock");
        return -EOPNOTSUPP;
    }
    known = access_known[(size_t)version < last ? (size_t)version : last];
    ruleset = (int)syscall(SYS_landlock_create_ruleset, &known, sizeof(known), 0);
    if (ruleset < 0)
        result = -errno;
    for (size_t i = 0; result == 0 && i < count; i++)
        result = add_place(ruleset, &places[i], known);
    if (result < 0) {
        snprintf(error, CONF_ERROR_MAX, "cannot give up paths: %s", strerror(-result));
        if (ruleset >= 0)
            close(ruleset);
        return result;
    }
    return ruleset;
}

int sandbox_enter(int ruleset)
{
    return syscall(SYS_landlock_restrict_self, ruleset, 0) < 0 ? -errno : 0;
}

/* ---- System calls ---- */

static const int allowed[] = {
    /* the loop */
    SCMP_SYS(read),
    SCMP_SYS(write),
    SCMP_SYS(readv),
    SCMP_SYS(writev),
    SCMP_SYS(sched_yield),
    SCMP_SYS(epoll_wait),
    SCMP_SYS(epoll_pwait),
    SCMP_SYS(epoll_ctl),
    SCMP_SYS(poll),
    SCMP_SYS(ppoll),
    SCMP_SYS(timerfd_settime),
    SCMP_SYS(pidfd_open),
    /* the arena: by name only in the places of sandbox_paths */
    SCMP_SYS(openat),
    SCMP_SYS(mknodat),
    SCMP_SYS(unlinkat),
    SCMP_SYS(rmdir),
    SCMP_SYS(renameat),
    SCMP_SYS(memfd_create),
    SCMP_SYS(close),
    SCMP_SYS(fstat),
    SCMP_SYS(newfstatat),
    SCMP_SYS(fstatfs),
    SCMP_SYS(getdents64),
    SCMP_SYS(lseek),
    SCMP_SYS(pread64),
    SCMP_SYS(pwrite64),
    SCMP_SYS(ftruncate),
    SCMP_SYS(fallocate),
    SCMP_SYS(fchmod),
    SCMP_SYS(fgetxattr),
    SCMP_SYS(flistxattr),
    SCMP_SYS(fsetxattr),
    SCMP_SYS(fremovexattr),
    SCMP_SYS(fsync),
    SCMP_SYS(fdatasync),
    SCMP_SYS(syncfs),
    SCMP_SYS(fcntl),
    /* memory and threads */
    SCMP_SYS(munmap),
    SCMP_SYS(mremap),
    SCMP_SYS(madvise),
    SCMP_SYS(brk),
    SCMP_SYS(futex),
    SCMP_SYS(restart_syscall),
    SCMP_SYS(exit),
    SCMP_SYS(exit_group),
    /* signals, identity, time */
    SCMP_SYS(rt_sigprocmask),
    SCMP_SYS(rt_sigreturn),
    SCMP_SYS(getpid),
    SCMP_SYS(gettid),
    SCMP_SYS(getuid),
    SCMP_SYS(geteuid),
    SCMP_SYS(getgid),
    SCMP_SYS(getegid),
    SCMP_SYS(clock_gettime),
    SCMP_SYS(getrandom),
    /* syslog, the journal, and the word to the supervisor: their sockets are connected already */
    SCMP_SYS(sendto),
    SCMP_SYS(sendmsg),
};

/* Calls that are allowed with one kind of argument: (value & mask) == datum. */
static const struct {
    int call;
    unsigned argument;
    uint64_t mask, datum;
} conditions[] = {
    {SCMP_SYS(ioctl), 1, UINT32_MAX, TRANSPORT_BACKING_OPEN},
    {SCMP_SYS(ioctl), 1, UINT32_MAX, TRANSPORT_BACKING_CLOSE},
    {SCMP_SYS(mmap), 2, PROT_EXEC, 0},       /* no new code */
    {SCMP_SYS(prlimit64), 0, UINT32_MAX, 0}, /* our own limits */
    {SCMP_SYS(mprotect), 2, PROT_EXEC, 0},
    {SCMP_SYS(tgkill), 2, UINT32_MAX, 0}, /* whether a thread is there */
    {SCMP_SYS(tgkill), 2, UINT32_MAX, SIGABRT},
};

int sandbox_filter(char error[CONF_ERROR_MAX])
{
    scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ERRNO(EPERM));
    int result = filter ? 0 : -ENOMEM;

    for (size_t i = 0; result == 0 && i < sizeof(allowed) / sizeof(allowed[0]); i++)
        result = seccomp_rule_add(filter, SCMP_ACT_ALLOW, allowed[i], 0);
    for (size_t i = 0; result == 0 && i < sizeof(conditions) / sizeof(conditions[0]); i++)
        result = seccomp_rule_add(filter, SCMP_ACT_ALLOW, conditions[i].call, 1,
                                  (struct scmp_arg_cmp){.arg = conditions[i].argument,
                                                        .op = SCMP_CMP_MASKED_EQ,
                                                        .datum_a = conditions[i].mask,
                                                        .datum_b = conditions[i].datum});
    if (result == 0)
        result = seccomp_attr_set(filter, SCMP_FLTATR_CTL_TSYNC, 1); /* the helper thread as well */
    if (result == 0)
        result = seccomp_load(filter);
    if (result < 0)
        snprintf(error, CONF_ERROR_MAX, "cannot load the seccomp filter: %s", strerror(-result));
    seccomp_release(filter);
    return result;
}

#endif
