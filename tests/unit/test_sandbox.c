// SPDX-License-Identifier: Apache-2.0
/*
 * test_sandbox.c - system calls that the server has given up, tried by a child with the same sandbox.
 */
#include "arena_fixture.h"
#include "base/memory.h"
#include "daemon/sandbox.h"
#include "suite.h"
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

static struct bench bench;
static int arena_fds[2];
static char elsewhere[32]; /* a directory that is not the arena's */
static char outside[40];   /* a file in it */
static char absent[40];    /* a name in it that nobody may make */

/* --- refused system calls --- */

static long open_passwd(void)
{
    return open("/etc/passwd", O_RDONLY | O_CLOEXEC);
}

static long open_outside(void)
{
    return open(outside, O_RDWR | O_CLOEXEC);
}

static long open_through_proc(void)
{
    return open("/proc/1/root/etc/passwd", O_RDONLY | O_CLOEXEC);
}

static long write_sysctl(void)
{
    return open("/proc/sys/kernel/core_pattern", O_WRONLY | O_CLOEXEC);
}

static long make_outside(void)
{
    return open(absent, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
}

static long remove_outside(void)
{
    return unlinkat(AT_FDCWD, outside, 0);
}

static long out_of_the_arena(void)
{
    return arena_fds[0] < 0 ? open_passwd()
                            : openat(arena_fds[0], "../../../etc/passwd", O_RDONLY | O_CLOEXEC);
}

static long make_device(void)
{
    return arena_fds[0] < 0 ? make_outside() : mknodat(arena_fds[0], "d", S_IFCHR | 0600, 0x105);
}

static long make_socket(void)
{
    return socket(AF_UNIX, SOCK_STREAM, 0);
}

static long reach_the_network(void)
{
    return socket(AF_INET, SOCK_STREAM, 0);
}

static long connect_somewhere(void)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX, .sun_path = "/dev/log"};

    return connect(0, (struct sockaddr *)&address, sizeof(address));
}

static long run_a_program(void)
{
    char *argv[] = {(char[]){"true"}, NULL};

    return execve("/bin/true", argv, argv + 1);
}

static long start_a_process(void)
{
    return fork();
}

static long trace(void)
{
    return ptrace(PTRACE_TRACEME, 0, NULL, NULL);
}

static long mount_something(void)
{
    return mount("none", "/mnt", "tmpfs", 0, NULL);
}

static long unmount_something(void)
{
    return umount2("/proc", MNT_DETACH);
}

static long make_directory(void)
{
    return mkdir(absent, 0700);
}

static long make_link(void)
{
    return symlink("/etc/passwd", absent);
}

static long change_mode(void)
{
    return chmod(outside, 0777);
}

static long signal_another(void)
{
    return kill(getppid(), 0);
}

static long signal_hard(void)
{
    return syscall(SYS_tgkill, getpid(), gettid(), SIGTERM);
}

static long become_another(void)
{
    return setuid(65534);
}

static long leave_namespaces(void)
{
    return unshare(CLONE_NEWNS);
}

static long read_another(void)
{
    char byte;
    struct iovec here = {&byte, 1}, there = {&byte, 1};

    return process_vm_readv(getppid(), &here, 1, &there, 1, 0);
}

static long map_code(void)
{
    void *map = mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    return map == MAP_FAILED ? -1 : 0;
}

static long make_code(void)
{
    static char page[8192] __attribute__((aligned(4096)));

    return mprotect(page, 4096, PROT_READ | PROT_WRITE | PROT_EXEC);
}

static long type_into_terminals(void)
{
    return ioctl(0, TIOCSTI, "x");
}

static const struct refused {
    const char *name;
    long (*attempt)(void);
    int error;
    bool is_path; /* refused by Landlock */
} refusals[] = {
    {"open /etc/passwd", open_passwd, EACCES, true},
    {"open a file beside the arena", open_outside, EACCES, true},
    {"open through another process's root", open_through_proc, EACCES, true},
    {"open a sysctl", write_sysctl, EACCES, true},
    {"make a file elsewhere", make_outside, EACCES, true},
    {"remove a file elsewhere", remove_outside, EACCES, true},
    {"leave the arena by ..", out_of_the_arena, EACCES, true},
    {"make a device", make_device, EACCES, true},
    {"socket", make_socket, EPERM, false},
    {"network", reach_the_network, EPERM, false},
    {"connect", connect_somewhere, EPERM, false},
    {"execve", run_a_program, EPERM, false},
    {"fork", start_a_process, EPERM, false},
    {"ptrace", trace, EPERM, false},
    {"mount", mount_something, EPERM, false},
    {"umount2", unmount_something, EPERM, false},
    {"mkdir", make_directory, EPERM, false},
    {"symlink", make_link, EPERM, false},
    {"chmod", change_mode, EPERM, false},
    {"kill", signal_another, EPERM, false},
    {"tgkill with a signal", signal_hard, EPERM, false},
    {"setuid", become_another, EPERM, false},
    {"unshare", leave_namespaces, EPERM, false},
    {"process_vm_readv", read_another, EPERM, false},
    {"mmap of code", map_code, EPERM, false},
    {"mprotect to code", make_code, EPERM, false},
    {"ioctl of a terminal", type_into_terminals, EPERM, false},
};
enum { REFUSALS = sizeof(refusals) / sizeof(refusals[0]), NO_LANDLOCK = 77 };

/* --- the child --- */

/* Enters the sandbox as the server does. Returns 0, NO_LANDLOCK, or 1. */
static int give_up(void)
{
    char error[CONF_ERROR_MAX];
    int ruleset;

    arena_directories(bench.arena, arena_fds);
    {
        const struct sandbox_place places[] = {
            {.fd = arena_fds[0], .access = SANDBOX_FILES},
            {.fd = arena_fds[1], .access = SANDBOX_FILES},
            {.path = "/proc/meminfo", .access = SANDBOX_READ},
        };
        if (sandbox_drop_privileges(SANDBOX_SERVER, error) < 0)
            return 1;
        ruleset = sandbox_paths(places, 3, error);
    }
    if (ruleset >= 0 && sandbox_enter(ruleset) < 0)
        return 1;
    if (ruleset >= 0)
        close(ruleset);
    if (sandbox_filter(error) < 0)
        return 1;
    return ruleset == -EOPNOTSUPP ? NO_LANDLOCK : ruleset < 0;
}

static int status_of(pid_t child)
{
    int status;

    ck_assert_int_eq(waitpid(child, &status, 0), child);
    ck_assert_msg(WIFEXITED(status), "ended by signal %d", WTERMSIG(status));
    return WEXITSTATUS(status);
}

/* Returns false, and says so, if this machine cannot have this kind of arena. */
static bool begin(enum arena_kind kind)
{
    int fd;

    if (!bench_open(&bench, kind, 16 * MIB, 0))
        return false;
    snprintf(elsewhere, sizeof(elsewhere), "/tmp/pyrmapfs-sandbox-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(elsewhere));
    snprintf(outside, sizeof(outside), "%s/file", elsewhere);
    snprintf(absent, sizeof(absent), "%s/absent", elsewhere);
    fd = open(outside, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    ck_assert_int_ge(fd, 0);
    close(fd);
    return true;
}

static void end(void)
{
    ck_assert_int_eq(unlink(outside), 0);
    ck_assert_int_eq(rmdir(elsewhere), 0); /* there is nothing else in it */
    bench_close(&bench);
}

START_TEST(test_refused)
{
    const struct refused *row = &refusals[_i];
    int status;
    pid_t child;

    ck_assert(begin(ARENA_DIR));
    child = fork();
    if (child == 0) {
        int given_up = give_up();
        long result;

        if (given_up == 1)
            _exit(1);
        if (given_up == NO_LANDLOCK && row->is_path)
            _exit(NO_LANDLOCK);
        errno = 0;
        result = row->attempt();
        _exit(result == -1 && errno == row->error ? 0 : 2);
    }
    status = status_of(child);
    if (status == NO_LANDLOCK)
        fprintf(stderr, "SKIPPED [1] no Landlock here: %s\n", row->name);
    else
        ck_assert_msg(status == 0, "%s: %s", row->name, status == 1 ? "no sandbox" : "went through");
    end();
}
END_TEST

/* The arena still works, and so does the question about the machine's memory. */
static int work(void)
{
    struct segment *segment;
    char bytes[8192] = "sandbox";
    void *memory;
    int fd;

    if (segment_create(bench.arena, 0, &segment) < 0 ||
        segment_write(bench.arena, segment, bytes, sizeof(bytes), 0) != sizeof(bytes) ||
        segment_read(bench.arena, segment, bytes, sizeof(bytes), 0) != sizeof(bytes))
        return 3;
    fd = arena_file_open(bench.arena, "text", O_RDWR | O_CREAT);
    if (fd < 0 || pwrite(fd, bytes, 100, 0) != 100 || ftruncate(fd, 10) < 0 || close(fd) < 0 ||
        arena_file_unlink(bench.arena, "text") < 0)
        return 4;
    segment_unname(bench.arena, segment);
    if (memory_spares(UINT64_C(1) << 60)) /* it also answers "yes" if it cannot read */
        return 5;
    memory = mmap(NULL, 64 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED || madvise(memory, 4096, MADV_NORMAL) < 0 || munmap(memory, 64 << 20) < 0)
        return 6;
    return 0;
}

START_TEST(test_the_arena_works)
{
    pid_t child;
    int status;

    if (!begin((enum arena_kind)_i))
        return;
    child = fork();
    if (child == 0)
        _exit(give_up() == 1 ? 1 : work());
    status = status_of(child);
    ck_assert_msg(status == 0, "step %d", status);
    end();
}
END_TEST

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__) || defined(COVERAGE)
enum { IS_SANITIZED = 1 };
#else
enum { IS_SANITIZED = 0 };
#endif

int main(void)
{
    Suite *suite = suite_create("sandbox");
    TCase *tests = tcase_create("sandbox");

    if (IS_SANITIZED) {
        fprintf(stderr, "SKIPPED [%d] a sanitizer needs what the sandbox takes away\n",
                REFUSALS + ARENA_KINDS);
    } else {
        tcase_add_loop_test(tests, test_refused, 0, REFUSALS);
        tcase_add_loop_test(tests, test_the_arena_works, 0, ARENA_KINDS);
    }
    suite_add_tcase(suite, tests);
    return suite_run(suite);
}
