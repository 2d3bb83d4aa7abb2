// SPDX-License-Identifier: Apache-2.0
#include "daemon/sandbox.h"

#include <cap-ng.h>
#include <errno.h>
#include <seccomp.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

static int keep_capabilities(const unsigned *kept, size_t count, char error[CONF_ERROR_MAX])
{
    bool had[CAP_LAST_CAP + 1];

    if (capng_get_caps_process() < 0)
        return 0; /* a kernel without capabilities */
    for (size_t i = 0; i < count; i++)
        had[i] = capng_have_capability(CAPNG_PERMITTED, kept[i]);
    capng_clear(CAPNG_SELECT_BOTH);
    for (size_t i = 0; i < count; i++) {
        if (had[i])
            capng_update(CAPNG_ADD, CAPNG_EFFECTIVE | CAPNG_PERMITTED, kept[i]);
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
                     ? keep_capabilities(supervisor, sizeof(supervisor) / sizeof(supervisor[0]), error)
                     : keep_capabilities(server, sizeof(server) / sizeof(server[0]), error);

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

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SANITIZED 1
#endif
#endif

#ifdef SANITIZED

/* Sanitizers make system calls of their own, at times of their own. */
int sandbox_filter(char error[CONF_ERROR_MAX])
{
    (void)error;
    return 0;
}

#else

static const int allowed[] = {
    /* the loop */
    SCMP_SYS(read),
    SCMP_SYS(write),
    SCMP_SYS(readv),
    SCMP_SYS(writev),
    SCMP_SYS(epoll_wait),
    SCMP_SYS(epoll_pwait),
    SCMP_SYS(epoll_ctl),
    SCMP_SYS(poll),
    SCMP_SYS(ppoll),
    SCMP_SYS(ioctl),
    SCMP_SYS(timerfd_settime),
    SCMP_SYS(pidfd_open),
    SCMP_SYS(umount2),
    /* the arena */
    SCMP_SYS(openat),
    SCMP_SYS(mknodat),
    SCMP_SYS(close),
    SCMP_SYS(fstat),
    SCMP_SYS(newfstatat),
    SCMP_SYS(statx),
    SCMP_SYS(fstatfs),
    SCMP_SYS(lseek),
    SCMP_SYS(pread64),
    SCMP_SYS(pwrite64),
    SCMP_SYS(ftruncate),
    SCMP_SYS(fallocate),
    SCMP_SYS(fsync),
    SCMP_SYS(fdatasync),
    SCMP_SYS(fcntl),
    SCMP_SYS(flock),
    SCMP_SYS(unlinkat),
    SCMP_SYS(unlink),
    SCMP_SYS(rmdir),
    SCMP_SYS(renameat),
    SCMP_SYS(renameat2),
    SCMP_SYS(getdents64),
    SCMP_SYS(memfd_create),
    SCMP_SYS(dup),
    SCMP_SYS(dup3),
    /* memory and threads */
    SCMP_SYS(mmap),
    SCMP_SYS(munmap),
    SCMP_SYS(mremap),
    SCMP_SYS(mprotect),
    SCMP_SYS(madvise),
    SCMP_SYS(brk),
    SCMP_SYS(futex),
    SCMP_SYS(rseq),
    SCMP_SYS(set_robust_list),
    SCMP_SYS(sched_yield),
    SCMP_SYS(restart_syscall),
    SCMP_SYS(exit),
    SCMP_SYS(exit_group),
    /* signals, identity, time */
    SCMP_SYS(rt_sigaction),
    SCMP_SYS(rt_sigprocmask),
    SCMP_SYS(rt_sigreturn),
    SCMP_SYS(sigaltstack),
    SCMP_SYS(tgkill),
    SCMP_SYS(getpid),
    SCMP_SYS(gettid),
    SCMP_SYS(getppid),
    SCMP_SYS(getuid),
    SCMP_SYS(geteuid),
    SCMP_SYS(getgid),
    SCMP_SYS(getegid),
    SCMP_SYS(clock_gettime),
    SCMP_SYS(clock_nanosleep),
    SCMP_SYS(gettimeofday),
    SCMP_SYS(getrandom),
    SCMP_SYS(uname),
    /* syslog */
    SCMP_SYS(connect),
    SCMP_SYS(sendto),
    SCMP_SYS(sendmsg),
};

int sandbox_filter(char error[CONF_ERROR_MAX])
{
    scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ERRNO(EPERM));
    int result = filter ? 0 : -ENOMEM;

    for (size_t i = 0; result == 0 && i < sizeof(allowed) / sizeof(allowed[0]); i++)
        result = seccomp_rule_add(filter, SCMP_ACT_ALLOW, allowed[i], 0);
    if (result == 0)
        result = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(socket), 1,
                                  (struct scmp_arg_cmp){.arg = 0, .op = SCMP_CMP_EQ, .datum_a = AF_UNIX});
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
