// SPDX-License-Identifier: Apache-2.0
#include "arena_fixture.h"

#include "outcome.h"
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/statfs.h>
#include <sys/wait.h>
#include <unistd.h>

static void forget(void *context, int32_t backing_id)
{
    struct bench *bench = context;

    bench->forgotten[bench->forgotten_count++ % FORGOTTEN_MAX] = backing_id;
}

static void freed(void *context, struct segment *segment)
{
    struct bench *bench = context;

    bench->freed = segment->id;
}

/* Where this process finds the directory of a private tmpfs. */
static int attach(void *context, int tmpfs, char path[PATH_MAX])
{
    (void)context;
    snprintf(path, PATH_MAX, "/proc/self/fd/%d", tmpfs);
    return 0;
}

static enum background_progress run_nothing(struct background_job *job)
{
    (void)job;
    return BACKGROUND_DONE;
}

static void done_nothing(struct background_job *job)
{
    (void)job;
}

static int try_start(struct bench *bench, char error[ARENA_ERROR_MAX])
{
    struct background_job job = {.run = run_nothing, .done = done_nothing};

    ck_assert_int_eq(background_init(&bench->background), 0);
    /*
     * A test that forks while a thread is starting copies the sanitizer's locks, which nobody then unlocks.
     */
    background_submit(bench->background, &job);
    background_drain(bench->background);
    bench->options.background = bench->background;
    bench->options.context = bench;
    return arena_open(&bench->arena, &bench->options, error);
}

void bench_start(struct bench *bench)
{
    char error[ARENA_ERROR_MAX];

    ck_assert_msg(try_start(bench, error) == 0, "%s", error);
}

bool bench_open(struct bench *bench, enum arena_kind kind, uint64_t capacity, uint64_t warm)
{
    char error[ARENA_ERROR_MAX];
    int code;

    *bench = (struct bench){0};
    bench->options = (struct arena_options){.kind = kind,
                                            .capacity = capacity,
                                            .warm = warm,
                                            .huge_pages = true,
                                            .forget_backing = forget,
                                            .freed = freed,
                                            .attach = attach};
    if (kind == ARENA_DIR) {
        const char *disk = getenv("ARENA_DISK"); /* a directory on it */

        snprintf(bench->directory, sizeof(bench->directory), "%s/pyrmapfs-test-XXXXXX",
                 disk ? disk : "/var/tmp");
        ck_assert_ptr_nonnull(mkdtemp(bench->directory));
        bench->options.path = bench->directory;
    }
    code = try_start(bench, error);
    if (code == -EPERM && kind == ARENA_TMPFS) {
        fprintf(stderr, "SKIPPED [1] %s\n", error);
        background_deinit(bench->background);
        return false;
    }
    ck_assert_msg(code == 0, "%s", error);
    return true;
}

static void stop(struct bench *bench, enum arena_end end)
{
    arena_close(bench->arena, end);
    background_deinit(bench->background);
}

void bench_stop(struct bench *bench)
{
    stop(bench, ARENA_KEEP);
}

void bench_close(struct bench *bench)
{
    stop(bench, ARENA_REMOVE);
    if (bench->directory[0])
        ck_assert_int_eq(rmdir(bench->directory), 0);
}

struct ledger_usage bench_usage(struct bench *bench)
{
    struct ledger_usage usage;

    arena_usage(bench->arena, &usage);
    ck_assert_uint_eq(usage.capacity, bench->options.capacity);
    return usage;
}

static uint64_t used_on(int mount)
{
    struct statfs status;

    ck_assert_int_eq(fstatfs(mount, &status), 0);
    return (uint64_t)(status.f_blocks - status.f_bfree) * (uint64_t)status.f_bsize;
}

uint64_t bench_kernel_used(const struct bench *bench)
{
    return used_on(bench->arena->store.dirfd) + used_on(bench->arena->store.filesfd);
}

void bench_settle_down(struct bench *bench)
{
    struct ledger_usage usage;

    background_drain(bench->background);
    usage = bench_usage(bench);
    ck_assert_uint_le(usage.warm, bench->options.warm);
    if (bench->options.kind == ARENA_TMPFS)
        ck_assert_uint_eq(usage.used + usage.warm + usage.files, bench_kernel_used(bench));
}

struct segment *bench_segment(struct bench *bench, uint64_t hint)
{
    struct segment *segment;

    ck_assert_int_eq(segment_create(bench->arena, hint, &segment), 0);
    ck_assert_uint_eq(segment->names, 1);
    ck_assert_uint_eq(segment->handles, 0);
    ck_assert_uint_eq(bench_size(bench, segment), 0);
    return segment;
}

struct segment *bench_open_segment(struct bench *bench, uint64_t size, int *client)
{
    struct segment *segment = bench_segment(bench, size);

    ck_assert_int_eq(segment_open(bench->arena, segment), 0);
    ck_assert_int_eq(bench_reserve(bench, segment, RESERVE_RESIZE, size), 0);
    if (client)
        *client = client_open(segment, O_RDWR);
    return segment;
}

void bench_drop(struct bench *bench, struct segment *segment)
{
    segment_unname(bench->arena, segment);
    segment_close(bench->arena, segment);
}

int bench_reserve(struct bench *bench, struct segment *segment, enum reserve_mode mode, uint64_t size)
{
    struct outcome outcome = {0};

    reserve_pages(bench->arena, segment, mode, size, outcome_note, &outcome);
    background_drain(bench->background);
    ck_assert_int_eq(outcome.calls, 1);
    return outcome.result;
}

int bench_settle(struct bench *bench, struct segment *segment)
{
    struct outcome outcome = {0};

    reserve_settle(bench->arena, segment, outcome_note, &outcome);
    background_drain(bench->background);
    ck_assert_int_eq(outcome.calls, 1);
    return outcome.result;
}

ssize_t bench_write(struct bench *bench, struct segment *segment, const void *buffer, size_t size,
                    uint64_t offset)
{
    ssize_t put = segment_write(bench->arena, segment, buffer, size, (off_t)offset);
    int result;

    if (put != -EAGAIN)
        return put;
    result = bench_reserve(bench, segment, RESERVE_GROW, offset + size);
    return result < 0 ? result : segment_write(bench->arena, segment, buffer, size, (off_t)offset);
}

uint64_t bench_size(struct bench *bench, struct segment *segment)
{
    uint64_t size, allocated;

    ck_assert_int_eq(segment_stat(bench->arena, segment, &size, &allocated), 0);
    return size;
}

uint64_t bench_allocated(struct bench *bench, struct segment *segment)
{
    uint64_t size, allocated;

    ck_assert_int_eq(segment_stat(bench->arena, segment, &size, &allocated), 0);
    return allocated;
}

int client_open(const struct segment *segment, int flags)
{
    char link[32];
    int fd;

    snprintf(link, sizeof(link), "/proc/self/fd/%d", segment->fd);
    fd = open(link, flags | O_CLOEXEC);
    ck_assert_int_ge(fd, 0);
    return fd;
}

void client_fill(int fd, uint64_t from, uint64_t to, int byte)
{
    char *bytes = mmap(NULL, to, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

    ck_assert_ptr_ne(bytes, MAP_FAILED);
    memset(bytes + from, byte, to - from);
    munmap(bytes, to);
}

uint64_t client_differs(int fd, uint64_t size, int byte)
{
    char *bytes = mmap(NULL, size, PROT_READ, MAP_SHARED, fd, 0);
    uint64_t at = 0;

    ck_assert_ptr_ne(bytes, MAP_FAILED);
    if (size > 0 && bytes[0] == (char)byte && memcmp(bytes, bytes + 1, size - 1) == 0)
        at = size;
    while (at < size && bytes[at] == (char)byte)
        at++;
    munmap(bytes, size);
    return at;
}

struct client client_start(int fd, int protection)
{
    int hello[2], bye[2];
    struct client client;
    char byte;

    ck_assert_int_eq(pipe2(hello, O_CLOEXEC), 0);
    ck_assert_int_eq(pipe2(bye, O_CLOEXEC), 0);
    client.pid = fork();
    ck_assert_int_ge(client.pid, 0);
    if (client.pid == 0) {
        int failed = mmap(NULL, 4096, protection, MAP_SHARED, fd, 0) == MAP_FAILED;
        /* Close every inherited descriptor: each would count as a use of its segment. */
        for (int other = 3; other < 256; other++) {
            if (other != bye[0] && other != hello[1])
                close(other);
        }
        failed |= write(hello[1], "x", 1) != 1;
        _exit(failed || read(bye[0], &byte, 1) != 0);
    }
    close(hello[1]);
    close(bye[0]);
    ck_assert_int_eq(read(hello[0], &byte, 1), 1);
    close(hello[0]);
    client.end = bye[1];
    return client;
}

void client_end(struct client *client)
{
    int status;

    close(client->end);
    ck_assert_int_eq(waitpid(client->pid, &status, 0), client->pid);
    ck_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}
