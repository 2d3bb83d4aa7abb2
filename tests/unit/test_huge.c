// SPDX-License-Identifier: Apache-2.0
/*
 * test_huge.c - huge pages for memfds: where they go, what they hold, and what stays as it was.
 */
#include "arena/huge.h"
#include "arena_fixture.h"
#include "suite.h"
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum { HUGE = 2 << 20, PIECES = 8 };

static uint64_t allocated(int fd)
{
    struct stat status;

    ck_assert_int_eq(fstat(fd, &status), 0);
    return (uint64_t)status.st_blocks * 512;
}

static off_t size_of(int fd)
{
    struct stat status;

    ck_assert_int_eq(fstat(fd, &status), 0);
    return status.st_size;
}

static int begin(void)
{
    int fd = memfd_create("huge", MFD_CLOEXEC);

    ck_assert_int_ge(fd, 0);
    return fd;
}

/* Memory that was in use, which the kernel gives out again. */
static void dirty_memory(void)
{
    char *memory = malloc((size_t)PIECES * HUGE);

    ck_assert_ptr_nonnull(memory);
    memset(memory, 0xa5, (size_t)PIECES * HUGE);
    free(memory);
}

/* Whether the kernel gives this machine's memfds huge pages at all, and has any left. */
static bool is_given(void)
{
    int fd = begin();
    bool given;

    huge_fill(fd, 0, HUGE);
    given = allocated(fd) == HUGE;
    close(fd);
    if (!given)
        fprintf(stderr, "SKIPPED [1] the kernel gives memfds no huge pages\n");
    return given;
}

START_TEST(test_aligned_pieces)
{
    static const struct {
        uint64_t from, to, given;
    } rows[] = {{0, (uint64_t)PIECES * HUGE, (uint64_t)PIECES * HUGE},
                {4096, 3ULL * HUGE + 4096, 2ULL * HUGE},
                {4096, HUGE, 0},
                {0, HUGE - 1, 0},
                {HUGE, HUGE, 0},
                {3ULL * HUGE, HUGE, 0}};
    int fd = begin();

    if (is_given()) {
        huge_fill(fd, rows[_i].from, rows[_i].to);
        ck_assert_uint_eq(allocated(fd), rows[_i].given);
        ck_assert_int_eq(size_of(fd), 0);
    }
    close(fd);
}
END_TEST

START_TEST(test_they_hold_zeros)
{
    int fd = begin();
    char *bytes;

    dirty_memory();
    huge_fill(fd, 0, (uint64_t)PIECES * HUGE);
    ck_assert_int_eq(ftruncate(fd, (off_t)PIECES * HUGE), 0);
    bytes = mmap(NULL, (size_t)PIECES * HUGE, PROT_READ, MAP_SHARED, fd, 0);
    ck_assert(bytes != MAP_FAILED);
    ck_assert(bytes[0] == 0 && memcmp(bytes, bytes + 1, (size_t)PIECES * HUGE - 1) == 0);
    munmap(bytes, (size_t)PIECES * HUGE);
    close(fd);
}
END_TEST

/* A page that is there keeps its bytes, and its piece its other holes. */
START_TEST(test_what_is_there_stays)
{
    const off_t place = HUGE + 5 * 4096;
    int fd = begin();
    char byte = 0;

    if (is_given()) {
        ck_assert_int_eq(pwrite(fd, "x", 1, place), 1);
        huge_fill(fd, 0, 3ULL * HUGE);
        ck_assert_uint_eq(allocated(fd), HUGE + 4096 + (uint64_t)HUGE);
        ck_assert_int_eq(pread(fd, &byte, 1, place), 1);
        ck_assert_int_eq(byte, 'x');
        ck_assert_int_eq(size_of(fd), place + 1);
    }
    close(fd);
}
END_TEST

/* A file that it cannot map gets nothing, and no harm. */
START_TEST(test_a_pipe)
{
    int fds[2];

    ck_assert_int_eq(pipe(fds), 0);
    huge_fill(fds[1], 0, HUGE);
    ck_assert_int_eq(write(fds[1], "x", 1), 1);
    close(fds[0]);
    close(fds[1]);
}
END_TEST

/* How much of a mapping of the first HUGE bytes, which it loads, the kernel maps as huge pages. */
static long mapped_huge(int fd)
{
    char *reserved = mmap(NULL, 2UL * HUGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    char *place = reserved + (HUGE - (uintptr_t)reserved % HUGE) % HUGE;
    char line[256], start[32];
    bool ours = false;
    long kilobytes = 0;
    FILE *maps;

    ck_assert(reserved != MAP_FAILED);
    ck_assert_ptr_eq(mmap(place, HUGE, PROT_READ, MAP_SHARED | MAP_FIXED, fd, 0), place);
    ck_assert_int_eq(place[0], 0);
    snprintf(start, sizeof(start), "%lx-", (unsigned long)place);
    maps = fopen("/proc/self/smaps", "re");
    ck_assert_ptr_nonnull(maps);
    while (fgets(line, sizeof(line), maps)) {
        if (strncmp(line, start, strlen(start)) == 0)
            ours = true;
        else if (ours && sscanf(line, "ShmemPmdMapped: %ld", &kilobytes) == 1)
            break;
    }
    fclose(maps);
    munmap(reserved, 2UL * HUGE);
    return kilobytes;
}

/* A client's array has them, when it is fresh and when its pages are warm; unless the configuration says no. */
START_TEST(test_segments)
{
    const bool wanted = _i == 0;
    struct bench bench;
    struct segment *segment;
    int client;

    if (!is_given())
        return;
    bench_open(&bench, ARENA_MEMFD, 64ULL << 20, 32ULL << 20);
    bench_stop(&bench);
    bench.options.huge_pages = wanted;
    bench_start(&bench);
    for (int round = 0; round < 2; round++) {
        segment = bench_open_segment(&bench, 4ULL * HUGE, &client);
        ck_assert_int_eq(mapped_huge(client), wanted ? HUGE >> 10 : 0);
        ck_assert_uint_eq(bench_allocated(&bench, segment), 4ULL * HUGE);
        close(client);
        bench_drop(&bench, segment);
        bench_settle_down(&bench);
        ck_assert_uint_eq(bench_usage(&bench).warm, 4ULL * HUGE);
    }
    bench_close(&bench);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("huge");
    TCase *tests = tcase_create("huge");

    tcase_add_loop_test(tests, test_aligned_pieces, 0, 6);
    tcase_add_test(tests, test_they_hold_zeros);
    tcase_add_test(tests, test_what_is_there_stays);
    tcase_add_test(tests, test_a_pipe);
    tcase_add_loop_test(tests, test_segments, 0, 2);
    suite_add_tcase(suite, tests);
    return suite_run(suite);
}
