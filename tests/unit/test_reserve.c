// SPDX-License-Identifier: Apache-2.0
/*
 * test_reserve.c - sizes come with their pages or not at all, and publishing leaves exact files.
 */
#include "arena_fixture.h"
#include "descriptors.h"
#include "suite.h"
#include <errno.h>
#include <string.h>
#include <sys/mman.h>

static uint64_t room(struct bench *bench)
{
    struct ledger_usage usage = bench_usage(bench);

    return usage.capacity - usage.used - usage.warm;
}

/* A store into a page for which there was no memory would be SIGBUS. */
START_TEST(test_every_page_is_there)
{
    struct bench bench;
    struct segment *segment, *other;
    int client;

    if (!bench_open(&bench, (enum arena_kind)_i, 16 * MIB, 0))
        return;
    segment = bench_open_segment(&bench, 80, &client);
    ck_assert_int_eq(bench_reserve(&bench, segment, RESERVE_RESIZE, 16 * MIB + 1), -ENOSPC);
    ck_assert_uint_eq(bench_size(&bench, segment), 80);
    ck_assert_int_eq(bench_reserve(&bench, segment, RESERVE_RESIZE, 16 * MIB - 4 * KIB), 0);
    ck_assert_uint_eq(bench_size(&bench, segment), 16 * MIB - 4 * KIB);
    client_fill(client, 0, 16 * MIB - 4 * KIB, 0x55);

    other = bench_segment(&bench, 0);
    ck_assert_int_eq(bench_reserve(&bench, other, RESERVE_RESIZE, 4 * KIB + 1), -ENOSPC);
    ck_assert_uint_eq(bench_size(&bench, other), 0);
    ck_assert_uint_eq(bench_allocated(&bench, other), 0);
    ck_assert_int_eq(bench_reserve(&bench, other, RESERVE_RESIZE, 4 * KIB), 0);
    ck_assert_uint_eq(room(&bench), 0);
    ck_assert_uint_eq(client_differs(client, 16 * MIB - 4 * KIB, 0x55), 16 * MIB - 4 * KIB);
    close(client);
    bench_close(&bench);
}
END_TEST

START_TEST(test_refused_growth_changes_nothing)
{
    struct bench bench;
    struct segment *segment, *filler;
    int client;

    if (!bench_open(&bench, (enum arena_kind)_i, 256 * MIB, 0))
        return;
    segment = bench_open_segment(&bench, 3 * MIB, &client);
    client_fill(client, 0, 3 * MIB, 0x11);
    filler = bench_open_segment(&bench, 60 * MIB, NULL);
    /* Several chunks fit before the job finds that the rest does not. */
    for (int mode = RESERVE_RESIZE; mode <= RESERVE_GROW; mode++) {
        ck_assert_int_eq(bench_reserve(&bench, segment, (enum reserve_mode)mode, 200 * MIB), -ENOSPC);
        ck_assert_uint_eq(bench_size(&bench, segment), 3 * MIB);
        ck_assert_uint_eq(bench_allocated(&bench, segment), 3 * MIB);
    }
    ck_assert_uint_eq(client_differs(client, 3 * MIB, 0x11), 3 * MIB);
    bench_settle_down(&bench);
    ck_assert_uint_eq(bench_usage(&bench).used, 63 * MIB);
    bench_drop(&bench, filler);
    ck_assert_int_eq(bench_reserve(&bench, segment, RESERVE_GROW, 200 * MIB), 0);
    ck_assert_uint_eq(bench_size(&bench, segment), 200 * MIB);
    close(client);
    bench_close(&bench);
}
END_TEST

START_TEST(test_modes)
{
    struct bench bench;
    struct segment *segment;
    int client;

    if (!bench_open(&bench, (enum arena_kind)_i, 64 * MIB, 0))
        return;
    segment = bench_open_segment(&bench, 10, &client);
    ck_assert_int_eq(bench_reserve(&bench, segment, RESERVE_PAGES, MIB), 0);
    ck_assert_uint_eq(bench_size(&bench, segment), 10);
    ck_assert_uint_eq(bench_allocated(&bench, segment), MIB);
    ck_assert_int_eq(bench_reserve(&bench, segment, RESERVE_GROW, 5), 0);
    ck_assert_uint_eq(bench_size(&bench, segment), 10);
    ck_assert_int_eq(bench_reserve(&bench, segment, RESERVE_GROW, 3 * MIB), 0);
    ck_assert_uint_eq(bench_size(&bench, segment), 3 * MIB);
    client_fill(client, 0, 3 * MIB, 0x22);

    ck_assert_int_eq(bench_reserve(&bench, segment, RESERVE_RESIZE, MIB + 1), 0);
    ck_assert_uint_eq(bench_size(&bench, segment), MIB + 1);
    ck_assert_uint_eq(bench_allocated(&bench, segment), MIB + 4 * KIB);
    ck_assert_int_eq(bench_reserve(&bench, segment, RESERVE_RESIZE, 2 * MIB), 0);
    ck_assert_uint_eq(client_differs(client, 2 * MIB, 0x22), MIB + 1);
    ck_assert_uint_eq(bench_allocated(&bench, segment), 2 * MIB);
    ck_assert_int_eq(bench_reserve(&bench, segment, RESERVE_RESIZE, 0), 0);
    ck_assert_uint_eq(bench_allocated(&bench, segment), 0);
    ck_assert_int_eq(bench_reserve(&bench, segment, RESERVE_RESIZE, 0), 0);
    close(client);
    bench_settle_down(&bench);
    bench_close(&bench);
}
END_TEST

START_TEST(test_absurd_sizes)
{
    struct bench bench;
    struct segment *segment, *warm;

    if (!bench_open(&bench, (enum arena_kind)_i, 64 * MIB, 8 * MIB))
        return;
    warm = bench_open_segment(&bench, 4 * MIB, NULL);
    bench_drop(&bench, warm);
    bench_settle_down(&bench);
    segment = bench_segment(&bench, 1);
    ck_assert_int_eq(bench_reserve(&bench, segment, RESERVE_RESIZE, UINT64_MAX), -EFBIG);
    ck_assert_int_eq(bench_reserve(&bench, segment, RESERVE_RESIZE, (uint64_t)INT64_MAX), -EFBIG);
    ck_assert_int_eq(bench_reserve(&bench, segment, RESERVE_RESIZE, (uint64_t)1 << 62), -ENOSPC);
    ck_assert_int_eq(bench_reserve(&bench, segment, RESERVE_PAGES, 64 * MIB + 1), -ENOSPC);
    ck_assert_uint_eq(bench_size(&bench, segment), 0);
    /* None of them costs the warm pool anything. */
    ck_assert_uint_eq(bench_usage(&bench).warm, _i == ARENA_DIR ? 0 : 4 * MIB);
    bench_close(&bench);
}
END_TEST

/* ---- Order ---- */

struct track {
    struct bench *bench;
    char *log;
    char name;
    int result;
    struct segment *drop; /* done() takes its last name */
};

static void log_done(void *context, int result)
{
    struct track *track = context;
    size_t length = strlen(track->log);

    track->result = result;
    track->log[length] = track->name;
    track->log[length + 1] = 0;
    if (track->drop)
        bench_drop(track->bench, track->drop);
}

START_TEST(test_small_ones_overtake_large_ones)
{
    struct bench bench;
    struct segment *large, *medium, *small;
    char log[8] = "";
    struct track l = {.log = log, .name = 'l'}, m = {.log = log, .name = 'm'}, s = {.log = log, .name = 's'};

    if (!bench_open(&bench, ARENA_TMPFS, 512 * MIB, 0))
        return;
    large = bench_segment(&bench, 0);
    medium = bench_segment(&bench, 0);
    small = bench_segment(&bench, 0);
    reserve_pages(bench.arena, large, RESERVE_RESIZE, 400 * MIB, log_done, &l);
    reserve_pages(bench.arena, medium, RESERVE_RESIZE, 4 * MIB, log_done, &m);
    ck_assert_str_eq(log, "");
    reserve_pages(bench.arena, small, RESERVE_RESIZE, 80, log_done, &s);
    ck_assert_str_eq(log, "s");
    background_drain(bench.background);
    ck_assert_str_eq(log, "sml");
    ck_assert(l.result == 0 && m.result == 0 && s.result == 0);
    bench_close(&bench);
}
END_TEST

/* Each alone would fit, so the kernel refuses half-way: one gets all, the other one nothing. */
START_TEST(test_growth_that_fails_half_way)
{
    struct bench bench;
    struct segment *segments[2];
    char log[8] = "";
    struct track a = {.log = log, .name = 'a'}, b = {.log = log, .name = 'b'};

    if (!bench_open(&bench, (enum arena_kind)_i, 200 * MIB, 0))
        return;
    for (int i = 0; i < 2; i++)
        segments[i] = bench_open_segment(&bench, 4 * KIB, NULL);
    reserve_pages(bench.arena, segments[0], RESERVE_RESIZE, 150 * MIB, log_done, &a);
    reserve_pages(bench.arena, segments[1], RESERVE_RESIZE, 140 * MIB, log_done, &b);
    background_drain(bench.background);
    ck_assert_int_eq(a.result + b.result, -ENOSPC);
    for (int i = 0; i < 2; i++) {
        bool lucky = (i == 0 ? a.result : b.result) == 0;
        uint64_t expected = lucky ? (i == 0 ? 150 * MIB : 140 * MIB) : 4 * KIB;
        ck_assert_uint_eq(bench_size(&bench, segments[i]), expected);
        ck_assert_uint_eq(bench_allocated(&bench, segments[i]), expected);
    }
    bench_settle_down(&bench);
    bench_close(&bench);
}
END_TEST

/* Jobs on one segment take effect in the order of the requests. */
START_TEST(test_one_segment_in_order)
{
    struct bench bench;
    struct segment *segment;
    char log[8] = "";
    struct track a = {.log = log, .name = 'a'}, b = {.log = log, .name = 'b'}, c = {.log = log, .name = 'c'};

    if (!bench_open(&bench, (enum arena_kind)_i, 512 * MIB, 0))
        return;
    segment = bench_segment(&bench, 0);
    reserve_pages(bench.arena, segment, RESERVE_RESIZE, 200 * MIB, log_done, &a);
    reserve_pages(bench.arena, segment, RESERVE_RESIZE, 100, log_done, &b);
    reserve_pages(bench.arena, segment, RESERVE_RESIZE, 3 * MIB, log_done, &c);
    background_drain(bench.background);
    ck_assert_str_eq(log, "abc");
    ck_assert_uint_eq(bench_size(&bench, segment), 3 * MIB);
    ck_assert_uint_eq(bench_allocated(&bench, segment), 3 * MIB);
    bench_settle_down(&bench);
    bench_close(&bench);
}
END_TEST

START_TEST(test_last_name_goes_meanwhile)
{
    struct bench bench;
    struct segment *segment;
    char log[8] = "";
    struct track a = {.log = log, .name = 'a'}, b = {.log = log, .name = 'b'};

    if (!bench_open(&bench, (enum arena_kind)_i, 64 * MIB, 0))
        return;
    segment = bench_open_segment(&bench, 80, NULL);
    reserve_pages(bench.arena, segment, RESERVE_RESIZE, 8 * MIB, log_done, &a);
    reserve_pages(bench.arena, segment, RESERVE_RESIZE, 9 * MIB, log_done, &b);
    bench_drop(&bench, segment);
    background_drain(bench.background);
    ck_assert_str_eq(log, "ab");
    bench_settle_down(&bench);
    ck_assert_uint_eq(bench_usage(&bench).used, 0);

    for (uint64_t size = 80; size <= 8 * MIB; size = size * 100000) {
        log[0] = 0;
        segment = bench_open_segment(&bench, 0, NULL);
        a = (struct track){.bench = &bench, .log = log, .name = 'a', .drop = segment};
        reserve_pages(bench.arena, segment, RESERVE_RESIZE, size, log_done, &a);
        background_drain(bench.background);
        ck_assert_str_eq(log, "a");
        ck_assert_int_eq(a.result, 0);
        bench_settle_down(&bench);
        ck_assert_uint_eq(bench_usage(&bench).used, 0);
    }
    bench_close(&bench);
}
END_TEST

START_TEST(test_close_waits_for_reservations)
{
    struct bench bench;
    char log[8] = "";
    struct track a = {.log = log, .name = 'a'};

    if (!bench_open(&bench, (enum arena_kind)_i, 256 * MIB, 64 * MIB))
        return;
    bench_drop(&bench, bench_open_segment(&bench, 60 * MIB, NULL));
    reserve_pages(bench.arena, bench_segment(&bench, 0), RESERVE_RESIZE, 190 * MIB, log_done, &a);
    bench_close(&bench);
    ck_assert_str_eq(log, "a");
    ck_assert_int_eq(a.result, 0);
}
END_TEST

/* ---- The warm pool makes room ---- */

START_TEST(test_pool_is_given_up)
{
    struct bench bench;
    struct segment *segment;
    int client;

    if (!bench_open(&bench, (enum arena_kind)_i, 64 * MIB, 32 * MIB))
        return;
    bench_drop(&bench, bench_open_segment(&bench, 8 * MIB, NULL));
    bench_drop(&bench, bench_open_segment(&bench, 20 * MIB, NULL));
    bench_settle_down(&bench);
    ck_assert_uint_eq(bench_usage(&bench).warm, _i == ARENA_DIR ? 0 : 28 * MIB);
    segment = bench_open_segment(&bench, 60 * MIB, &client);
    client_fill(client, 0, 60 * MIB, 1);
    close(client);
    bench_settle_down(&bench);
    ck_assert_uint_eq(bench_usage(&bench).warm, 0);
    ck_assert_uint_eq(bench_usage(&bench).used, 60 * MIB);
    ck_assert_int_eq(bench_reserve(&bench, segment, RESERVE_RESIZE, 80), 0);
    bench_close(&bench);
}
END_TEST

/* Even the file that the helper thread is zeroing makes room. */
START_TEST(test_work_in_hand_is_given_up)
{
    struct bench bench;
    struct segment *segments[3];
    char log[8] = "";
    struct track tracks[3];

    if (!bench_open(&bench, (enum arena_kind)_i, 128 * MIB, 64 * MIB))
        return;
    for (int i = 0; i < 3; i++) {
        tracks[i] = (struct track){.log = log, .name = (char)('a' + i)};
        segments[i] = bench_segment(&bench, 1);
    }
    bench_drop(&bench, bench_open_segment(&bench, 30 * MIB, NULL));
    bench_drop(&bench, bench_open_segment(&bench, 30 * MIB, NULL));
    reserve_pages(bench.arena, segments[0], RESERVE_RESIZE, 60 * MIB, log_done, &tracks[0]);
    reserve_pages(bench.arena, segments[1], RESERVE_RESIZE, 60 * MIB, log_done, &tracks[1]);
    reserve_pages(bench.arena, segments[2], RESERVE_RESIZE, 60 * MIB, log_done, &tracks[2]);
    background_drain(bench.background);
    ck_assert_uint_eq(strlen(log), 3);
    ck_assert_int_eq(tracks[0].result, 0);
    ck_assert_int_eq(tracks[1].result, 0);
    ck_assert_int_eq(tracks[2].result, -ENOSPC);
    bench_settle_down(&bench);
    ck_assert_uint_eq(bench_usage(&bench).used, 120 * MIB);
    bench_close(&bench);
}
END_TEST

/* Later reservations wait for the same files as the first one; a small one takes no more than it needs. */
START_TEST(test_all_wait_for_what_is_leaving)
{
    struct bench bench;
    struct segment *segments[3];
    char log[8] = "";
    struct track tracks[3];
    static const uint64_t sizes[] = {50 * MIB, 40 * MIB, 10 * MIB};

    if (!bench_open(&bench, (enum arena_kind)_i, 128 * MIB, 0))
        return;
    for (int i = 0; i < 3; i++) {
        tracks[i] = (struct track){.log = log, .name = (char)('a' + i)};
        segments[i] = bench_segment(&bench, 1);
    }
    bench_drop(&bench, bench_open_segment(&bench, 60 * MIB, NULL));
    bench_drop(&bench, bench_open_segment(&bench, 60 * MIB, NULL));
    /* The first file on its way out is almost all that they can get: each of them needs it. */
    for (int i = 0; i < 3; i++)
        reserve_pages(bench.arena, segments[i], RESERVE_RESIZE, sizes[i], log_done, &tracks[i]);
    background_drain(bench.background);
    ck_assert_uint_eq(strlen(log), 3);
    for (int i = 0; i < 3; i++)
        ck_assert_int_eq(tracks[i].result, 0);
    bench_settle_down(&bench);
    ck_assert_uint_eq(bench_usage(&bench).used, 100 * MIB);
    bench_close(&bench);
}
END_TEST

/* Zeroing is idle work, and the removal of files does not wait for it. */
START_TEST(test_removal_does_not_wait_for_zeroing)
{
    static const enum arena_kind kinds[] = {ARENA_TMPFS, ARENA_MEMFD}; /* those that keep zeroed pages */
    enum { FILES = 6 };
    struct bench bench;
    struct segment *segment, *segments[FILES];

    if (!bench_open(&bench, kinds[_i], 256 * MIB, 40 * MIB))
        return;
    segment = bench_segment(&bench, 1);
    for (int i = 0; i < FILES; i++)
        segments[i] = bench_open_segment(&bench, 30 * MIB, NULL);
    for (int i = 0; i < FILES; i++)
        bench_drop(&bench, segments[i]);
    ck_assert_ptr_nonnull(bench.arena->warm.zeroing.file);
    ck_assert_ptr_nonnull(bench.arena->warm.removing.file);
    while (background_busy(bench.background, BACKGROUND_URGENT))
        background_dispatch(bench.background);
    ck_assert_uint_eq(warm_leaving_bytes(&bench.arena->warm), 0);
    ck_assert_int_eq(bench_reserve(&bench, segment, RESERVE_RESIZE, 200 * MIB), 0);
    bench_close(&bench);
}
END_TEST

/* Bytes that a client stored beyond the end must not become data when the daemon grows the file. */
START_TEST(test_growth_is_zero)
{
    static const enum reserve_mode modes[] = {RESERVE_RESIZE, RESERVE_GROW};

    for (size_t i = 0; i < sizeof(modes) / sizeof(modes[0]); i++) {
        static const uint64_t sizes[] = {101, 4096, 4097, 300 * KIB + 1};
        struct bench bench;
        struct segment *segment;
        uint64_t before = 100;
        int client;
        char *page;

        if (!bench_open(&bench, (enum arena_kind)_i, 16 * MIB, 0))
            return;
        segment = bench_open_segment(&bench, before, &client);
        for (size_t j = 0; j < sizeof(sizes) / sizeof(sizes[0]); j++) {
            uint64_t last = before / 4096 * 4096;
            char bytes[4096] = {0};

            page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, client, (off_t)last);
            ck_assert_ptr_ne(page, MAP_FAILED);
            if (before % 4096)
                memset(page + before % 4096, 0xEE, 4096 - before % 4096);
            ck_assert_int_eq(bench_reserve(&bench, segment, modes[i], sizes[j]), 0);
            ck_assert_uint_eq(bench_size(&bench, segment), sizes[j]);
            ck_assert_int_ge(pread(client, bytes, sizeof(bytes), (off_t)before), 1);
            for (size_t k = 0; k < sizeof(bytes); k++)
                ck_assert_int_eq(bytes[k], 0);
            munmap(page, 4096);
            before = sizes[j];
        }
        close(client);
        bench_close(&bench);
    }
}
END_TEST

START_TEST(test_trim)
{
    struct bench bench;

    if (!bench_open(&bench, (enum arena_kind)_i, 128 * MIB, 64 * MIB))
        return;
    warm_surrender(&bench.arena->warm, UINT64_MAX);
    bench_drop(&bench, bench_open_segment(&bench, 20 * MIB, NULL));
    bench_settle_down(&bench);
    bench_drop(&bench, bench_open_segment(&bench, 4 * MIB, NULL));
    bench_drop(&bench, bench_open_segment(&bench, 8 * MIB, NULL));
    warm_surrender(&bench.arena->warm, UINT64_MAX);
    bench_settle_down(&bench);
    ck_assert_uint_eq(bench_usage(&bench).warm, 0);
    ck_assert_uint_eq(bench_usage(&bench).used, 0);
    bench_close(&bench);
}
END_TEST

/* ---- Publishing ---- */

START_TEST(test_settle_fills_holes)
{
    struct bench bench;
    struct segment *segment;
    int client;

    if (!bench_open(&bench, (enum arena_kind)_i, 64 * MIB, 0))
        return;
    segment = bench_open_segment(&bench, 0, &client);
    ck_assert_int_eq(pwrite(client, "end", 3, (off_t)(10 * MIB)), 3);
    ck_assert_uint_lt(bench_allocated(&bench, segment), 9 * MIB);
    close(client);
    ck_assert(!reserve_settled(bench.arena, segment));
    ck_assert_int_eq(bench_settle(&bench, segment), 0);
    ck_assert(reserve_settled(bench.arena, segment));
    ck_assert_uint_eq(bench_size(&bench, segment), 10 * MIB + 3);
    ck_assert_uint_eq(bench_allocated(&bench, segment), 10 * MIB + 4 * KIB);
    ck_assert(!segment_has_writers(bench.arena, segment));
    client = client_open(segment, O_RDONLY);
    ck_assert_uint_eq(client_differs(client, 10 * MIB + 3, 0), 10 * MIB);
    close(client);
    bench_settle_down(&bench);
    bench_close(&bench);
}
END_TEST

START_TEST(test_settle_trims)
{
    struct bench bench;
    struct segment *segment;
    int client;

    if (!bench_open(&bench, (enum arena_kind)_i, 64 * MIB, 0))
        return;
    segment = bench_open_segment(&bench, 3 * MIB + 5, &client);
    client_fill(client, 0, 3 * MIB + 5, 0x77);
    close(client);
    ck_assert(reserve_settled(bench.arena, segment) == (_i != ARENA_DIR));
    ck_assert_int_eq(bench_reserve(&bench, segment, RESERVE_PAGES, 20 * MIB), 0);
    ck_assert(!reserve_settled(bench.arena, segment));
    ck_assert_int_eq(bench_settle(&bench, segment), 0);
    ck_assert(reserve_settled(bench.arena, segment));
    ck_assert_uint_eq(bench_allocated(&bench, segment), 3 * MIB + 4 * KIB);
    client = client_open(segment, O_RDONLY);
    ck_assert_uint_eq(client_differs(client, 3 * MIB + 5, 0x77), 3 * MIB + 5);
    close(client);
    bench_settle_down(&bench);
    bench_close(&bench);
}
END_TEST

/* Reserved pages beyond the end and a hole of the same size must not pass for a whole file. */
START_TEST(test_holes_hidden_by_reserved_pages)
{
    struct bench bench;
    struct segment *segment, *filler;
    int client;

    if (!bench_open(&bench, (enum arena_kind)_i, 64 * MIB, 0))
        return;
    segment = bench_open_segment(&bench, MIB, &client);
    ck_assert_int_eq(bench_reserve(&bench, segment, RESERVE_PAGES, 2 * MIB), 0);
    ck_assert_int_eq(fallocate(client, FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE, 0, (off_t)MIB), 0);
    close(client);
    ck_assert_uint_eq(bench_allocated(&bench, segment), MIB);
    ck_assert(!reserve_settled(bench.arena, segment));
    ck_assert_int_eq(bench_settle(&bench, segment), 0);
    ck_assert_uint_eq(bench_allocated(&bench, segment), MIB);
    ck_assert(reserve_settled(bench.arena, segment));
    /* With the arena full, a client can store only into pages that are there. */
    filler = bench_segment(&bench, 0);
    ck_assert_int_eq(bench_reserve(&bench, filler, RESERVE_RESIZE, 63 * MIB), 0);
    client = client_open(segment, O_RDWR);
    client_fill(client, 0, MIB, 1);
    close(client);
    bench_close(&bench);
}
END_TEST

START_TEST(test_settle_without_room)
{
    struct bench bench;
    struct segment *segment;
    int client;

    if (!bench_open(&bench, (enum arena_kind)_i, 16 * MIB, 0))
        return;
    segment = bench_open_segment(&bench, 0, &client);
    ck_assert_int_eq(ftruncate(client, (off_t)(32 * MIB)), 0);
    ck_assert_int_eq(bench_settle(&bench, segment), -ENOSPC);
    ck_assert(!reserve_settled(bench.arena, segment));
    ck_assert_uint_eq(bench_size(&bench, segment), 32 * MIB);
    ck_assert_uint_eq(bench_allocated(&bench, segment), 0);
    ck_assert_int_eq(ftruncate(client, (off_t)(8 * MIB)), 0);
    ck_assert_int_eq(bench_settle(&bench, segment), 0);
    ck_assert_uint_eq(bench_allocated(&bench, segment), 8 * MIB);
    close(client);
    bench_close(&bench);
}
END_TEST

START_TEST(test_settle_the_empty_and_the_small)
{
    struct bench bench;
    struct segment *segment;
    int client;

    if (!bench_open(&bench, (enum arena_kind)_i, 16 * MIB, 0))
        return;
    segment = bench_segment(&bench, 0);
    ck_assert(reserve_settled(bench.arena, segment) == (_i != ARENA_DIR));
    ck_assert_int_eq(bench_settle(&bench, segment), 0);
    ck_assert(reserve_settled(bench.arena, segment));
    ck_assert_int_eq(segment_open(bench.arena, segment), 0);
    client = client_open(segment, O_WRONLY);
    ck_assert_int_eq(pwrite(client, "x", 1, (off_t)(100 * KIB)), 1);
    close(client);
    ck_assert(!reserve_settled(bench.arena, segment));
    ck_assert_int_eq(bench_settle(&bench, segment), 0);
    ck_assert(reserve_settled(bench.arena, segment));
    ck_assert_uint_eq(bench_allocated(&bench, segment), 104 * KIB);
    bench_close(&bench);
}
END_TEST

/* A segment counts as synced only until a client may have written again. */
START_TEST(test_synced)
{
    struct bench bench;
    struct segment *segment;

    ck_assert(bench_open(&bench, ARENA_DIR, 16 * MIB, 0));
    segment = bench_open_segment(&bench, 4 * KIB, NULL);
    segment_close(bench.arena, segment);
    ck_assert(!segment->synced);
    ck_assert_int_eq(bench_settle(&bench, segment), 0);
    ck_assert(segment->synced && reserve_settled(bench.arena, segment));
    ck_assert_int_eq(segment_open(bench.arena, segment), 0);
    ck_assert(!reserve_settled(bench.arena, segment));
    segment_close(bench.arena, segment);
    ck_assert_int_eq(bench_settle(&bench, segment), 0);
    segment->published = true;
    ck_assert_int_eq(segment_open(bench.arena, segment), 0);
    ck_assert(reserve_settled(bench.arena, segment));
    segment_close(bench.arena, segment);
    bench_close(&bench);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("reserve");
    TCase *tcase = tcase_create("reserve");

    tcase_add_loop_test(tcase, test_every_page_is_there, 0, ARENA_KINDS);
    tcase_add_loop_test(tcase, test_refused_growth_changes_nothing, 0, ARENA_KINDS);
    tcase_add_loop_test(tcase, test_modes, 0, ARENA_KINDS);
    tcase_add_loop_test(tcase, test_absurd_sizes, 0, ARENA_KINDS);
    tcase_add_test(tcase, test_small_ones_overtake_large_ones);
    tcase_add_loop_test(tcase, test_growth_that_fails_half_way, 0, ARENA_KINDS);
    tcase_add_loop_test(tcase, test_one_segment_in_order, 0, ARENA_KINDS);
    tcase_add_loop_test(tcase, test_last_name_goes_meanwhile, 0, ARENA_KINDS);
    tcase_add_loop_test(tcase, test_close_waits_for_reservations, 0, ARENA_KINDS);
    tcase_add_loop_test(tcase, test_pool_is_given_up, 0, ARENA_KINDS);
    tcase_add_loop_test(tcase, test_work_in_hand_is_given_up, 0, ARENA_KINDS);
    tcase_add_loop_test(tcase, test_trim, 0, ARENA_KINDS);
    tcase_add_loop_test(tcase, test_all_wait_for_what_is_leaving, 0, ARENA_KINDS);
    tcase_add_loop_test(tcase, test_removal_does_not_wait_for_zeroing, 0, 2);
    tcase_add_loop_test(tcase, test_growth_is_zero, 0, ARENA_KINDS);
    tcase_add_loop_test(tcase, test_settle_fills_holes, 0, ARENA_KINDS);
    tcase_add_loop_test(tcase, test_settle_trims, 0, ARENA_KINDS);
    tcase_add_loop_test(tcase, test_holes_hidden_by_reserved_pages, 0, ARENA_KINDS);
    tcase_add_loop_test(tcase, test_settle_without_room, 0, ARENA_KINDS);
    tcase_add_loop_test(tcase, test_settle_the_empty_and_the_small, 0, ARENA_KINDS);
    tcase_add_test(tcase, test_synced);
    tcase_set_timeout(tcase, 120);
    suite_add_tcase(suite, tcase);
    return suite_run(suite);
}
